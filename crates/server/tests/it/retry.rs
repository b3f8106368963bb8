//! Retries: what is sent again, how often and when, and what the client and the record are told.

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::h2::H2Client;
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;
use isango_types::Cost;
use isango_types::record::{Outcome, Record};
use tokio::time::Instant;

use crate::harness::{CHAT, Harness, nobody};

/// A request that is sent up to three times, a millisecond apart.
fn persistent() -> Ask {
    Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer sk-client-key")
        .with("cf-aig-max-attempts", "3")
        .with("cf-aig-retry-delay", "1")
}

/// Status or error of each attempt, with its target where it is not the first.
pub(crate) fn attempts(record: &Record) -> Vec<String> {
    let told = record.attempts.iter().map(|attempt| {
        let status = attempt.status.map(|status| status.to_string());
        let error = attempt.error.as_deref().map(str::to_owned);
        status.or(error).unwrap_or_default()
    });
    told.collect()
}

/// After `failures` the upstream answers: the client sees one answer, the record every attempt.
async fn check_recovers(failures: Vec<Answer>, told: &[&str]) {
    let count = failures.len();
    let answers = failures.into_iter().chain([json(COMPLETION)]);
    let upstream = Upstream::start(answers).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&persistent()).await;
    assert_eq!(
        (reply.status(), reply.text()),
        (200, COMPLETION),
        "{told:?}"
    );
    let sends = (count + 1).to_string();
    assert_eq!(reply.header("cf-aig-attempts"), Some(&*sends));
    assert_eq!(reply.header("cf-aig-step"), Some("0"));
    let record = gateway.record().await;
    assert_eq!(attempts(&record), [told, &["200"]].concat());
    assert_eq!(record.outcome, Outcome::Answered);
    assert!(record.notes.is_empty(), "{:?}", record.notes);
    check_attempts(&record);
    for at in 0..=count {
        let request = upstream.request(at).await;
        assert_eq!(request.body, PROMPT.as_bytes());
        let key = request.head.header("authorization");
        assert_eq!(key, Some("Bearer sk-client-key"));
    }
}

