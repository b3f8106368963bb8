//! Provider credentials that are stored sealed: which one a request gets, how often, and that
//! nothing of them is seen.

use std::sync::Arc;
use std::time::Duration;

use isango_backends::config::FileConfig;
use isango_store::config::{Change, ConfigStore, Kind};
use isango_store::credentials::{self, New, Origin, Place, Stored};
use isango_store::memory::MemoryConfig;
use isango_store::seal::{Keyring, SealKey};
use isango_store::tokens;
use isango_store::vouched::Vouched;
use isango_testkit::answer::{json, status};
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::{Clock, Record, Secret, Timestamp, Token};

use crate::harness::{self, CHAT, Harness, providers};

const NOW: Timestamp = Timestamp::from_micros(1_795_363_200_000_000);
const PLANTED: &str = "sk-planted-7h3K9yQ2mZ4wX";

fn key(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

fn ring(n: u8) -> Keyring {
    Keyring {
        current: SealKey::parse(&Secret::new(key(n))).unwrap(),
        previous: None,
    }
}

fn sealed_with(n: u8) -> String {
    format!("[secrets]\nkey = \"{}\"\n", key(n))
}

fn place(gateway: &str, alias: &str) -> Place {
    Place {
        account: "local".into(),
        gateway: gateway.into(),
        provider: "openai".into(),
        alias: alias.into(),
    }
}

fn store_as(store: &dyn ConfigStore, alias: &str, secret: &str, rate: Option<(u32, u32)>) {
    let new = New {
        secret: Secret::new(secret),
        origin: Origin::Api,
        preview: "key".into(),
        rate,
    };
    credentials::set(store, &ring(1), place("default", alias), new, NOW).unwrap();
}

/// A server with these credentials stored beside `settings`, by a clock of the test's.
async fn start(
    settings: &str,
    stored: &[(&str, &str)],
) -> (Upstream, Harness, Arc<dyn ConfigStore>, Clock) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let store: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
    for (alias, secret) in stored {
        store_as(&*store, alias, secret, None);
    }
    let text = format!("{settings}{}{}", sealed_with(1), providers(&upstream));
    let clock = Clock::manual(NOW);
    let config = harness::config(&text);
    let gateway = Harness::start_stored(&config, Arc::clone(&store), clock.clone());
    (upstream, gateway, store, clock)
}

fn ask(alias: &str) -> Ask {
    let ask = Ask::post(CHAT, PROMPT);
    if alias.is_empty() {
        ask
    } else {
        ask.with("cf-aig-byok-alias", alias)
    }
}

fn check(reply: &Reply, status: u16, code: u16, words: &str) {
    let json = reply.json();
    assert_eq!(
        (reply.status(), &json["internalCode"]),
        (status, &code.into()),
        "{json}"
    );
    assert!(json["message"].as_str().unwrap().contains(words), "{json}");
}

/// What the provider got as its key.
async fn got(upstream: &Upstream, at: usize) -> Option<String> {
    let head = upstream.request(at).await.head;
    assert_eq!(head.header("cf-aig-byok-alias"), None);
    head.header("authorization").map(str::to_owned)
}

