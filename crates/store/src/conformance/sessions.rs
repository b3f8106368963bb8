//! What every store of sessions must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::Timestamp;
use isango_types::key::Sha256;

use crate::sessions::{MAX_OF_USER, SessionStore, StoredSession};

/// The session `n` of a user, made and last seen at moment `n`; for tests.
#[must_use]
pub fn session(user: &str, n: u8) -> StoredSession {
    StoredSession {
        sha256: Sha256([n; 32]),
        user: user.into(),
        epoch: 7,
        created_at: Timestamp::from_micros(n.into()),
        seen_at: Timestamp::from_micros(n.into()),
        address: "127.0.0.1".into(),
        code: "code".into(),
    }
}

/// Runs the suite on stores that `make` makes, each empty.
///
/// # Panics
/// The store does not conform.
pub fn sessions<S: SessionStore>(make: impl Fn() -> S) {
    keeps_what_it_is_given(&make());
    the_least_recently_seen_makes_room(&make());
    removes_what_has_ended(&make());
}

fn find(store: &impl SessionStore, n: u8) -> Option<StoredSession> {
    store.find(&Sha256([n; 32])).expect("it can be read")
}

fn keeps_what_it_is_given(store: &impl SessionStore) {
    assert_eq!(find(store, 1), None);
    for n in [1, 2] {
        store.put(&session("ada", n)).expect("it can be kept");
    }
    assert_eq!(find(store, 1), Some(session("ada", 1)));
    let later = Timestamp::from_micros(50);
    for n in [1, 3] {
        store
            .seen(&Sha256([n; 32]), later)
            .expect("it can be noted");
    }
    assert_eq!(find(store, 1).map(|one| one.seen_at), Some(later));
    assert_eq!(find(store, 2), Some(session("ada", 2)));
    let remove = |n: u8| store.remove(&Sha256([n; 32])).expect("it can be removed");
    assert_eq!([remove(1), remove(1), remove(3)], [true, false, false]);
    assert_eq!((find(store, 1), find(store, 3)), (None, None));
    assert!(find(store, 2).is_some());
}

fn the_least_recently_seen_makes_room(store: &impl SessionStore) {
    let most = u8::try_from(MAX_OF_USER).expect("a few");
    store.put(&session("eve", 200)).expect("it can be kept");
    for n in 1..=most {
        store.put(&session("ada", n)).expect("it can be kept");
    }
    let later = Timestamp::from_micros(100);
    store
        .seen(&Sha256([1; 32]), later)
        .expect("it can be noted");
    store
        .put(&session("ada", most + 1))
        .expect("it can be kept");
    assert_eq!(find(store, 2), None);
    for n in [1, 3, most + 1, 200] {
        assert!(find(store, n).is_some(), "{n}");
    }
}

fn removes_what_has_ended(store: &impl SessionStore) {
    for n in 1..=9 {
        store.put(&session("ada", n)).expect("it can be kept");
    }
    let at = Timestamp::from_micros;
    store
        .seen(&Sha256([2; 32]), at(50))
        .expect("it can be noted");
    let removed = store.expire(at(2), at(5)).expect("they can be removed");
    assert_eq!(removed, 3, "1, 3 and 4");
    let kept = (1..=9).filter(|n| find(store, *n).is_some());
    assert_eq!(kept.collect::<Vec<u8>>(), [2, 5, 6, 7, 8, 9]);
}
