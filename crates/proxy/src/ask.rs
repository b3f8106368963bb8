//! Asks providers: once, or by a plan until one answers. After the first byte there is no way back.

mod best;
mod ground;
mod hedge;

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use isango_types::policy::Timeouts;
use isango_types::record::Attempt;
use isango_types::{Clock, Credential, Snapshot};
use isango_wire::refusal;
use tokio::time::{Instant, sleep};

pub(crate) use self::best::Best;
use self::ground::{Ground, Lonely, give_body_back};
pub(crate) use self::ground::{Leg, redirect};
use crate::Proxy;
use crate::auth::Allowance;
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::{Exchange, micros};
use crate::health::Permit;
use crate::options::Wishes;
use crate::plan::Plan;
use crate::resolve::Route;
use crate::retry::{Failure, Next, Situation, asked_wait};
use crate::serve::Interim;
use crate::upstream::{Bounds, Head, Sending, Source};
use crate::way::{self, Way};
use crate::{credentials, failures, headers, watch};

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
    /// The operator's, where it is more than a key in the headers.
    pub(crate) credential: Option<Arc<Credential>>,
    /// How often that may be used; `None`: as often as anybody likes.
    pub(crate) allowance: Option<Allowance>,
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

    /// Counts the use of its credential in the send that comes next, if that is not done yet.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub(crate) fn use_credential(&mut self, clock: &Clock) -> Result<(), Error> {
        match &mut self.allowance {
            None => Ok(()),
            Some(allowance) => allowance.take(clock),
        }
    }

    /// It is sent, and so its credential used.
    fn uses_credential(&mut self) {
        if let Some(allowance) = &mut self.allowance {
            allowance.used();
        }
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
            credential: self.credential.clone(),
            allowance: self.allowance.clone(),
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
    let plan = Plan::of(&route, wishes).map(|plan| match exchange.step() {
        0 => plan,
        // A limit has sent it there, and nowhere else.
        step => Plan::of_leg(plan.policy, step, false),
    });
    match plan {
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
    let (clock, time) = (proxy.sink.clock(), (began, Instant::now()));
    watch::ended(clock, permit, time, seen, limits.is_impatient(&timeouts));
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
    let ground = Ground {
        proxy,
        config,
        limits,
        begin: plan.begin,
        lone: Lonely::of(proxy, &call.route, Instant::now()),
    };
    if matches!(call.body, CallBody::Passing(_)) {
        exchange.remark("the body is larger than `max_replay_bytes`: it cannot be sent again");
    }
    let mut way = Way::of(proxy, exchange, call, &plan);
    let first = match &mut way {
        Some(way) => ground.move_on(exchange, call, way).await?,
        None => None,
    };
    let mut leg = match first {
        Some(leg) => leg,
        None => ground.own(exchange, call).await?,
    };
    let mut best: Option<Best> = None;
    let mut tried = 0;
    loop {
        tried += 1;
        let fallback = way.as_ref().and_then(Way::fallback);
        let is_last = plan.is_last(tried, fallback);
        let here = (&mut leg, way.as_mut());
        let sent = ground.send(exchange, call, here, (tried == 1, is_last));
        let (result, beaten) = sent.await;
        best = Best::better_of(best, beaten);
        let current = leg.moved.as_ref().unwrap_or(call);
        let (clock, route) = (proxy.sink.clock(), &current.route);
        let result = judge(result, route, (leg.own, is_last), clock).await;
        let (failure, result) = match (result, best.take()) {
            // Out of time: what a provider wrote before says more.
            ((None, Err(Error::TotalTimeout { .. })), Some(best)) => return best.tell(exchange),
            ((None, result), _) => {
                ground.ended(&result);
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
                let turn = again(proxy, exchange, (&mut leg, call), (wait, reason));
                if !turn.await {
                    return best_now.tell(exchange);
                }
                best = Some(best_now);
            }
            Next::Fallback => {
                // Nobody is busy with it while the next one is asked.
                leg.permit = None;
                give_body_back(leg.moved.take(), call);
                let next = match way.as_mut() {
                    Some(way) => ground.move_on(exchange, call, way).await,
                    None => Ok(None),
                };
                match next {
                    Ok(Some(next)) => (leg, tried) = (next, 0),
                    Err(full) if !best_now.is_rate_limit() => return Err(full),
                    Ok(None) | Err(_) => return best_now.tell(exchange),
                }
                best = Some(best_now);
            }
        }
    }
}

/// Waits before the request is sent where it is once more; whether its credential may be used for
/// that, which is counted. The record tells so, or why not.
async fn again<'a>(
    proxy: &Proxy,
    exchange: &mut Exchange,
    (leg, call): (&mut Leg<'a>, &mut Call<'a>),
    (wait, reason): (Duration, &'static str),
) -> bool {
    sleep(wait).await;
    let current = leg.moved.as_mut().unwrap_or(call);
    let used = current.use_credential(proxy.sink.clock());
    match &used {
        Ok(()) => exchange.waited(wait, reason),
        Err(spent) => {
            let name = current.route.target_name();
            exchange.remark(&format!("`{name}` was not asked again: {spent}"));
        }
    }
    used.is_ok()
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
    call.use_credential(proxy.sink.clock())?;
    call.uses_credential();
    let started_us = exchange.elapsed_us();
    exchange.attempting(started_us);
    let mut sending = Sending::default();
    let ready = match call.credential {
        None => Ok(()),
        // Rare, and so kept out of the future of every request.
        Some(_) => Box::pin(credentials::authenticate(proxy, exchange, call)).await,
    };
    let answer = match ready {
        Ok(()) => {
            let parts = (&call.method, &mut call.headers);
            let mut head = head(&call.route, parts, bounds, call.interim);
            proxy
                .upstream
                .send(&mut head, &mut call.body, &mut sending, Some(exchange))
                .await
        }
        Err(error) => Err(error),
    };
    let answer = checked(proxy, &call.route, answer);
    if let Ok(answer) = &answer {
        credentials::answered(proxy, call, answer);
    }
    let took_us = exchange.elapsed_us() - started_us;
    tell(
        exchange,
        (&call.route, &answer),
        &sending,
        (started_us, took_us),
    );
    answer
}

/// Puts a send on the record.
fn tell(
    exchange: &mut Exchange,
    (route, answer): (&Route, &Result<Response<Source>, Error>),
    sending: &Sending,
    times: (u64, u64),
) {
    if let Err(Error::FirstByteTimeout { limit_ms }) = answer {
        let limit = Duration::from_millis(*limit_ms);
        // One that waits as long as the operator does waits no longer for its provider's sake.
        if route.timeouts().first_byte.is_none_or(|own| limit < own) {
            exchange.gave_up(limit);
        }
    }
    exchange.attempted(account(route, answer, sending, times));
}

/// What a call sends, but for its body.
fn head<'c>(
    route: &'c Route,
    (method, headers): (&'c Method, &'c mut HeaderMap),
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
