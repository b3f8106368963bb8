//! Per-request headers that override gateway policy (data-plane section 10).
//!
//! A malformed value counts as absent, and the record says so.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use isango_types::policy::{Backoff, MAX_ATTEMPTS, RetryPolicy};
use isango_types::record::{SpanId, Trace, TraceId};

use crate::cache::asked::{self, Asked};
use crate::exchange::detached;

/// Longest first-byte timeout that a request can ask for: a day.
const LONGEST_TIMEOUT_MS: u64 = 86_400_000;
/// W3C's name for the trace of a request.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest delay that a request can ask for.
const LONGEST_DELAY_MS: u64 = 60_000;

/// What a request asks for beyond its gateway's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `cf-aig-collect-log`.
    pub(crate) collect_log: Option<bool>,
    /// `cf-aig-collect-log-payload`.
    pub(crate) collect_log_payload: Option<bool>,
    /// `cf-aig-event-id`: 1 to 256 visible ASCII characters.
    pub(crate) event_id: Option<HeaderValue>,
    /// How it is to be sent.
    pub(crate) wishes: Wishes,
    /// `cf-aig-metadata`, unread.
    pub(crate) metadata: Option<HeaderValue>,
    /// `cf-aig-custom-cost`, unread.
    pub(crate) custom_cost: Option<HeaderValue>,
    /// `cf-aig-byok-alias`.
    pub(crate) alias: Option<Box<str>>,
    /// What is asked of the cache.
    pub(crate) cache: Asked,
    /// The trace that it belongs to: `traceparent`, `cf-aig-otel-trace-id`,
    /// `cf-aig-otel-parent-span-id`.
    pub(crate) trace: Option<Box<AskedTrace>>,
    /// What was malformed and ignored.
    pub(crate) notes: Vec<Box<str>>,
}

impl Options {
    /// These over those of `below`; the remarks of both.
    pub(crate) fn over(self, below: &Self) -> Self {
        let mut notes = below.notes.clone();
        notes.extend(self.notes);
        Self {
            collect_log: self.collect_log.or(below.collect_log),
            collect_log_payload: self.collect_log_payload.or(below.collect_log_payload),
            event_id: self.event_id.or_else(|| below.event_id.clone()),
            wishes: self.wishes.or(below.wishes),
            alias: self.alias.or_else(|| below.alias.clone()),
            cache: self.cache.or(&below.cache),
            trace: self.trace.or_else(|| below.trace.clone()),
            metadata: self.metadata.or_else(|| below.metadata.clone()),
            custom_cost: self.custom_cost.or_else(|| below.custom_cost.clone()),
            notes,
        }
    }
}

/// The trace that a request names.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedTrace {
    id: Option<TraceId>,
    parent: Option<SpanId>,
    w3c: Option<Trace>,
}

impl AskedTrace {
    /// The gateway's own headers go before W3C's; a parent alone is of the trace that that names.
    pub(crate) fn to_trace(&self) -> Option<Box<Trace>> {
        let of_id = self.id.map(|id| Trace {
            id,
            parent: self.parent,
        });
        let of_w3c = self.w3c.map(|trace| Trace {
            parent: self.parent.or(trace.parent),
            ..trace
        });
        of_id.or(of_w3c).map(Box::new)
    }
}

/// How a request is to be sent, where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `cf-aig-request-timeout`: time to the first byte.
    pub(crate) first_byte_timeout: Option<Duration>,
    /// `cf-aig-max-attempts`.
    pub(crate) max_attempts: Option<u8>,
    /// `cf-aig-retry-delay`.
    pub(crate) delay: Option<Duration>,
    /// `cf-aig-backoff`.
    pub(crate) backoff: Option<Backoff>,
}

impl Wishes {
    /// These over those of `below`.
    fn or(self, below: Self) -> Self {
        Self {
            first_byte_timeout: self.first_byte_timeout.or(below.first_byte_timeout),
            max_attempts: self.max_attempts.or(below.max_attempts),
            delay: self.delay.or(below.delay),
            backoff: self.backoff.or(below.backoff),
        }
    }

    /// These over those of the gateway.
    pub(crate) fn over(self, below: RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(below.max_attempts),
            delay: self.delay.unwrap_or(below.delay),
            backoff: self.backoff.unwrap_or(below.backoff),
        }
    }
}

