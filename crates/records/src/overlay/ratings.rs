//! Costs that records were given after they were stored.

use std::collections::BTreeMap;

use isango_store::later::Rating;
use isango_store::logs::Error;
use isango_types::RecordId;
use rusqlite::types::Type;
use rusqlite::{Connection, Params};

use super::{MAX_DUE, Overlay, View};

/// `rating` is a [`Rating`] as JSON; `due` is 1 while columns may show the cost before. An earlier
/// release passes the table over.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rated (
        id BLOB PRIMARY KEY NOT NULL, rating TEXT NOT NULL, due INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX IF NOT EXISTS rated_due ON rated (id) WHERE due = 1;";

/// Costs of some records, by their ids.
pub(crate) type Ratings = BTreeMap<RecordId, Rating>;

/// Whether there are any.
pub(super) fn are_in(connection: &Connection) -> rusqlite::Result<bool> {
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'rated')";
    let has_row = "SELECT EXISTS (SELECT 1 FROM rated)";
    let tells = |question: &str| connection.query_row(question, [], |row| row.get::<_, bool>(0));
    Ok(tells(has_table)? && tells(has_row)?)
}

impl Overlay {
    /// Gives records another cost; says how many.
    ///
    /// # Errors
    /// The file failed; nothing is changed then.
    pub(crate) fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        if ratings.is_empty() {
            return Ok(0);
        }
        self.transact(|transaction| {
            let mut rate = transaction
                .prepare("INSERT OR REPLACE INTO rated (id, rating, due) VALUES (?1, ?2, 1)")?;
            for (id, rating) in ratings {
                let text = serde_json::to_string(rating).map_err(Error::from)?;
                rate.execute((id.as_bytes(), text))?;
            }
            Ok(ratings.len() as u64)
        })
    }

    /// Costs that columns may not show yet, in the order of their records' ids.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(crate) fn due_ratings(&self) -> Result<Ratings, Error> {
        let due = "SELECT id, rating FROM rated WHERE due = 1 ORDER BY id LIMIT ?1";
        self.view()?.read_ratings(due, [MAX_DUE])
    }

    /// The columns show these costs. One that was set anew meanwhile stays due.
    ///
    /// # Errors
    /// The file failed; nothing is changed then.
    pub(crate) fn settle_ratings(&self, ratings: &Ratings) -> Result<(), Error> {
        self.transact(|transaction| {
            let mut settle =
                transaction.prepare("UPDATE rated SET due = 0 WHERE id = ?1 AND rating = ?2")?;
            for (id, rating) in ratings {
                let text = serde_json::to_string(rating).map_err(Error::from)?;
                settle.execute((id.as_bytes(), text))?;
            }
            Ok(())
        })
    }
}

impl View<'_> {
    /// Costs of records whose ids lie between these two, both included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn ratings(&self, ids: [RecordId; 2]) -> Result<Ratings, Error> {
        let between = "SELECT id, rating FROM rated WHERE id BETWEEN ?1 AND ?2";
        self.read_ratings(between, ids.each_ref().map(RecordId::as_bytes))
    }

    /// Costs of records of which something else was said, too.
    pub(super) fn ratings_beside(&self) -> Result<Ratings, Error> {
        let beside = "SELECT id, rating FROM rated WHERE id IN (SELECT id FROM later)";
        self.read_ratings(beside, [])
    }

    fn read_ratings(&self, question: &str, params: impl Params) -> Result<Ratings, Error> {
        let Some(connection) = self.connection.as_ref().filter(|_| self.has_ratings) else {
            return Ok(Ratings::new());
        };
        let read = || -> rusqlite::Result<Ratings> {
            let mut found = connection.prepare(question)?;
            let rows = found.query_map(params, |row| {
                let text: String = row.get(1)?;
                let rating = serde_json::from_str(&text).map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(1, Type::Text, error.into())
                })?;
                Ok((RecordId::from_bytes(row.get(0)?), rating))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.overlay.failed(&error))
    }
}
