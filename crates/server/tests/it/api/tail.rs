//! Requests as they happen, over a connection that stays open.

use isango_testkit::client::{Client, End};
use serde_json::Value;

use super::*;

/// Watches, and waits until that is so.
async fn watching(managed: &Managed, query: &str) -> Client {
    let path = format!("{OWN}/tail{query}");
    let mut client = Client::connect(managed.gateway.admin).await;
    client
        .send_ask(&request("GET", &path, &managed.admin, &Value::Null))
        .await;
    let head = client.head().await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(
        client.piece().await.as_deref(),
        Some(&b"retry: 250\n\n"[..])
    );
    client
}

/// The row of the next event, which comes while the connection stays open.
async fn row(client: &mut Client) -> Value {
    let piece = client.piece().await.unwrap();
    let event = std::str::from_utf8(&piece).unwrap();
    let (_, data) = event.split_once("\nevent: record\ndata: ").unwrap();
    serde_json::from_str(data.trim_end()).unwrap()
}

#[tokio::test]
async fn a_request_is_shown_once_it_is_stored() {
    let managed = Managed::start("[[gateways]]\nid = \"other\"").await;
    let mut all = watching(&managed, "").await;
    let mut other = watching(&managed, "?gateway=other").await;
    let mut words = watching(&managed, "?filter=gateway:other%20hello").await;
    assert_eq!(managed.chat("default").await, 200);
    let shown = row(&mut all).await;
    assert_eq!(
        (&shown["gateway"], &shown["status"]),
        (&"default".into(), &200.into())
    );
    let path = format!("{OWN}/requests/{}", shown["id"].as_str().unwrap());
    managed.done("GET", &path, &Value::Null).await;
    assert_eq!(managed.chat("other").await, 200);
    // The first that each of these sees is the second.
    let id = row(&mut all).await["id"].clone();
    assert_eq!(row(&mut other).await["id"], id);
    assert_eq!(row(&mut words).await["id"], id);
}

#[tokio::test]
async fn a_tail_ends_when_the_server_stops() {
    let managed = Managed::start("").await;
    let mut client = watching(&managed, "").await;
    managed.gateway.server.stop().await.unwrap();
    assert_eq!(client.piece().await, None);
    assert_eq!(client.end(), Some(End::Whole));
}

#[tokio::test]
async fn only_so_many_watch_at_once() {
    let managed = Managed::start("").await;
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(watching(&managed, "").await);
    }
    let path = format!("{OWN}/tail");
    let refused = managed.call("GET", &path, &Value::Null).await;
    assert_eq!(
        (refused.status(), &refused.json()["errors"][0]["code"]),
        (429, &7_016.into())
    );
    watchers.pop();
    isango_testkit::within("room for another", async {
        loop {
            let mut client = Client::connect(managed.gateway.admin).await;
            let asked = request("GET", &path, &managed.admin, &Value::Null);
            client.send_ask(&asked).await;
            if client.head().await.status == 200 {
                return;
            }
        }
    })
    .await;
}
