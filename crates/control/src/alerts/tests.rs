mod delivery;
mod standing;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use isango_store::conformance::sample;
use isango_store::memory::MemoryOutbox;
use isango_types::alert::{Format, Webhook};
use isango_types::limit::{
    Decision, Dialect, Dimension, Mode, OnExceeded, OnOverrun, Period, Unit, Verdict, Window,
};
use isango_types::record::{Blame, Outcome, RecordError};
use isango_types::{CostStatus, PriceTable, Secret, Snapshot};
use proptest::prelude::*;

use super::*;

/// A Sunday, 22:00 UTC.
const NOW: Timestamp = Timestamp::from_micros(1_795_384_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn limit(window: Window) -> Limit {
    Limit {
        id: "spend".into(),
        by: vec![Dimension::Metadata("tenantId".into())],
        only: Vec::new(),
        unit: Unit::Cost,
        limit: 500_000_000_000,
        window,
        mode: Mode::Strict,
        on_exceeded: OnExceeded::Block,
        on_overrun: OnOverrun::Extend,
        shadow: false,
        max_wait: Duration::ZERO,
        dialect: Dialect::Limit,
    }
}

fn daily() -> Limit {
    limit(Window::calendar(Period::Day, "UTC").unwrap())
}

fn webhook(format: Format) -> Webhook {
    let (url, key) = (
        Secret::new("http://127.0.0.1:9/secret"),
        Secret::new("0123456789abcdef"),
    );
    Webhook::parse(&url, false, format, Some(key)).unwrap()
}

fn alert(id: &str, when: When) -> Arc<Alert> {
    Arc::new(Alert {
        id: id.into(),
        when,
        webhook: webhook(Format::Json),
    })
}

fn drawn_alert(limit: &Limit, percent: u32, forecast: bool) -> Arc<Alert> {
    let when = When::Drawn {
        limit: Arc::new(limit.clone()),
        share: Share::from_millionths(percent * 10_000),
        forecast,
    };
    alert(&format!("spend-{percent}"), when)
}

fn gateway(alerts: Vec<Arc<Alert>>) -> Gateway {
    Gateway {
        alerts,
        ..Gateway::new("local", "support")
    }
}

/// What is drawn from each bucket, as the data plane would tell it.
type Counters = Arc<Mutex<HashMap<Box<str>, u64>>>;

/// Alerts as a process has them, and what outlives it.
struct World {
    clock: Clock,
    counters: Counters,
    outbox: Arc<dyn Outbox>,
    gateway: Gateway,
}

impl World {
    fn new(alerts: Vec<Arc<Alert>>) -> Self {
        Self {
            clock: Clock::manual(NOW),
            counters: Counters::default(),
            outbox: Arc::new(MemoryOutbox::default()),
            gateway: gateway(alerts),
        }
    }

    fn start(&self) -> Arc<Alerts> {
        let gateways = vec![self.gateway.clone()];
        let prices = Arc::new(PriceTable::bundled());
        let config = Snapshot::new(gateways, Vec::new(), prices, None, Vec::new());
        let counters = Arc::clone(&self.counters);
        let drawn = move |_: &Gateway, _: &Limit, bucket: &[Option<Box<str>>], _| {
            let tenant = bucket.first().cloned().flatten().unwrap_or_default();
            counters.lock().get(&tenant).copied().unwrap_or(0)
        };
        let parts = Parts {
            config: Arc::new(SnapshotCell::new(config)),
            clock: self.clock.clone(),
            drawn: Box::new(drawn),
            outbox: Arc::clone(&self.outbox),
            dashboard: Some("https://isango.example.com/".into()),
        };
        Arc::new(Alerts::new(parts, &mut Registry::default()))
    }

    fn set(&self, tenant: &str, dollars: u64) {
        self.counters
            .lock()
            .insert(tenant.into(), dollars * 1_000_000_000);
    }
}

/// The record of a request of a tenant that drew from `spend`.
fn of_tenant(tenant: &str, verdict: Verdict, at: Timestamp) -> Record {
    let decision = Decision {
        rule: "spend".into(),
        bucket: vec![Some(tenant.into())],
        unit: Unit::Cost,
        verdict,
        limit: 500_000_000_000,
        before: 0,
        reserved: 0,
        charged: 1,
        after: 1,
        at,
    };
    Record {
        account: "local".into(),
        gateway: "support".into(),
        limits: vec![decision],
        ..sample::record(1)
    }
}

/// What is in the outbox.
fn told(world: &World) -> Vec<Event> {
    let letters = world.outbox.waiting().unwrap();
    letters
        .iter()
        .map(|letter| serde_json::from_str(&letter.event).unwrap())
        .collect()
}

#[track_caller]
fn check_crossing(dollars: u64, verdict: Verdict, percent: u32, expected: Option<&str>) {
    let world = World::new(vec![drawn_alert(&daily(), percent, false)]);
    let alerts = world.start();
    world.set("acme", dollars);
    alerts.observe(&[of_tenant("acme", verdict, NOW)]);
    alerts.persist();
    let told: Vec<String> = told(&world)
        .into_iter()
        .map(|event| event.summary)
        .collect();
    assert_eq!(told, Vec::from_iter(expected));
}

#[test]
fn a_limit_is_told_from_its_share_on() {
    let at = |dollars, expected| check_crossing(dollars, Verdict::Admitted, 80, expected);
    at(399, None);
    at(
        400,
        Some("80.0 % of limit spend is drawn: $400.00 of $500.00 per day, tenantId acme"),
    );
    at(
        501,
        Some("100.2 % of limit spend is drawn: $501.00 of $500.00 per day, tenantId acme"),
    );
    check_crossing(499, Verdict::Admitted, 100, None);
}

#[test]
fn a_request_that_finds_no_room_shows_that_a_limit_is_spent() {
    let spent = "90.0 % of limit spend is drawn: $450.00 of $500.00 per day, tenantId acme";
    for verdict in [Verdict::Refused, Verdict::Warned, Verdict::Shadow] {
        check_crossing(450, verdict, 100, Some(spent));
        // It was too large.
        check_crossing(100, verdict, 100, None);
        // Beyond the limit only what is drawn counts.
        check_crossing(450, verdict, 120, None);
    }
}

#[test]
fn a_refusal_of_an_earlier_window_says_nothing_of_this_one() {
    let world = World::new(vec![drawn_alert(&daily(), 100, false)]);
    let alerts = world.start();
    world.set("acme", 450);
    alerts.observe(&[of_tenant("acme", Verdict::Refused, NOW.minus(DAY))]);
    alerts.persist();
    assert_eq!(told(&world), []);
}

#[test]
fn a_forecast_tells_what_the_window_will_end_with() {
    let world = World::new(vec![drawn_alert(&daily(), 100, true)]);
    let alerts = world.start();
    let record = of_tenant("acme", Verdict::Admitted, NOW);
    // 22 of 24 hours have passed.
    world.set("acme", 458);
    alerts.observe(std::slice::from_ref(&record));
    world.set("acme", 459);
    alerts.observe(std::slice::from_ref(&record));
    alerts.persist();
    let [event] = &told(&world)[..] else {
        panic!("{:?}", told(&world))
    };
    assert_eq!(&*event.kind, "forecast");
    assert_eq!(
        event.summary,
        "limit spend will be passed: $500.72 of $500.00 per day by 2026-11-23T00:00:00.000000Z, \
         $459.00 so far, tenantId acme"
    );
    // In the first hour nothing is foretold.
    let world = World::new(vec![drawn_alert(&daily(), 100, true)]);
    world
        .clock
        .set(Timestamp::parse("2026-11-23T00:30:00Z").unwrap());
    let alerts = world.start();
    world.set("acme", 100);
    alerts.observe(&[record]);
    alerts.persist();
    assert_eq!(told(&world), []);
}

#[test]
fn what_an_earlier_process_did_not_judge_is_told_after_the_start() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let record = of_tenant("acme", Verdict::Admitted, NOW);
    world.set("acme", 400);
    // Decided, and gone with the process before it was kept.
    world.start().observe(std::slice::from_ref(&record));
    assert_eq!(told(&world), []);
    let next = world.start();
    next.look_back(std::slice::from_ref(&record));
    next.persist();
    assert_eq!(told(&world).len(), 1);
    // Kept, and not told again.
    let last = world.start();
    last.look_back(std::slice::from_ref(&record));
    last.observe(&[record]);
    last.persist();
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn a_raised_limit_is_another_matter() {
    let mut world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let record = of_tenant("acme", Verdict::Admitted, NOW);
    let look = |world: &World| {
        let alerts = world.start();
        alerts.observe(std::slice::from_ref(&record));
        alerts.persist();
        told(world).len()
    };
    world.set("acme", 450);
    assert_eq!(look(&world), 1);
    let raised = Limit {
        limit: 550_000_000_000,
        ..daily()
    };
    world.gateway = gateway(vec![drawn_alert(&raised, 80, false)]);
    assert_eq!(look(&world), 2);
    assert_eq!(look(&world), 2);
}

fn failing(share: u32) -> Arc<Alert> {
    let when = When::Often {
        kind: Kind::Failed,
        share: Share::from_millionths(share * 10_000),
        window: Duration::from_secs(300),
        min_requests: 10,
        repeat_after: Duration::from_secs(3_600),
    };
    alert("failing", when)
}

fn request(blame: Option<Blame>, outcome: Outcome) -> Record {
    let error = blame.map(|blame| RecordError {
        code: "upstream_500".into(),
        blame,
        message: "it failed".into(),
    });
    Record {
        account: "local".into(),
        gateway: "support".into(),
        outcome,
        error,
        limits: Vec::new(),
        ..sample::record(1)
    }
}

#[test]
fn failures_are_told_when_there_are_many_among_enough_requests() {
    let world = World::new(vec![failing(50)]);
    let alerts = world.start();
    let failed = request(Some(Blame::Upstream), Outcome::Answered);
    let fine = request(None, Outcome::Answered);
    let refused = request(Some(Blame::Client), Outcome::Refused);
    let count = || {
        alerts.persist();
        told(&world).len()
    };
    alerts.observe(&vec![failed.clone(); 9]);
    alerts.observe(&vec![refused; 90]);
    assert_eq!(count(), 0, "nine are too few");
    alerts.observe(std::slice::from_ref(&fine));
    assert_eq!(count(), 1);
    let event = told(&world).remove(0);
    assert_eq!(
        event.summary,
        "90.0 % of 10 requests in 300 s failed: more than 50 %"
    );
    alerts.observe(&vec![failed.clone(); 10]);
    assert_eq!(count(), 1, "it is quiet for an hour");
    // An hour later those of then are forgotten, and new ones are told again.
    world.clock.set(NOW.plus(Duration::from_secs(3_601)));
    alerts.observe(&vec![failed.clone(); 9]);
    assert_eq!(count(), 1);
    alerts.observe(&[failed]);
    assert_eq!(count(), 2);
}

#[test]
fn a_percentile_is_over_when_more_than_its_rest_is() {
    let rolling = &mut Rolling::new(Duration::from_secs(60));
    let kind = Kind::FirstByte(Duration::from_secs(2));
    let mut slow = request(None, Outcome::Answered);
    slow.status = Some(200);
    slow.attempts = vec![isango_types::record::Attempt::default()];
    slow.timing.ttfb_us = Some(2_000_001);
    let mut quick = slow.clone();
    quick.timing.ttfb_us = Some(2_000_000);
    let window = Duration::from_secs(60);
    let mut see = |record: &Record, seconds| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let seen = rolling.see(kind, window, record, now)?;
        Some((seen.of_kind, seen.total))
    };
    assert_eq!(see(&slow, 0), Some((1, 1)));
    assert_eq!(see(&quick, 30), Some((1, 2)));
    let mut unsent = slow.clone();
    unsent.attempts.clear();
    assert_eq!(see(&unsent, 30), None);
    assert_eq!(
        see(&quick, 65),
        Some((0, 2)),
        "the first is out of the window"
    );
    let five = Share::from_millionths(50_000);
    assert!(!five.is_passed_by(5, 100) && five.is_passed_by(6, 100));
}

