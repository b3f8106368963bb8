//! Decides whether an alert is due. Pure: values in, a verdict out.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use isango_types::alert::{Kind, Share};
use isango_types::limit::{Decision, Verdict, Window};
use isango_types::record::{Blame, Outcome};
use isango_types::{CostStatus, Limit, Record, Timestamp};

/// Parts of a rolling window; it moves on by one of them.
const PARTS: u64 = 10;
/// A request that finds no room shows that a limit is spent where at least this much of it is drawn,
/// in fifths: less, and it was the request that was too large.
const SPENT_FIFTHS: u128 = 4;
/// How much of a window must have passed before it tells how it will end.
const FORECAST_AFTER: u64 = 20;

/// A bucket of a limit as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    used: u64,
    /// A request found no room in this window.
    is_full: bool,
    /// Where its window begins, and where it ends; a rolling one ends now.
    pub(super) start: Timestamp,
    end: Timestamp,
    now: Timestamp,
}

/// That an alert of a limit is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) share: Share,
    pub(super) used: u64,
    /// What will be drawn when the window ends, where that is what is told.
    pub(super) projected: Option<u64>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Bucket {
    /// The bucket of a decision, of which so much is drawn.
    pub(super) fn of(limit: &Limit, used: u64, decision: &Decision, now: Timestamp) -> Self {
        let empty = Self::empty(limit, now);
        Self {
            used,
            is_full: !matches!(decision.verdict, Verdict::Admitted | Verdict::Cut)
                && decision.at >= empty.start,
            ..empty
        }
    }

    /// One from which nothing is drawn.
    pub(super) fn empty(limit: &Limit, now: Timestamp) -> Self {
        let (start, end) = limit.window.around(now);
        Self {
            used: 0,
            is_full: false,
            start,
            end,
            now,
        }
    }

    /// Whether this share of the limit is drawn, or will be by the end of the window.
    ///
    /// A request that found no room shows it, too: what is left of a strict limit is often less
    /// than any request may draw, and then it never comes to the last dollar.
    pub(super) fn crosses(&self, limit: &Limit, share: Share, forecast: bool) -> Option<Crossing> {
        let most = share.of(limit.limit).max(1);
        let spent = u128::from(self.used) * 5 >= u128::from(limit.limit) * SPENT_FIFTHS;
        if self.used >= most || (self.is_full && spent && share <= Share::WHOLE) {
            let crossing = self.crossing(self.used, None);
            return Some(Crossing { share, ..crossing });
        }
        let projected = self.projected().filter(|_| forecast)?;
        (projected >= most).then(|| Crossing {
            share,
            ..self.crossing(self.used, Some(projected))
        })
    }

    /// That so much is drawn.
    pub(super) const fn crossing(&self, used: u64, projected: Option<u64>) -> Crossing {
        Crossing {
            share: Share::WHOLE,
            used,
            projected,
            start: self.start,
            end: self.end,
        }
    }

    /// What is drawn by the end of the window if it goes on as it did; `None`: too early to tell.
    fn projected(&self) -> Option<u64> {
        let of = |from: Timestamp, to: Timestamp| to.as_micros().saturating_sub(from.as_micros());
        let (passed, whole) = (of(self.start, self.now), of(self.start, self.end));
        if passed == 0 || passed < whole / FORECAST_AFTER {
            return None;
        }
        let projected = u128::from(self.used) * u128::from(whole) / u128::from(passed);
        Some(u64::try_from(projected).unwrap_or(u64::MAX))
    }

    /// What an alert of a bucket is told for, once: another window, another amount, other values
    /// are another matter.
    pub(super) fn key(&self, name: &str, limit: &Limit, values: &[Option<Box<str>>]) -> String {
        let mut key = format!(
            "{name}\0{} {} {}",
            limit.limit,
            limit.unit.as_str(),
            limit.window
        );
        if !matches!(limit.window, Window::Sliding(_)) {
            let _written = write!(key, "\0{}", self.start);
        }
        for dimension in &limit.by {
            let _written = write!(key, "\0{dimension}");
        }
        for value in values {
            let _written = match value {
                Some(value) => write!(key, "\0{}:{value}", value.len()),
                None => write!(key, "\0-"),
            };
        }
        key
    }

    /// Until when it is not told again: the end of the window; of a rolling one, its length.
    pub(super) fn quiet_until(&self, limit: &Limit) -> Timestamp {
        match &limit.window {
            Window::Calendar { .. } | Window::Fixed(_) => self.end,
            Window::Sliding(length) => self.now.plus(*length),
        }
    }
}

