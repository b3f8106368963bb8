//! A search that is told to end has a page that is whole as far as it goes, and the next goes on.

use isango_store::analytics::Progress;
use isango_store::filter::Filter;
use isango_store::later::{Change, Patch};
use isango_store::logs::{LogReader as _, LogWriter as _, Order, Query};
use tempfile::TempDir;

use super::{batch, ids, open, sample, small_files};
use crate::{Options, Records, SealAt};

/// Records in several files and segments, and in memory, in no order of their own.
fn store() -> (Records, TempDir) {
    let dir = TempDir::new().unwrap();
    let options = Options {
        seal_at: SealAt {
            rows: 16,
            ..SealAt::default()
        },
        max_file_bytes: 6_000,
        ..small_files()
    };
    let store = open(dir.path(), options);
    let mut records = batch(0, 120);
    // Those of a file overlap with those of others.
    records.sort_by_key(|record| (record.created_at.as_micros() / 1_000_000 % 7, record.id));
    for some in records.chunks(5) {
        store.append(some).unwrap();
        store.settle().unwrap();
    }
    let patch = Patch {
        feedback: Change::Set(1),
        ..Patch::default()
    };
    assert!(store.patch(records[33].id, &patch).unwrap());
    (store, dir)
}

fn check(text: &str, order: Order) {
    let (store, _dir) = store();
    let mut query = Query {
        filter: Filter::parse(text, sample::START).unwrap(),
        order,
        limit: 7,
        ..Query::default()
    };
    let whole = Query {
        limit: 10_000,
        ..query.clone()
    };
    let expected = ids(&store.query(&whole).unwrap().records);
    assert!(expected.len() > 10, "{text}: {}", expected.len());
    let (mut found, mut stopped) = (Vec::new(), 0);
    let mut most = 1;
    loop {
        let progress = Progress::within(most);
        let page = store.search(&query, &progress).unwrap();
        found.extend(ids(&page.records));
        assert_eq!(found, expected[..found.len()], "{text} {order:?} {most}");
        stopped += u32::from(page.records.len() < query.limit && page.next.is_some());
        let Some(next) = page.next else { break };
        // Now and then it ends before it has come to anything new.
        most = if query.after == Some(next) {
            most * 2
        } else {
            1
        };
        query.after = Some(next);
    }
    assert_eq!(found, expected, "{text} {order:?}");
    assert!(
        stopped > 3,
        "{text} {order:?}: it was stopped {stopped} times"
    );
}

#[test]
fn pages_that_were_ended_early_are_the_answer_together() {
    // By the journal's frames, by columns, by bodies, and by what was said later.
    for text in ["", "status:200", "question", "status:200 question"] {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            check(text, order);
        }
    }
}

#[test]
fn a_search_tells_how_far_it_came() {
    let (store, _dir) = store();
    for text in ["", "status:200", "question"] {
        let query = Query {
            filter: Filter::parse(text, sample::START).unwrap(),
            limit: 1_000,
            ..Query::default()
        };
        let progress = Progress::default();
        store.search(&query, &progress).unwrap();
        assert!(
            progress.fraction() > 0.99,
            "{text}: {}",
            progress.fraction()
        );
        let progress = Progress::default();
        progress.stop();
        let page = store.search(&query, &progress).unwrap();
        assert!(page.records.is_empty() && page.next.is_some(), "{text}");
        assert!(
            progress.fraction() < 0.01,
            "{text}: {}",
            progress.fraction()
        );
    }
}
