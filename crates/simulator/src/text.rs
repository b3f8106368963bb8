//! Plausible words from a number: a pseudo-random source, a token-like division of text, and a
//! small grammar of English sentences.
//!
//! Nothing here knows a provider. Equal seeds give equal text, on every machine and in every run.

use serde_json::Value;

/// `SplitMix64`: a stream of well-mixed numbers from a seed (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; `bound` must not be 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let count = u64::try_from(words.len()).unwrap_or(1).max(1);
        usize::try_from(self.below(count)).map_or("", |index| words[index])
    }
}

/// An id like those of the providers: `prefix` and `length` letters and digits.
pub(crate) fn id(prefix: &str, seed: u64, length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rng = Rng::new(seed ^ 0x1d);
    let mut id = String::with_capacity(prefix.len() + length);
    id.push_str(prefix);
    for _ in 0..length {
        let index = usize::try_from(rng.below(62)).unwrap_or(0);
        id.push(char::from(ALPHABET[index]));
    }
    id
}

/// An id in the shape of a UUID (version 4 by its marks).
pub(crate) fn uuid(seed: u64) -> String {
    let mut rng = Rng::new(seed ^ 0x77);
    let (high, low) = (rng.next(), rng.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

/// Longest word that is one token; longer ones are cut into [`PART`]s.
const WORD: usize = 7;
const PART: usize = 4;

/// Divides text into pieces of about four characters, as tokenizers do: a word with the space
/// before it, a part of a long word, a run of spaces, or one other character.
///
/// The pieces of the first `n` pieces of a text are those `n` pieces.
pub(crate) struct Pieces<'a> {
    rest: &'a str,
    /// Characters left of a long word that is being cut.
    word: usize,
}

pub(crate) const fn pieces(text: &str) -> Pieces<'_> {
    Pieces {
        rest: text,
        word: 0,
    }
}

fn run(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.chars().take_while(|&c| is_part(c)).count()
}

fn bytes_of(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.rest.chars().next()?;
        let spaced = first == ' '
            && self.word == 0
            && self.rest[1..]
                .chars()
                .next()
                .is_some_and(char::is_alphanumeric);
        let lead = usize::from(spaced);
        let chars = if self.word > 0 || spaced || first.is_alphanumeric() {
            if self.word == 0 {
                self.word = run(&self.rest[lead..], char::is_alphanumeric);
                if self.word <= WORD {
                    let whole = std::mem::take(&mut self.word);
                    return Some(self.take(lead + whole));
                }
            }
            let part = self.word.min(PART);
            self.word -= part;
            lead + part
        } else if first.is_whitespace() {
            // The last space before a word belongs to the word.
            let blanks = run(self.rest, char::is_whitespace);
            let before_word = self
                .rest
                .chars()
                .nth(blanks)
                .is_some_and(char::is_alphanumeric)
                && self.rest.chars().nth(blanks - 1) == Some(' ');
            (blanks - usize::from(before_word)).max(1)
        } else {
            1
        };
        Some(self.take(chars))
    }
}

impl<'a> Pieces<'a> {
    fn take(&mut self, chars: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(bytes_of(self.rest, chars));
        self.rest = rest;
        piece
    }
}

/// How many pieces `text` has.
pub(crate) fn count(text: &str) -> u64 {
    pieces(text).map(|_| 1).sum()
}

