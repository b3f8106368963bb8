//! Heads of HTTP/1 that are no request: the gateway answers as it answers other refusals, leaves a
//! record, and closes the connection.

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Client, End, Reply, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::h2::H2Client;
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use crate::errors::Expected;
use crate::harness::{CHAT, Harness, recorded};
use crate::legs::{before, pem, providers, with};

const MALFORMED: (u16, u16, &str) = (400, 3008, "the head of the request is not valid HTTP");
const TOO_LARGE: (u16, u16, &str) = (
    431,
    3009,
    "the head of the request is too large, or has too many headers",
);
const TOO_LONG: (u16, u16, &str) = (414, 3017, "the path of the request is too long");

/// The refusal that ends a connection, and its record, which is the `index`-th.
async fn check_refused(
    what: &str,
    client: &mut Client,
    (gateway, index): (&Harness, usize),
    (status, code, message): (u16, u16, &str),
) {
    let reply = client.reply().await;
    let record = gateway.records(index + 1).await.remove(index);
    Expected::refusal(status, code, message).check(what, &reply, &record);
    // In HTTP/1.0, which the request before it spoke, that goes without saying.
    let close = (reply.head.version == 11).then_some("close");
    assert_eq!(reply.header("connection"), close, "{what}");
    assert!(reply.header("date").is_some(), "{what}");
    let length = reply.body.len().to_string();
    assert_eq!(reply.header("content-length"), Some(&*length), "{what}");
    assert_eq!(client.all().await, b"", "{what}: the connection ends");
    assert_eq!(
        [&record.method, &record.path, &record.http_version].map(|known| &**known),
        [""; 3],
        "{what}"
    );
    assert_eq!(
        [&record.account, &record.gateway].map(|known| &**known),
        [""; 2]
    );
    assert_eq!((record.provider, record.request.bytes), (None, 0), "{what}");
}

