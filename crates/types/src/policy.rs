//! Policies of a gateway: what follows a failure, how long anything may take, where data may go.
//! Settings with their bounds; the decisions are the data plane's.

mod cache;

use std::sync::Arc;
use std::time::Duration;

pub use self::cache::{
    CachePolicy, KEYED_CACHE_TTL, KeyMode, MAX_CACHE_TTL, MIN_CACHE_TTL, Replay, ScopeFrom,
};
use crate::gateway::Target;

/// How often a target is asked at most, whoever asks for it.
pub const MAX_ATTEMPTS: u8 = 5;
/// Longest wait between two attempts.
pub const MAX_RETRY_WAIT: Duration = Duration::from_secs(60);
/// Targets that one chain may name.
pub const MAX_CHAIN: usize = 8;

/// When the last byte of an answer goes to its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// At once; its record is stored within the flush window.
    #[default]
    Relaxed,
    /// Once its record is on disk; where that fails, so does the request.
    Strict,
}

/// How many records of a gateway are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogManagement {
    /// At most so many, about.
    pub records: u64,
    /// What happens beyond.
    pub beyond: Beyond,
}

/// What happens when the most records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The oldest go.
    DeleteOldest,
    /// New ones are not kept.
    StopInserting,
}

/// How often the same target is asked again, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Sends to one target, the first among them: 1 to [`MAX_ATTEMPTS`]; 1 is no retry.
    pub max_attempts: u8,
    /// The wait that the shape begins with: up to [`MAX_RETRY_WAIT`].
    pub delay: Duration,
    /// How the wait grows.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    /// No retry; where a request asks for some, they are half a second apart.
    fn default() -> Self {
        Self {
            max_attempts: 1,
            delay: Duration::from_millis(500),
            backoff: Backoff::Constant,
        }
    }
}

/// How the wait before the n-th retry follows from the delay `d` (data-plane section 16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backoff {
    /// `d`.
    #[default]
    Constant,
    /// `d·n`.
    Linear,
    /// `d·2^(n-1)`.
    Exponential,
}

impl Backoff {
    /// The names in configuration and headers, in the order of the members.
    pub const NAMES: [&str; 3] = ["constant", "linear", "exponential"];
    /// The members in their order.
    pub const ALL: [Self; 3] = [Self::Constant, Self::Linear, Self::Exponential];
}

/// How long parts of a call to a provider may take; `None`: as long as they need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Making a connection, TLS included; `None`: what holds for all connections.
    pub connect: Option<Duration>,
    /// Until the answer begins, connecting included.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub idle: Option<Duration>,
}

/// What a target fails by, so that the next one of its chain is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackOn {
    /// No connection, no secure one, or one that broke before the answer.
    pub connect: bool,
    /// Too slow to connect or to begin, or status 408.
    pub timeout: bool,
    /// Status 500 and above.
    pub server_error: bool,
    /// Status 429, also one that waiting does not cure.
    pub rate_limit: bool,
}

impl FallbackOn {
    /// The names in the configuration, in the order of the members.
    pub const NAMES: [&str; 4] = ["connect", "timeout", "5xx", "429"];

    /// The conditions of these names; `Err`: the one that is none.
    ///
    /// # Errors
    /// The first name that is not of [`FallbackOn::NAMES`].
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut on = [false; 4];
        for name in names {
            let known = Self::NAMES.iter().position(|known| *known == name);
            on[known.ok_or(name)?] = true;
        }
        let [connect, timeout, server_error, rate_limit] = on;
        Ok(Self {
            connect,
            timeout,
            server_error,
            rate_limit,
        })
    }
}

impl Default for FallbackOn {
    /// On all of them.
    fn default() -> Self {
        Self {
            connect: true,
            timeout: true,
            server_error: true,
            rate_limit: true,
        }
    }
}

/// Who is asked when a target fails. Chains are not followed on: what stands here is all there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name of the target whose requests it is for.
    pub from: Box<str>,
    /// The next ones, in order: 1 to [`MAX_CHAIN`], each once, never `from` itself.
    pub to: Vec<Arc<Target>>,
    /// What counts as a failure.
    pub on: FallbackOn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_named() {
        assert_eq!(
            FallbackOn::named(FallbackOn::NAMES),
            Ok(FallbackOn::default())
        );
        let limits = FallbackOn::named(["429"]).unwrap();
        assert!(limits.rate_limit && !limits.connect && !limits.timeout && !limits.server_error);
        assert_eq!(FallbackOn::named(["429", "500"]), Err("500"));
    }
}
