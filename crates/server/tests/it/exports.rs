//! Exports over real sockets: what arrives is what the journal has, whatever the destination and
//! `kill -9` do meanwhile.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use isango_records::{Options, Records};
use isango_store::logs::{LogReader as _, Position};
use isango_testkit::answer::{Answer, Step, json, status};
use isango_testkit::client::{Ask, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};
use isango_testkit::within;
use serde_json::Value;

use crate::crash::Isango;
use crate::harness::{CHAT, Harness, providers};

/// A bucket of S3's kind in memory.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Requests so far.
    count: AtomicU64,
    /// It fails no more.
    is_well: AtomicBool,
}

impl Bucket {
    /// Takes a write, or answers a question.
    fn answer(&self, request: &Received) -> Answer {
        let path = request.head.target.split('?').next().unwrap().to_owned();
        let mut objects = self.objects.lock().unwrap();
        if request.head.method == "PUT" {
            objects.insert(path, request.body.clone());
            return json("");
        }
        if path == "/audit" {
            let keys = objects
                .keys()
                .map(|key| format!("<Key>{}</Key>", &key["/audit/".len()..]));
            return json(keys.collect::<String>());
        }
        objects
            .get(&path)
            .map_or(status(404), |body| json(body.clone()))
    }

    /// What stands in its objects, in their order.
    fn lines(&self) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        let bodies = objects.iter().filter(|(key, _)| key.ends_with(".log.gz"));
        let mut by_sequence: Vec<_> = bodies
            .map(|(key, body)| (key.rsplit('_').nth(1).unwrap(), body))
            .collect();
        by_sequence.sort();
        by_sequence
            .iter()
            .flat_map(|(_, body)| lines(body))
            .collect()
    }
}

fn lines(gzip: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn s3(url: &str) -> String {
    format!(
        "s3://audit/prompts/{{DATE}}?region=af-south-1&access-key-id=AKID\
         &secret-access-key=planted-secret&endpoint={url}"
    )
}

/// The gateway `default` with one export.
fn exporting(destination: &str, more: &str) -> String {
    format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.logpush]]\nname = \"trail\"\n\
         destination = \"{destination}\"\nmax_upload_interval = \"100ms\"\nallow_private = true\n\
         from = \"start\"\n{more}\n"
    )
}

fn prompt() -> Ask {
    Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-metadata", r#"{"tenantId":"acme"}"#)
}

