//! The same question is paid once: key, lookup, sharing of an answer on its way, fill.
//!
//! `asked` decides whether a request may be answered from the cache, `question` what makes two
//! requests the same, `kept` what of an answer is kept. `flight` is one answer on its way,
//! shared by all who ask the same meanwhile; `playback` gives it, or a kept one, as a body.
//! A store that fails or is slow is a miss, and counted.

pub(crate) mod asked;
mod explain;
mod fill;
mod flight;
mod kept;
mod playback;
mod question;
mod recent;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, Response, StatusCode};
use isango_store::cache::{CacheStore, Entry, Key, Peek};
use isango_types::policy::CachePolicy;
use isango_types::record::{CacheStatus, CacheUse, Saved};
use isango_types::{Credential, RecordId, Timestamp};
use isango_wire::filter::UsageFilter;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub(crate) use self::asked::Terms;
pub(crate) use self::fill::{Spare, Ticket};
pub(crate) use self::flight::TooSlow;
use self::flight::{Flight, Passenger};
pub(crate) use self::playback::Playback;
use self::question::{Prints, Question};
use self::recent::Recent;
use crate::ask::{Call, Limits};
use crate::capture::Budget;
use crate::error::Error;
use crate::exchange::{Draft, Exchange};
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::resolve::{self, Route};
use crate::upstream::Source;

/// Longest body of a request that is answered from the cache, in bytes (data-plane section 27).
pub(crate) const MAX_REQUEST_BYTES: usize = 25 << 20;
/// How long a lookup may take; a slower one is a miss.
const LOOKUP: Duration = Duration::from_millis(5);
/// Lookups that may wait for a disk at once; further ones are misses.
const MAX_LOOKUPS: usize = 32;
/// How often an operator is told of a store that keeps failing.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How often those who wait for an answer are handed over to another who asks; then each asks for
/// itself.
const MAX_HANDOVERS: usize = 2;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest answer that is kept, in bytes.
    pub max_entry_bytes: usize,
    /// Memory for answers on their way that are to be kept, in bytes; beyond it they are not.
    pub max_filling_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_entry_bytes: 8 << 20,
            max_filling_bytes: 64 << 20,
        }
    }
}

/// The shared state.
pub(crate) struct Cache {
    store: Arc<dyn CacheStore>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    recent: Arc<Recent>,
    lookups: Arc<Semaphore>,
    budget: Arc<Budget>,
    settings: Settings,
    metrics: Arc<Metrics>,
    /// When the operator was told of a store that fails.
    told: Mutex<Option<Instant>>,
}

/// What the cache did for an exchange, as it was learned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caching {
    status: CacheStatus,
    key: Option<Key>,
    source: Option<Paid>,
    reason: Option<&'static str>,
    compared: Option<(Arc<Prints>, Arc<Recent>)>,
    fill: Option<Fill>,
}

/// What becomes of an answer: told once, by whoever reads it to its end.
type Fill = Arc<OnceLock<&'static str>>;

/// Who paid for an answer, and when.
#[derive(Clone, Copy, Debug)]
struct Paid {
    by: RecordId,
    /// `None`: it was on its way.
    kept: Option<KeptFor>,
}

#[derive(Clone, Copy, Debug)]
struct KeptFor {
    age_s: u64,
    took_us: u64,
}

impl Caching {
    /// It was wanted, but could not be had.
    pub(crate) fn bypassed(reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..Self::default()
        }
    }

    /// Who paid for the kept answer that was given, if one was.
    pub(crate) fn recalled(&self) -> Option<RecordId> {
        let paid = self.source.as_ref().filter(|paid| paid.kept.is_some());
        paid.map(|paid| paid.by)
    }

    pub(crate) const fn status(&self) -> CacheStatus {
        self.status
    }

    /// As a record tells it, of an exchange that took `total_us`.
    pub(crate) fn to_record(&self, id: RecordId, total_us: u64) -> CacheUse {
        let near = self.compared.as_ref();
        let near = near.and_then(|(prints, recent)| recent.nearest(prints, id));
        let (nearest, differs) =
            near.map_or((None, Vec::new()), |(id, in_what)| (Some(id), in_what));
        let kept = self.source.and_then(|paid| paid.kept);
        let took_us = kept.map_or(0, |kept| kept.took_us);
        CacheUse {
            status: self.status,
            key: self.key.map(|key| key.to_string().into()),
            filled_by: self.source.map(|paid| paid.by),
            age_s: kept.map(|kept| kept.age_s),
            joined: self.source.is_some_and(|paid| paid.kept.is_none()),
            saved: self.source.map(|_paid| Saved {
                us: took_us.saturating_sub(total_us),
                ..Saved::default()
            }),
            reason: self.reason.map(Into::into),
            nearest,
            differs,
            fill: self
                .fill
                .as_ref()
                .and_then(|fill| fill.get())
                .map(|told| (*told).into()),
        }
    }
}

