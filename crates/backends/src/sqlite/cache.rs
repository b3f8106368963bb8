//! The cache's file: one table of answers.
//!
//! One thread writes, many callers read. Nothing is synced: a crash of the process loses what was
//! queued, one of the machine may lose the file, which is then begun anew. Each entry carries a
//! checksum, and one that does not match is absent.

mod table;
mod writer;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use isango_store::cache::{Entry, Error as StoreError, Key, Purge, Size};
use isango_types::Timestamp;
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use self::writer::{Command, Writer};
use super::Error;

/// Name of the file.
const FILE: &str = "cache.sqlite";
/// Commands that wait for the writer.
const MAX_QUEUE: usize = 4_096;
/// Bytes of entries that wait for it.
const MAX_QUEUE_BYTES: usize = 64 << 20;
/// Connections that are kept for readers.
const MAX_READERS: usize = 4;

/// What is on disk.
#[derive(Debug)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    limit: u64,
    thread: Option<JoinHandle<()>>,
}

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    file: PathBuf,
    /// Hashes of the keys that are there; says of most misses that no read is needed.
    index: RwLock<HashSet<u64>>,
    /// The index is complete.
    is_indexed: AtomicBool,
    /// Bytes that the entries take in the file.
    used: AtomicU64,
    /// Bytes of entries that wait to be written.
    queued: AtomicUsize,
    readers: Mutex<Readers>,
}

/// Connections for readers, and how often the file was begun anew: one to an older file is not
/// kept.
#[derive(Debug, Default)]
struct Readers {
    idle: Vec<Connection>,
    file: u64,
}

impl Shared {
    fn take_reader(&self) -> Result<(Connection, u64), Error> {
        let mut readers = self.readers.lock();
        let file = readers.file;
        let idle = readers.idle.pop();
        drop(readers);
        match idle {
            Some(connection) => Ok((connection, file)),
            None => Ok((super::open_to_read(&self.file)?, file)),
        }
    }

    fn give_back(&self, connection: Connection, file: u64) {
        let mut readers = self.readers.lock();
        if readers.file == file && readers.idle.len() < MAX_READERS {
            readers.idle.push(connection);
        }
    }

    /// Which file it is: one that was begun anew has another number.
    fn file_number(&self) -> u64 {
        self.readers.lock().file
    }

    /// The file is not the same any more.
    fn forget(&self) {
        let mut readers = self.readers.lock();
        readers.file += 1;
        readers.idle.clear();
        drop(readers);
        self.index.write().clear();
        self.used.store(0, Ordering::Relaxed);
    }
}

/// What the index holds of a key; keys are digests, and so evenly spread.
fn short(key: &[u8]) -> u64 {
    key.first_chunk()
        .map_or(0, |head| u64::from_ne_bytes(*head))
}

impl Disk {
    /// Opens the file in `folder`; one that is damaged is set aside.
    ///
    /// # Errors
    /// No file can be had there.
    pub(crate) fn open(folder: &Path, limit: u64) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let shared = Arc::new(Shared {
            file: folder.join(FILE),
            index: RwLock::default(),
            is_indexed: AtomicBool::new(false),
            used: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            readers: Mutex::default(),
        });
        let (commands, received) = sync_channel(MAX_QUEUE);
        let writer = Writer::open(Arc::clone(&shared), limit)?;
        let thread = std::thread::Builder::new()
            .name("cache".into())
            .spawn(move || writer.run(&received))?;
        Ok(Self {
            shared,
            commands,
            limit,
            thread: Some(thread),
        })
    }

    /// Whether a read may find the key.
    pub(crate) fn may_hold(&self, key: &Key) -> bool {
        let shared = &self.shared;
        shared.index.read().contains(&short(key.as_bytes()))
            || !shared.is_indexed.load(Ordering::Acquire)
    }

    /// Reads an entry.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let file = self.shared.file_number();
        let read = self.read(key);
        if let Err(error) = &read
            && error.is_damage()
        {
            self.commands.try_send(Command::BeginAnew(file)).ok();
        }
        match read {
            Ok(Read::Found(entry)) => Ok(Some(*entry)),
            Ok(Read::Absent) => Ok(None),
            Ok(Read::Damaged) => {
                self.commands.try_send(Command::Remove(*key)).ok();
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(&self, key: &Key) -> Result<Read, Error> {
        let (connection, file) = self.shared.take_reader()?;
        let read = table::read(&connection, key)?;
        // A connection that has failed is not given back.
        self.shared.give_back(connection, file);
        Ok(read)
    }

    /// Queues an entry.
    pub(crate) fn put(&self, entry: Arc<Entry>, generation: u64) -> Result<(), StoreError> {
        let (queued, weight) = (&self.shared.queued, entry.weight());
        if queued.fetch_add(weight, Ordering::Relaxed) + weight > MAX_QUEUE_BYTES {
            queued.fetch_sub(weight, Ordering::Relaxed);
            return Err(StoreError::Busy);
        }
        match self.commands.try_send(Command::Put(entry, generation)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                queued.fetch_sub(weight, Ordering::Relaxed);
                Err(StoreError::Busy)
            }
        }
    }

    /// Removes what is named, behind everything that was queued before.
    pub(crate) fn purge(&self, what: Purge, generation: u64) -> Result<u64, StoreError> {
        self.ask(|reply| Command::Purge(what, generation, reply))
    }

    /// Removes what nobody wants any more.
    pub(crate) fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.ask(|reply| Command::Expire(now, reply))
    }

    /// Waits until everything that was queued before is in the file.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.ask(Command::Flush).map(|_removed| ())
    }

    fn ask(
        &self,
        command: impl FnOnce(SyncSender<Result<u64, Error>>) -> Command,
    ) -> Result<u64, StoreError> {
        let (reply, replied) = sync_channel(1);
        self.commands
            .send(command(reply))
            .map_err(|_gone| StoreError::Busy)?;
        match replied.recv() {
            Ok(done) => done.map_err(failed),
            Err(_gone) => Err(StoreError::Busy),
        }
    }

    /// What is kept.
    pub(crate) fn size(&self) -> Size {
        Size {
            entries: self.shared.index.read().len() as u64,
            bytes: self.shared.used.load(Ordering::Relaxed),
            limit: self.limit,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.commands.send(Command::Close).ok();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cache's thread had failed");
        }
    }
}

/// What a read came to.
enum Read {
    Found(Box<Entry>),
    Absent,
    /// It is there, but not what was written.
    Damaged,
}

fn failed(error: Error) -> StoreError {
    StoreError::Failed(error.into())
}
