//! Keeps the tokens of every credential that has an issuer.
//!
//! [`Issuers::run`] is the only one that asks: a request says what it wants and waits for the answer,
//! so that one question serves all that wait, whoever of them leaves. An issuer that failed is left
//! alone for a moment, and a token that a provider refuses is replaced, but not again and again.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use isango_types::{Clock, Credential, Snapshot, SnapshotCell};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{Token, issuer};
use crate::error::Error;
use crate::upstream::Upstream;

/// Longest time that a request waits for a token, and that an issuer is waited for.
const WAIT: Duration = Duration::from_secs(5);
/// How long an issuer that failed is not asked again for requests.
const REST: Duration = Duration::from_secs(1);
/// How long a provider's refusals change nothing once they have had a token replaced.
const REFUSED_REST: Duration = Duration::from_secs(60);
/// How often tokens are looked at for their end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Issuers that are asked at once.
const MAX_ASKED: usize = 16;
/// Credentials that requests brought themselves whose tokens are kept; beyond, the one that was not
/// used for the longest time is forgotten.
const MAX_BROUGHT: usize = 256;

/// The tokens of one credential.
#[derive(Debug, Default)]
struct Cell {
    token: Mutex<Option<Token>>,
    /// A request waits for one.
    wanted: AtomicBool,
    /// Told whenever its issuer has answered or failed.
    asked: Notify,
    /// When the issuer failed last, and why.
    failed: Mutex<Option<(Instant, Box<str>)>>,
    /// When a provider last had a token replaced.
    refused_at: Mutex<Option<Instant>>,
}

impl Cell {
    fn valid(&self) -> Option<Token> {
        let token = self.token.lock();
        let is_valid = |token: &&Token| Instant::now() < token.ends_at;
        token.as_ref().filter(is_valid).cloned()
    }

    fn is_due(&self) -> bool {
        let token = self.token.lock();
        let is_due = |token: &Token| token.replace_at <= Instant::now();
        token.as_ref().is_none_or(is_due)
    }

    /// Why it failed a moment ago.
    fn failed_lately(&self) -> Option<Box<str>> {
        let failed = self.failed.lock();
        let lately = failed.as_ref().filter(|(at, _)| at.elapsed() < REST);
        lately.map(|(_, why)| why.clone())
    }

    /// Asks the issuer, in the name of all that wait.
    async fn ask(&self, upstream: &Upstream, clock: &Clock, credential: &Credential) {
        let Credential::Issued(issuer) = credential else {
            return;
        };
        let asked = timeout(WAIT, issuer::ask(upstream, clock, issuer)).await;
        match asked.unwrap_or_else(|_elapsed| Err("the issuer took too long".into())) {
            Ok(token) => {
                *self.token.lock() = Some(token);
                *self.failed.lock() = None;
            }
            Err(why) => {
                tracing::warn!(kind = credential.kind(), %why, "no token was issued");
                *self.failed.lock() = Some((Instant::now(), why));
            }
        }
        // Who wanted one in the meantime has it.
        self.wanted.store(false, Ordering::Release);
        self.asked.notify_waiters();
    }
}

/// A credential and its tokens.
#[derive(Debug)]
struct Known {
    credential: Arc<Credential>,
    cell: Arc<Cell>,
    /// When a request used it last; `None`: it is configured.
    used_at: Option<Instant>,
}

/// Every credential that tokens are issued for. Lives as long as the process.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    known: Mutex<Vec<Known>>,
    /// Told when a request wants a token.
    wanted: Notify,
}

/// A question to an issuer that is under way, and whose it is.
type Asking<'f> = (Arc<Cell>, Pin<Box<dyn Future<Output = ()> + Send + 'f>>);

impl Issuers {
    fn cell(&self, credential: &Arc<Credential>) -> Arc<Cell> {
        let mut known = self.known.lock();
        let is_it = |known: &&mut Known| {
            Arc::ptr_eq(&known.credential, credential) || known.credential == *credential
        };
        if let Some(known) = known.iter_mut().find(is_it) {
            known.used_at = known.used_at.map(|_before| Instant::now());
            return Arc::clone(&known.cell);
        }
        let brought = known.iter().filter_map(|known| known.used_at);
        if brought.clone().count() >= MAX_BROUGHT {
            let oldest = brought.min();
            known.retain(|known| known.used_at.is_none() || known.used_at != oldest);
        }
        let cell = Arc::<Cell>::default();
        known.push(Known {
            credential: Arc::clone(credential),
            cell: Arc::clone(&cell),
            used_at: Some(Instant::now()),
        });
        cell
    }

    /// Whether there is a token for this credential.
    pub(super) fn is_at_hand(&self, credential: &Arc<Credential>) -> bool {
        self.cell(credential).valid().is_some()
    }

