//! Who changed what, and when: the trail of all changes, from which what was once configured can be
//! had again.

use std::net::IpAddr;

use isango_types::Timestamp;
use serde_json::Value;

use super::{Change, ConfigStore, Contents, Entity, Error, Kind, Refused};
use crate::audit::{Entry, Event, Report, Wanted};

/// Revisions that are remembered; older ones are forgotten.
pub const MAX_REVISIONS: usize = 10_000;
/// Revisions that are told at once.
pub const MAX_PAGE: usize = 1_000;
/// Whoever changes the configuration on its own machine, with commands.
pub const COMMAND_LINE: &str = "command line";

/// Whose a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Name of a token or a user, or [`COMMAND_LINE`].
    pub who: Box<str>,
    /// When it was made.
    pub at: Timestamp,
    /// From where; the audit trail has it. `None`: from this machine, by a command.
    pub address: Option<IpAddr>,
}

/// A store whose changes are somebody's, for those who do not know whose.
pub struct As<'s> {
    store: &'s dyn ConfigStore,
    author: Author,
}

impl<'s> As<'s> {
    /// What is committed through it is `author`'s.
    #[must_use]
    pub fn new(store: &'s dyn ConfigStore, author: Author) -> Self {
        Self { store, author }
    }
}

impl ConfigStore for As<'_> {
    fn revision(&self) -> Result<u64, Error> {
        self.store.revision()
    }

    fn read(&self) -> Result<Contents, Error> {
        self.store.read()
    }

    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, Error> {
        self.store.commit_as(author, changes)
    }

    fn commit(&self, changes: &[Change]) -> Result<u64, Error> {
        self.store.commit_as(&self.author, changes)
    }

    fn refused(&self) -> Result<Vec<Refused>, Error> {
        self.store.refused()
    }

    fn stale(&self) -> Result<Vec<Entity>, Error> {
        self.store.stale()
    }

    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error> {
        self.store.history(before, limit)
    }

    fn note(&self, events: &[Event]) -> Result<(), Error> {
        self.store.note(events)
    }

    fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
        self.store.trail(wanted)
    }

    fn trail_end(&self) -> Result<u64, Error> {
        self.store.trail_end()
    }

    fn verify_trail(&self) -> Result<Report, Error> {
        self.store.verify_trail()
    }
}

impl std::fmt::Debug for As<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("As")
            .field("author", &self.author)
            .finish_non_exhaustive()
    }
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number; each is larger than those before.
    pub number: u64,
    /// Whose it is.
    pub author: Author,
    /// What it changed.
    pub changes: Vec<Changed>,
}

/// One entity before and after a commit, without what [`Kind::forgotten`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub id: Box<str>,
    /// Its body before; `None`: there was none.
    pub before: Option<Box<str>>,
    /// Its body after; `None`: it was removed.
    pub after: Option<Box<str>>,
}

impl Changed {
    /// What history keeps of a change to what there was before.
    #[must_use]
    pub fn of(change: &Change, before: Option<&str>) -> Self {
        let kept = |body: &str| without(body, change.kind.forgotten());
        Self {
            kind: change.kind,
            id: change.id.clone(),
            before: before.map(kept),
            after: change.body.as_deref().map(kept),
        }
    }
}

/// A body without the members that these pointers lead to.
fn without(body: &str, pointers: &[&str]) -> Box<str> {
    if pointers.is_empty() {
        return body.into();
    }
    // What cannot be read may hold anything.
    let Ok(mut value) = serde_json::from_str::<Value>(body) else {
        return "null".into();
    };
    for pointer in pointers {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            continue;
        };
        if let Some(Value::Object(members)) = value.pointer_mut(parent) {
            members.remove(name);
        }
    }
    value.to_string().into()
}

/// What leads from what there is back to how it was at a revision, without what history forgets; of
/// entities that come back ([`Kind::comes_back`]) and that `concerns` admits.
///
/// # Errors
/// The store cannot be read; or the revision is older than what is remembered.
pub fn back_to(
    store: &dyn ConfigStore,
    revision: u64,
    concerns: &dyn Fn(Kind, &str) -> bool,
) -> Result<Option<Vec<Change>>, Error> {
    let now = store.read()?;
    if revision > now.revision {
        return Ok(None);
    }
    // By kind and id, how it was: the oldest change that is newer than the revision decides.
    let mut then: Vec<Changed> = Vec::new();
    let mut before = u64::MAX;
    loop {
        let page = store.history(before, MAX_PAGE)?;
        let is_last = page.len() < MAX_PAGE;
        for one in page {
            before = one.number;
            if one.number <= revision {
                return Ok(Some(differences(&now, &then)));
            }
            for changed in one.changes {
                if changed.kind.comes_back() && concerns(changed.kind, &changed.id) {
                    then.retain(|one| (one.kind, &one.id) != (changed.kind, &changed.id));
                    then.push(changed);
                }
            }
        }
        if is_last {
            // Nothing older is remembered: only the state before the first change of all is known.
            return Ok((revision == 0 && before == 1).then(|| differences(&now, &then)));
        }
    }
}

