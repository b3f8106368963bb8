//! Admits or refuses by requests, tokens, cost and requests at once: one engine for every limit.
//!
//! A limit has a bucket for each combination of the values that it is split by. A request that is
//! admitted holds a [`Lease`] in each bucket it draws from; the lease is owned by the exchange and
//! is settled once, at the latest by its drop. All buckets of one draw are judged and drawn from
//! together, so that a request that is refused has drawn nothing.
//!
//! `bucket` counts, `permit` owns, `estimate` guesses what a request will draw, `admit` is what the
//! pipeline calls, `pledge` notes what is held where a crash does not reach it, `ledger` brings
//! counters back after a restart, `view` shows them to others.

mod admit;
mod bucket;
mod estimate;
mod ledger;
mod permit;
mod pledge;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use isango_types::limit::{Decision, OnExceeded, Verdict};
use isango_types::{Gateway, Limit, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub use admit::Notice;
pub(crate) use admit::{
    Admission, Stage, admit, admit_here, admit_leg, asked_model, model_behind, tell,
};
use bucket::{Judgement, State};
use estimate::Observed;
pub use ledger::{Drift, RestoreError};
pub(crate) use permit::{Lease, Overrun, Permit, Spent};
pub(crate) use pledge::{Pledge, Pledges};
pub use view::Drawn;

/// Buckets that are held at most; beyond, new values share one bucket for each limit.
const MAX_BUCKETS: usize = 131_072;
/// Parts of the table, so that requests of different buckets do not wait for each other.
const SHARDS: usize = 16;
/// Longest value of a dimension that is kept as it is, in bytes.
const MAX_VALUE: usize = 128;
/// The value of the bucket that new values share once the table is full.
const OTHERS: &str = "(others)";

/// The values that a request has in the dimensions of one limit.
pub(crate) type Values = Vec<Option<Box<str>>>;

/// Every bucket of every limit. Lives as long as the process; limits come with each request.
#[derive(Debug)]
pub(crate) struct Limits {
    shards: [Mutex<HashMap<Box<str>, Arc<Bucket>>>; SHARDS],
    hasher: RandomState,
    count: AtomicUsize,
    max_buckets: usize,
    serial: AtomicU64,
    /// The latest moment that was seen, in microseconds.
    latest: AtomicU64,
    /// Requests that wait for others to end.
    waiting: AtomicUsize,
    /// What answers of each model were like.
    observed: Observed,
    /// What requests that were sent hold, where a crash does not reach it.
    pledges: Arc<Pledges>,
    /// How often values had to share a bucket because the table was full.
    overflows: AtomicU64,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Several buckets are locked in this order.
    serial: u64,
    limit: Arc<Limit>,
    state: Mutex<State>,
    /// Told whenever something that was held is settled.
    freed: Arc<Notify>,
}

/// What a request wants of one limit.
pub(crate) struct Want<'w> {
    pub(crate) limit: &'w Arc<Limit>,
    pub(crate) values: Values,
    /// What it may draw.
    pub(crate) need: u64,
    /// What it surely draws if it is sent.
    pub(crate) least: u64,
    /// What is charged if it was sent, and nobody can say any more what it drew.
    pub(crate) likely: u64,
    /// What of `need` does not grow with the answer.
    pub(crate) fixed: u64,
    /// It has sent the request elsewhere, and only counts what is drawn there.
    pub(crate) is_passed: bool,
}

/// How much room a bucket has left.
#[derive(Clone, Debug)]
pub(crate) struct Headroom {
    pub(crate) limit: Arc<Limit>,
    pub(crate) remaining: u64,
    /// Seconds until some of it is there again, rounded up.
    pub(crate) resets_in_s: u64,
}

impl Headroom {
    /// Whether less of the limit is left than of the other.
    fn is_tighter(&self, other: &Self) -> bool {
        let part = |own: &Self, other: &Self| {
            u128::from(own.remaining) * u128::from(other.limit.limit.max(1))
        };
        part(self, other) < part(other, self)
    }
}

/// Why nothing was drawn.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) limit: Arc<Limit>,
    pub(crate) decision: Decision,
    /// Nothing but requests under way stands in the way; then the bucket tells when one ends.
    pub(crate) busy: bool,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) remaining: u64,
    pub(crate) opens_at: Timestamp,
    pub(crate) now: Timestamp,
}

impl Default for Limits {
    fn default() -> Self {
        Self::noting(Arc::default())
    }
}

impl Limits {
    /// Limits whose requests note what they hold in `pledges`.
    pub(crate) fn noting(pledges: Arc<Pledges>) -> Self {
        Self::new(MAX_BUCKETS, pledges)
    }

