//! Which records a list of the contract has: from the columns of the store where it can answer, else
//! from rows that are looked at one by one.

use std::cmp::Ordering;

use isango_store::Filter as RecordFilter;
use isango_store::analytics::{
    Aggregate, Dimension, List, MAX_OFFSET, Measure, Progress, Quantity, Sort,
};
use isango_store::filter::TextField;
use isango_store::logs::{Error, LogReader, MAX_PAGE};
use isango_store::row::Row;
use isango_types::RecordId;

use super::view;
use super::{By, Ranges, Wanted};
use crate::answer::Page;
use crate::gateways::GatewayPath;

/// Rows that are looked at one by one at most.
const MAX_SCAN: usize = 100_000;

/// The quantities of [`Ranges`], in their order.
const RANGED: [Quantity; 5] = [
    Quantity::Cost,
    Quantity::Duration,
    Quantity::TokensIn,
    Quantity::TokensOut,
    Quantity::Tokens,
];

/// A page of what was found.
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    /// How many there are, as far as was looked.
    pub(super) total: usize,
    pub(super) ranges: Option<Ranges>,
    /// Whether every one of them was counted, and is in reach of pages.
    pub(super) is_all: bool,
}

/// One page of the records of a gateway.
pub(super) fn page(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
    page: &Page,
    progress: &Progress,
) -> Result<Found, Error> {
    let (filter, rest) = wanted.filter(path);
    if let (true, Some(sort)) = (rest.is_empty() && wanted.search.is_none(), wanted.sort()) {
        return from_columns(logs, filter, wanted, (sort, page), progress);
    }
    let (rows, is_all) = all(logs, path, wanted, progress)?;
    let ranges = wanted.with_ranges.then(|| Ranges::of(&rows));
    let total = rows.len();
    let rows = rows.into_iter().skip(page.skipped()).take(page.size());
    Ok(Found {
        rows: rows.collect(),
        total,
        ranges,
        is_all,
    })
}

fn from_columns(
    logs: &dyn LogReader,
    filter: RecordFilter,
    wanted: &Wanted,
    (sort, page): (Sort, &Page),
    progress: &Progress,
) -> Result<Found, Error> {
    let mut measures = vec![Measure::Count];
    if wanted.with_ranges {
        measures.extend(RANGED.iter().map(|one| Measure::Min(*one)));
        measures.extend(RANGED.iter().map(|one| Measure::Max(*one)));
    }
    let question = Aggregate {
        filter: filter.clone(),
        measures,
        ..Aggregate::default()
    };
    let answer = logs.aggregate(&question, progress)?;
    let (total, mut is_complete) = (answer.total, answer.is_complete);
    let value = |at: usize| total.values.get(at).copied().flatten();
    let count = usize::try_from(value(0).unwrap_or(0)).unwrap_or(usize::MAX);
    let is_in_reach = page.skipped() <= MAX_OFFSET;
    let list = List {
        filter,
        sort,
        ascending: wanted.is_ascending,
        offset: page.skipped(),
        limit: page.size(),
        ..List::default()
    };
    let rows = match is_in_reach {
        true => {
            let page = logs.list(&list, progress)?;
            is_complete &= page.is_complete;
            page.rows
        }
        false => Vec::new(),
    };
    Ok(Found {
        rows,
        total: count,
        ranges: wanted.with_ranges.then(|| {
            let [least, most] =
                [1, 1 + RANGED.len()].map(|first| std::array::from_fn(|at| value(first + at)));
            Ranges::new(least, most)
        }),
        is_all: is_complete && count <= MAX_OFFSET.saturating_add(page.size()),
    })
}

/// The newest records of a gateway that pass, or the oldest where those come first, in the order
/// that is wanted: [`MAX_PAGE`] at most. And whether there are no others.
fn all(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<(Vec<Row>, bool), Error> {
    let (mut found, is_all) = scan(logs, path, wanted, (MAX_PAGE, MAX_SCAN), progress)?;
    wanted.order(&mut found);
    Ok((found, is_all))
}

/// The first `most` records of a gateway that pass, by time: of the first `scanned` that the store
/// finds. And whether there are no others.
fn scan(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
    (most, scanned): (usize, usize),
    progress: &Progress,
) -> Result<(Vec<Row>, bool), Error> {
    let (filter, rest) = wanted.filter(path);
    let mut list = List {
        filter,
        ascending: wanted.order == By::CreatedAt && wanted.is_ascending,
        limit: MAX_PAGE,
        ..List::default()
    };
    let (mut found, mut left) = (Vec::new(), scanned);
    let passes = |row: &Row| {
        let search = wanted.search.as_ref();
        rest.iter().all(|filter| filter.matches(row)) && search.is_none_or(|text| holds(row, text))
    };
    let is_all = loop {
        let page = logs.list(&list, progress)?;
        left = left.saturating_sub(page.rows.len());
        found.extend(page.rows.into_iter().filter(passes));
        let is_over = !page.is_complete || progress.is_stopped() || left == 0;
        let goes_on = !is_over && found.len() < most;
        match page.next.filter(|_| goes_on) {
            Some(next) => list.after = Some(next),
            None => break page.is_complete && page.next.is_none() && found.len() <= most,
        }
    };
    found.truncate(most);
    Ok((found, is_all))
}

/// The records that are first in an order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// These; and whether time ran out before more of them could be looked for.
    Found(Vec<RecordId>, bool),
    /// More pass than can be put into this order.
    TooMany,
}

