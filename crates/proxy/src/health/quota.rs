//! What a provider says is left of its limits, read from every answer, so that traffic turns
//! elsewhere before a 429.
//!
//! Limits are buckets that fill steadily: `reset` is when one is full again. Sources: OpenAI, Rate
//! limits, Rate limits in headers; Anthropic, Rate limits, Response headers; both read 2026-11-22.
//! Azure sends what is left without `reset`.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use isango_types::Clock;
use tokio::time::Instant;

use crate::retry::time_to_reset;

/// How long a limit counts that says nothing of its reset: most are by the minute.
const ASSUMED_RESET: Duration = Duration::from_secs(60);
/// The longest time that is believed to a reset.
const MAX_RESET: Duration = Duration::from_hours(24);
/// Below this share of a limit its target gets less traffic.
const SCARCE: f64 = 0.1;

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Meter {
    left: u64,
    limit: Option<u64>,
    read: Instant,
    full: Instant,
}

impl Meter {
    /// What is left by now; `None`: the limit is whole again, or what was said of it is too old.
    fn left(&self, now: Instant) -> Option<f64> {
        if now >= self.full {
            return None;
        }
        let left = self.left as f64;
        let missing = self
            .limit
            .map_or(0.0, |limit| (limit as f64 - left).max(0.0));
        let passed = now.saturating_duration_since(self.read).as_secs_f64();
        let whole = self.full.saturating_duration_since(self.read).as_secs_f64();
        Some(left + missing * passed / whole)
    }

    /// How much traffic it bears: 1, down to 0 where less than `need` is left.
    fn share(&self, need: u64, now: Instant) -> f64 {
        let Some(left) = self.left(now) else {
            return 1.0;
        };
        if left < need as f64 {
            return 0.0;
        }
        let of_limit = self.limit.map_or(1.0, |limit| left / (limit.max(1) as f64));
        (of_limit / SCARCE).min(1.0)
    }
}

/// What is left of the limits on requests and on tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quota {
    requests: Option<Meter>,
    tokens: Option<Meter>,
}

impl Quota {
    /// What an answer says; nothing of it is kept from the last one.
    pub(crate) fn read(headers: &HeaderMap, wall: &Clock, now: Instant) -> Option<Self> {
        for names in &NAMES {
            let quota = Self {
                requests: names.requests.read(headers, wall, now),
                tokens: [Some(&names.tokens), names.else_tokens.as_ref()]
                    .into_iter()
                    .flatten()
                    .find_map(|names| names.read(headers, wall, now)),
            };
            if quota != Self::default() {
                return Some(quota);
            }
        }
        None
    }

    /// How much traffic the limits bear: 1, down to 0 where a request of `tokens` would be refused.
    pub(super) fn share(&self, tokens: u64, now: Instant) -> f64 {
        let requests = self.requests.map_or(1.0, |meter| meter.share(1, now));
        let tokens = self.tokens.map_or(1.0, |meter| meter.share(tokens, now));
        requests.min(tokens)
    }

    /// A request of `tokens` is on its way, which no answer tells of yet.
    pub(super) fn spend(&mut self, tokens: u64) {
        for (meter, spent) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
            if let Some(meter) = meter {
                meter.left = meter.left.saturating_sub(spent);
            }
        }
    }

    /// What is left of requests and of tokens.
    pub(super) fn left(&self, now: Instant) -> [Option<u64>; 2] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count above 0, which saturates"
        )]
        let whole = |left: f64| left as u64;
        let left = |meter: Option<Meter>| meter.and_then(|meter| meter.left(now)).map(whole);
        [left(self.requests), left(self.tokens)]
    }
}

/// The headers that tell of one limit.
struct Names {
    left: HeaderName,
    limit: HeaderName,
    reset: HeaderName,
}

impl Names {
    const fn new(left: &'static str, limit: &'static str, reset: &'static str) -> Self {
        Self {
            left: HeaderName::from_static(left),
            limit: HeaderName::from_static(limit),
            reset: HeaderName::from_static(reset),
        }
    }

