//! What is told: one event, which is also the `json` format of a webhook. Its members are
//! documented in `docs/alerts.md`; a change that breaks readers raises [`VERSION`].

use isango_types::alert::{Kind, Share};
use isango_types::limit::Unit;
use isango_types::price::format_usd;
use isango_types::{Gateway, Limit, RecordId, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::judge::{Crossing, Seen};
use super::{Place, fresh_id, words};

/// Version of the format.
const VERSION: u32 = 1;

/// One alert that was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Of the format.
    pub version: u32,
    /// Its id: the same each time it is sent.
    pub id: RecordId,
    /// Whether it was sent to see whether it arrives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// When it was due.
    pub at: Timestamp,
    /// Account of the gateway.
    pub account: Box<str>,
    /// Id of the gateway.
    pub gateway: Box<str>,
    /// Id of the alert.
    pub alert: Box<str>,
    /// `limit`, `forecast`, `error_rate`, `ttfb`, `duration` or `unpriced`.
    pub kind: Box<str>,
    /// All of it in one sentence.
    pub summary: String,
    /// Of a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<OfLimit>,
    /// Of requests of a kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<OfRequests>,
    /// Where the dashboard shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// How a limit stands. Amounts are in its unit; cost is in nano-dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfLimit {
    /// Its id.
    pub id: Box<str>,
    /// What it counts.
    pub unit: Unit,
    /// How much passes.
    pub limit: u64,
    /// How much is drawn.
    pub drawn: u64,
    /// The same as a share.
    pub share: f64,
    /// The share that the alert is for.
    pub threshold: f64,
    /// How much will be drawn by the end of the window, if that is what is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projected: Option<u64>,
    /// Whose limit it is: the values by which it is split.
    pub bucket: Vec<OfDimension>,
    /// The window in words.
    pub window: String,
    /// Where it begins.
    pub start: Timestamp,
    /// Where it ends; of a rolling one, `at`.
    pub end: Timestamp,
    /// Who drew most, largest first; at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_models: Vec<OfModel>,
}

/// One value that a limit is split by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDimension {
    /// The dimension, as in the configuration: `metadata.tenantId`.
    pub dimension: String,
    /// The value; `None`: the requests had none.
    pub value: Option<Box<str>>,
}

impl OfDimension {
    /// The dimension in short: a metadata key stands for itself.
    pub(super) fn name(&self) -> &str {
        let name = &*self.dimension;
        name.strip_prefix("metadata.").unwrap_or(name)
    }

    /// The value, to be shown.
    pub(super) fn shown(&self) -> &str {
        self.value.as_deref().unwrap_or("(none)")
    }
}

/// What one model drew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfModel {
    /// Its name.
    pub model: Box<str>,
    /// How much.
    pub drawn: u64,
}

/// How many requests are of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfRequests {
    /// How many there were.
    pub total: u64,
    /// How many of them are of the kind.
    pub matching: u64,
    /// The same as a share.
    pub share: f64,
    /// The share that the alert is for.
    pub threshold: f64,
    /// The time they are of, in seconds.
    pub window_s: f64,
    /// What is too long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_s: Option<f64>,
}

impl Event {
    /// The event with a link to the requests that a filter finds, if there is a dashboard.
    pub(super) fn with_link(mut self, dashboard: Option<&str>, filter: &str) -> Self {
        self.link = dashboard.map(|base| {
            let query = utf8_percent_encode(filter, NON_ALPHANUMERIC);
            format!("{}/requests?q={query}", base.trim_end_matches('/'))
        });
        self
    }

    /// The event as a test.
    pub(super) fn into_test(mut self) -> Self {
        self.test = true;
        self.summary = format!("This is a test. {}", self.summary);
        self
    }
}

impl Place<'_> {
    fn event(self, kind: &str, summary: String) -> Event {
        let Gateway { account, id, .. } = self.gateway;
        Event {
            version: VERSION,
            id: fresh_id(self.now),
            test: false,
            at: self.now,
            account: account.clone(),
            gateway: id.clone(),
            alert: self.alert.id.clone(),
            kind: kind.into(),
            summary,
            limit: None,
            requests: None,
            link: None,
        }
    }

    /// So much of a limit is drawn.
    pub(super) fn drawn(
        self,
        limit: &Limit,
        values: &[Option<Box<str>>],
        crossing: Crossing,
    ) -> Event {
        let share = ratio(crossing.used, limit.limit);
        let spent = amount(limit.unit, crossing.used);
        let all = amount(limit.unit, limit.limit);
        let of = format!("{all} per {}", limit.window);
        let (kind, mut summary) = match crossing.projected {
            None => {
                let percent = percent(share);
                (
                    "limit",
                    format!("{percent} of limit {} is drawn: {spent} of {of}", limit.id),
                )
            }
            Some(projected) => {
                let expected = amount(limit.unit, projected);
                let what = format!("limit {} will be passed: {expected} of {of}", limit.id);
                (
                    "forecast",
                    format!("{what} by {}, {spent} so far", crossing.end),
                )
            }
        };
        let bucket = bucket(limit, values);
        for one in &bucket {
            summary = format!("{summary}, {} {}", one.name(), one.shown());
        }
        let event = self.event(kind, summary);
        Event {
            limit: Some(OfLimit {
                id: limit.id.clone(),
                unit: limit.unit,
                limit: limit.limit,
                drawn: crossing.used,
                share,
                threshold: crossing.share.as_f64(),
                projected: crossing.projected,
                bucket,
                window: limit.window.to_string(),
                start: crossing.start,
                end: crossing.end,
                top_models: Vec::new(),
            }),
            ..event
        }
    }

    /// So many requests are of a kind.
    pub(super) fn often(self, kind: Kind, most: Share, seen: Seen) -> Event {
        let share = ratio(seen.of_kind, seen.total);
        let window_s = seen.window.as_secs_f64();
        let summary = format!(
            "{} of {} requests in {window_s} s {}: more than {most} %",
            percent(share),
            seen.total,
            words(kind)
        );
        let over_s = match kind {
            Kind::FirstByte(over) | Kind::Total(over) => Some(over.as_secs_f64()),
            Kind::Failed | Kind::Unpriced => None,
        };
        Event {
            requests: Some(OfRequests {
                total: seen.total,
                matching: seen.of_kind,
                share,
                threshold: most.as_f64(),
                window_s,
                over_s,
            }),
            ..self.event(kind.as_str(), summary)
        }
    }
}

fn bucket(limit: &Limit, values: &[Option<Box<str>>]) -> Vec<OfDimension> {
    let named = limit.by.iter().zip(values);
    let named = named.map(|(dimension, value)| OfDimension {
        dimension: dimension.to_string(),
        value: value.clone(),
    });
    named.collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share is for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// `80.2 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An amount with its unit: `$400.12`, `12000 tokens`.
pub(super) fn amount(unit: Unit, amount: u64) -> String {
    match unit {
        Unit::Cost if amount < 1_000_000_000 => format!("${}", format_usd(amount)),
        // From a dollar on, to the cent.
        Unit::Cost => {
            let cents = amount / 10_000_000;
            format!("${}.{:02}", cents / 100, cents % 100)
        }
        Unit::Requests | Unit::Tokens | Unit::Concurrent => {
            format!("{amount} {}", unit.as_str())
        }
    }
}
