//! How a simulator behaves; what its owner sets once.

use std::fmt;
use std::time::Duration;

/// How a simulator behaves where a request does not say.
#[derive(Clone)]
pub struct Options {
    /// Tokens per second of a stream; 0 is as fast as it goes. Default 50.
    pub pace: f64,
    /// From the head of a streamed answer to its first token. Default 300 ms.
    pub ttft: Duration,
    /// Before the head of every answer. Default 0.
    pub latency: Duration,
    /// Changes every made-up word and id. Default 0.
    pub seed: u64,
    /// Keys that are accepted; empty (the default) accepts any that is not empty.
    pub keys: Vec<String>,
    /// Whether `created` is the present time instead of 2026-01-01. Default false.
    pub real_time: bool,
    /// Connections served at a time; others wait to be accepted. Default 16 384.
    pub max_connections: usize,
    /// Largest request body that is read into memory; larger ones get 413. Uploads that are only
    /// counted have no limit. Default 64 MiB.
    pub max_body_bytes: usize,
    /// How long running answers may take once a shutdown began. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pace: 50.0,
            ttft: Duration::from_millis(300),
            latency: Duration::ZERO,
            seed: 0,
            keys: Vec::new(),
            real_time: false,
            max_connections: 16_384,
            max_body_bytes: 64 * 1_024 * 1_024,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pace", &self.pace)
            .field("ttft", &self.ttft)
            .field("latency", &self.latency)
            .field("seed", &self.seed)
            .field("keys", &self.keys.len())
            .field("real_time", &self.real_time)
            .field("max_connections", &self.max_connections)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish()
    }
}
