//! People: who they are, how they sign in, and how a browser stays signed in.
//!
//! A session is a cookie that scripts cannot read and other sites cannot send; what is kept of it is
//! a digest. Every change by a session also shows the CSRF token, which follows from the cookie and
//! is told to whoever could read an answer. `auth` decides what a session may do.

pub(crate) mod cookie;
pub(crate) mod link;
pub(crate) mod oidc;
mod password;
pub(crate) mod session;
mod throttle;
pub(crate) mod users;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use isango_store::sessions::{self, SessionStore, StoredSession};
use isango_store::tokens;
use isango_store::users::{StoredUser, all as all_users};
use isango_types::key::Sha256;
use isango_types::{Network, Secret, Snapshot};
use parking_lot::Mutex;

use self::oidc::{Door, Fetch, Oidc};
use self::password::Passwords;
use self::throttle::Throttle;
use crate::audit::Failures;
use crate::error::Failure;
use crate::{Control, blocking};

/// How long a session lasts that nobody uses.
pub(crate) const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// How long a session lasts.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// A session that was used again within this time is not noted again.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// Where a change by a session shows that it is none of another site's.
const CSRF: &str = "x-csrf-token";
/// Where a proxy says for whom it asks.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What the code of a session is bound to.
const PLACE: &[u8] = b"isango session 1";

/// What there is to know of people.
pub(crate) struct People {
    /// Origin of the pages that people see, where the operator has named it.
    pub(crate) dashboard: Option<Arc<str>>,
    /// Proxies that are believed when they say for whom they ask.
    proxies: Vec<Network>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) failures: Failures,
    /// The provider of identities by which people sign in, too.
    pub(crate) oidc: Option<oidc::Door>,
    /// The users by name, and the snapshot that was in force when they were read.
    known: Mutex<(Weak<Snapshot>, Arc<Users>)>,
}

type Users = HashMap<Box<str>, Arc<StoredUser>>;

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) user: Arc<StoredUser>,
    pub(crate) sha256: Sha256,
    pub(crate) csrf: Box<str>,
    pub(crate) from: From,
}

impl People {
    pub(crate) fn new(
        sessions: Arc<dyn SessionStore>,
        dashboard: Option<Arc<str>>,
        proxies: Vec<Network>,
        oidc: Option<(Oidc, Box<Fetch>)>,
    ) -> Self {
        // Without a place to come back to nobody can be sent there.
        let origin = dashboard.clone();
        let oidc = oidc.zip(origin);
        Self {
            oidc: oidc.map(|((settings, fetch), origin)| Door::new(settings, fetch, &origin)),
            dashboard,
            proxies,
            sessions,
            passwords: Passwords::default(),
            throttle: Throttle::default(),
            failures: Failures::default(),
            known: Mutex::default(),
        }
    }

    /// Every user; reads them where something was put in force since. Blocks.
    pub(crate) fn users(&self, control: &Control) -> Result<Arc<Users>, Failure> {
        let snapshot = control.cell.get();
        {
            let (of, users) = &*self.known.lock();
            if of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, &snapshot)) {
                return Ok(Arc::clone(users));
            }
        }
        let contents = control.config.read()?;
        let all = all_users(&contents).filter_map(Result::ok);
        let users: Users = all
            .map(|user| (user.name.clone(), Arc::new(user)))
            .collect();
        let users = Arc::new(users);
        *self.known.lock() = (Arc::downgrade(&snapshot), Arc::clone(&users));
        Ok(users)
    }

    /// Who a cookie signs in; blocks.
    fn signed(
        &self,
        control: &Control,
        cookie: &Secret,
        from: From,
    ) -> Result<Option<Signed>, Failure> {
        let sha256 = tokens::sha256(cookie);
        let Some(session) = self
            .sessions
            .find(&sha256)
            .map_err(|error| failed(&error))?
        else {
            return Ok(None);
        };
        let now = control.clock.now();
        let is_over = session.created_at.plus(LONGEST) <= now || session.seen_at.plus(IDLE) <= now;
        if is_over || !is_vouched(control, &session) {
            return Ok(None);
        }
        let users = self.users(control)?;
        let user = users.get(&session.user);
        let Some(user) = user.filter(|user| user.epoch == session.epoch) else {
            return Ok(None);
        };
        if session.seen_at.plus(NOTED_EVERY) <= now {
            self.sessions
                .seen(&sha256, now)
                .map_err(|error| failed(&error))?;
        }
        Ok(Some(Signed {
            user: Arc::clone(user),
            sha256,
            csrf: csrf(cookie),
            from,
        }))
    }

    /// Signs somebody in; what their browser has to show. Blocks.
    pub(crate) fn open(
        &self,
        control: &Control,
        user: &StoredUser,
        address: IpAddr,
    ) -> Result<Secret, Failure> {
        let now = control.clock.now();
        let (cookie, sha256) =
            tokens::mint_as("iss_").map_err(|error| Failure::internal(&error))?;
        let mut session = StoredSession {
            sha256,
            user: user.name.clone(),
            epoch: user.epoch,
            created_at: now,
            seen_at: now,
            address: address.to_string().into(),
            code: "".into(),
        };
        if let Some(keyring) = (control.keyring)() {
            session.code = keyring.current.vouch(PLACE, &vouched(&session)).into();
        }
        self.sessions
            .put(&session)
            .map_err(|error| failed(&error))?;
        let gone = |age: Duration| now.minus(age);
        let expired = self.sessions.expire(gone(LONGEST), gone(IDLE));
        expired.map_err(|error| failed(&error))?;
        Ok(cookie)
    }
}

