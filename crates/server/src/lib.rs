//! The executable's insides: wiring, listeners, ordered shutdown. The only crate that knows every
//! other.

pub mod cli;
pub mod config;
pub mod reload;
pub mod telemetry;

mod admin;
mod alerts;
mod background;
mod exports;
mod kept;
mod listen;
mod oidc;
mod own;
mod published;
mod storage;
mod stored;
mod tasks;
mod tls;
mod trial;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use isango_backends::cache::EmbeddedCache;
use isango_backends::checkpoint::FileCheckpoint;
use isango_backends::config::FileConfig;
use isango_backends::exports::FileExports;
use isango_backends::outbox::FileOutbox;
use isango_backends::pledges::FilePledges;
use isango_backends::sessions::FileSessions;
use isango_backends::spill::PackedSpill;
use isango_control::alerts::{Alerts, Parts};
use isango_control::{Control, Judges, Tails};
use isango_exports::Exports;
use isango_proxy::{Metrics, Proxy};
use isango_records::{Records, Recovery};
use isango_store::Stores;
use isango_store::cache::CacheStore;
use isango_store::exports::ExportStore;
use isango_store::logs::LogStore;
use isango_store::memory::{
    MemoryCheckpoint, MemoryConfig, MemoryExports, MemoryOutbox, MemoryPledges, MemorySessions,
};
use isango_store::outbox::Outbox;
use isango_store::pledges::PledgeStore;
use isango_store::seal::Keyring;
use isango_store::sessions::SessionStore;
use isango_store::vouched::Vouched;
use isango_types::{Clock, Secret, SnapshotCell};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::alerts::{Watched, Webhooks};
use crate::background::save_limits;
use crate::config::Config;
use crate::exports::{Carrying, Unreadable, exporting};
use crate::published::{Published, purges};
use crate::tasks::Tasks;

/// A running server.
pub struct Server {
    /// Ends what is tried from the dashboard.
    trials: watch::Sender<bool>,
    data: SocketAddr,
    admin: SocketAddr,
    https: bool,
    published: Arc<Published>,
    proxy: Arc<Proxy>,
    cache: Arc<dyn CacheStore>,
    logs: Arc<dyn LogStore>,
    alerts: Arc<Alerts>,
    clock: Clock,
    /// Boxed: a server is held by futures, whose size has a limit.
    control: Box<Control>,
    tasks: Tasks,
    admin_tasks: Tasks,
    grace: Duration,
}

/// Starts the server of `config` on its embedded store. It answers requests when this returns.
///
/// # Errors
/// An address is taken, a certificate cannot be read, or the store cannot be opened; the text names
/// which.
pub fn start(config: &Config) -> anyhow::Result<Server> {
    let records = Records::open(&config.data_dir, config.to_store()).with_context(|| {
        format!(
            "cannot open the record store in {}",
            config.data_dir.display()
        )
    })?;
    tell_recovery(records.recovery());
    let records = Arc::new(records);
    let stores = Stores {
        logs: Arc::clone(&records) as _,
        cache: Arc::new(EmbeddedCache::open(
            &config.data_dir.join("cache"),
            config.to_cache(),
        )),
        config: Arc::new(FileConfig::in_folder(&config.data_dir)),
        pledges: pledges(config),
        checkpoint: Arc::new(FileCheckpoint::at(
            &config.data_dir.join("limits").join("checkpoint"),
        )),
        exports: export_store(config),
        sessions: sessions(config),
        spill: Arc::new(spill(config)?),
    };
    let outbox: Arc<dyn Outbox> = match FileOutbox::open(&config.data_dir) {
        Ok(outbox) => Arc::new(outbox),
        Err(error) => {
            tracing::error!(%error, "alerts that wait do not survive this process");
            Arc::new(MemoryOutbox::default())
        }
    };
    let server = start_with(config, stores, outbox, Clock::system())?;
    server.run_expiry(records);
    Ok(server)
}

