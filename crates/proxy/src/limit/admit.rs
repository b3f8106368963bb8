//! What the pipeline asks: may this request pass, and to this target?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isango_types::Limit;
use isango_types::limit::{Decision, OnExceeded, Verdict};
use tokio::time::{Instant, timeout};

use super::notice::error;
use super::subject::Subject;
use super::{Permit, Refusal, Values, Want};
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::{Draft, Exchange, micros};
use crate::resolve::Route;
use crate::sink::Sink;

/// Requests that wait for their turn at most, over all limits; further ones are refused at once.
const MAX_WAITING: usize = 4_096;

/// How far a request has come; each limit is asked once, as early as it can be.
#[derive(Clone, Copy)]
pub(crate) enum Stage<'b> {
    /// Its head is there: limits of requests.
    Head,
    /// Its body was looked at: those that go by model, too. An answer from the cache needs no more.
    Body,
    /// It is about to be sent to a provider: limits of tokens and cost.
    Send(&'b CallBody),
}

impl Stage<'_> {
    fn asks(self, limit: &Limit) -> bool {
        match self {
            Self::Head => limit.is_early(),
            Self::Body => !limit.is_early() && !limit.unit.is_estimated(),
            Self::Send(_) => limit.unit.is_estimated(),
        }
    }
}

/// Draws from the limits of requests that are for one leg of a request, but for those that it drew
/// from already; of tokens and cost the leg before drew nothing.
///
/// # Errors
/// As [`admit`].
pub(crate) async fn admit_leg(exchange: &mut Exchange) -> Result<(), Error> {
    let route = exchange.draft().and_then(|draft| draft.route.clone());
    if let Some(mut permit) = exchange.take_permit() {
        permit.moves_on();
        if let Some(route) = route {
            permit.settles_at(route.target_name());
        }
        exchange.holds_permit(permit);
    }
    for stage in [Stage::Head, Stage::Body] {
        admit_here(exchange, stage).await?;
    }
    Ok(())
}

/// What limits say to a request.
pub(crate) enum Admission {
    /// It may pass.
    Passes,
    /// It may not, but may go where this limit sends it.
    Elsewhere(Box<Full>),
}

/// A limit without room for a request.
pub(crate) struct Full {
    pub(crate) limit: Arc<Limit>,
    decision: Decision,
    /// What the client is told if it goes nowhere.
    error: Error,
}

impl Full {
    fn of(subject: &Subject<'_>, refusal: Refusal) -> Self {
        let error = error(&refusal, &subject.route.provider.slug, subject.model);
        Self {
            limit: refusal.limit,
            decision: refusal.decision,
            error,
        }
    }

    /// The request is refused.
    pub(crate) fn refuses(self, exchange: &mut Exchange) -> Error {
        if let Some(mut permit) = exchange.take_permit() {
            permit.refused(self.decision);
            exchange.holds_permit(permit);
        }
        self.error
    }

    /// The request goes elsewhere than to the target `from`, and holds nothing any more.
    pub(crate) fn diverts(self, exchange: &mut Exchange, from: &str) {
        if let Some(mut permit) = exchange.take_permit() {
            let verdict = Verdict::Diverted;
            permit.diverted(
                Decision {
                    verdict,
                    ..self.decision
                },
                from,
            );
            exchange.holds_permit(permit);
        }
    }

    /// The request is not sent to the target that this limit guards, and may go to the next.
    pub(crate) fn passes_over(self, exchange: &mut Exchange, entry: Entry) -> Error {
        if let Some(mut permit) = exchange.take_permit() {
            permit.passes_over(self.decision);
            if entry == Entry::Beside {
                permit.passes_for_another();
            }
            exchange.holds_permit(permit);
        }
        self.error
    }
}

/// As [`admit`], of a request that goes nowhere else.
///
/// # Errors
/// As there.
pub(crate) async fn admit_here(exchange: &mut Exchange, stage: Stage<'_>) -> Result<(), Error> {
    match admit(exchange, stage).await? {
        Admission::Passes => Ok(()),
        Admission::Elsewhere(full) => Err(full.refuses(exchange)),
    }
}

