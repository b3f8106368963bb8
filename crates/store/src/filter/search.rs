//! Finding words in a body, regardless of case.
//!
//! A needle is found where it stands between the borders of words: `art` is not in `start`, but
//! `art*` is in `artist`. A store can therefore keep which words are where ([`words_of_json`]), and
//! look only where all words of a needle are ([`Needle::words`]).
//!
//! A word is a run of letters, digits and `_`. Letters of scripts that put no spaces between words
//! (Han, Kana, Hangul, Thai and its neighbors) are each a word of their own.

use isango_types::escape::{escape, unescape};

/// Words to find, with whatever stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    text: Box<str>,
    folded: Box<str>,
    /// Whether it may begin, or end, within a word.
    open: [bool; 2],
}

impl Needle {
    /// Finds `text`; `open` says whether it may begin, and whether it may end, within a word.
    pub(super) fn new(text: &str, open: [bool; 2]) -> Self {
        Self {
            text: text.into(),
            folded: fold(text).into(),
            open,
        }
    }

    pub(super) const fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it may begin, and whether it may end, within a word.
    pub(super) const fn open(&self) -> [bool; 2] {
        self.open
    }

    /// Whether `text` contains the needle. An ASCII needle ignores the case of ASCII letters only;
    /// another one that of all letters.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let folded = self.folded.as_bytes();
        let Some(first) = folded.first().copied() else {
            return true;
        };
        if !folded.is_ascii() {
            let text = fold(text);
            let found = memchr::memmem::Finder::new(folded);
            let mut from = 0;
            while let Some(at) = text
                .get(from..)
                .and_then(|rest| found.find(rest.as_bytes()))
            {
                let at = from + at;
                if self.is_between_words(&text, at) {
                    return true;
                }
                from = at + text[at..].chars().next().map_or(1, char::len_utf8);
            }
            return false;
        }
        let haystack = text.as_bytes();
        memchr::memchr2_iter(first, first.to_ascii_uppercase(), haystack).any(|at| {
            haystack
                .get(at..at + folded.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(folded))
                && self.is_between_words(text, at)
        })
    }

    /// Whether JSON contains the needle once its escapes are resolved.
    #[must_use]
    pub fn is_in_json(&self, json: &str) -> bool {
        match memchr::memchr(b'\\', json.as_bytes()) {
            Some(_) => self.is_in(&unescape(json)),
            None => self.is_in(json),
        }
    }

    /// Words that every text has which contains the needle, as [`words_of_json`] tells them.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        let mut text = &*self.folded;
        // A word at an open end may be a part of a longer one.
        let is_part = |c: char| is_word(c) && !is_alone(c);
        if self.open[0] {
            text = text.trim_start_matches(is_part);
        }
        if self.open[1] {
            text = text.trim_end_matches(is_part);
        }
        let mut words = Vec::new();
        each_word(text, false, &mut |word| words.push(word));
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Whether the needle, found at a byte of `text`, begins and ends with words.
    fn is_between_words(&self, text: &str, at: usize) -> bool {
        let end = at + self.folded.len();
        let before = || text.get(..at).and_then(|before| before.chars().next_back());
        let after = || text.get(end..).and_then(|after| after.chars().next());
        (self.open[0] || is_border(before(), self.folded.chars().next()))
            && (self.open[1] || is_border(self.folded.chars().next_back(), after()))
    }
}

/// Whether a word ends or begins between two characters that follow each other, or none does.
fn is_border(one: Option<char>, next: Option<char>) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| is_word(c) && !is_alone(c));
    !(is_part(one) && is_part(next))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a letter is a word of its own.
const fn is_alone(c: char) -> bool {
    matches!(
        c as u32,
        0x0E00..=0x0EFF     // Thai, Lao
            | 0x1000..=0x109F   // Burmese
            | 0x1100..=0x11FF   // Hangul
            | 0x1780..=0x17FF   // Khmer
            | 0x2E80..=0x2FDF   // Han
            | 0x3005..=0x30FF   // Han, Kana
            | 0x3130..=0x318F   // Hangul
            | 0x31F0..=0x31FF   // Kana
            | 0x3400..=0x4DBF   // Han
            | 0x4E00..=0x9FFF   // Han
            | 0xA960..=0xA97F   // Hangul
            | 0xAC00..=0xD7FF   // Hangul
            | 0xF900..=0xFAFF   // Han
            | 0x20000..=0x3FFFF // Han
    )
}

