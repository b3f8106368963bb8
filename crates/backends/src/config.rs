//! What is configured beside the file, in a file of SQLite: `config.sqlite` in the data folder.
//!
//! It is not there until something is stored. Other processes (the command line) write to it while
//! the server runs: each commit is synced before it returns, and raises the revision that the
//! server looks at. There is no write-ahead log, so that looking makes no file. The audit trail
//! (`trail`) stands beside, and is written in the commits that it tells of.

mod trail;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isango_store::audit::{self, Entry, Event, Report, Wanted};
use isango_store::config::history::{self, Author, Changed, MAX_REVISIONS, Revision};
use isango_store::config::{Change, ConfigStore, Contents, Entity, Error as StoreError, Kind};
use isango_types::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::sqlite::{self, Error};

/// Name of the file.
const FILE: &str = "config.sqlite";
/// How long a writer waits for others, each of whose commits is synced.
const PATIENCE: Duration = Duration::from_secs(10);
/// Version of the tables; a file of a newer one is left alone.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE entity (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,         -- JSON
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revision (number INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (0);";

/// Beside the tables of the first release, which leaves them alone.
const HISTORY: &str = "
    CREATE TABLE IF NOT EXISTS author (
        revision INTEGER PRIMARY KEY,
        who TEXT NOT NULL,
        at INTEGER NOT NULL         -- microseconds since 1970
    ) STRICT;
    CREATE TABLE IF NOT EXISTS change (
        revision INTEGER NOT NULL,
        place INTEGER NOT NULL,     -- in the commit, from 0
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        before TEXT,                -- JSON; NULL: there was none
        after TEXT,                 -- JSON; NULL: it was removed
        PRIMARY KEY (revision, place)
    ) STRICT, WITHOUT ROWID;";

/// Entities in a file.
#[derive(Clone, Debug)]
pub struct FileConfig {
    file: PathBuf,
}

impl FileConfig {
    /// The store in the data folder, which may be missing until something is stored.
    #[must_use]
    pub fn in_folder(data_dir: &Path) -> Self {
        Self {
            file: data_dir.join(FILE),
        }
    }

    /// A connection to what is there; `None`: nothing is.
    fn existing(&self) -> Result<Option<Connection>, Error> {
        if !self.file.try_exists()? {
            return Ok(None);
        }
        let connection = sqlite::open_existing(&self.file)?;
        match version(&connection)? {
            // It is just being made.
            0 => Ok(None),
            VERSION => Ok(Some(connection)),
            _ => Err(Error::Version),
        }
    }

    /// A connection to write with; makes file and tables where they are missing.
    fn writer(&self) -> Result<Connection, Error> {
        if let Some(folder) = self.file.parent() {
            make_folder(folder)?;
        }
        let mut connection = sqlite::open(&self.file)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        let making = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match version(&making)? {
            0 => {
                making.execute_batch(SCHEMA)?;
                making.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            _ => return Err(Error::Version),
        }
        making.execute_batch(HISTORY)?;
        making.execute_batch(trail::TABLES)?;
        making.commit()?;
        Ok(connection)
    }

    fn try_revision(&self) -> Result<u64, Error> {
        let connection = self.existing()?;
        connection.map_or(Ok(0), |connection| revision(&connection))
    }

    fn try_read(&self) -> Result<Contents, Error> {
        let Some(mut connection) = self.existing()? else {
            return Ok(Contents::default());
        };
        let moment = connection.transaction()?;
        let mut entities = Vec::new();
        {
            let mut statement = moment.prepare("SELECT kind, id, version, body FROM entity")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // A kind that a newer version knows is left alone.
                if let Some(kind) = Kind::parse(row.get_ref(0)?.as_str().unwrap_or("")) {
                    entities.push(Entity {
                        kind,
                        id: row.get(1)?,
                        version: unsigned(row.get(2)?),
                        body: row.get(3)?,
                    });
                }
            }
        }
        entities.sort_unstable_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        Ok(Contents {
            revision: revision(&moment)?,
            entities,
        })
    }

    fn try_commit(
        &self,
        author: &Author,
        changes: &[Change],
    ) -> Result<Result<u64, StoreError>, Error> {
        let mut connection = self.writer()?;
        let commit = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next = revision(&commit)? + 1;
        let user = |name: &str| body(&commit, Kind::User, name).ok().flatten();
        let mut events = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            let (version, before) = stored(&commit, change)?;
            if let Err(refused) = change.check(version) {
                return Ok(Err(refused));
            }
            let changed = Changed::of(change, before.as_deref());
            let of = (author, next);
            events.extend(audit::of_commit(of, change, before.as_deref(), &user));
            commit.execute(
                "INSERT INTO change (revision, place, kind, id, before, after)
                    VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    signed(next),
                    signed(place as u64),
                    changed.kind.as_str(),
                    changed.id,
                    changed.before,
                    changed.after
                ],
            )?;
            write(&commit, change)?;
        }
        commit.execute(
            "INSERT INTO author (revision, who, at) VALUES (?, ?, ?)",
            params![signed(next), author.who, signed(author.at.as_micros())],
        )?;
        let forgotten = signed(next.saturating_sub(MAX_REVISIONS as u64));
        for table in ["author", "change"] {
            let statement = format!("DELETE FROM {table} WHERE revision <= ?");
            commit.execute(&statement, [forgotten])?;
        }
        trail::append(&commit, &events, trail::BOUNDS)?;
        commit.execute("UPDATE revision SET number = ?", [signed(next)])?;
        commit.commit()?;
        Ok(Ok(next))
    }

    fn try_note(&self, events: &[Event]) -> Result<(), Error> {
        let mut connection = self.writer()?;
        let noting = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        trail::append(&noting, events, trail::BOUNDS)?;
        Ok(noting.commit()?)
    }

    /// Looks at what is there; nothing where there is nothing.
    fn looking<T: Default>(
        &self,
        look: impl FnOnce(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.existing()? {
            Some(mut connection) => look(&mut connection),
            None => Ok(T::default()),
        }
    }

    fn try_history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error> {
        let Some(mut connection) = self.existing()? else {
            return Ok(Vec::new());
        };
        let moment = connection.transaction()?;
        // A file of the first release has none until it is written to.
        if !moment.table_exists(None, "author")? {
            return Ok(Vec::new());
        }
        let limit = signed(limit.min(history::MAX_PAGE) as u64);
        let mut authors = moment.prepare(
            "SELECT revision, who, at FROM author WHERE revision < ? ORDER BY revision DESC LIMIT ?",
        )?;
        let mut changes = moment.prepare(
            "SELECT kind, id, before, after FROM change WHERE revision = ? ORDER BY place",
        )?;
        let mut rows = authors.query(params![signed(before), limit])?;
        let mut revisions = Vec::new();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let mut revision = Revision {
                number: unsigned(number),
                author: Author {
                    who: row.get(1)?,
                    at: Timestamp::from_micros(unsigned(row.get(2)?)),
                    address: None,
                },
                changes: Vec::new(),
            };
            let mut changed = changes.query([number])?;
            while let Some(row) = changed.next()? {
                if let Some(kind) = Kind::parse(row.get_ref(0)?.as_str().unwrap_or("")) {
                    revision.changes.push(Changed {
                        kind,
                        id: row.get(1)?,
                        before: row.get(2)?,
                        after: row.get(3)?,
                    });
                }
            }
            revisions.push(revision);
        }
        Ok(revisions)
    }
}

