//! Gateway tokens: what they open, and that no provider ever sees one.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::record::{MetadataValue, Outcome};

use crate::harness::{CHAT, Harness};

const TOKEN: &str = "isg_0123456789abcdef";
const BOUND: &str = "isg_bound-0123456789";
const FOREIGN: &str = "isg_foreign-01234567";

/// A gateway `closed` that needs a token, with a target that has a credential.
async fn start() -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let settings = format!(
        "[[gateways]]\nid = \"closed\"\nauthentication = true\n\
         [[gateways.targets]]\nname = \"own\"\nprovider = \"openai\"\ncredential = \"sk-own\"\n\
         [[gateways.targets]]\nname = \"claude\"\nprovider = \"anthropic\"\ncredential = \"sk-ant\"\n\
         [[gateways.targets]]\nname = \"gemini\"\nprovider = \"google-ai-studio\"\n\
         credential = \"AIza\"\n\
         [[gateways]]\nid = \"other\"\nauthentication = true\n\
         [[tokens]]\nname = \"app\"\nsecret = \"{TOKEN}\"\n\
         [[tokens]]\nname = \"bound\"\nsecret = \"{BOUND}\"\ngateways = [\"closed\"]\n\
         metadata = {{ tenantId = \"acme\", plan = 2 }}\n\
         [[tokens]]\nname = \"foreign\"\naccount = \"elsewhere\"\nsecret = \"{FOREIGN}\"\n"
    );
    let gateway = Harness::with(&settings, &upstream).await;
    (upstream, gateway)
}

fn closed(path: &str) -> Ask {
    Ask::post(&format!("/v1/local/closed/{path}"), PROMPT)
}

#[tokio::test]
async fn a_token_opens_its_gateways_with_and_without_bearer() {
    let (upstream, gateway) = start().await;
    for (at, value) in [
        TOKEN.to_owned(),
        format!("Bearer {TOKEN}"),
        format!("bearer  {TOKEN} "),
        format!("Bearer {BOUND}"),
    ]
    .iter()
    .enumerate()
    {
        let request = closed("openai/chat/completions")
            .with("cf-aig-authorization", value)
            .with("authorization", "Bearer sk-mine");
        assert_eq!(gateway.ask(&request).await.status(), 200, "{value}");
        let received = upstream.request(at).await;
        assert_eq!(
            received.head.header("authorization"),
            Some("Bearer sk-mine")
        );
        assert_eq!(received.head.header("cf-aig-authorization"), None);
    }
    let records = gateway.records(4).await;
    let names: Vec<_> = records
        .iter()
        .map(|record| record.token.as_deref())
        .collect();
    assert_eq!(
        names,
        [Some("app"), Some("app"), Some("app"), Some("bound")]
    );
}

#[tokio::test]
async fn a_token_of_another_account_or_gateway_opens_nothing() {
    let (upstream, gateway) = start().await;
    for (path, token) in [
        ("/v1/local/closed/openai/chat/completions", FOREIGN),
        ("/v1/local/other/openai/chat/completions", BOUND),
        (
            "/v1/local/other/openai/chat/completions",
            "isg_0123456789abcde",
        ),
    ] {
        let request = Ask::post(path, PROMPT)
            .with("cf-aig-authorization", token)
            .with("authorization", "Bearer sk-mine");
        let reply = gateway.ask(&request).await;
        assert_eq!(
            (reply.status(), &reply.json()["internalCode"]),
            (401, &2009.into()),
            "{path}"
        );
    }
    assert_eq!(upstream.count(), 0);
    for record in gateway.records(3).await {
        assert_eq!((record.outcome, record.token), (Outcome::Refused, None));
    }
}

#[tokio::test]
async fn an_open_gateway_takes_any_token_or_none() {
    let (upstream, gateway) = start().await;
    for token in ["", "isg_wrong-0123456789", FOREIGN, TOKEN] {
        let request = Ask::post(CHAT, PROMPT)
            .with("cf-aig-authorization", token)
            .with("authorization", "Bearer sk-mine");
        assert_eq!(gateway.ask(&request).await.status(), 200, "{token}");
    }
    assert_eq!(upstream.count(), 4);
    let records = gateway.records(4).await;
    assert_eq!(records[2].token, None);
    assert_eq!(
        records[3].token.as_deref(),
        Some("app"),
        "a known token still tells who it is"
    );
}