/// Heads that hyper refuses, and how; each holds a secret.
fn refused_heads() -> Vec<(String, (u16, u16, &'static str))> {
    let with = |fields: &str| format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n");
    let secret = "authorization: Bearer sk-secret";
    let many: String = (0..100).map(|index| format!("x-{index}: v\r\n")).collect();
    let mut heads: Vec<_> = [
        "SSH-2.0-OpenSSH_9.9 sk-secret\r\n\r\n".to_owned(),
        format!("GET {CHAT}?key=sk-secret HTTP/9.9\r\nhost: x\r\n\r\n"),
        format!("GET {CHAT}?key=sk-secret HTTP/2.0\r\nhost: x\r\n\r\n"),
        format!("PO(ST {CHAT}?key=sk-secret HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("GET {CHAT}?key=sk-secret a HTTP/1.1\r\nhost: x\r\n\r\n"),
        with(&format!("{secret}\r\nbad name: sk-secret")),
        with(&format!("{secret}\r\ncontent-length: -1")),
        with(&format!(
            "{secret}\r\ncontent-length: 1\r\ncontent-length: 2"
        )),
        with(&format!("{secret}\r\ntransfer-encoding: sk-secret")),
        with(&format!("{secret}\r\nx: a\0b")),
        format!("POST {CHAT} HTTP/1.0\r\n{secret}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ]
    .map(|head| (head, MALFORMED))
    .into();
    heads.push((with(&format!("{many}{secret}")), TOO_LARGE));
    heads.push((with(&format!("{secret}{}", "v".repeat(1 << 20))), TOO_LARGE));
    let path = format!("/sk-secret{}", "p".repeat(65_535));
    heads.push((format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), TOO_LONG));
    heads
}

#[tokio::test]
async fn a_head_that_is_no_http_is_answered_and_recorded_like_any_refusal() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let heads = refused_heads();
    for (index, (head, refusal)) in heads.iter().enumerate() {
        let mut client = Client::connect(gateway.addr).await;
        client.try_send(head.as_bytes()).await.ok();
        let what = &head[..head.len().min(200)];
        check_refused(what, &mut client, (&gateway, index), *refusal).await;
    }
    let records = recorded(&gateway.logs);
    assert_eq!(records.len(), heads.len(), "each leaves one record");
    assert!(
        !serde_json::to_string(&records)
            .unwrap()
            .contains("sk-secret")
    );
    let metrics = ask(gateway.admin, &Ask::get("/metrics")).await;
    let count = format!("isango_malformed_requests_total {}\n", heads.len());
    assert!(metrics.text().contains(&count), "{}", metrics.text());
    assert!(metrics.text().contains("isango_requests_in_flight 0\n"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_malformed_head_may_come_byte_by_byte() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for byte in b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n" {
        client.try_send(&[*byte]).await.ok();
        tokio::task::yield_now().await;
    }
    check_refused("byte by byte", &mut client, (&gateway, 0), MALFORMED).await;
}

#[tokio::test]
async fn a_malformed_head_is_answered_over_tls() {
    let (tls, upstream) = (Tls::new(), Upstream::start([json("{}")]).await);
    let files = [&tls.leaf().certificate_pem, &tls.leaf().key_pem].map(|text| pem(text));
    let [cert, key] = files.each_ref().map(|file| file.path().to_str().unwrap());
    let settings = format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let gateway = with(&settings, &upstream).await;
    let mut client = Client::connect_tls(gateway.addr, &tls, &["http/1.1"]).await;
    client.send(b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n").await;
    check_refused("over TLS", &mut client, (&gateway, 0), MALFORMED).await;
}

/// A malformed head behind a request that is answered with `status`; `at_once`: in the same write.
async fn check_behind(first: &[u8], status: u16, at_once: bool) {
    let what = format!("{} at once: {at_once}", String::from_utf8_lossy(first));
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let malformed = b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n";
    if at_once {
        client.send(&[first, malformed].concat()).await;
        assert_eq!(client.reply().await.status(), status, "{what}");
    } else {
        client.send(first).await;
        assert_eq!(client.reply().await.status(), status, "{what}");
        client.send(malformed).await;
    }
    check_refused(&what, &mut client, (&gateway, 1), MALFORMED).await;
}

#[tokio::test]
async fn a_malformed_head_behind_a_request_does_not_touch_its_answer() {
    let early = Ask::post("/v1/local/default/none/x", PROMPT);
    let old = format!("GET {CHAT} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    for at_once in [false, true] {
        check_behind(&Ask::post(CHAT, PROMPT).to_bytes(), 200, at_once).await;
        check_behind(&Ask::get(CHAT).to_bytes(), 200, at_once).await;
        check_behind(&early.to_bytes(), 400, at_once).await;
        check_behind(&early.clone().chunked([PROMPT]).to_bytes(), 400, at_once).await;
        check_behind(old.as_bytes(), 200, at_once).await;
    }
}

#[tokio::test]
async fn answers_that_look_like_a_refusal_cross() {
    let trailers = "x-sum: 1";
    let chunks = "1\r\nx\r\n".repeat(40);
    for (answer, body) in [
        (
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned(),
            String::new(),
        ),
        (
            "HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\n\r\n".to_owned(),
            String::new(),
        ),
        (
            format!(
                "HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n\r\n"
            ),
            "x".repeat(40),
        ),
    ] {
        let upstream = Upstream::start([Answer::raw([Step::Raw(answer.clone().into())])]).await;
        let gateway = before(&upstream).await;
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..3 {
            let reply: Reply = client.ask(&Ask::post(CHAT, PROMPT)).await;
            assert_eq!((reply.text(), reply.end), (&*body, End::Whole), "{answer}");
        }
        let records = gateway.records(3).await;
        let outcomes = records.iter().map(|record| record.outcome);
        assert!(outcomes.eq([Outcome::Answered; 3]), "{answer}");
        assert_eq!(recorded(&gateway.logs).len(), 3);
    }
}

#[tokio::test]
async fn a_head_that_its_client_never_ends_leaves_nothing() {
    let upstream = Upstream::start([json("{}")]).await;
    let settings = "[server]\nheader_timeout = \"100ms\"\n";
    let gateway = Harness::start(&format!("{settings}{}", providers(&upstream))).await;
    for (head, leaves) in [
        (&b""[..], true),
        (b"GET / HT", true),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", true),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", false),
    ] {
        let mut client = Client::connect(gateway.addr).await;
        client.send(head).await;
        if leaves {
            client.finish_sending().await;
        }
        assert_eq!(client.all().await, b"", "{head:?}");
    }
    // What is on record comes in order.
    gateway.ask(&Ask::get("/nowhere")).await;
    assert_eq!(gateway.record().await.status, Some(404));
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_still_reads_the_refusal() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    for (index, head) in [
        format!("GET {CHAT} HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(8 << 20)),
        format!("GET {CHAT} HTTP/1.1\r\n{}\r\n", "x: v\r\n".repeat(1 << 20)),
    ]
    .iter()
    .enumerate()
    {
        let mut client = Client::connect(gateway.addr).await;
        client.send(head.as_bytes()).await;
        check_refused("a flood", &mut client, (&gateway, index), TOO_LARGE).await;
    }
}

#[tokio::test]
async fn http2_has_its_own_words_for_heads_that_are_no_request() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let large = Ask::get(CHAT).with("x", &"v".repeat(100 << 10));
    let reply = H2Client::connect(gateway.addr).await.ask(&large).await;
    assert_eq!((reply.status(), reply.text()), (431, ""));
    let mut client = Client::connect(gateway.addr).await;
    // The preface, SETTINGS, and GET / with a field of HTTP/1 on stream 1 (RFC 9113 section 8.2.2).
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(b"\0\0\0\x04\0\0\0\0\0").await;
    client.send(b"\0\0\x15\x01\x05\0\0\0\x01").await;
    client.send(b"\x82\x86\x84\0\x0aconnection\x05close").await;
    let reset = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x01";
    let mut came = Vec::new();
    while !came.windows(reset.len()).any(|part| part == reset) {
        let piece = client.some().await.unwrap();
        assert!(!piece.is_empty(), "{came:?}");
        came.extend_from_slice(&piece);
    }
    assert_eq!(gateway.ask(&Ask::get("/nowhere")).await.status(), 404);
    assert_eq!(gateway.record().await.status, Some(404));
}
