//! What OpenTelemetry's conventions of generative AI call things, for traces and metrics alike
//! (semantic conventions of generative AI, in development; read 2026-11-23).

use crate::Operation;
use crate::record::Record;

/// The model of a series beyond the most that are told apart.
pub const OTHER: &str = "other";
/// Longest name of a model that is told, in bytes.
pub const MAX_MODEL_BYTES: usize = 128;
/// Most series (operation, provider, models, error) that are told apart in one place; the models of
/// further ones are [`OTHER`].
pub const MAX_SERIES: usize = 200;

/// Upper bounds of how long operations take, in seconds.
pub const DURATION_SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Upper bounds of the time to the first token, in seconds.
pub const FIRST_TOKEN_SECONDS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Upper bounds of the time for each further token, in seconds.
pub const TOKEN_SECONDS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// Upper bounds of counts of tokens.
pub const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The names that the conventions have for providers; others go by their slug.
const PROVIDERS: [(&str, &str); 8] = [
    ("azure-openai", "azure.ai.openai"),
    ("google-ai-studio", "gcp.gemini"),
    ("google-vertex-ai", "gcp.vertex_ai"),
    ("aws-bedrock", "aws.bedrock"),
    ("mistral", "mistral_ai"),
    ("grok", "x_ai"),
    ("perplexity-ai", "perplexity"),
    ("workers-ai", "cloudflare"),
];

/// The conventions' name of a provider.
#[must_use]
pub fn provider(slug: &str) -> &str {
    let known = PROVIDERS.iter().find(|(known, _)| *known == slug);
    known.map_or(slug, |(_, name)| name)
}

/// The conventions' name of a call.
#[must_use]
pub const fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Responses => "chat",
        Operation::Chat
        | Operation::TextCompletion
        | Operation::GenerateContent
        | Operation::Embeddings
        | Operation::Image
        | Operation::Speech
        | Operation::Transcription
        | Operation::Video
        | Operation::Moderation
        | Operation::Rerank
        | Operation::CountTokens
        | Operation::Models
        | Operation::Other => operation.as_str(),
    }
}

/// What a record adds to metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// From the request to the last byte, in seconds.
    pub duration: f64,
    /// From the request to the first token of a stream, in seconds.
    pub first_token: Option<f64>,
    /// For each token of a stream behind the first, in seconds.
    pub per_token: Option<f64>,
    /// Tokens sent and received.
    pub tokens: Option<(u64, u64)>,
    /// In 1e-9 USD.
    pub nanousd: Option<u64>,
}

/// What the metrics of a record are told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series<'r> {
    /// `gen_ai.operation.name`.
    pub operation: &'r str,
    /// `gen_ai.provider.name`.
    pub provider: &'r str,
    /// `gen_ai.request.model`; empty: none was asked for.
    pub asked: &'r str,
    /// `gen_ai.response.model`; empty: none answered.
    pub answered: &'r str,
    /// `error.type`; empty: it did not fail.
    pub error: &'r str,
}

impl<'r> Series<'r> {
    /// The series of a record; `None`: no provider was asked.
    #[must_use]
    pub fn of(record: &'r Record) -> Option<Self> {
        let slug = record.provider.as_deref()?;
        if record.attempts.is_empty() {
            return None;
        }
        let model = |name: Option<&'r str>| match name {
            Some(name) if name.len() > MAX_MODEL_BYTES => OTHER,
            Some(name) => name,
            None => "",
        };
        let error = record.error.as_ref().filter(|_| record.is_error());
        Some(Self {
            operation: operation(record.operation),
            provider: provider(slug),
            asked: model(record.model_requested.as_deref()),
            answered: model(record.model.as_deref()),
            error: error.map_or("", |error| &error.code),
        })
    }

    /// The same without its models.
    #[must_use]
    pub const fn of_others(mut self) -> Self {
        self.asked = OTHER;
        self.answered = OTHER;
        self
    }
}

impl Sample {
    /// What a record adds.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let usage = record.usage.as_ref();
        let tokens = usage.map(|usage| (usage.total_input(), usage.total_output()));
        let (total, first) = (record.timing.total_us, record.timing.ttft_us);
        let further = tokens.map_or(0, |(_, output)| output.saturating_sub(1));
        let between = first.map(|first| total.saturating_sub(first));
        Self {
            duration: seconds(total),
            first_token: first.map(seconds),
            per_token: between
                .filter(|_| further > 0)
                .map(|us| seconds(us) / count(further)),
            tokens,
            nanousd: record.cost.nanousd,
        }
    }
}

fn seconds(us: u64) -> f64 {
    count(us) / 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bucket needs no more than 53 bits"
)]
const fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_and_calls_have_the_names_of_the_conventions() {
        assert_eq!(provider("azure-openai"), "azure.ai.openai");
        assert_eq!(provider("custom-acme"), "custom-acme");
        assert_eq!(operation(Operation::Responses), "chat");
        assert_eq!(operation(Operation::TextCompletion), "text_completion");
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [
            &DURATION_SECONDS[..],
            &FIRST_TOKEN_SECONDS,
            &TOKEN_SECONDS,
            &TOKENS,
        ] {
            assert!(bounds.is_sorted());
        }
    }
}
