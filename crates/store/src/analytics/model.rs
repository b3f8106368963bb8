//! Lists and aggregates by their definition: over rows, one by one, with everything in memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use isango_types::Timestamp;

use super::{
    Aggregate, Answer, Group, List, Listing, Measure, Point, Quantity, Sort, percentile_rank,
};
use crate::row::Row;

/// One page of `rows`, which are those that match, each once.
#[must_use]
pub fn list(mut rows: Vec<Row>, list: &List) -> Listing {
    rows.sort_by(|a, b| compare(a, b, list));
    if let (Sort::Time, Some(after)) = (&list.sort, list.after) {
        rows.retain(|row| {
            if list.ascending {
                row.id > after
            } else {
                row.id < after
            }
        });
    }
    let mut rows: Vec<Row> = rows.into_iter().skip(list.passed_over()).collect();
    let has_more = rows.len() > list.page_size();
    rows.truncate(list.page_size());
    let last = rows.last().filter(|_| has_more && list.sort == Sort::Time);
    Listing {
        next: last.map(|row| row.id),
        rows,
        is_complete: true,
    }
}

fn compare(a: &Row, b: &Row, list: &List) -> Ordering {
    let by_value = match &list.sort {
        Sort::Time if list.ascending => return a.id.cmp(&b.id),
        Sort::Time => Ordering::Equal,
        Sort::Dimension(dimension) => {
            values_first(dimension.of(a), dimension.of(b), list.ascending)
        }
        Sort::Quantity(quantity) => values_first(quantity.of(a), quantity.of(b), list.ascending),
    };
    by_value.then_with(|| b.id.cmp(&a.id))
}

fn values_first<T: Ord>(a: Option<T>, b: Option<T>, ascending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if ascending => a.cmp(&b),
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

type Rows<'r> = Vec<&'r Row>;

/// The answer over `rows`, which are those that match, each once.
#[must_use]
pub fn aggregate(rows: &[Row], question: &Aggregate) -> Answer {
    let mut groups: BTreeMap<Vec<Option<Box<str>>>, Rows<'_>> = BTreeMap::new();
    for row in rows {
        let values = question.dimensions().iter().map(|one| one.of(row));
        let key = values.map(|value| value.map(Into::into)).collect();
        groups.entry(key).or_default().push(row);
    }
    if question.dimensions().is_empty() {
        groups.clear();
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    let deciding = question.deciding();
    // Stable: equal ones stay in the order of their keys.
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(measure(rows, deciding)));
    let group_count = groups.len() as u64;
    let rest = groups.split_off(groups.len().min(question.most()));
    let rest: Rows<'_> = rest.into_iter().flat_map(|(_, rows)| rows).collect();
    let group = |(key, rows): (Vec<_>, Rows<'_>)| Group {
        key,
        ..of(&rows, question)
    };
    Answer {
        groups: groups.into_iter().map(group).collect(),
        other: (!rest.is_empty()).then(|| of(&rest, question)),
        total: of(&rows.iter().collect::<Rows<'_>>(), question),
        group_count,
        is_approximate: false,
        is_complete: true,
    }
}

/// The group of some rows, without a key.
fn of(rows: &[&Row], question: &Aggregate) -> Group {
    let mut points: BTreeMap<Timestamp, Rows<'_>> = BTreeMap::new();
    for row in rows {
        if let Some((start, _)) = question.bucket(row.created_at) {
            points.entry(start).or_default().push(row);
        }
    }
    let values = |rows: &[&Row]| {
        let measures = question.measured().iter();
        measures.map(|one| measure(rows, *one)).collect()
    };
    let point = |(start, rows): (Timestamp, Rows<'_>)| Point {
        start,
        values: values(&rows),
    };
    Group {
        key: Vec::new(),
        values: values(rows),
        points: points.into_iter().map(point).collect(),
    }
}

fn measure(rows: &[&Row], measure: Measure) -> Option<u64> {
    let count = |which: fn(&Row) -> bool| {
        let found = rows.iter().filter(|row| which(row)).count();
        u64::try_from(found).ok()
    };
    let values = |quantity: Quantity| rows.iter().filter_map(move |row| quantity.of(row));
    match measure {
        Measure::Count => count(|_| true),
        Measure::Errors => count(Row::is_error),
        Measure::Cached => count(|row| row.cache.is_some_and(|cache| cache.is_kept())),
        Measure::Unpriced => count(|row| row.cost.nanousd.is_none()),
        Measure::Estimated => count(Row::is_estimated),
        Measure::Known(quantity) => u64::try_from(values(quantity).count()).ok(),
        Measure::Sum(quantity) => values(quantity).reduce(u64::saturating_add),
        Measure::Min(quantity) => values(quantity).min(),
        Measure::Max(quantity) => values(quantity).max(),
        Measure::Percentile(quantity, permille) => {
            let mut sorted: Vec<u64> = values(quantity).collect();
            sorted.sort_unstable();
            let rank = percentile_rank(permille, sorted.len() as u64)?;
            sorted.get(usize::try_from(rank).ok()?).copied()
        }
    }
}
