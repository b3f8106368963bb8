//! Random histories of requests, from seeds, and what must hold in each of them: nothing is held
//! when nobody is there, each lease is settled once, and no window admits more than its limit.

use std::sync::Arc;
use std::time::Duration;

use isango_types::limit::{Decision, Mode, Period, Unit, Window};
use isango_types::{Gateway, Limit, RecordId, Timestamp};

use super::tests::{gateway, limit, want};
use super::{Lease, Limits, Permit, Spent};

/// xorshift64*, which is enough to vary histories.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

/// One admission, as a history keeps it.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    at: Timestamp,
    charged: u64,
    /// How much more it drew than was held for it.
    beyond: u64,
}

struct Running {
    permit: Permit,
    /// What it will draw in the end.
    actual: u64,
    sent: bool,
}

struct World {
    random: Random,
    limits: Arc<Limits>,
    gateway: Gateway,
    rule: Arc<Limit>,
    now: Timestamp,
    /// No request draws more than it was taken for.
    honest: bool,
    running: Vec<Running>,
    /// What was drawn, by tenant.
    drawn: [Vec<Admitted>; 3],
}

const TENANTS: [&str; 3] = ["a", "b", "c"];

impl World {
    fn new(seed: u64, honest: bool, rule: Limit) -> Self {
        let rule = Arc::new(rule);
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            limits: Arc::default(),
            gateway: gateway(&rule),
            rule,
            now: Timestamp::from_micros(1_795_363_823_000_000),
            honest,
            running: Vec::new(),
            drawn: Default::default(),
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..5 => self.begin(),
            5..8 => self.end(),
            8 => {
                self.now = self
                    .now
                    .plus(Duration::from_micros(self.random.below(900_000)))
            }
            _ if self.random.below(20) == 0 => {
                // A clock is set back; or nothing happens for long.
                let far = Duration::from_secs(self.random.below(90));
                self.now = match self.random.below(2) {
                    0 => self.now.minus(far / 9),
                    _ => self.now.plus(far),
                };
            }
            _ => self.limits.sweep(self.now),
        }
    }

    fn begin(&mut self) {
        let tenant = TENANTS[usize::try_from(self.random.below(3)).unwrap()];
        let least = self.random.below(4);
        let need = least + self.random.below(30);
        // An estimate is a bound, but for now and then.
        let actual = match self.random.below(10) {
            0 if !self.honest => need + self.random.below(20),
            _ => least + self.random.below(need - least + 1),
        };
        let (need, least, actual) = match self.rule.unit {
            Unit::Tokens | Unit::Cost => (need, least, actual),
            Unit::Requests | Unit::Concurrent => (1, 1, 1),
        };
        let wants = vec![want(&self.rule, tenant, need, least)];
        let drawn = self.limits.draw(&self.gateway, wants, self.now);
        if let Ok((leases, headroom)) = drawn {
            let mut permit = Permit::new(Arc::clone(&self.limits));
            permit.take(leases, headroom);
            self.running.push(Running {
                permit,
                actual,
                sent: false,
            });
        }
    }

    fn end(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let one = usize::try_from(self.random.below(self.running.len() as u64)).unwrap();
        let mut running = self.running.swap_remove(one);
        if !running.sent {
            let id = RecordId::new(self.now);
            running.permit.sent();
            running.permit.commit(id, &self.gateway);
            running.sent = true;
        }
        match self.random.below(8) {
            // It never left.
            0 => running.permit.settle_with(0, &mut self.drawn),
            // Its record was lost: what was held is charged.
            1 => {
                let held = running.permit.held();
                for (tenant, at, charged, reserved) in held {
                    self.drawn[tenant].push(Admitted {
                        at,
                        charged,
                        beyond: charged.saturating_sub(reserved),
                    });
                }
                drop(running.permit);
            }
            // It goes on.
            2 => self.running.push(running),
            _ => running.permit.settle_with(running.actual, &mut self.drawn),
        }
    }

    /// What was drawn by one tenant in the window around `at`, and how much of it beyond what was
    /// held.
    fn in_window(&self, drawn: &[Admitted], at: Timestamp) -> (u64, u64) {
        let (start, end) = match self.rule.window {
            Window::Sliding(length) => (
                at.minus(length).plus(Duration::from_micros(1)),
                at.plus(Duration::from_micros(1)),
            ),
            Window::Calendar { .. } | Window::Fixed(_) => self.rule.window.around(at),
        };
        let within = |one: &&Admitted| start <= one.at && one.at < end;
        let within: Vec<_> = drawn.iter().filter(within).collect();
        let charged = within.iter().map(|one| one.charged).sum();
        (charged, within.iter().map(|one| one.beyond).sum())
    }
}