    fn read(&self, headers: &HeaderMap, wall: &Clock, now: Instant) -> Option<Meter> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let left = text(&self.left)?.trim().parse().ok()?;
        let reset = text(&self.reset).and_then(|text| time_to_reset(text.trim(), wall.now()));
        let reset = reset.unwrap_or(ASSUMED_RESET).min(MAX_RESET);
        Some(Meter {
            left,
            limit: text(&self.limit).and_then(|text| text.trim().parse().ok()),
            read: now,
            full: now + reset,
        })
    }
}

/// The headers of one family of providers.
struct Family {
    requests: Names,
    tokens: Names,
    /// Where `tokens` is not told.
    else_tokens: Option<Names>,
}

static NAMES: [Family; 2] = [
    Family {
        requests: Names::new(
            "x-ratelimit-remaining-requests",
            "x-ratelimit-limit-requests",
            "x-ratelimit-reset-requests",
        ),
        tokens: Names::new(
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-reset-tokens",
        ),
        else_tokens: None,
    },
    Family {
        requests: Names::new(
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-reset",
        ),
        // The tightest of the limits in force.
        tokens: Names::new(
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-reset",
        ),
        else_tokens: Some(Names::new(
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-reset",
        )),
    },
];

#[cfg(test)]
mod tests {
    use isango_types::Timestamp;

    use super::*;

    fn noon() -> Clock {
        Clock::manual(Timestamp::parse("2026-11-22T12:00:00Z").unwrap())
    }

    fn quota(list: &[(&'static str, &str)], now: Instant) -> Option<Quota> {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        Quota::read(&headers, &noon(), now)
    }

    #[track_caller]
    fn check(quota: &Quota, tokens: u64, now: Instant, share: f64) {
        let found = quota.share(tokens, now);
        assert!((found - share).abs() < 1e-6, "{found} instead of {share}");
    }

    #[test]
    fn a_limit_fills_until_its_reset() {
        let now = Instant::now();
        let list = [
            ("x-ratelimit-limit-tokens", "1000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m40s"),
        ];
        let quota = quota(&list, now).unwrap();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(quota.left(at(0)), [None, Some(0)]);
        assert_eq!(quota.left(at(50)), [None, Some(500)]);
        check(&quota, 101, at(10), 0.0);
        check(&quota, 51, at(5), 0.0);
        check(&quota, 50, at(5), 0.5);
        check(&quota, 50, at(20), 1.0);
        assert_eq!(quota.left(at(100)), [None, None]);
        check(&quota, 1_000_000, at(100), 1.0);
    }

    #[test]
    fn requests_on_their_way_are_taken_off() {
        let now = Instant::now();
        let list = [
            ("anthropic-ratelimit-requests-remaining", "2"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T12:00:30Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "100"),
        ];
        let mut quota = quota(&list, now).unwrap();
        check(&quota, 100, now, 1.0);
        quota.spend(60);
        assert_eq!(quota.left(now), [Some(1), Some(40)]);
        check(&quota, 60, now, 0.0);
        check(&quota, 40, now, 1.0);
        quota.spend(60);
        check(&quota, 0, now, 0.0);
        check(&quota, 0, now + Duration::from_secs(30), 1.0);
    }

    #[test]
    fn what_azure_says_counts_for_a_minute() {
        let now = Instant::now();
        let quota = quota(&[("x-ratelimit-remaining-requests", "0")], now).unwrap();
        check(&quota, 0, now + Duration::from_secs(59), 0.0);
        check(&quota, 0, now + ASSUMED_RESET, 1.0);
    }

    #[test]
    fn answers_without_limits_say_nothing() {
        let now = Instant::now();
        assert_eq!(quota(&[("content-type", "text/plain")], now), None);
        assert_eq!(quota(&[("x-ratelimit-remaining-tokens", "-1")], now), None);
        assert_eq!(quota(&[("x-ratelimit-limit-tokens", "9")], now), None);
    }
}
