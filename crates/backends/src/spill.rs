//! Records that the store does not take: packed, in memory or in a file.
//!
//! A batch is JSON, compressed as one frame. The file has no name, so that it goes with the process,
//! however that ends: nobody finds prompts in it later. Where it cannot be written, one batch more
//! stays in memory, and there is no room until all of it is taken.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use isango_store::logs::Error;
use isango_store::spill::Spill;
use isango_types::{Clock, Record, RecordId};
use parking_lot::Mutex;
use zstd::bulk::{compress, decompress};

/// The fastest: whoever puts is behind with it.
const LEVEL: i32 = 1;

/// Packed batches.
#[derive(Debug)]
pub struct PackedSpill {
    max_bytes: u64,
    /// `None`: they stay in memory.
    file: Option<File>,
    /// Whoever changes what is in the file; before `state`, where both are taken, so that nobody
    /// waits for the disk who only looks.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Packed>,
    bytes: u64,
    /// Where the next batch of the file begins.
    end: u64,
    /// The file could not be written to.
    is_failing: bool,
}

/// A batch.
#[derive(Debug)]
struct Packed {
    place: Place,
    /// Bytes of it, packed and as JSON.
    len: usize,
    raw_len: usize,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// From this byte on.
    File(u64),
}

impl PackedSpill {
    /// One that keeps `max_bytes` in memory.
    #[must_use]
    pub fn in_memory(max_bytes: u64) -> Self {
        Self::over(None, max_bytes)
    }

    /// One that keeps `max_bytes` in a file in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// A file cannot be made there.
    pub fn in_folder(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // A name that nobody can have put there before.
        let name = RecordId::new(Clock::system().now());
        let path = folder.join(format!("isango-spill-{name}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self::over(Some(file), max_bytes))
    }

    fn over(file: Option<File>, max_bytes: u64) -> Self {
        Self {
            max_bytes,
            file,
            writing: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Writes a batch behind the others; says where.
    fn write(&self, file: &File, packed: &[u8]) -> io::Result<u64> {
        let offset = self.state.lock().end;
        file.write_all_at(packed, offset)?;
        self.state.lock().end = offset + packed.len() as u64;
        Ok(offset)
    }

    /// Begins the file anew, if nothing is left in it.
    fn rewind(&self) {
        let _writing = self.writing.lock();
        {
            let mut state = self.state.lock();
            if !state.batches.is_empty() {
                return;
            }
            (state.end, state.is_failing) = (0, false);
        }
        if let Some(file) = &self.file {
            // What is not cut off is written over.
            file.set_len(0).ok();
        }
    }

    fn read(&self, packed: Packed) -> Result<Vec<Record>, Error> {
        let bytes = match packed.place {
            Place::Memory(bytes) => bytes,
            Place::File(offset) => {
                let mut bytes = vec![0; packed.len];
                if let Some(file) = &self.file {
                    file.read_exact_at(&mut bytes, offset)?;
                }
                bytes
            }
        };
        let raw = decompress(&bytes, packed.raw_len)?;
        let records = serde_json::Deserializer::from_slice(&raw).into_iter();
        Ok(records.collect::<Result<_, _>>()?)
    }
}

impl Spill for PackedSpill {
    fn has_room(&self) -> bool {
        let state = self.state.lock();
        // What was taken takes room in the file until all is.
        let is_long = state.end >= 2 * self.max_bytes;
        state.bytes < self.max_bytes && !is_long && !state.is_failing
    }

    fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    fn put(&self, batch: &[Record]) -> Result<(), Error> {
        let mut raw = Vec::new();
        for record in batch {
            record.write_json(&mut raw)?;
        }
        let bytes = compress(&raw, LEVEL)?;
        let (len, raw_len) = (bytes.len(), raw.len());
        drop(raw);
        let _writing = self.writing.lock();
        let written = self.file.as_ref().map(|file| self.write(file, &bytes));
        let mut state = self.state.lock();
        let place = match written {
            Some(Ok(offset)) => Place::File(offset),
            Some(Err(error)) => {
                tracing::error!(%error, "records that wait cannot be spilled to a file");
                state.is_failing = true;
                Place::Memory(bytes)
            }
            None => Place::Memory(bytes),
        };
        state.bytes += len as u64;
        state.batches.push_back(Packed {
            place,
            len,
            raw_len,
        });
        Ok(())
    }

    fn take(&self) -> Result<Option<Vec<Record>>, Error> {
        let Some(oldest) = self.state.lock().batches.pop_front() else {
            return Ok(None);
        };
        let len = oldest.len as u64;
        let records = self.read(oldest);
        let is_last = {
            let mut state = self.state.lock();
            state.bytes -= len;
            state.batches.is_empty()
        };
        if is_last {
            self.rewind();
        }
        records.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::{self, sample};

    use super::*;

    #[test]
    fn it_conforms_in_memory_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let spill = PackedSpill::in_folder(&folder.path().join("spill"), 8 << 10).unwrap();
        conformance::spill(&spill);
        conformance::spill(&PackedSpill::in_memory(8 << 10));
        let left = std::fs::read_dir(folder.path().join("spill")).unwrap();
        assert_eq!(left.count(), 0, "the file has no name");
        let length = spill.file.unwrap().metadata().unwrap().len();
        assert_eq!(length, 0, "what was taken takes no room");
    }

    #[test]
    fn a_file_that_is_never_empty_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let spill = PackedSpill::in_folder(folder.path(), 8 << 10).unwrap();
        let batch = [sample::record(1)];
        spill.put(&batch).unwrap();
        let mut put = 0;
        while spill.has_room() && put < 1_000 {
            spill.put(&batch).unwrap();
            spill.take().unwrap().unwrap();
            put += 1;
        }
        assert!(0 < put && put < 100, "{put}");
        assert!(spill.bytes() < 8 << 10);
        spill.take().unwrap().unwrap();
        assert!(spill.has_room());
    }

    #[test]
    fn packed_records_take_little_room() {
        let spill = PackedSpill::in_memory(1 << 20);
        let batch: Vec<Record> = (0..500).map(sample::record).collect();
        let mut raw = Vec::new();
        batch
            .iter()
            .for_each(|one| one.write_json(&mut raw).unwrap());
        spill.put(&batch).unwrap();
        assert!(spill.bytes() * 5 < raw.len() as u64, "{}", spill.bytes());
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_no_record_and_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read-only");
        std::fs::write(&path, "").unwrap();
        let spill = PackedSpill::over(Some(File::open(path).unwrap()), 1 << 20);
        let record = sample::record(1);
        spill.put(std::slice::from_ref(&record)).unwrap();
        assert!(!spill.has_room());
        let taken = spill.take().unwrap().unwrap();
        assert_eq!(taken[0].id, record.id);
        assert!(spill.has_room());
    }
}
