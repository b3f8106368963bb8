//! The table: what a row holds, and the statements about it.

use bytes::Bytes;
use isango_store::cache::{Answer, Entry, Key, Purge, Scope, Tags};
use isango_types::{RecordId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::super::{Error, establish};
use super::Read;

/// Version of the table; a file of another one is begun anew.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,     -- in the order of writing: the lowest goes first
        key BLOB NOT NULL UNIQUE,
        account TEXT NOT NULL,
        gateway TEXT NOT NULL,
        model TEXT,
        scope INTEGER,
        tenant INTEGER,
        stored_at INTEGER NOT NULL, -- in microseconds since 1970, like all times
        keep_until INTEGER NOT NULL,
        checksum INTEGER NOT NULL,  -- over key, meta and body
        meta BLOB NOT NULL,         -- JSON
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX by_keep_until ON entry (keep_until);";

/// What a row's `meta` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    tags: Tags,
    filled_by: RecordId,
    stored_at: u64,
    fresh_until: u64,
    keep_until: u64,
    took_us: u64,
    status: u16,
    /// Values byte by byte: few are no text, but some are.
    headers: Vec<(Box<str>, Box<[u8]>)>,
    /// Lengths of the pieces.
    frames: Vec<usize>,
    times_us: Vec<u32>,
    is_chunked: bool,
    has_guest: bool,
}

/// Makes the connection a writer's, and the table where it is missing.
pub(super) fn prepare(connection: &Connection) -> Result<(), Error> {
    // Set before the first page is written, or it has no effect.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "secure_delete", "FAST")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    establish(connection, SCHEMA, VERSION)
}

/// Calls `each` with every key.
pub(super) fn keys(connection: &Connection, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut statement = connection.prepare("SELECT key FROM entry")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_blob().unwrap_or_default());
    }
    Ok(())
}

/// Bytes that the entries take in the file.
pub(super) fn used_bytes(connection: &Connection) -> Result<u64, Error> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

fn checksum(key: &Key, meta: &[u8], body: &[u8]) -> i64 {
    let mut hasher = Xxh3::with_seed(xxh3_64(key.as_bytes()));
    hasher.update(&(meta.len() as u64).to_le_bytes());
    hasher.update(meta);
    hasher.update(body);
    hasher.digest().cast_signed()
}

fn time(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_micros()).unwrap_or(i64::MAX)
}

/// Writes an entry in the place of an older one.
pub(super) fn write(connection: &Connection, entry: &Entry) -> Result<(), Error> {
    let Entry { tags, answer, .. } = entry;
    let meta = Meta {
        tags: tags.clone(),
        filled_by: entry.filled_by,
        stored_at: entry.stored_at.as_micros(),
        fresh_until: entry.fresh_until.as_micros(),
        keep_until: entry.keep_until.as_micros(),
        took_us: entry.took_us,
        status: answer.status,
        headers: answer
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), (**value).into()))
            .collect(),
        frames: answer.frames.iter().map(Bytes::len).collect(),
        times_us: answer.times_us.clone(),
        is_chunked: answer.is_chunked,
        has_guest: answer.has_guest,
    };
    let meta = serde_json::to_vec(&meta).map_err(std::io::Error::from)?;
    let body = answer.frames.concat();
    connection
        .prepare(
            "INSERT OR REPLACE INTO entry (key, account, gateway, model, scope, tenant, stored_at, \
             keep_until, checksum, meta, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            entry.key.as_bytes(),
            tags.account,
            tags.gateway,
            tags.model,
            tags.scope.map(Scope::to_i64),
            tags.tenant.map(Scope::to_i64),
            time(entry.stored_at),
            time(entry.keep_until),
            checksum(&entry.key, &meta, &body),
            meta,
            body,
        ])?;
    Ok(())
}

