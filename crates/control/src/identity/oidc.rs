//! Signing in by a provider of identities: `OpenID` Connect 1.0, the authorization code flow with
//! PKCE (RFC 7636).
//!
//! A browser is sent to the provider with a `state` that only it can bring back: beside it goes a
//! cookie, and what both stand for is kept here, for ten minutes, once. What the provider tells is
//! believed of its ID token alone (`token`), which it hands to nobody but us (`provider`). `admit`
//! decides who that is here; the session is one like any other.

mod admit;
mod pending;
mod provider;
mod token;

use std::fmt;
use std::pin::Pin;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use isango_store::users::StoredUser;
use isango_types::{Role, Secret};

pub(crate) use self::pending::LASTS as PATIENCE;
use self::pending::{Pending, Waiting};
use self::provider::Provider;
use super::{From, cookie, session};
use crate::answer::{last, pairs};
use crate::error::{Failure, FailureBody};
use crate::{Control, audit, blocking};

/// Where the provider sends browsers back to.
const CALLBACK: &str = "/client/v4/isango/oidc/callback";
/// Longest parameter that a provider brings, in bytes.
const MAX_PARAMETER: usize = 4_096;

/// How people sign in by a provider of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// What the login page calls it.
    pub name: Box<str>,
    /// Its issuer: an address, exactly as its ID tokens name it.
    pub issuer: Box<str>,
    /// Who we are there.
    pub client_id: Box<str>,
    /// What proves it; `None`: nothing but PKCE does.
    pub client_secret: Option<Secret>,
    /// What is asked for, `openid` among it.
    pub scopes: Vec<Box<str>>,
    /// Domains of addresses that are let in, in lower case; none: all are.
    pub domains: Vec<Box<str>>,
    /// The claim that roles follow from.
    pub role_claim: Option<Box<str>>,
    /// Which role follows from which value of it.
    pub roles: Vec<RoleOf>,
    /// Account and role of those that no value gives one; `None`: they are not let in.
    pub otherwise: Option<(Box<str>, Role)>,
    /// Whether an address of which the provider does not say that it is verified is taken for
    /// verified.
    pub trust_email: bool,
    /// Whether a user who is there already is whoever brings that address.
    pub link_existing: bool,
    /// Whether the provider may be in a private network, and be asked without TLS.
    pub allow_private: bool,
}

/// A value of a claim, and what whoever has it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleOf {
    /// The value.
    pub value: Box<str>,
    /// In this account; `*`: in every one.
    pub account: Box<str>,
    /// What they may do there.
    pub role: Role,
}

/// What the provider is asked.
#[derive(Debug)]
pub struct Question {
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and port.
    pub authority: Box<str>,
    /// Path and query.
    pub path: Box<str>,
    /// Whether the host may be in a private network.
    pub trusted: bool,
    /// `authorization`.
    pub authorization: Option<Secret>,
    /// A form that is posted; `None`: a `GET`.
    pub form: Option<Secret>,
}

/// Status and body; or why there is no answer, without an address.
pub type Answered = Pin<Box<dyn Future<Output = Result<(u16, Bytes), String>> + Send>>;

/// Asks a provider: bounded in time and in size.
pub type Fetch = dyn Fn(Question) -> Answered + Send + Sync;

/// The provider, and who is on the way to it.
pub(crate) struct Door {
    pub(crate) settings: Oidc,
    provider: Provider,
    pending: Pending,
    /// Where people see pages: scheme and host.
    origin: Box<str>,
}

impl Door {
    pub(crate) fn new(settings: Oidc, fetch: Box<Fetch>, origin: &str) -> Self {
        Self {
            provider: Provider::new(fetch),
            settings,
            pending: Pending::default(),
            origin: origin.into(),
        }
    }

    fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.origin)
    }

    /// Whether browsers come by TLS.
    fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

