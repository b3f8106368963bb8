//! The one thread that writes the cache's file.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use isango_store::cache::{Entry, Key, Purge};
use isango_types::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::time::Instant;

use super::super::{self as sqlite, Error};
use super::{Shared, short, table};

/// Entries that are written in one transaction at most.
const MAX_BATCH: usize = 256;
/// Bytes of them, but for those of the last one: so much more than its limit the file may hold for a
/// moment.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// How often an operator is told of a file that keeps failing.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Where the number of removed entries is told.
pub(super) type Reply = SyncSender<Result<u64, Error>>;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Keep an entry, unless it was asked for before the last purge.
    Put(Arc<Entry>, u64),
    /// Drop the one of this key: it cannot be read.
    Remove(Key),
    /// Remove what is named; from here on it is that generation.
    Purge(Purge, u64, Reply),
    /// Remove what is past its time.
    Expire(Timestamp, Reply),
    /// Tell when everything before is done.
    Flush(Reply),
    /// The file of this number is damaged.
    BeginAnew(u64),
    /// No more.
    Close,
}

/// The writer's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None`: no file could be had in the place of a damaged one, and nothing is kept.
    connection: Option<Connection>,
    limit: u64,
    generation: u64,
    told: Option<Instant>,
}

impl Writer {
    /// Opens the file, or a new one in the place of a damaged one.
    pub(super) fn open(shared: Arc<Shared>, limit: u64) -> Result<Self, Error> {
        let connection = match open(&shared) {
            Err(error) if error.is_damage() => {
                set_aside(&shared, &error)?;
                open(&shared)?
            }
            other => other?,
        };
        Ok(Self {
            shared,
            connection: Some(connection),
            limit,
            generation: 0,
            told: None,
        })
    }

