//! Walks JSON as it is written, and rewrites some of its values: everything else, white space and
//! the order of members among it, stays byte for byte.
//!
//! What a client sends may be no JSON, or only the beginning of it, or JSON in a string of JSON. All
//! of it is walked as far as it goes, and what is left is looked at as a text: nothing is passed
//! over because something before it is broken. It takes time in proportion to the length.

use std::borrow::Cow;

use isango_types::escape::unescape;
use serde_json::value::RawValue;

/// Deepest nesting that is looked into.
const MAX_DEPTH: usize = 128;

/// Where a value is: names of members, and numbers of elements, from the outside.
pub(crate) type Place<'p> = [Cow<'p, str>];

/// Decides on values: by where they are, and on texts and numbers by what they say.
pub(crate) trait Visit {
    /// Whether the value at a place may be replaced whole.
    fn takes(&self, place: &Place<'_>) -> bool;
    /// The JSON that takes the place of a value; `json`: as it is written.
    fn whole(&self, place: &Place<'_>, json: &str) -> Option<String>;
    /// The JSON that takes the place of a value too deep to be looked into.
    fn deep(&self, json: &str) -> Option<String>;
    /// What becomes of a text, or of a number as it is written.
    fn text(&self, text: &str) -> Option<String>;
}

/// The JSON with what the visitor replaced; `None`: nothing was.
pub(crate) fn rewrite(json: &str, visit: &dyn Visit) -> Option<String> {
    let mut walk = Walk::over(json, &[], visit);
    walk.space();
    if walk.value().is_some() {
        walk.space();
        if walk.at == json.len() {
            return walk.changed.then_some(walk.out);
        }
    }
    text(json, &[], visit)
}

/// A text with what the visitor replaced in it, and in JSON wherever a line begins with some, or has
/// it behind `data:`. `None`: nothing was.
pub(crate) fn text<'t>(
    text: &'t str,
    place: &'t Place<'_>,
    visit: &'t dyn Visit,
) -> Option<String> {
    let may_be_json = place.len() < MAX_DEPTH && text.contains(['{', '[']);
    let walked = may_be_json.then(|| Walk::over(text, place, visit).lines());
    let walked = walked.flatten();
    let found = visit.text(walked.as_deref().unwrap_or(text));
    found.or(walked)
}

struct Walk<'j> {
    json: &'j str,
    at: usize,
    out: String,
    place: Vec<Cow<'j, str>>,
    visit: &'j dyn Visit,
    changed: bool,
    /// Whether the end of a value was looked for, and there was none: once is enough.
    is_broken: bool,
}

impl<'j> Walk<'j> {
    fn over(json: &'j str, place: &'j Place<'_>, visit: &'j dyn Visit) -> Self {
        Self {
            json,
            at: 0,
            out: String::with_capacity(json.len()),
            place: place.iter().map(|part| Cow::Borrowed(&**part)).collect(),
            visit,
            changed: false,
            is_broken: false,
        }
    }

    fn rest(&self) -> &'j str {
        &self.json[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn copy(&mut self, to: usize) {
        self.out.push_str(&self.json[self.at..to]);
        self.at = to;
    }

    fn space(&mut self) {
        let blanks = self.rest().bytes();
        let blanks = blanks.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let count = blanks.count();
        self.copy(self.at + count);
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.copy(self.at + 1))
    }

    /// Walks JSON at the beginnings of lines.
    fn lines(mut self) -> Option<String> {
        let depth = self.place.len();
        while self.at < self.json.len() {
            let line = self.rest();
            let data = line.strip_prefix("data:").unwrap_or(line);
            let begin = data.trim_start_matches([' ', '\t']);
            if begin.starts_with(['{', '[']) {
                self.copy(self.at + line.len() - begin.len());
                // Where it breaks off, the rest is a text. What stands in a text was asked for as
                // that text.
                let _walked = match depth {
                    0 => self.value(),
                    _ => self.inside(),
                };
                self.place.truncate(depth);
            }
            let next = self.rest().find('\n');
            self.copy(next.map_or(self.json.len(), |next| self.at + next + 1));
        }
        self.changed.then_some(self.out)
    }

