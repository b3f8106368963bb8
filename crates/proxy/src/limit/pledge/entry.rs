//! The bytes of one entry: what one request holds of some of its gateway's limits.
//!
//! The id (16 bytes), account and gateway, and for each limit its name, unit, moment, amount and
//! values. Numbers are little-endian, texts begin with their length; a value that the request did
//! not have has the length [`ABSENT`].

use std::borrow::Cow;

use isango_types::limit::Unit;
use isango_types::{RecordId, Timestamp};

use crate::limit::Values;

/// The length of a value that is none.
const ABSENT: u16 = u16::MAX;

/// What one request holds, or a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::limit) struct Entry<'e> {
    /// Of the exchange.
    pub(super) id: RecordId,
    pub(in crate::limit) account: Box<str>,
    pub(in crate::limit) gateway: Box<str>,
    pub(in crate::limit) shares: Vec<Share<'e>>,
}

/// What it holds of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::limit) struct Share<'e> {
    pub(in crate::limit) rule: Cow<'e, str>,
    pub(in crate::limit) bucket: Cow<'e, [Option<Box<str>>]>,
    pub(in crate::limit) unit: Unit,
    pub(in crate::limit) at: Timestamp,
    pub(in crate::limit) amount: u64,
}

/// Appends the entry of `id` at the gateway of an account.
pub(super) fn write(out: &mut Vec<u8>, id: RecordId, gateway: [&str; 2], shares: &[Share<'_>]) {
    out.extend_from_slice(id.as_bytes());
    gateway.iter().for_each(|name| text(out, name));
    for share in shares {
        text(out, &share.rule);
        out.push(match share.unit {
            Unit::Requests => 0,
            Unit::Tokens => 1,
            Unit::Cost => 2,
            Unit::Concurrent => 3,
        });
        out.extend_from_slice(&share.at.as_micros().to_le_bytes());
        out.extend_from_slice(&share.amount.to_le_bytes());
        values(out, &share.bucket);
    }
}

/// Appends the values of a bucket.
pub(in crate::limit) fn values(out: &mut Vec<u8>, values: &[Option<Box<str>>]) {
    out.push(u8::try_from(values.len()).unwrap_or(u8::MAX));
    for value in values.iter().take(usize::from(u8::MAX)) {
        match value {
            Some(value) => text(out, value),
            None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        }
    }
}

/// Appends a text. Names and values are far shorter than could be written; one that is not is cut.
pub(in crate::limit) fn text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(ABSENT) - 1)];
    let length = u16::try_from(text.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Entry<'static> {
    /// Reads what [`write()`] wrote; `None` of anything else.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::of(bytes);
        let id = RecordId::from_bytes(bytes.take()?);
        let (account, gateway) = (bytes.text()??, bytes.text()??);
        let mut shares = Vec::new();
        while !bytes.is_empty() {
            shares.push(bytes.share()?);
        }
        Some(Self {
            id,
            account,
            gateway,
            shares,
        })
    }
}

/// Bytes that are read from their beginning.
pub(in crate::limit) struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    pub(in crate::limit) const fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::limit) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::limit) fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    pub(in crate::limit) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The inner `None`: it is absent.
    pub(in crate::limit) fn text(&mut self) -> Option<Option<Box<str>>> {
        let length = u16::from_le_bytes(self.take()?);
        if length == ABSENT {
            return Some(None);
        }
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(Some(std::str::from_utf8(text).ok()?.into()))
    }

    pub(in crate::limit) fn values(&mut self) -> Option<Values> {
        let [count] = self.take()?;
        (0..count).map(|_| self.text()).collect()
    }

    fn share(&mut self) -> Option<Share<'static>> {
        let rule = self.text()??;
        let [unit] = self.take()?;
        let unit = *Unit::ALL.get(usize::from(unit))?;
        let at = Timestamp::from_micros(self.number()?);
        let amount = self.number()?;
        let bucket = self.values()?;
        Some(Share {
            rule: rule.into_string().into(),
            bucket: bucket.into(),
            unit,
            at,
            amount,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (Vec<u8>, Entry<'static>) {
        let at = Timestamp::from_micros(1_795_363_823_000_001);
        let share = |unit, bucket: &[Option<&str>]| Share {
            rule: "daily".into(),
            bucket: bucket.iter().map(|one| one.map(Into::into)).collect(),
            unit,
            at,
            amount: u64::MAX,
        };
        let entry = Entry {
            id: RecordId::new(at),
            account: "local".into(),
            gateway: "support".into(),
            shares: vec![
                share(Unit::Requests, &[]),
                share(Unit::Tokens, &[Some("acme"), None, Some("")]),
                share(Unit::Cost, &[Some("sawubona\u{1}")]),
                share(Unit::Concurrent, &[None]),
            ],
        };
        let mut bytes = Vec::new();
        write(&mut bytes, entry.id, ["local", "support"], &entry.shares);
        (bytes, entry)
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_a_cut_one_never_with_other_names() {
        let (bytes, entry) = sample();
        assert_eq!(Entry::read(&bytes).unwrap(), entry);
        for end in 0..bytes.len() {
            let cut = Entry::read(&bytes[..end]);
            assert!(
                cut.is_none_or(|cut| entry.shares.starts_with(&cut.shares)),
                "{end}"
            );
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = Entry::read(&bytes);
        }
    }
}
