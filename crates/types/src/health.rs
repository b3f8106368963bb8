//! How a gateway judges its targets and shares traffic among them: the settings, with their
//! defaults. What is made of them lives in the data plane.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a target that fails is left alone (a circuit breaker), and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row after which a target rests.
    pub consecutive_failures: u32,
    /// Share of failed sends within `window` from which on a target rests, in percent.
    pub failure_percent: u32,
    /// Sends within `window` below which `failure_percent` says nothing.
    pub min_requests: u32,
    /// The time that `failure_percent` looks back.
    pub window: Duration,
    /// The first rest; each further one is twice as long.
    pub rest: Duration,
    /// The longest rest: the interval at which a target that stays down is probed.
    pub max_rest: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            min_requests: 20,
            window: Duration::from_secs(10),
            rest: Duration::from_secs(5),
            max_rest: Duration::from_secs(30),
        }
    }
}

/// How many sends beyond the first of each request there may be, of about the last ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Share of the requests, in percent.
    pub percent: u32,
    /// So many are allowed in any case, for times of little traffic; of retries, until the target
    /// answers again.
    pub floor: u32,
}

impl Budget {
    /// For retries at one target.
    pub const RETRIES: Self = Self {
        percent: 20,
        floor: 20,
    };
    /// For hedges of one gateway.
    pub const HEDGES: Self = Self {
        percent: 5,
        floor: 1,
    };
}

/// When a request that waits for its first byte is sent to a second target as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// The shortest wait before the second send.
    pub min_delay: Duration,
    /// The longest.
    pub max_delay: Duration,
    /// How many requests may be sent twice.
    pub budget: Budget,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            budget: Budget::HEDGES,
        }
    }
}

impl Hedge {
    /// How long to wait for the first byte before the second send. `p95`: the time in which 95 % of
    /// the target's answers begin; where it is not known, nothing is sent twice.
    #[must_use]
    pub fn delay(&self, p95: Option<Duration>) -> Option<Duration> {
        Some(p95?.max(self.min_delay).min(self.max_delay))
    }
}

/// Equal targets that share traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, which may stand in a path in place of a target's.
    pub name: Box<str>,
    /// Its members: places in the gateway's list of targets.
    pub targets: Vec<usize>,
    /// Who is asked first.
    pub balance: Balance,
    /// What keeps requests together on one member.
    pub sticky: Option<Sticky>,
}

/// Who of equal targets is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    Weighted,
    /// The one with fewer requests under way, of two chosen by weight.
    LeastBusy,
    /// The one that is expected to begin its answer sooner, of two chosen by weight.
    LowestLatency,
}

/// What requests have in common that belong on the same target. Without it, a request is balanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this metadata key.
    Metadata(Box<str>),
    /// The value of this request header, in lower case.
    Header(Box<str>),
}

/// How a target is, as operators see it. Counts are of about the last ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its circuit breaker.
    pub circuit: CircuitState,
    /// How long it is left alone still, in milliseconds; 0 where the breaker is not open.
    pub rest_ms: u64,
    /// How long it is left alone still because it said so itself, in milliseconds.
    pub benched_ms: u64,
    /// Requests under way, to their last byte.
    pub in_flight: u32,
    /// Requests that were sent to it.
    pub requests: u32,
    /// Sends beyond the first of these requests.
    pub retries: u32,
    /// Time in which 95 % of whole answers begin, in milliseconds; `None`: there were too few.
    pub ttfb_p95_ms: Option<u64>,
    /// The same of streams.
    pub stream_ttfb_p95_ms: Option<u64>,
    /// Requests that its limit leaves, where it tells; the least of its deployments.
    pub remaining_requests: Option<u64>,
    /// Tokens that its limit leaves.
    pub remaining_tokens: Option<u64>,
}

/// A target with the gateway that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Account of the gateway.
    pub account: Box<str>,
    /// Its id.
    pub gateway: Box<str>,
    /// Name of the target.
    pub target: Box<str>,
    /// How it is.
    #[serde(flatten)]
    pub status: TargetStatus,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// The target is asked.
    Closed,
    /// It rests.
    Open,
    /// Whether it is back is being found out.
    HalfOpen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hedge_waits_for_the_slow_end_within_bounds() {
        let hedge = Hedge {
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(2),
            ..Hedge::default()
        };
        let delay = |ms| hedge.delay(Some(Duration::from_millis(ms)));
        assert_eq!(delay(50), Some(Duration::from_millis(100)));
        assert_eq!(delay(700), Some(Duration::from_millis(700)));
        assert_eq!(delay(9_000), Some(Duration::from_secs(2)));
        assert_eq!(hedge.delay(None), None);
    }
}
