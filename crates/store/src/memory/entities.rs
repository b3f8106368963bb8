//! Entities and the audit trail in memory.

use std::collections::VecDeque;

use parking_lot::RwLock;

use crate::audit::{self, Check, Entry, Event, GENESIS, Report, Wanted};
use crate::config::history::{self, Author, Changed, MAX_REVISIONS, Revision};
use crate::config::{self, Change, ConfigStore, Contents, Kind};

/// Entities in memory.
#[derive(Debug, Default)]
pub struct MemoryConfig(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    contents: Contents,
    history: VecDeque<Revision>,
    trail: Vec<Entry>,
}

impl Kept {
    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            let number = self.trail.len() as u64 + 1;
            let last = self.trail.last().map_or(GENESIS, |last| last.link);
            let link = event.link(number, &last);
            self.trail.push(Entry {
                number,
                event,
                link,
            });
        }
    }
}

impl ConfigStore for MemoryConfig {
    fn revision(&self) -> Result<u64, config::Error> {
        Ok(self.0.read().contents.revision)
    }

    fn read(&self) -> Result<Contents, config::Error> {
        Ok(self.0.read().contents.clone())
    }

    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, config::Error> {
        let kept = &mut *self.0.write();
        let next = kept.contents.with(changes)?;
        let changed = changes.iter().map(|change| {
            let before = kept.contents.find(change.kind, &change.id);
            Changed::of(change, before.map(|entity| &*entity.body))
        });
        let user = |name: &str| Some(next.find(Kind::User, name)?.body.clone());
        let events = changes.iter().flat_map(|change| {
            let before = kept.contents.find(change.kind, &change.id);
            let before = before.map(|entity| &*entity.body);
            audit::of_commit((author, next.revision), change, before, &user)
        });
        let events: Vec<Event> = events.collect();
        kept.history.push_back(Revision {
            number: next.revision,
            author: author.clone(),
            changes: changed.collect(),
        });
        if kept.history.len() > MAX_REVISIONS {
            kept.history.pop_front();
        }
        kept.note(events);
        kept.contents = next;
        Ok(kept.contents.revision)
    }

    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, config::Error> {
        let kept = self.0.read();
        let newest = kept.history.iter().rev().filter(|one| one.number < before);
        Ok(newest.take(limit.min(history::MAX_PAGE)).cloned().collect())
    }

    fn note(&self, events: &[Event]) -> Result<(), config::Error> {
        self.0.write().note(events.to_vec());
        Ok(())
    }

    fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, config::Error> {
        let kept = self.0.read();
        let admitted = kept.trail.iter().filter(|entry| wanted.admits(entry));
        let mut entries: Vec<Entry> = admitted.cloned().collect();
        if !wanted.ascending {
            entries.reverse();
        }
        entries.truncate(wanted.limit.min(audit::MAX_PAGE));
        Ok(entries)
    }

    fn trail_end(&self) -> Result<u64, config::Error> {
        Ok(self.0.read().trail.len() as u64)
    }

    fn verify_trail(&self) -> Result<Report, config::Error> {
        let kept = self.0.read();
        let mut check = Check::begin(0, GENESIS);
        kept.trail.iter().for_each(|entry| check.next(entry));
        let head = kept
            .trail
            .last()
            .map_or((0, GENESIS), |last| (last.number, last.link));
        Ok(check.end(head))
    }
}
