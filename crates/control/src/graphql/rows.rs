//! Rows of a dataset from an answer of the store.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use isango_store::analytics::{Answer, Group};
use isango_types::Timestamp;
use serde_json::{Map, Value, json};

use super::parse::Field;
use super::wanted::{By, Key, MEASURES, SUMS, Wanted};

/// A row on its way: its dimensions by what they are, and its measures.
struct Row {
    key: Vec<(By, Value)>,
    values: [u64; MEASURES.len()],
}

/// The rows that are wanted, in their order.
pub(super) fn rows(wanted: &Wanted, answer: &Answer) -> Value {
    let by: Vec<By> = wanted.dimensions().collect();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |group: &Group, start: Option<Timestamp>, values: &[Option<u64>]| {
        let key = by.iter().map(|by| (*by, shown(wanted, *by, group, start)));
        let key: Vec<(By, Value)> = key.collect();
        // What is one value here may be several there: `cached` is a hit or a stale answer.
        let texts: Vec<String> = key.iter().map(|(_, value)| value.to_string()).collect();
        let row = rows.entry(texts.join("\u{0}")).or_insert_with(|| Row {
            key,
            values: [0; MEASURES.len()],
        });
        for (sum, value) in row.values.iter_mut().zip(values) {
            *sum = sum.saturating_add(value.unwrap_or(0));
        }
    };
    let total = std::slice::from_ref(&answer.total);
    let groups = if wanted.by.is_empty() {
        total
    } else {
        &answer.groups
    };
    for group in groups {
        if wanted.every.is_none() {
            add(group, None, &group.values);
        }
        for point in &group.points {
            add(group, Some(point.start), &point.values);
        }
    }
    let mut rows: Vec<Row> = rows.into_values().filter(|row| row.values[0] > 0).collect();
    rows.sort_by(|one, other| compare(wanted, one, other));
    let rows = rows.iter().take(wanted.limit);
    rows.map(|row| row.shown(&wanted.fields)).collect()
}

impl Wanted {
    /// What is grouped by, in the order of the query, each once.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = By> {
        let parts = self
            .fields
            .iter()
            .filter(|field| field.name == "dimensions");
        let named = parts.flat_map(|field| field.fields.iter());
        let mut found: Vec<By> = Vec::new();
        for by in named.filter_map(|field| By::named(&field.name)) {
            if !found.contains(&by) {
                found.push(by);
            }
        }
        found.into_iter()
    }
}

/// A dimension's value in a group.
fn shown(wanted: &Wanted, by: By, group: &Group, start: Option<Timestamp>) -> Value {
    let text = by.dimension().and_then(|dimension| {
        let at = wanted.by.iter().position(|one| *one == dimension)?;
        group.key.get(at)?.as_deref()
    });
    match by {
        By::Model | By::Provider | By::Gateway | By::UserAgent | By::CacheStatus => {
            text.unwrap_or_default().into()
        }
        By::StatusCode => text
            .and_then(|text| text.parse().ok())
            .unwrap_or(0_u64)
            .into(),
        By::Cached => u64::from(matches!(text, Some("hit" | "stale"))).into(),
        By::Error => u64::from(text == Some("error")).into(),
        By::Time(seconds) => {
            let start = start.unwrap_or_default().as_micros();
            let start = Timestamp::from_micros(start - start % (seconds * 1_000_000));
            let text = start.to_string();
            // To the second, as the contract has it: `2026-11-22T16:00:00Z`.
            let end = if seconds == 86_400 { 10 } else { 19 };
            let mark = if seconds == 86_400 { "" } else { "Z" };
            format!("{}{mark}", text.get(..end).unwrap_or(&text)).into()
        }
    }
}

fn compare(wanted: &Wanted, one: &Row, other: &Row) -> Ordering {
    for (key, is_descending) in &wanted.order {
        let ordering = match key {
            Key::Count => one.values[0].cmp(&other.values[0]),
            Key::Sum(sum) => one.sum(*sum).cmp(&other.sum(*sum)),
            Key::By(by) => by_value(one.value(*by), other.value(*by)),
        };
        let ordering = if *is_descending {
            ordering.reverse()
        } else {
            ordering
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

fn by_value(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let numbers = (one.and_then(Value::as_u64), other.and_then(Value::as_u64));
    if let (Some(one), Some(other)) = numbers {
        return one.cmp(&other);
    }
    one.and_then(Value::as_str)
        .cmp(&other.and_then(Value::as_str))
}

impl Row {
    fn value(&self, by: By) -> Option<&Value> {
        let found = self.key.iter().find(|(one, _)| *one == by);
        found.map(|(_, value)| value)
    }

    /// A sum, by its place in [`SUMS`].
    fn sum(&self, sum: usize) -> u64 {
        let (_, parts) = SUMS[sum];
        let parts = parts.iter().map(|part| self.values[*part]);
        parts.fold(0, u64::saturating_add)
    }

    fn shown(&self, fields: &[Field]) -> Value {
        let members = fields.iter().map(|field| {
            let value = match field.name.as_str() {
                "count" => self.values[0].into(),
                "sum" => self.part(&field.fields, |row, name| {
                    let sum = SUMS.iter().position(|(known, _)| *known == name)?;
                    Some(match name {
                        "cost" => json!(crate::logs::dollars(row.sum(sum))),
                        _ => row.sum(sum).into(),
                    })
                }),
                "max" => self.part(&field.fields, |row, _rows| Some(row.values[0].into())),
                "dimensions" => self.part(&field.fields, |row, name| {
                    By::named(name).and_then(|by| row.value(by)).cloned()
                }),
                _ => "AccountAiGatewayGroups".into(),
            };
            (field.alias.clone(), value)
        });
        members.collect::<Map<String, Value>>().into()
    }

    fn part(&self, fields: &[Field], of: fn(&Self, &str) -> Option<Value>) -> Value {
        let members = fields.iter().map(|field| {
            let value = of(self, &field.name).unwrap_or_default();
            (field.alias.clone(), value)
        });
        members.collect::<Map<String, Value>>().into()
    }
}
