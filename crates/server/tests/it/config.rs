//! The configuration as requests feel it.

use isango_server::config::{Config, Sources};
use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::upstream::Upstream;

use crate::harness::{Harness, providers};

fn models(gateway: &str) -> Ask {
    Ask::get(&format!("/v1/local/{gateway}/openai/models")).with("authorization", "Bearer sk")
}

#[tokio::test]
async fn a_new_configuration_holds_for_the_next_request() {
    let upstream = Upstream::start_by(|_| json("{}")).await;
    let gateway = Harness::start(&format!(
        "{}[[gateways]]\nid = \"one\"",
        providers(&upstream)
    ))
    .await;
    assert_eq!(gateway.ask(&models("one")).await.status(), 200);
    assert_eq!(gateway.ask(&models("two")).await.status(), 400);
    let text = format!("{}[[gateways]]\nid = \"two\"", providers(&upstream));
    gateway
        .server
        .reload(&Config::parse(&text, &Sources::default()).unwrap());
    assert_eq!(gateway.ask(&models("one")).await.status(), 400);
    assert_eq!(gateway.ask(&models("two")).await.status(), 200);
}

#[tokio::test]
async fn a_configured_token_opens_its_gateway_and_no_other() {
    let upstream = Upstream::start_by(|_| json("{}")).await;
    let text = format!(
        "{}[[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\ngateways = [\"one\"]\n\
         [[gateways]]\nid = \"one\"\nauthentication = true\n\
         [[gateways]]\nid = \"two\"\nauthentication = true\n",
        providers(&upstream)
    );
    let gateway = Harness::start(&text).await;
    let status = async |id: &str, token: &str| {
        let request = models(id).with("cf-aig-authorization", &format!("Bearer {token}"));
        gateway.ask(&request).await.status()
    };
    assert_eq!(status("one", "isg_0123456789abcdef").await, 200);
    assert_eq!(status("one", "isg_0123456789abcdeg").await, 401);
    assert_eq!(status("two", "isg_0123456789abcdef").await, 401);
    assert_eq!(gateway.ask(&models("one")).await.status(), 401);
    let records = gateway.records(1).await;
    assert_eq!(records[0].token.as_deref(), Some("app"));
    assert!(
        upstream
            .request(0)
            .await
            .head
            .header("cf-aig-authorization")
            .is_none()
    );
}

#[tokio::test]
async fn a_target_lends_its_credential_and_its_address() {
    let upstream = Upstream::start_by(|_| json("{}")).await;
    let text = format!(
        "[[gateways]]\nid = \"one\"\n[[gateways.targets]]\nname = \"t\"\nprovider = \"openai\"\n\
         credential = \"sk-of-the-operator\"\nbase_url = \"{}/private\"\n",
        upstream.url()
    );
    let gateway = Harness::start(&text).await;
    let reply = gateway.ask(&Ask::get("/v1/local/one/openai/models")).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let received = upstream.request(0).await;
    assert_eq!(
        received.head.header("authorization"),
        Some("Bearer sk-of-the-operator")
    );
    assert_eq!(gateway.record().await.target.as_deref(), Some("t"));
}

#[tokio::test]
async fn an_own_provider_is_called_with_its_headers() {
    let upstream = Upstream::start_by(|_| json("{}")).await;
    let text = format!(
        "[providers.custom-acme]\nbase_url = \"{}/api\"\nheaders = {{ x-team = \"red\" }}\n",
        upstream.url()
    );
    let gateway = Harness::start(&text).await;
    let reply = gateway
        .ask(&Ask::get("/v1/local/default/custom-acme/v1/models"))
        .await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let received = upstream.request(0).await;
    assert_eq!(received.head.header("x-team"), Some("red"));
}
