//! What records take on the disk, by the API.

use isango_server::config::Sources;
use serde_json::{Value, json};

use super::people::House;
use super::*;

#[tokio::test]
async fn a_server_tells_what_its_records_take() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n\
         [records]\nretention_age = \"30d\"\n\
         [[tokens]]\nname = \"admin\"\nsecret = \"isg_0123456789abcdef\"\nscopes = [\"write\"]\n{}",
        folder.path().display(),
        harness::providers(&upstream)
    );
    let config = isango_server::config::Config::parse(&text, &Sources::default()).unwrap();
    let server = isango_server::start(&config).unwrap();
    let of = |url: String| url.split_once("://").unwrap().1.parse().unwrap();
    let (data, admin) = (of(server.data_url()), of(server.admin_url()));
    let chat = Ask::post("/v1/local/default/openai/chat/completions", PROMPT)
        .with("authorization", "Bearer sk-mine");
    assert_eq!(ask(data, &chat).await.status(), 200);
    let token = Secret::new("isg_0123456789abcdef");
    let asked = request("GET", &format!("{OWN}/storage"), &token, &Value::Null);
    let told = isango_testkit::within("the record", async {
        loop {
            let reply = ask(admin, &asked).await;
            assert_eq!(reply.status(), 200, "{}", reply.text());
            let told = reply.json()["result"].take();
            if told["records"] == 1 {
                return told;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(told["journal_bytes"].as_u64().unwrap() > 500, "{told}");
    assert!(told["total_bytes"].as_u64() >= told["journal_bytes"].as_u64());
    assert!(told["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(told["days"][0]["records"], 1);
    // There is no whole day yet.
    assert_eq!(
        (&told["bytes_per_day"], &told["full_at"]),
        (&Value::Null, &Value::Null)
    );
    let kept = json!({"max_bytes": null, "max_age_s": 2_592_000, "max_body_age_s": null});
    assert_eq!(told["retention"], kept);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_store_of_several_accounts_is_shown_to_who_owns_everything() {
    let (house, owner) = House::owned("[[gateways]]\nid = \"shop\"").await;
    let admin = house.with("admin", isango_types::Role::Admin).await;
    let path = format!("{OWN}/storage");
    let status = async |browser: &super::people::Browser| {
        house
            .ask(&browser.ask("GET", &path, &Value::Null))
            .await
            .status()
    };
    // This one keeps its records in memory: who may ask is told that there is no store on the disk.
    assert_eq!((status(&owner).await, status(&admin).await), (404, 404));
    house
        .with_in("another", "grace", isango_types::Role::Viewer)
        .await;
    assert_eq!((status(&owner).await, status(&admin).await), (404, 403));
}
