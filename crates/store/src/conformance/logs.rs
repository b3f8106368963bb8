//! The suite for [`LogWriter`] and [`LogReader`].

mod later;

use isango_types::{Record, RecordId};

use super::sample;
use crate::filter::Filter;
use crate::logs::{
    Error, Gap, LogReader, LogStore, LogWriter, Order, Position, Query, strip_bodies,
};

/// Runs the suite on stores that `make` opens, each of them empty.
///
/// # Panics
/// The backend does not conform; the message says where.
pub fn logs<S: LogStore>(make: impl Fn() -> S) {
    type Case<S> = fn(&S) -> Result<(), Error>;
    let cases: [(&str, Case<S>); 14] = [
        ("an empty store answers with nothing", empty),
        ("a record comes back whole", whole),
        ("pages follow each other in both orders", pages),
        ("since is included, until is not", times),
        (
            "records without bodies can still be searched by body",
            bodies,
        ),
        ("a batch that was written twice is read once", twice),
        ("a follower sees every append once, in order", follow),
        ("a gap marker is no record", gap),
        ("filters choose", filters),
        (
            "what is said of a record later is seen at once",
            later::said,
        ),
        ("filters see what was said later", later::chosen),
        ("a deleted record is in no answer", later::deleted),
        (
            "a hidden record comes back, an erased one never",
            later::restored,
        ),
        ("a record that was priced again has that cost", later::rated),
    ];
    for (name, case) in cases {
        let result = case(&make());
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

fn filled<S: LogWriter>(store: &S, count: u64) -> Result<Vec<Record>, Error> {
    let records: Vec<Record> = (0..count).map(sample::record).collect();
    for batch in records.chunks(7) {
        store.append(batch)?;
    }
    Ok(records)
}

fn ids(records: &[Record]) -> Vec<RecordId> {
    records.iter().map(|record| record.id).collect()
}

fn empty<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    assert!(store.get(sample::record(0).id)?.is_none());
    let page = store.query(&Query::default())?;
    assert!(page.records.is_empty() && page.next.is_none());
    assert_eq!(store.end()?, Position::START);
    let (records, position) = store.follow(Position::START, 10)?;
    assert!(records.is_empty() && position == Position::START);
    store.append(&[])?;
    assert_eq!(store.end()?, Position::START, "an empty batch is nothing");
    Ok(())
}

fn whole<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 20)?;
    for record in &records {
        let stored = store.get(record.id)?;
        assert_eq!(stored.map(|stored| json(&stored)), Some(json(record)));
    }
    let page = store.query(&Query {
        with_bodies: true,
        limit: 1,
        ..Query::default()
    })?;
    assert_eq!(
        page.records.iter().map(json).collect::<Vec<_>>(),
        [json(&records[19])]
    );
    assert!(
        store.get(sample::record(3).id)?.is_none(),
        "an id that nobody stored"
    );
    Ok(())
}

fn json(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

fn pages<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    // Exchanges end in another order than they began in.
    let mut records: Vec<Record> = (0..50).map(sample::record).collect();
    records.sort_by_key(|record| record.created_at.as_micros() / 1_000_000 * 7 % 50);
    for batch in records.chunks(3) {
        store.append(batch)?;
    }
    let mut expected = ids(&records);
    expected.sort();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [1, 7, 49, 50, 51, 100_000] {
            let mut query = Query {
                order,
                limit,
                ..Query::default()
            };
            let mut found = Vec::new();
            loop {
                let page = store.query(&query)?;
                assert!(page.records.len() <= limit);
                found.extend(ids(&page.records));
                query.after = page.next;
                if page.next.is_none() {
                    break;
                }
                assert_eq!(
                    page.next.as_ref(),
                    found.last(),
                    "the cursor is the last record"
                );
            }
            assert_eq!(found, expected, "{order:?}, {limit} a page");
        }
        expected.reverse();
    }
    Ok(())
}