impl ConfigStore for FileConfig {
    fn revision(&self) -> Result<u64, StoreError> {
        self.try_revision().map_err(failed)
    }

    fn read(&self) -> Result<Contents, StoreError> {
        self.try_read().map_err(failed)
    }

    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, StoreError> {
        self.try_commit(author, changes).map_err(failed)?
    }

    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.try_history(before, limit).map_err(failed)
    }

    fn note(&self, events: &[Event]) -> Result<(), StoreError> {
        self.try_note(events).map_err(failed)
    }

    fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, StoreError> {
        let read = |connection: &mut Connection| trail::read(connection, wanted);
        self.looking(read).map_err(failed)
    }

    fn trail_end(&self) -> Result<u64, StoreError> {
        let last = |connection: &mut Connection| trail::last(connection);
        self.looking(last).map_err(failed)
    }

    fn verify_trail(&self) -> Result<Report, StoreError> {
        self.looking(trail::verify).map_err(failed)
    }
}

/// Makes the data folder where it is missing; nobody else may look into it.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn failed(error: Error) -> StoreError {
    StoreError::Failed(error.into())
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn revision(connection: &Connection) -> Result<u64, Error> {
    let read = connection.query_row("SELECT number FROM revision", [], |row| row.get(0));
    Ok(unsigned(read?))
}

