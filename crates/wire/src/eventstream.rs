//! AWS event streams: binary messages with a prelude, headers, a payload and checksums.

use crate::format::{Event, Events};

/// Incremental reader of `application/vnd.amazon.eventstream`.
#[derive(Debug, Default)]
pub(crate) struct Messages {}

impl Events for Messages {
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        let _ = (bytes, each);
    }

    fn finish(&mut self, each: &mut dyn FnMut(Event<'_>)) {
        let _ = each;
    }
}
