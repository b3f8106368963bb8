//! Gateways by the management API: made, read, changed, removed, and in force at once.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;

/// The least that makes a gateway, with more.
pub(super) fn new(id: &str, more: &Value) -> Value {
    let mut body = json!({
        "id": id, "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 0, "rate_limiting_limit": 0,
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub(super) fn at(id: &str) -> String {
    format!("{GATEWAYS}/{id}")
}

#[tokio::test]
async fn a_gateway_is_in_force_when_the_answer_comes() {
    let managed = Managed::start("").await;
    assert_eq!(managed.chat("shop").await, 400);
    managed
        .done("POST", GATEWAYS, &new("shop", &json!({})))
        .await;
    assert_eq!(managed.chat("shop").await, 200);
    let limited = json!({"rate_limiting_limit": 1, "rate_limiting_interval": 60});
    managed.done("PUT", &at("shop"), &limited).await;
    assert_eq!(managed.chat("shop").await, 200);
    assert_eq!(managed.chat("shop").await, 429);
    managed
        .done("PUT", &at("shop"), &json!({"rate_limiting_limit": null}))
        .await;
    assert_eq!(managed.chat("shop").await, 200);
    managed
        .done("PUT", &at("shop"), &json!({"authentication": true}))
        .await;
    assert_eq!(managed.chat("shop").await, 401);
    managed.done("DELETE", &at("shop"), &Value::Null).await;
    assert_eq!(managed.chat("shop").await, 400);
    assert_eq!(
        managed
            .call("GET", &at("shop"), &Value::Null)
            .await
            .status(),
        404
    );
    assert_eq!(
        managed
            .call("DELETE", &at("shop"), &Value::Null)
            .await
            .status(),
        404
    );
    let revisions = managed.gateway.records(7).await;
    let mut revisions: Vec<u64> = revisions
        .iter()
        .map(|record| record.config_revision)
        .collect();
    revisions.sort_unstable();
    // The first revision is the token's.
    assert_eq!(revisions, [1, 2, 3, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_body_of_the_description_makes_a_gateway() {
    let managed = Managed::start("").await;
    let described = ask(managed.gateway.admin, &Ask::get("/client/v4/openapi.json")).await;
    let described = described.json();
    // Every property of a schema, through what it is made of.
    fn properties(all: &Value, schema: &Value) -> Vec<(String, Value)> {
        let named = schema["$ref"]
            .as_str()
            .and_then(|name| name.strip_prefix('#'));
        if let Some(schema) = named.and_then(|name| all.pointer(name)) {
            return properties(all, schema);
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let parts = parts.flat_map(|part| properties(all, part));
        let own = schema["properties"].as_object().into_iter().flatten();
        let own = own.map(|(name, kind)| (name.clone(), kind.clone()));
        parts.chain(own).collect()
    }
    let schema = &described["components"]["schemas"]["NewGateway"];
    let body = properties(&described, schema)
        .into_iter()
        .map(|(name, kind)| {
            let takes = |wanted: &str| kind["type"] == wanted || kind["type"][0] == wanted;
            let value = match name.as_str() {
                "id" => json!("described"),
                _ if takes("boolean") => json!(false),
                _ if takes("integer") => kind["minimum"].clone(),
                _ => Value::Null,
            };
            (name, value)
        });
    let body: serde_json::Map<String, Value> = body.collect();
    assert!(body.len() > 20, "{body:?}");
    managed.done("POST", GATEWAYS, &Value::Object(body)).await;
    assert_eq!(managed.chat("described").await, 200);
}

/// Made by `openssl rsa -pubout`; nobody has its other half.
const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqCWpieY822Xtb3U0DCro\n\
oGUzR831MZr5emY+149KJ0zJNNV6FeVl/HyNcSmkGPoq0z6lhnngT16pgcNIXDe/\n\
wnxmkR5snMFbXkn68QpRX8C3PEWuZsvDEDdSfph+DOYA1HlbiOu2Z/vnlFjO0WQP\n\
m6nhYppBdb5KPuMRYgekLK5O3336wcdsjjNt//yY0dlorzJyPxqnA6AuMfXxaGIh\n\
F4hiOGChyJr+uvNFHKzeaZDnkTGNDdQd/NmJptNM4k+TO3zbzltdM5+CRQpDgsuO\n\
ueK/o6FChhTvHlBJy3QDqJkUoe45PJ+RmQegosQHXmY9ppn/ITeZxsfKVUg5YBG5\n\
swIDAQAB\n\
-----END PUBLIC KEY-----\n";

#[tokio::test]
async fn every_field_is_told_again_as_it_was_set() {
    let managed = Managed::start(super::keys::SEALED).await;
    let mut fields = json!({
        "cache_ttl": null, "rate_limiting_interval": null, "rate_limiting_limit": null,
        "rate_limiting_technique": "sliding", "authentication": true, "byok_only": true,
        "dlp": {"enabled": true, "action": "FLAG", "profiles": ["p"]},
        "guardrails": {"prompt": {"P1": "BLOCK", "S13": "FLAG"}, "response": {}},
        "log_classification": true, "log_management": 10_000,
        "log_management_strategy": "DELETE_OLDEST", "logpush": true,
        "logpush_public_key": PUBLIC_KEY,
        "otel": [{"url": "https://otel.example", "headers": {"a": "b"}, "content_type": "json"}],
        "retry_max_attempts": 3, "retry_delay": 250, "retry_backoff": "exponential",
        "spend_limits": {"enabled": true, "rules": [{
            "id": "per-user", "limitType": "cost", "limit": 25, "window": 86_400, "enabled": true,
            "technique": "fixed", "metadata": {"user_id": {"mode": "partition"}},
        }]},
        "store_id": "s", "stripe": {"authorization": "a", "usage_events": [{"payload": "p"}]},
        "workers_ai_billing_mode": "unified", "zdr": true,
    });
    let made = managed.done("POST", GATEWAYS, &new("full", &fields)).await;
    let read = managed.done("GET", &at("full"), &Value::Null).await;
    assert_eq!(made["result"], read["result"]);
    // But for what is secret.
    fields["otel"][0]["headers"]["a"] = "*****".into();
    fields["stripe"]["authorization"] = "*****".into();
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(read["result"][name], *value, "{name}");
    }
    for (name, value) in [
        ("id", json!("full")),
        ("account_id", json!("local")),
        ("is_default", json!(false)),
        ("managed_by", json!("api")),
        ("created_at", json!("2026-11-22T16:00:00.000000Z")),
    ] {
        assert_eq!(read["result"][name], value, "{name}");
    }
    // What has no effect yet is named, and nothing else is.
    let remarks = read["messages"].as_array().unwrap().iter();
    let remarks: Vec<&str> = remarks
        .map(|one| one["message"].as_str().unwrap().split('`').nth(1).unwrap())
        .collect();
    assert_eq!(remarks.len(), 8, "{remarks:?}");
    assert!(
        !remarks
            .iter()
            .any(|name| name.starts_with("retry") || *name == "spend_limits")
    );
    // A client sends back what it read.
    let again = managed.done("PUT", &at("full"), &read["result"]).await;
    assert_eq!(again["result"], read["result"]);
    let plain = managed
        .done("POST", GATEWAYS, &new("plain", &json!({})))
        .await;
    assert_eq!(plain["messages"], json!([]));
    for name in [
        "authentication",
        "byok_only",
        "log_classification",
        "logpush",
        "zdr",
    ] {
        assert_eq!(plain["result"][name], false, "{name}");
    }
    for name in ["log_management", "log_management_strategy", "store_id"] {
        assert!(
            plain["result"].as_object().unwrap().contains_key(name),
            "{name}"
        );
    }
}

/// Checks that a body is refused for the member at this path, in such words.
async fn refused(
    managed: &Managed,
    (method, path): (&str, &str),
    body: Value,
    told: (Value, &str),
) {
    let (expected, words) = told;
    let reply = managed.call(method, path, &body).await;
    assert_eq!(reply.status(), 400, "{body}: {}", reply.text());
    let told = reply.json();
    let is_it =
        |one: &Value| one["path"] == expected && one["message"].as_str().unwrap().contains(words);
    let errors = told["errors"].as_array().unwrap();
    assert!(errors.iter().any(is_it), "{expected} {words}: {told}");
    assert!(errors.iter().all(|one| one["code"] == 7001), "{told}");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_path() {
    let managed = Managed::start("").await;
    managed
        .done("POST", GATEWAYS, &new("shop", &json!({})))
        .await;
    let at = at("shop");
    for (body, member, words) in [
        (
            json!({"cache_tll": 1}),
            "cache_tll",
            "did you mean `cache_ttl`?",
        ),
        (json!({"cache_ttl": -1}), "cache_ttl", "invalid value"),
        (
            json!({"cache_ttl": 2_592_001}),
            "cache_ttl",
            "must be from 0",
        ),
        (
            json!({"retry_max_attempts": 6}),
            "retry_max_attempts",
            "1 to 5",
        ),
        (json!({"id": "other"}), "id", "cannot be changed"),
        (json!({"log_management": 5}), "log_management", "10000"),
    ] {
        refused(
            &managed,
            ("PUT", &at),
            body,
            (json!(["body", member]), words),
        )
        .await;
    }
    for (body, path, words) in [
        (
            json!({"otel": [{"url": "https://a", "headers": {}}, {"url": "x", "headers": {}}]}),
            json!(["body", "otel", 1, "url"]),
            "address",
        ),
        (
            json!({"guardrails": {"prompt": {"S14": "FLAG"}, "response": {}}}),
            json!(["body", "guardrails", "prompt", "S14"]),
            "no category",
        ),
        (
            json!({"spend_limits": {"rules": [{"limitType": "cost", "limit": 0, "window": 1}]}}),
            json!(["body", "spend_limits", "rules", 0, "limit"]),
            "above 0",
        ),
        (
            json!({"spend_limits": {"rules": [{"limitType": "cost", "limit": 1, "window": 1,
                "model": {"mode": "partition"}}]}}),
            json!(["body", "spend_limits", "rules", 0, "model"]),
            "filter",
        ),
    ] {
        refused(&managed, ("PUT", &at), body, (path, words)).await;
    }
    let post = ("POST", GATEWAYS);
    refused(
        &managed,
        post,
        json!({"id": "A"}),
        (json!(["body", "id"]), "a-z"),
    )
    .await;
    let missing = (json!(["body", "cache_ttl"]), "Required");
    refused(&managed, post, json!({"id": "a"}), missing).await;
    let taken = managed
        .call("POST", GATEWAYS, &new("shop", &json!({})))
        .await;
    assert_eq!(
        (taken.status(), &taken.json()["errors"][0]["code"]),
        (409, &json!(7011))
    );
    assert_eq!(
        managed.store.read().unwrap().revision,
        2,
        "nothing was changed"
    );
}

#[tokio::test]
async fn the_files_gateways_are_told_and_not_changed() {
    let file = r#"
        [[gateways]]
        id = "filed"
        cache_ttl = 60
        rate_limiting_limit = 5
        rate_limiting_interval = 60
        retry = { max_attempts = 2, delay_ms = 100, backoff = "linear" }
        spend_limits = { enabled = true, rules = [
            { limitType = "cost", limit = 2.5, window = 60, model = { mode = "filter", values = ["m"] } },
        ] }
        [[gateways]]
        account = "another"
        id = "hidden"
    "#;
    let managed = Managed::start(file).await;
    let read = managed.done("GET", &at("filed"), &Value::Null).await;
    for (name, value) in [
        ("managed_by", json!("file")),
        ("cache_ttl", json!(60)),
        ("rate_limiting_limit", json!(5)),
        ("rate_limiting_interval", json!(60)),
        ("rate_limiting_technique", json!("fixed")),
        ("retry_max_attempts", json!(2)),
        ("retry_delay", json!(100)),
        ("retry_backoff", json!("linear")),
    ] {
        assert_eq!(read["result"][name], value, "{name}");
    }
    let rule = &read["result"]["spend_limits"]["rules"][0];
    assert_eq!((&rule["limit"], &rule["window"]), (&json!(2.5), &json!(60)));
    assert_eq!(rule["model"], json!({"mode": "filter", "values": ["m"]}));
    for method in ["PUT", "DELETE"] {
        let refused = managed
            .call(method, &at("filed"), &json!({"cache_ttl": 1}))
            .await;
        assert_eq!(
            (refused.status(), &refused.json()["errors"][0]["code"]),
            (403, &json!(7010))
        );
    }
    let taken = managed
        .call("POST", GATEWAYS, &new("filed", &json!({})))
        .await;
    assert_eq!(taken.status(), 409);
    let listed = managed.done("GET", GATEWAYS, &Value::Null).await;
    let listed: Vec<_> = listed["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(listed, ["default", "filed"]);
}

#[tokio::test]
async fn the_default_gateway_becomes_a_stored_one_when_it_is_changed() {
    let managed = Managed::start("").await;
    let before = managed.done("GET", &at("default"), &Value::Null).await;
    assert_eq!(before["result"]["managed_by"], "default");
    let limited = json!({"rate_limiting_limit": 1, "rate_limiting_interval": 60});
    let after = managed.done("PUT", &at("default"), &limited).await;
    assert_eq!(after["result"]["managed_by"], "api");
    assert_eq!(after["result"]["is_default"], true);
    assert_eq!(managed.chat("default").await, 200);
    assert_eq!(managed.chat("default").await, 429);
    managed.done("DELETE", &at("default"), &Value::Null).await;
    assert_eq!(managed.chat("default").await, 200);
}

#[tokio::test]
async fn a_list_has_pages_and_is_searched() {
    let managed = Managed::start("").await;
    for n in 0..5 {
        managed
            .done("POST", GATEWAYS, &new(&format!("shop-{n}"), &json!({})))
            .await;
    }
    let ids = async |query: &str| {
        let listed = managed
            .done("GET", &format!("{GATEWAYS}?{query}"), &Value::Null)
            .await;
        let ids = listed["result"].as_array().unwrap().iter();
        let ids: Vec<String> = ids
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
        (ids.join(" "), listed["result_info"].clone())
    };
    let (first, mut info) = ids("per_page=2&search=shop").await;
    let cursor = info.as_object_mut().unwrap().remove("cursor").unwrap();
    let next = format!("per_page=2&search=shop&cursor={}", cursor.as_str().unwrap());
    assert_eq!(ids(&next).await.0, "shop-2 shop-3");
    assert_eq!(first, "shop-0 shop-1");
    let expected = json!({
        "page": 1, "per_page": 2, "count": 2, "total_count": 5, "total_pages": 3,
    });
    assert_eq!(info, expected);
    assert_eq!(ids("per_page=2&page=3&search=shop").await.0, "shop-4");
    assert_eq!(ids("per_page=2&page=4&search=shop").await.0, "");
    assert_eq!(ids("").await.1["total_count"], 6);
    for wrong in ["page=0", "per_page=101", "per_page=x", "page=-1"] {
        let reply = managed
            .call("GET", &format!("{GATEWAYS}?{wrong}"), &Value::Null)
            .await;
        assert_eq!(
            (reply.status(), &reply.json()["result"]),
            (400, &json!({})),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_change_is_for_the_version_that_was_read() {
    let managed = Managed::start("").await;
    let made = managed
        .call("POST", GATEWAYS, &new("shop", &json!({})))
        .await;
    assert_eq!(made.header("etag"), Some("\"1\""));
    let change = async |version: &str, ttl: u32| {
        let asked = request(
            "PUT",
            &at("shop"),
            &managed.admin,
            &json!({"cache_ttl": ttl}),
        );
        ask(managed.gateway.admin, &asked.with("if-match", version)).await
    };
    let changed = change("\"1\"", 5).await;
    assert_eq!(
        (changed.status(), changed.header("etag")),
        (200, Some("\"2\""))
    );
    for version in ["\"1\"", "\"3\"", "nonsense"] {
        assert_eq!(change(version, 6).await.status(), 412, "{version}");
    }
    assert_eq!(change("*", 7).await.status(), 200);
    let read = managed.call("GET", &at("shop"), &Value::Null).await;
    assert_eq!(read.header("etag"), Some("\"3\""));
    assert_eq!(read.json()["result"]["cache_ttl"], 7);
    let delete = request("DELETE", &at("shop"), &managed.admin, &Value::Null);
    let stale = ask(
        managed.gateway.admin,
        &delete.clone().with("if-match", "\"2\""),
    )
    .await;
    assert_eq!(stale.status(), 412);
    let fresh = ask(managed.gateway.admin, &delete.with("if-match", "\"3\"")).await;
    assert_eq!(fresh.status(), 200);
    let who: Vec<_> = managed.store.history(u64::MAX, 9).unwrap();
    let who: Vec<_> = who.iter().map(|one| &*one.author.who).collect();
    assert_eq!(
        who,
        [
            "token admin",
            "token admin",
            "token admin",
            "token admin",
            "command line"
        ]
    );
}

#[tokio::test]
async fn requests_pass_while_their_gateway_is_changed() {
    let managed = Arc::new(Managed::start("").await);
    managed
        .done("POST", GATEWAYS, &new("shop", &json!({})))
        .await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (managed, over) = (Arc::clone(&managed), Arc::clone(&over));
        clients.spawn(async move {
            let mut passed = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(managed.chat("shop").await, 200);
                passed += 1;
            }
            passed
        });
    }
    for n in 0..20_u32 {
        let change = json!({"retry_delay": n, "rate_limiting_limit": 1_000_000 + n,
            "rate_limiting_interval": 3_600});
        managed.done("PUT", &at("shop"), &change).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut passed = 0;
    while let Some(one) = clients.join_next().await {
        passed += one.unwrap();
    }
    assert!(passed > 0);
    let closed = json!({"rate_limiting_limit": 1, "rate_limiting_interval": 3_600});
    managed.done("PUT", &at("shop"), &closed).await;
    assert_eq!(managed.chat("shop").await, 429);
    assert_eq!(managed.upstream.count(), passed);
}
