//! Detectors: what looks like something, and proves to be it by its own checksum or form. They take
//! time in proportion to the length of the text.
//!
//! Borders are those of ASCII: a number behind a letter of another script is one, and one behind a
//! letter of ASCII is a part of a name.

mod card;
mod iban;
mod secret;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// A part of a text, in bytes.
pub(crate) type Span = Range<usize>;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Payment card numbers, by Luhn's checksum (ISO/IEC 7812-1).
    Card,
    /// International bank account numbers, by their check digits (ISO 13616).
    Iban,
    /// E-mail addresses.
    Email,
    /// Phone numbers: international, South African, North American.
    Phone,
    /// South African identity numbers, by date and checksum.
    ZaId,
    /// US social security numbers.
    UsSsn,
    /// Keys and tokens, by their known beginnings, or by how random they look.
    Secret,
}

impl Detector {
    /// The names, in the order of [`Detector::ALL`].
    pub const NAMES: [&'static str; 7] = [
        "card", "iban", "email", "phone", "za_id", "us_ssn", "secret",
    ];
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Card,
        Self::Iban,
        Self::Email,
        Self::Phone,
        Self::ZaId,
        Self::UsSsn,
        Self::Secret,
    ];

    /// The detector of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self::ALL[at])
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Card => Self::NAMES[0],
            Self::Iban => Self::NAMES[1],
            Self::Email => Self::NAMES[2],
            Self::Phone => Self::NAMES[3],
            Self::ZaId => Self::NAMES[4],
            Self::UsSsn => Self::NAMES[5],
            Self::Secret => Self::NAMES[6],
        }
    }

    /// Where it is in a text: in order, no two over each other.
    pub(crate) fn find(self, text: &str) -> Vec<Span> {
        match self {
            Self::Card => card::find(text),
            Self::Iban => iban::find(text),
            Self::Email => matches(&EMAIL, |_| true, text),
            Self::Phone => matches(
                &PHONE,
                |found| (9..=15).contains(&digits(found).len()),
                text,
            ),
            Self::ZaId => matches(&ZA_ID, is_za_id, text),
            Self::UsSsn => matches(&US_SSN, is_us_ssn, text),
            Self::Secret => secret::find(text),
        }
    }

    /// Where it is in what names something: many an id looks random, and opens nothing.
    pub(crate) fn find_in_name(self, text: &str) -> Vec<Span> {
        match self {
            Self::Secret => secret::find_known(text),
            Self::Card | Self::Iban | Self::Email | Self::Phone | Self::ZaId | Self::UsSsn => {
                self.find(text)
            }
        }
    }
}

type Pattern = LazyLock<Option<Regex>>;

static EMAIL: Pattern = LazyLock::new(|| {
    Regex::new(r"[\pL0-9._%+-]+@[\pL0-9](?:[\pL0-9-]*[\pL0-9])?(?:\.[\pL0-9](?:[\pL0-9-]*[\pL0-9])?)*\.\pL{2,24}").ok()
});
static PHONE: Pattern = LazyLock::new(|| {
    let gap = r"[ \x{a0}\x{202f}-]";
    let international = r"\+[0-9](?:[ \x{a0}\x{202f}().-]{0,2}[0-9]){7,14}";
    let south_african = format!("0[1-8][0-9]{gap}?[0-9]{{3}}{gap}?[0-9]{{4}}");
    let american = r"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[0-9]{3}[.-][0-9]{4}";
    let all = format!(r"(?:{international}|{south_african}|{american})(?-u:\b)");
    Regex::new(&all).ok()
});
static ZA_ID: Pattern = LazyLock::new(|| {
    let gap = r"[ \x{a0}\x{202f}]?";
    let id = format!(r"[0-9]{{6}}{gap}[0-9]{{4}}{gap}[0-2][0-9]{gap}[0-9](?-u:\b)");
    Regex::new(&id).ok()
});
static US_SSN: Pattern = LazyLock::new(|| {
    let gap = r"[\x{a0}\x{202f} -]";
    Regex::new(&format!(
        r"[0-9]{{3}}{gap}[0-9]{{2}}{gap}[0-9]{{4}}(?-u:\b)"
    ))
    .ok()
});

/// Where a pattern is whose matches are short, and have a proof. Behind one that has none it is
/// looked for one character later: what is meant may begin within.
fn matches(pattern: &Pattern, proves: impl Fn(&str) -> bool, text: &str) -> Vec<Span> {
    let mut all = Vec::new();
    let mut at = 0;
    let Some(pattern) = pattern.as_ref() else {
        return all;
    };
    while let Some(found) = pattern.find_at(text, at) {
        let is_number = found.as_str().starts_with(|c: char| c.is_ascii_digit());
        if (!is_number || is_begin(text, found.start())) && proves(found.as_str()) {
            at = found.end();
            all.push(found.range());
        } else {
            at = found.start() + found.as_str().chars().next().map_or(1, char::len_utf8);
        }
    }
    all
}

/// Whether what begins at a place is no part of what stands before it: of a letter or a digit, but
/// for one that ends an escape sequence.
fn is_begin(text: &str, at: usize) -> bool {
    match &text.as_bytes()[..at] {
        [.., b'\\', b'n' | b'r' | b't'] | [] => true,
        [.., before] => !before.is_ascii_alphanumeric(),
    }
}

/// Whether what ends at a place is no part of what follows.
fn is_end(text: &str, at: usize) -> bool {
    let next = text.as_bytes().get(at);
    next.is_none_or(|next| !next.is_ascii_alphanumeric())
}

/// Adds a part behind others; what overlaps becomes one.
fn add(all: &mut Vec<Span>, span: Span) {
    match all.last_mut() {
        Some(last) if span.start < last.end => last.end = last.end.max(span.end),
        Some(_) | None => all.push(span),
    }
}

fn digits(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.map(|digit| digit - b'0').collect()
}

/// Luhn's checksum (ISO/IEC 7812-1 annex B).
fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, digit)| match (n % 2, u32::from(*digit)) {
            (1, digit) if digit > 4 => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Thirteen digits: a date, a serial, citizenship, an old digit, and Luhn's (Department of Home
/// Affairs).
fn is_za_id(found: &str) -> bool {
    let digits = digits(found);
    let [_, _, m1, m2, d1, d2, .., _, _, _] = digits.as_slice() else {
        return false;
    };
    let (month, day) = (m1 * 10 + m2, d1 * 10 + d2);
    (1..=12).contains(&month) && (1..=31).contains(&day) && is_luhn(&digits)
}

/// Area, group and serial that were ever given (Social Security Administration, "Randomization").
fn is_us_ssn(found: &str) -> bool {
    let digits = digits(found);
    let [a1, a2, a3, g1, g2, serial @ ..] = digits.as_slice() else {
        return false;
    };
    let area = [*a1, *a2, *a3];
    let is_given = area != [0; 3] && area != [6; 3] && *a1 != 9;
    is_given && [*g1, *g2] != [0; 2] && serial != [0; 4]
}
