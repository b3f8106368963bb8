//! HTTP/2 frame by frame: resets without an error, streams that were refused, signs of life.
//! Frames and their numbers: RFC 9113 sections 4.1, 6 and 7.

use std::net::SocketAddr;
use std::time::Duration;

use isango_testkit::answer::json;
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::PROMPT;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{CHAT, Harness};
use crate::legs::{Inbound, before, provider, with};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// `END_HEADERS`, and `END_STREAM` with it.
const WHOLE_HEAD: u8 = 4;
const NO_BODY: u8 = 5;
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A provider that sends, on each connection in turn, these frames when the n-th request has come,
/// and nothing else. It counts the requests.
struct Frames {
    addr: SocketAddr,
    serving: JoinSet<()>,
}

/// What is sent for each request of one connection; the connection is closed behind the last.
type Script = Vec<Vec<u8>>;

impl Frames {
    async fn start(connections: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut playing = JoinSet::new();
            for script in connections {
                let (stream, _) = listener.accept().await.unwrap();
                playing.spawn(Self::play(stream, script));
            }
            while playing.join_next().await.is_some() {}
        });
        Self { addr, serving }
    }

    async fn play(mut stream: TcpStream, script: Script) {
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.unwrap();
        for answer in script {
            // Until the head of a request.
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; usize::try_from(length).unwrap()];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == HEADERS {
                    break;
                }
            }
            stream.write_all(&answer).await.unwrap();
        }
        // What is left is read, so that no reset of the connection overtakes the frames.
        stream.read_to_end(&mut Vec::new()).await.ok();
    }

    async fn gateway(&self) -> Harness {
        let provider = provider("openai", &format!("http://{}/v1", self.addr));
        Harness::start(&format!("[upstream]\nhttp2 = \"always\"\n{provider}")).await
    }
}

