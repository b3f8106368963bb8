//! A JSON writer that keeps the order of its calls, as providers do; `serde_json` sorts keys.

/// A JSON object under construction; every method appends one member.
///
/// Keys are ours and need no escaping; texts are escaped.
#[derive(Clone, Debug)]
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Self {
        Self(vec![b'{'])
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        escape(&mut self.0, value);
        self
    }

    pub(crate) fn number(self, key: &str, value: u64) -> Self {
        self.raw(key, value.to_string().as_bytes())
    }

    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub(crate) fn null(self, key: &str) -> Self {
        self.raw(key, b"null")
    }

    /// A text, or `null`.
    pub(crate) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(mut self, key: &str, json: impl AsRef<[u8]>) -> Self {
        self.key(key);
        self.0.extend_from_slice(json.as_ref());
        self
    }

    pub(crate) fn object(self, key: &str, value: Self) -> Self {
        let value = value.build();
        self.raw(key, value)
    }

    pub(crate) fn list(self, key: &str, items: impl IntoIterator<Item = Self>) -> Self {
        let items = list(items);
        self.raw(key, items)
    }

    /// The finished object.
    pub(crate) fn build(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// A JSON array of objects.
pub(crate) fn list(items: impl IntoIterator<Item = Object>) -> Vec<u8> {
    join(items.into_iter().map(Object::build))
}

/// A JSON array of values that are JSON already.
pub(crate) fn join(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = vec![b'['];
    for item in items {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&item);
    }
    out.push(b']');
    out
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_keep_the_order_of_the_calls() {
        let json = Object::new()
            .text("z", "a\"b")
            .number("a", 7)
            .null("m")
            .flag("f", true);
        let json = json
            .list("l", [Object::new(), Object::new().maybe("x", None)])
            .build();
        let expected = r#"{"z":"a\"b","a":7,"m":null,"f":true,"l":[{},{"x":null}]}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_survives_escaping(text in any::<String>()) {
            let mut out = Vec::new();
            escape(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
