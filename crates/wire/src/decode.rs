//! Content encodings (RFC 9110, section 8.4): gzip, deflate, br, zstd and lists of them.

use std::borrow::Cow;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::write::Decoder as ZstdDecoder;

/// Most bytes that one body is decoded to.
const MAX_DECODED_BYTES: usize = 64 << 20;

/// Most encodings on top of each other.
const MAX_LAYERS: usize = 4;

/// Largest window of a zstd frame: 8 MiB, the bound for content encodings (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

const BROTLI_BUFFER_BYTES: usize = 16 << 10;

/// Decodes a body chunk by chunk. Of a body that is cut or broken, what came before is decoded.
pub(crate) struct Decoder {
    /// `None` when the body is not encoded.
    layers: Option<Layer>,
    trouble: Option<String>,
}

impl Decoder {
    /// A decoder for the value of a `content-encoding` header.
    ///
    /// # Errors
    /// The encoding is unknown, or there are more than four; says which.
    pub(crate) fn new(content_encoding: Option<&str>) -> Result<Self, String> {
        let Some(listed) = content_encoding else {
            return Ok(Self {
                layers: None,
                trouble: None,
            });
        };
        let mut layers = Layer::Sink(Sink::default());
        let mut count = 0;
        for name in listed.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            count += 1;
            if count > MAX_LAYERS {
                return Err(format!(
                    "content-encoding {listed:?} has more than {MAX_LAYERS} layers"
                ));
            }
            // The encoding that is listed last was applied last: it is taken off first.
            layers = layers
                .wrapped(name)
                .ok_or_else(|| format!("content-encoding {name:?} is unknown"))?;
        }
        Ok(Self {
            layers: (count > 0).then_some(layers),
            trouble: None,
        })
    }

    /// Decodes the next bytes; gives what they complete.
    pub(crate) fn push<'c>(&mut self, chunk: &'c [u8]) -> Cow<'c, [u8]> {
        let Some(layers) = &mut self.layers else {
            return Cow::Borrowed(chunk);
        };
        if self.trouble.is_none()
            && let Err(error) = layers.write_all(chunk).and_then(|()| layers.flush())
        {
            self.trouble = Some(format!("content-encoding: {error}"));
        }
        Cow::Owned(layers.sink().take())
    }

    /// Why decoding ended early, if it did.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }
}

/// A writer that takes one encoding off and writes to the next.
enum Layer {
    Sink(Sink),
    Gzip(Box<MultiGzDecoder<Layer>>),
    /// `deflate`, of which nothing has come: zlib by the RFC, raw from some servers.
    Deflate(Option<u8>, Box<Layer>),
    Zlib(Box<ZlibDecoder<Layer>>),
    RawDeflate(Box<DeflateDecoder<Layer>>),
    Brotli(Box<DecompressorWriter<Layer>>),
    Zstd(Box<ZstdDecoder<'static, Layer>>),
}

impl Layer {
    fn wrapped(self, encoding: &str) -> Option<Self> {
        Some(match &*encoding.to_ascii_lowercase() {
            "gzip" | "x-gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(self))),
            "deflate" => Self::Deflate(None, Box::new(self)),
            "br" => Self::Brotli(Box::new(DecompressorWriter::new(self, BROTLI_BUFFER_BYTES))),
            "zstd" => {
                let mut decoder = ZstdDecoder::new(self).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).ok()?;
                Self::Zstd(Box::new(decoder))
            }
            _ => return None,
        })
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Sink(sink) => sink,
            Self::Deflate(_, inner) => inner.sink(),
            Self::Gzip(decoder) => decoder.get_mut().sink(),
            Self::Zlib(decoder) => decoder.get_mut().sink(),
            Self::RawDeflate(decoder) => decoder.get_mut().sink(),
            Self::Brotli(decoder) => decoder.get_mut().sink(),
            Self::Zstd(decoder) => decoder.get_mut().sink(),
        }
    }

    /// Decides between zlib and raw deflate by the two bytes of a zlib header (RFC 1950).
    fn write_deflate(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Deflate(first, inner) = self else {
            return self.write(bytes);
        };
        let (head, rest) = match (*first, bytes) {
            (_, []) => return Ok(0),
            (None, [only]) => {
                *first = Some(*only);
                return Ok(1);
            }
            (None, [one, two, ..]) => ([*one, *two], bytes),
            (Some(one), [two, ..]) => ([one, *two], bytes),
        };
        let is_zlib = head[0] & 0x0f == 8 && u16::from_be_bytes(head) % 31 == 0;
        let (pending, inner) = (
            *first,
            std::mem::replace(&mut **inner, Self::Sink(Sink::default())),
        );
        *self = if is_zlib {
            Self::Zlib(Box::new(ZlibDecoder::new(inner)))
        } else {
            Self::RawDeflate(Box::new(DeflateDecoder::new(inner)))
        };
        if let Some(first) = pending {
            self.write_all(&[first])?;
        }
        self.write(rest)
    }
}

