//! Credentials that are made ready for each send: signatures of AWS, and tokens of Entra and Google
//! from scripted issuers.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use isango_testkit::answer::{Answer, Step, json, status};
use isango_testkit::client::{Ask, Client};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::{Received, Upstream};
use isango_testkit::within;
use serde_json::{Value, json as value};

use crate::harness::Harness;

const AZURE: &str = "/v1/local/default/azure-openai/res/dep/chat/completions";
const TOKEN: &str = "issued-token-4Kd9sXw2";

fn issued(life: u64) -> Answer {
    json(format!(
        "{{\"token_type\":\"Bearer\",\"expires_in\":{life},\"access_token\":\"{TOKEN}\"}}"
    ))
}

/// A gateway whose target for a provider has this credential, before a provider that answers.
async fn gateway(provider: &str, more: &str, credential: &Value) -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.targets]]\nname = \"own\"\n\
         provider = \"{provider}\"\n{more}\nbase_url = \"{}\"\ncredential = '{credential}'\n",
        upstream.url()
    );
    let gateway = Harness::start(&settings).await;
    (upstream, gateway)
}

fn text(received: &Received) -> String {
    String::from_utf8_lossy(&received.body).into_owned()
}

fn entra(issuer: &Upstream) -> Value {
    value!({
        "entra": "client_credentials", "tenantId": "tenant-1", "clientId": "app-1",
        "clientSecret": "planted~secret/7h3K9yQ2mZ", "authority": issuer.url()
    })
}

#[tokio::test]
async fn an_application_of_entra_asks_once_for_all_that_wait() {
    let issuer = Upstream::start([issued(3_600).first(Step::Wait)]).await;
    let (upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &entra(&issuer)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(gateway.addr).await;
        client.send_ask(&Ask::post(AZURE, PROMPT)).await;
        clients.push(client);
    }
    let asked = issuer.request(0).await;
    issuer.go();
    for client in &mut clients {
        assert_eq!(client.reply().await.status(), 200);
    }
    assert_eq!(asked.head.target, "/tenant-1/oauth2/v2.0/token");
    assert_eq!(
        text(&asked),
        "grant_type=client_credentials&client_id=app-1&client_secret=planted~secret%2F7h3K9yQ2mZ&\
         scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
    );
    assert_eq!(issuer.count(), 1, "one question for all");
    for received in upstream.requests() {
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(received.head.header("authorization"), Some(&*bearer));
        assert_eq!(received.head.header("api-key"), None);
    }
}

#[tokio::test]
async fn a_token_is_at_hand_before_the_first_request_and_replaced_before_its_end() {
    // Due again after four fifths of its life.
    let issuer = Upstream::start([issued(10), issued(3_600)]).await;
    let (_upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &entra(&issuer)).await;
    issuer.request(0).await;
    tokio::time::pause();
    // The housekeeping looks every five seconds.
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    tokio::time::resume();
    issuer.request(1).await;
    assert_eq!(gateway.ask(&Ask::post(AZURE, PROMPT)).await.status(), 200);
    assert_eq!(issuer.count(), 2);
}

#[tokio::test]
async fn without_a_token_a_request_fails_at_once_and_says_so() {
    let planted = "planted~secret/7h3K9yQ2mZ";
    let refusal = format!(
        "{{\"error\":\"invalid_client\",\"error_description\":\"wrong secret {planted}\"}}"
    );
    for answer in [
        status(401)
            .header("content-type", "application/json")
            .body(refusal),
        status(500),
        json("no JSON"),
        json("{\"access_token\":\"with\\nbreak\"}"),
        Answer::raw([Step::Reset]),
    ] {
        let issuer = Upstream::start([answer]).await;
        let (upstream, gateway) =
            gateway("azure-openai", "resource = \"res\"", &entra(&issuer)).await;
        let reply = gateway.ask(&Ask::post(AZURE, PROMPT)).await;
        let json = reply.json();
        assert_eq!(
            (reply.status(), &json["internalCode"]),
            (502, &3031.into()),
            "{json}"
        );
        assert_eq!(upstream.count(), 0);
        let record = gateway.record().await;
        assert_eq!(
            record.attempts[0].error.as_deref(),
            Some("credential_failed")
        );
        assert_eq!(record.cost.nanousd, Some(0), "nothing was sent");
        let record = serde_json::to_string(&record).unwrap();
        assert!(!record.contains("planted"), "{record}");
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_holds_nobody_up_for_long() {
    let issuer = Upstream::start([issued(3_600).first(Step::Wait)]).await;
    let (_upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &entra(&issuer)).await;
    issuer.request(0).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&Ask::post(AZURE, PROMPT)).await;
    let answered = within("the refusal", async {
        let mut reply = std::pin::pin!(client.reply());
        loop {
            tokio::select! {
                reply = &mut reply => return reply,
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    tokio::time::pause();
                    tokio::time::advance(Duration::from_secs(1)).await;
                    tokio::time::resume();
                }
            }
        }
    });
    let reply = answered.await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (502, &3031.into())
    );
}

