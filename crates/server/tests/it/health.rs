//! What the gateway knows of its targets: which of them rest, who is asked first, and what is sent
//! twice.

use std::time::Duration;

use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::{Ask, Client, Reply, ask};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::Cost;
use isango_types::record::{Attempt, Outcome, Record};

use crate::cli::isango;
use crate::harness::Harness;
use crate::retry::attempts;

/// The path of the first target's provider.
const CHAT: &str = "/v1/local/g/openai/chat/completions";

fn chat() -> Ask {
    Ask::post(CHAT, PROMPT)
}

/// A gateway with the targets `a` and `b`; `weights` are theirs.
fn targets(settings: &str, [a, b]: [&Upstream; 2], weights: [u32; 2]) -> String {
    let target = |name: &str, upstream: &Upstream, weight: u32| {
        format!(
            "[[gateways.targets]]\nname = \"{name}\"\nprovider = \"openai\"\n\
             credential = \"configured-key-of-{name}\"\nweight = {weight}\n\
             base_url = \"{}/{name}\"\n",
            upstream.url()
        )
    };
    let [of_a, of_b] = weights;
    let targets = target("a", a, of_a) + &target("b", b, of_b);
    format!("[[gateways]]\nid = \"g\"\n{settings}\n{targets}")
}

const CHAIN: &str = "fallback = { a = [\"b\"] }\n";
const GROUP: &str = "[[gateways.groups]]\nname = \"both\"\ntargets = [\"a\", \"b\"]\n";
/// A target that has failed twice rests for longer than any test takes.
const BREAKER: &str =
    "[gateways.breaker]\nconsecutive_failures = 2\nrest = \"30m\"\nmax_rest = \"1h\"\n";

async fn ok() -> Upstream {
    Upstream::start([json(COMPLETION)]).await
}

async fn down() -> Upstream {
    Upstream::start([status(503)]).await
}

fn from(reply: &Reply) -> &str {
    reply.header("cf-aig-provider").unwrap()
}

/// Who answers `count` requests, one after the other.
async fn answers(gateway: &Harness, request: &Ask, count: usize) -> String {
    let mut names = String::new();
    for _ in 0..count {
        let reply = gateway.ask(request).await;
        assert_eq!(reply.status(), 200, "{names}: {}", reply.text());
        names += from(&reply);
    }
    names
}

