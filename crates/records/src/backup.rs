//! A copy of a record store while another process may be writing to it, and projections made anew.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use isango_store::logs::Error;
use serde::Serialize;

use crate::catalog::{index_path, journal_path, numbers};
use crate::disk::{Disk as _, RealDisk};
use crate::words::words_path;
use crate::{Records, journal_dir, overlay};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Journal files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Journal files that the folder had already, as they are.
    pub kept: u64,
}

/// Copies a record store into another folder: what cannot be made from anything else, the journal
/// and the overlay. A process may be writing to it; what it had acknowledged when the copy began is
/// in it. A copy that is made into the folder of an earlier one copies what is new.
///
/// # Errors
/// A file cannot be read or written.
pub fn backup(dir: &Path, to: &Path) -> Result<Backup, Error> {
    let (from, into) = (journal_dir(dir), journal_dir(to));
    RealDisk.make_dir(&into)?;
    let mut done = Backup::default();
    // What was said later before the journal: it may speak of records that come after it, but none
    // of its deletions may be missing from a journal that is older.
    overlay::copy(dir, to)?;
    // In their order: the seal of a rewritten file stands behind it.
    let there = numbers(&from)?;
    for number in &there {
        let (source, target) = (journal_path(&from, *number), journal_path(&into, *number));
        let Some(bytes) = copy(&source, &target)? else {
            done.kept += 1;
            continue;
        };
        done.files += 1;
        done.bytes += bytes;
    }
    for number in numbers(&into)? {
        if !there.contains(&number) {
            fs::remove_file(journal_path(&into, number))?;
        }
    }
    File::open(&into)?.sync_all()?;
    Ok(done)
}

/// Copies a file, its owner's alone, unless it is there with the same length and time. `None` if it
/// was, or if retention has removed the source.
fn copy(source: &Path, target: &Path) -> io::Result<Option<u64>> {
    let mut from = match File::open(source) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (known, modified) = (from.metadata()?, from.metadata()?.modified()?);
    if let Ok(there) = fs::metadata(target)
        && there.len() == known.len()
        && there.modified()? == modified
    {
        return Ok(None);
    }
    let aside = target.with_extension("copy");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut into = options.open(&aside)?;
    let bytes = io::copy(&mut from, &mut into)?;
    into.set_modified(modified)?;
    into.sync_all()?;
    fs::rename(aside, target)?;
    Ok(Some(bytes))
}

impl Records {
    /// Makes all projections of the journal again: the indexes of frames and of words, the columns,
    /// all of which are sealed then, and their sums. Says of how many files.
    ///
    /// # Errors
    /// The disk failed.
    pub fn rebuild(&self) -> Result<u64, Error> {
        let catalog = self.reader.catalog();
        let volumes = catalog.volumes();
        for volume in &volumes {
            for projection in [index_path, words_path] {
                match fs::remove_file(projection(&catalog.dir, volume.summary.number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        self.journal.lock().index_again()?;
        self.indexer.finish()?;
        self.reader.columns().rebuild()?;
        Ok(volumes.len() as u64)
    }
}
