//! From a request to its answer: reads it, checks it as the provider would, has the content made
//! up, and sends it with the faults that were asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use parking_lot::Mutex;
use serde::Deserialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::body::{self, Body, Content, Plan, Severed};
use crate::faults::{Ending, FaultError, Faults, Position};
use crate::json::{self, Object};
use crate::refusal::Refusal;
use crate::route::{self, Operation, Provider, Route};
use crate::script::{Script, Spelling};
use crate::stats::{Line, Ticket};
use crate::{anthropic, azure, gemini, openai, page};

/// 2026-01-01T00:00:00Z, the moment at which every answer was created.
const EPOCH_SECONDS: u64 = 1_767_225_600;
/// Answers kept for equal requests, and the largest one kept.
const MEMO_ENTRIES: usize = 512;
const MEMO_BYTES: usize = 256 * 1_024;
/// Keys whose requests are counted; past it all counts begin anew.
const COUNTED_KEYS: usize = 10_000;

/// How a simulator behaves where a request does not say.
#[derive(Clone)]
pub struct Options {
    /// Tokens per second of a stream; 0 is as fast as it goes. Default 50.
    pub pace: f64,
    /// From the head of a streamed answer to its first token. Default 300 ms.
    pub ttft: Duration,
    /// Before the head of every answer. Default 0.
    pub latency: Duration,
    /// Changes every made-up word and id. Default 0.
    pub seed: u64,
    /// Keys that are accepted; empty (the default) accepts any that is not empty.
    pub keys: Vec<String>,
    /// Whether `created` is the present time instead of 2026-01-01. Default false.
    pub real_time: bool,
    /// Connections served at a time; others wait to be accepted. Default 16 384.
    pub max_connections: usize,
    /// Largest request body that is read into memory; larger ones get 413. Uploads that are only
    /// counted have no limit. Default 64 MiB.
    pub max_body_bytes: usize,
    /// How long running answers may take once a shutdown began. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pace: 50.0,
            ttft: Duration::from_millis(300),
            latency: Duration::ZERO,
            seed: 0,
            keys: Vec::new(),
            real_time: false,
            max_connections: 16_384,
            max_body_bytes: 64 * 1_024 * 1_024,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pace", &self.pace)
            .field("ttft", &self.ttft)
            .field("latency", &self.latency)
            .field("seed", &self.seed)
            .field("keys", &self.keys.len())
            .field("real_time", &self.real_time)
            .field("max_connections", &self.max_connections)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish()
    }
}

/// A request to a provider's surface, ready to be answered.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) query: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// Bytes of the body, also where they were not kept.
    pub(crate) length: u64,
    pub(crate) seed: u64,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) tokens: Option<u64>,
    pub(crate) spelling: Spelling,
}

impl<'a> Asked<'a> {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or a field has the wrong type.
    pub(crate) fn parse<T: Deserialize<'a>>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(self.body)
            .map_err(|error| Refusal::bad(format!("the body is not the JSON expected: {error}")))
    }

    /// The value of a query key, as it stands.
    pub(crate) fn query(&self, key: &str) -> Option<&'a str> {
        query(self.query, key)
    }
}

fn query<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    let pairs = query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// An answer before delivery.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
}

impl Answer {
    pub(crate) fn json(json: impl Into<Bytes>) -> Self {
        Self::whole("application/json", json)
    }

    pub(crate) fn whole(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            content: Content::Whole(bytes.into()),
        }
    }

    pub(crate) const fn events(script: Script) -> Self {
        let content_type = "text/event-stream; charset=utf-8";
        Self {
            status: StatusCode::OK,
            content_type,
            content: Content::Stream(script),
        }
    }

    const fn size(&self) -> usize {
        match &self.content {
            Content::Whole(bytes) => bytes.len(),
            Content::Stream(script) => script.bytes.len(),
            Content::Pattern(_) => 0,
        }
    }
}

/// A request's body: its size and hash, and its bytes where an answer needs them.
struct Received {
    bytes: Bytes,
    length: u64,
    hash: u64,
}

