//! Who is asking the management API, and what they may do there.
//!
//! A token of the account, with the scope that the method needs: `read` to look, `write` to change.
//! `metadata_read` looks at everything but bodies. Or a user who is signed in, with a role in the
//! account. What belongs to another account, or to gateways that a token does not open, is not
//! there. Every route below `/client/v4/accounts` passes here first, whatever its handler does.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use isango_store::config::history::Author;
use isango_store::tokens;
use isango_store::users::StoredUser;
use isango_types::key::Scope;
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Secret, Token, is_account};
use percent_encoding::percent_decode_str;

use crate::Control;
use crate::error::Failure;
use crate::identity::{self, From, Signed};

/// What every path of the API begins with.
const ACCOUNTS: &str = "/client/v4/accounts/";
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 1_024;
/// Own resources that are asked by POST because the question is long: it changes nothing.
pub(crate) const QUESTIONS: [&str; 1] = ["analytics"];

/// Who is asking, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    who: Who,
    from: From,
}

/// Who is asking.
#[derive(Clone, Debug)]
enum Who {
    /// Whoever has a token.
    Token(Arc<Token>),
    /// A user, with what they may do in the account that the request is about.
    User(Arc<StoredUser>, Role),
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// To look.
    Look,
    /// To keep a view of what they look at.
    Keep,
    /// To change what is configured or recorded.
    Change,
    /// To know what is behind it all: users, the trail of their changes, the store.
    People,
}

impl Caller {
    /// What they are called in every trail.
    pub(crate) fn name(&self) -> Box<str> {
        match &self.who {
            Who::Token(token) => format!("token {}", token.name).into(),
            Who::User(user, _) => format!("user {}", user.name).into(),
        }
    }

    /// Whose changes of this moment are.
    pub(crate) fn author(&self, control: &Control) -> Author {
        Author {
            who: self.name(),
            at: control.clock.now(),
            address: Some(self.from.0),
        }
    }

    /// Whether they may look at bodies, and at anything else that shows what was said.
    pub(crate) fn reads_bodies(&self) -> bool {
        match &self.who {
            Who::Token(token) => token.may(Scope::Read) || token.may(Scope::Write),
            Who::User(_, role) => role.reads_bodies(),
        }
    }

    /// Whether they may give this role, change who has it, and take it. A token does as an admin.
    pub(crate) fn rules(&self, other: Role) -> bool {
        match &self.who {
            Who::Token(_) => Role::Admin.rules(other),
            Who::User(_, role) => role.rules(other),
        }
    }

    /// Whether they own everything.
    pub(crate) fn owns_all(&self) -> bool {
        match &self.who {
            Who::Token(_) => false,
            Who::User(user, _) => user.owns_all(),
        }
    }

    /// The gateways of the account that are there for them; `None`: all of them.
    pub(crate) fn gateways(&self) -> Option<&[Box<str>]> {
        match &self.who {
            Who::Token(token) => Some(&*token.gateways).filter(|some| !some.is_empty()),
            Who::User(..) => None,
        }
    }

    /// Whether the gateway `id` of the account is there for them.
    pub(crate) fn sees(&self, id: &str) -> bool {
        match &self.who {
            Who::Token(token) => token.opens(&token.account, id),
            Who::User(..) => true,
        }
    }
}

