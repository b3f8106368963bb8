//! A whole server in process, on port 0, with the in-memory record store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use isango_backends::cache::EmbeddedCache;
use isango_server::Server;
use isango_server::config::{Config, Sources};
use isango_store::Stores;
use isango_store::cache::CacheStore as _;
use isango_store::config::ConfigStore;
use isango_store::logs::{LogReader as _, LogStore, Order, Query};
use isango_store::memory::{MemoryConfig, MemoryLogs, MemoryOutbox};
use isango_testkit::client::{Ask, Client, Reply, ask};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::provider::PathRule;
use isango_types::{Clock, Provider, Record};
use tokio::net::TcpListener;

/// Where chat completions are asked for.
pub(crate) const CHAT: &str = "/v1/local/default/openai/chat/completions";

/// A running server and its records.
pub(crate) struct Harness {
    pub(crate) server: Server,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) logs: Arc<MemoryLogs>,
    cache: Arc<EmbeddedCache>,
}

impl Harness {
    /// Starts a server whose configuration is `toml`; listeners are on port 0.
    #[expect(
        clippy::unused_async,
        reason = "tests await a server as they await an upstream"
    )]
    pub(crate) async fn start(toml: &str) -> Self {
        Self::start_config(&config(toml), Clock::system())
    }

    /// The same, from a configuration that was read already, and by a clock of the test's.
    pub(crate) fn start_config(config: &Config, clock: Clock) -> Self {
        Self::start_stored(config, Arc::new(MemoryConfig::default()), clock)
    }

    /// The same, with entities that are stored beside the configuration.
    pub(crate) fn start_stored(
        config: &Config,
        entities: Arc<dyn ConfigStore>,
        clock: Clock,
    ) -> Self {
        let logs = Arc::new(MemoryLogs::default());
        Self::start_over(config, (Arc::clone(&logs) as _, logs), entities, clock)
    }

    /// The same, whose records go to a store that ends in another one in memory.
    pub(crate) fn start_over(
        config: &Config,
        (store, logs): (Arc<dyn LogStore>, Arc<MemoryLogs>),
        entities: Arc<dyn ConfigStore>,
        clock: Clock,
    ) -> Self {
        let cache = Arc::new(EmbeddedCache::in_memory(config.cache.memory_bytes));
        let stores = Stores {
            logs: store,
            cache: Arc::clone(&cache) as _,
            config: entities,
            pledges: Arc::new(isango_store::memory::MemoryPledges::default()),
            checkpoint: Arc::new(isango_store::memory::MemoryCheckpoint::default()),
            exports: Arc::new(isango_store::memory::MemoryExports::default()),
            sessions: Arc::new(isango_store::memory::MemorySessions::default()),
            spill: Arc::new(isango_store::memory::MemorySpill::new(1 << 20)),
        };
        let outbox = Arc::new(MemoryOutbox::default());
        let server = isango_server::start_with(config, stores, outbox, clock).unwrap();
        let of = |url: String| url.split_once("://").unwrap().1.parse().unwrap();
        let (addr, admin) = (of(server.data_url()), of(server.admin_url()));
        Self {
            server,
            addr,
            admin,
            logs,
            cache,
        }
    }

    /// A server whose `openai` and `azure-openai` lead to `upstream`.
    pub(crate) async fn before(upstream: &Upstream) -> Self {
        Self::start(&providers(upstream)).await
    }

    /// The same, with these settings besides: whole tables of TOML.
    pub(crate) async fn with(settings: &str, upstream: &Upstream) -> Self {
        Self::start(&format!("{settings}\n{}", providers(upstream))).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn ask(&self, request: &Ask) -> Reply {
        ask(self.addr, request).await
    }

    /// Sends one request on a connection of its own, without waiting for the answer.
    pub(crate) async fn send(&self, request: &Ask) -> Client {
        let mut client = Client::connect(self.addr).await;
        client.send_ask(request).await;
        client
    }

    /// Waits until `count` records are there; oldest first.
    pub(crate) async fn records(&self, count: usize) -> Vec<Record> {
        let query = || Query {
            order: Order::OldestFirst,
            limit: 10_000,
            with_bodies: true,
            ..Query::default()
        };
        within("the records", async {
            loop {
                let records = self.logs.query(&query()).unwrap().records;
                if records.len() >= count {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Waits until `count` answers are kept: a large one is put together after its end.
    pub(crate) async fn kept(&self, count: u64) {
        within("the kept answers", async {
            while self.cache.stats().unwrap().memory.entries < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// The one record of a test with one request.
    pub(crate) async fn record(&self) -> Record {
        let mut records = self.records(1).await;
        assert_eq!(records.len(), 1, "one request leaves one record");
        records.remove(0)
    }
}

/// A URL that nobody listens at.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The records that are there now, newest first.
pub(crate) fn recorded(logs: &MemoryLogs) -> Vec<Record> {
    let query = Query {
        limit: 10_000,
        ..Query::default()
    };
    logs.query(&query).unwrap().records
}

/// Reads the configuration `toml`; listeners are on port 0.
pub(crate) fn config(toml: &str) -> Config {
    let text = format!("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{toml}");
    Config::parse(&text, &Sources::default())
        .unwrap_or_else(|error| panic!("the test's configuration is wrong:\n{error}"))
}

/// Configuration that sends the common providers to `upstream`.
pub(crate) fn providers(upstream: &Upstream) -> String {
    let url = upstream.url();
    format!(
        "[providers.openai]\nbase_url = \"{url}/v1\"\n\
         [providers.azure-openai]\nbase_url = \"{url}/azure/{{resource}}\"\n\
         [providers.anthropic]\nbase_url = \"{url}\"\n\
         [providers.google-ai-studio]\nbase_url = \"{url}\"\n\
         [providers.openrouter]\nbase_url = \"{url}/v1\"\n"
    )
}

/// Configuration that sends every provider of the catalogue to `upstream`, below `/p`.
pub(crate) fn every_provider(upstream: &Upstream) -> String {
    let url = upstream.url();
    let providers = Provider::built_in().unwrap().into_iter();
    let tables = providers.map(|provider| {
        // Baseten fills one in where there is one, and then serves nothing else.
        let is_filled = provider.path != PathRule::Baseten;
        let places = provider.path.placeholders().iter().filter(|_| is_filled);
        let places: String = places.map(|place| format!("/{{{place}}}")).collect();
        format!(
            "[providers.{}]\nbase_url = \"{url}/p{places}\"\n",
            provider.slug
        )
    });
    tables.collect()
}
