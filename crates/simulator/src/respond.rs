//! From a request to its answer: reads it, checks it as the provider would, has the content made
//! up, and sends it with the faults that were asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::asked::{Answer, Asked};
use crate::body::{self, Body, Content, Plan, Severed};
use crate::faults::{Ending, FaultError, Faults, Position};
use crate::json::{self, Object};
use crate::options::Options;
use crate::receive::{Received, receive};
use crate::refusal::Refusal;
use crate::route::{self, Operation, Provider, Route};
use crate::script::Spelling;
use crate::stats::{Line, Ticket};
use crate::{anthropic, azure, gemini, manners, openai, page};

/// 2026-01-01T00:00:00Z, the moment at which every answer was created.
const EPOCH_SECONDS: u64 = 1_767_225_600;
/// Answers kept for equal requests, and the largest one kept.
const MEMO_ENTRIES: usize = 512;
const MEMO_BYTES: usize = 256 * 1_024;
/// The longest time from one token to the next.
const SLOWEST: Duration = Duration::from_secs(600);
/// Keys whose requests are counted; past it all counts begin anew.
const COUNTED_KEYS: usize = 10_000;

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
        let faults = Faults::read(&head.headers, head.uri.query()).map(|faults| faults.at(path));
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
        let provider = route.map_or_else(|| manners::guess(head), |route| route.provider);
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
            let body = refusal.body(provider, &manners::request_id(provider, seed));
            Answer {
                status: refusal.status,
                ..Answer::json(body)
            }
        });
        if faults.gzip
            && let Content::Whole(bytes) = &answer.content
        {
            answer.content = Content::Whole(body::gzip(bytes));
        }
        let streams = matches!(answer.content, Content::Stream(_));
        let plan = self.plan(faults, &answer.content);
        let mut response = deliver(answer, plan, ticket, &head.method);
        let headers = response.headers_mut();
        manners::decorate(headers, provider, seed, streams);
        if faults.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if refused {
            manners::insert(headers, "retry-after", faults.retry_after.clone());
            manners::insert(headers, "retry-after-ms", faults.retry_after_ms.clone());
        }
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
        manners::versioned(route.provider, head)?;
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
        let answer = content(&asked)?;
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
        let key = manners::credential(provider, head).filter(|key| !key.is_empty());
        let known = |key: &str| {
            self.options.keys.is_empty() || self.options.keys.iter().any(|known| known == key)
        };
        match key {
            Some(key) if known(key) => Ok(()),
            Some(_) => Err(manners::unauthorized(
                provider,
                "the key is not one the simulator accepts",
            )),
            None => Err(manners::unauthorized(
                provider,
                "the request carries no key",
            )),
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
            per_step: step(pace),
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

/// The time of one token at `pace`.
fn step(pace: f64) -> Duration {
    if pace > 0.0 {
        Duration::try_from_secs_f64(1.0 / pace).map_or(SLOWEST, |step| step.min(SLOWEST))
    } else {
        Duration::ZERO
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

fn content(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    match asked.route.provider {
        Provider::OpenAi => openai::answer(asked),
        Provider::Azure => azure::answer(asked),
        Provider::Anthropic => anthropic::answer(asked),
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

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
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
