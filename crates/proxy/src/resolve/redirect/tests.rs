use std::collections::BTreeMap;

use isango_types::policy::Timeouts;
use isango_types::provider::{BaseUrl, ProviderConfig};
use isango_types::{Gateway, Snapshot, Wire};

use super::super::{place, resolve};
use super::*;

/// A target: `name provider`, then `resource=`, `region=`, `base=`, `api=`, and `models=a:b,c:d`.
fn target(text: &str) -> Target {
    let mut words = text.split(' ');
    let (name, provider) = (words.next().unwrap(), words.next().unwrap());
    let mut target = Target {
        weight: 1,
        name: name.into(),
        provider: provider.into(),
        resource: None,
        region: None,
        credential: None,
        models: BTreeMap::new(),
        api_version: None,
        base_url: None,
        timeouts: Timeouts::default(),
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "resource" => target.resource = Some(value.into()),
            "region" => target.region = Some(value.into()),
            "api" => target.api_version = Some(value.into()),
            "base" => target.base_url = Some(BaseUrl::parse(value).unwrap()),
            "models" => {
                let pairs = value.split(',').map(|pair| pair.split_once(':').unwrap());
                target.models = pairs.map(|(a, b)| (a.into(), b.into())).collect();
            }
            _ => panic!("{key}"),
        }
    }
    target
}

fn config(targets: &[&str], residency: &[&str]) -> Snapshot {
    let mut providers = Provider::built_in().unwrap();
    for (slug, address, wire) in [
        ("custom-root", "https://root.example", Wire::Openai),
        ("custom-deep", "https://deep.example/api/v3", Wire::Openai),
        ("custom-bare", "https://bare.example/api", Wire::Openai),
        ("custom-claude", "https://claude.example/x", Wire::Anthropic),
    ] {
        let own = ProviderConfig {
            base_url: Some(BaseUrl::parse(address).unwrap()),
            wire: Some(wire),
            ..ProviderConfig::default()
        };
        let own = own.into_provider(slug, &providers).unwrap();
        providers.push(own);
    }
    let gateway = Gateway {
        targets: targets.iter().map(|text| Arc::new(target(text))).collect(),
        residency: residency.iter().map(|region| (*region).into()).collect(),
        ..Gateway::new("local", "g")
    };
    Snapshot::new(vec![gateway], providers, Arc::default(), None, Vec::new())
}

/// Where a request for the first of two targets goes at the second, and which model its body must
/// name: `host/path model=x`.
fn check(targets: [&str; 2], path: &str, model: Option<&str>, expected: &str) {
    let config = config(&targets, &[]);
    let path = format!("/v1/local/g/{path}");
    let (headers, place) = (HeaderMap::new(), place(&path));
    let from = resolve(&config, place, &headers).unwrap();
    assert_eq!(from.target_name(), target(targets[0]).name.as_ref());
    let second = &config.gateway("local", "g").unwrap().targets[1];
    let shown = match redirect(&config, &from, second, (place, &headers), (model, None)) {
        Ok(route) => {
            assert_eq!(route.target_name(), &*second.name);
            let model = route.model.as_ref();
            let model = model.map_or_else(String::new, |model| format!(" model={model}"));
            format!("{}{}{model}", route.authority, route.path)
        }
        Err(why) => why,
    };
    assert_eq!(shown, expected, "{path}");
}

const SA: &str = "sa azure-openai resource=sa models=chat:gpt-4o";
const EU: &str = "eu azure-openai resource=eu models=chat-eu:gpt-4o,mini:gpt-4o-mini";

#[test]
fn between_azure_resources_resource_and_deployment_change() {
    let eu = "eu.openai.azure.com/openai/deployments/chat-eu/chat/completions?api-version=1";
    for path in [
        "azure-openai/sa/chat/chat/completions?api-version=1",
        "azure-openai/SA/deployments/chat/chat/completions?api-version=1",
        "azure-openai/sa/openai/deployments/chat/chat/completions?api-version=1",
        "azure-openai/sa/x/deployments/chat/chat/completions?api-version=1",
        "sa/chat/chat/completions?api-version=1",
    ] {
        check([SA, EU], path, None, eu);
        check([SA, EU], path, Some("whatever"), eu);
    }
    check(
        [SA, EU],
        "azure-openai/sa/openai/v1/responses",
        Some("chat"),
        "eu.openai.azure.com/openai/v1/responses model=chat-eu",
    );
    check(
        [SA, EU],
        "azure-openai/sa/responses?api-version=1",
        Some("chat"),
        "eu.openai.azure.com/openai/responses?api-version=1 model=chat-eu",
    );
    check(
        [SA, EU],
        "azure-openai/sa/openai/models?api-version=1",
        None,
        "eu.openai.azure.com/openai/models?api-version=1",
    );
}

