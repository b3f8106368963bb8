//! `kill -9` of the executable under load: what was on record for a flush window stays there, once.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use isango_records::{Options, Records, verify};
use isango_store::logs::{LogReader as _, Position};
use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::CHAT;

const ROUNDS: u64 = 8;
const CLIENTS: usize = 8;
/// Between two requests of a client: the load is steady, not a test of a starved machine.
const PACE: Duration = Duration::from_millis(2);
/// The time after which a record must be safe; the configuration says the same.
const WINDOW: Duration = Duration::from_millis(500);
/// From the start of the executable to its first answer.
const RESTART: Duration = Duration::from_secs(2);

/// A running `isango serve`, killed when dropped.
pub(crate) struct Isango {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Isango {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_logging(folder, "off", Stdio::null())
    }

    /// The same, with a log at this level.
    pub(crate) fn start_logging(folder: &Path, level: &str, log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_isango"))
            .args(["serve", "--json", "--log", level, "--config"])
            .arg(folder.join("isango.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let of = |name: &str| {
            let url = listening[name].as_str().unwrap();
            url.strip_prefix("http://").unwrap().parse().unwrap()
        };
        let (addr, admin) = (of("data"), of("admin"));
        Self { child, addr, admin }
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Isango {
    fn drop(&mut self) {
        // SIGKILL.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// When each record's answer had wholly arrived, by log id.
type Answered = Mutex<HashMap<String, Instant>>;

/// Asks on one connection until it breaks, and takes note of each whole answer.
async fn ask_until_killed(addr: SocketAddr, answered: &Answered) {
    let request = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .to_bytes();
    let Ok(mut socket) = TcpStream::connect(addr).await else {
        return;
    };
    let mut answer = Vec::new();
    loop {
        tokio::time::sleep(PACE).await;
        if socket.write_all(&request).await.is_err() {
            return;
        }
        answer.clear();
        while !answer.ends_with(COMPLETION.as_bytes()) {
            match socket.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let (_, id) = text
            .split_once("cf-aig-log-id: ")
            .expect("every answer has an id");
        answered
            .lock()
            .unwrap()
            .insert(id[..36].to_owned(), Instant::now());
    }
}

/// The ids in the store, in the order of their writing; the journal must prove itself.
fn stored(folder: &Path) -> Vec<String> {
    let store = Records::open(folder, Options::default()).unwrap();
    let (mut stored, mut position) = (Vec::new(), Position::START);
    loop {
        let (records, next) = store.follow(position, 10_000).unwrap();
        if records.is_empty() {
            break;
        }
        stored.extend(records.iter().map(|record| record.id.to_string()));
        position = next;
    }
    drop(store);
    let report = verify(folder).unwrap();
    assert!(report.is_intact(), "{report:?}");
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_a_flush_window_ago_survives_kill_9_once() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [records]\nflush_window = \"{}ms\"\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        WINDOW.as_millis(),
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), config).unwrap();
    let data = folder.path().join("data");
    let mut safe = 0;
    for round in 0..ROUNDS {
        let began = Instant::now();
        let mut isango = Isango::start(folder.path());
        let answered = Answered::default();
        let first = ask_once(isango.addr).await;
        assert!(
            began.elapsed() <= RESTART,
            "round {round}: {:?} to {first}",
            began.elapsed()
        );
        // Another moment of the flush window each time.
        let load = tokio::time::sleep(WINDOW + Duration::from_millis(100 + 37 * round));
        let clients = all_clients(isango.addr, &answered);
        tokio::select! {
            () = clients => panic!("round {round}: the server hung up on its own"),
            () = load => {}
        }
        let killed = Instant::now();
        isango.child.kill().unwrap();
        isango.child.wait().unwrap();
        let ids = stored(&data);
        let mut times: HashMap<&str, u32> = HashMap::new();
        ids.iter().for_each(|id| *times.entry(id).or_default() += 1);
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "round {round}: {twice:?}");
        for (id, at) in answered.into_inner().unwrap() {
            let age = killed.saturating_duration_since(at);
            if age > WINDOW {
                safe += 1;
                assert!(
                    times.contains_key(&*id),
                    "round {round}: {id}, {age:?} old, is lost"
                );
            }
        }
        assert!(
            times.contains_key(&*first),
            "round {round}: the first record is lost"
        );
    }
    assert!(safe > 100, "{safe} records are too few to prove anything");
}

/// One answered request; its log id.
async fn ask_once(addr: SocketAddr) -> String {
    let request = Ask::post(CHAT, PROMPT).with("authorization", "Bearer k");
    let reply = isango_testkit::client::ask(addr, &request).await;
    assert_eq!(reply.status(), 200);
    reply.header("cf-aig-log-id").unwrap().to_owned()
}

/// All clients at once.
async fn all_clients(addr: SocketAddr, answered: &Answered) {
    let clients: [_; CLIENTS] = std::array::from_fn(|_| Box::pin(ask_until_killed(addr, answered)));
    let mut clients = clients.map(Some);
    std::future::poll_fn(|cx| {
        for slot in &mut clients {
            let ended = slot
                .as_mut()
                .is_some_and(|client| client.as_mut().poll(cx).is_ready());
            if ended {
                *slot = None;
            }
        }
        if clients.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// The size of the cache's file in the test of it: a few hundred answers of it are asked for.
const CACHE_BYTES: u64 = 1 << 20;

/// Questions that differ in their number.
fn numbered(n: usize) -> Ask {
    Ask::post(CHAT, format!("{{\"n\":{n}}}"))
        .with("authorization", "Bearer k")
        .with("cf-aig-cache-ttl", "3600")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cache_survives_kill_9_and_nothing_of_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    // Each answer repeats its question, and is long enough to fill the file soon.
    let upstream = Upstream::start_by(|request| {
        let asked = String::from_utf8(request.body.clone()).unwrap();
        json(format!(
            "{{\"asked\":{asked},\"pad\":\"{}\"}}",
            "x".repeat(8_000)
        ))
    })
    .await;
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [cache]\nmemory_bytes = 0\ndisk_bytes = {CACHE_BYTES}\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), config).unwrap();
    let (mut next, mut hits) = (0, 0);
    for round in 0..4 {
        let mut isango = Isango::start(folder.path());
        // Those that were asked last before the kill are on disk, but for the very last.
        for n in next - usize::min(next, 40)..next {
            let reply = isango_testkit::client::ask(isango.addr, &numbered(n)).await;
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.json()["asked"]["n"], n, "round {round}");
            hits += usize::from(reply.header("cf-aig-cache-status") == Some("HIT"));
        }
        for n in next..next + 300 {
            let reply = isango_testkit::client::ask(isango.addr, &numbered(n)).await;
            assert_eq!(reply.header("cf-aig-cache-status"), Some("MISS"));
        }
        next += 300;
        isango.child.kill().unwrap();
        isango.child.wait().unwrap();
        let file = folder.path().join("data/cache/cache.sqlite");
        let length = std::fs::metadata(&file).unwrap().len();
        assert!(length < 2 * CACHE_BYTES, "round {round}: {length}");
        assert!(!file.with_extension("sqlite.bad").exists());
    }
    assert!(hits > 60, "{hits} of 120");
}
