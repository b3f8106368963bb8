//! Fills a store with records as production makes them, and measures it: what writing costs by
//! thread, bytes on disk, memory, opening, and the questions that the dashboard asks; then the same
//! rows in SQLite.
//!
//! `cargo xtask store` runs it: `millions [RECORDS] [SQLITE ROWS] [FOLDER] [QUESTIONS]`.
//!
//! A folder that has records already is not filled again. With the last argument only questions are
//! asked whose names hold it.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod made;
mod sqlite;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use isango_records::{Options, Records};
use isango_store::Filter;
use isango_store::analytics::{Aggregate, Dimension, List, Measure, Progress, Quantity};
use isango_store::logs::{LogReader, LogWriter, Query};
use isango_types::limit::Window;
use isango_types::{Clock, Record, Timestamp};

use made::{Maker, RARE, TENANTS};

/// Records that are appended together: what gathers in 20 ms at 10 000 a second.
pub(crate) const BATCH: u64 = 200;
/// How often each question is asked.
const TIMES: u64 = 40;

/// What may go wrong.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let rows: u64 = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let scratch = tempfile::tempdir()?;
    let folder = arguments
        .next()
        .map_or(scratch.path().join("data"), Into::into);
    let now = Clock::system().now();
    let store = Records::open(&folder, Options::default())?;
    if store.end()?.count() == 0 {
        fill(&store, &folder, count, now)?;
    }
    drop(store);
    let store = timed("open", || Ok(Records::open(&folder, Options::default())?))?;
    println!("memory after opening: {} MiB", memory("VmRSS")?);
    ask(&store, now)?;
    println!(
        "memory: {} MiB, at most {}",
        memory("VmRSS")?,
        memory("VmHWM")?
    );
    drop(store);
    if rows > 0 {
        sqlite::measure(&scratch.path().join("rows.sqlite"), rows, count, now)?;
    }
    Ok(())
}

