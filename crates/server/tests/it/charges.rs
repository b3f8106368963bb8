//! What an exchange draws from limits of requests, tokens and cost, by how it ended, whether usage
//! was told, and who else had to do with its answer: one table, and `docs/limits.md` says the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::{Ask, Client};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::record::{CacheStatus, Outcome, Record};
use isango_types::{Clock, Cost, Timestamp};

use crate::cache::under_way;
use crate::harness::{Harness, config};
use crate::legs::{Answering, Inbound};

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An error before the first byte: no answer, or one that is an error and may tell usage.
    Error,
    /// The client leaves before the first byte.
    Unseen,
    /// The provider breaks its answer off, but for its last event.
    Cut,
    /// The client leaves, but for the last event.
    Aborted,
    Complete,
}

/// Who else has to do with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    /// Nobody.
    Alone,
    /// It was stored.
    Hit,
    /// Another request asked for it.
    Joined,
    /// This one asked for it, and another reads on.
    Led,
    /// It was stored, is old, and stands in for one that failed.
    Stale,
    /// Two targets were asked.
    Hedged,
}

/// Requests, tokens, and nano-dollars.
type Charge = [u64; 3];

const REQUEST: Charge = [1, 0, 0];
/// What [`chat_events`] tells of one word.
const TOLD: Charge = [1, 19 + 1, 19 * 2_500 + 10_000];
/// The prompt and the text of the answer by our own count.
const COUNTED: Charge = [1, 13 + 3, 13 * 2_500 + 3 * 10_000];
const INPUT: Charge = [1, 13, 13 * 2_500];

// The rows of the page.
const FAILED: &str = "an error before the first byte: no connection, no answer, a timeout";
const REFUSED: &str = "answered with an error status, usage told or not";
const WHOLE: &str = "complete, usage told";
const WHOLE_UNTOLD: &str = "complete, no usage";
const BROKEN: &str = "cut by the provider, or left by the client, after the first byte";
const UNSEEN: &str = "left by the client before the first byte";
const LED: &str = "left by the client while others, who asked the same, read on";
const SHARED: &str = "answered from the cache, or with an answer that another request asked for";
const STALE: &str = "stale answer in place of a failing provider";
const HEDGED: &str = "hedged: sent to a second target as well";

/// Rows that `budgets` and `evasions` show, and the limit engine's own tests.
const ELSEWHERE: [&str; 8] = [
    "refused by the gateway, or never sent",
    "sent, and ended by the request's own timeout (`cf-aig-request-timeout`) before the operator's",
    "no usage, and kept in part (`max_record_body_bytes`, or no memory)",
    "to be made in the background (Responses), and not told",
    "an answer that was paid for before: fetched, changed or cancelled",
    "pictures whose client left before they were told",
    "usage of which a part has no rate",
    "the record was lost (queue full, a failure of ours, a process killed)",
];

/// How it ended, whether usage was told, who shared it; the page's row, and what is charged. What
/// is stored can be neither an error nor cut.
const TABLE: [(End, bool, Shared, &str, Charge); 31] = [
    (End::Error, false, Shared::Alone, FAILED, REQUEST),
    (End::Error, true, Shared::Alone, REFUSED, REQUEST),
    (End::Unseen, false, Shared::Alone, UNSEEN, INPUT),
    (End::Cut, false, Shared::Alone, BROKEN, COUNTED),
    (End::Cut, true, Shared::Alone, BROKEN, TOLD),
    (End::Aborted, false, Shared::Alone, BROKEN, COUNTED),
    (End::Aborted, true, Shared::Alone, BROKEN, TOLD),
    (End::Complete, false, Shared::Alone, WHOLE_UNTOLD, COUNTED),
    (End::Complete, true, Shared::Alone, WHOLE, TOLD),
    (End::Aborted, false, Shared::Hit, SHARED, REQUEST),
    (End::Aborted, true, Shared::Hit, SHARED, REQUEST),
    (End::Complete, false, Shared::Hit, SHARED, REQUEST),
    (End::Complete, true, Shared::Hit, SHARED, REQUEST),
    (End::Error, false, Shared::Joined, FAILED, REQUEST),
    (End::Error, true, Shared::Joined, REFUSED, REQUEST),
    (End::Cut, false, Shared::Joined, SHARED, REQUEST),
    (End::Cut, true, Shared::Joined, SHARED, REQUEST),
    (End::Aborted, false, Shared::Joined, SHARED, REQUEST),
    (End::Aborted, true, Shared::Joined, SHARED, REQUEST),
    (End::Complete, false, Shared::Joined, SHARED, REQUEST),
    (End::Complete, true, Shared::Joined, SHARED, REQUEST),
    (End::Aborted, true, Shared::Led, LED, TOLD),
    (End::Complete, true, Shared::Stale, STALE, REQUEST),
    (End::Error, false, Shared::Hedged, FAILED, REQUEST),
    (End::Error, true, Shared::Hedged, REFUSED, REQUEST),
    (End::Cut, false, Shared::Hedged, HEDGED, COUNTED),
    (End::Cut, true, Shared::Hedged, HEDGED, TOLD),
    (End::Aborted, false, Shared::Hedged, HEDGED, COUNTED),
    (End::Aborted, true, Shared::Hedged, HEDGED, TOLD),
    (End::Complete, false, Shared::Hedged, HEDGED, COUNTED),
    (End::Complete, true, Shared::Hedged, HEDGED, TOLD),
];

