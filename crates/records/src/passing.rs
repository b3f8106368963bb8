//! Records on their way elsewhere: whole frames as they lie in the journal, and what is missing
//! between them.

use isango_store::logs::{Error, Frame, Frames, Position};
use isango_types::{RecordId, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::catalog::Catalog;
use crate::frame::{Entry, GapLine, record_lines, split_lines};
use crate::label::Kind;
use crate::overlay::{Overlay, View};
use crate::query::{Opened, Source};

/// Frames from a position on; see [`isango_store::logs::LogReader::frames`].
///
/// # Errors
/// The store cannot be read.
pub(crate) fn frames(
    catalog: &Catalog,
    overlay: &Overlay,
    from: Position,
    room: usize,
) -> Result<Frames, Error> {
    let view = overlay.view()?;
    let mut source = Source::new(catalog)?;
    let (mut found, mut raw_bytes) = (Frames::default(), 0);
    let mut at = from.count();
    for volume in catalog.volumes() {
        if volume.summary.chain.sequence <= at {
            continue;
        }
        let Some(opened) = source.open(&volume)? else {
            continue;
        };
        let start = opened.1.partition_point(|entry| entry.end_sequence() <= at);
        let held = opened.1.iter().skip(start);
        for entry in held.filter(|entry| entry.contents.records > 0) {
            let is_full = raw_bytes + entry.contents.raw_bytes > room as u64;
            if is_full && !found.frames.is_empty() {
                return Ok(found);
            }
            let is_next = entry.contents.sequence == at;
            let frame = match is_next && entry.contents.kind == Kind::Records {
                true => frame(&mut source, &view, &opened, entry)?,
                false => None,
            };
            at = entry.end_sequence();
            let Some(frame) = frame else {
                found.singly = Some(Position::after(at));
                return Ok(found);
            };
            raw_bytes += entry.contents.raw_bytes;
            found.frames.push(frame);
        }
    }
    Ok(found)
}

/// A frame, unless it is damaged, or something was said of one of its records later.
fn frame(
    source: &mut Source<'_>,
    view: &View<'_>,
    (file, _): &Opened,
    entry: &Entry,
) -> Result<Option<Frame>, Error> {
    if !view.between(entry.contents.range.record_ids())?.is_empty() {
        return Ok(None);
    }
    let records = entry.contents.records;
    let Some(lines) = source.lines(file, entry)? else {
        return Ok(None);
    };
    let mut owners: Vec<(Box<str>, Box<str>)> = Vec::new();
    let mut ends: Option<[(RecordId, Timestamp); 2]> = None;
    for line in record_lines(records, lines) {
        let Some(head) = head(line) else {
            return Ok(None);
        };
        let is_it = |(account, gateway): &(Box<str>, Box<str>)| {
            *account == head.account && *gateway == head.gateway
        };
        let end = (head.id, head.created_at);
        ends.get_or_insert([end; 2])[1] = end;
        if !owners.iter().any(is_it) {
            owners.push((head.account, head.gateway));
        }
    }
    let (packed, raw) = source.unpacker.held();
    Ok(ends.map(|ends| Frame {
        packed: packed.to_vec(),
        raw_bytes: raw.len(),
        records: records.into(),
        ends,
        owners,
    }))
}

/// The members of a line that say whose it is.
struct Head {
    id: RecordId,
    created_at: Timestamp,
    account: Box<str>,
    gateway: Box<str>,
}

/// The head of a line. All of it stands at the beginning: nothing behind it is read.
fn head(line: &[u8]) -> Option<Head> {
    let mut reading = Reading::default();
    // It stops in the middle, which is an error to the reader.
    drop(serde_json::Deserializer::from_slice(line).deserialize_map(&mut reading));
    Some(Head {
        id: reading.id?,
        created_at: reading.created_at?,
        account: reading.account?,
        gateway: reading.gateway?,
    })
}

#[derive(Default)]
struct Reading {
    id: Option<RecordId>,
    created_at: Option<Timestamp>,
    account: Option<Box<str>>,
    gateway: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Member {
    Id,
    CreatedAt,
    Account,
    Gateway,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while self.gateway.is_none() {
            match map.next_key()? {
                None => break,
                Some(Member::Id) => self.id = map.next_value()?,
                Some(Member::CreatedAt) => self.created_at = map.next_value()?,
                Some(Member::Account) => self.account = map.next_value()?,
                Some(Member::Gateway) => self.gateway = map.next_value()?,
                Some(Member::Other) => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// How many records were dropped between two positions.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn dropped(catalog: &Catalog, from: Position, to: Position) -> Result<u64, Error> {
    let mut source = Source::new(catalog)?;
    let mut dropped = 0_u64;
    for volume in catalog.volumes() {
        // Markers behind the last record of a file have the position behind it.
        if volume.summary.chain.sequence < from.count() {
            continue;
        }
        let Some((file, entries)) = source.open(&volume)? else {
            continue;
        };
        let start = entries.partition_point(|entry| entry.contents.sequence < from.count());
        let held = entries.iter().skip(start);
        for entry in held.take_while(|entry| entry.contents.sequence < to.count()) {
            if entry.contents.kind != Kind::Gap {
                continue;
            }
            let lines = source.lines(&file, entry)?.unwrap_or_default();
            for line in split_lines(lines) {
                if let Ok(GapLine { gap }) = serde_json::from_slice(line) {
                    dropped = dropped.saturating_add(gap.dropped);
                }
            }
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests;
