//! A store with the records of years: what writing them costs, and how soon questions are answered.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::shell;

/// How many records, and where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many records are made; ten million take 14 GB of disk.
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// How many of the same rows are stored in SQLite, too, for comparison.
    #[arg(long, default_value_t = 1_000_000)]
    sqlite: u64,
    /// Keeps the store here; one that has records already is measured as it is. Else a folder that
    /// is removed at the end.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Asks only questions whose names hold this.
    #[arg(long, value_name = "TEXT", requires = "folder")]
    only: Option<String>,
}

/// Fills a store in a release build, and measures it.
///
/// # Errors
/// It cannot be built, or fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = shell::cargo([
        "run",
        "--locked",
        "--release",
        "--package",
        "isango-records",
    ]);
    command.args(["--example", "millions", "--"]);
    command.args([options.records.to_string(), options.sqlite.to_string()]);
    command.args(&options.folder).args(&options.only);
    shell::run(&mut command)
}
