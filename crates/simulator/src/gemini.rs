//! Gemini's surface: contents, whole and streamed as events or as one JSON array; token counts;
//! embeddings; models.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::ask::{self, Ask, Finish, Form, Reply, Tool, ToolChoice};
use crate::asked::{Answer, Asked};
use crate::body::Content;
use crate::json::{self, Object};
use crate::openai::{numbers, vector};
use crate::refusal::Refusal;
use crate::route::Operation;
use crate::script::{LineEnd, Spelling, Writer};
use crate::text;

/// Answers a request to Gemini's surface.
pub(crate) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    match asked.route.operation {
        Operation::Generate | Operation::StreamGenerate => generate(asked),
        Operation::CountTokens => count_tokens(asked),
        Operation::Embed | Operation::BatchEmbed => embed(asked),
        Operation::Models => Ok(models(asked)),
        Operation::Chat
        | Operation::Completions
        | Operation::Responses
        | Operation::Embeddings
        | Operation::Images
        | Operation::Speech
        | Operation::Transcriptions
        | Operation::Moderations
        | Operation::Messages => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this is another provider's operation",
        )),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    contents: Option<Value>,
    #[serde(default, alias = "system_instruction")]
    system_instruction: Value,
    #[serde(default, alias = "generation_config")]
    generation_config: Generation,
    tools: Option<Vec<Value>>,
    #[serde(alias = "tool_config")]
    tool_config: Option<Value>,
    #[serde(alias = "generate_content_request")]
    generate_content_request: Option<Box<Self>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Generation {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "stop_sequences")]
    stop_sequences: Vec<String>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "response_schema", alias = "responseJsonSchema")]
    response_schema: Option<Value>,
}

/// Candidates of one request, at most.
const MOST_CANDIDATES: u64 = 8;
/// Tokens in one chunk of a stream; Gemini sends several at a time.
const CHUNK: usize = 8;

fn prompt_tokens(request: &Request) -> Result<u64, Refusal> {
    let contents = request
        .contents
        .as_ref()
        .ok_or_else(|| Refusal::missing("contents"))?;
    let tools = request
        .tools
        .iter()
        .flatten()
        .map(|tool| text::count(&tool.to_string()));
    let words = text::count(&text::plain(contents));
    let system = text::count(&text::plain(&request.system_instruction));
    Ok(1 + words + system + tools.sum::<u64>())
}

fn generate(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: Request = asked.parse()?;
    let prompt_tokens = prompt_tokens(&request)?;
    let contents = request.contents.unwrap_or_default();
    let items = contents.as_array().map(Vec::as_slice).unwrap_or_default();
    let last = items.last().unwrap_or(&contents);
    let question = text::plain(last);
    let tools: Vec<Tool> = request.tools.iter().flatten().flat_map(functions).collect();
    let tool = ask::choose(
        &tools,
        &tool_choice(request.tool_config.as_ref()),
        &question,
    );
    let model = asked.route.model.unwrap_or_default();
    let generation = request.generation_config;
    let candidates = generation.candidate_count.unwrap_or(1);
    if !(1..=MOST_CANDIDATES).contains(&candidates) {
        let message = format!("`candidateCount` lies between 1 and {MOST_CANDIDATES}");
        return Err(Refusal::bad(message));
    }
    let json = generation.response_mime_type.as_deref() == Some("application/json");
    let form = if json {
        Form::Json(generation.response_schema.as_ref())
    } else {
        Form::Text
    };
    let ask = Ask {
        seed: asked.seed,
        prompt_tokens,
        limit: generation.max_output_tokens,
        length: asked.tokens,
        stops: generation.stop_sequences,
        form: tool.map_or(form, Form::Call),
        reasons: model.contains("2.5") || model.contains("gemini-3"),
        asked: question,
    };
    let content = Generated {
        asked,
        ask: &ask,
        model,
        replies: (0..candidates).map(|index| ask.reply(index)).collect(),
    };
    Ok(match asked.route.operation == Operation::StreamGenerate {
        true => content.stream(),
        false => Answer::json(content.whole()),
    })
}

