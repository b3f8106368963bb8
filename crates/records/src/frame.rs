//! Records into labelled frames, and frames into JSON lines. Contexts and buffers are reused.

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt;

use isango_store::logs::{Error, Gap};
use isango_types::{Record, Timestamp};
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

use crate::label::{Contents, Kind, LABEL_BYTES, Label, Link, Range};
use crate::rewrite::{Seal, SealLine};

/// Most JSON of a frame, in bytes; a larger record is a frame of its own.
pub(crate) const FRAME_BYTES: usize = 256 << 10;
/// Most JSON that a reader unpacks from one frame, in bytes.
const MAX_RAW_BYTES: u64 = 1 << 31;
/// zstd's level while batches are small, and so the time for a better one is there. Microseconds and
/// stored bytes of a record with 1.5 KB of text, in batches of 1, 8, 64 and 500, writing included:
/// level 3 takes 23, 12, 12, 12 and 1 588, 912, 727, 701; level 1 takes 18, 9, 9, 10 and 1 621,
/// 943, 764, 743. A smaller hash table costs a tenth of the bytes in long batches, and changes
/// nothing in short ones, for which zstd makes it small itself.
const QUIET_LEVEL: i32 = 3;
/// zstd's level where records wait.
const BUSY_LEVEL: i32 = 1;
/// A batch of so many records says that others wait behind it.
const BUSY_BATCH: usize = 256;
/// Buffers larger than this are not kept for the next batch.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// Where the chain stands: behind the last frame that was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) link: Link,
    /// Records so far.
    pub(crate) sequence: u64,
}

/// The line of a gap marker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GapLine {
    pub(crate) gap: Gap,
}

fn compressor() -> Result<Compressor<'static>, Error> {
    let mut compressor = Compressor::new(QUIET_LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

/// Makes frames.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    level: i32,
    /// JSON lines that are in no frame yet, and what they are.
    raw: Vec<u8>,
    records: u32,
    range: Range,
    chain: Chain,
    synced: u64,
    /// Labels and frames, ready to be written.
    pub(crate) out: Vec<u8>,
    /// What the frames of `out` hold, in order.
    pub(crate) frames: Vec<Contents>,
}

impl Packer {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            compressor: compressor()?,
            level: QUIET_LEVEL,
            raw: Vec::new(),
            records: 0,
            range: Range::EMPTY,
            chain: Chain::default(),
            synced: 0,
            out: Vec::new(),
            frames: Vec::new(),
        })
    }

    /// Starts over behind `chain`; `synced` goes into the labels.
    pub(crate) fn begin(&mut self, chain: Chain, synced: u64) {
        self.raw.clear();
        self.raw.shrink_to(KEPT_BUFFER_BYTES);
        self.out.clear();
        self.out.shrink_to(KEPT_BUFFER_BYTES);
        self.frames.clear();
        (self.records, self.range) = (0, Range::EMPTY);
        (self.chain, self.synced) = (chain, synced);
    }

    /// Compresses better or faster: the more records a batch holds, the more wait behind it.
    pub(crate) fn expect(&mut self, records: usize) -> Result<(), Error> {
        let level = if records < BUSY_BATCH {
            QUIET_LEVEL
        } else {
            BUSY_LEVEL
        };
        if level != self.level {
            self.compressor.set_compression_level(level)?;
            self.level = level;
        }
        Ok(())
    }

    /// Adds a record; when a frame is full, it moves to `out`.
    pub(crate) fn push(&mut self, record: &Record) -> Result<(), Error> {
        let start = self.raw.len();
        record.write_json(&mut self.raw)?;
        // Bodies are embedded as they came, and may be spread over lines. A string cannot hold a
        // raw line break, so that each one is mere space between tokens.
        let mut at = start;
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &self.raw[at..]) {
            at += found;
            self.raw[at] = b' ';
        }
        self.raw.push(b'\n');
        if self.raw.len() > FRAME_BYTES && start > 0 {
            self.seal(Kind::Records, start)?;
        }
        self.records += 1;
        self.range.widen(&Range::of(record));
        Ok(())
    }

    /// Adds a gap marker, in a frame of its own.
    pub(crate) fn push_gap(&mut self, gap: &Gap) -> Result<(), Error> {
        self.push_marker(Kind::Gap, &GapLine { gap: gap.clone() }, gap.at)
    }

    /// Adds the seal of a rewritten file, in a frame of its own.
    pub(crate) fn push_seal(&mut self, seal: &Seal) -> Result<(), Error> {
        self.push_marker(Kind::Seal, &SealLine { seal: seal.clone() }, seal.at)
    }

    fn push_marker(
        &mut self,
        kind: Kind,
        line: &impl Serialize,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.finish()?;
        serde_json::to_writer(&mut self.raw, line)?;
        self.raw.push(b'\n');
        self.range = Range::at(at);
        self.seal(kind, self.raw.len())
    }

    /// Moves what was added to `out`, and says where the chain then stands.
    pub(crate) fn finish(&mut self) -> Result<Chain, Error> {
        if !self.raw.is_empty() {
            self.seal(Kind::Records, self.raw.len())?;
        }
        Ok(self.chain)
    }

    /// Makes a frame of the first `len` bytes of JSON.
    fn seal(&mut self, kind: Kind, len: usize) -> Result<(), Error> {
        let start = self.out.len();
        let data = start + LABEL_BYTES;
        self.out.resize(data, 0);
        self.out.reserve(compress_bound(len));
        let mut behind = Cursor::new(&mut self.out);
        behind.set_position(data as u64);
        self.compressor
            .compress_to_buffer(&self.raw[..len], &mut behind)?;
        let contents = Contents {
            kind,
            records: self.records,
            sequence: self.chain.sequence,
            packed_bytes: (self.out.len() - data) as u64,
            raw_bytes: len as u64,
            range: self.range,
        };
        let label = Label::new(contents, self.synced, &self.chain.link, &self.out[data..]);
        self.out[start..data].copy_from_slice(&label.to_bytes());
        self.frames.push(contents);
        self.chain.link = label.link;
        self.chain.sequence += u64::from(self.records);
        self.raw.drain(..len);
        (self.records, self.range) = (0, Range::EMPTY);
        Ok(())
    }
}

