//! What is configured beside the file: entities, versioned, changed together or not at all.
//!
//! A store knows nothing of what an entity means: it keeps a text of JSON under a kind and an id.
//! No request reads it; the server compiles what is there into its snapshot whenever
//! [`ConfigStore::revision`] has changed. [`history`] is what it remembers of each change.

pub mod history;

use std::fmt;

use isango_types::Clock;

use self::history::{Author, Revision};
use crate::audit::{Entry, Event, Report, Wanted};

/// Largest body of an entity, in bytes.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// Keeps entities.
pub trait ConfigStore: Send + Sync {
    /// Grows with every commit, by whichever process; 0: nothing was ever stored. Cheap: it is asked
    /// twice a second.
    ///
    /// # Errors
    /// The store cannot be read.
    fn revision(&self) -> Result<u64, Error>;

    /// Everything, as it is at one moment.
    ///
    /// # Errors
    /// The store cannot be read.
    fn read(&self) -> Result<Contents, Error>;

    /// Makes all changes, or none, and remembers whose they are, in the [audit](crate::audit) trail,
    /// too; returns the new revision. It is kept when this returns.
    ///
    /// # Errors
    /// [`Error::Conflict`]: an entity is not as the change expects; read again, then try again.
    /// [`Error::TooLarge`]. [`Error::Invalid`], where what is committed is put in force at once.
    /// [`Error::Failed`].
    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, Error>;

    /// [`ConfigStore::commit_as`], as long as the store stands at `revision`.
    ///
    /// # Errors
    /// [`Error::Moved`]: it does not. Those of [`ConfigStore::commit_as`].
    fn commit_at(&self, author: &Author, changes: &[Change], revision: u64) -> Result<u64, Error> {
        match self.revision()? == revision {
            true => self.commit_as(author, changes),
            false => Err(Error::Moved),
        }
    }

    /// Checks what [`ConfigStore::commit_as`] would say of these changes, and makes none.
    ///
    /// # Errors
    /// Those of [`ConfigStore::commit_as`].
    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        self.read()?.with(changes).map(drop)
    }

    /// [`ConfigStore::commit_as`] the command line, now.
    ///
    /// # Errors
    /// Those of [`ConfigStore::commit_as`].
    fn commit(&self, changes: &[Change]) -> Result<u64, Error> {
        let author = Author {
            who: history::COMMAND_LINE.into(),
            at: Clock::system().now(),
            address: None,
        };
        self.commit_as(&author, changes)
    }

    /// The revisions before the one of this number, the newest first: `limit` of them, at most
    /// [`history::MAX_PAGE`]. [`history::MAX_REVISIONS`] are remembered.
    ///
    /// # Errors
    /// The store cannot be read.
    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error>;

    /// Writes into the audit trail what is no change of an entity. It is kept when this returns.
    ///
    /// # Errors
    /// Nothing is noted.
    fn note(&self, events: &[Event]) -> Result<(), Error>;

    /// Entries of the audit trail.
    ///
    /// # Errors
    /// The store cannot be read.
    fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, Error>;

    /// Number of the newest entry of the audit trail; 0: there is none. Cheap.
    ///
    /// # Errors
    /// The store cannot be read.
    fn trail_end(&self) -> Result<u64, Error>;

    /// Follows the chain of the audit trail.
    ///
    /// # Errors
    /// The store cannot be read.
    fn verify_trail(&self) -> Result<Report, Error>;

    /// Entities that are there and are not read, because nobody can vouch for them
    /// ([`Vouched`](crate::vouched::Vouched)).
    ///
    /// # Errors
    /// The store cannot be read.
    fn refused(&self) -> Result<Vec<Refused>, Error> {
        Ok(Vec::new())
    }

    /// Entities that are vouched for with a key that was replaced since.
    ///
    /// # Errors
    /// The store cannot be read.
    fn stale(&self) -> Result<Vec<Entity>, Error> {
        Ok(Vec::new())
    }
}

/// An entity that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it is there; nothing of it is to be believed.
    pub entity: Entity,
    /// Why.
    pub flaw: Flaw,
}

/// Why nobody can vouch for an entity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It was stored when there was no key, or slipped in.
    #[error("nobody vouches for it; if it is yours, `isango token seal` does")]
    Unvouched,
    /// It is not what was stored, or not where it was put.
    #[error("it was changed or moved after it was stored")]
    Edited,
    /// The key that vouches for it is not configured.
    #[error("it is vouched for with a key ({0}) that is not configured")]
    UnknownKey(Box<str>),
}

