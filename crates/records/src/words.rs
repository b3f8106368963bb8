//! Which frames of a journal file hold a word: a projection, so that a search unpacks few of them.
//!
//! `NNNNNNNN.words` is a row of blocks, each for up to 256 frames that follow each other. A thread
//! adds one when so many frames are there, and the last one when the file is complete; the frames
//! behind the last block are searched one by one. A block is a table from the beginning of a word's
//! number to a bucket, and in the bucket the words that begin so, each with its frames. Numbers are
//! little-endian.
//!
//! ```text
//! block   "ISANGOW2" | bytes of the block u32 | first frame u32 | frames u32 | bits u32
//!         | offset of the last frame u64 | its link [32] | FNV-1a of all before u64
//!         | (offset in the block u32, bytes u32, FNV-1a u32) per bucket | buckets
//! word    12 bits of its number and 4 bits n u16 | n frames u8, or 32 bytes of bits if n is 15
//! ```
//! A lookup reads 12 bytes and one bucket of a block. What does not fit its checksum, or the frame
//! that the block ends with, counts as holding every word; `Records::rebuild` makes it again.

mod make;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use isango_store::logs::Error;
use parking_lot::{Condvar, Mutex};

use crate::catalog::{Catalog, Volume};
use crate::disk::Disk;
use crate::label::{Fields, LABEL_BYTES, Label, Link};

use make::{Maker, complete};

/// Frames of a block.
const GROUP: usize = 256;
const MAGIC: &[u8; 8] = b"ISANGOW2";
const HEAD_BYTES: usize = 8 + 16 + 8 + 32 + 8;
/// Bytes of a bucket's place in the table.
const PLACE_BYTES: usize = 12;
/// Bits of a word's number behind those that choose the bucket.
const REST_BITS: u32 = 12;
/// Most bits that choose a bucket.
const MAX_BITS: u32 = 16;
/// Largest number of frames that are listed; of more, there is a bit for each.
const MAX_LISTED: u32 = 14;

/// Frames of one block, a bit for each.
type Frames = [u64; GROUP / 64];

/// `NNNNNNNN.words`.
pub(crate) fn words_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.words"))
}

/// Which frames of a file can hold some words.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    blocks: Vec<(Block, Frames)>,
}

impl Candidates {
    /// Looks the words up; with none of them, or without blocks, every frame is a candidate.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub(crate) fn find(dir: &Path, number: u64, file: &File, words: &[u64]) -> Result<Self, Error> {
        let mut found = Self::default();
        if words.is_empty() {
            return Ok(found);
        }
        let Some(index) = open(dir, number)? else {
            return Ok(found);
        };
        let mut reader = Blocks::new(&index);
        while let Some(block) = reader.next(file)? {
            let mut frames = [u64::MAX; GROUP / 64];
            for word in words {
                match block.frames_of(&index, *word)? {
                    Some(some) => frames
                        .iter_mut()
                        .zip(some)
                        .for_each(|(all, one)| *all &= one),
                    None => tracing::warn!(number, "an index of words is damaged"),
                }
            }
            found.blocks.push((block, frames));
        }
        Ok(found)
    }

    /// Whether the n-th frame can hold all of the words.
    pub(crate) fn may_hold(&self, frame: usize) -> bool {
        let Some((block, frames)) = self.blocks.get(frame / GROUP) else {
            return true;
        };
        let at = frame % GROUP;
        at >= block.frames || frames[at / 64] >> (at % 64) & 1 == 1
    }

    /// Whether any of the first `count` frames can.
    pub(crate) fn may_be_in(&self, count: usize) -> bool {
        let covered = self
            .blocks
            .iter()
            .map(|(block, _)| block.frames)
            .sum::<usize>();
        covered < count
            || (self.blocks.iter()).any(|(_, frames)| frames.iter().any(|bits| *bits != 0))
    }
}