/// Two gateways, whose targets have a credential each.
async fn two_gateways(one: &Value, other: &Value) -> (Upstream, Harness) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = |id: &str, credential: &Value| {
        format!(
            "[[gateways]]\nid = \"{id}\"\n[[gateways.targets]]\nname = \"own\"\n\
             provider = \"azure-openai\"\nresource = \"res\"\nbase_url = \"{}\"\n\
             credential = '{credential}'\n",
            upstream.url()
        )
    };
    let settings = format!("{}{}", gateway("default", one), gateway("other", other));
    let gateway = Harness::start(&settings).await;
    (upstream, gateway)
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_keeps_no_other_from_being_asked() {
    let silent = Upstream::start([issued(3_600).first(Step::Wait)]).await;
    let issuer = Upstream::start([issued(3_600)]).await;
    let (_upstream, _gateway) = two_gateways(&entra(&silent), &entra(&issuer)).await;
    silent.request(0).await;
    // Ahead of any request, while the first one is still waited for.
    let asked = tokio::time::timeout(Duration::from_secs(3), issuer.request(0)).await;
    assert!(asked.is_ok(), "the other issuer was not asked");
    silent.go();
}

#[tokio::test]
async fn who_leaves_while_a_token_is_asked_for_leaves_the_question_to_others() {
    let issuer = Upstream::start([issued(3_600).first(Step::Wait)]).await;
    let (_upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &entra(&issuer)).await;
    issuer.request(0).await;
    let mut first = Client::connect(gateway.addr).await;
    first.send_ask(&Ask::post(AZURE, PROMPT)).await;
    let mut second = Client::connect(gateway.addr).await;
    second.send_ask(&Ask::post(AZURE, PROMPT)).await;
    drop(first);
    issuer.go();
    assert_eq!(second.reply().await.status(), 200);
    assert_eq!(issuer.count(), 1, "nobody asked anew");
}

#[tokio::test]
async fn a_token_that_the_provider_refuses_is_replaced_once() {
    let fresh = "fresh-token-8Qm2Lr5v";
    let issuer = Upstream::start([
        issued(3_600),
        json(format!(
            "{{\"expires_in\":3600,\"access_token\":\"{fresh}\"}}"
        )),
    ])
    .await;
    let provider = Upstream::start_by(move |received| {
        match received.head.header("authorization") == Some(&*format!("Bearer {fresh}")) {
            true => json(COMPLETION),
            false => status(401),
        }
    })
    .await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.targets]]\nname = \"own\"\n\
         provider = \"azure-openai\"\nresource = \"res\"\nbase_url = \"{}\"\ncredential = '{}'\n",
        provider.url(),
        entra(&issuer)
    );
    let gateway = Harness::start(&settings).await;
    issuer.request(0).await;
    let ask = Ask::post(AZURE, PROMPT);
    assert_eq!(
        gateway.ask(&ask).await.status(),
        401,
        "as the provider gave it"
    );
    assert_eq!(provider.count(), 1, "nothing is sent more often than asked");
    assert_eq!(gateway.ask(&ask).await.status(), 200);
    assert_eq!((issuer.count(), provider.count()), (2, 2));
}

#[tokio::test]
async fn a_provider_that_refuses_every_token_has_no_flood_of_questions_asked() {
    let issuer = Upstream::start([issued(3_600)]).await;
    let provider = Upstream::start([status(401)]).await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\n[[gateways.targets]]\nname = \"own\"\n\
         provider = \"azure-openai\"\nresource = \"res\"\nbase_url = \"{}\"\ncredential = '{}'\n",
        provider.url(),
        entra(&issuer)
    );
    let gateway = Harness::start(&settings).await;
    for _ in 0..20 {
        assert_eq!(gateway.ask(&Ask::post(AZURE, PROMPT)).await.status(), 401);
    }
    assert_eq!((provider.count(), issuer.count()), (20, 2));
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_file_as_it_is_then() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "federated.jwt.one\n").unwrap();
    let issuer = Upstream::start([issued(3_600)]).await;
    let credential = value!({
        "entra": "workload_identity", "tenantId": "tenant-1", "clientId": "app-1",
        "tokenFile": file, "authority": issuer.url(), "scope": "api://own/.default"
    });
    let (_upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &credential).await;
    assert_eq!(gateway.ask(&Ask::post(AZURE, PROMPT)).await.status(), 200);
    assert_eq!(
        text(&issuer.request(0).await),
        "grant_type=client_credentials&client_id=app-1&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&\
         client_assertion=federated.jwt.one&scope=api%3A%2F%2Fown%2F.default"
    );
}

