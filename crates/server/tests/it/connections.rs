//! Connections: which are kept and used again, which are not, and how long they may rest.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::{Ask, Client, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT, Random};
use isango_testkit::h2::H2Client;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{CHAT, Harness};
use crate::legs::{Outbound, WAYS, before, provider, with};

fn post() -> Ask {
    Ask::post(CHAT, PROMPT)
}

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    for outbound in [
        Outbound::Http1,
        Outbound::Http1Tls,
        Outbound::Http2,
        Outbound::Http2Tls,
    ] {
        let stream = || sse(["data: {}\n\n"]);
        let bodiless = Answer::new(204);
        let script = [json("{}"), stream(), bodiless, json(COMPLETION), json("{}")];
        let (upstream, gateway) = outbound.serving(script).await;
        for _ in 0..5 {
            gateway.ask(&post()).await;
        }
        gateway.ask(&Ask::new("HEAD", CHAT)).await;
        gateway.ask(&post()).await;
        assert_eq!(
            (upstream.count(), upstream.connections().len()),
            (7, 1),
            "{outbound:?}"
        );
        let records = gateway.records(7).await;
        let reused: Vec<bool> = records
            .iter()
            .map(|record| record.attempts[0].reused)
            .collect();
        assert_eq!(
            reused,
            [false, true, true, true, true, true, true],
            "{outbound:?}"
        );
    }
}

#[tokio::test]
async fn requests_at_once_share_a_connection_of_http2() {
    let (upstream, gateway) = Outbound::Http2Tls
        .serving([json("{}").first(Step::Wait)])
        .await;
    let mut first = Client::connect(gateway.addr).await;
    upstream.go();
    first.ask(&post()).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = Client::connect(gateway.addr).await;
        client.send_ask(&post()).await;
        clients.push(client);
    }
    upstream.request(12).await;
    for mut client in clients {
        upstream.go();
        assert_eq!(client.reply().await.text(), "{}");
    }
    assert_eq!(upstream.connections().len(), 1);
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_not_used_again() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = with("[upstream]\npool_idle_timeout = \"30ms\"\n", &upstream).await;
    gateway.ask(&post()).await;
    sleep(Duration::from_millis(50)).await;
    gateway.ask(&post()).await;
    assert_eq!(upstream.connections().len(), 2);
}

/// A provider that closes its connections at random moments while they rest. Tells each body it
/// was sent.
struct Fickle {
    addr: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    _serving: JoinSet<()>,
}

impl Fickle {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let bodies = Arc::default();
        let mut serving = JoinSet::new();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::clone(&bodies);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            for seed in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(Self::serve(stream, Random::new(seed), Arc::clone(&seen)));
            }
        });
        Self {
            addr,
            bodies,
            _serving: serving,
        }
    }

    async fn serve(mut stream: TcpStream, mut random: Random, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
        let mut rest = Duration::from_secs(5);
        loop {
            let mut request = Vec::new();
            let body = loop {
                if let Some(body) = body_of(&request) {
                    break body;
                }
                // Closing a socket that holds an unread request resets the connection: that is
                // another fault, which no client can tell from a request that was read.
                match timeout(rest, stream.read_buf(&mut request)).await {
                    Ok(Ok(read)) if read > 0 => {}
                    Err(_elapsed) if holds_unread_bytes(&stream) => {}
                    _ => return,
                }
            };
            seen.lock().push(body);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await
                .unwrap();
            rest = Duration::from_micros(random.below(2_000) as u64);
        }
    }
}

fn holds_unread_bytes(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    SockRef::from(stream)
        .peek(&mut byte)
        .is_ok_and(|read| read > 0)
}

/// The body of a request with its length, once it is whole.
fn body_of(request: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(request).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    (body.len() == length.parse::<usize>().unwrap()).then(|| body.into())
}

