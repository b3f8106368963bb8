//! Bodies that must cross unchanged, made from rules and a seed so that a failure repeats.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_64;

pub mod json;
pub mod sse;

/// A chat completion as OpenAI and Azure OpenAI answer it.
pub const COMPLETION: &str = r#"{"id":"chatcmpl-test","object":"chat.completion","created":1795363200,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Sawubona."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":5,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"system_fingerprint":"fp_test"}"#;

/// A request for [`COMPLETION`].
pub const PROMPT: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello in isiZulu."}]}"#;

/// A request for a stream.
pub const STREAM_PROMPT: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Say hello in isiZulu."}]}"#;

/// The hash by which the testkit compares bodies too large to keep.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins a sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next_u64() % bound).expect("it is below a usize")
    }
}

/// Bytes of every value, so many.
#[must_use]
pub fn binary(length: usize, seed: u64) -> Bytes {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// `bytes` as one gzip member.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte").into()
}

/// A multipart form with one field and one file of `file_bytes` random bytes, as a transcription
/// request sends it: the content type, and the body in pieces of at most 64 KiB.
#[must_use]
pub fn multipart(file_bytes: usize) -> (String, Vec<Bytes>) {
    let boundary = "isango-test-boundary-7f3a";
    let opening = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\\\"b.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    let block = binary(64 << 10, 7);
    let mut pieces = vec![Bytes::from(opening)];
    let mut left = file_bytes;
    while left > 0 {
        let piece = block.slice(..left.min(block.len()));
        left -= piece.len();
        pieces.push(piece);
    }
    pieces.push(format!("\r\n--{boundary}--\r\n").into());
    (format!("multipart/form-data; boundary={boundary}"), pieces)
}

/// Cuts `bytes` into pieces of 1 to `longest` bytes.
#[must_use]
pub fn cut(bytes: &Bytes, longest: usize, seed: u64) -> Vec<Bytes> {
    let mut random = Random::new(seed);
    let (mut pieces, mut from) = (Vec::new(), 0);
    while from < bytes.len() {
        let to = (from + 1 + random.below(longest)).min(bytes.len());
        pieces.push(bytes.slice(from..to));
        from = to;
    }
    pieces
}
