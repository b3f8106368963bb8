//! From the provider's answer to an entry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{Response, StatusCode};
use isango_store::cache::{Answer as KeptAnswer, Entry, Key, Peek, Tags};
use isango_types::policy::Replay;
use isango_types::record::CacheStatus;
use isango_types::{Operation, RecordId, Timestamp};
use isango_wire::read::{self, Answer as Read, Decoded};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::flight::{Flight, Head, Landed};
use super::question::Prints;
use super::{Answer, Cache, Fill, Looking, Playback, kept, replay};
use crate::ask::Answer as Asked;
use crate::error::Error;
use crate::exchange::{Draft, Exchange, micros};
use crate::resolve::Route;
use crate::secrets::Secrets;
use crate::upstream::Source;

/// Larger bodies are read and put together on another thread, in bytes.
const LARGE: usize = 64 << 10;

/// The way of one answer into the cache. Dropped before the answer began, it tells those who wait
/// that somebody else must ask.
pub(crate) struct Ticket {
    cache: Arc<Cache>,
    flight: Arc<Flight>,
    plan: Option<Plan>,
    stand_in: Option<Arc<Entry>>,
    replay: Replay,
    /// Why its answer is nobody else's, as far as its head told.
    hindrance: Option<&'static str>,
    is_endless: bool,
}

/// What an entry will be made of, beside the answer.
struct Plan {
    key: Key,
    /// Where it was to go.
    route: Arc<Route>,
    tags: Tags,
    prints: Arc<Prints>,
    fill: Fill,
    /// Of the store, when the question was asked.
    generation: u64,
    id: RecordId,
    asked_at: Timestamp,
    started: Instant,
    ttl: Duration,
    stale: Duration,
    operation: Operation,
    /// Those of whoever answered, too; known when the answer begins.
    secrets: Secrets,
}

impl Ticket {
    /// A ticket for the exchange that asks; `flight`: `None` where nobody may join.
    pub(super) fn new(
        cache: &Arc<Cache>,
        exchange: &Exchange,
        looking: &Looking<'_>,
        flight: Option<Arc<Flight>>,
        (key, prints, fill, stand_in): (Key, Arc<Prints>, Fill, Option<Arc<Entry>>),
    ) -> Self {
        let flight = flight.unwrap_or_else(|| cache.new_flight());
        let policy = looking.policy();
        let plan = exchange.draft().map(|draft| Plan {
            key,
            route: Arc::clone(looking.route),
            tags: looking.question(draft).tags(),
            prints,
            fill,
            generation: flight.generation(),
            id: draft.id,
            asked_at: draft.created_at,
            started: draft.started,
            ttl: looking.terms.ttl,
            stale: policy.stale_if_error,
            operation: draft.operation,
            secrets: Secrets::default(),
        });
        Self {
            cache: Arc::clone(cache),
            flight,
            plan,
            stand_in,
            replay: policy.replay,
            hindrance: None,
            is_endless: false,
        }
    }

    /// Looks at the answer as the provider gave it.
    pub(crate) fn sees<B>(&mut self, answer: &Response<B>) {
        self.hindrance = kept::hindrance(answer);
        self.is_endless = kept::is_endless(answer);
    }

    /// What stands in for a provider that fails, where the gateway wants that.
    pub(crate) fn spare(&mut self, asked: &Result<Asked, Error>) -> Option<Spare> {
        let has_failed = match asked {
            Ok(asked) => is_outage(asked.response.status()),
            Err(error) => error.attempt_word().is_some(),
        };
        let entry = self.stand_in.take().filter(|_entry| has_failed)?;
        let replay = self.replay;
        Some(Spare { entry, replay })
    }

    /// Takes the answer's body over, to keep a copy and to share it, if it may be kept.
    pub(crate) fn begin(
        mut self,
        exchange: &Exchange,
        response: Response<Source>,
        has_guest: bool,
    ) -> Response<Source> {
        let Some(mut plan) = self.plan.take() else {
            return response;
        };
        plan.secrets = exchange
            .draft()
            .map_or_else(Secrets::default, Draft::known_secrets);
        if let Some(why) = self.hindrance {
            plan.fill.set(why).ok();
            self.plan = Some(plan);
            return response;
        }
        if exchange.is_bounded() {
            // It was not expected to stream; those who wait for it ask for themselves.
            self.cache.remove(&plan.key, &self.flight);
            self.flight.fail();
            self.flight = self.cache.new_flight();
        }
        let (parts, source) = response.into_parts();
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let headers = kept::timeless(&parts.headers);
        let making = Making {
            status: parts.status.as_u16(),
            headers: kept::to_store(&headers),
            is_chunked: !kept::has_length(&parts.headers),
            has_guest,
            is_endless: self.is_endless,
            is_of_another: exchange
                .draft()
                .and_then(|draft| draft.route.as_ref())
                .is_none_or(|route| !plan.is_for(route, exchange.is_diverted())),
        };
        let head = Head {
            status: parts.status,
            headers,
            length,
            has_guest,
            paid_by: plan.id,
        };
        let (cache, flight) = (Arc::clone(&self.cache), Arc::downgrade(&self.flight));
        let limit = cache.settings.max_entry_bytes;
        let landing = move |landed: Landed| {
            let is_large = landed.bytes() > LARGE;
            let end = move || {
                let key = plan.key;
                plan.land(&cache, making, landed);
                if let Some(flight) = flight.upgrade() {
                    cache.remove(&key, &flight);
                }
            };
            match Handle::try_current() {
                Ok(runtime) if is_large => drop(runtime.spawn_blocking(end)),
                Ok(_) | Err(_) => end(),
            }
        };
        let passenger = self.flight.begin(head, source, limit, Box::new(landing));
        Response::from_parts(parts, Source::Cached(Box::new(Playback::Shared(passenger))))
    }
}

