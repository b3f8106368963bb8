//! What a request draws, by how it ends and who else asks for the same.

use isango_testkit::answer::{Answer, Step, json, sse, status};
use isango_testkit::client::Ask;
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::record::{Outcome, Record};

use super::{COST, TOKENS, chat, limited};
use crate::harness::Harness;

/// How a request ends, and what it draws: of a limit of requests, of one of tokens, of one of cost.
async fn check_charge(answer: Answer, ask: &Ask, leaves: bool, charged: [u64; 3]) -> Record {
    let rules = limited(
        "retry = { max_attempts = 2, delay_ms = 0 }\n\
         [[gateways.limits]]\nid = \"r\"\nunit = \"requests\"\nlimit = 100\nwindow = \"day\"\n\
         [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 100_000\nwindow = \"day\"\n\
         [[gateways.limits]]\nid = \"c\"\nunit = \"cost\"\nlimit = 100\nwindow = \"day\"\n\
         [[gateways.limits]]\nid = \"n\"\nunit = \"concurrent\"\nlimit = 1\n",
    );
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::with(&rules, &upstream).await;
    if leaves {
        let mut client = gateway.send(ask).await;
        upstream.request(0).await;
        if ask.to_bytes().windows(6).any(|word| word == b"stream") {
            client.piece().await;
        }
        client.reset();
    } else {
        gateway.ask(ask).await;
    }
    let record = gateway.record().await;
    let by_rule = |rule: &str| {
        let mut of_rule = record.limits.iter().filter(|one| *one.rule == *rule);
        of_rule.next().unwrap()
    };
    let drawn = ["r", "t", "c"].map(|rule| by_rule(rule).charged);
    assert_eq!(drawn, charged, "{:?}", record.limits);
    for rule in ["r", "t", "c"] {
        let one = by_rule(rule);
        assert_eq!(one.after, one.charged, "nothing is held any more: {one:?}");
    }
    assert_eq!(by_rule("n").after, 0);
    record
}

#[tokio::test]
async fn every_end_has_its_charge() {
    // Our own count of the prompt.
    let input = 13;
    let stream = || chat().body(STREAM_PROMPT);
    // Complete, with usage and without.
    check_charge(json(COMPLETION), &chat(), false, [1, TOKENS, COST]).await;
    let without = COMPLETION.split_once(r#","usage""#).unwrap().0.to_owned() + "}";
    let record = check_charge(
        json(without),
        &chat(),
        false,
        [1, input + 4, 13 * 2_500 + 4 * 10_000],
    )
    .await;
    assert!(record.usage.unwrap().estimated);
    // The provider refuses or fails, twice: free, and one request.
    for code in [400, 500] {
        let record = check_charge(status(code), &chat(), false, [1, 0, 0]).await;
        assert_eq!(record.attempts.len(), if code == 400 { 1 } else { 2 });
    }
    let reset = Answer::raw([Step::Reset]);
    check_charge(reset, &chat(), false, [1, 0, 0]).await;
    // The client leaves before the first byte: what it surely drew.
    let silent = json(COMPLETION).first(Step::Wait);
    check_charge(silent, &chat(), true, [1, input, input * 2_500]).await;
    // Streams that are cut, and that are left: what was delivered.
    let cut = sse(chat_events(&["Sawubona", " mhlaba"])).cut_after(2, Step::Reset);
    let record = check_charge(
        cut,
        &stream(),
        false,
        [1, input + 3, 13 * 2_500 + 3 * 10_000],
    )
    .await;
    assert_eq!(record.outcome, Outcome::UpstreamCut);
}

#[tokio::test]
async fn a_client_cannot_make_itself_cheap() {
    let cheap = chat().with("cf-aig-custom-cost", r#"{"total_cost":0}"#);
    let record = check_charge(json(COMPLETION), &cheap, false, [1, TOKENS, COST]).await;
    assert_eq!(record.cost.nanousd, Some(0));
    let dear = chat().with("cf-aig-custom-cost", r#"{"total_cost":0.5}"#);
    check_charge(json(COMPLETION), &dear, false, [1, TOKENS, 500_000_000]).await;
}

#[tokio::test]
async fn an_answer_from_the_cache_draws_a_request_and_nothing_else() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let rules = limited(
        "cache_ttl = 3600\n\
         [[gateways.limits]]\nid = \"r\"\nunit = \"requests\"\nlimit = 3\nwindow = \"day\"\n\
         [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 20\nwindow = \"day\"\n",
    );
    let gateway = Harness::with(&rules, &upstream).await;
    assert_eq!(gateway.ask(&chat()).await.status(), 200);
    gateway.records(1).await;
    // The tokens are used up; what was paid for is still there, until the requests are, too.
    let other = chat().body(PROMPT.replace("hello", "goodbye"));
    for (ask, status) in [
        (&chat(), 200),
        (&other, 429),
        (&chat(), 200),
        (&chat(), 429),
    ] {
        assert_eq!(gateway.ask(ask).await.status(), status);
    }
    assert_eq!(upstream.count(), 1);
    let records = gateway.records(5).await;
    let drawn: Vec<Vec<_>> = records
        .iter()
        .map(|record| {
            let limits = record.limits.iter();
            limits.map(|one| (&*one.rule, one.charged)).collect()
        })
        .collect();
    assert_eq!(
        drawn,
        [
            vec![("r", 1), ("t", TOKENS)],
            vec![("r", 1)],
            vec![("r", 0), ("t", 0)],
            vec![("r", 1)],
            vec![("r", 0)],
        ]
    );
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_draw_its_tokens_once() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let rules = limited(
        "cache_ttl = 3600\n\
         [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 100_000\nwindow = \"day\"\n",
    );
    let gateway = Harness::with(&rules, &upstream).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = gateway.send(&chat()).await;
        clients.push(client);
    }
    upstream.request(0).await;
    upstream.go();
    for client in &mut clients {
        assert_eq!(client.reply().await.status(), 200);
    }
    let records = gateway.records(8).await;
    let decisions = records.iter().flat_map(|record| &record.limits);
    assert_eq!(decisions.map(|one| one.charged).sum::<u64>(), TOKENS);
    assert_eq!(upstream.count(), 1);
}
