//! Users in a [`ConfigStore`]: who they are, what they may do in which account, and what their
//! password is checked with. The password itself is kept nowhere.

use std::collections::BTreeMap;

use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Timestamp, is_account};
use serde::{Deserialize, Serialize};

use crate::config::{self, Change, ConfigStore, Contents, Entity, Kind};

/// Users that are stored at most.
pub const MAX_USERS: usize = 10_000;
/// Accounts that one user has roles in, at most.
pub const MAX_ROLES: usize = 64;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// How often a change is tried again that somebody else's came before.
const TRIES: usize = 4;

/// A user as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUser {
    /// What they sign in with, in lower case; unique.
    pub name: Box<str>,
    /// What they may do, by account; under [`EVERY_ACCOUNT`] what they may do in each.
    pub roles: BTreeMap<Box<str>, Role>,
    /// What their password is checked with; `None`: no password lets them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// Who they are at a provider of identities; `None`: it lets nobody in as them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Sessions of another epoch are over. It begins with the microsecond in which they were made:
    /// nobody inherits the sessions of a namesake.
    pub epoch: u64,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub modified_at: Timestamp,
}

/// Somebody at a provider of identities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The provider: the `iss` of its ID tokens.
    pub issuer: Box<str>,
    /// Who it is there: their `sub`. Addresses change hands, this does not.
    pub subject: Box<str>,
    /// Whether their roles follow from what the provider says; otherwise they were given here.
    pub rules: bool,
}

impl Subject {
    /// Whether it is the same somebody.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}

/// What a password is checked with: Argon2id (RFC 9106), version 0x13, in base64 without padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// What no two passwords share.
    pub salt: Box<str>,
    /// What comes of it.
    pub hash: Box<str>,
}

/// Why a user could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be one.
    #[error("{0}")]
    Wrong(String),
    /// There is one of that name.
    #[error("there is a user `{0}` already")]
    Taken(Box<str>),
    /// There is none of that name.
    #[error("there is no user `{0}`")]
    Unknown(Box<str>),
    /// A bound is reached.
    #[error("{0}")]
    Full(&'static str),
    /// What is stored is no user.
    #[error("user `{0}` cannot be read: what is stored is damaged, or from a newer version")]
    Damaged(Box<str>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] config::Error),
}

impl StoredUser {
    /// A user without roles and password.
    #[must_use]
    pub fn new(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.into(),
            roles: BTreeMap::new(),
            password: None,
            subject: None,
            epoch: now.as_micros(),
            created_at: now,
            modified_at: now,
        }
    }

    /// Ends all of their sessions.
    pub fn end_sessions(&mut self, now: Timestamp) {
        self.epoch = now.as_micros().max(self.epoch + 1);
    }

    /// What they may do in an account; `None`: it is not there for them.
    #[must_use]
    pub fn role(&self, account: &str) -> Option<Role> {
        let everywhere = self.roles.get(EVERY_ACCOUNT);
        let here = self.roles.get(account);
        // The stronger of both; roles are listed by strength.
        Role::ALL
            .into_iter()
            .find(|role| here == Some(role) || everywhere == Some(role))
    }

    /// Whether they own everything.
    #[must_use]
    pub fn owns_all(&self) -> bool {
        self.roles.get(EVERY_ACCOUNT) == Some(&Role::Owner)
    }

    /// The user that an entity is.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn parse(entity: &Entity) -> Result<Self, Error> {
        let damaged = || Error::Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        match stored.name == entity.id {
            true => Ok(stored),
            false => Err(damaged()),
        }
    }

    /// What stores them for the first time.
    ///
    /// # Errors
    /// [`Error::Wrong`].
    pub fn to_add(&self) -> Result<Change, Error> {
        self.check()?;
        Ok(Change::add(Kind::User, &self.name, self.body()?))
    }

    /// What stores them in the place of what was stored.
    ///
    /// # Errors
    /// [`Error::Wrong`].
    pub fn to_replace(&self, entity: &Entity) -> Result<Change, Error> {
        self.check()?;
        Ok(Change::replace(entity, self.body()?))
    }

    fn body(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_unwritable| Error::Damaged(self.name.clone()))
    }

    fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        if self.roles.len() > MAX_ROLES {
            let message = format!("a user has roles in at most {MAX_ROLES} accounts");
            return Err(Error::Wrong(message));
        }
        let mut accounts = self.roles.keys();
        match accounts.find(|account| ***account != *EVERY_ACCOUNT && !is_account(account)) {
            Some(account) => Err(Error::Wrong(format!("`{account}` is no account"))),
            None => Ok(()),
        }
    }
}

/// A name as it is stored: what somebody types, without regard to case and to space around it.
#[must_use]
pub fn to_name(typed: &str) -> Box<str> {
    typed.trim().to_ascii_lowercase().into()
}

