//! What every outbox must do.

#![expect(
    clippy::expect_used,
    reason = "a suite fails its test this way; so does one outside of this crate"
)]

use isango_types::{RecordId, Timestamp};

use crate::outbox::{Letter, MAX_WAITING, Outbox, Put};

/// Runs the suite on outboxes that `make` makes, each empty.
///
/// # Panics
/// The outbox does not conform.
pub fn outbox<S: Outbox>(make: impl Fn() -> S) {
    keeps_letters_until_they_are_removed(&make());
    takes_a_key_once_at_a_time(&make());
    makes_room_for_the_newest(&make());
    lets_no_gateway_crowd_out_another(&make());
}

/// A letter that is decided on in second `at`, for `key`, which it takes until second `until`.
#[must_use]
pub fn letter(key: &str, at: u64, until: u64) -> Letter {
    let second = |second: u64| Timestamp::from_micros(1_795_363_823_000_000 + second * 1_000_000);
    Letter {
        id: RecordId::new(second(at)),
        at: second(at),
        account: "local".into(),
        gateway: "support".into(),
        alert: "monthly-spend-80".into(),
        key: key.into(),
        until: second(until),
        event: r#"{"summary":"„80 %“\u0000"}"#.into(),
    }
}

fn put(store: &impl Outbox, letters: &[Letter]) -> Put {
    store.put(letters).expect("letters are kept")
}

fn waiting(store: &impl Outbox) -> Vec<Letter> {
    store.waiting().expect("letters are read")
}

fn keeps_letters_until_they_are_removed(store: &impl Outbox) {
    assert_eq!(waiting(store), []);
    let letters = [letter("a", 1, 10), letter("b", 2, 10)];
    let put = put(store, &letters);
    assert_eq!(put.taken, letters.each_ref().map(|letter| letter.id));
    assert_eq!(waiting(store), letters);
    store.remove(letters[0].id).expect("a letter is removed");
    assert_eq!(waiting(store), letters[1..]);
    // One that is not there is removed already.
    store.remove(letters[0].id).expect("nothing is to do");
}

fn takes_a_key_once_at_a_time(store: &impl Outbox) {
    let [first, again, later] = [
        letter("a\0acme", 1, 10),
        letter("a\0acme", 9, 20),
        letter("a\0acme", 10, 20),
    ];
    assert_eq!(put(store, std::slice::from_ref(&first)).taken, [first.id]);
    store.remove(first.id).expect("a letter is removed");
    assert_eq!(put(store, &[again]).taken, []);
    assert_eq!(
        store.taken(first.at).expect("keys are read"),
        [(first.key.clone(), first.until)]
    );
    let both = [later.clone(), letter("a\0acme", 11, 20)];
    assert_eq!(put(store, &both).taken, [later.id]);
    assert_eq!(waiting(store), std::slice::from_ref(&later));
    assert_eq!(store.taken(later.until).expect("keys are read"), []);
}

fn makes_room_for_the_newest(store: &impl Outbox) {
    let letters: Vec<Letter> = (0..MAX_WAITING as u64)
        .map(|n| letter(&n.to_string(), n, n + 1))
        .collect();
    assert_eq!(put(store, &letters).dropped, []);
    let newest = letter("newest", 5_000, 6_000);
    let Put { taken, dropped } = put(store, std::slice::from_ref(&newest));
    assert_eq!((taken, dropped), (vec![newest.id], vec![letters[0].id]));
    let kept = waiting(store);
    assert_eq!(kept.len(), MAX_WAITING);
    assert_eq!((&kept[0], kept.last()), (&letters[1], Some(&newest)));
}

fn lets_no_gateway_crowd_out_another(store: &impl Outbox) {
    let of = |gateway: &str, n: u64| Letter {
        gateway: gateway.into(),
        ..letter(&format!("{gateway} {n}"), n, n + 9_000)
    };
    let quiet = of("quiet", 0);
    put(store, std::slice::from_ref(&quiet));
    let loud: Vec<Letter> = (1..=MAX_WAITING as u64 + 5)
        .map(|n| of("loud", n))
        .collect();
    let dropped = put(store, &loud).dropped;
    let oldest: Vec<RecordId> = loud.iter().take(6).map(|letter| letter.id).collect();
    assert_eq!(dropped, oldest);
    let kept = waiting(store);
    assert_eq!((kept.len(), &kept[0]), (MAX_WAITING, &quiet));
}