/// Draws from the limits of the request's gateway that are due at `stage`, and may wait for
/// requests under way to leave something.
///
/// # Errors
/// [`Error::RateLimited`], [`Error::SpendLimited`]: a limit has no room.
pub(crate) async fn admit(exchange: &mut Exchange, stage: Stage<'_>) -> Result<Admission, Error> {
    let begun_us = exchange.elapsed_us();
    let mut permit = exchange
        .take_permit()
        .unwrap_or_else(|| Box::new(Permit::new(Arc::clone(exchange.sink().limits()))));
    let result = match exchange.draft() {
        Some(draft) => draw(exchange.sink(), draft, stage, &mut permit).await,
        None => Ok((Admission::Passes, Duration::ZERO)),
    };
    exchange.holds_permit(permit);
    let (admission, waited) = result?;
    let waited_us = micros(waited);
    if let Stage::Send(_) = stage {
        // What came before the body was read is counted with it.
        exchange.overhead((exchange.elapsed_us() - begun_us).saturating_sub(waited_us));
    }
    if waited_us > 0 {
        exchange.queued_until_now();
    }
    Ok(admission)
}

async fn draw(
    sink: &Sink,
    draft: &Draft,
    stage: Stage<'_>,
    permit: &mut Permit,
) -> Result<(Admission, Duration), Error> {
    let Some(route) = &draft.route else {
        return Ok((Admission::Passes, Duration::ZERO));
    };
    let gateway = &route.gateway;
    if let (Stage::Send(_), None) = (stage, route.group) {
        permit.is_for(route.target_name());
    }
    let mut subject = Subject::new((draft, route), stage, permit);
    // Where a group shares it, its target is not known yet.
    let is_known = |limit: &Limit| route.group.is_none() || !limit.is_of_target();
    let due: Vec<(&Arc<Limit>, Values)> = gateway
        .limits
        .iter()
        .filter(|limit| stage.asks(limit) && is_known(limit) && subject.is_under(limit))
        .map(|limit| (limit, subject.values(limit)))
        .filter(|(limit, values)| !permit.holds(&limit.id, values))
        .collect();
    if due.is_empty() {
        return Ok((Admission::Passes, Duration::ZERO));
    }
    if let Stage::Send(body) = stage {
        if draft.background.is_asked && !draft.background.is_bounded {
            may_be_unbounded(&due)?;
        }
        subject.estimate = Some(subject.estimate(sink.limits(), body));
    }
    let mut waits = match sink.limits().is_aside() {
        // Nobody frees anything there.
        true => Waits::not(),
        false => Waits::of_limits(),
    };
    let refused = draw_in_turn(sink, &mut subject, due, (permit, &mut waits)).await;
    let estimate = subject.estimate.take();
    match refused {
        None => {
            permit.estimate = estimate;
            Ok((Admission::Passes, waits.waited))
        }
        Some(refusal) => {
            let full = Full::of(&subject, *refusal);
            if let OnExceeded::Fallback(_) = full.limit.on_exceeded {
                return Ok((Admission::Elsewhere(Box::new(full)), waits.waited));
            }
            permit.refused(full.decision);
            Err(full.error)
        }
    }
}

/// What is made in the background without a bound draws what nobody can tell, now or later: no limit
/// that refuses anything lets it pass.
fn may_be_unbounded(due: &[(&Arc<Limit>, Values)]) -> Result<(), Error> {
    let refuses = |limit: &Limit| !limit.shadow && limit.on_exceeded != OnExceeded::Warn;
    match due.iter().find(|(limit, _)| refuses(limit)) {
        None => Ok(()),
        Some((limit, _)) => Err(Error::Unbounded {
            rule: limit.id.clone(),
        }),
    }
}

/// How a request comes to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// After others, or as the first of several; it waits for its turn only at the last.
    Next { is_last: bool },
    /// Beside another that it was sent to as well.
    Beside,
}

/// Draws from the limits that are for the target that a request is sent to, where that was not known
/// before: those of the target itself, and of all that are counted in tokens or cost as far as it
/// needs more of them there. What it holds of other targets goes back.
///
/// # Errors
/// [`Full`]: a limit there has no room; nothing was drawn.
pub(crate) async fn admit_at(
    exchange: &mut Exchange,
    (route, body): (&Route, &CallBody),
    entry: Entry,
) -> Result<(), Box<Full>> {
    let mut permit = exchange
        .take_permit()
        .unwrap_or_else(|| Box::new(Permit::new(Arc::clone(exchange.sink().limits()))));
    let result = match exchange.draft() {
        Some(draft) => enter(exchange.sink(), (draft, route, body), entry, &mut permit).await,
        None => Ok(()),
    };
    exchange.holds_permit(permit);
    result
}

