//! Alerts: who is told, where, how often, and what never leaves the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, status};
use isango_testkit::client::{Ask, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};
use isango_testkit::{Tls, within};
use serde_json::Value;

use crate::crash::Isango;
use crate::harness::{CHAT, Harness, providers};

/// What [`COMPLETION`] draws, in nano-dollars.
const COST: u64 = 19 * 2_500 + 5 * 10_000;
/// Path of the webhooks, which nobody may see.
const PATH: &str = "/services/T0000/B0000/planted-secret";
/// What messages are signed with.
const SECRET: &str = "a secret of sixteen";

fn of_tenant(tenant: &str) -> Ask {
    Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-metadata", &format!(r#"{{"tenantId":"{tenant}"}}"#))
}

/// A monthly budget of ten requests for each tenant, told of at 80 % and at 100 %.
fn budget(receiver: &Upstream, format: &str) -> String {
    let to = format!(
        "webhook = \"{}{PATH}\", format = \"{format}\", secret = \"{SECRET}\"",
        receiver.url()
    );
    format!(
        "dashboard_url = \"https://isango.example.com\"\n\
         [[gateways]]\nid = \"default\"\n\
         [[gateways.limits]]\nid = \"monthly-spend\"\nby = [\"metadata.tenantId\"]\nunit = \"cost\"\n\
         limit = 0.000{}\nwindow = \"month\"\nmode = \"relaxed\"\n\
         alerts = [{{ at = 0.8, {to} }}, {{ at = 1, {to} }}]\n",
        10 * COST / 1_000
    )
}

fn said(received: &Received) -> Value {
    assert!(received.complete);
    assert_eq!(
        (&*received.head.method, &*received.head.target),
        ("POST", PATH)
    );
    serde_json::from_slice(&received.body).unwrap()
}

/// The texts of a message for Slack, line by line.
fn lines(message: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for block in message["blocks"].as_array().unwrap() {
        let fields = block["fields"].as_array().into_iter().flatten();
        for text in fields.chain(block.get("text")) {
            lines.extend(text["text"].as_str().unwrap().lines().map(String::from));
        }
    }
    lines
}

