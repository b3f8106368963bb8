//! Sealing fields with a gateway's public key, and opening them (observability section 5.1): a fresh
//! AES-256 key for each record, wrapped by RSA-OAEP with SHA-256, and AES-256-GCM for each field.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::Secret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Object identifier of RSA keys with its NULL (RFC 8017 appendix A.1).
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// How an envelope begins.
const ENVELOPE: &str = "{\"key\":\"";

/// Why something cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is no key.
    #[error("it is no RSA public key of 2048 to 8192 bits in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    PublicKey,
    /// The text is no key.
    #[error(
        "it is no RSA private key in PEM: `-----BEGIN PRIVATE KEY-----` or \
         `-----BEGIN RSA PRIVATE KEY-----`"
    )]
    PrivateKey,
    /// Randomness or encryption failed.
    #[error("a field could not be sealed")]
    Seal,
    /// The envelope was made for another key, or was changed.
    #[error("field `{0}` cannot be opened: it was sealed with another key, or was changed")]
    Open(String),
    /// The line is no record.
    #[error("it is no JSON object")]
    Line,
}

/// What fields are sealed with.
pub struct PublicKey(OaepPublicEncryptingKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads a key in PEM (SPKI).
    ///
    /// # Errors
    /// [`SealError::PublicKey`].
    pub fn parse(pem: &str) -> Result<Self, SealError> {
        let der = unarmored(pem, "PUBLIC KEY").ok_or(SealError::PublicKey)?;
        let key = PublicEncryptingKey::from_der(&der).map_err(|_rejected| SealError::PublicKey)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_rejected| SealError::PublicKey)?;
        Ok(Self(key))
    }

    /// A fresh key for one record.
    ///
    /// # Errors
    /// [`SealError::Seal`].
    pub fn for_record(&self) -> Result<RecordKey, SealError> {
        let failed = |_unspecified| SealError::Seal;
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(failed)?;
        let mut wrapped = vec![0; self.0.ciphertext_size()];
        let wrapped = self
            .0
            .encrypt(&OAEP_SHA256_MGF1SHA256, &*key, &mut wrapped, None)
            .map_err(failed)?;
        let unbound = UnboundKey::new(&AES_256_GCM, &*key).map_err(failed)?;
        Ok(RecordKey {
            wrapped: STANDARD.encode(wrapped),
            key: LessSafeKey::new(unbound),
        })
    }
}

/// What the fields of one record are sealed with.
pub struct RecordKey {
    /// The key itself, in base64, for whoever has the private key.
    wrapped: String,
    key: LessSafeKey,
}

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordKey").finish_non_exhaustive()
    }
}

impl RecordKey {
    /// Appends the envelope of a text.
    ///
    /// # Errors
    /// [`SealError::Seal`].
    pub(crate) fn seal(&self, text: &str, out: &mut Vec<u8>) -> Result<(), SealError> {
        let failed = |_unspecified| SealError::Seal;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let iv = STANDARD.encode(nonce);
        let mut data = text.as_bytes().to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut data)
            .map_err(failed)?;
        for (member, value) in [
            (ENVELOPE.as_bytes(), &self.wrapped),
            (b"\",\"iv\":\"", &iv),
            (b"\",\"data\":\"", &STANDARD.encode(&data)),
        ] {
            out.extend_from_slice(member);
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\"}");
        Ok(())
    }
}

