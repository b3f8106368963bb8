//! `isango logs`: reads the record store of a folder, also while a server writes to it.

mod disk;
mod show;
mod table;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use isango_records::{Reader, Records};
use isango_store::csv;
use isango_store::logs::{Filter, LogReader as _, MAX_PAGE, Order, Query, strip_bodies};
use isango_types::{Clock, Record, RecordId, Timestamp};

use crate::cli::{FAILED, StoreArgs, WrongUsage, write_json};
use crate::config::value::parse_wait;

pub(super) use self::show::plain;
pub(super) use self::table::clean;

/// How often `tail -f` looks for new records.
const POLL: Duration = Duration::from_millis(200);

/// Most records that `tail -f` takes at once.
const BATCH: usize = 1_000;

/// Read the records of what has passed the gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILTER is made of terms that must all hold: status:error  model:gpt-4o*  meta.tenantId=acme
cost:>0.01  duration:>2s  gateway!=test  \"words of a body\"

Example: isango logs tail -f status:error")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the latest records, oldest first
    #[command(after_help = "Example: isango logs tail -f model:gpt-4o")]
    Tail {
        /// Go on with new ones until Ctrl-C
        #[arg(short, long)]
        follow: bool,

        /// How many to begin with
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: usize,

        #[command(flatten)]
        which: Which,
    },
    /// Print the records that match, newest first
    #[command(after_help = "Example: isango logs query --since 1h status:error 'cost:>0.01'")]
    Query {
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,

        /// Oldest first
        #[arg(long)]
        oldest_first: bool,

        #[command(flatten)]
        span: Span,

        #[command(flatten)]
        which: Which,
    },
    /// Print one record, with its bodies
    #[command(after_help = "\
Exit codes: 0 found, 1 there is no such record.

