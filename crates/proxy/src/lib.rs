//! The data plane: carries requests from clients to providers and answers back.
//!
//! Begin reading at `pipeline`. This crate never reads a configuration store: all it knows is the
//! current [`Snapshot`](isango_types::Snapshot). Nothing but the end of an `Exchange` makes a
//! record, and no stream is collected.

pub mod cache;
pub mod error;
pub mod metrics;
pub mod resolve;
pub mod serve;
pub mod sink;
pub mod upstream;

mod ask;
mod auth;
mod balance;
mod call;
mod capture;
mod credentials;
mod divert;
mod exchange;
mod failures;
mod front;
mod headers;
mod health;
mod hold;
mod limit;
mod metadata;
mod options;
mod pipeline;
mod plan;
mod readings;
mod rehearse;
mod relay;
mod retry;
mod secrets;
mod settle;
mod thin;
mod tokens;
mod understand;
mod universal;
mod waking;
mod walk;
mod watch;
mod way;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use isango_store::Stores;
use isango_store::logs::LogReader;
use isango_types::health::TargetView;
use isango_types::{Clock, SnapshotCell};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use crate::error::Error;
pub use crate::limit::{Against, Drawn, Drift, History, Notice, RestoreError, Ruling};
pub use crate::metrics::Metrics;

/// How the data plane behaves beyond what a [`Snapshot`](isango_types::Snapshot) says; fixed while
/// the process runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Client connections.
    pub serving: serve::Settings,
    /// Connections to providers.
    pub upstream: upstream::Settings,
    /// The way of records to the store.
    pub sink: sink::Settings,
    /// What is kept of answers.
    pub cache: cache::Settings,
}

/// The shared state of the data plane.
pub struct Proxy {
    config: Arc<SnapshotCell>,
    upstream: upstream::Upstream,
    sink: Arc<sink::Sink>,
    cache: Arc<cache::Cache>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: Arc<Metrics>,
    serving: serve::Settings,
    refusals: understand::Refusals,
    failures: failures::Failures,
    health: Arc<health::Health>,
    issuers: credentials::Issuers,
}