impl Write for Layer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Sink(sink) => sink.write(bytes),
            Self::Deflate(..) => self.write_deflate(bytes),
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Zlib(decoder) => decoder.write(bytes),
            Self::RawDeflate(decoder) => decoder.write(bytes),
            Self::Brotli(decoder) => decoder.write(bytes),
            Self::Zstd(decoder) => decoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Sink(_) | Self::Deflate(..) => Ok(()),
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zlib(decoder) => decoder.flush(),
            Self::RawDeflate(decoder) => decoder.flush(),
            Self::Brotli(decoder) => decoder.flush(),
            Self::Zstd(decoder) => decoder.flush(),
        }
    }
}

/// Where decoded bytes arrive.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    /// Bytes that were taken away before.
    taken: usize,
}

impl Sink {
    fn take(&mut self) -> Vec<u8> {
        self.taken += self.bytes.len();
        std::mem::take(&mut self.bytes)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_DECODED_BYTES.saturating_sub(self.taken + self.bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::Error::other("the decoded body is larger than 64 MiB"));
        }
        let fitting = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(fitting);
        Ok(fitting.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    /// `text` as one uncompressed meta-block (RFC 7932, 9.2): there is no encoder at hand.
    fn brotli(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len() - 1).unwrap();
        // Bits, low first: WBITS 16 is `0`; not last `0`; four nibbles `00`; length; uncompressed `1`.
        let header = (length << 4) | (1 << 20);
        let mut bytes = header.to_le_bytes()[..3].to_vec();
        bytes.extend_from_slice(text);
        bytes.push(3); // last and empty
        bytes
    }

    fn encoded(encoding: &str, text: &[u8]) -> Vec<u8> {
        let level = Compression::fast();
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "br" => brotli(text),
            "zstd" => zstd::encode_all(text, 1).unwrap(),
            other => panic!("{other}"),
        }
    }

    fn decoded(encoding: &str, body: &[u8], piece: usize) -> (Vec<u8>, Option<String>) {
        let mut decoder = Decoder::new(Some(encoding)).unwrap();
        let mut out = Vec::new();
        for chunk in body.chunks(piece) {
            out.extend_from_slice(&decoder.push(chunk));
        }
        (out, decoder.trouble())
    }

    const TEXT: &[u8] = b"hello, hello, hello";

    #[test]
    fn every_encoding_is_decoded_in_pieces() {
        for encoding in ["gzip", "deflate", "raw", "br", "zstd"] {
            let body = encoded(encoding, TEXT);
            let name = if encoding == "raw" {
                "deflate"
            } else {
                encoding
            };
            for piece in [1, 2, 5, 1024] {
                assert_eq!(
                    decoded(name, &body, piece),
                    (TEXT.to_vec(), None),
                    "{encoding} {piece}"
                );
            }
        }
    }

    #[test]
    fn lists_are_taken_off_from_the_end() {
        let body = encoded("zstd", &encoded("gzip", TEXT));
        assert_eq!(decoded("GZIP, identity , zstd", &body, 3).0, TEXT);
    }

    #[test]
    fn a_body_that_is_not_encoded_is_not_copied() {
        for name in [None, Some(""), Some("identity")] {
            assert!(matches!(
                Decoder::new(name).unwrap().push(TEXT),
                Cow::Borrowed(TEXT)
            ));
        }
    }

    #[test]
    fn of_a_cut_body_the_beginning_is_decoded() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
        for encoding in ["gzip", "deflate", "zstd"] {
            let body = encoded(encoding, &text);
            let (out, trouble) = decoded(encoding, &body[..body.len() * 3 / 4], 1000);
            assert!(text.starts_with(&out) && trouble.is_none(), "{encoding}");
            // zstd decodes whole blocks of up to 128 KiB only.
            assert!(
                encoding == "zstd" || out.len() > text.len() / 2,
                "{encoding} {}",
                out.len()
            );
        }
    }

    #[test]
    fn a_broken_body_ends_with_a_word() {
        let (out, trouble) = decoded("gzip", b"not gzip at all", 4);
        assert!(out.is_empty() && trouble.unwrap().starts_with("content-encoding: "));
    }

    #[test]
    fn a_bomb_ends_at_its_bound() {
        let zeros = vec![0; 1 << 20];
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..70 {
            encoder.write_all(&zeros).unwrap();
        }
        let (out, trouble) = decoded("gzip", &encoder.finish().unwrap(), usize::MAX);
        assert_eq!(out.len(), MAX_DECODED_BYTES);
        assert!(trouble.unwrap().contains("64 MiB"));
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(
            Decoder::new(Some("gzip, rot13")).err().unwrap(),
            "content-encoding \"rot13\" is unknown"
        );
        assert!(Decoder::new(Some("gzip,gzip,gzip,gzip,gzip")).is_err());
    }
}
