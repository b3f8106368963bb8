//! Links that let somebody in once, in a [`ConfigStore`]: to become the first owner, to follow an
//! invitation, to choose another password. What is kept is the digest of the code.

use std::collections::BTreeMap;

use isango_types::key::Sha256;
use isango_types::{Role, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{self, Change, ConfigStore, Contents, Entity, Kind};
use crate::tokens::{self, mint_as};
use crate::users::StoredUser;

/// What the code of a link begins with.
const PREFIX: &str = "isl_";
/// Links that are stored at most.
const MAX_LINKS: usize = 1_000;

/// A link as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLink {
    /// What it is for.
    pub purpose: Purpose,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Becoming the first owner of everything.
    Setup,
    /// Becoming somebody in an account.
    Invitation {
        /// Name of the user, who may be there already.
        name: Box<str>,
        /// The account.
        account: Box<str>,
        /// What they may do there.
        role: Role,
    },
    /// Choosing another password.
    Password {
        /// Name of the user.
        name: Box<str>,
        /// Who they were when it was made: somebody who has become more, or has signed out
        /// everywhere since, is another. `None`: it was made before this was kept, and opens nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        standing: Option<Standing>,
    },
}

/// Who a user is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    created_at: Timestamp,
    roles: BTreeMap<Box<str>, Role>,
    epoch: u64,
}

impl Standing {
    /// Who they are now.
    #[must_use]
    pub fn of(user: &StoredUser) -> Self {
        Self {
            created_at: user.created_at,
            roles: user.roles.clone(),
            epoch: user.epoch,
        }
    }
}

impl Purpose {
    /// Whether one link for this takes the place of one for the other.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Invitation { name, account, .. },
                Self::Invitation {
                    name: other,
                    account: there,
                    ..
                },
            ) => name == other && account == there,
            (Self::Password { name, .. }, Self::Password { name: other, .. }) => name == other,
            (Self::Setup, Self::Setup) => true,
            (Self::Setup | Self::Password { .. } | Self::Invitation { .. }, _) => false,
        }
    }
}

/// Why a link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound is reached.
    #[error("{MAX_LINKS} links wait to be followed; take some back, or wait for their end")]
    Full,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] config::Error),
}

/// A link that was found, and what it is stored as.
#[derive(Clone, Debug)]
pub struct Found<'c> {
    /// The link.
    pub link: StoredLink,
    /// As it is stored: who follows it removes it in the same commit.
    pub entity: &'c Entity,
}

/// Stores a link in the place of all others for the same purpose and of those that have ended;
/// returns its code, which is kept nowhere.
///
/// # Errors
/// [`Error`].
pub fn create(
    store: &dyn ConfigStore,
    purpose: Purpose,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<Secret, Error> {
    let (code, sha256) = mint_as(PREFIX).map_err(|_unspecified| Error::Random)?;
    let contents = store.read()?;
    let (old, kept): (Vec<&Entity>, Vec<&Entity>) = contents.of(Kind::Link).partition(|entity| {
        parse(entity).is_none_or(|link| link.expires_at <= now || purpose.replaces(&link.purpose))
    });
    if kept.len() >= MAX_LINKS {
        return Err(Error::Full);
    }
    let link = StoredLink {
        purpose,
        created_at: now,
        expires_at,
    };
    // It is made of texts and numbers only.
    let body = serde_json::to_string(&link).unwrap_or_default();
    let mut changes: Vec<Change> = old.into_iter().map(Change::remove).collect();
    changes.push(Change::add(Kind::Link, &sha256.to_string(), body));
    store.commit(&changes)?;
    Ok(code)
}

/// The link of a code, if it has not ended.
#[must_use]
pub fn find<'c>(contents: &'c Contents, code: &Secret, now: Timestamp) -> Option<Found<'c>> {
    let Sha256(digest) = tokens::sha256(code);
    let entity = contents.find(Kind::Link, &Sha256(digest).to_string())?;
    let link = parse(entity).filter(|link| now < link.expires_at)?;
    Some(Found { link, entity })
}

/// Every link that has not ended.
pub fn all(contents: &Contents, now: Timestamp) -> impl Iterator<Item = Found<'_>> {
    contents.of(Kind::Link).filter_map(move |entity| {
        let link = parse(entity).filter(|link| now < link.expires_at)?;
        Some(Found { link, entity })
    })
}

/// The link that an entity is, whether or not it has ended.
#[must_use]
pub fn parse(entity: &Entity) -> Option<StoredLink> {
    serde_json::from_str(&entity.body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryConfig;

    const fn at(n: u64) -> Timestamp {
        Timestamp::from_micros(n)
    }

    fn purposes(store: &MemoryConfig, now: u64) -> usize {
        all(&store.read().unwrap(), at(now)).count()
    }

    #[test]
    fn a_link_is_found_by_its_code_until_it_ends_and_its_code_is_stored_nowhere() {
        let store = MemoryConfig::default();
        let code = create(&store, Purpose::Setup, (at(1), at(9))).unwrap();
        let contents = store.read().unwrap();
        let found = |code: &Secret, now| find(&contents, code, at(now)).map(|one| one.link.purpose);
        assert_eq!(found(&code, 8), Some(Purpose::Setup));
        assert_eq!(found(&code, 9), None);
        assert_eq!(found(&Secret::new("isl_other"), 8), None);
        assert!(!format!("{contents:?}").contains(code.expose()));
    }

    #[test]
    fn one_link_is_kept_for_each_purpose() {
        let store = MemoryConfig::default();
        let password = |name: &str, epoch: u64| Purpose::Password {
            name: name.into(),
            standing: Some(Standing::of(&StoredUser::new(name, at(epoch)))),
        };
        let first = create(&store, password("a", 1), (at(1), at(9))).unwrap();
        create(&store, password("b", 1), (at(1), at(5))).unwrap();
        assert_eq!(purposes(&store, 2), 2);
        let second = create(&store, password("a", 2), (at(2), at(9))).unwrap();
        let contents = store.read().unwrap();
        assert!(find(&contents, &first, at(2)).is_none());
        assert!(find(&contents, &second, at(2)).is_some());
        assert_eq!((purposes(&store, 2), purposes(&store, 5)), (2, 1));
        create(&store, Purpose::Setup, (at(6), at(9))).unwrap();
        assert_eq!(store.read().unwrap().of(Kind::Link).count(), 2);
    }
}
