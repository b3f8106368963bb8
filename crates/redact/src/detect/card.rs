//! Payment card numbers, however they are grouped, and whatever numbers stand beside them.

use super::{Span, add, is_begin, is_end, is_luhn};

/// Fewest and most digits (ISO/IEC 7812-1).
const DIGITS: std::ops::RangeInclusive<usize> = 12..=19;
/// How cards are printed; other groups with dots between are decimal numbers and versions.
const PRINTED: [&[usize]; 4] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3]];

/// Where card numbers are.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(digit) = text.as_bytes()[at..].iter().position(u8::is_ascii_digit) {
        let groups = groups(text, at + digit);
        at = groups.last().map_or(text.len(), |last| last.end);
        for first in 0..groups.len() {
            within(text, &groups, first, &mut all);
        }
    }
    all
}

/// Groups of digits with one separator between each two, from a digit on.
fn groups(text: &str, mut at: usize) -> Vec<Span> {
    let mut groups = Vec::new();
    loop {
        let digits = text.as_bytes()[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let end = at + digits.count();
        groups.push(at..end);
        let gap = text[end..].chars().next().filter(|c| is_gap(*c));
        let next = end + gap.map_or(0, char::len_utf8);
        match text.as_bytes().get(next) {
            Some(byte) if byte.is_ascii_digit() => at = next,
            Some(_) | None => return groups,
        }
    }
}

const fn is_gap(c: char) -> bool {
    matches!(
        c,
        ' ' | '-' | '.' | '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}' | '\u{2010}'..='\u{2013}'
    )
}

/// Adds the card numbers that begin with one of the groups: some may end sooner, and some later.
fn within(text: &str, groups: &[Span], first: usize, all: &mut Vec<Span>) {
    let start = groups[first].start;
    let is_fraction = first > 0 && text[..start].ends_with('.');
    // Of what begins otherwise, only what a network gives out is one: moments do, and ids.
    let is_usual = matches!(text.as_bytes()[start], b'2'..=b'6');
    if text.as_bytes()[start] == b'0' || !is_begin(text, start) {
        return;
    }
    let mut digits: Vec<u8> = Vec::with_capacity(*DIGITS.end());
    let mut lengths: Vec<usize> = Vec::new();
    for (n, group) in groups.iter().enumerate().skip(first) {
        if digits.len() + group.len() > *DIGITS.end() {
            return;
        }
        digits.extend(text[group.clone()].bytes().map(|digit| digit - b'0'));
        lengths.push(group.len());
        let is_whole = first == 0 && n + 1 == groups.len();
        let has_dots = text[start..group.end].contains('.') || (is_fraction && n == first);
        let is_it = DIGITS.contains(&digits.len())
            && is_end(text, group.end)
            && (!has_dots || PRINTED.contains(&lengths.as_slice()))
            && is_card(&digits)
            // Among other numbers it needs a better proof than one of ten has by chance.
            && ((is_whole && is_usual) || is_issued(&digits));
        if is_it {
            add(all, start..group.end);
        }
    }
}

fn is_card(digits: &[u8]) -> bool {
    let is_one_digit = digits.windows(2).all(|pair| pair[0] == pair[1]);
    !is_one_digit && is_luhn(digits)
}

/// Whether a network gives out numbers of this beginning and length. The ranges are those of
/// credit-card-type 10.3.0 (Braintree's table) and of Wikipedia, "Payment card number" (as of 2024),
/// the wider one where they differ; read 2026-11-23. Left out is what other numbers look like: UATP,
/// which has every beginning with 1, as serial numbers do; GPN's 1946; and Visa's of 18 digits, which
/// one of the two knows, and which two digits beside a common number make.
fn is_issued(digits: &[u8]) -> bool {
    let beginning = digits.iter().take(4);
    let beginning = beginning.fold(0, |all, digit| all * 10 + u32::from(*digit));
    let lengths = match beginning {
        // Visa
        4000..=4999 => return matches!(digits.len(), 13 | 16 | 19),
        // Napas
        9704 => return matches!(digits.len(), 16 | 19),
        // American Express; JCB, as it was
        3400..=3499 | 3700..=3799 | 1800 | 2131 => 15..=15,
        // Mastercard; RuPay, UzCard, Troy, Humo
        5100..=5599 | 2221..=2720 | 8172..=8299 | 8600 | 9792 | 9860 => 16..=16,
        // China T-Union
        3100..=3199 => 19..=19,
        // Diners Club
        3000..=3099 | 3600..=3699 | 3800..=3999 => 14..=19,
        // JCB, RuPay, LankaPay; Mir, Borica; UnionPay
        3528..=3589 | 2200..=2205 | 8100..=8171 => 16..=19,
        // Maestro, Verve, Discover, UnionPay, RuPay, and whoever else has these
        5000..=5099 | 5600..=6999 => 12..=19,
        _ => return false,
    };
    lengths.contains(&digits.len())
}
