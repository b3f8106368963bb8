//! Isango's own resources by the management API: settings, tokens, revisions, targets, the cache.

use serde_json::{Value, json};

use super::*;

const SHOP: &str = "/client/v4/accounts/local/ai-gateway/gateways/shop";

async fn with_shop() -> Managed {
    let managed = Managed::start("[[gateways]]\nid = \"filed\"").await;
    let gateway = json!({
        "id": "shop", "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 0, "rate_limiting_limit": 0,
    });
    managed.done("POST", GATEWAYS, &gateway).await;
    managed
}

#[tokio::test]
async fn settings_without_a_field_are_set_and_in_force_at_once() {
    let managed = with_shop().await;
    let at = format!("{OWN}/gateways/shop/settings");
    let settings = json!({
        "targets": [{"name": "one", "provider": "openai", "weight": 2}],
        "limits": [{"id": "few", "unit": "requests", "limit": 1, "window": "day"}],
        "collect_log_payload": false,
    });
    let set = managed.done("PUT", &at, &settings).await;
    assert_eq!(set["result"], settings);
    assert_eq!(managed.chat("shop").await, 200);
    assert_eq!(managed.chat("shop").await, 429);
    let read = managed.call("GET", &at, &Value::Null).await;
    assert_eq!(
        (&read.json()["result"], read.header("etag")),
        (&settings, Some("\"2\""))
    );
    let targets = managed
        .done("GET", &format!("{OWN}/targets"), &Value::Null)
        .await;
    assert_eq!(targets["result"][0]["target"], "one");
    for (wrong, path) in [
        (json!({"cache_ttl": 5}), json!(["body", "cache_ttl"])),
        (
            json!({"retry": {"max_attempts": 2}}),
            json!(["body", "retry", "max_attempts"]),
        ),
        (json!({"limts": []}), json!(["body", "limts"])),
        (
            json!({"targets": [{"name": "a", "provider": "opnai"}]}),
            json!(["body", "targets", 0, "provider"]),
        ),
        (
            json!({"targets": [{"name": "a", "provider": "openai", "credential": "file:/etc/x"}]}),
            json!(["body", "targets", 0, "credential"]),
        ),
    ] {
        let reply = managed.call("PUT", &at, &wrong).await;
        assert_eq!(
            (reply.status(), &reply.json()["errors"][0]["path"]),
            (400, &path),
            "{wrong}"
        );
    }
    managed.done("PUT", &at, &json!({})).await;
    assert_eq!(managed.chat("shop").await, 200);
    let filed = at.replace("shop", "filed");
    assert_eq!(managed.call("PUT", &filed, &json!({})).await.status(), 403);
}

#[tokio::test]
async fn a_token_that_was_made_opens_at_once_and_one_that_was_revoked_does_not() {
    let managed = with_shop().await;
    let at = format!("{OWN}/tokens");
    let new = json!({
        "name": "app", "gateways": ["shop"], "scopes": ["run", "read"],
        "metadata": {"tenantId": "acme"}, "spend": {"limit_usd": "2.5", "period": "month"},
    });
    let made = managed.done("POST", &at, &new).await;
    let value = Secret::new(made["result"]["value"].as_str().unwrap());
    let reads = async |token: &Secret| {
        ask(
            managed.gateway.admin,
            &request("GET", SHOP, token, &Value::Null),
        )
        .await
        .status()
    };
    assert_eq!(reads(&value).await, 200);
    let rotate = json!({"grace_s": 0});
    let rotated = managed
        .done("POST", &format!("{at}/app/rotate"), &rotate)
        .await;
    let newer = Secret::new(rotated["result"]["value"].as_str().unwrap());
    assert_eq!((reads(&value).await, reads(&newer).await), (401, 200));
    let listed = managed.call("GET", &at, &Value::Null).await;
    for secret in [&value, &newer] {
        assert!(!listed.text().contains(secret.expose()));
    }
    assert!(!listed.text().contains("digest"), "{}", listed.text());
    let listed = listed.json();
    let app = &listed["result"][1];
    assert_eq!(
        (&app["name"], &app["spend"]["limit_usd"]),
        (&json!("app"), &json!("2.5"))
    );
    managed
        .done("DELETE", &format!("{at}/app"), &Value::Null)
        .await;
    assert_eq!(reads(&newer).await, 401);
    for (body, status) in [
        (json!({"name": "app"}), 409),
        (json!({"name": "no name"}), 400),
        (json!({"name": "b", "scopes": ["rum"]}), 400),
        (
            json!({"name": "b", "spend": {"limit_usd": "x", "period": "day"}}),
            400,
        ),
        (json!({"name": "b", "gatways": []}), 400),
    ] {
        let reply = managed.call("POST", &at, &body).await;
        assert_eq!(reply.status(), status, "{body}: {}", reply.text());
    }
    for (method, path) in [("DELETE", "none"), ("POST", "none/rotate")] {
        let reply = managed
            .call(method, &format!("{at}/{path}"), &json!({}))
            .await;
        assert_eq!(reply.status(), 404, "{method} {path}");
    }
}

#[tokio::test]
async fn every_change_is_told_and_can_be_taken_back() {
    let managed = with_shop().await;
    managed
        .done("PUT", SHOP, &json!({"authentication": true}))
        .await;
    managed.done("DELETE", SHOP, &Value::Null).await;
    let at = format!("{OWN}/revisions");
    let all = managed.done("GET", &at, &Value::Null).await["result"].clone();
    let shown: Vec<String> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let change = &one["changes"][0];
            let set = |side: &str| change[side]["fields"]["authentication"].to_string();
            let (kind, who) = (
                change["kind"].as_str().unwrap(),
                one["who"].as_str().unwrap(),
            );
            format!(
                "{} {who} {kind} {} {}",
                one["revision"],
                set("before"),
                set("after")
            )
        })
        .collect();
    let expected = [
        "4 token admin gateway true null",
        "3 token admin gateway false true",
        "2 token admin gateway null false",
        "1 command line token null null",
    ];
    assert_eq!(shown, expected);
    let one = managed.done("GET", &format!("{at}/3"), &Value::Null).await;
    assert_eq!(one["result"], all[1]);
    let restored = managed
        .done("POST", &format!("{at}/2/restore"), &Value::Null)
        .await;
    assert_eq!(restored["result"], json!({"revision": 5, "changed": 1}));
    assert_eq!(managed.chat("shop").await, 200);
    managed
        .done("POST", &format!("{at}/3/restore"), &Value::Null)
        .await;
    assert_eq!(managed.chat("shop").await, 401);
    let nothing = managed
        .done("POST", &format!("{at}/6/restore"), &Value::Null)
        .await;
    assert_eq!(nothing["result"], json!({"revision": 6, "changed": 0}));
    for unknown in ["99", "x", "-1", "18446744073709551615"] {
        let reply = managed
            .call("POST", &format!("{at}/{unknown}/restore"), &Value::Null)
            .await;
        assert_eq!(reply.status(), 404, "{unknown}");
    }
}
