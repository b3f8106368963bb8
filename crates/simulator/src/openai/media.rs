//! Images and audio: little of it, but in the right frame.

use http::StatusCode;
use serde::Deserialize;

use crate::asked::{Answer, Asked};
use crate::body::Content;
use crate::json::Object;
use crate::refusal::Refusal;
use crate::text::{self, Rng};

#[derive(Deserialize)]
struct ImagesRequest {
    model: Option<String>,
    prompt: Option<String>,
    n: Option<u64>,
    response_format: Option<String>,
}

/// Images of one request, at most.
const MOST_IMAGES: u64 = 10;
/// What one image costs.
const IMAGE_TOKENS: u64 = 272;
/// A PNG of one grey pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==";

pub(super) fn images(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: ImagesRequest = asked.parse()?;
    let prompt = request.prompt.ok_or_else(|| Refusal::missing("prompt"))?;
    let count = request.n.unwrap_or(1);
    if !(1..=MOST_IMAGES).contains(&count) {
        return Err(Refusal::invalid(
            "n",
            format!("`n` lies between 1 and {MOST_IMAGES}"),
        ));
    }
    let by_url = request.response_format.as_deref() == Some("url");
    let data = (0..count).map(|index| {
        if by_url {
            let name = text::id("img-", asked.seed.wrapping_add(index), 24);
            Object::new().text("url", &format!("https://images.example.com/{name}.png"))
        } else {
            Object::new().text("b64_json", PIXEL)
        }
    });
    let (input, output) = (text::count(&prompt), count * IMAGE_TOKENS);
    let details = Object::new()
        .number("text_tokens", input)
        .number("image_tokens", 0);
    let usage = Object::new()
        .number("input_tokens", input)
        .object("input_tokens_details", details)
        .number("output_tokens", output)
        .number("total_tokens", input + output);
    let body = Object::new()
        .number("created", asked.created)
        .list("data", data);
    let counts = request
        .model
        .is_none_or(|model| !model.starts_with("dall-e"));
    let body = if counts {
        body.object("usage", usage)
    } else {
        body
    };
    Ok(Answer::json(body.build()))
}

#[derive(Deserialize)]
struct SpeechRequest {
    input: Option<String>,
    response_format: Option<String>,
}

/// Bytes of audio for a token of text.
const AUDIO_BYTES: usize = 1_200;

/// Bytes that are no sound, of the announced type and a length that follows from the text.
pub(super) fn speech(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let request: SpeechRequest = asked.parse()?;
    let input = request.input.ok_or_else(|| Refusal::missing("input"))?;
    let content_type = match request.response_format.as_deref() {
        None | Some("mp3") => "audio/mpeg",
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        Some(_) => {
            let message = "`response_format` is mp3, opus, aac, flac, wav or pcm";
            return Err(Refusal::invalid("response_format", message));
        }
    };
    let length = text::pieces(&input).count().max(1) * AUDIO_BYTES;
    Ok(Answer {
        status: StatusCode::OK,
        content_type,
        content: Content::Pattern(length),
    })
}

/// Upload bytes per audio token.
const UPLOAD_BYTES: u64 = 1_600;

/// The words of an upload: a sentence that its hash decides.
pub(super) fn transcription(asked: &Asked<'_>) -> Answer {
    let words = text::sentence(&mut Rng::new(asked.seed));
    let (input, output) = (asked.length.div_ceil(UPLOAD_BYTES), text::count(&words));
    let details = Object::new()
        .number("text_tokens", 0)
        .number("audio_tokens", input);
    let usage = Object::new()
        .text("type", "tokens")
        .number("input_tokens", input)
        .object("input_token_details", details)
        .number("output_tokens", output)
        .number("total_tokens", input + output);
    Answer::json(
        Object::new()
            .text("text", &words)
            .object("usage", usage)
            .build(),
    )
}
