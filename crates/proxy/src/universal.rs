//! The Universal endpoint (data-plane section 9): a request whose body lists legs, which are tried
//! in order until one succeeds. Each leg is a request of its own, with headers and retries of its
//! own, and takes the way of every other one.
//!
//! The chains of the gateway's targets are not followed here: the legs are the chain.

mod leg;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Version};
use isango_types::Snapshot;
use isango_types::policy::RetryPolicy;

use self::leg::{Leg, LegText};
use crate::Proxy;
use crate::ask::{self, Answer, Best, Call, Limits};
use crate::auth;
use crate::cache::{Caching, Found, Spare};
use crate::call::{self, CallBody, Upload};
use crate::divert;
use crate::error::Error;
use crate::exchange::{Exchange, path_of};
use crate::limit::{self, Stage};
use crate::options::{self, Options};
use crate::pipeline::{Reply, limits, reply, speaks_http};
use crate::plan::Plan;
use crate::relay::Activity;
use crate::resolve::{self, Place, Route};
use crate::tokens::Tokens;
use crate::understand::understand;
use crate::way;

/// Legs of one request.
const MAX_LEGS: usize = 16;
/// Largest body, in bytes: all of it is held.
const MAX_BYTES: u64 = 32 << 20;

/// Whether a request names a gateway and nothing behind it.
pub(crate) fn is_asked<B>(request: &Request<B>) -> bool {
    // Most requests name a provider: its slash is found without looking at the rest.
    let path = request.uri().path().as_bytes();
    let is_gateway = memchr::memchr_iter(b'/', path)
        .nth(3)
        .is_none_or(|slash| slash + 1 == path.len());
    is_gateway && request.method() == Method::POST && {
        let place = resolve::place(path_of(request.uri()));
        !place.account.is_empty() && !place.gateway.is_empty()
    }
}

/// Tries the legs of a request until one succeeds; of failures, that which helps the client most is
/// the answer.
pub(crate) async fn serve(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    request: Request<Upload>,
    activity: &Activity,
) -> Result<Reply, Error> {
    let (mut head, body) = request.into_parts();
    // Whose is it?
    let options = options::read(&head.headers);
    exchange.asked(options.clone());
    let path = path_of(&head.uri);
    let mut tokens = Tokens::take(path, &mut head.headers);
    let secrets = std::mem::take(&mut tokens.secrets);
    exchange.holds(secrets.and_carried(&head.headers, ""));
    let place = resolve::place(path);
    let gateway = resolve::gateway(config, &place)?;
    let now = exchange.created_at();
    let caller = auth::caller(config, (gateway, place.account), (&head, &tokens), now)?;
    exchange.identified(caller);
    speaks_http(&head)?;
    // What are its legs?
    let before_body = exchange.elapsed_us();
    let whole = read(body, gateway.max_request_bytes, exchange).await?;
    let waited_us = exchange.queued_until_now() - before_body;
    let texts = leg::parse(&whole, MAX_LEGS)?;
    let from = Options {
        notes: Vec::new(),
        ..options
    };
    let mut legs = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let of_request = (&*exchange, &from);
        let leg = text.prepare(config, (&place, &head.headers), &whole, of_request);
        let mut leg = leg.map_err(|error| in_leg(exchange, index, error))?;
        leg.call.interim = (head.version == Version::HTTP_11).then(|| activity.interim());
        legs.push(leg);
    }
    record(exchange, &whole, (&place, &texts), &legs);
    // Ask them in turn; after the first byte there is no way back.
    exchange.overhead(exchange.elapsed_us().saturating_sub(waited_us));
    Box::pin(ask_in_turn(proxy, config, exchange, legs)).await
}

/// The whole body. Its record is made of what is left without the credentials of its legs.
async fn read(body: Upload, limit: u64, exchange: &Exchange) -> Result<Bytes, Error> {
    let limit = limit.min(MAX_BYTES);
    let hold = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    match call::read(body, hold, limit, exchange.request_capture()).await? {
        CallBody::Whole(whole) => Ok(whole),
        CallBody::Passing(_) | CallBody::Gone => Err(Error::BodyTooLarge { limit }),
    }
}

/// A refusal of one leg is one of the whole request, before anything is sent.
fn in_leg(exchange: &mut Exchange, index: usize, error: Error) -> Error {
    exchange.remark(&format!("leg {index} was refused"));
    if let Error::InvalidPath(wrong) = &error {
        Error::InvalidPath(format!("leg {index}: {wrong}"))
    } else if let Error::BadLegs(wrong) = &error {
        Error::BadLegs(format!("leg {index}: {wrong}"))
    } else {
        error
    }
}

/// Puts the request on the record: where its first leg goes, and its body without credentials.
fn record(
    exchange: &mut Exchange,
    whole: &Bytes,
    (place, texts): (&Place<'_>, &[LegText<'_>]),
    legs: &[Leg<'_>],
) {
    for leg in legs {
        exchange.holds_too(&leg.secrets);
    }
    if let Some(first) = legs.first() {
        exchange.routed(Arc::clone(&first.call.route), place);
    }
    let clean = leg::without_secrets(whole, texts, legs);
    let at_us = exchange.elapsed_us();
    let capture = exchange.request_capture();
    let mut capture = capture.lock();
    capture.push(&clean, at_us);
    capture.came_as(whole.len() as u64);
}

