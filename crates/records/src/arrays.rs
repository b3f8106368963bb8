//! Chunks as Arrow arrays, and back.

use std::sync::Arc;

use crate::chunk::{Chunk, Metadata, Texts};
use crate::fields::{
    ID, Kind, METADATA, METADATA_KIND, METADATA_MORE, NO_WORD, NONE, Number, Text,
};
use crate::gather::{Gather, Keys};
use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};

/// Texts by code, as they are read and written.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// A column of a segment.
#[derive(Clone, Copy, Debug)]
enum Column<'k> {
    Id,
    Number(Number),
    Text(Text),
    /// Metadata of a key, as text.
    Values(&'k str),
    /// Which of it is no text.
    Kinds(&'k str),
    More,
}

/// The columns of a segment with some keys of metadata, in order. A key that has values which are
/// no texts has a second one.
fn layout(keys: &Keys) -> impl Iterator<Item = Column<'_>> {
    let numbers = Number::ALL.into_iter().map(Column::Number);
    let texts = Text::ALL.into_iter().map(Column::Text);
    let metadata = keys.iter().flat_map(|(key, has_kinds)| {
        let kinds = has_kinds.then_some(Column::Kinds(key));
        [Some(Column::Values(key)), kinds].into_iter().flatten()
    });
    let numbers = std::iter::once(Column::Id).chain(numbers);
    let all = numbers.chain(texts).chain(metadata);
    all.chain([Column::More])
}

/// What a file says of these columns.
pub(crate) fn schema(keys: &Keys) -> Schema {
    let text = |name: String| Field::new(name, dictionary(), true);
    let fields = layout(keys).map(|column| match column {
        Column::Id => Field::new(ID, DataType::FixedSizeBinary(16), false),
        Column::Number(number) => {
            let kind = match number.kind() {
                Kind::Count => DataType::UInt64,
                Kind::Moment => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                Kind::Flag => DataType::Boolean,
            };
            Field::new(number.name(), kind, number.absent() == NONE)
        }
        Column::Text(one) => text(one.name().into()),
        Column::Values(key) => text(format!("{METADATA}{key}")),
        Column::Kinds(key) => text(format!("{METADATA_KIND}{key}")),
        Column::More => text(METADATA_MORE.into()),
    });
    Schema::new(fields.collect::<Vec<_>>())
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

/// The same columns, of some rows. Each is made when it is asked for.
pub(crate) fn columns(
    rows: Gather,
    keys: &Keys,
) -> impl Iterator<Item = Result<ArrayRef, ArrowError>> {
    let mut metadata = None;
    layout(keys).map(move |column| -> Result<ArrayRef, ArrowError> {
        let read = || rows.metadata(keys);
        let texts = match column {
            Column::Id => {
                let mut ids = FixedSizeBinaryBuilder::with_capacity(rows.rows(), 16);
                for id in rows.ids() {
                    ids.append_value(id.to_be_bytes())?;
                }
                return Ok(Arc::new(ids.finish()));
            }
            Column::Number(number) => {
                let column = rows.number(number);
                return Ok(from_numbers(number, column, rows.rows()));
            }
            Column::Text(text) => rows.text(text),
            Column::Values(key) => {
                let column = metadata.get_or_insert_with(read).0.get_mut(key);
                column.map(|column| std::mem::take(&mut column.values))
            }
            Column::Kinds(key) => {
                let column = metadata.get_or_insert_with(read).0.get_mut(key);
                column.and_then(|column| column.kinds.take())
            }
            Column::More => metadata.get_or_insert_with(read).1.take(),
        };
        from_texts(texts, rows.rows())
    })
}

fn from_numbers(number: Number, column: Option<Vec<u64>>, rows: usize) -> ArrayRef {
    let column = column.unwrap_or_else(|| vec![number.absent(); rows]);
    let nulls = match number.absent() {
        NONE => nulls(&column, NONE),
        _ => None,
    };
    match number.kind() {
        Kind::Count => Arc::new(UInt64Array::new(column.into(), nulls)),
        Kind::Moment => {
            let micros = column.iter().map(|one| i64::try_from(*one));
            let micros: Vec<i64> = micros.map(|one| one.unwrap_or(i64::MAX)).collect();
            let moments = TimestampMicrosecondArray::new(micros.into(), nulls);
            Arc::new(moments.with_timezone("UTC"))
        }
        Kind::Flag => {
            let flags = BooleanBuffer::collect_bool(rows, |row| column[row] == 1);
            Arc::new(BooleanArray::new(flags, nulls))
        }
    }
}

/// Which values are there, if any is not.
fn nulls<T: Copy + PartialEq>(column: &[T], absent: T) -> Option<NullBuffer> {
    let is_there = |row: usize| column[row] != absent;
    column
        .contains(&absent)
        .then(|| NullBuffer::new(BooleanBuffer::collect_bool(column.len(), is_there)))
}

fn from_texts(column: Option<Texts>, rows: usize) -> Result<ArrayRef, ArrowError> {
    let Texts { mut codes, words } = column.unwrap_or_else(|| Texts::absent(rows));
    let nulls = nulls(&codes, NO_WORD);
    if nulls.is_some() {
        // What is not there stands for no word that there is not.
        codes
            .iter_mut()
            .filter(|code| **code == NO_WORD)
            .for_each(|code| *code = 0);
    }
    let words = StringArray::from_iter_values(words.iter());
    let codes = UInt32Array::new(codes.into(), nulls);
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