/// Waits until a metric has a value.
async fn metric(gateway: &Harness, line: &str) {
    within(line, async {
        loop {
            let told = ask(gateway.admin, &Ask::get("/metrics")).await;
            if told.text().lines().any(|one| one == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn slack_is_told_once_that_80_percent_of_a_monthly_budget_are_spent() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let receiver = Upstream::start([json("ok")]).await;
    let gateway = Harness::with(&budget(&receiver, "slack"), &upstream).await;
    // One after another, so that it is known which of them passes 80 %.
    for n in 1..=8 {
        assert_eq!(gateway.ask(&of_tenant("acme")).await.status(), 200);
        gateway.records(n).await;
    }
    let first = lines(&said(&receiver.request(0).await));
    for line in [
        "80.0 % of monthly-spend is drawn",
        "default (account local)",
        "tenantId",
        "acme",
        "$0.00078 (80.0 %)",
        "$0.000975 per month",
        "• gpt-4o-2024-08-06: $0.00078",
    ] {
        assert!(first.iter().any(|one| one == line), "{line}: {first:?}");
    }
    let link = first.last().unwrap();
    assert!(
        link.starts_with("<https://isango.example.com/requests?q="),
        "{link}"
    );
    // Two more make it 100 %; what is told then is the next message, not a second of the first.
    for n in 9..=10 {
        assert_eq!(gateway.ask(&of_tenant("acme")).await.status(), 200);
        gateway.records(n).await;
    }
    let second = lines(&said(&receiver.request(1).await));
    assert_eq!(second[0], "100.0 % of monthly-spend is drawn");
    assert_eq!(gateway.ask(&of_tenant("acme")).await.status(), 429);
    assert_eq!(gateway.ask(&of_tenant("globex")).await.status(), 200);
    gateway.records(12).await;
    let alert = "isango_alerts_total{gateway=\"default\",alert=\"monthly-spend-80\"";
    metric(&gateway, &format!("{alert},event=\"delivered\"}} 1")).await;
    metric(&gateway, "isango_alerts_waiting 0").await;
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn json_is_signed_and_sent_again_until_it_is_taken() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let elsewhere = Upstream::start([json("ok")]).await;
    let redirect = status(307).header("location", &format!("{}{PATH}", elsewhere.url()));
    let receiver = Upstream::start([redirect, json("ok")]).await;
    let gateway = Harness::with(&budget(&receiver, "json"), &upstream).await;
    for n in 1..=8 {
        gateway.ask(&of_tenant("acme")).await;
        gateway.records(n).await;
    }
    let (first, second) = (receiver.request(0).await, receiver.request(1).await);
    assert_eq!(elsewhere.count(), 0, "redirects are not followed");
    assert_eq!(first.body, second.body);
    let header = |name: &str| second.head.header(name).unwrap().to_owned();
    assert_eq!(
        Some(&*header("isango-alert-id")),
        first.head.header("isango-alert-id")
    );
    let mut signed = header("isango-timestamp").into_bytes();
    signed.push(b'.');
    signed.extend_from_slice(&second.body);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let hex = header("isango-signature")
        .strip_prefix("v1=")
        .unwrap()
        .to_owned();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    aws_lc_rs::hmac::verify(&key, &signed, &bytes).unwrap();
    let event = said(&second);
    assert_eq!(event["version"], 1);
    assert_eq!(event["id"], *header("isango-alert-id"));
    assert_eq!(event["kind"], "limit");
    assert_eq!(event["alert"], "monthly-spend-80");
    let limit = &event["limit"];
    assert_eq!(
        (&limit["drawn"], &limit["limit"]),
        (&(8 * COST).into(), &(10 * COST).into())
    );
    assert_eq!(limit["bucket"][0]["value"], "acme");
    assert_eq!(limit["top_models"][0]["drawn"], 8 * COST);
}

#[tokio::test]
async fn failing_requests_are_told_when_they_are_many() {
    let upstream = Upstream::start([status(500)]).await;
    let receiver = Upstream::start([json("ok")]).await;
    let alert = format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.alerts]]\nid = \"failing\"\non = \"error_rate\"\n\
         at = 0.5\nmin_requests = 3\nwebhook = \"{}{PATH}\"\nformat = \"json\"\nsecret = \"{SECRET}\"\n",
        receiver.url()
    );
    let gateway = Harness::with(&alert, &upstream).await;
    for n in 1..=5 {
        assert_eq!(gateway.ask(&of_tenant("acme")).await.status(), 500);
        gateway.records(n).await;
    }
    let event = said(&receiver.request(0).await);
    assert_eq!(event["kind"], "error_rate");
    assert_eq!(event["requests"]["total"], 3);
    assert_eq!(
        event["summary"],
        "100.0 % of 3 requests in 300 s failed: more than 50 %"
    );
    metric(&gateway, "isango_alerts_waiting 0").await;
    assert_eq!(receiver.count(), 1);
}

/// Writes the configuration of the executable.
fn configure(folder: &Path, upstream: &Upstream, settings: &str) {
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         {settings}{}",
        providers(upstream)
    );
    std::fs::write(folder.join("isango.toml"), config).unwrap();
}

