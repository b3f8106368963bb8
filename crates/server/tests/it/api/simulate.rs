//! What would become of a request, by the API: nothing is sent, drawn or recorded for it.

use serde_json::{Value, json};

use super::*;

const PATH: &str = "/client/v4/accounts/local/isango/gateways/shop/simulate";
const EXPLAIN: &str = "/client/v4/accounts/local/isango/gateways/shop/cache/explain";

const SHOP: &str = r#"
[[gateways]]
id = "shop"
cache_ttl = 600
targets = [
    { name = "one", provider = "openai" },
    { name = "two", provider = "openrouter" },
]
fallback = { one = ["two"] }
[[gateways.limits]]
id = "few"
unit = "requests"
by = ["metadata.tenant"]
limit = 2
window = "day"
[[gateways.limits]]
id = "spend"
unit = "cost"
limit = 1.0
window = "month"
"#;

fn question() -> Value {
    json!({
        "path": "openai/chat/completions",
        "headers": {"Authorization": "Bearer sk-mine", "cf-aig-metadata": "{\"tenant\":\"acme\"}"},
        "body": PROMPT,
    })
}

fn with(member: &str, value: Value) -> Value {
    let mut question = question();
    question[member] = value;
    question
}

async fn simulated(managed: &Managed, question: &Value) -> Value {
    managed.done("POST", PATH, question).await["result"].take()
}

/// The same request, sent.
async fn chat(managed: &Managed) -> u16 {
    let chat = Ask::post("/v1/local/shop/openai/chat/completions", PROMPT)
        .with("authorization", "Bearer sk-mine")
        .with("cf-aig-metadata", "{\"tenant\":\"acme\"}");
    managed.gateway.ask(&chat).await.status()
}

#[tokio::test]
async fn a_request_is_told_with_everything_that_it_would_meet() {
    let managed = Managed::start(SHOP).await;
    let told = simulated(&managed, &question()).await;
    assert_eq!(
        (&told["fate"], &told["refusal"]),
        (&json!("sent"), &Value::Null)
    );
    assert_eq!(
        (&told["provider"], &told["target"]),
        (&json!("openai"), &json!("one"))
    );
    let upstream = format!("{}/v1/chat/completions", managed.upstream.url());
    assert_eq!(told["upstream"], upstream);
    assert_eq!(
        (&told["operation"], &told["model"]),
        (&json!("chat"), &json!("gpt-4o"))
    );
    let targets = told["targets"].as_array().unwrap();
    let names: Vec<&Value> = targets.iter().map(|one| &one["target"]).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(
        (&targets[0]["is_open"], &targets[1]["is_equal"]),
        (&json!(true), &json!(false))
    );
    let few = &told["limits"][0];
    assert_eq!(
        (&few["rule"], &few["bucket"]),
        (&json!("few"), &json!(["acme"]))
    );
    assert_eq!(
        (&few["verdict"], &few["before"], &few["left"]),
        (&json!("admitted"), &json!(0), &json!(2))
    );
    assert_eq!(told["limits"][1]["rule"], "spend");
    let most = told["estimate"]["most_nanousd"].as_u64().unwrap();
    assert_eq!(told["limits"][1]["needs"], most);
    assert!(told["estimate"]["input"].as_u64().unwrap() > 0);
    let cache = &told["cache"];
    assert_eq!(
        (&cache["status"], &cache["ttl_s"]),
        (&json!("miss"), &json!(600))
    );
    let parts = cache["parts"].as_array().unwrap();
    for part in ["gateway", "provider", "header authorization", "body"] {
        assert!(parts.contains(&json!(part)), "{part}: {parts:?}");
    }
    // Nothing was sent, drawn or recorded.
    assert_eq!(managed.upstream.count(), 0);
    assert_eq!(harness::recorded(&managed.gateway.logs).len(), 0);
    assert_eq!((chat(&managed).await, chat(&managed).await), (200, 200));
    managed.gateway.records(2).await;
}

#[tokio::test]
async fn limits_are_told_as_they_stand_and_stay_so() {
    let managed = Managed::start(&SHOP.replace("cache_ttl = 600\n", "")).await;
    assert_eq!((chat(&managed).await, chat(&managed).await), (200, 200));
    managed.gateway.records(2).await;
    for _ in 0..3 {
        let told = simulated(&managed, &question()).await;
        assert_eq!(told["fate"], "refused", "{told}");
        let refusal = &told["refusal"];
        assert_eq!(
            (&refusal["status"], &refusal["code"]),
            (&json!(429), &json!(2003))
        );
        let few = &told["limits"][0];
        let stands = (&few["verdict"], &few["before"], &few["left"]);
        assert_eq!(stands, (&json!("refused"), &json!(2), &json!(0)));
        assert_eq!(few["resets_at"], "2026-11-23T00:00:00.000000Z");
    }
    // Another tenant has its own.
    let other = json!({
        "Authorization": "Bearer sk-mine", "cf-aig-metadata": "{\"tenant\":\"globex\"}",
    });
    for _ in 0..3 {
        let told = simulated(&managed, &with("headers", other.clone())).await;
        assert_eq!(
            (&told["fate"], &told["limits"][0]["before"]),
            (&json!("sent"), &json!(0))
        );
    }
}

