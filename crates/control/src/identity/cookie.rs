//! The cookie of a session.
//!
//! Pages that came by TLS get one whose name no other host and no cleartext can set (`__Host-`, RFC
//! 6265bis section 4.1.3.2); others one that goes to the management API alone.

use axum::http::header::{COOKIE, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use isango_types::Secret;

use super::LONGEST;
use super::oidc::PATIENCE;

const PLAIN: &str = "isango_session";
const SECURE: &str = "__Host-isango_session";
/// What a browser brings back from a provider of identities.
const PLAIN_BINDING: &str = "isango_oidc";
const SECURE_BINDING: &str = "__Host-isango_oidc";
/// Longest cookie that is looked at, in bytes.
const MAX_BYTES: usize = 128;

/// The session that a request shows; the one that came by TLS, where there are two.
pub(crate) fn shown(headers: &HeaderMap) -> Option<Secret> {
    found(headers, [SECURE, PLAIN])
}

/// What a browser brings back that was sent to a provider of identities.
pub(crate) fn shown_binding(headers: &HeaderMap) -> Option<Secret> {
    found(headers, [SECURE_BINDING, PLAIN_BINDING])
}

fn found(headers: &HeaderMap, names: [&str; 2]) -> Option<Secret> {
    let named = |wanted: &str| {
        let values = headers.get_all(COOKIE).into_iter();
        let mut pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
        (value.len() <= MAX_BYTES).then(|| Secret::new(value))
    };
    names.into_iter().find_map(named)
}

/// What keeps a session in the browser that sent these headers.
pub(crate) fn set(headers: &HeaderMap, cookie: &Secret) -> HeaderValue {
    set_by(came_by_tls(headers), cookie)
}

/// The same where it is known whether the page came by TLS.
pub(crate) fn set_by(is_secure: bool, cookie: &Secret) -> HeaderValue {
    let names = (SECURE, PLAIN);
    made(
        is_secure,
        names,
        cookie.expose(),
        ("Strict", LONGEST.as_secs()),
    )
}

/// What makes that browser forget it.
pub(crate) fn forget(headers: &HeaderMap) -> HeaderValue {
    made(came_by_tls(headers), (SECURE, PLAIN), "", ("Strict", 0))
}

/// What a browser keeps while it is with a provider of identities, and brings back when a page of
/// another site sends it here; an empty one is forgotten.
pub(crate) fn binding(is_secure: bool, value: &Secret) -> HeaderValue {
    let value = value.expose();
    let seconds = if value.is_empty() {
        0
    } else {
        PATIENCE.as_secs()
    };
    made(
        is_secure,
        (SECURE_BINDING, PLAIN_BINDING),
        value,
        ("Lax", seconds),
    )
}

/// Browsers name the origin of every change.
fn came_by_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}

fn made(
    is_secure: bool,
    (secure, plain): (&str, &str),
    value: &str,
    (site, seconds): (&str, u64),
) -> HeaderValue {
    let (name, place) = match is_secure {
        true => (secure, "; Path=/; Secure"),
        false => (plain, "; Path=/client/v4"),
    };
    let text = format!("{name}={value}{place}; HttpOnly; SameSite={site}; Max-Age={seconds}");
    // It is made of the characters of tokens.
    let made = HeaderValue::try_from(text);
    let mut made = made.unwrap_or_else(|_unwritable| HeaderValue::from_static(""));
    made.set_sensitive(true);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                axum::http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let check = |cookies: &[&str], found: Option<&str>| {
            let all: Vec<_> = cookies.iter().map(|text| ("cookie", *text)).collect();
            let mut map = HeaderMap::new();
            for (name, value) in all {
                map.append(name, HeaderValue::from_str(value).unwrap());
            }
            let shown = shown(&map);
            assert_eq!(shown.as_ref().map(Secret::expose), found, "{cookies:?}");
        };
        check(&[], None);
        check(&["a=b; isango_session=iss_x; c=d"], Some("iss_x"));
        check(&["a=b", "isango_session=iss_x"], Some("iss_x"));
        check(&["isango_session=p; __Host-isango_session=s"], Some("s"));
        check(&["xisango_session=p; isango_session"], None);
        check(&[&format!("isango_session={}", "x".repeat(129))], None);
    }

    #[test]
    fn no_script_no_other_site_and_over_tls_no_cleartext_gets_it() {
        let value = |origin: &str| {
            let set = set(&headers(&[("origin", origin)]), &Secret::new("iss_x"));
            set.to_str().unwrap().to_owned()
        };
        let (tls, plain) = (
            value("https://isango.example.com"),
            value("http://127.0.0.1:8701"),
        );
        for cookie in [&tls, &plain] {
            for part in ["; HttpOnly", "; SameSite=Strict", "; Max-Age=604800"] {
                assert!(cookie.contains(part), "{cookie}");
            }
        }
        assert!(
            tls.starts_with("__Host-isango_session=iss_x; Path=/; Secure;"),
            "{tls}"
        );
        assert!(
            plain.starts_with("isango_session=iss_x; Path=/client/v4;"),
            "{plain}"
        );
        let binding = |is_secure| {
            let value = binding(is_secure, &Secret::new("x"));
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(
            binding(true),
            "__Host-isango_oidc=x; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"
        );
        assert_eq!(
            binding(false),
            "isango_oidc=x; Path=/client/v4; HttpOnly; SameSite=Lax; Max-Age=600"
        );
        let forgotten = forget(&HeaderMap::new());
        assert!(forgotten.to_str().unwrap().contains("Max-Age=0"));
    }
}
