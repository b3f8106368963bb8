//! Credentials of the operator's that are made ready for each send: signatures of AWS, and tokens
//! that an issuer gives for a while.
//!
//! A token is asked for ahead of its need, off the path of any request; a request waits only where
//! there is none yet, together with all others that need the same one, and never long.

mod issuer;
mod issuers;
mod sigv4;

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Response, StatusCode};
use isango_types::{Credential, Secret};
use tokio::time::Instant;

use crate::Proxy;
use crate::ask::Call;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::secrets::Secrets;

pub(crate) use self::issuers::Issuers;

/// A token is replaced so long before its end, or after four fifths of its life.
const AHEAD: Duration = Duration::from_secs(300);
/// Largest body that is signed, in bytes: AWS takes no larger one (25 MB; Amazon Bedrock API
/// reference, `InvokeModel`; read 2026-11-22).
const MAX_SIGNED_BYTES: usize = 25_000_000;

/// How much of a body must be held to be signed: its digest stands in the head.
pub(crate) fn signed_bytes(credential: Option<&Credential>) -> usize {
    match credential {
        Some(Credential::Aws(_)) => MAX_SIGNED_BYTES,
        Some(Credential::Key(_) | Credential::Issued(_)) | None => 0,
    }
}

/// Makes the credential of a call ready, if it is one that must be; what it is made of is kept off
/// the record.
///
/// # Errors
/// [`Error::CredentialFailed`]: there is no token, or no signature for this endpoint.
/// [`Error::BodyTooLarge`]: a body that cannot be signed.
pub(crate) async fn authenticate(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
) -> Result<(), Error> {
    let Some(credential) = call.credential.clone() else {
        return Ok(());
    };
    exchange.holds_too(&Secrets::of(&credential));
    match &*credential {
        Credential::Key(_) => Ok(()),
        Credential::Aws(keys) => sigv4::sign(keys, call, proxy.sink.clock().now()),
        Credential::Issued(_) => {
            let token = proxy.issuers.token(&credential).await?;
            exchange.holds_too(&Secrets::one(&token.secret));
            call.headers.insert(AUTHORIZATION, token.bearer);
            Ok(())
        }
    }
}

/// Takes note of a provider's answer: a token that it refuses is not used again.
pub(crate) fn answered<B>(proxy: &Proxy, call: &Call<'_>, answer: &Response<B>) {
    if answer.status() == StatusCode::UNAUTHORIZED
        && let Some(credential) = &call.credential
        && let Some(sent) = call.headers.get(AUTHORIZATION)
    {
        proxy.issuers.refused(credential, sent);
    }
}

/// Whether a credential is ready without waiting.
pub(crate) fn is_at_hand(proxy: &Proxy, credential: Option<&Arc<Credential>>) -> bool {
    let Some(credential) = credential else {
        return true;
    };
    match &**credential {
        Credential::Key(_) | Credential::Aws(_) => true,
        Credential::Issued(_) => proxy.issuers.is_at_hand(credential),
    }
}

/// A token, and how long it is good.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    secret: Secret,
    bearer: HeaderValue,
    replace_at: Instant,
    ends_at: Instant,
}

impl Token {
    /// `None`: it cannot stand in a header.
    fn new(secret: Secret, life: Duration) -> Option<Self> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", secret.expose())).ok()?;
        bearer.set_sensitive(true);
        let now = Instant::now();
        Some(Self {
            secret,
            bearer,
            replace_at: now + life.saturating_sub(AHEAD.min(life / 5)),
            // Not used in the moment in which it ends.
            ends_at: now + life.saturating_sub(Duration::from_secs(10).min(life / 10)),
        })
    }
}
