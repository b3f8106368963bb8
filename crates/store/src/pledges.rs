//! The door to what requests under way hold of limits: [`PledgeStore`] keeps a small entry for each
//! of them where it outlives the process, so that a crash does not make anybody forget what a
//! provider was sent.
//!
//! What an entry says, and whether it still counts, is the data plane's affair; a store keeps bytes
//! in numbered slots. A slot is used again and again, so that the store is as large as the most that
//! was under way at once.

use std::io;

/// Most slots; their numbers are below it.
pub const MAX_SLOTS: u32 = 131_072;
/// Longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 1_008;

/// An entry and its slot.
pub type Kept = (u32, Vec<u8>);

/// Keeps entries in slots. Nothing waits for a medium: what is put outlives the process, and a loss
/// of power may take it.
pub trait PledgeStore: Send + Sync {
    /// Keeps an entry in the place of what was in the slot.
    ///
    /// # Errors
    /// It is too long, there is no such slot, or the disk failed; the slot may be empty then.
    fn put(&self, slot: u32, entry: &[u8]) -> io::Result<()>;

    /// Empties a slot.
    ///
    /// # Errors
    /// There is no such slot, or the disk failed.
    fn clear(&self, slot: u32) -> io::Result<()>;

    /// The entry of a slot; `None` where there is none, or none that is whole.
    ///
    /// # Errors
    /// The disk failed.
    fn get(&self, slot: u32) -> io::Result<Option<Vec<u8>>>;

    /// Every entry that is whole, in the order of the slots.
    ///
    /// # Errors
    /// The disk failed.
    fn entries(&self) -> io::Result<Vec<Kept>>;
}

/// Whether a slot can hold an entry.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`]: it cannot, and why.
pub fn check(slot: u32, entry: &[u8]) -> io::Result<()> {
    let wrong = if slot >= MAX_SLOTS {
        "there is no such slot"
    } else if entry.len() > MAX_ENTRY_BYTES {
        "the entry is longer than a slot"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}
