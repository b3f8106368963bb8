//! Which frames of a journal file hold a word: a projection, so that a search unpacks few of them.
//!
//! `NNNNNNNN.words` is a row of blocks, each for up to 256 frames that follow each other. A thread
//! adds one when so many frames are there, and the last one when the file is complete; the frames
//! behind the last block are searched one by one. A block is a table from the beginning of a word's
//! number to a bucket, and in the bucket the words that begin so, each with its frames. Numbers are
//! little-endian.
//!
//! ```text
//! block   "ISANGOW1" | bytes of the block u32 | first frame u32 | frames u32 | bits u32
//!         | offset of the last frame u64 | its link [32] | FNV-1a of all before u64
//!         | (offset in the block u32, bytes u32, FNV-1a u32) per bucket | buckets
//! word    12 bits of its number and 4 bits n u16 | n frames u8, or 32 bytes of bits if n is 15
//! ```
//! A lookup reads 12 bytes and one bucket of a block. What does not fit its checksum, or the frame
//! that the block ends with, counts as holding every word; `Records::rebuild` makes it again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use isango_store::filter::words_of_json;
use isango_store::logs::Error;
use parking_lot::{Condvar, Mutex};

use crate::catalog::{Catalog, Volume, journal_path};
use crate::frame::{Entry, Unpacker, record_lines};
use crate::label::{Fields, LABEL_BYTES, Label, Link};
use crate::slim::bodies;

/// Frames of a block.
const GROUP: usize = 256;
const MAGIC: &[u8; 8] = b"ISANGOW1";
const HEAD_BYTES: usize = 8 + 16 + 8 + 32 + 8;
/// Bytes of a bucket's place in the table.
const PLACE_BYTES: usize = 12;
/// Bits of a word's number behind those that choose the bucket.
const REST_BITS: u32 = 12;
/// Words of a bucket, about.
const BUCKET_WORDS: usize = 64;
/// Most bits that choose a bucket.
const MAX_BITS: u32 = 16;
/// Largest number of frames that are listed; of more, there is a bit for each.
const MAX_LISTED: u32 = 14;
/// Numbers of words that were seen lately in a frame.
const SEEN: usize = 1 << 16;

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

/// Makes blocks.
struct Maker {
    unpacker: Unpacker,
    /// Numbers of words with the frame in their lowest byte.
    words: Vec<u64>,
    /// The numbers that were seen lately in this frame, by their highest bits.
    seen: Vec<u64>,
}

