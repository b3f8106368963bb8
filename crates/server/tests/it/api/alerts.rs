//! Alerts by the API: which there are, how they stand, tests of their webhooks, and quiet.

use isango_testkit::answer::status;
use isango_testkit::within;
use serde_json::{Value, json};

use super::*;

/// A gateway whose limit of two requests a day for each tenant is told of at the first.
fn watched(receiver: &Upstream) -> String {
    format!(
        "[[gateways]]\nid = \"shop\"\n[[gateways.limits]]\nid = \"few\"\nunit = \"requests\"\n\
         by = [\"metadata.tenant\"]\nlimit = 2\nwindow = \"day\"\n\
         alerts = [{{ at = 0.5, webhook = \"{}/planted-path\", format = \"json\", \
         secret = \"planted-0123456789\" }}]\n[[gateways]]\nid = \"desk\"\n",
        receiver.url()
    )
}

const ALERT: &str = "/client/v4/accounts/local/isango/gateways/shop/alerts/few-50";
const WHEN: &str = "2026-11-22T16:00:00.000000Z";

/// The only alert, as the list tells it.
async fn alert(managed: &Managed) -> Value {
    let listed = managed
        .done("GET", &format!("{OWN}/alerts"), &Value::Null)
        .await;
    assert_eq!(listed["result_info"]["total_count"], 1, "{listed}");
    assert!(!listed.to_string().contains("planted"), "{listed}");
    listed["result"][0].clone()
}

