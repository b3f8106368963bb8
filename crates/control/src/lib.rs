//! The control plane on the admin listener: health, metrics, and the cache. Management resources
//! join here. [`alerts`] watch what the data plane recorded.

pub mod alerts;

mod cache;
mod door;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use isango_store::cache::CacheStore;
use isango_types::Clock;
use isango_types::health::TargetView;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::json;

/// Tells how the targets are.
type Targets = dyn Fn() -> Vec<TargetView> + Send + Sync;

/// The shared state of the control plane.
#[derive(Clone)]
pub struct Control {
    registry: Arc<Registry>,
    ready: Arc<AtomicBool>,
    cache: Arc<dyn CacheStore>,
    clock: Clock,
    targets: Arc<Targets>,
}

impl Control {
    /// A control plane that shows the metrics of `registry`, what `cache` keeps, and what `targets`
    /// tells of them. It is not ready until told so.
    #[must_use]
    pub fn new(
        registry: Registry,
        cache: Arc<dyn CacheStore>,
        clock: Clock,
        targets: impl Fn() -> Vec<TargetView> + Send + Sync + 'static,
    ) -> Self {
        Self {
            registry: Arc::new(registry),
            ready: Arc::default(),
            cache,
            clock,
            targets: Arc::new(targets),
        }
    }

    /// Says whether new requests are welcome.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Every route of the admin listener, which is at `address`.
    pub fn router(&self, address: SocketAddr) -> Router {
        let is_loopback = address.ip().is_loopback();
        Router::new()
            .route("/cache", get(cache::stats))
            .route("/cache/purge", post(cache::purge))
            .route("/targets", get(targets))
            .route_layer(from_fn_with_state(is_loopback, door::no_other_name))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .layer(from_fn(door::no_other_origin))
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

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
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

/// Every configured target and how it is, by account, gateway and order.
async fn targets(State(control): State<Control>) -> Json<TargetList> {
    Json(TargetList {
        targets: (control.targets)(),
    })
}

#[derive(Serialize)]
struct TargetList {
    targets: Vec<TargetView>,
}
