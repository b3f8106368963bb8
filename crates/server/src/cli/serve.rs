//! `isango serve`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::{ConfigArgs, path_flag, runtime, setup, stop_signal, write_json};
use crate::config::{Config, ConfigError, Flag, Sources};
use crate::telemetry::{self, Telemetry};
use crate::{Server, reload, start};

/// Reloads that wait to be applied; the thread that reads them waits when there are more.
const RELOADS: usize = 4;

/// Run the gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Works without a configuration: `isango config reference` tells what can be set. The file is
watched, and read again on SIGHUP. SIGTERM and Ctrl-C let running answers end.

Example: isango serve --config isango.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Address of the data plane; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// Address of health and metrics
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,

    /// Folder of the record store
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,

    /// Serve gateways without authentication beyond loopback too
    #[arg(long)]
    allow_unauthenticated: bool,

    /// What to log on standard error: error, warn, info, debug, trace, off, or module=level
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// Print one JSON line when requests are answered
    #[arg(long)]
    json: bool,
}

impl Args {
    fn flags(&self) -> Vec<Flag> {
        let texts = [
            ("--listen", "listen", &self.listen),
            ("--admin-listen", "admin_listen", &self.admin_listen),
            ("--log", "log.level", &self.log),
        ];
        let mut flags: Vec<_> = texts
            .into_iter()
            .filter_map(|(name, key, value)| {
                Some(Flag {
                    name,
                    key,
                    value: value.clone()?,
                })
            })
            .collect();
        flags.extend(
            self.data_dir
                .iter()
                .map(|dir| path_flag("--data-dir", "data_dir", dir)),
        );
        if self.allow_unauthenticated {
            let (name, key) = ("--allow-unauthenticated", "allow_unauthenticated");
            flags.push(Flag {
                name,
                key,
                value: "true".into(),
            });
        }
        flags
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let sources = Sources::new(args.config.file(), args.flags());
    let text = sources.read()?;
    let config = Config::parse(&text, &sources)?;
    let telemetry = telemetry::start(&config.log)?;
    match &sources.file {
        Some(file) => tracing::info!(file = %file.display(), "configuration read"),
        None => tracing::info!("no configuration file: everything has its default"),
    }
    warn(&config);
    runtime()?.block_on(async {
        let server = start(&config)?;
        let (sender, reloads) = mpsc::channel(RELOADS);
        let watch = reload::watch(sources, text, move |config| {
            // The receiver is gone when the server stops: nobody waits for this any more.
            sender.blocking_send(config).ok();
        });
        let watch = watch.context("cannot watch the configuration file")?;
        let current = Current {
            server: &server,
            telemetry: &telemetry,
            config,
        };
        let announce = || announce(&server, args.json, out);
        attend(&current, reloads, &watch, announce).await?;
        // Joins its thread, which may be waiting for the channel that `attend` has dropped.
        tokio::task::block_in_place(|| drop(watch));
        tracing::info!("stopping: running answers may end");
        server.stop().await?;
        tracing::info!("stopped");
        Ok(0)
    })
}

fn announce(server: &Server, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (data, admin) = (server.data_url(), server.admin_url());
    if json {
        write_json(
            out,
            &json!({ "event": "listening", "data": data, "admin": admin }),
        )?;
    } else {
        let link = setup::for_terminal(server)?;
        writeln!(out, "isango {} answers requests", env!("CARGO_PKG_VERSION"))?;
        writeln!(
            out,
            "  data   {data}/v1/local/default/{{provider}}/{{path}}"
        )?;
        writeln!(
            out,
            "  admin  {admin}/metrics  {admin}/healthz  {admin}/readyz"
        )?;
        if let Some(link) = link {
            writeln!(
                out,
                "  nobody owns this gateway yet; who follows this link does:"
            )?;
            writeln!(out, "  {}", link.expose())?;
        }
    }
    Ok(out.flush()?)
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// What runs, and what it was started with: the measure of what needs a restart.
struct Current<'s> {
    server: &'s Server,
    telemetry: &'s Telemetry,
    config: Config,
}

impl Current<'_> {
    fn take_up(&self, new: Result<Config, ConfigError>) {
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the new configuration is refused, the old one stays");
                for problem in &error.problems {
                    tracing::error!("{}", problem.summary());
                }
                return;
            }
        };
        if let Err(error) = self.telemetry.set_level(&new.log.level) {
            tracing::error!(%error, "log.level stays as it was");
        }
        self.server.reload(&new);
        tracing::info!("configuration changed");
        warn(&new);
        for setting in self.config.needs_restart(&new) {
            tracing::warn!("{setting} has changed: this needs a restart to take effect");
        }
    }
}

/// Takes up changes until it is time to stop. Whoever reads the announcement may send signals.
async fn attend(
    current: &Current<'_>,
    mut reloads: mpsc::Receiver<Result<Config, ConfigError>>,
    watch: &reload::Guard,
    announce: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(stop_signal()?);
    #[cfg(unix)]
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    announce()?;
    loop {
        #[cfg(unix)]
        let hung_up = hangup.recv();
        #[cfg(not(unix))]
        let hung_up = std::future::pending::<Option<()>>();
        tokio::select! {
            stopped = &mut stop => return Ok(stopped?),
            Some(new) = reloads.recv() => current.take_up(new),
            _ = hung_up => watch.force(),
        }
    }
}