Example: isango logs show 019a7e3c-5a00-7000-8000-000000000000")]
    Show {
        /// Id of the record: the `cf-aig-log-id` of the answer
        id: String,

        /// Print the record as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all records that match, oldest first, for other programs
    #[command(after_help = "\
CSV is for spreadsheets: cells that could be taken for a formula begin with an apostrophe. Parquet
has the columns of the store's own files.

Example: isango logs export --format csv --since 30d meta.tenantId=acme > acme.csv")]
    Export {
        /// Format
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,

        /// At most this many [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,

        /// With the bodies (JSON lines only)
        #[arg(long)]
        bodies: bool,

        /// The same as --format jsonl
        #[arg(long, conflicts_with = "format")]
        json: bool,

        #[command(flatten)]
        span: Span,

        /// What a record must match
        filter: Vec<String>,
    },
    /// Print what the record store takes on the disk, and for how long there is room
    #[command(after_help = "Example: isango logs disk --data-dir ./isango-data")]
    Disk {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Copy the record store, also while a server writes to it
    #[command(after_help = "\
Copies the journal and what was said of records later. A second time into the same folder only what
is new is copied. To go back, start a server with the copy as its data_dir.

Example: isango logs backup /mnt/backup/isango")]
    Backup {
        /// Folder for the copy
        to: PathBuf,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the indexes and columns of the record store again, while no server writes to it
    #[command(after_help = "\
Indexes and columns are made from the journal, and again whenever one is lost. This is for those that
a disk has damaged.

Example: isango logs rebuild --data-dir ./isango-data")]
    Rebuild {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// One JSON object per line, as in the journal
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// Columns in Parquet, for Polars, pandas and the like
    Parquet,
}

/// Which records, and how they are printed.
#[derive(Debug, clap::Args)]
struct Which {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// With the bodies (JSON only)
    #[arg(long, requires = "json")]
    bodies: bool,

    /// What a record must match
    filter: Vec<String>,
}

/// Which time.
#[derive(Debug, clap::Args)]
struct Span {
    /// Not older than this: 1h, 30d, 2026-11-22, 2026-11-22T16:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Older than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let folder = args.store.data_dir()?;
    let reader = open(&folder)?;
    let now = Clock::system().now();
    match &args.command {
        Command::Tail {
            follow,
            lines,
            which,
        } => {
            let tail = Tail {
                filter: filter(&which.filter, now)?,
                lines: *lines,
                follow: *follow,
            };
            tail.run(&reader, which, out)?;
        }
        Command::Query {
            limit,
            oldest_first,
            span,
            which,
        } => {
            let order = if *oldest_first {
                Order::OldestFirst
            } else {
                Order::NewestFirst
            };
            let query = Query {
                order,
                limit: MAX_PAGE,
                with_bodies: which.bodies,
                ..span.query(&which.filter, now)?
            };
            let printed = print_some(&reader, query, *limit, &mut Printer::new(which), out)?;
            if printed == 0 && *limit > 0 && !which.json {
                writeln!(std::io::stderr().lock(), "no record matches").ok();
            }
        }
        Command::Show { id, json } => return print_one(&reader, id, *json, out),
        Command::Backup { to, json } => return copy(&folder, to, *json, out),
        Command::Disk { json } => disk::run(&args.store.sources(), *json, out)?,
        Command::Rebuild { json } => rebuild(&folder, *json, out)?,
        Command::Export {
            format,
            limit,
            bodies,
            json: _,
            span,
            filter,
        } => {
            let query = Query {
                order: Order::OldestFirst,
                limit: MAX_PAGE,
                with_bodies: *bodies,
                ..span.query(filter, now)?
            };
            let most = limit.unwrap_or(usize::MAX);
            let mut export = match format {
                Format::Parquet => {
                    reader.export_parquet(query, most, out)?;
                    return Ok(0);
                }
                Format::Jsonl => Printer::Json {
                    with_bodies: *bodies,
                },
                Format::Csv => {
                    csv::header(out)?;
                    Printer::Csv
                }
            };
            print_some(&reader, query, most, &mut export, out)?;
        }
    }
    Ok(0)
}

fn open(folder: &Path) -> anyhow::Result<Reader> {
    if !folder.exists() {
        anyhow::bail!(
            "there is no record store in {}; name its folder with --data-dir",
            folder.display()
        );
    }
    Records::open_read_only(folder)
        .with_context(|| format!("cannot read the records in {}", folder.display()))
}

fn copy(folder: &Path, to: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let done = isango_records::backup(folder, to)
        .with_context(|| format!("cannot copy {} to {}", folder.display(), to.display()))?;
    if json {
        write_json(out, &done)?;
    } else {
        let (files, bytes, kept) = (done.files, done.bytes, done.kept);
        writeln!(
            out,
            "{files} files copied, {bytes} bytes; {kept} were there"
        )?;
    }
    Ok(0)
}

fn rebuild(folder: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let files = Records::open(folder, isango_records::Options::default())
        .and_then(|records| records.rebuild())
        .with_context(|| format!("cannot make the indexes in {} again", folder.display()))?;
    if json {
        write_json(out, &serde_json::json!({ "files": files }))?;
    } else {
        writeln!(out, "the indexes of {files} files were made again")?;
    }
    Ok(())
}

fn filter(words: &[String], now: Timestamp) -> Result<Filter, WrongUsage> {
    Filter::parse(&words.join(" "), now).map_err(|error| WrongUsage(error.to_string()))
}

impl Span {
    fn query(&self, words: &[String], now: Timestamp) -> Result<Query, WrongUsage> {
        let moment = |text: &Option<String>| match text {
            Some(text) => moment(text, now).map(Some),
            None => Ok(None),
        };
        Ok(Query {
            filter: filter(words, now)?,
            since: moment(&self.since)?,
            until: moment(&self.until)?,
            ..Query::default()
        })
    }
}

/// A duration before now, a day (UTC), or a moment.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, WrongUsage> {
    let ago = parse_wait(text).map(|ago| now.minus(ago));
    let day = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    ago.map_or_else(|| Timestamp::parse(text).or_else(|_no_moment| day()), Ok)
        .map_err(|_neither| {
            WrongUsage(format!(
                "`{text}` is no time; write 1h, 2026-11-22 or 2026-11-22T16:00:00Z"
            ))
        })
}

/// How records are printed.
enum Printer {
    Json { with_bodies: bool },
    Csv,
    Table(table::Table),
}

impl Printer {
    fn new(which: &Which) -> Self {
        match which.json {
            true => Self::Json {
                with_bodies: which.bodies,
            },
            false => Self::Table(table::Table::default()),
        }
    }

    fn print(&mut self, records: &mut [Record], out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Json { with_bodies } => {
                for record in records {
                    if !*with_bodies {
                        strip_bodies(record);
                    }
                    write_json(out, record)?;
                }
            }
            Self::Csv => {
                for record in records {
                    csv::row(record, out)?;
                }
            }
            Self::Table(table) => table.print(records, out)?,
        }
        Ok(())
    }
}

/// Prints page after page, `most` records in all. Returns how many there were.
fn print_some(
    reader: &Reader,
    mut query: Query,
    most: usize,
    printer: &mut Printer,
    out: &mut dyn Write,
) -> anyhow::Result<usize> {
    let mut left = most;
    while left > 0 {
        query.limit = left.min(MAX_PAGE);
        let mut page = reader.query(&query)?;
        left -= page.records.len().min(left);
        printer.print(&mut page.records, out)?;
        if page.next.is_none() {
            break;
        }
        query.after = page.next;
    }
    Ok(most - left)
}

/// The record of an id in the store of this folder.
pub(super) fn find(folder: &Path, id: RecordId) -> anyhow::Result<Option<Record>> {
    Ok(open(folder)?.get(id)?)
}

fn print_one(reader: &Reader, id: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let parsed: RecordId = id
        .parse()
        .map_err(|_no_id| WrongUsage(format!("`{id}` is no id of a record")))?;
    let Some(record) = reader.get(parsed)? else {
        // Not finding is an answer, and not worth a backtrace of causes.
        writeln!(std::io::stderr().lock(), "there is no record {id}").ok();
        return Ok(FAILED);
    };
    if json {
        write_json(out, &record)?;
    } else {
        show::print(&record, out)?;
    }
    Ok(0)
}

struct Tail {
    filter: Filter,
    lines: usize,
    follow: bool,
}

impl Tail {
    fn run(&self, reader: &Reader, which: &Which, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut printer = Printer::new(which);
        let mut position = reader.end()?;
        let query = Query {
            filter: self.filter.clone(),
            limit: self.lines,
            with_bodies: which.bodies,
            ..Query::default()
        };
        let mut latest = match self.lines {
            0 => Vec::new(),
            _ => reader.query(&query)?.records,
        };
        latest.reverse();
        // What came between the position and the query is found by both.
        let seen: Vec<_> = latest.iter().map(|record| record.id).collect();
        printer.print(&mut latest, out)?;
        out.flush()?;
        if !self.follow {
            return Ok(());
        }
        loop {
            let (mut records, next) = reader.follow(position, BATCH)?;
            records.retain(|one| {
                !one.is_erased() && self.filter.matches(one) && !seen.contains(&one.id)
            });
            printer.print(&mut records, out)?;
            out.flush()?;
            if position == next {
                std::thread::sleep(POLL);
            }
            position = next;
        }
    }
}