/// What equal answers have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct MemoKey {
    provider: Provider,
    target: u64,
    body: u64,
    length: u64,
    tokens: Option<u64>,
    spelling: Spelling,
}

/// The state that connections share.
pub(crate) struct App {
    options: Options,
    memo: Mutex<HashMap<MemoKey, Answer>>,
    counts: Mutex<HashMap<String, u64>>,
}

impl App {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            memo: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The connection is to end without an answer, or its peer is gone.
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        line: Arc<Line>,
    ) -> Result<Response<Body>, Severed> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let route = route::find(path, head.headers.contains_key("anthropic-version"));
        let faults = Faults::read(&head.headers, head.uri.query());
        let undisturbed = faults.as_ref().is_ok_and(|faults| !faults.echo);
        if let Some(answer) = own_page(&head, &line).filter(|_| undisturbed) {
            let ticket = Ticket::begin(line);
            return Ok(deliver(answer, Plan::default(), ticket, &head.method));
        }
        line.stats
            .asked(route.map(|route| (route.provider, route.operation)));
        let mut ticket = Ticket::begin(line);
        let mut faults = match faults {
            Ok(faults) => faults,
            Err(error) => {
                return Ok(deliver(
                    not_a_fault(&error),
                    Plan::default(),
                    ticket,
                    &head.method,
                ));
            }
        };
        if let Some(after) = faults.close {
            ticket.close_after(after);
        }
        self.count(&mut faults);
        let keep = keeps_body(route, &faults).then_some(self.options.max_body_bytes);
        let received = receive(body, keep).await?;
        if let Some(received) = &received {
            ticket.stats().received(received.length);
        }
        pause(self.options.latency + faults.latency).await;
        if let Some(ending) = faults.reset {
            if ending == Ending::Reset {
                ticket.line().reset();
            }
            ticket.sever();
            return Err(Severed);
        }
        Ok(self.respond(&head, route, received, (&faults, ticket)))
    }

    fn respond(
        &self,
        head: &Parts,
        route: Option<Route<'_>>,
        received: Option<Received>,
        (faults, ticket): (&Faults, Ticket),
    ) -> Response<Body> {
        let provider = route.map_or_else(|| guess(head), |route| route.provider);
        let seed = received.as_ref().map_or(0, |received| received.hash) ^ self.options.seed;
        let answer = match received {
            Some(received) => self.answer(head, route, &received, faults),
            None => Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body has more than {} bytes",
                    self.options.max_body_bytes
                ),
            )),
        };
        let refused = answer.is_err();
        let mut answer = answer.unwrap_or_else(|refusal| {
            let body = refusal.body(provider, &request_id(provider, seed));
            Answer {
                status: refusal.status,
                ..Answer::json(body)
            }
        });
        let mut headers = HeaderMap::new();
        if faults.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            if let Content::Whole(bytes) = &answer.content {
                answer.content = Content::Whole(body::gzip(bytes));
            }
        }
        decorate(&mut headers, provider, seed, &answer);
        if refused {
            insert(&mut headers, "retry-after", faults.retry_after.clone());
            insert(
                &mut headers,
                "retry-after-ms",
                faults.retry_after_ms.clone(),
            );
        }
        let plan = self.plan(faults, &answer.content);
        let mut response = deliver(answer, plan, ticket, &head.method);
        response.headers_mut().extend(headers);
        response
    }

    /// The answer's content.
    ///
    /// # Errors
    /// A fault asks for a refusal, or the provider would refuse as well.
    fn answer(
        &self,
        head: &Parts,
        route: Option<Route<'_>>,
        received: &Received,
        faults: &Faults,
    ) -> Result<Answer, Refusal> {
        if let Some(status) = faults.status {
            return Err(Refusal::simulated(status));
        }
        if faults.echo {
            return Ok(echo(head, received));
        }
        if let Some(length) = faults.body_bytes {
            let content_type = "application/octet-stream";
            let content = Content::Pattern(length);
            return Ok(Answer {
                status: StatusCode::OK,
                content_type,
                content,
            });
        }
        let Some(route) = route else {
            let message = format!(
                "there is nothing at {}; GET / lists what is",
                head.uri.path()
            );
            return Err(Refusal::new(StatusCode::NOT_FOUND, message).coded("404"));
        };
        if !route.operation.allows(&head.method) {
            let message = format!("{} is not possible here", head.method);
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        self.authorize(head, route.provider)?;
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let key = MemoKey {
            provider: route.provider,
            target: xxh3_64(target.as_bytes()),
            body: received.hash,
            length: received.length,
            tokens: faults.tokens,
            spelling: faults.spelling,
        };
        if let Some(answer) = self.memo.lock().get(&key) {
            return Ok(answer.clone());
        }
        let asked = Asked {
            route,
            query: head.uri.query(),
            body: &received.bytes,
            length: received.length,
            seed: received.hash ^ self.options.seed,
            created: self.created(),
            tokens: faults.tokens,
            spelling: faults.spelling,
        };
        let answer = content(&asked, &head.headers)?;
        if !self.options.real_time && answer.size() <= MEMO_BYTES {
            let mut memo = self.memo.lock();
            if memo.len() >= MEMO_ENTRIES {
                memo.clear();
            }
            memo.insert(key, answer.clone());
        }
        Ok(answer)
    }

    fn authorize(&self, head: &Parts, provider: Provider) -> Result<(), Refusal> {
        let key = credential(provider, head).filter(|key| !key.is_empty());
        let known = |key: &str| {
            self.options.keys.is_empty() || self.options.keys.iter().any(|known| known == key)
        };
        match key {
            Some(key) if known(key) => Ok(()),
            Some(_) => Err(unauthorized(
                provider,
                "the key is not one the simulator accepts",
            )),
            None => Err(unauthorized(provider, "the request carries no key")),
        }
    }

    fn created(&self) -> u64 {
        if !self.options.real_time {
            return EPOCH_SECONDS;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the crate knows no Clock; only on request"
        )]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(EPOCH_SECONDS, |since| since.as_secs())
    }

    /// Lets counted faults strike or spare this request.
    fn count(&self, faults: &mut Faults) {
        let Some(key) = &faults.key else { return };
        if faults.fail_first.is_none() && faults.fail_rate.is_none() {
            return;
        }
        let nth = {
            let mut counts = self.counts.lock();
            if counts.len() >= COUNTED_KEYS && !counts.contains_key(key) {
                counts.clear();
            }
            let nth = counts.entry(key.clone()).or_default();
            *nth += 1;
            *nth
        };
        if faults.strikes(nth) {
            faults.strike()
        } else {
            faults.spare()
        }
    }

    fn plan(&self, faults: &Faults, content: &Content) -> Plan {
        let is_stream = matches!(content, Content::Stream(_));
        let (ttft, pace) = match is_stream {
            true => (
                faults.ttft.unwrap_or(self.options.ttft),
                faults.pace.unwrap_or(self.options.pace),
            ),
            false => (Duration::ZERO, 0.0),
        };
        Plan {
            first: faults.first_byte_delay + ttft,
            per_step: if pace > 0.0 {
                Duration::from_secs_f64(1.0 / pace)
            } else {
                Duration::ZERO
            },
            piece: faults.piece.map(std::num::NonZeroUsize::get),
            stall: faults
                .stall_after
                .and_then(|position| place(position, content))
                .map(|at| (at, faults.stall())),
            cut: faults
                .cut
                .and_then(|(position, _)| place(position, content)),
            reset: faults
                .cut
                .is_some_and(|(_, ending)| ending == Ending::Reset),
            gzip: faults.gzip && !matches!(content, Content::Whole(_)),
        }
    }
}