/// What looking for an answer came to.
pub(crate) enum Found {
    /// The answer.
    Answer(Box<Answer>),
    /// The provider is to be asked; the answer goes through this ticket.
    Ask(Box<Ticket>),
    /// The provider is to be asked, and the answer is not kept.
    Nothing,
}

impl Found {
    fn answer(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// An answer that was asked for before. `is_on_its_way`: the provider has not ended it yet.
pub(crate) struct Answer {
    pub(crate) response: Response<Source>,
    pub(crate) filter: Option<Box<UsageFilter>>,
    pub(crate) is_on_its_way: bool,
}

/// What is looked for: a request as it will be sent, but for its body.
pub(crate) struct Looking<'l> {
    pub(crate) route: &'l Arc<Route>,
    pub(crate) method: &'l Method,
    pub(crate) headers: &'l HeaderMap,
    /// What it is authenticated with, where that does not stand in its headers.
    pub(crate) credential: Option<&'l Credential>,
    /// As the client sent it.
    pub(crate) body: &'l Bytes,
    pub(crate) terms: Box<Terms>,
    /// How long it waits for an answer that somebody else asked for.
    limits: &'l Limits,
    /// Whether it would ask more than once.
    has_plan: bool,
    /// Whether its answer on its way may be others', and the other way round.
    shares: bool,
}

impl<'l> Looking<'l> {
    fn of(
        (draft, call): (&Draft, &'l Call<'_>),
        body: &'l Bytes,
        terms: Box<Terms>,
        limits: &'l Limits,
    ) -> Self {
        Self {
            route: &call.route,
            method: &call.method,
            headers: &call.headers,
            credential: call.credential.as_deref(),
            body,
            terms,
            limits,
            has_plan: Plan::of(&call.route, draft.options.wishes).is_some(),
            shares: !(draft.streams && may_be_cut(&call.route)),
        }
    }

    fn policy(&self) -> &CachePolicy {
        &self.route.gateway.cache
    }

    fn question<'q>(&'q self, draft: &'q Draft) -> Question<'q> {
        Question {
            account: resolve::place(&draft.path).account,
            model: draft.model.as_deref(),
            token: draft.caller.token.as_deref(),
            looking: self,
        }
    }
}

/// Whether an entry answers a request.
enum Fit {
    Fresh,
    /// It does not; but it may stand in for a provider that fails.
    StandsIn(&'static str),
    Unfit(&'static str),
}

impl Cache {
    pub(crate) fn new(
        store: Arc<dyn CacheStore>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            flights: Mutex::default(),
            recent: Arc::default(),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            budget: Arc::new(Budget::new(settings.max_filling_bytes)),
            settings,
            metrics,
            told: Mutex::default(),
        })
    }

    /// Looks for an answer: one that is kept, or one that is on its way.
    ///
    /// # Errors
    /// [`Error::FirstByteTimeout`], [`Error::TotalTimeout`]: an answer on its way did not begin in
    /// time.
    pub(crate) async fn look(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        call: &Call<'_>,
        terms: Box<Terms>,
        limits: &Limits,
    ) -> Result<Found, Error> {
        let (Some(draft), Some(body)) = (exchange.draft(), call.question()) else {
            return Ok(Found::Nothing);
        };
        let looking = &Looking::of((draft, call), body, terms, limits);
        let Some(key) = looking.question(draft).key().await else {
            return Ok(Found::Nothing);
        };
        let mut caching = Caching {
            key: Some(key),
            ..Caching::default()
        };
        let mut stand_in = None;
        if looking.terms.reads {
            caching.status = CacheStatus::Miss;
            let kept = self.find(&key).await;
            if let Some(entry) = kept {
                match fit(&entry, looking, exchange.created_at()) {
                    Fit::Fresh => return Ok(self.hit(exchange, looking, entry)),
                    Fit::StandsIn(reason) => {
                        caching.reason = Some(reason);
                        stand_in = Some(entry);
                    }
                    Fit::Unfit(reason) => caching.reason = Some(reason),
                }
            }
        } else {
            caching.reason = Some("the request asked for a new answer");
        }
        self.lead_or_join(exchange, looking, caching, stand_in)
            .await
    }

