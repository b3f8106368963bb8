//! `isango setup-link`.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use isango_backends::config::FileConfig;
use isango_store::config::ConfigStore;
use isango_store::links::{self, Purpose};
use isango_store::users;
use isango_store::vouched::Vouched;
use isango_types::{Clock, Secret, Timestamp};
use serde_json::json;

use crate::Server;
use crate::cli::{StoreArgs, write_json};
use crate::config::Config;

/// How long the link is good for.
const LASTS: Duration = Duration::from_secs(86_400);

/// Print the link by which somebody becomes the first owner of the dashboard
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It works once, for a day, and only as long as nobody owns the gateway; a newer one takes the place of
an older one. A start on a terminal prints one, too.

Example: isango setup-link")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let sources = args.store.sources();
    let config = Config::parse(&sources.read()?, &sources)?;
    let store = Arc::new(FileConfig::in_folder(&config.data_dir));
    let store = Vouched::new(store, config.keyring.clone());
    let now = Clock::system().now();
    let Some(link) = link(&store, &people_url(&config), now)? else {
        anyhow::bail!("somebody owns this gateway already");
    };
    let link = link.expose();
    match args.json {
        true => write_json(out, &json!({ "link": link, "expires_at": now.plus(LASTS) }))?,
        false => writeln!(out, "{link}")?,
    }
    Ok(0)
}

/// Where people reach the dashboard, by the configuration.
pub(crate) fn people_url(config: &Config) -> String {
    let named = config.dashboard_url.as_deref();
    named.map_or_else(
        || format!("http://{}", config.admin_listen),
        ToOwned::to_owned,
    )
}

/// A new link below `url`; `None`: there is an owner.
///
/// # Errors
/// It cannot be stored.
pub(crate) fn link(
    store: &dyn ConfigStore,
    url: &str,
    now: Timestamp,
) -> anyhow::Result<Option<Secret>> {
    if users::has_owner(&store.read()?) {
        return Ok(None);
    }
    let code = links::create(store, Purpose::Setup, (now, now.plus(LASTS)))?;
    Ok(Some(to_link(url, &code)))
}

/// A new link to a server that nobody owns, where standard output is a terminal: whoever keeps what
/// is printed elsewhere would keep it.
///
/// # Errors
/// It cannot be stored.
pub(super) fn for_terminal(server: &Server) -> anyhow::Result<Option<Secret>> {
    match io::stdout().is_terminal() {
        true => server.setup_link(),
        false => Ok(None),
    }
}

/// Where a code leads.
pub(crate) fn to_link(url: &str, code: &Secret) -> Secret {
    let url = url.trim_end_matches('/');
    Secret::new(format!("{url}/#code={}", code.expose()))
}