/// Why somebody is not let in. Its code stands in the address of the login page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The provider says so, by this word.
    Provider(String),
    /// It cannot be asked, or says what cannot be.
    Failed(String),
    /// This browser was not sent there, or too long ago, or has come back already.
    State,
    /// The ID token is not to be believed.
    Token(token::Untrue),
    /// There is no address, or none that can be a name.
    NoEmail,
    /// The provider does not vouch for it.
    Unverified,
    /// It is of a domain that is not let in.
    Domain,
    /// Nothing gives them a role.
    NoRole,
    /// There is a user of that name who is somebody else, as far as is known.
    Taken,
    /// We failed.
    Internal,
    /// There were too many tries.
    TooMany,
}

impl Refusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::Provider(_) => "refused",
            Self::Failed(_) => "provider",
            Self::State => "state",
            Self::Token(_) => "token",
            Self::NoEmail => "no_email",
            Self::Unverified => "unverified",
            Self::Domain => "domain",
            Self::NoRole => "no_role",
            Self::Taken => "taken",
            Self::Internal => "internal",
            Self::TooMany => "too_many",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(word) => write!(f, "the provider refused: {word}"),
            Self::Failed(why) => write!(f, "the provider could not be asked: {why}"),
            Self::State => f.write_str(
                "the state is unknown, of another browser, was used, or is older than ten minutes",
            ),
            Self::Token(why) => write!(f, "the ID token is not to be believed: {why}"),
            Self::NoEmail => f.write_str(
                "the ID token has no `email`, or none that can be a name; ask for the scope `email`",
            ),
            Self::Unverified => f.write_str(
                "the provider does not say that the address is verified; `oidc.trust_email` takes \
                 those of which it says nothing",
            ),
            Self::Domain => f.write_str("the address is of a domain beside `oidc.allowed_domains`"),
            Self::NoRole => f.write_str(
                "no value of `oidc.role_claim` gives a role, and `oidc.default_role` is `none`",
            ),
            Self::Taken => f.write_str(
                "there is a user of that name who signs in otherwise; `oidc.link_existing` lets them \
                 in",
            ),
            Self::Internal => f.write_str("the store failed"),
            Self::TooMany => f.write_str("too many tries"),
        }
    }
}

impl std::convert::From<Failure> for Refusal {
    fn from(_told_in_the_log: Failure) -> Self {
        Self::Internal
    }
}

/// Sign in by the provider of identities
///
/// Sends the browser there (303), with a cookie that only this browser brings back. 404 where no
/// provider is configured.
#[utoipa::path(get, path = "/client/v4/isango/oidc/login", tag = "session", security(),
    responses((status = 303, description = "To the provider; where it cannot be asked, to the login \
        page, with a code behind `#oidc=`."), (status = "4XX", body = FailureBody)))]
pub(crate) async fn login(State(control): State<Control>, from: From) -> Result<Response, Failure> {
    let door = control.people.oidc.as_ref();
    let door = door.ok_or_else(Failure::not_found)?;
    let sent = match sent(&control, door, from).await {
        Ok((address, browser)) => {
            let cookie = cookie::binding(door.is_secure(), &browser);
            redirect(&address, [cookie])
        }
        Err(refusal) => refused(&control, &refusal, from).await,
    };
    Ok(sent)
}

/// Where a browser is sent to, and what it brings back beside.
async fn sent(
    control: &Control,
    door: &Door,
    From(address): From,
) -> Result<(String, Secret), Refusal> {
    let now = control.clock.now();
    let made = control.people.throttle.take("", address, now);
    let made = made.map_err(|_wait| Refusal::TooMany)?;
    let metadata = door.provider.metadata(&door.settings, now).await?;
    let (sent, waiting) = Waiting::new(now, made).ok_or(Refusal::Internal)?;
    let address = provider::address(&metadata, &door.settings, &door.callback(), &sent);
    door.pending.add(&sent.state, waiting, now);
    Ok((address, sent.browser))
}

