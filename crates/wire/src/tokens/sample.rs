//! Counts the tokens of long texts by samples.

use std::hash::{BuildHasher as _, RandomState};

use bpe_openai::Tokenizer;

use super::{scaled, to_u64};

/// In how many strides each doubling of the length is counted by a sample each.
const STRIDES: usize = 16;
/// A sample is this part of what is counted whole: 256 bytes after 32 KiB. What is cut off at both
/// its ends counts as a token more, 2 % at that length.
const SAMPLE: usize = 128;
/// The shortest sample, in bytes.
const LEAST_SAMPLE: usize = 64;

/// The tokens of some texts, which follow each other: of the beginning all, and from there on, in
/// each stride, those of a piece whose place nobody can foresee. So text that has few tokens, in
/// front of some that has many, does not make that look small. What is tokenized of a text grows
/// with the logarithm of its length.
pub(super) struct Sampled {
    tokenizer: &'static Tokenizer,
    /// How much is counted whole, in bytes.
    whole: usize,
    /// How many bytes there were.
    bytes: usize,
    /// The tokens of all strides that are complete.
    tokens: u64,
    /// The stride that is not.
    stride: Stride,
    random: Option<u64>,
}

/// A stretch of the texts, and the piece of it that is counted. All in bytes of all texts.
#[derive(Clone, Copy, Debug, Default)]
struct Stride {
    begin: usize,
    end: usize,
    from: usize,
    to: usize,
    /// What was counted of the piece so far.
    counted: usize,
    tokens: u64,
}

impl Sampled {
    pub(super) fn new(tokenizer: &'static Tokenizer, whole: usize) -> Self {
        Self {
            tokenizer,
            whole,
            bytes: 0,
            tokens: 0,
            stride: Stride {
                end: whole,
                to: whole,
                ..Stride::default()
            },
            random: None,
        }
    }

    /// Adds a text.
    pub(super) fn add(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let stride = self.stride;
            let here = rest.floor_char_boundary(stride.end.saturating_sub(self.bytes));
            // A character across the end of a stride belongs to the next.
            let (part, behind) = rest.split_at(here);
            self.count(part);
            self.bytes += part.len();
            rest = behind;
            if rest.is_empty() {
                return;
            }
            self.next_stride();
        }
    }

    /// Counts what of `part`, which is next in the stride, lies in its piece.
    fn count(&mut self, part: &str) {
        let stride = &mut self.stride;
        let from = stride.from.saturating_sub(self.bytes);
        let to = stride.to.saturating_sub(self.bytes);
        let (from, to) = (part.floor_char_boundary(from), part.floor_char_boundary(to));
        if from < to {
            let piece = &part[from..to];
            stride.counted += piece.len();
            stride.tokens += to_u64(self.tokenizer.count(piece));
        }
    }

    /// Begins the stride that the next byte lies in.
    fn next_stride(&mut self) {
        self.tokens = self.tokens();
        let begin = self.bytes;
        // `whole` bytes are followed by as many in strides, those by twice as many, and so on.
        let doubling = (begin / self.whole.max(1)).max(1).ilog2();
        let length = (self.whole.max(1) << doubling).div_ceil(STRIDES);
        let sample = (self.whole / SAMPLE).max(LEAST_SAMPLE).min(length);
        let places = to_u64(length - sample + 1);
        let offset = usize::try_from(self.random() % places).unwrap_or(0);
        self.stride = Stride {
            begin,
            end: begin + length.max(4),
            from: begin + offset,
            to: begin + offset + sample.max(4),
            ..Stride::default()
        };
    }

    /// How many tokens there are.
    pub(super) fn tokens(&self) -> u64 {
        let Stride {
            begin,
            counted,
            tokens,
            ..
        } = self.stride;
        let here = match counted {
            // Its piece did not come: as if it were like all before.
            0 => scaled(self.tokens, begin, self.bytes).saturating_sub(self.tokens),
            _ => scaled(tokens, counted, self.bytes - begin),
        };
        self.tokens.saturating_add(here)
    }

    /// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014),
    /// from a seed of the operating system's.
    fn random(&mut self) -> u64 {
        let seed = self
            .random
            .unwrap_or_else(|| RandomState::new().hash_one(0_u8));
        let state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random = Some(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokenizer;

    const WHOLE: usize = 8 << 10;

    fn exact(texts: &[&str]) -> u64 {
        let counted = texts.iter().map(|text| tokenizer("gpt-4o").count(text));
        counted.map(to_u64).sum()
    }

    /// The estimate, within so many percent of the truth.
    #[track_caller]
    fn check(texts: &[&str], percent: u64) {
        let exact = exact(texts);
        for _ in 0..20 {
            let mut sampled = Sampled::new(tokenizer("gpt-4o"), WHOLE);
            texts.iter().for_each(|text| sampled.add(text));
            let tokens = sampled.tokens();
            let off = tokens.abs_diff(exact) * 100;
            assert!(off <= exact * percent, "{tokens} instead of {exact}");
        }
    }

    #[test]
    fn short_texts_are_counted_exactly() {
        check(&["lion ", "tiger and", "", "お誕生日"], 0);
        check(&["lion ".repeat(WHOLE / 5).as_str()], 0);
    }

    #[test]
    fn cheap_text_in_front_makes_the_rest_no_cheaper() {
        let cheap = "a".repeat(3 * WHOLE) + &" ".repeat(3 * WHOLE);
        let dear = "7 ŋ ".repeat(8 * WHOLE);
        check(&[&cheap, &dear], 10);
        check(&[&dear, &cheap], 10);
        check(&[&"lion ".repeat(20 * WHOLE)], 10);
    }

    #[test]
    fn it_does_not_matter_how_the_texts_are_cut() {
        let text = "Ein Löwe, 2 Löwen; お誕生日 ".repeat(WHOLE);
        let words: Vec<&str> = text.split_inclusive(' ').collect();
        check(&words, 10);
        let characters: Vec<&str> = text.split_inclusive(|_| true).take(4 * WHOLE).collect();
        check(&characters, 10);
    }

    #[test]
    fn no_length_makes_it_panic() {
        for whole in [0, 1, 3, 127, 128, 1_000] {
            let mut sampled = Sampled::new(tokenizer("gpt-4o"), whole);
            for length in 0..200 {
                sampled.add(&"日".repeat(length));
            }
            assert!(sampled.tokens() > 0, "{whole}");
        }
    }
}
