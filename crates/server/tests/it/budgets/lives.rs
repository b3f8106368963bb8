//! Counters of one life of the executable in the next.

use std::time::Duration;

use isango_testkit::answer::json;
use isango_testkit::fixtures::COMPLETION;
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::record::Record;

use super::{TOKENS, chat, limit, of_tenant};
use crate::crash::Isango;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_as_the_records_say_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [records]\nflush_window = \"20ms\"\n{}\
         [[gateways.limits]]\nid = \"tokens\"\nunit = \"tokens\"\nlimit = {}\nwindow = \"30d\"\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        limit("unit = \"requests\"\nlimit = 10\nwindow = \"month\"\nby = [\"metadata.tenantId\"]"),
        12 * TOKENS + 15,
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), toml).unwrap();
    let mut passed = 0;
    for round in 0..4 {
        let isango = Isango::start(folder.path());
        for count in 0..3 {
            // One of them leaves no record that can be read, and counts all the same.
            let collect = if count == 1 { "false" } else { "true" };
            let ask = of_tenant("acme").with("cf-aig-collect-log", collect);
            let reply = isango_testkit::client::ask(isango.addr, &ask).await;
            let expected = if passed < 10 { 200 } else { 429 };
            assert_eq!(reply.status(), expected, "round {round}, {passed} passed");
            passed += usize::from(reply.status() == 200);
        }
        stored(folder.path(), passed).await;
        // The drop kills it.
    }
    assert_eq!(upstream.count(), 10);
    let isango = Isango::start(folder.path());
    // The rest of the tokens: less than four fifths are drawn, and then more.
    for status in [200, 429] {
        let reply = isango_testkit::client::ask(isango.addr, &of_tenant("other")).await;
        assert_eq!(reply.status(), status, "{}", reply.text());
        passed += usize::from(status == 200);
        stored(folder.path(), passed).await;
    }
    assert_eq!(upstream.count(), 11);
}

/// What was drawn counts for as long as its window, whatever becomes of the records: life after
/// life, of which none ends in good order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_outlive_the_records_that_retention_drops() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [records]\nflush_window = \"20ms\"\n{}[providers.openai]\nbase_url = \"{}/v1\"\n",
        limit("unit = \"requests\"\nlimit = 3\nwindow = \"month\""),
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), toml).unwrap();
    for expected in [200, 200, 200, 429] {
        let isango = Isango::start(folder.path());
        let reply = isango_testkit::client::ask(isango.addr, &chat()).await;
        assert_eq!(reply.status(), expected);
        if expected == 200 {
            stored(folder.path(), 1).await;
        }
        drop(isango);
        // The next one saves what it found, and is killed, too.
        drop(Isango::start(folder.path()));
        std::fs::remove_dir_all(folder.path().join("data/journal")).unwrap();
    }
    assert_eq!(upstream.count(), 3);
}

/// Waits until so many requests that drew something are in the store.
async fn stored(folder: &std::path::Path, count: usize) {
    use isango_records::Records;
    use isango_store::logs::{LogReader as _, Query};
    let reader = Records::open_read_only(&folder.join("data")).unwrap();
    let query = Query {
        limit: 1_000,
        ..Query::default()
    };
    within("the records", async {
        loop {
            let records = reader.query(&query).unwrap().records;
            let drew = |record: &&Record| record.limits.iter().any(|one| one.charged > 0);
            if records.iter().filter(drew).count() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
