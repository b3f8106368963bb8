//! What is added to a record after it was stored: what people thought of the answer.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{Message, Omitted, Record};
use crate::clock::Timestamp;
use crate::price::Cost;

/// What was said of a record later (data-plane section 23). At least one of them is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// −1, 0 or 1: thumbs down, neither, thumbs up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<i8>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Number>,
    /// In the order in which they were made; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// Where it was priced again: the record's `cost` is the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rated: Option<Rated>,
}

/// That a record was priced again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rated {
    /// When.
    pub at: Timestamp,
    /// What it cost as it was stored.
    pub was: Cost,
}

impl Review {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A remark of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Box<str>>,
    /// What it says; at most 4 096 bytes.
    pub text: Box<str>,
}

impl Record {
    /// Gives it another cost, and the attempt whose answer it cost; `review` tells the one before.
    pub fn rate(&mut self, cost: &Cost, at: Timestamp) {
        let was = std::mem::replace(&mut self.cost, cost.clone());
        for attempt in &mut self.attempts {
            if attempt.cost.as_ref() == Some(&was) {
                attempt.cost = Some(cost.clone());
            }
        }
        let review = self.review.get_or_insert_default();
        review.rated = Some(Rated { at, was });
    }

    /// Takes out what a deletion takes: what was said, by whom, and what came of it. What sums and
    /// limits count is left, so that they stay true.
    pub fn erase(&mut self) {
        let mut id = [0; 36];
        self.event_id = self.id.encode(&mut id).into();
        self.path = "".into();
        self.error = None;
        self.attempts.clear();
        self.finish_reason = None;
        self.provider_id = None;
        self.metadata.clear();
        self.user_agent = None;
        self.notes.clear();
        self.review = None;
        self.request.omit(Omitted::Deleted);
        self.response.omit(Omitted::Deleted);
    }

    /// Whether it was deleted and this is what is left of it.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.request.omitted == Some(Omitted::Deleted)
    }

    /// Takes out the bodies, for being older than bodies are kept.
    pub fn expire_bodies(&mut self) {
        for message in [&mut self.request, &mut self.response] {
            if message.body.is_some() || message.raw.is_some() {
                message.body = None;
                message.raw = None;
                message.omitted = Some(Omitted::Expired);
            }
        }
    }
}

impl Message {
    /// Leaves the size and a reason of it.
    fn omit(&mut self, reason: Omitted) {
        *self = Self {
            bytes: self.bytes,
            omitted: Some(reason),
            ..Self::default()
        };
    }
}
