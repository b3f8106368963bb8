//! The data plane's metrics: names, units and labels in one place.
//!
//! Labels are closed sets: gateways and providers that exist, kinds, classes. Nothing that a client
//! chooses (an account of the `default` gateway, a model, metadata) becomes one; questions by those
//! are for the records.

use isango_types::CostStatus;
use isango_types::record::{Outcome, Record};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the latency buckets, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
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
    /// Requests whose answer has not ended.
    pub(crate) in_flight: Gauge,
    /// Open client connections.
    pub(crate) connections: Gauge,
    pub(crate) idle_upstream: Gauge,
    pub(crate) records_written: Counter,
    pub(crate) records_dropped: Counter,
    pub(crate) record_errors: Counter,
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
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            idle_upstream: Gauge::default(),
            records_written: Counter::default(),
            records_dropped: Counter::default(),
            record_errors: Counter::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("isango"));
        metrics
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
    }

    /// Counts one exchange that has ended. `known`: its gateway exists.
    pub(crate) fn observe(&self, record: &Record, known: bool) {
        let gateway = if known {
            String::from(&*record.gateway)
        } else {
            String::new()
        };
        let provider = match (&record.provider, known) {
            (Some(provider), true) => String::from(&**provider),
            _ => String::new(),
        };
        let place = Place {
            gateway: gateway.clone(),
            provider: provider.clone(),
        };
        self.requests
            .get_or_create(&Request {
                gateway: gateway.clone(),
                provider: provider.clone(),
                operation: record.operation.as_str(),
                status: record
                    .status
                    .map(|status| status.to_string())
                    .unwrap_or_default(),
                outcome: record.outcome.as_str(),
            })
            .inc();
        self.attempts
            .get_or_create(&place)
            .inc_by(record.attempts.len() as u64);
        self.duration
            .get_or_create(&place)
            .observe(seconds(record.timing.total_us));
        if let Some(ttfb) = record.timing.ttfb_us {
            self.ttfb.get_or_create(&place).observe(seconds(ttfb));
            self.overhead
                .get_or_create(&place)
                .observe(seconds(record.timing.overhead_us));
        }
        if let Some(ttft) = record.timing.ttft_us {
            self.ttft.get_or_create(&place).observe(seconds(ttft));
        }
        if let Some(usage) = &record.usage {
            for (kind, count) in [
                ("input", usage.input),
                ("cache_read", usage.cache_read),
                (
                    "cache_write",
                    usage.cache_write.saturating_add(usage.cache_write_1h),
                ),
                (
                    "audio_input",
                    usage.audio_input.saturating_add(usage.audio_cache_read),
                ),
                ("image_input", usage.image_input),
                ("output", usage.output),
                ("reasoning", usage.reasoning),
                ("audio_output", usage.audio_output),
                ("image_output", usage.image_output),
            ] {
                if count > 0 {
                    let labels = Tokens {
                        gateway: gateway.clone(),
                        provider: provider.clone(),
                        kind,
                    };
                    self.tokens.get_or_create(&labels).inc_by(count);
                }
            }
        }
        self.charge(record, &place);
    }

    fn charge(&self, record: &Record, place: &Place) {
        match record.cost.nanousd {
            Some(nanousd) => {
                self.cost.get_or_create(place).inc_by(nanousd);
            }
            None => {
                let unknown = matches!(
                    record.cost.status,
                    CostStatus::Unpriced | CostStatus::NoUsage
                );
                if unknown && record.outcome != Outcome::Refused {
                    self.unpriced.get_or_create(place).inc();
                }
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bucket needs no more than 53 bits"
)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
