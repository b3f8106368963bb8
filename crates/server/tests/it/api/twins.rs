//! Commands that are twins of the management API, against a running server.

use std::ffi::OsString;

use isango_testkit::Tls;
use isango_testkit::answer::{json as json_answer, status};
use serde_json::{Value, json};

use super::*;

/// Runs a command against a server as its admin; the exit code, and what it printed.
pub(super) async fn isango(managed: &Managed, line: &str) -> (u8, String) {
    let admin = managed.gateway.admin;
    let line = format!(
        "isango {line} --admin {admin} --token {}",
        managed.admin.expose()
    );
    let ran = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let code = isango_server::cli::run(line.split(' ').map(OsString::from), &mut out);
        (code, String::from_utf8(out).unwrap())
    });
    ran.await.unwrap()
}

#[tokio::test]
async fn gateways_limits_and_documents_are_managed_by_commands() {
    let managed = Managed::start("").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let gateway = file(
        "gateway.json",
        &json!({
            "id": "shop", "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
            "rate_limiting_interval": 0, "rate_limiting_limit": 0,
        }),
    );
    let run = async |line: &str| {
        let (code, text) = isango(&managed, line).await;
        assert_eq!(code, 0, "{line}: {text}");
        text
    };
    assert_eq!(
        run(&format!("gateway create {gateway}")).await,
        "shop was made\n"
    );
    let listed = run("gateway list").await;
    assert!(
        listed.contains("shop  api  2026-11-22T16:00:00"),
        "{listed}"
    );
    let fields = file("fields.json", &json!({"cache_ttl": 300}));
    assert_eq!(
        run(&format!("gateway update shop {fields}")).await,
        "shop was changed\n"
    );
    let read: Value = serde_json::from_str(&run("gateway get shop").await).unwrap();
    assert_eq!(read["cache_ttl"], 300);
    let day = json!({"id": "day", "unit": "requests", "limit": 1, "window": "day"});
    let limit = file("limit.json", &day);
    assert_eq!(managed.chat("shop").await, 200);
    managed.gateway.records(1).await;
    let tried = run(&format!("limit try shop {limit} --json")).await;
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(
        (&tried["requests"], &tried["exceeded"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        run(&format!("limit set shop {limit}")).await,
        "day is set\n"
    );
    assert_eq!(run("limit list shop").await, "day  requests  1  day\n");
    assert_eq!(managed.chat("shop").await, 200);
    assert_eq!(managed.chat("shop").await, 429);
    let document = run("config export").await;
    let document = file("document.json", &serde_json::from_str(&document).unwrap());
    assert_eq!(
        run(&format!("config plan {document}")).await,
        "nothing is changed\n"
    );
    assert_eq!(run("limit remove shop day").await, "day was removed\n");
    assert_eq!(
        run(&format!("config plan {document}")).await,
        "changed  shop\n"
    );
    assert_eq!(
        run(&format!("config apply {document}")).await,
        "changed  shop\n"
    );
    assert_eq!(run("limit list shop").await, "day  requests  1  day\n");
    assert_eq!(run("gateway delete shop").await, "shop was removed\n");
    for (line, code) in [
        ("gateway get shop", 1),
        ("gateway get No%20Id", 2),
        ("limit remove default none", 2),
        ("gateway list --account Nowhere/", 2),
    ] {
        assert_eq!(isango(&managed, line).await.0, code, "{line}");
    }
}

#[tokio::test]
async fn alerts_are_listed_tested_and_muted_by_commands() {
    let receiver = Upstream::start([json_answer("{}"), status(410)]).await;
    let managed = Managed::start(&format!(
        "[[gateways]]\nid = \"shop\"\n[[gateways.alerts]]\nid = \"failing\"\non = \"error_rate\"\n\
         at = 0.5\nwebhook = \"{}/planted\"\nformat = \"slack\"\n",
        receiver.url()
    ))
    .await;
    let check = async |line: &str, code: u8, told: &str| {
        assert_eq!(
            isango(&managed, line).await,
            (code, told.to_owned()),
            "{line}"
        );
    };
    check("alert list", 0, "shop  failing  false  0  0  -  -\n").await;
    check("alert test shop failing", 0, "delivered 200  {}\n").await;
    let (code, told) = isango(&managed, "alert test shop failing").await;
    assert_eq!((code, &told[..10]), (1, "failed 410"));
    let until = "2026-11-22T20:00:00.000000Z";
    let muted = format!("failing is quiet until {until}\n");
    check("alert mute shop failing --for 4h", 0, &muted).await;
    let listed = format!("shop  failing  false  0  0  {until}  -\n");
    check("alert list", 0, &listed).await;
    check("alert unmute shop failing", 0, "failing may speak again\n").await;
    let (_, one) = isango(&managed, "alert get shop failing").await;
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["watches"], &one["muted_until"]),
        (&json!("error_rate"), &Value::Null)
    );
    for (line, code) in [
        ("alert get shop none", 1),
        ("alert get shop ../x", 2),
        ("alert mute shop failing --for soon", 2),
        ("alert mute shop failing --for 1s", 1),
    ] {
        assert_eq!(isango(&managed, line).await.0, code, "{line}");
    }
}

