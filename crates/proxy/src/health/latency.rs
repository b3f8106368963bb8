//! How soon a target begins its answers: what is expected of the next one, and the slow end of
//! what has been.

use std::time::Duration;

use tokio::time::Instant;

/// In this time an observation loses all but 1/e of its weight.
const TAU: Duration = Duration::from_secs(10);

/// What is expected of the next answer: an average that follows a rise at once and a fall slowly
/// (peak EWMA, as in Finagle's load balancer). It fades while nothing is observed, so that a slow
/// target is tried again.
#[derive(Debug, Default)]
pub(super) struct Expected {
    seconds: f64,
    at: Option<Instant>,
}

impl Expected {
    pub(super) fn observe(&mut self, ttfb: Duration, now: Instant) {
        let (observed, fading) = (ttfb.as_secs_f64(), self.fading(now));
        self.seconds = if observed > self.seconds {
            observed
        } else {
            self.seconds * fading + observed * (1.0 - fading)
        };
        self.at = Some(now);
    }

    /// Seconds to the first byte; 0: nothing is known.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        self.seconds * self.fading(now)
    }

    fn fading(&self, now: Instant) -> f64 {
        self.at.map_or(0.0, |at| {
            let passed = now.saturating_duration_since(at);
            (-passed.as_secs_f64() / TAU.as_secs_f64()).exp()
        })
    }
}

/// Buckets for each doubling: a bound is off by an eighth at most.
const PER_OCTAVE: usize = 8;
/// From 2^10 µs (1 ms) to 2^30 µs (18 minutes).
const OCTAVES: usize = 20;
const FIRST_OCTAVE: u32 = 10;
/// One observation. Counts are halved now and then: what is below one is kept.
const ONE: u32 = 1 << 8;
/// How often that is.
const HALF_LIFE: Duration = Duration::from_secs(120);

/// How often which time to the first byte was seen; older observations count less.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[u32; PER_OCTAVE * OCTAVES]>,
    total: u64,
    halved: Instant,
}

impl Histogram {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            buckets: Box::new([0; PER_OCTAVE * OCTAVES]),
            total: 0,
            halved: now,
        }
    }

    pub(super) fn observe(&mut self, ttfb: Duration, now: Instant) {
        self.fade(now);
        let bucket = &mut self.buckets[place(ttfb)];
        *bucket = bucket.saturating_add(ONE);
        self.total += u64::from(ONE);
    }

    /// The time that `percent` of the answers begin within; `None`: there are fewer than `least`.
    pub(super) fn within(&mut self, percent: u32, least: u32, now: Instant) -> Option<Duration> {
        self.fade(now);
        if self.total < u64::from(least) * u64::from(ONE) || self.total == 0 {
            return None;
        }
        let wanted = self.total * u64::from(percent) / 100;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted.max(1)
        });
        at.map(upper_bound)
    }

    fn fade(&mut self, now: Instant) {
        while now.saturating_duration_since(self.halved) >= HALF_LIFE {
            self.halved += HALF_LIFE;
            if self.total == 0 {
                // A long silence takes no longer.
                self.halved = now;
                return;
            }
            self.buckets.iter_mut().for_each(|count| *count /= 2);
            self.total = self.buckets.iter().map(|count| u64::from(*count)).sum();
        }
    }
}

fn place(ttfb: Duration) -> usize {
    let us = u64::try_from(ttfb.as_micros()).unwrap_or(u64::MAX);
    let us = us.clamp(1 << FIRST_OCTAVE, (1 << (FIRST_OCTAVE + 20)) - 1);
    let octave = us.ilog2();
    // The three bits below the highest one.
    let eighth = usize::try_from(us >> (octave - 3)).unwrap_or(0) % PER_OCTAVE;
    usize::try_from(octave - FIRST_OCTAVE).unwrap_or(0) * PER_OCTAVE + eighth
}

fn upper_bound(place: usize) -> Duration {
    let (octave, eighth) = (place / PER_OCTAVE, place % PER_OCTAVE);
    let us = (PER_OCTAVE as u64 + eighth as u64 + 1) << (octave + FIRST_OCTAVE as usize - 3);
    Duration::from_micros(us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rise_is_followed_at_once_and_a_fall_slowly() {
        let now = Instant::now();
        let mut expected = Expected::default();
        assert!(expected.seconds(now).abs() < 1e-9);
        expected.observe(Duration::from_secs(1), now);
        expected.observe(Duration::from_secs(3), now);
        assert!((expected.seconds(now) - 3.0).abs() < 1e-9);
        expected.observe(Duration::from_secs(1), now + TAU);
        let after = expected.seconds(now + TAU);
        assert!(after > 1.5 && after < 2.0, "{after}");
        assert!(expected.seconds(now + TAU * 10) < 0.001);
    }

    #[test]
    fn the_slow_end_is_known_from_enough_answers() {
        let now = Instant::now();
        let mut histogram = Histogram::new(now);
        for ms in 1..=100 {
            histogram.observe(Duration::from_millis(ms), now);
        }
        assert_eq!(histogram.within(95, 101, now), None);
        let p95 = histogram.within(95, 100, now).unwrap().as_millis();
        assert!((95..=107).contains(&p95), "{p95}");
        assert_eq!(histogram.within(95, 100, now + HALF_LIFE), None);
        assert!(histogram.within(95, 50, now + HALF_LIFE).is_some());
        assert_eq!(histogram.within(95, 0, now + HALF_LIFE * 1_000_000), None);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_own(us in 1_024..(1_u64 << 30)) {
            let ttfb = Duration::from_micros(us);
            let bound = upper_bound(place(ttfb));
            prop_assert!(bound > ttfb && bound.as_micros() <= ttfb.as_micros() * 9 / 8 + 1);
        }
    }
}
