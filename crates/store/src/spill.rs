//! The door to where records wait that the record store does not take: [`Spill`].
//!
//! A disk that has stalled takes nothing for a while, and exchanges go on ending. Their records are
//! packed and put here, so that they take little room; once the store works again they are taken in
//! the order in which they came. What is here ends with the process.

use isango_types::Record;

use crate::logs::Error;

/// Keeps batches of records for a while. One caller at a time puts, and one takes.
pub trait Spill: Send + Sync {
    /// Whether another batch may be put: not once the bound is reached, which the last batch may
    /// exceed.
    fn has_room(&self) -> bool;

    /// Bytes that are kept now.
    fn bytes(&self) -> u64;

    /// Keeps a batch behind those that are here.
    ///
    /// # Errors
    /// It is not kept.
    fn put(&self, batch: &[Record]) -> Result<(), Error>;

    /// The batch that has been here longest, which is here no more; `None`: there is none.
    ///
    /// # Errors
    /// It is lost.
    fn take(&self) -> Result<Option<Vec<Record>>, Error>;
}
