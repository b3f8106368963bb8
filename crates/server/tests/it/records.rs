//! One exchange, one record, whatever happened: its fields, its bodies, its times.

mod bodies;
mod costs;

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT, gzip};
use isango_testkit::upstream::Upstream;
use isango_types::price::CostStatus;
use isango_types::record::{Blame, Body, Omitted, Outcome, Record};
use isango_types::{Operation, Usage};
use isango_wire::tokens;
use serde_json::{Value, json as value};

use crate::harness::{CHAT, Harness};

fn chat() -> Ask {
    Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-test-0123456789")
}

fn stream() -> Ask {
    chat().body(STREAM_PROMPT)
}

fn parsed(body: Option<&Body>) -> Value {
    let Some(Body::Json(raw)) = body else {
        panic!("no JSON: {body:?}")
    };
    serde_json::from_str(raw.get()).unwrap()
}

/// Sends one request through a server before an upstream with one answer.
async fn record_of(settings: &str, request: &Ask, answer: Answer) -> Record {
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::with(settings, &upstream).await;
    assert_eq!(gateway.ask(request).await.end, End::Whole);
    gateway.record().await
}

#[tokio::test]
async fn a_whole_answer_leaves_exactly_this() {
    let answer = json(COMPLETION).header("x-request-id", "req-7");
    let request = chat()
        .with("user-agent", "OpenAI/Python 2.8.1")
        .with("cf-aig-metadata", r#"{"tenantId":"acme"}"#);
    let record = record_of("", &request, answer).await;
    let mut told = serde_json::to_value(&record).unwrap();
    let id = record.id.to_string();
    assert_eq!(id.len(), 36);
    assert_eq!(told["id"], Value::from(&*id));
    assert_eq!(told["event_id"], Value::from(&*id));
    for (member, times) in [("timing", 5), ("cost", 3)] {
        assert_eq!(
            told[member].as_object().unwrap().len(),
            times,
            "{}",
            told[member]
        );
    }
    let attempt = &told["attempts"][0];
    assert_eq!(
        (&attempt["target"], &attempt["status"]),
        (&value!("openai"), &value!(200))
    );
    let price = told["cost"]["price"].as_str().unwrap().to_owned();
    assert!(price.ends_with("/openai/gpt-4o"), "{price}");
    let object = told.as_object_mut().unwrap();
    for volatile in ["id", "event_id", "created_at", "timing", "attempts", "cost"] {
        assert!(object.remove(volatile).is_some(), "{volatile}");
    }
    let expected = value!({
        "account": "local",
        "gateway": "default",
        "provider": "openai",
        "operation": "chat",
        "model_requested": "gpt-4o",
        "model": "gpt-4o-2024-08-06",
        "method": "POST",
        "path": "chat/completions",
        "http_version": "1.1",
        "status": 200,
        "outcome": "answered",
        "usage": { "input": 19, "output": 5 },
        "finish_reason": "stop",
        "provider_id": "chatcmpl-test",
        "metadata": { "tenantId": "acme" },
        "user_agent": "OpenAI/Python 2.8.1",
        "request": {
            "content_type": "application/json",
            "bytes": PROMPT.len(),
            "body": { "json": serde_json::from_str::<Value>(PROMPT).unwrap() },
        },
        "response": {
            "content_type": "application/json",
            "bytes": COMPLETION.len(),
            "body": { "json": serde_json::from_str::<Value>(COMPLETION).unwrap() },
        },
    });
    assert_eq!(told, expected);
    // 19 × 2.50 + 5 × 10.00 USD per million tokens.
    assert_eq!(record.cost.nanousd, Some(19 * 2_500 + 5 * 10_000));
    assert_eq!(record.cost.status, CostStatus::Priced);
}

#[tokio::test]
async fn bodies_are_stored_as_they_came() {
    // Numbers, spaces, escapes, line breaks and the order of members.
    let asked = "{ \"model\":\"gpt-4o\" ,\"n\": 1.0E2,\"é\":\"\\u00e9\", \"messages\":[] }";
    let told = "{\n  \"b\": 1.50,\r\n  \"a\": \"\\n\"\n}";
    let record = record_of("", &chat().body(asked), json(told)).await;
    assert_eq!(record.request.body.unwrap().as_str(), asked);
    assert_eq!(record.response.body.unwrap().as_str(), told);
    assert_eq!(record.response.bytes, told.len() as u64);
}

#[tokio::test]
async fn a_stream_is_put_together() {
    let events = chat_events(&["Sawu", "bona", ", ümhlaba"]);
    let record = record_of("", &stream(), sse(events.clone())).await;
    assert_eq!(
        (record.outcome, record.stream, record.status),
        (Outcome::Answered, true, Some(200))
    );
    assert_eq!(record.operation, Operation::Chat);
    assert_eq!(
        parsed(record.response.body.as_ref()),
        value!({
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "created": 1_795_363_200,
            "model": "gpt-4o-2024-08-06",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Sawubona, ümhlaba" },
                "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": 19, "completion_tokens": 3, "total_tokens": 22 },
        })
    );
    assert_eq!(record.response.events, events.len() as u64);
    assert_eq!(
        record.response.content_type.as_deref(),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(record.response.bytes, events.concat().len() as u64);
    assert!(
        record.response.raw.is_none(),
        "raw frames are stored only on demand"
    );
    assert_eq!(
        record.usage.unwrap(),
        Usage {
            input: 19,
            output: 3,
            ..Usage::default()
        }
    );
    assert_eq!(record.finish_reason.as_deref(), Some("stop"));
    assert_eq!(record.provider_id.as_deref(), Some("chatcmpl-test"));
}

#[tokio::test]
async fn raw_frames_are_stored_where_the_gateway_says_so() {
    let settings = "[[gateways]]\nid = \"default\"\nrecord_raw_streams = true\n";
    let events = chat_events(&["Sawu", "bona"]);
    let record = record_of(settings, &stream(), sse(events.clone())).await;
    let raw = record.response.raw.unwrap();
    assert_eq!(raw.as_str().as_bytes(), events.concat());
    assert!(matches!(raw, Body::Text(_)));
    assert_eq!(
        parsed(record.response.body.as_ref())["choices"][0]["message"]["content"],
        "Sawubona"
    );
    let whole = record_of(settings, &chat(), json(COMPLETION)).await;
    assert!(
        whole.response.raw.is_none(),
        "an answer that is no stream has no frames"
    );
}

#[tokio::test]
async fn times_are_where_they_were_spent() {
    const PAUSE: Duration = Duration::from_millis(40);
    let pause_us = 40_000;
    let events = chat_events(&["a", "b"]);
    let (role, rest) = events.split_first().unwrap();
    let answer = sse([role.clone()])
        .first(Step::Pause(PAUSE))
        .then(Step::Pause(PAUSE));
    let answer = rest.iter().fold(answer, |answer, event| {
        answer.then(Step::Data(event.clone()))
    });
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    // The body comes later than the head.
    client.send_head(&stream()).await;
    tokio::time::sleep(PAUSE).await;
    client.send(STREAM_PROMPT.as_bytes()).await;
    assert_eq!(client.reply().await.end, End::Whole);
    let record = gateway.record().await;
    let (timing, attempt) = (record.timing, &record.attempts[0]);
    let (ttfb, ttft) = (timing.ttfb_us.unwrap(), timing.ttft_us.unwrap());
    assert!(timing.queue_us >= pause_us, "{timing:?}");
    assert!(
        attempt.started_us >= timing.queue_us,
        "{timing:?} {attempt:?}"
    );
    assert!(attempt.connect_us > 0 && !attempt.reused, "{attempt:?}");
    assert_eq!(timing.connect_us, attempt.connect_us);
    assert!(attempt.ttfb_us.unwrap() >= pause_us, "{attempt:?}");
    assert!(
        ttfb >= attempt.started_us + attempt.ttfb_us.unwrap(),
        "{timing:?} {attempt:?}"
    );
    assert!(ttft >= ttfb + pause_us, "a role is no token: {timing:?}");
    assert!(timing.total_us >= ttft, "{timing:?}");
    assert!(
        timing.overhead_us < pause_us,
        "waiting is not overhead: {timing:?}"
    );
    let chunks = &record.response.chunk_times_us;
    assert!(chunks.is_sorted() && chunks.len() >= 2, "{chunks:?}");
    assert!(
        u64::from(chunks[0]) >= ttfb && u64::from(chunks[0]) < ttft,
        "{chunks:?}"
    );
    assert!(
        u64::from(*chunks.last().unwrap()) <= timing.total_us,
        "{chunks:?}"
    );
}

#[tokio::test]
async fn a_pooled_connection_is_told() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    for _ in 0..2 {
        gateway.ask(&chat()).await;
    }
    let records = gateway.records(2).await;
    let [first, second] = [&records[0].attempts[0], &records[1].attempts[0]];
    assert!(!first.reused && first.connect_us > 0);
    assert!(second.reused && second.connect_us == 0, "{second:?}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_a_record() {
    let upstream = Upstream::start([Answer::raw([Step::Stall])]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&chat()).await;
    upstream.request(0).await;
    drop(client);
    let record = gateway.record().await;
    assert_eq!((record.outcome, record.status), (Outcome::ClientLeft, None));
    let error = record.error.unwrap();
    assert_eq!((&*error.code, error.blame), ("client_left", Blame::Client));
    // The provider had the question: its 13 tokens at 2.50 USD a million, which nobody confirmed.
    assert_eq!(
        (record.cost.status, record.cost.nanousd),
        (CostStatus::Estimated, Some(32_500))
    );
    assert_eq!(record.request.body.unwrap().as_str(), PROMPT);
    assert_eq!((record.response.bytes, record.timing.ttfb_us), (0, None));
    assert!(record.timing.total_us > 0);
    // The provider was asked, and that is told.
    let [attempt] = &record.attempts[..] else {
        panic!("{:?}", record.attempts)
    };
    assert_eq!(
        (attempt.status, attempt.error.as_deref()),
        (None, Some("client_left"))
    );
    upstream.given_up(0).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_still_sends_leaves_a_record() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_head(&chat()).await;
    client.send(&PROMPT.as_bytes()[..10]).await;
    drop(client);
    let record = gateway.record().await;
    let error = record.error.unwrap();
    assert_eq!(error.blame, Blame::Client, "{error:?}");
    assert_eq!(upstream.count(), 0);
    assert_eq!(record.cost.nanousd, Some(0));
    assert!(record.attempts.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_pays_for_what_it_got() {
    let events = chat_events(&["Once upon a time", " there was a gate", " in the wall"]);
    // Its usage never comes.
    let upstream = Upstream::start([sse(events).cut_after(3, Step::Stall)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&stream()).await;
    client.head().await;
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("gate") {
        got.extend_from_slice(&client.piece().await.unwrap());
    }
    drop(client);
    let record = gateway.record().await;
    assert_eq!(
        (record.outcome, record.status),
        (Outcome::ClientLeft, Some(200))
    );
    assert_eq!(record.error.unwrap().blame, Blame::Client);
    let delivered = "Once upon a time there was a gate";
    assert_eq!(
        parsed(record.response.body.as_ref())["choices"][0]["message"]["content"],
        delivered
    );
    let usage = record.usage.unwrap();
    let expected = tokens::estimate(STREAM_PROMPT.as_bytes(), delivered, "gpt-4o-2024-08-06");
    assert_eq!(usage, expected);
    assert!(
        usage.estimated && usage.output > 5 && usage.input > 5,
        "{usage:?}"
    );
    assert_eq!(record.cost.status, CostStatus::Estimated);
    assert_eq!(
        record.cost.nanousd,
        Some(usage.input * 2_500 + usage.output * 10_000)
    );
    assert_eq!(record.response.bytes, got.len() as u64);
}

/// The provider cuts `answer`; so does the gateway, and says so.
async fn check_cut(request: &Ask, answer: Answer) -> Record {
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(request).await;
    assert_ne!(reply.end, End::Whole);
    let record = gateway.record().await;
    assert_eq!(
        (record.outcome, record.status),
        (Outcome::UpstreamCut, Some(200))
    );
    let error = record.error.as_ref().unwrap();
    assert_eq!(
        (&*error.code, error.blame),
        ("upstream_cut", Blame::Upstream)
    );
    assert!(record.is_error());
    assert_eq!(record.attempts[0].status, Some(200));
    record
}

#[tokio::test]
async fn a_provider_that_cuts_its_answer_is_on_record() {
    let half = COMPLETION.len() / 2;
    let parts = [&COMPLETION[..half], &COMPLETION[half..]];
    for end in [Step::Close, Step::Reset] {
        let cut = json("").parts(parts).cut_after(1, end.clone());
        let record = check_cut(&chat(), cut).await;
        assert_eq!(record.response.bytes, half as u64);
        assert_eq!(record.response.body.unwrap().as_str(), parts[0]);
        let cut = json("").chunked(parts).cut_after(1, end.clone());
        check_cut(&chat(), cut).await;
        let record = check_cut(
            &stream(),
            sse(chat_events(&["Sawu", "bona"])).cut_after(3, end),
        )
        .await;
        let usage = record.usage.unwrap();
        assert!(usage.estimated && usage.output > 0, "{usage:?}");
        assert_eq!(record.cost.status, CostStatus::Estimated);
        assert_eq!(record.finish_reason, None);
    }
}

#[tokio::test]
async fn an_event_id_of_the_client_is_echoed_and_kept() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway
        .ask(&chat().with("cf-aig-event-id", "order/42 é"))
        .await;
    assert_eq!(
        reply.header("cf-aig-event-id"),
        reply.header("cf-aig-log-id"),
        "no ASCII"
    );
    let reply = gateway
        .ask(&chat().with("cf-aig-event-id", "order/42"))
        .await;
    assert_eq!(reply.header("cf-aig-event-id"), Some("order/42"));
    let records = gateway.records(2).await;
    let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(reply.header("cf-aig-request-id"), Some(&*ids[1]));
    assert_eq!(reply.header("cf-aig-log-id"), Some(&*ids[1]));
    assert_eq!(
        (&*records[0].event_id, &*records[1].event_id),
        (&*ids[0], "order/42")
    );
    assert!(
        records[0].notes[0].contains("cf-aig-event-id was ignored"),
        "{:?}",
        records[0].notes
    );
    // UUIDv7, lower case.
    assert_eq!(ids[0].as_bytes()[14], b'7');
    assert_eq!(ids[0], ids[0].to_lowercase());
}

#[tokio::test]
async fn a_request_may_ask_for_a_record_or_for_none() {
    let settings = "[[gateways]]\nid = \"quiet\"\ncollect_logs = false\n";
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::with(settings, &upstream).await;
    for (gateway_id, asked, is_kept) in [
        ("default", Some("false"), false),
        ("quiet", None, false),
        ("quiet", Some("nonsense"), false),
        ("quiet", Some("true"), true),
        ("default", None, true),
        ("default", Some("nonsense"), true),
    ] {
        let path = CHAT.replace("default", gateway_id);
        let mut request = Ask::post(&path, PROMPT).with("authorization", "Bearer k");
        if let Some(asked) = asked {
            request = request.with("cf-aig-collect-log", asked);
        }
        let reply = gateway.ask(&request).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(
            reply.header("cf-aig-log-id").is_some(),
            is_kept,
            "{gateway_id} {asked:?}"
        );
        assert!(reply.header("cf-aig-request-id").is_some());
    }
    // The last of them is there, so are all before it.
    let records = gateway.records(3).await;
    let gateways: Vec<_> = records.iter().map(|record| &*record.gateway).collect();
    assert_eq!(gateways, ["quiet", "default", "default"]);
}

#[tokio::test]
async fn metadata_is_five_flat_entries() {
    let header =
        r#"{"a":1.5,"b":true,"c":null,"d":"é","e":{"x":1},"f":"g","cf.user":"u","h":2,"i":3}"#;
    let ascii = header.replace('é', "\\u00e9");
    let record = record_of(
        "",
        &chat().with("cf-aig-metadata", &ascii),
        json(COMPLETION),
    )
    .await;
    let kept = serde_json::to_value(&record.metadata).unwrap();
    assert_eq!(kept, value!({"a":1.5,"b":true,"c":null,"d":"é","f":"g"}));
    assert_eq!(
        record.notes,
        [
            "metadata `e` was left out: values must be text, numbers, booleans or null",
            "metadata `cf.user` was left out: keys that begin with `cf.` are reserved",
            "metadata `h` was left out: at most 5 entries are kept",
            "metadata `i` was left out: at most 5 entries are kept",
        ]
        .map(Box::from)
    );
    let utf8 = record_of(
        "",
        &chat().with("cf-aig-metadata", header),
        json(COMPLETION),
    )
    .await;
    assert_eq!(
        utf8.metadata, record.metadata,
        "UTF-8 in a header is read as such"
    );
    let wrong = record_of("", &chat().with("cf-aig-metadata", "[1]"), json(COMPLETION)).await;
    assert!(wrong.metadata.is_empty());
    assert!(
        wrong.notes[0].starts_with("cf-aig-metadata was ignored: it must be a flat JSON object")
    );
}

#[tokio::test]
async fn a_http_1_0_client_is_served_and_told_apart() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let length = PROMPT.len();
    let head = format!(
        "POST {CHAT} HTTP/1.0\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{PROMPT}"
    );
    client.send(head.as_bytes()).await;
    let all = client.all().await;
    assert!(String::from_utf8(all).unwrap().ends_with(COMPLETION));
    assert_eq!(&*gateway.record().await.http_version, "1.0");
}

#[tokio::test]
async fn stopping_the_server_keeps_every_record() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    for _ in 0..50 {
        gateway.ask(&chat()).await;
    }
    let logs = std::sync::Arc::clone(&gateway.logs);
    gateway.server.stop().await.unwrap();
    use isango_store::logs::LogReader as _;
    let page = logs
        .query(&isango_store::logs::Query {
            limit: 1000,
            ..Default::default()
        })
        .unwrap();
    assert_eq!(page.records.len(), 50);
}
