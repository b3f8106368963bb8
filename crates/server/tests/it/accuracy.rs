//! What providers told, what records, their sums, metrics and limits say of it: the same numbers, to
//! the token and to the nano-dollar.
//!
//! `recorded` has answers of every provider, `invented` random ones in every format.

mod invented;
mod recorded;

use std::collections::HashSet;
use std::sync::Arc;

use isango_records::{Records, SealAt};
use isango_store::analytics::{Aggregate, Answer as Sums, Dimension, Measure, Progress, Quantity};
use isango_store::logs::{LogReader, LogWriter as _};
use isango_testkit::answer::{Answer, Step, sse};
use isango_testkit::client::{Ask, Client, ask};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, Random};
use isango_testkit::upstream::Upstream;
use isango_types::limit::Window;
use isango_types::provider::Provider;
use isango_types::{Clock, Record, Timestamp};
use isango_wire::tokens;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use self::invented::{FORMATS, invented};
use self::recorded::{Recorded, answer, is_stream, recorded};
use crate::harness::{CHAT, Harness, config, every_provider};

/// The last of them looks at what the others left.
const EXCHANGES: usize = 10_000;
const CROWDED: usize = EXCHANGES - 1;
/// How many connections ask at once.
const CROWD: usize = 8;
/// Some prices depend on the hour.
const NOW: &str = "2026-11-22T12:00:00Z";

const SETTINGS: &str = "[[gateways]]\nid = \"default\"\nretry = { max_attempts = 1, budget_percent = 100, budget_floor = 10_000 }\n\
     collect_log_payload = false\n\
     [[gateways.limits]]\nid = \"r\"\nunit = \"requests\"\nlimit = 1_000_000\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 1_000_000_000\nwindow = \"month\"\n\
     max_wait = \"20s\"\n\
     [[gateways.limits]]\nid = \"c\"\nunit = \"cost\"\nlimit = 1_000_000\nwindow = \"month\"\n\
     max_wait = \"20s\"\n";

/// What an exchange leaves: tokens and nano-dollars on its record, and what it drew of requests,
/// tokens and nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    tokens: u64,
    cost: Option<u64>,
    drawn: [u64; 3],
}

impl Left {
    /// Of an answer that tells so much.
    fn told(tokens: u64, cost: Option<u64>) -> Self {
        Self {
            tokens,
            cost,
            drawn: [1, tokens, cost.unwrap_or(0)],
        }
    }

    fn of(record: &Record) -> Self {
        let drawn = ["r", "t", "c"].map(|rule| {
            let mut limits = record.limits.iter();
            // What is not sent does not come to limits of tokens and cost.
            let found = limits.find(|one| *one.rule == *rule);
            found.map_or(0, |one| one.charged)
        });
        Self {
            tokens: record.usage.map_or(0, |usage| usage.total()),
            cost: record.cost.nanousd,
            drawn,
        }
    }
}

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is answered.
    Plain,
    /// An error that tells a usage.
    Fails,
    /// An error, and then an answer.
    Retried,
    /// It is answered, and kept.
    Kept,
    /// What was kept just before is asked for again.
    Recalled,
    /// Its client leaves in the middle.
    Aborted,
    /// Its provider breaks off in the middle.
    Cut,
}

/// One exchange; everything of it follows from its number.
struct Exchange {
    fate: Fate,
    ask: Ask,
    /// What its provider answers when it is asked for the last time.
    answer: Answer,
    /// How much of the answer's body its client waits for before it leaves.
    leaves_after: usize,
    left: Left,
}

impl Exchange {
    fn of(number: usize, rows: &[Recorded]) -> Self {
        let fate = Fate::of(number);
        let question = fate.question(number);
        let mut random = Random::new(question as u64);
        random.next_u64();
        let mut exchange = match fate {
            Fate::Aborted | Fate::Cut => Self::broken(fate, question, &mut random),
            Fate::Fails => Self::failed(question),
            Fate::Plain | Fate::Retried | Fate::Kept | Fate::Recalled => {
                Self::answered(fate, question, (&mut random, rows))
            }
        };
        exchange.left = match fate {
            Fate::Recalled => Left {
                tokens: 0,
                cost: Some(0),
                drawn: [1, 0, 0],
            },
            Fate::Plain | Fate::Fails | Fate::Retried | Fate::Kept | Fate::Aborted | Fate::Cut => {
                exchange.left
            }
        };
        exchange.ask = exchange
            .ask
            .with("cf-aig-metadata", &format!("{{\"number\":{number}}}"));
        exchange
    }

    /// An error that tells the usage of [`COMPLETION`]: it is charged to nobody.
    fn failed(number: usize) -> Self {
        let body = PROMPT.replace("isiZulu", &number.to_string());
        Self {
            fate: Fate::Fails,
            ask: question("openai/chat/completions", body),
            answer: failing(),
            leaves_after: 0,
            left: Left {
                tokens: 0,
                cost: Some(0),
                drawn: [1, 0, 0],
            },
        }
    }

