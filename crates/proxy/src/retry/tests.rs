use std::cmp::Ordering;

use http::HeaderMap;
use isango_types::Timestamp;
use proptest::prelude::*;

use super::*;

fn semantics() -> RetrySemantics {
    RetrySemantics {
        on: vec![408, 429, 500, 502, 503, 504, 529],
        never: Vec::new(),
    }
}

fn status(status: u16) -> Option<Failure> {
    Failure::of_status(StatusCode::from_u16(status).unwrap(), &semantics(), true)
}

fn policy(max_attempts: u8, delay_ms: u64, backoff: Backoff) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        delay: Duration::from_millis(delay_ms),
        backoff,
    }
}

fn situation(tried: u8) -> Situation {
    Situation {
        policy: policy(3, 100, Backoff::Constant),
        tried,
        replayable: true,
        left: None,
        fallback: None,
    }
}

fn asked(millis: u64) -> Option<Asked> {
    Some(Asked {
        wait: Duration::from_millis(millis),
        by: "retry-after-ms",
    })
}

/// What follows, without jitter: `retry 100 backoff`, `fallback` or `stop`.
fn check(failure: Failure, now: &Situation, expected: &str) {
    let next = match next(&failure, now, 0.0) {
        Next::Retry { wait, reason } => format!("retry {} {reason}", wait.as_millis()),
        Next::Fallback => "fallback".to_owned(),
        Next::Stop => "stop".to_owned(),
    };
    assert_eq!(next, expected, "{failure:?} {now:?}");
}

#[test]
fn what_may_pass_is_tried_as_often_as_asked() {
    for code in [408, 429, 500, 502, 503, 504, 529] {
        let failure = status(code).unwrap();
        check(failure, &situation(1), "retry 100 backoff");
        check(failure, &situation(2), "retry 100 backoff");
        check(failure, &situation(3), "stop");
    }
    for error in [
        Error::ConnectTimeout,
        Error::ConnectFailed("x".into()),
        Error::NoAnswer("x".into()),
        Error::FirstByteTimeout { limit_ms: 1 },
    ] {
        let failure = Failure::of_error(&error).unwrap();
        check(failure, &situation(1), "retry 100 backoff");
    }
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    for code in [200, 204, 301, 400, 401, 403, 404, 409, 413, 422] {
        assert_eq!(status(code), None, "{code}");
    }
    check(status(501).unwrap(), &situation(1), "stop");
    let quota = Failure {
        may_pass: false,
        ..status(429).unwrap()
    };
    check(quota, &situation(1), "stop");
    let tls = Failure::of_error(&Error::TlsFailed("x".into())).unwrap();
    check(tls, &situation(1), "stop");
    assert_eq!(
        Failure::of_error(&Error::BodyTooLarge { limit: 1 }),
        None,
        "the request's own fault"
    );
}

#[test]
fn what_the_client_did_not_choose_is_not_its_fault() {
    let of = |code, own| {
        Failure::of_status(StatusCode::from_u16(code).unwrap(), &semantics(), own)
            .map(|failure| failure.kind)
    };
    for code in [401, 403, 404] {
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(of(code, true), None);
        assert_eq!(of(code, false), Some(Kind::Misconfigured(status)));
    }
    assert_eq!(of(400, false), None);
}

#[test]
fn the_longer_wait_wins() {
    let failure = |millis| Failure {
        asked: asked(millis),
        ..status(429).unwrap()
    };
    check(failure(50), &situation(1), "retry 100 backoff");
    check(failure(250), &situation(1), "retry 250 retry-after-ms");
    check(failure(60_000), &situation(1), "retry 60000 retry-after-ms");
    check(failure(60_001), &situation(1), "stop");
}

#[test]
fn a_wait_that_nobody_can_bear_moves_on_at_once() {
    let on = FallbackOn::default();
    let failure = Failure {
        asked: asked(5_000),
        ..status(429).unwrap()
    };
    let late = Situation {
        left: Some(Duration::from_secs(4)),
        ..situation(1)
    };
    let chained = |situation| Situation {
        fallback: Some(on),
        ..situation
    };
    check(failure, &late, "stop");
    check(failure, &chained(late), "fallback");
    check(failure, &chained(situation(1)), "retry 5000 retry-after-ms");
    check(failure, &chained(situation(3)), "fallback");
}

#[test]
fn each_chain_has_its_conditions() {
    let check = |failure: Failure, name: &str| {
        for known in FallbackOn::NAMES {
            let now = Situation {
                fallback: FallbackOn::named([known]).ok(),
                ..situation(3)
            };
            let expected = if known == name { "fallback" } else { "stop" };
            check(failure, &now, expected);
        }
    };
    let of_error = |error| Failure::of_error(&error).unwrap();
    check(of_error(Error::ConnectFailed("x".into())), "connect");
    check(of_error(Error::NoAnswer("x".into())), "connect");
    check(of_error(Error::TlsFailed("x".into())), "connect");
    check(of_error(Error::ConnectTimeout), "timeout");
    check(of_error(Error::FirstByteTimeout { limit_ms: 1 }), "timeout");
    check(status(408).unwrap(), "timeout");
    check(status(429).unwrap(), "429");
    check(status(500).unwrap(), "5xx");
    check(status(501).unwrap(), "5xx");
    check(status(529).unwrap(), "5xx");
}

#[test]
fn a_request_that_cannot_be_sent_again_is_not() {
    let now = Situation {
        replayable: false,
        fallback: Some(FallbackOn::default()),
        ..situation(1)
    };
    check(status(503).unwrap(), &now, "stop");
}

