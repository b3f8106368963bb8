//! Providers as data: where they live, how they want to be spoken to.
//!
//! The built-in ones stand in `providers.toml`; [`ProviderConfig`] changes one of them or describes
//! one of the operator's own. What a request's path makes of a provider is the business of
//! `proxy::resolve`.

mod base_url;
mod config;
#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use self::base_url::{BaseUrl, BaseUrlError};
pub use self::config::{ProviderConfig, ProviderError, RetryConfig};
use crate::secret::Secret;

const CATALOGUE: &str = include_str!("providers.toml");

/// The wire format of a provider: decides paths, streaming, usage and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// OpenAI: chat, completions, responses, embeddings, images, audio. Azure OpenAI speaks it.
    Openai,
    /// Anthropic messages.
    Anthropic,
    /// Google Gemini `generateContent`.
    Gemini,
    /// Amazon Bedrock runtime: `invoke`, `converse`, AWS event streams.
    Bedrock,
    /// Cohere v1 and v2.
    Cohere,
    /// Unknown: bytes pass, nothing is read from them.
    #[default]
    Opaque,
}

impl Wire {
    /// The name in `providers.toml`, configuration and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Opaque => "opaque",
        }
    }
}

/// How the path after the provider's slug becomes an upstream address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathRule {
    /// Appended to the base URL, the version prefix never twice.
    #[default]
    Append,
    /// Azure OpenAI: the first segment is a resource (data-plane section 3).
    AzureOpenai,
    /// Models on Azure AI: `{resource}/anthropic/…` (data-plane section 3, form d).
    Azure,
    /// Amazon Bedrock: service and region are the first two segments (section 2.1).
    Bedrock,
    /// Google Vertex AI: the region stands in the path (section 2.2).
    Vertex,
    /// Workers AI: `@cf/…`, `run/@cf/…`, `v1/…` (section 2.3).
    WorkersAi,
    /// Fal: `x-fal-target-url` may name another Fal host.
    Fal,
    /// Baseten: `v1/…`, and `model/{id}` on a host of its own.
    Baseten,
}

impl PathRule {
    /// The placeholders that this rule can fill in a base URL, without their braces.
    #[must_use]
    pub const fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Append | Self::Fal => &[],
            Self::AzureOpenai | Self::Azure => &["resource"],
            Self::Bedrock => &["service", "region"],
            Self::Vertex => &["region"],
            Self::WorkersAi => &["account"],
            Self::Baseten => &["model"],
        }
    }
}

/// Where a provider's credential travels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Header that a configured credential is put into, lower case.
    pub header: Box<str>,
    /// What stands before the credential in it (`Bearer `, `Token `, or nothing).
    #[serde(default)]
    pub prefix: Box<str>,
    /// Other headers and query keys (`?key`) that may carry a credential instead, lower case.
    #[serde(default)]
    pub also: Vec<Box<str>>,
    /// Whether a request without any credential is worth sending (self-hosted models).
    #[serde(default)]
    pub optional: bool,
}

/// One provider, built in or from the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name in URLs: `openai`, `azure-openai`, `custom-acme`.
    pub slug: Box<str>,
    /// Other spellings of the slug.
    #[serde(default)]
    pub aliases: Vec<Box<str>>,
    /// Its name for people.
    pub name: Box<str>,
    /// Base address. May hold the placeholders that its path rule fills.
    pub base_url: BaseUrl,
    /// Base address of what its path rule knows to live on another host: Vertex AI's `global`,
    /// Baseten's dedicated models, Bedrock's `bedrock-mantle`.
    #[serde(default)]
    pub other_base_url: Option<BaseUrl>,
    /// Its wire format, where the path does not tell another.
    pub wire: Wire,
    /// How its paths are mapped.
    #[serde(default)]
    pub path: PathRule,
    /// First path segments that stand for an API version (`v1`). A path that begins with one takes
    /// the place of the version that the base URL ends with, so that none is ever doubled.
    #[serde(default)]
    pub version_prefixes: Vec<Box<str>>,
    /// Where its credential travels.
    pub auth: Auth,
    /// Headers added to each request (from the configuration only).
    #[serde(skip)]
    pub headers: Vec<(Box<str>, Secret)>,
    /// Which answers may be retried.
    pub retry: RetrySemantics,
    /// Whether its streams tell their usage only with `stream_options.include_usage`.
    #[serde(default)]
    pub stream_usage_option: bool,
    /// Where tokens are asked for, for service accounts that requests bring; `None`: where its vendor
    /// issues them (from the configuration only).
    #[serde(skip)]
    pub token_url: Option<BaseUrl>,
    /// Whether the operator named its address, which may then be a private one.
    #[serde(skip)]
    pub trusted: bool,
    /// Where these facts come from, and the day they were read.
    pub source: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    provider: Vec<Provider>,
}

impl Provider {
    /// The built-in providers, in the order of `providers.toml`.
    ///
    /// # Errors
    /// [`ProviderError`] when that file, which is part of the executable, is malformed; a test
    /// keeps it from being so.
    pub fn built_in() -> Result<Vec<Self>, ProviderError> {
        let catalogue: Catalogue = toml::from_str(CATALOGUE).map_err(ProviderError::Catalogue)?;
        for provider in &catalogue.provider {
            provider.check()?;
        }
        Ok(catalogue.provider)
    }

    /// Whether `slug` is this provider's, or one of its other spellings.
    #[must_use]
    pub fn is_called(&self, slug: &str) -> bool {
        *self.slug == *slug || self.aliases.iter().any(|alias| **alias == *slug)
    }

    /// Checks that a base URL, such as a target's, holds only what this provider's paths can fill.
    ///
    /// # Errors
    /// [`ProviderError::Placeholder`].
    pub fn accepts(&self, base_url: &BaseUrl) -> Result<(), ProviderError> {
        let known = self.path.placeholders();
        match base_url.placeholders().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(ProviderError::Placeholder {
                slug: self.slug.clone(),
                name: name.into(),
                known,
            }),
        }
    }
}

/// Which answers of a provider may pass when asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySemantics {
    /// Statuses worth another try.
    #[serde(default)]
    pub on: Vec<u16>,
    /// Error codes or types in the body that will not pass, whatever the status.
    #[serde(default)]
    pub never: Vec<Box<str>>,
}
