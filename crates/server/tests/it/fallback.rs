//! Fallback: which target is asked next, what it is sent, and what the client and the record are
//! told. And where nothing may go at all.

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, Client, Reply};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use isango_types::record::{Outcome, Record};

use crate::harness::{Harness, nobody};
use crate::retry::attempts;

/// Where a chat completion of the first region is asked for.
pub(crate) const AZURE: &str =
    "/v1/local/g/azure-openai/sa/chat/chat/completions?api-version=2024-10-21";

/// A gateway with two Azure resources, `sa` and `eu`, and the chain from one to the other.
pub(crate) fn regions(sa: &str, eu: &str, chain: &str) -> String {
    format!(
        r#"
[[gateways]]
id = "g"
{chain}
[[gateways.targets]]
name = "azure-sa"
provider = "azure-openai"
resource = "sa"
region = "southafricanorth"
credential = "configured-key-of-sa"
models = {{ chat = "gpt-4o" }}
base_url = "{sa}/sa"
[[gateways.targets]]
name = "azure-eu"
provider = "azure-openai"
resource = "eu"
region = "westeurope"
credential = "configured-key-of-eu"
models = {{ chat-eu = "gpt-4o", mini-eu = "gpt-4o-mini" }}
base_url = "{eu}/eu"
"#
    )
}

pub(crate) const CHAIN: &str = "fallback = { azure-sa = [\"azure-eu\"] }";

pub(crate) fn ask() -> Ask {
    Ask::post(AZURE, PROMPT).with("api-key", "the-clients-own-key")
}

/// The first region fails in this way; the second answers.
async fn outage(answer: Answer, chain: &str, ask: &Ask) -> (Reply, Record, Upstream, Upstream) {
    let sa = Upstream::start([answer]).await;
    let eu = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::start(&regions(&sa.url(), &eu.url(), chain)).await;
    let reply = gateway.ask(ask).await;
    (reply, gateway.record().await, sa, eu)
}

