//! Answers that stand in for a provider that fails.

use isango_testkit::answer::{Answer, Step, json, status as failing};
use isango_testkit::fixtures::COMPLETION;
use isango_testkit::upstream::Upstream;
use isango_types::record::CacheStatus;
use isango_types::{Clock, Timestamp};

use super::{gateway, question, status};
use crate::harness::{Harness, config, providers};

#[tokio::test]
async fn a_provider_that_fails_is_stood_in_for_where_the_gateway_wants_it() {
    let answers = [
        json(COMPLETION),
        failing(503),
        failing(429),
        Answer::raw([Step::Drop]),
    ];
    let upstream = Upstream::start(answers).await;
    let toml = gateway("cache_stale_if_error = \"1h\"") + &providers(&upstream);
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&toml), clock.clone());
    let at = |seconds: u64| {
        clock.set(Timestamp::from_micros(
            (1_795_363_200 + seconds) * 1_000_000,
        ))
    };
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    at(3_700);
    let stale = gateway.ask(&question()).await;
    assert_eq!(
        (stale.status(), status(&stale), stale.text()),
        (200, "STALE", COMPLETION)
    );
    assert_eq!(stale.header("age"), Some("3700"));
    // What the caller did is the caller's to hear.
    let busy = gateway.ask(&question()).await;
    assert_eq!((busy.status(), status(&busy)), (429, "MISS"));
    let stale = gateway.ask(&question()).await;
    assert_eq!((stale.status(), status(&stale)), (200, "STALE"));
    at(7_200);
    let late = gateway.ask(&question()).await;
    assert_eq!((late.status(), status(&late)), (502, "MISS"));
    let mut records = gateway.records(5).await;
    // Those of one moment are in no order.
    records.retain(|record| record.attempts[0].status == Some(503));
    let stale = records.remove(0);
    assert_eq!(stale.cache.unwrap().status, CacheStatus::Stale);
    assert_eq!((stale.cost.nanousd, stale.error), (Some(0), None));
}

#[tokio::test]
async fn without_that_wish_a_failure_is_told() {
    let upstream = Upstream::start([json(COMPLETION), failing(503)]).await;
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&providers(&upstream)), clock.clone());
    gateway.ask(&question()).await;
    clock.set(Timestamp::from_micros(1_795_366_900_000_000));
    let told = gateway.ask(&question()).await;
    assert_eq!((told.status(), status(&told)), (503, "MISS"));
}
