//! One integration binary: a whole server in process, real sockets, scripted providers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test this way too"
)]

mod cli;
mod config;
mod crash;
mod credentials;
mod errors;
mod harness;
mod include_usage;
mod paths;
mod records;
mod reload;
mod secrets;
mod swap;
mod tokens;
mod usage;
