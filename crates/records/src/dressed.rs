//! Records of which something was said later, as they are now: columns of their own, in front of
//! those that show them as they were. There are few of them.

use isango_store::filter::{Filter, Test};
use isango_store::logs::Error;
use isango_store::row::Row;
use isango_types::Record;

use std::sync::Arc;

use crate::builder::Builder;
use crate::catalog::Catalog;
use crate::chunk::Chunk;
use crate::columns::Snapshot;
use crate::fields::Number;
use crate::locate::Locator;
use crate::overlay::Said;

/// What was said, and the records that it makes of theirs.
#[derive(Debug, Default)]
pub(crate) struct Dressed {
    said: Said,
    /// Ids of the records whose rows elsewhere are not as they are now, ascending.
    ids: Vec<u128>,
    /// Those of them that are in answers.
    pub(crate) chunk: Arc<Chunk>,
    /// Without bodies.
    records: Vec<Record>,
    is_whole: bool,
}

impl Dressed {
    /// Reads the records that something was said of.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn new(said: Said, snapshot: &Snapshot, catalog: &Catalog) -> Result<Self, Error> {
        let mut places = Vec::new();
        let mut is_whole = true;
        for (id, _) in said.iter().filter(|(_, later)| later.deleted.is_none()) {
            match snapshot.position_of(*id)? {
                Some(position) => places.push(position),
                None => is_whole = false,
            }
        }
        places.sort_unstable();
        let mut locator = Locator::new(catalog)?;
        let mut builder = Builder::default();
        let mut records = Vec::new();
        for position in places {
            for mut record in locator.records(&[position], false)? {
                if let Some(later) = said.get(&record.id) {
                    later.dress(&mut record);
                }
                builder.push(&record, position);
                records.push(record);
            }
        }
        builder.finish();
        let ids = said.keys().map(|id| u128::from_be_bytes(*id.as_bytes()));
        Ok(Self {
            ids: ids.collect(),
            said,
            chunk: builder.take(),
            records,
            is_whole,
        })
    }

    pub(crate) const fn said(&self) -> &Said {
        &self.said
    }

    /// Whether all records are there that it speaks of.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The ids of the records that it speaks of between two, both included.
    pub(crate) fn between(&self, [first, last]: [u128; 2]) -> &[u128] {
        let start = self.ids.partition_point(|id| *id < first);
        let end = self.ids.partition_point(|id| *id <= last);
        self.ids.get(start..end).unwrap_or_default()
    }

    /// A row as a list shows it.
    pub(crate) fn row(&self, row: usize) -> Option<Row> {
        self.records.get(row).map(Row::of)
    }

    /// Whether a row matches a filter. Bodies are read where it looks into them.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(crate) fn matches(
        &self,
        row: usize,
        filter: &Filter,
        locator: &mut Locator<'_>,
    ) -> Result<bool, Error> {
        let looks_into_bodies = |test: &Test| matches!(test, Test::Body(_));
        if !filter
            .terms()
            .iter()
            .any(|term| looks_into_bodies(&term.test))
        {
            return Ok(self
                .records
                .get(row)
                .is_some_and(|record| filter.matches(record)));
        }
        let Some(mut record) = locator.record(self.chunk.number_at(Number::Position, row))? else {
            return Ok(false);
        };
        if let Some(later) = self.said.get(&record.id) {
            later.dress(&mut record);
        }
        Ok(filter.matches(&record))
    }
}