/// Reads the entry of a key.
pub(super) fn read(connection: &Connection, key: &Key) -> Result<Read, Error> {
    let row = connection
        .prepare("SELECT checksum, meta, body FROM entry WHERE key = ?")?
        .query_row([key.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional();
    let (sum, meta, body): (i64, Vec<u8>, Vec<u8>) = match row {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(Read::Absent),
        // A row of another shape than any that we write.
        Err(rusqlite::Error::InvalidColumnType(..)) => return Ok(Read::Damaged),
        Err(error) => return Err(error.into()),
    };
    if checksum(key, &meta, &body) != sum {
        return Ok(Read::Damaged);
    }
    let entry = entry(*key, &meta, body.into());
    Ok(entry.map_or(Read::Damaged, |entry| Read::Found(Box::new(entry))))
}

/// `None`: it is not what [`write()`] writes.
fn entry(key: Key, meta: &[u8], mut body: Bytes) -> Option<Entry> {
    let meta: Meta = serde_json::from_slice(meta).ok()?;
    let mut lengths = meta.frames.iter().copied();
    if lengths.try_fold(0, usize::checked_add)? != body.len() {
        return None;
    }
    let frames = meta.frames.iter().map(|length| body.split_to(*length));
    Some(Entry {
        key,
        filled_by: meta.filled_by,
        stored_at: Timestamp::from_micros(meta.stored_at),
        fresh_until: Timestamp::from_micros(meta.fresh_until),
        keep_until: Timestamp::from_micros(meta.keep_until),
        took_us: meta.took_us,
        answer: Answer {
            status: meta.status,
            frames: frames.collect(),
            headers: meta
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            times_us: meta.times_us,
            is_chunked: meta.is_chunked,
            has_guest: meta.has_guest,
        },
        tags: meta.tags,
    })
}

/// Removes rows and calls `each` with their keys; returns how many there were.
fn remove(
    connection: &Connection,
    condition: &str,
    values: Vec<Value>,
    mut each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    let sql = format!("DELETE FROM entry WHERE {condition} RETURNING key");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut removed = 0;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_blob().unwrap_or_default());
        removed += 1;
    }
    Ok(removed)
}

/// Removes the entry of a key.
pub(super) fn remove_key(
    connection: &Connection,
    key: &Key,
    each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    remove(connection, "key = ?", vec![blob(key)], each)
}

/// Removes the `count` that were written first.
pub(super) fn remove_oldest(
    connection: &Connection,
    count: i64,
    each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    let oldest = "id IN (SELECT id FROM entry ORDER BY id LIMIT ?)";
    remove(connection, oldest, vec![count.into()], each)
}

/// Removes what nobody wants from `now` on.
pub(super) fn remove_expired(
    connection: &Connection,
    now: Timestamp,
    each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    remove(connection, "keep_until <= ?", vec![time(now).into()], each)
}

/// Removes what is named.
pub(super) fn purge(
    connection: &Connection,
    what: &Purge,
    each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    let mut conditions = vec!["true"];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &'static str, value: Value| {
        conditions.push(condition);
        values.push(value);
    };
    let text = |text: &str| Value::Text(text.to_owned());
    if let Some(account) = &what.account {
        add("account = ?", text(account));
    }
    if let Some(gateway) = &what.gateway {
        add("gateway = ?", text(gateway));
    }
    if let Some(model) = &what.model {
        add("model = ?", text(model));
    }
    if let Some(scope) = what.scope {
        add("? IN (scope, tenant)", scope.to_i64().into());
    }
    if let Some(key) = &what.key {
        add("key = ?", blob(key));
    }
    if let Some(then) = what.asked_before {
        add("stored_at < ?", time(then).into());
    }
    remove(connection, &conditions.join(" AND "), values, each)
}

fn blob(key: &Key) -> Value {
    Value::Blob(key.as_bytes().to_vec())
}

/// Gives pages that nothing uses back to the file system.
pub(super) fn shrink(connection: &Connection) -> Result<(), Error> {
    let mut statement = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