    /// Does what it is asked until it is closed.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        // There may be more than there is room for: the limit is another one than before, or the
        // process ended before it had made room.
        let indexed = self.index().and_then(|()| self.make_room());
        self.note(indexed);
        self.shared.is_indexed.store(true, Ordering::Release);
        let mut next = None;
        while let Some(command) = next.take().or_else(|| commands.recv().ok()) {
            match command {
                Command::Put(entry, generation) => {
                    let (batch, behind) = gather((entry, generation), commands);
                    next = behind;
                    let written = self.write(&batch);
                    self.note(written);
                    let weight: usize = batch.iter().map(|(entry, _)| entry.weight()).sum();
                    self.shared.queued.fetch_sub(weight, Ordering::Relaxed);
                }
                Command::Remove(key) => {
                    tracing::warn!(%key, "an entry of the cache was damaged");
                    let removed = self.remove(|table, each| table::remove_key(table, &key, each));
                    self.note(removed.map(|_one| ()));
                }
                Command::Purge(what, generation, reply) => {
                    self.generation = generation;
                    // Nobody can tell what is in a damaged file.
                    let aside = sqlite::remove_aside(&self.shared.file).map_err(Error::from);
                    self.note(aside);
                    let removed = self.remove(|table, each| table::purge(table, &what, each));
                    self.answer(removed, &reply);
                }
                Command::Expire(now, reply) => {
                    let removed =
                        self.remove(|table, each| table::remove_expired(table, now, each));
                    self.answer(removed, &reply);
                }
                Command::Flush(reply) => self.answer(Ok(0), &reply),
                // Whoever else found the same has been helped already.
                Command::BeginAnew(file) if file != self.shared.file_number() => {}
                Command::BeginAnew(_) => self.begin_anew(&"it cannot be read"),
                Command::Close => return,
            }
        }
    }

    fn index(&self) -> Result<(), Error> {
        let mut known = HashSet::new();
        if let Some(connection) = &self.connection {
            table::keys(connection, |key| {
                known.insert(short(key));
            })?;
        }
        *self.shared.index.write() = known;
        self.measure().map(|_used| ())
    }

    fn measure(&self) -> Result<u64, Error> {
        let used = self.connection.as_ref().map_or(Ok(0), table::used_bytes)?;
        self.shared.used.store(used, Ordering::Relaxed);
        Ok(used)
    }

    fn write(&mut self, batch: &[(Arc<Entry>, u64)]) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = Vec::with_capacity(batch.len());
        for (entry, generation) in batch {
            if *generation >= self.generation {
                table::write(&writing, entry)?;
                written.push(short(entry.key.as_bytes()));
            }
        }
        writing.commit()?;
        self.shared.index.write().extend(written);
        self.make_room()
    }

    /// Removes what is too much, the oldest first.
    fn make_room(&self) -> Result<(), Error> {
        loop {
            let used = self.measure()?;
            let Some(excess) = used.checked_sub(self.limit).filter(|excess| *excess > 0) else {
                return Ok(());
            };
            // As many as take that much, if they are of the usual size.
            let entries = self.shared.index.read().len() as u64;
            let count = 1 + excess.saturating_mul(entries) / used;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            if self.remove(|table, each| table::remove_oldest(table, count, each))? == 0 {
                return Ok(());
            }
        }
    }

    /// Removes rows from the table, and their keys from the index.
    fn remove(
        &self,
        remove: impl FnOnce(&Connection, &mut dyn FnMut(&[u8])) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let Some(connection) = &self.connection else {
            return Ok(0);
        };
        remove(connection, &mut |key| {
            self.shared.index.write().remove(&short(key));
        })
    }

    fn answer(&mut self, done: Result<u64, Error>, reply: &Reply) {
        let done = done.and_then(|removed| {
            if let (Some(connection), true) = (&self.connection, removed > 0) {
                table::shrink(connection)?;
            }
            self.measure().map(|_used| removed)
        });
        // Where everything is gone, so is what was to go.
        let done = match done {
            Err(error) if error.is_damage() => {
                self.begin_anew(&error);
                Ok(0)
            }
            other => other,
        };
        // Whoever asked may have left.
        reply.try_send(done).ok();
    }

    /// Tells the operator of a failure, not too often; a damaged file is begun anew.
    fn note(&mut self, done: Result<(), Error>) {
        let Err(error) = done else { return };
        if error.is_damage() {
            self.begin_anew(&error);
        } else if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "answers cannot be kept on disk");
            self.told = Some(Instant::now());
        }
    }

    fn begin_anew(&mut self, why: &dyn std::fmt::Display) {
        // Closed before it is moved, or it would write to what stands there then.
        self.connection = None;
        let moved = set_aside(&self.shared, why);
        // Only now, or a reader could take the damaged file for the next one.
        self.shared.forget();
        match moved.and_then(|()| open(&self.shared)) {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the cache keeps nothing on disk from now on");
            }
        }
    }
}

/// An entry to keep, and the generation of its question.
type Put = (Arc<Entry>, u64);

/// Everything that is to be kept and waits already, and the command behind it.
fn gather(first: Put, commands: &Receiver<Command>) -> (Vec<Put>, Option<Command>) {
    let mut bytes = first.0.weight();
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        match commands.try_recv() {
            Ok(Command::Put(entry, generation)) => {
                bytes += entry.weight();
                batch.push((entry, generation));
            }
            Ok(other) => return (batch, Some(other)),
            Err(_none_now) => break,
        }
    }
    (batch, None)
}

fn open(shared: &Shared) -> Result<Connection, Error> {
    let connection = sqlite::open(&shared.file)?;
    table::prepare(&connection)?;
    Ok(connection)
}

fn set_aside(shared: &Shared, why: &dyn std::fmt::Display) -> Result<(), Error> {
    let aside = sqlite::set_aside(&shared.file)?;
    let aside = aside.display();
    tracing::warn!(%why, %aside, "the cache's file was set aside and is begun anew");
    Ok(())
}
