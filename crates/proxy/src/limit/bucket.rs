//! What is drawn and held in one bucket. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use isango_types::limit::{Mode, Unit, Window};
use isango_types::{Limit, Timestamp};

/// Parts of a rolling window in which amounts are put together; what is drawn within one counts
/// until the last of it is out of the window, so that no window ever holds more than the limit.
const PARTS: u64 = 1_024;
/// Entries up to which requests in a rolling window are kept one by one, to the microsecond.
const MAX_EXACT: usize = 2_048;

/// How far a clock may be set back without opening windows again, in microseconds: an hour. Where
/// it goes back further, it was wrong before.
pub(super) const MAX_SET_BACK: u64 = 3_600_000_000;

/// Amounts in the unit of the bucket's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Drawn for good.
    pub(crate) used: u64,
    /// Held for requests under way.
    pub(crate) reserved: u64,
}

impl Sum {
    pub(crate) const fn total(self) -> u64 {
        self.used.saturating_add(self.reserved)
    }

    const fn is_zero(self) -> bool {
        self.used == 0 && self.reserved == 0
    }

    const fn add(&mut self, other: Self) {
        self.used = self.used.saturating_add(other.used);
        self.reserved = self.reserved.saturating_add(other.reserved);
    }

    const fn take(&mut self, other: Self) {
        self.used = self.used.saturating_sub(other.used);
        self.reserved = self.reserved.saturating_sub(other.reserved);
    }
}

/// What one bucket holds. What was drawn in a window that is over is forgotten, also where it was
/// held then and is settled later: it counts in the window in which it was admitted.
#[derive(Clone, Debug)]
pub(crate) struct State {
    kept: Kept,
    sum: Sum,
}

#[derive(Clone, Debug)]
enum Kept {
    /// The window under way.
    Window { start: Timestamp, end: Timestamp },
    /// What was drawn when, oldest first, and the length of the window.
    Rolling {
        drawn: VecDeque<(Timestamp, Sum)>,
        length: Duration,
        /// How far the window has moved.
        rolled: Timestamp,
    },
    /// What is held now.
    Now,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// There is room; so much is to be held.
    Fits(u64),
    /// There is none before the window has moved.
    Full,
    /// Requests under way hold it; what they leave may do.
    Busy,
}

impl State {
    pub(crate) fn new(limit: &Limit, now: Timestamp) -> Self {
        let kept = match (limit.unit, &limit.window) {
            (Unit::Concurrent, _) => Kept::Now,
            (_, Window::Sliding(length)) => Kept::Rolling {
                drawn: VecDeque::new(),
                length: *length,
                rolled: now,
            },
            (_, window @ (Window::Calendar { .. } | Window::Fixed(_))) => {
                let (start, end) = window.around(now);
                Kept::Window { start, end }
            }
        };
        Self {
            kept,
            sum: Sum::default(),
        }
    }

    /// Moves the window to `now`. The moment at which a request that is admitted now draws, which
    /// may differ a little: a clock that was set back does not open a window again.
    pub(crate) fn roll(&mut self, limit: &Limit, now: Timestamp) -> Timestamp {
        match &mut self.kept {
            Kept::Window { start, end } => {
                let was_wrong = start.as_micros() > now.as_micros().saturating_add(MAX_SET_BACK);
                if now >= *end || was_wrong {
                    (*start, *end) = limit.window.around(now);
                    self.sum = Sum::default();
                }
                now.max(*start)
            }
            Kept::Rolling {
                drawn,
                length,
                rolled,
            } => {
                let was_wrong = rolled.as_micros() > now.as_micros().saturating_add(MAX_SET_BACK);
                if was_wrong {
                    drawn.clear();
                    self.sum = Sum::default();
                    *rolled = now;
                }
                *rolled = now.max(*rolled);
                while let Some((at, sum)) = drawn.front()
                    && at.plus(*length) <= *rolled
                {
                    self.sum.take(*sum);
                    drawn.pop_front();
                }
                let exact = limit.unit == Unit::Requests && drawn.len() < MAX_EXACT;
                let at = match exact {
                    true => now,
                    false => rounded_up(now, *length),
                };
                drawn.back().map_or(at, |(last, _)| at.max(*last))
            }
            Kept::Now => now,
        }
    }

    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Whether forgetting it changes nothing at `now`.
    pub(crate) fn is_idle(&mut self, limit: &Limit, now: Timestamp) -> bool {
        self.roll(limit, now);
        self.sum.is_zero()
    }

