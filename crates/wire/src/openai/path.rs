//! What the paths of OpenAI-shaped APIs tell.

use std::borrow::Cow;

use isango_types::Operation;

use crate::facts::Facts;
use crate::path::decode;

/// Reads the end of the path; whatever stands before it (`/v1`, `/openai/deployments/{name}`,
/// `/api/paas/v4`) does not matter.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    let path = match memchr::memchr(b'?', path.as_bytes()) {
        Some(query) => &path[..query],
        None => path,
    };
    let path = path.trim_end_matches('/');
    if let Some(model) = workers_ai_model(path) {
        let operation = if method == "POST" {
            workers_ai_operation(&model)
        } else {
            Operation::Other
        };
        return Facts {
            operation,
            model: Some(model),
            stream: None,
        };
    }
    let operation = match method {
        "POST" => of_post(path),
        "GET" | "HEAD" if path.split('/').any(|segment| segment == "models") => Operation::Models,
        _ => Operation::Other,
    };
    Facts {
        operation,
        ..Facts::default()
    }
}

fn of_post(path: &str) -> Operation {
    let (rest, last) = split_last(path);
    let (_, before) = split_last(rest);
    match (before, last) {
        ("chat", "completions") => Operation::Chat,
        (_, "completions") => Operation::TextCompletion,
        ("responses", "input_tokens") => Operation::CountTokens,
        (_, "responses") | ("responses", "compact") => Operation::Responses,
        (_, "embeddings" | "multimodalembeddings") => Operation::Embeddings,
        ("images" | "image", "generations" | "edits" | "variations") => Operation::Image,
        ("audio", "speech") => Operation::Speech,
        ("audio", "transcriptions" | "translations") => Operation::Transcription,
        (_, "moderations" | "classify") => Operation::Moderation,
        (_, "rerank") => Operation::Rerank,
        (_, "videos") | ("generations", "jobs") => Operation::Video,
        (_, "remix") if path.contains("/videos/") => Operation::Video,
        _ => Operation::Other,
    }
}

/// What stands before the last slash, and behind it.
fn split_last(path: &str) -> (&str, &str) {
    match memchr::memrchr(b'/', path.as_bytes()) {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => ("", path),
    }
}

/// The model of `…/run/@cf/{author}/{name}`, of which `run` may be missing, however it is escaped.
fn workers_ai_model(path: &str) -> Option<Cow<'_, str>> {
    memchr::memchr2(b'@', b'%', path.as_bytes())?;
    let path = decode(path);
    let at = ["@cf/", "@hf/"].into_iter().find_map(|prefix| {
        let at = path.find(prefix)?;
        (at == 0 || path[..at].ends_with('/')).then_some(at)
    })?;
    Some(match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[at..]),
        Cow::Owned(path) => Cow::Owned(path[at..].to_owned()),
    })
}

/// What a model of Workers AI does, as far as its name tells; most of them chat.
fn workers_ai_operation(model: &str) -> Operation {
    let is = |names: &[&str]| names.iter().any(|name| model.contains(name));
    if is(&["rerank"]) {
        Operation::Rerank
    } else if is(&["bge-", "embed"]) {
        Operation::Embeddings
    } else if is(&["whisper", "nova-3"]) {
        Operation::Transcription
    } else if is(&["melotts", "aura-"]) {
        Operation::Speech
    } else if is(&[
        "flux",
        "stable-diffusion",
        "dreamshaper",
        "lucid-origin",
        "phoenix",
    ]) {
        Operation::Image
    } else {
        Operation::Chat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Operation) {
        assert_eq!(facts(method, path).operation, expected, "{method} {path}");
    }

    #[test]
    fn the_end_of_the_path_tells_the_operation() {
        check("POST", "/v1/chat/completions", Operation::Chat);
        check(
            "POST",
            "/openai/deployments/my-4o/chat/completions",
            Operation::Chat,
        );
        check(
            "POST",
            "/openai/deployments/x/extensions/chat/completions",
            Operation::Chat,
        );
        check("POST", "/api/paas/v4/chat/completions/", Operation::Chat);
        check("POST", "chat/completions?api-version=1", Operation::Chat);
        check("POST", "/v1/completions", Operation::TextCompletion);
        check("POST", "/v1/fim/completions", Operation::TextCompletion);
        check("POST", "/openai/v1/responses", Operation::Responses);
        check("POST", "/v1/responses/input_tokens", Operation::CountTokens);
        check(
            "POST",
            "/openai/deployments/x/embeddings",
            Operation::Embeddings,
        );
        check("POST", "/v1/images/generations", Operation::Image);
        check("POST", "/v1/images/edits", Operation::Image);
        check("POST", "/v1/audio/speech", Operation::Speech);
        check(
            "POST",
            "/openai/deployments/w/audio/translations",
            Operation::Transcription,
        );
        check("POST", "/v1/moderations", Operation::Moderation);
        check("POST", "/v1/rerank", Operation::Rerank);
        check("POST", "/v1/videos", Operation::Video);
        check("POST", "/v1/videos/v_1/remix", Operation::Video);
        check(
            "POST",
            "/openai/v1/video/generations/jobs",
            Operation::Video,
        );
        check("GET", "/v1/models", Operation::Models);
        check("GET", "/openai/v1/models/gpt-4o", Operation::Models);
    }

    #[test]
    fn what_only_manages_is_another_thing() {
        check("GET", "/v1/chat/completions", Operation::Other);
        check("GET", "/v1/responses/resp_1", Operation::Other);
        check("POST", "/v1/responses/resp_1/cancel", Operation::Other);
        check("POST", "/v1/files", Operation::Other);
        check("DELETE", "/v1/models/ft:x", Operation::Other);
        check("POST", "/", Operation::Other);
    }

    #[test]
    fn workers_ai_names_the_model_in_the_path() {
        let check = |path: &str, model: &str, operation| {
            let expected = Facts {
                operation,
                model: Some(model.into()),
                stream: None,
            };
            assert_eq!(facts("POST", path), expected);
        };
        check(
            "/run/@cf/meta/llama-3.1-8b-instruct",
            "@cf/meta/llama-3.1-8b-instruct",
            Operation::Chat,
        );
        check("@cf/baai/bge-m3", "@cf/baai/bge-m3", Operation::Embeddings);
        check(
            "/accounts/a/ai/run/@cf/openai/whisper",
            "@cf/openai/whisper",
            Operation::Transcription,
        );
        for escaped in ["/run/%40cf/meta/llama", "/run/@%63f%2Fmeta/llam%61"] {
            check(escaped, "@cf/meta/llama", Operation::Chat);
        }
    }
}
