//! Asks providers: once, or by a plan until one answers. After the first byte there is no way back.

mod hedge;

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use isango_types::health::Budget;
use isango_types::policy::Timeouts;
use isango_types::record::Attempt;
use isango_types::{Clock, Snapshot, Target};
use isango_wire::{edit, refusal};
use tokio::time::{Instant, sleep};

use crate::Proxy;
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::{Exchange, micros};
use crate::health::{LonePlace, Permit};
use crate::options::Wishes;
use crate::plan::Plan;
use crate::resolve::{self, Place, Route};
use crate::retry::{self, Failure, Next, Situation, asked_wait};
use crate::serve::Interim;
use crate::upstream::{Bounds, Head, Sending, Source};
use crate::way::{self, Way};
use crate::{auth, failures, headers, understand, watch};

/// Why a failed request is not sent again.
const SPENT: &str = "the retry budget is spent";

/// How much of a refusal is looked at before it is relayed, and for how long.
const PEEK_BYTES: usize = 64 << 10;
const PEEK_TIME: Duration = Duration::from_secs(2);

/// What is wrong with a body that is more than cut into chunks on its way.
pub(crate) const FOREIGN_CODING: &str = "a transfer coding other than chunked";

/// A request as it is sent to one target.
pub(crate) struct Call<'a> {
    pub(crate) route: Arc<Route>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: CallBody,
    /// The body as it came, where `include_usage` was added to it.
    pub(crate) original: Option<Bytes>,
    /// Where interim answers go; `None`: the client can take none.
    pub(crate) interim: Option<Interim<'a>>,
}

impl Call<'_> {
    /// The body as the client sent it, where all of it is held.
    pub(crate) fn question(&self) -> Option<&Bytes> {
        self.original.as_ref().or(self.body.whole())
    }

    /// The same once more; a body that passes stays where it is.
    fn copy(&self) -> Self {
        let body = match &self.body {
            CallBody::Whole(whole) => CallBody::Whole(whole.clone()),
            CallBody::Passing(_) | CallBody::Gone => CallBody::Gone,
        };
        Self {
            route: Arc::clone(&self.route),
            method: self.method.clone(),
            headers: self.headers.clone(),
            body,
            original: self.original.clone(),
            interim: self.interim,
        }
    }
}

/// A provider's answer.
pub(crate) struct Answer {
    pub(crate) response: Response<Source>,
    /// It answers a request that `include_usage` was added to.
    pub(crate) edited: bool,
}

impl Answer {
    /// Whether the provider refused, or failed.
    pub(crate) fn is_refusal(&self) -> bool {
        let status = self.response.status();
        status.is_client_error() || status.is_server_error()
    }
}

/// How long the sends of a request may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// The request's own first-byte timeout, instead of its target's.
    pub(crate) first_byte: Option<Duration>,
    /// When the request is over, and what its gateway says.
    pub(crate) deadline: Option<(Instant, Duration)>,
}

impl Limits {
    fn bounds(&self, timeouts: &Timeouts, is_last: bool) -> Bounds {
        let first_byte = self.first_byte.or(timeouts.first_byte);
        Bounds {
            connect: timeouts.connect,
            first_byte: first_byte.filter(|_| !is_last),
            deadline: self.deadline,
        }
    }

    /// Whether the client waits for a shorter time than the operator does.
    fn is_impatient(&self, timeouts: &Timeouts) -> bool {
        let longer = |asked| timeouts.first_byte.is_none_or(|own| asked < own);
        self.first_byte.is_some_and(longer)
    }

    /// How long is left of the request's time; `None`: it has no end.
    pub(crate) fn left(&self) -> Option<Duration> {
        let (deadline, _) = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }
}

/// Asks the one target of a request, once.
///
/// # Errors
/// Those of [`Error`] with an `attempt_word`, and those of the request's own body.
pub(crate) fn once(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    limits: &Limits,
) -> impl Future<Output = Result<Answer, Error>> {
    let bounds = limits.bounds(call.route.timeouts(), false);
    send(proxy, exchange, call, bounds)
}

