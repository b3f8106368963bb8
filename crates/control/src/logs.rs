//! Records of a gateway: listed, read, with their bodies (management-api section 5).

mod filters;
mod find;
pub(crate) mod later;
mod view;

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderName;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use isango_store::logs::Error;
use isango_types::record::Message;
use isango_types::{Record, RecordId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::filters::Filter;
pub(crate) use self::view::dollars;
use self::view::{LogDetail, LogItem};
use crate::answer::{Answer, Done, Envelope, Page, Remark, last, pairs};
use crate::ask::{self, BUDGET};
use crate::auth::Caller;
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::{Control, reading};

/// Records of a page at most (management-api section 1.3).
const MAX_PER_PAGE: u64 = 50;

/// A record of a gateway.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct LogPath {
    /// The account.
    account_id: String,
    /// The gateway.
    gateway_id: String,
    /// The record: the `cf-aig-log-id` of its answer.
    log_id: String,
}

/// Which records; each a condition, as a filter with `eq`, or a bound that is part of it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct OlderParams {
    /// Created at this moment or later.
    start_date: Option<String>,
    /// Created at this moment or before.
    end_date: Option<String>,
    /// In US dollars.
    min_cost: Option<f64>,
    /// In US dollars.
    max_cost: Option<f64>,
    /// Tokens of the prompt.
    min_tokens_in: Option<f64>,
    /// Tokens of the prompt.
    max_tokens_in: Option<f64>,
    /// Tokens of the answer.
    min_tokens_out: Option<f64>,
    /// Tokens of the answer.
    max_tokens_out: Option<f64>,
    /// Tokens of both.
    min_total_tokens: Option<f64>,
    /// Tokens of both.
    max_total_tokens: Option<f64>,
    /// In milliseconds.
    min_duration: Option<f64>,
    /// In milliseconds.
    max_duration: Option<f64>,
    /// Whether it was answered without an error.
    success: Option<bool>,
    /// Whether the answer came from the cache.
    cached: Option<bool>,
    /// The model.
    model: Option<String>,
    /// The kind of call.
    model_type: Option<String>,
    /// Slug of the provider.
    provider: Option<String>,
    /// Content type of what was sent.
    request_content_type: Option<String>,
    /// Content type of what was answered.
    response_content_type: Option<String>,
    /// The `cf-aig-event-id`.
    event_id: Option<String>,
    /// What the client calls itself.
    user_agent: Option<String>,
    /// -1, 0 or 1.
    feedback: Option<f64>,
}

/// Which records are listed; beside these those of [`OlderParams`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct LogParams {
    /// From 1; one past the end is empty.
    #[param(minimum = 1, default = 1)]
    page: Option<u64>,
    /// Records of a page.
    #[param(minimum = 1, maximum = 50, default = 20)]
    per_page: Option<u64>,
    /// `created_at`, `provider`, `model`, `model_type`, `success` or `cached`.
    order_by: Option<String>,
    /// `asc` or `desc`.
    order_by_direction: Option<String>,
    /// A text in the metadata, the model, the provider, the path or the ids.
    search: Option<String>,
    /// A list of `{"key", "operator", "value": […]}` as JSON; or `filters.key`, `filters.operator`
    /// and `filters.value` as parameters of their own.
    filters: Option<String>,
    /// Whether `result_info` tells the least and the most of costs, durations and tokens.
    meta_info: Option<bool>,
}

/// Which part of the records a list is, and between what they lie.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct LogInfo {
    /// From 1.
    page: u64,
    /// Most records of a page.
    per_page: u64,
    /// Records of this page.
    count: u64,
    /// Records of all pages.
    total_count: u64,
    /// Pages.
    total_pages: u64,
    #[serde(flatten)]
    ranges: Option<Ranges>,
}

/// The least and the most; absent where no record tells.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
struct Ranges {
    min_cost: Option<f64>,
    max_cost: Option<f64>,
    min_duration: Option<f64>,
    max_duration: Option<f64>,
    min_tokens_in: Option<f64>,
    max_tokens_in: Option<f64>,
    min_tokens_out: Option<f64>,
    max_tokens_out: Option<f64>,
    min_total_tokens: Option<f64>,
    max_total_tokens: Option<f64>,
}

/// What a list asks for.
struct Wanted {
    filters: Vec<Filter>,
    search: Option<String>,
    order: By,
    is_ascending: bool,
    with_ranges: bool,
}

/// What records are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    CreatedAt,
    Provider,
    Model,
    ModelType,
    Success,
    Cached,
    Cost,
    TokensIn,
    TokensOut,
    Duration,
    Feedback,
}

/// How many of [`ORDERS`] a list takes; a removal takes all.
const LIST_ORDERS: usize = 6;

const ORDERS: [(&str, By); 11] = [
    ("created_at", By::CreatedAt),
    ("provider", By::Provider),
    ("model", By::Model),
    ("model_type", By::ModelType),
    ("success", By::Success),
    ("cached", By::Cached),
    ("cost", By::Cost),
    ("tokens_in", By::TokensIn),
    ("tokens_out", By::TokensOut),
    ("duration", By::Duration),
    ("feedback", By::Feedback),
];