#[tokio::test]
async fn what_is_kept_is_told_with_its_age_and_its_time() {
    let managed = Managed::start(SHOP).await;
    assert_eq!(chat(&managed).await, 200);
    managed.gateway.kept(1).await;
    let record = managed.gateway.record().await;
    let told = simulated(&managed, &question()).await;
    assert_eq!(told["fate"], "recalled", "{told}");
    let explained = managed.done("POST", EXPLAIN, &question()).await;
    assert_eq!(explained["result"], told["cache"]);
    let kept = &told["cache"]["kept"];
    assert_eq!(
        (&kept["filled_by"], &kept["status"]),
        (&json!(record.id), &json!(200))
    );
    assert_eq!((&kept["age_s"], &kept["left_s"]), (&json!(0), &json!(600)));
    // By its record; the credential is not on record.
    let by_record = json!({
        "record": record.id, "headers": {
            "authorization": "Bearer sk-mine", "content-type": "application/json",
        },
    });
    let by_record = managed.done("POST", EXPLAIN, &by_record).await;
    assert_eq!(by_record["result"]["status"], "hit", "{by_record}");
    let path = format!("{OWN}/requests/{}/cache", record.id);
    let of_record = managed.done("GET", &path, &Value::Null).await;
    assert_eq!(of_record["result"]["recorded"]["status"], "miss");
    assert_eq!(of_record["result"]["kept"], *kept);
    managed
        .done("POST", &format!("{OWN}/cache/purge"), &json!({}))
        .await;
    let of_record = managed.done("GET", &path, &Value::Null).await;
    assert_eq!(of_record["result"]["kept"], Value::Null);
}

#[tokio::test]
async fn why_a_request_is_not_answered_from_the_cache_is_told() {
    let managed = Managed::start(SHOP).await;
    assert_eq!(chat(&managed).await, 200);
    managed.gateway.kept(1).await;
    let check = async |change: (&str, &str), status: &str, reason: Value| {
        let mut question = question();
        question["headers"][change.0] = change.1.into();
        let told = managed.done("POST", EXPLAIN, &question).await;
        assert_eq!(told["result"]["status"], status, "{change:?} {told}");
        assert_eq!(told["result"]["reason"], reason, "{change:?}");
        told["result"].clone()
    };
    let anew = json!("the request asked for a new answer");
    check(("cf-aig-skip-cache", "true"), "bypass", anew).await;
    check(
        ("cf-aig-cache-ttl", "0"),
        "bypass",
        json!("nothing asks for the cache"),
    )
    .await;
    let told = check(("openai-organization", "other"), "miss", Value::Null).await;
    assert_eq!(told["differs"], json!(["header openai-organization"]));
    let refused = json!("it is refused before: ");
    let none = managed
        .done("POST", EXPLAIN, &with("headers", json!({})))
        .await;
    let reason = none["result"]["reason"].as_str().unwrap();
    assert!(reason.starts_with(refused.as_str().unwrap()), "{reason}");
}

#[tokio::test]
async fn a_request_is_taken_as_that_of_a_token() {
    let managed = Managed::start(
        "[[gateways]]\nid = \"shop\"\nauthentication = true\n[[gateways]]\nid = \"desk\"\n\
         [[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\nmodels = [\"gpt-4o-mini\"]\n\
         [[tokens]]\nname = \"elsewhere\"\nsecret = \"isg_0123456789abcdeg\"\ngateways = [\"desk\"]\n\
         [[tokens]]\nname = \"any\"\nsecret = \"isg_0123456789abcdeh\"\n",
    )
    .await;
    let check = async |question: Value, fate: &str, code: Value| {
        let told = simulated(&managed, &question).await;
        assert_eq!(told["fate"], fate, "{told}");
        assert_eq!(told["refusal"]["code"], code, "{told}");
        told
    };
    check(question(), "refused", json!(2009)).await;
    check(with("token", json!("elsewhere")), "refused", json!(2009)).await;
    let told = check(with("token", json!("any")), "sent", Value::Null).await;
    assert_eq!(told["token"], "any");
    let told = simulated(&managed, &with("token", json!("app"))).await;
    assert_eq!(
        (&told["fate"], &told["refusal"]["status"]),
        (&json!("refused"), &json!(403))
    );
    let unknown = managed
        .call("POST", PATH, &with("token", json!("none")))
        .await;
    assert_eq!(unknown.status(), 400);
    assert_eq!(
        unknown.json()["errors"][0]["path"],
        json!(["body", "token"])
    );
}

#[tokio::test]
async fn what_is_no_request_of_the_gateway_is_refused() {
    let managed = Managed::start(SHOP).await;
    for (question, path) in [
        (
            with("path", json!("../other/openai")),
            json!(["body", "path"]),
        ),
        (with("method", json!("A B")), json!(["body", "method"])),
        (with("record", json!("none")), json!(["body", "record"])),
        (
            with("headers", json!({"host": "x"})),
            json!(["body", "headers", "host"]),
        ),
        (with("pathh", json!("x")), json!(["body", "pathh"])),
    ] {
        let reply = managed.call("POST", PATH, &question).await;
        assert_eq!(reply.status(), 400, "{question}");
        assert_eq!(reply.json()["errors"][0]["path"], path);
    }
    let none = PATH.replace("shop", "none");
    assert_eq!(managed.call("POST", &none, &question()).await.status(), 404);
    // A provider that is not there is what the gateway would say, not what this API does.
    let told = simulated(&managed, &with("path", json!("nobody/x"))).await;
    assert_eq!(
        (&told["fate"], &told["provider"]),
        (&json!("refused"), &Value::Null)
    );
}
