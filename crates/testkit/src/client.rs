//! A client of HTTP/1.1 on a raw socket: it shows what arrived, in the pieces in which it arrived.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::head::{Framing, Head};
use crate::socket::{Piece, Socket, Stream};
use crate::tls::Tls;
use crate::within;

/// A request to send.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: AskBody,
}

/// The body of a request, by its framing.
#[derive(Clone, Debug)]
pub(crate) enum AskBody {
    None,
    Length(Bytes),
    Chunked(Vec<Bytes>, Vec<(String, String)>),
}

impl Ask {
    /// A request without a body. A `host` is added unless one is given.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self {
            method,
            target,
            headers: Vec::new(),
            body: AskBody::None,
        }
    }

    /// A GET request.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request of JSON with its length.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", target)
            .with("content-type", "application/json")
            .body(body)
    }

    /// Adds a header; the name is sent as it is spelled.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = AskBody::Length(body.into());
        self
    }

    /// A body in chunks, one for each part.
    #[must_use]
    pub fn chunked<B: Into<Bytes>>(mut self, parts: impl IntoIterator<Item = B>) -> Self {
        self.body = AskBody::Chunked(parts.into_iter().map(Into::into).collect(), Vec::new());
        self
    }

    /// Ends a chunked body with a trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        if let AskBody::Chunked(_, trailers) = &mut self.body {
            trailers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| &**value)
    }

    /// The head in HTTP/1.1, up to and with the blank line.
    #[must_use]
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if self.header("host").is_none() {
            text.push_str("host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        match &self.body {
            AskBody::None => {}
            AskBody::Length(body) => text.push_str(&format!("content-length: {}\r\n", body.len())),
            AskBody::Chunked(..) => text.push_str("transfer-encoding: chunked\r\n"),
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// Head and body in HTTP/1.1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        match &self.body {
            AskBody::None => {}
            AskBody::Length(body) => bytes.extend_from_slice(body),
            AskBody::Chunked(parts, trailers) => {
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                    bytes.extend_from_slice(part);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it was announced.
    Whole,
    /// The connection was closed before the announced end: no last chunk, or too few bytes.
    Cut,
    /// The connection, or the stream in HTTP/2, was reset.
    Reset,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Interim answers (1xx) before it.
    pub interim: Vec<Head>,
    /// Its head.
    pub head: Head,
    /// Its body, or what came of it.
    pub body: Vec<u8>,
    /// Length of each piece in which the body arrived, in bytes.
    pub pieces: Vec<usize>,
    /// Its trailers.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it is whole.
    pub end: End,
}

impl Reply {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The only header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A connection to a server. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    /// Method of the last request; its answer is framed by it.
    method: String,
    /// Framing of the answer that is being read.
    framing: Framing,
    trailers: Vec<(String, Vec<u8>)>,
    end: Option<End>,
}

impl Client {
    /// Connects without TLS.
    pub async fn connect(addr: SocketAddr) -> Self {
        let connecting = TcpStream::connect(addr);
        let tcp = within("a connection", connecting)
            .await
            .expect("the server accepts");
        Self::over(Stream::Plain(tcp))
    }

    /// Connects with a receive buffer of about this size in bytes: a reader that stalls fills it
    /// soon.
    pub async fn connect_narrow(addr: SocketAddr, receive_bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket
            .set_recv_buffer_size(receive_bytes)
            .expect("a socket takes SO_RCVBUF");
        let tcp = within("a connection", socket.connect(addr))
            .await
            .expect("the server accepts");
        Self::over(Stream::Plain(tcp))
    }

    /// Connects over TLS as `localhost` and offers these protocols.
    pub async fn connect_tls(addr: SocketAddr, tls: &Tls, alpn: &[&str]) -> Self {
        let tcp = TcpStream::connect(addr).await.expect("the server accepts");
        let connector = TlsConnector::from(Arc::new(tls.client_config(alpn)));
        let name = ServerName::try_from("localhost").expect("a name is sound");
        let handshake = within("a TLS handshake", connector.connect(name, tcp)).await;
        Self::over(Stream::Tls(Box::new(
            handshake.expect("the handshake succeeds").into(),
        )))
    }

    fn over(stream: Stream) -> Self {
        Self {
            socket: Socket::new(stream),
            method: String::new(),
            framing: Framing::Length(0),
            trailers: Vec::new(),
            end: None,
        }
    }

    /// Where this end of the connection is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.socket
            .stream
            .tcp()
            .local_addr()
            .expect("a socket has an address")
    }

    /// Sends bytes as they are, in one write.
    pub async fn send(&mut self, bytes: &[u8]) {
        within("a write", self.socket.write(bytes))
            .await
            .expect("the server reads");
    }

    /// Sends bytes as they are, and says whether the server still took them.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("a write", self.socket.write(bytes)).await
    }

    /// Sends a request.
    pub async fn send_ask(&mut self, ask: &Ask) {
        self.method.clone_from(&ask.method);
        self.send(&ask.to_bytes()).await;
    }

    /// Sends only the head of a request; its body is up to [`send`](Self::send).
    pub async fn send_head(&mut self, ask: &Ask) {
        self.method.clone_from(&ask.method);
        self.send(&ask.head_bytes()).await;
    }

    /// What one read brings, framing included; empty at the end.
    ///
    /// # Errors
    /// The connection was reset.
    pub async fn some(&mut self) -> io::Result<Bytes> {
        within("bytes", self.socket.some()).await
    }

    /// Everything up to the end of the connection, framing included.
    pub async fn all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.some().await.ok().filter(|bytes| !bytes.is_empty()) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    /// Waits for the head of an answer, an interim one too.
    pub async fn any_head(&mut self) -> Head {
        self.try_head().await.expect("the server answers")
    }

    /// Waits for the head of an answer; `None` where the connection ended instead.
    pub async fn try_head(&mut self) -> Option<Head> {
        let head = within("the head of an answer", self.socket.head())
            .await
            .ok()
            .flatten()?;
        self.framing = head.framing(Some(&self.method));
        (self.trailers, self.end) = (Vec::new(), None);
        Some(head)
    }

    /// Waits for the head of the final answer.
    pub async fn head(&mut self) -> Head {
        loop {
            let head = self.any_head().await;
            if head.status >= 200 {
                return head;
            }
        }
    }

    /// The next piece of the body, without its framing: what has arrived already, else what one
    /// read brings. `None` at the end, whole or not; [`end`](Self::end) tells which.
    pub async fn piece(&mut self) -> Option<Bytes> {
        if self.end.is_some() {
            return None;
        }
        match within("a piece of the body", self.socket.piece(&mut self.framing)).await {
            Ok(Piece::Data(data)) => return Some(data),
            Ok(Piece::End(trailers)) => {
                self.trailers = trailers;
                self.end = Some(End::Whole);
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.end = Some(End::Cut),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("malformed chunk"),
            Err(_reset) => self.end = Some(End::Reset),
        }
        None
    }

    /// How the answer ended, once [`piece`](Self::piece) gave `None`.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Reads an answer to its end.
    pub async fn reply(&mut self) -> Reply {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.any_head().await;
            if head.status >= 200 {
                break head;
            }
            interim.push(head);
        };
        let (mut body, mut pieces) = (Vec::new(), Vec::new());
        while let Some(piece) = self.piece().await {
            pieces.push(piece.len());
            body.extend_from_slice(&piece);
        }
        let trailers = std::mem::take(&mut self.trailers);
        let end = self.end.expect("the body has ended");
        Reply {
            interim,
            head,
            body,
            pieces,
            trailers,
            end,
        }
    }

    /// Sends a request and reads the whole answer. The connection stays open.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        self.send_ask(ask).await;
        self.reply().await
    }

    /// Closes the connection by a reset instead of an orderly end.
    pub fn reset(self) {
        SockRef::from(self.socket.stream.tcp())
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket takes SO_LINGER");
    }

    /// Sends FIN and keeps reading: a half-closed connection.
    pub async fn finish_sending(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        self.socket
            .stream
            .shutdown()
            .await
            .expect("the connection is open");
    }
}

/// Sends one request on a connection of its own and reads the whole answer.
pub async fn ask(addr: SocketAddr, ask: &Ask) -> Reply {
    Client::connect(addr).await.ask(ask).await
}
