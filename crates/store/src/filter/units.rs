//! Units: how durations and amounts of money are read and spelled, exactly.

use isango_types::Timestamp;
use isango_types::price::CostStatus;

use super::NumberField;

/// The ways in which a cost came about, by name.
pub(super) const COST_STATUSES: [(&str, CostStatus); 6] = [
    ("priced", CostStatus::Priced),
    ("estimated", CostStatus::Estimated),
    ("custom", CostStatus::Custom),
    ("free", CostStatus::Free),
    ("unpriced", CostStatus::Unpriced),
    ("no_usage", CostStatus::NoUsage),
];

pub(super) const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

/// Units of a duration and their microseconds, from large to small.
const UNITS: [(&str, u64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A duration in microseconds, which its unit must divide without remainder.
pub(super) fn duration(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *micros)
}

/// `text` times `unit`, exactly: `1.5` of 1 000 is 1 500. `None` for what is no decimal number,
/// too large, or finer than 1.
pub(super) fn scaled(text: &str, unit: u64) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(decimals) || decimals.len() > 18 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let parts = decimals.parse::<u128>().ok()? * u128::from(unit);
    let whole = whole.parse::<u128>().ok()?.checked_mul(u128::from(unit))?;
    let sum = whole.checked_add(parts / scale)?;
    (parts % scale == 0)
        .then_some(sum)
        .and_then(|sum| u64::try_from(sum).ok())
}

pub(super) fn spell_cost(nanousd: u64) -> String {
    let (dollars, nanos) = (nanousd / NANOS_PER_DOLLAR, nanousd % NANOS_PER_DOLLAR);
    let text = format!("{dollars}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn cost_status_name(status: CostStatus) -> &'static str {
    COST_STATUSES
        .iter()
        .find(|(_, known)| *known == status)
        .map_or("", |(name, _)| name)
}

impl NumberField {
    pub(super) fn spell(self, number: u64) -> String {
        match self {
            Self::Tokens | Self::TokensIn | Self::TokensOut | Self::Attempts => number.to_string(),
            Self::Duration | Self::Ttfb | Self::Ttft => {
                let unit = UNITS
                    .iter()
                    .find(|(_, micros)| number.is_multiple_of(*micros) && number > 0);
                let (name, micros) = unit.unwrap_or(&("us", 1));
                format!("{}{name}", number / micros)
            }
            Self::Time => Timestamp::from_micros(number).to_string(),
        }
    }
}
