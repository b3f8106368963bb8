//! From the provider's answer to an entry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use isango_store::cache::{Answer as KeptAnswer, Entry, Key, Tags};
use isango_types::policy::Replay;
use isango_types::record::CacheStatus;
use isango_types::{RecordId, Timestamp};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::flight::{Flight, Head, Landed};
use super::question::Prints;
use super::{Answer, Cache, Fill, Looking, Playback, kept, replay};
use crate::ask::Answer as Asked;
use crate::error::Error;
use crate::exchange::{Exchange, micros};
use crate::resolve::Route;
use crate::secrets::Secrets;
use crate::upstream::Source;

/// Larger bodies are put together on another thread, in bytes.
const LARGE: usize = 256 << 10;

/// The way of one answer into the cache. Dropped before the answer began, it tells those who wait
/// that somebody else must ask.
pub(crate) struct Ticket {
    cache: Arc<Cache>,
    flight: Arc<Flight>,
    plan: Option<Plan>,
    stand_in: Option<Arc<Entry>>,
    replay: Replay,
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
        let flight = flight.unwrap_or_else(|| Flight::new(Arc::clone(&cache.budget)));
        let policy = looking.policy();
        let plan = exchange.draft().map(|draft| Plan {
            key,
            route: Arc::clone(looking.route),
            tags: looking.question(draft).tags(),
            prints,
            fill,
            generation: cache.store.generation(),
            id: draft.id,
            asked_at: draft.created_at,
            started: draft.started,
            ttl: looking.terms.ttl,
            stale: policy.stale_if_error,
            secrets: draft.known_secrets(),
        });
        Self {
            cache: Arc::clone(cache),
            flight,
            plan,
            stand_in,
            replay: policy.replay,
        }
    }

    /// The entry that stands in for a provider that fails, where the gateway wants that.
    pub(crate) fn stand_in(
        &mut self,
        exchange: &mut Exchange,
        asked: &Result<Asked, Error>,
    ) -> Option<Answer> {
        let has_failed = match asked {
            Ok(asked) => is_outage(asked.response.status()),
            Err(error) => error.attempt_word().is_some(),
        };
        let entry = self.stand_in.take().filter(|_entry| has_failed)?;
        Some(replay(exchange, CacheStatus::Stale, entry, self.replay))
    }

    /// Takes the answer's body over, to keep a copy and to share it, if it may be kept.
    pub(crate) fn begin(
        mut self,
        exchange: &Exchange,
        response: Response<Source>,
        has_guest: bool,
    ) -> Response<Source> {
        let Some(plan) = self.plan.take() else {
            return response;
        };
        if !kept::may_be_kept(response.status()) {
            plan.fill.set("its status is not one that is kept").ok();
            self.plan = Some(plan);
            return response;
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
            is_of_another: exchange
                .draft()
                .and_then(|draft| draft.route.as_ref())
                .is_none_or(|route| !Arc::ptr_eq(route, &plan.route)),
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
    /// Another target gave it than was asked.
    is_of_another: bool,
}

impl Plan {
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
        if self.secrets.are_in(&body) {
            return "it repeats a credential";
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
