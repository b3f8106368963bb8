use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isango_types::limit::{
    Dialect, Dimension, Mode, OnExceeded, OnOverrun, Period, Unit, Verdict, Window,
};
use isango_types::{Gateway, Limit, RecordId, Timestamp};

use super::{Limits, OTHERS, Permit, Refusal, Spent, Want};

/// 100 of a unit in a minute, by tenant.
pub(super) fn limit(unit: Unit) -> Limit {
    Limit {
        id: "rule".into(),
        by: vec![Dimension::Metadata("tenantId".into())],
        only: Vec::new(),
        unit,
        limit: 100,
        window: Window::Fixed(Duration::from_secs(60)),
        mode: Mode::Strict,
        on_exceeded: OnExceeded::Block,
        on_overrun: OnOverrun::Extend,
        shadow: false,
        max_wait: Duration::ZERO,
        dialect: Dialect::Limit,
    }
}

pub(super) fn gateway(limit: &Arc<Limit>) -> Gateway {
    Gateway {
        limits: vec![Arc::clone(limit)],
        ..Gateway::new("local", "support")
    }
}

pub(super) fn want<'l>(limit: &'l Arc<Limit>, tenant: &str, need: u64, least: u64) -> Want<'l> {
    Want {
        limit,
        values: vec![Some(tenant.into())],
        need: Some(need),
        least,
        likely: need,
        fixed: 0,
        is_passed: false,
        place: None,
        crowded: None,
    }
}

/// A Monday, 10 seconds into a minute.
const NOW: Timestamp = Timestamp::from_micros(1_795_363_810_000_000);

fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// One limit and its buckets.
struct One {
    limits: Arc<Limits>,
    limit: Arc<Limit>,
    gateway: Gateway,
}

impl One {
    fn new(limit: Limit) -> Self {
        let limit = Arc::new(limit);
        Self {
            limits: Arc::default(),
            gateway: gateway(&limit),
            limit,
        }
    }

    fn draw(&self, tenant: &str, need: u64, now: Timestamp) -> Result<Permit, Box<Refusal>> {
        self.draw_at_least(tenant, need, 0, now)
    }

    fn draw_at_least(
        &self,
        tenant: &str,
        need: u64,
        least: u64,
        now: Timestamp,
    ) -> Result<Permit, Box<Refusal>> {
        let wants = vec![want(&self.limit, tenant, need, least)];
        let (leases, headroom) = self.limits.draw(&self.gateway, wants, now)?;
        let mut permit = Permit::new(Arc::clone(&self.limits));
        permit.take(leases, headroom);
        Ok(permit)
    }

    fn sends(&self, permit: &mut Permit) {
        permit.sent();
        permit.commit(RecordId::new(NOW), &self.gateway);
    }

    /// How many of so many requests of one each are admitted, and held.
    fn admits(&self, tenant: &str, count: usize, now: Timestamp) -> Vec<Permit> {
        (0..count)
            .filter_map(|_| self.draw(tenant, 1, now).ok())
            .collect()
    }
}

fn tokens(charged: u64) -> Spent<'static> {
    Spent {
        requests: 1,
        tokens: Some(charged),
        nanousd: Some(charged),
        ..Spent::default()
    }
}

#[test]
fn a_fixed_window_admits_its_limit_and_opens_at_its_end() {
    let one = One::new(limit(Unit::Requests));
    assert_eq!(one.admits("a", 150, NOW).len(), 100);
    let one = One::new(limit(Unit::Requests));
    for permit in one.admits("a", 150, NOW) {
        permit.settle(&tokens(1));
    }
    assert_eq!(one.admits("b", 150, NOW).len(), 100, "tenants are apart");
    let refusal = one.draw("a", 1, at(1)).unwrap_err();
    assert!(!refusal.busy);
    assert_eq!((refusal.opens_at, refusal.remaining), (at(50), 0));
    assert_eq!(one.admits("a", 150, at(49)).len(), 0);
    assert_eq!(one.admits("a", 150, at(50)).len(), 100);
}