#[test]
fn a_request_is_judged_by_what_it_shows() {
    let check = |kind: Kind, record: &Record, expected: Option<bool>| {
        let window = Duration::from_secs(60);
        let seen = Rolling::new(window).see(kind, window, record, NOW);
        assert_eq!(
            seen.map(|seen| seen.of_kind == 1),
            expected,
            "{kind:?} {:?}",
            record.outcome
        );
    };
    let sent = |status, total_us| {
        let mut record = request(None, Outcome::Answered);
        record.attempts = vec![isango_types::record::Attempt::default()];
        (record.status, record.timing.total_us) = (Some(status), total_us);
        record
    };
    let late = Kind::Total(Duration::from_secs(1));
    check(late, &sent(200, 1_000_001), Some(true));
    check(late, &sent(200, 1_000_000), Some(false));
    check(late, &sent(500, 1_000_001), None);
    let mut left = sent(200, 9_000_000);
    left.outcome = Outcome::ClientLeft;
    check(late, &left, None);
    let mut cached = sent(200, 5);
    cached.attempts.clear();
    check(late, &cached, None);
    for (status, expected) in [
        (CostStatus::Unpriced, Some(true)),
        (CostStatus::NoUsage, Some(true)),
        (CostStatus::Priced, Some(false)),
        (CostStatus::Estimated, Some(false)),
        (CostStatus::Custom, Some(false)),
        (CostStatus::Free, None),
    ] {
        let mut record = sent(200, 5);
        record.cost.status = status;
        check(Kind::Unpriced, &record, expected);
    }
    for (blame, outcome, expected) in [
        (None, Outcome::Answered, Some(false)),
        (Some(Blame::Upstream), Outcome::Answered, Some(true)),
        (Some(Blame::Upstream), Outcome::UpstreamCut, Some(true)),
        (Some(Blame::Gateway), Outcome::Refused, Some(true)),
        (Some(Blame::Client), Outcome::ClientLeft, Some(false)),
        (Some(Blame::Client), Outcome::Refused, None),
    ] {
        check(Kind::Failed, &request(blame, outcome), expected);
    }
}

