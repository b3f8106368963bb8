//! `/cache`: what is kept, and its removal.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use isango_store::cache::{Error, Key, Purge, Scope, Stats};
use serde::{Deserialize, Serialize};

use crate::{Control, Refusal};

/// What to remove: answers for which everything holds that is set. Nothing set: all of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Account of the gateway.
    account: Option<Box<str>>,
    /// Id of the gateway.
    gateway: Option<Box<str>>,
    /// The `cf-aig-cache-key`, or the value that the gateway's `cache_scope` found.
    scope: Option<Box<str>>,
    /// Model that was asked for.
    model: Option<Box<str>>,
    /// Key of one answer: 64 hex digits, as in its records.
    key: Option<Box<str>>,
    /// Whose question is older than so many seconds.
    older_than_s: Option<u64>,
}

/// How many answers were removed.
#[derive(Debug, Serialize)]
pub(crate) struct Purged {
    purged: u64,
}

/// How much is kept, in memory and on disk.
pub(crate) async fn stats(State(control): State<Control>) -> Result<Json<Stats>, Refusal> {
    let cache = Arc::clone(&control.cache);
    blocking(move || cache.stats()).await.map(Json)
}

/// Removes answers. The body must be declared as JSON, which a page of another origin cannot do
/// unasked.
pub(crate) async fn purge(
    State(control): State<Control>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Purged>, Refusal> {
    let now = control.clock.now();
    let what = Purge {
        account: wanted.account,
        gateway: wanted.gateway,
        scope: wanted.scope.map(|scope| Scope::of(scope.as_bytes())),
        model: wanted.model,
        key: match wanted.key {
            Some(key) => Some(key.parse::<Key>().map_err(|wrong| {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, wrong.to_string())
            })?),
            None => None,
        },
        asked_before: wanted
            .older_than_s
            .map(|seconds| now.minus(Duration::from_secs(seconds))),
    };
    let cache = Arc::clone(&control.cache);
    let purged = blocking(move || cache.purge(&what)).await?;
    tracing::info!(purged, "answers were removed from the cache");
    Ok(Json(Purged { purged }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        tracing::error!(error, "the cache failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}
