//! Brings counters back from the records after a restart, and compares them with the records while
//! the gateway runs. Both count what the records say into empty buckets and then set, so that
//! nothing is ever counted twice.
//!
//! What the records say is kept up while they are stored, and saved now and then (`checkpoint`), so
//! that a start reads only what follows, and what retention has dropped meanwhile still counts.

mod checkpoint;
mod reading;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use isango_store::logs::{Error, LogReader, Position};
use isango_types::limit::{Decision, Unit};
use isango_types::{Gateway, Limit, Record, Snapshot, Timestamp};
use isango_wire::tokens;

use self::checkpoint::{Checkpoint, Saved};
use self::reading::{Reading, oldest};
use super::bucket::State;
use super::pledge::{Entry, Pledge, Unreturned};
use super::time::Present;
use super::{Limits, OTHERS, definition, key};

/// Why counters could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The record store cannot be read.
    #[error("the counters of limits cannot be rebuilt: {0}")]
    Store(#[from] Error),
    /// What was held when a process ended, or drawn by then, cannot be read or saved.
    #[error("what is noted of limits cannot be read or saved: {0}")]
    Notes(#[from] std::io::Error),
}

/// A bucket whose counter is not what the records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Account and id of the gateway, and id of the limit: `local/support/daily`.
    pub rule: Box<str>,
    /// What the counter has drawn in the window under way, in the unit.
    pub counter: u64,
    /// What the records say.
    pub ledger: u64,
}

/// What the records say of each bucket, and of requests that left none what they had noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(HashMap<Box<str>, Account>);

#[derive(Clone, Debug)]
struct Account {
    rule: Box<str>,
    gateway: Arc<Gateway>,
    limit: Arc<Limit>,
    values: super::Values,
    state: State,
}

/// What counters are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// What was saved of the records, and those that follow.
    Checkpoint,
    /// The records of the windows alone: also what was saved may be wrong. Of windows that began
    /// before the oldest record, of which retention may have dropped some, it is only told where a
    /// counter has less than the records.
    Records,
}

/// Which limits are counted.
type Due<'d> = &'d dyn Fn(&Arc<Limit>) -> bool;

/// The limits of a gateway whose counters outlive the process.
fn counted(gateway: &Gateway) -> impl Iterator<Item = &Arc<Limit>> {
    let limits = gateway.limits.iter();
    limits.filter(|limit| limit.unit != Unit::Concurrent)
}

impl Ledger {
    /// Counts all records that can matter to the windows under way, but for what the checkpoint
    /// has; that is taken from there. Requests that left a record go from `unreturned`.
    fn read(reading: &Reading<'_>, unreturned: &mut Unreturned) -> Result<Self, Error> {
        let time = reading.time;
        let mut ledger = Self::default();
        let mut known = HashSet::new();
        for (gateway, limit, saved) in reading.limits() {
            for bucket in saved.map_or(&[][..], |(_, buckets)| buckets) {
                let account = ledger.account(gateway, limit, &bucket.values, time);
                let pieces = bucket.drawn.iter().copied();
                pieces.for_each(|piece| account.state.add_piece(limit, piece));
            }
            known.extend(saved.map(|_| Arc::as_ptr(limit)));
        }
        let mut count = |record: &Record, is_known: bool| {
            unreturned.remove(&record.id);
            let gateway = reading.config.gateway(&record.account, &record.gateway);
            if let Some(gateway) = gateway {
                let is_due = |limit: &Arc<Limit>| known.contains(&Arc::as_ptr(limit)) == is_known;
                ledger.count(gateway, &record.limits, (time, &is_due));
            }
        };
        reading.whole(|record| count(record, false))?;
        reading.rest(|record| count(record, true))?;
        Ok(ledger)
    }

