//! Who is asked, in which order, and how often: what a request may do beyond a single send.

use std::sync::Arc;

use isango_types::Target;
use isango_types::policy::{Chain, FallbackOn, RetryPolicy};

use crate::options::Wishes;
use crate::resolve::Route;

/// What follows when the first send fails. The request's own route is step 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'r> {
    pub(crate) policy: RetryPolicy,
    chain: Option<&'r Chain>,
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
            false => (route.target.as_ref()).and_then(|target| route.gateway.chain(&target.name)),
        };
        (policy.max_attempts > 1 || chain.is_some()).then_some(Self {
            policy,
            chain,
            begin: 0,
            is_followed: false,
        })
    }

    /// The plan of a leg, which only retries: its place among all, and whether others follow.
    pub(crate) fn of_leg(policy: RetryPolicy, begin: usize, is_followed: bool) -> Self {
        Self {
            policy,
            chain: None,
            begin,
            is_followed,
        }
    }

    /// The targets behind `step`, with the step of each.
    pub(crate) fn targets_after(
        &self,
        step: usize,
    ) -> impl Iterator<Item = (usize, &'r Arc<Target>)> {
        let targets = self.chain.map_or(&[][..], |chain| &chain.to);
        targets
            .iter()
            .enumerate()
            .map(|(at, target)| (at + 1, target))
            .skip(step)
    }

    /// When the target behind `step` is asked; `None`: there is none.
    pub(crate) fn fallback_after(&self, step: usize) -> Option<FallbackOn> {
        let chain = self.chain.filter(|chain| step < chain.to.len())?;
        Some(chain.on)
    }
}
