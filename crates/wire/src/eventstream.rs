//! AWS event streams (`application/vnd.amazon.eventstream`): binary messages, incremental.
//!
//! A message is its prelude (total length, length of the headers, CRC of both; each four bytes,
//! big-endian), its headers, its payload, and a CRC of all that. CRCs are CRC-32 as in gzip.
//! Source: Amazon Transcribe developer guide, "Event stream encoding"; Smithy specification,
//! "Amazon Event Stream"; read 2026-11-22.

use flate2::Crc;

use crate::format::{Event, Events};

/// Total length, length of the headers, CRC.
const PRELUDE: usize = 12;
/// The CRC at the end.
const TRAILER: usize = 4;
/// The largest message that AWS's own runtime takes (aws-c-event-stream, 24 MiB).
const MAX_MESSAGE: usize = 24 << 20;

/// Incremental reader of `application/vnd.amazon.eventstream`.
///
/// Holds at most one message (24 MiB). A length that cannot be, a wrong CRC or a malformed header
/// ends the reading: where the next message would begin is not known after that.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Bytes of a message that is not complete.
    held: Vec<u8>,
    /// Something was malformed; nothing is read anymore.
    corrupt: bool,
}

impl Events for Messages {
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        if self.corrupt {
            return;
        }
        if self.held.is_empty() {
            let read = self.read(bytes, each);
            self.held
                .extend_from_slice(bytes.get(read..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let read = self.read(&held, each);
            held.drain(..read.min(held.len()));
            self.held = held;
        }
        if self.corrupt {
            self.held = Vec::new();
        }
    }

    /// A message without its end has no CRC to be trusted by: it is no event.
    fn finish(&mut self, _each: &mut dyn FnMut(Event<'_>)) {
        self.held = Vec::new();
    }
}

impl Messages {
    /// Reads the whole messages at the start of `bytes`; returns how many bytes they are.
    fn read(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= PRELUDE) {
            let Some(lengths) = Lengths::read(rest) else {
                self.corrupt = true;
                break;
            };
            let Some(message) = rest.get(..lengths.total) else {
                break;
            };
            let Some(parts) = split(message, &lengths) else {
                self.corrupt = true;
                break;
            };
            if let Some(event) = parts.event() {
                each(event);
            }
            at += lengths.total;
        }
        at
    }
}

/// The offset in `tail` of the first message whose prelude is right; `None` when there is none.
pub(crate) fn resync(tail: &[u8]) -> Option<usize> {
    tail.windows(PRELUDE)
        .position(|window| Lengths::read(window).is_some())
}

/// What a prelude tells.
struct Lengths {
    total: usize,
    headers: usize,
}

impl Lengths {
    /// Reads the prelude at the start of `bytes`; `None` when it is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let total = word(bytes, 0)?;
        let headers = word(bytes, 4)?;
        let fits = total <= MAX_MESSAGE
            && headers
                .checked_add(PRELUDE + TRAILER)
                .is_some_and(|least| least <= total);
        (fits && crc(bytes.get(..8)?) == word(bytes, 8)?).then_some(Self { total, headers })
    }
}

/// The big-endian number of four bytes at `at`.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(four)).ok()
}

fn crc(bytes: &[u8]) -> usize {
    let mut crc = Crc::new();
    crc.update(bytes);
    usize::try_from(crc.sum()).unwrap_or(usize::MAX)
}

/// The headers that tell what a message is, and its payload.
#[derive(Default)]
struct Parts<'m> {
    message_type: Option<&'m str>,
    event_type: Option<&'m str>,
    exception_type: Option<&'m str>,
    error_code: Option<&'m str>,
    payload: &'m [u8],
}

/// Takes a whole message apart; `None` when its CRC or a header is wrong.
fn split<'m>(message: &'m [u8], lengths: &Lengths) -> Option<Parts<'m>> {
    let (signed, trailer) = message.split_at_checked(lengths.total - TRAILER)?;
    if crc(signed) != word(trailer, 0)? {
        return None;
    }
    let (mut headers, payload) = signed.get(PRELUDE..)?.split_at_checked(lengths.headers)?;
    let mut parts = Parts {
        payload,
        ..Parts::default()
    };
    while !headers.is_empty() {
        let (name, text) = header(&mut headers)?;
        match name {
            b":message-type" => parts.message_type = text,
            b":event-type" => parts.event_type = text,
            b":exception-type" => parts.exception_type = text,
            b":error-code" => parts.error_code = text,
            _ => {}
        }
    }
    Some(parts)
}