    /// The entry of a key, if it can be had at once.
    async fn find(&self, key: &Key) -> Option<Arc<Entry>> {
        match self.store.peek(key) {
            Peek::Here(entry) => return Some(entry),
            Peek::Nowhere => return None,
            Peek::Elsewhere => {}
        }
        let Ok(permit) = Arc::clone(&self.lookups).try_acquire_owned() else {
            self.metrics.cache_errors.inc();
            return None;
        };
        let (store, key) = (Arc::clone(&self.store), *key);
        let reading = tokio::task::spawn_blocking(move || {
            let _until_read = permit;
            store.get(&key)
        });
        match timeout(LOOKUP, reading).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(error))) => {
                self.metrics.cache_errors.inc();
                self.tell(&error);
                None
            }
            Ok(Err(_ended)) => None,
            Err(_elapsed) => {
                self.metrics.cache_errors.inc();
                None
            }
        }
    }

    /// Tells the operator of a store that fails, not of every lookup.
    fn tell(&self, error: &(dyn std::error::Error + 'static)) {
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            drop(told);
            tracing::warn!(error, "the cache could not be asked");
        }
    }

    fn hit(&self, exchange: &mut Exchange, looking: &Looking<'_>, entry: Arc<Entry>) -> Found {
        Found::answer(replay(
            exchange,
            CacheStatus::Hit,
            entry,
            looking.policy().replay,
        ))
    }

    async fn lead_or_join(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        looking: &Looking<'_>,
        mut caching: Caching,
        stand_in: Option<Arc<Entry>>,
    ) -> Result<Found, Error> {
        let Some(key) = caching.key else {
            return Ok(Found::Nothing);
        };
        let mut handovers = 0;
        let flight = loop {
            if !looking.terms.reads || !looking.shares || handovers > MAX_HANDOVERS {
                break None;
            }
            let passenger = match self.enter(&key, looking, exchange.created_at()) {
                Entered::Kept(entry) => return Ok(self.hit(exchange, looking, entry)),
                Entered::Leads(flight) => break Some(flight),
                Entered::Joins(passenger) => passenger,
            };
            match wait(passenger, looking).await? {
                Waited::TooLong => break None,
                Waited::Begun(passenger, head) => {
                    let encoding = head.headers.get(CONTENT_ENCODING);
                    if kept::is_readable(encoding, looking.headers) {
                        return Ok(Found::answer(join(exchange, key, passenger, &head)));
                    }
                    break None;
                }
                Waited::InVain => handovers += 1,
            }
        };
        let Some(draft) = exchange.draft() else {
            return Ok(Found::Nothing);
        };
        let prints = Arc::new(looking.question(draft).prints());
        let fill = Fill::default();
        if looking.terms.reads {
            caching.compared = Some((Arc::clone(&prints), Arc::clone(&self.recent)));
        }
        caching.fill = Some(Arc::clone(&fill));
        exchange.cached(caching);
        Ok(Found::Ask(Box::new(Ticket::new(
            self,
            exchange,
            looking,
            flight,
            (key, prints, fill, stand_in),
        ))))
    }

    /// Finds the flight of a key, or begins it. What was kept since the lookup is found here: an
    /// answer is kept before its flight ends.
    fn enter(self: &Arc<Self>, key: &Key, looking: &Looking<'_>, now: Timestamp) -> Entered {
        loop {
            let mut flights = self.flights.lock();
            let Some(flight) = flights.get(key).cloned() else {
                if let Peek::Here(entry) = self.store.peek(key)
                    && matches!(fit(&entry, looking, now), Fit::Fresh)
                {
                    return Entered::Kept(entry);
                }
                let flight = self.new_flight();
                flights.insert(*key, Arc::clone(&flight));
                return Entered::Leads(flight);
            };
            // A flight that lands holds its own lock while it asks for this one.
            drop(flights);
            // What was asked before a purge is not for those who ask after it.
            if flight.generation() == self.store.generation()
                && let Some(passenger) = flight.board()
            {
                return Entered::Joins(passenger);
            }
            self.remove(key, &flight);
        }
    }

    fn new_flight(&self) -> Arc<Flight> {
        Flight::new(Arc::clone(&self.budget), self.store.generation())
    }

    fn remove(&self, key: &Key, flight: &Arc<Flight>) {
        let mut flights = self.flights.lock();
        if flights
            .get(key)
            .is_some_and(|known| Arc::ptr_eq(known, flight))
        {
            flights.remove(key);
        }
    }
}

/// What a request finds on its way to the provider.
enum Entered {
    Kept(Arc<Entry>),
    Leads(Arc<Flight>),
    Joins(Passenger),
}

/// What waiting for somebody else's answer came to.
enum Waited {
    Begun(Passenger, Arc<flight::Head>),
    /// There will be none: somebody else must ask.
    InVain,
    /// It took longer than a send may, and there is a plan for that.
    TooLong,
}

