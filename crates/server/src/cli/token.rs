//! `isango token`.

mod list;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use isango_backends::config::FileConfig;
use isango_store::tokens::{self, Error};
use isango_store::vouched::Vouched;
use isango_types::key::{Scope, Spend, TOKEN_PREFIX};
use isango_types::limit::Period;
use isango_types::price::{PriceTable, parse_usd};
use isango_types::record::MetadataValue;
use isango_types::{Clock, Provider, Secret, Timestamp, Token, nearest};
use serde_json::json;

use crate::cli::{StoreArgs, WrongUsage, write_json};
use crate::config::value::{parse_moment, parse_wait};
use crate::config::{Config, Sources};

/// Make, list, rotate and revoke tokens that open gateways
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tokens are stored beside the records; a running gateway takes up changes within a second. Those of
the configuration are listed, and changed there.

Example: isango token create support-app --gateway support --expires 90d")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Store a new token, and print it once
    #[command(after_help = "\
Only the digest of the token is kept.

Example: isango token create support-app --gateway support --metadata tenantId=acme
Example: isango token create intern --gateway lab --model gpt-4o-mini --spend 20/month")]
    Create(Box<Create>),
    /// List tokens, those of the configuration among them
    #[command(after_help = "Example: isango token list --json")]
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// End a token at once
    #[command(after_help = "\
Its name stays taken, so that records of two tokens never mix.

Example: isango token revoke support-app")]
    Revoke {
        /// Name of the token
        name: String,

        /// Of this account
        #[arg(long, default_value = "local")]
        account: String,

        /// Free its name as well
        #[arg(long)]
        forget: bool,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Vouch for tokens that were stored before there was a secrets.key
    #[command(after_help = "\
With a `secrets.key`, tokens that nobody has vouched for open nothing. List them first, and seal them
only if all of them are yours.

Example: isango token seal")]
    Seal {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put a new token in the place of an old one, and print it once
    #[command(after_help = "Example: isango token rotate support-app --grace 7d")]
    Rotate {
        /// Name of the token
        name: String,

        /// Of this account
        #[arg(long, default_value = "local")]
        account: String,

        /// How long the old one opens gateways beside the new one; 0s: no longer
        #[arg(long, value_name = "TIME", default_value = "24h")]
        grace: String,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Name of the token in records
    name: String,

    /// Account whose gateways it opens
    #[arg(long, default_value = "local")]
    account: String,

    /// Id of a gateway that it opens; can be repeated [default: all of the account]
    #[arg(long = "gateway", value_name = "ID")]
    gateways: Vec<String>,

    /// Slug of a provider that it is for; can be repeated [default: all]
    #[arg(long = "provider", value_name = "SLUG")]
    providers: Vec<String>,

    /// Model that it is for, a * at the end for any end; can be repeated [default: all]
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,

    /// What it may do: run, read, write or `metadata_read`; can be repeated [default: run]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Metadata of its requests, which wins over what the client claims; can be repeated
    #[arg(long = "metadata", value_name = "KEY=VALUE")]
    metadata: Vec<String>,

    /// When it ends: in so long (90d), or at a date or moment (2027-01-01)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,

    /// US dollars that its requests may cost per minute, hour, day, week or month (50/month)
    #[arg(long, value_name = "LIMIT")]
    spend: Option<String>,

    /// With --spend: also for models whose price is not known, which cost it nothing
    #[arg(long, requires = "spend")]
    allow_unpriced: bool,

    /// Whose calendar the spend limit turns by
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "spend")]
    time_zone: String,

    /// Take gateways, providers and models as they are, even if nothing is known of that name
    #[arg(long)]
    unchecked: bool,

    /// Store nothing: print the lines for the configuration that let it in
    #[arg(long)]
    for_file: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let sources = args.store.sources();
    let now = Clock::system().now();
    match &args.command {
        Command::Create(create) => create.run(&sources, now, out)?,
        Command::List { json } => list::run(&sources, now, *json, out)?,
        Command::Seal { json } => seal(&sources, *json, out)?,
        Command::Revoke {
            name,
            account,
            forget,
            json,
        } => {
            let store = changeable(&sources, (account, name))?;
            let result = match forget {
                true => tokens::forget(&store, (account, name)),
                false => tokens::revoke(&store, (account, name), now),
            };
            result.map_err(told)?;
            if *json {
                write_json(
                    out,
                    &json!({ "name": name, "revoked": true, "forgotten": forget }),
                )?;
            } else {
                writeln!(out, "token `{name}` opens nothing any more")?;
            }
        }
        Command::Rotate {
            name,
            account,
            grace,
            json,
        } => {
            let grace = wait(grace, "a grace")?;
            if grace > tokens::MAX_GRACE {
                return Err(WrongUsage("a grace is at most 90d".into()).into());
            }
            let store = changeable(&sources, (account, name))?;
            let secret = tokens::rotate(&store, (account, name), grace, now).map_err(told)?;
            let until = now.plus(grace);
            if *json {
                let token = secret.expose();
                let told = json!({ "token": token, "name": name, "old_until": until });
                write_json(out, &told)?;
            } else {
                writeln!(out, "token {}", secret.expose())?;
                match grace.is_zero() {
                    true => writeln!(out, "the old one opens nothing any more")?,
                    false => writeln!(out, "the old one is valid until {until}")?,
                }
            }
        }
    }
    Ok(0)
}

