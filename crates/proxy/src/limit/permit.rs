//! What an exchange holds of its gateway's limits, and how it is settled: exactly once, by
//! ownership.

use std::sync::Arc;

use isango_types::limit::{Decision, Mode, OnOverrun, Unit, Verdict};
use isango_types::record::MetadataValue;
use isango_types::{Gateway, RecordId, Wire};
use isango_wire::flow::Flow;

use super::estimate::Estimate;
use super::{Bucket, Headroom, Limits, Pledge, Values, Want};

/// What a request holds in one bucket. Dropping it settles it.
#[derive(Debug)]
pub(crate) struct Lease {
    bucket: Arc<Bucket>,
    decision: Decision,
    /// What the request surely drew once it was sent.
    least: u64,
    /// What is charged if it was sent, and nobody can say any more what it drew.
    likely: u64,
    /// What it may need, and what of that does not grow with its answer.
    need: u64,
    fixed: u64,
    /// A stream that brings more than is held ends.
    cuts: bool,
    sent: bool,
    open: bool,
}

impl Lease {
    pub(super) fn new(bucket: Arc<Bucket>, decision: Decision, want: &Want<'_>) -> Self {
        Self {
            bucket,
            decision,
            least: want.least,
            likely: want.likely.max(want.least),
            need: want.need,
            fixed: want.fixed,
            cuts: want.limit.on_overrun == OnOverrun::Cut
                && want.limit.mode == Mode::Strict
                && !want.limit.shadow,
            sent: false,
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

    /// What is charged if nobody says what was drawn.
    const fn unless_told(&self) -> u64 {
        match self.sent {
            true => self.likely,
            false => 0,
        }
    }

    /// What outlives the process: the decision, and what counts if nobody says what was drawn.
    /// `None` where nothing does.
    pub(super) const fn pledged(&self) -> Option<(&Decision, u64)> {
        match self.unit() {
            Unit::Concurrent => None,
            Unit::Requests | Unit::Tokens | Unit::Cost if !self.open => None,
            Unit::Requests | Unit::Tokens | Unit::Cost => Some((&self.decision, self.likely)),
        }
    }

    /// What is charged for what was drawn.
    fn charge(&self, spent: &Spent<'_>) -> u64 {
        match self.unit() {
            Unit::Requests => spent.requests,
            Unit::Tokens => spent.tokens.unwrap_or(self.least),
            Unit::Cost => spent.nanousd.unwrap_or(self.least),
            Unit::Concurrent => 0,
        }
    }

    /// What an answer of `output` tokens draws, where one of `estimated` was counted on.
    fn grown(&self, output: u64, estimated: u64) -> u64 {
        let grows = self.need.saturating_sub(self.fixed);
        self.fixed.saturating_add(scaled(grows, output, estimated))
    }

    /// How many tokens an answer may bring before it passes what is held, where one of `estimated`
    /// was counted on; `None`: it may go on, or brings nothing that is counted here.
    fn room(&self, estimated: u64) -> Option<u64> {
        let grows = self.need.saturating_sub(self.fixed);
        let held = self.decision.reserved.saturating_sub(self.fixed);
        let bounds = self.cuts && self.open && grows > 0;
        bounds.then(|| scaled(held, estimated, grows))
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

    pub(super) const fn likely(&self) -> u64 {
        self.likely
    }
}

#[cfg(test)]
impl Permit {
    pub(super) fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// Settles everything so that it can be settled again, which nothing may do but a test that
    /// shows how this is found.
    pub(super) fn settle_and_reopen(&mut self, spent: &Spent<'_>) {
        for lease in &mut self.leases {
            lease.settle(lease.charge(spent));
            lease.open = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(self.unless_told());
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
    /// Targets that limits sent the request away from.
    left: Vec<Box<str>>,
    /// The bucket that has least room left.
    pub(super) headroom: Option<Headroom>,
    /// The request's metadata, if a limit looks at it.
    pub(super) labels: Option<std::collections::BTreeMap<Box<str>, MetadataValue>>,
    /// What the request is taken for.
    pub(super) estimate: Option<Estimate>,
    /// What of this is noted where it outlives the process; `None`: nothing was sent yet.
    pledge: Option<Pledge>,
    /// The note says what is held now.
    is_noted: bool,
    /// The answer's stream, if its end is not known.
    flow: Option<Box<Flow>>,
    /// How many tokens of it are counted on by now.
    grown: u64,
    /// How many it may bring.
    most: Option<u64>,
}

/// Where a stream ends that brings more than was held for it.
pub(crate) struct Overrun {
    /// So much of the piece that passes belongs to it.
    pub(crate) end: usize,
    /// What ends it then.
    pub(crate) ending: Vec<u8>,
}

impl Permit {
    pub(super) const fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            leases: Vec::new(),
            told: Vec::new(),
            left: Vec::new(),
            headroom: None,
            labels: None,
            estimate: None,
            pledge: None,
            is_noted: true,
            flow: None,
            grown: 0,
            most: None,
        }
    }

    /// Takes what was drawn.
    pub(super) fn take(&mut self, leases: Vec<Lease>, headroom: Option<Headroom>) {
        self.is_noted &= leases.is_empty();
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
        self.is_noted = false;
        (self.flow, self.grown, self.most) = (None, 0, None);
    }

    /// The request goes to another target than `from`, because `decision` refused it: it holds
    /// nothing, and draws anew there.
    pub(super) fn diverted(&mut self, decision: Decision, from: &str) {
        self.left.push(from.into());
        self.leases.clear();
        self.is_noted = false;
        self.told.push(decision);
        self.headroom = None;
        self.estimate = None;
    }

    /// Whether a limit has sent the request away from `target`: no other sends it back there.
    pub(crate) fn has_left(&self, target: &str) -> bool {
        self.left.iter().any(|left| **left == *target)
    }

    /// Whether limits have sent the request elsewhere.
    pub(crate) const fn is_diverted(&self) -> bool {
        !self.left.is_empty()
    }

    /// Whether a limit has sent the request elsewhere: it does not do so twice.
    pub(super) fn has_diverted(&self, rule: &str) -> bool {
        let told = self.told.iter();
        let mut diverted = told.filter(|one| one.verdict == Verdict::Diverted);
        diverted.any(|one| *one.rule == *rule)
    }

    /// The request was refused: what it holds goes back at once, unless a leg before was sent, and
    /// nobody is told of room.
    pub(super) fn refused(&mut self, decision: Decision) {
        self.leases
            .iter_mut()
            .for_each(|lease| lease.settle(lease.unless_told()));
        self.told.push(decision);
        self.headroom = None;
    }

    /// The request is being sent: from here on it is not free, whatever becomes of the exchange.
    pub(crate) fn sent(&mut self) {
        self.leases.iter_mut().for_each(|lease| lease.sent = true);
    }

    /// The first byte of the request of `id` leaves, or it is answered from the cache: what it holds
    /// is noted, if it has not been.
    pub(crate) fn commit(&mut self, id: RecordId, gateway: &Gateway) {
        if std::mem::replace(&mut self.is_noted, true) {
            return;
        }
        if self.pledge.is_some() || self.leases.iter().any(|one| one.pledged().is_some()) {
            let pledges = &self.limits.pledges;
            let new = || Pledge::new(Arc::clone(pledges));
            let pledge = self.pledge.get_or_insert_with(new);
            pledge.note(id, gateway, &self.leases);
        }
    }

    /// Takes what is noted, which is to stand until the record is stored.
    pub(crate) fn take_pledge(&mut self) -> Option<Pledge> {
        self.pledge.take()
    }

    /// The answer has ended, or there is none: the request no longer counts among those at once.
    pub(crate) fn ended(&mut self) {
        let concurrent = |lease: &&mut Lease| lease.unit() == Unit::Concurrent;
        self.leases
            .iter_mut()
            .filter(concurrent)
            .for_each(|lease| lease.settle(0));
    }

    /// Whether a stream that answers the request may have to be ended: then it must not be encoded.
    pub(crate) fn may_cut(&self) -> bool {
        self.leases.iter().any(|lease| lease.cuts && lease.open)
    }

    /// An answer of this type and encoding begins, whose length is not known.
    pub(crate) fn begins(&mut self, wire: Wire, content_type: &str, encoding: Option<&str>) {
        let Some(estimate) = &self.estimate else {
            return;
        };
        self.flow = Flow::of(wire, content_type, encoding).map(Box::new);
        let rooms = self.leases.iter();
        self.most = rooms
            .filter_map(|lease| lease.room(estimate.output))
            .min()
            .filter(|_| self.flow.is_some());
    }

    /// A piece of a streamed answer passes; whether the answer ends in it, because it brings more
    /// than was held for it.
    pub(crate) fn overruns(&mut self, chunk: &[u8]) -> Option<Overrun> {
        let (most, estimate) = (self.most?, self.estimate.as_ref()?);
        let flow = self.flow.as_mut()?;
        let (end, ending) = flow.push_until(chunk, most, estimate.answers)?;
        let output = estimate.output;
        let ended = self.leases.iter_mut();
        ended
            .filter(|lease| lease.room(output).is_some_and(|room| room <= most))
            .for_each(|lease| lease.decision.verdict = Verdict::Cut);
        self.flow = None;
        Some(Overrun { end, ending })
    }

    /// A piece of a streamed answer has passed. A stream that brings more than was counted on draws
    /// more, half as much again each time. Tells whether what is noted is not true any more.
    pub(crate) fn streamed(&mut self, chunk: &[u8]) -> bool {
        let (Some(estimate), Some(flow)) = (&self.estimate, &mut self.flow) else {
            return false;
        };
        if self.most.is_none() {
            flow.push(chunk);
        }
        let tokens = flow.tokens();
        if tokens <= estimate.likely.1.max(self.grown) {
            return false;
        }
        self.grown = tokens + tokens / 2;
        for lease in &mut self.leases {
            if lease.unit().is_estimated() {
                let drawn = lease.grown(self.grown, estimate.output);
                lease.likely = drawn.max(lease.likely);
                lease.extend(drawn);
            }
        }
        self.is_noted = false;
        true
    }

    /// Notes what the request of `id` drew, before anybody else draws what it leaves.
    pub(crate) fn note_spent(&mut self, id: RecordId, gateway: &Gateway, spent: &Spent<'_>) {
        let Some(pledge) = &mut self.pledge else {
            return;
        };
        let mut is_new = !self.is_noted;
        for lease in self.leases.iter_mut().filter(|lease| lease.open) {
            let charge = lease.charge(spent);
            is_new |= lease.likely != charge;
            lease.likely = charge;
        }
        if is_new {
            pledge.note(id, gateway, &self.leases);
        }
    }

    /// Settles everything, and tells what each limit did.
    pub(crate) fn settle(mut self, spent: &Spent<'_>) -> Vec<Decision> {
        if let (Some(estimate), Some(told)) = (&self.estimate, spent.told) {
            let observed = &self.limits.observed;
            observed.learn(estimate, told, spent.served);
        }
        for lease in &mut self.leases {
            lease.settle(lease.charge(spent));
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
