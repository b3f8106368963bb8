//! Brings counters back from the records after a restart, and compares them with the records while
//! the gateway runs. Both count what the records say into empty buckets and then set, so that
//! nothing is ever counted twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use isango_store::logs::{Error, LogReader, MAX_PAGE, Order, Query};
use isango_types::limit::Unit;
use isango_types::{Gateway, Limit, Record, Snapshot, Timestamp};
use isango_wire::tokens;

use super::bucket::State;
use super::pledge::{Entry, Unreturned};
use super::{Limits, key};

/// How long before it drew a request may have begun, its body and its turn included.
const SLACK: Duration = Duration::from_secs(3_600);

/// Why counters could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The record store cannot be read.
    #[error("the counters of limits cannot be rebuilt: {0}")]
    Store(#[from] Error),
    /// What was held when a process ended cannot be read.
    #[error("what requests held of limits cannot be read: {0}")]
    Pledges(#[from] std::io::Error),
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
#[derive(Debug, Default)]
pub(super) struct Ledger(HashMap<Box<str>, Account>);

#[derive(Debug)]
struct Account {
    rule: Box<str>,
    gateway: Arc<Gateway>,
    limit: Arc<Limit>,
    values: super::Values,
    state: State,
}

impl Ledger {
    /// Counts all records that can matter to the windows under way at `now`, and of `unreturned`
    /// what has no record; only what counts is left there.
    fn read(
        config: &Snapshot,
        reader: &dyn LogReader,
        unreturned: &mut Unreturned,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let counted = |limit: &&Arc<Limit>| limit.unit != Unit::Concurrent;
        let gateways = config.gateways().flat_map(|gateway| &gateway.limits);
        let begins = gateways.filter(counted).map(|limit| {
            let (start, _) = limit.window.around(now);
            start.minus(SLACK)
        });
        let Some(since) = begins.min() else {
            unreturned.clear();
            return Ok(Self::default());
        };
        let mut ledger = Self::default();
        let mut query = Query {
            order: Order::OldestFirst,
            limit: MAX_PAGE,
            since: Some(since),
            // A deletion gives nothing back.
            with_deleted: true,
            ..Query::default()
        };
        loop {
            let page = reader.query(&query)?;
            for record in &page.records {
                unreturned.remove(&record.id);
                ledger.count(config, record, now);
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        unreturned.retain(|_, entries| {
            entries.retain(|(_, entry)| ledger.count_entry(config, entry, now));
            !entries.is_empty()
        });
        Ok(ledger)
    }

    fn count(&mut self, config: &Snapshot, record: &Record, now: Timestamp) {
        if record.limits.is_empty() {
            return;
        }
        let Some(gateway) = config.gateway(&record.account, &record.gateway) else {
            return;
        };
        for decision in record.limits.iter().filter(|decision| decision.charged > 0) {
            if let Some(limit) = limit_of(gateway, &decision.rule, decision.unit) {
                let account = self.account(gateway, limit, &decision.bucket, now);
                account.state.restore(limit, decision.at, decision.charged);
            }
        }
    }

    /// Counts what a request that left no record had noted; whether it counts in any window.
    fn count_entry(&mut self, config: &Snapshot, entry: &Entry<'_>, now: Timestamp) -> bool {
        let Some(gateway) = config.gateway(&entry.account, &entry.gateway) else {
            return false;
        };
        let mut counts = false;
        for share in &entry.shares {
            let limit = limit_of(gateway, &share.rule, share.unit);
            let is_in = |limit: &&Arc<Limit>| limit.window.around(now).0 <= share.at;
            if let Some(limit) = limit.filter(is_in) {
                let account = self.account(gateway, limit, &share.bucket, now);
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
        now: Timestamp,
    ) -> &mut Account {
        let key = key(gateway, limit, values);
        self.0.entry(key.into()).or_insert_with(|| Account {
            rule: format!("{}/{}/{}", gateway.account, gateway.id, limit.id).into(),
            gateway: Arc::clone(gateway),
            limit: Arc::clone(limit),
            values: values.to_vec(),
            state: State::new(limit, now),
        })
    }
}

/// The limit of a name, if it still counts the same.
fn limit_of<'g>(gateway: &'g Gateway, rule: &str, unit: Unit) -> Option<&'g Arc<Limit>> {
    let mut limits = gateway.limits.iter();
    limits.find(|limit| *limit.id == *rule && limit.unit == unit)
}

/// The slots of what is left.
fn slots(unreturned: &Unreturned) -> HashSet<u32> {
    let entries = unreturned.values().flatten();
    entries.map(|(slot, _)| *slot).collect()
}

impl Limits {
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
        let ledger = Ledger::read(config, reader, &mut unreturned, now)?;
        self.pledges.keep(|_| true, &slots(&unreturned));
        let count = ledger.0.len();
        for (_, account) in ledger.0 {
            let mut values = account.values;
            let bucket = self.bucket(&account.gateway, &account.limit, &mut values, now);
            *bucket.state.lock() = account.state;
        }
        Ok(count)
    }

    /// What every counter has drawn in its window at `now`, by key.
    fn drawn(&self, now: Timestamp) -> HashMap<Box<str>, u64> {
        let mut drawn = HashMap::new();
        for shard in &self.shards {
            for (key, bucket) in &*shard.lock() {
                let mut state = bucket.state.lock();
                state.roll(&bucket.limit, now);
                drawn.insert(key.clone(), state.sum().used);
            }
        }
        drawn
    }

    /// Compares counters and records, which follow them after a moment: `pause` must be longer than
    /// that moment. What was drawn before it must be on record behind it, and what is on record
    /// must have been drawn.
    pub(crate) fn drift(
        &self,
        config: &Snapshot,
        reader: &dyn LogReader,
        now: &dyn Fn() -> Timestamp,
        pause: &dyn Fn(),
    ) -> Result<Vec<Drift>, RestoreError> {
        let begun = now();
        let before = self.drawn(begun);
        pause();
        let mut unreturned = self.pledges.lost()?;
        let known = slots(&unreturned);
        let mut ledger = Ledger::read(config, reader, &mut unreturned, begun)?;
        let is_known = |slot| known.contains(&slot);
        self.pledges.keep(is_known, &slots(&unreturned));
        let ended = now();
        let after = self.drawn(ended);
        let mut drifts = Vec::new();
        for (key, account) in &mut ledger.0 {
            account.state.roll(&account.limit, begun);
            let then = account.state.sum().used;
            account.state.roll(&account.limit, ended);
            let recorded = account.state.sum().used;
            let counted = [before.get(key), after.get(key)].map(|drawn| drawn.copied());
            let drift = match counted {
                [Some(early), _] if early > then => Some((early, then)),
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
            if counter > 0 && is_configured(config, rule) && !ledger.0.contains_key(&key) {
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

/// Whether a limit, by account, gateway and id, still stands in the configuration.
fn is_configured(config: &Snapshot, rule: &str) -> bool {
    let mut names = rule.splitn(3, '/');
    let (account, gateway, id) = (names.next(), names.next(), names.next());
    account
        .zip(gateway)
        .and_then(|(account, gateway)| config.gateway(account, gateway))
        .is_some_and(|gateway| gateway.limits.iter().any(|limit| id == Some(&limit.id)))
}

#[cfg(test)]
mod tests;