/// Where `position` lies in the bytes of `content`; `None` past its end. The end itself counts
/// for a stream only, where the terminator is still to come.
fn place(position: Position, content: &Content) -> Option<usize> {
    let (at, past) = match (position, content) {
        (Position::Events(events), Content::Stream(script)) => {
            (script.end_of(events)?, script.bytes.len() + 1)
        }
        (Position::Bytes(at), Content::Stream(script)) => (at, script.bytes.len() + 1),
        (Position::Events(at) | Position::Bytes(at), Content::Whole(bytes)) => (at, bytes.len()),
        (Position::Events(at) | Position::Bytes(at), Content::Pattern(length)) => (at, *length),
    };
    (at < past).then_some(at)
}

fn content(asked: &Asked<'_>, headers: &HeaderMap) -> Result<Answer, Refusal> {
    match asked.route.provider {
        Provider::OpenAi => openai::answer(asked),
        Provider::Azure => azure::answer(asked),
        Provider::Anthropic => anthropic::answer(asked, headers),
        Provider::Gemini => gemini::answer(asked),
    }
}

/// A page of the simulator itself.
fn own_page(head: &Parts, line: &Line) -> Option<Answer> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    match head.uri.path() {
        "/" => {
            let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
            let host = named.or_else(|| head.uri.authority().map(|host| host.as_str()));
            let page = page::index(host.unwrap_or("127.0.0.1:8790"));
            Some(Answer::whole("text/plain; charset=utf-8", page))
        }
        "/healthz" => Some(Answer::whole("text/plain; charset=utf-8", "ok\n")),
        "/sim/stats" => Some(Answer::json(line.stats.to_json())),
        _ => None,
    }
}

