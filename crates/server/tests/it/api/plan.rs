//! The configuration as a whole, what a revision changed since, and prices.

use serde_json::{Value, json};

use super::*;

fn gateway(ttl: u64) -> Value {
    json!({"fields": {"cache_ttl": ttl}, "settings": {"collect_log_payload": false}})
}

#[tokio::test]
async fn all_gateways_are_planned_applied_and_taken_back() {
    let managed = Managed::start("[[gateways]]\nid = \"filed\"").await;
    let at = |end: &str| format!("{OWN}/config{end}");
    let empty = managed.done("GET", &at(""), &Value::Null).await["result"].clone();
    assert_eq!(empty, json!({"gateways": {}}));
    let two = json!({"gateways": {"one": gateway(60), "two": gateway(0)}});
    let plan = managed.done("POST", &at("/plan"), &two).await["result"].clone();
    let steps: Vec<_> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(steps, ["one", "two"]);
    assert_eq!(
        (&plan["changes"][0]["before"], &plan["changes"][0]["after"]),
        (&Value::Null, &gateway(60))
    );
    let still = managed.done("GET", &at(""), &Value::Null).await["result"].clone();
    assert_eq!(still, empty, "a plan changes nothing");
    managed.done("POST", &at("/apply"), &two).await;
    assert_eq!(managed.chat("two").await, 200);
    let told = managed.call("GET", &at(""), &Value::Null).await;
    assert_eq!(told.json()["result"], two);
    let revision = told.header("etag").unwrap().to_owned();
    let again = managed.done("POST", &at("/plan"), &two).await["result"].clone();
    assert_eq!(again["changes"], json!([]));
    let one = json!({"gateways": {"one": gateway(5)}});
    let late = request("POST", &at("/apply"), &managed.admin, &one).with("if-match", "\"1\"");
    assert_eq!(ask(managed.gateway.admin, &late).await.status(), 412);
    let timely = request("POST", &at("/apply"), &managed.admin, &one).with("if-match", &revision);
    assert_eq!(ask(managed.gateway.admin, &timely).await.status(), 200);
    let there = format!("{GATEWAYS}/two");
    assert_eq!(
        managed.call("GET", &there, &Value::Null).await.status(),
        404
    );
    let number: u64 = revision.trim_matches('"').parse().unwrap();
    let diff = format!("{OWN}/revisions/{number}/diff");
    let diff = managed.done("GET", &diff, &Value::Null).await["result"].clone();
    let changed = |at: usize, side: &str| diff["changes"][at][side]["fields"]["cache_ttl"].clone();
    assert_eq!(
        (changed(0, "before"), changed(0, "after")),
        (json!(5), json!(60))
    );
    assert_eq!(
        (diff["changes"][1]["before"].clone(), changed(1, "after")),
        (Value::Null, json!(0))
    );
    managed
        .done(
            "POST",
            &format!("{OWN}/revisions/{number}/restore"),
            &json!({}),
        )
        .await;
    assert_eq!(
        managed.done("GET", &at(""), &Value::Null).await["result"],
        two
    );
}

#[tokio::test]
async fn a_document_that_cannot_be_in_force_changes_nothing() {
    let managed = Managed::start("[[gateways]]\nid = \"filed\"").await;
    for (gateways, words) in [
        (json!({"filed": gateway(0)}), "managed by file"),
        (json!({"a b": gateway(0)}), "no id"),
        (
            json!({"one": {"fields": {"cache_tll": 1}}}),
            "did you mean `cache_ttl`?",
        ),
        (
            json!({"one": {"settings": {"limits": [{"id": "x"}]}}}),
            "limit",
        ),
        (json!({"one": {"field": {}}}), "did you mean `fields`?"),
        (
            json!({"one": {"settings": {"authentication": true}}}),
            "a field of the gateway itself",
        ),
    ] {
        let document = json!({"gateways": gateways});
        for end in ["plan", "apply"] {
            let reply = managed
                .call("POST", &format!("{OWN}/config/{end}"), &document)
                .await;
            assert_eq!(reply.status(), 400, "{document}: {}", reply.text());
            assert!(reply.text().contains(words), "{words}: {}", reply.text());
        }
    }
    let told = managed
        .done("GET", &format!("{OWN}/config"), &Value::Null)
        .await;
    assert_eq!(told["result"]["gateways"], json!({}));
}

#[tokio::test]
async fn a_gateway_of_a_document_is_told_as_what_it_is() {
    let managed = Managed::start("").await;
    let document = json!({"gateways": {"shop": {}}});
    let apply = format!("{OWN}/config/apply");
    managed.done("POST", &apply, &document).await;
    let there = format!("{GATEWAYS}/shop");
    let told = managed.done("GET", &there, &Value::Null).await["result"].clone();
    assert_eq!(managed.chat("shop").await, 200);
    let record = managed.gateway.record().await;
    assert_eq!(
        (&*record.gateway, &told["collect_logs"]),
        ("shop", &json!(true))
    );
    assert_eq!(told["authentication"], false);
    // Sent back, it is what it was.
    managed.done("PUT", &there, &told).await;
    assert_eq!(managed.chat("shop").await, 200);
    assert_eq!(managed.gateway.records(2).await.len(), 2);
}

#[tokio::test]
async fn a_document_has_no_more_gateways_than_are_stored() {
    let managed = Managed::start("").await;
    let many = |count: usize| {
        let all = (0..count).map(|n| (format!("g{n}"), json!({})));
        json!({"gateways": all.collect::<serde_json::Map<String, Value>>()})
    };
    let plan = format!("{OWN}/config/plan");
    managed.done("POST", &plan, &many(1_000)).await;
    let reply = managed.call("POST", &plan, &many(1_001)).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert_eq!(reply.json()["errors"][0]["code"], 7014);
}

#[tokio::test]
async fn prices_are_those_that_requests_are_charged_by() {
    let settings =
        "[[prices]]\nprovider = \"openai\"\nmodel = \"my-model\"\ninput = \"1.5\"\noutput = \"6\"";
    let managed = Managed::start(settings).await;
    let prices = async |query: &str| {
        let path = format!("{OWN}/prices?{query}");
        managed.done("GET", &path, &Value::Null).await
    };
    let own = prices("provider=openai&model=my-model").await["result"][0].clone();
    assert_eq!(
        (&own["source"], &own["rates"]["input"]),
        (
            &json!("configured"),
            &json!({"usd": "1.5", "per": 1_000_000})
        )
    );
    let dated = prices("provider=openai&model=gpt-4o-2024-08-06").await["result"][0].clone();
    assert!(
        dated["price"].as_str().unwrap().contains("/openai/gpt-4o"),
        "{dated}"
    );
    assert_eq!(
        prices("provider=openai&model=no-such-model").await["result"],
        json!([])
    );
    assert!(
        prices("").await["result_info"]["total_count"]
            .as_u64()
            .unwrap()
            > 100
    );
    let all = prices("model=gpt-4o").await["result_info"]["total_count"].clone();
    let some = prices("model=gpt-4o&provider=penrout").await["result_info"]["total_count"].clone();
    assert!(
        all.as_u64() > some.as_u64() && some.as_u64() > Some(0),
        "{all} {some}"
    );
}
