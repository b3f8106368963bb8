//! What is secret of a gateway: sealed where it lies, used as it was sent, told to nobody.

use isango_backends::config::FileConfig;
use isango_types::Role;
use serde_json::{Value, json};

use super::gateways::{at, new};
use super::keys::SEALED;
use super::people::{Browser, House};
use super::*;

const PLANTED: &str = "planted-7h3K9yQ2mZ";

/// A gateway with a secret wherever one may be.
fn secretive(id: &str) -> Value {
    new(
        id,
        &json!({
            "otel": [{
                "url": format!("https://otel.example/v1/traces?key={PLANTED}"),
                "headers": {"x-api-key": PLANTED}, "content_type": "json",
            }],
            "stripe": {"authorization": PLANTED, "usage_events": [{"payload": "{}"}]},
        }),
    )
}

/// A server whose entities are in a folder, and its owner's browser.
async fn house(folder: &std::path::Path) -> (House, Browser) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let config = harness::config(&format!("{SEALED}\n{}", providers(&upstream)));
    let file: Arc<dyn ConfigStore> = Arc::new(FileConfig::in_folder(folder));
    let clock = Clock::manual(NOW);
    let house = House {
        gateway: Harness::start_stored(&config, Arc::clone(&file), clock.clone()),
        store: Arc::new(Vouched::new(file, config.keyring.clone())),
        clock,
    };
    let body = json!({
        "code": house.setup_code(), "name": "owner", "password": super::people::PASSWORD,
    });
    let owner = Browser::of(&house.follow("setup", &body).await);
    (house, owner)
}

#[tokio::test]
async fn nobody_is_told_what_is_secret_of_a_gateway_and_no_file_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (house, owner) = house(folder.path()).await;
    let done = async |method: &str, path: &str, body: &Value| {
        let reply = house.ask(&owner.ask(method, path, body)).await;
        let text = reply.text().to_owned();
        assert_eq!(reply.status(), 200, "{method} {path}: {text}");
        assert!(!text.contains(PLANTED), "{method} {path}: {text}");
    };
    done("POST", GATEWAYS, &secretive("shop")).await;
    let change = json!({"cache_ttl": 5, "otel": secretive("shop")["otel"]});
    done("PUT", &at("shop"), &change).await;
    let mut fields = secretive("shop");
    fields.as_object_mut().unwrap().remove("id");
    let document = json!({"gateways": {"shop": {"fields": fields}}});
    for end in ["plan", "apply"] {
        done("POST", &format!("{OWN}/config/{end}"), &document).await;
    }
    done("POST", GATEWAYS, &secretive("gone")).await;
    done("DELETE", &at("gone"), &Value::Null).await;
    let viewer = house.with("viewer", Role::Viewer).await;
    let revision = house.store.revision().unwrap();
    let of_revisions = (1..=revision)
        .flat_map(|number| ["", "/diff"].map(|end| format!("{OWN}/revisions/{number}{end}")));
    let routes = super::doors::routes("local").into_iter();
    let read = routes.filter(|(method, path)| method == "GET" && !path.ends_with("/tail"));
    for path in read.map(|(_, path)| path).chain(of_revisions) {
        for browser in [&owner, &viewer] {
            let reply = house.ask(&browser.get(&path)).await;
            assert!(!reply.text().contains(PLANTED), "{path}: {}", reply.text());
        }
    }
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(PLANTED));
    }
}

#[tokio::test]
async fn stars_that_are_sent_back_keep_what_they_stand_for() {
    let managed = Managed::start(SEALED).await;
    let made = managed.done("POST", GATEWAYS, &secretive("shop")).await["result"].clone();
    assert_eq!(made["otel"][0]["headers"], json!({"x-api-key": "*****"}));
    assert_eq!(
        made["otel"][0]["url"],
        "https://otel.example/v1/traces?*****"
    );
    assert_eq!(made["stripe"]["authorization"], "*****");
    let sealed = || {
        let contents = managed.store.read().unwrap();
        let entity = contents
            .of(isango_store::config::Kind::Gateway)
            .next()
            .unwrap();
        isango_store::gateways::StoredGateway::parse(entity)
            .unwrap()
            .sealed
    };
    let before = sealed();
    assert_eq!(before.len(), 3);
    managed.done("PUT", &at("shop"), &made).await;
    let document = managed
        .done("GET", &format!("{OWN}/config"), &Value::Null)
        .await["result"]
        .clone();
    managed
        .done("POST", &format!("{OWN}/config/apply"), &document)
        .await;
    assert_eq!(sealed(), before);
    // But nobody has them sent to somebody else.
    let evil = json!({"otel": [{
        "url": "https://evil.example", "headers": {"x-api-key": "*****"},
    }]});
    let reply = managed.call("PUT", &at("shop"), &evil).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    let told = reply.json()["errors"][0]["path"].clone();
    assert_eq!(told, json!(["body", "otel", 0, "headers", "x-api-key"]));
    let plain = Managed::start("").await;
    let reply = plain.call("POST", GATEWAYS, &secretive("shop")).await;
    assert!(reply.text().contains("secrets.key"), "{}", reply.text());
    let hash = json!({"redact": [{"pattern": "a", "action": "hash", "hash_key": PLANTED}]});
    let at = format!("{OWN}/gateways/shop/settings");
    let reply = managed.call("PUT", &at, &hash).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert!(!reply.text().contains(PLANTED), "{}", reply.text());
}

#[tokio::test]
async fn a_restored_gateway_has_the_secrets_of_now_and_what_it_lacks_is_told() {
    let managed = Managed::start(SEALED).await;
    managed.done("POST", GATEWAYS, &secretive("shop")).await;
    let revision = managed.store.revision().unwrap();
    managed
        .done("PUT", &at("shop"), &json!({"cache_ttl": 5}))
        .await;
    let restore = format!("{OWN}/revisions/{revision}/restore");
    let restored = managed.done("POST", &restore, &json!({})).await;
    assert_eq!(restored["messages"], json!([]));
    let read = managed.done("GET", &at("shop"), &Value::Null).await;
    assert_eq!(read["result"]["cache_ttl"], 0);
    assert_eq!(read["result"]["otel"][0]["headers"]["x-api-key"], "*****");
    let again = managed.done("POST", &restore, &json!({})).await;
    assert_eq!(again["result"]["changed"], 0);
    managed.done("DELETE", &at("shop"), &Value::Null).await;
    let restored = managed.done("POST", &restore, &json!({})).await;
    let told = restored["messages"].as_array().unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|one| one["code"] == 7023), "{told:?}");
    let read = managed.done("GET", &at("shop"), &Value::Null).await;
    assert_eq!(read["result"]["otel"][0]["headers"]["x-api-key"], "");
}
