//! What limits would say to a request that is not sent: of counters that follow the real ones until
//! they are drawn from, and that nobody else sees.

use std::sync::Arc;

use isango_types::limit::{OnExceeded, Verdict};
use isango_types::rehearsal::{Guess, LimitLook};
use isango_types::{Gateway, Timestamp};

use super::admit::Stage;
use super::bucket::{Judgement, State};
use super::subject::Subject;
use super::{Limits, Permit, Want};
use crate::call::CallBody;
use crate::exchange::Draft;
use crate::resolve::Route;
use crate::sink::Sink;

impl Limits {
    /// Limits that stand as these do, and from which these learn nothing.
    pub(crate) fn aside(self: &Arc<Self>) -> Self {
        let real = self.base.as_ref().unwrap_or(self);
        Self {
            base: Some(Arc::clone(real)),
            observed: Arc::clone(&real.observed),
            ..Self::default()
        }
    }

    /// Whether these are [`Limits::aside`] of others.
    pub(crate) const fn is_aside(&self) -> bool {
        self.base.is_some()
    }

    /// How a bucket stands where these come from.
    pub(super) fn stands(&self, key: &str) -> Option<State> {
        let shard = self.base.as_ref()?.shard(key);
        let bucket = Arc::clone(shard.get(key)?);
        drop(shard);
        let state = bucket.state.lock().clone();
        Some(state)
    }

    /// What a limit says to what is wanted of it; nothing is drawn.
    fn look(&self, gateway: &Gateway, mut want: Want<'_>, now: Timestamp) -> LimitLook {
        let time = self.time.present(now);
        let bucket = self.bucket_of(gateway, &mut want, time);
        let mut state = bucket.state.lock();
        state.roll(want.limit, time);
        let limit = want.limit;
        let verdict = match state.judge(limit, want.need, want.least) {
            Judgement::Fits(_) => Verdict::Admitted,
            Judgement::Full | Judgement::Busy if limit.shadow => Verdict::Shadow,
            Judgement::Full | Judgement::Busy => match &limit.on_exceeded {
                OnExceeded::Block => Verdict::Refused,
                OnExceeded::Warn => Verdict::Warned,
                OnExceeded::Fallback(_) => Verdict::Diverted,
            },
        };
        let before = state.sum().total();
        LimitLook {
            rule: limit.id.clone(),
            unit: limit.unit,
            bucket: want.values,
            verdict,
            limit: limit.limit,
            before,
            left: limit.limit.saturating_sub(before),
            needs: want.need,
            resets_at: state.resets_at(time.now),
        }
    }
}

/// What each limit that is for a request says to it, for itself and as it stands now, and what the
/// request would draw.
pub(crate) fn look(
    sink: &Sink,
    (draft, route): (&Draft, &Route),
    body: &CallBody,
) -> (Vec<LimitLook>, Guess) {
    let limits = Arc::new(sink.limits().aside());
    let mut permit = Permit::new(Arc::clone(&limits));
    let mut subject = Subject::new((draft, route), Stage::Send(body), &mut permit);
    let estimate = subject.estimate(&limits, body);
    let now = sink.clock().now();
    subject.estimate = Some(estimate.clone());
    let (likely_input, likely_output) = estimate.likely;
    let guess = Guess {
        input: estimate.input,
        output: estimate.output,
        likely_input,
        likely_output,
        most_nanousd: subject.price(estimate.input, estimate.output, now),
        likely_nanousd: subject.price(likely_input, likely_output, now),
    };
    let own = route.gateway.limits.iter();
    let looks = own.filter(|limit| subject.is_under(limit)).map(|limit| {
        let values = subject.values(limit);
        limits.look(&route.gateway, subject.want(limit, &values, now), now)
    });
    (looks.collect(), guess)
}
