//! Tokens by kind.

use serde::{Deserialize, Serialize};

/// What one answer consumed, in disjoint buckets: each token is counted in exactly one of them,
/// so that the sum of the buckets is the provider's own total.
///
/// Providers count differently (OpenAI's `prompt_tokens` includes cached ones, Anthropic's
/// `input_tokens` does not); the wire formats bring them to this shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Text input that was neither read from nor written to the provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Input read from the provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Input written to the provider's prompt cache (five minutes, or of unknown lifetime).
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Input written to the provider's prompt cache for one hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Audio input.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Audio input read from the provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_cache_read: u64,
    /// Image input.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// Text output, reasoning excluded.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Reasoning output that the client may not see.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Audio output.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Image output.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
    /// Images made, where the provider bills by piece instead of by token. Not a token count.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Tool calls of the provider that it bills by piece (web searches). Not a token count.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// Milliseconds of audio, where the provider bills by duration. Not a token count.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_ms: u64,
    /// Characters of input, where the provider bills by character. Not a token count.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// The counts come from our tokenizer, not from the provider.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Most tokens that one exchange can have: ten thousand times the largest context there is.
    /// What tells more is broken or lies.
    pub const MAX_TOKENS: u64 = 10_000_000_000;

    /// Tokens sent: every input bucket.
    #[must_use]
    pub const fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.audio_input)
            .saturating_add(self.audio_cache_read)
            .saturating_add(self.image_input)
    }

    /// Tokens received: every output bucket.
    #[must_use]
    pub const fn total_output(&self) -> u64 {
        self.output
            .saturating_add(self.reasoning)
            .saturating_add(self.audio_output)
            .saturating_add(self.image_output)
    }

    /// All tokens: the provider's total.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total_input().saturating_add(self.total_output())
    }

    /// Whether nothing at all was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                estimated: self.estimated,
                ..Self::default()
            }
    }
}
