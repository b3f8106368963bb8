//! Admits or refuses by requests, tokens, cost and requests at once: one engine for every limit.
//!
//! A limit has a bucket for each combination of the values that it is split by. A request that is
//! admitted holds a [`Lease`] in each bucket it draws from; the lease is owned by the exchange and
//! is settled once, at the latest by its drop. All buckets of one draw are judged and drawn from
//! together, so that a request that is refused has drawn nothing.
//!
//! `bucket` counts, `permit` owns, `estimate` guesses what a request will draw, `subject` is what
//! limits look at, `admit` is what the pipeline calls, `notice` what clients are told, `pledge` notes
//! what is held where a crash does not reach it, `ledger` brings counters back after a restart, `time`
//! is what clocks tell, `view` shows counters to others, `history` tells what limits would have done
//! before, `rehearse` what they would do.

mod admit;
mod bucket;
mod estimate;
mod history;
mod ledger;
mod notice;
mod permit;
mod pledge;
mod rehearse;
#[cfg(test)]
mod simulation;
mod subject;
#[cfg(test)]
mod tests;
mod time;
mod view;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use isango_store::checkpoint::CheckpointStore;
use isango_store::memory::MemoryCheckpoint;
use isango_types::limit::{Decision, OnExceeded, Verdict};
use isango_types::{Gateway, Limit, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) use admit::{Admission, Entry, Stage};
pub(crate) use admit::{admit, admit_at, admit_here, admit_leg};
use bucket::{Judgement, State};
pub(crate) use estimate::DEFAULT_OUTPUT;
use estimate::Observed;
pub use history::{History, Ruling};
pub(crate) use ledger::Booked;
use ledger::Recorded;
pub use ledger::{Against, Drift, RestoreError};
pub use notice::Notice;
pub(crate) use notice::tell;
pub(crate) use permit::{Lease, Overrun, Permit, Spent};
pub(crate) use pledge::{Pledge, Pledges};
pub(crate) use rehearse::look;
pub(crate) use subject::{asked_model_at, model_behind, served_before};
use time::{Present, Time};
pub use view::Drawn;

/// Buckets that each limit has at most; beyond, its new values share one. Nobody's values take the
/// place of those of another limit.
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
pub(crate) struct Limits {
    shards: [Mutex<HashMap<Box<str>, Arc<Bucket>>>; SHARDS],
    hasher: RandomState,
    /// How many each limit has.
    shares: Mutex<HashMap<Box<str>, Arc<AtomicUsize>>>,
    max_buckets: usize,
    serial: AtomicU64,
    time: Time,
    /// Requests that wait for others to end.
    waiting: AtomicUsize,
    /// What answers of each model were like.
    observed: Arc<Observed>,
    /// Where buckets come from that are not here yet; `None`: these are the real ones.
    base: Option<Arc<Limits>>,
    /// What requests that were sent hold, where a crash does not reach it.
    pledges: Arc<Pledges>,
    /// What is on record, and where that is saved.
    recorded: Mutex<Recorded>,
    checkpoint: Arc<dyn CheckpointStore>,
    /// How often values had to share a bucket because the table was full.
    overflows: AtomicU64,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let buckets = self.buckets();
        f.debug_struct("Limits")
            .field("buckets", &buckets)
            .finish_non_exhaustive()
    }
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
    _share: Share,
}

/// One of the buckets of a limit, counted as long as it is there.
#[derive(Debug)]
struct Share(Arc<AtomicUsize>);

