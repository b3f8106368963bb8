use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::{Operation, Wire};
use proptest::prelude::*;

use super::facts;
use crate::eventstream::tests::{event, exception};
use crate::facts::Facts;
use crate::recordings::{Recording, body, json, line};

fn stream(bytes: &[u8]) -> Recording<'_> {
    Recording {
        wire: Wire::Bedrock,
        operation: Operation::Chat,
        content_type: "application/vnd.amazon.eventstream",
        bytes,
    }
}

fn whole(bytes: &[u8]) -> Recording<'_> {
    Recording {
        content_type: "application/json",
        ..stream(bytes)
    }
}

/// The messages of a recording with an event's name and payload on each line.
fn messages(recording: &str) -> Vec<u8> {
    recording
        .lines()
        .flat_map(|line| {
            let (name, payload) = line.split_once(' ').unwrap();
            event(name, payload)
        })
        .collect()
}

/// The messages of a recording with the inner JSON of a chunk on each line.
fn chunks(recording: &str) -> Vec<u8> {
    recording.lines().flat_map(chunk).collect()
}

fn chunk(json: &str) -> Vec<u8> {
    event(
        "chunk",
        &format!("{{\"bytes\":\"{}\",\"p\":\"abcd\"}}", STANDARD.encode(json)),
    )
}

const CONVERSE: &str = include_str!("../../testdata/bedrock/converse_stream.events");
const CLAUDE: &str = include_str!("../../testdata/bedrock/claude.chunks");

#[test]
fn a_whole_converse_tells_its_cache_by_lifetime() {
    let reading = whole(include_bytes!("../../testdata/bedrock/converse.json")).read();
    assert_eq!(
        line(&reading),
        "- - end_turn {input:11,cache_read:2048,cache_write:100,cache_write_1h:200,output:9}"
    );
    assert_eq!(reading.usage.unwrap().total(), 2_368);
}

#[test]
fn a_total_that_includes_the_cache_in_the_input_is_believed() {
    let bytes = br#"{"usage":{"inputTokens":1200,"outputTokens":350,"totalTokens":1550,"cacheReadInputTokens":800}}"#;
    assert_eq!(
        line(&whole(bytes).read()),
        "- - - {input:400,cache_read:800,output:350}"
    );
}

#[test]
fn a_converse_stream_becomes_the_answer_it_would_have_been() {
    let bytes = messages(CONVERSE);
    let reading = stream(&bytes).read();
    assert_eq!(line(&reading), "- - tool_use {input:382,output:66}");
    assert_eq!(
        body(&reading),
        json(include_bytes!(
            "../../testdata/bedrock/converse_stream.whole.json"
        ))
    );
    assert_eq!(
        reading.delivered_text,
        "Check the weather.Einen Moment – get_weather{\"city\": \"Lisbon\"}"
    );
    assert_eq!(reading.events, 15);
}

#[test]
fn a_cut_converse_stream_has_its_text_for_the_count() {
    let lines: Vec<&str> = CONVERSE.lines().take(11).collect();
    let mut bytes = messages(&lines.join("\n"));
    bytes.truncate(bytes.len() - 3);
    let reading = stream(&bytes).read();
    assert_eq!(line(&reading), "- - - -");
    assert_eq!(
        reading.delivered_text,
        "Check the weather.Einen Moment – get_weather"
    );
    let input = &body(&reading)["output"]["message"]["content"][2]["toolUse"]["input"];
    assert_eq!(*input, serde_json::json!({}));
}

#[test]
fn an_exception_breaks_a_stream_off() {
    let begun: Vec<&str> = CONVERSE.lines().take(7).collect();
    let thrown = exception("modelStreamErrorException", "{\"message\":\"try again\"}");
    let reading = stream(&[messages(&begun.join("\n")), thrown.clone()].concat()).read();
    assert_eq!(line(&reading), "- - - - !modelStreamErrorException");
    assert_eq!(
        body(&reading)["output"]["message"]["content"][1]["text"],
        "Einen Moment – "
    );
    let reading = stream(&thrown).read();
    assert_eq!(line(&reading), "- - - - !modelStreamErrorException");
    assert_eq!(body(&reading)["message"], "try again");
}

