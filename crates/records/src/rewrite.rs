//! Rewriting a complete file without what must go: records that were erased, or all bodies.
//!
//! Frames that hold nothing of it are copied byte for byte. Of another one the records are packed
//! again, each erased one as what is left of it, and behind them stands a line that tells the
//! SHA-256 of the data that was there and of each erased record's line. The frame keeps the link of
//! the one that it takes the place of: the chain goes on behind it as before, and so do links that
//! somebody has written down. But a link cannot prove any more what the frame holds. That does a
//! *seal*: a marker at the end of the journal, in the chain like everything there, with the SHA-256
//! of the whole rewritten file. `audit` finds every rewritten file without a seal, and every byte of
//! it that is not as it was sealed.
//!
//! The new file is made beside the old one (`NNNNNNNN.rewrite`), sealed, and then takes its name: a
//! crash leaves one or the other. What it leaves of a file under way is removed at the next start,
//! and the rewrite is made again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, digest};
use isango_store::logs::Error;
use isango_types::{Record, RecordId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalog::journal_path;
use crate::disk::Disk;
use crate::frame::{Entry, FramePacker, Unpacker, parse, record_lines, split_lines};
use crate::label::{Contents, HEADER_BYTES, Kind, LABEL_BYTES, Label};
use crate::scan::Scan;

/// How much is read and written at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What must go from a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders<'a> {
    /// These records.
    pub(crate) erase: &'a BTreeSet<RecordId>,
    /// All bodies.
    pub(crate) bodies: bool,
    /// When it goes.
    pub(crate) at: Timestamp,
}

/// The line behind the records of a rewritten frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RewrittenLine {
    pub(crate) rewritten: Traces,
}

/// What a rewritten frame tells of the one that was there first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traces {
    /// SHA-256 of its data frame, in hex.
    pub(crate) was: String,
    /// When it was last rewritten.
    pub(crate) at: Timestamp,
    /// The records that were erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) erased: Vec<Trace>,
}

/// What is told of an erased record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) id: RecordId,
    /// SHA-256 of its line, without the line break, in hex.
    pub(crate) was: String,
}

/// The line of a seal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SealLine {
    pub(crate) seal: Seal,
}

/// What a rewritten file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// Number of the file.
    pub(crate) file: u64,
    /// SHA-256 of all of it, in hex.
    pub(crate) sha256: String,
    /// When it was rewritten.
    pub(crate) at: Timestamp,
    /// Records that this rewrite erased.
    pub(crate) erased: u64,
    /// Frames that this rewrite changed.
    pub(crate) frames: u64,
}

/// A new file that is to take the place of an old one.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) path: PathBuf,
    pub(crate) scan: Scan,
    pub(crate) seal: Seal,
    /// Ids of records that were erased now.
    pub(crate) erased: BTreeSet<RecordId>,
}

/// `NNNNNNNN.rewrite`.
pub(crate) fn rewrite_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.rewrite"))
}

/// Whether the bodies have gone from a complete file: a rewrite takes those of all its frames, so
/// that the first one with records tells. True also if there is none.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn is_slim(dir: &Path, number: u64) -> Result<bool, Error> {
    let file = File::open(journal_path(dir, number))?;
    let (mut at, len) = (HEADER_BYTES as u64, file.metadata()?.len());
    let mut bytes = [0; LABEL_BYTES];
    while at + LABEL_BYTES as u64 <= len {
        file.read_exact_at(&mut bytes, at)?;
        let Some(Label { contents, .. }) = Label::read(&bytes)? else {
            return Ok(true);
        };
        if contents.kind.holds_records() {
            return Ok(contents.kind == Kind::Slim);
        }
        at = Entry {
            offset: at,
            contents,
        }
        .end();
    }
    Ok(true)
}

/// Makes the new file of a complete one; `None` if nothing of it must go.
///
/// # Errors
/// The disk failed, or a frame that would have to be rewritten is damaged.
pub(crate) fn rewrite(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    orders: Orders<'_>,
) -> Result<Option<Rewritten>, Error> {
    let file = File::open(journal_path(dir, number))?;
    let Some(scan) = Scan::of(&file)? else {
        return Ok(None);
    };
    let mut rewriter = Rewriter {
        orders,
        unpacker: Unpacker::new()?,
        packer: FramePacker::new()?,
        raw: Vec::new(),
        erased: BTreeSet::new(),
        frames: 0,
    };
    if !rewriter.is_needed(&file, &scan)? {
        return Ok(None);
    }
    let path = rewrite_path(dir, number);
    let made = disk.open(&path)?;
    disk.truncate(&made, 0)?;
    let mut out = Output::new(disk, &made);
    out.push(&scan.header.to_bytes())?;
    let mut fresh = Scan::fresh(scan.header);
    for entry in &scan.entries {
        let contents = match rewriter.frame(&file, entry)? {
            Some((label, data)) => {
                out.push(&label.to_bytes())?;
                out.push(data)?;
                label.contents
            }
            None => {
                let (label, data) = rewriter.unpacker.packed(&file, entry)?;
                out.push(&label.to_bytes())?;
                out.push(data)?;
                label.contents
            }
        };
        let entry = Entry {
            offset: fresh.end,
            contents,
        };
        fresh.end = entry.end();
        fresh.entries.push(entry);
    }
    (fresh.chain, fresh.len) = (scan.chain, fresh.end);
    let sha256 = out.finish()?;
    disk.sync(&made)?;
    let seal = Seal {
        file: number,
        sha256,
        at: orders.at,
        erased: rewriter.erased.len() as u64,
        frames: rewriter.frames,
    };
    Ok(Some(Rewritten {
        path,
        scan: fresh,
        seal,
        erased: rewriter.erased,
    }))
}

