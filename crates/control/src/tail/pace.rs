//! How fast rows may come: all of them while a watcher can follow, then one of 2, of 4, of 8.

use isango_types::Timestamp;

/// Rows of a second that an eye can follow.
const MAX_ROWS: u32 = 50;
/// Bytes of bodies that are looked into in a second.
const MAX_BYTES: u64 = 16 << 20;
/// At most one of so many.
const MAX_ONE_IN: u32 = 1 << 20;
const SECOND: u64 = 1_000_000;

/// The pace of one watcher.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// When the second began that counts.
    began: Timestamp,
    rows: u32,
    bytes: u64,
    one_in: u32,
    seen: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            began: Timestamp::default(),
            rows: 0,
            bytes: 0,
            one_in: 1,
            seen: 0,
        }
    }
}

impl Pace {
    /// Begins another second if it is time; after a calm one, twice as many rows may come.
    pub(super) fn turn(&mut self, now: Timestamp) {
        let passed = now.as_micros().saturating_sub(self.began.as_micros()) / SECOND;
        if passed == 0 {
            return;
        }
        let is_calm = self.rows * 2 <= MAX_ROWS && self.bytes * 2 <= MAX_BYTES;
        let calm = passed - 1 + u64::from(is_calm);
        self.one_in = self
            .one_in
            .checked_shr(u32::try_from(calm).unwrap_or(u32::MAX))
            .unwrap_or(0)
            .max(1);
        (self.began, self.rows, self.bytes) = (now, 0, 0);
    }

    /// Whether the next row is one that is sent, or looked into: `bytes` of it.
    pub(super) fn takes(&mut self, bytes: u64) -> bool {
        self.seen = (self.seen + 1) % self.one_in;
        if self.seen != 0 {
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            self.slower();
            self.bytes = MAX_BYTES / 2;
            // What is larger than a second's worth is looked into by itself.
            return bytes > MAX_BYTES / 2;
        }
        true
    }

    /// A row was sent.
    pub(super) fn sent(&mut self) {
        self.rows += 1;
        if self.rows >= MAX_ROWS {
            self.slower();
            self.rows = MAX_ROWS / 2;
        }
    }

    /// There was no room for a row.
    pub(super) fn refused(&mut self) {
        self.slower();
    }

    /// Of how many rows one is taken.
    pub(super) const fn one_in(&self) -> u32 {
        self.one_in
    }

    fn slower(&mut self) {
        self.one_in = (self.one_in * 2).min(MAX_ONE_IN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `rows` are sent, one after another in the same second.
    fn sent(pace: &mut Pace, rows: u32) -> u32 {
        let mut sent = 0;
        for _ in 0..rows {
            if pace.takes(0) {
                pace.sent();
                sent += 1;
            }
        }
        sent
    }

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_795_363_200_000_000 + second * SECOND)
    }

    #[test]
    fn a_flood_is_thinned_and_its_end_noticed() {
        let mut pace = Pace::default();
        pace.turn(at(0));
        assert_eq!((sent(&mut pace, 49), pace.one_in()), (49, 1));
        assert_eq!((sent(&mut pace, 1), pace.one_in()), (1, 2));
        let flood = sent(&mut pace, 100_000);
        assert!((100..400).contains(&flood), "{flood}");
        let thinned = pace.one_in();
        assert!(thinned >= 1_024, "{thinned}");
        // The second of the flood was not calm, the next one is.
        pace.turn(at(1));
        assert_eq!(pace.one_in(), thinned);
        pace.turn(at(2));
        assert_eq!(pace.one_in(), thinned / 2);
        pace.turn(at(2));
        assert_eq!(pace.one_in(), thinned / 2);
        pace.turn(at(3_600));
        assert_eq!((sent(&mut pace, 10), pace.one_in()), (10, 1));
    }

    #[test]
    fn a_steady_flow_settles_at_what_can_be_followed() {
        let mut pace = Pace::default();
        let mut last = 0;
        for second in 0..60 {
            pace.turn(at(second));
            last = sent(&mut pace, 400);
        }
        assert!((20..=100).contains(&last), "{last}");
    }

    #[test]
    fn no_more_than_so_many_bytes_are_looked_into() {
        let mut pace = Pace::default();
        pace.turn(at(0));
        let looked = (0..10_000).filter(|_| pace.takes(1 << 20)).count();
        assert!((16..200).contains(&looked), "{looked}");
        // One that is larger than all that is looked into all the same.
        let mut pace = Pace::default();
        assert!(pace.takes(MAX_BYTES * 2));
        // Who does not take what is sent is sent less.
        let mut pace = Pace::default();
        pace.refused();
        assert_eq!(pace.one_in(), 2);
    }
}
