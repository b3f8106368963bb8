//! How alerts stand, and quiet.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use isango_types::snapshot::OfAccount;

use super::*;

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// How the only alert of the world stands.
fn standing(world: &World, alerts: &Alerts) -> Standing {
    let gateway = Arc::new(world.gateway.clone());
    let alert = Arc::clone(&gateway.alerts[0]);
    alerts.standings(&[(gateway, alert)]).remove(0)
}

#[test]
fn an_alert_of_a_limit_fires_until_the_window_ends() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let alerts = world.start();
    assert_eq!(standing(&world, &alerts), Standing::default());
    for tenant in ["acme", "globex"] {
        world.set(tenant, 400);
        alerts.observe(&[of_tenant(tenant, Verdict::Admitted, NOW)]);
    }
    let told = standing(&world, &alerts);
    assert_eq!((told.is_firing, told.fired), (true, 2));
    assert_eq!(told.last_fired_at, Some(NOW));
    // The window ends at midnight, two hours later.
    world.clock.set(after(7_199));
    assert!(standing(&world, &alerts).is_firing);
    world.clock.set(after(7_200));
    let told = standing(&world, &alerts);
    assert_eq!((told.is_firing, told.fired), (false, 2));
}

#[test]
fn an_alert_of_requests_fires_while_too_many_of_them_are_of_its_kind() {
    let world = World::new(vec![failing(50)]);
    let alerts = world.start();
    let failed = request(Some(Blame::Upstream), Outcome::Answered);
    alerts.observe(&vec![failed; 9]);
    assert!(!standing(&world, &alerts).is_firing, "nine are too few");
    let fine = request(None, Outcome::Answered);
    alerts.observe(std::slice::from_ref(&fine));
    assert!(standing(&world, &alerts).is_firing);
    alerts.observe(&vec![fine; 8]);
    let told = standing(&world, &alerts);
    assert_eq!((told.is_firing, told.fired), (false, 1), "half are well");
}

#[test]
fn old_requests_make_nothing_fire() {
    let world = World::new(vec![failing(50)]);
    let alerts = world.start();
    alerts.observe(&vec![request(Some(Blame::Upstream), Outcome::Answered); 10]);
    world.clock.set(after(299));
    assert!(standing(&world, &alerts).is_firing);
    world.clock.set(after(330));
    assert!(!standing(&world, &alerts).is_firing);
}

#[test]
fn an_alert_that_is_quiet_is_told_when_it_may_speak_again() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false), failing(50)]);
    let alerts = world.start();
    let muted = ["support/spend-80", "support/failing"].map(|name| (name.into(), after(60)));
    let own = OfAccount {
        muted: BTreeMap::from(muted),
        ..OfAccount::default()
    };
    let prices = Arc::new(PriceTable::bundled());
    let gateways = vec![world.gateway.clone()];
    let config = Snapshot::new(gateways, Vec::new(), prices, None, Vec::new());
    let accounts = BTreeMap::from([("local".into(), own)]);
    alerts.parts.config.swap(config.with_accounts(accounts));
    world.set("acme", 400);
    let drawn = of_tenant("acme", Verdict::Admitted, NOW);
    let failed = request(Some(Blame::Upstream), Outcome::Answered);
    let look = |at: u64| {
        world.clock.set(after(at));
        alerts.observe(&vec![failed.clone(); 10]);
        alerts.observe(std::slice::from_ref(&drawn));
        alerts.persist();
        told(&world).len()
    };
    assert_eq!(look(0), 0);
    assert_eq!(look(59), 0);
    assert_eq!(standing(&world, &alerts).last_fired_at, None);
    assert_eq!(look(60), 2);
    assert_eq!(look(61), 2);
}

#[test]
fn what_became_of_the_last_try_is_known() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    let letter = alerts.watch.lock().pending[0].clone();
    let posted = |status: StatusCode| {
        Ok(Posted {
            status,
            retry_after: None,
            text: "planted".into(),
        })
    };
    let land = |said: Result<Posted, String>, at: u64| {
        alerts.watch.lock().landed(&letter, &said, after(at));
        standing(&world, &alerts)
    };
    let failed = land(posted(StatusCode::GONE), 1);
    let why = "its webhook answers 410 Gone";
    assert_eq!(failed.failure, Some((after(1), why.into())));
    let failed = land(Err("connect_timeout".into()), 2);
    assert_eq!(failed.failure, Some((after(2), "connect_timeout".into())));
    assert_eq!(failed.delivered_at, None);
    let taken = land(posted(StatusCode::OK), 3);
    assert_eq!((taken.delivered_at, taken.failure), (Some(after(3)), None));
    alerts
        .watch
        .lock()
        .count_waiting([&letter, &letter].into_iter());
    assert_eq!(standing(&world, &alerts).waiting, 2);
    alerts.watch.lock().count_waiting([].into_iter());
    assert_eq!(standing(&world, &alerts).waiting, 0);
}

#[test]
fn an_alert_that_is_gone_is_forgotten() {
    let mut world = World::new(vec![drawn_alert(&daily(), 80, false), failing(50)]);
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    alerts.observe(&[request(None, Outcome::Answered)]);
    let sizes = |alerts: &Alerts| {
        let watch = alerts.watch.lock();
        (watch.standings.len(), watch.rolling.len())
    };
    assert_eq!(sizes(&alerts), (1, 1));
    world.gateway.alerts.clear();
    let empty = world.start().parts.config.get();
    alerts.watch.lock().sweep(&empty, NOW);
    assert_eq!(sizes(&alerts), (0, 0));
}
