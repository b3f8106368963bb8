//! The same rows in SQLite: a column for each field that is asked for, an index on the time, bodies
//! beside them.

use std::path::Path;

use isango_store::logs::strip_bodies;
use isango_types::record::{Body, MetadataValue};
use isango_types::{Clock, Record, Timestamp};
use rusqlite::{Connection, params};

use crate::made::Maker;
use crate::{BATCH, Fallible, per, seconds};

/// Writes the rows, and asks for two things.
pub(crate) fn measure(path: &Path, rows: u64, of: u64, now: Timestamp) -> Fallible<()> {
    let mut db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE requests (id BLOB PRIMARY KEY, created INTEGER, gateway TEXT, model TEXT,
            status INTEGER, cost INTEGER, tokens_in INTEGER, tokens_out INTEGER, duration INTEGER,
            ttft INTEGER, tenant TEXT, user TEXT, feature TEXT, rest TEXT, request TEXT,
            response TEXT) WITHOUT ROWID;
         CREATE INDEX by_time ON requests (created);",
    )?;
    let mut maker = Maker::new(of, now);
    let mut micros = 0;
    for first in (0..rows).step_by(usize::try_from(BATCH)?) {
        let batch = (first..rows.min(first + BATCH)).map(|n| maker.record(n));
        let batch = batch.collect::<Result<Vec<_>, _>>()?;
        let begun = Clock::system().now().as_micros();
        insert(&mut db, batch)?;
        micros += Clock::system().now().as_micros() - begun;
    }
    println!("SQLite: {rows} rows, {:.2} µs per row", per(micros, rows));
    println!(
        "  {:.1} bytes on disk per row",
        per(std::fs::metadata(path)?.len(), rows)
    );
    for (what, sql) in [
        (
            "by tenant",
            "SELECT tenant, count(*), sum(cost), avg(duration) FROM requests GROUP BY 1",
        ),
        (
            "newest 50 with three filters",
            "SELECT id FROM requests WHERE model = 'gpt-4o-2024-08-06' AND status = 200
             AND tenant = 'tenant-7' ORDER BY created DESC LIMIT 50",
        ),
        (
            "a rare word",
            "SELECT id FROM requests WHERE request LIKE '%quokkaberry%'",
        ),
    ] {
        let begun = Clock::system().now().as_micros();
        let found = db.prepare(sql)?.query_map([], |_| Ok(()))?.count();
        let took = Clock::system().now().as_micros() - begun;
        println!("  {what}: {:.3} s ({found} found)", seconds(took));
    }
    Ok(())
}

fn insert(db: &mut Connection, batch: Vec<Record>) -> Fallible<()> {
    let transaction = db.transaction()?;
    {
        let marks = ["?"; 16].join(",");
        let mut insert = transaction.prepare(&format!("INSERT INTO requests VALUES ({marks})"))?;
        let number = i64::try_from;
        for mut record in batch {
            let text = |body: &Option<Body>| match body {
                Some(Body::Json(json)) => json.get().to_owned(),
                _ => String::new(),
            };
            let (request, response) = (text(&record.request.body), text(&record.response.body));
            strip_bodies(&mut record);
            let key = |key: &str| match record.metadata.get(key) {
                Some(MetadataValue::Text(text)) => text.to_string(),
                _ => String::new(),
            };
            let usage = record.usage.unwrap_or_default();
            insert.execute(params![
                record.id.as_bytes(),
                number(record.created_at.as_micros())?,
                &*record.gateway,
                record.model.as_deref(),
                record.status,
                record.cost.nanousd.map(number).transpose()?,
                number(usage.input)?,
                number(usage.output)?,
                number(record.timing.total_us)?,
                record.timing.ttft_us.map(number).transpose()?,
                key("tenant"),
                key("user"),
                key("feature"),
                serde_json::to_string(&record)?,
                request,
                response,
            ])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
