//! Records that were erased leave the columns, and those that were priced again get their cost.

use std::collections::BTreeSet;
use std::sync::Arc;

use isango_store::logs::Error;
use isango_types::RecordId;

use super::Columns;
use crate::hot::Hot;
use crate::segment::Segment;

impl Columns {
    /// Makes every part of the columns that has one of these records again: from the journal, which
    /// they may have left, with the costs that they were given since.
    ///
    /// # Errors
    /// The disk failed; calling it again goes on from there.
    pub(crate) fn renew(&self, ids: &BTreeSet<RecordId>) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<u128> = (ids.iter())
            .map(|id| u128::from_be_bytes(*id.as_bytes()))
            .collect();
        let _one = self.work.lock();
        let segments = self.state.read().segments.clone();
        // What cannot be read may hold anything.
        let (tainted, mut kept): (Vec<_>, Vec<_>) =
            (segments.into_iter()).partition(|segment| segment.holds_any(&ids).unwrap_or(true));
        for old in &tainted {
            self.write_again(old, &mut kept)?;
        }
        kept.sort_by_key(|segment| segment.first);
        self.state.write().segments.clone_from(&kept);
        for old in &tainted {
            match kept.iter().find(|new| new.path() == old.path()) {
                None => self.remove(old)?,
                Some(new) if old.rollup.is_some() && new.rollup.is_none() => {
                    self.disk.remove(&self.rollup_path(old))?;
                }
                Some(_) => {}
            }
        }
        self.read_hot_again(&ids, &kept)
    }

    /// Writes what the journal has of a segment's stretch, and adds it to the others.
    fn write_again(&self, old: &Segment, others: &mut Vec<Arc<Segment>>) -> Result<(), Error> {
        let mut at = old.first.max(self.floor());
        while at < old.end {
            let mut hot = Hot::at(at);
            self.read(&mut hot, old.end, self.seal_at.rows.max(1), others)?;
            if hot.end == at {
                break;
            }
            let (chunks, stretch) = hot.freeze_all();
            others.push(self.write(&chunks, stretch)?);
            at = stretch.1;
        }
        Ok(())
    }

    /// Reads the hot columns anew if they have one of these records.
    fn read_hot_again(&self, ids: &BTreeSet<u128>, segments: &[Arc<Segment>]) -> Result<(), Error> {
        let (mut hot, end) = {
            let state = self.state.read();
            if !state.hot.holds_any(ids) {
                return Ok(());
            }
            (Hot::at(state.hot.first), state.hot.end)
        };
        self.read(&mut hot, end, usize::MAX, segments)?;
        let mut state = self.state.write();
        // What was appended meanwhile.
        self.read(&mut hot, state.hot.end, usize::MAX, segments)?;
        state.hot = hot;
        Ok(())
    }
}