impl Create {
    fn run(&self, sources: &Sources, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
        let token = self.token(now)?;
        token
            .check()
            .map_err(|wrong| WrongUsage(wrong.to_string()))?;
        if !self.unchecked {
            self.check_names(sources)?;
        }
        if self.for_file {
            return self.print_lines(&token, out);
        }
        let store = changeable(sources, (&token.account, &token.name))?;
        let secret = tokens::create(&store, token.clone(), now).map_err(told)?;
        self.print(&token, &secret, out)
    }

    /// Checks that there is what it is for: a token for a name that is written wrongly opens nothing,
    /// and nobody is told.
    fn check_names(&self, sources: &Sources) -> anyhow::Result<()> {
        for id in &self.gateways {
            if let Some(wrong) = Config::unknown_gateway(sources, &self.account, id)? {
                return Err(WrongUsage(wrong).into());
            }
        }
        let (built_in, own) = (Provider::built_in()?, Config::provider_names(sources)?);
        for slug in &self.providers {
            let is_known = built_in.iter().any(|one| one.is_called(slug))
                || own.iter().any(|one| **one == **slug);
            if !is_known {
                let slugs = built_in.iter().map(|one| &*one.slug);
                let help = nearest(slug, slugs.chain(own.iter().map(|one| &**one)));
                let help = help.unwrap_or_default();
                let wrong = format!("there is no provider `{slug}`; {help}");
                return Err(WrongUsage(wrong).into());
            }
        }
        self.check_models(&Config::model_names(sources)?)
    }

    /// Checks that no model is written almost as one that is known. What is like nothing that is
    /// known is a model or a deployment of somebody's own, and taken as it is.
    fn check_models(&self, own: &[Box<str>]) -> anyhow::Result<()> {
        if self.models.is_empty() {
            return Ok(());
        }
        let prices = PriceTable::bundled();
        let listed = prices.providers().into_iter();
        let listed = listed.flat_map(|provider| prices.models(provider));
        let known: Vec<&str> = listed.chain(own.iter().map(|one| &**one)).collect();
        for model in &self.models {
            let is_known = match model.strip_suffix('*') {
                Some(beginning) => known.iter().any(|one| one.starts_with(beginning)),
                None => {
                    let now = Clock::system().now();
                    let mut providers = prices.providers().into_iter();
                    known.contains(&model.as_str())
                        || providers.any(|slug| prices.find(slug, model, now).is_some())
                }
            };
            let name = model.trim_end_matches('*');
            if let (false, Some(help)) = (is_known, nearest(name, known.iter().copied())) {
                let wrong = format!(
                    "no model `{model}` is known; {help} (`--unchecked` takes it as it is)"
                );
                return Err(WrongUsage(wrong).into());
            }
        }
        Ok(())
    }