/// A character regardless of case, whatever stands around it.
fn fold_char(c: char) -> char {
    match c {
        'ς' => 'σ',
        c if c.is_ascii() => c.to_ascii_lowercase(),
        // Only the dotted İ has a second one, a combining dot.
        c => c.to_lowercase().next().unwrap_or(c),
    }
}

fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

/// Tells a number for each word in JSON, in its strings and outside of them, regardless of case.
/// Equal words have equal numbers, and hardly any others have.
pub fn words_of_json(json: &str, each: &mut impl FnMut(u64)) {
    each_word(json, true, each);
}

/// What the number of a word is made from, besides its bytes: odd, and as many ones as zeros.
const MIX: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03];
/// The bit in which the cases of an ASCII letter differ. Digits have it, and `_` gets it: no two of
/// them become the same.
const CASE: u8 = 0x20;

const fn mix(number: u64, with: u64) -> u64 {
    let product = (number as u128).wrapping_mul(with as u128);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both halves of the product are wanted"
    )]
    let halves = [product as u64, (product >> 64) as u64];
    halves[0] ^ halves[1]
}

/// The number of the word `bytes[start..end]`, whose bytes get the bits of `case`: eight bytes at a
/// time.
fn number(bytes: &[u8], (start, end): (usize, usize), case: u8) -> u64 {
    let case = u64::from_le_bytes([case; 8]);
    let mut hash = (end - start) as u64;
    let mut at = start;
    while at < end {
        let len = (end - at).min(8);
        // What stands behind the word is masked off.
        let mask = u64::MAX >> (64 - 8 * len);
        let eight = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
            Some(eight) => u64::from_le_bytes(*eight),
            None => (bytes[at..end].iter().rev()).fold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        hash = mix(hash ^ ((eight | case) & mask), MIX[0]);
        at += len;
    }
    // All bits of it depend on all of the word.
    mix(hash ^ MIX[1], MIX[0])
}

/// The word that is being read, as far as it is not one run of ASCII: its folded bytes.
#[derive(Default)]
struct Word(Vec<u8>);

impl Word {
    fn push_run(&mut self, run: &[u8]) {
        self.0.extend(run.iter().map(|byte| byte | CASE));
    }

    fn push_char(&mut self, c: char, each: &mut impl FnMut(u64)) {
        let alone = is_alone(c);
        if alone {
            self.end(each);
        }
        let mut utf8 = [0; 4];
        let folded = fold_char(c).encode_utf8(&mut utf8);
        match folded.as_bytes() {
            run @ [_] => self.push_run(run),
            bytes => self.0.extend_from_slice(bytes),
        }
        if alone {
            self.end(each);
        }
    }

    fn end(&mut self, each: &mut impl FnMut(u64)) {
        if !self.0.is_empty() {
            each(number(&self.0, (0, self.0.len()), 0));
            self.0.clear();
        }
    }
}

