//! What takes the place of matches, told from what only looks like it: `[redacted:NAME]`, and
//! `[NAME:0123456789abcdef]`.

use crate::detect::Span;

/// Characters of a hash: eight bytes of it, in hex.
pub(crate) const HASH_CHARS: usize = 16;

/// What stands instead of a match that was masked.
pub(crate) fn mask(name: &str) -> String {
    format!("[redacted:{name}]")
}

/// How long the mark of a name is that a text begins with.
pub(crate) fn masked(text: &str, name: &str) -> Option<usize> {
    let rest = text.strip_prefix("[redacted:")?.strip_prefix(name)?;
    Some(text.len() - rest.strip_prefix(']')?.len())
}

/// How long the hash of a name is that a text begins with. One of digits alone is none: a card
/// number is as long.
pub(crate) fn hashed(text: &str, name: &str) -> Option<usize> {
    let rest = text.strip_prefix('[')?.strip_prefix(name)?;
    let rest = rest.strip_prefix(':')?;
    let (hash, rest) = rest.split_at_checked(HASH_CHARS)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_it = hash.bytes().all(is_hex) && hash.bytes().any(|byte| byte.is_ascii_lowercase());
    let rest = rest.strip_prefix(']').filter(|_| is_it)?;
    Some(text.len() - rest.len())
}

/// The names that marks may have.
pub(crate) struct Marks(Vec<Box<str>>);

impl Marks {
    pub(crate) fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Where marks are in a text, in order.
    pub(crate) fn find(&self, text: &str) -> Vec<Span> {
        let found = text.match_indices('[').filter_map(|(at, _)| {
            let rest = &text[at..];
            let mut names = self.0.iter();
            let length = names.find_map(|name| masked(rest, name).or_else(|| hashed(rest, name)));
            length.map(|length| at..at + length)
        });
        found.collect()
    }
}

/// Whether a match lies within one of the marks, which are in order.
pub(crate) fn is_within(marks: &[Span], found: &Span) -> bool {
    let next = marks.partition_point(|mark| mark.end < found.end);
    marks
        .get(next)
        .is_some_and(|mark| mark.start <= found.start)
}
