//! What is drawn and held in one bucket. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use isango_types::limit::{Mode, Unit, Window};
use isango_types::{Limit, Timestamp};

use super::time::{DOUBT, LEAP, Present};

/// Parts of a rolling window in which amounts are put together; what is drawn within one counts
/// until the last of it is out of the window, so that no window ever holds more than the limit.
const PARTS: u64 = 1_024;
/// Entries up to which requests in a rolling window are kept one by one, to the microsecond.
const MAX_EXACT: usize = 2_048;
/// Windows that are kept beside the one under way, and entries of a rolling one that do not count
/// in it, because the clock may come back to them, or has come back from them.
const MAX_ASIDE: usize = 16;
const MAX_ROLLING_ASIDE: usize = 2_048;

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
    /// Of the window under way.
    sum: Sum,
    /// The time that it was rolled to.
    seen: Present,
}

#[derive(Clone, Debug)]
enum Kept {
    /// The window under way, and others that the clock may come to.
    Window {
        start: Timestamp,
        end: Timestamp,
        aside: Vec<Turn>,
    },
    /// What was drawn when, oldest first, and the length of the window. What the clock may come to
    /// is set aside; the two never overlap.
    Rolling {
        drawn: Drawn,
        aside: Drawn,
        length: Duration,
    },
    /// What is held now.
    Now,
}

/// What was drawn when, oldest first.
type Drawn = VecDeque<(Timestamp, Sum)>;

/// A window that does not roll.
#[derive(Clone, Copy, Debug)]
struct Turn {
    start: Timestamp,
    end: Timestamp,
    sum: Sum,
}

impl Turn {
    /// Whether the clock may come to it, or back to it.
    fn matters(&self, time: Present) -> bool {
        let latest = time.now.as_micros().saturating_add(DOUBT);
        !self.sum.is_zero() && time.least < self.end && self.start.as_micros() <= latest
    }
}

/// Adds to what was drawn at `at`.
fn insert(drawn: &mut Drawn, (at, sum): (Timestamp, Sum)) {
    match drawn.binary_search_by_key(&at, |(at, _)| *at) {
        Ok(place) => drawn[place].1.add(sum),
        Err(place) => drawn.insert(place, (at, sum)),
    }
}

/// Where in time what was drawn stands to a rolling window.
#[derive(Clone, Copy)]
struct Reach {
    time: Present,
    length: Duration,
}

impl Reach {
    /// It counts no more.
    fn is_over(self, at: Timestamp) -> bool {
        at.plus(self.length) <= self.time.now
    }

    /// It does not count yet: no window holds it together with what is drawn now.
    fn is_ahead(self, at: Timestamp) -> bool {
        self.time.now.plus(2 * self.length) <= at
    }

    fn counts(self, at: Timestamp) -> bool {
        !self.is_over(at) && !self.is_ahead(at)
    }

    /// The clock may come to it, or back to it.
    fn matters(self, at: Timestamp) -> bool {
        let ahead = Duration::from_micros(DOUBT).saturating_add(2 * self.length);
        at.plus(self.length) > self.time.least && at <= self.time.now.plus(ahead)
    }
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
    pub(crate) fn new(limit: &Limit, seen: Present) -> Self {
        let kept = match (limit.unit, &limit.window) {
            (Unit::Concurrent, _) => Kept::Now,
            (_, Window::Sliding(length)) => Kept::Rolling {
                drawn: Drawn::new(),
                aside: Drawn::new(),
                length: *length,
            },
            (_, window @ (Window::Calendar { .. } | Window::Fixed(_))) => {
                let (start, end) = window.around(seen.now);
                let aside = Vec::new();
                Kept::Window { start, end, aside }
            }
        };
        let sum = Sum::default();
        Self { kept, sum, seen }
    }

