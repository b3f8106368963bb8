use isango_store::conformance::sample;
use isango_types::Operation;
use isango_types::record::{SpanId, Trace, TraceId};
use serde_json::{Value as Json, json};

use super::*;

fn spans(record: &Record) -> Vec<Json> {
    let mut text = Vec::new();
    write(record, false, &mut text);
    let read: Json = serde_json::from_slice(&request(Signal::Traces, &text, false)).unwrap();
    let scope = &read["resourceSpans"][0]["scopeSpans"][0];
    assert_eq!(scope["scope"]["name"], "isango");
    scope["spans"].as_array().unwrap().clone()
}

fn attributes_of(span: &Json) -> serde_json::Map<String, Json> {
    let all = span["attributes"].as_array().unwrap().iter();
    all.map(|one| {
        (
            one["key"].as_str().unwrap().to_owned(),
            one["value"].clone(),
        )
    })
    .collect()
}

fn traced() -> Record {
    let mut record = sample::record(3);
    record.operation = Operation::Chat;
    record.provider = Some("azure-openai".into());
    record.model_requested = Some("gpt-4o".into());
    record.model = Some("gpt-4o-2024-08-06".into());
    record.trace = Some(Box::new(Trace {
        id: TraceId([0xab; 16]),
        parent: Some(SpanId([0xcd; 8])),
    }));
    record.attempts = vec![
        Attempt {
            target: "sa".into(),
            status: Some(503),
            started_us: 10,
            ttfb_us: Some(20),
            ..Attempt::default()
        },
        Attempt {
            target: "eu".into(),
            status: Some(200),
            started_us: 100,
            ttfb_us: Some(50),
            ..Attempt::default()
        },
    ];
    record
}

#[test]
fn a_record_is_a_span_with_its_attempts_below_it() {
    let record = traced();
    let spans = spans(&record);
    assert_eq!(spans.len(), 3);
    let root = &spans[0];
    assert_eq!(root["name"], "cf.aig.request");
    assert_eq!(root["traceId"], "ab".repeat(16));
    assert_eq!(root["parentSpanId"], "cd".repeat(8));
    for (n, attempt) in spans[1..].iter().enumerate() {
        assert_eq!(attempt["parentSpanId"], root["spanId"]);
        assert_eq!(attempt["traceId"], root["traceId"]);
        assert_eq!(attempt["name"], "chat gpt-4o");
        let number = &attributes_of(attempt)["isango.attempt"]["intValue"];
        assert_eq!(*number, (n + 1).to_string());
    }
    assert_eq!(spans[1]["status"], json!({"code": 2, "message": "503"}));
    assert_eq!(spans[2]["status"], json!({}));
    // A request that names no trace is one of its own, told by the record's id.
    let alone = Record {
        trace: None,
        ..record
    };
    let root = &self::spans(&alone)[0];
    assert_eq!(root["traceId"], alone.id.to_string().replace('-', ""));
    assert!(root.get("parentSpanId").is_none());
}

#[test]
fn both_sets_of_names_are_told() {
    let record = traced();
    let all = attributes_of(&spans(&record)[0]);
    let text = |name: &str| all[name]["stringValue"].as_str().unwrap();
    assert_eq!(text("gen_ai.request.model"), "gpt-4o");
    assert_eq!(text("gen_ai.response.model"), "gpt-4o-2024-08-06");
    assert_eq!(text("gen_ai.model.provider"), "azure-openai");
    assert_eq!(text("gen_ai.provider.name"), "azure.ai.openai");
    let body = record.request.body.as_ref().unwrap().as_str();
    assert_eq!(
        (text("gen_ai.prompt_json"), text("gen_ai.input.messages")),
        (body, body)
    );
    assert!(all.contains_key("gen_ai.completion_json"));
    assert!(all.contains_key("gen_ai.output.messages"));
    let input = record.usage.unwrap().total_input().to_string();
    assert_eq!(all["gen_ai.usage.input_tokens"]["intValue"], input);
}

