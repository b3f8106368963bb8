//! How the configured targets are: which of them rest and until when, how busy and how fast they
//! are, what their limits leave. Shared by all requests, outlives a change of the configuration,
//! and is told the time: no I/O, no timers, no tasks.
//!
//! A request without a target comes here only to retry.

mod budget;
mod circuit;
mod latency;
mod lone;
mod permit;
mod quota;
#[cfg(test)]
mod simulation;
mod target;
mod window;

use std::sync::Arc;

use isango_types::health::{Balance, TargetView};
use isango_types::{Gateway, Snapshot, Target};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use self::budget::{Account, Retries};
pub(crate) use self::circuit::Verdict;
pub(crate) use self::lone::{Lone, LonePlace};
pub(crate) use self::permit::{Busy, Permit};
pub(crate) use self::quota::Quota;
pub(crate) use self::target::{Ask, Rules, Standing, TargetHealth};
use crate::balance::{self, Candidate, Draw, Turns};

/// The health of all targets, by gateway.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// By account and id of the gateway, in that order.
    fleets: RwLock<Vec<Arc<Fleet>>>,
    lone: Lone,
}

impl Health {
    /// The targets of a gateway; `None`: it has none.
    pub(crate) fn fleet(&self, gateway: &Arc<Gateway>, now: Instant) -> Option<Arc<Fleet>> {
        if gateway.targets.is_empty() {
            return None;
        }
        let fleets = self.fleets.read();
        if let Ok(at) = place(&fleets, gateway)
            && Arc::ptr_eq(&fleets[at].gateway, gateway)
        {
            return Some(Arc::clone(&fleets[at]));
        }
        drop(fleets);
        // The first request to this gateway since it was configured, or changed.
        let mut fleets = self.fleets.write();
        match place(&fleets, gateway) {
            Ok(at) => {
                if !Arc::ptr_eq(&fleets[at].gateway, gateway) {
                    fleets[at] = Arc::new(Fleet::new(gateway, Some(&fleets[at]), now));
                }
                Some(Arc::clone(&fleets[at]))
            }
            Err(at) => {
                let fleet = Arc::new(Fleet::new(gateway, None, now));
                fleets.insert(at, Arc::clone(&fleet));
                Some(fleet)
            }
        }
    }

    /// The retry budgets of requests that belong to no target.
    pub(crate) const fn lone(&self) -> &Lone {
        &self.lone
    }

    /// Forgets the gateways that are not configured any more, and takes up the others as they are
    /// now.
    pub(crate) fn follow(&self, config: &Snapshot, now: Instant) {
        for gateway in config.gateways() {
            self.fleet(gateway, now);
        }
        let is_configured = |fleet: &Arc<Fleet>| {
            let Gateway { account, id, .. } = &*fleet.gateway;
            let found = config.gateway(account, id);
            found.is_some_and(|gateway| Arc::ptr_eq(gateway, &fleet.gateway))
        };
        self.fleets.write().retain(is_configured);
    }

    /// What operators see: every target, by account and id of its gateway and in its order.
    pub(crate) fn view(&self, now: Instant) -> Vec<TargetView> {
        let fleets = self.fleets.read().clone();
        fleets.iter().flat_map(|fleet| fleet.view(now)).collect()
    }
}

fn place(fleets: &[Arc<Fleet>], gateway: &Gateway) -> Result<usize, usize> {
    fleets.binary_search_by(|fleet| {
        let Gateway { account, id, .. } = &*fleet.gateway;
        (account, id).cmp(&(&gateway.account, &gateway.id))
    })
}

/// The targets of one gateway, as it is configured now.
#[derive(Debug)]
pub(crate) struct Fleet {
    gateway: Arc<Gateway>,
    rules: Rules,
    /// In the order of the gateway's.
    targets: Vec<Arc<TargetHealth>>,
    /// Whose turn it is, in each group.
    turns: Vec<Mutex<Turns>>,
    /// Sends beyond the first of a request, to any of them.
    retries: Mutex<Retries>,
    hedges: Mutex<Account>,
}

impl Fleet {
    /// What is known of targets that are the same as in `before` stays.
    fn new(gateway: &Arc<Gateway>, before: Option<&Self>, now: Instant) -> Self {
        let known = |target: &Target| {
            let before = before?;
            let mut held = before.gateway.targets.iter().zip(&before.targets);
            let (_, health) = held.find(|(held, _)| held.is_same_place(target))?;
            Some(Arc::clone(health))
        };
        let targets = gateway.targets.iter().map(|target| {
            known(target).unwrap_or_else(|| Arc::new(TargetHealth::new(&target.name, now)))
        });
        Self {
            gateway: Arc::clone(gateway),
            rules: Rules {
                breaker: gateway.breaker,
                retries: gateway.retry_budget,
            },
            targets: targets.collect(),
            turns: gateway.groups.iter().map(|_| Mutex::default()).collect(),
            retries: Mutex::new(Retries::new(now)),
            hedges: Mutex::new(Account::new(now)),
        }
    }

