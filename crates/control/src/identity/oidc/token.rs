//! Whether an ID token is to be believed (`OpenID` Connect Core 1.0, section 3.1.3.7): signed by a key
//! of the provider in one of two ways, for us, now, and for this browser.
//!
//! Which way a signature is checked follows from the key, never from the token alone: a public key
//! is no secret that an HMAC could be made with, and `none` is no way.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isango_types::{Secret, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

/// How far clocks may be apart, in seconds.
const LEEWAY_S: u64 = 60;
/// Longest ID token that is looked at, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// Most keys of a provider.
const MAX_KEYS: usize = 64;

/// What must be true of an ID token.
#[derive(Debug)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) client_id: &'e str,
    pub(super) nonce: &'e Secret,
    pub(super) now: Timestamp,
}

/// Why an ID token is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untrue {
    /// It is no signed JSON Web Token.
    Malformed,
    /// It is signed in a way that is not known, or that its key is not for.
    Algorithm,
    /// The provider has no such key.
    Key,
    /// Its signature is wrong.
    Signature,
    /// It is somebody else's.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It does not tell for whom it was made.
    Subject,
    /// It has ended, or does not tell when it does.
    Expired,
    /// It is of a time to come.
    NotYet,
    /// It was made for another browser, or another time.
    Nonce,
}

impl fmt::Display for Untrue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is no signed JSON Web Token",
            Self::Algorithm => "it is not signed with RS256 or ES256, or its key is not for that",
            Self::Key => "the provider has no such key",
            Self::Signature => "its signature is wrong",
            Self::Issuer => "its `iss` is not `oidc.issuer`",
            Self::Audience => "its `aud` or `azp` is not `oidc.client_id`",
            Self::Subject => "it has no `sub`",
            Self::Expired => "its `exp` is over",
            Self::NotYet => "its `iat` or `nbf` is to come",
            Self::Nonce => "its `nonce` is another one",
        })
    }
}

/// What an ID token says, once it is believed.
#[derive(Clone, Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Who it is about, at the provider.
    pub(super) fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// Whether the provider has verified the address; `None`: it does not say. Some say it in a text.
    pub(super) fn is_verified(&self) -> Option<bool> {
        match self.0.get("email_verified")? {
            Value::Bool(is_verified) => Some(*is_verified),
            Value::String(text) => Some(text == "true"),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(false),
        }
    }

    /// The texts of a claim: one, or a list of them.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                Vec::new()
            }
        }
    }
}

/// The head of a signed JSON Web Token (RFC 7515 section 4.1).
#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood to go on: nothing is.
    #[serde(default)]
    crit: Option<Value>,
}

/// A key as a provider tells it (RFC 7517, RFC 7518 section 6).
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// A public key. Each signs in one way.
#[derive(Debug)]
enum Key {
    /// RS256: modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// ES256: a point, as it is.
    P256(Vec<u8>),
}

impl Key {
    /// `None`: it is of another kind, or for another use.
    fn of(told: &Jwk) -> Option<Self> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let key = match (&*told.kty, told.crv.as_deref()) {
            ("RSA", _) => Self::Rsa(bytes(&told.n)?, bytes(&told.e)?),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&told.x)?, bytes(&told.y)?);
                if (x.len(), y.len()) != (32, 32) {
                    return None;
                }
                Self::P256([&[4][..], &x, &y].concat())
            }
            _ => return None,
        };
        let is_for_signing = told
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose == "sig");
        let signs_so = told.alg.as_deref().is_none_or(|alg| alg == key.algorithm());
        (is_for_signing && signs_so).then_some(key)
    }

    /// The one way in which it signs.
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(..) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(n, e) => {
                let key = RsaPublicKeyComponents { n, e };
                let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature);
                verified.is_ok()
            }
            Self::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
        }
    }
}

/// The keys of a provider that can be used here, some with their names.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(Option<String>, Key)>);

impl Keys {
    /// The keys of a JWK set (RFC 7517); those of other kinds, and for other uses, are passed over.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(bytes).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().take(MAX_KEYS);
        let read = |key: &Value| -> Option<_> {
            let told = Jwk::deserialize(key).ok()?;
            let key = Key::of(&told)?;
            Some((told.kid, key))
        };
        Some(Self(keys.filter_map(read).collect()))
    }

    /// The key that a token names. One that names none is of the only key.
    fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.0.as_slice()) {
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
            (Some(kid), all) => {
                let named = all.iter().find(|(id, _)| id.as_deref() == Some(kid));
                named.map(|(_, key)| key)
            }
        }
    }
}

/// What an ID token says.
///
/// # Errors
/// It is not to be believed. [`Untrue::Key`]: other keys may help.
pub(super) fn claims(
    token: &Secret,
    keys: &Keys,
    expected: &Expected<'_>,
) -> Result<Claims, Untrue> {
    let text = Some(token.expose()).filter(|text| text.len() <= MAX_TOKEN);
    let (message, signature) = text
        .and_then(|text| text.rsplit_once('.'))
        .ok_or(Untrue::Malformed)?;
    let (head, said) = message.split_once('.').ok_or(Untrue::Malformed)?;
    let bytes = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_no_base64| Untrue::Malformed)
    };
    let head: Head = serde_json::from_slice(&bytes(head)?).map_err(|_no_head| Untrue::Malformed)?;
    let key = keys.find(head.kid.as_deref()).ok_or(Untrue::Key)?;
    if head.alg != key.algorithm() || head.crit.is_some() {
        return Err(Untrue::Algorithm);
    }
    if !key.has_signed(message.as_bytes(), &bytes(signature)?) {
        return Err(Untrue::Signature);
    }
    let said = serde_json::from_slice(&bytes(said)?).map_err(|_no_object| Untrue::Malformed)?;
    let claims = Claims(said);
    check(&claims, expected)?;
    Ok(claims)
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), Untrue> {
    if claims.text("iss") != Some(expected.issuer) {
        return Err(Untrue::Issuer);
    }
    let audience = claims.texts("aud");
    let party = claims.text("azp");
    let is_for_us = audience.contains(&expected.client_id)
        && party.map_or(audience.len() == 1, |party| party == expected.client_id);
    if !is_for_us {
        return Err(Untrue::Audience);
    }
    if claims.subject().is_empty() || claims.subject().len() > 255 {
        return Err(Untrue::Subject);
    }
    let now = expected.now.as_micros() / 1_000_000;
    // Whole seconds, or with decimals (RFC 7519 section 2).
    let moment = |name: &str| claims.0.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
    let (earliest, latest) = (now.saturating_sub(LEEWAY_S) as f64, (now + LEEWAY_S) as f64);
    if moment("exp").is_none_or(|ends| ends <= earliest) {
        return Err(Untrue::Expired);
    }
    if ["iat", "nbf"]
        .into_iter()
        .filter_map(moment)
        .any(|begins| begins > latest)
    {
        return Err(Untrue::NotYet);
    }
    let nonce = claims.text("nonce").unwrap_or_default();
    let is_it = verify_slices_are_equal(nonce.as_bytes(), expected.nonce.expose().as_bytes());
    is_it.map_err(|_other| Untrue::Nonce)
}
