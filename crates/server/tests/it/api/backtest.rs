//! Limits that are tried on the requests of before.

use serde_json::{Value, json};

use super::*;

/// Chats of these tenants, one after the other.
async fn chats(managed: &Managed, tenants: &[&str]) {
    for tenant in tenants {
        let path = "/v1/local/default/openai/chat/completions";
        let metadata = json!({"tenant": tenant}).to_string();
        let chat = Ask::post(path, PROMPT)
            .with("authorization", "Bearer sk-mine")
            .with("cf-aig-metadata", &metadata);
        assert_eq!(managed.gateway.ask(&chat).await.status(), 200);
    }
    managed.gateway.records(tenants.len()).await;
}

#[tokio::test]
async fn a_limit_is_tried_on_what_was_and_changes_nothing() {
    let managed = Managed::start("").await;
    chats(&managed, &["a", "a", "b", "a", "b"]).await;
    let path = format!("{OWN}/gateways/default/backtest");
    let ask = async |limit: Value| {
        let body = json!({"limit": limit, "until": "2027-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z"});
        managed.done("POST", &path, &body).await["result"].clone()
    };
    let by_tenant = json!({
        "id": "x", "by": ["metadata.tenant"], "unit": "requests", "limit": 1, "window": "day",
    });
    let outcome = ask(by_tenant).await;
    assert_eq!(outcome["requests"], 5, "{outcome}");
    assert_eq!(
        (&outcome["under"], &outcome["exceeded"]),
        (&json!(5), &json!(3))
    );
    assert_eq!(outcome["is_complete"], true);
    let buckets = json!([{"bucket": ["a"], "exceeded": 2}, {"bucket": ["b"], "exceeded": 1}]);
    assert_eq!(outcome["buckets"], buckets);
    let records = managed.gateway.records(5).await;
    // They came in one moment of the clock, and stand in any order: those behind the first of each.
    let tenant = |record: &isango_types::Record| format!("{:?}", record.metadata["tenant"]);
    let mut seen = std::collections::BTreeSet::new();
    let behind = records.iter().filter(|record| !seen.insert(tenant(record)));
    let behind: Vec<Value> = behind.map(|record| json!(record.id.to_string())).collect();
    let first = outcome["first"].as_array().unwrap().iter();
    let first: Vec<Value> = first.map(|one| one["id"].clone()).collect();
    assert_eq!(first, behind);
    assert_eq!(outcome["first"][0]["before"], 1);
    let usage = records[0].usage.unwrap();
    let two = usage.total() * 2;
    let tokens = json!({"id": "x", "unit": "tokens", "limit": two, "window": "day",
        "only": {"metadata.tenant": ["a"]}});
    let outcome = ask(tokens).await;
    assert_eq!(
        (&outcome["under"], &outcome["exceeded"]),
        (&json!(3), &json!(1))
    );
    // Nothing was drawn, and nothing is stored.
    assert_eq!(managed.upstream.count(), 5);
    assert_eq!(managed.store.read().unwrap().entities.len(), 1);
    let now = json!({"limit": {"id": "x", "unit": "requests", "limit": 1, "window": "day"},
        "until": "2020-01-01T00:00:00Z"});
    let before = managed.done("POST", &path, &now).await;
    assert_eq!(before["result"]["requests"], 0);
}

#[tokio::test]
async fn a_limit_that_cannot_be_is_told_by_its_members() {
    let managed = Managed::start("").await;
    let path = format!("{OWN}/gateways/default/backtest");
    let fine = || json!({"id": "x", "unit": "requests", "limit": 1, "window": "day"});
    for (name, value, at, words) in [
        ("unit", json!("reqests"), "unit", "requests"),
        ("limit", json!(-1), "limit", ""),
        ("windw", json!("day"), "windw", "did you mean"),
        ("unit", json!("concurrent"), "unit", "no history"),
    ] {
        let mut limit = fine();
        limit[name] = value;
        let reply = managed.call("POST", &path, &json!({"limit": limit})).await;
        let told = reply.json();
        assert_eq!(reply.status(), 400, "{told}");
        assert_eq!(
            told["errors"][0]["path"],
            json!(["body", "limit", at]),
            "{told}"
        );
        assert!(
            told["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains(words),
            "{told}"
        );
    }
    let nowhere = format!("{OWN}/gateways/none/backtest");
    let reply = managed
        .call("POST", &nowhere, &json!({"limit": fine()}))
        .await;
    assert_eq!(reply.status(), 404);
}
