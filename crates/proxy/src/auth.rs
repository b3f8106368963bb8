//! Whose request this is: gateway tokens, and the credential for the provider.

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use isango_types::credential::{DEFAULT_ALIAS, Rate, StoredCredential};
use isango_types::key::{Scope, Token};
use isango_types::price::Charge;
use isango_types::{Clock, Credential, Gateway, Operation, Provider, Secret, Snapshot, Timestamp};
use isango_wire::scan;
use std::borrow::Cow;
use std::sync::Arc;

use crate::ask::Call;
use crate::balance::{hash, mix};
use crate::error::Error;
use crate::exchange::{Draft, Exchange};
use crate::front;
use crate::limit::{self, Notice};
use crate::resolve::Route;
use crate::tokens::{LENIENT, Tokens, after_bearer};
use base64::Engine as _;
use isango_types::provider::PathRule;
use zeroize::Zeroizing;

/// Who sent a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The token that opened the gateway.
    pub(crate) token: Option<Arc<Token>>,
}

/// Finds the caller by the `tokens` of its request. `now`: when the request came.
///
/// # Errors
/// [`Error::Unauthorized`]: the gateway needs a token and there is none that opens it.
/// [`Error::ForeignPage`]: it needs none, and a web page asks. Those of [`Tokens::presented`].
pub(crate) fn caller(
    config: &Snapshot,
    (gateway, account): (&Gateway, &str),
    (head, tokens): (&Parts, &Tokens),
    now: Timestamp,
) -> Result<Caller, Error> {
    let token = tokens
        .presented()?
        .and_then(|token| config.token(&digest(token), now))
        .filter(|token| token.opens(account, &gateway.id) && token.may(Scope::Run));
    if token.is_none() {
        match gateway.authentication {
            true => return Err(Error::Unauthorized),
            false => front::admit(&config.door, head)?,
        }
    }
    Ok(Caller {
        token: token.cloned(),
    })
}

/// The caller, as whom a request is taken whatever its headers say.
///
/// # Errors
/// [`Error::Unauthorized`]: the token does not open the gateway.
pub(crate) fn caller_as(
    token: Arc<Token>,
    (gateway, account): (&Gateway, &str),
) -> Result<Caller, Error> {
    match token.opens(account, &gateway.id) && token.may(Scope::Run) {
        true => Ok(Caller { token: Some(token) }),
        false => Err(Error::Unauthorized),
    }
}

/// Checks that the caller's token, if it has one, is for this provider.
///
/// # Errors
/// [`Error::Forbidden`].
pub(crate) fn may_ask(exchange: &Exchange, provider: &Provider) -> Result<(), Error> {
    let token = exchange
        .draft()
        .and_then(|draft| draft.caller.token.as_ref());
    match token.is_none_or(|token| token.admits_provider(provider)) {
        true => Ok(()),
        false => Err(Error::Forbidden(format!(
            "this gateway token is not for the provider '{}'",
            provider.slug
        ))),
    }
}

/// Checks that the caller's token, if it has one, is for the model of a request that is understood,
/// and for every other one that its provider may choose. A model that cannot be told may be any, and
/// is not.
///
/// # Errors
/// [`Error::Forbidden`].
pub(crate) fn may_ask_for_its_model(exchange: &Exchange, call: &Call<'_>) -> Result<(), Error> {
    let Some(draft) = exchange.draft() else {
        return Ok(());
    };
    let token = draft.caller.token.as_ref();
    let Some(token) = token.filter(|token| !token.models.is_empty()) else {
        return Ok(());
    };
    let allowed = || token.models.join(", ");
    let models = asked_models(draft, call).ok_or_else(|| {
        Error::Forbidden(format!(
            "this gateway token is for the models: {}; for which one the request is cannot be told",
            allowed()
        ))
    })?;
    let other = models.iter().find(|model| !token.admits_model(Some(model)));
    match other {
        None => Ok(()),
        Some(model) => Err(Error::Forbidden(format!(
            "this gateway token is not for the model '{model}', but for: {}",
            allowed()
        ))),
    }
}

