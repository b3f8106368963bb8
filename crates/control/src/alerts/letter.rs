//! How an event is sent: written in the format of its webhook, and signed.

use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use isango_types::Timestamp;
use isango_types::alert::{Format, Webhook};

use super::event::Event;
use super::slack;

/// Id of the event: the same each time it is sent.
const ALERT_ID: HeaderName = HeaderName::from_static("isango-alert-id");
/// When it was sent, in seconds since 1970.
const TIMESTAMP: HeaderName = HeaderName::from_static("isango-timestamp");
/// `v1=` and HMAC-SHA-256, in hex, of that time, a dot and the body.
const SIGNATURE: HeaderName = HeaderName::from_static("isango-signature");

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
        let signature = signature(key.expose().as_bytes(), seconds, &body);
        if let Ok(signature) = HeaderValue::try_from(signature) {
            headers.insert(SIGNATURE, signature);
        }
    }
    Message {
        headers,
        body: body.into(),
    }
}

fn signature(key: &[u8], seconds: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let hex = context.sign();
    hex.as_ref()
        .iter()
        .fold("v1=".to_owned(), |mut text, byte| {
            use std::fmt::Write as _;
            let _written = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // printf '1795363823.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of sixteen'
        assert_eq!(
            signature(b"a secret of sixteen", 1_795_363_823, br#"{"a":1}"#),
            "v1=5d719ab0cc3a5a274a5aa4362724be26d0f158d84ef3548605348a9134987539"
        );
    }
}
