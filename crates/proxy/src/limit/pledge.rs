//! What requests that were sent hold, noted where it outlives the process: after a crash, what has
//! left no record counts as drawn.
//!
//! A request notes what it holds before it is sent, in one slot or a few; when its record is stored
//! the slots are used again. So the entries that have no record are those that were under way, or
//! whose record was lost, and the two together say what was drawn: a record is believed before an
//! entry of the same id. An entry that nobody needs any more is simply written over.

mod entry;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isango_store::memory::MemoryPledges;
use isango_store::pledges::{MAX_ENTRY_BYTES, MAX_SLOTS, PledgeStore};
use isango_types::{Gateway, RecordId};
use parking_lot::Mutex;

use super::permit::Lease;
use entry::Share;
pub(super) use entry::{Bytes, Entry, text, values};

/// The table of all pledges.
pub(crate) struct Pledges {
    store: Arc<dyn PledgeStore>,
    slots: Mutex<Slots>,
    /// How often something could not be noted.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    /// Below `next`, those that nobody uses.
    free: Vec<u32>,
    /// Of these, those with an entry whose record is stored.
    returned: Vec<u32>,
    /// From here on nobody has used any.
    next: u32,
    /// Those whose requests have left no record; they count until their windows are over.
    lost: Vec<u32>,
}

impl std::fmt::Debug for Pledges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pledges")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Default for Pledges {
    fn default() -> Self {
        Self::new(Arc::new(MemoryPledges::default()))
    }
}

/// Entries by the exchange that wrote them, with their slots.
pub(super) type Unreturned = HashMap<RecordId, Vec<(u32, Entry<'static>)>>;

impl Pledges {
    pub(crate) fn new(store: Arc<dyn PledgeStore>) -> Self {
        Self {
            store,
            slots: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// How often something could not be noted, since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What another process has left. Called once, before the first request; until
    /// [`Pledges::keep`] no slot is given out.
    pub(super) fn load(&self) -> io::Result<Unreturned> {
        let entries = self.store.entries()?;
        let end = entries.last().map_or(0, |(slot, _)| slot + 1);
        let mut slots = self.slots.lock();
        *slots = Slots {
            next: end,
            lost: (0..end).collect(),
            ..Slots::default()
        };
        drop(slots);
        Ok(by_id(entries.into_iter()))
    }

    /// What requests of this process have left that ended without a record, and those of
    /// [`Pledges::load`] that were kept; and their slots, also of what cannot be read.
    pub(super) fn lost(&self) -> io::Result<(HashSet<u32>, Unreturned)> {
        let lost = self.slots.lock().lost.clone();
        let entries = lost.iter().filter_map(|slot| {
            let entry = self.store.get(*slot).transpose()?;
            Some(entry.map(|entry| (*slot, entry)))
        });
        let entries = by_id(entries.collect::<io::Result<Vec<_>>>()?.into_iter());
        Ok((lost.into_iter().collect(), entries))
    }

    /// Of those that were lost, and that are known, only the `live` ones still count; the slots of
    /// the others are used again.
    pub(super) fn keep(&self, is_known: impl Fn(u32) -> bool, live: &HashSet<u32>) {
        let mut slots = self.slots.lock();
        let goes = |slot: &u32| is_known(*slot) && !live.contains(slot);
        let (gone, lost) = slots.lost.iter().partition(|slot| goes(slot));
        slots.lost = lost;
        slots.returned.extend::<Vec<u32>>(gone);
    }

    /// The slots with entries whose records are stored by now; nobody else gets them.
    pub(super) fn take_returned(&self) -> Vec<u32> {
        std::mem::take(&mut self.slots.lock().returned)
    }

    /// Empties such slots, for others to use.
    pub(super) fn empty(&self, returned: Vec<u32>) {
        for slot in &returned {
            if let Err(error) = self.store.clear(*slot) {
                self.failed(&error);
            }
        }
        self.slots.lock().free.extend(returned);
    }

    fn take(&self) -> Option<u32> {
        let mut slots = self.slots.lock();
        // What is written over need not be emptied.
        let used = slots.returned.pop();
        if let Some(slot) = used.or_else(|| slots.free.pop()) {
            return Some(slot);
        }
        let slot = slots.next;
        slots.next = (slot + 1).min(MAX_SLOTS);
        (slot < MAX_SLOTS).then_some(slot)
    }

    fn failed(&self, why: &dyn std::fmt::Display) {
        if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                %why,
                "what requests hold of limits cannot be noted: a crash would give it back"
            );
        }
    }
}

fn by_id(entries: impl Iterator<Item = (u32, Vec<u8>)>) -> Unreturned {
    let mut by_id = Unreturned::new();
    for (slot, entry) in entries {
        if let Some(entry) = Entry::read(&entry) {
            by_id.entry(entry.id).or_default().push((slot, entry));
        }
    }
    by_id
}

/// What one request has noted. Dropped, its record is taken for lost, and it goes on counting.
#[derive(Debug)]
pub(crate) struct Pledge {
    pledges: Arc<Pledges>,
    slots: Vec<u32>,
}

impl Pledge {
    pub(super) const fn new(pledges: Arc<Pledges>) -> Self {
        Self {
            pledges,
            slots: Vec::new(),
        }
    }

    /// Notes what a request holds now, in the place of what it noted before.
    pub(super) fn note(&mut self, id: RecordId, gateway: &Gateway, leases: &[Lease]) {
        let shares: Vec<Share<'_>> = leases.iter().filter_map(Lease::share).collect();
        let mut used = 0;
        self.put(id, gateway, &shares, &mut used);
        for slot in self.slots.split_off(used) {
            self.void_slot(slot);
        }
    }

    /// Writes `shares` to one slot, or halves of them to two.
    fn put(&mut self, id: RecordId, gateway: &Gateway, shares: &[Share<'_>], used: &mut usize) {
        let (account, name) = (&*gateway.account, &*gateway.id);
        let mut bytes = Vec::with_capacity(256);
        entry::write(&mut bytes, id, [account, name], shares);
        if shares.is_empty() {
            return;
        }
        if bytes.len() > MAX_ENTRY_BYTES && shares.len() > 1 {
            let (left, right) = shares.split_at(shares.len() / 2);
            self.put(id, gateway, left, used);
            return self.put(id, gateway, right, used);
        }
        if *used == self.slots.len() {
            match self.pledges.take() {
                Some(slot) => self.slots.push(slot),
                None => return self.pledges.failed(&"too many requests are under way"),
            }
        }
        if let Err(error) = self.pledges.store.put(self.slots[*used], &bytes) {
            self.pledges.failed(&error);
        }
        *used += 1;
    }

    /// Its record is stored: the slots may be written over.
    pub(crate) fn returned(mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.pledges.slots.lock().returned.extend(slots);
    }

    /// It drew nothing and leaves no record.
    pub(crate) fn void(mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.void_slot(slot);
        }
    }

    fn void_slot(&self, slot: u32) {
        if let Err(error) = self.pledges.store.clear(slot) {
            self.pledges.failed(&error);
        }
        self.pledges.slots.lock().free.push(slot);
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        if !slots.is_empty() {
            self.pledges.slots.lock().lost.extend(slots);
        }
    }
}

impl Lease {
    /// What is noted of it; `None`: nothing outlives the process.
    fn share(&self) -> Option<Share<'_>> {
        let (decision, amount) = self.pledged()?;
        Some(Share {
            rule: decision.rule.as_ref().into(),
            bucket: decision.bucket.as_slice().into(),
            unit: decision.unit,
            at: decision.at,
            amount,
        })
    }
}
