//! The audit trail: what is in it, who sees which part, and that nothing opens anything.

use isango_types::Role;
use serde_json::{Value, json};

use super::people::{Browser, House, PASSWORD, SESSION};
use super::*;

const AUDIT: &str = "/client/v4/accounts/local/isango/audit";

/// `who action kind id` of each entry.
fn told(answer: &Value) -> Vec<String> {
    let entries = answer["result"].as_array().unwrap();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let show = |entry: &Value| {
        let parts = ["who", "action", "kind", "id"].map(|name| text(entry, name));
        parts.join(" ").trim_end().to_owned()
    };
    entries.iter().map(show).collect()
}

#[tokio::test]
async fn every_change_is_told_with_who_when_from_where_before_and_after() {
    let managed = Managed::start("").await;
    let gateway = json!({
        "id": "shop", "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
        "rate_limiting_interval": 60, "rate_limiting_limit": 100,
    });
    managed.done("POST", GATEWAYS, &gateway).await;
    let shop = format!("{GATEWAYS}/shop");
    managed.done("PUT", &shop, &json!({"cache_ttl": 60})).await;
    let unknown = json!({"cache_tll": 60});
    let refused = managed.call("PUT", &shop, &unknown).await;
    assert_eq!(refused.status(), 400);
    let token = json!({"name": "app"});
    let made = managed.done("POST", &format!("{OWN}/tokens"), &token).await;
    let secret = made["result"]["value"].as_str().unwrap();
    let purge = json!({"gateway": "shop"});
    managed
        .done("POST", &format!("{OWN}/cache/purge"), &purge)
        .await;
    assert_eq!(managed.chat("default").await, 200);
    let record = managed.gateway.record().await;
    let logs = format!("{GATEWAYS}/default/logs");
    let log = format!("{logs}/{}", record.id);
    managed.done("PATCH", &log, &json!({"feedback": 1})).await;
    managed.done("PATCH", &log, &json!({"feedback": -1})).await;
    managed.done("DELETE", &logs, &Value::Null).await;
    managed.done("DELETE", &shop, &Value::Null).await;
    let export = format!("{OWN}/requests/export?format=csv");
    let file = managed.call("GET", &export, &Value::Null).await;
    assert_eq!(file.status(), 200);
    let answer = managed.done("GET", AUDIT, &Value::Null).await;
    let patched = format!("token admin update record {}", record.id);
    assert_eq!(
        told(&answer),
        [
            "token admin export requests",
            "token admin delete gateway shop",
            "token admin delete record",
            &*patched,
            &*patched,
            "token admin purge cache",
            "token admin create token app",
            "token admin update gateway shop",
            "token admin create gateway shop",
            "command line create token admin",
        ]
    );
    let entries = &answer["result"];
    assert_eq!(entries[1]["after"], Value::Null);
    assert_eq!(entries[2]["after"]["deleted"], 1);
    assert_eq!(entries[2]["after"]["first"][0], record.id.to_string());
    assert_eq!(entries[3]["before"]["feedback"], 1);
    assert_eq!(entries[3]["after"]["feedback"], -1);
    assert_eq!(entries[5]["after"]["wanted"], purge);
    assert_eq!(entries[7]["before"]["fields"]["cache_ttl"], 0);
    assert_eq!(entries[7]["after"]["fields"]["cache_ttl"], 60);
    assert_eq!(entries[7]["address"], "127.0.0.1");
    assert_eq!(entries[7]["at"], "2026-11-22T16:00:00.000000Z");
    assert_eq!(entries[9]["address"], Value::Null);
    let revisions: Vec<&Value> = (5..10).map(|n| &entries[n]["revision"]).collect();
    assert_eq!(
        revisions,
        [&json!(null), &json!(4), &json!(3), &json!(2), &json!(1)]
    );
    let all = answer.to_string();
    assert!(!all.contains(secret) && !all.contains("digest"), "{all}");
    assert!(!all.contains(managed.admin.expose()));
    let report = managed.store.verify_trail().unwrap();
    assert!(report.is_intact());
    assert_eq!(entries[0]["link"], report.head);
}

#[tokio::test]
async fn the_trail_is_filtered_ordered_and_paged() {
    let managed = Managed::start("").await;
    for name in ["a", "b", "c", "d"] {
        let tokens = format!("{OWN}/tokens");
        managed.done("POST", &tokens, &json!({"name": name})).await;
    }
    managed
        .done("DELETE", &format!("{OWN}/tokens/b"), &Value::Null)
        .await;
    let ask = async |query: &str| {
        let path = format!("{AUDIT}?{query}");
        managed.done("GET", &path, &Value::Null).await
    };
    for (query, count) in [
        ("", 6),
        ("action=update", 1),
        ("action=create&who=token%20admin", 4),
        ("who=command%20line", 1),
        ("kind=gateway", 0),
        ("id=b", 2),
        ("since=2026-11-22T16:00:00Z", 6),
        ("until=2026-11-22T16:00:00Z", 0),
    ] {
        let answer = ask(query).await;
        assert_eq!(told(&answer).len(), count, "{query}");
        assert_eq!(answer["result_info"], json!({"count": count, "next": null}));
    }
    for ascending in [false, true] {
        let mut numbers = Vec::new();
        let mut after = String::new();
        loop {
            let query = format!("limit=2&ascending={ascending}&after={after}");
            let page = ask(&query).await;
            let entries = page["result"].as_array().unwrap();
            numbers.extend(entries.iter().map(|one| one["number"].as_u64().unwrap()));
            match page["result_info"]["next"].as_u64() {
                Some(next) => after = next.to_string(),
                None => break,
            }
        }
        let mut wanted = vec![6, 5, 4, 3, 2, 1];
        if ascending {
            wanted.reverse();
        }
        assert_eq!(numbers, wanted);
    }
    for (query, words) in [
        ("action=updated", "did you mean `update`?"),
        ("limit=0", "from 1 to"),
        ("limit=1000", "from 1 to 999"),
        ("after=x", "`next`"),
        ("since=x", "a moment"),
        ("user=x", "unknown parameter `user`"),
    ] {
        let path = format!("{AUDIT}?{query}");
        let reply = managed.call("GET", &path, &Value::Null).await;
        assert_eq!(reply.status(), 400, "{query}");
        assert!(reply.text().contains(words), "{}", reply.text());
    }
}

