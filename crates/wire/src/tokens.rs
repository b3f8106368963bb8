//! Counts tokens where a provider did not tell them.

use bpe_openai::Tokenizer;
use isango_types::Usage;
use serde_json::value::RawValue;

use crate::json::{self, Kind};

mod bound;

pub use bound::{Bound, bound, warm_up};

/// Most text that is tokenized of one message direction, in bytes; what is longer is scaled up.
const MAX_COUNTED_BYTES: usize = 4 << 20;

/// Tokens around each message, and before the answer (OpenAI Cookbook, "How to count tokens with
/// tiktoken", read 2026-11-22).
const PER_MESSAGE: u64 = 3;
const PRIMING: u64 = 3;

/// Tokens of an image: one of 1 024 by 1 024 pixels in high detail, or any in low (OpenAI guide
/// "Images and vision", tile-based models, read 2026-11-22). Its real size is not looked at.
const PER_IMAGE: u64 = 765;
const PER_LOW_DETAIL_IMAGE: u64 = 85;

/// How deep a request is looked into.
const MAX_DEPTH: u8 = 16;

/// How many tokens `text` is for `model`: exact for models of OpenAI, a fair guess for others.
///
/// Of a text past 4 MiB, the beginning is counted and scaled up. The first call for a vocabulary
/// loads it (tens of milliseconds).
#[must_use]
pub fn count(model: &str, text: &str) -> u64 {
    let counted = &text[..text.floor_char_boundary(MAX_COUNTED_BYTES)];
    scaled(
        to_u64(tokenizer(model).count(counted)),
        counted.len(),
        text.len(),
    )
}

/// Estimates what an exchange used from the request's body and the text that was delivered; the
/// estimate is marked as one.
///
/// Counts the texts of messages, prompts, instructions and tool declarations of all formats that we
/// know, without base64 data and addresses; images count as one of 1 024 by 1 024 pixels. Speech of
/// models that bill by character counts characters. A body that is no JSON object counts nothing.
#[must_use]
pub fn estimate(request_body: &[u8], delivered_text: &str, model: &str) -> Usage {
    let mut request = Request::new(model, MAX_COUNTED_BYTES);
    let mut speech = None;
    let mut has_voice = false;
    json::each_member(request_body, |name, value| {
        request.top(&name, value);
        match &*name {
            "input" => speech = Some(value),
            "voice" => has_voice = true,
            _ => {}
        }
    });
    if let (true, Some(input), true) = (
        has_voice,
        speech.and_then(json::text),
        is_per_character(model),
    ) {
        let characters = to_u64(input.chars().count());
        return Usage {
            characters,
            estimated: true,
            ..Usage::default()
        };
    }
    Usage {
        input: request.tokens(),
        output: count(model, delivered_text),
        estimated: true,
        ..Usage::default()
    }
}

/// The vocabulary of a model; that of newer ones where the model is not known.
fn tokenizer(model: &str) -> &'static Tokenizer {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_older = [
        "gpt-3.5",
        "gpt-35",
        "text-embedding-",
        "text-davinci",
        "davinci-002",
        "babbage-002",
    ]
    .iter()
    .any(|older| name.starts_with(older))
        || name == "gpt-4"
        || ["gpt-4-", "gpt-4:"]
            .iter()
            .any(|older| name.starts_with(older));
    if is_older {
        bpe_openai::cl100k_base()
    } else {
        bpe_openai::o200k_base()
    }
}

/// Whether OpenAI bills speech of this model by character.
fn is_per_character(model: &str) -> bool {
    model
        .rsplit('/')
        .next()
        .unwrap_or(model)
        .starts_with("tts-")
}

/// What a request holds, as far as it has been looked at.
struct Request {
    tokenizer: &'static Tokenizer,
    /// How much text is tokenized, in bytes; what is longer is scaled up.
    max_bytes: usize,
    /// Tokens of the texts that were tokenized.
    counted: u64,
    counted_bytes: usize,
    /// Bytes of all texts.
    bytes: usize,
    /// Tokens that are no text.
    others: u64,
}

impl Request {
    fn new(model: &str, max_bytes: usize) -> Self {
        Self {
            tokenizer: tokenizer(model),
            max_bytes,
            counted: 0,
            counted_bytes: 0,
            bytes: 0,
            others: 0,
        }
    }

