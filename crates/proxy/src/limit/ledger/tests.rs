use std::cell::Cell;
use std::time::Duration;

use isango_store::analytics::{Aggregate, Answer, List, Listing, Progress};
use isango_store::checkpoint::CheckpointStore as _;
use isango_store::conformance::sample;
use isango_store::later::Deletion;
use isango_store::logs::{LogWriter as _, Query};
use isango_store::memory::{MemoryCheckpoint, MemoryLogs, MemoryPledges};
use isango_types::RecordId;
use isango_types::limit::Dimension;
use isango_types::price::PriceTable;
use parking_lot::Mutex;

use super::*;
use crate::limit::tests::{gateway, limit, want};
use crate::limit::{Permit, Pledges, Spent};

const NOW: Timestamp = sample::START;

/// A gateway with one limit of 100 tokens for each tenant.
struct Ground {
    limit: Arc<Limit>,
    config: Snapshot,
    gateway: Gateway,
    logs: MemoryLogs,
    store: Arc<MemoryPledges>,
    checkpoint: Arc<MemoryCheckpoint>,
}

impl Ground {
    fn new() -> Self {
        let limit = Arc::new(limit(Unit::Tokens));
        let gateway = gateway(&limit);
        let prices = Arc::new(PriceTable::default());
        Self {
            config: Snapshot::new(vec![gateway.clone()], Vec::new(), prices, None, Vec::new()),
            limit,
            gateway,
            logs: MemoryLogs::default(),
            store: Arc::default(),
            checkpoint: Arc::default(),
        }
    }

    /// A process that begins.
    fn start(&self) -> Arc<Limits> {
        self.start_reading(&self.logs)
    }

    fn start_reading(&self, reader: &dyn LogReader) -> Arc<Limits> {
        let pledges = Pledges::new(Arc::clone(&self.store) as _);
        let limits = Limits::noting(Arc::new(pledges)).saving(Arc::clone(&self.checkpoint) as _);
        limits.restore(&self.config, reader, NOW).unwrap();
        Arc::new(limits)
    }

    fn save(&self, limits: &Limits) {
        limits.save(&self.config, &self.logs, NOW).unwrap();
    }

    /// A request that is sent, and holds 40.
    fn send(&self, limits: &Arc<Limits>) -> (RecordId, Permit) {
        let wants = vec![want(&self.limit, "acme", 40, 0)];
        let (leases, headroom) = limits.draw(&self.gateway, wants, NOW).unwrap();
        let mut permit = Permit::new(Arc::clone(limits));
        permit.take(leases, headroom);
        permit.sent();
        let id = RecordId::new(NOW);
        permit.commit(id, &self.gateway);
        (id, permit)
    }

    /// It ends with so many tokens, and its record is stored.
    fn end(&self, (id, mut permit): (RecordId, Permit), tokens: u64) {
        let spent = Spent {
            requests: 1,
            tokens: Some(tokens),
            ..Spent::default()
        };
        permit.note_spent(id, &self.gateway, &spent);
        let mut booked = Booked {
            gateways: vec![(0, Arc::new(self.gateway.clone()))],
            pledges: permit.take_pledge().into_iter().collect(),
        };
        let limits = Arc::clone(permit.limits());
        let record = Self::record_of(id, permit.settle(&spent));
        let append = |batch: &[Record]| self.logs.append(batch);
        limits.store(&[record], &mut booked, NOW, append).unwrap();
    }

    fn record_of(id: RecordId, limits: Vec<Decision>) -> Record {
        Record {
            id,
            account: "local".into(),
            gateway: "support".into(),
            limits,
            ..sample::record(0)
        }
    }

    fn record(&self, id: RecordId, limits: Vec<Decision>) {
        self.logs.append(&[Self::record_of(id, limits)]).unwrap();
    }

    fn used(limits: &Limits) -> Vec<u64> {
        limits.sums().iter().map(|(_, sum)| sum.used).collect()
    }

    fn drift(&self, limits: &Limits) -> Vec<(u64, u64)> {
        self.drift_from(limits, Against::Checkpoint)
    }

