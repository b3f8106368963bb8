//! Whose share of a limit it is: read from the records when a message is sent, which is rare.

use std::collections::HashMap;

use isango_store::filter::Filter;
use isango_store::logs::{Error, LogReader, Query};
use isango_types::limit::Dimension;
use isango_types::{Gateway, Limit, Record, Timestamp};

use super::event::{Event, OfLimit, OfModel};

/// Records that are looked at, latest first.
const MAX_RECORDS: usize = 200_000;
/// Records of one page.
const PAGE: usize = 2_000;
/// Models that are told.
const MAX_MODELS: usize = 5;

/// Fills in who drew most from the event's limit, of the latest 200 000 records of its window.
///
/// # Errors
/// The records cannot be read; the event is as it was.
pub(super) fn add_top_models(event: &mut Event, logs: &dyn LogReader) -> Result<(), Error> {
    let Some(limit) = &mut event.limit else {
        return Ok(());
    };
    let places = [("account", &event.account), ("gateway", &event.gateway)];
    let filter = places.map(|(field, value)| format!("{field}:{}", quoted(value)));
    let mut query = Query {
        filter: Filter::parse(&filter.join(" "), event.at).unwrap_or_default(),
        limit: PAGE,
        since: Some(limit.start),
        ..Query::default()
    };
    let mut drawn: HashMap<Box<str>, u64> = HashMap::new();
    let mut read = 0;
    while read < MAX_RECORDS {
        let page = logs.query(&query)?;
        read += page.records.len().max(1);
        for record in page.records {
            let charged = charged(&record, limit);
            if charged > 0 {
                let model = record.model.or(record.model_requested);
                *drawn
                    .entry(model.unwrap_or_else(|| "(none)".into()))
                    .or_default() += charged;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let mut models: Vec<OfModel> = drawn
        .into_iter()
        .map(|(model, drawn)| OfModel { model, drawn })
        .collect();
    models.sort_by(|one, other| (other.drawn, &one.model).cmp(&(one.drawn, &other.model)));
    models.truncate(MAX_MODELS);
    limit.top_models = models;
    Ok(())
}

/// What a record drew from the event's bucket in its window.
fn charged(record: &Record, limit: &OfLimit) -> u64 {
    let of_bucket = record.limits.iter().filter(|decision| {
        decision.rule == limit.id
            && decision.unit == limit.unit
            && decision.at >= limit.start
            && decision
                .bucket
                .iter()
                .eq(limit.bucket.iter().map(|one| &one.value))
    });
    of_bucket.map(|decision| decision.charged).sum()
}

/// The filter that finds the requests of a bucket since a moment.
pub(super) fn filter(
    gateway: &Gateway,
    limit: &Limit,
    values: &[Option<Box<str>>],
    since: Timestamp,
) -> String {
    let mut filter = format!(
        "account:{} gateway:{}",
        quoted(&gateway.account),
        quoted(&gateway.id)
    );
    for (dimension, value) in limit.by.iter().zip(values) {
        let Some(value) = value else { continue };
        let field = match dimension {
            Dimension::Metadata(key) => format!("meta.{key}="),
            Dimension::Token => "token:".into(),
            Dimension::Provider => "provider:".into(),
            Dimension::Model => "model:".into(),
            Dimension::Target => "target:".into(),
        };
        filter = format!("{filter} {field}{}", quoted(value));
    }
    format!("{filter} time:>={since}")
}

/// A value of a filter that is read as it is.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}