    fn token(&self, now: Timestamp) -> Result<Token, WrongUsage> {
        let texts = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
        let scope = |text: &String| {
            let wrong = || {
                WrongUsage(format!(
                    "`{text}` is no scope: run, read, write or metadata_read"
                ))
            };
            Scope::parse(text).ok_or_else(wrong)
        };
        let mut scopes = self
            .scopes
            .iter()
            .map(scope)
            .collect::<Result<Vec<_>, _>>()?;
        if scopes.is_empty() {
            scopes.push(Scope::Run);
        }
        let metadata = self.metadata.iter().map(|text| entry(text));
        Ok(Token {
            gateways: texts(&self.gateways),
            providers: texts(&self.providers),
            models: texts(&self.models),
            scopes,
            expires_at: self
                .expires
                .as_deref()
                .map(|text| end(text, now))
                .transpose()?,
            metadata: metadata.collect::<Result<_, _>>()?,
            spend: self
                .spend
                .as_deref()
                .map(|text| self.cap(text))
                .transpose()?,
            allow_unpriced: self.allow_unpriced,
            ..Token::new(&self.account, &self.name)
        })
    }

    fn cap(&self, text: &str) -> Result<Spend, WrongUsage> {
        let read = || {
            let (limit, period) = text.split_once('/')?;
            let period = Period::ALL.into_iter().find(|one| one.as_str() == period)?;
            Some((parse_usd(limit).ok()?, period))
        };
        let wrong = || {
            WrongUsage(format!(
                "`{text}` is no spend limit; write for instance 50/month"
            ))
        };
        let (limit_nanousd, period) = read().ok_or_else(wrong)?;
        Ok(Spend {
            limit_nanousd,
            period,
            time_zone: self.time_zone.as_str().into(),
        })
    }

    fn print(&self, token: &Token, secret: &Secret, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.json {
            let mut told = list::object(token);
            told["token"] = secret.expose().into();
            return write_json(out, &told);
        }
        writeln!(out, "token {}", secret.expose())?;
        Ok(writeln!(
            out,
            "It is shown once; `{}` is its name in records.",
            token.name
        )?)
    }

    /// The lines for the configuration. What has no default there was checked before, and needs no
    /// escaping.
    fn print_lines(&self, token: &Token, out: &mut dyn Write) -> anyhow::Result<()> {
        let (secret, sha256) = tokens::mint()?;
        let digest = format!("sha256:{sha256}");
        if self.json {
            let mut told = list::object(token);
            told["token"] = secret.expose().into();
            told["digest"] = digest.into();
            return write_json(out, &told);
        }
        writeln!(out, "token {}\n\n[[tokens]]", secret.expose())?;
        writeln!(
            out,
            "name = \"{}\"\naccount = \"{}\"",
            token.name, token.account
        )?;
        for (key, list) in [
            ("gateways", &token.gateways),
            ("providers", &token.providers),
            ("models", &token.models),
        ] {
            if !list.is_empty() {
                writeln!(out, "{key} = {}", serde_json::to_string(list)?)?;
            }
        }
        if token.scopes != [Scope::Run] {
            writeln!(out, "scopes = {}", serde_json::to_string(&token.scopes)?)?;
        }
        if let Some(end) = token.expires_at {
            writeln!(out, "expires_at = \"{end}\"")?;
        }
        if !token.metadata.is_empty() {
            let entries = token.metadata.iter().map(|(key, value)| {
                Ok(format!(
                    "{} = {}",
                    serde_json::to_string(key)?,
                    serde_json::to_string(value)?
                ))
            });
            let entries = entries.collect::<Result<Vec<_>, serde_json::Error>>()?;
            writeln!(out, "metadata = {{ {} }}", entries.join(", "))?;
        }
        if let Some(spend) = &token.spend {
            let limit = isango_types::price::format_usd(spend.limit_nanousd);
            let (period, zone) = (spend.period.as_str(), &spend.time_zone);
            writeln!(
                out,
                "spend = {{ limit = {limit}, window = \"{period}\", time_zone = \"{zone}\" }}"
            )?;
        }
        if token.allow_unpriced {
            writeln!(out, "allow_unpriced = true")?;
        }
        Ok(writeln!(out, "digest = \"{digest}\"")?)
    }
}