/// # Errors
/// [`Error::Wrong`]: nobody can be called so.
pub fn check_name(name: &str) -> Result<(), Error> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    let is_right = (1..=MAX_NAME).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(is_inner)
        && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    match is_right {
        true => Ok(()),
        false => Err(Error::Wrong(format!(
            "`{name}` is no name of a user: up to {MAX_NAME} letters, digits and `.`, `_`, `@`, \
             `+`, `-`, the first one a letter or a digit; an address of e-mail is one"
        ))),
    }
}

/// Every stored user, by name; what cannot be read is an error of its own and no user.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredUser, Error>> {
    contents.of(Kind::User).map(StoredUser::parse)
}

/// Whether somebody owns everything.
#[must_use]
pub fn has_owner(contents: &Contents) -> bool {
    all(contents)
        .filter_map(Result::ok)
        .any(|user| user.owns_all())
}

/// # Errors
/// [`Error::Full`].
pub fn check_room(contents: &Contents) -> Result<(), Error> {
    match contents.of(Kind::User).count() < MAX_USERS {
        true => Ok(()),
        false => Err(Error::Full("10000 users are stored; remove some")),
    }
}

/// Changes the user `name`: again, where somebody else's change came in between. Who has no role any
/// more is removed. What they are now; `None`: removed.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Wrong`], [`Error::Damaged`], [`Error::Store`], and what `change`
/// says.
pub fn change<E: From<Error>>(
    store: &dyn ConfigStore,
    name: &str,
    now: Timestamp,
    change: impl Fn(&mut StoredUser) -> Result<(), E>,
) -> Result<Option<StoredUser>, E> {
    let mut tries = TRIES;
    loop {
        let contents = store.read().map_err(Error::from)?;
        let entity = contents.find(Kind::User, name);
        let entity = entity.ok_or_else(|| Error::Unknown(name.into()))?;
        let mut user = StoredUser::parse(entity)?;
        change(&mut user)?;
        user.modified_at = now;
        let is_gone = user.roles.is_empty();
        let change = match is_gone {
            true => Change::remove(entity),
            false => user.to_replace(entity)?,
        };
        tries -= 1;
        match store.commit(&[change]) {
            Ok(_revision) => return Ok((!is_gone).then_some(user)),
            Err(config::Error::Conflict { .. }) if tries > 0 => {}
            Err(error) => return Err(Error::from(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryConfig;

    const NOW: Timestamp = Timestamp::from_micros(5);

    fn user(roles: &[(&str, Role)]) -> StoredUser {
        let roles = roles
            .iter()
            .map(|(account, role)| ((*account).into(), *role));
        StoredUser {
            roles: roles.collect(),
            ..StoredUser::new("ada", NOW)
        }
    }

    #[test]
    fn the_stronger_role_counts_where_there_are_two() {
        let check = |roles: &[(&str, Role)], account: &str, role: Option<Role>| {
            assert_eq!(user(roles).role(account), role, "{roles:?} {account}");
        };
        let both = [("*", Role::Viewer), ("a", Role::Admin)];
        check(&both, "a", Some(Role::Admin));
        check(&both, "b", Some(Role::Viewer));
        check(
            &[("*", Role::Owner), ("a", Role::Viewer)],
            "a",
            Some(Role::Owner),
        );
        check(&[("a", Role::Owner)], "b", None);
        check(&[("a", Role::Owner)], "*", None);
        assert!(user(&[("*", Role::Owner)]).owns_all());
        assert!(!user(&both).owns_all() && !user(&[("a", Role::Owner)]).owns_all());
    }

    #[test]
    fn names_are_those_that_people_type() {
        for right in ["ada", "ada.lovelace@example.com", "7-up", &"a".repeat(128)] {
            assert!(check_name(right).is_ok(), "{right}");
        }
        for wrong in ["", "Ada", ".a", "a b", "a/b", "a\n", "é", &"a".repeat(129)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(&*to_name(" Ada@Example.com "), "ada@example.com");
    }

    #[test]
    fn who_has_no_role_any_more_is_gone() {
        let store = MemoryConfig::default();
        let ada = user(&[("a", Role::Admin), ("b", Role::Viewer)]);
        store.commit(&[ada.to_add().unwrap()]).unwrap();
        let without = |account: &str| {
            change(&store, "ada", NOW, |user| {
                user.roles.remove(account);
                Ok::<_, Error>(())
            })
        };
        assert_eq!(without("a").unwrap().unwrap().roles.len(), 1);
        assert_eq!(without("b").unwrap(), None);
        assert!(matches!(without("b").unwrap_err(), Error::Unknown(_)));
    }

    #[test]
    fn what_is_no_user_is_told_and_opens_nothing() {
        let store = MemoryConfig::default();
        let moved = user(&[("*", Role::Owner)]).to_add().unwrap().body;
        let changes = [("eve", moved), ("x", Some("{".into()))].map(|(id, body)| Change {
            kind: Kind::User,
            id: id.into(),
            based_on: 0,
            body,
        });
        store.commit(&changes).unwrap();
        let contents = store.read().unwrap();
        assert_eq!(all(&contents).filter(Result::is_err).count(), 2);
        assert!(!has_owner(&contents));
    }
}
