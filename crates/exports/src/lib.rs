//! Delivers records to where others look at them: buckets, folders, collectors, webhooks.
//!
//! A [`Job`] says what is exported, where to, and in which shape. Each has a worker with a position
//! of its own in the journal, which it follows as a reader: no request, and no other job, ever waits
//! for it. Records arrive in the order of the journal, at least once; a batch that was cut off is
//! delivered again byte for byte, under the same name.
//!
//! In reading order: `job` and `destination` (what is asked for), `path`, `condition`, `fields` and
//! `seal` (what an object holds), `known` and `treatment` (what gateways ask of it), `batch` (how it is made), `otlp` (traces), `manifest` (what proves it), `deliver`,
//! `state` and `worker` (how it gets there), `verify` (the proof), `read` (what was exported).

mod batch;
mod condition;
mod deliver;
mod destination;
mod fields;
mod job;
mod known;
mod manifest;
mod otlp;
mod path;
pub mod read;
mod seal;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod treatment;
mod verify;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isango_store::config::ConfigStore;
use isango_store::exports::{Aside, ExportStore, ExportView};
use isango_store::logs::{LogStore, Position};
use isango_store::table::TableFormat;
use isango_types::{Clock, SnapshotCell, Timestamp};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

pub use condition::Condition;
pub use deliver::{Carrier, Parcel, Receipt, test_write};
pub use destination::{Allowed, Destination, DestinationError, MAX_CONF_BYTES, shown};
pub use fields::{Field, Times};
pub use job::{Bounds, Dataset, Job, JobError, MAX_BATCH_BYTES, MAX_JOBS, Pack, Part, Spec};
pub use manifest::Manifest;
pub use seal::{PrivateKey, PublicKey, SealError};
pub use verify::{Finding, Report, Trail, verify};

use known::Known;
use state::State;
use worker::Worker;

/// Most jobs at work, exporters of traces among them.
const MAX_WORKERS: usize = 256;
/// How often jobs are compared with those at work.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Tells which jobs there are.
pub type Jobs = dyn Fn() -> Arc<Listed> + Send + Sync;

/// Which jobs there are.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Those that can be at work.
    pub jobs: Vec<Arc<Job>>,
    /// Those that are there, and cannot.
    pub flawed: Vec<Flawed>,
}

/// A job that is there and cannot be read or compiled, or a gateway with jobs of its own. Its place
/// is kept until it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flawed {
    /// The job, or what is before the slash in the names of all jobs of a gateway.
    pub id: Box<str>,
    /// What is wrong.
    pub why: Box<str>,
}

impl Listed {
    fn find(&self, id: &str) -> Option<&Arc<Job>> {
        self.jobs.iter().find(|job| *job.spec.id == *id)
    }

