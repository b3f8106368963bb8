//! What every store of pledges must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use crate::pledges::{MAX_ENTRY_BYTES, MAX_SLOTS, PledgeStore};

/// Runs the suite on an empty store.
///
/// # Panics
/// The store does not conform.
pub fn pledges<S: PledgeStore>(store: &S) {
    let check = |kept: &[(u32, &[u8])]| {
        let entries = store.entries().expect("they can be read");
        let entries: Vec<(u32, &[u8])> = entries.iter().map(|(n, e)| (*n, &**e)).collect();
        assert_eq!(entries, kept);
        for (slot, entry) in kept {
            let one = store.get(*slot).expect("it can be read");
            assert_eq!(one.as_deref(), Some(*entry));
        }
    };
    let put = |slot, entry: &[u8]| store.put(slot, entry).expect("it fits");
    check(&[]);
    let long = vec![7; MAX_ENTRY_BYTES];
    put(2, b"two");
    put(0, &long);
    put(70, b"seventy");
    check(&[(0, &long), (2, b"two"), (70, b"seventy")]);
    // Shorter than before, and empty.
    put(0, b"zero");
    store.clear(2).expect("it can be cleared");
    store.clear(1).expect("nothing was there");
    check(&[(0, b"zero"), (70, b"seventy")]);
    assert_eq!(store.get(2).expect("it can be read"), None);
    assert_eq!(store.get(4_711).expect("it can be read"), None);
    put(2, b"");
    put(MAX_SLOTS - 1, b"last");
    check(&[
        (0, b"zero"),
        (2, b""),
        (70, b"seventy"),
        (MAX_SLOTS - 1, b"last"),
    ]);
    for (slot, entry) in [(MAX_SLOTS, &b"x"[..]), (0, &[0; MAX_ENTRY_BYTES + 1])] {
        let refused = store.put(slot, entry).expect_err("it does not fit");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}
