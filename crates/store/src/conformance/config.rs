//! What every configuration store must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::Timestamp;

use crate::audit::{Action, Event, Scope, Wanted};
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
    keeps_a_trail(&make());
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
        address: None,
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

/// The numbers of the entries that are wanted, and what they tell.
fn trail(store: &impl ConfigStore, wanted: &Wanted) -> Vec<String> {
    let entries = store.trail(wanted).expect("it can be read");
    let show = |entry: crate::audit::Entry| {
        let (number, event) = (entry.number, entry.event);
        let (before, after) = (event.before.is_some(), event.after.is_some());
        let revision = event.revision.map_or("-".to_owned(), |one| one.to_string());
        let (account, who, action) = (event.account, event.who, event.action);
        let (kind, id) = (event.kind, event.id);
        format!("{number} {revision} {account} {who} {action} {kind} {id} {before} {after}")
    };
    entries.into_iter().map(show).collect()
}

fn newest_of(scope: Scope) -> Wanted {
    Wanted::newest(scope, 10)
}

fn keeps_a_trail(store: &impl ConfigStore) {
    let author = Author {
        who: "user ada".into(),
        at: Timestamp::from_micros(7),
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    assert!(trail(store, &newest_of(Scope::All)).is_empty());
    assert_eq!(store.trail_end().expect("it can be read"), 0);
    let token = r#"{"token":{"account":"local","digests":["planted"]}}"#;
    let user = r#"{"name":"eve","roles":{"local":"admin","other":"viewer"},"epoch":1,
        "created_at":"2026-11-22T16:00:00Z","modified_at":"2026-11-22T16:00:00Z",
        "password":{"memory_kib":1,"passes":1,"lanes":1,"salt":"planted","hash":"planted"}}"#;
    let first = [
        Change::add(Kind::Gateway, "local/shop", r#"{"n":1}"#),
        Change::add(Kind::Token, "app", token),
        Change::add(Kind::User, "eve", user),
    ];
    store.commit_as(&author, &first).expect("they are new");
    assert!(is_conflict(&store.commit_as(&author, &first)));
    let event = Event::new(&author, "*", Action::SignIn, ("session", "ada"));
    store.note(&[event]).expect("it can be noted");
    let read = contents(store);
    let eve = read.find(Kind::User, "eve").expect("they are there");
    let elsewhere = user.replace(r#""other":"viewer""#, r#""other":"analyst""#);
    let shop = read.find(Kind::Gateway, "local/shop").expect("it is there");
    let second = [Change::replace(eve, elsewhere), Change::remove(shop)];
    let later = Author {
        who: "command line".into(),
        at: Timestamp::from_micros(9),
        address: None,
    };
    store
        .commit_as(&later, &second)
        .expect("they are as they were");
    let all = [
        "7 2 local command line delete gateway shop true false",
        "6 2 other command line update user eve true true",
        "5 - * user ada sign_in session ada false false",
        "4 1 other user ada create user eve false true",
        "3 1 local user ada create user eve false true",
        "2 1 local user ada create token app false true",
        "1 1 local user ada create gateway shop false true",
    ];
    assert_eq!(trail(store, &newest_of(Scope::All)), all);
    finds_what_is_wanted(store, &all, later.at);
    let entries = store.trail(&newest_of(Scope::All)).expect("it can be read");
    assert!(!format!("{entries:?}").contains("planted"));
    assert_eq!(entries[6].event.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(entries[0].event.address, None);
    assert_eq!(store.trail_end().expect("it can be read"), 7);
    let report = store.verify_trail().expect("it can be read");
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(
        (report.entries, report.head),
        (7, entries[0].link.to_string())
    );
}

fn finds_what_is_wanted(store: &impl ConfigStore, all: &[&str; 7], later: Timestamp) {
    let local = || newest_of(Scope::One("local".into()));
    assert_eq!(trail(store, &local()), [all[0], all[4], all[5], all[6]]);
    let shared = newest_of(Scope::OneAndShared("other".into()));
    assert_eq!(trail(store, &shared), [all[1], all[2], all[3]]);
    let some = |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = local();
        change(&mut wanted);
        trail(store, &wanted)
    };
    assert_eq!(some(&|all| all.who = Some("command line".into())), all[..1]);
    assert_eq!(some(&|all| all.action = Some(Action::Delete)), all[..1]);
    assert_eq!(some(&|all| all.kind = Some("user".into())), all[4..5]);
    assert_eq!(some(&|all| all.id = Some("app".into())), all[5..6]);
    assert_eq!(some(&|all| all.since = Some(later)), all[..1]);
    assert_eq!(some(&|all| all.until = Some(later)), all[4..]);
    assert_eq!(some(&|all| all.after = Some(3)), all[5..]);
    assert_eq!(some(&|all| all.limit = 1), all[..1]);
    let forth = some(&|all| {
        all.ascending = true;
        all.after = Some(2);
    });
    assert_eq!(forth, [all[4], all[0]]);
}