/// Where requests under way note what they hold of limits. Where that cannot be, the operator is
/// told, and a crash gives it back.
fn pledges(config: &Config) -> Arc<dyn PledgeStore> {
    match FilePledges::open(&config.data_dir.join("limits").join("pledges")) {
        Ok(file) => Arc::new(file),
        Err(error) => {
            tracing::error!(%error, "a crash will give back what requests hold of limits");
            Arc::new(MemoryPledges::default())
        }
    }
}

/// Where exports keep how far they are. Where that cannot be read, nothing is exported: what was
/// exported before would be again, or never.
fn export_store(config: &Config) -> Arc<dyn ExportStore> {
    match FileExports::open(&config.data_dir) {
        Ok(file) => Arc::new(file),
        Err(error) => {
            tracing::error!(%error, "nothing is exported: how far exports are cannot be read");
            Arc::new(Unreadable(error.to_string()))
        }
    }
}

/// Who is signed in. Where that cannot be kept, the operator is told, and a restart signs everybody
/// out.
fn sessions(config: &Config) -> Arc<dyn SessionStore> {
    match FileSessions::open(&config.data_dir) {
        Ok(file) => Arc::new(file),
        Err(error) => {
            tracing::error!(%error, "a restart will sign everybody out");
            Arc::new(MemorySessions::default())
        }
    }
}

/// Sets the counters of limits to what the records say.
fn restore_limits(proxy: &Proxy, logs: &dyn LogStore) -> anyhow::Result<()> {
    let buckets = proxy.restore_limits(logs)?;
    save_limits(proxy, logs);
    if buckets > 0 {
        tracing::info!(buckets, "the counters of limits are as the records say");
    }
    Ok(())
}

/// Where records wait while the disk takes none.
fn spill(config: &Config) -> anyhow::Result<PackedSpill> {
    let max_bytes = config.records.max_spill_bytes;
    let Some(folder) = &config.records.spill_dir else {
        return Ok(PackedSpill::in_memory(max_bytes));
    };
    PackedSpill::in_folder(folder, max_bytes).with_context(|| {
        let folder = folder.display();
        format!("`records.spill_dir`: no file can be made in {folder}")
    })
}

fn tell_recovery(recovery: &Recovery) {
    for torn in &recovery.torn {
        tracing::warn!(
            ?torn,
            "the record store was cut at its torn end; the rest was kept aside"
        );
    }
}

/// Starts the server of `config` with records that go to `logs`; answers, entities and alerts are
/// kept in memory alone.
///
/// # Errors
/// An address is taken, a certificate cannot be read, or the counters of limits cannot be rebuilt.
pub fn start_in_memory(
    config: &Config,
    logs: Arc<dyn LogStore>,
    clock: Clock,
) -> anyhow::Result<Server> {
    let cache = Arc::new(EmbeddedCache::in_memory(config.cache.memory_bytes));
    let stores = Stores {
        logs,
        cache,
        config: Arc::new(MemoryConfig::default()),
        pledges: Arc::new(MemoryPledges::default()),
        checkpoint: Arc::new(MemoryCheckpoint::default()),
        exports: Arc::new(MemoryExports::default()),
        sessions: Arc::new(MemorySessions::default()),
        spill: Arc::new(PackedSpill::in_memory(config.records.max_spill_bytes)),
    };
    start_with(config, stores, Arc::new(MemoryOutbox::default()), clock)
}