fn functions(tool: &Value) -> Vec<Tool> {
    let declared = tool
        .get("functionDeclarations")
        .or_else(|| tool.get("function_declarations"));
    let function = |function: &Value| {
        let schema = function
            .get("parameters")
            .or_else(|| function.get("parametersJsonSchema"));
        Tool::declared(function, schema)
    };
    declared
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(function)
        .collect()
}

fn tool_choice(config: Option<&Value>) -> ToolChoice {
    let calling = config.and_then(|config| {
        config
            .get("functionCallingConfig")
            .or_else(|| config.get("function_calling_config"))
    });
    let allowed = calling.and_then(|calling| {
        calling
            .get("allowedFunctionNames")
            .or_else(|| calling.get("allowed_function_names"))
    });
    let first = allowed
        .and_then(|names| names.get(0))
        .and_then(Value::as_str);
    match (
        calling
            .and_then(|calling| calling.get("mode"))
            .and_then(Value::as_str),
        first,
    ) {
        (Some("ANY"), Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("ANY"), None) => ToolChoice::Any,
        (Some("NONE"), _) => ToolChoice::Never,
        _ => ToolChoice::Auto,
    }
}

struct Generated<'a> {
    asked: &'a Asked<'a>,
    ask: &'a Ask<'a>,
    model: &'a str,
    replies: Vec<Reply>,
}

impl Generated<'_> {
    fn whole(&self) -> Vec<u8> {
        let candidates =
            self.replies.iter().zip(0..).map(|(reply, index)| {
                candidate(index, part(reply, &reply.text), Some(reply.finish))
            });
        let tokens = self.replies.iter().map(|reply| reply.tokens).sum();
        self.envelope(candidates.collect(), tokens)
    }

    fn envelope(&self, candidates: Vec<Object>, tokens: u64) -> Vec<u8> {
        let thoughts: u64 = self
            .replies
            .iter()
            .map(|reply| reply.reasoning_tokens)
            .sum();
        let prompt = self.ask.prompt_tokens;
        let usage = Object::new()
            .number("promptTokenCount", prompt)
            .number("candidatesTokenCount", tokens)
            .number("totalTokenCount", prompt + tokens + thoughts);
        let usage = match self.ask.cached_tokens() {
            0 => usage,
            cached => usage.number("cachedContentTokenCount", cached),
        };
        let usage = usage.list("promptTokensDetails", [modality(prompt)]);
        let usage = if thoughts > 0 {
            usage.number("thoughtsTokenCount", thoughts)
        } else {
            usage
        };
        Object::new()
            .list("candidates", candidates)
            .object("usageMetadata", usage)
            .text("modelVersion", self.model)
            .text("responseId", &text::id("", self.asked.seed, 22))
            .build()
    }

    fn stream(&self) -> Answer {
        let chunks = self.chunks();
        if self.asked.query("alt") == Some("sse") {
            // Gemini ends the lines of its events with CR LF.
            let line = match self.asked.spelling.line {
                LineEnd::Lf => LineEnd::CrLf,
                chosen @ (LineEnd::CrLf | LineEnd::Cr) => chosen,
            };
            let mut out = Writer::new(Spelling {
                line,
                ..self.asked.spelling
            });
            for (chunk, step) in &chunks {
                out.event(*step, None, chunk);
            }
            return Answer {
                content_type: "text/event-stream",
                ..Answer::events(out.finish())
            };
        }
        let mut out = Writer::new(Spelling::default());
        let last = chunks.len().saturating_sub(1);
        for (at, (chunk, step)) in chunks.into_iter().enumerate() {
            let open: &[u8] = if at == 0 { b"[" } else { b",\r\n" };
            let close: &[u8] = if at == last { b"\n]\n" } else { b"\n" };
            out.raw(step, &[open, &chunk, close].concat());
        }
        let content = Content::Stream(out.finish());
        Answer {
            status: StatusCode::OK,
            content_type: "application/json; charset=UTF-8",
            content,
        }
    }

    /// The parts of a stream with the steps at which they are due; the first candidate comes in
    /// several, a call and any other candidate in one.
    fn chunks(&self) -> Vec<(Vec<u8>, u32)> {
        let (mut chunks, mut tokens, mut step) = (Vec::new(), 0, 0);
        for (reply, index) in self.replies.iter().zip(0..) {
            let pieces: Vec<_> = text::pieces(&reply.text).collect();
            let size = if reply.tool.is_some() {
                pieces.len().max(1)
            } else {
                CHUNK
            };
            let count = pieces.len().div_ceil(size).max(1);
            for at in 0..count {
                let piece = &pieces[at * size..pieces.len().min((at + 1) * size)];
                tokens += piece.len() as u64;
                step += u32::try_from(piece.len()).unwrap_or(0);
                let finish = (at + 1 == count).then_some(reply.finish);
                let candidate = candidate(index, part(reply, &piece.concat()), finish);
                chunks.push((
                    self.envelope(vec![candidate], tokens),
                    step.saturating_sub(1),
                ));
            }
        }
        chunks
    }
}

