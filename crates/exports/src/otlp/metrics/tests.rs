use isango_store::conformance::sample;
use isango_types::record::{Attempt, RecordError};
use isango_types::{Cost, CostStatus, Operation, Usage};
use serde_json::{Value as Json, json};

use super::*;
use crate::otlp::tests::{field_of, fields};

const TIMES: (u64, u64) = (1_000, 2_000);
const WHOSE: Whose<'static> = Whose {
    account: "local",
    gateway: Some("support"),
};

/// A streamed answer of 11 tokens, the first of them after 0.2 of 1.2 seconds.
fn record(model: &str) -> Record {
    let mut record = sample::record(1);
    record.operation = Operation::Chat;
    record.provider = Some("azure-openai".into());
    record.model_requested = Some(model.into());
    record.model = Some("gpt-4o-2024-08-06".into());
    record.attempts = vec![Attempt::default()];
    record.error = None;
    record.timing.total_us = 1_200_000;
    record.timing.ttft_us = Some(200_000);
    record.usage = Some(Usage {
        input: 300,
        output: 11,
        ..Usage::default()
    });
    record.cost = Cost {
        status: CostStatus::Priced,
        nanousd: Some(250_000_000),
        price: None,
    };
    record
}

fn told(records: &[Record]) -> Vec<Json> {
    let mut metrics = Metrics::default();
    for record in records {
        metrics.add(record);
    }
    let text = metrics.request(WHOSE, TIMES, false);
    let read: Json = serde_json::from_slice(&text).unwrap();
    let scope = &read["resourceMetrics"][0]["scopeMetrics"][0];
    assert_eq!(scope["scope"]["name"], "isango");
    scope["metrics"].as_array().unwrap().clone()
}