#[tokio::test]
async fn a_request_without_a_credential_gets_the_stored_one_of_its_alias() {
    let stored = [("default", "sk-of-default"), ("team-b", "sk-of-team-b")];
    let (upstream, gateway, _store, _clock) = start("", &stored).await;
    for (at, (request, expected)) in [
        (ask(""), "Bearer sk-of-default"),
        (ask("default"), "Bearer sk-of-default"),
        (ask("team-b"), "Bearer sk-of-team-b"),
        // Its own wins, whatever alias it names.
        (
            ask("team-b").with("authorization", "Bearer sk-mine"),
            "Bearer sk-mine",
        ),
        (
            ask("nobody").with("authorization", "Bearer sk-mine"),
            "Bearer sk-mine",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(gateway.ask(&request).await.status(), 200, "{request:?}");
        assert_eq!(
            got(&upstream, at).await.as_deref(),
            Some(expected),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn an_alias_that_is_not_there_is_refused_and_nothing_takes_its_place() {
    let target = "[[gateways]]\nid = \"default\"\n[[gateways.targets]]\nname = \"own\"\n\
                  provider = \"openai\"\ncredential = \"sk-of-the-target\"\n";
    let stored = [("team-b", "sk-of-team-b"), ("team-c", "sk-of-team-c")];
    let (upstream, gateway, _store, _clock) = start(target, &stored).await;
    let reply = gateway.ask(&ask("nobody")).await;
    let message = "Provider 'openai' has no BYOK credential named 'nobody'. Configured aliases: \
                   'team-b', 'team-c'";
    check(&reply, 400, 2040, message);
    assert_eq!(upstream.count(), 0);
    // The target's own goes before the stored ones where no alias is named, and is the default.
    for (at, (alias, expected)) in [
        ("", "Bearer sk-of-the-target"),
        ("default", "Bearer sk-of-the-target"),
        ("team-c", "Bearer sk-of-team-c"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(gateway.ask(&ask(alias)).await.status(), 200);
        assert_eq!(got(&upstream, at).await.as_deref(), Some(expected));
    }
    let anthropic = Ask::post("/v1/local/default/anthropic/v1/messages", "{}");
    check(
        &gateway
            .ask(&anthropic.clone().with("cf-aig-byok-alias", "x"))
            .await,
        400,
        2040,
        "none",
    );
    check(&gateway.ask(&anthropic).await, 400, 3002, "no credential");
}

#[tokio::test]
async fn a_credential_that_was_tampered_with_fails_and_nothing_takes_its_place() {
    let (upstream, gateway, store, _clock) = start("", &[("default", "sk-a"), ("b", "sk-b")]).await;
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    // Somebody swaps what is sealed in two rows.
    let contents = store.read().unwrap();
    let entities: Vec<_> = contents.of(Kind::Credential).collect();
    let mut rows: Vec<Stored> = entities
        .iter()
        .map(|entity| serde_json::from_str(&entity.body).unwrap())
        .collect();
    let first = rows[0].sealed.clone();
    rows[0].sealed = std::mem::replace(&mut rows[1].sealed, first);
    let body = |row: &Stored| serde_json::to_string(row).unwrap();
    let changes: Vec<_> = entities
        .iter()
        .zip(&rows)
        .map(|(entity, row)| Change::replace(entity, body(row)))
        .collect();
    store.commit(&changes).unwrap();
    for alias in ["", "b"] {
        let reply = within("the change to be taken up", async {
            loop {
                let reply = gateway.ask(&ask(alias)).await;
                if reply.status() != 200 {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        check(&reply, 502, 3031, "is not available");
    }
    let sent = upstream.count();
    gateway.ask(&ask("b")).await;
    assert_eq!(upstream.count(), sent);
}

#[tokio::test]
async fn a_credential_that_cannot_be_read_at_all_fails_and_nothing_takes_its_place() {
    let (upstream, gateway, store, _clock) = start("", &[("default", "sk-a")]).await;
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    let contents = store.read().unwrap();
    let entity = contents.of(Kind::Credential).next().unwrap();
    store.commit(&[Change::replace(entity, "{")]).unwrap();
    let reply = until_not_200(&gateway).await;
    check(&reply, 502, 3031, "is not available");
    let sent = upstream.count();
    gateway.ask(&ask("default")).await;
    assert_eq!(upstream.count(), sent);
}

/// The first answer that is not 200.
async fn until_not_200(gateway: &Harness) -> Reply {
    within("the change to be taken up", async {
        loop {
            let reply = gateway.ask(&ask("")).await;
            if reply.status() != 200 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Two keys, of which the first seals.
fn both(new: u8, old: u8) -> Keyring {
    Keyring {
        previous: Some(ring(old).current),
        ..ring(new)
    }
}

#[tokio::test]
async fn what_is_only_sealed_anew_goes_on_before_the_gateway_knows_the_key() {
    let raw: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
    let store = Vouched::new(Arc::clone(&raw), Some(Arc::new(ring(1))));
    store_as(&store, "default", "sk-a", None);
    let token = tokens::create(&store, Token::new("local", "app"), NOW).unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let locked = "[[gateways]]\nid = \"default\"\nauthentication = true\n";
    let text = format!("{locked}{}{}", sealed_with(1), providers(&upstream));
    let clock = Clock::manual(NOW);
    let config = harness::config(&text);
    let gateway = Harness::start_stored(&config, Arc::clone(&raw), clock);
    let ask = || ask("").with("cf-aig-authorization", token.expose());
    assert_eq!(gateway.ask(&ask()).await.status(), 200);
    // Elsewhere everything is sealed with another key; the gateway looks at it by the one it knows.
    let keys = Arc::new(both(2, 1));
    store.use_keys(Some(Arc::clone(&keys)));
    assert_eq!(credentials::reseal(&store, &keys).unwrap(), 2);
    gateway.server.reload(&config);
    assert_eq!(gateway.ask(&ask()).await.status(), 200);
    // Another secret under the new key is not the old one, which is used no more.
    let new = New {
        secret: Secret::new("sk-b"),
        origin: Origin::Api,
        preview: "key".into(),
        rate: None,
    };
    let later = NOW.plus(Duration::from_secs(1));
    credentials::set(&store, &keys, place("default", "default"), new, later).unwrap();
    let reply = within("the change to be taken up", async {
        loop {
            let reply = gateway.ask(&ask()).await;
            if reply.status() != 200 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    check(&reply, 502, 3031, "is not available");
    // Told the key, the gateway opens it.
    let text = text.replace(&key(1), &key(2));
    gateway.server.reload(&harness::config(&text));
    assert_eq!(gateway.ask(&ask()).await.status(), 200);
    let last = upstream.requests().pop().unwrap().head;
    assert_eq!(last.header("authorization"), Some("Bearer sk-b"));
}

/// What a provider and an issuer have received once a request was made with a credential of `origin`
/// that has a file of the machine sent to the issuer; and the answer.
async fn lending(origin: Origin) -> (Reply, usize, usize) {
    let issued = r#"{"access_token":"planted-token","expires_in":3600}"#;
    let issuer = Upstream::start([json(issued)]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "planted-file").unwrap();
    let secret = serde_json::json!({
        "entra": "workload_identity", "tenantId": "t", "clientId": "c",
        "tokenFile": file, "authority": issuer.url(),
    });
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let store: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
    let new = New {
        secret: Secret::new(secret.to_string()),
        origin,
        preview: "entra".into(),
        rate: None,
    };
    credentials::set(&*store, &ring(1), place("default", "default"), new, NOW).unwrap();
    let text = format!("{}{}", sealed_with(1), providers(&upstream));
    let config = harness::config(&text);
    let gateway = Harness::start_stored(&config, store, Clock::manual(NOW));
    let reply = gateway.ask(&ask("")).await;
    (reply, issuer.count(), upstream.count())
}

#[tokio::test]
async fn only_what_the_operator_stored_reaches_files_and_addresses_of_the_machine() {
    let (reply, asked, sent) = lending(Origin::Operator).await;
    assert_eq!((reply.status(), asked, sent), (200, 1, 1));
    let (reply, asked, sent) = lending(Origin::Api).await;
    check(&reply, 502, 3031, "is not available");
    assert_eq!((asked, sent), (0, 0));
}

#[tokio::test]
async fn a_credential_is_used_as_often_as_it_may_be() {
    let (upstream, gateway, store, clock) = start("", &[]).await;
    store_as(&*store, "default", "sk-limited", Some((2, 60)));
    within("the credential to be taken up", async {
        while gateway.ask(&ask("")).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    let reply = gateway.ask(&ask("")).await;
    check(
        &reply,
        429,
        2003,
        "credential 'default' of provider 'openai' (2 requests per 60 s)",
    );
    assert_eq!(reply.header("cf-aig-source"), Some("rate-limit"));
    assert_eq!(reply.header("retry-after"), Some("60"));
    // Another secret does not open it anew, and its own key is not counted.
    store_as(&*store, "default", "sk-rotated", None);
    let own = ask("").with("authorization", "Bearer sk-mine");
    assert_eq!(gateway.ask(&own).await.status(), 200);
    assert_eq!(upstream.count(), 3);
    clock.set(NOW.plus(Duration::from_secs(60)));
    within("the rotated secret to be taken up", async {
        loop {
            let reply = gateway.ask(&ask("")).await;
            let last = upstream.requests().pop().unwrap().head;
            if last.header("authorization") == Some("Bearer sk-rotated") {
                return assert_eq!(reply.status(), 200);
            }
            assert_ne!(reply.status(), 500);
            clock.set(clock.now().plus(Duration::from_secs(60)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_credential_is_used_by_each_send() {
    let upstream = Upstream::start([status(500)]).await;
    let store = MemoryConfig::default();
    store_as(&store, "default", "sk-limited", Some((3, 60)));
    let config = harness::config(&format!("{}{}", sealed_with(1), providers(&upstream)));
    let gateway = Harness::start_stored(&config, Arc::new(store), Clock::manual(NOW));
    let ask = ask("")
        .with("cf-aig-max-attempts", "5")
        .with("cf-aig-retry-delay", "1");
    // The provider's own refusal says more than that it was not asked again.
    assert_eq!(gateway.ask(&ask).await.status(), 500);
    assert_eq!(upstream.count(), 3);
    let record = gateway.record().await;
    let said = record
        .notes
        .iter()
        .any(|note| note.contains("was not asked again"));
    assert!(said, "{:?}", record.notes);
    check(&gateway.ask(&ask).await, 429, 2003, "credential 'default'");
    assert_eq!(upstream.count(), 3);
}

/// A group of which another target answers.
#[tokio::test]
async fn who_is_not_asked_uses_up_no_credential() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let store = MemoryConfig::default();
    store_as(&store, "default", "sk-scarce", Some((1, 60)));
    let url = upstream.url();
    let text = format!(
        "[[gateways]]\nid = \"default\"\n\
         [[gateways.targets]]\nname = \"stored\"\nprovider = \"openai\"\nweight = 0\n\
         [[gateways.targets]]\nname = \"own\"\nprovider = \"openai\"\ncredential = \"k\"\n\
         base_url = \"{url}\"\n\
         [[gateways.groups]]\nname = \"pool\"\ntargets = [\"stored\", \"own\"]\n{}{}",
        sealed_with(1),
        providers(&upstream)
    );
    let config = harness::config(&text);
    let gateway = Harness::start_stored(&config, Arc::new(store), Clock::manual(NOW));
    let pooled = Ask::post("/v1/local/default/pool/chat/completions", PROMPT);
    for at in 0..3 {
        assert_eq!(gateway.ask(&pooled).await.status(), 200, "{at}");
        let sent = got(&upstream, at).await;
        assert_eq!(sent.as_deref(), Some("Bearer k"));
    }
    // It may be used once all the same.
    let named = Ask::post("/v1/local/default/stored/chat/completions", PROMPT);
    assert_eq!(gateway.ask(&named).await.status(), 200);
    let sent = got(&upstream, 3).await;
    assert_eq!(sent.as_deref(), Some("Bearer sk-scarce"));
}

/// A stored credential that one request a minute may use, behind a gateway with these settings; and
/// a token for one model and one provider.
async fn scarce(settings: &str) -> (Upstream, Harness, Clock) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let store = MemoryConfig::default();
    store_as(&store, "default", "sk-scarce", Some((1, 60)));
    let text = format!(
        "[[gateways]]\nid = \"default\"\n{settings}\n[[tokens]]\nname = \"app\"\n\
         secret = \"{TOKEN}\"\nmodels = [\"gpt-4o\"]\nproviders = [\"openai\", \"azure-openai\"]\n{}{}",
        sealed_with(1),
        providers(&upstream)
    );
    let clock = Clock::manual(NOW);
    let config = harness::config(&text);
    let gateway = Harness::start_stored(&config, Arc::new(store), clock.clone());
    (upstream, gateway, clock)
}

const TOKEN: &str = "isg_0123456789abcdef";

#[tokio::test]
async fn a_request_that_is_refused_uses_up_no_credential() {
    let other = PROMPT.replace("gpt-4o", "gpt-5");
    let leg = |provider: &str, body: &str| {
        let leg = format!(
            "[{{\"provider\":\"openai\",\"endpoint\":\"chat/completions\",\"query\":{PROMPT}}},\
             {{\"provider\":\"{provider}\",\"endpoint\":\"chat/completions\",\"query\":{body}}}]"
        );
        Ask::post("/v1/local/default", leg)
    };
    let limits = "[[gateways.limits]]\nid = \"none\"\nby = [\"metadata.t\"]\n\
                  only = { \"metadata.t\" = [\"full\"] }\nunit = \"cost\"\nlimit = 0.000001\n\
                  window = \"day\"\n";
    for (refused, status) in [
        (ask("").body(other), 403),
        (leg("openrouter", PROMPT), 403),
        (ask("").with("cf-aig-metadata", r#"{"t":"full"}"#), 429),
    ] {
        let (upstream, gateway, _clock) = scarce(limits).await;
        let reply = gateway
            .ask(&refused.with("cf-aig-authorization", TOKEN))
            .await;
        assert_eq!(reply.status(), status, "{}", reply.text());
        assert_eq!(upstream.count(), 0);
        let right = ask("").with("cf-aig-authorization", TOKEN);
        assert_eq!(gateway.ask(&right).await.status(), 200);
        check(
            &gateway.ask(&right).await,
            429,
            2003,
            "credential 'default'",
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_uses_up_no_credential() {
    let (upstream, gateway, clock) = scarce("").await;
    let kept = ask("").with("cf-aig-cache-ttl", "600");
    assert_eq!(gateway.ask(&kept).await.status(), 200);
    for _ in 0..3 {
        let reply = gateway.ask(&kept).await;
        assert_eq!(
            (reply.status(), reply.header("cf-aig-cache-status")),
            (200, Some("HIT"))
        );
    }
    check(
        &gateway.ask(&ask("")).await,
        429,
        2003,
        "credential 'default'",
    );
    clock.set(NOW.plus(Duration::from_secs(60)));
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_a_spent_credential_refuses_draws_from_no_limit() {
    let limits =
        "[[gateways.limits]]\nid = \"two\"\nunit = \"requests\"\nlimit = 2\nwindow = \"day\"\n";
    let (upstream, gateway, clock) = scarce(limits).await;
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    check(
        &gateway.ask(&ask("")).await,
        429,
        2003,
        "credential 'default'",
    );
    // What it held is given back with its record.
    let records = gateway.records(2).await;
    let is_refused = |record: &&Record| record.status == Some(429);
    let record = records.iter().find(is_refused).unwrap();
    assert_eq!((record.limits[0].charged, record.attempts.len()), (0, 0));
    clock.set(NOW.plus(Duration::from_secs(60)));
    assert_eq!(gateway.ask(&ask("")).await.status(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn no_stored_secret_is_on_disk_or_on_record() {
    let repeating = format!("{{\"error\":\"Incorrect API key provided: {PLANTED}\"}}");
    let refusal = status(401).header("x-request-id", PLANTED).body(repeating);
    let upstream = Upstream::start([refusal]).await;
    let folder = tempfile::tempdir().unwrap();
    let store = FileConfig::in_folder(folder.path());
    store_as(&store, "default", PLANTED, None);
    let config = harness::config(&format!("{}{}", sealed_with(1), providers(&upstream)));
    let gateway = Harness::start_stored(&config, Arc::new(store), Clock::system());
    assert_eq!(gateway.ask(&ask("")).await.status(), 401);
    let sent = got(&upstream, 0).await;
    assert_eq!(sent, Some(format!("Bearer {PLANTED}")));
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(!record.contains(PLANTED), "{record}");
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(PLANTED) && !text.contains(&key(1)));
    }
    let config = format!("{config:?}");
    assert!(!config.contains(&key(1)) && !config.contains(PLANTED));
}

#[tokio::test]
async fn two_credentials_share_no_kept_answer() {
    let stored = [("a", "sk-of-a"), ("b", "sk-of-b")];
    let (upstream, gateway, _store, _clock) = start("", &stored).await;
    for (alias, kept, sent) in [("a", "MISS", 1), ("a", "HIT", 1), ("b", "MISS", 2)] {
        let reply = gateway
            .ask(&ask(alias).with("cf-aig-cache-ttl", "600"))
            .await;
        assert_eq!(
            (reply.header("cf-aig-cache-status"), upstream.count()),
            (Some(kept), sent)
        );
    }
}
