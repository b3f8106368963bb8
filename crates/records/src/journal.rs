//! The writer: batches into frames, frames into files.
//!
//! One append is one or more frames and, up to 4 MiB, one write. It is committed when the operating
//! system has it (a killed process loses nothing), and on the medium within the flush window. After
//! an error the file is cut back to its last committed frame, and the next append begins there.
//! Deliberately not here: queueing and waiting, which are the caller's.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use isango_store::logs::{Error, Gap};
use isango_types::{Record, Timestamp};

use crate::catalog::{Catalog, Summary, Volume, index_path, journal_path};
use crate::disk::Disk;
use crate::flush::Flusher;
use crate::frame::{Chain, Entry, Packer};
use crate::label::Header;
use crate::recovery::Found;
use crate::rewrite::Rewritten;
use crate::scan::Scan;
use crate::words::words_path;
use crate::{Options, Sync};

/// Most frames of a file, which bounds the memory for those of the newest one: 6 MiB.
const MAX_FRAMES: u64 = 65_536;
/// What is packed is written when it has reached this many bytes, if the batch has not ended yet.
const WRITE_BYTES: usize = 4 << 20;
const DAY_MICROS: u64 = 86_400_000_000;

/// Appends to the newest file. One caller at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    catalog: Arc<Catalog>,
    options: Options,
    packer: Packer,
    newest: Option<Newest>,
    /// What is known of the file before the newest.
    before: Before,
    next_number: u64,
    chain: Chain,
    flusher: Flusher,
}

#[derive(Debug)]
struct Newest {
    file: Arc<File>,
    number: u64,
    /// Where the last committed frame ends.
    end: u64,
    /// How much is known to be on the medium.
    synced: u64,
    /// Something that was not committed may follow the end.
    is_torn: bool,
    /// A sync failed, after which nothing that it says about this file can be relied on.
    is_worn: bool,
}

/// Whether a file that is complete is on the medium.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// It is, or there is none.
    Synced,
    /// So many bytes are; the flusher sees to the rest.
    Syncing(u64),
    /// A sync of it failed.
    Worn,
}

/// What an append has written but not committed.
#[derive(Debug, Default)]
struct Pending {
    end: u64,
    entries: Vec<Entry>,
}

