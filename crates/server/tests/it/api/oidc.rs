//! Signing in by a provider of identities: who gets in, as whom, and every way in which nobody does.

use isango_testkit::identity::{CLIENT, Identity, Script, Signed};
use isango_types::Role;
use serde_json::{Value, json};

use super::people::{Browser, House, SESSION};
use super::*;

const LOGIN: &str = "/client/v4/isango/oidc/login";
const CALLBACK: &str = "/client/v4/isango/oidc/callback";

/// A server whose people sign in by a provider.
struct Sso {
    house: House,
    identity: Identity,
}

/// A browser on its way: where it is sent, and what it keeps.
struct Way {
    address: String,
    cookie: String,
}

impl Sso {
    /// Whoever is new may look, unless `settings` say otherwise.
    async fn start(settings: &str) -> Self {
        let identity = Identity::start(NOW.as_micros() / 1_000_000).await;
        let (id, secret) = CLIENT;
        let role = match settings.contains("default_role") || settings.contains("[[oidc.roles]]") {
            true => "",
            false => "default_role = \"viewer\"\n",
        };
        let settings = format!(
            "dashboard_url = \"https://isango.example.com\"\n[oidc]\nissuer = \"{}\"\n\
             client_id = \"{id}\"\nclient_secret = \"{secret}\"\nallow_private = true\n{role}{settings}\n",
            identity.issuer()
        );
        Self {
            house: House::start(&settings).await,
            identity,
        }
    }

    async fn begin(&self) -> Way {
        let reply = self.house.ask(&Ask::get(LOGIN)).await;
        assert_eq!(reply.status(), 303, "{}", reply.text());
        let set = reply.header("set-cookie").unwrap().to_owned();
        Way {
            address: reply.header("location").unwrap().to_owned(),
            cookie: set.split(';').next().unwrap().to_owned(),
        }
    }

    /// Where the provider sends this browser, on our side.
    async fn through(&self, way: &Way) -> String {
        let back = self.identity.sign_in(&way.address).await;
        let target = back.strip_prefix("https://isango.example.com").unwrap();
        target.to_owned()
    }

    async fn back(&self, target: &str, cookie: &str) -> Reply {
        // As browsers follow a redirect of another site.
        let asked = Ask::get(target)
            .with("cookie", cookie)
            .with("sec-fetch-site", "cross-site")
            .with("sec-fetch-mode", "navigate");
        self.house.ask(&asked).await
    }

    /// The whole way; where it ends, and the cookies that are set then.
    async fn sign_in(&self) -> Reply {
        let way = self.begin().await;
        let target = self.through(&way).await;
        self.back(&target, &way.cookie).await
    }

    async fn says(&self, change: impl FnOnce(&mut Script)) -> Reply {
        self.identity.tell(change);
        self.sign_in().await
    }

    /// Who the session of an answer is of.
    async fn who(&self, reply: &Reply) -> Value {
        assert_eq!(reply.header("location"), Some("/"), "{:?}", reply.head);
        let browser = session(reply).unwrap();
        let told = self.house.ask(&browser.get(SESSION)).await;
        assert_eq!(told.status(), 200, "{}", told.text());
        told.json()["result"]["user"].clone()
    }

    fn users(&self) -> Vec<isango_store::users::StoredUser> {
        let contents = self.house.store.read().unwrap();
        let users = isango_store::users::all(&contents);
        users.map(|user| user.unwrap()).collect()
    }
}

/// The session that an answer sets, if it does.
fn session(reply: &Reply) -> Option<Browser> {
    let all = reply.head.all("set-cookie");
    let of_session = |set: &&&str| set.starts_with("__Host-isango_session=");
    let set = all.iter().find(of_session)?;
    Some(Browser {
        cookie: set.split(';').next().unwrap().to_owned(),
        csrf: String::new(),
    })
}

/// Nobody was let in, for this reason.
fn refused(reply: &Reply, code: &str) {
    assert_eq!(reply.status(), 303);
    assert_eq!(reply.header("location"), Some(&*format!("/#oidc={code}")));
    assert!(session(reply).is_none());
}

