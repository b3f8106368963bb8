//! Legs of the Universal endpoint: each is a question of its own.

use isango_testkit::answer::{json, status as failing};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::COMPLETION;
use isango_testkit::upstream::Upstream;
use isango_types::record::CacheStatus;
use isango_types::{Clock, Timestamp};

use super::{gateway, status};
use crate::harness::{Harness, config, providers};

/// A leg with this time to live, in seconds.
fn leg(model: &str, ttl: u32) -> String {
    format!(
        "{{\"provider\":\"openai\",\"endpoint\":\"chat/completions\",\
         \"headers\":{{\"authorization\":\"Bearer sk-one\",\"cf-aig-cache-ttl\":\"{ttl}\"}},\
         \"query\":{{\"model\":\"{model}\"}}}}"
    )
}

fn asking(legs: &[String]) -> Ask {
    Ask::post("/v1/local/default", format!("[{}]", legs.join(",")))
}

#[tokio::test]
async fn each_leg_of_a_universal_request_is_a_question() {
    let upstream = Upstream::start([failing(503), json(COMPLETION), failing(500)]).await;
    let gateway = Harness::before(&upstream).await;
    let ask = asking(&[leg("gpt-4o", 0), leg("gpt-4.1", 600)]);
    let paid = gateway.ask(&ask).await;
    assert_eq!(
        (status(&paid), paid.header("cf-aig-step")),
        ("MISS", Some("1"))
    );
    // The first leg is asked again, and fails; the answer of the second is kept.
    let kept = gateway.ask(&ask).await;
    assert_eq!((status(&kept), kept.text()), ("HIT", COMPLETION));
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn what_is_told_is_told_of_the_leg_that_answered() {
    let upstream = Upstream::start([failing(503), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let ask = asking(&[leg("gpt-4o", 600), leg("gpt-4.1", 0)]);
    let reply = gateway.ask(&ask).await;
    assert_eq!((reply.status(), status(&reply)), (200, "BYPASS"));
    assert_eq!(gateway.record().await.cache, None);
    // Of failures, the one that is told.
    let upstream = Upstream::start([failing(404), failing(503)]).await;
    let gateway = Harness::before(&upstream).await;
    let ask = asking(&[leg("gpt-4o", 600), leg("gpt-4.1", 0)]);
    let reply = gateway.ask(&ask).await;
    let of_first = reply.header("cf-aig-step") == Some("0");
    assert_eq!(status(&reply) == "MISS", of_first, "{reply:?}");
}

#[tokio::test]
async fn a_leg_that_is_answered_from_the_cache_needs_no_tokens() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let limit = "[[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 24\nwindow = \"day\"\n\
                 mode = \"relaxed\"\n";
    let gateway = Harness::with(&gateway(limit), &upstream).await;
    let ask = asking(&[leg("gpt-4o", 600)]);
    assert_eq!(status(&gateway.ask(&ask).await), "MISS");
    gateway.records(1).await;
    let kept = gateway.ask(&ask).await;
    assert_eq!((kept.status(), status(&kept)), (200, "HIT"));
    let other = gateway.ask(&asking(&[leg("gpt-4.1", 600)])).await;
    assert_eq!(other.status(), 429);
}

#[tokio::test]
async fn an_old_answer_stands_in_when_all_legs_fail() {
    let script = [
        json(COMPLETION),
        failing(503),
        failing(404),
        failing(404),
        failing(404),
    ];
    let upstream = Upstream::start(script).await;
    let toml = gateway("cache_stale_if_error = \"1h\"") + &providers(&upstream);
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&toml), clock.clone());
    let ask = asking(&[leg("gpt-4o", 600), leg("gpt-4.1", 0)]);
    assert_eq!(status(&gateway.ask(&ask).await), "MISS");
    clock.set(Timestamp::from_micros(1_795_364_000_000_000));
    let stale = gateway.ask(&ask).await;
    assert_eq!(
        (stale.status(), status(&stale), stale.text()),
        (200, "STALE", COMPLETION)
    );
    assert_eq!(stale.header("cf-aig-step"), Some("0"));
    assert_eq!(stale.header("age"), Some("800"));
    let record = gateway.records(2).await.remove(1);
    assert_eq!(record.cache.unwrap().status, CacheStatus::Stale);
    assert_eq!((record.cost.nanousd, record.attempts.len()), (Some(0), 2));
    // What is no outage is told.
    let told = gateway.ask(&ask).await;
    assert_eq!((told.status(), upstream.count()), (404, 5));
}
