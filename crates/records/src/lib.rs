//! The embedded record store: the journal is the truth, everything else a projection of it.
//!
//! [`Records`] opens a folder to write and to read, [`Reader`] one that another process may be
//! writing to, and [`verify`] proves that nothing in it was changed.
//!
//! ```text
//! journal/NNNNNNNN.jsonl.zst   the records (label.rs tells the format; `zstdcat FILE | jq`)
//! journal/NNNNNNNN.index       where the frames of a complete file are; made again if lost
//! journal/NNNNNNNN.words       which frames hold which words; made again if lost
//! journal/NNNNNNNN.torn        what a crash left behind the last whole frame
//! journal/NNNNNNNN.rewrite     a file without what was erased, before it takes its place
//! journal/lock                 held by the process that writes
//! overlay.sqlite               what was said of records later
//! columns/FIRST-END.parquet    what lists and charts ask of the records of these positions
//! rollups/FIRST-END.parquet    sums of a large one of them, by minute, hour and day
//! ```
//! In reading order: `label` and `frame` (bytes), `scan` and `catalog` (what is there), `recovery`
//! and `journal` with `disk` and `flush` (writing), `query` and `slim` (reading), `locate` (by
//! position), `passing` (frames as they lie), `overlay` (what is said later), `rewrite` and `upkeep` (what must go), `words` (which
//! frames a search must read), `audit`, `backup`.
//!
//! Columns: `fields` and `chunk` (some rows in memory), `builder` (filling them), `hash`, `hot` (what is
//! not sealed), `gather`, `arrays`, `sealed` and `segment` (Parquet files), `compact` (merging them), `columns`
//! (all of it, and the thread that seals). Questions: `part` (what they go through), `select`
//! and `prune` (filters), `dressed` (what was said later), `list`; `measure`, `cell`, `histogram`, `tally` and
//! `aggregate`, with `rollup`. `export` writes what a query asks for as Parquet, `table` what others put together; `usage` measures.

mod aggregate;
mod arrays;
mod audit;
mod backup;
mod builder;
mod catalog;
mod cell;
mod chunk;
mod columns;
mod compact;
mod disk;
mod dressed;
mod export;
mod fields;
mod flush;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gather;
mod hash;
mod histogram;
mod hot;
mod journal;
mod label;
mod list;
mod locate;
mod lookup;
mod measure;
mod overlay;
mod part;
mod passing;
mod prune;
mod query;
mod reader;
mod recovery;
mod rewrite;
mod rollup;
mod scan;
mod sealed;
mod segment;
mod select;
mod slim;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod upkeep;
mod usage;
mod words;

use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isango_store::analytics::{Aggregate, Answer, List, Listing, Progress};
use isango_store::later::{Deletion, Patch, Rating};
use isango_store::logs::{Error, Frames, Gap, LogReader, LogWriter, Page, Position, Query};
use isango_types::{Record, RecordId};
use parking_lot::Mutex;

pub use audit::{Finding, Report, verify};
pub use backup::{Backup, backup};
pub use hot::SealAt;
pub use reader::Reader;
pub use recovery::{Recovery, Torn};
pub use table::{Parquet, rows};
pub use upkeep::Upkeep;
pub use usage::usage;

use catalog::Catalog;
use columns::{Columns, Worker};
use disk::{Disk, RealDisk};
use journal::Journal;
use overlay::Overlay;
use words::Indexer;

/// How a record store behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// When records are on the medium, and not just with the operating system.
    pub sync: Sync,
    /// A file that has this many bytes is complete. A new one also begins every day (UTC).
    pub max_file_bytes: u64,
    /// What is removed.
    pub retain: Retention,
    /// When columns that are in memory are written as a segment.
    pub seal_at: SealAt,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: Sync::Window(Duration::from_millis(100)),
            max_file_bytes: 256 << 20,
            retain: Retention::default(),
            seal_at: SealAt::default(),
        }
    }
}

/// When records are brought to the medium. A process that is killed loses nothing in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the operating system likes.
    Never,
    /// This long after they were appended, many at once: what a loss of power can take.
    Window(Duration),
    /// Before the append returns.
    Always,
}

/// What is removed, in whole files. The default keeps everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Most bytes on disk, which one append may exceed; the oldest records go. Files are completed
    /// at an eighth of it at the latest.
    pub max_bytes: Option<u64>,
    /// Records go when all of their file were created longer ago than this.
    pub max_age: Option<Duration>,
    /// The bodies of records go when all of their file were created longer ago than this.
    pub max_body_age: Option<Duration>,
}

/// A record store that this process writes to.
#[derive(Debug)]
pub struct Records {
    reader: Reader,
    journal: Mutex<Journal>,
    indexer: Indexer,
    /// Waits for its thread when it is dropped.
    worker: Worker,
    disk: Arc<dyn Disk>,
    retain: Retention,
    /// Held by the one round of upkeep that is under way.
    upkeep: Mutex<()>,
    recovery: Recovery,
    _lock: File,
}

