//! What the targets share.

use std::path::PathBuf;

use isango_records::{Options, Records};
use isango_store::conformance::sample;
use isango_store::logs::LogWriter as _;
use tempfile::TempDir;

/// A record store with some records, in a folder that goes with the process.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Default for Folder {
    fn default() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let store = Records::open(folder.path(), Options::default()).expect("a store can be made");
        let records: Vec<_> = (0..64).map(sample::record).collect();
        store.append(&records).expect("records can be stored");
        Self(folder)
    }
}

impl Folder {
    /// Where its journal is.
    pub fn journal(&self) -> PathBuf {
        self.0.path().join("journal")
    }
}
