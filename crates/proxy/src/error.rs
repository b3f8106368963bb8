//! Every way the gateway refuses or fails: status, code, blame, body.

use http::StatusCode;
use isango_types::record::Blame;

/// Why a request gets an answer of the gateway instead of a provider's.
///
/// `Display` is what the client may read. Codes below 3000 are the wire contract's (data-plane
/// section 26); those from 3000 on are ours. Codes never change meaning; `docs/errors.md` lists them.
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
    /// The path cannot be mapped to the provider: dotted or encoded segments, missing parts, a
    /// resource or region that is no DNS label. Says what was wrong and what would be right.
    #[error("{0}")]
    InvalidPath(String),
}

impl Error {
    /// Status, stable code and blame.
    #[must_use]
    pub const fn verdict(&self) -> (StatusCode, u16, Blame) {
        match self {
            Self::NoSuchPath(_) => (StatusCode::NOT_FOUND, 3000, Blame::Client),
            Self::UnknownGateway => (StatusCode::BAD_REQUEST, 2001, Blame::Client),
            Self::InvalidProvider => (StatusCode::BAD_REQUEST, 2008, Blame::Client),
            Self::InvalidPath(_) => (StatusCode::BAD_REQUEST, 3001, Blame::Client),
        }
    }
}
