//! The proof that nothing in a journal was changed or removed: every link of the chain, every
//! checksum, every count, and the seal of every file that was rewritten.
//!
//! What no chain can prove alone: that its end was not cut off, or that it was not made anew from
//! some point on. Write the head down elsewhere from time to time and compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use isango_store::logs::{Error, Gap};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{journal_path, numbers};
use crate::frame::{Chain, Entry, GapLine, Unpacker, parse, record_lines, split_lines};
use crate::label::{HEADER_BYTES, Kind, Range};
use crate::rewrite::{RewrittenLine, Seal, SealLine, hex};
use crate::scan::Scan;

/// Most findings, and most gaps, that a report lists; it counts all of them.
const MAX_LISTED: usize = 1_000;

/// What an examination of a journal has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Frames that were read.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Records before the first file: retention has removed them.
    pub expired: u64,
    /// The last link of the chain, in hex: it changes when anything before it does.
    pub head: String,
    /// Markers of records that were dropped before they could be stored; the first 1 000.
    pub gaps: Vec<Gap>,
    /// Records that these, and any further, markers count.
    pub dropped: u64,
    /// Files that were rewritten, without records that were erased or without bodies, and are as
    /// they were sealed then.
    pub rewritten: u64,
    /// Records of which only what counts is left, and their digests.
    pub erased: u64,
    /// Rewrites that were sealed but not carried out: a crash came between, and they are made again.
    pub unfinished_rewrites: u64,
    /// Bytes behind the last whole frame: a write that is under way, or that a crash cut short.
    pub unfinished_bytes: u64,
    /// How many things are wrong.
    pub damages: u64,
    /// What is wrong; the first 1 000.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In which file.
    pub file: PathBuf,
    /// At which byte of it.
    pub offset: u64,
    /// What.
    pub what: String,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.damages == 0
    }
}

/// Examines the journal of a record store, all of it. Reads only, and may run while a server
/// writes.
///
/// # Errors
/// A file could not be read, or is of a newer format. What is wrong inside of files is no error but
/// stands in the report.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    let dir = crate::journal_dir(dir);
    let mut audit = Audit {
        report: Report::default(),
        unpacker: Unpacker::new()?,
        chain: Chain::default(),
        file: PathBuf::new(),
        rewritten: Vec::new(),
        seals: BTreeMap::new(),
    };
    let numbers = numbers(&dir)?;
    let mut last = None;
    for number in &numbers {
        audit.file = journal_path(&dir, *number);
        if let Some(last) = last
            && last + 1 != *number
        {
            audit.find(
                0,
                format!("the files between {last} and {number} are missing"),
            );
        }
        last = Some(*number);
        audit.examine(*number, Some(number) == numbers.last())?;
    }
    audit.compare_seals(&dir);
    audit.report.head = hex(&audit.chain.link);
    Ok(audit.report)
}

struct Audit {
    report: Report,
    unpacker: Unpacker,
    /// Behind the frame before.
    chain: Chain,
    /// Which file is being read.
    file: PathBuf,
    /// Number and SHA-256 of each file with rewritten frames.
    rewritten: Vec<(u64, String)>,
    /// The seals of each file, in their order.
    seals: BTreeMap<u64, Vec<Seal>>,
}

impl Audit {
    fn find(&mut self, offset: u64, what: impl Into<String>) {
        self.report.damages += 1;
        if self.report.findings.len() < MAX_LISTED {
            let file = self.file.clone();
            self.report.findings.push(Finding {
                file,
                offset,
                what: what.into(),
            });
        }
    }

