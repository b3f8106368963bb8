//! Counts what has ended, from its record.

use isango_types::limit::Decision;
use isango_types::record::{CacheStatus, Outcome, Record};
use isango_types::{CostStatus, Operation, Usage};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::genai::Observed;
use super::{CacheRequest, Estimated, Metrics, Place, Request, Rule, Tokens};

/// Places whose meters an [`Observer`] holds.
const MAX_PLACES: usize = 64;
/// Endings whose counters it holds for each of them.
const MAX_ENDINGS: usize = 64;

/// Counts what has ended, on one thread. It holds the meters of the places it saw last: finding
/// them in their families copies and hashes labels for each, which took 6 000 instructions for an
/// exchange.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// Those that are asked for often come to stand first.
    places: Vec<Meters>,
    genai: Observed,
}

/// How an exchange ended, but for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    operation: Operation,
    status: Option<u16>,
    outcome: Outcome,
}

/// The metrics of one place. What is `None` has not been seen, and is not shown.
#[derive(Debug)]
struct Meters {
    place: Place,
    requests: Vec<(Ending, Counter)>,
    attempts: Counter,
    duration: Histogram,
    ttfb: Option<Histogram>,
    ttft: Option<Histogram>,
    overhead: Option<Histogram>,
    tokens: [Option<Counter>; KINDS.len()],
    cost: Option<Counter>,
    /// By what the cache did, in the order of [`CACHE`].
    cache: [Option<Counter>; CACHE.len()],
}

/// What the cache can have done.
const CACHE: [CacheStatus; 4] = [
    CacheStatus::Hit,
    CacheStatus::Miss,
    CacheStatus::Bypass,
    CacheStatus::Stale,
];

/// The kinds of tokens, in the order of [`tokens`].
const KINDS: [&str; 9] = [
    "input",
    "cache_read",
    "cache_write",
    "audio_input",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
    "image_output",
];

const fn tokens(usage: &Usage) -> [u64; KINDS.len()] {
    [
        usage.input,
        usage.cache_read,
        usage.cache_write.saturating_add(usage.cache_write_1h),
        usage.audio_input.saturating_add(usage.audio_cache_read),
        usage.image_input,
        usage.output,
        usage.reasoning,
        usage.audio_output,
        usage.image_output,
    ]
}

impl Observer {
    /// Counts one exchange that has ended. `known`: its gateway exists.
    pub(crate) fn observe(&mut self, metrics: &Metrics, record: &Record, known: bool) {
        let (gateway, provider) = match (&record.provider, known) {
            (Some(provider), true) => (&*record.gateway, &**provider),
            (None, true) => (&*record.gateway, ""),
            (_, false) => ("", ""),
        };
        self.meters(metrics, gateway, provider)
            .observe(metrics, record);
        self.genai.observe(&metrics.genai, record);
    }

    fn meters(&mut self, metrics: &Metrics, gateway: &str, provider: &str) -> &mut Meters {
        let found = self.places.iter().position(|meters| {
            meters.place.provider == provider && meters.place.gateway == gateway
        });
        let at = match found {
            Some(at) => {
                let before = at.saturating_sub(1);
                self.places.swap(before, at);
                before
            }
            None => {
                self.places.truncate(MAX_PLACES - 1);
                let place = Place {
                    gateway: gateway.to_owned(),
                    provider: provider.to_owned(),
                };
                self.places.push(Meters::new(metrics, place));
                self.places.len() - 1
            }
        };
        &mut self.places[at]
    }
}

impl Meters {
    fn new(metrics: &Metrics, place: Place) -> Self {
        Self {
            requests: Vec::new(),
            attempts: metrics.attempts.get_or_create_owned(&place),
            duration: metrics.duration.get_or_create_owned(&place),
            ttfb: None,
            ttft: None,
            overhead: None,
            tokens: [const { None }; KINDS.len()],
            cost: None,
            cache: [const { None }; CACHE.len()],
            place,
        }
    }

