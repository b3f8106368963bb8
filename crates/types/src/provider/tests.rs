mod page;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn built_in() -> Vec<Provider> {
    Provider::built_in().expect("the catalogue")
}

/// Reads `[providers.<slug>]` and shows the provider that it makes, or what was wrong with it.
fn check(slug: &str, config: &str, expected: &str) {
    let made = toml::from_str::<ProviderConfig>(config)
        .map_err(|error| error.message().to_owned())
        .and_then(|config| {
            config
                .into_provider(slug, &built_in())
                .map_err(|error| error.to_string())
        });
    let shown = match made {
        Err(error) => error,
        Ok(provider) => format!(
            "{} {} {:?} {}={}{} optional={} retry={:?} option={} headers={:?} trusted={}",
            provider.name,
            provider.base_url,
            provider.wire,
            provider.auth.header,
            provider.auth.prefix,
            provider
                .other_base_url
                .map_or(String::new(), |url| format!(" other={url}")),
            provider.auth.optional,
            provider.retry.on,
            provider.stream_usage_option,
            provider.headers,
            provider.trusted,
        ),
    };
    assert_eq!(shown, expected, "{slug}: {config}");
}

#[test]
fn the_catalogue_holds_every_provider_of_the_contract_once() {
    let expected = "openai anthropic azure-openai azure aws-bedrock google-ai-studio \
         google-vertex-ai workers-ai grok groq deepseek mistral perplexity-ai cohere cerebras \
         cerebras-ai openrouter huggingface replicate cartesia elevenlabs deepgram fal ideogram \
         baseten parallel fireworks adobe-firefly";
    let providers = built_in();
    let names = providers
        .iter()
        .flat_map(|one| one.aliases.iter().chain([&one.slug]));
    let mut seen = HashSet::new();
    for name in names {
        assert!(seen.insert(&**name), "{name} stands twice");
    }
    assert_eq!(seen, expected.split_whitespace().collect());
}

#[test]
fn every_built_in_provider_is_encrypted_sourced_and_not_trusted_with_private_addresses() {
    for provider in built_in() {
        assert!(provider.base_url.https, "{}", provider.slug);
        assert!(
            provider.source.contains("read 2026-11-"),
            "{}",
            provider.slug
        );
        assert!(
            !provider.trusted && provider.headers.is_empty(),
            "{}",
            provider.slug
        );
        assert!(provider.retry.on.contains(&429), "{}", provider.slug);
        assert!(!provider.auth.optional, "{}", provider.slug);
    }
}

#[test]
fn a_version_prefix_is_one_segment() {
    for provider in built_in() {
        for prefix in &provider.version_prefixes {
            assert!(
                !prefix.is_empty() && !prefix.contains('/'),
                "{}",
                provider.slug
            );
            assert_eq!(provider.path, PathRule::Append, "{}", provider.slug);
        }
    }
}

#[test]
fn a_built_in_provider_is_changed_where_the_configuration_says_so() {
    check(
        "azure-openai",
        r#"base_url = "http://127.0.0.1:8790/{resource}/""#,
        "Azure OpenAI http://127.0.0.1:8790/{resource} Openai api-key= optional=false \
         retry=[408, 429, 500, 502, 503, 504] option=true headers=[] trusted=true",
    );
    check(
        "cerebras-ai",
        r#"
        name = "Ours"
        headers = { "X-Team" = "a" }
        auth = { header = "X-Key", also = ["Authorization"], optional = true }
        retry = { on = [503] }
        stream_usage_option = true
        "#,
        "Ours https://api.cerebras.ai/v1 Openai x-key= optional=true retry=[503] option=true \
         headers=[(\"x-team\", [secret])] trusted=false",
    );
    check(
        "google-vertex-ai",
        r#"base_url = "http://127.0.0.1:9000/vertex""#,
        "Google Vertex AI http://127.0.0.1:9000/vertex Gemini authorization=Bearer  \
         optional=false retry=[408, 429, 500, 502, 503, 504] option=false headers=[] trusted=true",
    );
}

#[test]
fn an_own_provider_needs_an_address_and_speaks_openai_unless_told() {
    check(
        "custom-acme",
        r#"base_url = "https://AI.acme.example/v1/""#,
        "acme https://ai.acme.example/v1 Openai authorization=Bearer  optional=true \
         retry=[408, 429, 500, 502, 503, 504] option=false headers=[] trusted=true",
    );
    check(
        "custom-a",
        "base_url = \"http://[::1]:8080\"\nwire = \"anthropic\"\nauth = { header = \"x-api-key\" }",
        "a http://[::1]:8080 Anthropic x-api-key= optional=false \
         retry=[408, 429, 500, 502, 503, 504] option=false headers=[] trusted=true",
    );
    check(
        "custom-acme",
        "",
        "`custom-acme` needs a `base_url`, such as \"https://api.example.com/v1\"",
    );
}

