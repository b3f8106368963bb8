//! Who shares what with whom.

use isango_testkit::client::Ask;
use isango_testkit::fixtures::PROMPT;

use super::{asking, counting, gateway, question, status};
use crate::harness::{CHAT, Harness};

#[tokio::test]
async fn nothing_is_shared_between_questions_that_differ_in_anything() {
    let upstream = counting().await;
    let url = upstream.url();
    let settings = "[[gateways]]\nid = \"other\"\n";
    let gateway = Harness::with(settings, &upstream).await;
    let ask = |path: &str, key: &str| {
        Ask::post(path, PROMPT)
            .with("authorization", key)
            .with("cf-aig-cache-ttl", "3600")
    };
    let one = "Bearer sk-one";
    let base = ask(CHAT, one);
    assert_eq!(status(&gateway.ask(&base).await), "MISS");
    let mut others = vec![
        ask("/v1/local/other/openai/chat/completions", one),
        ask("/v1/else/default/openai/chat/completions", one),
        ask("/v1/local/default/openai/chat/completions?a=1", one),
        ask("/v1/local/default/openai/chat/completions?a=2", one),
        ask("/v1/local/default/openai/completions", one),
        ask(CHAT, "Bearer sk-two"),
        asking(&PROMPT.replace("isiZulu", "isiXhosa")),
        asking(&PROMPT.replace("gpt-4o", "gpt-4.1")),
        asking(&format!("{PROMPT} ")),
    ];
    for (name, value) in [
        ("cf-aig-cache-key", "acme"),
        ("cf-aig-cache-key", "globex"),
        ("openai-organization", "org-1"),
        ("openai-organization", "org-2"),
        ("accept", "text/event-stream"),
        ("cookie", "a=b"),
        ("x-of-somebody-else", "1"),
        // What a proxy before the gateway tells of who asks.
        ("x-forwarded-user", "ann"),
        ("x-forwarded-access-token", "t1"),
        ("x-vercel-oidc-token", "t1"),
        ("x-envoy-auth-partial", "p1"),
    ] {
        others.push(base.clone().with(name, value));
    }
    let azure = |resource: &str, key: &str| {
        let path = format!("/v1/local/default/azure-openai/{resource}/d/chat/completions");
        Ask::post(&path, PROMPT)
            .with("api-key", key)
            .with("cf-aig-cache-ttl", "3600")
    };
    others.extend([azure("one", "k1"), azure("two", "k1"), azure("one", "k2")]);
    for (n, other) in others.iter().enumerate() {
        let reply = gateway.ask(other).await;
        assert_eq!(status(&reply), "MISS", "{other:?}");
        assert_eq!(reply.json()["n"], n + 1, "{url} {other:?}");
    }
    for (n, other) in std::iter::once(&base).chain(&others).enumerate() {
        let reply = gateway.ask(other).await;
        assert_eq!((status(&reply), &reply.json()["n"]), ("HIT", &n.into()));
    }
    // What is about the way does not matter.
    for (name, value) in [
        ("user-agent", "another"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-ms-client-request-id", "1"),
        ("cf-aig-metadata", "{\"tenantId\":\"acme\"}"),
        ("cf-aig-event-id", "e1"),
    ] {
        let reply = gateway.ask(&base.clone().with(name, value)).await;
        assert_eq!((status(&reply), &reply.json()["n"]), ("HIT", &0.into()));
    }
}

#[tokio::test]
async fn in_replace_mode_the_key_stands_for_the_question() {
    let upstream = counting().await;
    let settings = gateway("cache_key_mode = \"replace\"");
    let gateway = Harness::with(&settings, &upstream).await;
    let under = |body: &str, credential: &str, key: &str| {
        Ask::post(CHAT, body.to_owned())
            .with("authorization", credential)
            .with("cf-aig-cache-key", key)
    };
    for (ask, expected, n) in [
        (under(PROMPT, "Bearer a", "k"), "MISS", 0),
        (under("{}", "Bearer b", "k"), "HIT", 0),
        (under(PROMPT, "Bearer a", "l"), "MISS", 1),
        (
            Ask::post(CHAT, PROMPT).with("authorization", "Bearer a"),
            "BYPASS",
            2,
        ),
        (question(), "MISS", 3),
    ] {
        let reply = gateway.ask(&ask).await;
        assert_eq!((status(&reply), &reply.json()["n"]), (expected, &n.into()));
    }
}

#[tokio::test]
async fn a_gateway_can_demand_a_scope() {
    let upstream = counting().await;
    let token = |name: &str, secret: &str, tenant: &str| {
        format!(
            "[[tokens]]\nname = \"{name}\"\nsecret = \"{secret}\"\n\
             metadata = {{ tenantId = \"{tenant}\" }}\n"
        )
    };
    let settings = gateway("cache_ttl = 600\ncache_scope = \"metadata.tenantId\"")
        + &token("a", "isg_aaaaaaaaaaaaaaaa", "acme")
        + &token("g", "isg_gggggggggggggggg", "globex");
    let gateway = Harness::with(&settings, &upstream).await;
    let plain = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    let as_tenant = |tenant: &str| {
        let metadata = format!("{{\"tenantId\":\"{tenant}\"}}");
        plain.clone().with("cf-aig-metadata", &metadata)
    };
    let with_token = |token: &str| as_tenant("acme").with("cf-aig-authorization", token);
    for (ask, expected) in [
        (plain.clone(), "BYPASS"),
        (
            plain.clone().with("cf-aig-metadata", "{\"userId\":1}"),
            "BYPASS",
        ),
        (as_tenant("acme"), "MISS"),
        (as_tenant("acme"), "HIT"),
        (as_tenant("globex"), "MISS"),
        // What a token is bound to wins over what is claimed.
        (with_token("isg_gggggggggggggggg"), "MISS"),
        (with_token("isg_gggggggggggggggg"), "HIT"),
        (with_token("isg_aaaaaaaaaaaaaaaa"), "MISS"),
    ] {
        assert_eq!(status(&gateway.ask(&ask).await), expected, "{ask:?}");
    }
    let bypassed = gateway.records(8).await.remove(0).cache.unwrap();
    assert_eq!(
        bypassed.reason.as_deref(),
        Some("the request does not name what cache_scope asks for")
    );
}

/// The header that a provider of one's own takes its key in counts by whatever name.
#[tokio::test]
async fn a_credential_keeps_callers_apart_by_whatever_name_it_travels() {
    for name in ["x-request-id", "user-agent", "x-forwarded-for", "cf-own"] {
        let upstream = counting().await;
        let toml = format!(
            "[providers.custom-own]\nbase_url = \"{}\"\nauth = {{ header = \"{name}\" }}\n",
            upstream.url()
        );
        let gateway = Harness::start(&toml).await;
        for (credential, expected) in [("key-1", "MISS"), ("key-2", "MISS"), ("key-1", "HIT")] {
            let ask = Ask::post("/v1/local/default/custom-own/ask", "{}")
                .with(name, credential)
                .with("cf-aig-cache-ttl", "3600");
            assert_eq!(status(&gateway.ask(&ask).await), expected, "{name}");
        }
    }
}
