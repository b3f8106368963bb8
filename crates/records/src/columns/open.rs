//! What columns are there when a store is opened, or read beside the process that writes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::sync::Arc;

use isango_store::logs::Error;

use super::Columns;
use crate::catalog::journal_path;
use crate::hot::Hot;
use crate::rollup::Rollup;
use crate::segment::{self, Segment};

/// So many bytes of bodies are read at most before a store is open; the rest is read while it works.
const OPEN_BYTES: u64 = 32 << 20;

impl Columns {
    /// Finds the segments, and reads into the hot columns what is behind the last one.
    pub(super) fn load(&self, is_ours: bool) -> Result<(), Error> {
        let end = self.end();
        let known = self.state.read().segments.clone();
        let mut segments = self.find(&known, is_ours, end)?;
        segments.sort_by_key(|segment| segment.first);
        let sealed = segments.last().map_or(0, |segment| segment.end);
        let mut state = self.state.write();
        state.segments = segments;
        state.appended = end;
        let hot = &state.hot;
        if hot.first < sealed || hot.end > end || hot.end < self.floor() {
            let rows = u64::try_from(self.seal_at.rows).unwrap_or(u64::MAX);
            let start = sealed.max(end.saturating_sub(rows)).max(self.floor());
            state.hot = Hot::at(self.after_bytes(start)?);
        } else if hot.end == 0 {
            state.hot = Hot::at(self.after_bytes(self.floor())?);
        }
        drop(state);
        let until = match is_ours {
            true => self.reach(self.state.read().hot.end)?,
            false => u64::MAX,
        };
        self.catch_up(until)?;
        Ok(())
    }

    /// How far from a position on no more must be read than may be before a store is open.
    fn reach(&self, from: u64) -> Result<u64, Error> {
        let (mut bytes, mut reach) = (0, from);
        for volume in self.catalog.volumes() {
            if volume.summary.chain.sequence <= from {
                continue;
            }
            let file = match File::open(journal_path(&self.catalog.dir, volume.summary.number)) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            };
            for entry in volume.entries(&self.catalog.dir, &file)?.iter() {
                if entry.end_sequence() <= from {
                    continue;
                }
                bytes += entry.contents.raw_bytes;
                if bytes > OPEN_BYTES {
                    return Ok(reach);
                }
                reach = entry.end_sequence();
            }
        }
        Ok(reach)
    }

    /// The first position from which on no more must be read than is sealed at once.
    fn after_bytes(&self, start: u64) -> Result<u64, Error> {
        let (mut bytes, mut at) = (0, self.end());
        for volume in self.catalog.volumes().iter().rev() {
            if volume.summary.chain.sequence <= start {
                break;
            }
            let file = match File::open(journal_path(&self.catalog.dir, volume.summary.number)) {
                Ok(file) => file,
                // Retention has removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            };
            for entry in volume.entries(&self.catalog.dir, &file)?.iter().rev() {
                bytes += entry.contents.raw_bytes;
                if bytes > self.seal_at.bytes.saturating_mul(2) || at <= start {
                    return Ok(at.max(start));
                }
                at = entry.contents.sequence;
            }
        }
        Ok(at.max(start))
    }

    /// The segments in the folder, but for those that a larger one has replaced and those that
    /// the journal does not reach.
    fn find(
        &self,
        known: &[Arc<Segment>],
        is_ours: bool,
        end: u64,
    ) -> Result<Vec<Arc<Segment>>, Error> {
        let listed = match fs::read_dir(&self.dir) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut stretches = Vec::new();
        for file in listed {
            let file = file?;
            match file.file_name().to_str().and_then(segment::stretch) {
                Some(stretch) => stretches.push(stretch),
                None if is_ours => drop(self.disk.remove(&file.path())),
                None => {}
            }
        }
        stretches.sort_by_key(|(first, end)| (*first, std::cmp::Reverse(*end)));
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for (first, last) in stretches {
            let path = self.dir.join(segment::name(first, last));
            let is_over = segments.last().is_some_and(|before| first < before.end);
            let opened = match known.iter().find(|one| one.path() == path) {
                _ if is_over || last > end => None,
                Some(known) => Some(Arc::clone(known)),
                None => match Segment::open(&path) {
                    Ok(mut segment) => {
                        // Absent or damaged, it is made again.
                        segment.rollup =
                            Rollup::open(&self.rollup_path(&segment)).ok().map(Arc::new);
                        Some(Arc::new(segment))
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a segment is not used, and made again");
                        None
                    }
                },
            };
            match opened {
                Some(segment) => segments.push(segment),
                None if is_ours => drop(self.disk.remove(&path)),
                None => {}
            }
        }
        Ok(segments)
    }

    /// Removes sums without a segment, as a crash leaves them.
    pub(super) fn remove_orphans(&self) -> Result<(), Error> {
        let state = self.state.read();
        let paths: Vec<_> = state
            .segments
            .iter()
            .map(|one| self.rollup_path(one))
            .collect();
        for file in fs::read_dir(&self.rollups)? {
            let path = file?.path();
            if !paths.contains(&path) {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }
}
