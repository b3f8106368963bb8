//! A connection, plain or encrypted, with a buffer that reads heads and framed bodies from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::head::{Chunked, Framing, Head, parse_field};

/// A connection, plain or encrypted.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn as_io(&mut self) -> Pin<&mut (dyn Io + Send + Unpin)> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp),
            Self::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }
}

trait Io: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Io for T {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.as_io().poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.as_io().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_io().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_io().poll_shutdown(context)
    }
}

/// The next part of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes of the body that have arrived.
    Data(Bytes),
    /// The body ended as announced; with its trailers.
    End(Vec<(String, Vec<u8>)>),
}

/// A connection with what has been read from it and not been used yet.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: Stream,
    buffer: BytesMut,
}

impl Socket {
    /// Takes a connection; small writes leave at once.
    pub(crate) fn new(stream: Stream) -> Self {
        stream
            .tcp()
            .set_nodelay(true)
            .expect("a socket takes TCP_NODELAY");
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Reads once, at most 64 KiB. 0 is the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(64 << 10);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Writes all of `bytes`, in one piece if the socket has room.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// What was read and not used; if nothing was, what one read brings. Empty at the end.
    pub(crate) async fn some(&mut self) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().freeze())
    }

    /// Reads a head. `None` where the peer closed before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut seen = 0;
        loop {
            let from = seen.min(self.buffer.len());
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                let raw = self.buffer.split_to(from + at + 4).freeze();
                return Ok(Some(Head::parse(raw)));
            }
            seen = self.buffer.len().saturating_sub(3);
            if self.fill().await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The next part of a body: what is there already, else what one read brings.
    ///
    /// # Errors
    /// `UnexpectedEof` where the peer closed too early; `ConnectionReset`; `InvalidData` for a
    /// malformed chunk.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> io::Result<Piece> {
        loop {
            if let Some(piece) = self.take(framing)? {
                return Ok(piece);
            }
            if self.fill().await? == 0 {
                return match framing {
                    Framing::UntilClose => Ok(Piece::End(Vec::new())),
                    Framing::Length(_) | Framing::Chunked(_) => {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    }
                };
            }
        }
    }

    /// The next part of a body from the buffer alone.
    fn take(&mut self, framing: &mut Framing) -> io::Result<Option<Piece>> {
        match framing {
            Framing::Length(0) => Ok(Some(Piece::End(Vec::new()))),
            Framing::Length(left) => Ok(self.take_data(left)),
            Framing::UntilClose => {
                let mut everything = u64::MAX;
                Ok(self.take_data(&mut everything))
            }
            Framing::Chunked(state) => self.take_chunked(state),
        }
    }

    fn take_data(&mut self, left: &mut u64) -> Option<Piece> {
        let count = self
            .buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= count as u64;
        (count > 0).then(|| Piece::Data(self.buffer.split_to(count).freeze()))
    }

    fn take_chunked(&mut self, state: &mut Chunked) -> io::Result<Option<Piece>> {
        let mut trailers = Vec::new();
        let mut whole = BytesMut::new();
        loop {
            match state {
                Chunked::Data(left) => {
                    if let Some(Piece::Data(data)) = self.take_data(left) {
                        whole.extend_from_slice(&data);
                    }
                    if *left > 0 {
                        break;
                    }
                    *state = Chunked::DataEnd;
                }
                Chunked::DataEnd => match self.take_line() {
                    Some(line) if line.is_empty() => *state = Chunked::Size,
                    Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                    None => break,
                },
                Chunked::Size => match self.take_line() {
                    Some(line) => *state = after_size(&line)?,
                    None => break,
                },
                // The end is told on its own, after the data before it, and the trailers whole.
                Chunked::Trailers if !whole.is_empty() => break,
                Chunked::Trailers => {
                    if !self.buffer.starts_with(b"\r\n")
                        && find(&self.buffer, b"\r\n\r\n").is_none()
                    {
                        break;
                    }
                    while let Some(line) = self.take_line().filter(|line| !line.is_empty()) {
                        trailers.push(parse_field(&line));
                    }
                    return Ok(Some(Piece::End(trailers)));
                }
            }
        }
        Ok((!whole.is_empty()).then(|| Piece::Data(whole.freeze())))
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let at = find(&self.buffer, b"\r\n")?;
        let line = self.buffer.split_to(at + 2).freeze();
        Some(line.slice(..at))
    }
}

fn after_size(line: &[u8]) -> io::Result<Chunked> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(if size == 0 {
        Chunked::Trailers
    } else {
        Chunked::Data(size)
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
