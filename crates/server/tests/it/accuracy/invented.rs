//! Answers with random numbers in each wire format, whole and streamed, with the total and the cost
//! that they come to.

use isango_testkit::answer::{Answer, json, sse};
use isango_testkit::fixtures::Random;
use serde_json::{Value, json as object};

use crate::usage::aws_event;

/// How many formats there are.
pub(super) const FORMATS: usize = 6;

/// What a provider tells.
pub(super) struct Invented {
    /// Behind the gateway.
    pub(super) path: String,
    pub(super) model: &'static str,
    pub(super) streams: bool,
    pub(super) answer: Answer,
    pub(super) total: u64,
    /// Nano-dollars.
    pub(super) cost: u64,
}

/// Parts of one answer's tokens that are in no other: input that was read from no cache, read from
/// one, written to one for five minutes and for an hour; output that is shown, and that is not.
#[derive(Clone, Copy)]
struct Parts {
    fresh: u64,
    read: u64,
    written: u64,
    written_1h: u64,
    shown: u64,
    hidden: u64,
}

impl Parts {
    fn of(random: &mut Random) -> Self {
        let mut below = |bound| random.below(bound) as u64;
        Self {
            fresh: 1 + below(5_000),
            read: below(4_000),
            written: below(3_000),
            written_1h: below(2_000),
            shown: 1 + below(2_000),
            hidden: below(2_000),
        }
    }

    const fn total(&self) -> u64 {
        self.fresh + self.read + self.written + self.written_1h + self.shown + self.hidden
    }
}

/// One random answer in a format.
pub(super) fn invented(format: usize, random: &mut Random) -> Invented {
    let streams = random.below(2) == 1;
    let parts = Parts::of(random);
    match format {
        0 => chat(parts, streams),
        1 => responses(parts, streams),
        2 => anthropic(parts, streams),
        3 => gemini(parts, streams),
        4 => cohere(parts, streams),
        _ => converse(parts, streams),
    }
}

/// Server-sent events with these data.
fn events(data: &[Value]) -> Answer {
    let named = data.iter().map(|data| match data["type"].as_str() {
        Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    });
    sse(named)
}

/// gpt-4o: 2.50 $ for a million tokens of input, 1.25 from the cache, 10 for output.
fn chat(parts: Parts, streams: bool) -> Invented {
    let parts = Parts {
        written: 0,
        written_1h: 0,
        ..parts
    };
    let (input, output) = (parts.fresh + parts.read, parts.shown + parts.hidden);
    let usage = object!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": parts.read},
        "completion_tokens_details": {"reasoning_tokens": parts.hidden},
    });
    let model = "gpt-4o-2024-08-06";
    let answer = match streams {
        false => json(
            object!({"id": "x", "object": "chat.completion", "model": model, "usage": usage,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})
            .to_string(),
        ),
        true => {
            let chunk = |choices: Value, usage: Value| {
                object!({"id": "x", "object": "chat.completion.chunk", "model": model,
                    "choices": choices, "usage": usage})
            };
            let delta = object!([{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]);
            let stop = object!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
            let all = [chunk(delta, Value::Null), chunk(stop, Value::Null), chunk(object!([]), usage)];
            let done = isango_testkit::answer::Step::Data("data: [DONE]\n\n".into());
            events(&all).then(done)
        }
    };
    Invented {
        path: "openai/chat/completions".to_owned(),
        model: "gpt-4o",
        streams,
        answer,
        total: parts.total(),
        cost: parts.fresh * 2_500 + parts.read * 1_250 + output * 10_000,
    }
}

/// gpt-5: 1.25 $, 0.125 from the cache, 10 for output.
fn responses(parts: Parts, streams: bool) -> Invented {
    let parts = Parts {
        written: 0,
        written_1h: 0,
        ..parts
    };
    let (input, output) = (parts.fresh + parts.read, parts.shown + parts.hidden);
    let whole = object!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5-2025-08-07",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}],
        "usage": {
            "input_tokens": input, "input_tokens_details": {"cached_tokens": parts.read},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": parts.hidden},
            "total_tokens": input + output,
        },
    });
    let answer = match streams {
        false => json(whole.to_string()),
        true => events(&[
            object!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi"}),
            object!({"type": "response.completed", "response": whole}),
        ]),
    };
    Invented {
        path: "openai/responses".to_owned(),
        model: "gpt-5",
        streams,
        answer,
        total: parts.total(),
        cost: parts.fresh * 1_250 + parts.read * 125 + output * 10_000,
    }
}