/// List records
///
/// Every record that passes is counted. The first 100 000 are in reach of pages. Where a filter, a
/// search or an order asks what the columns of the store cannot answer, the newest 100 000 records are
/// looked at one by one, and the first 10 000 of them that pass are counted, ordered and in reach;
/// `messages` says so where there are others, or where time ran out.
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs",
    tag = "logs", params(GatewayPath, LogParams, OlderParams),
    responses((status = 200, body = Envelope<Vec<LogItem>, LogInfo>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(path): Path<GatewayPath>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<LogItem>, LogInfo> {
    let query = query.unwrap_or_default();
    let page = Page::numbered(&query, (MAX_PER_PAGE, 20))?;
    let wanted = Wanted::read(&query, false)?;
    crate::gateways::must_be(&control, &path)?;
    let asked = ask::ask(&control, BUDGET, move |logs, progress| {
        let found = find::page(logs, &path, &wanted, &page, progress)?;
        let mut items = Vec::with_capacity(found.rows.len());
        for row in &found.rows {
            // It may have been removed since.
            let record = logs.get(row.id)?;
            items.extend(record.as_ref().map(LogItem::of));
        }
        Ok((found, items, page))
    });
    let ((found, items, page), _fraction) = asked.await?;
    let info = page.info(items.len(), found.total);
    let info = LogInfo {
        page: info.page,
        per_page: info.per_page,
        count: info.count,
        total_count: info.total_count,
        total_pages: info.total_pages,
        ranges: found.ranges,
    };
    let remark = (!found.is_all).then(|| Remark {
        code: Code::NotAll,
        message: "more records pass than are counted or in reach; older ones are found by \
                  `created_at`"
            .into(),
    });
    Ok(Done::new(items)
        .info(info)
        .remarks(remark.into_iter().collect()))
}

/// Read a record
///
/// Who may not look at bodies is told none of their beginnings.
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs/{log_id}",
    tag = "logs", params(LogPath),
    responses((status = 200, body = Envelope<LogDetail>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<LogPath>,
) -> Answer<LogDetail> {
    let record = record(&control, path).await?;
    Ok(Done::new(LogDetail::of(&record, caller.reads_bodies())))
}

/// A body without an envelope, never taken for anything that a browser would run.
type Raw = Result<([(HeaderName, &'static str); 2], String), Failure>;

/// Read what was sent
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs/{log_id}/request",
    tag = "logs", params(LogPath),
    responses((status = 200, description = "The body as it was stored, without an envelope."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn request(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<LogPath>,
) -> Raw {
    body(&control, &caller, path, |record| &record.request).await
}

/// Read what was answered
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs/{log_id}/response",
    tag = "logs", params(LogPath),
    responses((status = 200, description = "The body as it was stored, without an envelope."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn response(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<LogPath>,
) -> Raw {
    body(&control, &caller, path, |record| &record.response).await
}

async fn body(
    control: &Control,
    caller: &Caller,
    path: LogPath,
    side: fn(&Record) -> &Message,
) -> Raw {
    if !caller.reads_bodies() {
        return Err(Failure::forbidden("whoever asks may not look at bodies"));
    }
    let record = record(control, path).await?;
    let (kind, text) = view::body(side(&record)).ok_or_else(Failure::not_found)?;
    Ok((
        [(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")],
        text,
    ))
}

/// What was sent, as it was stored; `None`: no body is.
pub(crate) fn request_text(record: &Record) -> Option<String> {
    view::body(&record.request).map(|(_, text)| text)
}

async fn record(control: &Control, path: LogPath) -> Result<Record, Failure> {
    let id: RecordId = path.log_id.parse().map_err(|_no_id| Failure::not_found())?;
    let found = reading(control, move |control| {
        control.logs.get(id).map_err(|error| failed(&error))
    });
    let is_of = |record: &Record| {
        *record.account == *path.account_id && *record.gateway == *path.gateway_id
    };
    found.await?.filter(is_of).ok_or_else(Failure::not_found)
}

fn failed(error: &Error) -> Failure {
    Failure::internal(error)
}

/// Parameters of a list that are no filters.
const OF_LISTS: [&str; 7] = [
    "page",
    "per_page",
    "order_by",
    "order_by_direction",
    "direction",
    "search",
    "meta_info",
];

/// Those of a removal.
const OF_REMOVALS: [&str; 5] = [
    "limit",
    "order_by",
    "order_by_direction",
    "direction",
    "search",
];

impl Wanted {
    /// `removes`: the records are to be removed, the oldest first if nothing else is said.
    fn read(query: &str, removes: bool) -> Result<Self, Failure> {
        let pairs = pairs(query)?;
        let last = |wanted: &str| last(&pairs, wanted);
        let wrong = |name: &str, known: &str, found: &str| {
            Failure::bad_request(format!("`{name}` is one of {known}; found `{found}`"))
        };
        let order = match last("order_by") {
            None => By::CreatedAt,
            Some(text) => {
                let most = if removes { ORDERS.len() } else { LIST_ORDERS };
                let mut known = ORDERS.iter().take(most);
                let found = known.clone().find(|(name, _)| *name == text);
                let (_, order) = found.ok_or_else(|| {
                    let names: Vec<&str> = known.by_ref().map(|(name, _)| *name).collect();
                    wrong("order_by", &names.join(", "), text)
                })?;
                *order
            }
        };
        let is_ascending = match last("order_by_direction").or_else(|| last("direction")) {
            None => removes,
            Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(wrong("order_by_direction", "asc, desc", other)),
        };
        let with_ranges = match last("meta_info") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(wrong("meta_info", "true, false", other)),
        };
        Ok(Self {
            filters: filters::read(&pairs, if removes { &OF_REMOVALS[..] } else { &OF_LISTS })?,
            search: last("search")
                .filter(|text| !text.is_empty())
                .map(str::to_lowercase),
            order,
            is_ascending,
            with_ranges,
        })
    }
}
