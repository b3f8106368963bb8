//! Whoever takes a POST: webhooks, and the collectors of Splunk and Datadog.

use http::{HeaderName, HeaderValue};
use isango_types::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Allowed, DestinationError, Framing, Parameters, Parsed, Post, To, host, wrong};
use crate::path::Template;

pub(super) fn post(
    scheme: &str,
    rest: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    let headers = parameters.headers()?;
    let place = rest.split_once('?').map_or(rest, |(place, _)| place);
    let url = format!("{scheme}://{place}");
    collector(&url, "/", (headers, &parameters), (Framing::Lines, allowed))
}

pub(super) fn splunk(
    place: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    if parameters
        .take("insecure-skip-verify")
        .is_some_and(|value| value != "false")
    {
        return wrong(
            "`insecure-skip-verify` is `false`: trust a certificate of your own by \
             `upstream.extra_ca_file`",
        );
    }
    let mut headers = parameters.headers()?;
    if !has(&headers, "authorization") {
        return wrong("`splunk://` needs `header_Authorization=Splunk%20<token>`");
    }
    if let Some(channel) = parameters.take("channel") {
        let bad = |_invalid| DestinationError("`channel` is an id of Splunk's".into());
        let value = HeaderValue::try_from(channel).map_err(bad)?;
        headers.push((HeaderName::from_static("x-splunk-request-channel"), value));
    }
    collector(
        &addressed(place, allowed),
        "/services/collector/raw",
        (headers, &parameters),
        (Framing::Lines, allowed),
    )
}

pub(super) fn datadog(
    place: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    let headers = parameters.headers()?;
    if !has(&headers, "dd-api-key") {
        return wrong("`datadog://` needs `header_DD-API-KEY=<key>`");
    }
    collector(
        &addressed(place, allowed),
        "/api/v2/logs",
        (headers, &parameters),
        (Framing::Array, allowed),
    )
}

type Headers = Vec<(HeaderName, HeaderValue)>;

fn has(headers: &Headers, wanted: &str) -> bool {
    headers.iter().any(|(name, _)| name.as_str() == wanted)
}

/// The receiver at `url`, or at `usual` below it where that has no path. Parameters that nobody took
/// stay in its address.
fn collector(
    url: &str,
    usual: &str,
    (headers, parameters): (Headers, &Parameters),
    (framing, allowed): (Framing, Allowed),
) -> Parsed<(To, Template)> {
    let (host, path) = host(url, allowed)?;
    let path = match path.expose() {
        "/" => usual,
        other => other,
    };
    let post = Post {
        host,
        path: path_and_query(path, parameters),
        headers,
        framing,
    };
    Ok((To::Post(post), Template::default()))
}

/// A path with parameters.
fn path_and_query(path: &str, parameters: &Parameters) -> Secret {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = parameters.0.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let pairs: Vec<String> = pairs.collect();
    match pairs.is_empty() {
        true => Secret::new(path),
        false => Secret::new(format!("{path}?{}", pairs.join("&"))),
    }
}

/// These kinds name no scheme: TLS, but on this machine, where the operator allows that.
fn addressed(place: &str, allowed: Allowed) -> String {
    let is_here = ["127.0.0.1:", "localhost:", "[::1]:"];
    let is_clear = allowed.private && is_here.iter().any(|here| place.starts_with(here));
    let scheme = if is_clear { "http" } else { "https" };
    format!("{scheme}://{place}")
}
