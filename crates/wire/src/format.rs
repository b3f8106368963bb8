//! What every wire format answers about the bytes of an answer.

use isango_types::Operation;
use serde_json::value::RawValue;

use crate::json::{self, Kind};
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

    /// How many events were left out because they are larger than the reader's bound.
    fn dropped(&self) -> u64 {
        0
    }
}

/// A wire format, as the reader of one answer. The value is the state of one stream.
pub(crate) trait Format: Sized {
    /// The state at the start of a stream.
    fn new(operation: Operation) -> Self;

    /// Reads one whole, successful answer: sets `model`, `id`, `usage`, `finish_reason`,
    /// `delivered_text`. `body` may be anything: JSON, cut JSON, audio. What cannot be read stays
    /// as it is.
    fn whole(operation: Operation, body: &[u8], out: &mut Reading);

    /// Reads `body` as [`Format::whole`] does; whether it was seen to be one valid JSON document,
    /// which need not be checked again. `false` where that is not known.
    fn whole_text(operation: Operation, body: &str, out: &mut Reading) -> bool {
        Self::whole(operation, body.as_bytes(), out);
        false
    }

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

/// Longest error code that is kept, in bytes.
const MAX_CODE_BYTES: usize = 128;

/// The error code of the many providers that answer like OpenAI: `code`, else `type`, else `status`,
/// else `__type` of the `error` object (or of the object itself, where it has none); `None` when
/// there is nothing like that. A code that is a number gives way to a type or status that is a text.
///
/// An array stands for its first element (Gemini), `errors` for its first error (Cloudflare).
pub(crate) fn error_code(body: &[u8]) -> Option<Box<str>> {
    let mut inner: Option<&RawValue> = None;
    if body.trim_ascii_start().starts_with(b"[") {
        json::each_element(body, |element| inner = inner.or(Some(element)));
        return inner
            .filter(|first| json::kind(first) == Kind::Object)
            .and_then(|first| error_code(first.get().as_bytes()));
    }
    json::each_member(body, |name, value| {
        if name == "error" {
            inner = Some(value);
        } else if name == "errors" && json::kind(value) == Kind::Array {
            json::each_element(value.get().as_bytes(), |error| {
                inner = inner.or(Some(error))
            });
        }
    });
    let nested = inner.and_then(|error| error_code_in(error.get().as_bytes()));
    // `{"error": "invalid_api_key"}` names its code; `{"error": "No such model."}` is a sentence.
    let named = inner
        .and_then(json::label)
        .filter(|text| !text.contains(char::is_whitespace));
    nested
        .or_else(|| error_code_in(body))
        .or(named)
        .filter(|code| code.len() <= MAX_CODE_BYTES)
}

fn error_code_in(object: &[u8]) -> Option<Box<str>> {
    let members = json::members(object);
    let value = |name| json::member(&members, name);
    ["code", "type", "status", "__type"]
        .into_iter()
        .find_map(|name| value(name).and_then(json::label))
        .filter(|code| &**code != "error")
        .or_else(|| {
            value("code")
                .and_then(json::count)
                .map(|code| code.to_string().into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        assert_eq!(error_code(body.as_bytes()).as_deref(), expected, "{body}");
    }

    #[test]
    fn error_codes_of_many_providers_are_read() {
        check(
            r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Some("insufficient_quota"),
        );
        check(
            r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
            Some("server_error"),
        );
        check(r#"{"error":{"code":"429","message":"m"}}"#, Some("429"));
        check(
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            Some("overloaded_error"),
        );
        check(
            r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]"#,
            Some("RESOURCE_EXHAUSTED"),
        );
        check(
            r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
            Some("402"),
        );
        check(
            r#"{"code":"invalid-argument","error":"Client specified no model."}"#,
            Some("invalid-argument"),
        );
        check(
            r#"{"object":"error","message":"m","type":"invalid_model","code":1500}"#,
            Some("invalid_model"),
        );
        check(
            r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#,
            Some("10000"),
        );
        check(r#"{"error":"invalid_api_key"}"#, Some("invalid_api_key"));
    }

    #[test]
    fn a_sentence_is_no_code() {
        check(r#"{"error":"No such model."}"#, None);
        check(r#"{"detail":"Not Found"}"#, None);
        check("<html>", None);
        check(r#"{"type":"error"}"#, None);
        check("[]", None);
    }
}
