//! The keys of gateway tokens.

use super::Unset::{Absent, Is, Required};
use super::{Key, key};
use crate::config::value::Kind;
use isango_types::limit::Period;

/// Turns of the calendar that a spend cap counts in, in the order of the choice.
const PERIODS: &[&str] = &[
    Period::Minute.as_str(),
    Period::Hour.as_str(),
    Period::Day.as_str(),
    Period::Week.as_str(),
    Period::Month.as_str(),
];

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "tokens[].name",
        Kind::Name,
        Required,
        r#""support-app""#,
        "Name of the token in records; unique.",
    ),
    key(
        "tokens[].account",
        Kind::Name,
        Is("local"),
        r#""local""#,
        "Account whose gateways it opens.",
    ),
    key(
        "tokens[].gateways",
        Kind::Texts,
        Absent,
        r#"["support"]"#,
        "Ids of the gateways it opens. Not set: all of the account.",
    ),
    key(
        "tokens[].secret",
        Kind::Secret,
        Absent,
        r#""env:ISANGO_SUPPORT_TOKEN""#,
        "The token itself, of 16 characters or more; only its digest is kept. Either this or \
         `digest`.",
    ),
    key(
        "tokens[].digest",
        Kind::Digest,
        Absent,
        r#""sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08""#,
        "SHA-256 of the token in hex, as `isango token create` prints it.",
    ),
    key(
        "tokens[].metadata",
        Kind::Metadata,
        Absent,
        r#"{ tenantId = "acme" }"#,
        "Metadata of each request that carries the token, at most 5 entries; wins over what the \
         client claims.",
    ),
    key(
        "tokens[].scopes",
        Kind::Texts,
        Absent,
        r#"["run", "read"]"#,
        "What it may do: `run` sends requests; `read`, `write` and `metadata_read` (all but bodies) are \
         for the management API. Not set: `run`.",
    ),
    key(
        "tokens[].providers",
        Kind::Texts,
        Absent,
        r#"["azure-openai", "openai"]"#,
        "Slugs of the providers that it is for. Not set: all.",
    ),
    key(
        "tokens[].models",
        Kind::Texts,
        Absent,
        r#"["gpt-4o", "claude-*"]"#,
        "Models that it is for; a `*` at the end stands for any end. Not set: all. Requests whose \
         model cannot be told are refused.",
    ),
    key(
        "tokens[].expires_at",
        Kind::Date,
        Absent,
        r#""2027-01-01""#,
        "When it ends: a date, whose first moment in UTC counts, or a moment.",
    ),
    key(
        "tokens[].allow_unpriced",
        Kind::Flag,
        Is("false"),
        "true",
        "With `spend`: whether it is also for models whose price is not known, which cost it nothing.",
    ),
    key(
        "tokens[].spend.limit",
        Kind::Amount,
        Required,
        "50",
        "US dollars that requests with it may cost in each window. It then names one gateway, where \
         this is a [limit](limits.md) by the name `token.<name>`.",
    ),
    key(
        "tokens[].spend.window",
        Kind::Choice(PERIODS),
        Is("month"),
        r#""day""#,
        "Which turn of the calendar is counted in.",
    ),
    key(
        "tokens[].spend.time_zone",
        Kind::Text,
        Is("UTC"),
        r#""Africa/Johannesburg""#,
        "Whose calendar it turns by: a name of the IANA time zone database.",
    ),
];
