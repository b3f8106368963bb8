//! A scripted provider on a real socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use xxhash_rust::xxh3::Xxh3;

use crate::answer::{Answer, Step};
use crate::head::Head;
use crate::socket::{Piece, Socket, Stream};
use crate::tls::Tls;
use crate::{Task, h2, spawn, within};

/// How much of each request's body is kept, in bytes; all of it is counted and hashed.
pub const KEPT_BODY_BYTES: usize = 8 << 20;

/// A request that the upstream was sent, whole or so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// Its head.
    pub head: Head,
    /// The first [`KEPT_BODY_BYTES`] of its body.
    pub body: Vec<u8>,
    /// Length of what arrived of its body, in bytes.
    pub body_bytes: u64,
    /// [`fixtures::digest`](crate::fixtures::digest) of the whole body; 0 until it is complete.
    pub digest: u64,
    /// Trailers of its body.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether its body arrived to its end.
    pub complete: bool,
    /// In HTTP/2: when and how the stream of the answer ended, if the client gave it up.
    pub given_up: Option<Instant>,
}

/// A connection that the upstream accepted.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Bytes that its socket took from the upstream, before encryption.
    pub sent_bytes: u64,
    /// How and when it ended.
    pub closed: Option<Closed>,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who ended it.
    pub by: ClosedBy,
    /// When the upstream saw it.
    pub at: Instant,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The peer, orderly (FIN).
    PeerFin,
    /// The peer, or the way to it, by an error (RST).
    PeerReset,
    /// The script.
    Script,
}

/// Everything the upstream has seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Received>,
    pub(crate) connections: Vec<Connection>,
}

/// What the answer to a request is chosen by.
enum Script {
    /// In turn; the last repeats.
    InTurn(Vec<Answer>),
    /// By the request, once its body was read.
    By(Box<dyn Fn(&Received) -> Answer + Send + Sync>),
}

/// State that all connections share.
pub(crate) struct Shared {
    script: Script,
    pub(crate) log: watch::Sender<Log>,
    pub(crate) permits: Semaphore,
}

/// A scripted provider. Dropping it closes the listener and every connection.
pub struct Upstream {
    addr: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _accepting: Task,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// How an upstream speaks to its clients.
#[derive(Clone)]
enum Speaks {
    Plain,
    PlainH2,
    Tls(TlsAcceptor),
}

impl Upstream {
    /// Answers requests in turn, whichever connection they come by; the last answer repeats.
    pub async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::listen(in_turn(script), Speaks::Plain).await
    }

    /// Answers each request by what it is, once its body was read.
    pub async fn start_by<F>(answer: F) -> Self
    where
        F: Fn(&Received) -> Answer + Send + Sync + 'static,
    {
        Self::listen(Script::By(Box::new(answer)), Speaks::Plain).await
    }

    /// Like [`start`](Self::start), over TLS. Speaks the first protocol of `alpn` that the client
    /// offers (`h2`, `http/1.1`); with none in common, HTTP/1.1.
    pub async fn start_tls(
        script: impl IntoIterator<Item = Answer>,
        tls: &Tls,
        alpn: &[&str],
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(tls.server_config(alpn)));
        Self::listen(in_turn(script), Speaks::Tls(acceptor)).await
    }

    /// Like [`start`](Self::start), in HTTP/2 without TLS (prior knowledge).
    pub async fn start_h2(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::listen(in_turn(script), Speaks::PlainH2).await
    }

    async fn listen(script: Script, speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let addr = listener.local_addr().expect("a listener has an address");
        let scheme = if matches!(speaks, Speaks::Tls(_)) {
            "https"
        } else {
            "http"
        };
        let log = watch::Sender::new(Log::default());
        let shared = Arc::new(Shared {
            script,
            log,
            permits: Semaphore::new(0),
        });
        let accepting = spawn(accept(listener, speaks, Arc::clone(&shared)));
        Self {
            addr,
            scheme,
            shared,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a URL without a slash at the end (`http://127.0.0.1:40000`).
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Lets one [`Step::Wait`] pass, now or when it comes.
    pub fn go(&self) {
        self.shared.permits.add_permits(1);
    }

    /// Every request so far, in the order of their heads.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.borrow().requests.clone()
    }

    /// How many requests there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.log.borrow().requests.len()
    }

    /// Every connection so far, in order.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.log.borrow().connections.clone()
    }

    /// Bytes that the upstream has sent, over all connections.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.shared
            .log
            .borrow()
            .connections
            .iter()
            .map(|connection| connection.sent_bytes)
            .sum()
    }

    /// Waits for the `index`-th request (from 0) to have been read whole.
    pub async fn request(&self, index: usize) -> Received {
        self.when("a whole request", |log| {
            log.requests
                .get(index)
                .filter(|request| request.complete)
                .cloned()
        })
        .await
    }

    /// Waits for the head of the `index`-th request (from 0).
    pub async fn head(&self, index: usize) -> Received {
        self.when("the head of a request", |log| {
            log.requests.get(index).cloned()
        })
        .await
    }

    /// Waits until so many bytes of the `index`-th request's body have arrived.
    pub async fn body_bytes(&self, index: usize, at_least: u64) -> Received {
        self.when("a part of a body", |log| {
            log.requests
                .get(index)
                .filter(|request| request.body_bytes >= at_least)
                .cloned()
        })
        .await
    }

    /// Waits for the end of the `index`-th connection (from 0).
    pub async fn closed(&self, index: usize) -> Closed {
        self.when("the end of a connection", |log| {
            log.connections
                .get(index)
                .and_then(|connection| connection.closed)
        })
        .await
    }

    /// Waits until the client gave up the answer to the `index`-th request: its stream in HTTP/2,
    /// its connection in HTTP/1. Returns when that was.
    pub async fn given_up(&self, index: usize) -> Instant {
        self.when("a client to give up", |log| {
            let request = log.requests.get(index)?;
            let closed = log.connections.get(request.connection)?.closed;
            let left = closed.filter(|closed| closed.by != ClosedBy::Script);
            request.given_up.or(left.map(|closed| closed.at))
        })
        .await
    }

    async fn when<T>(&self, what: &str, found: impl Fn(&Log) -> Option<T>) -> T {
        let mut log = self.shared.log.subscribe();
        let seen = within(what, log.wait_for(|log| found(log).is_some())).await;
        found(&seen.expect("the log lives as long as the upstream")).expect("it was just found")
    }
}

