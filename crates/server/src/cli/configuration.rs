//! `isango config`.

use std::io::Write;

use serde::Serialize;

use crate::cli::write_json;
use crate::config::keys::{self, Unset};
use crate::config::markdown;

/// Describe the configuration
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
    let Command::Reference { json } = args.command;
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
