//! What a request asks to go wrong: headers `x-sim-*`, or query keys `sim_*` where no header can
//! be set. A header wins over a query key of the same name.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::script::{LineEnd, Malformed, Spelling};

/// One row of the manual: name after `x-sim-`, values, meaning.
pub(crate) type Row = (&'static str, &'static str, &'static str);

/// Every fault, in the order of the manual. [`Faults::set`] knows the same names.
pub(crate) const MANUAL: &[Row] = &[
    (
        "latency-ms",
        "0 to 600000",
        "wait before the head of the answer",
    ),
    (
        "first-byte-delay-ms",
        "0 to 600000",
        "send the head at once, the first byte of the body late",
    ),
    ("ttft-ms", "0 to 600000", "streams: time to the first token"),
    (
        "pace",
        "tokens per second, 0 to 100000",
        "streams: speed; 0 is as fast as it goes",
    ),
    ("tokens", "1 to 100000", "exact length of a text answer"),
    (
        "status",
        STATUSES,
        "refuse with this status, in the provider's own shape",
    ),
    (
        "retry-after",
        "seconds, or an HTTP date",
        "`retry-after` beside the refusal",
    ),
    (
        "retry-after-ms",
        "0 to 600000",
        "`retry-after-ms` beside the refusal",
    ),
    (
        "reset",
        "rst or fin",
        "reset (or just close) the connection before any answer",
    ),
    (
        "cut-after",
        "events, or bytes as 100b; then reset",
        "cut the body there: `3`, `100b`, `3,reset`",
    ),
    (
        "stall-after",
        "events, or bytes as 100b",
        "fall silent there for `stall-ms`",
    ),
    (
        "stall-ms",
        "0 to 600000",
        "how long a stall lasts; 30000 if not given",
    ),
    (
        "malformed-sse",
        "json, utf8, field or open",
        "break the stream after its second event",
    ),
    (
        "sse-style",
        "lf, crlf, cr, tight, comments",
        "spelling of events; several with commas",
    ),
    (
        "chunk-bytes",
        "1 to 1048576",
        "cut the body into pieces of this size",
    ),
    (
        "gzip",
        "1 or 0",
        "compress the answer; streams are flushed with each event",
    ),
    (
        "close",
        "milliseconds, 0 to 600000",
        "close the connection that long after the answer, unannounced",
    ),
    (
        "only",
        "part of a path",
        "only requests whose path holds it suffer the other faults: one of several regions",
    ),
    (
        "key",
        "any text",
        "whose requests `fail-first` and `fail-rate` count",
    ),
    (
        "fail-first",
        "0 to 1000000",
        "only the first n requests of `key` suffer the other faults",
    ),
    (
        "fail-rate",
        "percent, 0 to 100",
        "only this share of the requests of `key` suffers them",
    ),
    (
        "echo",
        "1 or 0",
        "answer what arrived: method, path, headers, size and hash of the body",
    ),
    (
        "body-bytes",
        "0 to 1099511627776",
        "answer this many bytes of binary",
    ),
];

const STATUSES: &str = "400 401 403 404 408 409 413 422 429 500 502 503 504 or 529";
const STATUS_CODES: [u16; 14] = [
    400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529,
];
const LONGEST_MS: u64 = 600_000;
const LONGEST_ANSWER: u64 = 100_000;
const DEFAULT_STALL: Duration = Duration::from_secs(30);

/// A fault that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FaultError {
    #[error("there is no fault `{0}`; GET / lists them")]
    Unknown(String),
    #[error("x-sim-{name}: `{value}` is not possible; give {expected}")]
    Value {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("x-sim-{0} needs x-sim-key, the name under which requests are counted")]
    NeedsKey(&'static str),
}

/// A place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// After so many events of a stream; a whole answer counts bytes.
    Events(usize),
    Bytes(usize),
}

/// How a connection ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// TCP RST.
    Reset,
    /// TCP FIN.
    Close,
}

