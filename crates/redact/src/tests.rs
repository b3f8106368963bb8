use isango_types::record::MetadataValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use isango_types::Record;
use isango_types::record::Body;
use isango_types::redaction::Redact as _;
use serde_json::value::RawValue;

use super::*;

const ALL: Parts = Parts {
    request: true,
    response: true,
    metadata: true,
};

fn rule(detectors: &[Detector], keys: &[&str], action: Action) -> Spec {
    Spec {
        name: "rule".into(),
        pattern: None,
        detectors: detectors.to_vec(),
        keys: keys.iter().map(|key| (*key).into()).collect(),
        action,
        hash_key: Some(Secret::new("k")),
        parts: ALL,
    }
}

fn rules(specs: &[Spec]) -> Rules {
    Rules::compile(specs).unwrap()
}

fn record(body: &str) -> Record {
    let mut record = empty();
    record.response.body = Some(match RawValue::from_string(body.into()) {
        Ok(raw) => Body::Json(raw),
        Err(_no_json) => Body::Text(body.into()),
    });
    record
}

fn empty() -> Record {
    serde_json::from_value(json!({
        "id": "019381f0-0000-7000-8000-000000000000", "created_at": "2026-11-23T05:00:00.000000Z",
        "account": "local", "gateway": "a", "operation": "chat", "method": "POST", "path": "/x",
        "http_version": "1.1", "outcome": "answered",
        "timing": {"queue_us": 0, "connect_us": 0, "total_us": 0, "overhead_us": 0},
        "cost": {"status": "free", "nanousd": 0}, "request": {"bytes": 0}, "response": {"bytes": 0}
    }))
    .unwrap()
}

fn redacted(specs: &[Spec], body: &str) -> String {
    let mut record = record(body);
    rules(specs).redact(&mut record);
    record.response.body.unwrap().as_str().to_owned()
}