/// Starts the server of `config` with stores and a clock of the caller's.
///
/// # Errors
/// An address is taken, a certificate or the stored entities cannot be read, or the counters of
/// limits cannot be rebuilt.
pub fn start_with(
    config: &Config,
    mut stores: Stores,
    outbox: Arc<dyn Outbox>,
    clock: Clock,
) -> anyhow::Result<Server> {
    let tls = match &config.tls {
        Some(files) => Some(Arc::new(tls::Tls::load(files.clone()).context("TLS")?)),
        None => None,
    };
    let data = listen::bind(config.listen, "the data plane")?;
    let admin = listen::bind(config.admin_listen, "the admin listener")?;
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let cache = Arc::clone(&stores.cache);
    let entities = Arc::new(Vouched::new(stores.config, config.keyring.clone()));
    stores.config = Arc::clone(&entities) as _;
    let published = Published::open(config, entities, cache)
        .context("the entities that are stored beside the configuration cannot be read")?;
    let published = Arc::new(published);
    let settings = config.to_proxy();
    let (cache, logs) = (Arc::clone(&stores.cache), Arc::clone(&stores.logs));
    let (sessions, cell) = (Arc::clone(&stores.sessions), Arc::clone(&published.cell));
    let tails = Arc::new(Tails::new(clock.clone()));
    let watched = Arc::new(Watched::new(Arc::clone(&logs), Arc::clone(&tails)));
    let exports = exports(&published, &logs, &stores, &clock, &mut registry);
    watched.wake(Arc::clone(&exports));
    stores.logs = Arc::clone(&watched) as _;
    let proxy = Proxy::start(&settings, Arc::clone(&cell), stores, metrics, clock.clone())
        .context("the data plane cannot start")?;
    proxy.register_targets(&mut registry);
    let (targets, storing) = (Arc::clone(&proxy), Arc::clone(&proxy));
    restore_limits(&proxy, &*logs)?;
    let drawing = (Arc::clone(&cell), clock.clone());
    let alerts = alerts_of(config, drawing, &proxy, outbox, &mut registry);
    watched.show_to(Arc::clone(&alerts));
    let (webhooks, carrying) = carriers(&proxy, &clock);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (trials, trial) = trial::trials(&proxy);
    let control = Control::new(isango_control::Parts {
        registry,
        cache: Arc::clone(&cache),
        config: Arc::clone(&published) as _,
        logs: Arc::clone(&watched) as _,
        keyring: keyring(&published),
        cell,
        clock: clock.clone(),
        targets: Box::new(move || targets.targets()),
        tails,
        exports: exporting(&exports, &carrying, &published),
        trial,
        alerts: Arc::clone(&alerts),
        test_alert: alerts::tests(&proxy, &clock, &published),
        storage: storage::measured(config, &clock),
        rehearse: trial::rehearsals(&proxy),
        judges: judges(&published),
        data_url: format!("{scheme}://{}", data.local_addr()?).into(),
        sessions,
        dashboard_url: config.dashboard_url.clone(),
        trouble: Box::new(move || storing.trouble()),
        trusted_proxies: config.server.trusted_proxies.clone(),
        oidc: oidc::provider(config, &proxy, &clock),
    });
    let server = Server {
        trials,
        data: data.local_addr()?,
        admin: admin.local_addr()?,
        https: tls.is_some(),
        published,
        proxy,
        control: Box::new(control),
        cache,
        logs: Arc::clone(&logs),
        alerts,
        clock,
        tasks: Tasks::new(),
        admin_tasks: Tasks::new(),
        grace: config.server.shutdown_grace,
    };
    server.run_admin(config, admin);
    server.run_data(config, data, tls);
    server.run_upkeep(webhooks, (exports, carrying), logs);
    server.control.set_ready(true);
    Ok(server)
}

/// What carries alerts, and what carries exports.
fn carriers(proxy: &Proxy, clock: &Clock) -> (Webhooks, Arc<Carrying>) {
    let carrying = Carrying::of(proxy, clock);
    (Webhooks::of(proxy, clock), Arc::new(carrying))
}

/// What tells what stored credentials are sealed with.
fn keyring(
    published: &Arc<Published>,
) -> Box<dyn Fn() -> Option<Arc<Keyring>> + Send + std::marker::Sync> {
    let published = Arc::clone(published);
    Box::new(move || published.keyring())
}