#[tokio::test]
async fn connections_that_the_provider_closes_at_random_never_show() {
    let fickle = Fickle::start().await;
    let url = format!("http://{}/v1", fickle.addr);
    let gateway = Harness::start(&provider("openai", &url)).await;
    let mut client = Client::connect(gateway.addr).await;
    let mut random = Random::new(99);
    let mut sent = Vec::new();
    for index in 0..500 {
        let body = format!(r#"{{"model":"m","user":"{index}"}}"#);
        let reply = client.ask(&Ask::post(CHAT, body.clone())).await;
        assert_eq!(
            (reply.status(), reply.text()),
            (200, "{}"),
            "request {index}"
        );
        sent.push(body.into_bytes());
        sleep(Duration::from_micros(random.below(2_000) as u64)).await;
    }
    assert!(
        *fickle.bodies.lock() == sent,
        "each request arrives once, in order"
    );
    let records = gateway.records(500).await;
    let reused = records
        .iter()
        .filter(|record| record.attempts[0].reused)
        .count();
    assert!(
        (1..499).contains(&reused),
        "{reused} of 500 used a kept connection"
    );
}

/// Here closes and requests cross on their way. A request may fail, since a reset does not tell
/// whether it was read; none may be sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_doubled_while_connections_are_closed_at_random() {
    let fickle = Fickle::start().await;
    let url = format!("http://{}/v1", fickle.addr);
    let gateway = Harness::start(&provider("openai", &url)).await;
    let mut clients = JoinSet::new();
    for name in 0..8 {
        let addr = gateway.addr;
        clients.spawn(async move {
            let mut client = Client::connect(addr).await;
            let mut random = Random::new(name);
            let mut answered = 0;
            for index in 0..150 {
                let body = format!(r#"{{"model":"m","user":"{name}.{index}"}}"#);
                let reply = client.ask(&Ask::post(CHAT, body)).await;
                assert!(matches!(reply.status(), 200 | 502), "{reply:?}");
                answered += usize::from(reply.status() == 200);
                sleep(Duration::from_micros(random.below(1_000) as u64)).await;
            }
            answered
        });
    }
    let answered: usize = clients.join_all().await.into_iter().sum();
    let mut bodies = fickle.bodies.lock().clone();
    let sent = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), sent, "a request arrived twice");
    assert!(answered >= 1_150, "{answered} of 1 200 were answered");
}

/// On a kept connection the provider reads a request and ends without an answer.
async fn check_left_without_an_answer(outbound: Outbound, end: Step) {
    let what = format!("{outbound:?}: {end:?}");
    let script = [json("{}"), Answer::raw([end]), json("{}")];
    let (upstream, gateway) = outbound.serving(script).await;
    gateway.ask(&post()).await;
    let reply = gateway.ask(&post()).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (502, &3013.into()),
        "{what}"
    );
    assert_eq!(upstream.count(), 2, "{what}: the request was doubled");
    let records = gateway.records(2).await;
    assert!(records[1].attempts[0].reused, "{what}");
    assert_eq!(
        records[1].attempts[0].error.as_deref(),
        Some("no_answer"),
        "{what}"
    );
}

#[tokio::test]
async fn a_request_that_was_read_is_not_sent_twice() {
    for outbound in [Outbound::Http1, Outbound::Http1Tls] {
        for end in [Step::Close, Step::Leave, Step::Drop, Step::Reset] {
            check_left_without_an_answer(outbound, end).await;
        }
    }
}

#[tokio::test]
async fn a_request_that_does_no_harm_is_sent_again_from_a_kept_connection_only() {
    let upstream = Upstream::start([json("{}"), Answer::raw([Step::Close]), json("{}")]).await;
    let gateway = before(&upstream).await;
    let ask = Ask::get("/v1/local/default/openai/models");
    gateway.ask(&ask).await;
    assert_eq!(gateway.ask(&ask).await.status(), 200);
    assert_eq!(upstream.count(), 3);
    let upstream = Upstream::start([Answer::raw([Step::Close]), json("{}")]).await;
    let gateway = before(&upstream).await;
    assert_eq!(gateway.ask(&ask).await.status(), 502);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn bytes_after_an_answer_never_reach_another_client() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\n{body}");
    for first in [
        answer(&format!("content-length: 2\r\n\r\n{{}}{evil}")),
        answer(&format!(
            "transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{evil}"
        )),
    ] {
        for steps in [
            vec![Step::Raw(first.clone().into())],
            // The same, where the surplus comes while the connection rests.
            vec![
                Step::Raw(first[..first.len() - evil.len()].to_owned().into()),
                Step::Raw(evil.into()),
            ],
        ] {
            let upstream = Upstream::start([Answer::raw(steps), json("[]")]).await;
            let gateway = before(&upstream).await;
            assert_eq!(gateway.ask(&post()).await.text(), "{}");
            assert_eq!(gateway.ask(&post()).await.text(), "[]");
            assert_eq!(upstream.connections().len(), 2);
        }
    }
}

