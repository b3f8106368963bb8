//! Batches of exports that their destinations refused for good, and that are laid aside: told, sent
//! again, dropped. Those of the configuration file's exports are among them.

use axum::extract::{Path, State};
use isango_store::audit::Action;
use isango_store::exports::Aside;
use isango_types::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::number;
use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::{Control, NotSent, audit, blocking};

/// A batch of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct BatchPath {
    /// The account.
    account_id: String,
    /// The batch.
    #[serde(deserialize_with = "number")]
    batch_id: u64,
}

/// A batch that is laid aside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AsideView {
    /// Its number.
    id: u64,
    /// Whose it is, by the name of the export.
    job: Box<str>,
    /// What it was to be called.
    name: Box<str>,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why, in the destination's words.
    why: Box<str>,
    /// How long it is, packed.
    bytes: u64,
}

impl From<Aside> for AsideView {
    fn from(one: Aside) -> Self {
        Self {
            id: one.id,
            job: one.job,
            name: one.name,
            at: one.at,
            why: one.why,
            bytes: one.bytes,
        }
    }
}

/// List batches that are laid aside
///
/// What a webhook or collector refused for its contents, again and again; the oldest first.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/logpush/aside", tag = "logpush",
    params(("account_id" = String, Path, description = "The account.")),
    responses((status = 200, body = Envelope<Vec<AsideView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
) -> Answer<Vec<AsideView>> {
    blocking(&control, move |control| {
        let all = (control.exporting.aside)(&account);
        let all = all.map_err(|error| Failure::internal(&error))?;
        Ok(Done::new(all.into_iter().map(Into::into).collect()))
    })
    .await
}

/// Drop a batch that is laid aside
///
/// Its records are exported no more.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/logpush/aside/{batch_id}",
    tag = "logpush", params(BatchPath),
    responses((status = 200, body = Envelope<AsideView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<BatchPath>,
) -> Answer<AsideView> {
    blocking(&control, move |control| {
        let one = find(control, &path)?;
        let failed = |error| Failure::internal(&error);
        if !(control.exporting.discard)(&path.account_id, path.batch_id).map_err(failed)? {
            return Err(Failure::not_found());
        }
        let of = (&caller.author(control), &*path.account_id);
        audit::note(
            control,
            of,
            Action::Delete,
            ("batch", &one.name),
            (None, None),
        )?;
        Ok(Done::new(one.into()))
    })
    .await
}

/// Send a batch again that is laid aside
///
/// Once, at once, as it was, with the id that it had; once it is taken, it is not laid aside any more.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/logpush/aside/{batch_id}/retry",
    tag = "logpush", params(BatchPath),
    responses((status = 200, body = Envelope<AsideView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn retry(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<BatchPath>,
) -> Answer<AsideView> {
    let BatchPath {
        account_id,
        batch_id,
    } = path.clone();
    let one = blocking(&control, move |control| {
        let one = find(control, &path)?;
        let of = (&caller.author(control), &*path.account_id);
        audit::note(
            control,
            of,
            Action::Export,
            ("batch", &one.name),
            (None, None),
        )?;
        Ok(one)
    })
    .await?;
    match (control.exporting.retry)(&account_id, batch_id).await {
        Ok(()) => Ok(Done::new(one.into())),
        Err(NotSent::Unknown) => Err(Failure::not_found()),
        Err(NotSent::Refused(why)) => Err(Failure::wrong(&["batch_id"], &why)),
    }
}

fn find(control: &Control, path: &BatchPath) -> Result<Aside, Failure> {
    let all = (control.exporting.aside)(&path.account_id);
    let all = all.map_err(|error| Failure::internal(&error))?;
    let found = all.into_iter().find(|one| one.id == path.batch_id);
    found.ok_or_else(Failure::not_found)
}
