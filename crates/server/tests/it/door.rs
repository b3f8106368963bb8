//! The front door of gateways that ask for no token: no web page comes in that the operator did not
//! let in, whatever name it makes lead here.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::h2::H2Client;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use crate::harness::{CHAT, Harness};

const TOKEN: &str = "isg_0123456789abcdef";
const OWN: &str = "[[gateways]]\nid = \"default\"\n[[gateways.targets]]\nname = \"own\"\n\
                   provider = \"openai\"\ncredential = \"sk-own\"\n";

async fn start(server: &str) -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let token = format!("[[tokens]]\nname = \"app\"\nsecret = \"{TOKEN}\"\n");
    let gateway = Harness::with(&format!("{server}{OWN}{token}"), &upstream).await;
    (upstream, gateway)
}

/// What a page's simple request is: no preflight goes before it.
fn page(name: &str, value: &str) -> Ask {
    Ask::new("POST", CHAT)
        .with("content-type", "text/plain")
        .with(name, value)
        .body(PROMPT)
}

async fn check(server: &str, ask: &Ask, words: Option<&str>) {
    let (upstream, gateway) = start(server).await;
    let reply = gateway.ask(ask).await;
    let Some(words) = words else {
        assert_eq!(reply.status(), 200, "{ask:?}");
        return;
    };
    let told = reply.json();
    assert_eq!(
        (reply.status(), &told["internalCode"]),
        (403, &3032.into()),
        "{ask:?} {told}"
    );
    assert!(told["message"].as_str().unwrap().contains(words), "{told}");
    assert_eq!(upstream.count(), 0);
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(&*record.error.unwrap().code, "3032");
}

#[tokio::test]
async fn a_page_of_somebody_elses_spends_nothing() {
    let listed = "server.allowed_origins";
    check("", &page("origin", "https://page.example"), Some(listed)).await;
    check("", &page("origin", "null"), Some("'null'")).await;
    check("", &page("sec-fetch-site", "cross-site"), Some(listed)).await;
    check("", &page("origin", "http://localhost:3000"), None).await;
    check("", &page("sec-fetch-site", "none"), None).await;
}

#[tokio::test]
async fn a_name_that_a_page_made_lead_here_is_not_the_gateways() {
    let named = |host: &str| page("host", host);
    check(
        "",
        &named("page.example:8700"),
        Some("server.allowed_hosts"),
    )
    .await;
    check("", &named("127.0.0.1.page.example"), Some("not known as")).await;
    check("", &named("127.0.0.1:8700"), None).await;
    check("", &named("localhost:8700"), None).await;
    let known = "[server]\nallowed_hosts = [\"ai.example.com\"]\n";
    check(known, &named("AI.example.com"), None).await;
    check(known, &named("page.example"), Some("not known as")).await;
}

#[tokio::test]
async fn a_page_that_the_operator_lets_in_comes_in() {
    let known = "[server]\nallowed_origins = [\"https://app.example.com\"]\n";
    check(known, &page("origin", "https://app.example.com"), None).await;
    check(
        known,
        &page("origin", "https://page.example"),
        Some("page.example"),
    )
    .await;
}

#[tokio::test]
async fn who_shows_a_token_comes_in_from_anywhere() {
    for (name, value) in [("origin", "https://page.example"), ("host", "page.example")] {
        let ask = page(name, value).with("cf-aig-authorization", TOKEN);
        check("", &ask, None).await;
        // What is no token of ours shows nothing.
        let ask = page(name, value).with("cf-aig-authorization", "isg_wrong-0123456789");
        check("", &ask, Some("asks for no token")).await;
    }
}

#[tokio::test]
async fn legs_and_http2_have_the_same_door() {
    let (upstream, gateway) = start("").await;
    let legs =
        r#"[{"provider":"openai","endpoint":"chat/completions","query":{"model":"gpt-4o"}}]"#;
    let ask = Ask::post("/v1/local/default", legs).with("origin", "https://page.example");
    assert_eq!(gateway.ask(&ask).await.json()["internalCode"], 3032);
    let mut client = H2Client::connect(gateway.addr).await;
    for (name, value) in [("origin", "https://page.example"), ("host", "page.example")] {
        let reply = client.ask(&page(name, value)).await;
        assert_eq!(reply.json()["internalCode"], 3032, "{name}");
    }
    assert_eq!(upstream.count(), 0);
}