/// Asks by the plan that follows from the request's gateway and wishes.
///
/// # Errors
/// As [`once`].
pub(crate) async fn by_its_plan(
    proxy: &Proxy,
    exchange: &mut Exchange,
    config: &Snapshot,
    call: &mut Call<'_>,
    (wishes, limits): (Wishes, &Limits),
) -> Result<Answer, Error> {
    let route = Arc::clone(&call.route);
    match Plan::of(&route, wishes) {
        Some(plan) => Box::pin(by_plan(proxy, exchange, config, call, (plan, limits))).await,
        None => own_target(proxy, exchange, call, limits).await,
    }
}

/// Asks the one target of a request, once, and keeps in mind how it went.
///
/// # Errors
/// As [`once`].
pub(crate) async fn own_target(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    limits: &Limits,
) -> Result<Answer, Error> {
    let mut permit = way::enter(proxy, exchange, call);
    let answer = watched(proxy, exchange, call, (limits, false), permit.as_mut()).await;
    exchange.occupies(permit.and_then(Permit::into_busy));
    answer
}

/// One send that its target is judged by.
async fn watched(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    (limits, is_last): (&Limits, bool),
    permit: Option<&mut Permit>,
) -> Result<Answer, Error> {
    let timeouts = *call.route.timeouts();
    let bounds = limits.bounds(&timeouts, is_last);
    let Some(permit) = permit else {
        return send(proxy, exchange, call, bounds).await;
    };
    let began = Instant::now();
    permit.begin(began);
    let result = send(proxy, exchange, call, bounds).await;
    let seen = result.as_ref().map(|answer| &answer.response);
    watch::ended(proxy, permit, began, seen, limits.is_impatient(&timeouts));
    result
}

/// Asks by a plan until a target answers or nothing is left to ask; then the failure that is of most
/// use to the client is the answer, as the provider wrote it.
///
/// # Errors
/// As [`once`].
pub(crate) async fn by_plan(
    proxy: &Proxy,
    exchange: &mut Exchange,
    config: &Snapshot,
    call: &mut Call<'_>,
    (plan, limits): (Plan<'_>, &Limits),
) -> Result<Answer, Error> {
    let path = exchange
        .draft()
        .map_or_else(Box::default, |draft| draft.path.clone());
    let ground = Ground {
        proxy,
        config,
        place: resolve::place(&path),
        limits,
        begin: plan.begin,
        lone: Lonely::of(proxy, &call.route, Instant::now()),
    };
    if matches!(call.body, CallBody::Passing(_)) {
        exchange.remark("the body is larger than `max_replay_bytes`: it cannot be sent again");
    }
    let mut way = Way::of(proxy, exchange, call, &plan);
    let mut leg = match &mut way {
        Some(way) => ground
            .move_on(exchange, call, way)
            .unwrap_or_else(|| Leg::at(plan.begin)),
        None => Leg::at(plan.begin),
    };
    let mut best: Option<Best> = None;
    let mut tried = 0;
    loop {
        tried += 1;
        let fallback = way.as_ref().and_then(Way::fallback);
        let is_last = !plan.is_followed && fallback.is_none() && tried >= plan.policy.max_attempts;
        let here = (&mut leg, way.as_mut());
        let result = ground
            .send(exchange, call, here, (tried == 1, is_last))
            .await;
        let current = leg.moved.as_ref().unwrap_or(call);
        let (clock, route) = (proxy.sink.clock(), &current.route);
        let result = judge(result, route, (leg.own, is_last), clock).await;
        let (failure, result) = match (result, best.take()) {
            // Out of time: what a provider wrote before says more.
            ((None, Err(Error::TotalTimeout { .. })), Some(best)) => return best.tell(exchange),
            ((None, result), _) => {
                exchange.occupies(leg.permit.and_then(Permit::into_busy));
                return result;
            }
            ((Some(failure), result), earlier) => {
                best = earlier;
                (failure, result)
            }
        };
        let now = Situation {
            policy: plan.policy,
            tried,
            replayable: !matches!(current.body, CallBody::Gone),
            left: limits.left(),
            fallback,
        };
        let better = Best::of(&failure, result, &current.route, leg.step);
        let best_now = Best::better(best.take(), better);
        match ground.next(exchange, &failure, now, (way.as_ref(), leg.permit.as_ref())) {
            Next::Stop => return best_now.tell(exchange),
            Next::Retry { wait, reason } => {
                best = Some(best_now);
                sleep(wait).await;
                exchange.waited(wait, reason);
            }
            Next::Fallback => {
                // Nobody is busy with it while the next one is asked.
                leg.permit = None;
                give_body_back(leg.moved.take(), call);
                let next = way
                    .as_mut()
                    .and_then(|way| ground.move_on(exchange, call, way));
                let Some(next) = next else {
                    return best_now.tell(exchange);
                };
                best = Some(best_now);
                (leg, tried) = (next, 0);
            }
        }
    }
}

/// What all sends of a request share.
struct Ground<'p> {
    proxy: &'p Proxy,
    config: &'p Snapshot,
    place: Place<'p>,
    limits: &'p Limits,
    /// The step of its own target.
    begin: usize,
    /// Where it belongs to no target.
    lone: Option<Lonely>,
}

