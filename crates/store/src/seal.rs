//! Seals secrets for storage: AES-256-GCM with a key that is never stored beside them.
//!
//! A sealed text names its key, and is bound to where it belongs: what is moved or edited does not
//! open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::Secret;
use zeroize::Zeroizing;

/// What a sealed text begins with: the way in which it is sealed.
const VERSION: &str = "1";
/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened. Tells nothing of keys or secrets.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key is none.
    #[error("a key is 32 bytes in base64, or 64 hex digits; `openssl rand -base64 32` makes one")]
    Key,
    /// There is no key that it was sealed with.
    #[error("it is sealed with a key ({0}) that is not configured")]
    UnknownKey(Box<str>),
    /// It is not what was sealed, or not where it was put.
    #[error("it was changed or moved after it was sealed")]
    Forged,
    /// The cipher failed.
    #[error("it cannot be sealed")]
    Failed,
}

/// A key that seals.
pub struct SealKey {
    id: Box<str>,
    key: RandomizedNonceKey,
    /// Derived from the same, and for nothing else.
    vouches: hmac::Key,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SealKey").field(&self.id).finish()
    }
}

impl SealKey {
    /// Reads a key: 32 bytes in base64, or 64 hex digits.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn parse(text: &Secret) -> Result<Self, SealError> {
        let text = text.expose().trim();
        let bytes = match text.len() {
            64 => isango_types::key::Sha256::parse(text).map(|bytes| bytes.0.to_vec()),
            _ => STANDARD.decode(text).ok(),
        };
        let bytes = Zeroizing::new(bytes.ok_or(SealError::Key)?);
        if bytes.len() != KEY_BYTES {
            return Err(SealError::Key);
        }
        let named = [b"isango seal key 1\0", bytes.as_slice()].concat();
        let named = Zeroizing::new(named);
        let digest = digest(&SHA256, &named);
        let id = digest
            .as_ref()
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"));
        Ok(Self {
            id: id.collect::<String>().into(),
            key: RandomizedNonceKey::new(&AES_256_GCM, &bytes)
                .map_err(|_unspecified| SealError::Key)?,
            vouches: {
                let whole = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
                let derived = hmac::sign(&whole, b"isango vouching key 1");
                hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
            },
        })
    }

    /// A code that nobody without the key can make: `text` is what was put at `place`.
    #[must_use]
    pub fn vouch(&self, place: &[u8], text: &str) -> String {
        let code = hmac::sign(&self.vouches, &placed(place, text));
        format!("{VERSION}:{}:{}", self.id, STANDARD.encode(code))
    }

    /// Its name in what it seals: tells nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals `secret` for `place`.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, place: &[u8], secret: &Secret) -> Result<String, SealError> {
        let mut bytes = Zeroizing::new(secret.expose().as_bytes().to_vec());
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place), &mut *bytes)
            .map_err(|_unspecified| SealError::Failed)?;
        let sealed = [nonce.as_ref().as_slice(), bytes.as_slice()].concat();
        Ok(format!("{VERSION}:{}:{}", self.id, STANDARD.encode(sealed)))
    }

    fn open(&self, place: &[u8], sealed: &str) -> Result<Secret, SealError> {
        let forged = || SealError::Forged;
        let bytes = STANDARD.decode(sealed).map_err(|_no_base64| forged())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_wrong_length| forged())?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(place), &mut rest)
            .map_err(|_unspecified| forged())?;
        let text = std::str::from_utf8(opened).map_err(|_no_text| forged())?;
        Ok(Secret::new(text))
    }
}

/// A text and its place, in the one way to write both.
fn placed(place: &[u8], text: &str) -> Vec<u8> {
    let length = (place.len() as u64).to_le_bytes();
    [&length, place, text.as_bytes()].concat()
}

/// The key that seals, and the one that sealed before it.
#[derive(Debug)]
pub struct Keyring {
    /// Seals from now on.
    pub current: SealKey,
    /// Opens what was sealed before.
    pub previous: Option<SealKey>,
}

impl Keyring {
    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Forged`].
    pub fn open(&self, place: &[u8], sealed: &str) -> Result<Secret, SealError> {
        let (key, rest) = self.key_of(sealed)?;
        key.open(place, rest)
    }

    /// Checks the code of [`SealKey::vouch`], in a time that does not depend on where it is wrong.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Forged`].
    pub fn is_vouched(&self, place: &[u8], text: &str, code: &str) -> Result<(), SealError> {
        let (key, rest) = self.key_of(code)?;
        let code = STANDARD.decode(rest);
        let code = code.map_err(|_no_base64| SealError::Forged)?;
        let checked = hmac::verify(&key.vouches, &placed(place, text), &code);
        checked.map_err(|_unspecified| SealError::Forged)
    }

    /// The key that made something, and what it made.
    fn key_of<'s>(&self, made: &'s str) -> Result<(&SealKey, &'s str), SealError> {
        let mut parts = made.splitn(3, ':');
        let (Some(VERSION), Some(id), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Forged);
        };
        let mut keys = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten();
        match keys.find(|key| *key.id == *id) {
            Some(key) => Ok((key, rest)),
            None => Err(SealError::UnknownKey(id.into())),
        }
    }

    /// Whether it is sealed with the key that seals from now on.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.split(':').nth(1);
        id == Some(self.current.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SealKey {
        SealKey::parse(&Secret::new(STANDARD.encode([n; 32]))).unwrap()
    }

    fn ring(current: u8, previous: Option<u8>) -> Keyring {
        Keyring {
            current: key(current),
            previous: previous.map(key),
        }
    }

    #[test]
    fn what_is_sealed_opens_where_it_belongs_and_shows_nothing() {
        let secret = Secret::new("planted-secret");
        let (one, other) = (
            key(1).seal(b"a", &secret).unwrap(),
            key(1).seal(b"a", &secret).unwrap(),
        );
        assert_ne!(one, other, "no nonce is used twice");
        assert!(!one.contains("planted") && !one.contains(&STANDARD.encode("planted")));
        assert_eq!(ring(1, None).open(b"a", &one).unwrap(), secret);
        assert!(matches!(
            ring(1, None).open(b"b", &one),
            Err(SealError::Forged)
        ));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let sealed = key(1).seal(b"a", &Secret::new("secret")).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                ring(1, None).open(b"a", &changed).is_err(),
                "{at}: {changed}"
            );
        }
        for wrong in ["", "1:", "1::", "1:x", "2:x:y"] {
            assert!(ring(1, None).open(b"a", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_was_replaced_still_opens_and_another_does_not() {
        let sealed = key(1).seal(b"a", &Secret::new("secret")).unwrap();
        assert!(ring(2, Some(1)).open(b"a", &sealed).is_ok());
        assert!(!ring(2, Some(1)).is_current(&sealed) && ring(1, None).is_current(&sealed));
        assert!(matches!(
            ring(2, None).open(b"a", &sealed),
            Err(SealError::UnknownKey(_))
        ));
    }

    #[test]
    fn a_key_is_32_bytes() {
        let hex = Secret::new("01".repeat(32));
        assert_eq!(SealKey::parse(&hex).unwrap().id(), key(1).id());
        let planted = STANDARD.encode("planted");
        for wrong in [
            "",
            "short",
            planted.as_str(),
            &"zz".repeat(32),
            &STANDARD.encode([1; 33]),
        ] {
            let told = SealKey::parse(&Secret::new(wrong)).unwrap_err().to_string();
            assert!(!told.contains("planted"), "{told}");
        }
        assert!(!format!("{:?}", ring(1, Some(2))).contains(&STANDARD.encode([1; 32])));
    }
}
