//! Tokens that are stored beside the configuration: taken up while the server runs, ended, rotated;
//! and what a token is for, and for what it is not.

use std::sync::Arc;
use std::time::Duration;

use isango_backends::config::FileConfig;
use isango_store::config::{Change, ConfigStore, Kind};
use isango_store::memory::MemoryConfig;
use isango_store::seal::{Keyring, SealKey};
use isango_store::tokens;
use isango_store::vouched::Vouched;
use isango_testkit::answer::{json, status};
use isango_testkit::client::{Ask, Client, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::key::{Scope, Spend};
use isango_types::limit::Period;
use isango_types::record::Outcome;
use isango_types::{Clock, Record, Secret, Timestamp, Token};

use crate::harness::{self, Harness, providers};

const LOCKED: &str = "[[gateways]]\nid = \"closed\"\nauthentication = true\n";
const NOW: Timestamp = Timestamp::from_micros(1_795_363_200_000_000);

/// A locked gateway `closed` by a clock of the test's, and what is stored beside it.
async fn start(settings: &str) -> (Upstream, Harness, Arc<dyn ConfigStore>, Clock) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let config = harness::config(&format!("{LOCKED}{settings}{}", providers(&upstream)));
    let store = Arc::new(MemoryConfig::default());
    let clock = Clock::manual(NOW);
    let gateway = Harness::start_stored(&config, Arc::clone(&store) as _, clock.clone());
    (upstream, gateway, store, clock)
}

fn chat(token: &str) -> Ask {
    at("openai/chat/completions", token)
}

fn at(path: &str, token: &str) -> Ask {
    Ask::post(&format!("/v1/local/closed/{path}"), PROMPT)
        .with("authorization", "Bearer sk-mine")
        .with("cf-aig-authorization", token)
}

