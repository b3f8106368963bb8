//! What is taken out of records: the rules of a gateway, as it holds them. What they do is
//! `isango-redact`'s.

use std::fmt;
use std::sync::Arc;

use crate::record::Record;

/// Takes out of a record what must not be kept.
pub trait Redact: Send + Sync {
    /// Does so; the same record, done twice, stays as it is.
    fn redact(&self, record: &mut Record);
}

/// The rules of a gateway, compiled.
#[derive(Clone)]
pub struct Redaction {
    /// What they were made of, to tell whether they changed. May hold secrets.
    source: Arc<str>,
    rules: Arc<dyn Redact>,
}

impl Redaction {
    /// Rules that were made of `source`.
    #[must_use]
    pub fn new(source: &str, rules: Arc<dyn Redact>) -> Self {
        Self {
            source: source.into(),
            rules,
        }
    }

    /// Takes out of a record what they name.
    pub fn redact(&self, record: &mut Record) {
        self.rules.redact(record);
    }
}

impl PartialEq for Redaction {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Redaction {}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").finish_non_exhaustive()
    }
}
