//! Parquet files, read by several threads at once, and written in one go.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use isango_store::logs::Error;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::arrow::arrow_writer::{ArrowWriterOptions, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use crate::arrays;
use crate::disk::Disk;

/// Most rows of a row group: what is read at once.
pub(crate) const GROUP_ROWS: usize = 65_536;
/// The version in the footer. A file of another one is passed over and made again.
const FORMAT: &str = "1";
const FORMAT_KEY: &str = "isango.format";
/// zstd's level.
const LEVEL: i32 = 1;

/// A file that is complete.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    file: Shared,
    metadata: ArrowReaderMetadata,
}

#[derive(Clone, Debug)]
struct Shared(Arc<File>);

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Shared {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Cursor {
            file: Arc::clone(&self.0),
            at: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if (length as u64).saturating_add(start) > self.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start}")));
        }
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads a file on from an offset.
#[derive(Debug)]
struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Sealed {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is of another format.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        spared(path, || Self::load(path))
    }

    fn load(path: &Path) -> Result<Self, Error> {
        let file = Shared(Arc::new(File::open(path)?));
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let broken = |error: ParquetError| damaged(path, &error.to_string());
        let found = ArrowReaderMetadata::load(&file, options.clone()).map_err(broken)?;
        let schema = Arc::new(arrays::as_dictionaries(found.schema()));
        let metadata = Arc::clone(found.metadata());
        let metadata = ArrowReaderMetadata::try_new(metadata, options.with_schema(schema));
        let sealed = Self {
            path: path.to_owned(),
            file,
            metadata: metadata.map_err(broken)?,
        };
        match sealed.value(FORMAT_KEY) {
            Some(FORMAT) => Ok(sealed),
            Some(_) | None => Err(sealed.damaged("its format is another one")),
        }
    }

    /// What the footer says of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let values = self.parquet().file_metadata().key_value_metadata();
        let mut values = values.into_iter().flatten();
        values.find(|one| one.key == key)?.value.as_deref()
    }

    pub(crate) fn parquet(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// Reads the columns of a row group whose names are wanted: all of its rows, or some,
    /// ascending. Columns that say nothing of any row are left out.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn read(
        &self,
        group: usize,
        wanted: impl Fn(&str) -> bool,
        rows: Option<&[u32]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        spared(&self.path, || self.load_rows(group, wanted, rows))
    }

    fn load_rows(
        &self,
        group: usize,
        wanted: impl Fn(&str) -> bool,
        rows: Option<&[u32]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let fields = self.schema().fields().iter().enumerate();
        let wanted = fields
            .filter(|(at, field)| wanted(field.name()) && !self.is_silent(group, *at))
            .map(|(at, _)| at);
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), wanted);
        let mut builder = self
            .reader()
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(GROUP_ROWS);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(selection(rows));
        }
        let broken = |error: &dyn std::fmt::Display| self.damaged(&error.to_string());
        let batches = builder.build().map_err(|error| broken(&error))?;
        batches
            .map(|batch| batch.map_err(|error| broken(&error)))
            .collect()
    }

    /// Whether a column says nothing of any row of a row group. To read such a one costs ten times
    /// what another costs: the library makes a dictionary of nothing, row by row.
    fn is_silent(&self, group: usize, column: usize) -> bool {
        let group = self.parquet().row_group(group);
        let statistics = group.column(column).statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        nulls.is_some_and(|nulls| nulls > 0 && i64::try_from(nulls) == Ok(group.num_rows()))
    }

    /// Whether a column of a row group can hold a value, as far as its bloom filter tells.
    pub(crate) fn may_hold(&self, group: usize, column: &str, value: &[u8]) -> bool {
        let Some((column, _)) = self.schema().fields().find(column) else {
            return true;
        };
        let found = spared(&self.path, || {
            let filter = self
                .reader()
                .get_row_group_column_bloom_filter(group, column);
            Ok(filter.map_or(true, |filter| {
                filter.is_none_or(|filter| filter.check(value))
            }))
        });
        found.unwrap_or(true)
    }

    fn reader(&self) -> ParquetRecordBatchReaderBuilder<Shared> {
        let (file, metadata) = (self.file.clone(), self.metadata.clone());
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
    }

    pub(crate) fn damaged(&self, what: &str) -> Error {
        damaged(&self.path, what)
    }
}