async fn enter(
    sink: &Sink,
    (draft, route, body): (&Draft, &Route, &CallBody),
    entry: Entry,
    permit: &mut Permit,
) -> Result<(), Box<Full>> {
    let place = route.target_name();
    if permit.is_at(place) {
        return Ok(());
    }
    let limits = sink.limits();
    let mut subject = Subject::new((draft, route), Stage::Send(body), permit);
    if entry != Entry::Beside {
        permit.settles_at(place);
    }
    let is_here = |limit: &&Arc<Limit>| limit.unit.is_estimated() || limit.is_of_target();
    let own = route.gateway.limits.iter().filter(is_here);
    let own: Vec<_> = own.filter(|limit| subject.is_under(limit)).collect();
    if own.iter().any(|limit| limit.unit.is_estimated()) {
        subject.estimate = Some(match &permit.estimate {
            Some(known) => known.at(&limits.observed, subject.asked()),
            None => subject.estimate(limits, body),
        });
    }
    let now = sink.clock().now();
    let mut due = Vec::new();
    for limit in own {
        let values = subject.values(limit);
        let is_held = match entry {
            // What is held beside is not touched.
            Entry::Beside => permit.holds(&limit.id, &values),
            Entry::Next { .. } => permit.keeps(&subject.want(limit, &values, now)),
        };
        if !is_held {
            due.push((limit, values));
        }
    }
    let mut waits = match entry {
        Entry::Next { is_last: true } => Waits::of_limits(),
        Entry::Next { is_last: false } | Entry::Beside => Waits::not(),
    };
    let refused = match due.is_empty() {
        true => None,
        false => draw_in_turn(sink, &mut subject, due, (permit, &mut waits)).await,
    };
    if let Some(refusal) = refused {
        return Err(Box::new(Full::of(&subject, *refusal)));
    }
    if entry != Entry::Beside {
        permit.estimate = subject.estimate.take().or(permit.estimate.take());
        permit.arrives(place);
    }
    Ok(())
}

/// How long a request waits for others.
struct Waits {
    waited: Duration,
    /// As long as the limit in its way says.
    may: bool,
}

impl Waits {
    const fn of_limits() -> Self {
        Self {
            waited: Duration::ZERO,
            may: true,
        }
    }

    const fn not() -> Self {
        Self {
            waited: Duration::ZERO,
            may: false,
        }
    }

    fn left(&self, limit: &Limit) -> Duration {
        match self.may {
            true => limit.max_wait.saturating_sub(self.waited),
            false => Duration::ZERO,
        }
    }
}

/// Draws, and waits as long as the limit in the way allows if it is busy; what remains is a
/// refusal.
async fn draw_in_turn(
    sink: &Sink,
    subject: &mut Subject<'_>,
    due: Vec<(&Arc<Limit>, Values)>,
    (permit, waits): (&mut Permit, &mut Waits),
) -> Option<Box<Refusal>> {
    let limits = sink.limits();
    // Is told of what is freed from its making on; so it is made before the draw that counts.
    let mut freed = None;
    let mut waiting = None;
    let mut is_again = false;
    loop {
        if let Some(estimate) = subject.estimate.as_mut().filter(|_| is_again) {
            estimate.refresh(&limits.observed);
        }
        is_again = true;
        let now = sink.clock().now();
        let wants = due.iter().map(|(limit, values)| Want {
            is_passed: permit.has_diverted(&limit.id),
            ..subject.want(limit, values, now)
        });
        let gateway = &subject.route.gateway;
        let refusal = match limits.draw(gateway, wants.collect(), now) {
            Ok((leases, headroom)) => {
                permit.take(leases, headroom);
                return None;
            }
            Err(refusal) => refusal,
        };
        let left = waits.left(&refusal.limit);
        if !refusal.busy || left.is_zero() {
            return Some(refusal);
        }
        if waiting.is_none() {
            waiting = Turn::take(&limits.waiting);
        }
        if waiting.is_none() {
            return Some(refusal);
        }
        let serial = refusal.bucket.serial;
        match freed.take() {
            Some((of, told)) if of == serial => {
                let begun = Instant::now();
                let told = timeout(left, told).await;
                waits.waited += begun.elapsed();
                if told.is_err() {
                    return Some(refusal);
                }
            }
            Some(_) | None => {}
        }
        freed = Some((serial, Arc::clone(&refusal.bucket.freed).notified_owned()));
    }
}

/// One of the places of those that wait.
struct Turn<'l>(&'l AtomicUsize);

impl<'l> Turn<'l> {
    fn take(waiting: &'l AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let turn = Self(waiting);
        (before < MAX_WAITING).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
