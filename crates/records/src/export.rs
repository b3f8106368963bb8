//! Records as Parquet, for other programs: the columns of a segment, of the records that a query asks
//! for, with what was said of their metadata later.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_schema::Schema;
use isango_store::logs::{Error, LogReader as _, MAX_PAGE, Order, Query};
use parking_lot::Mutex;

use crate::Reader;
use crate::arrays;
use crate::builder::Builder;
use crate::fields::Number;
use crate::gather::{Gather, Keys, choose_keys, keys_of, sorted};
use crate::sealed::{self, GROUP_ROWS};
use crate::segment;

/// What was written of a file and not handed on yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    pub(crate) fn drain(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = std::mem::take(&mut *self.0.lock());
        out.write_all(&bytes)
    }
}

impl Reader {
    /// Writes the records of a query, oldest first and at most so many, as one Parquet file: the
    /// columns of a segment but for `position`, in row groups of 65 536, one of which is held in
    /// memory at a time. Says how many there were.
    ///
    /// # Errors
    /// The store could not be read, or `out` not be written to.
    pub fn export_parquet(
        &self,
        query: Query,
        most: usize,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let keys = self.keys()?;
        let schema = arrays::schema(&keys);
        let fields = schema.fields().iter();
        let kept = fields.filter(|field| field.name() != Number::Position.name());
        let kept = Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()));
        let place = schema
            .index_of(Number::Position.name())
            .map_err(sealed::failed)?;
        let properties = segment::properties(None, &keys)?;
        let mut rows = Rows {
            reader: self,
            query: Query {
                order: Order::OldestFirst,
                with_bodies: false,
                ..query
            },
            left: most,
            count: 0,
        };
        let pipe = Pipe::default();
        sealed::write_groups(pipe.clone(), &kept, &properties, || {
            pipe.drain(out)?;
            let group = rows.next_group()?;
            Ok(group.map(|group| {
                let columns = arrays::columns(group, &keys).enumerate();
                columns
                    .filter(move |(at, _)| *at != place)
                    .map(|(_, column)| column)
            }))
        })?;
        pipe.drain(out)?;
        Ok(rows.count)
    }

    /// The keys of metadata that have a column, of all that the columns know.
    fn keys(&self) -> Result<Keys, Error> {
        let snapshot = self.refresh_columns()?.snapshot()?;
        let has_more = snapshot.segments.iter().any(|segment| segment.has_more())
            || snapshot.hot.iter().any(|chunk| chunk.more.is_some());
        let sealed = snapshot.segments.iter().flat_map(|segment| segment.keys());
        Ok(choose_keys(sealed.chain(keys_of(&snapshot.hot)), has_more))
    }
}

/// The records of a query, a row group at a time.
struct Rows<'r> {
    reader: &'r Reader,
    query: Query,
    left: usize,
    count: u64,
}

impl Rows<'_> {
    fn next_group(&mut self) -> Result<Option<Gather>, Error> {
        let mut builder = Builder::default();
        while self.left > 0 && builder.chunk().rows < GROUP_ROWS {
            let room = GROUP_ROWS - builder.chunk().rows;
            self.query.limit = self.left.min(room).min(MAX_PAGE);
            let page = self.reader.query(&self.query)?;
            for record in &page.records {
                builder.push(record, 0);
            }
            self.count += page.records.len() as u64;
            self.left -= page.records.len().min(self.left);
            match page.next {
                Some(next) => self.query.after = Some(next),
                None => self.left = 0,
            }
        }
        builder.finish();
        let chunks = vec![builder.take()];
        let places = sorted(&chunks);
        Ok((!places.is_empty()).then(|| Gather::new(chunks, places)))
    }
}
