//! What the cache did for an exchange.

use serde::{Deserialize, Serialize};

use crate::id::RecordId;
use crate::usage::Usage;

/// What the cache did. A record has it only where the cache was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    /// Where the answer came from.
    pub status: CacheStatus,
    /// Digest of the question: 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<str>>,
    /// The exchange that paid for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled_by: Option<RecordId>,
    /// How old the answer was, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// The answer was still on its way, and was joined from its first byte.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
    /// What another call to the provider would have taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
    /// Why there was nothing to be found, or why nothing was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// The exchange whose kept question was most like this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<RecordId>,
    /// In what they differed: `body`, `model`, `header accept`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Box<str>>,
    /// What became of the answer: `stored`, or why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Box<str>>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStatus {
    /// From the cache.
    Hit,
    /// From the provider: the cache had none.
    Miss,
    /// From the provider: the cache was not to be asked.
    #[default]
    Bypass,
    /// From the cache although it had outlived its time: the provider failed.
    Stale,
}

impl CacheStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Bypass, Self::Stale];

    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Stale => "stale",
        }
    }

    /// The name in `cf-aig-cache-status`.
    #[must_use]
    pub const fn as_header(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
            Self::Stale => "STALE",
        }
    }

    /// Whether the answer came out of the cache.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        match self {
            Self::Hit | Self::Stale => true,
            Self::Miss | Self::Bypass => false,
        }
    }
}

/// What a kept answer saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Tokens by kind, as the answer tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What they would have cost by the price of this day, in nano-dollars; absent when that is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanousd: Option<u64>,
    /// How much longer it took when it was paid for, in microseconds.
    pub us: u64,
}
