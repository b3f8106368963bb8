//! The keys of where requests go: groups, targets, providers.

use super::Unset::{Absent, From, Is, Required};
use super::settings::DAY_MS;
use super::{Key, key};
use crate::config::value::Kind;

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
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
        "providers.*.token_url",
        Kind::Url,
        From("Google's own address"),
        r#""https://oauth2.example.internal/token""#,
        "Where tokens are asked for, for service accounts that requests bring; of `google-vertex-ai` \
         alone.",
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
];
