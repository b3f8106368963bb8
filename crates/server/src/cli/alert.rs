//! `isango alert`: alerts of a running server, by its management API.

use std::io::Write;

use http::Method;
use serde_json::{Value, json};

use crate::cli::logs::clean;
use crate::cli::remote::{Remote, gateway, name};
use crate::cli::{FAILED, WrongUsage, write_json};
use crate::config::value::parse_wait;

/// Characters of what a webhook said that are printed.
const WIDEST: usize = 200;

/// List, read, test and mute alerts of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Alerts stand in the configuration file, and are changed there. `isango alerts test` tries those of a
file without a server.

Example: isango alert list --json | jq -c 'select(.firing)'")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them: gateway, name, whether it fires, how often it was told, what waits, until when it is
    /// quiet, why the last try failed
    #[command(after_help = "Example: isango alert list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Read one, as JSON
    #[command(after_help = "Example: isango alert get support monthly-spend-80 | jq .firing")]
    Get {
        /// Of this gateway
        gateway: String,

        /// Its name
        alert: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Send a test message, and tell what its webhook said
    #[command(after_help = "\
Exit codes: 0 it was taken, 1 it was not.

Example: isango alert test support monthly-spend-80")]
    Test {
        /// Of this gateway
        gateway: String,

        /// Its name
        alert: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Keep one quiet for a while
    #[command(after_help = "Example: isango alert mute support monthly-spend-80 --for 4h")]
    Mute {
        /// Of this gateway
        gateway: String,

        /// Its name
        alert: String,

        /// For so long: a minute to 90 days
        #[arg(long = "for", value_name = "TIME")]
        time: String,

        #[command(flatten)]
        remote: Remote,
    },
    /// Let one speak again
    #[command(after_help = "Example: isango alert unmute support monthly-spend-80")]
    Unmute {
        /// Of this gateway
        gateway: String,

        /// Its name
        alert: String,

        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List { remote } => {
            let all = remote.all("/isango/alerts")?;
            const SHOWN: [&str; 7] = [
                "gateway",
                "id",
                "firing",
                "fired",
                "waiting",
                "muted_until",
                "failure",
            ];
            remote.print(&all, &SHOWN, out)?;
            Ok(0)
        }
        Command::Get {
            gateway,
            alert,
            remote,
        } => {
            let told = remote.ask(Method::GET, &path(gateway, alert)?, None)?;
            write_json(out, &told)?;
            Ok(0)
        }
        Command::Test {
            gateway,
            alert,
            remote,
        } => {
            let path = format!("{}/test", path(gateway, alert)?);
            let told = remote.ask(Method::POST, &path, None)?;
            remote.done(&told, &tested(&told), out)?;
            Ok(if told["delivered"] == true { 0 } else { FAILED })
        }
        Command::Mute {
            gateway,
            alert,
            time,
            remote,
        } => {
            let wrong = || WrongUsage(format!("`{time}` is no time; write 90s, 4h or 7d"));
            let for_s = parse_wait(time).ok_or_else(wrong)?.as_secs();
            let path = format!("{}/mute", path(gateway, alert)?);
            let told = remote.ask(Method::POST, &path, Some(json!({"for_s": for_s})))?;
            let until = told["muted_until"].as_str().unwrap_or_default();
            remote.done(&told, &format!("{alert} is quiet until {until}"), out)
        }
        Command::Unmute {
            gateway,
            alert,
            remote,
        } => {
            let path = format!("{}/mute", path(gateway, alert)?);
            let told = remote.ask(Method::DELETE, &path, None)?;
            remote.done(&told, &format!("{alert} may speak again"), out)
        }
    }
}

fn path(id: &str, alert: &str) -> anyhow::Result<String> {
    let (id, alert) = (gateway(id)?, name(alert)?);
    Ok(format!("/isango/gateways/{id}/alerts/{alert}"))
}

/// What became of a test message, in words.
fn tested(told: &Value) -> String {
    let verdict = if told["delivered"] == true {
        "delivered"
    } else {
        "failed"
    };
    let status = told["status"].as_u64();
    let status = status.map_or_else(String::new, |status| format!(" {status}"));
    let said = clean(told["said"].as_str().unwrap_or_default(), WIDEST);
    format!("{verdict}{status}  {said}").trim_end().to_owned()
}
