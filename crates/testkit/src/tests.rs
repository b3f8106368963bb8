//! The testkit against itself: what the two ends promise each other.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::{Answer, Step, json, sse, status};
use crate::client::{Ask, Client, End, ask};
use crate::fixtures::{self, COMPLETION, PROMPT};
use crate::h2::H2Client;
use crate::tls::Tls;
use crate::upstream::{ClosedBy, Upstream};
use crate::within;

#[tokio::test]
async fn answers_in_turn_and_repeats_the_last() {
    let upstream = Upstream::start([status(503), json(COMPLETION)]).await;
    let mut client = Client::connect(upstream.addr()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.ask(&Ask::post("/chat", PROMPT)).await.status());
    }
    assert_eq!(statuses, [503, 200, 200]);
    assert_eq!((upstream.count(), upstream.connections().len()), (3, 1));
    let received = upstream.request(1).await;
    assert_eq!(
        (&*received.head.method, &*received.head.target),
        ("POST", "/chat")
    );
    assert_eq!(received.body, PROMPT.as_bytes());
    assert_eq!(received.digest, fixtures::digest(PROMPT.as_bytes()));
    assert!(
        received
            .head
            .raw
            .starts_with(b"POST /chat HTTP/1.1\r\nhost: localhost\r\n")
    );
}

#[tokio::test]
async fn an_answer_may_depend_on_the_request() {
    let upstream = Upstream::start_by(|received| json(received.body.clone())).await;
    let reply = ask(
        upstream.addr(),
        &Ask::post("/echo", "").chunked(["ab", "c"]),
    )
    .await;
    assert_eq!(reply.text(), "abc");
}

#[tokio::test]
async fn a_chunk_leaves_only_when_the_test_says_so() {
    let upstream = Upstream::start([sse(["a\n\n", "b\n\n"]).stepwise()]).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.send_ask(&Ask::get("/")).await;
    assert_eq!(
        client.head().await.header("transfer-encoding"),
        Some("chunked")
    );
    for expected in ["a\n\n", "b\n\n"] {
        let early = tokio::time::timeout(Duration::from_millis(20), client.piece()).await;
        assert!(early.is_err(), "{early:?} came before its time");
        upstream.go();
        assert_eq!(client.piece().await.unwrap(), expected);
    }
    assert_eq!(client.piece().await, None);
    assert_eq!(client.end(), Some(End::Whole));
}

