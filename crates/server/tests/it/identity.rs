//! Identity: what goes in comes out, to the byte, in both directions.

use std::sync::Arc;

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::{self, COMPLETION, PROMPT, binary, gzip, multipart};
use isango_testkit::h2::H2Client;
use isango_testkit::head::Head;
use isango_testkit::upstream::{Received, Upstream};

use crate::harness::{CHAT, Harness};
use crate::legs::{Inbound, WAYS, before, provider};

const EMBEDDINGS: &str = "/v1/local/default/openai/embeddings";
const MESSAGES: &str = "/v1/local/default/anthropic/v1/messages";
const AUDIO: &str = "/v1/local/default/openai/audio/transcriptions";
const SPEECH: &str = "/v1/local/default/openai/audio/speech";

fn echo(received: &Received) -> Answer {
    json(received.body.clone())
}

#[tokio::test]
async fn bodies_cross_whatever_they_are() {
    let upstream = Upstream::start_by(echo).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let mut index = 0;
    for path in [EMBEDDINGS, MESSAGES] {
        for (name, body) in fixtures::json::corpus() {
            let reply = client.ask(&Ask::post(path, body.clone())).await;
            assert!(
                upstream.request(index).await.body == body,
                "{name}: the request differs"
            );
            assert!(
                reply.status() == 200 && reply.body == body,
                "{name}: the answer differs"
            );
            index += 1;
        }
    }
}

#[tokio::test]
async fn bodies_cross_in_chunks_and_by_http2() {
    let upstream = Upstream::start_by(echo).await;
    let gateway = before(&upstream).await;
    let mut http1 = Client::connect(gateway.addr).await;
    let mut http2 = H2Client::connect(gateway.addr).await;
    for (seed, (name, body)) in (1..).zip(fixtures::json::corpus()) {
        if body.len() > 100_000 || seed % 3 > 0 {
            continue;
        }
        let pieces = fixtures::cut(&body, 1 + body.len() / 3, seed);
        let ask = Ask::post(EMBEDDINGS, "").chunked(pieces);
        assert!(http1.ask(&ask).await.body == body, "{name} in chunks");
        assert!(http2.ask(&ask).await.body == body, "{name} by HTTP/2");
    }
}

/// Plays each stream of the corpus in each cutting; the request's target says which.
async fn streams(inbound: Inbound, zipped: bool) {
    let mut cases = Vec::new();
    for (name, stream) in fixtures::sse::streams() {
        for (how, pieces) in fixtures::sse::cuts(&stream) {
            // Byte by byte shows nothing in gzip that it does not show without, and nothing is no
            // gzip at all.
            if !zipped || (1..100).contains(&pieces.len()) && !stream.is_empty() {
                cases.push((format!("{name}, cut {how}"), stream.clone(), pieces));
            }
        }
    }
    let cases = Arc::new(cases);
    let shown = Arc::clone(&cases);
    let upstream = Upstream::start_by(move |received| {
        let case: usize = received.head.header("x-case").unwrap().parse().unwrap();
        let answer = sse(shown[case].2.clone());
        if zipped { answer.gzipped() } else { answer }
    })
    .await;
    let gateway = before(&upstream).await;
    let body = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#;
    let (mut http1, mut http2) = (
        Client::connect(gateway.addr).await,
        H2Client::connect(gateway.addr).await,
    );
    for (index, (name, stream, _)) in cases.iter().enumerate() {
        let ask = Ask::post(CHAT, body).with("x-case", &index.to_string());
        let reply = match inbound {
            Inbound::Http1 => http1.ask(&ask).await,
            Inbound::Http2 => http2.ask(&ask).await,
        };
        let read = if zipped {
            gunzip(&reply.body)
        } else {
            reply.body
        };
        assert!(
            read == *stream && reply.end == End::Whole,
            "{name}: {} bytes",
            read.len()
        );
    }
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    std::io::Read::read_to_end(&mut decoder, &mut decoded).unwrap();
    decoded
}

#[tokio::test]
async fn streams_cross_however_they_are_spelled_and_cut() {
    streams(Inbound::Http1, false).await;
}

#[tokio::test]
async fn streams_cross_to_http2_however_they_are_spelled_and_cut() {
    streams(Inbound::Http2, false).await;
}

#[tokio::test]
async fn compressed_streams_cross_as_they_are() {
    streams(Inbound::Http1, true).await;
}

