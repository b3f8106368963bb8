//! Which credential a provider gets: the request's own, else the target's.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};

use crate::harness::{CHAT, Harness};

const AZURE: &str = "/v1/local/default/azure-openai/res/dep/chat/completions";

/// A default gateway with credentials for `openai`, one Azure resource and Anthropic.
async fn start() -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let url = upstream.url();
    let settings = format!(
        "[[gateways]]\nid = \"default\"\n\
         [[gateways.targets]]\nname = \"own\"\nprovider = \"openai\"\ncredential = \"sk-own\"\n\
         [[gateways.targets]]\nname = \"res\"\nprovider = \"azure-openai\"\nresource = \"res\"\n\
         credential = \"azure-own\"\n\
         [[gateways.targets]]\nname = \"claude\"\nprovider = \"anthropic\"\ncredential = \"ant-own\"\n\
         [providers.custom-acme]\nbase_url = \"{url}/acme\"\n\
         headers = {{ x-project = \"p1\", x-tier = \"gold\" }}\n\
         auth = {{ header = \"x-acme-key\", optional = true }}\n"
    );
    let gateway = Harness::with(&settings, &upstream).await;
    (upstream, gateway)
}

/// The headers of `names` that the provider got, with `-` for none.
fn got(received: &Received, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| received.head.header(name).unwrap_or("-").to_owned())
        .collect()
}

#[tokio::test]
async fn a_requests_own_credential_wins_and_crosses_unchanged() {
    let (upstream, gateway) = start().await;
    let claude = "/v1/local/default/anthropic/v1/messages";
    let names = ["authorization", "api-key", "x-api-key"];
    for (at, (path, sent, expected)) in [
        (CHAT, &[][..], ["Bearer sk-own", "-", "-"]),
        (
            CHAT,
            &[("authorization", "Bearer mine")],
            ["Bearer mine", "-", "-"],
        ),
        (
            CHAT,
            &[("authorization", "Basic bWluZQ==")],
            ["Basic bWluZQ==", "-", "-"],
        ),
        (AZURE, &[], ["-", "azure-own", "-"]),
        (AZURE, &[("api-key", "mine")], ["-", "mine", "-"]),
        (
            AZURE,
            &[("authorization", "Bearer entra")],
            ["Bearer entra", "-", "-"],
        ),
        (
            AZURE,
            &[("authorization", "Bearer k"), ("api-key", "k")],
            ["Bearer k", "k", "-"],
        ),
        (claude, &[], ["-", "-", "ant-own"]),
        (claude, &[("x-api-key", "mine")], ["-", "-", "mine"]),
        (
            claude,
            &[("authorization", "Bearer mine")],
            ["Bearer mine", "-", "-"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let request = sent
            .iter()
            .fold(Ask::post(path, PROMPT), |ask, (name, value)| {
                ask.with(name, value)
            });
        assert_eq!(gateway.ask(&request).await.status(), 200, "{path} {sent:?}");
        let received = upstream.request(at).await;
        assert_eq!(got(&received, &names), expected, "{path} {sent:?}");
    }
}

#[tokio::test]
async fn a_targets_credential_goes_to_its_own_resource_only() {
    let (upstream, gateway) = start().await;
    let elsewhere = Ask::post(&AZURE.replace("/res/", "/elsewhere/"), PROMPT);
    let reply = gateway.ask(&elsewhere).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (400, &3002.into())
    );
    let otherwise = Ask::post(&AZURE.replace("default", "unknown"), PROMPT);
    assert_eq!(gateway.ask(&otherwise).await.json()["internalCode"], 2001);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_empty_query_key_is_no_credential() {
    let (upstream, gateway) = start().await;
    let model = "/v1/local/default/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent";
    for query in ["", "?key=", "?keys=abc", "?alt=key=abc"] {
        let reply = gateway
            .ask(&Ask::post(&format!("{model}{query}"), PROMPT))
            .await;
        assert_eq!(reply.json()["internalCode"], 3002, "{query}");
    }
    assert_eq!(upstream.count(), 0);
    let reply = gateway
        .ask(&Ask::post(&format!("{model}?alt=json&key=abc"), PROMPT))
        .await;
    assert_eq!(reply.status(), 200);
    assert!(
        upstream
            .request(0)
            .await
            .head
            .target
            .ends_with(":generateContent?alt=json&key=abc")
    );
}

#[tokio::test]
async fn a_provider_gets_its_configured_headers() {
    let (upstream, gateway) = start().await;
    let request = Ask::post("/v1/local/default/custom-acme/v1/chat", PROMPT)
        .with("x-tier", "none")
        .with("x-acme-key", "mine");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let names = ["x-project", "x-tier", "x-acme-key", "authorization"];
    assert_eq!(
        got(&upstream.request(0).await, &names),
        ["p1", "gold", "mine", "-"]
    );
    // It needs no credential.
    assert_eq!(
        gateway
            .ask(&Ask::get("/v1/local/default/custom-acme/v1/models"))
            .await
            .status(),
        200
    );
    // Others do not get them.
    gateway.ask(&Ask::post(CHAT, PROMPT)).await;
    assert_eq!(got(&upstream.request(2).await, &names[..2]), ["-", "-"]);
}

#[tokio::test]
async fn bedrocks_anthropic_endpoint_gets_the_key_where_it_reads_it() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let url = upstream.url();
    let gateway = Harness::start(&format!(
        "[providers.aws-bedrock]\nbase_url = \"{url}/{{service}}/{{region}}\"\n"
    ))
    .await;
    let path = "/v1/local/default/aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages";
    gateway
        .ask(&Ask::post(path, PROMPT).with("authorization", "Bearer bedrock-key"))
        .await;
    let names = ["x-api-key", "authorization"];
    assert_eq!(
        got(&upstream.request(0).await, &names),
        ["bedrock-key", "-"]
    );
    let signature = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c";
    gateway
        .ask(&Ask::post(path, PROMPT).with("authorization", signature))
        .await;
    assert_eq!(got(&upstream.request(1).await, &names), ["-", signature]);
}

#[tokio::test]
async fn a_credential_from_a_catalogued_provider_never_follows_a_custom_one() {
    let (upstream, gateway) = start().await;
    gateway
        .ask(&Ask::post("/v1/local/default/custom-acme/v1/chat", PROMPT))
        .await;
    let head = String::from_utf8_lossy(&upstream.request(0).await.head.raw).into_owned();
    assert!(!head.contains("-own"), "{head}");
}
