//! A job as it is asked for, and as it is told.

use isango_store::exports::ExportView;
use isango_store::logpush::StoredJob;
use isango_types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body;
use crate::error::Failure;

/// Members that clients send back as they read them.
const READ_ONLY: [&str; 7] = [
    "id",
    "last_complete",
    "last_error",
    "error_message",
    "isango",
    "created_at",
    "modified_at",
];

/// What a job is made of; what is left out has its default.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Where to; told without what may be secret.
    #[serde(skip_serializing)]
    #[schema(max_length = 4_096)]
    destination_conf: String,
    /// What is exported.
    dataset: Dataset,
    /// Whether it is under way.
    enabled: bool,
    /// What people call it.
    #[schema(max_length = 512)]
    name: Option<String>,
    /// Which records: JSON with `where`, or Isango's filter language.
    #[schema(max_length = 8_192)]
    filter: Option<String>,
    /// What of them, and how it is written.
    output_options: Option<Output>,
    /// `high` completes a batch after 30 seconds, `low` after five minutes.
    frequency: Option<Frequency>,
    /// Empty.
    kind: Option<String>,
    /// Not taken: `output_options` says the same.
    logpull_options: Option<String>,
    /// Bytes of a batch before it is packed; 0 is 16 MiB.
    #[schema(minimum = 0, maximum = 67_108_864)]
    max_upload_bytes: Option<u64>,
    /// Records of a batch; 0 is 100 000.
    #[schema(minimum = 0, maximum = 1_000_000)]
    max_upload_records: Option<u64>,
    /// Seconds that a batch's first record waits; 0 is 30.
    #[schema(minimum = 0, maximum = 3_600)]
    max_upload_interval_seconds: Option<u64>,
    /// Not needed.
    #[serde(skip_serializing)]
    ownership_challenge: Option<String>,
}

/// What is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Dataset {
    /// Records by fields.
    #[default]
    AiGatewayEvents,
    /// Changes of the configuration.
    AuditLogs,
}

/// How often, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Frequency {
    /// Every 30 seconds.
    High,
    /// Every five minutes.
    Low,
}

/// What of records is exported, and how it is written.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Output {
    /// Which fields; all where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    field_names: Vec<String>,
    /// How moments are written.
    timestamp_format: Option<Times>,
    /// One JSON object a line, or Parquet files with a column for each field.
    output_type: Option<OutputType>,
    /// Every record is exported: 1.
    sample_rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Times {
    Rfc3339,
    Unix,
    UnixNano,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OutputType {
    Ndjson,
    Parquet,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    /// Its number.
    id: u64,
    /// Where to, with stars for what may be secret.
    destination_conf: Box<str>,
    /// What it is made of.
    #[serde(flatten)]
    options: Options,
    /// When a batch was last delivered.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_complete: Option<Timestamp>,
    /// When one last failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_error: Option<Timestamp>,
    /// Why; empty once a later one was delivered.
    error_message: Option<Box<str>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// How far it is.
    isango: Progress,
}

/// How far a job is.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Progress {
    /// Records that wait.
    lag_records: u64,
    /// Records that were delivered.
    delivered_records: u64,
    /// Records that retention had removed before.
    lost_records: u64,
    /// Batches that were given up, and are kept aside.
    buried_batches: u64,
    /// The last link of the chain, in hex.
    head: Box<str>,
}

impl JobView {
    pub(super) fn of(job: &StoredJob, state: Option<ExportView>) -> Self {
        // It was checked before it was stored.
        let fields = Value::Object(job.fields.clone());
        let options = serde_json::from_value(fields).unwrap_or_default();
        let state = state.unwrap_or_default();
        Self {
            id: job.number,
            destination_conf: job.shown.clone(),
            options,
            last_complete: state.last_complete,
            last_error: state.last_error,
            error_message: state.error_message,
            created_at: job.created_at,
            modified_at: job.modified_at,
            isango: Progress {
                lag_records: state.lag_records,
                delivered_records: state.delivered_records,
                lost_records: state.lost_records,
                buried_batches: state.buried_batches,
                head: state.head,
            },
        }
    }
}

/// The dataset of a job.
pub(super) fn dataset(fields: &Map<String, Value>) -> &str {
    let set = fields.get("dataset").and_then(Value::as_str);
    set.unwrap_or("ai_gateway_events")
}

pub(super) fn leave_read_only(members: &mut Map<String, Value>) {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
}

/// # Errors
/// A member is unknown, not of its kind, or out of its bounds. What only the exporter knows is
/// checked when it is committed.
pub(super) fn check(members: &Map<String, Value>) -> Result<(), Failure> {
    let options: Options = body::read(members)?;
    let wrong = |name: &str, message: &str| Err(Failure::wrong(&[name], message));
    if options.logpull_options.is_some_and(|text| !text.is_empty()) {
        return wrong(
            "logpull_options",
            "say it with `output_options`: `field_names`",
        );
    }
    if options.kind.is_some_and(|kind| !kind.is_empty()) {
        return wrong("kind", "there is one kind of job: leave it out");
    }
    if options.name.is_some_and(|name| name.chars().count() > 512) {
        return wrong("name", "`name` has at most 512 characters");
    }
    let output = options.output_options.unwrap_or_default();
    if output
        .sample_rate
        .is_some_and(|rate| (rate - 1.0).abs() > f64::EPSILON)
    {
        let message = "every record is exported: `sample_rate` is 1";
        return Err(Failure::wrong(&["output_options", "sample_rate"], message));
    }
    for (name, value, least, most) in [
        (
            "max_upload_bytes",
            options.max_upload_bytes,
            1_024,
            64 << 20,
        ),
        (
            "max_upload_records",
            options.max_upload_records,
            1,
            1_000_000,
        ),
        (
            "max_upload_interval_seconds",
            options.max_upload_interval_seconds,
            1,
            3_600,
        ),
    ] {
        if value.is_some_and(|value| value != 0 && !(least..=most).contains(&value)) {
            return wrong(name, &format!("`{name}` is 0, or from {least} to {most}"));
        }
    }
    Ok(())
}