/// Faults and settings of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) latency: Duration,
    pub(crate) first_byte_delay: Duration,
    pub(crate) ttft: Option<Duration>,
    pub(crate) pace: Option<f64>,
    pub(crate) tokens: Option<u64>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) retry_after_ms: Option<HeaderValue>,
    pub(crate) reset: Option<Ending>,
    pub(crate) cut: Option<(Position, Ending)>,
    pub(crate) stall_after: Option<Position>,
    stall: Option<Duration>,
    pub(crate) spelling: Spelling,
    pub(crate) piece: Option<NonZeroUsize>,
    pub(crate) gzip: bool,
    pub(crate) close: Option<Duration>,
    only: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) fail_first: Option<u64>,
    pub(crate) fail_rate: Option<u64>,
    pub(crate) echo: bool,
    pub(crate) body_bytes: Option<usize>,
}

impl Faults {
    /// Reads the faults of a request.
    ///
    /// # Errors
    /// An unknown name, a value out of its bounds, or a counted fault without a key.
    pub(crate) fn read(headers: &HeaderMap, query: Option<&str>) -> Result<Self, FaultError> {
        let mut faults = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(name) = name.strip_prefix("sim_") {
                let value = value.replace('+', " ");
                let value = percent_decode_str(&value).decode_utf8_lossy();
                faults.set(&name.replace('_', "-"), value.trim())?;
            }
        }
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix("x-sim-") {
                faults.set(name, String::from_utf8_lossy(value.as_bytes()).trim())?;
            }
        }
        match (&faults.key, faults.fail_first, faults.fail_rate) {
            (None, Some(_), _) => Err(FaultError::NeedsKey("fail-first")),
            (None, None, Some(_)) => Err(FaultError::NeedsKey("fail-rate")),
            _ => Ok(faults),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), FaultError> {
        let Some(&(name, expected, _)) = MANUAL.iter().find(|row| row.0 == name) else {
            return Err(FaultError::Unknown(name.to_owned()));
        };
        self.apply(name, value).ok_or_else(|| FaultError::Value {
            name,
            value: value.to_owned(),
            expected,
        })
    }

    fn apply(&mut self, name: &'static str, value: &str) -> Option<()> {
        match name {
            "latency-ms" => self.latency = millis(value)?,
            "first-byte-delay-ms" => self.first_byte_delay = millis(value)?,
            "ttft-ms" => self.ttft = Some(millis(value)?),
            "pace" => self.pace = Some(pace(value)?),
            "tokens" => self.tokens = Some(number(value, 1, LONGEST_ANSWER)?),
            "status" => self.status = Some(status(value)?),
            "retry-after" => self.retry_after = Some(retry_after(value)?),
            "retry-after-ms" => {
                self.retry_after_ms = Some(number(value, 0, LONGEST_MS)?.into());
            }
            "reset" => self.reset = ending(value)?,
            "cut-after" => self.cut = Some(cut(value)?),
            "stall-after" => self.stall_after = Some(position(value)?),
            "stall-ms" => self.stall = Some(millis(value)?),
            "malformed-sse" => self.spelling.malformed = Some(malformed(value)?),
            "sse-style" => style(&mut self.spelling, value)?,
            "chunk-bytes" => {
                let bytes = usize::try_from(number(value, 1, 1_048_576)?).ok()?;
                self.piece = NonZeroUsize::new(bytes);
            }
            "gzip" => self.gzip = switch(value)?,
            "close" => self.close = Some(millis(value)?),
            "only" => self.only = Some(value.to_owned()).filter(|part| !part.is_empty()),
            "key" => self.key = Some(value.to_owned()),
            "fail-first" => self.fail_first = Some(number(value, 0, 1_000_000)?),
            "fail-rate" => self.fail_rate = Some(number(value, 0, 100)?),
            "echo" => self.echo = switch(value)?,
            "body-bytes" => {
                self.body_bytes = Some(usize::try_from(number(value, 0, 1 << 40)?).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    /// The faults of a request for `path`: none where they are for another.
    pub(crate) fn at(self, path: &str) -> Self {
        match &self.only {
            Some(part) if !path.contains(&**part) => Self::default(),
            Some(_) | None => self,
        }
    }

    /// How long a stall lasts.
    pub(crate) fn stall(&self) -> Duration {
        self.stall.unwrap_or(DEFAULT_STALL)
    }

    /// Whether the `n`-th request (from 1) of the key suffers the faults.
    pub(crate) fn strikes(&self, nth: u64) -> bool {
        let first = self.fail_first.is_none_or(|first| nth <= first);
        let share = self
            .fail_rate
            .is_none_or(|rate| nth * rate / 100 > (nth - 1) * rate / 100);
        first && share
    }

    /// A request that fails by count and names no fault is refused with 500.
    pub(crate) fn strike(&mut self) {
        let named = self.reset.is_some()
            || self.cut.is_some()
            || self.stall_after.is_some()
            || self.spelling.malformed.is_some();
        if !named {
            self.status.get_or_insert(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }

    /// A request that is spared by count: as though nothing had been said of failure.
    pub(crate) fn spare(&mut self) {
        (self.status, self.reset, self.cut, self.stall_after) = (None, None, None, None);
        self.spelling.malformed = None;
    }
}

fn number(value: &str, least: u64, most: u64) -> Option<u64> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

fn millis(value: &str) -> Option<Duration> {
    number(value, 0, LONGEST_MS).map(Duration::from_millis)
}

fn pace(value: &str) -> Option<f64> {
    value
        .parse()
        .ok()
        .filter(|pace| (0.0..=100_000.0).contains(pace))
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn status(value: &str) -> Option<StatusCode> {
    let code = value
        .parse()
        .ok()
        .filter(|code| STATUS_CODES.contains(code))?;
    StatusCode::from_u16(code).ok()
}

/// Seconds, or a date as RFC 9110 section 5.6.7 prefers it.
fn retry_after(value: &str) -> Option<HeaderValue> {
    let date = value.len() == 29 && value.ends_with(" GMT") && value.is_ascii();
    let seconds = number(value, 0, 86_400).is_some();
    if date || seconds {
        HeaderValue::from_str(value).ok()
    } else {
        None
    }
}

fn ending(value: &str) -> Option<Option<Ending>> {
    match value {
        "rst" | "1" | "true" => Some(Some(Ending::Reset)),
        "fin" => Some(Some(Ending::Close)),
        "0" | "false" => Some(None),
        _ => None,
    }
}

fn position(value: &str) -> Option<Position> {
    match value.strip_suffix('b') {
        Some(bytes) => bytes.parse().ok().map(Position::Bytes),
        None => value.parse().ok().map(Position::Events),
    }
}

fn cut(value: &str) -> Option<(Position, Ending)> {
    match value.split_once([',', ' ']) {
        Some((at, "reset")) => Some((position(at)?, Ending::Reset)),
        Some(_) => None,
        None => Some((position(value)?, Ending::Close)),
    }
}

fn malformed(value: &str) -> Option<Malformed> {
    match value {
        "json" | "1" => Some(Malformed::Json),
        "utf8" => Some(Malformed::Utf8),
        "field" => Some(Malformed::Field),
        "open" => Some(Malformed::Open),
        _ => None,
    }
}

fn style(spelling: &mut Spelling, value: &str) -> Option<()> {
    for word in value.split(',').map(str::trim) {
        match word {
            "lf" => spelling.line = LineEnd::Lf,
            "crlf" => spelling.line = LineEnd::CrLf,
            "cr" => spelling.line = LineEnd::Cr,
            "tight" => spelling.tight = true,
            "comments" => spelling.comments = true,
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
