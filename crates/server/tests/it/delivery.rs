//! Delivery: when bytes pass, when they stop, and what is told when they break off.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT, multipart};
use isango_testkit::h2::H2Client;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::record::Outcome;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{CHAT, Harness};
use crate::legs::{Inbound, Outbound, WAYS, before};

/// A stream that the gateway has no reason to edit.
const STREAM: &str =
    r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const AUDIO: &str = "/v1/local/default/openai/audio/transcriptions";
/// How long the other side may live on after one has gone.
const GONE_WITHIN: Duration = Duration::from_millis(100);

fn stream() -> Ask {
    Ask::post(CHAT, STREAM)
}

/// Sends part n+1 only after the client has read part n; a gateway that holds one back stalls.
async fn check_delivery(way: (Inbound, Outbound), answer: Answer, parts: &[Bytes]) {
    let (upstream, gateway) = way.1.serving([answer.stepwise()]).await;
    let mut reading = way.0.start(&gateway, &stream()).await;
    for part in parts {
        upstream.go();
        assert_eq!(reading.bytes(part.len()).await, part[..], "{way:?}");
    }
    assert_eq!(reading.rest().await, (Vec::new(), End::Whole), "{way:?}");
    assert_eq!(gateway.record().await.outcome, Outcome::Answered, "{way:?}");
}

#[tokio::test]
async fn each_part_reaches_the_client_before_the_next_is_sent() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    for way in WAYS {
        let plain = || Answer::new(200).header("content-type", "text/event-stream");
        check_delivery(way, sse(events.clone()), &events).await;
        check_delivery(way, plain().parts(events.clone()), &events).await;
        if !way.1.is_http2() {
            check_delivery(way, plain().until_close(events.clone()), &events).await;
        }
    }
}

#[tokio::test]
async fn half_an_event_is_not_held_until_it_is_whole() {
    let halves: Vec<Bytes> = ["data: {\"a\"", ":1}", "\n", "\nda", "ta: [DONE]\n", "\n"]
        .map(|half: &str| Bytes::copy_from_slice(half.as_bytes()))
        .into();
    for way in WAYS {
        check_delivery(way, sse(halves.clone()), &halves).await;
    }
}