fn open(dir: &Path, number: u64) -> io::Result<Option<File>> {
    match File::open(words_path(dir, number)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a block lies, and what it is about.
#[derive(Clone, Debug)]
struct Block {
    offset: u64,
    bytes: u64,
    frames: usize,
    bits: u32,
    last_offset: u64,
    link: Link,
}

impl Block {
    /// Reads the head of a block; `None` if it is none.
    fn read(offset: u64, head: &[u8; HEAD_BYTES], first: usize) -> Option<Self> {
        let (covered, proof) = head.split_at(HEAD_BYTES - 8);
        let mut fields = Fields(covered.strip_prefix(MAGIC)?);
        let mut number = || fields.take().map(u32::from_le_bytes);
        let (bytes, first_frame) = (number()?, number()?);
        let (frames, bits) = (usize::try_from(number()?).ok()?, number()?);
        let block = Self {
            offset,
            bytes: bytes.into(),
            frames,
            bits,
            last_offset: fields.number()?,
            link: fields.take()?,
        };
        let is_whole = fnv(covered).to_le_bytes() == *proof;
        let fits = (1..=GROUP).contains(&frames) && bits <= MAX_BITS;
        let follows = usize::try_from(first_frame).ok()? == first && first.is_multiple_of(GROUP);
        (is_whole && fits && follows).then_some(block)
    }

    /// Whether the last of its frames still lies in the journal where it lay.
    fn fits(&self, journal: &File) -> Result<bool, Error> {
        let mut bytes = [0; LABEL_BYTES];
        match journal.read_exact_at(&mut bytes, self.last_offset) {
            Ok(()) => Ok(Label::read(&bytes)?.is_some_and(|label| label.link == self.link)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The frames that hold a word; `None` if the block is damaged there.
    fn frames_of(&self, index: &File, word: u64) -> io::Result<Option<Frames>> {
        let (bucket, rest) = place(word, self.bits);
        let mut at = [0; PLACE_BYTES];
        let table = self.offset + (HEAD_BYTES + bucket * PLACE_BYTES) as u64;
        index.read_exact_at(&mut at, table)?;
        let mut fields = Fields(&at);
        let mut number = || fields.take().map_or(0, u32::from_le_bytes);
        let (offset, bytes, proof) = (number(), number(), number());
        if u64::from(offset) + u64::from(bytes) > self.bytes {
            return Ok(None);
        }
        let mut found = vec![0; usize::try_from(bytes).unwrap_or(0)];
        index.read_exact_at(&mut found, self.offset + u64::from(offset))?;
        Ok((check_of(&found, bucket) == proof)
            .then(|| frames_in(&found, rest))
            .flatten())
    }
}

/// The blocks of a file, one after the other.
struct Blocks<'a> {
    index: &'a File,
    at: u64,
    /// Frames of the blocks so far.
    frames: usize,
}

impl<'a> Blocks<'a> {
    const fn new(index: &'a File) -> Self {
        Self {
            index,
            at: 0,
            frames: 0,
        }
    }

    /// The next block; `None` behind the last one that is whole and fits the journal.
    fn next(&mut self, journal: &File) -> Result<Option<Block>, Error> {
        let mut head = [0; HEAD_BYTES];
        match self.index.read_exact_at(&mut head, self.at) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some(block) = Block::read(self.at, &head, self.frames) else {
            return Ok(None);
        };
        if self.at + block.bytes > self.index.metadata()?.len() || !block.fits(journal)? {
            return Ok(None);
        }
        self.at += block.bytes;
        self.frames += block.frames;
        Ok(Some(block))
    }
}

/// The bucket of a word, and the bits of its number that are told there.
fn place(word: u64, bits: u32) -> (usize, u16) {
    let top = word >> (64 - bits - REST_BITS);
    let rest = top & ((1 << REST_BITS) - 1);
    let bucket = usize::try_from(top >> REST_BITS).unwrap_or(0);
    (bucket, u16::try_from(rest).unwrap_or(0))
}

/// The frames of a word in its bucket; `None` if the bucket is none.
fn frames_in(mut bucket: &[u8], rest: u16) -> Option<Frames> {
    let mut frames = Frames::default();
    while let Some((head, behind)) = bucket.split_first_chunk::<2>() {
        let head = u16::from_le_bytes(*head);
        let count = u32::from(head & 0xF);
        let len = usize::try_from(if count > MAX_LISTED { 32 } else { count }).ok()?;
        let (told, behind) = behind.split_at_checked(len)?;
        if head >> 4 == rest {
            if count > MAX_LISTED {
                for (bits, eight) in frames.iter_mut().zip(told.as_chunks::<8>().0) {
                    *bits = u64::from_le_bytes(*eight);
                }
            } else {
                told.iter().for_each(|at| set(&mut frames, *at));
            }
            return Some(frames);
        }
        bucket = behind;
    }
    bucket.is_empty().then_some(frames)
}

const fn set(frames: &mut Frames, at: u8) {
    frames[at as usize / 64] |= 1 << (at % 64);
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    })
}

fn check_of(bytes: &[u8], bucket: usize) -> u32 {
    let hash = fnv(bytes) ^ bucket as u64;
    u32::try_from((hash ^ (hash >> 32)) & 0xFFFF_FFFF).unwrap_or(0)
}

/// The thread that makes blocks. Dropping it waits for it.
#[derive(Debug)]
pub(crate) struct Indexer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    catalog: Arc<Catalog>,
    /// Number of the newest file and full groups of its frames, when the thread last looked.
    looked: Mutex<Option<(u64, u64)>>,
    wake: Condvar,
    /// Held while files are written.
    making: Mutex<()>,
    stop: AtomicBool,
}

impl Indexer {
    pub(crate) fn start(disk: Arc<dyn Disk>, catalog: Arc<Catalog>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            disk,
            catalog,
            looked: Mutex::default(),
            wake: Condvar::new(),
            making: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        let thread = Builder::new()
            .name("isango-words".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Wakes the thread if there are frames for a block.
    pub(crate) fn look(&self) {
        if *self.shared.looked.lock() != self.shared.stage() {
            self.shared.wake.notify_one();
        }
    }

    /// Returns when everything is indexed that can be.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let (stop, mut maker) = (AtomicBool::new(false), Maker::new()?);
        // Not while the thread does the same.
        let _looking = self.shared.making.lock();
        let (disk, catalog) = (&*self.shared.disk, &self.shared.catalog);
        for (back, volume) in catalog.volumes().iter().rev().enumerate() {
            let place = (disk, &*catalog.dir);
            complete(&mut maker, place, (volume, back == 0), &stop)?;
        }
        Ok(())
    }

    /// The index of a file is of no use any more.
    pub(crate) fn make_again(&self) {
        *self.shared.looked.lock() = None;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn stage(&self) -> Option<(u64, u64)> {
        let newest = self.catalog.newest()?;
        Some((newest.number, newest.frames / GROUP as u64))
    }

    fn run(&self) {
        // Complete files that lack nothing.
        let mut done = BTreeSet::new();
        let mut looked = self.looked.lock();
        while !self.stop.load(Ordering::Relaxed) {
            let stage = self.stage();
            if stage.is_none() || *looked == stage {
                self.wake.wait(&mut looked);
                continue;
            }
            if looked.is_none() {
                done.clear();
            }
            *looked = stage;
            drop(looked);
            if let Err(error) = self.index_all(&mut done) {
                tracing::warn!(%error, "an index of words could not be made; searches read more");
            }
            looked = self.looked.lock();
        }
    }

    /// Adds to every file what it lacks, the newest files first.
    fn index_all(&self, done: &mut BTreeSet<u64>) -> Result<(), Error> {
        let _making = self.making.lock();
        let mut maker = Maker::new()?;
        let dir = &self.catalog.dir;
        let volumes = self.catalog.volumes();
        for (back, volume) in volumes.iter().rev().enumerate() {
            let (number, is_open) = (volume.summary.number, back == 0);
            if done.contains(&number) {
                continue;
            }
            match complete(
                &mut maker,
                (&*self.disk, dir),
                (volume, is_open),
                &self.stop,
            ) {
                Err(Error::Damaged(what)) => tracing::warn!(what, "a file has no index of words"),
                other => other?,
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !is_open {
                done.insert(number);
            }
        }
        for number in stray(dir)? {
            let is_there = |volume: &Volume| volume.summary.number == number;
            if !self.catalog.volumes().iter().any(is_there) {
                drop(self.disk.remove(&words_path(dir, number)));
            }
        }
        Ok(())
    }
}

/// The numbers of the indexes in a folder.
fn stray(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".words"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Behind the lock, so that it is not between looking and waiting.
        drop(self.shared.looked.lock());
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Only a panic of the thread makes this fail, and the panic was reported.
            drop(thread.join());
        }
    }
}
