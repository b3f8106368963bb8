//! Keeps a flood of requests that nobody let in from filling the journal, and from crowding out the
//! records of others: of those that show no token that opens their gateway, a few leave a record
//! each, and the rest are counted.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Records of refusals that may come at once.
const BURST: u64 = 20;
/// Then so many more in a second.
const PER_SECOND: u64 = 1;

/// How many more may leave a record.
#[derive(Debug)]
pub(crate) struct Thin(Mutex<State>);

#[derive(Debug)]
struct State {
    room: u64,
    /// Up to when room has been added.
    since: Instant,
    /// Those that left none since the last one that did.
    left_out: u64,
}

impl Default for Thin {
    fn default() -> Self {
        Self(Mutex::new(State {
            room: BURST,
            since: Instant::now(),
            left_out: 0,
        }))
    }
}

impl Thin {
    /// Whether one more leaves a record, and how many before it left none; `None`: it leaves none.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let now = Instant::now();
        let seconds = now.duration_since(state.since).as_secs();
        if seconds > 0 {
            state.room = state.room.saturating_add(seconds * PER_SECOND).min(BURST);
            state.since += std::time::Duration::from_secs(seconds);
        }
        if state.room == 0 {
            state.left_out += 1;
            return None;
        }
        state.room -= 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_a_few_records_that_tell_of_the_rest() {
        let thin = Thin::default();
        let taken = |count: usize| (0..count).filter_map(|_| thin.take()).collect::<Vec<_>>();
        assert_eq!(taken(1_000), [0; 20]);
        tokio::time::advance(Duration::from_millis(2_500)).await;
        assert_eq!(taken(1_000), [980, 0]);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(taken(1), [998]);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(taken(1_000).len(), 20);
    }
}
