//! Providers from the configuration: changes to built-in ones, and the operator's own.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Auth, BaseUrl, PathRule, Provider, RetrySemantics, Wire};
use crate::id::is_gateway_id;
use crate::secret::Secret;

/// First segments after the gateway that are surfaces of their own.
const RESERVED: [&str; 2] = ["compat", "dynamic"];

/// Headers that belong to the connection, so that no provider may set them.
const OF_THE_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Statuses worth another try where nothing else is said.
const RETRY_ON: [u16; 6] = [408, 429, 500, 502, 503, 504];

/// `[providers.<slug>]` of the configuration: changes to the built-in provider of that slug, or the
/// whole of an own one, called `custom-<name>`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name for people.
    pub name: Option<Box<str>>,
    /// Base address; needed for an own provider. Replaces all addresses of a built-in one, and may
    /// be a private address.
    pub base_url: Option<BaseUrl>,
    /// Wire format; `openai` for an own provider.
    pub wire: Option<Wire>,
    /// Where its credential travels; for an own provider `Authorization: Bearer`, not required.
    pub auth: Option<Auth>,
    /// Headers added to each request, by name.
    pub headers: BTreeMap<Box<str>, Secret>,
    /// Which answers may be retried.
    pub retry: RetryConfig,
    /// Whether its streams tell their usage only with `stream_options.include_usage`; `false` for
    /// an own provider.
    pub stream_usage_option: Option<bool>,
    /// Where tokens are asked for, for service accounts that requests bring (Vertex AI alone).
    pub token_url: Option<BaseUrl>,
}

/// `[providers.<slug>.retry]`: what replaces the provider's own semantics.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Statuses worth another try.
    pub on: Option<Vec<u16>>,
    /// Error codes or types in the body that will not pass.
    pub never: Option<Vec<Box<str>>>,
}

/// What is wrong with a provider, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A slug that means something else in a path.
    #[error("`{0}` is not the slug of a provider, but a surface of the gateway")]
    Reserved(Box<str>),
    /// Neither built in nor `custom-…`.
    #[error("no provider `{0}` is built in; a provider of your own is called `custom-<name>`")]
    Unknown(Box<str>),
    /// A name of the operator's own that does not fit a path.
    #[error(
        "`{0}` is no slug; after `custom-` stand 1 to 57 of a-z, 0-9 and `_`, with single `-` \
         between them"
    )]
    Slug(Box<str>),
    /// An own provider without an address.
    #[error("`{0}` needs a `base_url`, such as \"https://api.example.com/v1\"")]
    MissingBaseUrl(Box<str>),
    /// A placeholder that this provider's paths do not fill.
    #[error("the paths of `{slug}` do not fill `{{{name}}}`; they fill {known:?}")]
    Placeholder {
        /// The provider.
        slug: Box<str>,
        /// What stands in the braces.
        name: Box<str>,
        /// What may stand there.
        known: &'static [&'static str],
    },
    /// It takes no service accounts of requests.
    #[error("`{0}` takes no service accounts: only `google-vertex-ai` has a `token_url`")]
    NoAccounts(Box<str>),
    /// Not the name of a header that may be set.
    #[error("`{slug}`: `{name}` is no header that a provider may set")]
    Header {
        /// The provider.
        slug: Box<str>,
        /// The name.
        name: Box<str>,
    },
    /// A prefix of the credential that no header can carry.
    #[error("`{0}`: the prefix of a credential is printable ASCII, such as \"Bearer \"")]
    Prefix(Box<str>),
    /// A status that is no failure.
    #[error("`{slug}`: status {status} is no failure; retries follow 400 to 599")]
    Status {
        /// The provider.
        slug: Box<str>,
        /// The status.
        status: u16,
    },
    /// The built-in catalogue is malformed.
    #[error("the built-in providers are malformed")]
    Catalogue(#[source] toml::de::Error),
}

