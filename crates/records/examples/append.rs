//! Measures what recording costs: appends exchanges of about 6 KB, or of so many words as asked
//! for, and prints microseconds and bytes per record.
//! `cargo run --release -p isango-records --example append [RECORDS] [BATCH] [WORDS]`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;

use isango_records::{Options, Records};
use isango_store::conformance::sample;
use isango_store::logs::{LogReader, LogWriter, Query};
use isango_types::record::Body;
use isango_types::{Clock, Record};
use serde_json::value::to_raw_value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<u64>());
    let count = arguments.next().transpose()?.unwrap_or(100_000);
    let size = arguments.next().transpose()?.unwrap_or(500);
    let words = arguments.next().transpose()?.unwrap_or(350);
    let words = usize::try_from(words)?;
    let folder = tempfile::tempdir()?;
    let store = Records::open(folder.path(), Options::default())?;
    let clock = Clock::system();
    let (mut cpu_us, mut raw) = (0, 0);
    for first in (0..count).step_by(usize::try_from(size)?) {
        let batch = (first..first + size)
            .map(|n| exchange(n, words))
            .collect::<Result<Vec<_>, _>>()?;
        raw += batch
            .iter()
            .map(|record| record.request.bytes + record.response.bytes)
            .sum::<u64>();
        let before = clock.now().as_micros();
        store.append(&batch)?;
        cpu_us += clock.now().as_micros() - before;
    }
    store.sync()?;
    println!(
        "append: {} ns per record of {} bytes",
        cpu_us * 1_000 / count,
        raw / count
    );
    println!("stored: {} bytes per record", store.bytes() / count);
    for filter in ["", "meta.tenantId:acme cost:>0.01", "deployment:none"] {
        let filter = isango_store::Filter::parse(filter, clock.now())?;
        let before = clock.now().as_micros();
        let found = store.query(&Query {
            filter: filter.clone(),
            ..Query::default()
        })?;
        let taken = clock.now().as_micros() - before;
        println!(
            "query `{filter}`: {} records in {taken} µs",
            found.records.len()
        );
    }
    Ok(())
}

/// A chat whose words vary: half as many as `words` from the system, and so many from user and
/// model each.
fn exchange(n: u64, words: usize) -> Result<Record, serde_json::Error> {
    const WORDS: [&str; 16] = [
        "the", "order", "was", "shipped", "refund", "customer", "asks", "for", "invoice", "and",
        "tomorrow", "delivery", "address", "please", "confirm", "number",
    ];
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = |words: usize| {
        let mut text = String::new();
        for _ in 0..words {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = WORDS
                .get(usize::try_from(state >> 60).unwrap_or(0))
                .copied();
            text.push_str(word.unwrap_or_default());
            if state.is_multiple_of(9) {
                text.push_str(&(state % 100_000).to_string());
            }
            text.push(' ');
        }
        text
    };
    let mut record = sample::record(n);
    let request = serde_json::json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": text(words / 2)}, {"role": "user", "content": text(words)}]});
    let answer = serde_json::json!({"choices": [
        {"index": 0, "message": {"role": "assistant", "content": text(words)}}]});
    record.request.bytes = request.to_string().len() as u64;
    record.response.bytes = answer.to_string().len() as u64;
    record.request.body = Some(Body::Json(to_raw_value(&request)?));
    record.response.body = Some(Body::Json(to_raw_value(&answer)?));
    Ok(record)
}
