//! The alerts of a gateway: those of its limits, and those of its requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use isango_types::alert::{Alert, Format, Kind, MAX_ALERTS, Share, Webhook, When};
use isango_types::limit::{OnExceeded, Unit, Window};
use isango_types::{Limit, Secret};

use super::section::Section;

/// What is one in a [`Kind::Amount`](super::value::Kind::Amount), and a millionth of it.
const ONE: u64 = 1_000_000_000;
const MILLIONTH: u64 = ONE / 1_000_000;
/// Most of a limit that an alert may be for: ten times of it.
const MOST: u64 = 10 * ONE;
/// Fewest characters of what messages are signed with.
const MIN_SECRET: usize = 16;

/// All alerts of a gateway that has these limits, in the order of the configuration.
pub(super) fn alerts(gateway: &Section<'_>, limits: &[Arc<Limit>]) -> Vec<Arc<Alert>> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut seen = BTreeSet::new();
    for section in gateway.tables("gateways[].alerts[]") {
        if let Some(alert) = of_requests(&section) {
            if !seen.insert(alert.id.clone()) {
                let message = format!("alert `{}` is defined twice in this gateway", alert.id);
                section.problem("id", message, None);
            }
            alerts.push(alert);
        }
    }
    for section in gateway.tables("gateways[].limits[]") {
        let id = section.name("id");
        let limit = limits.iter().find(|limit| Some(&limit.id) == id.as_ref());
        for section in section.tables("gateways[].limits[].alerts[]") {
            if let Some(mut alert) = of_limit(&section, limit) {
                // Two for the same share, to be told in two places.
                let first = alert.id.clone();
                for number in 2.. {
                    if seen.insert(alert.id.clone()) {
                        break;
                    }
                    alert.id = format!("{first}-{number}").into();
                }
                alerts.push(alert);
            }
        }
    }
    if alerts.len() > MAX_ALERTS {
        let message = format!(
            "a gateway has at most {MAX_ALERTS} alerts, those of its limits included; this one {}",
            alerts.len()
        );
        gateway.problem("alerts", message, None);
    }
    alerts.into_iter().map(Arc::new).collect()
}

/// An alert of a limit; `None` for the limit: what is wrong with it was told.
fn of_limit(section: &Section<'_>, limit: Option<&Arc<Limit>>) -> Option<Alert> {
    let (at, forecast) = (section.amount("at"), section.flag("forecast"));
    let webhook = webhook(section);
    let limit = limit?;
    if limit.unit == Unit::Concurrent {
        let message = "alerts are not for `concurrent`, which has no window to be told in";
        section.problem("at", message.into(), None);
    }
    if forecast && matches!(limit.window, Window::Sliding(_)) {
        let message = "`forecast` is not for rolling windows, which do not end";
        section.problem("forecast", message.into(), None);
    }
    let at = at?;
    let blocks = limit.on_exceeded == OnExceeded::Block && !limit.shadow;
    if at > ONE && blocks {
        let message = "`at` is a share of the limit, 1 at most where it blocks: 0.8 is 80 %";
        section.problem("at", message.into(), None);
    }
    let share = share(section, at, MOST)?;
    let kind = if forecast { "-forecast" } else { "" };
    Some(Alert {
        id: format!("{}{kind}-{share}", limit.id).into(),
        when: When::Drawn {
            limit: Arc::clone(limit),
            share,
            forecast,
        },
        webhook: webhook?,
    })
}

/// An alert of the gateway's requests.
fn of_requests(section: &Section<'_>) -> Option<Alert> {
    let choice = section.choice("on");
    let is_late = matches!(choice, 1 | 2);
    let (at, over) = (section.amount("at"), section.wait("over"));
    let kind = match choice {
        0 => Kind::Failed,
        1 => Kind::FirstByte(over),
        2 => Kind::Total(over),
        _ => Kind::Unpriced,
    };
    let (needed, others): (_, &[_]) = match is_late {
        true => ("over", &["at"]),
        false => ("at", &["over", "percentile"]),
    };
    for other in others.iter().filter(|name| section.has(name)) {
        let message = format!(
            "`{other}` is not for `{}`, which has `{needed}`",
            kind.as_str()
        );
        section.problem(other, message, None);
    }
    let is_told = section.has("on");
    if is_told && !section.has(needed) {
        let message = format!("`{needed}` is missing: `{}` needs it", kind.as_str());
        section.problem(needed, message, None);
    }
    let percentile = u32::try_from(section.count("percentile")).unwrap_or(95);
    let share = match is_late {
        true => Some(Share::from_millionths((100 - percentile.min(100)) * 10_000)),
        false => at.and_then(|at| share(section, at, ONE)),
    };
    let (id, webhook) = (section.name("id"), webhook(section));
    let (window, repeat_after) = (section.wait("window"), section.wait("repeat_after"));
    let min_requests = section.count("min_requests") as u64;
    // Everything has been read, so that all that is wrong is told at once.
    let when = When::Often {
        kind,
        share: share?,
        window,
        min_requests,
        repeat_after,
    };
    Some(Alert {
        id: id?,
        when,
        webhook: webhook?,
    })
}

/// A share of at most `most` billionths, to the millionth.
fn share(section: &Section<'_>, at: u64, most: u64) -> Option<Share> {
    let millionths = u32::try_from(at / MILLIONTH).ok();
    let share = millionths.filter(|_| at <= most && at.is_multiple_of(MILLIONTH));
    if share.is_none() {
        let message = format!(
            "`at` is a share from 0.000001 to {}: 0.8 is 80 %",
            most / ONE
        );
        section.problem("at", message, None);
    }
    share.map(Share::from_millionths)
}

/// Where an alert goes.
fn webhook(section: &Section<'_>) -> Option<Webhook> {
    let format = [Format::Slack, Format::Json][section.choice("format")];
    let (url, key) = (section.secret("webhook"), section.secret("secret"));
    let allow_private = section.flag("allow_private");
    if format == Format::Json && !section.has("secret") && section.has("format") {
        let help =
            r#"write `secret = "env:NAME"`; receivers verify with it that a message is ours"#;
        let message = "`json` needs a `secret`, with which its messages are signed";
        section.problem("secret", message.into(), Some(help.into()));
    }
    let is_short = |key: &Secret| key.expose().chars().count() < MIN_SECRET;
    if key.as_ref().is_some_and(is_short) {
        let message = format!("`secret` has at least {MIN_SECRET} characters");
        section.problem("secret", message, None);
    }
    match Webhook::parse(&url?, allow_private, format, key) {
        Ok(webhook) => Some(webhook),
        Err(error) => {
            section.problem(
                "webhook",
                format!("`webhook` is no address to tell: {error}"),
                None,
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
