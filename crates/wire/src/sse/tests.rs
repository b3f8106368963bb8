use proptest::prelude::*;

use super::*;

fn events(pieces: &[&[u8]]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut frames = Frames::default();
    let mut each = |event: Event<'_>| {
        let name = event
            .name
            .map(|name| format!("{name}="))
            .unwrap_or_default();
        seen.push(format!("{name}{}", String::from_utf8_lossy(event.data)));
    };
    for piece in pieces {
        frames.push(piece, &mut each);
    }
    frames.finish(&mut each);
    seen
}

fn check(stream: &str, expected: &[&str]) {
    assert_eq!(events(&[stream.as_bytes()]), expected, "{stream:?}");
    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    assert_eq!(events(&bytes), expected, "byte by byte: {stream:?}");
}

#[test]
fn the_examples_of_the_standard() {
    check("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]);
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &["first event", "second event", " third event"],
    );
    check("data\n\ndata\ndata\n\ndata:\n\n", &["", "\n", ""]);
    check("data:test\n\ndata: test\n\n", &["test", "test"]);
}

#[test]
fn all_line_ends_are_line_ends() {
    check("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", &["a=1", "2"]);
    check("event: a\rdata: 1\r\rdata: 2\r\r", &["a=1", "2"]);
    check("event: a\ndata: 1\r\n\ndata: 2\r\r\n\n", &["a=1", "2"]);
}

#[test]
fn a_byte_order_mark_stands_at_the_start_only() {
    check("\u{feff}data: 1\n\n\u{feff}data: 2\n\n", &["1"]);
}

#[test]
fn names_do_not_outlive_their_event_and_other_fields_are_read_over() {
    check(
        "event: ping\n\ndata: 1\nretry: 5\nunknown: x\n data: y\n\n",
        &["1"],
    );
    check("event: a\nevent: b\ndata: 1\n\n", &["b=1"]);
}

#[test]
fn an_event_without_its_blank_line_is_given_at_the_end() {
    check("data: 1\n\ndata: 2", &["1", "2"]);
    check("data: 1\n\nevent: x\n", &["1"]);
}

#[test]
fn an_event_past_its_bound_is_left_out_and_counted() {
    let mut frames = Frames::default();
    let mut seen = Vec::new();
    let mut each = |event: Event<'_>| seen.push(event.data.len());
    frames.push(b"data: ", &mut each);
    for _ in 0..33 {
        frames.push(&vec![b'x'; 1 << 20], &mut each);
    }
    frames.push(b"\n\ndata: 1\n\n", &mut each);
    assert_eq!((seen, frames.dropped()), (vec![1], 1));
}

#[test]
fn a_stream_is_picked_up_at_the_next_event() {
    let check = |bytes: &str, rest: Option<&str>| {
        assert_eq!(
            resync(bytes.as_bytes()).map(|at| &bytes[at..]),
            rest,
            "{bytes:?}"
        );
    };
    check("\"x\"}\n\ndata: 1\n\n", Some("data: 1\n\n"));
    check("\"x\"}\r\n\r\ndata: 1", Some("data: 1"));
    check("\n\ndata: 1", Some("data: 1"));
    check("\ndata: 1\r\r", Some(""));
    check("abc", None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_gives_the_same_events(
        stream in "(data|event|id|: c|:|\u{feff}| |\n|\r\n|\r|x|é|\n\n){0,40}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(events(&pieces), events(&[bytes]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        events(&[&bytes]);
        let _at = resync(&bytes);
    }
}
