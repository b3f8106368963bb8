//! Shutdown: running answers end whole within their grace, nothing new begins, every record is
//! stored.

use std::sync::Arc;
use std::time::Duration;

use isango_store::memory::MemoryLogs;
use isango_testkit::answer::{Step, json, sse};
use isango_testkit::client::{Ask, Client, End, ask};
use isango_testkit::fixtures::PROMPT;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::Record;
use isango_types::record::Outcome;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{CHAT, Harness, recorded};
use crate::legs::{Inbound, WAYS, before, with};

/// A server that has been told to stop.
struct Stopping {
    task: JoinSet<anyhow::Result<()>>,
    logs: Arc<MemoryLogs>,
}

/// Tells the server to stop and waits until it refuses connections.
async fn stop(gateway: Harness) -> Stopping {
    let mut task = JoinSet::new();
    let addr = gateway.addr;
    task.spawn(gateway.server.stop());
    within("connections to be refused", async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    Stopping {
        task,
        logs: gateway.logs,
    }
}

impl Stopping {
    /// Waits for the end; the records that were stored by then.
    async fn records(mut self) -> Vec<Record> {
        within("the server to stop", self.task.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        recorded(&self.logs)
    }
}

#[tokio::test]
async fn running_streams_end_whole_and_are_on_record() {
    for (inbound, outbound) in WAYS {
        let (upstream, gateway) = outbound
            .serving([sse(["one", "two", "three"]).stepwise()])
            .await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(inbound.start(&gateway, &Ask::post(CHAT, PROMPT)).await);
        }
        // Each permit is the first stream's that waits: all take one step, and then another.
        for _ in 0..10 {
            upstream.go();
        }
        for reading in &mut streams {
            assert_eq!(reading.bytes(3).await, b"one");
        }
        let stopping = stop(gateway).await;
        for _ in 0..20 {
            upstream.go();
        }
        for reading in streams {
            assert_eq!(reading.rest().await, (b"twothree".to_vec(), End::Whole));
        }
        let records = stopping.records().await;
        assert_eq!(records.len(), 10, "{inbound:?} {outbound:?}");
        assert!(
            records
                .iter()
                .all(|record| record.outcome == Outcome::Answered)
        );
    }
}

#[tokio::test]
async fn a_request_that_was_accepted_is_answered_and_no_other() {
    let upstream = Upstream::start([json("{}").first(Step::Wait)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&Ask::post(CHAT, PROMPT)).await;
    upstream.request(0).await;
    let stopping = stop(gateway).await;
    client.send_ask(&Ask::post(CHAT, PROMPT)).await;
    upstream.go();
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("{}", Some("close"))
    );
    assert_eq!(client.all().await, b"");
    assert_eq!((stopping.records().await.len(), upstream.count()), (1, 1));
}

#[tokio::test]
async fn readiness_ends_with_the_order_to_stop() {
    let upstream = Upstream::start([json("{}").first(Step::Wait)]).await;
    let gateway = before(&upstream).await;
    let admin = gateway.admin;
    let path = |path: &str| Ask::get(path);
    assert_eq!(ask(admin, &path("/readyz")).await.status(), 200);
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&Ask::post(CHAT, PROMPT)).await;
    upstream.request(0).await;
    let stopping = stop(gateway).await;
    assert_eq!(ask(admin, &path("/readyz")).await.status(), 503);
    assert_eq!(ask(admin, &path("/healthz")).await.status(), 200);
    upstream.go();
    assert_eq!(client.reply().await.status(), 200);
    stopping.records().await;
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn connections_that_ask_for_nothing_do_not_hold_it_up() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let mut silent = Client::connect(gateway.addr).await;
    let mut halfway = Client::connect(gateway.addr).await;
    halfway.send(b"POST /v1/lo").await;
    let mut resting = Client::connect(gateway.addr).await;
    resting.ask(&Ask::post(CHAT, PROMPT)).await;
    let mut resting_h2 = isango_testkit::h2::H2Client::connect(gateway.addr).await;
    resting_h2.ask(&Ask::post(CHAT, PROMPT)).await;
    let begun = Instant::now();
    let records = stop(gateway).await.records().await;
    let lasted = begun.elapsed();
    assert!(lasted < Duration::from_secs(1), "it took {lasted:?}");
    assert_eq!(records.len(), 2);
    for client in [&mut silent, &mut halfway, &mut resting] {
        client.all().await;
    }
}

#[tokio::test]
async fn an_answer_that_outlasts_the_grace_is_cut_seen_as_cut_and_on_record() {
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let upstream = Upstream::start([sse(["one"]).then(Step::Stall)]).await;
        let settings = "[server]\nshutdown_grace = \"100ms\"\n";
        let gateway = with(settings, &upstream).await;
        let mut readings = Vec::new();
        for _ in 0..10 {
            let mut reading = inbound.start(&gateway, &Ask::post(CHAT, PROMPT)).await;
            assert_eq!(reading.bytes(3).await, b"one");
            readings.push(reading);
        }
        let records = stop(gateway).await.records().await;
        assert_eq!(records.len(), 10, "{inbound:?}");
        for reading in readings {
            assert_ne!(reading.rest().await.1, End::Whole, "{inbound:?}");
        }
        upstream.given_up(9).await;
    }
}
