//! The record store's two doors: [`LogWriter`] appends, [`LogReader`] answers questions.
//!
//! All calls block; an async caller goes through its blocking pool. Lists and charts ask
//! [`LogReader::list`] and [`LogReader::aggregate`] ([`crate::analytics`]), which read no bodies;
//! whole records come from [`LogReader::get`], [`LogReader::query`] and [`LogReader::follow`].

use std::fmt;
use std::str::FromStr;

use isango_types::{Record, RecordId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::analytics::{Aggregate, Answer, List, Listing, Progress};
pub use crate::filter::{Filter, FilterError};
use crate::later::{Deletion, Patch, PatchError, Rating};

/// Most records that one page or one [`LogReader::follow`] returns.
pub const MAX_PAGE: usize = 10_000;

/// Appends records. One caller at a time writes; appends are ordered.
pub trait LogWriter: Send + Sync {
    /// Appends `batch` (oldest first, at most 10 000) and returns when it is committed.
    ///
    /// # Errors
    /// The batch was not, or not wholly, stored; trying again may store a record twice, which
    /// readers resolve by id.
    fn append(&self, batch: &[Record]) -> Result<(), Error>;

    /// Returns when everything that was appended is on the medium, where it outlives a loss of
    /// power.
    ///
    /// # Errors
    /// What was appended since the last success may not be; trying again proves nothing about it.
    fn sync(&self) -> Result<(), Error>;

    /// Leaves a marker where records were dropped, so that a hole is never silent.
    ///
    /// # Errors
    /// The marker was not stored; trying again can help.
    fn append_gap(&self, gap: &Gap) -> Result<(), Error>;

    /// Says something of a record later; it is seen at once. False if there is no such record, or
    /// it is deleted.
    ///
    /// # Errors
    /// [`Error::Patch`]: the patch is beyond its bounds. Otherwise the store failed, and trying
    /// again can help; nothing was changed.
    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error>;

    /// Deletes records, at most [`MAX_PAGE`]; they are in no answer any more at once. Says of how
    /// many that is news. An id that is not there counts too: its record is deleted when it comes.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error>;

    /// Brings hidden records back, at most [`MAX_PAGE`]; says how many. What was erased stays so.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error>;

    /// Gives records another cost, at most [`MAX_PAGE`]; says how many. Whole records have it at once;
    /// lists, sums and filters may tell the one before until [`LogWriter::settle_ratings`] returns.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error>;

    /// Returns when lists, sums and filters know every cost that [`LogWriter::rate`] has set. It may
    /// take long; what it does not come to, upkeep does later.
    ///
    /// # Errors
    /// The store failed; trying again goes on from there.
    fn settle_ratings(&self) -> Result<(), Error>;
}

/// Reads records.
pub trait LogReader: Send + Sync {
    /// The record of an id, with its bodies.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error>;

    /// One page of the records that a query asks for, each of them once. Once it is told to end, the
    /// page ends where it is: it has all that match up to its `next`, from where another one goes on.
    ///
    /// # Errors
    /// The store could not be read.
    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error>;

    /// [`LogReader::search`], however long it takes.
    ///
    /// # Errors
    /// The store could not be read.
    fn query(&self, query: &Query) -> Result<Page, Error> {
        self.search(query, &Progress::default())
    }

    /// One page of rows: records without their nested parts, each of them once.
    ///
    /// # Errors
    /// The store could not be read.
    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error>;

    /// Counts, sums and percentiles of the records that a question asks for, each of them once.
    ///
    /// # Errors
    /// The store could not be read.
    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error>;

    /// The position behind the last record: what follows from here is new.
    ///
    /// # Errors
    /// The store could not be read.
    fn end(&self) -> Result<Position, Error>;

    /// At most `limit` records from a position on, whole and in the order of their append, and the
    /// position behind them. A record that was appended twice comes twice; one that retention has
    /// dropped is left out. One that was deleted comes as [`Query::with_deleted`] has it, for what
    /// counts goes on counting it; who shows records leaves it out ([`Record::is_erased`]). Nothing
    /// new: no records, and the same position.
    ///
    /// # Errors
    /// The store could not be read.
    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error>;

    /// Records from a position on as they lie in the store, without a look at each of them: whole
    /// frames of at most `room` bytes of text together, the first whatever it has. A store that has
    /// no frames has none to give.
    ///
    /// # Errors
    /// The store could not be read.
    fn frames(&self, from: Position, room: usize) -> Result<Frames, Error> {
        let _no_frames = (from, room);
        Ok(Frames::default())
    }

    /// How many records were dropped between two positions before they could be stored, by the
    /// markers there ([`LogWriter::append_gap`]); one at `to` lies behind it.
    ///
    /// # Errors
    /// The store could not be read.
    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error>;
}

/// Records as they lie in a store, one frame after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// In the order of the journal, nothing between two of them.
    pub frames: Vec<Frame>,
    /// Records behind them, up to here, are to be followed one by one: they are part of a frame, or
    /// in one of which something was said later. `None`: there is nothing more for now, or no room.
    pub singly: Option<Position>,
}

