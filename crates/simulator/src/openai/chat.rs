//! Chat completions, whole and streamed, as OpenAI and Azure write them.

use serde::Deserialize;
use serde_json::Value;

use super::{Texts, fingerprint, functions, reasons, served, tool_choice};
use crate::ask::{self, Ask, Finish, Form, Reply};
use crate::asked::{Answer, Asked};
use crate::azure;
use crate::json::{self, Object};
use crate::refusal::Refusal;
use crate::route::Provider;
use crate::script::{Script, Writer};
use crate::text;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stop: Option<Texts>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
    tool_calls: Option<Value>,
}

/// What a stream shall tell besides its content.
#[derive(Clone, Copy, Default, Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// Choices of one request, at most.
const MOST_CHOICES: u64 = 128;
/// What an image costs, roughly.
const IMAGE_TOKENS: u64 = 85;

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: Request = asked.parse()?;
    let model = served(asked, request.model.as_deref(), "gpt-4o")?;
    let messages = request
        .messages
        .as_deref()
        .ok_or_else(|| Refusal::missing("messages"))?;
    let last = messages
        .last()
        .ok_or_else(|| Refusal::invalid("messages", "`messages` holds at least one message"))?;
    let choices = request.n.unwrap_or(1);
    if !(1..=MOST_CHOICES).contains(&choices) {
        let message = format!("`n` lies between 1 and {MOST_CHOICES}");
        return Err(Refusal::invalid("n", message));
    }
    let tools = functions(request.tools.as_deref().unwrap_or_default());
    let user = messages.iter().rev().find(|message| message.role == "user");
    let question = user
        .map(|message| text::plain(&message.content))
        .unwrap_or_default();
    let asks = if last.role == "tool" { "" } else { &question };
    let tool = ask::choose(&tools, &tool_choice(request.tool_choice.as_ref()), asks);
    let ask = Ask {
        seed: asked.seed,
        prompt_tokens: prompt_tokens(messages, request.tools.as_deref()),
        limit: request.max_completion_tokens.or(request.max_tokens),
        length: asked.tokens,
        stops: request.stop.map(Texts::into_vec).unwrap_or_default(),
        form: tool.map_or_else(|| form(request.response_format.as_ref()), Form::Call),
        reasons: reasons(&model),
        asked: question,
    };
    let chat = Chat {
        azure: asked.route.provider == Provider::Azure,
        id: text::id("chatcmpl-", asked.seed, 29),
        fingerprint: fingerprint(&model),
        model,
        asked,
        replies: (0..choices).map(|index| ask.reply(index)).collect(),
        ask: &ask,
        include_usage: request.stream_options.unwrap_or_default().include_usage == Some(true),
    };
    Ok(match request.stream {
        Some(true) => Answer::events(chat.stream()),
        Some(false) | None => Answer::json(chat.whole()),
    })
}

fn prompt_tokens(messages: &[Message], tools: Option<&[Value]>) -> u64 {
    let json = |value: &Value| text::count(&value.to_string());
    let message = |message: &Message| {
        let parts = message
            .content
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let images = parts
            .iter()
            .filter(|part| part.get("image_url").is_some())
            .count() as u64;
        let calls = message.tool_calls.as_ref().map_or(0, json);
        3 + text::count(&text::plain(&message.content)) + images * IMAGE_TOKENS + calls
    };
    let tools: u64 = tools.unwrap_or_default().iter().map(json).sum();
    3 + messages.iter().map(message).sum::<u64>() + tools
}

fn form(format: Option<&Value>) -> Form<'_> {
    let Some(format) = format else {
        return Form::Text;
    };
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") => Form::Json(None),
        Some("json_schema") => Form::Json(format.pointer("/json_schema/schema")),
        _ => Form::Text,
    }
}

/// `prompt_tokens` and the like, for any number of answers to one prompt.
pub(super) fn usage(ask: &Ask<'_>, replies: &[Reply]) -> Object {
    let prompt = ask.prompt_tokens;
    let completion: u64 = replies.iter().map(Reply::billed).sum();
    let reasoning: u64 = replies.iter().map(|reply| reply.reasoning_tokens).sum();
    let prompt_details = Object::new()
        .number("cached_tokens", ask.cached_tokens())
        .number("audio_tokens", 0);
    let completion_details = Object::new()
        .number("reasoning_tokens", reasoning)
        .number("audio_tokens", 0)
        .number("accepted_prediction_tokens", 0)
        .number("rejected_prediction_tokens", 0);
    Object::new()
        .number("prompt_tokens", prompt)
        .number("completion_tokens", completion)
        .number("total_tokens", prompt + completion)
        .object("prompt_tokens_details", prompt_details)
        .object("completion_tokens_details", completion_details)
}

/// The word for why an answer ended.
pub(super) const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence => "stop",
        Finish::Length => "length",
        Finish::Call => "tool_calls",
    }
}

struct Chat<'a> {
    asked: &'a Asked<'a>,
    ask: &'a Ask<'a>,
    azure: bool,
    id: String,
    model: String,
    fingerprint: String,
    replies: Vec<Reply>,
    include_usage: bool,
}