#[tokio::test]
async fn who_comes_and_goes_is_told_and_who_tried() {
    let (house, owner) = House::owned("").await;
    let ada = house.with("ada", Role::Admin).await;
    assert_eq!(house.sign_in("ada", "wrong password").await.status(), 401);
    assert_eq!(house.sign_in("my password", PASSWORD).await.status(), 401);
    let again = Browser::of(&house.sign_in("ada", PASSWORD).await);
    let out = again.ask("DELETE", SESSION, &Value::Null);
    assert_eq!(house.ask(&out).await.status(), 200);
    let password = json!({"current": PASSWORD, "password": "another long password"});
    let changed = ada.ask("PUT", "/client/v4/isango/password", &password);
    let ada = Browser::of(&house.ask(&changed).await);
    let seen = async |browser: &Browser, account: &str| {
        let path = format!("/client/v4/accounts/{account}/isango/audit?limit=100");
        let reply = house.ask(&browser.get(&path)).await;
        (reply.status(), reply.json())
    };
    let (_, answer) = seen(&ada, "local").await;
    let local = [
        "user ada sign_in session ada",
        "user ada update user ada",
        "user ada sign_out session ada",
        "user ada sign_in session ada",
        "nobody sign_in_failed session ada",
        "user ada sign_in session ada",
        "user ada create user ada",
        "user ada delete link ada",
        "command line create link ada",
    ];
    assert_eq!(told(&answer), local);
    let entries = &answer["result"];
    let after = json!({"name": "ada", "role": "admin", "password": "changed", "sessions": "ended"});
    assert_eq!(entries[1]["after"], after);
    assert_eq!(entries[4]["address"], "127.0.0.1");
    assert!(
        entries
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["account"] == "local")
    );
    // Who owns everything sees what concerns every account, too.
    let (_, answer) = seen(&owner, "local").await;
    let shared = told(&answer);
    assert!(shared.contains(&"nobody sign_in_failed session".to_owned()));
    assert!(shared.contains(&"user owner create user owner".to_owned()));
    assert!(shared.contains(&"user owner sign_in session owner".to_owned()));
    let (_, all) = seen(&owner, "*").await;
    assert_eq!(told(&all), shared);
    let (_, elsewhere) = seen(&owner, "other").await;
    assert_eq!(told(&elsewhere).len(), shared.len() - local.len());
    assert_eq!(seen(&ada, "*").await.0, 404);
    assert_eq!(seen(&ada, "other").await.0, 404);
    let text = all.to_string();
    for secret in [
        PASSWORD,
        "wrong password",
        "my password",
        "another long",
        &*ada.cookie,
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(house.store.verify_trail().unwrap().is_intact());
}

#[tokio::test]
async fn a_user_of_two_accounts_is_told_of_in_each_with_the_role_there() {
    let (house, owner) = House::owned("").await;
    let ada = house.with("ada", Role::Admin).await;
    let invite = json!({"name": "ada", "role": "viewer"});
    let users = "/client/v4/accounts/other/isango/users";
    let made = house.ask(&owner.ask("POST", users, &invite)).await;
    let code = made.json()["result"]["code"].as_str().unwrap().to_owned();
    let follow = json!({"code": code, "password": PASSWORD});
    assert_eq!(house.follow("link", &follow).await.status(), 200);
    let role = json!({"role": "analyst"});
    let asked = owner.ask("PATCH", &format!("{users}/ada"), &role);
    assert_eq!(house.ask(&asked).await.status(), 200);
    let reply = house.ask(&ada.get(&format!("{AUDIT}?kind=user"))).await;
    let local = reply.json();
    assert_eq!(told(&local), ["user ada create user ada"]);
    let path = "/client/v4/accounts/other/isango/audit?kind=user&id=ada";
    let other = house.ask(&owner.get(path)).await.json();
    let told = told(&other);
    assert_eq!(
        told,
        ["user owner update user ada", "user ada create user ada"]
    );
    let entries = &other["result"];
    assert_eq!(
        entries[0]["before"],
        json!({"name": "ada", "role": "viewer"})
    );
    assert_eq!(
        entries[0]["after"],
        json!({"name": "ada", "role": "analyst"})
    );
    assert!(!local.to_string().contains("other"));
}