#[tokio::test]
async fn a_bucket_gets_signed_objects_with_what_the_journal_has() {
    let bucket = Arc::new(Bucket::default());
    let of = Arc::clone(&bucket);
    let store = Upstream::start_by(move |request| of.answer(request)).await;
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let more = "max_upload_records = 3";
    let gateway = Harness::with(&exporting(&s3(&store.url()), more), &upstream).await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&prompt()).await.status(), 200);
    }
    let written = store.request(0).await;
    let head = &written.head;
    assert_eq!(head.method, "PUT");
    assert!(
        head.target.starts_with("/audit/prompts/20"),
        "{}",
        head.target
    );
    assert!(head.target.ends_with(".log.gz"), "{}", head.target);
    let signed = head.header("authorization").unwrap();
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"),
        "{signed}"
    );
    assert!(signed.contains("/af-south-1/s3/aws4_request"), "{signed}");
    assert!(signed.contains("x-amz-checksum-sha256"), "{signed}");
    // The manifest comes behind the object.
    let manifest = store.request(1).await;
    let target = &manifest.head.target;
    assert_eq!(
        target,
        "/audit/prompts/manifests/local.default.trail/000000000001.json"
    );
    let records = gateway.records(3).await;
    let lines = bucket.lines();
    assert_eq!(lines.len(), 3);
    for (line, record) in lines.iter().zip(&records) {
        assert_eq!(line["Id"], record.id.to_string());
        assert_eq!(line["RequestBody"], PROMPT);
        assert_eq!(
            line["ResponseBody"],
            record.response.body.as_ref().unwrap().as_str()
        );
        assert_eq!(line["Metadata"], r#"{"tenantId":"acme"}"#);
        assert_eq!(line["StatusCode"], 200);
        assert_eq!(line["Cost"], 0.0000975);
    }
    let told = within("the export is told", async {
        loop {
            let told = ask(gateway.admin, &Ask::get("/exports")).await;
            if told.json()["exports"][0]["delivered_records"] == 3 {
                return told.text().to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    let told = told.await;
    assert!(!told.contains("planted"), "{told}");
    let metrics = ask(gateway.admin, &Ask::get("/metrics")).await;
    let line = r#"isango_export_records_total{job="local/default/trail",result="delivered"} 3"#;
    assert!(
        metrics.text().lines().any(|one| one == line),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn a_webhook_gets_signed_batches() {
    let receiver = Upstream::start([json("")]).await;
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let more = "signing_key = \"a secret of sixteen\"\ndataset = \"records\"\n\
                compression = \"none\"";
    let to = format!("{}/in?tag=a&header_X-Team=ops", receiver.url());
    let gateway = Harness::with(&exporting(&to, more), &upstream).await;
    gateway.ask(&prompt()).await;
    let sent = receiver.request(0).await;
    assert_eq!(
        (&*sent.head.method, &*sent.head.target),
        ("POST", "/in?tag=a")
    );
    let header = |name: &str| sent.head.header(name).unwrap();
    assert_eq!(header("x-team"), "ops");
    assert_eq!(header("isango-batch-id"), "local/default/trail/1");
    assert_eq!(header("isango-records"), "1");
    // As openssl computes it.
    let seconds = header("isango-timestamp");
    let text = [seconds.as_bytes(), b".", &sent.body].concat();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, text).unwrap();
    let told = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", "a secret of sixteen"])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let expected = told.trim().rsplit(' ').next().unwrap();
    assert_eq!(header("isango-signature"), format!("v1={expected}"));
    let line: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(line["id"], gateway.record().await.id.to_string());
}

#[tokio::test]
async fn a_destination_that_hangs_holds_no_request_up() {
    let hanging = Upstream::start([Answer::raw([Step::Stall])]).await;
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::with(&exporting(&s3(&hanging.url()), ""), &upstream).await;
    gateway.ask(&prompt()).await;
    hanging.request(0).await;
    for _ in 0..50 {
        assert_eq!(gateway.ask(&prompt()).await.status(), 200);
    }
    assert_eq!(gateway.records(51).await.len(), 51);
    assert_eq!(hanging.count(), 1);
}

/// Every id that the journal has, in its order.
fn journal(folder: &Path) -> Vec<String> {
    let store = Records::open_read_only(folder).unwrap();
    let (records, _) = store.follow(Position::START, 10_000).unwrap();
    records.iter().map(|record| record.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_and_a_failing_bucket_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Bucket::default());
    let of = Arc::clone(&bucket);
    let store = Upstream::start_by(move |request| {
        match of.count.fetch_add(1, Ordering::SeqCst) % 9 {
            _ if of.is_well.load(Ordering::SeqCst) => of.answer(request),
            0 => status(503),
            // It is stored, and nobody hears of it.
            3 => {
                of.answer(request);
                Answer::raw([Step::Reset])
            }
            6 => status(400),
            _ => of.answer(request),
        }
    })
    .await;
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n{}{}",
        exporting(&s3(&store.url()), "max_upload_records = 10"),
        providers(&upstream)
    );
    std::fs::write(folder.path().join("isango.toml"), config).unwrap();
    let data = folder.path().join("data");
    for round in 0..10 {
        let isango = Isango::start(folder.path());
        for _ in 0..5 {
            assert_eq!(ask(isango.addr, &prompt()).await.status(), 200);
        }
        // Another moment of delivering each time.
        tokio::time::sleep(Duration::from_millis(120 + 90 * round)).await;
        drop(isango);
    }
    let isango = Isango::start(folder.path());
    let wanted = journal(&data);
    assert!(wanted.len() >= 40, "{}", wanted.len());
    // Waits between tries add up.
    let delivered = async {
        while bucket.lines().len() < wanted.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), delivered).await;
    assert!(
        in_time.is_ok(),
        "{} of {}",
        bucket.lines().len(),
        wanted.len()
    );
    isango.stop();
    let lines = bucket.lines();
    let found: Vec<&str> = lines
        .iter()
        .map(|line| line["Id"].as_str().unwrap())
        .collect();
    assert_eq!(found, wanted);
    bucket.is_well.store(true, Ordering::SeqCst);
    let verified = Command::new(env!("CARGO_BIN_EXE_isango"))
        .args([
            "audit",
            "verify",
            "--json",
            "--bucket",
            "local/default/trail",
            "--config",
        ])
        .arg(folder.path().join("isango.toml"))
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(
        (told["damages"].as_u64(), verified.status.code()),
        (Some(0), Some(0)),
        "{told}"
    );
    assert_eq!(told["jobs"][0]["records"], wanted.len());
    drop(Records::open(&data, Options::default()).unwrap());
}

#[test]
fn sealed_fields_are_opened_by_the_command_with_the_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    run("openssl", &["genrsa", "-out", "key.pem", "2048"]);
    run(
        "openssl",
        &["rsa", "-in", "key.pem", "-pubout", "-out", "key.pub.pem"],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let config = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n{}{}",
            exporting(
                &format!("folder://{}/out", folder.path().display()),
                "public_key_file = \"key.pub.pem\""
            ),
            providers(&upstream)
        );
        std::fs::write(folder.path().join("isango.toml"), config).unwrap();
        let isango = Isango::start(folder.path());
        assert_eq!(ask(isango.addr, &prompt()).await.status(), 200);
        within("a manifest is there", async {
            let manifests = folder.path().join("out/manifests/local.default.trail");
            while std::fs::read_dir(&manifests).map_or(0, Iterator::count) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        isango.stop();
    });
    let out = std::fs::read_dir(folder.path().join("out")).unwrap();
    let mut files = out.map(|entry| entry.unwrap().path());
    let file = files
        .find(|path| path.extension().is_some_and(|one| one == "gz"))
        .unwrap();
    let sealed = lines(&std::fs::read(&file).unwrap());
    let envelope = sealed[0]["RequestBody"].as_object().unwrap();
    assert_eq!(envelope.keys().collect::<Vec<_>>(), ["data", "iv", "key"]);
    let file = file.to_str().unwrap();
    let opened = run(
        env!("CARGO_BIN_EXE_isango"),
        &["logpush", "decrypt", "--key", "key.pem", file],
    );
    let opened: Value = serde_json::from_str(&opened).unwrap();
    assert_eq!(opened["RequestBody"], PROMPT);
    assert_eq!(opened["Metadata"], r#"{"tenantId":"acme"}"#);
    assert_eq!(opened["Id"], sealed[0]["Id"]);
}

#[tokio::test]
async fn traces_go_out_as_otlp_with_the_trace_of_the_client() {
    let receiver = Upstream::start([json("{}")]).await;
    let upstream = Upstream::start([status(503), json(COMPLETION)]).await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\nretry = {{ max_attempts = 2, delay_ms = 1 }}\n\
         [[gateways.otel]]\nurl = \"{}/v1/traces\"\nheaders = {{ x-api-key = \"planted\" }}\n\
         allow_private = true\n",
        receiver.url()
    );
    let gateway = Harness::with(&settings, &upstream).await;
    within("the exporter has begun", async {
        loop {
            let told = ask(gateway.admin, &Ask::get("/exports")).await.json();
            if told["exports"][0]["head"]
                .as_str()
                .is_some_and(|head| !head.is_empty())
            {
                assert_eq!(told["exports"][0]["dataset"], "traces");
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let traced = prompt().with(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    assert_eq!(gateway.ask(&traced).await.status(), 200);
    let sent = receiver.request(0).await;
    assert_eq!(sent.head.target, "/v1/traces");
    assert_eq!(sent.head.header("content-type"), Some("application/json"));
    assert_eq!(sent.head.header("x-api-key"), Some("planted"));
    let told = lines(&sent.body).remove(0);
    let spans = &told["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 3, "{spans}");
    assert_eq!(spans[0]["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(spans[0]["parentSpanId"], "00f067aa0ba902b7");
    let record = gateway.record().await;
    let text = spans.to_string();
    assert!(text.contains(&record.id.to_string()));
    assert!(
        text.contains(r#"{"key":"tenantId","value":{"stringValue":"acme"}}"#),
        "{text}"
    );
    assert_eq!(spans[1]["status"]["code"], 2);
    // What the client sent crosses as it came.
    let crossed = upstream.request(1).await;
    assert!(crossed.head.header("traceparent").is_some());
}

#[tokio::test]
async fn what_is_redacted_is_neither_stored_nor_exported_and_crosses_unchanged() {
    let receiver = Upstream::start([json("")]).await;
    // The number is cut by frames.
    let events = ["4111 11", "11 1111 ", "1111."].map(|text| {
        format!("data: {{\"model\":\"gpt-4o\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    });
    let events: Vec<String> = events
        .into_iter()
        .chain(["data: [DONE]\n\n".into()])
        .collect();
    let upstream = Upstream::start([isango_testkit::answer::sse(events.clone())]).await;
    let more = "[[gateways.redact]]\ndetect = [\"card\"]\n\
                [[gateways.redact]]\nkeys = [\"user\"]\naction = \"drop\"\nat = \"export\"\n";
    let settings = exporting(&format!("{}/in", receiver.url()), "compression = \"none\"");
    let settings = settings.replace(
        "id = \"default\"\n",
        "id = \"default\"\nrecord_raw_streams = true\n",
    );
    let gateway = Harness::with(&format!("{settings}{more}"), &upstream).await;
    let asked = r#"{"model":"gpt-4o","stream":true,"user":"ann","messages":[{"role":"user","content":"4111111111111111"}]}"#;
    let reply = gateway
        .ask(&Ask::post(CHAT, asked).with("authorization", "Bearer k"))
        .await;
    assert_eq!(reply.text(), events.concat());
    let crossed = String::from_utf8(upstream.request(0).await.body).unwrap();
    assert!(crossed.contains("4111111111111111"), "{crossed}");
    let record = gateway.record().await;
    let stored = serde_json::to_string(&record).unwrap();
    assert!(!stored.contains("4111"), "{stored}");
    assert!(stored.contains("[redacted:card]"), "{stored}");
    assert!(stored.contains(r#""user":"ann""#), "{stored}");
    let sent = String::from_utf8(receiver.request(0).await.body).unwrap();
    assert!(!sent.contains("4111") && !sent.contains("ann"), "{sent}");
}
