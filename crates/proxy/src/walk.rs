//! Which target of a plan is asked next: the first that can be asked; and whether one that failed is
//! asked again. Decided at the moment of asking, because that changes while a request waits. Pure:
//! the time comes in as an argument.

use std::ops::Range;
use std::sync::Arc;

use isango_types::policy::FallbackOn;
use tokio::time::Instant;

use crate::health::{Ask, Fleet, Permit, Rules, Standing, TargetHealth};
use crate::retry::Leave;

/// Why a target is not asked again.
pub(crate) const SPENT: &str = "the retry budget is spent";
const RESTS: &str = "it rests";

/// One request's way through its targets.
#[derive(Debug)]
pub(crate) struct Walk {
    fleet: Arc<Fleet>,
    steps: Vec<Step>,
    /// So many of them are equals.
    equals: usize,
    /// What an equal must fail by so that those behind are asked.
    on: FallbackOn,
    sent: bool,
}

#[derive(Debug)]
struct Step {
    health: Arc<TargetHealth>,
    ask: Ask,
    asked: bool,
    /// That it was passed over has been told.
    told: bool,
}

/// Who is asked next.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Place in the plan.
    pub(crate) step: usize,
    pub(crate) permit: Permit,
    /// The target rests, and is asked because nothing better is left.
    pub(crate) panics: bool,
    /// Places before it that were passed over, and why; each is told once.
    pub(crate) passed: Vec<(usize, Standing)>,
}

impl Walk {
    /// A way through `steps`, in this order: so many equals, and those behind, which are asked when
    /// one fails by `on`.
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        steps: impl IntoIterator<Item = (Arc<TargetHealth>, Ask)>,
        (equals, on): (usize, FallbackOn),
    ) -> Self {
        let step = |(health, ask)| Step {
            health,
            ask,
            asked: false,
            told: false,
        };
        Self {
            fleet,
            steps: steps.into_iter().map(step).collect(),
            equals,
            on,
            sent: false,
        }
    }

    /// The next target to ask; `None`: there is none, or none that another send may be spent on.
    ///
    /// That is the first that can be asked, else the first whose limits seem spent. If all rest
    /// (panic mode), it is one of these all the same: as the first send of a request always, as a
    /// further one only within the retry budget, and never where the target itself asked to be left
    /// alone.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Turn> {
        let rules = self.fleet.rules();
        let standings: Vec<_> = self
            .steps
            .iter()
            .map(|step| step.standing(rules, now))
            .collect();
        let places = |wanted: fn(Standing) -> bool| {
            let each = standings.iter().enumerate();
            each.filter_map(move |(at, standing)| standing.filter(|one| wanted(*one)).map(|_| at))
        };
        let spent = places(|standing| matches!(standing, Standing::Spent));
        // None: others were faster.
        let admitted = places(Standing::is_open)
            .chain(spent)
            .find_map(|at| Some((at, self.steps[at].admit(rules, now)?)));
        let (step, permit, panics) = match admitted {
            Some((at, permit)) => (at, permit, false),
            None => {
                let (at, permit) = self.force(&standings, now)?;
                (at, permit, true)
            }
        };
        let first = !std::mem::replace(&mut self.sent, true);
        if first || !panics {
            self.fleet.sent(first, now);
        }
        self.steps[step].asked = true;
        Some(Turn {
            step,
            permit,
            panics,
            passed: self.pass(step, &standings),
        })
    }

    /// Another target for a request that is under way: one that can be asked, within the budget of
    /// hedges.
    pub(crate) fn hedge(&mut self, now: Instant) -> Option<Turn> {
        (self.has_any(now) && self.fleet.take_hedge(now))
            .then(|| self.next(now))
            .flatten()
    }

    /// When a target is asked that has not been, be it at rest; `None`: all have been.
    pub(crate) fn fallback(&self) -> Option<FallbackOn> {
        let (equals, behind) = self.steps.split_at(self.equals.min(self.steps.len()));
        let is_left = |step: &Step| !step.asked;
        if equals.iter().any(is_left) {
            return Some(FallbackOn::default());
        }
        behind.iter().any(is_left).then_some(self.on)
    }

    /// Whether a target can be asked that has not been.
    pub(crate) fn has_any(&self, now: Instant) -> bool {
        self.has_open(0..self.steps.len(), now)
    }

    /// Whether the target that has just failed may be asked again: not while an equal can be asked
    /// instead, not if it rests by now and any other can be asked, and only within the retry
    /// budget, which it then draws on.
    pub(crate) fn leave(&self, permit: &Permit, now: Instant) -> Leave {
        if self.has_open(0..self.equals, now) {
            return Leave::Equal;
        }
        if permit.is_resting(now) && self.has_any(now) {
            return Leave::Refused(RESTS);
        }
        match self.fleet.take_retry(permit.target(), now) {
            true => Leave::Given,
            false => Leave::Refused(SPENT),
        }
    }

    /// Whether a target of these can be asked, and has not been.
    fn has_open(&self, mut steps: Range<usize>, now: Instant) -> bool {
        let standing = |step: &Step| step.standing(self.fleet.rules(), now);
        steps.any(|at| {
            let standing = self.steps.get(at).and_then(standing);
            standing.is_some_and(Standing::is_open)
        })
    }

    /// A target that rests: the one that nobody has asked for longest, so that whoever is back is
    /// found soon; else one that asked to be left alone, for the shortest time from now.
    fn force(&self, standings: &[Option<Standing>], now: Instant) -> Option<(usize, Permit)> {
        let soonest = |of: fn(&Step, Standing) -> Option<Instant>| {
            let each = self.steps.iter().zip(standings).enumerate();
            let each =
                each.filter_map(|(at, (step, standing))| Some((at, of(step, (*standing)?)?)));
            each.min_by_key(|(_, when)| *when).map(|(at, _)| at)
        };
        let resting = soonest(|step, standing| {
            matches!(standing, Standing::Resting(_)).then(|| step.health.asked())
        });
        let benched = || {
            soonest(|_, standing| match standing {
                Standing::Benched(until) => Some(until),
                Standing::Ready(_) | Standing::Probe | Standing::Spent | Standing::Resting(_) => {
                    None
                }
            })
        };
        let at = resting.or_else(|| benched().filter(|_| !self.sent))?;
        let Step { health, ask, .. } = &self.steps[at];
        if self.sent && !self.fleet.take_retry(health, now) {
            return None;
        }
        let permit = health.force(self.fleet.rules(), ask, !self.sent, now);
        Some((at, permit))
    }

    fn pass(&mut self, chosen: usize, standings: &[Option<Standing>]) -> Vec<(usize, Standing)> {
        let each = self.steps.iter_mut().zip(standings).enumerate();
        each.take(chosen)
            .filter_map(|(at, (step, standing))| {
                let passed = standing.filter(|_| !step.told)?;
                step.told = true;
                Some((at, passed))
            })
            .collect()
    }
}