/// Makes single data frames.
pub(crate) struct FramePacker {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

impl FramePacker {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            compressor: compressor()?,
            packed: Vec::new(),
        })
    }

    /// The data frame of some lines.
    pub(crate) fn pack(&mut self, raw: &[u8]) -> Result<&[u8], Error> {
        self.packed.clear();
        self.packed.reserve(compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.packed)?;
        Ok(&self.packed)
    }
}

/// A frame and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where its label begins, in bytes from the beginning of the file.
    pub(crate) offset: u64,
    pub(crate) contents: Contents,
}

impl Entry {
    /// Where the next frame's label begins.
    pub(crate) const fn end(&self) -> u64 {
        self.offset
            .saturating_add(LABEL_BYTES as u64)
            .saturating_add(self.contents.packed_bytes)
    }

    /// The position behind its records.
    pub(crate) const fn end_sequence(&self) -> u64 {
        self.contents
            .sequence
            .saturating_add(self.contents.records as u64)
    }
}

/// Reads frames.
pub(crate) struct Unpacker {
    decompressor: Decompressor<'static>,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

impl Unpacker {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            packed: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// The label and the data of a frame as they lie in the file.
    pub(crate) fn packed(&mut self, file: &File, entry: &Entry) -> Result<(Label, &[u8]), Error> {
        let len = usize::try_from(entry.end() - entry.offset).unwrap_or(usize::MAX);
        if len as u64 > MAX_RAW_BYTES {
            return Err(damaged(entry, "its length is impossible"));
        }
        self.packed.resize(len, 0);
        file.read_exact_at(&mut self.packed, entry.offset)?;
        match Label::read(&self.packed)? {
            Some(label) if label.contents == entry.contents => {
                Ok((label, &self.packed[LABEL_BYTES..]))
            }
            Some(_) | None => Err(damaged(entry, "its label was changed")),
        }
    }

    /// What the last frame that was read looks like: packed, and as lines.
    pub(crate) fn held(&self) -> (&[u8], &[u8]) {
        let packed = self.packed.get(LABEL_BYTES..).unwrap_or_default();
        (packed, &self.raw)
    }

    /// The JSON lines of a frame, with a line break behind each.
    pub(crate) fn lines(&mut self, file: &File, entry: &Entry) -> Result<&[u8], Error> {
        self.packed(file, entry)?;
        let len = entry.contents.raw_bytes;
        let len = usize::try_from(len).ok().filter(|_| len <= MAX_RAW_BYTES);
        let len = len.ok_or_else(|| damaged(entry, "its length is impossible"))?;
        self.raw.clear();
        self.raw.reserve(len);
        let unpacked = self
            .decompressor
            .decompress_to_buffer(&self.packed[LABEL_BYTES..], &mut self.raw);
        match unpacked {
            Ok(unpacked) if unpacked == len => Ok(&self.raw),
            Ok(_) => Err(damaged(entry, "its length is not what its label says")),
            Err(error) => Err(damaged(entry, &error.to_string())),
        }
    }
}

fn damaged(entry: &Entry, what: &str) -> Error {
    Error::Damaged(format!("the frame at byte {}: {what}", entry.offset))
}

/// The lines of a frame, without their line breaks.
pub(crate) fn split_lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr_iter(b'\n', raw).chain([raw.len()]);
    ends.map(move |end| &raw[std::mem::replace(&mut start, end + 1)..end])
        .filter(|line| !line.is_empty())
}

/// Those of its lines that are records: the first ones, so many as its label says.
pub(crate) fn record_lines(records: u32, raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_lines(raw).take(usize::try_from(records).unwrap_or(usize::MAX))
}

/// The record of a line.
pub(crate) fn parse(line: &[u8]) -> Result<Record, Error> {
    serde_json::from_slice(line)
        .map_err(|error| Error::Damaged(format!("a line is no record: {error}")))
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use isango_types::RecordId;

    use super::*;

    /// A record that is the same in each run, ids included, with a text whose words come again.
    fn record(n: u64) -> Record {
        let mut record = sample::record(n);
        let id =
            RecordId::from_bytes((u128::from(n) * 0x9e37_79b9_7f4a_7c15_f39c_c060).to_be_bytes());
        record.id = id;
        record.event_id = id.to_string().into();
        let text: Vec<String> = (0..200)
            .map(|k| format!("w{}", (n + 7) * (k + 3) % 997))
            .collect();
        record.path = text.join(" ").into();
        record
    }

    /// Bytes of the frames of some records, if a batch of so many is expected.
    fn packed(records: &[Record], expected: usize) -> usize {
        let mut packer = Packer::new().unwrap();
        packer.begin(Chain::default(), 0);
        packer.expect(expected).unwrap();
        records
            .iter()
            .for_each(|record| packer.push(record).unwrap());
        packer.finish().unwrap();
        packer.out.len()
    }

    #[test]
    fn what_waits_is_packed_faster_and_larger() {
        let records: Vec<Record> = (0..400).map(record).collect();
        let (quiet, busy) = (packed(&records, 1), packed(&records, BUSY_BATCH));
        assert!(quiet < busy, "{quiet} and {busy} bytes");
    }
}
