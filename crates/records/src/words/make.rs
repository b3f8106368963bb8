//! Making an index of words: what is read of bodies, and how blocks are written.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use isango_store::filter::words_of_json;
use isango_store::logs::Error;
use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    Blocks, Frames, GROUP, HEAD_BYTES, MAGIC, MAX_BITS, MAX_LISTED, PLACE_BYTES, check_of, fnv,
    place, set, words_path,
};
use crate::catalog::{Volume, journal_path};
use crate::disk::Disk;
use crate::frame::{Entry, Unpacker, record_lines};
use crate::label::Link;
use crate::slim::{bodies, skip_string};

/// Words of a bucket, about.
const BUCKET_WORDS: usize = 64;
/// Numbers of words that were seen lately in a frame.
const SEEN: usize = 1 << 16;
/// A string of JSON that has fewer bytes is read anew wherever it stands.
const LONG: usize = 48;
/// Long strings that were seen lately in a frame.
const SEEN_STRINGS: usize = 1 << 12;

/// Numbers that were seen lately: each has one place, by its highest bits.
struct Seen {
    numbers: Box<[u64]>,
    /// Whatever was seen before the last change of it is forgotten.
    salt: u64,
}

impl Seen {
    /// Of `size` places, a power of two.
    fn new(size: usize) -> Self {
        Self {
            numbers: vec![0; size].into(),
            salt: RandomState::new().hash_one(size),
        }
    }

    fn forget(&mut self) {
        self.salt = self.salt.wrapping_add(0x9E37_79B9_7F4A_7C15);
    }

    /// Whether a number is new here. Of those that share a place, only the last one is remembered.
    fn is_new(&mut self, number: u64) -> bool {
        let at = number >> (64 - self.numbers.len().ilog2());
        let place = &mut self.numbers[usize::try_from(at).unwrap_or(0)];
        let salted = number ^ self.salt;
        std::mem::replace(place, salted) != salted
    }
}

/// Makes blocks.
pub(super) struct Maker {
    unpacker: Unpacker,
    /// Numbers of words with the frame in their lowest byte.
    words: Vec<u64>,
    /// The words of this frame.
    seen: Seen,
    /// Its long strings: what prompts have in common is read once.
    strings: Seen,
}

