//! Records by their positions: which file, which frame, which line.

use std::fs::File;
use std::io::ErrorKind;

use isango_store::logs::Error;
use isango_types::Record;

use crate::catalog::{Catalog, Volume, journal_path};
use crate::frame::{Entry, Unpacker, split_lines};
use crate::query;

/// Reads records by position. Neighbors are read from one frame, which is unpacked once.
pub(crate) struct Locator<'c> {
    catalog: &'c Catalog,
    volumes: Vec<Volume>,
    unpacker: Unpacker,
    file: Option<(u64, File)>,
    /// The frame that was unpacked last, and its lines.
    held: Option<(Entry, Vec<u8>)>,
}

impl<'c> Locator<'c> {
    pub(crate) fn new(catalog: &'c Catalog) -> Result<Self, Error> {
        Ok(Self {
            volumes: catalog.volumes(),
            catalog,
            unpacker: Unpacker::new()?,
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
        self.line(position)?.map(query::parse).transpose()
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
                true => query::parse(line)?,
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
        if self.file.as_ref().is_none_or(|(open, _)| *open != number) {
            self.file = match File::open(journal_path(dir, number)) {
                Ok(file) => Some((number, file)),
                // Retention has removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        }
        let (Some((_, file)), Some(entry)) = (&self.file, volume.entry_of(dir, position)?) else {
            return Ok(false);
        };
        match self.unpacker.lines(file, &entry) {
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
