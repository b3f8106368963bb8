use std::io::Write as _;

use super::*;

const EVENTS: &str = concat!(
    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    "data: [DONE]\n\n",
);
fn used() -> Option<Usage> {
    Some(Usage {
        input: 1,
        output: 2,
        ..Usage::default()
    })
}

fn answer<'a>(chunks: &'a [Bytes], content_type: Option<&'a str>) -> Answer<'a> {
    Answer {
        wire: Wire::Openai,
        operation: Operation::Chat,
        status: 200,
        content_type,
        content_encoding: None,
        chunks,
        tail: &[],
        complete: true,
        keep_raw: true,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_stream_is_told_by_its_type_or_else_by_its_first_bytes() {
    let check = |content_type: Option<&str>, body: &str, is_stream: bool| {
        let chunks = [Bytes::copy_from_slice(body.as_bytes())];
        let reading = read(&answer(&chunks, content_type));
        assert_eq!(reading.is_stream, is_stream, "{content_type:?} {body:?}");
        assert_eq!(reading.raw.is_some(), is_stream && !body.is_empty());
    };
    check(Some("text/event-stream"), EVENTS, true);
    check(Some("Text/Event-Stream; charset=utf-8"), EVENTS, true);
    check(None, EVENTS, true);
    check(None, "\n: comment\n\ndata: {}\n\n", true);
    check(None, "{\"choices\":[]}", false);
    check(Some("application/json"), EVENTS, false);
    check(
        Some("application/x-ndjson"),
        "{\"response\":\"a\"}\n{\"response\":\"b\"}\n",
        true,
    );
    // Some errors are JSON that calls itself a stream.
    check(
        Some("text/event-stream"),
        "{\"error\":{\"code\":\"x\"}}",
        false,
    );
    check(Some("text/event-stream"), "", true);
}

#[test]
fn json_lines_are_events() {
    let chunks = [
        Bytes::from_static(b"{\"response\":\"a\"}\n{\"resp"),
        Bytes::from_static(b"onse\":\"b\"}"),
    ];
    let reading = read(&answer(&chunks, Some("application/x-ndjson")));
    assert_eq!((reading.events, &*reading.delivered_text), (2, "ab"));
    assert_eq!(
        reading.body,
        Some(Decoded::of(br#"{"response":"ab"}"#[..].into()))
    );
}

#[test]
fn an_encoded_stream_is_decoded_and_its_first_token_still_found() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut chunks = Vec::new();
    for event in EVENTS.split_inclusive("\n\n") {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        chunks.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    chunks.push(encoder.finish().unwrap().into());
    let encoded = Answer {
        content_encoding: Some("gzip"),
        ..answer(&chunks, Some("text/event-stream"))
    };
    let reading = read(&encoded);
    assert_eq!(
        (reading.usage, reading.first_token_chunk),
        (used(), Some(1))
    );
    assert_eq!(reading.raw.as_deref(), Some(EVENTS.as_bytes()));
    assert!(reading.notes.is_empty());
}

#[test]
fn a_body_is_stored_as_what_it_is() {
    let check = |body: &[u8], encoding: Option<&str>, expected: Option<Decoded>| {
        let chunks: Vec<Bytes> = body.chunks(3).map(Bytes::copy_from_slice).collect();
        let whole = Answer {
            content_encoding: encoding,
            ..answer(&chunks, None)
        };
        assert_eq!(read(&whole).body, expected, "{}", body.escape_ascii());
    };
    check(
        b"{\"a\": 1}",
        None,
        Some(Decoded::of(b"{\"a\": 1}"[..].into())),
    );
    check(
        &gzip(b"{\"a\": 1}"),
        Some("gzip"),
        Some(Decoded::of(b"{\"a\": 1}"[..].into())),
    );
    check(
        "h\u{e9}".as_bytes(),
        None,
        Some(Decoded::Text("h\u{e9}".to_owned())),
    );
    check(
        b"{\"a\": ",
        None,
        Some(Decoded::Text("{\"a\": ".to_owned())),
    );
    check(
        b"\xff\xfb",
        None,
        Some(Decoded::Bytes(b"\xff\xfb".to_vec())),
    );
    check(b"", None, None);
}

#[test]
fn an_unknown_encoding_is_named_and_the_bytes_kept() {
    let chunks = [Bytes::from_static(b"\xff\x01")];
    let reading = read(&Answer {
        content_encoding: Some("x"),
        ..answer(&chunks, None)
    });
    assert_eq!(reading.notes, ["content-encoding \"x\" is unknown"]);
    assert_eq!(reading.body, Some(Decoded::Bytes(b"\xff\x01".to_vec())));
}

#[test]
fn the_usage_is_read_from_the_end_of_a_capture_without_its_middle() {
    // A stream: the first event after the gap is not whole.
    let (head, tail) = EVENTS.split_at(160);
    let chunks = [Bytes::copy_from_slice(head.as_bytes())];
    let stream = Answer {
        tail: &tail.as_bytes()[20..],
        ..answer(&chunks, Some("text/event-stream"))
    };
    let reading = read(&stream);
    assert_eq!(
        (reading.usage, reading.model.as_deref()),
        (used(), Some("m"))
    );
    assert_eq!(reading.notes.len(), 1);
    // A whole answer.
    let chunks = [Bytes::from_static(
        br#"{"id":"c","model":"m","choices":[{"message":{"content":"Hi"#,
    )];
    let tail =
        br#" \"usage\":1 there"}}],"usage" : {"prompt_tokens":1,"completion_tokens":2}, "x":1}"#;
    let reading = read(&Answer {
        tail,
        ..answer(&chunks, Some("application/json"))
    });
    assert_eq!(
        (reading.usage, reading.model.as_deref()),
        (used(), Some("m"))
    );
}

#[test]
fn an_opaque_stream_is_only_counted() {
    let chunks = [Bytes::from_static(EVENTS.as_bytes())];
    let opaque = Answer {
        wire: Wire::Opaque,
        ..answer(&chunks, Some("text/event-stream"))
    };
    let reading = read(&opaque);
    assert_eq!(
        (reading.usage, reading.events, reading.first_token_chunk),
        (None, 4, Some(0))
    );
    assert_eq!(reading.body, Some(Decoded::Text(EVENTS.to_owned())));
}

#[test]
fn notes_have_a_bound() {
    let mut reading = Reading::default();
    for n in 0..9 {
        reading.note(n.to_string());
    }
    assert_eq!(reading.notes, ["0", "1", "2", "3"]);
}
