//! What is configured beside the file, in a file of SQLite: `config.sqlite` in the data folder.
//!
//! It is not there until something is stored. Other processes (the command line) write to it while
//! the server runs: each commit is synced before it returns, and raises the revision that the
//! server looks at. There is no write-ahead log, so that looking makes no file.

use std::fs;
use std::path::{Path, PathBuf};

use isango_store::config::{Change, ConfigStore, Contents, Entity, Error as StoreError, Kind};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::sqlite::{self, Error};

/// Name of the file.
const FILE: &str = "config.sqlite";
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

    fn try_commit(&self, changes: &[Change]) -> Result<Result<u64, StoreError>, Error> {
        let mut connection = self.writer()?;
        let commit = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in changes {
            if let Err(refused) = change.check(stored_version(&commit, change)?) {
                return Ok(Err(refused));
            }
            write(&commit, change)?;
        }
        commit.execute("UPDATE revision SET number = number + 1", [])?;
        let revision = revision(&commit)?;
        commit.commit()?;
        Ok(Ok(revision))
    }
}

impl ConfigStore for FileConfig {
    fn revision(&self) -> Result<u64, StoreError> {
        self.try_revision().map_err(failed)
    }

    fn read(&self) -> Result<Contents, StoreError> {
        self.try_read().map_err(failed)
    }

    fn commit(&self, changes: &[Change]) -> Result<u64, StoreError> {
        self.try_commit(changes).map_err(failed)?
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

/// The version of the entity that a change is about; 0: there is none.
fn stored_version(connection: &Connection, change: &Change) -> Result<u64, Error> {
    let found = connection
        .query_row(
            "SELECT version FROM entity WHERE kind = ? AND id = ?",
            params![change.kind.as_str(), change.id],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.map_or(0, unsigned))
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

        fn commit(&self, changes: &[Change]) -> Result<u64, StoreError> {
            self.0.commit(changes)
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