    fn drift_from(&self, limits: &Limits, against: Against) -> Vec<(u64, u64)> {
        let paused = Cell::new(0);
        let pause = || paused.set(paused.get() + 1);
        let drifts = limits.drift((&self.config, against), &self.logs, &|| NOW, &pause);
        assert_eq!(paused.get(), 1);
        let drifts = drifts.unwrap().into_iter();
        drifts.map(|one| (one.counter, one.ledger)).collect()
    }
}

#[test]
fn what_has_no_record_when_a_process_dies_counts_until_it_has_one() {
    let ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 7);
    let under_way = ground.send(&limits);
    // The process dies; nothing of it is told to anybody.
    for _life in 0..3 {
        let limits = ground.start();
        assert_eq!(Ground::used(&limits), [7 + 40]);
        assert_eq!(ground.drift(&limits), []);
    }
    // Its slot is not given to others: both count in the next life.
    let limits = ground.start();
    ground.end(ground.send(&limits), 5);
    assert_eq!(Ground::used(&ground.start()), [7 + 40 + 5]);
    // A record of the same id is believed before what was noted.
    let decision = Decision {
        charged: 1,
        ..held(&under_way.1)
    };
    ground.record(under_way.0, vec![decision]);
    assert_eq!(Ground::used(&ground.start()), [7 + 1 + 5]);
}

#[test]
fn a_deletion_gives_nothing_back() {
    for how in [Deletion::Hidden, Deletion::Erased] {
        let ground = Ground::new();
        let limits = ground.start();
        let sent = ground.send(&limits);
        let id = sent.0;
        ground.end(sent, 30);
        assert_eq!(ground.logs.delete(&[id], how).unwrap(), 1);
        assert_eq!(Ground::used(&ground.start()), [30], "{how:?}");
        assert_eq!(ground.drift(&limits), [], "{how:?}");
    }
}

/// What the limit says to a request that holds something.
fn held(permit: &Permit) -> Decision {
    permit.leases()[0].decision().clone()
}

#[test]
fn a_counter_that_is_not_what_the_records_say_is_told() {
    let ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    assert_eq!(ground.drift(&limits), []);
    // Under way: held, and no drift.
    let running = ground.send(&limits);
    assert_eq!(ground.drift(&limits), []);
    // Lost: charged, and noted.
    drop(running);
    assert_eq!(Ground::used(&limits), [70]);
    assert_eq!(ground.drift(&limits), []);
    // Drawn, with neither record nor note.
    let (_, permit) = ground.send(&limits);
    drop(permit.settle(&Spent {
        tokens: Some(9),
        ..Spent::default()
    }));
    ground.store_is_emptied();
    assert_eq!(ground.drift(&limits), [(79, 30)]);
    // On record, and not drawn.
    let other = Ground::new();
    let limits = other.start();
    let decision = Decision {
        charged: 11,
        ..held(&other.send(&limits).1)
    };
    other.record(RecordId::new(NOW), vec![decision]);
    other.store_is_emptied();
    assert_eq!(other.drift(&other.start_unread()), [(0, 11)]);
}

impl Ground {
    fn store_is_emptied(&self) {
        use isango_store::pledges::PledgeStore as _;
        for (slot, _) in self.store.entries().unwrap() {
            self.store.clear(slot).unwrap();
        }
    }

    /// A process that has not looked at the records.
    fn start_unread(&self) -> Arc<Limits> {
        Arc::new(Limits::noting(Arc::new(Pledges::new(
            Arc::clone(&self.store) as _,
        ))))
    }
}

/// Records of which it is told who reads what.
struct Watched<'l> {
    logs: &'l MemoryLogs,
    read: Mutex<Vec<String>>,
}

impl<'l> Watched<'l> {
    fn new(logs: &'l MemoryLogs) -> Self {
        let read = Mutex::default();
        Self { logs, read }
    }
}

impl LogReader for Watched<'_> {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.logs.get(id)
    }

    fn search(
        &self,
        query: &Query,
        progress: &Progress,
    ) -> Result<isango_store::logs::Page, Error> {
        self.read.lock().push("all".to_owned());
        self.logs.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        self.logs.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error> {
        self.logs.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.logs.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        let (records, next) = self.logs.follow(from, limit)?;
        let read = format!("{} from {from}", records.len());
        self.read.lock().push(read);
        Ok((records, next))
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.logs.dropped(from, to)
    }
}