/// A stream's events, with those that tell usage or without; of one that is to outgrow the buffers
/// of sockets, with a long comment.
fn events(told: bool, is_long: bool) -> Vec<Bytes> {
    let mut events = chat_events(&["Sawubona"]);
    if !told {
        events.remove(events.len() - 2);
    }
    if is_long {
        let padding = ": ".to_owned() + &"a".repeat(6 << 20) + "\n\n";
        events.insert(1, padding.into());
    }
    events
}

/// What the provider does; before the end of a stream it waits.
fn answer(end: End, told: bool) -> Answer {
    let mut events = events(told, false);
    let last = events.pop().unwrap();
    let begun = sse(events).then(Step::Wait);
    match (end, told) {
        (End::Error, false) => Answer::raw([Step::Reset]).first(Step::Wait),
        (End::Error, true) => Answer::new(500)
            .header("content-type", "application/json")
            .body(COMPLETION)
            .first(Step::Wait),
        (End::Unseen, _) => Answer::raw([Step::Stall]),
        (End::Cut, _) => begun.then(Step::Reset),
        (End::Aborted | End::Complete, _) => begun.then(Step::Data(last)),
    }
}

/// A provider that streams these, one after the other, the last again and again. What asks for no
/// stream has its completion.
async fn provider(streams: Vec<Answer>) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start_by(move |request| {
        let streams_it = request.body.windows(8).any(|word| word == b"\"stream\"");
        if !streams_it {
            return json(COMPLETION);
        }
        let at = count.fetch_add(1, Ordering::Relaxed);
        streams[at.min(streams.len() - 1)].clone()
    })
    .await
}

const CHAT: &str = "/v1/local/g/openai/chat/completions";

/// Asks for a stream that tells its usage, and takes a stored or a running one.
fn question(shared: Shared) -> Ask {
    // What nobody sees is presumed up to this bound: no test depends on how long something took.
    let told = r#"{"max_tokens":0,"stream":true,"stream_options":{"include_usage":true},"#;
    let ask = Ask::post(CHAT, PROMPT.replacen('{', told, 1));
    match shared {
        Shared::Alone | Shared::Hedged => ask,
        Shared::Hit | Shared::Joined | Shared::Led | Shared::Stale => {
            ask.with("cf-aig-cache-ttl", "3600")
        }
    }
}

const LIMITS: &str = "retry = { max_attempts = 1 }\n\
     [[gateways.limits]]\nid = \"r\"\nunit = \"requests\"\nlimit = 1_000\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 1_000_000\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"c\"\nunit = \"cost\"\nlimit = 100\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"n\"\nunit = \"concurrent\"\nlimit = 8\n";

/// A gateway with a limit of each unit before these targets; of two, the second is asked where the
/// first is slow.
async fn gateway(targets: &[&Upstream]) -> Harness {
    Harness::start(&settings(targets)).await
}

fn settings(targets: &[&Upstream]) -> String {
    let mut toml = "[[gateways]]\nid = \"g\"\n".to_owned();
    if targets.len() > 1 {
        toml += "fallback = { t0 = [\"t1\"] }\n";
    }
    toml += LIMITS;
    if targets.len() > 1 {
        toml += "[gateways.hedge]\nenabled = true\nmin_delay = \"10ms\"\nmax_delay = \"20ms\"\n";
    }
    for (at, upstream) in targets.iter().enumerate() {
        toml += &format!(
            "[[gateways.targets]]\nname = \"t{at}\"\nprovider = \"openai\"\ncredential = \"k\"\n\
             base_url = \"{}\"\n",
            upstream.url()
        );
    }
    toml
}

