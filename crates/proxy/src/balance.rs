//! In which order equal targets are asked. Pure: chance comes in as a number.
//!
//! All orders are by weighted rendezvous hashing: a target's rank follows from a seed, its own name
//! and its weight alone. With a random seed that is a draw by weight; with the seed of a session it
//! stays the same, and a target that comes or goes moves no session but its own.
//! Source: Schindelhauer and Schomaker, Weighted distributed hash tables, 2005 (the logarithmic
//! method).

use std::cmp::Ordering;

use isango_types::health::Balance;

/// One of equal targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// A hash of its name.
    pub(crate) hash: u64,
    /// Its share of the traffic, relative to the others'; 0: only when no other can be asked.
    pub(crate) weight: u32,
    /// Whether it can be asked.
    pub(crate) is_ready: bool,
    /// How much traffic its provider's limits bear, from 0 to 1.
    pub(crate) share: f64,
    /// Requests under way.
    pub(crate) in_flight: u32,
    /// Expected time to the first byte, in seconds; 0: not known.
    pub(crate) expected_seconds: f64,
}

impl Candidate {
    /// What it should get now.
    fn effective_weight(&self) -> f64 {
        f64::from(self.weight) * self.share
    }

    /// How much one more request would cost there.
    fn cost(&self, balance: Balance) -> f64 {
        let queue = f64::from(self.in_flight) + 1.0;
        let weight = self.effective_weight().max(f64::MIN_POSITIVE);
        match balance {
            Balance::Weighted => 0.0,
            Balance::LeastBusy => queue / weight,
            // One that nothing is known of is tried, by one request at a time.
            Balance::LowestLatency if self.expected_seconds <= 0.0 && self.in_flight > 0 => {
                f64::MAX
            }
            Balance::LowestLatency => queue * self.expected_seconds / weight,
        }
    }
}

/// Whose turn it is by weight: smooth weighted round robin, as in nginx. Each gets its share also
/// of a few requests, and none gets its share in one go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Vec<(u64, f64)>);

impl Turns {
    /// The next of those that are ready; `None`: none has any weight.
    fn next(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let held = self.0.iter().map(|(hash, _)| *hash);
        if !held.eq(candidates.iter().map(|candidate| candidate.hash)) {
            self.0 = candidates
                .iter()
                .map(|candidate| (candidate.hash, 0.0))
                .collect();
        }
        let ready =
            |candidate: &Candidate| candidate.is_ready && candidate.effective_weight() > 0.0;
        let mut total = 0.0;
        let mut first: Option<usize> = None;
        for (at, candidate) in candidates.iter().enumerate() {
            if !ready(candidate) {
                continue;
            }
            let weight = candidate.effective_weight();
            self.0[at].1 += weight;
            total += weight;
            if first.is_none_or(|first| self.0[at].1 > self.0[first].1) {
                first = Some(at);
            }
        }
        self.0[first?].1 -= total;
        first
    }
}

/// What decides beside the candidates themselves.
#[derive(Debug)]
pub(crate) struct Draw<'t> {
    pub(crate) balance: Balance,
    /// A hash of what keeps requests together; `None`: nothing does.
    pub(crate) sticky: Option<u64>,
    /// Chance.
    pub(crate) random: u64,
    pub(crate) turns: &'t mut Turns,
}

/// In which order these targets are to be asked, as places in the list. Those that are not ready
/// come last, but for a sticky request, which keeps its order: who asks passes over them.
pub(crate) fn order(candidates: &[Candidate], draw: &mut Draw<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    if let Some(key) = draw.sticky {
        let rank = |at: &usize| rank(key, candidates[*at].hash, candidates[*at].weight.into());
        order.sort_by(|a, b| ascending(rank(a), rank(b)));
        return order;
    }
    let rank = |at: &usize| {
        let candidate = &candidates[*at];
        rank(draw.random, candidate.hash, candidate.effective_weight())
    };
    order.sort_by(|a, b| {
        let ready = candidates[*b].is_ready.cmp(&candidates[*a].is_ready);
        ready.then_with(|| ascending(rank(a), rank(b)))
    });
    match draw.balance {
        Balance::Weighted => {
            if let Some(next) = draw.turns.next(candidates)
                && let Some(place) = order.iter().position(|at| *at == next)
            {
                order[..=place].rotate_right(1);
            }
        }
        Balance::LeastBusy | Balance::LowestLatency => {
            if let [first, second, ..] = order[..]
                && candidates[second].is_ready
                && candidates[second].cost(draw.balance) < candidates[first].cost(draw.balance)
            {
                order.swap(0, 1);
            }
        }
    }
    order
}