/// What comes of reading a file. The library (parquet 60.1) takes the numbers in a footer for true,
/// and panics over some that damage makes of them; a damaged file is made again as any other.
pub(crate) fn spared<T>(path: &Path, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_panic| Err(damaged(path, "it cannot be made sense of")))
}

/// Skips what lies between some rows.
fn selection(rows: &[u32]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for row in rows {
        let row = usize::try_from(*row).unwrap_or(usize::MAX);
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    selectors.into()
}

/// How files are written, with more in the footer.
///
/// # Errors
/// None that is known.
pub(crate) fn properties(values: &[(&str, String)]) -> Result<WriterPropertiesBuilder, Error> {
    let format = [(FORMAT_KEY, FORMAT.to_owned())];
    let values = format.iter().chain(values);
    let values = values.map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by("isango".to_owned())
        .set_compression(Compression::ZSTD(
            ZstdLevel::try_new(LEVEL).map_err(failed)?,
        ))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(values.collect())))
}

/// Writes a file under another name until it is whole. `next` gives the columns of each row group,
/// which are asked for one by one.
///
/// # Errors
/// The disk failed; what was written is removed.
pub(crate) fn write<Group>(
    disk: &dyn Disk,
    path: &Path,
    schema: &SchemaRef,
    properties: &WriterProperties,
    mut next: impl FnMut() -> Result<Option<Group>, Error>,
) -> Result<(), Error>
where
    Group: Iterator<Item = Result<ArrayRef, ArrowError>>,
{
    let unfinished = path.with_extension("writing");
    let mut write = || {
        let file = disk.open(&unfinished)?;
        disk.truncate(&file, 0)?;
        let out = Out {
            disk,
            file: &file,
            at: 0,
        };
        write_groups(out, schema, properties, &mut next)?;
        disk.sync(&file)?;
        disk.rename(&unfinished, path)?;
        disk.sync_dir(path.parent().unwrap_or(path))?;
        Ok(())
    };
    let written = write();
    if written.is_err() {
        // It may not have come that far, and is overwritten the next time.
        drop(disk.remove(&unfinished));
    }
    written
}

/// Writes a file from its beginning; [`write()`] tells what `next` gives.
///
/// # Errors
/// Those of `next`, and what keeps bytes from being written.
pub(crate) fn write_groups<Group>(
    out: impl Write + Send,
    schema: &SchemaRef,
    properties: &WriterProperties,
    mut next: impl FnMut() -> Result<Option<Group>, Error>,
) -> Result<(), Error>
where
    Group: Iterator<Item = Result<ArrayRef, ArrowError>>,
{
    let options = ArrowWriterOptions::new()
        .with_properties(properties.clone())
        .with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(out, Arc::clone(schema), options);
    let (mut writer, columns) = writer
        .and_then(ArrowWriter::into_serialized_writer)
        .map_err(failed)?;
    let mut at = 0;
    while let Some(group) = next()? {
        let columns = columns.create_column_writers(at).map_err(failed)?;
        at += 1;
        let mut out = writer.next_row_group().map_err(failed)?;
        for ((mut column, field), array) in columns.into_iter().zip(schema.fields()).zip(group) {
            let leaves = compute_leaves(field, &array.map_err(failed)?).map_err(failed)?;
            for leaf in leaves {
                column.write(&leaf).map_err(failed)?;
            }
            let column = column.close().map_err(failed)?;
            column.append_to_row_group(&mut out).map_err(failed)?;
        }
        out.close().map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// A file that is written from its beginning.
struct Out<'d> {
    disk: &'d dyn Disk,
    file: &'d File,
    at: u64,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write_at(self.file, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the Parquet library did not manage; most of it is the disk's.
pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Io(io::Error::other(error))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Damaged(format!("{}: {what}", path.display()))
}