/// Brings a stream that has begun, and waits for its last event, to its end.
async fn ends(mut answering: Answering, told: bool, end: End, upstream: &Upstream) {
    let so_far = events(told, false);
    let so_far = so_far[..so_far.len() - 1].concat();
    assert_eq!(answering.bytes(so_far.len()).await, so_far);
    if end == End::Aborted {
        return drop(answering);
    }
    upstream.go();
    answering.rest().await;
}

async fn alone(end: End, told: bool) -> (Harness, Upstream, usize) {
    let upstream = provider(vec![answer(end, told)]).await;
    let gateway = gateway(&[&upstream]).await;
    let ask = question(Shared::Alone);
    match end {
        End::Error => {
            upstream.go();
            gateway.ask(&ask).await;
        }
        End::Unseen => {
            let client = gateway.send(&ask).await;
            upstream.request(0).await;
            client.reset();
        }
        End::Cut | End::Aborted | End::Complete => {
            let answering = Inbound::Http1.start(&gateway, &ask).await;
            ends(answering, told, end, &upstream).await;
        }
    }
    (gateway, upstream, 0)
}

async fn hit(end: End, told: bool) -> (Harness, Upstream, usize) {
    let stored = sse(events(told, end == End::Aborted));
    let upstream = provider(vec![stored]).await;
    let gateway = gateway(&[&upstream]).await;
    let ask = question(Shared::Hit);
    gateway.ask(&ask).await;
    gateway.records(1).await;
    gateway.kept(1).await;
    let mut client = Client::connect_narrow(gateway.addr, 4_096).await;
    client.send_ask(&ask).await;
    if end == End::Aborted {
        client.head().await;
        client.reset();
    } else {
        client.reply().await;
    }
    (gateway, upstream, 1)
}

async fn stale(told: bool) -> (Harness, Upstream, usize) {
    let stored = sse(events(told, false));
    let upstream = provider(vec![stored, Answer::new(503)]).await;
    let stands_in = "cache_stale_if_error = \"1h\"\nretry =";
    let toml = settings(&[&upstream]).replacen("retry =", stands_in, 1);
    let begun = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
    let clock = Clock::manual(begun);
    let gateway = Harness::start_config(&config(&toml), clock.clone());
    let ask = question(Shared::Stale);
    gateway.ask(&ask).await;
    gateway.records(1).await;
    clock.set(begun.plus(Duration::from_secs(3_700)));
    assert_eq!(gateway.ask(&ask).await.status(), 200);
    (gateway, upstream, 1)
}

/// Two ask for the same; `place` is the one that is looked at, and the other stays to the end.
async fn together(end: End, told: bool, place: usize) -> (Harness, Upstream, usize) {
    let upstream = provider(vec![answer(end, told)]).await;
    let gateway = gateway(&[&upstream]).await;
    let ask = question(Shared::Joined);
    if end == End::Error {
        let mut first = gateway.send(&ask).await;
        upstream.request(0).await;
        let mut second = gateway.send(&ask).await;
        under_way(&gateway, 2).await;
        // The second asks for itself then.
        (0..2).for_each(|_| upstream.go());
        first.reply().await;
        second.reply().await;
        return (gateway, upstream, place);
    }
    let first = Inbound::Http1.start(&gateway, &ask).await;
    let second = Inbound::Http1.start(&gateway, &ask).await;
    let (looked_at, other) = match place {
        0 => (first, second),
        _ => (second, first),
    };
    ends(looked_at, told, end, &upstream).await;
    if end == End::Aborted {
        under_way(&gateway, 1).await;
        upstream.go();
    }
    other.rest().await;
    (gateway, upstream, place)
}

async fn hedged(end: End, told: bool) -> (Harness, Upstream, usize) {
    // So many streams make a target known as fast.
    const KNOWN: usize = 20;
    let slow = match end {
        End::Error => answer(end, told),
        End::Unseen | End::Cut | End::Aborted | End::Complete => Answer::raw([Step::Stall]),
    };
    let mut script = vec![sse(events(true, false)); KNOWN];
    script.push(slow);
    let first = provider(script).await;
    let second = provider(vec![answer(end, told)]).await;
    let gateway = gateway(&[&first, &second]).await;
    let ask = question(Shared::Hedged);
    for _ in 0..KNOWN {
        assert_eq!(gateway.ask(&ask).await.status(), 200);
    }
    gateway.records(KNOWN).await;
    if end == End::Error {
        let mut client = gateway.send(&ask).await;
        second.request(0).await;
        first.go();
        second.go();
        client.reply().await;
    } else {
        let answering = Inbound::Http1.start(&gateway, &ask).await;
        ends(answering, told, end, &second).await;
    }
    let record = gateway.records(KNOWN + 1).await.remove(KNOWN);
    assert_eq!(record.attempts.len(), 2);
    if end != End::Error {
        // What nobody knows of the send that lost is not charged.
        let lost = &record.attempts[0];
        assert_eq!(lost.cancelled_by.as_deref(), Some("hedge"));
        assert_eq!(lost.cost, Some(Cost::default()));
    }
    // The second has ended; the first answers what comes after.
    (gateway, first, KNOWN)
}

