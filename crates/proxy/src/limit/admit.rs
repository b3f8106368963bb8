//! What the pipeline asks: may this request pass, and if not, what is its client told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, header};
use isango_types::limit::{Decision, Dialect, Dimension, OnExceeded, Unit, Verdict};
use isango_types::record::MetadataValue;
use isango_types::{Limit, Timestamp, Usage};
use tokio::time::{Instant, timeout};

use super::estimate::{Estimate, estimate};
use super::{Limits, Permit, Refusal, Values, Want, clip, seconds};
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::{Draft, Exchange, micros};
use crate::metadata;
use crate::resolve::Route;
use crate::sink::Sink;

/// Requests that wait for their turn at most, over all limits; further ones are refused at once.
const MAX_WAITING: usize = 4_096;
/// What a client is told to wait for when only requests under way stand in its way.
const BUSY_RETRY_S: u64 = 1;

const SOURCE: HeaderName = HeaderName::from_static("cf-aig-source");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

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
    if let Some(mut permit) = exchange.take_permit() {
        permit.moves_on();
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
    /// It may not, but may go where this limit sends it; it holds nothing any more. What its client
    /// is told where it cannot.
    Elsewhere(Arc<Limit>, Error),
}

/// As [`admit`], of a request that goes nowhere else.
///
/// # Errors
/// As there.
pub(crate) async fn admit_here(exchange: &mut Exchange, stage: Stage<'_>) -> Result<(), Error> {
    match admit(exchange, stage).await? {
        Admission::Passes => Ok(()),
        Admission::Elsewhere(_, error) => Err(error),
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
    let mut subject = Subject::new((draft, route), stage, permit);
    let due: Vec<(&Arc<Limit>, Values)> = gateway
        .limits
        .iter()
        .filter(|limit| stage.asks(limit) && subject.is_under(limit))
        .map(|limit| (limit, subject.values(limit)))
        .filter(|(limit, values)| !permit.holds(&limit.id, values))
        .collect();
    if due.is_empty() {
        return Ok((Admission::Passes, Duration::ZERO));
    }
    if let Stage::Send(body) = stage {
        subject.estimate = Some(subject.estimate(sink.limits(), body));
    }
    let mut waited = Duration::ZERO;
    let refused = draw_in_turn(sink, &mut subject, due, (permit, &mut waited)).await;
    let estimate = subject.estimate.take();
    match refused {
        None => {
            permit.estimate = estimate;
            Ok((Admission::Passes, waited))
        }
        Some(refusal) => {
            let error = error(&refusal, draft, subject.model);
            if let OnExceeded::Fallback(_) = refusal.limit.on_exceeded {
                let decision = Decision {
                    verdict: Verdict::Diverted,
                    ..refusal.decision
                };
                permit.diverted(decision, subject.route.target_name());
                return Ok((Admission::Elsewhere(refusal.limit, error), waited));
            }
            permit.refused(refusal.decision);
            Err(error)
        }
    }
}

/// Draws, and waits as long as the limit in the way allows if it is busy; what remains is a
/// refusal.
async fn draw_in_turn(
    sink: &Sink,
    subject: &mut Subject<'_>,
    due: Vec<(&Arc<Limit>, Values)>,
    (permit, waited): (&mut Permit, &mut Duration),
) -> Option<Box<Refusal>> {
    let limits = sink.limits();
    // Is told of what is freed from its making on; so it is made before the draw that counts.
    let mut freed = None;
    let mut waiting = None;
    loop {
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
        let left = refusal.limit.max_wait.saturating_sub(*waited);
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
                *waited += begun.elapsed();
                if told.is_err() {
                    return Some(refusal);
                }
                if let Some(estimate) = &mut subject.estimate {
                    estimate.refresh(&limits.observed);
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

/// What limits look at.
struct Subject<'d> {
    draft: &'d Draft,
    route: &'d Route,
    labels: BTreeMap<Box<str>, MetadataValue>,
    /// `None`: not known yet, or not at all.
    model: Option<&'d str>,
    estimate: Option<Estimate>,
}

impl<'d> Subject<'d> {
    fn new((draft, route): (&'d Draft, &'d Route), stage: Stage<'_>, permit: &mut Permit) -> Self {
        let is_label = |dimension: &Dimension| matches!(dimension, Dimension::Metadata(_));
        let mut dimensions = route.gateway.limits.iter().flat_map(|limit| {
            let conditions = limit.only.iter().map(|condition| &condition.dimension);
            conditions.chain(&limit.by)
        });
        let labels = match permit.labels.take() {
            Some(labels) => labels,
            None if dimensions.any(is_label) => labels(draft),
            None => BTreeMap::new(),
        };
        permit.labels = Some(labels.clone());
        Self {
            draft,
            route,
            labels,
            model: match stage {
                Stage::Head => None,
                Stage::Body | Stage::Send(_) => asked_model(draft),
            },
            estimate: None,
        }
    }

    fn value(&self, dimension: &Dimension) -> Option<Box<str>> {
        let route = self.route;
        match dimension {
            Dimension::Metadata(key) => self.labels.get(key).map(|value| value.to_text().into()),
            Dimension::Token => self
                .draft
                .caller
                .token
                .as_ref()
                .map(|token| token.name.clone()),
            Dimension::Provider => Some(route.provider.slug.clone()),
            // Of several, of which the provider chooses, none is it.
            Dimension::Model => {
                let model = self.model.filter(|_| !self.draft.names_others);
                model.map(Into::into)
            }
            Dimension::Target => Some(route.target_name().into()),
        }
    }

    /// Its values of what splits the limit, as its bucket has them.
    fn values(&self, limit: &Limit) -> Values {
        let mut values: Values = limit.by.iter().map(|one| self.value(one)).collect();
        values.iter_mut().flatten().for_each(clip);
        values
    }

    /// Whether the limit is for this request. A model that cannot be told may be any: else a body
    /// that is too large to be looked at would be a way around.
    fn is_under(&self, limit: &Limit) -> bool {
        limit
            .only
            .iter()
            .all(|condition| match self.value(&condition.dimension) {
                Some(value) => condition.values.contains(&value),
                None => condition.dimension == Dimension::Model,
            })
    }

    fn estimate(&self, limits: &Limits, body: &CallBody) -> Estimate {
        estimate(
            &limits.observed,
            (&self.route.provider.slug, self.model.unwrap_or("")),
            self.draft.operation,
            body,
        )
    }

    /// What the request wants of a limit.
    fn want<'l>(&self, limit: &'l Arc<Limit>, values: &Values, now: Timestamp) -> Want<'l> {
        let (counted, [input, output], likely) = match &self.estimate {
            Some(one) => (one.counted, [one.input, one.output], one.likely),
            None => (0, [0; 2], (0, 0)),
        };
        let amount = |input: u64, output| match limit.unit {
            Unit::Requests | Unit::Concurrent => 1,
            Unit::Tokens => input.saturating_add(output),
            Unit::Cost => self.price(input, output, now),
        };
        Want {
            limit,
            values: values.clone(),
            need: amount(input, output),
            least: amount(counted, 0),
            likely: amount(likely.0, likely.1),
            fixed: amount(input, 0),
            is_passed: false,
        }
    }

    /// What so many tokens cost, in nano-dollars; 0 of a model without a price, whose cost is not
    /// known afterwards either.
    fn price(&self, input: u64, output: u64, now: Timestamp) -> u64 {
        let usage = Usage {
            input,
            output,
            ..Usage::default()
        };
        let served = self.estimate.as_ref().and_then(|one| one.served.as_deref());
        let slug = &self.route.provider.slug;
        let prices = &self.draft.config.prices;
        let mut costs = [served, self.model]
            .into_iter()
            .flatten()
            .filter_map(|model| prices.cost(slug, model, &usage, now).nanousd);
        costs.next().unwrap_or(0)
    }
}

/// The model that a request asks for; of a deployment that its target maps, the model.
pub(crate) fn asked_model(draft: &Draft) -> Option<&str> {
    let route = draft.route.as_deref()?;
    // What the body says by now, where it goes to another target.
    let rewritten = route.model.as_deref();
    let named = route.deployment.as_deref().or(rewritten);
    let named = named.or(draft.model.as_deref())?;
    Some(mapped(draft, named).unwrap_or(named))
}

/// The model behind a name, where the request's target maps it; else the name.
pub(crate) fn model_behind<'d>(draft: &'d Draft, name: Cow<'d, str>) -> Cow<'d, str> {
    mapped(draft, &name).map_or(name, Cow::Borrowed)
}

fn mapped<'d>(draft: &'d Draft, name: &str) -> Option<&'d str> {
    let target = draft.route.as_deref()?.target.as_ref()?;
    target.models.get(name).map(|model| &**model)
}

