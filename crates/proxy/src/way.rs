//! A request's way through its targets: which there are, in which order, and what is counted of it.

use std::sync::Arc;
use std::time::Duration;

use isango_types::Target;
use isango_types::health::Sticky;
use isango_types::policy::FallbackOn;
use isango_types::rehearsal::Stop;
use tokio::time::Instant;

use crate::Proxy;
use crate::ask::{Call, Leg};
use crate::balance::{hash, mix};
use crate::call::CallBody;
use crate::exchange::{Draft, Exchange};
use crate::health::{Ask, Fleet, Permit};
use crate::metadata;
use crate::plan::Plan;
use crate::resolve::Route;
use crate::retry::Leave;
use crate::walk::{Turn, Walk};

/// The bytes of a body that are taken for one token. What a provider counts is known only to it.
const BYTES_PER_TOKEN: usize = 4;

/// The targets that one request may be sent to.
pub(crate) struct Way {
    walk: Walk,
    targets: Vec<Arc<Target>>,
}

impl Way {
    /// The way of a request; `None`: it belongs to no target, and there is only one place for it.
    pub(crate) fn of(
        proxy: &Proxy,
        exchange: &Exchange,
        call: &Call<'_>,
        plan: &Plan<'_>,
    ) -> Option<Self> {
        let now = Instant::now();
        let route = &call.route;
        let own = route.target.as_ref()?;
        let fleet = proxy.health.fleet(&route.gateway, now)?;
        let [asked, redirected] = asks(exchange.draft(), call);
        let order = match plan.group {
            Some(group) => {
                let draft = exchange.draft()?;
                let chance = (sticky(draft, call, group), random(draft));
                Some(fleet.order(group, &asked, chance, now))
            }
            None => None,
        };
        let (targets, equals) = plan.targets(&route.gateway, own, order.as_deref());
        let step = |target: &Arc<Target>| {
            let ask = if target.name == own.name {
                asked
            } else {
                redirected
            };
            Some((Arc::clone(fleet.target(&target.name)?), ask))
        };
        let steps = targets.iter().map(step).collect::<Option<Vec<_>>>()?;
        if route.gateway.hedge.is_some() {
            fleet.may_be_hedged(now);
        }
        Some(Self {
            walk: Walk::new(Arc::clone(&fleet), steps, (equals, plan.on())),
            targets,
        })
    }

    /// The next target to ask, with its step; the record tells who was passed over.
    pub(crate) fn next(&mut self, exchange: &mut Exchange) -> Option<(usize, Permit)> {
        let now = Instant::now();
        let turn = self.walk.next(now)?;
        Some(self.tell(exchange, turn, now))
    }

    /// How long the answer of the target where the request is may take to begin before the request
    /// is sent to another one as well; `None`: that is not done.
    pub(crate) fn hedge_after(&self, leg: &Leg<'_>, call: &Call<'_>) -> Option<Duration> {
        let rule = call.route.gateway.hedge.as_ref()?;
        let now = Instant::now();
        let may_be = matches!(call.body, CallBody::Whole(_)) && self.walk.has_any(now);
        rule.delay(leg.permit().filter(|_| may_be)?.p95(now))
    }

    /// Another target for a request that is under way, if one can be asked, and if the budget of
    /// hedges allows.
    pub(crate) fn hedge(&mut self, exchange: &mut Exchange) -> Option<(usize, Permit)> {
        let now = Instant::now();
        let turn = self.walk.hedge(now)?;
        Some(self.tell(exchange, turn, now))
    }

    fn tell(&self, exchange: &mut Exchange, turn: Turn, now: Instant) -> (usize, Permit) {
        for (at, standing) in turn.passed {
            let (name, reason) = (&self.targets[at].name, standing.reason(now));
            exchange.remark(&format!("target `{name}` was passed over: it {reason}"));
        }
        if turn.panics {
            let name = &self.targets[turn.step].name;
            exchange.remark(&format!(
                "target `{name}` was asked although it rests: so do all that are left"
            ));
        }
        (turn.step, turn.permit)
    }

    /// The target of a step.
    pub(crate) fn target(&self, step: usize) -> &Arc<Target> {
        &self.targets[step]
    }

    /// When a target is asked that has not been; `None`: all have been.
    pub(crate) fn fallback(&self) -> Option<FallbackOn> {
        self.walk.fallback()
    }

    /// Whether the target that has just failed may be asked again.
    pub(crate) fn leave(&self, permit: &Permit) -> Leave {
        self.walk.leave(permit, Instant::now())
    }
}

