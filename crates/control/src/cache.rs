//! Kept answers: how many there are, and their removal.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use isango_store::audit::Action;
use isango_store::cache::{Error, Key, Purge, Scope, Stats};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, Refusal, audit, blocking};

/// What to remove: answers of the account for which everything holds that is set. Nothing set: all
/// of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    /// Id of the gateway.
    gateway: Option<Box<str>>,
    /// The `cf-aig-cache-key`, or the value that the gateway's `cache_scope` found.
    scope: Option<Box<str>>,
    /// Model that was asked for.
    model: Option<Box<str>>,
    /// Key of one answer: 64 hex digits, as in its records.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    key: Option<Box<str>>,
    /// Whose question is older than so many seconds.
    older_than_s: Option<u64>,
}

/// How many answers were removed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    /// So many.
    purged: u64,
}

/// How much is kept, in memory and on disk.
pub(crate) async fn stats(State(control): State<Control>) -> Result<Json<Stats>, Refusal> {
    let cache = Arc::clone(&control.cache);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        tracing::error!(error, "the cache failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    match tokio::task::spawn_blocking(move || cache.stats()).await {
        Ok(Ok(stats)) => Ok(Json(stats)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// Remove kept answers
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/cache/purge", tag = "cache",
    params(("account_id" = String, Path, description = "The account.")), request_body = Wanted,
    responses((status = 200, body = Envelope<Purged>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn purge(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<Purged> {
    let wanted: Wanted = body::read(&members)?;
    let now = control.clock.now();
    let key = match wanted.key {
        Some(key) => Some(
            key.parse::<Key>()
                .map_err(|wrong| Failure::wrong(&["key"], wrong.to_string()))?,
        ),
        None => None,
    };
    let what = Purge {
        account: Some(account.as_str().into()),
        gateway: wanted.gateway,
        scope: wanted.scope.map(|scope| Scope::of(scope.as_bytes())),
        model: wanted.model,
        key,
        asked_before: wanted
            .older_than_s
            .map(|seconds| now.minus(Duration::from_secs(seconds))),
    };
    blocking(&control, move |control| {
        let failed = |error: Error| Failure::internal(&error);
        let purged = control.cache.purge(&what).map_err(failed)?;
        tracing::info!(purged, "answers were removed from the cache");
        let done = json!({"wanted": members, "purged": purged});
        let of = (&caller.author(control), &*account);
        audit::note(
            control,
            of,
            Action::Purge,
            ("cache", ""),
            (None, Some(done)),
        )?;
        Ok(Done::new(Purged { purged }))
    })
    .await
}