/// A step of a random run.
#[derive(Clone, Debug)]
enum Step {
    /// A tenant draws so many dollars.
    Draw(usize, u64),
    /// So many hours pass.
    Wait(u64),
    /// What was decided is kept.
    Keep,
    /// The process is killed and started again.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3_usize, 1..150_u64).prop_map(|(tenant, dollars)| Step::Draw(tenant, dollars)),
        2 => (1..30_u64).prop_map(Step::Wait),
        4 => Just(Step::Keep),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Every bucket that passes a threshold in a window is told exactly once for it, through kills:
    /// those of which nobody was told before the window's end were never kept.
    #[test]
    fn each_threshold_of_a_bucket_is_told_once_a_window(steps in steps()) {
        let thresholds = [50, 80, 100];
        let limit = daily();
        let world = World::new(
            thresholds.iter().map(|percent| drawn_alert(&limit, *percent, false)).collect(),
        );
        let tenants = ["acme", "globex", "a\0b"];
        let mut alerts = world.start();
        let mut now = NOW;
        let mut used: BTreeMap<(Timestamp, usize), u64> = BTreeMap::new();
        let mut latest: Vec<Record> = Vec::new();
        for step in steps.into_iter().chain([Step::Kill, Step::Keep]) {
            match step {
                Step::Draw(tenant, dollars) => {
                    let (start, _) = limit.window.around(now);
                    let sum = used.entry((start, tenant)).or_default();
                    *sum += dollars;
                    world.set(tenants[tenant], *sum);
                    let record = of_tenant(tenants[tenant], Verdict::Admitted, now);
                    alerts.observe(std::slice::from_ref(&record));
                    latest.push(record);
                }
                Step::Wait(hours) => {
                    // Kept at the latest before the window turns: that is a matter of milliseconds.
                    alerts.persist();
                    let (before, _) = limit.window.around(now);
                    now = now.plus(Duration::from_secs(hours * 3_600));
                    world.clock.set(now);
                    if limit.window.around(now).0 != before {
                        world.counters.lock().clear();
                    }
                }
                Step::Keep => alerts.persist(),
                Step::Kill => {
                    alerts = world.start();
                    let taken = world.outbox.taken(now).unwrap();
                    alerts.watch.lock().taken.extend(taken);
                    alerts.look_back(&latest);
                }
            }
        }
        let mut expected = Vec::new();
        for ((start, tenant), sum) in used {
            for percent in thresholds.iter().filter(|percent| sum >= 5 * u64::from(**percent)) {
                expected.push((start, tenants[tenant].to_owned(), *percent));
            }
        }
        let mut found: Vec<_> = told(&world)
            .into_iter()
            .map(|event| {
                let limit = event.limit.unwrap();
                let tenant = limit.bucket[0].value.clone().unwrap().into_string();
                let percent = event.alert.rsplit('-').next().unwrap().parse().unwrap();
                (limit.start, tenant, percent)
            })
            .collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_message_for_slack_is_blocks_of_plain_text() {
    let limit = daily();
    let mut event = test_event(
        &gateway(Vec::new()),
        &drawn_alert(&limit, 80, false),
        NOW,
        Some("https://isango.example.com"),
    );
    let of_limit = event.limit.as_mut().unwrap();
    of_limit.bucket[0].value = Some("<!channel> *a*".into());
    of_limit.top_models = vec![event::OfModel {
        model: "gpt-4o".into(),
        drawn: 300_000_000_000,
    }];
    let message = slack::message(&event);
    let blocks = message["blocks"].as_array().unwrap();
    let kinds: Vec<_> = blocks
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["header", "section", "section", "section", "context"]
    );
    assert_eq!(blocks[0]["text"]["text"], "Test: 80.0 % of spend is drawn");
    let fields = blocks[1]["fields"].as_array().unwrap();
    let texts: Vec<_> = fields
        .iter()
        .map(|field| field["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "Gateway\nsupport (account local)",
            "tenantId\n<!channel> *a*",
            "Drawn\n$400.00 (80.0 %)",
            "Limit\n$500.00 per day",
            "Window ends\n2026-11-23T00:00:00.000000Z",
        ]
    );
    assert!(fields.iter().all(|field| field["type"] == "plain_text"));
    assert_eq!(blocks[2]["text"]["text"], "Top models\n• gpt-4o: $300.00");
    let link = blocks[3]["text"]["text"].as_str().unwrap();
    assert!(
        link.starts_with("<https://isango.example.com/requests?q=account"),
        "{link}"
    );
    assert!(
        !message["text"].as_str().unwrap().contains('<'),
        "{message}"
    );
}

#[test]
fn a_link_asks_for_the_requests_of_its_bucket() {
    let values = [Some(r#"a "b" \c"#.into())];
    let filter = models::filter(&gateway(Vec::new()), &daily(), &values, NOW);
    let filter = isango_store::Filter::parse(&filter, NOW).unwrap();
    let mut record = of_tenant("acme", Verdict::Admitted, NOW);
    record.created_at = NOW;
    assert!(!filter.matches(&record));
    let tenant = isango_types::record::MetadataValue::Text(r#"a "b" \c"#.into());
    record.metadata.insert("tenantId".into(), tenant);
    assert!(filter.matches(&record), "{filter}");
    record.created_at = NOW.minus(DAY);
    assert!(!filter.matches(&record));
}