    /// What keeps a job from being there as it was.
    fn flaw_of(&self, id: &str) -> Option<&Flawed> {
        let is_of = |flawed: &&Flawed| {
            let below = id.strip_prefix(&*flawed.id);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        self.flawed.iter().find(is_of)
    }
}

/// What exports are made of.
pub struct Parts {
    /// Where records are.
    pub logs: Arc<dyn LogStore>,
    /// How tables are written.
    pub tables: Arc<dyn TableFormat>,
    /// Where changes of the configuration are.
    pub config: Arc<dyn ConfigStore>,
    /// What is in force.
    pub cell: Arc<SnapshotCell>,
    /// Where places are kept.
    pub store: Arc<dyn ExportStore>,
    /// Which jobs there are.
    pub jobs: Box<Jobs>,
    /// What time it is.
    pub clock: Clock,
}

/// Exports at work.
pub struct Exports {
    shared: Arc<Shared>,
    standings: Mutex<BTreeMap<Box<str>, Arc<Standing>>>,
}

/// What all workers share.
pub(crate) struct Shared {
    parts: Parts,
    /// Told when records were stored.
    news: watch::Sender<()>,
    metrics: Metrics,
    /// What gateways ask of their records, also of those that are gone.
    known: Mutex<Known>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfJob {
    job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBatch {
    job: String,
    result: &'static str,
}

#[derive(Debug, Default)]
struct Metrics {
    batches: Family<OfBatch, Counter>,
    records: Family<OfBatch, Counter>,
    lag: Family<OfJob, Gauge>,
    lost: Family<OfJob, Gauge>,
}

/// How a job is, for those who look after it.
#[derive(Debug)]
pub(crate) struct Standing {
    job: Arc<Job>,
    view: Mutex<ExportView>,
    metrics: (Family<OfBatch, Counter>, Family<OfBatch, Counter>),
}

impl Standing {
    fn new(job: &Arc<Job>, metrics: &Metrics) -> Self {
        let spec = &job.spec;
        Self {
            job: Arc::clone(job),
            view: Mutex::new(ExportView {
                job: spec.id.clone(),
                account: spec.account.clone(),
                gateway: spec.gateway.clone(),
                dataset: spec.dataset.as_str().into(),
                destination: spec.destination.shown().into(),
                enabled: spec.enabled,
                of_file: spec.of_file,
                ..ExportView::default()
            }),
            metrics: (metrics.batches.clone(), metrics.records.clone()),
        }
    }

    fn show(&self, state: &State, shared: &Shared) {
        let mut view = self.view.lock();
        view.delivered_records = state.records;
        view.batches = state.sequence.saturating_sub(state.buried + state.halved);
        view.lost_records = state.lost;
        view.buried_batches = state.buried;
        view.last_complete = state.last_complete;
        view.last_error = state.last_error;
        view.error_message.clone_from(&state.error);
        view.head = state.link.clone();
        drop(view);
        let lost = i64::try_from(state.lost).unwrap_or(i64::MAX);
        shared.metrics.lost.get_or_create(&self.of_job()).set(lost);
        self.look(state.looked(), shared);
    }

    /// Takes note of how far it is behind.
    fn look(&self, at: Position, shared: &Shared) {
        let Ok(end) = shared.end(&self.job) else {
            return;
        };
        let delivered = self.view.lock().lag_records;
        let lag = end.count().saturating_sub(at.count());
        if lag != delivered {
            self.view.lock().lag_records = lag;
        }
        let gauge = i64::try_from(lag).unwrap_or(i64::MAX);
        shared.metrics.lag.get_or_create(&self.of_job()).set(gauge);
    }

    fn fail(&self, why: &str, now: Timestamp) {
        let mut view = self.view.lock();
        view.last_error = Some(now);
        view.error_message = Some(why.into());
    }

    /// Takes note that the job is there, and cannot be at work.
    fn hold(&self, why: &str, now: Timestamp) {
        let is_new = std::mem::take(&mut self.view.lock().enabled);
        if is_new {
            tracing::error!(job = %self.job.spec.id, why, "an export is not under way");
            self.fail(why, now);
        }
    }

    fn of_job(&self) -> OfJob {
        OfJob {
            job: self.job.spec.id.to_string(),
        }
    }

    fn count(&self, records: u64, result: &'static str) {
        let labels = OfBatch {
            job: self.job.spec.id.to_string(),
            result,
        };
        self.metrics.0.get_or_create(&labels).inc();
        if records > 0 {
            self.metrics.1.get_or_create(&labels).inc_by(records);
        }
    }
}

/// A worker and how it is stopped.
struct Running {
    job: Arc<Job>,
    stop: watch::Sender<bool>,
}

impl Exports {
    /// Exports that count what they do among the metrics of `registry`.
    #[must_use]
    pub fn new(parts: Parts, registry: &mut Registry) -> Self {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("isango_export");
        registry.register(
            "batches",
            "Batches of exports, by what became of them",
            metrics.batches.clone(),
        );
        registry.register(
            "records",
            "Records in batches of exports, by what became of them",
            metrics.records.clone(),
        );
        registry.register(
            "lag_records",
            "Records that an export has not looked at yet",
            metrics.lag.clone(),
        );
        registry.register(
            "lost_records",
            "Records that retention removed before they were exported",
            metrics.lost.clone(),
        );
        Self {
            shared: Arc::new(Shared {
                known: Mutex::new(Known::of(&parts.cell.get())),
                parts,
                news: watch::Sender::new(()),
                metrics,
            }),
            standings: Mutex::default(),
        }
    }

    /// Says that records were stored.
    pub fn wake(&self) {
        self.shared.news.send_replace(());
    }

    /// How each job is, by name.
    #[must_use]
    pub fn views(&self) -> Vec<ExportView> {
        let standings = self.standings.lock();
        standings
            .values()
            .map(|one| one.view.lock().clone())
            .collect()
    }

    /// What was laid aside of the jobs of an account, the oldest first. Blocks.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn aside(&self, account: &str) -> Result<Vec<Aside>, isango_store::exports::Error> {
        let mut all = self.shared.parts.store.buried()?;
        all.retain(|one| is_of(&one.job, account));
        Ok(all)
    }

    /// Forgets what was laid aside of a job of an account; false: there is none of that id. Blocks.
    ///
    /// # Errors
    /// It is still kept.
    pub fn discard(&self, account: &str, id: u64) -> Result<bool, isango_store::exports::Error> {
        let is_there = self.aside(account)?.iter().any(|one| one.id == id);
        Ok(is_there && self.shared.parts.store.discard(id)?)
    }

    /// Sends again what was laid aside of a job of an account, once; what is taken is forgotten.
    ///
    /// # Errors
    /// There is none of that id, or it was not taken.
    pub async fn retry<C: Carrier>(
        &self,
        carrier: &C,
        account: &str,
        id: u64,
    ) -> Result<(), RetryError> {
        let shared = Arc::clone(&self.shared);
        let failed = |error: isango_store::exports::Error| RetryError::Store(error.to_string());
        let broken = |error: tokio::task::JoinError| RetryError::Store(error.to_string());
        let found = spawn_blocking(move || shared.parts.store.exhume(id)).await;
        let found = found.map_err(broken)?.map_err(failed)?;
        let buried = found.filter(|buried| is_of(&buried.job, account));
        let buried = buried.ok_or(RetryError::Unknown)?;
        let listed = (self.shared.parts.jobs)();
        let job = listed.find(&buried.job).ok_or(RetryError::NoJob)?;
        let now = self.shared.parts.clock.now();
        let sending = Box::pin(deliver::send_again(carrier, job, &buried, now));
        sending.await.map_err(RetryError::Refused)?;
        let shared = Arc::clone(&self.shared);
        let forgotten = spawn_blocking(move || shared.parts.store.discard(id)).await;
        forgotten.map_err(broken)?.map_err(failed)?;
        tracing::info!(job = %buried.job, id, "a batch that was laid aside was taken");
        Ok(())
    }

    /// Runs all jobs until told to stop: starts those that are new, stops those that are gone, and
    /// starts those again that were changed.
    pub async fn run<C: Carrier>(&self, carrier: Arc<C>, mut stopping: watch::Receiver<bool>) {
        let mut running: BTreeMap<Box<str>, Running> = BTreeMap::new();
        let mut workers = JoinSet::new();
        loop {
            self.shared.known.lock().look(&self.shared.parts.cell.get());
            let listed = (self.shared.parts.jobs)();
            self.retire(&listed, &mut running).await;
            for job in listed.jobs.iter().take(MAX_WORKERS) {
                if job.spec.enabled && !running.contains_key(&job.spec.id) {
                    let (stop, stopped) = watch::channel(false);
                    let worker = Worker {
                        job: Arc::clone(job),
                        shared: Arc::clone(&self.shared),
                        carrier: Arc::clone(&carrier),
                        standing: self.standing(job),
                        gate: Arc::new(Mutex::new(true)),
                    };
                    workers.spawn(worker.run(stopped));
                    let job = Arc::clone(job);
                    running.insert(job.spec.id.clone(), Running { job, stop });
                }
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            while workers.try_join_next().is_some() {}
        }
        for one in running.values() {
            one.stop.send_replace(true);
        }
        workers.shutdown().await;
    }

    fn standing(&self, job: &Arc<Job>) -> Arc<Standing> {
        let standing = Arc::new(Standing::new(job, &self.shared.metrics));
        let mut standings = self.standings.lock();
        standings.insert(job.spec.id.clone(), Arc::clone(&standing));
        standing
    }

    /// Stops what is not there any more, or not as it was. The place of a job that the management
    /// API has removed is forgotten.
    async fn retire(&self, listed: &Listed, running: &mut BTreeMap<Box<str>, Running>) {
        let is_same = |one: &Running| {
            let found = listed.find(&one.job.spec.id);
            found.is_some_and(|job| job.spec == one.job.spec && job.spec.enabled)
        };
        let gone: Vec<Box<str>> = running
            .iter()
            .filter(|(_, one)| !is_same(one))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let Some(one) = running.remove(&id) else {
                continue;
            };
            one.stop.send_replace(true);
            // The worker lets go of the store before another takes its place.
            one.stop.closed().await;
        }
        let known: Vec<Arc<Standing>> = self.standings.lock().values().cloned().collect();
        for standing in known {
            let spec = &standing.job.spec;
            if listed.find(&spec.id).is_some() {
                continue;
            }
            if let Some(flawed) = listed.flaw_of(&spec.id) {
                standing.hold(&flawed.why, self.shared.parts.clock.now());
                continue;
            }
            self.standings.lock().remove(&spec.id);
            if !spec.of_file {
                self.forget(&spec.id).await;
            }
        }
        for job in listed.jobs.iter().filter(|job| !job.spec.enabled) {
            let known = self.standings.lock().get(&job.spec.id).cloned();
            if known.is_none_or(|standing| standing.job.spec != job.spec) {
                self.rest(job).await;
            }
        }
    }

    /// Shows how a job is that is not under way.
    async fn rest(&self, job: &Arc<Job>) {
        let standing = self.standing(job);
        let (shared, job) = (Arc::clone(&self.shared), Arc::clone(job));
        let looking = spawn_blocking(move || {
            let saved = shared.parts.store.load(&job.spec.id).ok().flatten();
            let state = saved.and_then(|saved| State::read(&saved).ok());
            if let Some(state) = state {
                standing.show(&state, &shared);
            }
        });
        if let Err(error) = looking.await {
            tracing::error!(%error, "looking for the place of an export failed");
        }
    }

    async fn forget(&self, id: &str) {
        let (shared, job) = (Arc::clone(&self.shared), Box::<str>::from(id));
        let forgetting = spawn_blocking(move || shared.parts.store.remove(&job)).await;
        match forgetting {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the place of a removed export is kept"),
            Err(error) => tracing::error!(%error, "forgetting an export failed"),
        }
    }
}

/// Whether a job is of an account.
fn is_of(job: &str, account: &str) -> bool {
    let below = job.strip_prefix(account);
    below.is_some_and(|below| below.starts_with('/'))
}

/// Why what was laid aside is not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// There is none of that id.
    #[error("nothing of that number is laid aside")]
    Unknown,
    /// The job is gone.
    #[error("its export is not there any more, or cannot be at work")]
    NoJob,
    /// The destination did not take it; names no address.
    #[error("{0}")]
    Refused(String),
    /// The store failed; where the batch was taken, it may be sent again.
    #[error("the store of exports failed: {0}")]
    Store(String),
}

/// What tells an address from others without telling it: eight hex digits.
#[must_use]
pub fn short_digest(text: &str) -> String {
    let mut sum = deliver::sha256(text.as_bytes());
    sum.truncate(8);
    sum
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exports").finish_non_exhaustive()
    }
}
