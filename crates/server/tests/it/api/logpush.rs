//! Logpush jobs by the management API: made, told without secrets, changed, removed, and at work.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use serde_json::{Value, json};

use super::Managed;
use super::gateways::{at, new};
use crate::harness::CHAT;

const JOBS: &str = "/client/v4/accounts/local/logpush/jobs";

/// A key to seal with, and leave for private addresses.
const SETTINGS: &str = "[secrets]\nkey = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n\
                        [logpush]\nallow_private = true\n";

fn s3(url: &str) -> String {
    format!("s3://audit/p?region=x&access-key-id=AKID&secret-access-key=planted&endpoint={url}")
}

#[tokio::test]
async fn a_job_is_made_told_changed_and_removed() {
    let managed = Managed::start(SETTINGS).await;
    assert_eq!(
        managed.done("GET", JOBS, &Value::Null).await["result"],
        json!([])
    );
    let body = json!({
        "name": "siem", "dataset": "ai_gateway_events", "enabled": true,
        "destination_conf": s3("http://127.0.0.1:1"),
        "filter": r#"{"where":{"key":"StatusCode","operator":"geq","value":400}}"#,
        "output_options": {"field_names": ["Datetime", "Id"], "timestamp_format": "unixnano"},
        "max_upload_records": 1000, "ownership_challenge": "any",
    });
    let made = managed.done("POST", JOBS, &body).await["result"].clone();
    let text = made.to_string();
    assert!(!text.contains("planted"), "{text}");
    let stored = managed.store.read().unwrap();
    let entity = stored
        .entities
        .iter()
        .find(|one| one.body.contains("sealed"))
        .unwrap();
    assert!(!entity.body.contains("planted"), "{entity:?}");
    assert!(
        made["destination_conf"]
            .as_str()
            .unwrap()
            .contains("secret-access-key=*****")
    );
    for name in [
        "name",
        "dataset",
        "enabled",
        "filter",
        "output_options",
        "max_upload_records",
    ] {
        let told = made[name].as_object().map_or(made[name].clone(), |told| {
            // What was not set is told as such.
            told.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        });
        assert_eq!(told, body[name], "{name}");
    }
    let one = format!("{JOBS}/{}", made["id"]);
    let read = managed.done("GET", &one, &Value::Null).await["result"].clone();
    assert_eq!(read["id"], made["id"]);
    // A client sends back what it read: the destination stays.
    let mut again = read.clone();
    again["enabled"] = false.into();
    let changed = managed.done("PUT", &one, &again).await["result"].clone();
    assert_eq!(
        (&changed["enabled"], &changed["name"]),
        (&json!(false), &json!("siem"))
    );
    assert_eq!(changed["destination_conf"], made["destination_conf"]);
    let of_dataset = "/client/v4/accounts/local/logpush/datasets/ai_gateway_events";
    let jobs = managed
        .done("GET", &format!("{of_dataset}/jobs"), &Value::Null)
        .await;
    assert_eq!(jobs["result"].as_array().unwrap().len(), 1);
    let fields = managed
        .done("GET", &format!("{of_dataset}/fields"), &Value::Null)
        .await;
    assert!(
        fields["result"]
            .as_object()
            .unwrap()
            .contains_key("RequestBody")
    );
    let removed = managed.done("DELETE", &one, &Value::Null).await;
    assert_eq!(removed["result"]["id"], made["id"]);
    assert_eq!(managed.call("GET", &one, &Value::Null).await.status(), 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_job_is_told_by_its_member() {
    let managed = Managed::start(SETTINGS).await;
    let check = async |body: Value, path: Value, told: &str| {
        let reply = managed.call("POST", JOBS, &body).await;
        assert_eq!(reply.status(), 400, "{body}: {}", reply.text());
        let error = &reply.json()["errors"][0];
        assert_eq!(error["path"], path, "{error}");
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
        assert!(!reply.text().contains("planted"), "{}", reply.text());
    };
    let with = |more: Value| {
        let mut body = json!({"destination_conf": s3("http://127.0.0.1:1")});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    check(json!({}), json!(["body", "destination_conf"]), "Required").await;
    check(
        json!({"destination_conf": "s4://planted"}),
        json!(["body", "destination_conf"]),
        "`s3`",
    )
    .await;
    check(
        json!({"destination_conf": "folder:///tmp"}),
        json!(["body", "destination_conf"]),
        "file only",
    )
    .await;
    check(
        with(json!({"filter": "{\"where\":{}}"})),
        json!(["body", "filter"]),
        "`key`",
    )
    .await;
    check(
        with(json!({"dataset": "http_requests"})),
        json!(["body", "dataset"]),
        "ai_gateway_events",
    )
    .await;
    check(
        with(json!({"sample": 1})),
        json!(["body", "sample"]),
        "unknown field `sample`",
    )
    .await;
    check(
        with(json!({"max_upload_records": 2_000_000})),
        json!(["body", "max_upload_records"]),
        "1000000",
    )
    .await;
    let names = json!({"output_options": {"field_names": ["RequestBdy"]}});
    check(
        with(names),
        json!(["body", "output_options", "field_names"]),
        "RequestBody",
    )
    .await;
    let sampled = json!({"output_options": {"sample_rate": 0.5}});
    check(
        with(sampled),
        json!(["body", "output_options", "sample_rate"]),
        "is 1",
    )
    .await;
}

#[tokio::test]
async fn a_job_is_tested_by_the_destination_that_it_is_told_to_have() {
    let receiver = Upstream::start([json("")]).await;
    let managed = Managed::start(SETTINGS).await;
    let conf = format!("{}/in?header_X-Key=planted", receiver.url());
    let body = json!({"destination_conf": conf, "enabled": false});
    let told = managed.done("POST", JOBS, &body).await["result"]["destination_conf"].clone();
    assert!(!told.to_string().contains("planted"), "{told}");
    let validate = "/client/v4/accounts/local/logpush/validate/destination";
    let tested = managed
        .done("POST", validate, &json!({"destination_conf": told}))
        .await;
    assert_eq!(tested["result"]["valid"], true, "{tested}");
    let header = receiver
        .request(0)
        .await
        .head
        .header("x-key")
        .map(str::to_owned);
    assert_eq!(header.as_deref(), Some("planted"));
    // Another one that is told alike: nobody knows which is meant.
    let other = conf.replace("planted", "another");
    let body = json!({"destination_conf": other, "enabled": false});
    managed.done("POST", JOBS, &body).await;
    let refused = managed
        .call("POST", validate, &json!({"destination_conf": told}))
        .await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
}

#[tokio::test]
async fn a_job_exports_the_gateways_that_say_so_and_a_test_is_written_first() {
    let receiver = Upstream::start([json("")]).await;
    let managed = Managed::start(SETTINGS).await;
    for (id, logpush) in [("pushed", true), ("quiet", false)] {
        let fields = json!({"logpush": logpush, "authentication": false});
        managed
            .done("POST", super::GATEWAYS, &new(id, &fields))
            .await;
    }
    let conf = format!("{}/in?header_X-Key=planted", receiver.url());
    let validate = "/client/v4/accounts/local/logpush/validate/destination";
    let tested = managed
        .done("POST", validate, &json!({"destination_conf": conf}))
        .await;
    assert_eq!(tested["result"]["valid"], true, "{tested}");
    assert_eq!(
        receiver.request(0).await.head.header("x-key"),
        Some("planted")
    );
    let nobody = json!({"destination_conf": crate::harness::nobody().await});
    let tested = managed.done("POST", validate, &nobody).await;
    assert_eq!(tested["result"]["valid"], false, "{tested}");
    let body = json!({"destination_conf": conf, "enabled": true, "max_upload_interval_seconds": 1});
    let made = managed.done("POST", JOBS, &body).await["result"].clone();
    let one = format!("{JOBS}/{}", made["id"]);
    // It begins where the journal ends: once it has, records are exported.
    within("the job runs", async {
        loop {
            let told = managed.done("GET", &one, &Value::Null).await;
            if told["result"]["isango"]["head"] != "" {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    for id in ["quiet", "pushed"] {
        let ask = Ask::post(&CHAT.replace("default", id), r#"{"model":"gpt-4o"}"#)
            .with("authorization", "Bearer k");
        assert_eq!(managed.gateway.ask(&ask).await.status(), 200);
    }
    let sent = receiver.request(1).await;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*sent.body), &mut text)
        .unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(lines[0]["Gateway"], "pushed");
    let told = managed.done("GET", &at("pushed"), &Value::Null).await;
    assert_eq!(told["messages"], json!([]));
}
