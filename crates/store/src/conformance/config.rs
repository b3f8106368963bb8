//! What every configuration store must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::Timestamp;

use crate::config::history::{Author, COMMAND_LINE};
use crate::config::{Change, ConfigStore, Contents, Error, Kind, MAX_BODY_BYTES};

/// Runs the suite on stores that `make` makes, each empty.
///
/// # Panics
/// The store does not conform.
pub fn config<S: ConfigStore>(make: impl Fn() -> S) {
    begins_empty(&make());
    keeps_what_it_is_given(&make());
    refuses_what_is_based_on_something_else(&make());
    makes_all_changes_or_none(&make());
    serves_several_at_once(&make());
    remembers_who_changed_what(&make());
}

fn contents(store: &impl ConfigStore) -> Contents {
    let contents = store.read().expect("the store can be read");
    let revision = store.revision().expect("the store can be read");
    assert_eq!(contents.revision, revision, "nobody else is writing");
    contents
}

/// Bodies by kind and id.
fn shown(store: &impl ConfigStore) -> Vec<String> {
    let contents = contents(store);
    let show = |entity: &crate::config::Entity| {
        let (kind, id, version, body) = (entity.kind, &entity.id, entity.version, &entity.body);
        format!("{kind} {id} {version} {body}")
    };
    contents.entities.iter().map(show).collect()
}

fn begins_empty(store: &impl ConfigStore) {
    assert_eq!(contents(store), Contents::default());
    store.commit(&[]).expect("nothing can be changed");
    assert!(contents(store).entities.is_empty());
}

fn keeps_what_it_is_given(store: &impl ConfigStore) {
    let add = |kind, id: &str, body: &str| Change::add(kind, id, body);
    let changes = [
        add(Kind::Token, "b", "{\"text\":\"é\\u0000\"}"),
        add(Kind::Credential, "a", "[1]"),
        add(Kind::Token, "a", ""),
    ];
    let first = store.commit(&changes).expect("new entities can be made");
    assert!(first > 0);
    let all = [
        "token a 1 ",
        "token b 1 {\"text\":\"é\\u0000\"}",
        "credential a 1 [1]",
    ];
    let mut sorted = shown(store);
    sorted.sort_unstable_by_key(|line| !line.starts_with("token"));
    assert_eq!(sorted, all);
    let before = contents(store);
    let b = before.find(Kind::Token, "b").expect("it is there");
    let second = store
        .commit(&[Change::replace(b, "2")])
        .expect("it can be replaced");
    assert!(second > first);
    let a = before.find(Kind::Token, "a").expect("it is there");
    let third = store
        .commit(&[Change::remove(a)])
        .expect("it can be removed");
    assert!(third > second);
    let mut left = shown(store);
    left.sort_unstable();
    assert_eq!(left, ["credential a 1 [1]", "token b 2 2"]);
}

fn is_conflict(result: &Result<u64, Error>) -> bool {
    matches!(result, Err(Error::Conflict { .. }))
}

fn refuses_what_is_based_on_something_else(store: &impl ConfigStore) {
    let add = Change::add(Kind::Token, "a", "1");
    store.commit(std::slice::from_ref(&add)).expect("it is new");
    assert!(is_conflict(&store.commit(&[add])), "it is there already");
    let read = contents(store);
    let a = read.find(Kind::Token, "a").expect("it is there");
    store
        .commit(&[Change::replace(a, "2")])
        .expect("it is as it was read");
    assert!(is_conflict(&store.commit(&[Change::replace(a, "3")])));
    assert!(is_conflict(&store.commit(&[Change::remove(a)])));
    let read = contents(store);
    let a = read.find(Kind::Token, "a").expect("it is there");
    store
        .commit(&[Change::remove(a)])
        .expect("it is as it was read");
    assert!(is_conflict(&store.commit(&[Change::replace(a, "3")])));
    assert!(is_conflict(&store.commit(&[Change::remove(a)])));
    store
        .commit(&[Change::add(Kind::Token, "a", "4")])
        .expect("its id is free again");
    assert_eq!(shown(store), ["token a 1 4"]);
}

fn makes_all_changes_or_none(store: &impl ConfigStore) {
    let add = |id: &str| Change::add(Kind::Token, id, "1");
    store.commit(&[add("a")]).expect("it is new");
    let before = contents(store);
    assert!(is_conflict(&store.commit(&[add("b"), add("a"), add("c")])));
    let huge = Change::add(Kind::Token, "d", "x".repeat(MAX_BODY_BYTES + 1));
    let result = store.commit(&[add("b"), huge]);
    assert!(matches!(result, Err(Error::TooLarge { .. })));
    assert_eq!(contents(store), before);
}

fn serves_several_at_once(store: &impl ConfigStore) {
    const WRITERS: usize = 4;
    const EACH: usize = 5;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for n in 0..EACH {
                    let id = format!("{writer}-{n}");
                    store
                        .commit(&[Change::add(Kind::Token, &id, "1")])
                        .expect("writers wait for each other");
                }
            });
        }
    });
    let contents = contents(store);
    assert_eq!(contents.entities.len(), WRITERS * EACH);
    assert!(contents.revision >= (WRITERS * EACH) as u64);
}

fn remembers_who_changed_what(store: &impl ConfigStore) {
    let author = |who: &str, at| Author {
        who: who.into(),
        at: Timestamp::from_micros(at),
    };
    let add = |id: &str, body: &str| Change::add(Kind::Gateway, id, body);
    assert!(
        store
            .history(u64::MAX, 10)
            .expect("it can be read")
            .is_empty()
    );
    let first = [
        add("a", "1"),
        Change::add(Kind::Token, "t", "{\"token\":{\"digests\":[7]}}"),
    ];
    store
        .commit_as(&author("one", 7), &first)
        .expect("they are new");
    let refused = store.commit_as(&author("two", 8), &[add("b", "1"), add("a", "1")]);
    assert!(is_conflict(&refused));
    let read = contents(store);
    let a = read.find(Kind::Gateway, "a").expect("it is there");
    let second = [Change::replace(a, "2"), add("b", "1")];
    store
        .commit_as(&author("two", 9), &second)
        .expect("it is as it was read");
    store.commit(&[]).expect("nothing can be changed");
    let shown = |before: u64, limit: usize| {
        let mut lines = Vec::new();
        for one in store.history(before, limit).expect("it can be read") {
            let who = format!("{} {}", one.author.who, one.author.at.as_micros());
            if one.author.who.as_ref() == COMMAND_LINE {
                lines.push(format!("{} {}", one.number, one.author.who));
            }
            for changed in one.changes {
                let (before, after) = (changed.before, changed.after);
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                let (number, kind, id) = (one.number, changed.kind, changed.id);
                lines.push(format!("{number} {who} {kind} {id} {before}>{after}"));
            }
        }
        lines
    };
    let all = [
        "3 command line",
        "2 two 9 gateway a 1>2",
        "2 two 9 gateway b >1",
        "1 one 7 gateway a >1",
        "1 one 7 token t >{\"token\":{}}",
    ];
    assert_eq!(shown(u64::MAX, 10), all);
    assert_eq!(shown(3, 1), all[1..3]);
    assert_eq!(shown(2, 10), all[3..]);
    assert!(shown(1, 10).is_empty() && shown(9, 0).is_empty());
}
