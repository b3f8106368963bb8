//! Interim answers (1xx) of a provider: they reach clients of HTTP/1.1 in the moment they come.

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::PROMPT;
use isango_testkit::h2::H2Client;
use isango_testkit::head::Head;
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::CHAT;
use crate::legs::{Outbound, before, pem, with};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\
                     Link: </two.css>\r\nX-Utf8: \u{fc}\r\nx-empty:\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

fn post() -> Ask {
    Ask::post(CHAT, PROMPT)
}

fn raw(text: &str) -> Step {
    Step::Raw(text.to_owned().into())
}

/// Status, names and values.
fn told(head: &Head) -> (u16, Vec<(String, String)>) {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| (name.clone(), text(value)));
    (head.status, fields.collect())
}

fn hints() -> (u16, Vec<(String, String)>) {
    let fields = [
        ("link", "</style.css>; rel=preload"),
        ("link", "</two.css>"),
        ("x-utf8", "\u{fc}"),
        ("x-empty", ""),
    ];
    let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (103, owned.into())
}

/// The provider goes on only after the client has read what came before.
#[tokio::test]
async fn an_interim_answer_leaves_in_the_moment_it_comes() {
    for outbound in [Outbound::Http1, Outbound::Http1Tls] {
        let processing = raw("HTTP/1.1 102 Processing\r\n\r\n");
        let steps = [raw(HINTS), Step::Wait, processing, Step::Wait, raw(DONE)];
        let (upstream, gateway) = outbound.serving([Answer::raw(steps)]).await;
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..2 {
            client.send_ask(&post()).await;
            assert_eq!(told(&client.any_head().await), hints(), "{outbound:?}");
            upstream.go();
            assert_eq!(told(&client.any_head().await), (102, Vec::new()));
            upstream.go();
            let reply = client.reply().await;
            assert_eq!((reply.text(), reply.interim.len()), ("done", 0));
        }
        assert_eq!(upstream.connections().len(), 1, "{outbound:?}");
        assert!(gateway.records(2).await[1].notes.is_empty());
    }
}

#[tokio::test]
async fn an_interim_answer_leaves_over_tls() {
    let tls = Tls::new();
    let answer = Answer::raw([raw(HINTS), Step::Wait, raw(DONE)]);
    let upstream = Upstream::start([answer]).await;
    let files = [&tls.leaf().certificate_pem, &tls.leaf().key_pem].map(|text| pem(text));
    let [cert, key] = files.each_ref().map(|file| file.path().to_str().unwrap());
    let settings = format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let gateway = with(&settings, &upstream).await;
    let mut client = Client::connect_tls(gateway.addr, &tls, &["http/1.1"]).await;
    client.send_ask(&post()).await;
    assert_eq!(told(&client.any_head().await), hints());
    upstream.go();
    assert_eq!(client.reply().await.text(), "done");
}

#[tokio::test]
async fn interim_answers_stand_before_their_own_answer_and_no_other() {
    let upstream = Upstream::start([
        Answer::raw([raw(&format!("{HINTS}{HINTS}{DONE}"))]),
        json("{}"),
        Answer::raw([raw(&format!("{HINTS}{DONE}"))]),
    ])
    .await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    // All in one write: hyper takes them from its buffer one after the other.
    client.send(&post().to_bytes().repeat(3)).await;
    for (interim, body) in [(2, "done"), (0, "{}"), (1, "done")] {
        let reply = client.reply().await;
        assert_eq!((reply.interim.len(), reply.text()), (interim, body));
    }
    assert_eq!(upstream.connections().len(), 1);
}