    fn examine(&mut self, number: u64, is_last: bool) -> Result<(), Error> {
        let is_first = self.report.files == 0;
        let file = match File::open(&self.file) {
            Ok(file) => file,
            // Retention has removed it since the folder was listed.
            Err(error) if is_first && error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.report.files += 1;
        let Some(scan) = Scan::of(&file)? else {
            let bytes = fs::metadata(&self.file)?.len();
            if is_last && bytes < HEADER_BYTES as u64 {
                self.report.unfinished_bytes = bytes;
            } else {
                self.find(0, "it does not begin like a journal file");
            }
            return Ok(());
        };
        if scan.header.number != number {
            self.find(0, format!("it calls itself number {}", scan.header.number));
        }
        let begins = Chain {
            link: scan.header.previous,
            sequence: scan.header.sequence,
        };
        if is_first {
            self.report.expired = begins.sequence;
        } else if begins != self.chain {
            self.find(0, "it does not follow the file before");
        }
        self.chain = begins;
        for entry in &scan.entries {
            self.examine_frame(&file, entry)?;
        }
        let mut kinds = scan.entries.iter().map(|entry| entry.contents.kind);
        if kinds.any(|kind| matches!(kind, Kind::Slim | Kind::Rewritten)) {
            self.rewritten.push((number, digest_of(&file)?));
        }
        self.report.bytes += scan.end;
        match scan.len - scan.end {
            0 => {}
            bytes if is_last => self.report.unfinished_bytes = bytes,
            bytes => self.find(scan.end, format!("{bytes} bytes belong to no frame")),
        }
        Ok(())
    }

    fn examine_frame(&mut self, file: &File, entry: &Entry) -> Result<(), Error> {
        self.report.frames += 1;
        self.report.records += u64::from(entry.contents.records);
        let (label, data) = match self.unpacker.packed(file, entry) {
            Ok(packed) => packed,
            Err(Error::Damaged(what)) => {
                self.find(entry.offset, what);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let follows = match entry.contents.kind {
            Kind::Records | Kind::Gap | Kind::Seal => {
                label.expected_link(&self.chain.link, data) == label.link
            }
            // It carries the link of what was there; the seal of its file proves it.
            Kind::Slim | Kind::Rewritten => true,
        };
        self.chain = Chain {
            link: label.link,
            sequence: entry.end_sequence(),
        };
        if !follows {
            self.find(
                entry.offset,
                "the frame, or one before it, was changed or removed",
            );
        }
        let read = match self.unpacker.lines(file, entry) {
            Ok(lines) => read_frame(entry, lines),
            Err(Error::Damaged(what)) => Err(what),
            Err(error) => return Err(error),
        };
        match read {
            Ok(Told::Records { erased }) => self.report.erased += erased,
            Ok(Told::Gap(gap)) => {
                self.report.dropped += gap.dropped;
                if self.report.gaps.len() < MAX_LISTED {
                    self.report.gaps.push(gap);
                }
            }
            Ok(Told::Seal(seal)) => self.seals.entry(seal.file).or_default().push(seal),
            Err(what) => self.find(entry.offset, what),
        }
        Ok(())
    }

    /// Compares each rewritten file with its seals.
    fn compare_seals(&mut self, dir: &Path) {
        let rewritten = std::mem::take(&mut self.rewritten);
        let mut carried_out = BTreeSet::new();
        for (number, sha256) in rewritten {
            let seals = self.seals.get(&number).map_or(&[][..], Vec::as_slice);
            let Some(at) = seals.iter().rposition(|seal| seal.sha256 == sha256) else {
                self.file = journal_path(dir, number);
                self.find(
                    0,
                    "it was rewritten, and no seal says that it was to become this",
                );
                continue;
            };
            self.report.rewritten += 1;
            if at + 1 == seals.len() {
                carried_out.insert(number);
            }
        }
        let is_open = |number: &&u64| !carried_out.contains(*number);
        let there = |number: &&u64| journal_path(dir, **number).exists();
        let unfinished = self.seals.keys().filter(is_open).filter(there).count();
        self.report.unfinished_rewrites = unfinished as u64;
    }
}

/// What a frame tells.
enum Told {
    Records {
        /// How many of them were erased.
        erased: u64,
    },
    Gap(Gap),
    Seal(Seal),
}

/// Compares a frame's lines with its label.
fn read_frame(entry: &Entry, lines: &[u8]) -> Result<Told, String> {
    fn marker<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }
    let contents = &entry.contents;
    let is_rewritten = match contents.kind {
        Kind::Gap => return marker(lines).map(|line: GapLine| Told::Gap(line.gap)),
        Kind::Seal => return marker(lines).map(|line: SealLine| Told::Seal(line.seal)),
        Kind::Records => false,
        Kind::Slim | Kind::Rewritten => true,
    };
    let (mut count, mut range, mut erased) = (0, Range::EMPTY, 0);
    for line in record_lines(contents.records, lines) {
        let record = parse(line).map_err(|error| error.to_string())?;
        range.widen(&Range::of(&record));
        count += 1;
        erased += u64::from(record.is_erased());
    }
    let mut rest = split_lines(lines).skip(usize::try_from(count).unwrap_or(usize::MAX));
    if let Some(traces) = rest.next().filter(|_| is_rewritten) {
        marker::<RewrittenLine>(traces)?;
    } else if is_rewritten {
        return Err("it does not tell what was rewritten".into());
    }
    if (count, range) == (contents.records, contents.range) && rest.next().is_none() {
        Ok(Told::Records { erased })
    } else {
        Err("the label does not tell what the frame holds".into())
    }
}

/// The SHA-256 of a file, in hex.
fn digest_of(file: &File) -> Result<String, Error> {
    let mut digest = Context::new(&SHA256);
    let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(hex(digest.finish().as_ref()));
        }
        digest.update(&buffer[..read]);
        at += read as u64;
    }
}
