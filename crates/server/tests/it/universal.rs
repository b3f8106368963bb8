//! The Universal endpoint: legs in turn, each with headers and retries of its own.

use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, End, Reply};
use isango_testkit::fixtures::COMPLETION;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;
use serde_json::{Value, json as value};

use crate::harness::Harness;
use crate::retry::attempts;

const GATEWAY: &str = "/v1/local/default";
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}"#;

fn anthropic() -> Value {
    value!({
        "provider": "anthropic", "endpoint": "v1/messages",
        "headers": { "X-API-Key": "sk-ant-of-the-leg", "anthropic-version": "2023-06-01" },
        "query": { "model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [] }
    })
}

fn openai() -> Value {
    value!({
        "provider": "openai", "endpoint": "v1/chat/completions",
        "headers": { "Authorization": "Bearer sk-oai-of-the-leg" },
        "query": { "model": "gpt-4o", "messages": [] }
    })
}

fn ask(legs: &Value) -> Ask {
    Ask::post(GATEWAY, legs.to_string())
}

/// Two providers, each with answers of its own.
async fn gateway(settings: &str, first: &Upstream, second: &Upstream) -> Harness {
    let config = format!(
        "{settings}\n[providers.anthropic]\nbase_url = \"{}\"\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        first.url(),
        second.url()
    );
    Harness::start(&config).await
}

#[tokio::test]
async fn the_first_leg_that_succeeds_answers() {
    let claude = Upstream::start([json(MESSAGE), status(500), status(404)]).await;
    let gpt = Upstream::start([json(COMPLETION)]).await;
    let gateway = gateway("", &claude, &gpt).await;
    let legs = value!([anthropic(), openai()]);
    let reply = gateway.ask(&ask(&legs)).await;
    assert_eq!((reply.status(), reply.text()), (200, MESSAGE));
    assert_eq!(reply.header("cf-aig-step"), Some("0"));
    assert_eq!(reply.header("cf-aig-provider"), Some("anthropic"));
    assert_eq!(gpt.count(), 0);
    for (at, code) in [(0, "500"), (1, "404")] {
        let reply = gateway.ask(&ask(&legs).with("user-agent", "sdk/1")).await;
        assert_eq!((reply.status(), reply.text()), (200, COMPLETION));
        assert_eq!(reply.header("cf-aig-step"), Some("1"));
        assert_eq!(reply.header("cf-aig-provider"), Some("openai"));
        assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
        let record = gateway.records(at + 2).await.remove(at + 1);
        assert_eq!(attempts(&record), [code, "200"]);
        assert_eq!(record.attempts[1].step, 1);
        assert_eq!(record.provider.as_deref(), Some("openai"));
        assert_eq!(record.model_requested.as_deref(), Some("gpt-4o"));
        assert_eq!(&*record.path, GATEWAY);
        assert!(record.cost.nanousd.is_some_and(|cost| cost > 0));
        assert_eq!(record.request.bytes, legs.to_string().len() as u64);
        let sent = gpt.request(at).await;
        assert_eq!(sent.head.target, "/v1/chat/completions");
        assert_eq!(sent.head.header("content-type"), Some("application/json"));
        assert_eq!(sent.head.header("user-agent"), Some("sdk/1"));
        assert_eq!(sent.head.header("x-api-key"), None);
        let key = sent.head.header("authorization");
        assert_eq!(key, Some("Bearer sk-oai-of-the-leg"));
        assert_eq!(sent.body, legs[1]["query"].to_string().as_bytes());
    }
    let sent = claude.request(0).await;
    assert_eq!(sent.head.target, "/v1/messages");
    assert_eq!(sent.head.header("x-api-key"), Some("sk-ant-of-the-leg"));
    assert_eq!(sent.head.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(sent.head.header("authorization"), None);
}

#[tokio::test]
async fn one_leg_needs_no_list_and_the_path_may_end_with_a_slash() {
    let claude = Upstream::start([status(500)]).await;
    let gpt = Upstream::start([json(COMPLETION)]).await;
    let gateway = gateway("", &claude, &gpt).await;
    for path in [GATEWAY, "/v1/local/default/"] {
        let reply = gateway.ask(&Ask::post(path, openai().to_string())).await;
        assert_eq!((reply.status(), reply.text()), (200, COMPLETION), "{path}");
        assert_eq!(reply.header("cf-aig-step"), Some("0"));
        assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
    }
    let reply = gateway.ask(&ask(&anthropic())).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-step")),
        (500, Some("0"))
    );
}

#[tokio::test]
async fn no_credential_of_a_leg_is_recorded() {
    let claude = Upstream::start([status(500)]).await;
    let echo = Answer::new(400).body("{\"error\":\"bad key sk-oai-of-the-leg\"}");
    let gpt = Upstream::start([echo]).await;
    let gateway = gateway("", &claude, &gpt).await;
    let mut legs = value!([anthropic(), openai()]);
    legs[0]["authorization"] = "Bearer sk-older-of-the-leg".into();
    legs[0]["endpoint"] = "v1/messages?beta=true&key=sk-query-of-the-leg".into();
    legs[1]["headers"]["x-my-secret"] = value!(["sk-list-of-the-leg"]);
    legs[1]["headers"]["cookie"] = "a=sk-cookie-of-the-leg".into();
    // An escape hides nothing.
    let text = legs
        .to_string()
        .replace("Bearer sk-oai", "Bearer \\u0073k-oai");
    gateway.ask(&Ask::post(GATEWAY, text)).await;
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(!record.contains("of-the-leg"), "{record}");
    assert!(record.contains("\"X-API-Key\":\"[secret]\""), "{record}");
    assert!(record.contains("v1/messages?beta=true\""), "{record}");
    assert!(record.contains("claude-sonnet-4-5"), "{record}");
}

#[tokio::test]
async fn a_stream_is_a_legs_own_affair() {
    let events = chat_events(&["Sa", "wubona"]);
    let claude = Upstream::start([status(529)]).await;
    let gpt = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = gateway("", &claude, &gpt).await;
    let mut legs = value!([anthropic(), openai()]);
    legs[1]["query"]["stream"] = true.into();
    legs[1]["query"]["stream_options"] = value!({ "include_usage": true });
    let mut client = gateway.send(&ask(&legs)).await;
    assert_eq!(client.head().await.header("cf-aig-step"), Some("1"));
    for event in &events {
        gpt.go();
        assert_eq!(client.piece().await.as_ref(), Some(event));
    }
    assert_eq!(client.piece().await, None);
    assert_eq!(client.end(), Some(End::Whole));
    assert!(gateway.record().await.stream);
}

/// How often the first leg is asked before the second.
async fn sends(settings: &str, leg: &Value, request: &[(&str, &str)]) -> (usize, Reply) {
    let claude = Upstream::start([status(503)]).await;
    let gpt = Upstream::start([json(COMPLETION)]).await;
    let gateway = gateway(settings, &claude, &gpt).await;
    let mut first = anthropic();
    for (member, value) in leg.as_object().unwrap() {
        match value.as_object().filter(|_| member == "headers") {
            Some(headers) => headers.iter().for_each(|(name, value)| {
                first["headers"][name] = value.clone();
            }),
            None => first[member] = value.clone(),
        }
    }
    let ask = ask(&value!([first, openai()]));
    let ask = request
        .iter()
        .fold(ask, |ask, (name, value)| ask.with(name, value));
    let reply = gateway.ask(&ask).await;
    assert_eq!(reply.header("cf-aig-step"), Some("1"));
    (claude.count(), reply)
}

#[tokio::test]
async fn a_leg_says_more_than_the_request_and_that_more_than_the_gateway() {
    let of_gateway = "[[gateways]]\nid = \"default\"\nretry = { max_attempts = 2, delay_ms = 0 }\n";
    let of_request = [("cf-aig-max-attempts", "3"), ("cf-aig-retry-delay", "0")];
    let of_config = value!({ "config": { "maxAttempts": 4, "retryDelay": 0 } });
    let of_headers = value!({
        "config": { "maxAttempts": 4, "retryDelay": "0", "backoff": "linear" },
        "headers": { "cf-aig-max-attempts": 5 }
    });
    assert_eq!(sends("", &value!({}), &[]).await.0, 1);
    assert_eq!(sends(of_gateway, &value!({}), &[]).await.0, 2);
    assert_eq!(sends(of_gateway, &value!({}), &of_request).await.0, 3);
    assert_eq!(sends(of_gateway, &of_config, &of_request).await.0, 4);
    assert_eq!(sends(of_gateway, &of_headers, &of_request).await.0, 5);
}

#[tokio::test]
async fn a_leg_that_is_too_slow_gives_way_and_the_last_one_does_not() {
    let claude = Upstream::start([Answer::raw([Step::Stall])]).await;
    let gpt = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let gateway = gateway("", &claude, &gpt).await;
    let mut legs = value!([anthropic(), openai()]);
    for at in 0..2 {
        legs[at]["config"] = value!({ "requestTimeout": 50 });
    }
    let mut client = gateway.send(&ask(&legs)).await;
    gpt.request(0).await;
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    gpt.go();
    let reply = client.reply().await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-step")),
        (200, Some("1"))
    );
    let record = gateway.record().await;
    assert_eq!(attempts(&record), ["first_byte_timeout", "200"]);
    // The only one is as any request.
    let mut leg = anthropic();
    leg["config"] = value!({ "requestTimeout": 50 });
    let reply = gateway.ask(&ask(&leg)).await;
    assert_eq!(reply.json()["internalCode"], 3015);
}

