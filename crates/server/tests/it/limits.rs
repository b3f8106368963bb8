//! Limits: bodies and heads that are too large or too slow, and messages that could be read in two
//! ways.

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Client, Reply};
use isango_testkit::fixtures::PROMPT;
use isango_testkit::h2::H2Client;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;
use tokio::time::sleep;

use crate::harness::{CHAT, Harness, recorded};
use crate::legs::{Outbound, before, with};

const AUDIO: &str = "/v1/local/default/openai/audio/transcriptions";
const LIMIT: &str = "[[gateways]]\nid = \"default\"\nmax_request_bytes = 1000\n";

fn check_too_large(reply: &Reply, what: &str) {
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (413, &3003.into()),
        "{what}"
    );
    assert!(
        reply.text().contains("1000 bytes"),
        "{what}: it says the limit"
    );
}

fn audio(ask: Ask) -> Ask {
    ask.with("content-type", "multipart/form-data; boundary=x")
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = with(LIMIT, &upstream).await;
    for path in [CHAT, AUDIO] {
        let ask = Ask::new("POST", path).with("content-length", "1001");
        let mut client = Client::connect(gateway.addr).await;
        client.send_head(&ask).await;
        check_too_large(&client.reply().await, path);
        let waiting = ask.with("expect", "100-continue");
        let mut client = Client::connect(gateway.addr).await;
        client.send_head(&waiting).await;
        let reply = client.reply().await;
        check_too_large(&reply, path);
        assert_eq!(reply.interim.len(), 0, "{path}: nobody asked for the body");
    }
    assert_eq!(upstream.count(), 0);
    let records = gateway.records(4).await;
    assert!(
        records
            .iter()
            .all(|record| record.outcome == Outcome::Refused)
    );
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused_and_never_passes_as_whole() {
    for outbound in [Outbound::Http1, Outbound::Http2] {
        let tls = outbound.is_http2();
        let (upstream, http2) = match tls {
            false => (Upstream::start([json("{}")]).await, ""),
            true => (
                Upstream::start_h2([json("{}")]).await,
                "[upstream]\nhttp2 = \"always\"\n",
            ),
        };
        let gateway = with(&format!("{LIMIT}{http2}"), &upstream).await;
        let pieces = || vec!["x".repeat(600); 2];
        let inspected = Ask::post(CHAT, "").chunked(pieces());
        check_too_large(&gateway.ask(&inspected).await, "inspected");
        check_too_large(
            &H2Client::connect(gateway.addr).await.ask(&inspected).await,
            "inspected, h2",
        );
        assert_eq!(upstream.count(), 0, "it was refused before it was sent");
        let streamed = audio(Ask::new("POST", AUDIO).chunked(pieces()));
        check_too_large(&gateway.ask(&streamed).await, "streamed");
        check_too_large(
            &H2Client::connect(gateway.addr).await.ask(&streamed).await,
            "streamed, h2",
        );
        for request in upstream.requests() {
            assert!(
                !request.complete && request.body_bytes <= 1000,
                "{outbound:?}"
            );
        }
        let records = gateway.records(4).await;
        assert!(
            records
                .iter()
                .all(|record| record.outcome == Outcome::Refused),
            "{outbound:?}"
        );
    }
}

#[tokio::test]
async fn a_body_as_large_as_the_limit_passes() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = with(LIMIT, &upstream).await;
    let body = "x".repeat(1000);
    for ask in [
        Ask::post(CHAT, body.clone()),
        Ask::post(CHAT, "").chunked([body.clone()]),
        audio(Ask::new("POST", AUDIO).body(body.clone())),
        audio(Ask::new("POST", AUDIO).chunked([body[..500].to_owned(), body[500..].to_owned()])),
    ] {
        assert_eq!(gateway.ask(&ask).await.status(), 200, "{ask:?}");
    }
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_still_reads_the_refusal() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = with(LIMIT, &upstream).await;
    for ask in [
        Ask::post(CHAT, "x".repeat(2 << 20)),
        Ask::post(CHAT, "").chunked(vec!["x".repeat(64 << 10); 32]),
        audio(Ask::new("POST", AUDIO).chunked(vec!["x".repeat(64 << 10); 32])),
        Ask::post("/v1/local/default/none/x", "x".repeat(2 << 20)),
        Ask::post("/v1/local/default/none/x", "x".repeat(40 << 20)),
        Ask::post(CHAT, "x".repeat(40 << 20)),
    ] {
        let mut client = Client::connect(gateway.addr).await;
        client.send_ask(&ask).await;
        let reply = client.reply().await;
        assert!(matches!(reply.status(), 400 | 413), "{reply:?}");
        assert!(client.all().await.is_empty());
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_after_half_a_minute() {
    for (path, kind) in [
        (CHAT, "application/json"),
        (AUDIO, "application/octet-stream"),
    ] {
        let upstream = Upstream::start([json("{}")]).await;
        let gateway = before(&upstream).await;
        let mut client = Client::connect(gateway.addr).await;
        client
            .send_head(
                &Ask::new("POST", path)
                    .with("content-type", kind)
                    .body("0123456789"),
            )
            .await;
        client.send(b"01234").await;
        if path == AUDIO {
            upstream.body_bytes(0, 5).await;
        }
        // Give the gateway time to wait for the rest.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(29)).await;
        tokio::time::resume();
        assert!(recorded(&gateway.logs).is_empty(), "{path}: too early");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        let reply = client.reply().await;
        assert_eq!(
            (reply.status(), &reply.json()["internalCode"]),
            (408, &3005.into()),
            "{path}"
        );
        assert!(
            upstream.requests().iter().all(|request| !request.complete),
            "{path}"
        );
    }
}

/// A gateway that soon closes connections that rest or send only half a head.
async fn impatient(upstream: &Upstream) -> Harness {
    let settings = "[server]\nheader_timeout = \"200ms\"\nidle_timeout = \"200ms\"\n";
    with(settings, upstream).await
}

/// Sends bytes and reads what comes until the gateway closes the connection.
async fn exchange(gateway: &Harness, bytes: &[u8]) -> String {
    let mut client = Client::connect(gateway.addr).await;
    client.try_send(bytes).await.ok();
    String::from_utf8_lossy(&client.all().await).into_owned()
}

fn check_refused(answer: &str, what: &str) {
    let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
    assert!(is_refused, "{what}: {answer}");
    assert_eq!(
        answer.matches("HTTP/1.1 ").count(),
        usize::from(!answer.is_empty()),
        "{what}"
    );
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = impatient(&upstream).await;
    let request = |headers: &str| format!("GET {CHAT} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let many: String = (0..2_000)
        .map(|index| format!("x-{index}: v\r\n"))
        .collect();
    for flood in [
        request(&many),
        request(&format!("x: {}\r\n", "v".repeat(2 << 20))),
        request(&format!("{}: v\r\n", "n".repeat(100_000))),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "p".repeat(2 << 20)),
    ] {
        let answer = exchange(&gateway, flood.as_bytes()).await;
        check_refused(&answer, &flood[..100]);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        gateway
            .ask(&Ask::get("/v1/local/default/openai/models"))
            .await
            .status(),
        200
    );
}

/// Heads that two servers could read in two ways, before `\r\n\r\n` and a body.
const AMBIGUOUS: &[&str] = &[
    "content-length: 2\r\ncontent-length: 3",
    "content-length: 2, 3",
    "content-length: +2",
    "content-length: -2",
    "content-length: 0x2",
    "content-length: 2 2",
    "content-length: \"2\"",
    "content-length:",
    "content-length: 99999999999999999999999",
    "transfer-encoding: identity",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding",
    "content-length : 2",
    "content-length\t: 2",
    "content length: 2",
    " content-length: 2",
    "x: a\r\n content-length: 2",
    "x: a\r\n\tb",
    "x: a\rcontent-length: 2",
    "x: a\r",
    "x: a\r\r",
    "x: a\0b",
    "x: a\x01b",
    "x\0y: a",
    ": a",
    "x\u{e9}: a",
    "content-length: 2\ntransfer-encoding: chunked",
    "x: a\ny: b",
];

#[tokio::test]
async fn heads_that_could_be_read_in_two_ways_are_refused() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = impatient(&upstream).await;
    for field in AMBIGUOUS {
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
             GET /v1/local/default/openai/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let answer = exchange(&gateway, request.as_bytes()).await;
        check_refused(&answer, field);
        assert_eq!(upstream.count(), 0, "{field:?} was forwarded");
    }
}

#[tokio::test]
async fn request_lines_that_are_malformed_are_refused() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = impatient(&upstream).await;
    for line in [
        format!("POST  {CHAT} HTTP/1.1"),
        format!("POST {CHAT}  HTTP/1.1"),
        format!("POST\t{CHAT} HTTP/1.1"),
        format!("POST {CHAT} HTTP/1.1 "),
        format!("POST {CHAT} HTTP/9.9"),
        format!("POST {CHAT} http/1.1"),
        format!("POST {CHAT}"),
        format!("PO(ST {CHAT} HTTP/1.1"),
        format!("POST {CHAT}\0 HTTP/1.1"),
        format!("POST {CHAT} a HTTP/1.1"),
        format!("POST {CHAT} HTTP/1.1\nx: y"),
        "POST chat HTTP/1.1".to_owned(),
        "CONNECT api.openai.com:443 HTTP/1.1".to_owned(),
        "OPTIONS * HTTP/1.1".to_owned(),
    ] {
        let answer = exchange(&gateway, format!("{line}\r\nhost: x\r\n\r\n").as_bytes()).await;
        check_refused(&answer, &line);
        assert_eq!(upstream.count(), 0, "{line:?} was forwarded");
    }
}

