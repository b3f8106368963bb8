//! Anthropic's surface and Gemini's.

use serde_json::{Value, json};

use crate::client::{Reply, Request, Server};

fn claude(target: &str, body: &Value) -> Request {
    Request::post(target, body)
        .header("x-api-key", "k")
        .header("anthropic-version", "2023-06-01")
}

fn message(extra: &Value) -> Value {
    let mut body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 500, "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where is it?"}]}],
    });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

const TOOLS: &str = r#"[{"name": "find", "input_schema": {"type": "object", "properties": {"id": {"type": "integer"}}}}]"#;

fn tools() -> Value {
    serde_json::from_str(TOOLS).unwrap()
}

/// Puts a streamed message together, as the official clients do.
#[track_caller]
fn assemble(reply: &Reply) -> Value {
    let events = reply.events();
    let mut message = events[0].1["message"].clone();
    assert_eq!(events[0].0, "message_start");
    assert_eq!(events.last().unwrap().0, "message_stop");
    let mut json = String::new();
    for (name, data) in &events {
        assert_eq!(data["type"], name.as_str());
        let index = usize::try_from(data["index"].as_u64().unwrap_or(0)).unwrap();
        match name.as_str() {
            "content_block_start" => {
                message["content"]
                    .as_array_mut()
                    .unwrap()
                    .push(data["content_block"].clone());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &data["delta"]);
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        block[key] = format!("{}{more}", block[key].as_str().unwrap()).into();
                    }
                }
                json.push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !json.is_empty() => {
                message["content"][index]["input"] = serde_json::from_str(&json).unwrap();
            }
            "message_delta" => {
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                message["usage"] = data["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

#[tokio::test]
async fn a_message_has_one_shape_whole_and_streamed() {
    let server = Server::quick().await;
    for extra in [
        json!({}),
        json!({"tools": tools(), "tool_choice": {"type": "tool", "name": "find"}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        json!({"stop_sequences": ["it"]}),
    ] {
        let whole = server
            .send(claude("/v1/messages", &message(&extra)))
            .await
            .json();
        let mut streaming = message(&extra);
        streaming["stream"] = true.into();
        let streamed = assemble(&server.send(claude("/v1/messages", &streaming)).await);
        for key in ["model", "role", "type", "stop_reason", "stop_sequence"] {
            assert_eq!(whole[key], streamed[key], "{key}");
        }
        let kinds = |message: &Value| -> Vec<_> {
            let blocks = message["content"].as_array().unwrap();
            blocks
                .iter()
                .map(|block| block["type"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(kinds(&whole), kinds(&streamed));
        assert_eq!(
            whole["usage"]["input_tokens"],
            streamed["usage"]["input_tokens"]
        );
        assert!(streamed["usage"]["output_tokens"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_tool_use_has_its_input_and_the_stop_reason() {
    let server = Server::quick().await;
    let body = message(&json!({"tools": tools(), "tool_choice": {"type": "any"}}));
    let reply = server.send(claude("/v1/messages", &body)).await;
    let answer = reply.json();
    assert_eq!(answer["stop_reason"], "tool_use");
    assert!(answer["content"][0]["input"]["id"].is_i64());
    assert!(reply.header("request-id").unwrap().starts_with("req_"));
    let cut = server
        .send(claude("/v1/messages", &message(&json!({"max_tokens": 3}))))
        .await
        .json();
    assert_eq!(
        (&cut["stop_reason"], &cut["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(3))
    );
}

#[tokio::test]
async fn cached_tokens_are_not_counted_as_input() {
    let server = Server::quick().await;
    let (mut read, mut written) = (0, 0);
    for number in 0..16 {
        let words = format!("{number} {}", "ledger ".repeat(1_500));
        let system =
            json!([{"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}]);
        let body = message(&json!({"system": system}));
        let count = server
            .send(claude("/v1/messages/count_tokens", &body))
            .await
            .json();
        let usage = server.send(claude("/v1/messages", &body)).await.json()["usage"].clone();
        let tokens = |key: &str| usage[key].as_u64().unwrap();
        let cached = (
            tokens("cache_read_input_tokens"),
            tokens("cache_creation_input_tokens"),
        );
        assert_eq!(
            tokens("input_tokens") + cached.0 + cached.1,
            count["input_tokens"].as_u64().unwrap()
        );
        read += u64::from(cached.0 > 0);
        written += u64::from(cached.1 > 0);
    }
    assert!(read > 0 && written > 0, "{read} read, {written} written");
}

#[tokio::test]
async fn what_anthropic_would_refuse_is_refused_in_its_shape() {
    let server = Server::quick().await;
    let kind = |refusal: Value| refusal["error"]["type"].as_str().unwrap().to_owned();
    let keyless = Request::post("/v1/messages", &message(&json!({})));
    let keyless = keyless.header("anthropic-version", "2023-06-01");
    assert_eq!(
        kind(server.send(keyless).await.refusal(401)),
        "authentication_error"
    );
    server
        .send(claude("/v1/messages", &message(&json!({}))))
        .await
        .json();
    let undated = Request::post("/v1/messages", &message(&json!({}))).header("x-api-key", "k");
    assert_eq!(
        kind(server.send(undated).await.refusal(400)),
        "invalid_request_error"
    );
    let unlimited = claude("/v1/messages", &message(&json!({"max_tokens": null})));
    assert_eq!(
        kind(server.send(unlimited).await.refusal(400)),
        "invalid_request_error"
    );
    let bearer = Request::post("/azure/res/anthropic/v1/messages", &message(&json!({})))
        .header("authorization", "Bearer k")
        .header("anthropic-version", "2023-06-01");
    server.send(bearer).await.json();
    let models = Request::new("GET", "/v1/models").header("x-api-key", "k");
    let models = server
        .send(models.header("anthropic-version", "2023-06-01"))
        .await
        .json();
    assert_eq!(models["data"][0]["type"], "model");
}

fn gemini(verb: &str, body: &Value) -> Request {
    let target = format!("/v1beta/models/gemini-2.0-flash:{verb}");
    Request::post(&target, body).header("x-goog-api-key", "k")
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Where is it?"}]}]})
}

#[track_caller]
fn check_metadata(usage: &Value) {
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    let parts = count("promptTokenCount") + count("candidatesTokenCount");
    assert_eq!(
        parts + count("thoughtsTokenCount"),
        count("totalTokenCount"),
        "{usage}"
    );
    assert!(
        count("promptTokenCount") > 0 && count("candidatesTokenCount") > 0,
        "{usage}"
    );
}

fn words(chunks: &[Value]) -> String {
    let part = |chunk: &Value| chunk["candidates"][0]["content"]["parts"][0]["text"].clone();
    chunks
        .iter()
        .map(|chunk| part(chunk).as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn contents_are_generated_whole_as_events_and_as_an_array() {
    let server = Server::quick().await;
    let whole = server
        .send(gemini("generateContent", &contents()))
        .await
        .json();
    check_metadata(&whole["usageMetadata"]);
    assert_eq!(whole["candidates"][0]["finishReason"], "STOP");

    let array = server
        .send(gemini("streamGenerateContent", &contents()))
        .await;
    let array: Vec<Value> = serde_json::from_slice(&array.body).unwrap();
    assert!(array.len() > 2);

    let events = server
        .send(gemini("streamGenerateContent?alt=sse", &contents()))
        .await;
    assert!(events.whole && events.text().ends_with("}\r\n\r\n"));
    let events: Vec<Value> = events
        .text()
        .split_terminator("\r\n\r\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(events, array);
    assert_eq!(words(&array), words(std::slice::from_ref(&whole)));
    assert_eq!(
        array.last().unwrap()["usageMetadata"],
        whole["usageMetadata"]
    );
    assert_eq!(array[0]["candidates"][0].get("finishReason"), None);
}

#[tokio::test]
async fn gemini_calls_functions_thinks_counts_and_embeds() {
    let server = Server::quick().await;
    let mut body = contents();
    body["tools"] = json!([{"functionDeclarations": [{"name": "find", "parameters": {
        "type": "OBJECT", "properties": {"id": {"type": "INTEGER"}}}}]}]);
    body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY"}});
    for verb in ["generateContent", "streamGenerateContent"] {
        let reply = server.send(gemini(verb, &body)).await.json();
        let answer = if reply.is_array() { &reply[0] } else { &reply };
        let call = &answer["candidates"][0]["content"]["parts"][0]["functionCall"];
        assert!(call["args"]["id"].is_i64(), "{answer}");
    }
    let target = "/google-ai-studio/v1beta/models/gemini-2.5-pro:generateContent?key=k";
    let mut limited = contents();
    limited["generationConfig"] = json!({"maxOutputTokens": 20});
    let thought = server.send(Request::post(target, &limited)).await.json();
    check_metadata(&thought["usageMetadata"]);
    assert_eq!(thought["usageMetadata"]["thoughtsTokenCount"], 10);
    assert_eq!(thought["candidates"][0]["finishReason"], "MAX_TOKENS");

    let counted = server.send(gemini("countTokens", &contents())).await.json();
    let whole = server
        .send(gemini("generateContent", &contents()))
        .await
        .json();
    assert_eq!(
        counted["totalTokens"],
        whole["usageMetadata"]["promptTokenCount"]
    );

    let part = json!({"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 16});
    let one = server.send(gemini("embedContent", &part)).await.json();
    let many = json!({"requests": [part, part]});
    let many = server
        .send(gemini("batchEmbedContents", &many))
        .await
        .json();
    assert_eq!(one["embedding"], many["embeddings"][1]);
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn what_gemini_would_refuse_is_refused_in_its_shape() {
    let server = Server::quick().await;
    let keyless = Request::post("/v1beta/models/g:generateContent", &contents());
    assert_eq!(
        server.send(keyless).await.refusal(403)["error"]["status"],
        "PERMISSION_DENIED"
    );
    let empty = server
        .send(gemini("generateContent", &json!({})))
        .await
        .refusal(400);
    assert_eq!(empty["error"]["status"], "INVALID_ARGUMENT");
    let models = server.get("/v1beta/models?key=k").await.json();
    assert_eq!(models["models"][0]["name"], "models/gemini-2.5-pro");
}
