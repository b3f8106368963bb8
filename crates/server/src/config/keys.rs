//! Every key of the configuration, described once: names, kinds, defaults and words for the
//! reader, for error messages, for the environment and for `docs/configuration.md`.

use super::value::Kind;

/// One key that can be set.
#[derive(Debug)]
pub struct Key {
    /// Where it stands: `server.header_timeout`, `gateways[].id`, `providers.*.base_url`.
    pub path: &'static str,
    /// What it holds, and within which bounds.
    pub kind: Kind,
    /// What holds when it is not set.
    pub default: Unset,
    /// What it does, in one or two sentences.
    pub meaning: &'static str,
    /// A value as it is written in the file.
    pub example: &'static str,
}

/// What holds when a key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It must be set.
    Required,
    /// Nothing.
    Absent,
    /// This value, as it would be written in the environment.
    Is(&'static str),
    /// Whatever another source says: another key, or the built-in description.
    From(&'static str),
}

impl Key {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The table it stands in: empty at the top.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The environment variable that sets it; `None` for keys in arrays and named tables.
    #[must_use]
    pub fn env(&self) -> Option<String> {
        let in_table = !self.path.contains(['[', '*']);
        in_table.then(|| {
            format!(
                "ISANGO_{}",
                self.path.replace('.', "__").to_ascii_uppercase()
            )
        })
    }
}

/// A key that a later version will know, so that it is refused with a reason.
#[derive(Debug)]
pub struct Later {
    /// Its path, spelled as in [`Key::path`].
    pub path: &'static str,
    /// What is not there yet (`caching`).
    pub what: &'static str,
}

/// The description of the key at `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names that may stand in `section`, sections among them, in the order of [`KEYS`].
pub fn names_in(section: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in KEYS {
        let rest = match section {
            "" => Some(key.path),
            _ => key
                .path
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split(['.', '[']).next());
        if let Some(name) = name
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// Whether `path` names a table that holds keys: `server`, `gateways[]`, `providers.*`.
#[must_use]
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| !path.is_empty() && rest.starts_with('.'))
    })
}

/// The section as its header is written: `[server]`, `[[gateways]]`, `[providers.<slug>]`.
#[must_use]
pub fn header(section: &str) -> String {
    let name = section.replace("[]", "").replace('*', "<slug>");
    if section.ends_with("[]") {
        format!("[[{name}]]")
    } else {
        format!("[{name}]")
    }
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Unset,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        meaning,
        example,
    }
}

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

use Unset::{Absent, From, Is, Required};

