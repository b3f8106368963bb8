//! Walking through a journal file from label to label: at open, for a file without an index, and
//! when another process is writing.

use std::fs::File;
use std::os::unix::fs::FileExt;

use isango_store::logs::Error;

use crate::frame::{Chain, Entry, Unpacker};
use crate::label::{HEADER_BYTES, Header, LABEL_BYTES, Label};

/// What lies in a file.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
    /// Behind the last whole frame.
    pub(crate) chain: Chain,
    /// Where the last whole frame ends, in bytes.
    pub(crate) end: u64,
    /// Length of the file; more than `end` if something else follows.
    pub(crate) len: u64,
    /// How much of the file its own labels call synced.
    pub(crate) synced: u64,
}

impl Scan {
    /// Walks through a file; `None` if it does not begin with a header. Only labels are read: the
    /// frames may still be damaged.
    ///
    /// # Errors
    /// The file cannot be read, or is of a newer format.
    pub(crate) fn of(file: &File) -> Result<Option<Self>, Error> {
        let mut bytes = [0; HEADER_BYTES];
        if file.metadata()?.len() < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let Some(header) = Header::read(&bytes)? else {
            return Ok(None);
        };
        let mut scan = Self::fresh(header);
        scan.advance(file)?;
        Ok(Some(scan))
    }

    /// A file that holds a header and nothing else.
    pub(crate) const fn fresh(header: Header) -> Self {
        Self {
            header,
            entries: Vec::new(),
            chain: Chain {
                link: header.previous,
                sequence: header.sequence,
            },
            end: HEADER_BYTES as u64,
            len: HEADER_BYTES as u64,
            synced: 0,
        }
    }

    /// Goes on from where the last walk ended.
    ///
    /// # Errors
    /// As [`Scan::of`].
    pub(crate) fn advance(&mut self, file: &File) -> Result<(), Error> {
        self.len = file.metadata()?.len();
        let mut bytes = [0; LABEL_BYTES];
        while self.end + LABEL_BYTES as u64 <= self.len {
            file.read_exact_at(&mut bytes, self.end)?;
            let Some(label) = Label::read(&bytes)? else {
                return Ok(());
            };
            let entry = Entry {
                offset: self.end,
                contents: label.contents,
            };
            if entry.end() > self.len || entry.contents.sequence != self.chain.sequence {
                return Ok(());
            }
            self.entries.push(entry);
            self.chain = Chain {
                link: label.link,
                sequence: entry.end_sequence(),
            };
            self.end = entry.end();
            self.synced = self.synced.max(label.synced);
        }
        Ok(())
    }

    /// Whether the last frame still lies where it lay: a writer takes back what it could not
    /// commit.
    pub(crate) fn still_holds(&self, file: &File) -> Result<bool, Error> {
        let Some(last) = self.entries.last() else {
            return Ok(true);
        };
        let mut bytes = [0; LABEL_BYTES];
        if file.metadata()?.len() < self.end {
            return Ok(false);
        }
        file.read_exact_at(&mut bytes, last.offset)?;
        Ok(Label::read(&bytes)?.is_some_and(|label| label.link == self.chain.link))
    }

    /// Reads the frames that were not known to be on disk when the last one was written, and
    /// forgets the first one that is not whole and all behind it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn check_tail(&mut self, file: &File) -> Result<(), Error> {
        let first = self
            .entries
            .partition_point(|entry| entry.end() <= self.synced);
        let mut unpacker = Unpacker::new()?;
        let mut chain = match first.checked_sub(1).map(|last| self.entries[last]) {
            None => Chain {
                link: self.header.previous,
                sequence: self.header.sequence,
            },
            Some(last) => {
                let (label, _) = unpacker.packed(file, &last)?;
                Chain {
                    link: label.link,
                    sequence: last.end_sequence(),
                }
            }
        };
        for at in first..self.entries.len() {
            let entry = self.entries[at];
            let (label, data) = unpacker.packed(file, &entry)?;
            if label.expected_link(&chain.link, data) != label.link {
                self.entries.truncate(at);
                self.end = entry.offset;
                break;
            }
            chain = Chain {
                link: label.link,
                sequence: entry.end_sequence(),
            };
        }
        self.chain = chain;
        Ok(())
    }
}