#[test]
fn a_rolling_window_is_exact_for_requests() {
    let rule = Limit {
        limit: 3,
        window: Window::Sliding(Duration::from_secs(10)),
        ..limit(Unit::Requests)
    };
    let one = One::new(rule);
    for second in [0, 4, 8] {
        one.draw("a", 1, at(second)).unwrap().settle(&tokens(1));
    }
    let refusal = one.draw("a", 1, at(9)).unwrap_err();
    assert_eq!(refusal.opens_at, at(10));
    let last = Timestamp::from_micros(at(10).as_micros() - 1);
    assert!(one.draw("a", 1, last).is_err());
    one.draw("a", 1, at(10)).unwrap().settle(&tokens(1));
    assert!(one.draw("a", 1, at(13)).is_err());
    assert!(one.draw("a", 1, at(14)).is_ok());
}

#[test]
fn what_is_reserved_counts_until_it_is_settled() {
    let one = One::new(limit(Unit::Tokens));
    let first = one.draw("a", 60, NOW).unwrap();
    let refusal = one.draw("a", 41, NOW).unwrap_err();
    assert!(refusal.busy, "what the first one leaves may do");
    let second = one.draw("a", 40, NOW).unwrap();
    let decisions = first.settle(&tokens(10));
    let of = |decisions: &[isango_types::limit::Decision]| {
        let one = &decisions[0];
        (one.before, one.reserved, one.charged, one.after)
    };
    assert_eq!(of(&decisions), (0, 60, 10, 50));
    assert_eq!(of(&second.settle(&tokens(40))), (60, 40, 40, 50));
    // The rest goes to one request alone, unless it surely needs more.
    assert!(!one.draw_at_least("a", 90, 51, NOW).unwrap_err().busy);
    let last = one.draw_at_least("a", 90, 50, NOW).unwrap();
    assert!(one.draw("a", 1, NOW).unwrap_err().busy);
    assert_eq!(of(&last.settle(&tokens(70))), (50, 50, 70, 120));
    assert!(!one.draw("a", 1, NOW).unwrap_err().busy);
    // Where four fifths are drawn, what may not fit is refused.
    one.draw("b", 79, NOW).unwrap().settle(&tokens(79));
    one.draw("b", 22, NOW).unwrap().settle(&tokens(1));
    assert!(!one.draw("b", 21, NOW).unwrap_err().busy);
    assert!(one.draw("b", 20, NOW).is_ok());
}

#[test]
fn a_request_counts_in_the_window_in_which_it_was_admitted() {
    for window in [
        Window::Fixed(Duration::from_secs(60)),
        Window::Sliding(Duration::from_secs(60)),
        Window::calendar(Period::Minute, "UTC").unwrap(),
    ] {
        let one = One::new(Limit {
            window,
            ..limit(Unit::Tokens)
        });
        let old = one.draw("a", 60, NOW).unwrap();
        let new = one.draw("a", 100, at(70)).unwrap();
        assert_eq!(
            old.settle(&tokens(60))[0].after,
            100,
            "it does not touch the new one"
        );
        assert_eq!(new.settle(&tokens(90))[0].after, 90);
    }
}

#[test]
fn a_lease_that_nobody_settles_is_given_back_unless_it_was_sent() {
    let one = One::new(limit(Unit::Tokens));
    drop(one.draw("a", 100, NOW).unwrap());
    let mut sent = one.draw("a", 70, NOW).unwrap();
    one.sends(&mut sent);
    drop(sent);
    let refusal = one.draw_at_least("a", 31, 31, NOW).unwrap_err();
    assert_eq!((refusal.busy, refusal.remaining), (false, 30));
    let mut refused = one.draw("a", 30, NOW).unwrap();
    refused.refused(refusal.decision);
    let verdicts: Vec<_> = refused
        .settle(&tokens(5))
        .iter()
        .map(|one| (one.verdict, one.charged))
        .collect();
    assert_eq!(verdicts, [(Verdict::Admitted, 0), (Verdict::Refused, 0)]);
    assert!(one.draw("a", 30, NOW).is_ok());
}

