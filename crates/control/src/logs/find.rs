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
    /// Whether every one of them is in reach of pages.
    pub(super) is_all: bool,
}

/// One page of the records of a gateway.
pub(super) fn page(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
    page: &Page,
) -> Result<Found, Error> {
    let (filter, rest) = wanted.filter(path);
    if let (true, Some(sort)) = (rest.is_empty() && wanted.search.is_none(), wanted.sort()) {
        return from_columns(logs, filter, wanted, (sort, page));
    }
    let (rows, is_all) = all(logs, path, wanted)?;
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
    let total = logs.aggregate(&question, &Progress::default())?.total;
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
        true => logs.list(&list, &Progress::default())?.rows,
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
        is_all: count <= MAX_OFFSET.saturating_add(page.size()),
    })
}

/// The newest records of a gateway that pass, or the oldest where those come first, in the order
/// that is wanted: 10 000 at most. And whether there are no others.
pub(super) fn all(
    logs: &dyn LogReader,
    path: &GatewayPath,
    wanted: &Wanted,
) -> Result<(Vec<Row>, bool), Error> {
    let (filter, rest) = wanted.filter(path);
    let mut list = List {
        filter,
        ascending: wanted.order == By::CreatedAt && wanted.is_ascending,
        limit: MAX_PAGE,
        ..List::default()
    };
    let (mut found, mut scanned) = (Vec::new(), 0);
    let passes = |row: &Row| {
        let search = wanted.search.as_ref();
        rest.iter().all(|filter| filter.matches(row)) && search.is_none_or(|text| holds(row, text))
    };
    let is_all = loop {
        let page = logs.list(&list, &Progress::default())?;
        scanned += page.rows.len();
        found.extend(page.rows.into_iter().filter(passes));
        match page.next {
            Some(next) if found.len() < MAX_PAGE && scanned < MAX_SCAN => list.after = Some(next),
            next => break next.is_none() && found.len() <= MAX_PAGE,
        }
    };
    found.truncate(MAX_PAGE);
    wanted.order(&mut found);
    Ok((found, is_all))
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