fn notes(record: &Record) -> String {
    record.notes.join("; ")
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone() {
    let (a, b) = (down().await, ok().await);
    let settings = format!("{CHAIN}{BREAKER}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    assert_eq!(answers(&gateway, &chat(), 20).await, "b".repeat(20));
    assert_eq!(a.count(), 2);
    let records = gateway.records(20).await;
    assert_eq!(attempts(&records[1]), ["503", "200"]);
    assert_eq!(attempts(&records[19]), ["200"]);
    assert_eq!(records[19].attempts[0].step, 1);
    let told = notes(&records[19]);
    assert!(
        told.contains("target `a` was passed over: it rests for 1"),
        "{told}"
    );
}

#[tokio::test]
async fn a_target_that_breaks_its_answers_off_is_left_alone() {
    let events = || sse(chat_events(&["Sa", "wubona"]));
    let idle = format!("{CHAIN}idle_timeout = \"60ms\"\n{BREAKER}");
    for (settings, answer) in [
        (
            format!("{CHAIN}{BREAKER}"),
            events().cut_after(1, Step::Reset),
        ),
        (
            format!("{CHAIN}{BREAKER}"),
            json(COMPLETION).cut_after(1, Step::Close).announcing(9_999),
        ),
        (idle, events().cut_after(1, Step::Stall)),
    ] {
        let a = Upstream::start([answer]).await;
        let b = ok().await;
        let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
        let request = chat().body(STREAM_PROMPT).with("cf-aig-max-attempts", "3");
        for at in 1..=2 {
            let reply = gateway.ask(&request).await;
            assert_eq!((reply.status(), from(&reply)), (200, "a"));
            assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
            let record = gateway.records(at).await.remove(at - 1);
            assert_eq!(record.outcome, Outcome::UpstreamCut);
        }
        assert_eq!(answers(&gateway, &chat(), 3).await, "bbb");
        assert_eq!(a.count(), 2, "nothing was sent again");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_no_failure_of_the_target() {
    let events = chat_events(&["Sa", "wubona"]);
    let stalls = sse(events).cut_after(1, Step::Stall);
    let a = Upstream::start([stalls.clone(), stalls, json(COMPLETION)]).await;
    let b = ok().await;
    let settings = format!("{CHAIN}{BREAKER}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    for at in 0..2 {
        let mut client = gateway.send(&chat().body(STREAM_PROMPT)).await;
        client.head().await;
        client.piece().await;
        drop(client);
        a.given_up(at).await;
        gateway.records(at + 1).await;
    }
    assert_eq!(answers(&gateway, &chat(), 1).await, "a");
}

#[tokio::test]
async fn an_outage_of_the_only_target_is_not_multiplied() {
    let a = down().await;
    let b = ok().await;
    let settings = "[gateways.retry]\nmax_attempts = 5\ndelay_ms = 0\nbudget_floor = 5\n";
    let gateway = Harness::start(&targets(settings, [&a, &b], [1, 1])).await;
    let mut before = 0;
    for request in 1..=150 {
        assert_eq!(gateway.ask(&chat()).await.status(), 503);
        if request == 50 {
            before = a.count();
        }
    }
    let sends = a.count() - before;
    assert!(sends <= 120, "{sends} sends for 100 requests");
    assert_eq!(b.count(), 0, "it is not in the chain");
    let last = notes(&gateway.records(150).await[149]);
    assert!(last.contains("although it rests"), "{last}");
}

#[tokio::test]
async fn where_there_are_no_targets_an_outage_is_not_multiplied_either() {
    let down = down().await;
    let settings = "[[gateways]]\nid = \"g\"\nretry = { max_attempts = 3, delay_ms = 0 }\n";
    let gateway = Harness::with(settings, &down).await;
    let request = chat().with("authorization", "Bearer a-key");
    for _ in 0..200 {
        assert_eq!(gateway.ask(&request).await.status(), 503);
    }
    assert!(
        down.count() <= 240,
        "{} sends for 200 requests",
        down.count()
    );
    let records = gateway.records(200).await;
    assert_eq!(attempts(&records[0]), ["503", "503", "503"]);
    let last = notes(&records[11]);
    assert!(
        last.contains("`openai` was not asked again: the retry budget is spent"),
        "{last}"
    );
}

#[tokio::test]
async fn the_end_of_an_outage_is_found() {
    let failures = std::iter::repeat_n(status(500), 3);
    let a = Upstream::start(failures.chain([json(COMPLETION)])).await;
    let b = ok().await;
    let breaker = "[gateways.breaker]\nconsecutive_failures = 2\nrest = \"20ms\"\n";
    let settings = format!("{CHAIN}{breaker}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    within("the first target to be found back", async {
        while from(&gateway.ask(&chat()).await) != "a" {}
    })
    .await;
    // Two failures, a probe that failed, and one that did not.
    assert_eq!(a.count(), 4);
    assert_eq!(answers(&gateway, &chat(), 3).await, "aaa");
}

#[tokio::test]
async fn a_timeout_that_only_the_client_asked_for_is_no_failure_of_the_target() {
    let stalled = Answer::raw([Step::Stall]);
    let a = Upstream::start([stalled.clone(), stalled, json(COMPLETION)]).await;
    let b = ok().await;
    let settings = format!("{CHAIN}{BREAKER}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    let hasty = chat().with("cf-aig-request-timeout", "5");
    for _ in 0..2 {
        assert_eq!(from(&gateway.ask(&hasty).await), "b");
    }
    assert_eq!(answers(&gateway, &chat(), 1).await, "a");
}

#[tokio::test]
async fn a_target_that_asks_to_be_left_alone_is_for_everybody() {
    let busy = || status(429).header("retry-after", "30");
    let a = Upstream::start([busy(), json(COMPLETION)]).await;
    let b = ok().await;
    let gateway = Harness::start(&targets(CHAIN, [&a, &b], [1, 1])).await;
    assert_eq!(answers(&gateway, &chat(), 3).await, "bbb");
    assert_eq!(a.count(), 1);
    let told = notes(&gateway.records(3).await[2]);
    assert!(told.contains("it asked to be left alone for"), "{told}");
    // Another model has limits of its own, and so has whoever brings an own key.
    let other = Ask::post(CHAT, PROMPT.replace("gpt-4o", "gpt-4o-mini"));
    assert_eq!(answers(&gateway, &other, 1).await, "a");
    let own = chat().with("authorization", "Bearer a-key-of-the-clients-own");
    assert_eq!(answers(&gateway, &own, 1).await, "a");
    assert_eq!(answers(&gateway, &chat(), 1).await, "b");
}

#[tokio::test]
async fn whoever_brings_a_spent_key_spends_nobody_elses() {
    let a = Upstream::start_by(|request| match request.head.header("authorization") {
        Some("Bearer a-spent-key") => status(429).header("retry-after", "30"),
        _ => json(COMPLETION),
    })
    .await;
    let b = ok().await;
    let gateway = Harness::start(&targets(CHAIN, [&a, &b], [1, 1])).await;
    let spent = chat().with("authorization", "Bearer a-spent-key");
    assert_eq!(answers(&gateway, &spent, 2).await, "bb");
    assert_eq!(a.count(), 1);
    assert_eq!(answers(&gateway, &chat(), 2).await, "aa");
}

#[tokio::test]
async fn all_that_rest_are_asked_all_the_same() {
    let failures = || std::iter::repeat_n(status(502), 2).chain([json(COMPLETION)]);
    let (a, b) = (
        Upstream::start(failures()).await,
        Upstream::start(failures()).await,
    );
    let settings = format!("{CHAIN}{BREAKER}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&chat()).await.status(), 502);
    }
    // The one that was asked longer ago; its answer shows that it is back.
    assert_eq!(answers(&gateway, &chat(), 3).await, "aaa");
    let records = gateway.records(5).await;
    let told = notes(&records[2]);
    assert!(
        told.contains("target `a` was asked although it rests"),
        "{told}"
    );
    assert!(!notes(&records[3]).contains("rests"));
}

#[tokio::test]
async fn equals_share_traffic_by_weight() {
    let (a, b) = (ok().await, ok().await);
    let gateway = Harness::start(&targets(GROUP, [&a, &b], [3, 1])).await;
    assert_eq!(answers(&gateway, &chat(), 8).await, "aabaaaba");
    // The group's own name, and a target's, which is not shared.
    let of_group = Ask::post("/v1/local/g/both/chat/completions", PROMPT);
    assert_eq!(answers(&gateway, &of_group, 4).await, "aaba");
    let of_b = Ask::post("/v1/local/g/b/chat/completions", PROMPT);
    assert_eq!(answers(&gateway, &of_b, 3).await, "bbb");
    let request = b.request(0).await;
    assert_eq!(request.head.target, "/b/chat/completions");
    let key = request.head.header("authorization");
    assert_eq!(key, Some("Bearer configured-key-of-b"));
}

#[tokio::test]
async fn an_equal_takes_over_at_once() {
    let (a, b) = (down().await, ok().await);
    let settings = format!("{GROUP}[gateways.retry]\nmax_attempts = 5\ndelay_ms = 60000\n");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 0])).await;
    assert_eq!(answers(&gateway, &chat(), 1).await, "b");
    assert_eq!(attempts(&gateway.record().await), ["503", "200"]);
}

#[tokio::test]
async fn a_session_stays_where_it_is() {
    let (a, b) = (ok().await, ok().await);
    let sticky = format!("{GROUP}sticky = \"metadata.session\"\n");
    let gateway = Harness::start(&targets(&sticky, [&a, &b], [1, 1])).await;
    let mut firsts = String::new();
    for session in 0..16 {
        let metadata = format!(r#"{{"session":{session}}}"#);
        let request = chat().with("cf-aig-metadata", &metadata);
        let names = answers(&gateway, &request, 3).await;
        assert!(names == "aaa" || names == "bbb", "{session}: {names}");
        firsts += &names[..1];
    }
    assert!(firsts.contains('a') && firsts.contains('b'), "{firsts}");
    // Without a session they are balanced.
    assert_eq!(answers(&gateway, &chat(), 4).await, "abab");
    let sticky = format!("{GROUP}sticky = \"header.X-Session\"\n");
    let again = Harness::start(&targets(&sticky, [&a, &b], [1, 1])).await;
    for session in 0..16 {
        // The same value leads to the same target, whatever carries it.
        let request = chat().with("x-session", &session.to_string());
        let expected = &firsts[session..=session];
        assert_eq!(answers(&again, &request, 1).await, expected);
    }
}

#[tokio::test]
async fn the_less_busy_of_two_is_asked() {
    let slow = json(COMPLETION).first(Step::Wait);
    let a = Upstream::start([slow, json(COMPLETION)]).await;
    let b = ok().await;
    let settings = format!("{GROUP}balance = \"least_busy\"\n");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    let mut waiting = Client::connect(gateway.addr).await;
    let of_a = Ask::post("/v1/local/g/a/chat/completions", PROMPT);
    waiting.send_ask(&of_a).await;
    a.request(0).await;
    assert_eq!(answers(&gateway, &chat(), 6).await, "bbbbbb");
    a.go();
    assert_eq!(waiting.reply().await.status(), 200);
    within("the first target to be idle", async {
        while from(&gateway.ask(&chat()).await) != "a" {}
    })
    .await;
}

#[tokio::test]
async fn traffic_turns_away_before_a_limit_is_reached() {
    let left = |count: &str| json(COMPLETION).header("x-ratelimit-remaining-requests", count);
    let a = Upstream::start([left("2"), status(429)]).await;
    let b = ok().await;
    let gateway = Harness::start(&targets(CHAIN, [&a, &b], [1, 1])).await;
    assert_eq!(answers(&gateway, &chat(), 1).await, "a");
    let view = ask(gateway.admin, &Ask::get("/targets")).await.json();
    assert_eq!(view["targets"][0]["remaining_requests"], 2);
    let gone = Upstream::start([left("0"), status(429)]).await;
    let gateway = Harness::start(&targets(CHAIN, [&gone, &b], [1, 1])).await;
    assert_eq!(answers(&gateway, &chat(), 4).await, "abbb");
    assert_eq!(gone.count(), 1);
    let told = notes(&gateway.records(4).await[3]);
    assert!(
        told.contains("it has too little left of its limits"),
        "{told}"
    );
}

/// A gateway whose target `a` has answered often enough to be known as fast.
async fn hedged(then: Answer, b: &Upstream) -> (Harness, Upstream) {
    let answers_before = std::iter::repeat_n(json(COMPLETION), 20);
    let a = Upstream::start(answers_before.chain([then])).await;
    let settings = format!(
        "{CHAIN}[gateways.hedge]\nenabled = true\nmin_delay = \"10ms\"\nmax_delay = \"20ms\"\n"
    );
    let gateway = Harness::start(&targets(&settings, [&a, b], [1, 1])).await;
    let names = answers(&gateway, &chat(), 20).await;
    assert!(names.starts_with("aaaaa"), "{names}");
    (gateway, a)
}

#[tokio::test]
async fn a_slow_answer_is_overtaken() {
    let b = ok().await;
    let (gateway, a) = hedged(Answer::raw([Step::Stall]), &b).await;
    let before = a.count();
    let reply = gateway.ask(&chat()).await;
    assert_eq!((reply.status(), from(&reply)), (200, "b"));
    assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
    assert_eq!(reply.header("cf-aig-step"), Some("1"));
    assert_eq!(reply.text(), COMPLETION);
    a.given_up(before).await;
    let record = gateway.records(21).await.remove(20);
    check_hedge(&record, "a", "b");
}

/// Both sends are on the record, with what each cost: of the loser, nobody knows.
fn check_hedge(record: &Record, loser: &str, winner: &str) {
    let of = |one: &'static str| -> Option<Box<str>> { Some(one.into()) };
    let told: Vec<_> = record
        .attempts
        .iter()
        .map(
            |Attempt {
                 target,
                 status,
                 cancelled_by,
                 cost,
                 ..
             }| { (&**target, *status, cancelled_by.clone(), cost.clone()) },
        )
        .collect();
    assert!(record.cost.nanousd.is_some_and(|cost| cost > 0));
    assert_eq!(
        told,
        [
            (loser, None, of("hedge"), Some(Cost::default())),
            (winner, Some(200), None, Some(record.cost.clone()))
        ]
    );
    assert_eq!(record.target.as_deref(), Some(winner));
}

#[tokio::test]
async fn of_two_sends_that_fail_the_more_useful_is_the_answer() {
    let limit = || status(429).header("retry-after", "120");
    let check = async |first: Answer, second: Answer, code: u16, target: &str| {
        let b = Upstream::start([second]).await;
        let (gateway, a) = hedged(first.first(Step::Wait), &b).await;
        let mut client = gateway.send(&chat()).await;
        b.request(0).await;
        a.go();
        let reply = client.reply().await;
        assert_eq!((reply.status(), from(&reply)), (code, target));
        assert_eq!(reply.header("cf-aig-attempts"), Some("2"));
        let record = gateway.records(21).await.remove(20);
        assert_eq!(record.target.as_deref(), Some(target));
        assert!(
            record
                .attempts
                .iter()
                .all(|one| one.cost == Some(Cost::free()))
        );
    };
    check(status(503), limit(), 429, "b").await;
    check(limit(), status(503), 429, "a").await;
    check(limit(), limit().header("retry-after-ms", "90000"), 429, "b").await;
}

#[tokio::test]
async fn the_first_of_two_sends_may_still_win() {
    let b = Upstream::start([Answer::raw([Step::Stall])]).await;
    let (gateway, a) = hedged(json(COMPLETION).first(Step::Wait), &b).await;
    let mut client = gateway.send(&chat()).await;
    b.request(0).await;
    a.go();
    let reply = client.reply().await;
    assert_eq!((reply.status(), from(&reply)), (200, "a"));
    b.given_up(0).await;
    let record = gateway.records(21).await.remove(20);
    check_hedge(&record, "b", "a");
}

#[tokio::test]
async fn a_second_send_that_fails_does_not_win() {
    let b = down().await;
    let (gateway, a) = hedged(json(COMPLETION).first(Step::Wait), &b).await;
    let mut client = gateway.send(&chat()).await;
    b.request(0).await;
    a.go();
    assert_eq!(client.reply().await.status(), 200);
    let record = gateway.records(21).await.remove(20);
    let mut told = attempts(&record);
    told.sort();
    assert!(told == ["200", "503"] || told == ["", "200"], "{told:?}");
    assert_eq!(record.target.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_both_sends() {
    let b = Upstream::start([Answer::raw([Step::Stall])]).await;
    let (gateway, a) = hedged(Answer::raw([Step::Stall]), &b).await;
    let before = a.count();
    let client = gateway.send(&chat()).await;
    b.request(0).await;
    drop(client);
    a.given_up(before).await;
    b.given_up(0).await;
    let record = gateway.records(21).await.remove(20);
    let told: Vec<_> = record
        .attempts
        .iter()
        .map(|one| (&*one.target, one.error.as_deref()))
        .collect();
    assert_eq!(
        told,
        [("a", Some("client_left")), ("b", Some("client_left"))]
    );
}

#[tokio::test]
async fn operators_see_how_targets_are() {
    let (a, b) = (down().await, ok().await);
    let settings = format!("{CHAIN}{BREAKER}");
    let gateway = Harness::start(&targets(&settings, [&a, &b], [1, 1])).await;
    let view = || async { ask(gateway.admin, &Ask::get("/targets")).await.json() };
    let at_first = view().await;
    assert_eq!(at_first["targets"][0]["circuit"], "closed");
    answers(&gateway, &chat(), 3).await;
    let view = view().await;
    let [of_a, of_b] = [&view["targets"][0], &view["targets"][1]];
    assert_eq!(
        (&of_a["gateway"], &of_a["target"]),
        (&"g".into(), &"a".into())
    );
    assert_eq!(
        (&of_a["circuit"], &of_b["circuit"]),
        (&"open".into(), &"closed".into())
    );
    let rest = Duration::from_millis(of_a["rest_ms"].as_u64().unwrap());
    assert!(rest > Duration::from_secs(1_700) && rest <= Duration::from_secs(1_800));
    assert_eq!(
        (&of_a["requests"], &of_b["requests"]),
        (&2.into(), &3.into())
    );
    let metrics = ask(gateway.admin, &Ask::get("/metrics")).await;
    let of = |name: &str, target: &str| {
        let place = format!("{{account=\"local\",gateway=\"g\",target=\"{target}\"}} ");
        let line = format!("isango_target_{name}{place}");
        let found = metrics
            .text()
            .lines()
            .find_map(|shown| shown.strip_prefix(&*line));
        found
            .unwrap_or_else(|| panic!("{line}\n{}", metrics.text()))
            .to_owned()
    };
    assert_eq!(
        (of("resting", "a"), of("resting", "b")),
        ("1".into(), "0".into())
    );
    assert_eq!(of("requests_in_flight", "b"), "0");
    let words = format!("targets --admin {}", gateway.admin);
    let (code, table) = isango(&words).await;
    let words_of = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().take(3).collect();
        cells.join(" ")
    };
    let states: Vec<_> = table.lines().map(words_of).collect();
    let expected = ["GATEWAY TARGET STATE", "local/g a open", "local/g b closed"];
    assert_eq!(
        (code, &*states),
        (0, &expected.map(str::to_owned)[..]),
        "{table}"
    );
    let (_code, lines) = isango(&format!("{words} --json")).await;
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["circuit"], &lines[1]["requests"]),
        (&"open".into(), &3.into())
    );
    let (code, _nothing) = isango("targets --admin 127.0.0.1:1").await;
    assert_eq!(code, 1);
}