impl Records {
    /// Opens the record store in a folder, which is made if it is not there, and repairs what a
    /// crash has left.
    ///
    /// # Errors
    /// Another process writes to it; the disk fails; or it was written by a newer release.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    fn open_on(disk: Arc<dyn Disk>, folder: &Path, options: Options) -> Result<Self, Error> {
        let overlay = Arc::new(Overlay::in_folder(Arc::clone(&disk), folder));
        let dir = journal_dir(folder);
        if disk.make_dir(&dir)? && options.sync != Sync::Never {
            // What is in a folder is not on the medium before its name is.
            disk.sync_dir(folder)?;
            if let Some(above) = folder.parent().filter(|above| above.is_dir()) {
                disk.sync_dir(above)?;
            }
        }
        let lock = lock(&*disk, &dir)?;
        let mut found = recovery::recover(&*disk, &dir)?;
        let catalog = Arc::new(Catalog::new(&dir, std::mem::take(&mut found.volumes)));
        let recovery = std::mem::take(&mut found.recovery);
        let columns = Columns::open(
            Arc::clone(&disk),
            &columns_dir(folder),
            (Arc::clone(&catalog), Arc::clone(&overlay)),
            options.seal_at,
        )?;
        let columns = Arc::new(columns);
        let worker = Worker::start(Arc::clone(&columns))?;
        let retain = options.retain.clone();
        let journal = Journal::new(Arc::clone(&disk), Arc::clone(&catalog), options, found)?;
        let indexer = Indexer::start(Arc::clone(&disk), Arc::clone(&catalog))?;
        let reader = Reader::of(catalog, columns, overlay);
        Ok(Self {
            reader,
            journal: Mutex::new(journal),
            indexer,
            worker,
            disk,
            retain,
            upkeep: Mutex::default(),
            recovery,
            _lock: lock,
        })
    }

    /// Opens a folder to read only, which another process may be writing to. An absent folder has
    /// no records.
    ///
    /// # Errors
    /// The disk fails, or the store was written by a newer release.
    pub fn open_read_only(dir: &Path) -> Result<Reader, Error> {
        Reader::open(dir)
    }

    /// What was found, and cut, when the store was opened.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Waits until the columns of all that was appended are sealed, as far as that is due, and small
    /// segments merged: what otherwise happens in the background.
    ///
    /// # Errors
    /// The disk failed.
    pub fn settle(&self) -> Result<(), Error> {
        self.reader.columns().work(&|| false)
    }

    /// Bytes of all journal files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.reader.bytes()
    }
}

impl LogWriter for Records {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        let mut journal = self.journal.lock();
        let position = self.reader.end()?;
        journal.append(batch)?;
        self.reader.columns().append(batch, position.count());
        drop(journal);
        if self.reader.columns().has_work() {
            self.worker.wake();
        }
        self.indexer.look();
        Ok(())
    }

    /// Dropping the store does so too, if it has a flush window.
    fn sync(&self) -> Result<(), Error> {
        self.journal.lock().sync()
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        self.journal.lock().append_gap(gap)
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        patch.check()?;
        if self.get(id)?.is_none() {
            return Ok(false);
        }
        self.reader.overlay().patch(id, patch)?;
        Ok(true)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.reader.overlay().delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.reader.overlay().restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        self.reader.overlay().rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        let (overlay, columns) = (self.reader.overlay(), self.reader.columns());
        loop {
            let due = overlay.due_ratings()?;
            if due.is_empty() {
                return Ok(());
            }
            columns.renew(&due.keys().copied().collect())?;
            overlay.settle_ratings(&due)?;
            // Small segments are merged again.
            self.worker.wake();
        }
    }
}

impl LogReader for Records {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.reader.get(id)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error> {
        self.reader.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        self.reader.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error> {
        self.reader.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.reader.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        self.reader.follow(from, limit)
    }

    fn frames(&self, from: Position, room: usize) -> Result<Frames, Error> {
        self.reader.frames(from, room)
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.reader.dropped(from, to)
    }
}

fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

fn columns_dir(dir: &Path) -> PathBuf {
    dir.join("columns")
}

/// Keeps other writers out for as long as the file is open.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<File, Error> {
    let file = disk.open(&dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = [0; 20];
            let len = file.read_at(&mut holder, 0)?;
            let holder = String::from_utf8_lossy(&holder[..len]);
            let dir = dir.display();
            return Err(Error::InUse(format!(
                "process {} writes to {dir}",
                holder.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    disk.truncate(&file, 0)?;
    disk.write_at(&file, format!("{}\n", std::process::id()).as_bytes(), 0)?;
    Ok(file)
}
