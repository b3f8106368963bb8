//! What is to happen in a simulated world: who asks how, and which target fails when.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use isango_types::health::{Balance, Budget, Group};
use isango_types::policy::{Backoff, Chain, FallbackOn, RetryPolicy};
use isango_types::{Gateway, PriceTable, Provider, Snapshot, Target, Timestamp};

use super::{END, Millis};
use crate::balance::mix;
use crate::error::Error;
use crate::health::target;

/// The longest that a target asks to be left alone: more than anybody waits.
pub(super) const LONGEST_WAIT: Millis = 90_000;

/// Chance.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    fn one_of<T: Copy>(&mut self, members: &[T]) -> T {
        members[usize::try_from(self.below(members.len() as u64)).unwrap()]
    }
}

/// What a target does during its outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// No connection.
    Refuses,
    /// Answers with errors of its own.
    Fails,
    /// Never begins an answer.
    Hangs,
    /// Has too much to do, and says how long.
    Limits,
    /// Begins its answers and breaks them off.
    Cuts,
    /// One in four answers is an error.
    Flickers,
}

impl Mood {
    const ALL: [Self; 7] = [
        Self::Well,
        Self::Refuses,
        Self::Fails,
        Self::Hangs,
        Self::Limits,
        Self::Cuts,
        Self::Flickers,
    ];

    /// Whether no request gets an answer.
    const fn is_down(self) -> bool {
        matches!(self, Self::Refuses | Self::Fails | Self::Hangs)
    }
}

/// How a provider spells its wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Millis,
    Seconds,
    Window,
    Moment,
}

impl Form {
    /// Header and value for a wait that begins now.
    pub(super) fn spell(self, wait: Millis, now: Timestamp) -> (&'static str, String) {
        match self {
            Self::Millis => ("retry-after-ms", wait.to_string()),
            Self::Seconds => ("retry-after", (wait as f64 / 1_000.0).to_string()),
            Self::Window => ("x-ratelimit-reset-requests", format!("{wait}ms")),
            Self::Moment => {
                let moment = now.plus(Duration::from_millis(wait));
                let text = moment.encode(&mut [0; 27]).to_owned();
                ("anthropic-ratelimit-requests-reset", text)
            }
        }
    }
}

/// What becomes of a send.
#[derive(Debug)]
pub(super) enum What {
    Answer,
    /// An answer that breaks off.
    Cut,
    Status(u16),
    Limit(Form, Millis),
    Error(Error),
}

/// One target's fate: an outage in the middle.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    latency: Millis,
    pub(super) outage: Range<Millis>,
    pub(super) mood: Mood,
}

impl Fate {
    /// What becomes of a send, and after how long. `is_last`: without a first-byte timeout.
    pub(super) fn of_send(
        &self,
        (at, is_last): (Millis, bool),
        random: &mut Random,
    ) -> (What, Millis) {
        const FIRST_BYTE: Millis = 1_000;
        const PATIENCE: Millis = 40_000;
        let latency = self.latency / 2 + random.below(self.latency);
        let mood = match self.outage.contains(&at) {
            true => self.mood,
            false => Mood::Well,
        };
        match mood {
            Mood::Well => (What::Answer, latency),
            Mood::Refuses => (What::Error(Error::ConnectFailed("refused".into())), 1),
            Mood::Fails => (What::Status(random.one_of(&[500, 502, 503, 504])), latency),
            Mood::Hangs if is_last => (What::Error(Error::NoAnswer("reset".into())), PATIENCE),
            Mood::Hangs => {
                let limit_ms = FIRST_BYTE;
                (What::Error(Error::FirstByteTimeout { limit_ms }), limit_ms)
            }
            Mood::Limits => {
                let form =
                    random.one_of(&[Form::Millis, Form::Seconds, Form::Window, Form::Moment]);
                let wait = random.one_of(&[50, 400, 3_000, 20_000, LONGEST_WAIT]);
                (What::Limit(form, wait), latency)
            }
            Mood::Cuts => (What::Cut, latency),
            Mood::Flickers if random.below(4) == 0 => (What::Status(500), latency),
            Mood::Flickers => (What::Answer, latency),
        }
    }
}

/// A world to come.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) fates: Vec<Fate>,
    /// Of the group that the first of them are; `None`: there is no group.
    balance: Option<Balance>,
    /// So many are equals; those behind are the chain of the first.
    equals: usize,
    pub(super) policy: RetryPolicy,
    /// The time that a request may take in all.
    pub(super) deadline: Option<Millis>,
    /// Milliseconds between requests, on average.
    pub(super) pause: Millis,
}

