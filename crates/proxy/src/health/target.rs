//! What is known of one target, shared by all requests: behind one short lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use isango_types::health::{Breaker, Budget, CircuitState, TargetStatus};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::Retries;
use super::circuit::{Circuit, Phase, Verdict};
use super::latency::{Expected, Histogram};
use super::permit::Permit;
use super::quota::Quota;
use crate::balance::hash;

/// The longest time that a target is left alone because it said so: what is longer may be a mistake,
/// and may be cured meanwhile.
pub(crate) const MAX_BENCH: Duration = Duration::from_hours(1);
/// Limits that are told apart at one target; beyond them, the one unused for longest is forgotten.
const MAX_LANES: usize = 32;
/// Answers below which the slow end of them is not known.
const MIN_SAMPLES: u32 = 20;

/// A gateway's rules, as far as they matter to one target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// `None`: targets never rest.
    pub(crate) breaker: Option<Breaker>,
    /// For retries.
    pub(crate) retries: Budget,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask {
    /// What the provider counts together: a hash of the deployment or model and, where the client
    /// brought one, of its credential, so that nobody can spend what is another's.
    pub(crate) lane: u64,
    /// Tokens that it will be counted with, estimated.
    pub(crate) tokens: u64,
    /// Whether the answer is to be streamed: its first byte comes much sooner then.
    pub(crate) streams: bool,
}

/// Whether a target can be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Standing {
    /// It can. How much traffic its limits bear: 1, down to 0, which is not reached.
    Ready(f64),
    /// It has rested: one request may find out whether it is back.
    Probe,
    /// Its limits would refuse the request.
    Spent,
    /// It said to be left alone until then.
    Benched(Instant),
    /// It has failed, and is left alone until then.
    Resting(Instant),
}

impl Standing {
    /// Whether it can be asked without any doubt about its limits.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Ready(_) | Self::Probe)
    }

    /// Why it is not asked, in words that follow its name.
    pub(crate) fn reason(self, now: Instant) -> String {
        let seconds = |until: Instant| until.saturating_duration_since(now).as_secs_f64();
        match self {
            Self::Resting(until) if until > now => {
                format!("rests for {:.1} s more", seconds(until))
            }
            Self::Resting(_) | Self::Probe => "is being probed".to_owned(),
            Self::Benched(until) => {
                format!("asked to be left alone for {:.1} s more", seconds(until))
            }
            Self::Spent => "has too little left of its limits".to_owned(),
            Self::Ready(_) => "was taken by others".to_owned(),
        }
    }
}

/// One target's health.
#[derive(Debug)]
pub(crate) struct TargetHealth {
    name: Box<str>,
    hash: u64,
    in_flight: AtomicU32,
    /// Answers that broke off since one came to its end.
    broke_off: AtomicU32,
    /// It answered since this was asked last.
    has_answered: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    retries: Retries,
    expected: Expected,
    /// Of whole answers and of streams.
    ttfb: [Histogram; 2],
    lanes: Vec<Lane>,
    asked: Instant,
}

/// What is counted together by the provider.
#[derive(Debug)]
struct Lane {
    key: u64,
    used: Instant,
    /// When the target said so, and until when it is left alone.
    benched: Option<(Instant, Instant)>,
    quota: Quota,
}

impl State {
    fn lane(&mut self, key: u64, now: Instant) -> &mut Lane {
        let found = self.lanes.iter().position(|lane| lane.key == key);
        let at = found.unwrap_or_else(|| {
            let new = Lane {
                key,
                used: now,
                benched: None,
                quota: Quota::default(),
            };
            if self.lanes.len() < MAX_LANES {
                self.lanes.push(new);
                return self.lanes.len() - 1;
            }
            let oldest = self
                .lanes
                .iter()
                .enumerate()
                .min_by_key(|(_, lane)| lane.used);
            let at = oldest.map_or(0, |(at, _)| at);
            self.lanes[at] = new;
            at
        });
        let lane = &mut self.lanes[at];
        lane.used = now;
        lane
    }

    /// A request is sent.
    fn sent(&mut self, ask: &Ask, now: Instant) {
        self.asked = self.asked.max(now);
        self.lane(ask.lane, now).quota.spend(ask.tokens);
    }