/// Reads the options of a request.
pub(crate) fn read(headers: &HeaderMap) -> Options {
    let mut options = Options::default();
    let mut older = Asked::default();
    for (name, value) in headers {
        let Some(rest) = name.as_str().strip_prefix("cf-") else {
            if name == TRACEPARENT {
                // One that is malformed counts as none (W3C Trace Context, section 4.2).
                let parent = value.to_str().ok().and_then(Trace::parse);
                options.trace.get_or_insert_default().w3c = parent;
            }
            continue;
        };
        match rest.strip_prefix("aig-") {
            Some(rest) => options.set(rest, value),
            None => options.set_older(&mut older, rest, value),
        }
    }
    if !older.is_nothing() {
        options.cache = std::mem::take(&mut options.cache).or(&older);
    }
    options
}

impl Options {
    fn set(&mut self, name: &str, value: &HeaderValue) {
        match name {
            "collect-log" => self.collect_log = self.boolean(name, value),
            "collect-log-payload" => self.collect_log_payload = self.boolean(name, value),
            "event-id" => {
                let fits = (1..=256).contains(&value.len()) && value.to_str().is_ok();
                if fits {
                    self.event_id = Some(detached(value));
                } else {
                    self.ignore(name, "1 to 256 visible ASCII characters");
                }
            }
            "request-timeout" => {
                let millis = self.number(name, value, (1, LONGEST_TIMEOUT_MS));
                self.wishes.first_byte_timeout = millis.map(Duration::from_millis);
            }
            "max-attempts" => {
                let attempts = self.number(name, value, (1, MAX_ATTEMPTS.into()));
                self.wishes.max_attempts = attempts.and_then(|attempts| attempts.try_into().ok());
            }
            "retry-delay" => {
                let millis = self.number(name, value, (0, LONGEST_DELAY_MS));
                self.wishes.delay = millis.map(Duration::from_millis);
            }
            "backoff" => {
                let value = value.to_str().unwrap_or("").trim();
                let known = Backoff::NAMES
                    .iter()
                    .position(|known| known.eq_ignore_ascii_case(value));
                self.wishes.backoff = known.map(|at| Backoff::ALL[at]);
                if known.is_none() {
                    self.ignore(name, "`constant`, `linear` or `exponential`");
                }
            }
            "cache-ttl" => self.cache.ttl = self.ttl("cf-aig-cache-ttl", value),
            "skip-cache" => self.cache.skip = self.boolean(name, value),
            "cache-key" if !value.is_empty() => self.cache.key = Some(detached(value)),
            "cache-key" => self.ignore(name, "a text that is not empty"),
            "byok-alias" => {
                // One that is no text names nothing, and must not stand for another.
                let text = String::from_utf8_lossy(value.as_bytes());
                self.alias = Some(text.trim().chars().take(64).collect::<String>().into());
            }
            "otel-trace-id" => {
                let id = value.to_str().ok().and_then(TraceId::parse);
                self.trace.get_or_insert_default().id = id;
                if id.is_none() {
                    self.ignore(name, "32 hex digits, not all of them 0");
                }
            }
            "otel-parent-span-id" => {
                let parent = value.to_str().ok().and_then(SpanId::parse);
                self.trace.get_or_insert_default().parent = parent;
                if parent.is_none() {
                    self.ignore(name, "16 hex digits, not all of them 0");
                }
            }
            "metadata" => self.metadata = Some(detached(value)),
            "custom-cost" => self.custom_cost = Some(detached(value)),
            _ => {}
        }
    }

    /// Names of before 2024, which clients still send (data-plane section 10).
    fn set_older(&mut self, older: &mut Asked, name: &str, value: &HeaderValue) {
        match name {
            "cache-ttl" => older.ttl = self.ttl("cf-cache-ttl", value),
            "skip-cache" => older.skip = self.boolean(name, value),
            _ => {}
        }
    }

    fn ttl(&mut self, name: &str, value: &HeaderValue) -> Option<Duration> {
        let seconds = value.to_str().ok().map(str::trim);
        // Digits alone: a number that is too large for us is a long time, no mistake.
        let digits = seconds
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(digits) = digits else {
            self.notes
                .push(format!("{name} was ignored: it must be a whole number of seconds").into());
            return None;
        };
        let (ttl, remark) = asked::ttl(digits.parse().unwrap_or(u64::MAX));
        self.notes.extend(remark.map(Into::into));
        Some(ttl)
    }

