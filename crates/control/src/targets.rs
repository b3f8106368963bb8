//! How targets are: circuits, latency, headroom.

use axum::Json;
use axum::extract::{Path, State};
use isango_types::health::TargetView;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Control;
use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::error::FailureBody;

/// Every configured target and how it is, by account, gateway and order.
pub(crate) async fn all(State(control): State<Control>) -> Json<TargetList> {
    Json(TargetList {
        targets: (control.targets)(),
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct TargetList {
    targets: Vec<TargetView>,
}

/// A target: `account`, `gateway`, `target`, and how it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct TargetState(TargetView);

impl Listed for TargetState {
    fn place(&self) -> String {
        format!("{}/{}", self.0.gateway, self.0.target)
    }
}

/// List targets and how they are
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/targets", tag = "targets",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<TargetState>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<TargetState>> {
    let mut targets = (control.targets)();
    targets.retain(|target| *target.account == *account);
    let targets = targets.into_iter().map(TargetState).collect();
    Ok(Done::page(targets, &page))
}
