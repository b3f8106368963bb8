//! What the dashboard asks of records: rows in any order, whole records, files, sums, saved views.

use isango_store::conformance::sample;
use isango_store::logs::LogWriter as _;
use isango_testkit::client::End;
use isango_types::Record;
use serde_json::{Value, json};

use super::*;

/// A server with so many records of `local`, and one of another account.
async fn with_records(count: u64) -> Managed {
    let managed = Managed::start("[[gateways]]\nid = \"support\"").await;
    let mut records: Vec<Record> = (0..count).map(sample::record).collect();
    let mut other = sample::record(count);
    other.account = "other".into();
    records.push(other);
    managed.gateway.logs.append(&records).unwrap();
    managed
}

async fn rows(managed: &Managed, query: &str) -> (Vec<Value>, Value) {
    let path = format!("{OWN}/requests?{query}");
    let mut listed = managed.done("GET", &path, &Value::Null).await;
    assert_eq!(listed["result_info"]["is_complete"], true);
    let next = listed["result_info"]["next"].take();
    (listed["result"].as_array().unwrap().clone(), next)
}

/// Every page of a list, one after another.
async fn pages(managed: &Managed, query: &str) -> Vec<Value> {
    let (mut all, mut next) = rows(managed, query).await;
    while let Some(after) = next.as_str() {
        let (more, then) = rows(managed, &format!("{query}&after={after}")).await;
        assert!(!more.is_empty(), "a page that was announced is not empty");
        all.extend(more);
        next = then;
    }
    all
}

fn numbers(rows: &[Value], pointer: &str) -> Vec<u64> {
    let found = rows.iter().map(|row| row.pointer(pointer).unwrap());
    found.filter_map(Value::as_u64).collect()
}

