//! What a server runs until it stops: its listeners, and what goes on beside requests.

use std::sync::Arc;
use std::time::Duration;

use isango_control::Control;
use isango_exports::Exports;
use isango_proxy::{Against, Drift, Proxy};
use isango_records::{Records, Upkeep};
use isango_store::logs::LogStore;
use isango_types::Clock;
use tokio::net::TcpListener;

use crate::alerts::Webhooks;
use crate::config::Config;
use crate::exports::Carrying;
use crate::listen::Front;
use crate::{Server, admin, kept, listen, tls};

/// How often idle connections to providers are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How often the counters of limits are saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How often the counters of limits are compared with the records.
const COMPARE_EVERY: Duration = Duration::from_secs(3_600);
/// Which of these times all records are read.
const COMPARE_ALL_EVERY: u32 = 24;

/// How often kept answers are looked at for their age.
const EXPIRE_CACHE_EVERY: Duration = Duration::from_secs(60);

/// How often the store of entities is looked at: what is revoked is refused after this time at the
/// latest.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often the records of gateways are counted that keep so many and no more.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// How often records are looked at for their age.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);

impl Server {
    pub(crate) fn run_data(
        &self,
        config: &Config,
        listener: TcpListener,
        tls: Option<Arc<tls::Tls>>,
    ) {
        if let Some(tls) = &tls {
            self.tasks
                .spawn(Arc::clone(tls).watch(self.tasks.stopping()));
        }
        let front = Front {
            proxy: Arc::clone(&self.proxy),
            tls,
            max_connections: config.server.max_connections,
            header_timeout: config.server.header_timeout,
        };
        self.tasks
            .spawn(listen::run(front, listener, self.tasks.stopping()));
        let (proxy, mut stopping) = (Arc::clone(&self.proxy), self.tasks.stopping());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(SWEEP_EVERY) => proxy.sweep(),
                }
            }
        });
    }

    /// What goes on beside requests.
    pub(crate) fn run_upkeep(
        &self,
        webhooks: Webhooks,
        exports: (Arc<Exports>, Arc<Carrying>),
        logs: Arc<dyn LogStore>,
    ) {
        self.run_cache_expiry();
        self.run_alerts(webhooks, Arc::clone(&logs));
        self.run_exports(exports);
        self.run_saves(Arc::clone(&logs));
        self.run_log_management(Arc::clone(&logs));
        self.run_comparison(logs);
        self.run_looks();
        self.run_issuers();
        self.run_jobs();
    }

    /// Works on what the management API was asked to do beside its answers.
    fn run_jobs(&self) {
        let stopping = self.tasks.stopping();
        self.tasks
            .spawn(Control::clone(&self.control).run_jobs(stopping));
    }

    /// Delivers alerts.
    fn run_alerts(&self, webhooks: Webhooks, logs: Arc<dyn LogStore>) {
        let alerts = Arc::clone(&self.alerts);
        let stopping = self.tasks.stopping();
        self.tasks.spawn(alerts.run(webhooks, logs, stopping));
    }

    /// Delivers exports.
    fn run_exports(&self, (exports, carrying): (Arc<Exports>, Arc<Carrying>)) {
        let stopping = self.tasks.stopping();
        self.tasks
            .spawn(async move { exports.run(carrying, stopping).await });
    }

    /// Sees to it that gateways keep no more records than they are to.
    fn run_log_management(&self, logs: Arc<dyn LogStore>) {
        let (proxy, mut stopping) = (Arc::clone(&self.proxy), self.tasks.stopping());
        let (cell, clock) = (Arc::clone(&self.published.cell), self.clock.clone());
        self.tasks.spawn(async move {
            loop {
                let (proxy, logs) = (Arc::clone(&proxy), Arc::clone(&logs));
                let (config, clock) = (cell.get(), clock.clone());
                let look = move || kept::look(&config, &proxy, &*logs, &clock);
                if let Err(error) = tokio::task::spawn_blocking(look).await {
                    tracing::error!(%error, "counting the records of gateways failed");
                }
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(COUNT_EVERY) => {}
                }
            }
        });
    }

    /// Saves what is drawn from limits, every minute.
    fn run_saves(&self, logs: Arc<dyn LogStore>) {
        let (proxy, mut stopping) = (Arc::clone(&self.proxy), self.tasks.stopping());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(SAVE_EVERY) => {}
                }
                let (proxy, logs) = (Arc::clone(&proxy), Arc::clone(&logs));
                let saving = tokio::task::spawn_blocking(move || save_limits(&proxy, &*logs));
                if let Err(error) = saving.await {
                    tracing::error!(%error, "saving the counters of limits failed");
                }
            }
        });
    }

    /// Compares the counters of limits with the records, every hour: with all of them first and then
    /// once a day, else with what follows the checkpoint.
    fn run_comparison(&self, logs: Arc<dyn LogStore>) {
        let (proxy, mut stopping) = (Arc::clone(&self.proxy), self.tasks.stopping());
        self.tasks.spawn(async move {
            for run in 0_u32.. {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(COMPARE_EVERY) => {}
                }
                let against = match run % COMPARE_ALL_EVERY {
                    0 => Against::Records,
                    _ => Against::Checkpoint,
                };
                let (proxy, logs) = (Arc::clone(&proxy), Arc::clone(&logs));
                let compare = move || proxy.compare_limits(&*logs, against);
                match tokio::task::spawn_blocking(compare).await {
                    Ok(Ok(drifts)) => drifts.iter().for_each(tell_drift),
                    Ok(Err(error)) => tracing::error!(%error, "limits were not compared"),
                    Err(error) => tracing::error!(%error, "comparing limits failed"),
                }
            }
        });
    }

    /// Has tokens of issuers at hand before requests need them.
    fn run_issuers(&self) {
        let (proxy, mut ended) = (Arc::clone(&self.proxy), self.admin_tasks.stopping());
        // Requests that are served to their end may still want one.
        self.admin_tasks.spawn(async move {
            tokio::select! {
                _ = ended.wait_for(|stop| *stop) => {}
                () = proxy.run_issuers() => {}
            }
        });
    }

    /// Takes up entities that were stored, changed or removed meanwhile, by whichever process.
    fn run_looks(&self) {
        let published = Arc::clone(&self.published);
        let mut stopping = self.tasks.stopping();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let published = Arc::clone(&published);
                let looking = tokio::task::spawn_blocking(move || published.look());
                if let Err(error) = looking.await {
                    tracing::error!(%error, "looking for stored entities failed");
                }
            }
        });
    }

    /// Removes kept answers that nobody wants any more, every minute.
    fn run_cache_expiry(&self) {
        let (cache, clock) = (Arc::clone(&self.cache), self.clock.clone());
        let mut stopping = self.tasks.stopping();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(EXPIRE_CACHE_EVERY) => {}
                }
                let (cache, now) = (Arc::clone(&cache), clock.now());
                match tokio::task::spawn_blocking(move || cache.expire(now)).await {
                    Ok(Ok(_removed)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "old answers cannot be removed"),
                    Err(error) => tracing::warn!(%error, "removing old answers failed"),
                }
            }
        });
    }

    /// Removes records that are past their age, now and every hour.
    pub(crate) fn run_expiry(&self, records: Arc<Records>) {
        let mut stopping = self.tasks.stopping();
        self.tasks.spawn(async move {
            loop {
                let records = Arc::clone(&records);
                let upkeep = move || records.upkeep(Clock::system().now());
                match tokio::task::spawn_blocking(upkeep).await {
                    Ok(Ok(done)) if done == Upkeep::default() => {}
                    Ok(Ok(done)) => tracing::info!(
                        freed_bytes = done.freed_bytes + done.rewritten_bytes,
                        erased = done.erased,
                        "what is not to be kept was removed from the record store"
                    ),
                    Ok(Err(error)) => tracing::error!(%error, "old records cannot be removed"),
                    Err(error) => tracing::error!(%error, "removing old records failed"),
                }
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(EXPIRE_EVERY) => {}
                }
            }
        });
    }

    pub(crate) fn run_admin(&self, config: &Config, listener: TcpListener) {
        let front = admin::Front {
            router: self.control.router(self.admin),
            header_timeout: config.server.header_timeout,
        };
        let stopping = self.admin_tasks.stopping();
        self.admin_tasks
            .spawn(admin::run(front, listener, stopping));
    }
}

/// Saves what is drawn from limits, so that the next start need not read it from the records.
pub(crate) fn save_limits(proxy: &Proxy, logs: &dyn LogStore) {
    if let Err(error) = proxy.save_limits(logs) {
        tracing::warn!(%error, "the next start reads more records for the counters of limits");
    }
}

fn tell_drift(drift: &Drift) {
    tracing::warn!(
        rule = %drift.rule,
        counter = drift.counter,
        ledger = drift.ledger,
        "the counter of a limit is not what the records say"
    );
}
