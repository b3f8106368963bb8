//! The `isango` executable itself: what it prints, how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use isango_testkit::answer::{json, status};
use isango_testkit::client::{Ask, ask};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use serde_json::Value;

/// A running `isango`; killed when dropped.
pub(crate) struct Isango {
    child: Child,
    out: BufReader<ChildStdout>,
}

fn command(words: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isango"));
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ISANGO_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end: its exit code, and what it printed.
pub(crate) async fn isango(words: &str) -> (i32, String) {
    let mut command = command(words, Path::new("."));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), said)
}

impl Isango {
    pub(crate) fn start(words: &str, folder: &Path) -> Self {
        let mut command = command(words, folder);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line on standard output, which is JSON.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end; what was said on standard error.
    fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Isango {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn address(url: &Value) -> SocketAddr {
    url.as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap()
}

pub(crate) const ANY_PORTS: &str = "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --json";

#[tokio::test]
async fn serve_says_where_it_answers_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut isango = Isango::start(&format!("serve {ANY_PORTS}"), folder.path());
    let line = isango.line();
    assert_eq!(line["event"], "listening");
    let ready = ask(address(&line["admin"]), &Ask::get("/readyz")).await;
    assert_eq!(ready.status(), 200);
    let unknown = ask(
        address(&line["data"]),
        &Ask::get("/v1/local/nothing/openai/models"),
    )
    .await;
    assert_eq!(unknown.json()["error"][0]["code"], 2001);
    isango.signal("-TERM");
    let (status, said) = isango.end();
    assert!(status.success(), "{status}: {said}");
    assert!(folder.path().join("isango-data/journal").is_dir());
    let logs = command("logs query --json", folder.path())
        .output()
        .unwrap();
    let record: Value = serde_json::from_slice(&logs.stdout).unwrap();
    assert_eq!(record["error"]["code"], "2001");
}

#[test]
fn a_wrong_configuration_ends_with_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("isango.toml"), "lisen = 1\n").unwrap();
    let output = command("serve", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(said, @r"
    isango.toml:1:1: unknown key `lisen`
      1 | lisen = *
        | ^^^^^
      help: did you mean `listen`?
    ");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_taken_port_is_told_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let words = format!("serve --admin-listen 127.0.0.1:0 --listen {}", taken.1);
    let output = command(&words, folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&taken.1.to_string()), "{said}");
}

#[tokio::test]
async fn the_environment_configures_a_server_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command("serve --json", folder.path());
    command
        .env("ISANGO_LISTEN", "127.0.0.1:0")
        .env("ISANGO_ADMIN_LISTEN", "127.0.0.1:0");
    command.env("ISANGO_DATA_DIR", folder.path().join("elsewhere"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut isango = Isango { child, out };
    assert_eq!(isango.line()["event"], "listening");
    assert!(folder.path().join("elsewhere").is_dir());
}

/// Asks again until the answer has this status.
async fn until(address: SocketAddr, request: &Ask, status: u16) {
    within("the new configuration", async {
        while ask(address, request).await.status() != status {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_a_wrong_one_is_not() {
    let upstream = Upstream::start_by(|_| json("{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("isango.toml");
    let provider = format!("[providers.openai]\nbase_url = \"{}\"\n", upstream.url());
    let gateway = |id: &str| format!("{provider}[[gateways]]\nid = \"{id}\"\n");
    std::fs::write(&file, gateway("one")).unwrap();
    let mut isango = Isango::start(&format!("serve {ANY_PORTS}"), folder.path());
    let data = address(&isango.line()["data"]);
    let models = |id: &str| {
        Ask::get(&format!("/v1/local/{id}/openai/models")).with("authorization", "Bearer sk")
    };
    assert_eq!(ask(data, &models("one")).await.status(), 200);
    assert_eq!(ask(data, &models("two")).await.status(), 400);
    // As editors do it: another file takes its place.
    let new = folder.path().join("isango.toml.new");
    std::fs::write(&new, gateway("two")).unwrap();
    std::fs::rename(&new, &file).unwrap();
    until(data, &models("two"), 200).await;
    assert_eq!(ask(data, &models("one")).await.status(), 400);
    // A wrong file changes nothing; the right one after it does, so that the wrong one was seen.
    std::fs::write(&file, "lisen = 1").unwrap();
    isango.signal("-HUP");
    assert_eq!(ask(data, &models("two")).await.status(), 200);
    std::fs::write(&file, format!("data_dir = \"x\"\n{}", gateway("three"))).unwrap();
    until(data, &models("three"), 200).await;
    isango.signal("-TERM");
    let (status, said) = isango.end();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("data_dir has changed"), "{said}");
}

#[tokio::test]
async fn the_demo_answers_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let words = format!("demo {ANY_PORTS} --simulator 127.0.0.1:0 --seconds 1 --rate 30");
    let mut isango = Isango::start(&words, folder.path());
    let line = isango.line();
    let path =
        "/v1/local/support/azure-openai/aoai-demo-sa/chat/chat/completions?api-version=2024-10-21";
    let request = Ask::post(path, r#"{"messages":[{"role":"user","content":"Hello"}]}"#)
        .with("api-key", "any")
        .with("content-type", "application/json");
    let reply = ask(address(&line["data"]), &request).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert!(reply.json()["choices"][0]["message"]["content"].is_string());
    let summary = isango.line();
    assert_eq!(summary["event"], "traffic");
    let (sent, succeeded) = (
        summary["sent"].as_u64().unwrap(),
        summary["succeeded"].as_u64(),
    );
    assert!(
        (25..=32).contains(&sent) && succeeded.unwrap() * 10 > sent * 8,
        "{summary}"
    );
    let data_dir = line["data_dir"].as_str().unwrap();
    // The last one is on record within the flush window.
    within("a record of each request and of ours", async {
        let words = format!("logs export --data-dir {data_dir}");
        let records = || command(&words, folder.path()).output().unwrap().stdout;
        while (records().split(|byte| *byte == b'\n').count() as u64) < sent + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    isango.signal("-TERM");
    let (status, said) = isango.end();
    assert!(status.success(), "{status}: {said}");
    assert!(!Path::new(data_dir).exists());
}

#[tokio::test]
async fn the_simulator_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut isango = Isango::start("simulate --listen 127.0.0.1:0 --json", folder.path());
    let line = isango.line();
    assert_eq!(line["event"], "listening");
    assert_eq!(
        ask(address(&line["url"]), &Ask::get("/healthz"))
            .await
            .status(),
        200
    );
    isango.signal("-INT");
    assert!(isango.end().0.success());
}

#[tokio::test]
async fn a_followed_log_shows_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Isango::start(&format!("serve {ANY_PORTS}"), folder.path());
    let data = address(&server.line()["data"]);
    let mut tail = Isango::start("logs tail -f -n 0 --json gateway:two", folder.path());
    // What comes before the tail has begun is not shown; so requests are sent until one is.
    let shown = tokio::task::spawn_blocking(move || (tail.line(), tail));
    while !shown.is_finished() {
        for gateway in ["one", "two"] {
            let path = format!("/v1/local/{gateway}/openai/models");
            ask(data, &Ask::get(&path)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (line, _tail) = shown.await.unwrap();
    assert_eq!(line["gateway"], "two");
}

/// Everything in the files below `folder`.
fn on_disk(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(on_disk(&path));
        } else {
            bytes.extend(std::fs::read(&path).unwrap());
        }
    }
    bytes
}

#[tokio::test]
async fn a_stored_secret_is_neither_on_the_console_nor_on_disk() {
    const PLANTED: &str = "sk-planted-7h3K9yQ2mZ4wX";
    let seal_key = "5a".repeat(32);
    let repeating = format!("{{\"error\":\"wrong key {PLANTED}\"}}");
    let upstream = Upstream::start([status(401).body(repeating)]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[log]\nlevel = \"trace\"\n[records]\nflush_window = \"1ms\"\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), config).unwrap();
    let mut setting = command("key set openai --from env:PLANTED", folder.path());
    setting
        .env("ISANGO_SECRETS__KEY", &seal_key)
        .env("PLANTED", PLANTED);
    let set = setting.output().unwrap();
    assert!(
        set.status.success(),
        "{}",
        String::from_utf8_lossy(&set.stderr)
    );
    let made = command("token create app --json", folder.path())
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    let mut serving = command(&format!("serve {ANY_PORTS}"), folder.path());
    serving.env("ISANGO_SECRETS__KEY", &seal_key);
    let serving = serving.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = serving.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut isango = Isango { child, out };
    let line = isango.line();
    let request = Ask::post("/v1/local/default/openai/chat/completions", "{}")
        .with("cf-aig-authorization", token);
    assert_eq!(ask(address(&line["data"]), &request).await.status(), 401);
    let sent = upstream.request(0).await.head;
    assert_eq!(
        sent.header("authorization"),
        Some(&*format!("Bearer {PLANTED}"))
    );
    isango.signal("-TERM");
    let (status, said) = isango.end();
    assert!(status.success(), "{said}");
    let logs = command("logs query --json", folder.path())
        .output()
        .unwrap();
    let mut seen = [set.stdout, set.stderr, said.into_bytes(), logs.stdout].concat();
    seen.extend(on_disk(folder.path()));
    for planted in [PLANTED, &seal_key, token] {
        let is_there = seen
            .windows(planted.len())
            .any(|window| window == planted.as_bytes());
        assert!(!is_there, "{}", &planted[..8]);
    }
}
