//! Fal: a request may name another host of Fal in `x-fal-target-url`, as Fal's own clients do when
//! a gateway is their proxy (data-plane section 2). Then the gateway's own path and query go.

use http::HeaderMap;

use super::append::{self, plain};
use super::{Mapped, invalid, segment};
use crate::error::Error;

const TARGET_URL: &str = "x-fal-target-url";

/// Domains of Fal; a target is one of these or below one of these.
const DOMAINS: [&str; 2] = ["fal.run", "fal.ai"];

pub(super) fn map<'p>(path: &'p str, headers: &'p HeaderMap) -> Result<Mapped<'p>, Error> {
    let Some(value) = headers.get(TARGET_URL) else {
        return Ok(append::map(path));
    };
    let wrong = || {
        invalid(
            "x-fal-target-url is an https address on fal.run or fal.ai, or below them, without \
             port, user name and dotted segments",
        )
    };
    let text = value.to_str().map_err(|_not_ascii| wrong())?;
    let address = text.strip_prefix("https://").ok_or_else(wrong)?;
    let address = address.split('#').next().unwrap_or("");
    let (address, query) = address.split_at(address.find('?').unwrap_or(address.len()));
    let (host, path) = segment::first(address);
    let host = host.to_ascii_lowercase();
    if !is_host(&host) || segment::has_dots(path) {
        return Err(wrong());
    }
    Ok(Mapped {
        path: plain(path),
        host: Some((host, query)),
        ..Mapped::default()
    })
}

fn is_host(host: &str) -> bool {
    let is_below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|left| left.is_empty() || left.ends_with('.'))
    };
    host.len() <= 253 && host.split('.').all(segment::is_label) && DOMAINS.into_iter().any(is_below)
}