/// A request that belongs to no target, and has a retry budget all the same.
struct Lonely {
    place: LonePlace,
    budget: Budget,
}

impl Lonely {
    fn of(proxy: &Proxy, route: &Route, now: Instant) -> Option<Self> {
        if route.target.is_some() {
            return None;
        }
        let place = LonePlace::new(&route.gateway, route.authority.as_str());
        proxy.health.lone().request(place, now);
        Some(Self {
            place,
            budget: route.gateway.retry_budget,
        })
    }
}

/// Where a request is, on its way.
pub(crate) struct Leg<'a> {
    step: usize,
    /// The client named this target itself.
    own: bool,
    /// `None`: as it came.
    moved: Option<Call<'a>>,
    permit: Option<Permit>,
}

impl Leg<'_> {
    /// At its own target.
    const fn at(step: usize) -> Self {
        Self {
            step,
            own: true,
            moved: None,
            permit: None,
        }
    }

    /// Leave to send to the target where it is.
    pub(crate) const fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }
}

/// The failure that is the answer when nothing better comes.
pub(crate) struct Best {
    rank: (u8, Duration),
    result: Result<Answer, Error>,
    route: Arc<Route>,
    step: usize,
}

impl Best {
    fn of(
        failure: &Failure,
        result: Result<Answer, Error>,
        route: &Arc<Route>,
        step: usize,
    ) -> Self {
        Self {
            rank: failure.rank(),
            result,
            route: Arc::clone(route),
            step,
        }
    }

    /// The better one; of equals the later, which is fresher.
    fn better(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            Some(earlier) if earlier.is_better(&later) => earlier,
            Some(_) | None => later,
        }
    }

    /// Keeps the failure of a leg while others are tried: of a refusal, the beginning is read.
    pub(crate) async fn hold(
        result: Result<Answer, Error>,
        route: &Arc<Route>,
        step: usize,
        clock: &Clock,
    ) -> Self {
        let (failure, result) = match result {
            Ok(Answer { response, edited }) => {
                let asked = asked_wait(response.status(), response.headers(), clock.now());
                let failure = Failure::of_leg(response.status(), asked);
                let (head, source) = response.into_parts();
                let (_seen, source) = source.peek(PEEK_BYTES, PEEK_TIME).await;
                let response = Response::from_parts(head, source);
                (Some(failure), Ok(Answer { response, edited }))
            }
            Err(error) => (Failure::of_error(&error), Err(error)),
        };
        let rank = failure.map_or((u8::MAX, Duration::MAX), |failure| failure.rank());
        Self {
            rank,
            result,
            route: Arc::clone(route),
            step,
        }
    }

    /// Whether this one is of more use than a later one.
    pub(crate) fn is_better(&self, later: &Self) -> bool {
        self.rank < later.rank
    }

    pub(crate) fn tell(self, exchange: &mut Exchange) -> Result<Answer, Error> {
        exchange.goes_to(self.step, self.route);
        self.result
    }
}