impl Script {
    pub(super) fn from(seed: u64) -> Self {
        let mut random = Random(mix(seed));
        let count = random.within(1, 5);
        let all_at_once = random.below(3) == 0;
        let common = random.within(20_000, 40_000);
        let fates = (0..count).map(|_| {
            let own = random.within(20_000, 40_000);
            let begin = if all_at_once { common } else { own };
            Fate {
                mood: random.one_of(&Mood::ALL),
                latency: random.within(20, 400),
                outage: begin..begin + random.within(20_000, 80_000),
            }
        });
        let fates: Vec<_> = fates.collect();
        let balances = [
            None,
            Some(Balance::Weighted),
            Some(Balance::LeastBusy),
            Some(Balance::LowestLatency),
        ];
        let deadline = random.within(5_000, 30_000);
        let balance = random.one_of(&balances).filter(|_| count > 1);
        let equals = match balance {
            Some(_) => usize::try_from(random.within(2, count + 1)).unwrap(),
            None => 1,
        };
        Self {
            seed,
            balance,
            equals,
            policy: RetryPolicy {
                // Alone and without a second attempt there is no plan.
                max_attempts: u8::try_from(random.within(if count > 1 { 1 } else { 2 }, 6))
                    .unwrap(),
                delay: Duration::from_millis(random.below(1_000)),
                backoff: random.one_of(&Backoff::ALL),
            },
            deadline: random.one_of(&[None, Some(deadline)]),
            pause: random.within(5, 20),
            fates,
        }
    }

    /// The configuration, and the path that is asked for.
    pub(super) fn config(&self, is_unlimited: bool) -> (Snapshot, String) {
        let of = |at: usize| Target {
            provider: "openai".into(),
            ..target(&format!("target-{at}"))
        };
        let targets: Vec<_> = (0..self.fates.len()).map(|at| Arc::new(of(at))).collect();
        let group = |balance| Group {
            name: "equals".into(),
            targets: (0..self.equals).collect(),
            balance,
            sticky: None,
        };
        let behind = targets.get(self.equals..).unwrap_or_default();
        let chain = (!behind.is_empty()).then(|| Chain {
            from: "target-0".into(),
            to: behind.to_vec(),
            on: FallbackOn::default(),
        });
        let unlimited = Budget {
            percent: 100,
            floor: u32::MAX,
        };
        let gateway = Gateway {
            targets,
            groups: self.balance.map(group).into_iter().collect(),
            fallback: chain.into_iter().collect(),
            retry_budget: if is_unlimited {
                unlimited
            } else {
                Budget::RETRIES
            },
            ..Gateway::new("local", "simulated")
        };
        let providers = Provider::built_in().unwrap();
        let prices = Arc::new(PriceTable::default());
        let entrance = match self.balance {
            Some(_) => "equals",
            None => "target-0",
        };
        let config = Snapshot::new(vec![gateway], providers, prices, None, Vec::new());
        (
            config,
            format!("/v1/local/simulated/{entrance}/chat/completions"),
        )
    }

    /// The place of a target, by its name.
    pub(super) fn place(&self, name: &str) -> usize {
        name.strip_prefix("target-").unwrap().parse().unwrap()
    }

    /// Whether requests come to this target before any other has failed.
    pub(super) fn is_asked_first(&self, target: usize) -> bool {
        target < self.equals
    }

    /// What the wait before the next attempt is without chance.
    pub(super) fn shape(&self, tried: u8) -> Duration {
        let delay = self.policy.delay;
        match self.policy.backoff {
            Backoff::Constant => delay,
            Backoff::Linear => delay * u32::from(tried),
            Backoff::Exponential => delay * (1 << (tried - 1)),
        }
    }

    /// Whether a target is well, and did not ask to be left alone for longer than its outage.
    pub(super) fn is_sound(&self, at: Millis) -> bool {
        let is_well = |fate: &Fate| {
            let said = match fate.mood {
                Mood::Limits => LONGEST_WAIT,
                Mood::Well
                | Mood::Refuses
                | Mood::Fails
                | Mood::Hangs
                | Mood::Cuts
                | Mood::Flickers => 0,
            };
            let outage = fate.outage.start..fate.outage.end + said;
            fate.mood == Mood::Well || !outage.contains(&at)
        };
        self.fates.iter().any(is_well)
    }

    /// Times in which targets are down and nothing changes, from `noticed` after the change on.
    pub(super) fn outages(&self, noticed: Millis) -> Vec<(Millis, Millis)> {
        let mut edges: Vec<_> = self
            .fates
            .iter()
            .flat_map(|fate| [fate.outage.start, fate.outage.end])
            .collect();
        edges.push(END);
        edges.sort_unstable();
        let spans = edges.windows(2).map(|pair| (pair[0], pair[1].min(END)));
        let is_outage = |from: Millis| {
            let moods = self.fates.iter().filter(|fate| fate.outage.contains(&from));
            let moods: Vec<_> = moods
                .map(|fate| fate.mood)
                .filter(|m| *m != Mood::Well)
                .collect();
            !moods.is_empty() && moods.iter().all(|mood| mood.is_down())
        };
        spans
            .filter(|(from, _)| is_outage(*from))
            .map(|(from, to)| (from + noticed, to))
            .filter(|(from, to)| *to >= *from + 10_000)
            .collect()
    }
}
