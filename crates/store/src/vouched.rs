//! A [`ConfigStore`] whose entities are vouched for: each carries a code (HMAC-SHA-256) over what it
//! is, which one, and all that it says, by a key that is not stored with it. What is edited, moved
//! or slipped in by somebody who can write the file but has no key is not read.
//!
//! Removing an entity, or putting an older one of the same name back, is not noticed.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::audit::{Entry, Event, Report, Wanted};
use crate::config::history::{Author, Revision};
use crate::config::{Change, ConfigStore, Contents, Entity, Error, Flaw, Kind, Refused};
use crate::seal::{Keyring, SealError};

/// Before the code, at the end of the body's object.
const MEMBER: &str = ",\"mac\":\"";
/// Behind it.
const END: &str = "\"}";

/// A store, and the keys that vouch for what is in it. Without keys nothing is checked.
pub struct Vouched {
    store: Arc<dyn ConfigStore>,
    keyring: RwLock<Option<Arc<Keyring>>>,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vouched")
            .field("keyring", &self.keyring)
            .finish_non_exhaustive()
    }
}

/// An entity without its code, and what is wrong with it; with which key it is vouched for is told
/// where that is not the current one.
struct Judged {
    entity: Entity,
    flaw: Option<Flaw>,
    is_stale: bool,
}

impl Vouched {
    /// The same store with these keys.
    #[must_use]
    pub fn new(store: Arc<dyn ConfigStore>, keyring: Option<Arc<Keyring>>) -> Self {
        Self {
            store,
            keyring: RwLock::new(keyring),
        }
    }

    /// Checks and vouches with these keys from now on.
    pub fn use_keys(&self, keyring: Option<Arc<Keyring>>) {
        *self.keyring.write() = keyring;
    }

    /// Vouches for entities that nobody has vouched for, as they are; tells their ids.
    ///
    /// # Errors
    /// Those of [`ConfigStore::commit`].
    pub fn adopt(&self) -> Result<Vec<Box<str>>, Error> {
        let refused = self.refused()?.into_iter();
        let unvouched = refused.filter(|one| one.flaw == Flaw::Unvouched);
        let entities: Vec<Entity> = unvouched.map(|one| one.entity).collect();
        let changes: Vec<Change> = entities
            .iter()
            .map(|entity| Change::replace(entity, entity.body.clone()))
            .collect();
        if !changes.is_empty() {
            self.commit(&changes)?;
        }
        Ok(entities.into_iter().map(|entity| entity.id).collect())
    }

    fn judge(&self, entity: Entity) -> Judged {
        let (body, code) = match parted(&entity.body) {
            Some((body, code)) if entity.kind.is_vouched_for() => (body, Some(code)),
            Some(_) | None => ((*entity.body).to_owned(), None),
        };
        let keyring = self.keyring.read();
        let keyring = keyring.as_ref().filter(|_| entity.kind.is_vouched_for());
        let flaw = match (keyring, code) {
            (None, _) => None,
            (Some(_), None) => Some(Flaw::Unvouched),
            (Some(keyring), Some(code)) => {
                match keyring.is_vouched(&place(entity.kind, &entity.id), &body, code) {
                    Ok(()) => None,
                    Err(SealError::UnknownKey(id)) => Some(Flaw::UnknownKey(id)),
                    Err(SealError::Key | SealError::Forged | SealError::Failed) => {
                        Some(Flaw::Edited)
                    }
                }
            }
        };
        let is_current = |keyring: &Arc<Keyring>| code.is_some_and(|code| keyring.is_current(code));
        Judged {
            is_stale: flaw.is_none() && keyring.is_some_and(|keyring| !is_current(keyring)),
            flaw,
            entity: Entity {
                body: body.into(),
                ..entity
            },
        }
    }

    fn vouch(&self, change: &Change) -> Change {
        let mut change = change.clone();
        let keyring = self.keyring.read();
        if let (Some(keyring), Some(body), true) =
            (&*keyring, &change.body, change.kind.is_vouched_for())
            && let Some(inner) = body.strip_suffix('}')
        {
            let code = keyring.current.vouch(&place(change.kind, &change.id), body);
            change.body = Some(format!("{inner}{MEMBER}{code}{END}").into());
        }
        change
    }
}

