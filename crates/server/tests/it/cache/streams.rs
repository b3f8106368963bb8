//! Streams that are given again.

use std::time::Duration;

use bytes::Bytes;
use isango_testkit::answer::{Step, sse};
use isango_testkit::client::{Client, End};
use isango_testkit::fixtures::STREAM_PROMPT;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::upstream::Upstream;

use super::{asking, gateway, question, status};
use crate::harness::Harness;
use crate::legs::Inbound;

#[tokio::test]
async fn a_stream_is_given_again_as_a_stream_with_its_frames() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let upstream = Upstream::start([sse(events.clone())]).await;
        let gateway = Harness::before(&upstream).await;
        // The gateway asks for the usage itself, and takes its frame out, both times.
        let usage = events.len() - 2;
        let told: Vec<&Bytes> = events
            .iter()
            .enumerate()
            .filter_map(|(at, event)| (at != usage).then_some(event))
            .collect();
        for expected in ["MISS", "HIT", "HIT"] {
            let answer = inbound.start(&gateway, &asking(STREAM_PROMPT)).await;
            let head = answer.head().clone();
            assert_eq!(head.header("cf-aig-cache-status"), Some(expected));
            assert_eq!(head.header("content-length"), None);
            let kind = Some("text/event-stream; charset=utf-8");
            assert_eq!(head.header("content-type"), kind);
            let (body, end) = answer.rest().await;
            assert_eq!(
                (body, end),
                (
                    told.iter().copied().cloned().collect::<Vec<_>>().concat(),
                    End::Whole
                )
            );
        }
        assert_eq!(upstream.count(), 1);
        let records = gateway.records(3).await;
        assert_eq!(records[0].usage.unwrap().total(), 22);
        let saved = records[2].cache.as_ref().unwrap().saved.unwrap();
        assert_eq!(saved.usage, records[0].usage);
        assert!(records[2].stream);
        assert_eq!(records[2].response.events, records[0].response.events);
    }
}

#[tokio::test]
async fn the_frames_of_a_kept_stream_are_those_that_came() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let ask = asking(r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#);
    let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = Harness::before(&upstream).await;
    let mut reading = Inbound::Http1.start(&gateway, &ask).await;
    for event in &events {
        upstream.go();
        assert_eq!(reading.piece().await.unwrap(), event);
    }
    assert_eq!(reading.rest().await.1, End::Whole);
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&ask.with("connection", "close")).await;
    let raw = String::from_utf8(client.all().await).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("cf-aig-cache-status: HIT"), "{head}");
    let chunk = |event: &Bytes| {
        let text = std::str::from_utf8(event).unwrap();
        format!("{:X}\r\n{text}\r\n", event.len())
    };
    let chunks: String = events.iter().map(chunk).collect();
    assert_eq!(body, chunks + "0\r\n\r\n");
}

#[tokio::test]
async fn a_stream_can_be_given_again_at_its_own_pace() {
    const PAUSE: Duration = Duration::from_millis(150);
    let [one, two] = ["data: 1\n\n", "data: [DONE]\n\n"].map(Bytes::from);
    let answer = sse([one.clone()])
        .then(Step::Pause(PAUSE))
        .then(Step::Data(two));
    let upstream = Upstream::start([answer]).await;
    let settings = gateway("cache_replay = \"recorded\"");
    let gateway = Harness::with(&settings, &upstream).await;
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    let mut again = Inbound::Http1.start(&gateway, &question()).await;
    assert_eq!(again.head().header("cf-aig-cache-status"), Some("HIT"));
    again.bytes(one.len()).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(again.rest().await.1, End::Whole);
    assert!(begun.elapsed() > PAUSE / 2, "{:?}", begun.elapsed());
}
