//! What was said of records after they were stored, in a file of SQLite beside the journal.
//!
//! It is no projection: the journal does not know it, so a backup takes both. The file is made with
//! the first thing that is said. Readers, also those in other processes, ask it once for each frame
//! that they read, by the frame's first and last id, so that nothing of it is held in memory. Costs
//! that records were given later stand in a table of their own (`ratings`): there may be many, and
//! the columns have them.

mod ratings;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isango_store::later::{Deletion, Later, Patch, PatchError};
use isango_store::logs::Error;
use isango_types::RecordId;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, Statement, Transaction};

use crate::disk::{Disk, RealDisk};

pub(crate) use ratings::Ratings;

/// Name of the file.
pub(crate) const FILE: &str = "overlay.sqlite";
/// The only version of the schema so far.
const VERSION: i64 = 1;
/// `said` is a [`Later`] as JSON; `due` is 1 while the disk still holds what was erased.
const SCHEMA: &str = "
    CREATE TABLE later (
        id BLOB PRIMARY KEY NOT NULL, said TEXT NOT NULL, due INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX later_due ON later (id) WHERE due = 1;";
/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);
/// Most records that one round of upkeep erases.
const MAX_DUE: u32 = 100_000;
/// Connections that are kept for readers.
const MAX_IDLE: usize = 8;

/// What was said of some records, by their ids.
pub(crate) type Said = BTreeMap<RecordId, Later>;

/// The file and the connections to it.
#[derive(Debug)]
pub(crate) struct Overlay {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    writer: Mutex<Option<Connection>>,
    idle: Mutex<Vec<Connection>>,
}