type Judged = (Option<Failure>, Result<Answer, Error>);

/// Whether a result is a failure. Of a refusal that another attempt may follow, the beginning is
/// read; it comes back as it was. `own`: the client named this target itself.
async fn judge(
    result: Result<Answer, Error>,
    route: &Route,
    (own, is_last): (bool, bool),
    clock: &Clock,
) -> Judged {
    let Answer { response, edited } = match result {
        Err(error) => return (Failure::of_error(&error), Err(error)),
        Ok(answer) => answer,
    };
    let semantics = &route.provider.retry;
    let failure = Failure::of_status(response.status(), semantics, own);
    let Some(mut failure) = failure else {
        return (None, Ok(Answer { response, edited }));
    };
    failure.asked = asked_wait(response.status(), response.headers(), clock.now());
    if is_last {
        return (Some(failure), Ok(Answer { response, edited }));
    }
    let (head, source) = response.into_parts();
    let (seen, source) = source.peek(PEEK_BYTES, PEEK_TIME).await;
    let encoding = head.headers.get(http::header::CONTENT_ENCODING);
    let encoding = encoding.and_then(|encoding| encoding.to_str().ok());
    failure.may_pass &= !refusal::names_any(&seen, encoding, &semantics.never);
    let response = Response::from_parts(head, source);
    (Some(failure), Ok(Answer { response, edited }))
}

/// A random number from 0 up to 1.
fn jitter() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// A body that passes, and of which a target took nothing, goes back to the request as it came.
fn give_body_back(moved: Option<Call<'_>>, call: &mut Call<'_>) {
    if let Some(Call {
        body: passing @ CallBody::Passing(_),
        ..
    }) = moved
    {
        call.body = passing;
    }
}

