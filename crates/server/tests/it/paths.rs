//! Every shape of path that clients send, and what the provider received for it, byte for byte.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};

use crate::harness::Harness;

const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";

/// A server whose providers, each under a path of its own, lead to one upstream; `local/support` has
/// targets.
async fn start() -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let url = upstream.url();
    let mut toml = String::new();
    for (slug, base) in [
        ("openai", "/v1"),
        ("groq", "/openai/v1"),
        ("cohere", "/v1"),
        ("deepseek", ""),
        ("anthropic", ""),
        ("google-ai-studio", ""),
        ("azure-openai", "/azure/{resource}"),
        ("azure", "/ai/{resource}"),
        ("aws-bedrock", "/aws/{service}/{region}"),
        ("google-vertex-ai", "/vertex/{region}"),
        ("workers-ai", "/accounts/{account}/ai"),
        ("custom-acme", "/prefix"),
    ] {
        toml += &format!("[providers.{slug}]\nbase_url = \"{url}{base}\"\n");
    }
    toml += &format!(
        "[[gateways]]\nid = \"support\"\n\
         [[gateways.targets]]\nname = \"azure-sa\"\nprovider = \"azure-openai\"\n\
         resource = \"aoai-imbila-sa\"\nbase_url = \"{url}/private/sa\"\n\
         [[gateways.targets]]\nname = \"claude\"\nprovider = \"anthropic\"\n\
         base_url = \"{url}/claude\"\n"
    );
    let gateway = Harness::start(&toml).await;
    (upstream, gateway)
}

/// Sends `path` (after `/v1/`) and returns what the upstream received.
async fn sent(upstream: &Upstream, gateway: &Harness, path: &str) -> Received {
    let before = upstream.count();
    let request = Ask::post(&format!("/v1/{path}"), PROMPT)
        .with("api-key", "k")
        .with("authorization", "Bearer k");
    let reply = gateway.ask(&request).await;
    assert_eq!((reply.status(), reply.text()), (200, COMPLETION), "{path}");
    let received = upstream.request(before).await;
    assert_eq!(received.body, PROMPT.as_bytes(), "{path}");
    assert_eq!(received.head.method, "POST", "{path}");
    received
}

/// Paths below `/v1/{prefix}/`, and what they become.
async fn check(prefix: &str, paths: &[(&str, &str)]) {
    let (upstream, gateway) = start().await;
    for (path, expected) in paths {
        let received = sent(&upstream, &gateway, &format!("{prefix}/{path}")).await;
        assert_eq!(received.head.target, *expected, "{path}");
    }
    let records = gateway.records(paths.len()).await;
    assert_eq!(records.len(), paths.len());
}