    /// A whole answer: recorded or invented.
    fn answered(fate: Fate, number: usize, (random, rows): (&mut Random, &[Recorded])) -> Self {
        // Not all that is recorded may be kept, or is read to be sent again.
        let is_kept = matches!(fate, Fate::Kept | Fate::Recalled);
        let (path, model, streams, answer, left) = match random.below(2) {
            0 if !is_kept && fate != Fate::Retried => {
                let row = &rows[random.below(rows.len())];
                let name = row.recordings[random.below(row.recordings.len())];
                let left = Left::told(row.total, row.cost);
                let answer = answer(name, number as u64);
                (row.path.clone(), row.model, is_stream(name), answer, left)
            }
            _ => {
                let one = invented(random.below(FORMATS), random);
                let left = Left::told(one.total, Some(one.cost));
                (one.path, one.model, one.streams, one.answer, left)
            }
        };
        let answer = match random.below(4) {
            // Nobody asked for that; it would not be given to the next.
            0 if !is_kept => answer.gzipped(),
            _ => answer,
        };
        let body = format!(
            r#"{{"model":"{model}","stream":{streams},"input":"{number}","messages":[{{"role":"user","content":"{number}"}}]}}"#
        );
        let ask = question(&path, body);
        let ask = match fate {
            Fate::Retried => ask
                .with("cf-aig-max-attempts", "2")
                .with("cf-aig-retry-delay", "0"),
            Fate::Kept | Fate::Recalled => ask.with("cf-aig-cache-ttl", "3600"),
            Fate::Plain | Fate::Fails | Fate::Aborted | Fate::Cut => ask,
        };
        Self {
            fate,
            ask,
            answer,
            leaves_after: 0,
            left,
        }
    }

    /// A stream that does not come to where it would tell its usage: what was delivered is counted.
    fn broken(fate: Fate, number: usize, random: &mut Random) -> Self {
        const WORDS: [&str; 5] = [" zero", " one.", " two.", " tri.", " four"];
        let words = 1 + random.below(WORDS.len());
        let body = format!(
            r#"{{"model":"gpt-4o","stream":true,"max_tokens":0,"messages":[{{"role":"user","content":"{number}"}}]}}"#
        );
        let text = WORDS[..words].concat();
        let usage = tokens::estimate(body.as_bytes(), &text, "gpt-4o-2024-08-06");
        let cost = usage.input * 2_500 + usage.output * 10_000;
        let events = chat_events(&WORDS);
        let passed = events[..=words].concat().len();
        let end = if fate == Fate::Aborted {
            Step::Stall
        } else {
            Step::Close
        };
        Self {
            fate,
            ask: question("openai/chat/completions", body),
            answer: sse(events).cut_after(words + 1, end),
            leaves_after: passed,
            left: Left::told(usage.total(), Some(cost)),
        }
    }
}

impl Fate {
    /// The exchange whose question is asked.
    const fn question(self, number: usize) -> usize {
        match self {
            Self::Recalled => number - CROWD,
            Self::Plain | Self::Fails | Self::Retried | Self::Kept | Self::Aborted | Self::Cut => {
                number
            }
        }
    }

    fn of(number: usize) -> Self {
        let drawn = |number: usize| Random::new(number as u64 ^ 0x5eed).below(16);
        let mut round = number / CROWD;
        // Every other one of a client may ask again what it asked before.
        if round % 2 == 1 {
            round = drawn(number - CROWD);
            if round == 0 || round == 1 {
                return Self::Recalled;
            }
        }
        match drawn(number) {
            0 | 1 if (number / CROWD).is_multiple_of(2) => Self::Kept,
            2 => Self::Fails,
            3 | 4 => Self::Retried,
            5 => Self::Aborted,
            6 => Self::Cut,
            _ => Self::Plain,
        }
    }
}

fn failing() -> Answer {
    Answer::new(500)
        .header("content-type", "application/json")
        .body(COMPLETION)
}

fn question(path: &str, body: String) -> Ask {
    keyed(Ask::post(&format!("/v1/local/default/{path}"), body))
}

fn keyed(ask: Ask) -> Ask {
    ["api-key", "x-api-key", "x-goog-api-key", "xi-api-key"]
        .iter()
        .fold(ask.with("authorization", "Bearer k"), |ask, header| {
            ask.with(header, "k")
        })
}

