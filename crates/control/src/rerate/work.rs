//! The work of a job: record after record, page after page, between which it can be ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use isango_store::analytics::{Aggregate, Measure, Progress};
use isango_store::audit::Action;
use isango_store::later::Rating;
use isango_store::logs::{Error, Order, Query};
use isango_types::price::CostStatus;
use isango_types::{Cost, PriceTable, Record, RecordId, Snapshot, Timestamp, Usage, Wire};
use serde_json::json;
use tokio::sync::watch;

use super::{Job, JobState, KIND, Outcome};
use crate::ask::failed;
use crate::error::Failure;
use crate::{Control, audit, blocking, reading};

/// Records that are read at once, and changed in one commit.
const PAGE: usize = 2_000;
/// Records that one job changes at most.
const MAX_CHANGED: u64 = 1_000_000;

/// A job that is worked on.
pub(super) struct Work<'w> {
    control: &'w Control,
    job: &'w Arc<Job>,
    stopping: &'w watch::Receiver<bool>,
}

impl<'w> Work<'w> {
    pub(super) const fn new(
        control: &'w Control,
        job: &'w Arc<Job>,
        stopping: &'w watch::Receiver<bool>,
    ) -> Self {
        Self {
            control,
            job,
            stopping,
        }
    }

    /// Does it, and notes what came of it.
    pub(super) async fn run(self) {
        let Self { control, job, .. } = self;
        job.told.lock().state = JobState::Running;
        let state = match self.all_pages().await {
            Ok(()) if self.is_ended() => JobState::Cancelled,
            Ok(()) => JobState::Done,
            // The log tells why.
            Err(_failure) => JobState::Failed,
        };
        let job = Arc::clone(job);
        let ended = blocking(control, move |control| {
            let now = control.clock.now();
            let outcome = {
                let mut told = job.told.lock();
                (told.state, told.ended_at) = (state, Some(now));
                told.outcome.clone()
            };
            let author = isango_store::config::history::Author {
                at: now,
                ..job.author.clone()
            };
            let id = job.told.lock().id.to_string();
            let after = Some(json!({"state": state, "outcome": outcome}));
            let of = (&author, &*job.account);
            audit::note(control, of, Action::Update, (KIND, &id), (None, after))
        });
        if ended.await.is_err() {
            tracing::error!("what a job has priced again is not in the audit trail");
        }
    }

    /// Whether somebody has ended it.
    fn is_ended(&self) -> bool {
        let outcome_is_whole = self.job.told.lock().outcome.is_complete;
        let is_told = self.job.is_cancelled.load(Ordering::Relaxed) || *self.stopping.borrow();
        is_told && !outcome_is_whole
    }

    async fn all_pages(&self) -> Result<(), Failure> {
        self.count().await?;
        let mut after = None;
        while !self.is_ended() {
            let (job, from) = (Arc::clone(self.job), after);
            let page = reading(self.control, move |control| {
                page(control, &job, from).map_err(|error| failed(&error))
            });
            after = page.await?;
            if after.is_none() || self.job.told.lock().outcome.changed >= MAX_CHANGED {
                break;
            }
        }
        let is_dry = self.job.told.lock().asked.dry_run;
        if is_dry {
            return Ok(());
        }
        reading(self.control, |control| {
            control
                .logs
                .settle_ratings()
                .map_err(|error| failed(&error))
        })
        .await
    }

    /// Counts what it is about.
    async fn count(&self) -> Result<(), Failure> {
        let job = Arc::clone(self.job);
        reading(self.control, move |control| {
            let question = Aggregate {
                filter: job.scope.filter.clone(),
                since: job.scope.since,
                until: job.scope.until,
                measures: vec![Measure::Count],
                ..Aggregate::default()
            };
            let answer = control.logs.aggregate(&question, &Progress::default());
            let answer = answer.map_err(|error| failed(&error))?;
            job.told.lock().total = answer.total.values.first().copied().flatten();
            Ok(())
        })
        .await
    }
}

/// Prices the records of one page; what the next one comes after. Blocks.
fn page(control: &Control, job: &Job, after: Option<RecordId>) -> Result<Option<RecordId>, Error> {
    let (at, is_dry) = {
        let told = job.told.lock();
        (told.asked.at, told.asked.dry_run)
    };
    let query = Query {
        filter: job.scope.filter.clone(),
        order: Order::OldestFirst,
        limit: PAGE,
        after,
        since: job.scope.since,
        until: job.scope.until,
        ..Query::default()
    };
    let page = control.logs.query(&query)?;
    let (snapshot, now) = (control.cell.get(), control.clock.now());
    let prices = snapshot.prices_of(&job.account);
    let mut outcome = job.told.lock().outcome.clone();
    let mut ratings = Vec::new();
    for record in &page.records {
        let cost = again(prices, &snapshot, record, at);
        outcome.see(&record.cost, cost.as_ref());
        if let Some(cost) = cost.filter(|cost| *cost != record.cost) {
            ratings.push((record.id, Rating { cost, at: now }));
        }
    }
    if !is_dry {
        control.logs.rate(&ratings)?;
    }
    outcome.is_complete = page.next.is_none();
    job.looked_at.store(outcome.looked_at, Ordering::Relaxed);
    job.told.lock().outcome = outcome;
    Ok(page.next)
}

impl Outcome {
    /// Counts a record that cost this, and that by prices of now; `None`: no price decides.
    fn see(&mut self, before: &Cost, after: Option<&Cost>) {
        self.looked_at += 1;
        let Some(after) = after else {
            self.kept += 1;
            return;
        };
        if before == after {
            match after.nanousd {
                Some(_) => self.unchanged += 1,
                None => self.still_unpriced += 1,
            }
            return;
        }
        self.changed += 1;
        let (was, is) = (before.nanousd, after.nanousd);
        self.newly_priced += u64::from(was.is_none() && is.is_some());
        self.newly_unpriced += u64::from(was.is_some() && is.is_none());
        self.before_nanousd = self.before_nanousd.saturating_add(was.unwrap_or(0));
        self.after_nanousd = self.after_nanousd.saturating_add(is.unwrap_or(0));
    }
}