/// Come back from the provider of identities
///
/// Where it is who they say: the cookie of a session, and the dashboard (303). Otherwise the login
/// page, with a code behind `#oidc=`.
#[utoipa::path(get, path = "/client/v4/isango/oidc/callback", tag = "session", security(),
    params(("state" = Option<String>, Query, description = "What the browser was sent with."),
        ("code" = Option<String>, Query, description = "What the provider tells who it is for."),
        ("error" = Option<String>, Query, description = "Why it does not."),
        ("iss" = Option<String>, Query, description = "Who the provider is (RFC 9207).")),
    responses((status = 303, description = "To the dashboard."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn callback(
    State(control): State<Control>,
    from: From,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let door = control.people.oidc.as_ref();
    let door = door.ok_or_else(Failure::not_found)?;
    let query = query.unwrap_or_default();
    let found = known(&control, door, from, (&headers, &query)).await;
    let opened = match found {
        Ok(user) => Box::pin(session::open(&control, user, from))
            .await
            .map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    let forgotten = cookie::binding(door.is_secure(), &Secret::new(""));
    Ok(match opened {
        Ok((session, _view)) => {
            let kept = cookie::set_by(door.is_secure(), &session);
            redirect("/", [kept, forgotten])
        }
        Err(refusal) => refused(&control, &refusal, from).await,
    })
}

/// Who came back.
async fn known(
    control: &Control,
    door: &Door,
    From(address): From,
    (headers, query): (&HeaderMap, &str),
) -> Result<StoredUser, Refusal> {
    let now = control.clock.now();
    let pairs = pairs(query).map_err(|_unreadable| Refusal::State)?;
    let parameter = |name: &str| last(&pairs, name).filter(|text| text.len() <= MAX_PARAMETER);
    let browser = cookie::shown_binding(headers);
    let waiting = parameter("state")
        .zip(browser)
        .and_then(|(state, browser)| door.pending.take(&Secret::new(state), &browser, now));
    let Some(waiting) = waiting else {
        // Nobody guesses at states for long.
        let taken = control.people.throttle.take("", address, now);
        return Err(taken.map_or(Refusal::TooMany, |_counted| Refusal::State));
    };
    if parameter("iss").is_some_and(|issuer| *issuer != *door.settings.issuer) {
        return Err(Refusal::Token(token::Untrue::Issuer));
    }
    if let Some(error) = parameter("error") {
        return Err(Refusal::Provider(word(error)));
    }
    let code = Secret::new(parameter("code").ok_or(Refusal::State)?);
    let provider = &door.provider;
    let told = provider
        .exchange(
            &door.settings,
            &door.callback(),
            (&code, &waiting.verifier),
            now,
        )
        .await?;
    let expected = token::Expected {
        issuer: &door.settings.issuer,
        client_id: &door.settings.client_id,
        nonce: &waiting.nonce,
        now,
    };
    let claims = provider.claims(&door.settings, &told, &expected).await?;
    let (settings, made) = (door.settings.clone(), waiting.made);
    let user = blocking(control, move |control| {
        Ok(admit::admit(control, &settings, &claims, address))
    });
    let user = user.await??;
    control.people.throttle.give_back(&made);
    Ok(user)
}

/// A word of somebody else's, as it may be logged.
fn word(text: &str) -> String {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.chars().take_while(is_word).take(64).collect()
}

/// Notes that nobody was let in, and sends the browser to the login page, which tells why.
async fn refused(control: &Control, refusal: &Refusal, From(address): From) -> Response {
    let code = refusal.code();
    tracing::warn!(
        code,
        "nobody was signed in by the provider of identities: {refusal}"
    );
    let noted = blocking(control, move |control| {
        audit::note_failure(control, address, None, Some(code));
        Ok(())
    });
    // What cannot be noted, the log tells.
    noted.await.ok();
    redirect(&format!("/#oidc={code}"), [])
}

fn redirect<const N: usize>(address: &str, cookies: [HeaderValue; N]) -> Response {
    let Ok(location) = HeaderValue::from_str(address) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, location);
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
