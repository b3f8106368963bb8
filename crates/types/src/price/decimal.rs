//! Exact decimals: money never passes through binary floating point.

/// Why a text is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Something else than digits, one point and an exponent.
    #[error("not a decimal number")]
    Malformed,
    /// A minus sign.
    #[error("must not be negative")]
    Negative,
    /// More than the integer behind it can hold.
    #[error("too large")]
    TooLarge,
}

/// Reads `text` as `value × 10^scale`, rounded half up.
///
/// Takes digits, an optional point, an optional exponent (`2.50`, `.5`, `1e-6`); any number of
/// decimals.
pub(super) fn scaled(text: &str, scale: u8) -> Result<u128, AmountError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
        return Err(AmountError::Malformed);
    }
    if negative {
        return Err(AmountError::Negative);
    }
    let before_point = i64::try_from(whole.len()).unwrap_or(i64::MAX);
    let kept = before_point
        .saturating_add(exponent)
        .saturating_add(i64::from(scale));
    shift(whole.bytes().chain(fraction.bytes()), kept)
}

/// The number that the first `kept` of `digits` make, zeros added where there are fewer; the next
/// digit rounds it.
fn shift(digits: impl Iterator<Item = u8>, kept: i64) -> Result<u128, AmountError> {
    let (mut value, mut missing) = (0_u128, kept);
    for digit in digits.map(|byte| u128::from(byte - b'0')) {
        if missing <= 0 {
            let rounds_up = missing == 0 && digit >= 5;
            return value
                .checked_add(u128::from(rounds_up))
                .ok_or(AmountError::TooLarge);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(digit))
            .ok_or(AmountError::TooLarge)?;
        missing -= 1;
    }
    if value == 0 || missing <= 0 {
        return Ok(value);
    }
    u32::try_from(missing)
        .ok()
        .and_then(|zeros| 10_u128.checked_pow(zeros))
        .and_then(|factor| value.checked_mul(factor))
        .ok_or(AmountError::TooLarge)
}

fn read_exponent(text: &str) -> Result<i64, AmountError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::Malformed);
    }
    // Whatever does not fit is far beyond every amount, in its direction.
    Ok(sign * digits.parse::<i64>().unwrap_or(i64::MAX))
}

/// Reads an amount in US dollars as nano-dollars (`"0.01"` is 10 000 000), rounded half up.
///
/// Takes decimals with an optional exponent, without a currency sign.
///
/// # Errors
/// The text is no decimal number, negative, or more than 18 446 744 073 dollars.
pub fn parse_usd(text: &str) -> Result<u64, AmountError> {
    u64::try_from(scaled(text.trim(), 9)?).map_err(|_overflow| AmountError::TooLarge)
}

/// Writes nano-dollars as dollars, exactly and without trailing zeros: `0.000125`, `2.5`, `3`.
#[must_use]
pub fn format_usd(nanousd: u64) -> String {
    let (whole, nanos) = (nanousd / 1_000_000_000, nanousd % 1_000_000_000);
    if nanos == 0 {
        return whole.to_string();
    }
    let mut text = format!("{whole}.{nanos:09}");
    text.truncate(text.trim_end_matches('0').len());
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, AmountError>) {
        assert_eq!(parse_usd(text), expected, "{text}");
    }

    #[test]
    fn decimals_are_read_exactly() {
        check("2.50", Ok(2_500_000_000));
        check("0.0025", Ok(2_500_000));
        check(".5", Ok(500_000_000));
        check("5.", Ok(5_000_000_000));
        check("+1", Ok(1_000_000_000));
        check("0.1", Ok(100_000_000));
        check("000", Ok(0));
        check("18446744073.709551615", Ok(u64::MAX));
    }

    #[test]
    fn exponents_move_the_point() {
        check("1e-6", Ok(1_000));
        check("1.5E+2", Ok(150_000_000_000));
        check("0.00025e3", Ok(250_000_000));
        check("0e999999999999999999999", Ok(0));
        check("1e-99999999999999999999", Ok(0));
    }

    #[test]
    fn what_is_finer_than_a_nano_dollar_rounds_half_up() {
        check("0.0000000004", Ok(0));
        check(
            "0.00000000049999999999999999999999999999999999999999",
            Ok(0),
        );
        check("0.0000000005", Ok(1));
        check("0.0000000015", Ok(2));
        check("5e-11", Ok(0));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for text in [
            "", ".", "-", "e5", "1e", "1e+", "1.2.3", "0x10", "1_000", "NaN", "1 2", "$1",
        ] {
            check(text, Err(AmountError::Malformed));
        }
        for text in ["-1", "-0", "-1e-30"] {
            check(text, Err(AmountError::Negative));
        }
        for text in ["18446744073.709551616", "1e11", "1e999999999999999999999"] {
            check(text, Err(AmountError::TooLarge));
        }
    }

    #[test]
    fn amounts_are_written_without_rounding() {
        for (nanousd, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (125_000, "0.000125"),
            (2_500_000_000, "2.5"),
        ] {
            assert_eq!(format_usd(nanousd), text);
        }
        assert_eq!(format_usd(3_000_000_000), "3");
    }

    proptest! {
        #[test]
        fn an_amount_survives_its_text(nanousd: u64) {
            prop_assert_eq!(parse_usd(&format_usd(nanousd)), Ok(nanousd));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,60}", scale in 0_u8..=30) {
            if let Ok(value) = scaled(&text, scale) {
                prop_assert!(!text.starts_with('-'), "{} became {}", text, value);
            }
        }
    }
}
