//! Connections, counters, shutdown, HTTP/2, and the simulator's own pages.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use isango_simulator::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::client::{Request, Server, quick, read};

fn body(stream: bool) -> Value {
    json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})
}

fn chat(stream: bool) -> Request {
    Request::post("/v1/chat/completions", &body(stream)).header("authorization", "Bearer k")
}

#[tokio::test]
async fn the_pages_of_the_simulator_tell_what_it_offers_and_counts() {
    let server = Server::quick().await;
    let page = server.get("/").await;
    assert!(page.text().contains("x-sim-NAME") && page.text().contains("cut-after"));
    assert!(
        page.text()
            .contains("curl -s http://sim/v1/chat/completions")
    );
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    server.send(chat(false)).await.json();
    server.send(chat(true)).await.events();
    server.get("/nowhere").await.refusal(404);
    let stats = server.get("/sim/stats").await.json();
    assert_eq!(
        (&stats["requests"], &stats["other"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(stats["surfaces"], json!({"openai.chat": 2}));
    assert_eq!(
        (&stats["streams"], &stats["aborted"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(stats["running"], 0);
    server.until(|stats| stats.open_connections() == 0).await;
}

#[tokio::test]
async fn head_requests_get_the_head_alone() {
    let server = Server::quick().await;
    let request = Request::new("HEAD", "/v1/models").header("authorization", "Bearer k");
    let reply = server.send(request).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_ne!(reply.header("content-length"), Some("0"));
    assert_eq!(server.stats.aborted(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted() {
    let server = Server::quick().await;
    let mut socket = server.connect().await;
    let stalled = chat(true).header("x-sim-stall-after", "1");
    socket.write_all(&stalled.bytes(false)).await.unwrap();
    socket.read_u8().await.unwrap();
    assert_eq!(
        (server.stats.running(), server.stats.aborted_streams()),
        (1, 0)
    );
    drop(socket);
    server
        .until(|stats| stats.aborted_streams() == 1 && stats.open_connections() == 0)
        .await;

    let mut socket = server.connect().await;
    let late = chat(false).header("x-sim-latency-ms", "600000");
    socket.write_all(&late.bytes(false)).await.unwrap();
    server.until(|stats| stats.running() == 1).await;
    drop(socket);
    server
        .until(|stats| stats.aborted() == 2 && stats.running() == 0)
        .await;
    assert_eq!(server.stats.aborted_streams(), 1);
}

#[tokio::test]
async fn running_streams_end_whole_when_the_simulator_stops() {
    let mut server = Server::quick().await;
    let mut socket = server.connect().await;
    let idle = server.connect().await;
    let stalled = chat(true)
        .header("x-sim-stall-after", "3")
        .header("x-sim-stall-ms", "100");
    socket.write_all(&stalled.bytes(false)).await.unwrap();
    server.until(|stats| stats.running() == 1).await;
    server.stop.take().unwrap().send(()).unwrap();
    let reply = read(&mut socket).await;
    assert!(reply.whole);
    server.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(server.stats.aborted(), 0);
    drop(idle);
}

#[tokio::test]
async fn answers_that_outlast_the_grace_are_dropped() {
    let options = Options {
        shutdown_grace: Duration::from_millis(20),
        ..quick()
    };
    let mut server = Server::start(options).await;
    let mut socket = server.connect().await;
    let stalled = chat(true).header("x-sim-stall-after", "3");
    socket.write_all(&stalled.bytes(false)).await.unwrap();
    server.until(|stats| stats.running() == 1).await;
    server.stop.take().unwrap().send(()).unwrap();
    assert!(!read(&mut socket).await.whole);
    server.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(server.stats.open_connections(), 0);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_and_uploads_are_not() {
    let server = Server::start(Options {
        max_body_bytes: 1_000,
        ..quick()
    })
    .await;
    let large = |target: &str| {
        Request::new("POST", target)
            .header("authorization", "Bearer k")
            .body(vec![b' '; 200_000])
    };
    let refusal = server.send(large("/v1/chat/completions")).await;
    assert_eq!(refusal.status, 413);
    server.send(large("/v1/audio/transcriptions")).await.json();
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_their_turn() {
    let server = Server::start(Options {
        max_connections: 1,
        ..quick()
    })
    .await;
    let first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(&chat(false).bytes(true)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(30), second.read_u8()).await;
    assert!(early.is_err() && server.stats.open_connections() == 1);
    drop(first);
    assert_eq!(second.read_u8().await.unwrap(), b'H');
}

struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

async fn http2(server: &Server) -> Http2 {
    let socket = TokioIo::new(server.connect().await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), socket)
        .await
        .unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(async {
        connection.await.ok();
    });
    Http2 {
        sender,
        _driver: driver,
    }
}

impl Http2 {
    async fn post(
        &mut self,
        target: &str,
        body: &Value,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        let request = hyper::Request::post(format!("http://sim{target}"))
            .header("authorization", "Bearer k")
            .body(Full::from(body.to_string()))
            .unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await
    }
}

/// The body, and whether it ended well.
async fn drain(mut body: Incoming) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

#[tokio::test]
async fn http2_gives_the_same_answers_and_its_faults_end_only_their_stream() {
    let server = Server::quick().await;
    let plain = server.send(chat(true)).await;
    let mut client = http2(&server).await;
    let target = "/v1/chat/completions";
    let reply = client.post(target, &body(true)).await.unwrap();
    assert_eq!(drain(reply.into_body()).await, (plain.body.clone(), true));

    let cut = client
        .post(&format!("{target}?sim_cut_after=3"), &body(true))
        .await
        .unwrap();
    let (bytes, whole) = drain(cut.into_body()).await;
    assert!(!whole && plain.body.starts_with(&bytes) && !bytes.is_empty());
    client
        .post(&format!("{target}?sim_reset=rst"), &body(true))
        .await
        .unwrap_err();
    let reply = client.post(target, &body(false)).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(server.stats.open_connections(), 1);
}

#[tokio::test]
async fn an_http2_client_that_gives_up_a_stream_is_counted() {
    let server = Server::quick().await;
    let mut client = http2(&server).await;
    let target = "/v1/chat/completions?sim_stall_after=1";
    let mut reply = client.post(target, &body(true)).await.unwrap();
    reply.body_mut().frame().await.unwrap().unwrap();
    drop(reply);
    server
        .until(|stats| stats.aborted_streams() == 1 && stats.running() == 0)
        .await;
    assert_eq!(server.stats.open_connections(), 1);
}
