//! `isango key`: credentials for providers, stored sealed.

use std::io::{Read as _, Write};
use std::sync::Arc;

use anyhow::Context as _;
use isango_backends::config::FileConfig;
use isango_store::config::ConfigStore as _;
use isango_store::credentials::{
    self, DEFAULT_PERIOD_S, MAX_SECRET_BYTES, New, Origin, Place, Stored,
};
use isango_store::seal::Keyring;
use isango_store::vouched::Vouched;
use isango_types::credential::DEFAULT_ALIAS;
use isango_types::gateway::DEFAULT_GATEWAY;
use isango_types::provider::PathRule;
use isango_types::{Clock, Provider, Secret};
use serde_json::json;

use crate::cli::{StoreArgs, WrongUsage, write_json};
use crate::config::{Config, Sources};

/// Store, list and remove credentials for providers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Credentials are sealed with `secrets.key` of the configuration (ISANGO_SECRETS__KEY) and stored
beside the records; a running gateway takes up changes within a second.

Example: isango key set openai --gateway support --from command:'vault kv get -field=key kv/openai'")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Slug of the provider
    provider: String,

    /// What cf-aig-byok-alias calls it; `default` is used where a request names none
    #[arg(long, default_value = DEFAULT_ALIAS)]
    alias: String,

    /// Id of the gateway
    #[arg(long, value_name = "ID", default_value = DEFAULT_GATEWAY)]
    gateway: String,

    /// Account of the gateway
    #[arg(long, default_value = "local")]
    account: String,

    /// Take the gateway as it is, even if the configuration has none of that name
    #[arg(long)]
    unchecked: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Store a credential, in the place of an older one
    #[command(after_help = "\
The secret is read from standard input, or from where --from points; it is never an argument. It is
a key, or JSON: a service account of Google, keys of AWS, or an identity of Microsoft Entra.

Example: isango key set openai --gateway support < key.txt")]
    Set {
        #[command(flatten)]
        which: Which,

        /// Where the secret is, as in the configuration (env:NAME, file:…, command:…) [default:
        /// standard input]
        #[arg(long, value_name = "REFERENCE")]
        from: Option<String>,

        /// Requests that may use it in each period [default: as it was, or any number]
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        rate_limit: Option<u32>,

        /// Seconds that --rate-limit counts in
        #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_PERIOD_S,
              value_parser = clap::value_parser!(u32).range(1..), requires = "rate_limit")]
        rate_period: u32,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List credentials, without their secrets
    #[command(after_help = "Example: isango key list --json")]
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Seal everything anew with secrets.key
    #[command(after_help = "\
For a new key: put it into secrets.key and the old one into secrets.previous_key, let the running
gateway know both (SIGHUP, or a restart where they stand in its environment), run this, and take the
old one out.

