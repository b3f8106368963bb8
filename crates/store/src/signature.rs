//! How what the gateway sends to addresses of the operator's is signed, so that receivers can tell it
//! from what others send there.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use isango_types::{Secret, Timestamp};

/// The header with the moment of sending, in seconds since 1970.
pub const TIMESTAMP: &str = "isango-timestamp";
/// The header with `v1=` and HMAC-SHA-256, in hex, of that number, a dot and the body.
pub const SIGNATURE: &str = "isango-signature";

/// The values of [`TIMESTAMP`] and [`SIGNATURE`] for a body that is sent at `now`.
#[must_use]
pub fn sign(key: &Secret, now: Timestamp, body: &[u8]) -> (u64, String) {
    let seconds = now.as_micros() / 1_000_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut text = "v1=".to_owned();
    for byte in context.sign().as_ref() {
        // Writing to a text cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    (seconds, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // printf '1795363823.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of sixteen'
        let now = Timestamp::from_micros(1_795_363_823_999_999);
        assert_eq!(
            sign(&Secret::new("a secret of sixteen"), now, br#"{"a":1}"#),
            (
                1_795_363_823,
                "v1=5d719ab0cc3a5a274a5aa4362724be26d0f158d84ef3548605348a9134987539".into()
            )
        );
    }
}
