use proptest::prelude::*;

use super::*;

const TEXT: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"\"finish_reason\":\"stop\" é"},"finish_reason":null}],"usage":null}"#;
const FILTER: &str = r#"data: {"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;
const STOP: &str =
    r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const SPACED: &str = r#"data: {"choices": [{"finish_reason" : "length", "delta": {}}], "usage": {"total_tokens": 1}}"#;
const USAGE: &str = r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
const NO_USAGE: &str = r#"data: {"id":"c","choices":[],"usage":null}"#;
const DONE: &str = "data: [DONE]";

fn through(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Bytes> {
    let mut filter = UsageFilter::default();
    let mut out: Vec<Bytes> = pieces
        .into_iter()
        .map(|piece| filter.push(piece.into()))
        .collect();
    out.push(filter.finish());
    out
}

/// Pushes every line of `events` as an event in one chunk; tells which came through in its push.
fn check(events: &[&str], expected: &[&str]) {
    for end in ["\n\n", "\r\n\r\n", "\r\r"] {
        let passed = through(
            events
                .iter()
                .map(|event| format!("{event}{end}").into_bytes()),
        );
        let expected: Vec<String> = expected
            .iter()
            .map(|event| {
                if event.is_empty() {
                    String::new()
                } else {
                    format!("{event}{end}")
                }
            })
            .collect();
        assert_eq!(passed[..events.len()], expected, "{end:?}");
        assert_eq!(passed[events.len()], "");
    }
}

#[test]
fn the_frame_we_asked_for_is_taken_out() {
    check(
        &[FILTER, TEXT, STOP, USAGE, DONE],
        &[FILTER, TEXT, STOP, "", DONE],
    );
    check(&[TEXT, SPACED, USAGE, DONE], &[TEXT, SPACED, "", DONE]);
}

#[test]
fn frames_that_only_look_like_it_pass() {
    let all = [FILTER, TEXT, STOP, NO_USAGE, FILTER, ": comment", DONE];
    check(&all, &all);
    // Before anything finished, nothing is judged; and only one frame is ours.
    check(
        &[USAGE, TEXT, STOP, USAGE, USAGE],
        &[USAGE, TEXT, STOP, "", USAGE],
    );
}

#[test]
fn nothing_is_held_before_a_choice_finished() {
    let half = |text: &str| text.as_bytes()[..text.len() / 2].to_vec();
    assert_eq!(through([half(TEXT)])[0], half(TEXT));
    // The event that finishes passes in halves, too; what follows is held until it is whole.
    let (first, second) = STOP.split_at(80);
    let passed = through([
        first.into(),
        second.into(),
        b"\n\ndata: {".to_vec(),
        b"}\n".to_vec(),
    ]);
    assert_eq!(passed, [first, second, "\n\n", "", "data: {}\n"]);
}

#[test]
fn a_held_event_is_let_go_at_its_bound() {
    let large = vec![b'x'; MAX_HELD_BYTES];
    let passed = through([
        format!("{STOP}\n\ndata: ").into_bytes(),
        large.clone(),
        b"y\n\n".to_vec(),
    ]);
    assert_eq!(passed[0], format!("{STOP}\n\n"));
    assert_eq!(passed[1], [b"data: ", large.as_slice()].concat());
    assert_eq!(passed[2], "y\n\n");
}

#[test]
fn the_frame_stays_out_when_its_blank_line_never_comes() {
    assert_eq!(
        through([format!("{STOP}\n\n{USAGE}").into_bytes()]).concat(),
        format!("{STOP}\n\n").as_bytes()
    );
    let cut = &USAGE[..40];
    assert_eq!(
        through([format!("{STOP}\n\n{cut}").into_bytes()]).concat(),
        format!("{STOP}\n\n{cut}").as_bytes()
    );
}

#[test]
fn no_single_cut_changes_what_passes() {
    for end in ["\n\n", "\r\n\r\n", "\r\r", "\r\r\n", "\n\r\n"] {
        let stream =
            [FILTER, TEXT, STOP, NO_USAGE, USAGE, DONE].map(|event| format!("{event}{end}"));
        let expected = [&stream[..4], &stream[5..]].concat().concat();
        let stream = stream.concat().into_bytes();
        for cut in 0..=stream.len() {
            let passed = through([stream[..cut].to_vec(), stream[cut..].to_vec()]).concat();
            assert_eq!(
                String::from_utf8(passed).unwrap(),
                expected,
                "{end:?} at {cut}"
            );
        }
        let passed = through(stream.chunks(1).map(<[u8]>::to_vec)).concat();
        assert_eq!(
            String::from_utf8(passed).unwrap(),
            expected,
            "{end:?} byte by byte"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_gives_the_same_bytes(
        events in prop::collection::vec(
            prop::sample::select(vec![TEXT, FILTER, STOP, SPACED, USAGE, NO_USAGE, DONE, ": c", ""]), 0..10),
        end in prop::sample::select(vec!["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        is_cut in any::<bool>(),
    ) {
        let mut stream = String::new();
        let mut expected = String::new();
        let (mut is_finished, mut is_over) = (false, false);
        for (n, event) in events.iter().enumerate() {
            let end = if is_cut && n + 1 == events.len() { "" } else { end };
            stream.extend([*event, end]);
            if is_finished && !is_over && *event == USAGE {
                is_over = true;
            } else {
                expected.extend([*event, end]);
            }
            is_finished |= *event == STOP || *event == SPACED;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| stream.as_bytes()[cut[0]..cut[1]].to_vec());
        let passed = through(pieces).concat();
        prop_assert_eq!(String::from_utf8(passed).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..16),
            Just(STOP.as_bytes().to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\n".to_vec()),
        ], 0..12)) {
        through(pieces);
    }
}