Example: isango key rotate")]
    Rotate {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove a credential
    #[command(after_help = "Example: isango key remove openai --gateway support")]
    Remove {
        #[command(flatten)]
        which: Which,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let sources = args.store.sources();
    match &args.command {
        Command::Set {
            which,
            from,
            rate_limit,
            rate_period,
            json,
        } => {
            let (store, keyring) = opened(&sources)?;
            let place = which.place(&sources)?;
            which.check_gateway(&sources)?;
            let rate = rate_limit.map(|limit| (limit, *rate_period));
            let secret = read(&sources, from.as_deref())?;
            let new = checked(&place, secret, rate)?;
            let (id, preview) = (place.id(), new.preview.clone());
            let now = Clock::system().now();
            let replaced = credentials::set(&store, &keyring, place, new, now).map_err(told)?;
            if *json {
                let told = json!({ "id": id, "preview": preview, "replaced": replaced });
                write_json(out, &told)?;
            } else {
                let done = if replaced { "replaced" } else { "stored" };
                writeln!(out, "{done} {id} ({preview})")?;
            }
        }
        Command::List { json } => list(&sources, *json, out)?,
        Command::Rotate { json } => {
            let (store, keyring) = opened(&sources)?;
            let keyring = Arc::new(keyring);
            let store = Vouched::new(Arc::new(store), Some(Arc::clone(&keyring)));
            let sealed = credentials::reseal(&store, &keyring).map_err(told)?;
            let key = keyring.current.id();
            if *json {
                write_json(out, &json!({ "sealed": sealed, "key": key }))?;
            } else {
                writeln!(out, "{sealed} sealed anew; all are sealed with key {key}")?;
            }
        }
        Command::Remove { which, json } => {
            let store = FileConfig::in_folder(&Config::data_dir(&sources)?);
            let place = which.place(&sources)?;
            credentials::remove(&store, &place).map_err(told)?;
            if *json {
                write_json(out, &json!({ "id": place.id(), "removed": true }))?;
            } else {
                writeln!(out, "removed {}", place.id())?;
            }
        }
    }
    Ok(0)
}

fn opened(sources: &Sources) -> anyhow::Result<(FileConfig, Keyring)> {
    let (data_dir, keyring) = Config::sealing(sources)?;
    let none = "there is no `secrets.key` to seal with: set ISANGO_SECRETS__KEY, or \
                `secrets.key` in the configuration; `openssl rand -base64 32` makes one";
    let keyring = keyring.ok_or_else(|| WrongUsage(none.into()))?;
    Ok((FileConfig::in_folder(&data_dir), keyring))
}

impl Which {
    /// Checks that there is such a gateway: a secret for none is found by no request.
    fn check_gateway(&self, sources: &Sources) -> anyhow::Result<()> {
        let unknown = match self.unchecked {
            true => None,
            false => Config::unknown_gateway(sources, &self.account, &self.gateway)?,
        };
        unknown.map_or(Ok(()), |wrong| Err(WrongUsage(wrong).into()))
    }

    /// With the provider's slug in its first spelling.
    fn place(&self, sources: &Sources) -> anyhow::Result<Place> {
        let known = Provider::built_in()?;
        let built_in = known
            .iter()
            .find(|provider| provider.is_called(&self.provider));
        let slug = match built_in {
            Some(provider) => provider.slug.clone(),
            None if Config::provider_names(sources)?
                .iter()
                .any(|own| **own == *self.provider) =>
            {
                self.provider.as_str().into()
            }
            None => {
                let wrong = format!("there is no provider `{}`", self.provider);
                return Err(WrongUsage(wrong).into());
            }
        };
        Ok(Place {
            account: self.account.as_str().into(),
            gateway: self.gateway.as_str().into(),
            provider: slug,
            alias: self.alias.as_str().into(),
        })
    }
}

/// The secret, from where it is.
fn read(sources: &Sources, from: Option<&str>) -> anyhow::Result<Secret> {
    if let Some(reference) = from {
        return sources
            .secret(reference)
            .map_err(|wrong| WrongUsage(wrong).into());
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let most = u64::try_from(MAX_SECRET_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(2);
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.context("no secret on standard input")?;
    Ok(Secret::new(text.trim()))
}

/// Checks that the secret is a credential, and for this provider.
fn checked(place: &Place, secret: Secret, rate: Option<(u32, u32)>) -> anyhow::Result<New> {
    // What an identity leaves in the environment is of the gateway's, not of this process.
    let anything = |name: &str| {
        let is_address = name.ends_with("_ENDPOINT") || name.ends_with("_HOST");
        let told = if is_address {
            "http://127.0.0.1"
        } else {
            "00000000-0000-0000-0000-000000000000"
        };
        Some(told.to_owned())
    };
    let built_in = Provider::built_in()?;
    let provider = built_in.iter().find(|one| one.is_called(&place.provider));
    let path = provider.map_or(PathRule::Append, |provider| provider.path);
    let of = (&*place.provider, path);
    let new = credentials::checked(of, secret, rate, Origin::Operator, &anything);
    new.map_err(told)
}

/// What was asked for wrongly is wrong usage; the rest has failed.
fn told(error: credentials::Error) -> anyhow::Error {
    match error {
        credentials::Error::Wrong(_) => WrongUsage(error.to_string()).into(),
        credentials::Error::Unknown(_)
        | credentials::Error::Damaged(..)
        | credentials::Error::Seal(..)
        | credentials::Error::Refused(..)
        | credentials::Error::Full
        | credentials::Error::Store(_) => error.into(),
    }
}

fn list(sources: &Sources, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (data_dir, keyring) = Config::sealing(sources)?;
    let contents = FileConfig::in_folder(&data_dir).read()?;
    let mut is_empty = true;
    for stored in credentials::all(&contents) {
        is_empty = false;
        let stored = match stored {
            Ok(stored) => stored,
            Err(damaged) if json => {
                write_json(
                    out,
                    &json!({ "state": "damaged", "error": damaged.to_string() }),
                )?;
                continue;
            }
            Err(damaged) => {
                writeln!(out, "{damaged}")?;
                continue;
            }
        };
        let state = state(&stored, keyring.as_ref());
        let id = stored.place.id();
        if json {
            write_json(out, &object(&stored, &state))?;
        } else {
            let rate = stored.rate_limit.zip(stored.rate_limit_period_s);
            let rate = rate.map(|(limit, period)| format!("; {limit} requests per {period} s"));
            let rate = rate.unwrap_or_default();
            writeln!(out, "{id}  {}  {state}{rate}", stored.preview)?;
        }
    }
    if is_empty && !json {
        writeln!(out, "no credentials; `isango key set` stores one")?;
    }
    Ok(())
}

fn state(stored: &Stored, keyring: Option<&Keyring>) -> String {
    match keyring.map(|keyring| stored.open(keyring)) {
        None => "sealed".into(),
        Some(Ok(_opens)) => "opens".into(),
        Some(Err(why)) => format!("does not open: {why}"),
    }
}

fn object(stored: &Stored, state: &str) -> serde_json::Value {
    json!({
        "id": stored.place.id(),
        "account": stored.place.account,
        "gateway": stored.place.gateway,
        "provider": stored.place.provider,
        "alias": stored.place.alias,
        "preview": stored.preview,
        "state": state,
        "rate_limit": stored.rate_limit,
        "rate_limit_period": stored.rate_limit_period_s,
        "created_at": stored.created_at,
        "modified_at": stored.modified_at,
    })
}
