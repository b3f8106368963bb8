//! What is never given again, and to whom not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status as failing};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT, binary};
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use super::{asking, question, status};
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

/// Asks twice of a provider that answers `answer` first, and says what became of that.
async fn fill_of(answer: Answer, ask: &Ask) -> String {
    let upstream = Upstream::start([answer, json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    assert_eq!(status(&gateway.ask(ask).await), "MISS");
    gateway.ask(ask).await;
    let first = gateway.records(2).await.remove(0).cache.unwrap();
    let fill = first.fill.unwrap().into_string();
    assert_eq!(upstream.count(), if fill == "stored" { 1 } else { 2 });
    fill
}

#[tokio::test]
async fn an_answer_that_fails_under_a_status_of_success_is_not_given_again() {
    let failed = "it tells of a failure";
    let cut_short = sse([
        "data: {\"choices\":[{\"delta\":{\"content\":\"Sa\"}}]}\n\n",
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":null}}\n\n",
    ]);
    assert_eq!(fill_of(cut_short, &asking(STREAM_PROMPT)).await, failed);
    let overloaded = sse([
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
    ]);
    let claude = Ask::post("/v1/local/default/anthropic/v1/messages", STREAM_PROMPT)
        .with("x-api-key", "k-of-the-client")
        .with("cf-aig-cache-ttl", "3600");
    assert_eq!(fill_of(overloaded, &claude).await, failed);
    let whole = json("{\"error\":{\"message\":\"m\",\"code\":\"upstream_failed\"}}");
    assert_eq!(fill_of(whole, &question()).await, failed);
}

#[tokio::test]
async fn an_answer_whose_end_cannot_be_told_from_a_break_is_not_given_again() {
    let events = chat_events(&["Sa", "wu"]);
    let endless = |kind: &str, parts: &[Bytes]| {
        let answer = Answer::new(200).header("content-type", kind);
        answer.until_close(parts.to_vec())
    };
    let json = |text: &'static str| endless("application/json", &[text.into()]);
    let stream = |events: &[Bytes]| endless("text/event-stream", events);
    let untold = "its end cannot be told from a break";
    for (answer, fill) in [
        (json(COMPLETION), "stored"),
        (json(&COMPLETION[..100]), untold),
        (stream(&events), "stored"),
        (stream(&events[..2]), untold),
        (endless("audio/mpeg", &[binary(1_000, 3)]), untold),
    ] {
        assert_eq!(fill_of(answer, &question()).await, fill);
    }
}

#[tokio::test]
async fn an_answer_that_varies_with_what_makes_no_question_is_not_given_again() {
    let varying = |names: &str| json(COMPLETION).header("vary", names);
    let fill = "it varies with more than the question";
    for names in ["*", "User-Agent", "accept-encoding, X-Forwarded-For"] {
        assert_eq!(fill_of(varying(names), &question()).await, fill, "{names}");
    }
    for names in ["Accept-Encoding", "Origin", "authorization, accept", ""] {
        assert_eq!(
            fill_of(varying(names), &question()).await,
            "stored",
            "{names}"
        );
    }
}

#[tokio::test]
async fn a_credential_is_not_kept_however_it_is_written() {
    let secret = "sk-secret/of+mine";
    let ask = question().with("x-api-key", secret);
    let packed = json(format!("{{\"said\":\"{secret}\"}}")).gzipped();
    let encoded = format!("{{\"said\":\"{}\"}}", STANDARD.encode(secret));
    let escaped = "{\"said\":\"sk-secret\\/of+mine\"}";
    for answer in [packed, json(encoded), json(escaped)] {
        let shown = format!("{answer:?}");
        let fill = fill_of(answer, &ask.clone().with("accept-encoding", "gzip")).await;
        assert_eq!(fill, "it repeats a credential", "{shown}");
    }
}
