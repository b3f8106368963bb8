//! Where bytes of the disk are read, each as one function: what the fuzz targets and the test of
//! mutated files call. Whatever the bytes are, they return.

use std::fs::{self, File};
use std::path::Path;

use crate::catalog::{index_path, journal_path, load};
use crate::fields::Fields;
use crate::frame::{Unpacker, parse, record_lines};
use crate::rollup::Rollup;
use crate::scan::Scan;
use crate::segment::Segment;
use crate::slim::{bodies, slim};
use crate::words::{Candidates, words_path};

/// Name of a segment whose stretch is as good as any other.
const SEGMENT: &str = "000000000000-000000001000.parquet";

/// Reads a journal of these bytes in the folder: labels, frames, lines, records, and its torn end.
pub fn journal(dir: &Path, bytes: &[u8]) {
    fs::write(journal_path(dir, 1), bytes).ok();
    read_all(dir);
}

/// Reads the journal that is in the folder by an index of these bytes.
pub fn index(dir: &Path, bytes: &[u8]) {
    fs::write(index_path(dir, 1), bytes).ok();
    read_all(dir);
}

/// Looks words up in an index of these bytes, of the journal that is in the folder.
pub fn words(dir: &Path, bytes: &[u8]) {
    fs::write(words_path(dir, 1), bytes).ok();
    let Ok(file) = File::open(journal_path(dir, 1)) else {
        return;
    };
    // As far apart as numbers of words can be.
    for word in [1 << 8, u64::MAX / 3, u64::MAX] {
        if let Ok(found) = Candidates::find(dir, 1, &file, &[word]) {
            let _known = (
                found.may_be_in(1_000),
                found.may_hold(0),
                found.may_hold(999),
            );
        }
    }
}

/// Reads a segment of these bytes: its footer, statistics, keys, and every column of every row; and
/// the same bytes as sums.
pub fn segment(dir: &Path, bytes: &[u8]) {
    let path = dir.join(SEGMENT);
    fs::write(&path, bytes).ok();
    drop(Rollup::open(&path));
    let Ok(segment) = Segment::open(&path) else {
        return;
    };
    let _told = (segment.ids(), segment.created(), segment.keys().count());
    let _more = segment.has_more();
    for group in 0..segment.groups.len() {
        let _maybe = segment.may_hold(group, segment.ids()[0]);
        if let Ok(chunk) = segment.read(group, &Fields::all(), None) {
            for row in 0..chunk.rows {
                drop(chunk.row(row));
            }
        }
    }
}

fn read_all(dir: &Path) {
    let Ok(file) = File::open(journal_path(dir, 1)) else {
        return;
    };
    if let Ok(Some(mut scan)) = Scan::of(&file) {
        drop(scan.check_tail(&file));
    }
    let (Ok(Some(volume)), Ok(mut unpacker)) = (load(dir, 1), Unpacker::new()) else {
        return;
    };
    let Ok(entries) = volume.entries(dir, &file) else {
        return;
    };
    for entry in entries.iter() {
        let Ok(lines) = unpacker.lines(&file, entry) else {
            continue;
        };
        for line in record_lines(entry.contents.records, lines) {
            let mut out = Vec::new();
            let _read = (parse(line), bodies(line).len(), slim(line, &mut out));
        }
    }
}
