use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use isango_types::Operation;
use proptest::prelude::*;

use super::*;
use crate::eventstream::tests::event as aws;
use crate::read::{Answer, Reading, read};

const SSE: &str = "text/event-stream; charset=utf-8";
const AWS: &str = "application/vnd.amazon.eventstream";

/// Name, format, kind of call, content type and events of a stream of four words.
type Sample = (&'static str, Wire, Operation, &'static str, Vec<Vec<u8>>);

const DELTA: &str = r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}"#;
const CLAUDE: [&str; 7] = [
    r#"event: message_start
data: {"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}"#,
    r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    DELTA,
    DELTA,
    DELTA,
    DELTA,
    "event: message_stop\ndata: {\"type\":\"message_stop\"}",
];
const WRITTEN: &str = r#"event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":" word","sequence_number":4}"#;
const RESPONSES: [&str; 6] = [
    r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"r1","object":"response","status":"in_progress","incomplete_details":null,"model":"m","output":[]}}"#,
    WRITTEN,
    WRITTEN,
    WRITTEN,
    WRITTEN,
    r#"event: response.output_text.done
data: {"type":"response.output_text.done","text":" word word word word"}"#,
];
const GEMINI: &str = r#"data: {"candidates":[{"content":{"parts":[{"text":" word"}],"role":"model"},"index":0}],"modelVersion":"g","responseId":"g1"}"#;
const COHERE: &str = r#"event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":" word"}}}}"#;
const CONVERSE: &str = r#"{"contentBlockIndex":0,"delta":{"text":" word"}}"#;

fn sse<E: AsRef<str>>(events: &[E]) -> Vec<Vec<u8>> {
    let each = events.iter();
    each.map(|event| format!("{}\n\n", event.as_ref()).into_bytes())
        .collect()
}

