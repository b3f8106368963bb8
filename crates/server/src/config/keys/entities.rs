//! The keys of gateways and of what they need: tokens, targets, providers, prices.

use super::Unset::{Absent, From, Is, Required};
use super::settings::DAY_MS;
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
    // tokens
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
    // gateways
    key(
        "gateways[].account",
        Kind::Name,
        Is("local"),
        r#""0123456789abcdef0123456789abcdef""#,
        "First part of its address: a name, or the 32 hex digits that existing clients use.",
    ),
    key(
        "gateways[].id",
        Kind::GatewayId,
        Required,
        r#""support""#,
        "Second part of its address; unique in the account. `default` exists without being \
         configured.",
    ),
    key(
        "gateways[].authentication",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether requests need a gateway token (`cf-aig-authorization`).",
    ),
    key(
        "gateways[].collect_logs",
        Kind::Flag,
        Is("true"),
        "false",
        "Whether exchanges leave a record. `cf-aig-collect-log` overrides it for one request.",
    ),
    key(
        "gateways[].collect_log_payload",
        Kind::Flag,
        Is("true"),
        "false",
        "Whether records hold the bodies. `cf-aig-collect-log-payload` overrides it for one \
         request.",
    ),
    key(
        "gateways[].record_raw_streams",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether records hold the raw frames of streams beside the assembled answer.",
    ),
    key(
        "gateways[].max_request_bytes",
        Kind::Size {
            min: 1,
            max: 16 << 30,
        },
        Is("100MiB"),
        r#""20MiB""#,
        "Largest body of a request; larger ones are refused.",
    ),
    key(
        "gateways[].max_record_body_bytes",
        Kind::Size {
            min: 0,
            max: 1 << 30,
        },
        Is("4MiB"),
        r#""256KiB""#,
        "How much of each body a record holds; the rest crosses but is not stored.",
    ),
    key(
        "gateways[].first_byte_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        From("server.first_byte_timeout"),
        r#""60s""#,
        "How long a provider may take to the first byte of its answer. `0s`: no limit.",
    ),
    // targets
    key(
        "gateways[].targets[].name",
        Kind::Name,
        Required,
        r#""azure-openai-sa""#,
        "Name of the target in records and in `cf-aig-provider`; unique in the gateway.",
    ),
    key(
        "gateways[].targets[].provider",
        Kind::Text,
        Required,
        r#""azure-openai""#,
        "Slug of its provider, built in or from `[providers.…]`.",
    ),
    key(
        "gateways[].targets[].resource",
        Kind::Label,
        Absent,
        r#""aoai-imbila-sa""#,
        "Azure resource. Requests for this resource are this target's. Needed where the \
         provider's address holds `{resource}`.",
    ),
    key(
        "gateways[].targets[].region",
        Kind::Text,
        Absent,
        r#""southafricanorth""#,
        "Region, as it shall stand in records.",
    ),
    key(
        "gateways[].targets[].credential",
        Kind::Secret,
        Absent,
        r#""env:AOAI_SA_KEY""#,
        "Used for requests that carry no credential of their own.",
    ),
    key(
        "gateways[].targets[].models",
        Kind::TextTable,
        Absent,
        r#"{ chat = "gpt-4o" }"#,
        "Deployment to model, for prices.",
    ),
    key(
        "gateways[].targets[].base_url",
        Kind::Url,
        From("its provider"),
        r#""http://127.0.0.1:8790/azure/aoai-imbila-sa""#,
        "Address instead of the provider's: a private endpoint, or the simulator.",
    ),
    // providers
    key(
        "providers.*.name",
        Kind::Text,
        From("the built-in provider"),
        r#""Acme""#,
        "Name for people.",
    ),
    key(
        "providers.*.base_url",
        Kind::Url,
        From("the built-in provider"),
        r#""http://127.0.0.1:8790/{resource}""#,
        "Address of the provider, which may be a private one. Replaces all addresses of a \
         built-in provider; needed for one of your own, `[providers.custom-<name>]`.",
    ),
    key(
        "providers.*.wire",
        Kind::Choice(&[
            "openai",
            "anthropic",
            "gemini",
            "bedrock",
            "cohere",
            "opaque",
        ]),
        From("the built-in provider, else `openai`"),
        r#""anthropic""#,
        "Format of its bodies, for models, usage and cost. `opaque`: nothing is read from them.",
    ),
    key(
        "providers.*.headers",
        Kind::SecretTable,
        Absent,
        r#"{ x-team = "env:TEAM_KEY" }"#,
        "Headers that are added to each request.",
    ),
    key(
        "providers.*.stream_usage_option",
        Kind::Flag,
        From("the built-in provider, else `false`"),
        "true",
        "Whether its streams tell their usage only with `stream_options.include_usage`, which is \
         then added.",
    ),
    key(
        "providers.*.auth.header",
        Kind::Text,
        From("the built-in provider, else `authorization`"),
        r#""x-api-key""#,
        "Header that a configured credential is put into. Needed where `auth` is set.",
    ),
    key(
        "providers.*.auth.prefix",
        Kind::AnyText,
        Is(""),
        r#""Bearer ""#,
        "What stands before the credential in that header.",
    ),
    key(
        "providers.*.auth.also",
        Kind::Texts,
        Absent,
        r#"["x-goog-api-key", "?key"]"#,
        "Other headers and query keys (`?key`) that may carry a credential instead.",
    ),
    key(
        "providers.*.auth.optional",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether requests without any credential are sent to it (self-hosted models).",
    ),
    // prices
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
