//! Reads what was exported: lines, however they are packed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// How Parquet files begin.
const PARQUET: &[u8] = b"PAR1";
/// Largest Parquet file that is read, in bytes.
const MAX_TABLE: u64 = 1 << 30;
/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 30;

/// A Parquet file, whole; `None`: it is none, and is to be read as lines.
///
/// # Errors
/// It cannot be read, or is larger than 1 GiB.
pub fn table(from: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    if !from.fill_buf()?.starts_with(PARQUET) {
        return Ok(None);
    }
    let mut file = Vec::new();
    if from.take(MAX_TABLE).read_to_end(&mut file)? as u64 == MAX_TABLE {
        return Err(io::Error::other("the table is too large"));
    }
    Ok(Some(file))
}

/// The lines of an export: gzip, zstd, or as they are.
///
/// # Errors
/// It cannot be read.
pub fn unpacked(from: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut from = BufReader::new(from);
    let head = from.fill_buf()?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(MultiGzDecoder::new(from))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(BufReader::new(zstd::Decoder::with_buffer(from)?)),
        _ => Box::new(from),
    })
}

/// The next line without its end; false: there is none.
///
/// # Errors
/// It cannot be read, or is longer than 1 GiB.
pub fn next_line(from: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = from.take(MAX_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == MAX_LINE {
        return Err(io::Error::other("a line has no end"));
    }
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::pack;
    use crate::job::Pack;

    #[test]
    fn lines_are_read_however_they_are_packed() {
        for kind in Pack::ALL {
            let packed = pack(b"{\"a\":1}\n\nlast", kind).unwrap();
            let mut from = unpacked(io::Cursor::new(packed)).unwrap();
            let (mut line, mut lines) = (Vec::new(), Vec::new());
            while next_line(&mut *from, &mut line).unwrap() {
                lines.push(String::from_utf8(line.clone()).unwrap());
            }
            assert_eq!(lines, ["{\"a\":1}", "", "last"], "{kind:?}");
        }
    }
}