#[tokio::test]
async fn rows_come_in_any_order_page_by_page() {
    let managed = with_records(25).await;
    for (query, count) in [
        ("", 25),
        ("limit=7", 25),
        ("limit=25", 25),
        ("limit=7&ascending=true", 25),
        ("limit=4&sort=cost", 25),
        ("limit=4&sort=meta.tenantId&ascending=true", 25),
        ("filter=status:error&limit=2", 8),
        ("gateway=support&limit=5", 12),
        ("since=2026-11-22T16:00:10Z&until=2026-11-22T16:00:15Z", 5),
        ("since=2030-01-01T00:00:00Z", 0),
        ("filter=account:other", 0),
    ] {
        let found = pages(&managed, query).await;
        let mut ids: Vec<&str> = found
            .iter()
            .map(|row| row["id"].as_str().unwrap())
            .collect();
        let in_order = ids.clone();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((found.len(), ids.len()), (count, count), "{query}");
        assert!(found.iter().all(|row| row["account"] == "local"), "{query}");
        if query == "limit=7" {
            ids.reverse();
            assert_eq!(in_order, ids, "the newest come first");
        }
    }
    let found = pages(&managed, "limit=4&sort=cost").await;
    let costs = numbers(&found, "/cost/nanousd");
    assert!(costs.is_sorted_by(|a, b| a >= b), "{costs:?}");
    assert!(costs.len() > 4, "{costs:?}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_with_what_can() {
    let managed = with_records(1).await;
    for (query, status, words) in [
        ("filtr=x", 400, "did you mean `filter`?"),
        ("filter=colour:red", 400, "colour"),
        ("filter=%22open", 400, "not closed"),
        ("sort=coste", 400, "coste"),
        ("since=yesterday", 400, "2026-11-22T16:00:00Z"),
        ("limit=0", 400, "1 to 1000"),
        ("limit=1001", 400, "1 to 1000"),
        ("ascending=yes", 400, "true or false"),
        ("after=x", 400, "next"),
        ("sort=cost&after=x", 400, "whole number"),
        ("gateway=a%2Fb", 404, "Not Found"),
    ] {
        let path = format!("{OWN}/requests?{query}");
        let reply = managed.call("GET", &path, &Value::Null).await;
        let told = reply.json()["errors"][0]["message"].to_string();
        assert_eq!(reply.status(), status, "{query}: {told}");
        assert!(told.contains(words), "{query}: {told}");
    }
}

#[tokio::test]
async fn a_record_is_told_with_everything_but_its_bodies() {
    let managed = with_records(5).await;
    let (listed, _) = rows(&managed, "filter=status:429").await;
    let path = format!("{OWN}/requests/{}", listed[0]["id"].as_str().unwrap());
    let read = managed.done("GET", &path, &Value::Null).await["result"].clone();
    assert_eq!(read["error"]["code"], "upstream_429");
    assert!(
        read["attempts"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    assert!(read["request"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(read["request"].get("body"), None, "{read}");
    assert_eq!(read["response"].get("body"), None, "{read}");
    for path in [
        path.replace("/local/", "/other/"),
        format!("{OWN}/requests/no-id"),
        format!("{OWN}/requests/019a7e3c-5a00-7000-8000-000000000001"),
    ] {
        let reply = managed.call("GET", &path, &Value::Null).await;
        assert_eq!(reply.status(), 404, "{path}");
    }
    let all = harness::recorded(&managed.gateway.logs);
    let elsewhere = all.iter().find(|one| *one.account == *"other").unwrap();
    let path = format!("{OWN}/requests/{}", elsewhere.id);
    let reply = managed.call("GET", &path, &Value::Null).await;
    assert_eq!(reply.status(), 404);
}

#[tokio::test]
async fn everything_is_exported_page_after_page() {
    let managed = with_records(2_500).await;
    let export = async |query: &str| {
        let path = format!("{OWN}/requests/export?{query}");
        let reply = managed.call("GET", &path, &Value::Null).await;
        assert_eq!((reply.status(), reply.end), (200, End::Whole), "{query}");
        reply
    };
    let all = export("").await;
    assert_eq!(all.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        all.header("content-disposition"),
        Some("attachment; filename=\"requests.jsonl\"")
    );
    let lines: Vec<Record> = all
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2_500);
    assert!(lines.is_sorted_by(|a, b| a.id > b.id));
    assert!(lines.iter().all(|one| one.request.body.is_none()));
    assert!(all.pieces.len() > 2, "it is not held: {:?}", all.pieces);
    let some = export("filter=meta.tenantId:acme&bodies=true&gateway=support").await;
    assert_eq!(some.text().lines().count(), 417);
    let first: Record = serde_json::from_str(some.text().lines().next().unwrap()).unwrap();
    assert!(first.request.body.is_some());
    let none = export("filter=meta.tenantId:nobody").await;
    assert_eq!(none.text(), "");
    let sheet = export("format=csv&filter=status:error").await;
    let mut lines = sheet.text().split("\r\n");
    assert!(lines.next().unwrap().starts_with("id,created_at,account,"));
    assert!(lines.next().unwrap().contains(",local,"));
    for (query, words) in [
        ("format=xml", "jsonl, csv"),
        ("format=csv&bodies=true", "jsonl"),
        ("limit=5", "unknown parameter"),
    ] {
        let path = format!("{OWN}/requests/export?{query}");
        let reply = managed.call("GET", &path, &Value::Null).await;
        assert_eq!(reply.status(), 400, "{query}");
        assert!(reply.text().contains(words), "{query}: {}", reply.text());
    }
}

#[tokio::test]
async fn the_sums_of_groups_are_those_of_everything() {
    let managed = with_records(60).await;
    let path = format!("{OWN}/analytics");
    let question = json!({
        "gateway": null, "filter": "", "since": "2026-11-22T16:00:00Z",
        "until": "2026-11-22T16:01:00Z", "by": ["model"], "every": 20,
        "measures": ["count", "errors", "sum:cost", "p95:duration"], "top": 1, "order": 0,
    });
    let answer = managed.done("POST", &path, &question).await["result"].clone();
    assert_eq!(answer["total"]["values"][0], 60);
    assert_eq!(
        (&answer["is_complete"], &answer["fraction"]),
        (&json!(true), &json!(1.0))
    );
    assert_eq!(answer["groups"].as_array().unwrap().len(), 1);
    assert!(answer["group_count"].as_u64().unwrap() > 2);
    let groups = [&answer["groups"][0], &answer["other"]];
    for measure in 0..3 {
        let sum: u64 = groups
            .iter()
            .filter_map(|one| one["values"][measure].as_u64())
            .sum();
        assert_eq!(answer["total"]["values"][measure], sum, "{measure}");
        let points = answer["total"]["points"].as_array().unwrap();
        assert_eq!(points.len(), 3);
        let sum: u64 = points
            .iter()
            .filter_map(|one| one["values"][measure].as_u64())
            .sum();
        assert_eq!(answer["total"]["values"][measure], sum, "{measure}");
    }
    assert_eq!(
        answer["total"]["points"][1]["start"],
        "2026-11-22T16:00:20.000000Z"
    );
}

#[tokio::test]
async fn questions_are_of_a_calendar_and_of_one_account() {
    let managed = with_records(60).await;
    let path = format!("{OWN}/analytics");
    let by_day = json!({"since": "2026-11-22T00:00:00Z", "every": "day",
        "time_zone": "Africa/Johannesburg", "by": ["meta.tenantId"]});
    let answer = managed.done("POST", &path, &by_day).await["result"].clone();
    assert_eq!(answer["groups"].as_array().unwrap().len(), 3);
    assert_eq!(
        answer["total"]["points"][0]["start"],
        "2026-11-21T22:00:00.000000Z"
    );
    let other = json!({"filter": "account:other"});
    let answer = managed.done("POST", &path, &other).await["result"].clone();
    assert_eq!(answer["total"]["values"][0], 0);
}

#[tokio::test]
async fn a_wrong_question_is_told_by_its_member() {
    let managed = with_records(1).await;
    let path = format!("{OWN}/analytics");
    for (question, member, words) in [
        (json!({"by": ["modle"]}), "by", "modle"),
        (
            json!({"measures": ["count", "p95:money"]}),
            "measures",
            "money",
        ),
        (
            json!({"measures": ["count"], "order": 1}),
            "order",
            "1 measures",
        ),
        (json!({"every": 60}), "every", "since"),
        (
            json!({"every": 0, "since": "2026-11-22T16:00:00Z"}),
            "every",
            "seconds",
        ),
        (
            json!({"every": 1, "since": "2026-11-01T00:00:00Z"}),
            "every",
            "at most",
        ),
        (
            json!({"every": 60, "time_zone": "UTC"}),
            "time_zone",
            "calendar",
        ),
        (json!({"top": 10_001}), "top", "10000"),
        (json!({"budget_ms": 0}), "budget_ms", "60000"),
        (
            json!({"mesures": []}),
            "mesures",
            "did you mean `measures`?",
        ),
    ] {
        let reply = managed.call("POST", &path, &question).await;
        let told = reply.json()["errors"][0].clone();
        assert_eq!(
            (reply.status(), &told["path"][1]),
            (400, &json!(member)),
            "{told}"
        );
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn who_may_not_read_bodies_cannot_look_for_words_in_them() {
    let managed = with_records(3).await;
    let metadata = stored(&*managed.store, "meta", |token| {
        token.scopes = vec![Scope::MetadataRead];
    });
    let known = request("GET", GATEWAYS, &metadata, &Value::Null);
    isango_testkit::within("the token to be taken up", async {
        while ask(managed.gateway.admin, &known).await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    for (path, status) in [
        ("requests", 200),
        ("requests?filter=status:error", 200),
        ("requests?filter=refund", 403),
        ("requests?filter=-refund", 403),
        ("requests/export", 200),
        ("requests/export?bodies=true", 403),
        ("requests/export?filter=refund", 403),
        ("tail?filter=refund", 403),
    ] {
        let asked = request("GET", &format!("{OWN}/{path}"), &metadata, &Value::Null);
        let reply = ask(managed.gateway.admin, &asked).await;
        assert_eq!(reply.status(), status, "{path}");
    }
    let question = json!({"filter": "refund"});
    let asked = request("POST", &format!("{OWN}/analytics"), &metadata, &question);
    assert_eq!(ask(managed.gateway.admin, &asked).await.status(), 403);
}

#[tokio::test]
async fn views_are_saved_changed_and_removed() {
    let managed = with_records(0).await;
    let path = format!("{OWN}/views");
    let listed = async || managed.done("GET", &path, &Value::Null).await["result"].clone();
    assert_eq!(listed().await, json!([]));
    let new = json!({"name": "Slow", "query": "filter=ttft%3A%3E2s&sort=ttft"});
    let saved = managed.done("POST", &path, &new).await["result"].clone();
    assert_eq!(
        (&saved["name"], &saved["query"]),
        (&new["name"], &new["query"])
    );
    assert_eq!(saved["created_by"], "token admin");
    assert_eq!(listed().await, json!([saved]));
    let at = format!("{path}/{}", saved["id"].as_str().unwrap());
    let other = json!({"name": "Slower", "query": "filter=ttft%3A%3E9s"});
    managed.done("PUT", &at, &other).await;
    assert_eq!(listed().await[0]["name"], "Slower");
    for wrong in [
        json!({"name": "", "query": ""}),
        json!({"name": "a\nb", "query": ""}),
        json!({"name": "a", "query": "x".repeat(8_193)}),
        json!({"name": "a"}),
    ] {
        assert_eq!(
            managed.call("POST", &path, &wrong).await.status(),
            400,
            "{wrong}"
        );
    }
    let trail = managed
        .done("GET", &format!("{OWN}/revisions"), &Value::Null)
        .await;
    assert_eq!(trail["result"][0]["changes"][0]["after"]["name"], "Slower");
    let elsewhere = at.replace(saved["id"].as_str().unwrap(), "none");
    assert_eq!(
        managed
            .call("DELETE", &elsewhere, &Value::Null)
            .await
            .status(),
        404
    );
    managed.done("DELETE", &at, &Value::Null).await;
    assert_eq!(listed().await, json!([]));
    assert_eq!(managed.call("PUT", &at, &other).await.status(), 404);
}