/// Lower comes first: exponentially distributed, with the weight as its rate.
fn rank(seed: u64, hash: u64, weight: f64) -> f64 {
    if weight <= 0.0 {
        return f64::INFINITY;
    }
    // 53 bits in (0, 1].
    let drawn = ((mix(seed ^ hash.rotate_left(32)) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -drawn.ln() / weight
}

fn ascending(a: f64, b: f64) -> Ordering {
    a.total_cmp(&b)
}

/// A hash that is the same on every machine and in every version (FNV-1a, then mixed).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// Spreads every bit over all (the finalizer of `SplitMix64`).
pub(crate) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(name: &str, weight: u32) -> Candidate {
        Candidate {
            hash: hash(name.as_bytes()),
            weight,
            is_ready: true,
            share: 1.0,
            in_flight: 0,
            expected_seconds: 0.0,
        }
    }

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let each = weights.iter().enumerate();
        each.map(|(at, weight)| candidate(&format!("target-{at}"), *weight))
            .collect()
    }

    fn draw(balance: Balance, random: u64, turns: &mut Turns) -> Draw<'_> {
        Draw {
            balance,
            sticky: None,
            random: mix(random),
            turns,
        }
    }

    /// How often each comes first.
    fn firsts(candidates: &[Candidate], balance: Balance, rounds: u64) -> Vec<u64> {
        let mut turns = Turns::default();
        let mut firsts = vec![0; candidates.len()];
        for round in 0..rounds {
            firsts[order(candidates, &mut draw(balance, round, &mut turns))[0]] += 1;
        }
        firsts
    }

    #[test]
    fn turns_give_each_its_share_of_any_few_requests() {
        let candidates = candidates(&[5, 1, 1]);
        let mut turns = Turns::default();
        let firsts: String = (0..14)
            .map(|_| {
                let first = order(&candidates, &mut draw(Balance::Weighted, 7, &mut turns))[0];
                char::from(b'a' + u8::try_from(first).unwrap())
            })
            .collect();
        assert_eq!(firsts, "aabacaaaabacaa");
    }

    #[test]
    fn a_scarce_limit_and_a_rest_take_traffic_away() {
        let mut candidates = candidates(&[1, 1, 1]);
        candidates[0].share = 0.5;
        assert_eq!(firsts(&candidates, Balance::Weighted, 100), [20, 40, 40]);
        candidates[1].is_ready = false;
        assert_eq!(firsts(&candidates, Balance::Weighted, 90), [30, 0, 60]);
        let mut turns = Turns::default();
        assert_eq!(
            order(&candidates, &mut draw(Balance::Weighted, 1, &mut turns))[2],
            1
        );
    }

    #[test]
    fn a_target_without_weight_comes_last() {
        let candidates = candidates(&[0, 1, 1]);
        for balance in [
            Balance::Weighted,
            Balance::LeastBusy,
            Balance::LowestLatency,
        ] {
            for random in 0..100 {
                let order = order(
                    &candidates,
                    &mut draw(balance, random, &mut Turns::default()),
                );
                assert_eq!(order[2], 0, "{balance:?}");
            }
        }
    }

    #[test]
    fn the_busiest_and_the_slowest_of_three_never_come_first() {
        let mut candidates = candidates(&[1, 1, 1]);
        candidates[0].in_flight = 9;
        let busy = firsts(&candidates, Balance::LeastBusy, 3_000);
        assert_eq!(busy[0], 0);
        assert!(busy[1] > 1_000 && busy[2] > 1_000, "{busy:?}");
        for (candidate, seconds) in candidates.iter_mut().zip([0.1, 3.0, 0.9]) {
            candidate.expected_seconds = seconds;
        }
        // Ten requests of a tenth of a second each make a second.
        let slow = firsts(&candidates, Balance::LowestLatency, 3_000);
        assert!(
            slow[1] == 0 && slow[2] > slow[0] && slow[0] > 800,
            "{slow:?}"
        );
    }

    #[test]
    fn an_unknown_target_is_tried_by_one_request() {
        let mut candidates = candidates(&[1, 1]);
        candidates[0].expected_seconds = 0.1;
        assert_eq!(firsts(&candidates, Balance::LowestLatency, 100), [0, 100]);
        candidates[1].in_flight = 1;
        assert_eq!(firsts(&candidates, Balance::LowestLatency, 100), [100, 0]);
    }

    fn sticky(candidates: &[Candidate], key: u64) -> Vec<usize> {
        let mut turns = Turns::default();
        let mut draw = Draw {
            sticky: Some(mix(key)),
            ..draw(Balance::Weighted, 0, &mut turns)
        };
        order(candidates, &mut draw)
    }

    #[test]
    fn the_hash_is_the_same_forever() {
        assert_eq!(hash(b""), 14_087_677_454_934_409_008);
        assert_eq!(hash(b"azure-openai-sa"), hash(b"azure-openai-sa"));
        assert_ne!(hash(b"azure-openai-sa"), hash(b"azure-openai-eu"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn weights_are_respected(weights in prop::collection::vec(1..20_u32, 2..6), seed: u64) {
            let candidates = candidates(&weights);
            let total: u32 = weights.iter().sum();
            // In turn: to the request. By chance and by key: within a few standard deviations.
            let turns = firsts(&candidates, Balance::Weighted, u64::from(total) * 3);
            prop_assert_eq!(turns, weights.iter().map(|w| u64::from(*w) * 3).collect::<Vec<_>>());
            let mut keyed = vec![0_u32; weights.len()];
            for key in 0..4_000 {
                keyed[sticky(&candidates, seed ^ key)[0]] += 1;
            }
            for (count, weight) in keyed.iter().zip(&weights) {
                let share = f64::from(*weight) / f64::from(total);
                let tolerance = 5.0 * (share * (1.0 - share) / 4_000.0).sqrt();
                prop_assert!((f64::from(*count) / 4_000.0 - share).abs() < tolerance);
            }
        }

        #[test]
        fn a_target_that_vanishes_moves_only_its_own_keys(
            weights in prop::collection::vec(1..20_u32, 2..8),
            gone in 0..8_usize,
            key: u64,
        ) {
            let all = candidates(&weights);
            let gone = gone % all.len();
            let mut fewer = all.clone();
            fewer.remove(gone);
            let names = |list: &[Candidate]| {
                sticky(list, key).iter().map(|at| list[*at].hash).collect::<Vec<_>>()
            };
            let mut before = names(&all);
            before.retain(|hash| *hash != all[gone].hash);
            // The order of the others stays, so the next in it takes over.
            prop_assert_eq!(before, names(&fewer));
        }

        #[test]
        fn every_target_is_in_the_order_once(
            weights in prop::collection::vec((0..3_u32, any::<bool>(), 0..3_u32), 1..8),
            random: u64,
            balance in prop::sample::select(
                &[Balance::Weighted, Balance::LeastBusy, Balance::LowestLatency][..],
            ),
        ) {
            let mut list = candidates(&weights.iter().map(|w| w.0).collect::<Vec<_>>());
            for (candidate, (_, is_ready, in_flight)) in list.iter_mut().zip(&weights) {
                (candidate.is_ready, candidate.in_flight) = (*is_ready, *in_flight);
            }
            let order = order(&list, &mut draw(balance, random, &mut Turns::default()));
            let resting = order.iter().skip_while(|at| list[**at].is_ready);
            prop_assert!(resting.into_iter().all(|at| !list[*at].is_ready));
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..list.len()).collect::<Vec<_>>());
        }
    }
}
