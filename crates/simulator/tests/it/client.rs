//! A running simulator, and a client that sees every byte and how a connection ended.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use isango_simulator::{Options, Simulator, Stats};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A simulator on a free port; stops with the test.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) tasks: JoinSet<()>,
}

/// Streams as fast as they go.
pub(crate) fn quick() -> Options {
    Options {
        pace: 0.0,
        ttft: Duration::ZERO,
        ..Options::default()
    }
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap()
            .with(options);
        let (addr, stats) = (simulator.local_addr().unwrap(), simulator.stats());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(simulator.serve(async {
            stopped.await.ok();
        }));
        Self {
            addr,
            stats,
            stop: Some(stop),
            tasks,
        }
    }

    pub(crate) async fn quick() -> Self {
        Self::start(quick()).await
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(&request.bytes(true)).await.unwrap();
        read(&mut stream).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send(Request::new("GET", target)).await
    }

    /// Posts to OpenAI's surface with a key.
    pub(crate) async fn post(&self, target: &str, body: &Value) -> Reply {
        self.send(Request::post(target, body).header("authorization", "Bearer k"))
            .await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Waits until the counters say so.
    pub(crate) async fn until(&self, condition: impl Fn(&Stats) -> bool) {
        let reached = async {
            while !condition(&self.stats) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap();
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            head: format!("{method} {target} HTTP/1.1\r\nhost: sim\r\n"),
            body: Vec::new(),
        }
    }

    pub(crate) fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).body(body.to_string().into_bytes())
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn bytes(&self, last: bool) -> Vec<u8> {
        let close = if last { "connection: close\r\n" } else { "" };
        let head = format!(
            "{}{close}content-length: {}\r\n\r\n",
            self.head,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The body without its chunked framing.
    pub(crate) body: Vec<u8>,
    /// The sizes of its chunks.
    pub(crate) chunks: Vec<usize>,
    /// Whether the framing says that the body is whole.
    pub(crate) whole: bool,
    pub(crate) end: End,
}

/// Reads an answer until the connection ends.
pub(crate) async fn read(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes).await {
        Ok(_) => End::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("{error}"),
    };
    let Some(at) = find(&bytes, b"\r\n\r\n") else {
        assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        let nothing = (String::new(), Vec::new(), Vec::new());
        let (head, body, chunks) = nothing;
        return Reply {
            status: 0,
            head,
            body,
            chunks,
            whole: false,
            end,
        };
    };
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    let rest = &bytes[at + 4..];
    let length = header(&head, "content-length").map(|length| length.parse::<usize>().unwrap());
    let (body, chunks, whole) = match length {
        Some(length) => (rest.to_vec(), vec![rest.len()], rest.len() == length),
        None => dechunk(rest),
    };
    Reply {
        status,
        head,
        body,
        chunks,
        whole,
        end,
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("{name}: ");
    head.lines()
        .find_map(|line| line.strip_prefix(prefix.as_str()))
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, Vec<usize>, bool) {
    let (mut body, mut chunks) = (Vec::new(), Vec::new());
    while let Some(at) = find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        rest = &rest[at + 2..];
        if size == 0 {
            return (body, chunks, rest == b"\r\n");
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        chunks.push(size);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    (body, chunks, false)
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of a successful answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.status, self.whole), (200, true), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body of a refusal with `status` as JSON.
    #[track_caller]
    pub(crate) fn refusal(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The events of a whole stream: names and data.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!((self.status, self.whole), (200, true), "{}", self.text());
        events(self.text())
    }

    pub(crate) fn gunzip(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..])
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }
}

/// Events spelled with LF; `[DONE]` becomes a JSON string.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split_terminator("\n\n");
    let event = |block: &str| {
        let (mut name, mut data) = (String::new(), Value::Null);
        for line in block.lines() {
            match line.split_once(": ").unwrap() {
                ("event", value) => name = value.to_owned(),
                ("data", "[DONE]") => data = "[DONE]".into(),
                ("data", value) => data = serde_json::from_str(value).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        (name, data)
    };
    blocks.map(event).collect()
}
