//! What a record store takes on its medium, and for how long there is room.

use std::time::Duration;

use isango_types::Timestamp;
use serde::Serialize;

const DAY_MICROS: u64 = 86_400_000_000;

/// Bytes on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Records that the journal holds, what is left of erased ones too.
    pub records: u64,
    /// The journal itself.
    pub journal_bytes: u64,
    /// Its indexes of frames and words.
    pub index_bytes: u64,
    /// Sealed columns.
    pub column_bytes: u64,
    /// Sums of them.
    pub rollup_bytes: u64,
    /// What was said later.
    pub overlay_bytes: u64,
    /// What crashes left, kept aside.
    pub torn_bytes: u64,
    /// The latest 30 days (UTC) on which something was recorded, the oldest first.
    pub days: Vec<Day>,
}

/// What was recorded on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// When it began.
    pub day: Timestamp,
    /// How many.
    pub records: u64,
    /// Their bytes in the journal.
    pub journal_bytes: u64,
}

impl Usage {
    /// Bytes of all parts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.journal_bytes
            + self.index_bytes
            + self.column_bytes
            + self.rollup_bytes
            + self.overlay_bytes
            + self.torn_bytes
    }

    /// Bytes of all parts that a whole day brings, by the last seven whole days before `now`; `None`:
    /// there is none.
    #[must_use]
    pub fn bytes_per_day(&self, now: Timestamp) -> Option<u64> {
        let today = now.as_micros() / DAY_MICROS;
        let number = |day: &Day| day.day.as_micros() / DAY_MICROS;
        let first = self.days.first().map(number)?.max(today.saturating_sub(7));
        let whole = first..today;
        let within = self.days.iter().filter(|day| whole.contains(&number(day)));
        let journal: u64 = within.map(|day| day.journal_bytes).sum();
        let per_day = journal.checked_div(today.checked_sub(first)?)?;
        // The other parts grow with it.
        let all = u128::from(per_day) * u128::from(self.total());
        let share = all.checked_div(u128::from(self.journal_bytes))?;
        u64::try_from(share).ok()
    }
}

/// What is removed of its own accord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Most bytes on the disk.
    pub max_bytes: Option<u64>,
    /// Oldest records, in seconds.
    pub max_age_s: Option<u64>,
    /// Oldest bodies, in seconds.
    pub max_body_age_s: Option<u64>,
}

/// What it takes, and for how long there is room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Projection {
    /// What it takes now.
    #[serde(flatten)]
    pub usage: Usage,
    /// Bytes of all parts.
    pub total_bytes: u64,
    /// Of the file system, for who may not use what is reserved.
    pub free_bytes: u64,
    /// What a whole day brings, by the last seven; null: there is none yet.
    pub bytes_per_day: Option<u64>,
    /// Until nothing is free, at this pace and if nothing is removed.
    pub days_left: Option<u64>,
    /// When nothing is free, at this pace; null: what is removed of its own accord makes room before,
    /// or there is no whole day yet to go by.
    pub full_at: Option<Timestamp>,
    /// What is removed of its own accord.
    pub retention: Kept,
}

impl Projection {
    /// What follows from so much being free, and from what is removed.
    #[must_use]
    pub fn new(usage: Usage, free_bytes: u64, retention: Kept, now: Timestamp) -> Self {
        let total_bytes = usage.total();
        let bytes_per_day = usage.bytes_per_day(now);
        let days_left = bytes_per_day.and_then(|pace| free_bytes.checked_div(pace));
        let room = total_bytes.saturating_add(free_bytes);
        // Nothing is removed for its age before its whole file, a day's at most, has it.
        let by_age = retention.max_age_s.zip(bytes_per_day).map(|(age, pace)| {
            let days = (age / 86_400).saturating_add(2);
            pace.saturating_mul(days)
        });
        let most = [retention.max_bytes, by_age].into_iter().flatten().min();
        let is_bounded = most.is_some_and(|most| most < room);
        let full_at = days_left.filter(|_| !is_bounded).map(|days| {
            let seconds = days.saturating_mul(86_400);
            now.plus(Duration::from_secs(seconds))
        });
        Self {
            usage,
            total_bytes,
            free_bytes,
            bytes_per_day,
            days_left,
            full_at,
            retention,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_when_its_room_is_taken_unless_something_is_removed_before() {
        let now = Timestamp::from_micros(20_000 * DAY_MICROS + 5);
        let day = |back: u64| Day {
            day: Timestamp::from_micros((20_000 - back) * DAY_MICROS),
            records: 1,
            journal_bytes: 100,
        };
        let usage = Usage {
            journal_bytes: 300,
            days: vec![day(2), day(1), day(0)],
            ..Usage::default()
        };
        let check = |free: u64, max_bytes, max_age_days: Option<u64>, full_in: Option<u64>| {
            let kept = Kept {
                max_bytes,
                max_age_s: max_age_days.map(|days| days * 86_400),
                max_body_age_s: None,
            };
            let projection = Projection::new(usage.clone(), free, kept, now);
            assert_eq!(projection.bytes_per_day, Some(100));
            assert_eq!(projection.days_left, Some(free / 100));
            let in_days = |days: u64| now.plus(Duration::from_secs(days * 86_400));
            assert_eq!(projection.full_at, full_in.map(in_days), "{free} {kept:?}");
        };
        check(1_000, None, None, Some(10));
        check(1_000, Some(1_299), None, None);
        check(1_000, Some(1_300), None, Some(10));
        check(1_000, None, Some(10), None);
        check(1_000, None, Some(11), Some(10));
        let fresh = Projection::new(Usage::default(), 5, Kept::default(), now);
        assert_eq!((fresh.days_left, fresh.full_at), (None, None));
    }
}
