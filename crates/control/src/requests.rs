//! Records of an account as the dashboard asks for them: rows in any order, one whole record, all of
//! them as a file.

pub(crate) mod export;
pub(crate) mod scope;

use axum::extract::{Path, RawQuery, State};
use isango_store::analytics::{Dimension, List, MAX_OFFSET, Quantity, Sort};
use isango_store::logs::strip_bodies;
use isango_store::row::Row;
use isango_types::{Record, RecordId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::scope::{SCOPE, Scope};
use crate::answer::{Answer, Done, Envelope};
use crate::ask::{self, BUDGET};
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::params::Params;
use crate::{Control, reading};

/// Rows of a page at most.
const MAX_ROWS: usize = 1_000;

/// A record.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RequestPath {
    /// The account.
    pub(crate) account_id: String,
    /// The record: the `cf-aig-log-id` of its answer.
    pub(crate) request_id: String,
}

/// In which order rows come, and which part of them; beside the parameters of the scope.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct RowParams {
    /// `time`; or a dimension or quantity of `analytics`: `cost`, `duration`, `model`, `meta.tenant`.
    #[param(default = "time")]
    sort: Option<String>,
    /// From small to large, and from early to late.
    ascending: Option<bool>,
    /// The `next` of the page before; opaque.
    after: Option<String>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u64>,
}

/// A record without its nested parts. Times are microseconds, money is nano-dollars.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct RowView(Row);

/// A record as it stands in the journal, without its bodies.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct RecordView(Record);

/// Where a list goes on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RowInfo {
    /// `after` of the next page; null on the last one.
    next: Option<String>,
    /// Rows of this page.
    count: u64,
    /// Whether every record was looked at that had to be; otherwise time ran out, or this is the last
    /// page in reach (behind 100 000 rows in another order than that of time) and more pass.
    is_complete: bool,
}

/// List requests
///
/// Rows of records, without bodies. A list by time goes on behind its last row, whatever comes
/// meanwhile; one in another order goes on by its place, so that `until` keeps it still.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/requests", tag = "requests",
    params(("account_id" = String, Path, description = "The account."), scope::ScopeParams, RowParams),
    responses((status = 200, body = Envelope<Vec<RowView>, RowInfo>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<RowView>, RowInfo> {
    let known = [&SCOPE[..], &["sort", "ascending", "after", "limit"]].concat();
    let params = Params::read(&query.unwrap_or_default(), &known)?;
    let scope = Scope::of_params(&control, &caller, &account, &params)?;
    let mut list = wanted(scope, &params)?;
    // One more tells whether there are more.
    list.limit += 1;
    let size = list.limit - 1;
    let place = list.offset + size;
    let by_time = list.sort == Sort::Time;
    let asked = ask::ask(&control, BUDGET, move |logs, progress| {
        logs.list(&list, progress)
    });
    let (mut listing, _fraction) = asked.await?;
    let has_more = listing.rows.len() > size;
    listing.rows.truncate(size);
    let last = listing.rows.last().map(|row| row.id);
    let next = has_more.then(|| next(by_time, last, place)).flatten();
    let info = RowInfo {
        // The end of what is in reach is not the end.
        is_complete: listing.is_complete && has_more == next.is_some(),
        next,
        count: listing.rows.len() as u64,
    };
    let rows = listing.rows.into_iter().map(RowView).collect();
    Ok(Done::new(rows).info(info))
}

/// Read a request
///
/// Its record with everything but bodies, which have addresses of their own (`logs`).
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/requests/{request_id}",
    tag = "requests", params(RequestPath),
    responses((status = 200, body = Envelope<RecordView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<RequestPath>,
) -> Answer<RecordView> {
    let mut record = find(&control, &caller, &path).await?;
    strip_bodies(&mut record);
    Ok(Done::new(RecordView(record)))
}

/// The record of a path, whole.
///
/// # Errors
/// There is none that is there for whoever asks.
pub(crate) async fn find(
    control: &Control,
    caller: &Caller,
    path: &RequestPath,
) -> Result<Record, Failure> {
    let id: RecordId = path
        .request_id
        .parse()
        .map_err(|_no_id| Failure::not_found())?;
    let found = reading(control, move |control| {
        control.logs.get(id).map_err(|error| ask::failed(&error))
    });
    let is_of =
        |record: &Record| *record.account == *path.account_id && caller.sees(&record.gateway);
    found.await?.filter(is_of).ok_or_else(Failure::not_found)
}

/// Where a list goes on behind its `last` row, which is at `place`; `None`: no page leads there.
fn next(by_time: bool, last: Option<RecordId>, place: usize) -> Option<String> {
    match by_time {
        true => last.map(|id| id.to_string()),
        false => (place <= MAX_OFFSET).then(|| place.to_string()),
    }
}

fn wanted(scope: Scope, params: &Params) -> Result<List, Failure> {
    let mut list = List {
        filter: scope.filter,
        since: scope.since,
        until: scope.until,
        sort: sort(params.get("sort"))?,
        ascending: params.flag("ascending")?,
        limit: params.number("limit", 1..=MAX_ROWS, 50)?,
        ..List::default()
    };
    let Some(after) = params.get("after") else {
        return Ok(list);
    };
    let wrong = || {
        let message = format!("`after` is the `next` of the page before; found `{after}`");
        Failure::bad_request(message)
    };
    match list.sort {
        Sort::Time => list.after = Some(after.parse().map_err(|_no_id| wrong())?),
        Sort::Dimension(_) | Sort::Quantity(_) => {
            list.offset = params.number("after", 1..=MAX_OFFSET, 0)?;
        }
    }
    Ok(list)
}

fn sort(name: Option<&str>) -> Result<Sort, Failure> {
    let name = match name {
        None | Some("time" | "created_at") => return Ok(Sort::Time),
        Some(name) => name,
    };
    if let Ok(quantity) = Quantity::parse(name) {
        return Ok(Sort::Quantity(quantity));
    }
    Dimension::parse(name)
        .map(Sort::Dimension)
        .map_err(|error| Failure::bad_request(format!("`sort`: {error}, time, or a quantity")))
}
