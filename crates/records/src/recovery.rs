//! What happens at open: find the files, and cut from the newest one what a crash left behind its
//! last whole frame. Where a loss of power has left the file before it torn too, nothing of the
//! newest one was promised yet, and it is set aside.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use isango_store::logs::Error;

use crate::catalog::{self, Volume, journal_path};
use crate::disk::Disk;
use crate::label::{HEADER_BYTES, Kind};
use crate::scan::Scan;

/// What was found at open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that the store holds.
    pub records: u64,
    /// What was cut; of at most two files.
    pub torn: Vec<Torn>,
}

/// Bytes that were no whole frame, as a crash in the middle of a write leaves them. No record that
/// an append had acknowledged is among them, but for the flush window of a machine that lost power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The journal file.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where they are kept; `file` itself if they could not be copied and were left in place.
    pub kept_in: PathBuf,
}

/// The files of a journal, and the newest of them ready to be written to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) volumes: Vec<Volume>,
    /// The newest file, unless a new one must be begun.
    pub(crate) newest: Option<File>,
    /// Number of the next new file.
    pub(crate) next_number: u64,
    pub(crate) recovery: Recovery,
}

/// Finds the files of a journal and repairs the newest one.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    remove_unfinished(disk, dir)?;
    let mut numbers = catalog::numbers(dir)?;
    let mut found = Found {
        next_number: 1,
        ..Found::default()
    };
    while let Some(number) = numbers.pop() {
        let path = journal_path(dir, number);
        let file = disk.open(&path)?;
        let Some(mut scan) = Scan::of(&file)? else {
            // The crash came before the header was on disk: there are no frames.
            found.recovery.torn.extend(set_aside(disk, &path, &file)?);
            found.next_number = number;
            continue;
        };
        scan.check_tail(&file)?;
        if let Some(older) = numbers.last()
            && !complete_before(disk, dir, *older, &scan)?
        {
            // Nothing of it was promised: that comes after the file before it.
            found.recovery.torn.extend(set_aside(disk, &path, &file)?);
            found.next_number = number;
            continue;
        }
        found.next_number = number + 1;
        found.newest = Some(file);
        if scan.len > scan.end
            && let Some(file) = &found.newest
        {
            let torn = cut(disk, &path, file, &scan);
            if torn.kept_in == path {
                found.newest = None;
            }
            found.recovery.torn.push(torn);
        }
        for older in numbers {
            let Some(mut volume) = catalog::load(dir, older)? else {
                continue;
            };
            if let Err(error) = volume.seal(disk, dir) {
                tracing::warn!(%error, number = older, "an index could not be written");
            }
            found.volumes.push(volume);
        }
        found.volumes.push(Volume::new(scan));
        break;
    }
    found.recovery.records = found.volumes.iter().map(Volume::records).sum();
    Ok(found)
}

/// Whether the file before the newest one is there to its end. It may not be where the newest one was
/// begun, and nothing of it promised, before that was on the medium; it is brought there now.
fn complete_before(disk: &dyn Disk, dir: &Path, older: u64, newest: &Scan) -> Result<bool, Error> {
    let Some(behind) = newest.header.behind.filter(|_| newest.synced == 0) else {
        return Ok(true);
    };
    let file = disk.open(&journal_path(dir, older))?;
    let is_rewritten = |scan: &Scan| {
        let mut kinds = scan.entries.iter().map(|entry| entry.contents.kind);
        kinds.any(|kind| matches!(kind, Kind::Slim | Kind::Rewritten))
    };
    let mut scan = match Scan::of(&file)? {
        // Only what is wholly on the medium is rewritten.
        Some(scan) if !is_rewritten(&scan) => scan,
        Some(_) => return Ok(true),
        // It was lost with the power, unless it was on the medium before.
        None => return Ok(behind >= HEADER_BYTES as u64),
    };
    scan.check_tail(&file)?;
    let follows =
        scan.chain.link == newest.header.previous && scan.chain.sequence == newest.header.sequence;
    // What was on the medium before is no loss of power: `verify` tells of it.
    if !follows && scan.end >= behind {
        return Ok(false);
    }
    disk.sync(&file)?;
    disk.sync_dir(dir)?;
    Ok(true)
}

/// Removes new files of rewrites that did not come to their end.
fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == "rewrite") {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// Moves what follows the last whole frame into a file of its own.
fn cut(disk: &dyn Disk, path: &Path, file: &File, scan: &Scan) -> Torn {
    let bytes = scan.len - scan.end;
    let mut torn = Torn {
        file: path.to_owned(),
        offset: scan.end,
        bytes,
        kept_in: torn_path(path),
    };
    let kept = keep(disk, file, scan.end, &torn.kept_in)
        .and_then(|()| disk.truncate(file, scan.end))
        .and_then(|()| disk.sync(file));
    if let Err(error) = kept {
        tracing::warn!(file = %path.display(), %error, "a torn tail could not be moved away");
        torn.kept_in = path.to_owned();
    }
    torn
}

/// Copies a file from an offset on to the end of another one.
fn keep(disk: &dyn Disk, file: &File, from: u64, to: &Path) -> io::Result<()> {
    let kept = disk.open(to)?;
    let (mut from, mut at) = (from, kept.metadata()?.len());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read_at(&mut buffer, from)?;
        if read == 0 {
            return disk.sync(&kept);
        }
        disk.write_at(&kept, &buffer[..read], at)?;
        from += read as u64;
        at += read as u64;
    }
}

/// Takes a file without a header away; what it holds is kept.
fn set_aside(disk: &dyn Disk, path: &Path, file: &File) -> Result<Option<Torn>, Error> {
    let bytes = file.metadata()?.len();
    if bytes == 0 {
        disk.remove(path)?;
        return Ok(None);
    }
    let kept_in = torn_path(path);
    disk.rename(path, &kept_in)?;
    Ok(Some(Torn {
        file: path.to_owned(),
        offset: 0,
        bytes,
        kept_in,
    }))
}

/// `NNNNNNNN.torn` for `NNNNNNNN.jsonl.zst`.
fn torn_path(path: &Path) -> PathBuf {
    path.with_extension("").with_extension("torn")
}
