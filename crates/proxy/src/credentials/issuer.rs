//! Asks an issuer for a token (RFC 6749 section 4.4, RFC 7523), by the pooled client of all
//! providers.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;

use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method};
use isango_types::credential::{Grant, Issuer};
use isango_types::{Clock, Secret, Timestamp};
use percent_encoding::utf8_percent_encode;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::Token;
use crate::call::CallBody;
use crate::secrets::COMPONENT;
use crate::upstream::{Bounds, Head, Sending, Upstream};

/// Largest answer of an issuer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Largest file with somebody else's token, in bytes.
const MAX_TOKEN_FILE: u64 = 64 << 10;
/// How long an issuer may take for its answer's body.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an assertion of ours is good; Google takes an hour at most.
const ASSERTION_S: u64 = 3_600;
/// The life of a token whose issuer does not tell it.
const UNTOLD_LIFE: Duration = Duration::from_secs(300);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// Issuers that everybody knows. Every other address is the operator's own, and may be a private one:
/// [`Credential::parse_foreign`](isango_types::Credential::parse_foreign) takes none from others.
const PUBLIC: [&str; 2] = ["login.microsoftonline.com", "oauth2.googleapis.com"];

/// What an issuer is asked.
struct Question {
    method: Method,
    /// Behind the path.
    query: String,
    headers: HeaderMap,
    body: String,
}

/// Asks for a token.
///
/// # Errors
/// Why there is none, for the operator; never a secret.
pub(super) async fn ask(
    upstream: &Upstream,
    clock: &Clock,
    issuer: &Issuer,
) -> Result<Token, Box<str>> {
    let Question {
        method,
        query,
        mut headers,
        body,
    } = question(&issuer.grant, clock.now()).await?;
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let authority = Authority::try_from(&*issuer.url.authority);
    let authority = authority.map_err(|_invalid| "its address is none")?;
    let path = PathAndQuery::try_from(format!("{}{query}", issuer.url.path));
    let path = path.map_err(|_invalid| "its address is none")?;
    let bounds = Bounds::default();
    let mut head = Head {
        https: issuer.url.https,
        authority: &authority,
        path: &path,
        method: &method,
        headers: &mut headers,
        trusted: !PUBLIC.contains(&&*issuer.url.authority),
        bounds: &bounds,
        interim: None,
    };
    let mut body = CallBody::Whole(Bytes::from(body));
    let sent = upstream
        .send(&mut head, &mut body, &mut Sending::default(), None)
        .await;
    let answer = sent.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{}: {error}: {cause}", issuer.url.authority),
        None => format!("{}: {error}", issuer.url.authority),
    })?;
    let (answer, source) = answer.into_parts();
    let (told, _rest) = source.peek(MAX_ANSWER, PATIENCE).await;
    let told: Told = serde_json::from_slice(&told).unwrap_or_default();
    match told.access_token.filter(|_| answer.status.is_success()) {
        Some(secret) => {
            let life = told.life.or(told.ends.map(|ends| ends.since(clock.now())));
            let life = life
                .as_ref()
                .map(Seconds::to_duration)
                // A life that cannot be read is told as none.
                .filter(|life| !life.is_zero())
                .unwrap_or(UNTOLD_LIFE)
                .min(LONGEST_LIFE);
            Token::new(secret, life).ok_or_else(|| "its token cannot stand in a header".into())
        }
        None => {
            let status = answer.status.as_u16();
            let word = told.error.as_deref().map(shown).unwrap_or_default();
            Err(format!("{} answered {status} {word}", issuer.url.authority)
                .trim_end()
                .into())
        }
    }
}

/// An error code as it may be logged: one word.
fn shown(code: &str) -> String {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    code.chars().take_while(is_word).take(64).collect()
}

