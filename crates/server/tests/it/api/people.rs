//! People: the first owner, signing in and out, and what a session may do.

use isango_store::links::{self, Purpose};
use isango_types::Role;
use serde_json::{Value, json};

use super::*;

pub(super) const SESSION: &str = "/client/v4/isango/session";
pub(super) const PASSWORD: &str = "correct horse battery";

/// A server that stands at this moment, by a clock that can be moved.
pub(super) struct House {
    pub(super) gateway: Harness,
    pub(super) store: Arc<dyn ConfigStore>,
    pub(super) clock: Clock,
}

/// What a browser keeps of a session.
#[derive(Clone)]
pub(super) struct Browser {
    pub(super) cookie: String,
    pub(super) csrf: String,
}

impl House {
    pub(super) async fn start(settings: &str) -> Self {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let config = harness::config(&format!("{settings}\n{}", providers(&upstream)));
        let store: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
        let clock = Clock::manual(NOW);
        Self {
            gateway: Harness::start_stored(&config, Arc::clone(&store), clock.clone()),
            store,
            clock,
        }
    }

    pub(super) async fn ask(&self, asked: &Ask) -> Reply {
        ask(self.gateway.admin, asked).await
    }

    pub(super) fn setup_code(&self) -> String {
        let link = self.gateway.server.setup_link().unwrap().unwrap();
        let (_, code) = link.expose().split_once("/#code=").unwrap();
        code.to_owned()
    }

    pub(super) async fn follow(&self, path: &str, body: &Value) -> Reply {
        let asked = Ask::post(&format!("/client/v4/isango/{path}"), body.to_string());
        self.ask(&asked).await
    }

    /// A server with its owner, and the owner's browser.
    pub(super) async fn owned(settings: &str) -> (Self, Browser) {
        let house = Self::start(settings).await;
        let body = json!({"code": house.setup_code(), "name": "Owner", "password": PASSWORD});
        let reply = house.follow("setup", &body).await;
        let browser = Browser::of(&reply);
        (house, browser)
    }

    pub(super) async fn sign_in(&self, name: &str, password: &str) -> Reply {
        let body = json!({"name": name, "password": password});
        self.follow("session", &body).await
    }

    /// Somebody with this role in the account `local`, by an invitation.
    pub(super) async fn with(&self, name: &str, role: Role) -> Browser {
        self.with_in("local", name, role).await
    }

    /// The same in another account.
    pub(super) async fn with_in(&self, account: &str, name: &str, role: Role) -> Browser {
        let purpose = Purpose::Invitation {
            name: name.into(),
            account: account.into(),
            role,
        };
        let end = NOW.plus(std::time::Duration::from_secs(60));
        let code = links::create(&*self.store, purpose, (NOW, end)).unwrap();
        let body = json!({"code": code.expose(), "password": PASSWORD});
        Browser::of(&self.follow("link", &body).await)
    }

    /// Moves the clock on.
    pub(super) fn wait(&self, seconds: u64) {
        let now = self.clock.now();
        self.clock
            .set(now.plus(std::time::Duration::from_secs(seconds)));
    }

    async fn who(&self, browser: &Browser) -> Option<String> {
        let reply = self.ask(&browser.get(SESSION)).await;
        match reply.status() {
            200 => Some(reply.json()["result"]["user"]["name"].as_str()?.to_owned()),
            401 => None,
            other => panic!("{other}: {}", reply.text()),
        }
    }
}

impl Browser {
    /// What it keeps of an answer that signs in.
    pub(super) fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let set = reply.header("set-cookie").unwrap();
        assert!(set.contains("; HttpOnly; SameSite=Strict;"), "{set}");
        let csrf = reply.json()["result"]["csrf"].as_str().unwrap().to_owned();
        let cookie = set.split(';').next().unwrap().to_owned();
        Self { cookie, csrf }
    }

    pub(super) fn get(&self, path: &str) -> Ask {
        Ask::get(path).with("cookie", &self.cookie)
    }

    /// As a page of the dashboard asks.
    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> Ask {
        let asked = Ask::new(method, path)
            .with("cookie", &self.cookie)
            .with("x-csrf-token", &self.csrf)
            .with("content-type", "application/json");
        match body.is_null() {
            true => asked,
            false => asked.body(body.to_string()),
        }
    }
}

