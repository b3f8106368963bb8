//! The retry budgets of requests that belong to no target: by gateway and address. Nothing else is
//! known of these, since requests may name any number of addresses.

use std::collections::HashMap;

use isango_types::Gateway;
use isango_types::health::Budget;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::Retries;
use crate::balance::{hash, mix};
use crate::retry::Leave;
use crate::walk::SPENT;

/// Addresses that are told apart; of those beyond nothing is counted.
const MAX_PLACES: usize = 1_024;

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
pub(crate) struct Lone(Mutex<HashMap<LonePlace, Retries>>);

impl Lone {
    /// Counts a request that is sent for the first time.
    pub(crate) fn request(&self, place: LonePlace, now: Instant) {
        let mut accounts = self.0.lock();
        if accounts.len() >= MAX_PLACES && !accounts.contains_key(&place) {
            accounts.retain(|_, account| !account.is_faded(now));
            if accounts.len() >= MAX_PLACES {
                return;
            }
        }
        let account = accounts.entry(place);
        account.or_insert_with(|| Retries::new(now)).request(now);
    }

    /// The place answers.
    pub(crate) fn succeeded(&self, place: LonePlace) {
        if let Some(account) = self.0.lock().get_mut(&place) {
            account.succeeded();
        }
    }

    /// Whether a further send is within `budget`; if so, it is counted.
    pub(crate) fn leave(&self, place: LonePlace, budget: &Budget, now: Instant) -> Leave {
        let mut accounts = self.0.lock();
        let account = accounts.get_mut(&place);
        match account.is_none_or(|account| account.take(budget, now)) {
            true => Leave::Given,
            false => Leave::Refused(SPENT),
        }
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
        let given = |place| lone.leave(place, &budget, now) == Leave::Given;
        let taken = |place| (0..9).filter(|_| given(place)).count();
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
        let later = now + Duration::from_secs(90);
        lone.request(LonePlace(5_000), later);
        assert_eq!(lone.0.lock().len(), 1);
    }
}
