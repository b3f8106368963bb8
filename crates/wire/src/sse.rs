//! Server-sent events (WHATWG HTML, section 9.2), incremental.

use crate::format::{Event, Events};

/// Incremental reader of `text/event-stream`.
#[derive(Debug, Default)]
pub(crate) struct Frames {}

impl Events for Frames {
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        let _ = (bytes, each);
    }

    fn finish(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        let _ = each;
    }
}
