//! What the record store takes, for the management API and the command line.

use std::path::Path;
use std::time::Duration;

use isango_control::Measured;
use isango_store::logs::Error;
use isango_store::usage::{Kept, Projection};
use isango_types::{Clock, Timestamp};

use crate::config::{Config, RecordSettings};

/// What the store in a folder takes, and for how long there is room.
///
/// # Errors
/// The disk failed, or the store was written by a newer release.
pub(crate) fn measure(folder: &Path, kept: Kept, now: Timestamp) -> Result<Projection, Error> {
    let usage = isango_records::usage(folder)?;
    let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from)?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(Projection::new(usage, free_bytes, kept, now))
}

/// What measures the store of a server; one that keeps its records in memory has none.
pub(crate) fn measured(config: &Config, clock: &Clock) -> Box<Measured> {
    let (folder, kept, clock) = (
        config.data_dir.clone(),
        config.records.kept(),
        clock.clone(),
    );
    Box::new(move || match folder.is_dir() {
        true => measure(&folder, kept, clock.now()).map(Some),
        false => Ok(None),
    })
}

impl RecordSettings {
    /// What is removed from the record store of its own accord.
    pub(crate) fn kept(&self) -> Kept {
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
        Kept {
            max_bytes: self.retention_bytes,
            max_age_s: seconds(self.retention_age),
            max_body_age_s: seconds(self.body_retention_age),
        }
    }
}
