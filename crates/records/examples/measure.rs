//! Measures the record store: fills one with made-up records, asks what lists and dashboards ask,
//! and does the same with the same rows in SQLite. `cargo xtask records` runs it.
//!
//! Figures are of this process alone: CPU time is read from `/proc/self/stat`, in hundredths of a
//! second, and so is worth something from a second on.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program for a terminal, which nothing depends on"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use isango_records::{Options, Records, Sync};
use isango_store::analytics::{Aggregate, Dimension, List, Measure, Progress, Quantity};
use isango_store::conformance::varied::Dice;
use isango_store::filter::Filter;
use isango_store::logs::{LogReader as _, LogWriter as _, Query};
use isango_types::limit::{Period, Window};
use isango_types::price::CostStatus;
use isango_types::record::{
    Attempt, Blame, Body, CacheStatus, CacheUse, Message, MetadataValue, Outcome, RecordError,
    Saved, Timing,
};
use isango_types::{Cost, Operation, Record, RecordId, Timestamp, Usage};
use serde_json::value::RawValue;

/// 2026-11-01T00:00:00Z.
const START: u64 = 1_793_491_200_000_000;
const MONTH_MICROS: u64 = 30 * 86_400_000_000;
/// As many as the sink hands over at once under load.
const BATCH: u64 = 500;
/// How often each question is asked.
const ROUNDS: usize = 20;

struct Arguments {
    dir: String,
    records: u64,
    body_bytes: usize,
    sqlite: bool,
}

fn main() {
    let mut given = std::env::args().skip(1);
    let mut next = |fallback: &str| given.next().unwrap_or_else(|| fallback.into());
    let arguments = Arguments {
        dir: next("target/records"),
        records: next("1000000").parse().unwrap(),
        body_bytes: next("200").parse().unwrap(),
        sqlite: next("no") == "sqlite",
    };
    let dir = Path::new(&arguments.dir);
    println!("{} records, bodies of {} bytes", arguments.records, arguments.body_bytes);
    let store = fill(dir, &arguments);
    let last = sizes(dir, &arguments);
    drop(store);
    let began = Instant::now();
    let store = Records::open(dir, Options::default()).unwrap();
    println!("opened again in {:?}, {} MiB resident", began.elapsed(), resident_mib());
    ask(&store, &arguments);
    println!("{} MiB resident after the questions", resident_mib());
    let _ = last;
    if arguments.sqlite {
        sqlite::measure(&dir.with_extension("sqlite"), &arguments);
    }
}

/// Appends the records, and waits for the columns.
fn fill(dir: &Path, arguments: &Arguments) -> Records {
    let options = Options {
        sync: Sync::Window(Duration::from_millis(100)),
        ..Options::default()
    };
    let store = Records::open(dir, options).unwrap();
    let present = store.end().unwrap().count();
    let (began, cpu) = (Instant::now(), cpu_time());
    let mut making = Duration::ZERO;
    for from in (present..arguments.records).step_by(BATCH as usize) {
        let before = thread_time();
        let until = (from + BATCH).min(arguments.records);
        let batch: Vec<Record> =
            (from..until).map(|n| record(n, arguments.records, arguments.body_bytes)).collect();
        making += thread_time() - before;
        store.append(&batch).unwrap();
    }
    store.settle().unwrap();
    let count = arguments.records.saturating_sub(present).max(1) as f64;
    let cpu = cpu_time() - cpu - making;
    println!(
        "ingest: {:.0} records/s, {:.1} µs CPU per record without making it ({:.1} µs); waited {:?}",
        count / began.elapsed().as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count,
        making.as_secs_f64() * 1e6 / count,
        began.elapsed(),
    );
    store
}

fn sizes(dir: &Path, arguments: &Arguments) -> u64 {
    let mut all = 0;
    for part in ["journal", "columns", "rollups"] {
        let Ok(listed) = fs::read_dir(dir.join(part)) else { continue };
        let bytes: Vec<u64> = listed.map(|file| file.unwrap().metadata().unwrap().len()).collect();
        let sum: u64 = bytes.iter().sum();
        all += sum;
        println!(
            "{part}: {} files, {} MiB, {:.1} bytes per record",
            bytes.len(),
            sum >> 20,
            sum as f64 / arguments.records as f64
        );
    }
    all
}