/// Appends the records, which another thread makes.
fn fill(store: &Records, folder: &Path, count: u64, now: Timestamp) -> Fallible<()> {
    let (sender, batches) = sync_channel::<Vec<Record>>(8);
    let maker =
        std::thread::Builder::new()
            .name("maker".into())
            .spawn(move || -> Fallible<()> {
                let mut maker = Maker::new(count, now);
                for first in (0..count).step_by(usize::try_from(BATCH)?) {
                    let batch = (first..count.min(first + BATCH)).map(|n| maker.record(n));
                    sender.send(batch.collect::<Result<_, _>>()?)?;
                }
                Ok(())
            })?;
    let begun = Clock::system().now().as_micros();
    let mut raw = 0;
    for batch in batches {
        raw += batch
            .iter()
            .map(|record| record.request.bytes + record.response.bytes)
            .sum::<u64>();
        store.append(&batch)?;
    }
    let took = Clock::system().now().as_micros() - begun;
    match maker.join() {
        Ok(made) => made?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    store.settle()?;
    store.sync()?;
    println!(
        "{count} records of {} bytes in {:.1} s",
        raw / count,
        seconds(took)
    );
    for (thread, micros) in cpu_by_thread()? {
        println!(
            "  {thread:16} {:6.2} µs of CPU per record",
            per(micros, count)
        );
    }
    for part in ["journal", "columns", "rollups"] {
        let bytes = bytes_of(&folder.join(part))?;
        println!(
            "  {part:16} {:6.1} bytes on disk per record",
            per(bytes, count)
        );
    }
    println!(
        "memory: {} MiB, at most {}",
        memory("VmRSS")?,
        memory("VmHWM")?
    );
    Ok(())
}

/// Asks what the dashboard asks.
fn ask(store: &Records, now: Timestamp) -> Fallible<()> {
    each("newest 50 with four filters", |n| {
        let tenant = n * 7 % TENANTS;
        let filter =
            format!("model:gpt-4o-2024-08-06 status:200 meta.tenant:tenant-{tenant} cost:>0.001");
        let list = List {
            filter: Filter::parse(&filter, now)?,
            ..List::default()
        };
        Ok(store.list(&list, &Progress::default())?.rows.len())
    })?;
    aggregates(store, now)?;
    let query = |filter: &str| -> Fallible<Vec<Record>> {
        let filter = Filter::parse(filter, now)?;
        Ok(store
            .query(&Query {
                filter,
                limit: 50,
                ..Query::default()
            })?
            .records)
    };
    each("a rare word", |_| Ok(query(RARE)?.len()))?;
    each("a word that is nowhere", |_| {
        Ok(query("quokkaberries")?.len())
    })?;
    let mut ids = Vec::new();
    for n in 0..TIMES {
        let until = Timestamp::from_micros(now.as_micros() - n * 17 * 3_600_000_000);
        let list = List {
            until: Some(until),
            limit: 1,
            ..List::default()
        };
        let rows = store.list(&list, &Progress::default())?.rows;
        ids.extend(rows.first().map(|row| row.id));
    }
    each("one record with its bodies", |n| {
        let id = ids[usize::try_from(n)? % ids.len()];
        let found = store.get(id)?;
        Ok(usize::from(
            found.is_some_and(|record| record.request.body.is_some()),
        ))
    })
}

/// Sums, counts and percentiles of a month.
fn aggregates(store: &Records, now: Timestamp) -> Fallible<()> {
    let month = Timestamp::from_micros(now.as_micros() - 30 * 86_400_000_000);
    let standard = || Aggregate {
        since: Some(month),
        measures: vec![
            Measure::Count,
            Measure::Errors,
            Measure::Sum(Quantity::Cost),
            Measure::Percentile(Quantity::Duration, 950),
            Measure::Percentile(Quantity::Ttft, 500),
        ],
        ..Aggregate::default()
    };
    let hourly = Some(Window::Fixed(Duration::from_secs(3_600)));
    let asked = |question: Aggregate| {
        let answer = store.aggregate(&question, &Progress::default())?;
        Ok(answer.groups.len())
    };
    each("30 days by the hour", |_| {
        asked(Aggregate {
            every: hourly.clone(),
            ..standard()
        })
    })?;
    each("30 days by model", |_| {
        asked(Aggregate {
            by: vec![Dimension::Model],
            ..standard()
        })
    })?;
    each("30 days by status class and the hour", |_| {
        let by = vec![Dimension::StatusClass];
        asked(Aggregate {
            by,
            every: hourly.clone(),
            ..standard()
        })
    })?;
    for key in ["tenant", "feature", "user"] {
        each(&format!("all by metadata `{key}`, top 20"), |_| {
            let by = vec![Dimension::Metadata(key.into())];
            asked(Aggregate {
                by,
                top: 20,
                since: None,
                ..standard()
            })
        })?;
    }
    Ok(())
}

/// Asks so often, and prints the median, the 95th percentile and the slowest (the first is among
/// them: nothing was read before).
fn each(what: &str, ask: impl Fn(u64) -> Fallible<usize>) -> Fallible<()> {
    let wanted = std::env::args().nth(4).unwrap_or_default();
    if !what.contains(&wanted) {
        return Ok(());
    }
    let mut times = Vec::new();
    let mut found = 0;
    for n in 0..TIMES {
        let begun = Clock::system().now().as_micros();
        found = ask(n)?;
        times.push(Clock::system().now().as_micros() - begun);
    }
    let first = times[0];
    times.sort_unstable();
    let at = |percent: usize| per(times[(times.len() - 1) * percent / 100], 1_000);
    println!(
        "{what:40} p50 {:8.2} ms  p95 {:8.2}  first {:8.2}  ({found} found)",
        at(50),
        at(95),
        per(first, 1_000)
    );
    Ok(())
}

/// Runs something, and prints how long that took.
pub(crate) fn timed<T>(what: &str, run: impl FnOnce() -> Fallible<T>) -> Fallible<T> {
    let begun = Clock::system().now().as_micros();
    let made = run()?;
    println!(
        "{what}: {:.3} s",
        seconds(Clock::system().now().as_micros() - begun)
    );
    Ok(made)
}

#[expect(clippy::cast_precision_loss, reason = "for printing")]
pub(crate) fn per(number: u64, count: u64) -> f64 {
    number as f64 / count as f64
}

pub(crate) fn seconds(micros: u64) -> f64 {
    per(micros, 1_000_000)
}

/// Microseconds of CPU of each thread so far.
fn cpu_by_thread() -> Fallible<Vec<(String, u64)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
        let nanos = fs::read_to_string(task.join("schedstat"))?;
        let nanos: u64 = nanos.split_whitespace().next().unwrap_or("0").parse()?;
        threads.push((name, nanos / 1_000));
    }
    threads.sort_by_key(|(_, micros)| std::cmp::Reverse(*micros));
    Ok(threads)
}

fn memory(line: &str) -> Fallible<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let found = status
        .lines()
        .find_map(|one| one.strip_prefix(line)?.strip_prefix(':'));
    let kib = found
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("0");
    Ok(kib.parse::<u64>()? / 1_024)
}

fn bytes_of(folder: &Path) -> Fallible<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}
