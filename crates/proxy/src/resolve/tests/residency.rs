//! Gateways that are bound to regions: whatever a request names, it goes to a target there or nowhere.

use super::*;

const OUTSIDE: &str = "403 3018";

/// A gateway that is bound to two regions, with targets there, elsewhere, and of no region.
fn bound() -> Snapshot {
    let placed = |name: &str, provider: &str, region: Option<&str>, own: &str| {
        let mut target = (*target(name, provider, "", own)).clone();
        target.region = region.map(Into::into);
        Arc::new(target)
    };
    let gateway = Gateway {
        residency: vec!["eu-west-1".into(), "europe-west4".into()],
        targets: vec![
            placed("bedrock", "aws-bedrock", Some("eu-west-1"), ""),
            placed("vertex", "google-vertex-ai", Some("europe-west4"), ""),
            placed("fal-here", "fal", Some("eu-west-1"), ""),
            placed("baseten-here", "baseten", Some("eu-west-1"), ""),
            placed("openai-here", "openai", Some("EU-West-1"), ""),
            placed("elsewhere", "mistral", Some("us-east-1"), ""),
            placed("nowhere", "custom-acme", None, ""),
            placed(
                "own",
                "groq",
                Some("eu-west-1"),
                "http://127.0.0.1:9000/own",
            ),
        ],
        ..Gateway::new("local", "bound")
    };
    let providers = providers(&[]);
    Snapshot::new(vec![gateway], providers, Arc::default(), None, Vec::new())
}

fn resolved(path: &str, headers: &HeaderMap) -> Result<Route, Error> {
    let whole = format!("/v1/local/bound/{path}");
    resolve(&bound(), place(&whole), headers)
}

fn check(path: &str, expected: &str) {
    let shown = show(resolved(path, &HeaderMap::new()));
    let host = shown.split('/').nth(2).unwrap_or(&shown);
    assert_eq!(host, expected, "{path}");
}

#[test]
fn a_region_in_the_path_is_one_of_them() {
    let bedrock = |region: &str| format!("bedrock-runtime/{region}/model/m/invoke");
    let host = "bedrock-runtime.eu-west-1.amazonaws.com";
    check(&format!("aws-bedrock/{}", bedrock("eu-west-1")), host);
    for region in ["us-east-1", "eu-west-2"] {
        // Also below the name of a target that is there.
        check(&format!("aws-bedrock/{}", bedrock(region)), OUTSIDE);
        check(&format!("bedrock/{}", bedrock(region)), OUTSIDE);
    }
    let vertex = |location: &str| {
        format!("v1/projects/p/locations/{location}/publishers/google/models/g:generateContent")
    };
    let host = "europe-west4-aiplatform.googleapis.com";
    check(
        &format!("google-vertex-ai/{}", vertex("europe-west4")),
        host,
    );
    for location in ["us-central1", "global", "us"] {
        check(&format!("google-vertex-ai/{}", vertex(location)), OUTSIDE);
        check(&format!("vertex/{}", vertex(location)), OUTSIDE);
    }
    let anywhere = "google-vertex-ai/v1/publishers/google/models/g:generateContent";
    check(anywhere, OUTSIDE);
}

#[test]
fn a_host_that_the_request_chooses_is_none_of_them() {
    check("fal/fal-ai/flux", "fal.run");
    let mut headers = HeaderMap::new();
    let address = HeaderValue::from_static("https://queue.fal.run/fal-ai/flux");
    headers.insert("x-fal-target-url", address);
    assert_eq!(show(resolved("fal/fal-ai/flux", &headers)), OUTSIDE);
    check("baseten/model/abcd1234/production/predict", OUTSIDE);
}

#[test]
fn what_is_no_target_or_elsewhere_is_not_served() {
    check("openai/chat/completions", "api.openai.com");
    check("own/chat/completions", "127.0.0.1:9000");
    for provider in [
        "mistral",
        "elsewhere",
        "custom-acme",
        "nowhere",
        "anthropic",
        "azure-openai/sa",
    ] {
        check(&format!("{provider}/v1/chat/completions"), OUTSIDE);
    }
}

#[test]
fn no_fallback_balance_or_hedge_leads_outside() {
    let config = bound();
    let path = "/v1/local/bound/openai/chat/completions";
    let headers = HeaderMap::new();
    let route = resolve(&config, place(path), &headers).unwrap();
    let to = |name: &str| {
        let mut targets = route.gateway.targets.iter();
        let target = targets.find(|target| *target.name == *name).unwrap();
        redirect(
            &config,
            &route,
            target,
            (place(path), &headers),
            (None, None),
        )
    };
    assert_eq!(to("own").unwrap().authority.as_str(), "127.0.0.1:9000");
    for name in ["elsewhere", "nowhere"] {
        let why = to(name).unwrap_err();
        assert!(
            why.contains("`residency` allows only targets in eu-west-1"),
            "{why}"
        );
    }
}
