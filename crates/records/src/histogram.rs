//! Values as counts by size, for percentiles of more values than are kept.
//!
//! Up to 32 a value has a bucket of its own; above, each power of two is split into 32 buckets, of
//! which the middle stands for all: at most 1/64 off (the layout of Gil Tene's `HdrHistogram`, with
//! five bits).

/// Bits by which a power of two is split.
const BITS: u32 = 5;
const SPLIT: u64 = 1 << BITS;

/// Counts by bucket, from the first that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    start: usize,
    counts: Vec<u64>,
}

impl Histogram {
    /// One more than the last bucket that there can be.
    pub(crate) const BUCKETS: usize = 1_920;

    pub(crate) fn add(&mut self, value: u64, count: u64) {
        self.add_at(bucket(value), count);
    }

    fn add_at(&mut self, at: usize, count: u64) {
        if self.counts.is_empty() {
            self.start = at;
        }
        if at < self.start {
            let missing = self.start - at;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.start = at;
        }
        let place = at - self.start;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] = self.counts[place].saturating_add(count);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (at, count) in other.buckets() {
            self.add_at(at, count);
        }
    }

    /// The buckets that hold something, and how much.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.counts.iter().enumerate();
        let some = counts.filter(|(_, count)| **count > 0);
        some.map(|(place, count)| (self.start + place, *count))
    }

    /// Pairs of numbers, each seven bits a byte: how far it is to the next bucket, and its count.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut last = 0;
        for (at, count) in self.buckets() {
            for mut number in [(at - last) as u64, count] {
                while number > 0x7F {
                    out.push(u8::try_from(number & 0x7F).unwrap_or(0) | 0x80);
                    number >>= 7;
                }
                out.push(u8::try_from(number).unwrap_or(0));
            }
            last = at;
        }
        out
    }

    /// Adds a packed histogram; `None`: it is damaged, and a part of it may have been added.
    pub(crate) fn merge_packed(&mut self, mut packed: &[u8]) -> Option<()> {
        let mut at = 0;
        while !packed.is_empty() {
            let (step, count) = (take(&mut packed)?, take(&mut packed)?);
            at += usize::try_from(step)
                .ok()
                .filter(|step| *step < Self::BUCKETS - at)?;
            self.add_at(at, count);
        }
        Some(())
    }

    /// The value at a place among all, sorted.
    pub(crate) fn value_at(&self, rank: u64) -> Option<u64> {
        let mut passed = 0;
        for (at, count) in self.buckets() {
            passed += count;
            if rank < passed {
                return Some(middle(at));
            }
        }
        None
    }
}

/// Takes a number off the beginning of what is packed.
fn take(packed: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

fn bucket(value: u64) -> usize {
    if value < SPLIT {
        return usize::try_from(value).unwrap_or(0);
    }
    let power = 63 - value.leading_zeros();
    let within = (value >> (power - BITS)) & (SPLIT - 1);
    let at = u64::from(power - BITS + 1) * SPLIT + within;
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The value that stands for a bucket.
fn middle(at: usize) -> u64 {
    let at = at as u64;
    if at < 2 * SPLIT {
        return at;
    }
    let shift = at / SPLIT - 1;
    let low = (SPLIT + at % SPLIT) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixty_fourth_off(value: u64) {
            let told = middle(bucket(value));
            prop_assert!(told.abs_diff(value) <= value / 64, "{} for {}", told, value);
            prop_assert!(bucket(value) <= bucket(value.saturating_add(1)));
        }

        #[test]
        fn merged_histograms_are_the_histogram_of_all(a: Vec<u32>, b: Vec<u32>) {
            let of = |values: &[u32]| {
                let mut made = Histogram::default();
                values.iter().for_each(|value| made.add(u64::from(*value), 1));
                made
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all = of(&[&a[..], &b[..]].concat());
            prop_assert!(merged.buckets().eq(all.buckets()));
            let mut unpacked = of(&a);
            prop_assert!(unpacked.merge_packed(&of(&b).pack()).is_some());
            prop_assert!(unpacked.buckets().eq(all.buckets()));
        }

        #[test]
        fn damaged_histograms_are_told_or_stay_within_their_buckets(packed: Vec<u8>) {
            let mut made = Histogram::default();
            let _is_whole = made.merge_packed(&packed);
            prop_assert!(made.buckets().all(|(at, _)| at < Histogram::BUCKETS));
        }
    }

    #[test]
    fn small_values_are_exact() {
        let mut made = Histogram::default();
        (0..64).rev().for_each(|value| made.add(value, 2));
        for rank in 0..128 {
            assert_eq!(made.value_at(rank), Some(rank / 2));
        }
        assert_eq!(made.value_at(128), None);
    }
}