#[test]
fn a_start_reads_what_follows_what_was_saved_and_nothing_else() {
    let ground = Ground::new();
    let limits = ground.start();
    (0..2).for_each(|_| ground.end(ground.send(&limits), 7));
    ground.save(&limits);
    let under_way = ground.send(&limits);
    ground.end(ground.send(&limits), 5);
    let watched = Watched::new(&ground.logs);
    let limits = ground.start_reading(&watched);
    assert_eq!(Ground::used(&limits), [2 * 7 + 5 + 40]);
    assert_eq!(
        std::mem::take(&mut *watched.read.lock()),
        ["1 from 2", "0 from 3"]
    );
    // What is compared is read from there, too.
    assert_eq!(ground.drift(&limits), []);
    // It ends after all; nothing of it is counted twice, in however many lives.
    ground.end(under_way, 9);
    for _life in 0..3 {
        let limits = ground.start();
        assert_eq!(Ground::used(&limits), [2 * 7 + 5 + 9]);
        ground.save(&limits);
    }
    let limits = ground.start_reading(&watched);
    assert_eq!(Ground::used(&limits), [2 * 7 + 5 + 9]);
    assert_eq!(std::mem::take(&mut *watched.read.lock()), ["0 from 4"]);
}

#[test]
fn what_retention_has_dropped_still_counts() {
    let mut ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    ground.save(&limits);
    // Every record is gone, and the next ones stand where they stood.
    ground.logs = MemoryLogs::default();
    for life in 1..=3 {
        let limits = ground.start();
        ground.save(&limits);
        assert_eq!(ground.drift(&limits), [], "life {life}");
        ground.end(ground.send(&limits), 5);
        assert_eq!(Ground::used(&ground.start()), [30 + 5 * life]);
    }
}

#[test]
fn a_limit_that_counts_otherwise_is_read_from_the_records() {
    let mut ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    ground.save(&limits);
    let mut start_with = |limit: Limit| {
        ground.gateway = gateway(&Arc::new(limit));
        let prices = Arc::new(PriceTable::default());
        let gateways = vec![ground.gateway.clone()];
        ground.config = Snapshot::new(gateways, Vec::new(), prices, None, Vec::new());
        let watched = Watched::new(&ground.logs);
        let used = Ground::used(&ground.start_reading(&watched));
        (used, std::mem::take(&mut *watched.read.lock()).join(", "))
    };
    let same = limit(Unit::Tokens);
    let hour = isango_types::limit::Window::Fixed(Duration::from_secs(3_600));
    let longer = Limit {
        window: hour,
        ..limit(Unit::Tokens)
    };
    assert_eq!(start_with(longer), (vec![30], "all, 0 from 1".to_owned()));
    let counted = Limit {
        unit: Unit::Cost,
        ..limit(Unit::Tokens)
    };
    assert_eq!(
        start_with(counted),
        (Vec::new(), "all, 0 from 1".to_owned())
    );
    // What counted in buckets by other values counts in none of these, also if they are as many.
    for by in [Vec::new(), vec![Dimension::Token]] {
        let other = Limit {
            by,
            ..limit(Unit::Tokens)
        };
        assert_eq!(start_with(other), (Vec::new(), "0 from 1".to_owned()));
    }
    let less = Limit { limit: 31, ..same };
    assert_eq!(start_with(less), (vec![30], "0 from 1".to_owned()));
}

#[test]
fn what_was_saved_and_cannot_be_read_is_read_from_the_records() {
    let ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    ground.save(&limits);
    let saved = ground.checkpoint.load().unwrap().unwrap();
    for bytes in [&b""[..], b"nonsense", &saved[..saved.len() - 1]] {
        ground.checkpoint.save(bytes).unwrap();
        assert_eq!(Ground::used(&ground.start()), [30]);
    }
}