#[tokio::test]
async fn encoded_and_binary_bodies_cross_untouched() {
    for (inbound, outbound) in WAYS {
        let audio = binary(3 << 20, 5);
        let zipped = gzip(PROMPT.as_bytes());
        let answers = [
            Answer::new(200)
                .header("content-type", "audio/mpeg")
                .body(audio.clone()),
            Answer::new(200)
                .header("content-encoding", "gzip")
                .body(gzip(COMPLETION.as_bytes())),
            // Encodings that nobody knows, or that the body does not have.
            Answer::new(200)
                .header("content-encoding", "x-own, br")
                .body(audio.slice(..999)),
            Answer::new(200)
                .header("content-encoding", "gzip")
                .body("no gzip at all"),
        ];
        let expected = [
            audio.clone(),
            gzip(COMPLETION.as_bytes()),
            audio.slice(..999),
            Bytes::from_static(b"no gzip at all"),
        ];
        let (upstream, gateway) = outbound.serving(answers).await;
        for (index, body) in expected.into_iter().enumerate() {
            let ask = Ask::post(SPEECH, zipped.clone()).with("content-encoding", "gzip");
            let read = inbound.start(&gateway, &ask).await.rest().await;
            assert!(
                read == (body.to_vec(), End::Whole),
                "answer {index}, {inbound:?} {outbound:?}"
            );
            let received = upstream.request(index).await;
            assert_eq!(received.head.header("content-encoding"), Some("gzip"));
            assert!(
                received.body == zipped,
                "request {index}, {inbound:?} {outbound:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_large_upload_crosses_whole() {
    for (inbound, outbound) in WAYS {
        let (upstream, gateway) = outbound.serving([json("{}")]).await;
        let (content_type, pieces) = multipart(50 << 20);
        let body = pieces.concat();
        let ask = Ask::new("POST", AUDIO).with("content-type", &content_type);
        let ask = match inbound {
            Inbound::Http1 => ask.body(body.clone()),
            Inbound::Http2 => ask.chunked(pieces),
        };
        let answer = inbound.start(&gateway, &ask).await;
        assert_eq!(answer.head().status, 200);
        let received = upstream.request(0).await;
        assert_eq!(received.head.header("content-type"), Some(&*content_type));
        assert_eq!(
            (received.body_bytes, received.digest),
            (body.len() as u64, fixtures::digest(&body)),
            "{inbound:?} {outbound:?}"
        );
    }
}

#[tokio::test]
async fn a_large_upload_reaches_the_provider_before_half_of_it_was_sent() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let (content_type, pieces) = multipart(50 << 20);
    let body = pieces.concat();
    let ask = Ask::new("POST", AUDIO)
        .with("content-type", &content_type)
        .body(body.clone());
    let mut client = Client::connect(gateway.addr).await;
    client.send_head(&ask).await;
    let quarter = body.len() / 4;
    client.send(&body[..quarter]).await;
    assert!(!upstream.body_bytes(0, quarter as u64).await.complete);
    client.send(&body[quarter..]).await;
    assert_eq!(client.reply().await.status(), 200);
    assert_eq!(upstream.request(0).await.digest, fixtures::digest(&body));
}

#[tokio::test]
async fn an_upload_that_the_provider_does_not_read_waits_at_the_client() {
    for is_http2 in [false, true] {
        // One that takes the connection and never reads, and one that never reads the stream.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let h2 = Upstream::start_h2([json("{}").first(Step::Stall).early()]).await;
        let (addr, http2) = match is_http2 {
            false => (deaf.local_addr().unwrap(), "never"),
            true => (h2.addr(), "always"),
        };
        let provider = provider("openai", &format!("http://{addr}/v1"));
        let gateway = Harness::start(&format!("[upstream]\nhttp2 = \"{http2}\"\n{provider}")).await;
        let (content_type, pieces) = multipart(50 << 20);
        let ask = Ask::new("POST", AUDIO)
            .with("content-type", &content_type)
            .chunked(pieces);
        let mut client = Client::connect(gateway.addr).await;
        client.send_head(&ask).await;
        let bytes = ask.to_bytes();
        let mut taken = 0;
        for block in bytes[ask.head_bytes().len()..].chunks(256 << 10) {
            let sent =
                tokio::time::timeout(std::time::Duration::from_millis(300), client.send(block));
            if sent.await.is_err() {
                break;
            }
            taken += block.len();
        }
        assert!(
            taken < 24 << 20,
            "HTTP/2 {is_http2}: {taken} bytes wait in the gateway"
        );
    }
}

/// Names in lower case with their values, in the order of the names; values of one name stay in
/// theirs.
fn fields(head: &Head, without: &[&str]) -> Vec<(String, Vec<u8>)> {
    let lower = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()));
    let mut kept: Vec<_> = lower
        .filter(|(name, _)| !without.iter().any(|other| name.starts_with(other)))
        .collect();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    kept
}

