//! Who is signed in: sessions, by the digest of what a browser shows.
//!
//! A store keeps them and knows nothing of when they end. All calls block; an async caller goes
//! through its blocking pool.

use isango_types::Timestamp;
use isango_types::key::Sha256;

/// Sessions of one user at most; the one that was seen least recently makes room.
pub const MAX_OF_USER: usize = 32;
/// Sessions at most; the one that was seen least recently makes room.
pub const MAX_SESSIONS: usize = 10_000;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// What it is known by.
    pub sha256: Sha256,
    /// Whose it is, by name.
    pub user: Box<str>,
    /// The user's epoch in which it was made.
    pub epoch: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, about.
    pub seen_at: Timestamp,
    /// From where it was made.
    pub address: Box<str>,
    /// What vouches for all that does not change of it; empty where there is no key.
    pub code: Box<str>,
}

/// Keeps sessions.
pub trait SessionStore: Send + Sync {
    /// Keeps a session, in the place of others where there is no room.
    ///
    /// # Errors
    /// It is not kept; trying again can help.
    fn put(&self, session: &StoredSession) -> Result<(), Error>;

    /// The session of a digest.
    ///
    /// # Errors
    /// The store could not be read.
    fn find(&self, sha256: &Sha256) -> Result<Option<StoredSession>, Error>;

    /// Notes that a session was used; one that is not there stays so.
    ///
    /// # Errors
    /// It is not noted; it may end earlier.
    fn seen(&self, sha256: &Sha256, at: Timestamp) -> Result<(), Error>;

    /// Removes a session; whether it was there.
    ///
    /// # Errors
    /// It is still kept.
    fn remove(&self, sha256: &Sha256) -> Result<bool, Error>;

    /// Removes those that were made before one moment, or not used since another; how many.
    ///
    /// # Errors
    /// They are still kept.
    fn expire(&self, created_before: Timestamp, seen_before: Timestamp) -> Result<usize, Error>;
}

/// The store of sessions failed.
#[derive(Debug, thiserror::Error)]
#[error("the store of sessions failed")]
pub struct Error(#[source] pub Box<dyn std::error::Error + Send + Sync>);
