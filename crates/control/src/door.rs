//! Who may use the admin listener: a browser must not be talked into using it by somebody else's
//! page. Some of it has no login, and the rest may be used by a session.
//!
//! Browsers say which page a request comes from (`origin`, `sec-fetch-site`), and which name led to
//! this address (`host`). A page of another origin is let in nowhere. One whose name was made to
//! lead here calls itself of the same origin (DNS rebinding); it is told by that name, which is
//! neither an address nor `localhost` nor that of `dashboard_url`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Refusal;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Refuses what a page of another origin sends; `dashboard` is the origin of people's pages, where
/// the operator has named it.
pub(crate) async fn no_other_origin(
    State(dashboard): State<Option<Arc<str>>>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    if is_of_another_origin(&head, dashboard.as_deref()) {
        let message = "pages of other origins may not use the admin listener";
        return Refusal::new(StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(Request::from_parts(head, body)).await
}

/// Refuses what came by another name than an address or `localhost`, where the listener
/// `is_loopback`: no other name leads to it but one that was made to.
pub(crate) async fn no_other_name(
    State(is_loopback): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    if is_loopback && !host(&head).is_none_or(is_here) {
        let message = "ask the admin listener by its address or as localhost, not by another name";
        return Refusal::new(StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(Request::from_parts(head, body)).await
}

fn text(head: &Parts, name: HeaderName) -> Option<&str> {
    let value = head.headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}

/// Where the request was sent to, as its sender calls it.
fn host(head: &Parts) -> Option<&str> {
    text(head, HOST).or_else(|| head.uri.authority().map(Authority::as_str))
}

/// Programs say nothing of all this; browsers name the origin of everything that may change
/// something (Fetch standard, sections 3.2 and 4.5).
fn is_of_another_origin(head: &Parts, dashboard: Option<&str>) -> bool {
    if let Some(origin) = text(head, ORIGIN) {
        if dashboard.is_some_and(|dashboard| origin.eq_ignore_ascii_case(dashboard)) {
            return false;
        }
        let page = origin.split_once("://").map(|(_scheme, page)| page);
        return page.is_none_or(|page| host(head) != Some(page) || !is_here(page));
    }
    let is_embedded = matches!(text(head, SITE), Some("cross-site" | "same-site"));
    let follows_link = head.method == Method::GET && text(head, MODE) == Some("navigate");
    is_embedded && !follows_link
}

/// The origin of a URL, as browsers write it; `None`: it has none.
pub(crate) fn origin(url: &str) -> Option<Arc<str>> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let default = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    let host = authority.strip_suffix(default).unwrap_or(authority);
    (!host.is_empty()).then(|| format!("{scheme}://{host}").to_ascii_lowercase().into())
}

/// Whether a host is an address, or the name that every machine has for itself.
fn is_here(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else {
        return false;
    };
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let own = name
        .strip_suffix(".localhost")
        .map_or(name, |_sub| "localhost");
    address.parse::<IpAddr>().is_ok() || own.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_origin() {
        for (url, found) in [
            ("https://isango.example.com", "https://isango.example.com"),
            (
                "https://Isango.example.com:443/ui?a",
                "https://isango.example.com",
            ),
            ("http://10.0.0.7:8701/", "http://10.0.0.7:8701"),
            ("http://a.example:443", "http://a.example:443"),
        ] {
            assert_eq!(origin(url).as_deref(), Some(found), "{url}");
        }
        for none in ["", "isango.example.com", "https://"] {
            assert_eq!(origin(none), None, "{none}");
        }
    }

    #[test]
    fn addresses_and_localhost_are_here() {
        for here in [
            "127.0.0.1",
            "127.0.0.1:8701",
            "10.0.0.7:80",
            "[::1]:8701",
            "localhost",
            "LOCALHOST:8701",
            "isango.localhost:8701",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:8701",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1 evil",
            "::1",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
