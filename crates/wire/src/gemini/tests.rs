use isango_types::{Operation, Wire};

use super::facts;
use crate::facts::Facts;
use crate::recordings::{Recording, body, json, line};

fn stream(bytes: &[u8]) -> Recording<'_> {
    Recording {
        wire: Wire::Gemini,
        operation: Operation::GenerateContent,
        content_type: "text/event-stream",
        bytes,
    }
}

fn whole(bytes: &[u8]) -> Recording<'_> {
    Recording {
        content_type: "application/json; charset=UTF-8",
        ..stream(bytes)
    }
}

const STREAM: &[u8] = include_bytes!("../../testdata/gemini/stream.sse");
const ARRAY: &[u8] = include_bytes!("../../testdata/gemini/stream.json");
const CLAUDE: &[u8] = include_bytes!("../../testdata/gemini/claude.sse");

#[test]
fn a_whole_answer_tells_every_kind_of_token_once() {
    let reading = whole(include_bytes!("../../testdata/gemini/answer.json")).read();
    assert_eq!(
        line(&reading),
        "mAitaLmkHPPlz7IPvtfUqQ4 gemini-2.5-flash STOP {input:72,cache_read:900,audio_input:200,\
         audio_cache_read:100,image_input:258,output:20,reasoning:150}"
    );
    assert_eq!(reading.usage.unwrap().total(), 1_700);
}

#[test]
fn a_picture_is_output_of_its_own_kind() {
    let reading = whole(include_bytes!("../../testdata/gemini/picture.json")).read();
    assert_eq!(
        line(&reading),
        "pic1 gemini-2.5-flash-image STOP {input:9,output:8,image_output:1290}"
    );
    assert_eq!(reading.usage.unwrap().total(), 1_307);
}

#[test]
fn a_rest_of_the_total_that_nothing_explains_is_thoughts() {
    let bytes = br#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":40}}"#;
    assert_eq!(
        line(&whole(bytes).read()),
        "- - - {input:10,output:5,reasoning:25}"
    );
}

#[test]
fn a_refused_prompt_tells_why() {
    let bytes = include_bytes!("../../testdata/gemini/refused.json");
    let expected = "ref1 gemini-2.5-pro PROHIBITED_CONTENT {input:7}";
    assert_eq!(line(&whole(bytes).read()), expected);
    let event = [b"data: ", bytes.trim_ascii(), b"\n\n"].concat();
    let reading = stream(&event).read();
    assert_eq!(line(&reading), expected);
    assert_eq!(body(&reading), json(bytes));
}

#[test]
fn both_spellings_of_a_stream_become_the_same_answer() {
    for recording in [stream(STREAM), whole(ARRAY)] {
        let reading = recording.read();
        assert_eq!(
            line(&reading),
            "r-1 gemini-2.5-pro STOP {input:11,output:25,reasoning:41}"
        );
        assert!(reading.is_stream);
        assert_eq!(reading.events, 6);
        assert_eq!(
            body(&reading),
            json(include_bytes!("../../testdata/gemini/stream.whole.json"))
        );
        assert_eq!(
            reading.delivered_text,
            "Planning the answer.GrüßeHello aus Lissabon 🌞get_weather{\"city\":\"Lisbon\"} from Lisbon"
        );
    }
}