    fn standing(&self, rules: &Rules, ask: &Ask, now: Instant) -> Standing {
        let phase = rules
            .breaker
            .map(|breaker| self.circuit.phase(&breaker, now));
        match phase {
            Some(Phase::Resting { until }) if until > now => return Standing::Resting(until),
            Some(Phase::Probing { .. }) => return Standing::Resting(now),
            Some(Phase::Resting { .. } | Phase::Closed) | None => {}
        }
        let lane = self.lanes.iter().find(|lane| lane.key == ask.lane);
        match lane.and_then(|lane| lane.benched) {
            Some((_, until)) if until > now => return Standing::Benched(until),
            Some(_) | None => {}
        }
        let share = lane.map_or(1.0, |lane| lane.quota.share(ask.tokens, now));
        match phase {
            _ if share <= 0.0 => Standing::Spent,
            Some(Phase::Resting { .. }) => Standing::Probe,
            Some(Phase::Closed | Phase::Probing { .. }) | None => Standing::Ready(share),
        }
    }
}

impl TargetHealth {
    /// A target that nothing is known of.
    pub(crate) fn new(name: &str, now: Instant) -> Self {
        Self {
            name: name.into(),
            hash: hash(name.as_bytes()),
            in_flight: AtomicU32::new(0),
            broke_off: AtomicU32::new(0),
            has_answered: AtomicBool::new(false),
            state: Mutex::new(State {
                circuit: Circuit::new(now),
                retries: Retries::new(now),
                expected: Expected::default(),
                ttfb: [Histogram::new(now), Histogram::new(now)],
                lanes: Vec::new(),
                asked: now,
            }),
        }
    }

    /// Its name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A number that stays its own.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Requests under way, to their last byte.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it can be asked.
    pub(crate) fn standing(&self, rules: &Rules, ask: &Ask, now: Instant) -> Standing {
        self.state.lock().standing(rules, ask, now)
    }

    /// When it was asked last.
    pub(crate) fn asked(&self) -> Instant {
        self.state.lock().asked
    }

    /// How soon it is expected to answer, in seconds; 0: not known.
    pub(crate) fn expected_seconds(&self, now: Instant) -> f64 {
        self.state.lock().expected.seconds(now)
    }

    /// The time in which 95 % of its answers begin; `None`: there were too few.
    pub(crate) fn p95(&self, ask: &Ask, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock();
        state.ttfb[usize::from(ask.streams)].within(95, MIN_SAMPLES, now)
    }

    /// Lets a request through, if the target can be asked for it, also where its limits would
    /// refuse it. The error says why not.
    pub(crate) fn admit(
        self: &Arc<Self>,
        rules: &Rules,
        ask: &Ask,
        now: Instant,
    ) -> Result<Permit, Standing> {
        let mut state = self.state.lock();
        let standing = state.standing(rules, ask, now);
        match standing {
            Standing::Resting(_) | Standing::Benched(_) => return Err(standing),
            Standing::Probe => state.circuit.probe(now),
            Standing::Ready(_) | Standing::Spent => {}
        }
        state.retries.request(now);
        state.sent(ask, now);
        drop(state);
        let probes = (standing == Standing::Probe).then_some(now);
        Ok(self.permit(rules, ask, probes, now))
    }

    /// Lets a request through although the target rests. `first`: it has been sent nowhere else.
    pub(crate) fn force(
        self: &Arc<Self>,
        rules: &Rules,
        ask: &Ask,
        first: bool,
        now: Instant,
    ) -> Permit {
        let mut state = self.state.lock();
        if first {
            state.retries.request(now);
        }
        state.sent(ask, now);
        drop(state);
        self.permit(rules, ask, None, now)
    }

    fn permit(
        self: &Arc<Self>,
        rules: &Rules,
        ask: &Ask,
        probes: Option<Instant>,
        now: Instant,
    ) -> Permit {
        Permit::new(Arc::clone(self), rules, ask, (now, probes))
    }

    /// Counts a request under way.
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// It is over.
    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a send beyond the first of a request is within the budget; if so, it is counted.
    pub(super) fn take_retry(&self, budget: &Budget, now: Instant) -> bool {
        self.state.lock().retries.take(budget, now)
    }