fn ask(store: &Records, arguments: &Arguments) {
    let now = Timestamp::from_micros(START + MONTH_MICROS);
    let filter = |text: &str| Filter::parse(text, now).unwrap();
    let list = |text: &str| List {
        filter: filter(text),
        ..List::default()
    };
    let progress = Progress::default;
    time("newest 50", || store.list(&list(""), &progress()).unwrap().rows.len());
    let four = "status:error model:gpt-4o* meta.tenantId=tenant-7 duration:>2s";
    time("newest 50, four filters", || store.list(&list(four), &progress()).unwrap().rows.len());
    let rare = "status:503 model:claude* meta.tenantId=tenant-150 cost:>5";
    time("newest 50, four filters, none", || store.list(&list(rare), &progress()).unwrap().rows.len());
    let whole = Query {
        filter: filter(four),
        ..Query::default()
    };
    time("newest 50, whole records", || store.query(&whole).unwrap().records.len());
    let some = store.list(&List { offset: 5_000, ..list("meta.tenantId=tenant-3") }, &progress());
    let ids: Vec<RecordId> = some.unwrap().rows.iter().map(|row| row.id).collect();
    let mut at = 0;
    time("one record with its body", || {
        at += 1;
        usize::from(store.get(ids[at % ids.len()]).unwrap().is_some())
    });
    let month = |by: Vec<Dimension>, every: Option<Window>, measures: Vec<Measure>| Aggregate {
        since: Some(Timestamp::from_micros(START)),
        until: Some(now),
        by,
        every,
        measures,
        top: 10,
        ..Aggregate::default()
    };
    let money = vec![
        Measure::Count,
        Measure::Errors,
        Measure::Cached,
        Measure::Unpriced,
        Measure::Sum(Quantity::Cost),
        Measure::Sum(Quantity::TokensIn),
        Measure::Sum(Quantity::TokensOut),
        Measure::Sum(Quantity::SavedCost),
    ];
    let times = vec![
        Measure::Count,
        Measure::Percentile(Quantity::Duration, 500),
        Measure::Percentile(Quantity::Duration, 950),
        Measure::Percentile(Quantity::Ttft, 950),
    ];
    let days = Window::calendar(Period::Day, "Africa/Johannesburg").ok();
    let hours = Window::calendar(Period::Hour, "Africa/Johannesburg").ok();
    let answer = |question: &Aggregate| store.aggregate(question, &progress()).unwrap();
    let tiles = month(Vec::new(), None, money.clone());
    time("30 days: tiles", || answer(&tiles).total.values.len());
    let by_day = month(vec![Dimension::Model], days.clone(), money.clone());
    time("30 days: cost by model and day", || answer(&by_day).groups.len());
    let by_hour = month(vec![Dimension::StatusClass], hours, vec![Measure::Count]);
    time("30 days: requests by status and hour", || answer(&by_hour).groups.len());
    let health = month(vec![Dimension::Provider, Dimension::Target], None, times.clone());
    time("30 days: percentiles by target", || answer(&health).groups.len());
    let tenants = month(vec![Dimension::Metadata("tenantId".into())], None, money);
    time("all: cost by tenant (metadata)", || answer(&tenants).groups.len());
    let users = month(
        vec![Dimension::Metadata("userId".into())],
        None,
        vec![Measure::Sum(Quantity::Cost), Measure::Count],
    );
    time("all: cost by user (metadata, 50 000)", || answer(&users).groups.len());
    let slow = month(vec![Dimension::Metadata("tenantId".into())], None, times);
    time("all: percentiles by tenant", || answer(&slow).groups.len());
    let _ = arguments;
}

/// Asks a question again and again, and prints what it took.
fn time(name: &str, mut ask: impl FnMut() -> usize) {
    let began = Instant::now();
    let found = ask();
    let first = began.elapsed();
    let cpu = cpu_time();
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            ask();
            began.elapsed()
        })
        .collect();
    let cpu = (cpu_time() - cpu) / ROUNDS as u32;
    took.sort_unstable();
    println!(
        "{name}: p50 {:.1} ms, p95 {:.1} ms, first {:.1} ms, CPU {:.1} ms ({found})",
        millis(took[ROUNDS / 2]),
        millis(took[ROUNDS * 95 / 100]),
        millis(first),
        millis(cpu)
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// User and system time of the process.
fn cpu_time() -> Duration {
    clock_ticks("/proc/self/stat")
}

fn thread_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn clock_ticks(path: &str) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn resident_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1024
}

/// Models with their provider, target, share in a hundred, and nano-dollars a token in and out.
const MODELS: [(&str, &str, &str, u64, u64, u64); 6] = [
    ("gpt-4o-2024-08-06", "azure-openai", "azure-sa", 40, 2_500, 10_000),
    ("gpt-4o-mini-2024-07-18", "openai", "openai", 30, 150, 600),
    ("claude-sonnet-4-20250514", "anthropic", "anthropic", 15, 3_000, 15_000),
    ("gemini-2.5-flash", "google-ai-studio", "gemini", 8, 300, 2_500),
    ("llama-3.3-70b-versatile", "groq", "groq", 5, 590, 790),
    ("text-embedding-3-small", "openai", "openai", 2, 20, 0),
];

