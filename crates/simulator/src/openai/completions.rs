//! Legacy completions: text goes on where the prompt ends.

use serde::Deserialize;
use serde_json::Value;

use super::chat::{StreamOptions, finish_reason, usage};
use super::{Texts, served};
use crate::ask::{Ask, Reply};
use crate::asked::{Answer, Asked};
use crate::json::{self, Object};
use crate::refusal::Refusal;
use crate::script::{Script, Writer};
use crate::text;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    prompt: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    stop: Option<Texts>,
    n: Option<u64>,
}

/// Answers to one request, at most: prompts times `n`.
const MOST_ANSWERS: u64 = 128;
/// What a request that names no limit gets.
const DEFAULT_LIMIT: u64 = 16;

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: Request = asked.parse()?;
    let model = served(asked, request.model.as_deref(), "gpt-3.5-turbo")?;
    let prompt = request.prompt.ok_or_else(|| Refusal::missing("prompt"))?;
    let texts = prompt
        .as_array()
        .filter(|texts| texts.iter().all(Value::is_string));
    let prompts = texts.map_or(1, |texts| texts.len() as u64);
    let answers = prompts.saturating_mul(request.n.unwrap_or(1));
    if !(1..=MOST_ANSWERS).contains(&answers) {
        let message = format!("prompts times `n` lies between 1 and {MOST_ANSWERS}");
        return Err(Refusal::invalid("n", message));
    }
    let words = text::plain(&prompt);
    let ask = Ask {
        seed: asked.seed,
        prompt_tokens: text::count(&words).max(1),
        limit: Some(request.max_tokens.or(asked.tokens).unwrap_or(DEFAULT_LIMIT)),
        length: asked.tokens,
        stops: request.stop.map(Texts::into_vec).unwrap_or_default(),
        asked: String::new(),
        ..Ask::default()
    };
    let completion = Completion {
        asked,
        ask: &ask,
        id: text::id("cmpl-", asked.seed, 29),
        model,
        replies: (0..answers).map(|index| ask.reply(index)).collect(),
        include_usage: request.stream_options.unwrap_or_default().include_usage == Some(true),
    };
    Ok(match request.stream {
        Some(true) => Answer::events(completion.stream()),
        Some(false) | None => Answer::json(completion.whole()),
    })
}

struct Completion<'a> {
    asked: &'a Asked<'a>,
    ask: &'a Ask<'a>,
    id: String,
    model: String,
    replies: Vec<Reply>,
    include_usage: bool,
}

impl Completion<'_> {
    fn whole(&self) -> Vec<u8> {
        let choices =
            self.replies.iter().zip(0..).map(|(reply, index)| {
                choice(index, &reply.text, Some(finish_reason(reply.finish)))
            });
        let usage = usage(self.ask, &self.replies).build();
        self.envelope(json::list(choices), Some(&usage))
    }

    fn envelope(&self, choices: Vec<u8>, usage: Option<&[u8]>) -> Vec<u8> {
        let body = Object::new()
            .text("id", &self.id)
            .text("object", "text_completion")
            .number("created", self.asked.created)
            .text("model", &self.model)
            .raw("choices", choices);
        match usage {
            Some(usage) => body.raw("usage", usage).build(),
            None => body.build(),
        }
    }

    fn stream(&self) -> Script {
        let mut out = Writer::new(self.asked.spelling);
        let null = self.include_usage.then_some(b"null".as_slice());
        let mut last = 0;
        for (reply, index) in self.replies.iter().zip(0..) {
            for (piece, step) in text::pieces(&reply.text).zip(0..) {
                let chunk = self.envelope(json::list([choice(index, piece, None)]), null);
                out.event(step, None, &chunk);
                last = last.max(step);
            }
            let end = choice(index, "", Some(finish_reason(reply.finish)));
            out.event(last, None, &self.envelope(json::list([end]), null));
        }
        if self.include_usage {
            let usage = usage(self.ask, &self.replies).build();
            out.event(last, None, &self.envelope(b"[]".to_vec(), Some(&usage)));
        }
        out.event(last, None, b"[DONE]");
        out.finish()
    }
}

fn choice(index: u64, text: &str, finish: Option<&str>) -> Object {
    Object::new()
        .text("text", text)
        .number("index", index)
        .null("logprobs")
        .maybe("finish_reason", finish)
}
