//! Counts over the last while, cheap to keep: ten slots and their sums.

use std::time::Duration;

use tokio::time::Instant;

/// Slots of a window: what is forgotten at once is a tenth of it.
const SLOTS: u32 = 10;

/// Two counts over the last `span`, or up to a tenth of it less.
#[derive(Debug)]
pub(super) struct Window {
    span: Duration,
    origin: Instant,
    /// Number of the slot that is being filled, since `origin`.
    newest: u64,
    slots: [[u32; 2]; SLOTS as usize],
    sums: [u32; 2],
}

impl Window {
    /// An empty window that looks back `span`.
    pub(super) const fn new(span: Duration, now: Instant) -> Self {
        Self {
            span,
            origin: now,
            newest: 0,
            slots: [[0; 2]; SLOTS as usize],
            sums: [0; 2],
        }
    }

    /// How far it looks back.
    pub(super) const fn span(&self) -> Duration {
        self.span
    }

    /// Adds to both counts.
    pub(super) fn add(&mut self, counts: [u32; 2], now: Instant) {
        self.advance(now);
        let slot = &mut self.slots[Self::place(self.newest)];
        for ((slot, sum), count) in slot.iter_mut().zip(&mut self.sums).zip(counts) {
            *slot = slot.saturating_add(count);
            *sum = sum.saturating_add(count);
        }
    }

    /// Both counts.
    pub(super) fn sums(&mut self, now: Instant) -> [u32; 2] {
        self.advance(now);
        self.sums
    }

    /// Forgets what is too old. Never goes back: callers read the clock before they take the lock.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.origin).as_micros();
        let width = (self.span / SLOTS).as_micros().max(1);
        let slot = u64::try_from(passed / width).unwrap_or(u64::MAX);
        let steps = slot.saturating_sub(self.newest);
        for step in 1..=steps.min(u64::from(SLOTS)) {
            let slot = &mut self.slots[Self::place(self.newest + step)];
            let old = std::mem::take(slot);
            for (sum, count) in self.sums.iter_mut().zip(old) {
                *sum = sum.saturating_sub(count);
            }
        }
        self.newest += steps;
    }

    fn place(slot: u64) -> usize {
        usize::try_from(slot % u64::from(SLOTS)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_span_is_forgotten() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut window = Window::new(SPAN, begun);
        window.add([1, 0], at(500));
        window.add([2, 1], at(1_500));
        assert_eq!(window.sums(at(9_999)), [3, 1]);
        assert_eq!(window.sums(at(10_000)), [2, 1]);
        assert_eq!(window.sums(at(11_000)), [0, 0]);
        window.add([5, 5], at(11_000));
        // An older reading of the clock than the last counts as the last.
        assert_eq!(window.sums(at(3_000)), [5, 5]);
        assert_eq!(window.sums(at(1_000_000_000)), [0, 0]);
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_the_last_slots(adds in prop::collection::vec((0..3_000_u64, 0..9_u32), 1..60)) {
            let begun = Instant::now();
            let mut window = Window::new(SPAN, begun);
            let (mut ms, mut told) = (0, Vec::new());
            for (step, count) in adds {
                ms += step;
                told.push((ms, count));
                window.add([count, 1], begun + Duration::from_millis(ms));
                let oldest = (ms / 1_000).saturating_sub(9);
                let held = told.iter().filter(|(at, _)| at / 1_000 >= oldest);
                let sum = held.fold([0, 0], |[a, b], (_, count)| [a + count, b + 1]);
                prop_assert_eq!(window.sums(begun + Duration::from_millis(ms)), sum);
            }
        }
    }
}
