//! Every role in memory: the reference that other backends are compared with. Keeps everything,
//! scans everything, forgets at exit.

mod entities;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use isango_types::key::Sha256;
use isango_types::{Record, RecordId, Timestamp};
use parking_lot::RwLock;

use crate::analytics::{Aggregate, Answer, List, Listing, Progress, model};
use crate::cache::{self, CacheStore, Entry, Key, Peek, Purge, Size, Stats};
use crate::checkpoint::CheckpointStore;
use crate::exports::{self, Aside, Buried, ExportStore, Saved};
use crate::filter::Filter;
use crate::later::{Deletion, Later, Patch, Rating};
use crate::logs::{
    Error, Gap, LogReader, LogWriter, MAX_PAGE, Order, Page, Position, Query, strip_bodies,
};
use crate::outbox::{self, Letter, MAX_WAITING, Outbox, Put};
use crate::pledges::{self, PledgeStore};
use crate::row::Row;
use crate::sessions::{self, MAX_OF_USER, MAX_SESSIONS, SessionStore, StoredSession};
use crate::spill::Spill;

pub use self::entities::MemoryConfig;

/// Sessions in memory.
#[derive(Debug, Default)]
pub struct MemorySessions(RwLock<Vec<StoredSession>>);

impl SessionStore for MemorySessions {
    fn put(&self, session: &StoredSession) -> Result<(), sessions::Error> {
        let sessions = &mut *self.0.write();
        sessions.push(session.clone());
        let of_user = |one: &StoredSession| one.user == session.user;
        if sessions.iter().filter(|one| of_user(one)).count() > MAX_OF_USER {
            remove_oldest(sessions, of_user);
        }
        if sessions.len() > MAX_SESSIONS {
            remove_oldest(sessions, |_| true);
        }
        Ok(())
    }

    fn find(&self, sha256: &Sha256) -> Result<Option<StoredSession>, sessions::Error> {
        let sessions = self.0.read();
        Ok(sessions.iter().find(|one| one.sha256 == *sha256).cloned())
    }

    fn seen(&self, sha256: &Sha256, at: Timestamp) -> Result<(), sessions::Error> {
        let mut sessions = self.0.write();
        let found = sessions.iter_mut().find(|one| one.sha256 == *sha256);
        found.into_iter().for_each(|session| session.seen_at = at);
        Ok(())
    }

    fn remove(&self, sha256: &Sha256) -> Result<bool, sessions::Error> {
        let mut sessions = self.0.write();
        let before = sessions.len();
        sessions.retain(|one| one.sha256 != *sha256);
        Ok(sessions.len() < before)
    }

    fn expire(
        &self,
        created_before: Timestamp,
        seen_before: Timestamp,
    ) -> Result<usize, sessions::Error> {
        let mut sessions = self.0.write();
        let before = sessions.len();
        sessions.retain(|one| one.created_at >= created_before && one.seen_at >= seen_before);
        Ok(before - sessions.len())
    }
}

/// Removes the session that was seen least recently, of those that count.
fn remove_oldest(sessions: &mut Vec<StoredSession>, counts: impl Fn(&StoredSession) -> bool) {
    let counting = sessions.iter().enumerate().filter(|(_, one)| counts(one));
    let oldest = counting.min_by_key(|(_, one)| one.seen_at);
    if let Some((at, _)) = oldest {
        sessions.remove(at);
    }
}

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryLogs {
    appended: RwLock<Vec<Record>>,
    later: RwLock<BTreeMap<RecordId, Later>>,
    /// Each with the position before which it lies.
    gaps: RwLock<Vec<(u64, Gap)>>,
}

impl MemoryLogs {
    /// The gap markers, in the order of their append.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let gaps = self.gaps.read();
        gaps.iter().map(|(_, gap)| gap.clone()).collect()
    }

    /// A record as it is now.
    fn dressed(&self, record: &Record) -> Record {
        let mut record = record.clone();
        if let Some(later) = self.later.read().get(&record.id) {
            later.dress(&mut record);
        }
        record
    }

    /// The rows of the records that match, each once.
    fn rows(
        &self,
        filter: &Filter,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Vec<Row> {
        let query = Query {
            filter: filter.clone(),
            since,
            until,
            ..Query::default()
        };
        let appended = self.appended.read();
        let dressed = appended.iter().map(|record| self.dressed(record));
        let found = dressed.filter(|record| query.admits(record));
        let rows: BTreeMap<RecordId, Row> =
            found.map(|record| (record.id, Row::of(&record))).collect();
        rows.into_values().collect()
    }
}

