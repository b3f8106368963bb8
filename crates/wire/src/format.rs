//! What every wire format answers about the bytes of an answer.

use isango_types::Operation;
use serde::Deserialize;

use crate::read::Reading;

/// One event of a stream: a server-sent event, a line of JSON lines, an element of a JSON array,
/// or an AWS event stream message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'e> {
    /// SSE `event:`, or `:event-type` / `:exception-type` / `:error-code` of an AWS message.
    pub(crate) name: Option<&'e str>,
    /// The data: SSE `data:` lines joined by line feeds, else the line, element or payload.
    pub(crate) data: &'e [u8],
    /// An AWS message that is an exception or an error; `name` tells which.
    pub(crate) exception: bool,
}

/// Cuts a stream into events, incrementally: the same events for any split of the bytes.
pub(crate) trait Events {
    /// Takes the next bytes; calls `each` for every event that they complete.
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>));

    /// The stream ended; calls `each` for a last event that only lacks its terminator.
    fn finish(&mut self, each: &mut dyn FnMut(Event<'_>));
}

/// A wire format, as the reader of one answer. The value is the state of one stream.
pub(crate) trait Format: Sized {
    /// The state at the start of a stream.
    fn new(operation: Operation) -> Self;

    /// Reads one whole, successful answer: sets `model`, `id`, `usage`, `finish_reason`,
    /// `delivered_text`. `body` may be anything: JSON, cut JSON, audio. What cannot be read stays
    /// as it is.
    fn whole(operation: Operation, body: &[u8], out: &mut Reading);

    /// Reads one event of a stream; sets the same members of `out` as they become known (`usage`
    /// may also wait for `finish`), and `error_code` of an error event. Returns whether the event
    /// brings content: a token of text, reasoning, tool call, audio.
    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool;

    /// The stream ended, whole or cut. Settles `out`; returns the whole answer in the provider's
    /// own shape as JSON, of what has come. `None` when no event could be read: the frames
    /// themselves are then the body.
    fn finish(self, out: &mut Reading) -> Option<Vec<u8>>;

    /// The provider's error code or type in the body of an error answer.
    fn error_code(body: &[u8]) -> Option<Box<str>> {
        error_code(body)
    }
}

/// Reads `error.code`, else `error.type`, else `error.status`, else the same members of the object
/// itself, as text. A code that is a number gives way to a type or status that is a text.
pub(crate) fn error_code(body: &[u8]) -> Option<Box<str>> {
    let _ = body;
    None
}

/// Some JSON providers number what others name; either is read as text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Label {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(u64),
}
