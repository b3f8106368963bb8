//! What is said of a record after it was stored: feedback, a score, other metadata, comments, what
//! it costs by other prices, and that it is to be deleted. A record is never changed for it; stores keep a [`Later`] beside it
//! and show both as one.

use std::collections::BTreeMap;

use isango_types::record::{Comment, MetadataValue, Review};
use isango_types::{Cost, Record, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Most comments on one record.
pub const MAX_COMMENTS: usize = 64;
/// Longest comment, in bytes.
pub const MAX_COMMENT_BYTES: usize = 4_096;
/// Most entries of metadata that are added to one record.
pub const MAX_ENTRIES: usize = 64;
/// Longest key and longest value of such an entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 1_024;

/// What a patch does with one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Takes back what was said of it later.
    Clear,
    /// Says this of it.
    Set(T),
}

impl<T> Change<T> {
    fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }
}

/// What is to be said of a record; the default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// −1, 0 or 1.
    pub feedback: Change<i8>,
    /// 0 to 100.
    pub score: Change<Number>,
    /// Entries that replace those of the same key, recorded or said before; a null takes the entry
    /// out. [`Change::Clear`] brings the recorded ones back.
    pub metadata: Change<BTreeMap<Box<str>, MetadataValue>>,
    /// One more comment.
    pub comment: Option<Comment>,
}

/// Why a patch cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Feedback beyond its bounds.
    #[error("feedback is -1, 0 or 1")]
    Feedback,
    /// A score beyond its bounds.
    #[error("a score is a number from 0 to 100")]
    Score,
    /// Too much metadata.
    #[error(
        "metadata has at most {MAX_ENTRIES} entries, of at most {MAX_ENTRY_BYTES} bytes for a key \
         or a value, and no empty key"
    )]
    Metadata,
    /// A comment that is empty or too long, or one too many.
    #[error(
        "a comment has 1 to {MAX_COMMENT_BYTES} bytes, and a record at most {MAX_COMMENTS} of them"
    )]
    Comment,
}

impl Patch {
    /// Whether it says something that can be said.
    ///
    /// # Errors
    /// Something is beyond its bounds.
    pub fn check(&self) -> Result<(), PatchError> {
        if let Change::Set(feedback) = self.feedback
            && !(-1..=1).contains(&feedback)
        {
            return Err(PatchError::Feedback);
        }
        if let Change::Set(score) = &self.score
            && !score
                .as_f64()
                .is_some_and(|score| (0.0..=100.0).contains(&score))
        {
            return Err(PatchError::Score);
        }
        if let Change::Set(metadata) = &self.metadata {
            let fits = |len: usize| len <= MAX_ENTRY_BYTES;
            let mut keys = metadata.keys().map(|key| key.len());
            let mut values = metadata.values().map(|value| value.to_text().len());
            let is_small = keys.all(|len| len > 0 && fits(len)) && values.all(fits);
            if metadata.len() > MAX_ENTRIES || !is_small {
                return Err(PatchError::Metadata);
            }
        }
        let fits = |comment: &Comment| (1..=MAX_COMMENT_BYTES).contains(&comment.text.len());
        if !self.comment.as_ref().is_none_or(fits) {
            return Err(PatchError::Comment);
        }
        Ok(())
    }
}

/// How a record is deleted. Either way it is in no answer any more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// It is hidden, and can be restored.
    Hidden,
    /// It is removed for good: what was said in it goes from the disk too, at the next upkeep of
    /// the store. What sums and limits count of it is kept.
    Erased,
}

/// What a record costs by other prices than those that it was stored under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// What it costs, or why that is not known.
    pub cost: Cost,
    /// When it was priced again.
    pub at: Timestamp,
}

/// All that was said of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// Feedback, score and comments.
    #[serde(default, skip_serializing_if = "Review::is_empty")]
    pub review: Review,
    /// Entries that replace the recorded ones; null where one is taken out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<Box<str>, MetadataValue>,
    /// Whether the record is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deletion>,
    /// What it costs since it was priced again. Stores keep it by itself: there may be many.
    #[serde(skip)]
    pub rating: Option<Rating>,
}

impl Later {
    /// Takes a patch in.
    ///
    /// # Errors
    /// The patch cannot be, alone or on top of what was said before; nothing is changed then.
    pub fn apply(&mut self, patch: &Patch) -> Result<(), PatchError> {
        patch.check()?;
        let mut next = self.clone();
        patch.feedback.clone().apply(&mut next.review.feedback);
        patch.score.clone().apply(&mut next.review.score);
        match &patch.metadata {
            Change::Keep => {}
            Change::Clear => next.metadata.clear(),
            Change::Set(entries) => next.metadata.extend(entries.clone()),
        }
        next.review.comments.extend(patch.comment.clone());
        if next.metadata.len() > MAX_ENTRIES {
            return Err(PatchError::Metadata);
        }
        if next.review.comments.len() > MAX_COMMENTS {
            return Err(PatchError::Comment);
        }
        *self = next;
        Ok(())
    }

