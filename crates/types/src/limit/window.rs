//! Stretches of time that are counted in: on the calendar, of fixed length, or rolling.

use std::fmt;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A stretch of time that a limit counts in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// From one turn of the calendar to the next, in a time zone.
    Calendar {
        /// Which turn.
        period: Period,
        /// By whose clocks.
        zone: TimeZone,
    },
    /// One of this length after another, since 1970 (UTC).
    Fixed(Duration),
    /// The last so much.
    Sliding(Duration),
}

/// A turn of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A minute.
    Minute,
    /// An hour of the local clock.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The name in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Its length where no calendar says otherwise: a month is 30 days.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
        })
    }
}

/// First day of the epoch's week that is a Monday, in microseconds: 1970-01-05.
const FIRST_MONDAY: u64 = 4 * 86_400_000_000;

impl Window {
    /// A calendar window by the clocks of a zone of the IANA database (`Africa/Johannesburg`).
    ///
    /// # Errors
    /// There is no such zone.
    pub fn calendar(period: Period, zone: &str) -> Result<Self, jiff::Error> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            _ => TimeZone::get(zone)?,
        };
        Ok(Self::Calendar { period, zone })
    }

    /// Where the window around `now` begins and ends; a rolling one ends now.
    #[must_use]
    pub fn around(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let bounds = match self {
            Self::Calendar { period, zone } => on_calendar(*period, zone, now),
            Self::Fixed(length) => Some(aligned(now, *length, 0)),
            Self::Sliding(length) => return (now.minus(*length), now),
        };
        match bounds {
            Some((start, end)) if start <= now && now < end => (start, end),
            // Past the calendar's last year, or a zone whose clocks were set by less than an hour.
            Some(_) | None => aligned(now, self.length(), 0),
        }
    }

    /// How long it is at most.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        match self {
            Self::Calendar { period, .. } => {
                let length = period.length();
                // A month of 31 days; a day on which clocks are set back.
                Duration::from_secs(length.as_secs() + 2 * 86_400)
            }
            Self::Fixed(length) | Self::Sliding(length) => *length,
        }
    }

    const fn length(&self) -> Duration {
        match self {
            Self::Calendar { period, .. } => period.length(),
            Self::Fixed(length) | Self::Sliding(length) => *length,
        }
    }
}

/// The window of `length` around `now`, of which one begins `offset` microseconds after 1970.
fn aligned(now: Timestamp, length: Duration, offset: u64) -> (Timestamp, Timestamp) {
    let length = u64::try_from(length.as_micros()).unwrap_or(u64::MAX).max(1);
    let now = now.as_micros();
    let into = now.saturating_add(length - offset % length) % length;
    let start = now.saturating_sub(into);
    let end = start.saturating_add(length).max(now.saturating_add(1));
    (Timestamp::from_micros(start), Timestamp::from_micros(end))
}

fn on_calendar(period: Period, zone: &TimeZone, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    match period {
        Period::Minute => return Some(aligned(now, period.length(), 0)),
        Period::Week if *zone == TimeZone::UTC => {
            return Some(aligned(now, period.length(), FIRST_MONDAY));
        }
        Period::Hour | Period::Day | Period::Week | Period::Month => {}
    }
    let local = now.to_jiff().to_zoned(zone.clone());
    if period == Period::Hour {
        let into = u64::from(local.minute().unsigned_abs()) * 60_000_000
            + u64::from(local.second().unsigned_abs()) * 1_000_000
            + now.as_micros() % 1_000_000;
        return Some(aligned(now, period.length(), now.as_micros() - into));
    }
    let today = local.date();
    let (first, next) = match period {
        Period::Minute | Period::Hour | Period::Day => (today, today.tomorrow().ok()?),
        Period::Week => {
            let days = today.weekday().since(Weekday::Monday);
            let monday = today.checked_sub(i64::from(days).days()).ok()?;
            (monday, monday.checked_add(7.days()).ok()?)
        }
        Period::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
    };
    let moment = |date: jiff::civil::Date| {
        let zoned = date.to_zoned(zone.clone()).ok()?;
        let micros = zoned.timestamp().as_microsecond();
        Some(Timestamp::from_micros(u64::try_from(micros).unwrap_or(0)))
    };
    Some((moment(first)?, moment(next)?))
}

