//! How long a provider asks to wait, in the spellings that providers use.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use isango_types::Timestamp;

/// A wait that a provider asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) wait: Duration,
    /// The header that says so.
    pub(crate) by: &'static str,
}

/// A window is full again at its reset, and has room before: nobody is left alone for longer.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);

impl Asked {
    /// How long the target is left alone for it.
    pub(crate) fn bench(&self) -> Duration {
        match self.by {
            RETRY_AFTER_MS | RETRY_AFTER => self.wait,
            _window => self.wait.min(LONGEST_WINDOW),
        }
    }
}

const RETRY_AFTER_MS: &str = "retry-after-ms";
const RETRY_AFTER: &str = "retry-after";

/// What a window of a rate limit has left, and when it is full again.
struct Window {
    remaining: &'static str,
    reset: &'static str,
}

/// Windows of OpenAI, Azure and those who copy them: a reset is a duration (`6m0s`), seconds, or
/// seconds since 1970. Sources: OpenAI, Rate limits, Rate limits in headers; Azure OpenAI, Manage
/// quota; both read 2026-11-22.
const OF_OPENAI: [Window; 3] = [
    Window {
        remaining: "x-ratelimit-remaining-requests",
        reset: "x-ratelimit-reset-requests",
    },
    Window {
        remaining: "x-ratelimit-remaining-tokens",
        reset: "x-ratelimit-reset-tokens",
    },
    Window {
        remaining: "x-ratelimit-remaining",
        reset: "x-ratelimit-reset",
    },
];
/// Windows of Anthropic: a reset is a moment in RFC 3339. Source: Anthropic API, Rate limits,
/// Response headers; read 2026-11-22.
const OF_ANTHROPIC: [Window; 4] = [
    Window {
        remaining: "anthropic-ratelimit-requests-remaining",
        reset: "anthropic-ratelimit-requests-reset",
    },
    Window {
        remaining: "anthropic-ratelimit-tokens-remaining",
        reset: "anthropic-ratelimit-tokens-reset",
    },
    Window {
        remaining: "anthropic-ratelimit-input-tokens-remaining",
        reset: "anthropic-ratelimit-input-tokens-reset",
    },
    Window {
        remaining: "anthropic-ratelimit-output-tokens-remaining",
        reset: "anthropic-ratelimit-output-tokens-reset",
    },
];

/// Reads how long the provider asks to wait: `retry-after-ms`, else `retry-after` (seconds, also
/// with a fraction, or a date: RFC 9110 section 10.2.3), else, of a 429, the windows that it tells.
///
/// A moment in the past is no wait; `None` where nothing is said, or nothing that can be read.
pub(crate) fn asked_wait(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Asked> {
    if let Some(wait) = text(headers, RETRY_AFTER_MS).and_then(|text| seconds(text, 0.001)) {
        let by = RETRY_AFTER_MS;
        return Some(Asked { wait, by });
    }
    let after = text(headers, RETRY_AFTER).and_then(|text| match seconds(text, 1.0) {
        Some(wait) => Some(wait),
        None => Timestamp::parse_http_date(text).map(|moment| until(moment, now)),
    });
    if let Some(wait) = after {
        let by = RETRY_AFTER;
        return Some(Asked { wait, by });
    }
    if status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    of_windows(headers, now)
}

/// The longest wait of the windows that are used up; where none says that it is, the shortest.
fn of_windows(headers: &HeaderMap, now: Timestamp) -> Option<Asked> {
    let (mut used_up, mut shortest): (Option<Asked>, Option<Asked>) = (None, None);
    for window in OF_OPENAI.iter().chain(&OF_ANTHROPIC) {
        let Some(wait) = text(headers, window.reset).and_then(|text| time_to_reset(text, now))
        else {
            continue;
        };
        let by = window.reset;
        if text(headers, window.remaining) == Some("0") && used_up.is_none_or(|u| u.wait < wait) {
            used_up = Some(Asked { wait, by });
        }
        if shortest.is_none_or(|shortest| shortest.wait > wait) {
            shortest = Some(Asked { wait, by });
        }
    }
    used_up.or(shortest)
}

fn text<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// A plain number of units of so many seconds.
fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    Duration::try_from_secs_f64(number * unit).ok()
}

/// When a window is full again, from `now`: a duration (`1s`, `6m0s`, `250ms`), a moment in RFC
/// 3339, seconds, or seconds or milliseconds since 1970.
pub(crate) fn time_to_reset(text: &str, now: Timestamp) -> Option<Duration> {
    /// Numbers from here on are moments: a wait this long would be 31 years.
    const FIRST_MOMENT: Duration = Duration::from_secs(1_000_000_000);
    const FIRST_MOMENT_IN_MS: Duration = Duration::from_secs(1_000_000_000_000);
    match seconds(text, 1.0) {
        Some(number) if number >= FIRST_MOMENT_IN_MS => {
            Some(until(moment(number.checked_div(1_000)?), now))
        }
        Some(number) if number >= FIRST_MOMENT => Some(until(moment(number), now)),
        Some(number) => Some(number),
        None => duration(text).or_else(|| {
            let moment = Timestamp::parse(text).ok()?;
            Some(until(moment, now))
        }),
    }
}

