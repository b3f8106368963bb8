//! The only source of wall time. Durations are measured with tokio's `Instant`, not here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC, in microseconds since the Unix epoch.
///
/// Reads and writes RFC 3339 with six decimals (`2026-11-22T16:10:23.000001Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// This moment plus `duration`; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// This moment minus `duration`; stops at the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Reads an RFC 3339 date and time.
    ///
    /// # Errors
    /// The text is no RFC 3339 moment, or lies before 1970.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        let moment: jiff::Timestamp = text.parse()?;
        Ok(Self(u64::try_from(moment.as_microsecond()).unwrap_or(0)))
    }

    /// Reads a date as HTTP writes it (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    /// `None`: it is none. A date before 1970 is the first moment of it.
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let moment = jiff::fmt::rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text)
            .ok()?;
        Some(Self(u64::try_from(moment.as_microsecond()).unwrap_or(0)))
    }

    /// Writes the 27 characters of the moment into `buffer` and returns them; a moment after 9999
    /// is the last one of it.
    #[must_use]
    pub fn encode(self, buffer: &mut [u8; 27]) -> &str {
        let moment = jiff::tz::Offset::UTC.to_datetime(self.to_jiff());
        *buffer = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut buffer[..4], moment.year().unsigned_abs().into());
        digits(&mut buffer[5..7], moment.month().unsigned_abs().into());
        digits(&mut buffer[8..10], moment.day().unsigned_abs().into());
        digits(&mut buffer[11..13], moment.hour().unsigned_abs().into());
        digits(&mut buffer[14..16], moment.minute().unsigned_abs().into());
        digits(&mut buffer[17..19], moment.second().unsigned_abs().into());
        let micros = moment.subsec_nanosecond().unsigned_abs() / 1_000;
        digits(&mut buffer[20..26], micros);
        std::str::from_utf8(buffer).unwrap_or_default()
    }

    /// The same moment as the time library sees it.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
            .unwrap_or(jiff::Timestamp::MAX)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Fills `buffer` with the last decimal digits of `number`.
fn digits(buffer: &mut [u8], mut number: u32) {
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 27]))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 27]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Tells the time: the system's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `start` until [`Clock::set`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicU64::new(start.as_micros()))))
    }

    /// Moves a manual clock, and all its clones; a system clock stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.store(now.as_micros(), Ordering::Release);
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(manual) => Timestamp::from_micros(manual.load(Ordering::Acquire)),
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the Clock that others ask"
            )]
            None => SystemTime::now().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_written_as_the_time_library_writes_it(micros in prop_oneof![
            0..253_402_207_200_000_000_u64,
            any::<u64>(),
        ]) {
            let moment = Timestamp::from_micros(micros);
            prop_assert_eq!(moment.to_string(), format!("{:.6}", moment.to_jiff()));
        }
    }

    #[test]
    fn a_moment_survives_its_text() {
        let moment = Timestamp::from_micros(1_795_363_823_000_001);
        assert_eq!(moment.to_string(), "2026-11-22T16:10:23.000001Z");
        assert_eq!(Timestamp::parse(&moment.to_string()).unwrap(), moment);
    }

    #[test]
    fn a_date_of_http_is_a_moment() {
        let moment = Timestamp::parse_http_date("Sun, 22 Nov 2026 16:10:23 GMT");
        assert_eq!(moment, Timestamp::parse("2026-11-22T16:10:23Z").ok());
        assert_eq!(Timestamp::parse_http_date("22 Nov"), None);
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = Clock::manual(Timestamp::from_micros(5));
        let other = clock.clone();
        clock.set(Timestamp::from_micros(9));
        assert_eq!(other.now(), Timestamp::from_micros(9));
    }
}