fn not_a_fault(error: &FaultError) -> Answer {
    let error = Object::new()
        .text("message", &error.to_string())
        .text("type", "simulator")
        .null("param")
        .text("code", "invalid_fault");
    let body = Object::new().object("error", error).build();
    Answer {
        status: StatusCode::BAD_REQUEST,
        ..Answer::json(body)
    }
}

/// Whether the answer depends on more of the body than its hash.
fn keeps_body(route: Option<Route<'_>>, faults: &Faults) -> bool {
    let reads = route.is_some_and(|route| route.operation != Operation::Transcriptions);
    reads && faults.status.is_none() && !faults.echo && faults.body_bytes.is_none()
}

/// Reads a body to its end; `None` when it is larger than `keep`, the most that may be held.
/// Without `keep` nothing is held.
async fn receive(mut body: Incoming, keep: Option<usize>) -> Result<Option<Received>, Severed> {
    let first = next_data(&mut body).await?.unwrap_or_default();
    if body.is_end_stream() {
        let (length, hash) = (first.len() as u64, xxh3_64(&first));
        let fits = keep.is_none_or(|most| first.len() <= most);
        return Ok(fits.then_some(Received {
            bytes: first,
            length,
            hash,
        }));
    }
    let mut hasher = Box::new(Xxh3::new());
    let (mut held, mut length) = (BytesMut::new(), 0);
    let mut next = Some(first);
    while let Some(data) = next {
        length += data.len() as u64;
        hasher.update(&data);
        if let Some(most) = keep {
            if held.len() + data.len() > most {
                return Ok(None);
            }
            held.extend_from_slice(&data);
        }
        next = next_data(&mut body).await?;
    }
    Ok(Some(Received {
        bytes: held.freeze(),
        length,
        hash: hasher.digest(),
    }))
}

/// The next piece of a body; an error means that the peer is gone.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Severed> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Err(_) => return Err(Severed),
        }
    }
    Ok(None)
}

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

fn credential(provider: Provider, head: &Parts) -> Option<&str> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || {
        let (scheme, key) = header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    match provider {
        Provider::OpenAi => bearer(),
        Provider::Azure => header("api-key").or_else(bearer),
        Provider::Anthropic => header("x-api-key")
            .or_else(bearer)
            .or_else(|| header("api-key")),
        Provider::Gemini => header("x-goog-api-key")
            .or_else(|| query(head.uri.query(), "key"))
            .or_else(bearer),
    }
}

