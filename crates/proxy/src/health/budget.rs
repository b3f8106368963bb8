//! How many sends beyond the first of each request there may be, so that an outage is not
//! multiplied by those who try again.
//!
//! Both counts fade steadily instead of being forgotten at the end of a window: who stays at the
//! limit sends evenly, and within any time no more than its share.

use std::time::Duration;

use isango_types::health::Budget;
use tokio::time::Instant;

/// In this time a count loses all but 1/e of its weight: about what the last ten seconds had.
const TAU: Duration = Duration::from_secs(10);

/// Counts requests and what was sent beyond them.
#[derive(Debug)]
pub(crate) struct Account {
    requests: f64,
    extra: f64,
    at: Instant,
}

impl Account {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            requests: 0.0,
            extra: 0.0,
            at: now,
        }
    }

    /// One request is sent for the first time.
    pub(crate) fn request(&mut self, now: Instant) {
        self.fade(now);
        self.requests += 1.0;
    }

    /// Whether a further send is within `budget`; if so, it is counted.
    pub(crate) fn take(&mut self, budget: &Budget, now: Instant) -> bool {
        self.take_with(budget, now, || true)
    }

    /// The same, where something else has a say as well.
    pub(crate) fn take_with(
        &mut self,
        budget: &Budget,
        now: Instant,
        other: impl FnOnce() -> bool,
    ) -> bool {
        self.fade(now);
        let share = self.requests * f64::from(budget.percent) / 100.0;
        // The floor is rounded, because a count that fades is never whole again.
        let fits = self.extra + 1.0 <= share || self.extra + 0.5 <= f64::from(budget.floor);
        let allowed = fits && other();
        if allowed {
            self.extra += 1.0;
        }
        allowed
    }

    /// Counts a further send that the budget has no say in.
    pub(crate) fn overdraw(&mut self, now: Instant) {
        self.fade(now);
        self.extra += 1.0;
    }

    /// Requests and further sends of about the last ten seconds.
    pub(crate) fn sums(&mut self, now: Instant) -> [f64; 2] {
        self.fade(now);
        [self.requests, self.extra]
    }

    /// Never goes back: callers read the clock before they take the lock.
    fn fade(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed.is_zero() {
            return;
        }
        let left = (-passed.as_secs_f64() / TAU.as_secs_f64()).exp();
        self.requests *= left;
        self.extra *= left;
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(account: &mut Account, now: Instant) -> usize {
        let wanted = std::iter::repeat_with(|| account.take(&Budget::RETRIES, now));
        wanted.take(1_000).filter(|allowed| *allowed).count()
    }

    #[test]
    fn a_fifth_of_the_requests_or_the_floor_may_be_sent_again() {
        let now = Instant::now();
        let mut account = Account::new(now);
        assert_eq!(taken(&mut account, now), 20);
        (0..100).for_each(|_| account.request(now));
        assert_eq!(taken(&mut account, now), 0);
        (0..100).for_each(|_| account.request(now));
        assert_eq!(taken(&mut account, now), 20);
        // Of 40 sends 15 still count, of the floor 5 are left.
        assert_eq!(taken(&mut account, now + TAU), 5);
    }

    #[test]
    fn who_stays_at_the_limit_sends_evenly() {
        let mut now = Instant::now();
        let mut account = Account::new(now);
        let each: Vec<_> = (0..120)
            .map(|_| {
                now += Duration::from_millis(500);
                (0..100).for_each(|_| account.request(now));
                taken(&mut account, now)
            })
            .collect();
        assert!(
            each.iter().all(|taken| (19..=21).contains(taken)),
            "{each:?}"
        );
        for length in [1, 10, 100] {
            let worst = each
                .windows(length)
                .map(|some| some.iter().sum::<usize>())
                .max();
            assert!(worst.unwrap() <= length * 20 + 1);
        }
    }

    proptest! {
        #[test]
        fn the_budget_holds_for_any_sequence(
            percent in 0..=100_u32,
            floor in 0..20_u32,
            steps in prop::collection::vec((0..2_000_u64, 0..4_u8), 0..400),
        ) {
            let budget = Budget { percent, floor };
            let begun = Instant::now();
            let mut now = begun;
            let mut account = Account::new(now);
            let (mut requests, mut extra) = (0.0, 0.0);
            for (ms, step) in steps {
                now += Duration::from_millis(ms);
                if step == 0 {
                    requests += 1.0;
                    account.request(now);
                } else if account.take(&budget, now) {
                    extra += 1.0;
                    let spans = 1.0 + (now - begun).as_secs_f64() / TAU.as_secs_f64();
                    let floors = (f64::from(floor) + 0.5) * spans;
                    prop_assert!(extra <= requests * f64::from(percent) / 100.0 + floors);
                    let [requests, extra] = account.sums(now);
                    let share = requests * f64::from(percent) / 100.0;
                    prop_assert!(extra <= share.max(f64::from(floor) + 0.5));
                }
            }
            prop_assert!(percent + floor > 0 || extra < 0.5);
        }
    }
}