/// What does not change of a session.
fn vouched(session: &StoredSession) -> String {
    let StoredSession {
        sha256,
        user,
        epoch,
        created_at,
        seen_at: _,
        address,
        code: _,
    } = session;
    format!("{sha256} {epoch} {created_at} {address} {user}")
}

/// Whether it is one of ours: somebody may write the file of sessions and have no key.
fn is_vouched(control: &Control, session: &StoredSession) -> bool {
    let keyring = (control.keyring)();
    keyring.is_none_or(|keyring| {
        let vouched = vouched(session);
        keyring.is_vouched(PLACE, &vouched, &session.code).is_ok()
    })
}

/// What shows that a page could read an answer to this cookie.
fn csrf(cookie: &Secret) -> Box<str> {
    let text = Secret::new(format!("isango csrf 1 {}", cookie.expose()));
    tokens::sha256(&text).to_string().into()
}

fn failed(error: &sessions::Error) -> Failure {
    Failure::internal(error)
}

/// Whoever the cookie of a request signs in.
///
/// # Errors
/// Nobody; or it is a change, and does not show that it comes from the dashboard.
pub(crate) async fn signed(control: &Control, head: &Parts) -> Result<Signed, Failure> {
    let cookie = cookie::shown(&head.headers).ok_or_else(Failure::unauthenticated)?;
    let from = From::of(control, head);
    let found = blocking(control, move |control| {
        control.people.signed(control, &cookie, from)
    });
    let signed = found.await?.ok_or_else(Failure::unauthenticated)?;
    let looks = matches!(head.method, Method::GET | Method::HEAD);
    let shown = head.headers.get(CSRF).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(Sha256::parse);
    let is_right = || {
        let right = Sha256::parse(&signed.csrf);
        shown.is_some_and(|shown| right.is_some_and(|right| right.is(&shown.0)))
    };
    match looks || is_right() {
        true => Ok(signed),
        false => Err(Failure::no_csrf()),
    }
}

/// Whoever is signed in, for routes that are about themselves.
impl FromRequestParts<Control> for Signed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Failure> {
        signed(control, parts).await
    }
}

/// From where a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From(pub(crate) IpAddr);

impl From {
    pub(crate) fn of(control: &Control, head: &Parts) -> Self {
        let socket = head.extensions.get::<ConnectInfo<SocketAddr>>();
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = socket.map_or(nowhere, |ConnectInfo(socket)| socket.ip());
        Self::told(peer, &head.headers, &control.people.proxies)
    }

    /// The address of a connection, or of whom a trusted proxy asks for: the last one that
    /// `x-forwarded-for` names and that is none of the proxies. What stands before it, anybody may
    /// have written.
    fn told(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Self {
        let is_proxy = |address: IpAddr| proxies.iter().any(|one| one.contains(address));
        let named = headers.get_all(FORWARDED_FOR).into_iter().rev();
        let mut named = named.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        let mut address = peer.to_canonical();
        while is_proxy(address) {
            // Whoever it does not tell cannot be told from it.
            let Some(next) = named.next().and_then(named_address) else {
                break;
            };
            address = next;
        }
        Self(address)
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn named_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    Some(address.or_else(with_port)?.to_canonical())
}

impl FromRequestParts<Control> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Control,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::of(control, parts))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_asks() {
        let proxies = ["10.0.0.0/8", "::1"].map(|text| Network::parse(text).unwrap());
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let headers = forwarded
                .iter()
                .map(|value| (FORWARDED_FOR, HeaderValue::from_str(value).unwrap()));
            let headers = HeaderMap::from_iter(headers);
            let From(found) = From::told(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        };
        check("203.0.113.1", &["198.51.100.9"], "203.0.113.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("::ffff:10.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("::1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("::1", &["198.51.100.9:4711"], "198.51.100.9");
        // What a client wrote itself stands before what the proxy saw.
        check("10.0.0.1", &["1.1.1.1, 198.51.100.9"], "198.51.100.9");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.9"], "198.51.100.9");
        check(
            "10.0.0.1",
            &["1.1.1.1, 198.51.100.9 , 10.0.0.2"],
            "198.51.100.9",
        );
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        for nonsense in ["unknown", "", "1.1.1.1, unknown", "_hidden"] {
            check("10.0.0.1", &[nonsense], "10.0.0.1");
        }
    }
}