#[tokio::test]
async fn an_answer_framed_twice_is_refused() {
    for body in ["7\r\nseven!!\r\n0\r\n\r\n", "1\r\nx\r\n0\r\n\r\n"] {
        for framing in [
            "content-length: 3\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 3",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}");
            let upstream = Upstream::start([Answer::raw([Step::Raw(answer.into())])]).await;
            let gateway = before(&upstream).await;
            let reply = gateway.ask(&post()).await;
            assert_eq!(reply.status(), 502, "{framing}");
            assert_eq!(
                gateway.record().await.attempts[0].error.as_deref(),
                Some("bad_answer")
            );
            // Nobody else gets what is left of it.
            upstream.given_up(0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_sound_http_is_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
    ] {
        let steps = [Step::Raw(answer.into()), Step::Close];
        let upstream = Upstream::start([Answer::raw(steps)]).await;
        let gateway = before(&upstream).await;
        let reply = gateway.ask(&post()).await;
        assert_eq!(
            (reply.status(), &reply.json()["internalCode"]),
            (502, &3014.into()),
            "{answer:?}"
        );
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_client_may_keep_its_connection_and_give_it_up() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..3 {
        assert_eq!(client.ask(&post()).await.status(), 200);
        assert_eq!(client.ask(&Ask::get("/nowhere")).await.status(), 404);
        assert_eq!(
            client
                .ask(&Ask::post("/v1/local/default/none/x", PROMPT))
                .await
                .status(),
            400
        );
    }
    let last = client.ask(&post().with("connection", "close")).await;
    assert_eq!(last.header("connection"), Some("close"));
    assert_eq!(client.all().await, b"");
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_order() {
    let upstream = Upstream::start([json("1"), json("2"), json("3")]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send(&post().to_bytes().repeat(3)).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(client.reply().await.text(), expected);
    }
}

#[tokio::test]
async fn slow_heads_are_cut_and_slow_bodies_and_answers_are_not() {
    let slow = json("{}").first(Step::Pause(Duration::from_millis(400)));
    let upstream = Upstream::start([slow]).await;
    let gateway = with("[server]\nheader_timeout = \"100ms\"\n", &upstream).await;
    let head = post().head_bytes();
    for start in [&b""[..], b"P", &head[..head.len() - 2]] {
        let mut client = Client::connect(gateway.addr).await;
        let begun = Instant::now();
        client.send(start).await;
        client.all().await;
        let lived = begun.elapsed();
        assert!(
            (60..1_000).contains(&lived.as_millis()),
            "{start:?} lived {lived:?}"
        );
    }
    let mut drip = Client::connect(gateway.addr).await;
    let begun = Instant::now();
    while drip.try_send(b"x").await.is_ok() && begun.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "a head that drips is no head"
    );
    let mut patient = Client::connect(gateway.addr).await;
    patient.send_head(&post()).await;
    sleep(Duration::from_millis(300)).await;
    patient.send(PROMPT.as_bytes()).await;
    assert_eq!(patient.reply().await.status(), 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_connection_may_rest_as_long_as_it_is_allowed_to() {
    let upstream = Upstream::start([json("{}")]).await;
    let settings = "[server]\nheader_timeout = \"100ms\"\nidle_timeout = \"600ms\"\n";
    let gateway = with(settings, &upstream).await;
    let mut http1 = Client::connect(gateway.addr).await;
    let mut http2 = H2Client::connect(gateway.addr).await;
    for _ in 0..2 {
        assert_eq!(http1.ask(&post()).await.status(), 200);
        assert_eq!(http2.ask(&post()).await.status(), 200);
        sleep(Duration::from_millis(300)).await;
    }
    let begun = Instant::now();
    assert_eq!(http1.all().await, b"");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "it outstayed its time"
    );
}

#[tokio::test]
async fn resting_and_stalled_connections_do_not_disturb_others() {
    let stalled = sse(["data: {}\n\n"]).then(Step::Stall);
    let upstream = Upstream::start_by(move |received| match &*received.head.target {
        "/v1/stall" => stalled.clone(),
        _ => json("{}"),
    })
    .await;
    let gateway = before(&upstream).await;
    let mut others = Vec::new();
    for index in 0..150 {
        let mut client = Client::connect(gateway.addr).await;
        match index % 3 {
            0 => client.send(b"POST /v1/lo").await,
            1 => {
                client
                    .send_ask(&Ask::get("/v1/local/default/openai/stall"))
                    .await
            }
            _ => {}
        }
        others.push(client);
    }
    upstream.request(49).await;
    let mut worst = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(gateway.ask(&post()).await.status(), 200);
        worst = worst.max(begun.elapsed());
    }
    assert!(worst < Duration::from_millis(250), "{worst:?}");
}

#[tokio::test]
async fn aborted_streams_leave_no_connection_behind() {
    for (inbound, outbound) in WAYS {
        let answer = sse(["data: {}\n\n"]).then(Step::Stall);
        let (upstream, gateway) = outbound.serving([answer]).await;
        for index in 0..30 {
            let mut reading = inbound
                .start(&gateway, &Ask::get("/v1/local/default/openai/x"))
                .await;
            reading.bytes(10).await;
            drop(reading);
            upstream.given_up(index).await;
        }
        gateway.records(30).await;
        let gone = ["isango_connections 0", "isango_requests_in_flight 0"];
        within("connections and requests to be gone", async {
            loop {
                let metrics = ask(gateway.admin, &Ask::get("/metrics")).await;
                if gone.iter().all(|line| metrics.text().contains(line)) {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_may_begin_like_http2_and_take_its_time() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let request = post().to_bytes();
    for first in [1, 2, request.len() - 1] {
        let mut client = Client::connect(gateway.addr).await;
        client.send(&request[..first]).await;
        sleep(Duration::from_millis(20)).await;
        client.send(&request[first..]).await;
        assert_eq!(client.reply().await.text(), "{}", "{first} first");
    }
    // A method that shares more with the preface.
    let mut client = Client::connect(gateway.addr).await;
    client.send(b"PRI").await;
    sleep(Duration::from_millis(20)).await;
    client
        .send(b"SM /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status(), 404);
}

#[tokio::test]
async fn a_connection_of_http2_may_begin_byte_by_byte() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send(&[*byte]).await;
        sleep(Duration::from_millis(2)).await;
    }
    // SETTINGS, and GET / on stream 1 (RFC 9113 section 4.1, RFC 7541 appendix A).
    client.send(b"\0\0\0\x04\0\0\0\0\0").await;
    client
        .send(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x")
        .await;
    assert_eq!(gateway.record().await.status, Some(404));
}

/// There is room for one connection: the next client waits until the last is gone.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_first_bytes_is_gone() {
    let upstream = Upstream::start([json("{}")]).await;
    let settings = "[server]\nmax_connections = 1\nheader_timeout = \"1h\"\n";
    let gateway = with(settings, &upstream).await;
    for first in [&b"P"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"PO"] {
        for reset in [false, true] {
            let mut client = Client::connect(gateway.addr).await;
            client.send(first).await;
            sleep(Duration::from_millis(20)).await;
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let what = format!("{first:?} to be given up, reset: {reset}");
            let reply = within(&what, gateway.ask(&post())).await;
            assert_eq!(reply.status(), 200, "{what}");
        }
    }
    let metrics = async {
        loop {
            let metrics = ask(gateway.admin, &Ask::get("/metrics")).await;
            if metrics.text().contains("isango_connections 0\n") {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("all connections to be gone", metrics).await;
}

/// Clients that wait with a part of the preface cost no time of a processor.
#[tokio::test]
async fn waiting_for_the_rest_of_the_first_bytes_is_idle() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = before(&upstream).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(gateway.addr).await;
        client.send(b"P").await;
        clients.push(client);
    }
    sleep(Duration::from_millis(50)).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let polls = || metrics.worker_park_count(0);
    let before = polls();
    sleep(Duration::from_millis(300)).await;
    let parked = polls() - before;
    assert!(parked < 100, "woken {parked} times in 300 ms");
}
