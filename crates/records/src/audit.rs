//! The proof that nothing in a journal was changed or removed: every link of the chain, every
//! checksum, every count.
//!
//! What no chain can prove alone: that its end was not cut off, or that it was not made anew from
//! some point on. Write the head down elsewhere from time to time and compare.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use isango_store::logs::{Error, Gap};
use serde::Serialize;

use crate::catalog::{journal_path, numbers};
use crate::frame::{Chain, Entry, GapLine, Unpacker, split_lines};
use crate::label::{HEADER_BYTES, Kind, Link, Range};
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
        let follows = label.expected_link(&self.chain.link, data) == label.link;
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
            Ok(None) => {}
            Ok(Some(gap)) => {
                self.report.dropped += gap.dropped;
                if self.report.gaps.len() < MAX_LISTED {
                    self.report.gaps.push(gap);
                }
            }
            Err(what) => self.find(entry.offset, what),
        }
        Ok(())
    }
}

/// Compares a frame's lines with its label; returns the gap that it marks.
fn read_frame(entry: &Entry, lines: &[u8]) -> Result<Option<Gap>, String> {
    let contents = &entry.contents;
    if contents.kind == Kind::Gap {
        let line: GapLine = serde_json::from_slice(lines).map_err(|error| error.to_string())?;
        return Ok(Some(line.gap));
    }
    let (mut count, mut range) = (0, Range::EMPTY);
    for line in split_lines(lines) {
        let record = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        range.widen(&Range::of(&record));
        count += 1;
    }
    if (count, range) == (contents.records, contents.range) {
        Ok(None)
    } else {
        Err("the label does not tell what the frame holds".into())
    }
}

fn hex(link: &Link) -> String {
    link.iter().map(|byte| format!("{byte:02x}")).collect()
}