fn sorted(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<_> = list
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_bytes().to_vec()))
        .collect();
    list.sort_by(|(a, _), (b, _)| a.cmp(b));
    list
}

/// Headers that are unusual and must cross all the same.
const UNUSUAL: &[(&str, &str)] = &[
    ("Authorization", "Bearer sk-1"),
    ("api-key", "k"),
    ("X-Two", "second first"),
    ("X-Two", "a, b"),
    ("X-Two", ""),
    ("X-Empty", ""),
    ("X-Tab", "a\tb"),
    ("X-Quoted", r#""a, \"b\"" ; q=0.1"#),
    ("X-Utf8", "umlaut ü, 漢字, 🌍"),
    ("!#$%&'*+-.^_`|~09aZ", "every sign of a name"),
    ("X_Under_Score", "1"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, br;q=0"),
    ("Accept-Language", "zu"),
    ("Cookie", "a=b; c=d"),
    ("Forwarded", "for=192.0.2.1"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("Via", "1.1 before"),
    ("Range", "bytes=0-1"),
    ("If-None-Match", "\"tag\""),
    ("Idempotency-Key", "7"),
    ("OpenAI-Organization", "org"),
    ("anthropic-version", "2023-06-01"),
    ("x-stainless-retry-count", "0"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("User-Agent", "Isango-Test/1 (a; b)"),
    ("cf-ray", "not ours"),
];

/// Headers that belong to one connection, or to the gateway.
const STAY: &[(&str, &str)] = &[
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authorization", "Basic x"),
    ("cf-aig-metadata", "{}"),
    ("cf-aig-of-tomorrow", "1"),
    ("cf-access-client-id", "x"),
];

#[tokio::test]
async fn every_header_of_a_request_crosses_but_those_of_the_connection_and_ours() {
    for (inbound, outbound) in WAYS {
        let (upstream, gateway) = outbound.serving([json("{}")]).await;
        let long = "v".repeat(8 << 10);
        let sent = [
            UNUSUAL,
            &[("x-long", &*long), ("content-type", "application/json")],
        ]
        .concat();
        let stay = STAY.iter().filter(|(name, _)| {
            // HTTP/2 has no headers of the connection.
            inbound == Inbound::Http1 || name.starts_with("cf-") || name.starts_with("Proxy-A")
        });
        let mut ask = Ask::new("POST", CHAT).body(PROMPT);
        for (name, value) in sent.iter().chain(stay) {
            ask = ask.with(name, value);
        }
        assert_eq!(
            inbound.start(&gateway, &ask).await.head().status,
            200,
            "{inbound:?} {outbound:?}"
        );
        let head = upstream.request(0).await.head;
        let received = fields(&head, &["host", ":authority", "content-length"]);
        assert_eq!(received, sorted(&sent), "{inbound:?} {outbound:?}");
        let authority = upstream.addr().to_string();
        let host = if head.version == 20 {
            ":authority"
        } else {
            "host"
        };
        assert_eq!(head.header(host), Some(&*authority));
        assert_eq!(head.target, "/v1/chat/completions");
    }
}

#[tokio::test]
async fn every_header_of_an_answer_crosses_but_those_of_the_connection_and_ours() {
    let sent = [
        ("Content-Type", "application/json"),
        ("Set-Cookie", "__cf_bm=1; path=/"),
        ("Set-Cookie", "b=2"),
        ("X-Request-Id", "req_1"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("retry-after-ms", "20"),
        ("Server", "cloudflare"),
        ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("Alt-Svc", "h3=\":443\""),
        ("X-Empty", ""),
        ("X-Utf8", "ü 🌍"),
        ("ETag", "\"a\""),
        ("Vary", "*"),
        ("WWW-Authenticate", "Bearer realm=\"a, b\""),
        ("Strict-Transport-Security", "max-age=1"),
        ("Access-Control-Allow-Origin", "*"),
        ("Location", "https://elsewhere.test/"),
    ];
    let stay = [
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("cf-aig-step", "9"),
    ];
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let mut answer = Answer::new(307).body("{}");
        for (name, value) in sent.iter().chain(&stay) {
            answer = answer.header(name, value);
        }
        let upstream = Upstream::start([answer]).await;
        let gateway = before(&upstream).await;
        let reading = inbound.start(&gateway, &Ask::post(CHAT, PROMPT)).await;
        let received = fields(reading.head(), &["cf-aig-", "content-length"]);
        assert_eq!(received, sorted(&sent), "{inbound:?}");
        assert_eq!(reading.head().header("cf-aig-step"), Some("0"));
        assert_eq!(reading.head().header("content-length"), Some("2"));
        assert_eq!(upstream.count(), 1, "a redirect is the client's to follow");
    }
}

#[tokio::test]
async fn an_answer_without_a_date_gets_no_header_but_a_date_and_ours() {
    let upstream = Upstream::start([Answer::new(200).chunked(["x"])]).await;
    let gateway = before(&upstream).await;
    let reply = gateway
        .ask(&Ask::get("/v1/local/default/openai/models"))
        .await;
    let names: Vec<String> = fields(&reply.head, &["cf-aig-"])
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(names, ["date", "transfer-encoding"]);
}

#[tokio::test]
async fn every_status_crosses_with_its_reason() {
    for (inbound, outbound) in WAYS {
        for code in [
            200, 201, 299, 300, 302, 400, 401, 404, 418, 429, 451, 499, 500, 503, 529, 599, 999,
        ] {
            let (_upstream, gateway) = outbound.serving([status(code).reason("As It Were")]).await;
            let reading = inbound.start(&gateway, &Ask::post(CHAT, PROMPT)).await;
            let head = reading.head();
            assert_eq!(head.status, code);
            if (inbound, outbound.is_http2()) == (Inbound::Http1, false) {
                assert_eq!(head.reason, "As It Were");
            }
            let body = String::from_utf8(reading.rest().await.0).unwrap();
            assert!(body.contains(&format!(r#""code":"{code}""#)), "{body}");
        }
    }
}

#[tokio::test]
async fn answers_without_bodies_end_with_their_heads() {
    for (inbound, outbound) in WAYS {
        for (method, answer, length) in [
            ("HEAD", json(COMPLETION), Some(COMPLETION.len())),
            ("HEAD", Answer::new(200).chunked(["x"]), None),
            ("HEAD", Answer::new(404).body(""), Some(0)),
            ("GET", Answer::new(204), None),
            ("GET", Answer::new(304), None),
            ("POST", Answer::new(200).body(""), Some(0)),
            (
                "OPTIONS",
                Answer::new(204).header("allow", "GET, POST"),
                None,
            ),
        ] {
            let what = format!("{inbound:?} {outbound:?} {method} {answer:?}");
            let (upstream, gateway) = outbound.serving([answer]).await;
            let mut reading = inbound.start(&gateway, &Ask::new(method, CHAT)).await;
            let told = reading
                .head()
                .header("content-length")
                .map(|n| n.parse().unwrap());
            // Over HTTP/2 the scripted provider tells no length of nothing.
            if !outbound.is_http2() {
                assert_eq!(told, length, "{what}");
            }
            assert_eq!(reading.bytes(1).await, b"", "{what}");
            assert_eq!(upstream.request(0).await.head.method, method, "{what}");
        }
    }
}

#[tokio::test]
async fn every_method_crosses_with_and_without_a_body() {
    for (inbound, outbound) in WAYS {
        let (upstream, gateway) = outbound.serving([json("{}")]).await;
        let target = "/v1/local/default/openai/files/a%2Fb?x=1&y=%20";
        let mut index = 0;
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "QUERY", "x-own",
        ] {
            for (body, ask) in [
                ("", Ask::new(method, target)),
                ("{}", Ask::new(method, target).body("{}")),
                ("chunks", Ask::new(method, target).chunked(["chu", "nks"])),
            ] {
                inbound.start(&gateway, &ask).await.rest().await;
                let received = upstream.request(index).await;
                let what = format!("{inbound:?} {outbound:?} {method} {body:?}");
                assert_eq!(received.head.method, method, "{what}");
                assert_eq!(received.head.target, "/v1/files/a%2Fb?x=1&y=%20", "{what}");
                assert_eq!(received.body, body.as_bytes(), "{what}");
                index += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_no_answer() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let upstream = Upstream::start([Answer::raw([Step::Raw(switch.into())])]).await;
    let gateway = before(&upstream).await;
    let reply = gateway.ask(&Ask::post(CHAT, PROMPT)).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (502, &3014.into())
    );
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_the_provider_does_not_wait() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for (index, path) in [CHAT, AUDIO].into_iter().enumerate() {
        client
            .send_head(&Ask::post(path, PROMPT).with("expect", "100-continue"))
            .await;
        assert_eq!(client.any_head().await.status, 100);
        client.send(PROMPT.as_bytes()).await;
        assert_eq!(client.reply().await.text(), COMPLETION);
        let received = upstream.request(index).await;
        assert_eq!(
            (received.head.header("expect"), &received.body[..]),
            (None, PROMPT.as_bytes())
        );
    }
}
