//! The control plane on the admin listener: health and metrics, the management API below
//! `/client/v4`, and the dashboard. [`alerts`] watch what the data plane recorded.
//!
//! `router` lists every route of the API; `auth` decides who may use it, `identity` knows who they
//! are; each resource has a file of its own.

pub mod alerts;

mod analytics;
mod answer;
mod ask;
mod audit;
mod auth;
mod backtest;
mod body;
mod cache;
mod codes;
mod custom_providers;
mod dashboard;
mod door;
mod error;
mod exports;
mod gateways;
mod graphql;
mod idempotent;
mod identity;
mod logpush;
mod logs;
mod params;
mod plan;
mod prices;
mod provider_configs;
mod requests;
mod rerate;
mod revisions;
mod router;
mod settings;
mod simulate;
mod storage;
mod tail;
mod targets;
mod tokens;
mod trial;
mod urls;
mod viewer;
mod views;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use isango_store::cache::CacheStore;
use isango_store::config::ConfigStore;
use isango_store::exports::{Aside, ExportView};
use isango_store::logs::LogStore;
use isango_store::seal::Keyring;
use isango_store::sessions::SessionStore;
use isango_types::health::TargetView;
use isango_types::{Clock, Network, Secret, SnapshotCell, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::alerts::{Alerts, TestAlert};
use crate::dashboard::Dashboard;
use crate::error::Failure;
use crate::idempotent::Known;
use crate::identity::People;
use crate::rerate::Jobs;

pub use crate::backtest::{Judge, Judges, Ruled};
pub use crate::identity::oidc::{Answered, Fetch, Oidc, Question, RoleOf};
pub use crate::router::openapi;
pub use crate::simulate::{Rehearse, Rehearsed};
pub use crate::storage::Measured;
pub use crate::tail::Tails;
pub use crate::trial::{Tried, Try};

/// Requests to the management API that wait for the store of the configuration or of sessions at the
/// same time; others wait for them.
const MAX_BLOCKING: usize = 16;
/// Those that wait for the record store.
const MAX_READING: usize = 16;

/// Exports that are made at the same time; others are refused.
const MAX_EXPORTS: usize = 4;

/// Tells how the targets are.
type Targets = dyn Fn() -> Vec<TargetView> + Send + Sync;

/// Why a destination does not take a test object; names no address.
pub type Tested = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Why what was laid aside was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is nothing of that number.
    Unknown,
    /// In words; names no address.
    Refused(String),
}

/// Sends a batch again that was laid aside.
pub type Resent = Pin<Box<dyn Future<Output = Result<(), NotSent>> + Send>>;

/// What was laid aside of the exports of an account, or why nobody knows.
type Asides = dyn Fn(&str) -> Result<Vec<Aside>, isango_store::exports::Error> + Send + Sync;

/// Forgets one of them; false: it is not there.
type Discard = dyn Fn(&str, u64) -> Result<bool, isango_store::exports::Error> + Send + Sync;

/// Sends one of them again.
type Retry = dyn Fn(&str, u64) -> Resent + Send + Sync;

/// What is known of exports.
pub struct Exporting {
    /// Tells how they are.
    pub views: Box<dyn Fn() -> Vec<ExportView> + Send + Sync>,
    /// Names of the fields that can be exported.
    pub fields: Vec<&'static str>,
    /// A destination without what may be secret in it.
    pub shown: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Writes a test object to a destination.
    pub test: Box<dyn Fn(Secret) -> Tested + Send + Sync>,
    /// Tells what was laid aside of an account. Blocks.
    pub aside: Box<Asides>,
    /// Forgets one of those. Blocks.
    pub discard: Box<Discard>,
    /// Sends one of those again.
    pub retry: Box<Retry>,
}

/// Tells what stored credentials are sealed with, where the operator has named it.
type Keys = dyn Fn() -> Option<Arc<Keyring>> + Send + Sync;

/// What the control plane is made of.
pub struct Parts {
    /// What is shown under `/metrics`.
    pub registry: Registry,
    /// Where answers are kept.
    pub cache: Arc<dyn CacheStore>,
    /// What is stored beside the configuration file; what is committed is in force at once.
    pub config: Arc<dyn ConfigStore>,
    /// What is in force.
    pub cell: Arc<SnapshotCell>,
    /// Where records are.
    pub logs: Arc<dyn LogStore>,
    /// Tells what stored credentials are sealed with.
    pub keyring: Box<Keys>,
    /// What time it is.
    pub clock: Clock,
    /// Tells how the targets are.
    pub targets: Box<Targets>,
    /// Who watches requests.
    pub tails: Arc<Tails>,
    /// What is known of exports.
    pub exports: Exporting,
    /// Sends what is tried to the data plane.
    pub trial: Box<Try>,
    /// Watches records, and tells.
    pub alerts: Arc<Alerts>,
    /// Sends a test message of an alert.
    pub test_alert: Box<TestAlert>,
    /// Measures the store of records.
    pub storage: Box<Measured>,
    /// Asks the data plane what would become of a request.
    pub rehearse: Box<Rehearse>,
    /// Makes judges of limits, for requests of before.
    pub judges: Box<Judges>,
    /// Where the data plane is, as clients reach it from this machine.
    pub data_url: Box<str>,
    /// Who is signed in.
    pub sessions: Arc<dyn SessionStore>,
    /// Where people reach the dashboard, where the operator has named it: pages from there may use
    /// the API.
    pub dashboard_url: Option<Box<str>>,
    /// What keeps records from being stored, in words; `None`: nothing does.
    pub trouble: Box<Trouble>,
    /// The provider of identities by which people sign in, and what asks it; it needs
    /// `dashboard_url`.
    pub oidc: Option<(Oidc, Box<Fetch>)>,
    /// Who is believed when they say in `x-forwarded-for` for whom they ask.
    pub trusted_proxies: Vec<Network>,
}

