//! The keys of redaction.

use isango_redact::Action;

use super::Unset::{Absent, Is};
use super::{Key, key};
use crate::config::value::Kind;

/// Where rules hold, in the order of the choice.
const PLACES: &[&str] = &["storage", "export"];

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "gateways[].redact[].name",
        Kind::Name,
        Is("rule"),
        r#""order-number""#,
        "What matches of `pattern` and `keys` are called where they were.",
    ),
    key(
        "gateways[].redact[].detect",
        Kind::Texts,
        Absent,
        r#"["card", "iban", "email"]"#,
        "Detectors: `card` (with Luhn's checksum), `iban`, `email`, `phone`, `za_id`, `us_ssn`, \
         `secret`.",
    ),
    key(
        "gateways[].redact[].pattern",
        Kind::Text,
        Absent,
        r#""ORD-[0-9]{8}""#,
        "A regular expression, matched in linear time.",
    ),
    key(
        "gateways[].redact[].keys",
        Kind::Texts,
        Absent,
        r#"["user.email", "**.password"]"#,
        "Members of JSON bodies that are replaced whole: names with dots between, `*` for any one, \
         `**` for any number of them.",
    ),
    key(
        "gateways[].redact[].action",
        Kind::Choice(&Action::NAMES),
        Is("mask"),
        r#""hash""#,
        "What takes their place: `[redacted:card]`, a keyed hash, or nothing.",
    ),
    key(
        "gateways[].redact[].hash_key",
        Kind::Secret,
        Absent,
        r#""env:REDACT_KEY""#,
        "What `hash` is keyed with (HMAC-SHA-256).",
    ),
    key(
        "gateways[].redact[].in",
        Kind::Texts,
        Absent,
        r#"["request", "metadata"]"#,
        "Where is looked: `request`, `response`, `metadata`; all of them where it is not set.",
    ),
    key(
        "gateways[].redact[].at",
        Kind::Choice(PLACES),
        Is("storage"),
        r#""export""#,
        "Before records are stored, or only before they are exported.",
    ),
];
