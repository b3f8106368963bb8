//! Follows a stream while it passes: about how many tokens it has brought, and, where it is to go
//! no further, how its own format would have ended it.
//!
//! Tokens are counted as the events that bring text, or as the bytes of that text over four,
//! whichever is more: most providers send one token in an event, some many. Nothing is kept of the
//! stream but an event that is not complete yet.

mod ending;
mod text;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::Wire;

use crate::assemble::Members;
use crate::decode::Decoder;
use crate::eventstream::{self, Messages};
use crate::filter::Lines;
use crate::format::{Event, Events as _};
use crate::sse::Frames;

use ending::Ending;
use text::scan;

/// Bytes of text that are about one token.
const BYTES_PER_TOKEN: u64 = 4;

/// One stream under way.
pub struct Flow {
    wire: Wire,
    decoder: Option<Decoder>,
    frames: Framing,
    /// Events that brought text, and how many bytes of it there were.
    events: u64,
    bytes: u64,
    ending: Ending,
}

enum Framing {
    Sse(Frames, Lines),
    Aws(Messages, eventstream::Ends),
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow")
            .field("wire", &self.wire)
            .field("tokens", &self.tokens())
            .finish_non_exhaustive()
    }
}

impl Flow {
    /// Follows an answer of these headers; `None`: it is no stream of server-sent events or of AWS
    /// messages, or nobody can read it.
    #[must_use]
    pub fn of(wire: Wire, content_type: &str, content_encoding: Option<&str>) -> Option<Self> {
        let content_type = content_type.to_ascii_lowercase();
        let frames = if content_type.contains("amazon.eventstream") {
            Framing::Aws(Messages::default(), eventstream::Ends::default())
        } else if content_type.contains("event-stream") {
            Framing::Sse(Frames::default(), Lines::default())
        } else {
            return None;
        };
        let encoding = content_encoding.filter(|name| !name.eq_ignore_ascii_case("identity"));
        let decoder = match encoding {
            Some(_) => Some(Decoder::new(encoding).ok()?),
            None => None,
        };
        Some(Self {
            wire,
            decoder,
            frames,
            events: 0,
            bytes: 0,
            ending: Ending::default(),
        })
    }

    /// Whether it is encoded: it can be followed, and not be ended.
    #[must_use]
    pub const fn is_encoded(&self) -> bool {
        self.decoder.is_some()
    }

    /// Tokens that have come, about.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.events.max(self.bytes / BYTES_PER_TOKEN)
    }

    /// Shows the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let chunk = match &mut self.decoder {
            Some(decoder) => decoder.push(chunk),
            None => Cow::Borrowed(chunk),
        };
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        let mut each = |event: Event<'_>| {
            let found = text_of(&event);
            *events += u64::from(found > 0);
            *bytes += found;
        };
        match &mut self.frames {
            Framing::Sse(frames, _) => frames.push(&chunk, &mut each),
            Framing::Aws(messages, _) => messages.push(&chunk, &mut each),
        }
    }

    /// Shows the next bytes of a stream that is to end when it has brought `most` tokens: how many
    /// of them belong to it then, and the bytes that end it as its format does. `answers`: how many
    /// answers it brings side by side. `None`: it goes on; so does one that is encoded, or whose
    /// format has no end that we could write.
    pub fn push_until(
        &mut self,
        chunk: &[u8],
        most: u64,
        answers: u64,
    ) -> Option<(usize, Vec<u8>)> {
        if self.decoder.is_some() {
            self.push(chunk);
            return None;
        }
        let mut at = 0;
        loop {
            let rest = &chunk[at..];
            let end = match &mut self.frames {
                Framing::Sse(_, lines) => lines.event_end(rest),
                Framing::Aws(_, ends) => ends.message_end(rest),
            };
            let piece = &rest[..end.unwrap_or(rest.len())];
            let (events, bytes, ending) = (&mut self.events, &mut self.bytes, &mut self.ending);
            let mut each = |event: Event<'_>| {
                let found = text_of(&event);
                *events += u64::from(found > 0);
                *bytes += found;
                let is_over = (*events).max(*bytes / BYTES_PER_TOKEN) >= most;
                ending.see(&event, found > 0 && is_over);
            };
            match &mut self.frames {
                Framing::Sse(frames, _) => frames.push(piece, &mut each),
                Framing::Aws(messages, _) => messages.push(piece, &mut each),
            }
            at += end?;
            if self.tokens() >= most {
                let tokens = self.tokens();
                let ending = self.ending.write(self.wire, tokens, answers);
                if ending.is_some() {
                    return ending.map(|ending| (at, ending));
                }
            }
        }
    }
}

/// Bytes of text that an event brings. An `invoke` stream of Bedrock has the events of the model's
/// maker in base64.
fn text_of(event: &Event<'_>) -> u64 {
    if event.name != Some("chunk") {
        return scan(event.data);
    }
    let inner = Members::parse(event.data).and_then(|chunk| {
        let bytes = chunk.text("bytes")?;
        STANDARD.decode(bytes.as_bytes()).ok()
    });
    inner.map_or(0, |inner| scan(&inner))
}

#[cfg(test)]
mod tests;
