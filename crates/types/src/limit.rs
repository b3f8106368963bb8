//! Limits of a gateway: how much may pass in a window, split by what, and what happens beyond.
//! Settings with their meaning; the counting is the data plane's.

mod window;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::price::format_usd;

pub use window::{Period, Window};

/// Most limits that one gateway may have, spend limits and the rate limit included.
pub const MAX_LIMITS: usize = 32;
/// Most dimensions that one limit is split by.
pub const MAX_DIMENSIONS: usize = 5;
/// Longest time that a request may wait for its turn.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// One limit, compiled and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name in records, messages and metrics; unique in the gateway.
    pub id: Box<str>,
    /// What it is split by: one bucket for each combination of values. Empty: one bucket.
    pub by: Vec<Dimension>,
    /// Which requests it is for: all of these must hold.
    pub only: Vec<Condition>,
    /// What is counted.
    pub unit: Unit,
    /// How much fits into a window, in the unit: requests, tokens, nano-dollars, requests at once.
    pub limit: u64,
    /// In which stretch of time; of no meaning for [`Unit::Concurrent`].
    pub window: Window,
    /// When it is counted.
    pub mode: Mode,
    /// What happens to a request that does not fit.
    pub on_exceeded: OnExceeded,
    /// What happens to a stream that brings more than was held for it.
    pub on_overrun: OnOverrun,
    /// Counts and records what it would have done, and does nothing.
    pub shadow: bool,
    /// How long a request waits while nothing but running requests stands in its way.
    pub max_wait: Duration,
    /// Whose words the refusal has.
    pub dialect: Dialect,
}

/// What a limit can be split by, or be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// An entry of the request's metadata.
    Metadata(Box<str>),
    /// Name of the gateway token.
    Token,
    /// Slug of the provider.
    Provider,
    /// Model that the request names; of a deployment that the configuration maps, its model.
    Model,
    /// Name of the configured target, else slug of the provider.
    Target,
}

impl Dimension {
    /// Reads `metadata.<key>`, `token`, `provider`, `model` or `target`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "token" => Self::Token,
            "provider" => Self::Provider,
            "model" => Self::Model,
            "target" => Self::Target,
            _ => {
                let key = text.strip_prefix("metadata.")?;
                let fits = !key.is_empty() && key.len() <= 256;
                Self::Metadata(fits.then(|| key.into())?)
            }
        })
    }

    /// Whether it is known only once the body was read.
    #[must_use]
    pub const fn needs_body(&self) -> bool {
        match self {
            Self::Model => true,
            Self::Metadata(_) | Self::Token | Self::Provider | Self::Target => false,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(key) => write!(f, "metadata.{key}"),
            Self::Token => f.write_str("token"),
            Self::Provider => f.write_str("provider"),
            Self::Model => f.write_str("model"),
            Self::Target => f.write_str("target"),
        }
    }
}

/// A dimension must have one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Of what.
    pub dimension: Dimension,
    /// The values, at least one; compared as text.
    pub values: Vec<Box<str>>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests that were sent to a provider or answered from the cache.
    Requests,
    /// Tokens of input and output.
    Tokens,
    /// Cost, in nano-dollars.
    Cost,
    /// Requests at the same time.
    Concurrent,
}

impl Unit {
    /// Every unit, in the order of the configuration's choice.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::Cost, Self::Concurrent];

    /// The name in configuration, records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Concurrent => "concurrent",
        }
    }

    /// Whether what a request draws is known only at its end.
    #[must_use]
    pub const fn is_estimated(self) -> bool {
        match self {
            Self::Tokens | Self::Cost => true,
            Self::Requests | Self::Concurrent => false,
        }
    }

    /// An amount as people read it: nano-dollars as dollars.
    #[must_use]
    pub fn amount(self, amount: u64) -> String {
        match self {
            Self::Cost => format_usd(amount),
            Self::Requests | Self::Tokens | Self::Concurrent => amount.to_string(),
        }
    }
}

/// When a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What a request may draw is reserved before it is sent, and settled at its end.
    #[default]
    Strict,
    /// What it drew is counted at its end; bursts overshoot.
    Relaxed,
}

/// What happens to a request that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnExceeded {
    /// It is refused.
    #[default]
    Block,
    /// It passes, and its record says so.
    Warn,
    /// It goes to another target.
    Fallback(Diversion),
}

/// Where requests go that do not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diversion {
    /// Names of targets of the gateway, the first that can be asked is. Empty: those of the chain
    /// that the request's own target begins.
    pub to: Vec<Box<str>>,
    /// The model that is asked for there; `None`: the same.
    pub model: Option<Box<str>>,
}

/// What happens to a stream that brings more than was held for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverrun {
    /// More is held for it.
    #[default]
    Extend,
    /// It ends, as its format ends an answer that has reached its longest.
    Cut,
}

/// Whose words a refusal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// A limit of ours.
    #[default]
    Limit,
    /// The gateway's `rate_limiting_*`: the contract's words and nothing else.
    RateLimit,
    /// A rule of `spend_limits`.
    SpendLimit,
}

