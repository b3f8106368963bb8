//! Who gets in: every route of the description, for everybody that there is.

use isango_testkit::client::Client;
use isango_types::Role;
use isango_types::key::Scope;
use serde_json::{Value, json};

use super::people::House;
use super::*;

/// Every path of the description, with its methods.
fn described() -> serde_json::Map<String, Value> {
    let description = isango_control::openapi().to_json().unwrap();
    let mut description: Value = serde_json::from_str(&description).unwrap();
    serde_json::from_value(description["paths"].take()).unwrap()
}

/// Every method and path of the description below the accounts, with its placeholders filled.
pub(super) fn routes(account: &str) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for (path, item) in described() {
        if !path.starts_with("/client/v4/accounts/") {
            continue;
        }
        let filled = path
            .replace("{account_id}", account)
            .replace("{gateway_id}", "shop");
        let filled: Vec<&str> = filled
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "openai"
                } else {
                    segment
                }
            })
            .collect();
        for method in item.as_object().unwrap().keys() {
            if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                routes.push((method.to_ascii_uppercase(), filled.join("/")));
            }
        }
    }
    assert!(routes.len() >= 6, "{routes:?}");
    routes
}

/// Whether a token for some gateways gets what is of those: who lists gateways or alerts, or asks for
/// requests.
fn gives_its_own(method: &str, path: &str) -> bool {
    let own = [
        "/isango/requests",
        "/isango/analytics",
        "/isango/tail",
        "/isango/alerts",
    ];
    let asks = own.iter().any(|own| path.contains(own));
    asks || (path == GATEWAYS && method == "GET")
}

/// Whether a POST to a path only asks.
fn is_question(path: &str) -> bool {
    let questions = [
        "/isango/analytics",
        "/backtest",
        "/simulate",
        "/cache/explain",
    ];
    questions.iter().any(|end| path.ends_with(end))
}

/// The status of an answer; its head alone is read, for a tail has no end.
async fn status(managed: &Managed, asked: &Ask) -> u16 {
    let mut client = Client::connect(managed.gateway.admin).await;
    client.send_ask(asked).await;
    client.head().await.status
}