#[test]
fn matches_are_masked_hashed_or_cut_out() {
    use Detector::Card;
    let body =
        r#"{ "a": "pay 4111 1111 1111 1111 now",  "n": 4111111111111111, "k": [1.50, null] }"#;
    let masked = redacted(&[rule(&[Card], &[], Action::Mask)], body);
    assert_eq!(
        masked,
        r#"{ "a": "pay [redacted:card] now",  "n": "[redacted:card]", "k": [1.50, null] }"#
    );
    let dropped = redacted(
        &[rule(&[Card], &[], Action::Drop)],
        r#"{"a":"pay 4111111111111111."}"#,
    );
    assert_eq!(dropped, r#"{"a":"pay ."}"#);
    // printf 4111111111111111 | openssl dgst -sha256 -hmac k
    let hashed = redacted(&[rule(&[Card], &[], Action::Hash)], r#""4111111111111111""#);
    assert!(
        hashed.starts_with("\"[card:") && hashed.len() == "\"[card:]\"".len() + 16,
        "{hashed}"
    );
    assert_eq!(
        hashed,
        redacted(&[rule(&[Card], &[], Action::Hash)], r#""4111111111111111""#)
    );
}

#[test]
fn what_is_escaped_is_found_and_what_stays_keeps_its_spelling() {
    let spec = rule(&[Detector::Email], &[], Action::Mask);
    let body =
        r#"{"\u0061":"x\u0040example.com","b":"\u00fc\/\n","c":"{\"to\":\"y@example.com\"}"}"#;
    assert_eq!(
        redacted(std::slice::from_ref(&spec), body),
        r#"{"\u0061":"[redacted:email]","b":"\u00fc\/\n","c":"{\"to\":\"[redacted:email]\"}"}"#
    );
    assert_eq!(
        redacted(&[spec], "data: mail a@example.com\n\n"),
        "data: mail [redacted:email]\n\n"
    );
}

#[test]
fn members_are_named_by_their_paths() {
    let body = r#"{"user":{"name":"Ann","id":7},"messages":[{"content":"hi","name":"x"},{"content":[1]}]}"#;
    let check = |keys: &[&str], action: Action, expected: Value| {
        let found: Value =
            serde_json::from_str(&redacted(&[rule(&[], keys, action)], body)).unwrap();
        assert_eq!(found, expected, "{keys:?}");
    };
    check(
        &["user.id", "none.at.all"],
        Action::Drop,
        json!({"user":{"name":"Ann","id":null},"messages":[{"content":"hi","name":"x"},{"content":[1]}]}),
    );
    check(
        &["messages.*.content"],
        Action::Mask,
        json!({"user":{"name":"Ann","id":7},
               "messages":[{"content":"[redacted:rule]","name":"x"},{"content":"[redacted:rule]"}]}),
    );
    check(
        &["**.name"],
        Action::Drop,
        json!({"user":{"name":null,"id":7},"messages":[{"content":"hi","name":null},{"content":[1]}]}),
    );
    check(
        &["user"],
        Action::Drop,
        json!({"user":null,"messages":[{"content":"hi","name":"x"},{"content":[1]}]}),
    );
}

#[test]
fn raw_frames_go_where_the_whole_answer_had_a_match() {
    let rules = rules(&[rule(&[Detector::Card], &[], Action::Mask)]);
    // The match is cut by frames; only the answer that was put together shows it.
    let raw = "data: {\"d\":\"4111 1111 \"}\n\ndata: {\"d\":\"1111 1111\"}\n\n";
    let mut cut = record(r#"{"text":"4111 1111 1111 1111"}"#);
    cut.response.raw = Some(Body::Text(raw.into()));
    rules.redact(&mut cut);
    assert!(cut.response.raw.is_none());
    let mut clean = record(r#"{"text":"hello"}"#);
    clean.response.raw = Some(Body::Text("data: hello\n\n".into()));
    rules.redact(&mut clean);
    assert!(clean.response.raw.is_some());
}

#[test]
fn metadata_path_and_message_of_a_failure_are_looked_at() {
    let mut record = record("{}");
    record.path = "/x?to=a@example.com".into();
    record
        .metadata
        .insert("user".into(), MetadataValue::Text("b@example.com".into()));
    record
        .metadata
        .insert("n".into(), MetadataValue::Bool(true));
    rules(&[rule(&[Detector::Email], &[], Action::Mask)]).redact(&mut record);
    assert_eq!(&*record.path, "/x?to=[redacted:email]");
    assert_eq!(
        record.metadata["user"],
        MetadataValue::Text("[redacted:email]".into())
    );
    assert_eq!(record.metadata["n"], MetadataValue::Bool(true));
    let mut named = record;
    rules(&[rule(&[], &["n"], Action::Drop)]).redact(&mut named);
    assert_eq!(named.metadata["n"], MetadataValue::Null);
}

#[test]
fn a_rule_looks_only_where_it_is_told_to() {
    let spec = Spec {
        parts: Parts {
            request: true,
            response: false,
            metadata: false,
        },
        ..rule(&[Detector::Email], &[], Action::Mask)
    };
    assert_eq!(
        redacted(&[spec], r#""a@example.com""#),
        r#""a@example.com""#
    );
}

#[test]
fn what_is_wrong_with_a_rule_is_told() {
    let check = |spec: Spec, part: &str, told: &str| {
        let (place, error) = Rules::compile(&[spec]).unwrap_err();
        assert_eq!((place, error.part), (0, part), "{error:?}");
        assert!(error.message.contains(told), "{error:?}");
    };
    let pattern = |text: &str| Spec {
        pattern: Some(text.into()),
        ..rule(&[], &[], Action::Mask)
    };
    check(rule(&[], &[], Action::Mask), "detect", "`pattern`");
    check(pattern("("), "pattern", "unclosed");
    check(pattern("a*"), "pattern", "nothing at all");
    check(pattern(r"(?:a{1000}){1000}"), "pattern", "size limit");
    check(rule(&[], &["a..b"], Action::Mask), "keys", "empty part");
    let unkeyed = Spec {
        hash_key: None,
        ..rule(&[Detector::Card], &[], Action::Hash)
    };
    check(unkeyed, "hash_key", "`hash_key`");
}

#[test]
fn half_of_a_pair_hides_nothing() {
    let both = [rule(&[Detector::Card], &["**.secret"], Action::Mask)];
    for (body, expected) in [
        (
            r#"{"a":"\ud83d","b":"4111111111111111","secret":1}"#,
            r#"{"a":"\ud83d","b":"[redacted:card]","secret":"[redacted:rule]"}"#,
        ),
        (
            r#"{"a":"\ude00 4111111111111111"}"#,
            "{\"a\":\"\u{fffd} [redacted:card]\"}",
        ),
        (
            r#"{"\ud83d":"4111111111111111","\ud83d\u0020":{"secret":"x"}}"#,
            r#"{"\ud83d":"[redacted:card]","\ud83d\u0020":{"secret":"[redacted:rule]"}}"#,
        ),
    ] {
        assert_eq!(redacted(&both, body), expected);
    }
}

#[test]
fn only_what_took_the_place_of_a_match_is_done() {
    let card = [rule(&[Detector::Card, Detector::Phone], &[], Action::Mask)];
    for (body, expected) in [
        (
            r#"[{"card":4111111111111111}]"#,
            r#"[{"card":"[redacted:card]"}]"#,
        ),
        ("x [tel:+27821234567]", "x [tel:[redacted:phone]]"),
        ("x [card:4111111111111111]", "x [card:[redacted:card]]"),
        (
            "x [redacted:4111111111111111]",
            "x [redacted:[redacted:card]]",
        ),
        ("x [redacted:card]", "x [redacted:card]"),
        ("x [card:41111111111111af]", "x [card:41111111111111af]"),
    ] {
        assert_eq!(redacted(&card, body), expected);
    }
    let named = [rule(&[], &["pw"], Action::Mask)];
    let hashed = [rule(&[], &["pw"], Action::Hash)];
    let check = |specs: &[Spec], value: &str, stays: bool| {
        let body = format!("{{\"pw\":{value}}}");
        let once = redacted(specs, &body);
        assert_eq!(once == body, stays, "{once}");
        assert_eq!(redacted(specs, &once), once, "done twice");
    };
    check(&named, "\"[my secret\"", false);
    check(&named, "\"[redacted:rule] and more\"", false);
    check(&named, "\"[redacted:rule]\"", true);
    check(&named, "null", true);
    check(&hashed, "\"[rule:0123456789abcdef] or not\"", false);
    check(&hashed, "\"[rule:0123456789abcdef]\"", true);
    check(&hashed, "\"[my secret\"", false);
}

#[test]
fn a_long_text_of_brackets_and_matches_takes_no_longer_than_it_is_long() {
    // At a step for each pair of places this would take hours.
    let all = [rule(&Detector::ALL, &["**.x"], Action::Mask)];
    for (part, times) in [
        ("a@b.co ", 400_000),
        ("[ a@b.co ", 50_000),
        ("4111 ", 50_000),
        ("eyJ-", 50_000),
        ("a1 DE89 ", 50_000),
        ("{\"a\":", 50_000),
        ("+27 ", 50_000),
    ] {
        let long = part.repeat(times);
        assert!(!redacted(&all, &long).is_empty());
    }
}

#[test]
fn names_of_members_and_of_metadata_are_looked_at() {
    let email = rule(&[Detector::Email], &[], Action::Mask);
    let body = r#"{"a\u0040b.co":{"x":1},"n":{"c@d.co":2}}"#;
    assert_eq!(
        redacted(std::slice::from_ref(&email), body),
        r#"{"[redacted:email]":{"x":1},"n":{"[redacted:email]":2}}"#
    );
    let mut record = record("{}");
    for (n, key) in ["a@b.co", "c@d.co"].into_iter().enumerate() {
        record
            .metadata
            .insert(key.into(), MetadataValue::Number(n.into()));
    }
    rules(&[email]).redact(&mut record);
    let left: Vec<(&str, String)> = record
        .metadata
        .iter()
        .map(|(key, value)| (&**key, value.to_text().into_owned()))
        .collect();
    assert_eq!(
        left,
        [
            ("[redacted:email]", "0".into()),
            ("[redacted:email] 2", "1".into())
        ]
    );
}

#[test]
fn what_is_no_whole_json_is_looked_into_all_the_same() {
    let both = [rule(&[Detector::Card], &["**.pw"], Action::Mask)];
    for (body, expected) in [
        (
            r#"{"pw":"secret","n":"x\n4111111111111111","m":"cut of"#,
            r#"{"pw":"[redacted:rule]","n":"x\n[redacted:card]","m":"cut of"#,
        ),
        (r#"{"a":{"pw":["s","ec"#, r#"{"a":{"pw":"[redacted:rule]""#),
        (
            "{\"pw\":1}\n{\"pw\":2}\n",
            "{\"pw\":\"[redacted:rule]\"}\n{\"pw\":\"[redacted:rule]\"}\n",
        ),
        (
            "data: {\"pw\":\"x\"}\n\ndata: [DONE]\n",
            "data: {\"pw\":\"[redacted:rule]\"}\n\ndata: [DONE]\n",
        ),
        (
            r#"{"arguments":"{\"pw\":\"x\",\"n\":\"y\\n4111111111111111\"}"}"#,
            r#"{"arguments":"{\"pw\":\"[redacted:rule]\",\"n\":\"y\\n[redacted:card]\"}"}"#,
        ),
    ] {
        assert_eq!(redacted(&both, body), expected);
    }
    // Too deep to be looked into: whatever it holds.
    let deep = |inside: &str| format!("{}{inside}{}", "[".repeat(200), "]".repeat(200));
    let left = redacted(&both, &deep(r#"{"pw":"secret"}"#));
    assert!(
        left.contains("[redacted:rule]") && !left.contains("secret"),
        "{left}"
    );
}

#[test]
fn tokens_of_an_answer_go_where_the_whole_had_a_match() {
    let card = [rule(&[Detector::Card], &[], Action::Mask)];
    let body = |text: &str| {
        format!(
            r#"{{"message":"{text}","logprobs":{{"content":[{{"token":"4111"}}]}},"asked":{{"logprobs":true}}}}"#
        )
    };
    assert_eq!(
        redacted(&card, &body("4111111111111111")),
        r#"{"message":"[redacted:card]","logprobs":null,"asked":{"logprobs":true}}"#
    );
    assert_eq!(redacted(&card, &body("hello")), body("hello"));
}

#[test]
fn every_text_that_a_client_or_a_provider_chose_is_looked_at() {
    const TEXT: &str = "x a@example.com";
    let mut record = record("{}");
    record.path = "/x?to=a%40example.com&n=%E0%A4%A&c=4111+1111+1111+1111".into();
    record.event_id = TEXT.into();
    for text in [
        &mut record.model_requested,
        &mut record.model,
        &mut record.resource,
        &mut record.deployment,
        &mut record.provider_id,
        &mut record.user_agent,
    ] {
        *text = Some(TEXT.into());
    }
    record.notes = vec![TEXT.into()];
    record.attempts = vec![isango_types::record::Attempt {
        cause: Some(TEXT.into()),
        ..Default::default()
    }];
    rules(&[rule(&[Detector::Email, Detector::Card], &[], Action::Mask)]).redact(&mut record);
    assert_eq!(
        &*record.path,
        "/x?to=[redacted:email]&n=%E0%A4%A&c=[redacted:card]"
    );
    let left = serde_json::to_string(&record).unwrap();
    assert!(!left.contains("example.com"), "{left}");
    // The gateway's own id of a record is none of the client's texts.
    let mut own = empty();
    own.event_id = own.id.to_string().into();
    let any = Spec {
        pattern: Some("0".into()),
        ..rule(&[], &[], Action::Mask)
    };
    rules(&[any]).redact(&mut own);
    assert_eq!(*own.event_id, *own.id.to_string());
}

proptest! {
    #[test]
    fn done_twice_a_record_stays_as_it_is(
        text in ".{0,40}(4111 1111 1111 1111|a@example.com|sk-abcdefghijklmnop1234)?.{0,40}",
    ) {
        let all = rules(&[rule(&Detector::ALL, &["**.secret"], Action::Mask)]);
        let mut once = record(&json!({"a": text, "secret": {"b": text}}).to_string());
        all.redact(&mut once);
        let first = once.response.body.clone().unwrap().as_str().to_owned();
        all.redact(&mut once);
        let again = once.response.body.unwrap();
        prop_assert_eq!(again.as_str(), first);
    }

    #[test]
    fn json_that_has_nothing_to_take_out_is_not_touched(text in "[a-z \"\\\\{}\\[\\]:,0-9]{0,60}") {
        let all = rules(&[rule(&[Detector::Email], &[], Action::Mask)]);
        let mut same = record(&text);
        let before = same.response.body.clone().unwrap().as_str().to_owned();
        all.redact(&mut same);
        let after = same.response.body.unwrap();
        prop_assert_eq!(after.as_str(), before);
    }
}
