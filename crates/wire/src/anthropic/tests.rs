use isango_types::{Operation, Wire};

use super::facts;
use crate::recordings::{Recording, body, json, line};

fn stream(bytes: &[u8]) -> Recording<'_> {
    Recording {
        wire: Wire::Anthropic,
        operation: Operation::Chat,
        content_type: "text/event-stream; charset=utf-8",
        bytes,
    }
}

fn whole(bytes: &[u8]) -> Recording<'_> {
    Recording {
        content_type: "application/json",
        ..stream(bytes)
    }
}

const TOOLS: &[u8] = include_bytes!("../../testdata/anthropic/tools.sse");
const SEARCH: &[u8] = include_bytes!("../../testdata/anthropic/search.sse");
const OVERLOADED: &[u8] = include_bytes!("../../testdata/anthropic/overloaded.sse");
const COMPLETION: &[u8] = include_bytes!("../../testdata/anthropic/completion.sse");

#[test]
fn a_whole_message_tells_its_cache_by_lifetime() {
    let reading = whole(include_bytes!("../../testdata/anthropic/message.json")).read();
    assert_eq!(
        line(&reading),
        "msg_01A claude-sonnet-4-5-20250929 end_turn \
         {input:12,cache_read:2048,cache_write:100,cache_write_1h:200,output:4}"
    );
}

#[test]
fn a_stream_becomes_the_message_it_would_have_been() {
    let reading = stream(TOOLS).read();
    assert_eq!(
        line(&reading),
        "msg_01T claude-sonnet-4-5-20250929 tool_use {input:472,cache_read:1024,output:89}"
    );
    assert_eq!(
        body(&reading),
        json(include_bytes!("../../testdata/anthropic/tools.whole.json"))
    );
    assert_eq!(
        reading.delivered_text,
        "The user asks for the weather.Let me look – it’s quick.get_weather\
         {\"location\": \"San Francisco, CA\"}"
    );
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
}

#[test]
fn searches_and_later_counts_are_taken_from_the_end() {
    let reading = stream(SEARCH).read();
    assert_eq!(
        line(&reading),
        "msg_01S claude-opus-4-1-20250805 end_turn {input:10682,output:510,searches:1}"
    );
    assert_eq!(
        body(&reading),
        json(include_bytes!("../../testdata/anthropic/search.whole.json"))
    );
}

#[test]
fn a_cut_stream_keeps_the_input_and_counts_what_was_delivered() {
    let reading = stream(TOOLS).read_until("event: message_delta");
    let usage = reading.usage.unwrap();
    let counted = crate::tokens::count("claude-sonnet-4-5-20250929", &reading.delivered_text);
    assert_eq!(
        (usage.input, usage.cache_read, usage.estimated),
        (472, 1024, true)
    );
    assert_eq!(usage.output, counted.max(2));
    assert_eq!(reading.finish_reason, None);

    let in_a_call = stream(TOOLS).read_until("{\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\" Fr");
    assert_eq!(
        body(&in_a_call)["content"][2]["input"],
        "{\"location\": \"San"
    );
}

#[test]
fn an_error_in_a_stream_is_told_and_kept() {
    let reading = stream(OVERLOADED).read();
    let usage = reading.usage.unwrap();
    assert_eq!((usage.input, usage.estimated), (30, true));
    assert_eq!(reading.error_code.as_deref(), Some("overloaded_error"));
    assert_eq!(
        body(&reading),
        json(include_bytes!(
            "../../testdata/anthropic/overloaded.whole.json"
        ))
    );
    let only = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    let reading = stream(only).read();
    assert_eq!(line(&reading), "- - - - !api_error");
    assert_eq!(body(&reading)["error"]["message"], "m");
}

#[test]
fn an_error_answer_tells_its_type() {
    let reading = whole(include_bytes!("../../testdata/anthropic/error.json")).read_error(429);
    assert_eq!(line(&reading), "- - - - !rate_limit_error");
}

