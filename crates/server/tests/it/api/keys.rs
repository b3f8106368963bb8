//! Credentials of providers by the management API: stored sealed, used, rotated, removed, never told.

use serde_json::{Value, json};

use super::*;

pub(super) const SEALED: &str =
    "[secrets]\nkey = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n";

fn configs() -> String {
    format!("{GATEWAYS}/default/provider_configs")
}

/// What the provider was sent as its credential, for a request that brings none.
async fn lent(managed: &Managed, n: usize) -> String {
    let chat = Ask::post(harness::CHAT, PROMPT);
    managed.gateway.ask(&chat).await;
    let sent = managed.upstream.request(n).await;
    sent.head
        .header("authorization")
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_stored_key_is_used_at_once_and_never_told() {
    let managed = Managed::start(SEALED).await;
    let secret = "sk-planted-0123456789-0001";
    let new = json!({
        "provider_slug": "openai", "alias": "default", "default_config": true, "secret": secret,
        "rate_limit": 100,
    });
    let made = managed.done("POST", &configs(), &new).await;
    for (name, value) in [
        ("id", json!("openai.default")),
        ("secret_preview", json!("…0001")),
        ("default_config", json!(true)),
        ("gateway_id", json!("default")),
        ("rate_limit", json!(100)),
        ("rate_limit_period", json!(60)),
    ] {
        assert_eq!(made["result"][name], value, "{name}");
    }
    assert_eq!(lent(&managed, 0).await, format!("Bearer {secret}"));
    let taken = managed.call("POST", &configs(), &new).await;
    assert_eq!(taken.status(), 409);
    let at = format!("{}/openai.default", configs());
    let rotated = json!({"secret": "sk-planted-0123456789-0002"});
    managed.done("PUT", &at, &rotated).await;
    assert_eq!(lent(&managed, 1).await, "Bearer sk-planted-0123456789-0002");
    let mut told = String::new();
    for path in [configs(), at.clone(), format!("{OWN}/revisions")] {
        told += managed.call("GET", &path, &Value::Null).await.text();
    }
    assert!(
        !told.contains("sk-planted") && !told.contains("sealed"),
        "{told}"
    );
    managed.done("DELETE", &at, &Value::Null).await;
    let unlent = managed.gateway.ask(&Ask::post(harness::CHAT, PROMPT)).await;
    assert_eq!((unlent.status(), managed.upstream.count()), (400, 2));
    assert_eq!(managed.call("GET", &at, &Value::Null).await.status(), 404);
}

#[tokio::test]
async fn what_is_no_key_is_told() {
    let managed = Managed::start(SEALED).await;
    let check = async |change: Value, member: &str| {
        let mut new = json!({
            "provider_slug": "openai", "alias": "a", "default_config": false, "secret": "sk-one",
        });
        new.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let reply = managed.call("POST", &configs(), &new).await;
        assert_eq!(reply.status(), 400, "{change}: {}", reply.text());
        assert_eq!(reply.json()["errors"][0]["path"][1], member, "{change}");
    };
    check(json!({"provider_slug": "opnai"}), "provider_slug").await;
    check(json!({"secret": null}), "secret").await;
    check(json!({"secret_id": "x"}), "secret").await;
    check(json!({"alias": "no alias"}), "secret").await;
    check(json!({"rate_limit": 0}), "secret").await;
    check(json!({"rate_limit_period": 5}), "rate_limit_period").await;
    check(json!({"secert": "x"}), "secert").await;
    // Nobody but the operator has the machine's files, addresses and identity lent out.
    let evil = Upstream::start([json(COMPLETION)]).await;
    let application = json!({
        "entra": "client_credentials", "tenantId": "t", "clientId": "c", "clientSecret": "s",
        "authority": evil.url(),
    });
    for reaching in [
        json!({
            "entra": "workload_identity", "tenantId": "t", "clientId": "c",
            "tokenFile": "/proc/self/environ", "authority": evil.url(),
        }),
        json!({"entra": "managed_identity", "authority": evil.url()}),
        application,
        json!({
            "type": "service_account", "client_email": "a@b", "private_key": "k",
            "token_uri": format!("{}/token", evil.url()),
        }),
    ] {
        check(json!({"secret": reaching.to_string()}), "secret").await;
    }
    let chat = Ask::post(harness::CHAT, PROMPT).with("cf-aig-byok-alias", "a");
    assert_eq!(managed.gateway.ask(&chat).await.status(), 400);
    assert_eq!((evil.count(), managed.upstream.count()), (0, 0));
    let unsealed = Managed::start("").await;
    let new = json!({
        "provider_slug": "openai", "alias": "a", "default_config": false, "secret": "sk-one",
    });
    let reply = unsealed.call("POST", &configs(), &new).await;
    assert!(
        reply.status() == 400 && reply.text().contains("secrets.key"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn the_keys_of_a_gateway_go_with_it() {
    let managed = Managed::start(SEALED).await;
    let gateway = json!({
        "id": "shop", "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 0, "rate_limiting_limit": 0,
    });
    let (at, keys) = (
        format!("{GATEWAYS}/shop"),
        format!("{GATEWAYS}/shop/provider_configs"),
    );
    managed.done("POST", GATEWAYS, &gateway).await;
    let new = json!({
        "provider_slug": "openai", "alias": "spare", "default_config": true, "secret": "sk-one",
    });
    let made = managed.done("POST", &keys, &new).await;
    assert_eq!(made["messages"][0]["code"], 7022);
    managed.done("DELETE", &at, &Value::Null).await;
    managed.done("POST", GATEWAYS, &gateway).await;
    let listed = managed.done("GET", &keys, &Value::Null).await;
    assert_eq!(listed["result"], json!([]));
}