    fn observe(&mut self, metrics: &Metrics, record: &Record) {
        self.ended(metrics, record).inc();
        self.attempts.inc_by(record.attempts.len() as u64);
        let (place, timing) = (&self.place, &record.timing);
        self.duration.observe(seconds(timing.total_us));
        if let Some(ttfb) = timing.ttfb_us {
            self.ttfb
                .get_or_insert_with(|| metrics.ttfb.get_or_create_owned(place))
                .observe(seconds(ttfb));
            self.overhead
                .get_or_insert_with(|| metrics.overhead.get_or_create_owned(place))
                .observe(seconds(timing.overhead_us));
        }
        if let Some(ttft) = timing.ttft_us {
            self.ttft
                .get_or_insert_with(|| metrics.ttft.get_or_create_owned(place))
                .observe(seconds(ttft));
        }
        if let Some(usage) = &record.usage {
            self.used(metrics, usage);
        }
        if let Some(cache) = &record.cache {
            self.asked_cache(metrics, cache.status);
        }
        self.charge(metrics, record);
        for decision in &record.limits {
            limited(metrics, &self.place.gateway, decision);
        }
    }

    fn asked_cache(&mut self, metrics: &Metrics, status: CacheStatus) {
        let place = &self.place;
        let counters = CACHE.iter().zip(&mut self.cache);
        for (_, counter) in counters.filter(|(of, _)| **of == status) {
            counter
                .get_or_insert_with(|| {
                    metrics.cache_requests.get_or_create_owned(&CacheRequest {
                        gateway: place.gateway.clone(),
                        provider: place.provider.clone(),
                        status: status.as_str(),
                    })
                })
                .inc();
        }
    }

    /// The counter of requests that ended like this one.
    fn ended(&mut self, metrics: &Metrics, record: &Record) -> &Counter {
        let ending = Ending {
            operation: record.operation,
            status: record.status,
            outcome: record.outcome,
        };
        let found = self.requests.iter().position(|(held, _)| *held == ending);
        let at = found.unwrap_or_else(|| {
            let status = ending.status.map(|status| status.to_string());
            let counter = metrics.requests.get_or_create_owned(&Request {
                gateway: self.place.gateway.clone(),
                provider: self.place.provider.clone(),
                operation: ending.operation.as_str(),
                status: status.unwrap_or_default(),
                outcome: ending.outcome.as_str(),
            });
            self.requests.truncate(MAX_ENDINGS - 1);
            self.requests.push((ending, counter));
            self.requests.len() - 1
        });
        &self.requests[at].1
    }

    fn used(&mut self, metrics: &Metrics, usage: &Usage) {
        let counts = tokens(usage).into_iter().zip(KINDS);
        for ((count, kind), counter) in counts.zip(&mut self.tokens) {
            if count > 0 {
                counter
                    .get_or_insert_with(|| {
                        metrics.tokens.get_or_create_owned(&Tokens {
                            gateway: self.place.gateway.clone(),
                            provider: self.place.provider.clone(),
                            kind,
                        })
                    })
                    .inc_by(count);
            }
        }
    }

    fn charge(&mut self, metrics: &Metrics, record: &Record) {
        match record.cost.nanousd {
            Some(nanousd) => {
                self.cost
                    .get_or_insert_with(|| metrics.cost.get_or_create_owned(&self.place))
                    .inc_by(nanousd);
            }
            None => {
                let unknown = matches!(
                    record.cost.status,
                    CostStatus::Unpriced | CostStatus::NoUsage
                );
                if unknown && record.outcome != Outcome::Refused {
                    metrics.unpriced.get_or_create(&self.place).inc();
                }
            }
        }
    }
}

/// Counts what a limit did. Requests under no limit do not come here.
fn limited(metrics: &Metrics, gateway: &str, decision: &Decision) {
    metrics
        .limited
        .get_or_create(&Rule {
            gateway: gateway.to_owned(),
            rule: decision.rule.to_string(),
            verdict: decision.verdict.as_str(),
        })
        .inc();
    if decision.unit.is_estimated() && decision.charged > 0 && decision.reserved > 0 {
        let unit = decision.unit.as_str();
        metrics
            .drawn_ratio
            .get_or_create(&Estimated { unit })
            .observe(ratio(decision.charged, decision.reserved));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bucket needs no more than 53 bits"
)]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bucket needs no more than 53 bits"
)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests;
