//! What records take on the disk, and for how long there is room.

use axum::extract::{Path, State};
use isango_store::logs::Error;
use isango_store::usage::Projection;
use isango_store::users;
use isango_types::role::EVERY_ACCOUNT;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::ask::failed;
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::{Control, reading};

/// Measures the store; `None`: it is on no disk of this machine.
pub type Measured = dyn Fn() -> Result<Option<Projection>, Error> + Send + Sync;

/// What the store takes: `records`, bytes by part (`journal_bytes`, `index_bytes`, `column_bytes`,
/// `rollup_bytes`, `overlay_bytes`, `torn_bytes`, `total_bytes`), `days` (`day`, `records`,
/// `journal_bytes`; the latest 30), `free_bytes`, `bytes_per_day`, `days_left`, `full_at`, and
/// `retention` (`max_bytes`, `max_age_s`, `max_body_age_s`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct StorageView(Projection);

/// Read what records take
///
/// Of the store as a whole: by part and by day, what is free, and when nothing will be, by the pace
/// of the last seven whole days. Where there are other accounts, for who owns everything.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/storage", tag = "storage",
    params(("account_id" = String, Path, description = "The account.")),
    responses((status = 200, body = Envelope<StorageView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<StorageView> {
    let measuring = reading(&control, move |control| {
        if !caller.owns_all() && !is_alone(control, &account)? {
            let why = "there are other accounts: who owns everything may see this";
            return Err(Failure::forbidden(why));
        }
        (control.storage)().map_err(|error| failed(&error))
    });
    let projection = measuring.await?.ok_or_else(Failure::not_found)?;
    Ok(Done::new(StorageView(projection)))
}

/// Whether nobody but an account is configured.
fn is_alone(control: &Control, account: &str) -> Result<bool, Failure> {
    let is_other = |other: &str| *other != *account;
    let snapshot = control.cell.get();
    let mut gateways = snapshot.gateways();
    let mut tokens = snapshot.tokens();
    if gateways.any(|one| is_other(&one.account)) || tokens.any(|one| is_other(&one.account)) {
        return Ok(false);
    }
    let contents = control.config.read()?;
    let users = users::all(&contents).filter_map(Result::ok);
    let mut of_users = users.flat_map(|user| user.roles.into_keys());
    Ok(!of_users.any(|of| is_other(&of) && *of != *EVERY_ACCOUNT))
}
