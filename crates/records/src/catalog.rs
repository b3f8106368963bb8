//! Which files there are and which frames they hold, shared by the writer and its readers.
//!
//! Of the newest file the frames are held in memory; those of an older one are read from its
//! *index* when they are needed. An index (`NNNNNNNN.index`) is a projection: lost or damaged, it
//! is made again from the file. It holds, little-endian:
//! `"ISANGOI2" | summary [120], FNV-1a of it u64 | an entry [88] per frame | SHA-256 of all
//! before [32]`: at the start only the summary is read.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use isango_store::logs::Error;
use parking_lot::RwLock;

use crate::disk::Disk;
use crate::frame::{Chain, Entry};
use crate::label::{CONTENTS_BYTES, Contents, Fields, LABEL_BYTES, Label, Range};
use crate::scan::Scan;
use crate::words::fnv;

const INDEX_MAGIC: &[u8; 8] = b"ISANGOI2";
/// Bytes of a summary before its checksum.
const SUMMARY_BYTES: usize = 120;
const INDEX_HEAD_BYTES: u64 = 8 + 128;
const INDEX_ENTRY_BYTES: u64 = 8 + CONTENTS_BYTES as u64;
const INDEX_DIGEST_BYTES: u64 = 32;

/// What a file holds, in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) number: u64,
    /// Up to the end of its last frame.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Records in the files before.
    pub(crate) sequence: u64,
    /// Behind its last frame.
    pub(crate) chain: Chain,
    pub(crate) range: Range,
}

impl Summary {
    pub(crate) fn of(scan: &Scan) -> Self {
        let mut summary = Self {
            number: scan.header.number,
            bytes: scan.end,
            frames: 0,
            sequence: scan.header.sequence,
            chain: scan.chain,
            range: Range::EMPTY,
        };
        summary.add(&scan.entries, scan.chain);
        summary
    }

    /// Adds frames that were appended, and where the chain stands behind them.
    fn add(&mut self, entries: &[Entry], chain: Chain) {
        for entry in entries {
            self.frames += 1;
            self.bytes = entry.end();
            self.range.widen(&entry.contents.range);
        }
        self.chain = chain;
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for number in [
            self.number,
            self.bytes,
            self.frames,
            self.sequence,
            self.chain.sequence,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.chain.link);
        self.range.write(out);
        out.extend(fnv(&out[start..]).to_le_bytes());
    }

    /// `None` if the bytes are not as they were written.
    fn read(from: &mut Fields<'_>) -> Option<Self> {
        let written = from.0.get(..SUMMARY_BYTES)?;
        let (number, bytes, frames) = (from.number()?, from.number()?, from.number()?);
        let (sequence, end) = (from.number()?, from.number()?);
        let chain = Chain {
            link: from.take()?,
            sequence: end,
        };
        let range = Range::read(from)?;
        from.number().filter(|proof| *proof == fnv(written))?;
        Some(Self {
            number,
            bytes,
            frames,
            sequence,
            chain,
            range,
        })
    }
}

/// One file of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) summary: Summary,
    /// Its frames; `None` if they are in its index.
    entries: Option<Arc<Vec<Entry>>>,
}

impl Volume {
    pub(crate) fn new(scan: Scan) -> Self {
        Self {
            summary: Summary::of(&scan),
            entries: Some(Arc::new(scan.entries)),
        }
    }

    /// How many records it holds.
    pub(crate) const fn records(&self) -> u64 {
        let summary = &self.summary;
        summary.chain.sequence.saturating_sub(summary.sequence)
    }

    /// Writes the file's index, unless it has one, and frees its frames.
    ///
    /// # Errors
    /// The index could not be written; the frames stay in memory.
    pub(crate) fn seal(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if let Some(entries) = &self.entries {
            write_index(disk, dir, &self.summary, entries)?;
            self.entries = None;
        }
        Ok(())
    }

    /// The frame that holds the record at a position, in its file as it was opened, and how many
    /// stand before it; `None` if none does.
    ///
    /// # Errors
    /// Neither the index nor the file can be read.
    pub(crate) fn entry_of(
        &self,
        dir: &Path,
        file: &File,
        position: u64,
    ) -> Result<Option<(usize, Entry)>, Error> {
        let indexed = match &self.entries {
            Some(_) => None,
            None => find_in_index(dir, &self.summary, position)?,
        };
        let found = match indexed {
            Some((at, entry)) if still_holds(file, &[entry])? => Some((at, entry)),
            Some(_) | None => {
                let entries = self.entries(dir, file)?;
                let at = entries.partition_point(|entry| entry.end_sequence() <= position);
                entries.get(at).map(|entry| (at, *entry))
            }
        };
        Ok(found.filter(|(_, entry)| entry.contents.sequence <= position))
    }