const WORDS: [&str; 24] = [
    "please", "summarise", "the", "following", "conversation", "between", "a", "customer", "and",
    "an", "agent", "about", "refund", "delivery", "invoice", "number", "order", "which", "arrived",
    "late", "damaged", "return", "within", "days",
];

fn record(n: u64, of: u64, body_bytes: usize) -> Record {
    let mut dice = Dice::new(n);
    let dice = &mut dice;
    let span = MONTH_MICROS / of.max(1);
    let created_at = Timestamp::from_micros(START + n * span + dice.below(span.max(1)));
    let id = RecordId::new(created_at);
    let mut share = dice.below(100);
    let model = MODELS.iter().find(|one| {
        let is_it = share < one.3;
        share = share.saturating_sub(one.3);
        is_it
    });
    let (model, provider, target, _, rate_in, rate_out) = *model.unwrap_or(&MODELS[0]);
    // Few tenants have most of the traffic, and each its own users.
    let tenant = dice.below(1 + dice.clone().below(200));
    let user = tenant * 250 + dice.below(250);
    let status = match dice.below(1_000) {
        0..20 => 429,
        20..26 => 503,
        26..34 => 400,
        _ => 200,
    };
    let hit = status == 200 && dice.once_in(12);
    let stream = dice.below(10) < 6;
    let ttfb = 80_000 + dice.below(400_000) + dice.below(2) * dice.below(3_000_000);
    let (input, output) = (20 + dice.below(3_000), 1 + dice.below(900));
    let total = if hit { 900 + dice.below(600) } else { ttfb + output * (6_000 + dice.below(9_000)) };
    let usage = (status == 200 && !hit).then(|| Usage {
        input,
        output,
        cache_read: if dice.once_in(4) { 1_024 } else { 0 },
        ..Usage::default()
    });
    let nanousd = usage.map(|usage| usage.total_input() * rate_in + usage.output * rate_out);
    let text = text(dice, body_bytes);
    let body = |json: String| RawValue::from_string(json).ok().map(Body::Json);
    Record {
        id,
        event_id: id.to_string().into(),
        created_at,
        account: "local".into(),
        gateway: ["default", "support", "batch"][(tenant % 3) as usize].into(),
        provider: Some(provider.into()),
        target: Some(target.into()),
        resource: (provider == "azure-openai").then(|| "aoai-sa".into()),
        deployment: (provider == "azure-openai").then(|| "chat".into()),
        operation: if rate_out == 0 { Operation::Embeddings } else { Operation::Chat },
        model_requested: Some(model.into()),
        model: (status == 200).then(|| model.into()),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        http_version: "1.1".into(),
        status: Some(status),
        outcome: Outcome::Answered,
        error: (status != 200).then(|| RecordError {
            code: format!("upstream_{status}").into(),
            blame: Blame::Upstream,
            message: "the provider refused".into(),
        }),
        attempts: vec![Attempt {
            target: target.into(),
            status: Some(status),
            started_us: 60,
            ttfb_us: Some(ttfb),
            reused: true,
            ..Attempt::default()
        }],
        timing: Timing {
            queue_us: 30 + dice.below(60),
            connect_us: if dice.once_in(50) { 12_000 + dice.below(9_000) } else { 0 },
            ttfb_us: Some(if hit { 400 } else { ttfb }),
            ttft_us: stream.then(|| ttfb + dice.below(9_000)),
            total_us: total,
            overhead_us: 40 + dice.below(40),
        },
        stream,
        usage,
        cost: match (nanousd, hit) {
            (Some(nanousd), _) => Cost {
                status: CostStatus::Priced,
                nanousd: Some(nanousd),
                price: Some(format!("2026-11-20/{provider}/{model}").into()),
            },
            (None, _) => Cost::free(),
        },
        cache: dice.once_in(2).then(|| {
            Box::new(CacheUse {
                status: if hit { CacheStatus::Hit } else { CacheStatus::Miss },
                saved: hit.then(|| Saved {
                    usage: None,
                    nanousd: Some(input * rate_in),
                    us: ttfb,
                }),
                ..CacheUse::default()
            })
        }),
        limits: Vec::new(),
        finish_reason: Some("stop".into()),
        provider_id: Some(format!("chatcmpl-{:016x}", dice.below(u64::MAX)).into()),
        metadata: BTreeMap::from([
            ("tenantId".into(), MetadataValue::Text(format!("tenant-{tenant}").into())),
            ("userId".into(), MetadataValue::Text(format!("user-{user}").into())),
            ("env".into(), MetadataValue::Text("production".into())),
        ]),
        token: Some(["support-app", "batch", "ci"][(tenant % 3) as usize].into()),
        user_agent: Some("OpenAI/Python 1.99.0".into()),
        notes: Vec::new(),
        request: message(body(format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#
        ))),
        response: message(body(format!(
            r#"{{"choices":[{{"message":{{"role":"assistant","content":"{text}"}}}}]}}"#
        ))),
    }
}

