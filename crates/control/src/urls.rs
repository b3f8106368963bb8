//! The address of a gateway for a provider (management-api section 3.7).

use axum::extract::{Path, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Control;
use crate::answer::{Answer, Done, Envelope};
use crate::error::{Failure, FailureBody};

/// A provider of a gateway.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct UrlPath {
    /// The account.
    account_id: String,
    /// The gateway.
    gateway_id: String,
    /// Slug of the provider.
    provider: String,
}

/// Tell the address of a gateway for a provider
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/url/{provider}",
    tag = "gateways", params(UrlPath),
    responses((status = 200, body = Envelope<String>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<UrlPath>,
    headers: HeaderMap,
) -> Answer<String> {
    let UrlPath {
        account_id,
        gateway_id,
        provider,
    } = path;
    let snapshot = control.cell.load();
    let provider = match provider.as_str() {
        surface @ ("compat" | "dynamic") => surface,
        slug => {
            let found = snapshot.provider(slug).ok_or_else(Failure::not_found)?;
            &*found.slug
        }
    };
    if snapshot.gateway(&account_id, &gateway_id).is_none() {
        return Err(Failure::not_found());
    }
    let base = reachable(&control.data_url, &headers);
    Ok(Done::new(format!(
        "{base}/v1/{account_id}/{gateway_id}/{provider}"
    )))
}

/// The data plane's address. Where it listens on all addresses, it is reached by the name that led
/// here.
fn reachable(data_url: &str, headers: &HeaderMap) -> String {
    let uri: Option<Uri> = data_url.parse().ok();
    let unnamed = uri
        .as_ref()
        .and_then(Uri::host)
        .filter(|host| ["0.0.0.0", "[::]"].contains(host));
    let here = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    match (unnamed, here) {
        (Some(unnamed), Some(here)) => data_url.replacen(unnamed, here.host(), 1),
        _ => data_url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_gateway_is_told_by_the_name_that_leads_to_it() {
        let check = |data_url: &str, host: &'static str, told: &str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            assert_eq!(reachable(data_url, &headers), told);
        };
        check(
            "http://127.0.0.1:8700",
            "localhost:8701",
            "http://127.0.0.1:8700",
        );
        check(
            "https://0.0.0.0:8700",
            "ai.example:8701",
            "https://ai.example:8700",
        );
        check("http://[::]:8700", "[::1]:8701", "http://[::1]:8700");
        check("http://0.0.0.0:8700", "not a host", "http://0.0.0.0:8700");
    }
}
