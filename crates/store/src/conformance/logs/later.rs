//! What is said of records after they were stored.

use isango_types::price::CostStatus;
use isango_types::record::{Comment, MetadataValue};
use isango_types::{Cost, Record, RecordId};
use serde_json::Number;

use super::{filled, filter, ids, json};
use crate::analytics::{Aggregate, Measure, Progress, Quantity};
use crate::conformance::sample;
use crate::later::{Change, Deletion, Later, Patch, Rating};
use crate::logs::{Error, LogReader, LogStore, Order, Position, Query};

fn oldest_first(text: &str) -> Query {
    Query {
        filter: filter(text),
        order: Order::OldestFirst,
        limit: 1_000,
        ..Query::default()
    }
}

fn found<S: LogReader>(store: &S, text: &str) -> Result<Vec<RecordId>, Error> {
    Ok(ids(&store.query(&oldest_first(text))?.records))
}

fn thumb(feedback: i8) -> Patch {
    Patch {
        feedback: Change::Set(feedback),
        ..Patch::default()
    }
}

fn tenant(value: MetadataValue) -> Patch {
    Patch {
        metadata: Change::Set([("tenantId".into(), value)].into()),
        ..Patch::default()
    }
}

pub(super) fn said<S: LogStore>(store: &S) -> Result<(), Error> {
    let records = filled(store, 20)?;
    let comment = |text: &str| Comment {
        at: sample::time(500),
        author: Some("ann".into()),
        text: text.into(),
    };
    let patches = [
        thumb(1),
        Patch {
            score: Change::Set(Number::from(70)),
            comment: Some(comment("good")),
            ..thumb(-1)
        },
        tenant(MetadataValue::Text("initrode".into())),
        Patch {
            feedback: Change::Clear,
            comment: Some(comment("or not")),
            ..tenant(MetadataValue::Null)
        },
        Patch {
            metadata: Change::Clear,
            ..Patch::default()
        },
    ];
    let mut later = Later::default();
    for patch in &patches {
        assert!(store.patch(records[7].id, patch)?);
        later.apply(patch)?;
        let mut expected = records[7].clone();
        later.dress(&mut expected);
        let got = store.get(records[7].id)?;
        assert_eq!(got.map(|record| json(&record)), Some(json(&expected)));
        let page = store.query(&Query {
            with_bodies: true,
            ..oldest_first("")
        })?;
        assert_eq!(json(&page.records[7]), json(&expected));
        assert_eq!(json(&page.records[8]), json(&records[8]));
        let (followed, _) = store.follow(Position::START, 100)?;
        assert_eq!(json(&followed[7]), json(&expected));
    }
    assert_eq!(later.review.comments.len(), 2);
    let unknown = sample::record(3).id;
    assert!(!store.patch(unknown, &thumb(1))?, "there is no such record");
    assert!(store.get(unknown)?.is_none());
    let beyond = store.patch(records[0].id, &thumb(2));
    assert!(matches!(beyond, Err(Error::Patch(_))), "{beyond:?}");
    Ok(())
}

pub(super) fn chosen<S: LogStore>(store: &S) -> Result<(), Error> {
    let records = filled(store, 40)?;
    for (n, feedback) in [(3, 1), (17, -1), (30, 1)] {
        store.patch(records[n].id, &thumb(feedback))?;
    }
    let score = |score: u32| Patch {
        score: Change::Set(Number::from(score)),
        ..Patch::default()
    };
    store.patch(records[17].id, &score(20))?;
    store.patch(records[21].id, &score(80))?;
    // Records 0 and 3 are of acme.
    store.patch(
        records[0].id,
        &tenant(MetadataValue::Text("initrode".into())),
    )?;
    store.patch(records[3].id, &tenant(MetadataValue::Null))?;
    let of =
        |numbers: &[usize]| -> Vec<RecordId> { numbers.iter().map(|n| records[*n].id).collect() };
    for (text, expected) in [
        ("feedback:1", of(&[3, 30])),
        ("feedback:-1..0", of(&[17])),
        ("feedback:* score:*", of(&[17])),
        ("score:>20", of(&[21])),
        ("meta.tenantId:initrode", of(&[0])),
        ("meta.tenantId:acme -meta.n:>10", of(&[6, 9])),
        ("-meta.tenantId:* feedback:1", of(&[3])),
        ("-feedback:* meta.n:30..31", of(&[31])),
    ] {
        assert_eq!(found(store, text)?, expected, "{text}");
    }
    Ok(())
}

