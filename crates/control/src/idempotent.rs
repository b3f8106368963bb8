//! `Idempotency-Key`: a POST that is sent again with the key and the body of one before is answered
//! as that one was, and done once.
//!
//! What was answered is kept in memory, for the one who asked, for a day: it may hold a token that is
//! told once. A restart forgets it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use isango_types::Timestamp;
use parking_lot::Mutex;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use crate::Control;
use crate::auth::Caller;
use crate::body::{MAX_BYTES, in_time};
use crate::error::Failure;

/// Where the key is.
const KEY: &str = "idempotency-key";
/// Tells that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// How long a key is known.
const LASTS: Duration = Duration::from_secs(86_400);
/// Keys that are known at most; the oldest makes room.
const MAX_KEYS: usize = 10_000;
/// Bytes of all answers that are kept; the oldest make room.
const MAX_KEPT: usize = 16 << 20;
/// Largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// What is known of keys.
#[derive(Default)]
pub(crate) struct Known(Mutex<Table>);

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

/// Whose key it is, where, and which: a digest.
type Id = [u8; 32];

#[derive(Default)]
struct Table {
    held: HashMap<Id, Held>,
    /// By age; some may be gone already.
    order: VecDeque<(Timestamp, Id)>,
    bytes: usize,
}

struct Held {
    since: Timestamp,
    body: [u8; 32],
    state: Fate,
}

/// What is known of a request.
enum Fate {
    UnderWay,
    /// Nobody knows how far it came.
    CutOff,
    /// It was done; its answer is too large to be told again.
    Done,
    Answered(Answered),
}

#[derive(Clone)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What a request with a key is.
enum Turn {
    First,
    Again(Answered),
    Refused(Failure),
}

impl Table {
    fn begin(&mut self, id: Id, body: [u8; 32], now: Timestamp) -> Turn {
        self.expire(now);
        match self.held.get(&id) {
            None => {}
            Some(held) if held.body != body => return Turn::Refused(Failure::other_body()),
            Some(held) => match &held.state {
                Fate::Answered(answered) => return Turn::Again(answered.clone()),
                Fate::UnderWay => {
                    let message = "a request with this key is under way; wait for its answer";
                    return Turn::Refused(Failure::same_key(message));
                }
                Fate::CutOff => {
                    let message = "the request with this key was cut off: look whether it was \
                                   done, then use another key";
                    return Turn::Refused(Failure::same_key(message));
                }
                Fate::Done => {
                    let message = "the request with this key was done; its answer is too large \
                                   to be told again";
                    return Turn::Refused(Failure::same_key(message));
                }
            },
        }
        let held = Held {
            since: now,
            body,
            state: Fate::UnderWay,
        };
        self.held.insert(id, held);
        self.order.push_back((now, id));
        Turn::First
    }

    /// What became of a request; `None`: nothing was done, and its key is free again.
    fn end(&mut self, id: &Id, state: Option<Fate>) {
        let Some(state) = state else {
            self.remove(id);
            return;
        };
        if let Fate::Answered(answered) = &state {
            self.bytes += answered.body.len();
        }
        if let Some(held) = self.held.get_mut(id) {
            held.state = state;
        }
        while self.bytes > MAX_KEPT
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.remove(&oldest);
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((since, id)) = self.order.front().copied() {
            if since.plus(LASTS) > now && self.held.len() < MAX_KEYS {
                return;
            }
            self.order.pop_front();
            // The same key may have been used again since.
            if self.held.get(&id).is_some_and(|held| held.since == since) {
                self.remove(&id);
            }
        }
    }

    fn remove(&mut self, id: &Id) {
        if let Some(Held {
            state: Fate::Answered(answered),
            ..
        }) = self.held.remove(id)
        {
            self.bytes -= answered.body.len();
        }
    }
}

/// A request that is being done. Where its client leaves before the answer, its key says so.
struct Doing {
    control: Control,
    id: Id,
    is_over: bool,
}

impl Doing {
    fn end(mut self, state: Option<Fate>) {
        self.is_over = true;
        self.control.known.0.lock().end(&self.id, state);
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if !self.is_over {
            let cut = Some(Fate::CutOff);
            self.control.known.0.lock().end(&self.id, cut);
        }
    }
}

/// Whether a POST at this path takes a key. Questions change nothing, and what is tried is streamed.
fn takes_key(path: &str) -> bool {
    let is_question = crate::auth::QUESTIONS
        .iter()
        .any(|question| path.ends_with(&format!("/isango/{question}")));
    !is_question && !path.ends_with("/try") && !path.ends_with("/backtest")
}