/// The body without its code, and the code; `None`: it has none.
fn parted(body: &str) -> Option<(String, &str)> {
    let (inner, code) = body.strip_suffix(END)?.rsplit_once(MEMBER)?;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || b":+/=".contains(&byte);
    code.bytes()
        .all(is_code)
        .then(|| (format!("{inner}}}"), code))
}

/// What a code is bound to beside the body: each part with its length, so that no two can be spelled
/// alike.
fn place(kind: Kind, id: &str) -> Vec<u8> {
    let mut bytes = b"isango entity 1".to_vec();
    for part in [kind.as_str(), id] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

impl ConfigStore for Vouched {
    fn revision(&self) -> Result<u64, Error> {
        self.store.revision()
    }

    fn read(&self) -> Result<Contents, Error> {
        let mut contents = self.store.read()?;
        let judged = contents.entities.drain(..).map(|entity| self.judge(entity));
        let good: Vec<Entity> = judged
            .filter(|judged| judged.flaw.is_none())
            .map(|judged| judged.entity)
            .collect();
        contents.entities = good;
        Ok(contents)
    }

    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, Error> {
        let vouched: Vec<Change> = changes.iter().map(|change| self.vouch(change)).collect();
        self.store.commit_as(author, &vouched)
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

    fn refused(&self) -> Result<Vec<Refused>, Error> {
        let judged = self.store.read()?.entities.into_iter();
        let refused = judged.filter_map(|entity| {
            let Judged { entity, flaw, .. } = self.judge(entity);
            flaw.map(|flaw| Refused { entity, flaw })
        });
        Ok(refused.collect())
    }

    fn stale(&self) -> Result<Vec<Entity>, Error> {
        let judged = self.store.read()?.entities.into_iter();
        let judged = judged.map(|entity| self.judge(entity));
        let stale = judged.filter(|judged| judged.is_stale);
        Ok(stale.map(|judged| judged.entity).collect())
    }
}

#[cfg(test)]
mod tests {
    use isango_types::{Secret, Timestamp, Token};

    use super::*;
    use crate::memory::MemoryConfig;
    use crate::seal::SealKey;
    use crate::{conformance, credentials, tokens};

    const NOW: Timestamp = Timestamp::from_micros(5);

    fn key(n: u8) -> SealKey {
        SealKey::parse(&Secret::new(format!("{n:02x}").repeat(32))).unwrap()
    }

    fn ring(current: u8, previous: Option<u8>) -> Option<Arc<Keyring>> {
        Some(Arc::new(Keyring {
            current: key(current),
            previous: previous.map(key),
        }))
    }

    /// Names of the tokens that are read, and what is wrong with the others.
    fn seen(store: &Vouched) -> (Vec<String>, Vec<Flaw>) {
        let contents = store.read().unwrap();
        let names = tokens::all(&contents).map(|one| one.unwrap().token.name.to_string());
        let refused = store.refused().unwrap().into_iter();
        (names.collect(), refused.map(|one| one.flaw).collect())
    }

    /// A store with the tokens `a` and `b`, vouched for with key 1, and what lies beneath it.
    fn two() -> (Arc<MemoryConfig>, Vouched) {
        let raw = Arc::new(MemoryConfig::default());
        let store = Vouched::new(Arc::clone(&raw) as _, ring(1, None));
        for name in ["a", "b"] {
            tokens::create(&store, Token::new("local", name), NOW).unwrap();
        }
        (raw, store)
    }

    /// Writes a row as somebody does who has the file and no key.
    fn write(raw: &MemoryConfig, id: &str, body: &str) {
        let contents = raw.read().unwrap();
        let change = match contents.find(Kind::Token, id) {
            Some(entity) => Change::replace(entity, body),
            None => Change::add(Kind::Token, id, body),
        };
        raw.commit(&[change]).unwrap();
    }

    fn body(raw: &MemoryConfig, id: &str) -> String {
        let contents = raw.read().unwrap();
        contents.find(Kind::Token, id).unwrap().body.to_string()
    }

    #[test]
    fn it_is_a_store_like_any_other() {
        conformance::config(|| Vouched::new(Arc::<MemoryConfig>::default(), None));
    }

    #[test]
    fn what_is_edited_moved_or_slipped_in_is_not_read() {
        for (edit, flaw) in [
            ("\"run\"", Flaw::Edited),
            ("\"local\"", Flaw::Edited),
            ("\"mac\":\"1", Flaw::Edited),
        ] {
            let (raw, store) = two();
            assert_eq!(seen(&store), (vec!["a".into(), "b".into()], vec![]));
            let with = if edit.contains("mac") {
                "\"mac\":\"2"
            } else {
                "\"write\""
            };
            write(&raw, "a", &body(&raw, "a").replace(edit, with));
            assert_eq!(seen(&store), (vec!["b".into()], vec![flaw]), "{edit}");
        }
        let (raw, store) = two();
        let of_b = body(&raw, "b");
        write(&raw, "a", &of_b);
        assert_eq!(seen(&store), (vec!["b".into()], vec![Flaw::Edited]));
        // Without any code it is no better.
        let (stripped, _) = parted(&of_b).unwrap();
        write(&raw, "b", &stripped);
        assert_eq!(seen(&store), (vec![], vec![Flaw::Edited, Flaw::Unvouched]));
    }

    #[test]
    fn what_was_stored_before_there_was_a_key_is_read_once_it_is_adopted() {
        let raw = Arc::new(MemoryConfig::default());
        let store = Vouched::new(Arc::clone(&raw) as _, None);
        tokens::create(&store, Token::new("local", "a"), NOW).unwrap();
        assert_eq!(seen(&store), (vec!["a".into()], vec![]));
        store.use_keys(ring(1, None));
        assert_eq!(seen(&store), (vec![], vec![Flaw::Unvouched]));
        assert_eq!(store.adopt().unwrap(), ["a".into()]);
        assert_eq!(seen(&store), (vec!["a".into()], vec![]));
        // Nobody has to have the key to read it where none is configured.
        store.use_keys(None);
        assert_eq!(seen(&store), (vec!["a".into()], vec![]));
    }

    #[test]
    fn adopting_takes_up_nothing_that_was_edited() {
        let (raw, store) = two();
        write(&raw, "a", &body(&raw, "a").replace("\"run\"", "\"write\""));
        assert_eq!(store.adopt().unwrap(), [""; 0].map(Into::into));
        assert_eq!(seen(&store), (vec!["b".into()], vec![Flaw::Edited]));
        // It can be removed all the same.
        tokens::forget(&store, ("local", "a")).unwrap();
        assert_eq!(seen(&store), (vec!["b".into()], vec![]));
    }

    #[test]
    fn another_key_vouches_for_everything_or_nothing() {
        let (raw, store) = two();
        store.use_keys(ring(2, None));
        let unknown = || Flaw::UnknownKey(key(1).id().into());
        assert_eq!(seen(&store), (vec![], vec![unknown(), unknown()]));
        let both = ring(2, Some(1)).unwrap();
        store.use_keys(Some(Arc::clone(&both)));
        assert_eq!(credentials::reseal(&store, &both).unwrap(), 2);
        assert_eq!(credentials::reseal(&store, &both).unwrap(), 0);
        store.use_keys(ring(2, None));
        assert_eq!(seen(&store), (vec!["a".into(), "b".into()], vec![]));
        write(&raw, "a", &body(&raw, "a").replace("\"run\"", "\"write\""));
        let next = ring(3, Some(2)).unwrap();
        store.use_keys(Some(Arc::clone(&next)));
        let before = raw.read().unwrap();
        assert!(credentials::reseal(&store, &next).is_err());
        assert_eq!(raw.read().unwrap(), before);
    }
}