/// How a record ended, and who shared it, is what the row says.
#[track_caller]
fn check_kind(record: &Record, end: End, shared: Shared) {
    let outcome = match end {
        End::Error => return assert_ne!(record.status, Some(200)),
        End::Cut => Outcome::UpstreamCut,
        End::Unseen | End::Aborted => Outcome::ClientLeft,
        End::Complete => Outcome::Answered,
    };
    assert_eq!(record.outcome, outcome);
    let cache = record.cache.as_ref();
    let told = cache.map(|cache| (cache.status, cache.joined));
    let expected = match shared {
        Shared::Alone | Shared::Hedged => return,
        Shared::Hit => (CacheStatus::Hit, false),
        Shared::Joined => (CacheStatus::Hit, true),
        Shared::Led => (CacheStatus::Miss, false),
        Shared::Stale => (CacheStatus::Stale, false),
    };
    assert_eq!(told, Some(expected));
}

/// What a record says was charged. An answer that was shared did not come to all limits.
fn charge(record: &Record) -> Charge {
    ["r", "t", "c"].map(|rule| {
        let mut limits = record.limits.iter();
        let found = limits.find(|one| *one.rule == *rule);
        found.map_or(0, |one| one.charged)
    })
}

/// All rows of the table with `shared`: what the record says was charged, and what the counters
/// hold when all is over, which is the sum of all records and nothing beside.
async fn check(shared: Shared) {
    for (end, told, of, _, charged) in TABLE {
        if of != shared {
            continue;
        }
        let (gateway, _upstream, place) = match shared {
            Shared::Alone => Box::pin(alone(end, told)).await,
            Shared::Hit => Box::pin(hit(end, told)).await,
            Shared::Joined => Box::pin(together(end, told, 1)).await,
            Shared::Led => Box::pin(together(end, told, 0)).await,
            Shared::Stale => Box::pin(stale(told)).await,
            Shared::Hedged => Box::pin(hedged(end, told)).await,
        };
        let count = match shared {
            Shared::Alone => 1,
            Shared::Hit | Shared::Joined | Shared::Led | Shared::Stale => 2,
            Shared::Hedged => place + 1,
        };
        let mut records = gateway.records(count).await;
        // Those of one moment are in no order: who asked stands before who shared.
        let shares = |one: &Record| {
            let cache = one.cache.as_ref();
            cache.is_some_and(|cache| cache.status == CacheStatus::Hit)
        };
        records.sort_by_key(shares);
        assert_eq!(records.len(), count, "{end:?}, {told}");
        check_kind(&records[place], end, shared);
        assert_eq!(charge(&records[place]), charged, "{end:?}, {told}");
        let sums = records.iter().map(charge).reduce(|mut sum, one| {
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            sum
        });
        gateway.ask(&Ask::post(CHAT, PROMPT)).await;
        let mut after = gateway.records(count + 1).await;
        after.retain(|one| records.iter().all(|before| before.id != one.id));
        let [after] = &*after else {
            panic!("one request leaves one record: {after:?}")
        };
        let found = after.limits.iter().map(|one| (&*one.rule, one.before));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        let [r, t, c] = sums.unwrap();
        let expected = [("c", c), ("n", 0), ("r", r), ("t", t)];
        assert_eq!(found, expected, "{end:?}, {told}: something else is drawn");
    }
}

#[tokio::test]
async fn who_asks_alone_is_charged_what_it_drew() {
    check(Shared::Alone).await;
}

#[tokio::test]
async fn a_stored_answer_is_charged_as_a_request() {
    check(Shared::Hit).await;
}

#[tokio::test]
async fn who_joins_an_answer_is_charged_as_a_request() {
    check(Shared::Joined).await;
}

#[tokio::test]
async fn who_leaves_an_answer_to_others_is_charged_for_all_of_it() {
    check(Shared::Led).await;
}

#[tokio::test]
async fn an_old_answer_that_stands_in_is_charged_as_a_request() {
    check(Shared::Stale).await;
}

