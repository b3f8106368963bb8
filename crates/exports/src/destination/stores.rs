//! Places that hold objects: folders, buckets, containers.

use std::path::PathBuf;

use isango_types::Secret;
use isango_types::credential::AwsKeys;

use super::{Allowed, Blob, Bucket, Parameters, Parsed, To, host, wrong};
use crate::destination::DestinationError;
use crate::path::Template;

fn template(path: &str) -> Parsed<Template> {
    Template::parse(path).map_err(DestinationError)
}

pub(super) fn folder(
    place: &str,
    parameters: &Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    if !allowed.folder {
        return wrong("folders of the gateway's machine stand in the configuration file only");
    }
    parameters.end("folder")?;
    if !place.starts_with('/') {
        return wrong("`folder://` is followed by an absolute path: `folder:///var/log/isango`");
    }
    let path = template(place)?;
    let root = PathBuf::from("/").join(path.root());
    let below = path_below(place, path.root())?;
    Ok((To::Folder(root), below))
}

/// What of a template lies below its root.
fn path_below(text: &str, root: &str) -> Parsed<Template> {
    let text = text.trim_matches('/');
    template(text.strip_prefix(root).unwrap_or(text))
}

/// Bucket and path.
fn bucket_of<'p>(place: &'p str, scheme: &str) -> Parsed<(&'p str, &'p str)> {
    let (bucket, path) = place.split_once('/').unwrap_or((place, ""));
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    match (3..=63).contains(&bucket.len()) && bucket.bytes().all(fits) {
        true => Ok((bucket, path)),
        false => wrong(format!(
            "`{scheme}://` is followed by the name of a bucket: 3 to 63 of a-z, 0-9, `.`, `-`, `_`"
        )),
    }
}

fn keys(parameters: &mut Parameters, scheme: &str) -> Parsed<AwsKeys> {
    Ok(AwsKeys {
        access_key_id: parameters.need("access-key-id", scheme)?.into(),
        secret_access_key: Secret::new(parameters.need("secret-access-key", scheme)?),
        session_token: parameters.take("session-token").map(Secret::new),
        region: None,
    })
}

pub(super) fn s3(
    place: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    let (bucket, path) = bucket_of(place, "s3")?;
    let region = parameters.need("region", "s3")?;
    let is_region = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !region.bytes().all(is_region) {
        return wrong("`region` is a name such as `af-south-1`");
    }
    let keys = keys(&mut parameters, "s3")?;
    let sse = parameters.take("sse");
    if sse
        .as_deref()
        .is_some_and(|sse| !["AES256", "aws:kms"].contains(&sse))
    {
        return wrong("`sse` is `AES256` or `aws:kms`");
    }
    let (host, base) = match parameters.take("endpoint") {
        Some(endpoint) => {
            let url = match endpoint.contains("://") {
                true => endpoint,
                false => format!("https://{endpoint}"),
            };
            let (host, rest) = host(&url, allowed)?;
            if rest.expose() != "/" {
                return wrong("`endpoint` is a host alone");
            }
            (host, format!("/{bucket}"))
        }
        // A name with dots fits no certificate of the bucket's own host.
        None if bucket.contains('.') => {
            let (host, _) = host(&format!("https://s3.{region}.amazonaws.com"), allowed)?;
            (host, format!("/{bucket}"))
        }
        None => {
            let url = format!("https://{bucket}.s3.{region}.amazonaws.com");
            (host(&url, allowed)?.0, String::new())
        }
    };
    parameters.end("s3")?;
    let bucket = Bucket {
        host,
        base: base.into(),
        keys,
        region: region.into(),
        sse: sse.map(Into::into),
        locks: true,
    };
    Ok((To::Bucket(bucket), template(path)?))
}

pub(super) fn r2(place: &str, mut parameters: Parameters) -> Parsed<(To, Template)> {
    let (bucket, path) = bucket_of(place, "r2")?;
    let account = parameters.need("account-id", "r2")?;
    if !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return wrong("`account-id` is 32 hex digits");
    }
    let keys = keys(&mut parameters, "r2")?;
    parameters.end("r2")?;
    let (host, _) = host(
        &format!("https://{account}.r2.cloudflarestorage.com"),
        Allowed::default(),
    )?;
    let bucket = Bucket {
        host,
        base: format!("/{bucket}").into(),
        keys,
        region: "auto".into(),
        sse: None,
        // R2 locks by rules of the bucket.
        locks: false,
    };
    Ok((To::Bucket(bucket), template(path)?))
}

/// Google Cloud Storage by its XML interface with HMAC keys, which signs as AWS does.
pub(super) fn gs(
    place: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    let (bucket, path) = bucket_of(place, "gs")?;
    let keys = keys(&mut parameters, "gs")?;
    let url = parameters.take("endpoint");
    parameters.end("gs")?;
    let (host, _) = host(
        url.as_deref().unwrap_or("https://storage.googleapis.com"),
        allowed,
    )?;
    let bucket = Bucket {
        host,
        base: format!("/{bucket}").into(),
        keys,
        region: "auto".into(),
        sse: None,
        // It locks by rules of the bucket.
        locks: false,
    };
    Ok((To::Bucket(bucket), template(path)?))
}

pub(super) fn azure(
    place: &str,
    query: &str,
    mut parameters: Parameters,
    allowed: Allowed,
) -> Parsed<(To, Template)> {
    let place = place.strip_prefix("https://").unwrap_or(place);
    let mut parts = place.splitn(3, '/');
    let (account, container) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let mut path = parts.next().unwrap_or("").to_owned();
    let endpoint = parameters.take("endpoint");
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if container.is_empty() || !container.bytes().all(fits) {
        return wrong(
            "`azure://` is followed by host and container: \
             `azure://account.blob.core.windows.net/container/path?sv=…`",
        );
    }
    if parameters.take("sig").is_none() {
        return wrong("`azure://` needs a shared access signature behind the `?`: `sv=…&sig=…`");
    }
    // Emulators have the account in the path.
    let (host, container) = match &endpoint {
        Some(endpoint) => (
            host(endpoint, allowed)?.0,
            format!("/{account}/{container}"),
        ),
        None => (
            host(&format!("https://{account}"), allowed)?.0,
            format!("/{container}"),
        ),
    };
    path = path.trim_matches('/').to_owned();
    let signature = query
        .split('&')
        .filter(|pair| !pair.starts_with("endpoint="));
    let signature: Vec<&str> = signature.collect();
    let blob = Blob {
        host,
        container: container.into(),
        query: Secret::new(signature.join("&")),
    };
    Ok((To::Blob(blob), template(&path)?))
}