impl LogWriter for MemoryLogs {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        self.appended.write().extend_from_slice(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        let at = self.appended.read().len() as u64;
        self.gaps.write().push((at, gap.clone()));
        Ok(())
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        patch.check()?;
        if self.get(id)?.is_none() {
            return Ok(false);
        }
        self.later.write().entry(id).or_default().apply(patch)?;
        Ok(true)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        let mut later = self.later.write();
        let news = ids
            .iter()
            .filter(|id| later.entry(**id).or_default().delete(how));
        Ok(news.count() as u64)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        let mut later = self.later.write();
        let mut is_restored = |id: &&RecordId| later.get_mut(id).is_some_and(Later::restore);
        Ok(ids.iter().filter(|id| is_restored(id)).count() as u64)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        let mut later = self.later.write();
        for (id, rating) in ratings {
            later.entry(*id).or_default().rating = Some(rating.clone());
        }
        Ok(ratings.len() as u64)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl LogReader for MemoryLogs {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let appended = self.appended.read();
        let found = appended.iter().find(|record| record.id == id);
        Ok(found
            .map(|record| self.dressed(record))
            .filter(|record| !record.is_erased()))
    }

    fn search(&self, query: &Query, _progress: &Progress) -> Result<Page, Error> {
        let appended = self.appended.read();
        let found: BTreeMap<RecordId, Record> = appended
            .iter()
            .filter(|record| query.is_past_cursor(record.id))
            .map(|record| (record.id, self.dressed(record)))
            .filter(|(_, record)| query.admits(record))
            .collect();
        let ordered: Vec<Record> = match query.order {
            Order::NewestFirst => found.into_values().rev().collect(),
            Order::OldestFirst => found.into_values().collect(),
        };
        let more = ordered.len() > query.page_size();
        let mut records: Vec<Record> = ordered.into_iter().take(query.page_size()).collect();
        if !query.with_bodies {
            records.iter_mut().for_each(strip_bodies);
        }
        let next = if more {
            records.last().map(|record| record.id)
        } else {
            None
        };
        Ok(Page { records, next })
    }

    fn list(&self, list: &List, _progress: &Progress) -> Result<Listing, Error> {
        let rows = self.rows(&list.filter, list.since, list.until);
        Ok(model::list(rows, list))
    }

    fn aggregate(&self, question: &Aggregate, _progress: &Progress) -> Result<Answer, Error> {
        let rows = self.rows(&question.filter, question.since, question.until);
        Ok(model::aggregate(&rows, question))
    }

    fn end(&self) -> Result<Position, Error> {
        Ok(Position::after(self.appended.read().len() as u64))
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        let appended = self.appended.read();
        let start = usize::try_from(from.count())
            .unwrap_or(usize::MAX)
            .min(appended.len());
        let end = appended
            .len()
            .min(start.saturating_add(limit.clamp(1, MAX_PAGE)));
        let passed = appended[start..end].iter();
        let records = passed.map(|record| self.dressed(record)).collect();
        Ok((records, Position::after(end as u64)))
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        let between = from.count()..to.count();
        let gaps = self.gaps.read();
        let found = gaps.iter().filter(|(at, _)| between.contains(at));
        Ok(found.map(|(_, gap)| gap.dropped).sum())
    }
}

/// Places of exports in memory.
#[derive(Debug, Default)]
pub struct MemoryExports {
    saved: RwLock<BTreeMap<Box<str>, Saved>>,
    /// Each with its number; the next one has the next.
    buried: RwLock<(u64, Vec<(u64, Buried)>)>,
}

impl ExportStore for MemoryExports {
    fn load(&self, job: &str) -> Result<Option<Saved>, exports::Error> {
        Ok(self.saved.read().get(job).cloned())
    }

    fn save(&self, job: &str, saved: &Saved) -> Result<(), exports::Error> {
        self.saved.write().insert(job.into(), saved.clone());
        Ok(())
    }