#[tokio::test]
async fn the_first_link_makes_the_owner_once() {
    let house = House::start("").await;
    let needed = async || {
        let reply = house.ask(&Ask::get("/client/v4/isango/setup")).await;
        reply.json()["result"]["needed"].as_bool().unwrap()
    };
    assert!(needed().await);
    let link = house.gateway.server.setup_link().unwrap().unwrap();
    let url = format!("{}/#code=isl_", house.gateway.server.admin_url());
    assert!(link.expose().starts_with(&url));
    let old = house.setup_code();
    let code = house.setup_code();
    let set_up = async |code: &str, name: &str, password: &str| {
        let body = json!({"code": code, "name": name, "password": password});
        house.follow("setup", &body).await
    };
    for (code, name, password, status, words) in [
        (&*old, "ada", PASSWORD, 403, "not the newest"),
        ("isl_guessed", "ada", PASSWORD, 403, "not the newest"),
        (&*code, "ada", "short", 400, "at least 12"),
        (&*code, "a b", PASSWORD, 400, "no name of a user"),
    ] {
        let reply = set_up(code, name, password).await;
        assert_eq!(reply.status(), status, "{}", reply.text());
        assert!(reply.text().contains(words), "{}", reply.text());
        assert_eq!(reply.header("set-cookie"), None);
    }
    let reply = set_up(&code, " Ada@Example.com", PASSWORD).await;
    let browser = Browser::of(&reply);
    let result = &reply.json()["result"];
    assert_eq!(result["user"]["name"], "ada@example.com");
    assert_eq!(result["user"]["role"], "owner");
    assert_eq!(result["accounts"], json!(["local"]));
    assert_eq!(result["data_url"], *house.gateway.server.data_url());
    assert!(!needed().await);
    assert_eq!(set_up(&code, "eve", PASSWORD).await.status(), 403);
    assert!(house.gateway.server.setup_link().unwrap().is_none());
    assert_eq!(
        house.who(&browser).await.as_deref(),
        Some("ada@example.com")
    );
    // Nothing that opens anything is kept.
    let stored = format!("{:?}", house.store.read().unwrap());
    let history = format!("{:?}", house.store.history(u64::MAX, 100).unwrap());
    for secret in [PASSWORD, &code, &browser.cookie, &browser.csrf] {
        assert!(!stored.contains(secret) && !history.contains(secret));
    }
    assert!(stored.contains("memory_kib") && !history.contains("memory_kib"));
}

