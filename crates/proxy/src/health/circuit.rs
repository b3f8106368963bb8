//! A circuit breaker: after too many failures a target rests, then one request probes it.

use std::time::Duration;

use isango_types::health::Breaker;
use tokio::time::Instant;

use super::window::Window;

/// What a send says about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered.
    Success,
    /// It answered that there is too much to do: it lives, and says itself how long to wait.
    Busy,
    /// No connection, no answer in the time that the operator allows, or an error of its own.
    Failure,
    /// Nothing: the client left, a hedge won, or the client's own timeout was over.
    Nothing,
}

/// How a target stands with its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is asked.
    Closed,
    /// It is left alone until then.
    Resting { until: Instant },
    /// One request has been asking since then whether it is back.
    Probing { since: Instant },
}

/// The breaker of one target.
#[derive(Debug)]
pub(super) struct Circuit {
    phase: Phase,
    failed_in_a_row: u32,
    /// Sends and, of these, failures.
    window: Window,
    /// When it opened or was found broken last.
    opened: Instant,
    closed: Instant,
    /// How long the last rest was; zero: there was none, or it is long ago.
    rest: Duration,
}

impl Circuit {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Closed,
            failed_in_a_row: 0,
            window: Window::new(Breaker::default().window, now),
            opened: now,
            closed: now,
            rest: Duration::ZERO,
        }
    }

    /// Where it stands. A probe without an answer for the longest rest is given up.
    pub(super) fn phase(&self, rules: &Breaker, now: Instant) -> Phase {
        match self.phase {
            Phase::Probing { since } if now.saturating_duration_since(since) >= rules.max_rest => {
                Phase::Resting {
                    until: since + rules.max_rest,
                }
            }
            Phase::Closed | Phase::Resting { .. } | Phase::Probing { .. } => self.phase,
        }
    }

    /// One request will find out whether the target is back. Only where its rest is over.
    pub(super) fn probe(&mut self, now: Instant) {
        self.phase = Phase::Probing { since: now };
    }

    /// What a send says that began at `began`; `probes`: when it was let through to find out.
    pub(super) fn ended(
        &mut self,
        rules: &Breaker,
        verdict: Verdict,
        (began, probes): (Instant, Option<Instant>),
        now: Instant,
    ) {
        // Of two probes, one of which was given up, only the later one decides.
        let probes = probes.is_some_and(|since| self.phase == (Phase::Probing { since }));
        match (self.phase, verdict) {
            (Phase::Closed, Verdict::Success) => {
                self.failed_in_a_row = 0;
                self.count([1, 0], rules, now);
            }
            (Phase::Closed, Verdict::Failure) => {
                self.failed_in_a_row += 1;
                self.count([1, 1], rules, now);
                if self.is_failing(rules, now) {
                    self.open(rules, now);
                }
            }
            (Phase::Closed, Verdict::Busy | Verdict::Nothing) => {}
            // Also what was sent although it rests. What was sent before says nothing.
            (Phase::Resting { .. } | Phase::Probing { .. }, Verdict::Success | Verdict::Busy) => {
                if probes || began > self.opened {
                    self.close(now);
                }
            }
            (Phase::Resting { .. } | Phase::Probing { .. }, Verdict::Failure) if probes => {
                self.open(rules, now);
            }
            (Phase::Resting { .. } | Phase::Probing { .. }, Verdict::Nothing) if probes => {
                self.phase = Phase::Resting { until: now };
            }
            (
                Phase::Resting { .. } | Phase::Probing { .. },
                Verdict::Failure | Verdict::Nothing,
            ) => {}
        }
    }

    /// The answer to a send that began at `began` had begun, and then broke off: the send failed after
    /// all. `in_a_row`: so many did since one came to its end.
    pub(super) fn broke_off(
        &mut self,
        rules: &Breaker,
        began: Instant,
        in_a_row: u32,
        now: Instant,
    ) {
        // What was sent before its rest says nothing of it now.
        if self.phase != Phase::Closed || began <= self.opened {
            return;
        }
        // Its beginning was counted as a success.
        self.count([0, 1], rules, now);
        if in_a_row >= rules.consecutive_failures || self.is_failing(rules, now) {
            self.open(rules, now);
        }
    }

    fn count(&mut self, counts: [u32; 2], rules: &Breaker, now: Instant) {
        if self.window.span() != rules.window {
            self.window = Window::new(rules.window, now);
        }
        self.window.add(counts, now);
    }

    fn is_failing(&mut self, rules: &Breaker, now: Instant) -> bool {
        let [sends, failures] = self.window.sums(now);
        let share = u64::from(failures) * 100;
        self.failed_in_a_row >= rules.consecutive_failures
            || sends >= rules.min_requests
                && share >= u64::from(rules.failure_percent) * u64::from(sends)
    }

    /// Each rest is twice as long as the one before, unless it was well for as long as that.
    fn open(&mut self, rules: &Breaker, now: Instant) {
        let was_well =
            self.phase == Phase::Closed && now.saturating_duration_since(self.closed) > self.rest;
        self.rest = if was_well || self.rest.is_zero() {
            rules.rest
        } else {
            self.rest.saturating_mul(2)
        };
        self.rest = self.rest.min(rules.max_rest);
        self.opened = now;
        self.phase = Phase::Resting {
            until: now + self.rest,
        };
    }

    fn close(&mut self, now: Instant) {
        self.phase = Phase::Closed;
        self.closed = now;
        self.failed_in_a_row = 0;
        self.window = Window::new(self.window.span(), now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Breaker = Breaker {
        consecutive_failures: 3,
        failure_percent: 50,
        min_requests: 8,
        window: Duration::from_secs(10),
        rest: Duration::from_secs(5),
        max_rest: Duration::from_secs(30),
    };

    struct Bench {
        circuit: Circuit,
        begun: Instant,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                circuit: Circuit::new(now),
                begun: now,
                now,
            }
        }

        fn at(&mut self, seconds: u64) -> &mut Self {
            self.now = self.begun + Duration::from_secs(seconds);
            self
        }

        fn send(&mut self, verdicts: &str) -> &mut Self {
            for verdict in verdicts.chars() {
                let verdict = match verdict {
                    '.' => Verdict::Success,
                    'b' => Verdict::Busy,
                    'x' => Verdict::Failure,
                    _ => Verdict::Nothing,
                };
                let sent = (self.now, None);
                self.circuit.ended(&RULES, verdict, sent, self.now);
            }
            self
        }

        /// The answer to what was sent at that second breaks off, as the so-many-th in a row.
        fn breaks_off(&mut self, sent: u64, in_a_row: u32) -> &mut Self {
            let began = self.begun + Duration::from_secs(sent);
            self.circuit.broke_off(&RULES, began, in_a_row, self.now);
            self
        }

        fn probe(&mut self, verdict: Verdict) -> &mut Self {
            self.circuit.probe(self.now);
            self.circuit
                .ended(&RULES, verdict, (self.now, Some(self.now)), self.now);
            self
        }

        /// Seconds from the beginning until it may be asked; `None`: at once.
        fn until(&self) -> Option<u64> {
            match self.circuit.phase(&RULES, self.now) {
                Phase::Closed => None,
                Phase::Resting { until } => Some((until - self.begun).as_secs()),
                Phase::Probing { .. } => panic!("it is probed"),
            }
        }
    }

    #[test]
    fn failures_in_a_row_make_it_rest() {
        assert_eq!(Bench::new().send("xx.xxb?x").until(), Some(5));
        assert_eq!(Bench::new().send("xx.xx.b?").until(), None);
    }

    #[test]
    fn answers_that_break_off_make_it_rest() {
        let mut bench = Bench::new();
        assert_eq!(bench.at(1).send(".").breaks_off(1, 1).until(), None);
        assert_eq!(bench.send(".").breaks_off(1, 2).until(), None);
        assert_eq!(bench.send(".").breaks_off(1, 3).until(), Some(6));
        // Those that were sent before say nothing new, and one that finds it back is enough.
        assert_eq!(bench.at(7).breaks_off(1, 4).until(), Some(6));
        assert_eq!(bench.probe(Verdict::Success).until(), None);
        assert_eq!(bench.breaks_off(1, 5).until(), None);
        assert_eq!(bench.at(8).breaks_off(7, 6).until(), Some(18));
        // Of many, as many as may fail otherwise.
        let mut bench = Bench::new();
        bench.at(1).send("........");
        assert_eq!(bench.breaks_off(1, 1).breaks_off(1, 1).until(), None);
        assert_eq!(bench.breaks_off(1, 1).breaks_off(1, 1).until(), Some(6));
    }

    #[test]
    fn a_share_of_failures_makes_it_rest() {
        assert_eq!(Bench::new().send("x.x.x.x").until(), None);
        assert_eq!(Bench::new().send("x.x.x..x").until(), Some(5));
        assert_eq!(
            Bench::new().send("x.x..x..").at(10).send(".xx").until(),
            None
        );
    }

    #[test]
    fn each_rest_is_twice_as_long_up_to_the_longest() {
        let mut bench = Bench::new();
        bench.send("xxx");
        for (at, until) in [(5, 15), (15, 35), (35, 65), (65, 95)] {
            assert_eq!(bench.until(), Some(at));
            assert_eq!(bench.at(at).probe(Verdict::Failure).until(), Some(until));
        }
        assert_eq!(bench.at(95).probe(Verdict::Success).until(), None);
        // It is well only for a moment.
        assert_eq!(bench.at(97).send("xxx").until(), Some(127));
        assert_eq!(bench.at(127).probe(Verdict::Busy).until(), None);
        assert_eq!(bench.at(158).send("xxx").until(), Some(163));
    }

    #[test]
    fn a_probe_that_says_nothing_makes_room_for_the_next() {
        assert_eq!(
            Bench::new()
                .send("xxx")
                .at(7)
                .probe(Verdict::Nothing)
                .until(),
            Some(7)
        );
    }

    #[test]
    fn a_probe_without_an_answer_is_given_up() {
        let mut bench = Bench::new();
        let first = bench.send("xxx").at(5).now;
        bench.circuit.probe(first);
        assert_eq!(
            bench.circuit.phase(&RULES, bench.now),
            Phase::Probing { since: first }
        );
        assert_eq!(bench.at(35).until(), Some(35));
        bench.circuit.probe(bench.now);
        // What the first one finds now does not matter, as long as it is bad.
        bench
            .circuit
            .ended(&RULES, Verdict::Failure, (first, Some(first)), bench.now);
        let second = Phase::Probing { since: bench.now };
        assert_eq!(bench.circuit.phase(&RULES, bench.now), second);
    }

    #[test]
    fn only_what_was_sent_since_shows_that_it_is_back() {
        let mut bench = Bench::new();
        let before = bench.now;
        bench.at(1).send("xxx");
        let now = bench.at(2).now;
        let late = (before, None);
        bench.circuit.ended(&RULES, Verdict::Success, late, now);
        assert_eq!(bench.until(), Some(6));
        assert_eq!(bench.send(".").until(), None);
    }

    proptest! {
        /// Many requests at any times, each let through as its phase says, ending in any order.
        #[test]
        fn there_is_one_probe_at_a_time(
            steps in prop::collection::vec((0..9_000_u64, 0..6_usize, 0..4_u8), 0..300),
        ) {
            let mut circuit = Circuit::new(Instant::now());
            let mut now = circuit.opened;
            let mut under_way: Vec<(Instant, Option<Instant>)> = Vec::new();
            for (ms, which, verdict) in steps {
                now += Duration::from_millis(ms + 1);
                let young = |began: Instant| now - began < RULES.max_rest;
                match circuit.phase(&RULES, now) {
                    Phase::Closed => under_way.push((now, None)),
                    Phase::Resting { until } if now >= until => {
                        prop_assert!(!under_way.iter().any(|(_, probes)| probes.is_some_and(young)));
                        circuit.probe(now);
                        under_way.push((now, Some(now)));
                    }
                    Phase::Resting { until } => prop_assert!(until - now <= RULES.max_rest),
                    Phase::Probing { since } => prop_assert!(young(since)),
                }
                if which < under_way.len() {
                    let sent = under_way.swap_remove(which);
                    let verdict = [
                        Verdict::Success, Verdict::Busy, Verdict::Failure, Verdict::Nothing,
                    ][usize::from(verdict)];
                    circuit.ended(&RULES, verdict, sent, now);
                }
                // A closed breaker forgets its probes: they are sends like any other.
                if circuit.phase == Phase::Closed {
                    under_way.iter_mut().for_each(|(_, probes)| *probes = None);
                }
            }
        }
    }
}
