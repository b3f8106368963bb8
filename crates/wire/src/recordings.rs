//! Reads recorded answers of `testdata/` in tests: whole, in any pieces, and cut.

use bytes::Bytes;
use isango_types::{Operation, Wire};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::read::{Answer, Decoded, Reading, read};

/// A recorded answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recording<'r> {
    pub(crate) wire: Wire,
    pub(crate) operation: Operation,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'r [u8],
}

impl Recording<'_> {
    /// Reads it as it came with status 200, in one piece.
    pub(crate) fn read(&self) -> Reading {
        self.read_pieces(200, &[self.bytes])
    }

    /// Reads it as the body of an error.
    pub(crate) fn read_error(&self, status: u16) -> Reading {
        self.read_pieces(status, &[self.bytes])
    }

    /// Reads it in pieces that end at `cuts`, in any order.
    pub(crate) fn read_at(&self, cuts: &[usize]) -> Reading {
        let mut cuts = cuts.to_vec();
        cuts.extend([0, self.bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts
            .windows(2)
            .map(|pair| &self.bytes[pair[0]..pair[1]])
            .collect();
        self.read_pieces(200, &pieces)
    }

    /// Reads what comes before `mark` in it, as an answer that was cut there.
    pub(crate) fn read_until(&self, mark: &str) -> Reading {
        let at = memchr::memmem::find(self.bytes, mark.as_bytes()).expect("the mark is in it");
        Self {
            bytes: &self.bytes[..at],
            ..*self
        }
        .read()
    }

    /// Reads it as a capture that lost what is between its first `head` and last `tail` bytes.
    pub(crate) fn read_gap(&self, head: usize, tail: usize) -> Reading {
        let tail = &self.bytes[self.bytes.len() - tail..];
        self.read_answer(200, &[&self.bytes[..head]], tail)
    }

    fn read_pieces(&self, status: u16, pieces: &[&[u8]]) -> Reading {
        self.read_answer(status, pieces, &[])
    }

    fn read_answer(&self, status: u16, pieces: &[&[u8]], tail: &[u8]) -> Reading {
        let chunks: Vec<Bytes> = pieces
            .iter()
            .map(|piece| Bytes::copy_from_slice(piece))
            .collect();
        read(&Answer {
            wire: self.wire,
            operation: self.operation,
            status,
            content_type: Some(self.content_type),
            content_encoding: None,
            chunks: &chunks,
            tail,
            complete: true,
            keep_raw: true,
        })
    }

    /// Checks that every cutting in pieces gives the same reading, and that no cut panics.
    pub(crate) fn check_any_split(&self) {
        let whole = Reading {
            first_token_chunk: None,
            ..self.read()
        };
        let cuts = prop::collection::vec(any::<Index>(), 0..10);
        proptest!(ProptestConfig::with_cases(64), |(cuts in cuts, end: Index, flip: u8)| {
            let cuts: Vec<usize> =
                cuts.iter().map(|at| at.index(self.bytes.len() + 1)).collect();
            let split = Reading { first_token_chunk: None, ..self.read_at(&cuts) };
            prop_assert_eq!(&split, &whole);
            let end = end.index(self.bytes.len());
            Self { bytes: &self.bytes[..end], ..*self }.read();
            let mut damaged = self.bytes.to_vec();
            damaged[end] ^= flip;
            Recording { bytes: &damaged, ..*self }.read();
            self.read_gap(end / 2, self.bytes.len() - end);
        });
    }
}

/// A reading in one line: id, model, finish reason, usage, and the error's code if there is one.
pub(crate) fn line(reading: &Reading) -> String {
    let or_dash = |text: &Option<Box<str>>| text.clone().unwrap_or("-".into());
    let usage = reading
        .usage
        .map_or("-".into(), |usage| serde_json::to_string(&usage).unwrap());
    let error = reading
        .error_code
        .as_ref()
        .map_or(String::new(), |code| format!(" !{code}"));
    let Reading {
        id,
        model,
        finish_reason,
        ..
    } = reading;
    format!(
        "{} {} {} {}{error}",
        or_dash(id),
        or_dash(model),
        or_dash(finish_reason),
        usage.replace('"', "")
    )
}

/// The body of a reading, which must be JSON.
pub(crate) fn body(reading: &Reading) -> Value {
    match &reading.body {
        Some(Decoded::Json(json)) => serde_json::from_str(json.get()).unwrap(),
        other => panic!("no JSON: {other:?}"),
    }
}

/// JSON of `testdata/`, to compare a body with.
pub(crate) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// What providers call the sum of all tokens.
const TOTALS: [&str; 3] = ["total_tokens", "totalTokenCount", "totalTokens"];

/// The total that a recording tells last: of a stream, that of its end.
fn told_total(text: &str) -> Option<u64> {
    let places = TOTALS.iter().filter_map(|name| {
        let name = format!("\"{name}\"");
        Some((text.rfind(&name)?, name.len()))
    });
    let (at, length) = places.max()?;
    let digits = text[at + length..].trim_start_matches([':', ' ']);
    let end = digits.find(|one: char| !one.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[test]
fn the_buckets_of_every_recorded_answer_sum_to_its_total() {
    let mut counts = Vec::new();
    for (wire, folder) in [
        (Wire::Openai, "openai"),
        (Wire::Gemini, "gemini"),
        (Wire::Bedrock, "bedrock"),
    ] {
        let path = format!("{}/testdata/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for file in std::fs::read_dir(path).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let content_type = match name.rsplit_once('.') {
                // What others are put together to.
                _ if name.contains("whole") => continue,
                Some((_, "json")) => "application/json",
                Some((_, "sse")) => "text/event-stream",
                _ => continue,
            };
            let text = std::fs::read_to_string(&path).unwrap();
            let Some(total) = told_total(&text) else {
                continue;
            };
            let operation = match name.split(['.', '_']).next() {
                Some("responses") => Operation::Responses,
                Some("completion") => Operation::TextCompletion,
                Some("embeddings") => Operation::Embeddings,
                Some("image") => Operation::Image,
                Some("speech") => Operation::Speech,
                Some("transcript") => Operation::Transcription,
                _ if wire == Wire::Gemini => Operation::GenerateContent,
                _ => Operation::Chat,
            };
            let recording = Recording {
                wire,
                operation,
                content_type,
                bytes: text.as_bytes(),
            };
            let usage = recording.read().usage.map(|usage| usage.total());
            assert_eq!(usage, Some(total), "{folder}/{name}");
            count += 1;
        }
        counts.push((folder, count));
    }
    // None is left out in silence.
    assert_eq!(counts, [("openai", 27), ("gemini", 5), ("bedrock", 1)]);
}