impl Chat<'_> {
    fn whole(&self) -> Vec<u8> {
        let choices = self.replies.iter().zip(0..).map(|(reply, index)| {
            let message = self.message(reply, index);
            let reason = finish_reason(reply.finish);
            if self.azure {
                Object::new()
                    .object(
                        "content_filter_results",
                        azure::content_filter_results(true),
                    )
                    .text("finish_reason", reason)
                    .number("index", index)
                    .null("logprobs")
                    .object("message", message)
            } else {
                Object::new()
                    .number("index", index)
                    .object("message", message)
                    .null("logprobs")
                    .text("finish_reason", reason)
            }
        });
        let usage = usage(self.ask, &self.replies).build();
        self.envelope("chat.completion", json::list(choices), Some(&usage))
    }

    fn message(&self, reply: &Reply, index: u64) -> Object {
        let message = Object::new().text("role", "assistant");
        let message = match &reply.tool {
            None => message.text("content", &reply.text),
            Some(name) => {
                let function = Object::new()
                    .text("name", name)
                    .text("arguments", &reply.text);
                let call = Object::new()
                    .text("id", &self.call_id(index))
                    .text("type", "function")
                    .object("function", function);
                message.null("content").list("tool_calls", [call])
            }
        };
        message.null("refusal").raw("annotations", b"[]")
    }

    fn call_id(&self, index: u64) -> String {
        text::id("call_", self.asked.seed.wrapping_add(index), 24)
    }

    fn envelope(&self, object: &str, choices: Vec<u8>, usage: Option<&[u8]>) -> Vec<u8> {
        let body = if self.azure {
            let body = Object::new()
                .raw("choices", choices)
                .number("created", self.asked.created)
                .text("id", &self.id)
                .text("model", &self.model)
                .text("object", object);
            let body = match object {
                "chat.completion" => {
                    body.raw("prompt_filter_results", azure::prompt_filter_results())
                }
                _ => body,
            };
            body.text("system_fingerprint", &self.fingerprint)
        } else {
            Object::new()
                .text("id", &self.id)
                .text("object", object)
                .number("created", self.asked.created)
                .text("model", &self.model)
                .text("service_tier", "default")
                .text("system_fingerprint", &self.fingerprint)
                .raw("choices", choices)
        };
        match usage {
            Some(usage) => body.raw("usage", usage).build(),
            None => body.build(),
        }
    }

    fn stream(&self) -> Script {
        let mut out = Writer::new(self.asked.spelling);
        if self.azure {
            out.event(0, None, &azure::first_chunk());
        }
        for (reply, index) in self.replies.iter().zip(0..) {
            out.event(
                0,
                None,
                &self.chunk(index, self.opening(reply, index), None),
            );
        }
        let mut pieces: Vec<_> = self
            .replies
            .iter()
            .map(|reply| text::pieces(&reply.text))
            .collect();
        let mut step = 0;
        loop {
            let mut spoke = false;
            for ((pieces, reply), index) in pieces.iter_mut().zip(&self.replies).zip(0..) {
                if let Some(piece) = pieces.next() {
                    out.event(step, None, &self.chunk(index, delta(reply, piece), None));
                    spoke = true;
                }
            }
            if !spoke {
                break;
            }
            step += 1;
        }
        let step = step.saturating_sub(1);
        for (reply, index) in self.replies.iter().zip(0..) {
            let reason = finish_reason(reply.finish);
            out.event(step, None, &self.chunk(index, Object::new(), Some(reason)));
        }
        if self.include_usage {
            let usage = usage(self.ask, &self.replies).build();
            let chunk = self.envelope("chat.completion.chunk", b"[]".to_vec(), Some(&usage));
            out.event(step, None, &chunk);
        }
        out.event(step, None, b"[DONE]");
        out.finish()
    }

    /// The delta that opens a choice.
    fn opening(&self, reply: &Reply, index: u64) -> Object {
        let opening = Object::new().text("role", "assistant");
        match &reply.tool {
            None => opening.text("content", "").null("refusal"),
            Some(name) => {
                let function = Object::new().text("name", name).text("arguments", "");
                let call = Object::new()
                    .number("index", 0)
                    .text("id", &self.call_id(index))
                    .text("type", "function")
                    .object("function", function);
                opening
                    .null("content")
                    .list("tool_calls", [call])
                    .null("refusal")
            }
        }
    }

    fn chunk(&self, index: u64, delta: Object, finish: Option<&str>) -> Vec<u8> {
        let choice = if self.azure {
            Object::new()
                .object(
                    "content_filter_results",
                    azure::content_filter_results(finish.is_none()),
                )
                .object("delta", delta)
                .maybe("finish_reason", finish)
                .number("index", index)
                .null("logprobs")
        } else {
            Object::new()
                .number("index", index)
                .object("delta", delta)
                .null("logprobs")
                .maybe("finish_reason", finish)
        };
        let usage = self.include_usage.then_some(b"null".as_slice());
        self.envelope("chat.completion.chunk", json::list([choice]), usage)
    }
}

/// The delta that carries one token.
fn delta(reply: &Reply, piece: &str) -> Object {
    match &reply.tool {
        None => Object::new().text("content", piece),
        Some(_) => {
            let function = Object::new().text("arguments", piece);
            let call = Object::new()
                .number("index", 0)
                .object("function", function);
            Object::new().list("tool_calls", [call])
        }
    }
}
