//! The audit trail in the file of the configuration.

use isango_store::audit::{
    Check, Entry, Event, GENESIS, MAX_ENTRIES, MAX_PAGE, REMOVED_AT_ONCE, Report, Scope, Wanted,
};
use isango_types::Timestamp;
use isango_types::key::Sha256;
use isango_types::role::EVERY_ACCOUNT;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::{signed, unsigned};
use crate::sqlite::Error;

/// Beside the tables of the first release, which leaves them alone.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS audit (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,        -- microseconds since 1970
        account TEXT NOT NULL,      -- '*': of every one
        who TEXT NOT NULL,
        address TEXT,               -- NULL: by a command
        action TEXT NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER,
        before TEXT,                -- JSON
        after TEXT,                 -- JSON
        link BLOB NOT NULL          -- SHA-256 over the link before and all of this
    ) STRICT;
    CREATE INDEX IF NOT EXISTS audit_of ON audit (account, number);
    CREATE TABLE IF NOT EXISTS audit_end (
        side TEXT PRIMARY KEY,      -- 'removed': the last entry that made room; 'head'
        number INTEGER NOT NULL,
        link BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;";

/// Entries that are kept, and those that make room at once.
pub(super) const BOUNDS: (u64, u64) = (MAX_ENTRIES, REMOVED_AT_ONCE);

const COLUMNS: &str =
    "number, at, account, who, address, action, kind, id, revision, before, after, link";

/// Writes events behind the others; within the caller's transaction. Of more entries than `most`,
/// the oldest `removed_at_once` make room.
pub(super) fn append(
    connection: &Connection,
    events: &[Event],
    (most, removed_at_once): (u64, u64),
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let (mut number, mut link) = end(connection, "head")?;
    for event in events {
        number += 1;
        link = event.link(number, &link);
        connection.execute(
            "INSERT INTO audit (number, at, account, who, address, action, kind, id, revision,
                before, after, link) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                signed(number),
                signed(event.at.as_micros()),
                event.account,
                event.who,
                event.address,
                event.action,
                event.kind,
                event.id,
                event.revision.map(signed),
                event.before,
                event.after,
                link.0
            ],
        )?;
    }
    note(connection, "head", (number, link))?;
    let (removed, _) = end(connection, "removed")?;
    if number - removed > most {
        let last = removed + removed_at_once;
        let link: [u8; 32] = connection.query_row(
            "SELECT link FROM audit WHERE number = ?",
            [signed(last)],
            |row| row.get(0),
        )?;
        connection.execute("DELETE FROM audit WHERE number <= ?", [signed(last)])?;
        note(connection, "removed", (last, Sha256(link)))?;
    }
    Ok(())
}

fn end(connection: &Connection, side: &str) -> Result<(u64, Sha256), Error> {
    let mut statement = connection.prepare("SELECT number, link FROM audit_end WHERE side = ?")?;
    let mut rows = statement.query([side])?;
    Ok(match rows.next()? {
        Some(row) => (unsigned(row.get(0)?), Sha256(row.get(1)?)),
        None => (0, GENESIS),
    })
}

fn note(connection: &Connection, side: &str, (number, link): (u64, Sha256)) -> Result<(), Error> {
    connection.execute(
        "INSERT OR REPLACE INTO audit_end (side, number, link) VALUES (?, ?, ?)",
        params![side, signed(number), link.0],
    )?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        number: unsigned(row.get(0)?),
        event: Event {
            at: Timestamp::from_micros(unsigned(row.get(1)?)),
            account: row.get(2)?,
            who: row.get(3)?,
            address: row.get(4)?,
            action: row.get(5)?,
            kind: row.get(6)?,
            id: row.get(7)?,
            revision: row.get::<_, Option<i64>>(8)?.map(unsigned),
            before: row.get(9)?,
            after: row.get(10)?,
        },
        link: Sha256(row.get(11)?),
    })
}

/// Whether there is a trail: a file of an older release has none until it is written to.
fn is_there(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.table_exists(None, "audit")?)
}

