//! `isango limit`: limits of a gateway of a running server, by its management API.

use std::io::Write;
use std::path::PathBuf;

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::remote::{Remote, gateway, object};
use crate::cli::{WrongUsage, write_json};

/// List, set, remove and try limits of a gateway of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Limits are those of `isango/gateways/{id}/settings` of the management API, in the spelling of
[[gateways.limits]]. Those of a gateway of the configuration file stand there.

Example: isango limit list support")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them: id, unit, limit, window
    #[command(after_help = "Example: isango limit list support --json")]
    List {
        /// Of this gateway
        gateway: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Set one, in the place of the one of its id
    #[command(after_help = "Example: isango limit set support limit.json")]
    Set {
        /// Of this gateway
        gateway: String,

        /// File of the limit, a JSON object; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
    /// Remove one
    #[command(after_help = "Example: isango limit remove support tenant-daily")]
    Remove {
        /// Of this gateway
        gateway: String,

        /// Its id
        id: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Tell what one would have done to the requests of the last week
    #[command(after_help = "Example: isango limit try support limit.json --json | jq .buckets")]
    Try {
        /// Of this gateway
        gateway: String,

        /// File of the limit, a JSON object; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List { gateway, remote } => {
            let (_, limits) = settings(remote, gateway)?;
            remote.print(&limits, &["id", "unit", "limit", "window"], out)?;
            Ok(0)
        }
        Command::Set {
            gateway,
            file,
            remote,
        } => {
            let limit = Value::Object(object(file)?);
            let id = limit["id"].as_str().unwrap_or_default().to_owned();
            let (settings, mut limits) = settings(remote, gateway)?;
            limits.retain(|one| one["id"] != *id);
            limits.push(limit);
            let told = put(remote, gateway, settings, limits)?;
            remote.done(&told, &format!("{id} is set"), out)
        }
        Command::Remove {
            gateway,
            id,
            remote,
        } => {
            let (settings, mut limits) = settings(remote, gateway)?;
            let before = limits.len();
            limits.retain(|one| one["id"] != **id);
            if limits.len() == before {
                return Err(WrongUsage(format!("`{gateway}` has no limit `{id}`")).into());
            }
            let told = put(remote, gateway, settings, limits)?;
            remote.done(&told, &format!("{id} was removed"), out)
        }
        Command::Try {
            gateway: id,
            file,
            remote,
        } => {
            let path = format!("/isango/gateways/{}/backtest", gateway(id)?);
            let body = json!({"limit": object(file)?});
            let told = remote.ask(Method::POST, &path, Some(body))?;
            if remote.json {
                write_json(out, &told)?;
                return Ok(0);
            }
            let count = |name: &str| told[name].as_u64().unwrap_or_default();
            let (requests, under) = (count("requests"), count("under"));
            let exceeded = count("exceeded");
            writeln!(
                out,
                "{exceeded} of {under} requests would not have passed as they did; {requests} were \
                 looked at"
            )?;
            Ok(0)
        }
    }
}

fn path(id: &str) -> anyhow::Result<String> {
    Ok(format!("/isango/gateways/{}/settings", gateway(id)?))
}

/// The settings of a gateway, and the limits among them.
fn settings(remote: &Remote, gateway: &str) -> anyhow::Result<(Map<String, Value>, Vec<Value>)> {
    let told = remote.ask(Method::GET, &path(gateway)?, None)?;
    let Value::Object(mut settings) = told else {
        anyhow::bail!("the answer is no JSON object");
    };
    let limits = match settings.remove("limits") {
        Some(Value::Array(limits)) => limits,
        Some(_) | None => Vec::new(),
    };
    Ok((settings, limits))
}

fn put(
    remote: &Remote,
    gateway: &str,
    mut settings: Map<String, Value>,
    limits: Vec<Value>,
) -> anyhow::Result<Value> {
    settings.insert("limits".into(), Value::Array(limits));
    remote.ask(Method::PUT, &path(gateway)?, Some(Value::Object(settings)))
}
