//! Records as rows of a table, for Parquet: a column for each field.

use isango_store::table::{Column, Values};
use isango_types::Record;

use crate::fields::{Cell, Field, Kind};
use crate::seal::{RecordKey, SealError};

/// Bytes that a value takes but for its text.
const VALUE_BYTES: usize = 8;

/// A table that grows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// About as many bytes as it takes before it is packed.
    pub(crate) bytes: usize,
}

/// What a record adds to it.
#[derive(Debug)]
pub(crate) struct Row<'r> {
    cells: Vec<Cell<'r>>,
    pub(crate) bytes: usize,
}

impl<'r> Row<'r> {
    /// The fields of a record; those that are sealed with `key`, if there is one, as the text of
    /// their envelope.
    ///
    /// # Errors
    /// One could not be sealed.
    pub(crate) fn of(
        record: &'r Record,
        fields: &[Field],
        key: Option<&RecordKey>,
    ) -> Result<Self, SealError> {
        let cell = |field: &Field| {
            let cell = field.of(record);
            match (key.filter(|_| field.is_sealed()), &cell) {
                (Some(key), Cell::Text(text)) => {
                    let mut envelope = Vec::new();
                    key.seal(text, &mut envelope)?;
                    let envelope = String::from_utf8_lossy(&envelope).into_owned();
                    Ok(Cell::Text(envelope.into()))
                }
                _ => Ok(cell),
            }
        };
        let cells: Vec<Cell<'r>> = fields.iter().map(cell).collect::<Result<_, _>>()?;
        let bytes = cells
            .iter()
            .map(|cell| VALUE_BYTES + text_bytes(cell))
            .sum();
        Ok(Self { cells, bytes })
    }

    /// The same without what is sealed where there is a key.
    pub(crate) fn bare(mut self, fields: &[Field]) -> Self {
        for (cell, field) in self.cells.iter_mut().zip(fields) {
            if field.is_sealed() {
                self.bytes -= text_bytes(cell);
                *cell = Cell::Null;
            }
        }
        self
    }
}

impl Table {
    pub(crate) fn push(&mut self, fields: &[Field], row: Row<'_>) {
        if self.columns.is_empty() {
            self.columns = fields.iter().map(|field| column(*field)).collect();
        }
        self.bytes += row.bytes;
        for (column, cell) in self.columns.iter_mut().zip(row.cells) {
            match (&mut column.values, cell) {
                (Values::Texts(values), Cell::Text(text)) => values.push(Some(text.into())),
                (Values::Numbers(values), Cell::Number(number)) => values.push(Some(number)),
                (Values::Decimals(values), Cell::Decimal(text)) => values.push(text.parse().ok()),
                (Values::Flags(values), Cell::Bool(flag)) => values.push(Some(flag)),
                (Values::Times(values), Cell::Time(at)) => values.push(Some(at)),
                (values, _) => values.push_none(),
            }
        }
    }
}

fn text_bytes(cell: &Cell<'_>) -> usize {
    if let Cell::Text(text) = cell {
        text.len()
    } else {
        0
    }
}

/// The column of a field, with no row yet.
fn column(field: Field) -> Column {
    let values = match field.kind() {
        Kind::Text => Values::Texts(Vec::new()),
        Kind::Number => Values::Numbers(Vec::new()),
        Kind::Decimal => Values::Decimals(Vec::new()),
        Kind::Flag => Values::Flags(Vec::new()),
        Kind::Time => Values::Times(Vec::new()),
    };
    Column {
        name: field.name().into(),
        values,
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use isango_types::record::MetadataValue;
    use isango_types::{Cost, CostStatus, Usage};

    use super::*;

    fn all() -> Vec<Field> {
        Field::ALL.iter().map(|(_, field)| *field).collect()
    }

    /// A record that has a value of every field.
    fn full() -> Record {
        let mut record = sample::record(3);
        record.provider = Some("openai".into());
        record.target = Some("eu".into());
        record.model = Some("gpt-4o".into());
        record.model_requested = Some("gpt-4o".into());
        record.status = Some(200);
        record.error = Some(isango_types::record::RecordError {
            code: "late".into(),
            message: "it was late".into(),
            blame: isango_types::record::Blame::Upstream,
        });
        record.usage = Some(Usage {
            input: 5,
            output: 7,
            ..Usage::default()
        });
        record.cost = Cost {
            status: CostStatus::Priced,
            nanousd: Some(97_500),
            price: None,
        };
        record.timing.ttfb_us = Some(1_500);
        record.finish_reason = Some("stop".into());
        record.token = Some("app".into());
        record.user_agent = Some("curl".into());
        let entry = ("a".into(), MetadataValue::Bool(true));
        record.metadata = [entry].into();
        record.response.body = record.request.body.clone();
        record
    }

    #[test]
    fn every_field_has_a_value_of_the_kind_of_its_column() {
        let (record, fields) = (full(), all());
        let mut table = Table::default();
        table.push(&fields, Row::of(&record, &fields, None).unwrap());
        for (column, field) in table.columns.iter().zip(&fields) {
            let is_there = match &column.values {
                Values::Texts(values) => values[0].is_some(),
                Values::Numbers(values) => values[0].is_some(),
                Values::Decimals(values) => values[0].is_some(),
                Values::Flags(values) => values[0].is_some(),
                Values::Times(values) => values[0].is_some(),
            };
            assert!(is_there, "{}", field.name());
        }
    }

    #[test]
    fn a_row_knows_its_size_with_and_without_its_contents() {
        let (record, fields) = (full(), all());
        let body = record.request.body.as_ref().unwrap().as_str().len();
        let row = Row::of(&record, &fields, None).unwrap();
        let whole = row.bytes;
        let bare = row.bare(&fields);
        assert_eq!(whole - bare.bytes, 2 * body + r#"{"a":true}"#.len());
        let contents = fields
            .iter()
            .zip(&bare.cells)
            .filter(|(field, _)| field.is_sealed());
        assert!(contents.clone().all(|(_, cell)| *cell == Cell::Null));
        assert_eq!(contents.count(), 3);
    }
}