    /// With room for so many buckets.
    pub(crate) fn new(max_buckets: usize, pledges: Arc<Pledges>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            max_buckets,
            serial: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            observed: Observed::default(),
            pledges,
            overflows: AtomicU64::new(0),
        }
    }

    /// Draws from all buckets that are wanted, or from none.
    pub(crate) fn draw(
        &self,
        gateway: &Gateway,
        wants: Vec<Want<'_>>,
        now: Timestamp,
    ) -> Result<(Vec<Lease>, Option<Headroom>), Box<Refusal>> {
        let now = self.present(now);
        let found: Vec<(Want<'_>, Arc<Bucket>)> = wants
            .into_iter()
            .map(|mut want| {
                let bucket = self.bucket(gateway, want.limit, &mut want.values, now);
                (want, bucket)
            })
            .collect();
        let mut states = lock_all(&found);
        let judged: Vec<(Timestamp, Judgement)> = found
            .iter()
            .zip(&mut states)
            .map(|((want, _), state)| {
                let at = state.roll(want.limit, now);
                (at, state.judge(want.limit, want.need, want.least))
            })
            .collect();
        if let Some(refusal) = refusal(&found, &states, &judged, now) {
            return Err(Box::new(refusal));
        }
        let mut headroom: Option<Headroom> = None;
        let mut leases = Vec::with_capacity(found.len());
        for (((want, bucket), state), (at, judgement)) in found.iter().zip(&mut states).zip(judged)
        {
            let before = state.sum().total();
            let (held, verdict) = match judgement {
                Judgement::Fits(held) => (held, Verdict::Admitted),
                Judgement::Full | Judgement::Busy if want.limit.shadow => {
                    (want.need, Verdict::Shadow)
                }
                Judgement::Full | Judgement::Busy if want.is_passed => {
                    (want.need, Verdict::Diverted)
                }
                Judgement::Full | Judgement::Busy => (want.need, Verdict::Warned),
            };
            state.hold(at, held);
            let room = Headroom {
                limit: Arc::clone(want.limit),
                remaining: want.limit.limit.saturating_sub(state.sum().total()),
                resets_in_s: seconds(now, state.resets_at(now)),
            };
            if !want.limit.shadow && headroom.as_ref().is_none_or(|other| room.is_tighter(other)) {
                headroom = Some(room);
            }
            let decision = Decision {
                reserved: held,
                ..decision(want, before, verdict, at)
            };
            leases.push(Lease::new(Arc::clone(bucket), decision, want));
        }
        drop(states);
        Ok((leases, headroom))
    }

    /// `now`, or the latest moment before it if the clock was set back a little since.
    fn present(&self, now: Timestamp) -> Timestamp {
        let latest = self.latest.fetch_max(now.as_micros(), Ordering::Relaxed);
        if latest > now.as_micros().saturating_add(bucket::MAX_SET_BACK) {
            self.latest.store(now.as_micros(), Ordering::Relaxed);
            return now;
        }
        Timestamp::from_micros(latest.max(now.as_micros()))
    }

    /// The bucket of these values; of those that all share where the table is full.
    fn bucket(
        &self,
        gateway: &Gateway,
        limit: &Arc<Limit>,
        values: &mut Values,
        now: Timestamp,
    ) -> Arc<Bucket> {
        values.iter_mut().flatten().for_each(clip);
        let key = key(gateway, limit, values);
        let mut shard = self.shard(&key);
        if let Some(bucket) = shard.get(&*key) {
            return Arc::clone(bucket);
        }
        let is_full = self.count.load(Ordering::Relaxed) >= self.max_buckets;
        if is_full && !values.is_empty() && self.evict(&mut shard, now) == 0 {
            drop(shard);
            self.overflows.fetch_add(1, Ordering::Relaxed);
            values.clear();
            values.push(Some(OTHERS.into()));
            let key = self::key(gateway, limit, values);
            return self.insert(&mut self.shard(&key), key, limit, now);
        }
        self.insert(&mut shard, key, limit, now)
    }

    fn insert(
        &self,
        shard: &mut HashMap<Box<str>, Arc<Bucket>>,
        key: String,
        limit: &Arc<Limit>,
        now: Timestamp,
    ) -> Arc<Bucket> {
        let bucket = shard.entry(key.into()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Bucket {
                serial: self.serial.fetch_add(1, Ordering::Relaxed),
                limit: Arc::clone(limit),
                state: Mutex::new(State::new(limit, now)),
                freed: Arc::new(Notify::new()),
            })
        });
        Arc::clone(bucket)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<Box<str>, Arc<Bucket>>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        self.shards[hash % SHARDS].lock()
    }

    /// Forgets buckets that hold nothing, and says how many. One that a request looks at, or that
    /// has anything in its window, is never forgotten.
    fn evict(&self, shard: &mut HashMap<Box<str>, Arc<Bucket>>, now: Timestamp) -> usize {
        let before = shard.len();
        shard.retain(|_, bucket| {
            Arc::strong_count(bucket) > 1 || !bucket.state.lock().is_idle(&bucket.limit, now)
        });
        let gone = before - shard.len();
        self.count.fetch_sub(gone, Ordering::Relaxed);
        gone
    }

    /// Forgets every bucket that holds nothing at `now`.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let now = self.present(now);
        for shard in &self.shards {
            self.evict(&mut shard.lock(), now);
        }
    }

    /// Buckets that are held.
    pub(crate) fn buckets(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How often something that a request holds could not be noted.
    pub(crate) fn unpledged(&self) -> u64 {
        self.pledges.failures()
    }

    /// How often values had to share a bucket because the table was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Limits {
    /// What every bucket holds.
    fn sums(&self) -> Vec<(Box<str>, bucket::Sum)> {
        let mut sums = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            sums.extend(
                shard
                    .iter()
                    .map(|(key, one)| (key.clone(), one.state.lock().sum())),
            );
        }
        sums
    }
}