async fn check_falls_back(answer: Answer, word: &str) {
    let (reply, record, sa, eu) = outage(answer, CHAIN, &ask()).await;
    assert_eq!((reply.status(), reply.text()), (200, COMPLETION), "{word}");
    assert_eq!(reply.header("cf-aig-provider"), Some("azure-eu"));
    assert_eq!(reply.header("cf-aig-step"), Some("1"));
    assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
    assert_eq!(attempts(&record), [word, "200"]);
    let targets: Vec<_> = record
        .attempts
        .iter()
        .map(|a| (&*a.target, a.step))
        .collect();
    assert_eq!(targets, [("azure-sa", 0), ("azure-eu", 1)]);
    assert_eq!(record.target.as_deref(), Some("azure-eu"));
    assert_eq!(record.deployment.as_deref(), Some("chat-eu"));
    assert_eq!(record.attempts[1].cost.as_ref(), Some(&record.cost));
    assert!(record.cost.nanousd.is_some_and(|cost| cost > 0));
    assert_eq!(sa.count(), 1, "{word}");
    let request = eu.request(0).await;
    assert_eq!(
        request.head.target,
        "/eu/openai/deployments/chat-eu/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(request.body, PROMPT.as_bytes());
    assert_eq!(request.head.header("api-key"), Some("configured-key-of-eu"));
    let sent = format!("{:?}", request.head);
    assert!(!sent.contains("the-clients-own-key"), "{sent}");
    assert!(!sent.contains("configured-key-of-sa"), "{sent}");
}

#[tokio::test]
async fn the_next_region_answers_when_the_first_fails() {
    for code in [408, 429, 500, 501, 502, 503, 504] {
        check_falls_back(status(code), &code.to_string()).await;
    }
    check_falls_back(status(429).header("retry-after", "3600"), "429").await;
    for step in [Step::Close, Step::Reset] {
        check_falls_back(Answer::raw([step]), "no_answer").await;
    }
    let garbage = Step::Raw("SSH-2.0-OpenSSH_9.6\r\n\r\n".into());
    check_falls_back(Answer::raw([garbage, Step::Close]), "bad_answer").await;
    // A quota that is used up may be there at another resource.
    let quota = Answer::new(429).body(r#"{"error":{"code":"insufficient_quota"}}"#);
    check_falls_back(quota, "429").await;
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_wrong_everywhere() {
    for code in [400, 401, 403, 404, 422] {
        let (reply, record, _sa, eu) = outage(status(code), CHAIN, &ask()).await;
        assert_eq!(reply.status(), code);
        assert_eq!(reply.header("cf-aig-provider"), Some("azure-sa"));
        assert_eq!(reply.header("cf-aig-step"), Some("0"));
        assert_eq!(record.target.as_deref(), Some("azure-sa"));
        assert_eq!(eu.count(), 0);
    }
}

#[tokio::test]
async fn retries_come_before_the_fallback() {
    let ask = ask()
        .with("cf-aig-max-attempts", "3")
        .with("cf-aig-retry-delay", "1");
    let (reply, record, sa, eu) = outage(status(429), CHAIN, &ask).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("cf-aig-attempts"), Some("4"));
    assert_eq!(attempts(&record), ["429", "429", "429", "200"]);
    assert_eq!((sa.count(), eu.count()), (3, 1));
    // A wait that nobody can bear: the other region is asked at once.
    let limit = status(429).header("retry-after", "90");
    let (reply, record, ..) = outage(limit, CHAIN, &ask).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(attempts(&record), ["429", "200"]);
}

#[tokio::test]
async fn a_chain_chooses_what_it_is_for() {
    let only = |on: &str| {
        format!("fallback = {{ azure-sa = {{ to = [\"azure-eu\"], on = [\"{on}\"] }} }}")
    };
    let check = async |answer: Answer, on: &str, step: &str| {
        let (reply, ..) = outage(answer, &only(on), &ask()).await;
        assert_eq!(reply.header("cf-aig-step"), Some(step), "{on}");
    };
    check(status(503), "5xx", "1").await;
    check(status(503), "429", "0").await;
    check(status(429), "429", "1").await;
    check(status(429), "5xx", "0").await;
    check(Answer::raw([Step::Reset]), "connect", "1").await;
    check(Answer::raw([Step::Reset]), "timeout", "0").await;
}

#[tokio::test]
async fn a_region_that_is_too_slow_is_given_up() {
    let chain = format!("{CHAIN}\nfirst_byte_timeout = \"60ms\"");
    let (reply, record, sa, _eu) = outage(Answer::raw([Step::Stall]), &chain, &ask()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(attempts(&record), ["first_byte_timeout", "200"]);
    sa.given_up(0).await;
}

#[tokio::test]
async fn the_last_target_is_awaited_as_long_as_it_takes() {
    let sa = Upstream::start([Answer::raw([Step::Stall])]).await;
    let eu = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let chain = format!("{CHAIN}\nfirst_byte_timeout = \"50ms\"");
    let gateway = Harness::start(&regions(&sa.url(), &eu.url(), &chain)).await;
    let mut client = gateway.send(&ask()).await;
    eu.request(0).await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    eu.go();
    assert_eq!(client.reply().await.status(), 200);
}

#[tokio::test]
async fn targets_that_cannot_be_reached_are_passed() {
    let eu = Upstream::start([json(COMPLETION)]).await;
    let tls = Upstream::start_tls([json(COMPLETION)], &Tls::new(), &[]).await;
    let nobody = nobody().await;
    for (url, word) in [
        (&*nobody, "connect_failed"),
        ("http://nobody.invalid", "connect_failed"),
        (&*tls.url(), "tls_failed"),
    ] {
        let gateway = Harness::start(&regions(url, &eu.url(), CHAIN)).await;
        assert_eq!(gateway.ask(&ask()).await.status(), 200, "{url}");
        assert_eq!(attempts(&gateway.record().await), [word, "200"]);
    }
}

#[tokio::test]
async fn a_stream_comes_from_the_other_region_as_it_would_from_the_first() {
    let events = chat_events(&["Sa", "wubona"]);
    let sa = Upstream::start([status(503)]).await;
    let eu = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = Harness::start(&regions(&sa.url(), &eu.url(), CHAIN)).await;
    let mut client = Client::connect(gateway.addr).await;
    let usage = r#"{"stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    client.send_ask(&ask().body(usage)).await;
    assert_eq!(client.head().await.status, 200);
    for event in &events {
        eu.go();
        assert_eq!(client.piece().await.as_ref(), Some(event));
    }
    assert_eq!(client.piece().await, None);
    let record = gateway.record().await;
    assert!(record.stream);
    assert_eq!(record.outcome, Outcome::Answered);
}

#[tokio::test]
async fn a_stream_tells_its_usage_wherever_it_comes_from() {
    let sa = Upstream::start([status(503)]).await;
    let eu = Upstream::start([sse(chat_events(&["Sa", "wubona"]))]).await;
    let gateway = Harness::start(&regions(&sa.url(), &eu.url(), CHAIN)).await;
    let reply = gateway.ask(&ask().body(STREAM_PROMPT)).await;
    assert!(!reply.text().contains("\"usage\":{"), "{}", reply.text());
    for upstream in [&sa, &eu] {
        let sent = upstream.request(0).await.body;
        assert!(String::from_utf8(sent).unwrap().contains("include_usage"));
    }
    assert!(
        gateway
            .record()
            .await
            .usage
            .is_some_and(|usage| !usage.estimated)
    );
}

#[tokio::test]
async fn when_all_fail_the_client_is_told_what_helps_it_most() {
    let check = async |first: Answer, second: Answer, code: u16, step: &str| {
        let sa = Upstream::start([first]).await;
        let eu = Upstream::start([second]).await;
        let gateway = Harness::start(&regions(&sa.url(), &eu.url(), CHAIN)).await;
        let reply = gateway.ask(&ask()).await;
        assert_eq!(reply.status(), code);
        assert_eq!(reply.header("cf-aig-step"), Some(step));
        assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
        let target = ["azure-sa", "azure-eu"][usize::from(step == "1")];
        assert_eq!(reply.header("cf-aig-provider"), Some(target));
        assert_eq!(gateway.record().await.target.as_deref(), Some(target));
        reply
    };
    let limit = |seconds: &str| status(429).header("retry-after", seconds);
    check(limit("100"), status(503), 429, "0").await;
    check(status(503), limit("100"), 429, "1").await;
    let reply = check(limit("100"), limit("200"), 429, "0").await;
    assert_eq!(reply.header("retry-after"), Some("100"));
    let reply = check(limit("200"), limit("100"), 429, "1").await;
    assert_eq!(reply.header("retry-after"), Some("100"));
    check(status(500), status(503), 503, "1").await;
    check(status(500), Answer::raw([Step::Reset]), 500, "0").await;
    // The second region refuses the operator's key: nothing that the client could help.
    check(status(503), status(401), 503, "0").await;
    check(status(503), status(404), 503, "0").await;
    check(status(503), status(400), 400, "1").await;
    let reply = check(
        Answer::raw([Step::Reset]),
        Answer::raw([Step::Reset]),
        502,
        "1",
    )
    .await;
    assert_eq!(reply.json()["internalCode"], 3013);
}

#[tokio::test]
async fn a_target_without_a_credential_is_passed_over() {
    let sa = Upstream::start([status(503)]).await;
    let eu = Upstream::start([json(COMPLETION)]).await;
    let config =
        regions(&sa.url(), &eu.url(), CHAIN).replace("credential = \"configured-key-of-eu\"\n", "");
    let gateway = Harness::start(&config).await;
    let reply = gateway.ask(&ask()).await;
    assert_eq!((reply.status(), eu.count()), (503, 0));
    assert_eq!(reply.header("cf-aig-provider"), Some("azure-sa"));
    assert_eq!(
        gateway.record().await.notes,
        ["target `azure-eu` was passed over: it has no credential, and the client's is not for it".into()]
    );
}

#[tokio::test]
async fn no_credential_of_any_kind_travels_to_another_target() {
    let ask = ask()
        .with("authorization", "Bearer the-clients-own-token")
        .with("cookie", "session=the-clients-own-cookie")
        .with("x-goog-api-key", "the-clients-own-goog")
        .with("x-my-secret", "the-clients-own-secret")
        .with("openai-organization", "the-clients-own-org")
        .with("x-stainless-lang", "python");
    let (reply, _record, sa, eu) = outage(status(503), CHAIN, &ask).await;
    assert_eq!(reply.status(), 200);
    let first = format!("{:?}", sa.request(0).await.head);
    assert_eq!(first.matches("the-clients-own").count(), 6, "{first}");
    let head = eu.request(0).await.head;
    assert!(!format!("{head:?}").contains("the-clients-own"), "{head:?}");
    assert_eq!(head.header("x-stainless-lang"), Some("python"));
}

#[tokio::test]
async fn no_record_tells_the_credential_of_any_target() {
    let repeat = |key: &str| {
        let body = format!("{{\"error\":{{\"message\":\"not {key}\"}}}}");
        Answer::new(503).body(body)
    };
    let sa = Upstream::start([repeat("the-clients-own-key")]).await;
    let eu = Upstream::start([repeat("configured-key-of-sa configured-key-of-eu")]).await;
    let gateway = Harness::start(&regions(&sa.url(), &eu.url(), CHAIN)).await;
    assert_eq!(gateway.ask(&ask()).await.status(), 503);
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(record.contains("not [secret] [secret]"), "{record}");
}

#[tokio::test]
async fn openai_stands_in_for_azure_and_azure_for_openai() {
    let azure = Upstream::start([status(503)]).await;
    let openai = Upstream::start([status(503), json(COMPLETION)]).await;
    let config = format!(
        r#"
[[gateways]]
id = "g"
fallback = {{ azure = ["main"], main = ["azure"] }}
[[gateways.targets]]
name = "azure"
provider = "azure-openai"
resource = "sa"
credential = "key-of-azure"
models = {{ chat = "gpt-4o" }}
base_url = "{}"
[[gateways.targets]]
name = "main"
provider = "openai"
credential = "key-of-openai"
base_url = "{}/v1"
"#,
        azure.url(),
        openai.url()
    );
    let gateway = Harness::start(&config).await;
    let key = "Bearer the-clients-own-key";
    let to_openai = Ask::post("/v1/local/g/openai/chat/completions", PROMPT);
    let reply = gateway.ask(&to_openai.with("authorization", key)).await;
    assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
    let moved = azure.request(0).await;
    assert_eq!(moved.head.target, "/openai/v1/chat/completions");
    assert_eq!(moved.head.header("api-key"), Some("key-of-azure"));
    assert_eq!(moved.head.header("authorization"), None);
    assert_eq!(moved.body, PROMPT.replace("gpt-4o", "chat").as_bytes());
    let reply = gateway.ask(&ask()).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-provider")),
        (200, Some("main"))
    );
    let moved = openai.request(1).await;
    assert_eq!(moved.head.target, "/v1/chat/completions");
    assert_eq!(
        moved.head.header("authorization"),
        Some("Bearer key-of-openai")
    );
    assert_eq!(moved.head.header("api-key"), None);
    assert_eq!(moved.body, PROMPT.as_bytes());
    let records = gateway.records(2).await;
    assert_eq!(records[1].provider.as_deref(), Some("openai"));
}

#[tokio::test]
async fn a_body_that_is_too_large_to_be_held_falls_back_before_it_is_sent() {
    let nobody = nobody().await;
    let eu = Upstream::start([json(COMPLETION)]).await;
    let chain = format!("{CHAIN}\nmax_replay_bytes = 10");
    let gateway = Harness::start(&regions(&nobody, &eu.url(), &chain)).await;
    let third = format!(
        "[[gateways.targets]]\nname = \"third\"\nprovider = \"azure-openai\"\n\
         resource = \"third\"\ncredential = \"key\"\nbase_url = \"{}\"\n",
        eu.url()
    );
    let both = "fallback = { azure-sa = [\"azure-eu\", \"third\"] }\nmax_replay_bytes = 10";
    let nowhere = regions(&nobody, &nobody, both) + &third;
    let twice = Harness::start(&nowhere).await;
    let path = "/v1/local/g/azure-openai/sa/chat/audio/transcriptions";
    let upload = Ask::new("POST", path)
        .with("content-type", "audio/wav")
        .body(vec![b'x'; 100_000]);
    assert_eq!(gateway.ask(&upload).await.status(), 200);
    assert_eq!(eu.request(0).await.body_bytes, 100_000);
    let reply = twice.ask(&upload).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-step")),
        (200, Some("2"))
    );
    assert_eq!(eu.request(1).await.body_bytes, 100_000);
}

#[tokio::test]
async fn a_gateway_bound_to_a_region_serves_nothing_outside() {
    let sa = Upstream::start([json(COMPLETION)]).await;
    let eu = Upstream::start([json(COMPLETION)]).await;
    let config = regions(&sa.url(), &eu.url(), "residency = [\"SouthAfricaNorth\"]");
    let config = format!(
        "{config}\n[providers.openai]\nbase_url = \"{url}\"\n\
         [providers.custom-acme]\nbase_url = \"{url}\"\n",
        url = eu.url()
    );
    let gateway = Harness::start(&config).await;
    assert_eq!(gateway.ask(&ask()).await.status(), 200);
    let outside = [
        "azure-openai/eu/chat-eu/chat/completions",
        "azure-openai/other/chat/chat/completions",
        "azure-eu/chat-eu/chat/completions",
        "openai/chat/completions",
        "custom-acme/v1/chat/completions",
        "anthropic/v1/messages",
    ];
    for path in outside {
        let ask = Ask::post(&format!("/v1/local/g/{path}"), PROMPT).with("api-key", "k");
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status(), 403, "{path}");
        assert_eq!(reply.json()["internalCode"], 3018);
        assert_eq!(
            reply.json()["message"],
            "this gateway's `residency` allows only targets in SouthAfricaNorth; the request \
             names none of them"
        );
    }
    assert_eq!((sa.count(), eu.count()), (1, 0));
}
