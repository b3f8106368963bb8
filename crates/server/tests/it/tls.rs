//! TLS on both legs: protocols, certificates that change while the server runs, and those that are
//! not trusted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Client, End, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::h2::H2Client;
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::harness::{CHAT, Harness};
use crate::legs::{Inbound, Outbound, before, provider, providers, trusting, with};

/// A gateway that serves with the certificate in `folder`.
async fn serving(folder: &Path, upstream: &Upstream) -> Harness {
    let files = ["cert", "key"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    let settings = format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", files[0], files[1]);
    with(&settings, upstream).await
}

fn write(folder: &Path, certificate: &str, key: &str) {
    std::fs::write(folder.join("cert"), certificate).unwrap();
    std::fs::write(folder.join("key"), key).unwrap();
}

#[tokio::test]
async fn a_client_is_served_by_the_protocol_that_it_chose() {
    let (tls, folder) = (Tls::new(), tempfile::tempdir().unwrap());
    write(
        folder.path(),
        &tls.leaf().certificate_pem,
        &tls.leaf().key_pem,
    );
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = serving(folder.path(), &upstream).await;
    assert!(gateway.server.data_url().starts_with("https://"));
    let post = Ask::post(CHAT, PROMPT);
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = Client::connect_tls(gateway.addr, &tls, alpn).await;
        assert_eq!(client.ask(&post).await.text(), COMPLETION, "{alpn:?}");
        assert_eq!(client.ask(&post).await.text(), COMPLETION, "{alpn:?}");
    }
    let mut client = H2Client::connect_tls(gateway.addr, &tls).await;
    assert_eq!(client.ask(&post).await.text(), COMPLETION);
    let versions: Vec<_> = gateway
        .records(5)
        .await
        .into_iter()
        .map(|record| record.http_version)
        .collect();
    assert_eq!(
        versions
            .iter()
            .map(|version| &**version)
            .collect::<Vec<_>>(),
        ["1.1", "1.1", "1.1", "1.1", "2"]
    );
}

#[tokio::test]
async fn a_client_without_tls_is_cut_and_others_are_served() {
    let (tls, folder) = (Tls::new(), tempfile::tempdir().unwrap());
    write(
        folder.path(),
        &tls.leaf().certificate_pem,
        &tls.leaf().key_pem,
    );
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = serving(folder.path(), &upstream).await;
    let mut plain = Client::connect(gateway.addr).await;
    plain.send_ask(&Ask::post(CHAT, PROMPT)).await;
    let alert = plain.all().await;
    assert!(!alert.starts_with(b"HTTP/"), "{alert:?}");
    let mut client = Client::connect_tls(gateway.addr, &tls, &["http/1.1"]).await;
    assert_eq!(client.ask(&Ask::post(CHAT, PROMPT)).await.status(), 200);
    assert_eq!(upstream.count(), 1);
}

/// Whether a new connection to the gateway gets a certificate of this authority.
async fn is_served_by(gateway: &Harness, tls: &Tls) -> bool {
    let tcp = TcpStream::connect(gateway.addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(tls.client_config(&["http/1.1"])));
    connector
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
        .is_ok()
}

#[tokio::test]
async fn new_connections_use_a_new_certificate_and_a_broken_pair_changes_nothing() {
    let (old, new, folder) = (Tls::new(), Tls::new(), tempfile::tempdir().unwrap());
    write(
        folder.path(),
        &old.leaf().certificate_pem,
        &old.leaf().key_pem,
    );
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = serving(folder.path(), &upstream).await;
    let mut kept = Client::connect_tls(gateway.addr, &old, &["http/1.1"]).await;
    assert_eq!(kept.ask(&Ask::post(CHAT, PROMPT)).await.status(), 200);
    for (certificate, key) in [
        (&*new.leaf().certificate_pem, &*old.leaf().key_pem),
        ("no certificate", &*new.leaf().key_pem),
        ("", ""),
    ] {
        write(folder.path(), certificate, key);
        look_again().await;
        assert!(is_served_by(&gateway, &old).await, "{certificate:?}");
    }
    write(
        folder.path(),
        &new.leaf().certificate_pem,
        &new.leaf().key_pem,
    );
    look_again().await;
    assert!(is_served_by(&gateway, &new).await);
    assert!(!is_served_by(&gateway, &old).await);
    assert_eq!(
        kept.ask(&Ask::post(CHAT, PROMPT)).await.status(),
        200,
        "it began with the old one"
    );
}

/// Lets the server look at its files: it does so every two seconds.
async fn look_again() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(2_100)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_provider_is_spoken_to_by_the_protocol_that_it_chose() {
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], 20),
        (&["http/1.1"], 11),
        (&[], 11),
    ] {
        let tls = Tls::new();
        let upstream = Upstream::start_tls([json(COMPLETION)], &tls, alpn).await;
        let gateway = trusting(&tls, &providers(&upstream)).await;
        assert_eq!(
            gateway.ask(&Ask::post(CHAT, PROMPT)).await.text(),
            COMPLETION
        );
        assert_eq!(upstream.request(0).await.head.version, version);
    }
    let tls = Tls::new();
    let upstream = Upstream::start_tls([json(COMPLETION)], &tls, &["h2", "http/1.1"]).await;
    let gateway = trusting(
        &tls,
        &format!("http2 = \"never\"\n{}", providers(&upstream)),
    )
    .await;
    gateway.ask(&Ask::post(CHAT, PROMPT)).await;
    assert_eq!(upstream.request(0).await.head.version, 11);
}

async fn check_refused(gateway: &Harness) {
    let reply = gateway.ask(&Ask::post(CHAT, PROMPT)).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (502, &3012.into())
    );
    let record = gateway.record().await;
    assert_eq!(record.attempts[0].error.as_deref(), Some("tls_failed"));
    assert_eq!(
        (record.attempts.len(), record.outcome),
        (1, Outcome::Failed)
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let upstream = Upstream::start_tls([json(COMPLETION)], &Tls::new(), &["http/1.1"]).await;
    check_refused(&before(&upstream).await).await;
    check_refused(&trusting(&Tls::new(), &providers(&upstream)).await).await;
    assert_eq!(upstream.count(), 0, "nothing was sent");
}

#[tokio::test]
async fn a_provider_that_speaks_no_tls_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let gateway = Harness::start(&provider("openai", &url)).await;
    tokio::join!(check_refused(&gateway), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
}

#[tokio::test]
async fn an_answer_until_close_that_ends_without_the_alert_is_cut() {
    for (last, end) in [(Step::Leave, End::Whole), (Step::Drop, End::Cut)] {
        let answer = Answer::new(200).until_close(["one"]).then(last);
        let (_upstream, gateway) = Outbound::Http1Tls.serving([answer]).await;
        let reading = Inbound::Http1
            .start(&gateway, &Ask::post(CHAT, PROMPT))
            .await;
        assert_eq!(reading.rest().await, (b"one".to_vec(), end));
    }
}

#[tokio::test]
async fn the_admin_listener_speaks_without_tls() {
    let (tls, folder) = (Tls::new(), tempfile::tempdir().unwrap());
    write(
        folder.path(),
        &tls.leaf().certificate_pem,
        &tls.leaf().key_pem,
    );
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = serving(folder.path(), &upstream).await;
    assert_eq!(ask(gateway.admin, &Ask::get("/readyz")).await.status(), 200);
}
