//! Providers whose paths choose among hosts.

use super::*;

#[test]
fn bedrock_is_reached_by_service_and_region() {
    check(
        "aws-bedrock/bedrock-runtime/us-east-1/model/us.amazon.nova-lite-v1%3A0/converse-stream",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.amazon.nova-lite-v1%3A0/\
         converse-stream bedrock @us-east-1",
    );
    check(
        "aws-bedrock/bedrock-runtime/us-gov-west-1/model/arn%3Aaws%3Abedrock%2Fp/invoke",
        "https://bedrock-runtime.us-gov-west-1.amazonaws.com/model/arn%3Aaws%3Abedrock%2Fp/invoke \
         bedrock @us-gov-west-1",
    );
    check(
        "aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages",
        "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages anthropic @us-east-1 \
         in x-api-key",
    );
    check(
        "aws-bedrock/bedrock-mantle/us-east-1/v1/responses",
        "https://bedrock-mantle.us-east-1.api.aws/v1/responses openai @us-east-1",
    );
    check(
        "aws-bedrock/bedrock-runtime/us-east-1/openai/v1/responses",
        "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/responses openai @us-east-1",
    );
    check(
        "aws-bedrock/bedrock/eu-west-1/foundation-models",
        "https://bedrock.eu-west-1.amazonaws.com/foundation-models opaque @eu-west-1",
    );
    for path in [
        "",
        "bedrock-runtime",
        "bedrock-runtime//model/m/invoke",
        "s3/us-east-1/bucket",
        "bedrock-runtime.evil/us-east-1/x",
        "bedrock-runtime/us-east-1.evil.example%2f/x",
        "bedrock-runtime/us_east_1/x",
        "bedrock-runtime/us-east/x",
        "bedrock-runtime/-1/x",
        "bedrock-runtime/us-east-1234/x",
        "bedrock-runtime/US-EAST-1/x",
    ] {
        check(&format!("aws-bedrock/{path}"), REFUSED);
    }
}

#[test]
fn vertex_is_reached_by_the_region_in_its_path() {
    let check = |path: &str, expected: &str| {
        super::check(&format!("google-vertex-ai/{path}"), expected);
    };
    check(
        "v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro:generateContent",
        "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/\
         publishers/google/models/gemini-2.5-pro:generateContent gemini @us-central1",
    );
    check(
        "v1/projects/p/locations/global/publishers/anthropic/models/claude:streamRawPredict",
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/\
         models/claude:streamRawPredict anthropic @global",
    );
    check(
        "v1beta1/projects/p/locations/europe-west4/endpoints/openapi/chat/completions",
        "https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/p/locations/europe-west4/\
         endpoints/openapi/chat/completions openai @europe-west4",
    );
    check(
        "v1/publishers/google/models/g:generateContent?key=k",
        "https://aiplatform.googleapis.com/v1/publishers/google/models/g:generateContent?key=k \
         gemini @global",
    );
    check(
        "v1/projects/p/locations/us/publishers/mistralai/models/m:rawPredict",
        "https://us-aiplatform.googleapis.com/v1/projects/p/locations/us/publishers/mistralai/\
         models/m:rawPredict opaque @us",
    );
    for path in [
        "v1/projects/p/locations/evil.example%2f/x",
        "v1/projects/p/locations/evil.example/x",
        "v1/projects/p/locations//x",
        "v1/projects/p/locations",
        "v1/projects/p/locations/-us/x",
        "v1/projects/p/locations/us@x/y",
        "v1/projects/p/%6cocations/us/x",
        "v1/projects/p/Locations/us/x",
    ] {
        check(path, REFUSED);
    }
}

#[test]
fn workers_ai_belongs_to_the_account_in_the_path() {
    let ai = format!("https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai");
    check(
        "workers-ai/@cf/meta/llama",
        &format!("{ai}/run/@cf/meta/llama openai"),
    );
    check(
        "workers-ai/%40hf/meta/llama",
        &format!("{ai}/run/%40hf/meta/llama openai"),
    );
    check(
        "workers-ai/run/@cf/meta/llama",
        &format!("{ai}/run/@cf/meta/llama openai"),
    );
    check(
        "workers-ai/v1/chat/completions",
        &format!("{ai}/v1/chat/completions openai"),
    );
    check(
        "workers-ai/v1/embeddings",
        &format!("{ai}/v1/embeddings openai"),
    );
    check("workers-ai/@cf/../../../x", REFUSED);
    assert_eq!(
        resolve_with(
            "/v1/local/default/workers-ai/@cf/meta/llama",
            &HeaderMap::new()
        ),
        REFUSED,
    );
    check_support(
        "workers-ai/@cf/meta/llama",
        "http://127.0.0.1:9000/local/ai/run/@cf/meta/llama openai ->workers trusted",
    );
}

#[test]
fn baseten_models_have_hosts_of_their_own() {
    check(
        "baseten/model/abc123",
        "https://model-abc123.api.baseten.co/production/predict openai",
    );
    check(
        "baseten/model/abc123/environments/production/sync/v1/chat/completions?a=b",
        "https://model-abc123.api.baseten.co/environments/production/sync/v1/chat/completions?a=b \
         openai",
    );
    for model in [
        "",
        "A",
        "a.b",
        "a-b",
        "a%2fb",
        "a@b",
        "a:b",
        &"a".repeat(33),
    ] {
        check(&format!("baseten/model/{model}"), REFUSED);
    }
    check_support(
        "baseten/model/abc123",
        "http://127.0.0.1:9000/baseten/model/abc123 openai ->baseten-own trusted",
    );
}

#[test]
fn fal_is_sent_only_to_hosts_of_fal() {
    let check = |url: &str, gateway: &str, expected: &str| {
        let headers = HeaderMap::from_iter([("x-fal-target-url".parse().expect("a name"), {
            HeaderValue::from_str(url).expect(url)
        })]);
        let path = format!("/v1/local/{gateway}/fal/ignored?ignored");
        assert_eq!(resolve_with(&path, &headers), expected, "{url}");
    };
    for (url, expected) in [
        (
            "https://queue.fal.run/fal-ai/x?y=z",
            "https://queue.fal.run/fal-ai/x?y=z opaque",
        ),
        ("https://QUEUE.fal.run", "https://queue.fal.run/ opaque"),
        ("https://fal.run/a#b?c", "https://fal.run/a opaque"),
        (
            "https://rest.alpha.fal.ai/tokens/?a",
            "https://rest.alpha.fal.ai/tokens/?a opaque",
        ),
        ("http://queue.fal.run/x", REFUSED),
        ("https://evil.example/x", REFUSED),
        ("https://evil.example/.fal.run", REFUSED),
        ("https://evil.example?.fal.run", REFUSED),
        ("https://evil.example#.fal.run", REFUSED),
        ("https://evil.example\\.fal.run/x", REFUSED),
        ("https://evilfal.run/x", REFUSED),
        ("https://fal.run.evil.example/x", REFUSED),
        ("https://user@fal.run/x", REFUSED),
        ("https://fal.run@evil.example/x", REFUSED),
        ("https://fal.run:8443/x", REFUSED),
        ("https://.fal.run/x", REFUSED),
        ("https://169.254.169.254/x", REFUSED),
        ("https://queue.fal.run/a/../b", REFUSED),
        ("https://queue.fal.run/a/%2e%2e/b", REFUSED),
        ("https:///x", REFUSED),
        ("", REFUSED),
    ] {
        check(url, "default", expected);
    }
    check(
        "https://queue.fal.run/a?b",
        "support",
        "http://127.0.0.1:9000/fal/a?b opaque ->fal-own trusted",
    );
}
