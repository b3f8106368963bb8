use proptest::prelude::*;

use super::*;

fn finds(detector: Detector, text: &str) -> Vec<&str> {
    let found = detector.find(text).into_iter();
    found.map(|span| &text[span]).collect()
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

#[test]
fn what_stands_beside_it_hides_nothing() {
    use Detector::{Card, Iban, Phone, Secret, UsSsn, ZaId};
    const CARD: &str = "4111 1111 1111 1111";
    for (detector, text, found) in [
        (Card, "4111 1111 1111 1111 12/28", CARD),
        (Card, "4111 1111 1111 1111 123", CARD),
        (Card, "item 2 4111 1111 1111 1111", CARD),
        (Card, "2 items, 14 4111 1111 1111 1111 3 4", CARD),
        (
            Card,
            "\u{5361}\u{53f7}\u{662f}4111111111111111",
            "4111111111111111",
        ),
        (Card, "x\\n4111111111111111", "4111111111111111"),
        (Card, "_4111111111111111_", "4111111111111111"),
        (
            Card,
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
        ),
        (Card, "4111.1111.1111.1111", "4111.1111.1111.1111"),
        (Card, "3782.822463.10005", "3782.822463.10005"),
        (Iban, "BE68 5390 0754 7034 for rent", "BE68 5390 0754 7034"),
        (
            Iban,
            "ES9121000418450200051332 is mine",
            "ES9121000418450200051332",
        ),
        (
            Iban,
            "\u{3078}DE89370400440532013000",
            "DE89370400440532013000",
        ),
        (
            Iban,
            "DE89 3704 0044 0532 0130 00 12",
            "DE89 3704 0044 0532 0130 00",
        ),
        (Phone, "\u{96fb}\u{8a71}082 123 4567", "082 123 4567"),
        (Phone, "082\u{a0}123\u{a0}4567", "082\u{a0}123\u{a0}4567"),
        (ZaId, "\u{8b49}8001015009087", "8001015009087"),
        (UsSsn, "000-12-3456-78-5120 078-05-1120", "078-05-1120"),
        (
            Secret,
            "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
            "AKIAIOSFODNN7EXAMPLE",
        ),
        (Secret, "api_key=sk-abcdefghijklmnop", "sk-abcdefghijklmnop"),
        (
            Secret,
            "/v1?key=sk-abcdefghijklmnop&a=1",
            "sk-abcdefghijklmnop",
        ),
        (Secret, "HF=hf_abcdefghijklmnop", "hf_abcdefghijklmnop"),
        (Secret, "x\\nsk-abcdefghijklmnop", "sk-abcdefghijklmnop"),
        (
            Secret,
            "run_sk_live_abcdefghijklmnop",
            "sk_live_abcdefghijklmnop",
        ),
        (
            Secret,
            "file-/wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "file-/wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        ),
        (
            Secret,
            "SECRET=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY==",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY==",
        ),
    ] {
        assert_eq!(finds(detector, text), [found], "{detector:?} {text}");
    }
}

#[test]
fn what_is_beside_the_point_is_not_found() {
    use Detector::{Card, Iban, Secret};
    let two = "6011000990139424 3530111333300000";
    assert_eq!(finds(Card, two), ["6011000990139424", "3530111333300000"]);
    for (detector, text) in [
        (Card, "[0.4111111111111111, -3.14159265358979]"),
        (Card, "550e8400-e29b-41d4-a716-446655440000"),
        (Card, "41111111111111110000"),
        (Iban, "DE89 3704 0044 0532 0130 00x"),
        (Iban, "DE893704004405320130001"),
        (Secret, "/v1/files/file-AbCdEf0123456789XyZwVu0987"),
        (Secret, "toolu_vrtx_01AbCdEf0123456789XyZwVu09"),
        (Secret, "risk-adjusted-returns-of-a-portfolio"),
    ] {
        assert_eq!(finds(detector, text), [""; 0], "{detector:?} {text}");
    }
    // In a name only what certainly is one.
    let name = "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8";
    assert!(Secret.find_in_name(name).is_empty());
    assert_eq!(Secret.find_in_name("a/sk-abcdefghijklmnop").len(), 1);
}

proptest! {
    #[test]
    fn places_are_in_order_and_between_characters(text in "([0-9. \\-a-fDE+=/@_\\[]|\\PC|4111 1111 |sk-|DE89){0,60}") {
        for detector in Detector::ALL {
            let mut behind = 0;
            for span in detector.find(&text) {
                prop_assert!(behind <= span.start && span.start < span.end, "{detector:?}");
                prop_assert!(text.get(span.clone()).is_some());
                behind = span.end;
            }
        }
    }
}

/// A number of this beginning and length with its check digit.
fn number(beginning: &str, length: usize) -> String {
    let body = format!("{beginning}{}", "7".repeat(length - beginning.len() - 1));
    let mut numbers = ('0'..='9').map(|check| format!("{body}{check}"));
    let is_it = |text: &String| {
        let digits: Vec<u8> = text.bytes().map(|digit| digit - b'0').collect();
        is_luhn(&digits)
    };
    numbers.find(is_it).unwrap()
}

#[test]
fn beside_other_numbers_a_card_has_a_beginning_and_a_length_that_are_given_out() {
    for (beginning, lengths) in [
        ("4", &[13, 16, 19][..]),
        ("51", &[16]),
        ("2221", &[16]),
        ("34", &[15]),
        ("309", &[14, 15, 16, 17, 18, 19]),
        ("31", &[19]),
        ("3528", &[16, 17, 18, 19]),
        ("2205", &[16, 17, 18, 19]),
        ("2131", &[15]),
        ("1800", &[15]),
        ("6011", &[12, 13, 14, 15, 16, 17, 18, 19]),
        ("8100", &[16, 17, 18, 19]),
        ("8202", &[16]),
        ("8600", &[16]),
        ("9792", &[16]),
        ("9704", &[16, 19]),
        ("9860", &[16]),
        ("1946", &[]),
        ("17", &[]),
        ("25", &[16]),
        ("29", &[]),
        ("79", &[]),
        ("85", &[]),
        ("93", &[]),
    ] {
        for length in 12..=19 {
            let number = number(beginning, length);
            let text = format!("00 {number}");
            let wanted = Vec::from_iter(lengths.contains(&length).then_some(&*number));
            assert_eq!(finds(Detector::Card, &text), wanted, "{text}");
        }
    }
}

#[test]
fn a_number_alone_needs_no_beginning_but_one_of_moments_and_ids() {
    for (beginning, is_found) in [("29", true), ("4", true), ("17", false), ("93", false)] {
        let number = number(beginning, 16);
        assert_eq!(
            !finds(Detector::Card, &number).is_empty(),
            is_found,
            "{number}"
        );
    }
}
