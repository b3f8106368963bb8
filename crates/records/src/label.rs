//! The two kinds of label in a journal file, bit by bit.
//!
//! A journal file is a row of zstd frames (RFC 8878), so that `zstdcat FILE | jq` reads it. The
//! data frames hold JSON lines. Before each of them stands a *label*, and at the beginning of the
//! file a *header*; both are skippable frames, which zstd passes over. Numbers are little-endian.
//!
//! ```text
//! header  0x184D2A50 u32 | 56 u32 | version u8, behind [7] | file number u64
//!         | sequence u64 | link of the file before [32]
//! label   0x184D2A51 u32 | 120 u32 | contents [80] | synced u64 | link [32]
//! contents  version u8, kind u8, 2 zero bytes | records u32
//!         | sequence u64 | packed bytes u64 | raw bytes u64
//!         | first and last created_at u64 × 2, microseconds | first and last id [16] × 2
//! ```
//! `kind` is, in version 1, 0 for records and 1 for a gap marker; in version 2, 2 and 3 for what a
//! rewrite left of a frame of records, without and with its bodies, and 4 for a seal. A rewritten
//! frame keeps the link of the frame that was there, so that the chain goes on behind it; what it
//! holds now is proved by the seal (rewrite.rs).
//! `sequence` is the number of records in the journal before this frame. `synced` is how much of
//! this file, in bytes, was on disk when the frame was written: recovery trusts that much. `link` is
//! SHA-256 over the previous link, the label's bytes before its link, and the data frame. The
//! first link of a journal follows 32 zero bytes.
//!
//! `behind` is 0 in version 1. In version 3 it is how much of the file before, in bytes, was on disk
//! when this one was begun; the rest follows before anything of this one is promised. So a power
//! loss can leave a file before the newest one torn, but not before that many bytes.

use aws_lc_rs::digest::{Context, SHA256};
use isango_store::logs::Error;
use isango_types::{Record, RecordId, Timestamp};

/// The newest version of the format.
const VERSION: u8 = 3;
/// The version of headers, and of those that say how much of the file before was on disk.
const HEADER_VERSIONS: [u8; 2] = [1, 3];
const HEADER_MAGIC: u32 = 0x184D_2A50;
const LABEL_MAGIC: u32 = 0x184D_2A51;
/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of a label.
pub(crate) const LABEL_BYTES: usize = 128;
/// Bytes of [`Contents`].
pub(crate) const CONTENTS_BYTES: usize = 80;
/// Bytes of a label that its link covers.
const LINKED_BYTES: usize = LABEL_BYTES - 32;

/// A link of the chain: proves everything before it.
pub(crate) type Link = [u8; 32];

/// What a data frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One record a line.
    Records,
    /// One line, `{"gap":{…}}`.
    Gap,
    /// One record a line, none of them with a body, and a line `{"rewritten":{…}}`.
    Slim,
    /// The same, some of them with bodies.
    Rewritten,
    /// One line, `{"seal":{…}}`: what a rewritten file holds.
    Seal,
}

impl Kind {
    /// All of them, with the version since which there are such frames, and their number in it.
    const ALL: [(Self, [u8; 2]); 5] = [
        (Self::Records, [1, 0]),
        (Self::Gap, [1, 1]),
        (Self::Slim, [2, 2]),
        (Self::Rewritten, [2, 3]),
        (Self::Seal, [2, 4]),
    ];

    /// Version and number.
    fn code(self) -> [u8; 2] {
        let is_it = |(kind, _): &&(Self, [u8; 2])| *kind == self;
        Self::ALL
            .iter()
            .find(is_it)
            .map_or([0; 2], |(_, code)| *code)
    }

    /// Whether its lines are records.
    pub(crate) const fn holds_records(self) -> bool {
        match self {
            Self::Records | Self::Slim | Self::Rewritten => true,
            Self::Gap | Self::Seal => false,
        }
    }
}

/// What a frame holds, for a reader to decide whether it needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) kind: Kind,
    pub(crate) records: u32,
    /// Records in the journal before this frame.
    pub(crate) sequence: u64,
    /// Bytes of the data frame.
    pub(crate) packed_bytes: u64,
    /// Bytes of its JSON lines.
    pub(crate) raw_bytes: u64,
    pub(crate) range: Range,
}

/// The times and ids of some records: the first and the last of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) created: [u64; 2],
    pub(crate) ids: [[u8; 16]; 2],
}

impl Range {
    /// The range of nothing.
    pub(crate) const EMPTY: Self = Self {
        created: [u64::MAX, 0],
        ids: [[0xFF; 16], [0; 16]],
    };

    /// The range of one moment and no id.
    pub(crate) const fn at(moment: Timestamp) -> Self {
        Self {
            created: [moment.as_micros(); 2],
            ids: Self::EMPTY.ids,
        }
    }

