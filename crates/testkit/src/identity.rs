//! A provider of identities (`OpenID` Connect): it knows one person, signs in whoever is sent to it,
//! and can be told to lie.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, status};
use crate::client::{Ask, ask};
use crate::upstream::{Received, Upstream};

/// Who we are there, and what proves it.
pub const CLIENT: (&str, &str) = ("isango", "planted/oidc secret");

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// With its RSA key.
    Rs256,
    /// With its key on P-256.
    Es256,
    /// Not at all: `alg` is `none`.
    None,
    /// By an HMAC whose secret is the public key.
    Hs256,
    /// With another RSA key under the name of its own.
    ByAnother,
}

/// What it says, and how.
#[derive(Debug)]
pub struct Script {
    /// How ID tokens are signed.
    pub signed: Signed,
    /// Claims in the place of what is true; null takes one out.
    pub claims: Map<String, Value>,
    /// The present, in seconds since 1970.
    pub now: u64,
    /// Name of its keys, which changes where keys are changed.
    pub kid: String,
    /// Members of its description in the place of its own.
    pub description: Map<String, Value>,
}

struct Keys {
    rsa: RsaKeyPair,
    other: RsaKeyPair,
    ec: EcdsaKeyPair,
}

/// Somebody who was sent here.
#[derive(Clone)]
struct Sent {
    nonce: String,
    challenge: String,
    redirect: String,
}

struct Shared {
    script: Mutex<Script>,
    keys: Keys,
    codes: Mutex<HashMap<String, Sent>>,
}

/// A provider of identities. Dropping it closes it.
pub struct Identity {
    /// What it was asked.
    pub upstream: Upstream,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// One whose present is `now`, in seconds since 1970.
    pub async fn start(now: u64) -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let shared = Arc::new(Shared {
            script: Mutex::new(Script {
                signed: Signed::Rs256,
                claims: Map::new(),
                now,
                kid: "first".into(),
                description: Map::new(),
            }),
            keys: Keys {
                rsa: rsa(),
                other: rsa(),
                ec: ec.expect("a key on P-256"),
            },
            codes: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        Self {
            upstream: Upstream::start_by(move |asked| answering.answer(asked)).await,
            shared,
        }
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.upstream.url()
    }

    /// Changes what it says.
    pub fn tell(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script.lock());
    }

    /// Signs somebody in who was sent to `address`; where their browser is sent then.
    pub async fn sign_in(&self, address: &str) -> String {
        let target = address.strip_prefix(&self.issuer());
        let target = target.expect("a browser is sent to the provider");
        let reply = ask(self.upstream.addr(), &Ask::get(target)).await;
        assert_eq!(reply.status(), 302, "{}", reply.text());
        reply.header("location").expect("a way back").to_owned()
    }

    /// How often something below this path was asked for.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let all = self.upstream.requests();
        all.iter()
            .filter(|one| one.head.target.starts_with(path))
            .count()
    }
}

impl Shared {
    fn answer(&self, asked: &Received) -> Answer {
        let target = asked.head.target.as_str();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let issuer = format!("http://{}", asked.head.header("host").unwrap_or_default());
        match path {
            "/.well-known/openid-configuration" => self.described(&issuer),
            "/keys" => crate::json(self.published().to_string()),
            "/authorize" => self.authorized(&form(query)),
            "/token" => self.exchanged(&issuer, asked),
            _ => status(404),
        }
    }

