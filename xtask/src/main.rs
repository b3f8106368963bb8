//! All automation of this repository: `cargo xtask help` lists it.
//!
//! Nothing here is linked with the product; its binary is built and run like a user's. Threads and
//! blocking sockets are enough, and keep the bench's own cost small and steady.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a terminal program; it has no async runtime whose clock a test could pause"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod arrows;
mod bench;
mod ci;
mod clients;
mod crash;
mod gateway;
mod instructions;
mod schema;
mod shell;
mod starved;
mod store;
mod web;

/// Builds, checks, tests and measures Isango.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must hold before a change lands: format, lints, docs, arrows, all tests,
    /// instruction limits, dependencies.
    Ci {
        /// Leaves out steps by name; may repeat.
        #[arg(long, value_name = "STEP")]
        skip: Vec<String>,
    },
    /// All tests: Rust, the official clients against a running gateway, and the dashboard.
    Test,
    /// Which crate may use which.
    Arrows,
    /// The official Python and JavaScript clients against a running gateway and simulator.
    Clients,
    /// The dashboard: its types, tests and size, and its pages in Chromium.
    Web,
    /// `kill -9` under load, again and again: nothing is lost, nothing is there twice.
    Crash(crash::Options),
    /// Millions of records, and how soon questions about them are answered.
    Store(store::Options),
    /// Load on loopback: direct, nginx and Isango in turns.
    Bench(bench::Options),
    /// User-space instructions per request and per streamed event, against their limits.
    Instructions {
        /// Writes the figures to this file as JSON, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Ci { skip } => ci::run(&skip),
        Task::Test => ci::test(),
        Task::Arrows => arrows::run(),
        Task::Clients => clients::run(),
        Task::Web => web::run(),
        Task::Crash(options) => crash::run(&options),
        Task::Store(options) => store::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Instructions { json } => instructions::run(json.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