#[test]
fn an_error_answer_tells_its_type_where_the_body_does() {
    let bytes = br#"{"__type":"ThrottlingException","message":"Too many tokens"}"#;
    assert_eq!(
        line(&whole(bytes).read_error(429)),
        "- - - - !ThrottlingException"
    );
    assert_eq!(
        line(&whole(br#"{"message":"denied"}"#).read_error(403)),
        "- - - -"
    );
}

#[test]
fn invoked_streams_are_read_in_the_format_of_the_maker() {
    let check = |recording: &str, expected: &str, whole: &[u8]| {
        let bytes = chunks(recording);
        let reading = stream(&bytes).read();
        assert_eq!(line(&reading), expected);
        assert_eq!(body(&reading), json(whole));
        assert!(reading.notes.is_empty(), "{:?}", reading.notes);
        stream(&bytes).check_any_split();
    };
    check(
        CLAUDE,
        "msg_bdrk_01 claude-sonnet-4-5-20250929 end_turn {input:14,cache_read:500,output:8}",
        include_bytes!("../../testdata/bedrock/claude.whole.json"),
    );
    check(
        include_str!("../../testdata/bedrock/nova.chunks"),
        "- - end_turn {input:5,cache_read:2,output:3}",
        include_bytes!("../../testdata/bedrock/nova.whole.json"),
    );
    check(
        include_str!("../../testdata/bedrock/titan.chunks"),
        "- - FINISH {input:6,output:4}",
        include_bytes!("../../testdata/bedrock/titan.whole.json"),
    );
    check(
        include_str!("../../testdata/bedrock/llama.chunks"),
        "- - stop {input:25,output:3}",
        include_bytes!("../../testdata/bedrock/llama.whole.json"),
    );
    check(
        include_str!("../../testdata/bedrock/mistral.chunks"),
        "- - stop {input:12,output:2}",
        include_bytes!("../../testdata/bedrock/mistral.whole.json"),
    );
    check(
        include_str!("../../testdata/cohere/v1.jsonl"),
        "gen-1 - COMPLETE {input:68,output:6}",
        br#"{"response_id":"res-1","text":"Ol\u00e1, mundo","generation_id":"gen-1","chat_history":[{"role":"USER","message":"Hi"},{"role":"CHATBOT","message":"Ol\u00e1, mundo"}],"finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":2.0,"output_tokens":5.0},"tokens":{"input_tokens":68.0,"output_tokens":6.0}}}"#,
    );
}

#[test]
fn a_cut_invoke_of_claude_keeps_the_input() {
    let begun: Vec<&str> = CLAUDE.lines().take(4).collect();
    let reading = stream(&chunks(&begun.join("\n"))).read();
    let usage = reading.usage.unwrap();
    assert_eq!(
        (usage.input, usage.cache_read, usage.estimated),
        (14, 500, true)
    );
}

#[test]
fn a_cut_invoke_of_llama_counts_what_was_delivered() {
    let first = chunk(
        r#"{"generation":"Lisbon is the capital of","prompt_token_count":25,"generation_token_count":1}"#,
    );
    let usage = stream(&first).read().usage.unwrap();
    assert_eq!((usage.input, usage.estimated), (25, true));
    assert_eq!(
        usage.output,
        crate::tokens::count("", "Lisbon is the capital of").max(1)
    );
}

#[test]
fn whole_invokes_are_read_in_the_format_of_the_maker() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(line(&whole(bytes).read()), expected);
    check(
        include_bytes!("../../testdata/bedrock/claude.whole.json"),
        "msg_bdrk_01 claude-sonnet-4-5-20250929 end_turn {input:14,cache_read:500,output:8}",
    );
    check(
        include_bytes!("../../testdata/bedrock/nova.whole.json"),
        "- - end_turn {input:5,cache_read:2,output:3}",
    );
    check(
        include_bytes!("../../testdata/bedrock/titan.whole.json"),
        "- - FINISH {input:6,output:4}",
    );
    check(
        include_bytes!("../../testdata/bedrock/llama.whole.json"),
        "- - stop {input:25,output:3}",
    );
    check(
        include_bytes!("../../testdata/bedrock/mistral.whole.json"),
        "- - stop -",
    );
    check(
        br#"{"embedding":[0.1],"inputTextTokenCount":5}"#,
        "- - - {input:5}",
    );
    check(
        br#"{"images":["aGk=","aGk="],"error":null}"#,
        "- - - {images:2}",
    );
    check(
        br#"{"usage":{"input_tokens":7,"output_tokens":2}}"#,
        "- - - {input:7,output:2}",
    );
    check(
        br#"{"id":"c","object":"chat.completion","model":"openai.gpt-oss-20b","choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5}}"#,
        "c openai.gpt-oss-20b stop {input:4,output:1}",
    );
}

#[test]
fn any_split_of_a_converse_stream_reads_the_same() {
    stream(&messages(CONVERSE)).check_any_split();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn events_of_any_name_and_payload_never_panic(
        events in prop::collection::vec(
            (prop::sample::select(vec![
                "chunk", "messageStart", "contentBlockStart", "contentBlockDelta", "metadata", "x",
            ]),
            prop::sample::select(vec![
                r#"{"delta":{"toolUse":{"input":"["}},"contentBlockIndex":-1}"#,
                r#"{"start":{"toolUse":[]},"contentBlockIndex":1e99}"#,
                r#"{"bytes":"!!"}"#, r#"{"bytes":"e30="}"#, r#"{"bytes":"eyJjaG9pY2VzIjpbXX0="}"#,
                "[]", "null", "{", "", r#"{"role":5,"usage":{"inputTokens":18446744073709551615,"outputTokens":1}}"#,
            ])),
            0..6,
        ),
    ) {
        let bytes: Vec<u8> =
            events.iter().flat_map(|(name, payload)| event(name, payload)).collect();
        let reading = stream(&bytes).read();
        prop_assert!(reading.events <= 6);
    }
}

#[test]
fn paths_tell_operation_model_and_stream() {
    use Operation::{Chat, CountTokens, Embeddings, Image, Rerank, TextCompletion};
    let check = |encoded: &str, verb: &str, operation, stream| {
        let path = format!("/model/{encoded}/{verb}");
        let facts = facts("POST", &path);
        let model = encoded.replace("%3A", ":").replace("%2F", "/");
        assert_eq!(
            (facts.operation, facts.model.as_deref(), facts.stream),
            (operation, Some(&*model), Some(stream)),
            "{path}"
        );
    };
    let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
    check(claude, "converse", Chat, false);
    check(claude, "converse-stream", Chat, true);
    check(claude, "invoke", Chat, false);
    check(claude, "invoke-with-response-stream", Chat, true);
    check(claude, "count-tokens", CountTokens, false);
    let profile =
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0";
    check(profile, "converse", Chat, false);
    check(&profile.replace("%2F", "/"), "converse", Chat, false);
    check("amazon.titan-embed-text-v2:0", "invoke", Embeddings, false);
    check("cohere.rerank-v3-5:0", "invoke", Rerank, false);
    check("amazon.nova-canvas-v1:0", "invoke", Image, false);
    check(
        "meta.llama3-8b-instruct-v1:0",
        "invoke",
        TextCompletion,
        false,
    );
    for other in ["/guardrail/g/version/1/apply", "/foundation-models"] {
        assert_eq!(facts("POST", other), Facts::default(), "{other}");
    }
    assert_eq!(facts("POST", "/openai/v1/chat/completions").operation, Chat);
    assert_eq!(
        facts("POST", "/aws/openai/v1/chat/completions").operation,
        Chat
    );
    let behind_a_prefix = facts(
        "POST",
        "/aws/us-east-1/model/amazon.nova-lite-v1%3A0/converse",
    );
    assert_eq!(
        behind_a_prefix.model.as_deref(),
        Some("amazon.nova-lite-v1:0")
    );
}

#[test]
fn a_gap_in_the_capture_leaves_the_usage_whole() {
    let bytes = messages(CONVERSE);
    let reading = stream(&bytes).read_gap(bytes.len() / 3, 600);
    assert_eq!(line(&reading), "- - tool_use {input:382,output:66}");
    let bytes = chunks(CLAUDE);
    let reading = stream(&bytes).read_gap(bytes.len() / 3, 900);
    let usage = reading.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output), (14, 500, 8));
}
