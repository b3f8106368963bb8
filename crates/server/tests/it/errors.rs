//! Every refusal and failure of the gateway: status, code, body, headers, and its record.

use std::net::SocketAddr;
use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json};
use isango_testkit::client::{Ask, Client, End, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use isango_types::Clock;
use isango_types::price::CostStatus;
use isango_types::record::{Attempt, Blame, Outcome, Record};
use tokio::net::TcpListener;

use crate::harness::{self, CHAT, Harness};

/// What is expected of one error.
pub(crate) struct Expected<'e> {
    status: u16,
    code: u16,
    message: &'e str,
    outcome: Outcome,
    blame: Blame,
    attempts: &'e [&'e str],
    /// The request's own timeout ended it: what its provider did is presumed.
    is_given_up: bool,
}

impl<'e> Expected<'e> {
    /// A request that was wrong, and reached no provider.
    pub(crate) fn refusal(status: u16, code: u16, message: &'e str) -> Self {
        let (outcome, blame) = (Outcome::Refused, Blame::Client);
        Self {
            status,
            code,
            message,
            outcome,
            blame,
            attempts: &[],
            is_given_up: false,
        }
    }

    /// A provider that gave no answer.
    fn failure(status: u16, code: u16, message: &'e str, attempts: &'e [&'e str]) -> Self {
        let (outcome, blame) = (Outcome::Failed, Blame::Upstream);
        Self {
            status,
            code,
            message,
            outcome,
            blame,
            attempts,
            is_given_up: false,
        }
    }

    /// The body of data-plane section 26, to the byte.
    fn body(&self) -> String {
        let Self { status, code, .. } = self;
        let message = serde_json::to_string(self.message).unwrap();
        format!(
            "{{\"success\":false,\"result\":[],\"messages\":[],\
             \"error\":[{{\"code\":{code},\"message\":{message}}}],\
             \"name\":\"AiGatewayError\",\"httpCode\":{status},\"internalCode\":{code},\
             \"message\":{message}}}"
        )
    }

    pub(crate) fn check(&self, what: &str, reply: &Reply, record: &Record) {
        assert_eq!(
            (reply.text(), reply.status()),
            (&*self.body(), self.status),
            "{what}"
        );
        assert_eq!(reply.end, End::Whole, "{what}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{what}"
        );
        let id = record.id.to_string();
        for header in ["cf-aig-request-id", "cf-aig-log-id", "cf-aig-event-id"] {
            assert_eq!(reply.header(header), Some(&*id), "{what}: {header}");
        }
        assert_eq!(reply.header("cf-aig-step"), Some("0"), "{what}");
        let attempts = self.attempts.len().to_string();
        assert_eq!(reply.header("cf-aig-attempts"), Some(&*attempts), "{what}");
        let error = record.error.as_ref().expect(what);
        assert_eq!(
            (&*error.code, &*error.message),
            (&*self.code.to_string(), self.message)
        );
        assert_eq!(
            (record.outcome, error.blame),
            (self.outcome, self.blame),
            "{what}"
        );
        assert_eq!(record.status, Some(self.status), "{what}");
        assert!(record.is_error(), "{what}");
        let words: Vec<&str> = record
            .attempts
            .iter()
            .map(|a| a.error.as_deref().unwrap_or_default())
            .collect();
        assert_eq!(words, self.attempts, "{what}");
        // What may have reached the provider may have cost something.
        let never_sent = [
            "connect_failed",
            "connect_timeout",
            "tls_failed",
            "private_address",
        ];
        let was_sent = !words.iter().all(|word| never_sent.contains(word));
        let cost = match (was_sent, self.is_given_up) {
            (false, _) => (CostStatus::Free, Some(0)),
            (true, false) => (CostStatus::NoUsage, None),
            (true, true) => (CostStatus::Estimated, Some(13 * 2_500)),
        };
        assert_eq!((record.cost.status, record.cost.nanousd), cost, "{what}");
        assert_eq!(record.usage.is_some(), self.is_given_up, "{what}");
        assert_eq!((record.stream, record.timing.ttfb_us), (false, None));
        assert_eq!(record.response.bytes, reply.body.len() as u64, "{what}");
    }
}

/// Asks a server before `upstream` in turn; each request is refused as expected, and none of them
/// reaches the provider.
async fn check_refusals(settings: &str, requests: &[(Ask, Expected<'_>)]) {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::with(settings, &upstream).await;
    for (at, (request, expected)) in requests.iter().enumerate() {
        let reply = gateway.ask(request).await;
        let record = gateway.records(at + 1).await.remove(at);
        expected.check(&format!("{request:?}"), &reply, &record);
    }
    assert_eq!(upstream.count(), 0, "a refused request reaches no provider");
    assert_eq!(gateway.records(requests.len()).await.len(), requests.len());
}

fn chat(path: &str) -> Ask {
    Ask::post(path, PROMPT).with("authorization", "Bearer sk-1")
}

#[tokio::test]
async fn a_path_that_names_no_surface_is_told_what_would() {
    let message =
        "nothing is served here; requests go to /v1/{account}/{gateway}/{provider}/{path}";
    let refused = |path| (chat(path), Expected::refusal(404, 3000, message));
    check_refusals(
        "",
        &[
            refused("/"),
            refused("/v1"),
            refused("/v1/local"),
            refused("/v2/local/default/openai/chat/completions"),
            refused("/v1/local//"),
            refused("/v1/%61/default/openai/chat/completions"),
        ],
    )
    .await;
}

#[tokio::test]
async fn unknown_gateways_and_providers_have_the_contracts_codes() {
    let no_gateway = "Please configure AI Gateway in the Cloudflare dashboard";
    let gateway = |path| (chat(path), Expected::refusal(400, 2001, no_gateway));
    let provider = |path| (chat(path), Expected::refusal(400, 2008, "Invalid provider"));
    check_refusals(
        "[[gateways]]\nid = \"support\"\n",
        &[
            gateway("/v1/local/nowhere/openai/chat/completions"),
            gateway("/v1/other/support/openai/chat/completions"),
            gateway("/v1/local/Support/openai/chat/completions"),
            provider("/v1/local/support/open-ai/chat/completions"),
            provider("/v1/local/support/OpenAI/chat/completions"),
            provider("/v1/local/support/custom-nowhere/v1/x"),
            provider("/v1/local/support/openai%2f/x"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_gateway_that_needs_a_token_refuses_without_one() {
    let settings = "[[gateways]]\nid = \"closed\"\nauthentication = true\n\
                    [[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\n";
    let path = "/v1/local/closed/openai/chat/completions";
    let refused = || Expected::refusal(401, 2009, "Unauthorized");
    let with = |value: &str| (chat(path).with("cf-aig-authorization", value), refused());
    check_refusals(
        settings,
        &[
            (chat(path), refused()),
            with("Bearer isg_0123456789abcdeg"),
            with("isg_0123456789abcdef0"),
            with("Bearer "),
            with(""),
            with("Basic isg_0123456789abcdef"),
            with("Bearer Bearer isg_0123456789abcdef"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_request_without_any_credential_is_told_where_one_goes() {
    let openai = "no credential for provider 'openai': send its key in the header \
                  'authorization', or configure a target with a credential";
    let azure = "no credential for provider 'azure-openai': send its key in the header \
                 'api-key', or configure a target with a credential";
    check_refusals(
        "",
        &[
            (
                Ask::post(CHAT, PROMPT),
                Expected::refusal(400, 3002, openai),
            ),
            (
                Ask::post(
                    "/v1/local/default/azure-openai/res/dep/chat/completions",
                    PROMPT,
                ),
                Expected::refusal(400, 3002, azure),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn malformed_paths_never_reach_a_provider() {
    let dots = "the path holds a `.` or `..` segment, plain or encoded; leave it out";
    let resource = "the Azure resource is the first segment behind the provider: 1 to 63 letters, \
                    digits and hyphens, with no hyphen at either end";
    let deployment = "the Azure deployment in the path is 1 to 64 letters, digits, dots, hyphens \
                      and underscores, as in azure-openai/{resource}/{deployment}/chat/completions";
    let region = "the segment behind the service is an AWS region, such as us-east-1";
    let mut requests = Vec::new();
    for (message, paths) in [
        (
            dots,
            &[
                "openai/../admin",
                "openai/./chat/completions",
                "openai/%2e%2e/chat",
                "openai/a%2f..%2fb",
                "azure-openai/res/dep/%252e%252e/other/chat/completions",
            ][..],
        ),
        (
            resource,
            &[
                "azure-openai/evil.example/dep/chat/completions",
                "azure-openai/res%2eevil/dep/chat/completions",
                "azure-openai/res@evil/dep/chat/completions",
                "azure-openai/127.0.0.1:80/dep/chat/completions",
                "azure-openai/-res/dep/chat/completions",
                "azure-openai/",
            ],
        ),
        (
            deployment,
            &[
                "azure-openai/res/a%2Fb/chat/completions",
                "azure-openai/res/de p/chat/completions",
            ][..1],
        ),
        (
            region,
            &["aws-bedrock/bedrock-runtime/evil.example/model/m/invoke"],
        ),
    ] {
        for path in paths {
            let request = chat(&format!("/v1/local/default/{path}")).with("api-key", "k");
            requests.push((request, Expected::refusal(400, 3001, message)));
        }
    }
    check_refusals("", &requests).await;
}

#[tokio::test]
async fn a_body_beyond_the_gateways_limit_is_refused() {
    let settings = "[[gateways]]\nid = \"small\"\nmax_request_bytes = \"1KiB\"\n";
    let path = "/v1/local/small/openai/chat/completions";
    let message = "the request body is larger than this gateway's limit of 1024 bytes";
    let body = vec![b' '; 1025];
    let whole = chat(path).body(body.clone());
    let chunked = chat(path).chunked([body[..1000].to_vec(), body[1000..].to_vec()]);
    check_refusals(
        settings,
        &[
            (whole, Expected::refusal(413, 3003, message)),
            (chunked, Expected::refusal(413, 3003, message)),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_websocket_is_not_promised() {
    let message = "WebSocket connections are not relayed by this version; use the HTTP endpoints";
    let request = Ask::get("/v1/local/default/openai/realtime?model=gpt-4o-realtime")
        .with("authorization", "Bearer sk-1")
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    check_refusals("", &[(request, Expected::refusal(501, 3006, message))]).await;
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client.send_head(&chat(CHAT).chunked(["x"])).await;
    client.send(b"5\r\n{\"a\":\r\nnonsense\r\n").await;
    let reply = client.reply().await;
    let expected = Expected::refusal(400, 3004, "the request body could not be read");
    expected.check("a malformed chunk", &reply, &gateway.record().await);
    assert_eq!(upstream.count(), 0);
}

/// Asks a server whose `openai` is at `base_url`, and expects the failure. Returns what the record
/// tells of the attempt.
async fn check_failure(
    settings: &str,
    base_url: &str,
    request: &Ask,
    expected: &Expected<'_>,
) -> Attempt {
    let providers = format!("[providers.openai]\nbase_url = \"{base_url}\"\n");
    let gateway = Harness::start(&format!("{settings}{providers}")).await;
    let reply = gateway.ask(request).await;
    let record = gateway.record().await;
    expected.check(base_url, &reply, &record);
    assert_eq!(reply.header("cf-aig-provider"), Some("openai"));
    assert_eq!(record.attempts[0].status, None);
    assert_eq!(record.attempts[0].ttfb_us, None);
    // What was asked is on record all the same.
    assert_eq!(record.request.body.unwrap().as_str(), PROMPT);
    assert_eq!(record.model_requested.as_deref(), Some("gpt-4o"));
    record.attempts[0].clone()
}

/// A port at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let expected = Expected::failure(
        502,
        3010,
        "could not connect to the provider",
        &["connect_failed"],
    );
    let address = format!("http://{}", nobody().await);
    let attempt = check_failure("", &address, &chat(CHAT), &expected).await;
    assert!(attempt.connect_us > 0, "{attempt:?}");
    let cause = attempt.cause.unwrap();
    assert!(cause.starts_with("Connection refused"), "{cause}");
}

#[tokio::test]
async fn a_connection_that_hangs_is_given_up() {
    // A full backlog drops further handshakes.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(Ok(connection)) = tokio::time::timeout(
        Duration::from_millis(100),
        tokio::net::TcpStream::connect(addr),
    )
    .await
    {
        full.push(connection);
    }
    let expected = Expected::failure(
        504,
        3011,
        "connecting to the provider took too long",
        &["connect_timeout"],
    );
    let settings = "[upstream]\nconnect_timeout = \"100ms\"\n";
    let address = format!("http://{addr}");
    let attempt = check_failure(settings, &address, &chat(CHAT), &expected).await;
    assert!(attempt.connect_us >= 100_000, "{attempt:?}");
    assert_eq!(attempt.cause, None);
}

#[tokio::test]
async fn a_provider_whose_certificate_nobody_vouches_for_is_sent_nothing() {
    let upstream = Upstream::start_tls([json(COMPLETION)], &Tls::new(), &["http/1.1"]).await;
    let message = "no secure connection to the provider";
    let expected = Expected::failure(502, 3012, message, &["tls_failed"]);
    let address = format!("https://localhost:{}", upstream.addr().port());
    let attempt = check_failure("", &address, &chat(CHAT), &expected).await;
    assert!(attempt.connect_us > 0, "{attempt:?}");
    let cause = attempt.cause.unwrap();
    assert!(cause.contains("UnknownIssuer"), "{cause}");
    assert_eq!(upstream.count(), 0);
}

/// An upstream that plays `steps` instead of an answer.
async fn check_no_answer(steps: &[Step], expected: &Expected<'_>) {
    let upstream = Upstream::start([Answer::raw(steps.to_vec())]).await;
    check_failure("", &upstream.url(), &chat(CHAT), expected).await;
    assert_eq!(
        upstream.count(),
        1,
        "a POST that was read is not sent twice"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_told() {
    let message = "the provider closed the connection without an answer";
    let expected = Expected::failure(502, 3013, message, &["no_answer"]);
    check_no_answer(&[Step::Close], &expected).await;
    check_no_answer(&[Step::Reset], &expected).await;
    let half = Step::Raw("HTTP/1.1 200 OK\r\ncontent-ty".into());
    check_no_answer(&[half, Step::Close], &expected).await;
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_told() {
    let message = "the provider's answer is not valid HTTP";
    let expected = Expected::failure(502, 3014, message, &["bad_answer"]);
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ] {
        check_no_answer(&[Step::Raw(garbage.into()), Step::Close], &expected).await;
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_no_answer() {
    let message = "the provider's answer is not valid HTTP";
    let expected = Expected::failure(502, 3014, message, &["bad_answer"]);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    check_no_answer(&[Step::Raw(switch.into()), Step::Stall], &expected).await;
}

async fn check_first_byte(settings: &str, own: Option<u64>, limit_ms: u64) {
    let ask = chat(CHAT);
    let request = match own {
        Some(own) => ask.with("cf-aig-request-timeout", &own.to_string()),
        None => ask,
    };
    let upstream = Upstream::start([Answer::raw([Step::Stall])]).await;
    let message = format!("the provider did not begin its answer within {limit_ms} ms");
    let expected = Expected {
        is_given_up: own.is_some(),
        ..Expected::failure(504, 3015, &message, &["first_byte_timeout"])
    };
    check_failure(settings, &upstream.url(), &request, &expected).await;
    upstream.given_up(0).await;
}

#[tokio::test]
async fn a_first_byte_is_awaited_as_long_as_the_request_the_gateway_or_the_server_says() {
    check_first_byte("", Some(60), 60).await;
    check_first_byte("[server]\nfirst_byte_timeout = \"70ms\"\n", None, 70).await;
    let of_gateway = "[[gateways]]\nid = \"default\"\nfirst_byte_timeout = \"80ms\"\n\
                      [server]\nfirst_byte_timeout = \"20s\"\n";
    check_first_byte(of_gateway, None, 80).await;
    // The request's own goes before the gateway's.
    check_first_byte(of_gateway, Some(50), 50).await;
}

#[tokio::test]
async fn a_timeout_ends_with_the_first_byte() {
    let upstream = Upstream::start([Answer::new(200).chunked(["{", "}"]).stepwise()]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    client
        .send_ask(&chat(CHAT).with("cf-aig-request-timeout", "100"))
        .await;
    assert_eq!(client.head().await.status, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    upstream.go();
    upstream.go();
    while client.piece().await.is_some() {}
    assert_eq!(client.end(), Some(End::Whole));
}

#[tokio::test]
async fn a_public_name_that_leads_inside_is_not_connected_to() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let mut config = harness::config(&harness::providers(&upstream));
    // As if the address had come from a catalogued name instead of the configuration.
    for provider in &mut config.providers {
        provider.trusted = false;
    }
    let gateway = Harness::start_config(&config, Clock::system());
    let reply = gateway.ask(&chat(CHAT)).await;
    let expected = Expected {
        blame: Blame::Gateway,
        ..Expected::failure(
            502,
            3016,
            "the provider's name resolves to a private address; configure a target or a base_url \
             for a private endpoint",
            &["private_address"],
        )
    };
    expected.check("a private address", &reply, &gateway.record().await);
    assert!(upstream.connections().is_empty());
}

#[tokio::test]
async fn a_redirect_of_a_provider_is_an_answer_and_not_followed() {
    let elsewhere = Upstream::start([json(COMPLETION)]).await;
    let redirect = Answer::new(307).header("location", &format!("{}/x", elsewhere.url()));
    let upstream = Upstream::start([redirect]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&chat(CHAT)).await;
    assert_eq!(reply.status(), 307);
    assert!(reply.header("location").is_some());
    assert_eq!((upstream.count(), elsewhere.count()), (1, 0));
}

#[tokio::test]
async fn a_providers_own_error_is_relayed_as_it_came() {
    let body = "{\"error\": {\"message\":\"slow down\",\n \"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}";
    let limited = Answer::new(429)
        .header("content-type", "application/json")
        .header("retry-after", "7")
        .body(body);
    let upstream = Upstream::start([limited]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&chat(CHAT)).await;
    assert_eq!((reply.status(), reply.text()), (429, body));
    assert_eq!(reply.header("retry-after"), Some("7"));
    let record = gateway.record().await;
    assert_eq!(
        (record.outcome, record.status),
        (Outcome::Answered, Some(429))
    );
    let error = record.error.unwrap();
    assert_eq!(
        (&*error.code, error.blame),
        ("upstream_429", Blame::Upstream)
    );
    assert_eq!(
        &*error.message,
        "the provider answered 429: rate_limit_exceeded"
    );
    assert_eq!(record.attempts[0].status, Some(429));
    assert_eq!(
        (record.cost.status, record.cost.nanousd),
        (CostStatus::Free, Some(0))
    );
}
