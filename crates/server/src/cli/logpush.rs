//! `isango logpush`, and the part of `isango audit` that reads what was exported.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use isango_exports::{Allowed, Destination, Job, PrivateKey, Report, read};
use isango_proxy::upstream::Courier;
use isango_store::exports::ExportView;
use isango_types::{Clock, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::admin::Admin;
use crate::cli::logs::clean;
use crate::cli::remote::Remote;
use crate::cli::{ConfigArgs, FAILED, WrongUsage, runtime, write_json};
use crate::config::{Config, Sources};
use crate::exports::Carrying;

/// No column of the list is wider.
const WIDEST: usize = 60;

/// Look after exports, try them out, and read what they delivered
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango logpush list")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell how far each export of the running gateway is, and what went wrong last
    #[command(after_help = "\
LAG is how many records it has not delivered yet; LOST, how many retention had removed before;
ASIDE, how many batches its destination refused for good. The head of each chain, with which
`isango audit verify --bucket` is compared, is printed by --json.

Example: isango logpush list --json | jq -c 'select(.error_message)'")]
    List {
        #[command(flatten)]
        admin: Admin,

        /// Print JSON: one line for each export
        #[arg(long)]
        json: bool,
    },
    /// Tell what destinations refused for good, and what is laid aside
    #[command(after_help = "\
A line for each batch: its number, its export, when and why it was given up. What a webhook or
collector refuses for its contents is offered for an hour, record by record in the end, and then laid
aside, so that the next ones go on.

Example: isango logpush aside --json | jq -r .why")]
    Aside {
        #[command(flatten)]
        remote: Remote,
    },
    /// Send again what is laid aside
    #[command(after_help = "\
Each batch is sent once, at once, as it was, with the id that it had; once it is taken, it is not laid
aside any more. The exit code is 1 if one was not taken.

Example: isango logpush retry 7")]
    Retry {
        /// Numbers of batches [default: all]
        #[arg(value_name = "BATCH")]
        batches: Vec<u64>,

        #[command(flatten)]
        remote: Remote,
    },
    /// Drop what is laid aside: its records are exported no more
    #[command(after_help = "Example: isango logpush drop 7")]
    Drop {
        /// Numbers of batches
        #[arg(value_name = "BATCH", required = true)]
        batches: Vec<u64>,

        #[command(flatten)]
        remote: Remote,
    },
    /// Write a small test object to the destination of each export that is named
    #[command(after_help = "\
Reads the configuration and writes at once, once, whether or not a server runs. The exit code is 1
if a destination did not take it.

Example: isango logpush test local/support/main")]
    Test {
        #[command(flatten)]
        config: ConfigArgs,

        /// Names of exports [default: all of the configuration]
        #[arg(value_name = "EXPORT")]
        names: Vec<String>,

        /// Print one JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Open sealed fields of exported records with the private key
    #[command(after_help = "\
Reads files as they were delivered (gzip, zstd, plain, or Parquet), or standard input, and prints
their records with every sealed field in clear. Nothing is sent anywhere.

Example: isango logpush decrypt --key audit.pem 20260418T*.log.gz | jq -r .RequestBody")]
    Decrypt {
        /// The RSA private key (PEM) whose public key the gateway has
        #[arg(long, value_name = "FILE")]
        key: PathBuf,

        /// Exported files [default: standard input]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,

        /// Print one line of JSON for each record, instead of several
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::List { admin, json } => list(admin, *json, out),
        Command::Aside { remote } => {
            let all = laid_aside(remote)?;
            remote.print(&all, &["id", "job", "at", "bytes", "why"], out)?;
            Ok(0)
        }
        Command::Retry { batches, remote } => retry(batches, remote, out),
        Command::Drop { batches, remote } => {
            for batch in batches {
                let path = format!("{ASIDE}/{batch}");
                let dropped = remote.ask(Method::DELETE, &path, None)?;
                remote.print(&[dropped], &["id", "job"], out)?;
            }
            Ok(0)
        }
        Command::Test {
            config,
            names,
            json,
        } => test(&Sources::new(config.file(), Vec::new()), names, *json, out),
        Command::Decrypt { key, files, json } => decrypt(key, files, *json, out),
    }
}

/// Where the management API has what is laid aside.
const ASIDE: &str = "/logpush/aside";

fn laid_aside(remote: &Remote) -> anyhow::Result<Vec<Value>> {
    let told = remote.ask(Method::GET, ASIDE, None)?;
    let all = told.as_array().context("the gateway tells no list")?;
    Ok(all.clone())
}

fn retry(batches: &[u64], remote: &Remote, out: &mut dyn Write) -> anyhow::Result<u8> {
    let batches: Vec<u64> = match batches.is_empty() {
        true => laid_aside(remote)?
            .iter()
            .filter_map(|one| one["id"].as_u64())
            .collect(),
        false => batches.to_vec(),
    };
    let mut failed = false;
    for batch in batches {
        match remote.ask(Method::POST, &format!("{ASIDE}/{batch}/retry"), None) {
            Ok(taken) => remote.print(&[taken], &["id", "job"], out)?,
            Err(error) => {
                failed = true;
                writeln!(io::stderr().lock(), "{batch}: {error:#}").ok();
            }
        }
    }
    Ok(if failed { FAILED } else { 0 })
}

/// The answer of the admin listener.
#[derive(Deserialize)]
struct List {
    exports: Vec<ExportView>,
}

fn list(admin: &Admin, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let told = admin.ask(Method::GET, "/exports", None)?;
    let List { exports } = serde_json::from_value(told)?;
    if json {
        exports.iter().try_for_each(|view| write_json(out, view))?;
    } else if exports.is_empty() {
        writeln!(out, "nothing is exported")?;
    } else {
        exports.iter().try_for_each(|view| print(view, out))?;
    }
    Ok(0)
}

/// One export: a line of its name and numbers, one of its destination, one of its error.
fn print(view: &ExportView, out: &mut dyn Write) -> io::Result<()> {
    let state = match (view.enabled, &view.error_message) {
        (false, _) => "off",
        (true, Some(_)) => "failing",
        (true, None) => "well",
    };
    writeln!(
        out,
        "{}  {state}  lag {}  delivered {}  lost {}  aside {}",
        clean(&view.job, WIDEST),
        view.lag_records,
        view.delivered_records,
        view.lost_records,
        view.buried_batches
    )?;
    writeln!(
        out,
        "  {} to {}",
        view.dataset,
        clean(&view.destination, 200)
    )?;
    match (&view.error_message, view.last_error) {
        (Some(why), Some(at)) => writeln!(out, "  {at} {}", clean(why, 200)),
        _ => Ok(()),
    }
}

/// What became of one test.
#[derive(Serialize)]
struct Tested<'a> {
    export: &'a str,
    destination: &'a str,
    taken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn test(
    sources: &Sources,
    names: &[String],
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let config = Config::load(sources)?;
    let is_meant =
        |job: &&Arc<Job>| names.is_empty() || names.iter().any(|name| **name == *job.spec.id);
    let chosen: Vec<&Arc<Job>> = config.exports.iter().filter(is_meant).collect();
    for name in names {
        if !chosen.iter().any(|job| *job.spec.id == **name) {
            let known: Vec<&str> = config.exports.iter().map(|job| &*job.spec.id).collect();
            let message = format!(
                "there is no export `{name}`; there are: {}",
                known.join(", ")
            );
            return Err(WrongUsage(message).into());
        }
    }
    if chosen.is_empty() {
        return Err(WrongUsage("the configuration has no export".into()).into());
    }
    let carrying = carrying(&config)?;
    let runtime = runtime()?;
    let mut failed = false;
    for job in chosen {
        let now = carrying.clock.now();
        let writing = isango_exports::test_write(&carrying, &job.spec.destination, now);
        let why = runtime.block_on(Box::pin(writing)).err();
        failed |= why.is_some();
        let tested = Tested {
            export: &job.spec.id,
            destination: job.spec.destination.shown(),
            taken: why.is_none(),
            why,
        };
        if json {
            write_json(out, &tested)?;
        } else {
            let verdict = tested
                .why
                .as_deref()
                .map_or("taken".into(), |why| clean(why, 200));
            writeln!(out, "{}  {}  {verdict}", tested.export, tested.destination)?;
        }
    }
    Ok(if failed { FAILED } else { 0 })
}

fn carrying(config: &Config) -> anyhow::Result<Carrying> {
    Ok(Carrying {
        courier: Courier::new(&config.upstream_settings()).context("upstream.extra_ca_file")?,
        clock: Clock::system(),
    })
}

fn decrypt(key: &Path, files: &[PathBuf], json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let place = || format!("cannot read {}", key.display());
    let key = Secret::new(std::fs::read_to_string(key).with_context(place)?);
    let key = PrivateKey::parse(&key)?;
    if files.is_empty() {
        open_lines((&key, json), Box::new(io::stdin()), "standard input", out)?;
    }
    for file in files {
        let name = file.display().to_string();
        let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
        open_lines((&key, json), Box::new(opened), &name, out)?;
    }
    Ok(0)
}

fn open_lines(
    (key, json): (&PrivateKey, bool),
    from: Box<dyn Read>,
    name: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut from = read::unpacked(from).with_context(|| format!("cannot read {name}"))?;
    let mut print = |opened| -> anyhow::Result<()> {
        if json {
            write_json(out, &opened)?;
        } else {
            serde_json::to_writer_pretty(&mut *out, &opened)?;
            writeln!(out)?;
        }
        Ok(())
    };
    if let Some(file) = read::table(&mut *from).with_context(|| format!("cannot read {name}"))? {
        let rows = isango_records::rows(file.into()).with_context(|| name.to_owned())?;
        for (number, row) in rows.into_iter().enumerate() {
            let place = || format!("{name}, row {}", number + 1);
            print(key.open_row(row).with_context(place)?)?;
        }
        return Ok(());
    }
    let mut line = Vec::new();
    for number in 1.. {
        let place = || format!("{name}, line {number}");
        if !read::next_line(&mut *from, &mut line).with_context(place)? {
            break;
        }
        if !line.trim_ascii().is_empty() {
            print(key.open_line(&line).with_context(place)?)?;
        }
    }
    Ok(())
}

/// `isango audit verify --bucket`.
pub(super) fn verify(
    sources: &Sources,
    (bucket, from): (&str, u64),
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let config = Config::load(sources)?;
    let destination = match bucket.contains("://") {
        true => {
            let allowed = Allowed {
                private: true,
                folder: true,
            };
            let parsed = Destination::parse(&Secret::new(bucket), allowed);
            parsed.map_err(|error| WrongUsage(format!("`--bucket` is none: {error}")))?
        }
        false => {
            let job = config.exports.iter().find(|job| *job.spec.id == *bucket);
            let unknown = || WrongUsage(format!("there is no export `{bucket}`"));
            job.ok_or_else(unknown)?.spec.destination.clone()
        }
    };
    let carrying = carrying(&config)?;
    let verifying = isango_exports::verify(&carrying, &destination, (from, carrying.clock.now()));
    let report = runtime()?
        .block_on(Box::pin(verifying))
        .map_err(|why| anyhow::anyhow!("cannot examine {}: {why}", destination.shown()))?;
    let code = if report.is_intact() { 0 } else { FAILED };
    if json {
        write_json(out, &report)?;
    } else {
        print_report(&report, out)?;
    }
    Ok(code)
}

fn print_report(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for trail in &report.jobs {
        writeln!(
            out,
            "{}: {} records in {} objects, {} bytes, batches {} to {}",
            trail.job, trail.records, trail.objects, trail.bytes, trail.first, trail.last
        )?;
        if trail.lost > 0 {
            writeln!(
                out,
                "  {} records were gone before they were exported",
                trail.lost
            )?;
        }
        writeln!(out, "  head {}", trail.head)?;
    }
    for finding in &report.findings {
        writeln!(out, "  {}: {}", finding.object, finding.what)?;
    }
    let verdict = if report.is_intact() {
        "intact"
    } else {
        "DAMAGED"
    };
    writeln!(out, "{verdict}")
}