/// What opens sealed fields.
pub struct PrivateKey(OaepPrivateDecryptingKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Reads a key in PEM: PKCS #8, or PKCS #1.
    ///
    /// # Errors
    /// [`SealError::PrivateKey`].
    pub fn parse(pem: &Secret) -> Result<Self, SealError> {
        let pem = pem.expose();
        let bare = || {
            Some(Zeroizing::new(wrapped_in_pkcs8(&unarmored(
                pem,
                "RSA PRIVATE KEY",
            )?)))
        };
        let der = unarmored(pem, "PRIVATE KEY").or_else(bare);
        let der = der.ok_or(SealError::PrivateKey)?;
        let wrong = |_rejected| SealError::PrivateKey;
        let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(wrong)?;
        let key = OaepPrivateDecryptingKey::new(key);
        Ok(Self(key.map_err(|_rejected| SealError::PrivateKey)?))
    }

    /// Opens every envelope among the members of a line; what is none stays as it is.
    ///
    /// # Errors
    /// [`SealError::Line`], [`SealError::Open`].
    pub fn open_line(&self, line: &[u8]) -> Result<Map<String, Value>, SealError> {
        let read: Value = serde_json::from_slice(line).map_err(|_no_json| SealError::Line)?;
        let Value::Object(mut members) = read else {
            return Err(SealError::Line);
        };
        self.open_members(&mut members)?;
        Ok(members)
    }

    /// The same with a row of a table, where envelopes are texts.
    ///
    /// # Errors
    /// [`SealError::Open`].
    pub fn open_row(&self, mut row: Map<String, Value>) -> Result<Map<String, Value>, SealError> {
        for value in row.values_mut() {
            let text = value.as_str().filter(|text| text.starts_with(ENVELOPE));
            let envelope: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
            if let Some(envelope) = envelope {
                *value = envelope;
            }
        }
        self.open_members(&mut row)?;
        Ok(row)
    }

    fn open_members(&self, members: &mut Map<String, Value>) -> Result<(), SealError> {
        for (name, value) in members {
            let part = |member: &str| value.get(member).and_then(Value::as_str);
            let (Some(key), Some(iv), Some(data)) = (part("key"), part("iv"), part("data")) else {
                continue;
            };
            let opened = self.open(key, iv, data);
            *value = opened.ok_or_else(|| SealError::Open(name.clone()))?.into();
        }
        Ok(())
    }

    fn open(&self, key: &str, iv: &str, data: &str) -> Option<String> {
        let decode = |text: &str| STANDARD.decode(text).ok();
        let mut unwrapped = Zeroizing::new(vec![0; self.0.min_output_size()]);
        let key = self
            .0
            .decrypt(&OAEP_SHA256_MGF1SHA256, &decode(key)?, &mut unwrapped, None)
            .ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&decode(iv)?).ok()?;
        let mut data = decode(data)?;
        let opened = key.open_in_place(nonce, Aad::empty(), &mut data).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

/// What stands between the lines of a PEM text (RFC 7468).
fn unarmored(pem: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let inner = pem.split_once(&begin)?.1.split_once(&end)?.0;
    let text: Zeroizing<String> =
        Zeroizing::new(inner.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

/// A PKCS #1 key as PKCS #8 has it (RFC 5958 section 2).
fn wrapped_in_pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    let key = tagged(0x04, pkcs1);
    tagged(
        0x30,
        &[&[0x02, 0x01, 0x00][..], &RSA_ALGORITHM, &key].concat(),
    )
}

/// A value of DER with its tag and length.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let from = length.iter().position(|byte| *byte != 0).unwrap_or(7);
    let digits = &length[from..];
    let short = value.len() < 0x80;
    let count = u8::try_from(digits.len()).unwrap_or(0x7f);
    let prefix = if short { None } else { Some(0x80 | count) };
    let head = std::iter::once(tag)
        .chain(prefix)
        .chain(digits.iter().copied());
    head.chain(value.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Asks OpenSSL, which knows nothing of us.
    fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}");
        output.stdout
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn pair() -> (String, String) {
        let private = openssl(
            &[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ],
            b"",
        );
        let public = openssl(&["pkey", "-pubout"], &private);
        (text(public), text(private))
    }

    fn sealed(public: &str, values: &[&str]) -> Vec<Value> {
        let key = PublicKey::parse(public).unwrap().for_record().unwrap();
        let seal = |value: &&str| {
            let mut out = Vec::new();
            key.seal(value, &mut out).unwrap();
            serde_json::from_slice(&out).unwrap()
        };
        values.iter().map(seal).collect()
    }

    #[test]
    fn what_is_sealed_is_opened_with_the_private_key_alone() {
        let (public, private) = pair();
        let fields = sealed(&public, &["{\"a\":\"ü\"}", ""]);
        let line =
            serde_json::json!({"A": fields[0], "B": fields[1], "C": 7, "D": "x"}).to_string();
        let pkcs1 = text(openssl(&["pkey", "-traditional"], private.as_bytes()));
        assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
        for pem in [&private, &pkcs1] {
            let key = PrivateKey::parse(&Secret::new(pem.as_str())).unwrap();
            let opened = Value::Object(key.open_line(line.as_bytes()).unwrap());
            let plain = serde_json::json!({"A": "{\"a\":\"ü\"}", "B": "", "C": 7, "D": "x"});
            assert_eq!(opened, plain);
        }
        let (_, other) = pair();
        let key = PrivateKey::parse(&Secret::new(other)).unwrap();
        let refused = key.open_line(line.as_bytes());
        assert_eq!(refused.unwrap_err(), SealError::Open("A".into()));
    }

    #[test]
    fn the_wrapped_key_is_what_openssl_unwraps() {
        let (public, private) = pair();
        let fields = sealed(&public, &["one", "two"]);
        assert_eq!(fields[0]["key"], fields[1]["key"]);
        assert_ne!(fields[0]["iv"], fields[1]["iv"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, private).unwrap();
        let wrapped = STANDARD.decode(fields[0]["key"].as_str().unwrap()).unwrap();
        let key = openssl(
            &[
                "pkeyutl",
                "-decrypt",
                "-inkey",
                file.to_str().unwrap(),
                "-pkeyopt",
                "rsa_padding_mode:oaep",
                "-pkeyopt",
                "rsa_oaep_md:sha256",
                "-pkeyopt",
                "rsa_mgf1_md:sha256",
            ],
            &wrapped,
        );
        assert_eq!(key.len(), 32);
        // OpenSSL's command line has no GCM; its counter mode does the same from block 2 on
        // (NIST SP 800-38D section 7.1).
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let iv = STANDARD.decode(fields[1]["iv"].as_str().unwrap()).unwrap();
        let data = STANDARD
            .decode(fields[1]["data"].as_str().unwrap())
            .unwrap();
        let counter = format!("{}00000002", hex(&iv));
        let plain = openssl(
            &[
                "enc",
                "-d",
                "-aes-256-ctr",
                "-K",
                &hex(&key),
                "-iv",
                &counter,
            ],
            &data[..data.len() - 16],
        );
        assert_eq!(plain, b"two");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (public, private) = pair();
        assert_eq!(
            PublicKey::parse(&private).unwrap_err(),
            SealError::PublicKey
        );
        assert_eq!(PublicKey::parse("").unwrap_err(), SealError::PublicKey);
        let key = PrivateKey::parse(&Secret::new(public));
        assert_eq!(key.unwrap_err(), SealError::PrivateKey);
    }
}
