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

/// Counts below this are as good as none: what had ten requests in ten seconds is there after a
/// minute and a half of silence.
const FADED: f64 = 0.001;

/// What a further send is within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// The share of the requests.
    Share,
    /// What is allowed in any case.
    Floor,
}

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
        self.take_with(budget, now, |_| true)
    }

    /// The same, where something else has a say as well.
    fn take_with(
        &mut self,
        budget: &Budget,
        now: Instant,
        other: impl FnOnce(Room) -> bool,
    ) -> bool {
        self.fade(now);
        let share = self.requests * f64::from(budget.percent) / 100.0;
        let room = if self.extra + 1.0 <= share {
            Some(Room::Share)
        } else {
            // Rounded, because a count that fades is never whole again.
            (self.extra + 0.5 <= f64::from(budget.floor)).then_some(Room::Floor)
        };
        let allowed = room.is_some_and(other);
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

/// Retries at one place, or at several together. What is allowed in any case is allowed once, until the place answers again
/// or nothing is known of it any more: while it is down, only the share of the requests is left,
/// however few they are.
#[derive(Debug)]
pub(crate) struct Retries {
    account: Account,
    /// Allowed by the floor since it answered last.
    unproven: u32,
}

impl Retries {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            account: Account::new(now),
            unproven: 0,
        }
    }

    /// One request is sent for the first time.
    pub(crate) fn request(&mut self, now: Instant) {
        if self.is_faded(now) {
            self.unproven = 0;
        }
        self.account.request(now);
    }

    /// The place answers.
    pub(crate) const fn succeeded(&mut self) {
        self.unproven = 0;
    }

    /// Whether a retry is within `budget`; if so, it is counted.
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
        let unproven = &mut self.unproven;
        self.account.take_with(budget, now, |room| match room {
            Room::Share => other(),
            Room::Floor => {
                let allowed = *unproven < budget.floor && other();
                *unproven += u32::from(allowed);
                allowed
            }
        })
    }

    /// Counts a further send that the budget has no say in.
    pub(crate) fn overdraw(&mut self, now: Instant) {
        self.account.overdraw(now);
    }

    /// Requests and retries of about the last ten seconds.
    pub(crate) fn sums(&mut self, now: Instant) -> [f64; 2] {
        self.account.sums(now)
    }

    /// Whether it has been silent for so long that nothing is known of it.
    pub(crate) fn is_faded(&mut self, now: Instant) -> bool {
        self.sums(now).iter().all(|sum| *sum < FADED)
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

    /// Retries of one request a second, each wanting four, over so many seconds.
    fn retried(retries: &mut Retries, now: &mut Instant, seconds: u32) -> usize {
        let each = (0..seconds).map(|_| {
            *now += Duration::from_secs(1);
            retries.request(*now);
            (0..4)
                .filter(|_| retries.take(&Budget::RETRIES, *now))
                .count()
        });
        each.sum()
    }

    #[test]
    fn the_floor_is_there_once_until_the_place_answers() {
        let mut now = Instant::now();
        let mut retries = Retries::new(now);
        assert_eq!(retried(&mut retries, &mut now, 10), 20);
        // Of few requests, a fifth is left, and not the floor again and again.
        let spent = retried(&mut retries, &mut now, 100);
        assert!((5..=20).contains(&spent), "{spent}");
        retries.succeeded();
        assert!(retried(&mut retries, &mut now, 10) >= 19);
        // Or nothing is known any more.
        now += Duration::from_secs(120);
        assert_eq!(retried(&mut retries, &mut now, 10), 20);
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
