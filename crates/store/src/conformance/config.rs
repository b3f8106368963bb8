//! What every configuration store must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

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