fn chat() -> Vec<Vec<u8>> {
    let chunk = |delta: &str, finish: &str| {
        format!(
            r#"data: {{"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}],"usage":null}}"#
        )
    };
    let mut events = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    events.extend((0..4).map(|_| chunk(r#"{"content":" word"}"#, "null")));
    events.extend([chunk("{}", r#""stop""#), "data: [DONE]".to_owned()]);
    sse(&events)
}

/// One stream of each format.
fn streams() -> Vec<Sample> {
    let begin = aws("messageStart", r#"{"role":"assistant"}"#);
    let words = (0..4).map(|_| aws("contentBlockDelta", CONVERSE));
    let converse = [begin].into_iter().chain(words).collect();
    let chunk = |event: &&str| {
        let bytes = STANDARD.encode(event.split_once("data: ").unwrap().1);
        aws("chunk", &format!(r#"{{"bytes":"{bytes}"}}"#))
    };
    let invoke = CLAUDE.iter().map(chunk).collect();
    let chatting = Operation::Chat;
    vec![
        ("chat", Wire::Openai, chatting, SSE, chat()),
        ("claude", Wire::Anthropic, chatting, SSE, sse(&CLAUDE)),
        (
            "responses",
            Wire::Openai,
            Operation::Responses,
            SSE,
            sse(&RESPONSES),
        ),
        (
            "gemini",
            Wire::Gemini,
            Operation::GenerateContent,
            SSE,
            sse(&[GEMINI; 4]),
        ),
        ("cohere", Wire::Cohere, chatting, SSE, sse(&[COHERE; 4])),
        ("converse", Wire::Bedrock, chatting, AWS, converse),
        ("invoke", Wire::Bedrock, chatting, AWS, invoke),
    ]
}

fn flow(wire: Wire, content_type: &str) -> Flow {
    Flow::of(wire, content_type, None).unwrap()
}

fn reading(wire: Wire, operation: Operation, content_type: &str, bytes: &[u8]) -> Reading {
    read(&Answer {
        wire,
        operation,
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        chunks: &[Bytes::copy_from_slice(bytes)],
        tail: &[],
        complete: true,
        keep_raw: false,
    })
}

#[test]
fn the_tokens_of_every_format_are_counted() {
    for (name, wire, _, content_type, events) in streams() {
        let mut flow = flow(wire, content_type);
        flow.push(&events.concat());
        assert!(
            (4..=5).contains(&flow.tokens()),
            "{name}: {}",
            flow.tokens()
        );
    }
    let mut encoded = Flow::of(Wire::Openai, SSE, Some("gzip")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &streams()[0].4.concat()).unwrap();
    assert!(encoded.push_until(&gzip.finish().unwrap(), 1, 1).is_none());
    assert_eq!(encoded.tokens(), 5);
    assert!(Flow::of(Wire::Openai, "application/json", None).is_none());
    assert!(Flow::of(Wire::Openai, SSE, Some("rot13")).is_none());
}

#[test]
fn every_format_has_its_own_end_for_an_answer_that_is_too_long() {
    let reasons = [
        "length",
        "max_tokens",
        "incomplete",
        "MAX_TOKENS",
        "MAX_TOKENS",
        "max_tokens",
        "max_tokens",
    ];
    for ((name, wire, operation, content_type, events), reason) in
        streams().into_iter().zip(reasons)
    {
        let whole = events.concat();
        let (end, ending) = flow(wire, content_type)
            .push_until(&whole, 2, 1)
            .unwrap_or_else(|| panic!("{name} goes on"));
        assert!(end < whole.len(), "{name}");
        let ended = [&whole[..end], &ending].concat();
        let told = reading(wire, operation, content_type, &ended);
        assert_eq!(told.notes, Vec::<String>::new(), "{name}");
        assert_eq!(told.delivered_text, " word word", "{name}");
        let finish = told.finish_reason.as_deref();
        let is_told = finish == Some(reason) || finish == Some("max_output_tokens");
        assert!(is_told, "{name}: {finish:?}");
    }
}

#[test]
fn each_answer_of_a_completion_is_ended() {
    let (_, wire, _, content_type, events) = streams().remove(0);
    let (_, ending) = flow(wire, content_type)
        .push_until(&events.concat(), 1, 2)
        .unwrap();
    assert_eq!(
        String::from_utf8(ending).unwrap(),
        "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\
         \"choices\":[{\"delta\":{},\"finish_reason\":\"length\",\"index\":0},\
         {\"delta\":{},\"finish_reason\":\"length\",\"index\":1}]}\n\ndata: [DONE]\n\n"
    );
}

#[test]
fn a_stream_that_cannot_be_ended_goes_on() {
    let mut opaque = flow(Wire::Opaque, SSE);
    let event = b"data: {\"text\":\"abc\"}\n\n";
    assert!(opaque.push_until(&event.repeat(9), 2, 1).is_none());
    assert_eq!(opaque.tokens(), 9);
}

proptest! {
    #[test]
    fn it_ends_at_the_same_event_for_any_split(
        which in 0..7_usize, most in 1..6_u64, cuts in prop::collection::vec(any::<u16>(), 0..12),
    ) {
        let (_, wire, _, content_type, events) = streams().swap_remove(which);
        let whole = events.concat();
        let at_once = flow(wire, content_type).push_until(&whole, most, 1);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) % whole.len()).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let mut split = flow(wire, content_type);
        let mut found = None;
        for pair in cuts.windows(2) {
            if let Some((end, ending)) = split.push_until(&whole[pair[0]..pair[1]], most, 1) {
                found = Some((pair[0] + end, ending));
                break;
            }
        }
        prop_assert_eq!(found, at_once);
    }

    #[test]
    fn foreign_bytes_are_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400), is_aws in any::<bool>(),
    ) {
        let mut flow = flow(Wire::Bedrock, if is_aws { AWS } else { SSE });
        let _ended = flow.push_until(&bytes, 1, 1);
        flow.push(&bytes);
    }
}
