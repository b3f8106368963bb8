//! Streams of JSON without server-sent events: JSON lines, and one array element by element.

use crate::format::{Event, Events};

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 32 << 20;

/// Incremental reader of JSON lines (`application/x-ndjson`): every line that is not blank is an
/// event. A line past 32 MiB is left out and counted.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    is_oversized: bool,
    dropped: u64,
}

impl Lines {
    fn end(&mut self, rest: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        if std::mem::take(&mut self.is_oversized) {
            self.dropped += 1;
        } else if self.line.is_empty() {
            dispatch(rest, each);
        } else {
            self.line.extend_from_slice(rest);
            dispatch(&self.line, each);
        }
        self.line.clear();
    }
}

impl Events for Lines {
    fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.end(&bytes[..end], each);
            bytes = &bytes[end + 1..];
        }
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            self.is_oversized = true;
            self.line.clear();
        } else if !self.is_oversized {
            self.line.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        self.end(b"", each);
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Incremental reader of one JSON array whose elements are objects: every element is an event, as
/// soon as its closing brace has come. An element past 32 MiB is left out and counted.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    element: Vec<u8>,
    /// Braces and brackets that are open within the element.
    depth: u32,
    in_text: bool,
    after_backslash: bool,
    is_oversized: bool,
    dropped: u64,
}

impl Elements {
    /// Takes one byte; returns whether an element ended with it.
    fn step(&mut self, byte: u8) -> bool {
        if self.in_text {
            let is_escaped = std::mem::take(&mut self.after_backslash);
            self.in_text = is_escaped || byte != b'"';
            self.after_backslash = !is_escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_text = self.depth > 0,
            b'{' => self.depth += 1,
            b'[' if self.depth > 0 => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.element.len() + bytes.len() > MAX_EVENT_BYTES {
            self.is_oversized = true;
            self.element.clear();
        } else if !self.is_oversized {
            self.element.extend_from_slice(bytes);
        }
    }
}

impl Events for Elements {
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let was_outside = self.depth == 0;
            let is_end = self.step(*byte);
            if was_outside {
                // What stands between elements belongs to none.
                start = at;
            }
            if is_end {
                self.keep(&bytes[start..=at]);
                start = at + 1;
                if std::mem::take(&mut self.is_oversized) {
                    self.dropped += 1;
                } else {
                    dispatch(&self.element, each);
                }
                self.element.clear();
            }
        }
        if self.depth > 0 {
            self.keep(&bytes[start..]);
        }
    }

    fn finish(&mut self, _: &mut dyn FnMut(Event<'_>)) {}

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn dispatch(data: &[u8], each: &mut dyn FnMut(Event<'_>)) {
    let data = data.trim_ascii();
    if !data.is_empty() {
        each(Event {
            name: None,
            data,
            exception: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut events: impl Events, text: &str, piece: usize, expected: &[&str]) {
        let mut seen = Vec::new();
        let mut each =
            |event: Event<'_>| seen.push(String::from_utf8(event.data.to_vec()).unwrap());
        for chunk in text.as_bytes().chunks(piece) {
            events.push(chunk, &mut each);
        }
        events.finish(&mut each);
        assert_eq!(seen, expected, "{piece}");
    }

    #[test]
    fn lines_are_events_for_any_split() {
        for piece in 1..12 {
            check(
                Lines::default(),
                "{\"a\":1}\r\n\n{\"b\":2}",
                piece,
                &["{\"a\":1}", "{\"b\":2}"],
            );
        }
    }

    #[test]
    fn elements_are_events_for_any_split() {
        let array = r#"[{"a":[{"b":"]}\"{\\"}]}
,
{},{"c":1}]"#;
        for piece in 1..array.len() {
            let expected = [r#"{"a":[{"b":"]}\"{\\"}]}"#, "{}", r#"{"c":1}"#];
            check(Elements::default(), array, piece, &expected);
        }
        check(Elements::default(), r#"[{"a":1},{"b"#, 5, &[r#"{"a":1}"#]);
    }

    #[test]
    fn an_event_past_its_bound_is_left_out_and_counted() {
        let mut seen = Vec::new();
        let large = vec![b' '; 8 << 20];
        let mut lines = Lines::default();
        for _ in 0..5 {
            lines.push(&large, &mut |_| {});
        }
        lines.push(b"\n{}\n", &mut |event| seen.push(event.data.to_vec()));
        assert_eq!(
            (seen.as_slice(), lines.dropped()),
            (&[b"{}".to_vec()][..], 1)
        );
        let mut elements = Elements::default();
        elements.push(b"[{", &mut |_| {});
        for _ in 0..5 {
            elements.push(&large, &mut |_| {});
        }
        elements.push(b"},{}]", &mut |event| seen.push(event.data.to_vec()));
        assert_eq!((seen.len(), elements.dropped()), (2, 1));
    }
}
