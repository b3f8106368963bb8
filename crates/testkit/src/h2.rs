//! HTTP/2, both ends: how a scripted provider answers, and a client that sees single frames.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::answer::{Answer, Step};
use crate::client::{Ask, AskBody, End, Reply};
use crate::head::Head;
use crate::socket::Stream;
use crate::tls::Tls;
use crate::upstream::{BodyLog, ClosedBy, Shared};
use crate::{Task, spawn, within};

/// A body that is written frame by frame from elsewhere; an error resets the stream.
#[derive(Debug)]
struct Piped(mpsc::Receiver<Result<Frame<Bytes>, io::Error>>);

impl Body for Piped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// Serves one connection until the peer leaves or the script closes it.
pub(crate) async fn serve(stream: Stream, connection: usize, shared: &Arc<Shared>) -> ClosedBy {
    let cut = Arc::new(Notify::new());
    let service = hyper::service::service_fn(|request| {
        let (shared, cut) = (Arc::clone(shared), Arc::clone(&cut));
        async move { Ok::<_, Infallible>(respond(request, connection, shared, cut).await) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = serving => if ended.is_ok() { ClosedBy::PeerFin } else { ClosedBy::PeerReset },
        () = cut.notified() => ClosedBy::Script,
    }
}

async fn respond(
    request: Request<Incoming>,
    connection: usize,
    shared: Arc<Shared>,
    cut: Arc<Notify>,
) -> Response<Piped> {
    let (parts, mut body) = request.into_parts();
    let index = shared.began(connection, request_head(&parts));
    // A client that gives up before the head makes hyper drop this future.
    let mut asking = Asking {
        shared: Arc::clone(&shared),
        index,
        answered: false,
    };
    let early = shared.answer_at_once(index).filter(|answer| answer.early);
    let answer = match early {
        Some(answer) => answer,
        None => {
            read_body(&mut body, &mut BodyLog::new(&shared, index)).await;
            shared.answer(index)
        }
    };
    let (sender, receiver) = mpsc::channel(1);
    let mut playing = Playing {
        shared,
        index,
        connection,
        sender,
        cut,
    };
    for step in &answer.before {
        if playing.take(step.clone()).await.is_none() {
            break;
        }
    }
    asking.answered = true;
    let response = response_head(&answer, receiver);
    let mut steps = JoinSet::new();
    steps.spawn(async move {
        for step in answer.steps {
            if matches!(step, Step::ReadBody | Step::ReadSome(_)) {
                read_body(&mut body, &mut BodyLog::new(&playing.shared, index)).await;
            } else if playing.take(step).await.is_none() {
                break;
            }
        }
    });
    steps.detach_all();
    response
}

/// A request without an answer so far; one that is dropped was given up.
struct Asking {
    shared: Arc<Shared>,
    index: usize,
    answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.given_up(self.index);
        }
    }
}

fn response_head(
    answer: &Answer,
    receiver: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>,
) -> Response<Piped> {
    let mut response = Response::new(Piped(receiver));
    *response.status_mut() = answer.status.try_into().expect("a status has three digits");
    for (name, value) in &answer.headers {
        let name: HeaderName = name.parse().expect("a header name is sound");
        let value = HeaderValue::from_str(value).expect("a header value is sound");
        response.headers_mut().append(name, value);
    }
    if let Some(length) = answer.announced() {
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

async fn read_body(body: &mut Incoming, log: &mut BodyLog<'_>) {
    let mut trailers = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return log.broken();
        };
        match frame.into_data() {
            Ok(data) => log.data(&data),
            Err(frame) => trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
        }
    }
    log.end(trailers);
}

/// One stream under the script's control.
struct Playing {
    shared: Arc<Shared>,
    index: usize,
    connection: usize,
    sender: mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
    cut: Arc<Notify>,
}

impl Playing {
    /// Takes a step; `None` once nothing more can be sent.
    async fn take(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Data(bytes) => self.send(Ok(Frame::data(bytes))).await,
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    self.send(Ok(Frame::data(bytes.clone()))).await?;
                }
                Some(())
            }
            Step::Trailers(trailers) => {
                let map = header_map(trailers.iter().map(|(name, value)| (&**name, &**value)));
                self.send(Ok(Frame::trailers(map))).await
            }
            Step::Wait => self.unless_given_up(self.shared.permit()).await,
            Step::Pause(time) => self.unless_given_up(tokio::time::sleep(time)).await,
            Step::Stall => self.unless_given_up(std::future::pending()).await,
            Step::Reset => {
                self.flush().await;
                self.send(Err(io::ErrorKind::ConnectionReset.into())).await;
                None
            }
            Step::Close | Step::Leave | Step::Drop => {
                self.flush().await;
                self.cut.notify_one();
                // Going now would end the stream orderly before the connection is cut.
                self.sender.closed().await;
                None
            }
            Step::ReadBody | Step::ReadSome(_) => Some(()),
            Step::Raw(_) => panic!("raw bytes have no place in HTTP/2"),
        }
    }

    async fn send(&mut self, frame: Result<Frame<Bytes>, io::Error>) -> Option<()> {
        let bytes = frame
            .as_ref()
            .ok()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        if self.sender.send(frame).await.is_err() {
            self.shared.given_up(self.index);
            return None;
        }
        self.shared.sent(self.connection, bytes);
        Some(())
    }

    /// Lets what was sent reach the socket, which hyper does not tell: a reset would overtake it.
    async fn flush(&self) {
        if self.sender.reserve().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn unless_given_up(&self, event: impl Future<Output = ()>) -> Option<()> {
        tokio::select! {
            () = self.sender.closed() => {
                self.shared.given_up(self.index);
                None
            }
            () = event => Some(()),
        }
    }
}

