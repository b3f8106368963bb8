//! The record store's two doors: [`LogWriter`] appends, [`LogReader`] answers questions.

use isango_types::{Record, RecordId};

/// Appends records. One caller at a time writes; appends are ordered.
pub trait LogWriter: Send + Sync {
    /// Appends `batch` (oldest first, at most 10 000) and returns when it is committed.
    ///
    /// # Errors
    /// The batch was not, or not wholly, stored; trying again may store a record twice, which
    /// readers resolve by id.
    fn append(&self, batch: &[Record]) -> Result<(), Error>;
}

/// Reads records.
pub trait LogReader: Send + Sync {
    /// The record of an id, with its bodies.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error>;
}

/// A storage failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The medium failed: disk full, permission, input/output.
    #[error("the record store failed: {0}")]
    Io(#[from] std::io::Error),
    /// What is stored cannot be understood.
    #[error("the record store is damaged: {0}")]
    Damaged(String),
    /// A record could not be written as JSON.
    #[error("a record could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}