/// `day (Africa/Johannesburg)`, `604800s, sliding`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, technique) = match self {
            Self::Calendar { period, zone } => {
                f.write_str(period.as_str())?;
                return match zone.iana_name() {
                    Some(name) if *zone != TimeZone::UTC => write!(f, " ({name})"),
                    Some(_) | None => Ok(()),
                };
            }
            Self::Fixed(length) => (length, "fixed"),
            Self::Sliding(length) => (length, "sliding"),
        };
        match length.subsec_nanos() {
            0 => write!(f, "{}s, {technique}", length.as_secs()),
            _ => write!(f, "{}ms, {technique}", length.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(window: &Window, now: &str, start: &str, end: &str) {
        let moment = |text| Timestamp::parse(text).unwrap();
        let found = window.around(moment(now));
        assert_eq!(
            (found.0.to_string(), found.1.to_string()),
            (moment(start).to_string(), moment(end).to_string()),
            "{window} at {now}"
        );
    }

    fn calendar(period: Period, zone: &str) -> Window {
        Window::calendar(period, zone).unwrap()
    }

    #[test]
    fn calendar_windows_turn_by_the_clocks_of_their_zone() {
        let jo = |period| calendar(period, "Africa/Johannesburg");
        let now = "2026-11-22T22:30:15.5Z";
        check(
            &jo(Period::Minute),
            now,
            "2026-11-22T22:30:00Z",
            "2026-11-22T22:31:00Z",
        );
        check(
            &jo(Period::Hour),
            now,
            "2026-11-22T22:00:00Z",
            "2026-11-22T23:00:00Z",
        );
        // There it is Monday already.
        check(
            &jo(Period::Day),
            now,
            "2026-11-22T22:00:00Z",
            "2026-11-23T22:00:00Z",
        );
        check(
            &jo(Period::Week),
            now,
            "2026-11-22T22:00:00Z",
            "2026-11-29T22:00:00Z",
        );
        check(
            &jo(Period::Month),
            now,
            "2026-10-31T22:00:00Z",
            "2026-11-30T22:00:00Z",
        );
        check(
            &calendar(Period::Hour, "Asia/Kathmandu"),
            now,
            "2026-11-22T22:15:00Z",
            "2026-11-22T23:15:00Z",
        );
        check(
            &calendar(Period::Week, "UTC"),
            now,
            "2026-11-16T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
    }

    #[test]
    fn days_on_which_clocks_are_set_are_longer_or_shorter() {
        let day = calendar(Period::Day, "Europe/Berlin");
        check(
            &day,
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        );
        check(
            &day,
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
    }

    #[test]
    fn lengths_follow_one_another_or_roll() {
        let minute = Duration::from_secs(60);
        check(
            &Window::Fixed(minute),
            "2026-11-22T22:30:59.999999Z",
            "2026-11-22T22:30:00Z",
            "2026-11-22T22:31:00Z",
        );
        check(
            &Window::Sliding(minute),
            "2026-11-22T22:30:59Z",
            "2026-11-22T22:29:59Z",
            "2026-11-22T22:30:59Z",
        );
        assert_eq!(Window::Sliding(minute).to_string(), "60s, sliding");
        assert_eq!(
            Window::Fixed(Duration::from_millis(1_500)).to_string(),
            "1500ms, fixed"
        );
        assert!(Window::calendar(Period::Day, "Mars/Olympus").is_err());
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_one_window_whose_moments_agree(
            micros in 0..4_102_444_800_000_000_u64, // to 2100
            period in prop::sample::select(Period::ALL.to_vec()),
            zone in prop::sample::select(vec![
                "UTC", "Africa/Johannesburg", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata",
            ]),
        ) {
            let window = calendar(period, zone);
            let now = Timestamp::from_micros(micros);
            let (start, end) = window.around(now);
            prop_assert!(start <= now && now < end, "{start} {now} {end}");
            prop_assert!(end.as_micros() - start.as_micros()
                <= u64::try_from(window.longest().as_micros()).unwrap());
            // Days are counted by the calendar; hours only where clocks are not set by halves.
            prop_assert_eq!(window.around(start), (start, end));
            let last = Timestamp::from_micros(end.as_micros() - 1);
            prop_assert_eq!(window.around(last), (start, end));
            prop_assert_eq!(window.around(end).0, end);
        }
    }
}