    /// What the bucket, rolled to now, says to a request that may draw `need`, and surely draws
    /// `least` if it is sent. `need`: `None` where nobody can tell; then it gets all that is left, as
    /// long as anything is, so that no other one is admitted beside it.
    ///
    /// Where less than four fifths are drawn, what is left is given to one request alone if it may
    /// need more than that: a bound that is far above what requests draw must not keep a budget from
    /// being spent, and the limit is passed by at most what this one draws beyond.
    pub(crate) fn judge(&self, limit: &Limit, need: Option<u64>, least: u64) -> Judgement {
        let counted = need.unwrap_or(1);
        let fits = |drawn: u64, more: u64| drawn.saturating_add(more.max(1)) <= limit.limit;
        let Sum { used, reserved } = self.sum;
        match (limit.unit, limit.mode) {
            (Unit::Requests, _) if fits(self.sum.total(), counted) => Judgement::Fits(counted),
            (Unit::Requests, _) => Judgement::Full,
            (Unit::Concurrent, _) if fits(self.sum.total(), counted) => Judgement::Fits(counted),
            (Unit::Concurrent, _) => Judgement::Busy,
            (Unit::Tokens | Unit::Cost, Mode::Relaxed) if used < limit.limit => Judgement::Fits(0),
            (Unit::Tokens | Unit::Cost, Mode::Relaxed) => Judgement::Full,
            (Unit::Tokens | Unit::Cost, Mode::Strict) => match need {
                Some(need) if fits(self.sum.total(), need) => Judgement::Fits(need),
                Some(_) | None if !fits(used, least) => Judgement::Full,
                None if fits(self.sum.total(), 1) => {
                    Judgement::Fits(limit.limit - self.sum.total())
                }
                Some(_) | None if reserved > 0 => Judgement::Busy,
                Some(_) if used < limit.limit - limit.limit / 5 => {
                    Judgement::Fits(limit.limit - used)
                }
                Some(_) | None => Judgement::Full,
            },
        }
    }

    /// Holds `amount` from `at` on, which [`State::roll`] gave.
    pub(crate) fn hold(&mut self, at: Timestamp, amount: u64) {
        let held = Sum {
            used: 0,
            reserved: amount,
        };
        self.put(at, held);
    }

    /// Holds `more` beside what is held from `at` on, if that is still in the window.
    pub(crate) fn extend(&mut self, at: Timestamp, more: u64) {
        let is_within = match &self.kept {
            Kept::Window { start, end } => *start <= at && at < *end,
            Kept::Rolling { drawn, .. } => drawn.binary_search_by_key(&at, |(at, _)| *at).is_ok(),
            Kept::Now => true,
        };
        if is_within {
            self.hold(at, more);
        }
    }

    /// Draws `charged` in the place of `held`, which was held from `at` on.
    pub(crate) fn settle(&mut self, at: Timestamp, held: u64, charged: u64) {
        let before = Sum {
            used: 0,
            reserved: held,
        };
        let after = Sum {
            used: charged,
            reserved: 0,
        };
        match &mut self.kept {
            Kept::Window { start, end } => {
                if *start <= at && at < *end {
                    self.sum.take(before);
                    self.sum.add(after);
                }
            }
            Kept::Rolling {
                drawn,
                length,
                rolled,
            } => {
                if let Ok(place) = drawn.binary_search_by_key(&at, |(at, _)| *at) {
                    let sum = &mut drawn[place].1;
                    sum.take(before);
                    sum.add(after);
                    let is_nothing = sum.is_zero();
                    self.sum.take(before);
                    self.sum.add(after);
                    if is_nothing {
                        drawn.remove(place);
                    }
                } else if at.plus(*length) > *rolled {
                    // Nothing was held there.
                    self.put(at, after);
                }
            }
            Kept::Now => self.sum.take(before),
        }
    }

