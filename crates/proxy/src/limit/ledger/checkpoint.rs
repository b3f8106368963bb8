//! What was on record of limits at one moment, as bytes: a position among the records, the moment, and
//! for each limit what its buckets had drawn in what was before it.
//!
//! Numbers are little-endian, texts begin with their length. A limit is known by its names and a
//! digest of its definition: one that counts something else than before, in other windows or other
//! requests, is not among them.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use isango_store::logs::Position;
use isango_types::{Gateway, Limit, Timestamp};

use crate::limit::pledge::{Bytes, text, values};
use crate::limit::{Values, definition};

/// The form of the bytes.
const VERSION: u8 = 3;
/// Where the moment stands: behind version and position.
const MOMENT: std::ops::Range<usize> = 9..17;

/// A digest of what a limit counts.
pub(super) type Print = [u8; 32];

/// What was on record at one moment.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Behind what is counted.
    pub(super) position: Position,
    /// What time it was; the earliest that it may have been, if the clock had leapt.
    pub(super) at: Timestamp,
    limits: HashMap<Box<str>, Covered>,
}

/// One limit.
#[derive(Debug)]
struct Covered {
    print: Print,
    /// The same of what it was split by.
    split: Print,
    /// What was drawn before is not counted: it did not count so then.
    since: Timestamp,
    buckets: Vec<Saved>,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) values: Values,
    /// When what was drawn, in the unit of its limit.
    pub(super) drawn: Vec<(Timestamp, u64)>,
}

impl Checkpoint {
    /// Of nothing, up to `position`.
    pub(super) fn at(position: Position, at: Timestamp) -> Self {
        Self {
            position,
            at,
            limits: HashMap::new(),
        }
    }

    /// Whether it says nothing of any limit.
    pub(super) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// The limit is counted since then, if it was not.
    pub(super) fn covers(
        &mut self,
        (gateway, limit): (&Gateway, &Limit),
        since: Timestamp,
    ) -> &mut Vec<Saved> {
        let covered = || Covered {
            print: print(gateway, limit),
            split: split(limit),
            since,
            buckets: Vec::new(),
        };
        let covered = self
            .limits
            .entry(name(gateway, limit))
            .or_insert_with(covered);
        &mut covered.buckets
    }

