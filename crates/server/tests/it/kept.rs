//! How many records a gateway keeps, in a whole server: `log_management`.

use isango_store::analytics::{Aggregate, Measure, Progress};
use isango_store::conformance::sample;
use isango_store::filter::Filter;
use isango_store::logs::{LogReader as _, LogWriter as _};
use isango_store::memory::{MemoryConfig, MemoryLogs};
use isango_testkit::answer::json;
use isango_testkit::client::Ask;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::{Clock, Record};
use std::sync::Arc;
use std::time::Duration;

use crate::harness::{CHAT, Harness, config, providers};

/// The least that can be configured, and more than that.
const KEPT: u64 = 10_000;
const MORE: u64 = 10_050;

/// How many records of a gateway there are.
fn count(logs: &MemoryLogs, gateway: &str) -> u64 {
    let question = Aggregate {
        filter: Filter::parse(&format!("gateway:{gateway}"), sample::START).unwrap(),
        measures: vec![Measure::Count],
        ..Aggregate::default()
    };
    let answer = logs.aggregate(&question, &Progress::default()).unwrap();
    answer.total.values[0].unwrap()
}

/// A server whose gateways `default` and `support` have more records than the first may keep.
fn start(strategy: &str, upstream: &Upstream) -> Harness {
    let logs = Arc::new(MemoryLogs::default());
    let records: Vec<Record> = (0..2 * MORE).map(sample::record).collect();
    logs.append(&records).unwrap();
    let settings = format!(
        "[[gateways]]\nid = \"default\"\nlog_management = {KEPT}\n\
         log_management_strategy = \"{strategy}\"\n[[gateways]]\nid = \"support\"\n"
    );
    let config = config(&format!("{settings}{}", providers(upstream)));
    let entities = Arc::new(MemoryConfig::default());
    let stores = (Arc::clone(&logs) as _, logs);
    Harness::start_over(&config, stores, entities, Clock::system())
}

#[tokio::test]
async fn beyond_what_a_gateway_keeps_its_oldest_records_go_and_no_others() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = start("DELETE_OLDEST", &upstream);
    within("the erasure", async {
        while count(&gateway.logs, "default") > KEPT {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(count(&gateway.logs, "default"), KEPT);
    assert_eq!(count(&gateway.logs, "support"), MORE);
    let oldest = gateway.records(1).await;
    let of_default = oldest.iter().find(|record| *record.gateway == *"default");
    assert!(of_default.unwrap().created_at >= sample::time(2 * (MORE - KEPT)));
}

#[tokio::test]
async fn a_full_gateway_keeps_no_more_records_and_answers_as_before() {
    let upstream = Upstream::start_by(|_| json(COMPLETION)).await;
    let gateway = start("STOP_INSERTING", &upstream);
    let ask = |id: &str| {
        let path = CHAT.replace("/default/", &format!("/{id}/"));
        Ask::post(&path, PROMPT).with("authorization", "Bearer k")
    };
    // Counted at the start; until then records are kept.
    within("the count", async {
        loop {
            let before = ["default", "support"].map(|id| count(&gateway.logs, id));
            assert_eq!(gateway.ask(&ask("default")).await.status(), 200);
            assert_eq!(gateway.ask(&ask("support")).await.status(), 200);
            // What was asked first is stored first.
            while count(&gateway.logs, "support") == before[1] {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if count(&gateway.logs, "default") == before[0] {
                return;
            }
        }
    })
    .await;
    assert!(count(&gateway.logs, "support") > MORE);
}