/// Waits for the head of an answer that somebody else asked for, as long as for one of our own.
async fn wait(passenger: Passenger, looking: &Looking<'_>) -> Result<Waited, Error> {
    let first_byte = looking.limits.first_byte;
    let first_byte = first_byte.or(looking.route.timeouts().first_byte);
    let left = looking.limits.left();
    let limit = first_byte.into_iter().chain(left).min();
    let head = match limit {
        None => passenger.head().await,
        Some(limit) => match timeout(limit, passenger.head()).await {
            Ok(head) => head,
            Err(_elapsed) => return too_late(looking, first_byte, left),
        },
    };
    Ok(head.map_or(Waited::InVain, |head| Waited::Begun(passenger, head)))
}

fn too_late(
    looking: &Looking<'_>,
    first_byte: Option<Duration>,
    left: Option<Duration>,
) -> Result<Waited, Error> {
    let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    match (first_byte, looking.limits.deadline) {
        (Some(first_byte), _) if left.is_none_or(|left| first_byte < left) => {
            match looking.has_plan {
                true => Ok(Waited::TooLong),
                false => Err(Error::FirstByteTimeout {
                    limit_ms: millis(first_byte),
                }),
            }
        }
        (_, Some((_, total))) => Err(Error::TotalTimeout {
            limit_ms: millis(total),
        }),
        (_, None) => Ok(Waited::TooLong),
    }
}

/// Whether a limit of the gateway may end streams when they have brought what is held for them: each
/// is then paid, and ended, for itself.
fn may_be_cut(route: &Route) -> bool {
    route.gateway.limits.iter().any(|limit| limit.may_cut())
}

fn age_s(entry: &Entry, now: Timestamp) -> u64 {
    now.as_micros().saturating_sub(entry.stored_at.as_micros()) / 1_000_000
}

fn fit(entry: &Entry, looking: &Looking<'_>, now: Timestamp) -> Fit {
    let mut headers = entry.answer.headers.iter();
    let encoding = headers.find(|(name, _)| **name == *CONTENT_ENCODING.as_str());
    let encoding = encoding.map(|(_, value)| http::HeaderValue::from_maybe_shared(value.clone()));
    let readable = match encoding {
        None => true,
        Some(Ok(encoding)) => kept::is_readable(Some(&encoding), looking.headers),
        Some(Err(_no_header)) => false,
    };
    if !readable {
        return Fit::Unfit("it is kept in an encoding that the request does not accept");
    }
    let is_young = |age: Duration| now < entry.stored_at.plus(age);
    let reason = if now >= entry.fresh_until {
        "it had expired"
    } else if looking.terms.max_age.is_some_and(|age| !is_young(age)) {
        "it was older than the request takes"
    } else {
        return Fit::Fresh;
    };
    if now < entry.fresh_until.plus(looking.policy().stale_if_error) {
        Fit::StandsIn(reason)
    } else {
        Fit::Unfit(reason)
    }
}

/// Answers with what is kept.
fn replay(
    exchange: &mut Exchange,
    status: CacheStatus,
    entry: Arc<Entry>,
    pace: isango_types::policy::Replay,
) -> Answer {
    let age_s = age_s(&entry, exchange.created_at());
    exchange.cached(Caching {
        status,
        key: Some(entry.key),
        source: Some(Paid {
            by: entry.filled_by,
            kept: Some(KeptFor {
                age_s,
                took_us: entry.took_us,
            }),
        }),
        ..Caching::default()
    });
    let code = StatusCode::from_u16(entry.answer.status).unwrap_or(StatusCode::OK);
    let headers = kept::headers(&entry, age_s);
    let filter = entry.answer.has_guest.then(Box::default);
    let body = Playback::of(entry, pace);
    answer(exchange, (code, headers), body, filter)
}

/// Answers with what somebody else asked for and is on its way.
fn join(exchange: &mut Exchange, key: Key, passenger: Passenger, head: &flight::Head) -> Answer {
    exchange.cached(Caching {
        status: CacheStatus::Hit,
        key: Some(key),
        source: Some(Paid {
            by: head.paid_by,
            kept: None,
        }),
        ..Caching::default()
    });
    let mut headers = head.headers.clone();
    headers.insert(http::header::AGE, 0.into());
    let filter = head.has_guest.then(Box::default);
    let body = Playback::Shared(passenger);
    answer(exchange, (head.status, headers), body, filter)
}

fn answer(
    exchange: &mut Exchange,
    (status, headers): (StatusCode, HeaderMap),
    body: Playback,
    filter: Option<Box<UsageFilter>>,
) -> Answer {
    exchange.answered(exchange.elapsed_us(), status, &headers);
    let is_on_its_way = matches!(body, Playback::Shared(_));
    let mut response = Response::new(Source::Cached(Box::new(body)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Answer {
        response,
        filter,
        is_on_its_way,
    }
}