    /// Counts what was drawn at `at` in the life of another process; the bucket is rolled to now.
    pub(crate) fn restore(&mut self, limit: &Limit, at: Timestamp, charged: u64) {
        let drawn = Sum {
            used: charged,
            reserved: 0,
        };
        let is_within = match &self.kept {
            Kept::Window { start, end } => *start <= at && at < *end,
            Kept::Rolling { length, rolled, .. } => at.plus(*length) > *rolled,
            Kept::Now => false,
        };
        if is_within {
            let at = match &self.kept {
                Kept::Rolling { drawn, length, .. }
                    if limit.unit != Unit::Requests || drawn.len() >= MAX_EXACT =>
                {
                    rounded_up(at, *length)
                }
                Kept::Rolling { .. } | Kept::Window { .. } | Kept::Now => at,
            };
            self.put(at, drawn);
        }
    }

    /// What is drawn for good, and when; a window that does not roll has it from its beginning.
    pub(crate) fn pieces(&self) -> Vec<(Timestamp, u64)> {
        let pieces = match &self.kept {
            Kept::Window { start, .. } => vec![(*start, self.sum.used)],
            Kept::Rolling { drawn, .. } => drawn.iter().map(|(at, sum)| (*at, sum.used)).collect(),
            Kept::Now => Vec::new(),
        };
        pieces.into_iter().filter(|(_, used)| *used > 0).collect()
    }

    /// Counts such a piece, if it still matters to the bucket, which is rolled to now.
    pub(crate) fn add_piece(&mut self, (at, used): (Timestamp, u64)) {
        let matters = match &self.kept {
            Kept::Window { start, end } => *start <= at && at < *end,
            Kept::Rolling { length, rolled, .. } => at.plus(*length) > *rolled,
            Kept::Now => false,
        };
        if matters {
            let drawn = Sum { used, reserved: 0 };
            self.put(at, drawn);
        }
    }

    fn put(&mut self, at: Timestamp, amount: Sum) {
        if amount.is_zero() {
            return;
        }
        if let Kept::Rolling { drawn, .. } = &mut self.kept {
            match drawn.binary_search_by_key(&at, |(at, _)| *at) {
                Ok(place) => drawn[place].1.add(amount),
                Err(place) => drawn.insert(place, (at, amount)),
            }
        }
        self.sum.add(amount);
    }

    /// When `least` will fit, if nothing else is drawn and nothing that is held is left over.
    pub(crate) fn opens_at(&self, limit: &Limit, least: u64, now: Timestamp) -> Timestamp {
        match &self.kept {
            Kept::Window { end, .. } => *end,
            Kept::Rolling { drawn, length, .. } => {
                let mut left = self.sum.total();
                for (at, sum) in drawn {
                    left = left.saturating_sub(sum.total());
                    if left.saturating_add(least.max(1)) <= limit.limit {
                        return at.plus(*length);
                    }
                }
                drawn.back().map_or(now, |(last, _)| last.plus(*length))
            }
            Kept::Now => now,
        }
    }

    /// When all of it will be there again: the end of the window, or of what was drawn first.
    pub(crate) fn resets_at(&self, now: Timestamp) -> Timestamp {
        match &self.kept {
            Kept::Window { end, .. } => *end,
            Kept::Rolling { drawn, length, .. } => {
                drawn.front().map_or(now, |(first, _)| first.plus(*length))
            }
            Kept::Now => now,
        }
    }
}

/// The end of the part of a window of `length` in which `at` lies.
fn rounded_up(at: Timestamp, length: Duration) -> Timestamp {
    let part = u64::try_from(length.as_micros()).unwrap_or(u64::MAX) / PARTS;
    let micros = at.as_micros();
    Timestamp::from_micros(
        micros
            .checked_next_multiple_of(part.max(1))
            .unwrap_or(micros),
    )
}
