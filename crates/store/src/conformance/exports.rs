//! What every store of exports must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::Timestamp;

use crate::exports::{Buried, ExportStore, Saved};

/// Runs the suite on stores that `make` makes, each empty.
///
/// # Panics
/// The store does not conform.
pub fn exports<S: ExportStore>(make: impl Fn() -> S) {
    keeps_the_last_state_of_each_export(&make());
    keeps_what_was_given_up(&make());
}

fn saved(state: &str, batch: Option<&[u8]>) -> Saved {
    Saved {
        state: state.into(),
        batch: batch.map(Into::into),
    }
}

fn keeps_the_last_state_of_each_export(store: &impl ExportStore) {
    let load = |job: &str| store.load(job).expect("a state is read");
    let save = |job: &str, saved: &Saved| store.save(job, saved).expect("a state is kept");
    assert_eq!(load("a"), None);
    let (one, two) = (saved("{}", Some(&[0, 255, 10])), saved("{\"n\":1}", None));
    save("a", &one);
    save("b", &two);
    assert_eq!(
        (load("a"), load("b")),
        (Some(one.clone()), Some(two.clone()))
    );
    save("a", &two);
    assert_eq!(load("a"), Some(two.clone()));
    store.remove("a").expect("a state is removed");
    store.remove("a").expect("nothing is to do");
    assert_eq!((load("a"), load("b")), (None, Some(two)));
}

fn keeps_what_was_given_up(store: &impl ExportStore) {
    assert_eq!(store.buried().expect("nothing is there"), []);
    let buried = |name: &str| Buried {
        job: "a".into(),
        name: name.into(),
        at: Timestamp::from_micros(5),
        why: "413".into(),
        batch: name.as_bytes().into(),
    };
    let all = [buried("b"), buried("a")];
    for one in &all {
        store.bury(one).expect("there is room");
    }
    let told = store.buried().expect("it is read");
    let names: Vec<&str> = told.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["b", "a"]);
    let facts = (told[0].at, &*told[0].why, told[0].bytes, &*told[0].job);
    assert_eq!(facts, (all[0].at, "413", 1, "a"));
    for (told, buried) in told.iter().zip(&all) {
        let found = store.exhume(told.id).expect("it is read");
        assert_eq!(found.as_ref(), Some(buried));
    }
    let [first, second] = [told[0].id, told[1].id];
    assert!(store.discard(second).expect("it is forgotten"));
    assert!(!store.discard(second).expect("nothing is to do"));
    assert_eq!(store.exhume(second).expect("it is read"), None);
    store.bury(&all[1]).expect("there is room");
    let told = store.buried().expect("it is read");
    assert_eq!((told.len(), told[0].id), (2, first));
    // What names one batch never names another.
    assert!(told[1].id > second);
}
