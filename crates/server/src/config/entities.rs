//! From the tree of keys to the checked [`Config`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isango_store::seal::{Keyring, SealKey};
use isango_types::gateway::{DEFAULT_GATEWAY, Origin};
use isango_types::policy::{
    Beyond, CachePolicy, Durability, KeyMode, LogManagement, Replay, Timeouts,
};
use isango_types::price::PriceRow;
use isango_types::provider::{Auth, ProviderConfig, RetryConfig};
use isango_types::{Credential, Gateway, PriceTable, Provider, Target, Wire, nearest};

use super::policy;
use super::problem::Origins;
use super::references::Environment;
use super::section::Section;
use super::settings::{
    CacheSettings, Config, Http2, LogFormat, LogSettings, RecordSettings, ServerSettings, TlsFiles,
    UpstreamSettings,
};
use super::{alerts, limits, tokens};
use super::{check, exports, health, oidc, redaction};

/// What holds for every gateway that does not say otherwise.
pub(super) type Above<'a> = (&'a ServerSettings, &'a RecordSettings);

/// What an entity is read with, beside its section.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Where each value stands.
    pub(super) origins: &'a Origins,
    /// What paths of the file are relative to.
    pub(super) folder: &'a Path,
    /// What identities of a cloud are told by.
    pub(super) environment: &'a Environment,
}

impl Around<'_> {
    pub(super) fn relative_to(&self, span: &Range<usize>) -> PathBuf {
        if self.origins.is_file(span) {
            self.folder.to_path_buf()
        } else {
            PathBuf::new()
        }
    }
}

/// Reads everything under `root`; what is wrong is noted in the root's report.
pub(super) fn read(root: &Section<'_>, around: &Around<'_>) -> Config {
    let origins = around.origins;
    let relative_to = |span: &Range<usize>| around.relative_to(span);
    let log = root.table("log");
    let server = server(&root.table("server"));
    let records = records(&root.table("records"), &relative_to);
    let providers = providers(root);
    let mut config = Config {
        listen: root.address("listen"),
        admin_listen: root.address("admin_listen"),
        data_dir: data_dir(root, around),
        dashboard_url: dashboard_url(root),
        allow_unauthenticated: root.flag("allow_unauthenticated"),
        tls: tls(&root.table("tls"), &relative_to),
        upstream: upstream(&root.table("upstream"), &relative_to),
        cache: cache(&root.table("cache")),
        log: LogSettings {
            level: log.filter("level"),
            format: [LogFormat::Text, LogFormat::Json][log.choice("format")],
        },
        gateways: gateways(root, around, (&server, &records), &providers),
        default_gateway: Gateway {
            timeouts: Timeouts {
                first_byte: server.first_byte_timeout,
                ..Timeouts::default()
            },
            durability: records.durability,
            ..Gateway::new("", DEFAULT_GATEWAY)
        },
        server,
        records,
        providers,
        tokens: Vec::new(),
        prices: Arc::new(prices(root)),
        keyring: keyring(root).map(Arc::new),
        identity: identity(around.environment),
        logpush_allow_private: root.table("logpush").flag("allow_private"),
        custom_providers_allow_private: root.table("custom_providers").flag("allow_private"),
        oidc: oidc::read(root),
        exports: exports::jobs(root, around).into(),
        warnings: Vec::new(),
    };
    config.tokens = tokens::tokens(root, origins, &config.gateways);
    check::together(&mut config, root);
    config
}

/// How many records of a gateway are kept.
fn log_management(section: &Section<'_>) -> Option<LogManagement> {
    let beyond = section.choice("log_management_strategy");
    if !section.has("log_management") {
        if section.has("log_management_strategy") {
            let message = "`log_management_strategy` is of use with `log_management` alone: how many \
                           records are kept";
            section.problem("log_management_strategy", message.into(), None);
        }
        return None;
    }
    Some(LogManagement {
        records: section.count("log_management") as u64,
        beyond: [Beyond::DeleteOldest, Beyond::StopInserting][beyond],
    })
}

/// The folder of the record store alone.
pub(super) fn data_dir(root: &Section<'_>, around: &Around<'_>) -> PathBuf {
    let relative_to = |span: &Range<usize>| around.relative_to(span);
    root.path("data_dir", &relative_to).unwrap_or_default()
}