#[tokio::test]
async fn each_part_of_a_compressed_stream_can_be_decoded_as_it_comes() {
    for way in WAYS {
        let events = chat_events(&["Sa", "wu", "bona"]);
        let answer = sse(events.clone()).gzipped().stepwise();
        let (upstream, gateway) = way.1.serving([answer]).await;
        let mut reading = way.0.start(&gateway, &stream()).await;
        assert_eq!(reading.head().header("content-encoding"), Some("gzip"));
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        let mut sent = Vec::new();
        for event in &events {
            upstream.go();
            sent.extend_from_slice(event);
            while decoder.get_ref().len() < sent.len() {
                decoder.write_all(&reading.piece().await.unwrap()).unwrap();
                decoder.flush().unwrap();
            }
            assert_eq!(*decoder.get_ref(), sent, "{way:?}");
        }
        assert_eq!(reading.rest().await.1, End::Whole, "{way:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_usage_is_taken_out_is_delivered_event_by_event() {
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let events = chat_events(&["Sa", "wu", "bona"]);
        let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
        let gateway = before(&upstream).await;
        let mut reading = inbound
            .start(&gateway, &Ask::post(CHAT, STREAM_PROMPT))
            .await;
        let usage = events.len() - 2;
        for (index, event) in events.iter().enumerate() {
            upstream.go();
            if index != usage {
                assert_eq!(reading.bytes(event.len()).await, event[..]);
            }
        }
        assert_eq!(reading.rest().await, (Vec::new(), End::Whole));
        let record = gateway.record().await;
        assert_eq!(record.usage.unwrap().total(), 22);
    }
}

#[tokio::test]
async fn a_part_of_an_upload_reaches_the_provider_before_the_next_is_sent() {
    for way in WAYS.into_iter().filter(|way| way.0 == Inbound::Http1) {
        let (upstream, gateway) = way.1.serving([json("{}")]).await;
        let (content_type, pieces) = multipart(256 << 10);
        let ask = Ask::new("POST", AUDIO).with("content-type", &content_type);
        let mut client = Client::connect(gateway.addr).await;
        client.send_head(&ask.clone().chunked::<Bytes>([])).await;
        let mut sent = 0;
        for piece in &pieces {
            client
                .send(format!("{:x}\r\n", piece.len()).as_bytes())
                .await;
            client.send(piece).await;
            client.send(b"\r\n").await;
            sent += piece.len() as u64;
            assert_eq!(
                upstream.body_bytes(0, sent).await.body_bytes,
                sent,
                "{way:?}"
            );
        }
        client.send(b"0\r\n\r\n").await;
        assert_eq!(client.reply().await.status(), 200);
        assert_eq!(upstream.request(0).await.body, pieces.concat());
    }
}

/// The time from a part's sending to its arrival, in the middle of several.
async fn median_delay(way: (Inbound, Outbound)) -> Duration {
    let parts = vec![Bytes::from_static(b"data: {}\n\n"); 15];
    let (upstream, gateway) = way.1.serving([sse(parts.clone()).stepwise()]).await;
    let mut reading = way.0.start(&gateway, &stream()).await;
    let mut delays = Vec::new();
    for part in &parts {
        let sent = Instant::now();
        upstream.go();
        reading.bytes(part.len()).await;
        delays.push(sent.elapsed());
    }
    delays.sort();
    delays[delays.len() / 2]
}

#[tokio::test]
async fn small_parts_are_not_40_ms_late() {
    for way in WAYS {
        let delay = median_delay(way).await;
        assert!(delay < Duration::from_millis(30), "{way:?}: {delay:?}");
    }
}

#[tokio::test]
async fn a_small_request_in_two_writes_is_not_40_ms_late() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let mut delays = Vec::new();
    for _ in 0..9 {
        let ask = Ask::post(CHAT, PROMPT);
        let sent = Instant::now();
        client.send_head(&ask).await;
        client.send(PROMPT.as_bytes()).await;
        assert_eq!(client.reply().await.status(), 200);
        delays.push(sent.elapsed());
    }
    delays.sort();
    assert!(delays[4] < Duration::from_millis(30), "{delays:?}");
}

