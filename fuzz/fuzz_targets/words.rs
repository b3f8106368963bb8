//! An index of words.
#![no_main]

use std::sync::LazyLock;

use isango_fuzz::Folder;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::default);

fuzz_target!(|bytes: &[u8]| {
    isango_records::fuzzing::words(&FOLDER.journal(), bytes);
});
