use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use isango_types::record::MetadataValue;
use isango_types::{Gateway, Provider, Target};
use proptest::prelude::*;

use super::*;
use crate::ask::Limits;
use crate::resolve::Route;

/// Everything that a question is made of, in a shape that is easily varied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    account: String,
    gateway: String,
    tenant: Option<String>,
    key: Option<String>,
    bound: Option<String>,
    provider: usize,
    target: Option<String>,
    host: String,
    is_https: bool,
    method: usize,
    path: String,
    model: Option<String>,
    headers: Vec<(&'static str, String)>,
    /// Where the provider takes its key.
    slot: String,
    /// One more header.
    named: Option<(String, String)>,
    body: Vec<u8>,
}

const METHODS: [Method; 2] = [Method::POST, Method::PUT];
const SLUGS: [&str; 2] = ["openai", "azure-openai"];

fn asked() -> Asked {
    Asked {
        account: "local".into(),
        gateway: "support".into(),
        tenant: None,
        key: None,
        bound: None,
        provider: 0,
        target: None,
        host: "api.openai.com".into(),
        is_https: true,
        method: 0,
        path: "/v1/chat/completions?a=1".into(),
        model: Some("gpt-4o".into()),
        headers: vec![("authorization", "Bearer one".into())],
        slot: "authorization".into(),
        named: None,
        body: br#"{"model":"gpt-4o"}"#.to_vec(),
    }
}

/// Its key and its prints.
fn digest(asked: &Asked, replaces: bool) -> (Key, Prints) {
    let built_in = Provider::built_in().unwrap();
    let of = |slug: &str| built_in.iter().find(|p| *p.slug == *slug).unwrap().clone();
    let target = asked.target.as_ref().map(|name| {
        Arc::new(Target {
            weight: 1,
            name: name.as_str().into(),
            provider: SLUGS[asked.provider].into(),
            resource: None,
            region: None,
            credential: None,
            models: Default::default(),
            base_url: None,
            api_version: None,
            timeouts: Default::default(),
        })
    });
    let mut provider = of(SLUGS[asked.provider]);
    provider.auth.header = asked.slot.as_str().into();
    let route = Arc::new(Route {
        group: None,
        gateway: Arc::new(Gateway::new(&asked.account, &asked.gateway)),
        provider: Arc::new(provider),
        target,
        resource: None,
        deployment: None,
        model: None,
        https: asked.is_https,
        authority: asked.host.parse().unwrap(),
        trusted: false,
        path: asked.path.parse().unwrap(),
        wire: isango_types::Wire::Openai,
        credential_header: None,
        signs_as: None,
    });
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        headers.append(*name, value.parse().unwrap());
    }
    if let Some((name, value)) = &asked.named {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let token = asked.bound.as_ref().map(|bound| Token {
        metadata: [(
            "tenantId".into(),
            MetadataValue::Text(bound.as_str().into()),
        )]
        .into(),
        ..Token::new("local", "app")
    });
    let body = Bytes::from(asked.body.clone());
    let looking = Looking {
        route: &route,
        limits: &Limits::default(),
        has_plan: false,
        method: &METHODS[asked.method],
        headers: &headers,
        credential: None,
        body: &body,
        terms: Box::new(Terms {
            ttl: Duration::from_secs(60),
            max_age: None,
            reads: true,
            key: asked.key.as_ref().map(|key| key.parse().unwrap()),
            replaces,
            tenant: asked.tenant.as_deref().map(Into::into),
        }),
        shares: true,
    };
    let question = Question {
        account: &asked.account,
        model: asked.model.as_deref(),
        token: token.as_ref(),
        looking: &looking,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let key = runtime.unwrap().block_on(question.key()).unwrap();
    (key, question.prints())
}

fn key(asked: &Asked) -> Key {
    digest(asked, false).0
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[ab]{0,2}")
}

prop_compose! {
    /// Few values for each part, so that questions are often equal in most of them.
    fn any_asked()(
        account in "[ab]{1,2}",
        gateway in "[ab]{1,2}",
        [tenant, key, bound] in [maybe(), maybe(), maybe()],
        [target, model] in [maybe(), maybe()],
        (provider, method) in (0..2_usize, 0..2_usize),
        host in "[ab]{1,2}",
        is_https in any::<bool>(),
        path in "/[ab]{0,2}(\\?[ab]{0,2})?",
        headers in prop::collection::vec(
            (prop::sample::select(vec!["authorization", "api-key", "accept", "openai-organization"]),
             "[ab]{0,2}"),
            0..3,
        ),
        body in prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..3),
    ) -> Asked {
        // Values of one name count in their order; those of different names in none.
        let mut headers = headers;
        headers.sort_by_key(|(name, _)| *name);
        Asked {
            account, gateway, tenant, key, bound, provider, target, host, is_https, method, path,
            model, headers, body, slot: "authorization".into(), named: None,
        }
    }
}

/// A target without a name of its own goes by its provider's slug.
fn normal(mut asked: Asked) -> Asked {
    asked.target.get_or_insert(SLUGS[asked.provider].to_owned());
    asked
}

