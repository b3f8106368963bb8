//! What an exchange holds of its gateway's limits, and how it is settled: exactly once, by
//! ownership.

use std::sync::Arc;

use isango_types::limit::{Decision, Unit};
use isango_types::record::MetadataValue;

use super::estimate::Estimate;
use super::{Bucket, Headroom, Limits, Values};

/// What a request holds in one bucket. Dropping it settles it.
#[derive(Debug)]
pub(crate) struct Lease {
    bucket: Arc<Bucket>,
    decision: Decision,
    /// What the request surely drew once it was sent.
    least: u64,
    /// What is charged if nobody says what was drawn.
    unless_told: u64,
    open: bool,
}

impl Lease {
    pub(super) const fn new(bucket: Arc<Bucket>, decision: Decision, least: u64) -> Self {
        Self {
            bucket,
            decision,
            least,
            unless_told: 0,
            open: true,
        }
    }

    const fn unit(&self) -> Unit {
        self.decision.unit
    }

    /// Draws `charged` in the place of what was held. Only the first call counts.
    fn settle(&mut self, charged: u64) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let charged = match self.unit() {
            Unit::Concurrent => 0,
            Unit::Requests | Unit::Tokens | Unit::Cost => charged,
        };
        let mut state = self.bucket.state.lock();
        state.settle(self.decision.at, self.decision.reserved, charged);
        self.decision.after = state.sum().total();
        drop(state);
        self.decision.charged = charged;
        self.bucket.freed.notify_waiters();
    }

    /// Holds `held` from now on, for a request that turned out larger than it was taken for.
    fn extend(&mut self, held: u64) {
        let more = held.saturating_sub(self.decision.reserved);
        if self.open && more > 0 {
            let mut state = self.bucket.state.lock();
            state.extend(self.decision.at, more);
            self.decision.reserved = held;
        }
    }
}

#[cfg(test)]
impl Lease {
    pub(super) const fn decision(&self) -> &Decision {
        &self.decision
    }

    pub(super) const fn least(&self) -> u64 {
        self.least
    }
}

#[cfg(test)]
impl Permit {
    pub(super) fn leases(&self) -> &[Lease] {
        &self.leases
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(self.unless_told);
    }
}

/// What was drawn in the end, in each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent<'m> {
    /// 1 of a request that was sent to a provider or answered from the cache, else 0.
    pub(crate) requests: u64,
    /// `None`: nobody knows; what it surely drew is charged.
    pub(crate) tokens: Option<u64>,
    /// The same, in nano-dollars.
    pub(crate) nanousd: Option<u64>,
    /// Tokens of input and output that a whole answer had, to learn from.
    pub(crate) told: Option<(u64, u64)>,
    /// What the model called itself.
    pub(crate) served: Option<&'m str>,
}

/// All that an exchange holds.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<Limits>,
    leases: Vec<Lease>,
    /// What was decided without a lease: a refusal.
    told: Vec<Decision>,
    /// The bucket that has least room left.
    pub(super) headroom: Option<Headroom>,
    /// The request's metadata, if a limit looks at it.
    pub(super) labels: Option<std::collections::BTreeMap<Box<str>, MetadataValue>>,
    /// What the request is taken for.
    pub(super) estimate: Option<Estimate>,
    /// Events of the answer's stream that have passed.
    events: u64,
}

impl Permit {
    pub(super) const fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            leases: Vec::new(),
            told: Vec::new(),
            headroom: None,
            labels: None,
            estimate: None,
            events: 0,
        }
    }

    /// Takes what was drawn.
    pub(super) fn take(&mut self, leases: Vec<Lease>, headroom: Option<Headroom>) {
        self.leases.extend(leases);
        if let Some(room) = headroom
            && self
                .headroom
                .as_ref()
                .is_none_or(|other| room.is_tighter(other))
        {
            self.headroom = Some(room);
        }
    }

    /// Whether a bucket is drawn from already.
    pub(super) fn holds(&self, rule: &str, values: &Values) -> bool {
        let is_same = |one: &Decision| *one.rule == *rule && one.bucket == *values;
        self.leases
            .iter()
            .any(|lease| lease.open && is_same(&lease.decision))
    }

    /// The request goes elsewhere, because where it was sent it failed: that was free.
    pub(super) fn moves_on(&mut self) {
        let is_estimated = |lease: &&mut Lease| lease.unit().is_estimated();
        self.leases
            .iter_mut()
            .filter(is_estimated)
            .for_each(|lease| lease.settle(0));
        self.events = 0;
    }

    /// The request was refused: what it holds goes back at once, unless a leg before was sent, and
    /// nobody is told of room.
    pub(super) fn refused(&mut self, decision: Decision) {
        self.leases
            .iter_mut()
            .for_each(|lease| lease.settle(lease.unless_told));
        self.told.push(decision);
        self.headroom = None;
    }

    /// The request is being sent: from here on it is not free, whatever becomes of the exchange.
    pub(crate) fn sent(&mut self) {
        for lease in &mut self.leases {
            lease.unless_told = lease.decision.reserved.max(lease.least);
        }
    }

    /// The answer has ended, or there is none: the request no longer counts among those at once.
    pub(crate) fn ended(&mut self) {
        let concurrent = |lease: &&mut Lease| lease.unit() == Unit::Concurrent;
        self.leases
            .iter_mut()
            .filter(concurrent)
            .for_each(|lease| lease.settle(0));
    }

    /// A piece of a streamed answer passes. A stream that has more events than tokens were held for
    /// holds more, half as much again each time: one event is about one token.
    pub(crate) fn streamed(&mut self, chunk: &[u8]) {
        let Some(estimate) = &mut self.estimate else {
            return;
        };
        self.events += memchr::memmem::find_iter(chunk, b"data:").count() as u64;
        if self.events <= estimate.output {
            return;
        }
        let before = estimate.output.max(1);
        estimate.output = self.events + self.events / 2;
        for lease in &mut self.leases {
            let held = match lease.unit() {
                Unit::Tokens => estimate.input.saturating_add(estimate.output),
                Unit::Cost => scaled(lease.decision.reserved, estimate.output, before),
                Unit::Requests | Unit::Concurrent => continue,
            };
            lease.extend(held);
        }
    }

    /// Settles everything, and tells what each limit did.
    pub(crate) fn settle(mut self, spent: &Spent<'_>) -> Vec<Decision> {
        if let (Some(estimate), Some(told)) = (&self.estimate, spent.told) {
            let observed = &self.limits.observed;
            observed.learn(estimate, told, spent.served);
        }
        for lease in &mut self.leases {
            let charged = match lease.unit() {
                Unit::Requests => spent.requests,
                Unit::Tokens => spent.tokens.unwrap_or(lease.least),
                Unit::Cost => spent.nanousd.unwrap_or(lease.least),
                Unit::Concurrent => 0,
            };
            lease.settle(charged);
        }
        let leases = std::mem::take(&mut self.leases);
        let mut decisions: Vec<Decision> = leases
            .into_iter()
            .map(|lease| lease.decision.clone())
            .collect();
        decisions.append(&mut self.told);
        decisions
    }
}

/// `amount` that was for `before` pieces, for `now` of them.
fn scaled(amount: u64, now: u64, before: u64) -> u64 {
    let scaled = u128::from(amount) * u128::from(now) / u128::from(before.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
