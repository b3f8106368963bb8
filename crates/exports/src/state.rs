//! Where a job is: kept with its batch on the way, so that neither is ever without the other.

use std::collections::VecDeque;

use isango_store::exports::Saved;
use isango_store::logs::Position;
use isango_types::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;

/// Most places that are remembered.
const MAX_MARKS: usize = 32;

/// A place in the journal, and the record before it: so it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) at: Position,
    pub(crate) id: RecordId,
}

/// What was looked at behind the last batch, and is none of the job's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Everything before was looked at; not behind the state's position: nothing was.
    pub(crate) at: Position,
    /// The record before it.
    pub(crate) id: Option<RecordId>,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
}

impl Passed {
    fn to_mark(self) -> Option<Mark> {
        self.id.map(|id| Mark { at: self.at, id })
    }
}

/// How batches are made while the destination refuses some: smaller, until what it refuses is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Careful {
    /// Most records of a batch.
    pub(crate) records: usize,
    /// Behind what was refused.
    pub(crate) until: Position,
}

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
    /// What was looked at when that was made.
    #[serde(default)]
    pub(crate) behind: Option<Mark>,
    /// Ends of batches, the oldest first.
    #[serde(default)]
    pub(crate) marks: VecDeque<Mark>,
    #[serde(default)]
    pub(crate) passed: Passed,
    /// Records of the batch on its way that had been deleted when it was made.
    #[serde(default)]
    pub(crate) erased: u64,
    #[serde(default)]
    pub(crate) careful: Option<Careful>,
    /// Batches that were given up for smaller ones.
    #[serde(default)]
    pub(crate) halved: u64,
    /// The position that was reached before the journal lost its end.
    #[serde(default)]
    pub(crate) rewound: Option<u64>,
    /// When the last batch was made.
    #[serde(default)]
    pub(crate) ended: Option<Timestamp>,
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
            behind: None,
            marks: VecDeque::new(),
            passed: Passed::default(),
            erased: 0,
            careful: None,
            halved: 0,
            rewound: None,
            ended: None,
        }
    }

    /// Where it goes on looking.
    pub(crate) fn looked(&self) -> Position {
        self.position.max(self.passed.at)
    }

    /// Goes back to the last place that the journal still has. `holds` says whether it has one.
    /// Whether it had to.
    pub(crate) fn find<E>(
        &mut self,
        end: Position,
        mut holds: impl FnMut(Mark) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if let Some(mark) = self.passed.to_mark()
            && !(mark.at <= end && holds(mark)?)
        {
            self.passed = Passed::default();
        }
        let reached = self.position;
        while let Some(mark) = self.marks.back() {
            if mark.at <= end && holds(*mark)? {
                break;
            }
            self.marks.pop_back();
            self.position = self.marks.back().map_or(Position::START, |mark| mark.at);
        }
        if self.marks.is_empty() && self.position > end {
            self.position = Position::START;
        }
        let is_back = self.position < reached;
        if is_back {
            self.passed = Passed::default();
            // What was on its way was not delivered: it is made anew, of what is there.
            (self.pending, self.behind, self.careful) = (None, None, None);
            self.rewound.get_or_insert(reached.count());
        }
        Ok(is_back)
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

    /// Makes smaller batches of what is on its way, which the destination refuses. False: it is one
    /// record already.
    pub(crate) fn halve(&mut self) -> bool {
        let Some(manifest) = self.pending.take_if(|manifest| manifest.records > 1) else {
            return false;
        };
        let records = usize::try_from(manifest.records / 2).unwrap_or(usize::MAX);
        let until = self
            .careful
            .map_or(Position::START, |careful| careful.until);
        let until = until.max(Position::after(manifest.to));
        self.careful = Some(Careful { records, until });
        self.behind = None;
        // Another batch has another number, so that nobody takes one for the other.
        self.sequence = manifest.sequence;
        self.ended = Some(manifest.made_at);
        self.halved += 1;
        true
    }

    /// Takes note that the batch on its way has arrived, or was laid aside.
    pub(crate) fn settle(&mut self, now: Timestamp, was_buried: bool) {
        let Some(manifest) = self.pending.take() else {
            return;
        };
        self.position = Position::after(manifest.to);
        self.passed = Passed::default();
        self.rewound = None;
        self.careful = self.careful.filter(|careful| self.position < careful.until);
        if let Some(mark) = self.behind.take() {
            self.marks.push_back(mark);
            if self.marks.len() > MAX_MARKS {
                self.marks.pop_front();
            }
        } else {
            // An older one would be taken for the end.
            self.marks.clear();
        }
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