/// Some records as a store has them: nothing was said of any of them later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// A frame of zstd (RFC 8878) with its checksum: one record a line, as JSON.
    pub packed: Vec<u8>,
    /// Bytes of the lines.
    pub raw_bytes: usize,
    /// How many.
    pub records: u64,
    /// The first and the last of them.
    pub ends: [(RecordId, Timestamp); 2],
    /// Their accounts and gateways, each pair once.
    pub owners: Vec<(Box<str>, Box<str>)>,
}

/// Both doors of one store.
pub trait LogStore: LogWriter + LogReader {
    /// Deletes the records of a query: its next page, or with the largest limit its first 10 000.
    /// Says how many.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    fn delete_matching(&self, query: &Query, how: Deletion) -> Result<u64, Error> {
        let page = self.query(&Query {
            with_bodies: false,
            with_deleted: false,
            ..query.clone()
        })?;
        let ids: Vec<RecordId> = page.records.iter().map(|record| record.id).collect();
        self.delete(&ids, how)
    }
}

impl<S: LogWriter + LogReader> LogStore for S {}

/// How many records were appended before: where a consumer stands. Survives restarts and
/// retention; [`Position::START`] is before the first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// Behind `count` records.
    #[must_use]
    pub const fn after(count: u64) -> Self {
        Self(count)
    }

    /// How many records lie before it.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// In which order of time records are returned. Their ids decide, which begin with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// Which records, in which order, and how many.
#[derive(Clone, Debug)]
pub struct Query {
    /// What a record must match; the default matches every record.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Most records of the page, 1 to [`MAX_PAGE`]; other values are brought within.
    pub limit: usize,
    /// Only records that come after this one in `order`: the `next` of the page before.
    pub after: Option<RecordId>,
    /// Only records created at this moment or later.
    pub since: Option<Timestamp>,
    /// Only records created before this moment.
    pub until: Option<Timestamp>,
    /// Whether records carry their bodies; a page with bodies may end before `limit`.
    pub with_bodies: bool,
    /// Whether deleted records come too, as what is left of them
    /// ([`Record::erase`](isango_types::Record::erase)): for those who count.
    pub with_deleted: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            order: Order::NewestFirst,
            limit: 50,
            after: None,
            since: None,
            until: None,
            with_bodies: false,
            with_deleted: false,
        }
    }
}

impl Query {
    /// The limit, within its bounds.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE)
    }

    /// Whether a record of this id lies behind the cursor.
    #[must_use]
    pub fn is_past_cursor(&self, id: RecordId) -> bool {
        match (self.after, self.order) {
            (None, _) => true,
            (Some(after), Order::NewestFirst) => id < after,
            (Some(after), Order::OldestFirst) => id > after,
        }
    }

    /// Whether the query asks for this record: time, filter and deletion, not the cursor.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        (self.with_deleted || !record.is_erased())
            && self.since.is_none_or(|since| record.created_at >= since)
            && self.until.is_none_or(|until| record.created_at < until)
            && self.filter.matches(record)
    }
}

/// One page of an answer.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records, in the order asked for.
    pub records: Vec<Record>,
    /// The cursor for the next page; `None` when this is the last one. Where a search was told to
    /// end it can be an id that no record has, and the page can be empty.
    pub next: Option<RecordId>,
}

/// Records that were dropped before they could be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many.
    pub dropped: u64,
    /// Why, in words.
    pub reason: Box<str>,
    /// When the marker was made.
    pub at: Timestamp,
}

/// Takes the bodies out of a record, as a query without bodies returns it.
pub fn strip_bodies(record: &mut Record) {
    for message in [&mut record.request, &mut record.response] {
        message.body = None;
        message.raw = None;
    }
}

/// A storage failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The medium failed: disk full, permission, input/output. Trying again can help.
    #[error("the record store failed: {0}")]
    Io(#[from] std::io::Error),
    /// What is stored cannot be understood.
    #[error("the record store is damaged: {0}")]
    Damaged(String),
    /// Another process writes to this store; the text says to which, and who.
    #[error("the record store is in use: {0}")]
    InUse(String),
    /// What is to be said of a record cannot be said.
    #[error("{0}")]
    Patch(#[from] PatchError),
    /// A record could not be written as JSON.
    #[error("a record could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}
