//! The entry points of the fuzz targets over files that are changed at random, from a seed: each
//! returns, and soon, and takes no memory beyond what a store takes anyway.

use std::fs;

use isango_store::logs::LogWriter as _;
use tempfile::TempDir;

use super::damage::Chance;
use super::{batch, files, open};
use crate::{Options, SealAt, Sync, fuzzing};

/// Changed files of each kind; `ISANGO_MUTATIONS` sets another number.
const ROUNDS: u64 = 3_000;
/// Most memory of the whole process, in KiB.
const MAX_KIB: u64 = 1 << 20;

fn rounds() -> u64 {
    let rounds = std::env::var_os("ISANGO_MUTATIONS");
    rounds.map_or(ROUNDS, |rounds| rounds.to_str().unwrap().parse().unwrap())
}

/// A store with a complete journal, its index, its words, a segment and sums.
fn store(records: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    let options = Options {
        sync: Sync::Never,
        seal_at: SealAt {
            rows: 8,
            ..SealAt::default()
        },
        ..Options::default()
    };
    let store = open(dir.path(), options);
    for some in batch(0, records).chunks(8) {
        store.append(some).unwrap();
    }
    store.journal.lock().complete_if(|_| true).unwrap();
    store.settle().unwrap();
    store.indexer.finish().unwrap();
    drop(store);
    // The empty file behind it.
    fs::remove_file(dir.path().join("journal/00000002.jsonl.zst")).unwrap();
    dir
}

/// Shows an entry point what a file is, changed in so many ways. `folder` has what belongs to it.
fn check(bytes: &[u8], rounds: u64, entry: impl Fn(&[u8])) {
    for seed in 1..=rounds {
        let mut changed = bytes.to_vec();
        Chance(seed).damage(&mut changed);
        entry(&changed);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    assert!(peak < MAX_KIB, "{peak} KiB");
}

fn check_journal(ending: &str, entry: fn(&std::path::Path, &[u8])) {
    let store = store(24);
    let bytes = fs::read(&files(store.path(), ending)[0]).unwrap();
    assert!(bytes.len() > 100, "{ending}: {}", bytes.len());
    let folder = store.path().join("journal");
    check(&bytes, rounds(), |changed| entry(&folder, changed));
}

#[test]
fn a_journal_of_any_bytes_is_read_to_its_end() {
    check_journal(".jsonl.zst", fuzzing::journal);
}

#[test]
fn an_index_of_any_bytes_is_read_to_its_end() {
    check_journal(".index", fuzzing::index);
}

#[test]
fn an_index_of_words_of_any_bytes_is_read_to_its_end() {
    check_journal(".words", fuzzing::words);
}

#[test]
fn a_segment_of_any_bytes_is_read_to_its_end() {
    // Enough for a merge, so that there are sums.
    let store = store(136);
    for folder in ["columns", "rollups"] {
        let listed = fs::read_dir(store.path().join(folder)).unwrap();
        let mut paths: Vec<_> = listed.map(|file| file.unwrap().path()).collect();
        paths.sort();
        let bytes = fs::read(&paths[0]).unwrap();
        let scratch = TempDir::new().unwrap();
        check(&bytes, rounds() / 6, |changed| {
            fuzzing::segment(scratch.path(), changed);
        });
    }
}