#[test]
fn a_checkpoint_that_is_wrong_is_found_in_the_records() {
    let ground = Ground::new();
    let limits = ground.start();
    // From before the window, so that nothing of the window was dropped.
    let long_ago = NOW.minus(Duration::from_secs(86_400));
    let first = Record {
        created_at: long_ago,
        ..Ground::record_of(RecordId::new(long_ago), Vec::new())
    };
    ground.logs.append(&[first]).unwrap();
    ground.end(ground.send(&limits), 30);
    ground.save(&limits);
    // What was saved says more than the records, and less.
    for (other, ledger) in [(31_u64, 30), (29, 30)] {
        let saved = ground.checkpoint.load().unwrap().unwrap();
        let mut wrong = saved.clone();
        let at = wrong.len() - size_of::<u64>();
        wrong[at..].copy_from_slice(&other.to_le_bytes());
        ground.checkpoint.save(&wrong).unwrap();
        let limits = ground.start();
        assert_eq!(Ground::used(&limits), [other]);
        assert_eq!(ground.drift_from(&limits, Against::Checkpoint), []);
        let found = ground.drift_from(&limits, Against::Records);
        assert_eq!(found, [(other, ledger)]);
        ground.checkpoint.save(&saved).unwrap();
    }
    assert_eq!(ground.drift_from(&ground.start(), Against::Records), []);
}

#[test]
fn a_limit_that_began_anew_is_not_compared_with_what_was_before() {
    let mut ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    // While the process runs.
    ground.limit = Arc::new(Limit {
        window: isango_types::limit::Window::Fixed(Duration::from_secs(3_600)),
        ..limit(Unit::Tokens)
    });
    ground.gateway = gateway(&ground.limit);
    let prices = Arc::new(PriceTable::default());
    let gateways = vec![ground.gateway.clone()];
    ground.config = Snapshot::new(gateways, Vec::new(), prices, None, Vec::new());
    ground.save(&limits);
    ground.end(ground.send(&limits), 5);
    for limits in [limits, ground.start()] {
        assert_eq!(ground.drift_from(&limits, Against::Records), []);
        assert_eq!(ground.drift_from(&limits, Against::Checkpoint), []);
    }
}

#[test]
fn what_a_limit_counted_in_another_unit_is_nothing_to_it() {
    let mut ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    // While the process runs.
    ground.gateway = gateway(&Arc::new(limit(Unit::Cost)));
    let prices = Arc::new(PriceTable::default());
    let gateways = vec![ground.gateway.clone()];
    ground.config = Snapshot::new(gateways, Vec::new(), prices, None, Vec::new());
    ground.save(&limits);
    assert!(Ground::used(&ground.start()).is_empty());
}

#[test]
fn what_retention_has_dropped_is_no_drift() {
    let mut ground = Ground::new();
    let limits = ground.start();
    ground.end(ground.send(&limits), 30);
    ground.save(&limits);
    ground.logs = MemoryLogs::default();
    let limits = ground.start();
    ground.end(ground.send(&limits), 5);
    assert_eq!(ground.drift_from(&limits, Against::Records), []);
}

#[test]
fn without_limits_nothing_is_saved() {
    let ground = Ground::new();
    let prices = Arc::new(PriceTable::default());
    let none = Snapshot::new(Vec::new(), Vec::new(), prices, None, Vec::new());
    let limits = Limits::default().saving(Arc::clone(&ground.checkpoint) as _);
    limits.save(&none, &ground.logs, NOW).unwrap();
    assert_eq!(ground.checkpoint.load().unwrap(), None);
}

#[test]
fn a_record_that_was_appended_again_counts_once() {
    let ground = Ground::new();
    let limits = ground.start();
    ground.save(&limits);
    ground.end(ground.send(&limits), 30);
    let (records, _) = ground.logs.follow(Position::START, 1).unwrap();
    ground.logs.append(&records).unwrap();
    assert_eq!(Ground::used(&ground.start()), [30]);
}

#[test]
fn a_deletion_behind_what_was_saved_gives_nothing_back() {
    for how in [Deletion::Hidden, Deletion::Erased] {
        let ground = Ground::new();
        let limits = ground.start();
        ground.end(ground.send(&limits), 30);
        ground.save(&limits);
        ground.end(ground.send(&limits), 7);
        // Another takes the slot in which that one was noted.
        ground.end(ground.send(&limits), 1);
        let all = ground.logs.query(&Query::default()).unwrap().records;
        let ids: Vec<_> = all.iter().map(|record| record.id).collect();
        assert_eq!(ground.logs.delete(&ids, how).unwrap(), 3);
        assert_eq!(Ground::used(&ground.start()), [38], "{how:?}");
        ground.checkpoint.save(b"").unwrap();
        assert_eq!(Ground::used(&ground.start()), [38], "{how:?}");
    }
}
