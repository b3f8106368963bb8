//! Where a job delivers: the `destination_conf` strings of the Logpush contract (Cloudflare,
//! "Logpush, API configuration" and the pages of its destinations; read 2026-11-23), and folders.

mod collectors;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use isango_types::Secret;
use isango_types::alert::{Format, Webhook, WebhookError};
use isango_types::credential::AwsKeys;
use percent_encoding::percent_decode_str;

use crate::path::Template;

use self::collectors::{datadog, post, splunk};
use self::stores::{azure, folder, gs, r2, s3};

/// Longest text of a destination, in bytes.
pub const MAX_CONF_BYTES: usize = 4_096;

/// Parameters whose values are shown; all others may be secrets.
const SHOWN: [&str; 19] = [
    "region",
    "endpoint",
    "account-id",
    "access-key-id",
    "sse",
    "channel",
    "sourcetype",
    "source",
    "index",
    "insecure-skip-verify",
    "ddsource",
    "ddtags",
    "service",
    "host",
    "hostname",
    "sv",
    "se",
    "sp",
    "sr",
];

/// What a destination may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Addresses in private networks, and http to them.
    pub private: bool,
    /// Folders of this machine.
    pub folder: bool,
}

/// Where a job delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    conf: Secret,
    shown: Box<str>,
    pub(crate) to: To,
    /// Where objects go; empty where there are none.
    pub(crate) path: Template,
}

/// How it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Files.
    Folder(PathBuf),
    /// S3, and what is like it: R2, GCS.
    Bucket(Bucket),
    /// Azure Blob Storage.
    Blob(Blob),
    /// Whoever takes a POST.
    Post(Post),
}

/// A host, from the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) https: bool,
    pub(crate) authority: Box<str>,
    pub(crate) trusted: bool,
}

/// A bucket of S3's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) host: Host,
    /// `/bucket` where the host is not the bucket's own.
    pub(crate) base: Box<str>,
    pub(crate) keys: AwsKeys,
    pub(crate) region: Box<str>,
    pub(crate) sse: Option<Box<str>>,
    /// Whether objects can be locked by headers.
    pub(crate) locks: bool,
}

/// A container of Azure's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) host: Host,
    pub(crate) container: Box<str>,
    /// The shared access signature.
    pub(crate) query: Secret,
}

/// Whoever takes a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) host: Host,
    /// Path and query.
    pub(crate) path: Secret,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) framing: Framing,
}

/// How records stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One a line.
    Lines,
    /// A JSON array.
    Array,
    /// A request of OTLP, as JSON.
    OtlpJson,
    /// The same, as protobuf.
    OtlpProtobuf,
}

/// What is wrong with a destination. Never repeats what may be secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DestinationError(pub String);

type Parsed<T> = Result<T, DestinationError>;

fn wrong<T>(message: impl Into<String>) -> Parsed<T> {
    Err(DestinationError(message.into()))
}

/// The parameters behind the `?`, decoded, in their order.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Parsed<Self> {
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            let decoded = decoded.map_err(|_no_text| {
                DestinationError("its parameters are percent-encoded text".into())
            });
            decoded.map(std::borrow::Cow::into_owned)
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Parsed<_>>()?))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(one, _)| one == name)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    fn need(&mut self, name: &str, scheme: &str) -> Parsed<String> {
        let missing = || DestinationError(format!("`{scheme}://` needs the parameter `{name}`"));
        self.take(name).ok_or_else(missing)
    }

    /// Takes every `header_…` out.
    fn headers(&mut self) -> Parsed<Vec<(HeaderName, HeaderValue)>> {
        let (headers, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| name.starts_with("header_"));
        self.0 = rest;
        let header = |(name, value): (String, String)| {
            let name = name.trim_start_matches("header_");
            let bad = || DestinationError(format!("`header_{name}` cannot be a header"));
            let named = HeaderName::try_from(name).map_err(|_invalid| bad())?;
            let mut value = HeaderValue::try_from(value).map_err(|_invalid| bad())?;
            value.set_sensitive(true);
            Ok((named, value))
        };
        let headers: Vec<(String, String)> = headers;
        headers.into_iter().map(header).collect()
    }

    /// Takes note that nothing else is known.
    fn end(&self, scheme: &str) -> Parsed<()> {
        match self.0.first() {
            Some((name, _)) => wrong(format!("`{scheme}://` has no parameter `{name}`")),
            None => Ok(()),
        }
    }
}

