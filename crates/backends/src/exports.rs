//! The embedded store of exports: a file of SQLite. A batch is in it from when it was made until it
//! was delivered.

use std::fs;
use std::path::Path;

use isango_store::exports::{
    Aside, Buried, Error as StoreError, ExportStore, MAX_BURIED_BYTES, Saved,
};
use isango_types::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::sqlite::{self, Error};

/// Its file, below the folder of the store.
const FILE: &str = "exports.sqlite";
/// Version of the tables.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE job (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        batch BLOB
    ) STRICT;
    CREATE TABLE buried (
        serial INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of writing
        job TEXT NOT NULL,
        name TEXT NOT NULL,
        at INTEGER NOT NULL,        -- in microseconds since 1970
        why TEXT NOT NULL,
        batch BLOB NOT NULL
    ) STRICT;";

/// Places of exports in a file.
#[derive(Debug)]
pub struct FileExports(Mutex<Connection>);

impl FileExports {
    /// Opens the file in `folder`, which is made if it is not there. A damaged one is no reason to
    /// begin anew: what was exported would be exported twice, or not at all.
    ///
    /// # Errors
    /// The file can be neither opened nor made, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|error| StoreError::Failed(error.into()))?;
        Ok(Self(Mutex::new(open(&folder.join(FILE)).map_err(failed)?)))
    }
}

fn open(file: &Path) -> Result<Connection, Error> {
    let connection = sqlite::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A batch holds bodies: what was delivered, or deleted since, must not stay on the disk.
    connection.pragma_update(None, "secure_delete", "ON")?;
    sqlite::establish(&connection, SCHEMA, VERSION)?;
    Ok(connection)
}

/// Takes out of the write-ahead log what was replaced. Where another connection keeps it from that,
/// the next time does so.
fn clear_log(connection: &Connection) {
    let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
    if let Err(error) = connection.query_row(truncate, [], |_row| Ok(())) {
        tracing::warn!(%error, "the log of the store of exports is not cleared yet");
    }
}

/// A whole number of a column.
fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(at)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn failed(error: impl Into<Error>) -> StoreError {
    StoreError::Failed(error.into().into())
}

