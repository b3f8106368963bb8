//! How an event is sent: written in the format of its webhook, and signed.

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use isango_store::signature;
use isango_types::Timestamp;
use isango_types::alert::{Format, Webhook};

use super::event::Event;
use super::slack;

/// Id of the event: the same each time it is sent.
const ALERT_ID: HeaderName = HeaderName::from_static("isango-alert-id");
const TIMESTAMP: HeaderName = HeaderName::from_static(signature::TIMESTAMP);
const SIGNATURE: HeaderName = HeaderName::from_static(signature::SIGNATURE);

/// A message as it is sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The message for an event at a webhook, sent at `now`.
#[must_use]
pub fn message(event: &Event, webhook: &Webhook, now: Timestamp) -> Message {
    let body = match webhook.format {
        Format::Json => serde_json::to_vec(event).unwrap_or_default(),
        Format::Slack => slack::message(event).to_string().into_bytes(),
    };
    let seconds = now.as_micros() / 1_000_000;
    let mut headers = HeaderMap::with_capacity(6);
    let agent = concat!("isango/", env!("CARGO_PKG_VERSION"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(TIMESTAMP, HeaderValue::from(seconds));
    if let Ok(id) = HeaderValue::try_from(event.id.to_string()) {
        headers.insert(ALERT_ID, id);
    }
    if let Some(key) = &webhook.key {
        let (_, signature) = signature::sign(key, now, &body);
        if let Ok(signature) = HeaderValue::try_from(signature) {
            headers.insert(SIGNATURE, signature);
        }
    }
    Message {
        headers,
        body: body.into(),
    }
}