#[tokio::test]
async fn every_route_lets_in_only_whom_it_should() {
    let managed = Managed::start("[[gateways]]\nid = \"shop\"").await;
    let store = &*managed.store;
    let with = |name: &str, scope: Scope| stored(store, name, |token| token.scopes = vec![scope]);
    let (run, read) = (with("run", Scope::Run), with("read", Scope::Read));
    let (metadata, write) = (
        with("meta", Scope::MetadataRead),
        with("write", Scope::Write),
    );
    let ended = stored(store, "ended", |token| {
        token.scopes = vec![Scope::Write];
        token.expires_at = Some(NOW);
    });
    let elsewhere = stored(store, "elsewhere", |token| {
        token.scopes = vec![Scope::Write];
        token.gateways = vec!["other".into()];
    });
    // Tokens are taken up with the next look.
    let known = request("GET", GATEWAYS, &elsewhere, &Value::Null);
    isango_testkit::within("the tokens to be taken up", async {
        while ask(managed.gateway.admin, &known).await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let status = async |asked: Ask| status(&managed, &asked).await;
    let nonsense = json!({"no such field": 1});
    for (method, path) in routes("local") {
        let body = if method == "GET" || method == "DELETE" {
            &Value::Null
        } else {
            &nonsense
        };
        let of = |token: &Secret| request(&method, &path, token, body);
        let unnamed = Ask::new(&method, &path).body(nonsense.to_string());
        assert_eq!(status(unnamed).await, 401, "{method} {path}");
        for nobody in [Secret::new("isg_nobody"), ended.clone(), Secret::new("")] {
            assert_eq!(status(of(&nobody)).await, 401, "{method} {path}");
        }
        assert_eq!(status(of(&run)).await, 403, "{method} {path}");
        for (reader, sees_bodies) in [(&read, true), (&metadata, false)] {
            let admitted = status(of(reader)).await;
            let is_body = path.ends_with("/request") || path.ends_with("/response");
            let is_hidden = is_body && !sees_bodies;
            let refused = [401, 403].contains(&admitted);
            let is_question = is_question(&path);
            let of_people = ["/isango/users", "/isango/audit", "/isango/storage"];
            let is_of_people = of_people.iter().any(|of| path.contains(of));
            assert_eq!(
                refused,
                (method != "GET" && !is_question) || is_hidden || is_of_people,
                "{method} {path}: {admitted}"
            );
        }
        let admitted = status(of(&write)).await;
        assert!(
            ![401, 500].contains(&admitted),
            "{method} {path}: {admitted}"
        );
        if !gives_its_own(&method, &path) {
            let hidden = status(of(&elsewhere)).await;
            assert!([403, 404].contains(&hidden), "{method} {path}: {hidden}");
        }
    }
    for (method, path) in routes("another") {
        let body = if method == "GET" || method == "DELETE" {
            &Value::Null
        } else {
            &nonsense
        };
        let asked = request(&method, &path, &write, body);
        assert_eq!(status(asked).await, 404, "{method} {path}");
    }
    assert!(
        managed
            .store
            .history(u64::MAX, 100)
            .unwrap()
            .iter()
            .all(|one| { &*one.author.who == "command line" })
    );
}

#[tokio::test]
async fn a_token_for_some_gateways_sees_the_requests_of_those_alone() {
    let managed = Managed::start("[[gateways]]\nid = \"shop\"\n[[gateways]]\nid = \"desk\"").await;
    let made = json!({"name": "shop-only", "scopes": ["read"], "gateways": ["shop"]});
    let made = managed.done("POST", &format!("{OWN}/tokens"), &made).await;
    let token = Secret::new(made["result"]["value"].as_str().unwrap());
    for (id, times) in [("shop", 2), ("desk", 3)] {
        for _ in 0..times {
            assert_eq!(managed.chat(id).await, 200);
        }
    }
    let records = managed.gateway.records(5).await;
    let get = async |path: &str| {
        let asked = request("GET", &format!("{OWN}/{path}"), &token, &Value::Null);
        ask(managed.gateway.admin, &asked).await
    };
    let listed = get("requests").await.json();
    let rows = listed["result"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["gateway"] == "shop"), "{rows:?}");
    assert_eq!(get("requests?gateway=desk").await.status(), 404);
    let file = get("requests/export?format=jsonl").await;
    assert_eq!(file.text().lines().count(), 2);
    for record in &records {
        let seen = get(&format!("requests/{}", record.id)).await.status();
        let expected = if *record.gateway == *"shop" { 200 } else { 404 };
        assert_eq!(seen, expected);
    }
    let question = json!({"measures": ["count"], "by": ["gateway"]});
    let asked = request("POST", &format!("{OWN}/analytics"), &token, &question);
    let answer = ask(managed.gateway.admin, &asked).await.json();
    assert_eq!(answer["result"]["total"]["values"], json!([2]), "{answer}");
    let query = "{viewer{accounts(filter:{accountTag:\"local\"}){\
        aiGatewayRequestsAdaptiveGroups(limit:1){count}}}}";
    let query = json!({"query": query});
    let asked = request("POST", "/client/v4/graphql", &token, &query);
    let told = ask(managed.gateway.admin, &asked).await.json();
    let groups = &told["data"]["viewer"]["accounts"][0]["aiGatewayRequestsAdaptiveGroups"];
    assert_eq!(groups[0]["count"], 2, "{told}");
}

/// What a role may do with a method below `/client/v4/accounts/{account}`.
fn may(role: Role, method: &str, path: &str) -> bool {
    let rules = matches!(role, Role::Owner | Role::Admin);
    let own = path.split_once("/isango/").map_or("", |(_, own)| own);
    match own.split('/').next() {
        Some("users" | "audit" | "storage") => rules,
        Some("views") if method != "GET" => rules || role == Role::Analyst,
        _ if is_question(path) => true,
        _ if path.ends_with("/request") || path.ends_with("/response") => role != Role::Analyst,
        _ => method == "GET" || rules,
    }
}

#[tokio::test]
async fn every_route_lets_in_only_the_roles_that_it_should() {
    const REFUSED: u64 = 9_109;
    let (house, owner) = House::owned("[[gateways]]\nid = \"shop\"").await;
    let mut people = vec![(Role::Owner, owner)];
    for role in [Role::Owner, Role::Admin, Role::Analyst, Role::Viewer] {
        people.push((role, house.with(&format!("{role}-2"), role).await));
    }
    let nonsense = json!({"no such field": 1});
    let body = |method: &str| match method {
        "GET" | "DELETE" => Value::Null,
        _ => nonsense.clone(),
    };
    for (role, browser) in people.iter().rev() {
        for (method, path) in routes("local") {
            let asked = browser.ask(&method, &path, &body(&method));
            if path.ends_with("/tail") {
                // It has no end.
                let mut client = Client::connect(house.gateway.admin).await;
                client.send_ask(&asked).await;
                assert_eq!(client.head().await.status, 200, "{role} {method} {path}");
                continue;
            }
            let reply = house.ask(&asked).await;
            let told = (role, &method, &path, reply.status());
            assert!(![401, 500].contains(&reply.status()), "{told:?}");
            let is_json = reply.header("content-type") == Some("application/json");
            let code = is_json.then(|| reply.json()["errors"][0]["code"].as_u64());
            let is_refused = code.flatten() == Some(REFUSED);
            assert_eq!(is_refused, !may(*role, &method, &path), "{told:?}");
            if method != "GET" {
                let bare = Ask::new(&method, &path)
                    .with("cookie", &browser.cookie)
                    .body(nonsense.to_string());
                let reply = house.ask(&bare).await;
                assert_eq!(reply.json()["errors"][0]["code"], 7018, "{told:?}");
            }
        }
    }
    // The first one owns every account, the others are somebody in one.
    for (_, browser) in &people[1..] {
        for account in ["another", "*"] {
            for (method, path) in routes(account) {
                let reply = house
                    .ask(&browser.ask(&method, &path, &body(&method)))
                    .await;
                assert_eq!(reply.status(), 404, "{method} {path}");
            }
        }
    }
}

#[test]
fn what_asks_for_no_token_is_known() {
    let open = described().into_iter().flat_map(|(path, item)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        methods
            .into_iter()
            .map(move |method| format!("{method} {path}"))
    });
    let open: Vec<String> = open
        .filter(|route| !route.contains("/client/v4/accounts/"))
        .collect();
    assert_eq!(
        open,
        [
            // Asks for one, and for what it may see of the account that it names inside.
            "post /client/v4/graphql",
            "post /client/v4/isango/link",
            "post /client/v4/isango/link/look",
            "get /client/v4/isango/oidc/callback",
            "get /client/v4/isango/oidc/login",
            "put /client/v4/isango/password",
            "delete /client/v4/isango/session",
            "get /client/v4/isango/session",
            "post /client/v4/isango/session",
            "delete /client/v4/isango/sessions",
            "get /client/v4/isango/setup",
            "post /client/v4/isango/setup",
        ]
    );
}

