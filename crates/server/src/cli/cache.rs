//! `isango cache`: what is kept, why a question was or was not answered from it, its removal.
//!
//! Sizes and removals are asked of the running gateway, at its admin listener; explanations are in
//! the records.

mod explain;

use std::io::Write;

use http::Method;
use isango_store::cache::{Key, Size, Stats};
use isango_types::{RecordId, Secret, is_account};
use serde_json::{Value, json};

use crate::cli::admin::Admin;
use crate::cli::{FAILED, StoreArgs, WrongUsage, logs, write_json};
use crate::config::value::parse_wait;

/// Look into the cache, explain it, empty it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango cache explain 01a2044e-3fd4-79df-9962-7d86610ad021")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell how much is kept, in memory and on disk
    #[command(after_help = "Example: isango cache stats")]
    Stats {
        #[command(flatten)]
        admin: Admin,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove kept answers: those for which everything holds that is given
    #[command(after_help = "Example: isango cache purge --gateway support --scope acme")]
    Purge {
        #[command(flatten)]
        admin: Admin,

        /// Token that may change the account (`isango token create --scope write`)
        #[arg(long, env = "ISANGO_TOKEN", hide_env_values = true)]
        token: String,

        /// Of this account
        #[arg(long, default_value = "local")]
        account: String,

        /// Of this gateway
        #[arg(long, value_name = "ID")]
        gateway: Option<String>,

        /// Kept under this cf-aig-cache-key, or for what the gateway's scope found
        #[arg(long)]
        scope: Option<String>,

        /// Of this model, as it was asked for
        #[arg(long)]
        model: Option<String>,

        /// The one of this key, as `isango cache explain` tells it
        #[arg(long)]
        key: Option<String>,

        /// Asked for longer ago than this (90s, 1h, 7d)
        #[arg(long, value_name = "AGE")]
        older_than: Option<String>,

        /// All of the account
        #[arg(long, conflicts_with_all = ["gateway", "scope", "model", "key", "older_than"])]
        all: bool,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Tell why a request was or was not answered from the cache
    #[command(after_help = "Example: isango cache explain 01a2044e-3fd4-79df-9962-7d86610ad021")]
    Explain {
        /// Id of its record
        id: String,

        #[command(flatten)]
        store: StoreArgs,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::Stats { admin, json } => {
            let told = admin.ask(Method::GET, "/cache", None)?;
            if *json {
                write_json(out, &told)?;
            } else {
                let stats: Stats = serde_json::from_value(told)?;
                tell("memory", stats.memory, out)?;
                stats.disk.map_or(Ok(()), |disk| tell("disk", disk, out))?;
            }
        }
        Command::Purge {
            admin,
            token,
            account,
            json,
            ..
        } => {
            let wanted = wanted(&args.command)?;
            if !is_account(account) {
                return Err(WrongUsage(format!("`{account}` is no account")).into());
            }
            let path = format!("/client/v4/accounts/{account}/isango/cache/purge");
            let token = Secret::new(token.as_str());
            let told = admin.api(Method::POST, &path, &token, Some(wanted))?;
            if *json {
                write_json(out, &told)?;
            } else {
                let purged = told["purged"].as_u64().unwrap_or_default();
                let answers = if purged == 1 { "answer" } else { "answers" };
                writeln!(out, "{purged} {answers} removed")?;
            }
        }
        Command::Explain { id, store, json } => {
            let parsed: RecordId = id
                .parse()
                .map_err(|_no_id| WrongUsage(format!("`{id}` is no id of a record")))?;
            let Some(record) = logs::find(&store.data_dir()?, parsed)? else {
                // Not finding is an answer, and not worth a backtrace of causes.
                writeln!(std::io::stderr().lock(), "there is no record {id}").ok();
                return Ok(FAILED);
            };
            if *json {
                write_json(out, &json!({ "id": record.id, "cache": record.cache }))?;
            } else {
                explain::print(&record, out)?;
            }
        }
    }
    Ok(0)
}

/// What is to be removed, as the admin listener takes it.
fn wanted(command: &Command) -> Result<Value, WrongUsage> {
    let Command::Purge {
        gateway,
        scope,
        model,
        key,
        older_than,
        all,
        ..
    } = command
    else {
        return Ok(Value::Null);
    };
    if let Some(key) = key {
        key.parse::<Key>()
            .map_err(|wrong| WrongUsage(format!("`{key}`: {wrong}")))?;
    }
    let older_than_s = match older_than {
        None => None,
        Some(age) => Some(
            parse_wait(age)
                .ok_or_else(|| WrongUsage(format!("`{age}` is no age; write 90s, 1h or 7d")))?
                .as_secs(),
        ),
    };
    let given = [gateway, scope, model, key];
    if !all && older_than.is_none() && given.iter().all(|word| word.is_none()) {
        let message = "say what to remove, or --all".to_owned();
        return Err(WrongUsage(message));
    }
    Ok(json!({
        "gateway": gateway, "scope": scope, "model": model, "key": key,
        "older_than_s": older_than_s,
    }))
}

fn tell(tier: &str, size: Size, out: &mut dyn Write) -> std::io::Result<()> {
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20);
    let (entries, bytes, limit) = (size.entries, mib(size.bytes), mib(size.limit));
    writeln!(out, "{tier:<8}{entries} answers, {bytes} of {limit}")
}
