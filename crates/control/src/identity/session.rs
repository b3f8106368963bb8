//! Signing in and out, and what the dashboard has to know of whoever is signed in.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use isango_store::audit::Action;
use isango_store::config::history::{As, Author};
use isango_store::users::{self, StoredUser};
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Secret};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{From, Signed, cookie, failed, password};
use crate::answer::{Answer, Done, Envelope};
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, audit, blocking};

/// The account that is there before any other is named.
const FIRST_ACCOUNT: &str = "local";

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The name, in any case.
    name: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// Another password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// The one that lets in so far.
    #[schema(value_type = String, format = Password)]
    current: Secret,
    /// The one from now on: at least 12 characters.
    #[schema(value_type = String, format = Password, min_length = 12)]
    password: Secret,
}

/// Whoever is signed in, and what the dashboard needs beside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Who it is.
    user: UserOfSession,
    /// Goes with every change, in `x-csrf-token`.
    csrf: Box<str>,
    /// Accounts that are there for them.
    accounts: Vec<Box<str>>,
    /// Where applications reach the gateway.
    data_url: Box<str>,
    /// The version of the server.
    version: &'static str,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserOfSession {
    /// The name they sign in with.
    name: Box<str>,
    /// What they may do in the first of their accounts.
    #[schema(value_type = String)]
    role: Role,
    /// What they may do, by account; `*` stands for every account.
    #[schema(value_type = Object)]
    roles: BTreeMap<Box<str>, Role>,
}

/// Nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nothing {}

/// What was done, and what the browser keeps of it.
pub(crate) type Kept<T> = Result<([(HeaderName, HeaderValue); 1], Done<T>), Failure>;

