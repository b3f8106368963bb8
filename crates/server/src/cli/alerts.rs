//! `isango alerts`.

use std::io::Write;

use anyhow::Context as _;
use isango_proxy::upstream::Courier;
use isango_types::alert::Format;
use isango_types::{Alert, Clock, Gateway};
use serde::Serialize;

use crate::alerts::Webhooks;
use crate::cli::{ConfigArgs, FAILED, WrongUsage, runtime, write_json};
use crate::config::{Config, Sources};

/// Try alerts out
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango alerts test monthly-spend-80")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a test message, marked as one, to the webhook of each alert that is named
    #[command(after_help = "\
Reads the configuration and sends at once, once, whether or not a server runs. The exit code is 1
if a webhook did not take its message. The name of a limit's alert is that of the limit and its
percent: monthly-spend-80, or monthly-spend-forecast-100.

Example: isango alerts test monthly-spend-80")]
    Test {
        #[command(flatten)]
        config: ConfigArgs,

        /// Names of alerts [default: all]
        #[arg(value_name = "ALERT")]
        names: Vec<String>,

        /// Only those of this gateway
        #[arg(long, value_name = "ID")]
        gateway: Option<String>,

        /// Only those of this account
        #[arg(long)]
        account: Option<String>,

        /// Print one JSON object for each
        #[arg(long)]
        json: bool,
    },
}

/// What became of one test message. Tells no address: it is a secret.
#[derive(Serialize)]
struct Tested<'a> {
    account: &'a str,
    gateway: &'a str,
    alert: &'a str,
    format: &'static str,
    delivered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What the webhook said, or why there is no answer.
    said: String,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Command::Test {
        config,
        names,
        gateway,
        account,
        json,
    } = &args.command;
    let config = Config::load(&Sources::new(config.file(), Vec::new()))?;
    let is_meant = |given: &Option<String>, id: &str| given.as_ref().is_none_or(|one| one == id);
    let gateways = config
        .gateways
        .iter()
        .filter(|one| is_meant(gateway, &one.id) && is_meant(account, &one.account));
    let all = gateways.flat_map(|one| one.alerts.iter().map(move |alert| (one, &**alert)));
    let chosen: Vec<(&Gateway, &Alert)> = all
        .filter(|(_, alert)| names.is_empty() || names.iter().any(|name| **name == *alert.id))
        .collect();
    for name in names {
        if !chosen.iter().any(|(_, alert)| *alert.id == **name) {
            let message = format!("no alert `{name}` is configured there");
            return Err(WrongUsage(message).into());
        }
    }
    if chosen.is_empty() {
        return Err(WrongUsage("no alert is configured there".into()).into());
    }
    let webhooks = Webhooks {
        courier: Courier::new(&config.upstream_settings()).context("upstream.extra_ca_file")?,
        clock: Clock::system(),
    };
    let mut failed = false;
    let runtime = runtime()?;
    for (gateway, alert) in chosen {
        let tested = runtime.block_on(Box::pin(test(&webhooks, gateway, alert, &config)));
        failed |= !tested.delivered;
        if *json {
            write_json(out, &tested)?;
        } else {
            let verdict = if tested.delivered {
                "delivered"
            } else {
                "failed"
            };
            let Tested {
                gateway,
                alert,
                said,
                ..
            } = &tested;
            let status = tested
                .status
                .map_or_else(String::new, |status| format!(" {status}"));
            let line = format!("{gateway}  {alert}  {verdict}{status}  {said}");
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(if failed { FAILED } else { 0 })
}

async fn test<'a>(
    webhooks: &Webhooks,
    gateway: &'a Gateway,
    alert: &'a Alert,
    config: &Config,
) -> Tested<'a> {
    let dashboard = config.dashboard_url.as_deref();
    let (status, said) = match webhooks.test((gateway, alert), dashboard).await {
        Ok(posted) => (Some(posted.status), posted.shown()),
        Err(why) => (None, why),
    };
    Tested {
        account: &gateway.account,
        gateway: &gateway.id,
        alert: &alert.id,
        format: match alert.webhook.format {
            Format::Slack => "slack",
            Format::Json => "json",
        },
        delivered: status.is_some_and(|status| status.is_success()),
        status: status.map(|status| status.as_u16()),
        said,
    }
}
