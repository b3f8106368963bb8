//! Records of a gateway: listed, read, with their bodies (management-api section 5).

mod filters;
pub(crate) mod later;
mod view;

use std::cmp::Ordering;

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderName;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use isango_store::Filter as RecordFilter;
use isango_store::logs::{Error, LogReader, MAX_PAGE, Order, Query};
use isango_types::record::Message;
use isango_types::{Record, RecordId, Usage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::filters::{Filter, Operator};
use self::view::{LogDetail, LogItem};
use crate::answer::{Answer, Done, Envelope, Page, Remark, last, pairs};
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::gateways::GatewayPath;
use crate::{Control, blocking};

/// Records of a page at most (management-api section 1.3).
const MAX_PER_PAGE: u64 = 50;
/// Records that one list looks at; filters that let few pass end here.
const MAX_SCAN: usize = 100_000;
/// Code of the remark that says so.
const NOT_ALL: u32 = 7_021;

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

/// Which records are listed; beside these the older parameters of the contract.
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
    /// Records of all pages, up to 10 000.
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
/// The newest 10 000 that pass the filters are in reach of pages.
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/logs",
    tag = "logs", params(GatewayPath, LogParams),
    responses((status = 200, body = Envelope<Vec<LogItem>, LogInfo>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(path): Path<GatewayPath>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<LogItem>, LogInfo> {
    let query = query.unwrap_or_default();
    let page = Page::read(&query, MAX_PER_PAGE)?;
    let wanted = Wanted::read(&query, false)?;
    blocking(&control, move |control| {
        crate::gateways::must_be(control, &path)?;
        let (mut records, is_all) = find(&*control.logs, &path, &wanted)?;
        wanted.sort(&mut records);
        let of_page = records.iter().skip(page.skipped()).take(page.size());
        let items: Vec<LogItem> = of_page.map(LogItem::of).collect();
        let info = page.info(items.len(), records.len());
        let info = LogInfo {
            page: info.page,
            per_page: info.per_page,
            count: info.count,
            total_count: info.total_count,
            total_pages: info.total_pages,
            ranges: wanted.with_ranges.then(|| Ranges::of(&records)),
        };
        let remark = Remark {
            code: NOT_ALL,
            message: format!(
                "the newest {MAX_PAGE} that pass, of the newest {MAX_SCAN} records at most; older \
                 ones are found by `created_at`"
            ),
        };
        let remarks = if is_all { Vec::new() } else { vec![remark] };
        Ok(Done::new(items).info(info).remarks(remarks))
    })
    .await
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

async fn record(control: &Control, path: LogPath) -> Result<Record, Failure> {
    let id: RecordId = path.log_id.parse().map_err(|_no_id| Failure::not_found())?;
    let found = blocking(control, move |control| {
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

/// The newest records of a gateway that pass, or the oldest where those come first; and whether
/// there are no others.
fn find(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
) -> Result<(Vec<Record>, bool), Failure> {
    let text = format!(
        "account:\"{}\" gateway:\"{}\"",
        path.account_id, path.gateway_id
    );
    let filter = RecordFilter::parse(&text, isango_types::Timestamp::default())
        .map_err(|_no_name| Failure::not_found())?;
    let is_oldest_first = wanted.order == By::CreatedAt && wanted.is_ascending;
    let mut query = Query {
        filter,
        order: if is_oldest_first {
            Order::OldestFirst
        } else {
            Order::NewestFirst
        },
        limit: MAX_PAGE,
        ..Query::default()
    };
    for filter in &wanted.filters {
        match (filter.moment(), filter.operator) {
            (Some(since), Operator::Gt | Operator::AtLeast) => {
                query.since = query.since.max(Some(since));
            }
            (Some(until), Operator::Lt) => {
                query.until = Some(query.until.map_or(until, |one| one.min(until)));
            }
            _ => {}
        }
    }
    let (mut found, mut scanned) = (Vec::new(), 0);
    loop {
        let page = logs.query(&query).map_err(|error| failed(&error))?;
        scanned += page.records.len();
        found.extend(
            page.records
                .into_iter()
                .filter(|record| wanted.admits(record)),
        );
        let is_enough = found.len() >= MAX_PAGE || scanned >= MAX_SCAN;
        match page.next {
            Some(next) if !is_enough => query.after = Some(next),
            next => {
                let is_all = next.is_none() && found.len() <= MAX_PAGE;
                found.truncate(MAX_PAGE);
                return Ok((found, is_all));
            }
        }
    }
}

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
            filters: filters::read(&pairs)?,
            search: last("search")
                .filter(|text| !text.is_empty())
                .map(str::to_lowercase),
            order,
            is_ascending,
            with_ranges,
        })
    }

    fn admits(&self, record: &Record) -> bool {
        let passes = self.filters.iter().all(|filter| filter.matches(record));
        passes && self.search.as_ref().is_none_or(|text| holds(record, text))
    }

    fn sort(&self, records: &mut [Record]) {
        // They come by time, and equal ones stay so.
        let compare = |one: &Record, other: &Record| match self.order {
            By::CreatedAt => one.id.cmp(&other.id),
            By::Provider => one.provider.cmp(&other.provider),
            By::Model => view::model(one).cmp(&view::model(other)),
            By::ModelType => one.operation.as_str().cmp(other.operation.as_str()),
            By::Success => other.is_error().cmp(&one.is_error()),
            By::Cached => view::is_cached(one).cmp(&view::is_cached(other)),
            By::Cost => one.cost.nanousd.cmp(&other.cost.nanousd),
            By::TokensIn => tokens(one, Usage::total_input).cmp(&tokens(other, Usage::total_input)),
            By::TokensOut => {
                tokens(one, Usage::total_output).cmp(&tokens(other, Usage::total_output))
            }
            By::Duration => one.timing.total_us.cmp(&other.timing.total_us),
            By::Feedback => view::feedback(one).cmp(&view::feedback(other)),
        };
        records.sort_by(
            |one, other| match (compare(one, other), self.is_ascending) {
                (ordering, true) => ordering,
                (ordering, false) => Ordering::reverse(ordering),
            },
        );
    }
}

fn tokens(record: &Record, count: fn(&Usage) -> u64) -> Option<u64> {
    record.usage.as_ref().map(count)
}

/// Whether a text stands in what a record tells of itself, regardless of case.
fn holds(record: &Record, text: &str) -> bool {
    let stands = |found: &str| found.to_lowercase().contains(text);
    let metadata = record.metadata.iter();
    let texts = [
        Some(&*record.event_id),
        Some(&*record.path),
        record.provider.as_deref(),
        view::model(record),
    ];
    texts.into_iter().flatten().any(stands)
        || stands(&record.id.to_string())
        || metadata
            .into_iter()
            .any(|(key, value)| stands(key) || stands(&value.to_text()))
}

impl Ranges {
    fn of(records: &[Record]) -> Self {
        let range = |number: &dyn Fn(&Record) -> Option<f64>| {
            let numbers = records.iter().filter_map(number);
            (numbers.clone().reduce(f64::min), numbers.reduce(f64::max))
        };
        let tokens = |count: fn(&Usage) -> u64| {
            range(&move |record| {
                record
                    .usage
                    .as_ref()
                    .map(|usage| view::number(count(usage)))
            })
        };
        let (min_cost, max_cost) = range(&view::cost);
        let (min_duration, max_duration) =
            range(&|record| Some(view::number(view::millis(record))));
        let (min_tokens_in, max_tokens_in) = tokens(Usage::total_input);
        let (min_tokens_out, max_tokens_out) = tokens(Usage::total_output);
        let (min_total_tokens, max_total_tokens) = tokens(Usage::total);
        Self {
            min_cost,
            max_cost,
            min_duration,
            max_duration,
            min_tokens_in,
            max_tokens_in,
            min_tokens_out,
            max_tokens_out,
            min_total_tokens,
            max_total_tokens,
        }
    }
}