/// Longest time that any timeout may be set to.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Every key, in the order of the reference.
pub const KEYS: &[Key] = &[
    key(
        "listen",
        Kind::Address,
        Is("127.0.0.1:8700"),
        r#""0.0.0.0:8700""#,
        "Address of the data plane: what clients call. Port 0 takes a free one.",
    ),
    key(
        "admin_listen",
        Kind::Address,
        Is("127.0.0.1:8701"),
        r#""127.0.0.1:9701""#,
        "Address of health, readiness and metrics. Never the same as `listen`.",
    ),
    key(
        "data_dir",
        Kind::Path,
        Is("./isango-data"),
        r#""/var/lib/isango""#,
        "Folder of the record store; made when it is missing.",
    ),
    key(
        "allow_unauthenticated",
        Kind::Flag,
        Is("false"),
        "true",
        "Serves gateways that ask for no token beyond loopback too. Without it the server refuses \
         to start that way.",
    ),
    // server
    key(
        "server.header_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("10s"),
        r#""5s""#,
        "How long a client may take to send the head of a request; slower ones are cut. `0s`: no \
         limit.",
    ),
    key(
        "server.idle_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("75s"),
        r#""2m""#,
        "How long a client's connection may rest between two requests. `0s`: no limit.",
    ),
    key(
        "server.first_byte_timeout",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("0s"),
        r#""60s""#,
        "How long a provider may take to the first byte of its answer, for gateways that do not \
         say otherwise. `0s`: no limit.",
    ),
    key(
        "server.shutdown_grace",
        Kind::Wait {
            min_ms: 0,
            max_ms: DAY_MS,
        },
        Is("30s"),
        r#""2m""#,
        "How long running answers may go on after the order to stop; then they are cut.",
    ),
    key(
        "server.max_connections",
        Kind::Count {
            min: 1,
            max: 1_000_000,
        },
        Is("10000"),
        "50_000",
        "Connections of clients that are served at once; further ones wait to be accepted.",
    ),
    // tls
    key(
        "tls.cert",
        Kind::Path,
        Absent,
        r#""tls/fullchain.pem""#,
        "Certificate chain of the data plane, in PEM. Set together with `tls.key`; without both \
         the data plane speaks cleartext. A changed file is taken up without a restart.",
    ),
    key(
        "tls.key",
        Kind::Path,
        Absent,
        r#""tls/key.pem""#,
        "Private key of `tls.cert`, in PEM.",
    ),
    // upstream
    key(
        "upstream.connect_timeout",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        Is("10s"),
        r#""3s""#,
        "How long a connection to a provider may take to be made, TLS included.",
    ),
    key(
        "upstream.pool_idle_timeout",
        Kind::Wait {
            min_ms: 1,
            max_ms: DAY_MS,
        },
        Is("60s"),
        r#""30s""#,
        "How long an unused connection to a provider is kept.",
    ),
    key(
        "upstream.pool_max_idle_per_host",
        Kind::Count {
            min: 0,
            max: 100_000,
        },
        Is("256"),
        "64",
        "Unused connections that are kept for each host of a provider.",
    ),
    key(
        "upstream.http2",
        Kind::Choice(&["auto", "never", "always"]),
        Is("auto"),
        r#""never""#,
        "Whether HTTP/2 is spoken to providers: where TLS negotiates it, never, or always, also \
         in cleartext.",
    ),
    key(
        "upstream.extra_ca_file",
        Kind::Path,
        Absent,
        r#""corporate-ca.pem""#,
        "Certificate authorities, in PEM, to trust besides those of the system.",
    ),
    // records
    key(
        "records.flush_window",
        Kind::Wait {
            min_ms: 1,
            max_ms: 10_000,
        },
        Is("100ms"),
        r#""50ms""#,
        "How long a finished exchange may wait for its commit to disk: what a crash can lose.",
    ),
    key(
        "records.max_queue_bytes",
        Kind::Size {
            min: 1 << 20,
            max: 64 << 30,
        },
        Is("64MiB"),
        r#""256MiB""#,
        "Memory for records that wait to be written. When it is full, records are dropped and \
         counted; requests are never delayed.",
    ),
    key(
        "records.retention_bytes",
        Kind::Size {
            min: 0,
            max: i64::MAX as u64,
        },
        Is("0"),
        r#""50GiB""#,
        "The oldest records go when the store is larger than this. `0`: no limit.",
    ),
    key(
        "records.retention_age",
        Kind::Wait {
            min_ms: 0,
            max_ms: 36_500 * DAY_MS,
        },
        Is("0s"),
        r#""90d""#,
        "Records go when they are older than this. `0s`: no limit.",
    ),
    // log
    key(
        "log.level",
        Kind::Filter,
        Is("info"),
        r#""info,isango_proxy=debug""#,
        "What the server logs about itself on standard error: `error`, `warn`, `info`, `debug`, \
         `trace` or `off`, or directives for single modules.",
    ),
    key(
        "log.format",
        Kind::Choice(&["text", "json"]),
        Is("text"),
        r#""json""#,
        "Lines for people, or one JSON object per line.",
    ),
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

/// What design and documents promise for later versions, refused with a reason until then.
pub const LATER: &[Later] = &[
    later("storage", "choosing other stores than the embedded one"),
    later("gateways[].cache_ttl", "caching"),
    later("gateways[].cache_key_mode", "caching"),
    later("gateways[].cache_scope", "caching"),
    later("gateways[].cache_invalidate_on_update", "caching"),
    later("gateways[].retry", "retrying"),
    later("gateways[].retry_max_attempts", "retrying"),
    later("gateways[].retry_delay", "retrying"),
    later("gateways[].retry_backoff", "retrying"),
    later("gateways[].fallback", "falling back to another target"),
    later("gateways[].residency", "binding a gateway to regions"),
    later("gateways[].limits", "limiting requests, tokens and cost"),
    later("gateways[].spend_limits", "limiting cost"),
    later("gateways[].rate_limiting_interval", "limiting requests"),
    later("gateways[].rate_limiting_limit", "limiting requests"),
    later("gateways[].rate_limiting_technique", "limiting requests"),
    later("gateways[].routes", "named routes"),
    later("gateways[].guards", "guarding content"),
    later("gateways[].logpush", "exporting records"),
    later("gateways[].otel", "exporting records"),
    later(
        "gateways[].durability",
        "holding answers until their record is on disk",
    ),
    later(
        "records.durability",
        "holding answers until their record is on disk",
    ),
    later("providers.*.retry", "retrying"),
    later(
        "gateways[].log_management",
        "retention for a single gateway",
    ),
    later(
        "gateways[].log_management_strategy",
        "retention for a single gateway",
    ),
];

const fn later(path: &'static str, what: &'static str) -> Later {
    Later { path, what }
}
