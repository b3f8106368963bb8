//! Cuts the bodies out of a record's JSON line without parsing it: most of a line is bodies, and
//! most questions are about the rest.

use memchr::{memchr2, memmem};

/// What stands before the first message. A `"` inside of a string is escaped, and no object before
/// the messages has a member of this name, so that its first occurrence is the one.
const MESSAGES: &[u8] = b",\"request\":{";
const BETWEEN: &[u8] = b",\"response\":{";

/// The part of a line before its messages; all of it if it has none.
pub(crate) fn head(line: &[u8]) -> &[u8] {
    memmem::find(line, MESSAGES).map_or(line, |at| &line[..at])
}

/// Writes `line` without the bodies of its messages into `out`.
///
/// False if the line is not built as the journal builds it; `out` is then of no use.
pub(crate) fn slim(line: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let head = head(line);
    out.extend_from_slice(head);
    let mut is_first = false;
    let rest = walk(&line[head.len()..], &mut |part| match part {
        Part::Frame(bytes) => {
            is_first = bytes.ends_with(b"{");
            out.extend_from_slice(bytes);
        }
        Part::Member(member) => {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
        Part::Body(_) => {}
    });
    rest.is_some_and(|rest| {
        out.extend_from_slice(rest);
        rest == b"}"
    })
}

/// The bodies in a line as JSON, without those that are no text; all of the line if it is not built
/// as the journal builds it.
pub(crate) fn bodies(line: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    let rest = walk(&line[head(line).len()..], &mut |part| match part {
        Part::Body(body) if !body.starts_with(b"{\"base64\"") => bodies.push(body),
        Part::Body(_) | Part::Frame(_) | Part::Member(_) => {}
    });
    if rest == Some(b"}") {
        bodies
    } else {
        vec![line]
    }
}

/// A part of a line behind its head.
enum Part<'a> {
    /// What stands before, between and behind the members of messages.
    Frame(&'a [u8]),
    /// A member of a message that is no body.
    Member(&'a [u8]),
    /// The value of a body.
    Body(&'a [u8]),
}

/// Shows the parts of both messages; returns what follows them.
fn walk<'a>(rest: &'a [u8], each: &mut impl FnMut(Part<'a>)) -> Option<&'a [u8]> {
    let rest = rest.strip_prefix(MESSAGES)?;
    each(Part::Frame(MESSAGES));
    let rest = walk_message(rest, each)?.strip_prefix(BETWEEN)?;
    each(Part::Frame(BETWEEN));
    walk_message(rest, each)
}

/// Shows the members of a message and its `}`; returns the rest.
fn walk_message<'a>(mut rest: &'a [u8], each: &mut impl FnMut(Part<'a>)) -> Option<&'a [u8]> {
    loop {
        if let Some(behind) = rest.strip_prefix(b"}") {
            each(Part::Frame(b"}"));
            return Some(behind);
        }
        let member = rest.strip_prefix(b",").unwrap_or(rest);
        let value = skip_string(member)?.strip_prefix(b":")?;
        let behind = skip_value(value)?;
        if member.starts_with(b"\"body\":") || member.starts_with(b"\"raw\":") {
            each(Part::Body(&value[..value.len() - behind.len()]));
        } else {
            each(Part::Member(&member[..member.len() - behind.len()]));
        }
        rest = behind;
    }
}

/// What follows the JSON value that `rest` begins with: the `,` or `}` behind it.
fn skip_value(mut rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    loop {
        match rest.first()? {
            b'"' => {
                rest = skip_string(rest)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(rest),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return Some(rest),
            _ => {}
        }
        rest = &rest[1..];
    }
}

/// What follows the JSON string that `rest` begins with.
pub(crate) fn skip_string(rest: &[u8]) -> Option<&[u8]> {
    let mut rest = rest.strip_prefix(b"\"")?;
    loop {
        let at = memchr2(b'"', b'\\', rest)?;
        if rest[at] == b'"' {
            return Some(&rest[at + 1..]);
        }
        rest = rest.get(at + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isango_store::conformance::sample;
    use isango_store::logs::strip_bodies;
    use isango_types::Record;
    use isango_types::record::{Body, MetadataValue};
    use proptest::prelude::*;

    fn check(mut record: Record) -> Result<(), TestCaseError> {
        let line = serde_json::to_string(&record).unwrap();
        let mut out = Vec::new();
        prop_assert!(slim(line.as_bytes(), &mut out));
        strip_bodies(&mut record);
        prop_assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(&record).unwrap()
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn a_slim_line_is_the_line_of_the_record_without_bodies(
            n in 0..100_u64,
            nasty in "[\\PC\"\\\\{}\\[\\],:\n]{0,24}",
            parts in any::<[bool; 4]>(),
        ) {
            let mut record = sample::record(n);
            record.user_agent = Some(format!("{nasty},\"request\":{{").into());
            record.metadata.insert(nasty.clone().into(), MetadataValue::Text(nasty.clone().into()));
            let json = serde_json::json!({"request": {"body": nasty}, "a": [nasty, 1, {}]});
            let json = serde_json::value::to_raw_value(&json).unwrap();
            record.request.body = parts[0].then_some(Body::Json(json));
            record.request.raw = parts[1].then_some(Body::Base64("e30=".into()));
            record.response.body = parts[2].then_some(Body::Text(nasty.into()));
            record.response.chunk_times_us = if parts[3] { vec![1, 2, 3] } else { Vec::new() };
            let line = serde_json::to_string(&record).unwrap();
            let found: Vec<_> = bodies(line.as_bytes())
                .into_iter()
                .map(|body| serde_json::from_slice::<serde_json::Value>(body).unwrap())
                .collect();
            let expected = [&record.request.body, &record.response.body]
                .into_iter()
                .flatten()
                .map(|body| serde_json::to_value(body).unwrap());
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
            check(record)?;
        }

        #[test]
        fn no_line_makes_it_panic(tail in "[{}\\[\\]\",:\\\\a-z]{0,40}") {
            let mut out = Vec::new();
            let line = format!("{{\"id\":1,\"request\":{{{tail}");
            let _slimmed = slim(line.as_bytes(), &mut out);
        }
    }
}
