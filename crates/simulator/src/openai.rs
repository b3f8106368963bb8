//! OpenAI's surface: what its endpoints share, and those that need little. Azure's answers come
//! from here too.

mod chat;
mod completions;
mod media;
mod responses;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::ask::{Tool, ToolChoice};
use crate::asked::{Answer, Asked};
use crate::json::{self, Object};
use crate::refusal::Refusal;
use crate::route::{Operation, Provider};
use crate::text::{self, Rng};

/// Answers a request to OpenAI's surface, or to Azure's once its own checks have passed.
pub(crate) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    match asked.route.operation {
        Operation::Chat => chat::answer(asked),
        Operation::Completions => completions::answer(asked),
        Operation::Responses => responses::answer(asked),
        Operation::Embeddings => embeddings(asked),
        Operation::Models => Ok(models(asked)),
        Operation::Images => media::images(asked),
        Operation::Speech => media::speech(asked),
        Operation::Transcriptions => Ok(media::transcription(asked)),
        Operation::Moderations => moderations(asked),
        Operation::Messages
        | Operation::CountTokens
        | Operation::Generate
        | Operation::StreamGenerate
        | Operation::Embed
        | Operation::BatchEmbed => Err(Refusal::bad("this is another provider's operation")),
    }
}

/// Models, and the dated names under which they answer.
const MODELS: &[(&str, &str)] = &[
    ("gpt-5", "gpt-5-2025-08-07"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
    ("gpt-5-nano", "gpt-5-nano-2025-08-07"),
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-4-turbo", "gpt-4-turbo-2024-04-09"),
    ("gpt-4", "gpt-4-0613"),
    ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
    ("o1", "o1-2024-12-17"),
    ("o3", "o3-2025-04-16"),
    ("o3-mini", "o3-mini-2025-01-31"),
    ("o4-mini", "o4-mini-2025-04-16"),
    ("text-embedding-3-small", "text-embedding-3-small"),
    ("text-embedding-3-large", "text-embedding-3-large"),
    ("text-embedding-ada-002", "text-embedding-ada-002"),
    ("gpt-image-1", "gpt-image-1"),
    ("omni-moderation-latest", "omni-moderation-latest"),
    ("whisper-1", "whisper-1"),
    ("tts-1", "tts-1"),
];

/// The model that answers: the body's, under its dated name. An Azure deployment is taken for the
/// longest model name in its own name, and otherwise for `default`.
///
/// # Errors
/// Neither body nor path names a model.
fn served(asked: &Asked<'_>, model: Option<&str>, default: &str) -> Result<String, Refusal> {
    let dated = |name: &str| {
        MODELS
            .iter()
            .find(|(model, _)| *model == name)
            .map(|(_, dated)| (*dated).to_owned())
    };
    match (asked.route.provider, asked.route.model, model) {
        (Provider::Azure, Some(deployment), _) | (Provider::Azure, None, Some(deployment)) => {
            let deployment = deployment.to_ascii_lowercase();
            let named = MODELS
                .iter()
                .filter(|(model, _)| deployment.contains(model));
            let longest = named
                .max_by_key(|(model, _)| model.len())
                .map(|(model, _)| *model);
            Ok(dated(longest.unwrap_or(default)).unwrap_or_else(|| default.to_owned()))
        }
        (_, _, Some(model)) if !model.is_empty() => {
            Ok(dated(model).unwrap_or_else(|| model.to_owned()))
        }
        _ => Err(Refusal::missing("model")),
    }
}

/// Whether a model thinks before it answers.
fn reasons(model: &str) -> bool {
    model.starts_with("gpt-5")
        || ["o1", "o3", "o4"]
            .iter()
            .any(|name| model.starts_with(name))
}

/// A backend's fingerprint: one per model.
fn fingerprint(model: &str) -> String {
    format!("fp_{:010x}", xxh3_64(model.as_bytes()) >> 24)
}

/// A text, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Functions among `tools`, in the nested form of chat (`{"function": …}`) or the flat one of
/// responses.
fn functions(tools: &[Value]) -> Vec<Tool> {
    let function = |tool: &Value| {
        let function = tool.get("function").unwrap_or(tool);
        Tool::declared(function, function.get("parameters"))
    };
    tools.iter().filter_map(function).collect()
}

fn tool_choice(choice: Option<&Value>) -> ToolChoice {
    match choice {
        Some(Value::String(word)) => match word.as_str() {
            "none" => ToolChoice::Never,
            "required" => ToolChoice::Any,
            _ => ToolChoice::Auto,
        },
        Some(Value::Object(named)) => {
            let function = named
                .get("function")
                .and_then(|function| function.get("name"));
            let name = function
                .or_else(|| named.get("name"))
                .and_then(Value::as_str);
            name.map_or(ToolChoice::Auto, |name| ToolChoice::Named(name.to_owned()))
        }
        _ => ToolChoice::Auto,
    }
}

#[derive(Deserialize)]
struct EmbeddingsRequest {
    model: Option<String>,
    input: Option<Value>,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

/// Most dimensions and inputs of one request.
const MOST_DIMENSIONS: usize = 4_096;
const MOST_INPUTS: usize = 2_048;

fn embeddings(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: EmbeddingsRequest = asked.parse()?;
    let model = served(asked, request.model.as_deref(), "text-embedding-3-small")?;
    let inputs = inputs(
        request
            .input
            .as_ref()
            .ok_or_else(|| Refusal::missing("input"))?,
    )?;
    let natural = if model == "text-embedding-3-large" {
        3_072
    } else {
        1_536
    };
    let dimensions = request.dimensions.unwrap_or(natural);
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        let message = format!("`dimensions` lies between 1 and {MOST_DIMENSIONS}");
        return Err(Refusal::invalid("dimensions", message));
    }
    let base64 = request.encoding_format.as_deref() == Some("base64");
    let tokens: u64 = inputs.iter().map(|input| input.tokens).sum();
    let data = inputs.iter().zip(0..).map(|(input, index)| {
        let vector = vector(input.seed, dimensions);
        let item = Object::new()
            .text("object", "embedding")
            .number("index", index);
        if base64 {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            item.text("embedding", &STANDARD.encode(bytes))
        } else {
            item.raw("embedding", numbers(&vector))
        }
    });
    let usage = Object::new()
        .number("prompt_tokens", tokens)
        .number("total_tokens", tokens);
    let body = Object::new()
        .text("object", "list")
        .list("data", data)
        .text("model", &model)
        .object("usage", usage);
    Ok(Answer::json(body.build()))
}

/// One thing to embed.
struct Input {
    seed: u64,
    tokens: u64,
}

/// What is to be embedded: a text, tokens, or several of either.
fn inputs(input: &Value) -> Result<Vec<Input>, Refusal> {
    let one = |value: &Value| {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            return Some(Input {
                seed: xxh3_64(text.as_bytes()),
                tokens: text::count(text),
            });
        }
        let tokens = value.as_array()?;
        let all = !tokens.is_empty() && tokens.iter().all(Value::is_u64);
        let seed = xxh3_64(value.to_string().as_bytes());
        all.then_some(Input {
            seed,
            tokens: tokens.len() as u64,
        })
    };
    let many = || {
        let items = input
            .as_array()
            .filter(|items| items.len() <= MOST_INPUTS)?;
        items.iter().map(one).collect()
    };
    one(input)
        .map(|input| vec![input])
        .or_else(many)
        .filter(|inputs: &Vec<Input>| !inputs.is_empty())
        .ok_or_else(|| {
            let message = format!("`input` is a text, tokens, or up to {MOST_INPUTS} of either");
            Refusal::invalid("input", message)
        })
}

