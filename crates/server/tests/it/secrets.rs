//! Credentials are used and forgotten: never in a record, whatever repeats them.

use isango_testkit::answer::{Answer, json, sse};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::upstream::Upstream;

use crate::harness::{CHAT, Harness};

const PLANTED: &str = "sk-planted-7h3K9yQ2mZ";
const TOKEN: &str = "isg_planted-Gw4T8xLp0R";

/// Sends `request`; nothing of the record, all bodies and raw frames included, holds a planted
/// credential, plain or in base64.
async fn check(settings: &str, request: Ask, answer: Answer) {
    let upstream = Upstream::start([answer]).await;
    let raw = "[[gateways]]\nid = \"default\"\nrecord_raw_streams = true\n";
    let tokens = format!("[[tokens]]\nname = \"app\"\nsecret = \"{TOKEN}\"\n");
    let gateway = Harness::with(&format!("{raw}{settings}{tokens}"), &upstream).await;
    gateway.ask(&request).await;
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    for planted in [PLANTED, TOKEN] {
        assert!(!record.contains(planted), "{request:?}\n{record}");
        assert!(!record.contains(&hex(planted)), "{request:?}\n{record}");
    }
}

/// Another spelling of `text` in a URL: each byte encoded.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// An error answer that repeats the credential that the request carried.
fn repeating(status: u16) -> Answer {
    let body = format!(
        "{{\"error\":{{\"message\":\"Incorrect API key provided: {PLANTED}.\",\
         \"type\":\"invalid_request_error\",\"code\":\"{PLANTED}\"}}}}"
    );
    Answer::new(status)
        .header("content-type", "application/json")
        .header("x-request-id", PLANTED)
        .body(body)
}

#[tokio::test]
async fn a_request_that_goes_nowhere_keeps_its_credential_off_the_record() {
    for path in [
        format!("/v1/local/nope/openai/chat/completions?foo={PLANTED}"),
        format!("/v1/local/default/{PLANTED}/chat/completions"),
        format!("/v1/{PLANTED}/default/openai/../x"),
        format!("/{PLANTED}"),
    ] {
        let request = Ask::post(&path, PROMPT)
            .with("authorization", &format!("Bearer {PLANTED}"))
            .with("user-agent", &format!("agent/{PLANTED}"))
            .with("cf-aig-event-id", PLANTED)
            .with(
                "cf-aig-metadata",
                &format!("{{\"{PLANTED}\":\"{PLANTED}\"}}"),
            );
        check("", request, json(COMPLETION)).await;
    }
}