impl Proxy {
    /// A data plane that reads `config` and writes its records and answers to `stores`.
    ///
    /// # Errors
    /// The extra certificate file cannot be read, or the records thread cannot be started.
    pub fn start(
        settings: &Settings,
        config: Arc<SnapshotCell>,
        stores: Stores,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> io::Result<Arc<Self>> {
        let upstream = upstream::Upstream::new(&settings.upstream)?;
        let cache = cache::Cache::new(stores.cache, settings.cache, Arc::clone(&metrics));
        let kept = (
            stores.logs as _,
            stores.pledges,
            stores.checkpoint,
            stores.spill,
        );
        let (sink, thread) = sink::Sink::start(settings.sink, clock, Arc::clone(&metrics), kept)?;
        let health = Arc::new(health::Health::default());
        // Shown before they are first asked.
        health.follow(&config.load(), Instant::now());
        Ok(Arc::new(Self {
            config,
            upstream,
            sink,
            cache,
            thread: Mutex::new(Some(thread)),
            metrics,
            serving: settings.serving,
            refusals: understand::Refusals::default(),
            failures: failures::Failures::default(),
            health,
            issuers: credentials::Issuers::default(),
        }))
    }

    /// Housekeeping that is due every few seconds: drops idle connections that went stale, and
    /// what is known of targets that are not configured any more.
    pub fn sweep(&self) {
        self.health.follow(&self.config.load(), Instant::now());
        self.upstream.sweep();
        self.metrics
            .idle_upstream
            .set(i64::try_from(self.upstream.idle()).unwrap_or(i64::MAX));
        self.sink.limits().sweep(self.sink.clock().now());
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let buckets = u64::try_from(self.sink.limits().buckets()).unwrap_or(u64::MAX);
        self.metrics.limit_buckets.set(gauge(buckets));
        self.metrics
            .limit_overflows
            .set(gauge(self.sink.limits().overflows()));
        self.metrics
            .limit_unpledged
            .set(gauge(self.sink.limits().unpledged()));
    }

    /// Asks issuers for tokens: those that requests wait for, and those of the configuration ahead of
    /// their need. Runs until it is dropped; without it nobody gets one.
    pub async fn run_issuers(&self) {
        let clock = self.sink.clock();
        self.issuers.run(&self.upstream, clock, &self.config).await;
    }

    /// Sets the counters of all limits to what the records say, and makes ready to estimate; says
    /// how many buckets there are. Called once, before the first request; without limits it reads
    /// nothing.
    ///
    /// # Errors
    /// The records cannot be read; counters are as they were.
    pub fn restore_limits(&self, records: &dyn LogReader) -> Result<usize, RestoreError> {
        let now = self.sink.clock().now();
        self.sink.limits().restore(&self.config.get(), records, now)
    }

    /// Saves what the records say of all limits, so that [`Proxy::restore_limits`] of the next
    /// process reads only what follows. Called every minute and at the end; without limits it does
    /// nothing.
    ///
    /// # Errors
    /// The records cannot be read, or it cannot be saved; what was saved before still holds.
    pub fn save_limits(&self, records: &dyn LogReader) -> Result<(), RestoreError> {
        let now = self.sink.clock().now();
        self.sink.limits().save(&self.config.get(), records, now)
    }

    /// Compares the counters of all limits with the records. Blocks for as long as a moment passes
    /// until what has ended is on record.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn compare_limits(
        &self,
        records: &dyn LogReader,
        against: Against,
    ) -> Result<Vec<Drift>, RestoreError> {
        let now = || self.sink.clock().now();
        let settles = self.sink.settles_within();
        let pause = || std::thread::sleep(settles);
        let config = self.config.get();
        let limits = self.sink.limits();
        let drifts = limits.drift((&config, against), records, &now, &pause)?;
        let count = i64::try_from(drifts.len()).unwrap_or(i64::MAX);
        self.metrics.limit_drifts.set(count);
        Ok(drifts)
    }

    /// Posts messages to the operator's webhooks, with the same settings as to providers.
    #[must_use]
    pub fn courier(&self) -> upstream::Courier {
        self.upstream.courier()
    }

    /// A look at what is drawn from limits, for others than requests.
    #[must_use]
    pub fn drawn(&self) -> Drawn {
        Drawn::new(Arc::clone(self.sink.limits()))
    }

    /// Every configured target and how it is, by account, gateway and order.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetView> {
        let now = Instant::now();
        self.health.follow(&self.config.load(), now);
        self.health.view(now)
    }

    /// From now on, no more records of these gateways (account and id) are kept, and of all others.
    pub fn keep_no_records_of(&self, gateways: BTreeSet<(Box<str>, Box<str>)>) {
        self.sink.keep_none_of(gateways);
    }

    /// What keeps records from being stored, in words; `None`: nothing does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.sink.trouble()
    }

    /// Shows how the targets are among the metrics of `registry`.
    pub fn register_targets(&self, registry: &mut Registry) {
        let health = Arc::clone(&self.health);
        registry.register_collector(Box::new(metrics::TargetGauges(health)));
    }

    /// Waits until no exchange is under way, once the last connection has ended: those that were
    /// cut end a moment later. At most a second.
    pub async fn drained(&self) {
        for _ in 0..1_000 {
            if self.metrics.in_flight.get() <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The grace is over: what is cut from now on is the gateway's doing, and its records say so.
    pub fn cut(&self) {
        self.sink.cut();
    }

    /// Writes every record that is left and returns when they are stored. Blocks; called once,
    /// after [`Proxy::drained`].
    pub fn close(&self) {
        self.sink.close();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the records thread had failed");
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
