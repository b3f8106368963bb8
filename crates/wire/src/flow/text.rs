//! How much text an event of a stream brings, found without building a tree.

/// Names of the texts that a model writes piece by piece.
fn is_piece(key: &[u8]) -> bool {
    matches!(
        key,
        b"content"
            | b"text"
            | b"delta"
            | b"thinking"
            | b"partial_json"
            | b"arguments"
            | b"input"
            | b"reasoning"
            | b"reasoning_content"
            | b"refusal"
            | b"transcript"
            | b"tool_plan"
            | b"outputText"
            | b"generation"
    )
}

/// Bytes of text that the JSON `event` brings; 0 of one that repeats what came before, or tells
/// something else.
pub(super) fn scan(event: &[u8]) -> u64 {
    let mut scan = Scan {
        bytes: event,
        at: 0,
        depth: 0,
    };
    let mut found = 0;
    // Details of what stands beside them already.
    let mut muted: Option<u32> = None;
    while let Some((key, value)) = scan.member() {
        if muted.is_some_and(|depth| scan.depth <= depth) {
            muted = None;
        }
        match value {
            Some(kind) if key == b"type" && scan.depth == 1 && !is_delta(kind) => return 0,
            Some(text) if muted.is_none() && is_piece(key) => found += length(text),
            None if muted.is_none() && key == b"reasoning_details" => muted = Some(scan.depth),
            Some(_) | None => {}
        }
    }
    found
}

/// Whether an event of this type brings something new. Those of Responses that end in `.done`, and
/// its `response.completed`, repeat what the deltas before them brought; pictures and sounds are no
/// text.
fn is_delta(kind: &[u8]) -> bool {
    let of_responses = kind.strip_prefix(b"response.");
    of_responses.is_none_or(|kind| {
        kind.ends_with(b".delta") && memchr::memmem::find(kind, b"audio.").is_none()
    })
}

/// Bytes of a JSON text once its escapes are read; of `\uXXXX`, three.
fn length(text: &[u8]) -> u64 {
    let mut length = text.len();
    let mut at = 0;
    while let Some(escape) = memchr::memchr(b'\\', &text[at..]) {
        let is_code = text.get(at + escape + 1) == Some(&b'u');
        length -= if is_code { 3 } else { 1 };
        at = (at + escape + 2).min(text.len());
    }
    length as u64
}

struct Scan<'e> {
    bytes: &'e [u8],
    at: usize,
    depth: u32,
}

impl<'e> Scan<'e> {
    /// The next name, and its value where that is a text. The depth is that of the name.
    fn member(&mut self) -> Option<(&'e [u8], Option<&'e [u8]>)> {
        loop {
            match self.next()? {
                b'"' => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    continue;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    continue;
                }
                _ => continue,
            }
            let text = self.text()?;
            if self.peek() != Some(b':') {
                continue;
            }
            self.at += 1;
            if self.peek() != Some(b'"') {
                return Some((text, None));
            }
            self.at += 1;
            return Some((text, Some(self.text()?)));
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is no white space, which is passed.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// The rest of a text whose quote has been read, as it is written.
    fn text(&mut self) -> Option<&'e [u8]> {
        let start = self.at;
        loop {
            let found = memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            self.at += found;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Some(&self.bytes[start..self.at - 1]);
            }
            self.at += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_of_each_format_is_counted_once() {
        let check = |event: &str, bytes: u64| assert_eq!(scan(event.as_bytes()), bytes, "{event}");
        check(
            r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"mhlaba"}}]}"#,
            6,
        );
        check(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
            4,
        );
        check(
            r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_details":[{"text":"hm"}],"content":null}}]}"#,
            2,
        );
        check(r#"{"type":"response.output_text.delta","delta":"abc"}"#, 3);
        check(r#"{"type":"response.output_text.done","text":"abcdef"}"#, 0);
        check(
            r#"{"type":"response.completed","response":{"output":[{"text":"abc"}]}}"#,
            0,
        );
        check(
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\u00e9\n"}}"#,
            5,
        );
        check(
            r#"{"type":"message_start","message":{"content":[],"usage":{}}}"#,
            0,
        );
        check(
            r#"{ "candidates" : [ { "content" : { "parts" : [ { "text" : "ab cd" } ] } } ] }"#,
            5,
        );
        check(r#"{"contentBlockIndex":0,"delta":{"text":"abcd"}}"#, 4);
        check("[DONE]", 0);
        check("", 0);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_never_a_panic(event in prop::collection::vec(any::<u8>(), 0..200)) {
            scan(&event);
        }

        #[test]
        fn json_in_disorder_is_never_a_panic(event in r#"[{}\[\]":\\u,a0 ]{0,80}"#) {
            scan(event.as_bytes());
        }
    }
}