impl Journal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        catalog: Arc<Catalog>,
        options: Options,
        found: Found,
    ) -> Result<Self, Error> {
        let window = match options.sync {
            Sync::Never | Sync::Always => None,
            Sync::Window(window) => Some(window),
        };
        let newest = found.newest.zip(catalog.newest());
        Ok(Self {
            packer: Packer::new()?,
            chain: catalog
                .newest()
                .map(|summary| summary.chain)
                .unwrap_or_default(),
            newest: newest.map(|(file, summary)| Newest {
                file: Arc::new(file),
                number: summary.number,
                end: summary.bytes,
                synced: 0,
                is_torn: false,
                is_worn: false,
            }),
            before: Before::Synced,
            next_number: found.next_number,
            flusher: Flusher::start(Arc::clone(&disk), catalog.dir.clone(), window)?,
            disk,
            catalog,
            options,
        })
    }

    pub(crate) fn append(&mut self, batch: &[Record]) -> Result<(), Error> {
        let Some(newest) = batch.iter().map(|record| record.created_at).max() else {
            return Ok(());
        };
        self.commit(newest, |journal, pending| {
            journal.packer.expect(batch.len())?;
            for record in batch {
                journal.packer.push(record)?;
                if journal.packer.out.len() >= WRITE_BYTES {
                    journal.write(pending)?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn append_gap(&mut self, gap: &Gap) -> Result<(), Error> {
        self.commit(gap.at, |journal, _| journal.packer.push_gap(gap))
    }

    /// Commits what `pack` packs, or nothing.
    fn commit(
        &mut self,
        now: Timestamp,
        pack: impl FnOnce(&mut Self, &mut Pending) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (end, synced) = self.prepare(now)?;
        self.packer.begin(self.chain, synced);
        let mut pending = Pending {
            end,
            entries: Vec::new(),
        };
        let packed = pack(self, &mut pending).and_then(|()| self.packer.finish());
        let written = packed.and_then(|chain| {
            self.write(&mut pending)?;
            self.sync_if(self.options.sync == Sync::Always, pending.end)?;
            Ok(chain)
        });
        match (written, &mut self.newest) {
            (Ok(chain), Some(newest)) => {
                newest.end = pending.end;
                self.chain = chain;
                self.catalog.extend(&pending.entries, chain);
                self.flusher.mark(&newest.file, newest.number, newest.end);
                Ok(())
            }
            (written, _) => {
                self.take_back();
                written.map(drop)
            }
        }
    }

    /// Makes the newest file ready for a frame of `now`; says where it ends and how much of it is
    /// on the medium.
    fn prepare(&mut self, now: Timestamp) -> Result<(u64, u64), Error> {
        if let Some(error) = self.flusher.take_failure() {
            self.wear();
            return Err(error.into());
        }
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.is_torn) {
            self.disk.truncate(&newest.file, newest.end)?;
            newest.is_torn = false;
        }
        let is_full = self.newest.as_ref().is_some_and(|newest| {
            let summary = self.catalog.newest();
            newest.is_worn || summary.is_some_and(|summary| self.is_full(&summary, now))
        });
        if is_full {
            self.close_newest()?;
        }
        if self.newest.is_none() {
            self.start_file()?;
            if let Err(error) = self.drop_old(now) {
                tracing::warn!(%error, "old records could not be removed");
            }
        }
        Ok(self.newest.as_mut().map_or((0, 0), |newest| {
            newest.synced = newest.synced.max(self.flusher.synced(newest.number));
            (newest.end, newest.synced)
        }))
    }

    fn is_full(&self, summary: &Summary, now: Timestamp) -> bool {
        let has_older_day = summary.frames > 0
            && summary.range.created[1] / DAY_MICROS < now.as_micros() / DAY_MICROS;
        has_older_day || summary.frames >= MAX_FRAMES || summary.bytes >= self.file_bytes()
    }

    /// At which size a file is closed: small enough that a limit on all files can be kept.
    fn file_bytes(&self) -> u64 {
        let share = self
            .options
            .retain
            .max_bytes
            .map_or(u64::MAX, |limit| limit / 8);
        self.options.max_file_bytes.min(share)
    }

    /// Writes what is packed.
    fn write(&mut self, pending: &mut Pending) -> Result<(), Error> {
        let Some(newest) = &mut self.newest else {
            return Ok(());
        };
        newest.is_torn = true;
        self.disk
            .write_at(&newest.file, &self.packer.out, pending.end)?;
        for contents in self.packer.frames.drain(..) {
            let entry = Entry {
                offset: pending.end,
                contents,
            };
            pending.end = entry.end();
            pending.entries.push(entry);
        }
        self.packer.out.clear();
        newest.is_torn = false;
        Ok(())
    }

    /// Cuts off what was not committed, or leaves it to the next append to do so.
    fn take_back(&mut self) {
        if let Some(newest) = &mut self.newest {
            newest.is_torn = self.disk.truncate(&newest.file, newest.end).is_err();
        }
    }

    /// Syncs the newest file, of which `end` bytes were written.
    fn sync_if(&mut self, is_needed: bool, end: u64) -> Result<(), Error> {
        let Some(newest) = self
            .newest
            .as_mut()
            .filter(|newest| is_needed && !newest.is_worn)
        else {
            return Ok(());
        };
        if let Err(error) = self.disk.sync(&newest.file) {
            newest.is_worn = true;
            return Err(error.into());
        }
        newest.synced = end;
        Ok(())
    }

    /// Brings everything to the medium.
    ///
    /// # Errors
    /// This sync failed, or one before it in this file: the system tells a failure once, and what
    /// it says later proves nothing.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let due = self.flusher.take_over();
        let before = due.and_then(|due| due.sync_before(&*self.disk, &self.catalog.dir));
        let failure = before.err();
        if failure.is_some() {
            self.wear();
        }
        let Some(newest) = &mut self.newest else {
            return failure.map_or(Ok(()), |error| Err(error.into()));
        };
        if newest.is_worn {
            let worn = || io::Error::other("an earlier sync of the journal failed");
            return Err(failure.unwrap_or_else(worn).into());
        }
        let end = newest.end;
        self.sync_if(true, end)
    }

    /// A sync failed: what is not on the medium by now may never come there. Between two files it is
    /// the one before that it failed for.
    fn wear(&mut self) {
        match &mut self.newest {
            Some(newest) => newest.is_worn = true,
            None => self.before = Before::Worn,
        }
    }

    fn close_newest(&mut self) -> Result<(), Error> {
        // What comes later must not be promised without what came before.
        self.before = match (&self.newest, self.options.sync) {
            (Some(newest), _) if newest.is_worn => {
                drop(self.flusher.take_over());
                // After a failed sync another one proves nothing, but it can bring the cut with
                // which the failed append was taken back to the medium.
                drop(self.disk.sync(&newest.file));
                Before::Worn
            }
            (None, _) | (Some(_), Sync::Never) => Before::Synced,
            (Some(newest), Sync::Window(_)) if self.flusher.close(&newest.file) => {
                let synced = newest.synced.max(self.flusher.synced(newest.number));
                Before::Syncing(synced)
            }
            (Some(_), Sync::Window(_) | Sync::Always) => {
                self.sync()?;
                Before::Synced
            }
        };
        if let Err(error) = self.catalog.seal(&*self.disk) {
            tracing::warn!(%error, "the index of a journal file could not be written");
        }
        self.newest = None;
        Ok(())
    }

    fn start_file(&mut self) -> Result<(), Error> {
        let header = Header {
            number: self.next_number,
            sequence: self.chain.sequence,
            previous: self.chain.link,
            behind: match self.before {
                Before::Syncing(synced) => Some(synced),
                Before::Synced | Before::Worn => None,
            },
        };
        let scan = Scan::fresh(header);
        let file = self
            .disk
            .open(&journal_path(&self.catalog.dir, header.number))?;
        let file = Arc::new(file);
        self.disk.truncate(&file, 0)?;
        self.disk.write_at(&file, &header.to_bytes(), 0)?;
        match (self.options.sync, self.before) {
            (Sync::Never, _) => {}
            (Sync::Window(_), Before::Synced | Before::Syncing(_)) => {
                self.flusher.begin(&file, header.number, scan.end);
            }
            (Sync::Always, _) | (Sync::Window(_), Before::Worn) => {
                self.disk.sync(&file)?;
                self.disk.sync_dir(&self.catalog.dir)?;
            }
        }
        self.newest = Some(Newest {
            file,
            number: header.number,
            end: scan.end,
            synced: 0,
            is_torn: false,
            is_worn: false,
        });
        self.before = Before::Synced;
        self.catalog.start(scan);
        self.next_number += 1;
        Ok(())
    }

    /// Makes the indexes of all complete files again.
    pub(crate) fn index_again(&self) -> Result<(), Error> {
        self.catalog.index_again(&*self.disk)
    }

    /// Makes the newest file complete, if it holds records and `is_due` says so of it.
    pub(crate) fn complete_if(&mut self, is_due: impl Fn(&Summary) -> bool) -> Result<(), Error> {
        let newest = self.catalog.newest().filter(|newest| newest.frames > 0);
        if newest.is_some_and(|newest| is_due(&newest)) {
            self.close_newest()?;
            // An empty file carries the chain and the position on.
            self.start_file()?;
        }
        Ok(())
    }

    /// Puts a rewritten file in the place of the old one, once its seal is on the medium. False if
    /// retention has removed the old one meanwhile.
    pub(crate) fn put_in_place(&mut self, rewritten: &Rewritten) -> Result<bool, Error> {
        let number = rewritten.seal.file;
        if !self.catalog.is_complete(number) {
            return Ok(false);
        }
        self.commit(rewritten.seal.at, |journal, _| {
            journal.packer.push_seal(&rewritten.seal)
        })?;
        self.sync()?;
        let dir = self.catalog.dir.clone();
        // They fit the old file only, and may tell of what was erased.
        for projection in [index_path(&dir, number), words_path(&dir, number)] {
            match self.disk.remove(&projection) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        self.disk
            .rename(&rewritten.path, &journal_path(&dir, number))?;
        self.disk.sync_dir(&dir)?;
        let mut volume = Volume::new(rewritten.scan.clone());
        if let Err(error) = volume.seal(&*self.disk, &dir) {
            tracing::warn!(%error, number, "an index could not be written");
        }
        self.catalog.replace_one(volume);
        Ok(true)
    }

    /// Removes what retention no longer keeps, the newest file included if all of it is too old.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Result<u64, Error> {
        if let Some(max_age) = self.options.retain.max_age {
            self.complete_if(|newest| is_too_old(newest, now, max_age))?;
        }
        self.drop_old(now)
    }

    /// Removes older files beyond the limits; says how many bytes that freed.
    fn drop_old(&self, now: Timestamp) -> Result<u64, Error> {
        let retain = &self.options.retain;
        let mut freed = 0;
        while let Some(oldest) = self.catalog.oldest() {
            let newest_bytes = self.catalog.newest().map_or(0, |newest| newest.bytes);
            let is_too_much = retain.max_bytes.is_some_and(|limit| {
                let older = self.catalog.bytes() - newest_bytes;
                self.catalog.with_columns(older) > limit.saturating_sub(self.file_bytes())
            });
            let is_old = retain
                .max_age
                .is_some_and(|max_age| is_too_old(&oldest, now, max_age));
            if !is_too_much && !is_old {
                break;
            }
            self.disk
                .remove(&journal_path(&self.catalog.dir, oldest.number))?;
            self.catalog.forget_oldest();
            // They may never have been written, and say nothing without their file.
            for projection in [index_path, words_path] {
                drop(
                    self.disk
                        .remove(&projection(&self.catalog.dir, oldest.number)),
                );
            }
            freed += oldest.bytes;
        }
        Ok(freed)
    }
}

pub(crate) fn is_too_old(summary: &Summary, now: Timestamp, max_age: Duration) -> bool {
    summary.range.created[1] < now.minus(max_age).as_micros()
}