    fn value(&mut self) -> Option<()> {
        let first = self.peek()?;
        let is_scalar = !matches!(first, b'{' | b'[');
        let end = is_scalar.then(|| self.end_of_scalar()).flatten();
        if self.visit.takes(&self.place) {
            let end = end.or_else(|| self.end_of_value());
            // Where no end is found, all that is left may belong to it.
            let end = end.unwrap_or(self.json.len());
            if let Some(with) = self.visit.whole(&self.place, &self.json[self.at..end]) {
                self.replace(end, &with);
                return Some(());
            }
        }
        match end {
            Some(end) if is_scalar => self.scalar(end),
            Some(_) | None => self.inside(),
        }
    }

    /// An object or a list.
    fn inside(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' if self.place.len() >= MAX_DEPTH => self.deep(),
            b'{' => self.object(),
            b'[' => self.array(),
            _ => None,
        }
    }

    fn replace(&mut self, end: usize, with: &str) {
        self.out.push_str(with);
        self.at = end;
        self.changed = true;
    }

    /// Behind the value that begins here.
    fn end_of_value(&mut self) -> Option<usize> {
        if self.is_broken {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<&RawValue>();
        let value = values.next().and_then(Result::ok);
        self.is_broken = value.is_none();
        value.map(|value| self.at + value.get().len())
    }

    /// Behind the text, number or word that begins here; a text may break off at the end.
    fn end_of_scalar(&self) -> Option<usize> {
        let rest = self.rest().as_bytes();
        if rest.first() == Some(&b'"') {
            let mut at = 1;
            loop {
                match rest.get(at) {
                    None => return Some(self.json.len()),
                    Some(b'"') => return Some(self.at + at + 1),
                    Some(b'\n') => return None,
                    // What is escaped may be longer than a byte: none of its bytes is a quote.
                    Some(b'\\') => at += 2,
                    Some(_) => at += 1,
                }
            }
        }
        let is_end = |byte: &u8| matches!(byte, b',' | b':' | b'"' | b'[' | b'{' | b']' | b'}');
        let end = rest
            .iter()
            .position(|byte| is_end(byte) || byte.is_ascii_whitespace());
        let length = end.unwrap_or(rest.len());
        (length > 0).then_some(self.at + length)
    }

    /// What lies too deep is a text as a whole.
    fn deep(&mut self) -> Option<()> {
        let end = self.end_of_value();
        let json = &self.json[self.at..end.unwrap_or(self.json.len())];
        if let Some(with) = self.visit.deep(json) {
            self.replace(self.at + json.len(), &with);
            return Some(());
        }
        let end = end?;
        match self.visit.text(json) {
            Some(with) => self.replace(end, &serde_json::to_string(&with).ok()?),
            None => self.copy(end),
        }
        Some(())
    }

    fn scalar(&mut self, end: usize) -> Option<()> {
        let json = &self.json[self.at..end];
        let found = match json.as_bytes().first()? {
            b'"' => text(&text_of(json), &self.place, self.visit),
            b'-' | b'0'..=b'9' => self.visit.text(json),
            _ => None,
        };
        match found {
            Some(with) => {
                let with = serde_json::to_string(&with).ok()?;
                let is_whole = !json.starts_with('"') || is_closed(json);
                let with = with
                    .strip_suffix('"')
                    .filter(|_| !is_whole)
                    .unwrap_or(&with);
                self.replace(end, with);
            }
            None => self.copy(end),
        }
        Some(())
    }

    fn object(&mut self) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            let name = self.name()?;
            self.space();
            self.expect(b':')?;
            self.space();
            self.place.push(name);
            self.value()?;
            self.place.pop();
            self.space();
            match self.peek()? {
                b',' => self.expect(b',')?,
                _ => return self.expect(b'}'),
            }
            self.space();
        }
    }

    /// The name of a member; what is found in it is replaced.
    fn name(&mut self) -> Option<Cow<'j, str>> {
        if self.peek()? != b'"' {
            return None;
        }
        let end = self.end_of_scalar()?;
        let name = text_of(&self.json[self.at..end]);
        match self.visit.text(&name) {
            Some(with) => self.replace(end, &serde_json::to_string(&with).ok()?),
            None => self.copy(end),
        }
        Some(name)
    }

    fn array(&mut self) -> Option<()> {
        self.expect(b'[')?;
        self.space();
        if self.peek()? == b']' {
            return self.expect(b']');
        }
        for number in 0_usize.. {
            self.place.push(number.to_string().into());
            self.value()?;
            self.place.pop();
            self.space();
            match self.peek()? {
                b',' => self.expect(b',')?,
                _ => return self.expect(b']'),
            }
            self.space();
        }
        None
    }
}

