//! The keys of gateways and of what they need: targets, providers, prices.

use super::Unset::{Absent, From, Is, Required};
use super::settings::DAY_MS;
use super::{Key, key};
use crate::config::value::Kind;
use isango_types::policy::{Backoff, MAX_CACHE_TTL};

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
    key(
        "gateways[].connect_timeout",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        From("upstream.connect_timeout"),
        r#""2s""#,
        "How long a connection to a provider may take to be made, TLS included.",
    ),
    key(
        "gateways[].idle_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("0s"),
        r#""60s""#,
        "How long a provider may be silent in the midst of its answer, which is then cut. `0s`: no \
         limit.",
    ),
    key(
        "gateways[].total_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("0s"),
        r#""5m""#,
        "How long a request may take from its head to the last byte of its answer, all attempts \
         and waits included; an answer that outlasts it is cut. `0s`: no limit.",
    ),
    key(
        "gateways[].max_replay_bytes",
        Kind::Size {
            min: 0,
            max: 1 << 30,
        },
        Is("4MiB"),
        r#""32MiB""#,
        "How much of a request's body is held so that it can be sent again, where retries or a \
         fallback are set; larger ones are sent once.",
    ),
    key(
        "gateways[].residency",
        Kind::Texts,
        Absent,
        r#"["southafricanorth"]"#,
        "Regions that requests may go to: only targets with such a `region` are used, whatever a \
         request names. Not set: any.",
    ),
    key(
        "gateways[].fallback",
        Kind::Chains,
        Absent,
        r#"{ azure-openai-sa = ["azure-openai-eu"] }"#,
        "Targets that are asked in turn when one fails. `{ to = […], on = […] }` in place of the \
         list chooses when, of `connect`, `timeout`, `5xx` and `429` (after its retries).",
    ),
    key(
        "gateways[].rate_limiting_limit",
        Kind::Count {
            min: 0,
            max: 1_000_000_000,
        },
        Is("0"),
        "100",
        "Requests that pass in each interval. `0`: no limit.",
    ),
    key(
        "gateways[].rate_limiting_interval",
        Kind::Count {
            min: 0,
            max: 366 * 86_400,
        },
        Is("0"),
        "60",
        "Length of that interval in seconds. `0`: no limit.",
    ),
    key(
        "gateways[].rate_limiting_technique",
        Kind::Choice(&["fixed", "sliding"]),
        Is("fixed"),
        r#""sliding""#,
        "`fixed`: one interval after another. `sliding`: the last so many seconds.",
    ),
    key(
        "gateways[].retry.max_attempts",
        Kind::Count { min: 1, max: 5 },
        Is("1"),
        "3",
        "How often a target is asked, the first time included. `cf-aig-max-attempts` overrides it.",
    ),
    key(
        "gateways[].retry.delay_ms",
        Kind::Count {
            min: 0,
            max: 60_000,
        },
        Is("500"),
        "250",
        "Milliseconds before the first retry. A longer wait that the provider asks for holds \
         instead. `cf-aig-retry-delay` overrides it.",
    ),
    key(
        "gateways[].retry.backoff",
        Kind::Choice(&Backoff::NAMES),
        Is("constant"),
        r#""exponential""#,
        "How the wait before the n-th retry grows: the delay, n times the delay, or doubled each \
         time. `cf-aig-backoff` overrides it.",
    ),
    key(
        "gateways[].retry.budget_percent",
        Kind::Count { min: 0, max: 100 },
        Is("20"),
        "10",
        "How many sends beyond the first there may be, to a target and to all targets together, or to \
         one address where there are no targets, in percent of the requests of about the last ten seconds.",
    ),
    key(
        "gateways[].retry.budget_floor",
        Kind::Count {
            min: 0,
            max: 100_000,
        },
        Is("20"),
        "50",
        "So many sends beyond the first are allowed in about ten seconds in any case, and then not \
         again until one is answered.",
    ),
    key(
        "gateways[].cache_ttl",
        Kind::Count {
            min: 0,
            max: MAX_CACHE_TTL.as_secs(),
        },
        Is("0"),
        "3600",
        "How long answers are kept and given to equal questions, in seconds; at most 30 days. `0`: \
         only where a request asks for it (`cf-aig-cache-ttl`, `cf-aig-cache-key`).",
    ),
    key(
        "gateways[].cache_key_mode",
        Kind::Choice(&["scope", "replace"]),
        Is("scope"),
        r#""replace""#,
        "What a `cf-aig-cache-key` does: `scope` keeps equal questions with different keys apart; \
         `replace` answers all questions with the same key alike, whatever they say, as Cloudflare \
         does.",
    ),
    key(
        "gateways[].cache_scope",
        Kind::Text,
        Absent,
        r#""metadata.tenantId""#,
        "Keeps tenants apart: `metadata.<name>` (of `cf-aig-metadata` or the gateway token, which \
         wins) or `token`. A request that does not name it is not answered from the cache.",
    ),
    key(
        "gateways[].cache_stale_if_error",
        Kind::Wait {
            min_ms: 0,
            max_ms: 30 * DAY_MS,
        },
        Is("0s"),
        r#""1h""#,
        "How long after its time a kept answer may stand in for a provider that cannot be reached \
         or answers 500, 502, 503, 504 or 529; marked `STALE`. `0s`: never.",
    ),
    key(
        "gateways[].cache_replay",
        Kind::Choice(&["at_once", "recorded"]),
        Is("at_once"),
        r#""recorded""#,
        "How a kept stream is given again: as fast as the client reads, or at the pace in which it \
         first came.",
    ),
    key(
        "gateways[].cache_invalidate_on_update",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether a reload that changes the gateway empties its cache.",
    ),
    // breaker
    key(
        "gateways[].breaker.enabled",
        Kind::Flag,
        Is("true"),
        "false",
        "Whether a target that keeps failing rests. While it does, others of its group or chain are \
         asked; when all rest, they are asked all the same.",
    ),
    key(
        "gateways[].breaker.consecutive_failures",
        Kind::Count {
            min: 1,
            max: 10_000,
        },
        Is("5"),
        "3",
        "Failures in a row after which a target rests: no connection, a timeout of the \
         configuration, a broken answer, a status from 500 on.",
    ),
    key(
        "gateways[].breaker.failure_percent",
        Kind::Count { min: 1, max: 100 },
        Is("50"),
        "30",
        "Share of failures within `window` from which on a target rests.",
    ),
    key(
        "gateways[].breaker.min_requests",
        Kind::Count {
            min: 1,
            max: 1_000_000,
        },
        Is("20"),
        "100",
        "Requests within `window` below which `failure_percent` says nothing.",
    ),
    key(
        "gateways[].breaker.window",
        Kind::Wait {
            min_ms: 100,
            max_ms: 3_600_000,
        },
        Is("10s"),
        r#""1m""#,
        "The time that `failure_percent` looks back.",
    ),
    key(
        "gateways[].breaker.rest",
        Kind::Wait {
            min_ms: 10,
            max_ms: 3_600_000,
        },
        Is("5s"),
        r#""1s""#,
        "The first rest. Then one request finds out whether the target is back; if not, the next \
         rest is twice as long.",
    ),
    key(
        "gateways[].breaker.max_rest",
        Kind::Wait {
            min_ms: 10,
            max_ms: 3_600_000,
        },
        Is("30s"),
        r#""2m""#,
        "The longest rest.",
    ),
    // hedge
    key(
        "gateways[].hedge.enabled",
        Kind::Flag,
        Is("false"),
        "true",
        "Whether a request whose answer takes longer to begin than 95 % of this target's is sent to \
         the next target of its group or chain as well. The first to answer wins; both may be \
         charged by their providers.",
    ),
    key(
        "gateways[].hedge.min_delay",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        Is("100ms"),
        r#""500ms""#,
        "The shortest wait before the second send.",
    ),
    key(
        "gateways[].hedge.max_delay",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        Is("30s"),
        r#""5s""#,
        "The longest.",
    ),
    key(
        "gateways[].hedge.budget_percent",
        Kind::Count { min: 1, max: 100 },
        Is("5"),
        "2",
        "How many of the requests of about the last ten seconds may be sent twice.",
    ),
    // groups
    key(
        "gateways[].groups[].name",
        Kind::Name,
        Required,
        r#""chat""#,
        "Name of a group of equal targets, which may stand in a path in place of a target's; unique.",
    ),
    key(
        "gateways[].groups[].targets",
        Kind::Texts,
        Required,
        r#"["azure-openai-sa", "azure-openai-eu"]"#,
        "Names of its targets, two or more, each in one group at most. A request for one of them \
         may be answered by any, unless its path names the target itself.",
    ),
    key(
        "gateways[].groups[].balance",
        Kind::Choice(&["weighted", "least_busy", "lowest_latency"]),
        Is("weighted"),
        r#""least_busy""#,
        "Who is asked first: each in turn by its weight, or of two that are drawn by weight the one \
         with fewer requests under way or with the shorter time to first byte.",
    ),
    key(
        "gateways[].groups[].sticky",
        Kind::Text,
        Absent,
        r#""metadata.sessionId""#,
        "Requests that are equal in this are sent to the same target: `metadata.<key>` or \
         `header.<name>`. Those without it are balanced.",
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
        "Region: where `residency` says it is, and where requests that fall back to it go.",
    ),
    key(
        "gateways[].targets[].credential",
        Kind::Secret,
        Absent,
        r#""env:AOAI_SA_KEY""#,
        "Used for requests that carry no credential of their own, and for those that fall back to \
         it: a client's own credential is never sent to another target.",
    ),
    key(
        "gateways[].targets[].models",
        Kind::TextTable,
        Absent,
        r#"{ chat = "gpt-4o" }"#,
        "Deployment, or other name of this target, to model: for prices, and to find the same \
         model when a request falls back. Not set: models have the same names here.",
    ),
    key(
        "gateways[].targets[].api_version",
        Kind::Name,
        Absent,
        r#""2024-10-21""#,
        "Azure `api-version` of requests that fall back to it. Not set: the client's; the `v1` \
         endpoints where the request comes from another provider.",
    ),
    key(
        "gateways[].targets[].first_byte_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        From("gateways[].first_byte_timeout"),
        r#""10s""#,
        "How long it may take to the first byte of its answer. `0s`: no limit.",
    ),
    key(
        "gateways[].targets[].connect_timeout",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        From("gateways[].connect_timeout"),
        r#""1s""#,
        "How long a connection to it may take to be made, TLS included.",
    ),
    key(
        "gateways[].targets[].idle_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        From("gateways[].idle_timeout"),
        r#""30s""#,
        "How long it may be silent in the midst of its answer. `0s`: no limit.",
    ),
    key(
        "gateways[].targets[].weight",
        Kind::Count { min: 0, max: 1_000 },
        Is("1"),
        "3",
        "Its share of the traffic of its group, relative to the others'. `0`: only when no other \
         can be asked.",
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
        "providers.*.retry.on",
        Kind::Statuses,
        From("the built-in provider, else 408, 429, 500, 502, 503 and 504"),
        "[429, 503, 529]",
        "Statuses worth another try at the same target.",
    ),
    key(
        "providers.*.retry.never",
        Kind::Texts,
        From("the built-in provider"),
        r#"["insufficient_quota"]"#,
        "Error codes or types in the body of a refusal that waiting does not cure.",
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