#[test]
fn without_models_a_target_calls_them_what_everybody_does() {
    let (sa, eu) = ("sa azure-openai resource=sa", "eu azure-openai resource=eu");
    check(
        [sa, eu],
        "azure-openai/sa/chat/embeddings",
        None,
        "eu.openai.azure.com/openai/deployments/chat/embeddings",
    );
    check(
        [sa, EU],
        "azure-openai/sa/gpt-4o-mini/embeddings",
        None,
        "eu.openai.azure.com/openai/deployments/mini/embeddings",
    );
    check(
        [SA, eu],
        "azure-openai/sa/chat/embeddings",
        None,
        "eu.openai.azure.com/openai/deployments/gpt-4o/embeddings",
    );
    check(
        [sa, EU],
        "azure-openai/sa/chat/embeddings",
        None,
        "has no `chat` among its models",
    );
}

#[test]
fn a_targets_api_version_replaces_the_clients() {
    let eu = "eu azure-openai resource=eu api=2025-01-01-preview";
    let sa = "sa azure-openai resource=sa";
    check(
        [sa, eu],
        "azure-openai/sa/chat/embeddings?api-version=1&b=2",
        None,
        "eu.openai.azure.com/openai/deployments/chat/embeddings?b=2&api-version=2025-01-01-preview",
    );
    check(
        [sa, eu],
        "azure-openai/sa/openai/v1/embeddings",
        Some("m"),
        "eu.openai.azure.com/openai/v1/embeddings",
    );
}

#[test]
fn azure_and_openai_stand_in_for_each_other() {
    check(
        [SA, "main openai"],
        "azure-openai/sa/chat/chat/completions?api-version=1",
        None,
        "api.openai.com/v1/chat/completions model=gpt-4o",
    );
    check(
        [SA, "main openai"],
        "azure-openai/sa/openai/responses?api-version=1",
        Some("chat"),
        "api.openai.com/v1/responses model=gpt-4o",
    );
    for path in ["openai/chat/completions", "openai/v1/chat/completions"] {
        check(
            ["main openai", EU],
            path,
            Some("gpt-4o"),
            "eu.openai.azure.com/openai/v1/chat/completions model=chat-eu",
        );
        check(
            ["main openai", "eu azure-openai resource=eu api=7"],
            path,
            Some("gpt-4o"),
            "eu.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=7",
        );
    }
    check(
        ["main openai", "eu azure-openai resource=eu api=7"],
        "openai/responses",
        Some("gpt-4o"),
        "eu.openai.azure.com/openai/v1/responses",
    );
    check(
        ["main openai", EU],
        "openai/models",
        None,
        "eu.openai.azure.com/openai/v1/models",
    );
}

#[test]
fn a_name_of_the_request_never_becomes_more_than_a_deployment() {
    let eu = "eu azure-openai resource=eu api=7";
    for name in ["../x", "a/b", "a%2fb", "a?b", "", ".."] {
        let refused = format!("has no deployment that could be called `{name}`");
        check(
            ["main openai", eu],
            "openai/chat/completions",
            Some(name),
            &refused,
        );
    }
}

#[test]
fn each_provider_has_its_own_beginning_of_a_path() {
    for (provider, expected) in [
        ("groq", "api.groq.com/openai/v1/chat/completions"),
        ("mistral", "api.mistral.ai/v1/chat/completions"),
        ("perplexity-ai", "api.perplexity.ai/chat/completions"),
        ("openrouter", "openrouter.ai/api/v1/chat/completions"),
        ("custom-root", "root.example/v1/chat/completions"),
        ("custom-deep", "deep.example/api/v3/chat/completions"),
        ("custom-bare", "bare.example/api/chat/completions"),
    ] {
        let second = format!("b {provider}");
        for path in [
            "openai/chat/completions?a=1",
            "openai/v1/chat/completions?a=1",
        ] {
            check(
                ["a openai", &second],
                path,
                Some("m"),
                &format!("{expected}?a=1"),
            );
        }
    }
    check(
        ["a groq", "b openai"],
        "groq/openai/v1/chat/completions",
        Some("m"),
        "api.openai.com/v1/chat/completions",
    );
    check(
        ["a openai", "b openai base=http://127.0.0.1:9/v1"],
        "openai/v1/files/x",
        None,
        "127.0.0.1:9/v1/files/x",
    );
}

#[test]
fn messages_of_anthropic_have_three_homes() {
    check(
        ["a anthropic", "b azure resource=r"],
        "anthropic/v1/messages",
        Some("m"),
        "r.services.ai.azure.com/anthropic/v1/messages",
    );
    check(
        ["a azure resource=r", "b anthropic models=x:m"],
        "azure/r/anthropic/v1/messages/count_tokens",
        Some("m"),
        "api.anthropic.com/v1/messages/count_tokens model=x",
    );
    check(
        ["a anthropic", "b custom-claude"],
        "anthropic/v1/messages",
        Some("m"),
        "claude.example/x/v1/messages",
    );
}

