//! Alerts as the management API tells them: which there are and how they stand, a test of their
//! webhooks, and quiet for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use isango_store::audit::Action;
use isango_store::config::{Change, Kind};
use isango_store::mutes::{self, Mute};
use isango_types::alert::{Format, Kind as Watched, When};
use isango_types::{Alert, Gateway, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Posted;
use super::standing::Standing;
use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, audit, blocking};

/// Shortest and longest time that an alert may be quiet, in seconds.
const MUTES: std::ops::RangeInclusive<u64> = 60..=90 * 86_400;

/// What a webhook said to a test message, or why it said nothing, in words that name no address.
pub type Tested = Pin<Box<dyn Future<Output = Result<Posted, String>> + Send>>;

/// Sends a test message to the webhook of an alert, once.
pub type TestAlert = dyn Fn(Arc<Gateway>, Arc<Alert>) -> Tested + Send + Sync;

/// An alert of a gateway.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AlertPath {
    /// The account.
    account_id: String,
    /// The gateway.
    gateway_id: String,
    /// The alert: its name, unique in the gateway.
    alert_id: String,
}

/// An alert, and how it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    /// The gateway that has it.
    gateway: Box<str>,
    /// Its name, unique in the gateway.
    id: Box<str>,
    /// What it watches: `limit`; of requests `error_rate`, `ttfb`, `duration` or `unpriced`.
    watches: &'static str,
    /// The limit, where it watches one.
    limit: Option<Box<str>>,
    /// The share from which on it is due, in percent.
    percent: f64,
    /// Of a limit: whether it is due already when the share will be drawn at this pace.
    forecast: bool,
    /// Of `ttfb` and `duration`: what is late, in seconds.
    over_s: Option<f64>,
    /// Of requests: those of so long are looked at, in seconds.
    window_s: Option<u64>,
    /// Of requests: fewer than these say nothing.
    min_requests: Option<u64>,
    /// Of requests: how long it is quiet after it was told, in seconds.
    repeat_after_s: Option<u64>,
    /// How its webhook is written to: `json` or `slack`.
    format: &'static str,
    /// Who changes it: `file`, only the configuration file.
    managed_by: &'static str,
    /// How it stands.
    #[serde(flatten)]
    standing: StandingView,
    /// Until when it is quiet; null: it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    muted_until: Option<Timestamp>,
}

/// How an alert stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StandingView {
    /// Of a limit: it was told of a bucket whose window has not ended. Of requests: too many of those
    /// in its window are of its kind.
    firing: bool,
    /// When it was last told; null: not since the server started, and nothing of before waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_fired_at: Option<Timestamp>,
    /// How often it was told since the server started.
    fired: u64,
    /// Messages that its webhook has not taken yet.
    waiting: u64,
    /// When it last took one, since the server started.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
    /// When the last try failed; null where a later one did not.
    #[schema(value_type = Option<String>, format = DateTime)]
    failed_at: Option<Timestamp>,
    /// Why; names no address.
    failure: Option<Box<str>>,
}

impl From<Standing> for StandingView {
    fn from(standing: Standing) -> Self {
        let (failed_at, failure) = standing.failure.unzip();
        Self {
            firing: standing.is_firing,
            last_fired_at: standing.last_fired_at,
            fired: standing.fired,
            waiting: standing.waiting,
            delivered_at: standing.delivered_at,
            failed_at,
            failure,
        }
    }
}

impl Listed for AlertView {
    fn place(&self) -> String {
        format!("{}/{}", self.gateway, self.id)
    }
}

/// An alert and the gateway that has it.
type Of = (Arc<Gateway>, Arc<Alert>);

impl AlertView {
    fn new(control: &Control, (gateway, alert): &Of, standing: Standing) -> Self {
        let mut view = Self {
            gateway: gateway.id.clone(),
            id: alert.id.clone(),
            watches: "limit",
            limit: None,
            percent: 0.0,
            forecast: false,
            over_s: None,
            window_s: None,
            min_requests: None,
            repeat_after_s: None,
            format: match alert.webhook.format {
                Format::Json => "json",
                Format::Slack => "slack",
            },
            managed_by: "file",
            standing: standing.into(),
            muted_until: control.cell.load().muted_until(
                (&gateway.account, &gateway.id),
                &alert.id,
                control.clock.now(),
            ),
        };
        let share = match &alert.when {
            When::Drawn {
                limit,
                share,
                forecast,
            } => {
                view.limit = Some(limit.id.clone());
                view.forecast = *forecast;
                share
            }
            When::Often {
                kind,
                share,
                window,
                min_requests,
                repeat_after,
            } => {
                view.watches = kind.as_str();
                view.over_s = match kind {
                    Watched::FirstByte(over) | Watched::Total(over) => Some(over.as_secs_f64()),
                    Watched::Failed | Watched::Unpriced => None,
                };
                view.window_s = Some(window.as_secs());
                view.min_requests = Some(*min_requests);
                view.repeat_after_s = Some(repeat_after.as_secs());
                share
            }
        };
        view.percent = share.as_percent();
        view
    }

    fn all(control: &Control, alerts: &[Of]) -> Vec<Self> {
        let standings = control.alerts.standings(alerts);
        let both = alerts.iter().zip(standings);
        both.map(|(of, standing)| Self::new(control, of, standing))
            .collect()
    }

    fn one(control: &Control, of: Of) -> Answer<Self> {
        let mut views = Self::all(control, &[of]);
        views.pop().map(Done::new).ok_or_else(Failure::not_found)
    }
}

