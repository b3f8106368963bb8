//! Counts tokens where a provider did not tell them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bpe_openai::Tokenizer;
use isango_types::Usage;
use serde_json::value::RawValue;

use crate::json::{self, Kind};

use sample::Sampled;

mod bound;
mod sample;

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

/// Bytes of base64 that are a token where they are no text: of a page, a sound, a moving picture.
const DATA_PER_TOKEN: usize = 64;

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
/// know, whatever they look like; images count as one of 1 024 by 1 024 pixels, other data by its
/// length, or as the text that it encodes, and addresses as nothing. Speech of
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
    texts: Sampled,
    /// Tokens that are no text.
    others: u64,
}

impl Request {
    /// `whole`: how much of its text is tokenized from its first byte to the last; of what is
    /// longer, samples are.
    fn new(model: &str, whole: usize) -> Self {
        Self {
            texts: Sampled::new(tokenizer(model), whole),
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
        self.texts.tokens().saturating_add(self.others)
    }

    fn text(&mut self, text: &str) {
        self.texts.add(text);
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
            Kind::Text => self.text(&words(value)),
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
            "image_url" | "image" => {
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
            "source" | "inline_data" | "inlineData" => self.source(value, depth),
            // Names of kinds, references and opaque data; numbers here are settings.
            "type" | "id" | "tool_call_id" | "call_id" | "tool_use_id" | "url" | "file_id"
            | "detail" | "format" | "media_type" | "mime_type" | "mimeType" | "cache_control"
            | "signature" | "encrypted_content" | "thoughtSignature" | "b64_json" | "index"
            | "status" => {}
            "data" | "file_data" | "bytes" => self.data(&words(value)),
            _ => match json::kind(value) {
                Kind::Number => {}
                Kind::Text if is_of_media(name) => {
                    let text = words(value);
                    match text.starts_with("data:") {
                        true => self.data(&text),
                        false => self.text(&text),
                    }
                }
                Kind::Text | Kind::Array | Kind::Object | Kind::Bool | Kind::Null => {
                    self.value(value, depth);
                }
            },
        }
    }

    /// Where the content of a part stands: an image, a document, a text (Anthropic, Gemini, Bedrock).
    fn source(&mut self, value: &RawValue, depth: u8) {
        if json::kind(value) != Kind::Object {
            return self.value(value, depth);
        }
        let (mut kind, mut media, mut is_named) = (None, None, false);
        json::each_member(value.get().as_bytes(), |name, member| match &*name {
            "type" => kind = json::text(member),
            "media_type" | "mime_type" | "mimeType" => {
                is_named = &*name != "media_type";
                media = json::text(member);
            }
            _ => {}
        });
        let is_image = match &media {
            Some(media) => media.starts_with("image/"),
            // Nothing but images went without.
            None => kind.as_deref() == Some("base64"),
        };
        if is_image && is_named {
            // Gemini's; of Anthropic's, the part itself says that it is one.
            self.others = self.others.saturating_add(PER_IMAGE);
        }
        let is_text = kind.as_deref() == Some("text");
        json::each_member(value.get().as_bytes(), |name, member| match &*name {
            "data" if is_text => self.text(&words(member)),
            "data" if is_image => {}
            _ => self.member(&name, member, depth.saturating_sub(1)),
        });
    }

    /// Data in base64, with or without the head of an address of the kind `data:`; what is no base64
    /// is text.
    fn data(&mut self, data: &str) {
        let encoded = match data.split_once(";base64,") {
            Some((head, encoded)) if head.starts_with("data:") && head.len() < 128 => encoded,
            Some(_) | None => data,
        };
        let is_of_alphabet = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
        };
        if !encoded.bytes().all(is_of_alphabet) {
            return self.text(data);
        }
        let tokens = match is_encoded_text(encoded) {
            // Four letters of base64 are three bytes, and four bytes of text about a token.
            true => encoded.len() / 16 * 3,
            false => encoded.len() / DATA_PER_TOKEN,
        };
        self.others = self.others.saturating_add(to_u64(tokens));
    }
}

/// The text of a member; one that is no Unicode is taken as it is written.
fn words(text: &RawValue) -> Cow<'_, str> {
    json::text(text).unwrap_or_else(|| Cow::Borrowed(text.get()))
}

/// Whether a member of this name holds an address of something that is no text. Where it is not one,
/// it is text all the same.
fn is_of_media(name: &str) -> bool {
    [
        "image", "audio", "video", "file", "mask", "url", "media", "document", "frame",
    ]
    .iter()
    .any(|media| name.contains(media))
}

/// Whether base64 encodes text, as far as its beginning tells.
fn is_encoded_text(encoded: &str) -> bool {
    const LOOKED_AT: usize = 64;
    let head = encoded.get(..LOOKED_AT.min(encoded.len() / 4 * 4));
    let Some(bytes) = head.and_then(|head| STANDARD.decode(head).ok()) else {
        return false;
    };
    let is_plain = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    !bytes.starts_with(b"%PDF")
        && bytes.iter().all(is_plain)
        && std::str::from_utf8(&bytes).map_or_else(|cut| cut.error_len().is_none(), |_| true)
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
