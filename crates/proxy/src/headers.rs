//! What may cross, in each direction. Everything does, but for hop-by-hop headers (RFC 9110
//! section 7.6.1) and the gateway's own.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use isango_types::Provider;

use crate::resolve::Route;
use crate::secrets;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Names that stop at the gateway, beside those that begin with `cf-aig-` or `cf-access-`.
const OURS: [&str; 4] = [
    "cf-cache-ttl",
    "cf-skip-cache",
    "payment-method",
    "payment-signature",
];

/// Whether a header of the request or the answer is the gateway's own and must not cross.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Asked of every header; few begin like one of ours.
    match name.as_bytes().first() {
        Some(b'c' | b'p') => {
            name.starts_with("cf-aig-") || name.starts_with("cf-access-") || OURS.contains(&name)
        }
        Some(_) | None => false,
    }
}

/// Whether a header speaks of one connection only, in either direction.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    name == CONNECTION
        || name == TRANSFER_ENCODING
        || name == UPGRADE
        || name == TE
        || name == KEEP_ALIVE
        || name == PROXY_CONNECTION
}

/// Makes a client's headers ready for the provider: takes out hop-by-hop headers, those that
/// `connection` names, the gateway's own, and `expect` (which the connection sets anew). `host`
/// stays, to be written over with the provider's.
///
/// `te: trailers` survives as such, since trailers are relayed, and `connection` names it (RFC 9110
/// section 10.1.4), which HTTP/2 has no use for.
pub(crate) fn to_upstream(headers: &mut HeaderMap) {
    let trailers = headers.contains_key(TE)
        && headers.get_all(TE).iter().any(|value| {
            value.to_str().is_ok_and(|text| {
                text.split(',')
                    .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
            })
        });
    take_out(headers, |name| {
        name == EXPECT
            || name == PROXY_AUTHORIZATION
            || name == HTTP2_SETTINGS
            || is_hop_by_hop(name)
            || is_ours(name)
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Headers that go with an account: those of a credential's owner, and what signs a request for
/// one host.
const OF_AN_ACCOUNT: [&str; 2] = ["openai-organization", "openai-project"];
const SIGNED: &str = "x-amz-";

/// The headers of a request that went to `from`, for the provider of `to`: without anything that
/// could be a credential, whoever put it in, and what belongs to one.
pub(crate) fn for_another_target(headers: &HeaderMap, from: &Provider, to: &Route) -> HeaderMap {
    let is_slot = |name: &str| {
        [from, &*to.provider].into_iter().any(|provider| {
            let auth = &provider.auth;
            *auth.header == *name || auth.also.iter().any(|slot| **slot == *name)
        })
    };
    let is_added = |name: &str| from.headers.iter().any(|(added, _)| **added == *name);
    let stays = |name: &HeaderName| {
        let text = name.as_str();
        name == AUTHORIZATION
            || name == COOKIE
            || name == CONTENT_LENGTH
            || OF_AN_ACCOUNT.contains(&text)
            || text.starts_with(SIGNED)
            || is_slot(text)
            || is_added(text)
            || secrets::is_secret_name(text)
    };
    let mut kept = HeaderMap::with_capacity(headers.keys_len() + 2);
    for (name, value) in headers.iter().filter(|(name, _)| !stays(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Makes a provider's headers ready for the client.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    take_out(headers, |name| is_hop_by_hop(name) || is_ours(name));
}

/// Makes trailers ready for the other side, in either direction. What speaks of a connection would
/// spoil a message of HTTP/2 (RFC 9113 section 8.2.2).
pub(crate) fn trailers(trailers: &mut HeaderMap) {
    take_out(trailers, |name| is_hop_by_hop(name) || is_ours(name));
}

/// Takes out the headers that `stays_behind` and those that `connection` names. One pass over the
/// names: looking each of them up would cost more.
fn take_out(headers: &mut HeaderMap, stays_behind: impl Fn(&HeaderName) -> bool) {
    let mut out: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if stays_behind(name) {
            out.push(name.clone());
        }
    }
    if out.contains(&CONNECTION) {
        let named = headers
            .get_all(CONNECTION)
            .iter()
            // What nearly all of them say names no header.
            .filter(|value| *value != "keep-alive" && *value != "close")
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // Framing and identity are never a peer's to take away.
            .filter(|name| name != CONTENT_LENGTH && name != HOST);
        out.extend(named);
    }
    if out.contains(&TRANSFER_ENCODING) {
        // A body in chunks is as long as its chunks, whatever else was announced (RFC 9112
        // section 6.3).
        out.push(CONTENT_LENGTH);
    }
    for name in out {
        headers.remove(name);
    }
}

/// Whether a body comes in a transfer coding that would be lost on the way: any but `chunked`, once.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return false;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings
        .next()
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
}

/// Whether the length of a body is told in two ways, of which somebody else may believe the other
/// (RFC 9112 section 6.3).
pub(crate) fn has_two_lengths(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// The body was changed on its way: its length is told anew, and the answer must not be encoded,
/// since a frame will be taken out of it.
pub(crate) fn for_edited_stream(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(crossing: fn(&mut HeaderMap), before: &[(&str, &str)], after: &[(&str, &str)]) {
        let read = |list: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in list {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            map
        };
        let mut headers = read(before);
        crossing(&mut headers);
        assert_eq!(headers, read(after));
    }

    #[test]
    fn only_hop_by_hop_headers_and_our_own_stay_behind() {
        check(
            to_upstream,
            &[
                ("host", "gateway"),
                ("connection", "keep-alive, X-Hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("cf-aig-metadata", "{}"),
                ("cf-aig-anything-new", "1"),
                ("cf-access-jwt-assertion", "x"),
                ("cf-cache-ttl", "60"),
                ("authorization", "Bearer k"),
                ("x-stainless-lang", "python"),
                ("x-two", "a"),
                ("x-two", "b"),
            ],
            &[
                ("host", "gateway"),
                ("authorization", "Bearer k"),
                ("x-stainless-lang", "python"),
                ("x-two", "a"),
                ("x-two", "b"),
            ],
        );
    }

    #[test]
    fn the_wish_for_trailers_is_passed_on() {
        check(
            to_upstream,
            &[
                ("te", "gzip, trailers"),
                ("connection", "TE, x"),
                ("x", "1"),
            ],
            &[("te", "trailers"), ("connection", "te")],
        );
        check(to_upstream, &[("te", "gzip")], &[]);
    }

    #[test]
    fn connection_cannot_take_the_length_away() {
        check(
            to_upstream,
            &[
                ("connection", "content-length, close"),
                ("content-length", "5"),
            ],
            &[("content-length", "5")],
        );
    }

    #[test]
    fn chunks_are_as_long_as_they_are() {
        check(
            to_client,
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[],
        );
    }

    #[test]
    fn an_answer_loses_only_what_belongs_to_its_connection() {
        check(
            to_client,
            &[
                ("connection", "close"),
                ("cf-aig-step", "9"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
                ("trailer", "x-sum"),
                ("content-length", "3"),
            ],
            &[
                ("set-cookie", "a"),
                ("set-cookie", "b"),
                ("trailer", "x-sum"),
                ("content-length", "3"),
            ],
        );
    }
}
