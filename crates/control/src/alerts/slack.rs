//! An event as blocks for an incoming webhook of Slack. Source: Slack API, Block Kit reference;
//! read 2026-11-22.
//!
//! Whatever a client may have chosen (metadata, models) is plain text, never markup.

use serde_json::{Value, json};

use super::event::{Event, amount, percent};

/// Longest header that Slack takes, in characters.
const MAX_HEADER: usize = 150;
/// Longest text of one field here; Slack takes 2 000 characters.
const MAX_FIELD: usize = 300;
/// Most fields of a section that Slack takes.
const MAX_FIELDS: usize = 10;

/// The message.
pub(super) fn message(event: &Event) -> Value {
    let test = if event.test { "Test: " } else { "" };
    let (title, fields) = (title(event), fields(event));
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&format!("{test}{title}"), MAX_HEADER) }),
        json!({ "type": "section", "fields": fields }),
    ];
    if let Some(models) = top_models(event) {
        blocks.push(json!({ "type": "section", "text": plain(&models, 5 * MAX_FIELD) }));
    }
    if let Some(link) = &event.link {
        let text = format!("<{}|Open in the dashboard>", escaped(link));
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    let context = format!("{} · {} · {}", event.alert, event.at, event.id);
    blocks.push(json!({ "type": "context", "elements": [plain(&context, MAX_FIELD)] }));
    json!({ "text": escaped(&clipped(&event.summary, MAX_FIELD)), "blocks": blocks })
}

fn title(event: &Event) -> String {
    match (&event.limit, &event.requests) {
        (Some(limit), _) if limit.projected.is_some() => format!("{} will be passed", limit.id),
        (Some(limit), _) => format!("{} of {} is drawn", percent(limit.share), limit.id),
        (None, Some(requests)) => format!("{}: {}", event.kind, percent(requests.share)),
        (None, None) => event.kind.to_string(),
    }
}

fn fields(event: &Event) -> Vec<Value> {
    let mut fields: Vec<(String, String)> = vec![(
        "Gateway".into(),
        format!("{} (account {})", event.gateway, event.account),
    )];
    if let Some(limit) = &event.limit {
        for one in &limit.bucket {
            fields.push((one.name().to_owned(), one.shown().to_owned()));
        }
        let share = percent(limit.share);
        fields.push((
            "Drawn".into(),
            format!("{} ({share})", amount(limit.unit, limit.drawn)),
        ));
        let all = amount(limit.unit, limit.limit);
        fields.push(("Limit".into(), format!("{all} per {}", limit.window)));
        if let Some(projected) = limit.projected {
            fields.push(("Expected".into(), amount(limit.unit, projected)));
        }
        if limit.end > event.at {
            fields.push(("Window ends".into(), limit.end.to_string()));
        }
    }
    if let Some(requests) = &event.requests {
        let share = percent(requests.share);
        let of = format!("{} of {} ({share})", requests.matching, requests.total);
        fields.push(("Requests".into(), of));
        fields.push(("More than".into(), percent(requests.threshold)));
        fields.push(("In".into(), format!("{} s", requests.window_s)));
        if let Some(over) = requests.over_s {
            fields.push(("Longer than".into(), format!("{over} s")));
        }
    }
    fields.truncate(MAX_FIELDS);
    let shown = fields.into_iter();
    shown
        .map(|(name, value)| plain(&format!("{name}\n{value}"), MAX_FIELD))
        .collect()
}

fn top_models(event: &Event) -> Option<String> {
    let limit = event
        .limit
        .as_ref()
        .filter(|limit| !limit.top_models.is_empty())?;
    let mut text = "Top models".to_owned();
    for one in &limit.top_models {
        let line = format!("\n• {}: {}", one.model, amount(limit.unit, one.drawn));
        text.push_str(&clipped(&line, MAX_FIELD));
    }
    Some(text)
}

fn plain(text: &str, most: usize) -> Value {
    json!({ "type": "plain_text", "text": clipped(text, most), "emoji": false })
}

/// The beginning of a text, at most so many characters.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The three characters that are markup in Slack's texts.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
