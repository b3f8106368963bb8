//! What a limit would have done to the requests of a stretch of time: looked up, never done.

use std::collections::HashMap;

use axum::extract::{Path, State};
use isango_store::Filter;
use isango_store::config::Invalid;
use isango_store::filter::TextField;
use isango_store::logs::{Order, Query};
use isango_types::{Record, RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::ask::{BUDGET, ask};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::{Control, blocking};

/// Records that are read at once.
const PAGE: usize = 1_000;
/// Records that are looked at, at most.
const MAX_RECORDS: u64 = 200_000;
/// Requests that are named.
const MAX_NAMED: usize = 100;
/// Buckets that are told, those that would have been exceeded most often.
const MAX_TOLD: usize = 20;
/// How far back it looks where nobody says.
const DAYS: u64 = 7;

/// What a limit says to a request of before.
#[derive(Clone, Debug)]
pub enum Ruled {
    /// It is not for this request.
    NotUnder,
    /// It would have passed.
    Passed,
    /// It would have been refused, or warned of, or sent elsewhere.
    Exceeded {
        /// The values that its bucket is for.
        bucket: Vec<Option<Box<str>>>,
        /// How much was drawn before, in the unit of the limit.
        before: u64,
        /// When there would have been room again.
        opens_at: Timestamp,
    },
    /// Nobody knows what it drew.
    Unknown,
}

/// Judges requests one after the other.
pub type Judge = dyn FnMut(&Record) -> Ruled + Send;

/// Makes a judge of a limit of a gateway: account, id, and the limit as a key of its settings.
pub type Judges = dyn Fn(&str, &str, Value) -> Result<Box<Judge>, Invalid> + Send + Sync;

/// A limit, and which requests it is tried on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitTrial {
    /// A limit as in `limits` of the gateway's settings.
    #[schema(value_type = Object)]
    limit: Map<String, Value>,
    /// From this moment on; a week ago.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// To this moment; now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// What a limit would have done.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct HistoryOutcome {
    /// Requests of the gateway that were looked at.
    requests: u64,
    /// Of them, those that the limit is for.
    under: u64,
    /// Of them, those that would have been refused, warned of, or sent elsewhere.
    exceeded: u64,
    /// Of them, those of which nobody knows what they drew.
    unknown: u64,
    /// Whether every request of the time was looked at; otherwise those until `looked_until` were.
    is_complete: bool,
    /// When the last one came that was looked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    looked_until: Option<Timestamp>,
    /// The first that would have been exceeded, at most 100.
    first: Vec<Exceeding>,
    /// Values whose buckets would have been exceeded most often, at most 20.
    buckets: Vec<BucketView>,
}

/// A request that a limit would not have let pass as it did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Exceeding {
    /// The request.
    #[schema(value_type = String)]
    id: RecordId,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The values that its bucket is for.
    bucket: Vec<Option<Box<str>>>,
    /// How much was drawn before, in the unit of the limit.
    before: u64,
    /// When there would have been room again.
    #[schema(value_type = String, format = DateTime)]
    opens_at: Timestamp,
}

/// A bucket that would have been exceeded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BucketView {
    /// The values that it is for.
    bucket: Vec<Option<Box<str>>>,
    /// How often.
    exceeded: u64,
}

/// Try a limit on history
///
/// What it would have said to the requests that the gateway had: each draws what its record says, and
/// one that would have been refused draws nothing. Nothing is changed, and nothing is sent. Limits of
/// requests at once have no history.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/backtest",
    tag = "gateways", params(GatewayPath), request_body = LimitTrial,
    responses((status = 200, body = Envelope<HistoryOutcome>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn ask_history(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    Members(members): Members,
) -> Answer<HistoryOutcome> {
    let trial: LimitTrial = body::read(&members)?;
    if trial.limit.get("unit").and_then(Value::as_str) == Some("concurrent") {
        let message = "requests at once have no history";
        return Err(Failure::wrong(&["limit", "unit"], message));
    }
    let filter = Filter::default()
        .only(TextField::Account, &path.account_id)
        .only(TextField::Gateway, &path.gateway_id);
    if !caller.sees(&path.gateway_id) {
        return Err(Failure::not_found());
    }
    let until = trial.until.unwrap_or_else(|| control.clock.now());
    let week = std::time::Duration::from_secs(DAYS * 86_400);
    let query = Query {
        filter,
        order: Order::OldestFirst,
        limit: PAGE,
        since: Some(trial.since.unwrap_or_else(|| until.minus(week))),
        until: Some(until),
        ..Query::default()
    };
    let judge = blocking(&control, move |control| {
        crate::gateways::must_be(control, &path)?;
        let limit = Value::Object(trial.limit);
        let judge = (control.judges)(&path.account_id, &path.gateway_id, limit);
        judge.map_err(|invalid| Failure::invalid(invalid.0))
    });
    let mut judge = judge.await?;
    let (outcome, _fraction) = ask(&control, BUDGET, move |logs, progress| {
        let mut query = query;
        let mut outcome = HistoryOutcome::default();
        let mut buckets: HashMap<Vec<Option<Box<str>>>, u64> = HashMap::new();
        loop {
            let page = logs.search(&query, progress)?;
            for record in &page.records {
                outcome.see(record, judge(record), &mut buckets);
            }
            outcome.is_complete = page.next.is_none();
            query.after = page.next;
            let is_over = progress.is_stopped() || outcome.requests >= MAX_RECORDS;
            if outcome.is_complete || is_over {
                outcome.tell(buckets);
                return Ok(outcome);
            }
        }
    })
    .await?;
    Ok(Done::new(outcome))
}

impl HistoryOutcome {
    fn see(
        &mut self,
        record: &Record,
        ruled: Ruled,
        buckets: &mut HashMap<Vec<Option<Box<str>>>, u64>,
    ) {
        self.requests += 1;
        self.looked_until = Some(record.created_at);
        match ruled {
            Ruled::NotUnder => {}
            Ruled::Passed => self.under += 1,
            Ruled::Unknown => {
                self.under += 1;
                self.unknown += 1;
            }
            Ruled::Exceeded {
                bucket,
                before,
                opens_at,
            } => {
                self.under += 1;
                self.exceeded += 1;
                *buckets.entry(bucket.clone()).or_default() += 1;
                if self.first.len() < MAX_NAMED {
                    self.first.push(Exceeding {
                        id: record.id,
                        at: record.created_at,
                        bucket,
                        before,
                        opens_at,
                    });
                }
            }
        }
    }

    fn tell(&mut self, buckets: HashMap<Vec<Option<Box<str>>>, u64>) {
        let told = buckets.into_iter();
        self.buckets = told
            .map(|(bucket, exceeded)| BucketView { bucket, exceeded })
            .collect();
        self.buckets.sort_by(|one, other| {
            (other.exceeded, &one.bucket).cmp(&(one.exceeded, &other.bucket))
        });
        self.buckets.truncate(MAX_TOLD);
    }
}