#[tokio::test]
async fn of_two_sends_the_relayed_answer_is_charged() {
    check(Shared::Hedged).await;
}

#[test]
fn the_table_has_every_case() {
    for end in [End::Error, End::Cut, End::Aborted, End::Complete] {
        for told in [false, true] {
            for shared in [Shared::Alone, Shared::Hit, Shared::Joined, Shared::Hedged] {
                let is_it = |row: &(End, bool, Shared, &str, Charge)| {
                    (row.0, row.1, row.2) == (end, told, shared)
                };
                let can_be = shared != Shared::Hit || !matches!(end, End::Error | End::Cut);
                let count = TABLE.iter().filter(|row| is_it(row)).count();
                assert_eq!(count, usize::from(can_be), "{end:?}, {told}, {shared:?}");
            }
        }
    }
}

/// What the page means by its words.
fn meant(words: &str, told: bool) -> Option<Charge> {
    let or_counted = match told {
        true => TOLD,
        false => COUNTED,
    };
    Some(match words {
        "0" => REQUEST,
        "the provider's total" | "as told to the end of the answer" => TOLD,
        "our count of input and delivered text" => COUNTED,
        "as told so far, else our count of input and delivered text"
        | "of the answer that was relayed" => or_counted,
        "our count of the input, and what is presumed of the output" => INPUT,
        _ => return None,
    })
}

#[test]
fn the_page_says_what_is_charged() {
    let page = include_str!("../../../../docs/limits.md");
    let (_, table) = page.split_once("## What is charged").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<Vec<&str>> = rows
        .skip(2)
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for (end, told, shared, words, charged) in TABLE {
        let found = rows.iter().find(|row| row[0] == words);
        let row = found.unwrap_or_else(|| panic!("no row for: {words}"));
        let [requests, tokens, _] = charged;
        assert_eq!(row[1], requests.to_string(), "{words}");
        let meant = meant(row[2], told);
        assert_eq!(meant, Some(charged), "{end:?}, {told}, {shared:?}");
        assert_eq!(row[3] == "0", tokens == 0, "{words}");
    }
    let known = |row: &&Vec<&str>| {
        ELSEWHERE.contains(&row[0]) || TABLE.iter().any(|(.., words, _)| *words == row[0])
    };
    let unknown: Vec<_> = rows.iter().filter(|row| !known(row)).collect();
    assert!(unknown.is_empty(), "nobody tests {unknown:?}");
}

/// Left after more than a second: what a model brings in the meantime counts, up to its bound.
#[tokio::test]
async fn what_nobody_saw_of_an_answer_is_presumed() {
    let slow = Step::Pause(Duration::from_millis(1_600));
    let word = &events(true, false)[..2];
    let thinks = sse(word[..1].to_vec())
        .then(slow.clone())
        .then(Step::Data(word[1].clone()))
        .then(Step::Stall);
    for (answer, seen, unseen) in [(Answer::raw([slow, Step::Stall]), 0, 40), (thinks, 3, 37)] {
        let upstream = Upstream::start_by(move |request| {
            let is_other = request.body.windows(5).any(|word| word == b"other");
            match is_other {
                true => json(COMPLETION).first(Step::Pause(Duration::from_millis(1_600))),
                false => answer.clone(),
            }
        })
        .await;
        let gateway = gateway(&[&upstream]).await;
        let body = PROMPT.replacen('{', r#"{"max_tokens":40,"stream":true,"#, 1);
        let mut client = gateway.send(&Ask::post(CHAT, body)).await;
        upstream.request(0).await;
        if seen > 0 {
            let awaited = word.concat().len();
            client.head().await;
            let mut came = 0;
            while came < awaited {
                came += client.piece().await.unwrap().len();
            }
        } else {
            // Another one takes so long.
            let other = PROMPT.replace("isiZulu", "other");
            gateway.ask(&Ask::post(CHAT, other)).await;
        }
        client.reset();
        let records = gateway.records(if seen > 0 { 1 } else { 2 }).await;
        let left = |one: &&Record| one.outcome == Outcome::ClientLeft;
        let record = records.iter().find(left).unwrap();
        let usage = record.usage.unwrap();
        let output = (usage.input, usage.total_output(), usage.estimated);
        assert_eq!(output, (13, seen + unseen, true), "{usage:?}");
        let cost = 13 * 2_500 + 40 * 10_000;
        assert_eq!(record.cost.nanousd, Some(cost));
        assert_eq!(charge(record), [1, 13 + 40, cost]);
    }
}