/// Half of the bytes for the question, half for the answer.
fn text(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes / 2 + 16);
    while text.len() < bytes / 2 {
        text.push_str(WORDS[dice.below(24) as usize]);
        text.push(' ');
    }
    text
}

fn message(body: Option<Body>) -> Message {
    Message {
        content_type: Some("application/json".into()),
        bytes: body.as_ref().map_or(0, |body| body.as_str().len() as u64),
        body,
        ..Message::default()
    }
}

/// The same rows in SQLite, as a gateway would keep them there: one table, JSON for the metadata,
/// bodies beside it, and the indexes that the lists need.
mod sqlite {
    use rusqlite::{Connection, params};

    use super::*;

    const SCHEMA: &str = "
        PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
        CREATE TABLE records (
            id BLOB PRIMARY KEY, created_at INTEGER, gateway TEXT, provider TEXT, target TEXT,
            model TEXT, status INTEGER, cached INTEGER, stream INTEGER, duration INTEGER,
            ttfb INTEGER, ttft INTEGER, tokens_in INTEGER, tokens_out INTEGER, cost INTEGER,
            metadata TEXT, user_agent TEXT, path TEXT, request TEXT, response TEXT
        ) WITHOUT ROWID;
        CREATE INDEX by_time ON records (created_at);";

    pub(super) fn measure(path: &Path, arguments: &Arguments) {
        drop(fs::remove_file(path));
        let mut database = Connection::open(path).unwrap();
        database.execute_batch(SCHEMA).unwrap();
        let (began, cpu) = (Instant::now(), cpu_time());
        let mut making = Duration::ZERO;
        for from in (0..arguments.records).step_by(BATCH as usize) {
            let before = thread_time();
            let until = (from + BATCH).min(arguments.records);
            let batch: Vec<Record> =
                (from..until).map(|n| record(n, arguments.records, arguments.body_bytes)).collect();
            making += thread_time() - before;
            insert(&mut database, &batch);
        }
        let count = arguments.records as f64;
        let cpu = cpu_time() - cpu - making;
        let bytes = fs::metadata(path).unwrap().len();
        println!(
            "SQLite, ingest: {:.0} records/s, {:.1} µs CPU per record, {:.1} bytes per record",
            count / began.elapsed().as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count,
            bytes as f64 / count,
        );
        let run = |sql: &str| {
            let mut statement = database.prepare(sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            let mut found = 0;
            while rows.next().unwrap().is_some() {
                found += 1;
            }
            found
        };
        time("SQLite, newest 50, four filters", || {
            run("SELECT * FROM records WHERE status >= 400 AND model LIKE 'gpt-4o%'
                 AND metadata ->> 'tenantId' = 'tenant-7' AND duration > 2000000
                 ORDER BY created_at DESC LIMIT 50")
        });
        time("SQLite, 30 days: cost by model and day", || {
            run("SELECT model, created_at / 86400000000 AS day, count(*), sum(cost), sum(tokens_in),
                 sum(tokens_out) FROM records GROUP BY model, day")
        });
        time("SQLite, all: cost by tenant (metadata)", || {
            run("SELECT metadata ->> 'tenantId' AS tenant, count(*), sum(cost) AS cost FROM records
                 GROUP BY tenant ORDER BY cost DESC LIMIT 10")
        });
    }

    fn insert(database: &mut Connection, batch: &[Record]) {
        let transaction = database.transaction().unwrap();
        let mut statement = transaction
            .prepare(
                "INSERT INTO records VALUES
                 (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
            )
            .unwrap();
        for record in batch {
            let body = |message: &Message| message.body.as_ref().map(|body| body.as_str().to_owned());
            let cached = record.cache.as_ref().is_some_and(|cache| cache.status.is_kept());
            statement
                .execute(params![
                    record.id.as_bytes().as_slice(),
                    record.created_at.as_micros() as i64,
                    &*record.gateway,
                    record.provider.as_deref(),
                    record.target.as_deref(),
                    record.model.as_deref(),
                    record.status,
                    cached,
                    record.stream,
                    record.timing.total_us as i64,
                    record.timing.ttfb_us.map(|us| us as i64),
                    record.timing.ttft_us.map(|us| us as i64),
                    record.usage.map(|usage| usage.total_input() as i64),
                    record.usage.map(|usage| usage.total_output() as i64),
                    record.cost.nanousd.map(|nanos| nanos as i64),
                    serde_json::to_string(&record.metadata).unwrap(),
                    record.user_agent.as_deref(),
                    &*record.path,
                    body(&record.request),
                    body(&record.response),
                ])
                .unwrap();
        }
        drop(statement);
        transaction.commit().unwrap();
    }
}
