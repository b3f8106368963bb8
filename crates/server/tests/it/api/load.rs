//! A change while requests pass: none fails, and those that come after its answer are under it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use isango_testkit::client::Client;
use serde_json::json;
use tokio::time::Instant;

use super::*;

/// Requests in a second.
const RATE: u64 = 500;
/// Connections that they come by.
const CLIENTS: u64 = 10;
/// Changes that are made.
const CHANGES: u64 = 10;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    passed: AtomicU64,
    over: AtomicBool,
}

/// Sends chats at an even pace by one connection; the limit that each answer tells is at least that
/// of the change whose answer had come before it was sent.
async fn chats(addr: std::net::SocketAddr, seen: Arc<Seen>, in_force: Arc<AtomicU64>) {
    let path = "/v1/local/shop/openai/chat/completions";
    let chat = Ask::post(path, PROMPT).with("authorization", "Bearer sk-mine");
    let mut client = Client::connect(addr).await;
    let mut pace = tokio::time::interval(Duration::from_millis(1_000 * CLIENTS / RATE));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !seen.over.load(Ordering::Relaxed) {
        pace.tick().await;
        let least = in_force.load(Ordering::SeqCst);
        client.send_ask(&chat).await;
        let reply = client.reply().await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let limit: u64 = reply.header("x-ratelimit-limit").unwrap().parse().unwrap();
        assert!(
            limit >= least,
            "{limit} is the limit before that of {least}"
        );
        seen.passed.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_changed_under_load_fails_nobody_and_holds_at_once() {
    const FIRST: u64 = 1_000_000;
    let upstream = Upstream::start_by(|_| json(COMPLETION)).await;
    let managed = Managed::before("", upstream);
    let settings = format!("{OWN}/gateways/shop/settings");
    let gateway = json!({
        "id": "shop", "cache_invalidate_on_update": false, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 0, "rate_limiting_limit": 0,
    });
    managed.done("POST", GATEWAYS, &gateway).await;
    let limit = |limit: u64| json!({"limits": [{"id": "all", "unit": "requests", "limit": limit, "window": "day"}]});
    managed.done("PUT", &settings, &limit(FIRST)).await;
    let (seen, in_force) = (Arc::new(Seen::default()), Arc::new(AtomicU64::new(FIRST)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (seen, in_force) = (Arc::clone(&seen), Arc::clone(&in_force));
        clients.spawn(chats(managed.gateway.addr, seen, in_force));
    }
    let begun = Instant::now();
    let mut took = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for n in 1..=CHANGES {
        pace.tick().await;
        let changed = Instant::now();
        managed.done("PUT", &settings, &limit(FIRST + n)).await;
        in_force.store(FIRST + n, Ordering::SeqCst);
        took.push(changed.elapsed());
    }
    pace.tick().await;
    seen.over.store(true, Ordering::Relaxed);
    let elapsed = begun.elapsed();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    took.sort_unstable();
    let passed = seen.passed.load(Ordering::Relaxed);
    println!(
        "{passed} requests in {elapsed:?}; a change is in force after {:?} (median), {:?} (worst)",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(passed > CHANGES * CLIENTS, "{passed}");
}
