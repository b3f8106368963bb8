//! Requests that are tried from the dashboard: through the gateway, streamed, on record.

use isango_testkit::answer::{sse, status};
use isango_testkit::client::{Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_types::record::Outcome;
use serde_json::{Value, json};

use super::*;

const TRY: &str = "/client/v4/accounts/local/isango/gateways/default/try";

fn trial(headers: &Value) -> Value {
    json!({"path": "openai/chat/completions", "headers": headers, "body": PROMPT})
}

fn key() -> Value {
    json!({"authorization": "Bearer sk-mine", "cf-aig-metadata": r#"{"tenantId":"acme"}"#})
}

#[tokio::test]
async fn what_is_tried_takes_the_way_of_every_request() {
    let managed = Managed::start("").await;
    let reply = managed.call("POST", TRY, &trial(&key())).await;
    assert_eq!((reply.status(), reply.text()), (200, COMPLETION));
    assert_eq!(reply.header("isango-answered"), Some("gateway"));
    assert_eq!(
        reply.header("content-security-policy"),
        Some("default-src 'none'; sandbox")
    );
    let record = managed.gateway.record().await;
    assert_eq!(reply.header("cf-aig-log-id"), Some(&*record.id.to_string()));
    assert_eq!(record.metadata["tenantId"].to_text(), "acme");
    let sent = managed.upstream.request(0).await;
    assert_eq!(sent.body, PROMPT.as_bytes());
    assert_eq!(sent.head.header("authorization"), Some("Bearer sk-mine"));
}

#[tokio::test]
async fn a_failure_of_the_gateway_is_told_from_one_of_the_api() {
    let upstream = Upstream::start([status(418)]).await;
    let managed = Managed::before("", upstream);
    let reply = managed.call("POST", TRY, &trial(&key())).await;
    assert_eq!(
        (reply.status(), reply.header("isango-answered")),
        (418, Some("gateway"))
    );
    let nobody = json!({"path": "nobody/x"});
    let reply = managed.call("POST", TRY, &nobody).await;
    assert_eq!(reply.header("isango-answered"), Some("gateway"));
    assert!(reply.status() >= 400);
    for (body, status) in [(json!({"path": ""}), 400), (json!({"paht": "x"}), 400)] {
        let reply = managed.call("POST", TRY, &body).await;
        assert_eq!(
            (reply.status(), reply.header("isango-answered")),
            (status, None)
        );
    }
    let elsewhere = TRY.replace("default", "none");
    assert_eq!(
        managed
            .call("POST", &elsewhere, &trial(&key()))
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn each_part_of_a_stream_comes_before_the_next_is_sent() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
    let managed = Managed::before("", upstream);
    let mut client = Client::connect(managed.gateway.admin).await;
    let asked = request("POST", TRY, &managed.admin, &trial(&key()));
    client.send_ask(&asked).await;
    for (n, event) in events.iter().enumerate() {
        managed.upstream.go();
        if n == 0 {
            assert_eq!(client.head().await.status, 200);
        }
        let mut read = Vec::new();
        while read.len() < event.len() {
            read.extend_from_slice(&client.piece().await.unwrap());
        }
        assert_eq!(read, event[..]);
    }
    while client.piece().await.is_some() {}
    assert_eq!(client.end(), Some(End::Whole));
    assert_eq!(managed.gateway.record().await.outcome, Outcome::Answered);
}

#[tokio::test]
async fn who_leaves_ends_what_was_tried() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events).stepwise()]).await;
    let managed = Managed::before("", upstream);
    let mut client = Client::connect(managed.gateway.admin).await;
    let asked = request("POST", TRY, &managed.admin, &trial(&key()));
    client.send_ask(&asked).await;
    managed.upstream.go();
    assert_eq!(client.head().await.status, 200);
    drop(client);
    assert_eq!(managed.gateway.record().await.outcome, Outcome::ClientLeft);
}

#[tokio::test]
async fn what_is_tried_does_not_hold_up_the_end_and_is_on_record() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events).stepwise()]).await;
    let managed = Managed::before("", upstream);
    let mut client = Client::connect(managed.gateway.admin).await;
    let asked = request("POST", TRY, &managed.admin, &trial(&key()));
    client.send_ask(&asked).await;
    managed.upstream.go();
    assert_eq!(client.head().await.status, 200);
    let logs = Arc::clone(&managed.gateway.logs);
    managed.gateway.server.stop().await.unwrap();
    while client.piece().await.is_some() {}
    assert_ne!(
        client.end(),
        Some(End::Whole),
        "a cut answer does not look whole"
    );
    assert_eq!(harness::recorded(&logs).len(), 1);
}