#[test]
fn requests_at_once_are_counted_until_the_answer_has_ended() {
    let one = One::new(Limit {
        limit: 2,
        ..limit(Unit::Concurrent)
    });
    let (mut first, _second) = (
        one.draw("a", 1, NOW).unwrap(),
        one.draw("a", 1, NOW).unwrap(),
    );
    assert!(one.draw("a", 1, at(3_600)).unwrap_err().busy);
    first.ended();
    let third = one.draw("a", 1, NOW).unwrap();
    assert!(
        one.draw("a", 1, NOW).is_err(),
        "the end of one is counted once"
    );
    drop((first, third));
    assert_eq!(one.admits("a", 9, NOW).len(), 1);
}

#[test]
fn a_limit_that_does_not_block_counts_what_passes() {
    let warns = Limit {
        on_exceeded: OnExceeded::Warn,
        ..limit(Unit::Requests)
    };
    let watches = Limit {
        shadow: true,
        ..limit(Unit::Requests)
    };
    for (rule, verdict) in [(warns, Verdict::Warned), (watches, Verdict::Shadow)] {
        let one = One::new(rule);
        let permits = one.admits("a", 150, NOW);
        let decisions: Vec<_> = permits
            .into_iter()
            .flat_map(|permit| permit.settle(&tokens(1)))
            .collect();
        let of = |verdict| {
            decisions
                .iter()
                .filter(|one| one.verdict == verdict)
                .count()
        };
        assert_eq!((of(Verdict::Admitted), of(verdict)), (100, 50));
        assert_eq!(one.limits.sums()[0].1.used, 150);
    }
}

#[test]
fn several_limits_are_drawn_from_together_or_not_at_all() {
    let tight = Arc::new(Limit {
        id: "tight".into(),
        limit: 1,
        ..limit(Unit::Requests)
    });
    let wide = Arc::new(limit(Unit::Requests));
    let gateway = Gateway {
        limits: vec![Arc::clone(&wide), Arc::clone(&tight)],
        ..Gateway::new("local", "support")
    };
    let limits = Limits::default();
    let draw = || {
        let wants = vec![want(&wide, "a", 1, 1), want(&tight, "a", 1, 1)];
        limits.draw(&gateway, wants, NOW)
    };
    let (held, headroom) = draw().unwrap();
    let headroom = headroom.unwrap();
    assert_eq!((&*headroom.limit.id, headroom.remaining), ("tight", 0));
    assert_eq!(headroom.resets_in_s, 50);
    assert_eq!(&*draw().unwrap_err().limit.id, "tight");
    let mut totals: Vec<_> = limits.sums().iter().map(|(_, sum)| sum.total()).collect();
    totals.sort_unstable();
    assert_eq!(totals, [1, 1]);
    drop(held);
}

#[test]
fn a_full_table_forgets_what_is_empty_and_nothing_else() {
    let one = One {
        limits: Arc::new(Limits::new(4, Arc::default())),
        ..One::new(limit(Unit::Tokens))
    };
    for tenant in 0..4 {
        one.draw(&tenant.to_string(), 1, NOW)
            .unwrap()
            .settle(&tokens(1));
    }
    // New values share one bucket, and the four are as they were.
    let shared = one.draw("5", 60, NOW).unwrap().settle(&tokens(60));
    assert_eq!(shared[0].bucket, [Some(OTHERS.into())]);
    assert!(one.draw_at_least("6", 50, 50, NOW).is_err());
    assert_eq!(one.limits.overflows(), 2);
    assert_eq!(
        one.draw("0", 1, NOW).unwrap().settle(&tokens(1))[0].before,
        1
    );
    // Behind the window all are empty.
    one.limits.sweep(at(60));
    assert_eq!(one.limits.buckets(), 0);
    let held = one.draw("7", 50, at(60)).unwrap();
    one.limits.sweep(at(60));
    assert_eq!(one.limits.buckets(), 1, "it is held");
    drop(held);
}