impl Signed {
    /// Whose changes of this moment are.
    pub(crate) fn author(&self, control: &Control) -> Author {
        Author {
            who: format!("user {}", self.user.name).into(),
            at: control.clock.now(),
            address: Some(self.from.0),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let admitted = parts.extensions.get::<Self>().cloned();
        admitted.ok_or_else(Failure::unauthenticated)
    }
}

/// Lets in who may do what the request wants.
pub(crate) async fn admit(
    State(control): State<Control>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    if !head.uri.path().starts_with(ACCOUNTS) {
        return Failure::unroutable().into_response();
    }
    match admitted(&control, &head).await {
        Ok(caller) => {
            head.extensions.insert(caller);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// Who a request is from, if they may do what it wants.
async fn admitted(control: &Control, head: &Parts) -> Result<Caller, Failure> {
    may(control, head, (&head.method, head.uri.path())).await
}

/// Who a request is from, if they may do this at that path. A token is told by the head alone, a
/// session by what is stored of it.
async fn may(
    control: &Control,
    head: &Parts,
    (method, path): (&Method, &str),
) -> Result<Caller, Failure> {
    let headers = &head.headers;
    let who = if shows_token(headers) {
        by_token(token(control, headers)?, method, path)?
    } else {
        let signed = identity::signed(control, head).await?;
        by_role(signed.user, method, path)?
    };
    Ok(Caller {
        who,
        from: From::of(control, head),
    })
}

fn shows_token(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key("x-auth-key")
}

fn token(control: &Control, headers: &HeaderMap) -> Result<Arc<Token>, Failure> {
    let text = presented(headers).filter(|text| text.len() <= MAX_TOKEN);
    let sha256 = text.map(|text| tokens::sha256(&Secret::new(text)));
    let now = control.clock.now();
    let token = sha256.and_then(|sha256| control.cell.load().token(&sha256.0, now).cloned());
    token.ok_or_else(Failure::unauthenticated)
}

/// Somebody who is known and may look at something, for a path that is below no account.
///
/// # Errors
/// They are not, or may not.
pub(crate) async fn somebody(control: &Control, head: &Parts) -> Result<(), Failure> {
    let headers = &head.headers;
    if !shows_token(headers) {
        return identity::signed(control, head).await.map(drop);
    }
    let token = token(control, headers)?;
    let path = format!("{ACCOUNTS}{}/ai-gateway/gateways", token.account);
    by_token(token, &Method::GET, &path).map(drop)
}

/// Who asks about records of an account, at a path that is below none: about those of their gateways
/// ([`Caller::gateways`]).
///
/// # Errors
/// They may not, or it is not there for them.
pub(crate) async fn of_account(
    control: &Control,
    head: &Parts,
    account: &str,
) -> Result<Caller, Failure> {
    let path = format!("{ACCOUNTS}{account}/isango/analytics");
    may(control, head, (&Method::GET, &path)).await
}

/// The token that a request carries: `authorization: Bearer`, or what clients of the older kind call
/// the key of an e-mail address (management-api section 1.1).
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_start());
    }
    text("x-auth-email").and_then(|_address| text("x-auth-key"))
}

/// The account that a path is in, and what follows it.
///
/// # Errors
/// There is no such path.
fn placed<'p>(
    decoded: &'p [std::borrow::Cow<'_, str>],
) -> Result<(&'p str, Vec<&'p str>), Failure> {
    let segments: Vec<&str> = decoded.iter().map(|segment| &**segment).collect();
    match segments.as_slice() {
        ["", "client", "v4", "accounts", account, rest @ ..] => Ok((account, rest.to_vec())),
        _ => Err(Failure::unroutable()),
    }
}

/// The segments of a path, without their encoding.
fn decoded(path: &str) -> Result<Vec<std::borrow::Cow<'_, str>>, Failure> {
    path.split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8())
        .collect::<Result<_, _>>()
        .map_err(|_no_text| Failure::unroutable())
}

fn want(method: &Method, rest: &[&str]) -> Want {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    match rest {
        ["isango", "users" | "audit" | "storage", ..] => Want::People,
        _ if looks => Want::Look,
        ["isango", question] if *method == Method::POST && QUESTIONS.contains(question) => {
            Want::Look
        }
        ["isango", "gateways", _, "backtest" | "simulate"]
        | ["isango", "gateways", _, "cache", "explain"]
            if *method == Method::POST =>
        {
            Want::Look
        }
        ["isango", "views", ..] => Want::Keep,
        _ => Want::Change,
    }
}

