//! Signs requests to AWS (Signature Version 4; AWS General Reference, "Create a signed AWS API
//! request"; read 2026-11-22). The digest of the body stands in the head, so that the whole body is
//! there before anything is sent.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use isango_types::Timestamp;
use isango_types::credential::AwsKeys;
use isango_wire::sigv4::{Signed, basic, collapsed, sha256};

use super::MAX_SIGNED_BYTES;
use crate::ask::Call;
use crate::call::CallBody;
use crate::error::Error;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs a call as it will be sent.
///
/// # Errors
/// [`Error::CredentialFailed`]: the endpoint takes no signatures. [`Error::BodyTooLarge`].
pub(super) fn sign(keys: &AwsKeys, call: &mut Call<'_>, now: Timestamp) -> Result<(), Error> {
    let unfit = |why: &str| Error::CredentialFailed(why.into());
    let route = &call.route;
    let service = route
        .signs_as
        .ok_or_else(|| unfit("this endpoint takes no AWS signatures"))?;
    let region = route.resource.as_deref().or(keys.region.as_deref());
    let region = region.ok_or_else(|| unfit("neither the path nor the credential has a region"))?;
    let payload = match &call.body {
        CallBody::Whole(whole) => sha256(whole),
        CallBody::Passing(_) | CallBody::Gone => {
            let limit = MAX_SIGNED_BYTES as u64;
            return Err(Error::BodyTooLarge { limit });
        }
    };
    let date = basic(now);
    let headers = &mut call.headers;
    for (name, value) in [
        (DATE, Some(date.as_str())),
        (CONTENT_SHA256, Some(&payload)),
    ]
    .into_iter()
    .chain([(
        SECURITY_TOKEN,
        keys.session_token.as_ref().map(|token| token.expose()),
    )]) {
        headers.remove(&name);
        if let Some(value) = value {
            let mut value = HeaderValue::try_from(value)
                .map_err(|_invalid| unfit("the session token cannot stand in a header"))?;
            value.set_sensitive(name == SECURITY_TOKEN);
            headers.insert(name, value);
        }
    }
    let signed = Signed {
        method: call.method.as_str(),
        path: route.path.path(),
        query: route.path.query().unwrap_or(""),
        headers: chosen(headers, route.authority.as_str()),
        payload: &payload,
        encodes_path: true,
    };
    let value = signed.authorization(keys, (region, service), &date);
    let mut value =
        HeaderValue::try_from(value).map_err(|_invalid| unfit("the access key id is none"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

/// The headers that are signed, by name: the host, the type of the body, and all of AWS's own.
fn chosen(headers: &HeaderMap, host: &str) -> Vec<(String, String)> {
    let mut chosen = vec![("host".to_owned(), host.to_owned())];
    for name in headers.keys() {
        if name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            let values = headers.get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<_> = values.map(|value| collapsed(&value)).collect();
            chosen.push((name.as_str().to_owned(), values.join(",")));
        }
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_awss_own_headers_are_signed_in_one_spelling() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-amz-b", "  2  spaces "),
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("x-amz-a", "1"),
            ("x-amz-a", "2"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let chosen = chosen(&headers, "h:8080");
        let shown: Vec<_> = chosen
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "content-type:application/json",
                "host:h:8080",
                "x-amz-a:1,2",
                "x-amz-b:2 spaces"
            ]
        );
    }
}
