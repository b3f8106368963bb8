//! The keys of limits.

use isango_types::limit::Unit;

use super::Unset::{Absent, From, Is, Required};
use super::{Key, key};
use crate::config::value::Kind;

const UNITS: &[&str] = &[
    Unit::Requests.as_str(),
    Unit::Tokens.as_str(),
    Unit::Cost.as_str(),
    Unit::Concurrent.as_str(),
];
/// Techniques, in the order of the choice.
const TECHNIQUES: &[&str] = &["fixed", "sliding"];

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "gateways[].limits[].id",
        Kind::Name,
        Required,
        r#""tenant-daily-tokens""#,
        "Name of the limit in records, messages and metrics; unique in the gateway.",
    ),
    key(
        "gateways[].limits[].unit",
        Kind::Choice(UNITS),
        Required,
        r#""tokens""#,
        "What is counted: requests, tokens, cost in US dollars, or requests at once.",
    ),
    key(
        "gateways[].limits[].limit",
        Kind::Amount,
        Required,
        "200_000",
        "How much passes in a window; whole but for cost.",
    ),
    key(
        "gateways[].limits[].window",
        Kind::Text,
        Absent,
        r#""day""#,
        "`minute`, `hour`, `day`, `week` (from Monday) or `month`, or a length such as `90s` or \
         `7d`. Needed but for `concurrent`.",
    ),
    key(
        "gateways[].limits[].time_zone",
        Kind::Text,
        Is("UTC"),
        r#""Africa/Johannesburg""#,
        "Whose calendar `window` turns by: a name of the IANA time zone database.",
    ),
    key(
        "gateways[].limits[].technique",
        Kind::Choice(TECHNIQUES),
        From("its window: `fixed` of a name, `sliding` of a length"),
        r#""sliding""#,
        "`fixed`: one window after another. `sliding`: the last so much; a named window is then as \
         long as it usually is, a month 30 days.",
    ),
    key(
        "gateways[].limits[].by",
        Kind::Texts,
        Absent,
        r#"["metadata.tenantId"]"#,
        "What it is split by, each combination of values with a limit of its own: \
         `metadata.<key>`, `token`, `provider`, `model`, `target`; at most 5. Not set: all share it.",
    ),
    key(
        "gateways[].limits[].only",
        Kind::Lists,
        Absent,
        r#"{ model = ["gpt-4o"], "metadata.tier" = ["free"] }"#,
        "Which requests it is for: in each of these dimensions, one of these values. Not set: all.",
    ),
    key(
        "gateways[].limits[].mode",
        Kind::Choice(&["strict", "relaxed"]),
        Is("strict"),
        r#""relaxed""#,
        "Of tokens and cost: `strict` reserves before a request is sent what it may draw; \
         `relaxed` only counts afterwards, so that bursts overshoot.",
    ),
    key(
        "gateways[].limits[].on_exceeded",
        Kind::Choice(&["block", "warn", "fallback"]),
        Is("block"),
        r#""fallback""#,
        "What happens beyond it: the request is refused, or passes and its record says so, or goes to \
         another target.",
    ),
    key(
        "gateways[].limits[].fallback_to",
        Kind::Texts,
        From("the gateway's `fallback` chain of the request's target"),
        r#"["azure-openai-mini"]"#,
        "Of `on_exceeded = \"fallback\"`: targets of the gateway, of which the first that the request \
         can be rewritten for is asked.",
    ),
    key(
        "gateways[].limits[].fallback_model",
        Kind::Text,
        Absent,
        r#""gpt-4o-mini""#,
        "The model that is asked for there. Not set: the one that the request names.",
    ),
    key(
        "gateways[].limits[].on_overrun",
        Kind::Choice(&["extend", "cut"]),
        Is("extend"),
        r#""cut""#,
        "What happens to a stream that brings more than was held for it: more is held, or it ends as \
         its format ends an answer that has reached its longest.",
    ),
    key(
        "gateways[].limits[].shadow",
        Kind::Flag,
        Is("false"),
        "true",
        "Counts and records what it would have done, and does nothing.",
    ),
    key(
        "gateways[].limits[].max_wait",
        Kind::Wait {
            min_ms: 0,
            max_ms: 60_000,
        },
        From("its unit: `5s` for strict tokens and cost, else `0s`"),
        r#""10s""#,
        "How long a request waits where only requests under way stand in its way. Not for requests.",
    ),
    // spend limits
    key(
        "gateways[].spend_limits.enabled",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether the rules hold.",
    ),
    key(
        "gateways[].spend_limits.rules[].id",
        Kind::Name,
        Is("00000000"),
        r#""per-user""#,
        "Name of the rule in records and messages.",
    ),
    key(
        "gateways[].spend_limits.rules[].enabled",
        Kind::Flag,
        Is("true"),
        "false",
        "Whether the rule holds.",
    ),
    key(
        "gateways[].spend_limits.rules[].limitType",
        Kind::Choice(&["cost"]),
        Required,
        r#""cost""#,
        "What is counted.",
    ),
    key(
        "gateways[].spend_limits.rules[].limit",
        Kind::Amount,
        Required,
        "25",
        "How much, in US dollars.",
    ),
    key(
        "gateways[].spend_limits.rules[].window",
        Kind::Count {
            min: 1,
            max: 366 * 86_400,
        },
        Required,
        "86400",
        "In how many seconds.",
    ),
    key(
        "gateways[].spend_limits.rules[].technique",
        Kind::Choice(TECHNIQUES),
        Is("sliding"),
        r#""fixed""#,
        "Whether the last so many seconds count, or one window after another.",
    ),
    key(
        "gateways[].spend_limits.rules[].metadata",
        Kind::Splits,
        Absent,
        r#"{ user_id = { mode = "partition" } }"#,
        "By metadata key: `partition` for a limit of its own for each value, or `filter` with \
         `values` that it is for.",
    ),
    key(
        "gateways[].spend_limits.rules[].model",
        Kind::Split,
        Absent,
        r#"{ mode = "filter", values = ["gpt-4o"] }"#,
        "Models that it is for.",
    ),
    key(
        "gateways[].spend_limits.rules[].provider",
        Kind::Split,
        Absent,
        r#"{ mode = "filter", values = ["openai"] }"#,
        "Providers that it is for.",
    ),
];