proptest! {
    #[test]
    fn two_questions_share_a_key_only_if_they_are_equal_in_every_part(
        one in any_asked(),
        other in any_asked(),
    ) {
        prop_assert_eq!(key(&one) == key(&other), normal(one) == normal(other));
    }

    /// A change in one part alone is a change, whatever the others are.
    #[test]
    fn each_part_keeps_questions_apart(one in any_asked(), part in 0..14_usize) {
        let mut other = one.clone();
        let longer = |text: &mut String| text.push('c');
        let named = |text: &mut Option<String>| text.get_or_insert_default().push('c');
        match part {
            0 => longer(&mut other.account),
            1 => longer(&mut other.gateway),
            2 => named(&mut other.tenant),
            3 => named(&mut other.key),
            4 => named(&mut other.bound),
            5 => other.provider = 1 - other.provider,
            6 => named(&mut other.target),
            7 => longer(&mut other.host),
            8 => other.is_https = !other.is_https,
            9 => other.method = 1 - other.method,
            10 => longer(&mut other.path),
            11 => named(&mut other.model),
            12 => other.headers.push(("anthropic-version", "c".into())),
            _ => other.body.push(b'c'),
        }
        let (mine, my_prints) = digest(&one, false);
        let (theirs, their_prints) = digest(&other, false);
        prop_assert_ne!(mine, theirs);
        prop_assert!(!my_prints.differ(&their_prints).is_empty());
    }

    /// Exactly Cloudflare's sharing: by gateway and key, whatever else.
    #[test]
    fn in_replace_mode_the_key_stands_for_everything_but_the_gateway_and_its_scope(
        one in any_asked(),
        other in any_asked(),
    ) {
        let share = digest(&one, true).0 == digest(&other, true).0;
        let of = |asked: &Asked| (
            asked.account.clone(),
            asked.gateway.clone(),
            asked.tenant.clone(),
            asked.key.clone().unwrap_or_default(),
        );
        prop_assert_eq!(share, of(&one) == of(&other));
        prop_assert_ne!(digest(&one, true).0, digest(&one, false).0);
    }
}

#[test]
fn what_is_about_the_way_does_not_keep_questions_apart() {
    let plain = key(&asked());
    for name in [
        "user-agent",
        "accept-encoding",
        "traceparent",
        "tracestate",
        "x-request-id",
        "x-ms-client-request-id",
        "x-stainless-retry-count",
        "idempotency-key",
        "x-forwarded-for",
        "x-correlation-id",
        "sec-fetch-mode",
    ] {
        let mut with = asked();
        with.headers.push((name, "v".into()));
        assert_eq!(key(&with), plain, "{name}");
    }
    for name in [
        "accept",
        "content-type",
        "openai-beta",
        "cookie",
        "x-nobody-knows",
    ] {
        let mut with = asked();
        with.headers.push((name, "v".into()));
        assert_ne!(key(&with), plain, "{name}");
    }
}

/// Names of headers: those that are known, and others.
fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&ABOUT_THE_WAY[..]).prop_map(str::to_owned),
        "(x-|cf-|sec-|x-forwarded-|x-stainless-|x-b3-|x-envoy-|x-vercel-)?[a-z]{1,8}",
        "x-[a-z]{0,4}(key|token|auth|secret|user|session|jwt)[a-z-]{0,3}",
    ]
}

proptest! {
    /// No header that may carry a credential is left out, however much it looks like one of the
    /// way; nor is that in which the provider takes its key.
    #[test]
    fn a_credential_in_any_header_keeps_questions_apart(
        name in header_name(),
        [one, other] in ["[a-f0-9]{8}", "[a-f0-9]{8}"],
    ) {
        let with = |value: &str, slot: &str| {
            let mut asked = asked();
            asked.slot = slot.into();
            asked.named = Some((name.clone(), value.to_owned()));
            key(&asked)
        };
        let differ = one != other;
        prop_assert_eq!(with(&one, &name) != with(&other, &name), differ);
        let plain = with(&one, "authorization") != with(&other, "authorization");
        let counts = secrets::is_secret_name(&name) || !is_about_the_way(&name);
        prop_assert_eq!(plain, differ && counts);
    }
}

#[test]
fn who_asks_keeps_questions_apart_although_a_proxy_tells_it() {
    let plain = key(&asked());
    for name in [
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-forwarded-client-cert",
        "x-vercel-oidc-token",
        "x-stainless-api-key",
        "sec-session-token",
    ] {
        let mut with = asked();
        with.headers.push((name, "v".into()));
        assert_ne!(key(&with), plain, "{name}");
    }
}

#[test]
fn a_text_that_moves_from_one_part_to_the_next_is_another_question() {
    let mut keys = HashSet::new();
    let pairs = [("ab", ""), ("a", "b"), ("", "ab")];
    for (scope, body) in pairs {
        let mut moved = asked();
        moved.key = Some(scope.into());
        moved.body = body.into();
        assert!(keys.insert(key(&moved)));
    }
}

#[test]
fn a_header_cannot_stand_for_another_part() {
    let mut with_header = asked();
    with_header.model = None;
    with_header.headers = vec![("model", "gpt-4o".into())];
    let mut with_model = asked();
    with_model.headers.clear();
    assert_ne!(key(&with_header), key(&with_model));
}

#[test]
fn a_long_body_has_the_key_that_its_parts_make() {
    let mut long = asked();
    long.body = vec![b'x'; LONG_BODY + 1];
    let whole = key(&long);
    assert_eq!(whole, key(&long));
    *long.body.last_mut().unwrap() = b'y';
    assert_ne!(whole, key(&long));
}

#[test]
fn the_parts_in_which_questions_differ_are_named() {
    let (_, one) = digest(&asked(), false);
    let mut other = asked();
    other.model = Some("gpt-4.1".into());
    other.headers.push(("accept", "text/event-stream".into()));
    let (_, other) = digest(&other, false);
    assert_eq!(one.differ(&other), ["model", "header accept"]);
    assert!(one.differ(&one).is_empty());
}

#[test]
fn the_names_that_are_searched_are_sorted() {
    for pair in ABOUT_THE_WAY.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
    }
}
