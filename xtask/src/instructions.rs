//! User-space instructions of the whole process, counted by Valgrind's callgrind: figures that do
//! not depend on the machine's load, with limits that a change must keep.
//!
//! The process runs twice with different amounts of the same work; the difference, divided, is
//! what one piece of work costs, without the start.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::bench::{Connection, Upstream, request, small_request, through};
use crate::gateway::{self, Profile};
use crate::shell::{self, Scratch};

/// The most instructions that a small JSON request may take, records on: one question with the four
/// headers that it needs, and a one-word answer.
///
/// The goal is 85 000. It was 80 900 on 2026-11-22 before retries, fallback, the cache and limits stood
/// on the way, and 85 600 behind them; on 2026-11-23 82 300, and 90 600 once each record also went
/// into columns (`records::builder`), which has not been optimized.
const MAX_PER_SMALL_REQUEST: u64 = 93_500;
/// The most that one with its tenant may take, as an SDK sends it: 256 bytes there, 640 back.
const MAX_PER_USUAL_REQUEST: u64 = 115_000;
/// The most that an event of a stream may take that crosses on its own.
const MAX_PER_EVENT: u64 = 14_000;
/// Under callgrind time passes some fifty times as slowly as instructions do; so that as many records
/// share a frame of the journal as they do at full speed, they gather fifty times the default of
/// 100 ms.
const FLUSH: &str = "\n[records]\nflush_window = \"5s\"\n";
/// How many functions are listed.
const TOP: usize = 10;
/// How many functions of our own are listed.
const OURS: usize = 30;

/// Work that is counted.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// So many small JSON requests over one connection.
    Small(u64),
    /// So many usual ones.
    Usual(u64),
    /// Four streams of so many events, each event on its own.
    Events(u64),
}

/// How many streams carry the events.
const STREAMS: u64 = 4;

/// What one piece of work takes.
#[derive(Debug, Serialize)]
struct Cost {
    what: &'static str,
    instructions: u64,
    limit: u64,
    /// The functions that take most, callees not counted.
    top: Vec<Share>,
    /// Our own functions that take most, with all that they call.
    ours: Vec<Share>,
}

/// What one function takes of it.
#[derive(Debug, Serialize)]
struct Share {
    instructions: u64,
    function: String,
}

/// Counts, prints and judges.
///
/// # Errors
/// Valgrind or the gateway fails, or a limit is passed.
pub(crate) fn run(json: Option<&Path>) -> Result<()> {
    let binary = gateway::build(Profile::Release)?;
    let scratch = Scratch::new("instructions")?;
    let upstream = Upstream::start()?;
    let count = |work: Work| counted(&binary, &scratch, &upstream, work);
    let costs = [
        Cost::new(
            "per small JSON request",
            MAX_PER_SMALL_REQUEST,
            2_000,
            [count(Work::Small(500))?, count(Work::Small(2_500))?],
        ),
        Cost::new(
            "per usual JSON request",
            MAX_PER_USUAL_REQUEST,
            2_000,
            [count(Work::Usual(500))?, count(Work::Usual(2_500))?],
        ),
        Cost::new(
            "per streamed event",
            MAX_PER_EVENT,
            STREAMS * 500,
            [count(Work::Events(100))?, count(Work::Events(600))?],
        ),
    ];
    for cost in &costs {
        println!(
            "\n{} instructions {} (at most {})",
            cost.instructions, cost.what, cost.limit
        );
        print(&cost.top);
        println!("of that, ours with all that they call");
        print(&cost.ours);
    }
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_string_pretty(&costs)? + "\n")?;
    }
    match costs.iter().find(|cost| cost.instructions > cost.limit) {
        Some(cost) => bail!(
            "{} {}, more than {}",
            cost.instructions,
            cost.what,
            cost.limit
        ),
        None => Ok(()),
    }
}

fn print(shares: &[Share]) {
    for share in shares {
        println!("{:>9}  {}", share.instructions, share.function);
    }
}

impl Cost {
    fn new(what: &'static str, limit: u64, pieces: u64, [less, more]: [Profiled; 2]) -> Self {
        let is_ours = |name: &str| name.contains("isango_");
        Self {
            what,
            instructions: more.total.saturating_sub(less.total) / pieces,
            limit,
            top: shares(&less.alone, &more.alone, pieces, TOP, |_| true),
            ours: shares(&less.inclusive, &more.inclusive, pieces, OURS, is_ours),
        }
    }
}

