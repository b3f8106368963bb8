//! Requests that somebody tries from the dashboard: through a gateway, like any other.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use axum::response::Response;
use isango_store::audit::Action;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::{self, Large};
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::{Control, audit, blocking};

/// An answer on its way, or why there is none.
pub type Tried = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

/// Sends a request to the data plane.
pub type Try = dyn Fn(Request<Bytes>) -> Tried + Send + Sync;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Headers that are of the connection, not of the request.
const OF_CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// Tells the gateway's answer, whatever its status, from one of this API.
const ANSWERED: HeaderName = HeaderName::from_static("isango-answered");

/// A request to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    /// Behind the gateway: the provider, then its path and query.
    pub(crate) path: String,
    /// Names and values.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// As it is sent; `application/json` unless a header says otherwise.
    #[serde(default)]
    pub(crate) body: String,
}

/// Try a request
///
/// It goes through the gateway like any other: limits, cache and cost count, and its record is kept.
/// The answer is the gateway's own, streamed, with the header `isango-answered: gateway`; a failure
/// without it is of this API.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/try",
    tag = "gateways", params(GatewayPath), request_body = Trial,
    responses((status = 200, description = "What the gateway answers, of any status."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn send(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    Large(members): Large,
) -> Result<Response, Failure> {
    let trial: Trial = body::read(&members)?;
    let request = request(&path, Method::POST, trial)?;
    crate::gateways::must_be(&control, &path)?;
    let done = json!({"path": request.uri().path()});
    blocking(&control, move |control| {
        let of = (&caller.author(control), &*path.account_id);
        let what = ("gateway", &*path.gateway_id);
        audit::note(control, of, Action::Try, what, (None, Some(done)))
    })
    .await?;
    let answer = (control.trial)(request).await;
    let answer = answer.map_err(|error| Failure::internal(&error))?;
    let (mut head, body) = answer.into_parts();
    head.headers = shown(&head.headers);
    Ok(Response::from_parts(head, body))
}

/// The request at a gateway that is to be tried.
///
/// # Errors
/// It leaves the gateway, or is none.
pub(crate) fn request(
    path: &GatewayPath,
    method: Method,
    trial: Trial,
) -> Result<Request<Bytes>, Failure> {
    let wrong = |member: &str, message: &str| Failure::wrong(&[member], message);
    let target = trial.path.trim_start_matches('/');
    let is_plain = |segment: &str| !matches!(segment, "." | "..");
    let segments = target.split('?').next().unwrap_or_default().split('/');
    if !segments.clone().all(is_plain) || segments.clone().all(str::is_empty) {
        let message = "a provider and its path, as `openai/chat/completions`";
        return Err(wrong("path", message));
    }
    let uri = format!("/v1/{}/{}/{target}", path.account_id, path.gateway_id);
    if trial.headers.len() > MAX_HEADERS {
        let message = format!("at most {MAX_HEADERS} headers");
        return Err(wrong("headers", &message));
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(HOST, "localhost")
        .body(Bytes::from(trial.body))
        .map_err(|_no_path| wrong("path", "it is no path"))?;
    let headers = request.headers_mut();
    for (name, value) in &trial.headers {
        let at = |message: &str| Failure::wrong(&["headers", name], message);
        let name: HeaderName = name.parse().map_err(|_no_name| at("it is no name"))?;
        if OF_CONNECTION.contains(&name.as_str()) {
            return Err(at("it is of the connection, and not sent on"));
        }
        let value = HeaderValue::from_str(value).map_err(|_no_value| at("it has no such value"))?;
        headers.insert(name, value);
    }
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(request)
}

/// What a page is shown of an answer's head. A provider is not trusted with the dashboard's origin:
/// it sets no cookies there, and nothing of its answer is run.
fn shown(headers: &HeaderMap) -> HeaderMap {
    let named = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER];
    let is_shown = |name: &HeaderName| {
        let text = name.as_str();
        named.contains(name) || text.starts_with("cf-aig-") || text.starts_with("x-ratelimit-")
    };
    let kept = headers.iter().filter(|(name, _)| is_shown(name));
    let mut shown: HeaderMap = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, value) in [
        (ANSWERED, "gateway"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ] {
        shown.insert(name, HeaderValue::from_static(value));
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(trial: serde_json::Value) -> Option<Request<Bytes>> {
        let path = serde_json::from_value(json!({"account_id": "local", "gateway_id": "shop"}));
        let trial = serde_json::from_value(trial).unwrap();
        request(&path.unwrap(), Method::POST, trial).ok()
    }

    #[test]
    fn a_request_stays_in_its_gateway() {
        for path in ["openai/chat/completions", "/openai/chat/completions"] {
            let request = made(json!({"path": path, "body": "{}"})).unwrap();
            assert_eq!(request.uri(), "/v1/local/shop/openai/chat/completions");
            assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        }
        for path in [
            "",
            "/",
            "../other/openai",
            "openai/../../x",
            "a b",
            "?x",
            "./x",
        ] {
            assert!(made(json!({"path": path})).is_none(), "{path}");
        }
        for header in ["Host", "content-length", "upgrade", "a b", ""] {
            let trial = json!({"path": "openai/x", "headers": {header: "1"}});
            assert!(made(trial).is_none(), "{header}");
        }
    }

    #[test]
    fn a_provider_has_no_say_on_the_origin_of_the_dashboard() {
        let mut headers = HeaderMap::new();
        for name in [
            "set-cookie",
            "clear-site-data",
            "content-type",
            "cf-aig-log-id",
            "location",
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        let shown = shown(&headers);
        let mut names: Vec<&str> = shown.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "cf-aig-log-id",
                "content-security-policy",
                "content-type",
                "isango-answered",
                "x-content-type-options"
            ]
        );
    }
}
