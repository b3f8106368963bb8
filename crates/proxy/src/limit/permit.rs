//! What an exchange holds of its gateway's limits, and how it is settled: exactly once, by
//! ownership.

use std::sync::Arc;

use isango_types::limit::{Decision, Unit, Verdict};
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
    /// The target that it is for; `None`: any.
    place: Option<Box<str>>,
    /// The request's own values, where it shares a bucket because there are too many.
    crowded: Option<Values>,
    sent: bool,
    open: bool,
}

impl Lease {
    pub(super) fn new(bucket: Arc<Bucket>, decision: Decision, want: &Want<'_>) -> Self {
        let held = decision.reserved;
        Self {
            bucket,
            decision,
            least: want.least,
            likely: want.likely.max(want.least),
            need: want.need.unwrap_or(held),
            fixed: want.need.map_or(held, |_known| want.fixed),
            cuts: want.limit.may_cut(),
            place: want.place.clone(),
            crowded: want.crowded.clone(),
            sent: false,
            open: true,
        }
    }

    /// Whether it is still held, of this limit and by a request of these values.
    fn is_of(&self, rule: &str, values: &Values) -> bool {
        let own = self.crowded.as_ref().unwrap_or(&self.decision.bucket);
        self.open && *self.decision.rule == *rule && own == values
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
        let (told, given_up) = match self.unit() {
            Unit::Requests => return spent.requests,
            Unit::Concurrent => return 0,
            Unit::Tokens => (spent.tokens, spent.given_up.0),
            Unit::Cost => (spent.nanousd, spent.given_up.1),
        };
        let least = match (told, spent.is_pending) {
            (_, true) => self.whole(),
            (Some(_), false) if !spent.is_partial => 0,
            (_, false) => self.least,
        };
        told.unwrap_or(0).max(least).saturating_add(given_up)
    }

    /// What it draws if its answer is as long as it may be; if that is not known, as it usually is.
    const fn whole(&self) -> u64 {
        match self.grows() && self.need > self.likely {
            true => self.need,
            false => self.likely,
        }
    }

