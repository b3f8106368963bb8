//! Records as comma-separated values (RFC 4180), for spreadsheets: without their bodies.

use std::io::{self, Write};

use isango_types::Record;
use isango_types::price::format_usd;

/// Makes a cell; empty where the record has nothing to say.
type Make = fn(&Record) -> String;

/// The columns, by name.
const COLUMNS: &[(&str, Make)] = &[
    ("id", |r| r.id.to_string()),
    ("created_at", |r| r.created_at.to_string()),
    ("account", |r| r.account.to_string()),
    ("gateway", |r| r.gateway.to_string()),
    ("provider", |r| text(&r.provider)),
    ("target", |r| text(&r.target)),
    ("resource", |r| text(&r.resource)),
    ("deployment", |r| text(&r.deployment)),
    ("operation", |r| r.operation.as_str().to_owned()),
    ("model_requested", |r| text(&r.model_requested)),
    ("model", |r| text(&r.model)),
    ("method", |r| r.method.to_string()),
    ("path", |r| r.path.to_string()),
    ("status", |r| {
        r.status
            .map(|status| status.to_string())
            .unwrap_or_default()
    }),
    ("outcome", |r| r.outcome.as_str().to_owned()),
    ("error_code", |r| {
        r.error
            .as_ref()
            .map(|e| e.code.to_string())
            .unwrap_or_default()
    }),
    ("error_blame", |r| {
        r.error
            .as_ref()
            .map(|e| e.blame.as_str().into())
            .unwrap_or_default()
    }),
    ("error_message", |r| {
        r.error
            .as_ref()
            .map(|e| e.message.to_string())
            .unwrap_or_default()
    }),
    ("attempts", |r| r.attempts.len().to_string()),
    ("stream", |r| r.stream.to_string()),
    ("queue_us", |r| r.timing.queue_us.to_string()),
    ("connect_us", |r| r.timing.connect_us.to_string()),
    ("ttfb_us", |r| {
        r.timing
            .ttfb_us
            .map(|us| us.to_string())
            .unwrap_or_default()
    }),
    ("ttft_us", |r| {
        r.timing
            .ttft_us
            .map(|us| us.to_string())
            .unwrap_or_default()
    }),
    ("total_us", |r| r.timing.total_us.to_string()),
    ("overhead_us", |r| r.timing.overhead_us.to_string()),
    ("input_tokens", |r| {
        r.usage
            .map(|u| u.total_input().to_string())
            .unwrap_or_default()
    }),
    ("cache_read_tokens", |r| {
        r.usage
            .map(|u| u.cache_read.to_string())
            .unwrap_or_default()
    }),
    ("cache_write_tokens", |r| {
        let written = r
            .usage
            .map(|u| u.cache_write.saturating_add(u.cache_write_1h));
        written.map(|tokens| tokens.to_string()).unwrap_or_default()
    }),
    ("output_tokens", |r| {
        r.usage
            .map(|u| u.total_output().to_string())
            .unwrap_or_default()
    }),
    ("reasoning_tokens", |r| {
        r.usage.map(|u| u.reasoning.to_string()).unwrap_or_default()
    }),
    ("usage_estimated", |r| {
        r.usage.map(|u| u.estimated.to_string()).unwrap_or_default()
    }),
    ("cost_usd", |r| {
        r.cost.nanousd.map(format_usd).unwrap_or_default()
    }),
    ("cost_status", |r| r.cost.status.as_str().to_owned()),
    ("price", |r| text(&r.cost.price)),
    ("finish_reason", |r| text(&r.finish_reason)),
    ("token", |r| text(&r.token)),
    ("user_agent", |r| text(&r.user_agent)),
    ("metadata", metadata),
    ("request_bytes", |r| r.request.bytes.to_string()),
    ("response_bytes", |r| r.response.bytes.to_string()),
];

fn text(text: &Option<Box<str>>) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}

fn metadata(record: &Record) -> String {
    if record.metadata.is_empty() {
        return String::new();
    }
    // A map of scalars always has a JSON form.
    serde_json::to_string(&record.metadata).unwrap_or_default()
}

/// Writes the names of the columns.
///
/// # Errors
/// Those of `out`.
pub fn header(out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    write!(out, "{}\r\n", names.join(","))
}

/// Writes one record.
///
/// # Errors
/// Those of `out`.
pub fn row(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let cells: Vec<_> = COLUMNS
        .iter()
        .map(|(_, make)| cell(&make(record)))
        .collect();
    write!(out, "{}\r\n", cells.join(","))
}

/// One cell: what a spreadsheet would run as a formula begins with an apostrophe, what holds a
/// separator is quoted.
#[must_use]
pub fn cell(text: &str) -> String {
    let apostrophe = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        "'"
    } else {
        ""
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{apostrophe}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{apostrophe}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_gets_no_formulas() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("gpt-4o", "gpt-4o");
        check("=1+1", "'=1+1");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@a", "'@a");
        check("\ta", "'\ta");
        check("\r=a", "\"'\r=a\"");
        check("a,b", "\"a,b\"");
        check("=\"a\",b", "\"'=\"\"a\"\",b\"");
        check("", "");
    }

    proptest::proptest! {
        #[test]
        fn every_cell_survives(text in "\\PC*") {
            let cell = cell(&text);
            let inner = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
            let read = inner.map_or(cell.clone(), |inner| inner.replace("\"\"", "\""));
            proptest::prop_assert!(!read.starts_with(['=', '+', '-', '@']));
            let read = read.strip_prefix('\'').filter(|rest| text == **rest).unwrap_or(&read);
            proptest::prop_assert_eq!(read, &text);
        }
    }
}
