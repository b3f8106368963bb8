//! Who is asked, in which order, and how often: what a request may do beyond a single send.

use std::sync::Arc;

use isango_types::policy::{Chain, FallbackOn, RetryPolicy};
use isango_types::{Gateway, Target};

use crate::options::Wishes;
use crate::resolve::Route;

/// What a request may do beyond a single send to its own target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'r> {
    pub(crate) policy: RetryPolicy,
    pub(crate) chain: Option<&'r Chain>,
    /// The group whose members share the request.
    pub(crate) group: Option<usize>,
    /// The step of the request's own route.
    pub(crate) begin: usize,
    /// Something else is tried when this plan has failed.
    pub(crate) is_followed: bool,
}

impl<'r> Plan<'r> {
    /// The plan of a request for `route`; `None`: it is sent once, and that is all.
    pub(crate) fn of(route: &'r Route, wishes: Wishes) -> Option<Self> {
        let policy = wishes.over(route.gateway.retry);
        // Most gateways have no chain, and most requests no target that could begin one.
        let chain = match route.gateway.fallback.is_empty() {
            true => None,
            false => chain(route),
        };
        let group = route.group;
        let may_repeat = policy.max_attempts > 1 || chain.is_some() || group.is_some();
        may_repeat.then_some(Self {
            policy,
            chain,
            group,
            begin: 0,
            is_followed: false,
        })
    }

    /// The plan of a leg, which only retries: its place among all, and whether others follow.
    pub(crate) const fn of_leg(policy: RetryPolicy, begin: usize, is_followed: bool) -> Self {
        Self {
            policy,
            chain: None,
            group: None,
            begin,
            is_followed,
        }
    }

    /// The targets that may be asked, in this order, and how many of them are equals: `order` of the
    /// group, as places among the gateway's targets, or else the request's `own`; then the chain.
    pub(crate) fn targets(
        &self,
        gateway: &Gateway,
        own: &Arc<Target>,
        order: Option<&[usize]>,
    ) -> (Vec<Arc<Target>>, usize) {
        let mut targets: Vec<_> = match order {
            Some(order) => {
                let at = |at: &usize| gateway.targets.get(*at).map(Arc::clone);
                order.iter().filter_map(at).collect()
            }
            None => vec![Arc::clone(own)],
        };
        let equals = targets.len();
        for target in self.chain.map_or(&[][..], |chain| &chain.to) {
            if !targets.iter().any(|one| one.name == target.name) {
                targets.push(Arc::clone(target));
            }
        }
        (targets, equals)
    }

    /// What the chain is for.
    pub(crate) fn on(&self) -> FallbackOn {
        self.chain.map(|chain| chain.on).unwrap_or_default()
    }

    /// Whether nothing follows the attempt that makes it `tried` at its target, if that fails.
    /// `fallback`: the conditions of the next target.
    pub(crate) fn is_last(&self, tried: u8, fallback: Option<FallbackOn>) -> bool {
        !self.is_followed && fallback.is_none() && tried >= self.policy.max_attempts
    }
}

/// Who is asked when the target fails, or its whole group.
fn chain(route: &Route) -> Option<&Chain> {
    let gateway = &route.gateway;
    let own = route.target.as_ref().map(|target| &*target.name);
    let group = route.group.and_then(|group| gateway.groups.get(group));
    let members = group.map_or(&[][..], |group| &group.targets);
    let members = members.iter().map(|at| &*gateway.targets[*at].name);
    own.into_iter()
        .chain(members)
        .find_map(|name| gateway.chain(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::target;

    const ONCE: RetryPolicy = RetryPolicy {
        max_attempts: 1,
        delay: std::time::Duration::ZERO,
        backoff: isango_types::policy::Backoff::Constant,
    };

    proptest! {
        #[test]
        fn every_target_is_in_a_plan_once_and_equals_come_first(
            count in 1..9_usize,
            order in prop::option::of(prop::collection::hash_set(0..9_usize, 1..9)),
            chain in prop::collection::vec(0..9_usize, 0..9),
        ) {
            let targets: Vec<_> =
                (0..count).map(|at| Arc::new(target(&format!("target-{at}")))).collect();
            let gateway = Gateway { targets, ..Gateway::new("local", "g") };
            let all = &gateway.targets;
            let order = order.map(|order| {
                order.into_iter().filter(|at| *at < count).collect::<Vec<_>>()
            });
            let chain = Chain {
                from: all[0].name.clone(),
                to: chain.iter().filter_map(|at| all.get(*at)).map(Arc::clone).collect(),
                on: FallbackOn::default(),
            };
            let plan = Plan { chain: Some(&chain), ..Plan::of_leg(ONCE, 0, false) };
            let (planned, equals) = plan.targets(&gateway, &all[0], order.as_deref());
            let names: Vec<_> = planned.iter().map(|target| &target.name).collect();
            let once: std::collections::BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(once.len(), names.len());
            let first = order.unwrap_or_else(|| vec![0]);
            let first: Vec<_> = first.iter().map(|at| &all[*at].name).collect();
            prop_assert_eq!(&names[..equals], &first[..]);
            prop_assert!(chain.to.iter().all(|target| names.contains(&&target.name)));
        }

        #[test]
        fn an_attempt_is_the_last_only_if_nothing_can_follow(
            max_attempts in 1..=5_u8,
            tried in 1..=5_u8,
            is_followed: bool,
            has_fallback: bool,
        ) {
            let policy = RetryPolicy { max_attempts, ..ONCE };
            let fallback = has_fallback.then(FallbackOn::default);
            let is_last = Plan::of_leg(policy, 0, is_followed).is_last(tried, fallback);
            prop_assert_eq!(is_last, tried >= max_attempts && !is_followed && !has_fallback);
        }
    }
}
