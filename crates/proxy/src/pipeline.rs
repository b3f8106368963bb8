//! The life of a request, top to bottom. The order of these lines is the behavior of the product.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use isango_types::record::Attempt;
use isango_types::{Operation, Snapshot, Wire};
use isango_wire::facts::facts;
use isango_wire::filter::UsageFilter;
use isango_wire::scan::{Scan, scan};
use isango_wire::{edit, facts::Facts};

use crate::Proxy;
use crate::call::{self, CallBody, Upload};
use crate::error::Error;
use crate::exchange::{Exchange, micros, path_of};
use crate::relay::{Activity, Relay};
use crate::resolve::{self, Route};
use crate::secrets::Secrets;
use crate::serve::BareLf;
use crate::upstream::{Head, Sending, Source};
use crate::{auth, failures, headers, options};

/// How much of a refusal is looked at before it is relayed, and for how long.
const PEEK_BYTES: usize = 64 << 10;
const PEEK_TIME: Duration = Duration::from_secs(2);

/// What is wrong with a body that is more than cut into chunks on its way.
const FOREIGN_CODING: &str = "a transfer coding other than chunked";

/// An answer that is ready to be relayed.
struct Reply {
    response: Response<Source>,
    filter: Option<Box<UsageFilter>>,
}

/// Carries one request from a client's socket to a provider, and the answer back.
pub(crate) async fn handle(
    proxy: &Proxy,
    request: Request<Upload>,
    activity: Activity,
) -> Response<Relay> {
    let config = proxy.config.get();
    let mut exchange = Exchange::begin(&proxy.sink, Arc::clone(&config), &request);
    let reply = match serve(proxy, &config, &mut exchange, request, &activity).await {
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
    sign(&mut head.headers, &exchange);
    Response::from_parts(head, Relay::new(source, reply.filter, exchange, activity))
}

async fn serve(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    request: Request<Upload>,
    activity: &Activity,
) -> Result<Reply, Error> {
    let (mut head, body) = request.into_parts();
    // Where does it go, and who sent it?
    let options = options::read(&head.headers);
    let asked_timeout = options.first_byte_timeout;
    exchange.asked(options);
    let place = resolve::place(path_of(&head.uri));
    let route = Arc::new(resolve::resolve(config, place, &head.headers)?);
    exchange.routed(Arc::clone(&route), &place);
    exchange.holds(Secrets::carried(&head.headers, &route.provider));
    let caller = auth::caller(config, &route, place.account, &mut head.headers)?;
    exchange.identified(caller);
    speaks_http(&head)?;
    headers::to_upstream(&mut head.headers);
    auth::credential(&route, &mut head.headers)?;
    configured_headers(&route, &mut head.headers);
    // What does it ask for?
    let before_body = exchange.elapsed_us();
    let facts = facts(route.wire, head.method.as_str(), route.path.path());
    let mut body = call::read(
        body,
        wants_inspection(&route, &head),
        route.gateway.max_request_bytes,
        exchange.request_capture(),
        exchange.started(),
    )
    .await?;
    let waited = exchange.queued_until_now() - before_body;
    let original = understand(proxy, exchange, &route, &facts, (&mut head, &mut body));
    // Ask the provider; after the first byte there is no way back.
    exchange.overhead(exchange.elapsed_us().saturating_sub(waited));
    let sending = Head {
        https: route.https,
        authority: &route.authority,
        path: &route.path,
        method: &head.method,
        headers: &head.headers,
        trusted: route.trusted,
        first_byte_timeout: asked_timeout.or(route.gateway.first_byte_timeout),
        interim: (head.version == Version::HTTP_11).then(|| activity.interim()),
    };
    let mut response = ask(proxy, exchange, &route, &sending, &mut body).await?;
    let mut edited = original.is_some();
    if let Some(original) = original
        && matches!(response.status().as_u16(), 400 | 422)
    {
        // Rare, and so kept out of the future of every request.
        let again = ask_as_it_came(proxy, exchange, (&route, &sending), response, original);
        (response, edited) = (Box::pin(again).await?, false);
    }
    let received = exchange.elapsed_us();
    exchange.answered(received, response.status(), response.headers());
    headers::to_client(response.headers_mut());
    let filter = (edited && is_plain_stream(&response)).then(Box::default);
    if filter.is_some() {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    exchange.overhead(exchange.elapsed_us() - received);
    Ok(Reply { response, filter })
}

/// Only plain requests are relayed, and only those whose bodies can be told in one way.
fn speaks_http(head: &Parts) -> Result<(), Error> {
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
    let upgrades = headers.get_all(UPGRADE).iter().any(|protocol| {
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

/// Headers that the configuration adds for this provider.
fn configured_headers(route: &Route, headers: &mut HeaderMap) {
    for (name, secret) in &route.provider.headers {
        let name = HeaderName::try_from(&**name);
        let value = HeaderValue::try_from(secret.expose());
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

/// Whether something in the body matters before it is sent: the model, and whether it streams.
///
/// JSON is also looked for where the client says nothing, or what `curl -d` says of its own accord.
fn wants_inspection(route: &Route, head: &Parts) -> bool {
    const JSON: [&[u8]; 2] = [b"application/json", b"application/x-www-form-urlencoded"];
    let has_body = head.method == Method::POST || head.method == Method::PUT;
    let may_be_json = head.headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes();
        JSON.iter().any(|json| {
            kind.get(..json.len())
                .is_some_and(|kind| kind.eq_ignore_ascii_case(json))
        })
    });
    has_body && may_be_json && route.wire != Wire::Opaque
}

/// Learns what the request asks for, and adds `include_usage` to a stream that would not tell its
/// usage. Returns the original body when it was edited.
fn understand(
    proxy: &Proxy,
    exchange: &mut Exchange,
    route: &Route,
    facts: &Facts<'_>,
    (head, body): (&mut Parts, &mut CallBody),
) -> Option<Bytes> {
    let CallBody::Whole(whole) = body else {
        exchange.understood(facts.operation, facts.model.as_deref(), false);
        if wants_inspection(route, head) {
            exchange.remark("the body is too large to be looked at: its model is not known");
        }
        return None;
    };
    let scan = if whole.is_empty() {
        Scan::default()
    } else {
        scan(whole)
    };
    let model = facts.model.as_deref().or(scan.model.as_deref());
    let stream = facts.stream.or(scan.stream).unwrap_or(false);
    exchange.understood(facts.operation, model, scan.is_object);
    let edits = stream
        && route.wire == Wire::Openai
        && matches!(facts.operation, Operation::Chat | Operation::TextCompletion)
        && route.provider.stream_usage_option
        && scan.include_usage.is_none()
        && !scan.has_data_sources
        && takes_usage_option(route)
        && !proxy.refusals.contains(route);
    if !edits {
        return None;
    }
    let edited = edit::with_include_usage_as_scanned(whole, &scan)?;
    headers::for_edited_stream(&mut head.headers);
    Some(std::mem::replace(whole, edited.into()))
}

/// Azure `OpenAI` knows `stream_options` from the API version 2024-09-01-preview on.
/// Source: Azure OpenAI API version lifecycle page; read 2026-11-20.
fn takes_usage_option(route: &Route) -> bool {
    let query = route.path.query().unwrap_or("");
    let version = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("api-version="));
    match version.and_then(|version| version.get(..10)) {
        Some(date) if date.as_bytes()[4] == b'-' => date >= "2024-09-01",
        Some(_) | None => true,
    }
}

async fn ask(
    proxy: &Proxy,
    exchange: &mut Exchange,
    route: &Route,
    head: &Head<'_>,
    body: &mut CallBody,
) -> Result<Response<Source>, Error> {
    let started_us = exchange.elapsed_us();
    exchange.attempting(started_us);
    let mut sending = Sending::default();
    let answer = proxy.upstream.send(head, body, &mut sending).await;
    let answer = answer.and_then(|answer| match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Err(Error::BadAnswer("101 was not asked for".into())),
        _ if headers::is_coded(answer.headers()) => Err(Error::BadAnswer(FOREIGN_CODING.into())),
        _ => Ok(answer),
    });
    let failed = answer.as_ref().err();
    failed.inspect(|error| proxy.failures.tell(route.target_name(), error));
    exchange.attempted(Attempt {
        target: route.target_name().into(),
        status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
        error: failed.and_then(Error::attempt_word).map(Into::into),
        cause: failed.and_then(failures::cause),
        started_us,
        connect_us: micros(sending.connect),
        ttfb_us: answer.is_ok().then(|| exchange.elapsed_us() - started_us),
        reused: sending.reused,
    });
    answer
}

/// Sends an edited request again as it came, if `refused` is a refusal of the edit; else gives
/// `refused` back.
async fn ask_as_it_came(
    proxy: &Proxy,
    exchange: &mut Exchange,
    (route, head): (&Route, &Head<'_>),
    refused: Response<Source>,
    original: Bytes,
) -> Result<Response<Source>, Error> {
    let (refused, is_refusal) = refuses_usage_option(refused).await;
    if !is_refusal {
        return Ok(refused);
    }
    proxy.refusals.remember(route);
    exchange.remark("the provider refused `stream_options`; sent again without it");
    let mut headers = head.headers.clone();
    headers.remove(CONTENT_LENGTH);
    let head = Head {
        headers: &headers,
        ..*head
    };
    ask(
        proxy,
        exchange,
        route,
        &head,
        &mut CallBody::Whole(original),
    )
    .await
}

/// Whether a refusal is about the `stream_options` that the gateway added. Its beginning is read
/// for that; the answer comes back as it was.
async fn refuses_usage_option(response: Response<Source>) -> (Response<Source>, bool) {
    let (head, source) = response.into_parts();
    let (seen, source) = source.peek(PEEK_BYTES, PEEK_TIME).await;
    let refused = memchr::memmem::find(&seen, b"stream_options").is_some();
    (Response::from_parts(head, source), refused)
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
    }
}

/// Puts the gateway's own headers on an answer (data-plane section 25).
fn sign(headers: &mut HeaderMap, exchange: &Exchange) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("cf-aig-request-id");
    const LOG_ID: HeaderName = HeaderName::from_static("cf-aig-log-id");
    const EVENT_ID: HeaderName = HeaderName::from_static("cf-aig-event-id");
    const STEP: HeaderName = HeaderName::from_static("cf-aig-step");
    const PROVIDER: HeaderName = HeaderName::from_static("cf-aig-provider");
    const ATTEMPTS: HeaderName = HeaderName::from_static("cf-aig-attempts");
    let Some(draft) = exchange.draft() else {
        return;
    };
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
    headers.insert(STEP, HeaderValue::from_static("0"));
    headers.insert(ATTEMPTS, count(draft.attempts.len()));
    let name = draft
        .route
        .as_ref()
        .and_then(|route| HeaderValue::from_str(route.target_name()).ok());
    if let Some(name) = name {
        headers.insert(PROVIDER, name);
    }
}

/// A small number as a header's value.
fn count(count: usize) -> HeaderValue {
    match count {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        _ => HeaderValue::from(count),
    }
}

/// Endpoints that refused `stream_options` once; they are not asked again while the process runs.
#[derive(Debug, Default)]
pub(crate) struct Refusals(parking_lot::RwLock<std::collections::HashSet<u64>>);

impl Refusals {
    /// Endpoints that are remembered at most.
    const LIMIT: usize = 1_024;

    fn key(route: &Route) -> u64 {
        let mut hasher =
            std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        route.authority.as_str().hash(&mut hasher);
        route.path.as_str().hash(&mut hasher);
        hasher.finish()
    }

    fn contains(&self, route: &Route) -> bool {
        let refusals = self.0.read();
        !refusals.is_empty() && refusals.contains(&Self::key(route))
    }

    fn remember(&self, route: &Route) {
        let mut refusals = self.0.write();
        if refusals.len() < Self::LIMIT {
            refusals.insert(Self::key(route));
        }
    }
}