    /// Whether more is held for an answer that is longer.
    const fn grows(&self) -> bool {
        self.unit().is_estimated() && self.need > self.fixed
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
    pub(super) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

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
    /// It was counted of a part of the question, or not at all: it is no less than what was counted
    /// before.
    pub(crate) is_partial: bool,
    /// The answer is made later, and nobody will tell what it draws: all that it may is charged.
    pub(crate) is_pending: bool,
    /// Tokens and nano-dollars of earlier sends, which come to that.
    pub(crate) given_up: (u64, u64),
    /// A provider answered, and did not refuse.
    pub(crate) answered: bool,
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
    /// Limits of targets that were passed over for them since it was last admitted, and before.
    passed: Vec<Decision>,
    gone: Vec<Decision>,
    /// The target whose limits it holds; `None`: it was not told yet which it is.
    place: Option<Box<str>>,
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
    /// How many it had brought where it was ended.
    ended_at: Option<u64>,
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
            passed: Vec::new(),
            gone: Vec::new(),
            place: None,
            left: Vec::new(),
            headroom: None,
            labels: None,
            estimate: None,
            pledge: None,
            is_noted: true,
            flow: None,
            grown: 0,
            most: None,
            ended_at: None,
        }
    }

    /// Tokens of the question by our own count, all of it; `None`: no limit looked at that.
    pub(crate) fn counted(&self) -> Option<u64> {
        self.estimate.as_ref().map(|estimate| estimate.counted)
    }

    /// Tokens of the answer that passed, about, whatever was kept of it. `bytes`: how long it was,
    /// for one that is no stream. `None`: no limit looked at that.
    pub(crate) fn passed(&self, bytes: u64) -> Option<u64> {
        let estimate = self.estimate.as_ref()?;
        let flow = self.flow.as_ref().map(|flow| flow.tokens());
        let followed = self.ended_at.or(flow);
        Some(followed.unwrap_or_else(|| (bytes / 4).min(estimate.output)))
    }

    /// Output that the answer has in all likelihood, in tokens; `None`: no limit looked at that.
    pub(crate) fn usual_output(&self) -> Option<u64> {
        self.estimate.as_ref().map(|estimate| estimate.likely.1)
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
        self.leases.iter().any(|lease| lease.is_of(rule, values))
    }

    /// Whether a bucket is drawn from already, and enough. What is not enough goes back.
    pub(super) fn keeps(&mut self, want: &Want<'_>) -> bool {
        let is_it = |lease: &Lease| lease.is_of(&want.limit.id, &want.values);
        let Some(at) = self.leases.iter().position(is_it) else {
            return false;
        };
        let lease = &mut self.leases[at];
        let is_enough = want
            .need
            .is_some_and(|need| need <= lease.decision.reserved);
        if is_enough || !lease.unit().is_estimated() {
            return true;
        }
        lease.settle(0);
        if !lease.sent {
            self.leases.remove(at);
        }
        self.is_noted = false;
        false
    }

    /// Whether it holds what is for this target.
    pub(super) fn is_at(&self, place: &str) -> bool {
        self.place.as_deref() == Some(place)
    }

    /// It holds what is for this target, if for any.
    pub(super) fn is_for(&mut self, place: &str) {
        self.place = Some(place.into());
    }

    /// The request is admitted at a target; the others were passed over for it.
    pub(super) fn arrives(&mut self, place: &str) {
        self.is_for(place);
        self.passes_for_another();
    }

    /// What was passed over was so for a target that the request is sent to.
    pub(super) fn passes_for_another(&mut self) {
        self.passed
            .iter_mut()
            .for_each(|one| one.verdict = Verdict::Diverted);
        self.gone.append(&mut self.passed);
    }

    /// A target is passed over because of a limit.
    pub(super) fn passes_over(&mut self, decision: Decision) {
        self.passed.push(decision);
    }

    /// The request is at this target and at no other: what it holds elsewhere goes back, but that it
    /// was sent there counts.
    pub(crate) fn settles_at(&mut self, place: &str) {
        let mut is_changed = false;
        self.leases.retain_mut(|lease| {
            if lease.place.as_deref().is_none_or(|own| *own == *place) {
                return true;
            }
            if !lease.sent || lease.unit() != Unit::Requests {
                is_changed |= lease.open;
                lease.settle(0);
            }
            lease.sent
        });
        self.is_noted &= !is_changed;
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
        self.labels = None;
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
        self.place = None;
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

    /// Whether the answer, which has begun, may bring so much and no more.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.most.is_some()
    }

    /// An answer of this type and encoding begins. `false`: it may have to be ended, and cannot be,
    /// because it is encoded.
    pub(crate) fn begins(
        &mut self,
        wire: Wire,
        content_type: &str,
        encoding: Option<&str>,
    ) -> bool {
        let Some(estimate) = &self.estimate else {
            return true;
        };
        self.flow = Flow::of(wire, content_type, encoding).map(Box::new);
        let Some(flow) = &self.flow else {
            return true;
        };
        let rooms = self.leases.iter();
        let most = rooms.filter_map(|lease| lease.room(estimate.output)).min();
        self.most = most.filter(|_| !flow.is_encoded());
        self.most == most
    }

    /// A piece of a streamed answer passes; whether the answer ends in it, because it brings more
    /// than was held for it.
    pub(crate) fn overruns(&mut self, chunk: &[u8]) -> Option<Overrun> {
        let (most, estimate) = (self.most?, self.estimate.as_ref()?);
        let flow = self.flow.as_mut()?;
        let (end, ending) = flow.push_until(chunk, most, estimate.answers)?;
        self.ended_at = Some(flow.tokens());
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
            if lease.grows() {
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
        if let Some(estimate) = self.estimate.as_ref().filter(|_| spent.answered) {
            let observed = &self.limits.observed;
            observed.learn(estimate, spent.told, spent.served);
        }
        for lease in &mut self.leases {
            lease.settle(lease.charge(spent));
        }
        let leases = std::mem::take(&mut self.leases);
        let mut decisions: Vec<Decision> = leases
            .into_iter()
            .map(|lease| lease.decision.clone())
            .collect();
        decisions.append(&mut self.gone);
        decisions.append(&mut self.told);
        decisions.append(&mut self.passed);
        decisions
    }
}

/// `amount` that was for `before` pieces, for `now` of them.
fn scaled(amount: u64, now: u64, before: u64) -> u64 {
    let scaled = u128::from(amount) * u128::from(now) / u128::from(before.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