impl ProviderConfig {
    /// The provider `slug` as configured: the built-in one with these changes, or an own one.
    ///
    /// # Errors
    /// [`ProviderError`] tells what was wrong and what would be right.
    pub fn into_provider(
        self,
        slug: &str,
        built_in: &[Provider],
    ) -> Result<Provider, ProviderError> {
        let mut provider = match built_in.iter().find(|provider| provider.is_called(slug)) {
            Some(provider) => provider.clone(),
            None => own(slug, self.base_url.clone())?,
        };
        if let Some(base_url) = self.base_url {
            provider.base_url = base_url;
            provider.other_base_url = None;
            provider.trusted = true;
        }
        if let Some(mut auth) = self.auth {
            auth.header.make_ascii_lowercase();
            auth.also
                .iter_mut()
                .for_each(|name| name.make_ascii_lowercase());
            provider.auth = auth;
        }
        provider.name = self.name.unwrap_or(provider.name);
        provider.wire = self.wire.unwrap_or(provider.wire);
        provider.retry.on = self.retry.on.unwrap_or(provider.retry.on);
        provider.retry.never = self.retry.never.unwrap_or(provider.retry.never);
        provider.stream_usage_option = self
            .stream_usage_option
            .unwrap_or(provider.stream_usage_option);
        if self.token_url.is_some() && provider.path != PathRule::Vertex {
            return Err(ProviderError::NoAccounts(provider.slug));
        }
        provider.token_url = self.token_url;
        provider.headers = self
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase().into(), value))
            .collect();
        provider.check()?;
        Ok(provider)
    }
}

/// An own provider with every setting at its default.
fn own(slug: &str, base_url: Option<BaseUrl>) -> Result<Provider, ProviderError> {
    if RESERVED.contains(&slug) {
        return Err(ProviderError::Reserved(slug.into()));
    }
    let name = slug
        .strip_prefix("custom-")
        .ok_or_else(|| ProviderError::Unknown(slug.into()))?;
    if slug.len() > 64 || !is_gateway_id(name) {
        return Err(ProviderError::Slug(slug.into()));
    }
    Ok(Provider {
        slug: slug.into(),
        aliases: Vec::new(),
        name: name.into(),
        base_url: base_url.ok_or_else(|| ProviderError::MissingBaseUrl(slug.into()))?,
        other_base_url: None,
        wire: Wire::Openai,
        path: PathRule::Append,
        version_prefixes: Vec::new(),
        auth: Auth {
            header: "authorization".into(),
            prefix: "Bearer ".into(),
            also: Vec::new(),
            optional: true,
        },
        headers: Vec::new(),
        retry: RetrySemantics {
            on: RETRY_ON.into(),
            never: Vec::new(),
        },
        stream_usage_option: false,
        token_url: None,
        trusted: true,
        source: "configuration".into(),
    })
}

impl Provider {
    /// Checks what its types do not say.
    pub(super) fn check(&self) -> Result<(), ProviderError> {
        for base_url in [Some(&self.base_url), self.other_base_url.as_ref()]
            .into_iter()
            .flatten()
        {
            self.accepts(base_url)?;
        }
        let set = self
            .headers
            .iter()
            .map(|(name, _)| &**name)
            .chain([&*self.auth.header]);
        let read = self
            .auth
            .also
            .iter()
            .filter(|name| !name.starts_with('?'))
            .map(|name| &**name);
        if let Some(name) = set.chain(read).find(|name| !is_header(name)) {
            return Err(ProviderError::Header {
                slug: self.slug.clone(),
                name: name.into(),
            });
        }
        if !self
            .auth
            .prefix
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~'))
        {
            return Err(ProviderError::Prefix(self.slug.clone()));
        }
        match self
            .retry
            .on
            .iter()
            .find(|status| !(400..=599).contains(*status))
        {
            Some(&status) => Err(ProviderError::Status {
                slug: self.slug.clone(),
                status,
            }),
            None => Ok(()),
        }
    }
}

/// Whether `name` is the lower-case name of a header (RFC 9110 section 5.6.2) that a provider may
/// set.
fn is_header(name: &str) -> bool {
    let is_token = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    !name.is_empty() && name.bytes().all(is_token) && !OF_THE_CONNECTION.contains(&name)
}
