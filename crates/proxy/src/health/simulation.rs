//! A deterministic simulation: clients, targets with scripted outages, and virtual time, all from a
//! seed. It drives what a request is driven by: the balance of a group, the walk through its
//! targets, the retry budget, the breakers.
//!
//! A failure names its seed. `ISANGO_SEED=… cargo nextest run -p isango-proxy simulation` replays
//! that one and prints every send.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use isango_types::Gateway;
use isango_types::health::{Balance, Breaker, CircuitState, Group};
use proptest::prelude::*;

use super::*;
use crate::balance::mix;
use crate::walk::{Turn, Walk};

/// Milliseconds since the beginning.
type Millis = u64;

/// How long it goes on.
const END: Millis = 200_000;
/// The time after which an outage is noticed, and nothing of the retry budget is left from before.
const NOTICED: Millis = 5_000;

/// Chance.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }
}

/// What a target does at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Refuses,
    Fails,
    Hangs,
}

/// One target's fate: an outage in the middle.
#[derive(Clone, Debug)]
struct Fate {
    latency: Millis,
    outage: std::ops::Range<Millis>,
    mood: Mood,
}

impl Fate {
    /// What becomes of a send, and when.
    fn of_send(&self, at: Millis, random: &mut Random) -> (Verdict, Millis) {
        let latency = self.latency / 2 + random.below(self.latency);
        match self.outage.contains(&at).then_some(self.mood) {
            None | Some(Mood::Well) => (Verdict::Success, latency),
            Some(Mood::Refuses) => (Verdict::Failure, 1),
            Some(Mood::Fails) => (Verdict::Failure, latency),
            // The first-byte timeout.
            Some(Mood::Hangs) => (Verdict::Failure, 1_000),
        }
    }
}

/// A world to come.
#[derive(Clone, Debug)]
struct Script {
    seed: u64,
    fates: Vec<Fate>,
    balance: Option<Balance>,
    max_attempts: u8,
    delay: Millis,
    /// Milliseconds between requests, on average.
    pause: Millis,
}

impl Script {
    fn from(seed: u64) -> Self {
        let mut random = Random(mix(seed));
        let count = random.within(1, 5);
        let all_at_once = random.below(3) == 0;
        let common = random.within(20_000, 40_000);
        let fates = (0..count).map(|_| {
            let own = random.within(20_000, 40_000);
            let begin = if all_at_once { common } else { own };
            let mood = [Mood::Well, Mood::Refuses, Mood::Fails, Mood::Hangs];
            let mood = mood[usize::try_from(random.below(4)).unwrap()];
            Fate {
                latency: random.within(20, 400),
                outage: begin..begin + random.within(20_000, 80_000),
                mood,
            }
        });
        let fates = fates.collect();
        let balances = [
            None,
            Some(Balance::Weighted),
            Some(Balance::LeastBusy),
            Some(Balance::LowestLatency),
        ];
        Self {
            seed,
            fates,
            balance: balances[usize::try_from(random.below(4)).unwrap()],
            max_attempts: u8::try_from(random.within(1, 6)).unwrap(),
            delay: random.within(1, 500),
            pause: random.within(5, 20),
        }
    }

    fn gateway(&self) -> Gateway {
        let group = |balance| Group {
            name: "all".into(),
            targets: (0..self.fates.len()).collect(),
            balance,
            sticky: None,
        };
        Gateway {
            targets: (0..self.fates.len())
                .map(|at| Arc::new(target(&format!("target-{at}"))))
                .collect(),
            groups: self.balance.map(group).into_iter().collect(),
            ..Gateway::new("local", "simulated")
        }
    }

    /// Targets that are down at `at`, and have been for long enough to be noticed.
    fn is_down(&self, target: usize, at: Millis) -> bool {
        let fate = &self.fates[target];
        fate.mood != Mood::Well && fate.outage.contains(&at)
    }
}

/// One client's request.
struct Journey {
    walk: Walk,
    turn: Option<Turn>,
    /// Where the turn's target stands in the gateway's list.
    target: usize,
    order: Vec<usize>,
    tried: u8,
    probes: bool,
}