    /// Deletes the record, if that takes more from it than before; whether it did.
    pub fn delete(&mut self, how: Deletion) -> bool {
        let is_more = self.deleted < Some(how);
        if is_more {
            self.deleted = Some(how);
        }
        if self.deleted == Some(Deletion::Erased) {
            (self.review, self.metadata) = (Review::default(), BTreeMap::new());
        }
        is_more
    }

    /// Shows a hidden record again; whether it was hidden.
    pub fn restore(&mut self) -> bool {
        let is_hidden = self.deleted == Some(Deletion::Hidden);
        if is_hidden {
            self.deleted = None;
        }
        is_hidden
    }

    /// Shows a record as it is now: with what was said of it, or what is left of it.
    pub fn dress(&self, record: &mut Record) {
        if !self.review.is_empty() {
            record.review = Some(Box::new(self.review.clone()));
        }
        if let Some(Rating { cost, at }) = &self.rating {
            record.rate(cost, *at);
        }
        if self.deleted.is_some() {
            record.erase();
            return;
        }
        for (key, value) in &self.metadata {
            if *value == MetadataValue::Null {
                record.metadata.remove(key);
            } else {
                record.metadata.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;

    fn score(number: f64) -> Patch {
        Patch {
            score: Number::from_f64(number).map_or(Change::Keep, Change::Set),
            ..Patch::default()
        }
    }

    #[test]
    fn a_patch_keeps_its_bounds() {
        let feedback = |feedback| Patch {
            feedback: Change::Set(feedback),
            ..Patch::default()
        };
        let metadata = |count: usize, len: usize| Patch {
            metadata: Change::Set(
                (0..count)
                    .map(|n| {
                        (
                            n.to_string().into(),
                            MetadataValue::Text("x".repeat(len).into()),
                        )
                    })
                    .collect(),
            ),
            ..Patch::default()
        };
        let comment = |len: usize| Patch {
            comment: Some(Comment {
                at: sample::START,
                author: None,
                text: "x".repeat(len).into(),
            }),
            ..Patch::default()
        };
        for (good, bad, error) in [
            (feedback(-1), feedback(-2), PatchError::Feedback),
            (feedback(1), feedback(2), PatchError::Feedback),
            (score(0.0), score(-0.5), PatchError::Score),
            (score(100.0), score(100.5), PatchError::Score),
            (metadata(64, 1_024), metadata(65, 1), PatchError::Metadata),
            (metadata(1, 0), metadata(1, 1_025), PatchError::Metadata),
            (comment(4_096), comment(4_097), PatchError::Comment),
            (comment(1), comment(0), PatchError::Comment),
        ] {
            assert_eq!(good.check(), Ok(()));
            let mut later = Later::default();
            assert_eq!(later.apply(&bad), Err(error));
            assert_eq!(later, Later::default());
        }
        let mut later = Later::default();
        (0..MAX_COMMENTS).for_each(|_| later.apply(&comment(1)).unwrap());
        assert_eq!(later.apply(&comment(1)), Err(PatchError::Comment));
        let mut later = Later::default();
        later.apply(&metadata(64, 1)).unwrap();
        let other = Patch {
            metadata: Change::Set([("other".into(), MetadataValue::Bool(true))].into()),
            ..Patch::default()
        };
        assert_eq!(later.apply(&other), Err(PatchError::Metadata));
    }

    #[test]
    fn an_erased_record_keeps_what_counts_and_nothing_that_was_said() {
        let mut record = sample::record(8);
        record.event_id = "order 66".into();
        let whole = record.clone();
        let mut later = Later::default();
        assert!(later.delete(Deletion::Hidden));
        assert!(later.delete(Deletion::Erased));
        assert!(!later.delete(Deletion::Hidden), "there is no way back");
        assert!(!later.restore());
        later.dress(&mut record);
        assert!(record.is_erased());
        assert_eq!(
            (
                record.id,
                record.created_at,
                record.cost.nanousd,
                record.usage
            ),
            (whole.id, whole.created_at, whole.cost.nanousd, whole.usage)
        );
        let json = serde_json::to_string(&record).unwrap();
        for said in [
            "order 66", "Question", "Answer", "acme", "chatcmpl", "Python", "chat/",
        ] {
            assert!(!json.contains(said), "{said} in {json}");
        }
    }
}
