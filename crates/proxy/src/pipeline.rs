//! The life of a request, top to bottom. The order of these lines is the behavior of the product.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use isango_types::{Snapshot, Token};
use isango_wire::filter::UsageFilter;

use crate::Proxy;
use crate::ask::{self, Answer, Call, FOREIGN_CODING, Limits};
use crate::cache::{self, Found, Terms, Ticket};
use crate::call::{self, CallBody, INSPECT_BYTES, Upload};
use crate::error::Error;
use crate::exchange::{Exchange, path_of};
use crate::limit::{self, Stage};
use crate::options;
use crate::plan::Plan;
use crate::relay::{Activity, Pace, Relay};
use crate::resolve::{self, Route};
use crate::serve::{BareLf, Interim};
use crate::tokens::Tokens;
use crate::understand::{understand, wants_inspection};
use crate::upstream::Source;
use crate::{auth, credentials, divert, headers, universal};

/// An answer that is ready to be relayed.
pub(crate) struct Reply {
    response: Response<Source>,
    filter: Option<Box<UsageFilter>>,
    pace: Pace,
}

impl Reply {
    /// An answer out of the cache, or one that somebody else asked for.
    pub(crate) fn recalled(exchange: &Exchange, answer: cache::Answer, limits: &Limits) -> Self {
        let pace = match answer.is_on_its_way {
            true => pace(exchange, limits),
            // It has wholly come already.
            false => Pace::default(),
        };
        Self {
            response: answer.response,
            filter: answer.filter,
            pace,
        }
    }
}

/// Carries one request from a client's socket to a provider, and the answer back.
pub(crate) async fn handle(
    proxy: &Proxy,
    request: Request<Upload>,
    activity: Activity,
) -> Response<Relay> {
    let config = proxy.config.get();
    let mut exchange = Exchange::begin(&proxy.sink, Arc::clone(&config), &request);
    let served = if universal::is_asked(&request) {
        // Kept out of the future of every request.
        let serving = universal::serve(proxy, &config, &mut exchange, request, &activity);
        Box::pin(serving).await
    } else {
        serve(proxy, &config, &mut exchange, request, &activity).await
    };
    let response = respond(exchange, served, activity);
    if response.body().holds_nothing() {
        // Kept out of the future of every request.
        return Box::pin(recorded(response)).await;
    }
    response
}

/// The answer to the client, whose body ends the exchange.
fn respond(
    mut exchange: Exchange,
    served: Result<Reply, Error>,
    activity: Activity,
) -> Response<Relay> {
    // A refusal because nothing can be recorded does not wait for its record.
    let is_strict = !matches!(served, Err(Error::Unrecorded)) && exchange.is_strict();
    let reply = match served {
        Ok(reply) => reply,
        Err(error) => refuse(&mut exchange, &error),
    };
    let dropped = activity.interim().dropped();
    if dropped > 0 {
        exchange.remark(&format!(
            "{dropped} interim answers of the provider were dropped"
        ));
    }
    let (mut head, source) = reply.response.into_parts();
    // Ours, whatever the provider speaks (RFC 9110 section 6.2): an answer that HTTP/1.0 would end
    // with its connection is sent so that its end can be told from a break.
    head.version = Version::HTTP_11;
    sign(&mut head.headers, &exchange);
    let relay = Relay::new(source, reply.filter, reply.pace, exchange, activity);
    let relay = if is_strict { relay.holding() } else { relay };
    Response::from_parts(head, relay)
}

/// An answer without a body, which ends with its head: its record is waited for, and it is another
/// one where that fails.
async fn recorded(mut response: Response<Relay>) -> Response<Relay> {
    if !response.body_mut().record_now().await {
        let (status, headers, body) = Error::Unrecorded.to_answer();
        // Of the answer's own head, only what the gateway says of the exchange fits this one.
        let told = std::mem::replace(response.headers_mut(), headers);
        let ours = told
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("cf-aig-"));
        let ours = ours.map(|(name, value)| (name.clone(), value.clone()));
        response.headers_mut().extend(ours);
        *response.status_mut() = status;
        response.body_mut().replace(body);
    }
    response
}

