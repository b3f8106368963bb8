use super::*;
use crate::conformance::sample::{self, START};
use isango_types::price::CostStatus;
use isango_types::record::{Body, MetadataValue};
use proptest::prelude::*;

fn parse(text: &str) -> Filter {
    Filter::parse(text, START).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Record 8: tenant initech, requested claude-sonnet-4, gateway default, 18 + 2 tokens, 8 milli-
/// dollars, 1.008 s.
fn check(text: &str, expected: bool) {
    let record = sample::record(8);
    assert_eq!(parse(text).matches(&record), expected, "{text}");
    let again = parse(&parse(text).to_string());
    assert_eq!(again.matches(&record), expected, "{text}, displayed");
}

#[test]
fn texts_match_exactly_by_prefix_and_by_list() {
    check("", true);
    check("gateway:default", true);
    check("gateway=default", true);
    check("gateway:Default", false);
    check("gateway!=default", false);
    check("-gateway!=default", true);
    check("gateway:support,default", true);
    check("-gateway:support", true);
    check("model:claude-sonnet-4", true);
    check("model:claude-sonnet-4-2024-08-06", true);
    check("model:claude*", true);
    check("model:*sonnet*2024*", true);
    check("model:*sonnet*gpt*", false);
    check("model:gpt*,*06", true);
    check("model:\"claude*\"", false);
    check("op:chat", true);
    check("operation:embeddings", false);
    check("blame:upstream", false);
    check("-blame:upstream", true);
    check("-blame:*", true);
    check("target:*", true);
    check("path:*/completions?api-version=2024-10-21", true);
    check("user_agent:OpenAI/*", true);
    check(
        "method:POST token:support-app account:local deployment:chat resource:aoai-sa",
        true,
    );
}

#[test]
fn numbers_match_by_value_comparison_and_range() {
    check("status:200", true);
    check("status:2xx", true);
    check("status:4xx,5xx", false);
    check("status:>=400", false);
    check("status:200..299", true);
    check("status:ok", true);
    check("status:error", false);
    check("status!=error", true);
    check("tokens:20", true);
    check("tokens>19", true);
    check("tokens:>20", false);
    check("tokens_in:18 tokens_out:..2", true);
    check("attempts:1..", true);
    check("cost:0.008", true);
    check("cost:>0.008", false);
    check("cost:>0.007999999", true);
    check("cost:priced cost:<1", true);
    check("cost:unpriced", false);
    check("duration:>1s", true);
    check("duration:1.008s", true);
    check("duration:<1008ms", false);
    check("ttfb:20ms", true);
    check("ttft:>0s", false);
    check("-ttft:*", true);
    check("stream:false", true);
    check("time:2026-11-22", true);
    check("time:2026-11-21", false);
    check("time:>=2026-11-22T16:00:08Z", true);
    check("time:>-1h", true);
    check("time:<-1h", false);
    check("time:now..", true);
}

#[test]
fn metadata_matches_as_text_and_as_number() {
    check("meta.tenantId=initech", true);
    check("metadata.tenantId:initech,acme", true);
    check("meta.tenantId:ini*", true);
    check("meta.\"tenantId\":initech", true);
    check("meta.tenantid:initech", false);
    check("meta.n:>7 meta.n:<=8 meta.n:8 meta.n:1..9", true);
    check("meta.n:>8", false);
    check("meta.tenantId:>1", false);
    check("-meta.userId:*", true);
    let mut record = sample::record(0);
    record
        .metadata
        .insert("user name".into(), MetadataValue::Text("A, B".into()));
    record
        .metadata
        .insert("vip".into(), MetadataValue::Bool(true));
    let filter = parse("meta.\"user name\":\"A, B\" meta.vip:true");
    assert!(filter.matches(&record));
    assert_eq!(parse(&filter.to_string()), filter);
}

#[test]
fn bare_words_search_bodies() {
    check("question", true);
    check("QUESTION initech", true);
    check("\"question 8 from\"", true);
    check("\"question 9 from\"", false);
    check("-question", false);
    check("-\"question 9\"", true);
    let mut record = sample::record(0);
    record.response.body = Some(Body::Base64("aGVsbG8=".into()));
    assert!(!parse("aGVsbG8").matches(&record), "base64 is no text");
    assert!(parse("question").needs_bodies() && !parse("gateway:question").needs_bodies());
}

#[test]
fn errors_say_what_would_be_right() {
    let check = |text: &str, expected: &str| {
        let error = Filter::parse(text, START).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check(
        "modle:gpt-4o",
        "there is no field `modle`, did you mean `model`?; fields are id, event",
    );
    check("tenant:acme", "there is no field `tenant`");
    check("http://x", "needs quotes");
    check("cache:hot", "expected one of `hit`, `miss`");
    check("outcome:failde", "expected one of `answered`, `refused`");
    check("op:chats", "`chat`");
    check("id:123", "`123` is no value for `id`: expected a UUID");
    check("status:four", "`429`, `4xx`");
    check("status:", "`status` needs a value");
    check("status:400,", "`status` needs a value");
    check("status:500..400", "is no value");
    check("cost:0.0000000001", "at most 9 decimals");
    check("cost:1e3", "dollars");
    check("duration:5", "with its unit");
    check("duration:1.0000001s", "with its unit");
    check("tokens:-5", "a number");
    check("time:yesterday", "RFC 3339");
    check("stream:maybe", "`true` or `false`");
    check("meta.n:>x", "a number to compare with");
    check("\"open", "the quote at byte 0 is not closed");
    check("\"\"", "needs a value");
    check(&"x".repeat(5000), "at most 4096 bytes");
}

#[test]
fn a_filter_tells_what_a_store_can_skip_by() {
    let filter =
        parse("model:gpt-4* -gateway:x token:a,b meta.t:\"say \\\"hi\\\"\" tokens:5 \"text\"");
    assert_eq!(filter.literals(), ["gpt-4"]);
    assert_eq!(parse("cache:hit").literals(), ["hit"]);
    // A record of a request that never asked the cache does not say so.
    assert!(parse("cache:bypass").literals().is_empty());
    assert!(parse("cache:*pass").literals().is_empty());
    let hour = parse("time:>=2026-11-22T16:00:00Z time:<2026-11-22T17:00:00Z");
    let (first, last) = hour.time_range();
    assert_eq!(first, START);
    assert_eq!(last.as_micros() - first.as_micros(), 3_600_000_000);
    assert_eq!(
        parse("-time:2026-11-22").time_range().0,
        Timestamp::from_micros(0)
    );
}

#[test]
fn an_amount_is_spelled_without_rounding() {
    for (nanousd, text) in [
        (0, "0"),
        (1, "0.000000001"),
        (10_000_000_000, "10"),
        (1_500_000_000, "1.5"),
    ] {
        assert_eq!(units::spell_cost(nanousd), text);
    }
    assert_eq!(units::cost_status_name(CostStatus::NoUsage), "no_usage");
}

fn term() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[a-z0-9*.:-]{1,8}",
        "\"[ -~é]{0,8}\"".prop_map(|text| text.replace('\\', "")),
        Just("*".to_owned()),
    ];
    let number = prop_oneof![
        "[0-9]{1,4}",
        ">=?[0-9]{1,4}",
        "<=?[0-9]{1,4}",
        "[0-4]\\.\\.[5-9]"
    ];
    let amount = prop_oneof![
        "[0-9]{1,4}\\.[0-9]{1,9}",
        ">[0-9]\\.[0-9]{1,9}",
        Just("free".into())
    ];
    let span = prop_oneof![
        "[0-9]{1,6}(us|ms|s|m|h)",
        ">[0-9]{1,3}(ms|s)",
        Just("*".into())
    ];
    let time = prop_oneof!["[><]-[0-9]{1,3}(s|m|h|d)", Just("2026-11-22".into())];
    let status = prop_oneof![
        "[1-5]xx",
        ">=[1-5]00",
        Just("error".into()),
        Just("ok,404".into())
    ];
    prop_oneof![
        (
            "-?(model|gateway|path|user_agent|code|event)",
            "!?=|:",
            value.clone()
        )
            .prop_map(|(field, op, value)| format!(
                "{field}{}{value}",
                if op == "!" { ":" } else { &op }
            )),
        (
            "-?meta\\.[a-zA-Z.é]{1,6}:",
            prop_oneof![value, number.clone()].boxed()
        )
            .prop_map(|(f, v)| f + &v),
        ("(tokens|tokens_in|tokens_out|attempts):", number).prop_map(|(f, v)| f + &v),
        amount.prop_map(|v| format!("cost:{v}")),
        ("(duration|ttft|ttfb):", span).prop_map(|(f, v)| f + &v),
        time.prop_map(|v| format!("time:{v}")),
        status.prop_map(|v| format!("-status:{v}")),
        "-?\"[ -!#-~é]{1,12}\"".prop_map(|text| text.replace('\\', "/")),
        "[a-z0-9é!?()]{1,10}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_filter_survives_its_text(terms in prop::collection::vec(term(), 0..5)) {
        let text = terms.join(" ");
        // Some generated values are none of their field's; those are the errors' business.
        if let Ok(filter) = Filter::parse(&text, START) {
            let displayed = filter.to_string();
            prop_assert_eq!(Filter::parse(&displayed, START), Ok(filter), "{} as {}", text, displayed);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}", spice in "[-a-z:=<>!\"*.,\\\\ 0-9]{0,40}") {
        for text in [text, spice] {
            if let Ok(filter) = Filter::parse(&text, START) {
                let _matched = filter.matches(&sample::record(1));
                prop_assert_eq!(Filter::parse(&filter.to_string(), START), Ok(filter));
            }
        }
    }

    #[test]
    fn a_record_that_passes_holds_the_literals(terms in prop::collection::vec(term(), 0..3), n in 0..40_u64) {
        let record = sample::record(n);
        if let Ok(filter) = Filter::parse(&terms.join(" "), START) && filter.matches(&record) {
            let json = serde_json::to_string(&record).unwrap();
            for literal in filter.literals() {
                prop_assert!(json.contains(literal), "{} in {}", literal, json);
            }
            let (first, last) = filter.time_range();
            prop_assert!(first <= record.created_at && record.created_at <= last);
        }
    }
}
