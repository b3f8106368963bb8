//! Sealed columns: one Parquet file for each stretch of the journal.
//!
//! `columns/<first>-<end>.parquet` holds the records whose positions lie in `first..end`, each
//! once, sorted by id, in row groups of 65 536. It is written under another name and renamed, and
//! never changed. It is an ordinary Parquet file: plain texts, zstd, statistics, an index of its
//! pages, and bloom filters on `id` and `event_id`. Whether it holds what the journal says is not
//! in question: it is a projection, and made again when it is lost.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use isango_store::logs::Error;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy, RowGroupMetaData};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use crate::arrays;
use crate::builder::Keys;
use crate::chunk::Chunk;
use crate::disk::Disk;
use crate::fields::{Fields, ID, METADATA, METADATA_KIND, METADATA_MORE, Number, Text};

/// Most rows of a row group: what is read at once.
pub(crate) const GROUP_ROWS: usize = 65_536;
/// The version in the footer. A file of a newer one is passed over and made again.
const FORMAT: &str = "1";
const FORMAT_KEY: &str = "isango.format";
/// zstd's level: 3 stores 6 % less than 1 and takes a fifth longer to write.
const LEVEL: i32 = 1;

/// A sealed file and what must be known of it to decide whether it is read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// The positions that it covers.
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) rows: usize,
    pub(crate) groups: Vec<Group>,
    file: Shared,
    metadata: ArrowReaderMetadata,
}

/// A row group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) rows: usize,
    /// First and last id.
    pub(crate) ids: [u128; 2],
    /// First and last moment, in microseconds.
    pub(crate) created: [u64; 2],
}

/// A file that several threads read at once.
#[derive(Clone, Debug)]
struct Shared(Arc<File>);

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Shared {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(From {
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
pub(crate) struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The name of the file for a stretch of the journal.
pub(crate) fn name(first: u64, end: u64) -> String {
    format!("{first:012}-{end:012}.parquet")
}

/// The stretch of the journal that a file's name tells.
pub(crate) fn stretch(name: &str) -> Option<(u64, u64)> {
    let (first, end) = name.strip_suffix(".parquet")?.split_once('-')?;
    let (first, end) = (first.parse().ok()?, end.parse().ok()?);
    (first < end).then_some((first, end))
}

impl Segment {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is of a newer format.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let stretch = path.file_name().and_then(|name| stretch(name.to_str()?));
        let (first, end) = stretch.ok_or_else(|| damaged(path, "its name"))?;
        let file = Shared(Arc::new(File::open(path)?));
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let found = ArrowReaderMetadata::load(&file, options.clone());
        let found = found.map_err(|error| damaged(path, &error.to_string()))?;
        let version = found.metadata().file_metadata().key_value_metadata();
        let version = version.into_iter().flatten().find(|one| one.key == FORMAT_KEY);
        if version.and_then(|one| one.value.as_deref()) != Some(FORMAT) {
            return Err(damaged(path, "its format is another one"));
        }
        let schema = Arc::new(arrays::as_dictionaries(found.schema()));
        let metadata = Arc::clone(found.metadata());
        let groups: Option<Vec<Group>> = metadata.row_groups().iter().map(group).collect();
        let groups = groups.ok_or_else(|| damaged(path, "its statistics are incomplete"))?;
        let metadata = ArrowReaderMetadata::try_new(metadata, options.with_schema(schema))
            .map_err(|error| damaged(path, &error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            first,
            end,
            rows: groups.iter().map(|group| group.rows).sum(),
            groups,
            file,
            metadata,
        })
    }

    /// Reads columns of a row group: all of its rows, or some, ascending.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn read(
        &self,
        group: usize,
        fields: &Fields,
        rows: Option<&[u32]>,
    ) -> Result<Chunk, Error> {
        let names = self.metadata.schema().fields().iter().enumerate();
        let wanted: Vec<usize> = names
            .filter(|(_, field)| fields.holds(field.name()))
            .map(|(at, _)| at)
            .collect();
        let count = rows.map_or(self.groups[group].rows, <[u32]>::len);
        let mut chunk = Chunk {
            rows: count,
            ..Chunk::default()
        };
        if wanted.is_empty() || count == 0 {
            return Ok(chunk);
        }
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), wanted);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.metadata.clone(),
        )
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(GROUP_ROWS);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(selection(rows));
        }
        let broken = |error: &dyn std::fmt::Display| damaged(&self.path, &error.to_string());
        let mut found = 0;
        for batch in builder.build().map_err(|error| broken(&error))? {
            let batch = batch.map_err(|error| broken(&error))?;
            found += batch.num_rows();
            arrays::append(&batch, &mut chunk).ok_or_else(|| broken(&"a column has another type"))?;
        }
        if found != count {
            return Err(broken(&"a row group has another number of rows"));
        }
        Ok(chunk)
    }

    /// How many rows have metadata of a key that has a column, and whether it has values that are
    /// no texts.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        let fields = self.metadata.schema().fields();
        let keyed = fields.iter().enumerate().filter_map(|(at, field)| {
            let key = field.name().strip_prefix(METADATA)?;
            let has_kinds = fields.find(&format!("{METADATA_KIND}{key}")).is_some();
            Some((at, key, has_kinds))
        });
        keyed.map(|(at, key, has_kinds)| {
            let groups = self.metadata.metadata().row_groups().iter();
            let values = groups.map(|group| {
                let column = group.column(at);
                let nulls = column.statistics().and_then(Statistics::null_count_opt);
                u64::try_from(column.num_values()).unwrap_or(0) - nulls.unwrap_or(0)
            });
            (key, values.sum(), has_kinds)
        })
    }

    /// Whether a row has metadata of a key that has no column.
    pub(crate) fn has_more(&self) -> bool {
        let fields = self.metadata.schema().fields();
        let Some((at, _)) = fields.find(METADATA_MORE) else {
            return false;
        };
        let mut groups = self.metadata.metadata().row_groups().iter();
        groups.any(|group| {
            let nulls = group.column(at).statistics().and_then(Statistics::null_count_opt);
            nulls.is_none_or(|nulls| nulls < u64::try_from(group.num_rows()).unwrap_or(0))
        })
    }

    /// Whether a row group can hold an id, as far as its range and its bloom filter tell.
    pub(crate) fn may_hold(&self, group: usize, id: u128) -> bool {
        let [first, last] = self.groups[group].ids;
        if id < first || last < id {
            return false;
        }
        let fields = self.metadata.schema().fields();
        let Some((column, _)) = fields.find(ID) else {
            return true;
        };
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.metadata.clone(),
        );
        match reader.get_row_group_column_bloom_filter(group, column) {
            Ok(Some(filter)) => filter.check(id.to_be_bytes().as_slice()),
            Ok(None) | Err(_) => true,
        }
    }
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

