//! `isango prices`.

mod rerate;

use std::io::Write;

use isango_types::price::{Charge, Price, format_usd};
use isango_types::{Clock, PriceTable};
use serde_json::{Map, Value, json};

use crate::cli::remote::Remote;
use crate::cli::{ConfigArgs, FAILED, write_json};
use crate::config::{Config, Sources};

/// Look up what tokens cost
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The list of this version of Isango; with --config, with the prices of that file before it.

Example: isango prices show azure-openai gpt-4o")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the providers with prices, or the models of one
    #[command(after_help = "Example: isango prices list anthropic")]
    List {
        /// Slug of a provider
        provider: Option<String>,

        #[command(flatten)]
        source: Source,
    },
    /// Print the price that a request would be charged by
    #[command(after_help = "\
Exit codes: 0 found, 1 there is no price.

Example: isango prices show azure-openai gpt-4o-2024-11-20")]
    Show {
        /// Slug of the provider
        provider: String,

        /// Name of the model, as an answer gives it
        model: String,

        /// At this day or moment instead of now
        #[arg(long, value_name = "TIME")]
        at: Option<String>,

        #[command(flatten)]
        source: Source,
    },
    /// Price records of a running server again, by the prices that it has now
    Rerate(rerate::Args),
    /// List what was priced again since the server started
    #[command(after_help = "Example: isango prices reratings --json")]
    Reratings {
        #[command(flatten)]
        remote: Remote,
    },
    /// End a job that prices records again; what it has changed stays
    #[command(after_help = "Example: isango prices cancel 01a2b3c4-…")]
    Cancel {
        /// Its id
        id: String,

        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, clap::Args)]
struct Source {
    /// Configuration file with prices of your own
    #[arg(short, long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Source {
    fn prices(&self) -> anyhow::Result<PriceTable> {
        if self.config.is_none() {
            return Ok(PriceTable::bundled());
        }
        let file = ConfigArgs {
            config: self.config.clone(),
        }
        .file();
        Ok(PriceTable::clone(
            &Config::load(&Sources::new(file, Vec::new()))?.prices,
        ))
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List {
            provider: None,
            source,
        } => {
            let prices = source.prices()?;
            list(&prices.providers(), source.json, out)
        }
        Command::List {
            provider: Some(provider),
            source,
        } => {
            let prices = source.prices()?;
            list(&prices.models(provider), source.json, out)
        }
        Command::Show {
            provider,
            model,
            at,
            source,
        } => {
            let at = match at {
                None => Clock::system().now(),
                Some(text) => rerate::moment(text)?,
            };
            match source.prices()?.find(provider, model, at) {
                Some(price) => show(&price, source.json, out).map(|()| 0),
                None => missing(&format!("no price for `{model}` of `{provider}` is known")),
            }
        }
        Command::Rerate(args) => rerate::run(args, out),
        Command::Reratings { remote } => rerate::list(remote, out),
        Command::Cancel { id, remote } => rerate::cancel(remote, id, out),
    }
}

fn missing(message: &str) -> anyhow::Result<u8> {
    // The exit code says it too; nobody is left to tell when standard error is closed.
    writeln!(std::io::stderr().lock(), "{message}").ok();
    Ok(FAILED)
}

fn list(names: &[&str], json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    if json {
        write_json(out, &names)?;
    } else {
        names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    }
    Ok(0)
}

/// What a rate is for.
fn unit(charge: Charge) -> &'static str {
    match charge.per() {
        1_000_000 if charge == Charge::Character => "per million characters",
        1_000_000 => "per million tokens",
        1 => "each",
        _ => "per hour",
    }
}

fn show(price: &Price<'_>, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let rates = Charge::ALL
        .into_iter()
        .filter_map(|charge| Some((charge, price.rate(charge)?)));
    // The list's rows without a date hold since the beginning of time.
    let since = price
        .effective_from()
        .filter(|moment| moment.as_micros() > 0);
    let since = since.map(|moment| moment.to_string());
    if json {
        let rates: Map<String, Value> = rates
            .map(|(charge, nanousd)| {
                (
                    charge.as_str().into(),
                    json!({ "usd": format_usd(nanousd), "per": unit(charge) }),
                )
            })
            .collect();
        let (name, source) = (price.to_string(), price.source());
        let about =
            json!({ "price": name, "effective_from": since, "source": source, "rates": rates });
        return write_json(out, &about);
    }
    writeln!(out, "{price}")?;
    for (charge, nanousd) in rates {
        writeln!(
            out,
            "  {:<18} ${} {}",
            charge.as_str(),
            format_usd(nanousd),
            unit(charge)
        )?;
    }
    if let Some(since) = since {
        writeln!(out, "  since {since}")?;
    }
    writeln!(out, "  source: {}", price.source())?;
    Ok(())
}
