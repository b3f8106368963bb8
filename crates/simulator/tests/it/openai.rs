//! OpenAI's surface and Azure's.

use serde_json::{Value, json};

use crate::client::{Request, Server, quick};

fn ask(extra: &Value) -> Value {
    let mut body = json!({
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": "Where is the invoice?"}],
    });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

const CHAT: &str = "/v1/chat/completions";

#[track_caller]
fn check_usage(usage: &Value) {
    let count = |key: &str| usage[key].as_u64().unwrap();
    let (input, output) = match usage.get("prompt_tokens") {
        Some(_) => (count("prompt_tokens"), count("completion_tokens")),
        None => (count("input_tokens"), count("output_tokens")),
    };
    assert_eq!(input + output, count("total_tokens"), "{usage}");
    assert!(input > 0 && output > 0, "{usage}");
}

/// The chunks of a stream without the final `[DONE]`.
#[track_caller]
fn chunks(events: Vec<(String, Value)>) -> Vec<Value> {
    let mut data: Vec<_> = events.into_iter().map(|(_, data)| data).collect();
    assert_eq!(data.pop().unwrap(), "[DONE]");
    data
}

fn content(chunks: &[Value], index: u64) -> Vec<&str> {
    let choices = chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap());
    choices
        .filter(|choice| choice["index"] == index)
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .filter(|piece| !piece.is_empty())
        .collect()
}

#[tokio::test]
async fn a_chat_answers_plausibly_and_the_same_every_time() {
    let server = Server::quick().await;
    let reply = server.post(CHAT, &ask(&json!({}))).await;
    let answer = reply.json();
    assert_eq!(answer["model"], "gpt-4o-2024-08-06");
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    let words = choice["message"]["content"].as_str().unwrap();
    assert!(words.contains("Where is the invoice"), "{words}");
    check_usage(&answer["usage"]);
    assert!(reply.header("x-request-id").unwrap().starts_with("req_"));
    let again = server.post(CHAT, &ask(&json!({}))).await;
    assert_eq!(again.body, reply.body);
    let other = server
        .post(CHAT, &ask(&json!({"temperature": 0.1})))
        .await
        .json();
    assert_ne!(other["choices"], answer["choices"]);
}

#[tokio::test]
async fn a_stream_tells_its_usage_only_when_asked() {
    let server = Server::quick().await;
    let asked = ask(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = server.post(CHAT, &asked).await;
    assert_eq!(
        reply.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let mut chunks_told = chunks(reply.events());
    let last = chunks_told.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    check_usage(&last["usage"]);
    assert!(
        chunks_told
            .iter()
            .all(|chunk| chunk.get("usage") == Some(&Value::Null))
    );
    assert_eq!(chunks_told[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        chunks_told.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
    let pieces = content(&chunks_told, 0).len() as u64;
    assert_eq!(last["usage"]["completion_tokens"], pieces);

    let silent = server.post(CHAT, &ask(&json!({"stream": true}))).await;
    assert!(
        chunks(silent.events())
            .iter()
            .all(|chunk| chunk.get("usage").is_none())
    );
}

#[tokio::test]
async fn several_choices_are_told_apart_and_counted_together() {
    let server = Server::quick().await;
    let options = json!({"stream": true, "n": 3, "stream_options": {"include_usage": true}});
    let chunks = chunks(server.post(CHAT, &ask(&options)).await.events());
    let texts = [0, 1, 2].map(|index| content(&chunks, index));
    assert_ne!(texts[0], texts[1]);
    let total = texts.iter().map(Vec::len).sum::<usize>();
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], total);
    let whole = server.post(CHAT, &ask(&json!({"n": 3}))).await.json();
    assert_eq!(whole["choices"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn limits_and_stop_sequences_end_an_answer() {
    let server = Server::quick().await;
    for limit in ["max_tokens", "max_completion_tokens"] {
        let answer = server.post(CHAT, &ask(&json!({limit: 7}))).await.json();
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 7);
    }
    let answer = server
        .post(CHAT, &ask(&json!({"stop": ["invoice"]})))
        .await
        .json();
    let choice = &answer["choices"][0];
    assert_eq!(
        choice["message"]["content"],
        "You asked about \u{201c}Where is the "
    );
    assert_eq!(choice["finish_reason"], "stop");
}

#[tokio::test]
async fn a_tool_is_called_with_arguments_that_fit_whole_and_streamed() {
    let server = Server::quick().await;
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    }}}]);
    let options = json!({"tools": tools, "tool_choice": "required"});
    let answer = server.post(CHAT, &ask(&options)).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "weather");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert!(
        arguments["city"].is_string() && arguments["days"].is_i64(),
        "{arguments}"
    );

    let mut options = options;
    options["stream"] = true.into();
    let chunks = chunks(server.post(CHAT, &ask(&options)).await.events());
    let calls = chunks
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"));
    let arguments: String = calls
        .filter_map(|call| call["function"]["arguments"].as_str())
        .collect();
    assert!(serde_json::from_str::<Value>(&arguments).unwrap()["city"].is_string());

    let free = server
        .post(CHAT, &ask(&json!({"tools": tools})))
        .await
        .json();
    assert!(free["choices"][0]["message"]["content"].is_string());
}

