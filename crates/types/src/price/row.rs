//! Price rows: one price of one model, as the list and the configuration spell it.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::charge::{Charge, Rates};
use crate::clock::Timestamp;
use crate::usage::Usage;

/// One price of one model, in US dollars: a row of the bundled list and a `[[prices]]` table of
/// the configuration have this form.
///
/// Tokens and characters are priced per million, audio per hour (`audio_minute`: per minute), and
/// `image`, `search` and `request` each. Amounts are texts or plain numbers and are read as exact
/// decimals. Rows of the same provider and model are the history of one price: of those in force,
/// the last one holds.
#[derive(Clone, Debug)]
pub struct PriceRow {
    pub(super) provider: Box<str>,
    pub(super) model: Box<str>,
    pub(super) also: Vec<Box<str>>,
    pub(super) starts_with: Vec<Box<str>>,
    pub(super) contains: Vec<Box<str>>,
    pub(super) period: Period,
}

/// A price and when it holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Period {
    /// First moment; `None`: as far back as the list goes.
    pub(super) from: Option<Timestamp>,
    /// First moment that is no longer in it.
    pub(super) until: Option<Timestamp>,
    /// Minutes of the UTC day between which it holds, past midnight where the second is smaller.
    hours: Option<(u16, u16)>,
    base: Rates,
    /// Ascending by `tokens`.
    tiers: Vec<Tier>,
    /// Whether a tier's rates hold for the units above its mark only, by charge, instead of for
    /// the whole request.
    marginal: bool,
    /// Where the price was read, if not where the list says.
    pub(super) source: Option<Box<str>>,
}

/// Rates that hold above a mark; what it does not name stays at the base rate.
#[derive(Clone, Copy, Debug, Default)]
struct Tier {
    tokens: u64,
    rates: Rates,
}

/// A nano-dollar in the unit that costs are summed in: a common multiple of every
/// [`Charge::per`], so that rounding happens once.
const PARTS_PER_NANO: u64 = 18_000_000;

impl Period {
    pub(super) fn is_in_force(&self, at: Timestamp) -> bool {
        let minute = u16::try_from(at.as_micros() / 60_000_000 % 1_440).unwrap_or(0);
        self.from.is_none_or(|from| from <= at)
            && self.until.is_none_or(|until| at < until)
            && self.hours.is_none_or(|(start, end)| {
                if start <= end {
                    (start..end).contains(&minute)
                } else {
                    minute >= start || minute < end
                }
            })
    }

    /// The rate of `charge` in `tier`, or that of the more general charge it is billed as.
    pub(super) fn rate(&self, charge: Charge, tier: Option<usize>) -> Option<u64> {
        tier.and_then(|tier| self.tiers.get(tier))
            .and_then(|tier| tier.rates.own(charge))
            .or_else(|| self.base.own(charge))
            .or_else(|| {
                charge
                    .general()
                    .and_then(|general| self.rate(general, tier))
            })
    }

    /// What `usage` costs in nano-dollars, rounded half up once; saturates. `None` when it holds
    /// something that this price has no rate for.
    pub(super) fn nanousd(&self, usage: &Usage) -> Option<u64> {
        let (nanousd, is_all) = self.known_nanousd(usage);
        is_all.then_some(nanousd)
    }

    /// The same of those parts that it has a rate for, and whether these are all.
    pub(super) fn known_nanousd(&self, usage: &Usage) -> (u64, bool) {
        let (mut parts, mut is_all) = (0_u128, true);
        let quantities = Charge::quantities(usage);
        for (&charge, &quantity) in Charge::ALL.iter().zip(&quantities) {
            if quantity == 0 || self.is_included(charge) {
                continue;
            }
            let Some(nanos_times_per) = self.times_rate(charge, quantity, usage) else {
                is_all = false;
                continue;
            };
            let parts_per_unit = u128::from(PARTS_PER_NANO / charge.per());
            parts = parts.saturating_add(nanos_times_per.saturating_mul(parts_per_unit));
        }
        let half = u128::from(PARTS_PER_NANO / 2);
        let nanousd = parts.saturating_add(half) / u128::from(PARTS_PER_NANO);
        (u64::try_from(nanousd).unwrap_or(u64::MAX), is_all)
    }

    /// Whether there is nothing to pay for it beside what else is paid: a fee for each request that
    /// there is not, and searches where such a fee pays for them.
    fn is_included(&self, charge: Charge) -> bool {
        match charge {
            Charge::Request => self.charges_no_request(),
            Charge::Search => {
                !self.charges_no_request() && self.rate(Charge::Search, None).is_none()
            }
            Charge::Input
            | Charge::CacheRead
            | Charge::CacheWrite
            | Charge::CacheWrite1h
            | Charge::AudioInput
            | Charge::AudioCacheRead
            | Charge::ImageInput
            | Charge::Output
            | Charge::Reasoning
            | Charge::AudioOutput
            | Charge::ImageOutput
            | Charge::Image
            | Charge::Audio
            | Charge::Character => false,
        }
    }