fn metric<'j>(all: &'j [Json], name: &str) -> &'j Json {
    all.iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn a_batch_is_told_by_the_names_of_the_conventions() {
    let all = told(&[record("gpt-4o"), record("gpt-4o")]);
    let duration = metric(&all, "gen_ai.client.operation.duration");
    assert_eq!(duration["unit"], "s");
    assert_eq!(duration["histogram"]["aggregationTemporality"], 1);
    let point = &duration["histogram"]["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&json!("2"), &json!(2.4)));
    assert_eq!(point["startTimeUnixNano"], "1000");
    assert_eq!(point["timeUnixNano"], "2000");
    let counts = point["bucketCounts"].as_array().unwrap();
    let bounds = point["explicitBounds"].as_array().unwrap();
    assert_eq!((counts.len(), bounds.len()), (15, 14));
    // 1.2 lies between 0.64 and 1.28.
    assert_eq!(
        (&bounds[6], &bounds[7], &counts[7]),
        (&json!(0.64), &json!(1.28), &json!("2"))
    );
    let attributes = point["attributes"].as_array().unwrap().iter();
    let attributes: Vec<(&str, &str)> = attributes
        .map(|one| {
            let value = one["value"]["stringValue"].as_str().unwrap();
            (one["key"].as_str().unwrap(), value)
        })
        .collect();
    assert_eq!(
        attributes,
        [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "azure.ai.openai"),
            ("gen_ai.request.model", "gpt-4o"),
            ("gen_ai.response.model", "gpt-4o-2024-08-06"),
            ("isango.account", "local"),
            ("isango.gateway", "support"),
        ]
    );
    let sums = |name: &str| {
        let points = metric(&all, name)["histogram"]["dataPoints"]
            .as_array()
            .unwrap();
        points
            .iter()
            .map(|point| point["sum"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(sums("gen_ai.client.token.usage"), [600.0, 22.0]);
    assert_eq!(sums("gen_ai.server.time_to_first_token"), [0.4]);
    assert_eq!(sums("gen_ai.server.time_per_output_token"), [0.2]);
    let cost = &metric(&all, "isango.cost")["sum"];
    assert_eq!(cost["isMonotonic"], true);
    assert_eq!(cost["dataPoints"][0]["asDouble"], 0.5);
}

#[test]
fn what_did_not_happen_is_not_told() {
    let mut failed = record("gpt-4o");
    failed.error = Some(RecordError {
        code: "upstream_timeout".into(),
        message: "it took too long".into(),
        blame: isango_types::record::Blame::Upstream,
    });
    failed.outcome = isango_types::record::Outcome::Failed;
    failed.status = Some(504);
    failed.usage = None;
    failed.timing.ttft_us = None;
    failed.cost.nanousd = None;
    let all = told(&[failed]);
    let names: Vec<&str> = all
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gen_ai.client.operation.duration"]);
    let attributes = all[0]["histogram"]["dataPoints"][0]["attributes"].to_string();
    assert!(attributes.contains("upstream_timeout"), "{attributes}");
    // No provider was asked.
    let mut cached = record("gpt-4o");
    cached.attempts.clear();
    assert!(!Metrics::default().add(&cached));
}

#[test]
fn models_beyond_the_first_are_others() {
    let records: Vec<Record> = (0..MAX_SERIES + 50)
        .map(|n| record(&format!("m{n}")))
        .collect();
    let all = told(&records);
    let duration = metric(&all, "gen_ai.client.operation.duration");
    let points = duration["histogram"]["dataPoints"].as_array().unwrap();
    assert_eq!(points.len(), MAX_SERIES + 1);
    let others = points
        .iter()
        .find(|one| one["attributes"].to_string().contains("\"other\""));
    assert_eq!(others.unwrap()["count"], "50");
    let long = told(&[record(&"m".repeat(200))]);
    assert!(long[0].to_string().contains("\"other\""));
}

#[test]
fn protobuf_says_the_same_as_json() {
    let mut metrics = Metrics::default();
    metrics.add(&record("gpt-4o"));
    let told = told(&[record("gpt-4o")]);
    let packed = metrics.request(WHOSE, TIMES, true);
    let of_scope = field_of(&field_of(&packed, 1), 2);
    let packed = fields(&of_scope)
        .into_iter()
        .filter(|(number, _)| *number == 2);
    let packed: Vec<Vec<u8>> = packed.map(|(_, metric)| metric).collect();
    assert_eq!(packed.len(), told.len());
    let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    for (packed, told) in packed.iter().zip(&told) {
        for (number, name) in [(1, "name"), (2, "description"), (3, "unit")] {
            assert_eq!(
                field_of(packed, number),
                told[name].as_str().unwrap().as_bytes()
            );
        }
        let (place, kind, of_attributes) = match told.get("sum") {
            Some(_) => (7, "sum", 7),
            None => (9, "histogram", 9),
        };
        let data = field_of(packed, place);
        assert_eq!(long(&field_of(&data, 2)), 1);
        let point = field_of(&data, 1);
        let told = &told[kind]["dataPoints"][0];
        assert_eq!(
            (long(&field_of(&point, 2)), long(&field_of(&point, 3))),
            TIMES
        );
        let of = fields(&point)
            .into_iter()
            .filter(|(number, _)| *number == of_attributes);
        assert_eq!(of.count(), told["attributes"].as_array().unwrap().len());
        let decimal = |number| f64::from_bits(long(&field_of(&point, number)));
        if kind == "sum" {
            assert_eq!(decimal(4), told["asDouble"].as_f64().unwrap());
            continue;
        }
        assert_eq!(long(&field_of(&point, 4)).to_string(), told["count"]);
        assert_eq!(decimal(5), told["sum"].as_f64().unwrap());
        assert_eq!(decimal(11), told["min"].as_f64().unwrap());
        let bounds = field_of(&point, 7);
        let bounds: Vec<f64> = bounds
            .chunks(8)
            .map(|one| f64::from_bits(long(one)))
            .collect();
        let wanted = told["explicitBounds"].as_array().unwrap().iter();
        let wanted: Vec<f64> = wanted.map(|bound| bound.as_f64().unwrap()).collect();
        assert_eq!(bounds, wanted);
        let counts = field_of(&point, 6);
        let counts: Vec<String> = counts.chunks(8).map(|one| long(one).to_string()).collect();
        assert_eq!(json!(counts), told["bucketCounts"]);
    }
}
