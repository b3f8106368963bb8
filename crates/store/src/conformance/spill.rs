//! What every spill must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::Record;

use super::sample;
use crate::spill::Spill;

/// Runs the suite on an empty spill that is full with 8 KiB.
///
/// # Panics
/// The spill does not conform.
pub fn spill<S: Spill>(spill: &S) {
    let take = || spill.take().expect("what was put can be taken");
    let json = |records: &[Record]| {
        let mut lines = Vec::new();
        for record in records {
            record.write_json(&mut lines).expect("it can be encoded");
        }
        lines
    };
    for round in 0..3_u64 {
        assert!(take().is_none() && spill.has_room() && spill.bytes() == 0);
        let mut batches = Vec::new();
        while spill.has_room() {
            assert!(batches.len() < 1_000, "it has a bound");
            let first = round * 100_000 + batches.len() as u64 * 100;
            let batch: Vec<Record> = (first..first + 20).map(sample::record).collect();
            let before = spill.bytes();
            spill.put(&batch).expect("a batch can be put");
            assert!(spill.bytes() > before, "what is kept is counted");
            batches.push(batch);
        }
        assert!(spill.bytes() >= 8 << 10);
        for batch in batches {
            let taken = take().expect("every batch is there");
            assert_eq!(json(&taken), json(&batch), "whole, and the oldest first");
            assert!(spill.has_room() || spill.bytes() >= 8 << 10);
        }
    }
    assert!(take().is_none());
}