    /// A member of the request itself.
    fn top(&mut self, name: &str, value: &RawValue) {
        match name {
            "messages" | "contents" | "input" => self.messages(value),
            "prompt" | "instructions" | "system" | "systemInstruction" | "system_instruction"
            | "inputText" | "texts" | "text" | "query" | "documents" | "preamble" | "message"
            | "chat_history" | "suffix" => self.value(value, MAX_DEPTH),
            // Declarations reach the model as text, names and punctuation included.
            "tools" | "functions" | "toolConfig" | "response_format" => self.text(value.get()),
            _ => {}
        }
    }

    fn tokens(&self) -> u64 {
        scaled(self.counted, self.counted_bytes, self.bytes).saturating_add(self.others)
    }

    fn text(&mut self, text: &str) {
        if is_base64(text) {
            return;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        let room = self.max_bytes.saturating_sub(self.counted_bytes);
        let counted = &text[..text.floor_char_boundary(room)];
        self.counted_bytes += counted.len();
        self.counted = self
            .counted
            .saturating_add(to_u64(self.tokenizer.count(counted)));
    }

    /// A list of messages, or a text, a list of texts, or token ids.
    fn messages(&mut self, value: &RawValue) {
        let mut has_messages = false;
        if json::kind(value) == Kind::Array {
            json::each_element(value.get().as_bytes(), |element| {
                match json::kind(element) {
                    Kind::Object => {
                        has_messages = true;
                        self.others = self.others.saturating_add(PER_MESSAGE);
                        self.value(element, MAX_DEPTH);
                    }
                    Kind::Text | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => {
                        self.value(element, MAX_DEPTH);
                    }
                }
            });
        } else {
            self.value(value, MAX_DEPTH);
        }
        if has_messages {
            self.others = self.others.saturating_add(PRIMING);
        }
    }

    fn value(&mut self, value: &RawValue, depth: u8) {
        match json::kind(value) {
            Kind::Text => self.text(&json::text(value).unwrap_or_default()),
            Kind::Array if depth > 0 => {
                json::each_element(value.get().as_bytes(), |element| {
                    self.value(element, depth - 1)
                });
            }
            Kind::Object if depth > 0 => {
                json::each_member(value.get().as_bytes(), |name, member| {
                    self.member(&name, member, depth - 1);
                });
            }
            // An array of numbers is a prompt of token ids.
            Kind::Number => self.others = self.others.saturating_add(1),
            Kind::Array | Kind::Object | Kind::Bool | Kind::Null => {}
        }
    }

    fn member(&mut self, name: &str, value: &RawValue, depth: u8) {
        match name {
            "image_url" | "image" | "inline_data" | "inlineData" => {
                let is_low = value.get().contains(r#""detail":"low""#);
                let image = if is_low {
                    PER_LOW_DETAIL_IMAGE
                } else {
                    PER_IMAGE
                };
                self.others = self.others.saturating_add(image);
            }
            // Anthropic's, whose data stands in `source`.
            "type" if value.get() == "\"image\"" => {
                self.others = self.others.saturating_add(PER_IMAGE);
            }
            // Names of kinds, references and opaque data; numbers here are settings.
            "type" | "id" | "tool_call_id" | "call_id" | "tool_use_id" | "url" | "data"
            | "file_data" | "file_id" | "input_audio" | "detail" | "format" | "media_type"
            | "mime_type" | "mimeType" | "cache_control" | "signature" | "encrypted_content"
            | "thoughtSignature" | "b64_json" | "bytes" | "index" | "status" => {}
            _ if matches!(json::kind(value), Kind::Number) => {}
            _ => self.value(value, depth),
        }
    }
}

/// Whether a text is data rather than words.
fn is_base64(text: &str) -> bool {
    let is_data_url = text.starts_with("data:")
        && text
            .get(..text.floor_char_boundary(128))
            .is_some_and(|head| head.contains(";base64,"));
    let is_of_alphabet =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    is_data_url || (text.len() > 1024 && text.bytes().all(is_of_alphabet))
}

/// `tokens` of the first `counted` bytes of `all` bytes, for all of them.
fn scaled(tokens: u64, counted: usize, all: usize) -> u64 {
    if counted == 0 || counted >= all {
        return tokens;
    }
    let scaled = u128::from(tokens) * all as u128 / counted as u128;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