/// The store, to change the token `name` of an account in it.
fn changeable(sources: &Sources, (account, name): (&str, &str)) -> anyhow::Result<Vouched> {
    if name.starts_with(TOKEN_PREFIX) {
        // Not repeated: it may be a token.
        return Err(WrongUsage("give the name of a token, not the token itself".into()).into());
    }
    if Config::token_names(sources)?
        .iter()
        .any(|(of, known)| **of == *account && **known == *name)
    {
        let wrong = format!("token `{name}` is managed by the configuration: change it there");
        return Err(WrongUsage(wrong).into());
    }
    opened(sources)
}

/// The store of tokens, with the key that vouches for them where there is one.
fn opened(sources: &Sources) -> anyhow::Result<Vouched> {
    let (data_dir, keyring) = Config::sealing(sources)?;
    let store = Arc::new(FileConfig::in_folder(&data_dir));
    Ok(Vouched::new(store, keyring.map(Arc::new)))
}

/// Vouches for tokens of before.
fn seal(sources: &Sources, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if Config::sealing(sources)?.1.is_none() {
        let none = "there is no `secrets.key` to vouch with: set ISANGO_SECRETS__KEY, or \
                    `secrets.key` in the configuration";
        return Err(WrongUsage(none.into()).into());
    }
    let names = opened(sources)?.adopt()?;
    if json {
        return write_json(out, &json!({ "sealed": names }));
    }
    for name in &names {
        writeln!(out, "token `{name}` is vouched for")?;
    }
    if names.is_empty() {
        writeln!(out, "no token lacks it")?;
    }
    Ok(())
}

/// What was asked for wrongly is wrong usage; the rest has failed.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::Wrong(_) => WrongUsage(error.to_string()).into(),
        Error::Taken(_)
        | Error::Unknown(_)
        | Error::Revoked(_)
        | Error::TooManyDigests(_)
        | Error::Full(_)
        | Error::Damaged(_)
        | Error::Refused(..)
        | Error::Random
        | Error::Store(_) => error.into(),
    }
}

/// `KEY=VALUE`, where a value that is a number, `true` or `false` is one.
fn entry(text: &str) -> Result<(Box<str>, MetadataValue), WrongUsage> {
    let entry = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = entry.ok_or_else(|| WrongUsage(format!("`{text}` is no KEY=VALUE")))?;
    let scalar = serde_json::from_str(value).ok();
    Ok((
        key.into(),
        scalar.unwrap_or_else(|| MetadataValue::Text(value.into())),
    ))
}

/// In so long, or at a moment.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, WrongUsage> {
    let end = parse_moment(text).or_else(|| Some(now.plus(parse_wait(text)?)));
    let wrong = || {
        WrongUsage(format!(
            "`{text}` is no end; write 90d, 2027-01-01 or a moment"
        ))
    };
    let end = end.ok_or_else(wrong)?;
    match end > now {
        true => Ok(end),
        false => Err(WrongUsage(format!("`{text}` is over already"))),
    }
}

fn wait(text: &str, what: &str) -> Result<Duration, WrongUsage> {
    parse_wait(text).ok_or_else(|| WrongUsage(format!("`{text}` is no {what}; write 1h or 7d")))
}