    /// What became of a send.
    pub(super) fn ended(&self, rules: &Rules, ask: &Ask, sent: &Sent, now: Instant) {
        let mut state = self.state.lock();
        if let Some(breaker) = &rules.breaker {
            let how = (sent.began, sent.probes);
            state.circuit.ended(breaker, sent.verdict, how, now);
        }
        if sent.verdict == Verdict::Success {
            state.retries.succeeded();
            self.has_answered.store(true, Ordering::Relaxed);
            if let Some(ttfb) = sent.ttfb {
                state.expected.observe(ttfb, now);
                state.ttfb[usize::from(ask.streams)].observe(ttfb, now);
            }
            let lane = state.lane(ask.lane, now);
            // Sent although it was to be left alone: it is not any more.
            lane.benched = lane.benched.filter(|(said, _)| *said >= sent.began);
        }
        if let Some(quota) = sent.quota {
            state.lane(ask.lane, now).quota = quota;
        }
    }

    /// Whether it answered since this was asked last.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.swap(false, Ordering::Relaxed)
    }

    /// An answer came to its end.
    pub(super) fn came_whole(&self) {
        if self.broke_off.load(Ordering::Relaxed) > 0 {
            self.broke_off.store(0, Ordering::Relaxed);
        }
    }

    /// The answer to a send that began at `began` had begun, and then broke off by its doing.
    pub(super) fn broke_off(&self, breaker: &Breaker, began: Instant, now: Instant) {
        let in_a_row = self
            .broke_off
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let mut state = self.state.lock();
        state.circuit.broke_off(breaker, began, in_a_row, now);
    }

    /// Leaves it alone for `wait`, at most [`MAX_BENCH`], as it said itself.
    pub(super) fn bench(&self, ask: &Ask, wait: Duration, now: Instant) {
        let until = now + wait.min(MAX_BENCH);
        let mut state = self.state.lock();
        let lane = state.lane(ask.lane, now);
        let later = lane.benched.is_none_or(|(_, benched)| benched < until);
        if later {
            lane.benched = Some((now, until));
        }
    }

    /// What an operator sees of it.
    pub(super) fn status(&self, rules: &Rules, now: Instant) -> TargetStatus {
        let mut state = self.state.lock();
        let phase = rules
            .breaker
            .map_or(Phase::Closed, |breaker| state.circuit.phase(&breaker, now));
        let (circuit, rest) = match phase {
            Phase::Closed => (CircuitState::Closed, Duration::ZERO),
            Phase::Resting { until } => (CircuitState::Open, until.saturating_duration_since(now)),
            Phase::Probing { .. } => (CircuitState::HalfOpen, Duration::ZERO),
        };
        let benched = state.lanes.iter().filter_map(|lane| lane.benched);
        let benched = benched.map(|(_, until)| until.saturating_duration_since(now));
        let benched = benched.max().unwrap_or_default();
        let left = state.lanes.iter().map(|lane| lane.quota.left(now));
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        let left = left.reduce(|[a, b], [c, d]| [least(a, c), least(b, d)]);
        let [remaining_requests, remaining_tokens] = left.unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, rounded, which saturates"
        )]
        let [requests, retries] = state.retries.sums(now).map(|sum| sum.round() as u32);
        let p95 = |of: &mut Histogram| of.within(95, MIN_SAMPLES, now).map(millis);
        let [whole, streams] = &mut state.ttfb;
        TargetStatus {
            circuit,
            rest_ms: millis(rest),
            benched_ms: millis(benched),
            in_flight: self.in_flight(),
            requests,
            retries,
            ttfb_p95_ms: p95(whole),
            stream_ttfb_p95_ms: p95(streams),
            remaining_requests,
            remaining_tokens,
        }
    }
}

/// What became of one send.
pub(super) struct Sent {
    pub(super) began: Instant,
    /// When it was let through to find out whether the target is back, if it was.
    pub(super) probes: Option<Instant>,
    pub(super) verdict: Verdict,
    /// To the first byte, where there was one.
    pub(super) ttfb: Option<Duration>,
    pub(super) quota: Option<Quota>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