#[test]
fn metadata_is_told_by_its_own_names_but_for_those_of_the_conventions() {
    let mut record = traced();
    record.metadata = [
        ("tenantId", MetadataValue::Text("acme".into())),
        ("n", MetadataValue::Number(7.into())),
        ("paid", MetadataValue::Bool(true)),
        ("gen_ai.system", MetadataValue::Text("forged".into())),
    ]
    .map(|(key, value)| (key.into(), value))
    .into();
    let all = attributes_of(&spans(&record)[0]);
    assert_eq!(all["tenantId"], json!({"stringValue": "acme"}));
    assert_eq!(all["n"], json!({"intValue": "7"}));
    assert_eq!(all["paid"], json!({"boolValue": true}));
    assert!(!all.contains_key("gen_ai.system"));
}

#[test]
fn a_record_without_bodies_tells_none() {
    let mut record = traced();
    record.request.body = None;
    record.response.body = None;
    let all = attributes_of(&spans(&record)[0]);
    assert!(
        !all.keys()
            .any(|name| name.contains("messages") || name.ends_with("_json"))
    );
}

/// The fields of a message of protobuf: number, and value as bytes.
pub(super) fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            1 => {
                let (value, rest) = bytes.split_at(8);
                bytes = rest;
                value.to_vec()
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
            kind => panic!("kind {kind}"),
        };
        all.push((tag >> 3, value));
    }
    all
}

pub(super) fn field_of(bytes: &[u8], number: u64) -> Vec<u8> {
    let mut all = fields(bytes).into_iter();
    all.find(|(found, _)| *found == number).unwrap().1
}

#[test]
fn protobuf_says_the_same_as_json() {
    let record = traced();
    let mut packed = Vec::new();
    write(&record, true, &mut packed);
    let of_resource = field_of(&request(Signal::Traces, &packed, true), 1);
    let of_scope = field_of(&of_resource, 2);
    let packed: Vec<_> = fields(&of_scope)
        .into_iter()
        .filter(|(number, _)| *number == 2)
        .collect();
    let told = spans(&record);
    assert_eq!(packed.len(), told.len());
    for ((_, span), told) in packed.iter().zip(&told) {
        let hex = |number| crate::manifest::hex(&field_of(span, number));
        assert_eq!(hex(1), told["traceId"].as_str().unwrap());
        assert_eq!(hex(2), told["spanId"].as_str().unwrap());
        assert_eq!(hex(4), told["parentSpanId"].as_str().unwrap());
        assert_eq!(field_of(span, 5), told["name"].as_str().unwrap().as_bytes());
        let start = u64::from_le_bytes(field_of(span, 7).try_into().unwrap());
        assert_eq!(
            start.to_string(),
            told["startTimeUnixNano"].as_str().unwrap()
        );
        let names = fields(span).into_iter().filter(|(number, _)| *number == 9);
        let names: Vec<String> = names
            .map(|(_, pair)| String::from_utf8(field_of(&pair, 1)).unwrap())
            .collect();
        let all = told["attributes"].as_array().unwrap().iter();
        let wanted: Vec<&str> = all.map(|one| one["key"].as_str().unwrap()).collect();
        assert_eq!(names, wanted);
    }
}

#[test]
fn a_number_beyond_the_protocols_integers_is_a_decimal_one() {
    let mut record = traced();
    let value = |number: u64| MetadataValue::Number(number.into());
    record.metadata = [
        ("big".into(), value(u64::MAX)),
        ("fits".into(), value(i64::MAX.unsigned_abs())),
    ]
    .into();
    let told = attributes_of(&spans(&record)[0]);
    assert_eq!(
        told["big"],
        json!({"doubleValue": 18_446_744_073_709_551_615.0})
    );
    assert_eq!(told["fits"], json!({"intValue": "9223372036854775807"}));
}