#[tokio::test]
async fn a_machine_asks_its_metadata_service() {
    let told = format!("{{\"access_token\":\"{TOKEN}\",\"expires_in\":\"3599\"}}");
    let service = Upstream::start([json(told)]).await;
    let credential = value!({
        "entra": "managed_identity", "clientId": "identity-1", "authority": service.url()
    });
    let (_upstream, gateway) = gateway("azure-openai", "resource = \"res\"", &credential).await;
    assert_eq!(gateway.ask(&Ask::post(AZURE, PROMPT)).await.status(), 200);
    let head = service.request(0).await.head;
    assert_eq!(
        head.target,
        "/metadata/identity/oauth2/token?api-version=2018-02-01&\
         resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=identity-1"
    );
    assert_eq!(
        (&*head.method, head.header("metadata")),
        ("GET", Some("true"))
    );
}

#[tokio::test]
async fn a_service_account_of_google_signs_what_it_asks_with() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let issuer = Upstream::start([issued(3_600)]).await;
    let token_uri = format!("{}/token", issuer.url());
    let credential = value!({
        "type": "service_account", "project_id": "p", "private_key_id": "key-1",
        "private_key": pem, "client_email": "robot@p.iam", "token_uri": token_uri
    });
    let (upstream, gateway) = gateway("google-vertex-ai", "", &credential).await;
    let path = "/v1/local/default/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/\
                google/models/gemini-2.5-flash:generateContent";
    assert_eq!(gateway.ask(&Ask::post(path, "{}")).await.status(), 200);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(
        upstream.request(0).await.head.header("authorization"),
        Some(&*bearer)
    );
    let asked = text(&issuer.request(0).await);
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let assertion = asked.strip_prefix(grant).unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
        .verify(signed.as_bytes(), &decoded(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| serde_json::from_slice::<Value>(&decoded(part)).unwrap();
    assert_eq!(
        read(header),
        value!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" })
    );
    let claims = read(claims);
    let lives = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!((&claims["aud"], lives), (&token_uri.into(), 3_600));
    assert_eq!(claims["iss"], "robot@p.iam");
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/cloud-platform"
    );
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(!record.contains(TOKEN));
}

#[tokio::test]
async fn a_service_account_that_a_request_brings_is_exchanged_once_and_nowhere_else() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let key = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    let (issuer, elsewhere) = (
        Upstream::start([issued(3_600)]).await,
        Upstream::start([issued(3_600)]).await,
    );
    let upstream = Upstream::start([json("{}")]).await;
    let settings = format!(
        "[providers.google-vertex-ai]\nbase_url = \"{}\"\ntoken_url = \"{}/token\"\n",
        upstream.url(),
        issuer.url()
    );
    let gateway = Harness::start(&settings).await;
    let account = value!({
        "type": "service_account", "project_id": "p", "private_key_id": "key-1", "private_key": pem,
        "client_email": "robot@p.iam", "region": "us-central1",
        "token_uri": format!("{}/token", elsewhere.url())
    });
    let sent = STANDARD.encode(account.to_string());
    let path = "/v1/local/default/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/\
                google/models/gemini-2.5-flash:generateContent";
    let ask = Ask::post(path, "{}").with("authorization", &format!("Bearer {sent}"));
    for at in 0..2 {
        assert_eq!(gateway.ask(&ask).await.status(), 200);
        let head = upstream.request(at).await.head;
        assert_eq!(
            head.header("authorization"),
            Some(&*format!("Bearer {TOKEN}"))
        );
        assert!(!String::from_utf8_lossy(&head.raw).contains(&sent[..40]));
    }
    assert_eq!((issuer.count(), elsewhere.count()), (1, 0));
    // A token of Google's own crosses as it came.
    let own = Ask::post(path, "{}").with("authorization", "Bearer ya29.own");
    assert_eq!(gateway.ask(&own).await.status(), 200);
    let head = upstream.request(2).await.head;
    assert_eq!(head.header("authorization"), Some("Bearer ya29.own"));
    let records = serde_json::to_string(&gateway.records(3).await).unwrap();
    assert!(!records.contains(TOKEN) && !records.contains(&key[..40]));
}

fn aws() -> Value {
    value!({
        "accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
        "sessionToken": "planted-session-token"
    })
}

const BEDROCK: &str =
    "/v1/local/default/aws-bedrock/bedrock-runtime/eu-west-1/model/a.b-v1%3A0/converse";

