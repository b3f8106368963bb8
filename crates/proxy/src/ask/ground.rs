//! Where a request with a plan is on its way through its targets, and what it takes along.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use isango_types::health::Budget;
use isango_types::{Snapshot, Target};
use isango_wire::edit;
use tokio::time::Instant;

use super::{Answer, Best, Call, Limits, hedge, jitter, watched};
use crate::Proxy;
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::health::{LonePlace, Permit};
use crate::limit::{self, Entry};
use crate::resolve::{self, Route};
use crate::retry::{self, Failure, Leave, Next, Situation};
use crate::way::Way;
use crate::{auth, credentials, divert, headers, understand};

/// What all sends of a request share.
pub(super) struct Ground<'p> {
    pub(super) proxy: &'p Proxy,
    pub(super) config: &'p Snapshot,
    pub(super) limits: &'p Limits,
    /// The step of its own target.
    pub(super) begin: usize,
    /// Where it belongs to no target.
    pub(super) lone: Option<Lonely>,
}

/// A request that belongs to no target, and has a retry budget all the same.
pub(super) struct Lonely {
    place: LonePlace,
    budget: Budget,
}

impl Lonely {
    pub(super) fn of(proxy: &Proxy, route: &Route, now: Instant) -> Option<Self> {
        if route.target.is_some() {
            return None;
        }
        let place = LonePlace::new(&route.gateway, route.authority.as_str());
        proxy.health.lone().request(place, now);
        Some(Self {
            place,
            budget: route.gateway.retry_budget,
        })
    }
}

/// Where a request is, on its way.
pub(crate) struct Leg<'a> {
    pub(super) step: usize,
    /// The client named this target itself.
    pub(super) own: bool,
    /// `None`: as it came.
    pub(super) moved: Option<Call<'a>>,
    pub(super) permit: Option<Permit>,
}

impl Leg<'_> {
    /// At its own target.
    pub(super) const fn at(step: usize) -> Self {
        Self {
            step,
            own: true,
            moved: None,
            permit: None,
        }
    }

    /// Leave to send to the target where it is.
    pub(crate) const fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }
}

/// A body that passes, and of which a target took nothing, goes back to the request as it came.
pub(super) fn give_body_back(moved: Option<Call<'_>>, call: &mut Call<'_>) {
    if let Some(Call {
        body: passing @ CallBody::Passing(_),
        ..
    }) = moved
    {
        call.body = passing;
    }
}

