use std::io::Read as _;

use isango_store::conformance::sample;
use isango_store::later::{Change, Deletion, Patch};
use isango_store::logs::{Frames, Gap, LogReader as _, LogWriter as _, Position};
use isango_types::Record;

use crate::{Options, Records};

/// A store with frames of ten records each.
fn store(frames: u64) -> (tempfile::TempDir, Records, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Records::open(folder.path(), Options::default()).unwrap();
    let records: Vec<Record> = (0..frames * 10).map(sample::record).collect();
    for batch in records.chunks(10) {
        store.append(batch).unwrap();
    }
    (folder, store, records)
}

fn counts(found: &Frames) -> (Vec<u64>, Option<u64>) {
    let counts = found.frames.iter().map(|frame| frame.records);
    (counts.collect(), found.singly.map(Position::count))
}

#[test]
fn frames_are_given_as_they_lie() {
    let (_folder, store, records) = store(3);
    let found = store.frames(Position::START, usize::MAX).unwrap();
    assert_eq!(counts(&found), (vec![10, 10, 10], None));
    let packed: Vec<u8> = found
        .frames
        .iter()
        .flat_map(|one| one.packed.clone())
        .collect();
    let mut text = String::new();
    zstd::Decoder::new(&*packed)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let written = records.iter().map(|record| {
        let mut line = Vec::new();
        record.write_json(&mut line).unwrap();
        String::from_utf8(line).unwrap()
    });
    assert_eq!(lines, written.collect::<Vec<_>>());
    let raw: usize = found.frames.iter().map(|frame| frame.raw_bytes).sum();
    assert_eq!(raw, text.len());
    let second = &found.frames[1];
    let end = |at: usize| (records[at].id, records[at].created_at);
    assert_eq!(second.ends, [end(10), end(19)]);
    let mut owners: Vec<_> = records[10..20]
        .iter()
        .map(|one| (one.account.clone(), one.gateway.clone()))
        .collect();
    owners.sort();
    owners.dedup();
    let mut told = second.owners.clone();
    told.sort();
    assert_eq!(told, owners);
}

#[test]
fn what_is_no_whole_frame_is_read_singly() {
    let (_folder, store, records) = store(3);
    let found = |from| counts(&store.frames(Position::after(from), usize::MAX).unwrap());
    assert_eq!(found(3), (vec![], Some(10)));
    assert_eq!(found(10), (vec![10, 10], None));
    assert_eq!(found(30), (vec![], None));
    // What is said of a record later is not in the frame.
    let feedback = Patch {
        feedback: Change::Set(1),
        ..Patch::default()
    };
    store.patch(records[15].id, &feedback).unwrap();
    assert_eq!(found(0), (vec![10], Some(20)));
    store.delete(&[records[2].id], Deletion::Erased).unwrap();
    assert_eq!(found(0), (vec![], Some(10)));
    assert_eq!(found(20), (vec![10], None));
}

#[test]
fn frames_keep_to_the_room_but_for_the_first() {
    let (_folder, store, _) = store(3);
    let all = store.frames(Position::START, usize::MAX).unwrap().frames;
    let two = all[0].raw_bytes + all[1].raw_bytes;
    for (room, frames) in [(0, 1), (two - 1, 1), (two, 2)] {
        let found = store.frames(Position::START, room).unwrap();
        assert_eq!(counts(&found), (vec![10; frames], None), "{room}");
    }
}

#[test]
fn markers_tell_how_many_are_missing_between_two_positions() {
    let (_folder, store, _) = store(1);
    let gap = |dropped| {
        let gap = Gap {
            dropped,
            reason: "full".into(),
            at: sample::time(5),
        };
        store.append_gap(&gap).unwrap();
    };
    gap(3);
    gap(4);
    store.append(&[sample::record(10)]).unwrap();
    gap(100);
    let dropped = |from, to| {
        let (from, to) = (Position::after(from), Position::after(to));
        store.dropped(from, to).unwrap()
    };
    assert_eq!(dropped(0, 10), 0);
    assert_eq!(dropped(10, 11), 7);
    assert_eq!(dropped(0, 11), 7);
    assert_eq!(dropped(11, 12), 100);
    assert_eq!(dropped(0, 100), 107);
    drop(store);
}
