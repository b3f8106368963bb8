//! Where providers look for a key, and the headers they answer with.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::asked::query;
use crate::azure;
use crate::refusal::Refusal;
use crate::route::Provider;

/// The key that a request carries, wherever its provider looks for it.
pub(crate) fn credential(provider: Provider, head: &Parts) -> Option<&str> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || {
        let (scheme, key) = header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    match provider {
        Provider::OpenAi => bearer(),
        Provider::Azure => header("api-key").or_else(bearer),
        Provider::Anthropic => header("x-api-key")
            .or_else(bearer)
            .or_else(|| header("api-key")),
        Provider::Gemini => header("x-goog-api-key")
            .or_else(|| query(head.uri.query(), "key"))
            .or_else(bearer),
    }
}

/// The refusal of a key, or of its absence.
///
/// Google refuses callers without a key with 403, the others with 401.
pub(crate) fn unauthorized(provider: Provider, reason: &str) -> Refusal {
    let (status, headers) = match provider {
        Provider::OpenAi => (StatusCode::UNAUTHORIZED, "authorization: Bearer"),
        Provider::Azure => (
            StatusCode::UNAUTHORIZED,
            "api-key, or authorization: Bearer",
        ),
        Provider::Anthropic => (
            StatusCode::UNAUTHORIZED,
            "x-api-key, or authorization: Bearer",
        ),
        Provider::Gemini => (StatusCode::FORBIDDEN, "x-goog-api-key, or ?key="),
    };
    Refusal::new(status, format!("{reason}; it belongs in {headers}"))
}

/// Anthropic wants to know the version of its interface in a header.
pub(crate) fn versioned(provider: Provider, head: &Parts) -> Result<(), Refusal> {
    if provider == Provider::Anthropic && !head.headers.contains_key("anthropic-version") {
        let message = "the header `anthropic-version` is required: 2023-06-01";
        return Err(Refusal::bad(message));
    }
    Ok(())
}

/// Whose manners an unknown path is refused with.
pub(crate) fn guess(head: &Parts) -> Provider {
    let path = head.uri.path();
    if head.headers.contains_key("anthropic-version") {
        Provider::Anthropic
    } else if path.contains("/v1beta/") {
        Provider::Gemini
    } else if head.headers.contains_key("api-key") || path.contains("/openai/deployments/") {
        Provider::Azure
    } else {
        Provider::OpenAi
    }
}

/// The id under which the provider would know the request.
pub(crate) fn request_id(provider: Provider, seed: u64) -> String {
    match provider {
        Provider::OpenAi => format!("req_{seed:016x}{:016x}", seed.rotate_left(29)),
        Provider::Anthropic => crate::text::id("req_01", seed, 22),
        Provider::Azure | Provider::Gemini => crate::text::uuid(seed),
    }
}

/// Sets a header that has a value.
pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// Adds the headers that the provider sends with every answer.
pub(crate) fn decorate(headers: &mut HeaderMap, provider: Provider, seed: u64, streams: bool) {
    let id = HeaderValue::try_from(request_id(provider, seed)).ok();
    let left = HeaderValue::from(9_000 + seed % 999);
    match provider {
        Provider::OpenAi => {
            insert(headers, "x-request-id", id);
            headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            headers.insert("openai-organization", HeaderValue::from_static("simulator"));
            headers.insert("openai-processing-ms", HeaderValue::from(20 + seed % 180));
            headers.insert("x-ratelimit-limit-requests", HeaderValue::from(10_000));
            headers.insert("x-ratelimit-remaining-requests", left);
        }
        Provider::Azure => azure::headers(headers, id, left),
        Provider::Anthropic => {
            insert(headers, "request-id", id);
            headers.insert(
                "anthropic-ratelimit-requests-limit",
                HeaderValue::from(10_000),
            );
            headers.insert("anthropic-ratelimit-requests-remaining", left);
        }
        Provider::Gemini => {
            headers.insert(
                "server-timing",
                HeaderValue::from_static("gfet4t7; dur=120"),
            );
        }
    }
    if streams {
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    }
}
