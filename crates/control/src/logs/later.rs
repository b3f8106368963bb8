//! What is said of records later, and their removal (management-api section 5.4).

use axum::extract::{Path, RawQuery, State};
use isango_store::audit::Action;
use isango_store::later::{Change, Deletion, Patch, PatchError};
use isango_store::logs::{Error, MAX_PAGE};
use isango_types::record::MetadataValue;
use isango_types::{Record, RecordId, nearest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::find::{self, First};
use super::{LogPath, Wanted, failed, record};
use crate::answer::{Answer, Done, Envelope, Remark, last, pairs};
use crate::ask::{self, BUDGET};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::{Control, audit, reading};

/// What is said of a record; what is left out stays, null takes it back.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body, which is read member by member"
)]
pub(crate) struct LogPatch {
    /// -1, 0 or 1.
    #[schema(minimum = -1, maximum = 1)]
    feedback: Option<i8>,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    score: Option<f64>,
    /// Entries that replace those of the same key.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Nothing but that it was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nothing {}

/// Which records are removed.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct DeleteParams {
    /// Records at most; 10 000.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u64>,
    /// Which first: as in a list, or `cost`, `tokens_in`, `tokens_out`, `duration`, `feedback`.
    order_by: Option<String>,
    /// `asc` or `desc`; `asc`.
    order_by_direction: Option<String>,
    /// A text in the metadata, the model, the provider, the path or the ids.
    search: Option<String>,
    /// Which at all: as in a list; none: every record of the gateway.
    filters: Option<String>,
}

/// Say something of a record
#[utoipa::path(patch,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs/{log_id}",
    tag = "logs", params(LogPath), request_body = LogPatch,
    responses((status = 200, body = Envelope<Nothing>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn patch(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<LogPath>,
    Members(members): Members,
) -> Answer<Nothing> {
    let patch = read(&members)?;
    let found = record(&control, path).await?;
    reading(&control, move |control| {
        match control.logs.patch(found.id, &patch) {
            Ok(true) => {
                let of = (&caller.author(control), &*found.account);
                let what = ("record", &*found.id.to_string());
                let told = (Some(said(&found, &members)), Some(Value::Object(members)));
                audit::note(control, of, Action::Update, what, told)?;
                Ok(Done::new(Nothing {}))
            }
            Ok(false) => Err(Failure::not_found()),
            Err(Error::Patch(wrong)) => Err(told(&wrong)),
            Err(error) => Err(failed(&error)),
        }
    })
    .await
}

/// Remove records
///
/// They are in no answer any more at once, and their bodies go from the disk with the next upkeep.
/// Every record is looked at until `limit` pass; `messages` says so where time ran out before. In an
/// order that the columns of the store do not have, nothing is removed where more than 10 000 pass.
#[utoipa::path(delete,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs",
    tag = "logs", params(GatewayPath, DeleteParams, super::OlderParams),
    responses((status = 200, body = Envelope<Nothing>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    RawQuery(query): RawQuery,
) -> Answer<Nothing> {
    let query = query.unwrap_or_default();
    let pairs = pairs(&query)?;
    let limit = match last(&pairs, "limit") {
        None => MAX_PAGE,
        Some(text) => {
            let limit = text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_PAGE).contains(limit));
            limit.ok_or_else(|| {
                let message = format!("`limit` is from 1 to {MAX_PAGE}; found `{text}`");
                Failure::bad_request(message)
            })?
        }
    };
    let wanted = Wanted::read(&query, true)?;
    crate::gateways::must_be(&control, &path)?;
    let of_gateway = path.clone();
    let first = ask::ask(&control, BUDGET, move |logs, progress| {
        find::first(logs, &of_gateway, &wanted, limit, progress)
    });
    let (ids, ran_out) = match first.await? {
        (First::Found(ids, ran_out), _fraction) => (ids, ran_out),
        (First::TooMany, _fraction) => {
            let message = "more records pass than can be put into this order, and none was \
                           removed: filter by `created_at`, or leave `order_by` out";
            return Err(Failure::bad_request(message));
        }
    };
    reading(&control, move |control| {
        let deleted = control.logs.delete(&ids, Deletion::Erased);
        let deleted = deleted.map_err(|error| failed(&error))?;
        tracing::info!(deleted, "records were removed");
        let of = (&caller.author(control), &*path.account_id);
        let first: Vec<&RecordId> = ids.iter().take(MAX_TOLD).collect();
        let done = json!({
            "gateway": path.gateway_id, "deleted": deleted, "query": query, "first": first,
        });
        let what = ("record", "");
        audit::note(control, of, Action::Delete, what, (None, Some(done)))?;
        let remark = ran_out.then(|| Remark {
            code: Code::NotAll,
            message: format!(
                "time ran out before every record was looked at: {deleted} were removed; ask again"
            ),
        });
        Ok(Done::new(Nothing {}).remarks(remark.into_iter().collect()))
    })
    .await
}

/// Removed records whose ids are in the audit trail.
const MAX_TOLD: usize = 100;

/// What was said of a record so far, of the members that are changed.
fn said(record: &Record, members: &Map<String, Value>) -> Value {
    let review = record.review.clone().unwrap_or_default();
    let all = json!({
        "feedback": review.feedback, "score": review.score, "metadata": record.metadata,
    });
    let Value::Object(mut all) = all else {
        return Value::Null;
    };
    all.retain(|name, _| members.contains_key(name));
    Value::Object(all)
}

const MEMBERS: [&str; 3] = ["feedback", "score", "metadata"];

fn read(members: &Map<String, Value>) -> Result<Patch, Failure> {
    if let Some(name) = members
        .keys()
        .find(|name| !MEMBERS.contains(&name.as_str()))
    {
        let help = nearest(name, MEMBERS.into_iter()).unwrap_or_default();
        let message = format!("unknown field `{name}`; {help}");
        return Err(Failure::wrong(&[name], message));
    }
    let metadata: Change<std::collections::BTreeMap<Box<str>, MetadataValue>> =
        change(members, "metadata")?;
    let score: Change<Number> = change(members, "score")?;
    let patch = Patch {
        feedback: change(members, "feedback")?,
        score,
        metadata,
        comment: None,
    };
    patch.check().map_err(|wrong| told(&wrong))?;
    Ok(patch)
}

fn change<T: DeserializeOwned>(
    members: &Map<String, Value>,
    name: &str,
) -> Result<Change<T>, Failure> {
    match members.get(name) {
        None => Ok(Change::Keep),
        Some(Value::Null) => Ok(Change::Clear),
        Some(value) => body::value(value, name).map(Change::Set),
    }
}

fn told(wrong: &PatchError) -> Failure {
    let member = match wrong {
        PatchError::Feedback => "feedback",
        PatchError::Score => "score",
        PatchError::Metadata => "metadata",
        PatchError::Comment => "comment",
    };
    Failure::wrong(&[member], wrong.to_string())
}
