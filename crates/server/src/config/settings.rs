//! The shape of a checked configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use isango_control::Oidc;
use isango_exports::Job;
use isango_store::seal::Keyring;
use isango_types::policy::Durability;
use isango_types::{Gateway, Network, PriceTable, Provider, Token};

use super::references::Environment;

/// Everything that the server runs by: read from all sources, with defaults filled in, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the data plane.
    pub listen: SocketAddr,
    /// Address of health, metrics and management.
    pub admin_listen: SocketAddr,
    /// Folder of the record store.
    pub data_dir: PathBuf,
    /// Where people reach the dashboard; links in messages lead there.
    pub dashboard_url: Option<Box<str>>,
    /// Whether unauthenticated gateways may be served beyond loopback.
    pub allow_unauthenticated: bool,
    /// Certificate and key of the data plane; `None`: cleartext.
    pub tls: Option<TlsFiles>,
    /// How clients are served.
    pub server: ServerSettings,
    /// How providers are connected to.
    pub upstream: UpstreamSettings,
    /// How records are kept.
    pub records: RecordSettings,
    /// How much of answers is kept.
    pub cache: CacheSettings,
    /// How the server itself logs.
    pub log: LogSettings,
    /// The configured gateways.
    pub gateways: Vec<Gateway>,
    /// What serves `default` in accounts that have not configured it.
    pub default_gateway: Gateway,
    /// Built-in providers with the configured changes, and configured ones.
    pub providers: Vec<Provider>,
    /// Tokens that open gateways.
    pub tokens: Vec<Token>,
    /// What tokens cost, with the configured changes.
    pub prices: Arc<PriceTable>,
    /// What stored credentials are sealed with; `None`: they cannot be opened.
    pub keyring: Option<Arc<Keyring>>,
    /// What the environment says of the identity of this process in a cloud.
    pub(crate) identity: Environment,
    /// Whether destinations that the management API names may be in private networks.
    pub logpush_allow_private: bool,
    /// Whether providers that the management API names may be in private networks.
    pub custom_providers_allow_private: bool,
    /// The provider of identities by which people sign in, too.
    pub oidc: Option<Oidc>,
    /// What is exported, and where to.
    pub exports: Arc<[Arc<Job>]>,
    /// What is accepted but probably not meant; one text each.
    pub warnings: Vec<String>,
}

/// PEM files of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// How long a client may take to send a request's head; `None`: as long as it likes.
    pub header_timeout: Option<Duration>,
    /// How long a client's connection may rest between requests; `None`: as long as it likes.
    pub idle_timeout: Option<Duration>,
    /// How long a provider may take to its first byte, unless the gateway says otherwise.
    pub first_byte_timeout: Option<Duration>,
    /// How long running answers may go on after the order to stop.
    pub shutdown_grace: Duration,
    /// Connections of clients that are served at once.
    pub max_connections: usize,
    /// Names by which open gateways may be called, beside those of this machine.
    pub allowed_hosts: Vec<Box<str>>,
    /// Web pages that open gateways take requests of, beside those of this machine.
    pub allowed_origins: Vec<Box<str>>,
    /// Proxies before the admin listener that are believed when they say for whom they ask.
    pub trusted_proxies: Vec<Network>,
}

/// How providers are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// Unused connections that are kept for each host.
    pub pool_max_idle_per_host: usize,
    /// Whether HTTP/2 is spoken.
    pub http2: Http2,
    /// PEM file of further certificate authorities to trust.
    pub extra_ca_file: Option<PathBuf>,
}

/// Whether HTTP/2 is spoken to providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Where TLS negotiates it.
    Auto,
    /// Never: HTTP/1.1.
    Never,
    /// Always, also without TLS.
    Always,
}

/// How records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// How long a finished exchange may wait for its commit.
    pub flush_window: Duration,
    /// When the last byte of an answer goes to its client, where its gateway does not say.
    pub durability: Durability,
    /// Memory for records that wait to be written, in bytes.
    pub max_queue_bytes: u64,
    /// How much is packed of records that wait because the disk takes none, in bytes.
    pub max_spill_bytes: u64,
    /// Where that is; `None`: in memory.
    pub spill_dir: Option<PathBuf>,
    /// The oldest records go when the store is larger, in bytes; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// Records go when they are older; `None`: no limit.
    pub retention_age: Option<Duration>,
    /// Bodies go when their records are older; `None`: with their records.
    pub body_retention_age: Option<Duration>,
}

/// How much of answers is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// In memory, in bytes.
    pub memory_bytes: u64,
    /// On disk, in bytes; 0: nothing.
    pub disk_bytes: u64,
    /// The largest answer, in bytes.
    pub max_entry_bytes: u64,
}

/// How the server itself logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A level (`info`), or directives (`info,isango_proxy=debug`).
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of our own log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}