async fn serve(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    request: Request<Upload>,
    activity: &Activity,
) -> Result<Reply, Error> {
    let Admitted {
        mut call,
        terms,
        waited_us,
    } = admit(config, exchange, request, activity).await?;
    examine(proxy, exchange, &mut call)?;
    exchange.overhead(exchange.elapsed_us().saturating_sub(waited_us));
    let first_byte = exchange.wishes().first_byte_timeout;
    let limits = limits(&call.route, first_byte, exchange);
    if !call.route.gateway.limits.is_empty() {
        Box::pin(divert::admit(proxy, config, exchange, &mut call, false)).await?;
    }
    // Has it been answered before?
    let found = match exchange.may_recall(terms, &call) {
        None => Found::Nothing,
        // Kept out of the future of every request.
        Some(terms) => Box::pin(proxy.cache.look(exchange, &call, terms, &limits)).await?,
    };
    let mut ticket = match found {
        Found::Answer(answer) => return Ok(Reply::recalled(exchange, *answer, &limits)),
        Found::Ask(ticket) => Some(ticket),
        Found::Nothing => None,
    };
    // May it cost what it may cost?
    if !call.route.gateway.limits.is_empty() {
        Box::pin(divert::admit(proxy, config, exchange, &mut call, true)).await?;
    }
    if call.route.group.is_none() {
        // Of a group, who is asked is not known yet.
        call.use_credential(proxy.sink.clock())?;
    }
    // Ask; after the first byte there is no way back.
    let wishes = exchange.wishes();
    let is_plain = call.route.target.is_none() && Plan::of(&call.route, wishes).is_none();
    let answer = if is_plain {
        ask::once(proxy, exchange, &mut call, &limits).await
    } else {
        // Kept out of the future of every request.
        let asking = ask::by_its_plan(proxy, exchange, config, &mut call, (wishes, &limits));
        Box::pin(asking).await
    };
    if let Some(spare) = ticket.as_mut().and_then(|ticket| ticket.spare(&answer)) {
        let old = spare.give(exchange);
        return Ok(Reply::recalled(exchange, old, &limits));
    }
    Ok(reply(exchange, answer?, ticket, &limits))
}

/// A request that may be sent.
struct Admitted<'a> {
    call: Call<'a>,
    /// On which terms it may be answered from the cache.
    terms: Option<Box<Terms>>,
    /// How long was waited for its body.
    waited_us: u64,
}

/// Finds out what a request would send to whom; or why it may not.
async fn admit<'a>(
    config: &Snapshot,
    exchange: &mut Exchange,
    request: Request<Upload>,
    activity: &'a Activity,
) -> Result<Admitted<'a>, Error> {
    let (mut head, body) = request.into_parts();
    let headed = admit_head(config, exchange, &mut head, None).await?;
    // What does it send?
    let before_body = exchange.elapsed_us();
    let limit = headed.route.gateway.max_request_bytes;
    let body = call::read(body, headed.held, limit, exchange.request_capture()).await?;
    let waited_us = exchange.queued_until_now() - before_body;
    let interim = (head.version == Version::HTTP_11).then(|| activity.interim());
    let (call, terms) = headed.into_call(head, body, interim);
    Ok(Admitted {
        call,
        terms,
        waited_us,
    })
}

/// What is known of a request by its head.
pub(crate) struct Headed {
    pub(crate) route: Arc<Route>,
    presented: auth::Presented,
    /// On which terms it may be answered from the cache.
    terms: Option<Box<Terms>>,
    /// How much of its body is read before it is sent.
    pub(crate) held: usize,
}

impl Headed {
    /// The request with its body, and the terms of the cache.
    pub(crate) fn into_call<'a>(
        self,
        head: Parts,
        body: CallBody,
        interim: Option<Interim<'a>>,
    ) -> (Call<'a>, Option<Box<Terms>>) {
        let call = Call {
            route: self.route,
            method: head.method,
            headers: head.headers,
            credential: self.presented.credential,
            allowance: self.presented.allowance,
            body,
            original: None,
            interim,
        };
        (call, self.terms)
    }
}