/// Each attempt but the first was waited for, and each tells what it cost: an error nothing, and what
/// nobody has seen an answer to may have cost something.
fn check_attempts(record: &Record) {
    let last = record.attempts.len() - 1;
    for (at, attempt) in record.attempts.iter().enumerate() {
        let reason = attempt.wait_reason.as_deref();
        assert_eq!(reason, (at > 0).then_some("backoff"));
        assert_eq!(attempt.wait_us >= 1_000, at > 0);
        let expected = match attempt.status {
            _ if at == last => record.cost.clone(),
            Some(_) => Cost::free(),
            None => Cost::default(),
        };
        assert_eq!(attempt.cost.as_ref(), Some(&expected));
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_asked_again() {
    for code in [408, 429, 500, 502, 503, 504] {
        let told = code.to_string();
        check_recovers(vec![status(code)], &[&told]).await;
        check_recovers(vec![status(code), status(code)], &[&told, &told]).await;
    }
    for step in [Step::Close, Step::Reset, Step::Drop] {
        check_recovers(vec![Answer::raw([step.clone()])], &["no_answer"]).await;
        let half = Step::Raw("HTTP/1.1 200 OK\r\ncontent-ty".into());
        check_recovers(vec![Answer::raw([half, step])], &["no_answer"]).await;
    }
}

#[tokio::test]
async fn a_stream_is_asked_for_again_and_edited_as_before() {
    let events = chat_events(&["Sa", "wubona"]);
    let upstream = Upstream::start([status(503), sse(events)]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&persistent().body(STREAM_PROMPT)).await;
    assert!(reply.text().contains("wubona"), "{}", reply.text());
    assert!(!reply.text().contains("\"usage\":{"), "{}", reply.text());
    let (first, second) = (upstream.request(0).await, upstream.request(1).await);
    assert_eq!(first.body, second.body);
    let edited = std::str::from_utf8(&first.body).unwrap();
    assert!(edited.contains("include_usage"), "{edited}");
}

/// The upstream is asked once, and what it said is the answer.
async fn check_final(answer: Answer, code: u16) {
    let upstream = Upstream::start([answer, json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&persistent()).await;
    assert_eq!(reply.status(), code);
    assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.record().await.attempts.len(), 1);
}

#[tokio::test]
async fn what_does_not_pass_is_asked_once() {
    for code in [200, 204, 301, 400, 401, 403, 404, 409, 413, 422, 501] {
        check_final(Answer::new(code), code).await;
    }
    let body = r#"{"error":{"message":"no money","type":"insufficient_quota","code":"x"}}"#;
    check_final(Answer::new(429).body(body), 429).await;
    let quota = Answer::new(429)
        .body(body)
        .gzipped()
        .header("content-type", "application/json");
    check_final(quota, 429).await;
}

#[tokio::test]
async fn a_refusal_that_was_looked_at_crosses_as_it_came() {
    let body = r#"{"error":{"code":"insufficient_quota"}}"#;
    let answers = [
        Answer::new(429).header("retry-after", "86400").body(body),
        Answer::new(429).chunked([&body[..9], &body[9..]]),
        Answer::new(429).until_close([body]),
    ];
    for answer in answers {
        let upstream = Upstream::start([answer]).await;
        let gateway = Harness::before(&upstream).await;
        let reply = gateway.ask(&persistent()).await;
        assert_eq!((reply.status(), reply.text()), (429, body));
        assert_eq!(reply.end, End::Whole);
        assert_eq!(gateway.record().await.status, Some(429));
    }
}

#[tokio::test]
async fn the_last_answer_is_the_clients_when_none_is_better() {
    let upstream = Upstream::start([status(500), status(502), status(503)]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&persistent()).await;
    assert_eq!(reply.status(), 503);
    assert_eq!(reply.json()["error"]["code"], "503");
    assert_eq!(reply.header("cf-aig-attempts"), Some("3"));
    assert_eq!(upstream.count(), 3);
    let record = gateway.record().await;
    assert_eq!(attempts(&record), ["500", "502", "503"]);
    assert_eq!(&*record.error.unwrap().code, "upstream_503");
}

#[tokio::test]
async fn a_rate_limit_says_more_than_what_came_after_it() {
    let limit = status(429).header("x-mark", "a");
    let upstream = Upstream::start([limit, status(500), Answer::raw([Step::Reset])]).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway.ask(&persistent()).await;
    assert_eq!((reply.status(), reply.header("x-mark")), (429, Some("a")));
    assert_eq!(reply.json()["error"]["message"], "scripted");
    assert_eq!(reply.header("cf-aig-attempts"), Some("3"));
    let record = gateway.record().await;
    assert_eq!(record.status, Some(429));
    assert_eq!(attempts(&record), ["429", "500", "no_answer"]);
    assert_eq!(record.outcome, Outcome::Answered);
}

#[tokio::test]
async fn the_last_word_on_a_limit_is_the_clients() {
    let limit = |name: &str, value: &str| status(429).header(name, value);
    let answers = [limit("retry-after-ms", "20"), limit("retry-after", "7")];
    let upstream = Upstream::start(answers).await;
    let gateway = Harness::before(&upstream).await;
    let reply = gateway
        .ask(&persistent().with("cf-aig-max-attempts", "2"))
        .await;
    assert_eq!(
        (reply.status(), reply.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(reply.header("retry-after-ms"), None);
    assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
}

/// An upstream that asks to wait is asked again after that, and not before.
async fn check_wait(name: &str, value: &str, millis: u64) {
    let upstream = Upstream::start([status(429).header(name, value), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let begun = Instant::now();
    let reply = gateway.ask(&persistent()).await;
    assert_eq!(reply.status(), 200, "{name}: {value}");
    let wait = Duration::from_millis(millis);
    assert!(begun.elapsed() >= wait, "{name}: {value}");
    let record = gateway.record().await;
    let attempt = &record.attempts[1];
    assert_eq!(attempt.wait_reason.as_deref(), Some(name), "{value}");
    let waited = Duration::from_micros(attempt.wait_us);
    assert!(waited >= wait, "{name}: {waited:?}");
    // Moments are told in advance, and a date is a second long.
    let most = wait * 4 + Duration::from_secs(u64::from(value.ends_with("GMT")));
    assert!(waited < most, "{name}: {waited:?}");
}

#[tokio::test]
async fn the_providers_own_wait_is_kept() {
    check_wait("retry-after-ms", "120", 120).await;
    check_wait("retry-after", "0.15", 150).await;
    check_wait("retry-after", "1", 1_000).await;
    check_wait("x-ratelimit-reset-requests", "110ms", 110).await;
    check_wait("x-ratelimit-reset-tokens", "0.13", 130).await;
    let soon = jiff::Timestamp::now() + Duration::from_secs(2);
    let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    check_wait("retry-after", &date, 500).await;
    let moment = jiff::Timestamp::now() + Duration::from_millis(300);
    check_wait(
        "anthropic-ratelimit-requests-reset",
        &moment.to_string(),
        100,
    )
    .await;
}

#[tokio::test]
async fn a_wait_of_more_than_a_minute_is_the_clients_to_wait() {
    for (name, value) in [("retry-after", "61"), ("retry-after-ms", "60001")] {
        let upstream = Upstream::start([status(429).header(name, value)]).await;
        let gateway = Harness::before(&upstream).await;
        let reply = gateway.ask(&persistent()).await;
        assert_eq!((reply.status(), reply.header(name)), (429, Some(value)));
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn the_delay_has_its_shape() {
    let check = async |backoff: &str, least: [u64; 2]| {
        let upstream = Upstream::start([status(503), status(503), json(COMPLETION)]).await;
        let gateway = Harness::before(&upstream).await;
        let ask = Ask::post(CHAT, PROMPT)
            .with("cf-aig-max-attempts", "3")
            .with("cf-aig-retry-delay", "40")
            .with("cf-aig-backoff", backoff)
            .with("authorization", "Bearer k");
        assert_eq!(gateway.ask(&ask).await.status(), 200);
        let record = gateway.record().await;
        let waits: Vec<u64> = record.attempts[1..]
            .iter()
            .map(|attempt| attempt.wait_us / 1_000)
            .collect();
        for (wait, least) in waits.iter().zip(least) {
            assert!((least..=2 * least).contains(wait), "{backoff}: {waits:?}");
        }
    };
    check("constant", [40, 40]).await;
    check("linear", [40, 80]).await;
    check("exponential", [40, 80]).await;
}

#[tokio::test]
async fn a_gateway_retries_for_its_clients_and_a_request_says_otherwise() {
    let settings = "[[gateways]]\nid = \"default\"\n\
                    retry = { max_attempts = 2, delay_ms = 1, backoff = \"linear\" }\n";
    let upstream = Upstream::start([status(503)]).await;
    let gateway = Harness::with(settings, &upstream).await;
    let ask = || Ask::post(CHAT, PROMPT).with("authorization", "Bearer k");
    let sends = async |ask: Ask| {
        let reply = gateway.ask(&ask).await;
        reply.header("cf-aig-attempts").unwrap().to_owned()
    };
    assert_eq!(sends(ask()).await, "2");
    assert_eq!(sends(ask().with("cf-aig-max-attempts", "1")).await, "1");
    assert_eq!(sends(ask().with("cf-aig-max-attempts", "4")).await, "4");
}

#[tokio::test]
async fn what_is_malformed_is_ignored_and_what_is_too_much_is_cut() {
    let upstream = Upstream::start([status(503)]).await;
    let gateway = Harness::before(&upstream).await;
    let ask = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-max-attempts", "99")
        .with("cf-aig-retry-delay", "0")
        .with("cf-aig-backoff", "sometimes");
    let reply = gateway.ask(&ask).await;
    assert_eq!(reply.header("cf-aig-attempts"), Some("5"));
    let record = gateway.record().await;
    let notes: Vec<&str> = record.notes.iter().map(|note| &**note).collect();
    assert_eq!(
        notes,
        [
            "cf-aig-max-attempts counts as 5: it goes from 1 to 5",
            "cf-aig-backoff was ignored: it must be `constant`, `linear` or `exponential`"
        ]
    );
}

#[tokio::test]
async fn after_the_first_byte_nothing_is_sent_again() {
    let cut = json(COMPLETION).cut_after(1, Step::Reset);
    let events = sse(chat_events(&["Sa", "wu", "bona"]));
    let answers = [
        cut.announcing(9_999),
        events.cut_after(1, Step::Close),
        Answer::new(200).announcing(10).then(Step::Close),
        Answer::new(200).announcing(10).then(Step::Reset),
        sse(chat_events(&["Sa"])).cut_after(0, Step::Reset),
    ];
    for answer in answers {
        let upstream = Upstream::start([answer, json(COMPLETION)]).await;
        let gateway = Harness::before(&upstream).await;
        let reply = gateway.ask(&persistent()).await;
        assert_eq!(reply.status(), 200);
        assert_ne!(reply.end, End::Whole);
        assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
        assert_eq!(upstream.count(), 1);
        assert_eq!(gateway.record().await.outcome, Outcome::UpstreamCut);
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_wait_ends_it() {
    let upstream = Upstream::start([status(503), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let patient = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-max-attempts", "5")
        .with("cf-aig-retry-delay", "60000");
    client.send_ask(&patient).await;
    upstream.request(0).await;
    drop(client);
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    assert_eq!(attempts(&record), ["503"]);
    assert_eq!(record.status, None);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_stream_of_http2_that_is_given_up_during_a_wait_ends_it() {
    let upstream = Upstream::start([status(503), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut client = H2Client::connect(gateway.addr).await;
    let patient = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-max-attempts", "2")
        .with("cf-aig-retry-delay", "300");
    tokio::select! {
        _ = client.start(&patient) => panic!("there is no answer"),
        _ = upstream.request(0) => {}
    }
    // The connection stays; only the stream was given up.
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    // The next that is sent is somebody else's.
    let reply = gateway.ask(&persistent()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn the_first_byte_is_awaited_for_ever_on_the_last_attempt_only() {
    let slow = json(COMPLETION).first(Step::Wait);
    let upstream = Upstream::start([Answer::raw([Step::Stall]), slow]).await;
    let gateway = Harness::before(&upstream).await;
    let ask = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("cf-aig-max-attempts", "2")
        .with("cf-aig-retry-delay", "0")
        .with("cf-aig-request-timeout", "50");
    let mut client = gateway.send(&ask).await;
    upstream.given_up(0).await;
    upstream.request(1).await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    upstream.go();
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.text()), (200, COMPLETION));
    let record = gateway.record().await;
    assert_eq!(attempts(&record), ["first_byte_timeout", "200"]);
}

#[tokio::test]
async fn nobody_there_is_asked_again() {
    let nobody = nobody().await;
    let check = async |base: &str, word: &str, sends: usize| {
        let config = format!("[providers.openai]\nbase_url = \"{base}\"\n");
        let gateway = Harness::start(&config).await;
        let reply = gateway.ask(&persistent()).await;
        assert_eq!(reply.json()["name"], "AiGatewayError", "{base}");
        let record = gateway.record().await;
        assert_eq!(attempts(&record), vec![word; sends], "{base}");
        assert_eq!(record.outcome, Outcome::Failed);
    };
    check(&nobody, "connect_failed", 3).await;
    check("http://nobody.invalid", "connect_failed", 3).await;
    // A certificate does not become better.
    let upstream = Upstream::start_tls([json(COMPLETION)], &Tls::new(), &[]).await;
    check(&upstream.url(), "tls_failed", 1).await;
}

#[tokio::test]
async fn a_request_as_a_whole_has_its_time() {
    let settings = "[[gateways]]\nid = \"default\"\ntotal_timeout = \"150ms\"\n\
                    retry = { max_attempts = 5, delay_ms = 1 }\n";
    let stall = || Answer::raw([Step::Stall]);
    // Nothing came at all.
    let upstream = Upstream::start([stall()]).await;
    let gateway = Harness::with(settings, &upstream).await;
    let ask = Ask::post(CHAT, PROMPT).with("authorization", "Bearer k");
    let reply = gateway.ask(&ask).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (504, &3019.into())
    );
    let record = gateway.record().await;
    assert_eq!(attempts(&record), ["total_timeout"]);
    assert_eq!(record.outcome, Outcome::Failed);
    // What came before is better than nothing, and a wait that is too long is not begun.
    for answers in [
        vec![status(503), stall()],
        vec![status(503).header("retry-after-ms", "200")],
    ] {
        let upstream = Upstream::start(answers).await;
        let gateway = Harness::with(settings, &upstream).await;
        let reply = gateway.ask(&ask).await;
        assert_eq!(reply.status(), 503);
        assert_eq!(gateway.record().await.outcome, Outcome::Answered);
    }
}

/// An answer that goes on for too long is cut, and says so only in the record.
async fn check_cut(setting: &str, answer: Answer, code: &str) {
    let upstream = Upstream::start([answer]).await;
    let settings = format!("[[gateways]]\nid = \"default\"\n{setting}\n");
    let gateway = Harness::with(&settings, &upstream).await;
    let ask = Ask::post(CHAT, PROMPT).with("authorization", "Bearer k");
    let reply = gateway.ask(&ask).await;
    assert_eq!((reply.status(), reply.end), (200, End::Cut), "{setting}");
    assert_eq!(reply.text(), "{\"a\":", "{setting}");
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::UpstreamCut);
    assert_eq!(&*record.error.unwrap().code, code);
    upstream.given_up(0).await;
}

#[tokio::test]
async fn an_answer_that_falls_silent_or_takes_too_long_is_cut() {
    let stalls = || Answer::new(200).chunked(["{\"a\":"]).then(Step::Stall);
    check_cut("idle_timeout = \"80ms\"", stalls(), "idle_timeout").await;
    check_cut("total_timeout = \"90ms\"", stalls(), "total_timeout").await;
    let both = "idle_timeout = \"10s\"\ntotal_timeout = \"90ms\"";
    check_cut(both, stalls(), "total_timeout").await;
}

#[tokio::test]
async fn a_body_too_large_to_be_held_is_sent_once() {
    let settings = "[[gateways]]\nid = \"default\"\nmax_replay_bytes = 1000\n";
    let upstream = Upstream::start([status(503), json(COMPLETION)]).await;
    let gateway = Harness::with(settings, &upstream).await;
    let path = "/v1/local/default/openai/files";
    let large = Ask::new("POST", path)
        .with("content-type", "application/octet-stream")
        .with("authorization", "Bearer k")
        .with("cf-aig-max-attempts", "3")
        .with("cf-aig-retry-delay", "0");
    let parts = || [vec![b'x'; 900], vec![b'y'; 900]];
    let reply = gateway.ask(&large.clone().chunked(parts())).await;
    assert_eq!(reply.status(), 503);
    assert_eq!(upstream.count(), 1);
    let record = gateway.record().await;
    assert_eq!(
        &*record.notes[0],
        "the body is larger than `max_replay_bytes`: it cannot be sent again"
    );
    // A smaller one is held, whatever it is.
    let reply = gateway.ask(&large.body(vec![b'x'; 999])).await;
    assert_eq!(reply.status(), 200);
}
