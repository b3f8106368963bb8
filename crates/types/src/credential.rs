//! Credentials of the operator's for providers: a key as it is, AWS keys that sign, or what a
//! short-lived token is asked with.
//!
//! The text of a credential is a key, or JSON that tells what it is (management-api section 6):
//! a service account of Google, AWS keys, or one of the ways of Microsoft Entra.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::provider::BaseUrl;
use crate::secret::Secret;

/// The alias of the stored credential that is used where a request names none.
pub const DEFAULT_ALIAS: &str = "default";

/// Where Entra issues tokens.
const ENTRA: &str = "https://login.microsoftonline.com";
/// What tokens for Azure `OpenAI` are for.
const AZURE_AI: &str = "https://cognitiveservices.azure.com";
/// The metadata service of a machine in Azure (link-local; reached only for managed identity).
const AZURE_MACHINE: &str = "http://169.254.169.254";
/// Where Google issues tokens.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";
/// What tokens for Vertex AI are for.
const GOOGLE_CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What requests of the operator's are authenticated with at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Put into the provider's header as it is.
    Key(Secret),
    /// Signs each request (AWS Signature Version 4).
    Aws(AwsKeys),
    /// Asks an issuer for a token that lives for a while.
    Issued(Box<Issuer>),
}

/// Keys that sign requests to AWS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsKeys {
    /// Names the keys; not secret.
    pub access_key_id: Box<str>,
    /// Signs.
    pub secret_access_key: Secret,
    /// Goes with temporary keys.
    pub session_token: Option<Secret>,
    /// Region for requests that name none.
    pub region: Option<Box<str>>,
}

/// Who issues a token, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Where it is asked; from the operator, or built in.
    pub url: BaseUrl,
    /// How it is asked.
    pub grant: Grant,
}

/// How an issuer is asked for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// An application of Entra and its secret.
    EntraSecret {
        /// Id of the application.
        client_id: Box<str>,
        /// Its secret.
        secret: Secret,
        /// What the token is for.
        scope: Box<str>,
    },
    /// An application of Entra that trusts somebody else's tokens (workload identity).
    EntraFederated {
        /// Id of the application.
        client_id: Box<str>,
        /// File that holds such a token; read anew each time, for it is replaced.
        token_file: PathBuf,
        /// What the token is for.
        scope: Box<str>,
    },
    /// The identity of the machine in Azure.
    AzureMachine {
        /// Id of the identity; `None`: the machine's own.
        client_id: Option<Box<str>>,
        /// What the token is for.
        resource: Box<str>,
    },
    /// The identity of an app in Azure App Service or Container Apps.
    AzureApp {
        /// Proves that the app asks.
        header: Secret,
        /// Id of the identity; `None`: the app's own.
        client_id: Option<Box<str>>,
        /// What the token is for.
        resource: Box<str>,
    },
    /// A service account of Google.
    GoogleAccount {
        /// Its address.
        email: Box<str>,
        /// Its private key (PKCS #8 in PEM).
        key: Secret,
        /// Names the key.
        key_id: Option<Box<str>>,
        /// What the token is for.
        scope: Box<str>,
        /// Whom the question is for: the issuer's address as the account names it.
        audience: Box<str>,
    },
}

/// Why a text is no credential. Never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(String);

