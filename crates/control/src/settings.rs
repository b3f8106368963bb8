//! Settings of a gateway that clients of Cloudflare have no field for: targets, fallback, limits of
//! every kind, timeouts. They are the keys of `[[gateways]]`, as JSON.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use isango_store::config::Wrong;
use isango_store::gateways::StoredGateway;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope, Remark};
use crate::auth::Caller;
use crate::body::Members;
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::gateways::{self, GatewayPath};
use crate::{Control, blocking};

/// Keys of `[[gateways]]` of the configuration reference.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct OwnSettings(Map<String, Value>);

/// Read the other settings of a gateway
///
/// The keys of `[[gateways]]` of the configuration reference that were set here. A gateway of the
/// file has them in the file.
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/settings",
    tag = "gateways", params(GatewayPath),
    responses((status = 200, body = Envelope<OwnSettings>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<GatewayPath>,
) -> Answer<OwnSettings> {
    blocking(&control, move |control| {
        if gateways::of_file(control, &path.account_id, &path.gateway_id).is_some() {
            let remark = Remark {
                code: Code::OfFile,
                message: "managed by file: its settings stand there".into(),
            };
            return Ok(Done::new(OwnSettings(Map::new())).remarks(vec![remark]));
        }
        let (stored, version) = gateways::stored(control, &path)?;
        Ok(Done::new(OwnSettings(stored.settings)).version(version))
    })
    .await
}

/// Set the other settings of a gateway
///
/// All of them at once: what is left out has its default again. With `if-match`, only the version
/// that it names is changed.
#[utoipa::path(put,
    path = "/client/v4/accounts/{account_id}/isango/gateways/{gateway_id}/settings",
    tag = "gateways", params(GatewayPath), request_body = OwnSettings,
    responses((status = 200, body = Envelope<OwnSettings>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    headers: HeaderMap,
    Members(settings): Members,
) -> Answer<OwnSettings> {
    let wrong = of_fields(&settings);
    if !wrong.is_empty() {
        return Err(Failure::invalid(wrong));
    }
    let apply = move |stored: &mut StoredGateway| {
        stored.settings = settings.clone();
        Ok(())
    };
    let (stored, version) = gateways::edit(control, caller, path, headers, apply).await?;
    Ok(Done::new(OwnSettings(stored.settings)).version(version))
}

/// Keys that are fields of the gateway itself.
pub(crate) fn of_fields(settings: &Map<String, Value>) -> Vec<Wrong> {
    let told = |path: &[&str]| Wrong {
        path: path.iter().map(|name| (*name).into()).collect(),
        message: "it is a field of the gateway itself, and set there".into(),
    };
    let names = settings
        .keys()
        .filter(|name| StoredGateway::is_of_fields(name));
    let mut wrong: Vec<Wrong> = names.map(|name| told(&[name])).collect();
    if let Some(Value::Object(retry)) = settings.get("retry") {
        let of_fields = ["max_attempts", "delay_ms", "backoff"];
        let names = of_fields.iter().filter(|name| retry.contains_key(**name));
        wrong.extend(names.map(|name| told(&["retry", name])));
    }
    wrong
}
