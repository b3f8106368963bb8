//! What a limit would have done to requests of before: the same windows, fed with what their records
//! say that they drew. Nothing is drawn from the limits of now.

use std::collections::HashMap;
use std::sync::Arc;

use isango_types::limit::{Condition, Dimension, Unit};
use isango_types::{Gateway, Limit, Record, Timestamp};

use super::bucket::{Judgement, State};
use super::time::Present;
use super::{Values, clip, key};

/// Buckets that are counted at once; requests with other values are not judged.
const MAX_BUCKETS: usize = 100_000;

/// A limit, and what was drawn from it so far.
#[derive(Debug)]
pub struct History {
    gateway: Gateway,
    limit: Arc<Limit>,
    buckets: HashMap<Box<str>, State>,
}

/// What a limit would have said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is not for this request.
    NotUnder,
    /// It would have passed.
    Passed,
    /// It would have been refused, or warned of, or sent elsewhere.
    Exceeded {
        /// The values that the bucket is for.
        bucket: Values,
        /// How much was drawn before.
        before: u64,
        /// When there would have been room again.
        opens_at: Timestamp,
    },
    /// There are too many values, or it draws what nobody knows.
    Unknown,
}

impl History {
    /// A limit of a gateway from which nothing was drawn yet.
    #[must_use]
    pub fn new(gateway: &Gateway, limit: Arc<Limit>) -> Self {
        Self {
            gateway: gateway.clone(),
            limit,
            buckets: HashMap::new(),
        }
    }

    /// Looks at the next request, later than those before. One that would have been refused draws
    /// nothing.
    pub fn see(&mut self, record: &Record) -> Ruling {
        let limit = &self.limit;
        if limit.unit == Unit::Concurrent || !is_under(record, limit) {
            return Ruling::NotUnder;
        }
        let Some(amount) = drawn(record, limit.unit) else {
            return Ruling::Unknown;
        };
        let mut values: Values = limit.by.iter().map(|one| value(record, one)).collect();
        values.iter_mut().flatten().for_each(clip);
        let key = key(&self.gateway, limit, &values);
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&*key) {
            return Ruling::Unknown;
        }
        let now = record.created_at;
        let state = self.buckets.entry(key.into());
        // The clock of the records is taken as it was.
        let time = Present { now, least: now };
        let state = state.or_insert_with(|| State::new(limit, time));
        let at = state.roll(limit, time);
        let before = state.sum().total();
        // What was drawn in the end is what it may draw: no request is under way beside it.
        match state.judge(limit, Some(amount), amount) {
            Judgement::Fits(held) => {
                state.hold(at, held);
                state.settle(at, held, amount);
                Ruling::Passed
            }
            Judgement::Full | Judgement::Busy => Ruling::Exceeded {
                bucket: values,
                before,
                opens_at: state.opens_at(limit, amount, now),
            },
        }
    }
}

/// What a request drew; `None`: nobody knows.
fn drawn(record: &Record, unit: Unit) -> Option<u64> {
    match unit {
        Unit::Requests => Some(1),
        Unit::Concurrent => None,
        Unit::Tokens => {
            let usage = record.usage.as_ref()?;
            Some(usage.total())
        }
        Unit::Cost => record.cost.nanousd,
    }
}

fn value(record: &Record, dimension: &Dimension) -> Option<Box<str>> {
    match dimension {
        Dimension::Metadata(key) => {
            let value = record.metadata.get(key)?;
            Some(value.to_text().into())
        }
        Dimension::Token => record.token.clone(),
        Dimension::Provider => record.provider.clone(),
        Dimension::Model => record.model_requested.clone(),
        Dimension::Target => record.target.clone().or_else(|| record.provider.clone()),
    }
}

fn is_under(record: &Record, limit: &Limit) -> bool {
    limit.only.iter().all(|Condition { dimension, values }| {
        value(record, dimension).map_or(*dimension == Dimension::Model, |value| {
            values.contains(&value)
        })
    })
}
