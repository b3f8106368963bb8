//! The keys of the server itself.

use super::Unset::{Absent, Is, Required};
use super::{Key, key};
use crate::config::value::Kind;

/// Longest time that any timeout may be set to.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
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
        "Address of the dashboard and the management API, which need a session or a token, and of \
         health, readiness, metrics, `/cache`, `/targets` and `/exports`, which ask for nothing. Never \
         the same as `listen`.",
    ),
    key(
        "data_dir",
        Kind::Path,
        Is("./isango-data"),
        r#""/var/lib/isango""#,
        "Folder of the record store; made when it is missing.",
    ),
    key(
        "dashboard_url",
        Kind::Url,
        Absent,
        r#""https://isango.example.com""#,
        "Where people reach the dashboard; links in messages lead there. Not set: no links.",
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
    key(
        "server.allowed_hosts",
        Kind::Texts,
        Absent,
        r#"["ai.example.com"]"#,
        "Names by which gateways that ask for no token may be called where `listen` is of this \
         machine alone, beside its own, addresses, and names without a dot. `*`: any.",
    ),
    key(
        "server.allowed_origins",
        Kind::Texts,
        Absent,
        r#"["https://app.example.com"]"#,
        "Web pages that gateways that ask for no token take requests of, beside those of this \
         machine. `*`: any.",
    ),
    key(
        "server.trusted_proxies",
        Kind::Texts,
        Absent,
        r#"["127.0.0.1", "10.0.0.0/8"]"#,
        "Proxies before the admin listener that say in `x-forwarded-for` for whom they ask: addresses \
         and networks. Tries to sign in are counted by who that is; of all others the header is \
         passed over.",
    ),
    // oidc
    key(
        "oidc.issuer",
        Kind::Text,
        Absent,
        r#""https://login.example.com""#,
        "Provider of identities by which people sign in to the dashboard, too (`OpenID` Connect): its \
         issuer, exactly as it names itself. Needs `dashboard_url`. See [users](users.md).",
    ),
    key(
        "oidc.client_id",
        Kind::Text,
        Absent,
        r#""isango""#,
        "Who this gateway is there; needed with `oidc.issuer`.",
    ),
    key(
        "oidc.client_secret",
        Kind::Secret,
        Absent,
        r#""env:OIDC_SECRET""#,
        "What proves it; without one the provider must take PKCE alone.",
    ),
    key(
        "oidc.name",
        Kind::Text,
        Is("single sign-on"),
        r#""Example Login""#,
        "What the login page calls it: `Sign in with …`.",
    ),
    key(
        "oidc.scopes",
        Kind::Texts,
        Absent,
        r#"["openid", "email", "groups"]"#,
        "What it is asked for, `openid` among it. Not set: `openid`, `email` and `profile`.",
    ),
    key(
        "oidc.allowed_domains",
        Kind::Texts,
        Absent,
        r#"["example.com"]"#,
        "Domains of addresses that are let in. Not set: all of them.",
    ),
    key(
        "oidc.role_claim",
        Kind::Text,
        Absent,
        r#""groups""#,
        "Claim of the ID token, a text or a list of them, that roles follow from, with each sign-in. \
         Not set: whoever is new gets `oidc.default_role`, and roles are given here from then on.",
    ),
    key(
        "oidc.default_role",
        Kind::Choice(&["none", "viewer", "analyst", "admin", "owner"]),
        Is("none"),
        r#""viewer""#,
        "What those may do that no value of `oidc.role_claim` gives a role. `none`: they are not let \
         in.",
    ),
    key(
        "oidc.default_account",
        Kind::Text,
        Is("local"),
        r#""*""#,
        "In which account; `*`: in every one.",
    ),
    key(
        "oidc.trust_email",
        Kind::Flag,
        Is("false"),
        "true",
        "Takes addresses of which the provider does not say whether they are verified, as Entra ID \
         does not. One that it calls unverified is refused in any case.",
    ),
    key(
        "oidc.link_existing",
        Kind::Flag,
        Is("false"),
        "true",
        "Lets whoever brings the address that a user here has as a name in as that user, whose roles \
         stay. Without it such a name is refused.",
    ),
    key(
        "oidc.allow_private",
        Kind::Flag,
        Is("false"),
        "true",
        "The provider may be in a private network, and be asked by http.",
    ),
    key(
        "oidc.roles[].value",
        Kind::Text,
        Required,
        r#""isango-admins""#,
        "Value of `oidc.role_claim`.",
    ),
    key(
        "oidc.roles[].account",
        Kind::Text,
        Is("local"),
        r#""*""#,
        "Account in which it gives a role; `*`: in every one. Of several roles the strongest counts.",
    ),
    key(
        "oidc.roles[].role",
        Kind::Choice(&["viewer", "analyst", "admin", "owner"]),
        Required,
        r#""admin""#,
        "The role.",
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
        "records.durability",
        Kind::Choice(&["relaxed", "strict"]),
        Is("relaxed"),
        r#""strict""#,
        "When the last byte of an answer goes to its client, for gateways that do not say: at once, \
         or when its record is on disk.",
    ),
    key(
        "records.max_queue_bytes",
        Kind::Size {
            min: 1 << 20,
            max: 64 << 30,
        },
        Is("64MiB"),
        r#""256MiB""#,
        "Memory for the bodies of exchanges in flight and of records that wait to be written. When \
         it is full, bodies are kept in part and their records say so (`memory_limit`). Records are \
         dropped, and counted, only when 16 384 of them wait and no more can be packed; requests are \
         never delayed.",
    ),
    key(
        "records.max_spill_bytes",
        Kind::Size {
            min: 0,
            max: 1 << 40,
        },
        Is("64MiB"),
        r#""1GiB""#,
        "How much is packed of records that wait because the disk takes none, once half of the queue \
         is full: some hundred bytes for each, compressed. `0`: nothing is.",
    ),
    key(
        "records.spill_dir",
        Kind::Path,
        Absent,
        r#""/mnt/other/isango""#,
        "Folder of the file that holds what is packed; best on another disk than `data_dir`. The file \
         has no name and goes with the process. Without a folder it stays in memory.",
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
    key(
        "records.body_retention_age",
        Kind::Wait {
            min_ms: 0,
            max_ms: 36_500 * DAY_MS,
        },
        Is("0s"),
        r#""30d""#,
        "The bodies of records go when they are older than this; the rest is kept. `0s`: bodies are \
         kept as long as their records.",
    ),
    // cache
    key(
        "cache.memory_bytes",
        Kind::Size {
            min: 0,
            max: 1 << 40,
        },
        Is("64MiB"),
        r#""512MiB""#,
        "Memory for kept answers; those that are asked for most stay.",
    ),
    key(
        "cache.disk_bytes",
        Kind::Size {
            min: 0,
            max: 1 << 50,
        },
        Is("1GiB"),
        r#""20GiB""#,
        "Size of the file of kept answers, `cache/cache.sqlite` in `data_dir`; the oldest go first. \
         `0`: answers are kept in memory alone.",
    ),
    key(
        "cache.max_entry_bytes",
        Kind::Size {
            min: 1,
            max: 1 << 30,
        },
        Is("8MiB"),
        r#""32MiB""#,
        "Largest answer that is kept; larger ones cross and are not.",
    ),
    // secrets
    key(
        "secrets.key",
        Kind::Secret,
        Absent,
        r#""env:ISANGO_SEAL_KEY""#,
        "Key that stored credentials are sealed with (AES-256-GCM): 32 bytes in base64, or 64 hex \
         digits. See [credentials](credentials.md).",
    ),
    key(
        "secrets.previous_key",
        Kind::Secret,
        Absent,
        r#""env:ISANGO_OLD_SEAL_KEY""#,
        "Opens what was sealed before `secrets.key`, until `isango key rotate` has sealed it anew.",
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
];
