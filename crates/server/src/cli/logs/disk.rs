//! `isango logs disk`: what the store takes, and for how long there is room.

use std::io::Write;

use anyhow::Context as _;
use isango_types::Clock;

use crate::cli::write_json;
use crate::config::{Config, Sources};
use crate::storage::measure;

pub(super) fn run(sources: &Sources, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (folder, kept) = Config::keeping(sources)?;
    let measured = measure(&folder, kept, Clock::system().now());
    let told = measured.with_context(|| format!("cannot measure {}", folder.display()))?;
    if json {
        return write_json(out, &told);
    }
    let usage = &told.usage;
    writeln!(out, "{:10} {:>12}", "records", usage.records)?;
    for (part, bytes) in [
        ("journal", usage.journal_bytes),
        ("indexes", usage.index_bytes),
        ("columns", usage.column_bytes),
        ("sums", usage.rollup_bytes),
        ("overlay", usage.overlay_bytes),
        ("torn", usage.torn_bytes),
        ("in all", told.total_bytes),
        ("free", told.free_bytes),
    ] {
        writeln!(out, "{part:10} {:>12}", size(bytes))?;
    }
    for day in &usage.days {
        let (date, bytes) = (day.day.to_string(), size(day.journal_bytes));
        let date = date.get(..10).unwrap_or(&date);
        writeln!(out, "{date} {bytes:>12}  {} records", day.records)?;
    }
    match (told.bytes_per_day, told.days_left) {
        (Some(pace), Some(days)) => {
            let pace = size(pace);
            match told.full_at {
                Some(_) => writeln!(out, "{pace} a day: room for {days} days")?,
                None => writeln!(
                    out,
                    "{pace} a day: retention makes room before the disk is full"
                )?,
            }
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
