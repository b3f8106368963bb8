//! Saved views in a [`ConfigStore`](crate::config::ConfigStore): questions that people ask again.

use isango_types::{Timestamp, is_account};
use serde::{Deserialize, Serialize};

use crate::config::{Contents, Entity, Kind};

/// Views of an account at most.
pub const MAX_VIEWS: usize = 500;

/// A view as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredView {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, unique in the account.
    pub id: Box<str>,
    /// What people call it.
    pub name: Box<str>,
    /// The query of the page's address that asks for it.
    pub query: Box<str>,
    /// When it was saved first.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Box<str>,
}

/// What is stored is no view.
#[derive(Debug, thiserror::Error)]
#[error("view `{0}` cannot be read: what is stored is damaged, or from a newer version")]
pub struct Damaged(Box<str>);

impl StoredView {
    /// The id in the store of the view `id` of `account`.
    #[must_use]
    pub fn entity_id(account: &str, id: &str) -> String {
        format!("{account}/{id}")
    }

    /// The view that an entity is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(entity: &Entity) -> Result<Self, Damaged> {
        let damaged = || Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        let is_it = *Self::entity_id(&stored.account, &stored.id) == *entity.id;
        match is_account(&stored.account) && is_it {
            true => Ok(stored),
            false => Err(damaged()),
        }
    }
}

/// The views of an account, by id: the oldest first. What cannot be read is an error of its own.
pub fn views<'c>(
    contents: &'c Contents,
    account: &'c str,
) -> impl Iterator<Item = Result<StoredView, Damaged>> + 'c {
    let is_of = move |entity: &&Entity| {
        let owner = entity.id.split_once('/').map(|(account, _)| account);
        owner == Some(account)
    };
    let found = contents.of(Kind::View).filter(is_of);
    found.map(StoredView::parse)
}