    /// Counts what one exchange drew from the limits of its gateway that are `due`.
    fn count(
        &mut self,
        gateway: &Arc<Gateway>,
        decisions: &[Decision],
        (time, is_due): (Present, Due<'_>),
    ) {
        for decision in decisions.iter().filter(|decision| decision.charged > 0) {
            let limit = limit_of(gateway, &decision.rule, decision.unit);
            let is_split_so = |limit: &&Arc<Limit>| {
                decision.bucket.len() == limit.by.len() || is_of_others(&decision.bucket)
            };
            let limit = limit.filter(is_split_so);
            if let Some(limit) = limit.filter(|limit| is_due(limit)) {
                let account = self.account(gateway, limit, &decision.bucket, time);
                account.state.roll(limit, time);
                account.state.restore(limit, decision.at, decision.charged);
            }
        }
    }

    /// Counts what requests that left no record had noted; what counts in no window any more goes
    /// from `unreturned`.
    fn count_unreturned(&mut self, config: &Snapshot, unreturned: &mut Unreturned, time: Present) {
        unreturned.retain(|_, entries| {
            entries.retain(|(_, entry)| self.count_entry(config, entry, time));
            !entries.is_empty()
        });
    }

    /// Forgets buckets that hold nothing at `time`.
    fn sweep(&mut self, time: Present) {
        self.0
            .retain(|_, account| !account.state.is_idle(&account.limit, time));
    }

    /// Counts what a request that left no record had noted; whether it counts in any window.
    fn count_entry(&mut self, config: &Snapshot, entry: &Entry<'_>, time: Present) -> bool {
        let Some(gateway) = config.gateway(&entry.account, &entry.gateway) else {
            return false;
        };
        let mut counts = false;
        for share in &entry.shares {
            let limit = limit_of(gateway, &share.rule, share.unit);
            let is_in = |limit: &&Arc<Limit>| limit.window.around(time.least).0 <= share.at;
            if let Some(limit) = limit.filter(is_in) {
                let account = self.account(gateway, limit, &share.bucket, time);
                account.state.restore(limit, share.at, share.amount);
                counts = true;
            }
        }
        counts
    }

    fn account(
        &mut self,
        gateway: &Arc<Gateway>,
        limit: &Arc<Limit>,
        values: &[Option<Box<str>>],
        time: Present,
    ) -> &mut Account {
        let key = key(gateway, limit, values);
        self.0.entry(key.into()).or_insert_with(|| Account {
            rule: format!("{}/{}/{}", gateway.account, gateway.id, limit.id).into(),
            gateway: Arc::clone(gateway),
            limit: Arc::clone(limit),
            values: values.to_vec(),
            state: State::new(limit, time),
        })
    }
}

/// The limit of a name, if it still counts the same.
fn limit_of<'g>(gateway: &'g Gateway, rule: &str, unit: Unit) -> Option<&'g Arc<Limit>> {
    let mut limits = gateway.limits.iter();
    limits.find(|limit| *limit.id == *rule && limit.unit == unit)
}

/// Whether there is a limit of that name, whatever it counts.
fn is_named(gateway: &Gateway, rule: &str) -> bool {
    gateway.limits.iter().any(|limit| *limit.id == *rule)
}

/// Whether these are the values of the bucket that new values share once there are too many.
fn is_of_others(values: &[Option<Box<str>>]) -> bool {
    matches!(values, [Some(value)] if **value == *OTHERS)
}

/// The slots of what is left.
fn slots(unreturned: &Unreturned) -> HashSet<u32> {
    let entries = unreturned.values().flatten();
    entries.map(|(slot, _)| *slot).collect()
}

/// What the records say, kept up while they are stored: a start need not read all of them again.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    ledger: Ledger,
    /// Buckets there were when empty ones were forgotten last.
    swept: usize,
    /// What was saved last.
    saved: Option<Vec<u8>>,
    /// There is something that was saved, by this process or before.
    is_kept: bool,
    /// Since when limits are counted as they are defined, by definition: one that changes while the
    /// process runs begins anew.
    since: HashMap<Box<str>, Timestamp>,
}

impl Recorded {
    /// Buckets that are counted before empty ones are looked for.
    const FEW: usize = 1_024;

    fn count(&mut self, gateway: &Arc<Gateway>, decisions: &[Decision], time: Present) {
        let is_counted = |limit: &Arc<Limit>| limit.unit != Unit::Concurrent;
        self.ledger.count(gateway, decisions, (time, &is_counted));
        if self.ledger.0.len() > 2 * self.swept + Self::FEW {
            self.sweep(time);
        }
    }

    fn sweep(&mut self, time: Present) {
        self.ledger.sweep(time);
        self.swept = self.ledger.0.len();
    }

    /// All of it, of the records before `position`. What is configured is in it even if nothing was
    /// drawn. `None`: there is nothing to save.
    fn write(&mut self, config: &Snapshot, position: Position, time: Present) -> Option<Vec<u8>> {
        self.sweep(time);
        let now = time.now;
        let mut checkpoint = Checkpoint::at(position, time.least);
        for gateway in config.gateways() {
            for limit in counted(gateway) {
                let since = self.since.entry(definition(gateway, limit).into());
                checkpoint.covers((gateway, limit), *since.or_insert(now));
            }
        }
        for account in self.ledger.0.values() {
            // As it is configured now: what else is asked of requests may have changed.
            let limits = config.gateway(&account.gateway.account, &account.gateway.id);
            let unit = account.limit.unit;
            let limit = limits.and_then(|gateway| limit_of(gateway, &account.limit.id, unit));
            let limit = match limit {
                // What it counted before is nothing to it.
                Some(limit)
                    if definition(&account.gateway, limit)
                        != definition(&account.gateway, &account.limit) =>
                {
                    continue;
                }
                Some(limit) => limit,
                // Nor if that was of another unit: what is saved by its name is read as its own.
                None if limits.is_some_and(|gateway| is_named(gateway, &account.limit.id)) => {
                    continue;
                }
                None => &account.limit,
            };
            let since = self.since.get(&*definition(&account.gateway, limit));
            let since = since.copied().unwrap_or(now);
            let buckets = checkpoint.covers((&account.gateway, limit), since);
            buckets.push(Saved {
                values: account.values.clone(),
                drawn: account.state.pieces(),
            });
        }
        (self.is_kept || !checkpoint.is_empty()).then(|| checkpoint.to_bytes())
    }
}

