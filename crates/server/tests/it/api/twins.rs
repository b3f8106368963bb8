//! Commands that are twins of the management API, against a running server.

use std::ffi::OsString;

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