#[test]
fn what_is_wrong_with_a_provider_is_said() {
    let url = "base_url = \"https://a.example\"\n";
    for reserved in ["compat", "dynamic"] {
        check(
            reserved,
            url,
            &format!("`{reserved}` is not the slug of a provider, but a surface of the gateway"),
        );
    }
    check(
        "opnai",
        url,
        "no provider `opnai` is built in; a provider of your own is called `custom-<name>`",
    );
    for slug in [
        "custom-",
        "custom-A",
        "custom-a--b",
        "custom-a/b",
        "custom-..",
    ] {
        check(
            slug,
            url,
            &format!(
                "`{slug}` is no slug; after `custom-` stand 1 to 57 of a-z, 0-9 and `_`, with \
                 single `-` between them"
            ),
        );
    }
    check(
        "openai",
        r#"token_url = "https://a.example/token""#,
        "`openai` takes no service accounts: only `google-vertex-ai` has a `token_url`",
    );
    check(
        "openai",
        r#"base_url = "https://a.example/{resource}""#,
        "the paths of `openai` do not fill `{resource}`; they fill []",
    );
    check(
        "custom-a",
        &format!("{url}headers = {{ host = \"b\" }}"),
        "`custom-a`: `host` is no header that a provider may set",
    );
    check(
        "custom-a",
        &format!("{url}auth = {{ header = \"x key\" }}"),
        "`custom-a`: `x key` is no header that a provider may set",
    );
    check(
        "custom-a",
        &format!("{url}auth = {{ header = \"x\", prefix = \"a\\n\" }}"),
        "`custom-a`: the prefix of a credential is printable ASCII, such as \"Bearer \"",
    );
    check(
        "openai",
        "retry = { on = [200] }",
        "`openai`: status 200 is no failure; retries follow 400 to 599",
    );
    check(
        "openai",
        "base-url = 1",
        "unknown field `base-url`, expected one of `name`, `base_url`, `wire`, `auth`, `headers`, \
         `retry`, `stream_usage_option`, `token_url`",
    );
}

#[test]
fn a_base_url_is_read_into_its_parts() {
    for (text, shown, names) in [
        ("https://api.openai.com", "https://api.openai.com", &[][..]),
        (
            "HTTPS://API.OpenAI.com/V1//",
            "https://api.openai.com/V1",
            &[],
        ),
        (
            "http://127.0.0.1:8790/{resource}",
            "http://127.0.0.1:8790/{resource}",
            &["resource"],
        ),
        ("http://[::1]:9", "http://[::1]:9", &[]),
        ("http://[fd00::1]/a", "http://[fd00::1]/a", &[]),
        ("http://ollama_1:11434/v1", "http://ollama_1:11434/v1", &[]),
        (
            "https://{service}.{region}.a.b",
            "https://{service}.{region}.a.b",
            &["service", "region"],
        ),
        (
            "https://model-{model}.api.x.co/{account}/ai",
            "https://model-{model}.api.x.co/{account}/ai",
            &["model", "account"],
        ),
    ] {
        let url = BaseUrl::parse(text).expect(text);
        assert_eq!(url.to_string(), shown);
        assert_eq!(url.placeholders().collect::<Vec<_>>(), names, "{text}");
    }
}

#[test]
fn a_base_url_that_is_none_is_refused_with_what_would_be_right() {
    use BaseUrlError as E;
    for (text, error) in [
        ("", E::Scheme),
        ("api.openai.com/v1", E::Scheme),
        ("ftp://a.b", E::Scheme),
        ("https://a.b/?x", E::Query),
        ("https://a.b#x", E::Query),
        ("https://user:pw@a.b", E::Userinfo),
        ("https://", E::Host("".into())),
        ("https:///v1", E::Host("".into())),
        ("https://a..b", E::Host("a..b".into())),
        ("https://a b.c", E::Host("a b.c".into())),
        ("https://-a.b", E::Host("-a.b".into())),
        ("https://ä.b", E::Host("ä.b".into())),
        ("https://a\\b", E::Host("a\\b".into())),
        ("https://[::g]", E::Host("[::g]".into())),
        ("https://[::1]x", E::Host("[::1]x".into())),
        ("https://a.b:0", E::Port("0".into())),
        ("https://a.b:", E::Port("".into())),
        ("https://a.b:65536", E::Port("65536".into())),
        ("https://a.b:+80", E::Port("+80".into())),
        ("https://a.b/{tenant}", E::Placeholder("tenant".into())),
        ("https://{}.a.b", E::Placeholder("".into())),
        ("https://a.b/{resource", E::Brace),
        ("https://a.b/resource}", E::Brace),
        ("https://{resource}", E::OpenHost),
        ("https://{resource}.com", E::OpenHost),
        ("https://x.{resource}.com:443", E::OpenHost),
        ("https://a.b/c//d", E::Path("/c//d".into())),
        ("https://a.b/../d", E::Path("/../d".into())),
        ("https://a.b/c/.", E::Path("/c/.".into())),
        ("https://a.b/%2e%2e/c", E::Path("/%2e%2e/c".into())),
        ("https://a.b/c d", E::Path("/c d".into())),
        ("https://a.b/c\n", E::Path("/c\n".into())),
    ] {
        assert_eq!(BaseUrl::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_target_may_only_name_what_its_provider_fills() {
    let azure = built_in()
        .into_iter()
        .find(|one| one.is_called("azure-openai"))
        .expect("azure");
    let check = |text| azure.accepts(&BaseUrl::parse(text).expect(text)).is_ok();
    assert!(check("http://127.0.0.1:8790/azure/aoai"));
    assert!(check("http://127.0.0.1:8790/{resource}"));
    assert!(!check("http://127.0.0.1:8790/{region}"));
}

proptest! {
    #[test]
    fn a_base_url_shows_as_what_reads_the_same(
        text in "https?://[a-z{}._:@/\\[\\]0-9%-]{0,40}",
    ) {
        if let Ok(url) = BaseUrl::parse(&text) {
            prop_assert_eq!(BaseUrl::parse(&url.to_string()), Ok(url));
        }
    }
}
