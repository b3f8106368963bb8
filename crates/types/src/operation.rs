//! What kind of call a request is.

use serde::{Deserialize, Serialize};

/// The kind of a call, as told by its path. Named after the OpenTelemetry `GenAI` operation
/// names where those exist (`chat`, `text_completion`, `embeddings`, `generate_content`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Chat completions, Anthropic messages, Cohere chat, Bedrock converse.
    Chat,
    /// Legacy text completions.
    TextCompletion,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent` and `streamGenerateContent`.
    GenerateContent,
    /// Embeddings.
    Embeddings,
    /// Image generation, edits and variations.
    Image,
    /// Text to speech.
    Speech,
    /// Speech to text, translations included.
    Transcription,
    /// Video generation.
    Video,
    /// Moderation and other classification.
    Moderation,
    /// Rerank.
    Rerank,
    /// Token counting.
    CountTokens,
    /// Model lists and descriptions.
    Models,
    /// Anything else: files, batches, threads, provider-specific endpoints.
    #[default]
    Other,
}

impl Operation {
    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Responses => "responses",
            Self::GenerateContent => "generate_content",
            Self::Embeddings => "embeddings",
            Self::Image => "image",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Video => "video",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
            Self::Other => "other",
        }
    }

    /// Whether it asks something, so that equal ones may have one answer; the others make or change
    /// something at the provider.
    #[must_use]
    pub const fn is_question(self) -> bool {
        self.nature().is_question
    }

    /// Whether what it sends is mostly text to be read.
    #[must_use]
    pub const fn reads_text(self) -> bool {
        self.nature().reads_text
    }

    /// Whether its answer is text, written token by token.
    #[must_use]
    pub const fn writes_text(self) -> bool {
        self.nature().writes_text
    }

    /// Whether its answer has tokens of output, of text or of anything else.
    #[must_use]
    pub const fn has_output(self) -> bool {
        self.nature().has_output
    }

    const fn nature(self) -> Nature {
        let answers = Nature {
            is_question: true,
            reads_text: false,
            writes_text: false,
            has_output: false,
        };
        match self {
            Self::Chat | Self::TextCompletion | Self::Responses | Self::GenerateContent => Nature {
                reads_text: true,
                writes_text: true,
                has_output: true,
                ..answers
            },
            Self::Embeddings | Self::Rerank => Nature {
                reads_text: true,
                ..answers
            },
            Self::Image | Self::Speech | Self::Transcription => Nature {
                has_output: true,
                ..answers
            },
            Self::Moderation | Self::CountTokens => answers,
            Self::Video => Nature {
                is_question: false,
                has_output: true,
                ..answers
            },
            Self::Models | Self::Other => Nature {
                is_question: false,
                ..answers
            },
        }
    }

    /// Whether a successful answer is expected to be paid for, so that a missing usage is worth a
    /// word in the record.
    #[must_use]
    pub const fn is_billed(self) -> bool {
        !matches!(
            self,
            Self::CountTokens | Self::Models | Self::Moderation | Self::Other
        )
    }
}

/// What a kind of call is like.
struct Nature {
    is_question: bool,
    reads_text: bool,
    writes_text: bool,
    has_output: bool,
}