#[test]
fn a_cut_stream_is_charged_for_what_was_delivered() {
    let reading = stream(STREAM)
        .read_until("{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" from");
    let usage = reading.usage.unwrap();
    let counted = crate::tokens::count("gemini-2.5-pro", &reading.delivered_text);
    assert_eq!(
        (usage.input, usage.reasoning, usage.estimated),
        (11, 41, true)
    );
    assert_eq!(usage.total_output(), counted.max(62));
    assert_eq!(reading.finish_reason, None);
    assert_eq!(
        body(&reading)["candidates"][1]["content"]["parts"][0]["text"],
        "Hello"
    );
}

#[test]
fn an_error_in_a_stream_is_told_and_kept() {
    let error: &[u8] = include_bytes!("../../testdata/gemini/error.json");
    let cut = memchr::memmem::find(
        STREAM,
        b"data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Gr",
    )
    .unwrap();
    let broken = [&STREAM[..cut], b"data: ", error.trim_ascii(), b"\n\n"].concat();
    let reading = stream(&broken).read();
    assert_eq!(reading.error_code.as_deref(), Some("RESOURCE_EXHAUSTED"));
    assert_eq!(body(&reading)["error"]["code"], 429);
    assert_eq!(
        body(&reading)["candidates"][0]["content"]["parts"][0]["thought"],
        true
    );

    assert_eq!(
        line(&whole(error).read_error(429)),
        "- - - - !RESOURCE_EXHAUSTED"
    );
    let in_array = [b"[", error, b"]"].concat();
    assert_eq!(
        line(&whole(&in_array).read_error(429)),
        "- - - - !RESOURCE_EXHAUSTED"
    );
}

#[test]
fn predictions_tell_images_or_tokens() {
    let image = Recording {
        operation: Operation::Image,
        ..whole(include_bytes!("../../testdata/gemini/imagen.json"))
    };
    assert_eq!(line(&image.read()), "- - - {images:2}");
    let embeddings = Recording {
        operation: Operation::Embeddings,
        ..whole(include_bytes!("../../testdata/gemini/embeddings.json"))
    };
    assert_eq!(line(&embeddings.read()), "- - - {input:10,characters:41}");
    let native = Recording {
        operation: Operation::Embeddings,
        ..whole(br#"{"embedding":{"values":[0.1,0.2]}}"#)
    };
    assert_eq!(line(&native.read()), "- - - -");
}

#[test]
fn counting_tokens_uses_none() {
    let bytes = br#"{"totalTokens":31,"usageMetadata":{"promptTokenCount":31}}"#;
    let reading = Recording {
        operation: Operation::CountTokens,
        ..whole(bytes)
    }
    .read();
    assert_eq!(reading.usage, None);
}

#[test]
fn claude_on_vertex_is_read_as_claude() {
    let reading = stream(CLAUDE).read();
    assert_eq!(
        line(&reading),
        "msg_vrtx_01 claude-sonnet-4-5-20250929 end_turn {input:9,output:5}"
    );
    assert_eq!(body(&reading)["content"][0]["text"], "Hi");
    let message = whole(include_bytes!("../../testdata/anthropic/message.json")).read();
    assert_eq!(message.usage.unwrap().cache_write_1h, 200);
}

#[test]
fn openai_compatible_endpoints_are_read_as_openai() {
    let bytes = br#"{"id":"c1","object":"chat.completion","model":"google/gemini-2.5-pro","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    assert_eq!(
        line(&whole(bytes).read()),
        "c1 google/gemini-2.5-pro stop {input:3,output:2}"
    );
}

#[test]
fn any_split_of_a_stream_reads_the_same() {
    stream(STREAM).check_any_split();
    whole(ARRAY).check_any_split();
    stream(CLAUDE).check_any_split();
}

#[track_caller]
fn check_path(path: &str, operation: Operation, model: &str, stream: Option<bool>) {
    let facts = facts("POST", path);
    assert_eq!(
        (facts.operation, facts.model.as_deref(), facts.stream),
        (operation, Some(model), stream),
        "{path}"
    );
}

#[test]
fn paths_tell_operation_model_and_stream() {
    use Operation::{CountTokens, Embeddings, GenerateContent, Models, Other};
    let check = |rest: &str, operation, model, stream| {
        check_path(&format!("/v1beta/models/{rest}"), operation, model, stream);
    };
    let (on, off) = (Some(true), Some(false));
    let pro = "gemini-2.5-pro";
    check("gemini-2.5-pro:generateContent", GenerateContent, pro, off);
    check(
        "gemini-2.5-pro:streamGenerateContent",
        GenerateContent,
        pro,
        on,
    );
    check(
        "gemini-2.5-pro%3AstreamGenerateContent",
        GenerateContent,
        pro,
        on,
    );
    check("gemini-2.5-pro:countTokens", CountTokens, pro, off);
    check(
        "gemini-embedding-001:embedContent",
        Embeddings,
        "gemini-embedding-001",
        off,
    );
    check(
        "gemini-embedding-001:batchEmbedContents",
        Embeddings,
        "gemini-embedding-001",
        off,
    );
    check("x:batchGenerateContent", Other, "x", None);
    assert_eq!(facts("POST", "/upload/v1beta/files"), Facts::default());
    assert_eq!(facts("GET", "/v1beta/models").operation, Models);
    let described = facts("GET", "/v1beta/models/gemini-2.5-pro");
    assert_eq!(
        (described.operation, described.model.as_deref()),
        (Models, Some(pro))
    );
    let compatible = facts("POST", "/v1beta/openai/chat/completions");
    assert_eq!(compatible.operation, Operation::Chat);
}

#[test]
fn paths_of_vertex_tell_the_same_of_every_publisher() {
    use Operation::{Chat, CountTokens, Embeddings, GenerateContent, Image, Video};
    let check = |rest: &str, operation, stream| {
        let path = format!("/v1/projects/p/locations/us-central1/publishers/{rest}");
        let model = rest.rsplit('/').next().unwrap().split(':').next().unwrap();
        check_path(&path, operation, model, stream);
    };
    let (on, off) = (Some(true), Some(false));
    check(
        "google/models/gemini-2.5-pro:streamGenerateContent",
        GenerateContent,
        on,
    );
    check("google/models/imagen-4.0-generate-001:predict", Image, off);
    check("google/models/text-embedding-005:predict", Embeddings, off);
    check(
        "google/models/veo-3.0-generate-001:predictLongRunning",
        Video,
        off,
    );
    check(
        "anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
        Chat,
        on,
    );
    check(
        "anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
        Chat,
        None,
    );
    check("anthropic/models/count-tokens:rawPredict", CountTokens, off);
}

#[test]
fn a_gap_in_the_capture_leaves_the_usage_whole() {
    for recording in [stream(STREAM), whole(ARRAY)] {
        let reading = recording.read_gap(recording.bytes.len() / 3, 700);
        let usage = reading.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (11, 25, 41));
    }
}

#[test]
fn what_a_cache_holds_is_not_used_by_describing_it() {
    let bytes = br#"{"name":"cachedContents/1","usageMetadata":{"totalTokenCount":696190}}"#;
    let reading = Recording {
        operation: Operation::Other,
        ..whole(bytes)
    }
    .read();
    assert_eq!(reading.usage, None);
}
