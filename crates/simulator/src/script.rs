//! A stream, written in advance: the bytes of all its events and when each is due.

use std::sync::Arc;

use bytes::Bytes;

/// An event's end in the bytes, and the step (of one token's time) at which it is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) end: usize,
    pub(crate) step: u32,
}

/// A finished stream; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) bytes: Bytes,
    pub(crate) marks: Arc<[Mark]>,
}

impl Script {
    /// Where the first `events` events end; `None` when there are fewer.
    pub(crate) fn end_of(&self, events: usize) -> Option<usize> {
        match events {
            0 => Some(0),
            _ => self.marks.get(events - 1).map(|mark| mark.end),
        }
    }
}

/// How server-sent events are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spelling {
    pub(crate) line: LineEnd,
    /// `data:x` instead of `data: x`.
    pub(crate) tight: bool,
    /// A comment line before each event.
    pub(crate) comments: bool,
    pub(crate) malformed: Option<Malformed>,
}

/// What ends a line of an event stream (WHATWG HTML section 9.2.6 allows all three).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum LineEnd {
    #[default]
    Lf,
    CrLf,
    Cr,
}

impl LineEnd {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::Cr => b"\r",
        }
    }
}

/// What is wrong with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Malformed {
    /// An event whose JSON breaks off.
    Json,
    /// An event that is no UTF-8.
    Utf8,
    /// Lines that are no fields.
    Field,
    /// The blank line after the last event is missing.
    Open,
}

/// After this many events comes the malformed one.
const BROKEN_AT: usize = 2;

/// Writes a [`Script`].
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    spelling: Spelling,
}

impl Writer {
    pub(crate) const fn new(spelling: Spelling) -> Self {
        Self {
            bytes: Vec::new(),
            marks: Vec::new(),
            spelling,
        }
    }

    /// Adds a server-sent event; `data` has no line ends.
    pub(crate) fn event(&mut self, step: u32, name: Option<&str>, data: &[u8]) {
        if self.marks.len() == BROKEN_AT {
            self.broken(step);
        }
        self.fields(name, data);
        self.mark(step);
    }

    /// Adds bytes that are no server-sent event.
    pub(crate) fn raw(&mut self, step: u32, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.mark(step);
    }

    fn mark(&mut self, step: u32) {
        self.marks.push(Mark {
            end: self.bytes.len(),
            step,
        });
    }

    fn line(&mut self, field: &str, value: &[u8]) {
        self.bytes.extend_from_slice(field.as_bytes());
        self.bytes
            .extend_from_slice(if self.spelling.tight { b":" } else { b": " });
        self.bytes.extend_from_slice(value);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.bytes.extend_from_slice(self.spelling.line.bytes());
    }

    fn fields(&mut self, name: Option<&str>, data: &[u8]) {
        if self.spelling.comments {
            self.line("", b"keep-alive");
        }
        if let Some(name) = name {
            self.line("event", name.as_bytes());
        }
        self.line("data", data);
        self.end_line();
    }

    fn broken(&mut self, step: u32) {
        match self.spelling.malformed {
            None | Some(Malformed::Open) => return,
            Some(Malformed::Json) => self.fields(None, br#"{"id":"broken","choices":[{"index":"#),
            Some(Malformed::Utf8) => self.fields(None, b"{\"text\":\"\xff\xfe\xc3\"}"),
            Some(Malformed::Field) => {
                self.bytes.extend_from_slice(b"<html>");
                self.end_line();
                self.line("unknown", b"field");
                self.end_line();
            }
        }
        self.mark(step);
    }

    pub(crate) fn finish(mut self) -> Script {
        if self.spelling.malformed == Some(Malformed::Open)
            && let Some(last) = self.marks.last_mut()
        {
            self.bytes
                .truncate(self.bytes.len() - self.spelling.line.bytes().len());
            last.end = self.bytes.len();
        }
        Script {
            bytes: self.bytes.into(),
            marks: self.marks.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spelling: Spelling, expected: &[u8]) {
        let mut writer = Writer::new(spelling);
        writer.event(0, Some("a"), b"1");
        writer.event(0, None, b"2");
        writer.event(1, None, b"3");
        let script = writer.finish();
        assert_eq!(
            String::from_utf8_lossy(&script.bytes),
            String::from_utf8_lossy(expected),
            "{spelling:?}"
        );
        assert_eq!(script.marks.last().unwrap().end, script.bytes.len());
    }

    #[test]
    fn events_are_spelled_as_asked() {
        let plain = Spelling::default();
        check(plain, b"event: a\ndata: 1\n\ndata: 2\n\ndata: 3\n\n");
        let tight = Spelling {
            line: LineEnd::CrLf,
            tight: true,
            ..plain
        };
        check(
            tight,
            b"event:a\r\ndata:1\r\n\r\ndata:2\r\n\r\ndata:3\r\n\r\n",
        );
        let comments = Spelling {
            line: LineEnd::Cr,
            comments: true,
            ..plain
        };
        let expected = b": keep-alive\revent: a\rdata: 1\r\r: keep-alive\rdata: 2\r\r: keep-alive\rdata: 3\r\r";
        check(comments, expected);
    }

    #[test]
    fn a_malformed_stream_is_wrong_after_its_second_event() {
        let with = |malformed| Spelling {
            malformed: Some(malformed),
            ..Spelling::default()
        };
        let head = "event: a\ndata: 1\n\ndata: 2\n\n";
        let broken = r#"{"id":"broken","choices":[{"index":"#;
        check(
            with(Malformed::Json),
            format!("{head}data: {broken}\n\ndata: 3\n\n").as_bytes(),
        );
        check(
            with(Malformed::Field),
            format!("{head}<html>\nunknown: field\n\ndata: 3\n\n").as_bytes(),
        );
        check(with(Malformed::Open), format!("{head}data: 3\n").as_bytes());
    }
}