#[tokio::test]
async fn only_what_belongs_to_the_connection_or_the_gateway_stays_behind() {
    let interim = "HTTP/1.1 199 Whatever\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: 1\r\n\
                   cf-aig-step: 9\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n";
    let neighbors = "HTTP/1.1 100 Continue\r\n\r\n";
    let steps = [raw(&format!("{neighbors}{interim}{DONE}"))];
    let upstream = Upstream::start([Answer::raw(steps)]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..2 {
        let reply = client.ask(&post()).await;
        assert_eq!((reply.text(), reply.end), ("done", End::Whole));
        let interim: Vec<_> = reply.interim.iter().map(told).collect();
        assert_eq!(interim, [(199, vec![("x".to_owned(), "y".to_owned())])]);
    }
}

#[tokio::test]
async fn an_interim_answer_may_come_while_the_body_is_sent() {
    let audio = "/v1/local/default/openai/audio/transcriptions";
    let answer = Answer::raw([raw(HINTS), Step::ReadBody, raw(HINTS), raw(DONE)]).early();
    let upstream = Upstream::start([answer]).await;
    let gateway = before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let ask = Ask::new("POST", audio).with("content-type", "audio/wav");
    let ask = ask.body("0123456789");
    client.send_head(&ask.with("expect", "100-continue")).await;
    let mut statuses = [client.any_head().await, client.any_head().await].map(|head| head.status);
    statuses.sort_unstable();
    assert_eq!(statuses, [100, 103]);
    client.send(b"0123456789").await;
    let reply = client.reply().await;
    assert_eq!((reply.interim.len(), reply.text()), (1, "done"));
    assert_eq!(upstream.request(0).await.body, b"0123456789");
}

#[tokio::test]
async fn an_answer_of_the_gateway_may_follow_interim_answers() {
    let upstream = Upstream::start([Answer::raw([raw(HINTS), Step::Close])]).await;
    let gateway = before(&upstream).await;
    let reply = gateway.ask(&post()).await;
    assert_eq!(told(&reply.interim[0]), hints());
    assert_eq!((reply.status(), reply.interim.len()), (502, 1));
    assert_eq!(reply.json()["internalCode"], 3013);
}

#[tokio::test]
async fn interim_answers_are_bounded() {
    let small = "HTTP/1.1 102 Processing\r\n\r\n";
    let large = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n",
        "x".repeat(9_000)
    );
    for (interim, passed, dropped) in [(small, 8, 92), (&*large, 1, 99)] {
        let answer = format!("{}{DONE}", interim.repeat(100));
        let upstream = Upstream::start([Answer::raw([raw(&answer)])]).await;
        let gateway = before(&upstream).await;
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..2 {
            let reply = client.ask(&post()).await;
            assert_eq!((reply.text(), reply.interim.len()), ("done", passed));
        }
        for record in gateway.records(2).await {
            let note = format!("{dropped} interim answers of the provider were dropped");
            assert_eq!(record.notes, [note.into()]);
        }
    }
}

#[tokio::test]
async fn who_cannot_take_interim_answers_gets_none() {
    let answer = format!("{HINTS}{DONE}");
    let upstream = Upstream::start([Answer::raw([raw(&answer)])]).await;
    let gateway = before(&upstream).await;
    let mut old = Client::connect(gateway.addr).await;
    let request = format!("GET {CHAT} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    for _ in 0..2 {
        old.send(request.as_bytes()).await;
        let reply = old.reply().await;
        assert_eq!((reply.text(), reply.interim.len()), ("done", 0));
    }
    let mut http2 = H2Client::connect(gateway.addr).await;
    for _ in 0..2 {
        let reply = http2.ask(&post()).await;
        assert_eq!((reply.status(), reply.text()), (200, "done"));
    }
}

/// hyper's client (1.12) tells nothing of the interim answers of HTTP/2; they must not disturb.
#[tokio::test]
async fn interim_answers_of_http2_do_not_disturb_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // SETTINGS, and on stream 1: HEADERS with `:status` 103 and 200, DATA (RFC 9113 section 4.1;
        // RFC 7541 section 6.2.2, its static table's name 8).
        let mut frames = b"\0\0\0\x04\0\0\0\0\0".to_vec();
        for status in [b"103", b"103", b"200"] {
            frames.extend_from_slice(b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03");
            frames.extend_from_slice(status);
        }
        frames.extend_from_slice(b"\0\0\x04\0\x01\0\0\0\x01done");
        let mut read = Vec::new();
        while !read
            .windows(PROMPT.len())
            .any(|part| part == PROMPT.as_bytes())
        {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream.write_all(&frames).await.unwrap();
        stream
    };
    let settings = "[upstream]\nhttp2 = \"always\"\n";
    let provider = crate::legs::provider("openai", &url);
    let gateway = crate::harness::Harness::start(&format!("{settings}{provider}")).await;
    let ask = post();
    let (reply, _stream) = tokio::join!(gateway.ask(&ask), serving);
    assert_eq!(
        (reply.status(), reply.text(), reply.interim.len()),
        (200, "done", 0)
    );
}
