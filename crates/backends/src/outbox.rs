//! The embedded outbox: a small file of SQLite, opened once and written rarely.

use std::fs;
use std::path::Path;

use isango_store::outbox::{Error as StoreError, Letter, MAX_WAITING, Outbox, Put};
use isango_types::{RecordId, Timestamp};
use parking_lot::Mutex;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use crate::sqlite::{self, Error};

/// Its file, below the folder of the store.
const FILE: &str = "alerts.sqlite";
/// Version of the tables; a file of another one is set aside.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE letter (
        serial INTEGER PRIMARY KEY, -- in the order of writing
        id TEXT NOT NULL UNIQUE,
        at INTEGER NOT NULL,        -- in microseconds since 1970, like all times
        account TEXT NOT NULL,
        gateway TEXT NOT NULL,
        alert TEXT NOT NULL,
        key TEXT NOT NULL,
        until INTEGER NOT NULL,
        event TEXT NOT NULL
    ) STRICT;
    CREATE TABLE taken (
        key TEXT PRIMARY KEY,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;";

/// Letters in a file.
#[derive(Debug)]
pub struct FileOutbox(Mutex<Connection>);

impl FileOutbox {
    /// Opens the file in `folder`, which is made if it is not there. A damaged one is set aside: what
    /// was in it is lost, and told again where its reason still holds.
    ///
    /// # Errors
    /// The file can be neither opened nor made.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        fs::create_dir_all(folder).map_err(|error| StoreError(error.into()))?;
        let opened = match open(&file) {
            Err(error) if error.is_damage() => {
                let aside = sqlite::set_aside(&file).map_err(|error| StoreError(error.into()))?;
                tracing::warn!(%error, aside = %aside.display(), "the outbox of alerts is begun anew");
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
    connection.pragma_update(None, "synchronous", "FULL")?;
    sqlite::establish(&connection, SCHEMA, VERSION)?;
    Ok(connection)
}

fn failed(error: impl Into<Error>) -> StoreError {
    StoreError(error.into().into())
}

impl Outbox for FileOutbox {
    fn put(&self, letters: &[Letter]) -> Result<Put, StoreError> {
        let mut connection = self.0.lock();
        let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let writing = writing.map_err(failed)?;
        let put = put(&writing, letters).map_err(failed)?;
        writing.commit().map_err(failed)?;
        Ok(put)
    }

    fn waiting(&self) -> Result<Vec<Letter>, StoreError> {
        let connection = self.0.lock();
        let all = "SELECT id, at, account, gateway, alert, key, until, event FROM letter
                   ORDER BY serial";
        let mut statement = connection.prepare(all).map_err(failed)?;
        let letters = statement.query_map([], letter).map_err(failed)?;
        letters.collect::<Result<_, _>>().map_err(failed)
    }

    fn remove(&self, id: RecordId) -> Result<(), StoreError> {
        let connection = self.0.lock();
        let remove = "DELETE FROM letter WHERE id = ?";
        connection
            .execute(remove, [id.to_string()])
            .map_err(failed)?;
        Ok(())
    }

    fn taken(&self, now: Timestamp) -> Result<Vec<(Box<str>, Timestamp)>, StoreError> {
        let connection = self.0.lock();
        let all = "SELECT key, until FROM taken WHERE until > ? ORDER BY key";
        let mut statement = connection.prepare(all).map_err(failed)?;
        let key = |row: &Row<'_>| Ok((row.get(0)?, moment(row.get(1)?)));
        let keys = statement.query_map([micros(now)], key).map_err(failed)?;
        keys.collect::<Result<_, _>>().map_err(failed)
    }
}

fn put(writing: &Transaction<'_>, letters: &[Letter]) -> Result<Put, rusqlite::Error> {
    let mut put = Put::default();
    for letter in letters {
        let (at, until) = (micros(letter.at), micros(letter.until));
        writing.execute("DELETE FROM taken WHERE until <= ?", [at])?;
        let take = "INSERT OR IGNORE INTO taken (key, until) VALUES (?, ?)";
        if writing.execute(take, params![letter.key, until])? == 0 {
            continue;
        }
        writing.execute(
            "INSERT INTO letter (id, at, account, gateway, alert, key, until, event)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                letter.id.to_string(),
                at,
                letter.account,
                letter.gateway,
                letter.alert,
                letter.key,
                until,
                letter.event
            ],
        )?;
        put.taken.push(letter.id);
    }
    let count = "SELECT COUNT(*) FROM letter";
    let waiting: i64 = writing.query_row(count, [], |row| row.get(0))?;
    let most = i64::try_from(MAX_WAITING).unwrap_or(i64::MAX);
    // The oldest of the gateway that has most of them.
    let surplus = "DELETE FROM letter WHERE serial =
                   (SELECT MIN(serial) FROM letter GROUP BY account, gateway
                    ORDER BY COUNT(*) DESC, MIN(serial) LIMIT 1)
                   RETURNING id";
    let mut statement = writing.prepare(surplus)?;
    for _ in most..waiting {
        put.dropped.push(statement.query_row([], |row| id(row, 0))?);
    }
    Ok(put)
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    Ok(Letter {
        id: id(row, 0)?,
        at: moment(row.get(1)?),
        account: row.get(2)?,
        gateway: row.get(3)?,
        alert: row.get(4)?,
        key: row.get(5)?,
        until: moment(row.get(6)?),
        event: row.get(7)?,
    })
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordId> {
    let text: String = row.get(column)?;
    let kind = rusqlite::types::Type::Text;
    text.parse()
        .map_err(|error: <RecordId as std::str::FromStr>::Err| {
            rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
        })
}

fn micros(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_micros()).unwrap_or(i64::MAX)
}

fn moment(micros: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use isango_store::conformance;

    use super::*;

    #[test]
    fn a_file_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        conformance::outbox(|| {
            number.set(number.get() + 1);
            FileOutbox::open(&folder.path().join(number.get().to_string())).unwrap()
        });
    }

    #[test]
    fn letters_and_keys_survive_and_nobody_else_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let letters = [conformance::letter("a", 1, 100)];
        FileOutbox::open(folder.path())
            .unwrap()
            .put(&letters)
            .unwrap();
        let again = FileOutbox::open(folder.path()).unwrap();
        assert_eq!(again.waiting().unwrap(), letters);
        assert_eq!(again.put(&letters).unwrap(), Put::default());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), vec![b'x'; 4_096]).unwrap();
        let outbox = FileOutbox::open(folder.path()).unwrap();
        assert_eq!(outbox.waiting().unwrap(), []);
        assert!(folder.path().join("alerts.sqlite.bad").exists());
    }
}