impl Overlay {
    /// The overlay of a record store's folder; nothing is opened yet.
    pub(crate) fn in_folder(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            file: dir.join(FILE),
            writer: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// What a reader sees.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(crate) fn view(&self) -> Result<View<'_>, Error> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => Some(connection),
            None if self.file.try_exists()? => Some(self.connect()?),
            None => None,
        };
        let is_used = |connection: &Connection| -> rusqlite::Result<bool> {
            // What made the file may have ended before it made the table.
            let version: i64 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let any = "SELECT EXISTS (SELECT 1 FROM later)";
            Ok(version > 0 && connection.query_row(any, [], |row| row.get(0))?)
        };
        let (is_empty, has_ratings) = match &connection {
            Some(connection) => {
                self.disk.sqlite(&self.file)?;
                let looked = is_used(connection)
                    .and_then(|is_used| Ok((!is_used, ratings::are_in(connection)?)));
                looked.map_err(|error| self.failed(&error))?
            }
            None => (true, false),
        };
        Ok(View {
            overlay: self,
            connection,
            is_empty,
            has_ratings,
        })
    }

    /// Says something of a record.
    ///
    /// # Errors
    /// [`Error::Patch`], or the file failed; nothing is changed then.
    pub(crate) fn patch(&self, id: RecordId, patch: &Patch) -> Result<(), Error> {
        self.change(|table| {
            let mut later = table.read(id)?.unwrap_or_default();
            later.apply(patch)?;
            table.write(id, &later)
        })
    }

    /// Deletes records; says of how many that is news.
    ///
    /// # Errors
    /// The file failed; nothing is changed then.
    pub(crate) fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.change_each(ids, |later| later.delete(how))
    }

    /// Brings hidden records back; says how many.
    ///
    /// # Errors
    /// As [`Overlay::delete`].
    pub(crate) fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.change_each(ids, Later::restore)
    }

    /// Records that were erased while the disk still holds what they said, in the order of their
    /// ids.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(crate) fn due(&self) -> Result<BTreeSet<RecordId>, Error> {
        let view = self.view()?;
        let Some(connection) = view.connection.as_ref().filter(|_| !view.is_empty) else {
            return Ok(BTreeSet::new());
        };
        let read = || -> rusqlite::Result<BTreeSet<RecordId>> {
            let mut due =
                connection.prepare("SELECT id FROM later WHERE due = 1 ORDER BY id LIMIT ?1")?;
            let ids = due.query_map([MAX_DUE], |row| row.get(0).map(RecordId::from_bytes))?;
            ids.collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// The disk holds no more what these records said.
    ///
    /// # Errors
    /// The file failed; nothing is changed then.
    pub(crate) fn settle(&self, ids: &BTreeSet<RecordId>) -> Result<(), Error> {
        self.transact(|transaction| {
            let mut settle = transaction.prepare("UPDATE later SET due = 0 WHERE id = ?1")?;
            for id in ids {
                settle.execute([id.as_bytes()])?;
            }
            Ok(())
        })?;
        self.clear_log();
        Ok(())
    }

    /// Takes out of the write-ahead log what is not said any more. Where a reader keeps it from
    /// that, the next time does so.
    fn clear_log(&self) {
        let writer = self.writer.lock();
        let clear = |connection: &Connection| -> Result<(), Error> {
            self.disk.sqlite(&self.file)?;
            let clear = "PRAGMA wal_checkpoint(TRUNCATE)";
            let cleared = connection.query_row(clear, [], |_row| Ok(()));
            cleared.map_err(|error| self.failed(&error))
        };
        if let Some(Err(error)) = writer.as_ref().map(clear) {
            tracing::warn!(%error, "the log of what was said of records is not cleared yet");
        }
    }

    /// Forgets what was said of records before this one: retention has dropped them.
    ///
    /// # Errors
    /// The file failed; nothing is changed then.
    pub(crate) fn forget_before(&self, id: RecordId) -> Result<(), Error> {
        let view = self.view()?;
        if view.is_empty && !view.has_ratings {
            return Ok(());
        }
        drop(view);
        self.transact(|transaction| {
            transaction.execute("DELETE FROM later WHERE id < ?1", [id.as_bytes()])?;
            transaction.execute("DELETE FROM rated WHERE id < ?1", [id.as_bytes()])?;
            Ok(())
        })?;
        self.clear_log();
        Ok(())
    }

    fn change_each(
        &self,
        ids: &[RecordId],
        mut change: impl FnMut(&mut Later) -> bool,
    ) -> Result<u64, Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        self.change(|table| {
            let mut count = 0;
            for id in ids {
                let mut later = table.read(*id)?.unwrap_or_default();
                if change(&mut later) {
                    count += 1;
                    table.write(*id, &later)?;
                }
            }
            Ok(count)
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Table<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        self.transact(|transaction| change(&mut Table::new(transaction)?))
    }

    /// Does something in one transaction, which is on the medium when this returns.
    fn transact<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut writer = self.writer.lock();
        let connection = match &mut *writer {
            Some(connection) => connection,
            none @ None => none.insert(self.create()?),
        };
        let changed = connection
            .transaction()
            .map_err(Failure::from)
            .and_then(|transaction| {
                self.disk.sqlite(&self.file).map_err(Error::from)?;
                let done = change(&transaction)?;
                transaction.commit()?;
                // A commit that fails may be there all the same.
                self.disk.sqlite(&self.file).map_err(Error::from)?;
                Ok(done)
            });
        changed.map_err(|failure| match failure {
            Failure::Sqlite(error) => self.failed(&error),
            Failure::Store(error) => error,
        })
    }

    /// Opens the file to write; makes it if it is not there, its owner's alone.
    fn create(&self) -> Result<Connection, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        drop(options.mode(0o600).open(&self.file)?);
        let connection = self.connect()?;
        let establish = || {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            let found: i64 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found == 0 {
                connection.execute_batch(&format!(
                    "BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
                ))?;
            }
            connection.execute_batch(ratings::SCHEMA)
        };
        establish().map_err(|error| self.failed(&error))?;
        Ok(connection)
    }

    fn connect(&self) -> Result<Connection, Error> {
        self.disk.sqlite(&self.file)?;
        let connect = || {
            // Only so can it be read behind a writer that crashed.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.file, flags)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // What was said of a record goes with it.
            connection.pragma_update(None, "secure_delete", "ON")?;
            let version: i64 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((connection, version))
        };
        let (connection, version) = connect().map_err(|error| self.failed(&error))?;
        if version > VERSION {
            return Err(Error::Damaged(format!(
                "{} is of version {version}, and this release reads up to {VERSION}: use a newer \
                 one",
                self.file.display()
            )));
        }
        Ok(connection)
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        let what = format!("{}: {error}", self.file.display());
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Error::Damaged(format!("{what}; bring it back from a backup"))
            }
            Some(_) | None => Error::Io(std::io::Error::other(what)),
        }
    }
}

/// Copies the overlay of one folder into another one, as it is at one moment.
///
/// # Errors
/// It cannot be read, or the copy cannot be made.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let overlay = Overlay::in_folder(Arc::new(RealDisk), from);
    let (target, aside) = (to.join(FILE), to.join("overlay.copy"));
    if !overlay.file.try_exists()? {
        return Ok(());
    }
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    drop(
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?,
    );
    let vacuum = |connection: &Connection| {
        let name = aside.to_string_lossy();
        connection.execute("VACUUM INTO ?1", [name]).map(drop)
    };
    vacuum(&overlay.connect()?).map_err(|error| overlay.failed(&error))?;
    std::fs::rename(aside, target)?;
    Ok(())
}

