//! The data plane's metrics: names, units and labels in one place.
//!
//! Labels are closed sets: gateways and providers that exist, kinds, classes. Nothing that a client
//! chooses (an account of the `default` gateway, a model, metadata) becomes one; questions by those
//! are for the records.

use std::fmt;
use std::sync::Arc;

use isango_types::health::{CircuitState, TargetStatus, TargetView};
use isango_types::limit::Decision;
use isango_types::record::{CacheStatus, Outcome, Record};
use isango_types::{CostStatus, Operation, Usage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::health::Health;

/// Upper bounds of the latency buckets, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// Upper bounds of what a request drew over what was held for it.
const DRAWN_RATIO: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 3.0];
/// Upper bounds of the overhead buckets, in seconds.
const OVERHEAD_SECONDS: [f64; 9] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.005, 0.02, 0.1,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    gateway: String,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    gateway: String,
    provider: String,
    operation: &'static str,
    status: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    gateway: String,
    provider: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheRequest {
    gateway: String,
    provider: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    gateway: String,
    rule: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Estimated {
    unit: &'static str,
}

type Histograms = Family<Place, Histogram, fn() -> Histogram>;

/// Every metric of the data plane.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    attempts: Family<Place, Counter>,
    duration: Histograms,
    ttfb: Histograms,
    ttft: Histograms,
    overhead: Histograms,
    tokens: Family<Tokens, Counter>,
    cost: Family<Place, Counter>,
    unpriced: Family<Place, Counter>,
    limited: Family<Rule, Counter>,
    drawn_ratio: Family<Estimated, Histogram, fn() -> Histogram>,
    /// Buckets of limits that hold something.
    pub(crate) limit_buckets: Gauge,
    /// Values that had to share a bucket.
    pub(crate) limit_overflows: Gauge,
    /// Requests that could not note what they hold.
    pub(crate) limit_unpledged: Gauge,
    /// Buckets whose counter is not what the records say.
    pub(crate) limit_drifts: Gauge,
    /// Requests whose answer has not ended.
    pub(crate) in_flight: Gauge,
    /// Open client connections.
    pub(crate) connections: Gauge,
    pub(crate) idle_upstream: Gauge,
    /// Heads that are no HTTP, or too large.
    pub(crate) malformed_requests: Counter,
    pub(crate) records_written: Counter,
    pub(crate) records_dropped: Counter,
    pub(crate) record_errors: Counter,
    cache_requests: Family<CacheRequest, Counter>,
    /// Lookups and fills that failed, were too slow or too many.
    pub(crate) cache_errors: Counter,
}

impl Metrics {
    /// Makes the metrics and registers them under the prefix `isango`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let latency: fn() -> Histogram = || Histogram::new(SECONDS);
        let overhead: fn() -> Histogram = || Histogram::new(OVERHEAD_SECONDS);
        let metrics = Self {
            requests: Family::default(),
            attempts: Family::default(),
            duration: Family::new_with_constructor(latency),
            ttfb: Family::new_with_constructor(latency),
            ttft: Family::new_with_constructor(latency),
            overhead: Family::new_with_constructor(overhead),
            tokens: Family::default(),
            cost: Family::default(),
            unpriced: Family::default(),
            limited: Family::default(),
            drawn_ratio: Family::new_with_constructor(|| Histogram::new(DRAWN_RATIO)),
            limit_buckets: Gauge::default(),
            limit_overflows: Gauge::default(),
            limit_unpledged: Gauge::default(),
            limit_drifts: Gauge::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            idle_upstream: Gauge::default(),
            malformed_requests: Counter::default(),
            records_written: Counter::default(),
            records_dropped: Counter::default(),
            record_errors: Counter::default(),
            cache_requests: Family::default(),
            cache_errors: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("isango");
        metrics.register(registry);
        metrics.register_limits(registry);
        metrics
    }

    fn register_limits(&self, to: &mut Registry) {
        to.register(
            "limit_decisions",
            "What limits did with requests",
            self.limited.clone(),
        );
        to.register(
            "limit_drawn_ratio",
            "What requests drew over what was held for them",
            self.drawn_ratio.clone(),
        );
        to.register(
            "limit_buckets",
            "Buckets of limits that hold something",
            self.limit_buckets.clone(),
        );
        to.register(
            "limit_overflows",
            "Requests whose values had to share a bucket, since the start",
            self.limit_overflows.clone(),
        );
        to.register(
            "limit_unpledged",
            "Times that what requests hold could not be noted for a restart, since the start",
            self.limit_unpledged.clone(),
        );
        to.register(
            "limit_drifts",
            "Buckets whose counter was not what the records say when they were last compared",
            self.limit_drifts.clone(),
        );
    }

    fn register(&self, to: &mut Registry) {
        to.register(
            "requests",
            "Requests by how they ended",
            self.requests.clone(),
        );
        to.register("attempts", "Sends to providers", self.attempts.clone());
        to.register(
            "request_duration_seconds",
            "From the head of a request to the last byte of its answer",
            self.duration.clone(),
        );
        to.register(
            "ttfb_seconds",
            "Time to the head of the answer",
            self.ttfb.clone(),
        );
        to.register(
            "ttft_seconds",
            "Time to the first token of a stream",
            self.ttft.clone(),
        );
        to.register(
            "overhead_seconds",
            "Time the gateway itself added, without waiting for others",
            self.overhead.clone(),
        );
        to.register("tokens", "Tokens by kind", self.tokens.clone());
        to.register("cost_nanousd", "Known cost in 1e-9 USD", self.cost.clone());
        to.register(
            "unpriced_requests",
            "Billed requests whose cost is not known",
            self.unpriced.clone(),
        );
        to.register(
            "requests_in_flight",
            "Requests under way",
            self.in_flight.clone(),
        );
        to.register(
            "connections",
            "Open client connections",
            self.connections.clone(),
        );
        to.register(
            "upstream_idle_connections",
            "Idle connections to providers",
            self.idle_upstream.clone(),
        );
        to.register(
            "malformed_requests",
            "HTTP/1 heads that were no request",
            self.malformed_requests.clone(),
        );
        to.register(
            "records_written",
            "Records stored",
            self.records_written.clone(),
        );
        to.register(
            "records_dropped",
            "Records lost because the store could not take them",
            self.records_dropped.clone(),
        );
        to.register(
            "record_errors",
            "Failed writes of records",
            self.record_errors.clone(),
        );
        to.register(
            "cache_requests",
            "Requests that wanted the cache, by what it did",
            self.cache_requests.clone(),
        );
        to.register(
            "cache_errors",
            "Lookups and fills of the cache that failed, were too slow or too many",
            self.cache_errors.clone(),
        );
    }
}

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

