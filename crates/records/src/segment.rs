//! Sealed columns: one Parquet file for each stretch of the journal.
//!
//! `columns/<first>-<end>.parquet` holds the records whose positions lie in `first..end`, each
//! once, sorted by id, in row groups of 65 536. It is written under another name and renamed, and
//! never changed. It is an ordinary Parquet file: plain texts, zstd, statistics, an index of its
//! pages, and bloom filters on `id` and `event_id`. Whether it holds what the journal says is not
//! in question: it is a projection, and made again when it is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use isango_store::logs::Error;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use crate::arrays;
use crate::chunk::Chunk;
use crate::disk::Disk;
use crate::fields::{Fields, ID, Kind, METADATA, METADATA_KIND, METADATA_MORE, Number, Text};
use crate::gather::{Gather, Keys};
use crate::rollup::Rollup;
use crate::sealed::{self, GROUP_ROWS, Sealed};

/// A sealed file and what must be known of it to decide whether it is read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// The positions that it covers.
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) rows: usize,
    pub(crate) groups: Vec<Group>,
    file: Sealed,
    /// Sums of it, if there are any.
    pub(crate) rollup: Option<Arc<Rollup>>,
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
        let file = Sealed::open(path)?;
        let groups: Option<Vec<Group>> = file.parquet().row_groups().iter().map(group).collect();
        let groups = groups.ok_or_else(|| file.damaged("its statistics are incomplete"))?;
        Ok(Self {
            first,
            end,
            rows: groups.iter().map(|group| group.rows).sum(),
            groups,
            file,
            rollup: None,
        })
    }

    /// The same with its sums.
    pub(crate) fn with_rollup(&self, rollup: Rollup) -> Self {
        Self {
            rollup: Some(Arc::new(rollup)),
            ..self.clone()
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// First and last id.
    pub(crate) fn ids(&self) -> [u128; 2] {
        let first = self.groups.iter().map(|group| group.ids[0]).min();
        let last = self.groups.iter().map(|group| group.ids[1]).max();
        [first.unwrap_or(u128::MAX), last.unwrap_or(0)]
    }

    /// First and last moment, in microseconds.
    pub(crate) fn created(&self) -> [u64; 2] {
        let first = self.groups.iter().map(|group| group.created[0]).min();
        let last = self.groups.iter().map(|group| group.created[1]).max();
        [first.unwrap_or(u64::MAX), last.unwrap_or(0)]
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
        let mut chunk = Chunk {
            rows: rows.map_or(self.groups[group].rows, <[u32]>::len),
            ..Chunk::default()
        };
        if fields.is_empty() || chunk.rows == 0 {
            return Ok(chunk);
        }
        let mut found = 0;
        for batch in self.file.read(group, |name| fields.holds(name), rows)? {
            found += batch.num_rows();
            let appended = arrays::append(&batch, &mut chunk);
            appended.ok_or_else(|| self.file.damaged("a column has another type"))?;
        }
        // Of a key that no row has, there is no column.
        if found != chunk.rows && found > 0 {
            return Err(self.file.damaged("a row group has another number of rows"));
        }
        Ok(chunk)
    }

    /// How many rows have metadata of a key that has a column, and whether it has values that are
    /// no texts.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        let fields = self.file.schema().fields();
        let keyed = fields.iter().enumerate().filter_map(|(at, field)| {
            let key = field.name().strip_prefix(METADATA)?;
            let has_kinds = fields.find(&format!("{METADATA_KIND}{key}")).is_some();
            Some((at, key, has_kinds))
        });
        keyed.map(|(at, key, has_kinds)| {
            let groups = self.file.parquet().row_groups().iter();
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
        let fields = self.file.schema().fields();
        let Some((at, _)) = fields.find(METADATA_MORE) else {
            return false;
        };
        let mut groups = self.file.parquet().row_groups().iter();
        groups.any(|group| {
            let nulls = group
                .column(at)
                .statistics()
                .and_then(Statistics::null_count_opt);
            nulls.is_none_or(|nulls| nulls < u64::try_from(group.num_rows()).unwrap_or(0))
        })
    }

    /// Whether any of these ids is in it.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn holds_any(&self, ids: &BTreeSet<u128>) -> Result<bool, Error> {
        for (at, group) in self.groups.iter().enumerate() {
            let [first, last] = group.ids;
            let mut within = ids.range(first..=last);
            if within.any(|id| self.may_hold(at, *id)) {
                let chunk = self.read(at, &Fields::default().id(), None)?;
                if chunk.ids.iter().any(|id| ids.contains(id)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a row group can hold an id, as far as its range and its bloom filter tell.
    pub(crate) fn may_hold(&self, group: usize, id: u128) -> bool {
        let [first, last] = self.groups[group].ids;
        if id < first || last < id {
            return false;
        }
        self.may_hold_value(group, ID, &id.to_be_bytes())
    }

    /// Whether a column of a row group can hold a value, as far as its bloom filter tells.
    pub(crate) fn may_hold_value(&self, group: usize, column: &str, value: &[u8]) -> bool {
        self.file.may_hold(group, column, value)
    }

    /// Of a column that there is: the rows of a row group, and its statistics there, if it has any.
    pub(crate) fn statistics(
        &self,
        group: usize,
        column: &str,
    ) -> Option<(u64, Option<&Statistics>)> {
        let (at, _) = self.file.schema().fields().find(column)?;
        let group = self.file.parquet().row_group(group);
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        Some((rows, group.column(at).statistics()))
    }
}

fn group(metadata: &RowGroupMetaData) -> Option<Group> {
    let statistics = |name: &str| {
        let mut columns = metadata.columns().iter();
        columns
            .find(|column| column.column_path().string() == name)?
            .statistics()
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

/// Writes a segment: row groups in the order of their ids, each of at most [`GROUP_ROWS`].
///
/// # Errors
/// The disk failed; what was written is removed.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    (first, end): (u64, u64),
    keys: &Keys,
    mut next: impl FnMut() -> Result<Option<Gather>, Error>,
) -> Result<Segment, Error> {
    let path = dir.join(name(first, end));
    let schema = Arc::new(arrays::schema(keys));
    let mut head = next()?;
    let properties = properties(head.as_ref(), keys)?;
    sealed::write(disk, &path, &schema, &properties, || {
        let rows = match head.take() {
            Some(head) => Some(head),
            None => next()?,
        };
        Ok(rows.map(|rows| arrays::columns(rows, keys)))
    })?;
    Segment::open(&path)
}

/// How a segment is written whose first rows are these. Columns that say nothing there are not
/// compressed: making ready for it costs more than all of the column.
pub(crate) fn properties(head: Option<&Gather>, keys: &Keys) -> Result<WriterProperties, Error> {
    let id = ColumnPath::from(ID);
    let event = ColumnPath::from(Text::Event.name());
    let mut properties = sealed::properties(&[])?
        .set_column_dictionary_enabled(id.clone(), false)
        .set_column_encoding(id.clone(), Encoding::PLAIN);
    for column in [id, event] {
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), 0.01)
            .set_column_bloom_filter_max_ndv(column, GROUP_ROWS as u64);
    }
    for number in Number::ALL
        .into_iter()
        .filter(|number| !number.is_repetitive())
    {
        let column = ColumnPath::from(number.name());
        properties = properties.set_column_dictionary_enabled(column.clone(), false);
        if number.kind() != Kind::Flag {
            properties = properties.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    if let Some(head) = head {
        let numbers = Number::ALL.into_iter();
        let numbers = numbers.filter(|number| !head.has_number(*number));
        let texts = Text::ALL.into_iter().filter(|text| !head.has_text(*text));
        let names = numbers.map(Number::name).chain(texts.map(Text::name));
        for name in names.chain((!head.has_more(keys)).then_some(METADATA_MORE)) {
            let column = ColumnPath::from(name);
            properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
        }
    }
    // Names of keys may hold anything, dots among it: their columns have the default settings.
    Ok(properties.build())
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Damaged(format!("{}: {what}", path.display()))
}
