//! Detectors: what looks like something, and proves to be it by its own checksum or form. All
//! patterns are matched in linear time.

use std::sync::LazyLock;

use regex::Regex;

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

    /// What may be it.
    pub(crate) fn pattern(self) -> Option<&'static Regex> {
        let known = match self {
            Self::Card => &CARD,
            Self::Iban => &IBAN,
            Self::Email => &EMAIL,
            Self::Phone => &PHONE,
            Self::ZaId => &ZA_ID,
            Self::UsSsn => &US_SSN,
            Self::Secret => &SECRET,
        };
        known.as_ref()
    }

    /// Whether what may be it is it.
    pub(crate) fn proves(self, found: &str) -> bool {
        match self {
            Self::Card => is_card(found),
            Self::Iban => is_iban(found),
            Self::Email => true,
            Self::Phone => (9..=15).contains(&digits(found).len()),
            Self::ZaId => is_za_id(found),
            Self::UsSsn => is_us_ssn(found),
            Self::Secret => is_secret(found),
        }
    }
}

type Pattern = LazyLock<Option<Regex>>;

static CARD: Pattern = LazyLock::new(|| Regex::new(r"\b[2-6](?:[ -]?[0-9]){11,18}\b").ok());
static IBAN: Pattern = LazyLock::new(|| {
    Regex::new(r"\b[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b").ok()
});
static EMAIL: Pattern = LazyLock::new(|| {
    Regex::new(r"[\pL0-9._%+-]+@[\pL0-9](?:[\pL0-9-]*[\pL0-9])?(?:\.[\pL0-9](?:[\pL0-9-]*[\pL0-9])?)*\.\pL{2,24}").ok()
});
static PHONE: Pattern = LazyLock::new(|| {
    let international = r"\+[0-9](?:[ ().-]{0,2}[0-9]){7,14}\b";
    let south_african = r"\b0[1-8][0-9][ -]?[0-9]{3}[ -]?[0-9]{4}\b";
    let american = r"(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[.-])[0-9]{3}[.-][0-9]{4}\b";
    Regex::new(&format!("{international}|{south_african}|{american}")).ok()
});
static ZA_ID: Pattern =
    LazyLock::new(|| Regex::new(r"\b[0-9]{6} ?[0-9]{4} ?[0-2][0-9] ?[0-9]\b").ok());
static US_SSN: Pattern = LazyLock::new(|| Regex::new(r"\b[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}\b").ok());
static SECRET: Pattern = LazyLock::new(|| {
    let key = r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]*PRIVATE KEY-----)?";
    let jwt = r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*";
    let token = r"[A-Za-z0-9+/_=-]{16,}";
    Regex::new(&format!("{key}|{jwt}|{token}")).ok()
});

/// What tokens of well-known services begin with.
const BEGINNINGS: [&str; 18] = [
    "-----BEGIN ",
    "eyJ",
    "sk-",
    "sk_live_",
    "rk_live_",
    "pk_live_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "AIza",
    "isg_",
    "hf_",
];
/// What ids begin with that look random and open nothing.
const IDS: [&str; 10] = [
    "chatcmpl-",
    "msg_",
    "resp_",
    "call_",
    "toolu_",
    "req_",
    "fp_",
    "file-",
    "run_",
    "thread_",
];
/// Shortest token that may be one by its looks alone.
const MIN_RANDOM: usize = 24;
/// Bits for each character above which a token looks random.
const MIN_BITS: f64 = 4.0;

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

fn is_card(found: &str) -> bool {
    let digits = digits(found);
    let is_one_digit = digits.windows(2).all(|pair| pair[0] == pair[1]);
    (12..=19).contains(&digits.len()) && !is_one_digit && is_luhn(&digits)
}

/// The remainder by 97 of the number behind its letters (ISO 7064).
fn is_iban(found: &str) -> bool {
    let text: Vec<u8> = found.bytes().filter(|byte| *byte != b' ').collect();
    if !(15..=34).contains(&text.len()) {
        return false;
    }
    let (head, tail) = text.split_at(4);
    let rest = tail
        .iter()
        .chain(head)
        .fold(0_u32, |rest, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            letter => (rest * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
        });
    rest == 1
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
    let parts: Vec<&str> = found.split(['-', ' ']).collect();
    let [area, group, serial] = parts.as_slice() else {
        return false;
    };
    !["000", "666"].contains(area) && !area.starts_with('9') && *group != "00" && *serial != "0000"
}

fn is_secret(found: &str) -> bool {
    if IDS.iter().any(|beginning| found.starts_with(beginning)) {
        return false;
    }
    if BEGINNINGS
        .iter()
        .any(|beginning| found.starts_with(beginning))
    {
        return true;
    }
    let has = |is: fn(&u8) -> bool| found.bytes().any(|byte| is(&byte));
    let is_mixed =
        has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    // A path or a list of words has separators, and few digits.
    found.len() >= MIN_RANDOM && is_mixed && bits(found) >= MIN_BITS
}

/// Shannon's entropy of a text, in bits for each byte.
fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let shares = counts.iter().filter(|count| **count > 0);
    let shares = shares.map(|count| f64::from(*count) / length);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(detector: Detector, text: &str) -> Vec<&str> {
        let pattern = detector.pattern().unwrap();
        let found = pattern.find_iter(text).map(|found| found.as_str());
        found.filter(|found| detector.proves(found)).collect()
    }

    #[test]
    fn what_is_meant_is_found_and_what_only_looks_like_it_is_not() {
        use Detector::{Card, Email, Iban, Phone, Secret, UsSsn, ZaId};
        for (detector, text, found) in [
            (Card, "pay 4111 1111 1111 1111 now", "4111 1111 1111 1111"),
            (Card, "5555-5555-5555-4444", "5555-5555-5555-4444"),
            (Card, "378282246310005", "378282246310005"),
            (
                Iban,
                "to DE89 3704 0044 0532 0130 00.",
                "DE89 3704 0044 0532 0130 00",
            ),
            (Iban, "GB82WEST12345698765432", "GB82WEST12345698765432"),
            (
                Email,
                "mail a.b+c@mail.example.co.za!",
                "a.b+c@mail.example.co.za",
            ),
            (Phone, "call +27 82 123 4567 or", "+27 82 123 4567"),
            (Phone, "082 123 4567", "082 123 4567"),
            (Phone, "(415) 555-2671", "(415) 555-2671"),
            (ZaId, "id 8001015009087", "8001015009087"),
            (UsSsn, "ssn 078-05-1120", "078-05-1120"),
            (
                Secret,
                "key sk-proj-abcdefghijkl1234",
                "sk-proj-abcdefghijkl1234",
            ),
            (Secret, "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
            (
                Secret,
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            ),
        ] {
            assert_eq!(finds(detector, text), [found], "{detector:?} {text}");
        }
        for (detector, text) in [
            (Card, "4111 1111 1111 1112"),
            (Card, "2026112312345678 1"),
            (Card, "4444444444444448x"),
            (Iban, "DE89 3704 0044 0532 0130 01"),
            (Email, "a@b"),
            (Phone, "2026-11-23"),
            (Phone, "12345"),
            (ZaId, "8013015009087"),
            (ZaId, "8001015009088"),
            (UsSsn, "000-12-3456"),
            (UsSsn, "666-12-3456"),
            (Secret, "chatcmpl-AbCdEf0123456789XyZwVu0987"),
            (Secret, "internationalization-of-everything"),
            (Secret, "550e8400-e29b-41d4-a716-446655440000"),
        ] {
            assert_eq!(finds(detector, text), [""; 0], "{detector:?} {text}");
        }
    }
}