/// Waits until a member of the alert is no longer as it is where nothing happened.
async fn alert_with(managed: &Managed, member: &str) -> Value {
    within(member, async {
        loop {
            let told = alert(managed).await;
            if !told[member].is_null() {
                return told;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// A chat of a tenant; it has its record when this returns.
async fn chat(managed: &Managed, tenant: &str, count: usize) {
    let metadata = json!({"tenant": tenant}).to_string();
    let chat = Ask::post("/v1/local/shop/openai/chat/completions", PROMPT)
        .with("authorization", "Bearer sk-mine")
        .with("cf-aig-metadata", &metadata);
    assert_eq!(managed.gateway.ask(&chat).await.status(), 200);
    managed.gateway.records(count).await;
}

#[tokio::test]
async fn an_alert_is_listed_with_how_it_stands() {
    let receiver = Upstream::start([json("{}")]).await;
    let managed = Managed::start(&watched(&receiver)).await;
    let told = alert(&managed).await;
    let expected = json!({
        "gateway": "shop", "id": "few-50", "watches": "limit", "limit": "few", "percent": 50.0,
        "forecast": false, "over_s": null, "window_s": null, "min_requests": null,
        "repeat_after_s": null, "format": "json", "managed_by": "file", "firing": false,
        "last_fired_at": null, "fired": 0, "waiting": 0, "delivered_at": null,
        "failed_at": null, "failure": null, "muted_until": null,
    });
    assert_eq!(told, expected);
    let one = managed.done("GET", ALERT, &Value::Null).await;
    assert_eq!(one["result"], expected);
    chat(&managed, "acme", 1).await;
    let told = alert_with(&managed, "delivered_at").await;
    assert_eq!((&told["firing"], &told["fired"]), (&json!(true), &json!(1)));
    assert_eq!(told["last_fired_at"], WHEN);
    assert_eq!(
        (&told["delivered_at"], &told["failure"]),
        (&json!(WHEN), &Value::Null)
    );
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_told_with_the_reason() {
    // It is tried again an hour later.
    let busy = status(503).header("retry-after", "3600");
    let receiver = Upstream::start([busy]).await;
    let managed = Managed::start(&watched(&receiver)).await;
    chat(&managed, "acme", 1).await;
    let told = alert_with(&managed, "failure").await;
    assert_eq!(
        told["failure"],
        "its webhook answers 503 Service Unavailable"
    );
    assert_eq!(
        (&told["failed_at"], &told["waiting"]),
        (&json!(WHEN), &json!(1))
    );
    assert_eq!(told["delivered_at"], Value::Null);
}

#[tokio::test]
async fn a_token_for_some_gateways_sees_the_alerts_of_those_alone() {
    let receiver = Upstream::start([json("{}")]).await;
    let managed = Managed::start(&watched(&receiver)).await;
    for (gateway, count, status) in [("shop", 1, 200), ("desk", 0, 404)] {
        let made = json!({"name": gateway, "scopes": ["read"], "gateways": [gateway]});
        let made = managed.done("POST", &format!("{OWN}/tokens"), &made).await;
        let token = Secret::new(made["result"]["value"].as_str().unwrap());
        let get = async |path: &str| {
            let asked = request("GET", path, &token, &Value::Null);
            ask(managed.gateway.admin, &asked).await
        };
        let listed = get(&format!("{OWN}/alerts")).await.json();
        assert_eq!(listed["result_info"]["total_count"], count, "{gateway}");
        assert_eq!(get(ALERT).await.status(), status, "{gateway}");
    }
}

#[tokio::test]
async fn an_alert_is_quiet_while_it_is_muted() {
    let receiver = Upstream::start([json("{}")]).await;
    let managed = Managed::start(&watched(&receiver)).await;
    let mute = format!("{ALERT}/mute");
    let muted = managed.done("POST", &mute, &json!({"for_s": 3_600})).await;
    let until = "2026-11-22T17:00:00.000000Z";
    assert_eq!(muted["result"]["muted_until"], until);
    assert_eq!(alert(&managed).await["muted_until"], until);
    chat(&managed, "acme", 1).await;
    let unmuted = managed.done("DELETE", &mute, &Value::Null).await;
    assert_eq!(unmuted["result"]["muted_until"], Value::Null);
    assert_eq!(unmuted["result"]["fired"], 0);
    chat(&managed, "globex", 2).await;
    let message = receiver.request(0).await;
    let said: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(said["limit"]["bucket"][0]["value"], "globex");
    let trail = format!("{OWN}/audit?kind=mute&ascending=true");
    let trail = managed.done("GET", &trail, &Value::Null).await;
    let told = |n: usize| (&trail["result"][n]["action"], &trail["result"][n]["id"]);
    assert_eq!(told(0), (&json!("create"), &json!("shop/few-50")));
    assert_eq!(told(1), (&json!("delete"), &json!("shop/few-50")));
    // Once more, and for longer; and what makes no sense.
    for for_s in [60, 7_776_000] {
        managed.done("POST", &mute, &json!({"for_s": for_s})).await;
    }
    for for_s in [0, 59, 7_776_001] {
        let reply = managed.call("POST", &mute, &json!({"for_s": for_s})).await;
        assert_eq!(reply.status(), 400, "{for_s}");
        let path = &reply.json()["errors"][0]["path"];
        assert_eq!(*path, json!(["body", "for_s"]));
    }
    let nothing = format!("{OWN}/gateways/shop/alerts/none/mute");
    let nothing = managed.call("POST", &nothing, &json!({"for_s": 60})).await;
    assert_eq!(nothing.status(), 404);
}

#[tokio::test]
async fn a_test_message_goes_to_the_webhook_and_is_told_with_what_it_said() {
    let answer = json("thanks, planted-path");
    let receiver = Upstream::start([answer, status(410)]).await;
    let managed = Managed::start(&watched(&receiver)).await;
    let path = format!("{ALERT}/test");
    let tested = managed.done("POST", &path, &Value::Null).await;
    let expected = json!({"delivered": true, "status": 200, "said": "thanks, [webhook]"});
    assert_eq!(tested["result"], expected);
    let message = receiver.request(0).await;
    let said: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(
        (&said["test"], &said["alert"]),
        (&json!(true), &json!("few-50"))
    );
    assert!(message.head.header("isango-signature").is_some());
    let refused = managed.done("POST", &path, &Value::Null).await;
    let told = (
        &refused["result"]["delivered"],
        &refused["result"]["status"],
    );
    assert_eq!(told, (&json!(false), &json!(410)));
    let trail = format!("{OWN}/audit?action=test");
    let trail = managed.done("GET", &trail, &Value::Null).await;
    assert_eq!(trail["result"].as_array().unwrap().len(), 2);
    assert_eq!(trail["result"][0]["id"], "shop/few-50");
    assert!(!trail.to_string().contains("planted"));
    assert_eq!(alert(&managed).await["fired"], 0);
}

#[tokio::test]
async fn a_webhook_that_nobody_answers_at_is_told_without_its_address() {
    let receiver = Upstream::start([json("{}")]).await;
    let settings = watched(&receiver);
    drop(receiver);
    let managed = Managed::start(&settings).await;
    let tested = managed
        .done("POST", &format!("{ALERT}/test"), &Value::Null)
        .await;
    let result = &tested["result"];
    assert_eq!(
        (&result["delivered"], &result["status"]),
        (&json!(false), &Value::Null)
    );
    let said = result["said"].as_str().unwrap();
    assert!(
        said.starts_with("connect") && !said.contains("127.0.0.1"),
        "{said}"
    );
}
