use isango_store::conformance::sample;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

/// What is exposed after these records, in any order.
fn exposed(records: &[(Record, bool)], observer: &mut Observer) -> String {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    for (record, known) in records {
        observer.observe(&metrics, record, *known);
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[track_caller]
fn check(text: &str, line: &str) {
    assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
}

#[test]
fn every_exchange_is_counted_where_it_ended() {
    let mut streamed = sample::record(0);
    streamed.timing.ttft_us = Some(5);
    let refused = (sample::record(6), false);
    let mut records = vec![(sample::record(0), true), (streamed, true), refused];
    records.extend([1, 4, 1].map(|n| (sample::record(n), true)));
    let text = exposed(&records, &mut Observer::default());
    let requests = |labels: &str, count| format!("isango_requests_total{{{labels}}} {count}");
    let of = |gateway, status| {
        format!(
            "gateway=\"{gateway}\",provider=\"azure-openai\",operation=\"chat\",\
             status=\"{status}\",outcome=\"answered\""
        )
    };
    check(&text, &requests(&of("default", 200), 2));
    check(&text, &requests(&of("default", 429), 1));
    check(&text, &requests(&of("support", 200), 2));
    let nowhere = "gateway=\"\",provider=\"\",operation=\"chat\",status=\"400\",\
                   outcome=\"refused\"";
    check(&text, &requests(nowhere, 1));
    let place = "gateway=\"default\",provider=\"azure-openai\"";
    check(&text, &format!("isango_attempts_total{{{place}}} 3"));
    check(
        &text,
        &format!("isango_request_duration_seconds_count{{{place}}} 3"),
    );
    check(&text, &format!("isango_ttft_seconds_count{{{place}}} 1"));
    let input = format!("isango_tokens_total{{{place},kind=\"input\"}} 20");
    check(&text, &input);
    assert!(!text.contains("cache_read"), "{text}");
    check(
        &text,
        "isango_cost_nanousd_total{gateway=\"support\",provider=\"azure-openai\"} 2000000",
    );
}

#[test]
fn places_beyond_those_held_are_counted_too() {
    let of = |n: usize| {
        let mut record = sample::record(0);
        record.gateway = format!("gateway-{}", n % 100).into();
        record.status = u16::try_from(200 + n % 300).ok();
        (record, true)
    };
    let mut observer = Observer::default();
    let text = exposed(&(0..600).map(of).collect::<Vec<_>>(), &mut observer);
    for n in 0..100 {
        let place = format!("gateway=\"gateway-{n}\",provider=\"azure-openai\"");
        check(&text, &format!("isango_attempts_total{{{place}}} 6"));
    }
    assert_eq!(observer.places.len(), MAX_PLACES);
}
