//! Gateway tokens: what they open, and that no provider ever sees one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_testkit::answer::json;
use isango_testkit::client::{Ask, Client};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::record::{MetadataValue, Outcome};

use crate::harness::{CHAT, Harness, recorded};

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

/// What a request with a token in an odd place comes to, by way of a gateway that asks for none.
async fn check_never_crosses(ask: Ask, status: u16) {
    let (upstream, gateway) = start().await;
    let reply = gateway.ask(&ask).await;
    assert_eq!(reply.status(), status, "{ask:?}");
    for received in upstream.requests() {
        let head = String::from_utf8_lossy(&received.head.raw).into_owned();
        assert!(!carries(&head), "{head}");
        assert!(received.trailers.is_empty(), "{:?}", received.trailers);
    }
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(!carries(&record), "{record}");
}

/// Whether the token stands in a text, as it is, percent-encoded or in base64.
fn carries(text: &str) -> bool {
    let basic = STANDARD.encode(format!("user:{TOKEN}"));
    let encoded = [TOKEN.replace("isg", "%69sg"), TOKEN.replace('_', "%5F")];
    [TOKEN, &basic]
        .into_iter()
        .chain(encoded.iter().map(String::as_str))
        .any(|written| text.contains(written))
}

#[tokio::test]
async fn a_token_never_crosses_however_it_is_written() {
    let basic = STANDARD.encode(format!("user:{TOKEN}"));
    for (name, value) in [
        ("x-other", format!("\"{TOKEN}\"")),
        ("x-other", format!("Token token=\"{TOKEN}\"")),
        ("x-other", format!("Basic {basic}")),
        ("x-other", format!("a={TOKEN}, b=1")),
        ("x-other", TOKEN.replace('_', "%5F")),
        ("cookie", format!("theme=dark; session={TOKEN}; b=2")),
        ("user-agent", format!("tool/1 (key {TOKEN})")),
        ("user-agent", TOKEN.replace("isg", "%69sg")),
        ("content-type", format!("application/json; key={TOKEN}")),
        ("cf-aig-metadata", format!("{{\"key\":\"{TOKEN}\"}}")),
        ("cf-aig-event-id", format!("id-{TOKEN}")),
    ] {
        let ask = Ask::new("POST", CHAT)
            .body(PROMPT)
            .with("authorization", "Bearer sk-mine")
            .with(name, &value);
        check_never_crosses(ask, 200).await;
    }
    for (name, value) in [
        ("authorization", format!("Bearer \"{TOKEN}\"")),
        ("authorization", format!("Token token=\"{TOKEN}\"")),
        ("authorization", format!("Basic {basic}")),
        ("authorization", format!("bAsIc  {basic}")),
        ("x-api-key", format!("'{TOKEN}'")),
    ] {
        check_never_crosses(closed("openai/chat/completions").with(name, &value), 200).await;
    }
}

#[tokio::test]
async fn a_token_in_a_path_or_a_query_is_refused_however_it_is_written() {
    let encoded = TOKEN.replace('_', "%5F");
    for path in [
        format!("openai/chat/completions?key={TOKEN}"),
        format!("openai/chat/completions?a=1&key={encoded}"),
        format!("openai/chat/completions?a=x%20%69sg_{}", &TOKEN[4..]),
        format!("openai/chat/completions?{TOKEN}"),
        format!("openai/chat/completions?a=\"{TOKEN}\""),
        format!("openai/files/{TOKEN}"),
        format!("openai/files/{encoded}/content"),
    ] {
        let ask = Ask::post(&format!("/v1/local/default/{path}"), PROMPT)
            .with("authorization", "Bearer sk-mine");
        check_never_crosses(ask, 400).await;
    }
}

#[tokio::test]
async fn a_token_in_a_trailer_stays_here() {
    let audio = "/v1/local/default/openai/audio/transcriptions";
    for (name, value) in [
        ("x-sum", TOKEN.to_owned()),
        ("x-sum", format!("\"{TOKEN}\"")),
    ] {
        let ask = Ask::new("POST", audio)
            .with("content-type", "application/octet-stream")
            .with("authorization", "Bearer sk-mine")
            .with("te", "trailers")
            .with("trailer", name)
            .chunked(["body"])
            .trailer(name, &value);
        check_never_crosses(ask, 200).await;
    }
}

#[tokio::test]
async fn a_token_in_a_leg_stays_here() {
    let basic = STANDARD.encode(format!("user:{TOKEN}"));
    for (name, value) in [
        ("x-other", format!("\\\"{TOKEN}\\\"")),
        ("x-other", format!("Basic {basic}")),
        ("x-other", TOKEN.replace('_', "\\u005f")),
        ("cookie", format!("a={TOKEN}")),
    ] {
        let legs = format!(
            r#"[{{"provider":"openai","endpoint":"chat/completions","query":{PROMPT},
                 "headers":{{"authorization":"Bearer sk-mine","{name}":"{value}"}}}}]"#
        );
        check_never_crosses(Ask::post("/v1/local/default", legs), 200).await;
    }
}

#[tokio::test]
async fn a_browsers_cookie_opens_nothing() {
    let (upstream, gateway) = start().await;
    let ask = closed("openai/chat/completions").with("cookie", TOKEN);
    assert_eq!(gateway.ask(&ask).await.status(), 401);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_few_records_and_takes_none_from_others() {
    let (_upstream, gateway) = start().await;
    let stranger = closed("openai/chat/completions").with("authorization", "Bearer sk-mine");
    let mut client = Client::connect(gateway.addr).await;
    let mut told = 0;
    for _ in 0..200 {
        let reply = client.ask(&stranger).await;
        assert_eq!(reply.status(), 401);
        told += usize::from(reply.header("cf-aig-log-id").is_some());
    }
    let known = closed("openai/chat/completions").with("cf-aig-authorization", TOKEN);
    assert_eq!(client.ask(&known).await.status(), 200);
    let records = within("the last record", async {
        loop {
            let records = recorded(&gateway.logs);
            if records.iter().any(|record| record.status == Some(200)) {
                return records;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    // Who is told an id finds the record.
    assert_eq!(records.len(), told + 1);
    assert!((20..60).contains(&told), "{told}");
}

#[tokio::test]
async fn two_tokens_that_differ_open_nothing() {
    let (upstream, gateway) = start().await;
    let own = "cf-aig-authorization";
    for (gate, names, values, status) in [
        ("closed", [own, own], [TOKEN, BOUND], 401),
        ("closed", [own, own], [BOUND, "isg_wrong-0123456789"], 401),
        ("closed", [own, own], ["", BOUND], 401),
        ("default", [own, own], [TOKEN, BOUND], 401),
        (
            "closed",
            ["authorization", "x-api-key"],
            [TOKEN, BOUND],
            401,
        ),
        ("closed", [own, own], [BOUND, BOUND], 200),
    ] {
        let ask = Ask::post(&format!("/v1/local/{gate}/openai/chat/completions"), PROMPT)
            .with(names[0], values[0])
            .with(names[1], values[1]);
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status(), status, "{ask:?}");
        if status == 401 {
            assert_eq!(reply.json()["internalCode"], 2009);
        }
    }
    assert_eq!(upstream.count(), 1);
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