#[tokio::test]
async fn a_request_to_bedrock_is_signed_over_its_body_at_each_send() {
    let upstream = Upstream::start([status(503), json("{}")]).await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\nretry = {{ max_attempts = 2, delay_ms = 1 }}\n\
         [[gateways.targets]]\nname = \"own\"\n\
         provider = \"aws-bedrock\"\nbase_url = \"{}\"\ncredential = '{}'\n",
        upstream.url(),
        aws()
    );
    let gateway = Harness::start(&settings).await;
    let body = "{\"messages\":[]}";
    assert_eq!(gateway.ask(&Ask::post(BEDROCK, body)).await.status(), 200);
    for at in [0, 1] {
        let received = upstream.request(at).await;
        assert_eq!(text(&received), body);
        let header = |name: &str| received.head.header(name).unwrap_or("-").to_owned();
        let value = header("authorization");
        let date = header("x-amz-date");
        let beginning = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}/eu-west-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=",
            &date[..8]
        );
        let signature = value
            .strip_prefix(&beginning)
            .unwrap_or_else(|| panic!("{value}"));
        assert_eq!(signature.len(), 64);
        let digest = isango_store::tokens::sha256(&isango_types::Secret::new(body));
        assert_eq!(header("x-amz-content-sha256"), digest.to_string());
        assert_eq!(header("x-amz-security-token"), "planted-session-token");
    }
    let record = serde_json::to_string(&gateway.record().await).unwrap();
    assert!(
        !record.contains("planted-session") && !record.contains("wJalrXUtn"),
        "{record}"
    );
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused() {
    let (upstream, gateway) = gateway("aws-bedrock", "", &aws()).await;
    let huge = Ask::post(BEDROCK, vec![b' '; 25_000_001]);
    assert_eq!(gateway.ask(&huge).await.status(), 413);
    // The client's own signature crosses as it came.
    let own = "AWS4-HMAC-SHA256 Credential=mine";
    let request = Ask::post(BEDROCK, "{}").with("authorization", own);
    assert_eq!(gateway.ask(&request).await.status(), 200);
    assert_eq!(
        upstream.request(0).await.head.header("authorization"),
        Some(own)
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_signed_passes_over_who_signs() {
    // Nothing listens there: the body stays as it is, and goes to the next.
    let nobody = crate::harness::nobody().await;
    let (signs, other) = (
        Upstream::start([json("{}")]).await,
        Upstream::start([json("{}")]).await,
    );
    let target = |name: &str, url: &str, credential: &str| {
        format!(
            "[[gateways.targets]]\nname = \"{name}\"\nprovider = \"aws-bedrock\"\n\
             region = \"eu-west-1\"\nbase_url = \"{url}\"\ncredential = '{credential}'\n"
        )
    };
    let settings = format!(
        "[[gateways]]\nid = \"default\"\nmax_replay_bytes = \"1KiB\"\n{}{}{}\
         [gateways.fallback]\none = [\"signs\", \"other\"]\n",
        target("one", &nobody, "bearer-of-one"),
        target("signs", &signs.url(), &aws().to_string()),
        target("other", &other.url(), "bearer-of-other"),
    );
    let gateway = Harness::start(&settings).await;
    let path = BEDROCK.replace("aws-bedrock", "one");
    let large = Ask::post(&path, vec![b' '; 5 << 20]);
    let reply = gateway.ask(&large).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-provider")),
        (200, Some("other")),
        "{}",
        reply.text()
    );
    assert_eq!(signs.count(), 0);
    let notes = gateway.record().await.notes;
    let told = |note: &str| note.contains("`signs`") && note.contains("signs what it is sent");
    assert!(notes.iter().any(|note| told(note)), "{notes:?}");
}

#[tokio::test]
async fn a_request_falls_back_where_its_credential_fails() {
    let issuer = Upstream::start([status(500)]).await;
    let other = Upstream::start([json(COMPLETION)]).await;
    let settings = format!(
        "[[gateways]]\nid = \"default\"\n\
         [[gateways.targets]]\nname = \"one\"\nprovider = \"azure-openai\"\nresource = \"res\"\n\
         base_url = \"{url}\"\ncredential = '{}'\n\
         [[gateways.targets]]\nname = \"two\"\nprovider = \"azure-openai\"\nresource = \"other\"\n\
         base_url = \"{url}\"\ncredential = \"key-of-two\"\n\
         [gateways.fallback]\none = [\"two\"]\n",
        entra(&issuer),
        url = other.url()
    );
    let gateway = Harness::start(&settings).await;
    let reply = gateway.ask(&Ask::post(AZURE, PROMPT)).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-provider")),
        (200, Some("two"))
    );
    assert_eq!(
        other.request(0).await.head.header("api-key"),
        Some("key-of-two")
    );
}
