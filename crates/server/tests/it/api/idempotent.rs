//! `Idempotency-Key`: what is sent again is done once.

use isango_testkit::client::Client;
use serde_json::{Value, json};

use super::*;

fn with_key(key: &str, path: &str, token: &Secret, body: &Value) -> Ask {
    request("POST", path, token, body).with("idempotency-key", key)
}

#[tokio::test]
async fn what_is_sent_again_with_its_key_is_answered_as_the_first_time() {
    let managed = Managed::start("").await;
    let tokens = format!("{OWN}/tokens");
    let body = json!({"name": "app"});
    let send = async |key: &str, path: &str, body: &Value| {
        let asked = with_key(key, path, &managed.admin, body);
        ask(managed.gateway.admin, &asked).await
    };
    let first = send("k1", &tokens, &body).await;
    assert_eq!(first.status(), 200, "{}", first.text());
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = send("k1", &tokens, &body).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text(), first.text());
    assert_eq!(again.header("content-type"), first.header("content-type"));
    // Another key is another request, and so is another path.
    assert_eq!(send("k2", &tokens, &body).await.status(), 409);
    let purge = format!("{OWN}/cache/purge");
    assert_eq!(send("k1", &purge, &json!({})).await.status(), 200);
    let other = send("k1", &tokens, &json!({"name": "other"})).await;
    assert_eq!(other.status(), 422);
    assert_eq!(other.json()["errors"][0]["code"], 7020);
    // A gateway, whose answer carries its version.
    let gateway = json!({
        "id": "shop", "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 60, "rate_limiting_limit": 100,
    });
    let made = send("g", GATEWAYS, &gateway).await;
    let again = send("g", GATEWAYS, &gateway).await;
    assert_eq!((made.status(), made.header("etag")), (200, Some("\"1\"")));
    assert_eq!(
        (again.text(), again.header("etag")),
        (made.text(), made.header("etag"))
    );
    // What was refused was not done, and may be sent right.
    let wrong = json!({"name": "no such name"});
    assert_eq!(send("k3", &tokens, &wrong).await.status(), 400);
    assert_eq!(
        send("k3", &tokens, &json!({"name": "third"}))
            .await
            .status(),
        200
    );
    let trail = managed.store.history(u64::MAX, 100).unwrap();
    assert_eq!(trail.len(), 4, "admin, app, shop, third");
}

#[tokio::test]
async fn a_key_is_of_whoever_sent_it() {
    let managed = Managed::start("").await;
    let tokens = format!("{OWN}/tokens");
    let second = json!({"name": "second", "scopes": ["write"]});
    let made = managed.done("POST", &tokens, &second).await;
    let second = Secret::new(made["result"]["value"].as_str().unwrap());
    let body = json!({"name": "app"});
    let send = async |token: &Secret| {
        let asked = with_key("k", &tokens, token, &body);
        ask(managed.gateway.admin, &asked).await
    };
    assert_eq!(send(&managed.admin).await.status(), 200);
    let reply = send(&second).await;
    assert_eq!(reply.status(), 409);
    assert_eq!(reply.json()["errors"][0]["code"], 7011, "the name is taken");
    let nobody = with_key("k", &tokens, &Secret::new("isg_nobody"), &body);
    assert_eq!(ask(managed.gateway.admin, &nobody).await.status(), 401);
}

#[tokio::test]
async fn a_key_that_is_none_or_where_there_is_none_is_refused() {
    let managed = Managed::start("").await;
    let tokens = format!("{OWN}/tokens");
    let body = json!({"name": "app"});
    for key in ["", "é", &*"x".repeat(256)] {
        let asked = with_key(key, &tokens, &managed.admin, &body);
        let reply = ask(managed.gateway.admin, &asked).await;
        assert_eq!(reply.status(), 400, "{key}");
    }
    let path = format!("{OWN}/gateways/default/try");
    let tried = json!({"path": "openai/chat/completions", "body": PROMPT});
    let asked = with_key("k", &path, &managed.admin, &tried);
    let reply = ask(managed.gateway.admin, &asked).await;
    assert_eq!(reply.status(), 400);
    assert!(reply.text().contains("takes no"), "{}", reply.text());
}

#[tokio::test]
async fn a_key_whose_request_was_cut_off_is_not_used_again() {
    let managed = Managed::start("").await;
    let tokens = format!("{OWN}/tokens");
    let body = json!({"name": "app"});
    // Many leave before their answers; none is done twice, whatever became of it.
    for n in 0..20 {
        let name = format!("app-{n}");
        let body = json!({"name": name});
        let asked = with_key(&name, &tokens, &managed.admin, &body);
        let mut client = Client::connect(managed.gateway.admin).await;
        client.send_ask(&asked).await;
        drop(client);
    }
    let sent = with_key("k", &tokens, &managed.admin, &body);
    assert_eq!(ask(managed.gateway.admin, &sent).await.status(), 200);
    for n in 0..20 {
        let name = format!("app-{n}");
        let body = json!({"name": name});
        let asked = with_key(&name, &tokens, &managed.admin, &body);
        let reply = ask(managed.gateway.admin, &asked).await;
        let code = reply.json()["errors"][0]["code"].clone();
        let is_right =
            reply.status() == 200 || (reply.status(), code.clone()) == (409, json!(7021));
        assert!(is_right, "{name}: {} {code}", reply.status());
    }
}