#[tokio::test]
async fn a_message_for_slack_survives_kill_9_on_its_way_and_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    // The first try is never answered.
    let silent = json("ok").first(Step::Wait);
    let receiver = Upstream::start([silent, json("ok")]).await;
    configure(folder.path(), &upstream, &budget(&receiver, "slack"));
    let isango = Isango::start(folder.path());
    for _ in 0..8 {
        assert_eq!(ask(isango.addr, &of_tenant("acme")).await.status(), 200);
    }
    let first = receiver.request(0).await;
    drop(isango);
    let isango = Isango::start(folder.path());
    let second = receiver.request(1).await;
    let id = |received: &Received| received.head.header("isango-alert-id").unwrap().to_owned();
    assert_eq!(id(&first), id(&second));
    let title = |received: &Received| lines(&said(received)).remove(0);
    assert_eq!(title(&second), "80.0 % of monthly-spend is drawn");
    // Started again, it has nothing to tell but what is new.
    isango.stop();
    let isango = Isango::start(folder.path());
    for _ in 0..2 {
        assert_eq!(ask(isango.addr, &of_tenant("acme")).await.status(), 200);
    }
    let third = receiver.request(2).await;
    assert_eq!(title(&third), "100.0 % of monthly-spend is drawn");
    assert_eq!(receiver.count(), 3);
    drop(isango);
    assert_unseen(folder.path());
}

#[tokio::test]
async fn a_webhook_is_in_no_log_however_much_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let receiver = Upstream::start([status(500).header("location", PATH), json("ok")]).await;
    configure(folder.path(), &upstream, &budget(&receiver, "slack"));
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let isango = Isango::start_logging(folder.path(), "trace", file.into());
    for _ in 0..8 {
        assert_eq!(ask(isango.addr, &of_tenant("acme")).await.status(), 200);
    }
    receiver.request(1).await;
    isango.stop();
    let logged = std::fs::read_to_string(log).unwrap();
    assert!(logged.contains("its webhook answers 500"), "{logged}");
    assert!(logged.contains("an alert was delivered"), "{logged}");
    assert!(
        !logged.contains("planted-secret") && !logged.contains(SECRET),
        "{logged}"
    );
}

/// The path of the webhook and the secret are in no file of the gateway's.
fn assert_unseen(folder: &Path) {
    for entry in std::fs::read_dir(folder.join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let has = |text: &str| {
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            };
            assert!(!has("planted-secret") && !has(SECRET), "{}", path.display());
        }
    }
}

fn alerts_test(folder: &Path, words: &[&str]) -> (Option<i32>, Value, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_isango"))
        .args(["alerts", "test", "--json", "--config", "isango.toml"])
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, said) = (
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    );
    let all = format!("{out}{said}");
    assert!(
        !all.contains("planted-secret") && !all.contains(SECRET),
        "{all}"
    );
    let first = out.lines().next().unwrap_or("null");
    (status.code(), serde_json::from_str(first).unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_is_marked_and_its_fate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let last = PATH.rsplit('/').next().unwrap();
    let echo = format!("POST {PATH} has no hook {last}");
    let receiver = Upstream::start([json("ok"), Answer::new(404).body(echo)]).await;
    configure(folder.path(), &upstream, &budget(&receiver, "slack"));
    let test = |words: &'static [&'static str]| {
        tokio::task::block_in_place(|| alerts_test(folder.path(), words))
    };
    let (code, told, _) = test(&["monthly-spend-80"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told["delivered"], true);
    assert_eq!(
        (&told["status"], &told["said"]),
        (&200.into(), &"ok".into())
    );
    let message = lines(&said(&receiver.request(0).await));
    assert_eq!(message[0], "Test: 80.0 % of monthly-spend is drawn");
    let (code, told, _) = test(&["monthly-spend-100"]);
    assert_eq!((code, &told["delivered"]), (Some(1), &false.into()));
    // What it says of its own address is not shown.
    let echoed = "POST [webhook] has no hook [webhook]";
    assert_eq!(
        (&told["status"], &told["said"]),
        (&404.into(), &echoed.into())
    );
    let (code, _, said) = test(&["monthly-spend-90"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("no alert `monthly-spend-90` is configured there"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_is_told_only_where_the_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    for host in [
        "169.254.169.254",
        "10.255.255.1",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let alert = format!(
            "[[gateways]]\nid = \"default\"\n[[gateways.alerts]]\nid = \"failing\"\n\
             on = \"error_rate\"\nat = 0.5\nwebhook = \"https://{host}{PATH}\"\nformat = \"slack\"\n"
        );
        configure(folder.path(), &upstream, &alert);
        let (code, told, _) =
            tokio::task::block_in_place(|| alerts_test(folder.path(), &["failing"]));
        assert_eq!(
            (code, &told["delivered"]),
            (Some(1), &false.into()),
            "{host}"
        );
        let said = told["said"].as_str().unwrap();
        assert!(said.starts_with("private_address"), "{host}: {said}");
    }
}

#[tokio::test]
async fn who_takes_a_message_need_not_end_its_answer() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let endless = json("").chunked(["taken", "for ever"]).stepwise();
    let receiver = Upstream::start([endless]).await;
    let gateway = Harness::with(&budget(&receiver, "json"), &upstream).await;
    for n in 1..=8 {
        gateway.ask(&of_tenant("acme")).await;
        gateway.records(n).await;
    }
    receiver.request(0).await;
    let alert = "isango_alerts_total{gateway=\"default\",alert=\"monthly-spend-80\"";
    metric(&gateway, &format!("{alert},event=\"delivered\"}} 1")).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_trusted_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let tls = Tls::new();
    let receiver = Upstream::start_tls([json("ok")], &tls, &["http/1.1"]).await;
    let host = format!("https://localhost:{}", receiver.addr().port());
    let alert = format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.alerts]]\nid = \"failing\"\non = \"error_rate\"\n\
         at = 0.5\nwebhook = \"{host}{PATH}\"\nformat = \"slack\"\n"
    );
    let test = |settings: &str| {
        configure(folder.path(), &upstream, settings);
        tokio::task::block_in_place(|| alerts_test(folder.path(), &["failing"]))
    };
    let (code, told, _) = test(&alert);
    assert_eq!(code, Some(1));
    assert!(
        told["said"].as_str().unwrap().starts_with("tls_failed"),
        "{told}"
    );
    std::fs::write(folder.path().join("ca.pem"), tls.authority_pem()).unwrap();
    let (code, told, _) = test(&format!("[upstream]\nextra_ca_file = \"ca.pem\"\n{alert}"));
    assert_eq!(
        (code, &told["delivered"]),
        (Some(0), &true.into()),
        "{told}"
    );
    assert_eq!(receiver.count(), 1);
}