#[tokio::test]
async fn every_azure_shape_reaches_its_deployment() {
    const CHAT: &str =
        "/azure/res/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    const RESPONSES: &str = "/azure/res/openai/responses?api-version=2025-03-01-preview";
    check(
        "local/default/azure-openai",
        &[
            // Form a, and the OpenAI client with a deployment in its base URL.
            ("res/gpt-4o/chat/completions?api-version=2024-10-21", CHAT),
            // Form b: AzureOpenAI with a resource in its base URL.
            (
                "res/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                CHAT,
            ),
            ("res/responses?api-version=2025-03-01-preview", RESPONSES),
            // AzureOpenAI with a deployment in its base URL: the later deployment wins.
            (
                "res/other/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                CHAT,
            ),
            // AzureOpenAI with an azure_endpoint.
            (
                "res/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                CHAT,
            ),
            (
                "res/openai/responses?api-version=2025-03-01-preview",
                RESPONSES,
            ),
            (
                "res/openai/deployments/ada/embeddings?api-version=2024-10-21",
                "/azure/res/openai/deployments/ada/embeddings?api-version=2024-10-21",
            ),
            // The surface without versions.
            (
                "res/openai/v1/chat/completions",
                "/azure/res/openai/v1/chat/completions",
            ),
            (
                "res/openai/v1/responses?api-version=preview",
                "/azure/res/openai/v1/responses?api-version=preview",
            ),
            // A base URL that ends with a slash.
            (
                "res//openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                CHAT,
            ),
            ("RES/gpt-4o/chat/completions?api-version=2024-10-21", CHAT),
            (
                "res/models?api-version=2024-10-21",
                "/azure/res/openai/models?api-version=2024-10-21",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_azure_record_names_resource_and_deployment() {
    let (upstream, gateway) = start().await;
    sent(
        &upstream,
        &gateway,
        "local/default/azure-openai/Res/chat-eu/chat/completions",
    )
    .await;
    let record = gateway.record().await;
    assert_eq!(record.provider.as_deref(), Some("azure-openai"));
    assert_eq!(record.resource.as_deref(), Some("res"));
    assert_eq!(record.deployment.as_deref(), Some("chat-eu"));
    assert_eq!(&*record.path, "Res/chat-eu/chat/completions");
    assert_eq!((&*record.account, &*record.gateway), ("local", "default"));
}

#[tokio::test]
async fn claude_on_azure_has_a_slug_of_its_own() {
    check(
        "local/default/azure",
        &[("res/anthropic/v1/messages", "/ai/res/anthropic/v1/messages")],
    )
    .await;
}

#[tokio::test]
async fn a_version_is_never_doubled() {
    check(
        "local/default",
        &[
            ("openai/chat/completions", "/v1/chat/completions"),
            ("openai/v1/chat/completions", "/v1/chat/completions"),
            ("openai/v1/v1/chat/completions", "/v1/chat/completions"),
            ("openai//chat/completions", "/v1/chat/completions"),
            ("groq/chat/completions", "/openai/v1/chat/completions"),
            (
                "groq/openai/v1/chat/completions",
                "/openai/v1/chat/completions",
            ),
            ("cohere/v1/chat", "/v1/chat"),
            ("cohere/chat", "/v1/chat"),
            ("cohere/v2/chat", "/v2/chat"),
            ("deepseek/chat/completions", "/chat/completions"),
            ("deepseek/v1/chat/completions", "/v1/chat/completions"),
            ("anthropic/v1/messages", "/v1/messages"),
        ],
    )
    .await;
}

#[tokio::test]
async fn regions_and_accounts_of_a_path_select_the_address() {
    check(
        &format!("{ACCOUNT}/default"),
        &[
            (
                "aws-bedrock/bedrock-runtime/us-east-1/model/us.amazon.nova-lite-v1%3A0/invoke",
                "/aws/bedrock-runtime/us-east-1/model/us.amazon.nova-lite-v1%3A0/invoke",
            ),
            (
                "aws-bedrock/bedrock-runtime/eu-west-1/model/m/converse-stream",
                "/aws/bedrock-runtime/eu-west-1/model/m/converse-stream",
            ),
            (
                "google-vertex-ai/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent",
                "/vertex/us-central1/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent",
            ),
            ("workers-ai/@cf/meta/llama-3.1-8b-instruct", &format!("/accounts/{ACCOUNT}/ai/run/@cf/meta/llama-3.1-8b-instruct")),
            ("workers-ai/run/@cf/meta/llama-3.1-8b-instruct", &format!("/accounts/{ACCOUNT}/ai/run/@cf/meta/llama-3.1-8b-instruct")),
            ("workers-ai/v1/chat/completions", &format!("/accounts/{ACCOUNT}/ai/v1/chat/completions")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_custom_provider_gets_its_path_verbatim() {
    check(
        "local/default/custom-acme",
        &[
            ("v1/chat/completions", "/prefix/v1/chat/completions"),
            ("v1/v1/x", "/prefix/v1/v1/x"),
            ("a/b%2Fc/?x=1&y=%20", "/prefix/a/b%2Fc/?x=1&y=%20"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_target_is_called_by_its_name() {
    let (upstream, gateway) = start().await;
    for (path, expected) in [
        (
            "azure-sa/gpt-4o/chat/completions",
            "/private/sa/openai/deployments/gpt-4o/chat/completions",
        ),
        ("claude/v1/messages", "/claude/v1/messages"),
        // The resource is the target's, so its address is, too.
        (
            "azure-openai/aoai-imbila-sa/gpt-4o/chat/completions",
            "/private/sa/openai/deployments/gpt-4o/chat/completions",
        ),
        (
            "azure-openai/elsewhere/gpt-4o/chat/completions",
            "/azure/elsewhere/openai/deployments/gpt-4o/chat/completions",
        ),
    ] {
        let received = sent(&upstream, &gateway, &format!("local/support/{path}")).await;
        assert_eq!(received.head.target, expected, "{path}");
    }
    let records = gateway.records(4).await;
    let targets: Vec<_> = records
        .iter()
        .map(|record| record.target.as_deref())
        .collect();
    assert_eq!(
        targets,
        [Some("azure-sa"), Some("claude"), Some("azure-sa"), None]
    );
    let asked: Vec<_> = records
        .iter()
        .map(|record| &*record.attempts[0].target)
        .collect();
    assert_eq!(asked, ["azure-sa", "claude", "azure-sa", "azure-openai"]);
}

#[tokio::test]
async fn the_query_crosses_byte_for_byte() {
    const QUERY: &str = "?a=1&a=2&b=%7e%2F+x&&c&d==&e=%zz&%F0%9F=~!$'()*,;:@/?";
    let (upstream, gateway) = start().await;
    for path in ["openai/files", "custom-acme/x", "anthropic/v1/files"] {
        let received = sent(&upstream, &gateway, &format!("local/default/{path}{QUERY}")).await;
        let (_, query) = received
            .head
            .target
            .split_at(received.head.target.find('?').unwrap());
        assert_eq!(query, QUERY, "{path}");
    }
}

#[tokio::test]
async fn other_methods_pass_too() {
    let (upstream, gateway) = start().await;
    for (at, (method, path)) in [
        ("GET", "openai/models"),
        (
            "GET",
            "azure-openai/res/openai/models?api-version=2024-10-21",
        ),
        ("DELETE", "openai/files/file-1"),
        ("PATCH", "custom-acme/thing"),
        ("HEAD", "custom-acme/thing"),
        ("OPTIONS", "custom-acme/thing"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Ask::new(method, &format!("/v1/local/default/{path}"))
            .with("authorization", "Bearer k");
        let reply = gateway.ask(&request).await;
        assert_eq!(reply.status(), 200, "{method} {path}");
        let received = upstream.request(at).await;
        assert_eq!(
            (&*received.head.method, received.body_bytes),
            (method, 0),
            "{path}"
        );
        assert_eq!(received.head.header("content-length"), None, "{method}");
        assert_eq!(received.head.header("transfer-encoding"), None, "{method}");
    }
    let records = gateway.records(6).await;
    assert_eq!(records[0].operation.as_str(), "models");
    assert_eq!(&*records[2].method, "DELETE");
}

#[tokio::test]
async fn headers_cross_as_they_came() {
    let (upstream, gateway) = start().await;
    let request = Ask::post("/v1/local/default/openai/chat/completions", PROMPT)
        .with("Authorization", "Bearer sk-1")
        .with("api-key", "sk-1")
        .with("User-Agent", "AzureOpenAI/Python 1.50")
        .with("X-Stainless-Lang", "python")
        .with("x-twice", "a")
        .with("x-twice", "b, c")
        .with("Accept", "application/json")
        .with("Accept-Encoding", "gzip, br")
        .with("cookie", "a=b; c=d")
        .with("x-empty", "")
        .with("idempotency-key", "i-1")
        .with("connection", "keep-alive, x-hop")
        .with("x-hop", "1")
        .with("te", "trailers, deflate")
        .with("proxy-authorization", "Basic x")
        .with("cf-aig-metadata", r#"{"a":1}"#)
        .with("cf-aig-request-timeout", "60000")
        .with("cf-aig-something-newer", "1")
        .with("cf-cache-ttl", "60")
        .with("cf-skip-cache", "true")
        .with("cf-access-jwt-assertion", "j");
    gateway.ask(&request).await;
    let received = upstream.request(0).await;
    let mut crossed: Vec<(String, String)> = received
        .head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_lowercase(),
                String::from_utf8(value.clone()).unwrap(),
            )
        })
        .collect();
    crossed.sort();
    let host = upstream.addr().to_string();
    let length = PROMPT.len().to_string();
    let expected = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("api-key", "sk-1"),
        ("authorization", "Bearer sk-1"),
        ("connection", "te"),
        ("content-length", &length),
        ("content-type", "application/json"),
        ("cookie", "a=b; c=d"),
        ("host", &host),
        ("idempotency-key", "i-1"),
        ("te", "trailers"),
        ("user-agent", "AzureOpenAI/Python 1.50"),
        ("x-empty", ""),
        ("x-stainless-lang", "python"),
        ("x-twice", "a"),
        ("x-twice", "b, c"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(crossed, expected);
}

#[tokio::test]
async fn an_answers_headers_cross_with_ours_beside_them() {
    let answer = json(COMPLETION)
        .header("x-request-id", "req-1")
        .header("x-ratelimit-remaining-tokens", "9")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("cf-aig-step", "7")
        .header("keep-alive", "timeout=5")
        .header("server", "provider");
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::before(&upstream).await;
    let request = Ask::post("/v1/local/default/openai/chat/completions", PROMPT)
        .with("authorization", "Bearer k");
    let reply = gateway.ask(&request).await;
    assert_eq!(reply.header("x-request-id"), Some("req-1"));
    assert_eq!(reply.header("x-ratelimit-remaining-tokens"), Some("9"));
    assert_eq!(reply.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(reply.header("server"), Some("provider"));
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.header("cf-aig-step"), Some("0"));
    assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
    assert_eq!(reply.header("cf-aig-provider"), Some("openai"));
    assert_eq!(
        reply.header("content-length"),
        Some(&*COMPLETION.len().to_string())
    );
}

#[tokio::test]
async fn bedrock_signatures_cross_with_the_body_they_sign() {
    let (upstream, gateway) = start().await;
    let body: &[u8] = b"{ \"b\" : 1 ,\n\"a\":\"\\u00e9\" }";
    let signature = "AWS4-HMAC-SHA256 Credential=AKIA/20261122/us-east-1/bedrock/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature=abc";
    let request = Ask::post(
        "/v1/local/default/aws-bedrock/bedrock-runtime/us-east-1/model/anthropic.claude-v2%3A1/invoke",
        body,
    )
    .with("authorization", signature)
    .with("x-amz-date", "20261122T000000Z")
    .with("x-amz-content-sha256", "abc")
    .with("x-amz-security-token", "session");
    assert_eq!(gateway.ask(&request).await.status(), 200);
    let received = upstream.request(0).await;
    assert_eq!(received.body, body);
    assert_eq!(received.head.header("authorization"), Some(signature));
    assert_eq!(received.head.header("x-amz-date"), Some("20261122T000000Z"));
    assert_eq!(
        received.head.header("x-amz-security-token"),
        Some("session")
    );
    assert_eq!(
        received.head.target,
        "/aws/bedrock-runtime/us-east-1/model/anthropic.claude-v2%3A1/invoke"
    );
}