    /// A token for this credential; waits for it at most [`WAIT`].
    ///
    /// # Errors
    /// [`Error::CredentialFailed`].
    pub(super) async fn token(&self, credential: &Arc<Credential>) -> Result<Token, Error> {
        let cell = self.cell(credential);
        if let Some(token) = cell.valid() {
            return Ok(token);
        }
        let waiting = async {
            loop {
                // Is told of what happens from its making on.
                let asked = cell.asked.notified();
                match (cell.valid(), cell.failed_lately()) {
                    (Some(token), _) => return Ok(token),
                    (None, Some(why)) => return Err(why),
                    (None, None) => {}
                }
                cell.wanted.store(true, Ordering::Release);
                self.wanted.notify_one();
                asked.await;
            }
        };
        let waited = timeout(WAIT, waiting).await;
        let waited = waited.unwrap_or_else(|_elapsed| Err("the issuer took too long".into()));
        waited.map_err(|why| Error::CredentialFailed(String::from(why).into()))
    }

    /// A provider refused what was `sent`: where that is the token at hand, the next request gets
    /// another one.
    pub(super) fn refused(&self, credential: &Arc<Credential>, sent: &HeaderValue) {
        let cell = self.cell(credential);
        let mut token = cell.token.lock();
        let mut refused_at = cell.refused_at.lock();
        let lately = refused_at.is_some_and(|at| at.elapsed() < REFUSED_REST);
        if !lately && token.as_ref().is_some_and(|token| token.bearer == *sent) {
            *token = None;
            *refused_at = Some(Instant::now());
            cell.wanted.store(true, Ordering::Release);
            self.wanted.notify_one();
        }
    }

    /// Asks for every token that a request wants, and for those of the configuration ahead of their
    /// need. Runs until it is dropped.
    pub(crate) async fn run(&self, upstream: &Upstream, clock: &Clock, config: &SnapshotCell) {
        let mut asking: Vec<Asking<'_>> = Vec::new();
        let mut looked: Option<Instant> = None;
        loop {
            let looks = looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
            if looks {
                looked = Some(Instant::now());
                self.follow(&config.load());
            }
            for (credential, cell) in self.due(looks, &asking) {
                let own = Arc::clone(&cell);
                let question = async move { own.ask(upstream, clock, &credential).await };
                asking.push((cell, Box::pin(question)));
            }
            tokio::select! {
                () = poll_fn(|cx| poll_any(&mut asking, cx)) => {}
                () = self.wanted.notified() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Knows those of the configuration, and forgets those that are not configured any more.
    fn follow(&self, config: &Snapshot) {
        let issued = |credential: &&Arc<Credential>| matches!(***credential, Credential::Issued(_));
        let targets = config.gateways().flat_map(|gateway| &gateway.targets);
        let of_targets = targets.filter_map(|target| target.credential.as_ref());
        let stored = config.gateways().flat_map(|gateway| &gateway.credentials);
        let of_stored = stored.filter_map(|stored| stored.credential.as_ref());
        let configured: Vec<&Arc<Credential>> =
            of_targets.chain(of_stored).filter(issued).collect();
        let mut known = self.known.lock();
        known.retain(|known| known.used_at.is_some() || configured.contains(&&known.credential));
        for credential in configured {
            match known
                .iter_mut()
                .find(|known| known.credential == *credential)
            {
                Some(known) => known.used_at = None,
                None => known.push(Known {
                    credential: Arc::clone(credential),
                    cell: Arc::default(),
                    used_at: None,
                }),
            }
        }
    }

    /// What is to be asked for now: what requests want, and, if it `looks`, what will end soon.
    fn due(&self, looks: bool, asking: &[Asking<'_>]) -> Vec<(Arc<Credential>, Arc<Cell>)> {
        let known = self.known.lock();
        let is_asked = |cell: &Arc<Cell>| asking.iter().any(|(asked, _)| Arc::ptr_eq(asked, cell));
        let is_due = |known: &&Known| {
            let cell = &known.cell;
            if is_asked(cell) {
                return false;
            }
            let is_ahead = || looks && known.used_at.is_none() && cell.is_due();
            cell.wanted.load(Ordering::Acquire) || is_ahead()
        };
        let room = MAX_ASKED.saturating_sub(asking.len());
        let due = known.iter().filter(is_due).take(room);
        due.map(|known| {
            known.cell.wanted.store(false, Ordering::Release);
            (Arc::clone(&known.credential), Arc::clone(&known.cell))
        })
        .collect()
    }
}

/// Goes on with all of them; is ready once one has ended, which is then gone.
fn poll_any(asking: &mut Vec<Asking<'_>>, cx: &mut Context<'_>) -> Poll<()> {
    let before = asking.len();
    asking.retain_mut(|(_, question)| question.as_mut().poll(cx).is_pending());
    match asking.len() < before {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}
