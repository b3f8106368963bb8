//! What would become of a request, and what the cache has for it: asked of the data plane, which
//! sends nothing for it, draws nothing and records nothing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, Request};
use isango_store::cache::Key;
use isango_types::rehearsal::{CacheLook, KeptAnswer, Rehearsal};
use isango_types::{Record, RecordId, Token};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::body::{self, Large};
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::requests::{self, RequestPath};
use crate::trial::{self, Trial};
use crate::{Control, logs, reading};

/// What the data plane says to a request.
pub type Rehearsed = Pin<Box<dyn Future<Output = Rehearsal> + Send>>;

/// Asks the data plane what would become of a request: as that of a token, or as its headers say.
pub type Rehearse = dyn Fn(Request<Bytes>, Option<Arc<Token>>) -> Rehearsed + Send + Sync;

/// Header in which metadata travels.
const METADATA: &str = "cf-aig-metadata";

/// A request to look at, whole or by its record.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Question {
    /// A record of the gateway: its method, path, metadata and body stand for those that are not
    /// given. Its headers are not on record.
    record: Option<String>,
    /// `POST` where nothing else is said.
    method: Option<String>,
    /// Behind the gateway: the provider, then its path and query.
    path: Option<String>,
    /// Names and values.
    headers: BTreeMap<String, String>,
    /// As it would be sent; `application/json` unless a header says otherwise.
    body: Option<String>,
    /// Name of a token of the account, as which it is asked.
    token: Option<String>,
}

/// What would become of a request: `fate` (`sent`, `recalled`, `refused`), `refusal` (`status`,
/// `code`, `message`), `provider`, `target`, `upstream`, `operation`, `model`, `streams`, `token`,
/// `limits` (`rule`, `unit`, `bucket`, `verdict`, `limit`, `before`, `left`, `needs`, `resets_at`),
/// `targets` (`target`, `provider`, `is_equal`, `is_open`, `why`), `cache` (as `cache/explain` tells
/// it), `estimate` (tokens, and nano-dollars at most and in all likelihood), `notes`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct RehearsalView(Rehearsal);

/// What the cache has for a request: `status`, `reason`, `key`, `parts` (what makes the question, by
/// name), `ttl_s`, `kept` (`filled_by`, `stored_at`, `age_s`, `fresh_until`, `left_s`, `status`,
/// `bytes`), `stands_in`, `is_under_way`, `nearest`, `differs`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct CacheView(CacheLook);

/// What the cache did for a request of before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordCache {
    /// What its record says: `status`, `key`, `reason`, `filled_by`, `age_s`, `nearest`, `differs`,
    /// `fill`; null: nothing asked for the cache.
    #[schema(value_type = Option<Object>)]
    recorded: Value,
    /// The answer that is kept under its key now: `filled_by`, `stored_at`, `age_s`, `fresh_until`,
    /// `left_s`, `status`, `bytes`.
    #[schema(value_type = Option<Object>)]
    kept: Option<KeptAnswer>,
}