/// The first `most` records of a gateway in the order that is wanted, out of all that pass.
pub(super) fn first(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
    most: usize,
    progress: &Progress,
) -> Result<First, Error> {
    let ids = |rows: &[Row]| rows.iter().take(most).map(|row| row.id).collect();
    let (filter, rest) = wanted.filter(path);
    if let (true, Some(sort)) = (rest.is_empty() && wanted.search.is_none(), wanted.sort()) {
        let list = List {
            filter,
            sort,
            ascending: wanted.is_ascending,
            limit: most,
            ..List::default()
        };
        let page = logs.list(&list, progress)?;
        // By time, what was found is first; in another order nobody knows.
        return Ok(match page.is_complete || wanted.order == By::CreatedAt {
            true => First::Found(ids(&page.rows), !page.is_complete),
            false => First::TooMany,
        });
    }
    if wanted.order == By::CreatedAt {
        let (rows, is_all) = scan(logs, path, wanted, (most, usize::MAX), progress)?;
        return Ok(First::Found(ids(&rows), !is_all && rows.len() < most));
    }
    let (mut rows, is_all) = scan(logs, path, wanted, (MAX_PAGE, usize::MAX), progress)?;
    wanted.order(&mut rows);
    Ok(match is_all {
        true => First::Found(ids(&rows), false),
        false => First::TooMany,
    })
}

impl Wanted {
    /// What the store makes of the filters, and those that it cannot.
    fn filter(&self, path: &GatewayPath) -> (RecordFilter, Vec<&super::Filter>) {
        let of_gateway = RecordFilter::default()
            .only(TextField::Account, &path.account_id)
            .only(TextField::Gateway, &path.gateway_id);
        let mut rest = Vec::new();
        let filter = self.filters.iter().fold(of_gateway, |filter, one| {
            if let Some(term) = one.term() {
                filter.and(term)
            } else {
                rest.push(one);
                filter
            }
        });
        (filter, rest)
    }

    /// The order, where the store has it.
    fn sort(&self) -> Option<Sort> {
        let dimension = |dimension| Some(Sort::Dimension(dimension));
        let quantity = |quantity| Some(Sort::Quantity(quantity));
        match self.order {
            By::CreatedAt => Some(Sort::Time),
            By::Provider => dimension(Dimension::Provider),
            By::Model => dimension(Dimension::Model),
            By::ModelType => dimension(Dimension::Operation),
            By::Success => dimension(Dimension::Result),
            By::Cost => quantity(Quantity::Cost),
            By::TokensIn => quantity(Quantity::TokensIn),
            By::TokensOut => quantity(Quantity::TokensOut),
            By::Duration => quantity(Quantity::Duration),
            By::Cached | By::Feedback => None,
        }
    }

    fn order(&self, rows: &mut [Row]) {
        // They come by time, and equal ones stay so.
        let of = |quantity: Quantity, row: &Row| quantity.of(row);
        let compare = |one: &Row, other: &Row| {
            let by = |quantity| of(quantity, one).cmp(&of(quantity, other));
            match self.order {
                By::CreatedAt => one.id.cmp(&other.id),
                By::Provider => one.provider.cmp(&other.provider),
                By::Model => view::model(one).cmp(&view::model(other)),
                By::ModelType => one.operation.as_str().cmp(other.operation.as_str()),
                By::Success => other.is_error().cmp(&one.is_error()),
                By::Cached => view::is_cached(one).cmp(&view::is_cached(other)),
                By::Cost => by(Quantity::Cost),
                By::TokensIn => by(Quantity::TokensIn),
                By::TokensOut => by(Quantity::TokensOut),
                By::Duration => by(Quantity::Duration),
                By::Feedback => one.feedback.cmp(&other.feedback),
            }
        };
        rows.sort_by(
            |one, other| match (compare(one, other), self.is_ascending) {
                (ordering, true) => ordering,
                (ordering, false) => Ordering::reverse(ordering),
            },
        );
    }
}