/// Google refuses callers without a key with 403, the others with 401.
fn unauthorized(provider: Provider, reason: &str) -> Refusal {
    let (status, headers) = match provider {
        Provider::OpenAi => (StatusCode::UNAUTHORIZED, "authorization: Bearer"),
        Provider::Azure => (
            StatusCode::UNAUTHORIZED,
            "api-key, or authorization: Bearer",
        ),
        Provider::Anthropic => (
            StatusCode::UNAUTHORIZED,
            "x-api-key, or authorization: Bearer",
        ),
        Provider::Gemini => (StatusCode::FORBIDDEN, "x-goog-api-key, or ?key="),
    };
    Refusal::new(status, format!("{reason}; it belongs in {headers}"))
}

/// Whose manners an unknown path is refused with.
fn guess(head: &Parts) -> Provider {
    let path = head.uri.path();
    if head.headers.contains_key("anthropic-version") {
        Provider::Anthropic
    } else if path.contains("/v1beta/") {
        Provider::Gemini
    } else if head.headers.contains_key("api-key") || path.contains("/openai/deployments/") {
        Provider::Azure
    } else {
        Provider::OpenAi
    }
}

fn request_id(provider: Provider, seed: u64) -> String {
    match provider {
        Provider::OpenAi => format!("req_{seed:016x}{:016x}", seed.rotate_left(29)),
        Provider::Anthropic => crate::text::id("req_01", seed, 22),
        Provider::Azure | Provider::Gemini => crate::text::uuid(seed),
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// Headers that the provider adds to every answer.
fn decorate(headers: &mut HeaderMap, provider: Provider, seed: u64, answer: &Answer) {
    let id = HeaderValue::try_from(request_id(provider, seed)).ok();
    let left = HeaderValue::from(9_000 + seed % 999);
    match provider {
        Provider::OpenAi => {
            insert(headers, "x-request-id", id);
            headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            headers.insert("openai-organization", HeaderValue::from_static("simulator"));
            headers.insert("openai-processing-ms", HeaderValue::from(20 + seed % 180));
            headers.insert("x-ratelimit-limit-requests", HeaderValue::from(10_000));
            headers.insert("x-ratelimit-remaining-requests", left);
        }
        Provider::Azure => azure::headers(headers, id, left),
        Provider::Anthropic => {
            insert(headers, "request-id", id);
            headers.insert(
                "anthropic-ratelimit-requests-limit",
                HeaderValue::from(10_000),
            );
            headers.insert("anthropic-ratelimit-requests-remaining", left);
        }
        Provider::Gemini => {
            headers.insert(
                "server-timing",
                HeaderValue::from_static("gfet4t7; dur=120"),
            );
        }
    }
    if matches!(answer.content, Content::Stream(_)) {
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    }
}

fn deliver(answer: Answer, plan: Plan, ticket: Ticket, method: &Method) -> Response<Body> {
    let length = match &answer.content {
        Content::Whole(bytes) => Some(bytes.len()),
        Content::Pattern(length) if !plan.gzip => Some(*length),
        Content::Pattern(_) | Content::Stream(_) => None,
    };
    let head = *method == Method::HEAD;
    let body = if head {
        Body::empty(ticket)
    } else {
        Body::new(answer.content, plan, ticket)
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// What arrived, as JSON.
fn echo(head: &Parts, received: &Received) -> Answer {
    let headers = head.headers.iter().map(|(name, value)| {
        let mut pair = vec![b'['];
        json::escape(&mut pair, name.as_str());
        pair.push(b',');
        json::escape(&mut pair, &String::from_utf8_lossy(value.as_bytes()));
        pair.push(b']');
        pair
    });
    let body = Object::new()
        .number("bytes", received.length)
        .text("xxh3", &format!("{:016x}", received.hash));
    let echo = Object::new()
        .text("method", head.method.as_str())
        .text("path", head.uri.path())
        .maybe("query", head.uri.query())
        .text("version", &format!("{:?}", head.version))
        .raw("headers", json::join(headers))
        .object("body", body);
    Answer::json(echo.build())
}
