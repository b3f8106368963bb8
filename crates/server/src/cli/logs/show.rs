//! One record for people: its facts, its attempts, its bodies.

use std::io::{self, Write};

use isango_types::Record;
use isango_types::record::{Body, Message, Review};

use super::table::{cost, duration};

/// Prints a record.
pub(super) fn print(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    facts(record, out)?;
    for (index, attempt) in record.attempts.iter().enumerate() {
        let ended = match (attempt.status, &attempt.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => match &attempt.cause {
                Some(cause) => format!("{} ({})", plain(error), plain(cause)),
                None => plain(error),
            },
            (None, None) => "-".to_owned(),
        };
        let connection = if attempt.reused {
            "pooled"
        } else {
            "new connection"
        };
        let first_byte = attempt.ttfb_us.map_or("-".to_owned(), duration);
        let (number, target) = (index + 1, plain(&attempt.target));
        let wait = attempt.wait_reason.as_ref().map(|reason| {
            let waited = duration(attempt.wait_us);
            format!(", after {waited} ({})", plain(reason))
        });
        let wait = wait.unwrap_or_default();
        let cost = attempt.cost.as_ref().map(cost);
        let cost = cost.map_or_else(String::new, |cost| format!(", {cost}"));
        let about = format!("{target} {ended}, first byte {first_byte}, {connection}{wait}{cost}");
        fact(out, &format!("attempt {number}"), &about)?;
    }
    if let Some(cache) = &record.cache {
        fact(out, "cache", cache.status.as_str())?;
    }
    for note in &record.notes {
        fact(out, "note", note)?;
    }
    if let Some(said) = &record.review {
        review(said, out)?;
    }
    message("request", &record.request, out)?;
    message("response", &record.response, out)
}

fn review(review: &Review, out: &mut dyn Write) -> io::Result<()> {
    if let Some(feedback) = review.feedback {
        fact(out, "feedback", &feedback.to_string())?;
    }
    if let Some(score) = &review.score {
        fact(out, "score", &score.to_string())?;
    }
    for comment in &review.comments {
        let author = comment.author.as_deref().unwrap_or("somebody");
        fact(
            out,
            "comment",
            &format!("{author}, {}: {}", comment.at, comment.text),
        )?;
    }
    Ok(())
}

fn facts(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let optional = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    fact(out, "id", &record.id.to_string())?;
    fact(out, "time", &record.created_at.to_string())?;
    fact(
        out,
        "gateway",
        &format!("{}/{}", record.account, record.gateway),
    )?;
    fact(out, "provider", &optional(&record.provider))?;
    fact(out, "target", &optional(&record.target))?;
    fact(out, "resource", &optional(&record.resource))?;
    fact(out, "deployment", &optional(&record.deployment))?;
    fact(out, "operation", record.operation.as_str())?;
    let model = optional(&record.model);
    let asked = optional(&record.model_requested);
    fact(
        out,
        "model",
        &if asked.is_empty() || model == asked {
            model
        } else {
            format!("{model} (asked: {asked})")
        },
    )?;
    fact(
        out,
        "request",
        &format!("{} {}", record.method, record.path),
    )?;
    let status = record
        .status
        .map(|status| status.to_string())
        .unwrap_or_default();
    fact(
        out,
        "status",
        &format!("{status} {}", record.outcome.as_str()),
    )?;
    if let Some(error) = &record.error {
        let (code, blame, message) = (&error.code, error.blame.as_str(), &error.message);
        fact(out, "error", &format!("{code} ({blame}): {message}"))?;
    }
    fact(out, "duration", &duration(record.timing.total_us))?;
    fact(
        out,
        "first byte",
        &record.timing.ttfb_us.map(duration).unwrap_or_default(),
    )?;
    fact(
        out,
        "first token",
        &record.timing.ttft_us.map(duration).unwrap_or_default(),
    )?;
    fact(out, "overhead", &duration(record.timing.overhead_us))?;
    if let Some(usage) = &record.usage {
        let kinds = serde_json::to_value(usage).unwrap_or_default();
        let kinds = kinds.as_object().into_iter().flatten();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        fact(out, "usage", &kinds.join(", "))?;
    }
    let price = record
        .cost
        .price
        .as_deref()
        .map(|price| format!(" by {price}"));
    fact(
        out,
        "cost",
        &format!("{}{}", cost(&record.cost), price.unwrap_or_default()),
    )?;
    fact(out, "finish", &optional(&record.finish_reason))?;
    fact(out, "token", &optional(&record.token))?;
    fact(out, "user agent", &optional(&record.user_agent))?;
    for (key, value) in &record.metadata {
        fact(out, &format!("meta.{key}"), &value.to_text())?;
    }
    Ok(())
}

/// One line; nothing where there is nothing to say.
fn fact(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    if value.trim().is_empty() {
        return Ok(());
    }
    writeln!(out, "{:<12} {}", plain(name), plain(value.trim()))
}

/// Text that cannot move a terminal's cursor.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn message(name: &str, message: &Message, out: &mut dyn Write) -> io::Result<()> {
    let kind = message.content_type.as_deref().unwrap_or("no type");
    writeln!(
        out,
        "\n--- {name}: {} bytes, {} ---",
        message.bytes,
        plain(kind)
    )?;
    if let Some(omitted) = message.omitted {
        writeln!(out, "(not whole: {omitted:?})")?;
    }
    match &message.body {
        Some(body) => writeln!(out, "{}", pretty(body)),
        None => Ok(()),
    }
}

/// Valid JSON with its members on lines of their own, in their order and in their spelling.
pub(super) fn indented(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut rest = json.chars().filter(|c| !c.is_control()).peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        match c {
            '"' => string(&mut rest, &mut text),
            '{' | '[' => {
                text.push(c);
                while rest.next_if_eq(&' ').is_some() {}
                if let Some(end) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            ' ' => {}
            other => text.push(other),
        }
    }
    text
}

/// The rest of a JSON string, whose first quote has been read.
fn string(rest: &mut impl Iterator<Item = char>, text: &mut String) {
    text.push('"');
    while let Some(c) = rest.next() {
        text.push(c);
        match c {
            '"' => return,
            '\\' => text.extend(rest.next()),
            _ => {}
        }
    }
}

/// JSON with its indentation, text as it is but for control characters, bytes as base64.
fn pretty(body: &Body) -> String {
    match body {
        Body::Json(raw) => indented(raw.get()),
        Body::Text(text) => text.split('\n').map(plain).collect::<Vec<_>>().join("\n"),
        Body::Base64(text) => format!("base64: {text}"),
    }
}