#[tokio::test]
async fn a_browser_is_sent_to_the_provider_with_what_proves_its_return() {
    let sso = Sso::start("name = \"Example\"").await;
    let setup = sso
        .house
        .ask(&Ask::get("/client/v4/isango/setup"))
        .await
        .json();
    assert_eq!(setup["result"]["provider"], "Example");
    let way = sso.begin().await;
    for part in [
        "response_type=code&client_id=isango&",
        "redirect_uri=https%3A%2F%2Fisango.example.com%2Fclient%2Fv4%2Fisango%2Foidc%2Fcallback&",
        "&scope=openid%20email%20profile&state=",
        "&nonce=",
        "&code_challenge_method=S256",
    ] {
        assert!(way.address.contains(part), "{part} in {}", way.address);
    }
    assert!(way.cookie.starts_with("__Host-isango_oidc="));
}

#[tokio::test]
async fn somebody_new_is_let_in_and_is_the_same_the_next_time() {
    let sso = Sso::start("name = \"Example\"").await;
    let way = sso.begin().await;
    let target = sso.through(&way).await;
    let reply = sso.back(&target, &way.cookie).await;
    assert_eq!(reply.status(), 303);
    let sets = reply.head.all("set-cookie").join("\n");
    assert!(
        sets.contains("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=604800"),
        "{sets}"
    );
    assert!(
        sets.contains("__Host-isango_oidc=; "),
        "it is forgotten: {sets}"
    );
    let who = sso.who(&reply).await;
    assert_eq!(
        who,
        json!({"name": "ada@example.com", "role": "viewer", "roles": {"local": "viewer"}})
    );
    let [ada] = <[_; 1]>::try_from(sso.users()).unwrap();
    assert_eq!(
        (&ada.password, &*ada.subject.as_ref().unwrap().subject),
        (&None, "person-1")
    );
    // Another address, and the same person.
    let again = sso.says(|script| {
        script
            .claims
            .insert("email".into(), "lovelace@example.com".into());
    });
    assert_eq!(sso.who(&again.await).await["name"], "ada@example.com");
    assert_eq!(sso.users(), [ada], "nothing was stored again");
    // Signed in like anybody else, and out.
    let browser = session(&reply).unwrap();
    let told = sso.house.ask(&browser.get(SESSION)).await.json();
    let out = Ask::new("DELETE", SESSION)
        .with("cookie", &browser.cookie)
        .with("x-csrf-token", told["result"]["csrf"].as_str().unwrap());
    assert_eq!(sso.house.ask(&out).await.status(), 200);
    assert_eq!(sso.house.ask(&browser.get(SESSION)).await.status(), 401);
    let trail = isango_store::audit::Wanted::newest(isango_store::audit::Scope::All, 50);
    let trail = sso.house.store.trail(&trail).unwrap();
    let told: Vec<_> = trail
        .iter()
        .rev()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry.event.who, entry.event.action, entry.event.kind
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "user ada@example.com create user",
            "user ada@example.com sign_in session",
            "user ada@example.com sign_in session",
            "user ada@example.com sign_out session",
        ]
    );
    // Nothing secret stands in an address, and nothing that was told is kept.
    let stored = format!("{:?} {trail:?}", sso.house.store.read().unwrap());
    for asked in sso.identity.upstream.requests() {
        assert!(
            !asked.head.target.contains("planted"),
            "{}",
            asked.head.target
        );
        assert!(
            !asked.head.target.contains("verifier"),
            "{}",
            asked.head.target
        );
    }
    for secret in ["planted", "person-1\",\"aud", "code/0"] {
        assert!(!stored.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_provider_may_sign_with_a_key_on_p256_and_take_a_secret_in_the_form() {
    let sso = Sso::start("").await;
    let reply = sso.says(|script| {
        script.signed = Signed::Es256;
        let methods = json!(["client_secret_post"]);
        script
            .description
            .insert("token_endpoint_auth_methods_supported".into(), methods);
    });
    assert_eq!(sso.who(&reply.await).await["name"], "ada@example.com");
}

#[tokio::test]
async fn an_id_token_that_is_not_true_lets_nobody_in() {
    let sso = Sso::start("").await;
    let now = NOW.as_micros() / 1_000_000;
    for signed in [Signed::None, Signed::Hs256, Signed::ByAnother] {
        let reply = sso.says(|script| script.signed = signed).await;
        refused(&reply, "token");
    }
    sso.identity.tell(|script| script.signed = Signed::Rs256);
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another"}),
        json!({"aud": null}),
        json!({"aud": ["isango", "another"]}),
        json!({"aud": ["isango", "another"], "azp": "another"}),
        json!({"iss": "https://login.example.com"}),
        json!({"iss": [sso.identity.issuer()]}),
        json!({"exp": now - 61}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"iat": now + 120}),
        json!({"nbf": now + 120}),
        json!({"sub": null}),
        json!({"sub": ""}),
    ] {
        let told = claims.clone();
        let reply = sso.says(|script| script.claims = told.as_object().unwrap().clone());
        let reply = reply.await;
        assert_eq!(reply.header("location"), Some("/#oidc=token"), "{claims}");
        assert!(session(&reply).is_none(), "{claims}");
    }
    assert_eq!(sso.users(), []);
    // What differs and is true.
    for claims in [
        json!({"aud": ["isango"]}),
        json!({"aud": ["isango", "another"], "azp": "isango"}),
        json!({"exp": now - 59, "iat": now + 59}),
        json!({"exp": (now as f64) + 0.5, "email_verified": "true"}),
    ] {
        let told = claims.clone();
        let reply = sso.says(|script| script.claims = told.as_object().unwrap().clone());
        assert_eq!(reply.await.header("location"), Some("/"), "{claims}");
    }
}

