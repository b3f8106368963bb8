//! Records that were priced again: columns, sums and whole records tell the same.

use isango_store::analytics::{List, Measure, Quantity};
use isango_store::conformance::varied;
use isango_store::later::{Deletion, Patch, Rating};
use isango_types::price::CostStatus;
use isango_types::{Cost, Timestamp};

use super::*;

fn sealing_at(rows: usize) -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes: 40_000,
        seal_at: SealAt {
            rows,
            ..SealAt::default()
        },
        ..Options::default()
    }
}

/// Every third record costs something else, and every ninth of them what nobody knows.
fn ratings(records: &[Record]) -> Vec<(RecordId, Rating)> {
    let rating = |n: usize| Rating {
        cost: match n % 9 {
            0 => Cost::unknown(CostStatus::Unpriced),
            _ => Cost {
                status: CostStatus::Priced,
                nanousd: Some(1_000_000 + n as u64),
                price: Some("own/azure-openai/house".into()),
            },
        },
        at: sample::START,
    };
    let some = records.iter().enumerate().step_by(3);
    some.map(|(n, record)| (record.id, rating(n))).collect()
}

fn fill(store: &Records, model: &MemoryLogs, seed: u64, count: u64) -> Vec<Record> {
    let records: Vec<Record> = (seed..seed + count).map(varied::record).collect();
    for batch in records.chunks(23) {
        store.append(batch).unwrap();
        model.append(batch).unwrap();
    }
    records
}

#[test]
fn columns_and_sums_tell_the_costs_that_records_were_given() {
    for (rows, seed) in [(10_000, 100), (40, 2_000), (15, 3_000)] {
        let dir = TempDir::new().unwrap();
        let (store, model) = (open(dir.path(), sealing_at(rows)), MemoryLogs::default());
        let records = fill(&store, &model, seed, 300);
        store.settle().unwrap();
        let hot = fill(&store, &model, seed + 300, 20);
        let thumb = Patch {
            feedback: Change::Set(1),
            ..Patch::default()
        };
        let both = [&records[..], &hot].concat();
        for log in [&store as &dyn LogWriter, &model] {
            assert!(log.patch(records[3].id, &thumb).unwrap());
            log.rate(&ratings(&both)).unwrap();
            log.settle_ratings().unwrap();
            log.delete(&[records[6].id], Deletion::Hidden).unwrap();
        }
        conformance::agrees(&store, &model, seed, 8);
        let beside = Reader::open(dir.path()).unwrap();
        conformance::agrees(&beside, &model, seed + 1, 4);
        fill(&store, &model, seed + 400, 100);
        store.settle().unwrap();
        conformance::agrees(&store, &model, seed + 2, 8);
        drop(store);
        let store = open(dir.path(), sealing_at(rows));
        store.reader.columns().rebuild().unwrap();
        conformance::agrees(&store, &model, seed + 3, 8);
    }
}

#[test]
fn sums_that_were_rolled_know_the_costs_of_now() {
    let dir = TempDir::new().unwrap();
    let (store, model) = (open(dir.path(), sealing_at(40)), MemoryLogs::default());
    let records = fill(&store, &model, 0, 900);
    store.settle().unwrap();
    for log in [&store as &dyn LogWriter, &model] {
        log.rate(&ratings(&records)).unwrap();
        log.settle_ratings().unwrap();
    }
    store.settle().unwrap();
    let columns = store.reader.columns();
    let question = Aggregate {
        measures: vec![Measure::Sum(Quantity::Cost), Measure::Unpriced],
        ..Aggregate::default()
    };
    let snapshot = columns.snapshot().unwrap();
    assert!(aggregate::uses_rollups(columns, &question, &snapshot, 0));
    let progress = Progress::default();
    let answer = aggregate::answer(columns, &question, &progress, 0).unwrap();
    assert_eq!(answer, model.aggregate(&question, &progress).unwrap());
}

#[test]
fn upkeep_ends_what_a_crash_cut_off() {
    let dir = TempDir::new().unwrap();
    let (store, model) = (open(dir.path(), sealing_at(40)), MemoryLogs::default());
    let records = fill(&store, &model, 0, 200);
    store.settle().unwrap();
    store.rate(&ratings(&records)).unwrap();
    model.rate(&ratings(&records)).unwrap();
    drop(store);
    let store = open(dir.path(), sealing_at(40));
    let list = |logs: &dyn LogReader| logs.list(&List::default(), &Progress::default()).unwrap();
    assert_ne!(list(&store).rows, list(&model).rows);
    store
        .upkeep(Timestamp::from_micros(sample::START.as_micros() + 1))
        .unwrap();
    assert_eq!(list(&store).rows, list(&model).rows);
    assert!(store.reader.overlay().due_ratings().unwrap().is_empty());
}

#[test]
fn a_cost_that_was_set_anew_while_columns_were_made_stays_due() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing_at(40));
    let records = fill(&store, &MemoryLogs::default(), 0, 30);
    let ratings = ratings(&records);
    store.rate(&ratings[1..2]).unwrap();
    let overlay = store.reader.overlay();
    let before = overlay.due_ratings().unwrap();
    let mut anew = ratings[1].clone();
    anew.1.at = sample::time(9);
    store.rate(&[anew]).unwrap();
    overlay.settle_ratings(&before).unwrap();
    assert_eq!(overlay.due_ratings().unwrap().len(), 1);
}

/// The first frames of two files stand at the same place of theirs.
#[test]
fn what_was_said_of_the_first_record_of_a_file_is_seen_by_a_follower() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        max_file_bytes: 1,
        ..sealing_at(10)
    };
    let store = open(dir.path(), options);
    let records = batch(0, 4);
    for record in &records {
        store.append(std::slice::from_ref(record)).unwrap();
    }
    store.delete(&[records[1].id], Deletion::Hidden).unwrap();
    let (followed, _) = store.follow(Position::START, 10).unwrap();
    let erased: Vec<bool> = followed.iter().map(Record::is_erased).collect();
    assert_eq!(erased, [false, true, false, false]);
}
