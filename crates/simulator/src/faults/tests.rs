use super::*;

fn read(query: &str) -> Result<Faults, FaultError> {
    Faults::read(&HeaderMap::new(), Some(query))
}

#[test]
fn faults_come_from_the_query_and_a_header_wins() {
    let mut headers = HeaderMap::new();
    headers.insert("x-sim-status", HeaderValue::from_static("503"));
    let query = "a=1&sim_status=429&sim_latency_ms=20&sim_cut_after=3%2Creset&sim_pace=12.5";
    let faults = Faults::read(&headers, Some(query)).unwrap();
    assert_eq!(faults.status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(faults.latency, Duration::from_millis(20));
    assert_eq!(faults.cut, Some((Position::Events(3), Ending::Reset)));
    assert_eq!(faults.pace, Some(12.5));
}

#[test]
fn what_is_not_understood_is_refused_with_what_would_be_right() {
    #[track_caller]
    fn check(query: &str, expected: &str) {
        assert_eq!(read(query).unwrap_err().to_string(), expected);
    }
    check(
        "sim_stauts=500",
        "there is no fault `stauts`; GET / lists them",
    );
    check(
        "sim_status=200",
        "x-sim-status: `200` is not possible; give 400 401 403 404 408 409 413 422 429 500 502 \
         503 504 or 529",
    );
    check(
        "sim_latency_ms=-1",
        "x-sim-latency-ms: `-1` is not possible; give 0 to 600000",
    );
    check(
        "sim_pace=NaN",
        "x-sim-pace: `NaN` is not possible; give tokens per second, 0 to 100000",
    );
    check("sim_gzip", "x-sim-gzip: `` is not possible; give 1 or 0");
    check(
        "sim_fail_first=2",
        "x-sim-fail-first needs x-sim-key, the name under which requests are counted",
    );
    for bad in [
        "sim_cut_after=3,now",
        "sim_retry_after=soon",
        "sim_chunk_bytes=0",
        "sim_reset=2",
    ] {
        read(bad).unwrap_err();
    }
}

#[test]
fn every_row_of_the_manual_is_understood() {
    for (name, _, _) in MANUAL {
        let value = match *name {
            "status" => "500",
            "malformed-sse" => "json",
            "sse-style" => "crlf,tight",
            _ => "1",
        };
        let query = format!("sim_key=k&sim_{}={value}", name.replace('-', "_"));
        assert!(read(&query).is_ok(), "{query}");
    }
}

#[test]
fn the_manual_of_the_repository_lists_every_fault() {
    let page = include_str!("../../../../docs/simulator.md");
    for (name, _, _) in MANUAL {
        assert!(
            page.contains(&format!("`x-sim-{name}`")),
            "docs/simulator.md: {name}"
        );
    }
}

#[test]
fn a_rate_strikes_exactly_its_share() {
    for rate in [0, 1, 7, 33, 50, 99, 100] {
        let faults = read(&format!("sim_key=k&sim_fail_rate={rate}")).unwrap();
        let struck = (1..=100).filter(|&nth| faults.strikes(nth)).count();
        assert_eq!(struck, usize::try_from(rate).unwrap());
    }
}

#[test]
fn the_first_requests_fail_with_500_unless_told_otherwise() {
    let mut faults = read("sim_key=k&sim_fail_first=2").unwrap();
    assert_eq!(
        [1, 2, 3].map(|nth| faults.strikes(nth)),
        [true, true, false]
    );
    faults.strike();
    assert_eq!(faults.status, Some(StatusCode::INTERNAL_SERVER_ERROR));
    let mut faults = read("sim_key=k&sim_fail_first=2&sim_reset=rst").unwrap();
    faults.strike();
    assert_eq!(faults.status, None);
    faults.spare();
    assert_eq!(faults.reset, None);
}
