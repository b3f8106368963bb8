//! Bodies of the management API: JSON objects, bounded, whose members are told by name when they
//! are wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use isango_types::nearest;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use tokio::time::timeout;

use crate::error::Failure;

/// Largest body that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 256 << 10;
/// Largest body that carries another request, in bytes.
pub(crate) const MAX_LARGE_BYTES: usize = 16 << 20;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The members of a body.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Map<String, Value>);

/// The members of a body that carries another request.
#[derive(Debug)]
pub(crate) struct Large(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Members {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        members(request, state, MAX_BYTES).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Large {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        members(request, state, MAX_LARGE_BYTES).await.map(Self)
    }
}

/// The members of a body, of which no more than `most` bytes are read by the route.
async fn members<S: Send + Sync>(
    request: Request,
    state: &S,
    most: usize,
) -> Result<Map<String, Value>, Failure> {
    let bytes = in_time(Bytes::from_request(request, state)).await?;
    let bytes = bytes.map_err(|unread| {
        let status = unread.into_response().status();
        match status == StatusCode::PAYLOAD_TOO_LARGE {
            true => Failure::too_large(most),
            false => Failure::wrong(&[], "the body cannot be read"),
        }
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_other) => Err(Failure::wrong(&[], "the body must be a JSON object")),
        Err(error) => Err(Failure::wrong(&[], format!("the body is no JSON: {error}"))),
    }
}

/// What reading a body brings, if it does not take too long.
///
/// # Errors
/// It does.
pub(crate) async fn in_time<T>(reading: impl Future<Output = T>) -> Result<T, Failure> {
    let read = timeout(PATIENCE, reading).await;
    read.map_err(|_elapsed| Failure::too_slow(PATIENCE))
}

/// Reads one member as what it should be.
///
/// # Errors
/// It is not of its kind.
pub(crate) fn value<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, Failure> {
    serde_json::from_value(value.clone())
        .map_err(|error| Failure::wrong(&[name], error.to_string()))
}

/// Reads members as what they should be.
///
/// # Errors
/// One is unknown, missing, or not of its kind; the nearest name is told with an unknown one.
pub(crate) fn read<T: DeserializeOwned>(members: &Map<String, Value>) -> Result<T, Failure> {
    let value = Value::Object(members.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Map { key } => Some(key.clone()),
                Segment::Enum { variant } => Some(variant.clone()),
                Segment::Unknown => None,
            })
            .collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Failure::wrong(&path, words(&error.inner().to_string()))
    })
}

/// Serde's words, with the nearest name in place of all names.
fn words(error: &str) -> String {
    let mut parts = error.split('`');
    let (Some("unknown field "), Some(name)) = (parts.next(), parts.next()) else {
        return error.to_owned();
    };
    let known: Vec<&str> = parts.skip(1).step_by(2).collect();
    match nearest(name, known.into_iter()) {
        Some(help) => format!("unknown field `{name}`; {help}"),
        None => format!("unknown field `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::{Body, HttpBody};
    use http_body::Frame;

    use super::*;

    /// A body that does not come.
    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let request = Request::new(Body::new(Never));
        let refused = Members::from_request(request, &()).await.unwrap_err();
        let status = refused.into_response().status();
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn an_unknown_field_is_told_with_the_nearest() {
        let names = "`cache_ttl`, `collect_logs`";
        let told = words(&format!(
            "unknown field `cache_tll`, expected one of {names}"
        ));
        assert_eq!(told, "unknown field `cache_tll`; did you mean `cache_ttl`?");
        let two = words("unknown field `x`, expected `prompt` or `response`");
        assert_eq!(two, "unknown field `x`; known here: `prompt`, `response`");
        assert_eq!(words("invalid type: null"), "invalid type: null");
    }
}
