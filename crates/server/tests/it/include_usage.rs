//! `stream_options.include_usage` is asked for where a stream would not tell its usage; the client
//! sees nothing of it.

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, Client, End, Reply};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT, cut};
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;
use isango_types::{Record, Usage};

use crate::harness::{CHAT, Harness};

const AZURE: &str = "/v1/local/default/azure-openai/res/dep/chat/completions";

fn post(path: &str, body: &str) -> Ask {
    Ask::post(path, body.to_owned()).with("authorization", "Bearer k")
}

/// What the option makes of [`STREAM_PROMPT`].
fn edited(body: &str) -> String {
    body.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1)
}

/// Sends `request` through; what the provider received, the reply, the record.
async fn through(request: &Ask, answer: Answer) -> (String, Reply, Record) {
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(request).await;
    let received = upstream.request(0).await;
    let length = received
        .head
        .header("content-length")
        .map(|length| length.parse().unwrap());
    assert_eq!(
        length,
        Some(received.body.len()),
        "the length is that of what was sent"
    );
    let body = String::from_utf8(received.body).unwrap();
    (body, reply, gateway.record().await)
}

/// The stream as the client may see it: without the usage frame, which is the last but one.
fn shown(events: &[Bytes]) -> Vec<u8> {
    let mut shown = events.to_vec();
    shown.remove(events.len() - 2);
    shown.concat()
}

#[tokio::test]
async fn a_stream_is_asked_for_its_usage_and_shows_none_of_it() {
    let events = chat_events(&["Sawu", "bona", ", ümhlaba 🌍"]);
    for (path, body) in [
        (CHAT, STREAM_PROMPT.to_owned()),
        (AZURE, STREAM_PROMPT.to_owned()),
        (
            CHAT,
            "{ \"stream\" : true,\n\"model\":\"gpt-4o\",\"x\":1e3}".to_owned(),
        ),
        (
            &*format!("{AZURE}?api-version=2024-10-21"),
            STREAM_PROMPT.to_owned(),
        ),
        (
            &*format!("{AZURE}?api-version=2024-09-01-preview"),
            STREAM_PROMPT.to_owned(),
        ),
        (
            &*format!("{AZURE}?api-version=preview"),
            STREAM_PROMPT.to_owned(),
        ),
    ] {
        let (received, reply, record) = through(&post(path, &body), sse(events.clone())).await;
        assert_eq!(received, edited(&body), "{path}");
        assert_eq!((reply.status(), reply.end), (200, End::Whole));
        assert_eq!(reply.body, shown(&events), "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(
            record.usage,
            Some(Usage {
                input: 19,
                output: 3,
                ..Usage::default()
            })
        );
        // On record is what the client sent.
        assert_eq!(record.request.body.unwrap().as_str(), body);
        assert_eq!(record.request.bytes, body.len() as u64);
        assert!(record.notes.is_empty(), "{:?}", record.notes);
    }
}

#[tokio::test]
async fn the_frame_is_found_however_the_stream_is_cut() {
    let events = chat_events(&["Sawu", "bona"]);
    let whole: Bytes = events.concat().into();
    for (longest, seed) in [(1, 1), (3, 2), (17, 3), (64, 4), (300, 5), (whole.len(), 6)] {
        let pieces = cut(&whole, longest, seed);
        let (_, reply, record) = through(&post(CHAT, STREAM_PROMPT), sse(pieces)).await;
        assert_eq!(
            reply.body,
            shown(&events),
            "pieces of up to {longest} bytes"
        );
        assert_eq!(record.usage.unwrap().total(), 21);
        assert_eq!(record.outcome, Outcome::Answered);
    }
    // Other line ends.
    let text = String::from_utf8(whole.to_vec()).unwrap();
    let crlf: Vec<Bytes> = events
        .iter()
        .map(|e| Bytes::from(String::from_utf8_lossy(e).replace('\n', "\r\n")))
        .collect();
    let pieces = cut(&text.replace('\n', "\r\n").into(), 5, 7);
    let (_, reply, _) = through(&post(CHAT, STREAM_PROMPT), sse(pieces)).await;
    assert_eq!(reply.body, shown(&crlf));
}

