//! The keys of prices.

use super::Unset::{Absent, Is, Required};
use super::{Key, key};
use crate::config::value::Kind;

/// A price in US dollars.
const fn rate(path: &'static str, meaning: &'static str) -> Key {
    Key {
        path,
        kind: Kind::Money,
        default: Absent,
        meaning,
        example: r#""2.5""#,
    }
}

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "prices[].provider",
        Kind::Text,
        Required,
        r#""azure-openai""#,
        "Slug of the provider.",
    ),
    key(
        "prices[].model",
        Kind::Text,
        Required,
        r#""gpt-4o""#,
        "Id of the model.",
    ),
    key(
        "prices[].also",
        Kind::Texts,
        Absent,
        r#"["gpt-4o-2024-11-20"]"#,
        "Other names of the same model.",
    ),
    key(
        "prices[].starts_with",
        Kind::Texts,
        Absent,
        r#"["gpt-4o-2"]"#,
        "Beginnings of further names of it.",
    ),
    key(
        "prices[].contains",
        Kind::Texts,
        Absent,
        r#"["-4o-acme-"]"#,
        "Parts of further names of it.",
    ),
    key(
        "prices[].effective_from",
        Kind::Date,
        Absent,
        "2026-01-01",
        "First day (UTC) that the price holds.",
    ),
    key(
        "prices[].effective_until",
        Kind::Date,
        Absent,
        "2027-01-01",
        "First day that it no longer holds.",
    ),
    key(
        "prices[].hours",
        Kind::Text,
        Absent,
        r#""16:30-00:30""#,
        "Hours of the day (UTC) between which it holds.",
    ),
    key(
        "prices[].above",
        Kind::Tables,
        Absent,
        r#"[{ tokens = 200_000, input = "5" }]"#,
        "Rates for requests with more input than `tokens`, ascending.",
    ),
    key(
        "prices[].marginal",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether the rates of `above` hold only for what is beyond its mark.",
    ),
    key(
        "prices[].source",
        Kind::Text,
        Absent,
        r#""contract 4711""#,
        "Where the price is written.",
    ),
    rate("prices[].input", "Input, per million tokens."),
    rate(
        "prices[].cache_read",
        "Input read from the provider's cache, per million tokens; else as `input`.",
    ),
    rate(
        "prices[].cache_write",
        "Input written to the provider's cache, per million tokens; else as `input`.",
    ),
    rate(
        "prices[].cache_write_1h",
        "Input written to that cache for an hour, per million tokens; else as `cache_write`.",
    ),
    rate("prices[].audio_input", "Audio input, per million tokens."),
    rate(
        "prices[].audio_cache_read",
        "Audio read from the provider's cache, per million tokens; else as `audio_input`.",
    ),
    rate(
        "prices[].image_input",
        "Image input, per million tokens; else as `input`.",
    ),
    rate("prices[].output", "Output, per million tokens."),
    rate(
        "prices[].reasoning",
        "Reasoning, per million tokens; else as `output`.",
    ),
    rate("prices[].audio_output", "Audio output, per million tokens."),
    rate("prices[].image_output", "Image output, per million tokens."),
    rate("prices[].image", "Each image that was made."),
    rate(
        "prices[].search",
        "Each search, or other tool of the provider that is billed by piece.",
    ),
    rate("prices[].audio_hour", "Each hour of audio."),
    rate(
        "prices[].audio_minute",
        "Each minute of audio; instead of `audio_hour`.",
    ),
    rate("prices[].character", "Input, per million characters."),
    rate("prices[].request", "Each request."),
];
