mod attacks;
mod azure;
mod hosts;
mod residency;
mod targets;

use std::collections::BTreeMap;

use http::{HeaderValue, Uri};
use isango_types::policy::Timeouts;
use isango_types::provider::ProviderConfig;
use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";

fn base_url(text: &str) -> BaseUrl {
    BaseUrl::parse(text).expect(text)
}

fn target(name: &str, provider: &str, resource: &str, own: &str) -> Arc<Target> {
    Arc::new(Target {
        name: name.into(),
        provider: provider.into(),
        resource: (!resource.is_empty()).then(|| resource.into()),
        region: None,
        credential: None,
        models: BTreeMap::new(),
        api_version: None,
        base_url: (!own.is_empty()).then(|| base_url(own)),
        timeouts: Timeouts::default(),
        weight: 1,
    })
}

/// Built-in providers; `changed` ones live at the operator's addresses instead.
fn providers(changed: &[(&str, &str)]) -> Vec<Provider> {
    let mut providers = Provider::built_in().expect("the catalogue");
    let own = [("custom-acme", "https://ai.acme.example/prefix")];
    for (slug, address) in own.iter().chain(changed) {
        let base_url = Some(base_url(address));
        let config = ProviderConfig {
            base_url,
            ..ProviderConfig::default()
        };
        let provider = config.into_provider(slug, &providers).expect(slug);
        providers.push(provider);
    }
    let opaque = ProviderConfig {
        base_url: Some(base_url("http://127.0.0.1:11434")),
        wire: Some(Wire::Opaque),
        ..ProviderConfig::default()
    };
    providers.push(
        opaque
            .into_provider("custom-root", &providers)
            .expect("a provider"),
    );
    providers
}

/// `default` without targets in every account; `local/support` with some.
fn config() -> Snapshot {
    snapshot(providers(&[]))
}

fn snapshot(providers: Vec<Provider>) -> Snapshot {
    let mut support = Gateway::new("local", "support");
    let mut regional =
        (*target("bedrock-eu", "aws-bedrock", "", "http://127.0.0.1:9000/b")).clone();
    regional.region = Some("eu-west-1".into());
    support.targets = vec![
        target(
            "azure-openai-sa",
            "azure-openai",
            "aoai-imbila-sa",
            "http://127.0.0.1:8790/azure/sa",
        ),
        target("azure-openai-eu", "azure-openai", "AOAI-Imbila-EU", ""),
        target(
            "azure-any",
            "azure-openai",
            "",
            "http://127.0.0.1:8790/{resource}",
        ),
        target("claude", "azure", "ai-sa", ""),
        target("cerebras-main", "cerebras-ai", "", ""),
        target("openai", "anthropic", "", ""),
        target("nowhere", "azure-openai", "", ""),
        target(
            "workers",
            "workers-ai",
            "",
            "http://127.0.0.1:9000/{account}/ai",
        ),
        target(
            "baseten-own",
            "baseten",
            "",
            "http://127.0.0.1:9000/baseten",
        ),
        target("fal-own", "fal", "", "http://127.0.0.1:9000/fal"),
        Arc::new(regional),
    ];
    let default = Gateway::new("", "default");
    Snapshot::new(
        vec![support],
        providers,
        Arc::default(),
        Some(default),
        Vec::new(),
    )
}

fn show(result: Result<Route, Error>) -> String {
    let route = match result {
        Ok(route) => route,
        Err(error) => {
            let (status, code, _blame) = error.verdict();
            return format!("{} {code}", status.as_u16());
        }
    };
    let mut text = if route.https { "https://" } else { "http://" }.to_owned();
    text += route.authority.as_str();
    text += route.path.as_str();
    text += &format!(" {:?}", route.wire).to_lowercase();
    for (mark, value) in [(" @", &route.resource), (" #", &route.deployment)] {
        if let Some(value) = value {
            text += mark;
            text += value;
        }
    }
    if let Some(target) = &route.target {
        text += " ->";
        text += &target.name;
    }
    if route.trusted {
        text += " trusted";
    }
    if let Some(header) = route.credential_header {
        text += " in ";
        text += header;
    }
    text
}

fn resolve_with(path: &str, headers: &HeaderMap) -> String {
    let uri: Uri = path.parse().expect(path);
    show(resolve(
        &config(),
        place(crate::exchange::path_of(&uri)),
        headers,
    ))
}

/// Below `/v1/{account}/default/`, where no target stands.
fn check(path: &str, expected: &str) {
    let whole = format!("/v1/{ACCOUNT}/default/{path}");
    assert_eq!(resolve_with(&whole, &HeaderMap::new()), expected, "{path}");
}

/// Below `/v1/local/support/`, which has targets.
fn check_support(path: &str, expected: &str) {
    let whole = format!("/v1/local/support/{path}");
    assert_eq!(resolve_with(&whole, &HeaderMap::new()), expected, "{path}");
}

