//! What the store does to the disk: every call that changes it, behind one trait, so that tests can
//! make each of them fail. Only SQLite, which keeps what is said later, makes its calls itself; it is
//! told of beforehand, and afterwards.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// The calls that change the disk. All of them block.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Makes a folder and those above it, its owner's alone (0700); whether it was not there.
    fn make_dir(&self, dir: &Path) -> io::Result<bool>;
    /// Opens a file to read and write, and makes it if it is not there; its owner's alone (0600).
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Writes all bytes at an offset.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()>;
    /// Returns when the file's data is on the medium.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns when the names in a folder are on the medium.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file within its folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// SQLite is about to read or to write this file, or has just done so: it fails where a test
    /// wants SQLite to fail, or what it has done to stay unknown.
    fn sqlite(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        let is_new = !dir.exists();
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(is_new)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sqlite(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