#[tokio::test]
async fn when_all_legs_fail_the_most_useful_failure_is_the_answer() {
    let check = async |first: Answer, second: Answer, code: u16, step: &str| {
        let (claude, gpt) = (
            Upstream::start([first]).await,
            Upstream::start([second]).await,
        );
        let gateway = gateway("", &claude, &gpt).await;
        let reply = gateway.ask(&ask(&value!([anthropic(), openai()]))).await;
        assert_eq!(
            (reply.status(), reply.header("cf-aig-step")),
            (code, Some(step))
        );
        assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
        let provider = ["anthropic", "openai"][usize::from(step == "1")];
        assert_eq!(reply.header("cf-aig-provider"), Some(provider));
        let record = gateway.record().await;
        assert_eq!(record.provider.as_deref(), Some(provider));
        assert_eq!(record.status, Some(code));
    };
    check(status(429), status(500), 429, "0").await;
    check(status(500), status(429), 429, "1").await;
    check(status(500), status(401), 500, "0").await;
    check(status(400), status(401), 401, "1").await;
    check(status(503), Answer::raw([Step::Reset]), 503, "0").await;
    check(
        Answer::raw([Step::Reset]),
        Answer::raw([Step::Close]),
        502,
        "1",
    )
    .await;
}

/// Legs that are refused as a whole: status, code and message.
async fn check_refused(settings: &str, body: &str, refusal: (u16, u16, &str)) {
    let claude = Upstream::start([json(MESSAGE)]).await;
    let gpt = Upstream::start([json(COMPLETION)]).await;
    let gateway = gateway(settings, &claude, &gpt).await;
    let reply = gateway.ask(&Ask::post(GATEWAY, body.to_owned())).await;
    let told = reply.json();
    assert_eq!(
        (reply.status(), &told["internalCode"]),
        (refusal.0, &refusal.1.into()),
        "{body}"
    );
    assert_eq!(told["message"], refusal.2, "{body}");
    assert_eq!((claude.count(), gpt.count()), (0, 0), "{body}");
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(record.attempts, []);
}

