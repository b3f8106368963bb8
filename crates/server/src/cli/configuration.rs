//! `isango config`: what the configuration may hold; and the stored gateways of a running server as
//! one document.

use std::io::Write;
use std::path::PathBuf;

use http::Method;
use serde::Serialize;
use serde_json::Value;

use crate::cli::remote::{Remote, object};
use crate::cli::write_json;
use crate::config::keys::{self, Unset};
use crate::config::markdown;

/// Describe the configuration; export, plan and apply stored gateways
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango config reference | less")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print every key: type, default, environment variable, meaning, example
    #[command(after_help = "Example: isango config reference --json | jq '.[].key'")]
    Reference {
        /// Print a JSON list instead of Markdown
        #[arg(long)]
        json: bool,
    },
    /// Print all stored gateways of a running server as one JSON document
    #[command(after_help = "Example: isango config export > gateways.json")]
    Export {
        #[command(flatten)]
        remote: Remote,
    },
    /// Tell what such a document would change
    #[command(after_help = "Exit codes: 0 told.

Example: isango config plan gateways.json")]
    Plan {
        /// File of the document; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
    /// Make the stored gateways as such a document says, in one commit
    #[command(after_help = "Example: isango config apply gateways.json")]
    Apply {
        /// File of the document; `-` is standard input
        file: PathBuf,

        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Serialize)]
struct Described {
    key: &'static str,
    kind: String,
    required: bool,
    default: Option<&'static str>,
    env: Option<String>,
    meaning: &'static str,
    example: &'static str,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::Reference { json } => reference(*json, out),
        Command::Export { remote } => {
            write_json(out, &remote.ask(Method::GET, "/isango/config", None)?)?;
            Ok(0)
        }
        Command::Plan { file, remote } => {
            let document = Value::Object(object(file)?);
            let plan = remote.ask(Method::POST, "/isango/config/plan", Some(document))?;
            told(&plan, remote, out)
        }
        Command::Apply { file, remote } => {
            let document = Value::Object(object(file)?);
            let plan = remote.ask(Method::POST, "/isango/config/apply", Some(document))?;
            told(&plan, remote, out)
        }
    }
}

/// Prints what is changed: the plan, or a line for each gateway.
fn told(plan: &Value, remote: &Remote, out: &mut dyn Write) -> anyhow::Result<u8> {
    if remote.json {
        write_json(out, plan)?;
        return Ok(0);
    }
    let changes = plan["changes"].as_array();
    for change in changes.into_iter().flatten() {
        let what = if change["before"].is_null() {
            "made"
        } else if change["after"].is_null() {
            "removed"
        } else {
            "changed"
        };
        writeln!(out, "{what}  {}", change["id"].as_str().unwrap_or_default())?;
    }
    if changes.is_none_or(Vec::is_empty) {
        writeln!(out, "nothing is changed")?;
    }
    Ok(0)
}

fn reference(json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    if !json {
        out.write_all(markdown().as_bytes())?;
        return Ok(0);
    }
    let described = keys::all().map(|key| Described {
        key: key.path,
        kind: key.kind.name().into_owned(),
        required: key.default == Unset::Required,
        default: match key.default {
            Unset::Is(value) => Some(value),
            Unset::Required | Unset::Absent | Unset::From(_) => None,
        },
        env: key.env(),
        meaning: key.meaning,
        example: key.example,
    });
    write_json(out, &described.collect::<Vec<_>>())?;
    Ok(0)
}
