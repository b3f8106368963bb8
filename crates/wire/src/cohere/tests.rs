use isango_types::{Operation, Wire};

use super::facts;
use crate::recordings::{Recording, body, json, line};

fn stream(bytes: &[u8]) -> Recording<'_> {
    Recording {
        wire: Wire::Cohere,
        operation: Operation::Chat,
        content_type: "text/event-stream",
        bytes,
    }
}

fn lines(bytes: &[u8]) -> Recording<'_> {
    Recording {
        content_type: "application/stream+json",
        ..stream(bytes)
    }
}

fn whole(bytes: &[u8]) -> Recording<'_> {
    Recording {
        content_type: "application/json",
        ..stream(bytes)
    }
}

const CHAT: &[u8] = include_bytes!("../../testdata/cohere/chat.sse");
const V1: &[u8] = include_bytes!("../../testdata/cohere/v1.jsonl");

#[test]
fn tokens_are_all_that_the_model_read_and_wrote() {
    let reading = whole(include_bytes!("../../testdata/cohere/chat.json")).read();
    assert_eq!(
        line(&reading),
        "c14c80c3-18eb-4519-9460-6c92edd8cfb4 - COMPLETE {input:23,cache_read:48,output:9}"
    );
}

#[test]
fn a_stream_becomes_the_answer_it_would_have_been() {
    let reading = stream(CHAT).read();
    assert_eq!(
        line(&reading),
        "29f14a5a-11de-4cae-9800-25e4747408ea - COMPLETE {input:906,output:60}"
    );
    assert_eq!(
        body(&reading),
        json(include_bytes!("../../testdata/cohere/chat.whole.json"))
    );
    assert_eq!(
        reading.delivered_text,
        "I will look.get_weather{\"city\":\"Lisbon\"}Hm.It is sunny."
    );
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
}

#[test]
fn version_1_ends_with_the_whole_answer() {
    let whole = json(V1.split(|byte| *byte == b'\n').nth(3).unwrap());
    let events: Vec<u8> = V1
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .flat_map(|line| [b"data: ", line, b"\n\n"].concat())
        .collect();
    for recording in [lines(V1), stream(&events)] {
        let reading = recording.read();
        assert_eq!(line(&reading), "gen-1 - COMPLETE {input:68,output:6}");
        assert_eq!(body(&reading), whole["response"]);
        assert_eq!(reading.delivered_text, "Olá, mundo");
    }
}

#[test]
fn cut_streams_have_their_text_for_the_count() {
    let reading = stream(CHAT).read_until("event: citation-start");
    assert_eq!(line(&reading), "29f14a5a-11de-4cae-9800-25e4747408ea - - -");
    assert_eq!(
        body(&reading)["message"]["content"][1]["text"],
        "It is sunny."
    );

    let reading = lines(V1).read_until("{\"is_finished\":true");
    assert_eq!(line(&reading), "gen-1 - - -");
    assert_eq!(reading.delivered_text, "Olá, mundo");
    assert_eq!(body(&reading)["text"], "Olá, mundo");
}

#[test]
fn a_failed_generation_ends_with_its_error() {
    let bytes = b"data: {\"type\":\"message-start\",\"id\":\"m\"}\n\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"boom\"}}\n\n";
    let reading = stream(bytes).read();
    assert_eq!(line(&reading), "m - ERROR - !ERROR");
    assert_eq!(body(&reading)["error"], "boom");
}

#[test]
fn an_error_answer_has_no_code() {
    let reading = whole(include_bytes!("../../testdata/cohere/error.json")).read_error(404);
    assert_eq!(line(&reading), "- - - -");
}

#[test]
fn embed_and_rerank_tell_what_they_bill() {
    let embed = Recording {
        operation: Operation::Embeddings,
        ..whole(include_bytes!("../../testdata/cohere/embed.json"))
    };
    assert_eq!(
        line(&embed.read()),
        "da6e531f-54c5-4a73-bf92-f60566d8d753 - - {input:2}"
    );
    let rerank = Recording {
        operation: Operation::Rerank,
        ..whole(include_bytes!("../../testdata/cohere/rerank.json"))
    };
    assert_eq!(
        line(&rerank.read()),
        "07734bd2-2473-4f07-94e1-0d9f0e6843cf - - {searches:1}"
    );
}

#[test]
fn the_compatible_endpoint_is_read_as_openai() {
    let bytes = br#"{"id":"c","object":"chat.completion","model":"command-a-03-2025","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5}}"#;
    assert_eq!(
        line(&whole(bytes).read()),
        "c command-a-03-2025 stop {input:4,output:1}"
    );
}

#[test]
fn any_split_of_a_stream_reads_the_same() {
    stream(CHAT).check_any_split();
    lines(V1).check_any_split();
}

#[test]
fn paths_tell_the_operation() {
    let check = |method, path, operation| {
        assert_eq!(facts(method, path).operation, operation, "{path}");
    };
    check("POST", "/v2/chat", Operation::Chat);
    check("POST", "/v1/chat", Operation::Chat);
    check("POST", "/v1/generate", Operation::TextCompletion);
    check("POST", "/v2/embed", Operation::Embeddings);
    check("POST", "/v2/rerank", Operation::Rerank);
    check("POST", "/v1/classify", Operation::Moderation);
    check("POST", "/v1/tokenize", Operation::CountTokens);
    check(
        "POST",
        "/compatibility/v1/chat/completions",
        Operation::Chat,
    );
    check("GET", "/v1/models", Operation::Models);
    check("POST", "/v1/embed-jobs", Operation::Other);
}
