//! The data plane's metrics: names, units and labels in one place.
//!
//! Labels are closed sets: gateways and providers that exist, kinds, classes. Nothing that a client
//! chooses (an account of the `default` gateway, metadata) becomes one; questions by those are for the
//! records. Models do in `genai` alone, where so many are told and no more.

mod genai;
mod observe;
mod targets;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::genai::GenAi;
pub(crate) use self::observe::Observer;
pub(crate) use self::targets::TargetGauges;

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
    /// Records that were packed because the store did not take them.
    pub(crate) records_spilled: Counter,
    /// Requests that nobody let in and that left no record.
    pub(crate) records_thinned: Counter,
    pub(crate) record_errors: Counter,
    cache_requests: Family<CacheRequest, Counter>,
    genai: GenAi,
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
            records_spilled: Counter::default(),
            records_thinned: Counter::default(),
            record_errors: Counter::default(),
            cache_requests: Family::default(),
            genai: GenAi::new(registry),
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
        self.register_records(to);
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

    fn register_records(&self, to: &mut Registry) {
        to.register(
            "records_written",
            "Records stored",
            self.records_written.clone(),
        );
        to.register(
            "records_thinned",
            "Requests without a token that opens their gateway that left no record",
            self.records_thinned.clone(),
        );
        to.register(
            "records_dropped",
            "Records lost because the store could not take them",
            self.records_dropped.clone(),
        );
        to.register(
            "records_spilled",
            "Records that were packed while the store did not take them",
            self.records_spilled.clone(),
        );
        to.register(
            "record_errors",
            "Failed writes of records",
            self.record_errors.clone(),
        );
    }
}