/// What became of a test message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestView {
    /// Whether the webhook took it.
    delivered: bool,
    /// Its status.
    status: Option<u16>,
    /// What it said, or why it said nothing; names no address.
    said: String,
}

/// Quiet for a while.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMute {
    /// For so many seconds from now.
    #[schema(minimum = 60, maximum = 7_776_000)]
    for_s: u64,
}

/// List alerts
///
/// Those of the gateways that are there for whoever asks, by gateway and name.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/alerts", tag = "alerts",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<AlertView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<AlertView>> {
    let snapshot = control.cell.get();
    let gateways = snapshot.gateways();
    let gateways = gateways.filter(|one| *one.account == *account && caller.sees(&one.id));
    let mut alerts: Vec<Of> = gateways
        .flat_map(|one| {
            one.alerts
                .iter()
                .map(|alert| (Arc::clone(one), Arc::clone(alert)))
        })
        .collect();
    alerts.sort_by(|(one, first), (other, second)| {
        (&one.id, &first.id).cmp(&(&other.id, &second.id))
    });
    Ok(Done::page(AlertView::all(&control, &alerts), &page))
}

/// Read an alert
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/alerts/{alert_id}",
    tag = "alerts", params(AlertPath),
    responses((status = 200, body = Envelope<AlertView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<AlertPath>,
) -> Answer<AlertView> {
    AlertView::one(&control, find(&control, &path)?)
}

/// Send a test message
///
/// To the webhook of the alert, once, at once, and marked as a test; as `isango alerts test` does.
#[utoipa::path(post,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/alerts/{alert_id}/test",
    tag = "alerts", params(AlertPath),
    responses((status = 200, body = Envelope<TestView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn test(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<AlertPath>,
) -> Answer<TestView> {
    let (gateway, alert) = find(&control, &path)?;
    blocking(&control, move |control| {
        let of = (&caller.author(control), &*path.account_id);
        let id = format!("{}/{}", path.gateway_id, path.alert_id);
        audit::note(control, of, Action::Test, ("alert", &id), (None, None))
    })
    .await?;
    let said = (control.test_alert)(gateway, alert).await;
    Ok(Done::new(match said {
        Ok(posted) => TestView {
            delivered: posted.status.is_success(),
            status: Some(posted.status.as_u16()),
            said: posted.shown(),
        },
        Err(why) => TestView {
            delivered: false,
            status: None,
            said: why,
        },
    }))
}

/// Keep an alert quiet
///
/// For a while, in the place of any other. What would have been told meanwhile is told when it may
/// speak again, if it is due still; what was decided before arrives.
#[utoipa::path(post,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/alerts/{alert_id}/mute",
    tag = "alerts", params(AlertPath), request_body = NewMute,
    responses((status = 200, body = Envelope<AlertView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn mute(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<AlertPath>,
    Members(members): Members,
) -> Answer<AlertView> {
    let NewMute { for_s } = body::read(&members)?;
    if !MUTES.contains(&for_s) {
        let (least, most) = (MUTES.start(), MUTES.end());
        let message = format!("a number of seconds from {least} to {most}; found {for_s}");
        return Err(Failure::wrong(&["for_s"], message));
    }
    let until = control.clock.now().plus(Duration::from_secs(for_s));
    set(control, caller, path, Some(until)).await
}

/// Let an alert speak again
#[utoipa::path(delete,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/alerts/{alert_id}/mute",
    tag = "alerts", params(AlertPath),
    responses((status = 200, body = Envelope<AlertView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn unmute(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<AlertPath>,
) -> Answer<AlertView> {
    set(control, caller, path, None).await
}

async fn set(
    control: Control,
    caller: Caller,
    path: AlertPath,
    until: Option<Timestamp>,
) -> Answer<AlertView> {
    let found = find(&control, &path)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let id = mutes::entity_id(&path.account_id, &path.gateway_id, &path.alert_id);
        let contents = control.config.read()?;
        let entity = contents.find(Kind::Mute, &id);
        let body = until.map(|until| serde_json::to_string(&Mute { until }));
        let body = body
            .transpose()
            .map_err(|error| Failure::internal(&error))?;
        let change = match (entity, body) {
            (None, None) => None,
            (None, Some(body)) => Some(Change::add(Kind::Mute, &id, body)),
            (Some(entity), None) => Some(Change::remove(entity)),
            (Some(entity), Some(body)) => Some(Change::replace(entity, body)),
        };
        // Those that have ended go with it, so that none stays of an alert that is gone.
        let ended = mutes::all(&contents).filter(|(entity, account, _, mute)| {
            **account == *path.account_id && *entity.id != *id && mute.until <= author.at
        });
        let ended = ended.map(|(entity, ..)| Change::remove(entity));
        let changes: Vec<Change> = change.into_iter().chain(ended).collect();
        if !changes.is_empty() {
            control.config.commit_as(&author, &changes)?;
        }
        AlertView::one(control, found)
    })
    .await
}

fn find(control: &Control, path: &AlertPath) -> Result<Of, Failure> {
    let snapshot = control.cell.load();
    let gateway = snapshot.gateway(&path.account_id, &path.gateway_id);
    let gateway = gateway.ok_or_else(Failure::not_found)?;
    let alert = gateway.alerts.iter().find(|one| *one.id == *path.alert_id);
    let alert = alert.ok_or_else(Failure::not_found)?;
    Ok((Arc::clone(gateway), Arc::clone(alert)))
}