    fn remove(&self, job: &str) -> Result<(), exports::Error> {
        self.saved.write().remove(job);
        Ok(())
    }

    fn bury(&self, buried: &Buried) -> Result<(), exports::Error> {
        let (last, all) = &mut *self.buried.write();
        *last += 1;
        all.push((*last, buried.clone()));
        Ok(())
    }

    fn buried(&self) -> Result<Vec<Aside>, exports::Error> {
        let all = self.buried.read();
        let told = all.1.iter().map(|(id, buried)| Aside {
            id: *id,
            job: buried.job.clone(),
            name: buried.name.clone(),
            at: buried.at,
            why: buried.why.clone(),
            bytes: buried.batch.len() as u64,
        });
        Ok(told.collect())
    }

    fn exhume(&self, id: u64) -> Result<Option<Buried>, exports::Error> {
        let all = self.buried.read();
        let found = all.1.iter().find(|(of, _)| *of == id);
        Ok(found.map(|(_, buried)| buried.clone()))
    }

    fn discard(&self, id: u64) -> Result<bool, exports::Error> {
        let all = &mut self.buried.write().1;
        let before = all.len();
        all.retain(|(of, _)| *of != id);
        Ok(all.len() < before)
    }
}

/// Answers in memory, without a limit.
#[derive(Debug, Default)]
pub struct MemoryCache(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<Key, Arc<Entry>>,
    generation: u64,
}

impl Kept {
    fn remove(&mut self, goes: impl Fn(&Entry) -> bool) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !goes(entry));
        (before - self.entries.len()) as u64
    }
}

impl CacheStore for MemoryCache {
    fn peek(&self, key: &Key) -> Peek {
        match self.0.read().entries.get(key) {
            Some(entry) => Peek::Here(Arc::clone(entry)),
            None => Peek::Nowhere,
        }
    }

    fn get(&self, key: &Key) -> Result<Option<Arc<Entry>>, cache::Error> {
        Ok(self.0.read().entries.get(key).cloned())
    }

    fn put(&self, entry: Arc<Entry>, generation: u64) -> Result<(), cache::Error> {
        let mut kept = self.0.write();
        if kept.generation == generation {
            kept.entries.insert(entry.key, entry);
        }
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.0.read().generation
    }

    fn purge(&self, what: &Purge) -> Result<u64, cache::Error> {
        let mut kept = self.0.write();
        kept.generation += 1;
        Ok(kept.remove(|entry| what.names(entry)))
    }

    fn expire(&self, now: Timestamp) -> Result<u64, cache::Error> {
        Ok(self.0.write().remove(|entry| entry.keep_until <= now))
    }

    fn stats(&self) -> Result<Stats, cache::Error> {
        let kept = self.0.read();
        let bytes: usize = kept.entries.values().map(|entry| entry.weight()).sum();
        let memory = Size {
            entries: kept.entries.len() as u64,
            bytes: bytes as u64,
            limit: u64::MAX,
        };
        Ok(Stats { memory, disk: None })
    }

    fn flush(&self) -> Result<(), cache::Error> {
        Ok(())
    }
}

/// Letters in memory.
#[derive(Debug, Default)]
pub struct MemoryOutbox(RwLock<Letters>);

#[derive(Debug, Default)]
struct Letters {
    waiting: Vec<Letter>,
    taken: BTreeMap<Box<str>, Timestamp>,
}

impl Outbox for MemoryOutbox {
    fn put(&self, letters: &[Letter]) -> Result<Put, outbox::Error> {
        let mut kept = self.0.write();
        let mut put = Put::default();
        for letter in letters {
            if kept
                .taken
                .get(&letter.key)
                .is_none_or(|until| *until <= letter.at)
            {
                kept.taken.insert(letter.key.clone(), letter.until);
                kept.waiting.push(letter.clone());
                put.taken.push(letter.id);
            }
        }
        while kept.waiting.len() > MAX_WAITING {
            let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
            for (at, letter) in kept.waiting.iter().enumerate() {
                let of = (&*letter.account, &*letter.gateway);
                counts.entry(of).or_insert((0, at)).0 += 1;
            }
            // Of those that have most, the one that has had it for longest.
            let most = counts
                .into_values()
                .max_by_key(|(count, first)| (*count, usize::MAX - *first));
            let old = kept.waiting.remove(most.map_or(0, |(_, first)| first));
            put.dropped.push(old.id);
        }
        Ok(put)
    }

