//! What of a record leaves, by what its gateway asks.

use isango_types::record::{Body, MetadataValue};
use isango_types::redaction::{Redact, Redaction};

use super::*;

/// Takes out user agents.
struct Agents;

impl Redact for Agents {
    fn redact(&self, record: &mut Record) {
        record.user_agent = Some("[redacted:agent]".into());
    }
}

fn asking(id: &str) -> Gateway {
    gateway(id, |gateway| {
        gateway.export_redaction = Some(Redaction::new("agents", Arc::new(Agents)));
    })
}

/// Records of a gateway that say the same secret everywhere.
fn planted(world: &World, gateway: &str, numbers: std::ops::Range<u64>) {
    world.record(numbers, |_, record| {
        record.gateway = gateway.into();
        record.user_agent = Some("planted".into());
        record.path = "/chat?q=planted".into();
        record.notes = vec!["planted".into()];
        record
            .metadata
            .insert("m".into(), MetadataValue::Text("planted".into()));
        record.request.body = Some(Body::Text("planted".into()));
        record.response.raw = Some(Body::Text("planted".into()));
    });
}

/// What was written into objects.
fn written(world: &World) -> String {
    let objects = world.bucket.objects.lock();
    let bodies = objects.iter().filter(|(key, _)| !key.contains("manifests"));
    let texts = bodies.map(|(_, body)| String::from_utf8(body.clone()).unwrap());
    texts.collect()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_gone_still_keeps_what_it_kept() {
    let world = World::new(Bucket::default());
    world.cell.swap(snapshot(vec![asking("was")]));
    let spec = spec(S3, Dataset::Records);
    world
        .during(&spec, async |exports| {
            seen(exports, |view| !view.head.is_empty()).await;
            world.cell.swap(snapshot(Vec::new()));
            planted(&world, "was", 0..10);
            exports.wake();
            seen(exports, |view| view.delivered_records == 10).await;
        })
        .await;
    let written = written(&world);
    assert_eq!(written.matches("[redacted:agent]").count(), 10);
    assert!(
        written.contains("/chat?q=planted"),
        "its rules say nothing of it"
    );
}

#[tokio::test(start_paused = true)]
async fn records_of_a_gateway_that_nobody_remembers_leave_without_contents() {
    let world = World::new(Bucket::default());
    planted(&world, "never", 0..10);
    // No gateway was named: no rules were there, and none are missed.
    world.record(10..11, |_, record| {
        record.gateway = "".into();
        record.user_agent = Some("kept".into());
    });
    let spec = spec(S3, Dataset::Records);
    world
        .until(&spec, |view| view.delivered_records == 11)
        .await;
    let written = written(&world);
    assert!(!written.contains("planted"), "{written}");
    assert!(written.contains("\"path\":\"/chat\"") && written.contains("kept"));
}

#[tokio::test(start_paused = true)]
async fn what_would_be_sealed_is_in_no_record_that_is_exported_whole() {
    let world = World::new(Bucket::default());
    let sealing = gateway("sealing", |gateway| {
        gateway.logpush_public_key = Some("a key that nobody can read".into());
    });
    world.cell.swap(snapshot(vec![sealing]));
    for dataset in [Dataset::Records, Dataset::Events] {
        planted(&world, "sealing", 0..10);
        let spec = Spec {
            id: format!("local/{}", dataset.as_str()).into(),
            ..spec(S3, dataset)
        };
        world
            .until(&spec, |view| view.delivered_records >= 10)
            .await;
    }
    let written = written(&world);
    // Paths and user agents are in no sealed field.
    assert_eq!(
        written.matches("\"/chat?q=planted\"").count(),
        written.lines().count()
    );
    let rest = written.replace("/chat?q=planted", "");
    for member in ["\"m\":", "body\":", "raw\":", "Body\":\"planted"] {
        assert!(!rest.contains(member), "{member} {rest}");
    }
}
