//! Limits of requests, tokens, cost and requests at once: who passes, what the rest is told, and
//! what is drawn in the end (`ends`), also after a restart (`lives`).

mod ends;
mod lives;

use std::time::Duration;

use isango_testkit::answer::{Step, json, status};
use isango_testkit::client::{Ask, Client, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::limit::{Decision, Unit, Verdict};
use isango_types::record::{Outcome, Record};
use isango_types::{Clock, Timestamp};
use tokio::task::JoinSet;

use crate::harness::{CHAT, Harness, config, providers};

/// What [`COMPLETION`] draws: 19 tokens of input and 5 of output.
const TOKENS: u64 = 24;
/// In nano-dollars.
const COST: u64 = 19 * 2_500 + 5 * 10_000;
/// How many ask at once.
const CROWD: usize = 256;

/// A gateway with these limits.
fn limited(limits: &str) -> String {
    format!("[[gateways]]\nid = \"default\"\n{limits}")
}

/// One limit, in TOML.
fn limit(settings: &str) -> String {
    limited(&format!("[[gateways.limits]]\nid = \"rule\"\n{settings}\n"))
}

fn chat() -> Ask {
    Ask::post(CHAT, PROMPT).with("authorization", "Bearer k")
}

fn of_tenant(tenant: &str) -> Ask {
    chat().with("cf-aig-metadata", &format!(r#"{{"tenantId":"{tenant}"}}"#))
}

/// Many at once, each on a connection of its own.
async fn crowd(gateway: &Harness, ask: &Ask) -> Vec<Reply> {
    let mut asking = JoinSet::new();
    for _ in 0..CROWD {
        let (addr, ask) = (gateway.addr, ask.clone());
        asking.spawn(async move { isango_testkit::client::ask(addr, &ask).await });
    }
    asking.join_all().await
}

fn admitted(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status() == 200).count()
}

#[track_caller]
fn check_refused(reply: &Reply, code: u16, message: &str) {
    let told = reply.json();
    assert_eq!((reply.status(), &told["internalCode"]), (429, &code.into()));
    assert_eq!(told["message"], message);
    assert_eq!(reply.header("cf-aig-source"), Some("rate-limit"));
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1, "{seconds}");
}

/// The decision of the only limit.
fn decision(record: &Record) -> &Decision {
    assert_eq!(record.limits.len(), 1, "{:?}", record.limits);
    &record.limits[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_gets_as_many_requests_as_there_are_and_no_more() {
    for window in [
        "window = \"hour\"",
        "window = \"1h\"",
        "window = \"hour\"\ntechnique = \"sliding\"",
    ] {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let rule = limit(&format!("unit = \"requests\"\nlimit = 100\n{window}"));
        let gateway = Harness::with(&rule, &upstream).await;
        let replies = crowd(&gateway, &chat()).await;
        assert_eq!(
            (admitted(&replies), upstream.count()),
            (100, 100),
            "{window}"
        );
        let refused = replies.iter().find(|reply| reply.status() == 429).unwrap();
        assert_eq!(refused.json()["internalCode"], 2003);
        assert_eq!(refused.header("x-ratelimit-limit"), Some("100"));
        assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
        let records = gateway.records(CROWD).await;
        for record in &records {
            let decision = decision(record);
            let passed = record.outcome == Outcome::Answered;
            assert_eq!(record.attempts.len(), usize::from(passed));
            assert_eq!(decision.charged, u64::from(passed));
            assert_eq!(decision.verdict == Verdict::Admitted, passed);
        }
        let refused = records.iter().filter(|one| one.outcome == Outcome::Refused);
        assert_eq!(refused.count(), CROWD - 100);
    }
}

/// Asks in a crowd, again and again until nobody is admitted, and tells how much was drawn.
async fn drain(rule: &str, ask: &Ask, unit: Unit) -> (u64, usize) {
    let answer = json(COMPLETION).first(Step::Pause(Duration::from_millis(5)));
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::with(rule, &upstream).await;
    let replies = crowd(&gateway, ask).await;
    let records = gateway.records(CROWD).await;
    assert_eq!(admitted(&replies), upstream.count());
    let drawn = records.iter().map(|record| {
        let decision = decision(record);
        assert_eq!(decision.unit, unit);
        decision.charged
    });
    (drawn.sum(), upstream.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_does_not_overspend_a_budget_and_can_spend_it() {
    let bounded = PROMPT.replacen('{', r#"{"max_tokens":200,"#, 1);
    let tokens = limit("unit = \"tokens\"\nlimit = 2_400\nwindow = \"day\"\nmax_wait = \"20s\"");
    let cost = limit("unit = \"cost\"\nlimit = 0.00975\nwindow = \"month\"\nmax_wait = \"20s\"");
    // With a bound far above what is drawn, and without any.
    for ask in [chat().body(bounded), chat()] {
        let (drawn, sent) = drain(&tokens, &ask, Unit::Tokens).await;
        assert_eq!(drawn, TOKENS * sent as u64);
        assert!(
            (1_920..=2_400 + TOKENS).contains(&drawn),
            "{drawn} of 2400 tokens"
        );
        let (drawn, sent) = drain(&cost, &ask, Unit::Cost).await;
        assert_eq!(drawn, COST * sent as u64);
        let limit = 9_750_000;
        assert!(
            (limit * 8 / 10..=limit + COST).contains(&drawn),
            "{drawn} of {limit} nano-dollars"
        );
    }
}

#[tokio::test]
async fn tenants_have_buckets_of_their_own_and_a_token_says_whose() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let rule =
        limit("unit = \"requests\"\nlimit = 1\nwindow = \"hour\"\nby = [\"metadata.tenantId\"]");
    let token = "[[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\n\
                 metadata = { tenantId = \"acme\" }\n";
    let gateway = Harness::with(&format!("{rule}{token}"), &upstream).await;
    let bound = of_tenant("other").with("cf-aig-authorization", "isg_0123456789abcdef");
    for (ask, status) in [
        (of_tenant("acme"), 200),
        (of_tenant("acme"), 429),
        (bound, 429),
        (of_tenant("other"), 200),
        (chat(), 200),
        (chat(), 429),
        // No other bucket for another spelling.
        (chat().with("cf-aig-metadata", "nonsense"), 429),
        (
            chat().with("cf-aig-metadata", r#"{"tenantId":"acme","tenantId":"x"}"#),
            200,
        ),
    ] {
        assert_eq!(gateway.ask(&ask).await.status(), status, "{ask:?}");
    }
    let records = gateway.records(8).await;
    let buckets: Vec<_> = records
        .iter()
        .map(|record| decision(record).bucket[0].as_deref())
        .collect();
    let (acme, other) = (Some("acme"), Some("other"));
    assert_eq!(
        buckets,
        [acme, acme, acme, other, None, None, None, Some("x")]
    );
}

#[tokio::test]
async fn cloudflares_settings_have_its_codes_and_words() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let rate = limited(
        "rate_limiting_limit = 1\nrate_limiting_interval = 60\n\
         rate_limiting_technique = \"sliding\"\n",
    );
    let gateway = Harness::with(&rate, &upstream).await;
    assert_eq!(gateway.ask(&chat()).await.status(), 200);
    let reply = gateway.ask(&chat()).await;
    check_refused(&reply, 2003, "Rate limited");
    assert_eq!(reply.header("retry-after"), Some("60"));

    let spend = limited(
        "spend_limits = { enabled = true, rules = [\
         { id = \"5e7f1b6b\", limitType = \"cost\", limit = 0.00005, window = 604800, \
           metadata = { user = { mode = \"partition\" } }, \
           model = { mode = \"filter\", values = [\"gpt-4o\"] } },\
         { id = \"off\", limitType = \"cost\", limit = 0.0000001, window = 60, enabled = false } ] }\n",
    );
    let gateway = Harness::with(&spend, &upstream).await;
    assert_eq!(gateway.ask(&chat()).await.status(), 200);
    gateway.records(1).await;
    check_refused(
        &gateway.ask(&chat()).await,
        2041,
        "Spend limit exceeded: rule '5e7f1b6b' (cost limit 0.00005 per 604800s, sliding) for \
         openai gpt-4o",
    );
    let other = chat().body(PROMPT.replace("gpt-4o", "gpt-4o-mini"));
    assert_eq!(
        gateway.ask(&other).await.status(),
        200,
        "it is for one model"
    );
    let user = chat().with("cf-aig-metadata", r#"{"user":"u1"}"#);
    assert_eq!(
        gateway.ask(&user).await.status(),
        200,
        "each user has its own"
    );
}

#[tokio::test]
async fn a_refusal_tells_rule_and_room_and_comes_before_the_body() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let rule = limit(
        "unit = \"requests\"\nlimit = 1\nwindow = \"day\"\ntime_zone = \"Africa/Johannesburg\"",
    );
    let config = config(&format!("{rule}{}", providers(&upstream)));
    let now = Timestamp::parse("2026-11-22T21:59:30Z").unwrap();
    let clock = Clock::manual(now);
    let gateway = Harness::start_config(&config, clock.clone());
    let first = gateway.ask(&chat()).await;
    assert_eq!(first.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(first.header("x-ratelimit-reset"), Some("30"));
    clock.set(now.plus(Duration::from_millis(1)));
    let mut client = Client::connect(gateway.addr).await;
    let waiting = Ask::new("POST", CHAT)
        .with("authorization", "Bearer k")
        .with("content-length", "1000");
    client.send_head(&waiting).await;
    let reply = client.reply().await;
    check_refused(
        &reply,
        2003,
        "Rate limited: rule 'rule' (1 requests per day (Africa/Johannesburg))",
    );
    assert_eq!(reply.header("retry-after"), Some("30"));
    assert_eq!(reply.header("cf-aig-attempts"), Some("0"));
    // Midnight in Johannesburg.
    clock.set(now.plus(Duration::from_secs(30)));
    assert_eq!(gateway.ask(&chat()).await.status(), 200);
    let records = gateway.records(3).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let one = decision(record);
            (
                one.verdict,
                one.before,
                one.reserved,
                one.charged,
                one.after,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Verdict::Admitted, 0, 1, 1, 1),
            (Verdict::Refused, 1, 1, 0, 1),
            (Verdict::Admitted, 0, 1, 1, 1),
        ]
    );
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn the_providers_own_headers_are_left_alone() {
    let answer = json(COMPLETION).header("x-ratelimit-remaining", "4711");
    let upstream = Upstream::start([answer]).await;
    let rule = limit("unit = \"requests\"\nlimit = 5\nwindow = \"day\"");
    let gateway = Harness::with(&rule, &upstream).await;
    let reply = gateway.ask(&chat()).await;
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("4711"));
    assert_eq!(reply.header("x-ratelimit-limit"), None);
}

#[tokio::test]
async fn no_way_to_a_provider_is_without_a_limit() {
    let local = |path: &str| format!("/v1/local/default/{path}");
    let posts = [
        "openai/chat/completions",
        "openai/v1/chat/completions",
        "openai/responses",
        "openai/embeddings",
        "openai/images/generations",
        "openai/moderations",
        "openai/files",
        "azure-openai/sa/gpt-4o/chat/completions?api-version=2024-10-21",
        "azure-openai/sa/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "anthropic/v1/messages",
        "google-ai-studio/v1beta/models/gemini-2.5-pro:generateContent",
    ];
    for unit in [
        "requests\"\nlimit = 1",
        "tokens\"\nlimit = 20",
        "cost\"\nlimit = 0.00005",
    ] {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let rule = limit(&format!("unit = \"{unit}\nwindow = \"day\""));
        let gateway = Harness::with(&rule, &upstream).await;
        assert_eq!(gateway.ask(&chat()).await.status(), 200);
        gateway.records(1).await;
        let keys = |ask: Ask| {
            ask.with("authorization", "Bearer k")
                .with("api-key", "k")
                .with("x-api-key", "k")
                .with("x-goog-api-key", "k")
        };
        let mut asks: Vec<Ask> = posts
            .iter()
            .map(|path| keys(Ask::post(&local(path), PROMPT)))
            .collect();
        asks.push(keys(Ask::get(&local("openai/models"))));
        asks.push(keys(Ask::new("DELETE", &local("openai/files/f"))));
        asks.push(keys(
            Ask::post(&local("openai/audio/transcriptions"), "--x--")
                .with("content-type", "multipart/form-data; boundary=x"),
        ));
        asks.push(keys(
            Ask::post(&local("openai/chat/completions"), PROMPT).with("content-type", "text/plain"),
        ));
        let leg = format!(
            r#"[{{"provider":"openai","endpoint":"chat/completions","headers":{{"authorization":"Bearer k"}},"query":{PROMPT}}}]"#
        );
        asks.push(Ask::post("/v1/local/default", leg));
        for ask in asks {
            let reply = gateway.ask(&ask).await;
            assert_eq!(reply.status(), 429, "{unit}: {ask:?} {}", reply.text());
        }
        assert_eq!(upstream.count(), 1, "{unit}");
    }
}

#[tokio::test]
async fn legs_of_a_tenant_with_a_long_name_draw_once_together() {
    let upstream = Upstream::start([status(500), json(COMPLETION)]).await;
    let rule =
        limit("by = [\"metadata.tenantId\"]\nunit = \"requests\"\nlimit = 1\nwindow = \"day\"");
    let gateway = Harness::with(&rule, &upstream).await;
    let leg = format!(
        r#"{{"provider":"openai","endpoint":"chat/completions","headers":{{"authorization":"Bearer k"}},"query":{PROMPT}}}"#
    );
    let tenant = format!("{{\"tenantId\":\"{}\"}}", "t".repeat(200));
    let ask = Ask::post("/v1/local/default", format!("[{leg},{leg}]"));
    let reply = gateway.ask(&ask.with("cf-aig-metadata", &tenant)).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let record = gateway.records(1).await.remove(0);
    assert_eq!(record.limits.len(), 1, "{:?}", record.limits);
    assert_eq!(record.limits[0].after, 1);
}

#[tokio::test]
async fn a_limit_that_only_warns_or_watches_lets_all_pass() {
    for (setting, verdict, tells) in [
        ("on_exceeded = \"warn\"", Verdict::Warned, true),
        ("shadow = true", Verdict::Shadow, false),
    ] {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let rule = limit(&format!(
            "unit = \"requests\"\nlimit = 1\nwindow = \"day\"\n{setting}"
        ));
        let gateway = Harness::with(&rule, &upstream).await;
        assert_eq!(gateway.ask(&chat()).await.status(), 200);
        let reply = gateway.ask(&chat()).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.header("x-ratelimit-remaining").is_some(), tells);
        let records = gateway.records(2).await;
        let second = decision(&records[1]);
        assert_eq!(
            (second.verdict, second.charged, second.after),
            (verdict, 1, 2)
        );
    }
}

#[tokio::test]
async fn requests_at_once_wait_for_their_turn_or_are_refused() {
    for (wait, refuses) in [("", true), ("max_wait = \"20s\"", false)] {
        let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
        let rule = limit(&format!("unit = \"concurrent\"\nlimit = 1\n{wait}"));
        let gateway = Harness::with(&rule, &upstream).await;
        let mut first = gateway.send(&chat()).await;
        upstream.request(0).await;
        let mut second = gateway.send(&chat()).await;
        if refuses {
            let reply = second.reply().await;
            check_refused(
                &reply,
                2003,
                "Rate limited: rule 'rule' (1 requests at once); requests under way hold what is \
                 left",
            );
        }
        upstream.go();
        assert_eq!(first.reply().await.status(), 200);
        if !refuses {
            upstream.request(1).await;
            upstream.go();
            assert_eq!(second.reply().await.status(), 200);
        }
        let records = gateway.records(2).await;
        let mut passed = records.iter().map(decision);
        assert!(passed.all(|one| one.verdict == Verdict::Refused || one.after == 0));
        assert_eq!(upstream.count(), if refuses { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_holds_nothing() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let rule = limit("unit = \"concurrent\"\nlimit = 1\nmax_wait = \"60s\"");
    let gateway = Harness::with(&rule, &upstream).await;
    let mut first = gateway.send(&chat()).await;
    upstream.request(0).await;
    let second = gateway.send(&chat()).await;
    second.reset();
    gateway.records(1).await;
    upstream.go();
    assert_eq!(first.reply().await.status(), 200);
    let mut third = gateway.send(&chat()).await;
    upstream.request(1).await;
    upstream.go();
    assert_eq!(third.reply().await.status(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn limits_are_counted_in_the_metrics() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let rule = limit("unit = \"tokens\"\nlimit = 20\nwindow = \"day\"");
    let gateway = Harness::with(&rule, &upstream).await;
    gateway.ask(&chat()).await;
    gateway.records(1).await;
    gateway.ask(&chat()).await;
    gateway.records(2).await;
    let metrics = isango_testkit::client::ask(gateway.admin, &Ask::get("/metrics")).await;
    for line in [
        "isango_limit_decisions_total{gateway=\"default\",rule=\"rule\",verdict=\"admitted\"} 1",
        "isango_limit_decisions_total{gateway=\"default\",rule=\"rule\",verdict=\"refused\"} 1",
        "isango_limit_drawn_ratio_count{unit=\"tokens\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
    }
}
