//! Who is signed in, in a small file of SQLite: `sessions.sqlite` in the data folder.

use std::fs;
use std::path::Path;

use isango_store::sessions::{
    Error as StoreError, MAX_OF_USER, MAX_SESSIONS, SessionStore, StoredSession,
};
use isango_types::Timestamp;
use isango_types::key::Sha256;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::sqlite::{self, Error};

/// Its file, in the data folder.
const FILE: &str = "sessions.sqlite";
/// Version of the tables; a file of another one is set aside.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE session (
        sha256 BLOB PRIMARY KEY,
        user TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        created_at INTEGER NOT NULL,    -- in microseconds since 1970, like all times
        seen_at INTEGER NOT NULL,
        address TEXT NOT NULL,
        code TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX of_user ON session (user, seen_at);
    CREATE INDEX by_use ON session (seen_at);";

/// Sessions in a file.
#[derive(Debug)]
pub struct FileSessions(Mutex<Connection>);

impl FileSessions {
    /// Opens the file in `folder`, which is made if it is not there. A damaged one is set aside: who
    /// was signed in signs in again.
    ///
    /// # Errors
    /// The file can be neither opened nor made.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        fs::create_dir_all(folder).map_err(|error| StoreError(error.into()))?;
        let opened = match open(&file) {
            Err(error) if error.is_damage() => {
                let aside = sqlite::set_aside(&file).map_err(|error| StoreError(error.into()))?;
                tracing::warn!(%error, aside = %aside.display(), "everybody signs in again");
                open(&file)
            }
            other => other,
        };
        Ok(Self(Mutex::new(opened.map_err(failed)?)))
    }
}

fn open(file: &Path) -> Result<Connection, Error> {
    let connection = sqlite::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    sqlite::establish(&connection, SCHEMA, VERSION)?;
    Ok(connection)
}

fn failed(error: impl Into<Error>) -> StoreError {
    StoreError(error.into().into())
}

fn put(connection: &mut Connection, session: &StoredSession) -> Result<(), rusqlite::Error> {
    let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    writing.execute(
        "INSERT OR REPLACE INTO session (sha256, user, epoch, created_at, seen_at, address, code)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            session.sha256.0,
            session.user,
            signed(session.epoch),
            signed(session.created_at.as_micros()),
            signed(session.seen_at.as_micros()),
            session.address,
            session.code
        ],
    )?;
    writing.execute(
        "DELETE FROM session WHERE sha256 IN (SELECT sha256 FROM session WHERE user = ?
            ORDER BY seen_at DESC LIMIT -1 OFFSET ?)",
        params![session.user, signed(MAX_OF_USER as u64)],
    )?;
    writing.execute(
        "DELETE FROM session WHERE sha256 IN (SELECT sha256 FROM session
            ORDER BY seen_at DESC LIMIT -1 OFFSET ?)",
        [signed(MAX_SESSIONS as u64)],
    )?;
    writing.commit()
}

fn session(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    Ok(StoredSession {
        sha256: Sha256(row.get(0)?),
        user: row.get(1)?,
        epoch: unsigned(row.get(2)?),
        created_at: Timestamp::from_micros(unsigned(row.get(3)?)),
        seen_at: Timestamp::from_micros(unsigned(row.get(4)?)),
        address: row.get(5)?,
        code: row.get(6)?,
    })
}

impl SessionStore for FileSessions {
    fn put(&self, session: &StoredSession) -> Result<(), StoreError> {
        put(&mut self.0.lock(), session).map_err(failed)
    }

    fn find(&self, sha256: &Sha256) -> Result<Option<StoredSession>, StoreError> {
        let connection = self.0.lock();
        let mut statement = connection
            .prepare(
                "SELECT sha256, user, epoch, created_at, seen_at, address, code
                 FROM session WHERE sha256 = ?",
            )
            .map_err(failed)?;
        let found = statement.query_row([sha256.0], session).optional();
        found.map_err(failed)
    }

    fn seen(&self, sha256: &Sha256, at: Timestamp) -> Result<(), StoreError> {
        let note = "UPDATE session SET seen_at = ? WHERE sha256 = ?";
        let connection = self.0.lock();
        let noted = connection.execute(note, params![signed(at.as_micros()), sha256.0]);
        noted.map(|_rows| ()).map_err(failed)
    }

    fn remove(&self, sha256: &Sha256) -> Result<bool, StoreError> {
        let remove = "DELETE FROM session WHERE sha256 = ?";
        let removed = self.0.lock().execute(remove, [sha256.0]).map_err(failed)?;
        Ok(removed > 0)
    }

    fn expire(
        &self,
        created_before: Timestamp,
        seen_before: Timestamp,
    ) -> Result<usize, StoreError> {
        let remove = "DELETE FROM session WHERE created_at < ? OR seen_at < ?";
        let bounds = [created_before, seen_before].map(|bound| signed(bound.as_micros()));
        self.0.lock().execute(remove, bounds).map_err(failed)
    }
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
    use isango_store::conformance;

    use super::*;

    #[test]
    fn a_file_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        conformance::sessions(|| {
            number.set(number.get() + 1);
            FileSessions::open(&folder.path().join(number.get().to_string())).unwrap()
        });
    }

    #[cfg(unix)]
    #[test]
    fn sessions_survive_and_nobody_else_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let kept = conformance::session("ada", 1);
        FileSessions::open(folder.path())
            .unwrap()
            .put(&kept)
            .unwrap();
        let again = FileSessions::open(folder.path()).unwrap();
        assert_eq!(again.find(&kept.sha256).unwrap(), Some(kept));
        let mode = fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), vec![b'x'; 4_096]).unwrap();
        let sessions = FileSessions::open(folder.path()).unwrap();
        assert_eq!(sessions.find(&Sha256([1; 32])).unwrap(), None);
        assert!(folder.path().join("sessions.sqlite.bad").exists());
    }
}
