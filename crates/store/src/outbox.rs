//! Messages that somebody must get: kept until they were delivered, through restarts, and never
//! twice for the same reason.
//!
//! All calls block; an async caller goes through its blocking pool.

use isango_types::{RecordId, Timestamp};

/// Most letters that wait; the oldest of the gateway that has most of them make room, so that none
/// crowds out another.
pub const MAX_WAITING: usize = 1_000;

/// One message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its id, which receivers can tell it by.
    pub id: RecordId,
    /// When it was decided on.
    pub at: Timestamp,
    /// Account of the gateway that it is about.
    pub account: Box<str>,
    /// Id of the gateway.
    pub gateway: Box<str>,
    /// Which alert of the gateway; where it goes stands in the configuration.
    pub alert: Box<str>,
    /// What it is sent for: as long as this is taken, no other letter of the same key is.
    pub key: Box<str>,
    /// Until when the key is taken.
    pub until: Timestamp,
    /// What it says, in the sender's own format.
    pub event: Box<str>,
}

/// What became of letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Those that are kept now; the others' keys were taken.
    pub taken: Vec<RecordId>,
    /// Older ones that had to make room.
    pub dropped: Vec<RecordId>,
}

/// Keeps letters until they are delivered.
pub trait Outbox: Send + Sync {
    /// Keeps each letter whose key is free at its `at`, and takes the key: all of them, or none.
    ///
    /// # Errors
    /// Nothing was kept; trying again can help.
    fn put(&self, letters: &[Letter]) -> Result<Put, Error>;

    /// Every letter that waits, oldest first.
    ///
    /// # Errors
    /// The store could not be read.
    fn waiting(&self) -> Result<Vec<Letter>, Error>;

    /// Forgets a letter, which was delivered or given up. Its key stays taken.
    ///
    /// # Errors
    /// It is still kept, and will be delivered once more after a restart.
    fn remove(&self, id: RecordId) -> Result<(), Error>;

    /// Keys that are taken at `now`, and until when.
    ///
    /// # Errors
    /// The store could not be read.
    fn taken(&self, now: Timestamp) -> Result<Vec<(Box<str>, Timestamp)>, Error>;
}

/// A storage failure.
#[derive(Debug, thiserror::Error)]
#[error("the outbox failed: {0}")]
pub struct Error(#[from] pub Box<dyn std::error::Error + Send + Sync>);