impl Maker {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            unpacker: Unpacker::new()?,
            words: Vec::new(),
            seen: vec![0; SEEN],
        })
    }

    /// The block of some frames; `None` if it was told to stop.
    fn block(
        &mut self,
        file: &File,
        (first, entries): (usize, &[Entry]),
        stop: &AtomicBool,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.words.clear();
        let Some(last) = entries.last() else {
            return Ok(None);
        };
        for (at, entry) in entries.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if entry.contents.kind.holds_records() {
                self.add(file, entry, u64::try_from(at).unwrap_or(0))?;
            }
        }
        self.words.sort_unstable();
        self.words.dedup();
        let (label, _) = self.unpacker.packed(file, last)?;
        Ok(Some(self.encode(
            first,
            entries.len(),
            (last.offset, label.link),
        )))
    }

    /// Adds the words of a frame. One that is damaged is never a candidate: a search passes over
    /// it as well.
    fn add(&mut self, file: &File, entry: &Entry, at: u64) -> Result<(), Error> {
        let lines = match self.unpacker.lines(file, entry) {
            Ok(lines) => lines,
            Err(Error::Damaged(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.seen.fill(0);
        let (words, seen) = (&mut self.words, &mut self.seen);
        let mut add = |word: u64| {
            let slot = &mut seen[usize::try_from(word >> 48).unwrap_or(0)];
            if *slot != word {
                *slot = word;
                words.push(word & !0xFF | at);
            }
        };
        for line in record_lines(entry.contents.records, lines) {
            for body in bodies(line) {
                if let Ok(text) = std::str::from_utf8(body) {
                    words_of_json(text, &mut add);
                }
            }
        }
        Ok(())
    }

    fn encode(&self, first: usize, frames: usize, (offset, link): (u64, Link)) -> Vec<u8> {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let distinct = self
            .words
            .chunk_by(|one, next| one >> 8 == next >> 8)
            .count();
        let bits = (distinct / BUCKET_WORDS).max(1).ilog2().min(MAX_BITS);
        let buckets = 1_usize << bits;
        let mut out = vec![0; HEAD_BYTES + buckets * PLACE_BYTES];
        let mut rest = &self.words[..];
        for bucket in 0..buckets {
            let len = rest.partition_point(|word| place(*word, bits).0 <= bucket);
            let (words, behind) = rest.split_at(len);
            rest = behind;
            let start = out.len();
            for same in words.chunk_by(|one, next| place(*one, bits).1 == place(*next, bits).1) {
                push_word(&mut out, place(same[0], bits).1, same);
            }
            let told = [count(start), count(out.len() - start)];
            let proof = check_of(&out[start..], bucket).to_le_bytes();
            let at = HEAD_BYTES + bucket * PLACE_BYTES;
            out[at..at + PLACE_BYTES].copy_from_slice(&[told[0], told[1], proof].concat());
        }
        let mut head = MAGIC.to_vec();
        for number in [out.len(), first, frames] {
            head.extend(count(number));
        }
        head.extend(bits.to_le_bytes());
        head.extend(offset.to_le_bytes());
        head.extend(link);
        head.extend(fnv(&head).to_le_bytes());
        out[..HEAD_BYTES].copy_from_slice(&head);
        out
    }
}

/// Writes a word with its frames.
fn push_word(out: &mut Vec<u8>, rest: u16, same: &[u64]) {
    let mut frames = Frames::default();
    same.iter()
        .for_each(|word| set(&mut frames, word.to_le_bytes()[0]));
    let count: u32 = frames.iter().map(|bits| bits.count_ones()).sum();
    let code = u16::try_from(count.min(MAX_LISTED + 1)).unwrap_or(0);
    out.extend((rest << 4 | code).to_le_bytes());
    if count > MAX_LISTED {
        out.extend(frames.iter().flat_map(|bits| bits.to_le_bytes()));
        return;
    }
    let is_set = |at: &u8| frames[usize::from(*at) / 64] >> (at % 64) & 1 == 1;
    out.extend((0..=u8::MAX).filter(is_set));
}

/// Adds the blocks that a file lacks.
fn complete(
    maker: &mut Maker,
    dir: &Path,
    (volume, is_open): (&Volume, bool),
    stop: &AtomicBool,
) -> Result<(), Error> {
    let number = volume.summary.number;
    let file = match File::open(journal_path(dir, number)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let index = options.open(words_path(dir, number))?;
    let mut blocks = Blocks::new(&index);
    // A block that is not full is the last one of a complete file.
    let (mut at, mut frames) = (0, 0);
    while let Some(block) = blocks.next(&file)? {
        if block.frames == GROUP {
            (at, frames) = (blocks.at, blocks.frames);
        }
    }
    if blocks.frames as u64 == volume.summary.frames {
        return Ok(());
    }
    let entries = volume.entries(dir, &file)?;
    while entries.len() >= frames + if is_open { GROUP } else { 1 } {
        let some = &entries[frames..entries.len().min(frames + GROUP)];
        let Some(block) = maker.block(&file, (frames, some), stop)? else {
            return Ok(());
        };
        index.set_len(at)?;
        index.write_all_at(&block, at)?;
        at += block.len() as u64;
        frames += some.len();
    }
    Ok(())
}

/// The thread that makes blocks. Dropping it waits for it.
#[derive(Debug)]
pub(crate) struct Indexer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    catalog: Arc<Catalog>,
    /// Number of the newest file and full groups of its frames, when the thread last looked.
    looked: Mutex<Option<(u64, u64)>>,
    wake: Condvar,
    /// Held while files are written.
    making: Mutex<()>,
    stop: AtomicBool,
}

impl Indexer {
    pub(crate) fn start(catalog: Arc<Catalog>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
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
        let catalog = &self.shared.catalog;
        for (back, volume) in catalog.volumes().iter().rev().enumerate() {
            complete(&mut maker, &catalog.dir, (volume, back == 0), &stop)?;
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
            match complete(&mut maker, dir, (volume, is_open), &self.stop) {
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
                drop(fs::remove_file(words_path(dir, number)));
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