/// The request's metadata; what its token is bound to wins over what the client claims.
fn labels(draft: &Draft) -> BTreeMap<Box<str>, MetadataValue> {
    let told = draft.options.metadata.as_ref();
    let mut labels = told
        .and_then(|told| metadata::read(told).ok())
        .map(|read| read.entries)
        .unwrap_or_default();
    if let Some(token) = &draft.caller.token {
        labels.extend(token.metadata.clone());
    }
    labels
}

/// What the client of a refused request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    message: Box<str>,
    retry_after_s: u64,
    limit: Box<str>,
    remaining: Box<str>,
}

impl Notice {
    /// Of a credential that was used as often as it may be.
    pub(crate) fn new(message: &str, retry_after_s: u32, limit: u32) -> Self {
        Self {
            message: message.into(),
            retry_after_s: retry_after_s.into(),
            limit: limit.to_string().into(),
            remaining: "0".into(),
        }
    }

    #[cfg(test)]
    pub(crate) fn sample(message: &str) -> Self {
        Self {
            message: message.into(),
            retry_after_s: 7,
            limit: "10".into(),
            remaining: "0".into(),
        }
    }

    /// Puts it into the headers of the refusal.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(SOURCE, HeaderValue::from_static("rate-limit"));
        let seconds = HeaderValue::from(self.retry_after_s);
        headers.insert(RETRY_AFTER, seconds.clone());
        headers.insert(RESET, seconds);
        put(headers, LIMIT, &self.limit);
        put(headers, REMAINING, &self.remaining);
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn error(refusal: &Refusal, draft: &Draft, model: Option<&str>) -> Error {
    let limit = &refusal.limit;
    let provider = draft
        .route
        .as_deref()
        .map_or("", |route| &route.provider.slug);
    let rule = format!("rule '{}' ({})", limit.id, limit.describe());
    let of_cost = limit.unit == Unit::Cost;
    let mut message = match (limit.dialect, of_cost) {
        (Dialect::RateLimit, _) => "Rate limited".to_owned(),
        (Dialect::Limit | Dialect::SpendLimit, true) => {
            let model = model.map(|model| format!(" {model}")).unwrap_or_default();
            format!("Spend limit exceeded: {rule} for {provider}{model}")
        }
        (Dialect::Limit | Dialect::SpendLimit, false) => format!("Rate limited: {rule}"),
    };
    if refusal.busy {
        message.push_str("; requests under way hold what is left");
    } else if limit.dialect == Dialect::Limit && refusal.remaining > 0 {
        let (need, left) = (refusal.decision.reserved, refusal.remaining);
        let unit = limit.unit;
        let (need, left) = (unit.amount(need), unit.amount(left));
        message.push_str(&format!(
            "; this request may need {need}, and {left} is left"
        ));
    }
    let notice = Notice {
        message: message.into(),
        retry_after_s: match refusal.busy {
            true => BUSY_RETRY_S,
            false => seconds(refusal.now, refusal.opens_at).max(1),
        },
        limit: limit.unit.amount(limit.limit).into(),
        remaining: limit.unit.amount(refusal.remaining).into(),
    };
    match of_cost {
        true => Error::SpendLimited(Box::new(notice)),
        false => Error::RateLimited(Box::new(notice)),
    }
}

/// Tells the client of an admitted request how much is left of the tightest limit, where the
/// provider does not say anything of its own under these names.
pub(crate) fn tell(headers: &mut HeaderMap, permit: &Permit) {
    let Some(room) = &permit.headroom else {
        return;
    };
    if [LIMIT, REMAINING, RESET]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        return;
    }
    let unit = room.limit.unit;
    put(headers, LIMIT, &unit.amount(room.limit.limit));
    put(headers, REMAINING, &unit.amount(room.remaining));
    headers.insert(RESET, HeaderValue::from(room.resets_in_s));
}