/// `:status` 200 by its index, and 2 bytes of body, the last of them if `whole`.
fn answer(stream: u32, whole: bool) -> Vec<u8> {
    [
        frame(HEADERS, WHOLE_HEAD, stream, b"\x88"),
        frame(DATA, u8::from(whole), stream, b"{}"),
    ]
    .concat()
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_is_cut() {
    for inbound in [Inbound::Http1, Inbound::Http2] {
        for code in [NO_ERROR, CANCEL] {
            let reset = frame(RST_STREAM, 0, 1, &code.to_be_bytes());
            let upstream = Frames::start(vec![vec![[answer(1, false), reset].concat()]]).await;
            let gateway = upstream.gateway().await;
            let reading = inbound.start(&gateway, &Ask::post(CHAT, PROMPT)).await;
            assert_ne!(reading.rest().await.1, End::Whole, "{inbound:?} {code}");
            assert_eq!(
                gateway.record().await.outcome,
                Outcome::UpstreamCut,
                "{inbound:?} {code}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_ended_before_its_reset_is_whole() {
    let reset = frame(RST_STREAM, 0, 1, &NO_ERROR.to_be_bytes());
    let upstream = Frames::start(vec![vec![[answer(1, true), reset].concat()]]).await;
    let gateway = upstream.gateway().await;
    let reading = Inbound::Http1
        .start(&gateway, &Ask::post(CHAT, PROMPT))
        .await;
    assert_eq!(reading.rest().await, (b"{}".to_vec(), End::Whole));
}

/// The first stream of a connection is answered, the second is turned away by these frames, and the
/// request goes to a fresh connection.
async fn check_turned_away(frames: Vec<u8>) {
    let first = vec![answer(1, true), frames];
    let mut upstream = Frames::start(vec![first, vec![answer(1, true)]]).await;
    let gateway = upstream.gateway().await;
    for _ in 0..2 {
        let reply = gateway.ask(&Ask::post(CHAT, PROMPT)).await;
        assert_eq!((reply.status(), reply.text()), (200, "{}"));
    }
    drop(gateway);
    upstream.serving.join_next().await;
}

#[tokio::test]
async fn a_stream_that_the_provider_did_not_take_is_sent_again() {
    // "I took streams up to 1."
    let payload = [1_u32.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
    check_turned_away(frame(GOAWAY, 0, 0, &payload)).await;
    let refused = frame(RST_STREAM, 0, 3, &REFUSED_STREAM.to_be_bytes());
    check_turned_away([refused, frame(GOAWAY, 0, 0, &payload)].concat()).await;
}

#[tokio::test]
async fn a_stream_that_the_provider_may_have_taken_is_not_sent_again() {
    // "I took streams up to 3."
    let payload = [3_u32.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
    for frames in [
        frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes()),
        [
            frame(GOAWAY, 0, 0, &payload),
            frame(RST_STREAM, 0, 3, &2_u32.to_be_bytes()),
        ]
        .concat(),
    ] {
        let upstream = Frames::start(vec![vec![answer(1, true), frames]]).await;
        let gateway = upstream.gateway().await;
        assert_eq!(gateway.ask(&Ask::post(CHAT, PROMPT)).await.status(), 200);
        let reply = gateway.ask(&Ask::post(CHAT, PROMPT)).await;
        assert_eq!(
            (reply.status(), &reply.json()["internalCode"]),
            (502, &3013.into())
        );
    }
}

/// A connection of a client that has sent its preface and this request's head on stream 1.
async fn client(gateway: &Harness, path: &str, flags: u8) -> Client {
    let mut client = Client::connect(gateway.addr).await;
    // :method POST, :scheme http by their indexes; :path, :authority as they are.
    let length = u8::try_from(path.len()).unwrap();
    let head = [
        b"\x83\x86\x04",
        &[length][..],
        path.as_bytes(),
        b"\x41\x01x",
    ]
    .concat();
    let settings = frame(SETTINGS, 0, 0, b"");
    client
        .send(&[PREFACE.to_vec(), settings, frame(HEADERS, flags, 1, &head)].concat())
        .await;
    client
}

#[tokio::test]
async fn an_upload_that_is_reset_never_passes_as_whole() {
    for path in [
        "/v1/local/default/openai/chat/completions",
        "/v1/local/default/openai/audio/speech",
    ] {
        for code in [NO_ERROR, CANCEL] {
            let upstream = Upstream::start([json("{}")]).await;
            let gateway = before(&upstream).await;
            let mut client = client(&gateway, path, WHOLE_HEAD).await;
            client.send(&frame(DATA, 0, 1, b"half of it")).await;
            client
                .send(&frame(RST_STREAM, 0, 1, &code.to_be_bytes()))
                .await;
            assert_eq!(
                gateway.record().await.outcome,
                Outcome::ClientLeft,
                "{path} {code}"
            );
            assert!(
                upstream.requests().iter().all(|request| !request.complete),
                "{path} {code}"
            );
        }
    }
}

#[tokio::test]
async fn signs_of_life_on_a_resting_connection_are_no_slow_head() {
    let upstream = Upstream::start([json("{}")]).await;
    let gateway = with("[server]\nheader_timeout = \"100ms\"\n", &upstream).await;
    let mut client = client(&gateway, "/", NO_BODY).await;
    for _ in 0..10 {
        sleep(Duration::from_millis(30)).await;
        client.send(&frame(PING, 0, 0, b"01234567")).await;
        while let Ok(read) = timeout(Duration::from_millis(5), client.some()).await {
            assert!(!read.unwrap().is_empty(), "the connection was cut");
        }
    }
    // :method GET, :scheme http, :path / by their indexes; :authority as it is.
    client
        .send(&frame(HEADERS, NO_BODY, 3, b"\x82\x86\x84\x41\x01x"))
        .await;
    let answer = client.some().await.unwrap();
    assert_eq!(
        answer[3..9],
        frame(HEADERS, WHOLE_HEAD, 3, b"")[3..],
        "the head of another answer"
    );
    assert_eq!(gateway.records(2).await.len(), 2);
}
