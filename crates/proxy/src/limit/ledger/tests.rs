use std::cell::Cell;

use isango_store::conformance::sample;
use isango_store::later::Deletion;
use isango_store::logs::LogWriter as _;
use isango_store::memory::{MemoryLogs, MemoryPledges};
use isango_types::price::PriceTable;
use isango_types::{RecordId, limit::Decision};

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
        }
    }

    /// A process that begins.
    fn start(&self) -> Arc<Limits> {
        let pledges = Pledges::new(Arc::clone(&self.store) as _);
        let limits = Arc::new(Limits::noting(Arc::new(pledges)));
        limits.restore(&self.config, &self.logs, NOW).unwrap();
        limits
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
        let pledge = permit.take_pledge();
        self.record(id, permit.settle(&spent));
        pledge.into_iter().for_each(super::super::Pledge::returned);
    }

    fn record(&self, id: RecordId, limits: Vec<Decision>) {
        let record = Record {
            id,
            account: "local".into(),
            gateway: "support".into(),
            limits,
            ..sample::record(0)
        };
        self.logs.append(&[record]).unwrap();
    }

    fn used(limits: &Limits) -> Vec<u64> {
        limits.sums().iter().map(|(_, sum)| sum.used).collect()
    }

    fn drift(&self, limits: &Limits) -> Vec<(u64, u64)> {
        let paused = Cell::new(0);
        let pause = || paused.set(paused.get() + 1);
        let drifts = limits.drift(&self.config, &self.logs, &|| NOW, &pause);
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
