//! The suite for lists and aggregates: the model says what is right.

use isango_types::Record;

use super::varied;
use crate::analytics::{Aggregate, Answer, List, Listing, Progress, Sort};
use crate::logs::{Error, LogReader, LogWriter};
use crate::memory::MemoryLogs;
use crate::row::Row;

/// Compares a store with the model, which has the same records: `rounds` lists and as many
/// aggregates, which follow from `seed`.
///
/// # Panics
/// They differ; the message tells the question.
pub fn agrees(store: &impl LogReader, model: &MemoryLogs, seed: u64, rounds: u64) {
    for round in seed..seed + rounds {
        let mut list = varied::list(round);
        let (found, right) = (listed(store, &list), listed(model, &list));
        assert_eq!(found, right, "{}: {list:?}", list.filter);
        if let Some(next) = right.next {
            list.after = Some(next);
            list.offset = 0;
            assert_eq!(
                listed(store, &list),
                listed(model, &list),
                "after that: {list:?}"
            );
        }
        let question = varied::aggregate(round);
        let (found, right) = (answered(store, &question), answered(model, &question));
        assert_eq!(found, right, "{}: {question:?}", question.filter);
        sums_up(&found, &question);
    }
}

fn listed(store: &impl LogReader, list: &List) -> Listing {
    let found = store.list(list, &Progress::default());
    assert!(found.is_ok(), "{list:?}: {found:?}");
    found.unwrap_or_default()
}

fn answered(store: &impl LogReader, question: &Aggregate) -> Answer {
    let found = store.aggregate(question, &Progress::default());
    assert!(found.is_ok(), "{question:?}: {found:?}");
    found.unwrap_or_default()
}

/// What groups and their points count is what there is in all.
fn sums_up(answer: &Answer, question: &Aggregate) {
    use crate::analytics::Measure;
    let measures = question.measured().iter();
    for (at, _) in measures
        .enumerate()
        .filter(|(_, one)| **one == Measure::Count)
    {
        let of = |values: &[Option<u64>]| values.get(at).copied().flatten().unwrap_or(0);
        let groups = answer.groups.iter().chain(&answer.other);
        if !question.dimensions().is_empty() {
            let sum: u64 = groups.map(|group| of(&group.values)).sum();
            assert_eq!(sum, of(&answer.total.values), "groups of {question:?}");
        }
        if question.every.is_some() {
            let points: u64 = answer
                .total
                .points
                .iter()
                .map(|point| of(&point.values))
                .sum();
            assert_eq!(points, of(&answer.total.values), "points of {question:?}");
        }
    }
}

/// Runs the suite on stores that `make` opens, each of them empty.
///
/// # Panics
/// The backend does not conform; the message says where.
pub fn analytics<S: LogWriter + LogReader>(make: impl Fn() -> S) {
    let result = rows(&make())
        .and_then(|()| questions(&make()))
        .and_then(|()| ends(&make()));
    assert!(result.is_ok(), "{result:?}");
}

fn rows<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let nothing = store.list(&List::default(), &Progress::default())?;
    assert!(nothing.rows.is_empty() && nothing.next.is_none() && nothing.is_complete);
    let records: Vec<Record> = (0..60).map(varied::record).collect();
    store.append(&records)?;
    let list = List {
        limit: 100,
        ..List::default()
    };
    let mut rows: Vec<Row> = records.iter().map(Row::of).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    let found = store.list(&list, &Progress::default())?;
    assert_eq!(found.rows, rows, "a row is what its record says");
    Ok(())
}

fn questions<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let model = MemoryLogs::default();
    agrees(store, &model, 0, 3);
    let records: Vec<Record> = (0..200).map(varied::record).collect();
    for batch in records.chunks(37) {
        store.append(batch)?;
        model.append(batch)?;
    }
    // Some twice, as after an append that did not know whether it had succeeded.
    store.append(&records[100..110])?;
    model.append(&records[100..110])?;
    agrees(store, &model, 0, 40);
    Ok(())
}

fn ends<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records: Vec<Record> = (0..20).map(varied::record).collect();
    store.append(&records)?;
    let list = List {
        sort: Sort::Time,
        ..List::default()
    };
    let progress = Progress::default();
    assert!(store.list(&list, &progress)?.is_complete);
    assert!(progress.fraction() >= 1.0, "all of it was looked at");
    Ok(())
}