    fn described(&self, issuer: &str) -> Answer {
        let mut described = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
        });
        for (name, value) in &self.script.lock().description {
            described[name] = value.clone();
        }
        crate::json(described.to_string())
    }

    fn published(&self) -> Value {
        let kid = self.script.lock().kid.clone();
        let [n, e] = numbers(&self.keys.rsa).map(|number| URL_SAFE_NO_PAD.encode(number));
        let point = self.keys.ec.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"keys": [
            {"kty": "OKP", "crv": "Unheard", "kid": "of another kind", "x": "AA"},
            {"kty": "RSA", "use": "enc", "kid": kid, "n": n, "e": e},
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e},
            {"kty": "EC", "crv": "P-256", "kid": format!("{kid}-ec"), "x": x, "y": y},
        ]})
    }

    fn authorized(&self, asked: &HashMap<String, String>) -> Answer {
        let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
        assert_eq!(text("response_type"), "code");
        assert_eq!(text("client_id"), CLIENT.0);
        assert_eq!(text("code_challenge_method"), "S256");
        let mut codes = self.codes.lock();
        let code = format!("code/{}", codes.len());
        let redirect = text("redirect_uri");
        let back = format!("{redirect}?code={code}&state={}", text("state"));
        let sent = Sent {
            nonce: text("nonce"),
            challenge: text("code_challenge"),
            redirect,
        };
        codes.insert(code, sent);
        status(302).header("location", &back)
    }

    fn exchanged(&self, issuer: &str, asked: &Received) -> Answer {
        let body = String::from_utf8_lossy(&asked.body);
        let form = form(&body);
        let text = |name: &str| form.get(name).cloned().unwrap_or_default();
        let (id, secret) = CLIENT;
        let pair = format!("{id}:{}", secret.replace('/', "%2F").replace(' ', "%20"));
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let is_basic = asked.head.header("authorization") == Some(&*basic);
        let is_posted = text("client_id") == id && text("client_secret") == secret;
        let refused = |error: &str| {
            let answer = status(400).header("content-type", "application/json");
            answer.body(json!({"error": error, "error_description": secret}).to_string())
        };
        if !is_basic && !is_posted {
            return refused("invalid_client");
        }
        // A code is good once.
        let Some(sent) = self.codes.lock().remove(&text("code")) else {
            return refused("invalid_grant");
        };
        let verifier = digest(&SHA256, text("code_verifier").as_bytes());
        let is_theirs = URL_SAFE_NO_PAD.encode(verifier) == sent.challenge;
        if !is_theirs || text("redirect_uri") != sent.redirect {
            return refused("invalid_grant");
        }
        let token = self.token(issuer, &sent.nonce);
        let told = json!({"access_token": "of no use", "token_type": "Bearer", "id_token": token});
        crate::json(told.to_string())
    }

    fn token(&self, issuer: &str, nonce: &str) -> String {
        let script = self.script.lock();
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT.0, "sub": "person-1", "nonce": nonce,
            "iat": script.now, "exp": script.now + 300,
            "email": "Ada@Example.com", "email_verified": true,
        });
        for (name, value) in &script.claims {
            claims[name] = value.clone();
        }
        if let Some(claims) = claims.as_object_mut() {
            claims.retain(|_, value| !value.is_null());
        }
        let kid = &script.kid;
        let header = match script.signed {
            Signed::Rs256 | Signed::ByAnother => json!({"alg": "RS256", "kid": kid}),
            Signed::Es256 => json!({"alg": "ES256", "kid": format!("{kid}-ec")}),
            Signed::None => json!({"alg": "none", "kid": kid}),
            Signed::Hs256 => json!({"alg": "HS256", "kid": kid}),
        };
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        let signature = self.sign(script.signed, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, how: Signed, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let by = |key: &RsaKeyPair| {
            let mut signature = vec![0; key.public_modulus_len()];
            let signed = key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
            signed.expect("a signature");
            signature
        };
        match how {
            Signed::Rs256 => by(&self.keys.rsa),
            Signed::ByAnother => by(&self.keys.other),
            Signed::None => Vec::new(),
            Signed::Es256 => {
                let signed = self.keys.ec.sign(&random, message);
                signed.expect("a signature").as_ref().to_vec()
            }
            Signed::Hs256 => {
                let [public, _exponent] = numbers(&self.keys.rsa);
                let key = hmac::Key::new(hmac::HMAC_SHA256, &public);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }
}

/// Modulus and exponent of a key, of its two integers in DER (RFC 8017 appendix A.1.1).
fn numbers(key: &RsaKeyPair) -> [Vec<u8>; 2] {
    let der = key.public_key().as_ref();
    let part = |at: usize| {
        let length = usize::from(der[at + 1]);
        let (from, length) = match length {
            0x82 => (
                at + 4,
                usize::from(der[at + 2]) << 8 | usize::from(der[at + 3]),
            ),
            0x81 => (at + 3, usize::from(der[at + 2])),
            short => (at + 2, short),
        };
        (from, from + length)
    };
    let (inner, _) = part(0);
    let (from, to) = part(inner);
    let (e_from, e_to) = part(to);
    [&der[from..to], &der[e_from..e_to]].map(|bytes| {
        let is_zero = |byte: &&u8| **byte == 0;
        bytes.iter().skip_while(is_zero).copied().collect()
    })
}

/// The pairs of a form, or of a query.
fn form(text: &str) -> HashMap<String, String> {
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
