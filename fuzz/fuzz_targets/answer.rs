//! Answers of providers in every format, whole and as streams of either kind, in pieces of any length.
#![no_main]

use bytes::Bytes;
use isango_types::{Operation, Wire};
use isango_wire::filter::UsageFilter;
use isango_wire::read::{Answer, read};
use libfuzzer_sys::fuzz_target;

const WIRES: [Wire; 6] = [
    Wire::Openai,
    Wire::Anthropic,
    Wire::Gemini,
    Wire::Bedrock,
    Wire::Cohere,
    Wire::Opaque,
];
const TYPES: [&str; 3] = [
    "application/json",
    "text/event-stream",
    "application/vnd.amazon.eventstream",
];
const ENCODINGS: [Option<&str>; 4] = [None, Some("gzip"), Some("br"), Some("zstd")];

fuzz_target!(|bytes: &[u8]| {
    let [shape, piece, body @ ..] = bytes else {
        return;
    };
    let shape = usize::from(*shape);
    let pieces = body.chunks(usize::from(*piece).max(1));
    let chunks: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
    let answer = Answer {
        wire: WIRES[shape % 6],
        operation: Operation::Chat,
        status: 200,
        content_type: Some(TYPES[shape / 6 % 3]),
        content_encoding: ENCODINGS[shape / 18 % 4],
        chunks: &chunks,
        tail: &[],
        complete: shape % 2 == 0,
        keep_raw: true,
    };
    read(&answer);
    let mut filter = UsageFilter::default();
    for chunk in chunks {
        filter.push(chunk);
    }
    filter.finish();
});
