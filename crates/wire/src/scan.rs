//! Finds what the gateway must know of a JSON request without building a tree.

use std::borrow::Cow;

/// The members of a request body that the gateway reads. Absent, malformed or of another type:
/// `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan<'b> {
    /// `model`.
    pub model: Option<Cow<'b, str>>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`; `None` when `stream_options` or the member is absent.
    pub include_usage: Option<bool>,
    /// Whether there is a `stream_options` member at all, of any type.
    pub has_stream_options: bool,
    /// Whether there is a `data_sources` member (Azure "on your data" refuses `stream_options`).
    pub has_data_sources: bool,
    /// The bound that the request sets on its output: `max_completion_tokens`,
    /// `max_output_tokens` or `max_tokens`.
    pub max_output_tokens: Option<u64>,
    /// The body is a whole, valid JSON object.
    pub is_object: bool,
}

/// Scans a JSON object; of a body that is none, everything is absent.
#[must_use]
pub fn scan(body: &[u8]) -> Scan<'_> {
    let _ = body;
    Scan::default()
}