impl Step {
    /// `None`: it has been asked.
    fn standing(&self, rules: &Rules, now: Instant) -> Option<Standing> {
        match self.asked {
            true => None,
            false => Some(self.health.standing(rules, &self.ask, now)),
        }
    }

    fn admit(&self, rules: &Rules, now: Instant) -> Option<Permit> {
        self.health.admit(rules, &self.ask, now).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isango_types::Gateway;
    use isango_types::health::{Breaker, Budget};

    use super::*;
    use crate::health::{Health, Verdict, target};

    /// Targets that rest after one failure; four sends may be made beyond the first.
    struct Plan {
        fleet: Arc<Fleet>,
        now: Instant,
    }

    impl Plan {
        fn new(names: &[&str]) -> Self {
            let now = Instant::now();
            let gateway = Gateway {
                targets: names.iter().map(|name| Arc::new(target(name))).collect(),
                breaker: Some(Breaker {
                    consecutive_failures: 1,
                    ..Breaker::default()
                }),
                retry_budget: Budget {
                    percent: 0,
                    floor: 4,
                },
                ..Gateway::new("local", "support")
            };
            let fleet = Health::default().fleet(&Arc::new(gateway), now).unwrap();
            Self { fleet, now }
        }

        fn target(&self, at: usize) -> &Arc<TargetHealth> {
            let name = &self.fleet.gateway().targets[at].name;
            self.fleet.target(name).unwrap()
        }

        fn admit(&self, at: usize) -> Permit {
            let ask = Ask::default();
            self.target(at)
                .admit(self.fleet.rules(), &ask, self.now)
                .unwrap()
        }

        fn walk(&self) -> Walk {
            self.walk_of(1, FallbackOn::default())
        }

        fn walk_of(&self, equals: usize, on: FallbackOn) -> Walk {
            let count = self.fleet.gateway().targets.len();
            let steps = (0..count).map(|at| (Arc::clone(self.target(at)), Ask::default()));
            Walk::new(Arc::clone(&self.fleet), steps, (equals, on))
        }

        /// The target at `at` rests from now on.
        fn fails(&self, at: usize) {
            let mut permit = self.admit(at);
            permit.ended(Verdict::Failure, None, None, self.now);
        }

        fn benches(&self, at: usize, seconds: u64) {
            self.admit(at).bench(Duration::from_secs(seconds), self.now);
        }

        /// The places that are asked in turn, `!` where in panic, each failing.
        fn asked(&self) -> String {
            let mut walk = self.walk();
            let mut asked = String::new();
            while let Some(mut turn) = walk.next(self.now) {
                turn.permit.ended(Verdict::Failure, None, None, self.now);
                let mark = if turn.panics { "!" } else { "" };
                asked += &format!("{}{mark} ", turn.step);
            }
            asked
        }
    }

    #[test]
    fn targets_that_rest_are_passed_over_and_told_once() {
        let plan = Plan::new(&["a", "b", "c"]);
        plan.fails(0);
        let mut walk = plan.walk();
        let first = walk.next(plan.now).unwrap();
        let until = plan.now + Duration::from_secs(5);
        assert_eq!(first.passed, [(0, Standing::Resting(until))]);
        assert_eq!((first.step, first.panics), (1, false));
        let second = walk.next(plan.now).unwrap();
        assert_eq!((second.step, second.passed.len()), (2, 0));
        // Meanwhile the first has rested.
        let third = walk.next(until).unwrap();
        assert_eq!((third.step, third.panics), (0, false));
        assert!(walk.next(until).is_none());
    }

    #[test]
    fn all_that_rest_are_asked_within_the_budget() {
        let plan = Plan::new(&["a", "b", "c"]);
        assert_eq!(plan.asked(), "0 1 2 ");
        // Of the floor of four, the two sends beyond the first have taken half.
        assert_eq!(plan.asked(), "0! 1! 2! ");
        assert_eq!(plan.asked(), "0! ");
        assert_eq!(plan.asked(), "0! ");
    }

    #[test]
    fn targets_that_are_down_together_have_one_floor() {
        let mut plan = Plan::new(&["a", "b", "c"]);
        let mut sends = 0;
        for _ in 0..20 {
            sends += plan.asked().split_whitespace().count();
            plan.now += Duration::from_secs(1);
        }
        // Beyond the first of each request: four in all, and what finds out who is back.
        assert!(sends <= 20 + 4 + 6, "{sends}");
    }

    #[test]
    fn a_target_that_asked_to_be_left_alone_is_asked_only_if_nobody_else_was() {
        let plan = Plan::new(&["a", "b"]);
        plan.benches(0, 3);
        assert_eq!(plan.asked(), "1 ");
        let plan = Plan::new(&["a", "b"]);
        plan.benches(0, 30);
        plan.benches(1, 20);
        assert_eq!(plan.asked(), "1! ");
    }

    #[test]
    fn of_those_that_rest_the_one_that_was_asked_longest_ago_comes_first() {
        let mut plan = Plan::new(&["a", "b"]);
        plan.fails(1);
        plan.now += Duration::from_secs(1);
        plan.fails(0);
        assert_eq!(plan.asked(), "1! 0! ");
        plan.now += Duration::from_secs(1);
        plan.target(1)
            .force(plan.fleet.rules(), &Ask::default(), true, plan.now);
        assert_eq!(plan.asked(), "0! 1! ");
    }

    #[test]
    fn a_target_that_rests_is_not_asked_again_while_another_can_be() {
        let plan = Plan::new(&["a", "b"]);
        let mut walk = plan.walk();
        let mut turn = walk.next(plan.now).unwrap();
        let permit = &mut turn.permit;
        permit.ended(Verdict::Failure, None, None, plan.now);
        assert_eq!(walk.leave(permit, plan.now), Leave::Refused(RESTS));
        plan.fails(1);
        // Nothing better is left, until the budget is spent.
        let leaves: Vec<_> = (0..6).map(|_| walk.leave(permit, plan.now)).collect();
        let (given, spent) = (Leave::Given, Leave::Refused(SPENT));
        assert_eq!(leaves, [given, given, given, given, spent, spent]);
    }

    #[test]
    fn an_equal_goes_before_a_second_try_and_a_stand_in_does_not() {
        let plan = Plan::new(&["a", "b", "c"]);
        let on = FallbackOn::named(["429"]).unwrap();
        let mut walk = plan.walk_of(2, on);
        let first = walk.next(plan.now).unwrap();
        assert_eq!(walk.leave(&first.permit, plan.now), Leave::Equal);
        assert_eq!(walk.fallback(), Some(FallbackOn::default()));
        let second = walk.next(plan.now).unwrap();
        assert_eq!(walk.leave(&second.permit, plan.now), Leave::Given);
        assert_eq!(walk.fallback(), Some(on));
        walk.next(plan.now).unwrap();
        assert_eq!(walk.fallback(), None);
    }
}