    /// The frames of its file as it was opened, in order: a rewrite may just have replaced it.
    ///
    /// # Errors
    /// Neither the index nor the file can be read.
    pub(crate) fn entries(&self, dir: &Path, file: &File) -> Result<Arc<Vec<Entry>>, Error> {
        if let Some(entries) = &self.entries
            && still_holds(file, entries)?
        {
            return Ok(Arc::clone(entries));
        }
        let indexed = read_index(dir, &self.summary)?;
        match indexed.filter(|(bytes, _)| file.metadata().is_ok_and(|file| file.len() == *bytes)) {
            Some((_, entries)) => Ok(Arc::new(entries)),
            None => {
                let scan = Scan::of(file)?;
                Ok(Arc::new(scan.map(|scan| scan.entries).unwrap_or_default()))
            }
        }
    }
}

/// Whether the last of some frames lies in a file where it should.
fn still_holds(file: &File, entries: &[Entry]) -> Result<bool, Error> {
    let Some(last) = entries.last() else {
        return Ok(true);
    };
    let mut bytes = [0; LABEL_BYTES];
    match file.read_exact_at(&mut bytes, last.offset) {
        Ok(()) => Ok(Label::read(&bytes)?.is_some_and(|label| label.contents == last.contents)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The files of the journal, in order.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) dir: PathBuf,
    volumes: RwLock<Vec<Volume>>,
    /// Bytes of columns and sums for each [`SHARE`] bytes of the journal, as last measured.
    projected: AtomicU64,
}

/// What [`Catalog::with_columns`] measures by.
const SHARE: u64 = 4_096;

impl Catalog {
    pub(crate) fn new(dir: &Path, volumes: Vec<Volume>) -> Self {
        Self {
            dir: dir.to_owned(),
            volumes: RwLock::new(volumes),
            projected: AtomicU64::new(0),
        }
    }

    /// The columns and sums have so many bytes now.
    pub(crate) fn measure(&self, columns: u64) {
        let share = columns.saturating_mul(SHARE) / self.bytes().max(1);
        self.projected.store(share, Ordering::Relaxed);
    }

    /// Bytes of the journal, and of the columns that go with them.
    pub(crate) fn with_columns(&self, journal: u64) -> u64 {
        let share = self.projected.load(Ordering::Relaxed);
        journal.saturating_add(journal.saturating_mul(share) / SHARE)
    }

    /// The files as they are now.
    pub(crate) fn volumes(&self) -> Vec<Volume> {
        self.volumes.read().clone()
    }

    pub(crate) fn replace(&self, volumes: Vec<Volume>) {
        *self.volumes.write() = volumes;
    }

    /// What the newest file holds.
    pub(crate) fn newest(&self) -> Option<Summary> {
        self.volumes.read().last().map(|volume| volume.summary)
    }

    /// What the oldest file holds, if it is not the newest too.
    pub(crate) fn oldest(&self) -> Option<Summary> {
        let volumes = self.volumes.read();
        volumes
            .split_last()
            .and_then(|(_, older)| older.first())
            .map(|volume| volume.summary)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.volumes
            .read()
            .iter()
            .map(|volume| volume.summary.bytes)
            .sum()
    }

    /// Begins a new file.
    pub(crate) fn start(&self, scan: Scan) {
        self.volumes.write().push(Volume::new(scan));
    }

    /// Shows readers what was appended to the newest file.
    pub(crate) fn extend(&self, entries: &[Entry], chain: Chain) {
        if let Some(volume) = self.volumes.write().last_mut() {
            volume.summary.add(entries, chain);
            if let Some(held) = &mut volume.entries {
                Arc::make_mut(held).extend_from_slice(entries);
            }
        }
    }

    /// Writes the index of the newest file, which is complete, and frees its frames.
    ///
    /// # Errors
    /// The index could not be written; the frames stay in memory.
    pub(crate) fn seal(&self, disk: &dyn Disk) -> io::Result<()> {
        let Some(mut volume) = self.volumes.read().last().cloned() else {
            return Ok(());
        };
        volume.seal(disk, &self.dir)?;
        if let Some(newest) = self.volumes.write().last_mut() {
            *newest = volume;
        }
        Ok(())
    }

    /// Makes the indexes of all complete files again.
    ///
    /// # Errors
    /// A file cannot be read, or its index not be written.
    pub(crate) fn index_again(&self, disk: &dyn Disk) -> Result<(), Error> {
        let volumes = self.volumes();
        let older = volumes.split_last().map_or(&[][..], |(_, older)| older);
        for volume in older {
            let number = volume.summary.number;
            let file = File::open(journal_path(&self.dir, number))?;
            if let Some(mut volume) = Scan::of(&file)?.map(Volume::new) {
                volume.seal(disk, &self.dir)?;
                self.replace_one(volume);
            }
        }
        Ok(())
    }

    /// Shows readers the file that took the place of an older one.
    pub(crate) fn replace_one(&self, volume: Volume) {
        let number = volume.summary.number;
        let mut volumes = self.volumes.write();
        if let Some(old) = volumes.iter_mut().find(|old| old.summary.number == number) {
            *old = volume;
        }
    }

    /// Whether a file is there, and complete.
    pub(crate) fn is_complete(&self, number: u64) -> bool {
        let volumes = self.volumes.read();
        let older = volumes.split_last().map_or(&[][..], |(_, older)| older);
        older.iter().any(|volume| volume.summary.number == number)
    }

    /// Takes the oldest file out, so that readers no longer look for it.
    pub(crate) fn forget_oldest(&self) {
        self.volumes.write().remove(0);
    }
}

/// `NNNNNNNN.jsonl.zst`.
pub(crate) fn journal_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.jsonl.zst"))
}

