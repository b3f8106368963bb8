//! Numbers with units: sizes and lengths of time.

use std::time::Duration;

pub(super) fn digits(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

pub(super) fn parse_size(text: &str) -> Option<u64> {
    let unit = SIZE_UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (text.strip_suffix(unit)?, *factor),
        None => (text, 1),
    };
    digits(number.trim_end())?.checked_mul(factor)
}

pub(super) fn size_text(bytes: u64) -> String {
    let binary = SIZE_UNITS[..4]
        .iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match binary {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Units of time in microseconds, longest first.
const WAIT_UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads `10s`, `250ms`, `1m30s`: whole numbers, each with its unit.
#[must_use]
pub fn parse_wait(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut micros = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '_')?;
        let number = digits(&rest[..end])?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (_, factor) = WAIT_UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
        micros = micros.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then(|| Duration::from_micros(micros))
}

pub(super) fn wait_text(millis: u64) -> String {
    let micros = millis.saturating_mul(1_000);
    let unit = WAIT_UNITS
        .iter()
        .find(|(_, factor)| micros != 0 && micros.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", micros / factor),
        None => format!("{millis}ms"),
    }
}
