//! Chunks as Arrow arrays, and back.

use std::sync::Arc;

use crate::builder::Keys;
use crate::chunk::{Chunk, Metadata, Texts};
use crate::fields::{
    ID, Kind, METADATA, METADATA_KIND, METADATA_MORE, NO_WORD, NONE, Number, Text,
};
use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};

/// Texts by code, as they are read and written.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// The columns of a segment with some keys of metadata, in order. A key that has values which are
/// no texts has a second column.
pub(crate) fn schema(keys: &Keys) -> Schema {
    let mut fields = vec![Field::new(ID, DataType::FixedSizeBinary(16), false)];
    for number in Number::ALL {
        let kind = match number.kind() {
            Kind::Count => DataType::UInt64,
            Kind::Moment => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Flag => DataType::Boolean,
        };
        fields.push(Field::new(number.name(), kind, number.absent() == NONE));
    }
    let mut text = |name: String| fields.push(Field::new(name, dictionary(), true));
    Text::ALL.iter().for_each(|one| text(one.name().into()));
    for (key, has_kinds) in keys {
        text(format!("{METADATA}{key}"));
        if *has_kinds {
            text(format!("{METADATA_KIND}{key}"));
        }
    }
    text(METADATA_MORE.into());
    Schema::new(fields)
}

/// The same columns, with texts by code.
pub(crate) fn as_dictionaries(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        if *field.data_type() == DataType::Utf8 {
            Field::new(field.name(), dictionary(), field.is_nullable())
        } else {
            Field::clone(field)
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The rows of a chunk in the columns of a schema.
pub(crate) fn to_batch(
    chunk: &Chunk,
    schema: &Arc<Schema>,
    keys: &Keys,
) -> Result<RecordBatch, ArrowError> {
    let mut ids = FixedSizeBinaryBuilder::with_capacity(chunk.rows, 16);
    for id in &chunk.ids {
        ids.append_value(id.to_be_bytes())?;
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids.finish())];
    for number in Number::ALL {
        columns.push(from_numbers(number, chunk.number(number), chunk.rows));
    }
    for text in Text::ALL {
        columns.push(from_texts(chunk.text(text), chunk.rows)?);
    }
    for (key, has_kinds) in keys {
        let column = chunk.metadata.get(key);
        columns.push(from_texts(column.map(|column| &column.values), chunk.rows)?);
        if *has_kinds {
            let kinds = column.and_then(|column| column.kinds.as_ref());
            columns.push(from_texts(kinds, chunk.rows)?);
        }
    }
    columns.push(from_texts(chunk.more.as_ref(), chunk.rows)?);
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn from_numbers(number: Number, column: Option<&[u64]>, rows: usize) -> ArrayRef {
    let absent = vec![number.absent(); if column.is_none() { rows } else { 0 }];
    let values = column.unwrap_or(&absent).iter();
    let some = |value: &u64| Some(*value).filter(|value| *value != NONE);
    match number.kind() {
        Kind::Count if number.absent() == NONE => {
            Arc::new(UInt64Array::from_iter(values.map(some)))
        }
        Kind::Count => Arc::new(UInt64Array::from_iter_values(values.copied())),
        Kind::Moment => {
            let micros = values.map(|micros| i64::try_from(*micros).unwrap_or(i64::MAX));
            let moments = TimestampMicrosecondArray::from_iter_values(micros);
            Arc::new(moments.with_timezone("UTC"))
        }
        Kind::Flag => {
            let flags = values.map(|value| some(value).map(|value| value == 1));
            Arc::new(BooleanArray::from_iter(flags))
        }
    }
}

fn from_texts(column: Option<&Texts>, rows: usize) -> Result<ArrayRef, ArrowError> {
    let codes = match column {
        Some(column) => {
            let some = |code: &u32| Some(*code).filter(|code| *code != NO_WORD);
            UInt32Array::from_iter(column.codes.iter().map(some))
        }
        None => UInt32Array::new_null(rows),
    };
    let words = column.into_iter().flat_map(|column| column.words.iter());
    let words = StringArray::from_iter_values(words);
    let array = DictionaryArray::<UInt32Type>::try_new(codes, Arc::new(words))?;
    Ok(Arc::new(array))
}

/// Adds the rows of a batch to a chunk; `None` if a column has a type that it should not have.
pub(crate) fn append(batch: &RecordBatch, chunk: &mut Chunk) -> Option<()> {
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name();
        if name == ID {
            let ids = array.as_fixed_size_binary_opt()?.iter().flatten();
            let ids = ids.map(|id| id.try_into().map(u128::from_be_bytes));
            for id in ids {
                chunk.ids.push(id.ok()?);
            }
        } else if let Some(number) = Number::ALL.iter().find(|one| one.name() == name) {
            let column = chunk.numbers[number.index()].get_or_insert_default();
            append_numbers(*number, array, column)?;
        } else if let Some(text) = Text::ALL.iter().find(|one| one.name() == name) {
            append_texts(array, chunk.texts[text.index()].get_or_insert_default())?;
        } else if let Some(key) = name.strip_prefix(METADATA) {
            let column: &mut Metadata = chunk.metadata.entry(key.into()).or_default();
            append_texts(array, &mut column.values)?;
        } else if let Some(key) = name.strip_prefix(METADATA_KIND) {
            let column: &mut Metadata = chunk.metadata.entry(key.into()).or_default();
            append_texts(array, column.kinds.get_or_insert_default())?;
        } else if name == METADATA_MORE {
            append_texts(array, chunk.more.get_or_insert_default())?;
        }
    }
    Some(())
}

fn append_numbers(number: Number, array: &ArrayRef, column: &mut Vec<u64>) -> Option<()> {
    match number.kind() {
        Kind::Count => {
            let array = array.as_primitive_opt::<UInt64Type>()?;
            let start = column.len();
            column.extend_from_slice(array.values());
            if let Some(nulls) = array.nulls() {
                for (value, is_some) in column[start..].iter_mut().zip(nulls) {
                    if !is_some {
                        *value = NONE;
                    }
                }
            }
        }
        Kind::Moment => {
            let array = array.as_primitive_opt::<TimestampMicrosecondType>()?;
            let micros = array.values().iter();
            column.extend(micros.map(|micros| u64::try_from(*micros).unwrap_or(0)));
        }
        Kind::Flag => {
            let flags = array.as_boolean_opt()?.iter();
            column.extend(flags.map(|flag| flag.map_or(NONE, u64::from)));
        }
    }
    Some(())
}

fn append_texts(array: &ArrayRef, column: &mut Texts) -> Option<()> {
    let array = array.as_dictionary_opt::<UInt32Type>()?;
    let words = array.values().as_string_opt::<i32>()?;
    let before = u32::try_from(column.words.len()).ok()?;
    for word in words {
        column.words.push(word.unwrap_or_default());
    }
    let keys = array.keys();
    match keys.nulls() {
        None => column
            .codes
            .extend(keys.values().iter().map(|code| code + before)),
        Some(nulls) => {
            let codes = keys.values().iter().zip(nulls);
            column.codes.extend(codes.map(
                |(code, is_some)| {
                    if is_some { code + before } else { NO_WORD }
                },
            ));
        }
    }
    Some(())
}