impl Credential {
    /// Reads a credential. `environment` knows what the identities of Azure leave in the
    /// environment.
    ///
    /// # Errors
    /// It is JSON of no known shape, or lacks something; or it cannot stand in a header.
    pub fn parse(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, CredentialError> {
        match Shape::parse(text)? {
            Shape::Key(key) => Ok(Self::Key(key)),
            Shape::Aws(keys) => Ok(Self::Aws(keys)),
            Shape::Google(account) => account.into_issuer(),
            Shape::Entra(entra) => entra.into_issuer(environment),
        }
    }

    /// Reads a credential of somebody who does not rule over the machine that the gateway runs on: it
    /// is a key, AWS keys, or asks an issuer that is built in. Nothing of it leads to a file, to an
    /// address of its author's, or to the identity of the machine. `environment` may move the issuer
    /// of Entra (`AZURE_AUTHORITY_HOST`), and tells nothing else.
    ///
    /// # Errors
    /// Those of [`Credential::parse`]; or it reaches further.
    pub fn parse_foreign(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, CredentialError> {
        let shape = Shape::parse(text)?;
        if let Some(member) = shape.reaching() {
            return Err(CredentialError(format!(
                "`{member}` leads to a file, an address or the identity of the gateway's machine: \
                 that is the operator's to lend, in the configuration file or with \
                 `isango key set`"
            )));
        }
        let authority = |name: &str| match name == AUTHORITY_HOST {
            true => environment(name),
            false => None,
        };
        match shape {
            Shape::Key(key) => Ok(Self::Key(key)),
            Shape::Aws(keys) => Ok(Self::Aws(keys)),
            Shape::Google(account) => account.into_issuer(),
            Shape::Entra(entra) => entra.into_issuer(&authority),
        }
    }

    /// Reads a service account of Google that a request brings itself. Its token is asked for at
    /// `issuer`, else at Google, and for Vertex AI: what the account says of that is not believed.
    #[must_use]
    pub fn of_request(text: &str, issuer: Option<&BaseUrl>) -> Option<Self> {
        let account: Google = serde_json::from_str(text).ok()?;
        let account = Google {
            token_uri: issuer.map(|issuer| issuer.to_string().into()),
            scope: None,
            ..account
        };
        account.into_issuer().ok()
    }

    /// What of it must never be seen.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let (one, other) = match self {
            Self::Key(key) => (Some(key), None),
            Self::Aws(keys) => (Some(&keys.secret_access_key), keys.session_token.as_ref()),
            Self::Issued(issuer) => match &issuer.grant {
                Grant::EntraSecret { secret, .. } => (Some(secret), None),
                Grant::AzureApp { header, .. } => (Some(header), None),
                Grant::GoogleAccount { key, .. } => (Some(key), None),
                Grant::EntraFederated { .. } | Grant::AzureMachine { .. } => (None, None),
            },
        };
        one.into_iter().chain(other)
    }

    /// What tells it from other credentials, each text once; parts of it are secret.
    pub fn identity(&self) -> impl Iterator<Item = &str> {
        let (name, place) = match self {
            Self::Key(_) => (None, None),
            Self::Aws(keys) => (Some(&*keys.access_key_id), None),
            Self::Issued(issuer) => {
                let name = match &issuer.grant {
                    Grant::EntraSecret { client_id, .. }
                    | Grant::EntraFederated { client_id, .. } => Some(&**client_id),
                    Grant::AzureMachine { client_id, .. } | Grant::AzureApp { client_id, .. } => {
                        client_id.as_deref()
                    }
                    Grant::GoogleAccount { email, .. } => Some(&**email),
                };
                (name, Some([&*issuer.url.authority, &*issuer.url.path]))
            }
        };
        let secrets = self.secrets().map(Secret::expose);
        name.into_iter()
            .chain(place.into_iter().flatten())
            .chain(secrets)
    }

    /// What kind of credential it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Aws(_) => "aws",
            Self::Issued(issuer) => match &issuer.grant {
                Grant::EntraSecret { .. } => "entra client credentials",
                Grant::EntraFederated { .. } => "entra workload identity",
                Grant::AzureMachine { .. } | Grant::AzureApp { .. } => "entra managed identity",
                Grant::GoogleAccount { .. } => "google service account",
            },
        }
    }
}

/// Where the environment tells another address of the issuer of Entra.
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";

const SHAPES: &str = "there are AWS keys (`accessKeyId`, `secretAccessKey`), service accounts of \
                      Google (`type`: `service_account`) and Entra (`entra`)";

fn wrong(text: &str) -> CredentialError {
    CredentialError(text.into())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    /// The only one that is no JSON.
    #[serde(skip)]
    Key(Secret),
    Aws(AwsKeys),
    Google(Google),
    Entra(Entra),
}

impl Shape {
    fn parse(text: &str) -> Result<Self, CredentialError> {
        let text = text.trim();
        if !text.starts_with('{') {
            let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            return match !text.is_empty() && text.bytes().all(is_visible) {
                true => Ok(Self::Key(Secret::new(text))),
                false => Err(wrong("a key is one line of visible ASCII characters")),
            };
        }
        // Not the parser's words: they may repeat what stands there.
        serde_json::from_str(text).map_err(|error| {
            let at = (error.line(), error.column());
            CredentialError(format!(
                "no credential is JSON like this; {SHAPES} ({at:?})"
            ))
        })
    }