/// The entries that are wanted.
pub(super) fn read(connection: &Connection, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
    if !is_there(connection)? {
        return Ok(Vec::new());
    }
    let mut conditions: Vec<&str> = vec!["1"];
    let mut values: Vec<Value> = Vec::new();
    let text = |text: &str| Value::Text(text.to_owned());
    match &wanted.scope {
        Scope::One(account) => {
            conditions.push("account = ?");
            values.push(text(account));
        }
        Scope::OneAndShared(account) => {
            conditions.push("account IN (?, ?)");
            values.extend([text(account), text(EVERY_ACCOUNT)]);
        }
        Scope::All => {}
    }
    let action = wanted.action.map(|action| action.as_str());
    for (condition, value) in [
        ("who = ?", wanted.who.as_deref()),
        ("action = ?", action),
        ("kind = ?", wanted.kind.as_deref()),
        ("id = ?", wanted.id.as_deref()),
    ] {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(text(value));
        }
    }
    let behind = if wanted.ascending {
        "number > ?"
    } else {
        "number < ?"
    };
    for (condition, value) in [
        ("at >= ?", wanted.since.map(Timestamp::as_micros)),
        ("at < ?", wanted.until.map(Timestamp::as_micros)),
        (behind, wanted.after),
    ] {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(Value::Integer(signed(value)));
        }
    }
    let conditions = conditions.join(" AND ");
    let order = if wanted.ascending { "ASC" } else { "DESC" };
    let limit = wanted.limit.min(MAX_PAGE);
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM audit WHERE {conditions} ORDER BY number {order} LIMIT {limit}"
    ))?;
    let rows = statement.query_map(params_from_iter(values), entry)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Number of the newest entry.
pub(super) fn last(connection: &Connection) -> Result<u64, Error> {
    match is_there(connection)? {
        true => Ok(end(connection, "head")?.0),
        false => Ok(0),
    }
}

/// Follows the chain from its begin to its end.
pub(super) fn verify(connection: &mut Connection) -> Result<Report, Error> {
    if !is_there(connection)? {
        return Ok(Report::default());
    }
    let moment = connection.transaction()?;
    let (removed, link) = end(&moment, "removed")?;
    let mut check = Check::begin(removed, link);
    let mut statement = moment.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY number"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        check.next(&entry(row)?);
    }
    Ok(check.end(end(&moment, "head")?))
}

#[cfg(test)]
mod tests {
    use isango_store::audit::{Action, Event};
    use isango_store::config::ConfigStore as _;
    use isango_store::config::history::Author;

    use super::*;
    use crate::config::FileConfig;

    /// What is found after `change` was made to the file of a trail of five entries.
    fn check(change: &str, found: &[u64]) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileConfig::in_folder(folder.path());
        store.note(&events(5)).unwrap();
        assert!(store.verify_trail().unwrap().is_intact());
        let file = folder.path().join("config.sqlite");
        Connection::open(file)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let report = store.verify_trail().unwrap();
        let entries = report.findings.iter().map(|finding| finding.entry);
        assert_eq!(entries.collect::<Vec<_>>(), found, "{change}");
    }

    fn events(count: usize) -> Vec<Event> {
        let author = Author {
            who: "user ada".into(),
            at: Timestamp::from_micros(5),
            address: None,
        };
        vec![Event::new(&author, "local", Action::SignOut, ("session", "ada")); count]
    }

    #[test]
    fn a_row_that_was_edited_or_removed_is_found() {
        check("UPDATE audit SET who = 'user eve' WHERE number = 2", &[2]);
        check("UPDATE audit SET at = 6 WHERE number = 5", &[5]);
        check(
            "UPDATE audit SET link = zeroblob(32) WHERE number = 3",
            &[3, 4],
        );
        check("DELETE FROM audit WHERE number = 1", &[2]);
        check("DELETE FROM audit WHERE number IN (2, 3)", &[4]);
        check("DELETE FROM audit WHERE number = 5", &[5]);
        check(
            "UPDATE audit SET number = 9 WHERE number = 2;
             UPDATE audit SET number = 2 WHERE number = 3;
             UPDATE audit SET number = 3 WHERE number = 9;",
            &[2, 3, 4],
        );
    }

    #[test]
    fn the_oldest_make_room_and_the_rest_is_still_proven() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileConfig::in_folder(folder.path());
        store.note(&[]).unwrap();
        let connection = Connection::open(folder.path().join("config.sqlite")).unwrap();
        for _ in 0..4 {
            append(&connection, &events(3), (10, 4)).unwrap();
        }
        let report = store.verify_trail().unwrap();
        assert_eq!((report.entries, report.removed), (8, 4));
        assert!(report.is_intact());
        connection
            .execute("DELETE FROM audit WHERE number = 5", [])
            .unwrap();
        assert!(!store.verify_trail().unwrap().is_intact());
    }
}
