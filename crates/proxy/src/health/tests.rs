use std::time::Duration;

use isango_types::PriceTable;
use isango_types::health::{Breaker, Budget, CircuitState, Group, Hedge, TargetStatus};

use super::target::MAX_BENCH;
use super::*;

/// A target with nothing but its name.
pub(crate) fn target(name: &str) -> Target {
    Target {
        name: name.into(),
        provider: "azure-openai".into(),
        resource: None,
        region: None,
        credential: None,
        models: std::collections::BTreeMap::new(),
        api_version: None,
        base_url: None,
        timeouts: isango_types::policy::Timeouts::default(),
        weight: 1,
    }
}

fn placed(name: &str, resource: &str) -> Arc<Target> {
    Arc::new(Target {
        resource: Some(resource.into()),
        ..target(name)
    })
}

fn gateway(id: &str, targets: &[(&str, &str)]) -> Gateway {
    Gateway {
        targets: targets.iter().map(|(name, at)| placed(name, at)).collect(),
        groups: vec![Group {
            name: "all".into(),
            targets: (0..targets.len()).collect(),
            balance: Balance::Weighted,
            sticky: None,
        }],
        breaker: Some(Breaker {
            consecutive_failures: 1,
            ..Breaker::default()
        }),
        hedge: Some(Hedge {
            budget: Budget {
                percent: 10,
                floor: 0,
            },
            ..Hedge::default()
        }),
        ..Gateway::new("local", id)
    }
}

fn fleet(health: &Health, gateway: Gateway) -> Arc<Fleet> {
    health.fleet(&Arc::new(gateway), Instant::now()).unwrap()
}

fn admit(fleet: &Fleet, name: &str, ask: &Ask, now: Instant) -> Result<Permit, Standing> {
    fleet.target(name).unwrap().admit(fleet.rules(), ask, now)
}

/// The target fails once, which opens its breaker.
fn fails(fleet: &Fleet, name: &str, now: Instant) {
    let mut permit = admit(fleet, name, &Ask::default(), now).unwrap();
    permit.ended(Verdict::Failure, None, None, now);
}

fn rests(fleet: &Fleet, name: &str, now: Instant) -> bool {
    let view = fleet.view(now);
    let found = view.iter().find(|view| *view.target == *name);
    found.unwrap().status.circuit == CircuitState::Open
}

#[test]
fn a_gateway_without_targets_has_no_health() {
    let health = Health::default();
    let gateway = Arc::new(Gateway::new("local", "default"));
    assert!(health.fleet(&gateway, Instant::now()).is_none());
    assert!(health.fleets.read().is_empty());
}

#[test]
fn what_is_known_of_a_target_outlives_a_change_of_the_configuration() {
    let (health, now) = (Health::default(), Instant::now());
    let before = gateway("support", &[("a", "one"), ("b", "two"), ("c", "three")]);
    let before = fleet(&health, before);
    for name in ["a", "b", "c"] {
        fails(&before, name, now);
    }
    // One is the same, one leads elsewhere, one is gone, one is new.
    let after = gateway(
        "support",
        &[("d", "four"), ("b", "elsewhere"), ("a", "one")],
    );
    let after = fleet(&health, after);
    assert!(rests(&after, "a", now));
    assert!(!rests(&after, "b", now) && !rests(&after, "d", now));
    assert!(after.target("c").is_none());
    assert_eq!(health.fleets.read().len(), 1);
}

#[test]
fn gateways_that_vanish_are_forgotten() {
    let (health, now) = (Health::default(), Instant::now());
    let config = |ids: &[&str]| {
        let gateways = ids.iter().map(|id| gateway(id, &[("a", "one")]));
        let prices = Arc::new(PriceTable::bundled());
        Snapshot::new(gateways.collect(), Vec::new(), prices, None, Vec::new())
    };
    let ids = || {
        let fleets = health.fleets.read();
        let ids = fleets.iter().map(|fleet| fleet.gateway().id.to_string());
        ids.collect::<Vec<_>>()
    };
    health.follow(&config(&["y", "x", "z"]), now);
    assert_eq!(ids(), ["x", "y", "z"]);
    fails(&health.fleets.read()[2], "a", now);
    health.follow(&config(&["z"]), now);
    assert_eq!(ids(), ["z"]);
    assert!(rests(&health.fleets.read()[0], "a", now));
}

#[test]
fn a_request_is_under_way_until_its_last_byte() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    let in_flight = || fleet.target("a").unwrap().in_flight();
    let mut first = admit(&fleet, "a", &Ask::default(), now).unwrap();
    let second = admit(&fleet, "a", &Ask::default(), now).unwrap();
    assert_eq!(in_flight(), 2);
    first.ended(Verdict::Success, Some(Duration::from_secs(1)), None, now);
    let busy = first.into_busy();
    drop(second);
    assert_eq!(in_flight(), 1);
    drop(busy);
    assert_eq!(in_flight(), 0);
}

#[test]
fn a_probe_whose_client_leaves_makes_room_for_another() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    fails(&fleet, "a", now);
    let later = now + Breaker::default().rest;
    let probe = admit(&fleet, "a", &Ask::default(), later).unwrap();
    assert!(admit(&fleet, "a", &Ask::default(), later).is_err());
    drop(probe);
    let mut probe = admit(&fleet, "a", &Ask::default(), later).unwrap();
    probe.ended(Verdict::Success, None, None, later);
    drop(probe);
    assert!(!rests(&fleet, "a", later));
}