/// What a record costs by prices of now: those that held when it was created, or `at` another moment;
/// `None`: no price decides.
fn again(
    prices: &PriceTable,
    snapshot: &Snapshot,
    record: &Record,
    at: Option<Timestamp>,
) -> Option<Cost> {
    match record.cost.status {
        CostStatus::Custom | CostStatus::Free | CostStatus::NoUsage => return None,
        CostStatus::Priced | CostStatus::Estimated | CostStatus::Unpriced => {}
    }
    let (provider, usage) = (record.provider.as_deref()?, record.usage.as_ref()?);
    if usage.total() > Usage::MAX_TOKENS {
        return None;
    }
    let gateway = snapshot.gateway(&record.account, &record.gateway);
    let mapped = gateway.and_then(|gateway| {
        let name = record.target.as_deref()?;
        let target = gateway
            .targets
            .iter()
            .find(|target| *target.name == *name)?;
        let named = record
            .deployment
            .as_deref()
            .or(record.model_requested.as_deref());
        target.model_of(named?)
    });
    let (served, asked) = (record.model.as_deref(), record.model_requested.as_deref());
    let known = snapshot.provider_of(&record.account, provider);
    let models = match known.map(|known| known.wire) {
        // As requests are priced: the profile that was asked for has a price of its own.
        Some(Wire::Bedrock) => [mapped, asked, served],
        // The answer named none, so that it is called as its deployment is.
        Some(_) | None if served == record.deployment.as_deref() => [mapped, served, asked],
        Some(_) | None => [served, mapped, asked],
    };
    let at = at.unwrap_or(record.created_at);
    let cost = prices.cost_as(provider, models.into_iter().flatten(), usage, at);
    match cost.nanousd {
        Some(nanousd) if nanousd > Cost::MAX_NANOUSD => Some(Cost::unknown(CostStatus::Unpriced)),
        Some(_) | None => Some(cost),
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;

    use super::*;

    fn record(change: impl FnOnce(&mut Record)) -> Record {
        let mut record = sample::record(0);
        record.model = Some("house".into());
        (record.model_requested, record.deployment) = (None, None);
        change(&mut record);
        record
    }

    fn prices() -> PriceTable {
        let row = |model: &str, input: &str, from: Option<&str>| {
            let mut row = json!({"provider": "azure-openai", "model": model, "input": input,
                "output": "0"});
            if let Some(from) = from {
                row["effective_from"] = from.into();
            }
            serde_json::from_value(row).unwrap()
        };
        let rows = vec![
            row("house", "1", None),
            row("house", "4", Some("2030-01-01")),
            row("asked", "2", None),
        ];
        PriceTable::default().with_overrides(rows).unwrap()
    }

    fn check(record: &Record, at: Option<&str>, expected: Option<Option<u64>>) {
        let at = at.map(|text| Timestamp::parse(text).unwrap());
        let nothing = || Snapshot::new(Vec::new(), Vec::new(), Arc::default(), None, Vec::new());
        let cost = again(&prices(), &nothing(), record, at);
        assert_eq!(cost.map(|cost| cost.nanousd), expected);
    }

    #[test]
    fn a_record_costs_what_the_prices_of_its_time_or_of_another_say() {
        let usage = |usage: Option<Usage>| record(|record| record.usage = usage);
        let tokens = |input: u64| Usage {
            input,
            ..Usage::default()
        };
        check(&usage(Some(tokens(3))), None, Some(Some(3_000)));
        let later = Some("2031-01-01T00:00:00Z");
        check(&usage(Some(tokens(3))), later, Some(Some(12_000)));
        check(&usage(None), None, None);
        check(&usage(Some(tokens(Usage::MAX_TOKENS + 1))), None, None);
    }

    #[test]
    fn what_has_no_price_is_unknown_and_what_no_price_decides_is_left() {
        let stranger = |model: Option<&str>, asked: Option<&str>| {
            record(|record| {
                record.model = model.map(Into::into);
                record.model_requested = asked.map(Into::into);
            })
        };
        check(&stranger(Some("stranger"), None), None, Some(None));
        check(
            &stranger(Some("stranger"), Some("asked")),
            None,
            Some(Some(20_000)),
        );
        check(&stranger(None, None), None, Some(None));
        for status in [CostStatus::Custom, CostStatus::Free, CostStatus::NoUsage] {
            check(&record(|record| record.cost.status = status), None, None);
        }
        check(&record(|record| record.provider = None), None, None);
    }

    #[test]
    fn sums_are_of_what_changed() {
        let cost = |nanousd: Option<u64>| Cost {
            status: CostStatus::Priced,
            nanousd,
            price: None,
        };
        let mut outcome = Outcome::default();
        let pairs = [
            (Some(5), Some(5)),
            (Some(5), Some(7)),
            (None, Some(3)),
            (Some(11), None),
            (None, None),
        ];
        for (before, after) in pairs {
            outcome.see(&cost(before), Some(&cost(after)));
        }
        outcome.see(&cost(Some(1)), None);
        let expected = Outcome {
            looked_at: 6,
            changed: 3,
            unchanged: 1,
            kept: 1,
            newly_priced: 1,
            newly_unpriced: 1,
            still_unpriced: 1,
            before_nanousd: 16,
            after_nanousd: 10,
            is_complete: false,
        };
        assert_eq!(outcome, expected);
    }
}