    /// Moves the window to `time`. The moment at which a request that is admitted now draws, which
    /// may differ a little.
    ///
    /// What comes with a time just before another that was there first finds the later window.
    pub(crate) fn roll(&mut self, limit: &Limit, time: Present) -> Timestamp {
        let is_late =
            time.now < self.seen.now && self.seen.now.as_micros() - time.now.as_micros() <= LEAP;
        if !is_late {
            self.seen = time;
        }
        let now = self.seen.now;
        match &mut self.kept {
            Kept::Window { start, .. } if now < *start => self.turn(limit),
            Kept::Window { end, .. } if now >= *end => self.turn(limit),
            Kept::Window { aside, .. } => aside.retain(|turn| turn.matters(self.seen)),
            Kept::Rolling { .. } => self.shift(),
            Kept::Now => {}
        }
        match &self.kept {
            Kept::Rolling { drawn, length, .. } => {
                let exact = limit.unit == Unit::Requests && drawn.len() < MAX_EXACT;
                match exact {
                    true => now,
                    false => rounded_up(now, *length),
                }
            }
            Kept::Window { .. } | Kept::Now => now,
        }
    }

    /// Goes to the window that the time is in. What was drawn in it before is there again, and the
    /// one that is left is kept where the clock may come to it.
    fn turn(&mut self, limit: &Limit) {
        let Kept::Window { start, end, aside } = &mut self.kept else {
            return;
        };
        let left = Turn {
            start: *start,
            end: *end,
            sum: std::mem::take(&mut self.sum),
        };
        if left.matters(self.seen) {
            aside.push(left);
        }
        (*start, *end) = limit.window.around(self.seen.now);
        if let Some(place) = aside.iter().position(|turn| turn.start == *start) {
            self.sum = aside.swap_remove(place).sum;
        }
        aside.retain(|turn| turn.matters(self.seen));
        if aside.len() > MAX_ASIDE {
            // Of those behind, the clock comes to the last one last.
            let is_behind = |turn: &Turn| (turn.end <= *start, turn.end);
            let places = 0..aside.len();
            let last = places.max_by_key(|place| is_behind(&aside[*place]));
            last.map(|place| aside.swap_remove(place));
        }
    }

