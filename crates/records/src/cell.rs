//! What is kept of the records of one group in one stretch of time: all that any measure needs, so
//! that cells can be merged in any order.

use isango_store::analytics::{Measure, Quantity, percentile_rank};

use crate::histogram::Histogram;

/// Most values that all cells of a thread keep one by one; then they become histograms.
pub(crate) const MAX_EXACT: usize = 1 << 20;

/// Which quantities are measured, and how.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) measures: Vec<Measure>,
    /// Each once.
    pub(crate) quantities: Vec<Quantity>,
    /// Those that have percentiles, as places in `quantities`.
    pub(crate) spread: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(measures: &[Measure]) -> Self {
        let mut layout = Self {
            measures: measures.to_vec(),
            ..Self::default()
        };
        for measure in measures {
            let Some(quantity) = quantity(*measure) else {
                continue;
            };
            let known = layout.quantities.iter().position(|one| *one == quantity);
            let at = known.unwrap_or_else(|| {
                layout.quantities.push(quantity);
                layout.quantities.len() - 1
            });
            if matches!(measure, Measure::Percentile(..)) && !layout.spread.contains(&at) {
                layout.spread.push(at);
            }
        }
        layout
    }

    pub(crate) fn needs(&self, which: impl Fn(&Measure) -> bool) -> bool {
        self.measures.iter().any(which)
    }
}

/// The quantity that a measure is of.
pub(crate) const fn quantity(measure: Measure) -> Option<Quantity> {
    match measure {
        Measure::Count
        | Measure::Errors
        | Measure::Cached
        | Measure::Unpriced
        | Measure::Estimated => None,
        Measure::Known(quantity)
        | Measure::Sum(quantity)
        | Measure::Min(quantity)
        | Measure::Max(quantity)
        | Measure::Percentile(quantity, _) => Some(quantity),
    }
}

/// Numbers of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) all: u64,
    pub(crate) errors: u64,
    pub(crate) cached: u64,
    pub(crate) unpriced: u64,
    pub(crate) estimated: u64,
}

/// What is known of the values of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) known: u64,
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Default for Stat {
    fn default() -> Self {
        Self {
            known: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Stat {
    pub(crate) fn add(&mut self, value: u64) {
        self.known += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.known += other.known;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// The values of a quantity: one by one, or as a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    Exact(Vec<u64>),
    Histogram(Histogram),
}

impl Default for Spread {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Spread {
    pub(crate) fn add(&mut self, value: u64) {
        match self {
            Self::Exact(values) => values.push(value),
            Self::Histogram(histogram) => histogram.add(value, 1),
        }
    }

    /// Makes a histogram of it.
    pub(crate) fn coarsen(&mut self) {
        if let Self::Exact(values) = self {
            let mut made = Histogram::default();
            values.iter().for_each(|value| made.add(*value, 1));
            *self = Self::Histogram(made);
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Exact(values), Self::Exact(more)) => values.extend_from_slice(more),
            (Self::Histogram(made), Self::Histogram(more)) => made.merge(more),
            (Self::Histogram(made), Self::Exact(more)) => {
                more.iter().for_each(|value| made.add(*value, 1));
            }
            (Self::Exact(_), Self::Histogram(_)) => {
                self.coarsen();
                self.merge(other);
            }
        }
    }

    fn percentile(&self, permille: u16) -> Option<u64> {
        match self {
            Self::Exact(values) => {
                let rank = percentile_rank(permille, values.len() as u64)?;
                let mut values = values.clone();
                let (_, value, _) = values.select_nth_unstable(usize::try_from(rank).ok()?);
                Some(*value)
            }
            Self::Histogram(histogram) => {
                let count = histogram.buckets().map(|(_, count)| count).sum();
                histogram.value_at(percentile_rank(permille, count)?)
            }
        }
    }
}

/// The records of one group in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) counts: Counts,
    /// In the order of [`Layout::quantities`].
    pub(crate) stats: Vec<Stat>,
    /// In the order of [`Layout::spread`].
    pub(crate) spreads: Vec<Spread>,
}

impl Cell {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            counts: Counts::default(),
            stats: vec![Stat::default(); layout.quantities.len()],
            spreads: vec![Spread::default(); layout.spread.len()],
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.all += other.counts.all;
        self.counts.errors += other.counts.errors;
        self.counts.cached += other.counts.cached;
        self.counts.unpriced += other.counts.unpriced;
        self.counts.estimated += other.counts.estimated;
        for (stat, more) in self.stats.iter_mut().zip(&other.stats) {
            stat.merge(more);
        }
        for (spread, more) in self.spreads.iter_mut().zip(&other.spreads) {
            spread.merge(more);
        }
    }

    /// The measures, in their order.
    pub(crate) fn values(&self, layout: &Layout) -> Vec<Option<u64>> {
        let measures = layout.measures.iter();
        measures
            .map(|measure| self.value(*measure, layout))
            .collect()
    }

    pub(crate) fn value(&self, measure: Measure, layout: &Layout) -> Option<u64> {
        let stat = |quantity: Quantity| {
            let at = layout.quantities.iter().position(|one| *one == quantity)?;
            self.stats.get(at)
        };
        let some = |quantity| stat(quantity).filter(|stat| stat.known > 0);
        match measure {
            Measure::Count => Some(self.counts.all),
            Measure::Errors => Some(self.counts.errors),
            Measure::Cached => Some(self.counts.cached),
            Measure::Unpriced => Some(self.counts.unpriced),
            Measure::Estimated => Some(self.counts.estimated),
            Measure::Known(quantity) => stat(quantity).map(|stat| stat.known),
            Measure::Sum(quantity) => some(quantity).map(|stat| stat.sum),
            Measure::Min(quantity) => some(quantity).map(|stat| stat.min),
            Measure::Max(quantity) => some(quantity).map(|stat| stat.max),
            Measure::Percentile(quantity, permille) => {
                let of = |at: &usize| layout.quantities[*at] == quantity;
                let at = layout.spread.iter().position(of)?;
                self.spreads.get(at)?.percentile(permille)
            }
        }
    }
}