struct Rewriter<'a> {
    orders: Orders<'a>,
    unpacker: Unpacker,
    packer: FramePacker,
    raw: Vec<u8>,
    /// Records that were erased now.
    erased: BTreeSet<RecordId>,
    /// Frames that were changed now.
    frames: u64,
}

impl Rewriter<'_> {
    /// Whether anything in a file must go.
    fn is_needed(&mut self, file: &File, scan: &Scan) -> Result<bool, Error> {
        if self.orders.bodies {
            return Ok(true);
        }
        for entry in &scan.entries {
            if !self.may_concern(entry) {
                continue;
            }
            let records = entry.contents.records;
            for line in record_lines(records, self.unpacker.lines(file, entry)?) {
                let record = parse(line)?;
                if self.orders.erase.contains(&record.id) && !record.is_erased() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn may_concern(&self, entry: &Entry) -> bool {
        let [first, last] = entry.contents.range.record_ids();
        entry.contents.kind.holds_records()
            && first <= last
            && self.orders.erase.range(first..=last).next().is_some()
    }

    /// The new form of a frame; `None` if it stays as it is.
    fn frame(&mut self, file: &File, entry: &Entry) -> Result<Option<(Label, &[u8])>, Error> {
        let kind = entry.contents.kind;
        let loses_bodies = self.orders.bodies && matches!(kind, Kind::Records | Kind::Rewritten);
        if !loses_bodies && !self.may_concern(entry) {
            return Ok(None);
        }
        let (label, was) = {
            let (label, data) = self.unpacker.packed(file, entry)?;
            (label, sha256(data))
        };
        let records = entry.contents.records;
        let lines = self.unpacker.lines(file, entry)?;
        let mut traces = match split_lines(lines).nth(usize::try_from(records).unwrap_or(0)) {
            Some(line) => serde_json::from_slice::<RewrittenLine>(line)?.rewritten,
            None => Traces {
                was,
                at: self.orders.at,
                erased: Vec::new(),
            },
        };
        traces.at = self.orders.at;
        self.raw.clear();
        let before = traces.erased.len();
        for line in record_lines(records, lines) {
            let mut record: Record = parse(line)?;
            let goes = self.orders.erase.contains(&record.id) && !record.is_erased();
            if goes {
                traces.erased.push(Trace {
                    id: record.id,
                    was: sha256(line),
                });
                self.erased.insert(record.id);
                record.erase();
            } else if loses_bodies {
                record.expire_bodies();
            } else {
                self.raw.extend_from_slice(line);
                self.raw.push(b'\n');
                continue;
            }
            record.write_json(&mut self.raw)?;
            self.raw.push(b'\n');
        }
        if !loses_bodies && traces.erased.len() == before {
            return Ok(None);
        }
        self.frames += 1;
        serde_json::to_writer(&mut self.raw, &RewrittenLine { rewritten: traces })?;
        self.raw.push(b'\n');
        let is_slim = loses_bodies || kind == Kind::Slim;
        let data = self.packer.pack(&self.raw)?;
        let contents = Contents {
            kind: if is_slim { Kind::Slim } else { Kind::Rewritten },
            packed_bytes: data.len() as u64,
            raw_bytes: self.raw.len() as u64,
            ..entry.contents
        };
        // All of the new file is on the medium before it takes its place.
        let label = Label {
            contents,
            synced: 0,
            ..label
        };
        Ok(Some((label, data)))
    }
}

/// Writes a file from its beginning, and digests it.
struct Output<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    buffer: Vec<u8>,
    at: u64,
    digest: Context,
}

impl<'a> Output<'a> {
    fn new(disk: &'a dyn Disk, file: &'a File) -> Self {
        Self {
            disk,
            file,
            buffer: Vec::new(),
            at: 0,
            digest: Context::new(&SHA256),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.write_at(self.file, &self.buffer, self.at)?;
        self.digest.update(&self.buffer);
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The SHA-256 of all of it, in hex.
    fn finish(mut self) -> io::Result<String> {
        self.flush()?;
        Ok(hex(self.digest.finish().as_ref()))
    }
}

/// SHA-256 of some bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