    /// Moves a rolling window to the time.
    fn shift(&mut self) {
        let time = self.seen;
        let Kept::Rolling {
            drawn,
            aside,
            length,
        } = &mut self.kept
        else {
            return;
        };
        let reach = Reach {
            time,
            length: *length,
        };
        while let Some(first) = drawn.pop_front_if(|(at, _)| reach.is_over(*at)) {
            self.sum.take(first.1);
            if reach.matters(first.0) && aside.len() < MAX_ROLLING_ASIDE {
                insert(aside, first);
            }
        }
        while let Some(last) = drawn.pop_back_if(|(at, _)| reach.is_ahead(*at)) {
            self.sum.take(last.1);
            insert(aside, last);
        }
        let first = aside.partition_point(|(at, _)| reach.is_over(*at));
        let end = aside.partition_point(|(at, _)| !reach.is_ahead(*at));
        for one in aside.drain(first..end.max(first)) {
            self.sum.add(one.1);
            insert(drawn, one);
        }
        while aside.pop_front_if(|(at, _)| !reach.matters(*at)).is_some() {}
        while aside.pop_back_if(|(at, _)| !reach.matters(*at)).is_some() {}
    }

    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Whether forgetting it changes nothing at `now`.
    pub(crate) fn is_idle(&mut self, limit: &Limit, time: Present) -> bool {
        self.roll(limit, time);
        let is_all = match &self.kept {
            Kept::Window { aside, .. } => aside.is_empty(),
            Kept::Rolling { aside, .. } => aside.is_empty(),
            Kept::Now => true,
        };
        is_all && self.sum.is_zero()
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

    /// Holds `more` beside what is held from `at` on, if that is still kept.
    pub(crate) fn extend(&mut self, at: Timestamp, more: u64) {
        let more = Sum {
            used: 0,
            reserved: more,
        };
        self.change(at, Sum::default(), more);
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
        let is_kept = self.change(at, before, after);
        if let (Kept::Rolling { .. }, false) = (&self.kept, is_kept) {
            // Nothing was held there.
            self.put(at, after);
        }
    }

    /// Puts `after` in the place of `before` at `at`; whether anything is kept of that moment.
    fn change(&mut self, at: Timestamp, before: Sum, after: Sum) -> bool {
        let change = |sum: &mut Sum| {
            sum.take(before);
            sum.add(after);
        };
        match &mut self.kept {
            Kept::Window { start, end, .. } if *start <= at && at < *end => {
                change(&mut self.sum);
                true
            }
            Kept::Window { aside, .. } => {
                let mut aside = aside.iter_mut();
                let turn = aside.find(|turn| turn.start <= at && at < turn.end);
                turn.map(|turn| change(&mut turn.sum)).is_some()
            }
            Kept::Rolling { drawn, aside, .. } => {
                let find = |drawn: &Drawn| drawn.binary_search_by_key(&at, |(at, _)| *at);
                let (list, place) = match (find(drawn), find(aside)) {
                    (Ok(place), _) => {
                        change(&mut self.sum);
                        (drawn, place)
                    }
                    (_, Ok(place)) => (aside, place),
                    (Err(_), Err(_)) => return false,
                };
                change(&mut list[place].1);
                if list[place].1.is_zero() {
                    list.remove(place);
                }
                true
            }
            Kept::Now => {
                change(&mut self.sum);
                true
            }
        }
    }

    /// Counts what was drawn at `at` in the life of another process; the bucket is rolled to now.
    pub(crate) fn restore(&mut self, limit: &Limit, at: Timestamp, charged: u64) {
        let at = match &self.kept {
            Kept::Rolling { drawn, length, .. }
                if limit.unit != Unit::Requests || drawn.len() >= MAX_EXACT =>
            {
                rounded_up(at, *length)
            }
            Kept::Rolling { .. } | Kept::Window { .. } | Kept::Now => at,
        };
        self.add_piece(limit, (at, charged));
    }

    /// What is drawn for good, and when; a window that does not roll has it from its beginning.
    pub(crate) fn pieces(&self) -> Vec<(Timestamp, u64)> {
        let pieces: Vec<(Timestamp, Sum)> = match &self.kept {
            Kept::Window { start, aside, .. } => {
                let aside = aside.iter().map(|turn| (turn.start, turn.sum));
                std::iter::once((*start, self.sum)).chain(aside).collect()
            }
            Kept::Rolling { drawn, aside, .. } => drawn.iter().chain(aside).copied().collect(),
            Kept::Now => Vec::new(),
        };
        let used = pieces.into_iter().map(|(at, sum)| (at, sum.used));
        used.filter(|(_, used)| *used > 0).collect()
    }

    /// Counts such a piece, if it still matters to the bucket, which is rolled to now.
    pub(crate) fn add_piece(&mut self, limit: &Limit, (at, used): (Timestamp, u64)) {
        let drawn = Sum { used, reserved: 0 };
        match &mut self.kept {
            Kept::Window { start, end, .. } if *start <= at && at < *end => self.sum.add(drawn),
            Kept::Window { aside, .. } => {
                let (start, end) = limit.window.around(at);
                if let Some(turn) = aside.iter_mut().find(|turn| turn.start == start) {
                    return turn.sum.add(drawn);
                }
                let sum = drawn;
                let turn = Turn { start, end, sum };
                if turn.matters(self.seen) && aside.len() < MAX_ASIDE {
                    aside.push(turn);
                }
            }
            Kept::Rolling { .. } => self.put(at, drawn),
            Kept::Now => {}
        }
    }

    fn put(&mut self, at: Timestamp, amount: Sum) {
        if amount.is_zero() {
            return;
        }
        if let Kept::Rolling {
            drawn,
            aside,
            length,
        } = &mut self.kept
        {
            let reach = Reach {
                time: self.seen,
                length: *length,
            };
            if !reach.counts(at) {
                if reach.matters(at) && aside.len() < MAX_ROLLING_ASIDE {
                    insert(aside, (at, amount));
                }
                return;
            }
            insert(drawn, (at, amount));
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
