//! Records by the management API: listed with every filter, read, their bodies.

use isango_testkit::answer::json as answer;
use serde_json::{Value, json};

use super::*;

const LOGS: &str = "/client/v4/accounts/local/ai-gateway/gateways/default/logs";

/// A server with three records: two chats of different tenants, one refused.
async fn with_records() -> Managed {
    let managed = Managed::start("[[gateways]]\nid = \"other\"").await;
    for tenant in ["acme", "globex"] {
        let chat = Ask::post(harness::CHAT, PROMPT)
            .with("authorization", "Bearer sk-mine")
            .with("content-type", "application/json")
            .with("user-agent", &format!("test/{tenant}"))
            .with("cf-aig-metadata", &json!({"tenantId": tenant}).to_string());
        assert_eq!(managed.gateway.ask(&chat).await.status(), 200);
    }
    let refused = Ask::post("/v1/local/default/nobody/x", "{}");
    assert!(managed.gateway.ask(&refused).await.status() >= 400);
    managed.gateway.records(3).await;
    managed
}

async fn found(managed: &Managed, query: &str) -> Vec<Value> {
    let listed = managed
        .done("GET", &format!("{LOGS}?{query}"), &Value::Null)
        .await;
    listed["result"].as_array().unwrap().clone()
}

#[tokio::test]
async fn records_are_listed_as_filters_say() {
    let managed = with_records().await;
    let filter = |key: &str, operator: &str, value: &str| {
        format!("filters.key={key}&filters.operator={operator}&filters.value={value}")
    };
    for (query, count) in [
        (String::new(), 3),
        (filter("success", "eq", "true"), 2),
        (filter("success", "neq", "true"), 1),
        (filter("metadata.value", "eq", "acme"), 1),
        (filter("metadata.key", "contains", "TENANT"), 2),
        (filter("user_agent", "contains", "test/"), 2),
        (filter("tokens", "gt", "0"), 2),
        (filter("provider", "eq", "openai"), 2),
        (filter("cached", "eq", "true"), 0),
        (filter("created_at", "lt", "2020-01-01"), 0),
        (filter("created_at", "gt", "2020-01-01"), 3),
        ("search=globex".into(), 1),
        ("success=true&min_tokens_in=1".into(), 2),
        ("page=2&per_page=2".into(), 1),
        ("page=9".into(), 0),
    ] {
        assert_eq!(found(&managed, &query).await.len(), count, "{query}");
    }
    for wrong in [
        "per_page=51",
        "order_by=x",
        "filters=x",
        "serch=x",
        "meta_info=yes",
    ] {
        let reply = managed
            .call("GET", &format!("{LOGS}?{wrong}"), &Value::Null)
            .await;
        assert_eq!(
            (reply.status(), &reply.json()["result"]),
            (400, &json!({})),
            "{wrong}"
        );
    }
    let ordered = found(&managed, "order_by=success&order_by_direction=asc").await;
    let ordered: Vec<_> = ordered.iter().map(|one| one["success"].clone()).collect();
    assert_eq!(ordered, [json!(false), json!(true), json!(true)]);
    let told = managed
        .done(
            "GET",
            &format!("{LOGS}?meta_info=true&success=true"),
            &Value::Null,
        )
        .await;
    let info = &told["result_info"];
    assert_eq!(info["total_count"], 2);
    assert_eq!(info["min_tokens_in"], info["max_tokens_in"]);
    assert!(info["min_tokens_in"].as_f64().unwrap() > 0.0, "{info}");
    let other = LOGS.replace("default", "other");
    let none = managed.done("GET", &other, &Value::Null).await;
    assert_eq!(none["result"], json!([]));
    let unknown = managed
        .call("GET", &LOGS.replace("default", "unknown"), &Value::Null)
        .await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn a_record_is_read_with_its_bodies() {
    let managed = with_records().await;
    let listed = found(&managed, "search=acme").await;
    let id = listed[0]["id"].as_str().unwrap();
    let at = format!("{LOGS}/{id}");
    let read = managed.done("GET", &at, &Value::Null).await["result"].clone();
    for (name, value) in [
        ("provider", json!("openai")),
        ("model_type", json!("chat")),
        ("success", json!(true)),
        ("cached", json!(false)),
        ("status_code", json!(200)),
        ("metadata", json!(r#"{"tenantId":"acme"}"#)),
        ("user_agent", json!("test/acme")),
        ("request_head", json!(PROMPT)),
        ("request_head_complete", json!(true)),
        ("request_size", json!(PROMPT.len())),
        ("response_head", json!(COMPLETION)),
    ] {
        assert_eq!(read[name], value, "{name}");
    }
    let body = managed
        .call("GET", &format!("{at}/request"), &Value::Null)
        .await;
    assert_eq!(
        (body.text(), body.header("content-type")),
        (PROMPT, Some("application/json"))
    );
    let body = managed
        .call("GET", &format!("{at}/response"), &Value::Null)
        .await;
    assert_eq!(
        (body.text(), body.header("x-content-type-options")),
        (COMPLETION, Some("nosniff"))
    );
    // A record is that of its gateway.
    let elsewhere = at.replace("default", "other");
    for path in [
        &elsewhere,
        &format!("{elsewhere}/request"),
        &format!("{LOGS}/no-id"),
    ] {
        assert_eq!(
            managed.call("GET", path, &Value::Null).await.status(),
            404,
            "{path}"
        );
    }
    let refused = found(&managed, "success=false").await;
    let none = format!("{LOGS}/{}/response", refused[0]["id"].as_str().unwrap());
    let told = managed.call("GET", &none, &Value::Null).await;
    assert!([200, 404].contains(&told.status()), "{}", told.text());
}

#[tokio::test]
async fn who_may_not_look_at_bodies_is_told_none_of_them() {
    let upstream = Upstream::start([answer(COMPLETION)]).await;
    let settings = "[[tokens]]\nname = \"meta\"\nsecret = \"isg_0123456789abcdef\"\n\
        scopes = [\"metadata_read\"]\n";
    let config = harness::config(&format!("{settings}{}", providers(&upstream)));
    let gateway = Harness::start_config(&config, Clock::system());
    let chat = Ask::post(harness::CHAT, PROMPT).with("authorization", "Bearer sk-mine");
    gateway.ask(&chat).await;
    let id = gateway.record().await.id;
    let token = Secret::new("isg_0123456789abcdef");
    let get =
        async |path: String| ask(gateway.admin, &request("GET", &path, &token, &Value::Null)).await;
    assert_eq!(get(LOGS.to_owned()).await.status(), 200);
    let detail = get(format!("{LOGS}/{id}")).await;
    assert_eq!(detail.status(), 200);
    assert!(!detail.text().contains("_head\""), "{}", detail.text());
    for side in ["request", "response"] {
        assert_eq!(get(format!("{LOGS}/{id}/{side}")).await.status(), 403);
    }
}

#[tokio::test]
async fn what_is_said_of_a_record_is_told_and_searched() {
    let managed = with_records().await;
    let id = found(&managed, "search=acme").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = format!("{LOGS}/{id}");
    let said = json!({"feedback": 1, "score": 95.5, "metadata": {"reviewed": true}});
    let told = managed.done("PATCH", &at, &said).await;
    assert_eq!(told["result"], json!({}));
    let read = managed.done("GET", &at, &Value::Null).await["result"].clone();
    assert_eq!(
        (&read["feedback"], &read["score"]),
        (&json!(1), &json!(95.5))
    );
    assert!(
        read["metadata"].as_str().unwrap().contains("reviewed"),
        "{read}"
    );
    assert_eq!(found(&managed, "feedback=1").await.len(), 1);
    assert_eq!(found(&managed, "search=reviewed").await.len(), 1);
    managed.done("PATCH", &at, &json!({"feedback": null})).await;
    assert_eq!(found(&managed, "feedback=1").await.len(), 0);
    for (wrong, member) in [
        (json!({"feedback": 2}), "feedback"),
        (json!({"feedback": "up"}), "feedback"),
        (json!({"score": 101}), "score"),
        (json!({"metadata": {"a": {}}}), "metadata"),
        (json!({"scroe": 1}), "scroe"),
    ] {
        let reply = managed.call("PATCH", &at, &wrong).await;
        assert_eq!(
            (reply.status(), &reply.json()["errors"][0]["path"][1]),
            (400, &json!(member))
        );
    }
    let other = at.replace("default", "other");
    assert_eq!(
        managed
            .call("PATCH", &other, &json!({"feedback": 1}))
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn records_are_removed_as_filters_say() {
    let managed = with_records().await;
    managed
        .done("DELETE", &format!("{LOGS}?success=false"), &Value::Null)
        .await;
    assert_eq!(found(&managed, "").await.len(), 2);
    let first = found(&managed, "order_by_direction=asc").await[0]["id"].clone();
    managed
        .done("DELETE", &format!("{LOGS}?limit=1"), &Value::Null)
        .await;
    let left = found(&managed, "").await;
    assert_eq!(left.len(), 1);
    assert_ne!(left[0]["id"], first, "the oldest goes first");
    let gone = format!("{LOGS}/{}", first.as_str().unwrap());
    assert_eq!(managed.call("GET", &gone, &Value::Null).await.status(), 404);
    managed.done("DELETE", LOGS, &Value::Null).await;
    assert_eq!(found(&managed, "").await.len(), 0);
    for wrong in ["limit=0", "limit=10001", "order_by=x"] {
        let reply = managed
            .call("DELETE", &format!("{LOGS}?{wrong}"), &Value::Null)
            .await;
        assert_eq!(reply.status(), 400, "{wrong}");
    }
}