/// Numbers with units, as Go writes durations: `1h2m3.5s`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 0.001),
        ("us", 0.000_001),
        ("d", 86_400.0),
        ("h", 3_600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        sum = sum.checked_add(seconds(number, *factor)?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(sum)
}

fn moment(since_1970: Duration) -> Timestamp {
    Timestamp::from_micros(0).plus(since_1970)
}

fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(moment.as_micros().saturating_sub(now.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T16:10:23Z.
    const NOW: u64 = 1_795_363_823_000_000;

    fn check(status: u16, headers: &[(&'static str, &str)], expected: Option<(u64, &str)>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let asked = asked_wait(status, &map, Timestamp::from_micros(NOW));
        let asked = asked.map(|asked| (u64::try_from(asked.wait.as_millis()).unwrap(), asked.by));
        assert_eq!(asked, expected, "{headers:?}");
    }

    #[test]
    fn the_most_exact_header_wins() {
        let all = [
            ("retry-after-ms", "250"),
            ("retry-after", "1"),
            ("x-ratelimit-reset-requests", "1m"),
        ];
        check(429, &all, Some((250, "retry-after-ms")));
        check(429, &all[1..], Some((1_000, "retry-after")));
        check(429, &all[2..], Some((60_000, "x-ratelimit-reset-requests")));
        check(429, &[], None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |text: &str, millis: Option<u64>| {
            let expected = millis.map(|millis| (millis, "retry-after"));
            check(503, &[("retry-after", text)], expected);
        };
        after("0", Some(0));
        after("120", Some(120_000));
        after("1.5", Some(1_500));
        after("Sun, 22 Nov 2026 16:10:53 GMT", Some(30_000));
        after("Sun, 22 Nov 2026 16:10:00 GMT", Some(0));
        for malformed in ["-1", "soon", "", "1e9", "Sun, 99 Nov 2026 16:10:00 GMT"] {
            after(malformed, None);
        }
        check(
            503,
            &[("retry-after-ms", "x"), ("retry-after", "2")],
            Some((2_000, "retry-after")),
        );
    }

    #[test]
    fn windows_are_told_in_many_ways() {
        let name = "x-ratelimit-reset-tokens";
        let window = |text: &str, millis: Option<u64>| {
            check(429, &[(name, text)], millis.map(|millis| (millis, name)));
        };
        window("1s", Some(1_000));
        window("6m0s", Some(360_000));
        window("250ms", Some(250));
        window("1h2m3.5s", Some(3_723_500));
        window("2m59.56s", Some(179_560));
        window("1d", Some(86_400_000));
        window("7", Some(7_000));
        window("7.25", Some(7_250));
        window("1795363833", Some(10_000));
        window("1795363833000", Some(10_000));
        window("1795363800", Some(0));
        window("2026-11-22T16:10:24.5Z", Some(1_500));
        for malformed in [
            "", "s", "1x", "m1", "1 s", "-1s", "1s2", "..s", "1..2s", "2026-T",
        ] {
            window(malformed, None);
        }
    }

    #[test]
    fn a_window_has_room_before_it_is_full() {
        let of = |by| {
            let wait = Duration::from_secs(300);
            Asked { wait, by }.bench().as_secs()
        };
        assert_eq!((of(RETRY_AFTER), of(RETRY_AFTER_MS)), (300, 300));
        assert_eq!(of("x-ratelimit-reset-tokens"), 60);
    }

    #[test]
    fn the_window_that_is_used_up_counts() {
        let requests = ("x-ratelimit-reset-requests", "1s");
        let tokens = ("x-ratelimit-reset-tokens", "20s");
        check(429, &[requests, tokens], Some((1_000, requests.0)));
        let spent = ("x-ratelimit-remaining-tokens", "0");
        check(429, &[requests, tokens, spent], Some((20_000, tokens.0)));
        let reset = "anthropic-ratelimit-output-tokens-reset";
        check(
            429,
            &[
                ("anthropic-ratelimit-requests-reset", "2026-11-22T16:10:24Z"),
                (reset, "2026-11-22T16:11:23Z"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ],
            Some((60_000, reset)),
        );
        // A window belongs to every answer of some providers; only a 429 says that one is closed.
        check(500, &[requests, tokens, spent], None);
    }
}
