//! What exports cost where records lie and where batches are kept, in microseconds of CPU for each
//! record of 5 KB: reading them one by one, reading frames as they lie, saving a batch and taking it
//! out again. What making batches costs, `cargo run --release -p isango-exports --example making` tells.
//!
//! `cargo run --release -p isango-backends --example exporting`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../../records/examples/millions/made.rs"]
mod made;

use std::error::Error;
use std::fs;

use isango_backends::exports::FileExports;
use isango_records::{Options, Records};
use isango_store::exports::{ExportStore, Saved};
use isango_store::logs::{LogReader, LogWriter, Position};
use isango_types::{Clock, Record};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// So many records, in batches as 5 000 a second make them.
const RECORDS: u64 = 100_000;
const BATCH: u64 = 100;
/// Bytes of a batch before it is packed, as the default is.
const UPLOAD: usize = 16 << 20;

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let store = Records::open(folder.path(), Options::default())?;
    let mut maker = made::Maker::new(RECORDS, Clock::system().now());
    for first in (0..RECORDS).step_by(100) {
        let batch: Result<Vec<Record>, _> =
            (first..first + BATCH).map(|n| maker.record(n)).collect();
        store.append(&batch?)?;
    }
    store.sync()?;
    let mut packed = Vec::new();
    measured("read one by one", || {
        let mut at = Position::START;
        loop {
            let (records, next) = store.follow(at, 500)?;
            if records.is_empty() {
                return Ok(());
            }
            at = next;
        }
    })?;
    measured("read as frames", || {
        let mut at = Position::START;
        loop {
            let found = store.frames(at, 4 << 20)?;
            if found.frames.is_empty() {
                return Ok(());
            }
            for frame in found.frames {
                at = Position::after(at.count() + frame.records);
                packed.push((frame.raw_bytes, frame.packed));
            }
        }
    })?;
    let raw: usize = packed.iter().map(|(raw, _)| raw).sum();
    let bytes: usize = packed.iter().map(|(_, packed)| packed.len()).sum();
    println!(
        "{} bytes for each, packed {}",
        per_record(raw),
        per_record(bytes)
    );
    let exports = FileExports::open(folder.path())?;
    measured("save and take out", || {
        let mut batch = (0, Vec::new());
        for (raw, packed) in &packed {
            batch.0 += raw;
            batch.1.extend_from_slice(packed);
            if batch.0 >= UPLOAD {
                save(&exports, std::mem::take(&mut batch.1))?;
                batch.0 = 0;
            }
        }
        save(&exports, batch.1)
    })
}

fn save(exports: &FileExports, batch: Vec<u8>) -> Fallible<()> {
    let state = |batch| Saved {
        state: "{}".into(),
        batch,
    };
    exports.save("local/trail", &state(Some(batch)))?;
    Ok(exports.save("local/trail", &state(None))?)
}

fn per_record(sum: usize) -> usize {
    sum / usize::try_from(RECORDS).unwrap_or(1)
}

/// Prints what a part costs.
fn measured(part: &str, act: impl FnOnce() -> Fallible<()>) -> Fallible<()> {
    let before = cpu_us()?;
    act()?;
    let tenths = (cpu_us()? - before) * 10 / RECORDS;
    println!("{part:20} {}.{} us", tenths / 10, tenths % 10);
    Ok(())
}

/// CPU time of this process, in microseconds (proc(5), `stat`: ticks of 10 ms).
fn cpu_us() -> Fallible<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let mut ticks = 0;
    for field in behind.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(ticks * 10_000)
}