/// Sends a body in these chunks; at the end the client stops sending if `fin`.
async fn check_chunks(chunks: &str, fin: bool) {
    for path in [CHAT, AUDIO] {
        let upstream = Upstream::start([json("{}")]).await;
        let gateway = impatient(&upstream).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n");
        let mut client = Client::connect(gateway.addr).await;
        let kind = "content-type: application/json\r\n\r\n";
        client
            .send(format!("{head}{kind}{chunks}").as_bytes())
            .await;
        if fin {
            client.finish_sending().await;
        }
        let answer = String::from_utf8(client.all().await).unwrap();
        check_refused(&answer, &format!("{path} {chunks:?}"));
        assert!(
            upstream.requests().iter().all(|request| !request.complete),
            "{chunks:?}"
        );
    }
}

#[tokio::test]
async fn chunks_that_could_be_read_in_two_ways_never_pass_as_a_whole_body() {
    for chunks in [
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "\r\n2\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nx\r\n\r\n",
    ] {
        check_chunks(chunks, false).await;
    }
}

#[tokio::test]
async fn chunks_without_an_end_never_pass_as_a_whole_body() {
    for chunks in [
        "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\n",
        "2\r\n{}\r\n",
        "2\r\n",
    ] {
        check_chunks(chunks, true).await;
    }
}