impl ExportStore for FileExports {
    fn load(&self, job: &str) -> Result<Option<Saved>, StoreError> {
        let connection = self.0.lock();
        let one = "SELECT state, batch FROM job WHERE id = ?";
        let read = |row: &Row<'_>| {
            Ok(Saved {
                state: row.get(0)?,
                batch: row.get(1)?,
            })
        };
        let found = connection.query_row(one, [job], read).optional();
        found.map_err(failed)
    }

    fn save(&self, job: &str, saved: &Saved) -> Result<(), StoreError> {
        let connection = self.0.lock();
        let write = "INSERT INTO job (id, state, batch) VALUES (?, ?, ?)
                     ON CONFLICT (id) DO UPDATE SET state = excluded.state, batch = excluded.batch";
        let had_batch = "SELECT batch IS NOT NULL FROM job WHERE id = ?";
        let had_batch = connection.query_row(had_batch, [job], |row| row.get(0));
        let had_batch: bool = had_batch.optional().map_err(failed)?.unwrap_or_default();
        let written = connection.execute(write, params![job, saved.state, saved.batch]);
        written.map_err(failed)?;
        if had_batch {
            clear_log(&connection);
        }
        Ok(())
    }

    fn remove(&self, job: &str) -> Result<(), StoreError> {
        let connection = self.0.lock();
        let removed = connection.execute("DELETE FROM job WHERE id = ?", [job]);
        removed.map_err(failed)?;
        clear_log(&connection);
        Ok(())
    }

    fn bury(&self, buried: &Buried) -> Result<(), StoreError> {
        let connection = self.0.lock();
        let sum = "SELECT COALESCE(SUM(LENGTH(batch)), 0) FROM buried";
        let sum: i64 = connection
            .query_row(sum, [], |row| row.get(0))
            .map_err(failed)?;
        let kept = u64::try_from(sum).unwrap_or(u64::MAX);
        if kept.saturating_add(buried.batch.len() as u64) > MAX_BURIED_BYTES {
            return Err(StoreError::Full);
        }
        let Buried {
            job,
            name,
            at,
            why,
            batch,
        } = buried;
        let at = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
        let write = "INSERT INTO buried (job, name, at, why, batch) VALUES (?, ?, ?, ?, ?)";
        let written = connection.execute(write, params![job, name, at, why, batch]);
        written.map(drop).map_err(failed)
    }

    fn buried(&self) -> Result<Vec<Aside>, StoreError> {
        let connection = self.0.lock();
        let all = "SELECT serial, job, name, at, why, LENGTH(batch) FROM buried ORDER BY serial";
        let mut statement = connection.prepare(all).map_err(failed)?;
        let read = |row: &Row<'_>| {
            Ok(Aside {
                id: count(row, 0)?,
                job: row.get(1)?,
                name: row.get(2)?,
                at: Timestamp::from_micros(count(row, 3)?),
                why: row.get(4)?,
                bytes: count(row, 5)?,
            })
        };
        let found = statement.query_map([], read).map_err(failed)?;
        found.collect::<Result<_, _>>().map_err(failed)
    }

    fn exhume(&self, id: u64) -> Result<Option<Buried>, StoreError> {
        let connection = self.0.lock();
        let one = "SELECT job, name, at, why, batch FROM buried WHERE serial = ?";
        let read = |row: &Row<'_>| {
            Ok(Buried {
                job: row.get(0)?,
                name: row.get(1)?,
                at: Timestamp::from_micros(count(row, 2)?),
                why: row.get(3)?,
                batch: row.get(4)?,
            })
        };
        let serial = i64::try_from(id).unwrap_or(i64::MAX);
        let found = connection.query_row(one, [serial], read).optional();
        found.map_err(failed)
    }

    fn discard(&self, id: u64) -> Result<bool, StoreError> {
        let connection = self.0.lock();
        let serial = i64::try_from(id).unwrap_or(i64::MAX);
        let removed = connection.execute("DELETE FROM buried WHERE serial = ?", [serial]);
        let is_gone = removed.map_err(failed)? > 0;
        if is_gone {
            clear_log(&connection);
        }
        Ok(is_gone)
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance;

    use super::*;

    #[test]
    fn a_file_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        conformance::exports(|| {
            number.set(number.get() + 1);
            FileExports::open(&folder.path().join(number.get().to_string())).unwrap()
        });
    }

    #[test]
    fn a_place_survives_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved {
            state: "{}".into(),
            batch: Some(vec![1, 2]),
        };
        FileExports::open(folder.path())
            .unwrap()
            .save("a", &saved)
            .unwrap();
        let again = FileExports::open(folder.path()).unwrap();
        assert_eq!(again.load("a").unwrap(), Some(saved));
        use std::os::unix::fs::PermissionsExt as _;
        let file = fs::metadata(folder.path().join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_was_delivered_or_replaced_is_nowhere_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileExports::open(folder.path()).unwrap();
        let batch = |text: &str| Saved {
            state: "{}".into(),
            batch: Some(text.repeat(3_000).into_bytes()),
        };
        let is_there = |marker: &[u8]| {
            let mut files = fs::read_dir(folder.path()).unwrap();
            files.any(|file| {
                let bytes = fs::read(file.unwrap().path()).unwrap();
                bytes.windows(marker.len()).any(|part| part == marker)
            })
        };
        store.save("a", &batch("planted-one ")).unwrap();
        assert!(is_there(b"planted-one"));
        store.save("a", &batch("planted-two ")).unwrap();
        assert!(!is_there(b"planted-one"));
        let delivered = Saved {
            state: "{}".into(),
            batch: None,
        };
        store.save("a", &delivered).unwrap();
        assert!(!is_there(b"planted-two"));
        store.save("b", &batch("planted-three ")).unwrap();
        store.remove("b").unwrap();
        assert!(!is_there(b"planted-three"));
    }

    #[test]
    fn a_damaged_file_is_told_and_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), vec![b'x'; 4_096]).unwrap();
        assert!(FileExports::open(folder.path()).is_err());
    }
}
