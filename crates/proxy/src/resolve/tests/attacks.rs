//! What a hostile path may try, and what holds whatever it tries.

use super::*;

/// Paths that must lead nowhere.
const ATTACKS: &str = r"
    openai/../v1/models
    openai/files/..
    openai/./models
    openai/%2e%2e/admin
    openai/.%2E/admin
    openai/%252e%252e/admin
    openai/a%2f..%2fb
    openai/a\..\b
    openai/..;/b
    custom-acme/../secret
    azure-openai/../x/chat/completions
    azure-openai/evil.example/dep/chat/completions
    azure-openai/evil.example%2f/dep/chat/completions
    azure-openai/evil.example%23/dep/chat/completions
    azure-openai/user@evil/dep/chat/completions
    azure-openai/evil:80/dep/chat/completions
    azure-openai/evil\/dep/chat/completions
    azure-openai/-res/dep/chat/completions
    azure-openai/re_s/dep/chat/completions
    azure-openai/r%00/dep/chat/completions
    azure-openai/{resource}/dep/chat/completions
    azure-openai/%72es/dep/chat/completions
    azure-openai///res/dep/chat/completions
    azure-openai/res///dep/chat/completions
    azure-openai/res
    azure-openai/res/
    azure-openai/res/dep
    azure-openai/res/dep/
    azure-openai
    azure-openai/res/.../chat/completions
    azure-openai/res/de%70/chat/completions
    azure-openai/res/dep%2fx/chat/completions
    azure-openai/res/dep;x/chat/completions
    azure-openai/res/deployments//chat/completions
    azure-openai/res/deployments/d%2fx/chat/completions
    azure-openai/res/openai//deployments/d/chat/completions
    azure-openai/res/openai/deployments/%64/chat/completions
    azure-openai/res/openai/%64eployments/d/chat/completions
    azure-openai/res/openai/deployments/../../x
    azure/evil.example/anthropic/v1/messages
";

/// Segments that mean something to some rule, or try to.
const SEGMENTS: &str = r"
    . .. %2e%2e evil.example evil.example%2f @evil.example evil.example:80 evil.example# evil\
    res dep deployments openai responses v1 chat completions model abc123 bedrock-runtime
    bedrock-mantle us-east-1 anthropic projects locations us-central1 global publishers google
    run @cf @hf {resource} {region} %00 localhost 127.0.0.1 [::1]
";

#[test]
fn what_would_leave_its_place_is_refused() {
    for path in ATTACKS.split_whitespace() {
        check(path, REFUSED);
    }
    check(
        &format!("azure-openai/{}/d/chat/completions", "a".repeat(64)),
        REFUSED,
    );
    check(
        &format!("azure-openai/res/{}/chat/completions", "a".repeat(65)),
        REFUSED,
    );
}

/// Whether `host` is `template` with every placeholder filled by letters, digits and hyphens.
fn matches(template: &str, host: &str) -> bool {
    template.split('.').count() == host.split('.').count()
        && template
            .split('.')
            .zip(host.split('.'))
            .all(|(pattern, label)| {
                let Some((before, opened)) = pattern.split_once('{') else {
                    return pattern == label;
                };
                let after = opened.split_once('}').map_or("", |(_, after)| after);
                label
                    .strip_prefix(before)
                    .and_then(|label| label.strip_suffix(after))
                    .is_some_and(segment::is_label)
            })
}

fn segments() -> impl Strategy<Value = String> {
    let known = prop::sample::select(SEGMENTS.split_whitespace().collect::<Vec<_>>());
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => Just(String::new()), 1 => "[!$-;=@-_a-z|~%]{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_path_the_host_is_one_that_configuration_or_catalogue_names(
        provider in prop::sample::select(vec![
            "openai", "azure-openai", "azure", "aws-bedrock", "google-vertex-ai", "workers-ai",
            "fal", "baseten", "cohere", "custom-acme", "azure-openai-sa", "azure-any", "nowhere",
            "claude", "bedrock-eu", "compat", "..",
        ]),
        gateway in prop::sample::select(vec!["default", "support"]),
        account in prop::sample::select(vec!["local", ACCOUNT]),
        path in prop::collection::vec(segments(), 0..8),
        fal in "(https?://)?[a-z.@:/\\\\]{0,8}(fal\\.run|evil)?[/?#a.]{0,4}",
    ) {
        let uri = format!("/v1/{account}/{gateway}/{provider}/{}", path.join("/"));
        let Ok(uri) = uri.parse::<Uri>() else { return Ok(()); };
        let headers = HeaderMap::from_iter([(
            "x-fal-target-url".parse().expect("a name"),
            HeaderValue::from_str(&fal).expect("a value"),
        )]);
        let config = config();
        if let Ok(route) = resolve(&config, place(crate::exchange::path_of(&uri)), &headers) {
            let own = route.target.as_ref().and_then(|target| target.base_url.as_ref());
            let bases = [Some(&route.provider.base_url), route.provider.other_base_url.as_ref(), own];
            let host = route.authority.as_str();
            let is_fal = provider == "fal"
                && (["fal.run", "fal.ai"].contains(&host)
                    || host.ends_with(".fal.run")
                    || host.ends_with(".fal.ai"));
            let is_named = bases.into_iter().flatten().any(|base| matches(&base.authority, host));
            prop_assert!(is_fal || is_named, "{uri} leads to {host}");
            prop_assert!(!segment::has_dots(route.path.path()), "{}", route.path);
            prop_assert_eq!(own.is_some() || route.provider.trusted, route.trusted);
        }
    }

    #[test]
    fn no_uri_makes_it_panic(uri in "(\\*|/|/v1/|http://[a-z]{0,3})[!-~]{0,60}") {
        if let Ok(uri) = uri.parse::<Uri>() {
            let place = place(crate::exchange::path_of(&uri));
            let _ = resolve(&config(), place, &HeaderMap::new()).is_ok();
        }
    }
}