fn modality(tokens: u64) -> Object {
    Object::new()
        .text("modality", "TEXT")
        .number("tokenCount", tokens)
}

fn part(reply: &Reply, words: &str) -> Object {
    match &reply.tool {
        None => Object::new().text("text", words),
        Some(name) => {
            let whole = serde_json::from_str::<Value>(words).is_ok();
            let arguments = if whole { words } else { "{}" };
            let call = Object::new().text("name", name).raw("args", arguments);
            Object::new().object("functionCall", call)
        }
    }
}

fn candidate(index: u64, part: Object, finish: Option<Finish>) -> Object {
    let content = Object::new().list("parts", [part]).text("role", "model");
    let candidate = Object::new().object("content", content);
    let candidate = match finish {
        None => candidate,
        Some(Finish::Length) => candidate.text("finishReason", "MAX_TOKENS"),
        Some(Finish::Stop | Finish::Sequence | Finish::Call) => {
            candidate.text("finishReason", "STOP")
        }
    };
    candidate.number("index", index)
}

fn count_tokens(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: Request = asked.parse()?;
    let inner = request
        .generate_content_request
        .as_deref()
        .unwrap_or(&request);
    let tokens = prompt_tokens(inner)?;
    let body = Object::new()
        .number("totalTokens", tokens)
        .list("promptTokensDetails", [modality(tokens)]);
    Ok(Answer::json(body.build()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbedRequest {
    content: Option<Value>,
    requests: Option<Vec<Self>>,
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<usize>,
}

/// Dimensions unless asked otherwise, and at most.
const DIMENSIONS: usize = 3_072;

fn embed(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: EmbedRequest = asked.parse()?;
    let values = |request: &EmbedRequest| {
        let content = request
            .content
            .as_ref()
            .ok_or_else(|| Refusal::missing("content"))?;
        let dimensions = request.output_dimensionality.unwrap_or(DIMENSIONS);
        if !(1..=DIMENSIONS).contains(&dimensions) {
            let message = format!("`outputDimensionality` lies between 1 and {DIMENSIONS}");
            return Err(Refusal::bad(message));
        }
        let seed = xxh3_64(text::plain(content).as_bytes());
        Ok(Object::new().raw("values", numbers(&vector(seed, dimensions))))
    };
    let body = if asked.route.operation == Operation::BatchEmbed {
        let requests = request
            .requests
            .as_deref()
            .ok_or_else(|| Refusal::missing("requests"))?;
        let embeddings = requests.iter().map(values).collect::<Result<Vec<_>, _>>()?;
        Object::new().list("embeddings", embeddings)
    } else {
        Object::new().object("embedding", values(&request)?)
    };
    Ok(Answer::json(body.build()))
}

const MODELS: &[&str] = &[
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-embedding-001",
];

fn models(asked: &Asked<'_>) -> Answer {
    let model = |id: &str| {
        let methods = ["generateContent", "countTokens"].map(|method| {
            let mut name = Vec::new();
            json::escape(&mut name, method);
            name
        });
        Object::new()
            .text("name", &format!("models/{id}"))
            .text("version", "001")
            .text("displayName", id)
            .number("inputTokenLimit", 1_048_576)
            .number("outputTokenLimit", 65_536)
            .raw("supportedGenerationMethods", json::join(methods))
    };
    let body = match asked.route.model {
        Some(id) => model(id),
        None => Object::new().list("models", MODELS.iter().map(|id| model(id))),
    };
    Answer::json(body.build())
}
