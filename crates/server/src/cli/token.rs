//! `isango token`.

use std::fmt::Write as _;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isango_types::is_account;
use isango_types::key::TOKEN_PREFIX;
use serde::Serialize;

use crate::cli::{WrongUsage, write_json};
use crate::config::token_digest;

/// Make tokens that open gateways
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango token create support-app")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a new token, and the lines for the configuration that let it in
    #[command(after_help = "\
The token is shown once and kept nowhere: the configuration holds its digest only.

Example: isango token create support-app --gateway support")]
    Create {
        /// Name of the token in records
        name: String,

        /// Account whose gateways it opens
        #[arg(long, default_value = "local")]
        account: String,

        /// Id of a gateway that it opens; can be repeated [default: all of the account]
        #[arg(long = "gateway", value_name = "ID")]
        gateways: Vec<String>,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Created<'a> {
    token: &'a str,
    name: &'a str,
    account: &'a str,
    gateways: &'a [String],
    digest: &'a str,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Command::Create {
        name,
        account,
        gateways,
        json,
    } = &args.command;
    for (what, text) in [("name", name), ("account", account)] {
        if !is_account(text) {
            let rule = "1 to 64 letters, digits, `_` or `-`, no `_` or `-` first";
            return Err(WrongUsage(format!("`{text}` is no {what}: {rule}")).into());
        }
    }
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_unspecified| anyhow::anyhow!("the system has no random numbers"))?;
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let mut digest = String::from("sha256:");
    for byte in token_digest(&token) {
        write!(digest, "{byte:02x}")?;
    }
    if *json {
        let (token, digest) = (token.as_str(), digest.as_str());
        write_json(
            out,
            &Created {
                token,
                name,
                account,
                gateways,
                digest,
            },
        )?;
        return Ok(0);
    }
    writeln!(
        out,
        "token {token}\n\n[[tokens]]\nname = \"{name}\"\naccount = \"{account}\""
    )?;
    if !gateways.is_empty() {
        writeln!(out, "gateways = {gateways:?}")?;
    }
    writeln!(out, "digest = \"{digest}\"")?;
    Ok(0)
}
