//! When an answer is given to an equal question: settings, their bounds and units.

use std::time::Duration;

/// Shortest time that an answer may be asked to be kept.
pub const MIN_CACHE_TTL: Duration = Duration::from_secs(60);
/// Longest time that an answer is kept.
pub const MAX_CACHE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an answer is kept where only a `cf-aig-cache-key` asks for it.
pub const KEYED_CACHE_TTL: Duration = Duration::from_secs(300);

/// When an answer is given to an equal question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long answers are kept; zero: only where a request asks for it.
    pub ttl: Duration,
    /// What a `cf-aig-cache-key` does.
    pub key_mode: KeyMode,
    /// What every request must name to be answered from the cache, and only from what was kept
    /// under the same name.
    pub scope: Option<ScopeFrom>,
    /// How long an answer that has outlived its time may stand in for a provider that fails; zero:
    /// never.
    pub stale_if_error: Duration,
    /// Whether a changed configuration of the gateway empties its cache.
    pub invalidate_on_update: bool,
    /// How a kept stream is given again.
    pub replay: Replay,
}

/// What a `cf-aig-cache-key` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyMode {
    /// It is one more thing in which questions must agree.
    #[default]
    Scope,
    /// It takes the place of the whole question, as at Cloudflare.
    Replace,
}

/// Where the scope of a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeFrom {
    /// This member of its metadata.
    Metadata(Box<str>),
    /// The gateway token that it carries.
    Token,
}

/// How a kept stream is given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// As fast as the client reads.
    #[default]
    AtOnce,
    /// Each frame as long after the one before as it first came.
    Recorded,
}
