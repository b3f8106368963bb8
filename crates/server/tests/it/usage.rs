//! What an exchange used and cost, told by the providers' recorded answers through sockets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT, cut, multipart};
use isango_testkit::upstream::Upstream;
use isango_types::Record;
use isango_types::price::CostStatus;
use isango_wire::tokens;

use crate::harness::{self, Harness};

/// A recorded answer.
pub(crate) fn recording(name: &str) -> Bytes {
    let path = format!("{}/../wire/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).expect(&path).into()
}

/// The answer in odd pieces, as a stream or a whole one by its name.
fn answer(name: &str) -> Answer {
    let pieces = cut(&recording(name), 97, 3);
    if name.ends_with(".sse") {
        sse(pieces)
    } else {
        json("").chunked(pieces)
    }
}

const SETTINGS: &str = "[[gateways]]\nid = \"default\"\n\
    [[gateways.targets]]\nname = \"sa\"\nprovider = \"azure-openai\"\nresource = \"res\"\n\
    models = { chat = \"gpt-4o\", odd = \"my-own-model\" }\n";

/// Asks `path` with `body`; the record of what came back.
async fn record_of(path: &str, body: &str, answer: Answer) -> Record {
    let request = Ask::post(&format!("/v1/local/default/{path}"), body.to_owned());
    ask(&request.with("authorization", "Bearer k"), answer).await
}

async fn ask(request: &Ask, answer: Answer) -> Record {
    let upstream = Upstream::start([answer]).await;
    let url = upstream.url();
    let more = format!(
        "[providers.cohere]\nbase_url = \"{url}/v1\"\n\
         [providers.aws-bedrock]\nbase_url = \"{url}/{{service}}/{{region}}\"\n\
         [providers.custom-acme]\nbase_url = \"{url}\"\n"
    );
    let gateway = Harness::start(&format!(
        "{SETTINGS}{}{more}",
        harness::providers(&upstream)
    ))
    .await;
    gateway.ask(request).await;
    gateway.record().await
}

/// Usage without quotes, status of the cost, nano-dollars.
fn told(record: &Record) -> String {
    let usage = record
        .usage
        .map_or("-".into(), |usage| serde_json::to_string(&usage).unwrap());
    let cost = record
        .cost
        .nanousd
        .map_or("-".into(), |nanousd| nanousd.to_string());
    format!(
        "{} {} {cost}",
        usage.replace('"', ""),
        record.cost.status.as_str()
    )
}

/// The recordings (plain, gzip) all say the same.
async fn check(path: &str, model: &str, recordings: &[&str], expected: &str) {
    let is_azure = path.starts_with("azure-openai");
    for name in recordings {
        let stream = name.ends_with(".sse");
        let body = format!(r#"{{"model":"{model}","stream":{stream},"input":"x"}}"#);
        for answer in [answer(name), answer(name).gzipped()] {
            let record = record_of(path, &body, answer).await;
            assert_eq!(told(&record), expected, "{path} {name}");
            assert_eq!(record.stream, stream, "{name}");
            assert_eq!(record.model_requested.as_deref(), Some(model), "{name}");
            assert_eq!(record.deployment.is_some(), is_azure, "{name}");
            let total = record.usage.unwrap().total();
            assert!(total > 0 || record.usage.unwrap().images > 0);
        }
    }
}

#[tokio::test]
async fn openai_tells_every_kind_of_token() {
    // 11 × 2.5 + 8 × 1.25 + 12 × 10 USD per million.
    let chat = "{input:11,cache_read:8,output:12} priced 157500";
    check(
        "openai/chat/completions",
        "gpt-4o",
        &["openai/chat.json", "openai/chat.sse"],
        chat,
    )
    .await;
    let completion = "{input:5,output:2} priced 11500";
    let recordings = ["openai/completion.json", "openai/completion.sse"];
    check(
        "openai/completions",
        "gpt-3.5-turbo-instruct",
        &recordings,
        completion,
    )
    .await;
    // 21 × 1.25 + 16 × 0.125 + 91 × 10, and a search.
    let responses = "{input:21,cache_read:16,output:27,reasoning:64,searches:1} priced 10938250";
    let recordings = ["openai/responses.json", "openai/responses.sse"];
    check("openai/responses", "gpt-5", &recordings, responses).await;
    let embeddings = "{input:8} priced 160";
    check(
        "openai/embeddings",
        "text-embedding-3-small",
        &["openai/embeddings.json"],
        embeddings,
    )
    .await;
}

#[tokio::test]
async fn pictures_and_sound_are_priced_as_what_they_are() {
    // 10 × 5 + 40 × 10 + 1056 × 40.
    let image = "{input:10,image_input:40,image_output:1056} priced 42690000";
    let recordings = ["openai/image.json", "openai/image.sse"];
    check(
        "openai/images/generations",
        "gpt-image-1",
        &recordings,
        image,
    )
    .await;
    // Pieces have no price here: that is told, not 0.
    check(
        "openai/images/generations",
        "dall-e-3",
        &["openai/dalle.json"],
        "{images:2} unpriced -",
    )
    .await;
    // 14 × 0.6 + 101 × 12.
    let speech = "{input:14,audio_output:101} priced 1220400";
    check(
        "openai/audio/speech",
        "gpt-4o-mini-tts",
        &["openai/speech.sse"],
        speech,
    )
    .await;
}

#[tokio::test]
async fn a_form_names_its_model() {
    let (content_type, parts) = multipart(100_000);
    let request = Ask::new("POST", "/v1/local/default/openai/audio/transcriptions")
        .with("authorization", "Bearer k")
        .with("content-type", &content_type)
        .chunked(parts);
    let record = ask(&request, answer("openai/whisper_verbose.json")).await;
    assert_eq!(record.model_requested.as_deref(), Some("whisper-1"));
    // 8.47 s of 0.36 USD an hour.
    assert_eq!(told(&record), "{audio_ms:8470} priced 847000");
}

#[tokio::test]
async fn azure_is_priced_by_the_answers_model_else_by_the_deployment_map() {
    // 12 × 2.5 + 3 × 10.
    let priced = "{input:12,output:3} priced 60000";
    let recordings = ["openai/azure.json", "openai/azure.sse"];
    check(
        "azure-openai/res/anything/chat/completions",
        "ignored",
        &recordings,
        priced,
    )
    .await;
    for (deployment, expected, model) in [
        ("chat", "priced 97500", "gpt-4o"),
        // An operator's own model has no price; a deployment that nobody mapped neither.
        ("odd", "unpriced -", "my-own-model"),
        ("unmapped", "unpriced -", ""),
    ] {
        let unnamed = COMPLETION.replace(r#""model":"gpt-4o-2024-08-06","#, "");
        let path = format!("azure-openai/res/{deployment}/chat/completions");
        let record = record_of(&path, r#"{"messages":[]}"#, json(unnamed)).await;
        assert_eq!(
            told(&record),
            format!("{{input:19,output:5}} {expected}"),
            "{deployment}"
        );
        assert_eq!(
            record.model.as_deref().unwrap_or_default(),
            model,
            "{deployment}"
        );
    }
}

#[tokio::test]
async fn anthropic_tells_its_cache_by_lifetime() {
    // 12 × 3 + 2048 × 0.3 + 100 × 3.75 + 200 × 6 + 4 × 15.
    let message =
        "{input:12,cache_read:2048,cache_write:100,cache_write_1h:200,output:4} priced 2285400";
    let path = "anthropic/v1/messages";
    check(
        path,
        "claude-sonnet-4-5",
        &["anthropic/message.json"],
        message,
    )
    .await;
    // 472 × 3 + 1024 × 0.3 + 89 × 15.
    let tools = "{input:472,cache_read:1024,output:89} priced 3058200";
    check(path, "claude-sonnet-4-5", &["anthropic/tools.sse"], tools).await;
    // 10682 × 15 + 510 × 75, and a search.
    let search = "{input:10682,output:510,searches:1} priced 208480000";
    check(path, "claude-opus-4-1", &["anthropic/search.sse"], search).await;
}

#[tokio::test]
async fn gemini_tells_every_modality() {
    let models = "/v1/local/default/google-ai-studio/v1beta/models";
    for (path, recording, expected) in [
        (
            "gemini-2.5-flash:generateContent",
            "gemini/answer.json",
            // 330 × 0.3 + 900 × 0.03 + 200 × 1 + 100 × 0.1 + 170 × 2.5.
            "{input:72,cache_read:900,audio_input:200,audio_cache_read:100,image_input:258,\
             output:20,reasoning:150} priced 761000",
        ),
        // 11 × 1.25 + 66 × 10.
        (
            "gemini-2.5-pro:streamGenerateContent?alt=sse",
            "gemini/stream.sse",
            "{input:11,output:25,reasoning:41} priced 673750",
        ),
        (
            "gemini-2.5-pro:streamGenerateContent",
            "gemini/stream.json",
            "{input:11,output:25,reasoning:41} priced 673750",
        ),
    ] {
        let request = Ask::post(&format!("{models}/{path}"), r#"{"contents":[]}"#)
            .with("x-goog-api-key", "k");
        let record = ask(&request, answer(recording)).await;
        assert_eq!(told(&record), expected, "{path}");
        assert_eq!(record.stream, path.contains("stream"), "{path}");
        let model = path.split(':').next();
        assert_eq!(
            (record.model_requested.as_deref(), record.model.as_deref()),
            (model, model)
        );
    }
}

#[tokio::test]
async fn cohere_names_no_model_so_the_requests_counts() {
    let stream = "{input:906,output:60} priced 2865000";
    check(
        "cohere/v2/chat",
        "command-a-03-2025",
        &["cohere/chat.sse"],
        stream,
    )
    .await;
    let embed = "{input:2} priced 240";
    check(
        "cohere/v2/embed",
        "embed-v4.0",
        &["cohere/embed.json"],
        embed,
    )
    .await;
}

/// A message of an AWS event stream: total length, length of the headers, their checksum, the
/// headers, the payload, the checksum of all. Source: Amazon event stream encoding.
pub(crate) fn aws_event(name: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (key, value) in [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        headers.push(u8::try_from(key.len()).unwrap());
        headers.extend_from_slice(key.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = 16 + headers.len() + payload.len();
    let mut message = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    message.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&crc32(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32(&message).to_be_bytes());
    message
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    })
}

/// The messages of a recording with a name and a payload on each line.
pub(crate) fn aws_events(recording: &[u8]) -> Vec<u8> {
    let lines = std::str::from_utf8(recording).unwrap().lines();
    let events = lines.map(|line| line.split_once(' ').unwrap());
    events
        .flat_map(|(name, payload)| aws_event(name, payload))
        .collect()
}

/// The messages of a recording with what a chunk holds on each line.
pub(crate) fn aws_chunks(recording: &[u8]) -> Vec<u8> {
    let lines = recording.split(|byte| *byte == b'\n');
    let chunks = lines.filter(|line| !line.is_empty()).map(|line| {
        let packed = STANDARD.encode(line);
        format!("{{\"bytes\":\"{packed}\",\"p\":\"abcd\"}}")
    });
    chunks
        .flat_map(|payload| aws_event("chunk", &payload))
        .collect()
}

#[tokio::test]
async fn bedrock_is_read_whole_and_streamed() {
    let model = "global.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let path = format!(
        "/v1/local/default/aws-bedrock/bedrock-runtime/us-east-1/model/{}",
        model.replace(':', "%3A")
    );
    let post = |verb: &str| {
        Ask::post(&format!("{path}/{verb}"), r#"{"messages":[]}"#).with("authorization", "Bearer k")
    };
    let record = ask(&post("converse"), answer("bedrock/converse.json")).await;
    // 11 × 3 + 2048 × 0.3 + 100 × 3.75 + 200 × 6 + 9 × 15.
    assert_eq!(
        told(&record),
        "{input:11,cache_read:2048,cache_write:100,cache_write_1h:200,output:9} priced 2357400"
    );
    assert_eq!(record.model.as_deref(), Some(model));
    assert_eq!(record.resource.as_deref(), Some("us-east-1"));
    let events = recording("bedrock/converse_stream.events");
    let stream = Answer::new(200)
        .header("content-type", "application/vnd.amazon.eventstream")
        .chunked(cut(&aws_events(&events).into(), 50, 9));
    let record = ask(&post("converse-stream"), stream).await;
    // 382 × 3 + 66 × 15.
    assert_eq!(told(&record), "{input:382,output:66} priced 2136000");
    assert!(record.stream && record.response.events > 5);
}

#[tokio::test]
async fn what_is_not_known_is_null_and_never_0() {
    // No price for the model.
    let unknown = COMPLETION.replace("gpt-4o-2024-08-06", "brand-new-1");
    let body = PROMPT.replace("gpt-4o", "brand-new-1");
    let record = record_of("openai/chat/completions", &body, json(unknown)).await;
    assert_eq!(told(&record), "{input:19,output:5} unpriced -");
    // No usage, nothing to count.
    let record = record_of("openai/embeddings", PROMPT, json(r#"{"data":[]}"#)).await;
    assert_eq!(told(&record), "- no_usage -");
    let record = record_of("openai/chat/completions", PROMPT, json("not json")).await;
    assert_eq!(record.cost.nanousd, None);
    // A provider whose format nobody knows.
    let record = record_of("custom-acme/x", PROMPT, json(r#"{"hello":1}"#)).await;
    assert_eq!(
        record.cost.status,
        CostStatus::Free,
        "an unknown call is not billed: {}",
        told(&record)
    );
}

#[tokio::test]
async fn an_error_answer_is_free_whatever_it_says() {
    for status in [400, 401, 404, 408, 429, 500, 502, 503, 529] {
        let body = COMPLETION.replacen('{', r#"{"error":{"code":"x"},"#, 1);
        let error = Answer::new(status)
            .header("content-type", "application/json")
            .body(body);
        let record = record_of("openai/chat/completions", PROMPT, error).await;
        assert_eq!(
            (record.cost.status, record.cost.nanousd),
            (CostStatus::Free, Some(0))
        );
        assert_eq!(&*record.error.unwrap().code, format!("upstream_{status}"));
    }
    let models = record_of("openai/models", PROMPT, json(r#"{"data":[]}"#)).await;
    assert_eq!(told(&models), "- free 0");
}

#[tokio::test]
async fn a_send_that_nobody_saw_the_answer_of_is_not_free() {
    // The provider may have worked on it.
    for (end, expected) in [
        (Step::Reset, "- no_usage -"),
        (Step::Close, "- no_usage -"),
        // The client's own timeout is a way to leave.
        (Step::Stall, "{input:13,estimated:true} estimated 32500"),
    ] {
        let request = Ask::post("/v1/local/default/openai/chat/completions", PROMPT)
            .with("authorization", "Bearer k")
            .with("cf-aig-request-timeout", "200");
        let record = ask(&request, Answer::raw([Step::ReadBody, end.clone()])).await;
        assert_eq!(told(&record), expected, "{end:?} {:?}", record.error);
    }
    // What never reached it costs nothing.
    let gateway =
        Harness::start("[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\n").await;
    let request = Ask::post("/v1/local/default/openai/chat/completions", PROMPT);
    gateway
        .ask(&request.with("authorization", "Bearer k"))
        .await;
    let record = gateway.record().await;
    assert_eq!(told(&record), "- free 0", "{:?}", record.error);
}

#[tokio::test]
async fn speech_is_priced_by_the_characters_that_were_asked_for() {
    let sound = || {
        Answer::new(200)
            .header("content-type", "audio/mpeg")
            .body(vec![0xFF; 2_000])
    };
    let body = r#"{"model":"tts-1","input":"Hello","voice":"alloy"}"#;
    let record = record_of("openai/audio/speech", body, sound()).await;
    // 5 characters at 15 USD per million.
    assert_eq!(record.cost.nanousd, Some(75_000), "{}", told(&record));
    assert_eq!(record.cost.status, CostStatus::Estimated);
    // Billed by what it says, of which nothing is known.
    let body = body.replace("tts-1", "gpt-4o-mini-tts");
    let record = record_of("openai/audio/speech", &body, sound()).await;
    assert_eq!(told(&record), "- no_usage -");
}

#[tokio::test]
async fn an_answer_that_was_cut_is_charged_for_what_had_come() {
    let (begun, _) = COMPLETION.split_at(COMPLETION.find("\"usage\"").unwrap());
    let cut = json("").announcing(COMPLETION.len() as u64);
    let record = record_of(
        "openai/chat/completions",
        PROMPT,
        cut.then(Step::Data(begun.to_owned().into()))
            .then(Step::Close),
    )
    .await;
    let usage = record.usage.unwrap();
    assert!(
        usage.estimated && usage.input > 2 && usage.output > 2,
        "{usage:?}"
    );
    assert!(record.cost.nanousd.is_some_and(|cost| cost > 0));
}

#[tokio::test]
async fn a_stream_that_tells_nothing_is_counted() {
    let silent = recording("openai/chat.sse");
    let text = std::str::from_utf8(&silent).unwrap();
    let events: Vec<String> = text
        .split_inclusive("\n\n")
        .filter(|event| !event.contains("\"choices\":[]"))
        .map(|event| event.replace(",\"usage\":null", ""))
        .collect();
    assert!(!events.concat().contains("prompt_tokens"));
    let body =
        r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi there"}]}"#;
    for path in [
        "openai/chat/completions",
        "azure-openai/res/chat/chat/completions",
    ] {
        let record = record_of(path, body, sse(events.clone())).await;
        let usage = record.usage.unwrap();
        assert!(
            usage.estimated && usage.input > 2 && usage.output > 2,
            "{usage:?}"
        );
        let cost = usage.input * 2_500 + usage.output * 10_000;
        assert_eq!(
            (record.cost.status, record.cost.nanousd),
            (CostStatus::Estimated, Some(cost))
        );
        let Some(isango_types::record::Body::Json(whole)) = record.response.body else {
            panic!("the stream was put together")
        };
        let whole: serde_json::Value = serde_json::from_str(whole.get()).unwrap();
        let choices = whole["choices"].as_array().unwrap().iter();
        let text: String = choices
            .map(|choice| choice["message"]["content"].as_str().unwrap())
            .collect();
        assert_eq!(
            usage,
            tokens::estimate(body.as_bytes(), &text, "gpt-4o-2024-08-06")
        );
    }
}

#[tokio::test]
async fn a_cut_stream_is_charged_for_what_was_delivered() {
    let events: Vec<Bytes> = recording("anthropic/tools.sse")
        .split_inclusive(|byte| *byte == b'\n')
        .map(Bytes::copy_from_slice)
        .collect();
    let half = events.len() / 2;
    let cut = sse(events).cut_after(half, Step::Close);
    let body = r#"{"model":"claude-sonnet-4-5","stream":true,"messages":[]}"#;
    let record = record_of("anthropic/v1/messages", body, cut).await;
    let usage = record.usage.unwrap();
    assert_eq!(
        (usage.input, usage.cache_read, usage.estimated),
        (472, 1024, true)
    );
    assert!(usage.output > 2 && usage.output < 89, "{usage:?}");
    let cost = 472 * 3_000 + 1024 * 300 + usage.output * 15_000;
    assert_eq!(
        (record.cost.status, record.cost.nanousd),
        (CostStatus::Estimated, Some(cost))
    );
}

#[tokio::test]
async fn prices_of_the_configuration_go_first() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let prices = "[[prices]]\nprovider = \"openai\"\nmodel = \"gpt-4o-2024-08-06\"\n\
                  input = \"1\"\noutput = \"2\"\n";
    let gateway = Harness::with(prices, &upstream).await;
    let request = Ask::post(harness::CHAT, PROMPT).with("authorization", "Bearer k");
    gateway.ask(&request).await;
    let record = gateway.record().await;
    assert_eq!(told(&record), "{input:19,output:5} priced 29000");
    assert!(record.cost.price.unwrap().starts_with("configured/"));
}