#[tokio::test]
async fn legs_that_cannot_be_sent_are_refused_before_any_is() {
    let shape = "the body is a JSON list of legs, each an object with `provider`, `endpoint`, \
                 `headers` and `query`";
    let bad = |wrong| (400, 3021, wrong);
    for body in ["", "1", "\"x\"", "nonsense"] {
        check_refused("", body, bad(shape)).await;
    }
    let at = format!("{shape}; look at line 1, column 15");
    check_refused("", "[{\"provider\": 5}]", bad(&at)).await;
    check_refused("", "[]", bad("there are no legs")).await;
    let many = value!(vec![openai(); 17]).to_string();
    check_refused("", &many, bad("there are 17 legs; 16 are allowed")).await;
    let second = |leg: Value| value!([openai(), leg]).to_string();
    let with = |member: &str, value: Value| {
        let mut leg = openai();
        leg[member] = value;
        second(leg)
    };
    let header = with("headers", value!({ "a b": "x" }));
    check_refused("", &header, bad("leg 1: `a b` is no header")).await;
    let header = with("headers", value!({ "x": "a\nb" }));
    check_refused("", &header, bad("leg 1: `x` is no header")).await;
    check_refused(
        "",
        &with("endpoint", value!(5)),
        bad("leg 1: `endpoint` is a text"),
    )
    .await;
    for provider in ["compat", "nobody", "openai/../x", "", "a?b"] {
        let legs = with("provider", provider.into());
        check_refused("", &legs, (400, 2008, "Invalid provider")).await;
    }
    let dots = with("endpoint", "../x".into());
    let message = "leg 1: the path holds a `.` or `..` segment, plain or encoded; leave it out";
    check_refused("", &dots, (400, 3001, message)).await;
    let message = "no credential for provider 'openai': send its key in the header \
                   'authorization', or configure a target with a credential";
    check_refused("", &with("headers", value!({})), (400, 3002, message)).await;
    let bound = "[[gateways]]\nid = \"default\"\nresidency = [\"here\"]\n\
                 [[gateways.targets]]\nname = \"a\"\nprovider = \"anthropic\"\nregion = \"here\"\n";
    let message = "this gateway's `residency` allows only targets in here; the request names \
                   none of them";
    let legs = value!([anthropic(), openai()]).to_string();
    check_refused(bound, &legs, (403, 3018, message)).await;
    let small = "[[gateways]]\nid = \"default\"\nmax_request_bytes = 20\n";
    let message = "the request body is larger than this gateway's limit of 20 bytes";
    check_refused(small, &legs, (413, 3003, message)).await;
}

