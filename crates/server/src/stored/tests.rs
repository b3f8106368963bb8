use isango_store::memory::MemoryConfig;
use isango_types::key::{Sha256, Spend};
use isango_types::limit::Period;

use super::*;
use crate::config::Sources;

fn config(text: &str) -> Config {
    Config::parse(text, &Sources::default()).unwrap()
}

fn capped(name: &str, gateway: &str) -> Token {
    let mut token = Token::new("local", name);
    token.gateways = vec![gateway.into()];
    token.spend = Some(Spend {
        limit_nanousd: 5,
        period: Period::Month,
        time_zone: "UTC".into(),
    });
    token
}

const NOW: Timestamp = Timestamp::from_micros(1);

#[test]
fn a_job_that_cannot_be_compiled_is_told_from_one_that_is_gone() {
    use isango_store::seal::Keyring;
    use isango_types::Secret;
    let keys =
        "[secrets]\nkey = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
    let conf = Secret::new("https://logs.example.com/in");
    let mut job = StoredJob {
        account: "local".into(),
        number: 7,
        created_at: NOW,
        modified_at: NOW,
        fields: serde_json::Map::new(),
        shown: "".into(),
        sealed: "".into(),
    };
    let with_keys = config(keys);
    let keyring: &Keyring = with_keys.keyring.as_ref().unwrap();
    job.seal(keyring, &conf, "https://logs.example.com/in")
        .unwrap();
    let store = MemoryConfig::default();
    let id = StoredJob::entity_id("local", 7);
    let add = Change::add(Kind::Export, &id, job.body().unwrap());
    store.commit(&[add]).unwrap();
    let damaged = Change::add(Kind::Export, "local/8", "{}");
    store.commit(&[damaged]).unwrap();
    let gateway = Change::add(Kind::Gateway, "local/bad", "{}");
    store.commit(&[gateway]).unwrap();
    let listed = |config: &Config| {
        let stored = Stored::read(&store).unwrap();
        let (snapshot, _) = stored.compile(config, None);
        let (listed, _) = stored.jobs(config, &snapshot);
        let jobs = listed.jobs.iter().map(|job| job.spec.id.to_string());
        let flawed = listed.flawed.iter().map(|flawed| flawed.id.to_string());
        (jobs.collect::<Vec<_>>(), flawed.collect::<Vec<_>>())
    };
    let (jobs, flawed) = listed(&with_keys);
    assert_eq!(jobs, ["local/7"]);
    assert_eq!(flawed, ["local/bad", "local/8"]);
    let (jobs, flawed) = listed(&config(""));
    assert_eq!(jobs, [""; 0]);
    assert_eq!(flawed, ["local/bad", "local/8", "local/7"]);
}

#[test]
fn the_files_token_wins_over_a_stored_one_of_its_name() {
    let store = MemoryConfig::default();
    let stored = tokens::create(&store, Token::new("local", "app"), NOW).unwrap();
    let config = config("[[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"");
    let (snapshot, doubts) = Stored::read(&store).unwrap().compile(&config, None);
    let finds = |sha256: Sha256| snapshot.token(&sha256.0, NOW).is_some();
    assert!(!finds(tokens::sha256(&stored)));
    assert!(finds(tokens::sha256(&isango_types::Secret::new(
        "isg_0123456789abcdef"
    ))));
    assert_eq!(doubts.len(), 1, "{doubts:?}");
}

#[test]
fn a_token_beyond_the_caps_that_a_gateway_can_have_opens_nothing() {
    let secret = |at: usize| format!("isg_0123456789abcdef{at}");
    let token = |at: usize| {
        format!(
            "[[tokens]]\nname = \"t{at}\"\nsecret = \"{}\"\ngateways = [\"shop\"]\n\
             spend = {{ limit = 1.0, window = \"day\" }}\n",
            secret(at)
        )
    };
    let all: String = (0..=tokens::MAX_CAPPED).map(token).collect();
    let config = config(&format!("[[gateways]]\nid = \"shop\"\n{all}"));
    let stored = Stored::read(&MemoryConfig::default()).unwrap();
    let (snapshot, doubts) = stored.compile(&config, None);
    let opens = |at: usize| {
        let sha256 = tokens::sha256(&isango_types::Secret::new(secret(at)));
        snapshot.token(&sha256.0, NOW).is_some()
    };
    assert!(opens(tokens::MAX_CAPPED - 1) && !opens(tokens::MAX_CAPPED));
    let limits = &snapshot.gateway("local", "shop").unwrap().limits;
    assert_eq!(limits.len(), tokens::MAX_CAPPED);
    assert!(doubts[0].contains("`t256` has no effect"), "{doubts:?}");
}

#[test]
fn a_spend_cap_becomes_a_limit_of_its_gateway_alone() {
    let store = MemoryConfig::default();
    for (name, gateway) in [("a", "shop"), ("b", "default"), ("c", "gone")] {
        tokens::create(&store, capped(name, gateway), NOW).unwrap();
    }
    let config = config("[[gateways]]\nid = \"shop\"\n[[gateways]]\nid = \"other\"");
    let (snapshot, _) = Stored::read(&store).unwrap().compile(&config, None);
    let limits = |account: &str, id: &str| {
        let gateway = snapshot.gateway(account, id).unwrap();
        let ids = gateway.limits.iter().map(|limit| limit.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(limits("local", "shop"), ["token.a"]);
    assert_eq!(limits("local", "other"), [""; 0]);
    assert_eq!(limits("local", "default"), ["token.b"]);
    assert_eq!(limits("elsewhere", "default"), [""; 0]);
}

#[test]
fn a_gateway_that_nobody_can_open_is_told() {
    let locked = "[[gateways]]\nid = \"locked\"\nauthentication = true\n";
    let store = MemoryConfig::default();
    let doubts = |text: &str| Stored::read(&store).unwrap().compile(&config(text), None).1;
    assert_eq!(doubts("").len(), 0);
    assert_eq!(doubts(locked).len(), 1);
    assert_eq!(doubts("listen = \"0.0.0.0:1\"").len(), 1);
    tokens::create(&store, Token::new("local", "app"), NOW).unwrap();
    assert_eq!(doubts(locked).len(), 0);
    assert_eq!(doubts("listen = \"0.0.0.0:1\"").len(), 0);
    tokens::revoke(&store, ("local", "app"), NOW).unwrap();
    assert_eq!(doubts(locked).len(), 1);
}