enum Event {
    Arrives,
    Ends(Journey, Verdict, Millis),
    Again(Journey),
}

struct World {
    script: Script,
    fleet: Arc<Fleet>,
    begun: Instant,
    random: Random,
    events: BTreeMap<(Millis, u64), Event>,
    count: u64,
    now: Millis,
    /// When each request came, and when anything was sent.
    requests: Vec<Millis>,
    sends: Vec<(Millis, usize)>,
    probing: Vec<u32>,
    answered: Vec<Millis>,
    log: String,
    /// Times at which each target was found to be back.
    back: Vec<Option<Millis>>,
}

impl World {
    fn new(script: Script) -> Self {
        let begun = Instant::now();
        let gateway = Arc::new(script.gateway());
        let fleet = Health::default().fleet(&gateway, begun).unwrap();
        let targets = script.fates.len();
        let mut world = Self {
            random: Random(mix(!script.seed)),
            script,
            fleet,
            begun,
            events: BTreeMap::new(),
            count: 0,
            now: 0,
            requests: Vec::new(),
            sends: Vec::new(),
            probing: vec![0; targets],
            answered: Vec::new(),
            log: String::new(),
            back: vec![None; targets],
        };
        world.after(0, Event::Arrives);
        world
    }

    fn at(&self, ms: Millis) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    fn after(&mut self, ms: Millis, event: Event) {
        self.count += 1;
        self.events.insert((self.now + ms, self.count), event);
    }