#[tokio::test]
async fn two_who_follow_the_link_at_once_make_one_owner() {
    let house = House::start("").await;
    let code = house.setup_code();
    let body = |name: &str| json!({"code": code, "name": name, "password": PASSWORD});
    let (ada, eve) = (body("ada"), body("eve"));
    let (ada, eve) = tokio::join!(house.follow("setup", &ada), house.follow("setup", &eve));
    let mut statuses = [ada.status(), eve.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[tokio::test]
async fn a_setup_link_ends_after_a_day() {
    let house = House::start("").await;
    let code = house.setup_code();
    house.wait(86_400);
    let body = json!({"code": code, "name": "ada", "password": PASSWORD});
    assert_eq!(house.follow("setup", &body).await.status(), 403);
}

#[tokio::test]
async fn who_signs_in_is_known_until_they_sign_out() {
    let (house, first) = House::owned("").await;
    for (name, password) in [
        ("owner", "wrong password"),
        ("nobody", PASSWORD),
        ("", ""),
        (&*"x".repeat(2_000), PASSWORD),
    ] {
        let reply = house.sign_in(name, password).await;
        assert_eq!(reply.status(), 401, "{name}");
        assert_eq!(reply.json()["errors"][0]["code"], 10000);
        assert_eq!(reply.header("set-cookie"), None);
    }
    let second = Browser::of(&house.sign_in("OWNER", PASSWORD).await);
    assert_ne!(first.cookie, second.cookie);
    let out = second.ask("DELETE", SESSION, &Value::Null);
    let reply = house.ask(&out).await;
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(house.who(&second).await, None);
    assert_eq!(house.who(&first).await.as_deref(), Some("owner"));
    assert_eq!(house.ask(&out).await.status(), 401);
    let nobody = Ask::get(SESSION).with("cookie", "isango_session=iss_guessed");
    assert_eq!(house.ask(&nobody).await.status(), 401);
    assert_eq!(house.ask(&Ask::get(SESSION)).await.status(), 401);
}

#[tokio::test]
async fn a_session_ends_unused_and_at_last() {
    let (house, idle) = House::owned("").await;
    let used = Browser::of(&house.sign_in("owner", PASSWORD).await);
    for _ in 0..15 {
        assert!(house.who(&used).await.is_some());
        house.wait(11 * 3_600);
    }
    assert_eq!(house.who(&idle).await, None);
    assert!(house.who(&used).await.is_some());
    house.wait(3 * 3_600);
    assert_eq!(house.who(&used).await, None, "a week has passed");
}

#[tokio::test]
async fn a_change_by_a_session_shows_where_it_comes_from() {
    let (house, browser) = House::owned("").await;
    let create = || browser.ask("POST", GATEWAYS, &json!({"no such field": 1}));
    let bare = |ask: Ask| ask.body(json!({"no such field": 1}).to_string());
    let cookie = |asked: Ask| bare(asked.with("cookie", &browser.cookie));
    let check = async |asked: Ask, status: u16| {
        let reply = house.ask(&asked).await;
        assert_eq!(reply.status(), status, "{asked:?} {}", reply.text());
        reply
    };
    check(create(), 400).await;
    let refused = check(cookie(Ask::new("POST", GATEWAYS)), 403).await;
    assert_eq!(refused.json()["errors"][0]["code"], 7018);
    let other = Browser::of(&house.sign_in("owner", PASSWORD).await);
    for wrong in [&*other.csrf, "", &"0".repeat(64), &browser.cookie] {
        let asked = Ask::new("POST", GATEWAYS).with("x-csrf-token", wrong);
        check(cookie(asked), 403).await;
    }
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:9999", 403),
        ("origin", "http://localhost", 400),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-origin", 400),
    ] {
        check(create().with(name, value), status).await;
    }
    // Signing in and out are changes, too.
    let out = Ask::new("DELETE", SESSION).with("cookie", &browser.cookie);
    check(out, 403).await;
    let evil = Ask::post(
        SESSION,
        json!({"name": "owner", "password": PASSWORD}).to_string(),
    );
    check(evil.with("origin", "https://evil.example"), 403).await;
    assert!(house.who(&browser).await.is_some());
    // A token wins over a session, and one that is none is not made good by it.
    let both = create().with("authorization", "Bearer isg_nobody");
    check(both, 401).await;
}

#[tokio::test]
async fn a_page_of_the_named_dashboard_gets_a_cookie_that_cleartext_cannot_set() {
    let (house, _) = House::owned("dashboard_url = \"https://isango.example.com/\"").await;
    let sign_in = |origin: &str| {
        Ask::post(
            SESSION,
            json!({"name": "owner", "password": PASSWORD}).to_string(),
        )
        .with("origin", origin)
        .with("host", "isango.example.com")
    };
    let reply = house.ask(&sign_in("https://isango.example.com")).await;
    let browser = Browser::of(&reply);
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-isango_session=iss_"), "{set}");
    assert!(set.contains("; Path=/; Secure;"), "{set}");
    assert!(house.who(&browser).await.is_some());
    for elsewhere in ["http://isango.example.com", "https://other.example.com"] {
        assert_eq!(house.ask(&sign_in(elsewhere)).await.status(), 403);
    }
}

#[tokio::test]
async fn another_password_ends_every_other_session() {
    let (house, old) = House::owned("").await;
    let other = Browser::of(&house.sign_in("owner", PASSWORD).await);
    let change = async |browser: &Browser, current: &str, password: &str| {
        let body = json!({"current": current, "password": password});
        house
            .ask(&browser.ask("PUT", "/client/v4/isango/password", &body))
            .await
    };
    for (current, password) in [("wrong", "another password"), (PASSWORD, "short")] {
        let reply = change(&old, current, password).await;
        assert_eq!(reply.status(), 400, "{}", reply.text());
    }
    let new = Browser::of(&change(&old, PASSWORD, "another password").await);
    assert_eq!(
        (house.who(&old).await, house.who(&other).await),
        (None, None)
    );
    assert!(house.who(&new).await.is_some());
    assert_eq!(house.sign_in("owner", PASSWORD).await.status(), 401);
    let again = Browser::of(&house.sign_in("owner", "another password").await);
    let all = "/client/v4/isango/sessions";
    assert_eq!(
        house
            .ask(&new.ask("DELETE", all, &Value::Null))
            .await
            .status(),
        200
    );
    assert_eq!(
        (house.who(&new).await, house.who(&again).await),
        (None, None)
    );
}

#[tokio::test]
async fn guessing_is_slowed_down_and_told_alike_for_everybody() {
    let (house, browser) = House::owned("").await;
    for name in ["owner", "nobody"] {
        for _ in 0..10 {
            assert_eq!(house.sign_in(name, "guess").await.status(), 401);
        }
        let reply = house.sign_in(name, PASSWORD).await;
        assert_eq!(reply.status(), 429, "{}", reply.text());
        assert_eq!(reply.header("retry-after"), Some("900"));
        assert_eq!(reply.json()["errors"][0]["code"], 7019);
    }
    assert!(house.who(&browser).await.is_some(), "who is in stays in");
    house.wait(901);
    Browser::of(&house.sign_in("owner", PASSWORD).await);
}

#[tokio::test]
async fn who_is_invited_chooses_a_password_or_shows_theirs() {
    let (house, _) = House::owned("").await;
    let invite = |name: &str, account: &str, role| {
        let (name, account) = (name.into(), account.into());
        let purpose = Purpose::Invitation {
            name,
            account,
            role,
        };
        let end = NOW.plus(std::time::Duration::from_secs(60));
        let code = links::create(&*house.store, purpose, (NOW, end)).unwrap();
        code.expose().to_owned()
    };
    let follow = async |code: &str, password: &str| {
        let body = json!({"code": code, "password": password});
        house.follow("link", &body).await
    };
    let code = invite("eve", "shop", Role::Viewer);
    let looked = house.follow("link/look", &json!({"code": code})).await;
    let told = &looked.json()["result"];
    assert_eq!(
        (
            &told["purpose"],
            &told["name"],
            &told["account"],
            &told["role"]
        ),
        (
            &json!("invitation"),
            &json!("eve"),
            &json!("shop"),
            &json!("viewer")
        )
    );
    assert_eq!(follow(&code, "short").await.status(), 400);
    let reply = follow(&code, "eve's own password").await;
    Browser::of(&reply);
    assert_eq!(reply.json()["result"]["accounts"], json!(["shop"]));
    assert_eq!(follow(&code, "eve's own password").await.status(), 403);
    let code = invite("eve", "other", Role::Admin);
    assert_eq!(follow(&code, "a stranger's password").await.status(), 400);
    let reply = follow(&code, "eve's own password").await;
    let browser = Browser::of(&reply);
    assert_eq!(
        reply.json()["result"]["user"]["roles"],
        json!({"other": "admin", "shop": "viewer"})
    );
    let gateways = |account: &str| {
        let path = format!("/client/v4/accounts/{account}/ai-gateway/gateways");
        browser.ask("POST", &path, &json!({"no such field": 1}))
    };
    for (account, status) in [("other", 400), ("shop", 403), ("local", 404), ("*", 404)] {
        assert_eq!(
            house.ask(&gateways(account)).await.status(),
            status,
            "{account}"
        );
    }
    assert_eq!(
        house
            .follow(
                "setup",
                &json!({"code": code, "name": "x", "password": PASSWORD})
            )
            .await
            .status(),
        403
    );
}

#[tokio::test]
async fn an_edited_user_and_a_forged_session_open_nothing() {
    let key = "01".repeat(32);
    let (house, browser) = House::owned(&format!("[secrets]\nkey = \"{key}\"")).await;
    assert!(house.who(&browser).await.is_some());
    let contents = house.store.read().unwrap();
    let user = contents
        .of(isango_store::config::Kind::User)
        .next()
        .unwrap();
    let edited = user
        .body
        .replace("\"memory_kib\":19456", "\"memory_kib\":19457");
    assert_ne!(*edited, *user.body);
    let change = isango_store::config::Change::replace(user, edited);
    house.store.commit(&[change]).unwrap();
    isango_testkit::within("the user to be dropped", async {
        while house.who(&browser).await.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(house.sign_in("owner", PASSWORD).await.status(), 401);
}

#[tokio::test]
async fn who_decides_on_users_decides_on_none_above_themselves() {
    let (house, owner) = House::owned("").await;
    let admin = house.with("admin", Role::Admin).await;
    let users = format!("{OWN}/users");
    let call = async |browser: &Browser, method: &str, path: &str, body: Value| {
        let path = format!("{users}{path}");
        let reply = house.ask(&browser.ask(method, &path, &body)).await;
        (reply.status(), reply.json())
    };
    let invite = |name: &str, role: &str| json!({"name": name, "role": role});
    for (role, status) in [("owner", 403), ("king", 400)] {
        let (told, _) = call(&admin, "POST", "", invite("eve", role)).await;
        assert_eq!(told, status, "{role}");
    }
    let (_, first) = call(&owner, "POST", "", invite("Eve", "owner")).await;
    // An admin takes the place of no invitation of an owner.
    assert_eq!(
        call(&admin, "POST", "", invite("eve", "viewer")).await.0,
        403
    );
    let (status, made) = call(&owner, "POST", "", invite("eve", "viewer")).await;
    let link = made["result"]["link"].as_str().unwrap();
    let code = made["result"]["code"].as_str().unwrap();
    assert_eq!((status, link), (200, &*format!("/#code={code}")));
    let follow = async |code: &Value| {
        let body = json!({"code": code, "password": PASSWORD});
        house.follow("link", &body).await
    };
    assert_eq!(
        follow(&first["result"]["code"]).await.status(),
        403,
        "a newer one is there"
    );
    let eve = Browser::of(&follow(&made["result"]["code"]).await);
    assert_eq!(
        call(&owner, "POST", "", invite("eve", "admin")).await.0,
        409
    );
    let listed = call(&admin, "GET", "", Value::Null).await.1;
    let listed = listed["result"].as_array().unwrap().iter();
    let shown = listed.map(|one| format!("{} {} {}", one["name"], one["role"], one["everywhere"]));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            r#""admin" "admin" false"#,
            r#""eve" "viewer" false"#,
            r#""owner" "owner" true"#
        ]
    );
    assert_eq!(call(&eve, "GET", "", Value::Null).await.0, 403);
    for (who, name, role, status) in [
        (&admin, "eve", "owner", 403),
        (&admin, "owner", "viewer", 403),
        (&owner, "owner", "viewer", 403),
        (&admin, "nobody", "viewer", 404),
        (&admin, "eve", "analyst", 200),
    ] {
        let told = call(who, "PATCH", &format!("/{name}"), json!({"role": role})).await;
        assert_eq!(told.0, status, "{name} {role} {}", told.1);
    }
    let (status, made) = call(&admin, "POST", "/eve/link", Value::Null).await;
    assert_eq!(status, 200);
    let again = Browser::of(&follow(&made["result"]["code"]).await);
    assert_eq!(
        house.who(&eve).await,
        None,
        "another password ends sessions"
    );
    assert_eq!(
        call(&admin, "POST", "/owner/link", Value::Null).await.0,
        403
    );
    assert_eq!(call(&admin, "DELETE", "/owner", Value::Null).await.0, 403);
    assert_eq!(call(&admin, "DELETE", "/eve", Value::Null).await.0, 200);
    assert_eq!(house.who(&again).await, None);
    assert_eq!(call(&admin, "GET", "/eve", Value::Null).await.0, 404);
    // Who is invited and did not come is taken off the list.
    let (_, made) = call(&admin, "POST", "", invite("bob", "viewer")).await;
    assert_eq!(call(&admin, "DELETE", "/bob", Value::Null).await.0, 200);
    assert_eq!(follow(&made["result"]["code"]).await.status(), 403);
}

/// Makes somebody who is there already somebody elsewhere, or somebody else here.
fn promote(house: &House, name: &str, account: &str, role: Role) {
    isango_store::users::change(&*house.store, name, NOW, |user| {
        user.roles.insert(account.into(), role);
        Ok::<_, isango_store::users::Error>(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_link_to_choose_a_password_is_of_who_they_were_when_it_was_made() {
    let (house, owner) = House::owned("").await;
    let admin = house.with("admin", Role::Admin).await;
    let link = async |browser: &Browser, name: &str| {
        let path = format!("{OWN}/users/{name}/link");
        let reply = house.ask(&browser.ask("POST", &path, &Value::Null)).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()["result"]["code"].as_str().unwrap().to_owned()
    };
    let follow = async |code: &str| {
        let body = json!({"code": code, "password": "another password"});
        house.follow("link", &body).await
    };
    for (name, account, role) in [
        ("eve", "other", Role::Viewer),
        ("mia", "local", Role::Owner),
        ("zoe", "*", Role::Owner),
    ] {
        house.with(name, Role::Viewer).await;
        let code = link(&admin, name).await;
        promote(&house, name, account, role);
        let reply = follow(&code).await;
        assert_eq!(reply.status(), 403, "{name}: {}", reply.text());
        assert_eq!(reply.json()["errors"][0]["code"], 7017, "{name}");
        assert_eq!(house.sign_in(name, "another password").await.status(), 401);
    }
    // Who rules over all that they are now may.
    let code = link(&owner, "eve").await;
    assert_eq!(follow(&code).await.status(), 200);
    // They have signed out everywhere since: it is known that this link is about.
    let eve = Browser::of(&house.sign_in("eve", "another password").await);
    let code = link(&owner, "eve").await;
    let out = eve.ask("DELETE", "/client/v4/isango/sessions", &Value::Null);
    assert_eq!(house.ask(&out).await.status(), 200);
    assert_eq!(follow(&code).await.status(), 403);
}

#[tokio::test]
async fn nobody_lets_a_user_of_other_accounts_choose_a_password() {
    let (house, owner) = House::owned("").await;
    let admin = house.with("admin", Role::Admin).await;
    house.with("eve", Role::Viewer).await;
    promote(&house, "eve", "other", Role::Admin);
    let link = format!("{OWN}/users/eve/link");
    let ask_as = async |browser: &Browser| {
        let asked = browser.ask("POST", &link, &Value::Null);
        house.ask(&asked).await.status()
    };
    isango_testkit::within("the change to be seen", async {
        while ask_as(&admin).await != 403 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(ask_as(&owner).await, 200);
}