/// Whether two bodies are the same but for what history forgets.
fn is_same(kind: Kind, now: &str, then: &str) -> bool {
    now == then || without(now, kind.forgotten()) == without(then, kind.forgotten())
}

fn differences(now: &Contents, then: &[Changed]) -> Vec<Change> {
    let change = |was: &Changed| {
        let current: Option<&Entity> = now.find(was.kind, &was.id);
        match (current, &was.before) {
            (Some(current), Some(body)) if is_same(was.kind, &current.body, body) => None,
            (Some(current), Some(body)) => Some(Change::replace(current, body.clone())),
            (Some(current), None) => Some(Change::remove(current)),
            (None, Some(body)) => Some(Change::add(was.kind, &was.id, body.clone())),
            (None, None) => None,
        }
    };
    then.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryConfig;

    #[test]
    fn history_forgets_what_opens_something() {
        let check = |kind: Kind, body: &str, kept: &str| {
            let change = Change::add(kind, "a", body);
            assert_eq!(
                Changed::of(&change, Some(body)).before.as_deref(),
                Some(kept)
            );
            assert_eq!(Changed::of(&change, None).after.as_deref(), Some(kept));
        };
        check(
            Kind::Token,
            r#"{"token":{"name":"a","digests":[1]}}"#,
            r#"{"token":{"name":"a"}}"#,
        );
        check(
            Kind::Credential,
            r#"{"preview":"x","sealed":"s"}"#,
            r#"{"preview":"x"}"#,
        );
        check(Kind::Credential, "no JSON, sealed", "null");
        check(Kind::Gateway, r#"{"id":"a","sealed":{}}"#, r#"{"id":"a"}"#);
        check(Kind::View, r#"{"sealed":1}"#, r#"{"sealed":1}"#);
    }

    #[test]
    fn what_history_forgets_is_no_difference() {
        let store = MemoryConfig::default();
        let body = |sealed: &str| format!(r#"{{"sealed":"{sealed}","id":"a"}}"#);
        store
            .commit(&[Change::add(Kind::Gateway, "a", body("1"))])
            .unwrap();
        let contents = store.read().unwrap();
        let entity = contents.of(Kind::Gateway).next().unwrap();
        store.commit(&[Change::replace(entity, body("2"))]).unwrap();
        let changes = back_to(&store, 1, &|_, _| true).unwrap();
        assert_eq!(changes, Some(Vec::new()));
        let gone = back_to(&store, 0, &|_, _| true).unwrap().unwrap();
        assert_eq!(gone.len(), 1);
    }

    #[test]
    fn every_revision_can_be_had_again() {
        let store = MemoryConfig::default();
        let author = Author {
            who: "me".into(),
            at: Timestamp::from_micros(1),
            address: None,
        };
        let commit = |changes: &[Change]| store.commit_as(&author, changes).unwrap();
        let entity = |id: &str| {
            let contents = store.read().unwrap();
            contents.find(Kind::Gateway, id).cloned().unwrap()
        };
        commit(&[Change::add(Kind::Gateway, "a", "1")]);
        commit(&[
            Change::add(Kind::Gateway, "b", "1"),
            Change::add(Kind::Token, "t", "{}"),
        ]);
        commit(&[Change::replace(&entity("a"), "2")]);
        commit(&[Change::remove(&entity("b"))]);
        commit(&[Change::add(Kind::Gateway, "c", "1")]);
        let shown = || {
            let contents = store.read().unwrap();
            let gateways = contents.of(Kind::Gateway);
            let shown = gateways.map(|one| format!("{} {}", one.id, one.body));
            (
                shown.collect::<Vec<_>>().join(", "),
                contents.of(Kind::Token).count(),
            )
        };
        for (revision, then) in [
            (5, "a 2, c 1"),
            (4, "a 2"),
            (3, "a 2, b 1"),
            (2, "a 1, b 1"),
            (1, "a 1"),
            (0, ""),
            (5, "a 2, c 1"),
        ] {
            let changes = back_to(&store, revision, &|_, _| true).unwrap().unwrap();
            commit(&changes);
            assert_eq!(shown(), (then.to_owned(), 1), "{revision}");
        }
        let unconcerned = back_to(&store, 0, &|_, id| id == "x").unwrap();
        assert_eq!(unconcerned, Some(Vec::new()));
        assert_eq!(back_to(&store, 99, &|_, _| true).unwrap(), None);
    }
}
