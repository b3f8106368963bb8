//! Records as lines for people: one line each, columns aligned.

use std::borrow::Cow;
use std::io::{self, Write};

use isango_types::price::{CostStatus, format_usd};
use isango_types::{Cost, Record};

/// Name, width, and whether it is aligned to the right. Wider values are cut, the last column is
/// as wide as it is.
const COLUMNS: [(&str, usize, bool); 9] = [
    ("TIME", 19, false),
    ("STATUS", 6, false),
    ("GATEWAY", 12, false),
    ("PROVIDER", 16, false),
    ("MODEL", 26, false),
    ("TOKENS", 13, true),
    ("COST", 12, true),
    ("TOOK", 8, true),
    ("ID", 36, false),
];

/// Prints a header before its first record.
#[derive(Debug, Default)]
pub(super) struct Table {
    has_header: bool,
}

impl Table {
    pub(super) fn print(&mut self, records: &[Record], out: &mut dyn Write) -> io::Result<()> {
        if !self.has_header && !records.is_empty() {
            self.has_header = true;
            line(&COLUMNS.map(|(name, ..)| Cow::Borrowed(name)), out)?;
        }
        records
            .iter()
            .try_for_each(|record| line(&cells(record), out))
    }
}

fn line(cells: &[Cow<'_, str>; 9], out: &mut dyn Write) -> io::Result<()> {
    let mut text = String::new();
    for (cell, (_, width, is_right)) in cells.iter().zip(COLUMNS) {
        let cell = clean(cell, width);
        let space = " ".repeat(width.saturating_sub(cell.chars().count()));
        let parts = if is_right {
            [&*space, &*cell]
        } else {
            [&*cell, &*space]
        };
        text.extend(parts);
        text.push(' ');
    }
    writeln!(out, "{}", text.trim_end())
}

/// The cell within its width and without anything that could move a terminal's cursor: names of
/// models and gateways come from clients.
pub(in crate::cli) fn clean(cell: &str, width: usize) -> String {
    let printed = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if cell.chars().count() <= width {
        return cell.chars().map(printed).collect();
    }
    cell.chars()
        .take(width.saturating_sub(1))
        .map(printed)
        .chain(['…'])
        .collect()
}

fn cells(record: &Record) -> [Cow<'_, str>; 9] {
    let text = |text: &'_ Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let usage = record.usage.as_ref();
    [
        moment(record).into(),
        status(record).into(),
        (&*record.gateway).into(),
        text(if record.target.is_some() {
            &record.target
        } else {
            &record.provider
        })
        .into(),
        text(if record.model.is_some() {
            &record.model
        } else {
            &record.model_requested
        })
        .into(),
        usage.map_or("-".into(), |u| {
            format!("{}>{}", u.total_input(), u.total_output()).into()
        }),
        cost(&record.cost).into(),
        duration(record.timing.total_us).into(),
        record.id.to_string().into(),
    ]
}

/// `2026-11-22 16:10:23`, in UTC.
fn moment(record: &Record) -> String {
    let text = record.created_at.to_string();
    text.chars()
        .take(19)
        .map(|c| if c == 'T' { ' ' } else { c })
        .collect()
}

/// The status, with a mark where the answer was no whole one.
pub(super) fn status(record: &Record) -> String {
    use isango_types::record::Outcome;
    let status = record
        .status
        .map_or("-".to_owned(), |status| status.to_string());
    match record.outcome {
        Outcome::Answered | Outcome::Refused | Outcome::Failed => status,
        Outcome::ClientLeft => format!("{status} l"),
        Outcome::UpstreamCut => format!("{status} c"),
        Outcome::Stopped => format!("{status} s"),
        Outcome::Overrun => format!("{status} o"),
        Outcome::Panicked => format!("{status} p"),
    }
}

/// The amount, or why it is not known.
pub(super) fn cost(cost: &Cost) -> String {
    let amount = cost.nanousd.map(format_usd);
    match (amount, cost.status) {
        (Some(amount), CostStatus::Estimated) => format!("~${amount}"),
        (Some(amount), _) => format!("${amount}"),
        (None, status) => status.as_str().to_owned(),
    }
}

/// Microseconds in the unit that fits.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02}s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}