impl Maker {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            unpacker: Unpacker::new()?,
            words: Vec::new(),
            seen: Seen::new(SEEN),
            strings: Seen::new(SEEN_STRINGS),
        })
    }

    /// The block of some frames; `None` if it was told to stop.
    fn block(
        &mut self,
        file: &File,
        (first, entries): (usize, &[Entry]),
        stop: &AtomicBool,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.words.clear();
        let Some(last) = entries.last() else {
            return Ok(None);
        };
        for (at, entry) in entries.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if entry.contents.kind.holds_records() {
                self.add(file, entry, u64::try_from(at).unwrap_or(0))?;
            }
        }
        self.words.sort_unstable();
        self.words.dedup();
        let (label, _) = self.unpacker.packed(file, last)?;
        Ok(Some(self.encode(
            first,
            entries.len(),
            (last.offset, label.link),
        )))
    }

    /// Adds the words of a frame. One that is damaged is never a candidate: a search passes over
    /// it as well.
    fn add(&mut self, file: &File, entry: &Entry, at: u64) -> Result<(), Error> {
        let lines = match self.unpacker.lines(file, entry) {
            Ok(lines) => lines,
            Err(Error::Damaged(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.seen.forget();
        self.strings.forget();
        let (words, seen) = (&mut self.words, &mut self.seen);
        let mut add = |word: u64| {
            if seen.is_new(word) {
                words.push(word & !0xFF | at);
            }
        };
        for line in record_lines(entry.contents.records, lines) {
            for body in bodies(line) {
                if let Ok(text) = std::str::from_utf8(body) {
                    each_new(&mut self.strings, text, |text| {
                        words_of_json(text, &mut add)
                    });
                }
            }
        }
        Ok(())
    }

    fn encode(&self, first: usize, frames: usize, (offset, link): (u64, Link)) -> Vec<u8> {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let distinct = self
            .words
            .chunk_by(|one, next| one >> 8 == next >> 8)
            .count();
        let bits = (distinct / BUCKET_WORDS).max(1).ilog2().min(MAX_BITS);
        let buckets = 1_usize << bits;
        let mut out = vec![0; HEAD_BYTES + buckets * PLACE_BYTES];
        let mut rest = &self.words[..];
        for bucket in 0..buckets {
            let len = rest.partition_point(|word| place(*word, bits).0 <= bucket);
            let (words, behind) = rest.split_at(len);
            rest = behind;
            let start = out.len();
            for same in words.chunk_by(|one, next| place(*one, bits).1 == place(*next, bits).1) {
                push_word(&mut out, place(same[0], bits).1, same);
            }
            let told = [count(start), count(out.len() - start)];
            let proof = check_of(&out[start..], bucket).to_le_bytes();
            let at = HEAD_BYTES + bucket * PLACE_BYTES;
            out[at..at + PLACE_BYTES].copy_from_slice(&[told[0], told[1], proof].concat());
        }
        let mut head = MAGIC.to_vec();
        for number in [out.len(), first, frames] {
            head.extend(count(number));
        }
        head.extend(bits.to_le_bytes());
        head.extend(offset.to_le_bytes());
        head.extend(link);
        head.extend(fnv(&head).to_le_bytes());
        out[..HEAD_BYTES].copy_from_slice(&head);
        out
    }
}

/// Shows the parts of a JSON text, but for long strings that were shown before. No word lies in two
/// of the parts: they end where strings do.
fn each_new(strings: &mut Seen, text: &str, mut show: impl FnMut(&str)) {
    let (mut shown, mut at) = (0, 0);
    while let Some(start) = memchr(b'"', &text.as_bytes()[at..]) {
        let start = at + start;
        let Some(behind) = skip_string(&text.as_bytes()[start..]) else {
            break;
        };
        at = text.len() - behind.len();
        let string = &text[start..at];
        if string.len() >= LONG
            && !strings.is_new(xxh3_64_with_seed(string.as_bytes(), strings.salt))
        {
            show(&text[shown..start]);
            shown = at;
        }
    }
    show(&text[shown..]);
}

/// Writes a word with its frames.
fn push_word(out: &mut Vec<u8>, rest: u16, same: &[u64]) {
    let mut frames = Frames::default();
    same.iter()
        .for_each(|word| set(&mut frames, word.to_le_bytes()[0]));
    let count: u32 = frames.iter().map(|bits| bits.count_ones()).sum();
    let code = u16::try_from(count.min(MAX_LISTED + 1)).unwrap_or(0);
    out.extend((rest << 4 | code).to_le_bytes());
    if count > MAX_LISTED {
        out.extend(frames.iter().flat_map(|bits| bits.to_le_bytes()));
        return;
    }
    let is_set = |at: &u8| frames[usize::from(*at) / 64] >> (at % 64) & 1 == 1;
    out.extend((0..=u8::MAX).filter(is_set));
}

/// Adds the blocks that a file lacks.
pub(super) fn complete(
    maker: &mut Maker,
    (disk, dir): (&dyn Disk, &Path),
    (volume, is_open): (&Volume, bool),
    stop: &AtomicBool,
) -> Result<(), Error> {
    let number = volume.summary.number;
    let file = match File::open(journal_path(dir, number)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let index = disk.open(&words_path(dir, number))?;
    let mut blocks = Blocks::new(&index);
    // A block that is not full is the last one of a complete file.
    let (mut at, mut frames) = (0, 0);
    while let Some(block) = blocks.next(&file)? {
        if block.frames == GROUP {
            (at, frames) = (blocks.at, blocks.frames);
        }
    }
    if blocks.frames as u64 == volume.summary.frames {
        return Ok(());
    }
    let entries = volume.entries(dir, &file)?;
    while entries.len() >= frames + if is_open { GROUP } else { 1 } {
        let some = &entries[frames..entries.len().min(frames + GROUP)];
        let Some(block) = maker.block(&file, (frames, some), stop)? else {
            return Ok(());
        };
        disk.truncate(&index, at)?;
        disk.write_at(&index, &block, at)?;
        at += block.len() as u64;
        frames += some.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn words(texts: &[&str]) -> BTreeSet<u64> {
        let mut words = BTreeSet::new();
        for text in texts {
            words_of_json(text, &mut |word| {
                words.insert(word);
            });
        }
        words
    }

    fn new_words(strings: &mut Seen, texts: &[&str]) -> BTreeSet<u64> {
        let mut shown = BTreeSet::new();
        for text in texts {
            each_new(strings, text, |part| shown.append(&mut words(&[part])));
        }
        shown
    }

    #[test]
    fn a_long_string_is_read_once_a_frame() {
        let prompt = "You are a helpful assistant, and you answer as briefly as you can.";
        let text =
            |question: &str| format!(r#"[{{"content":"{prompt}"}},{{"content":"{question}"}}]"#);
        let (one, two) = (text("Why?"), text("How?"));
        let mut strings = Seen::new(SEEN_STRINGS);
        assert_eq!(new_words(&mut strings, &[&one]), words(&[&one]));
        assert_eq!(new_words(&mut strings, &[&two]), words(&["content how"]));
        strings.forget();
        assert_eq!(new_words(&mut strings, &[&two]), words(&[&two]));
    }

    proptest! {
        #[test]
        fn no_word_is_missed(
            strings in prop::collection::vec(("[a-c\"\\\\\n é退]{0,4}", 0..40_usize), 1..6),
            texts in prop::collection::vec(prop::collection::vec(0..6_usize, 0..6), 1..8),
        ) {
            let text = |of: &Vec<usize>| {
                let of = of.iter().filter_map(|at| strings.get(*at));
                let of: Vec<String> = of.map(|(text, times)| text.repeat(*times)).collect();
                serde_json::to_string(&of).unwrap()
            };
            let texts: Vec<String> = texts.iter().map(text).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let found = new_words(&mut Seen::new(SEEN_STRINGS), &texts);
            prop_assert_eq!(found, words(&texts));
        }
    }
}