#[tokio::test]
async fn a_credential_in_any_header_is_not_on_record() {
    let azure = "/v1/local/default/azure-openai/res/dep/chat/completions";
    let gemini =
        "/v1/local/default/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent";
    for (path, header, value) in [
        (CHAT, "authorization", format!("Bearer {PLANTED}")),
        (CHAT, "Authorization", PLANTED.to_owned()),
        (CHAT, "authorization", format!("Token  {PLANTED} ")),
        (azure, "api-key", PLANTED.to_owned()),
        (azure, "authorization", format!("Bearer {PLANTED}")),
        (
            "/v1/local/default/anthropic/v1/messages",
            "x-api-key",
            PLANTED.to_owned(),
        ),
        (gemini, "x-goog-api-key", PLANTED.to_owned()),
        // Where another provider, a proxy or a sign-in service wants it.
        (CHAT, "xi-api-key", PLANTED.to_owned()),
        (CHAT, "ocp-apim-subscription-key", PLANTED.to_owned()),
        (CHAT, "x-custom-auth", PLANTED.to_owned()),
        (CHAT, "x-amz-security-token", PLANTED.to_owned()),
        (CHAT, "cookie", format!("theme=dark; sid={PLANTED}; a=b")),
    ] {
        let both = json(format!("[\"{PLANTED} {TOKEN}\"]"));
        for answer in [
            both,
            json(COMPLETION),
            repeating(401),
            repeating(200),
            repeating(500),
        ] {
            let request = Ask::post(path, PROMPT)
                .with(header, &value)
                .with("cf-aig-authorization", &format!("Bearer {TOKEN}"));
            check("", request, answer).await;
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_query_is_not_on_record() {
    let model = "/v1/local/default/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent";
    let encoded = hex(PLANTED);
    for query in [
        format!("?key={PLANTED}"),
        format!("?alt=sse&key={PLANTED}&x=1"),
        format!("?key={encoded}"),
        format!("?%6bey={PLANTED}"),
        format!("?code={PLANTED}"),
        format!("?X-Amz-Credential={PLANTED}&X-Amz-Date=1"),
        format!("?session_token={PLANTED}"),
        format!("?ocp-apim-subscription-key={PLANTED}"),
        format!("?key={PLANTED}&key={PLANTED}"),
    ] {
        check(
            "",
            Ask::post(&format!("{model}{query}"), PROMPT),
            repeating(400),
        )
        .await;
        // Refused before it goes anywhere.
        check(
            "",
            Ask::post(&format!("/v1/local/nowhere/openai/x{query}"), PROMPT),
            json("{}"),
        )
        .await;
        check(
            "",
            Ask::post(&format!("/nowhere{query}"), PROMPT),
            json("{}"),
        )
        .await;
        check(
            "",
            Ask::post(&format!("/v1/local/default/openai{query}"), PROMPT),
            json("{}"),
        )
        .await;
    }
    check(
        "",
        Ask::post(&format!("{model}?x={TOKEN}"), PROMPT),
        json("{}"),
    )
    .await;
}

#[tokio::test]
async fn a_credential_of_the_configuration_is_not_on_record() {
    let settings = format!(
        "[[gateways.targets]]\nname = \"own\"\nprovider = \"openai\"\ncredential = \"{PLANTED}\"\n\
         [providers.custom-acme]\nbase_url = \"http://127.0.0.1:9\"\n\
         headers = {{ x-secret = \"{TOKEN}\" }}\n"
    );
    check(&settings, Ask::post(CHAT, PROMPT), repeating(401)).await;
}

#[tokio::test]
async fn a_stream_that_repeats_a_credential_is_recorded_without_it() {
    let events = [
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{PLANTED}\"}}}}]}}\n\n"
        ),
        format!("data: {{\"error\":{{\"message\":\"{PLANTED}\",\"code\":\"{PLANTED}\"}}}}\n\n"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let request =
        Ask::post(CHAT, STREAM_PROMPT).with("authorization", &format!("Bearer {PLANTED}"));
    check("", request, sse(events)).await;
}

#[tokio::test]
async fn a_credential_that_stands_elsewhere_too_is_not_on_record() {
    let request = Ask::post(CHAT, PROMPT.replace("hello", PLANTED))
        .with("authorization", &format!("Bearer {PLANTED}"))
        .with("user-agent", PLANTED)
        .with("cf-aig-event-id", PLANTED)
        .with("cf-aig-metadata", &format!(r#"{{"k":"{PLANTED}"}}"#));
    check("", request, json(COMPLETION).gzipped()).await;
    let broken = PROMPT.replace("}]}", PLANTED);
    let request = Ask::post(CHAT, broken).with("authorization", &format!("Bearer {PLANTED}"));
    check(
        "",
        request,
        Answer::new(502)
            .header("content-type", "text/html")
            .body(format!("<p>{PLANTED}")),
    )
    .await;
}

#[tokio::test]
async fn the_client_gets_the_answer_as_the_provider_gave_it() {
    let upstream = Upstream::start([repeating(401)]).await;
    let gateway = Harness::before(&upstream).await;
    let request = Ask::post(CHAT, PROMPT).with("authorization", &format!("Bearer {PLANTED}"));
    let reply = gateway.ask(&request).await;
    assert!(reply.text().contains(PLANTED));
    let record = gateway.record().await;
    let body = record.response.body.unwrap();
    assert!(
        body.as_str()
            .contains("Incorrect API key provided: [secret]."),
        "{body:?}"
    );
    assert_eq!(
        &*record.error.unwrap().message,
        "the provider answered 401: [secret]"
    );
}

#[tokio::test]
async fn no_error_of_the_gateway_repeats_a_credential() {
    let upstream = Upstream::start([Answer::raw([isango_testkit::Step::Reset])]).await;
    let gateway = Harness::before(&upstream).await;
    for path in [
        CHAT.to_owned(),
        format!("{CHAT}?key={PLANTED}"),
        format!("/v1/local/default/openai/../{PLANTED}"),
        format!("/v1/local/default/azure-openai/{PLANTED}_/d/c"),
        format!("/v1/local/{PLANTED}/openai/c"),
        format!("/v1/local/default/{PLANTED}.x/c"),
        format!("/{PLANTED}"),
    ] {
        let request = Ask::post(&path, PROMPT).with("authorization", &format!("Bearer {PLANTED}"));
        let reply = gateway.ask(&request).await;
        assert!(reply.status() >= 400);
        let head = String::from_utf8_lossy(&reply.head.raw).into_owned();
        assert!(
            !head.contains(PLANTED) && !reply.text().contains(PLANTED),
            "{path}"
        );
    }
}