impl Limit {
    /// Whether it can be judged before the request's body is there, without which a request cannot
    /// go elsewhere.
    #[must_use]
    pub fn is_early(&self) -> bool {
        let conditions = self.only.iter().map(|condition| &condition.dimension);
        !self.unit.is_estimated()
            && !matches!(self.on_exceeded, OnExceeded::Fallback(_))
            && !conditions.chain(&self.by).any(Dimension::needs_body)
    }

    /// Whether it may end a stream that brings more than was held for it.
    #[must_use]
    pub fn may_cut(&self) -> bool {
        self.on_overrun == OnOverrun::Cut
            && self.mode == Mode::Strict
            && self.unit.is_estimated()
            && !self.shadow
    }

    /// Whether it depends on the target that a request is sent to.
    #[must_use]
    pub fn is_of_target(&self) -> bool {
        let conditions = self.only.iter().map(|condition| &condition.dimension);
        let mut dimensions = conditions.chain(&self.by);
        dimensions.any(|one| matches!(one, Dimension::Target | Dimension::Provider))
    }

    /// The limit in words: `200000 tokens per day (Africa/Johannesburg)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let limit = self.unit.amount(self.limit);
        match self.unit {
            Unit::Requests | Unit::Tokens => {
                format!("{limit} {} per {}", self.unit.as_str(), self.window)
            }
            Unit::Cost => format!("cost limit {limit} per {}", self.window),
            Unit::Concurrent => format!("{limit} requests at once"),
        }
    }
}

/// What a limit did with a request: part of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Id of the limit.
    pub rule: Box<str>,
    /// Values of the dimensions that the limit is split by, in their order; `None`: the request had
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bucket: Vec<Option<Box<str>>>,
    /// What is counted.
    pub unit: Unit,
    /// What became of the request.
    pub verdict: Verdict,
    /// How much fits into the bucket's window, in the unit, as all that follow.
    pub limit: u64,
    /// What was drawn or held there before.
    pub before: u64,
    /// What was held for this request; of one that was refused, what it needed.
    pub reserved: u64,
    /// What it drew in the end.
    pub charged: u64,
    /// What is drawn or held there after it was settled.
    pub after: u64,
    /// The moment whose window it counts in.
    pub at: Timestamp,
}

/// What became of a request at one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It fit.
    Admitted,
    /// It did not, and was refused.
    Refused,
    /// It did not, and passed all the same (`on_exceeded = "warn"`).
    Warned,
    /// It did not, and the limit only watches (`shadow = true`).
    Shadow,
    /// It did not, and went to another target (`on_exceeded = "fallback"`). Of a limit that is for
    /// requests there as well: what it draws there.
    Diverted,
    /// It fit, and its answer was ended when that had brought what was held for it
    /// (`on_overrun = "cut"`).
    Cut,
}

impl Verdict {
    /// The name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Warned => "warned",
            Self::Shadow => "shadow",
            Self::Diverted => "diverted",
            Self::Cut => "cut",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_written_as_they_are_read() {
        for text in ["token", "provider", "model", "target", "metadata.tenantId"] {
            assert_eq!(Dimension::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "metadata", "metadata.", "tenant", "Token"] {
            assert_eq!(Dimension::parse(text), None, "{text}");
        }
    }

    fn limit(unit: Unit, by: &[&str]) -> Limit {
        Limit {
            id: "l".into(),
            by: by
                .iter()
                .map(|one| Dimension::parse(one).unwrap())
                .collect(),
            only: Vec::new(),
            unit,
            limit: 1_500_000_000,
            window: Window::calendar(Period::Day, "Africa/Johannesburg").unwrap(),
            mode: Mode::Strict,
            on_exceeded: OnExceeded::Block,
            on_overrun: OnOverrun::Extend,
            shadow: false,
            max_wait: Duration::ZERO,
            dialect: Dialect::Limit,
        }
    }

    #[test]
    fn what_needs_the_body_is_judged_behind_it() {
        assert!(limit(Unit::Requests, &["token", "metadata.a"]).is_early());
        assert!(limit(Unit::Concurrent, &[]).is_early());
        assert!(!limit(Unit::Requests, &["model"]).is_early());
        assert!(!limit(Unit::Tokens, &[]).is_early());
        let only = Condition {
            dimension: Dimension::Model,
            values: vec!["a".into()],
        };
        let of_model = Limit {
            only: vec![only],
            ..limit(Unit::Requests, &[])
        };
        assert!(!of_model.is_early());
    }

    #[test]
    fn a_limit_is_told_in_its_unit() {
        let check = |unit, text: &str| assert_eq!(limit(unit, &[]).describe(), text);
        check(Unit::Cost, "cost limit 1.5 per day (Africa/Johannesburg)");
        check(
            Unit::Tokens,
            "1500000000 tokens per day (Africa/Johannesburg)",
        );
        check(Unit::Concurrent, "1500000000 requests at once");
    }
}
