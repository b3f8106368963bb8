//! Every way the gateway refuses or fails: status, code, blame, body.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use isango_types::record::{Blame, RecordError};
use serde::Serialize;

use crate::limit::Notice;

/// Why a request gets an answer of the gateway instead of a provider's.
///
/// `Display` is what the client may read; `source()` is what the operator reads. Codes below 3000
/// are the wire contract's (data-plane section 26); those from 3000 on are ours. Codes never change
/// meaning; `docs/errors.md` lists them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path names no gateway surface.
    #[error("{0}")]
    NoSuchPath(String),
    /// No gateway of that id in that account.
    #[error("Please configure AI Gateway in the Cloudflare dashboard")]
    UnknownGateway,
    /// The provider segment is neither built in nor configured.
    #[error("Invalid provider")]
    InvalidProvider,
    /// The gateway needs a token, and there is none or a wrong one.
    #[error("Unauthorized")]
    Unauthorized,
    /// The gateway asks for no token, and a web page that nobody let in asks it, or somebody by a
    /// name that is not the gateway's. Says which.
    #[error("{0}")]
    ForeignPage(String),
    /// The gateway token is not for the provider or the model. Says which.
    #[error("{0}")]
    Forbidden(String),
    /// A limit of requests or tokens has no room.
    #[error("{0}")]
    RateLimited(Box<Notice>),
    /// A limit of cost has no room.
    #[error("{0}")]
    SpendLimited(Box<Notice>),
    /// The answer is to be made in the background, without a bound, and a limit of tokens or cost is
    /// for it: nobody would see what it draws.
    #[error(
        "set `max_output_tokens`: what an answer in the background draws is not told, so all that \
         it may draws from the limit '{rule}'"
    )]
    Unbounded {
        /// The limit.
        rule: Box<str>,
    },
    /// The path cannot be mapped to the provider: dotted or encoded segments, missing parts, a
    /// resource or region that is no DNS label. Says what was wrong and what would be right.
    #[error("{0}")]
    InvalidPath(String),
    /// Neither the request nor the configuration has a credential for the provider.
    #[error(
        "no credential for provider '{provider}': send its key in the header '{header}', \
         or configure a target with a credential"
    )]
    MissingCredential {
        /// Slug of the provider.
        provider: Box<str>,
        /// Header that the provider expects it in.
        header: Box<str>,
    },
    /// The gateway has no credential of the name that the request asks for. The message is the
    /// contract's (data-plane section 13).
    #[error("{0}")]
    UnknownAlias(String),
    /// A configured credential cannot be opened, or its issuer gives no token.
    #[error("the gateway's own credential for this provider is not available")]
    CredentialFailed(#[source] BoxError),
    /// The request would leave the regions that the gateway is bound to.
    #[error(
        "this gateway's `residency` allows only targets in {allowed}; the request names none of them"
    )]
    Residency {
        /// The regions.
        allowed: Box<str>,
    },
    /// The body of a request to the Universal endpoint is no list of legs, or one of them is
    /// malformed. Says how.
    #[error("{0}")]
    BadLegs(String),
    /// The request asks for a protocol that this surface does not speak.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The head of the request could be read in two ways. Says how.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// The head of the request is no HTTP.
    #[error("the head of the request is not valid HTTP")]
    Malformed,
    /// The head of the request is larger than can be read, or has too many headers.
    #[error("the head of the request is too large, or has too many headers")]
    HeadTooLarge,
    /// The path of the request is longer than can be read.
    #[error("the path of the request is too long")]
    UriTooLong,
    /// The request's body is larger than the gateway accepts.
    #[error("the request body is larger than this gateway's limit of {limit} bytes")]
    BodyTooLarge {
        /// `max_request_bytes` of the gateway.
        limit: u64,
    },
    /// The request's body stopped coming.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// The request's body broke off or was malformed.
    #[error("the request body could not be read")]
    BodyBroken(#[source] BoxError),
    /// No connection to the provider.
    #[error("could not connect to the provider")]
    ConnectFailed(#[source] BoxError),
    /// Connecting to the provider took longer than `connect_timeout`.
    #[error("connecting to the provider took too long")]
    ConnectTimeout,
    /// The provider's certificate was refused, or the handshake failed.
    #[error("no secure connection to the provider")]
    TlsFailed(#[source] BoxError),
    /// The address that the provider's name resolved to is one that only configuration may name.
    #[error(
        "the provider's name resolves to a private address; configure a target or a base_url for \
         a private endpoint"
    )]
    PrivateAddress,
    /// The connection broke before the provider answered.
    #[error("the provider closed the connection without an answer")]
    NoAnswer(#[source] BoxError),
    /// The provider's answer is no valid HTTP.
    #[error("the provider's answer is not valid HTTP")]
    BadAnswer(#[source] BoxError),
    /// No byte of an answer within the first-byte timeout.
    #[error("the provider did not begin its answer within {limit_ms} ms")]
    FirstByteTimeout {
        /// The timeout in force, in milliseconds.
        limit_ms: u64,
    },
    /// The time that a request may take in all was over before an answer began.
    #[error("no provider began its answer within the {limit_ms} ms that a request may take")]
    TotalTimeout {
        /// `total_timeout` of the gateway, in milliseconds.
        limit_ms: u64,
    },
    /// The gateway answers nothing that it cannot record, and its records cannot be stored.
    #[error("the gateway's records cannot be stored now, and it gives no answer without a record")]
    Unrecorded,
    /// The gateway itself failed.
    #[error("the gateway failed on this request")]
    Internal,
}

/// A cause whose type does not matter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Status, stable code and blame.
    #[must_use]
    pub const fn verdict(&self) -> (StatusCode, u16, Blame) {
        match self {
            Self::UnknownGateway => (StatusCode::BAD_REQUEST, 2001, Blame::Client),
            Self::InvalidProvider => (StatusCode::BAD_REQUEST, 2008, Blame::Client),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, 2009, Blame::Client),
            Self::ForeignPage(_) => (StatusCode::FORBIDDEN, 3032, Blame::Client),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, 3030, Blame::Client),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, 2003, Blame::Client),
            Self::SpendLimited(_) => (StatusCode::TOO_MANY_REQUESTS, 2041, Blame::Client),
            Self::NoSuchPath(_) => (StatusCode::NOT_FOUND, 3000, Blame::Client),
            Self::InvalidPath(_) => (StatusCode::BAD_REQUEST, 3001, Blame::Client),
            Self::MissingCredential { .. } => (StatusCode::BAD_REQUEST, 3002, Blame::Client),
            Self::UnknownAlias(_) => (StatusCode::BAD_REQUEST, 2040, Blame::Client),
            Self::CredentialFailed(_) => (StatusCode::BAD_GATEWAY, 3031, Blame::Gateway),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, 3003, Blame::Client),
            Self::BodyBroken(_) => (StatusCode::BAD_REQUEST, 3004, Blame::Client),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, 3005, Blame::Client),
            Self::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, 3006, Blame::Client),
            Self::Ambiguous(_) => (StatusCode::BAD_REQUEST, 3007, Blame::Client),
            Self::Malformed => (StatusCode::BAD_REQUEST, 3008, Blame::Client),
            Self::HeadTooLarge => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                (status, 3009, Blame::Client)
            }
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, 3017, Blame::Client),
            Self::Residency { .. } => (StatusCode::FORBIDDEN, 3018, Blame::Client),
            Self::BadLegs(_) => (StatusCode::BAD_REQUEST, 3021, Blame::Client),
            Self::Unbounded { .. } => (StatusCode::BAD_REQUEST, 3033, Blame::Client),
            Self::ConnectFailed(_) => (StatusCode::BAD_GATEWAY, 3010, Blame::Upstream),
            Self::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, 3011, Blame::Upstream),
            Self::TlsFailed(_) => (StatusCode::BAD_GATEWAY, 3012, Blame::Upstream),
            Self::NoAnswer(_) => (StatusCode::BAD_GATEWAY, 3013, Blame::Upstream),
            Self::BadAnswer(_) => (StatusCode::BAD_GATEWAY, 3014, Blame::Upstream),
            Self::FirstByteTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, 3015, Blame::Upstream),
            Self::PrivateAddress => (StatusCode::BAD_GATEWAY, 3016, Blame::Gateway),
            Self::TotalTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, 3019, Blame::Upstream),
            Self::Unrecorded => (StatusCode::SERVICE_UNAVAILABLE, 3034, Blame::Gateway),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, 3020, Blame::Gateway),
        }
    }

    /// A short word for the attempt that failed this way; `None`: no provider was asked.
    #[must_use]
    pub const fn attempt_word(&self) -> Option<&'static str> {
        match self {
            Self::CredentialFailed(_) => Some("credential_failed"),
            Self::ConnectFailed(_) => Some("connect_failed"),
            Self::ConnectTimeout => Some("connect_timeout"),
            Self::TlsFailed(_) => Some("tls_failed"),
            Self::NoAnswer(_) => Some("no_answer"),
            Self::BadAnswer(_) => Some("bad_answer"),
            Self::FirstByteTimeout { .. } => Some("first_byte_timeout"),
            Self::PrivateAddress => Some("private_address"),
            Self::TotalTimeout { .. } => Some("total_timeout"),
            Self::UnknownGateway
            | Self::InvalidProvider
            | Self::Unauthorized
            | Self::ForeignPage(_)
            | Self::Forbidden(_)
            | Self::RateLimited(_)
            | Self::SpendLimited(_)
            | Self::NoSuchPath(_)
            | Self::InvalidPath(_)
            | Self::MissingCredential { .. }
            | Self::UnknownAlias(_)
            | Self::Residency { .. }
            | Self::BadLegs(_)
            | Self::Unbounded { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyBroken(_)
            | Self::BodyTimeout
            | Self::Unsupported(_)
            | Self::Ambiguous(_)
            | Self::Malformed
            | Self::HeadTooLarge
            | Self::UriTooLong
            | Self::Unrecorded
            | Self::Internal => None,
        }
    }

    /// Whether bytes of the request may be left that no further request begins behind.
    pub(crate) const fn leaves_body(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge { .. }
                | Self::BodyBroken(_)
                | Self::BodyTimeout
                | Self::Ambiguous(_)
        )
    }

    /// What the record says of it.
    #[must_use]
    pub fn to_record(&self) -> RecordError {
        let (_, code, blame) = self.verdict();
        RecordError {
            code: code.to_string().into(),
            blame,
            message: self.to_string().into(),
        }
    }

    /// The answer: status, headers and the body of data-plane section 26.
    #[must_use]
    pub fn to_answer(&self) -> (StatusCode, HeaderMap, Bytes) {
        let (status, code, _) = self.verdict();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Self::RateLimited(notice) | Self::SpendLimited(notice) = self {
            notice.tell(&mut headers);
        }
        (status, headers, body(status, code, &self.to_string()))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    success: bool,
    result: [(); 0],
    messages: [(); 0],
    error: [ErrorItem<'a>; 1],
    name: &'static str,
    http_code: u16,
    internal_code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct ErrorItem<'a> {
    code: u16,
    message: &'a str,
}

fn body(status: StatusCode, code: u16, message: &str) -> Bytes {
    let body = ErrorBody {
        success: false,
        result: [],
        messages: [],
        error: [ErrorItem { code, message }],
        name: "AiGatewayError",
        http_code: status.as_u16(),
        internal_code: code,
        message,
    };
    // Texts and integers always become JSON.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_contracts_to_the_byte() {
        let (status, _, body) = Error::UnknownGateway.to_answer();
        assert_eq!(status, 400);
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            concat!(
                r#"{"success":false,"result":[],"messages":[],"#,
                r#""error":[{"code":2001,"message":"Please configure AI Gateway in the Cloudflare dashboard"}],"#,
                r#""name":"AiGatewayError","httpCode":400,"internalCode":2001,"#,
                r#""message":"Please configure AI Gateway in the Cloudflare dashboard"}"#
            )
        );
    }

    #[test]
    fn a_text_in_an_error_stays_json() {
        let (_, _, body) = Error::NoSuchPath("bad \"quote\"\n".into()).to_answer();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["message"], "bad \"quote\"\n");
        assert_eq!(value["internalCode"], 3000);
    }

    /// Every error once, with a made-up cause: each names the next, so that a new one is asked for
    /// here.
    fn next(error: Option<&Error>) -> Option<Error> {
        let cause = || BoxError::from("a cause");
        Some(match error {
            None => Error::UnknownGateway,
            Some(Error::UnknownGateway) => Error::InvalidProvider,
            Some(Error::InvalidProvider) => Error::Unauthorized,
            Some(Error::Unauthorized) => Error::ForeignPage("a page".into()),
            Some(Error::ForeignPage(_)) => Error::Forbidden("a provider".into()),
            Some(Error::Forbidden(_)) => Error::RateLimited(Box::new(Notice::sample("full"))),
            Some(Error::RateLimited(notice)) => Error::SpendLimited(notice.clone()),
            Some(Error::SpendLimited(_)) => Error::NoSuchPath("a path".into()),
            Some(Error::NoSuchPath(_)) => Error::InvalidPath("a path".into()),
            Some(Error::InvalidPath(_)) => Error::MissingCredential {
                provider: "openai".into(),
                header: "authorization".into(),
            },
            Some(Error::MissingCredential { .. }) => Error::UnknownAlias("an alias".into()),
            Some(Error::UnknownAlias(_)) => Error::CredentialFailed(cause()),
            Some(Error::CredentialFailed(_)) => Error::BodyTooLarge { limit: 1 },
            Some(Error::BodyTooLarge { .. }) => Error::BodyBroken(cause()),
            Some(Error::BodyBroken(_)) => Error::BodyTimeout,
            Some(Error::BodyTimeout) => Error::Unsupported("a protocol"),
            Some(Error::Unsupported(_)) => Error::Ambiguous("a head"),
            Some(Error::Ambiguous(_)) => Error::Malformed,
            Some(Error::Malformed) => Error::HeadTooLarge,
            Some(Error::HeadTooLarge) => Error::UriTooLong,
            Some(Error::UriTooLong) => Error::Residency {
                allowed: "a region".into(),
            },
            Some(Error::Residency { .. }) => Error::BadLegs("a leg".into()),
            Some(Error::BadLegs(_)) => Error::Unbounded {
                rule: "tenant".into(),
            },
            Some(Error::Unbounded { .. }) => Error::ConnectFailed(cause()),
            Some(Error::ConnectFailed(_)) => Error::ConnectTimeout,
            Some(Error::ConnectTimeout) => Error::TlsFailed(cause()),
            Some(Error::TlsFailed(_)) => Error::NoAnswer(cause()),
            Some(Error::NoAnswer(_)) => Error::BadAnswer(cause()),
            Some(Error::BadAnswer(_)) => Error::FirstByteTimeout { limit_ms: 1 },
            Some(Error::FirstByteTimeout { .. }) => Error::PrivateAddress,
            Some(Error::PrivateAddress) => Error::TotalTimeout { limit_ms: 1 },
            Some(Error::TotalTimeout { .. }) => Error::Unrecorded,
            Some(Error::Unrecorded) => Error::Internal,
            Some(Error::Internal) => return None,
        })
    }

    #[test]
    fn the_docs_tell_every_code_with_its_status_blame_and_word() {
        let page = include_str!("../../../docs/errors.md");
        let is_row = |line: &&str| {
            line.strip_prefix("| `")
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        let rows = page.lines().filter(is_row);
        let told: Vec<String> = rows
            .map(|row| row.split(" | ").take(4).collect::<Vec<_>>().join(" | "))
            .collect();
        let errors = std::iter::successors(next(None), |error| next(Some(error)));
        let meant: Vec<String> = errors
            .map(|error| {
                let (status, code, blame) = error.verdict();
                let word = error.attempt_word().map(|word| format!("`{word}`"));
                format!(
                    "| `{code}` | {} | {} | {}",
                    status.as_u16(),
                    blame.as_str(),
                    word.unwrap_or_else(|| "none".into())
                )
            })
            .collect();
        assert_eq!(told, meant);
        let codes: Vec<&str> = told
            .iter()
            .filter_map(|row| row.split('`').nth(1))
            .collect();
        let distinct: std::collections::BTreeSet<&str> = codes.iter().copied().collect();
        assert_eq!(distinct.len(), codes.len(), "{codes:?} tells a code twice");
    }
}