/// What exchanges drew whose records are about to be stored.
#[derive(Default)]
pub(crate) struct Booked {
    /// Places in the batch, and whose limits it was drawn from.
    pub(crate) gateways: Vec<(usize, Arc<Gateway>)>,
    pub(crate) pledges: Vec<Pledge>,
}

impl Limits {
    /// Stores a batch of records, and counts what is `booked` of it once they are stored; then their
    /// pledges are given back.
    ///
    /// # Errors
    /// Those of `append`.
    pub(crate) fn store<E>(
        &self,
        batch: &[Record],
        booked: &mut Booked,
        now: Timestamp,
        append: impl FnOnce(&[Record]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Nobody else looks between a record and its count.
        let mut recorded = self.recorded.lock();
        append(batch)?;
        let time = self.time.present(now);
        for (at, gateway) in booked.gateways.drain(..) {
            let decisions = batch.get(at).map_or(&[][..], |record| &record.limits);
            recorded.count(&gateway, decisions, time);
        }
        booked.pledges.drain(..).for_each(Pledge::returned);
        Ok(())
    }

    /// Saves what the records say of every limit, if that has changed.
    ///
    /// # Errors
    /// The records cannot be read, or it cannot be saved.
    pub(crate) fn save(
        &self,
        config: &Snapshot,
        reader: &dyn LogReader,
        now: Timestamp,
    ) -> Result<(), RestoreError> {
        let time = self.time.present(now);
        let mut recorded = self.recorded.lock();
        let bytes = recorded.write(config, reader.end()?, time);
        let is_new = |bytes: &Vec<u8>| {
            let saved = recorded.saved.as_deref();
            saved.is_none_or(|saved| !checkpoint::is_same(saved, bytes))
        };
        let Some(bytes) = bytes.filter(is_new) else {
            return Ok(());
        };
        // Their records are counted in what is saved, and are not looked for again.
        let returned = self.pledges.take_returned();
        drop(recorded);
        self.pledges.empty(returned);
        self.checkpoint.save(&bytes)?;
        let mut recorded = self.recorded.lock();
        (recorded.saved, recorded.is_kept) = (Some(bytes), true);
        Ok(())
    }

    /// What was saved last; `None`: nothing that can be read.
    fn saved(&self) -> Result<Option<Checkpoint>, RestoreError> {
        let Some(bytes) = self.checkpoint.load()? else {
            return Ok(None);
        };
        let read = Checkpoint::from_bytes(&bytes);
        if read.is_none() {
            tracing::warn!("the counters of limits that were saved cannot be read");
        }
        Ok(read)
    }

    /// Sets every counter to what the records say. Called before the first request.
    pub(crate) fn restore(
        &self,
        config: &Snapshot,
        reader: &dyn LogReader,
        now: Timestamp,
    ) -> Result<usize, RestoreError> {
        let mut limits = config.gateways().flat_map(|gateway| &gateway.limits);
        if limits.any(|limit| limit.unit.is_estimated()) {
            // Meanwhile requests wait for it as for any other first use.
            let warming = std::thread::Builder::new().name("tokenizer".into());
            if let Err(error) = warming.spawn(tokens::warm_up) {
                tracing::warn!(%error, "the tokenizer is not loaded in advance");
            }
        }
        let mut unreturned = self.pledges.load()?;
        let saved = self.saved()?;
        if let Some(saved) = &saved {
            self.time.goes_on_from(saved.at.min(now));
        }
        let time = self.time.present(now);
        let reading = Reading {
            config,
            reader,
            checkpoint: saved.as_ref(),
            time,
        };
        let mut ledger = Ledger::read(&reading, &mut unreturned)?;
        let since = reading.limits().map(|(gateway, limit, saved)| {
            // What is not saved was read from the records of its whole window.
            let since = saved.map_or(Timestamp::default(), |(since, _)| since);
            (definition(gateway, limit).into(), since)
        });
        *self.recorded.lock() = Recorded {
            since: since.collect(),
            swept: ledger.0.len(),
            ledger: ledger.clone(),
            saved: None,
            is_kept: saved.is_some(),
        };
        ledger.count_unreturned(config, &mut unreturned, time);
        self.pledges.keep(|_| true, &slots(&unreturned));
        let count = ledger.0.len();
        for (_, account) in ledger.0 {
            let (gateway, limit) = (&account.gateway, &account.limit);
            match self.bucket(gateway, limit, &account.values, time) {
                Some(bucket) => *bucket.state.lock() = account.state,
                None => {
                    let others = self.others(gateway, limit, time);
                    let mut state = others.state.lock();
                    let pieces = account.state.pieces().into_iter();
                    pieces.for_each(|piece| state.add_piece(limit, piece));
                }
            }
        }
        Ok(count)
    }

    /// What every counter has drawn in its window at `now`, by key.
    pub(super) fn drawn(&self, now: Timestamp) -> HashMap<Box<str>, u64> {
        let time = self.time.present(now);
        let mut drawn = HashMap::new();
        for shard in &self.shards {
            for (key, bucket) in &*shard.lock() {
                let mut state = bucket.state.lock();
                state.roll(&bucket.limit, time);
                drawn.insert(key.clone(), state.sum().used);
            }
        }
        drawn
    }

    /// Compares counters and records, which follow them after a moment: `pause` must be longer than
    /// that moment. What was drawn before it must be on record behind it, and what is on record
    /// must have been drawn. `against` tells which records are read: all, so that a wrong checkpoint is
    /// found, too, or those that follow it.
    pub(crate) fn drift(
        &self,
        (config, against): (&Snapshot, Against),
        reader: &dyn LogReader,
        now: &dyn Fn() -> Timestamp,
        pause: &dyn Fn(),
    ) -> Result<Vec<Drift>, RestoreError> {
        let begun = self.time.present(now()).now;
        let before = self.drawn(begun);
        pause();
        let (known, mut unreturned) = self.pledges.lost()?;
        let saved = match against {
            Against::Checkpoint => self.saved()?,
            Against::Records => None,
        };
        let reading = Reading {
            config,
            reader,
            checkpoint: saved.as_ref(),
            time: self.time.present(begun),
        };
        let mut ledger = Ledger::read(&reading, &mut unreturned)?;
        ledger.count_unreturned(config, &mut unreturned, reading.time);
        let is_known = |slot| known.contains(&slot);
        self.pledges.keep(is_known, &slots(&unreturned));
        let since = match against {
            Against::Checkpoint => Some(Timestamp::default()),
            Against::Records => oldest(reader)?,
        };
        let is_whole =
            |limit: &Limit| since.is_some_and(|since| since < limit.window.around(begun).0);
        let counts_since = self.recorded.lock().since.clone();
        let is_compared = |gateway: &Gateway, limit: &Limit| {
            let since = counts_since.get(&*definition(gateway, limit));
            against == Against::Checkpoint
                || since.is_some_and(|since| *since < limit.window.around(begun).0)
        };
        let ended = self.time.present(now());
        let after = self.drawn(ended.now);
        let mut drifts = Vec::new();
        for (key, account) in &mut ledger.0 {
            if !is_compared(&account.gateway, &account.limit) {
                continue;
            }
            account.state.roll(&account.limit, reading.time);
            let then = account.state.sum().used;
            account.state.roll(&account.limit, ended);
            let recorded = account.state.sum().used;
            let counted = [before.get(key), after.get(key)].map(|drawn| drawn.copied());
            let drift = match counted {
                [Some(early), _] if early > then && is_whole(&account.limit) => Some((early, then)),
                [_, late] if late.unwrap_or(0) < recorded => Some((late.unwrap_or(0), recorded)),
                [_, _] => None,
            };
            if let Some((counter, ledger)) = drift {
                drifts.push(Drift {
                    rule: account.rule.clone(),
                    counter,
                    ledger,
                });
            }
        }
        for (key, counter) in before {
            let rule = key.split('\0').next().unwrap_or("");
            let is_due = configured(config, rule).is_some_and(|(gateway, limit)| {
                // One that counted otherwise before has left buckets behind.
                key.starts_with(&*definition(gateway, limit))
                    && is_whole(limit)
                    && is_compared(gateway, limit)
            });
            if counter > 0 && is_due && !ledger.0.contains_key(&key) {
                drifts.push(Drift {
                    rule: rule.into(),
                    counter,
                    ledger: 0,
                });
            }
        }
        drifts.sort_by(|one, other| one.rule.cmp(&other.rule));
        Ok(drifts)
    }
}

/// A limit by account, gateway and id, if it still stands in the configuration.
fn configured<'c>(config: &'c Snapshot, rule: &str) -> Option<(&'c Gateway, &'c Limit)> {
    let mut names = rule.splitn(3, '/');
    let (account, gateway, id) = (names.next()?, names.next()?, names.next()?);
    let gateway = config.gateway(account, gateway)?;
    let limit = gateway.limits.iter().find(|limit| *limit.id == *id)?;
    Some((gateway, limit))
}

#[cfg(test)]
mod tests;
