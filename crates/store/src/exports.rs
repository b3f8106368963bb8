//! How far each export of records is, and what it is about to deliver: kept through restarts, so that
//! what was cut off goes on with the very bytes that it had made.
//!
//! All calls block; an async caller goes through its blocking pool.

use isango_types::Timestamp;
use serde::{Deserialize, Serialize};

/// Most bytes of batches that were given up, over all exports. Beyond, an export waits with its next
/// one: nothing is thrown away.
pub const MAX_BURIED_BYTES: u64 = 1 << 30;

/// What is kept of one export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Where it is, in its own format.
    pub state: Box<str>,
    /// The batch that is on its way.
    pub batch: Option<Vec<u8>>,
}

/// A batch that its receiver refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buried {
    /// Whose it is.
    pub job: Box<str>,
    /// What it was to be called.
    pub name: Box<str>,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub why: Box<str>,
    /// What was to be delivered.
    pub batch: Vec<u8>,
}

/// What is told of a buried batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// What tells it from others; no other has it later.
    pub id: u64,
    /// Whose it is.
    pub job: Box<str>,
    /// What it was to be called.
    pub name: Box<str>,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub why: Box<str>,
    /// How long it is.
    pub bytes: u64,
}

/// Keeps the places of exports.
pub trait ExportStore: Send + Sync {
    /// What was last saved of an export.
    ///
    /// # Errors
    /// The store could not be read.
    fn load(&self, job: &str) -> Result<Option<Saved>, Error>;

    /// Saves state and batch in one: both, or neither.
    ///
    /// # Errors
    /// Nothing was changed; trying again can help.
    fn save(&self, job: &str, saved: &Saved) -> Result<(), Error>;

    /// Forgets an export; its buried batches stay.
    ///
    /// # Errors
    /// It is still kept.
    fn remove(&self, job: &str) -> Result<(), Error>;

    /// Lays a batch aside, where the operator finds it.
    ///
    /// # Errors
    /// It was not kept: the disk failed, or [`MAX_BURIED_BYTES`] are.
    fn bury(&self, buried: &Buried) -> Result<(), Error>;

    /// What is told of every buried batch, the oldest first.
    ///
    /// # Errors
    /// The store could not be read.
    fn buried(&self) -> Result<Vec<Aside>, Error>;

    /// A buried batch, which stays; `None`: there is none of that id.
    ///
    /// # Errors
    /// The store could not be read.
    fn exhume(&self, id: u64) -> Result<Option<Buried>, Error>;

    /// Forgets a buried batch; false: there is none of that id.
    ///
    /// # Errors
    /// It is still kept.
    fn discard(&self, id: u64) -> Result<bool, Error>;
}

/// How an export is, for those who look after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportView {
    /// Its name: account, and what it is called there.
    pub job: Box<str>,
    /// The account.
    pub account: Box<str>,
    /// The gateway, where it is one's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Box<str>>,
    /// What is exported: `ai_gateway_events`, `records`, `audit_logs` or `traces`.
    pub dataset: Box<str>,
    /// Where to, without what is secret.
    pub destination: Box<str>,
    /// Whether it is under way.
    pub enabled: bool,
    /// Whether the configuration file has it.
    pub of_file: bool,
    /// Records that wait.
    pub lag_records: u64,
    /// Records that were delivered.
    pub delivered_records: u64,
    /// Batches that were delivered.
    pub batches: u64,
    /// Records that were gone before they could be exported: retention was faster.
    pub lost_records: u64,
    /// Batches that were given up, and are kept aside.
    pub buried_batches: u64,
    /// When a batch was last delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_complete: Option<Timestamp>,
    /// When one last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Timestamp>,
    /// Why; absent once a later one was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Box<str>>,
    /// The last link of the chain of what was delivered, in hex: what the last manifest says.
    pub head: Box<str>,
}

/// A storage failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// So much was given up that no more is taken.
    #[error("batches that were given up fill the room for them; look at them, then remove them")]
    Full,
    /// The medium failed.
    #[error("the store of exports failed: {0}")]
    Failed(#[from] Box<dyn std::error::Error + Send + Sync>),
}
