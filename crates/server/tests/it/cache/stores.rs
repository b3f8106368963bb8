//! Stores that fail, purges, and what changes of the configuration do.

use std::sync::Arc;
use std::time::Duration;

use isango_server::Server;
use isango_store::Stores;
use isango_store::cache::{CacheStore, Entry, Error, Key, Peek, Purge, Stats};
use isango_store::memory::{MemoryConfig, MemoryLogs, MemoryOutbox, MemoryPledges};
use isango_testkit::answer::json;
use isango_testkit::client::{Ask, ask};
use isango_testkit::fixtures::COMPLETION;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::{Clock, Timestamp};
use serde_json::json as value;
use tokio::time::Instant;

use super::{PURGE, PURGER, purge, question, status};
use crate::harness::{Harness, config, providers};

/// A store that knows everything and tells it late, or not at all.
struct Trouble {
    takes: Duration,
}

impl CacheStore for Trouble {
    fn peek(&self, _key: &Key) -> Peek {
        Peek::Elsewhere
    }

    fn get(&self, _key: &Key) -> Result<Option<Arc<Entry>>, Error> {
        std::thread::sleep(self.takes);
        Err(Error::Busy)
    }

    fn put(&self, _entry: Arc<Entry>, _generation: u64) -> Result<(), Error> {
        Err(Error::Busy)
    }

    fn generation(&self) -> u64 {
        0
    }

    fn purge(&self, _what: &Purge) -> Result<u64, Error> {
        Err(Error::Busy)
    }

    fn expire(&self, _now: Timestamp) -> Result<u64, Error> {
        Err(Error::Busy)
    }

    fn stats(&self) -> Result<Stats, Error> {
        Err(Error::Busy)
    }

    fn flush(&self) -> Result<(), Error> {
        Err(Error::Busy)
    }
}

fn with_store(cache: Arc<dyn CacheStore>, upstream: &Upstream) -> Server {
    let stores = Stores {
        logs: Arc::new(MemoryLogs::default()),
        cache,
        config: Arc::new(MemoryConfig::default()),
        pledges: Arc::new(MemoryPledges::default()),
        checkpoint: Arc::new(isango_store::memory::MemoryCheckpoint::default()),
        exports: Arc::new(isango_store::memory::MemoryExports::default()),
        sessions: Arc::new(isango_store::memory::MemorySessions::default()),
        spill: Arc::new(isango_store::memory::MemorySpill::new(1 << 20)),
    };
    let (config, outbox) = (config(&providers(upstream)), MemoryOutbox::default());
    isango_server::start_with(&config, stores, Arc::new(outbox), Clock::system()).unwrap()
}

fn addr(url: &str) -> std::net::SocketAddr {
    url.split_once("://").unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_store_that_fails_or_is_slow_is_a_miss_and_counted() {
    const SLOW: Duration = Duration::from_millis(700);
    let upstream = Upstream::start([json(COMPLETION)]).await;
    for takes in [Duration::ZERO, SLOW] {
        let server = with_store(Arc::new(Trouble { takes }), &upstream);
        let begun = Instant::now();
        let reply = ask(addr(&server.data_url()), &question()).await;
        assert_eq!((status(&reply), reply.text()), ("MISS", COMPLETION));
        assert!(begun.elapsed() < SLOW / 2, "{:?}", begun.elapsed());
        let metrics = ask(addr(&server.admin_url()), &Ask::get("/metrics")).await;
        let line = "isango_cache_errors_total 2";
        assert!(
            metrics.text().lines().any(|l| l == line),
            "{}",
            metrics.text()
        );
        let stats = ask(addr(&server.admin_url()), &Ask::get("/cache")).await;
        assert_eq!(stats.status(), 500);
    }
}

#[tokio::test]
async fn what_is_purged_is_asked_anew() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let settings = format!("[[gateways]]\nid = \"other\"\n{PURGER}");
    let gateway = Harness::with(&settings, &upstream).await;
    let of = |path: &str| {
        Ask::post(path, isango_testkit::fixtures::PROMPT)
            .with("authorization", "Bearer sk-one")
            .with("cf-aig-cache-key", "acme")
    };
    let one = of("/v1/local/default/openai/chat/completions");
    let other = of("/v1/local/other/openai/chat/completions");
    let key = |n: usize| {
        let gateway = &gateway;
        async move {
            gateway.records(n + 1).await[n]
                .cache
                .clone()
                .unwrap()
                .key
                .unwrap()
        }
    };
    let purged_by = async |what: &serde_json::Value| {
        let reply = ask(gateway.admin, &purge(what.to_string())).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()["result"]["purged"].as_u64().unwrap()
    };
    gateway.ask(&one).await;
    let first_key = key(0).await;
    for (what, purged) in [
        (value!({}), 2),
        (value!({"gateway": "other"}), 1),
        (value!({"scope": "acme"}), 2),
        (value!({"scope": "globex"}), 0),
        (value!({"model": "gpt-4o", "gateway": "default"}), 1),
        (value!({"key": first_key}), 1),
        (value!({"older_than_s": 3_600}), 0),
    ] {
        gateway.ask(&one).await;
        gateway.ask(&other).await;
        let stats = ask(gateway.admin, &Ask::get("/cache")).await;
        assert_eq!(stats.json()["memory"]["entries"], 2, "{what}");
        assert_eq!(purged_by(&what).await, purged, "{what}");
    }
    for wrong in ["{\"gatway\":\"x\"}", "{\"key\":\"nonsense\"}", "[]"] {
        let reply = ask(gateway.admin, &purge(wrong)).await;
        assert!((400..500).contains(&reply.status()), "{wrong}");
    }
    // Nobody purges without a token.
    let unnamed = Ask::post(PURGE, "{}");
    assert_eq!(ask(gateway.admin, &unnamed).await.status(), 401);
}

