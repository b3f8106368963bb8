//! Tables that others put together, as Parquet files.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use isango_store::logs::Error;
use isango_store::table::{Column, TableFormat, Values};
use isango_types::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use serde_json::{Map, Value};

use crate::export::Pipe;
use crate::sealed::{GROUP_ROWS, failed, spared, write_groups};

/// zstd's level: as the lines of an export are packed.
const LEVEL: i32 = 1;

/// Parquet files: plain texts, moments in microseconds (UTC), zstd, row groups of 65 536.
#[derive(Clone, Copy, Debug)]
pub struct Parquet;

impl TableFormat for Parquet {
    fn write(&self, columns: &[Column]) -> Result<Vec<u8>, Error> {
        let rows = columns.first().map_or(0, |column| column.values.len());
        if columns.iter().any(|column| column.values.len() != rows) {
            return Err(failed(std::io::Error::other("columns of several lengths")));
        }
        let fields = columns.iter().map(field);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let level = ZstdLevel::try_new(LEVEL).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let (pipe, mut file, mut at) = (Pipe::default(), Vec::new(), 0);
        write_groups(pipe.clone(), &schema, &properties, || {
            pipe.drain(&mut file)?;
            let start = at;
            at = rows.min(start + GROUP_ROWS);
            let group = start..at;
            let arrays = columns
                .iter()
                .map(move |column| Ok(array(column, group.clone())));
            Ok((start < rows).then_some(arrays))
        })?;
        pipe.drain(&mut file)?;
        Ok(file)
    }
}

fn field(column: &Column) -> Field {
    let kind = match &column.values {
        Values::Texts(_) => DataType::Utf8,
        Values::Numbers(_) => DataType::UInt64,
        Values::Decimals(_) => DataType::Float64,
        Values::Flags(_) => DataType::Boolean,
        Values::Times(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    };
    Field::new(&*column.name, kind, true)
}

/// Some rows of a column.
fn array(column: &Column, rows: std::ops::Range<usize>) -> ArrayRef {
    match &column.values {
        Values::Texts(values) => {
            let texts = values[rows].iter().map(Option::as_deref);
            Arc::new(texts.collect::<StringArray>())
        }
        Values::Numbers(values) => Arc::new(UInt64Array::from(values[rows].to_vec())),
        Values::Decimals(values) => Arc::new(Float64Array::from(values[rows].to_vec())),
        Values::Flags(values) => Arc::new(BooleanArray::from(values[rows].to_vec())),
        Values::Times(values) => {
            let micros = values[rows].iter().map(|time| {
                let micros = i64::try_from((*time)?.as_micros());
                Some(micros.unwrap_or(i64::MAX))
            });
            let moments: TimestampMicrosecondArray = micros.collect();
            Arc::new(moments.with_timezone("UTC"))
        }
    }
}

/// The rows of a Parquet file of these kinds, as JSON by column; what a row has none of is null.
/// Moments are told as RFC 3339.
///
/// # Errors
/// It is no Parquet file, is damaged, or has columns of other kinds.
pub fn rows(file: Bytes) -> Result<Vec<Map<String, Value>>, Error> {
    let read = || -> Result<Vec<Map<String, Value>>, Error> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let mut rows = Vec::new();
        for batch in builder.build().map_err(failed)? {
            let batch = batch.map_err(failed)?;
            let start = rows.len();
            rows.resize_with(start + batch.num_rows(), Map::new);
            for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                for (at, row) in rows[start..].iter_mut().enumerate() {
                    row.insert(field.name().clone(), value(array, at)?);
                }
            }
        }
        Ok(rows)
    };
    spared(Path::new("the table"), read)
}

/// The value of a row.
fn value(array: &ArrayRef, at: usize) -> Result<Value, Error> {
    if array.is_null(at) {
        return Ok(Value::Null);
    }
    let kind = array.data_type();
    Ok(if *kind == DataType::Utf8 {
        array.as_string::<i32>().value(at).into()
    } else if *kind == DataType::UInt64 {
        array.as_primitive::<UInt64Type>().value(at).into()
    } else if *kind == DataType::Float64 {
        array.as_primitive::<Float64Type>().value(at).into()
    } else if *kind == DataType::Boolean {
        array.as_boolean().value(at).into()
    } else if matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _)) {
        let micros = array.as_primitive::<TimestampMicrosecondType>().value(at);
        let moment = Timestamp::from_micros(u64::try_from(micros).unwrap_or_default());
        moment.to_string().into()
    } else {
        return Err(Error::Damaged(format!("a column of the kind {kind}")));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, values: Values) -> Column {
        Column {
            name: name.into(),
            values,
        }
    }

    #[test]
    fn a_table_is_a_parquet_file_with_the_same_columns() {
        let at = Timestamp::parse("2026-04-18T00:02:10.000001Z").unwrap();
        let columns = [
            column("When", Values::Times(vec![Some(at), None])),
            column(
                "Text",
                Values::Texts(vec![None, Some("ü \"quoted\"".into())]),
            ),
            column(
                "Count",
                Values::Numbers(vec![Some(u64::from(u32::MAX) + 1), None]),
            ),
            column("Cost", Values::Decimals(vec![Some(0.000_097_5), None])),
            column("Is", Values::Flags(vec![Some(false), Some(true)])),
        ];
        let file = Bytes::from(Parquet.write(&columns).unwrap());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
        let read = &batches[0];
        let names = read
            .schema()
            .fields()
            .iter()
            .map(|one| one.name().clone())
            .collect::<Vec<_>>();
        assert_eq!(names, ["When", "Text", "Count", "Cost", "Is"]);
        for (at, column) in columns.iter().enumerate() {
            assert_eq!(&**read.column(at), &*array(column, 0..2), "{}", column.name);
        }
    }

    #[test]
    fn a_long_table_has_several_row_groups_and_an_empty_one_none() {
        let rows = GROUP_ROWS + 1;
        for (rows, groups) in [(rows, 2), (0, 0)] {
            let numbers = (0..rows as u64).map(Some).collect();
            let file = Parquet
                .write(&[column("N", Values::Numbers(numbers))])
                .unwrap();
            let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
            assert_eq!(builder.metadata().num_row_groups(), groups);
            let found = builder
                .build()
                .unwrap()
                .map(|batch| batch.unwrap().num_rows());
            assert_eq!(found.sum::<usize>(), rows);
        }
    }

    #[test]
    fn columns_of_several_lengths_are_refused() {
        let columns = [
            column("A", Values::Flags(vec![None])),
            column("B", Values::Flags(Vec::new())),
        ];
        assert!(Parquet.write(&columns).is_err());
    }
}