    /// Since when it is counted, and what its buckets had drawn; `None`: not all that matters was
    /// counted. One that was split by something else begins with nothing: records do not tell what
    /// the values of a bucket are of.
    pub(super) fn of(&self, gateway: &Gateway, limit: &Limit) -> Option<(Timestamp, &[Saved])> {
        let known = self.limits.get(&name(gateway, limit))?;
        if known.split != split(limit) {
            return Some((self.at, &[]));
        }
        (known.print == print(gateway, limit)).then_some((known.since, &*known.buckets))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.position.count().to_le_bytes());
        out.extend_from_slice(&self.at.as_micros().to_le_bytes());
        let mut limits: Vec<_> = self.limits.iter().collect();
        limits.sort_unstable_by_key(|(name, _)| *name);
        for (name, covered) in limits {
            text(&mut out, name);
            out.extend_from_slice(&covered.print);
            out.extend_from_slice(&covered.split);
            out.extend_from_slice(&covered.since.as_micros().to_le_bytes());
            count(&mut out, covered.buckets.len());
            for bucket in &covered.buckets {
                values(&mut out, &bucket.values);
                count(&mut out, bucket.drawn.len());
                for (at, drawn) in &bucket.drawn {
                    out.extend_from_slice(&at.as_micros().to_le_bytes());
                    out.extend_from_slice(&drawn.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads what [`Checkpoint::to_bytes`] wrote; `None` of anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::of(bytes);
        let [version] = bytes.take()?;
        if version != VERSION {
            return None;
        }
        let position = Position::after(bytes.number()?);
        let mut checkpoint = Self::at(position, Timestamp::from_micros(bytes.number()?));
        while !bytes.is_empty() {
            let name = bytes.text()??;
            let (print, split) = (bytes.take()?, bytes.take()?);
            let since = Timestamp::from_micros(bytes.number()?);
            let count = u32::from_le_bytes(bytes.take()?);
            let mut buckets = Vec::new();
            for _ in 0..count {
                buckets.push(bucket(&mut bytes)?);
            }
            let covered = Covered {
                print,
                split,
                since,
                buckets,
            };
            checkpoint.limits.insert(name, covered);
        }
        Some(checkpoint)
    }
}

/// Whether two say the same, at whatever moments.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.get(..MOMENT.start) == other.get(..MOMENT.start)
        && one.get(MOMENT.end..) == other.get(MOMENT.end..)
}

fn bucket(bytes: &mut Bytes<'_>) -> Option<Saved> {
    let values = bytes.values()?;
    let count = u32::from_le_bytes(bytes.take()?);
    let mut drawn = Vec::new();
    for _ in 0..count {
        drawn.push((Timestamp::from_micros(bytes.number()?), bytes.number()?));
    }
    Some(Saved { values, drawn })
}

fn count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
}

fn name(gateway: &Gateway, limit: &Limit) -> Box<str> {
    format!("{}/{}/{}", gateway.account, gateway.id, limit.id).into()
}

/// Tells limits apart by what they count.
fn print(gateway: &Gateway, limit: &Limit) -> Print {
    let mut text = definition(gateway, limit).into_bytes();
    for condition in &limit.only {
        text.extend_from_slice(format!("\0only {}", condition.dimension).as_bytes());
        for value in &condition.values {
            text.extend_from_slice(format!("\0{}:{value}", value.len()).as_bytes());
        }
    }
    print_of(&text)
}

/// Tells apart what limits are split by.
fn split(limit: &Limit) -> Print {
    let by: Vec<String> = limit.by.iter().map(ToString::to_string).collect();
    print_of(by.join("\0").as_bytes())
}

fn print_of(text: &[u8]) -> Print {
    let mut print = Print::default();
    print.copy_from_slice(digest(&SHA256, text).as_ref());
    print
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use isango_types::limit::{Condition, Dimension, Period, Unit, Window};
    use proptest::prelude::*;

    use super::*;
    use crate::limit::tests::{gateway, limit};

    fn sample() -> (Gateway, Arc<Limit>, Checkpoint) {
        let limit = Arc::new(limit(Unit::Tokens));
        let gateway = gateway(&limit);
        let at = Timestamp::from_micros(1_795_363_823_000_001);
        let mut checkpoint = Checkpoint::at(Position::after(4_711), at);
        let saved = checkpoint.covers((&gateway, &limit), at);
        saved.push(Saved {
            values: vec![Some("acme".into()), None, Some("".into())],
            drawn: vec![(at, 7), (at.plus(Duration::from_secs(1)), u64::MAX)],
        });
        saved.push(Saved {
            values: Vec::new(),
            drawn: Vec::new(),
        });
        (gateway, limit, checkpoint)
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_a_cut_one_never_with_other_figures() {
        let (gateway, limit, checkpoint) = sample();
        let bytes = checkpoint.to_bytes();
        let read = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(
            (read.position, read.at),
            (checkpoint.position, checkpoint.at)
        );
        assert_eq!(read.of(&gateway, &limit), checkpoint.of(&gateway, &limit));
        assert_eq!(read.of(&gateway, &limit).unwrap().1.len(), 2);
        for end in 0..bytes.len() {
            let cut = Checkpoint::from_bytes(&bytes[..end]);
            assert!(cut.is_none_or(|cut| cut.limits.is_empty()), "{end}");
        }
    }

    #[test]
    fn a_limit_that_counts_otherwise_is_not_in_it() {
        let (gateway, limit, checkpoint) = sample();
        let check = |other: Limit, is_in: bool| {
            let found = checkpoint.of(&gateway, &other).is_some();
            assert_eq!(found, is_in, "{other:?}");
        };
        let same = || (*limit).clone();
        check(same(), true);
        // How much it is, and what happens beyond, changes nothing of what was drawn.
        check(
            Limit {
                limit: 1,
                shadow: true,
                ..same()
            },
            true,
        );
        check(
            Limit {
                id: "other".into(),
                ..same()
            },
            false,
        );
        check(
            Limit {
                unit: Unit::Cost,
                ..same()
            },
            false,
        );
        for by in [Vec::new(), vec![Dimension::Token]] {
            let other = Limit { by, ..same() };
            // It begins with nothing.
            let began = (checkpoint.at, &[][..]);
            assert_eq!(checkpoint.of(&gateway, &other), Some(began));
        }
        let window = |period, zone| Window::calendar(period, zone).unwrap();
        for other in [
            Window::Sliding(Duration::from_secs(60)),
            Window::Fixed(Duration::from_secs(61)),
            window(Period::Minute, "UTC"),
        ] {
            check(
                Limit {
                    window: other,
                    ..same()
                },
                false,
            );
        }
        let only = Condition {
            dimension: Dimension::Token,
            values: vec!["app".into()],
        };
        check(
            Limit {
                only: vec![only],
                ..same()
            },
            false,
        );
        let calendar = |zone| Limit {
            window: window(Period::Month, zone),
            ..same()
        };
        let mut other = Checkpoint::default();
        other.covers((&gateway, &calendar("UTC")), Timestamp::default());
        assert!(other.of(&gateway, &calendar("UTC")).is_some());
        assert!(
            other
                .of(&gateway, &calendar("Africa/Johannesburg"))
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = Checkpoint::from_bytes(&bytes);
            let mut versioned = vec![VERSION];
            versioned.extend(bytes);
            let _read = Checkpoint::from_bytes(&versioned);
        }
    }
}
