//! How targets are, shown in the moment in which it is asked for.

use std::fmt;
use std::sync::Arc;

use isango_types::health::{CircuitState, TargetStatus, TargetView};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use crate::health::Health;

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