/// Locks every bucket in the order of their serials; the guards stand in the order of `found`.
fn lock_all<'b>(found: &'b [(Want<'_>, Arc<Bucket>)]) -> Vec<MutexGuard<'b, State>> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_unstable_by_key(|place| found[*place].1.serial);
    let mut locked: Vec<(usize, MutexGuard<'b, State>)> = order
        .into_iter()
        .map(|place| (place, found[place].1.state.lock()))
        .collect();
    locked.sort_unstable_by_key(|(place, _)| *place);
    locked.into_iter().map(|(_, guard)| guard).collect()
}

/// The bucket that a request fails at: of those that are full the one that opens last, else one
/// that is busy.
fn refusal(
    found: &[(Want<'_>, Arc<Bucket>)],
    states: &[MutexGuard<'_, State>],
    judged: &[(Timestamp, Judgement)],
    now: Timestamp,
) -> Option<Refusal> {
    let mut worst: Option<Refusal> = None;
    for (((want, bucket), state), (at, judgement)) in found.iter().zip(states).zip(judged) {
        let busy = match judgement {
            Judgement::Fits(_) => continue,
            Judgement::Full => false,
            Judgement::Busy => true,
        };
        if want.limit.shadow || want.is_passed || want.limit.on_exceeded == OnExceeded::Warn {
            continue;
        }
        let opens_at = match busy {
            true => now,
            false => state.opens_at(want.limit, want.least, now),
        };
        let is_worse = worst
            .as_ref()
            .is_none_or(|worst| (!busy, opens_at) > (!worst.busy, worst.opens_at));
        if is_worse {
            let before = state.sum().total();
            worst = Some(Refusal {
                limit: Arc::clone(want.limit),
                decision: decision(want, before, Verdict::Refused, *at),
                busy,
                bucket: Arc::clone(bucket),
                remaining: want.limit.limit.saturating_sub(before),
                opens_at,
                now,
            });
        }
    }
    worst
}

/// What a limit says to a request, before anything was drawn.
fn decision(want: &Want<'_>, before: u64, verdict: Verdict, at: Timestamp) -> Decision {
    Decision {
        rule: want.limit.id.clone(),
        bucket: want.values.clone(),
        unit: want.limit.unit,
        verdict,
        limit: want.limit.limit,
        before,
        reserved: want.need,
        charged: 0,
        after: before,
        at,
    }
}

/// The name of a bucket: no two combinations of values share one. A limit that counts something
/// else than before, or in other windows, begins anew.
fn key(gateway: &Gateway, limit: &Limit, values: &[Option<Box<str>>]) -> String {
    let mut key = String::with_capacity(96);
    // Writing to a text cannot fail.
    let _written = write!(
        key,
        "{}/{}/{}\0{}\0{}",
        gateway.account,
        gateway.id,
        limit.id,
        limit.unit.as_str(),
        limit.window
    );
    for dimension in &limit.by {
        let _written = write!(key, "\0{dimension}");
    }
    for value in values {
        let _written = match value {
            Some(value) => write!(key, "\0{}:{value}", value.len()),
            None => write!(key, "\0-"),
        };
    }
    key
}

/// Seconds from one moment to another, rounded up.
fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    micros.div_ceil(1_000_000)
}

/// Cuts a value that is too long to be kept, and makes it unlike others with the same beginning.
fn clip(value: &mut Box<str>) {
    if value.len() > MAX_VALUE {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.as_bytes());
        let mut clipped = value[..value.floor_char_boundary(MAX_VALUE / 2)].to_owned();
        clipped.push('~');
        for byte in &digest.as_ref()[..16] {
            let _written = write!(clipped, "{byte:02x}");
        }
        *value = clipped.into();
    }
}