fn by_role(user: Arc<StoredUser>, method: &Method, path: &str) -> Result<Who, Failure> {
    let decoded = decoded(path)?;
    let (account, rest) = placed(&decoded)?;
    let wanted = want(method, &rest);
    // Nothing but people is in every account; and what is no account is none of theirs.
    let is_there = match account {
        EVERY_ACCOUNT => wanted == Want::People,
        name => is_account(name),
    };
    let role = user.role(account).filter(|_| is_there);
    let role = role.ok_or_else(Failure::not_found)?;
    let may = match wanted {
        Want::Look => true,
        Want::Keep => role.changes() || role == Role::Analyst,
        Want::Change | Want::People => role.changes(),
    };
    match may {
        true => Ok(Who::User(user, role)),
        false => Err(Failure::forbidden(format!(
            "the role `{role}` may not do this"
        ))),
    }
}

fn by_token(token: Arc<Token>, method: &Method, path: &str) -> Result<Who, Failure> {
    let decoded = decoded(path)?;
    let (account, rest) = placed(&decoded)?;
    if *token.account != *account {
        return Err(Failure::not_found());
    }
    let (needed, scope): (&[Scope], &str) = match want(method, &rest) {
        Want::Look => (&[Scope::Read, Scope::Write, Scope::MetadataRead], "read"),
        Want::Keep | Want::Change | Want::People => (&[Scope::Write], "write"),
    };
    if !needed.iter().any(|scope| token.may(*scope)) {
        return Err(Failure::forbidden(format!(
            "this token has not the scope `{scope}`"
        )));
    }
    let lists = matches!(*method, Method::GET | Method::HEAD);
    match rest.as_slice() {
        ["ai-gateway" | "isango", "gateways", id, ..] => match token.opens(account, id) {
            true => Ok(Who::Token(token)),
            false => Err(Failure::not_found()),
        },
        // Who lists gateways sees those of the token.
        ["ai-gateway", "gateways"] if lists || token.gateways.is_empty() => Ok(Who::Token(token)),
        // Who asks for records, or alerts, gets those of the token's gateways.
        ["isango", "requests" | "analytics" | "tail" | "alerts", ..] => Ok(Who::Token(token)),
        _ if token.gateways.is_empty() => Ok(Who::Token(token)),
        _ => Err(Failure::forbidden(
            "this token is for some gateways only, not for the account",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(change: impl FnOnce(&mut Token), method: &Method, path: &str) -> Option<u16> {
        let mut token = Token::new("local", "admin");
        change(&mut token);
        let token = Arc::new(token);
        let path = format!("/client/v4/accounts/{path}");
        let refused = by_token(token, method, &path).err()?;
        Some(refused.into_response().status().as_u16())
    }

    #[test]
    fn a_token_does_what_its_scopes_say() {
        use Scope::{MetadataRead, Read, Run, Write};
        for (scope, reads, writes) in [
            (Run, Some(403), Some(403)),
            (Read, None, Some(403)),
            (MetadataRead, None, Some(403)),
            (Write, None, None),
        ] {
            let with = |token: &mut Token| token.scopes = vec![scope];
            let path = "local/ai-gateway/gateways/a";
            assert_eq!(admits(with, &Method::GET, path), reads, "{scope:?}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(admits(with, &method, path), writes, "{scope:?} {method}");
            }
        }
    }

    #[test]
    fn a_user_does_what_their_role_says() {
        use Method as M;
        let now = isango_types::Timestamp::from_micros(1);
        let check = |method: &Method, path: &str, may: [Role; 4], many: usize| {
            for (n, role) in may.into_iter().enumerate() {
                let mut user = StoredUser::new("ada", now);
                user.roles = [("local".into(), role)].into();
                let status = |path: &str| {
                    let path = format!("/client/v4/accounts/{path}");
                    let refused = by_role(Arc::new(user.clone()), method, &path).err();
                    refused.map(|refused| refused.into_response().status().as_u16())
                };
                let expected = (n >= many).then_some(403);
                assert_eq!(
                    status(&format!("local/{path}")),
                    expected,
                    "{role} {method} {path}"
                );
                assert_eq!(
                    status(&format!("other/{path}")),
                    Some(404),
                    "{role} {method} {path}"
                );
                assert_eq!(
                    status(&format!("*/{path}")),
                    Some(404),
                    "{role} {method} {path}"
                );
            }
        };
        let all = Role::ALL;
        for path in ["ai-gateway/gateways", "isango/tokens", "isango/views"] {
            check(&M::GET, path, all, 4);
        }
        for question in [
            "isango/analytics",
            "isango/gateways/a/backtest",
            "isango/gateways/a/simulate",
            "isango/gateways/a/cache/explain",
        ] {
            check(&M::POST, question, all, 4);
        }
        check(&M::POST, "isango/views", all, 3);
        check(&M::DELETE, "isango/views/a", all, 3);
        check(&M::GET, "isango/storage", all, 2);
        for method in [M::GET, M::POST, M::DELETE] {
            check(&method, "isango/users", all, 2);
            check(&method, "isango/audit", all, 2);
        }
        for method in [M::POST, M::PUT, M::PATCH, M::DELETE] {
            check(&method, "ai-gateway/gateways/a", all, 2);
            check(&method, "isango/analytics/x", all, 2);
            check(&method, "isango/tokens", all, 2);
        }
    }

    #[test]
    fn whoever_owns_everything_owns_what_is_an_account() {
        let now = isango_types::Timestamp::from_micros(1);
        let mut owner = StoredUser::new("ada", now);
        owner.roles = [(EVERY_ACCOUNT.into(), Role::Owner)].into();
        let owner = Arc::new(owner);
        let is_admitted = |method: &Method, path: &str| {
            let path = format!("/client/v4/accounts/{path}");
            by_role(Arc::clone(&owner), method, &path).is_ok()
        };
        assert!(is_admitted(&Method::POST, "any/isango/views"));
        assert!(is_admitted(&Method::POST, "*/isango/users"));
        for path in [
            "*/isango/views",
            "%2A/isango/tokens",
            "*/ai-gateway/gateways",
            "/isango/views",
            "a%20b/isango/views",
            "a%2Fb/isango/views",
            "-a/isango/users",
        ] {
            assert!(!is_admitted(&Method::POST, path), "{path}");
            assert!(!is_admitted(&Method::GET, path), "{path}");
        }
    }

    #[test]
    fn what_is_of_others_is_not_there() {
        let all = |token: &mut Token| token.scopes = vec![Scope::Write];
        let one = |token: &mut Token| {
            token.scopes = vec![Scope::Write];
            token.gateways = vec!["a".into()];
        };
        let get = |path: &str| {
            (
                admits(all, &Method::GET, path),
                admits(one, &Method::GET, path),
            )
        };
        assert_eq!(get("other/ai-gateway/gateways"), (Some(404), Some(404)));
        assert_eq!(get("local/ai-gateway/gateways/a"), (None, None));
        assert_eq!(get("local/ai-gateway/gateways/b/logs"), (None, Some(404)));
        assert_eq!(get("local/ai-gateway/gateways/%61"), (None, None));
        assert_eq!(get("local/isango/gateways/b"), (None, Some(404)));
        assert_eq!(get("local/ai-gateway/gateways"), (None, None));
        assert_eq!(get("local/ai-gateway/custom-providers"), (None, Some(403)));
        assert_eq!(get("local/isango/tokens"), (None, Some(403)));
        for path in ["requests", "requests/x", "requests/export", "tail"] {
            assert_eq!(get(&format!("local/isango/{path}")), (None, None), "{path}");
        }
        let ask = "local/isango/analytics";
        assert_eq!(admits(one, &Method::POST, ask), None);
        let create = "local/ai-gateway/gateways";
        assert_eq!(admits(one, &Method::POST, create), Some(403));
        assert_eq!(admits(all, &Method::POST, create), None);
    }
}
