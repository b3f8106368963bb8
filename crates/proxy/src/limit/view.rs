//! A look at the counters, for those who tell others of them.

use std::sync::Arc;

use isango_types::{Gateway, Limit, Timestamp};

use super::{Limits, key};

/// Tells what is drawn from a limit.
#[derive(Clone)]
pub struct Drawn(Arc<Limits>);

impl Drawn {
    pub(crate) const fn new(limits: Arc<Limits>) -> Self {
        Self(limits)
    }

    /// What the bucket of these values has drawn for good, in the limit's unit and in the window
    /// around `now`; what is held for requests under way is not in it.
    #[must_use]
    pub fn of(
        &self,
        gateway: &Gateway,
        limit: &Limit,
        bucket: &[Option<Box<str>>],
        now: Timestamp,
    ) -> u64 {
        let key = key(gateway, limit, bucket);
        let found = self.0.shard(&key).get(&*key).cloned();
        found.map_or(0, |bucket| {
            let mut state = bucket.state.lock();
            state.roll(limit, self.0.time.present(now));
            state.sum().used
        })
    }
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawn").finish_non_exhaustive()
    }
}
