//! The door to the counters of limits as they were a moment ago: [`CheckpointStore`] keeps one
//! blob, so that a restart need not read again what was on record by then.
//!
//! What it says is the data plane's affair. It is never needed: the records say all of it, as far as
//! they are still there.

use std::io;

/// Keeps one blob where it outlives the process and the machine.
pub trait CheckpointStore: Send + Sync {
    /// What was saved last, whole; `None` where there is nothing, or nothing that is whole.
    ///
    /// # Errors
    /// The disk failed.
    fn load(&self) -> io::Result<Option<Vec<u8>>>;

    /// Keeps `bytes` in the place of what was there; whatever happens meanwhile, one of the two is
    /// there afterwards.
    ///
    /// # Errors
    /// The disk failed; what was there before still is.
    fn save(&self, bytes: &[u8]) -> io::Result<()>;
}
