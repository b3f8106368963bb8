//! Every fault, seen from the wire.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::client::{End, Reply, Request, Server, events, read};

const CHAT: &str = "/v1/chat/completions";

fn chat(stream: bool) -> Request {
    let body = json!({"model": "gpt-4o", "stream": stream,
        "messages": [{"role": "user", "content": "Where is it?"}]});
    Request::post(CHAT, &body).header("authorization", "Bearer k")
}

async fn with(server: &Server, stream: bool, faults: &[(&str, &str)]) -> Reply {
    let request = faults.iter().fold(chat(stream), |request, (name, value)| {
        request.header(&format!("x-sim-{name}"), value)
    });
    server.send(request).await
}

#[tokio::test]
async fn a_status_is_answered_with_what_the_provider_would_say_and_the_wait_asked_for() {
    let server = Server::quick().await;
    for status in [
        400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529,
    ] {
        let reply = with(&server, true, &[("status", &status.to_string())]).await;
        assert!(reply.refusal(status)["error"]["message"].is_string());
        assert!(reply.whole && reply.header("retry-after").is_none());
    }
    let faults = [
        ("status", "429"),
        ("retry-after-ms", "1500"),
        ("retry-after", "2"),
    ];
    let reply = with(&server, false, &faults).await;
    assert_eq!(reply.header("retry-after-ms"), Some("1500"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    let date = "Sun, 22 Nov 2026 10:00:00 GMT";
    let reply = with(&server, false, &[("status", "503"), ("retry-after", date)]).await;
    assert_eq!(reply.header("retry-after"), Some(date));
}

#[tokio::test]
async fn an_outage_can_be_one_regions() {
    let server = Server::quick().await;
    let faults = |only| [("status", "503"), ("only", only)];
    with(&server, false, &faults("/chat/")).await.refusal(503);
    let reply = with(&server, false, &faults("my-region")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_fault_that_is_not_understood_is_refused_with_what_would_be_right() {
    let server = Server::quick().await;
    let refusal = with(&server, false, &[("status", "200")])
        .await
        .refusal(400);
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("x-sim-status: `200` is not possible; give 400"),
        "{message}"
    );
    server.get("/?sim_nothing=1").await.refusal(400);
}

#[tokio::test]
async fn latency_delays_the_head_and_a_slow_first_byte_only_the_body() {
    let server = Server::quick().await;
    let begun = Instant::now();
    with(&server, false, &[("latency-ms", "60")]).await.json();
    assert!(begun.elapsed() >= Duration::from_millis(60));

    for stream in [false, true] {
        let mut socket = server.connect().await;
        let request = chat(stream).header("x-sim-first-byte-delay-ms", "300000");
        socket.write_all(&request.bytes(true)).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let body = tokio::time::timeout(Duration::from_millis(40), socket.read_u8()).await;
        assert!(body.is_err(), "the body came at once");
    }
}

#[tokio::test]
async fn a_stream_keeps_its_pace() {
    let server = Server::quick().await;
    let begun = Instant::now();
    let reply = with(
        &server,
        true,
        &[("tokens", "21"), ("pace", "200"), ("ttft-ms", "50")],
    )
    .await;
    let elapsed = begun.elapsed();
    let pieces = reply
        .events()
        .iter()
        .filter(|(_, data)| has_content(data))
        .count();
    assert_eq!(pieces, 21);
    // 50 ms to the first token, and 5 ms to each of the twenty that follow.
    assert!(
        (Duration::from_millis(150)..Duration::from_secs(3)).contains(&elapsed),
        "{elapsed:?}"
    );
}

fn has_content(data: &Value) -> bool {
    let content = data.pointer("/choices/0/delta/content");
    content
        .and_then(Value::as_str)
        .is_some_and(|content| !content.is_empty())
}

#[tokio::test]
async fn an_answer_has_the_length_asked_for() {
    let server = Server::quick().await;
    for tokens in ["1", "250"] {
        let answer = with(&server, false, &[("tokens", tokens)]).await.json();
        assert_eq!(answer["usage"]["completion_tokens"].to_string(), tokens);
    }
}

#[tokio::test]
async fn a_connection_is_reset_or_closed_before_any_answer() {
    let server = Server::quick().await;
    for (value, end) in [("rst", End::Reset), ("fin", End::Fin)] {
        let reply = with(&server, false, &[("reset", value)]).await;
        assert_eq!((reply.status, reply.end), (0, end), "{value}");
    }
}

#[tokio::test]
async fn a_cut_leaves_exactly_what_was_asked_for() {
    #[track_caller]
    fn check(reply: &Reply, end: End, bytes: &[u8]) {
        assert_eq!((reply.whole, reply.end), (false, end));
        if end == End::Fin {
            assert_eq!(
                String::from_utf8_lossy(&reply.body),
                String::from_utf8_lossy(bytes)
            );
        }
    }
    let server = Server::quick().await;
    let whole = with(&server, true, &[]).await;
    let third = whole.text().match_indices("\n\n").nth(2).unwrap().0 + 2;
    let cut = |value: &'static str| {
        let server = &server;
        async move { with(server, true, &[("cut-after", value)]).await }
    };
    check(&cut("3").await, End::Fin, &whole.body[..third]);
    check(&cut("0").await, End::Fin, b"");
    check(&cut("100b").await, End::Fin, &whole.body[..100]);
    check(&cut("3,reset").await, End::Reset, b"");
    let events = whole.events().len().to_string();
    let unended = with(&server, true, &[("cut-after", &events)]).await;
    check(&unended, End::Fin, &whole.body);
    assert!(cut("5000").await.whole);

    let json = with(&server, false, &[]).await;
    let cut = with(&server, false, &[("cut-after", "20b")]).await;
    check(&cut, End::Fin, &json.body[..20]);
    assert_eq!(cut.header("content-length"), json.header("content-length"));
}

#[tokio::test]
async fn a_cut_waits_for_a_slow_reader() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    let request = Request::new(
        "GET",
        "/any?sim_body_bytes=40000000&sim_cut_after=39999999b",
    );
    socket.write_all(&request.bytes(true)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let reply = read(&mut socket).await;
    assert_eq!(
        (reply.body.len(), reply.whole, reply.end),
        (39_999_999, false, End::Fin)
    );
}

#[tokio::test]
async fn a_stall_is_silent_for_its_time_and_then_goes_on() {
    let server = Server::quick().await;
    let whole = with(&server, true, &[]).await;
    let begun = Instant::now();
    let stalled = with(&server, true, &[("stall-after", "2"), ("stall-ms", "80")]).await;
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert_eq!((stalled.body, stalled.whole), (whole.body, true));
}

#[tokio::test]
async fn a_malformed_stream_goes_wrong_after_its_second_event() {
    let server = Server::quick().await;
    let whole = with(&server, true, &[]).await;
    for (kind, broken) in [
        (
            "json",
            &b"data: {\"id\":\"broken\",\"choices\":[{\"index\":\n\n"[..],
        ),
        ("utf8", b"data: {\"text\":\"\xff\xfe\xc3\"}\n\n"),
        ("field", b"<html>\nunknown: field\n\n"),
    ] {
        let reply = with(&server, true, &[("malformed-sse", kind)]).await;
        let at = whole.text().match_indices("\n\n").nth(1).unwrap().0 + 2;
        let expected = [&whole.body[..at], broken, &whole.body[at..]].concat();
        assert_eq!(reply.body, expected, "{kind}");
    }
    let open = with(&server, true, &[("malformed-sse", "open")]).await;
    assert_eq!(open.body, whole.body[..whole.body.len() - 1]);
}

#[tokio::test]
async fn events_are_spelled_as_asked() {
    let server = Server::quick().await;
    let plain = with(&server, true, &[]).await;
    let reply = with(&server, true, &[("sse-style", "crlf,tight,comments")]).await;
    assert!(reply.text().starts_with(":keep-alive\r\ndata:{"));
    let plainly = reply
        .text()
        .replace(":keep-alive\r\n", "")
        .replace("\r\n", "\n");
    assert_eq!(plainly.replace("data:", "data: "), plain.text());
}

#[tokio::test]
async fn answers_are_compressed_and_streams_flushed_event_by_event() {
    let server = Server::quick().await;
    for stream in [false, true] {
        let plain = with(&server, stream, &[]).await;
        let reply = with(&server, stream, &[("gzip", "1")]).await;
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        assert!(reply.whole);
        assert_eq!(reply.gunzip(), plain.body);
    }
    let mut socket = server.connect().await;
    let request = chat(true)
        .header("x-sim-gzip", "1")
        .header("x-sim-stall-after", "3");
    socket.write_all(&request.bytes(true)).await.unwrap();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    let (mut raw, mut head) = (Vec::new(), 0);
    while decoder
        .get_ref()
        .windows(2)
        .filter(|window| window == b"\n\n")
        .count()
        < 3
    {
        use std::io::Write;
        assert_ne!(socket.read_buf(&mut raw).await.unwrap(), 0);
        if head == 0 {
            head = raw
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .map_or(0, |at| at + 4);
        }
        if head == 0 {
            continue;
        }
        // Decodes what is there from the start; chunk sizes are taken off by hand.
        decoder = flate2::write::GzDecoder::new(Vec::new());
        for chunk in chunks(&raw[head..]) {
            decoder.write_all(chunk).unwrap();
        }
        decoder.flush().unwrap();
    }
    assert_eq!(
        events(std::str::from_utf8(decoder.get_ref()).unwrap()).len(),
        3
    );
}

/// The whole chunks in `bytes`.
fn chunks(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    while let Some(at) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = bytes.get(at + 2..at + 2 + size) else {
            break;
        };
        chunks.push(chunk);
        bytes = bytes.get(at + 4 + size..).unwrap_or_default();
    }
    chunks
}

#[tokio::test]
async fn a_stream_is_cut_into_pieces_of_any_size() {
    let server = Server::quick().await;
    let whole = with(&server, true, &[]).await;
    let reply = with(&server, true, &[("chunk-bytes", "7")]).await;
    assert_eq!(reply.body, whole.body);
    let (last, all) = reply.chunks.split_last().unwrap();
    assert!(all.iter().all(|&size| size == 7) && *last <= 7);
}

#[tokio::test]
async fn the_first_requests_of_a_key_fail_and_the_next_succeed() {
    let server = Server::quick().await;
    let mut statuses = Vec::new();
    for key in ["a", "a", "a", "b", "a"] {
        let faults = [("fail-first", "2"), ("key", key), ("status", "503")];
        statuses.push(with(&server, false, &faults).await.status);
    }
    assert_eq!(statuses, [503, 503, 200, 503, 200]);
    let mut ends = Vec::new();
    for _ in 0..3 {
        let faults = [("fail-first", "1"), ("key", "c"), ("reset", "rst")];
        ends.push(with(&server, false, &faults).await.end);
    }
    assert_eq!(ends, [End::Reset, End::Fin, End::Fin]);
}

#[tokio::test]
async fn a_share_of_the_requests_fails() {
    let server = Server::quick().await;
    let mut failed = 0;
    for _ in 0..40 {
        let status = with(&server, false, &[("fail-rate", "25"), ("key", "a")])
            .await
            .status;
        failed += u32::from(status == 500);
    }
    assert_eq!(failed, 10);
}

#[tokio::test]
async fn a_connection_is_closed_behind_a_keep_alive_answer() {
    let server = Server::quick().await;
    for close in ["0", "20"] {
        let mut socket = server.connect().await;
        let request = chat(false).header("x-sim-close", close);
        socket.write_all(&request.bytes(false)).await.unwrap();
        let reply = read(&mut socket).await;
        assert!(
            reply.whole && reply.header("connection").is_none(),
            "{}",
            reply.head
        );
    }
    let mut socket = server.connect().await;
    for _ in 0..2 {
        socket.write_all(&chat(false).bytes(false)).await.unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let mut rest = vec![0; 64 * 1_024];
        while !rest.windows(3).any(|window| window == b"}}}") {
            assert_ne!(socket.read(&mut rest).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn an_echo_tells_what_arrived() {
    let server = Server::quick().await;
    let request = Request::new("PUT", "/some/path?a=1&sim_echo=1")
        .header("X-Mine", "yes")
        .body(vec![7; 300_000]);
    let echo = server.send(request).await.json();
    assert_eq!(
        (&echo["method"], &echo["path"]),
        (&json!("PUT"), &json!("/some/path"))
    );
    assert_eq!(echo["query"], "a=1&sim_echo=1");
    assert!(
        echo["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-mine", "yes"]))
    );
    assert_eq!(echo["body"]["bytes"], 300_000);
    let hash = xxhash_rust::xxh3::xxh3_64(&vec![7; 300_000]);
    assert_eq!(echo["body"]["xxh3"], format!("{hash:016x}"));
    let healthy = server.get("/healthz?sim_echo=1").await.json();
    assert_eq!(healthy["path"], "/healthz");
}

#[tokio::test]
async fn binary_answers_have_the_size_asked_for_and_the_same_bytes() {
    let server = Server::quick().await;
    let first = server.get("/any?sim_body_bytes=200000").await;
    assert_eq!(
        (first.status, first.body.len(), first.whole),
        (200, 200_000, true)
    );
    let second = server
        .get("/any?sim_body_bytes=200000&sim_chunk_bytes=999")
        .await;
    assert_eq!(first.body, second.body);
    let zipped = server.get("/any?sim_body_bytes=200000&sim_gzip=1").await;
    assert_eq!(zipped.gunzip(), first.body);
    assert!(server.get("/any?sim_body_bytes=0").await.whole);
}