fn in_turn(script: impl IntoIterator<Item = Answer>) -> Script {
    let answers: Vec<Answer> = script.into_iter().collect();
    assert!(!answers.is_empty(), "a script has at least one answer");
    Script::InTurn(answers)
}

async fn accept(listener: TcpListener, speaks: Speaks, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            return;
        };
        let (speaks, shared) = (speaks.clone(), Arc::clone(&shared));
        connections.spawn(connection(tcp, speaks, shared));
    }
}

async fn connection(tcp: TcpStream, speaks: Speaks, shared: Arc<Shared>) {
    let mut index = 0;
    shared.log.send_modify(|log| {
        index = log.connections.len();
        log.connections.push(Connection {
            sent_bytes: 0,
            closed: None,
        });
    });
    let by = match speaks {
        Speaks::Plain => {
            Playing::new(Stream::Plain(tcp), index, &shared)
                .serve()
                .await
        }
        Speaks::PlainH2 => h2::serve(Stream::Plain(tcp), index, &shared).await,
        Speaks::Tls(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => {
                let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = Stream::Tls(Box::new(tls.into()));
                match is_h2 {
                    true => h2::serve(stream, index, &shared).await,
                    false => Playing::new(stream, index, &shared).serve().await,
                }
            }
            Err(_) => ClosedBy::PeerReset,
        },
    };
    let closed = Closed {
        by,
        at: Instant::now(),
    };
    shared
        .log
        .send_modify(|log| log.connections[index].closed = Some(closed));
}

impl Shared {
    /// Notes the head of a request and returns the request's index.
    pub(crate) fn began(&self, connection: usize, head: Head) -> usize {
        let mut index = 0;
        self.log.send_modify(|log| {
            index = log.requests.len();
            log.requests.push(Received {
                connection,
                head,
                ..Received::default()
            });
        });
        index
    }

    /// Notes that the client gave up the answer to a request.
    pub(crate) fn given_up(&self, request: usize) {
        self.log.send_modify(|log| {
            log.requests[request]
                .given_up
                .get_or_insert_with(Instant::now);
        });
    }

    /// Notes bytes that a connection's socket took.
    pub(crate) fn sent(&self, connection: usize, bytes: usize) {
        self.log
            .send_modify(|log| log.connections[connection].sent_bytes += bytes as u64);
    }

    /// The scripted answer, if it does not depend on the request's body.
    pub(crate) fn answer_at_once(&self, request: usize) -> Option<Answer> {
        match &self.script {
            Script::InTurn(answers) => answers.get(request).or(answers.last()).cloned(),
            Script::By(_) => None,
        }
    }

    /// The answer to a request that was read whole.
    pub(crate) fn answer(&self, request: usize) -> Answer {
        match &self.script {
            Script::InTurn(answers) => answers
                .get(request)
                .or(answers.last())
                .cloned()
                .expect("a script has an answer"),
            Script::By(answer) => answer(&self.log.borrow().requests[request].clone()),
        }
    }

    /// Takes the permit of one [`Upstream::go`].
    pub(crate) async fn permit(&self) {
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }
}

/// Takes note of a request's body as it arrives.
pub(crate) struct BodyLog<'u> {
    shared: &'u Shared,
    request: usize,
    hasher: Xxh3,
}

impl<'u> BodyLog<'u> {
    pub(crate) fn new(shared: &'u Shared, request: usize) -> Self {
        Self {
            shared,
            request,
            hasher: Xxh3::new(),
        }
    }

    /// Notes bytes of the body.
    pub(crate) fn data(&mut self, data: &Bytes) {
        self.hasher.update(data);
        self.shared.log.send_modify(|log| {
            let received = &mut log.requests[self.request];
            received.body_bytes += data.len() as u64;
            let room = KEPT_BODY_BYTES
                .saturating_sub(received.body.len())
                .min(data.len());
            received.body.extend_from_slice(&data[..room]);
        });
    }