/// Checks that what the request may cost is known, where the caller's token has a spend limit: what
/// has no price would cost it nothing. The model of an Azure deployment that no target maps is told
/// by its first answer.
///
/// # Errors
/// [`Error::Forbidden`].
pub(crate) fn has_its_price(exchange: &Exchange, call: &Call<'_>) -> Result<(), Error> {
    let Some(draft) = exchange.draft() else {
        return Ok(());
    };
    let token = draft.caller.token.as_ref();
    if !token.is_some_and(|token| token.needs_prices()) {
        return Ok(());
    }
    let route = &call.route;
    let asks_nothing = matches!(call.method, Method::GET | Method::HEAD | Method::DELETE);
    if asks_nothing
        || matches!(
            draft.operation,
            Operation::CountTokens | Operation::Moderation
        )
    {
        return Ok(());
    }
    let forbidden = |what: &str| {
        Err(Error::Forbidden(format!(
            "this gateway token has a spend limit, and {what}"
        )))
    };
    let Some(models) = asked_models(draft, call) else {
        return forbidden("what the request may cost cannot be told: it names no model");
    };
    let (prices, slug) = (draft.prices(), &route.provider.slug);
    let is_unpriced = |model: &str| {
        let price = prices.find(slug, model, draft.created_at);
        !price.is_some_and(|price| {
            let has_all =
                |charges: &&[Charge]| charges.iter().all(|one| price.rate(*one).is_some());
            billed_by(draft.operation).iter().any(has_all)
        })
    };
    let Some(model) = models.iter().find(|model| is_unpriced(model)) else {
        return Ok(());
    };
    if route.deployment.as_deref() != Some(&**model) {
        return forbidden(&format!("the price of the model '{model}' is not known"));
    }
    // The first goes alone: nobody can say what is held for it. Those that follow would be free.
    let answered = limit::served_before(exchange.sink().limits(), draft, route);
    match answered {
        Some(served) if served.is_empty() || served.iter().any(|model| is_unpriced(model)) => {
            forbidden(&format!(
                "the price of what answers as the deployment '{model}' is not known; map it in \
                 `models` of its target"
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// What answers of a kind may be billed by, the usual first: a price with all the rates of one of
/// these is one for them.
const fn billed_by(operation: Operation) -> &'static [&'static [Charge]] {
    use Charge::{
        Audio, AudioInput, AudioOutput, Character, Image, ImageOutput, Input, Output, Request,
        Search,
    };
    match operation {
        Operation::Chat
        | Operation::TextCompletion
        | Operation::Responses
        | Operation::GenerateContent
        | Operation::Other => &[&[Input, Output]],
        Operation::Embeddings
        | Operation::Moderation
        | Operation::CountTokens
        | Operation::Models => &[&[Input], &[Request]],
        Operation::Rerank => &[&[Input], &[Search], &[Request]],
        Operation::Image | Operation::Video => &[
            &[Image],
            &[Input, ImageOutput],
            &[Input, Output],
            &[Request],
        ],
        Operation::Speech => &[
            &[Character],
            &[Input, AudioOutput],
            &[Input, Output],
            &[Audio],
            &[Request],
        ],
        Operation::Transcription => &[
            &[Audio],
            &[AudioInput, Output],
            &[Input, Output],
            &[Request],
        ],
    }
}

/// Every model that may answer, at least one; `None`: it cannot be told.
fn asked_models<'d>(draft: &'d Draft, call: &'d Call<'_>) -> Option<Vec<Cow<'d, str>>> {
    let route = &*call.route;
    let asked = limit::asked_model_at(draft, route).filter(|_| is_told(draft, route));
    if !draft.names_others || route.deployment.is_some() {
        return asked.map(|model| vec![model.into()]);
    }
    let named = scan::models(call.question()?)?;
    let mapped = named
        .into_iter()
        .map(|name| limit::model_behind(&call.route, name));
    let models: Vec<_> = mapped.chain(asked.map(Cow::Borrowed)).collect();
    Some(models).filter(|models| !models.is_empty() && is_told(draft, route))
}

/// Whether what names the model is what the provider goes by: the path, or the body of a kind of call
/// that is known to be read so. Elsewhere (Hugging Face, Baseten) a `model` in the body is idle talk.
fn is_told(draft: &Draft, route: &Route) -> bool {
    let method = draft.method.as_ref().map_or("", Method::as_str);
    let by_path = || {
        let facts = isango_wire::facts::facts(route.wire, method, route.path.path());
        facts.model.is_some()
    };
    draft.operation != Operation::Other || route.deployment.is_some() || by_path()
}

fn digest(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Headers that the configuration adds for this provider.
pub(crate) fn configured_headers(route: &Route, headers: &mut HeaderMap) {
    for (name, secret) in &route.provider.headers {
        let name = HeaderName::try_from(&**name);
        let value = HeaderValue::try_from(secret.expose());
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

/// What a request is authenticated with at its provider.
#[derive(Debug)]
pub(crate) struct Presented {
    /// It brought a credential itself.
    pub(crate) own: bool,
    /// One of the operator's, or a service account that the request brought, but for a key that stands in the configuration of the target: it was
    /// put in already, or is made ready for each send ([`crate::credentials::authenticate`]).
    pub(crate) credential: Option<Arc<Credential>>,
    /// How often that may be used, which is counted when it is about to be.
    pub(crate) allowance: Option<Allowance>,
}

/// How often a stored credential may be used.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    rate: Arc<Rate>,
    provider: Box<str>,
    alias: Box<str>,
    /// The next use was counted already.
    is_taken: bool,
}

impl Allowance {
    /// Counts one more use, which is to come; only once before it does.
    ///
    /// # Errors
    /// [`Error::RateLimited`]: there were as many as there may be.
    pub(crate) fn take(&mut self, clock: &Clock) -> Result<(), Error> {
        let Self {
            rate,
            provider,
            alias,
            is_taken,
        } = self;
        if !*is_taken {
            rate.take(clock.now()).map_err(|retry_after_s| {
                let message = format!(
                    "Rate limited: credential '{alias}' of provider '{provider}' ({} requests per \
                     {} s)",
                    rate.limit, rate.period_s
                );
                Error::RateLimited(Box::new(Notice::new(&message, retry_after_s, rate.limit)))
            })?;
            *is_taken = true;
        }
        Ok(())
    }

    /// The use that was counted has come.
    pub(crate) const fn used(&mut self) {
        self.is_taken = false;
    }
}

/// Makes sure that the request has a credential for its provider: its own crosses unchanged;
/// without one, that of `alias` is used, else the target's, else the stored one by the name
/// `default`.
///
/// # Errors
/// [`Error::MissingCredential`]: there is none. [`Error::UnknownAlias`].
/// [`Error::CredentialFailed`]: it cannot be opened.
pub(crate) fn credential(
    route: &Route,
    alias: Option<&str>,
    headers: &mut HeaderMap,
) -> Result<Presented, Error> {
    let auth = &route.provider.auth;
    let query = route.path.query().unwrap_or("");
    let carried = headers.contains_key(AUTHORIZATION)
        || headers.contains_key(&*auth.header)
        || auth.also.iter().any(|slot| match slot.strip_prefix('?') {
            Some(key) => has_query_key(query, key),
            None => headers.contains_key(&**slot),
        });
    let (mut credential, mut allowance) = (None, None);
    if !carried {
        match chosen(route, alias)? {
            Some((chosen, stored)) => {
                if let Credential::Key(key) = &**chosen {
                    put(route, key, headers)?;
                }
                let is_plain = stored.is_none() && matches!(**chosen, Credential::Key(_));
                credential = (!is_plain).then(|| Arc::clone(chosen));
                let rate = stored.and_then(|stored| Some((stored, stored.rate.clone()?)));
                allowance = rate.map(|(stored, rate)| Allowance {
                    rate,
                    provider: stored.provider.clone(),
                    alias: stored.alias.clone(),
                    is_taken: false,
                });
            }
            None if auth.optional => {}
            None => return Err(missing(route)),
        }
    }
    if carried && let Some(account) = account(route, headers) {
        headers.remove(AUTHORIZATION);
        credential = Some(Arc::new(account));
    }
    move_credential(route, headers);
    Ok(Presented {
        own: carried,
        credential,
        allowance,
    })
}

/// The service account that a request brings in the place of a token (data-plane section 2.2).
fn account(route: &Route, headers: &HeaderMap) -> Option<Credential> {
    /// Shorter values are tokens: the key alone is longer.
    const SHORTEST: usize = 512;
    if route.provider.path != PathRule::Vertex {
        return None;
    }
    let value = headers
        .get(AUTHORIZATION)
        .filter(|value| value.len() >= SHORTEST)?;
    let encoded = after_bearer(value.to_str().ok()?.trim())?;
    let json = Zeroizing::new(LENIENT.decode(encoded).ok()?);
    let text = std::str::from_utf8(&json).ok()?;
    Credential::of_request(text, route.provider.token_url.as_ref())
}

/// Puts a key into the provider's header.
fn put(route: &Route, key: &Secret, headers: &mut HeaderMap) -> Result<(), Error> {
    let auth = &route.provider.auth;
    let mut value = HeaderValue::try_from(format!("{}{}", auth.prefix, key.expose()))
        .map_err(|_not_visible_ascii| missing(route))?;
    value.set_sensitive(true);
    let name = HeaderName::try_from(&*auth.header).map_err(|_not_a_header_name| missing(route))?;
    headers.insert(name, value);
    Ok(())
}

/// The operator's credential for a request that brings none, and as what it is stored.
fn chosen<'r>(route: &'r Route, alias: Option<&str>) -> Result<Option<Chosen<'r>>, Error> {
    let of_target = route
        .target
        .as_ref()
        .and_then(|target| target.credential.as_ref());
    let of_target = of_target.map(|credential| (credential, None));
    if alias.is_none() && of_target.is_some() {
        return Ok(of_target);
    }
    let slug = &route.provider.slug;
    let of_provider = || {
        route
            .gateway
            .credentials
            .iter()
            .filter(|one| one.provider == *slug)
    };
    let name = alias.unwrap_or(DEFAULT_ALIAS);
    let Some(stored) = of_provider().find(|one| *one.alias == *name) else {
        return match alias {
            None => Ok(None),
            // What a target brings needs no other name.
            Some(DEFAULT_ALIAS) if of_target.is_some() => Ok(of_target),
            Some(alias) => {
                let known: Vec<_> = of_provider()
                    .map(|one| format!("'{}'", one.alias))
                    .collect();
                Err(Error::UnknownAlias(format!(
                    "Provider '{slug}' has no BYOK credential named '{alias}'. Configured aliases: \
                     {}",
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                )))
            }
        };
    };
    let unavailable = || Error::CredentialFailed("what is stored cannot be opened".into());
    let credential = stored.credential.as_ref().ok_or_else(unavailable)?;
    Ok(Some((credential, Some(stored))))
}

/// A credential, and as what it is stored; `None`: in the configuration.
type Chosen<'r> = (&'r Arc<Credential>, Option<&'r StoredCredential>);

/// A hash of the credential of a request for a target, if it is its own; else 0. One in the query
/// counts as the operator's.
pub(crate) fn fingerprint(route: &Route, headers: &HeaderMap, presented: &Presented) -> u64 {
    if !presented.own || route.target.is_none() {
        return 0;
    }
    if let Some(credential) = &presented.credential {
        let parts = credential.identity().map(|part| hash(part.as_bytes()));
        return parts.fold(1, |all, part| mix(all ^ part));
    }
    let slots = [&*route.provider.auth.header, AUTHORIZATION.as_str()];
    let value = slots.into_iter().find_map(|slot| headers.get(slot));
    value.map_or(0, |value| hash(value.as_bytes()))
}

/// Some endpoints take a bearer key in a header of their own.
fn move_credential(route: &Route, headers: &mut HeaderMap) {
    let Some(name) = route.credential_header else {
        return;
    };
    if headers.contains_key(name) {
        return;
    }
    let value = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = value.and_then(|value| after_bearer(value.trim()));
    if let Some(mut value) = bearer.and_then(|key| HeaderValue::try_from(key).ok()) {
        value.set_sensitive(true);
        headers.remove(AUTHORIZATION);
        headers.insert(name, value);
    }
}

fn missing(route: &Route) -> Error {
    Error::MissingCredential {
        provider: route.provider.slug.clone(),
        header: route.provider.auth.header.clone(),
    }
}

fn has_query_key(query: &str, key: &str) -> bool {
    query.split('&').any(|pair| {
        pair.split_once('=')
            .is_some_and(|(name, value)| name == key && !value.is_empty())
    })
}
