//! What a record store takes on the disk, by part and by day.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use isango_store::logs::Error;
use isango_store::usage::{Day, Usage};
use isango_types::Timestamp;

use crate::{Reader, columns_dir, journal_dir, overlay};

/// Days that [`usage`] tells of at most, the latest.
const MAX_DAYS: usize = 30;
const DAY_MICROS: u64 = 86_400_000_000;

/// Measures the record store of a folder, which a process may be writing to.
///
/// # Errors
/// The disk failed, or the store was written by a newer release.
pub fn usage(dir: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    for (name, bytes) in files(&journal_dir(dir))? {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("index" | "words") => usage.index_bytes += bytes,
            Some("torn") => usage.torn_bytes += bytes,
            Some(_) | None => usage.journal_bytes += bytes,
        }
    }
    let columns = columns_dir(dir);
    let sum =
        |dir: &Path| -> Result<u64, Error> { Ok(files(dir)?.iter().map(|(_, bytes)| bytes).sum()) };
    usage.column_bytes = sum(&columns)?;
    usage.rollup_bytes = sum(&columns.with_file_name("rollups"))?;
    let beside = files(dir)?.into_iter();
    let beside = beside.filter(|(name, _)| name.starts_with(overlay::FILE));
    usage.overlay_bytes = beside.map(|(_, bytes)| bytes).sum();
    // A file is complete with its day, so that it is of one.
    for volume in Reader::open(dir)?.catalog().volumes() {
        let summary = &volume.summary;
        let records = summary.chain.sequence - summary.sequence;
        if records == 0 {
            continue;
        }
        usage.records += records;
        let start = summary.range.created[1] / DAY_MICROS * DAY_MICROS;
        let day = Timestamp::from_micros(start);
        match usage.days.last_mut().filter(|last| last.day == day) {
            Some(last) => {
                last.records += records;
                last.journal_bytes += summary.bytes;
            }
            None => usage.days.push(Day {
                day,
                records,
                journal_bytes: summary.bytes,
            }),
        }
    }
    let extra = usage.days.len().saturating_sub(MAX_DAYS);
    usage.days.drain(..extra);
    Ok(usage)
}

/// Names and lengths of the files in a folder; none if it is not there.
fn files(dir: &Path) -> io::Result<Vec<(String, u64)>> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for file in listed {
        let file = file?;
        match file.metadata() {
            Ok(found) if found.is_file() => {
                files.push((file.file_name().to_string_lossy().into_owned(), found.len()));
            }
            Ok(_) => {}
            // Retention has removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}