pub(super) fn deleted<S: LogStore>(store: &S) -> Result<(), Error> {
    let records = filled(store, 30)?;
    store.patch(records[4].id, &thumb(1))?;
    let gone = [4, 5, 29].map(|n: usize| records[n].id);
    assert_eq!(store.delete(&gone[..2], Deletion::Erased)?, 2);
    assert_eq!(
        store.delete(&gone, Deletion::Hidden)?,
        1,
        "the others were gone"
    );
    let left: Vec<&Record> = records
        .iter()
        .filter(|one| !gone.contains(&one.id))
        .collect();
    let left: Vec<RecordId> = left.into_iter().map(|record| record.id).collect();
    assert_eq!(found(store, "")?, left);
    assert_eq!(found(store, "feedback:1")?, []);
    assert_eq!(found(store, "\"question 4 \"")?, []);
    let (followed, _) = store.follow(Position::START, 100)?;
    assert_eq!(ids(&followed), ids(&records));
    let marked: Vec<RecordId> = followed
        .iter()
        .filter(|record| record.is_erased())
        .map(|record| record.id)
        .collect();
    assert_eq!(marked, gone);
    for id in gone {
        assert!(store.get(id)?.is_none());
        assert!(!store.patch(id, &thumb(1))?);
    }
    // What counts is still there for those who count.
    let all = store.query(&Query {
        with_deleted: true,
        ..oldest_first("")
    })?;
    assert_eq!(ids(&all.records), ids(&records));
    let mut rest = records[4].clone();
    rest.erase();
    assert_eq!(json(&all.records[4]), json(&rest));
    // A page of a query at once, oldest first.
    let query = Query {
        limit: 3,
        ..oldest_first("meta.tenantId:acme")
    };
    assert_eq!(store.delete_matching(&query, Deletion::Erased)?, 3);
    assert_eq!(found(store, "meta.tenantId:acme")?[0], records[9].id);
    Ok(())
}

pub(super) fn restored<S: LogStore>(store: &S) -> Result<(), Error> {
    let records = filled(store, 6)?;
    let all = ids(&records);
    store.patch(all[1], &thumb(1))?;
    assert_eq!(store.delete(&all[..2], Deletion::Hidden)?, 2);
    assert_eq!(store.delete(&all[..1], Deletion::Erased)?, 1);
    assert_eq!(store.restore(&all)?, 1);
    assert_eq!(found(store, "")?, all[1..]);
    assert_eq!(found(store, "feedback:1")?, [all[1]]);
    Ok(())
}

pub(super) fn rated<S: LogStore>(store: &S) -> Result<(), Error> {
    let records = filled(store, 20)?;
    let rating = |nanousd: u64| Rating {
        cost: Cost {
            status: CostStatus::Priced,
            nanousd: Some(nanousd),
            price: Some("own/azure-openai/chat".into()),
        },
        at: sample::time(500),
    };
    let unpriced = Rating {
        cost: Cost {
            status: CostStatus::Unpriced,
            nanousd: None,
            price: None,
        },
        at: sample::time(501),
    };
    let ratings = [
        (records[1].id, rating(7)),
        (records[2].id, unpriced.clone()),
        (records[3].id, rating(9)),
    ];
    assert!(store.patch(records[3].id, &thumb(1))?);
    assert_eq!(store.rate(&ratings)?, 3);
    store.settle_ratings()?;
    let got = store.get(records[3].id)?;
    let got = got.unwrap_or_else(|| records[3].clone());
    assert_eq!(got.cost, rating(9).cost);
    let review = got.review.unwrap_or_default();
    let told = review.rated.map(|rated| (rated.at, rated.was));
    assert_eq!(told, Some((sample::time(500), records[3].cost.clone())));
    assert_eq!(review.feedback, Some(1));
    let (followed, _) = store.follow(Position::START, 4)?;
    let costs = |records: &[Record]| -> Vec<Option<u64>> {
        records.iter().map(|record| record.cost.nanousd).collect()
    };
    let expected = [records[0].cost.nanousd, Some(7), None, Some(9)];
    assert_eq!(costs(&followed), expected);
    let page = store.query(&oldest_first("account:local"))?;
    assert_eq!(costs(&page.records)[..4], expected);
    assert_eq!(
        found(store, "cost:0.000000007")?,
        [records[1].id],
        "a filter sees it"
    );
    let question = Aggregate {
        measures: vec![Measure::Sum(Quantity::Cost), Measure::Unpriced],
        ..Aggregate::default()
    };
    let answer = store.aggregate(&question, &Progress::default())?;
    let others = records[4..].iter().chain(&records[..1]);
    let sum: u64 = others.filter_map(|record| record.cost.nanousd).sum();
    assert_eq!(answer.total.values[0], Some(sum + 16));
    // The last word counts.
    assert_eq!(store.rate(&[(records[1].id, unpriced)])?, 1);
    store.settle_ratings()?;
    let answer = store.aggregate(&question, &Progress::default())?;
    assert_eq!(answer.total.values[0], Some(sum + 9));
    Ok(())
}