#[tokio::test]
async fn what_is_no_usage_frame_stays() {
    let events = chat_events(&["a"]);
    let filters = Bytes::from_static(
        b"data: {\"choices\":[],\"id\":\"\",\"model\":\"\",\"prompt_filter_results\":[]}\n\n",
    );
    let comment = Bytes::from_static(b": keep-alive\n\n");
    let mut odd = vec![comment.clone(), filters.clone()];
    odd.extend(events.iter().cloned());
    odd.push(comment);
    let (_, reply, _) = through(&post(AZURE, STREAM_PROMPT), sse(odd.clone())).await;
    let mut expected = odd.clone();
    expected.remove(odd.len() - 3);
    assert_eq!(reply.body, expected.concat());
    // A provider that does not know the option sends nothing more than without it.
    let silent: Vec<Bytes> = events
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != events.len() - 2)
        .map(|(_, e)| e.clone())
        .collect();
    let (_, reply, record) = through(&post(CHAT, STREAM_PROMPT), sse(silent.clone())).await;
    assert_eq!(reply.body, silent.concat());
    assert!(record.usage.unwrap().estimated);
}

#[tokio::test]
async fn the_word_of_the_client_is_left_alone() {
    let events = chat_events(&["a"]);
    for options in [
        r#"{"include_usage":true}"#,
        r#"{"include_usage":false}"#,
        r#"{"include_usage":true,"include_obfuscation":false}"#,
    ] {
        let body = STREAM_PROMPT.replacen('{', &format!(r#"{{"stream_options":{options},"#), 1);
        let (received, reply, record) = through(&post(CHAT, &body), sse(events.clone())).await;
        assert_eq!(received, body);
        assert_eq!(reply.body, events.concat(), "what it asked for, it gets");
        assert_eq!(record.usage.unwrap().total(), 20);
    }
    // Other options beside it stay.
    let body = STREAM_PROMPT.replacen(
        '{',
        r#"{"stream_options":{"include_obfuscation":false},"#,
        1,
    );
    let (received, reply, _) = through(&post(CHAT, &body), sse(events.clone())).await;
    let received: serde_json::Value = serde_json::from_str(&received).unwrap();
    assert_eq!(
        received["stream_options"],
        serde_json::json!({"include_obfuscation":false,"include_usage":true})
    );
    assert_eq!(reply.body, shown(&events));
}

#[tokio::test]
async fn requests_that_cannot_take_the_option_cross_as_they_are() {
    let with_data = STREAM_PROMPT.replacen('{', r#"{"data_sources":[{"type":"azure_search"}],"#, 1);
    let dated = |version: &str| format!("{AZURE}?api-version={version}");
    for (path, body) in [
        (CHAT.to_owned(), PROMPT.to_owned()),
        (CHAT.to_owned(), STREAM_PROMPT.replace("true", "false")),
        (CHAT.to_owned(), STREAM_PROMPT.replacen('{', "{ broken", 1)),
        (CHAT.to_owned(), "[true]".to_owned()),
        (AZURE.to_owned(), with_data),
        (dated("2024-06-01"), STREAM_PROMPT.to_owned()),
        (dated("2024-08-01-preview"), STREAM_PROMPT.to_owned()),
        (dated("2023-12-01-preview"), STREAM_PROMPT.to_owned()),
        (
            CHAT.replace("chat/completions", "responses"),
            STREAM_PROMPT.to_owned(),
        ),
        (
            CHAT.replace("chat/completions", "embeddings"),
            STREAM_PROMPT.to_owned(),
        ),
        (
            "/v1/local/default/anthropic/v1/messages".to_owned(),
            STREAM_PROMPT.to_owned(),
        ),
    ] {
        let events = chat_events(&["a"]);
        let request = post(&path, &body).with("accept-encoding", "gzip");
        let (received, reply, _) = through(&request, sse(events.clone())).await;
        assert_eq!(received, body, "{path}");
        assert_eq!(reply.body, events.concat(), "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_not_touched() {
    let (received, reply, record) = through(&post(CHAT, STREAM_PROMPT), json(COMPLETION)).await;
    assert_eq!(
        (received, reply.text()),
        (edited(STREAM_PROMPT), COMPLETION)
    );
    assert_eq!(
        reply.header("content-length"),
        Some(&*COMPLETION.len().to_string())
    );
    assert_eq!(record.usage.unwrap().total(), 24);
    let (_, reply, _) = through(&post(CHAT, STREAM_PROMPT), status(429)).await;
    assert_eq!(reply.status(), 429);
    assert!(reply.text().contains("scripted"));
}

#[tokio::test]
async fn a_stream_that_will_be_edited_is_not_asked_for_compressed() {
    let events = chat_events(&["a"]);
    let upstream = Upstream::start([sse(events.clone())]).await;
    let gateway = Harness::before(&upstream).await;
    let request = post(CHAT, STREAM_PROMPT).with("accept-encoding", "gzip, br");
    assert_eq!(gateway.ask(&request).await.body, shown(&events));
    let received = upstream.request(0).await;
    assert_eq!(received.head.header("accept-encoding"), Some("identity"));
    // One that compresses all the same is relayed as it came, and still understood.
    let answer = sse(events.clone()).gzipped();
    let (_, reply, record) = through(&request, answer).await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut decoded = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&*reply.body),
        &mut decoded,
    )
    .unwrap();
    assert_eq!(decoded, events.concat());
    assert_eq!(record.usage.unwrap().total(), 20);
}

/// A provider that does not know the option.
fn refusing() -> Answer {
    let body = r#"{"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error","param":null,"code":null}}"#;
    Answer::new(400)
        .header("content-type", "application/json")
        .body(body)
}

#[tokio::test]
async fn a_provider_that_refuses_the_option_is_asked_without_it_and_remembered() {
    let events: Vec<Bytes> = {
        let mut events = chat_events(&["Sawubona"]);
        events.remove(events.len() - 2);
        events
    };
    let told = events.clone();
    let upstream = Upstream::start_by(move |received| {
        match String::from_utf8_lossy(&received.body).contains("stream_options") {
            true => refusing(),
            false => sse(told.clone()),
        }
    })
    .await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&post(CHAT, STREAM_PROMPT)).await;
    assert_eq!((reply.status(), &reply.body), (200, &events.concat()));
    assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
    let sent: Vec<_> = upstream
        .requests()
        .iter()
        .map(|r| String::from_utf8(r.body.clone()).unwrap())
        .collect();
    assert_eq!(sent, [edited(STREAM_PROMPT), STREAM_PROMPT.to_owned()]);
    let second = upstream.request(1).await;
    assert_eq!(
        second.head.header("content-length"),
        Some(&*STREAM_PROMPT.len().to_string())
    );
    // From now on at once.
    let reply = gateway.ask(&post(CHAT, STREAM_PROMPT)).await;
    assert_eq!((reply.status(), upstream.count()), (200, 3));
    assert_eq!(upstream.request(2).await.body, STREAM_PROMPT.as_bytes());
    let records = gateway.records(2).await;
    let statuses: Vec<_> = records[0]
        .attempts
        .iter()
        .map(|attempt| attempt.status)
        .collect();
    assert_eq!(statuses, [Some(400), Some(200)]);
    assert_eq!(
        (records[0].status, records[0].error.is_none()),
        (Some(200), true)
    );
    assert!(
        records[0].notes[0].contains("stream_options"),
        "{:?}",
        records[0].notes
    );
    assert!(records[0].usage.unwrap().estimated && records[1].usage.unwrap().estimated);
    assert_eq!(records[1].attempts.len(), 1);
}

#[tokio::test]
async fn another_400_is_the_clients() {
    let upstream = Upstream::start([status(400)]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&post(CHAT, STREAM_PROMPT)).await;
    assert_eq!((reply.status(), upstream.count()), (400, 1));
    assert!(reply.text().contains("scripted"));
    // A client that asked for the option itself gets the refusal itself.
    let upstream = Upstream::start([refusing()]).await;
    let gateway = Harness::before(&upstream).await;
    let own = edited(STREAM_PROMPT);
    let reply = gateway.ask(&post(CHAT, &own)).await;
    assert_eq!((reply.status(), upstream.count()), (400, 1));
    assert!(reply.text().contains("Unrecognized"));
}

#[tokio::test]
async fn a_client_that_leaves_an_edited_stream_leaves_what_it_saw() {
    let events = chat_events(&["one", "two"]);
    let upstream = Upstream::start([sse(events).cut_after(2, Step::Stall)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&post(CHAT, STREAM_PROMPT)).await;
    client.head().await;
    while !String::from_utf8_lossy(&client.piece().await.unwrap()).contains("one") {}
    drop(client);
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    assert!(record.usage.unwrap().estimated);
    upstream.given_up(0).await;
}