    pub(super) fn charges_no_request(&self) -> bool {
        self.rate(Charge::Request, None).is_none()
    }

    /// `quantity` times the rates that its units fall under.
    fn times_rate(&self, charge: Charge, quantity: u64, usage: &Usage) -> Option<u128> {
        let times =
            |count: u64, tier| Some(u128::from(count) * u128::from(self.rate(charge, tier)?));
        if !self.marginal {
            let input = usage.total_input();
            return times(
                quantity,
                self.tiers.iter().rposition(|tier| input > tier.tokens),
            );
        }
        let (mut sum, mut below) = (0_u128, quantity);
        for (index, tier) in self.tiers.iter().enumerate().rev() {
            let above = below.saturating_sub(tier.tokens);
            sum = sum.saturating_add(times(above, Some(index))?);
            below -= above;
        }
        Some(sum.saturating_add(times(below, None)?))
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let marks = |pair: &[Tier]| pair[0].tokens < pair[1].tokens;
        if self.base.is_empty() {
            Some("names no rate")
        } else if self
            .from
            .zip(self.until)
            .is_some_and(|(from, until)| from >= until)
        {
            Some("ends before it begins")
        } else if !self.tiers.windows(2).all(marks) {
            Some("has tiers that do not ascend")
        } else if self.tiers.iter().any(|tier| tier.rates.is_empty()) {
            Some("has a tier without a rate")
        } else {
            None
        }
    }
}

/// The keys of a price row, for the error that an unknown one gets.
const ROW_KEYS: &[&str] = &[
    "provider",
    "model",
    "also",
    "starts_with",
    "contains",
    "effective_from",
    "effective_until",
    "hours",
    "above",
    "marginal",
    "source",
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "audio_cache_read",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
    "image_output",
    "image",
    "search",
    "audio_hour",
    "audio_minute",
    "character",
    "request",
];

impl<'de> Deserialize<'de> for PriceRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = PriceRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PriceRow, A::Error> {
        let (mut provider, mut model) = (None, None);
        let (mut also, mut starts_with, mut contains) = (Vec::new(), Vec::new(), Vec::new());
        let mut period = Period::default();
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "provider" => provider = Some(map.next_value()?),
                "model" => model = Some(map.next_value()?),
                "also" => also = map.next_value()?,
                "starts_with" => starts_with = map.next_value()?,
                "contains" => contains = map.next_value()?,
                "effective_from" => period.from = Some(map.next_value::<Day>()?.0),
                "effective_until" => period.until = Some(map.next_value::<Day>()?.0),
                "hours" => period.hours = Some(map.next_value::<Hours>()?.0),
                "above" => period.tiers = map.next_value()?,
                "marginal" => period.marginal = map.next_value()?,
                "source" => period.source = Some(map.next_value()?),
                rate => period.base.read(rate, ROW_KEYS, &mut map)?,
            }
        }
        Ok(PriceRow {
            provider: provider.ok_or_else(|| A::Error::missing_field("provider"))?,
            model: model.ok_or_else(|| A::Error::missing_field("model"))?,
            also,
            starts_with,
            contains,
            period,
        })
    }
}

impl<'de> Deserialize<'de> for Tier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TierVisitor)
    }
}

struct TierVisitor;

impl<'de> Visitor<'de> for TierVisitor {
    type Value = Tier;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mark in `tokens` and the rates above it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tier, A::Error> {
        let mut tier = Tier::default();
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "tokens" => tier.tokens = map.next_value()?,
                rate => tier
                    .rates
                    .read(rate, &["tokens", "the key of a rate"], &mut map)?,
            }
        }
        Ok(tier)
    }
}

/// A day (its first moment in UTC) or a moment: a text, or a date of the configuration's format.
pub(super) struct Day(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DayVisitor)
    }
}

struct DayVisitor;

impl<'de> Visitor<'de> for DayVisitor {
    type Value = Day;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a day such as \"2026-11-22\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Day, E> {
        Timestamp::parse(text)
            .or_else(|_no_moment| Timestamp::parse(&format!("{text}T00:00:00Z")))
            .map(Day)
            .map_err(|_neither| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    /// TOML's own dates come as a map of one text.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Day, A::Error> {
        match map.next_entry::<de::IgnoredAny, String>()? {
            Some((_, text)) => self.visit_str(&text),
            None => Err(A::Error::invalid_length(0, &self)),
        }
    }
}

/// `"16:30-00:30"`, in minutes of the day.
struct Hours((u16, u16));

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        let minute = |clock: &str| {
            let (hour, minute) = clock.split_once(':')?;
            let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
            (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(start, end)| Some(Self((minute(start)?, minute(end)?))))
            .ok_or_else(|| D::Error::custom(format_args!("`{text}`: expected \"16:30-00:30\"")))
    }
}
