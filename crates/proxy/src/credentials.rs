//! Credentials of the operator's that are made ready for each send: signatures of AWS, and tokens
//! that an issuer gives for a while.
//!
//! A token is asked for ahead of its need, off the path of any request; a request waits only where
//! there is none yet, together with all others that need the same one, and never long.

mod issuer;
mod sigv4;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use isango_types::{Clock, Credential, Secret, Snapshot};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::Proxy;
use crate::ask::Call;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::secrets::Secrets;
use crate::upstream::Upstream;

/// Longest time that a request waits for a token, and that an issuer is waited for.
const WAIT: Duration = Duration::from_secs(5);
/// How long an issuer that failed is not asked again for requests.
const REST: Duration = Duration::from_secs(1);
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
            let clock = proxy.sink.clock();
            let token = proxy
                .issuers
                .token(&proxy.upstream, clock, &credential)
                .await?;
            exchange.holds_too(&Secrets::one(&token.secret));
            call.headers.insert(AUTHORIZATION, token.bearer);
            Ok(())
        }
    }
}

/// Whether a credential is ready without waiting.
pub(crate) fn is_at_hand(proxy: &Proxy, credential: Option<&Arc<Credential>>) -> bool {
    let Some(credential) = credential else {
        return true;
    };
    match &**credential {
        Credential::Key(_) | Credential::Aws(_) => true,
        Credential::Issued(_) => proxy.issuers.cell(credential).valid().is_some(),
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

/// The tokens of one credential.
#[derive(Debug, Default)]
struct Cell {
    token: Mutex<Option<Token>>,
    /// Held by the one that asks.
    asking: tokio::sync::Mutex<()>,
    /// When the issuer failed last, and why.
    failed: Mutex<Option<(Instant, Box<str>)>>,
}

impl Cell {
    fn valid(&self) -> Option<Token> {
        let token = self.token.lock();
        token
            .as_ref()
            .filter(|token| Instant::now() < token.ends_at)
            .cloned()
    }

    fn is_due(&self) -> bool {
        let token = self.token.lock();
        token
            .as_ref()
            .is_none_or(|token| token.replace_at <= Instant::now())
    }

    /// Why it failed a moment ago.
    fn failed_lately(&self) -> Option<Box<str>> {
        let failed = self.failed.lock();
        let lately = failed.as_ref().filter(|(at, _)| at.elapsed() < REST);
        lately.map(|(_, why)| why.clone())
    }

    /// Asks the issuer, in the name of all that wait.
    async fn ask(
        &self,
        upstream: &Upstream,
        clock: &Clock,
        credential: &Credential,
    ) -> Result<Token, Box<str>> {
        let Credential::Issued(issuer) = credential else {
            return Err("it is not issued".into());
        };
        let asked = timeout(WAIT, issuer::ask(upstream, clock, issuer)).await;
        let asked = asked.unwrap_or_else(|_elapsed| Err("the issuer took too long".into()));
        match asked {
            Ok(token) => {
                *self.token.lock() = Some(token.clone());
                *self.failed.lock() = None;
                Ok(token)
            }
            Err(why) => {
                tracing::warn!(kind = credential.kind(), %why, "no token was issued");
                *self.failed.lock() = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

/// Every credential that tokens are issued for. Lives as long as the process.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    known: Mutex<Vec<(Arc<Credential>, Arc<Cell>)>>,
}

impl Issuers {
    fn cell(&self, credential: &Arc<Credential>) -> Arc<Cell> {
        let mut known = self.known.lock();
        let is_it = |other: &Arc<Credential>| Arc::ptr_eq(other, credential) || other == credential;
        if let Some((_, cell)) = known.iter().find(|(other, _)| is_it(other)) {
            return Arc::clone(cell);
        }
        let cell = Arc::<Cell>::default();
        known.push((Arc::clone(credential), Arc::clone(&cell)));
        cell
    }

    /// A token for this credential; waits for it at most [`WAIT`].
    ///
    /// # Errors
    /// [`Error::CredentialFailed`].
    async fn token(
        &self,
        upstream: &Upstream,
        clock: &Clock,
        credential: &Arc<Credential>,
    ) -> Result<Token, Error> {
        let cell = self.cell(credential);
        if let Some(token) = cell.valid() {
            return Ok(token);
        }
        let waiting = async {
            let _turn = cell.asking.lock().await;
            // Whoever asked before has asked for all.
            match (cell.valid(), cell.failed_lately()) {
                (Some(token), _) => Ok(token),
                (None, Some(why)) => Err(why),
                (None, None) => cell.ask(upstream, clock, credential).await,
            }
        };
        let waited = timeout(WAIT, waiting).await;
        let waited = waited.unwrap_or_else(|_elapsed| Err("the issuer took too long".into()));
        waited.map_err(|why| Error::CredentialFailed(String::from(why).into()))
    }

    /// Asks for every token of the configuration that is missing or will end soon, and forgets
    /// those of credentials that are not configured any more.
    pub(crate) async fn renew(&self, upstream: &Upstream, clock: &Clock, config: &Snapshot) {
        let issued = |credential: &&Arc<Credential>| matches!(***credential, Credential::Issued(_));
        let targets = config.gateways().flat_map(|gateway| &gateway.targets);
        let of_targets = targets.filter_map(|target| target.credential.as_ref());
        let stored = config.gateways().flat_map(|gateway| &gateway.credentials);
        let of_stored = stored.filter_map(|stored| stored.credential.as_ref());
        let configured: Vec<Arc<Credential>> = of_targets
            .chain(of_stored)
            .filter(issued)
            .cloned()
            .collect();
        self.known
            .lock()
            .retain(|(known, _)| configured.contains(known));
        for credential in configured {
            let cell = self.cell(&credential);
            if !cell.is_due() {
                continue;
            }
            let _turn = cell.asking.lock().await;
            if cell.is_due() {
                // Told where it happened; it will be tried again.
                let _asked: Result<Token, Box<str>> = cell.ask(upstream, clock, &credential).await;
            }
        }
    }
}