/// Whether a text of JSON has its closing quote.
fn is_closed(json: &str) -> bool {
    let Some(inside) = json.strip_suffix('"') else {
        return false;
    };
    let escapes = inside.bytes().rev().take_while(|byte| *byte == b'\\');
    !inside.is_empty() && escapes.count() % 2 == 0
}

/// The text that a JSON string writes, or the beginning of one. Halves of pairs become U+FFFD.
fn text_of(json: &str) -> Cow<'_, str> {
    let closed = json.strip_suffix('"').filter(|_| is_closed(json));
    let inside = closed.unwrap_or(json);
    let inside = inside.strip_prefix('"').unwrap_or(inside);
    match inside.contains('\\') {
        false => Cow::Borrowed(inside),
        true => Cow::Owned(unescape(inside)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes out what is at `x`, and says `*` for `?`.
    struct Asks;

    impl Visit for Asks {
        fn takes(&self, place: &Place<'_>) -> bool {
            place.last().is_some_and(|name| name == "x")
        }

        fn whole(&self, place: &Place<'_>, json: &str) -> Option<String> {
            (self.takes(place) && json != "0").then(|| "0".into())
        }

        fn deep(&self, _json: &str) -> Option<String> {
            None
        }

        fn text(&self, text: &str) -> Option<String> {
            text.contains('?').then(|| text.replace('?', "*"))
        }
    }

    #[test]
    fn what_is_broken_is_walked_as_far_as_it_goes_and_the_rest_is_a_text() {
        for (json, rewritten) in [
            (r#"{"a":"?","x":1,}?"#, r#"{"a":"*","x":0,}*"#),
            (r#"{"a":"?"#, r#"{"a":"*"#),
            (r#"{"a":"b\"#, r#"{"a":"b\"#),
            (r#"{"x":"secr"#, r#"{"x":0"#),
            (r#"{"x":{"a":[1,"b"#, r#"{"x":0"#),
            (r#"{"x":{"a":1}"#, r#"{"x":0"#),
            ("[\n[\n{\"x\":1 y ?", "[\n[\n{\"x\":0 y *"),
            ("{\"x\":\"no\nend\"}", "{\"x\":0"),
            ("[a](?)", "[a](*)"),
            ("", ""),
            ("\"", "\""),
        ] {
            let found = text(json, &[], &Asks);
            assert_eq!(found.as_deref().unwrap_or(json), rewritten, "{json}");
        }
    }

    #[test]
    fn lines_of_json_and_events_are_json() {
        let check = |json: &str, rewritten: &str| {
            assert_eq!(text(json, &[], &Asks).as_deref(), Some(rewritten), "{json}");
        };
        check("{\"x\":1}\n{\"x\":2}\n", "{\"x\":0}\n{\"x\":0}\n");
        check(
            "event: a\ndata: {\"x\":1}\n\ndata: {\"\\u003f\":1}\n\n",
            "event: a\ndata: {\"x\":0}\n\ndata: {\"*\":1}\n\n",
        );
        check("{\"x\":1} bad\n{\n\"x\":2}", "{\"x\":0} bad\n{\n\"x\":0}");
    }

    #[test]
    fn json_within_a_text_of_json_is_json() {
        let found = rewrite(
            r#"{"a":"{\"x\":\"{\\\"y\\\":1}\",\"b\":\"q\\n\\u003f\"}"}"#,
            &Asks,
        );
        let expected = r#"{"a":"{\"x\":0,\"b\":\"q\\n*\"}"}"#;
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn a_long_text_that_is_broken_at_its_end_takes_no_longer_than_it_is_long() {
        // At a step for each pair of places this would take hours.
        for open in ["[\n", "{\"a\":\n", "[\"", "data: [\n", "[[1],\n"] {
            let long = format!("{}x?", open.repeat(300_000));
            assert!(text(&long, &[], &Asks).is_some());
        }
    }
}