impl SessionView {
    pub(crate) fn of(control: &Control, user: &StoredUser, csrf: Box<str>) -> Self {
        let accounts = accounts(control, user);
        let role = accounts.first().and_then(|account| user.role(account));
        Self {
            user: UserOfSession {
                name: user.name.clone(),
                // Who has no role is no user.
                role: role.unwrap_or(Role::Analyst),
                roles: user.roles.clone(),
            },
            csrf,
            accounts,
            data_url: (*control.data_url).into(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The accounts that are there for a user: those of their roles, or all that are known.
fn accounts(control: &Control, user: &StoredUser) -> Vec<Box<str>> {
    let named = user.roles.keys().filter(|name| ***name != *EVERY_ACCOUNT);
    let mut accounts: BTreeSet<Box<str>> = named.cloned().collect();
    if user.roles.contains_key(EVERY_ACCOUNT) {
        let snapshot = control.cell.load();
        accounts.insert(FIRST_ACCOUNT.into());
        accounts.extend(snapshot.gateways().map(|gateway| gateway.account.clone()));
        accounts.extend(snapshot.tokens().map(|token| token.account.clone()));
    }
    let first = accounts.take(FIRST_ACCOUNT);
    first.into_iter().chain(accounts).collect()
}

/// Who is signed in
#[utoipa::path(get, path = "/client/v4/isango/session", tag = "session",
    security(("session" = [])),
    responses((status = 200, body = Envelope<SessionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(State(control): State<Control>, signed: Signed) -> Answer<SessionView> {
    Ok(Done::new(SessionView::of(
        &control,
        &signed.user,
        signed.csrf,
    )))
}

/// Sign in
///
/// The answer sets the cookie of the session. Too many failures are refused with 429 for a while.
#[utoipa::path(post, path = "/client/v4/isango/session", tag = "session", security(),
    request_body = SignIn,
    responses((status = 200, body = Envelope<SessionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    from: From,
    headers: HeaderMap,
    Members(members): Members,
) -> Kept<SessionView> {
    let asked: SignIn = body::read(&members)?;
    let name = users::to_name(&asked.name);
    let user = by_password(&control, from, &name, asked.password).await?;
    begin(&control, user, from, &headers).await
}

/// The user of a name, if this is their password. Whether there is such a user is not told, not even
/// by the time that it takes.
pub(crate) async fn by_password(
    control: &Control,
    From(address): From,
    name: &str,
    password: Secret,
) -> Result<StoredUser, Failure> {
    let made = control
        .people
        .throttle
        .take(name, address, control.clock.now());
    let made = made.map_err(Failure::too_many_tries)?;
    let wanted: Box<str> = name.into();
    let user = blocking(control, move |control| {
        Ok(control.people.users(control)?.get(&wanted).cloned())
    });
    let user = user.await?;
    let hash = user.as_ref().and_then(|user| user.password.clone());
    let is_right = control.people.passwords.is_right(hash, password).await;
    // What was not looked at was no try.
    let is_right = is_right.inspect_err(|_busy| control.people.throttle.give_back(&made))?;
    if let Some(user) = user.as_ref().filter(|_| is_right) {
        control.people.throttle.give_back(&made);
        return Ok((**user).clone());
    }
    blocking(control, move |control| {
        audit::note_failure(control, address, user.as_deref(), None);
        Ok(())
    })
    .await?;
    Err(Failure::unauthenticated())
}

/// Signs a user in.
pub(crate) async fn begin(
    control: &Control,
    user: StoredUser,
    from: From,
    headers: &HeaderMap,
) -> Kept<SessionView> {
    let (cookie, view) = open(control, user, from).await?;
    let set = cookie::set(headers, &cookie);
    Ok(([(SET_COOKIE, set)], Done::new(view)))
}

/// The session of a user: what their browser has to show, and what they are told.
pub(crate) async fn open(
    control: &Control,
    user: StoredUser,
    From(address): From,
) -> Result<(Secret, SessionView), Failure> {
    blocking(control, move |control| {
        let author = Author {
            who: format!("user {}", user.name).into(),
            at: control.clock.now(),
            address: Some(address),
        };
        audit::note_session(control, &author, &user, Action::SignIn)?;
        let cookie = control.people.open(control, &user, address)?;
        let view = SessionView::of(control, &user, super::csrf(&cookie));
        Ok((cookie, view))
    })
    .await
}

/// Sign out
#[utoipa::path(delete, path = "/client/v4/isango/session", tag = "session",
    security(("session" = [])),
    responses((status = 200, body = Envelope<Nothing>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    signed: Signed,
    headers: HeaderMap,
) -> Kept<Nothing> {
    blocking(&control, move |control| {
        let removed = control.people.sessions.remove(&signed.sha256);
        removed.map_err(|error| failed(&error))?;
        let author = signed.author(control);
        audit::note_session(control, &author, &signed.user, Action::SignOut)
    })
    .await?;
    Ok((
        [(SET_COOKIE, cookie::forget(&headers))],
        Done::new(Nothing {}),
    ))
}

/// Sign out everywhere
///
/// Every session of whoever asks is over, this one among them.
#[utoipa::path(delete, path = "/client/v4/isango/sessions", tag = "session",
    security(("session" = [])),
    responses((status = 200, body = Envelope<Nothing>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete_all(
    State(control): State<Control>,
    signed: Signed,
    headers: HeaderMap,
) -> Kept<Nothing> {
    blocking(&control, move |control| {
        let author = signed.author(control);
        let now = author.at;
        let authored = As::new(&*control.config, author.clone());
        users::change(&authored, &signed.user.name, now, |user| {
            user.end_sessions(now);
            Ok::<_, Failure>(())
        })?;
        audit::note_session(control, &author, &signed.user, Action::SignOut)
    })
    .await?;
    Ok((
        [(SET_COOKIE, cookie::forget(&headers))],
        Done::new(Nothing {}),
    ))
}

/// Choose another password
///
/// Every other session of whoever asks is over; the answer sets the cookie of a new one.
#[utoipa::path(put, path = "/client/v4/isango/password", tag = "session",
    security(("session" = [])), request_body = NewPassword,
    responses((status = 200, body = Envelope<SessionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn password(
    State(control): State<Control>,
    signed: Signed,
    from: From,
    headers: HeaderMap,
    Members(members): Members,
) -> Kept<SessionView> {
    let asked: NewPassword = body::read(&members)?;
    password::check_new(&signed.user.name, &asked.password)?;
    // 401 would say that the session is over.
    let user = by_password(&control, from, &signed.user.name, asked.current).await;
    let user = user.map_err(|refused| refused.instead_of_unauthenticated(wrong_current))?;
    let hash = control.people.passwords.hash(asked.password).await?;
    let changed = blocking(&control, move |control| {
        let author = signed.author(control);
        let now = author.at;
        let authored = As::new(&*control.config, author);
        users::change(&authored, &user.name, now, |user| {
            user.password = Some(hash.clone());
            user.end_sessions(now);
            Ok::<_, Failure>(())
        })
    });
    let user = changed.await?.ok_or_else(Failure::unauthenticated)?;
    begin(&control, user, from, &headers).await
}

fn wrong_current() -> Failure {
    Failure::wrong(&["current"], "this is not the password so far")
}