/// Whether a text stands in what a record tells of itself, regardless of case.
fn holds(row: &Row, text: &str) -> bool {
    let stands = |found: &str| found.to_lowercase().contains(text);
    let metadata = row.metadata.iter();
    let texts = [
        Some(&*row.event_id),
        Some(&*row.path),
        row.provider.as_deref(),
        view::model(row),
    ];
    texts.into_iter().flatten().any(stands)
        || stands(&row.id.to_string())
        || metadata
            .into_iter()
            .any(|(key, value)| stands(key) || stands(&value.to_text()))
}

impl Ranges {
    fn of(rows: &[Row]) -> Self {
        let values = |at: usize| rows.iter().filter_map(move |row| RANGED[at].of(row));
        Self::new(
            std::array::from_fn(|at| values(at).min()),
            std::array::from_fn(|at| values(at).max()),
        )
    }

    /// Of the least and the most of [`RANGED`].
    fn new(least: [Option<u64>; RANGED.len()], most: [Option<u64>; RANGED.len()]) -> Self {
        let dollars = |nanos: Option<u64>| nanos.map(view::dollars);
        let millis = |micros: Option<u64>| micros.map(|micros| view::number(micros / 1_000));
        let count = |count: Option<u64>| count.map(view::number);
        Self {
            min_cost: dollars(least[0]),
            max_cost: dollars(most[0]),
            min_duration: millis(least[1]),
            max_duration: millis(most[1]),
            min_tokens_in: count(least[2]),
            max_tokens_in: count(most[2]),
            min_tokens_out: count(least[3]),
            max_tokens_out: count(most[3]),
            min_total_tokens: count(least[4]),
            max_total_tokens: count(most[4]),
        }
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use isango_store::logs::LogWriter as _;
    use isango_store::memory::MemoryLogs;
    use isango_types::Record;

    use super::*;

    fn path() -> GatewayPath {
        GatewayPath {
            account_id: "local".into(),
            gateway_id: "shop".into(),
        }
    }

    /// Records of the gateway, the oldest first.
    fn stored(count: u64, change: impl Fn(u64, &mut Record)) -> MemoryLogs {
        let logs = MemoryLogs::default();
        let records = (0..count).map(|n| {
            let mut record = sample::record(n);
            (record.account, record.gateway) = ("local".into(), "shop".into());
            record.path = "/plain".into();
            change(n, &mut record);
            record
        });
        let records: Vec<Record> = records.collect();
        for batch in records.chunks(MAX_PAGE) {
            logs.append(batch).unwrap();
        }
        logs
    }

    fn removed(logs: &MemoryLogs, query: &str, most: usize) -> First {
        let wanted = Wanted::read(query, true).unwrap();
        first(logs, &path(), &wanted, most, &Progress::default()).unwrap()
    }

    #[test]
    fn a_removal_finds_what_lies_deep() {
        // The one that is sought lies behind several pages in either direction.
        let logs = stored(25_000, |n, record| {
            if n == 12_500 {
                record.path = "/needle".into();
            }
        });
        for direction in ["asc", "desc"] {
            let query = format!("search=needle&order_by_direction={direction}");
            let First::Found(found, ran_out) = removed(&logs, &query, 10) else {
                panic!("one passes");
            };
            assert_eq!((found.len(), ran_out), (1, false), "{direction}");
        }
        // A list looks at the first of them, and says so.
        let wanted = Wanted::read("search=needle", false).unwrap();
        let (bounds, progress) = ((MAX_PAGE, 10_000), Progress::default());
        let (found, is_all) = scan(&logs, &path(), &wanted, bounds, &progress).unwrap();
        assert_eq!((found.len(), is_all), (0, false));
    }

    #[test]
    fn a_removal_in_an_order_takes_the_first_of_all() {
        let logs = stored(10_001, |n, record| {
            record.cost.nanousd = Some(if n == 0 { 1_000_000_000 } else { 1_000 + n });
            record.review = None;
        });
        let oldest = List {
            ascending: true,
            limit: 1,
            ..List::default()
        };
        let oldest = logs.list(&oldest, &Progress::default()).unwrap();
        let dearest = oldest.rows[0].id;
        let query = "order_by=cost&order_by_direction=desc";
        assert_eq!(removed(&logs, query, 1), First::Found(vec![dearest], false));
        // What no column has an order for is not put into one in part.
        assert_eq!(removed(&logs, "order_by=feedback", 1), First::TooMany);
        let searched = format!("{query}&search=plain");
        assert_eq!(removed(&logs, &searched, 1), First::TooMany);
    }

    #[test]
    fn a_removal_that_runs_out_of_time_says_so() {
        let logs = stored(20_000, |_, _| {});
        let stopped = Progress::default();
        stopped.stop();
        let wanted = |query: &str| Wanted::read(query, true).unwrap();
        let first =
            |query: &str| super::first(&logs, &path(), &wanted(query), 10, &stopped).unwrap();
        assert!(matches!(first("search=none"), First::Found(_, true)));
        assert_eq!(first("order_by=cost&search=plain"), First::TooMany);
    }
}