/// Ask what would become of a request
///
/// Whether it would be refused and why, what each limit says to it and leaves, who would be asked and
/// how they are, what the cache has for it, and what it would cost. Nothing is sent, drawn or
/// recorded. What a limit says is for the request alone: a request that waits for others is refused
/// here.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/simulate",
    tag = "gateways", params(GatewayPath), request_body = Question,
    responses((status = 200, body = Envelope<RehearsalView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn simulate(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    Large(members): Large,
) -> Answer<RehearsalView> {
    let rehearsal = rehearse(&control, &caller, &path, &members).await?;
    Ok(Done::new(RehearsalView(rehearsal)))
}

/// Ask what the cache has for a request
///
/// Its key and what makes it, whether an answer is kept or on its way, how old it is and for how long
/// it is fresh; or why the request cannot be answered from there.
#[utoipa::path(post,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/cache/explain",
    tag = "cache", params(GatewayPath), request_body = Question,
    responses((status = 200, body = Envelope<CacheView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn explain(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    Large(members): Large,
) -> Answer<CacheView> {
    let mut rehearsal = rehearse(&control, &caller, &path, &members).await?;
    if rehearsal.cache.reason.is_none() {
        let refusal = rehearsal.refusal.filter(|_| rehearsal.cache.key.is_none());
        let why = refusal.map(|refused| format!("it is refused before: {}", refused.message));
        rehearsal.cache.reason = why.map(Into::into);
    }
    Ok(Done::new(CacheView(rehearsal.cache)))
}

/// Ask what the cache did for a request of before
///
/// As its record says, with what is kept under its key by now.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/requests/{request_id}/cache",
    tag = "cache", params(RequestPath),
    responses((status = 200, body = Envelope<RecordCache>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn of_record(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<RequestPath>,
) -> Answer<RecordCache> {
    let record = requests::find(&control, &caller, &path).await?;
    let recorded = json!(record.cache);
    let key = record.cache.and_then(|cache| cache.key);
    let key = key.and_then(|key| key.parse::<Key>().ok());
    let kept = reading(&control, move |control| {
        let entry = key.map(|key| control.cache.get(&key)).transpose();
        let entry = entry.map_err(|error| Failure::internal(&error))?.flatten();
        let now = control.clock.now();
        Ok(entry.map(|entry| entry.kept_at(now)))
    });
    let kept = kept.await?;
    Ok(Done::new(RecordCache { recorded, kept }))
}

async fn rehearse(
    control: &Control,
    caller: &Caller,
    path: &GatewayPath,
    members: &Map<String, Value>,
) -> Result<Rehearsal, Failure> {
    let mut question: Question = body::read(members)?;
    crate::gateways::must_be(control, path)?;
    if let Some(id) = question.record.take() {
        if !caller.reads_bodies() {
            return Err(Failure::forbidden("whoever asks may not look at bodies"));
        }
        let wrong = || Failure::wrong(&["record"], "there is no such record of this gateway");
        let id: RecordId = id.parse().map_err(|_no_id| wrong())?;
        let found = reading(control, move |control| {
            control
                .logs
                .get(id)
                .map_err(|error| crate::ask::failed(&error))
        });
        let is_of = |record: &Record| {
            *record.account == *path.account_id && *record.gateway == *path.gateway_id
        };
        let record = found.await?.filter(is_of).ok_or_else(wrong)?;
        question.fill(&record);
    }
    let token = token(control, path, question.token.as_deref())?;
    let method = question.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|_no_method| Failure::wrong(&["method"], "it is no method"))?;
    let trial = Trial {
        path: question.path.unwrap_or_default(),
        headers: question.headers,
        body: question.body.unwrap_or_default(),
    };
    let request = trial::request(path, method, trial)?;
    Ok((control.rehearse)(request, token).await)
}

impl Question {
    /// Takes what is not given from a record.
    fn fill(&mut self, record: &Record) {
        self.method.get_or_insert_with(|| record.method.to_string());
        self.path.get_or_insert_with(|| path_of(record));
        if self.body.is_none() {
            self.body = logs::request_text(record);
        }
        let has_metadata = self
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case(METADATA));
        if !has_metadata && !record.metadata.is_empty() {
            let metadata = json!(record.metadata).to_string();
            self.headers.insert(METADATA.into(), metadata);
        }
    }
}

/// The path of a record behind its gateway. A path that names a target leaves out the resource that
/// one of its provider begins with.
fn path_of(record: &Record) -> String {
    let rest = &*record.path;
    let first = rest.split('/').next().unwrap_or_default();
    let names_target = record
        .resource
        .as_ref()
        .is_some_and(|resource| !resource.eq_ignore_ascii_case(first));
    let named = record.target.as_deref().filter(|_| names_target);
    let named = named.or(record.provider.as_deref()).unwrap_or_default();
    format!("{named}/{rest}")
}

/// The token of that name, which opens the gateway.
fn token(
    control: &Control,
    path: &GatewayPath,
    name: Option<&str>,
) -> Result<Option<Arc<Token>>, Failure> {
    let Some(name) = name else {
        return Ok(None);
    };
    let snapshot = control.cell.get();
    let mut tokens = snapshot.tokens();
    let found = tokens.find(|token| *token.account == *path.account_id && *token.name == *name);
    let found = found.ok_or_else(|| {
        Failure::wrong(
            &["token"],
            "there is no such token, or it opens nothing any more",
        )
    })?;
    Ok(Some(Arc::clone(found)))
}
