//! Who is asking the management API, and what they may do there.
//!
//! A token of the account, with the scope that the method needs: `read` to look, `write` to change.
//! `metadata_read` looks at everything but bodies. What belongs to another account, or to gateways
//! that the token does not open, is not there. Every route below `/client/v4/accounts` passes here
//! first, whatever its handler does.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use isango_store::config::history::Author;
use isango_store::tokens;
use isango_types::key::Scope;
use isango_types::{Secret, Token};
use percent_encoding::percent_decode_str;

use crate::Control;
use crate::error::Failure;

/// What every path of the API begins with.
const ACCOUNTS: &str = "/client/v4/accounts/";
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 1_024;

/// Who is asking.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    token: Arc<Token>,
}

impl Caller {
    /// Whose changes of this moment are.
    pub(crate) fn author(&self, control: &Control) -> Author {
        Author {
            who: format!("token {}", self.token.name).into(),
            at: control.clock.now(),
        }
    }

    /// Whether they may look at bodies.
    pub(crate) fn reads_bodies(&self) -> bool {
        self.token.may(Scope::Read) || self.token.may(Scope::Write)
    }

    /// Whether the gateway `id` of the account is there for them.
    pub(crate) fn sees(&self, id: &str) -> bool {
        self.token.opens(&self.token.account, id)
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
    mut request: Request,
    next: Next,
) -> Response {
    let (path, method) = (request.uri().path(), request.method());
    if !path.starts_with(ACCOUNTS) {
        return Failure::unroutable().into_response();
    }
    match caller(&control, request.headers()).and_then(|caller| may(caller, method, path)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

fn caller(control: &Control, headers: &HeaderMap) -> Result<Caller, Failure> {
    let text = presented(headers).filter(|text| text.len() <= MAX_TOKEN);
    let sha256 = text.map(|text| tokens::sha256(&Secret::new(text)));
    let now = control.clock.now();
    let token = sha256.and_then(|sha256| control.cell.load().token(&sha256.0, now).cloned());
    let token = token.ok_or_else(Failure::unauthenticated)?;
    Ok(Caller { token })
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

fn may(caller: Caller, method: &Method, path: &str) -> Result<Caller, Failure> {
    let decoded = path
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8());
    let decoded: Vec<_> = decoded
        .collect::<Result<_, _>>()
        .map_err(|_no_text| Failure::unroutable())?;
    let segments: Vec<&str> = decoded.iter().map(|segment| &**segment).collect();
    let ["", "client", "v4", "accounts", account, rest @ ..] = segments.as_slice() else {
        return Err(Failure::unroutable());
    };
    let token = &caller.token;
    if *token.account != **account {
        return Err(Failure::not_found());
    }
    // A question may be too long for an address.
    let asks = *method == Method::POST && matches!(rest, ["isango", "analytics"]);
    let looks = asks || matches!(*method, Method::GET | Method::HEAD);
    let needed: &[Scope] = match looks {
        true => &[Scope::Read, Scope::Write, Scope::MetadataRead],
        false => &[Scope::Write],
    };
    if !needed.iter().any(|scope| token.may(*scope)) {
        let scope = if looks { "read" } else { "write" };
        return Err(Failure::forbidden(format!(
            "this token has not the scope `{scope}`"
        )));
    }
    match rest {
        ["ai-gateway" | "isango", "gateways", id, ..] => match caller.sees(id) {
            true => Ok(caller),
            false => Err(Failure::not_found()),
        },
        // Who lists gateways sees those of the token.
        ["ai-gateway", "gateways"] if looks || token.gateways.is_empty() => Ok(caller),
        _ if token.gateways.is_empty() => Ok(caller),
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
        let refused = may(Caller { token }, method, &path).err()?;
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
        let create = "local/ai-gateway/gateways";
        assert_eq!(admits(one, &Method::POST, create), Some(403));
        assert_eq!(admits(all, &Method::POST, create), None);
    }
}