/// Requests of late: how many, and how many of them are of a kind.
#[derive(Debug)]
pub(super) struct Rolling {
    window: Duration,
    /// Oldest first, each with its number.
    parts: VecDeque<(u64, u64, u64)>,
}

/// What a rolling window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) total: u64,
    pub(super) of_kind: u64,
    pub(super) window: Duration,
}

impl Rolling {
    pub(super) const fn new(window: Duration) -> Self {
        Self {
            window,
            parts: VecDeque::new(),
        }
    }

    /// So many, as an example.
    pub(super) const fn seen(total: u64, of_kind: u64, window: Duration) -> Seen {
        Seen {
            total,
            of_kind,
            window,
        }
    }

    /// Counts a request, and tells what the window holds; `None`: it is not one that counts.
    pub(super) fn see(
        &mut self,
        kind: Kind,
        window: Duration,
        record: &Record,
        now: Timestamp,
    ) -> Option<Seen> {
        let is_of_kind = is_of_kind(kind, record)?;
        if self.window != window {
            *self = Self::new(window);
        }
        let number = self.number(now);
        let is_old = |part: &(u64, u64, u64)| part.0 + PARTS <= number || part.0 > number;
        while self.parts.front().is_some_and(is_old) {
            self.parts.pop_front();
        }
        match self.parts.back_mut() {
            // A clock that was set back a little changes nothing.
            Some(part) if part.0 >= number => {
                part.1 += 1;
                part.2 += u64::from(is_of_kind);
            }
            Some(_) | None => self.parts.push_back((number, 1, u64::from(is_of_kind))),
        }
        Some(self.sum(|_| true))
    }

    /// What the window holds at `now`.
    pub(super) fn held(&self, now: Timestamp) -> Seen {
        let number = self.number(now);
        self.sum(|part| part.0 + PARTS > number && part.0 <= number)
    }

    /// Which part a moment is in.
    fn number(&self, now: Timestamp) -> u64 {
        let length = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX) / PARTS;
        now.as_micros() / length.max(1)
    }

    fn sum(&self, counts: impl Fn(&(u64, u64, u64)) -> bool) -> Seen {
        let parts = self.parts.iter().filter(|part| counts(part));
        let (total, of_kind) = parts.fold((0, 0), |(total, of_kind), part| {
            (total + part.1, of_kind + part.2)
        });
        Self::seen(total, of_kind, self.window)
    }
}

/// Whether a request is of a kind; `None`: it says nothing about it.
fn is_of_kind(kind: Kind, record: &Record) -> Option<bool> {
    let micros = |over: Duration| u64::try_from(over.as_micros()).unwrap_or(u64::MAX);
    let blame = record.error.as_ref().map(|error| error.blame);
    let was_sent = !record.attempts.is_empty();
    let is_good = was_sent && record.status.is_some_and(|status| status < 400);
    match kind {
        Kind::Failed => {
            let was_refused = record.outcome == Outcome::Refused && blame == Some(Blame::Client);
            (!was_refused).then_some(matches!(blame, Some(Blame::Gateway | Blame::Upstream)))
        }
        Kind::FirstByte(over) => {
            let ttfb = record.timing.ttfb_us.filter(|_| is_good)?;
            Some(ttfb > micros(over))
        }
        Kind::Total(over) => {
            let is_whole = is_good && record.outcome == Outcome::Answered;
            is_whole.then(|| record.timing.total_us > micros(over))
        }
        Kind::Unpriced => match record.cost.status {
            CostStatus::Unpriced | CostStatus::NoUsage => Some(true),
            CostStatus::Priced | CostStatus::Estimated | CostStatus::Custom => Some(false),
            CostStatus::Free => None,
        },
    }
}