fn group(metadata: &RowGroupMetaData) -> Option<Group> {
    let statistics = |name: &str| {
        let mut columns = metadata.columns().iter();
        columns.find(|column| column.column_path().string() == name)?.statistics()
    };
    let id = |bytes: Option<&[u8]>| Some(u128::from_be_bytes(bytes?.try_into().ok()?));
    let ids = statistics(ID)?;
    let Statistics::Int64(created) = statistics(Number::CreatedAt.name())? else {
        return None;
    };
    let moment = |micros: Option<&i64>| u64::try_from(*micros?).ok();
    Some(Group {
        rows: usize::try_from(metadata.num_rows()).ok()?,
        ids: [id(ids.min_bytes_opt())?, id(ids.max_bytes_opt())?],
        created: [moment(created.min_opt())?, moment(created.max_opt())?],
    })
}

/// Writes a segment: row groups in the order of their ids, each of at most [`GROUP_ROWS`], under
/// another name until it is whole.
///
/// # Errors
/// The disk failed; what was written is removed.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    (first, end): (u64, u64),
    keys: &Keys,
    mut next: impl FnMut() -> Result<Option<Chunk>, Error>,
) -> Result<Segment, Error> {
    let path = dir.join(name(first, end));
    let unfinished = path.with_extension("writing");
    let written = (|| {
        let file = disk.open(&unfinished)?;
        disk.truncate(&file, 0)?;
        let out = Out {
            disk,
            file: &file,
            at: 0,
        };
        let schema = Arc::new(arrays::schema(keys));
        let options = ArrowWriterOptions::new()
            .with_properties(properties()?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), options);
        let mut writer = writer.map_err(failed)?;
        while let Some(chunk) = next()? {
            let batch = arrays::to_batch(&chunk, &schema, keys).map_err(failed)?;
            writer.write(&batch).map_err(failed)?;
            writer.flush().map_err(failed)?;
        }
        writer.close().map_err(failed)?;
        disk.sync(&file)?;
        disk.rename(&unfinished, &path)?;
        disk.sync_dir(dir)?;
        Segment::open(&path)
    })();
    if written.is_err() {
        // It may not have come that far, and is overwritten the next time.
        drop(disk.remove(&unfinished));
    }
    written
}

fn properties() -> Result<WriterProperties, Error> {
    let format = KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_owned());
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by("isango".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL).map_err(failed)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(vec![format]));
    let id = ColumnPath::from(ID);
    let event = ColumnPath::from(Text::Event.name());
    properties = properties
        .set_column_dictionary_enabled(id.clone(), false)
        .set_column_encoding(id.clone(), Encoding::PLAIN);
    for column in [id, event] {
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), 0.01)
            .set_column_bloom_filter_max_ndv(column, GROUP_ROWS as u64);
    }
    for number in Number::ALL.into_iter().filter(|number| !number.is_repetitive()) {
        let column = ColumnPath::from(number.name());
        properties = properties.set_column_dictionary_enabled(column.clone(), false);
        if number.kind() != crate::fields::Kind::Flag {
            properties = properties.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    // Names of keys may hold anything, dots among it: their columns have the default settings.
    Ok(properties.build())
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
fn failed(error: impl std::error::Error + Send + std::marker::Sync + 'static) -> Error {
    Error::Io(io::Error::other(error))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Damaged(format!("{}: {what}", path.display()))
}
