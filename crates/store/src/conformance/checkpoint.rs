//! What every store of checkpoints must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use crate::checkpoint::CheckpointStore;

/// Runs the suite on an empty store.
///
/// # Panics
/// The store does not conform.
pub fn checkpoint<S: CheckpointStore>(store: &S) {
    let load = || store.load().expect("it can be read");
    assert_eq!(load(), None);
    let long = vec![7; 1 << 20];
    for bytes in [&b"one"[..], &long, b"", b"shorter"] {
        store.save(bytes).expect("it can be saved");
        assert_eq!(load().as_deref(), Some(bytes));
        assert_eq!(load().as_deref(), Some(bytes), "it stays");
    }
}
