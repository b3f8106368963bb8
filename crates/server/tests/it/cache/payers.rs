//! Who pays for an answer that several read: the one that asked, however long its client stays.

use bytes::Bytes;
use isango_testkit::answer::{Answer, json, sse};
use isango_testkit::client::{Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, binary};
use isango_testkit::upstream::Upstream;
use isango_types::Record;
use isango_types::record::Outcome;

use super::{asking, gateway, question, under_way};
use crate::harness::Harness;
use crate::legs::Inbound;

const LIMIT: &str = "[[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 100_000\n\
                     window = \"day\"\n";

/// A stream that tells its usage of its own accord.
const STREAM: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#;

/// The record of the exchange that asked, and those of the others.
async fn payer(gateway: &Harness, count: usize) -> (Record, Vec<Record>) {
    let mut records = gateway.records(count).await;
    assert_eq!(records.len(), count);
    let at = records.iter().position(|one| !one.attempts.is_empty());
    (records.remove(at.unwrap()), records)
}

fn charged(record: &Record) -> u64 {
    record.limits.iter().map(|one| one.charged).sum()
}

#[tokio::test]
async fn who_asked_pays_for_all_of_an_answer_that_others_read_on() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    for leaves_after in 0..events.len() {
        let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
        let gateway = Harness::with(&gateway(LIMIT), &upstream).await;
        let ask = asking(STREAM);
        let mut first = Inbound::Http1.start(&gateway, &ask).await;
        let other = Inbound::Http2.start(&gateway, &ask).await;
        for event in &events[..leaves_after] {
            upstream.go();
            first.bytes(event.len()).await;
        }
        drop(first);
        under_way(&gateway, 1).await;
        (leaves_after..events.len()).for_each(|_| upstream.go());
        assert_eq!(other.rest().await.1, End::Whole);
        let (payer, others) = payer(&gateway, 2).await;
        assert_eq!(payer.outcome, Outcome::ClientLeft, "{leaves_after}");
        assert_eq!((payer.usage.unwrap().total(), charged(&payer)), (22, 22));
        assert_eq!(charged(&others[0]), 0);
        let saved = others[0].cache.as_ref().unwrap().saved.unwrap();
        assert_eq!(
            (saved.usage, saved.nanousd),
            (payer.usage, payer.cost.nanousd)
        );
        assert_eq!(payer.cache.unwrap().fill.as_deref(), Some("stored"));
    }
}

#[tokio::test]
async fn who_asked_pays_for_what_came_before_all_had_left() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = Harness::with(&gateway(LIMIT), &upstream).await;
    let ask = asking(STREAM);
    let first = Inbound::Http1.start(&gateway, &ask).await;
    let mut other = Inbound::Http1.start(&gateway, &ask).await;
    drop(first);
    under_way(&gateway, 1).await;
    let most = events.len() - 2;
    for event in &events[..most] {
        upstream.go();
        other.bytes(event.len()).await;
    }
    drop(other);
    upstream.given_up(0).await;
    let (payer, _) = payer(&gateway, 2).await;
    let came: u64 = events[..most].iter().map(|event| event.len() as u64).sum();
    assert_eq!(payer.response.bytes, came);
    assert!(
        charged(&payer) > 0 && payer.cost.nanousd > Some(0),
        "{payer:?}"
    );
}

/// A client that reads nothing of what it asked for does not get it for others for nothing.
#[tokio::test]
async fn who_asked_and_stalls_pays_for_what_others_have_read() {
    let padding = binary(6 << 20, 3)
        .iter()
        .map(|byte| b'a' + byte % 26)
        .collect::<Vec<u8>>();
    let padding = String::from_utf8(padding).unwrap();
    let body = COMPLETION.replace("Sawubona.", &padding);
    let upstream = Upstream::start([json(body.clone())]).await;
    let gateway = Harness::with(&gateway(LIMIT), &upstream).await;
    let mut stalled = Client::connect_narrow(gateway.addr, 4_096).await;
    stalled.send_ask(&question()).await;
    upstream.request(0).await;
    let reply = gateway.ask(&question()).await;
    assert_eq!((reply.body.len(), reply.end), (body.len(), End::Whole));
    drop(stalled);
    let (payer, _) = payer(&gateway, 2).await;
    assert_eq!(payer.outcome, Outcome::ClientLeft);
    assert_eq!((payer.usage.unwrap().total(), charged(&payer)), (24, 24));
}

#[tokio::test]
async fn a_client_that_is_cut_for_its_slowness_is_not_the_providers_fault() {
    let part = binary(256 << 10, 5);
    let parts: Vec<Bytes> = vec![part; 64];
    let answer = Answer::new(200).chunked(parts).stepwise();
    let upstream = Upstream::start([answer]).await;
    let settings = "[cache]\nmax_entry_bytes = 1_048_576\n";
    let gateway = Harness::with(settings, &upstream).await;
    let mut stalled = Client::connect_narrow(gateway.addr, 4_096).await;
    stalled.send_ask(&question()).await;
    upstream.request(0).await;
    let mut other = Inbound::Http1.start(&gateway, &question()).await;
    for _ in 0..64 {
        upstream.go();
        assert_eq!(other.bytes(256 << 10).await.len(), 256 << 10);
    }
    assert_eq!(other.rest().await.1, End::Whole);
    let late = stalled.reply().await;
    assert_eq!(late.end, End::Cut);
    let (payer, _) = payer(&gateway, 2).await;
    assert_eq!(payer.outcome, Outcome::Stopped, "{:?}", payer.error);
    let note = "its client read too slowly: others had the answer, and it was not held for it";
    assert!(
        payer.notes.iter().any(|one| &**one == note),
        "{:?}",
        payer.notes
    );
}