    fn waiting(&self) -> Result<Vec<Letter>, outbox::Error> {
        Ok(self.0.read().waiting.clone())
    }

    fn remove(&self, id: RecordId) -> Result<(), outbox::Error> {
        self.0.write().waiting.retain(|letter| letter.id != id);
        Ok(())
    }

    fn taken(&self, now: Timestamp) -> Result<Vec<(Box<str>, Timestamp)>, outbox::Error> {
        let mut kept = self.0.write();
        kept.taken.retain(|_, until| *until > now);
        Ok(kept.taken.clone().into_iter().collect())
    }
}

/// Pledges in memory.
#[derive(Debug, Default)]
pub struct MemoryPledges(RwLock<BTreeMap<u32, Box<[u8]>>>);

impl PledgeStore for MemoryPledges {
    fn put(&self, slot: u32, entry: &[u8]) -> io::Result<()> {
        pledges::check(slot, entry)?;
        self.0.write().insert(slot, entry.into());
        Ok(())
    }

    fn clear(&self, slot: u32) -> io::Result<()> {
        pledges::check(slot, &[])?;
        self.0.write().remove(&slot);
        Ok(())
    }

    fn get(&self, slot: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.read().get(&slot).map(|entry| entry.to_vec()))
    }

    fn entries(&self) -> io::Result<Vec<pledges::Kept>> {
        let kept = self.0.read();
        Ok(kept.iter().map(|(n, entry)| (*n, entry.to_vec())).collect())
    }
}

/// A checkpoint in memory.
#[derive(Debug, Default)]
pub struct MemoryCheckpoint(RwLock<Option<Box<[u8]>>>);

impl CheckpointStore for MemoryCheckpoint {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.read().as_ref().map(|bytes| bytes.to_vec()))
    }

    fn save(&self, bytes: &[u8]) -> io::Result<()> {
        *self.0.write() = Some(bytes.into());
        Ok(())
    }
}

/// Batches as JSON, in memory.
#[derive(Debug)]
pub struct MemorySpill {
    max_bytes: u64,
    batches: RwLock<VecDeque<Vec<u8>>>,
}

impl MemorySpill {
    /// One that is full with so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            batches: RwLock::default(),
        }
    }
}

impl Spill for MemorySpill {
    fn has_room(&self) -> bool {
        self.bytes() < self.max_bytes
    }

    fn bytes(&self) -> u64 {
        let batches = self.batches.read();
        batches.iter().map(|batch| batch.len() as u64).sum()
    }

    fn put(&self, batch: &[Record]) -> Result<(), Error> {
        let mut lines = Vec::new();
        for record in batch {
            record.write_json(&mut lines)?;
        }
        self.batches.write().push_back(lines);
        Ok(())
    }

    fn take(&self) -> Result<Option<Vec<Record>>, Error> {
        let Some(lines) = self.batches.write().pop_front() else {
            return Ok(None);
        };
        let records = serde_json::Deserializer::from_slice(&lines).into_iter();
        Ok(Some(records.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_conforms() {
        crate::conformance::logs(MemoryLogs::default);
        crate::conformance::analytics(MemoryLogs::default);
        crate::conformance::cache(MemoryCache::default);
        crate::conformance::outbox(MemoryOutbox::default);
        crate::conformance::config(MemoryConfig::default);
        crate::conformance::pledges(&MemoryPledges::default());
        crate::conformance::checkpoint(&MemoryCheckpoint::default());
        crate::conformance::sessions(MemorySessions::default);
        crate::conformance::spill(&MemorySpill::new(8 << 10));
    }

    #[test]
    fn gap_markers_are_kept_in_order() {
        let logs = MemoryLogs::default();
        for dropped in [3, 1] {
            let at = isango_types::Timestamp::from_micros(dropped);
            logs.append_gap(&Gap {
                dropped,
                reason: "queue full".into(),
                at,
            })
            .unwrap();
        }
        assert_eq!(
            logs.gaps()
                .iter()
                .map(|gap| gap.dropped)
                .collect::<Vec<_>>(),
            [3, 1]
        );
    }
}