#[tokio::test]
async fn a_changed_gateway_loses_its_cache_where_it_wants_that() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let toml = |ttl: u32, wants: bool| {
        format!(
            "[[gateways]]\nid = \"default\"\ncache_ttl = {ttl}\n\
             cache_invalidate_on_update = {wants}\n\
             [[gateways]]\nid = \"other\"\ncache_ttl = {ttl}\n{}",
            providers(&upstream)
        )
    };
    let gateway = Harness::start(&toml(600, true)).await;
    let other = Ask::post("/v1/local/other/openai/chat/completions", "{}")
        .with("authorization", "Bearer sk-one");
    for ask in [&question(), &other] {
        assert_eq!(status(&gateway.ask(ask).await), "MISS");
    }
    // Nothing has changed.
    gateway.server.reload(&config(&toml(600, true)));
    assert_eq!(status(&gateway.ask(&question()).await), "HIT");
    gateway.server.reload(&config(&toml(700, true)));
    within("the cache to be emptied", async {
        while status(&gateway.ask(&question()).await) == "HIT" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(status(&gateway.ask(&other).await), "HIT");
}

/// The status that the admin listener gives a request with these headers.
async fn admitted(gateway: &Harness, ask_for: &Ask, headers: &[(&str, &str)]) -> u16 {
    let with = |ask: Ask, (name, value): &(&str, &str)| ask.with(name, value);
    let asked = headers.iter().fold(ask_for.clone(), with);
    ask(gateway.admin, &asked).await.status()
}

#[tokio::test]
async fn pages_of_other_origins_cannot_use_the_admin_listener() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let port = gateway.admin.port();
    let address = format!("127.0.0.1:{port}");
    let own = format!("http://{address}");
    let (local, name) = (
        format!("localhost:{port}"),
        format!("rebound.example:{port}"),
    );
    let (of_local, of_name) = (format!("http://{local}"), format!("http://{name}"));
    let stats = Ask::get("/cache");
    for (headers, expected) in [
        (&[][..], 200),
        (&[("host", &*address), ("origin", &*own)], 200),
        (&[("host", &*local)], 200),
        (&[("host", &*local), ("origin", &*of_local)], 200),
        (&[("host", "[::1]:1")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("host", &*address), ("origin", &*of_local)], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (
            &[
                ("host", &*local),
                ("sec-fetch-site", "same-origin"),
                ("origin", &*of_local),
            ],
            200,
        ),
        // A name that was made to lead here.
        (&[("host", &*name)], 403),
        (&[("host", &*name), ("origin", &*of_name)], 403),
        (&[("host", "127.0.0.1.evil.example")], 403),
    ] {
        assert_eq!(
            admitted(&gateway, &stats, headers).await,
            expected,
            "{headers:?}"
        );
    }
    for path in ["/cache", "/targets", "/metrics", "/healthz", "/readyz"] {
        let get = Ask::get(path);
        assert_eq!(admitted(&gateway, &get, &[]).await, 200, "{path}");
        // Load balancers ask by whatever name.
        let named = admitted(&gateway, &get, &[("host", &name)]).await;
        let tells_much = ["/cache", "/targets", "/metrics"].contains(&path);
        assert_eq!(named, if tells_much { 403 } else { 200 }, "{path}");
        let embedded = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ];
        assert_eq!(admitted(&gateway, &get, &embedded).await, 403, "{path}");
        // Somebody follows a link.
        let followed = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(admitted(&gateway, &get, &followed).await, 200, "{path}");
    }
}
