//! How long a store takes to open whose newest journal file is large, and of which nothing is in
//! columns: as a crash leaves it when sealing had not kept up.
//!
//! `cargo run --release -p isango-records --example tail -- [MEBIBYTES] [BYTES OF A PROMPT]`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::fs;
use std::path::Path;

use isango_records::{Options, Records, Sync};
use isango_store::analytics::{List, Progress};
use isango_store::conformance::sample;
use isango_store::logs::{LogReader, LogWriter};
use isango_types::record::Body;
use isango_types::{Clock, Record};
use serde_json::value::to_raw_value;

/// What may go wrong.
type Fallible<T> = Result<T, Box<dyn Error + Send + std::marker::Sync>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: u64 = arguments.next().map_or(Ok(1_024), |text| text.parse())?;
    let prompt: usize = arguments.next().map_or(Ok(6_000), |text| text.parse())?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let count = write(folder, mebibytes << 20, prompt)?;
    println!("{count} records, {} MiB in one file", bytes(folder)? >> 20);
    // Half a frame, as a kill in the middle of a write leaves it.
    let newest = newest(folder)?;
    let mut tail = fs::read(&newest)?;
    tail.extend_from_within(64..4_096);
    fs::write(&newest, tail)?;

    let begun = Clock::system().now().as_micros();
    let store = Records::open(folder, options())?;
    let opened = Clock::system().now().as_micros();
    let listed = store.list(&List::default(), &Progress::default())?;
    let answered = Clock::system().now().as_micros();
    println!(
        "open {} ms, first list {} ms ({} rows); torn: {}",
        (opened - begun) / 1_000,
        (answered - opened) / 1_000,
        listed.rows.len(),
        store.recovery().torn.len()
    );
    assert_eq!(store.recovery().records, count);
    Ok(())
}

fn options() -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes: u64::MAX,
        ..Options::default()
    }
}

/// Fills the newest file, and takes the columns away.
fn write(folder: &Path, bytes_wanted: u64, prompt: usize) -> Fallible<u64> {
    let store = Records::open(folder, options())?;
    let (mut count, mut chance) = (0, 0x9E37_79B9_7F4A_7C15_u64);
    while store.bytes() < bytes_wanted {
        let batch: Result<Vec<Record>, serde_json::Error> = (0..500)
            .map(|n| {
                // All of them on one day, so that they are in one file.
                let mut record = sample::record((count + n) / 50);
                let text = text(prompt, &mut chance);
                let said = serde_json::json!({"messages": [{"role": "user", "content": text}]});
                record.request.bytes = text.len() as u64;
                record.request.body = Some(Body::Json(to_raw_value(&said)?));
                Ok(record)
            })
            .collect();
        store.append(&batch?)?;
        count += 500;
    }
    drop(store);
    for projection in ["columns", "rollups"] {
        fs::remove_dir_all(folder.join(projection))?;
    }
    Ok(count)
}

/// Words of random syllables: zstd makes about a third of them.
fn text(length: usize, chance: &mut u64) -> String {
    let mut text = String::with_capacity(length + 4);
    while text.len() < length {
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        let syllable = [
            "ka", "lo", "mer", "no", "qui", "re", "sta", "ti", "un", "ver",
        ];
        text.push_str(
            syllable
                .get(usize::try_from(*chance >> 32).unwrap_or(0) % 10)
                .unwrap_or(&""),
        );
        if *chance & 7 == 0 {
            text.push(' ');
        }
    }
    text
}

fn newest(folder: &Path) -> Fallible<std::path::PathBuf> {
    let files = fs::read_dir(folder.join("journal"))?;
    let paths: Result<Vec<_>, _> = files.map(|file| file.map(|file| file.path())).collect();
    let journals = paths?;
    let mut journals: Vec<_> = journals
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "zst"))
        .collect();
    journals.sort();
    journals.pop().ok_or_else(|| "no journal".into())
}

fn bytes(folder: &Path) -> Fallible<u64> {
    Ok(fs::metadata(newest(folder)?)?.len())
}
