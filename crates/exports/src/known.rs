//! What gateways ask of records that leave, as it last was: a gateway that was deleted, or is not in
//! force any more, still has records to be exported.

use std::collections::BTreeMap;
use std::sync::Arc;

use isango_types::record::Omitted;
use isango_types::redaction::Redaction;
use isango_types::{Gateway, Record, Snapshot};

/// Most gateways that are remembered; records of others that are gone leave without contents.
const MAX_KNOWN: usize = 10_000;

/// What a gateway asks of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What is taken out of them.
    pub(crate) redaction: Option<Redaction>,
    /// What metadata and bodies are sealed with (PEM).
    pub(crate) public_key: Option<Box<str>>,
    /// Whether jobs of the management API take them.
    pub(crate) logpush: bool,
}

impl Asked {
    pub(crate) fn by(gateway: &Gateway) -> Self {
        Self {
            redaction: gateway.export_redaction.clone(),
            public_key: gateway.logpush_public_key.clone(),
            logpush: gateway.logpush,
        }
    }
}

/// What is asked, by account and gateway.
pub(crate) type AskedBy = BTreeMap<(Box<str>, Box<str>), Asked>;

/// What gateways asked when they were last seen.
#[derive(Debug)]
pub(crate) struct Known {
    all: Arc<AskedBy>,
    seen: Arc<Snapshot>,
}

impl Known {
    pub(crate) fn of(snapshot: &Arc<Snapshot>) -> Self {
        let mut known = Self {
            all: Arc::default(),
            seen: Arc::clone(snapshot),
        };
        known.add();
        known
    }

    /// Takes note of what is in force.
    pub(crate) fn look(&mut self, snapshot: &Arc<Snapshot>) {
        if !Arc::ptr_eq(&self.seen, snapshot) {
            self.seen = Arc::clone(snapshot);
            self.add();
        }
    }

    fn add(&mut self) {
        let all = Arc::make_mut(&mut self.all);
        for gateway in self.seen.gateways() {
            let place = (gateway.account.clone(), gateway.id.clone());
            if all.len() < MAX_KNOWN || all.contains_key(&place) {
                all.insert(place, Asked::by(gateway));
            }
        }
    }

    pub(crate) fn all(&self) -> Arc<AskedBy> {
        Arc::clone(&self.all)
    }
}

/// Takes out of a record what would be sealed.
pub(crate) fn without_contents(record: &mut Record) {
    for message in [&mut record.request, &mut record.response] {
        let (body, raw) = (message.body.take(), message.raw.take());
        if body.is_some() || raw.is_some() {
            message.omitted = Some(Omitted::PayloadOff);
        }
    }
    record.metadata.clear();
}

/// Takes out of a record whatever rules that nobody knows any more could name.
pub(crate) fn bare(record: &mut Record) {
    without_contents(record);
    if let Some((path, _)) = record.path.split_once('?') {
        record.path = path.into();
    }
    record.user_agent = None;
    record.notes.clear();
}
