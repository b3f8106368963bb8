//! Which provider's surface a path belongs to.
//!
//! Paths stand as at the provider's own host, or behind up to two segments of a base URL of the
//! caller's choice (`/{resource}/openai/…`, `/azure/{resource}/openai/…`, `/mistral/v1/…`).

use http::Method;

/// Whose manners an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Provider {
    OpenAi,
    Azure,
    Anthropic,
    Gemini,
}

impl Provider {
    pub(crate) const ALL: [Self; 4] = [Self::OpenAi, Self::Azure, Self::Anthropic, Self::Gemini];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Models,
    Images,
    Speech,
    Transcriptions,
    Moderations,
    Messages,
    CountTokens,
    Generate,
    StreamGenerate,
    Embed,
    BatchEmbed,
}

impl Operation {
    pub(crate) const ALL: [Self; 15] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Models,
        Self::Images,
        Self::Speech,
        Self::Transcriptions,
        Self::Moderations,
        Self::Messages,
        Self::CountTokens,
        Self::Generate,
        Self::StreamGenerate,
        Self::Embed,
        Self::BatchEmbed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Moderations => "moderations",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Generate => "generate",
            Self::StreamGenerate => "stream_generate",
            Self::Embed => "embed",
            Self::BatchEmbed => "batch_embed",
        }
    }

    pub(crate) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Models => matches!(*method, Method::GET | Method::HEAD),
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Images
            | Self::Speech
            | Self::Transcriptions
            | Self::Moderations
            | Self::Messages
            | Self::CountTokens
            | Self::Generate
            | Self::StreamGenerate
            | Self::Embed
            | Self::BatchEmbed => *method == Method::POST,
        }
    }
}

/// A path, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    pub(crate) provider: Provider,
    pub(crate) operation: Operation,
    /// The model or deployment in the path.
    pub(crate) model: Option<&'a str>,
    /// An Azure path of the dated API, which needs `api-version`.
    pub(crate) dated: bool,
}

/// Paths have at most this many segments.
const SEGMENTS: usize = 12;

/// Finds the surface of `path`; `anthropic` tells that the request speaks Anthropic's dialect,
/// which shares `/v1/models` with OpenAI's.
pub(crate) fn find(path: &str, anthropic: bool) -> Option<Route<'_>> {
    let mut segments = [""; SEGMENTS];
    let mut count = 0;
    for segment in path.trim_matches('/').split('/') {
        *segments.get_mut(count)? = segment;
        count += 1;
    }
    let segments = &segments[..count];
    for skip in 0..count.min(3) {
        let found = native(&segments[skip..], anthropic);
        // Nobody else has this version: what Gemini does not know there, nobody knows.
        if found.is_some() || segments[skip] == "v1beta" {
            return found;
        }
    }
    None
}

fn native<'a>(path: &[&'a str], anthropic: bool) -> Option<Route<'a>> {
    let azure = |dated, model, operation| Route {
        provider: Provider::Azure,
        operation,
        model,
        dated,
    };
    match path {
        ["openai", "deployments", deployment, rest @ ..] => {
            openai(rest).map(|(operation, _)| azure(true, Some(*deployment), operation))
        }
        ["openai", "v1", rest @ ..] => {
            openai(rest).map(|(operation, model)| azure(false, model, operation))
        }
        ["openai", "responses"] | ["openai", "models", ..] => {
            openai(&path[1..]).map(|(operation, model)| azure(true, model, operation))
        }
        ["anthropic", rest @ ..] => claude(rest),
        ["v1" | "v1beta", "models", named] if named.contains(':') => gemini(named),
        ["v1beta", "models"] => Some(of(Provider::Gemini, Operation::Models, None)),
        ["v1beta", "models", named] => Some(of(Provider::Gemini, Operation::Models, Some(*named))),
        ["v1", "messages", ..] => claude(path),
        ["v1", "models", ..] if anthropic => claude(path),
        ["v1", rest @ ..] | rest => {
            openai(rest).map(|(operation, model)| of(Provider::OpenAi, operation, model))
        }
    }
}