async fn question(grant: &Grant, now: Timestamp) -> Result<Question, Box<str>> {
    let resource_of = |version: &str, resource: &str, client_id: Option<&str>| {
        let mut query = format!("?api-version={version}&resource={}", encoded(resource));
        if let Some(id) = client_id {
            query.push_str(&format!("&client_id={}", encoded(id)));
        }
        query
    };
    Ok(match grant {
        Grant::EntraSecret {
            client_id,
            secret,
            scope,
        } => post(&[
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret.expose()),
            ("scope", scope),
        ]),
        Grant::EntraFederated {
            client_id,
            token_file,
            scope,
        } => {
            let assertion = read(token_file).await?;
            post(&[
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ),
                ("client_assertion", assertion.expose()),
                ("scope", scope),
            ])
        }
        Grant::AzureMachine {
            client_id,
            resource,
        } => {
            let query = resource_of("2018-02-01", resource, client_id.as_deref());
            get(query, "metadata", HeaderValue::from_static("true"))
        }
        Grant::AzureApp {
            header,
            client_id,
            resource,
        } => {
            let query = resource_of("2019-08-01", resource, client_id.as_deref());
            let mut value = HeaderValue::try_from(header.expose())
                .map_err(|_invalid| "IDENTITY_HEADER cannot stand in a header")?;
            value.set_sensitive(true);
            get(query, "x-identity-header", value)
        }
        Grant::GoogleAccount {
            email,
            key,
            key_id,
            scope,
            audience,
        } => {
            let claims = json!({
                "iss": email, "scope": scope, "aud": audience,
                "iat": now.as_micros() / 1_000_000,
                "exp": now.as_micros() / 1_000_000 + ASSERTION_S,
            });
            let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
            let assertion = signed(&header, &claims, key)?;
            post(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.expose()),
            ])
        }
    })
}

fn post(form: &[(&str, &str)]) -> Question {
    let pairs = form
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    Question {
        method: Method::POST,
        query: String::new(),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, form)]),
        body: pairs.collect::<Vec<_>>().join("&"),
    }
}

fn get(query: String, name: &'static str, value: HeaderValue) -> Question {
    Question {
        method: Method::GET,
        query,
        headers: HeaderMap::from_iter([(HeaderName::from_static(name), value)]),
        body: String::new(),
    }
}

fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, COMPONENT)
}

/// The token in a file, which somebody else keeps fresh.
async fn read(file: &Path) -> Result<Secret, Box<str>> {
    use std::io::Read as _;
    let path = file.to_path_buf();
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path)?;
        file.take(MAX_TOKEN_FILE).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(Secret::new(text.trim()))
    });
    let failed = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
    let read = reading.await.map_err(|error| failed(&error))?;
    read.map_err(|error| failed(&error).into())
}

/// A JWT (RFC 7519), signed with RS256 (RFC 7518 section 3.3).
fn signed(
    header: &serde_json::Value,
    claims: &serde_json::Value,
    key: &Secret,
) -> Result<Secret, Box<str>> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.expose().as_bytes());
    let der = der.map_err(|_invalid| "`private_key` is no PKCS #8 key in PEM")?;
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der());
    let pair = pair.map_err(|_rejected| "`private_key` is no RSA key that can sign")?;
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_unspecified| "the assertion cannot be signed")?;
    Ok(Secret::new(format!(
        "{text}.{}",
        URL_SAFE_NO_PAD.encode(signature)
    )))
}

/// What an issuer answers; some write numbers as texts.
#[derive(Default, Deserialize)]
struct Told {
    access_token: Option<Secret>,
    #[serde(rename = "expires_in")]
    life: Option<Seconds>,
    /// In seconds since 1970.
    #[serde(rename = "expires_on")]
    ends: Option<Seconds>,
    error: Option<Box<str>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Fraction(f64),
    Text(Box<str>),
}

impl Seconds {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Fraction(number) => {
                Duration::try_from_secs_f64(*number).map_or(0, |told| told.as_secs())
            }
            Self::Text(text) => text.parse().unwrap_or(0),
        }
    }

    /// As a moment: how long it is until then.
    fn since(&self, now: Timestamp) -> Self {
        Self::Number(self.number().saturating_sub(now.as_micros() / 1_000_000))
    }

    fn to_duration(&self) -> Duration {
        Duration::from_secs(self.number())
    }
}