/// Who would be asked, in this order, and how they are now. Nobody's turn is taken for it.
pub(crate) fn look(proxy: &Proxy, exchange: &Exchange, call: &Call<'_>) -> Vec<Stop> {
    let now = Instant::now();
    let route = &call.route;
    let fleet = proxy.health.fleet(&route.gateway, now);
    let (Some(own), Some(fleet), Some(draft)) = (&route.target, fleet, exchange.draft()) else {
        return vec![Stop {
            target: route.target_name().into(),
            provider: route.provider.slug.clone(),
            is_equal: true,
            is_open: true,
            why: None,
        }];
    };
    let [asked, redirected] = asks(Some(draft), call);
    // A limit that sent it elsewhere sends it nowhere else.
    let plan = Plan::of(route, exchange.wishes()).filter(|_| exchange.step() == 0);
    let (targets, equals) = match plan {
        None => (vec![Arc::clone(own)], 1),
        Some(plan) => {
            let order = plan.group.map(|group| {
                let chance = (sticky(draft, call, group), random(draft));
                fleet.look(group, &asked, chance, now)
            });
            plan.targets(&route.gateway, own, order.as_deref())
        }
    };
    let stop = |(at, target): (usize, &Arc<Target>)| {
        let ask = if target.name == own.name {
            asked
        } else {
            redirected
        };
        let health = fleet.target(&target.name);
        let standing = health.map(|health| health.standing(fleet.rules(), &ask, now));
        let shut = standing.filter(|standing| !standing.is_open());
        Stop {
            target: target.name.clone(),
            provider: target.provider.clone(),
            is_equal: at < equals,
            is_open: shut.is_none(),
            why: shut.map(|standing| standing.reason(now).into()),
        }
    };
    targets.iter().enumerate().map(stop).collect()
}

/// Leave for a request that can be sent to its own target only; `None`: it belongs to none.
pub(crate) fn enter(proxy: &Proxy, exchange: &Exchange, call: &Call<'_>) -> Option<Permit> {
    let target = call.route.target.as_ref()?;
    let now = Instant::now();
    let fleet: Arc<Fleet> = proxy.health.fleet(&call.route.gateway, now)?;
    let [asked, _] = asks(exchange.draft(), call);
    fleet.enter(&target.name, &asked, now)
}

/// Why the only target of a request is not to be asked now; `None`: it can be, or nothing is known.
pub(crate) fn rests(proxy: &Proxy, exchange: &Exchange, call: &Call<'_>) -> Option<String> {
    let name = &call.route.target.as_ref()?.name;
    let now = Instant::now();
    let fleet = proxy.health.fleet(&call.route.gateway, now)?;
    let [asked, _] = asks(exchange.draft(), call);
    let standing = fleet.target(name)?.standing(fleet.rules(), &asked, now);
    (!standing.is_open()).then(|| {
        format!(
            "target `{name}` was passed over: it {}",
            standing.reason(now)
        )
    })
}

/// What is sent to the request's own target, and to any other, where it comes with the operator's
/// credential.
fn asks(draft: Option<&Draft>, call: &Call<'_>) -> [Ask; 2] {
    let route = &call.route;
    let named = route.deployment.as_deref();
    let named = named.or_else(|| draft.and_then(|draft| draft.model.as_deref()));
    let model = named.map(|named| model_of(route, named));
    let model = model.map_or(0, |model| hash(model.as_bytes()));
    let tokens = match &call.body {
        CallBody::Whole(whole) => whole.len() / BYTES_PER_TOKEN,
        CallBody::Passing(_) | CallBody::Gone => 0,
    };
    let ask = |lane| Ask {
        lane,
        tokens: tokens as u64,
        streams: draft.is_some_and(|draft| draft.streams),
    };
    let own = match draft.map_or(0, |draft| draft.credential) {
        0 => model,
        credential => mix(model ^ credential),
    };
    [ask(own), ask(model)]
}

/// The model behind a deployment's name, which is the same at all targets.
fn model_of<'r>(route: &'r Route, named: &'r str) -> &'r str {
    let target = route.target.as_ref();
    let mapped = target.and_then(|target| target.model_of(named));
    mapped.unwrap_or(named)
}

/// A hash of what keeps the request together with others, where it has it.
fn sticky(draft: &Draft, call: &Call<'_>, group: usize) -> Option<u64> {
    let group = call.route.gateway.groups.get(group)?;
    match group.sticky.as_ref()? {
        Sticky::Header(name) => Some(hash(call.headers.get(&**name)?.as_bytes())),
        Sticky::Metadata(key) => {
            // What the token is bound to wins over what the client claims.
            let token = draft.caller.token.as_ref();
            if let Some(bound) = token.and_then(|token| token.metadata.get(key)) {
                return Some(hash(bound.to_text().as_bytes()));
            }
            let claimed = metadata::read(draft.options.metadata.as_ref()?).ok()?;
            Some(hash(claimed.entries.get(key)?.to_text().as_bytes()))
        }
    }
}

/// Chance: the random half of the request's id.
fn random(draft: &Draft) -> u64 {
    let [.., a, b, c, d, e, f, g] = *draft.id.as_bytes();
    mix(u64::from_be_bytes([0, a, b, c, d, e, f, g]))
}