/// Finds out by its head where a request goes and who sent it, and whether it may be asked for; what
/// must not cross is taken out. `known`: whose it is, if that is not told by its headers.
///
/// # Errors
/// Why it may not pass.
pub(crate) async fn admit_head(
    config: &Snapshot,
    exchange: &mut Exchange,
    head: &mut Parts,
    known: Option<Arc<Token>>,
) -> Result<Headed, Error> {
    exchange.asked(options::read(&head.headers));
    let path = path_of(&head.uri);
    let mut tokens = Tokens::take(path, &mut head.headers);
    let place = resolve::place(path);
    let resolved = resolve::resolve(config, place, &head.headers);
    let slot = resolved
        .as_ref()
        .map_or("", |route| &*route.provider.auth.header);
    let secrets = std::mem::take(&mut tokens.secrets);
    exchange.holds(secrets.and_carried(&head.headers, slot));
    let route = Arc::new(resolved?);
    exchange.routed(Arc::clone(&route), &place);
    let now = exchange.created_at();
    let caller = match known {
        Some(token) => auth::caller_as(token, (&route.gateway, place.account))?,
        None => auth::caller(
            config,
            (&route.gateway, place.account),
            (head, &tokens),
            now,
        )?,
    };
    exchange.identified(caller);
    exchange.can_be_recorded()?;
    auth::may_ask(exchange, &route.provider)?;
    speaks_http(head)?;
    headers::to_upstream(&mut head.headers);
    let alias = exchange
        .draft()
        .and_then(|draft| draft.options.alias.clone());
    let presented = auth::credential(&route, alias.as_deref(), &mut head.headers)?;
    exchange.brings(auth::fingerprint(&route, &head.headers, &presented));
    auth::configured_headers(&route, &mut head.headers);
    // May it pass? Refused before its body is read, where that can be told.
    if !route.gateway.limits.is_empty() {
        // Limits that may send it elsewhere wait for its body.
        Box::pin(limit::admit_here(exchange, Stage::Head)).await?;
    }
    let may_replay = Plan::of(&route, exchange.wishes()).is_some();
    let terms = exchange.cache_terms(&route, &head.method);
    let held = held_bytes(&route, head, may_replay, terms.is_some())
        .max(credentials::signed_bytes(presented.credential.as_deref()));
    Ok(Headed {
        route,
        presented,
        terms,
        held,
    })
}

/// Learns what a request asks for, and whether its token may have that.
///
/// # Errors
/// [`Error::Forbidden`].
pub(crate) fn examine(
    proxy: &Proxy,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
) -> Result<(), Error> {
    understand(proxy, exchange, call);
    auth::may_ask_for_its_model(exchange, call)?;
    auth::has_its_price(exchange, call)
}

/// How long the request may take. `first_byte`: its own wish.
pub(crate) fn limits(route: &Route, first_byte: Option<Duration>, exchange: &Exchange) -> Limits {
    let total = route.gateway.total_timeout;
    Limits {
        first_byte,
        deadline: total.map(|total| (exchange.started() + total, total)),
    }
}

/// How much of a body is read before it is sent: to look at it, to send it again, or to find it
/// in the cache.
fn held_bytes(route: &Route, head: &Parts, may_replay: bool, is_compared: bool) -> usize {
    let looked_at = match wants_inspection(route, &head.method, &head.headers) {
        true => INSPECT_BYTES,
        false => 0,
    };
    let replayed = match may_replay {
        true => route.gateway.max_replay_bytes,
        false => 0,
    };
    let compared = match is_compared {
        true => cache::MAX_REQUEST_BYTES,
        false => 0,
    };
    looked_at.max(replayed).max(compared)
}

/// How long the answer that begins now may be silent.
fn pace(exchange: &Exchange, limits: &Limits) -> Pace {
    let route = exchange.draft().and_then(|draft| draft.route.as_ref());
    let idle = route.and_then(|route| route.timeouts().idle);
    Pace::new(idle, limits.deadline)
}

/// The answer as the client gets it, and as it is kept by its `ticket`.
pub(crate) fn reply(
    exchange: &mut Exchange,
    answer: Answer,
    mut ticket: Option<Box<Ticket>>,
    limits: &Limits,
) -> Reply {
    let Answer {
        mut response,
        edited,
    } = answer;
    let received = exchange.elapsed_us();
    exchange.answered(received, response.status(), response.headers());
    if let Some(ticket) = &mut ticket {
        ticket.sees(&response);
    }
    headers::to_client(response.headers_mut());
    let filter = (edited && is_plain_stream(&response)).then(Box::default);
    if filter.is_some() || exchange.is_bounded() {
        // It may get shorter on its way.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    if let Some(ticket) = ticket {
        response = ticket.begin(exchange, response, filter.is_some());
    }
    exchange.overhead(exchange.elapsed_us() - received);
    let pace = match response.body() {
        // It is here already: a refusal that was kept while others were asked.
        Source::Whole(_) => Pace::default(),
        Source::Http1(..) | Source::Http2(..) | Source::Cached(_) | Source::Seen { .. } => {
            pace(exchange, limits)
        }
    };
    Reply {
        response,
        filter,
        pace,
    }
}