#[tokio::test]
async fn structured_answers_fit_their_schema() {
    let server = Server::quick().await;
    let schema = json!({"type": "object", "properties": {"total": {"type": "number"}}});
    for (format, key) in [
        (json!({"type": "json_object"}), "answer"),
        (
            json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}),
            "total",
        ),
    ] {
        let answer = server
            .post(CHAT, &ask(&json!({"response_format": format})))
            .await
            .json();
        let words = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let value: Value = serde_json::from_str(words).unwrap();
        assert!(value.get(key).is_some(), "{value}");
    }
}

#[tokio::test]
async fn a_reasoning_model_bills_its_thoughts() {
    let server = Server::quick().await;
    let usage = server
        .post(CHAT, &ask(&json!({"model": "o3-mini"})))
        .await
        .json()["usage"]
        .clone();
    check_usage(&usage);
    let thoughts = usage["completion_tokens_details"]["reasoning_tokens"]
        .as_u64()
        .unwrap();
    assert!(
        thoughts >= 64 && usage["completion_tokens"].as_u64().unwrap() > thoughts,
        "{usage}"
    );
}

#[tokio::test]
async fn long_prompts_come_from_the_cache_sometimes() {
    let server = Server::quick().await;
    let mut cached = Vec::new();
    for number in 0..16 {
        let words = format!("{number} {}", "ledger ".repeat(1_500));
        let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": words}]});
        let usage = server.post(CHAT, &body).await.json()["usage"].clone();
        check_usage(&usage);
        cached.push(
            usage["prompt_tokens_details"]["cached_tokens"]
                .as_u64()
                .unwrap(),
        );
    }
    assert!(cached.contains(&0), "{cached:?}");
    assert!(
        cached
            .iter()
            .any(|&tokens| tokens >= 1_024 && tokens % 128 == 0),
        "{cached:?}"
    );
}

#[tokio::test]
async fn completions_go_on_from_their_prompt() {
    let server = Server::quick().await;
    let body = json!({"model": "gpt-3.5-turbo-instruct", "prompt": ["One", "Two"]});
    let answer = server.post("/v1/completions", &body).await.json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert_eq!(answer["usage"]["completion_tokens"], 32);
    let mut body = body;
    body["stream"] = true.into();
    let chunks = chunks(server.post("/completions", &body).await.events());
    let texts = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["index"] == 1);
    assert!(
        texts
            .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().len())
            .sum::<usize>()
            > 0
    );
}

#[tokio::test]
async fn a_response_is_the_same_whole_and_at_the_end_of_its_stream() {
    let server = Server::quick().await;
    let body = json!({"model": "o3", "input": [{"role": "user", "content": "Where?"}]});
    let whole = server.post("/v1/responses", &body).await.json();
    assert_eq!(
        (&whole["status"], &whole["output"][0]["type"]),
        (&json!("completed"), &json!("reasoning"))
    );
    check_usage(&whole["usage"]);

    let body = json!({"model": "gpt-4.1", "input": "Where?", "stream": true});
    let events = server.post("/v1/responses", &body).await.events();
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!(
            (data["type"].as_str(), &data["sequence_number"]),
            (Some(name.as_str()), &json!(number))
        );
    }
    let deltas = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta");
    let words: Vec<_> = deltas
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    let (last, end) = events.last().unwrap();
    assert_eq!(last, "response.completed");
    assert_eq!(
        end["response"]["output"][0]["content"][0]["text"],
        words.concat()
    );
    assert_eq!(end["response"]["usage"]["output_tokens"], words.len());
    check_usage(&end["response"]["usage"]);
}

