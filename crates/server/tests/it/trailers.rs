//! Trailers, in both directions and between both protocols.

use isango_testkit::answer::{Answer, Step};
use isango_testkit::client::{Ask, Client, End, Reply};
use isango_testkit::h2::H2Client;
use isango_types::record::Outcome;

use crate::harness::Harness;
use crate::legs::{Inbound, Outbound, WAYS};

const AUDIO: &str = "/v1/local/default/openai/audio/transcriptions";

fn upload() -> Ask {
    Ask::new("POST", AUDIO)
        .with("content-type", "application/octet-stream")
        .chunked(["body"])
}

/// Asks twice on one connection.
async fn ask_twice(inbound: Inbound, gateway: &Harness, ask: &Ask) -> [Reply; 2] {
    match inbound {
        Inbound::Http1 => {
            let mut client = Client::connect(gateway.addr).await;
            [client.ask(ask).await, client.ask(ask).await]
        }
        Inbound::Http2 => {
            let mut client = H2Client::connect(gateway.addr).await;
            [client.ask(ask).await, client.ask(ask).await]
        }
    }
}

fn fields(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// What crosses where the client asks for trailers or not, and both sides announce theirs or not.
async fn check((inbound, outbound): (Inbound, Outbound), wanted: bool, announced: bool) {
    let what = format!("{inbound:?} {outbound:?} wanted: {wanted} announced: {announced}");
    let sent = [("x-sum", "1"), ("x-more", "\u{fc}")];
    let trailers = sent.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut answer = Answer::new(200)
        .chunked(["x"])
        .then(Step::Trailers(trailers.into()));
    let mut request = upload().trailer("x-sum-up", "2");
    if wanted {
        request = request.with("te", "trailers");
    }
    if announced {
        answer = answer.header("trailer", "x-sum, x-more");
        request = request.with("trailer", "x-sum-up");
    }
    let (upstream, gateway) = outbound.serving([answer]).await;
    let replies = ask_twice(inbound, &gateway, &request).await;
    for (index, reply) in replies.into_iter().enumerate() {
        assert_eq!((reply.text(), reply.end), ("x", End::Whole), "{what}");
        let crosses = inbound == Inbound::Http2 || wanted && announced;
        let mut came = reply.trailers;
        came.sort_by(|a, b| b.cmp(a));
        let expected = if crosses { &sent[..] } else { &[] };
        assert_eq!(came, fields(expected), "{what}");
        let received = upstream.request(index).await;
        assert_eq!(received.body, b"body", "{what}");
        let crosses = outbound.is_http2() || announced;
        let expected = if crosses {
            &[("x-sum-up", "2")][..]
        } else {
            &[]
        };
        assert_eq!(received.trailers, fields(expected), "{what}");
        let names = [
            received.head.header("te"),
            received.head.header("connection"),
        ];
        let connection = (!outbound.is_http2()).then_some("te");
        let expected = [Some("trailers"), connection].map(|name| name.filter(|_| wanted));
        assert_eq!(names, expected, "{what}");
    }
    assert_eq!(upstream.connections().len(), 1, "{what}");
    for record in gateway.records(2).await {
        assert_eq!(record.outcome, Outcome::Answered, "{what}");
    }
}

/// hyper (1.12, `Encoder::encode_trailers`, `Conn::write_trailers`) writes into HTTP/1.1 only
/// trailers that a `trailer` header named, and those of an answer only where `te` asked for them.
#[tokio::test]
async fn trailers_cross_where_the_protocol_lets_them() {
    for way in WAYS {
        for wanted in [false, true] {
            for announced in [false, true] {
                check(way, wanted, announced).await;
            }
        }
    }
}

#[tokio::test]
async fn trailers_say_nothing_of_a_connection_or_to_the_gateway() {
    let bad = [
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("cf-aig-step", "9"),
        ("x-sum", "1"),
    ];
    let names = bad.map(|(name, _)| name).join(", ");
    let trailers = bad.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let answer = Answer::new(200)
        .header("trailer", &names)
        .chunked(["x"])
        .then(Step::Trailers(trailers.into()));
    let mut request = upload().with("te", "trailers").with("trailer", &names);
    for (name, value) in bad {
        request = request.trailer(name, value);
    }
    // Only HTTP/1 lets such trailers in.
    let (upstream, gateway) = Outbound::Http1.serving([answer]).await;
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let wanting = upload().with("te", "trailers");
        for reply in ask_twice(inbound, &gateway, &wanting).await {
            assert_eq!((reply.text(), reply.end), ("x", End::Whole), "{inbound:?}");
            assert_eq!(reply.trailers, fields(&[("x-sum", "1")]), "{inbound:?}");
        }
    }
    let plain = Answer::new(200).body("y");
    for outbound in [Outbound::Http1, Outbound::Http2] {
        let (upstream, gateway) = outbound.serving([plain.clone()]).await;
        assert_eq!(gateway.ask(&request).await.text(), "y", "{outbound:?}");
        let received = upstream.request(0).await;
        assert_eq!(received.body, b"body", "{outbound:?}");
        assert_eq!(received.trailers, fields(&[("x-sum", "1")]), "{outbound:?}");
    }
    assert_eq!(upstream.count(), 4);
}