/// Which bytes are letters, digits or `_` of ASCII.
const IS_WORD: [bool; 256] = {
    let mut is_word = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_word[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    is_word
};

fn each_word(text: &str, is_json: bool, each: &mut impl FnMut(u64)) {
    let bytes = text.as_bytes();
    let (mut word, mut at) = (Word::default(), 0);
    loop {
        let start = at;
        while at < bytes.len() && IS_WORD[usize::from(bytes[at])] {
            at += 1;
        }
        let (c, len) = match bytes.get(at) {
            Some(b'\\') if is_json => {
                let (c, len) = escape(&text[at + 1..]);
                (Some(c), 1 + len)
            }
            Some(byte) if byte.is_ascii() => (None, 1),
            Some(_) => {
                let c = text[at..].chars().next();
                (c, c.map_or(1, char::len_utf8))
            }
            None => (None, 0),
        };
        let goes_on = c.filter(|c| is_word(*c));
        if word.0.is_empty() && goes_on.is_none() {
            // A word of ASCII alone, as nearly all are.
            if start < at {
                each(number(bytes, (start, at), CASE));
            }
        } else {
            word.push_run(&bytes[start..at]);
            match goes_on {
                Some(c) => word.push_char(c, each),
                None => word.end(each),
            }
        }
        if len == 0 {
            return;
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needle(text: &str) -> Needle {
        let open = [text.starts_with('*'), text.ends_with('*')];
        Needle::new(text.trim_matches('*'), open)
    }

    #[test]
    fn words_are_found_regardless_of_case_and_escapes() {
        for (text, json) in [
            ("hello", r#""He said HELLO""#),
            ("he said", r#""He said HELLO""#),
            ("CAFÉ", r#""a caf\u00e9""#),
            ("café", r#""a CAFÉ""#),
            ("two\nlines", r#""two\nlines""#),
            ("lines", r#""two\nlines""#),
            ("a \"quote\"", r#""a \"quote\"""#),
            ("😀", r#""x\ud83d\ude00y""#),
            ("C:\\temp", r#""c:\\temp""#),
            ("退款", r#""我要退款吗""#),
            ("gpt", r#""用GPT写""#),
            ("ΟΔΟΣ", r#""οδος""#),
            ("οδοσ", r#""ΟΔΟΣ""#),
            ("art*", r#""artist""#),
            ("*art", r#""start""#),
            ("*ar*", r#""start""#),
            ("*é*", r#""cafés""#),
            ("café*", r#""(cafés)""#),
            ("é é", r#""xé é é""#),
            ("", r#""""#),
        ] {
            assert!(needle(text).is_in_json(json), "{text} in {json}");
        }
        for (text, json) in [
            ("hello", r#""hell""#),
            ("art", r#""start""#),
            ("art", r#""artist""#),
            ("café", r#""cafés""#),
            ("out of stock", r#""out of stocks""#),
            ("art*", r#""start""#),
            ("*art", r#""artist""#),
            ("lo", r#""l""#),
            ("é", r#""\u00e""#),
            ("nlines", r#""two\nlines""#),
        ] {
            assert!(!needle(text).is_in_json(json), "{text} in {json}");
        }
    }

    #[test]
    fn folding_makes_no_word_and_ends_none() {
        for c in '\0'..=char::MAX {
            let folded = fold_char(c);
            assert_eq!(is_word(c), is_word(folded), "{c:?}");
            assert_eq!(is_alone(c), is_alone(folded), "{c:?}");
            assert_eq!(fold_char(folded), folded, "{c:?}");
        }
    }

    fn words_of(json: &str) -> Vec<u64> {
        let mut words = Vec::new();
        words_of_json(json, &mut |word| words.push(word));
        words
    }

    /// Texts of few letters, so that needles are found in them.
    fn few(most: usize) -> impl Strategy<Value = String> {
        let letters: Vec<char> = "abAB_1é É退款İſ\u{212a}σςΣ \"\\/\n\t.\u{307}"
            .chars()
            .collect();
        prop::collection::vec(prop::sample::select(letters), 0..=most)
            .prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whatever_json_escapes_is_found_again(text in "\\PC{1,20}", before in ".{0,8}") {
            let json = serde_json::to_string(&format!("{before}{text}")).unwrap();
            let needle = Needle::new(&text, [true, true]);
            prop_assert!(needle.is_in_json(&json));
        }

        #[test]
        fn where_a_needle_is_found_its_words_are(
            text in few(6),
            other in few(12),
            around in any::<[bool; 2]>(),
            open in any::<[bool; 2]>(),
        ) {
            let needle = Needle::new(&text, open);
            let [before, after] = around.map(|is_there| if is_there { other.as_str() } else { "" });
            for text in [format!("{before}{text}{after}"), other.clone()] {
                let json = serde_json::to_string(&text).unwrap();
                let ascii: String = json
                    .encode_utf16()
                    .map(|unit| match u8::try_from(unit) {
                        Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
                        _ => format!("\\u{unit:04x}"),
                    })
                    .collect();
                prop_assert_eq!(words_of(&json), words_of(&ascii), "{}", json);
                for json in [json, ascii] {
                    let words = words_of(&json);
                    if needle.is_in_json(&json) {
                        let is_there = |word: &u64| words.contains(word);
                        prop_assert!(needle.words().iter().all(is_there), "{:?} in {}", needle, json);
                    }
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,4}", json in "[\\\\uU0-9a-fD8é+\"]{0,24}") {
            let _found = Needle::new(&text, [false, true]).is_in_json(&json);
            let _words = words_of(&json);
        }
    }
}
