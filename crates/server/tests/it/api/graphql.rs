//! Analytics by the query language that dashboards of Cloudflare ask in.

use isango_store::conformance::sample;
use isango_store::logs::LogWriter as _;
use isango_types::Record;
use serde_json::{Value, json};

use super::*;

const AT: &str = "/client/v4/graphql";

async fn with_records() -> Managed {
    let managed = Managed::start("").await;
    let records: Vec<Record> = (0..120).map(sample::record).collect();
    managed.gateway.logs.append(&records).unwrap();
    managed
}

async fn told(managed: &Managed, fields: &str) -> Value {
    let query = format!(
        "query($a: String!) {{ viewer {{ accounts(filter: {{accountTag: $a}}) {{ {fields} }} }} }}"
    );
    let body = json!({"query": query, "variables": {"a": "local"}});
    let reply = managed.call("POST", AT, &body).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()
}

async fn groups(managed: &Managed, fields: &str) -> Vec<Value> {
    let told = told(managed, &format!("g: {fields}")).await;
    assert_eq!(told["errors"], Value::Null, "{told}");
    let groups = &told["data"]["viewer"]["accounts"][0]["g"];
    groups.as_array().unwrap().clone()
}

fn sum(groups: &[Value], pointer: &str) -> u64 {
    let found = groups.iter().map(|one| one.pointer(pointer).unwrap());
    found.map(|one| one.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn every_dataset_counts_the_same_requests() {
    let managed = with_records().await;
    let all = groups(
        &managed,
        "aiGatewayRequestsAdaptiveGroups { count sum { erroredRequests cost tokensIn } }",
    )
    .await;
    assert_eq!((all.len(), sum(&all, "/count")), (1, 120));
    let errors = sum(&all, "/sum/erroredRequests");
    assert!(errors > 20, "{all:?}");
    assert!(all[0]["sum"]["cost"].as_f64().unwrap() > 0.0);
    let of_errors = groups(
        &managed,
        "aiGatewayErrorsAdaptiveGroups { count dimensions { statusCode } }",
    )
    .await;
    assert_eq!(sum(&of_errors, "/count"), errors);
    assert!(
        of_errors
            .iter()
            .all(|one| one["dimensions"]["statusCode"].as_u64() >= Some(400))
    );
    let of_cache = groups(
        &managed,
        "aiGatewayCacheAdaptiveGroups { count dimensions { cacheStatus } }",
    )
    .await;
    assert_eq!(sum(&of_cache, "/count"), 120);
    let stored = groups(
        &managed,
        "aiGatewaySizeAdaptiveGroups { max { rows } dimensions { gateway } }",
    )
    .await;
    assert_eq!((stored.len(), sum(&stored, "/max/rows")), (2, 120));
}

#[tokio::test]
async fn rows_are_the_first_of_all_groups_or_none() {
    let managed = Managed::start("").await;
    let records = (0..10_001).map(|n| {
        let mut record = sample::record(n);
        record.account = "local".into();
        record.user_agent = Some(format!("agent-{n:05}").into());
        record.cost.nanousd = Some(if n == 10_000 { 9_000_000_000 } else { 1 });
        record
    });
    let records: Vec<Record> = records.collect();
    for batch in records.chunks(5_000) {
        managed.gateway.logs.append(batch).unwrap();
    }
    let dearest = "aiGatewayRequestsAdaptiveGroups(limit: 1, orderBy: [sum_cost_DESC])
        { sum { cost } dimensions { userAgent } }";
    let found = groups(&managed, dearest).await;
    assert_eq!(found[0]["dimensions"]["userAgent"], "agent-10000");
    let by_name = "g: aiGatewayRequestsAdaptiveGroups(limit: 1, orderBy: [userAgent_DESC])
        { count dimensions { userAgent } }";
    let refused = told(&managed, by_name).await;
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("too many groups"), "{message}");
}

#[tokio::test]
async fn groups_are_filtered_ordered_and_limited() {
    let managed = with_records().await;
    let minutes =
        "aiGatewayRequestsAdaptiveGroups(filter: {datetimeMinute_geq: \"2026-11-22T16:00:00Z\",
        datetimeMinute_lt: \"2026-11-22T16:02:00Z\"}, orderBy: [datetimeMinute_DESC, model_ASC])
        { count dimensions { ts: datetimeMinute, date, model } }";
    let found = groups(&managed, minutes).await;
    assert_eq!(sum(&found, "/count"), 120);
    let keys: Vec<(&str, &str)> = found
        .iter()
        .map(|one| {
            let text = |name: &str| one["dimensions"][name].as_str().unwrap();
            (text("ts"), text("model"))
        })
        .collect();
    assert_eq!(keys[0].0, "2026-11-22T16:01:00Z");
    assert_eq!(keys.last().unwrap().0, "2026-11-22T16:00:00Z");
    assert!(
        keys.is_sorted_by(|a, b| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)),
        "{keys:?}"
    );
    assert_eq!(found[0]["dimensions"]["date"], "2026-11-22");
    for (filter, count) in [
        ("gateway: \"support\"", 60),
        ("gateway_neq: \"support\"", 60),
        ("gateway_in: [\"support\", \"default\"]", 120),
        ("model_like: \"gpt-4o-mini%\"", 40),
        (
            "AND: [{gateway: \"support\"}, {model_like: \"gpt-4o-mini%\"}]",
            20,
        ),
        ("statusCode_geq: 429", 24),
        ("error: 0", 82),
        ("cached: 1", 0),
        ("datetime_geq: \"2026-11-22T16:01:30Z\"", 30),
    ] {
        let field = format!("aiGatewayRequestsAdaptiveGroups(filter: {{{filter}}}) {{ count }}");
        assert_eq!(
            sum(&groups(&managed, &field).await, "/count"),
            count,
            "{filter}"
        );
    }
    let top = "aiGatewayRequestsAdaptiveGroups(limit: 1, orderBy: [sum_cost_DESC]) { sum { cost } dimensions { model } }";
    assert_eq!(groups(&managed, top).await.len(), 1);
}