/// Asks until the answer has this status.
async fn until(gateway: &Harness, ask: &Ask, status: u16) -> Reply {
    within("the change to be taken up", async {
        loop {
            let reply = gateway.ask(ask).await;
            if reply.status() == status {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Stores a token; returns it once it opens gateways.
async fn stored(gateway: &Harness, store: &dyn ConfigStore, token: Token) -> Secret {
    let ask = |secret: &Secret| chat(secret.expose());
    let secret = tokens::create(store, token, NOW).unwrap();
    within("the token to be taken up", async {
        while gateway.ask(&ask(&secret)).await.status() == 401 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    secret
}

fn check(reply: &Reply, status: u16, code: u16, words: &str) {
    let json = reply.json();
    assert_eq!(
        (reply.status(), &json["internalCode"]),
        (status, &code.into()),
        "{json}"
    );
    let message = json["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_token_is_taken_up_from_another_process_and_ends_when_it_is_revoked() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let folder = tempfile::tempdir().unwrap();
    let [servers, others] = [(); 2].map(|()| FileConfig::in_folder(folder.path()));
    let config = harness::config(&format!("{LOCKED}{}", providers(&upstream)));
    let gateway = Harness::start_stored(&config, Arc::new(servers.clone()), Clock::system());
    let secret = tokens::create(&others, Token::new("local", "app"), NOW).unwrap();
    let ask = chat(&format!("Bearer {}", secret.expose()));
    until(&gateway, &ask, 200).await;
    let head = upstream.request(0).await.head;
    assert!(!String::from_utf8_lossy(&head.raw).contains("isg_"));
    tokens::revoke(&others, ("local", "app"), NOW).unwrap();
    let reply = until(&gateway, &ask, 401).await;
    check(&reply, 401, 2009, "Unauthorized");
    // A server that starts knows what is stored from its first request on.
    let other = tokens::create(&others, Token::new("local", "other"), NOW).unwrap();
    let gateway = Harness::start_stored(&config, Arc::new(servers), Clock::system());
    assert_eq!(gateway.ask(&chat(other.expose())).await.status(), 200);
    assert_eq!(gateway.ask(&ask).await.status(), 401);
}

#[tokio::test]
async fn an_old_token_ends_with_its_grace_and_any_with_its_time() {
    let (_upstream, gateway, store, clock) = start("").await;
    let mut token = Token::new("local", "app");
    token.expires_at = Some(NOW.plus(Duration::from_secs(7_200)));
    let old = stored(&gateway, &*store, token).await;
    let grace = Duration::from_secs(3_600);
    let new = tokens::rotate(&*store, ("local", "app"), grace, NOW).unwrap();
    until(&gateway, &chat(new.expose()), 200).await;
    let statuses = async || {
        let old = gateway.ask(&chat(old.expose())).await.status();
        (old, gateway.ask(&chat(new.expose())).await.status())
    };
    assert_eq!(statuses().await, (200, 200));
    clock.set(NOW.plus(grace));
    assert_eq!(statuses().await, (401, 200));
    clock.set(NOW.plus(2 * grace));
    assert_eq!(statuses().await, (401, 401));
}

#[tokio::test]
async fn a_token_without_the_scope_run_sends_nothing() {
    let (upstream, gateway, store, _clock) = start("").await;
    let mut reader = Token::new("local", "reader");
    reader.scopes = vec![Scope::Read, Scope::Write];
    let reader = tokens::create(&*store, reader, NOW).unwrap();
    stored(&gateway, &*store, Token::new("local", "app")).await;
    let before = upstream.count();
    check(
        &gateway.ask(&chat(reader.expose())).await,
        401,
        2009,
        "Unauthorized",
    );
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn a_token_for_a_provider_goes_to_no_other() {
    let settings = "[[gateways.targets]]\nname = \"gpt\"\nprovider = \"openai\"\n\
                    credential = \"sk-own\"\n\
                    [[gateways.targets]]\nname = \"azure\"\nprovider = \"azure-openai\"\n\
                    resource = \"res\"\ncredential = \"azure-own\"\n\
                    [gateways.fallback]\ngpt = [\"azure\"]\n";
    let (upstream, gateway, store, _clock) = start(settings).await;
    let mut token = Token::new("local", "app");
    token.providers = vec!["openai".into()];
    let token = stored(&gateway, &*store, token).await;
    let before = upstream.count();
    for path in [
        "azure-openai/res/dep/chat/completions",
        // By the name of a target.
        "azure/dep/chat/completions",
        "anthropic/v1/messages",
    ] {
        let reply = gateway.ask(&at(path, token.expose())).await;
        check(&reply, 403, 3030, "not for the provider");
    }
    let legs = "[{\"provider\":\"openai\",\"endpoint\":\"chat/completions\",\"query\":{}},\
                {\"provider\":\"azure-openai\",\"endpoint\":\"res/dep/chat/completions\",\
                \"query\":{}}]";
    let request = Ask::post("/v1/local/closed", legs).with("cf-aig-authorization", token.expose());
    check(&gateway.ask(&request).await, 403, 3030, "'azure-openai'");
    assert_eq!(upstream.count(), before);
    within("four refusals that tell the token", async {
        let is_told = |record: &Record| {
            record.outcome == Outcome::Refused && record.token.as_deref() == Some("app")
        };
        while gateway
            .records(1)
            .await
            .iter()
            .filter(|record| is_told(record))
            .count()
            < 4
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_falls_back_to_no_provider_that_its_token_is_not_for() {
    let failing = Upstream::start([status(500)]).await;
    let other = Upstream::start([json(COMPLETION)]).await;
    let config = format!(
        "{LOCKED}[[gateways.targets]]\nname = \"gpt\"\nprovider = \"openai\"\n\
         credential = \"sk-own\"\nbase_url = \"{}/v1\"\n\
         [[gateways.targets]]\nname = \"azure\"\nprovider = \"azure-openai\"\n\
         resource = \"res\"\ncredential = \"azure-own\"\nbase_url = \"{}\"\n\
         [gateways.fallback]\ngpt = [\"azure\"]\n",
        failing.url(),
        other.url()
    );
    let store: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
    let mut narrow = Token::new("local", "narrow");
    narrow.providers = vec!["openai".into()];
    let narrow = tokens::create(&*store, narrow, NOW).unwrap();
    let wide = tokens::create(&*store, Token::new("local", "wide"), NOW).unwrap();
    let config = harness::config(&config);
    let gateway = Harness::start_stored(&config, store, Clock::system());
    for (token, status, answered) in [(narrow, 500, 0), (wide, 200, 1)] {
        let request = Ask::post("/v1/local/closed/openai/chat/completions", PROMPT)
            .with("cf-aig-authorization", token.expose());
        assert_eq!(gateway.ask(&request).await.status(), status);
        assert_eq!(other.count(), answered);
    }
    let records = gateway.records(2).await;
    let told = |note: &str| note.contains("is of a provider that the gateway token is not for");
    assert!(
        records[0].notes.iter().any(|note| told(note)),
        "{:?}",
        records[0].notes
    );
}

#[tokio::test]
async fn a_token_for_a_model_asks_for_no_other_however_it_is_spelled() {
    let settings = "[[gateways.targets]]\nname = \"azure\"\nprovider = \"azure-openai\"\n\
                    resource = \"res\"\nmodels = { chat = \"gpt-4o\", big = \"gpt-5\" }\n";
    let (upstream, gateway, store, _clock) = start(settings).await;
    let mut token = Token::new("local", "app");
    token.models = vec!["gpt-4o*".into()];
    let token = stored(&gateway, &*store, token).await;
    let body = |body: String| chat(token.expose()).body(body);
    for (ask, words) in [
        (body("{\"model\":\"gpt-5\"}".into()), "'gpt-5'"),
        (
            body("{\"model\":\"gpt-4o\",\"model\":\"gpt-5\"}".into()),
            "'gpt-5'",
        ),
        (body("{\"model\":\"gpt-\\u0035\"}".into()), "'gpt-5'"),
        (body("{}".into()), "cannot be told"),
        (body("no JSON".into()), "cannot be told"),
        (
            body("{\"model\":\"gpt-5\"}".into()).with("content-type", "text/plain"),
            "token",
        ),
        (
            body(format!(
                "{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}",
                "x".repeat(5 << 20)
            )),
            "cannot be told",
        ),
        (
            at("azure-openai/res/big/chat/completions", token.expose()),
            "'gpt-5'",
        ),
        // Where the path names the model, or the format is not known, a body tells nothing.
        (
            at("huggingface/some/gpt-5", token.expose()).body("{\"model\":\"gpt-4o\"}"),
            "cannot be told",
        ),
        (
            at("replicate/v1/predictions", token.expose())
                .with("cf-aig-cache-ttl", "60")
                .body("{\"model\":\"gpt-4o\"}"),
            "cannot be told",
        ),
    ] {
        check(&gateway.ask(&ask).await, 403, 3030, words);
    }
    // One request has taken it up.
    assert_eq!(upstream.count(), 1);
    for ask in [
        body("{\"model\":\"gpt-4o-mini\"}".into()),
        at("azure-openai/res/chat/chat/completions", token.expose()),
    ] {
        assert_eq!(gateway.ask(&ask).await.status(), 200, "{ask:?}");
    }
}

#[tokio::test]
async fn a_token_for_a_model_reaches_no_other_that_its_provider_may_choose() {
    let settings = "[[gateways.targets]]\nname = \"router\"\nprovider = \"openrouter\"\n\
                    credential = \"sk-or\"\nmodels = { big = \"gpt-5\" }\n";
    let (upstream, gateway, store, _clock) = start(settings).await;
    let mut token = Token::new("local", "app");
    token.models = vec!["gpt-4o*".into()];
    let token = stored(&gateway, &*store, token).await;
    let before = upstream.count();
    let ask = |body: &str| {
        let ask = at("openrouter/chat/completions", token.expose());
        ask.body(body.to_owned())
    };
    for (body, words) in [
        (
            r#"{"model":"gpt-4o","models":["gpt-4o-mini","gpt-5"]}"#,
            "'gpt-5'",
        ),
        (r#"{"models":["gpt-5"]}"#, "'gpt-5'"),
        (r#"{"model":"gpt-5","models":["gpt-4o"]}"#, "'gpt-5'"),
        (r#"{"model":"gpt-4o","Models":["gpt-5"]}"#, "'gpt-5'"),
        (r#"{"model":"gpt-4o","models":["big"]}"#, "'gpt-5'"),
        (r#"{"model":"gpt-4o","models":"gpt-5"}"#, "cannot be told"),
        (
            r#"{"model":"gpt-4o","models":[{"id":"gpt-5"}]}"#,
            "cannot be told",
        ),
        (r#"{"model":"gpt-4o","preset":"cheap"}"#, "cannot be told"),
        (r#"{"model":"gpt-5","model":"gpt-4o"}"#, "'gpt-5'"),
        (r#"{"Model":"gpt-5","model":"gpt-4o"}"#, "'gpt-5'"),
        (r#"{"model":"gpt-4o","\u004dODEL":"gpt-5"}"#, "'gpt-5'"),
        (r#"{"MODEL":["gpt-4o"],"model":"gpt-4o"}"#, "cannot be told"),
    ] {
        check(&gateway.ask(&ask(body)).await, 403, 3030, words);
    }
    let legs = r#"[{"provider":"openrouter","endpoint":"chat/completions",
                    "query":{"model":"gpt-4o","models":["gpt-5"]}}]"#;
    let legs = Ask::post("/v1/local/closed", legs).with("cf-aig-authorization", token.expose());
    check(&gateway.ask(&legs).await, 403, 3030, "'gpt-5'");
    assert_eq!(upstream.count(), before);
    for body in [
        r#"{"model":"gpt-4o","models":["gpt-4o-mini"]}"#,
        r#"{"model":"gpt-4o","models":null}"#,
        r#"{"models":["gpt-4o","gpt-4o-mini"]}"#,
    ] {
        assert_eq!(gateway.ask(&ask(body)).await.status(), 200, "{body}");
    }
}

#[tokio::test]
async fn a_spend_cap_ends_what_a_token_may_cost_and_nobody_elses() {
    let (upstream, gateway, store, clock) = start("").await;
    let other = stored(&gateway, &*store, Token::new("local", "other")).await;
    let mut capped = Token::new("local", "capped");
    capped.gateways = vec!["closed".into()];
    capped.spend = Some(Spend {
        // Less than one request costs, and more than it surely does.
        limit_nanousd: 90_000,
        period: Period::Day,
        time_zone: "UTC".into(),
    });
    let capped = stored(&gateway, &*store, capped).await;
    let before = upstream.count();
    let reply = gateway.ask(&chat(capped.expose())).await;
    check(&reply, 429, 2041, "rule 'token.capped'");
    assert_eq!(reply.header("cf-aig-source"), Some("rate-limit"));
    assert_eq!(upstream.count(), before);
    assert_eq!(gateway.ask(&chat(other.expose())).await.status(), 200);
    clock.set(NOW.plus(Duration::from_secs(86_400)));
    assert_eq!(gateway.ask(&chat(capped.expose())).await.status(), 200);
}

#[tokio::test]
async fn a_token_with_a_spend_cap_is_for_models_with_a_price() {
    let (upstream, gateway, store, _clock) = start("").await;
    let mut capped = Token::new("local", "capped");
    capped.gateways = vec!["closed".into()];
    capped.spend = Some(Spend {
        limit_nanousd: 1_000_000_000,
        period: Period::Day,
        time_zone: "UTC".into(),
    });
    let mut open = Token::new("local", "open");
    (open.gateways, open.spend) = (capped.gateways.clone(), capped.spend.clone());
    open.allow_unpriced = true;
    let capped = stored(&gateway, &*store, capped).await;
    let open = stored(&gateway, &*store, open).await;
    let before = upstream.count();
    let unpriced = PROMPT.replace("gpt-4o", "nobody-knows-what-it-costs");
    let ask =
        |token: &Secret, path: &str, body: &str| at(path, token.expose()).body(body.to_owned());
    for (path, body, words) in [
        (
            "openai/chat/completions",
            &*unpriced,
            "'nobody-knows-what-it-costs'",
        ),
        ("openai/chat/completions", "{}", "names no model"),
        ("openai/batches", PROMPT, "names no model"),
    ] {
        check(
            &gateway.ask(&ask(&capped, path, body)).await,
            403,
            3030,
            words,
        );
    }
    assert_eq!(upstream.count(), before);
    for (token, path, body) in [
        (&capped, "openai/chat/completions", PROMPT),
        (&open, "openai/chat/completions", &unpriced),
    ] {
        assert_eq!(
            gateway.ask(&ask(token, path, body)).await.status(),
            200,
            "{path} {body}"
        );
    }
    let models = Ask::get("/v1/local/closed/openai/models")
        .with("authorization", "Bearer sk-mine")
        .with("cf-aig-authorization", capped.expose());
    assert_eq!(gateway.ask(&models).await.status(), 200);
}

#[tokio::test]
async fn of_a_deployment_that_answers_without_a_price_a_cap_lets_the_first_pass() {
    let unpriced = COMPLETION.replace("gpt-4o-2024-08-06", "nobody-knows-what-it-costs");
    for (answer, second) in [(unpriced.as_str(), 403), (COMPLETION, 200)] {
        let upstream = Upstream::start([json(answer.to_owned())]).await;
        let gateway = Harness::with(
            "[[gateways]]\nid = \"closed\"\n\
             [[tokens]]\nname = \"capped\"\nsecret = \"isg_0123456789abcdef\"\n\
             gateways = [\"closed\"]\nspend = { limit = 1.0, window = \"day\" }\n",
            &upstream,
        )
        .await;
        let path = "/v1/local/closed/azure-openai/res/dep/chat/completions";
        let ask = Ask::post(path, PROMPT)
            .with("api-key", "k")
            .with("cf-aig-authorization", "isg_0123456789abcdef");
        assert_eq!(gateway.ask(&ask).await.status(), 200);
        gateway.records(1).await;
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status(), second, "{}", reply.text());
        if second == 403 {
            check(&reply, 403, 3030, "the deployment 'dep'");
        }
    }
}

#[tokio::test]
async fn a_token_that_somebody_edited_opens_nothing_once_there_is_a_key() {
    let key = "5a".repeat(32);
    let ring = Keyring {
        current: SealKey::parse(&Secret::new(key.as_str())).unwrap(),
        previous: None,
    };
    let raw: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
    let store = Vouched::new(Arc::clone(&raw), Some(Arc::new(ring)));
    let mut narrow = Token::new("local", "narrow");
    narrow.models = vec!["gpt-5".into()];
    let narrow = tokens::create(&store, narrow, NOW).unwrap();
    let good = tokens::create(&store, Token::new("local", "good"), NOW).unwrap();
    // By somebody who can write the file and has no key.
    let slipped_in = tokens::create(&*raw, Token::new("local", "slipped-in"), NOW).unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let sealed = format!("[secrets]\nkey = \"{key}\"\n");
    let config = harness::config(&format!("{LOCKED}{sealed}{}", providers(&upstream)));
    let gateway = Harness::start_stored(&config, Arc::clone(&raw), Clock::system());
    assert_eq!(gateway.ask(&chat(good.expose())).await.status(), 200);
    check(
        &gateway.ask(&chat(narrow.expose())).await,
        403,
        3030,
        "'gpt-4o'",
    );
    check(
        &gateway.ask(&chat(slipped_in.expose())).await,
        401,
        2009,
        "Unauthorized",
    );
    let contents = raw.read().unwrap();
    let entity = contents.find(Kind::Token, "narrow").unwrap();
    let edited = entity.body.replace("gpt-5", "gpt-4o");
    raw.commit(&[Change::replace(entity, edited)]).unwrap();
    let reply = until(&gateway, &chat(narrow.expose()), 401).await;
    check(&reply, 401, 2009, "Unauthorized");
    // What was there before there was a key is taken up by an explicit step.
    assert_eq!(store.adopt().unwrap(), ["slipped-in".into()]);
    until(&gateway, &chat(slipped_in.expose()), 200).await;
    assert_eq!(gateway.ask(&chat(narrow.expose())).await.status(), 401);
}

#[tokio::test]
async fn a_malformed_token_is_refused_like_a_wrong_one() {
    let (upstream, gateway, _store, _clock) = start("").await;
    let long = "isg_".to_owned() + &"x".repeat(20_000);
    for value in [
        &b""[..],
        b" ",
        b"Bearer",
        b"Bearer ",
        b"Bearer  ",
        b"isg_",
        b"Bearer isg_",
        b"Basic aXNnXw==",
        b"\xff\xfe",
        b"Bearer isg_\xff",
        b"isg_a, isg_b",
        b"isg_\ttab",
        long.as_bytes(),
    ] {
        for name in ["cf-aig-authorization", "authorization", "x-api-key"] {
            let mut client = Client::connect(gateway.addr).await;
            let mut request = format!(
                "POST /v1/local/closed/openai/chat/completions HTTP/1.1\r\nhost: a\r\n\
                 content-length: 0\r\n{name}: "
            )
            .into_bytes();
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n\r\n");
            client.send(&request).await;
            let reply = client.reply().await;
            check(&reply, 401, 2009, "Unauthorized");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_store_that_fails_leaves_what_was_read_last() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let folder = tempfile::tempdir().unwrap();
    let store = FileConfig::in_folder(folder.path());
    let kept = tokens::create(&store, Token::new("local", "kept"), NOW).unwrap();
    let config = harness::config(&format!("{LOCKED}{}", providers(&upstream)));
    let gateway = Harness::start_stored(&config, Arc::new(store.clone()), Clock::system());
    let file = folder.path().join("config.sqlite");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"nonsense".repeat(1_000)).unwrap();
    assert!(store.revision().is_err());
    assert_eq!(gateway.ask(&chat(kept.expose())).await.status(), 200);
    // Mended, it is read again.
    std::fs::write(&file, good).unwrap();
    tokens::revoke(&store, ("local", "kept"), NOW).unwrap();
    until(&gateway, &chat(kept.expose()), 401).await;
}