/// Says what keeps records from being stored.
pub type Trouble = dyn Fn() -> Option<String> + Send + Sync;

/// The shared state of the control plane.
#[derive(Clone)]
pub struct Control {
    registry: Arc<Registry>,
    ready: Arc<AtomicBool>,
    cache: Arc<dyn CacheStore>,
    config: Arc<dyn ConfigStore>,
    cell: Arc<SnapshotCell>,
    logs: Arc<dyn LogStore>,
    keyring: Arc<Keys>,
    clock: Clock,
    targets: Arc<Targets>,
    exporting: Arc<Exporting>,
    data_url: Arc<str>,
    people: Arc<People>,
    started_at: Timestamp,
    blocking: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    tails: Arc<Tails>,
    trial: Arc<Try>,
    alerts: Arc<Alerts>,
    test_alert: Arc<TestAlert>,
    storage: Arc<Measured>,
    rehearse: Arc<Rehearse>,
    judges: Arc<Judges>,
    pages: Arc<Dashboard>,
    known: Arc<Known>,
    jobs: Arc<Jobs>,
    trouble: Arc<Trouble>,
}

impl Control {
    /// A control plane that is not ready until told so.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            registry: Arc::new(parts.registry),
            ready: Arc::default(),
            cache: parts.cache,
            config: parts.config,
            cell: parts.cell,
            logs: parts.logs,
            keyring: parts.keyring.into(),
            started_at: parts.clock.now(),
            clock: parts.clock,
            targets: parts.targets.into(),
            exporting: Arc::new(parts.exports),
            data_url: parts.data_url.into(),
            people: Arc::new(People::new(
                parts.sessions,
                parts.dashboard_url.as_deref().and_then(door::origin),
                parts.trusted_proxies,
                parts.oidc,
            )),
            blocking: Arc::new(Semaphore::new(MAX_BLOCKING)),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            tails: parts.tails,
            trial: parts.trial.into(),
            alerts: parts.alerts,
            test_alert: parts.test_alert.into(),
            storage: parts.storage.into(),
            rehearse: parts.rehearse.into(),
            judges: parts.judges.into(),
            pages: Arc::new(Dashboard::built_in()),
            known: Arc::default(),
            jobs: Arc::default(),
            trouble: parts.trouble.into(),
        }
    }

    /// Says whether new requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Ends every tail, so that shutdown does not wait for those who watch.
    pub fn close_tails(&self) {
        self.tails.close();
    }

    /// Every route of the admin listener, which is at `address`.
    pub fn router(&self, address: SocketAddr) -> Router {
        let is_loopback = address.ip().is_loopback();
        Router::new()
            .route("/cache", get(cache::stats))
            .route("/targets", get(targets::all))
            .route("/exports", get(exports::all))
            .route("/metrics", get(metrics))
            .route_layer(from_fn_with_state(is_loopback, door::no_other_name))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .merge(router::api(self))
            .fallback(dashboard::serve)
            .layer(from_fn_with_state(
                self.people.dashboard.clone(),
                door::no_other_origin,
            ))
            .with_state(self.clone())
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Why a request was not done, for its sender.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    pub(crate) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self(status, why.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// Does what waits for the store of the configuration or of sessions, apart from those who do not wait.
async fn blocking<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Control) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    in_turn(control, &control.blocking, work).await
}

/// Does what waits for the record store: a question may take long, and nobody who signs in, or changes
/// something, waits behind it.
async fn reading<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Control) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    in_turn(control, &control.reading, work).await
}

async fn in_turn<T: Send + 'static>(
    control: &Control,
    turns: &Arc<Semaphore>,
    work: impl FnOnce(&Control) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let control = control.clone();
    let turn = Arc::clone(turns).acquire_owned().await;
    let turn = turn.map_err(|closed| Failure::internal(&closed))?;
    let working = move || {
        let done = work(&control);
        drop(turn);
        done
    };
    match tokio::task::spawn_blocking(working).await {
        Ok(done) => done,
        Err(error) => Err(Failure::internal(&error)),
    }
}

/// The process runs; whether something is wrong that somebody should look at. Requests pass in any
/// case, and a restart would not help: it is 200 always.
async fn healthz(State(control): State<Control>) -> String {
    match (control.trouble)() {
        None => "ok\n".to_owned(),
        Some(what) => format!("degraded: {what}\n"),
    }
}

/// New requests are welcome; 503 before the start and during shutdown.
async fn readyz(State(control): State<Control>) -> (StatusCode, &'static str) {
    match control.ready.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

/// All metrics in the `OpenMetrics` text format, version 1.0.0.
async fn metrics(State(control): State<Control>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &control.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
