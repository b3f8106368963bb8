//! `isango target`: targets of gateways of a running server, by its management API.

use std::io::Write;
use std::path::PathBuf;

use isango_types::health::TargetView;
use serde_json::Value;

use crate::cli::remote::Remote;
use crate::cli::settings::List;
use crate::cli::targets;

/// Where targets stand.
const TARGETS: List = List {
    key: "targets",
    name: "name",
    one: "target",
};

/// List, set and remove targets of a gateway of a running server, and tell how they are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Targets are those of `isango/gateways/{id}/settings` of the management API, in the spelling of
[[gateways.targets]]. Those of a gateway of the configuration file stand there.

Example: isango target status")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List those of a gateway: name, provider, weight
    #[command(after_help = "Example: isango target list support --json")]
    List {
        /// Of this gateway
        gateway: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Set one, in the place of the one of its name
    #[command(after_help = "Example: isango target set support target.json")]
    Set {
        /// Of this gateway
        gateway: String,

        /// File of the target, a JSON object; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
    /// Remove one
    #[command(after_help = "Example: isango target remove support azure-openai-sa")]
    Remove {
        /// Of this gateway
        gateway: String,

        /// Its name
        name: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Tell how every target of the account is, those of the configuration file among them
    #[command(after_help = "\
The table is that of `isango targets`.

Example: isango target status --json | jq -c 'select(.circuit != \"closed\")'")]
    Status {
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List { gateway, remote } => {
            let (_, targets) = TARGETS.read(remote, gateway)?;
            remote.print(&targets, &["name", "provider", "weight"], out)?;
            Ok(0)
        }
        Command::Set {
            gateway,
            file,
            remote,
        } => {
            let (name, told) = TARGETS.set(remote, gateway, file)?;
            remote.done(&told, &format!("{name} is set"), out)
        }
        Command::Remove {
            gateway,
            name,
            remote,
        } => {
            let told = TARGETS.remove(remote, gateway, name)?;
            remote.done(&told, &format!("{name} was removed"), out)
        }
        Command::Status { remote } => {
            let all = remote.all("/isango/targets")?;
            let views: Vec<TargetView> = serde_json::from_value(Value::Array(all))?;
            targets::show(&views, remote.json, out)
        }
    }
}
