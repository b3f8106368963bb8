//! The admin listener itself: how long it waits, by which names it is asked, whom it believes.

use isango_testkit::client::Client;
use serde_json::{Value, json};

use super::people::{House, PASSWORD, SESSION};
use super::*;

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let managed = Managed::start("[server]\nheader_timeout = \"100ms\"\n").await;
    for head in [
        &b""[..],
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
    ] {
        let mut client = Client::connect(managed.gateway.admin).await;
        client.send(head).await;
        assert_eq!(client.all().await, b"", "{head:?}");
    }
    let reply = ask(managed.gateway.admin, &Ask::get("/healthz")).await;
    assert_eq!((reply.status(), reply.text()), (200, "ok\n"));
}

#[tokio::test]
async fn who_is_answered_before_the_body_is_told_that_the_connection_ends() {
    let managed = Managed::start("").await;
    let mut client = Client::connect(managed.gateway.admin).await;
    let head = b"POST /client/v4/none HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n";
    client.send(head).await;
    let answer = client.all().await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn what_asks_for_no_token_is_told_to_nobody_who_was_led_here() {
    let managed = Managed::start("").await;
    for (path, refused) in [
        ("/metrics", 403),
        ("/cache", 403),
        ("/targets", 403),
        ("/exports", 403),
        // They tell nothing, and health checks know all kinds of names.
        ("/healthz", 200),
        ("/readyz", 200),
    ] {
        let status = async |host: &str| {
            let asked = Ask::get(path).with("host", host);
            ask(managed.gateway.admin, &asked).await.status()
        };
        assert_eq!(status("evil.example").await, refused, "{path}");
        assert_eq!(status("localhost:8701").await, 200, "{path}");
    }
}

/// The status of a try to sign in, for somebody behind a proxy.
async fn sign_in(house: &House, name: &str, password: &str, of: &str) -> u16 {
    let body = json!({"name": name, "password": password});
    let asked = Ask::post(SESSION, body.to_string()).with("x-forwarded-for", of);
    house.ask(&asked).await.status()
}

/// Uses up the tries of an address, with passwords that are not even looked at.
async fn guess(house: &House, of: &str) {
    let long = "x".repeat(1_025);
    for n in 0..50 {
        assert_eq!(sign_in(house, &format!("user{n}"), &long, of).await, 401);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_nobody_locks_out_another() {
    let trusted = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let (house, _) = House::owned(trusted).await;
    guess(&house, "198.51.100.1").await;
    let (owner, evil) = ("198.51.100.2", "198.51.100.2, 198.51.100.1");
    assert_eq!(sign_in(&house, "owner", PASSWORD, evil).await, 429);
    assert_eq!(sign_in(&house, "owner", PASSWORD, owner).await, 200);
}

#[tokio::test]
async fn nobody_else_says_for_whom_they_ask() {
    let (house, _) = House::owned("").await;
    guess(&house, "198.51.100.1").await;
    assert_eq!(
        sign_in(&house, "owner", PASSWORD, "198.51.100.2").await,
        429
    );
}

#[tokio::test]
async fn nothing_is_kept_for_what_is_no_account() {
    let (house, owner) = House::owned("").await;
    let view = json!({"name": "a", "query": "b"});
    for (account, status) in [("*", 404), ("a%20b", 404), ("other", 200)] {
        let path = format!("/client/v4/accounts/{account}/isango/views");
        let reply = house.ask(&owner.ask("POST", &path, &view)).await;
        assert_eq!(reply.status(), status, "{account}: {}", reply.text());
    }
    let users = owner.get("/client/v4/accounts/*/isango/users");
    assert_eq!(house.ask(&users).await.status(), 200);
}

#[tokio::test]
async fn a_change_is_for_the_version_that_it_names() {
    let managed = Managed::start(super::keys::SEALED).await;
    let logpush = "/client/v4/accounts/local/logpush";
    let (jobs, exists) = (
        format!("{logpush}/jobs"),
        format!("{logpush}/validate/destination/exists"),
    );
    let conf = "https://logs.example.com/in/planted-path";
    let made = managed
        .done("POST", &jobs, &json!({"destination_conf": conf}))
        .await["result"]
        .clone();
    assert_eq!(made["destination_conf"], "https://logs.example.com/*****");
    for (asked, is_there) in [
        (conf, true),
        ("https://logs.example.com/*****", true),
        ("https://logs.example.com/in/another", false),
    ] {
        let body = json!({"destination_conf": asked});
        let told = managed.done("POST", &exists, &body).await;
        assert_eq!(told["result"]["exists"], is_there, "{asked}");
    }
    let one = format!("{jobs}/{}", made["id"]);
    let change = async |method: &str, path: &str, body: &Value, version: &str| {
        let asked = request(method, path, &managed.admin, body).with("if-match", version);
        ask(managed.gateway.admin, &asked).await.status()
    };
    assert_eq!(change("PUT", &one, &made, "\"7\"").await, 412);
    assert_eq!(change("PUT", &one, &made, "\"1\"").await, 200);
    assert_eq!(change("DELETE", &one, &Value::Null, "\"1\"").await, 412);
    let gateway = super::gateways::new("shop", &json!({}));
    managed.done("POST", GATEWAYS, &gateway).await;
    let revision = managed.store.revision().unwrap();
    let diff = format!("{OWN}/revisions/{}/diff", revision - 1);
    let told = managed.call("GET", &diff, &Value::Null).await;
    let etag = told.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{revision}\""));
    let restore = diff.replace("/diff", "/restore");
    assert_eq!(change("DELETE", &one, &Value::Null, "\"2\"").await, 200);
    assert_eq!(change("POST", &restore, &json!({}), &etag).await, 412);
    let now = format!("\"{}\"", managed.store.revision().unwrap());
    assert_eq!(change("POST", &restore, &json!({}), &now).await, 200);
}
