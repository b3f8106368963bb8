//! What a record store takes on the disk, by part and by day.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use isango_store::logs::Error;
use isango_types::Timestamp;
use serde::Serialize;

use crate::{Reader, columns_dir, journal_dir, overlay};

/// Days that [`usage`] tells of at most, the latest.
const MAX_DAYS: usize = 30;
const DAY_MICROS: u64 = 86_400_000_000;

/// Bytes on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Records that the journal holds, what is left of erased ones too.
    pub records: u64,
    /// The journal itself.
    pub journal_bytes: u64,
    /// Its indexes of frames and words.
    pub index_bytes: u64,
    /// Sealed columns.
    pub column_bytes: u64,
    /// Sums of them.
    pub rollup_bytes: u64,
    /// What was said later.
    pub overlay_bytes: u64,
    /// What crashes left, kept aside.
    pub torn_bytes: u64,
    /// The latest 30 days (UTC) on which something was recorded, the oldest first.
    pub days: Vec<Day>,
}

/// What was recorded on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// When it began.
    pub day: Timestamp,
    /// How many.
    pub records: u64,
    /// Their bytes in the journal.
    pub journal_bytes: u64,
}

impl Usage {
    /// Bytes of all parts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.journal_bytes
            + self.index_bytes
            + self.column_bytes
            + self.rollup_bytes
            + self.overlay_bytes
            + self.torn_bytes
    }

    /// Bytes of all parts that a whole day brings, by the last seven whole days before `now`; `None`:
    /// there is none.
    #[must_use]
    pub fn bytes_per_day(&self, now: Timestamp) -> Option<u64> {
        let today = now.as_micros() / DAY_MICROS;
        let number = |day: &Day| day.day.as_micros() / DAY_MICROS;
        let first = self.days.first().map(number)?.max(today.saturating_sub(7));
        let whole = first..today;
        let within = self.days.iter().filter(|day| whole.contains(&number(day)));
        let journal: u64 = within.map(|day| day.journal_bytes).sum();
        let per_day = journal.checked_div(today.checked_sub(first)?)?;
        // The other parts grow with it.
        let all = u128::from(per_day) * u128::from(self.total());
        let share = all.checked_div(u128::from(self.journal_bytes))?;
        u64::try_from(share).ok()
    }
}

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