    fn run(mut self) -> Self {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            match event {
                Event::Arrives => self.arrive(),
                Event::Ends(journey, verdict, took) => self.end(journey, verdict, took),
                Event::Again(journey) => self.send(journey),
            }
        }
        self
    }

    fn arrive(&mut self) {
        let now = self.at(self.now);
        let ask = Ask::default();
        let order = match self.script.balance {
            Some(_) => {
                let random = self.random.below(u64::MAX);
                self.fleet.order(0, &ask, (None, random), now)
            }
            None => (0..self.script.fates.len()).collect(),
        };
        let healths = order
            .iter()
            .map(|at| (Arc::clone(&self.fleet.targets[*at]), ask));
        let walk = Walk::new(Arc::clone(&self.fleet), healths.collect::<Vec<_>>());
        self.requests.push(self.now);
        self.move_on(Journey {
            walk,
            turn: None,
            target: 0,
            order,
            tried: 0,
            probes: false,
        });
        if self.now < END {
            let pause = 1 + self.random.below(2 * self.script.pause);
            self.after(pause, Event::Arrives);
        }
    }

    /// The next target, if there is one.
    fn move_on(&mut self, mut journey: Journey) {
        let now = self.at(self.now);
        let Some(turn) = journey.walk.next(now) else {
            return;
        };
        journey.target = journey.order[turn.step];
        journey.tried = 0;
        let status = self.fleet.targets[journey.target].status(self.fleet.rules(), now);
        journey.probes = status.circuit == CircuitState::HalfOpen && !turn.panics;
        if journey.probes {
            self.probing[journey.target] += 1;
            // Hanging probes end with their timeout, before they are given up.
            assert_eq!(
                self.probing[journey.target], 1,
                "two probes at {}",
                self.now
            );
        }
        journey.turn = Some(turn);
        self.send(journey);
    }

    fn send(&mut self, mut journey: Journey) {
        let now = self.at(self.now);
        journey.tried += 1;
        assert!(
            journey.tried <= self.script.max_attempts,
            "one attempt too many"
        );
        self.sends.push((self.now, journey.target));
        if let Some(turn) = journey.turn.as_mut()
            && journey.tried > 1
        {
            turn.permit.begin(now);
        }
        let fate = &self.script.fates[journey.target];
        let (verdict, takes) = fate.of_send(self.now, &mut self.random);
        writeln!(
            self.log,
            "{} target-{} {}{verdict:?} after {takes}",
            self.now,
            journey.target,
            if journey.probes { "probe " } else { "" },
        )
        .unwrap();
        self.after(takes, Event::Ends(journey, verdict, takes));
    }

    fn end(&mut self, mut journey: Journey, verdict: Verdict, took: Millis) {
        let now = self.at(self.now);
        let permit = &mut journey.turn.as_mut().unwrap().permit;
        permit.ended(verdict, Some(Duration::from_millis(took)), None, now);
        if std::mem::take(&mut journey.probes) {
            self.probing[journey.target] -= 1;
        }
        if verdict == Verdict::Success {
            let outage = &self.script.fates[journey.target].outage;
            if self.now >= outage.end {
                self.back[journey.target].get_or_insert(self.now);
            }
            self.answered.push(self.now);
            return;
        }
        let may_try = journey.tried < self.script.max_attempts;
        if may_try && journey.walk.may_retry(permit, now) {
            let delay = self.script.delay;
            self.after(delay, Event::Again(journey));
        } else {
            self.move_on(journey);
        }
    }

    /// Sends and requests within a time.
    fn count(&self, of: impl Fn(Millis) -> bool) -> (usize, usize) {
        let sends = self.sends.iter().filter(|(at, _)| of(*at)).count();
        (sends, self.requests.iter().filter(|at| of(**at)).count())
    }

    fn check(&self) {
        let seed = self.script.seed;
        self.check_multiplication();
        for (target, fate) in self.script.fates.iter().enumerate() {
            // With other targets before it in a chain, nobody may need it.
            let is_needed = self.script.balance.is_some() || target == 0;
            if fate.mood == Mood::Well || !is_needed {
                continue;
            }
            let back = self.back[target].map(|back| back - fate.outage.end);
            let longest = u64::try_from(Breaker::default().max_rest.as_millis()).unwrap();
            assert!(
                back.is_some_and(|back| back <= longest + 1_500),
                "seed {seed}: target-{target} was found to be back after {back:?} ms"
            );
        }
        let is_sound = |at: Millis| {
            (0..self.script.fates.len()).any(|target| !self.script.is_down(target, at))
        };
        assert!(
            self.answered.len() > self.requests.iter().filter(|at| is_sound(**at)).count() * 9 / 10,
            "seed {seed}: too few answers"
        );
    }

    /// Once an outage has been noticed, it is not multiplied.
    fn check_multiplication(&self) {
        let seed = self.script.seed;
        let fates = self
            .script
            .fates
            .iter()
            .filter(|fate| fate.mood != Mood::Well);
        for fate in fates {
            // Until anything else happens.
            let edges = self
                .script
                .fates
                .iter()
                .flat_map(|fate| [fate.outage.start, fate.outage.end]);
            let from = fate.outage.start + NOTICED;
            let next = edges.filter(|edge| *edge > fate.outage.start).min();
            let to = next.unwrap_or(END);
            if to < from + 10_000 {
                continue;
            }
            let (sends, requests) = self.count(|at| (from..to).contains(&at));
            assert!(
                sends * 100 <= requests * 120 + 500,
                "seed {seed}: {sends} sends for {requests} requests from {from} to {to}"
            );
        }
    }
}

fn run(seed: u64) -> World {
    let world = World::new(Script::from(seed)).run();
    let left: u32 = world
        .fleet
        .targets
        .iter()
        .map(|target| target.in_flight())
        .sum();
    assert_eq!(left, 0, "seed {seed}: requests are left");
    world.check();
    world
}

/// Seeds that are always run; one that failed joins them.
const SEEDS: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test]
fn outages_are_not_multiplied_and_their_end_is_found() {
    #[expect(clippy::disallowed_methods, reason = "the seed of a run to replay")]
    let asked = std::env::var("ISANGO_SEED").ok();
    if let Some(seed) = asked {
        let seed = seed.parse().unwrap();
        let world = World::new(Script::from(seed)).run();
        println!("{:#?}\n{}", world.script, world.log);
        world.check();
        return;
    }
    for seed in SEEDS {
        run(seed);
    }
}

#[test]
fn a_seed_replays() {
    let [first, second] = [(); 2].map(|()| run(SEEDS[0]).log);
    assert!(first.lines().count() > 1_000);
    assert_eq!(first, second);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_world_holds(seed: u64) {
        run(seed);
    }
}
