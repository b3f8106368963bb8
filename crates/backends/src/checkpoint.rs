//! The counters of limits as they were a moment ago, in a file.
//!
//! A mark, the hash of what follows (XXH3, 64 bits), and what was saved. A new file takes the place
//! of the old one once it is wholly on the medium; what does not match its hash is nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use isango_store::checkpoint::CheckpointStore;
use xxhash_rust::xxh3::xxh3_64;

/// Marks a file of this form.
const MARK: [u8; 4] = *b"ISC1";
const HEAD: usize = 12;

/// One blob in a file, for its owner alone. Another process must not write to it: the folder's lock
/// is the record store's.
#[derive(Debug)]
pub struct FileCheckpoint(PathBuf);

impl FileCheckpoint {
    /// The file at `path`, which is made with its folder when something is saved.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl CheckpointStore for FileCheckpoint {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_whole = bytes
            .split_first_chunk::<HEAD>()
            .is_some_and(|(head, saved)| {
                let [m0, m1, m2, m3, hash @ ..] = *head;
                [m0, m1, m2, m3] == MARK && u64::from_le_bytes(hash) == xxh3_64(saved)
            });
        Ok(is_whole.then(|| bytes.split_off(HEAD)))
    }

    fn save(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let new = self.0.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&MARK)?;
        file.write_all(&xxh3_64(bytes).to_le_bytes())?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&new, &self.0)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_conforms_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/checkpoint");
        isango_store::conformance::checkpoint(&FileCheckpoint::at(&path));
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let file = FileCheckpoint::at(&path);
        file.save(b"what was drawn").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(file.load().unwrap(), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            std::fs::write(&path, other).unwrap();
            assert_eq!(file.load().unwrap(), None, "{at}");
        }
        // What a crash left of a new one is in nobody's way.
        std::fs::write(&path, &whole).unwrap();
        std::fs::write(path.with_extension("new"), b"half").unwrap();
        assert_eq!(file.load().unwrap().unwrap(), b"what was drawn");
        file.save(b"more").unwrap();
        assert_eq!(file.load().unwrap().unwrap(), b"more");
    }
}