/// What kinds of entities there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A gateway token, by its name.
    Token,
    /// A provider credential, sealed; by gateway, provider and alias.
    Credential,
    /// A gateway, what is secret of it sealed; by account and id.
    Gateway,
    /// A view of requests that somebody saved, by account and id.
    View,
    /// Somebody who signs in, by their name.
    User,
    /// A link that works once, by the digest of its code.
    Link,
    /// A job that exports records, its destination sealed; by account and number.
    Export,
    /// A provider that an account has for itself, its headers sealed; by account and id.
    Provider,
    /// A price that an account set for itself, by account and id.
    Price,
    /// Until when an alert is quiet, by account, gateway and alert.
    Mute,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Token,
        Self::Credential,
        Self::Gateway,
        Self::View,
        Self::User,
        Self::Link,
        Self::Export,
        Self::Provider,
        Self::Price,
        Self::Mute,
    ];

    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Credential => "credential",
            Self::Gateway => "gateway",
            Self::View => "view",
            Self::User => "user",
            Self::Link => "link",
            Self::Export => "export",
            Self::Provider => "provider",
            Self::Price => "price",
            Self::Mute => "mute",
        }
    }

    /// The members of a body that history forgets, as JSON pointers (RFC 6901): what opens
    /// something, and what must not come back once it was removed.
    #[must_use]
    pub const fn forgotten(self) -> &'static [&'static str] {
        match self {
            Self::Token => &["/token/digests", "/mac"],
            Self::Credential => &["/sealed"],
            Self::Gateway | Self::Export | Self::Provider => &["/sealed"],
            Self::View | Self::Price | Self::Mute => &[],
            Self::User => &["/password", "/mac"],
            Self::Link => &["/mac"],
        }
    }

    /// Whether what it once was can be had again without what history forgets.
    #[must_use]
    pub const fn comes_back(self) -> bool {
        match self {
            Self::Gateway | Self::View | Self::Price => true,
            Self::Token
            | Self::Credential
            | Self::User
            | Self::Link
            | Self::Export
            | Self::Provider
            | Self::Mute => false,
        }
    }

    /// Whether somebody must vouch for what is stored, once there are keys. A credential is sealed
    /// together with all that matters of it.
    #[must_use]
    pub const fn is_vouched_for(self) -> bool {
        match self {
            Self::Token | Self::User | Self::Link => true,
            Self::Credential
            | Self::Gateway
            | Self::View
            | Self::Export
            | Self::Provider
            | Self::Price
            | Self::Mute => false,
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One stored thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub id: Box<str>,
    /// How often it was written: 1 when it is new.
    pub version: u64,
    /// JSON.
    pub body: Box<str>,
}

/// All that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The revision that this is.
    pub revision: u64,
    /// By kind and id.
    pub entities: Vec<Entity>,
}

impl Contents {
    /// The entities of a kind, by id.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Entity> {
        self.entities
            .iter()
            .filter(move |entity| entity.kind == kind)
    }

    /// The entity of this kind and id.
    #[must_use]
    pub fn find(&self, kind: Kind, id: &str) -> Option<&Entity> {
        self.of(kind).find(|entity| *entity.id == *id)
    }

    /// This with all changes made, as the revision behind it.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooLarge`]: what [`Change::check`] says of one of them.
    pub fn with(&self, changes: &[Change]) -> Result<Self, Error> {
        let mut next = self.clone();
        for change in changes {
            let is_it = |one: &Entity| one.kind == change.kind && one.id == change.id;
            let at = next.entities.iter().position(is_it);
            change.check(at.map_or(0, |at| next.entities[at].version))?;
            if let Some(at) = at {
                next.entities.remove(at);
            }
            if let Some(body) = &change.body {
                next.entities.push(Entity {
                    kind: change.kind,
                    id: change.id.clone(),
                    version: change.based_on + 1,
                    body: body.clone(),
                });
            }
        }
        next.entities
            .sort_unstable_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        next.revision += 1;
        Ok(next)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it changes.
    pub kind: Kind,
    /// Which one of its kind.
    pub id: Box<str>,
    /// The version that it is based on; 0: there is none yet.
    pub based_on: u64,
    /// The new body; `None`: it is removed.
    pub body: Option<Box<str>>,
}

impl Change {
    /// Makes a new entity.
    #[must_use]
    pub fn add(kind: Kind, id: &str, body: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            id: id.into(),
            based_on: 0,
            body: Some(body.into()),
        }
    }

    /// Gives an entity another body.
    #[must_use]
    pub fn replace(entity: &Entity, body: impl Into<Box<str>>) -> Self {
        Self {
            kind: entity.kind,
            id: entity.id.clone(),
            based_on: entity.version,
            body: Some(body.into()),
        }
    }

    /// Removes an entity.
    #[must_use]
    pub fn remove(entity: &Entity) -> Self {
        Self {
            kind: entity.kind,
            id: entity.id.clone(),
            based_on: entity.version,
            body: None,
        }
    }

    /// Checks it against the version that there is, 0 for none.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooLarge`].
    pub fn check(&self, version: u64) -> Result<(), Error> {
        let (kind, id) = (self.kind, self.id.clone());
        if self
            .body
            .as_ref()
            .is_some_and(|body| body.len() > MAX_BODY_BYTES)
        {
            return Err(Error::TooLarge { kind, id });
        }
        match self.based_on == version {
            true => Ok(()),
            false => Err(Error::Conflict { kind, id }),
        }
    }
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has changed the entity, made it or removed it.
    #[error("{kind} `{id}` has changed meanwhile")]
    Conflict {
        /// What it is.
        kind: Kind,
        /// Which one.
        id: Box<str>,
    },
    /// The store is at another revision than the change was made for.
    #[error("the configuration has changed meanwhile")]
    Moved,
    /// The body is larger than [`MAX_BODY_BYTES`].
    #[error("{kind} `{id}` is too large to be stored")]
    TooLarge {
        /// What it is.
        kind: Kind,
        /// Which one.
        id: Box<str>,
    },
    /// What was to be put in force cannot be.
    #[error("{0}")]
    Invalid(Invalid),
    /// The store failed.
    #[error("the configuration store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is wrong with a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalid(pub Vec<Wrong>);

/// One thing that is wrong with an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which members of its body lead to it, from the outside; elements of a list by their number.
    pub path: Vec<Box<str>>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, wrong) in self.0.iter().enumerate() {
            let separator = if n > 0 { "; " } else { "" };
            write!(f, "{separator}{}", wrong.message)?;
        }
        Ok(())
    }
}
