//! What was read of kept answers: one that is given often is read once, not for every record.

use isango_types::record::Outcome;
use isango_types::{Operation, RecordId, Wire};
use isango_wire::read::{Decoded, Reading};

use crate::exchange::Draft;
use crate::resolve::Route;

/// Answers that are remembered.
const MAX: usize = 64;
/// The longest that is, in bytes of its body and of its text.
const MAX_BYTES: usize = 64 << 10;

/// Readings of the answers that were given last, roughly the most wanted first.
#[derive(Debug, Default)]
pub(crate) struct Readings(Vec<(Given, Reading)>);

/// All that a reading depends on, of a kept answer that was given whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The exchange that paid for it: it filled one entry.
    filled_by: RecordId,
    wire: Wire,
    operation: Operation,
    keep_raw: bool,
}

impl Given {
    /// What was given to an exchange; `None`: no kept answer, or not all of it.
    pub(crate) fn to(draft: &Draft, route: &Route) -> Option<Self> {
        let filled_by = draft.cache.as_ref()?.recalled()?;
        let is_whole =
            draft.outcome == Some(Outcome::Answered) && draft.response.omitted().is_none();
        is_whole.then_some(Self {
            filled_by,
            wire: route.wire,
            operation: draft.operation,
            keep_raw: route.gateway.record_raw_streams,
        })
    }
}

impl Readings {
    /// The reading of an answer that was given before.
    pub(crate) fn get(&mut self, given: &Given) -> Option<Reading> {
        let at = self.0.iter().position(|(known, _)| known == given)?;
        self.0.swap(0, at);
        self.0.first().map(|(_, reading)| reading.clone())
    }

    /// Remembers one, if it is not too long.
    pub(crate) fn keep(&mut self, given: Given, reading: &Reading) {
        let body = reading
            .body
            .as_ref()
            .map_or(0, |body: &Decoded| body.as_bytes().len());
        let raw = reading.raw.as_ref().map_or(0, Vec::len);
        if body + raw + reading.delivered_text.len() <= MAX_BYTES {
            self.0.truncate(MAX - 1);
            self.0.push((given, reading.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use isango_types::Timestamp;

    use super::*;

    fn given(n: u64) -> Given {
        Given {
            filled_by: RecordId::new(Timestamp::from_micros(n)),
            wire: Wire::Openai,
            operation: Operation::Chat,
            keep_raw: false,
        }
    }

    fn reading(text: &str) -> Reading {
        Reading {
            delivered_text: text.to_owned(),
            ..Reading::default()
        }
    }

    #[test]
    fn a_reading_is_known_until_many_others_were_wanted_more() {
        let mut readings = Readings::default();
        let all: Vec<Given> = (0..1_000).map(given).collect();
        for (n, one) in all.iter().enumerate() {
            assert_eq!(readings.get(one), None);
            readings.keep(*one, &reading(&n.to_string()));
            assert_eq!(readings.get(&all[0]), Some(reading("0")), "{n}");
        }
        assert_eq!(readings.0.len(), MAX);
        assert_eq!(readings.get(&all[999]), Some(reading("999")));
    }

    #[test]
    fn another_way_of_reading_is_another_reading() {
        let mut readings = Readings::default();
        let one = given(1);
        readings.keep(one, &reading("one"));
        for other in [
            Given {
                wire: Wire::Anthropic,
                ..one
            },
            Given {
                operation: Operation::Embeddings,
                ..one
            },
            Given {
                keep_raw: true,
                ..one
            },
        ] {
            assert_eq!(readings.get(&other), None, "{other:?}");
        }
    }

    #[test]
    fn long_ones_are_not_remembered() {
        let mut readings = Readings::default();
        readings.keep(given(1), &reading(&"x".repeat(MAX_BYTES + 1)));
        assert_eq!(readings.0.len(), 0);
    }
}