/// A provider that answers each exchange as its number says. It is told which by the only thing that
/// reaches it of the question.
async fn provider(rows: &Arc<Vec<Recorded>>) -> Upstream {
    let rows = Arc::clone(rows);
    let seen = Mutex::new(HashSet::new());
    Upstream::start_by(move |request| {
        let number = request.head.header("x-number").unwrap();
        let number: usize = number.parse().unwrap();
        let exchange = Exchange::of(number, &rows);
        match exchange.fate {
            Fate::Retried if seen.lock().insert(number) => failing(),
            Fate::Plain
            | Fate::Fails
            | Fate::Retried
            | Fate::Kept
            | Fate::Recalled
            | Fate::Aborted
            | Fate::Cut => exchange.answer,
        }
    })
    .await
}

/// Asks, and takes as much of the answer as the exchange does.
async fn converse(client: &mut Client, number: usize, exchange: &Exchange, gateway: &Harness) {
    // What asks for the same says the same.
    let question = exchange.fate.question(number);
    let ask = exchange.ask.clone().with("x-number", &question.to_string());
    if exchange.fate == Fate::Aborted {
        let mut leaving = gateway.send(&ask).await;
        leaving.head().await;
        let mut came = 0;
        while came < exchange.leaves_after {
            came += leaving.piece().await.unwrap().len();
        }
        return leaving.reset();
    }
    if exchange.fate == Fate::Cut {
        // The connection ends with it.
        gateway.ask(&ask).await;
        return;
    }
    let reply = client.ask(&ask).await;
    let status = if exchange.fate == Fate::Fails {
        500
    } else {
        200
    };
    let sent = reply.header("cf-aig-attempts");
    assert_eq!(reply.status(), status, "{number} {sent:?}: {ask:?}");
    let cached = reply.header("cf-aig-cache-status");
    let is_hit = cached == Some("HIT");
    let is_recalled = exchange.fate == Fate::Recalled;
    assert_eq!(is_hit, is_recalled, "{cached:?} {ask:?} {:?}", reply.head);
}

fn sum<const N: usize>(all: impl Iterator<Item = [u64; N]>) -> [u64; N] {
    all.fold([0; N], |sums, one| {
        std::array::from_fn(|place| sums[place] + one[place])
    })
}

/// The sum of the samples of a metric.
fn metric(exposed: &str, name: &str) -> u64 {
    let of = exposed.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with('{')
            .then(|| rest.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    });
    of.sum()
}

fn number(record: &Record) -> usize {
    let value = record.metadata["number"].to_text();
    value.parse().unwrap()
}

fn aggregate(reader: &dyn LogReader, by: Vec<Dimension>, every: Option<Window>) -> Sums {
    let question = Aggregate {
        by,
        every,
        measures: vec![
            Measure::Count,
            Measure::Sum(Quantity::Tokens),
            Measure::Sum(Quantity::Cost),
        ],
        ..Aggregate::default()
    };
    let sums = reader.aggregate(&question, &Progress::default()).unwrap();
    assert!(sums.is_complete);
    sums
}

/// Requests, tokens and nano-dollars of a group.
fn values(values: &[Option<u64>]) -> [u64; 3] {
    [0, 1, 2].map(|place| values[place].unwrap_or(0))
}

/// The sums of the records, however they are split, are `told`.
#[track_caller]
fn check_sums(reader: &dyn LogReader, told: [u64; 3]) {
    let day = std::time::Duration::from_secs(86_400);
    for by in [
        vec![],
        vec![Dimension::Provider, Dimension::Model],
        vec![Dimension::Outcome, Dimension::Cache, Dimension::Operation],
        vec![Dimension::Metadata("number".into())],
    ] {
        let sums = aggregate(reader, by.clone(), Some(Window::Fixed(day)));
        assert_eq!(values(&sums.total.values), told, "{by:?}");
        if by.is_empty() {
            continue;
        }
        let groups = sums.groups.iter().chain(&sums.other);
        let apart = sum(groups.clone().map(|group| values(&group.values)));
        let points = sum(groups
            .flat_map(|group| &group.points)
            .map(|one| values(&one.values)));
        assert_eq!([apart, points], [told; 2], "{by:?}");
    }
}

