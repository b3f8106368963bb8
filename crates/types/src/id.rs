//! Typed ids and slugs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// The id of one exchange and of the record it leaves: a lowercase `UUIDv7`, ordered by time to the
/// microsecond (RFC 9562 section 6.2, method 3), so that calls made one after another stay so.
///
/// It is the request id and the log id of the wire contract (data-plane section 23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(Uuid);

impl RecordId {
    /// A fresh id for an exchange that began at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let micros = now.as_micros();
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos);
        let random = Uuid::new_v7(stamp).as_u128() & !(0xfff << 64);
        let fraction = u128::from(micros % 1_000) * 4_096 / 1_000;
        Self(Uuid::from_u128(random | fraction << 64))
    }

    /// Writes the 36 characters of the id into `buffer` and returns them.
    #[must_use]
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// The moment in the id, in whole milliseconds.
    #[must_use]
    pub fn created_at_millis(self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(0)
    }

    /// An id of its 16 bytes, big-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for RecordId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Whether `text` may name an account: 1 to 64 of `a-z A-Z 0-9 _ -`, beginning with a letter or
/// digit. The 32 hex digits of existing clients are such a name.
#[must_use]
pub fn is_account(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether `text` may name a gateway: `^[a-z0-9_]+(?:-[a-z0-9_]+)*$`, 1 to 64 characters
/// (data-plane section 1.1).
#[must_use]
pub fn is_gateway_id(text: &str) -> bool {
    // A look at each byte: ids are too short for anything that must be set up.
    let mut after_dash = true;
    let fits = |byte: u8| {
        let is_dash = byte == b'-';
        let fits = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => true,
            _ => is_dash && !after_dash,
        };
        after_dash = is_dash;
        fits
    };
    (1..=64).contains(&text.len()) && text.bytes().all(fits) && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_time_and_tell_it() {
        let early = RecordId::new(Timestamp::from_micros(1_795_363_823_001_999));
        let late = RecordId::new(Timestamp::from_micros(1_795_363_823_003_000));
        assert!(early < late);
        assert_eq!(early.created_at_millis(), 1_795_363_823_001);
        assert_eq!(early.to_string().parse::<RecordId>().unwrap(), early);
    }

    #[test]
    fn ids_of_one_millisecond_are_ordered_too() {
        let of = |micros| RecordId::new(Timestamp::from_micros(micros));
        let ids: Vec<RecordId> = (1_795_363_823_001_000..1_795_363_823_003_000)
            .map(of)
            .collect();
        assert!(ids.is_sorted());
        let text = ids[999].to_string();
        assert_eq!(
            (&text[14..18], ids[999].created_at_millis()),
            ("7ffb", 1_795_363_823_001)
        );
        assert_ne!(of(1_795_363_823_001_000), of(1_795_363_823_001_000));
    }

    #[test]
    fn gateway_ids_follow_the_contract() {
        for good in ["default", "a", "my_gw-2", "0-0", &"a".repeat(64)] {
            assert!(is_gateway_id(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a.b",
            "a/b",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(!is_gateway_id(bad), "{bad}");
        }
    }

    #[test]
    fn accounts_are_slugs_or_hex() {
        for good in ["local", "0123456789abcdef0123456789abcdef", "Team-1"] {
            assert!(is_account(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a%2f", "_a", &"a".repeat(65)] {
            assert!(!is_account(bad), "{bad}");
        }
    }
}
