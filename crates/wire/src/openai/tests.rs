//! Recordings in, readings out.

use bytes::Bytes;
use isango_types::{Operation, Usage, Wire};
use proptest::prelude::*;
use serde_json::Value;

use super::Openai;
use crate::format::{Event, Format};
use crate::read::{Answer, Decoded, Reading, read};
use crate::repeat::Repeat;

fn recording(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/testdata/openai/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn read_bytes(body: &[u8], operation: Operation, status: u16, chunk: usize) -> Reading {
    let chunks: Vec<Bytes> = body.chunks(chunk).map(Bytes::copy_from_slice).collect();
    let is_stream = ["data:", "event:", ": "]
        .iter()
        .any(|start| body.starts_with(start.as_bytes()));
    read(&Answer {
        wire: Wire::Openai,
        operation,
        status,
        content_type: Some(if is_stream {
            "text/event-stream; charset=utf-8"
        } else {
            "application/json"
        }),
        content_encoding: None,
        chunks: &chunks,
        tail: &[],
        complete: true,
        keep_raw: true,
    })
}

fn read_whole(name: &str, operation: Operation) -> Reading {
    read_bytes(&recording(name), operation, 200, usize::MAX)
}

fn json(reading: &Reading) -> Value {
    let Some(Decoded::Json(body)) = &reading.body else {
        panic!("{:?}", reading.body)
    };
    serde_json::from_str(body.get()).unwrap()
}

/// The stream `{name}.sse` and the whole answer `{name}.json` must read the same.
fn check(name: &str, operation: Operation, usage: Usage, told: [&str; 4]) -> Reading {
    let stream = read_whole(&format!("{name}.sse"), operation);
    let whole = read_whole(&format!("{name}.json"), operation);
    assert_eq!(json(&stream), json(&whole), "{name}");
    for reading in [&stream, &whole] {
        assert_eq!(reading.usage, Some(usage), "{name}");
        let [id, model, finish_reason, _] = told.map(|text| (!text.is_empty()).then_some(text));
        assert_eq!(reading.id.as_deref(), id, "{name}");
        assert_eq!(reading.model.as_deref(), model, "{name}");
        assert_eq!(reading.finish_reason.as_deref(), finish_reason, "{name}");
        assert_eq!(
            (reading.error_code.as_deref(), &*reading.notes),
            (None, [].as_slice()),
            "{name}"
        );
    }
    assert_eq!(stream.delivered_text, told[3], "{name}");
    assert!(stream.is_stream && !whole.is_stream, "{name}");
    for chunk in [1, 7, 100] {
        let split = read_bytes(&recording(&format!("{name}.sse")), operation, 200, chunk);
        let same = Reading {
            first_token_chunk: stream.first_token_chunk,
            ..split
        };
        assert_eq!(same, stream, "{name} in pieces of {chunk}");
    }
    stream
}

#[test]
fn chat_streams_read_like_whole_answers() {
    let id = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG";
    let usage = Usage {
        input: 11,
        cache_read: 8,
        output: 12,
        ..Usage::default()
    };
    let told = [id, "gpt-4o-2024-08-06", "length", "Grüß dich \"\nHello"];
    let reading = check("chat", Operation::Chat, usage, told);
    assert_eq!(reading.events, 9);

    let usage = Usage {
        input: 82,
        output: 41,
        ..Usage::default()
    };
    let text = "get_weather{\"city\":\"Paris\"}get_time{}";
    let told = [
        "chatcmpl-tool1",
        "gpt-4o-mini-2024-07-18",
        "tool_calls",
        text,
    ];
    check("tools", Operation::Chat, usage, told);

    let usage = Usage {
        input: 5,
        output: 2,
        ..Usage::default()
    };
    let told = ["cmpl-1", "gpt-3.5-turbo-instruct", "length", "This is"];
    check("completion", Operation::TextCompletion, usage, told);
}

#[test]
fn azure_s_filter_chunks_say_nothing_about_the_answer() {
    let usage = Usage {
        input: 12,
        output: 3,
        ..Usage::default()
    };
    check(
        "azure",
        Operation::Chat,
        usage,
        ["chatcmpl-AZ1", "gpt-4o-2024-11-20", "stop", "Hi!"],
    );
}

#[test]
fn responses_streams_read_like_whole_answers() {
    let usage = Usage {
        input: 21,
        cache_read: 16,
        output: 27,
        reasoning: 64,
        searches: 1,
        ..Usage::default()
    };
    let id = "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654";
    check(
        "responses",
        Operation::Responses,
        usage,
        [id, "gpt-5-2025-08-07", "completed", "Hi there!"],
    );
}

#[test]
fn other_providers_streams_read_like_whole_answers() {
    let usage = Usage {
        input: 10,
        cache_read: 20,
        output: 3,
        reasoning: 6,
        ..Usage::default()
    };
    check(
        "deepseek",
        Operation::Chat,
        usage,
        ["ds-1", "deepseek-reasoner", "stop", "4Hmm."],
    );
    let usage = Usage {
        input: 7,
        output: 2,
        searches: 1,
        ..Usage::default()
    };
    check(
        "perplexity",
        Operation::Chat,
        usage,
        ["pplx-1", "sonar", "stop", "Hello"],
    );
    let usage = Usage {
        input: 10,
        cache_read: 4,
        cache_write: 6,
        output: 5,
        ..Usage::default()
    };
    let told = ["gen-1", "anthropic/claude-sonnet-4.5", "stop", "YesLet me"];
    check("openrouter", Operation::Chat, usage, told);
    let usage = Usage {
        input: 9,
        output: 5,
        ..Usage::default()
    };
    check(
        "mistral",
        Operation::Chat,
        usage,
        ["mis-1", "magistral-medium-2509", "stop", "Hm42"],
    );
    let usage = Usage {
        input: 26,
        output: 3,
        ..Usage::default()
    };
    check("workers_ai", Operation::Chat, usage, ["", "", "", "Hello"]);
    assert_eq!(
        read_whole("workers_ai_whole.json", Operation::Chat).usage,
        Some(usage)
    );
    let groq = read_whole("groq.sse", Operation::Chat);
    assert_eq!(
        groq.usage,
        Some(Usage {
            input: 36,
            output: 2,
            ..Usage::default()
        })
    );
    assert_eq!(json(&groq)["x_groq"]["id"], "req_1");
}

#[test]
fn images_and_audio_are_counted_by_token_piece_or_duration() {
    let tokens = Usage {
        input: 10,
        image_input: 40,
        image_output: 1056,
        ..Usage::default()
    };
    check("image", Operation::Image, tokens, [""; 4]);
    let pieces = read_whole("dalle.json", Operation::Image).usage;
    assert_eq!(
        pieces,
        Some(Usage {
            images: 2,
            ..Usage::default()
        })
    );
    let tokens = Usage {
        input: 10,
        audio_input: 4,
        output: 31,
        ..Usage::default()
    };
    check(
        "transcript",
        Operation::Transcription,
        tokens,
        ["", "", "", "I see skies"],
    );
    for (name, audio_ms) in [("whisper.json", 9_000), ("whisper_verbose.json", 8_470)] {
        let usage = read_whole(name, Operation::Transcription).usage;
        assert_eq!(
            usage,
            Some(Usage {
                audio_ms,
                ..Usage::default()
            }),
            "{name}"
        );
    }
    let speech = read_whole("speech.sse", Operation::Speech);
    assert_eq!(
        speech.usage,
        Some(Usage {
            input: 14,
            audio_output: 101,
            ..Usage::default()
        })
    );
    assert_eq!(
        (speech.first_token_chunk, &*speech.delivered_text),
        (Some(0), "")
    );
}

#[test]
fn embeddings_and_moderations_are_read() {
    let reading = read_whole("embeddings.json", Operation::Embeddings);
    assert_eq!(
        reading.usage,
        Some(Usage {
            input: 8,
            ..Usage::default()
        })
    );
    assert_eq!(reading.model.as_deref(), Some("text-embedding-3-small"));
    // Whether that was paid for before is not told by the answer alone.
    let other = read_whole("responses.json", Operation::Other);
    assert!(other.usage.is_some());
    let reading = read_whole("moderation.json", Operation::Moderation);
    assert_eq!(
        (reading.usage, reading.model.as_deref()),
        (None, Some("omni-moderation-latest"))
    );
}

/// Reads the first `events` events of a recording, as of a stream that was cut behind them.
fn cut(name: &str, operation: Operation, events: usize) -> Reading {
    let text = String::from_utf8(recording(name)).unwrap();
    let kept: String = text.split_inclusive("\n\n").take(events).collect();
    read_bytes(
        format!("{kept}data: {{\"id\":\"x").as_bytes(),
        operation,
        200,
        usize::MAX,
    )
}

#[test]
fn of_a_cut_stream_what_came_is_kept_and_no_usage_invented() {
    let reading = cut("chat.sse", Operation::Chat, 5);
    assert_eq!(
        (reading.usage, reading.finish_reason.as_deref()),
        (None, None)
    );
    assert_eq!(reading.delivered_text, "Grüß dich \"\nHello");
    assert_eq!(
        json(&reading)["choices"][0]["message"]["content"],
        "Grüß dich \"\n"
    );

    let reading = cut("responses.sse", Operation::Responses, 11);
    assert_eq!((reading.usage, &*reading.delivered_text), (None, "Hi"));
    assert_eq!(reading.model.as_deref(), Some("gpt-5-2025-08-07"));
    let body = json(&reading);
    assert_eq!(body["output"][3]["content"][0]["text"], "Hi");
    assert_eq!(
        (&body["status"], &body["output"][1]["id"]),
        (&"in_progress".into(), &"ws_1".into())
    );

    let reading = cut("transcript.sse", Operation::Transcription, 2);
    assert_eq!(json(&reading), serde_json::json!({"text": "I see skies"}));
}

#[test]
fn the_first_token_is_found_in_its_chunk() {
    let check = |name: &str, operation, expected| {
        let text = String::from_utf8(recording(name)).unwrap();
        let chunks: Vec<Bytes> = text
            .split_inclusive("\n\n")
            .map(|e| e.to_owned().into())
            .collect();
        let reading = read(&Answer {
            wire: Wire::Openai,
            operation,
            status: 200,
            content_type: Some("text/event-stream"),
            content_encoding: None,
            chunks: &chunks,
            tail: &[],
            complete: true,
            keep_raw: true,
        });
        assert_eq!(reading.first_token_chunk, Some(expected), "{name}");
    };
    check("chat.sse", Operation::Chat, 2);
    check("tools.sse", Operation::Chat, 1);
    check("deepseek.sse", Operation::Chat, 1);
    check("openrouter.sse", Operation::Chat, 2);
    check("responses.sse", Operation::Responses, 10);
    check("image.sse", Operation::Image, 0);
}

#[test]
fn errors_are_named_wherever_they_stand() {
    let check = |body: &str, operation, status, expected: &str| {
        let reading = read_bytes(body.as_bytes(), operation, status, usize::MAX);
        assert_eq!(reading.error_code.as_deref(), Some(expected), "{body}");
        reading
    };
    let error = String::from_utf8(recording("error_429.json")).unwrap();
    let reading = check(&error, Operation::Chat, 429, "insufficient_quota");
    assert_eq!(reading.usage, None);
    // In the middle of a stream; a whole answer of 200; Responses in their two ways.
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    check(
        &format!("{chunk}\n\ndata: {}\n\n", error.replace('\n', "")),
        Operation::Chat,
        200,
        "insufficient_quota",
    );
    check(
        r#"{"error":{"code":402,"message":"m"}}"#,
        Operation::Chat,
        200,
        "402",
    );
    check(
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}\n\n",
        Operation::Responses,
        200,
        "server_error",
    );
    let reading = check(
        "data: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\"},\"output\":[]}}\n\n",
        Operation::Responses,
        200,
        "rate_limit_exceeded",
    );
    assert_eq!(reading.finish_reason.as_deref(), Some("failed"));
}