/// What a reader sees; changes that come while it reads it may see or not.
#[derive(Debug)]
pub(crate) struct View<'a> {
    overlay: &'a Overlay,
    connection: Option<Connection>,
    is_empty: bool,
    has_ratings: bool,
}

impl View<'_> {
    /// What was said of records whose ids lie between these two, both included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn between(&self, ids: [RecordId; 2]) -> Result<Said, Error> {
        let mut said = self.later(ids)?;
        for (id, rating) in self.ratings(ids)? {
            said.entry(id).or_default().rating = Some(rating);
        }
        Ok(said)
    }

    /// The same without the costs of those of which nothing else was said.
    fn later(&self, ids: [RecordId; 2]) -> Result<Said, Error> {
        let Some(connection) = self.connection.as_ref().filter(|_| !self.is_empty) else {
            return Ok(Said::new());
        };
        self.overlay.disk.sqlite(&self.overlay.file)?;
        let read = || -> rusqlite::Result<Said> {
            let mut found =
                connection.prepare("SELECT id, said FROM later WHERE id BETWEEN ?1 AND ?2")?;
            let rows = found.query_map(ids.each_ref().map(RecordId::as_bytes), read_row)?;
            rows.collect()
        };
        read().map_err(|error| self.overlay.failed(&error))
    }

    /// What was said of all records but of those that were given another cost and no more.
    ///
    /// # Errors
    /// As [`View::between`].
    pub(crate) fn all(&self) -> Result<Said, Error> {
        let mut said = self.later([[0; 16], [0xFF; 16]].map(RecordId::from_bytes))?;
        for (id, rating) in self.ratings_beside()? {
            said.entry(id).or_default().rating = Some(rating);
        }
        Ok(said)
    }

    /// What was said of one record.
    ///
    /// # Errors
    /// As [`View::between`].
    pub(crate) fn of(&self, id: RecordId) -> Result<Option<Later>, Error> {
        Ok(self.between([id, id])?.remove(&id))
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut idle = self.overlay.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.extend(self.connection.take());
        }
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<(RecordId, Later)> {
    let said: String = row.get(1)?;
    let later = serde_json::from_str(&said).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
    })?;
    Ok((RecordId::from_bytes(row.get(0)?), later))
}

/// The table within a transaction.
struct Table<'a> {
    read: Statement<'a>,
    write: Statement<'a>,
}

impl<'a> Table<'a> {
    fn new(transaction: &'a Transaction<'_>) -> Result<Self, Failure> {
        Ok(Self {
            read: transaction.prepare("SELECT id, said FROM later WHERE id = ?1")?,
            write: transaction
                .prepare("INSERT OR REPLACE INTO later (id, said, due) VALUES (?1, ?2, ?3)")?,
        })
    }

    fn read(&mut self, id: RecordId) -> Result<Option<Later>, Failure> {
        let found = self.read.query_row([id.as_bytes()], read_row).optional()?;
        Ok(found.map(|(_, later)| later))
    }

    fn write(&mut self, id: RecordId, later: &Later) -> Result<(), Failure> {
        let said = serde_json::to_string(later).map_err(Error::from)?;
        let is_due = later.deleted == Some(Deletion::Erased);
        self.write.execute((id.as_bytes(), said, is_due))?;
        Ok(())
    }
}

/// Why a transaction was not made.
enum Failure {
    Sqlite(rusqlite::Error),
    Store(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<PatchError> for Failure {
    fn from(error: PatchError) -> Self {
        Self::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use isango_types::Timestamp;
    use isango_types::record::Comment;

    use super::*;

    #[test]
    fn what_was_said_of_an_erased_record_is_nowhere_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let overlay = Overlay::in_folder(Arc::new(RealDisk), folder.path());
        let id = RecordId::new(Timestamp::from_micros(5));
        let comment = Comment {
            at: Timestamp::from_micros(6),
            author: Some("ann".into()),
            text: "planted ".repeat(500).into(),
        };
        let patch = Patch {
            comment: Some(comment),
            ..Patch::default()
        };
        overlay.patch(id, &patch).unwrap();
        let is_there = || {
            let mut files = std::fs::read_dir(folder.path()).unwrap();
            files.any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                bytes.windows(7).any(|part| part == b"planted")
            })
        };
        assert!(is_there());
        overlay.delete(&[id], Deletion::Erased).unwrap();
        overlay.settle(&BTreeSet::from([id])).unwrap();
        assert!(!is_there());
    }
}
