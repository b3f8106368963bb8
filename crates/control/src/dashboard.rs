//! The built dashboard (`web/dist`), from inside the binary: files under their names, and its page
//! for every other address that a browser shows.
//!
//! Names carry no digest, so a browser asks each time whether a file is still the one it has; its
//! `etag` is its content. What is text is compressed once, when it is first asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::Embed;

use crate::Control;
use crate::error::Failure;

/// What a page of the dashboard may do: nothing that does not come from here. Its own browser tests
/// run under the same.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types svelte-trusted-html";
/// The page.
const PAGE: &str = "index.html";
/// What the API begins with: nothing below it is a page.
const API: &str = "/client/";
/// A smaller file is sent as it is.
const MIN_COMPRESSED: usize = 512;

#[derive(Embed)]
#[folder = "../../web/dist"]
struct Built;

/// Every file of the dashboard, by its name.
pub(crate) struct Dashboard(BTreeMap<Cow<'static, str>, File>);

struct File {
    kind: Kind,
    bytes: Cow<'static, [u8]>,
    /// The beginning of the digest of its content, in hex.
    digest: String,
    /// `None`: it would not be smaller.
    gzip: OnceLock<Option<Bytes>>,
}

/// What a browser takes a file for, and whether it pays to compress it.
#[derive(Clone, Copy)]
struct Kind(&'static str, bool);

impl Dashboard {
    /// What was built into this binary.
    pub(crate) fn built_in() -> Self {
        let files = Built::iter().filter_map(|name| {
            let file = Built::get(&name)?;
            let digest = file.metadata.sha256_hash();
            let digest = digest.iter().take(12).map(|byte| format!("{byte:02x}"));
            let file = File {
                kind: Kind::of(&name),
                bytes: file.data,
                digest: digest.collect(),
                gzip: OnceLock::new(),
            };
            Some((name, file))
        });
        Self(files.collect())
    }

    /// The file at a path; the page at any path that names none, as a browser shows it.
    fn at(&self, path: &str) -> Option<&File> {
        let name = path.trim_start_matches('/');
        let is_page = !name.starts_with("assets/") && !path.starts_with(API);
        let page = || self.0.get(PAGE).filter(|_| is_page);
        self.0.get(name).or_else(page)
    }
}

impl File {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok();
        let gzip = text(ACCEPT_ENCODING)
            .filter(|accepted| takes_gzip(accepted))
            .and_then(|_| self.gzip());
        // What is compressed is another representation (RFC 9110 section 8.8.3).
        let etag = match gzip {
            Some(_) => format!("\"{}-gzip\"", self.digest),
            None => format!("\"{}\"", self.digest),
        };
        let has_it = text(IF_NONE_MATCH).is_some_and(|known| {
            let mut known = known.split(',').map(str::trim);
            known.any(|one| one == "*" || one.trim_start_matches("W/") == etag)
        });
        let mut response = if has_it {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let plain = || match &self.bytes {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => Bytes::copy_from_slice(bytes),
            };
            Response::new(Body::from(gzip.cloned().unwrap_or_else(plain)))
        };
        let headers = response.headers_mut();
        if !has_it {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind.0));
            if gzip.is_some() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(ETAG, etag);
        }
        for (name, value) in [
            (CACHE_CONTROL, "no-cache"),
            (VARY, "accept-encoding"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn gzip(&self) -> Option<&Bytes> {
        let make = || {
            if !self.kind.1 || self.bytes.len() < MIN_COMPRESSED {
                return None;
            }
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&self.bytes).ok()?;
            let made = encoder.finish().ok()?;
            (made.len() < self.bytes.len()).then(|| made.into())
        };
        self.gzip.get_or_init(make).as_ref()
    }
}

impl Kind {
    fn of(name: &str) -> Self {
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        match end {
            "html" => Self("text/html; charset=utf-8", true),
            "js" => Self("text/javascript; charset=utf-8", true),
            "css" => Self("text/css; charset=utf-8", true),
            "svg" => Self("image/svg+xml", true),
            "json" => Self("application/json", true),
            "txt" => Self("text/plain; charset=utf-8", true),
            "woff2" => Self("font/woff2", false),
            "png" => Self("image/png", false),
            _ => Self("application/octet-stream", false),
        }
    }
}

/// Whether a client takes gzip (RFC 9110 section 12.5.3).
fn takes_gzip(accepted: &str) -> bool {
    let weight = |wanted: &str| {
        accepted.split(',').find_map(|one| {
            let (name, rest) = one.split_once(';').unwrap_or((one, ""));
            let rest = rest.trim().trim_start_matches("q=");
            let weight = rest.parse().unwrap_or(1.0_f32);
            name.trim().eq_ignore_ascii_case(wanted).then_some(weight)
        })
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(0.0) > 0.0
}

/// What a browser asks for that is no part of the API.
pub(crate) async fn serve(
    State(control): State<Control>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path();
    if path.starts_with(API) {
        return Failure::unroutable().into_response();
    }
    let Some(file) = control.pages.at(path) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    match method {
        // Of an answer to HEAD the connection sends the head alone.
        Method::GET | Method::HEAD => file.answer(&headers),
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_one_of_the_browser_tests() {
        let stand_in = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../web/tests/fake/server.mjs"
        );
        let text = std::fs::read_to_string(stand_in).unwrap();
        assert!(text.contains(&format!("\"{POLICY}\"")), "{POLICY}");
    }

    #[test]
    fn an_address_leads_to_a_file_or_to_the_page() {
        let dashboard = Dashboard::built_in();
        let kind = |path: &str| dashboard.at(path).map(|file| file.kind.0);
        let page = Some("text/html; charset=utf-8");
        for path in [
            "/",
            "/index.html",
            "/requests",
            "/requests/019a/raw",
            "/clients",
        ] {
            assert_eq!(kind(path), page, "{path}");
        }
        assert_eq!(kind("/icon.svg"), Some("image/svg+xml"));
        assert_eq!(
            kind("/assets/app.js"),
            Some("text/javascript; charset=utf-8")
        );
        for path in [
            "/assets/nothing.js",
            "/assets/../index.html",
            "/client/v4/nothing",
        ] {
            assert_eq!(kind(path), None, "{path}");
        }
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        for (accepted, takes) in [
            ("gzip, deflate, br, zstd", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip; q=0, *", false),
            ("br", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
    }
}