#[tokio::test]
async fn a_token_comes_as_a_bearer_or_as_the_key_of_an_address() {
    let managed = Managed::start("").await;
    let secret = managed.admin.expose();
    let bearer = format!("bearer  {secret}");
    for (headers, status) in [
        (&[("authorization", &*bearer)][..], 200),
        (
            &[("x-auth-email", "a@b.example"), ("x-auth-key", secret)],
            200,
        ),
        (&[("x-auth-key", secret)], 401),
        (&[("authorization", secret)], 401),
        (
            &[
                ("authorization", "Bearer"),
                ("x-auth-email", "a"),
                ("x-auth-key", secret),
            ],
            401,
        ),
        (&[("cf-aig-authorization", &*bearer)], 401),
        (
            &[
                ("authorization", &*bearer),
                ("origin", "https://evil.example"),
            ],
            403,
        ),
    ] {
        let with = |ask: Ask, (name, value): &(&str, &str)| ask.with(name, value);
        let asked = headers.iter().fold(Ask::get(GATEWAYS), with);
        assert_eq!(
            ask(managed.gateway.admin, &asked).await.status(),
            status,
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_envelope() {
    let managed = Managed::start("").await;
    let check = async |method: &str, path: &str, status: u16, code: u64, words: &str| {
        let reply = managed.call(method, path, &Value::Null).await;
        assert_eq!(reply.status(), status, "{method} {path}: {}", reply.text());
        let told = reply.json();
        assert_eq!(told["success"], false);
        assert_eq!(told["errors"][0]["code"], code, "{told}");
        let message = told["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(reply.header("x-request-id").unwrap().len(), 36);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    };
    check(
        "GET",
        "/client/v4/accounts/local/ai-gateway/nothing",
        404,
        7003,
        "route",
    )
    .await;
    check("GET", "/client/v4/nothing", 404, 7003, "route").await;
    check("GET", &format!("{GATEWAYS}/none"), 404, 7002, "Not Found").await;
    check("PATCH", GATEWAYS, 405, 10405, "method").await;
    let routes = format!("{GATEWAYS}/default/routes");
    for (method, path, what) in [
        ("GET", &*routes, "named routes"),
        ("POST", &format!("{routes}/x/versions"), "named routes"),
        (
            "GET",
            "/client/v4/accounts/local/ai-gateway/evaluation-types",
            "evaluations",
        ),
        (
            "GET",
            "/client/v4/accounts/local/ai-gateway/billing/credit-balance",
            "billing",
        ),
    ] {
        check(method, path, 404, 7013, what).await;
    }
    for path in ["/client/v4/openapi.json", "/client/v4/docs"] {
        assert_eq!(
            ask(managed.gateway.admin, &Ask::get(path)).await.status(),
            200,
            "{path}"
        );
    }
    for (body, status) in [("{", 400), ("[]", 400), (&*"x".repeat(300 << 10), 413)] {
        let asked = request("POST", GATEWAYS, &managed.admin, &Value::Null).body(body.to_owned());
        let reply = ask(managed.gateway.admin, &asked).await;
        assert_eq!(
            (reply.status(), &reply.json()["success"]),
            (status, &json!(false))
        );
    }
}
