//! The URL swap: a request crosses unchanged and is on record.

use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use crate::harness::Harness;

const PROMPT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}"#;

#[tokio::test]
async fn a_request_crosses_unchanged_and_is_on_record() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let request = Ask::post("/v1/local/default/openai/chat/completions", PROMPT)
        .with("authorization", "Bearer sk-secret")
        .with("content-type", "application/json");
    let reply = gateway.ask(&request).await;
    assert_eq!((reply.status(), reply.text()), (200, COMPLETION));
    let received = upstream.request(0).await;
    assert_eq!(
        received.head.header("authorization"),
        Some("Bearer sk-secret")
    );
    let record = gateway.record().await;
    assert_eq!(reply.header("cf-aig-log-id"), Some(&*record.id.to_string()));
    assert_eq!(record.outcome, Outcome::Answered);
    assert_eq!(record.model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(record.usage.unwrap().total(), 10);
    // 8 × 2.50 + 2 × 10.00 USD per million tokens.
    assert_eq!(record.cost.nanousd, Some(8 * 2_500 + 2 * 10_000));
}