/// The keys that credentials are sealed with.
pub(super) fn keyring(root: &Section<'_>) -> Option<Keyring> {
    let section = root.table("secrets");
    let read = |name: &str| {
        let key = SealKey::parse(&section.secret(name)?);
        let noted = key.map_err(|wrong| section.problem(name, wrong.to_string(), None));
        noted.ok()
    };
    let (current, previous) = (read("key"), read("previous_key"));
    if section.has("previous_key") && !section.has("key") {
        let message = "`secrets.previous_key` opens what was sealed before `secrets.key`, which is \
                       missing";
        section.problem("previous_key", message.into(), None);
    }
    Some(Keyring {
        current: current?,
        previous,
    })
}

/// What leads to an identity, of all that the environment holds.
fn identity(environment: &Environment) -> Environment {
    const NAMES: [&str; 6] = [
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_AUTHORITY_HOST",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
    ];
    let known = NAMES
        .into_iter()
        .filter_map(|name| environment.get_key_value(name));
    known
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Where the dashboard is seen from outside.
fn dashboard_url(root: &Section<'_>) -> Option<Box<str>> {
    let url = root.url("dashboard_url")?;
    if let Some(name) = url.placeholders().next() {
        let message = format!("nothing fills `{{{name}}}` in `dashboard_url`");
        root.problem("dashboard_url", message, None);
    }
    Some(url.to_string().into())
}

fn server(section: &Section<'_>) -> ServerSettings {
    ServerSettings {
        header_timeout: section.timeout("header_timeout"),
        idle_timeout: section.timeout("idle_timeout"),
        first_byte_timeout: section.timeout("first_byte_timeout"),
        shutdown_grace: section.wait("shutdown_grace"),
        max_connections: section.count("max_connections"),
        allowed_hosts: check::hosts(section),
        allowed_origins: check::origins(section),
        trusted_proxies: check::networks(section),
    }
}

/// Finds the folder that a path from a place is relative to.
type RelativeTo<'f> = &'f dyn Fn(&Range<usize>) -> PathBuf;

fn tls(section: &Section<'_>, relative_to: RelativeTo<'_>) -> Option<TlsFiles> {
    let cert = check::file(section, "cert", relative_to);
    let key = check::file(section, "key", relative_to);
    if section.has("cert") != section.has("key") {
        let (there, missing) = if section.has("cert") {
            ("cert", "key")
        } else {
            ("key", "cert")
        };
        let message = format!("`tls.{there}` needs `tls.{missing}` beside it");
        section.problem(there, message, None);
    }
    Some(TlsFiles {
        cert: cert?,
        key: key?,
    })
}

fn upstream(section: &Section<'_>, relative_to: RelativeTo<'_>) -> UpstreamSettings {
    UpstreamSettings {
        connect_timeout: section.wait("connect_timeout"),
        pool_idle_timeout: section.wait("pool_idle_timeout"),
        pool_max_idle_per_host: section.count("pool_max_idle_per_host"),
        http2: [Http2::Auto, Http2::Never, Http2::Always][section.choice("http2")],
        extra_ca_file: check::file(section, "extra_ca_file", relative_to),
    }
}

pub(super) fn records(section: &Section<'_>, relative_to: RelativeTo<'_>) -> RecordSettings {
    RecordSettings {
        flush_window: section.wait("flush_window"),
        durability: durability(section),
        max_queue_bytes: section.size("max_queue_bytes"),
        max_spill_bytes: section.size("max_spill_bytes"),
        spill_dir: section.path("spill_dir", relative_to),
        retention_bytes: section.limit("retention_bytes"),
        retention_age: section.timeout("retention_age"),
        body_retention_age: section.timeout("body_retention_age"),
    }
}

fn durability(section: &Section<'_>) -> Durability {
    [Durability::Relaxed, Durability::Strict][section.choice("durability")]
}

fn cache(section: &Section<'_>) -> CacheSettings {
    CacheSettings {
        memory_bytes: section.size("memory_bytes"),
        disk_bytes: section.size("disk_bytes"),
        max_entry_bytes: section.size("max_entry_bytes"),
    }
}

/// When a gateway gives an answer again.
fn cache_policy(gateway: &Section<'_>) -> CachePolicy {
    const MODES: [KeyMode; 2] = [KeyMode::Scope, KeyMode::Replace];
    const PACES: [Replay; 2] = [Replay::AtOnce, Replay::Recorded];
    CachePolicy {
        ttl: Duration::from_secs(gateway.count("cache_ttl") as u64),
        key_mode: MODES[gateway.choice("cache_key_mode")],
        scope: gateway
            .text("cache_scope")
            .and_then(|text| check::cache_scope(gateway, &text)),
        stale_if_error: gateway.wait("cache_stale_if_error"),
        invalidate_on_update: gateway.flag("cache_invalidate_on_update"),
        replay: PACES[gateway.choice("cache_replay")],
    }
}

/// The built-in providers as the configuration changes them, and its own.
fn providers(root: &Section<'_>) -> Vec<Provider> {
    let built_in = match Provider::built_in() {
        Ok(built_in) => built_in,
        Err(error) => {
            root.problem("providers", error.to_string(), None);
            return Vec::new();
        }
    };
    let mut providers = built_in.clone();
    for (slug, section) in root.named("providers.*") {
        match provider_config(&section).into_provider(slug, &built_in) {
            Ok(provider) => {
                providers.retain(|other| other.slug != provider.slug);
                providers.push(provider);
            }
            Err(error) => {
                let slugs = built_in.iter().map(|provider| &*provider.slug);
                let help = nearest(slug, slugs).filter(|help| help.starts_with("did"));
                section.problem("", error.to_string(), help);
            }
        }
    }
    providers
}

fn provider_config(section: &Section<'_>) -> ProviderConfig {
    const WIRES: [Wire; 6] = [
        Wire::Openai,
        Wire::Anthropic,
        Wire::Gemini,
        Wire::Bedrock,
        Wire::Cohere,
        Wire::Opaque,
    ];
    let retry = section.table("providers.*.retry");
    let auth = section.table("providers.*.auth");
    let auth = section.has("auth").then(|| Auth {
        header: auth.text("header").unwrap_or_default(),
        prefix: auth.text("prefix").unwrap_or_default(),
        also: auth.texts("also"),
        optional: auth.flag("optional"),
    });
    ProviderConfig {
        name: section.text("name"),
        base_url: section.url("base_url"),
        wire: section.has("wire").then(|| WIRES[section.choice("wire")]),
        auth,
        headers: section.secret_table("headers"),
        retry: RetryConfig {
            on: retry.has("on").then(|| retry.statuses("on")),
            never: retry.has("never").then(|| retry.texts("never")),
        },
        token_url: section.url("token_url"),
        stream_usage_option: section
            .has("stream_usage_option")
            .then(|| section.flag("stream_usage_option")),
    }
}

fn gateways(
    root: &Section<'_>,
    around: &Around<'_>,
    above: Above<'_>,
    providers: &[Provider],
) -> Vec<Gateway> {
    let mut seen = Seen::new(around.origins);
    let mut gateways = Vec::new();
    for section in root.tables("gateways[]") {
        let (account, id) = (section.name("account"), section.name("id"));
        if let (Some(account), Some(id)) = (&account, &id) {
            seen.add(
                &section,
                "id",
                format!("gateway `{id}` of account `{account}`"),
            );
        }
        gateways.push(gateway(&section, (account, id), above, around, providers));
    }
    gateways
}

/// Reads one gateway, whose names were read already.
pub(super) fn gateway(
    section: &Section<'_>,
    (account, id): (Option<Box<str>>, Option<Box<str>>),
    (server, records): Above<'_>,
    around: &Around<'_>,
    providers: &[Provider],
) -> Gateway {
    let above = Timeouts {
        first_byte: server.first_byte_timeout,
        ..Timeouts::default()
    };
    let bytes = |name| usize::try_from(section.size(name)).unwrap_or(usize::MAX);
    let timeouts = policy::timeouts(section, above);
    let targets = targets(section, timeouts, around, providers);
    let mut gateway = Gateway {
        account: account.unwrap_or_default(),
        id: id.unwrap_or_default(),
        origin: Origin::File,
        authentication: section.flag("authentication"),
        collect_logs: section.flag("collect_logs"),
        collect_log_payload: section.flag("collect_log_payload"),
        durability: match section.has("durability") {
            true => durability(section),
            false => records.durability,
        },
        log_management: log_management(section),
        record_raw_streams: section.flag("record_raw_streams"),
        max_request_bytes: section.size("max_request_bytes"),
        max_record_body_bytes: bytes("max_record_body_bytes"),
        timeouts,
        total_timeout: section.timeout("total_timeout"),
        retry: policy::retry(&section.table("gateways[].retry")),
        max_replay_bytes: bytes("max_replay_bytes"),
        cache: cache_policy(section),
        residency: policy::residency(section, &targets),
        targets,
        fallback: Vec::new(),
        groups: Vec::new(),
        breaker: health::breaker(&section.table("gateways[].breaker")),
        retry_budget: health::retry_budget(&section.table("gateways[].retry")),
        hedge: health::hedge(&section.table("gateways[].hedge")),
        limits: Vec::new(),
        credentials: Vec::new(),
        alerts: Vec::new(),
        logpush: section.flag("logpush_enabled"),
        logpush_public_key: exports::public_key(section),
        otel: exports::otel(section),
        redaction: redaction::rules(section, false),
        export_redaction: redaction::rules(section, true),
    };
    gateway.limits = limits::limits(section);
    gateway.alerts = alerts::alerts(section, &gateway.limits);
    gateway.fallback = policy::chains(section, &gateway, providers);
    gateway.groups = health::groups(section, &gateway, providers);
    limits::check_diversions(section, &gateway);
    gateway
}

fn targets(
    gateway: &Section<'_>,
    above: Timeouts,
    around: &Around<'_>,
    providers: &[Provider],
) -> Vec<Arc<Target>> {
    let mut seen = Seen::new(around.origins);
    let mut targets = Vec::new();
    for section in gateway.tables("gateways[].targets[]") {
        let name = section.name("name");
        if let Some(name) = &name {
            seen.add(&section, "name", format!("target `{name}`"));
        }
        let provider = section.text("provider");
        let target = Target {
            name: name.unwrap_or_default(),
            provider: provider.clone().unwrap_or_default(),
            resource: section.name("resource"),
            region: section.text("region"),
            credential: credential(&section, around.environment),
            models: section.text_table("models"),
            api_version: section.name("api_version"),
            base_url: section.url("base_url"),
            timeouts: policy::timeouts(&section, above),
            weight: u32::try_from(section.count("weight")).unwrap_or(1),
        };
        if let Some(slug) = provider {
            match providers.iter().find(|provider| provider.is_called(&slug)) {
                Some(provider) => targets.push(check::target(&section, target, provider)),
                None => {
                    let slugs = providers.iter().map(|provider| &*provider.slug);
                    let message = format!("there is no provider `{slug}`");
                    section.problem("provider", message, nearest(&slug, slugs));
                }
            }
        }
    }
    targets
}

/// What requests that bring no credential have at a target.
fn credential(section: &Section<'_>, environment: &Environment) -> Option<Arc<Credential>> {
    let secret = section.secret("credential")?;
    match Credential::parse(secret.expose(), &|name| environment.get(name).cloned()) {
        Ok(credential) => Some(Arc::new(credential)),
        Err(wrong) => {
            section.problem("credential", wrong.to_string(), None);
            None
        }
    }
}

/// The bundled prices with the configured ones in front.
fn prices(root: &Section<'_>) -> PriceTable {
    let bundled = PriceTable::bundled();
    let mut rows = Vec::new();
    for section in root.tables("prices[]") {
        let Some(row) = section.deserialize::<PriceRow>() else {
            continue;
        };
        rows.push(row);
        // With each row, so that a contradiction is told where it is.
        if let Err(error) = bundled.with_overrides(rows.clone()) {
            section.problem("", error.to_string(), None);
            rows.pop();
        }
    }
    bundled.with_overrides(rows).unwrap_or(bundled)
}

/// Finds what is defined twice.
pub(super) struct Seen<'o> {
    origins: &'o Origins,
    first: BTreeMap<String, Option<Range<usize>>>,
}

impl<'o> Seen<'o> {
    pub(super) fn new(origins: &'o Origins) -> Self {
        Self {
            origins,
            first: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, section: &Section<'_>, name: &str, what: String) {
        match self.first.get(&what) {
            Some(first) => {
                let place = first.clone().map(|span| self.origins.place(span));
                let help = place.map(|place| format!("the first stands in {place}"));
                section.problem(name, format!("{what} is defined twice"), help);
            }
            None => {
                self.first.insert(what, section.span(name));
            }
        }
    }
}
