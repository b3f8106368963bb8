//! `isango logs disk`: what the store takes, and for how long there is room.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use isango_records::Usage;
use isango_types::Clock;
use serde::Serialize;

use crate::cli::write_json;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Projection {
    #[serde(flatten)]
    usage: Usage,
    total_bytes: u64,
    /// Of the file system, for who may not use what is reserved.
    free_bytes: u64,
    bytes_per_day: Option<u64>,
    /// Until nothing is free, at this pace.
    days_left: Option<u64>,
}

pub(super) fn run(folder: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let cannot = || format!("cannot measure {}", folder.display());
    let usage = isango_records::usage(folder).with_context(cannot)?;
    let disk = rustix::fs::statvfs(folder).with_context(cannot)?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    let bytes_per_day = usage.bytes_per_day(Clock::system().now());
    let days_left = bytes_per_day.and_then(|pace| free_bytes.checked_div(pace));
    if json {
        let projection = Projection {
            total_bytes: usage.total(),
            usage,
            free_bytes,
            bytes_per_day,
            days_left,
        };
        return write_json(out, &projection);
    }
    writeln!(out, "{:10} {:>12}", "records", usage.records)?;
    for (part, bytes) in [
        ("journal", usage.journal_bytes),
        ("indexes", usage.index_bytes),
        ("columns", usage.column_bytes),
        ("sums", usage.rollup_bytes),
        ("overlay", usage.overlay_bytes),
        ("torn", usage.torn_bytes),
        ("in all", usage.total()),
        ("free", free_bytes),
    ] {
        writeln!(out, "{part:10} {:>12}", size(bytes))?;
    }
    for day in &usage.days {
        let (date, bytes) = (day.day.to_string(), size(day.journal_bytes));
        let date = date.get(..10).unwrap_or(&date);
        writeln!(out, "{date} {bytes:>12}  {} records", day.records)?;
    }
    match (bytes_per_day, days_left) {
        (Some(pace), Some(days)) => {
            writeln!(out, "{} a day: room for {days} days", size(pace))?;
        }
        (None, _) | (_, None) => writeln!(out, "there is no whole day yet to go by")?,
    }
    Ok(())
}

/// Bytes in the largest unit of which there is one, with a decimal.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = None;
    let (mut whole, mut tenths) = (bytes, 0);
    for next in UNITS {
        if whole < 1_024 {
            break;
        }
        tenths = whole % 1_024 * 10 / 1_024;
        whole /= 1_024;
        unit = Some(next);
    }
    match unit {
        None => format!("{whole} B"),
        Some(unit) => format!("{whole}.{tenths} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_their_unit() {
        let told = [0, 1_023, 1_024, 1_536, 5 << 30, u64::MAX].map(size);
        let expected = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "5.0 GiB",
            "16383.9 PiB",
        ];
        assert_eq!(told, expected);
    }
}
