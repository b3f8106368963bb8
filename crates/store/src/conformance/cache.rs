//! What every cache store must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use std::sync::Arc;

use bytes::Bytes;
use isango_types::{RecordId, Timestamp};

use crate::cache::{Answer, CacheStore, Entry, Key, Peek, Purge, Scope, Tags};

/// Runs the suite on stores that `make` makes, each empty.
///
/// # Panics
/// The store does not conform.
pub fn cache<S: CacheStore>(make: impl Fn() -> S) {
    keeps_what_it_is_given(&make());
    replaces_by_key(&make());
    purges_what_is_named(&make);
    refuses_questions_from_before_a_purge(&make());
    expires_what_nobody_wants(&make());
}

/// An entry like no other: `n` of 0 to 255 makes its key, tags, times and body.
#[must_use]
pub fn entry(n: u8) -> Entry {
    let at = 1_795_363_823_000_000 + u64::from(n) * 1_000_000;
    let stored_at = Timestamp::from_micros(at);
    let frames = [&b"data: "[..], &[n; 3], b"\n\n", b"", b"\xff\0"];
    Entry {
        key: Key::new([n; 32]),
        tags: Tags {
            account: "local".into(),
            gateway: format!("gateway-{}", n % 2).into(),
            model: (n > 0).then(|| format!("model-{}", n % 3).into()),
            scope: (!n.is_multiple_of(5)).then(|| Scope::of(&[n % 5])),
            tenant: (!n.is_multiple_of(7)).then(|| Scope::of(&[b't', n % 7])),
        },
        filled_by: RecordId::new(stored_at),
        stored_at,
        fresh_until: Timestamp::from_micros(at + 60_000_000),
        keep_until: Timestamp::from_micros(at + 90_000_000),
        took_us: u64::from(n) * 1_000,
        answer: Answer {
            status: 200 + u16::from(n % 4),
            headers: vec![
                (
                    "content-type".into(),
                    Bytes::from_static(b"text/event-stream"),
                ),
                ("x-not-utf8".into(), Bytes::from_static(b"\xfe")),
            ],
            frames: frames.map(Bytes::copy_from_slice).into(),
            times_us: vec![0, 1, 2, 3, u32::MAX],
            is_chunked: n.is_multiple_of(2),
            has_guest: n.is_multiple_of(3),
        },
    }
}

fn put(store: &impl CacheStore, entry: Entry) {
    store
        .put(Arc::new(entry), store.generation())
        .expect("an idle store takes an entry");
}

fn found(store: &impl CacheStore, key: &Key) -> Option<Entry> {
    let got = store.get(key).expect("the store works");
    match store.peek(key) {
        Peek::Here(peeked) => assert_eq!(Some(peeked), got, "both ways lead to the same"),
        Peek::Nowhere => assert_eq!(got, None, "it was said to be nowhere"),
        Peek::Elsewhere => {}
    }
    got.map(|entry| (*entry).clone())
}

fn keeps_what_it_is_given(store: &impl CacheStore) {
    assert_eq!(found(store, &entry(0).key), None);
    // Their ids have a random part.
    let entries: Vec<Entry> = (0..20).map(entry).collect();
    entries.iter().for_each(|entry| put(store, entry.clone()));
    store.flush().expect("the store works");
    for entry in entries {
        assert_eq!(found(store, &entry.key), Some(entry));
    }
    assert_eq!(found(store, &Key::new([255; 32])), None);
    let stats = store.stats().expect("the store works");
    let entries = stats
        .disk
        .map_or(0, |disk| disk.entries)
        .max(stats.memory.entries);
    assert_eq!(entries, 20);
}

fn replaces_by_key(store: &impl CacheStore) {
    put(store, entry(1));
    let mut newer = entry(1);
    newer.answer.frames = vec![Bytes::from_static(b"newer")];
    newer.answer.times_us = Vec::new();
    put(store, newer.clone());
    store.flush().expect("the store works");
    assert_eq!(found(store, &newer.key), Some(newer));
}

fn purges_what_is_named<S: CacheStore>(make: &impl Fn() -> S) {
    let at = |n: u8| Some(entry(n).stored_at);
    let everything = Purge::default();
    for what in [
        everything.clone(),
        Purge {
            gateway: Some("gateway-1".into()),
            ..everything.clone()
        },
        Purge {
            account: Some("other".into()),
            ..everything.clone()
        },
        Purge {
            scope: Some(Scope::of(&[2])),
            ..everything.clone()
        },
        Purge {
            scope: Some(Scope::of(b"t\x03")),
            ..everything.clone()
        },
        Purge {
            model: Some("model-2".into()),
            ..everything.clone()
        },
        Purge {
            key: Some(Key::new([7; 32])),
            ..everything.clone()
        },
        Purge {
            asked_before: at(5),
            ..everything.clone()
        },
        Purge {
            gateway: Some("gateway-0".into()),
            model: Some("model-1".into()),
            asked_before: at(12),
            ..everything
        },
    ] {
        let store = make();
        (0..20).for_each(|n| put(&store, entry(n)));
        let goes = |n: &u8| what.names(&entry(*n));
        let purged = store.purge(&what).expect("the store works");
        assert_eq!(purged, (0..20).filter(goes).count() as u64, "{what:?}");
        for n in 0..20 {
            let is_there = found(&store, &entry(n).key).is_some();
            assert_eq!(is_there, !goes(&n), "{n} {what:?}");
        }
    }
}

fn refuses_questions_from_before_a_purge(store: &impl CacheStore) {
    let before = store.generation();
    let what = Purge {
        key: Some(entry(9).key),
        ..Purge::default()
    };
    store.purge(&what).expect("the store works");
    store
        .put(Arc::new(entry(3)), before)
        .expect("it is no error");
    store.flush().expect("the store works");
    assert_eq!(found(store, &entry(3).key), None);
    put(store, entry(3));
    assert!(found(store, &entry(3).key).is_some());
}

fn expires_what_nobody_wants(store: &impl CacheStore) {
    (0..10).for_each(|n| put(store, entry(n)));
    let expired = store.expire(entry(4).keep_until).expect("the store works");
    assert_eq!(expired, 5, "0 to 4");
    for n in 0..10 {
        assert_eq!(found(store, &entry(n).key).is_some(), n > 4, "{n}");
    }
    put(store, entry(0));
    assert!(
        found(store, &entry(0).key).is_some(),
        "expiry is not a purge"
    );
}