impl Ground<'_> {
    /// What follows a failure, as far as the target and the retry budget allow.
    fn next(
        &self,
        exchange: &mut Exchange,
        failure: &Failure,
        mut now: Situation,
        (way, permit): (Option<&Way>, Option<&Permit>),
    ) -> Next {
        let next = retry::next(failure, &now, jitter());
        if !matches!(next, Next::Retry { .. }) {
            return next;
        }
        // An equal is asked at once, without a word.
        let why = match (way, permit) {
            (Some(way), Some(_)) if way.has_equal() => None,
            (Some(way), Some(permit)) if !way.may_retry(permit) => {
                let rests = permit.is_resting(Instant::now());
                Some(if rests { "it rests" } else { SPENT })
            }
            _ if self.is_spent() => Some(SPENT),
            _ => return next,
        };
        if let (Some(why), Some(route)) = (why, exchange.draft().and_then(|d| d.route.clone())) {
            let name = route.target_name();
            exchange.remark(&format!("`{name}` was not asked again: {why}"));
        }
        now.policy.max_attempts = now.tried;
        retry::next(failure, &now, 0.0)
    }

    /// Whether the budget of a request that belongs to no target is spent; if not, a send is
    /// counted.
    fn is_spent(&self) -> bool {
        let lone = self.lone.as_ref();
        lone.is_some_and(|lone| {
            let budgets = self.proxy.health.lone();
            !budgets.take(lone.place, &lone.budget, Instant::now())
        })
    }

    /// Sends the request where it is, and at its `first` send there to another target as well if
    /// that is slow.
    async fn send<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        (leg, way): (&mut Leg<'a>, Option<&mut Way>),
        (first, is_last): (bool, bool),
    ) -> Result<Answer, Error> {
        if let Some(way) = way.filter(|_| first)
            && let Some(delay) = way.hedge_after(leg, call)
        {
            return Box::pin(hedge::race(self, exchange, call, (leg, way), delay)).await;
        }
        let current = leg.moved.as_mut().unwrap_or(call);
        let how = (self.limits, is_last);
        watched(self.proxy, exchange, current, how, leg.permit.as_mut()).await
    }

    /// The next target that the request can be sent to; the record tells why others were passed
    /// over.
    fn move_on<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        way: &mut Way,
    ) -> Option<Leg<'a>> {
        while let Some(turn) = way.next(exchange) {
            if let Some(leg) = self.leg(exchange, call, (way, turn)) {
                let route = leg.moved.as_ref().map_or(&call.route, |moved| &moved.route);
                exchange.goes_to(leg.step, Arc::clone(route));
                return Some(leg);
            }
        }
        None
    }

    /// The request at the target of a step, if it can be sent there; the record tells why not.
    fn leg<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        (way, (step, permit)): (&Way, (usize, Permit)),
    ) -> Option<Leg<'a>> {
        let target = way.target(step);
        let own = call.route.target.as_ref();
        let own = own.is_some_and(|own| own.name == target.name);
        let moved = match own {
            true => None,
            false => match self.redirect(exchange, call, target) {
                Ok(moved) => Some(moved),
                Err(why) => {
                    let name = &target.name;
                    exchange.remark(&format!("target `{name}` was passed over: it {why}"));
                    return None;
                }
            },
        };
        Some(Leg {
            step: self.begin + step,
            own,
            moved,
            permit: Some(permit),
        })
    }

    /// The call at another target: its address, its credential, its name of the model.
    ///
    /// # Errors
    /// Why it cannot be sent there.
    fn redirect<'a>(
        &self,
        exchange: &Exchange,
        call: &mut Call<'a>,
        target: &Arc<Target>,
    ) -> Result<Call<'a>, String> {
        let model = exchange.draft().and_then(|draft| draft.model.as_deref());
        let asked = (self.place, &call.headers);
        let route = resolve::redirect(self.config, &call.route, target, asked, model)?;
        auth::may_ask(exchange, &route.provider).map_err(|_forbidden| {
            "is of a provider that the gateway token is not for".to_owned()
        })?;
        let mut headers = headers::for_another_target(&call.headers, &call.route.provider, &route);
        auth::configured_headers(&route, &mut headers);
        auth::credential(&route, &mut headers)
            .map_err(|_missing| "has no credential, and the client's is not for it".to_owned())?;
        let whole = match (&call.body, &call.original) {
            (CallBody::Whole(_), Some(original)) => Some(original.clone()),
            (CallBody::Whole(whole), None) => Some(whole.clone()),
            (CallBody::Passing(_) | CallBody::Gone, _) => None,
        };
        let whole = match (whole, &route.model) {
            (whole, None) => whole,
            (Some(whole), Some(model)) if !whole.is_empty() => {
                let edited = edit::with_model(&whole, model);
                let edited = edited.ok_or("calls the model otherwise, and the body is no JSON")?;
                headers.remove(CONTENT_LENGTH);
                Some(edited.into())
            }
            (None, Some(_)) => {
                return Err("calls the model otherwise, and the body is too large".into());
            }
            (empty, Some(_)) => empty,
        };
        let body = match whole {
            Some(whole) => CallBody::Whole(whole),
            None => std::mem::replace(&mut call.body, CallBody::Gone),
        };
        let mut moved = Call {
            route: Arc::new(route),
            method: call.method.clone(),
            headers,
            body,
            original: None,
            interim: call.interim,
        };
        understand::prepare(self.proxy, &mut moved);
        Ok(moved)
    }
}

/// One send, and another one without `include_usage` where that is what is refused.
async fn send(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    bounds: Bounds,
) -> Result<Answer, Error> {
    let response = attempt(proxy, exchange, call, &bounds).await?;
    usable(proxy, exchange, call, (bounds, response)).await
}

/// The answer to a send, or to another one without `include_usage` where that is what is refused.
async fn usable(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    (bounds, response): (Bounds, Response<Source>),
) -> Result<Answer, Error> {
    let edited = call.original.is_some();
    if edited && matches!(response.status().as_u16(), 400 | 422) {
        // Rare, and so kept out of the future of every request.
        return Box::pin(as_it_came(proxy, exchange, call, (&bounds, response))).await;
    }
    Ok(Answer { response, edited })
}