#[tokio::test]
async fn a_way_back_is_of_one_browser_once_and_for_ten_minutes() {
    let sso = Sso::start("").await;
    let (mine, other) = (sso.begin().await, sso.begin().await);
    let target = sso.through(&mine).await;
    refused(&sso.back(&target, &other.cookie).await, "state");
    refused(&sso.back(&target, "a=b").await, "state");
    assert_eq!(
        sso.identity.count("/token"),
        0,
        "nobody's code is shown around"
    );
    let first = sso.back(&target, &mine.cookie).await;
    assert_eq!(first.header("location"), Some("/"));
    refused(&sso.back(&target, &mine.cookie).await, "state");
    refused(&sso.back(CALLBACK, &other.cookie).await, "state");
    let made_up = format!("{CALLBACK}?code=x&state=made-up");
    refused(&sso.back(&made_up, &other.cookie).await, "state");
    let late = sso.through(&other).await;
    sso.house.wait(601);
    refused(&sso.back(&late, &other.cookie).await, "state");
}

#[tokio::test]
async fn the_words_of_the_provider_are_told_and_checked() {
    let sso = Sso::start("").await;
    let back = async |more: &str| {
        let way = sso.begin().await;
        let target = sso.through(&way).await;
        let (_, state) = target.split_once("&state=").unwrap();
        let target = format!("{CALLBACK}?state={state}{more}");
        sso.back(&target, &way.cookie).await
    };
    refused(
        &back("&error=access_denied&error_description=no").await,
        "refused",
    );
    refused(
        &back("&code=code/1&iss=https%3A%2F%2Fother.example").await,
        "token",
    );
    refused(&back("").await, "state");
    refused(&back("&code=guessed").await, "provider");
    let way = sso.begin().await;
    let target = sso.through(&way).await;
    let issuer = sso
        .identity
        .issuer()
        .replace(':', "%3A")
        .replace('/', "%2F");
    let reply = sso
        .back(&format!("{target}&iss={issuer}"), &way.cookie)
        .await;
    assert_eq!(reply.header("location"), Some("/"));
}

#[tokio::test]
async fn an_address_must_be_vouched_for_and_of_a_domain_that_is_let_in() {
    let claims = |claims: Value| {
        move |script: &mut Script| {
            script.claims = claims.as_object().unwrap().clone();
        }
    };
    let strict = Sso::start("allowed_domains = [\"example.com\"]").await;
    for (told, code) in [
        (json!({"email_verified": false}), "unverified"),
        (json!({"email_verified": null}), "unverified"),
        (json!({"email_verified": "no"}), "unverified"),
        (json!({"email": null}), "no_email"),
        (json!({"email": "ada"}), "no_email"),
        (json!({"email": "ada lovelace@example.com"}), "no_email"),
        (json!({"email": "ada@example.org"}), "domain"),
        (json!({"email": "ada@evil-example.com"}), "domain"),
        (json!({"email": "ada@example.com@evil.org"}), "domain"),
    ] {
        refused(&strict.says(claims(told)).await, code);
    }
    assert_eq!(strict.users(), []);
    let trusting = Sso::start("trust_email = true").await;
    refused(
        &trusting
            .says(claims(json!({"email_verified": false})))
            .await,
        "unverified",
    );
    let reply = trusting.says(claims(json!({"email_verified": null}))).await;
    assert_eq!(trusting.who(&reply).await["name"], "ada@example.com");
}

