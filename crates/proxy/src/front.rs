//! Keeps web pages out of gateways that ask for no token. A page that somebody visits can make the
//! browser send requests to the visitor's own machine, and with a name that it lets lead there (DNS
//! rebinding) even read the answers; what such a gateway has stored would be anybody's to spend.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use isango_types::door::{ANY, Door};

use crate::error::Error;

/// Where a browser says what a request comes from (W3C Fetch Metadata; read 2026-11-23).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks that a request that shows no token is no foreign page's.
///
/// # Errors
/// [`Error::ForeignPage`].
pub(crate) fn admit(door: &Door, head: &Parts) -> Result<(), Error> {
    if let Some(hosts) = &door.hosts
        && let Some(host) = host(head)
        && !is_known(name_of(host), hosts)
    {
        let name: String = name_of(host).chars().take(128).collect();
        return Err(Error::ForeignPage(format!(
            "this gateway asks for no token, and is not known as '{}'; call it by its address, or \
             add the name to `server.allowed_hosts`",
            name.escape_debug()
        )));
    }
    let is_listed = |origin: &str| {
        let mut known = door.origins.iter();
        known.any(|known| **known == *ANY || known.eq_ignore_ascii_case(origin))
    };
    let from = match text(&head.headers, &ORIGIN) {
        Some(origin) if is_local(origin) || is_listed(origin) => return Ok(()),
        Some(origin) => origin,
        None if head.headers.contains_key(ORIGIN) => "(unreadable)",
        None if text(&head.headers, &FETCH_SITE) != Some("cross-site") || is_listed("") => {
            return Ok(());
        }
        None => "another site",
    };
    let from: String = from.chars().take(128).collect();
    Err(Error::ForeignPage(format!(
        "this gateway asks for no token, and takes no requests of the web page '{}'; add it to \
         `server.allowed_origins`, or let the gateway ask for a token",
        from.escape_debug()
    )))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What the client calls the gateway.
fn host(head: &Parts) -> Option<&str> {
    let of_uri = head.uri.authority().map(http::uri::Authority::as_str);
    of_uri
        .or_else(|| text(&head.headers, &HOST))
        .filter(|host| !host.is_empty())
}

/// A host without its port and the dot at its end.
fn name_of(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    name.strip_suffix('.').unwrap_or(name)
}

fn is_known(name: &str, hosts: &[Box<str>]) -> bool {
    let is_listed = |known: &str| *known == *ANY || known.eq_ignore_ascii_case(name);
    // Names that nobody else can make lead here.
    !name.contains('.')
        || address(name).is_some()
        || is_name_of_this_machine(name)
        || hosts.iter().any(|known| is_listed(known))
}

/// Whether a page is one of this machine's.
fn is_local(origin: &str) -> bool {
    let Some((_scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let name = name_of(host);
    is_name_of_this_machine(name) || address(name).is_some_and(|address| address.is_loopback())
}

/// `localhost`, and what ends so (RFC 6761 section 6.3).
fn is_name_of_this_machine(name: &str) -> bool {
    const NAME: &str = "localhost";
    let Some(begin) = name.len().checked_sub(NAME.len()) else {
        return false;
    };
    let ends = name
        .get(begin..)
        .is_some_and(|end| end.eq_ignore_ascii_case(NAME));
    ends && (begin == 0 || name.as_bytes()[begin - 1] == b'.')
}

fn address(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const PAGE: &str = "https://page.example";

    fn check(door: &Door, headers: &[(&str, &str)], admitted: bool) {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(admit(door, &head).is_ok(), admitted, "{door:?} {headers:?}");
    }

    fn door(hosts: Option<&[&str]>, origins: &[&str]) -> Door {
        let own = |list: &[&str]| list.iter().map(|one| (*one).into()).collect();
        Door {
            hosts: hosts.map(own),
            origins: own(origins),
        }
    }

    #[test]
    fn a_name_that_others_could_make_lead_here_is_refused() {
        let named = |host: &str, admitted| {
            check(
                &door(Some(&["ai.example.com"]), &[]),
                &[("host", host)],
                admitted,
            );
        };
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:8700",
            "[::1]:8700",
            "192.168.1.5",
            "localhost",
            "LOCALHOST:1",
            "a.localhost",
            "isango:8700",
            "ai.example.com",
            "AI.example.com.:443",
        ] {
            named(host, true);
        }
        for host in [
            "page.example",
            "page.example:8700",
            "127.0.0.1.page.example",
            "localhost.page.example",
            "ai.example.com.page.example",
            "notlocalhost.x",
            "page.example.",
        ] {
            named(host, false);
        }
        check(&door(None, &[]), &[("host", "page.example")], true);
        check(&door(Some(&["*"]), &[]), &[("host", "page.example")], true);
        let request = Request::builder()
            .uri("http://page.example/v1")
            .body(())
            .unwrap();
        assert!(admit(&door(Some(&[]), &[]), &request.into_parts().0).is_err());
    }

    #[test]
    fn a_page_of_somebody_elses_is_refused() {
        let open = door(None, &[]);
        let of = |origin: &str, admitted| check(&open, &[("origin", origin)], admitted);
        for origin in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:80",
            "http://a.localhost",
        ] {
            of(origin, true);
        }
        for origin in [
            PAGE,
            "null",
            "",
            "http://localhost.page.example",
            "http://10.0.0.1",
            "file://",
            "x",
        ] {
            of(origin, false);
        }
        for (site, admitted) in [("cross-site", false), ("same-origin", true), ("none", true)] {
            check(&open, &[("sec-fetch-site", site)], admitted);
        }
        let local = [
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "cross-site"),
        ];
        check(&open, &local, true);
        check(&open, &[], true);
        check(&door(None, &[PAGE]), &[("origin", PAGE)], true);
        check(
            &door(None, &[PAGE]),
            &[("origin", "https://other.example")],
            false,
        );
        check(&door(None, &["*"]), &[("origin", PAGE)], true);
        check(
            &door(None, &["*"]),
            &[("sec-fetch-site", "cross-site")],
            true,
        );
    }
}