/// The provider must lose the request soon after `left`, and the record must tell who went.
async fn check_gone(upstream: &Upstream, gateway: &Harness, left: Instant, way: &str) {
    let gone = upstream.given_up(0).await - left;
    assert!(
        gone < GONE_WITHIN,
        "{way}: the provider was left {gone:?} later"
    );
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft, "{way}");
    assert_eq!(upstream.count(), 1, "{way}: nothing is asked again");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_takes_the_request_along() {
    for way in WAYS {
        let (upstream, gateway) = way.1.serving([json("{}").first(Step::Stall)]).await;
        let left = match way.0 {
            Inbound::Http1 => {
                let mut client = Client::connect(gateway.addr).await;
                client.send_ask(&Ask::post(CHAT, PROMPT)).await;
                upstream.request(0).await;
                drop(client);
                Instant::now()
            }
            Inbound::Http2 => {
                let mut client = H2Client::connect(gateway.addr).await;
                let ask = Ask::post(CHAT, PROMPT);
                tokio::select! {
                    _ = client.start(&ask) => panic!("there is no answer"),
                    _ = upstream.request(0) => {}
                }
                // Only the stream was given up; the connection stays.
                let left = Instant::now();
                check_gone(&upstream, &gateway, left, &format!("{way:?}")).await;
                continue;
            }
        };
        check_gone(&upstream, &gateway, left, &format!("{way:?}")).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_takes_the_stream_along() {
    for way in WAYS {
        let answer = sse(["data: 1\n\n"]).then(Step::Stall);
        let (upstream, gateway) = way.1.serving([answer]).await;
        let mut reading = way.0.start(&gateway, &stream()).await;
        reading.bytes(9).await;
        drop(reading);
        check_gone(&upstream, &gateway, Instant::now(), &format!("{way:?}")).await;
    }
}

#[tokio::test]
async fn a_client_that_resets_takes_the_stream_along() {
    let upstream = Upstream::start([sse(["data: 1\n\n"]).then(Step::Stall)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&stream()).await;
    client.head().await;
    client.reset();
    check_gone(&upstream, &gateway, Instant::now(), "reset").await;
}

#[tokio::test]
async fn a_client_that_leaves_during_its_upload_takes_the_request_along() {
    for way in WAYS.into_iter().filter(|way| way.0 == Inbound::Http1) {
        for inspected in [false, true] {
            let (upstream, gateway) = way.1.serving([json("{}")]).await;
            // What is to be inspected is sent on only when this much of it has come.
            let length = if inspected { 5 << 20 } else { 10 };
            let (path, kind) = match inspected {
                true => (CHAT, "application/json"),
                false => (AUDIO, "multipart/form-data; boundary=x"),
            };
            let ask = Ask::new("POST", path)
                .with("content-type", kind)
                .chunked::<Bytes>([]);
            let mut client = Client::connect(gateway.addr).await;
            client.send_head(&ask).await;
            client
                .send(format!("{length:x}\r\n{}\r\n", " ".repeat(length)).as_bytes())
                .await;
            upstream.body_bytes(0, length as u64).await;
            drop(client);
            let left = Instant::now();
            check_gone(&upstream, &gateway, left, &format!("{way:?}")).await;
            assert!(
                !upstream.requests()[0].complete,
                "{way:?}: half an upload passed as whole"
            );
        }
    }
}

/// 400 MB in blocks of 64 KiB, which stand in memory once.
fn flood() -> Answer {
    let block = Bytes::from(vec![b'x'; 64 << 10]);
    Answer::new(200)
        .chunked::<Bytes>([])
        .then(Step::Repeat(block, 6_400))
}

/// What the upstream could send before it was held up, in bytes.
async fn sent_until_stalled(upstream: &Upstream) -> u64 {
    within("the upstream to be held up", async {
        let mut before = u64::MAX;
        while upstream.sent_bytes() != before {
            before = upstream.sent_bytes();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        before
    })
    .await
}

#[tokio::test]
async fn a_stalled_reader_stalls_the_provider() {
    for outbound in [Outbound::Http1, Outbound::Http2, Outbound::Http1Tls] {
        let (upstream, gateway) = outbound.serving([flood()]).await;
        let mut client = Client::connect_narrow(gateway.addr, 16 << 10).await;
        client
            .send_ask(&Ask::get("/v1/local/default/openai/files/f/content"))
            .await;
        client.head().await;
        let held = sent_until_stalled(&upstream).await;
        assert!(
            held < 24 << 20,
            "{outbound:?}: {held} bytes wait for a reader that does not read"
        );
        // It stalls, and is not stuck.
        let mut read = 0;
        while read < 32 << 20 {
            read += client.piece().await.expect("there is more").len();
        }
        drop(client);
        assert_eq!(gateway.record().await.outcome, Outcome::ClientLeft);
    }
}

#[tokio::test]
async fn a_stalled_stream_of_http2_stalls_the_provider_and_no_other_stream() {
    let upstream = Upstream::start([flood(), json(COMPLETION)]).await;
    let gateway = before(&upstream).await;
    let mut client = H2Client::connect(gateway.addr).await;
    let stalled = client
        .start(&Ask::get("/v1/local/default/openai/files/f/content"))
        .await;
    let held = sent_until_stalled(&upstream).await;
    assert!(
        held < 24 << 20,
        "{held} bytes wait for a reader that does not read"
    );
    assert_eq!(
        client.ask(&Ask::post(CHAT, PROMPT)).await.text(),
        COMPLETION
    );
    drop(stalled);
    upstream.given_up(0).await;
}

/// An answer that breaks off must not look whole to the client, and is not asked for again.
async fn check_cut(way: (Inbound, Outbound), answer: Answer) {
    let what = format!("{way:?}: {answer:?}");
    let (upstream, gateway) = way.1.serving([answer, json(COMPLETION)]).await;
    let mut reading = way.0.start(&gateway, &stream()).await;
    assert_eq!(reading.bytes(3).await, b"one", "{what}");
    upstream.go();
    let (rest, end) = reading.rest().await;
    assert_eq!(
        (rest.len(), end != End::Whole),
        (0, true),
        "{what}: {end:?}"
    );
    let record = gateway.record().await;
    assert_eq!(
        (record.outcome, record.attempts.len()),
        (Outcome::UpstreamCut, 1),
        "{what}"
    );
    assert_eq!(upstream.count(), 1, "{what}");
}

#[tokio::test]
async fn an_answer_that_the_provider_cut_is_seen_as_cut_in_every_framing() {
    for way in WAYS {
        let ok = || Answer::new(200).header("content-type", "text/plain");
        // A reset may overtake what was sent before it; so it waits until that was read.
        let reset = |answer: Answer| answer.cut_after(1, Step::Wait).then(Step::Reset);
        let close = |answer: Answer| answer.cut_after(1, Step::Wait).then(Step::Close);
        check_cut(way, close(ok().parts(["one", "two"]))).await;
        check_cut(way, close(ok().chunked(["one", "two"]))).await;
        let leave = |answer: Answer| answer.cut_after(1, Step::Wait).then(Step::Leave);
        check_cut(way, leave(ok().parts(["one", "two"]))).await;
        check_cut(way, leave(ok().chunked(["one", "two"]))).await;
        check_cut(way, reset(ok().parts(["one", "two"]))).await;
        check_cut(way, reset(ok().chunked(["one", "two"]))).await;
        if !way.1.is_http2() {
            check_cut(way, reset(ok().until_close(["one", "two"]))).await;
        }
    }
}

#[tokio::test]
async fn a_chunk_that_is_cut_or_malformed_is_seen_as_cut() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    for end in [
        "5\r\ntw",
        "5",
        "zz\r\ntwo\r\n0\r\n\r\n",
        "3\r\ntwo0\r\n\r\n",
        "0\r\n",
    ] {
        let steps = [
            Step::Raw(head.into()),
            Step::Wait,
            Step::Raw(end.into()),
            Step::Close,
        ];
        let upstream = Upstream::start([Answer::raw(steps)]).await;
        let gateway = before(&upstream).await;
        let mut reading = Inbound::Http1.start(&gateway, &stream()).await;
        assert_eq!(reading.bytes(3).await, b"one");
        upstream.go();
        assert_ne!(reading.rest().await.1, End::Whole, "{end:?}");
        assert_eq!(
            gateway.record().await.outcome,
            Outcome::UpstreamCut,
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_cut_answer_of_http_1_0_is_seen_as_cut() {
    let head = "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n";
    for (end, is_whole) in [(Step::Close, true), (Step::Reset, false)] {
        for inbound in [Inbound::Http1, Inbound::Http2] {
            let steps = [
                Step::Raw(head.into()),
                Step::Raw("one".into()),
                Step::Wait,
                end.clone(),
            ];
            let upstream = Upstream::start([Answer::raw(steps)]).await;
            let gateway = before(&upstream).await;
            let mut reading = inbound.start(&gateway, &stream()).await;
            assert_eq!(reading.bytes(3).await, b"one");
            upstream.go();
            let seen = reading.rest().await.1;
            assert_eq!(seen == End::Whole, is_whole, "{end:?} {inbound:?} {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_sees_a_cut_answer_as_cut() {
    let whole = || Answer::new(200).chunked(["one", "two"]);
    let answers = [whole(), whole().cut_after(1, Step::Wait).then(Step::Close)];
    let upstream = Upstream::start(answers).await;
    let gateway = before(&upstream).await;
    for (body, end) in [("onetwo", End::Whole), ("one", End::Reset)] {
        let mut client = Client::connect(gateway.addr).await;
        let request = format!("GET {CHAT} HTTP/1.0\r\nhost: x\r\n\r\n");
        client.send(request.as_bytes()).await;
        assert_eq!(client.head().await.header("transfer-encoding"), None);
        let mut read = Vec::new();
        while let Some(piece) = client.piece().await {
            read.extend_from_slice(&piece);
            if end != End::Whole {
                upstream.go();
            }
        }
        assert_eq!(
            (std::str::from_utf8(&read).unwrap(), client.end()),
            (body, Some(end))
        );
    }
}

#[tokio::test]
async fn an_answer_in_the_middle_of_an_upload_reaches_the_client() {
    for way in WAYS.into_iter().filter(|way| way.0 == Inbound::Http1) {
        let refusal = Answer::new(413)
            .body("too much")
            .first(Step::ReadSome(1))
            .early();
        let (upstream, gateway) = way.1.serving([refusal.then(Step::Close)]).await;
        let (content_type, pieces) = multipart(8 << 20);
        let ask = Ask::new("POST", AUDIO)
            .with("content-type", &content_type)
            .chunked(pieces);
        let mut client = Client::connect(gateway.addr).await;
        // The client may be cut while it still sends; what counts is that it can read why.
        client.send_head(&ask).await;
        let bytes = ask.to_bytes();
        let sent = client.try_send(&bytes[ask.head_bytes().len()..]).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status(), reply.text()),
            (413, "too much"),
            "{way:?}: {sent:?}"
        );
        assert_eq!(upstream.count(), 1);
    }
}

/// A lost wake-up between a provider's connection and a client's shows only where both sides run on
/// threads of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_streams_on_several_threads_all_end_whole() {
    for (inbound, outbound) in WAYS {
        let mut answer = sse(Vec::<Bytes>::new());
        for index in 0..20_u64 {
            let event = format!("data: {{\"index\":{index}}}\n\n");
            answer = answer
                .then(Step::Data(event.into()))
                .then(Step::Pause(Duration::from_micros(index * 97 % 700)));
        }
        let (upstream, gateway) = outbound.serving([answer]).await;
        let gateway = Arc::new(gateway);
        let mut clients = JoinSet::new();
        for _ in 0..32 {
            let gateway = Arc::clone(&gateway);
            clients.spawn(async move {
                for _ in 0..5 {
                    let reading = inbound.start(&gateway, &stream()).await;
                    let (body, end) = reading.rest().await;
                    assert_eq!((body.len(), end), (390, End::Whole));
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        assert_eq!(
            (upstream.count(), gateway.records(160).await.len()),
            (160, 160)
        );
    }
}

/// hyper (1.12, `Conn::mid_message_detect_eof`) does not look for the end of a connection while it
/// holds bytes of a further request: only writing tells.
#[tokio::test]
async fn a_client_that_pipelined_is_noticed_to_be_gone_when_more_is_sent() {
    let event = || Step::Data("data: {}\n\n".into());
    let mut answer = sse(["data: {}\n\n"]).then(Step::Wait);
    for _ in 0..20 {
        answer = answer
            .then(event())
            .then(Step::Pause(Duration::from_millis(10)));
    }
    let (upstream, gateway) = Outbound::Http1.serving([answer.then(Step::Stall)]).await;
    let mut client = Client::connect(gateway.addr).await;
    client
        .send(&Ask::post(CHAT, PROMPT).to_bytes().repeat(2))
        .await;
    client.head().await;
    client.piece().await;
    drop(client);
    upstream.go();
    upstream.given_up(0).await;
    assert_eq!(gateway.record().await.outcome, Outcome::ClientLeft);
    assert_eq!(upstream.count(), 1, "nobody waits for the further answer");
}
