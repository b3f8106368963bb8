//! `isango gateway`: gateways of a running server, by its management API.

use std::io::Write;
use std::path::PathBuf;

use http::Method;
use serde_json::Value;

use crate::cli::remote::{Remote, gateway, object};
use crate::cli::write_json;

/// List, read, make, change and remove gateways of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Those of the configuration file are listed and read, and changed there alone.

Example: isango gateway list --json | jq -r .id")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them: id, who changes it, when it was changed
    #[command(after_help = "Example: isango gateway list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Read one, with all fields, as JSON
    #[command(after_help = "Example: isango gateway get support | jq .cache_ttl")]
    Get {
        /// Its id
        id: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Make one of a JSON object of fields
    #[command(after_help = "Example: isango gateway create support.json")]
    Create {
        /// File of the object, with `id`; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
    /// Change the fields of one that a JSON object names
    #[command(after_help = "Example: isango gateway update support change.json")]
    Update {
        /// Its id
        id: String,

        /// File of the object; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
    /// Remove one, with the provider keys that are stored for it
    #[command(after_help = "Example: isango gateway delete support")]
    Delete {
        /// Its id
        id: String,

        #[command(flatten)]
        remote: Remote,
    },
}

const GATEWAYS: &str = "/ai-gateway/gateways";

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List { remote } => {
            let all = remote.all(GATEWAYS)?;
            remote.print(&all, &["id", "managed_by", "modified_at"], out)?;
            Ok(0)
        }
        Command::Get { id, remote } => {
            let path = format!("{GATEWAYS}/{}", gateway(id)?);
            write_json(out, &remote.ask(Method::GET, &path, None)?)?;
            Ok(0)
        }
        Command::Create { file, remote } => {
            let body = Value::Object(object(file)?);
            let told = remote.ask(Method::POST, GATEWAYS, Some(body))?;
            let words = format!("{} was made", told["id"].as_str().unwrap_or_default());
            remote.done(&told, &words, out)
        }
        Command::Update { id, file, remote } => {
            let path = format!("{GATEWAYS}/{}", gateway(id)?);
            let body = Value::Object(object(file)?);
            let told = remote.ask(Method::PUT, &path, Some(body))?;
            remote.done(&told, &format!("{id} was changed"), out)
        }
        Command::Delete { id, remote } => {
            let path = format!("{GATEWAYS}/{}", gateway(id)?);
            let told = remote.ask(Method::DELETE, &path, None)?;
            remote.done(&told, &format!("{id} was removed"), out)
        }
    }
}