    /// The member that leads to the machine of the gateway, or to an address that the author chose.
    fn reaching(&self) -> Option<&'static str> {
        match self {
            Self::Key(_) | Self::Aws(_) => None,
            Self::Google(account) => {
                let elsewhere = |uri: &str| uri != GOOGLE;
                let is_elsewhere = account.token_uri.as_deref().is_some_and(elsewhere);
                is_elsewhere.then_some("token_uri")
            }
            Self::Entra(entra) => match entra.entra {
                Way::WorkloadIdentity => Some("workload_identity"),
                Way::ManagedIdentity => Some("managed_identity"),
                Way::ClientCredentials if entra.authority.is_some() => Some("authority"),
                Way::ClientCredentials if entra.token_file.is_some() => Some("tokenFile"),
                Way::ClientCredentials => None,
            },
        }
    }
}

/// The file that Google Cloud gives for a service account; what else it holds is of no use here.
#[derive(Deserialize)]
struct Google {
    r#type: ServiceAccount,
    client_email: Box<str>,
    private_key: Secret,
    private_key_id: Option<Box<str>>,
    token_uri: Option<Box<str>>,
    scope: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServiceAccount {
    ServiceAccount,
}

impl Google {
    fn into_issuer(self) -> Result<Credential, CredentialError> {
        let ServiceAccount::ServiceAccount = self.r#type;
        let audience = self.token_uri.unwrap_or_else(|| GOOGLE.into());
        Ok(Credential::Issued(Box::new(Issuer {
            url: address(&audience, "token_uri")?,
            grant: Grant::GoogleAccount {
                email: self.client_email,
                key: self.private_key,
                key_id: self.private_key_id,
                scope: self.scope.unwrap_or_else(|| GOOGLE_CLOUD.into()),
                audience,
            },
        })))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entra {
    entra: Way,
    tenant_id: Option<Box<str>>,
    client_id: Option<Box<str>>,
    client_secret: Option<Secret>,
    token_file: Option<PathBuf>,
    /// The address of the issuer instead of the public one.
    authority: Option<Box<str>>,
    scope: Option<Box<str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    ClientCredentials,
    WorkloadIdentity,
    ManagedIdentity,
}

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Entra {
    /// Sources: Microsoft identity platform, client credentials; Azure AD workload identity,
    /// environment variables; Azure App Service, managed identities; read 2026-11-22.
    fn into_issuer(self, environment: Environment<'_>) -> Result<Credential, CredentialError> {
        let issuer = match self.entra {
            Way::ClientCredentials => {
                let secret = self.client_secret.clone();
                let secret = secret.ok_or_else(|| wrong("`clientSecret` is missing"))?;
                let client_id = self.client(environment)?;
                let scope = self.scope();
                Issuer {
                    url: self.tenant(environment)?,
                    grant: Grant::EntraSecret {
                        client_id,
                        secret,
                        scope,
                    },
                }
            }
            Way::WorkloadIdentity => {
                let of_environment = || environment("AZURE_FEDERATED_TOKEN_FILE");
                let file = self
                    .token_file
                    .clone()
                    .or_else(|| of_environment().map(Into::into));
                let none = "`tokenFile` is missing, and AZURE_FEDERATED_TOKEN_FILE is not set";
                let token_file = file.ok_or_else(|| wrong(none))?;
                let client_id = self.client(environment)?;
                let scope = self.scope();
                Issuer {
                    url: self.tenant(environment)?,
                    grant: Grant::EntraFederated {
                        client_id,
                        token_file,
                        scope,
                    },
                }
            }
            Way::ManagedIdentity => self.managed(environment)?,
        };
        Ok(Credential::Issued(Box::new(issuer)))
    }

    fn managed(self, environment: Environment<'_>) -> Result<Issuer, CredentialError> {
        let scope = self.scope();
        let resource: Box<str> = scope.strip_suffix("/.default").unwrap_or(&scope).into();
        let of_app = (
            environment("IDENTITY_ENDPOINT"),
            environment("IDENTITY_HEADER"),
        );
        if let (None, (Some(endpoint), Some(header))) = (&self.authority, of_app) {
            return Ok(Issuer {
                url: address(&endpoint, "IDENTITY_ENDPOINT")?,
                grant: Grant::AzureApp {
                    header: Secret::new(header),
                    client_id: self.client_id,
                    resource,
                },
            });
        }
        let machine = self.authority.as_deref().unwrap_or(AZURE_MACHINE);
        Ok(Issuer {
            url: address(
                &format!("{machine}/metadata/identity/oauth2/token"),
                "authority",
            )?,
            grant: Grant::AzureMachine {
                client_id: self.client_id,
                resource,
            },
        })
    }

    fn scope(&self) -> Box<str> {
        let default = || format!("{AZURE_AI}/.default").into();
        self.scope.clone().unwrap_or_else(default)
    }

    fn client(&self, environment: Environment<'_>) -> Result<Box<str>, CredentialError> {
        let id = self.client_id.clone();
        let id = id.or_else(|| environment("AZURE_CLIENT_ID").map(Into::into));
        id.ok_or_else(|| wrong("`clientId` is missing, and AZURE_CLIENT_ID is not set"))
    }

    fn tenant(&self, environment: Environment<'_>) -> Result<BaseUrl, CredentialError> {
        let id = self.tenant_id.clone();
        let id = id.or_else(|| environment("AZURE_TENANT_ID").map(Into::into));
        let id =
            id.ok_or_else(|| wrong("`tenantId` is missing, and AZURE_TENANT_ID is not set"))?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if !id.bytes().all(is_name) {
            return Err(wrong("`tenantId` is an id, or a domain name"));
        }
        let authority = self.authority.clone();
        let authority = authority.or_else(|| environment(AUTHORITY_HOST).map(Into::into));
        let authority = authority.as_deref().unwrap_or(ENTRA).trim_end_matches('/');
        address(&format!("{authority}/{id}/oauth2/v2.0/token"), "authority")
    }
}

fn address(text: &str, what: &str) -> Result<BaseUrl, CredentialError> {
    let url = BaseUrl::parse(text);
    let url = url.map_err(|error| CredentialError(format!("`{what}`: {error}")))?;
    if url.placeholders().next().is_some() {
        return Err(CredentialError(format!("`{what}` holds a placeholder")));
    }
    Ok(url)
}

/// A credential that is stored for one gateway and provider under an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCredential {
    /// Slug of the provider.
    pub provider: Box<str>,
    /// What `cf-aig-byok-alias` calls it.
    pub alias: Box<str>,
    /// `None`: it cannot be opened.
    pub credential: Option<Arc<Credential>>,
    /// How many requests may use it.
    pub rate: Option<Arc<Rate>>,
}

/// How often something may happen in a stretch of time; stretches follow each other from 1970 on.
#[derive(Debug)]
pub struct Rate {
    /// How often; above 0.
    pub limit: u32,
    /// In how many seconds; above 0.
    pub period_s: u32,
    /// The stretch under way, and how often it happened: 32 bits each.
    state: AtomicU64,
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        (self.limit, self.period_s) == (other.limit, other.period_s)
    }
}

impl Eq for Rate {}

impl Rate {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(limit: u32, period_s: u32) -> Self {
        Self {
            limit: limit.max(1),
            period_s: period_s.max(1),
            state: AtomicU64::new(0),
        }
    }

    /// Counts one more; never above the limit in one stretch, whoever asks at the same time.
    ///
    /// # Errors
    /// There is no room; in how many seconds there is.
    pub fn take(&self, now: Timestamp) -> Result<(), u32> {
        let seconds = now.as_micros() / 1_000_000;
        let period = u64::from(self.period_s);
        // A clock that was set back a little does not open the stretch before.
        let stretch = (seconds / period) & u64::from(u32::MAX);
        let one_more = |state: u64| {
            let (known, count) = (state >> 32, state & u64::from(u32::MAX));
            match known >= stretch {
                true if count >= u64::from(self.limit) => None,
                true => Some(state + 1),
                false => Some((stretch << 32) | 1),
            }
        };
        let taken = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        let left = u32::try_from(period - seconds % period).unwrap_or(u32::MAX);
        taken.map(|_before| ()).map_err(|_full| left)
    }
}

#[cfg(test)]
mod tests;
