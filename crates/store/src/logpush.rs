//! Jobs that export records, in a [`ConfigStore`](crate::config::ConfigStore): as the management API
//! was told them, their destinations sealed.

use isango_types::{Secret, Timestamp, is_account};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Contents, Entity, Kind};
use crate::seal::{Keyring, SealError};

/// Jobs of one account at most.
pub const MAX_JOBS: usize = 16;

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredJob {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its number, unique among all that there ever were.
    pub number: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// What was set, in the spelling of the Logpush contract, without the destination.
    pub fields: Map<String, Value>,
    /// The destination without what may be secret.
    pub shown: Box<str>,
    /// The destination, sealed.
    pub sealed: Box<str>,
}

/// What is stored is no job.
#[derive(Debug, thiserror::Error)]
#[error("job `{0}` cannot be read: what is stored is damaged, or from a newer version")]
pub struct Damaged(Box<str>);

impl Damaged {
    /// The id of what cannot be read.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}

impl StoredJob {
    /// The id in the store of the job `number` of `account`; the export has the same.
    #[must_use]
    pub fn entity_id(account: &str, number: u64) -> String {
        format!("{account}/{number}")
    }

    /// The job that an entity is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(entity: &Entity) -> Result<Self, Damaged> {
        let damaged = || Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        let id = Self::entity_id(&stored.account, stored.number);
        match is_account(&stored.account) && *id == *entity.id {
            true => Ok(stored),
            false => Err(damaged()),
        }
    }

    /// Its text in the store.
    ///
    /// # Errors
    /// None that is known: serde's signature.
    pub fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// What its destination is bound to.
    fn place(&self) -> Vec<u8> {
        let id = Self::entity_id(&self.account, self.number);
        format!("isango export 1 {id}").into_bytes()
    }

    /// Puts another destination in the place of the one that it has.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&mut self, keyring: &Keyring, conf: &Secret, shown: &str) -> Result<(), SealError> {
        self.sealed = keyring.current.seal(&self.place(), conf)?.into();
        self.shown = shown.into();
        Ok(())
    }

    /// Its destination.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, keyring: &Keyring) -> Result<Secret, SealError> {
        keyring.open(&self.place(), &self.sealed)
    }
}

/// Every stored job, by account and number; what cannot be read is an error of its own.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredJob, Damaged>> {
    contents.of(Kind::Export).map(StoredJob::parse)
}
