//! International bank account numbers (ISO 13616), together or in groups of four.

use super::{Span, is_begin, is_end};

/// Shortest and longest one.
const LENGTHS: std::ops::RangeInclusive<usize> = 15..=34;

/// How long they are, by country: all of SWIFT's IBAN registry, release 101, compared with it as
/// python-stdnum 2.2 has it (`stdnum/iban.dat`; read 2026-11-23). Territories have numbers of their
/// countries.
const COUNTRIES: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HN HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// Where account numbers are.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(found) = text.as_bytes()[at..].windows(4).position(begins) {
        let start = at + found;
        let end = Some(start).filter(|start| is_begin(text, *start));
        let end = end.and_then(|start| end_of(text, start));
        all.extend(end.map(|end| start..end));
        at = end.unwrap_or(start + 1);
    }
    all
}

fn begins(four: &[u8]) -> bool {
    let (country, check) = four.split_at(2);
    country.iter().all(u8::is_ascii_alphabetic) && check.iter().all(u8::is_ascii_digit)
}

/// Behind the number that begins at a place.
fn end_of(text: &str, start: usize) -> Option<usize> {
    let known = length_of(&text[start..start + 2]);
    let lengths = known.map_or(LENGTHS, |length| length..=length);
    let (mut packed, mut end) = (Vec::with_capacity(*lengths.end()), None);
    let (mut at, mut in_group, mut is_grouped) = (start, 0, false);
    while packed.len() < *lengths.end() {
        let c = text[at..].chars().next()?;
        if c.is_ascii_alphanumeric() {
            packed.push(text.as_bytes()[at]);
            in_group += 1;
        } else if matches!(c, ' ' | '-' | '\u{a0}' | '\u{202f}') && in_group == 4 {
            (in_group, is_grouped) = (0, true);
        } else {
            break;
        }
        at += c.len_utf8();
        if is_grouped && in_group > 4 {
            break;
        }
        let is_whole = lengths.contains(&packed.len()) && in_group > 0 && is_end(text, at);
        if is_whole && is_iban(&packed) {
            end = Some(at);
        }
        if at == text.len() {
            break;
        }
    }
    end
}

fn length_of(country: &str) -> Option<usize> {
    let mut known = COUNTRIES.iter();
    let is_it = |name: &str| name.eq_ignore_ascii_case(country);
    let found = known.find(|(_, names)| names.split(' ').any(is_it));
    found.map(|(length, _)| *length)
}

/// The remainder by 97 of the number behind its letters (ISO 7064).
fn is_iban(text: &[u8]) -> bool {
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