#[test]
fn tool_calls_without_an_index_are_told_apart_by_their_id() {
    let call = |call: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{call}]}}}}]}}\n\n")
    };
    let stream = [
        call(r#"{"id":"a","function":{"name":"f","arguments":"{\"x\":"}}"#),
        call(r#"{"function":{"arguments":"1}"}}"#),
        call(r#"{"id":"b","function":{"name":"g","arguments":"{}"}}"#),
        call(r#"{"id":"b","function":{"name":"g","arguments":""}}"#),
    ]
    .concat();
    let reading = read_bytes(stream.as_bytes(), Operation::Chat, 200, usize::MAX);
    assert_eq!(
        json(&reading)["choices"][0]["message"]["tool_calls"],
        serde_json::json!([
            {"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "function": {"name": "g", "arguments": "{}"}},
        ])
    );
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_answer_makes_it_panic(
            parts in prop::collection::vec("[{}\\[\\]:,\"]|\"(choices|delta|usage|type|index|tool_calls|content|error|response|response.x|item|text)\"|-?[0-9]{1,25}|null|data: |\n\n", 0..40),
            operation in prop::sample::select(vec![Operation::Chat, Operation::Responses, Operation::Image]),
        ) {
            let body = parts.concat();
            read_bytes(body.as_bytes(), operation, 200, 5);
            read_bytes(format!("data: {body}").as_bytes(), operation, 200, 5);
            read_bytes(body.as_bytes(), operation, 500, 5);
        }

        #[test]
        fn a_mangled_recording_does_not_make_it_panic(
            name in prop::sample::select(vec!["chat.sse", "responses.sse", "tools.sse", "mistral.sse", "chat.json"]),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let mut body = recording(name);
            let (from, to) = (from.index(body.len()), to.index(body.len()));
            body.drain(from.min(to)..from.max(to));
            read_bytes(&body, Operation::Chat, 200, 64);
        }
    }
}

/// Members of completions, usual ones and others.
const MEMBERS: [&str; 20] = [
    r#""id":"i""#,
    r#""id":"\u0041""#,
    r#""model":"m""#,
    r#""model":"""#,
    r#""model":null"#,
    r#""created":1"#,
    r#""choices":[]"#,
    r#""choices":null"#,
    r#""choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"},{}]"#,
    r#""choices":[{"finish_reason":null}]"#,
    r#""choices":[{"finish_reason":7},1]"#,
    r#""usage":null"#,
    r#""usage":[1]"#,
    r#""usage":{"prompt_tokens":9.5,"completion_tokens":2,"prompt_tokens_details":null}"#,
    r#""usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4,"cached_tokens_details":[]}}"#,
    r#""usage":{"prompt_tokens":1e2,"cost":0.1,"server_tool_use":{"web_search_requests":2}}"#,
    r#""status":"completed""#,
    r#""error":{"code":"e"}"#,
    r#""result":{"model":"r","usage":{"total_tokens":3}}"#,
    r#""output":[{"type":"web_search_call"}]"#,
];

/// What a stream of `events` comes to; when `anew`, each of them is taken apart.
fn taken(events: &[String], anew: bool) -> (Reading, Vec<bool>, Option<String>) {
    let mut out = Reading::default();
    let mut state = Openai::new(Operation::Chat);
    let mut content = Vec::new();
    for data in events {
        if anew {
            state.repeat = Repeat::default();
        }
        let event = Event {
            name: None,
            data: data.as_bytes(),
            exception: false,
        };
        content.push(state.event(&event, &mut out));
    }
    let body = state.finish(&mut out);
    (
        out,
        content,
        body.map(|body| String::from_utf8(body).unwrap()),
    )
}

/// A chunk in any of the shapes that providers give it; most of those of one stream are alike.
fn chunk_of(shape: u8, index: u8, piece: &str, padding: &str) -> String {
    let piece = serde_json::to_string(piece).unwrap();
    let delta = match shape % 16 {
        0 => format!(r#""role":"assistant","content":{piece}"#),
        1 => format!(r#""content":null,"reasoning_content":{piece}"#),
        2 => format!(
            r#""tool_calls":[{{"index":{index},"id":"c","function":{{"name":"f","arguments":{piece}}}}}]"#
        ),
        3 => format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":{piece}}}}}]"#),
        4 => format!(r#""content":[{{"type":"text","text":{piece}}}]"#),
        5 => format!(r#""content":{piece},"refusal":{piece}"#),
        6 => format!(r#""content":{piece},"annotations":[{piece}]"#),
        7 => format!(r#""content":"","tool_calls":[{{"function":{{"arguments":{piece}}}}}]"#),
        8 => format!(r#""content":{piece},"content":{piece}"#),
        _ => format!(r#""content":{piece}"#),
    };
    let (index, shape) = (index % 2, shape / 16);
    let end = match shape {
        0 => r#","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}"#,
        1 => r#","logprobs":{"content":[{"token":"a"}]}}]"#,
        2 => r#","content_filter_results":{"hate":{"filtered":false}}}],"model":"n","#,
        3 => r#"}],"error":{"code":"e"}"#,
        _ => r#","logprobs":null,"finish_reason":null}],"usage":null"#,
    };
    format!(
        r#"{{"id":"i","model":"m","obfuscation":"{padding}","choices":[{{"index":{index},"delta":{{{delta}}}{end}}}"#
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_completion_is_read_in_one_pass_as_member_by_member(
        members in prop::collection::vec(prop::sample::select(MEMBERS.to_vec()), 0..7),
        cut in 0..3_usize,
    ) {
        let json = format!(" {{{}}}", members.join(","));
        let json = &json[..json.len() - cut / 2];
        let (mut fast, mut slow) = (Reading::default(), Reading::default());
        let is_json = Openai::whole_text(Operation::Chat, json, &mut fast);
        Openai::whole(Operation::Chat, json.as_bytes(), &mut slow);
        prop_assert_eq!(fast, slow);
        prop_assert_eq!(is_json, serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok());
    }

    #[test]
    fn chunks_that_repeat_the_one_before_are_read_as_if_taken_apart(
        rows in prop::collection::vec(
            (any::<u8>(), 0..3_u8, prop::collection::vec(("[a-cé\"\\\\\n]{0,3}", "[x-z]{0,2}"), 1..5)),
            1..8,
        ),
    ) {
        let events: Vec<String> = rows
            .iter()
            .flat_map(|(shape, index, pieces)| {
                pieces.iter().map(|(piece, padding)| chunk_of(*shape, *index, piece, padding))
            })
            .collect();
        prop_assert_eq!(taken(&events, false), taken(&events, true));
    }
}

#[test]
fn a_row_of_chunks_is_told_by_the_first_that_brings_content() {
    let row = |shape| -> Vec<String> {
        ["a", "b"]
            .iter()
            .map(|piece| chunk_of(shape, 0, piece, piece))
            .collect()
    };
    let check = |shape, is_row: bool| {
        let mut state = Openai::new(Operation::Chat);
        let [first, second] = &row(shape)[..] else {
            panic!("two events")
        };
        let event = |data: &'static str| Event {
            name: None,
            data: data.as_bytes(),
            exception: false,
        };
        let (first, second) = (first.clone().leak(), second.clone().leak());
        state.event(&event(first), &mut Reading::default());
        let text = state.repeat.text(&event(second)).map(|(text, _)| text);
        assert_eq!(text.as_deref(), is_row.then_some("b"), "{second}");
    };
    for shape in [0xf0, 0xf1, 0xf3, 0xff, 0x0f] {
        check(shape, true);
    }
    for shape in [0xf2, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0x1f, 0x2f] {
        check(shape, false);
    }
}
