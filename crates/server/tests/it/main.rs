//! One integration binary: a whole server in process, real sockets, scripted providers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test this way too"
)]

mod accuracy;
mod alerts;
mod api;
mod budgets;
mod cache;
mod charges;
mod cli;
mod config;
mod connections;
mod crash;
mod credentials;
mod dashboard;
mod delivery;
mod door;
mod doors;
mod errors;
mod evasions;
mod exports;
mod fallback;
mod harness;
mod heads;
mod health;
mod http2;
mod identity;
mod include_usage;
mod interim;
mod issued;
mod kept;
mod legs;
mod limits;
mod outage;
mod overrun;
mod overspend;
mod paths;
mod placed;
mod records;
mod reload;
mod retry;
mod secrets;
mod shipped;
mod shutdown;
mod stored_keys;
mod stored_tokens;
mod strict;
mod swap;
mod tls;
mod tokens;
mod trailers;
mod universal;
mod untold;
mod usage;