/// Shows how targets are in the moment in which they are asked for.
#[derive(Debug)]
pub(crate) struct TargetGauges(pub(crate) Arc<Health>);

/// A target that is configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetPlace {
    account: String,
    gateway: String,
    target: String,
}

impl From<&TargetView> for TargetPlace {
    fn from(view: &TargetView) -> Self {
        Self {
            account: view.account.to_string(),
            gateway: view.gateway.to_string(),
            target: view.target.to_string(),
        }
    }
}

impl Collector for TargetGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        type Value = fn(&TargetStatus) -> Option<u64>;
        const GAUGES: [(&str, &str, Value); 6] = [
            (
                "isango_target_resting",
                "Whether its circuit breaker is open, or half open",
                |status| Some((status.circuit != CircuitState::Closed).into()),
            ),
            (
                "isango_target_benched",
                "Whether it asked to be left alone, for one of its deployments at least",
                |status| Some((status.benched_ms > 0).into()),
            ),
            (
                "isango_target_requests_in_flight",
                "Requests under way there, to their last byte",
                |status| Some(status.in_flight.into()),
            ),
            (
                "isango_target_recent_retries",
                "Sends beyond the first of a request, of about the last ten seconds",
                |status| Some(status.retries.into()),
            ),
            (
                "isango_target_remaining_requests",
                "Requests that its provider's limit leaves, where it tells",
                |status| status.remaining_requests,
            ),
            (
                "isango_target_remaining_tokens",
                "Tokens that its provider's limit leaves, where it tells",
                |status| status.remaining_tokens,
            ),
        ];
        let views = self.0.view(Instant::now());
        for (name, help, value) in GAUGES {
            let shown: Vec<_> = views
                .iter()
                .filter_map(|view| Some((TargetPlace::from(view), value(&view.status)?)))
                .collect();
            if shown.is_empty() {
                continue;
            }
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (place, value) in shown {
                gauge.encode_family(&place)?.encode_gauge(&value)?;
            }
        }
        Ok(())
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
mod tests {
    use isango_store::conformance::sample;
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// What is exposed after these records, in any order.
    fn exposed(records: &[(Record, bool)], observer: &mut Observer) -> String {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        for (record, known) in records {
            observer.observe(&metrics, record, *known);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[track_caller]
    fn check(text: &str, line: &str) {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }

    #[test]
    fn every_exchange_is_counted_where_it_ended() {
        let mut streamed = sample::record(0);
        streamed.timing.ttft_us = Some(5);
        let refused = (sample::record(6), false);
        let mut records = vec![(sample::record(0), true), (streamed, true), refused];
        records.extend([1, 4, 1].map(|n| (sample::record(n), true)));
        let text = exposed(&records, &mut Observer::default());
        let requests = |labels: &str, count| format!("isango_requests_total{{{labels}}} {count}");
        let of = |gateway, status| {
            format!(
                "gateway=\"{gateway}\",provider=\"azure-openai\",operation=\"chat\",\
                 status=\"{status}\",outcome=\"answered\""
            )
        };
        check(&text, &requests(&of("default", 200), 2));
        check(&text, &requests(&of("default", 429), 1));
        check(&text, &requests(&of("support", 200), 2));
        let nowhere = "gateway=\"\",provider=\"\",operation=\"chat\",status=\"400\",\
                       outcome=\"refused\"";
        check(&text, &requests(nowhere, 1));
        let place = "gateway=\"default\",provider=\"azure-openai\"";
        check(&text, &format!("isango_attempts_total{{{place}}} 3"));
        check(
            &text,
            &format!("isango_request_duration_seconds_count{{{place}}} 3"),
        );
        check(&text, &format!("isango_ttft_seconds_count{{{place}}} 1"));
        let input = format!("isango_tokens_total{{{place},kind=\"input\"}} 20");
        check(&text, &input);
        assert!(!text.contains("cache_read"), "{text}");
        check(
            &text,
            "isango_cost_nanousd_total{gateway=\"support\",provider=\"azure-openai\"} 2000000",
        );
    }

    #[test]
    fn places_beyond_those_held_are_counted_too() {
        let of = |n: usize| {
            let mut record = sample::record(0);
            record.gateway = format!("gateway-{}", n % 100).into();
            record.status = u16::try_from(200 + n % 300).ok();
            (record, true)
        };
        let mut observer = Observer::default();
        let text = exposed(&(0..600).map(of).collect::<Vec<_>>(), &mut observer);
        for n in 0..100 {
            let place = format!("gateway=\"gateway-{n}\",provider=\"azure-openai\"");
            check(&text, &format!("isango_attempts_total{{{place}}} 6"));
        }
        assert_eq!(observer.places.len(), MAX_PLACES);
    }
}
