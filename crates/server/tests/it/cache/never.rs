//! What is never given again, and to whom not.

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status as failing};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, binary};
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use super::{question, status};
use crate::harness::{CHAT, Harness};
use crate::legs::Inbound;

#[tokio::test]
async fn what_is_not_whole_and_final_is_not_given_again() {
    let part = || Bytes::from(COMPLETION);
    for (answer, fill) in [
        (failing(500), "its status is not one that is kept"),
        (failing(404), "its status is not one that is kept"),
        (failing(429), "its status is not one that is kept"),
        (
            Answer::new(202).body("{}"),
            "its status is not one that is kept",
        ),
        (
            Answer::new(206).body("{}"),
            "its status is not one that is kept",
        ),
        (
            json(COMPLETION)
                .cut_after(1, Step::Close)
                .announcing(10_000),
            "the provider broke it off",
        ),
        (
            sse([part(), part()]).cut_after(1, Step::Reset),
            "the provider broke it off",
        ),
        (sse([part()]).trailers(&[("x-a", "b")]), "it has trailers"),
        (json(binary(3_000, 1)), "it is larger than the cache keeps"),
        (sse([binary(3_000, 1)]), "it is larger than the cache keeps"),
        (
            json("{\"key\":\"sk-secret-of-mine\"}"),
            "it repeats a credential",
        ),
    ] {
        let upstream = Upstream::start([answer.clone(), json(COMPLETION)]).await;
        let settings = "[cache]\nmax_entry_bytes = 2000\n";
        let gateway = Harness::with(settings, &upstream).await;
        let ask = Ask::post(CHAT, PROMPT)
            .with("authorization", "Bearer sk-secret-of-mine")
            .with("cf-aig-cache-ttl", "3600");
        let first = gateway.ask(&ask).await;
        assert_eq!(status(&first), "MISS");
        let then = gateway.ask(&ask).await;
        assert_eq!(
            (status(&then), then.text()),
            ("MISS", COMPLETION),
            "{answer:?}"
        );
        assert_eq!(status(&gateway.ask(&ask).await), "HIT");
        let first = gateway.records(1).await.remove(0);
        assert_eq!(
            first.cache.unwrap().fill.as_deref(),
            Some(fill),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_the_client_left_is_not_given_again() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events.clone()).stepwise(), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut leaving = Inbound::Http1.start(&gateway, &question()).await;
    upstream.go();
    leaving.bytes(events[0].len()).await;
    drop(leaving);
    upstream.given_up(0).await;
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    assert_eq!(
        record.cache.unwrap().fill.as_deref(),
        Some("the client left")
    );
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
}

#[tokio::test]
async fn a_compressed_answer_is_for_clients_that_read_it() {
    let plain = json(COMPLETION);
    let upstream = Upstream::start([plain.clone().gzipped(), plain]).await;
    let gateway = Harness::before(&upstream).await;
    let reads = |codings: &str| question().with("accept-encoding", codings);
    let packed = gateway.ask(&reads("gzip")).await;
    assert_eq!(status(&packed), "MISS");
    let again = gateway.ask(&reads("br, gzip;q=0.5")).await;
    assert_eq!(
        (status(&again), again.header("content-encoding")),
        ("HIT", Some("gzip"))
    );
    assert_eq!(again.body, packed.body);
    // Who does not read it is asked for anew, and then all have one that everybody reads.
    let other = gateway.ask(&question()).await;
    assert_eq!((status(&other), other.text()), ("MISS", COMPLETION));
    for ask in [question(), reads("gzip"), reads("br")] {
        let reply = gateway.ask(&ask).await;
        assert_eq!((status(&reply), reply.text()), ("HIT", COMPLETION));
    }
    let reason = gateway.records(3).await.remove(2).cache.unwrap().reason;
    let expected = "it is kept in an encoding that the request does not accept";
    assert_eq!(reason.as_deref(), Some(expected));
}