#[tokio::test]
async fn a_token_in_the_providers_slot_opens_the_gateway_and_stays_there() {
    let (upstream, gateway) = start().await;
    for (at, (path, slot, value, header, credential)) in [
        (
            "openai/chat/completions",
            "authorization",
            format!("Bearer {TOKEN}"),
            "authorization",
            "Bearer sk-own",
        ),
        (
            "openai/chat/completions",
            "authorization",
            format!("Token {TOKEN}"),
            "authorization",
            "Bearer sk-own",
        ),
        (
            "openai/chat/completions",
            "x-whatever",
            TOKEN.to_owned(),
            "authorization",
            "Bearer sk-own",
        ),
        (
            "anthropic/v1/messages",
            "x-api-key",
            TOKEN.to_owned(),
            "x-api-key",
            "sk-ant",
        ),
        (
            "anthropic/v1/messages",
            "authorization",
            format!("Bearer {TOKEN}"),
            "x-api-key",
            "sk-ant",
        ),
        (
            "google-ai-studio/v1beta/models/m:generateContent",
            "x-goog-api-key",
            TOKEN.to_owned(),
            "x-goog-api-key",
            "AIza",
        ),
    ]
    .iter()
    .enumerate()
    {
        let reply = gateway.ask(&closed(path).with(slot, value)).await;
        assert_eq!(reply.status(), 200, "{path} {slot}");
        let received = upstream.request(at).await;
        assert_eq!(
            received.head.header(header),
            Some(*credential),
            "{path} {slot}"
        );
        let head = String::from_utf8_lossy(&received.head.raw).into_owned();
        assert!(!head.contains("isg_"), "{head}");
    }
    let records = gateway.records(6).await;
    assert!(
        records
            .iter()
            .all(|record| record.token.as_deref() == Some("app"))
    );
}

#[tokio::test]
async fn a_token_beside_a_providers_key_takes_nothing_from_it() {
    let (upstream, gateway) = start().await;
    // The Anthropic client's: our token as a bearer, the provider's key in its own header.
    let request = closed("anthropic/v1/messages")
        .with("authorization", &format!("Bearer {TOKEN}"))
        .with("x-api-key", "sk-ant-mine");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let received = upstream.request(0).await;
    assert_eq!(received.head.header("x-api-key"), Some("sk-ant-mine"));
    assert_eq!(received.head.header("authorization"), None);
    // A client that sends one key in two headers.
    let request = closed("openai/chat/completions")
        .with("authorization", &format!("Bearer {TOKEN}"))
        .with("api-key", TOKEN);
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let received = upstream.request(1).await;
    assert_eq!(received.head.header("authorization"), Some("Bearer sk-own"));
    assert_eq!(received.head.header("api-key"), None);
    // The gateway's own header goes before the slot.
    let request = closed("openai/chat/completions")
        .with("cf-aig-authorization", BOUND)
        .with("authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(gateway.records(3).await[2].token.as_deref(), Some("bound"));
}

#[tokio::test]
async fn a_wrong_token_in_a_slot_is_no_credential() {
    let (upstream, gateway) = start().await;
    let wrong =
        closed("openai/chat/completions").with("authorization", "Bearer isg_wrong-0123456789");
    assert_eq!(gateway.ask(&wrong).await.status(), 401);
    // Nor on an open gateway without a credential of its own.
    let open = Ask::post(CHAT, PROMPT).with("authorization", "Bearer isg_wrong-0123456789");
    let reply = gateway.ask(&open).await;
    assert_eq!(reply.json()["internalCode"], 3002);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_token_in_the_query_is_refused_before_a_provider_sees_it() {
    let (upstream, gateway) = start().await;
    let request = closed(&format!(
        "google-ai-studio/v1beta/models/m:generateContent?key={TOKEN}"
    ));
    let reply = gateway.ask(&request).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (400, &3001.into())
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_a_token_is_bound_to_wins() {
    let (_upstream, gateway) = start().await;
    let request = closed("openai/chat/completions")
        .with("cf-aig-authorization", BOUND)
        .with("cf-aig-metadata", r#"{"tenantId":"evil","userId":"u1"}"#);
    gateway.ask(&request).await;
    let metadata = gateway.record().await.metadata;
    assert_eq!(metadata["tenantId"], MetadataValue::Text("acme".into()));
    assert_eq!(metadata["userId"], MetadataValue::Text("u1".into()));
    assert_eq!(metadata["plan"].to_text(), "2");
    assert_eq!(metadata.len(), 3);
}