#[test]
fn the_most_useful_failure_is_the_rate_limit_that_ends_soonest() {
    let of = |code, millis: Option<u64>| Failure {
        asked: millis.and_then(asked),
        ..status(code).unwrap()
    };
    let own = Failure::of_error(&Error::ConnectTimeout).unwrap();
    let strange = Failure {
        kind: Kind::Misconfigured(StatusCode::UNAUTHORIZED),
        ..own
    };
    let mut failures = [
        own,
        of(503, None),
        strange,
        of(429, None),
        of(429, Some(90_000)),
        of(429, Some(1_000)),
    ];
    let now = Instant::now();
    let is_better = |a: &Failure, b: &Failure| a.rank(0, now).is_better(&b.rank(1, now));
    failures.sort_by(|a, b| match is_better(a, b) {
        true => Ordering::Less,
        false => Ordering::Greater,
    });
    assert_eq!(
        failures,
        [
            of(429, Some(1_000)),
            of(429, Some(90_000)),
            of(429, None),
            of(503, None),
            own,
            strange
        ]
    );
}

#[test]
fn what_a_target_said_last_of_its_limit_holds() {
    let now = Instant::now();
    let of = |millis, step, at_ms| {
        let failure = Failure {
            asked: asked(millis),
            ..status(429).unwrap()
        };
        failure.rank(step, now + Duration::from_millis(at_ms))
    };
    // Two seconds ago it was to be one second, and now it is ten.
    assert!(!of(1_000, 0, 0).is_better(&of(10_000, 0, 2_000)));
    // Another one's ten seconds of then end before the nine of now.
    assert!(of(10_000, 0, 0).is_better(&of(9_000, 1, 2_000)));
    assert!(!of(10_000, 0, 0).is_better(&of(7_000, 1, 2_000)));
    // What came after it from the same target, and is none, says less.
    let error = status(500).unwrap().rank(0, now);
    assert!(of(1_000, 0, 0).is_better(&error));
}

#[test]
fn leave_is_asked_only_where_a_retry_would_follow() {
    let chained = Situation {
        fallback: Some(FallbackOn::default()),
        ..situation(1)
    };
    let failure = status(503).unwrap();
    let of = |leave| follow(&failure, chained, 0.0, || leave);
    let (given, why) = of(Leave::Given);
    assert!(matches!(given, Next::Retry { .. }) && why.is_none());
    assert_eq!(of(Leave::Equal), (Next::Fallback, None));
    let refused = of(Leave::Refused("it rests"));
    assert_eq!(refused, (Next::Fallback, Some("it rests")));
    let nobody = |situation: Situation, expected| {
        let asks = || -> Leave { panic!("nothing would follow") };
        assert_eq!(follow(&failure, situation, 0.0, asks), (expected, None));
    };
    nobody(situation(3), Next::Stop);
    nobody(
        Situation {
            tried: 3,
            ..chained
        },
        Next::Fallback,
    );
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    let backoff = prop::sample::select(Backoff::ALL.to_vec());
    (1..=5_u8, 0..=60_000_u64, backoff)
        .prop_map(|(attempts, delay, backoff)| policy(attempts, delay, backoff))
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(Kind::Connect),
        Just(Kind::Timeout),
        (400..600_u16).prop_map(|code| Kind::Status(StatusCode::from_u16(code).unwrap())),
    ];
    let asked = prop::option::of(0..200_000_u64).prop_map(|millis| millis.and_then(asked));
    (kind, any::<bool>(), asked).prop_map(|(kind, may_pass, asked)| Failure {
        kind,
        may_pass,
        asked,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_target_is_never_asked_more_often_than_allowed(
        policy in any_policy(),
        failures in prop::collection::vec((any_failure(), 0.0..1.0_f64), 16),
    ) {
        let mut sends = 0_u8;
        for (failure, jitter) in failures {
            sends += 1;
            let now = Situation { policy, ..situation(sends) };
            if !matches!(next(&failure, &now, jitter), Next::Retry { .. }) {
                break;
            }
        }
        prop_assert!(sends <= policy.max_attempts);
    }

    #[test]
    fn nobody_waits_less_than_asked_nor_much_more(
        policy in any_policy(),
        failure in any_failure(),
        n in 1..5_u8,
        left in prop::option::of(0..100_000_u64),
        jitter in 0.0..1.0_f64,
    ) {
        let left = left.map(Duration::from_millis);
        let now = Situation { policy, left, ..situation(n) };
        if let Next::Retry { wait, reason } = next(&failure, &now, jitter) {
            let shape = match policy.backoff {
                Backoff::Constant => policy.delay,
                Backoff::Linear => policy.delay * u32::from(n),
                Backoff::Exponential => policy.delay * (1 << (n - 1)),
            };
            let shape = shape.min(MAX_RETRY_WAIT);
            let asked = failure.asked.map_or(Duration::ZERO, |asked| asked.wait);
            let least = shape.max(asked);
            prop_assert!(wait >= least);
            prop_assert!(wait <= least * 2);
            prop_assert!(left.is_none_or(|left| wait < left));
            prop_assert!(asked <= MAX_RETRY_WAIT);
            prop_assert!(reason == BACKOFF || asked > Duration::ZERO);
        }
    }

    #[test]
    fn no_header_panics(value in "[ -~]{0,24}", name in 0..5_usize) {
        let name = [
            "retry-after-ms",
            "retry-after",
            "x-ratelimit-reset-requests",
            "x-ratelimit-reset",
            "anthropic-ratelimit-tokens-reset",
        ][name];
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let now = Timestamp::from_micros(1_795_363_823_000_000);
        let asked = asked_wait(StatusCode::TOO_MANY_REQUESTS, &headers, now);
        prop_assert!(asked.is_none_or(|asked| asked.by == name));
    }
}