#[test]
fn regions_and_models_in_paths_change_in_place() {
    check(
        [
            "a aws-bedrock region=us-east-1 models=us.m:m",
            "b aws-bedrock region=EU-west-1 models=eu.m:m",
        ],
        "aws-bedrock/bedrock-runtime/us-east-1/model/us.m/converse",
        Some("us.m"),
        "bedrock-runtime.eu-west-1.amazonaws.com/model/eu.m/converse",
    );
    check(
        [
            "a google-vertex-ai region=us-central1",
            "b google-vertex-ai region=europe-west1",
        ],
        "google-vertex-ai/v1/projects/p/locations/us-central1/publishers/google/models/g:x",
        Some("g"),
        "europe-west1-aiplatform.googleapis.com\
         /v1/projects/p/locations/europe-west1/publishers/google/models/g:x",
    );
    check(
        [
            "a google-ai-studio",
            "b google-ai-studio base=http://127.0.0.1:9 models=h:g",
        ],
        "google-ai-studio/v1beta/models/g:generateContent?alt=sse&key=mine",
        Some("g"),
        "127.0.0.1:9/v1beta/models/h:generateContent?alt=sse",
    );
    check(
        ["a google-ai-studio", "b google-ai-studio models=h:g/x"],
        "google-ai-studio/v1beta/models/g%2fx:generateContent",
        Some("g/x"),
        "cannot be told another model in this path",
    );
}

#[test]
fn no_credential_of_the_query_travels_on() {
    check(
        [
            "a google-ai-studio",
            "b google-ai-studio base=http://127.0.0.1:9",
        ],
        "google-ai-studio/v1beta/models/g:x?%6bey=1&key=mine&access_token=2&b=3",
        Some("g"),
        "127.0.0.1:9/v1beta/models/g:x?b=3",
    );
}

#[test]
fn only_formats_that_are_alike_are_chained() {
    let providers = Provider::built_in().unwrap();
    let find = |slug: &str| providers.iter().find(|one| *one.slug == *slug).unwrap();
    let check = |from: &str, to: &str, can: bool| {
        assert_eq!(can_redirect(find(from), find(to)), can, "{from} {to}");
        assert_eq!(can_redirect(find(to), find(from)), can, "{to} {from}");
    };
    check("azure-openai", "openai", true);
    check("openai", "groq", true);
    check("anthropic", "azure", true);
    check("aws-bedrock", "aws-bedrock", true);
    check("fal", "fal", true);
    check("openai", "anthropic", false);
    check("aws-bedrock", "anthropic", false);
    check("google-vertex-ai", "google-ai-studio", false);
    check("openai", "baseten", false);
    check("fal", "replicate", false);
}

/// The code of a refusal, or the host that a request goes to.
fn resident(targets: &[&str], residency: &[&str], path: &str) -> String {
    let config = config(targets, residency);
    let path = format!("/v1/local/g/{path}");
    match resolve(&config, place(&path), &HeaderMap::new()) {
        Ok(route) => route.authority.to_string(),
        Err(error) => error.verdict().1.to_string(),
    }
}

#[test]
fn a_gateway_that_is_bound_to_regions_is_left_by_no_path() {
    let targets = [
        "sa azure-openai resource=sa region=southafricanorth",
        "eu azure-openai resource=eu region=westeurope",
        "plain openai",
        "deep custom-deep region=SouthAfricaNorth",
        "rock aws-bedrock region=af-south-1",
        "vertex google-vertex-ai region=africa-south1",
        "fal fal region=southafricanorth",
        "baseten baseten region=southafricanorth",
    ];
    let allowed = ["southafricanorth", "af-south-1", "africa-south1"];
    let check = |path: &str, expected: &str| {
        assert_eq!(resident(&targets, &allowed, path), expected, "{path}");
    };
    check("azure-openai/sa/chat/embeddings", "sa.openai.azure.com");
    check("sa/chat/embeddings", "sa.openai.azure.com");
    check("custom-deep/chat/completions", "deep.example");
    check(
        "aws-bedrock/bedrock-runtime/af-south-1/model/m/converse",
        "bedrock-runtime.af-south-1.amazonaws.com",
    );
    check(
        "google-vertex-ai/v1/projects/p/locations/africa-south1/x",
        "africa-south1-aiplatform.googleapis.com",
    );
    check("fal/fal-ai/x", "fal.run");
    for outside in [
        "azure-openai/eu/chat/embeddings",
        "azure-openai/other/chat/embeddings",
        "eu/chat/embeddings",
        "openai/chat/completions",
        "plain/chat/completions",
        "anthropic/v1/messages",
        "custom-root/v1/chat/completions",
        "aws-bedrock/bedrock-runtime/us-east-1/model/m/converse",
        "aws-bedrock/bedrock-mantle/eu-west-1/anthropic/v1/messages",
        "google-vertex-ai/v1/projects/p/locations/us-central1/x",
        "google-vertex-ai/v1/projects/p/locations/global/x",
        "google-vertex-ai/v1/projects/p/x",
        "baseten/model/abc/predict",
    ] {
        check(outside, "3018");
    }
}
