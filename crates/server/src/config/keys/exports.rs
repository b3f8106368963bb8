//! The keys of exports: those of a gateway, and those of a whole account.

use isango_exports::{Dataset, MAX_BATCH_BYTES, Pack, Times};

use super::Unset::{Absent, Is, Required};
use super::{Key, key};
use crate::config::value::Kind;

/// How objects are written, in the order of the choice.
const FORMATS: &[&str] = &["ndjson", "parquet"];
/// What an exporter of OpenTelemetry sends, in the order of the choice.
const SIGNALS: &[&str] = &["traces", "metrics"];
/// From where a new job exports, in the order of the choice.
const BEGINNINGS: &[&str] = &["now", "start"];

/// The keys of one job, below a section.
macro_rules! job {
    ($section:literal) => {
        [
            key(
                concat!($section, ".name"),
                Kind::Name,
                Is("main"),
                r#""siem""#,
                "Its name; how far it is, is kept under it. Not a number alone.",
            ),
            key(
                concat!($section, ".destination"),
                Kind::Secret,
                Required,
                r#""s3://audit/prompts/{DATE}?region=af-south-1&access-key-id=…&secret-access-key=…""#,
                "Where records go: a `destination_conf` of Logpush (`s3`, `r2`, `gs`, `azure`, \
                 `https`, `splunk`, `datadog`), or `folder:///folder`. Best a reference.",
            ),
            key(
                concat!($section, ".dataset"),
                Kind::Choice(&Dataset::NAMES),
                Is("ai_gateway_events"),
                r#""records""#,
                "What is exported: records by fields, whole records as the journal has them, or \
                 the audit trail.",
            ),
            key(
                concat!($section, ".enabled"),
                Kind::Flag,
                Is("true"),
                "false",
                "Whether it is under way.",
            ),
            key(
                concat!($section, ".from"),
                Kind::Choice(BEGINNINGS),
                Is("now"),
                r#""start""#,
                "Whether a job that is new exports what was recorded before.",
            ),
            key(
                concat!($section, ".filter"),
                Kind::AnyText,
                Is(""),
                r#""status:error""#,
                "Which records: in the filter language, or as JSON with `where`, as Logpush has it.",
            ),
            key(
                concat!($section, ".fields"),
                Kind::Texts,
                Absent,
                r#"["Datetime", "Id", "Gateway", "Model", "RequestBody"]"#,
                "Which fields of `ai_gateway_events`; all of them where it is not set.",
            ),
            key(
                concat!($section, ".timestamps"),
                Kind::Choice(&Times::NAMES),
                Is("rfc3339"),
                r#""unixnano""#,
                "How moments are written.",
            ),
            key(
                concat!($section, ".format"),
                Kind::Choice(FORMATS),
                Is("ndjson"),
                r#""parquet""#,
                "How objects are written: one JSON object a line, or, of `ai_gateway_events` in \
                 buckets and folders, as Parquet files with a column for each field.",
            ),
            key(
                concat!($section, ".compression"),
                Kind::Choice(&Pack::NAMES),
                Is("gzip"),
                r#""zstd""#,
                "How lines are packed. Parquet packs its columns by itself.",
            ),
            key(
                concat!($section, ".max_upload_bytes"),
                Kind::Size {
                    min: 1 << 10,
                    max: MAX_BATCH_BYTES as u64,
                },
                Is("16MiB"),
                r#""64MiB""#,
                "A batch is complete when it has so many bytes, before it is packed.",
            ),
            key(
                concat!($section, ".max_upload_records"),
                Kind::Count {
                    min: 1,
                    max: 1_000_000,
                },
                Is("100000"),
                "1000",
                "A batch is complete when it has so many records.",
            ),
            key(
                concat!($section, ".max_upload_interval"),
                Kind::Wait {
                    min_ms: 100,
                    max_ms: 3_600_000,
                },
                Is("30s"),
                r#""5m""#,
                "A batch is complete when its first record has waited so long.",
            ),
            key(
                concat!($section, ".max_record_bytes"),
                Kind::Size {
                    min: 0,
                    max: MAX_BATCH_BYTES as u64,
                },
                Is("0"),
                r#""1MiB""#,
                "Records whose line is longer are exported without metadata and bodies; 0: every \
                 record is exported in full.",
            ),
            key(
                concat!($section, ".public_key"),
                Kind::Text,
                Absent,
                r#""env:LOGPUSH_PUBLIC_KEY""#,
                "RSA key (PEM) that metadata and bodies are sealed with, instead of the gateway's \
                 `logpush_public_key`.",
            ),
            key(
                concat!($section, ".public_key_file"),
                Kind::Path,
                Absent,
                r#""audit.pub.pem""#,
                "A file with that key.",
            ),
            key(
                concat!($section, ".retain_days"),
                Kind::Count {
                    min: 0,
                    max: 36_500,
                },
                Is("0"),
                "2555",
                "How long objects are locked, where the bucket can (`s3`, `azure`); 0: not.",
            ),
            key(
                concat!($section, ".signing_key"),
                Kind::Secret,
                Absent,
                r#""env:EXPORT_SECRET""#,
                "What bodies to `https` are signed with (HMAC-SHA-256), at least 16 characters.",
            ),
            key(
                concat!($section, ".allow_private"),
                Kind::Flag,
                Is("false"),
                "true",
                "Whether the destination may be in a private network, and http.",
            ),
        ]
    };
}

/// Of a gateway.
pub(super) const OF_GATEWAY: &[Key] = &job!("gateways[].logpush[]");
/// Of an account.
pub(super) const OF_ACCOUNT: &[Key] = &job!("exports[]");

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "custom_providers.allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether providers that accounts have for themselves, by the management API, may be in \
         private networks, and http.",
    ),
    key(
        "logpush.allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether destinations that the management API names may be in private networks, and http.",
    ),
    key(
        "gateways[].otel[].url",
        Kind::Secret,
        Required,
        r#""https://otlp.example.com/v1/traces""#,
        "Where traces or metrics of the gateway go (OTLP/HTTP): the whole address. At most five.",
    ),
    key(
        "gateways[].otel[].signal",
        Kind::Choice(SIGNALS),
        Is("traces"),
        r#""metrics""#,
        "What is sent there: a span for each request, or what requests add to metrics every ten \
         seconds (delta temporality).",
    ),
    key(
        "gateways[].otel[].headers",
        Kind::SecretTable,
        Absent,
        r#"{ x-api-key = "env:OTEL_KEY" }"#,
        "Headers that they are sent with.",
    ),
    key(
        "gateways[].otel[].authorization",
        Kind::Secret,
        Absent,
        r#""env:OTEL_AUTHORIZATION""#,
        "The `authorization` header.",
    ),
    key(
        "gateways[].otel[].content_type",
        Kind::Choice(&["json", "protobuf"]),
        Is("json"),
        r#""protobuf""#,
        "How they are written.",
    ),
    key(
        "gateways[].otel[].allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether the address may be in a private network, and http.",
    ),
    key(
        "exports[].account",
        Kind::Name,
        Is("local"),
        r#""local""#,
        "Whose records, of all gateways.",
    ),
    key(
        "gateways[].logpush_enabled",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether the Logpush jobs of the management API export its records (`logpush` there).",
    ),
    key(
        "gateways[].logpush_public_key",
        Kind::Text,
        Absent,
        r#""env:LOGPUSH_PUBLIC_KEY""#,
        "RSA key (PEM) that metadata and bodies of exported records are sealed with. Records that are \
         exported whole (`dataset = \"records\"`) go without them; traces are not sealed.",
    ),
];