    pub(crate) const fn of(record: &Record) -> Self {
        Self {
            created: [record.created_at.as_micros(); 2],
            ids: [*record.id.as_bytes(); 2],
        }
    }

    pub(crate) fn widen(&mut self, other: &Self) {
        self.created[0] = self.created[0].min(other.created[0]);
        self.created[1] = self.created[1].max(other.created[1]);
        self.ids[0] = self.ids[0].min(other.ids[0]);
        self.ids[1] = self.ids[1].max(other.ids[1]);
    }

    /// The first and the last id.
    pub(crate) fn record_ids(&self) -> [RecordId; 2] {
        self.ids.map(RecordId::from_bytes)
    }

    pub(crate) fn holds(&self, id: RecordId) -> bool {
        self.ids[0] <= *id.as_bytes() && *id.as_bytes() <= self.ids[1]
    }
}

impl Contents {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let [version, kind] = self.kind.code();
        out.extend([version, kind, 0, 0]);
        out.extend(self.records.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.packed_bytes.to_le_bytes());
        out.extend(self.raw_bytes.to_le_bytes());
        self.range.write(out);
    }

    /// `None` if the bytes are no contents.
    ///
    /// # Errors
    /// They are of a newer version.
    pub(crate) fn read(from: &mut Fields<'_>) -> Result<Option<Self>, Error> {
        let kind = match from.take::<4>() {
            Some([version, ..]) if version > VERSION => return Err(newer(version)),
            Some([version, kind, 0, 0]) => {
                let is_it = |(_, code): &&(Kind, [u8; 2])| *code == [version, kind];
                Kind::ALL.iter().find(is_it).map(|(kind, _)| *kind)
            }
            Some(_) | None => None,
        };
        Ok(kind.and_then(|kind| Self::read_fields(kind, from)))
    }

    fn read_fields(kind: Kind, from: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            kind,
            records: from.take().map(u32::from_le_bytes)?,
            sequence: from.number()?,
            packed_bytes: from.number()?,
            raw_bytes: from.number()?,
            range: Range::read(from)?,
        })
    }
}

impl Range {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.created.iter().flat_map(|moment| moment.to_le_bytes()));
        out.extend(self.ids.as_flattened());
    }

    pub(crate) fn read(from: &mut Fields<'_>) -> Option<Self> {
        let created = [from.number()?, from.number()?];
        Some(Self {
            created,
            ids: [from.take()?, from.take()?],
        })
    }
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// Records in the files before.
    pub(crate) sequence: u64,
    /// The last link of the file before.
    pub(crate) previous: Link,
    /// How many bytes of the file before were on disk when this one was begun; `None`: all of them.
    pub(crate) behind: Option<u64>,
}

impl Header {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        write_magic(&mut out, HEADER_MAGIC, HEADER_BYTES);
        let [version, later] = HEADER_VERSIONS;
        let behind = self.behind.unwrap_or(0).to_le_bytes();
        out.push(self.behind.map_or(version, |_| later));
        out.extend(&behind[..7]);
        out.extend(self.number.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.previous);
        out
    }

    /// `None` if the bytes are no header.
    ///
    /// # Errors
    /// They are of a newer version.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut from = Fields(bytes);
        if !from.magic(HEADER_MAGIC, HEADER_BYTES) {
            return Ok(None);
        }
        let behind = match from.take::<8>() {
            Some([version, ..]) if version > VERSION => return Err(newer(version)),
            Some([version, 0, 0, 0, 0, 0, 0, 0]) if version == HEADER_VERSIONS[0] => None,
            Some([version, b0, b1, b2, b3, b4, b5, b6]) if version == HEADER_VERSIONS[1] => {
                Some(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, 0]))
            }
            Some(_) | None => return Ok(None),
        };
        let fields = (from.number(), from.number(), from.take());
        let (Some(number), Some(sequence), Some(previous)) = fields else {
            return Ok(None);
        };
        Ok(Some(Self {
            number,
            sequence,
            previous,
            behind,
        }))
    }
}

/// What stands before a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) contents: Contents,
    /// How many bytes of this file were known to be on disk when it was written.
    pub(crate) synced: u64,
    pub(crate) link: Link,
}

impl Label {
    /// Labels a data frame that follows `previous`.
    pub(crate) fn new(contents: Contents, synced: u64, previous: &Link, data: &[u8]) -> Self {
        let mut label = Self {
            contents,
            synced,
            link: *previous,
        };
        label.link = label.expected_link(previous, data);
        label
    }

