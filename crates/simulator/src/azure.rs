//! What Azure OpenAI does differently from OpenAI: deployments, `api-version`, content filters,
//! headers, and the order of members.

use http::{HeaderMap, HeaderValue};

use crate::asked::{Answer, Asked};
use crate::json::Object;
use crate::openai;
use crate::refusal::Refusal;

/// Answers a request to Azure's surface.
pub(crate) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    if asked.route.dated && asked.query("api-version").is_none_or(str::is_empty) {
        let message = "the query key `api-version` is required, for example 2024-10-21";
        return Err(Refusal::bad(message).coded("MissingApiVersionParameter"));
    }
    openai::answer(asked)
}

/// The headers of every answer.
pub(crate) fn headers(headers: &mut HeaderMap, id: Option<HeaderValue>, left: HeaderValue) {
    if let Some(id) = id {
        headers.insert("apim-request-id", id.clone());
        headers.insert("x-request-id", id);
    }
    headers.insert(
        "x-ms-region",
        HeaderValue::from_static("South Africa North"),
    );
    headers.insert("x-ratelimit-remaining-requests", left);
    headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from(900_000));
}

/// A verdict that found nothing to object to.
fn harmless() -> Object {
    let safe = || {
        Object::new()
            .flag("filtered", false)
            .text("severity", "safe")
    };
    Object::new()
        .object("hate", safe())
        .object("self_harm", safe())
        .object("sexual", safe())
        .object("violence", safe())
}

/// The verdict on a piece of an answer; `None` before there is anything to judge.
pub(crate) fn content_filter_results(judged: bool) -> Object {
    if judged { harmless() } else { Object::new() }
}

/// The verdict on the prompt: the member `prompt_filter_results`.
pub(crate) fn prompt_filter_results() -> Vec<u8> {
    let jailbreak = Object::new()
        .flag("filtered", false)
        .flag("detected", false);
    let results = harmless().object("jailbreak", jailbreak);
    let prompt = Object::new()
        .number("prompt_index", 0)
        .object("content_filter_results", results);
    crate::json::list([prompt])
}

/// The chunk with which a stream begins: the verdict on the prompt, and no choice.
pub(crate) fn first_chunk() -> Vec<u8> {
    Object::new()
        .raw("choices", b"[]")
        .number("created", 0)
        .text("id", "")
        .text("model", "")
        .text("object", "")
        .raw("prompt_filter_results", prompt_filter_results())
        .build()
}
