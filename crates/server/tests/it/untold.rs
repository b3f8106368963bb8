//! Budgets of requests whose price nobody can tell before they are answered: a deployment that is
//! not mapped to a model, a body that is too large to be read. Such a request passes alone.

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::limit::Verdict;
use isango_types::record::{Outcome, Record};
use tokio::task::JoinSet;

use crate::harness::{CHAT, Harness};

/// What [`COMPLETION`] costs, in nano-dollars.
const COST: u64 = 19 * 2_500 + 5 * 10_000;
const CROWD: usize = 256;
/// Crowds, each at a gateway that knows nothing yet.
const ROUNDS: usize = 6;
/// A deployment that no target maps to a model.
const AZURE: &str =
    "/v1/local/default/azure-openai/sa/chat/chat/completions?api-version=2024-10-21";

fn budget(limit: &str, settings: &str) -> String {
    format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.limits]]\nid = \"rule\"\nunit = \"cost\"\n\
         limit = {limit}\nwindow = \"month\"\n{settings}\n"
    )
}

fn asks(path: &str) -> Ask {
    Ask::post(path, PROMPT)
        .with("api-key", "k")
        .with("authorization", "Bearer k")
}

/// What a crowd is answered, what its records say, and how many were sent.
async fn crowd(limit: &str, ask: &Ask, answer: Answer) -> (Vec<Reply>, Vec<Record>, usize) {
    let answer = answer.first(Step::Pause(Duration::from_millis(2)));
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::with(&budget(limit, "max_wait = \"60s\""), &upstream).await;
    let mut asking = JoinSet::new();
    for _ in 0..CROWD {
        let (addr, ask) = (gateway.addr, ask.clone());
        asking.spawn(async move { isango_testkit::client::ask(addr, &ask).await });
    }
    let replies = asking.join_all().await;
    (replies, gateway.records(CROWD).await, upstream.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_a_deployment_that_nobody_mapped_does_not_overspend() {
    let limit = 100 * COST;
    for round in 0..ROUNDS {
        let usd = format!("0.{limit:09}");
        let (replies, records, sent) = crowd(&usd, &asks(AZURE), json(COMPLETION)).await;
        let passed = replies.iter().filter(|reply| reply.status() == 200).count();
        let refused = replies.iter().filter(|reply| reply.status() == 429).count();
        assert_eq!((passed, passed + refused), (sent, CROWD), "round {round}");
        for record in records.iter().filter(|one| one.outcome == Outcome::Refused) {
            assert!(record.attempts.is_empty(), "{record:?}");
        }
        let drawn: u64 = records.iter().map(|record| record.limits[0].charged).sum();
        assert_eq!(drawn, COST * sent as u64);
        assert!(
            (limit * 8 / 10..=limit + COST).contains(&drawn),
            "round {round}: {drawn} of {limit} nano-dollars"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_passes_alone_once_and_then_draws_nothing() {
    let body = PROMPT.replace("gpt-4o", "our-own");
    let named = COMPLETION.replace("gpt-4o-2024-08-06", "our-own");
    let silent = named.split_once(r#","usage""#).unwrap().0.to_owned() + "}";
    for answer in [named, silent] {
        let ask = asks(CHAT).body(body.clone());
        let (replies, records, sent) = crowd("0.0001", &ask, json(answer)).await;
        assert!(replies.iter().all(|reply| reply.status() == 200));
        assert_eq!(sent, CROWD);
        let held = |record: &&Record| record.limits[0].reserved > 0;
        let alone: Vec<_> = records.iter().filter(held).collect();
        // Another may have asked in the very moment in which the first one ended.
        assert!(
            (1..=3).contains(&alone.len()),
            "{} had all of it",
            alone.len()
        );
        assert!(alone.iter().all(|one| one.limits[0].reserved == 100_000));
        for record in &records {
            let one = &record.limits[0];
            assert_eq!(
                (one.verdict, one.charged, record.cost.nanousd),
                (Verdict::Admitted, 0, None)
            );
        }
    }
}

#[tokio::test]
async fn what_is_left_is_for_one_alone_also_where_little_is() {
    let upstream = Upstream::start([json(COMPLETION), json(COMPLETION).first(Step::Wait)]).await;
    // Nine tenths are drawn by the first one.
    let gateway = Harness::with(&budget("0.000108", "max_wait = \"0s\""), &upstream).await;
    assert_eq!(gateway.ask(&asks(CHAT)).await.status(), 200);
    gateway.records(1).await;
    let mut alone = gateway.send(&asks(AZURE)).await;
    upstream.request(1).await;
    // Neither one that can be told nor one that cannot passes beside it.
    assert_eq!(gateway.ask(&asks(CHAT)).await.status(), 429);
    let reply = gateway.ask(&asks(AZURE)).await;
    let text = reply.text();
    assert_eq!(reply.status(), 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(
        text.contains("requests under way hold what is left"),
        "{text}"
    );
    assert!(!text.contains("may need"), "{text}");
    upstream.go();
    assert_eq!(alone.reply().await.status(), 200);
    let records = gateway.records(4).await;
    let last = records
        .iter()
        .find(|one| one.attempts.len() == 1 && one.deployment.is_some());
    let one = &last.unwrap().limits[0];
    assert_eq!(
        (one.before, one.reserved, one.charged),
        (COST, 108_000 - COST, COST)
    );
    let reply = gateway.ask(&asks(AZURE)).await;
    assert_eq!(reply.status(), 429);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_body_that_nobody_read_may_be_for_any_model() {
    let upstream = Upstream::start([json(COMPLETION), json(COMPLETION).first(Step::Wait)]).await;
    let gateway = Harness::with(&budget("100", "max_wait = \"0s\""), &upstream).await;
    let pad = "lion ".repeat(1 << 20);
    let large = PROMPT.replacen('{', &format!("{{\"user\":\"{pad}\","), 1);
    let large = asks(CHAT).body(large);
    // One answer does not tell what the next one is for.
    assert_eq!(gateway.ask(&large).await.status(), 200);
    gateway.records(1).await;
    let mut alone = gateway.send(&large).await;
    upstream.request(1).await;
    assert_eq!(gateway.ask(&large).await.status(), 429);
    upstream.go();
    assert_eq!(alone.reply().await.status(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_costs_nothing_is_not_alone() {
    let upstream = Upstream::start([json("{\"data\":[]}").first(Step::Wait)]).await;
    let gateway = Harness::with(&budget("1", "max_wait = \"0s\""), &upstream).await;
    let list = Ask::get("/v1/local/default/openai/models").with("authorization", "Bearer k");
    let mut two = [gateway.send(&list).await, gateway.send(&list).await];
    for at in 0..2 {
        upstream.request(at).await;
    }
    upstream.go();
    upstream.go();
    for client in &mut two {
        assert_eq!(client.reply().await.status(), 200);
    }
}