const REFUSED: &str = "400 3001";

#[test]
fn a_path_is_split_into_the_ids_it_begins_with() {
    for (path, account, gateway, provider, rest) in [
        (
            "/v1/a/g/openai/chat/completions?x=1",
            "a",
            "g",
            "openai",
            "chat/completions?x=1",
        ),
        ("/v1/a/g/openai?model=m", "a", "g", "openai", "?model=m"),
        ("/v1/a/g/openai/?model=m", "a", "g", "openai", "?model=m"),
        ("/v1/a/g/openai//chat", "a", "g", "openai", "/chat"),
        ("/v1/a/g/openai/a?b/c?d", "a", "g", "openai", "a?b/c?d"),
        ("/v1/a/g?x=/y", "a", "g", "", "?x=/y"),
        ("/v1/a/g/", "a", "g", "", ""),
        ("/v1/a", "a", "", "", ""),
        ("/v1/a/G/openai/x", "a", "", "openai", "x"),
        ("/v1/%61/g/openai/x", "", "g", "openai", "x"),
        ("/v1//g/openai", "", "g", "openai", ""),
        ("/v1/../g/openai", "", "g", "openai", ""),
        ("/v1", "", "", "", ""),
        ("/", "", "", "", ""),
        ("*", "", "", "", ""),
        ("//v1/a/g/openai", "", "", "", ""),
        ("/v2/a/g/openai", "", "", "", ""),
        (
            "http://host.example/v1/a/g/openai/chat?x",
            "a",
            "g",
            "openai",
            "chat?x",
        ),
        ("http://host.example", "", "", "", ""),
        ("http://host.example?/v1/a/g/openai", "", "", "", ""),
        ("host.example:443", "", "", "", ""),
    ] {
        let uri: Uri = path.parse().expect(path);
        assert_eq!(
            place(crate::exchange::path_of(&uri)),
            Place {
                account,
                gateway,
                provider,
                rest
            },
            "{path}"
        );
    }
}

#[test]
fn what_names_nothing_is_refused_by_its_code() {
    for (path, expected) in [
        ("/", "404 3000"),
        ("*", "404 3000"),
        ("/healthz", "404 3000"),
        ("/v1", "404 3000"),
        ("/v1/local", "404 3000"),
        ("/v1/local/support", "404 3000"),
        ("/v1/local/support/", "404 3000"),
        ("/v1/local/other/openai/chat/completions", "400 2001"),
        ("/v1/local/other/", "400 2001"),
        ("/v1/local/Support/openai/chat/completions", "400 2001"),
        ("/v1/local//support/openai", "400 2001"),
        ("/v1/local/%64efault/openai/models", "400 2001"),
        ("/v1/local/support/nothing/chat", "400 2008"),
        ("/v1/local/support/OpenAI/chat", "400 2008"),
        ("/v1/local/support/open%61i/chat", "400 2008"),
        ("/v1/local/support/compat/models", "400 2008"),
        ("/v1/local/support/dynamic/route", "400 2008"),
        ("/v1/local/support/custom-none/x", "400 2008"),
        ("/v1/local/support//openai/models", "404 3000"),
        ("/v1/local/support/../openai/models", "400 2008"),
    ] {
        assert_eq!(resolve_with(path, &HeaderMap::new()), expected, "{path}");
    }
}

/// The table of data-plane section 2: a path behind the gateway, and where it leads.
const TABLE: &str = "
    openai/chat/completions
        https://api.openai.com/v1/chat/completions openai
    openai/v1/chat/completions
        https://api.openai.com/v1/chat/completions openai
    anthropic/v1/messages
        https://api.anthropic.com/v1/messages anthropic
    google-ai-studio/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse
        https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse gemini
    grok/chat/completions
        https://api.x.ai/v1/chat/completions openai
    huggingface/org/model?x=y
        https://api-inference.huggingface.co/models/org/model?x=y openai
    groq/chat/completions
        https://api.groq.com/openai/v1/chat/completions openai
    deepseek/chat/completions
        https://api.deepseek.com/chat/completions openai
    mistral/v1/chat/completions
        https://api.mistral.ai/v1/chat/completions openai
    perplexity-ai/chat/completions
        https://api.perplexity.ai/chat/completions openai
    cohere/v1/chat
        https://api.cohere.com/v1/chat cohere
    cerebras/chat/completions
        https://api.cerebras.ai/v1/chat/completions openai
    cerebras-ai/v1/models
        https://api.cerebras.ai/v1/models openai
    openrouter/chat/completions
        https://openrouter.ai/api/v1/chat/completions openai
    replicate/predictions
        https://api.replicate.com/v1/predictions opaque
    cartesia/tts/bytes
        https://api.cartesia.ai/tts/bytes opaque
    elevenlabs/v1/text-to-speech/id?output_format=mp3
        https://api.elevenlabs.io/v1/text-to-speech/id?output_format=mp3 opaque
    deepgram/v1/listen
        https://api.deepgram.com/v1/listen opaque
    fal/fal-ai/fast-sdxl
        https://fal.run/fal-ai/fast-sdxl opaque
    ideogram/generate
        https://api.ideogram.ai/generate opaque
    baseten/v1/chat/completions
        https://inference.baseten.co/v1/chat/completions openai
    parallel/v1/tasks/runs
        https://api.parallel.ai/v1/tasks/runs openai
    fireworks/chat/completions
        https://api.fireworks.ai/inference/v1/chat/completions openai
    adobe-firefly/v3/images/generate
        https://firefly-api.adobe.io/v3/images/generate opaque
