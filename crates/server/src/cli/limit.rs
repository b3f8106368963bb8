//! `isango limit`: limits of a gateway of a running server, by its management API.

use std::io::Write;
use std::path::PathBuf;

use http::Method;
use serde_json::json;

use crate::cli::remote::{Remote, gateway, object};
use crate::cli::settings::List;
use crate::cli::write_json;

/// Where limits stand.
const LIMITS: List = List {
    key: "limits",
    name: "id",
    one: "limit",
};

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
            let (_, limits) = LIMITS.read(remote, gateway)?;
            remote.print(&limits, &["id", "unit", "limit", "window"], out)?;
            Ok(0)
        }
        Command::Set {
            gateway,
            file,
            remote,
        } => {
            let (id, told) = LIMITS.set(remote, gateway, file)?;
            remote.done(&told, &format!("{id} is set"), out)
        }
        Command::Remove {
            gateway,
            id,
            remote,
        } => {
            let told = LIMITS.remove(remote, gateway, id)?;
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