/// Claude Sonnet 4.5: 3 $, 0.30 from the cache, 3.75 and 6 into it, 15 for output. Its own count of
/// input has no tokens of the cache in it, and no total.
fn anthropic(parts: Parts, streams: bool) -> Invented {
    let parts = Parts { hidden: 0, ..parts };
    let model = "claude-sonnet-4-5-20250929";
    let usage = |output| {
        object!({
            "input_tokens": parts.fresh, "cache_read_input_tokens": parts.read,
            "cache_creation_input_tokens": parts.written + parts.written_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": parts.written,
                "ephemeral_1h_input_tokens": parts.written_1h,
            },
            "output_tokens": output,
        })
    };
    let message = |content: Value, usage: Value| {
        object!({"id": "msg_1", "type": "message", "role": "assistant", "model": model,
            "content": content, "stop_reason": null, "usage": usage})
    };
    let answer = match streams {
        false => {
            let content = object!([{"type": "text", "text": "Hi"}]);
            json(message(content, usage(parts.shown)).to_string())
        }
        true => events(&[
            object!({"type": "message_start", "message": message(object!([]), usage(1))}),
            object!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            object!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
            object!({"type": "content_block_stop", "index": 0}),
            object!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": parts.shown}}),
            object!({"type": "message_stop"}),
        ]),
    };
    Invented {
        path: "anthropic/v1/messages".to_owned(),
        model: "claude-sonnet-4-5",
        streams,
        answer,
        total: parts.total(),
        cost: parts.fresh * 3_000
            + parts.read * 300
            + parts.written * 3_750
            + parts.written_1h * 6_000
            + parts.shown * 15_000,
    }
}

/// Gemini 2.5 Pro: 1.25 $, 0.125 from the cache, 10 for output.
fn gemini(parts: Parts, streams: bool) -> Invented {
    let parts = Parts {
        written: 0,
        written_1h: 0,
        ..parts
    };
    let answer = |usage: Value| {
        object!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
            "modelVersion": "gemini-2.5-pro", "responseId": "r", "usageMetadata": usage})
    };
    let input = parts.fresh + parts.read;
    let usage = object!({
        "promptTokenCount": input, "cachedContentTokenCount": parts.read,
        "candidatesTokenCount": parts.shown, "thoughtsTokenCount": parts.hidden,
        "totalTokenCount": parts.total(),
    });
    let begun = object!({"promptTokenCount": input, "totalTokenCount": input});
    let verb = match streams {
        false => "generateContent",
        true => "streamGenerateContent?alt=sse",
    };
    Invented {
        path: format!("google-ai-studio/v1beta/models/gemini-2.5-pro:{verb}"),
        model: "-",
        streams,
        answer: match streams {
            false => json(answer(usage).to_string()),
            true => events(&[answer(begun), answer(usage)]),
        },
        total: parts.total(),
        cost: parts.fresh * 1_250 + parts.read * 125 + (parts.shown + parts.hidden) * 10_000,
    }
}

/// Command A: 2.50 $, and 10 for output.
fn cohere(parts: Parts, streams: bool) -> Invented {
    let Parts { fresh, shown, .. } = parts;
    let usage = object!({"tokens": {"input_tokens": fresh, "output_tokens": shown}});
    let answer = match streams {
        false => json(
            object!({"id": "c", "finish_reason": "COMPLETE", "usage": usage,
                "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}})
            .to_string(),
        ),
        true => events(&[
            object!({"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}),
            object!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}}),
            object!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}),
        ]),
    };
    Invented {
        path: "cohere/v2/chat".to_owned(),
        model: "command-a-03-2025",
        streams,
        answer,
        total: fresh + shown,
        cost: fresh * 2_500 + shown * 10_000,
    }
}

/// Claude on Bedrock: as above.
fn converse(parts: Parts, streams: bool) -> Invented {
    let parts = Parts {
        hidden: 0,
        written_1h: 0,
        ..parts
    };
    let usage = object!({
        "inputTokens": parts.fresh, "outputTokens": parts.shown, "totalTokens": parts.total(),
        "cacheReadInputTokens": parts.read, "cacheWriteInputTokens": parts.written,
    });
    let model = "global.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
    let (verb, answer) = match streams {
        false => (
            "converse",
            json(
                object!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
                    "stopReason": "end_turn", "usage": usage})
                .to_string(),
            ),
        ),
        true => {
            let delta = object!({"contentBlockIndex": 0, "delta": {"text": "Hi"}}).to_string();
            let metadata = object!({"usage": usage}).to_string();
            let events = [
                aws_event("messageStart", r#"{"role":"assistant"}"#),
                aws_event("contentBlockDelta", &delta),
                aws_event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
                aws_event("messageStop", r#"{"stopReason":"end_turn"}"#),
                aws_event("metadata", &metadata),
            ];
            let answer = Answer::new(200)
                .header("content-type", "application/vnd.amazon.eventstream")
                .chunked(events);
            ("converse-stream", answer)
        }
    };
    Invented {
        path: format!("aws-bedrock/bedrock-runtime/us-east-1/model/{model}/{verb}"),
        model: "-",
        streams,
        answer,
        total: parts.total(),
        cost: parts.fresh * 3_000 + parts.read * 300 + parts.written * 3_750 + parts.shown * 15_000,
    }
}
