//! `isango check`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use isango_backends::config::FileConfig;
use isango_store::vouched::Vouched;
use isango_types::Gateway;
use isango_types::gateway::DEFAULT_GATEWAY;
use serde::Serialize;

use crate::cli::{ConfigArgs, WRONG_USAGE, write_json};
use crate::config::{Config, Problem, Sources};
use crate::stored::Stored;

/// Check a configuration without using it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
References (env:NAME, ${NAME}, file:/path, command:LINE) must lead somewhere, as when serving.
Exit codes: 0 it can be used, 2 it cannot.

Example: isango check isango.toml")]
pub(super) struct Args {
    /// Configuration file [default: isango.toml, if it is there]
    #[arg(env = "ISANGO_CONFIG", hide_env_values = true)]
    file: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'c> {
    ok: bool,
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    warnings: &'c [String],
    problems: &'c [Problem],
}

#[derive(Serialize)]
struct Counts {
    gateways: usize,
    targets: usize,
    providers: usize,
    own_providers: usize,
    tokens: usize,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let file = ConfigArgs {
        config: args.file.clone(),
    }
    .file();
    let mut loaded = Config::load(&Sources::new(file.clone(), Vec::new()));
    if let Ok(config) = &mut loaded {
        let store = Arc::new(FileConfig::in_folder(&config.data_dir));
        let stored = Stored::read(&Vouched::new(store, config.keyring.clone()))?;
        let (_snapshot, doubts) = stored.compile(config, None);
        config.warnings.extend(doubts);
    }
    let counts = loaded.as_ref().ok().map(count);
    let summary = Summary {
        ok: loaded.is_ok(),
        file,
        counts,
        warnings: loaded
            .as_ref()
            .map(|config| &*config.warnings)
            .unwrap_or_default(),
        problems: loaded
            .as_ref()
            .err()
            .map(|error| &*error.problems)
            .unwrap_or_default(),
    };
    let code = if summary.ok { 0 } else { WRONG_USAGE };
    if args.json {
        write_json(out, &summary)?;
        return Ok(code);
    }
    let Some(counts) = &summary.counts else {
        return loaded.map(|_| code).map_err(Into::into);
    };
    let name = summary
        .file
        .as_ref()
        .map_or("no file, all defaults".into(), |f| f.display().to_string());
    writeln!(
        out,
        "ok: {name}: {} gateways with {} targets, {} providers ({} of your own), {} tokens",
        counts.gateways, counts.targets, counts.providers, counts.own_providers, counts.tokens
    )?;
    for warning in summary.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(code)
}

fn count(config: &Config) -> Counts {
    let is_own = |slug: &str| slug.starts_with("custom-");
    let is_default = |one: &Gateway| *one.id == *DEFAULT_GATEWAY;
    // What serves `default` is there even if nobody configured it.
    let implied = usize::from(!config.gateways.iter().any(is_default));
    Counts {
        gateways: config.gateways.len() + implied,
        targets: config
            .gateways
            .iter()
            .map(|gateway| gateway.targets.len())
            .sum(),
        providers: config.providers.len(),
        own_providers: config
            .providers
            .iter()
            .filter(|one| is_own(&one.slug))
            .count(),
        tokens: config.tokens.len(),
    }
}
