//! Prices that accounts set for themselves, in a [`ConfigStore`](crate::config::ConfigStore): rows of
//! the same form as `[[prices]]` of the configuration.

use isango_types::{Timestamp, is_account};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Contents, Entity, Kind};

/// Rows of one account at most.
pub const MAX_ROWS: usize = 1_000;

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPrice {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, a UUID.
    pub id: Box<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Keys of a row of prices.
    pub row: Map<String, Value>,
}

/// What is stored is no row.
#[derive(Debug, thiserror::Error)]
#[error("price `{0}` cannot be read: what is stored is damaged, or from a newer version")]
pub struct Damaged(Box<str>);

impl StoredPrice {
    /// The id in the store of the row `id` of `account`.
    #[must_use]
    pub fn entity_id(account: &str, id: &str) -> String {
        format!("{account}/{id}")
    }

    /// The row that an entity is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(entity: &Entity) -> Result<Self, Damaged> {
        let damaged = || Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        let id = Self::entity_id(&stored.account, &stored.id);
        match is_account(&stored.account) && *id == *entity.id {
            true => Ok(stored),
            false => Err(damaged()),
        }
    }
}

/// Every stored row, by account and the time it was made; what cannot be read is an error of its own.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredPrice, Damaged>> {
    contents.of(Kind::Price).map(StoredPrice::parse)
}