/// The same records in the embedded store: columns in memory, then sealed. Its rollups, which are
/// asked instead where there are very many, are compared with the columns in its own tests.
fn check_store(records: &[Record], told: [u64; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let options = isango_records::Options {
        seal_at: SealAt {
            rows: records.len(),
            ..SealAt::default()
        },
        ..isango_records::Options::default()
    };
    let store = Records::open(folder.path(), options).unwrap();
    for batch in records.chunks(1_000) {
        store.append(batch).unwrap();
    }
    check_sums(&store, told);
    store.settle().unwrap();
    check_sums(&store, told);
    let sealed = std::fs::read_dir(folder.path().join("columns")).unwrap();
    assert!(sealed.count() > 0, "nothing was sealed");
}

#[tokio::test]
async fn the_buckets_of_every_recorded_answer_sum_to_what_its_provider_tells() {
    let rows = recorded();
    let names = rows
        .iter()
        .flat_map(|row| row.recordings.iter().map(move |name| (row, *name)));
    let all: Arc<Vec<_>> = Arc::new(names.map(|(row, name)| (row.clone(), name)).collect());
    let answers = Arc::clone(&all);
    let upstream = Upstream::start_by(move |request| {
        let number: usize = request.head.header("x-number").unwrap().parse().unwrap();
        answer(answers[number].1, 7)
    })
    .await;
    let clock = Clock::manual(Timestamp::parse(NOW).unwrap());
    let config = config(&format!("{SETTINGS}{}", every_provider(&upstream)));
    let gateway = Harness::start_config(&config, clock);
    for (number, (row, name)) in all.iter().enumerate() {
        let streams = is_stream(name);
        let body = format!(
            r#"{{"model":"{}","stream":{streams},"input":"x"}}"#,
            row.model
        );
        let ask = question(&row.path, body)
            .with("x-number", &number.to_string())
            .with("cf-aig-metadata", &format!("{{\"number\":{number}}}"));
        gateway.ask(&ask).await;
    }
    let records = gateway.records(all.len()).await;
    let mut wrong = Vec::new();
    for record in &records {
        let (row, name) = &all[number(record)];
        let left = Left::of(record);
        if left != Left::told(row.total, row.cost) {
            let usage = serde_json::to_string(&record.usage).unwrap();
            wrong.push(format!("{} {name}: {left:?} {usage}", row.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_sums_metrics_and_limits_say_what_providers_told() {
    let rows = Arc::new(recorded());
    let upstream = provider(&rows).await;
    let toml = format!("{SETTINGS}{}", every_provider(&upstream));
    let clock = Clock::manual(Timestamp::parse(NOW).unwrap());
    let gateway = Arc::new(Harness::start_config(&config(&toml), clock));
    let mut asking = JoinSet::new();
    for first in 0..CROWD {
        let (gateway, rows) = (Arc::clone(&gateway), Arc::clone(&rows));
        asking.spawn(async move {
            let mut client = Client::connect(gateway.addr).await;
            for number in (first..CROWDED).step_by(CROWD) {
                let exchange = Exchange::of(number, &rows);
                converse(&mut client, number, &exchange, &gateway).await;
            }
        });
    }
    asking.join_all().await;
    let records = gateway.records(CROWDED).await;
    assert_eq!(records.len(), CROWDED);
    let mut lefts = Vec::with_capacity(CROWDED);
    for record in &records {
        let left = Exchange::of(number(record), &rows).left;
        assert_eq!(
            Left::of(record),
            left,
            "{:?} {record:?}",
            Fate::of(number(record))
        );
        lefts.push(left);
    }
    let told = sum(lefts
        .iter()
        .map(|left| [1, left.tokens, left.cost.unwrap_or(0)]));
    let drawn = sum(lefts.iter().map(|left| left.drawn));
    check_sums(&*gateway.logs, told);
    check_store(&records, told);
    let exposed = ask(gateway.admin, &Ask::get("/metrics")).await;
    let counted = [
        "isango_requests_total",
        "isango_tokens_total",
        "isango_cost_nanousd_total",
    ]
    .map(|name| metric(exposed.text(), name));
    assert_eq!(counted, told);
    // What the next request finds.
    let next = keyed(Ask::post(CHAT, PROMPT)).with("x-number", "0");
    gateway.ask(&next).await;
    let mut records = gateway.records(EXCHANGES).await;
    records.retain(|record| record.metadata.is_empty());
    let before: Vec<u64> = records[0].limits.iter().map(|one| one.before).collect();
    assert_eq!(before, drawn);
}

#[test]
fn every_provider_has_recorded_answers_and_every_format_both_ways() {
    let rows = recorded();
    for provider in Provider::built_in().unwrap() {
        let of = rows
            .iter()
            .filter(|row| row.path.split('/').next() == Some(&provider.slug));
        let names: Vec<&str> = of.flat_map(|row| &row.recordings).copied().collect();
        assert!(!names.is_empty(), "{} has none", provider.slug);
        let tells_nothing = names == ["none"];
        let has_stream = names.iter().any(|name| is_stream(name));
        assert!(
            has_stream || tells_nothing,
            "{} streams none",
            provider.slug
        );
        let has_whole = names.iter().any(|name| !is_stream(name));
        // Its whole answers are as those of OpenAI.
        assert!(has_whole || *provider.slug == *"groq", "{}", provider.slug);
    }
    // Each fate and each row is among the exchanges.
    let fates: HashSet<_> = (0..CROWDED)
        .map(|number| format!("{:?}", Fate::of(number)))
        .collect();
    assert_eq!(fates.len(), 7, "{fates:?}");
}
