//! Ways around limits of tokens and cost that a client could find: other spellings of an endpoint,
//! answers that tell nothing, or not here, or not all; and leaving in another manner.

use std::time::Duration;

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};
use isango_types::record::{Outcome, Record};
use isango_types::{CostStatus, Operation};

use crate::harness::{CHAT, Harness, every_provider};

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","role":"assistant","content":[{"type":"text","text":"Sawubona."}],"stop_reason":"end_turn","usage":{"input_tokens":19,"output_tokens":5}}"#;
const CONTENT: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Sawubona."}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":19,"candidatesTokenCount":5,"totalTokenCount":24},"modelVersion":"gemini-2.5-pro"}"#;
const COHERE: &str = r#"{"id":"c","message":{"role":"assistant","content":[{"type":"text","text":"Sawubona."}]},"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":19,"output_tokens":5}}}"#;
const CONVERSED: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Sawubona."}]}},"stopReason":"end_turn","usage":{"inputTokens":19,"outputTokens":5,"totalTokens":24}}"#;

/// What a limit of 20 tokens has when an answer of 24 has passed.
const FEW: &str = "unit = \"tokens\"\nlimit = 20";
/// What is never reached, so that charges can be told.
const MANY: [&str; 2] = [
    "unit = \"tokens\"\nlimit = 10_000_000",
    "unit = \"cost\"\nlimit = 1000",
];

fn limits(settings: &str, limits: &[&str]) -> String {
    let limits = limits.iter().enumerate().map(|(at, limit)| {
        format!("[[gateways.limits]]\nid = \"l{at}\"\n{limit}\nwindow = \"month\"\n")
    });
    let limits: String = limits.collect();
    format!("[[gateways]]\nid = \"default\"\n{settings}\n{limits}")
}

fn keyed(ask: Ask) -> Ask {
    ask.with("authorization", "Bearer k")
}

/// A request to `path` behind the gateway.
fn post(path: &str, body: impl Into<Bytes>) -> Ask {
    keyed(Ask::post(&format!("/v1/local/default/{path}"), body))
}

fn get(path: &str) -> Ask {
    keyed(Ask::get(&format!("/v1/local/default/{path}")))
}

/// What each limit charged.
fn charged(record: &Record) -> Vec<u64> {
    record.limits.iter().map(|one| one.charged).collect()
}