";

#[test]
fn every_provider_of_the_table_is_reached() {
    let lines: Vec<&str> = TABLE
        .split_terminator('\n')
        .skip(1)
        .map(str::trim)
        .collect();
    for row in lines.chunks(2) {
        check(row[0], row[1]);
    }
}

#[test]
fn a_version_prefix_is_never_doubled() {
    for path in [
        "models",
        "v1/models",
        "/models",
        "/v1/models",
        "v1/v1/models",
    ] {
        check(
            &format!("openai/{path}"),
            "https://api.openai.com/v1/models openai",
        );
        check(
            &format!("groq/{path}"),
            "https://api.groq.com/openai/v1/models openai",
        );
        check(
            &format!("openrouter/{path}"),
            "https://openrouter.ai/api/v1/models openai",
        );
        check(
            &format!("cerebras/{path}"),
            "https://api.cerebras.ai/v1/models openai",
        );
        check(
            &format!("replicate/{path}"),
            "https://api.replicate.com/v1/models opaque",
        );
        check(
            &format!("fireworks/{path}"),
            "https://api.fireworks.ai/inference/v1/models openai",
        );
        check(
            &format!("cohere/{path}"),
            "https://api.cohere.com/v1/models cohere",
        );
        check(&format!("grok/{path}"), "https://api.x.ai/v1/models openai");
    }
    check(
        "groq/openai/v1/models",
        "https://api.groq.com/openai/v1/models openai",
    );
    check(
        "openrouter/api/v1/models",
        "https://openrouter.ai/api/v1/models openai",
    );
    check(
        "fireworks/inference/v1/models",
        "https://api.fireworks.ai/inference/v1/models openai",
    );
    check("cohere/v2/chat", "https://api.cohere.com/v2/chat cohere");
    check(
        "anthropic/v1/v1/messages",
        "https://api.anthropic.com/v1/messages anthropic",
    );
    check("openai", "https://api.openai.com/v1 openai");
    check("openai?model=m", "https://api.openai.com/v1?model=m openai");
    check("anthropic/", "https://api.anthropic.com/ anthropic");
}

#[test]
fn guests_are_recognised_by_the_paths_of_their_clients() {
    check(
        "google-ai-studio/v1beta/openai/embeddings",
        "https://generativelanguage.googleapis.com/v1beta/openai/embeddings openai",
    );
    check(
        "cohere/compatibility/v1/chat/completions",
        "https://api.cohere.com/compatibility/v1/chat/completions openai",
    );
    check(
        "deepseek/anthropic/v1/messages",
        "https://api.deepseek.com/anthropic/v1/messages anthropic",
    );
    check(
        "anthropic/v1/chat/completions",
        "https://api.anthropic.com/v1/chat/completions openai",
    );
    check(
        "openai/threads/t/messages",
        "https://api.openai.com/v1/threads/t/messages openai",
    );
    check(
        "custom-root/v1/chat/completions",
        "http://127.0.0.1:11434/v1/chat/completions opaque trusted",
    );
}

#[test]
fn everything_behind_the_ids_crosses_byte_for_byte() {
    check(
        "openai/files/a%20b%2Fc%3a//d/?q=%2e%2e&x=../y&z={}|",
        "https://api.openai.com/v1/files/a%20b%2Fc%3a//d/?q=%2e%2e&x=../y&z={}| openai",
    );
    check(
        "custom-acme/v1/models?a=b",
        "https://ai.acme.example/prefix/v1/models?a=b openai trusted",
    );
    check(
        "custom-acme/prefix/x",
        "https://ai.acme.example/prefix/prefix/x openai trusted",
    );
    check(
        "custom-acme",
        "https://ai.acme.example/prefix openai trusted",
    );
}

#[test]
fn refusals_say_what_would_be_right() {
    let uri: Uri = "/v1/a/default/azure-openai/evil.example/d/chat/completions"
        .parse()
        .expect("a path");
    let error = resolve(
        &config(),
        place(crate::exchange::path_of(&uri)),
        &HeaderMap::new(),
    )
    .expect_err("no label");
    assert_eq!(
        error.to_string(),
        "the Azure resource is the first segment behind the provider: 1 to 63 letters, digits and \
         hyphens, with no hyphen at either end",
    );
}
