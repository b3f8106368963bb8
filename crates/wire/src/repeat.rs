//! Events that repeat the one before them, but for the text that they bring.
//!
//! Nearly all events of a stream are of this kind: their ids, models and indexes stay the same. The
//! bytes around the text are compared then, and the text alone is read as JSON.

use std::borrow::Cow;

use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::format::Event;
use crate::json::Text;

/// How many events in a row are taken apart for nothing before a stream is found to be one that
/// does not repeat itself.
const MAX_MISSES: u8 = 8;

/// What the last event was like, and where its text went: `P`.
#[derive(Debug)]
pub(crate) struct Repeat<P> {
    last: Option<(Pattern, P)>,
    misses: u8,
}

/// A place in an event where the next one may differ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Open<'e> {
    /// The text that the event brings.
    Text(&'e RawValue),
    /// A value that nobody reads.
    Unread(&'e RawValue),
}

/// A whole event, without what stands at its open places.
#[derive(Debug)]
struct Pattern {
    name: Option<Box<str>>,
    exception: bool,
    /// The bytes before each open place, and whether a text stands there that is read.
    parts: Vec<(Box<[u8]>, bool)>,
    end: Box<[u8]>,
}

impl<P> Default for Repeat<P> {
    fn default() -> Self {
        Self {
            last: None,
            misses: 0,
        }
    }
}

impl<P> Repeat<P> {
    /// The text of `event` and the place where it goes, if all else is as in the last event. Of an
    /// event for which this is `None` nothing is known, and the last one is forgotten.
    pub(crate) fn text<'e>(&mut self, event: &Event<'e>) -> Option<(Cow<'e, str>, &P)> {
        let text = self.last.as_ref()?.0.text(event);
        if text.is_none() {
            self.last = None;
        } else {
            self.misses = 0;
        }
        Some((text?, &self.last.as_ref()?.1))
    }

    /// Whether it is worth the while to take events apart for [`Repeat::learn`].
    pub(crate) fn is_eager(&self) -> bool {
        self.misses < MAX_MISSES
    }

    /// Remembers `event`, which must be one whole JSON document, its open places in their order,
    /// and where its text goes. To take the same event once more must change nothing but for them;
    /// `None` of an event that is not of this kind.
    pub(crate) fn learn(&mut self, event: &Event<'_>, open: Option<(&[Open<'_>], P)>) {
        self.misses = self.misses.saturating_add(1);
        self.last = open.and_then(|(open, place)| Some((Pattern::of(event, open)?, place)));
    }
}

impl Pattern {
    fn of(event: &Event<'_>, open: &[Open<'_>]) -> Option<Self> {
        let mut from = 0;
        let mut parts = Vec::with_capacity(open.len());
        for place in open {
            let (value, is_text) = match place {
                Open::Text(value) => (value.get(), true),
                Open::Unread(value) => (value.get(), false),
            };
            // Values are borrowed from the event that they stand in.
            let at = value
                .as_ptr()
                .addr()
                .checked_sub(event.data.as_ptr().addr())?;
            parts.push((event.data.get(from..at)?.into(), is_text));
            from = at.checked_add(value.len())?;
        }
        Some(Self {
            name: event.name.map(Into::into),
            exception: event.exception,
            parts,
            end: event.data.get(from..)?.into(),
        })
    }

    fn text<'e>(&self, event: &Event<'e>) -> Option<Cow<'e, str>> {
        if event.name != self.name.as_deref() || event.exception != self.exception {
            return None;
        }
        let mut rest = event.data;
        let mut found = None;
        for (before, is_text) in &self.parts {
            rest = rest.strip_prefix(&**before)?;
            let end = if *is_text {
                let mut values = Deserializer::from_slice(rest).into_iter::<Text<'_>>();
                let Text(text) = values.next()?.ok()?;
                found = Some(text);
                values.byte_offset()
            } else {
                // Text that is read over is not checked to be UTF-8; raw text is.
                let mut values = Deserializer::from_slice(rest).into_iter::<&RawValue>();
                values.next()?.ok()?;
                values.byte_offset()
            };
            rest = rest.get(end..)?;
        }
        (*rest == *self.end).then_some(found?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn event(data: &str) -> Event<'_> {
        Event {
            name: None,
            data: data.as_bytes(),
            exception: false,
        }
    }

    /// What is read of `next` after `{"a":1,"t":"x","p":"y"}` with `t` as its text.
    fn check(next: &str, expected: Option<&str>) {
        let first = event(r#"{"a":1,"t":"x","p":"y"}"#);
        let members = json::members(first.data);
        let open = [Open::Text(members[1].1), Open::Unread(members[2].1)];
        let mut repeat = Repeat::default();
        repeat.learn(&first, Some((&open, 7)));
        let next = event(next);
        let text = repeat.text(&next);
        assert_eq!(text, expected.map(|text| (text.into(), &7)), "{next:?}");
        assert_eq!(repeat.text(&first).is_some(), expected.is_some());
    }

    #[test]
    fn the_text_of_an_event_that_is_else_the_same_is_read() {
        check(r#"{"a":1,"t":"x","p":"y"}"#, Some("x"));
        check(r#"{"a":1,"t":"","p":[1, {}]}"#, Some(""));
        check(
            r#"{"a":1,"t":"\"p\":\u00e9\ud83d\ude00 é","p":null}"#,
            Some("\"p\":é😀 é"),
        );
    }

    #[test]
    fn an_event_that_differs_elsewhere_is_not_read_and_ends_the_row() {
        for next in [
            "",
            "[DONE]",
            r#"{"a":2,"t":"x","p":"y"}"#,
            r#"{"a":1,"t":null,"p":"y"}"#,
            r#"{"a":1,"t":"x","p":"y","b":2}"#,
            r#"{"a":1,"t":"x","p":"y"}}"#,
            r#"{"a":1,"t":"x","p":"y""#,
            r#"{"a":1,"t":"x"x","p":"y"}"#,
            r#"{"a":1,"t":"\ud83d","p":"y"}"#,
            "{\"a\":1,\"t\":\"\n\",\"p\":\"y\"}",
            r#"{"a":1,"p":"y","t":"x"}"#,
        ] {
            check(next, None);
        }
    }

    #[test]
    fn a_stream_that_does_not_repeat_itself_is_given_up() {
        let mut repeat = Repeat::default();
        for n in 0..MAX_MISSES {
            assert!(repeat.is_eager());
            let data = format!("{{\"n\":{n}}}");
            assert_eq!(repeat.text(&event(&data)), None);
            repeat.learn(&event(&data), Some((&[], ())));
        }
        assert!(!repeat.is_eager());
    }
}