/// All text in a message's content, whatever its nesting: a string, or parts with a `text`,
/// `content` or `parts` member, joined by line ends.
pub(crate) fn plain(content: &Value) -> String {
    fn gather(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(text);
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, out)),
            Value::Object(part) => {
                for key in ["text", "content", "parts", "output", "thinking"] {
                    if let Some(inner) = part.get(key) {
                        gather(inner, out);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut out = String::new();
    gather(content, &mut out);
    out
}

const TOPICS: &[&str] = &[
    "invoice", "schedule", "report", "shipment", "ledger", "request", "forecast", "contract",
    "meeting", "summary", "backlog", "release", "survey", "account", "draft", "dataset",
];
const QUALITIES: &[&str] = &[
    "current", "open", "second", "revised", "complete", "short", "careful", "internal", "monthly",
    "shared", "earlier", "smaller",
];
const ACTIONS: &[&str] = &[
    "explains", "confirms", "replaces", "covers", "supports", "delays", "follows", "settles",
    "informs", "improves",
];
const PLACES: &[&str] = &[
    "in most cases",
    "for the whole team",
    "before the end of the week",
    "with little effort",
    "across both regions",
    "without further changes",
    "after a brief review",
    "at a steady pace",
];
const LINKS: &[&str] = &[
    "In practice",
    "As a result",
    "By contrast",
    "Even so",
    "In short",
    "For now",
    "Most often",
    "At first",
];

/// A word behind its indefinite article.
fn one(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {word}")
}

/// One sentence, without a space around it.
pub(crate) fn sentence(rng: &mut Rng) -> String {
    let (topic, other) = (rng.pick(TOPICS), rng.pick(TOPICS));
    let (quality, action) = (rng.pick(QUALITIES), rng.pick(ACTIONS));
    match rng.below(4) {
        0 => format!(
            "The {quality} {topic} {action} the {other} {}.",
            rng.pick(PLACES)
        ),
        1 => format!(
            "{}, the {topic} {action} {} {other}.",
            rng.pick(LINKS),
            one(quality)
        ),
        2 => {
            let link = rng.pick(LINKS);
            format!("{link}, it helps to compare the {topic} with the {quality} {other}.")
        }
        _ => {
            let (third, state) = (rng.pick(TOPICS), rng.pick(QUALITIES));
            let first = rng.pick(PLACES);
            format!("The {topic} {action} the {other} {first}, and the {third} stays {state}.")
        }
    }
}

/// A few words for a field: two or three from the vocabulary.
pub(crate) fn phrase(rng: &mut Rng) -> String {
    format!("{} {}", rng.pick(QUALITIES), rng.pick(TOPICS))
}

/// An answer to `asked` of at least `tokens` pieces, ending with a whole sentence.
pub(crate) fn answer(rng: &mut Rng, asked: &str, tokens: u64) -> String {
    let mut text = String::new();
    let topic = excerpt(asked);
    if !topic.is_empty() {
        text.push_str("You asked about \u{201c}");
        text.push_str(&topic);
        text.push_str("\u{201d}.");
    }
    let mut have = count(&text);
    let mut in_paragraph = 0;
    while have < tokens || text.is_empty() {
        let next = sentence(rng);
        let gap = match (text.is_empty(), in_paragraph) {
            (true, _) => "",
            (false, 4) => "\n\n",
            (false, _) => " ",
        };
        in_paragraph = if in_paragraph == 4 {
            0
        } else {
            in_paragraph + 1
        };
        let start = text.len();
        text.push_str(gap);
        text.push_str(&next);
        have += count(&text[start..]);
    }
    text
}

/// The first words of what was asked, on one line, at most 48 characters.
fn excerpt(asked: &str) -> String {
    let mut out = String::new();
    for word in asked.split_whitespace() {
        if out.chars().count() + word.chars().count() > 47 {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out.trim_end_matches(['.', '?', '!', ',', ':', ';'])
        .to_owned()
}

/// Keeps the first `tokens` pieces of `text`.
pub(crate) fn truncate(text: &mut String, tokens: u64) {
    let keep = usize::try_from(tokens).unwrap_or(usize::MAX);
    let bytes = pieces(text).take(keep).map(str::len).sum();
    text.truncate(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(pieces(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pieces_are_words_with_their_space_and_parts_of_long_words() {
        check(
            "The ledger, again.",
            &["The", " ledger", ",", " again", "."],
        );
        check(
            "  incomprehensible",
            &[" ", " inco", "mpre", "hens", "ible"],
        );
        check("a\n\n b", &["a", "\n\n", " b"]);
        check("größe日本", &["größe日本"]);
        check("", &[]);
    }

    #[test]
    fn a_piece_is_about_four_characters() {
        let text = answer(&mut Rng::new(5), "", 2_000);
        let (chars, tokens) = (u64::try_from(text.len()).unwrap(), count(&text));
        assert!(
            (3 * tokens..6 * tokens).contains(&chars),
            "{chars} characters, {tokens} tokens"
        );
    }

    #[test]
    fn equal_seeds_give_equal_answers_and_others_differ() {
        let one = answer(&mut Rng::new(1), "What now?", 40);
        assert_eq!(one, answer(&mut Rng::new(1), "What now?", 40));
        assert_ne!(one, answer(&mut Rng::new(2), "What now?", 40));
        assert!(
            one.starts_with("You asked about \u{201c}What now\u{201d}."),
            "{one}"
        );
    }

    #[test]
    fn ids_have_the_shape_they_imitate() {
        assert_eq!(id("req_", 3, 8).len(), 12);
        let uuid = uuid(9);
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'), "{uuid}");
    }

    #[test]
    fn plain_text_is_found_in_any_nesting() {
        let content = serde_json::json!([
            {"type": "text", "text": "one"},
            {"type": "tool_result", "content": [{"type": "text", "text": "two"}]},
        ]);
        assert_eq!(plain(&content), "one\ntwo");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn pieces_make_up_the_text_and_a_prefix_keeps_its_count(
            text in "[a-z0-9 \n.,äé日🙂\t]{0,80}", keep in 0u64..40,
        ) {
            prop_assert_eq!(pieces(&text).collect::<String>(), text.clone());
            prop_assert!(pieces(&text).all(|piece| !piece.is_empty()));
            let mut cut = text.clone();
            truncate(&mut cut, keep);
            prop_assert_eq!(count(&cut), keep.min(count(&text)));
        }

        #[test]
        fn a_truncated_answer_has_exactly_the_tokens_asked_for(seed: u64, keep in 1u64..80) {
            let mut text = answer(&mut Rng::new(seed), "Where is it?", 90);
            truncate(&mut text, keep);
            prop_assert_eq!(count(&text), keep);
        }
    }
}