/// The version and the body of the entity that a change is about; 0: there is none.
fn stored(connection: &Connection, change: &Change) -> Result<(u64, Option<Box<str>>), Error> {
    let found = connection
        .query_row(
            "SELECT version, body FROM entity WHERE kind = ? AND id = ?",
            params![change.kind.as_str(), change.id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(found.map_or((0, None), |(version, body)| (unsigned(version), Some(body))))
}

/// The body of an entity.
fn body(connection: &Connection, kind: Kind, id: &str) -> Result<Option<Box<str>>, Error> {
    let found = connection
        .query_row(
            "SELECT body FROM entity WHERE kind = ? AND id = ?",
            params![kind.as_str(), id],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found)
}

fn write(connection: &Connection, change: &Change) -> Result<(), Error> {
    let (kind, id) = (change.kind.as_str(), &change.id);
    match &change.body {
        Some(body) => connection.execute(
            "INSERT OR REPLACE INTO entity (kind, id, version, body) VALUES (?, ?, ?, ?)",
            params![kind, id, signed(change.based_on + 1), body],
        )?,
        None => connection.execute(
            "DELETE FROM entity WHERE kind = ? AND id = ?",
            params![kind, id],
        )?,
    };
    Ok(())
}

/// Numbers that only we write, and that begin with 0.
fn unsigned(number: i64) -> u64 {
    number.unsigned_abs()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store whose folder is removed with it.
    struct Kept(
        FileConfig,
        #[expect(dead_code, reason = "held for its drop")] tempfile::TempDir,
    );

    impl ConfigStore for Kept {
        fn revision(&self) -> Result<u64, StoreError> {
            self.0.revision()
        }

        fn read(&self) -> Result<Contents, StoreError> {
            self.0.read()
        }

        fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, StoreError> {
            self.0.commit_as(author, changes)
        }

        fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
            self.0.history(before, limit)
        }

        fn note(&self, events: &[Event]) -> Result<(), StoreError> {
            self.0.note(events)
        }

        fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, StoreError> {
            self.0.trail(wanted)
        }

        fn trail_end(&self) -> Result<u64, StoreError> {
            self.0.trail_end()
        }

        fn verify_trail(&self) -> Result<Report, StoreError> {
            self.0.verify_trail()
        }
    }

    fn kept() -> Kept {
        let folder = tempfile::tempdir().unwrap();
        Kept(FileConfig::in_folder(&folder.path().join("data")), folder)
    }

    fn token(id: &str) -> Change {
        Change::add(Kind::Token, id, "{}")
    }

    #[test]
    fn the_file_conforms() {
        isango_store::conformance::config(kept);
    }

    #[test]
    fn looking_makes_no_file_and_another_process_sees_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| FileConfig::in_folder(folder.path()));
        assert_eq!(
            (one.revision().unwrap(), one.read().unwrap()),
            (0, Contents::default())
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let revision = other.commit(&[token("a")]).unwrap();
        assert_eq!(one.revision().unwrap(), revision);
        assert_eq!(one.read().unwrap().entities.len(), 1);
        let files = fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["config.sqlite"]);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let kept = kept();
        kept.commit(&[token("a")]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept.0.file), 0o600);
        assert_eq!(mode(kept.0.file.parent().unwrap()), 0o700);
    }

    #[test]
    fn what_was_removed_is_not_in_the_file_any_more() {
        let kept = kept();
        let planted = "planted-4Zt9QpLw";
        kept.commit(&[Change::add(Kind::Credential, "a", planted)])
            .unwrap();
        let holds = || {
            let bytes = fs::read(&kept.0.file).unwrap();
            bytes
                .windows(planted.len())
                .any(|window| window == planted.as_bytes())
        };
        assert!(holds());
        let contents = kept.read().unwrap();
        kept.commit(&[Change::remove(&contents.entities[0])])
            .unwrap();
        assert!(!holds());
    }

    #[test]
    fn a_file_of_the_first_release_learns_to_remember() {
        let kept = kept();
        fs::create_dir_all(kept.0.file.parent().unwrap()).unwrap();
        let first = Connection::open(&kept.0.file).unwrap();
        first.execute_batch(SCHEMA).unwrap();
        first.pragma_update(None, "user_version", 1).unwrap();
        drop(first);
        assert_eq!(kept.history(u64::MAX, 10).unwrap(), []);
        kept.commit(&[token("a")]).unwrap();
        assert_eq!(kept.history(u64::MAX, 10).unwrap().len(), 1);
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_alone() {
        let kept = kept();
        kept.commit(&[token("a")]).unwrap();
        let newer = Connection::open(&kept.0.file).unwrap();
        newer
            .pragma_update(None, "user_version", VERSION + 1)
            .unwrap();
        let before = fs::read(&kept.0.file).unwrap();
        assert!(kept.read().is_err() && kept.revision().is_err());
        assert!(kept.commit(&[token("b")]).is_err());
        assert_eq!(fs::read(&kept.0.file).unwrap(), before);
    }

    #[test]
    fn a_damaged_file_is_told_and_left_alone() {
        let kept = kept();
        fs::create_dir_all(kept.0.file.parent().unwrap()).unwrap();
        fs::write(
            &kept.0.file,
            "no database, but long enough to be read as one ".repeat(99),
        )
        .unwrap();
        assert!(kept.read().is_err() && kept.commit(&[token("a")]).is_err());
        assert!(
            fs::read_to_string(&kept.0.file)
                .unwrap()
                .starts_with("no database")
        );
    }
}
