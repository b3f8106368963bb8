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
    slim_messages(&line[head.len()..], out) == Some(b"}")
}

/// Copies both messages and what follows them, which is returned.
fn slim_messages<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let rest = rest.strip_prefix(MESSAGES)?;
    out.extend_from_slice(MESSAGES);
    let rest = slim_message(rest, out)?.strip_prefix(BETWEEN)?;
    out.extend_from_slice(BETWEEN);
    let rest = slim_message(rest, out)?;
    out.extend_from_slice(rest);
    Some(rest)
}

/// Copies the members of a message up to and with its `}`, but for the bodies; returns the rest.
fn slim_message<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut is_first = true;
    loop {
        if let Some(behind) = rest.strip_prefix(b"}") {
            out.push(b'}');
            return Some(behind);
        }
        let member = rest.strip_prefix(b",").unwrap_or(rest);
        let value = skip_string(member)?.strip_prefix(b":")?;
        let behind = skip_value(value)?;
        if !member.starts_with(b"\"body\":") && !member.starts_with(b"\"raw\":") {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(&member[..member.len() - behind.len()]);
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
fn skip_string(rest: &[u8]) -> Option<&[u8]> {
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