/// Sends an edited request again as it came, if `refused` is a refusal of the edit; else gives
/// `refused` back.
async fn as_it_came(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    (bounds, refused): (&Bounds, Response<Source>),
) -> Result<Answer, Error> {
    let (refused, is_refusal) = refuses_usage_option(refused).await;
    let edited = false;
    let Some(original) = call.original.take().filter(|_| is_refusal) else {
        return Ok(Answer {
            response: refused,
            edited,
        });
    };
    proxy.refusals.remember(&call.route);
    exchange.remark("the provider refused `stream_options`; sent again without it");
    call.headers.remove(CONTENT_LENGTH);
    call.body = CallBody::Whole(original);
    let response = attempt(proxy, exchange, call, bounds).await?;
    Ok(Answer { response, edited })
}

/// Whether a refusal is about the `stream_options` that the gateway added. Its beginning is read
/// for that; the answer comes back as it was.
async fn refuses_usage_option(response: Response<Source>) -> (Response<Source>, bool) {
    let (head, source) = response.into_parts();
    let (seen, source) = source.peek(PEEK_BYTES, PEEK_TIME).await;
    let refused = memchr::memmem::find(&seen, b"stream_options").is_some();
    (Response::from_parts(head, source), refused)
}

/// One send, on the record.
async fn attempt(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    bounds: &Bounds,
) -> Result<Response<Source>, Error> {
    let started_us = exchange.elapsed_us();
    exchange.attempting(started_us);
    let mut sending = Sending::default();
    let parts = (&call.method, &call.headers);
    let head = head(&call.route, parts, bounds, call.interim);
    let answer = proxy
        .upstream
        .send(&head, &mut call.body, &mut sending, Some(exchange))
        .await;
    let answer = checked(proxy, &call.route, answer);
    let took_us = exchange.elapsed_us() - started_us;
    exchange.attempted(account(
        &call.route,
        &answer,
        &sending,
        (started_us, took_us),
    ));
    answer
}

/// What a call sends, but for its body.
fn head<'c>(
    route: &'c Route,
    (method, headers): (&'c Method, &'c HeaderMap),
    bounds: &'c Bounds,
    interim: Option<Interim<'c>>,
) -> Head<'c> {
    Head {
        https: route.https,
        authority: &route.authority,
        path: &route.path,
        method,
        headers,
        trusted: route.trusted,
        bounds,
        interim,
    }
}

/// The answer to a send, if it is one that can be relayed; the operator is told why not.
fn checked(
    proxy: &Proxy,
    route: &Route,
    answer: Result<Response<Source>, Error>,
) -> Result<Response<Source>, Error> {
    let answer = answer.and_then(|answer| match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Err(Error::BadAnswer("101 was not asked for".into())),
        _ if headers::is_coded(answer.headers()) => Err(Error::BadAnswer(FOREIGN_CODING.into())),
        _ if headers::has_two_lengths(answer.headers()) => Err(Error::BadAnswer(
            "a content-length beside a transfer coding".into(),
        )),
        _ => Ok(answer),
    });
    let failed = answer.as_ref().err();
    failed.inspect(|error| proxy.failures.tell(route.target_name(), error));
    answer
}

/// What the record tells of a send.
fn account(
    route: &Route,
    answer: &Result<Response<Source>, Error>,
    sending: &Sending,
    (started_us, took_us): (u64, u64),
) -> Attempt {
    let failed = answer.as_ref().err();
    Attempt {
        target: route.target_name().into(),
        status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
        error: failed.and_then(Error::attempt_word).map(Into::into),
        cause: failed.and_then(failures::cause),
        started_us,
        connect_us: micros(sending.connect),
        ttfb_us: answer.is_ok().then_some(took_us),
        reused: sending.reused,
        ..Attempt::default()
    }
}