#[tokio::test]
async fn roles_follow_from_a_claim_with_each_sign_in() {
    let sso = Sso::start(
        "role_claim = \"groups\"\n\
         [[oidc.roles]]\nvalue = \"lookers\"\nrole = \"viewer\"\n\
         [[oidc.roles]]\nvalue = \"ops\"\nrole = \"admin\"\n\
         [[oidc.roles]]\nvalue = \"ops\"\naccount = \"other\"\nrole = \"analyst\"",
    )
    .await;
    let groups = |groups: Value| {
        move |script: &mut Script| {
            script.claims.insert("groups".into(), groups);
        }
    };
    refused(&sso.says(groups(json!([]))).await, "no_role");
    refused(&sso.says(groups(json!(["strangers"]))).await, "no_role");
    assert_eq!(sso.users(), []);
    let reply = sso.says(groups(json!(["lookers", "ops"]))).await;
    assert_eq!(
        sso.who(&reply).await["roles"],
        json!({"local": "admin", "other": "analyst"})
    );
    let reply = sso.says(groups(json!("lookers"))).await;
    assert_eq!(sso.who(&reply).await["roles"], json!({"local": "viewer"}));
    refused(&sso.says(groups(json!("none"))).await, "no_role");
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_given_away_unless_that_is_wanted() {
    let password = |sso: &Sso| {
        let mut user = isango_store::users::StoredUser::new("ada@example.com", NOW);
        user.roles = [("*".into(), Role::Owner)].into();
        sso.house.store.commit(&[user.to_add().unwrap()]).unwrap();
    };
    let sso = Sso::start("").await;
    password(&sso);
    refused(&sso.sign_in().await, "taken");
    let sso = Sso::start("link_existing = true").await;
    password(&sso);
    let reply = sso.sign_in().await;
    assert_eq!(
        sso.who(&reply).await["roles"],
        json!({"*": "owner"}),
        "they stay who they are"
    );
    // Somebody else who brings that address is not them.
    let reply = sso.says(|script| {
        script.claims.insert("sub".into(), "person-2".into());
    });
    refused(&reply.await, "taken");
}

#[tokio::test]
async fn keys_are_asked_for_again_when_one_is_not_known_and_not_often() {
    let sso = Sso::start("").await;
    assert_eq!(sso.sign_in().await.header("location"), Some("/"));
    assert_eq!(sso.identity.count("/keys"), 1);
    sso.identity.tell(|script| script.kid = "second".into());
    for _ in 0..3 {
        refused(&sso.sign_in().await, "token");
    }
    assert_eq!(
        sso.identity.count("/keys"),
        1,
        "not within the first minute"
    );
    sso.house.wait(61);
    assert_eq!(sso.sign_in().await.header("location"), Some("/"));
    assert_eq!(sso.sign_in().await.header("location"), Some("/"));
    assert_eq!(sso.identity.count("/keys"), 2);
    assert_eq!(sso.identity.count("/.well-known"), 1);
}

#[tokio::test]
async fn a_provider_that_says_what_cannot_be_is_not_followed() {
    for described in [
        json!({"issuer": "https://login.example.com"}),
        json!({"token_endpoint": "ftp://login.example.com/token"}),
        json!({"authorization_endpoint": "https://user@login.example.com/"}),
        json!({"jwks_uri": "/keys"}),
        json!({"issuer": null}),
    ] {
        let sso = Sso::start("").await;
        let told = described.as_object().unwrap().clone();
        sso.identity.tell(|script| script.description = told);
        let reply = sso.house.ask(&Ask::get(LOGIN)).await;
        refused(&reply, "provider");
        assert_eq!(sso.identity.upstream.count(), 1, "{described}");
    }
}

#[tokio::test]
async fn nobody_tries_for_long() {
    let sso = Sso::start("").await;
    for _ in 0..60 {
        assert_eq!(
            sso.sign_in().await.header("location"),
            Some("/"),
            "success is no failure"
        );
    }
    for _ in 0..50 {
        sso.begin().await;
    }
    refused(&sso.house.ask(&Ask::get(LOGIN)).await, "too_many");
    let made_up = format!("{CALLBACK}?code=x&state=made-up");
    refused(
        &sso.back(&made_up, "__Host-isango_oidc=x").await,
        "too_many",
    );
    sso.house.wait(15 * 60);
    sso.begin().await;
}

#[tokio::test]
async fn without_a_provider_there_is_no_such_way() {
    let house = House::start("").await;
    for path in [LOGIN, CALLBACK] {
        assert_eq!(house.ask(&Ask::get(path)).await.status(), 404);
    }
    let setup = house.ask(&Ask::get("/client/v4/isango/setup")).await.json();
    assert_eq!(setup["result"], json!({"needed": true, "provider": null}));
}
