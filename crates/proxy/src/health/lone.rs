//! The retry budgets of requests that belong to no target: by gateway and address. Nothing else is
//! known of these, since requests may name any number of addresses.

use std::collections::HashMap;

use isango_types::Gateway;
use isango_types::health::Budget;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::Account;
use crate::balance::{hash, mix};

/// Addresses that are told apart; of those beyond nothing is counted.
const MAX_PLACES: usize = 1_024;
/// A count below which a place is forgotten where room is needed.
const FADED: f64 = 0.5;

/// A gateway and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LonePlace(u64);

impl LonePlace {
    pub(crate) fn new(gateway: &Gateway, authority: &str) -> Self {
        let names = [&*gateway.account, &*gateway.id, authority];
        Self(
            names
                .iter()
                .fold(0, |key, name| mix(key ^ hash(name.as_bytes()))),
        )
    }
}

/// What was sent to each place, by requests that may be sent again.
#[derive(Debug, Default)]
pub(crate) struct Lone(Mutex<HashMap<LonePlace, Account>>);

impl Lone {
    /// Counts a request that is sent for the first time.
    pub(crate) fn request(&self, place: LonePlace, now: Instant) {
        let mut accounts = self.0.lock();
        if accounts.len() >= MAX_PLACES && !accounts.contains_key(&place) {
            accounts.retain(|_, account| account.sums(now).iter().any(|sum| *sum > FADED));
            if accounts.len() >= MAX_PLACES {
                return;
            }
        }
        let account = accounts.entry(place);
        account.or_insert_with(|| Account::new(now)).request(now);
    }

    /// Whether a further send is within `budget`; if so, it is counted.
    pub(crate) fn take(&self, place: LonePlace, budget: &Budget, now: Instant) -> bool {
        let mut accounts = self.0.lock();
        let account = accounts.get_mut(&place);
        account.is_none_or(|account| account.take(budget, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_place_has_its_own_budget() {
        let (lone, now) = (Lone::default(), Instant::now());
        let gateway = Gateway::new("local", "support");
        let place = |authority: &str| LonePlace::new(&gateway, authority);
        assert_ne!(place("a"), place("b"));
        assert_ne!(
            place("a"),
            LonePlace::new(&Gateway::new("local", "other"), "a")
        );
        let budget = Budget {
            percent: 0,
            floor: 2,
        };
        let taken = |place| (0..9).filter(|_| lone.take(place, &budget, now)).count();
        for authority in ["a", "b"] {
            lone.request(place(authority), now);
            assert_eq!(taken(place(authority)), 2);
        }
        // Nothing is known of it.
        assert_eq!(taken(place("c")), 9);
    }

    #[test]
    fn places_are_bounded_and_forgotten() {
        let (lone, now) = (Lone::default(), Instant::now());
        (0..5_000).for_each(|place| lone.request(LonePlace(place), now));
        assert_eq!(lone.0.lock().len(), MAX_PLACES);
        let later = now + Duration::from_secs(60);
        lone.request(LonePlace(5_000), later);
        assert_eq!(lone.0.lock().len(), 1);
    }
}