/// Does a POST with a key once.
pub(crate) async fn once(
    State(control): State<Control>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let has_key = request.method() == Method::POST && request.headers().contains_key(KEY);
    if !has_key {
        return next.run(request).await;
    }
    match with_key(control, &caller, request, next).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn with_key(
    control: Control,
    caller: &Caller,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if !takes_key(path) {
        let message = "this path takes no `Idempotency-Key`";
        return Err(Failure::bad_request(message));
    }
    let key = head.headers.get(KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| {
        (1..=MAX_KEY).contains(&key.len()) && key.iter().all(|byte| (0x20..0x7f).contains(byte))
    });
    let key = key.ok_or_else(|| {
        let message = format!("`Idempotency-Key` has 1 to {MAX_KEY} printable characters");
        Failure::bad_request(message)
    })?;
    let id = id(&[caller.name().as_bytes(), path.as_bytes(), key]);
    let body = in_time(to_bytes(body, MAX_BYTES)).await?;
    let body = body.map_err(|_too_large| Failure::too_large(MAX_BYTES))?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, &body).as_ref());
    let now = control.clock.now();
    let turn = control.known.0.lock().begin(id, sha256, now);
    match turn {
        Turn::Refused(refused) => return Err(refused),
        Turn::Again(answered) => return Ok(again(answered)),
        Turn::First => {}
    }
    let doing = Doing {
        control,
        id,
        is_over: false,
    };
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    Ok(kept(doing, response).await)
}

/// Keeps the answer of what was done.
async fn kept(doing: Doing, response: Response) -> Response {
    if !response.status().is_success() {
        doing.end(None);
        return response;
    }
    let is_small = response
        .body()
        .size_hint()
        .upper()
        .is_some_and(|most| most <= MAX_ANSWER as u64);
    if !is_small {
        doing.end(Some(Fate::Done));
        return response;
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
    let named = [CONTENT_TYPE, ETAG];
    let named = named
        .into_iter()
        .filter_map(|name| Some((name.clone(), head.headers.get(&name)?.clone())));
    doing.end(Some(Fate::Answered(Answered {
        status: head.status,
        headers: named.collect(),
        body: body.clone(),
    })));
    Response::from_parts(head, Body::from(body))
}

fn again(answered: Answered) -> Response {
    let mut headers = answered.headers;
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    (answered.status, headers, answered.body).into_response()
}

/// A digest of parts, each with its length, so that no two lists are spelled alike.
fn id(parts: &[&[u8]]) -> Id {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut id = [0; 32];
    id.copy_from_slice(context.finish().as_ref());
    id
}

/// Says of every POST that takes a key that it does.
pub(crate) fn describe(api: &mut OpenApi) {
    for (path, item) in &mut api.paths.paths {
        let is_of_account = path.starts_with("/client/v4/accounts/");
        if let Some(post) = item
            .post
            .as_mut()
            .filter(|_| is_of_account && takes_key(path))
        {
            post.parameters
                .get_or_insert_default()
                .push(RefOr::T(parameter()));
        }
    }
}

fn parameter() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_KEY));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Any text that stands for this request: sent again with the same body within a day, it \
             is answered as the first time, and done once.",
        ))
        .schema(Some(text))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

    fn number(n: usize) -> Id {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        id
    }

    fn answer(bytes: usize) -> Option<Fate> {
        Some(Fate::Answered(Answered {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![b'x'; bytes].into(),
        }))
    }

    fn is_first(turn: &Turn) -> bool {
        matches!(turn, Turn::First)
    }

    #[test]
    fn keys_and_bytes_are_bounded() {
        let mut table = Table::default();
        for n in 0..MAX_KEYS + 5 {
            assert!(is_first(&table.begin(number(n), [0; 32], NOW)));
        }
        assert_eq!(table.held.len(), MAX_KEYS);
        assert!(!table.held.contains_key(&number(0)));
        let mut table = Table::default();
        for n in 0..100 {
            table.begin(number(n), [0; 32], NOW);
            table.end(&number(n), answer(MAX_ANSWER));
            assert!(table.bytes <= MAX_KEPT);
        }
        assert_eq!(table.held.len(), MAX_KEPT / MAX_ANSWER);
        assert!(is_first(&table.begin(number(0), [0; 32], NOW)));
        assert!(!is_first(&table.begin(number(99), [0; 32], NOW)));
    }

    #[test]
    fn a_key_is_known_for_a_day_and_free_where_nothing_was_done() {
        let mut table = Table::default();
        let mut begin = |n: usize, at: Timestamp, end: Option<Option<Fate>>| {
            let is_first = is_first(&table.begin(number(n), [0; 32], at));
            if let Some(end) = end {
                table.end(&number(n), end);
            }
            is_first
        };
        let day = NOW.plus(LASTS);
        assert!(begin(1, NOW, Some(answer(1))));
        assert!(!begin(1, day.minus(Duration::from_micros(1)), None));
        assert!(begin(1, day, Some(None)));
        assert!(begin(1, day, None));
        assert!(!begin(1, day, None));
    }
}