async fn check_end(answer: Answer, body: &str, end: End) {
    let upstream = Upstream::start([answer.clone()]).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.send_ask(&Ask::get("/")).await;
    client.head().await;
    let mut read = Vec::new();
    while let Some(piece) = client.piece().await {
        read.extend_from_slice(&piece);
        upstream.go();
    }
    assert_eq!(
        (std::str::from_utf8(&read).unwrap(), client.end()),
        (body, Some(end)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_whole_answer_is_told_from_a_cut_one_in_every_framing() {
    let parts = ["one", "two"];
    // A reset may overtake what was sent before it; so the script waits until it was read.
    let reset = |answer: Answer| answer.cut_after(1, Step::Wait).then(Step::Reset);
    let ok = || Answer::new(200);
    check_end(ok().parts(parts), "onetwo", End::Whole).await;
    check_end(ok().parts(parts).cut_after(1, Step::Close), "one", End::Cut).await;
    check_end(reset(ok().parts(parts)), "one", End::Reset).await;
    check_end(ok().chunked(parts), "onetwo", End::Whole).await;
    check_end(
        ok().chunked(parts).cut_after(1, Step::Close),
        "one",
        End::Cut,
    )
    .await;
    check_end(reset(ok().chunked(parts)), "one", End::Reset).await;
    check_end(ok().until_close(parts), "onetwo", End::Whole).await;
    check_end(reset(ok().until_close(parts)), "one", End::Reset).await;
    check_end(ok().parts(parts).announcing(3), "one", End::Whole).await;
}

#[tokio::test]
async fn heads_without_bodies_end_at_once() {
    let upstream = Upstream::start([
        json(COMPLETION),
        Answer::new(204),
        Answer::new(200).body("x").interim(103, &[("link", "</a>")]),
    ])
    .await;
    let mut client = Client::connect(upstream.addr()).await;
    let head = client.ask(&Ask::new("HEAD", "/")).await;
    let length = COMPLETION.len().to_string();
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (Some(&*length), 0)
    );
    assert_eq!(
        client.ask(&Ask::get("/")).await.header("content-length"),
        None
    );
    let last = client.ask(&Ask::get("/")).await;
    assert_eq!((last.text(), last.interim[0].status), ("x", 103));
    assert_eq!(last.interim[0].header("link"), Some("</a>"));
}

#[tokio::test]
async fn trailers_cross_in_both_directions() {
    let upstream = Upstream::start([Answer::new(200).chunked(["x"]).trailers(&[("t", "1")])]).await;
    let asked = Ask::new("POST", "/").chunked(["body"]).trailer("u", "2");
    let reply = ask(upstream.addr(), &asked).await;
    assert_eq!(reply.trailers, [("t".to_owned(), b"1".to_vec())]);
    assert_eq!(
        upstream.request(0).await.trailers,
        [("u".to_owned(), b"2".to_vec())]
    );
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed_while_the_script_waits() {
    let upstream = Upstream::start([sse(["a\n\n"]).then(Step::Stall)]).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.send_ask(&Ask::get("/")).await;
    client.head().await;
    drop(client);
    assert_eq!(upstream.closed(0).await.by, ClosedBy::PeerFin);
    let other = Client::connect(upstream.addr()).await;
    other.reset();
    assert_eq!(upstream.closed(1).await.by, ClosedBy::PeerReset);
}

#[tokio::test]
async fn an_early_answer_sees_how_much_of_the_body_has_come() {
    let answer = Answer::new(200)
        .body("done")
        .first(Step::ReadSome(3))
        .early();
    let upstream = Upstream::start([answer]).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.send_head(&Ask::post("/", "abcdef")).await;
    client.send(b"abc").await;
    assert_eq!(client.reply().await.text(), "done");
    let received = upstream.body_bytes(0, 3).await;
    assert_eq!((received.body_bytes, received.complete), (3, false));
    client.send(b"def").await;
    assert_eq!(upstream.request(0).await.body, b"abcdef");
}

#[tokio::test]
async fn a_stalled_reader_stalls_what_repeats() {
    let block = Bytes::from(vec![b'x'; 64 << 10]);
    let flood = Answer::new(200)
        .chunked::<Bytes>([])
        .then(Step::Repeat(block, 1_600));
    let upstream = Upstream::start([flood]).await;
    let mut client = Client::connect_narrow(upstream.addr(), 16 << 10).await;
    client.send_ask(&Ask::get("/")).await;
    client.head().await;
    let mut before = u64::MAX;
    while upstream.sent_bytes() != before {
        before = upstream.sent_bytes();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        before < 100 << 20,
        "{before} bytes left although nobody read"
    );
    let mut read = 0;
    while let Some(piece) = client.piece().await {
        read += piece.len();
    }
    assert_eq!((read, client.end()), (1_600 * (64 << 10), Some(End::Whole)));
}

#[tokio::test]
async fn tls_speaks_what_alpn_chose() {
    let tls = Tls::new();
    let upstream = Upstream::start_tls([json("{}")], &tls, &["h2", "http/1.1"]).await;
    let mut first = Client::connect_tls(upstream.addr(), &tls, &["http/1.1"]).await;
    assert_eq!(first.ask(&Ask::get("/one")).await.text(), "{}");
    let mut second = H2Client::connect_tls(upstream.addr(), &tls).await;
    assert_eq!(second.ask(&Ask::get("/two")).await.text(), "{}");
    let versions: Vec<u8> = upstream
        .requests()
        .iter()
        .map(|request| request.head.version)
        .collect();
    assert_eq!(versions, [11, 20]);
}

#[tokio::test]
async fn http2_sends_frames_trailers_and_cuts() {
    let upstream = Upstream::start_h2([
        sse(["a", "b"]).stepwise().trailers(&[("t", "1")]),
        sse(["a", "b"]).cut_after(1, Step::Reset),
        sse(["a", "b"]).cut_after(1, Step::Stall),
        sse(["a", "b"]).cut_after(1, Step::Close),
    ])
    .await;
    let mut client = H2Client::connect(upstream.addr()).await;
    let asked = Ask::post("/", "").chunked(["x", "yz"]).trailer("u", "2");
    let mut answer = client.start(&asked).await;
    for expected in ["a", "b"] {
        upstream.go();
        assert_eq!(answer.piece().await.unwrap(), expected);
    }
    let whole = answer.rest().await;
    assert_eq!(
        (whole.end, &whole.trailers[0].1[..]),
        (End::Whole, &b"1"[..])
    );
    let received = upstream.request(0).await;
    assert_eq!(
        (&received.body[..], &received.trailers[0].1[..]),
        (&b"xyz"[..], &b"2"[..])
    );

    assert_eq!(client.ask(&Ask::get("/")).await.end, End::Reset);
    let mut stalled = client.start(&Ask::get("/")).await;
    assert_eq!(stalled.piece().await.unwrap(), "a");
    drop(stalled);
    upstream.given_up(2).await;
    assert_eq!(client.ask(&Ask::get("/")).await.end, End::Reset);
    assert_eq!(upstream.closed(0).await.by, ClosedBy::Script);
}

#[tokio::test]
async fn gzip_is_flushed_with_each_part() {
    let plain = ["data: 1\n\n", "data: 2\n\n"];
    let upstream = Upstream::start([sse(plain).gzipped()]).await;
    let reply = ask(upstream.addr(), &Ask::get("/")).await;
    let mut decoded = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&reply.body[..]);
    std::io::Read::read_to_string(&mut decoder, &mut decoded).unwrap();
    assert_eq!(decoded, plain.concat());
}

#[tokio::test]
async fn every_cut_of_every_stream_is_the_stream() {
    for (name, stream) in fixtures::sse::streams() {
        for (how, pieces) in fixtures::sse::cuts(&stream) {
            assert_eq!(pieces.concat(), stream, "{name} cut {how}");
        }
    }
}

#[test]
fn the_corpus_is_large_varied_and_the_same_each_time() {
    let corpus = fixtures::json::corpus();
    assert_eq!(corpus, fixtures::json::corpus());
    let sound = |body: &Bytes| serde_json::from_slice::<serde_json::Value>(body).is_ok();
    let count = corpus.iter().filter(|(_, body)| sound(body)).count();
    assert!(
        corpus.len() > 350 && count > 80,
        "{count} of {} are sound",
        corpus.len()
    );
    let mut names: Vec<_> = corpus.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), corpus.len());
}

#[test]
fn a_multipart_form_has_the_size_it_was_asked_for() {
    let (content_type, pieces) = fixtures::multipart(1_000_003);
    let body = pieces.concat();
    let boundary = content_type.split_once("boundary=").unwrap().1;
    assert!(body.ends_with(format!("--{boundary}--\r\n").as_bytes()));
    assert!(
        (1_000_003..1_000_503).contains(&body.len()),
        "{}",
        body.len()
    );
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited 10s for nothing")]
async fn waiting_has_an_end() {
    within("nothing", std::future::pending::<()>()).await;
}
