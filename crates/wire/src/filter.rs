//! Keeps the usage frame that only we asked for from the client.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::{self, Finder};
use serde_json::value::RawValue;

use crate::format::{Event, Events as _};
use crate::json::{self, Kind};
use crate::sse::Frames;

/// Most bytes of an incomplete event that are held.
const MAX_HELD_BYTES: usize = 64 << 10;

const FINISH: &[u8] = br#""finish_reason""#;

/// How many bytes are remembered of a chunk that ends within an event, to find [`FINISH`] and the
/// value behind it across the split. More space than this between the two is not seen through.
const MEMORY_BYTES: usize = 48;

/// Takes the frame that `include_usage` adds (`"choices":[]` with a `usage`) out of an OpenAI
/// event stream; everything else passes byte for byte in the call that brought it.
///
/// Nothing is held before the first non-null `finish_reason`; from there on, an event that is not
/// complete yet is held until it is, or until 64 KiB. One frame is taken out, no more.
#[derive(Debug, Default)]
pub struct UsageFilter {
    state: State,
    /// Of a chunk that ended within an event: its last bytes. Later: the event that is held.
    held: BytesMut,
    lines: Lines,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No choice has finished: everything passes.
    #[default]
    Running,
    /// The event that finished a choice, or one too large to hold, passes to its end.
    Passing,
    /// Events are judged one by one.
    Judging,
    /// The frame ended in CR and was taken out: an LF that belongs to it is, too.
    Taken,
    /// The frame was taken out: everything passes.
    Over,
}

impl UsageFilter {
    /// Shows the filter the next bytes; returns what goes on to the client now (maybe nothing).
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        match self.state {
            State::Running => match self.finished_at(&chunk) {
                None => {
                    self.remember(&chunk);
                    chunk
                }
                Some(at) => {
                    self.held.clear();
                    self.state = State::Passing;
                    self.judge(chunk, at)
                }
            },
            State::Passing | State::Judging => self.judge(chunk, 0),
            State::Taken if chunk.is_empty() => chunk,
            State::Taken => {
                self.state = State::Over;
                let of_frame = usize::from(chunk.first() == Some(&b'\n'));
                chunk.slice(of_frame..)
            }
            State::Over => chunk,
        }
    }

    /// What was held when the stream ended. A usage frame that only lacks its blank line stays out.
    pub fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let is_held = std::mem::replace(&mut self.state, State::Over) == State::Judging;
        if is_held && !is_usage_frame(&held) {
            held.freeze()
        } else {
            Bytes::new()
        }
    }

    /// Where in `chunk` the first `finish_reason` with a value other than null is known.
    fn finished_at(&self, chunk: &[u8]) -> Option<usize> {
        if !self.held.is_empty() {
            let mut seam = [0; 2 * MEMORY_BYTES];
            let (before, after) = (self.held.len(), chunk.len().min(MEMORY_BYTES));
            seam[..before].copy_from_slice(&self.held);
            seam[before..before + after].copy_from_slice(&chunk[..after]);
            if let Some(at) = finish_in(&seam[..before + after]) {
                return Some(at.saturating_sub(before));
            }
        }
        finish_in(chunk)
    }

    fn remember(&mut self, chunk: &[u8]) {
        if chunk.last() == Some(&b'\n') {
            self.held.clear();
            return;
        }
        self.held.extend_from_slice(
            chunk
                .get(chunk.len().saturating_sub(MEMORY_BYTES)..)
                .unwrap_or_default(),
        );
        let excess = self.held.len().saturating_sub(MEMORY_BYTES);
        drop(self.held.split_to(excess));
    }

    /// Passes on what can be decided; the bytes of `chunk` before `from` have been looked at.
    fn judge(&mut self, chunk: Bytes, from: usize) -> Bytes {
        // An event that began in `head` goes on at 0; an LF of the event before passes first.
        let mut head = std::mem::take(&mut self.held);
        let mut start = usize::from(head.is_empty() && self.lines.is_lf_of_last_event(&chunk));
        let mut at = from.max(start);
        while let Some(length) = self.lines.event_end(&chunk[at..]) {
            let end = at + length;
            let is_first = start == 0 && !head.is_empty();
            if self.state == State::Judging && is_frame(&head, &chunk[start..end], is_first) {
                let is_cr = end == chunk.len() && chunk[end - 1] == b'\r';
                self.state = if is_cr { State::Taken } else { State::Over };
                return match (is_first, start) {
                    (true, _) => chunk.slice(end..),
                    (false, 0) => join(&head, &chunk.slice(end..)),
                    (false, _) => join(&join(&head, &chunk.slice(..start)), &chunk.slice(end..)),
                };
            }
            self.state = State::Judging;
            start = end;
            at = end;
        }
        if self.state == State::Passing {
            return chunk;
        }
        let passed = if start == 0 {
            head.extend_from_slice(&chunk);
            self.held = head;
            Bytes::new()
        } else {
            self.held.extend_from_slice(&chunk[start..]);
            join(&head, &chunk.slice(..start))
        };
        if self.held.len() > MAX_HELD_BYTES {
            self.state = State::Passing;
            return join(&passed, &std::mem::take(&mut self.held).freeze());
        }
        passed
    }
}