/// Rounds of the test that kills; each at another moment.
const ROUNDS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_no_alert_and_tells_none_for_two_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let receiver = Upstream::start([json("ok")]).await;
    let settings = budget(&receiver, "json");
    let (first, rest) = settings.split_once(", { at = 1,").unwrap();
    let settings = format!("{first}]\n{}", rest.split_once("}]\n").unwrap().1);
    configure(folder.path(), &upstream, &settings);
    for round in 0..ROUNDS {
        let tenant = format!("tenant-{round}");
        let isango = Isango::start(folder.path());
        for _ in 0..8 {
            assert_eq!(ask(isango.addr, &of_tenant(&tenant)).await.status(), 200);
        }
        // Before its record is written, while it is judged, kept, sent, and after.
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        drop(isango);
        let isango = Isango::start(folder.path());
        // What was answered last may not have been on record; so it passes 80 % now at the latest.
        for _ in 0..8 {
            assert!(matches!(
                ask(isango.addr, &of_tenant(&tenant)).await.status(),
                200 | 429
            ));
        }
        isango.stop();
    }
    // What was decided on at the end of a process is sent by the next.
    let _isango = Isango::start(folder.path());
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    within("an alert of each tenant", async {
        let mut index = 0;
        while ids.len() < usize::try_from(ROUNDS).unwrap() {
            let received = receiver.request(index).await;
            let event = said(&received);
            let tenant = event["limit"]["bucket"][0]["value"]
                .as_str()
                .unwrap()
                .to_owned();
            let id = event["id"].as_str().unwrap().to_owned();
            ids.entry(tenant).or_default().insert(id);
            index += 1;
        }
    })
    .await;
    for (tenant, ids) in ids {
        assert_eq!(
            ids.len(),
            1,
            "{tenant} was told of for more than one reason: {ids:?}"
        );
    }
}
