//! `isango prices rerate`: a twin of the management API.

use std::io::Write;
use std::time::Duration;

use http::Method;
use isango_types::price::format_usd;
use isango_types::{RecordId, Timestamp};
use serde_json::{Map, Value};

use crate::cli::remote::Remote;
use crate::cli::{FAILED, WrongUsage, write_json};

/// Where jobs are.
const PATH: &str = "/isango/prices/rerate";
/// How often a job is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each record gets the cost that it had by the prices of its own moment, as they are known now; with
--at, by those of another moment. Costs that clients set, and what is free or has no usage, stay. What
limits have drawn stays drawn.

Exit codes: 0 done, 1 it failed or was ended.

Example: isango prices rerate --dry-run --filter 'cost:unpriced' --since 2026-11-01")]
pub(super) struct Args {
    /// Records of this gateway alone
    #[arg(long)]
    gateway: Option<String>,

    /// Those alone that pass a filter (see `isango logs --help`)
    #[arg(long)]
    filter: Option<String>,

    /// Created at this day or moment or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Created before this day or moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// By the prices of this day or moment
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// Tell what would change, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let remote = &args.remote;
    let mut asked = Map::new();
    let texts = [("gateway", &args.gateway), ("filter", &args.filter)];
    for (name, text) in texts {
        asked.extend(
            text.as_ref()
                .map(|text| (name.into(), text.as_str().into())),
        );
    }
    let times = [
        ("since", &args.since),
        ("until", &args.until),
        ("at", &args.at),
    ];
    for (name, text) in times {
        if let Some(text) = text {
            asked.insert(name.into(), moment(text)?.to_string().into());
        }
    }
    asked.insert("dry_run".into(), args.dry_run.into());
    let mut job = remote.ask(Method::POST, PATH, Some(Value::Object(asked)))?;
    if !args.no_wait {
        let path = path(job["id"].as_str().unwrap_or_default())?;
        while job["ended_at"].is_null() {
            std::thread::sleep(LOOK_EVERY);
            job = remote.ask(Method::GET, &path, None)?;
        }
    }
    if remote.json {
        write_json(out, &job)?;
    } else {
        tell(&job, args.dry_run, out)?;
    }
    match job["state"].as_str() {
        Some("failed" | "cancelled") => Ok(FAILED),
        Some(_) | None => Ok(0),
    }
}

pub(super) fn list(remote: &Remote, out: &mut dyn Write) -> anyhow::Result<u8> {
    let jobs = remote.all(PATH)?;
    remote.print(&jobs, &["id", "state", "created_at", "who"], out)?;
    Ok(0)
}

pub(super) fn cancel(remote: &Remote, id: &str, out: &mut dyn Write) -> anyhow::Result<u8> {
    let told = remote.ask(Method::DELETE, &path(id)?, None)?;
    remote.done(&told, &format!("{id} ends"), out)
}

fn path(id: &str) -> anyhow::Result<String> {
    match id.parse::<RecordId>() {
        Ok(id) => Ok(format!("{PATH}/{id}")),
        Err(_no_id) => Err(WrongUsage(format!("`{id}` is no id of a job")).into()),
    }
}

/// A moment, or the beginning of a day (UTC).
pub(super) fn moment(text: &str) -> anyhow::Result<Timestamp> {
    let moment =
        Timestamp::parse(text).or_else(|_no_moment| Timestamp::parse(&format!("{text}T00:00:00Z")));
    Ok(moment.map_err(|_neither| WrongUsage(format!("`{text}` is no day and no moment")))?)
}

/// What a job did, or would do, in words.
fn tell(job: &Value, is_dry: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let outcome = &job["outcome"];
    let count = |name: &str| outcome[name].as_u64().unwrap_or_default();
    let usd = |name: &str| format_usd(count(name));
    if job["ended_at"].is_null() {
        return writeln!(
            out,
            "{} is under way",
            job["id"].as_str().unwrap_or_default()
        );
    }
    let state = job["state"].as_str().unwrap_or_default();
    let would = if is_dry { "would change" } else { "changed" };
    writeln!(
        out,
        "{state}: {} of {} records {would}, from {} to {} USD",
        count("changed"),
        count("looked_at"),
        usd("before_nanousd"),
        usd("after_nanousd"),
    )?;
    writeln!(
        out,
        "{} that had no price have one, {} that had one have none, {} have none as before",
        count("newly_priced"),
        count("newly_unpriced"),
        count("still_unpriced"),
    )?;
    if state == "done" && outcome["is_complete"] == false {
        writeln!(
            out,
            "as many were changed as one job may: the same again goes on"
        )?;
    }
    Ok(())
}
