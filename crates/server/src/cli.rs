//! The command line: what there is to say, and how it is answered.
//!
//! Everything that is asked for goes to standard output, through the writer that each command is
//! handed; words about the work go to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage
//! or configuration.

mod admin;
mod alert;
mod alerts;
mod audit;
mod cache;
mod check;
mod configuration;
mod demo;
mod gateway;
mod key;
mod limit;
mod logpush;
mod logs;
mod prices;
mod remote;
mod serve;
mod settings;
pub(crate) mod setup;
mod simulate;
mod target;
mod targets;
mod token;
mod traffic;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Flag, Sources};

/// Exit code of a command that failed.
const FAILED: u8 = 1;

/// Exit code of wrong usage, and of a configuration that cannot be used.
const WRONG_USAGE: u8 = 2;

/// The file that is taken where none is named.
const DEFAULT_FILE: &str = "isango.toml";

/// A self-hosted AI gateway: logs, prices and forwards requests to LLM providers.
#[derive(Debug, Parser)]
#[command(name = "isango", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

Example: isango demo";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Simulate(simulate::Args),
    Check(check::Args),
    Logs(logs::Args),
    Prices(prices::Args),
    Audit(audit::Args),
    Logpush(logpush::Args),
    Cache(cache::Args),
    Alerts(alerts::Args),
    Alert(alert::Args),
    Targets(targets::Args),
    Target(target::Args),
    Gateway(gateway::Args),
    Limit(limit::Args),
    Token(token::Args),
    Key(key::Args),
    SetupLink(setup::Args),
    Config(configuration::Args),
}

/// The arguments were understood, but make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    ExitCode::from(run(std::env::args_os(), &mut out))
}

/// Runs the command that `arguments` (the program's name first) ask for; returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(asked) => {
            // Help and version are printed to standard output, mistakes to standard error.
            asked.print().ok();
            return u8::try_from(asked.exit_code()).unwrap_or(WRONG_USAGE);
        }
    };
    let done = dispatch(cli.command, out).and_then(|code| Ok(out.flush().map(|()| code)?));
    match done {
        Ok(code) => code,
        Err(error) => explain(&error),
    }
}

fn dispatch(command: Command, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => serve::run(&args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Simulate(args) => simulate::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Logs(args) => logs::run(&args, out),
        Command::Prices(args) => prices::run(&args, out),
        Command::Audit(args) => audit::run(&args, out),
        Command::Logpush(args) => logpush::run(&args, out),
        Command::Cache(args) => cache::run(&args, out),
        Command::Alerts(args) => alerts::run(&args, out),
        Command::Alert(args) => alert::run(&args, out),
        Command::Targets(args) => targets::run(&args, out),
        Command::Target(args) => target::run(&args, out),
        Command::Gateway(args) => gateway::run(&args, out),
        Command::Limit(args) => limit::run(&args, out),
        Command::Token(args) => token::run(&args, out),
        Command::Key(args) => key::run(&args, out),
        Command::SetupLink(args) => setup::run(&args, out),
        Command::Config(args) => configuration::run(&args, out),
    }
}

/// Tells on standard error what went wrong; returns the exit code. A reader that has gone (`| head`)
/// is no failure.
fn explain(error: &anyhow::Error) -> u8 {
    let is_io = |cause: &&(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(|cause| is_io(&cause)) {
        return 0;
    }
    let is_config = error.is::<ConfigError>();
    let text = if is_config {
        format!("{error}")
    } else {
        format!("error: {error:#}")
    };
    // Nobody is left to tell when standard error is closed.
    writeln!(io::stderr().lock(), "{text}").ok();
    if is_config || error.is::<WrongUsage>() {
        WRONG_USAGE
    } else {
        FAILED
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, clap::Args)]
struct ConfigArgs {
    /// Configuration file [default: isango.toml, if it is there]
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "ISANGO_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that was named, or the one in the working directory if it is there.
    fn file(&self) -> Option<PathBuf> {
        let there = || {
            Path::new(DEFAULT_FILE)
                .exists()
                .then(|| PathBuf::from(DEFAULT_FILE))
        };
        self.config
            .clone()
            .filter(|file| !file.as_os_str().is_empty())
            .or_else(there)
    }
}

/// Where the record store is.
#[derive(Clone, Debug, clap::Args)]
struct StoreArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Folder of the record store [default: that of the configuration]
    #[arg(long, value_name = "FOLDER", global = true)]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        Config::data_dir(&self.sources())
    }

    fn sources(&self) -> Sources {
        let flags = self
            .data_dir
            .iter()
            .map(|folder| path_flag("--data-dir", "data_dir", folder));
        Sources::new(self.config.file(), flags.collect())
    }
}

fn path_flag(name: &'static str, key: &'static str, value: &Path) -> Flag {
    Flag {
        name,
        key,
        value: value.to_string_lossy().into_owned(),
    }
}

/// Writes one line of JSON.
fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// A runtime for commands that serve.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Waits until the process is asked to stop: Ctrl-C or SIGTERM. Both are heeded from the call on,
/// not from the first poll.
fn stop_signal() -> io::Result<impl Future<Output = io::Result<()>>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c())
}