/// RFC 9112 section 6.1 lets a server go by `transfer-encoding` alone if it closes the connection.
#[tokio::test]
async fn a_request_framed_twice_is_read_once_forwarded_in_one_way_and_ends_its_connection() {
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 500\r\nTransfer-Encoding: CHUNKED",
    ] {
        for path in [CHAT, AUDIO] {
            let upstream = Upstream::start([json("{}")]).await;
            let gateway = before(&upstream).await;
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n7\r\nseven!!\r\n0\r\n\r\n\
                 GET /v1/local/default/openai/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
            );
            let mut client = Client::connect(gateway.addr).await;
            client.send(request.as_bytes()).await;
            let answer = String::from_utf8(client.all().await).unwrap();
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{framing:?}: {answer}"
            );
            assert_eq!(upstream.count(), 1, "{framing:?}");
            let received = upstream.request(0).await;
            assert_eq!(received.body, b"seven!!");
            let framings = ["content-length", "transfer-encoding"]
                .map(|name| received.head.all(name).join(","));
            let once = [["7", ""], ["", "chunked"]];
            assert!(once.iter().any(|once| framings == *once), "{framings:?}");
        }
    }
}

#[tokio::test]
async fn a_body_of_http2_that_is_not_as_long_as_announced_never_passes_as_whole() {
    for (announced, pieces) in [("10", vec!["abc"]), ("3", vec!["abc", "def"])] {
        for path in [CHAT, AUDIO] {
            let upstream = Upstream::start([json("{}")]).await;
            let gateway = before(&upstream).await;
            let ask = Ask::new("POST", path)
                .with("content-length", announced)
                .with("content-type", "application/octet-stream")
                .chunked(pieces.clone());
            let mut client = H2Client::connect(gateway.addr).await;
            let status = client
                .try_start(&ask)
                .await
                .map(|answer| answer.head.status);
            assert!(
                status.is_none_or(|status| status == 400),
                "{announced} {path}: {status:?}"
            );
            assert!(
                upstream.requests().iter().all(|request| !request.complete),
                "{announced} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_the_client_breaks_off_never_passes_as_whole() {
    for (path, kind) in [
        (CHAT, "application/json"),
        (AUDIO, "application/octet-stream"),
    ] {
        for ask in [
            Ask::new("POST", path)
                .with("content-type", kind)
                .body(PROMPT),
            Ask::new("POST", path)
                .with("content-type", kind)
                .chunked([PROMPT]),
        ] {
            let answer = Answer::new(200).first(Step::ReadBody).early();
            let upstream = Upstream::start([answer]).await;
            let gateway = before(&upstream).await;
            let mut client = Client::connect(gateway.addr).await;
            let bytes = ask.to_bytes();
            client.send(&bytes[..bytes.len() - 3]).await;
            client.finish_sending().await;
            client.all().await;
            assert_eq!(gateway.records(1).await.len(), 1);
            assert!(
                upstream.requests().iter().all(|request| !request.complete),
                "{ask:?}"
            );
        }
    }
}

/// Sends these pieces with a pause behind each, and returns all answers.
async fn exchange_in_pieces(gateway: &Harness, pieces: &[String]) -> String {
    let mut client = Client::connect(gateway.addr).await;
    for piece in pieces {
        client.try_send(piece.as_bytes()).await.ok();
        sleep(Duration::from_millis(20)).await;
    }
    String::from_utf8_lossy(&client.all().await).into_owned()
}

/// The first request is served, the second is not; `cut`: where the second is cut in two.
async fn check_second_refused(first: &str, second: &str, cut: usize) {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = impatient(&upstream).await;
    let pieces = [
        format!("{first}{}", &second[..cut]),
        second[cut..].to_owned(),
    ];
    let answer = exchange_in_pieces(&gateway, &pieces).await;
    let what = format!("{first:?} {second:?} cut at {cut}: {answer}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{what}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{what}");
    assert!(answer.contains(r#""internalCode":3007"#), "{what}");
    assert!(answer.contains("connection: close\r\n"), "{what}");
    assert_eq!(upstream.count(), 1, "{what}");
}

#[tokio::test]
async fn a_bare_lf_is_refused_in_a_pipelined_head_too() {
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\n");
    let second = format!("GET {CHAT} HTTP/1.1\r\nx: a\nhost: x\r\n\r\n");
    let bare = second.find("\nhost").unwrap();
    for body in [
        "content-length: 2\r\n\r\n{}",
        "content-length: 3\r\n\r\n{\n}",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        let first = format!("{head}{body}");
        for cut in [second.len(), bare, bare + 1, second.len() - 2, 0] {
            check_second_refused(&first, &second, cut).await;
        }
    }
}

#[tokio::test]
async fn requests_without_one_host_are_refused() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = impatient(&upstream).await;
    for hosts in [
        "",
        "host: x\r\nhost: y\r\n",
        "host: x\r\nHost: x\r\n",
        "host : x\r\n",
    ] {
        for version in ["1.1", "1.0"] {
            let request = format!("GET {CHAT} HTTP/{version}\r\n{hosts}\r\n");
            let answer = exchange(&gateway, request.as_bytes()).await;
            let is_fine = hosts.is_empty() && version == "1.0";
            let expected = if is_fine { "200" } else { "400" };
            assert_eq!(answer.get(9..12), Some(expected), "{request:?}: {answer}");
        }
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.records(8).await.len(), 8);
}
