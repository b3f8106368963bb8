//! What requests under way hold of limits, in a file of slots.
//!
//! A slot is 1 KiB: a mark, the length of the entry, its hash (XXH3, 64 bits), the entry. It is
//! written with one system call and without waiting for the medium: the page cache outlives the
//! process, however it ends. What a loss of power leaves half written does not match its hash, and
//! is no entry.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use isango_store::pledges::{Kept, MAX_ENTRY_BYTES, PledgeStore, check};
use xxhash_rust::xxh3::xxh3_64;

/// Marks a slot of this form.
const MARK: [u8; 4] = *b"ISP1";
const HEAD: usize = 16;
const SLOT: usize = HEAD + MAX_ENTRY_BYTES;
/// Slots that are read at once.
const MANY: usize = 64;

/// Entries in the slots of a file. Another process must not write to it: the folder's lock is the
/// record store's.
#[derive(Debug)]
pub struct FilePledges(File);

impl FilePledges {
    /// Opens a file, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// The disk failed, or may not be written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Ok(Self(options.mode(0o600).open(path)?))
    }

    /// Reads as much as there is.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .0
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl PledgeStore for FilePledges {
    fn put(&self, slot: u32, entry: &[u8]) -> io::Result<()> {
        check(slot, entry)?;
        let mut bytes = [0; SLOT];
        bytes[..4].copy_from_slice(&MARK);
        let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..HEAD].copy_from_slice(&xxh3_64(entry).to_le_bytes());
        bytes[HEAD..HEAD + entry.len()].copy_from_slice(entry);
        self.0
            .write_all_at(&bytes[..HEAD + entry.len()], offset(slot))
    }

    fn clear(&self, slot: u32) -> io::Result<()> {
        check(slot, &[])?;
        let offset = offset(slot);
        if offset < self.0.metadata()?.len() {
            self.0.write_all_at(&[0; HEAD], offset)?;
        }
        Ok(())
    }

    fn get(&self, slot: u32) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = [0; SLOT];
        let length = self.read(&mut bytes, offset(slot))?;
        Ok(entry(&bytes[..length]).map(<[u8]>::to_vec))
    }

    fn entries(&self) -> io::Result<Vec<Kept>> {
        let mut entries = Vec::new();
        let mut bytes = vec![0; MANY * SLOT];
        let mut slot = 0;
        loop {
            let length = self.read(&mut bytes, offset(slot))?;
            for (of, kept) in (slot..).zip(bytes[..length].chunks(SLOT)) {
                entries.extend(entry(kept).map(|entry| (of, entry.to_vec())));
            }
            if length < bytes.len() {
                return Ok(entries);
            }
            slot += u32::try_from(MANY).unwrap_or(u32::MAX);
        }
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT as u64
}

/// The entry in the bytes of a slot, if it is whole.
fn entry(slot: &[u8]) -> Option<&[u8]> {
    let (head, rest) = slot.split_first_chunk::<HEAD>()?;
    let [m0, m1, m2, m3, l0, l1, l2, l3, hash @ ..] = *head;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    let entry = rest.get(..length)?;
    let is_whole = [m0, m1, m2, m3] == MARK && u64::from_le_bytes(hash) == xxh3_64(entry);
    is_whole.then_some(entry)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_conforms_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/pledges");
        isango_store::conformance::pledges(&FilePledges::open(&path).unwrap());
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_was_put_is_there_when_the_file_is_opened_again_and_what_is_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pledges");
        let open = || FilePledges::open(&path).unwrap();
        open().put(0, b"zero").unwrap();
        open().put(1, b"one").unwrap();
        open().put(99, b"ninety-nine").unwrap();
        let whole = [(0, b"zero".to_vec()), (1, b"one".to_vec())];
        assert_eq!(open().entries().unwrap()[..2], whole);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // The last is cut short, another is not what was written.
        file.set_len(offset(99) + 20).unwrap();
        file.write_all_at(b"E", offset(1) + HEAD as u64 + 2)
            .unwrap();
        assert_eq!(open().entries().unwrap(), whole[..1]);
    }
}
