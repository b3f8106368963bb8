//! Providers and prices that an account has for itself.

use serde_json::{Value, json};

use super::*;

const PROVIDERS: &str = "/client/v4/accounts/local/ai-gateway/custom-providers";
const SEALED: &str = "[custom_providers]\nallow_private = true\n[secrets]\n\
    key = \"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"";

/// A provider at the upstream, in use.
async fn acme(managed: &Managed) -> Value {
    let provider = json!({
        "name": "Acme", "slug": "acme", "base_url": format!("{}/v1", managed.upstream.url()),
        "enable": true, "headers": "{\"x-acme-key\":\"planted-secret\"}",
    });
    let made = managed.done("POST", PROVIDERS, &provider).await;
    made["result"].clone()
}

/// A chat with a provider of the account's own; its status.
async fn chat(managed: &Managed, account: &str, slug: &str) -> u16 {
    let path = format!("/v1/{account}/default/custom-{slug}/chat/completions");
    let chat = Ask::post(&path, PROMPT).with("authorization", "Bearer sk-mine");
    managed.gateway.ask(&chat).await.status()
}

#[tokio::test]
async fn a_provider_of_ones_own_is_used_at_once_and_by_nobody_else() {
    let managed = Managed::start(SEALED).await;
    assert_eq!(chat(&managed, "local", "acme").await, 400);
    let made = acme(&managed).await;
    assert_eq!(made["slug"], "acme");
    assert_eq!(made["headers"], "{\"x-acme-key\":\"*****\"}");
    assert_eq!(made["beta"], false);
    assert!(made["logo"].as_str().unwrap().len() > 20);
    assert_eq!(chat(&managed, "local", "acme").await, 200);
    let request = managed.upstream.request(0).await;
    assert_eq!(request.head.header("x-acme-key"), Some("planted-secret"));
    assert_eq!(chat(&managed, "other", "acme").await, 400);
    let stored = format!("{:?}", managed.store.read().unwrap());
    let trail = managed
        .done("GET", &format!("{OWN}/audit"), &Value::Null)
        .await;
    for text in [&stored, &trail.to_string(), &made.to_string()] {
        assert!(!text.contains("planted-secret"));
    }
    let path = format!("{PROVIDERS}/{}", made["id"].as_str().unwrap());
    let starred = json!({"headers": made["headers"], "description": "ours"});
    let changed = managed.done("PATCH", &path, &starred).await;
    assert_eq!(changed["result"]["description"], "ours");
    assert_eq!(chat(&managed, "local", "acme").await, 200);
    let request = managed.upstream.request(1).await;
    assert_eq!(request.head.header("x-acme-key"), Some("planted-secret"));
    managed
        .done("PATCH", &path, &json!({"enable": false}))
        .await;
    assert_eq!(chat(&managed, "local", "acme").await, 400);
    let removed = managed.done("DELETE", &path, &Value::Null).await;
    assert_eq!(removed["result"]["id"], made["id"]);
    let gone = managed.call("GET", &path, &Value::Null).await;
    assert_eq!(
        (gone.status(), &gone.json()["errors"][0]["code"]),
        (404, &json!(1004))
    );
}

#[tokio::test]
async fn a_provider_that_cannot_be_is_refused_with_the_codes_of_the_contract() {
    let managed = Managed::start(&SEALED.replace("allow_private = true", "")).await;
    let fine = || json!({"name": "Acme", "slug": "acme", "base_url": "https://acme.example/v1"});
    let check = async |change: Value, status: u16, code: u64, member: &str| {
        let mut provider = fine();
        for (name, value) in change.as_object().unwrap() {
            provider[name] = value.clone();
        }
        let reply = managed.call("POST", PROVIDERS, &provider).await;
        let told = reply.json();
        assert_eq!(reply.status(), status, "{change}: {told}");
        assert_eq!(told["errors"][0]["code"], code, "{told}");
        assert_eq!(told["errors"][0]["path"][1], member, "{told}");
    };
    for url in [
        "http://acme.example",
        "acme.example",
        "ftp://acme.example",
        "",
    ] {
        check(json!({"base_url": url}), 400, 1002, "base_url").await;
    }
    check(json!({"slug": "No Slug"}), 400, 7001, "slug").await;
    check(json!({"slug": null}), 400, 7001, "slug").await;
    check(json!({"slugg": "x"}), 400, 7001, "slugg").await;
    check(json!({"headers": "no object"}), 400, 7001, "headers").await;
    check(json!({"headers": "{\"host\":\"x\"}"}), 400, 7001, "headers").await;
    let made = managed.done("POST", PROVIDERS, &fine()).await;
    assert_eq!(made["result"]["enable"], false);
    check(json!({}), 409, 1003, "slug").await;
    let missing = managed
        .call("GET", &format!("{PROVIDERS}/none"), &Value::Null)
        .await;
    assert_eq!(missing.json()["errors"][0]["code"], 1004);
}

#[tokio::test]
async fn headers_do_not_go_to_another_address() {
    let managed = Managed::start(SEALED).await;
    let made = acme(&managed).await;
    let path = format!("{PROVIDERS}/{}", made["id"].as_str().unwrap());
    let elsewhere = json!({"base_url": "https://evil.example"});
    let reply = managed.call("PATCH", &path, &elsewhere).await;
    assert_eq!(reply.status(), 400);
    assert!(reply.text().contains("send them again"), "{}", reply.text());
    let with = json!({"base_url": "https://evil.example", "headers": "{\"x-other\":\"1\"}"});
    managed.done("PATCH", &path, &with).await;
}