#[tokio::test]
async fn no_spelling_of_an_endpoint_is_free() {
    let body = PROMPT.replacen('{', r#"{"max_tokens":5,"#, 1);
    for (path, operation, answer) in [
        ("openai/chat/%63ompletions", Operation::Chat, COMPLETION),
        ("openai/Chat/Completions", Operation::Chat, COMPLETION),
        ("openai/chat%2Fcompletions", Operation::Chat, COMPLETION),
        ("openai/chat/%2563ompletions", Operation::Chat, COMPLETION),
        ("openai/chat/completions;a=b", Operation::Chat, COMPLETION),
        ("openai/Responses", Operation::Responses, COMPLETION),
        ("openai/%65mbeddings", Operation::Embeddings, COMPLETION),
        ("openai/images//generations", Operation::Image, COMPLETION),
        (
            "azure-openai/res/dep/Chat/Completions?api-version=2024-10-21",
            Operation::Chat,
            COMPLETION,
        ),
        (
            "azure-openai/res/dep/chat/complet%69ons?api-version=2024-10-21",
            Operation::Chat,
            COMPLETION,
        ),
        ("anthropic/v1/%6dessages", Operation::Chat, MESSAGE),
        ("anthropic/v1/Messages", Operation::Chat, MESSAGE),
        ("anthropic/v1/chat/Completions", Operation::Chat, COMPLETION),
        (
            "anthropic/v1/chat/completions/",
            Operation::Chat,
            COMPLETION,
        ),
        ("cohere/v2/Chat", Operation::Chat, COHERE),
        ("cohere/v2/cha%74", Operation::Chat, COHERE),
        (
            "aws-bedrock/bedrock-runtime/us-east-1/model/some.model/Converse",
            Operation::Chat,
            CONVERSED,
        ),
        (
            "aws-bedrock/bedrock-runtime/us-east-1/%6dodel/some.model/convers%65",
            Operation::Chat,
            CONVERSED,
        ),
        (
            "google-ai-studio/v1beta/models/gemini-2.5-pro:GenerateContent",
            Operation::GenerateContent,
            CONTENT,
        ),
        (
            "google-ai-studio/v1beta/models%2Fgemini-2.5-pro:generateContent",
            Operation::GenerateContent,
            CONTENT,
        ),
        (
            "google-vertex-ai/v1/projects/p/locations/us-central1/publishers/%67oogle/models/gemini-2.5-pro:generateContent",
            Operation::GenerateContent,
            CONTENT,
        ),
    ] {
        let upstream = Upstream::start([json(answer)]).await;
        let toml = limits("", &[FEW]) + &every_provider(&upstream);
        let gateway = Harness::start(&toml).await;
        let ask = |path: &str| {
            post(path, body.clone())
                .with("api-key", "k")
                .with("x-api-key", "k")
                .with("x-goog-api-key", "k")
        };
        let reply = gateway.ask(&ask(path)).await;
        assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
        let record = gateway.record().await;
        assert_eq!(record.operation, operation, "{path}");
        assert_eq!(charged(&record), [24], "{path}");
        let reply = gateway.ask(&ask("openai/chat/completions")).await;
        assert_eq!(reply.status(), 429, "{path}");
        assert_eq!(upstream.count(), 1);
    }
}

/// An endpoint that nobody knows is charged what it tells, and what was paid for is not again.
#[tokio::test]
async fn what_is_told_anywhere_is_charged_once() {
    let streamed = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"gpt-4o\",\"output\":[],\"usage\":{\"input_tokens\":19,\"output_tokens\":5,\"total_tokens\":24}}}\n\n";
    let response = r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-4o","output":[],"usage":{"input_tokens":19,"output_tokens":5,"total_tokens":24}}"#;
    let cost = 19 * 2_500 + 5 * 10_000;
    for (ask, answer, expected) in [
        (
            post("openai/brand/new", PROMPT),
            json(COMPLETION),
            [24, cost],
        ),
        (get("openai/responses/resp_1"), json(response), [0, 0]),
        (
            get("openai/responses/resp_1?stream=true"),
            sse([streamed]),
            [0, 0],
        ),
        (
            post("openai/responses/resp_1/cancel", ""),
            json(response),
            [0, 0],
        ),
        (
            post("openai/chat/completions/chatcmpl-test", "{\"metadata\":{}}"),
            json(COMPLETION),
            [0, 0],
        ),
    ] {
        let upstream = Upstream::start([answer]).await;
        let gateway = Harness::with(&limits("", &MANY), &upstream).await;
        assert_eq!(gateway.ask(&ask).await.status(), 200, "{ask:?}");
        let record = gateway.record().await;
        assert_eq!(charged(&record), expected, "{ask:?}");
        assert_eq!(record.usage.is_some(), expected[0] > 0, "{ask:?}");
    }
}

#[tokio::test]
async fn an_answer_in_the_background_draws_its_bound_or_is_refused() {
    let queued = r#"{"id":"resp_1","object":"response","status":"queued","model":"gpt-4o","output":[],"usage":null}"#;
    let upstream = Upstream::start([json(queued)]).await;
    let gateway = Harness::with(&limits("", &MANY), &upstream).await;
    let ask = |members: &str| {
        let body = format!(r#"{{"model":"gpt-4o","input":"Say hello.",{members}}}"#);
        post("openai/responses", body)
    };
    let reply = gateway.ask(&ask(r#""background":true"#)).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert_eq!(reply.json()["internalCode"], 3033);
    assert!(reply.text().contains("max_output_tokens"));
    assert_eq!(upstream.count(), 0);
    let bounded = ask(r#""background":true,"max_output_tokens":500"#);
    assert_eq!(gateway.ask(&bounded).await.status(), 200);
    let record = gateway.records(2).await.pop().unwrap();
    let [tokens, cost] = charged(&record)[..] else {
        panic!("{:?}", record.limits)
    };
    assert!((500..1_000).contains(&tokens), "{tokens}");
    assert!(cost >= 500 * 10_000, "{cost}");
    // What has no such limit needs no bound; nor does an answer that is waited for.
    let free = Harness::before(&upstream).await;
    assert_eq!(free.ask(&ask(r#""background":true"#)).await.status(), 200);
    let waits = ask(r#""background":false"#);
    assert_eq!(gateway.ask(&waits).await.status(), 200);
}

#[tokio::test]
async fn a_part_without_a_rate_makes_nothing_free() {
    let row = "[[prices]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\ninput = \"2.50\"\n";
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let toml = format!("{row}{}", limits("", &MANY));
    for custom in ["", r#"{"total_cost":0}"#] {
        let gateway = Harness::with(&toml, &upstream).await;
        let ask = keyed(Ask::post(CHAT, PROMPT));
        let ask = match custom {
            "" => ask,
            custom => ask.with("cf-aig-custom-cost", custom),
        };
        assert_eq!(gateway.ask(&ask).await.status(), 200);
        let record = gateway.record().await;
        if custom.is_empty() {
            let cost = (record.cost.status, record.cost.nanousd);
            assert_eq!(cost, (CostStatus::Unpriced, None));
        }
        assert_eq!(charged(&record), [24, 19 * 2_500]);
    }
}

/// A stream whose usage was left, and of which no more than a little was kept.
#[tokio::test]
async fn what_passed_counts_and_not_what_was_kept() {
    let words = [" lion"; 1_000];
    let mut events = chat_events(&words);
    events.truncate(1_001);
    let whole: usize = events.iter().map(Bytes::len).sum();
    let upstream = Upstream::start([sse(events).then(Step::Stall)]).await;
    let settings = limits("max_record_body_bytes = 1024", &MANY);
    let gateway = Harness::with(&settings, &upstream).await;
    let body = PROMPT.replacen('{', r#"{"stream":true,"max_tokens":0,"#, 1);
    let mut client = gateway.send(&keyed(Ask::post(CHAT, body))).await;
    client.head().await;
    let mut came = 0;
    while came < whole {
        came += client.piece().await.unwrap().len();
    }
    client.reset();
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    let [tokens, cost] = charged(&record)[..] else {
        panic!("{:?}", record.limits)
    };
    assert!(tokens >= 1_000 + 13, "{tokens}");
    assert!(cost >= 1_000 * 10_000, "{cost}");
}

/// A question of which no more than a little was kept, and an answer that tells no usage, or that
/// nobody saw.
#[tokio::test]
async fn what_was_asked_counts_and_not_what_was_kept() {
    let long = "lion ".repeat(2_000);
    let body =
        PROMPT
            .replace("Say hello in isiZulu.", &long)
            .replacen('{', r#"{"max_tokens":40,"#, 1);
    let silent = COMPLETION.split_once(r#","usage""#).unwrap().0.to_owned() + "}";
    for (answer, output) in [(json(silent), 3), (Answer::raw([Step::Stall]), 40)] {
        let upstream = Upstream::start_by(move |request| {
            let is_other = request.body.len() < 1_000;
            match is_other {
                true => json(COMPLETION).first(Step::Pause(Duration::from_millis(1_600))),
                false => answer.clone(),
            }
        })
        .await;
        let settings = limits("max_record_body_bytes = 1024", &MANY);
        let gateway = Harness::with(&settings, &upstream).await;
        let ask = keyed(Ask::post(CHAT, body.clone()));
        if output == 40 {
            let client = gateway.send(&ask).await;
            upstream.request(0).await;
            // Another one takes so long.
            gateway.ask(&keyed(Ask::post(CHAT, PROMPT))).await;
            client.reset();
            gateway.records(2).await;
        } else {
            assert_eq!(gateway.ask(&ask).await.status(), 200);
        }
        let records = gateway.records(1).await;
        let long = |one: &&Record| one.request.bytes > 1_000;
        let tokens = charged(records.iter().find(long).unwrap())[0];
        assert!((2_000 + output..2_100).contains(&tokens), "{tokens}");
    }
}

fn asks_for_usage(request: &Received) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["stream_options"]["include_usage"] == true
}

#[tokio::test]
async fn a_stream_that_is_to_tell_nothing_tells_the_gateway() {
    let told = chat_events(&["Sawubona"]);
    let mut silent = told.clone();
    silent.remove(silent.len() - 2);
    let (told, shown) = (sse(told), silent.concat());
    let upstream = Upstream::start_by(move |request| match asks_for_usage(request) {
        true => told.clone(),
        false => sse(silent.clone()),
    })
    .await;
    for options in [
        r#"{"include_usage":false}"#,
        r#"{"include_usage":null}"#,
        r#"{"include_usage":0,"include_obfuscation":false}"#,
    ] {
        let options = format!("{{\"stream\":true,\"stream_options\":{options},");
        let ask = keyed(Ask::post(CHAT, PROMPT.replacen('{', &options, 1)));
        let gateway = Harness::with(&limits("", &MANY), &upstream).await;
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.body, shown, "{options}");
        let record = gateway.record().await;
        assert_eq!(charged(&record), [20, 19 * 2_500 + 10_000], "{options}");
        assert!(record.usage.is_some_and(|usage| !usage.estimated));
    }
    // Where nothing is limited, the client's word holds.
    let free = Harness::before(&upstream).await;
    let options = r#"{"stream":true,"stream_options":{"include_usage":false},"#;
    let ask = keyed(Ask::post(CHAT, PROMPT.replacen('{', options, 1)));
    assert_eq!(free.ask(&ask).await.body, shown);
    assert!(
        free.record()
            .await
            .usage
            .is_some_and(|usage| usage.estimated)
    );
}

/// A send that its client's own timeout ended is one that the client left.
#[tokio::test]
async fn a_clients_own_timeout_is_no_free_way_to_leave() {
    let body = PROMPT.replacen('{', r#"{"max_tokens":40,"#, 1);
    let stalls = Answer::raw([Step::Stall]);
    let given_up = [13 + 40, 13 * 2_500 + 40 * 10_000];
    let told = [24, 19 * 2_500 + 5 * 10_000];
    let both = [0, 1].map(|at| given_up[at] + told[at]);
    let none = [0, 0];
    let own = "first_byte_timeout = \"1s\"";
    for (answers, attempts, settings, expected) in [
        (vec![stalls.clone()], "1", "", given_up),
        (vec![stalls.clone(), json(COMPLETION)], "2", "", both),
        (vec![stalls.clone(), status(400)], "2", "", given_up),
        // The operator would have waited no longer.
        (vec![stalls.clone(), json(COMPLETION)], "2", own, told),
        (vec![stalls], "1", own, none),
    ] {
        let upstream = Upstream::start(answers).await;
        let gateway = Harness::with(&limits(settings, &MANY), &upstream).await;
        let ask = keyed(Ask::post(CHAT, body.clone()))
            .with("cf-aig-request-timeout", "1600")
            .with("cf-aig-max-attempts", attempts)
            .with("cf-aig-retry-delay", "1");
        gateway.ask(&ask).await;
        let record = gateway.record().await;
        assert_eq!(charged(&record), expected, "{:?}", record.attempts);
        if attempts == "1" && settings.is_empty() {
            let usage = record.usage.unwrap();
            assert!(usage.estimated, "{usage:?}");
            let cost = (record.cost.status, record.cost.nanousd);
            assert_eq!(cost, (CostStatus::Estimated, Some(given_up[1])));
        }
    }
}

/// Each leg is of the tenant that it says.
#[tokio::test]
async fn a_leg_draws_by_its_own_metadata() {
    let upstream = Upstream::start([status(500), json(COMPLETION)]).await;
    let limit = "unit = \"requests\"\nlimit = 10\nby = [\"metadata.tenantId\"]";
    let gateway = Harness::with(&limits("", &[limit]), &upstream).await;
    let leg = |tenant: &str| {
        format!(
            r#"{{"provider":"openai","endpoint":"chat/completions","headers":{{"authorization":"Bearer k","cf-aig-metadata":"{{\"tenantId\":\"{tenant}\"}}"}},"query":{PROMPT}}}"#
        )
    };
    let legs = format!("[{},{}]", leg("a"), leg("b"));
    let reply = gateway.ask(&Ask::post("/v1/local/default", legs)).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let record = gateway.record().await;
    assert_eq!(record.metadata["tenantId"].to_text(), "b");
    let buckets = record.limits.iter().map(|one| one.bucket[0].as_deref());
    let buckets: Vec<_> = buckets.collect();
    assert_eq!(buckets, [Some("a"), Some("b")]);
}

const TOKEN: &str = "isg_0123456789abcdef";

/// A token with a cap is for whatever has a price, be it by piece.
#[tokio::test]
async fn a_cap_is_no_bar_to_what_is_priced_otherwise() {
    let upstream = Upstream::start([json("{}")]).await;
    let toml = format!(
        "[[gateways]]\nid = \"default\"\n[[tokens]]\nname = \"capped\"\nsecret = \"{TOKEN}\"\n\
         gateways = [\"default\"]\nspend = {{ limit = 100.0, window = \"day\" }}\n\
         [[prices]]\nprovider = \"openai\"\nmodel = \"by-picture\"\nimage = \"0.04\"\n"
    ) + &every_provider(&upstream);
    let gateway = Harness::start(&toml).await;
    for (path, model, status) in [
        ("openai/embeddings", "text-embedding-3-small", 200),
        ("openai/audio/speech", "tts-1", 200),
        ("openai/audio/transcriptions", "whisper-1", 200),
        ("openai/images/generations", "by-picture", 200),
        ("openai/embeddings", "nobody-knows-what-it-costs", 403),
        // What writes is no cheaper for having a price of what is read.
        ("openai/chat/completions", "text-embedding-3-small", 403),
        ("openai/chat/completions", "by-picture", 403),
    ] {
        let body = format!(r#"{{"model":"{model}","input":"Sawubona.","voice":"alloy"}}"#);
        let ask = post(path, body).with("cf-aig-authorization", TOKEN);
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status(), status, "{path} {model}: {}", reply.text());
    }
}

/// Pictures are paid by piece, and so many were asked for.
#[tokio::test]
async fn who_leaves_before_the_pictures_pays_for_as_many_as_it_asked_for() {
    let row = "[[prices]]\nprovider = \"openai\"\nmodel = \"painter\"\nimage = \"0.04\"\n";
    let upstream = Upstream::start([Answer::raw([Step::Stall])]).await;
    let gateway = Harness::with(&format!("{row}{}", limits("", &MANY)), &upstream).await;
    let body = r#"{"model":"painter","prompt":"A lion.","n":3}"#;
    let client = gateway.send(&post("openai/images/generations", body)).await;
    upstream.request(0).await;
    client.reset();
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    assert_eq!(charged(&record)[1], 3 * 40_000_000);
}
