//! The responses API: output items, and a stream of typed events.

use serde::Deserialize;
use serde_json::Value;

use super::{functions, reasons, served, tool_choice};
use crate::ask::{self, Ask, Finish, Form, Reply};
use crate::asked::{Answer, Asked};
use crate::json::{self, Object};
use crate::refusal::Refusal;
use crate::script::{Script, Writer};
use crate::text;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    input: Option<Value>,
    instructions: Option<Value>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    text: Option<Value>,
}

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: Request = asked.parse()?;
    let model = served(asked, request.model.as_deref(), "gpt-4o")?;
    let input = request
        .input
        .as_ref()
        .ok_or_else(|| Refusal::missing("input"))?;
    let tools = functions(request.tools.as_deref().unwrap_or_default());
    let (question, answers_tool) = question(input);
    let asks = if answers_tool { "" } else { &question };
    let tool = ask::choose(&tools, &tool_choice(request.tool_choice.as_ref()), asks);
    let format = request.text.as_ref().and_then(|text| text.get("format"));
    let ask = Ask {
        seed: asked.seed,
        prompt_tokens: prompt_tokens(&request, input),
        limit: request.max_output_tokens,
        length: asked.tokens,
        form: tool.map_or_else(|| form(format), Form::Call),
        reasons: reasons(&model),
        asked: question.clone(),
        ..Ask::default()
    };
    let response = Response {
        asked,
        model,
        reply: ask.reply(0),
        ask: &ask,
        request: &request,
        format: format
            .cloned()
            .unwrap_or_else(|| serde_json::json!({"type": "text"})),
    };
    Ok(match request.stream {
        Some(true) => Answer::events(response.stream()),
        Some(false) | None => Answer::json(response.object(Status::Ended).build()),
    })
}

/// The user's last words, and whether the input ends with a tool's output.
fn question(input: &Value) -> (String, bool) {
    let Value::Array(items) = input else {
        return (text::plain(input), false);
    };
    let is_user = |item: &&Value| item.get("role").and_then(Value::as_str) == Some("user");
    let user = items.iter().rev().find(is_user);
    let last = items
        .last()
        .and_then(|item| item.get("type"))
        .and_then(Value::as_str);
    (
        user.map(text::plain).unwrap_or_default(),
        last == Some("function_call_output"),
    )
}

fn prompt_tokens(request: &Request, input: &Value) -> u64 {
    let count = |value: &Value| text::count(&text::plain(value));
    let input = match input.as_array() {
        Some(items) => items.iter().map(|item| 3 + count(item)).sum(),
        None => 3 + count(input),
    };
    let tools = request
        .tools
        .iter()
        .flatten()
        .map(|tool| text::count(&tool.to_string()));
    3 + input + request.instructions.as_ref().map_or(0, count) + tools.sum::<u64>()
}

fn form(format: Option<&Value>) -> Form<'_> {
    let Some(format) = format else {
        return Form::Text;
    };
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") => Form::Json(None),
        Some("json_schema") => Form::Json(format.get("schema")),
        _ => Form::Text,
    }
}

/// How far a response has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Begun,
    Ended,
}

struct Response<'a> {
    asked: &'a Asked<'a>,
    ask: &'a Ask<'a>,
    request: &'a Request,
    model: String,
    format: Value,
    reply: Reply,
}

