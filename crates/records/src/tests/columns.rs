//! Columns against the model: hot, sealed, merged, opened again, and read from beside.

use isango_store::conformance::varied;

use super::*;

fn sealing_at(rows: usize) -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes: 40_000,
        seal_at: SealAt {
            rows,
            ..SealAt::default()
        },
        ..Options::default()
    }
}

/// Waits for what the sealing thread has to do, by doing it.
fn settle(store: &Records) {
    store.reader.columns().work(&|| false).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir.join("columns")).unwrap();
    let mut found: Vec<PathBuf> = listed.map(|file| file.unwrap().path()).collect();
    found.sort();
    found
}

/// Fills a store and a model with the same records, out of order, and some of them twice.
fn fill(store: &Records, model: &MemoryLogs, from: u64, to: u64) {
    let records: Vec<Record> = (from..to).map(varied::record).collect();
    for batch in records.chunks(23) {
        store.append(batch).unwrap();
        model.append(batch).unwrap();
    }
    store.append(&records[..3]).unwrap();
    model.append(&records[..3]).unwrap();
}

#[test]
fn lists_and_aggregates_conform_hot_and_sealed() {
    for rows in [65_536, 40, 3] {
        conformance::analytics(|| {
            let dir = TempDir::new().unwrap();
            Temporary {
                records: open(dir.path(), sealing_at(rows)),
                _dir: dir,
            }
        });
    }
}

#[test]
fn columns_say_the_same_sealed_merged_and_opened_again() {
    for (rows, seed) in [(10_000, 1_000), (100, 2_000), (9, 3_000)] {
        let dir = TempDir::new().unwrap();
        let model = MemoryLogs::default();
        for round in 0..3 {
            let store = open(dir.path(), sealing_at(rows));
            conformance::agrees(&store, &model, seed + round, 40);
            fill(&store, &model, seed + round * 250, seed + round * 250 + 250);
            conformance::agrees(&store, &model, seed + round, 40);
            settle(&store);
            conformance::agrees(&store, &model, seed + 50 + round, 40);
            let beside = Reader::open(dir.path()).unwrap();
            conformance::agrees(&beside, &model, seed + 50 + round, 20);
        }
    }
}

#[test]
fn a_reader_beside_the_writer_sees_what_it_appends_and_seals() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let beside = Reader::open(dir.path()).unwrap();
    let store = open(dir.path(), sealing_at(30));
    for round in 0..6 {
        fill(&store, &model, round * 20, round * 20 + 20);
        if round % 2 == 1 {
            settle(&store);
        }
        conformance::agrees(&beside, &model, round, 8);
    }
}

#[test]
fn small_segments_are_merged_and_lost_or_damaged_ones_are_made_again() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &model, 0, 300);
    settle(&store);
    let merged = segments(dir.path());
    assert!(merged.len() < 16, "{merged:?}");
    drop(store);
    let whole = fs::metadata(&merged[0]).unwrap().len();
    File::options().write(true).open(&merged[0]).unwrap().set_len(whole - 9).unwrap();
    fs::write(dir.path().join("columns/000000000000-000000000007.writing"), "half").unwrap();
    if merged.len() > 2 {
        fs::remove_file(&merged[2]).unwrap();
    }
    let store = open(dir.path(), sealing_at(10));
    settle(&store);
    conformance::agrees(&store, &model, 7, 60);
    drop(store);
    fs::remove_dir_all(dir.path().join("columns")).unwrap();
    let store = open(dir.path(), sealing_at(10));
    settle(&store);
    conformance::agrees(&store, &model, 8, 60);
    let modes = segments(dir.path()).into_iter().map(|path| {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    });
    assert!(modes.into_iter().all(|mode| mode == 0o600));
}

#[test]
fn what_a_merge_left_behind_in_a_crash_is_removed() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &model, 0, 90);
    settle(&store);
    let before: Vec<(PathBuf, Vec<u8>)> = segments(dir.path())
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    fill(&store, &model, 90, 300);
    settle(&store);
    drop(store);
    for (path, bytes) in &before {
        fs::write(path, bytes).unwrap();
    }
    let store = open(dir.path(), sealing_at(10));
    conformance::agrees(&store, &model, 9, 40);
    settle(&store);
    let first = segments(dir.path()).remove(0);
    assert!(before.iter().all(|(path, _)| *path != first), "the merged one is kept");
}

#[test]
fn a_question_that_is_stopped_says_so() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &MemoryLogs::default(), 0, 100);
    settle(&store);
    let progress = Progress::default();
    progress.stop();
    let answer = store.aggregate(&Aggregate::default(), &progress).unwrap();
    assert!(!answer.is_complete);
    assert!(progress.fraction() < 1.0);
    assert!(!store.list(&List::default(), &progress).unwrap().is_complete);
}