impl Permit {
    /// Tenant, moment, what is charged if its record is lost, and what is held.
    fn held(&self) -> Vec<(usize, Timestamp, u64, u64)> {
        let place = |lease: &Lease| {
            let tenant = lease.decision().bucket[0].as_deref().unwrap();
            TENANTS.iter().position(|one| *one == tenant).unwrap()
        };
        self.leases()
            .iter()
            .map(|lease| {
                let decision = lease.decision();
                let likely = lease.likely();
                (place(lease), decision.at, likely, decision.reserved)
            })
            .collect()
    }

    fn settle_with(self, charged: u64, drawn: &mut [Vec<Admitted>; 3]) {
        let tenants: Vec<usize> = self.held().iter().map(|(tenant, ..)| *tenant).collect();
        let spent = Spent {
            requests: charged.min(1),
            tokens: Some(charged),
            nanousd: Some(charged),
            ..Spent::default()
        };
        let decisions: Vec<Decision> = self.settle(&spent);
        for (tenant, decision) in tenants.into_iter().zip(decisions) {
            drawn[tenant].push(Admitted {
                at: decision.at,
                charged: decision.charged,
                beyond: decision.charged.saturating_sub(decision.reserved),
            });
        }
    }
}

/// Most that one request may need.
const MOST: u64 = 33;

#[track_caller]
fn check(rule: impl Fn() -> Limit) {
    for seed in 1..=60 {
        let honest = seed % 2 == 0;
        let mut world = World::new(seed, honest, rule());
        (0..1_500).for_each(|_| world.step());
        while !world.running.is_empty() {
            world.end();
        }
        let what = format!("seed {seed}, {}", world.rule.describe());
        // No lease is left, and no bucket holds anything.
        for (_, sum) in world.limits.sums() {
            assert_eq!(sum.reserved, 0, "{what}");
        }
        for drawn in &world.drawn {
            for one in drawn {
                let (all, beyond) = world.in_window(drawn, one.at);
                let allowed = match (world.rule.unit, honest) {
                    (Unit::Requests | Unit::Concurrent, _) => 0,
                    // One request had what was left for itself, and drew more.
                    (Unit::Tokens | Unit::Cost, true) => beyond.min(MOST),
                    (Unit::Tokens | Unit::Cost, false) => beyond,
                };
                let limit = world.rule.limit;
                assert!(all <= limit + allowed, "{what}: {all} around {}", one.at);
            }
        }
        assert!(
            world.drawn.iter().any(|drawn| drawn.len() > 10),
            "{what}: nothing happened"
        );
    }
}

fn windows() -> [Window; 4] {
    [
        Window::Fixed(Duration::from_secs(7)),
        Window::Sliding(Duration::from_secs(7)),
        Window::Sliding(Duration::from_millis(350)),
        Window::calendar(Period::Minute, "Africa/Johannesburg").unwrap(),
    ]
}

#[test]
fn no_window_admits_more_requests_than_its_limit() {
    for window in windows() {
        check(|| Limit {
            window: window.clone(),
            limit: 9,
            ..limit(Unit::Requests)
        });
    }
}

#[test]
fn tokens_and_cost_pass_their_limit_by_no_more_than_estimates_were_wrong() {
    for window in windows() {
        for unit in [Unit::Tokens, Unit::Cost] {
            check(|| Limit {
                window: window.clone(),
                limit: 200,
                ..limit(unit)
            });
        }
    }
}

#[test]
fn what_is_only_counted_afterwards_is_held_by_nobody() {
    check(|| Limit {
        mode: Mode::Relaxed,
        limit: 100_000,
        ..limit(Unit::Tokens)
    });
}