    /// Notes that the body broke off.
    pub(crate) fn broken(&self) {
        self.shared.given_up(self.request);
    }

    /// Notes the end of the body.
    pub(crate) fn end(&mut self, trailers: Vec<(String, Vec<u8>)>) {
        let digest = self.hasher.digest();
        self.shared.log.send_modify(|log| {
            let received = &mut log.requests[self.request];
            (received.complete, received.digest, received.trailers) = (true, digest, trailers);
        });
    }
}

/// How a connection ended early: by an error of the socket, or by the script.
struct Ended(ClosedBy);

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        let orderly = error.kind() == io::ErrorKind::UnexpectedEof;
        Self(if orderly {
            ClosedBy::PeerFin
        } else {
            ClosedBy::PeerReset
        })
    }
}

/// One HTTP/1 connection under the script's control.
struct Playing<'u> {
    socket: Socket,
    connection: usize,
    shared: &'u Shared,
}

/// The body of the request that is being answered.
struct Asked<'u> {
    framing: crate::head::Framing,
    log: BodyLog<'u>,
    complete: bool,
}

impl<'u> Playing<'u> {
    fn new(stream: Stream, connection: usize, shared: &'u Shared) -> Self {
        Self {
            socket: Socket::new(stream),
            connection,
            shared,
        }
    }

    async fn serve(mut self) -> ClosedBy {
        loop {
            match self.exchange().await {
                Ok(()) => {}
                Err(Ended(by)) => return by,
            }
        }
    }

    async fn exchange(&mut self) -> Result<(), Ended> {
        let head = self.socket.head().await?.ok_or(Ended(ClosedBy::PeerFin))?;
        let framing = head.framing(None);
        let head_only = head.method == "HEAD";
        let request = self.shared.began(self.connection, head);
        let log = BodyLog::new(self.shared, request);
        let mut asked = Asked {
            framing,
            log,
            complete: false,
        };
        let early = self
            .shared
            .answer_at_once(request)
            .filter(|answer| answer.early);
        let answer = match early {
            Some(answer) => answer,
            None => {
                self.read_body(&mut asked, u64::MAX).await?;
                self.shared.answer(request)
            }
        };
        for step in answer.render(head_only) {
            self.take(step, &mut asked).await?;
        }
        self.read_body(&mut asked, u64::MAX).await
    }

    async fn read_body(&mut self, asked: &mut Asked<'_>, at_least: u64) -> Result<(), Ended> {
        let mut read = 0;
        while !asked.complete && read < at_least {
            match self.socket.piece(&mut asked.framing).await? {
                Piece::Data(data) => {
                    read += data.len() as u64;
                    asked.log.data(&data);
                }
                Piece::End(trailers) => {
                    asked.complete = true;
                    asked.log.end(trailers);
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, step: Step, asked: &mut Asked<'_>) -> Result<(), Ended> {
        match step {
            Step::Raw(bytes) | Step::Data(bytes) => self.send(&bytes).await,
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    self.send(&bytes).await?;
                }
                Ok(())
            }
            Step::Wait => {
                let shared = self.shared;
                self.unless_closed(shared.permit()).await
            }
            Step::Pause(time) => self.unless_closed(tokio::time::sleep(time)).await,
            Step::Stall => self.unless_closed(std::future::pending()).await,
            Step::ReadBody => self.read_body(asked, u64::MAX).await,
            Step::ReadSome(bytes) => self.read_body(asked, bytes).await,
            Step::Trailers(_) => Ok(()),
            Step::Close => self.close().await,
            Step::Leave => {
                use tokio::io::AsyncWriteExt as _;
                self.socket.stream.shutdown().await?;
                Err(Ended(ClosedBy::Script))
            }
            Step::Drop => Err(Ended(ClosedBy::Script)),
            Step::Reset => {
                self.socket
                    .stream
                    .tcp()
                    .set_zero_linger()
                    .expect("a socket takes SO_LINGER");
                Err(Ended(ClosedBy::Script))
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        for slice in bytes.chunks(64 << 10) {
            self.socket.write(slice).await?;
            self.shared.sent(self.connection, slice.len());
        }
        Ok(())
    }

    /// Waits for `event` with an eye on the peer: its end ends the connection.
    async fn unless_closed(&mut self, event: impl Future<Output = ()>) -> Result<(), Ended> {
        tokio::pin!(event);
        loop {
            tokio::select! {
                biased;
                read = self.socket.fill() => if read? == 0 {
                    return Err(Ended(ClosedBy::PeerFin));
                },
                () = &mut event => return Ok(()),
            }
        }
    }

    /// Sends FIN and reads what the peer still sends, so that no RST overtakes the answer.
    async fn close(&mut self) -> Result<(), Ended> {
        use tokio::io::AsyncWriteExt as _;
        self.socket.stream.shutdown().await?;
        let drained = async { while self.socket.fill().await.is_ok_and(|read| read > 0) {} };
        let _elapsed = tokio::time::timeout(Duration::from_secs(5), drained).await;
        Err(Ended(ClosedBy::Script))
    }
}
