//! Who is on the way to the provider: by the digest of a `state`, for one browser, for ten minutes,
//! once.

use std::collections::HashMap;
use std::time::Duration;

use isango_store::tokens;
use isango_types::key::Sha256;
use isango_types::{Secret, Timestamp};
use parking_lot::Mutex;

use crate::identity::throttle::Try;

/// How long somebody may take at the provider.
pub(crate) const LASTS: Duration = Duration::from_secs(600);
/// How many may be there at once; who went first makes room.
const MOST: usize = 10_000;

/// What a browser is sent with.
#[derive(Debug)]
pub(super) struct Sent {
    /// What the provider sends back.
    pub(super) state: Secret,
    /// What the ID token names.
    pub(super) nonce: Secret,
    /// What the code is bound to (RFC 7636 section 4.1); the provider is shown its digest.
    pub(super) verifier: Secret,
    /// What the browser keeps.
    pub(super) browser: Secret,
}

/// Somebody who is there.
#[derive(Debug)]
pub(super) struct Waiting {
    browser: Sha256,
    since: Timestamp,
    pub(super) nonce: Secret,
    pub(super) verifier: Secret,
    /// Counted as a failure until they are let in.
    pub(super) made: Try,
}

impl Waiting {
    /// Somebody who goes now; `None`: the system has no random numbers.
    pub(super) fn new(now: Timestamp, made: Try) -> Option<(Sent, Self)> {
        let random = || tokens::mint_as("").ok().map(|(secret, _digest)| secret);
        let sent = Sent {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            browser: random()?,
        };
        let waiting = Self {
            browser: tokens::sha256(&sent.browser),
            since: now,
            nonce: sent.nonce.clone(),
            verifier: sent.verifier.clone(),
            made,
        };
        Some((sent, waiting))
    }
}

/// Everybody who is there.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<[u8; 32], Waiting>>);

impl Pending {
    pub(super) fn add(&self, state: &Secret, waiting: Waiting, now: Timestamp) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, other| now < other.since.plus(LASTS));
        }
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, other)| other.since);
            if let Some(first) = first.map(|(state, _)| *state) {
                all.remove(&first);
            }
        }
        all.insert(tokens::sha256(state).0, waiting);
    }

    /// Whoever was sent with this state and this cookie, if it was not long ago; only once.
    pub(super) fn take(&self, state: &Secret, browser: &Secret, now: Timestamp) -> Option<Waiting> {
        let mut all = self.0.lock();
        let state = tokens::sha256(state).0;
        let browser = tokens::sha256(browser);
        let waiting = all.get(&state)?;
        // What is compared are digests.
        if !waiting.browser.is(&browser.0) {
            return None;
        }
        all.remove(&state)
            .filter(|waiting| now < waiting.since.plus(LASTS))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::identity::throttle::Throttle;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn send(pending: &Pending, now: Timestamp) -> Sent {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let made = Throttle::default().take("", nowhere, now).unwrap();
        let (sent, waiting) = Waiting::new(now, made).unwrap();
        pending.add(&sent.state, waiting, now);
        sent
    }

    #[test]
    fn a_state_is_good_once_for_its_browser_and_for_a_while() {
        let pending = Pending::default();
        let (one, other) = (send(&pending, at(0)), send(&pending, at(0)));
        assert!(pending.take(&one.state, &other.browser, at(1)).is_none());
        let found = pending.take(&one.state, &one.browser, at(599)).unwrap();
        assert_eq!((&found.nonce, &found.verifier), (&one.nonce, &one.verifier));
        assert!(
            pending.take(&one.state, &one.browser, at(1)).is_none(),
            "once"
        );
        assert!(
            pending
                .take(&other.state, &other.browser, at(600))
                .is_none()
        );
        assert!(
            pending
                .take(&Secret::new("x"), &other.browser, at(1))
                .is_none()
        );
        let secrets = [&one.state, &one.nonce, &one.verifier, &one.browser];
        assert!(secrets.iter().all(|secret| secret.expose().len() == 43));
        assert_ne!(one.state, one.nonce);
    }

    #[test]
    fn who_went_first_makes_room() {
        let pending = Pending::default();
        let first = send(&pending, at(0));
        let second = send(&pending, at(1));
        (0..MOST).for_each(|_| drop(send(&pending, at(2))));
        assert_eq!(pending.0.lock().len(), MOST);
        assert!(pending.take(&first.state, &first.browser, at(3)).is_none());
        assert!(
            pending
                .take(&second.state, &second.browser, at(3))
                .is_none()
        );
    }
}