/// Takes one header from the front of `headers`: its name, and its value when that is a text.
fn header<'m>(headers: &mut &'m [u8]) -> Option<(&'m [u8], Option<&'m str>)> {
    let name_length = usize::from(*take(headers, 1)?.first()?);
    let name = take(headers, name_length)?;
    let kind = *take(headers, 1)?.first()?;
    let length = match kind {
        0 | 1 => 0, // true, false
        2 => 1,     // byte
        3 => 2,     // short
        4 => 4,     // integer
        5 | 8 => 8, // long, timestamp
        6 | 7 => {
            // bytes, text
            let length: [u8; 2] = take(headers, 2)?.try_into().ok()?;
            usize::from(u16::from_be_bytes(length))
        }
        9 => 16, // UUID
        _ => return None,
    };
    let value = take(headers, length)?;
    let text = if kind == 7 {
        Some(std::str::from_utf8(value).ok()?)
    } else {
        None
    };
    Some((name, text))
}

/// Takes `count` bytes from the front of `bytes`.
fn take<'m>(bytes: &mut &'m [u8], count: usize) -> Option<&'m [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

impl<'m> Parts<'m> {
    /// The message as an event; an event without a payload says nothing.
    fn event(&self) -> Option<Event<'m>> {
        let exception = match self.message_type {
            Some("exception" | "error") => true,
            Some(_) => false,
            None => self.event_type.is_none() && self.exception_type.is_some(),
        };
        let name = if exception {
            self.exception_type.or(self.error_code)
        } else {
            self.event_type
        };
        match self.payload {
            [] if exception => Some(Event {
                name,
                data: b"{}",
                exception,
            }),
            [] => None,
            data => Some(Event {
                name,
                data,
                exception,
            }),
        }
    }
}

/// An event with a JSON payload, as Bedrock sends it; `None` if it cannot be as long.
pub(crate) fn event(name: &str, payload: &str) -> Option<Vec<u8>> {
    const TEXT: u8 = 7;
    let mut headers = Vec::with_capacity(96);
    for (header, value) in [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        headers.push(u8::try_from(header.len()).ok()?);
        headers.extend_from_slice(header.as_bytes());
        headers.push(TEXT);
        headers.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    frame(&headers, payload.as_bytes())
}

/// Puts prelude and CRCs around encoded headers and a payload.
fn frame(headers: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let word = |number: usize| u32::try_from(number).ok().map(u32::to_be_bytes);
    let total = PRELUDE + headers.len() + payload.len() + TRAILER;
    let mut message = word(total)?.to_vec();
    message.extend(word(headers.len())?);
    message.extend(word(crc(&message))?);
    message.extend_from_slice(headers);
    message.extend_from_slice(payload);
    message.extend(word(crc(&message))?);
    Some(message)
}

/// Finds where messages end, by the lengths they begin with.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// The first four bytes of a message, as far as they have come.
    length: [u8; 4],
    read: usize,
    /// Bytes of it that are still to come; of no meaning before its length is known.
    left: usize,
}

impl Ends {
    /// How many of `bytes` there are to the end of the message under way; `None`: it has none there.
    pub(crate) fn message_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while self.read < self.length.len() {
            self.length[self.read] = *bytes.get(at)?;
            self.read += 1;
            at += 1;
            if self.read == self.length.len() {
                let total = word(&self.length, 0).unwrap_or(usize::MAX);
                self.left = total.max(PRELUDE + TRAILER) - self.length.len();
            }
        }
        if bytes.len() - at < self.left {
            self.left -= bytes.len() - at;
            return None;
        }
        at += self.left;
        self.read = 0;
        Some(at)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header value of each type that the format knows.
    #[derive(Clone, Debug)]
    pub(crate) enum Value<'v> {
        Bool(bool),
        Byte(i8),
        Short(i16),
        Integer(i32),
        Long(i64),
        Bytes(&'v [u8]),
        Text(&'v str),
        Timestamp(i64),
        Uuid([u8; 16]),
    }

    /// Encodes one message.
    pub(crate) fn encode(headers: &[(&str, Value<'_>)], payload: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for (name, value) in headers {
            encoded.push(u8::try_from(name.len()).unwrap());
            encoded.extend_from_slice(name.as_bytes());
            let sized = |bytes: &[u8]| {
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                [&length[..], bytes].concat()
            };
            let (kind, bytes) = match value {
                Value::Bool(true) => (0, Vec::new()),
                Value::Bool(false) => (1, Vec::new()),
                Value::Byte(byte) => (2, byte.to_be_bytes().to_vec()),
                Value::Short(short) => (3, short.to_be_bytes().to_vec()),
                Value::Integer(integer) => (4, integer.to_be_bytes().to_vec()),
                Value::Long(long) => (5, long.to_be_bytes().to_vec()),
                Value::Bytes(bytes) => (6, sized(bytes)),
                Value::Text(text) => (7, sized(text.as_bytes())),
                Value::Timestamp(millis) => (8, millis.to_be_bytes().to_vec()),
                Value::Uuid(uuid) => (9, uuid.to_vec()),
            };
            encoded.push(kind);
            encoded.extend_from_slice(&bytes);
        }
        frame(&encoded, payload)
    }

    fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        super::frame(headers, payload).unwrap()
    }

    /// An event as Bedrock sends it.
    pub(crate) fn event(name: &str, payload: &str) -> Vec<u8> {
        super::event(name, payload).unwrap()
    }

    /// An exception as Bedrock sends it.
    pub(crate) fn exception(name: &str, payload: &str) -> Vec<u8> {
        let headers = [
            (":exception-type", Value::Text(name)),
            (":content-type", Value::Text("application/json")),
            (":message-type", Value::Text("exception")),
        ];
        encode(&headers, payload.as_bytes())
    }

    /// The events of a stream that comes in `pieces`, as `name|data`, exceptions with a `!`.
    fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<String> {
        let mut messages = Messages::default();
        let mut seen = Vec::new();
        let mut each = |event: Event<'_>| {
            let mark = if event.exception { "!" } else { "" };
            let data = String::from_utf8_lossy(event.data);
            seen.push(format!("{mark}{}|{data}", event.name.unwrap_or("-")));
        };
        for piece in pieces {
            messages.push(piece, &mut each);
        }
        messages.finish(&mut each);
        seen
    }

