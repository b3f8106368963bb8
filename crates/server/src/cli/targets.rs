//! `isango targets`: how the configured targets are, as the running gateway sees them.

use std::io::{self, Write};

use http::Method;
use isango_types::health::{CircuitState, TargetStatus, TargetView};
use serde::Deserialize;

use crate::cli::admin::Admin;
use crate::cli::logs::clean;
use crate::cli::write_json;

/// Tell which targets rest, how busy and how fast they are, and what their limits leave
#[derive(Debug, clap::Args)]
#[command(after_help = "\
STATE is `closed`; `open`: its circuit breaker lets it rest; `half_open`: whether it is back is
being found out; `benched`: it said itself how long to leave it alone. FOR is how long still.
REQUESTS and RETRIES are of about the last ten seconds; P95 is the time in which 95 % of its
answers begin, of streams behind the slash; LEFT is what its provider's limits leave: requests,
and tokens behind the slash.

Example: isango targets --json | jq -c 'select(.circuit != \"closed\")'")]
pub(super) struct Args {
    #[command(flatten)]
    admin: Admin,

    /// Print JSON: one line for each target
    #[arg(long)]
    json: bool,
}

/// The answer of the admin listener.
#[derive(Deserialize)]
struct List {
    targets: Vec<TargetView>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let told = args.admin.ask(Method::GET, "/targets", None)?;
    let List { targets } = serde_json::from_value(told)?;
    show(&targets, args.json, out)
}

/// Prints targets and how they are: a table, or a line of JSON for each.
pub(super) fn show(targets: &[TargetView], json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    if json {
        targets.iter().try_for_each(|view| write_json(out, view))?;
    } else if targets.is_empty() {
        writeln!(out, "no gateway has a target")?;
    } else {
        print(targets, out)?;
    }
    Ok(0)
}

const COLUMNS: [&str; 9] = [
    "GATEWAY",
    "TARGET",
    "STATE",
    "FOR",
    "UNDER WAY",
    "REQUESTS",
    "RETRIES",
    "P95",
    "LEFT",
];
/// Columns of words; numbers are aligned to the right.
const WORDS: usize = 3;
/// No name makes a column wider.
const WIDEST: usize = 40;

fn print(targets: &[TargetView], out: &mut dyn Write) -> io::Result<()> {
    let rows = targets.iter().map(cells);
    let rows: Vec<_> = std::iter::once(COLUMNS.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            line += &match column < WORDS {
                true => format!("{cell:<width$}  "),
                false => format!("{cell:>width$}  "),
            };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn cells(view: &TargetView) -> [String; COLUMNS.len()] {
    let TargetView {
        account,
        gateway,
        target,
        status,
    } = view;
    let (state, rest_ms) = state(status);
    [
        clean(&format!("{account}/{gateway}"), WIDEST),
        clean(target, WIDEST),
        state.to_owned(),
        match rest_ms {
            0 => "-".to_owned(),
            rest_ms => format!("{:.1}s", rest_ms as f64 / 1_000.0),
        },
        status.in_flight.to_string(),
        status.requests.to_string(),
        status.retries.to_string(),
        pair([status.ttfb_p95_ms, status.stream_ttfb_p95_ms], "ms"),
        pair([status.remaining_requests, status.remaining_tokens], ""),
    ]
}

/// What keeps traffic away, and for how many milliseconds still.
const fn state(status: &TargetStatus) -> (&'static str, u64) {
    match status.circuit {
        CircuitState::Closed if status.benched_ms > 0 => ("benched", status.benched_ms),
        CircuitState::Closed => ("closed", 0),
        CircuitState::Open => ("open", status.rest_ms),
        CircuitState::HalfOpen => ("half_open", 0),
    }
}

/// Two numbers of which either may not be known.
fn pair(numbers: [Option<u64>; 2], unit: &str) -> String {
    if numbers == [None, None] {
        return "-".to_owned();
    }
    let one = |number: Option<u64>| match number {
        Some(number) => format!("{number}{unit}"),
        None => "-".to_owned(),
    };
    numbers.map(one).join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(target: &str, status: TargetStatus) -> TargetView {
        TargetView {
            account: "local".into(),
            gateway: "support".into(),
            target: target.into(),
            status,
        }
    }

    fn well() -> TargetStatus {
        TargetStatus {
            circuit: CircuitState::Closed,
            rest_ms: 0,
            benched_ms: 0,
            in_flight: 0,
            requests: 0,
            retries: 0,
            ttfb_p95_ms: None,
            stream_ttfb_p95_ms: None,
            remaining_requests: None,
            remaining_tokens: None,
        }
    }

    #[test]
    fn targets_are_a_table() {
        let open = TargetStatus {
            circuit: CircuitState::Open,
            rest_ms: 4_899,
            benched_ms: 9_000,
            requests: 6,
            retries: 12,
            ..well()
        };
        let benched = TargetStatus {
            benched_ms: 30_000,
            in_flight: 3,
            ttfb_p95_ms: Some(106),
            remaining_requests: Some(7),
            remaining_tokens: Some(12_000),
            ..well()
        };
        let probed = TargetStatus {
            circuit: CircuitState::HalfOpen,
            ..well()
        };
        let targets = [
            view("azure-openai-sa", open),
            view("eu\u{7}", benched),
            view("us", probed),
            view("well", well()),
        ];
        let mut out = Vec::new();
        print(&targets, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        let expected = "\
GATEWAY        TARGET           STATE        FOR  UNDER WAY  REQUESTS  RETRIES      P95     LEFT
local/support  azure-openai-sa  open        4.9s          0         6       12        -        -
local/support  eu\u{fffd}              benched    30.0s          3         0        0  106ms/-  7/12000
local/support  us               half_open      -          0         0        0        -        -
local/support  well             closed         -          0         0        0        -        -
";
        assert_eq!(told, expected);
    }
}