#[test]
fn made_up_values_crowd_their_own_limit_only() {
    let limits = Arc::new(Limits::new(4, Arc::default()));
    let rule = |id: &str| {
        let limit = Limit {
            id: id.into(),
            ..limit(Unit::Tokens)
        };
        One {
            limits: Arc::clone(&limits),
            ..One::new(limit)
        }
    };
    let (crowded, other) = (rule("crowded"), rule("other"));
    for tenant in 0..20 {
        let drawn = crowded.draw(&tenant.to_string(), 1, NOW).unwrap();
        drawn.settle(&tokens(1));
    }
    for tenant in ["a", "b", "c", "d"] {
        let drawn = other.draw(tenant, 1, NOW).unwrap().settle(&tokens(1));
        assert_eq!(drawn[0].bucket, [Some(tenant.into())]);
    }
    let drawn = other.draw("e", 1, NOW).unwrap().settle(&tokens(1));
    assert_eq!(drawn[0].bucket, [Some(OTHERS.into())]);
    assert_eq!((limits.buckets(), limits.overflows()), (10, 17));
    // Behind the window there is room again, for both.
    limits.sweep(at(60));
    for (one, tenant) in [(&crowded, "x"), (&other, "e")] {
        let drawn = one.draw(tenant, 1, at(60)).unwrap().settle(&tokens(1));
        assert_eq!(drawn[0].bucket, [Some(tenant.into())]);
    }
}

#[test]
fn who_shares_a_bucket_holds_it_by_its_own_values() {
    let one = One {
        limits: Arc::new(Limits::new(1, Arc::default())),
        ..One::new(limit(Unit::Requests))
    };
    let _first = one.draw("a", 1, NOW).unwrap();
    let crowded = one.draw("b", 1, NOW).unwrap();
    let of = |tenant: &str| vec![Some(tenant.into())];
    assert!(
        crowded.holds("rule", &of("b")),
        "a second leg draws no more"
    );
    assert!(!crowded.holds("rule", &of("c")) && !crowded.holds("rule", &of(OTHERS)));
}

#[test]
fn no_two_values_share_a_bucket() {
    let two = Arc::new(Limit {
        by: vec![Dimension::Token, Dimension::Model],
        ..limit(Unit::Requests)
    });
    let gateway = gateway(&two);
    let limits = Limits::default();
    let text = |text: &str| Some(text.into());
    let long = "x".repeat(4_000);
    let combinations = vec![
        vec![text("a"), text("b")],
        vec![text("ab"), text("")],
        vec![text(""), text("ab")],
        vec![None, text("ab")],
        vec![text("ab"), None],
        vec![text("a\x001:b"), text("c")],
        vec![text("a"), text("b\x001:c")],
        vec![text(&long), None],
        vec![text(&format!("{long}y")), None],
    ];
    let count = combinations.len();
    let leases: Vec<_> = combinations
        .into_iter()
        .map(|values| {
            let want = Want {
                limit: &two,
                values,
                need: Some(1),
                least: 1,
                likely: 1,
                fixed: 0,
                is_passed: false,
                place: None,
                crowded: None,
            };
            limits.draw(&gateway, vec![want], NOW).unwrap()
        })
        .collect();
    assert_eq!(limits.buckets(), count);
    drop(leases);
}

#[test]
fn sums_of_money_of_a_year_do_not_overflow() {
    let one = One::new(Limit {
        limit: u64::MAX,
        ..limit(Unit::Cost)
    });
    for _ in 0..3 {
        one.draw("a", u64::MAX / 2 + 1, NOW)
            .ok()
            .map(|permit| permit.settle(&tokens(u64::MAX)));
    }
    assert_eq!(one.limits.sums()[0].1.used, u64::MAX);
}