    #[test]
    fn messages_of_every_header_type_are_read() {
        let headers = [
            ("yes", Value::Bool(true)),
            ("no", Value::Bool(false)),
            ("byte", Value::Byte(-1)),
            ("short", Value::Short(-2)),
            ("integer", Value::Integer(-3)),
            ("long", Value::Long(-4)),
            ("bytes", Value::Bytes(b"\xff\x00")),
            ("when", Value::Timestamp(1_795_363_823_001)),
            ("uuid", Value::Uuid([7; 16])),
            (":event-type", Value::Text("chunk")),
        ];
        let stream = [encode(&headers, b"{\"a\":1}"), event("metadata", "{}")].concat();
        assert_eq!(read([&stream[..]]), ["chunk|{\"a\":1}", "metadata|{}"]);
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        // An empty message: 16 bytes whose checksums AWS's test vectors give.
        let empty = [0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235, 125, 152, 200, 255];
        assert_eq!(frame(&[], &[]), empty);
        assert_eq!(
            read([&[&empty[..], &event("x", "1")[..]].concat()[..]]),
            ["x|1"]
        );
    }

    #[test]
    fn exceptions_and_errors_are_told_apart_from_events() {
        let error = [
            (":message-type", Value::Text("error")),
            (":error-code", Value::Text("InternalFailure")),
            (":error-message", Value::Text("sorry")),
        ];
        let stream = [
            exception("throttlingException", "{\"message\":\"m\"}"),
            encode(&error, b""),
        ];
        assert_eq!(
            read([&stream.concat()[..]]),
            [
                "!throttlingException|{\"message\":\"m\"}",
                "!InternalFailure|{}"
            ]
        );
    }

    #[test]
    fn nothing_is_read_after_a_wrong_byte() {
        let good = event("a", "{}");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let stream = [&good[..], &bad, &good].concat();
            // A damaged length may also wait for bytes that never come.
            assert_eq!(read([&stream[..]]), ["a|{}"], "byte {at}");
        }
        let malformed = frame(&[1, b'x', 99], b"{}");
        assert!(read([&[&malformed[..], &good].concat()[..]]).is_empty());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (total, headers) in [(15_u32, 0_u32), (16, 1), (u32::MAX, 0), (64, u32::MAX)] {
            let mut prelude = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            let sum = u32::try_from(crc(&prelude)).unwrap();
            prelude.extend(sum.to_be_bytes());
            assert!(Lengths::read(&prelude).is_none(), "{total} {headers}");
        }
    }

    #[test]
    fn a_tail_is_resynced_at_the_next_message() {
        let stream = [event("a", "{\"x\":1}"), event("b", "{}")].concat();
        let first = event("a", "{\"x\":1}").len();
        assert_eq!(resync(&stream), Some(0));
        assert_eq!(resync(&stream[1..]), Some(first - 1));
        assert_eq!(resync(&stream[first + 1..]), None);
        assert_eq!(resync(b""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_split_gives_the_same_events(
            payloads in prop::collection::vec("[a-z{}\\\\]{1,40}", 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|text| event("chunk", text)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            let expected: Vec<String> = payloads.iter().map(|text| format!("chunk|{text}")).collect();
            prop_assert_eq!(read(pieces), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, headers: Vec<u8>, at: usize) {
            read([&bytes[..]]);
            let framed = frame(&headers, &bytes);
            read([&framed[..at % framed.len()], &framed[at % framed.len()..]]);
            resync(&bytes);
        }
    }
}