    fn boolean(&mut self, name: &str, value: &HeaderValue) -> Option<bool> {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"true") {
            return Some(true);
        }
        if value.eq_ignore_ascii_case(b"false") {
            return Some(false);
        }
        self.ignore(name, "`true` or `false`");
        None
    }

    /// A whole number; one that is out of its bounds becomes the nearest within.
    fn number(&mut self, name: &str, value: &HeaderValue, (min, max): (u64, u64)) -> Option<u64> {
        let text = value.to_str().unwrap_or("").trim();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.ignore(name, "a whole number");
            return None;
        }
        let number = match text.starts_with('-') {
            true => 0,
            // Only what is too long fails.
            false => digits.parse().unwrap_or(u64::MAX),
        };
        let within = number.clamp(min, max);
        if within != number || text.starts_with('-') {
            self.notes.push(
                format!("cf-aig-{name} counts as {within}: it goes from {min} to {max}").into(),
            );
        }
        Some(within)
    }

    fn ignore(&mut self, name: &str, right: &str) {
        self.notes
            .push(format!("cf-aig-{name} was ignored: it must be {right}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&'static str, &str)]) -> Options {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn well_formed_options_are_read() {
        let read = options(&[
            ("cf-aig-collect-log", "false"),
            ("cf-aig-collect-log-payload", "TRUE"),
            ("cf-aig-event-id", "evt-1"),
            ("cf-aig-request-timeout", "2500"),
        ]);
        assert_eq!(read.collect_log, Some(false));
        assert_eq!(read.collect_log_payload, Some(true));
        assert_eq!(read.event_id.unwrap(), "evt-1");
        assert_eq!(
            read.wishes.first_byte_timeout,
            Some(Duration::from_millis(2500))
        );
        assert!(read.notes.is_empty());
    }

    #[test]
    fn malformed_options_are_ignored_and_noted() {
        let read = options(&[
            ("cf-aig-collect-log", "no"),
            ("cf-aig-event-id", &"x".repeat(257)),
            ("cf-aig-request-timeout", "1s"),
            ("cf-aig-max-attempts", "two"),
            ("cf-aig-retry-delay", "1.5"),
            ("cf-aig-backoff", "random"),
        ]);
        assert_eq!(read.collect_log, None);
        assert!(read.event_id.is_none());
        assert_eq!(read.wishes, Wishes::default());
        assert_eq!(read.notes.len(), 6);
        assert_eq!(
            &*read.notes[0],
            "cf-aig-collect-log was ignored: it must be `true` or `false`"
        );
    }

    #[test]
    fn numbers_out_of_their_bounds_are_clamped_and_noted() {
        let check = |value: &str, attempts: u8, millis: u64, notes: usize| {
            let read = options(&[
                ("cf-aig-max-attempts", value),
                ("cf-aig-retry-delay", value),
            ]);
            let delay = Duration::from_millis(millis);
            assert_eq!(read.wishes.max_attempts, Some(attempts), "{value}");
            assert_eq!(read.wishes.delay, Some(delay), "{value}");
            assert_eq!(read.notes.len(), notes, "{value}: {:?}", read.notes);
        };
        check("1", 1, 1, 0);
        check("5", 5, 5, 0);
        check(" 3 ", 3, 3, 0);
        check("0", 1, 0, 1);
        check("6", 5, 6, 1);
        check("-7", 1, 0, 2);
        check("60000", 5, 60_000, 1);
        check("60001", 5, 60_000, 2);
        check("99999999999999999999999", 5, 60_000, 2);
        let read = options(&[("cf-aig-max-attempts", "9"), ("cf-aig-backoff", "Linear")]);
        assert_eq!(
            &*read.notes[0],
            "cf-aig-max-attempts counts as 5: it goes from 1 to 5"
        );
        assert_eq!(read.wishes.backoff, Some(Backoff::Linear));
    }

    #[test]
    fn the_trace_is_the_one_that_the_request_names() {
        const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let check = |list: &[(&'static str, &str)], expected: Option<(&str, Option<&str>)>| {
            let read = options(list);
            let trace = read.trace.as_ref().and_then(|asked| asked.to_trace());
            let told = trace.map(|trace| {
                (
                    trace.id.to_string(),
                    trace.parent.map(|one| one.to_string()),
                )
            });
            let told = told
                .as_ref()
                .map(|(id, parent)| (id.as_str(), parent.as_deref()));
            assert_eq!(told, expected, "{list:?}");
        };
        let (id, parent) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210");
        check(&[], None);
        check(&[("cf-aig-otel-trace-id", id)], Some((id, None)));
        check(
            &[
                ("cf-aig-otel-trace-id", id),
                ("cf-aig-otel-parent-span-id", parent),
                ("traceparent", W3C),
            ],
            Some((id, Some(parent))),
        );
        check(
            &[("traceparent", W3C)],
            Some(("4bf92f3577b34da6a3ce929d0e0e4736", Some("00f067aa0ba902b7"))),
        );
        check(&[("cf-aig-otel-parent-span-id", parent)], None);
        check(&[("cf-aig-otel-trace-id", "xyz")], None);
        check(&[("traceparent", "00-x")], None);
    }
}
