//! Leave to send to one target, and the duty to tell how it went.

use std::sync::Arc;
use std::time::Duration;

use isango_types::health::Breaker;
use tokio::time::Instant;

use super::circuit::Verdict;
use super::quota::Quota;
use super::target::{Ask, Rules, Sent, Standing, TargetHealth};

/// One request's leave to send to a target, once or several times. Dropped in the middle of a send,
/// it says nothing of the target, and a probe is somebody else's.
#[derive(Debug)]
pub(crate) struct Permit {
    target: Arc<TargetHealth>,
    rules: Rules,
    ask: Ask,
    began: Instant,
    /// When it was let through to find out whether the target is back, if it was.
    probes: Option<Instant>,
    /// A send is under way.
    open: bool,
    busy: Option<Busy>,
}

impl Permit {
    pub(super) fn new(
        target: Arc<TargetHealth>,
        rules: &Rules,
        ask: &Ask,
        (began, probes): (Instant, Option<Instant>),
    ) -> Self {
        Self {
            busy: Some(Busy::new(Arc::clone(&target))),
            target,
            rules: *rules,
            ask: *ask,
            began,
            probes,
            open: true,
        }
    }

    /// The target it is for.
    pub(crate) const fn target(&self) -> &Arc<TargetHealth> {
        &self.target
    }

    /// Whether the target is to be left alone by now.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        let standing = self.target.standing(&self.rules, &self.ask, now);
        matches!(standing, Standing::Resting(_))
    }

    /// The time in which 95 % of such answers of the target begin; `None`: there were too few.
    pub(crate) fn p95(&self, now: Instant) -> Option<Duration> {
        self.target.p95(&self.ask, now)
    }

    /// The next send begins.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.began = now;
        self.open = true;
    }

    /// What became of the send. `ttfb`: from its beginning to the head of the answer.
    pub(crate) fn ended(
        &mut self,
        verdict: Verdict,
        ttfb: Option<Duration>,
        quota: Option<Quota>,
        now: Instant,
    ) {
        self.open = false;
        if let Some(busy) = &mut self.busy {
            busy.began = (verdict == Verdict::Success).then_some(self.began);
        }
        let sent = Sent {
            began: self.began,
            probes: self.probes.take(),
            verdict,
            ttfb,
            quota,
        };
        self.target.ended(&self.rules, &self.ask, &sent, now);
    }

    /// The target asks to be left alone for this long: for everybody.
    pub(crate) fn bench(&self, wait: Duration, now: Instant) {
        self.target.bench(&self.ask, wait, now);
    }

    /// What is to be held until the last byte of the answer.
    pub(crate) fn into_busy(mut self) -> Option<Busy> {
        self.busy.take()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.open && self.probes.is_some() {
            self.ended(Verdict::Nothing, None, None, self.began);
        }
    }
}

/// A request under way at a target, as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy {
    target: Arc<TargetHealth>,
    /// When it was sent, where its answer began well.
    began: Option<Instant>,
}

impl Busy {
    fn new(target: Arc<TargetHealth>) -> Self {
        target.enter();
        Self {
            target,
            began: None,
        }
    }

    /// The answer has come to its end.
    pub(crate) fn came_whole(&self) {
        if self.began.is_some() {
            self.target.came_whole();
        }
    }

    /// The answer broke off, and that was the target's doing.
    pub(crate) fn broke_off(&self, breaker: &Breaker, now: Instant) {
        if let Some(began) = self.began {
            self.target.broke_off(breaker, began, now);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.target.leave();
    }
}