fn request_head(parts: &http::request::Parts) -> Head {
    let mut headers = fields(&parts.headers);
    if let Some(authority) = parts.uri.authority() {
        headers.insert(0, (":authority".to_owned(), authority.as_str().into()));
    }
    Head {
        version: 20,
        method: parts.method.to_string(),
        target: parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers,
        ..Head::default()
    }
}

fn fields(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

fn header_map<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>) -> HeaderMap {
    let parsed = fields.map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a header name is sound");
        (
            name,
            HeaderValue::from_str(value).expect("a header value is sound"),
        )
    });
    parsed.collect()
}

/// A client of HTTP/2. Dropping it closes the connection.
#[derive(Debug)]
pub struct H2Client {
    sender: SendRequest<Piped>,
    scheme: &'static str,
    _driving: Task,
}

/// An answer under way. Dropping it cancels the stream.
#[derive(Debug)]
pub struct H2Answer {
    /// Its head.
    pub head: Head,
    body: Incoming,
    trailers: Vec<(String, Vec<u8>)>,
    broken: bool,
    /// Sends the request's body, which the answer may overtake.
    _feeding: Option<Task>,
}

impl H2Client {
    /// Connects without TLS (prior knowledge).
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr)
            .await
            .expect("the server accepts a connection");
        Self::over(Stream::Plain(tcp), "http").await
    }

    /// Connects over TLS as `localhost`; the server must choose `h2`.
    pub async fn connect_tls(addr: SocketAddr, tls: &Tls) -> Self {
        let tcp = TcpStream::connect(addr)
            .await
            .expect("the server accepts a connection");
        let connector = TlsConnector::from(Arc::new(tls.client_config(&["h2"])));
        let name = ServerName::try_from("localhost").expect("a name is sound");
        let stream = connector
            .connect(name, tcp)
            .await
            .expect("the handshake succeeds");
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(&b"h2"[..]),
            "ALPN chose no h2"
        );
        Self::over(Stream::Tls(Box::new(stream.into())), "https").await
    }

    async fn over(stream: Stream, scheme: &'static str) -> Self {
        stream
            .tcp()
            .set_nodelay(true)
            .expect("a socket takes TCP_NODELAY");
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within("an HTTP/2 handshake", handshake)
            .await
            .expect("the server speaks HTTP/2");
        let driving = spawn(async move {
            // An error of the connection is every stream's error too, and seen there.
            connection.await.ok();
        });
        Self {
            sender,
            scheme,
            _driving: driving,
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn start(&mut self, ask: &Ask) -> H2Answer {
        self.try_start(ask).await.expect("the server answers")
    }

    /// The same; `None` where the stream was reset instead.
    pub async fn try_start(&mut self, ask: &Ask) -> Option<H2Answer> {
        let (frames, receiver) = mpsc::channel(1);
        let request = self.request(ask, receiver);
        let feeding = feed(ask.body.clone(), frames).map(spawn);
        let sent = within("the head of an answer", self.sender.send_request(request)).await;
        let (parts, body) = sent.ok()?.into_parts();
        assert_eq!(parts.version, Version::HTTP_2);
        let status = parts.status.as_u16();
        let head = Head {
            version: 20,
            status,
            headers: fields(&parts.headers),
            ..Head::default()
        };
        Some(H2Answer {
            head,
            body,
            trailers: Vec::new(),
            broken: false,
            _feeding: feeding,
        })
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        self.start(ask).await.rest().await
    }

    fn request(
        &self,
        ask: &Ask,
        receiver: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>,
    ) -> Request<Piped> {
        let mut request = Request::new(Piped(receiver));
        *request.method_mut() = ask.method.parse().expect("a method is sound");
        let host = ask.header("host").unwrap_or("localhost");
        let uri = format!("{}://{host}{}", self.scheme, ask.target);
        *request.uri_mut() = uri.parse().expect("a target is sound");
        let sent = ask
            .headers
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
        *request.headers_mut() = header_map(sent.map(|(name, value)| (&**name, &**value)));
        request
    }
}

/// What sends a body; `None`, with the channel closed already, where there is none.
fn feed(
    body: AskBody,
    frames: mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let (parts, trailers) = match body {
        AskBody::None => return None,
        AskBody::Length(body) => (vec![body], Vec::new()),
        AskBody::Chunked(parts, trailers) => (parts, trailers),
    };
    let trailers = header_map(trailers.iter().map(|(name, value)| (&**name, &**value)));
    Some(async move {
        let last = (!trailers.is_empty()).then(|| Frame::trailers(trailers));
        for frame in parts.into_iter().map(Frame::data).chain(last) {
            if frames.send(Ok(frame)).await.is_err() {
                return;
            }
        }
    })
}

impl H2Answer {
    /// The next DATA frame; `None` at the end, whole or not.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = match within("a frame", self.body.frame()).await? {
                Ok(frame) => frame,
                Err(_reset) => {
                    self.broken = true;
                    return None;
                }
            };
            match frame.into_data() {
                Ok(data) => return Some(data),
                Err(frame) => self.trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
            }
        }
    }

    /// Reads the rest.
    pub async fn rest(mut self) -> Reply {
        let (mut body, mut pieces) = (Vec::new(), Vec::new());
        while let Some(piece) = self.piece().await {
            pieces.push(piece.len());
            body.extend_from_slice(&piece);
        }
        let end = if self.broken { End::Reset } else { End::Whole };
        let (head, trailers) = (self.head, self.trailers);
        Reply {
            interim: Vec::new(),
            head,
            body,
            pieces,
            trailers,
            end,
        }
    }
}