/// What tries limits on requests of before.
fn judges(published: &Arc<Published>) -> Box<Judges> {
    let published = Arc::clone(published);
    Box::new(move |account, gateway, limit| published.judge((account, gateway), limit))
}

/// What exports records, and how far it is.
fn exports(
    published: &Arc<Published>,
    logs: &Arc<dyn LogStore>,
    stores: &Stores,
    clock: &Clock,
    registry: &mut Registry,
) -> Arc<Exports> {
    let jobs = Arc::clone(published);
    let parts = isango_exports::Parts {
        logs: Arc::clone(logs),
        tables: Arc::new(isango_records::Parquet),
        config: Arc::clone(published) as _,
        cell: Arc::clone(&published.cell),
        store: Arc::clone(&stores.exports),
        jobs: Box::new(move || jobs.jobs()),
        clock: clock.clone(),
    };
    Arc::new(Exports::new(parts, registry))
}

/// What watches records, and tells.
fn alerts_of(
    config: &Config,
    (cell, clock): (Arc<SnapshotCell>, Clock),
    proxy: &Proxy,
    outbox: Arc<dyn Outbox>,
    registry: &mut Registry,
) -> Arc<Alerts> {
    let drawn = proxy.drawn();
    let parts = Parts {
        config: cell,
        clock,
        drawn: Box::new(move |gateway, limit, bucket, now| drawn.of(gateway, limit, bucket, now)),
        outbox,
        dashboard: config.dashboard_url.clone(),
    };
    Arc::new(Alerts::new(parts, registry))
}

impl Server {
    /// Where the data plane listens (`http://127.0.0.1:8700`).
    #[must_use]
    pub fn data_url(&self) -> String {
        format!(
            "{}://{}",
            if self.https { "https" } else { "http" },
            self.data
        )
    }

    /// Where the admin listener is (`http://127.0.0.1:8701`).
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The link by which somebody becomes the first owner, good for a day; `None`: there is one.
    ///
    /// # Errors
    /// It cannot be stored.
    pub fn setup_link(&self) -> anyhow::Result<Option<Secret>> {
        cli::setup::link(&*self.published, &self.people_url(), self.clock.now())
    }

    /// Where people reach the dashboard.
    fn people_url(&self) -> String {
        let named = self.published.dashboard_url();
        named.map_or_else(|| self.admin_url(), String::from)
    }

    /// Puts a new configuration in force for requests that come from now on. Settings that hold
    /// from the start to the end of a process stay as they are. Gateways that want it lose what was
    /// kept for them when they change.
    pub fn reload(&self, config: &Config) {
        let (old, new) = self.published.configure(config);
        let purges = purges(&old, &new);
        if !purges.is_empty() {
            let cache = Arc::clone(&self.cache);
            self.tasks.spawn(async move {
                let purging = move || published::purge(&*cache, &purges);
                if let Err(error) = tokio::task::spawn_blocking(purging).await {
                    tracing::error!(%error, "emptying the cache failed");
                }
            });
        }
    }

    /// Stops in order: new connections are refused, running answers end (within the grace),
    /// records are stored.
    ///
    /// # Errors
    /// The records thread failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.control.set_ready(false);
        if !self.tasks.stop(self.grace, || self.proxy.cut()).await {
            tracing::warn!(grace = ?self.grace, "answers were cut: they outlasted the grace");
        }
        self.trials.send_replace(true);
        self.proxy.drained().await;
        let proxy = Arc::clone(&self.proxy);
        let (cache, alerts) = (Arc::clone(&self.cache), Arc::clone(&self.alerts));
        let logs = Arc::clone(&self.logs);
        tokio::task::spawn_blocking(move || {
            proxy.close();
            save_limits(&proxy, &*logs);
            alerts.persist();
            if let Err(error) = cache.flush() {
                tracing::warn!(%error, "what was kept last is lost");
            }
        })
        .await?;
        self.control.close_tails();
        self.admin_tasks.stop(Duration::from_secs(1), || ()).await;
        Ok(())
    }
}