#[tokio::test]
async fn a_response_can_call_a_function_or_be_incomplete() {
    let server = Server::quick().await;
    let tools = json!([{"type": "function", "name": "find", "parameters": {
        "type": "object", "properties": {"id": {"type": "integer"}}}}]);
    let body = json!({"model": "gpt-4o", "input": "use the tool", "tools": tools, "stream": true});
    let events = server.post("/v1/responses", &body).await.events();
    let item = &events.last().unwrap().1["response"]["output"][0];
    assert_eq!(
        (&item["type"], &item["name"]),
        (&json!("function_call"), &json!("find"))
    );
    let arguments: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["id"].is_i64());

    let body = json!({"model": "gpt-4o", "input": "Where?", "max_output_tokens": 5});
    let cut = server.post("/v1/responses", &body).await.json();
    assert_eq!(cut["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(cut["usage"]["output_tokens"], 5);
}

#[tokio::test]
async fn equal_texts_have_equal_vectors_in_every_encoding() {
    use base64::Engine;
    let server = Server::quick().await;
    let model = "text-embedding-3-small";
    let body = json!({"model": model, "input": ["one", "two", "one"], "dimensions": 8});
    let answer = server.post("/v1/embeddings", &body).await.json();
    let vector = |index: usize| {
        answer["data"][index]["embedding"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(
        (
            vector(0).len(),
            vector(0) == vector(2),
            vector(0) == vector(1)
        ),
        (8, true, false)
    );
    let norm: f64 = vector(1)
        .iter()
        .map(|value| value.as_f64().unwrap().powi(2))
        .sum();
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");

    let body =
        json!({"model": model, "input": "one", "dimensions": 8, "encoding_format": "base64"});
    let answer = server.post("/v1/embeddings", &body).await.json();
    let encoded = answer["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert!((f64::from(first) - vector(0)[0].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        answer["usage"]["total_tokens"]
    );

    let tokens = json!({"model": model, "input": [[1, 2, 3], [4]]});
    let answer = server.post("/v1/embeddings", &tokens).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    assert_eq!(
        answer["data"][0]["embedding"].as_array().unwrap().len(),
        1_536
    );
}

#[tokio::test]
async fn models_media_and_moderations_answer() {
    let server = Server::quick().await;
    let models = Request::new("GET", "/v1/models").header("authorization", "Bearer k");
    let models = server.send(models).await.json();
    assert!(
        models["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|model| model["id"] == "gpt-4o")
    );
    let one = Request::new("GET", "/v1/models/gpt-4o").header("authorization", "Bearer k");
    assert_eq!(server.send(one).await.json()["id"], "gpt-4o");

    let body = json!({"model": "gpt-image-1", "prompt": "a dot", "n": 2});
    let images = server.post("/v1/images/generations", &body).await.json();
    assert_eq!(images["data"].as_array().unwrap().len(), 2);
    check_usage(&images["usage"]);

    let body = json!({"model": "tts-1", "input": "One two three.", "voice": "alloy"});
    let speech = server.post("/v1/audio/speech", &body).await;
    assert_eq!(
        (speech.header("content-type"), speech.body.len()),
        (Some("audio/mpeg"), 4_800)
    );

    let form = b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\xff\xfe\r\n--b--\r\n";
    let upload = Request::new("POST", "/v1/audio/transcriptions")
        .header("authorization", "Bearer k")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(form.to_vec());
    let words = server.send(upload).await.json();
    assert!(words["text"].as_str().unwrap().ends_with('.'));
    check_usage(&words["usage"]);

    let body = json!({"input": ["peace", "pure Violence"]});
    let verdict = server.post("/v1/moderations", &body).await.json();
    let flagged = |index: usize| verdict["results"][index]["flagged"].as_bool().unwrap();
    assert_eq!((flagged(0), flagged(1)), (false, true));
}

#[tokio::test]
async fn what_openai_would_refuse_is_refused_in_its_shape() {
    let server = Server::quick().await;
    let code = |refusal: &Value| refusal["error"]["code"].as_str().unwrap_or("-").to_owned();
    let keyless = server.send(Request::post(CHAT, &ask(&json!({})))).await;
    assert_eq!(code(&keyless.refusal(401)), "invalid_api_key");
    let broken = Request::new("POST", CHAT).header("authorization", "Bearer k");
    let broken = server
        .send(broken.body(b"{\"model\":".to_vec()))
        .await
        .refusal(400);
    assert_eq!(broken["error"]["type"], "invalid_request_error");
    let missing = server
        .post(CHAT, &json!({"model": "gpt-4o"}))
        .await
        .refusal(400);
    assert_eq!(
        (code(&missing), &missing["error"]["param"]),
        ("missing_required_parameter".into(), &json!("messages"))
    );
    assert_eq!(
        server.post(CHAT, &ask(&json!({"n": 0}))).await.refusal(400)["error"]["param"],
        "n"
    );
    server.post("/v1/nothing", &json!({})).await.refusal(404);
    server.get(CHAT).await.refusal(405);
}

#[tokio::test]
async fn only_listed_keys_are_accepted_when_keys_are_listed() {
    let server = Server::start(isango_simulator::Options {
        keys: vec!["k".into()],
        ..quick()
    })
    .await;
    server.post(CHAT, &ask(&json!({}))).await.json();
    let other = Request::post(CHAT, &ask(&json!({}))).header("authorization", "Bearer other");
    server.send(other).await.refusal(401);
}

fn azure(target: &str, body: &Value) -> Request {
    Request::post(target, body).header("api-key", "k")
}

#[tokio::test]
async fn every_azure_path_answers_with_filters_and_its_headers() {
    let server = Server::quick().await;
    for prefix in ["", "/res", "/azure/res"] {
        let target = format!(
            "{prefix}/openai/deployments/my-gpt-4o-mini/chat/completions?api-version=2024-10-21"
        );
        let reply = server.send(azure(&target, &ask(&json!({})))).await;
        let answer = reply.json();
        assert_eq!(answer["model"], "gpt-4o-mini-2024-07-18");
        let verdict = &answer["choices"][0]["content_filter_results"]["hate"];
        assert_eq!(verdict["severity"], "safe");
        assert!(
            answer["prompt_filter_results"][0]["content_filter_results"]["jailbreak"].is_object()
        );
        check_usage(&answer["usage"]);
        for name in [
            "apim-request-id",
            "x-ms-region",
            "x-ratelimit-remaining-tokens",
        ] {
            assert!(reply.header(name).is_some(), "{name}");
        }
        let target = format!("{prefix}/openai/v1/responses");
        let body = json!({"model": "chat", "input": "hi"});
        assert_eq!(
            server.send(azure(&target, &body)).await.json()["model"],
            "gpt-4o-2024-08-06"
        );
    }
    let models = Request::new("GET", "/openai/models?api-version=1").header("api-key", "k");
    assert_eq!(server.send(models).await.json()["object"], "list");
}

#[tokio::test]
async fn an_azure_stream_begins_with_the_verdict_on_the_prompt() {
    let server = Server::quick().await;
    let target = "/openai/deployments/chat/chat/completions?api-version=2024-10-21";
    let body = ask(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = server.send(azure(target, &body)).await;
    assert!(
        reply
            .text()
            .starts_with(r#"data: {"choices":[],"created":0,"id":"","model":"","#)
    );
    let chunks = chunks(reply.events());
    assert!(chunks[0]["prompt_filter_results"].is_array());
    assert_eq!(
        chunks[2]["choices"][0]["content_filter_results"]["sexual"]["filtered"],
        false
    );
    assert_eq!(chunks[2]["model"], "gpt-4o-2024-08-06");
    check_usage(&chunks.last().unwrap()["usage"]);
}

#[tokio::test]
async fn what_azure_would_refuse_is_refused_in_its_shape() {
    let server = Server::quick().await;
    let path = "/openai/deployments/chat/chat/completions";
    let versioned = format!("{path}?api-version=2024-10-21");
    let code = |refusal: Value| refusal["error"]["code"].as_str().unwrap().to_owned();
    let refusal = server
        .send(azure(path, &ask(&json!({}))))
        .await
        .refusal(400);
    assert_eq!(code(refusal), "MissingApiVersionParameter");
    let refusal = server
        .send(Request::post(&versioned, &ask(&json!({}))))
        .await
        .refusal(401);
    assert_eq!(code(refusal), "401");
    let entra = Request::post(&versioned, &ask(&json!({}))).header("authorization", "Bearer ey");
    server.send(entra).await.json();
}