impl Ground<'_> {
    /// What follows a failure, as far as the target and the retry budget allow.
    pub(super) fn next(
        &self,
        exchange: &mut Exchange,
        failure: &Failure,
        now: Situation,
        (way, permit): (Option<&Way>, Option<&Permit>),
    ) -> Next {
        let (next, why) = retry::follow(failure, now, jitter(), || match (way, permit) {
            (Some(way), Some(permit)) => way.leave(permit),
            _ => self.lone_leave(),
        });
        if let (Some(why), Some(route)) = (why, exchange.draft().and_then(|d| d.route.clone())) {
            let name = route.target_name();
            exchange.remark(&format!("`{name}` was not asked again: {why}"));
        }
        next
    }

    /// Whether a request that belongs to no target may be sent again.
    fn lone_leave(&self) -> Leave {
        let budgets = self.proxy.health.lone();
        match &self.lone {
            Some(lone) => budgets.leave(lone.place, &lone.budget, Instant::now()),
            None => Leave::Given,
        }
    }

    /// What is no failure of its provider is an answer, or the request's own fault.
    pub(super) fn ended(&self, result: &Result<Answer, Error>) {
        if let (Some(lone), Ok(_)) = (&self.lone, result) {
            self.proxy.health.lone().succeeded(lone.place);
        }
    }

    /// Sends the request where it is, and at its `first` send there to another target as well if
    /// that is slow; then, if both fail, the earlier failure comes with the later one.
    pub(super) async fn send<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        (leg, way): (&mut Leg<'a>, Option<&mut Way>),
        (first, is_last): (bool, bool),
    ) -> (Result<Answer, Error>, Option<Best>) {
        if let Some(way) = way.filter(|_| first)
            && let Some(delay) = way.hedge_after(leg, call)
        {
            return Box::pin(hedge::race(self, exchange, call, (leg, way), delay)).await;
        }
        let current = leg.moved.as_mut().unwrap_or(call);
        let how = (self.limits, is_last);
        let sending = watched(self.proxy, exchange, current, how, leg.permit.as_mut());
        (sending.await, None)
    }

    /// The next target that the request can be sent to; the record tells why others were passed
    /// over. `None`: there is none.
    ///
    /// # Errors
    /// There is none, and limits are why: of the last one that was passed over for them.
    pub(super) async fn move_on<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        way: &mut Way,
    ) -> Result<Option<Leg<'a>>, Error> {
        let mut full = None;
        while let Some(turn) = way.next(exchange) {
            let Some(mut leg) = self.leg(exchange, call, (way, turn)) else {
                continue;
            };
            let current = leg.moved.as_mut().unwrap_or(call);
            exchange.goes_to(leg.step, Arc::clone(&current.route));
            let is_last = way.fallback().is_none();
            match admit(exchange, current, Entry::Next { is_last }).await {
                Ok(()) => return Ok(Some(leg)),
                Err(error) => full = Some(error),
            }
            give_body_back(leg.moved.take(), call);
        }
        full.map_or(Ok(None), Err)
    }

    /// The request's own target, where it can be sent nowhere else.
    ///
    /// # Errors
    /// Those of a limit that is for it there.
    pub(super) async fn own<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
    ) -> Result<Leg<'a>, Error> {
        if call.route.group.is_some() {
            admit(exchange, call, Entry::Next { is_last: true }).await?;
        }
        Ok(Leg::at(self.begin))
    }

    /// The request at the target of a step, if it can be sent there; the record tells why not.
    pub(super) fn leg<'a>(
        &self,
        exchange: &mut Exchange,
        call: &mut Call<'a>,
        (way, (step, permit)): (&Way, (usize, Permit)),
    ) -> Option<Leg<'a>> {
        let target = way.target(step);
        let own = call.route.target.as_ref();
        let own = own.is_some_and(|own| own.name == target.name);
        let moved = match own {
            true => {
                let used = call.use_credential(self.proxy.sink.clock());
                used.map(|()| None)
                    .map_err(|error| without_credential(&error))
            }
            false => self.moved(exchange, call, target).map(Some),
        };
        let moved = match moved {
            Ok(moved) => moved,
            Err(why) => {
                let name = &target.name;
                exchange.remark(&format!("target `{name}` was passed over: it {why}"));
                return None;
            }
        };
        Some(Leg {
            step: self.begin + step,
            own,
            moved,
            permit: Some(permit),
        })
    }

    /// The call at another target, whose credential may be used once more.
    fn moved<'a>(
        &self,
        exchange: &Exchange,
        call: &mut Call<'a>,
        target: &Arc<Target>,
    ) -> Result<Call<'a>, String> {
        let asked = (target, None);
        let mut moved = redirect((self.proxy, self.config), exchange, call, asked)?;
        match moved.use_credential(self.proxy.sink.clock()) {
            Ok(()) => Ok(moved),
            Err(error) => {
                give_body_back(Some(moved), call);
                Err(without_credential(&error))
            }
        }
    }
}