#[tokio::test]
async fn a_gateway_token_opens_it_and_reaches_no_provider() {
    let settings = "[[gateways]]\nid = \"default\"\nauthentication = true\n\
                    [[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\n";
    let claude = Upstream::start([status(500)]).await;
    let gpt = Upstream::start([json(COMPLETION)]).await;
    let gateway = gateway(settings, &claude, &gpt).await;
    let mut legs = value!([anthropic(), openai()]);
    legs[1]["headers"]["cf-aig-authorization"] = "Bearer isg_0123456789abcdef".into();
    legs[1]["headers"]["x-other"] = "isg_0123456789abcdef".into();
    legs[1]["headers"]["cf-aig-metadata"] = value!({ "tenantId": "acme" });
    let reply = gateway.ask(&ask(&legs)).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (401, &2009.into())
    );
    let open = ask(&legs).with("cf-aig-authorization", "Bearer isg_0123456789abcdef");
    assert_eq!(gateway.ask(&open).await.status(), 200);
    let sent = format!("{:?}", gpt.request(0).await.head);
    assert!(!sent.contains("isg_") && !sent.contains("cf-aig"), "{sent}");
    let record = gateway.records(2).await.remove(1);
    assert_eq!(record.token.as_deref(), Some("app"));
    assert_eq!(record.metadata["tenantId"].to_text(), "acme");
    assert!(!serde_json::to_string(&record).unwrap().contains("isg_"));
}
