//! The management API over real sockets: who gets in, what is changed, and that it is in force when
//! the answer comes.

mod alerts;
mod audit;
mod backtest;
mod custom;
mod doors;
mod gateways;
mod graphql;
mod idempotent;
mod keys;
mod listener;
mod lists;
mod load;
mod logpush;
mod logs;
mod oidc;
mod own;
mod people;
mod plan;
mod requests;
mod rerate;
mod secrets;
mod simulate;
mod storage;
mod tail;
mod trial;
mod twins;

use std::sync::Arc;

use isango_store::config::ConfigStore;
use isango_store::memory::MemoryConfig;
use isango_store::tokens;
use isango_store::vouched::Vouched;
use isango_testkit::answer::json;
use isango_testkit::client::{Ask, Reply, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::key::Scope;
use isango_types::{Clock, Secret, Timestamp, Token};
use serde_json::Value;

use crate::harness::{self, Harness, providers};

/// Where the gateways of the account `local` are.
const GATEWAYS: &str = "/client/v4/accounts/local/ai-gateway/gateways";

/// Where Isango's own resources of the account `local` are.
const OWN: &str = "/client/v4/accounts/local/isango";

const NOW: Timestamp = Timestamp::from_micros(1_795_363_200_000_000);

/// A server whose upstream always answers, and a token that may do everything in `local`.
struct Managed {
    upstream: Upstream,
    gateway: Harness,
    store: Arc<dyn ConfigStore>,
    admin: Secret,
}

impl Managed {
    async fn start(settings: &str) -> Self {
        Self::before(settings, Upstream::start([json(COMPLETION)]).await)
    }

    /// The same before an upstream of the test's.
    fn before(settings: &str, upstream: Upstream) -> Self {
        let config = harness::config(&format!("{settings}\n{}", providers(&upstream)));
        let store: Arc<dyn ConfigStore> = Arc::new(MemoryConfig::default());
        // Where there are keys, only what is vouched for with them is believed.
        let vouched = Vouched::new(Arc::clone(&store), config.keyring.clone());
        let admin = stored(&vouched, "admin", |token| {
            token.scopes = vec![Scope::Read, Scope::Write];
        });
        let gateway = Harness::start_stored(&config, Arc::clone(&store), Clock::manual(NOW));
        Self {
            upstream,
            gateway,
            store,
            admin,
        }
    }

    /// Asks the API as the token that may do everything.
    async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        ask(
            self.gateway.admin,
            &request(method, path, &self.admin, body),
        )
        .await
    }

    /// The same, where it must be done; what was done.
    async fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.call(method, path, body).await;
        assert_eq!(reply.status(), 200, "{method} {path}: {}", reply.text());
        let envelope = reply.json();
        assert_eq!(envelope["success"], true);
        assert_eq!(envelope["errors"], serde_json::json!([]));
        envelope
    }

    /// The status of a chat through a gateway of the account `local`.
    async fn chat(&self, id: &str) -> u16 {
        let path = format!("/v1/local/{id}/openai/chat/completions");
        let chat = Ask::post(&path, PROMPT).with("authorization", "Bearer sk-mine");
        self.gateway.ask(&chat).await.status()
    }
}

/// Stores a token of the account `local`.
fn stored(store: &dyn ConfigStore, name: &str, change: impl FnOnce(&mut Token)) -> Secret {
    let mut token = Token::new("local", name);
    change(&mut token);
    tokens::create(store, token, NOW).unwrap()
}

/// A request to the API; `null` is no body.
fn request(method: &str, path: &str, token: &Secret, body: &Value) -> Ask {
    let asked = Ask::new(method, path)
        .with("authorization", &format!("Bearer {}", token.expose()))
        .with("content-type", "application/json");
    if body.is_null() {
        return asked;
    }
    asked.body(body.to_string())
}
