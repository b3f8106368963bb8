//! Records by their positions: which file, which frame, which line.

use std::fs::File;
use std::io::ErrorKind;

use isango_store::logs::Error;
use isango_types::Record;

use crate::catalog::{Catalog, Volume, journal_path};
use crate::frame::{Entry, Unpacker, parse, split_lines};
use crate::query;
use crate::words::Candidates;

/// Reads records by position. Neighbors are read from one frame, which is unpacked once. One that
/// looks for words passes over frames that cannot hold them.
pub(crate) struct Locator<'c> {
    catalog: &'c Catalog,
    volumes: Vec<Volume>,
    unpacker: Unpacker,
    /// What the bodies of the records must hold, as [`Filter::words`] tells it.
    ///
    /// [`Filter::words`]: isango_store::filter::Filter::words
    words: Vec<u64>,
    file: Option<Opened>,
    /// The frame that was looked at last, and its lines: none if it was passed over.
    held: Option<(Entry, Vec<u8>)>,
}

/// A file of the journal.
struct Opened {
    number: u64,
    file: File,
    candidates: Candidates,
}

impl<'c> Locator<'c> {
    pub(crate) fn new(catalog: &'c Catalog) -> Result<Self, Error> {
        Self::of_words(catalog, Vec::new())
    }

    /// One for which a record is not there if its frame cannot hold all of these words.
    pub(crate) fn of_words(catalog: &'c Catalog, words: Vec<u64>) -> Result<Self, Error> {
        Ok(Self {
            volumes: catalog.volumes(),
            catalog,
            unpacker: Unpacker::new()?,
            words,
            file: None,
            held: None,
        })
    }

    /// The record at a position, whole; `None` if the journal no longer has it, or its frame is
    /// damaged.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn record(&mut self, position: u64) -> Result<Option<Record>, Error> {
        self.line(position)?.map(parse).transpose()
    }

    /// The records at some positions, in their order; those that the journal no longer has, or that
    /// are in a damaged frame, are left out.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn records(
        &mut self,
        positions: &[u64],
        with_bodies: bool,
    ) -> Result<Vec<Record>, Error> {
        // Neighbors on a page may take turns in two frames.
        let mut order: Vec<(u64, usize)> = positions.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut found = Vec::with_capacity(order.len());
        let mut buffer = Vec::new();
        for (position, at) in order {
            let Some(line) = self.line(position)? else {
                continue;
            };
            let record = match with_bodies {
                true => parse(line)?,
                false => query::parse_slim(line, &mut buffer)?,
            };
            found.push((at, record));
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    fn line(&mut self, position: u64) -> Result<Option<&[u8]>, Error> {
        if !self.hold(position)? {
            return Ok(None);
        }
        Ok(self.held.as_ref().and_then(|(entry, lines)| {
            let at = usize::try_from(position - entry.contents.sequence).ok()?;
            split_lines(lines).nth(at)
        }))
    }

    /// Unpacks the frame of a position, unless it is the one that is held.
    fn hold(&mut self, position: u64) -> Result<bool, Error> {
        let is_in =
            |entry: &Entry| (entry.contents.sequence..entry.end_sequence()).contains(&position);
        if self.held.as_ref().is_some_and(|(entry, _)| is_in(entry)) {
            return Ok(true);
        }
        let at = self
            .volumes
            .partition_point(|volume| volume.summary.chain.sequence <= position);
        let Some(volume) = self.volumes.get(at) else {
            return Ok(false);
        };
        let dir = &self.catalog.dir;
        let number = volume.summary.number;
        if self.file.as_ref().is_none_or(|open| open.number != number) {
            self.file = match File::open(journal_path(dir, number)) {
                Ok(file) => Some(Opened {
                    number,
                    candidates: Candidates::find(dir, number, &file, &self.words)?,
                    file,
                }),
                // Retention has removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        }
        let Some(open) = &self.file else {
            return Ok(false);
        };
        let Some((at, entry)) = volume.entry_of(dir, &open.file, position)? else {
            return Ok(false);
        };
        if !open.candidates.may_hold(at) {
            self.held = Some((entry, Vec::new()));
            return Ok(false);
        }
        match self.unpacker.lines(&open.file, &entry) {
            Ok(lines) => self.held = Some((entry, lines.to_vec())),
            Err(Error::Damaged(what)) => {
                tracing::warn!(
                    what,
                    "a part of the record store is damaged and was passed over"
                );
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}
