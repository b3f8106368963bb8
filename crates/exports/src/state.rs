//! Where a job is: kept with its batch on the way, so that neither is ever without the other.

use isango_store::exports::Saved;
use isango_store::logs::Position;
use isango_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;

/// The state of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Everything before was delivered, or is none of the job's.
    pub(crate) position: Position,
    /// Number of the last batch.
    pub(crate) sequence: u64,
    /// Link of its manifest.
    pub(crate) link: Box<str>,
    /// Records that were delivered.
    pub(crate) records: u64,
    /// Records that were gone.
    pub(crate) lost: u64,
    /// Batches that were given up.
    pub(crate) buried: u64,
    /// When one was last delivered.
    pub(crate) last_complete: Option<Timestamp>,
    /// When one last failed.
    pub(crate) last_error: Option<Timestamp>,
    /// Why, until one is delivered.
    pub(crate) error: Option<Box<str>>,
    /// The batch that is on its way.
    pub(crate) pending: Option<Manifest>,
}

impl State {
    pub(crate) fn at(position: Position) -> Self {
        Self {
            position,
            sequence: 0,
            link: Manifest::no_link(),
            records: 0,
            lost: 0,
            buried: 0,
            last_complete: None,
            last_error: None,
            error: None,
            pending: None,
        }
    }

    pub(crate) fn read(saved: &Saved) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&saved.state)
    }

    /// As it is saved, with the batch that is on its way.
    pub(crate) fn to_saved(&self, batch: Option<&[u8]>) -> Result<Saved, serde_json::Error> {
        Ok(Saved {
            state: serde_json::to_string(self)?.into(),
            batch: batch.map(Into::into),
        })
    }

    /// Takes note that the batch on its way has arrived, or was laid aside.
    pub(crate) fn settle(&mut self, now: Timestamp, was_buried: bool) {
        let Some(manifest) = self.pending.take() else {
            return;
        };
        self.position = Position::after(manifest.to);
        self.sequence = manifest.sequence;
        self.link = manifest.link;
        self.lost += manifest.lost;
        if was_buried {
            self.buried += 1;
        } else {
            self.records += manifest.records;
            self.last_complete = Some(now);
            self.error = None;
        }
    }
}