#[test]
fn a_legacy_completion_has_no_usage_but_its_text() {
    let legacy = |bytes| Recording {
        operation: Operation::TextCompletion,
        ..stream(bytes)
    };
    let reading = legacy(COMPLETION).read();
    assert_eq!(line(&reading), "compl_01 claude-2.1 stop_sequence -");
    assert_eq!(reading.delivered_text, " Hello!");
    let expected = json(include_bytes!(
        "../../testdata/anthropic/completion.whole.json"
    ));
    assert_eq!(body(&reading), expected);

    let bytes = include_bytes!("../../testdata/anthropic/completion.whole.json");
    let reading = Recording {
        operation: Operation::TextCompletion,
        ..whole(bytes)
    }
    .read();
    assert_eq!(line(&reading), "compl_01 claude-2.1 stop_sequence -");
    assert_eq!(reading.delivered_text, " Hello!");
}

#[test]
fn counting_tokens_uses_none() {
    let bytes = br#"{"input_tokens":2095,"usage":{"input_tokens":2095}}"#;
    let reading = Recording {
        operation: Operation::CountTokens,
        ..whole(bytes)
    }
    .read();
    assert_eq!(reading.usage, None);
}

#[test]
fn a_compaction_is_billed_too() {
    let bytes = br#"{"type":"message","usage":{"input_tokens":23000,"output_tokens":1000,"iterations":[
        {"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":7},
        {"type":"message","input_tokens":23000,"output_tokens":1000}]}}"#;
    let usage = whole(bytes).read().usage.unwrap();
    assert_eq!(
        (usage.input, usage.cache_read, usage.output),
        (203_000, 7, 4_500)
    );
}

#[test]
fn absurd_counts_saturate() {
    let bytes = br#"{"usage":{"input_tokens":1e300,"output_tokens":-5,
        "cache_creation":{"ephemeral_5m_input_tokens":18446744073709551615,"ephemeral_1h_input_tokens":9}}}"#;
    let usage = whole(bytes).read().usage.unwrap();
    assert_eq!(
        (usage.input, usage.output, usage.cache_write_1h),
        (u64::MAX, 0, 9)
    );
    assert_eq!(usage.total(), u64::MAX);
}

#[test]
fn any_split_of_a_stream_reads_the_same() {
    for bytes in [TOOLS, SEARCH, OVERLOADED, COMPLETION] {
        stream(bytes).check_any_split();
    }
}

#[test]
fn the_first_token_is_the_first_content() {
    let at = memchr::memmem::find(TOOLS, b"event: ping").unwrap();
    let reading = stream(TOOLS).read_at(&[at, TOOLS.len() - 200]);
    assert_eq!(reading.first_token_chunk, Some(1));
}

#[test]
fn paths_tell_the_operation() {
    let check = |method, path, operation, model: Option<&str>| {
        let facts = facts(method, path);
        assert_eq!(
            (facts.operation, facts.model.as_deref()),
            (operation, model),
            "{path}"
        );
    };
    check("POST", "/v1/messages", Operation::Chat, None);
    check("POST", "/anthropic/v1/messages", Operation::Chat, None);
    check(
        "POST",
        "/v1/messages/count_tokens",
        Operation::CountTokens,
        None,
    );
    check("POST", "/v1/complete", Operation::TextCompletion, None);
    check("GET", "/v1/models", Operation::Models, None);
    check(
        "GET",
        "/v1/models/claude-opus-4-1",
        Operation::Models,
        Some("claude-opus-4-1"),
    );
    check("POST", "/v1/messages/batches", Operation::Other, None);
    check(
        "GET",
        "/v1/messages/batches/msgbatch_1/results",
        Operation::Other,
        None,
    );
    check("POST", "/v1/files", Operation::Other, None);
}

#[test]
fn a_gap_in_the_capture_leaves_the_usage_whole() {
    let reading = stream(TOOLS).read_gap(900, 300);
    assert_eq!(
        line(&reading),
        "msg_01T claude-sonnet-4-5-20250929 tool_use {input:472,cache_read:1024,output:89}"
    );
}