/// The functions whose share of one piece is largest, largest first.
fn shares(
    less: &Functions,
    more: &Functions,
    pieces: u64,
    count: usize,
    is_listed: impl Fn(&str) -> bool,
) -> Vec<Share> {
    let listed = more.iter().filter(|(function, _)| is_listed(function));
    let mut shares: Vec<Share> = listed
        .map(|(function, total)| {
            let before = less.get(function).copied().unwrap_or_default();
            let instructions = total.saturating_sub(before) / pieces;
            Share {
                instructions,
                function: function.clone(),
            }
        })
        .collect();
    shares.sort_unstable_by_key(|share| Reverse(share.instructions));
    shares.truncate(count);
    shares
}

/// Instructions by function.
type Functions = BTreeMap<String, u64>;

/// A profile: all instructions; those of each function itself, and with its callees.
#[derive(Debug)]
struct Profiled {
    total: u64,
    alone: Functions,
    inclusive: Functions,
}

fn counted(binary: &Path, scratch: &Scratch, upstream: &Upstream, work: Work) -> Result<Profiled> {
    println!("counting {work:?}");
    let (name, amount) = match work {
        Work::Small(count) => ("small", count),
        Work::Usual(count) => ("usual", count),
        Work::Events(count) => ("events", count),
    };
    let folder = scratch.file(&format!("{name}-{amount}"));
    std::fs::create_dir(&folder)?;
    let profile = folder.join("callgrind.out");
    let out = format!("--callgrind-out-file={}", profile.display());
    let log = format!("--log-file={}", folder.join("valgrind.log").display());
    let wrapper = ["valgrind", "--tool=callgrind", &out, &log];
    let config = gateway::in_front_of(upstream.addr) + FLUSH;
    let isango = gateway::serve(binary, &wrapper, &folder, &config)?;
    let target = through(&isango)?;
    let mut connection = Connection::open(target.addr)?;
    match work {
        Work::Small(count) => {
            let request = small_request(&target);
            for _ in 0..count {
                connection.exchange(&request)?;
            }
        }
        Work::Usual(count) => {
            let request = request(&target, "usual");
            for _ in 0..count {
                connection.exchange(&request)?;
            }
        }
        Work::Events(count) => {
            let request = request(&target, &format!("stepped {count} 0"));
            for _ in 0..STREAMS {
                connection.stream(&request, count, || upstream.step(0))?;
            }
        }
    }
    drop(connection);
    isango.stop()?;
    annotated(&profile)
}

fn annotated(profile: &Path) -> Result<Profiled> {
    let listed = |inclusive: &str| -> Result<(u64, Functions)> {
        let mut command = Command::new("callgrind_annotate");
        command
            .args(["--auto=no", "--threshold=100", inclusive])
            .arg(profile);
        parse(&shell::output(&mut command)?).context("callgrind_annotate printed no totals")
    };
    let (total, alone) = listed("--inclusive=no")?;
    let (_, inclusive) = listed("--inclusive=yes")?;
    Ok(Profiled {
        total,
        alone,
        inclusive,
    })
}

/// Reads what `callgrind_annotate` prints: a line with the totals, then one for each function,
/// `1,234 (12.34%)  file:function [object]`.
fn parse(text: &str) -> Option<(u64, Functions)> {
    let mut total = None;
    let mut functions = Functions::new();
    for line in text.lines() {
        let Some((count, rest)) = line.trim_start().split_once(' ') else {
            continue;
        };
        let Ok(count) = count.replace(',', "").parse::<u64>() else {
            continue;
        };
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let name = rest.map_or("", |(_, name)| name).trim();
        if name == "PROGRAM TOTALS" {
            total = Some(count);
        } else if !name.is_empty() {
            *functions.entry(function(name)).or_default() += count;
        }
    }
    Some((total?, functions))
}

/// The function of `file:function [object]`, without its cycle.
fn function(name: &str) -> String {
    let name = name.rsplit_once(" [").map_or(name, |(name, _)| name);
    let name = name.split_once(':').map_or(name, |(_, function)| function);
    name.split_once("'")
        .map_or(name, |(name, _)| name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_its_annotation() {
        let text = "Profile data file 'callgrind.out' (creator: callgrind-3.19.0)\n\
            Ir\n\
            --------\n\
            1,234,567 (100.0%)  PROGRAM TOTALS\n\
            Ir                  file:function\n\
            1,000,000 (81.00%)  /src/lib.rs:<isango::Relay as Body>::poll_frame [/bin/isango]\n\
            \x20 200,000 (16.20%)  ???:0x0000 [???]\n\
            \x20  34,567 ( 2.80%)  /src/lib.rs:<isango::Relay as Body>::poll_frame'2 [/bin/isango]\n";
        let (total, functions) = parse(text).unwrap();
        assert_eq!(total, 1_234_567);
        assert_eq!(functions["<isango::Relay as Body>::poll_frame"], 1_034_567);
    }
}
