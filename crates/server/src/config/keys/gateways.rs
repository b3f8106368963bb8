//! The keys of gateways.

use isango_types::policy::{Backoff, MAX_CACHE_TTL};

use super::Unset::{Absent, From, Is, Required};
use super::settings::DAY_MS;
use super::{Key, key};
use crate::config::value::Kind;

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
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
        "gateways[].durability",
        Kind::Choice(&["relaxed", "strict"]),
        From("records.durability"),
        r#""strict""#,
        "`strict`: the last byte of an answer goes to the client only when its record is on disk; \
         where that fails, the answer is cut, and further requests are refused (503) until records \
         can be stored. `relaxed`: answers do not wait.",
    ),
    key(
        "gateways[].log_management",
        Kind::Count {
            min: 10_000,
            max: 10_000_000,
        },
        Absent,
        "1_000_000",
        "How many records of the gateway are kept, about: it is looked at every minute. Not set: as \
         many as the store keeps.",
    ),
    key(
        "gateways[].log_management_strategy",
        Kind::Choice(&["DELETE_OLDEST", "STOP_INSERTING"]),
        Is("DELETE_OLDEST"),
        r#""STOP_INSERTING""#,
        "What happens beyond `log_management`, without which it is refused: the oldest records are \
         erased, or new ones are not kept.",
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
];
