//! Reads one file many times, to count instructions: `read FILE TIMES [sse|json|body|scan]`.
//!
//! Run it under callgrind with two values of TIMES; the difference is the reading alone.

use std::hint::black_box;
use std::{env, fs};

use bytes::Bytes;
use isango_types::{Operation, Wire};
use isango_wire::body::{Kept, read_body};
use isango_wire::read::{Answer, read};
use isango_wire::scan::scan;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, times, what] = &arguments[..] else {
        return Err("read FILE TIMES sse|json|body|scan".into());
    };
    let file_bytes = fs::read(file)?;
    let wire = match file {
        file if file.contains("anthropic") => Wire::Anthropic,
        file if file.contains("gemini") => Wire::Gemini,
        _ => Wire::Openai,
    };
    // A provider sends about one event in one frame.
    let chunks: Vec<Bytes> = match &**what {
        "sse" => String::from_utf8(file_bytes.clone())?
            .split_inclusive("\n\n")
            .map(|event| Bytes::copy_from_slice(event.as_bytes()))
            .collect(),
        _ => vec![file_bytes.clone().into()],
    };
    let answer = Answer {
        wire,
        operation: Operation::Chat,
        status: 200,
        content_type: match &**what {
            "sse" => Some("text/event-stream"),
            _ => Some("application/json"),
        },
        content_encoding: None,
        chunks: &chunks,
        tail: &[],
        complete: true,
        keep_raw: false,
    };
    for _ in 0..times.parse()? {
        match &**what {
            "body" => drop(black_box(read_body(&chunks, None, Kept::Json))),
            "scan" => drop(black_box(scan(&file_bytes))),
            _ => drop(black_box(read(&answer))),
        }
    }
    Ok(())
}
