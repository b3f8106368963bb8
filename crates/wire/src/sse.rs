//! Server-sent events (WHATWG HTML, section 9.2 "server-sent events"), incremental.

use crate::format::{Event, Events};

/// Longest line, and most data of one event, in bytes. An image comes as one line.
const MAX_EVENT_BYTES: usize = 32 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Incremental reader of `text/event-stream`.
///
/// Lines end in LF, CRLF or CR; comments, `id` and `retry` are read over. An event past 32 MiB is
/// left out and counted. Unlike a browser, [`Events::finish`] also gives an event whose blank line
/// never came: providers do leave it out.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of the event so far, each ended by LF.
    data: Vec<u8>,
    name: Vec<u8>,
    /// The first line has been read: a byte order mark may stand before it only.
    is_under_way: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The event under way is too large, and is left out when it ends.
    is_oversized: bool,
    dropped: u64,
}

impl Events for Frames {
    fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        if self.after_cr
            && let [first, rest @ ..] = bytes
        {
            self.after_cr = false;
            if *first == b'\n' {
                bytes = rest;
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.take_line(line, each);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, each);
                whole.clear();
                self.line = whole;
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            // The beginning is kept, so that what kind of line it is stays known.
            self.is_oversized = true;
            self.line.truncate(self.line.len().min(64));
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, each);
        }
        self.dispatch(each);
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Frames {
    fn take_line(&mut self, mut line: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        if !self.is_under_way {
            self.is_under_way = true;
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(each);
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &line[..0]),
        };
        match field {
            b"data" if self.data.len() + value.len() > MAX_EVENT_BYTES => self.is_oversized = true,
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
    }

    /// Ends the event under way; without data there is none.
    fn dispatch(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        if std::mem::take(&mut self.is_oversized) {
            self.dropped += 1;
        } else if let [data @ .., b'\n'] = &*self.data {
            let name = std::str::from_utf8(&self.name)
                .ok()
                .filter(|name| !name.is_empty());
            each(Event {
                name,
                data,
                exception: false,
            });
        }
        self.data.clear();
        self.name.clear();
    }
}

/// Where the first event begins in `bytes` that start in the middle of one: after the first blank
/// line.
pub(crate) fn resync(bytes: &[u8]) -> Option<usize> {
    let mut after_line_end = false;
    let mut at = 0;
    while let Some(end) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
        let next = match &bytes[at + end..] {
            [b'\r', b'\n', ..] => at + end + 2,
            _ => at + end + 1,
        };
        if after_line_end && end == 0 {
            return Some(next);
        }
        after_line_end = true;
        at = next;
    }
    None
}

#[cfg(test)]
mod tests;