fn times<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 30)?;
    let (since, until) = (Some(sample::time(10)), Some(sample::time(20)));
    let order = Order::OldestFirst;
    let found = store.query(&Query {
        since,
        until,
        order,
        ..Query::default()
    })?;
    assert_eq!(ids(&found.records), ids(&records[10..20]));
    let found = store.query(&Query {
        since,
        order,
        ..Query::default()
    })?;
    assert_eq!(ids(&found.records), ids(&records[10..]));
    Ok(())
}

fn bodies<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let mut records = filled(store, 20)?;
    for text in ["\"question 13\"", "\"ANSWER 13, CAFÉ\""] {
        let filter = filter(text);
        let page = store.query(&Query {
            filter,
            ..Query::default()
        })?;
        strip_bodies(&mut records[13]);
        assert_eq!(
            page.records.iter().map(json).collect::<Vec<_>>(),
            [json(&records[13])]
        );
    }
    Ok(())
}

fn twice<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 20)?;
    store.append(&records[5..15])?;
    let query = Query {
        order: Order::OldestFirst,
        limit: 10,
        ..Query::default()
    };
    let first = store.query(&query)?;
    let second = store.query(&Query {
        after: first.next,
        ..query
    })?;
    assert_eq!(
        [ids(&first.records), ids(&second.records)].concat(),
        ids(&records)
    );
    assert!(second.next.is_none());
    Ok(())
}

fn follow<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 25)?;
    let (mut found, mut position) = (Vec::new(), Position::START);
    loop {
        let (some, next) = store.follow(position, 4)?;
        assert!(some.len() <= 4);
        assert_eq!(next.count() - position.count(), some.len() as u64);
        position = next;
        if some.is_empty() {
            break;
        }
        found.extend(some);
    }
    assert_eq!(
        found.iter().map(json).collect::<Vec<_>>(),
        records.iter().map(json).collect::<Vec<_>>()
    );
    assert_eq!(position, store.end()?);
    store.append(&[sample::record(99)])?;
    let (new, _) = store.follow(position, 10)?;
    assert_eq!(new.len(), 1);
    let (none, clamped) = store.follow(Position::after(1_000_000), 10)?;
    assert!(none.is_empty(), "nothing lies behind the end");
    assert_eq!(clamped, store.end()?);
    Ok(())
}

fn gap<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 3)?;
    store.append_gap(&Gap {
        dropped: 7,
        reason: "the queue was full".into(),
        at: sample::START,
    })?;
    store.append(&[sample::record(3)])?;
    let page = store.query(&Query::default())?;
    assert_eq!(page.records.len(), 4);
    let (found, position) = store.follow(Position::START, 100)?;
    assert_eq!(ids(&found)[..3], ids(&records));
    assert_eq!(
        position,
        Position::after(4),
        "a gap has no position of its own"
    );
    Ok(())
}

fn filters<S: LogWriter + LogReader>(store: &S) -> Result<(), Error> {
    let records = filled(store, 60)?;
    for text in [
        "",
        "status:error",
        "meta.tenantId=acme model:gpt-4o",
        "model:gpt-4o-2024* -gateway:support",
        "cost:>0.01 tokens:..40",
        "outcome:refused",
        "time:2026-11-22T16:00:10Z..2026-11-22T16:00:20Z",
        "\"from globex\" stream:true",
        "deployment:nothing",
    ] {
        let filter = filter(text);
        let expected: Vec<_> = records
            .iter()
            .filter(|record| filter.matches(record))
            .collect();
        let query = Query {
            filter: filter.clone(),
            order: Order::OldestFirst,
            ..Query::default()
        };
        let found = store.query(&Query {
            limit: 100,
            ..query
        })?;
        let expected: Vec<_> = expected.into_iter().map(|record| record.id).collect();
        assert_eq!(ids(&found.records), expected, "{text}");
    }
    Ok(())
}

fn filter(text: &str) -> Filter {
    let parsed = Filter::parse(text, sample::START);
    assert!(parsed.is_ok(), "{text}: {parsed:?}");
    parsed.unwrap_or_default()
}