/// A vector of length 1. Seeds come from the text alone: equal texts lie at one point.
pub(crate) fn vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let mut next = || f32::from(u16::try_from(rng.next() >> 48).unwrap_or(0)) / 32_768.0 - 1.0;
    let mut vector: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = vector
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::EPSILON);
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

/// A vector as a JSON array.
pub(crate) fn numbers(vector: &[f32]) -> Vec<u8> {
    json::join(vector.iter().map(|value| value.to_string().into_bytes()))
}

fn models(asked: &Asked<'_>) -> Answer {
    let model = |id: &str| {
        Object::new()
            .text("id", id)
            .text("object", "model")
            .number("created", asked.created)
            .text("owned_by", "simulator")
    };
    let body = match asked.route.model {
        Some(id) => model(id),
        None => Object::new()
            .text("object", "list")
            .list("data", MODELS.iter().map(|(id, _)| model(id))),
    };
    Answer::json(body.build())
}

#[derive(Deserialize)]
struct ModerationsRequest {
    model: Option<String>,
    input: Option<Value>,
}

/// Flags what has the word "violence" in it.
fn moderations(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    const CATEGORIES: [&str; 7] = [
        "harassment",
        "hate",
        "illicit",
        "self-harm",
        "sexual",
        "violence",
        "violence/graphic",
    ];
    let request: ModerationsRequest = asked.parse()?;
    let input = request.input.ok_or_else(|| Refusal::missing("input"))?;
    let several = input
        .as_array()
        .filter(|items| items.iter().all(Value::is_string));
    let texts: Vec<_> = several.map_or_else(|| vec![&input], |items| items.iter().collect());
    let results = texts.into_iter().map(|text| {
        let flagged = text::plain(text).to_ascii_lowercase().contains("violence");
        let (mut categories, mut scores) = (Object::new(), Object::new());
        for category in CATEGORIES {
            let hit = flagged && category == "violence";
            categories = categories.flag(category, hit);
            scores = scores.raw(category, if hit { "0.97" } else { "0.0002" });
        }
        Object::new()
            .flag("flagged", flagged)
            .object("categories", categories)
            .object("category_scores", scores)
    });
    let body = Object::new()
        .text("id", &text::id("modr-", asked.seed, 24))
        .text(
            "model",
            request.model.as_deref().unwrap_or("omni-moderation-latest"),
        )
        .list("results", results);
    Ok(Answer::json(body.build()))
}
