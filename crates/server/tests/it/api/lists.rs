//! Lists: pages by number and by cursor, in both directions, of those that are searched for.

use serde_json::{Value, json};

use super::*;

/// The names of a page, and the cursor of the next.
async fn page(managed: &Managed, query: &str) -> (Vec<String>, Option<String>) {
    let path = format!("{OWN}/tokens?per_page=2&{query}");
    let answer = managed.done("GET", &path, &Value::Null).await;
    let tokens = answer["result"].as_array().unwrap();
    let names = tokens
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned());
    let cursor = answer["result_info"]["cursor"].as_str();
    (names.collect(), cursor.map(str::to_owned))
}

#[tokio::test]
async fn a_cursor_goes_on_behind_the_page_before_whatever_comes_meanwhile() {
    let managed = Managed::start("").await;
    let make = async |name: &str| {
        let tokens = format!("{OWN}/tokens");
        managed.done("POST", &tokens, &json!({"name": name})).await;
    };
    for name in ["c", "e", "g"] {
        make(name).await;
    }
    let (names, cursor) = page(&managed, "").await;
    assert_eq!(names, ["admin", "c"]);
    make("b").await;
    make("d").await;
    let cursor = format!("cursor={}", cursor.unwrap());
    let (names, next) = page(&managed, &cursor).await;
    assert_eq!(names, ["d", "e"]);
    let (names, last) = page(&managed, &format!("cursor={}", next.unwrap())).await;
    assert_eq!((names, last), (vec!["g".to_owned()], None));
    let (names, cursor) = page(&managed, "direction=desc").await;
    assert_eq!(names, ["g", "e"]);
    let query = format!("direction=desc&cursor={}", cursor.unwrap());
    assert_eq!(page(&managed, &query).await.0, ["d", "c"]);
    assert_eq!(page(&managed, "page=2").await.0, ["c", "d"]);
    assert_eq!(
        page(&managed, "search=dmi").await,
        (vec!["admin".to_owned()], None)
    );
    for (query, words) in [
        ("cursor=%20", "as it was told"),
        ("cursor=YQ&page=2", "exclude each other"),
        ("direction=up", "one of asc, desc"),
    ] {
        let path = format!("{OWN}/tokens?{query}");
        let reply = managed.call("GET", &path, &Value::Null).await;
        assert_eq!(reply.status(), 400);
        assert!(reply.text().contains(words), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_cursor_whose_entry_is_gone_goes_on_behind_it() {
    let managed = Managed::start("").await;
    let fields = |id: &str| {
        json!({
            "id": id, "cache_invalidate_on_update": true, "cache_ttl": 0, "collect_logs": true,
            "rate_limiting_interval": 60, "rate_limiting_limit": 100,
        })
    };
    for id in ["a", "b", "c", "d"] {
        managed.done("POST", GATEWAYS, &fields(id)).await;
    }
    for (direction, expected) in [("asc", ["c", "d"]), ("desc", ["default", "d"])] {
        let first = format!("{GATEWAYS}?per_page=2&direction={direction}");
        if direction == "desc" {
            managed.done("POST", GATEWAYS, &fields("z")).await;
            managed.done("POST", GATEWAYS, &fields("e")).await;
        }
        let answer = managed.done("GET", &first, &Value::Null).await;
        let last = answer["result"][1]["id"].as_str().unwrap();
        let cursor = answer["result_info"]["cursor"].as_str().unwrap();
        managed
            .done("DELETE", &format!("{GATEWAYS}/{last}"), &Value::Null)
            .await;
        let next = format!("{first}&cursor={cursor}");
        let answer = managed.done("GET", &next, &Value::Null).await;
        let ids = [0, 1].map(|n| answer["result"][n]["id"].as_str().unwrap());
        assert_eq!(ids, expected, "{direction}: {last} is gone");
    }
}