impl Share {
    fn of(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request wants of one limit.
pub(crate) struct Want<'w> {
    pub(crate) limit: &'w Arc<Limit>,
    pub(crate) values: Values,
    /// What it may draw; `None`: nobody can tell, and what is left is for it alone.
    pub(crate) need: Option<u64>,
    /// What it surely draws if it is sent.
    pub(crate) least: u64,
    /// What is charged if it was sent, and nobody can say any more what it drew.
    pub(crate) likely: u64,
    /// What of `need` does not grow with the answer.
    pub(crate) fixed: u64,
    /// It has sent the request elsewhere, and only counts what is drawn there.
    pub(crate) is_passed: bool,
    /// The target that it is for; `None`: any.
    pub(crate) place: Option<Box<str>>,
    /// The values that it has, where it shares a bucket because there are too many.
    pub(crate) crowded: Option<Values>,
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

    /// Limits that save what is on record of them in `checkpoint`.
    pub(crate) fn saving(self, checkpoint: Arc<dyn CheckpointStore>) -> Self {
        Self { checkpoint, ..self }
    }

    /// With room for so many buckets of each limit.
    pub(crate) fn new(max_buckets: usize, pledges: Arc<Pledges>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            shares: Mutex::default(),
            max_buckets,
            serial: AtomicU64::new(0),
            time: Time::default(),
            waiting: AtomicUsize::new(0),
            observed: Arc::default(),
            base: None,
            pledges,
            recorded: Mutex::default(),
            checkpoint: Arc::new(MemoryCheckpoint::default()),
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
        let time = self.time.present(now);
        let now = time.now;
        let found: Vec<(Want<'_>, Arc<Bucket>)> = wants
            .into_iter()
            .map(|mut want| {
                let bucket = self.bucket_of(gateway, &mut want, time);
                (want, bucket)
            })
            .collect();
        let mut states = lock_all(&found);
        let judged: Vec<(Timestamp, Judgement)> = found
            .iter()
            .zip(&mut states)
            .map(|((want, _), state)| {
                let at = state.roll(want.limit, time);
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
            let need = want.need.unwrap_or(0);
            let (held, verdict) = match judgement {
                Judgement::Fits(held) => (held, Verdict::Admitted),
                Judgement::Full | Judgement::Busy if want.limit.shadow => (need, Verdict::Shadow),
                Judgement::Full | Judgement::Busy if want.is_passed => (need, Verdict::Diverted),
                Judgement::Full | Judgement::Busy => (need, Verdict::Warned),
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

    /// The bucket of what is wanted; of the values that all share where the limit has too many.
    fn bucket_of(&self, gateway: &Gateway, want: &mut Want<'_>, time: Present) -> Arc<Bucket> {
        want.values.iter_mut().flatten().for_each(clip);
        match self.bucket(gateway, want.limit, &want.values, time) {
            Some(bucket) => bucket,
            None => {
                let others = vec![Some(OTHERS.into())];
                want.crowded = Some(std::mem::replace(&mut want.values, others));
                self.others(gateway, want.limit, time)
            }
        }
    }

    /// The bucket of these values; `None`: the limit has too many, and all of them hold something.
    fn bucket(
        &self,
        gateway: &Gateway,
        limit: &Arc<Limit>,
        values: &[Option<Box<str>>],
        time: Present,
    ) -> Option<Arc<Bucket>> {
        let key = key(gateway, limit, values);
        let mut shard = self.shard(&key);
        if let Some(bucket) = shard.get(&*key) {
            return Some(Arc::clone(bucket));
        }
        let most = match values.is_empty() {
            true => usize::MAX,
            false => self.max_buckets,
        };
        let rule = definition(gateway, limit);
        let mut share = self.share(&rule, most);
        if share.is_none() && self.evict(&mut shard, time) > 0 {
            share = self.share(&rule, most);
        }
        Some(self.insert(&mut shard, key, (limit, share?), time))
    }

    /// The bucket that all values of a limit share for which there is none.
    fn others(&self, gateway: &Gateway, limit: &Arc<Limit>, time: Present) -> Arc<Bucket> {
        self.overflows.fetch_add(1, Ordering::Relaxed);
        let key = key(gateway, limit, &[Some(OTHERS.into())]);
        let mut shard = self.shard(&key);
        if let Some(bucket) = shard.get(&*key) {
            return Arc::clone(bucket);
        }
        let share = self.share(&definition(gateway, limit), usize::MAX);
        self.insert(
            &mut shard,
            key,
            (limit, share.unwrap_or_else(|| Share::of(Arc::default()))),
            time,
        )
    }

    /// Room for one more bucket of a limit, which has `most`.
    fn share(&self, rule: &str, most: usize) -> Option<Share> {
        let mut shares = self.shares.lock();
        let count = match shares.get(rule) {
            Some(count) => Arc::clone(count),
            None => Arc::clone(shares.entry(rule.into()).or_default()),
        };
        drop(shares);
        // Taken before it is looked at: several may come at once.
        let share = Share::of(count);
        (share.count() <= most).then_some(share)
    }

    fn insert(
        &self,
        shard: &mut HashMap<Box<str>, Arc<Bucket>>,
        key: String,
        (limit, share): (&Arc<Limit>, Share),
        time: Present,
    ) -> Arc<Bucket> {
        let state = self.stands(&key);
        let bucket = Arc::new(Bucket {
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            limit: Arc::clone(limit),
            state: Mutex::new(state.unwrap_or_else(|| State::new(limit, time))),
            freed: Arc::new(Notify::new()),
            _share: share,
        });
        shard.insert(key.into(), Arc::clone(&bucket));
        bucket
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<Box<str>, Arc<Bucket>>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        self.shards[hash % SHARDS].lock()
    }

    /// Forgets buckets that hold nothing, and says how many. One that a request looks at, or that
    /// has anything in its window, is never forgotten.
    fn evict(&self, shard: &mut HashMap<Box<str>, Arc<Bucket>>, time: Present) -> usize {
        let before = shard.len();
        shard.retain(|_, bucket| {
            Arc::strong_count(bucket) > 1 || !bucket.state.lock().is_idle(&bucket.limit, time)
        });
        before - shard.len()
    }

    /// Forgets every bucket that holds nothing at `now`.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let time = self.time.present(now);
        for shard in &self.shards {
            self.evict(&mut shard.lock(), time);
        }
        self.shares
            .lock()
            .retain(|_, count| Arc::strong_count(count) > 1);
    }

    /// Buckets that are held.
    pub(crate) fn buckets(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
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
    /// How much every bucket keeps.
    fn pieces(&self) -> usize {
        let count = |bucket: &Arc<Bucket>| bucket.state.lock().pieces().len();
        let of = |shard: &Mutex<HashMap<_, _>>| shard.lock().values().map(count).sum::<usize>();
        self.shards.iter().map(of).sum()
    }

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
        reserved: want.need.unwrap_or(0),
        charged: 0,
        after: before,
        at,
    }
}

/// The name of a bucket: no two combinations of values share one. A limit that counts something
/// else than before, or in other windows, begins anew.
fn key(gateway: &Gateway, limit: &Limit, values: &[Option<Box<str>>]) -> String {
    let mut key = definition(gateway, limit);
    for value in values {
        // Writing to a text cannot fail.
        let _written = match value {
            Some(value) => write!(key, "\0{}:{value}", value.len()),
            None => write!(key, "\0-"),
        };
    }
    key
}

/// The beginning that the names of all buckets of a limit have: what it is called, what it counts,
/// in which windows, and by what it is split.
fn definition(gateway: &Gateway, limit: &Limit) -> String {
    let mut name = String::with_capacity(96);
    let _written = write!(
        name,
        "{}/{}/{}\0{}\0{}",
        gateway.account,
        gateway.id,
        limit.id,
        limit.unit.as_str(),
        limit.window
    );
    for dimension in &limit.by {
        let _written = write!(name, "\0{dimension}");
    }
    name
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