#[test]
fn a_bench_holds_for_everybody_who_is_counted_together() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    let [model, other] = [1, 2].map(|lane| Ask {
        lane,
        ..Ask::default()
    });
    let mut permit = admit(&fleet, "a", &model, now).unwrap();
    permit.ended(Verdict::Busy, None, None, now);
    permit.bench(Duration::from_hours(2), now);
    let benched = Standing::Benched(now + MAX_BENCH);
    assert_eq!(admit(&fleet, "a", &model, now).unwrap_err(), benched);
    assert!(admit(&fleet, "a", &other, now).is_ok());
    // A shorter wait does not make it shorter.
    permit.bench(Duration::from_secs(1), now);
    assert_eq!(admit(&fleet, "a", &model, now).unwrap_err(), benched);
    assert!(admit(&fleet, "a", &model, now + MAX_BENCH).is_ok());
    // An answer to what was sent before proves nothing, one to what was sent since does.
    permit.ended(Verdict::Success, None, None, now);
    assert!(admit(&fleet, "a", &model, now).is_err());
    permit.begin(now + Duration::from_secs(1));
    permit.ended(Verdict::Success, None, None, now + Duration::from_secs(2));
    assert!(admit(&fleet, "a", &model, now + Duration::from_secs(2)).is_ok());
}

#[test]
fn lanes_are_bounded() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    for lane in 0..1_000 {
        let ask = Ask {
            lane,
            ..Ask::default()
        };
        let now = now + Duration::from_millis(lane);
        let permit = admit(&fleet, "a", &ask, now).unwrap();
        permit.bench(MAX_BENCH, now);
        assert!(matches!(
            admit(&fleet, "a", &ask, now),
            Err(Standing::Benched(_))
        ));
    }
    assert!(admit(&fleet, "a", &Ask::default(), now).is_ok());
}

#[test]
fn a_target_whose_limits_are_nearly_spent_is_passed_over_in_time() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one"), ("b", "two")]));
    let mut headers = http::HeaderMap::new();
    headers.insert("x-ratelimit-remaining-tokens", 250.into());
    let quota = Quota::read(&headers, &isango_types::Clock::default(), now);
    let mut permit = admit(&fleet, "a", &Ask::default(), now).unwrap();
    permit.ended(Verdict::Success, None, quota, now);
    let ask = Ask {
        tokens: 100,
        ..Ask::default()
    };
    let mut firsts = String::new();
    for random in 0..10 {
        let order = fleet.order(0, &ask, (None, random), now);
        firsts += &fleet.gateway().targets[order[0]].name;
        // It is asked all the same if it must be.
        drop(admit(&fleet, &fleet.gateway().targets[order[0]].name, &ask, now).unwrap());
    }
    // Of 250 tokens two requests take 200; what is left does not do.
    assert_eq!(firsts, "ababbbbbbb");
    assert_eq!(
        fleet
            .target("a")
            .unwrap()
            .standing(fleet.rules(), &ask, now),
        Standing::Spent
    );
}

#[test]
fn whether_a_target_is_back_is_found_out_by_the_next_request() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one"), ("b", "two")]));
    fails(&fleet, "a", now);
    let first = |now| fleet.order(0, &Ask::default(), (None, 5), now)[0];
    assert_eq!((first(now), first(now)), (1, 1));
    let later = now + Breaker::default().rest;
    assert_eq!(first(later), 0);
    let probe = admit(&fleet, "a", &Ask::default(), later).unwrap();
    assert_eq!(first(later), 1);
    drop(probe);
}

#[test]
fn hedges_have_their_own_budget() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    (0..50).for_each(|_| fleet.may_be_hedged(now));
    assert_eq!((0..50).filter(|_| fleet.take_hedge(now)).count(), 5);
}

#[test]
fn the_status_tells_what_is_known() {
    let (health, now) = (Health::default(), Instant::now());
    let fleet = fleet(&health, gateway("support", &[("a", "one")]));
    let mut headers = http::HeaderMap::new();
    headers.insert("x-ratelimit-remaining-requests", 7.into());
    let quota = Quota::read(&headers, &isango_types::Clock::default(), now);
    for _ in 0..20 {
        let mut permit = admit(&fleet, "a", &Ask::default(), now).unwrap();
        permit.ended(
            Verdict::Success,
            Some(Duration::from_millis(100)),
            quota,
            now,
        );
    }
    let mut permit = admit(&fleet, "a", &Ask::default(), now).unwrap();
    assert!(fleet.take_retry(fleet.target("a").unwrap(), now));
    permit.ended(Verdict::Failure, None, None, now);
    permit.bench(Duration::from_secs(3), now);
    let view = health.view(now);
    let expected = TargetStatus {
        circuit: CircuitState::Open,
        rest_ms: 5_000,
        benched_ms: 3_000,
        in_flight: 1,
        requests: 21,
        retries: 1,
        ttfb_p95_ms: Some(106),
        stream_ttfb_p95_ms: None,
        remaining_requests: Some(6),
        remaining_tokens: None,
    };
    assert_eq!(view.len(), 1);
    assert_eq!((&*view[0].gateway, &*view[0].target), ("support", "a"));
    assert_eq!(view[0].status, expected);
}