#[tokio::test]
async fn targets_are_managed_by_commands() {
    let managed = Managed::start("").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("target.json");
    let file = path.to_str().unwrap();
    let check = async |line: &str, told: &str| {
        assert_eq!(isango(&managed, line).await, (0, told.to_owned()), "{line}");
    };
    check("target list default", "").await;
    let write = |target: Value| std::fs::write(&path, target.to_string()).unwrap();
    write(json!({"name": "one", "provider": "openai", "weight": 3}));
    check(&format!("target set default {file}"), "one is set\n").await;
    write(json!({"name": "two", "provider": "groq"}));
    check(&format!("target set default {file}"), "two is set\n").await;
    check("target list default", "one  openai  3\ntwo  groq  -\n").await;
    write(json!({"name": "one", "provider": "openai"}));
    check(&format!("target set default {file}"), "one is set\n").await;
    check("target list default", "one  openai  -\ntwo  groq  -\n").await;
    let (code, status) = isango(&managed, "target status --json").await;
    let lines: Vec<Value> = status
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&Value> = lines.iter().map(|line| &line["target"]).collect();
    assert_eq!((code, names), (0, vec![&json!("one"), &json!("two")]));
    check("target remove default one", "one was removed\n").await;
    check("target list default", "two  groq  -\n").await;
    assert_eq!(isango(&managed, "target remove default one").await.0, 2);
}

#[tokio::test]
async fn a_gateway_elsewhere_is_asked_by_https_and_its_certificate_is_checked() {
    let tls = Tls::new();
    let answer = json!({"success": true, "result": [{"gateway": "shop", "id": "failing"}]});
    let remote = Upstream::start_tls([json_answer(answer.to_string())], &tls, &["http/1.1"]).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, tls.authority_pem()).unwrap();
    let run = async |more: String| {
        let port = remote.addr().port();
        let line = format!("isango alert list --admin https://localhost:{port} --token t{more}");
        let ran = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            let code = isango_server::cli::run(line.split(' ').map(OsString::from), &mut out);
            (code, String::from_utf8(out).unwrap())
        });
        ran.await.unwrap()
    };
    assert_eq!(run(String::new()).await, (1, String::new()));
    assert_eq!(
        remote.count(),
        0,
        "a token is sent to nobody who is not known"
    );
    let trusted = format!(" --ca-file {}", ca.display());
    assert_eq!(
        run(trusted).await,
        (0, "shop  failing  -  -  -  -  -\n".into())
    );
    let asked = remote.request(0).await;
    assert_eq!(asked.head.header("authorization"), Some("Bearer t"));
    let path = "/client/v4/accounts/local/isango/alerts?page=1&per_page=100";
    assert_eq!(&*asked.head.target, path);
}
