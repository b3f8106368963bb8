//! Strict gateways: the last byte goes to the client once its record is on disk.

use std::sync::Arc;
use std::time::Duration;

use isango_store::analytics::{Aggregate, Answer as Answered, List, Listing, Progress};
use isango_store::later::{Deletion, Patch, Rating};
use isango_store::logs::{Error, Gap, LogReader, LogWriter, Page, Position, Query};
use isango_store::memory::{MemoryConfig, MemoryLogs};
use isango_testkit::answer::{json, sse, status};
use isango_testkit::client::{Ask, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;
use isango_types::record::Outcome;
use isango_types::{Clock, Record, RecordId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::harness::{CHAT, Harness, config};
use crate::legs::{Inbound, providers};

const STREAM: &str =
    r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const STRICT: &str = "[records]\ndurability = \"strict\"\n";
/// What has not come for so long is held.
const HELD_FOR: Duration = Duration::from_millis(60);

/// What the disk does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Works,
    Hangs,
    FailsToSync,
    Fails,
}

/// A store on a disk of the test's.
struct Gate {
    logs: Arc<MemoryLogs>,
    disk: Mutex<Disk>,
    changed: Condvar,
    /// One for each sync that was asked for.
    syncs: Semaphore,
}

impl Gate {
    fn is(&self, disk: Disk) {
        *self.disk.lock() = disk;
        self.changed.notify_all();
    }

    fn full() -> Error {
        Error::Io(std::io::Error::from_raw_os_error(28))
    }

    async fn synced(&self) {
        let asked = within("a sync", self.syncs.acquire()).await;
        asked.unwrap().forget();
    }
}

impl LogWriter for Gate {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        match *self.disk.lock() {
            Disk::Fails => Err(Self::full()),
            Disk::Works | Disk::Hangs | Disk::FailsToSync => self.logs.append(batch),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        self.syncs.add_permits(1);
        let mut disk = self.disk.lock();
        while *disk == Disk::Hangs {
            self.changed.wait(&mut disk);
        }
        match *disk {
            Disk::Works | Disk::Hangs => Ok(()),
            Disk::FailsToSync | Disk::Fails => Err(Self::full()),
        }
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        self.logs.append_gap(gap)
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        self.logs.patch(id, patch)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.logs.delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.logs.restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        self.logs.rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        self.logs.settle_ratings()
    }
}

impl LogReader for Gate {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.logs.get(id)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error> {
        self.logs.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        self.logs.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answered, Error> {
        self.logs.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.logs.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        self.logs.follow(from, limit)
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.logs.dropped(from, to)
    }
}

/// A gateway before an upstream, on a disk.
fn start(settings: &str, upstream: &Upstream, disk: Disk) -> (Harness, Arc<Gate>) {
    let logs = Arc::new(MemoryLogs::default());
    let gate = Arc::new(Gate {
        logs: Arc::clone(&logs),
        disk: Mutex::new(disk),
        changed: Condvar::new(),
        syncs: Semaphore::new(0),
    });
    let config = config(&format!("{settings}{}", providers(upstream)));
    let stores = (Arc::clone(&gate) as _, logs);
    let entities = Arc::new(MemoryConfig::default());
    let harness = Harness::start_over(&config, stores, entities, Clock::system());
    (harness, gate)
}

fn whole() -> Ask {
    Ask::post(CHAT, PROMPT).with("authorization", "Bearer k")
}

#[tokio::test]
async fn a_whole_answer_ends_when_its_record_is_on_disk() {
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let upstream = Upstream::start([json(COMPLETION)]).await;
        let (gateway, gate) = start(STRICT, &upstream, Disk::Hangs);
        let mut reading = inbound.start(&gateway, &whole()).await;
        gate.synced().await;
        assert!(timeout(HELD_FOR, reading.piece()).await.is_err());
        assert_eq!(gateway.records(1).await[0].outcome, Outcome::Answered);
        gate.is(Disk::Works);
        assert_eq!(reading.rest().await, (COMPLETION.into(), End::Whole));
        assert_eq!(gateway.records(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_stream_passes_event_by_event_and_its_last_one_waits() {
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let events = chat_events(&["Sa", "wu", "bona"]);
        let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
        let (gateway, gate) = start(STRICT, &upstream, Disk::Hangs);
        let mut reading = inbound.start(&gateway, &Ask::post(CHAT, STREAM)).await;
        let (done, others) = events.split_last().unwrap();
        for event in others {
            upstream.go();
            assert_eq!(reading.bytes(event.len()).await, event[..]);
        }
        upstream.go();
        gate.synced().await;
        assert!(timeout(HELD_FOR, reading.piece()).await.is_err());
        gate.is(Disk::Works);
        assert_eq!(reading.rest().await, (done.to_vec(), End::Whole));
    }
}

#[tokio::test]
async fn an_answer_whose_record_is_not_on_disk_is_cut() {
    for disk in [Disk::FailsToSync, Disk::Fails] {
        for events in [None, Some(chat_events(&["Sa", "wu"]))] {
            let answer = events.clone().map_or_else(|| json(COMPLETION), sse);
            let ask = events.map_or_else(whole, |_| Ask::post(CHAT, STREAM));
            let upstream = Upstream::start([answer]).await;
            let (gateway, gate) = start(STRICT, &upstream, disk);
            let reading = Inbound::Http1.start(&gateway, &ask).await;
            let (bytes, end) = reading.rest().await;
            assert_ne!(end, End::Whole);
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains("[DONE]") && text != COMPLETION, "{text}");
            gate.is(Disk::Works);
            let record = gateway.record().await;
            if disk == Disk::Fails {
                assert!(record.notes[0].contains("could not be stored in time"));
            }
        }
    }
}

#[tokio::test]
async fn while_nothing_can_be_stored_nothing_is_asked_and_then_it_goes_on() {
    let upstream = Upstream::start([json(COMPLETION), json(COMPLETION)]).await;
    let (gateway, gate) = start(STRICT, &upstream, Disk::Fails);
    let reading = Inbound::Http1.start(&gateway, &whole()).await;
    assert_ne!(reading.rest().await.1, End::Whole);
    let refused = gateway.ask(&whole()).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json()["internalCode"], 3034);
    assert_eq!(upstream.count(), 1, "no provider was asked again");
    gate.is(Disk::Works);
    gateway.records(2).await;
    assert_eq!(gateway.ask(&whole()).await.status(), 200);
}

#[tokio::test]
async fn an_answer_without_a_body_waits_with_its_head() {
    let upstream = Upstream::start([status(204), status(204)]).await;
    let (gateway, gate) = start(STRICT, &upstream, Disk::Hangs);
    let mut client = gateway.send(&whole()).await;
    gate.synced().await;
    assert!(timeout(HELD_FOR, client.some()).await.is_err());
    gate.is(Disk::Works);
    assert_eq!(client.reply().await.status(), 204);
    gate.is(Disk::FailsToSync);
    let refused = gateway.ask(&whole()).await;
    assert_eq!(
        (refused.status(), refused.json()["internalCode"].clone()),
        (503, 3034.into())
    );
}

#[tokio::test]
async fn a_gateway_says_for_itself_and_a_relaxed_one_waits_for_nothing() {
    let upstream = Upstream::start([json(COMPLETION), json(COMPLETION)]).await;
    let gateways = "[[gateways]]\nid = \"default\"\n\
                    [[gateways]]\nid = \"audited\"\ndurability = \"strict\"\n";
    let (gateway, gate) = start(gateways, &upstream, Disk::Hangs);
    assert_eq!(gateway.ask(&whole()).await.status(), 200);
    gateway.records(1).await;
    assert_eq!(gate.syncs.available_permits(), 0);
    gate.is(Disk::Works);
    let audited = CHAT.replace("/default/", "/audited/");
    let ask = Ask::post(&audited, PROMPT).with("authorization", "Bearer k");
    assert_eq!(gateway.ask(&ask).await.status(), 200);
    assert_eq!(gate.syncs.available_permits(), 1);
}
