//! Providers as data: where they live, how they want to be spoken to.

use std::sync::Arc;

use serde::Deserialize;

use crate::secret::Secret;

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

/// Where a provider's credential travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Header that a configured credential is put into, lower case.
    pub header: Box<str>,
    /// What stands before the credential in it (`Bearer `, `Token `, or nothing).
    pub prefix: Box<str>,
    /// Other headers and query keys (`?key`) that may carry a credential instead, lower case.
    pub also: Vec<Box<str>>,
    /// Whether a request without any credential is worth sending (self-hosted models).
    pub optional: bool,
}

/// One provider, built in or from the configuration.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in URLs: `openai`, `azure-openai`, `custom-acme`.
    pub slug: Box<str>,
    /// Other spellings of the slug.
    pub aliases: Vec<Box<str>>,
    /// Its name for people.
    pub name: Box<str>,
    /// Base address. May hold `{resource}`, `{service}`, `{region}`, `{model}` or `{account}` where
    /// its path rule fills them in.
    pub base_url: BaseUrl,
    /// Its wire format, where the path does not tell another.
    pub wire: Wire,
    /// How its paths are mapped.
    pub path: PathRule,
    /// Version prefix of the upstream path (`v1`) that clients may or may not send.
    pub version_prefix: Option<Box<str>>,
    /// Path that a version-prefixed request is appended to instead of the base URL's own.
    pub version_root: Option<Box<str>>,
    /// Where its credential travels.
    pub auth: Auth,
    /// Headers added to each request (custom providers).
    pub headers: Vec<(Box<str>, Secret)>,
    /// Which answers may be retried.
    pub retry: RetrySemantics,
    /// Whether its streams tell their usage only with `stream_options.include_usage`.
    pub stream_usage_option: bool,
    /// Where these facts come from, and the day they were read.
    pub source: Box<str>,
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

/// An `http` or `https` address without query, fragment or credentials; may hold placeholders in
/// braces in its host's first labels and in its path.
///
/// Only configuration and `providers.toml` make one; nothing of a request becomes a host without
/// passing the patterns of its path rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and optional port (`api.openai.com`, `127.0.0.1:8790`, `{resource}.openai.azure.com`).
    pub authority: Arc<str>,
    /// Path without a slash at its end; empty for the root.
    pub path: Arc<str>,
}