    /// The gateway that they are the targets of.
    #[cfg(test)]
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What holds for all of them.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The health of the target `name`.
    pub(crate) fn target(&self, name: &str) -> Option<&Arc<TargetHealth>> {
        self.targets.iter().find(|health| health.name() == name)
    }

    /// Lets a request through that can be sent to no other target than `name`, however that is.
    pub(crate) fn enter(&self, name: &str, ask: &Ask, now: Instant) -> Option<Permit> {
        let target = self.target(name)?;
        self.sent(true, now);
        let admitted = target.admit(&self.rules, ask, now);
        Some(admitted.unwrap_or_else(|_| target.force(&self.rules, ask, true, now)))
    }

    /// Counts a send to a target that can be asked, the `first` of its request or not. A further
    /// one leaves less for those that the budget has a say in.
    pub(crate) fn sent(&self, first: bool, now: Instant) {
        let mut retries = self.retries.lock();
        if first {
            retries.request(now);
        } else {
            retries.overdraw(now);
        }
    }

    /// Whether one more send to `target`, beyond the first of a request, is within the retry budget
    /// of the target and of all together; if so, it is counted.
    pub(crate) fn take_retry(&self, target: &TargetHealth, now: Instant) -> bool {
        let budget = &self.rules.retries;
        let has_answered = self
            .targets
            .iter()
            .fold(false, |any, one| one.has_answered() | any);
        let mut all = self.retries.lock();
        if has_answered {
            all.succeeded();
        }
        all.take_with(budget, now, || target.take_retry(budget, now))
    }

    /// Whether one more request may be sent to a second target; if so, it is counted. Each request
    /// that could be is told by [`Fleet::may_be_hedged`].
    pub(crate) fn take_hedge(&self, now: Instant) -> bool {
        let rule = self.gateway.hedge.as_ref();
        rule.is_some_and(|rule| self.hedges.lock().take(&rule.budget, now))
    }

    /// Counts a request to which hedging applies.
    pub(crate) fn may_be_hedged(&self, now: Instant) {
        self.hedges.lock().request(now);
    }

    /// In which order the members of a group are to be asked: places in the gateway's list.
    /// `sticky`: a hash of what keeps requests together; `random`: chance.
    pub(crate) fn order(
        &self,
        group: usize,
        ask: &Ask,
        chance: (Option<u64>, u64),
        now: Instant,
    ) -> Vec<usize> {
        self.ordered((group, true), ask, chance, now)
    }

    /// The same, and nobody's turn is taken for it.
    pub(crate) fn look(
        &self,
        group: usize,
        ask: &Ask,
        chance: (Option<u64>, u64),
        now: Instant,
    ) -> Vec<usize> {
        self.ordered((group, false), ask, chance, now)
    }

    fn ordered(
        &self,
        (group, takes_turn): (usize, bool),
        ask: &Ask,
        (sticky, random): (Option<u64>, u64),
        now: Instant,
    ) -> Vec<usize> {
        let (Some(rule), Some(turns)) = (self.gateway.groups.get(group), self.turns.get(group))
        else {
            return Vec::new();
        };
        let with_latency = rule.balance == Balance::LowestLatency;
        let mut probe = None;
        let members: Vec<Candidate> = rule
            .targets
            .iter()
            .enumerate()
            .map(|(member, place)| {
                let health = &self.targets[*place];
                let (is_ready, share) = match health.standing(&self.rules, ask, now) {
                    Standing::Ready(share) => (true, share),
                    Standing::Probe => {
                        probe = Some(member);
                        (true, 1.0)
                    }
                    Standing::Spent | Standing::Benched(_) | Standing::Resting(_) => (false, 1.0),
                };
                Candidate {
                    hash: health.hash(),
                    weight: self.gateway.targets[*place].weight,
                    is_ready,
                    share,
                    in_flight: health.in_flight(),
                    expected_seconds: match with_latency {
                        true => health.expected_seconds(now),
                        false => 0.0,
                    },
                }
            })
            .collect();
        let mut turns = turns.lock();
        let mut copy = (!takes_turn).then(|| turns.clone());
        let mut draw = Draw {
            balance: rule.balance,
            sticky,
            random,
            turns: copy.as_mut().unwrap_or(&mut turns),
        };
        let mut order = balance::order(&members, &mut draw);
        // Whether a target is back is found out by the next request; sticky ones stay at home.
        if let (Some(probe), None) = (probe, sticky)
            && let Some(at) = order.iter().position(|member| *member == probe)
        {
            order[..=at].rotate_right(1);
        }
        order.iter().map(|member| rule.targets[*member]).collect()
    }

    fn view(&self, now: Instant) -> Vec<TargetView> {
        let Gateway { account, id, .. } = &*self.gateway;
        let view = |health: &Arc<TargetHealth>| TargetView {
            account: account.clone(),
            gateway: id.clone(),
            target: health.name().into(),
            status: health.status(&self.rules, now),
        };
        self.targets.iter().map(view).collect()
    }
}

#[cfg(test)]
pub(crate) use self::tests::target;

#[cfg(test)]
mod tests;