    /// The link that it has if neither it nor its data were changed since.
    pub(crate) fn expected_link(&self, previous: &Link, data: &[u8]) -> Link {
        let mut context = Context::new(&SHA256);
        context.update(previous);
        context.update(&self.to_bytes()[..LINKED_BYTES]);
        context.update(data);
        let mut link = Link::default();
        link.copy_from_slice(context.finish().as_ref());
        link
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LABEL_BYTES);
        write_magic(&mut out, LABEL_MAGIC, LABEL_BYTES);
        self.contents.write(&mut out);
        out.extend(self.synced.to_le_bytes());
        out.extend(self.link);
        out
    }

    /// `None` if the bytes are no label.
    ///
    /// # Errors
    /// They are of a newer version.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut from = Fields(bytes);
        if !from.magic(LABEL_MAGIC, LABEL_BYTES) {
            return Ok(None);
        }
        let Some(contents) = Contents::read(&mut from)? else {
            return Ok(None);
        };
        let (Some(synced), Some(link)) = (from.number(), from.take()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            contents,
            synced,
            link,
        }))
    }
}

/// Bytes of which one field after the other is taken.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn magic(&mut self, magic: u32, bytes: usize) -> bool {
        self.take().map(u32::from_le_bytes) == Some(magic)
            && self.take().map(u32::from_le_bytes) == u32::try_from(bytes - 8).ok()
    }
}

fn write_magic(out: &mut Vec<u8>, magic: u32, bytes: usize) {
    out.extend(magic.to_le_bytes());
    out.extend(u32::try_from(bytes - 8).unwrap_or(u32::MAX).to_le_bytes());
}

fn newer(version: u8) -> Error {
    Error::Damaged(format!(
        "it is of format {version}, and this release reads up to {VERSION}: use a newer one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents() -> impl Strategy<Value = Contents> {
        (
            any::<[u64; 5]>(),
            any::<u32>(),
            any::<[[u8; 16]; 2]>(),
            prop::sample::select(&Kind::ALL),
        )
            .prop_map(|(numbers, records, ids, (kind, _))| Contents {
                kind,
                records,
                sequence: numbers[0],
                packed_bytes: numbers[1],
                raw_bytes: numbers[2],
                range: Range {
                    created: [numbers[3], numbers[4]],
                    ids,
                },
            })
    }

    proptest! {
        #[test]
        fn labels_and_headers_survive_their_bytes(contents in contents(), link: [u8; 32], n: [u64; 3]) {
            let label = Label { contents, synced: n[0], link };
            let bytes = label.to_bytes();
            prop_assert_eq!(bytes.len(), LABEL_BYTES);
            prop_assert_eq!(Label::read(&bytes).unwrap(), Some(label));
            prop_assert_eq!(Label::read(&bytes[..LABEL_BYTES - 1]).unwrap(), None);
            let behind = Some(n[2] >> 8).filter(|_| n[2] % 2 == 0);
            let header = Header { number: n[0], sequence: n[1], previous: link, behind };
            let bytes = header.to_bytes();
            prop_assert_eq!(bytes.len(), HEADER_BYTES);
            prop_assert_eq!(Header::read(&bytes).unwrap(), Some(header));
            prop_assert_eq!(Label::read(&bytes).unwrap(), None);
        }

        #[test]
        fn foreign_bytes_are_no_label(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            let mut dressed = Label::new(SAMPLE, 0, &[0; 32], b"").to_bytes();
            dressed.truncate(8);
            dressed.extend(&bytes);
            let _read = (Label::read(&bytes), Header::read(&bytes), Label::read(&dressed));
        }

        #[test]
        fn a_link_covers_label_data_and_the_link_before(contents in contents(), at in 0..LINKED_BYTES) {
            let label = Label::new(contents, 7, &[1; 32], b"data");
            prop_assert_eq!(label.expected_link(&[1; 32], b"data"), label.link);
            prop_assert_ne!(label.expected_link(&[1; 32], b"dato"), label.link);
            prop_assert_ne!(label.expected_link(&[2; 32], b"data"), label.link);
            let mut bytes = label.to_bytes();
            bytes[at] ^= 1;
            if let Ok(Some(changed)) = Label::read(&bytes) && changed != label {
                prop_assert_ne!(changed.expected_link(&[1; 32], b"data"), label.link);
            }
        }
    }

    const SAMPLE: Contents = Contents {
        kind: Kind::Records,
        records: 1,
        sequence: 0,
        packed_bytes: 9,
        raw_bytes: 9,
        range: Range::EMPTY,
    };

    #[test]
    fn a_newer_format_is_refused_instead_of_cut() {
        let mut bytes = Label::new(SAMPLE, 0, &[0; 32], b"").to_bytes();
        bytes[8] = 4;
        assert!(
            Label::read(&bytes)
                .unwrap_err()
                .to_string()
                .contains("format 4")
        );
    }
}