#[tokio::test]
async fn a_wrong_query_is_told_in_the_words_of_the_language() {
    let managed = with_records().await;
    for (fields, words) in [
        (
            "aiGatewayRequestAdaptiveGroups { count }",
            "did you mean `aiGatewayRequestsAdaptiveGroups`?",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups { cuont }",
            "did you mean `count`?",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups { sum }",
            "some of its fields",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups(limit: 10001) { count }",
            "1 to 10000",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups(filter: {modle: \"x\"}) { count }",
            "did you mean `model`?",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups(filter: {model_geq: \"x\"}) { count }",
            "_like",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups { dimensions { datetimeHour } count }",
            "its beginning",
        ),
        (
            "aiGatewayRequestsAdaptiveGroups(orderBy: [model]) { count }",
            "_ASC or _DESC",
        ),
    ] {
        let told = told(&managed, fields).await;
        assert_eq!(told["data"], Value::Null);
        let message = told["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words), "{fields}: {message}");
    }
}

#[tokio::test]
async fn an_account_is_asked_about_by_who_may_look_at_it() {
    let managed = with_records().await;
    let query = |account: &str| {
        let groups = "aiGatewayRequestsAdaptiveGroups { count }";
        let query = format!(
            "{{ viewer {{ accounts(filter: {{accountTag: \"{account}\"}}) {{ {groups} }} }} }}"
        );
        json!({"query": query})
    };
    assert_eq!(
        managed.call("POST", AT, &query("other")).await.status(),
        404
    );
    assert_eq!(
        managed
            .call("POST", AT, &json!({"qurey": ""}))
            .await
            .status(),
        400
    );
    assert_eq!(managed.call("GET", AT, &Value::Null).await.status(), 405);
    let nobody = Ask::post(AT, query("local").to_string());
    assert_eq!(ask(managed.gateway.admin, &nobody).await.status(), 401);
    let unread = Ask::post(AT, "{");
    assert_eq!(ask(managed.gateway.admin, &unread).await.status(), 401);
}
