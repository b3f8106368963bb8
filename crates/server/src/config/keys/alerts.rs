//! The keys of alerts.

use isango_types::alert::Kind as Watched;

use super::Unset::{Absent, Is, Required};
use super::settings::DAY_MS;
use super::{Key, key};
use crate::config::value::Kind;

/// What requests are watched for, in the order of the choice.
const WATCHED: &[&str] = &[
    Watched::Failed.as_str(),
    Watched::FirstByte(std::time::Duration::ZERO).as_str(),
    Watched::Total(std::time::Duration::ZERO).as_str(),
    Watched::Unpriced.as_str(),
];
/// Formats, in the order of the choice.
const FORMATS: &[&str] = &["slack", "json"];

const WEBHOOK: &str = "Address that is told. Whoever knows it may write there: best a reference.";
const FORMAT: &str = "How messages are written: blocks for Slack, or the event as JSON.";
const SECRET: &str = "What messages are signed with (HMAC-SHA-256), at least 16 characters; needed \
                      for `json`.";
const ALLOW_PRIVATE: &str = "Whether the webhook may be in a private network, and http.";

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "gateways[].limits[].alerts[].at",
        Kind::Amount,
        Required,
        "0.8",
        "Share of the limit from which on somebody is told, once a window for each bucket: 0.8 is \
         80 %.",
    ),
    key(
        "gateways[].limits[].alerts[].forecast",
        Kind::Flag,
        Is("false"),
        "true",
        "Tells already when the share will be drawn by the end of the window, if requests go on as \
         they did; not before a twentieth of it has passed. Not for rolling windows.",
    ),
    key(
        "gateways[].limits[].alerts[].webhook",
        Kind::Secret,
        Required,
        r#""env:SLACK_WEBHOOK_URL""#,
        WEBHOOK,
    ),
    key(
        "gateways[].limits[].alerts[].format",
        Kind::Choice(FORMATS),
        Required,
        r#""slack""#,
        FORMAT,
    ),
    key(
        "gateways[].limits[].alerts[].secret",
        Kind::Secret,
        Absent,
        r#""env:ALERT_SECRET""#,
        SECRET,
    ),
    key(
        "gateways[].limits[].alerts[].allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        ALLOW_PRIVATE,
    ),
    key(
        "gateways[].alerts[].id",
        Kind::Name,
        Required,
        r#""failing""#,
        "Name of the alert in messages, metrics and commands; unique in the gateway.",
    ),
    key(
        "gateways[].alerts[].on",
        Kind::Choice(WATCHED),
        Required,
        r#""error_rate""#,
        "What is watched: requests that fail without the client being to blame, answers that begin \
         or end late, requests whose cost is not known.",
    ),
    key(
        "gateways[].alerts[].at",
        Kind::Amount,
        Absent,
        "0.05",
        "Share of requests beyond which somebody is told; 1 at most. Of `error_rate` and \
         `unpriced`, which need it.",
    ),
    key(
        "gateways[].alerts[].over",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        Absent,
        r#""2s""#,
        "What is late. Of `ttfb` and `duration`, which need it.",
    ),
    key(
        "gateways[].alerts[].percentile",
        Kind::Count { min: 50, max: 99 },
        Is("95"),
        "99",
        "Of `ttfb` and `duration`: somebody is told when this percentile is over `over`, so when \
         more than 5 % are with 95.",
    ),
    key(
        "gateways[].alerts[].window",
        Kind::Wait {
            min_ms: 60_000,
            max_ms: DAY_MS,
        },
        Is("5m"),
        r#""15m""#,
        "Requests of how long count.",
    ),
    key(
        "gateways[].alerts[].min_requests",
        Kind::Count {
            min: 1,
            max: 1_000_000_000,
        },
        Is("20"),
        "100",
        "Requests in the window below which nobody is told.",
    ),
    key(
        "gateways[].alerts[].repeat_after",
        Kind::Wait {
            min_ms: 60_000,
            max_ms: 30 * DAY_MS,
        },
        Is("1h"),
        r#""1d""#,
        "How long the alert is quiet after it was told.",
    ),
    key(
        "gateways[].alerts[].webhook",
        Kind::Secret,
        Required,
        r#""env:SLACK_WEBHOOK_URL""#,
        WEBHOOK,
    ),
    key(
        "gateways[].alerts[].format",
        Kind::Choice(FORMATS),
        Required,
        r#""json""#,
        FORMAT,
    ),
    key(
        "gateways[].alerts[].secret",
        Kind::Secret,
        Absent,
        r#""env:ALERT_SECRET""#,
        SECRET,
    ),
    key(
        "gateways[].alerts[].allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        ALLOW_PRIVATE,
    ),
];