/// An old answer to a question that a provider failed to answer.
pub(crate) struct Spare {
    entry: Arc<Entry>,
    replay: Replay,
}

impl Spare {
    /// Answers with it.
    pub(crate) fn give(self, exchange: &mut Exchange) -> Answer {
        replay(exchange, CacheStatus::Stale, self.entry, self.replay)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(plan) = self.plan.take() {
            self.cache.remove(&plan.key, &self.flight);
            self.flight.fail();
        }
    }
}

/// An error that another provider, or the same one later, would not give (RFC 5861 section 4; 529
/// is Anthropic's word for overloaded).
fn is_outage(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504 | 529)
}

/// What is known of an answer when it begins.
struct Making {
    status: u16,
    headers: Vec<(Box<str>, Bytes)>,
    is_chunked: bool,
    has_guest: bool,
    is_endless: bool,
    /// Another target gave it than was asked.
    is_of_another: bool,
}

impl Making {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| **known == *name.as_str())?;
        std::str::from_utf8(value).ok()
    }
}

impl Plan {
    /// Whether an answer of this route is one to the question: of its own target, or of an equal,
    /// unless a limit sent it there, maybe for another model.
    fn is_for(&self, route: &Arc<Route>, is_diverted: bool) -> bool {
        let gateway = &self.route.gateway;
        let equals = self.route.group.and_then(|group| gateway.groups.get(group));
        let equals = equals.into_iter().flat_map(|group| &group.targets);
        let mut equals = equals.filter_map(|at| gateway.targets.get(*at));
        Arc::ptr_eq(route, &self.route)
            || !is_diverted
                && route
                    .target
                    .as_ref()
                    .is_some_and(|gave| equals.any(|one| one.name == gave.name))
    }

    /// Keeps an answer that came to its end whole.
    fn land(self, cache: &Arc<Cache>, making: Making, landed: Landed) {
        match landed {
            Landed::NotKept(why) => {
                self.fill.set(why).ok();
            }
            Landed::Whole(frames, times_us) => {
                let told = Arc::clone(&self.fill);
                let became = self.keep(cache, making, &frames, times_us);
                told.set(became).ok();
            }
        }
    }

    fn keep(
        self,
        cache: &Cache,
        making: Making,
        frames: &[Bytes],
        times_us: Vec<u32>,
    ) -> &'static str {
        if making.is_of_another {
            return "another target gave it";
        }
        let body = Bytes::from(frames.concat());
        let encoding = making.header(&CONTENT_ENCODING);
        let reading = read::read(&Read {
            wire: self.route.wire,
            operation: self.operation,
            status: making.status,
            content_type: making.header(&CONTENT_TYPE),
            content_encoding: encoding,
            chunks: frames,
            tail: &[],
            complete: true,
            keep_raw: encoding.is_some(),
        });
        if let Some(fault) = kept::fault(&reading, &body, making.is_endless) {
            return fault;
        }
        let unpacked = [
            reading.raw.as_deref(),
            reading.body.as_ref().map(Decoded::as_bytes),
        ];
        let unpacked = unpacked
            .into_iter()
            .flatten()
            .filter(|_| encoding.is_some());
        if unpacked
            .chain([&*body])
            .any(|bytes| self.secrets.are_in(bytes))
        {
            return "it repeats a credential";
        }
        let now = self.asked_at.plus(self.started.elapsed());
        if let Peek::Here(known) = cache.store.peek(&self.key)
            && known.stored_at > self.asked_at
            && known.stored_at <= now
        {
            return "a newer answer is kept";
        }
        let entry = Entry {
            key: self.key,
            tags: self.tags,
            filled_by: self.id,
            stored_at: self.asked_at,
            fresh_until: self.asked_at.plus(self.ttl),
            keep_until: self.asked_at.plus(self.ttl + self.stale),
            took_us: micros(self.started.elapsed()),
            answer: making.answer(frames, times_us, body),
        };
        match cache.store.put(Arc::new(entry), self.generation) {
            Ok(()) => {
                cache.recent.add(self.id, self.prints);
                "stored"
            }
            Err(_busy_or_failed) => {
                cache.metrics.cache_errors.inc();
                "the store took too long"
            }
        }
    }
}

impl Making {
    /// The answer in one piece of memory; one whose length was announced in one frame, too.
    fn answer(self, frames: &[Bytes], times_us: Vec<u32>, mut body: Bytes) -> KeptAnswer {
        let whole = (!self.is_chunked).then(|| Some(body.clone()).filter(|body| !body.is_empty()));
        let frames = whole.map(Vec::from_iter).unwrap_or_else(|| {
            let lengths = frames.iter().map(Bytes::len);
            lengths.map(|length| body.split_to(length)).collect()
        });
        KeptAnswer {
            status: self.status,
            headers: self.headers,
            frames,
            times_us: match self.is_chunked {
                true => times_us,
                false => Vec::new(),
            },
            is_chunked: self.is_chunked,
            has_guest: self.has_guest,
        }
    }
}