/// Draws from the limits that are for the target of a call, which is passed over where they have no
/// room; the record tells so.
///
/// # Errors
/// What the client is told if there is no other.
pub(super) async fn admit(
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    entry: Entry,
) -> Result<(), Error> {
    if call.route.gateway.limits.is_empty() {
        return Ok(());
    }
    // Kept out of the future of every request.
    let admitting = limit::admit_at(exchange, (&call.route, &call.body), entry);
    match Box::pin(admitting).await {
        Ok(()) => {
            divert::asks_plainly(exchange, call);
            Ok(())
        }
        Err(full) => {
            let (name, rule) = (call.route.target_name(), &full.limit.id);
            exchange.remark(&format!(
                "target `{name}` was passed over: limit `{rule}` has no room"
            ));
            Err(full.passes_over(exchange, entry))
        }
    }
}

/// The call at another target: its address, its credential, its name of the model, or of the one
/// that is asked for `instead`.
///
/// # Errors
/// Why it cannot be sent there.
pub(crate) fn redirect<'a>(
    (proxy, config): (&Proxy, &Snapshot),
    exchange: &Exchange,
    call: &mut Call<'a>,
    (target, instead): (&Arc<Target>, Option<&str>),
) -> Result<Call<'a>, String> {
    let path = exchange.draft().map_or("", |draft| &*draft.path);
    let place = resolve::place(path);
    let model = exchange.draft().and_then(|draft| draft.model.as_deref());
    let (asked, model) = ((place, &call.headers), (model, instead));
    let route = resolve::redirect(config, &call.route, target, asked, model)?;
    auth::may_ask(exchange, &route.provider)
        .map_err(|_forbidden| "is of a provider that the gateway token is not for".to_owned())?;
    let mut headers = headers::for_another_target(&call.headers, &call.route.provider, &route);
    auth::configured_headers(&route, &mut headers);
    let draft = exchange.draft();
    let alias = draft.and_then(|draft| draft.options.alias.as_deref());
    let presented = auth::credential(&route, alias, &mut headers);
    let presented = presented.map_err(|error| without_credential(&error))?;
    let whole = match (&call.body, &call.original) {
        (CallBody::Whole(_), Some(original)) => Some(original.clone()),
        (CallBody::Whole(whole), None) => Some(whole.clone()),
        (CallBody::Passing(_) | CallBody::Gone, _) => None,
    };
    let signed = credentials::signed_bytes(presented.credential.as_deref());
    if signed > 0 && whole.as_ref().is_none_or(|whole| whole.len() > signed) {
        return Err("signs what it is sent, and the body is too large to be held".into());
    }
    let whole = match (whole, &route.model) {
        (whole, None) => whole,
        (Some(whole), Some(model)) if !whole.is_empty() => {
            let edited = edit::with_model(&whole, model);
            let edited = edited.ok_or("calls the model otherwise, and the body is no JSON")?;
            headers.remove(CONTENT_LENGTH);
            Some(edited.into())
        }
        (None, Some(_)) => {
            return Err("calls the model otherwise, and the body is too large".into());
        }
        (empty, Some(_)) => empty,
    };
    let body = match whole {
        Some(whole) => CallBody::Whole(whole),
        None => std::mem::replace(&mut call.body, CallBody::Gone),
    };
    let mut moved = Call {
        route: Arc::new(route),
        method: call.method.clone(),
        headers,
        credential: presented.credential,
        allowance: presented.allowance,
        body,
        original: None,
        interim: call.interim,
    };
    understand::prepare(proxy, &mut moved);
    let allowed = auth::may_ask_for_its_model(exchange, &moved)
        .and_then(|()| auth::has_its_price(exchange, &moved));
    if let Err(error) = allowed {
        give_body_back(Some(moved), call);
        return Err(format!("may not be asked: {error}"));
    }
    Ok(moved)
}

/// Why a target without a usable credential is passed over.
fn without_credential(error: &Error) -> String {
    let is_spent = matches!(error, Error::CredentialFailed(_) | Error::RateLimited(_));
    let why = match (is_spent, matches!(error, Error::UnknownAlias(_))) {
        (true, _) => "has a credential that cannot be used",
        (false, true) => "has no credential of that alias",
        (false, false) => "has no credential, and the client's is not for it",
    };
    why.to_owned()
}