/// `NNNNNNNN.index`.
pub(crate) fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.index"))
}

/// The numbers of the journal files in a folder, ascending; none if there is no folder.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(numbers),
        Err(error) => return Err(error),
    };
    for file in listed {
        let name = file?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".jsonl.zst"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A file that nobody writes to any more: by its index if that fits, else by a walk through it.
/// `None` if it is no journal file, or is gone.
pub(crate) fn load(dir: &Path, number: u64) -> Result<Option<Volume>, Error> {
    let file = match File::open(journal_path(dir, number)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if let Some(summary) = read_summary(dir, number)
        && summary.bytes == file.metadata()?.len()
    {
        return Ok(Some(Volume {
            summary,
            entries: None,
        }));
    }
    Ok(Scan::of(&file)?.map(Volume::new))
}

/// The summary in an index, if that has the length it should have.
fn read_summary(dir: &Path, number: u64) -> Option<Summary> {
    let file = File::open(index_path(dir, number)).ok()?;
    let mut head = [0; 8 + 128];
    file.read_exact_at(&mut head, 0).ok()?;
    let mut fields = Fields(head.strip_prefix(INDEX_MAGIC)?);
    let summary = Summary::read(&mut fields).filter(|summary| summary.number == number)?;
    let entries = summary.frames.checked_mul(INDEX_ENTRY_BYTES)?;
    let len = entries.checked_add(INDEX_HEAD_BYTES + INDEX_DIGEST_BYTES)?;
    (file.metadata().ok()?.len() == len).then_some(summary)
}

/// The frame of a position by an index, of which a few entries are read. Nothing proves them, but
/// that the label in the file must say the same. `None` if the index is of no use.
fn find_in_index(
    dir: &Path,
    summary: &Summary,
    position: u64,
) -> Result<Option<(usize, Entry)>, Error> {
    let file = match File::open(index_path(dir, summary.number)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = [0; 8 + CONTENTS_BYTES];
    let (mut low, mut high) = (0, summary.frames);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let at = INDEX_HEAD_BYTES + middle * INDEX_ENTRY_BYTES;
        if file.read_exact_at(&mut bytes, at).is_err() {
            return Ok(None);
        }
        let mut fields = Fields(&bytes);
        let (Some(offset), Some(contents)) = (fields.number(), Contents::read(&mut fields)?) else {
            return Ok(None);
        };
        let entry = Entry { offset, contents };
        if entry.end_sequence() <= position {
            low = middle + 1;
        } else {
            let before = usize::try_from(middle).unwrap_or(usize::MAX);
            (high, found) = (middle, Some((before, entry)));
        }
    }
    Ok(found)
}

/// The length of a file and its frames by its index; `None` if that is gone or damaged.
fn read_index(dir: &Path, summary: &Summary) -> Result<Option<(u64, Vec<Entry>)>, Error> {
    let bytes = match fs::read(index_path(dir, summary.number)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some((covered, proof)) = bytes.split_last_chunk::<32>() else {
        return Ok(None);
    };
    if digest(&SHA256, covered).as_ref() != proof {
        return Ok(None);
    }
    let head = usize::try_from(INDEX_HEAD_BYTES).unwrap_or(usize::MAX);
    let mut fields = Fields(covered.get(INDEX_MAGIC.len()..).unwrap_or_default());
    let Some(found) = Summary::read(&mut fields) else {
        return Ok(None);
    };
    let mut fields = Fields(covered.get(head..).unwrap_or_default());
    let mut entries = Vec::new();
    while let Some(offset) = fields.number() {
        let Some(contents) = Contents::read(&mut fields)? else {
            return Ok(None);
        };
        entries.push(Entry { offset, contents });
    }
    Ok((entries.len() as u64 == summary.frames).then_some((found.bytes, entries)))
}

fn write_index(
    disk: &dyn Disk,
    dir: &Path,
    summary: &Summary,
    entries: &[Entry],
) -> io::Result<()> {
    let mut out = INDEX_MAGIC.to_vec();
    summary.write(&mut out);
    for entry in entries {
        out.extend(entry.offset.to_le_bytes());
        entry.contents.write(&mut out);
    }
    let proof = digest(&SHA256, &out);
    out.extend(proof.as_ref());
    let file = disk.open(&index_path(dir, summary.number))?;
    disk.truncate(&file, 0)?;
    disk.write_at(&file, &out, 0)
}