/// 256 requests at once on eight threads, each of which draws `actual` of the `need` it holds.
fn crowd(rule: Limit, need: u64, actual: u64, rounds: usize) -> u64 {
    let one = One::new(rule);
    let drawn = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut held = Vec::new();
                for round in 0..rounds {
                    let drew = one.draw_at_least("a", need, actual.min(need), NOW);
                    let refused = drew.is_err();
                    if let Ok(mut permit) = drew {
                        one.sends(&mut permit);
                        held.push(permit);
                    }
                    if refused || held.len() == 32 || round + 1 == rounds {
                        for permit in held.drain(..) {
                            permit.settle(&tokens(actual));
                            drawn.fetch_add(actual, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let used = one.limits.sums()[0].1;
    assert_eq!(
        (used.used, used.reserved),
        (drawn.load(Ordering::Relaxed), 0)
    );
    used.used
}

#[test]
fn a_crowd_gets_the_limit_and_no_more() {
    for window in [
        Window::Fixed(Duration::from_secs(60)),
        Window::Sliding(Duration::from_secs(60)),
    ] {
        let of = |unit, limit| Limit {
            window: window.clone(),
            limit,
            ..self::limit(unit)
        };
        assert_eq!(crowd(of(Unit::Requests, 3_000), 1, 1, 2_000), 3_000);
        let used = crowd(of(Unit::Tokens, 50_000), 40, 24, 2_000);
        assert!((40_000..=50_024).contains(&used), "{used}");
        // The bound is far above what is drawn.
        let used = crowd(of(Unit::Cost, 100_000), 9_000, 100, 20_000);
        assert!((80_000..=100_100).contains(&used), "{used}");
    }
}

/// The clock leaps by so many seconds, and comes back: what was drawn before, and what was held,
/// still counts, and what was drawn meanwhile when its time comes.
#[track_caller]
fn check_leap(unit: Unit, window: &Window, leap: u64) {
    let one = One::new(Limit {
        window: window.clone(),
        ..limit(unit)
    });
    let what = one.limit.describe();
    for permit in one.admits("a", 30, NOW) {
        permit.settle(&tokens(1));
    }
    let held = one.admits("a", 30, at(1));
    one.limits.sweep(at(leap));
    let ahead = one.admits("a", 150, at(leap));
    assert_eq!(ahead.len(), 100, "{what}: by the clock nothing is drawn");
    for permit in held.into_iter().chain(ahead) {
        permit.settle(&tokens(1));
    }
    // To a moment before the leap.
    assert_eq!(one.admits("a", 150, NOW).len(), 40, "{what}: was forgotten");
    for permit in one.admits("a", 150, at(2)) {
        permit.settle(&tokens(1));
    }
    let passes = |from: u64, to: u64| {
        let moments = (from..to).step_by(240);
        moments.for_each(|moment| one.limits.sweep(at(moment)));
    };
    passes(2, leap);
    let is_full = one.draw("a", 1, at(leap + 1)).is_err();
    assert!(is_full, "{what}: its time has come");
    // A day after it was last in doubt nothing is kept of what is over.
    passes(leap + 1, 2 * leap + 2 * 86_400);
    assert_eq!(one.limits.buckets(), 0, "{what}");
}

#[test]
fn a_clock_that_leaps_ahead_and_comes_back_finds_its_windows_again() {
    for unit in [Unit::Requests, Unit::Tokens] {
        let minute = Duration::from_secs(60);
        check_leap(unit, &Window::Fixed(minute), 7_200);
        check_leap(unit, &Window::Sliding(minute), 7_200);
        check_leap(unit, &Window::Sliding(Duration::from_secs(3_000)), 7_200);
        let calendar = |period| Window::calendar(period, "Africa/Johannesburg").unwrap();
        check_leap(unit, &calendar(Period::Minute), 7_200);
        check_leap(unit, &calendar(Period::Hour), 7_200);
        check_leap(unit, &calendar(Period::Day), 86_400);
    }
}

#[test]
fn a_bucket_keeps_little_for_a_clock_that_may_come_back() {
    let second = Duration::from_secs(1);
    for (window, most) in [
        (Window::Fixed(second), 1 + 16),
        (Window::Sliding(second), 100 + 2_048),
    ] {
        let one = One::new(Limit {
            window,
            ..limit(Unit::Requests)
        });
        let fill = |seconds| {
            for micros in 0..100 {
                let now = at(seconds).plus(Duration::from_micros(micros));
                one.draw("a", 1, now).unwrap().settle(&tokens(1));
            }
        };
        fill(0);
        (7_200..7_260).for_each(fill);
        assert_eq!(one.limits.pieces(), most);
    }
}
