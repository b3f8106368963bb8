//! Limits across `kill -9`: a crowd asks, the executable dies in the middle, twice, and what the
//! provider was sent stays within the limit all the same, and does not stay far below it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use isango_testkit::answer::{Step, json};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::crash::Isango;
use crate::harness::CHAT;

/// How many ask at once.
const CROWD: usize = 256;
/// How many of the requests fit into each of the limits.
const FITS: usize = 120;

/// How long the middle of a crowd may be away: its executable is built without optimization, and
/// loads a tokenizer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The status of an answer; `None`: there was none, or not a whole one.
async fn try_ask(addr: SocketAddr) -> Option<u16> {
    let ask = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("connection", "close");
    let mut socket = TcpStream::connect(addr).await.ok()?;
    socket.write_all(&ask.to_bytes()).await.ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    let is_whole = text.ends_with(COMPLETION) || text.contains("AiGatewayError");
    text.get(9..12)?.parse().ok().filter(|_| is_whole)
}

fn crowd(addr: SocketAddr) -> JoinSet<Option<u16>> {
    (0..CROWD).map(|_| try_ask(addr)).collect()
}

fn configure(folder: &Path, limit: &str, upstream: &Upstream) {
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [[gateways]]\nid = \"default\"\n[[gateways.limits]]\nid = \"rule\"\n{limit}\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        upstream.url()
    );
    std::fs::write(folder.join("isango.toml"), toml).unwrap();
}

/// How many requests a provider is sent in three lives of the executable, of which two end in the
/// middle of a crowd. `most`: how many may be in the limit.
async fn check(limit: &str, most: usize) {
    let folder = tempfile::tempdir().unwrap();
    let answer = json(COMPLETION).first(Step::Pause(Duration::from_millis(20)));
    let upstream = Upstream::start([answer]).await;
    configure(folder.path(), limit, &upstream);
    for life in 1..=2 {
        let isango = Isango::start(folder.path());
        let crowd = crowd(isango.addr);
        let begun = Instant::now();
        while upstream.count() < FITS * life / 3 {
            let sent = upstream.count();
            assert!(
                begun.elapsed() < PATIENCE,
                "{limit}: life {life}, {sent} sent"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // SIGKILL.
        drop(isango);
        drop(crowd);
    }
    let isango = Isango::start(folder.path());
    let mut refused = 0;
    // Those that wait for others may be admitted late.
    for _ in 0..2 {
        let statuses = crowd(isango.addr).join_all().await;
        let of = |status| statuses.iter().filter(|one| **one == Some(status)).count();
        refused = of(429);
        assert_eq!(of(200) + refused, CROWD, "{limit}: {statuses:?}");
    }
    assert_eq!(refused, CROWD, "{limit}: nothing is left");
    let sent = upstream.count();
    let least = FITS * 8 / 10;
    assert!((least..=most).contains(&sent), "{limit}: {sent} of {FITS}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_exact_across_kill_9_in_a_crowd() {
    for window in [
        "window = \"day\"",
        "window = \"1h\"\ntechnique = \"sliding\"",
    ] {
        check(
            &format!("unit = \"requests\"\nlimit = {FITS}\n{window}"),
            FITS,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_are_passed_by_one_request_at_most_across_kill_9_in_a_crowd() {
    // 24 tokens, or 97 500 nano-dollars, a request.
    let tokens = format!("unit = \"tokens\"\nlimit = {}\nwindow = \"day\"", FITS * 24);
    let usd = format!("0.{:09}", FITS * 97_500);
    let cost = format!("unit = \"cost\"\nlimit = {usd}\nwindow = \"month\"");
    for limit in [tokens, cost] {
        check(&format!("{limit}\nmax_wait = \"30s\""), FITS + 1).await;
    }
}
