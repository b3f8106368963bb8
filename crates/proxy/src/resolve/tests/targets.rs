//! Targets of a gateway: found by resource or region, or named by the path.

use super::*;

#[test]
fn a_request_belongs_to_the_target_of_its_resource() {
    check_support(
        "azure-openai/aoai-imbila-sa/chat/chat/completions?api-version=1",
        "http://127.0.0.1:8790/azure/sa/openai/deployments/chat/chat/completions?api-version=1 \
         openai @aoai-imbila-sa #chat ->azure-openai-sa trusted",
    );
    check_support(
        "azure-openai/aoai-imbila-eu/openai/v1/responses",
        "https://aoai-imbila-eu.openai.azure.com/openai/v1/responses openai @aoai-imbila-eu \
         ->azure-openai-eu",
    );
    check_support(
        "azure-openai/third/models",
        "http://127.0.0.1:8790/third/openai/models openai @third ->azure-any trusted",
    );
    check_support(
        "cerebras/models",
        "https://api.cerebras.ai/v1/models openai ->cerebras-main",
    );
    check_support(
        "aws-bedrock/bedrock-mantle/eu-west-1/anthropic/v1/messages",
        "http://127.0.0.1:9000/b/anthropic/v1/messages anthropic @eu-west-1 ->bedrock-eu trusted \
         in x-api-key",
    );
    check_support(
        "aws-bedrock/bedrock-runtime/us-east-1/model/m/invoke",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke bedrock @us-east-1",
    );
}

#[test]
fn a_target_is_reached_by_its_name() {
    check_support(
        "azure-openai-sa/chat/chat/completions?api-version=1",
        "http://127.0.0.1:8790/azure/sa/openai/deployments/chat/chat/completions?api-version=1 \
         openai @aoai-imbila-sa #chat ->azure-openai-sa trusted",
    );
    check_support(
        "azure-openai-eu/openai/v1/responses",
        "https://aoai-imbila-eu.openai.azure.com/openai/v1/responses openai @aoai-imbila-eu \
         ->azure-openai-eu",
    );
    check_support(
        "azure-openai-eu/deployments/d/embeddings",
        "https://aoai-imbila-eu.openai.azure.com/openai/deployments/d/embeddings openai \
         @aoai-imbila-eu #d ->azure-openai-eu",
    );
    check_support(
        "claude/anthropic/v1/messages",
        "https://ai-sa.services.ai.azure.com/anthropic/v1/messages anthropic @ai-sa ->claude",
    );
    check_support(
        "cerebras-main/v1/chat/completions",
        "https://api.cerebras.ai/v1/chat/completions openai ->cerebras-main",
    );
    // A provider's slug goes before a target's name; a target is its own gateway's only.
    check_support("openai/models", "https://api.openai.com/v1/models openai");
    check("azure-openai-sa/chat/chat/completions", "400 2008");
    // No resource to fill the host with.
    check_support("nowhere/chat/chat/completions", REFUSED);
}

#[test]
fn a_provider_lives_where_the_operator_says() {
    let config = snapshot(providers(&[
        ("grok", "http://127.0.0.1:8790/grok/v1"),
        ("huggingface", "http://127.0.0.1:8790/hf"),
        ("azure-openai", "http://127.0.0.1:8790/{resource}"),
        ("aws-bedrock", "http://127.0.0.1:9000/{service}/{region}"),
        ("google-vertex-ai", "http://127.0.0.1:9000/vertex/{region}"),
        ("baseten", "http://127.0.0.1:9000"),
    ]));
    for (path, expected) in [
        (
            "grok/v1/models",
            "http://127.0.0.1:8790/grok/v1/models openai trusted",
        ),
        (
            "huggingface/org/model",
            "http://127.0.0.1:8790/hf/org/model openai trusted",
        ),
        (
            "azure-openai/Res/d/embeddings",
            "http://127.0.0.1:8790/res/openai/deployments/d/embeddings openai @res #d trusted",
        ),
        (
            "aws-bedrock/bedrock-mantle/us-east-1/v1/models",
            "http://127.0.0.1:9000/bedrock-mantle/us-east-1/v1/models openai @us-east-1 trusted",
        ),
        (
            "google-vertex-ai/v1/projects/p/locations/global/publishers/google/models/g:x",
            "http://127.0.0.1:9000/vertex/global/v1/projects/p/locations/global/publishers/google/\
             models/g:x gemini @global trusted",
        ),
        (
            "baseten/model/abc",
            "http://127.0.0.1:9000/model/abc openai trusted",
        ),
    ] {
        let uri: Uri = format!("/v1/local/default/{path}").parse().expect(path);
        assert_eq!(
            show(resolve(
                &config,
                place(crate::exchange::path_of(&uri)),
                &HeaderMap::new()
            )),
            expected,
            "{path}"
        );
    }
}