/// Whether `event`, begun in `head` if it `is_first`, is the frame.
fn is_frame(head: &[u8], event: &[u8], is_first: bool) -> bool {
    if is_first {
        is_usage_frame(&[head, event].concat())
    } else {
        is_usage_frame(event)
    }
}

/// `left` and then `right`; without a copy where one of them is empty.
fn join(left: &[u8], right: &Bytes) -> Bytes {
    if left.is_empty() {
        return right.clone();
    }
    let mut both = BytesMut::with_capacity(left.len() + right.len());
    both.extend_from_slice(left);
    both.extend_from_slice(right);
    both.freeze()
}

/// Where in `bytes` the value of the first `finish_reason` stands that is not null.
fn finish_in(bytes: &[u8]) -> Option<usize> {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(FINISH));
    let mut at = 0;
    while let Some(found) = FINDER.find(&bytes[at..]) {
        at += found + FINISH.len();
        let value = value_at(bytes, at);
        if value.is_some_and(|value| bytes[value] != b'n') {
            return value;
        }
    }
    None
}

/// Where the value of a member begins whose name ends at `at`.
fn value_at(bytes: &[u8], at: usize) -> Option<usize> {
    let past_space = |at: usize| {
        let space = bytes
            .get(at..)?
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())?;
        Some(at + space)
    };
    let colon = past_space(at)?;
    if bytes[colon] == b':' {
        past_space(colon + 1)
    } else {
        None
    }
}

/// Whether `event`, its lines included, says nothing but what was used.
fn is_usage_frame(event: &[u8]) -> bool {
    if memmem::find(event, b"\"usage\"").is_none() || memmem::find(event, b"\"choices\"").is_none()
    {
        return false;
    }
    let mut is_frame = false;
    let mut frames = Frames::default();
    let mut each = |event: Event<'_>| {
        let (mut no_choices, mut has_usage) = (false, false);
        let is_whole = json::each_member(event.data, |name, value| match &*name {
            "choices" => no_choices = is_empty_array(value),
            "usage" => has_usage = json::kind(value) == Kind::Object,
            _ => {}
        });
        is_frame = is_whole && no_choices && has_usage;
    };
    frames.push(event, &mut each);
    frames.finish(&mut each);
    is_frame
}

fn is_empty_array(value: &RawValue) -> bool {
    let mut is_empty = true;
    json::each_element(value.get().as_bytes(), |_| is_empty = false) && is_empty
}

/// Finds the blank lines that end events, across chunks.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The byte before was the last of a line.
    at_line_start: bool,
    /// The byte before was CR: an LF that follows belongs to the same line end.
    after_cr: bool,
}

impl Lines {
    /// Whether `bytes` begin with the LF of a blank line whose CR ended the last event.
    fn is_lf_of_last_event(&self, bytes: &[u8]) -> bool {
        self.after_cr && self.at_line_start && bytes.first() == Some(&b'\n')
    }

    /// How many bytes there are to the end of the event, its blank line included.
    pub(crate) fn event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(self.after_cr && bytes.first() == Some(&b'\n'));
        self.after_cr &= bytes.is_empty();
        while let Some(line) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
            let is_blank = self.at_line_start && line == 0;
            let end = at + line;
            at = if bytes[end..].starts_with(b"\r\n") {
                end + 2
            } else {
                end + 1
            };
            self.at_line_start = true;
            self.after_cr = at == bytes.len() && bytes[end] == b'\r' && at == end + 1;
            if is_blank {
                return Some(at);
            }
        }
        self.at_line_start &= at == bytes.len();
        None
    }
}

#[cfg(test)]
mod tests;
