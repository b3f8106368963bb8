//! The provider: what it tells of itself, its keys, and the one exchange of a code for an ID token.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use isango_types::{Secret, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::pending::Sent;
use super::token::{self, Claims, Expected, Keys, Untrue};
use super::{Fetch, Oidc, Question, Refusal, word};

/// How long what it tells of itself is believed.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// How often keys are asked for at most, whatever tokens name.
const KEYS_EVERY: Duration = Duration::from_secs(60);
/// What follows the issuer (`OpenID` Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// What is escaped in a parameter.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a provider tells of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The answer to a code.
#[derive(Debug, Default, Deserialize)]
struct Told {
    id_token: Option<Secret>,
    error: Option<String>,
}

/// A provider, and what is known of it.
pub(super) struct Provider {
    fetch: Box<Fetch>,
    /// One at a time asks.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Arc<Keys>)>,
}

impl Provider {
    pub(super) fn new(fetch: Box<Fetch>) -> Self {
        Self {
            fetch,
            known: Mutex::default(),
        }
    }

    /// What it tells of itself.
    ///
    /// # Errors
    /// It cannot be asked, or says what cannot be.
    pub(super) async fn metadata(
        &self,
        settings: &Oidc,
        now: Timestamp,
    ) -> Result<Arc<Metadata>, Refusal> {
        let mut known = self.known.lock().await;
        if let Some((since, metadata)) = &known.metadata
            && now < since.plus(KNOWN_FOR)
        {
            return Ok(Arc::clone(metadata));
        }
        let issuer = settings.issuer.trim_end_matches('/');
        let address = format!("{issuer}{DISCOVERY}");
        let bytes = self.get(settings, &address, "its description").await?;
        let metadata: Metadata = serde_json::from_slice(&bytes)
            .map_err(|_unreadable| failed("its description cannot be read"))?;
        if metadata.issuer != *settings.issuer {
            return Err(failed(
                "its description names another issuer than `oidc.issuer`",
            ));
        }
        let endpoints = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        for endpoint in endpoints {
            place(settings, endpoint)?;
        }
        let metadata = Arc::new(metadata);
        known.metadata = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// The ID token that a code is for.
    ///
    /// # Errors
    /// The provider refuses the code, or cannot be asked.
    pub(super) async fn exchange(
        &self,
        settings: &Oidc,
        callback: &str,
        (code, verifier): (&Secret, &Secret),
        now: Timestamp,
    ) -> Result<Secret, Refusal> {
        let metadata = self.metadata(settings, now).await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", callback),
            ("code_verifier", verifier.expose()),
        ];
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let is_basic = methods
            .is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let authorization = match &settings.client_secret {
            Some(secret) if is_basic => {
                let pair = [&*settings.client_id, secret.expose()]
                    .map(encoded)
                    .join(":");
                Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
            }
            Some(secret) => {
                form.push(("client_id", &settings.client_id));
                form.push(("client_secret", secret.expose()));
                None
            }
            None => {
                form.push(("client_id", &settings.client_id));
                None
            }
        };
        let question = Question {
            authorization,
            form: Some(Secret::new(query(&form))),
            ..place(settings, &metadata.token_endpoint)?
        };
        let (status, bytes) = (self.fetch)(question).await.map_err(Refusal::Failed)?;
        let told: Told = serde_json::from_slice(&bytes).unwrap_or_default();
        match told.id_token.filter(|_| status == 200) {
            Some(token) => Ok(token),
            None => {
                let why = told.error.as_deref().map(word).unwrap_or_default();
                let what = "it gave no ID token for its code: it answered";
                Err(failed(format!("{what} {status} {why}").trim_end()))
            }
        }
    }

    /// What an ID token says, once it is believed. Where it names a key that is not known, keys are
    /// asked for anew, once a minute at most.
    ///
    /// # Errors
    /// It is not to be believed, or the provider cannot be asked.
    pub(super) async fn claims(
        &self,
        settings: &Oidc,
        told: &Secret,
        expected: &Expected<'_>,
    ) -> Result<Claims, Refusal> {
        let (since, keys) = self.keys(settings, expected.now, KNOWN_FOR).await?;
        match token::claims(told, &keys, expected) {
            Err(Untrue::Key) if since.plus(KEYS_EVERY) <= expected.now => {}
            told => return told.map_err(Refusal::Token),
        }
        let (_, keys) = self.keys(settings, expected.now, KEYS_EVERY).await?;
        token::claims(told, &keys, expected).map_err(Refusal::Token)
    }

    /// Its keys, not older than this, and since when they are known.
    async fn keys(
        &self,
        settings: &Oidc,
        now: Timestamp,
        age: Duration,
    ) -> Result<(Timestamp, Arc<Keys>), Refusal> {
        let metadata = self.metadata(settings, now).await?;
        let mut known = self.known.lock().await;
        if let Some((since, keys)) = &known.keys
            && now < since.plus(age)
        {
            return Ok((*since, Arc::clone(keys)));
        }
        let bytes = self.get(settings, &metadata.jwks_uri, "its keys").await?;
        let keys = Keys::parse(&bytes).ok_or_else(|| failed("its keys cannot be read"))?;
        let keys = Arc::new(keys);
        known.keys = Some((now, Arc::clone(&keys)));
        Ok((now, keys))
    }

    async fn get(&self, settings: &Oidc, address: &str, what: &str) -> Result<Bytes, Refusal> {
        let question = place(settings, address)?;
        let (status, bytes) = (self.fetch)(question).await.map_err(Refusal::Failed)?;
        match status {
            200 => Ok(bytes),
            status => Err(failed(&format!("asked for {what}, it answered {status}"))),
        }
    }
}

fn failed(why: &str) -> Refusal {
    Refusal::Failed(why.into())
}

/// Where an address leads to, which must be as well protected as the issuer is.
fn place(settings: &Oidc, address: &str) -> Result<Question, Refusal> {
    let uri: Option<Uri> = address.parse().ok();
    let parts = uri.as_ref().and_then(|uri| {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" if settings.allow_private => false,
            _other => return None,
        };
        let authority = uri.authority().filter(|one| !one.as_str().contains('@'))?;
        Some((https, authority, uri.path_and_query()?))
    });
    let (https, authority, path) =
        parts.ok_or_else(|| failed("one of its addresses is none, or not https"))?;
    Ok(Question {
        https,
        authority: authority.as_str().into(),
        path: path.as_str().into(),
        trusted: settings.allow_private,
        authorization: None,
        form: None,
    })
}

/// Where a browser is sent to sign in.
pub(super) fn address(metadata: &Metadata, settings: &Oidc, callback: &str, sent: &Sent) -> String {
    let digest = digest(&SHA256, sent.verifier.expose().as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let parameters = query(&[
        ("response_type", "code"),
        ("client_id", &settings.client_id),
        ("redirect_uri", callback),
        ("scope", &settings.scopes.join(" ")),
        ("state", sent.state.expose()),
        ("nonce", sent.nonce.expose()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let endpoint = &metadata.authorization_endpoint;
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{joint}{parameters}")
}

fn query(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}