#[tokio::test]
async fn an_address_in_a_private_network_is_not_reached_unless_the_operator_says_so() {
    let managed = Managed::start("").await;
    let provider = json!({
        "name": "Inside", "slug": "inside", "base_url": "https://127.0.0.1:9", "enable": true,
    });
    managed.done("POST", PROVIDERS, &provider).await;
    assert!(chat(&managed, "local", "inside").await >= 500);
    let record = managed.gateway.record().await;
    let error = format!("{:?}", record.error);
    assert!(
        error.contains("private") || error.contains("internal"),
        "{error}"
    );
}

#[tokio::test]
async fn rules_of_costs_price_what_the_provider_answers() {
    let managed = Managed::start(SEALED).await;
    let made = acme(&managed).await;
    let costs = format!("{PROVIDERS}/costs");
    let rule = json!({
        "account_provider_id": made["id"], "model": "gpt", "model_rule": "starts-with",
        "cost_in": 0.000_001, "cost_out": 0.000_01,
    });
    let cost = managed.done("POST", &costs, &rule).await;
    assert_eq!(cost["result"]["cost_type"], "tokens");
    assert_eq!(cost["result"]["changed_by"], "manual");
    assert_eq!(chat(&managed, "local", "acme").await, 200);
    let record = managed.gateway.record().await;
    let usage = record.usage.unwrap();
    let expected = usage.total_input() * 1_000 + usage.output * 10_000;
    assert_eq!(record.cost.nanousd, Some(expected));
    let price = record.cost.price.as_deref();
    assert_eq!(price, Some("own/custom-acme/gpt*"));
    let path = format!("{costs}/{}", cost["result"]["id"].as_str().unwrap());
    let detailed = json!({"token_pricing": {"input_cached_tokens": 1e-7, "total_tokens": 1}});
    let changed = managed.done("PATCH", &path, &detailed).await;
    let told = changed["result"]["token_pricing"].as_str().unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["input_cached_tokens"], 1e-7);
    assert!(
        changed["messages"][0]["message"]
            .as_str()
            .unwrap()
            .contains("total_tokens")
    );
    let listed = managed
        .done(
            "GET",
            &format!("{costs}?model_rule=starts-with"),
            &Value::Null,
        )
        .await;
    assert_eq!(listed["result"].as_array().unwrap().len(), 1);
    let unknown = json!({"token_pricing": {"inptu_tokens": 1}});
    assert_eq!(managed.call("PATCH", &path, &unknown).await.status(), 400);
    managed.done("DELETE", &path, &Value::Null).await;
    let gone = managed.call("GET", &path, &Value::Null).await;
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn a_price_of_ones_own_holds_before_every_other_and_in_no_other_account() {
    let managed = Managed::start("").await;
    let prices = format!("{OWN}/prices");
    let ask = async |account: &str| {
        let path = format!("/v1/{account}/default/openai/chat/completions");
        let chat = Ask::post(&path, PROMPT).with("authorization", "Bearer sk-mine");
        assert_eq!(managed.gateway.ask(&chat).await.status(), 200);
    };
    ask("local").await;
    let first = managed.gateway.record().await;
    let model = first.model.clone().unwrap();
    let row = json!({"provider": "openai", "model": model, "input": "1000", "output": 0});
    let made = managed.done("POST", &prices, &row).await;
    ask("local").await;
    ask("other").await;
    // They came in one moment of the clock, and stand in any order.
    let is_own = |record: &&isango_types::Record| {
        let price = record.cost.price.as_deref();
        price.is_some_and(|price| price.starts_with("own/openai/"))
    };
    let records = managed.gateway.records(3).await;
    let own: Vec<_> = records.iter().filter(is_own).collect();
    assert_eq!(own.len(), 1);
    assert_eq!(&*own[0].account, "local");
    let usage = own[0].usage.unwrap();
    let expected = usage.total_input() * 1_000_000;
    assert_eq!(own[0].cost.nanousd, Some(expected));
    assert!(
        records
            .iter()
            .any(|one| *one.account == *"other" && one.cost == first.cost)
    );
    let own = managed
        .done("GET", &format!("{prices}/own"), &Value::Null)
        .await;
    assert_eq!(own["result"][0]["id"], made["result"]["id"]);
    assert_eq!(own["result"][0]["row"], row);
    let path = format!("{prices}/{}", made["result"]["id"].as_str().unwrap());
    managed.done("DELETE", &path, &Value::Null).await;
    ask("local").await;
    let records = managed.gateway.records(4).await;
    assert_eq!(records.iter().filter(is_own).count(), 1);
    for (row, words) in [
        (json!({"provider": "openai", "model": "x"}), "names no rate"),
        (
            json!({"provider": "openai", "model": "x", "inptu": 1}),
            "inptu",
        ),
        (
            json!({"provider": "openai", "model": "x", "input": "-1"}),
            "negative",
        ),
        (json!({"model": "x", "input": "1"}), "provider"),
    ] {
        let reply = managed.call("POST", &prices, &row).await;
        assert_eq!(reply.status(), 400, "{row}");
        assert!(reply.text().contains(words), "{}", reply.text());
    }
}