/// Asks for one leg of so many, if it may cost what it may cost.
async fn ask_leg(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    ((policy, step, count), limits): ((RetryPolicy, usize, usize), &Limits),
) -> Result<Answer, Error> {
    if !call.route.gateway.limits.is_empty() {
        Box::pin(limit::admit_here(exchange, Stage::Send(&call.body))).await?;
        divert::asks_plainly(exchange, call);
    }
    call.use_credential(proxy.sink.clock())?;
    if count == 1 && policy.max_attempts == 1 {
        return ask::own_target(proxy, exchange, call, limits).await;
    }
    let plan = Plan::of_leg(policy, step, step + 1 < count);
    let asking = ask::by_plan(proxy, exchange, config, call, (plan, limits));
    Box::pin(asking).await
}

async fn ask_in_turn(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    legs: Vec<Leg<'_>>,
) -> Result<Reply, Error> {
    let count = legs.len();
    let mut best: Option<Failed> = None;
    let mut old: Option<Old> = None;
    for (step, mut leg) in legs.into_iter().enumerate() {
        let route = Arc::clone(&leg.call.route);
        exchange.goes_to(step, Arc::clone(&route));
        let wishes = exchange.asks_for(leg.options.clone());
        exchange.brings(leg.credential);
        exchange.take_cached();
        understand(proxy, exchange, &mut leg.call);
        auth::may_ask_for_its_model(exchange, &leg.call)?;
        auth::has_its_price(exchange, &leg.call)?;
        if !route.gateway.limits.is_empty() {
            Box::pin(limit::admit_leg(exchange)).await?;
        }
        let limits = limits(&route, wishes.first_byte_timeout, exchange);
        let (mut ticket, asks) = match recall(proxy, exchange, &leg.call, &limits).await {
            Ok(Found::Answer(answer)) => return Ok(Reply::recalled(exchange, *answer, &limits)),
            Ok(Found::Ask(ticket)) => (Some(ticket), Ok(())),
            Ok(Found::Nothing) => (None, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let is_last = step + 1 == count;
        if let Some(why) = way::rests(proxy, exchange, &leg.call).filter(|_| !is_last) {
            exchange.remark(&why);
            continue;
        }
        let plan = (wishes.over(route.gateway.retry), step, count);
        let result = match asks {
            Ok(()) => ask_leg(proxy, config, exchange, &mut leg.call, (plan, &limits)).await,
            Err(error) => Err(error),
        };
        if old.is_none() {
            let spare = ticket.as_mut().and_then(|ticket| ticket.spare(&result));
            old = spare.map(|spare| (spare, step, Arc::clone(&route), limits, leg.options.clone()));
        }
        let held = match result {
            Ok(answer) if !answer.is_refusal() => {
                return Ok(reply(exchange, answer, ticket, &limits));
            }
            Err(error) if error.attempt_word().is_none() => return Err(error),
            Err(Error::TotalTimeout { .. }) if old.is_some() || best.is_some() => break,
            Err(error @ Error::TotalTimeout { .. }) => return Err(error),
            failed => Best::hold(failed, &route, step, proxy.sink.clock()).await,
        };
        best = match best {
            Some(earlier) if earlier.best.is_better(&held) => Some(earlier),
            Some(_) | None => Some(Failed {
                best: held,
                limits,
                options: leg.options,
                cached: exchange.take_cached(),
            }),
        };
    }
    match old {
        Some(old) => Ok(give_old(exchange, old)),
        None => best.ok_or(Error::Internal)?.tell(exchange),
    }
}

/// Looks for an answer to a leg.
async fn recall(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &Call<'_>,
    limits: &Limits,
) -> Result<Found, Error> {
    let terms = exchange.cache_terms(&call.route, &call.method);
    match exchange.may_recall(terms, call) {
        None => Ok(Found::Nothing),
        Some(terms) => proxy.cache.look(exchange, call, terms, limits).await,
    }
}

/// The failure of a leg that is of most use so far, and all that is told with it.
struct Failed {
    best: Best,
    limits: Limits,
    options: Options,
    cached: Option<Box<Caching>>,
}

impl Failed {
    fn tell(self, exchange: &mut Exchange) -> Result<Reply, Error> {
        speak_for(exchange, self.options);
        exchange.was_cached(self.cached);
        let answer = self.best.tell(exchange)?;
        Ok(reply(exchange, answer, None, &self.limits))
    }
}

/// An old answer to the first leg that has one and whose provider failed: it stands in when all
/// legs do.
type Old = (Spare, usize, Arc<Route>, Limits, Options);

fn give_old(exchange: &mut Exchange, (spare, step, route, limits, options): Old) -> Reply {
    speak_for(exchange, options);
    exchange.goes_to(step, route);
    let old = spare.give(exchange);
    Reply::recalled(exchange, old, &limits)
}

/// The answer is that of a leg with these options, whose remarks were made already.
fn speak_for(exchange: &mut Exchange, options: Options) {
    exchange.asks_for(Options {
        notes: Vec::new(),
        ..options
    });
}
