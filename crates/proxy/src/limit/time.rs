//! The time as limits see it: the clock's, but for what setting a clock would do to windows.
//!
//! A clock that is set back a little opens no window again: time stands still until it has caught
//! up. One that leaps forward may have been wrong then, and come back; so for a day what was there
//! before the leap is not forgotten. One that goes back further than that was wrong before.

use std::sync::atomic::{AtomicU64, Ordering};

use isango_types::Timestamp;
use parking_lot::Mutex;

/// How far a clock may be set back without opening windows again, in microseconds: an hour.
const MAX_SET_BACK: u64 = 3_600_000_000;
/// Longest time between two looks at the clock that is none of a leap, in microseconds: five
/// minutes. A process looks every few seconds.
pub(super) const LEAP: u64 = 300_000_000;
/// How long after a leap the clock may come back, and how far ahead of it what was drawn meanwhile
/// is kept, in microseconds: a day.
pub(super) const DOUBT: u64 = 86_400_000_000;

/// One look at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) now: Timestamp,
    /// What the time would be had the clock not leapt lately, else `now`: no window is forgotten
    /// before it is over by this, too.
    pub(super) least: Timestamp,
}

/// What is known of the clock; all in microseconds.
#[derive(Debug, Default)]
pub(super) struct Time {
    /// The latest moment that was seen; 0: none was.
    latest: AtomicU64,
    /// How far the clock has leapt of late, and when.
    leap: AtomicU64,
    leapt: AtomicU64,
    turning: Mutex<()>,
}

impl Time {
    /// The clock showed `then` to a process before this one, which goes on with its windows.
    pub(super) fn goes_on_from(&self, then: Timestamp) {
        self.latest.fetch_max(then.as_micros(), Ordering::AcqRel);
    }

    /// What time it is when the clock shows `now`.
    pub(super) fn present(&self, now: Timestamp) -> Present {
        let shown = now.as_micros();
        let now = loop {
            let latest = self.latest.load(Ordering::Acquire);
            if is_set_back(latest, shown) || is_leap(latest, shown) {
                self.turn(shown);
            } else if shown <= latest {
                break latest;
            } else if (self.latest)
                .compare_exchange_weak(latest, shown, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                break shown;
            }
        };
        Present {
            now: Timestamp::from_micros(now),
            least: Timestamp::from_micros(now.saturating_sub(self.doubt(now))),
        }
    }

    /// By how much the clock may be wrong at `now`.
    fn doubt(&self, now: u64) -> u64 {
        let leapt = self.leapt.load(Ordering::Acquire);
        match now < leapt.saturating_add(DOUBT) {
            true => self.leap.load(Ordering::Acquire),
            false => 0,
        }
    }

    /// Takes up a clock that has leapt, or was set back; whoever comes first.
    fn turn(&self, shown: u64) {
        let _turning = self.turning.lock();
        let latest = self.latest.load(Ordering::Acquire);
        let doubt = self.doubt(latest);
        let (now, leap) = if is_set_back(latest, shown) {
            // To where it was before it leapt, or a little before that.
            let least = latest.saturating_sub(doubt);
            let now = match is_set_back(least, shown) {
                true => shown,
                false => shown.max(least),
            };
            let left = now.saturating_sub(least);
            (now, if left > LEAP { left } else { 0 })
        } else if is_leap(latest, shown) {
            // In one go, or in several.
            let recent = latest < self.leapt.load(Ordering::Acquire) + MAX_SET_BACK;
            (shown, shown - latest + if recent { doubt } else { 0 })
        } else {
            return;
        };
        self.leap.store(leap, Ordering::Release);
        self.leapt.store(now, Ordering::Release);
        // Last: whoever sees this sees the others.
        self.latest.store(now, Ordering::Release);
    }
}

const fn is_set_back(latest: u64, shown: u64) -> bool {
    latest > shown.saturating_add(MAX_SET_BACK)
}

/// The first look is none.
const fn is_leap(latest: u64, shown: u64) -> bool {
    latest > 0 && shown > latest.saturating_add(LEAP)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const BEGUN: Timestamp = Timestamp::from_micros(1_795_363_810_000_000);

    /// Looks at a clock that shows so many seconds, and checks time and least, in seconds.
    #[track_caller]
    fn check(time: &Time, shown: u64, now: u64, least: u64) {
        let at = |seconds| BEGUN.plus(Duration::from_secs(seconds));
        let (now, least) = (at(now), at(least));
        assert_eq!(time.present(at(shown)), Present { now, least });
    }

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        let time = Time::default();
        for seconds in [HOUR, HOUR + 1, HOUR + 5 * MINUTE, HOUR + 10 * MINUTE] {
            check(&time, seconds, seconds, seconds);
        }
        // Set back a little, it stands still until it has caught up.
        check(&time, HOUR, HOUR + 10 * MINUTE, HOUR + 10 * MINUTE);
        check(
            &time,
            HOUR + 11 * MINUTE,
            HOUR + 11 * MINUTE,
            HOUR + 11 * MINUTE,
        );
    }

    #[test]
    fn a_clock_that_leaps_may_come_back_for_a_day() {
        let time = Time::default();
        check(&time, 10, 10, 10);
        check(&time, 2 * HOUR + 10, 2 * HOUR + 10, 10);
        check(&time, 2 * HOUR + 70, 2 * HOUR + 70, 70);
        // It does, to a little before that, and stands still there.
        check(&time, 60, 70, 70);
        check(&time, 80, 80, 80);
        // It leaps again, in two steps, and only half of the way back.
        check(&time, HOUR + 80, HOUR + 80, 80);
        check(&time, 3 * HOUR + 80, 3 * HOUR + 80, 80);
        check(&time, HOUR + 90, HOUR + 90, 80);
        // It stays.
        let mut shown = HOUR + 90;
        while shown < 25 * HOUR + 80 {
            shown += 4 * MINUTE;
            let _looked = time.present(BEGUN.plus(Duration::from_secs(shown)));
        }
        check(&time, shown + 60, shown + 60, shown + 60);
    }

    #[test]
    fn a_clock_that_was_wrong_all_the_time_is_believed_when_it_is_set() {
        let time = Time::default();
        check(&time, 5 * HOUR, 5 * HOUR, 5 * HOUR);
        check(&time, HOUR, HOUR, HOUR);
    }

    #[test]
    fn a_process_goes_on_from_what_another_saw() {
        let time = Time::default();
        time.goes_on_from(BEGUN);
        check(&time, 2 * HOUR, 2 * HOUR, 0);
        check(&time, MINUTE, MINUTE, MINUTE);
    }
}