impl Response<'_> {
    fn is_cut(&self) -> bool {
        self.reply.finish == Finish::Length
    }

    fn object(&self, status: Status) -> Object {
        let ended = status == Status::Ended;
        let word = match (ended, self.is_cut()) {
            (false, _) => "in_progress",
            (true, false) => "completed",
            (true, true) => "incomplete",
        };
        let why = Object::new().text("reason", "max_output_tokens").build();
        let incomplete = if ended && self.is_cut() {
            why
        } else {
            b"null".to_vec()
        };
        let tools = Value::from(self.request.tools.clone().unwrap_or_default());
        let choice = self
            .request
            .tool_choice
            .clone()
            .unwrap_or_else(|| "auto".into());
        let limit = self
            .ask
            .limit
            .map_or("null".to_owned(), |limit| limit.to_string());
        let instructions = self.request.instructions.clone().unwrap_or(Value::Null);
        Object::new()
            .text("id", &text::id("resp_", self.asked.seed, 48))
            .text("object", "response")
            .number("created_at", self.asked.created)
            .text("status", word)
            .flag("background", false)
            .null("error")
            .raw("incomplete_details", incomplete)
            .raw("instructions", instructions.to_string())
            .raw("max_output_tokens", limit)
            .text("model", &self.model)
            .raw(
                "output",
                if ended {
                    json::list(self.items())
                } else {
                    b"[]".to_vec()
                },
            )
            .flag("parallel_tool_calls", true)
            .null("previous_response_id")
            .object("reasoning", Object::new().null("effort").null("summary"))
            .flag("store", true)
            .raw("temperature", "1.0")
            .object("text", Object::new().raw("format", self.format.to_string()))
            .raw("tool_choice", choice.to_string())
            .raw("tools", tools.to_string())
            .raw("top_p", "1.0")
            .text("truncation", "disabled")
            .raw(
                "usage",
                if ended {
                    self.usage().build()
                } else {
                    b"null".to_vec()
                },
            )
            .null("user")
            .raw("metadata", b"{}")
    }

    fn usage(&self) -> Object {
        let (input, output) = (self.ask.prompt_tokens, self.reply.billed());
        let cached = Object::new().number("cached_tokens", self.ask.cached_tokens());
        let hidden = Object::new().number("reasoning_tokens", self.reply.reasoning_tokens);
        Object::new()
            .number("input_tokens", input)
            .object("input_tokens_details", cached)
            .number("output_tokens", output)
            .object("output_tokens_details", hidden)
            .number("total_tokens", input + output)
    }

    fn items(&self) -> Vec<Object> {
        let answer = self.item(Status::Ended);
        match self.thought() {
            Some(thought) => vec![thought, answer],
            None => vec![answer],
        }
    }

    fn thought(&self) -> Option<Object> {
        let id = text::id("rs_", self.asked.seed, 48);
        let item = Object::new()
            .text("id", &id)
            .text("type", "reasoning")
            .raw("summary", b"[]");
        self.ask.reasons.then_some(item)
    }

    fn item_id(&self) -> String {
        let prefix = if self.reply.tool.is_some() {
            "fc_"
        } else {
            "msg_"
        };
        text::id(prefix, self.asked.seed, 48)
    }

    /// The message or the call, empty or full.
    fn item(&self, status: Status) -> Object {
        let ended = status == Status::Ended;
        let word = match (ended, self.is_cut()) {
            (false, _) => "in_progress",
            (true, false) => "completed",
            (true, true) => "incomplete",
        };
        let item = Object::new().text("id", &self.item_id());
        match &self.reply.tool {
            None => item
                .text("type", "message")
                .text("status", word)
                .text("role", "assistant")
                .list("content", ended.then(|| part(&self.reply.text))),
            Some(name) => item
                .text("type", "function_call")
                .text("status", word)
                .text("name", name)
                .text("call_id", &text::id("call_", self.asked.seed, 24))
                .text("arguments", if ended { &self.reply.text } else { "" }),
        }
    }

    fn stream(&self) -> Script {
        let mut out = Events {
            out: Writer::new(self.asked.spelling),
            sequence: 0,
            step: 0,
        };
        out.send("response.created", |event| {
            event.object("response", self.object(Status::Begun))
        });
        out.send("response.in_progress", |event| {
            event.object("response", self.object(Status::Begun))
        });
        let mut index = 0;
        if let Some(thought) = self.thought() {
            for kind in ["response.output_item.added", "response.output_item.done"] {
                out.send(kind, |event| {
                    event
                        .number("output_index", index)
                        .object("item", thought.clone())
                });
            }
            index += 1;
        }
        out.send("response.output_item.added", |event| {
            event
                .number("output_index", index)
                .object("item", self.item(Status::Begun))
        });
        match self.reply.tool {
            None => self.stream_text(&mut out, index),
            Some(_) => self.stream_call(&mut out, index),
        }
        out.send("response.output_item.done", |event| {
            event
                .number("output_index", index)
                .object("item", self.item(Status::Ended))
        });
        let end = if self.is_cut() {
            "response.incomplete"
        } else {
            "response.completed"
        };
        out.send(end, |event| {
            event.object("response", self.object(Status::Ended))
        });
        out.out.finish()
    }

    fn stream_text(&self, out: &mut Events, index: u64) {
        let id = self.item_id();
        let place = |event: Object| {
            event
                .text("item_id", &id)
                .number("output_index", index)
                .number("content_index", 0)
        };
        out.send("response.content_part.added", |event| {
            place(event).object("part", part(""))
        });
        for (piece, step) in text::pieces(&self.reply.text).zip(0..) {
            out.step = step;
            out.send("response.output_text.delta", |event| {
                place(event).text("delta", piece).raw("logprobs", b"[]")
            });
        }
        out.send("response.output_text.done", |event| {
            place(event)
                .text("text", &self.reply.text)
                .raw("logprobs", b"[]")
        });
        out.send("response.content_part.done", |event| {
            place(event).object("part", part(&self.reply.text))
        });
    }

    fn stream_call(&self, out: &mut Events, index: u64) {
        let id = self.item_id();
        let place = |event: Object| event.text("item_id", &id).number("output_index", index);
        for (piece, step) in text::pieces(&self.reply.text).zip(0..) {
            out.step = step;
            out.send("response.function_call_arguments.delta", |event| {
                place(event).text("delta", piece)
            });
        }
        out.send("response.function_call_arguments.done", |event| {
            place(event).text("arguments", &self.reply.text)
        });
    }
}

fn part(words: &str) -> Object {
    Object::new()
        .text("type", "output_text")
        .raw("annotations", b"[]")
        .raw("logprobs", b"[]")
        .text("text", words)
}

/// Writes typed, numbered events.
struct Events {
    out: Writer,
    sequence: u64,
    step: u32,
}

impl Events {
    fn send(&mut self, kind: &str, fill: impl FnOnce(Object) -> Object) {
        let event = Object::new()
            .text("type", kind)
            .number("sequence_number", self.sequence);
        self.sequence += 1;
        self.out.event(self.step, Some(kind), &fill(event).build());
    }
}