impl Destination {
    /// Reads a destination.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(conf: &Secret, allowed: Allowed) -> Result<Self, DestinationError> {
        let text = conf.expose();
        if text.len() > MAX_CONF_BYTES {
            return wrong(format!("a destination has at most {MAX_CONF_BYTES} bytes"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("a destination begins with its kind, such as `s3://` or `https://`");
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = Parameters::parse(query)?;
        let (to, path) = match scheme {
            "folder" => folder(place, &parameters, allowed)?,
            "s3" => s3(place, parameters, allowed)?,
            "r2" => r2(place, parameters)?,
            "gs" => gs(place, parameters, allowed)?,
            "azure" => azure(place, query, parameters, allowed)?,
            "https" | "http" => post(scheme, rest, parameters, allowed)?,
            "splunk" => splunk(place, parameters, allowed)?,
            "datadog" => datadog(place, parameters, allowed)?,
            _ => {
                let known = "`s3`, `r2`, `gs`, `azure`, `https`, `splunk`, `datadog`, `folder`";
                return wrong(format!(
                    "`{scheme}` is no kind of destination; there are {known}"
                ));
            }
        };
        Ok(Self {
            conf: conf.clone(),
            shown: shown(text).into(),
            to,
            path,
        })
    }

    /// A receiver of traces or metrics by OTLP/HTTP.
    ///
    /// # Errors
    /// What is wrong with its address or headers.
    pub fn traces(
        url: &Secret,
        headers: &BTreeMap<Box<str>, Secret>,
        is_protobuf: bool,
        allowed: Allowed,
    ) -> Result<Self, DestinationError> {
        let (host, path) = host(url.expose(), allowed)?;
        let headers = headers.iter().map(|(name, value)| {
            let bad = || DestinationError(format!("`{name}` cannot be a header"));
            let named = HeaderName::try_from(&**name).map_err(|_invalid| bad())?;
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_invalid| bad())?;
            value.set_sensitive(true);
            Ok((named, value))
        });
        let post = Post {
            host,
            path,
            headers: headers.collect::<Parsed<_>>()?,
            framing: match is_protobuf {
                true => Framing::OtlpProtobuf,
                false => Framing::OtlpJson,
            },
        };
        Ok(Self {
            conf: url.clone(),
            shown: shown(url.expose()).into(),
            to: To::Post(post),
            path: Template::default(),
        })
    }

    /// The same without what may be secret.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether objects are made, which manifests and the chain tell of.
    #[must_use]
    pub const fn has_objects(&self) -> bool {
        match self.to {
            To::Folder(_) | To::Bucket(_) | To::Blob(_) => true,
            To::Post(_) => false,
        }
    }

    /// Whether objects can be locked until a day.
    #[must_use]
    pub const fn can_lock(&self) -> bool {
        match &self.to {
            To::Bucket(bucket) => bucket.locks,
            To::Blob(_) => true,
            To::Folder(_) | To::Post(_) => false,
        }
    }

    /// The bounds that the receiver sets: most bytes, and most records, of a batch.
    #[must_use]
    pub const fn bounds(&self) -> (usize, usize) {
        match &self.to {
            To::Post(Post {
                framing: Framing::Array,
                ..
                // Less its brackets.
            }) => (5_000_000 - 2, 1_000),
            To::Folder(_) | To::Bucket(_) | To::Blob(_) | To::Post(_) => (usize::MAX, usize::MAX),
        }
    }
}

/// A text of a destination with stars for what may be secret.
#[must_use]
pub fn shown(conf: &str) -> String {
    let (place, query) = conf.split_once('?').unwrap_or((conf, ""));
    let shown = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
            match SHOWN.contains(&name) {
                true => pair.to_owned(),
                false => format!("{name}=*****"),
            }
        });
    let shown: Vec<String> = shown.collect();
    let place = &*shown_place(place);
    match shown.is_empty() {
        true => place.to_owned(),
        false => format!("{place}?{}", shown.join("&")),
    }
}

/// The path of a webhook is often all that keeps it from others.
fn shown_place(place: &str) -> String {
    let web = place
        .strip_prefix("https://")
        .or_else(|| place.strip_prefix("http://"));
    match web.and_then(|rest| rest.split_once('/')) {
        Some((_host, path)) if !path.is_empty() => {
            format!("{}*****", place.strip_suffix(path).unwrap_or_default())
        }
        Some(_) | None => place.to_owned(),
    }
}

/// The host of an address of the operator's.
fn host(url: &str, allowed: Allowed) -> Parsed<(Host, Secret)> {
    let webhook = Webhook::parse(&Secret::new(url), allowed.private, Format::Json, None);
    let webhook = webhook.map_err(|error| match error {
        WebhookError::Clear => DestinationError(
            "it is http: records would cross the network in clear; use https, or let the \
             operator say `allow_private = true`"
                .into(),
        ),
        WebhookError::Address | WebhookError::Userinfo | WebhookError::Path => {
            DestinationError(error.to_string())
        }
    })?;
    if webhook.trusted && !allowed.private {
        return wrong("it leads to this machine; the operator says `allow_private = true`");
    }
    let host = Host {
        https: webhook.https,
        authority: webhook.authority,
        trusted: webhook.trusted,
    };
    Ok((host, webhook.path))
}