/// Only plain requests are relayed, and only those whose bodies can be told in one way.
pub(crate) fn speaks_http(head: &Parts) -> Result<(), Error> {
    let headers = &head.headers;
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && head.version == Version::HTTP_11 {
        return Err(Error::Ambiguous("send the header 'host' once"));
    }
    if head.extensions.get::<BareLf>().is_some() {
        return Err(Error::Ambiguous(
            "end the lines of a head with CR LF, and send no other LF where requests are pipelined",
        ));
    }
    if headers::is_coded(headers) {
        return Err(Error::BodyBroken(FOREIGN_CODING.into()));
    }
    let upgrades = headers.contains_key(UPGRADE)
        && headers.get_all(UPGRADE).iter().any(|protocol| {
            protocol
                .as_bytes()
                .to_ascii_lowercase()
                .windows(9)
                .any(|word| word == b"websocket")
        });
    if upgrades {
        return Err(Error::Unsupported(
            "WebSocket connections are not relayed by this version; use the HTTP endpoints",
        ));
    }
    Ok(())
}

/// Whether frames can be taken out of the answer.
fn is_plain_stream(response: &Response<Source>) -> bool {
    let headers = response.headers();
    let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .get(..17)
            .is_some_and(|k| k.eq_ignore_ascii_case(b"text/event-stream"))
    });
    let encoded = headers
        .get(http::header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    response.status().is_success() && is_stream && !encoded
}

/// Answers a head that could not be read with a refusal: its headers, but for the framing, and its
/// body. Leaves the record of it.
pub(crate) fn refuse_head(proxy: &Proxy, error: &Error) -> (HeaderMap, Bytes) {
    let mut exchange = Exchange::begin_unread(&proxy.sink, proxy.config.get());
    let (status, mut headers, body) = error.to_answer();
    exchange.refused(error, status);
    exchange.answer_chunk(&body);
    sign(&mut headers, &exchange);
    (headers, body)
}

fn refuse(exchange: &mut Exchange, error: &Error) -> Reply {
    let (status, mut headers, body) = error.to_answer();
    if error.leaves_body() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(cause) = std::error::Error::source(error) {
        tracing::debug!(%error, %cause, "a request failed");
    }
    exchange.refused(error, status);
    let mut response = Response::new(Source::Whole(Some(body)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Reply {
        response,
        filter: None,
        pace: Pace::default(),
    }
}

/// Puts the gateway's own headers on an answer (data-plane section 25).
fn sign(headers: &mut HeaderMap, exchange: &Exchange) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("cf-aig-request-id");
    const LOG_ID: HeaderName = HeaderName::from_static("cf-aig-log-id");
    const EVENT_ID: HeaderName = HeaderName::from_static("cf-aig-event-id");
    const STEP: HeaderName = HeaderName::from_static("cf-aig-step");
    const PROVIDER: HeaderName = HeaderName::from_static("cf-aig-provider");
    const CACHE_STATUS: HeaderName = HeaderName::from_static("cf-aig-cache-status");
    const ATTEMPTS: HeaderName = HeaderName::from_static("cf-aig-attempts");
    let Some(draft) = exchange.draft() else {
        return;
    };
    // Room for all of them at once: each growth of the map would move what it holds.
    headers.reserve(7);
    let mut buffer = [0; 36];
    if let Ok(id) = HeaderValue::from_str(draft.id.encode(&mut buffer)) {
        headers.insert(
            EVENT_ID,
            draft.options.event_id.clone().unwrap_or_else(|| id.clone()),
        );
        if draft.is_collected() {
            headers.insert(LOG_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_STATUS, HeaderValue::from_static(draft.cache_status()));
    headers.insert(STEP, count(draft.step.into()));
    headers.insert(ATTEMPTS, count(draft.sends));
    let name = draft
        .route
        .as_ref()
        .and_then(|route| HeaderValue::from_str(route.target_name()).ok());
    if let Some(name) = name {
        headers.insert(PROVIDER, name);
    }
    if let Some(permit) = &draft.permit {
        limit::tell(headers, permit);
    }
}

/// A small number as a header's value.
fn count(count: u32) -> HeaderValue {
    match count {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        _ => HeaderValue::from(count),
    }
}
