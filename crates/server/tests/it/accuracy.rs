//! Many random exchanges: what providers told, what records, metrics and limits say of it are the
//! same numbers, to the token and to the nano-dollar.

use std::sync::Arc;

use isango_testkit::answer::{Answer, json};
use isango_testkit::client::{Ask, Client, ask};
use isango_testkit::fixtures::{COMPLETION, PROMPT, Random};
use isango_testkit::upstream::Upstream;
use isango_types::Record;
use tokio::task::JoinSet;

use crate::harness::{CHAT, Harness};

/// The last of them looks at what the others left.
const EXCHANGES: usize = 10_000;
const CROWDED: usize = EXCHANGES - 1;
/// How many connections ask at once.
const CROWD: usize = 8;

const SETTINGS: &str = "[[gateways]]\nid = \"default\"\nretry = { max_attempts = 1 }\n\
     collect_log_payload = false\n\
     [[gateways.limits]]\nid = \"r\"\nunit = \"requests\"\nlimit = 1_000_000\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"t\"\nunit = \"tokens\"\nlimit = 1_000_000_000\nwindow = \"month\"\n\
     [[gateways.limits]]\nid = \"c\"\nunit = \"cost\"\nlimit = 1_000_000\nwindow = \"month\"\n";

/// Requests, tokens, and nano-dollars.
type Sums = [u64; 3];

fn sum(all: impl Iterator<Item = Sums>) -> Sums {
    all.fold([0; 3], |sums, one| {
        [sums[0] + one[0], sums[1] + one[1], sums[2] + one[2]]
    })
}

/// A random answer, and what it draws by the list: of gpt-4o 2.50 $ for a million tokens of input,
/// half of it for those that were cached, and 10 $ for those of output. One of 16 is an error, which
/// tells a usage and draws nothing but itself.
fn answer(seed: u64) -> (Answer, Sums) {
    let mut random = Random::new(seed);
    let mut below = |bound: u64| random.next_u64() % bound;
    let (input, output) = (1 + below(5_000), below(2_000));
    let (cached, reasoning) = (below(input + 1), below(output + 1));
    let usage = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#,
        input + output
    );
    let (start, _) = COMPLETION.split_once(r#""usage""#).unwrap();
    let body = format!("{start}\"usage\":{usage}}}");
    if below(16) == 0 {
        let error = Answer::new(500).header("content-type", "application/json");
        return (error.body(body), [1, 0, 0]);
    }
    let cost = (input - cached) * 2_500 + cached * 1_250 + output * 10_000;
    (json(body), [1, input + output, cost])
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

fn recorded(record: &Record) -> Sums {
    let usage = record.usage.filter(|_| record.status == Some(200));
    let tokens = usage.map_or(0, |usage| usage.total());
    [1, tokens, record.cost.nanousd.unwrap()]
}

fn charged(record: &Record) -> Sums {
    ["r", "t", "c"].map(|rule| {
        let mut limits = record.limits.iter();
        limits.find(|one| *one.rule == *rule).unwrap().charged
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_metrics_and_limits_say_what_providers_told() {
    // Each request names the seed of its answer.
    let upstream = Upstream::start_by(|request| {
        let seed = request.head.header("x-seed").unwrap();
        answer(seed.parse().unwrap()).0
    })
    .await;
    let gateway = Arc::new(Harness::with(SETTINGS, &upstream).await);
    let mut asking = JoinSet::new();
    for first in 0..CROWD {
        let addr = gateway.addr;
        asking.spawn(async move {
            let mut client = Client::connect(addr).await;
            for seed in (first..CROWDED).step_by(CROWD) {
                let request = Ask::post(CHAT, PROMPT)
                    .with("authorization", "Bearer k")
                    .with("x-seed", &seed.to_string());
                client.ask(&request).await;
            }
        });
    }
    asking.join_all().await;
    let told = sum((0..CROWDED as u64).map(|seed| answer(seed).1));
    let records = gateway.records(CROWDED).await;
    assert_eq!(records.len(), CROWDED);
    for record in &records {
        assert_eq!(recorded(record), charged(record), "{record:?}");
    }
    assert_eq!(sum(records.iter().map(recorded)), told);
    let exposed = ask(gateway.admin, &Ask::get("/metrics")).await;
    let exposed = exposed.text();
    let counted = [
        "isango_requests_total",
        "isango_tokens_total",
        "isango_cost_nanousd_total",
    ]
    .map(|name| metric(exposed, name));
    let of_errors = records.iter().filter(|record| record.status != Some(200));
    let unbilled: u64 = of_errors
        .filter_map(|record| Some(record.usage?.total()))
        .sum();
    assert_eq!(counted, [told[0], told[1] + unbilled, told[2]]);
    // What the next request finds.
    let next = Ask::post(CHAT, PROMPT)
        .with("authorization", "Bearer k")
        .with("x-seed", "0");
    gateway.ask(&next).await;
    let next = gateway.records(EXCHANGES).await.remove(CROWDED);
    let before: Vec<u64> = next.limits.iter().map(|one| one.before).collect();
    assert_eq!(before, told);
}
