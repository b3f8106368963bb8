//! `isango audit`.

use std::io::Write;

use anyhow::Context as _;
use isango_backends::config::FileConfig;
use isango_records::Report;
use isango_store::audit;
use isango_store::config::ConfigStore as _;
use serde::Serialize;

use crate::cli::{FAILED, StoreArgs, logpush, write_json};

/// Prove that no stored record, and no entry of the audit trail, was changed or removed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: isango audit verify --data-dir ./isango-data")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Follow the chains of digests through the whole journal, and through the audit trail
    #[command(after_help = "\
The chain cannot tell that its end was cut off: keep the printed head elsewhere and compare. With
--bucket, every object of an export is read and compared with its manifest; name a destination that
holds secrets by ISANGO_BUCKET, or by the name of its export.
Exit codes: 0 intact, 1 damaged.

Example: isango audit verify --bucket local/support/main")]
    Verify {
        #[command(flatten)]
        store: StoreArgs,

        /// Examine what was exported, from the bucket or folder alone: a destination, or the name of
        /// an export of the configuration
        #[arg(
            long,
            value_name = "DESTINATION",
            env = "ISANGO_BUCKET",
            hide_env_values = true
        )]
        bucket: Option<String>,

        /// Number of the first batch that the bucket must have: older ones were let go
        #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "bucket")]
        from: u64,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Command::Verify {
        store,
        bucket,
        from,
        json,
    } = &args.command;
    if let Some(bucket) = bucket {
        return logpush::verify(&store.sources(), (bucket, *from), *json, out);
    }
    let folder = store.data_dir()?;
    let examining = || format!("cannot examine {}", folder.display());
    let report = isango_records::verify(&folder).with_context(examining)?;
    let trail = FileConfig::in_folder(&folder).verify_trail();
    let trail = trail.with_context(examining)?;
    let code = match report.is_intact() && trail.is_intact() {
        true => 0,
        false => FAILED,
    };
    if *json {
        let both = Both {
            records: &report,
            trail: &trail,
        };
        write_json(out, &both)?;
        return Ok(code);
    }
    tell_records(&report, out)?;
    tell_trail(&trail, out)?;
    Ok(code)
}

/// The report on records, and that on the trail of changes.
#[derive(Serialize)]
struct Both<'r> {
    #[serde(flatten)]
    records: &'r Report,
    trail: &'r audit::Report,
}

fn tell_trail(trail: &audit::Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let verdict = verdict(trail.is_intact());
    writeln!(
        out,
        "{verdict}: {} entries of the audit trail",
        trail.entries
    )?;
    if trail.removed > 0 {
        writeln!(out, "{} earlier entries made room", trail.removed)?;
    }
    for finding in &trail.findings {
        writeln!(out, "  entry {}: {}", finding.entry, finding.what)?;
    }
    if !trail.head.is_empty() {
        writeln!(out, "head of the trail {}", trail.head)?;
    }
    Ok(())
}

const fn verdict(is_intact: bool) -> &'static str {
    match is_intact {
        true => "intact",
        false => "DAMAGED",
    }
}

fn tell_records(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let verdict = verdict(report.is_intact());
    writeln!(
        out,
        "{verdict}: {} records in {} frames of {} files, {} bytes",
        report.records, report.frames, report.files, report.bytes
    )?;
    if report.expired > 0 {
        writeln!(
            out,
            "{} earlier records were removed by retention",
            report.expired
        )?;
    }
    if report.rewritten > 0 {
        writeln!(
            out,
            "{} files were rewritten, and are as they were sealed; {} records are erased",
            report.rewritten, report.erased
        )?;
    }
    if report.unfinished_rewrites > 0 {
        writeln!(
            out,
            "{} rewrites were begun and not carried out; they will be made again",
            report.unfinished_rewrites
        )?;
    }
    if report.dropped > 0 {
        writeln!(
            out,
            "{} records were dropped before they could be stored:",
            report.dropped
        )?;
    }
    for gap in &report.gaps {
        writeln!(out, "  {} {} records: {}", gap.at, gap.dropped, gap.reason)?;
    }
    if report.unfinished_bytes > 0 {
        writeln!(
            out,
            "{} bytes at the end are not finished yet",
            report.unfinished_bytes
        )?;
    }
    for finding in &report.findings {
        let file = finding.file.display();
        writeln!(out, "  {file} at byte {}: {}", finding.offset, finding.what)?;
    }
    if !report.head.is_empty() {
        writeln!(out, "head {}", report.head)?;
    }
    Ok(())
}