const fn of(provider: Provider, operation: Operation, model: Option<&str>) -> Route<'_> {
    Route {
        provider,
        operation,
        model,
        dated: false,
    }
}

fn openai<'a>(path: &[&'a str]) -> Option<(Operation, Option<&'a str>)> {
    Some(match path {
        ["chat", "completions"] => (Operation::Chat, None),
        ["completions"] => (Operation::Completions, None),
        ["responses"] => (Operation::Responses, None),
        ["embeddings"] => (Operation::Embeddings, None),
        ["models"] => (Operation::Models, None),
        ["models", model] => (Operation::Models, Some(*model)),
        ["images", "generations"] => (Operation::Images, None),
        ["audio", "speech"] => (Operation::Speech, None),
        ["audio", "transcriptions"] => (Operation::Transcriptions, None),
        ["moderations"] => (Operation::Moderations, None),
        _ => return None,
    })
}

fn claude<'a>(path: &[&'a str]) -> Option<Route<'a>> {
    let (operation, model) = match path {
        ["v1", "messages"] => (Operation::Messages, None),
        ["v1", "messages", "count_tokens"] => (Operation::CountTokens, None),
        ["v1", "models"] => (Operation::Models, None),
        ["v1", "models", model] => (Operation::Models, Some(*model)),
        _ => return None,
    };
    Some(of(Provider::Anthropic, operation, model))
}

fn gemini(named: &str) -> Option<Route<'_>> {
    let (model, verb) = named.split_once(':')?;
    let operation = match verb {
        "generateContent" => Operation::Generate,
        "streamGenerateContent" => Operation::StreamGenerate,
        "countTokens" => Operation::CountTokens,
        "embedContent" => Operation::Embed,
        "batchEmbedContents" => Operation::BatchEmbed,
        _ => return None,
    };
    Some(of(Provider::Gemini, operation, Some(model)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let found = find(path, false).map_or("nothing".to_owned(), |route| {
            let dated = if route.dated { " dated" } else { "" };
            let model = route
                .model
                .map(|model| format!(" {model}"))
                .unwrap_or_default();
            format!(
                "{} {}{model}{dated}",
                route.provider.name(),
                route.operation.name()
            )
        });
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_stand_as_at_the_host_or_behind_a_prefix() {
        check("/v1/chat/completions", "openai chat");
        check("/chat/completions", "openai chat");
        check("/groq/v1/chat/completions/", "openai chat");
        check("/v1/models/gpt-4o", "openai models gpt-4o");
        check("/v1/images/generations", "openai images");
        check(
            "/openai/deployments/chat/chat/completions",
            "azure chat chat dated",
        );
        check(
            "/res/openai/deployments/d/embeddings",
            "azure embeddings d dated",
        );
        check(
            "/azure/res/openai/deployments/d/audio/speech",
            "azure speech d dated",
        );
        check("/azure/res/openai/v1/responses", "azure responses");
        check("/res/openai/responses", "azure responses dated");
        check("/openai/models", "azure models dated");
        check("/openai/chat/completions", "openai chat");
        check("/v1/messages", "anthropic messages");
        check(
            "/azure/res/anthropic/v1/messages/count_tokens",
            "anthropic count_tokens",
        );
        check(
            "/v1beta/models/gemini-2.5-pro:generateContent",
            "gemini generate gemini-2.5-pro",
        );
        check(
            "/google-ai-studio/v1/models/g:countTokens",
            "gemini count_tokens g",
        );
        check("/v1beta/models", "gemini models");
        check("/v1beta/models/g:destroy", "nothing");
        check("/v1/models/ft:gpt-4o:org", "openai models ft:gpt-4o:org");
        check("/a/b/c/v1/chat/completions", "nothing");
        check("/", "nothing");
    }

    #[test]
    fn anthropic_has_models_of_its_own() {
        let provider = |anthropic| find("/v1/models", anthropic).unwrap().provider;
        assert_eq!(
            (provider(true), provider(false)),
            (Provider::Anthropic, Provider::OpenAi)
        );
    }
}
