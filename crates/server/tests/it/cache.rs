//! The cache: what is answered from it, what never is, what is told of it.

mod entries;
mod flights;
mod kill;
mod legs;
mod never;
mod outages;
mod payers;
mod scopes;
mod stores;
mod streams;

use isango_testkit::answer::json;
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::PROMPT;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;

use crate::harness::{CHAT, Harness};

/// A token that may empty the cache.
const PURGER: &str = "[[tokens]]\nname = \"purger\"\nsecret = \"isg_0123456789abcdef\"\n\
    scopes = [\"write\"]\n";

/// Where the cache is emptied.
const PURGE: &str = "/client/v4/accounts/local/isango/cache/purge";

/// A purge by the token of [`PURGER`].
fn purge(what: impl Into<bytes::Bytes>) -> Ask {
    Ask::post(PURGE, what).with("authorization", "Bearer isg_0123456789abcdef")
}

/// A question that asks for the cache.
fn question() -> Ask {
    asking(PROMPT)
}

/// The same with another body.
fn asking(body: &str) -> Ask {
    Ask::post(CHAT, body.to_owned())
        .with("authorization", "Bearer sk-one")
        .with("cf-aig-cache-ttl", "3600")
}

/// A gateway `default` with these settings.
fn gateway(settings: &str) -> String {
    format!("[[gateways]]\nid = \"default\"\n{settings}\n")
}

/// A provider whose answers all differ.
async fn counting() -> Upstream {
    let answers = (0..64).map(|n| json(format!(r#"{{"n":{n},"usage":{{"prompt_tokens":1}}}}"#)));
    Upstream::start(answers).await
}

/// What the cache is said to have done.
fn status(reply: &Reply) -> &str {
    reply.header("cf-aig-cache-status").unwrap()
}

/// Waits until so many requests are under way.
pub(crate) async fn under_way(gateway: &Harness, count: usize) {
    let line = format!("isango_requests_in_flight {count}");
    within("requests to be under way", async {
        loop {
            let metrics = isango_testkit::client::ask(gateway.admin, &Ask::get("/metrics")).await;
            if metrics.text().lines().any(|shown| shown == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}
