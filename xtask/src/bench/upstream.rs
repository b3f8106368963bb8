//! A provider that costs next to nothing: a thread for each connection, answers made beforehand.
//!
//! A request says by its header `x-bench` what it wants: `json`, of 1 KiB; `usual`, of 640 bytes; none,
//! the least that a chat completion can be; `flood N`, a stream of N events
//! written at once; or `stepped N LANE`, a stream whose next event leaves only when the client
//! has asked for it on that lane, so that each event crosses the gateway on its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};

/// How many streams can be stepped at the same time.
pub(crate) const LANES: usize = 64;

/// A running provider; it ends with the program.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    lanes: Vec<SyncSender<()>>,
}

/// Answers and lanes that all connections share.
struct Shared {
    json: Vec<u8>,
    usual: Vec<u8>,
    small: Vec<u8>,
    event: Vec<u8>,
    steps: Vec<Mutex<Receiver<()>>>,
}

impl Upstream {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let (lanes, steps): (Vec<_>, Vec<_>) = (0..LANES)
            .map(|_| sync_channel(1))
            .map(|(sender, receiver)| (sender, Mutex::new(receiver)))
            .unzip();
        let shared = Arc::new(Shared {
            json: json_answer(1_024),
            usual: json_answer(640),
            small: small_answer(),
            event: chunk(&event()),
            steps,
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is the client's to report.
                std::thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Ok(Self { addr, lanes })
    }

    /// Lets the next event of the stream on `lane` leave.
    ///
    /// # Errors
    /// There is no such lane.
    pub(crate) fn step(&self, lane: usize) -> Result<()> {
        self.lanes
            .get(lane)
            .context("no such lane")?
            .send(())
            .context("the provider is gone")
    }
}

/// A chat completion of `bytes`, head not counted.
fn json_answer(bytes: usize) -> Vec<u8> {
    let begin = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1795363200,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let end = r#"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":98,"total_tokens":310,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"system_fingerprint":"fp_bench"}"#;
    let room = bytes - begin.len() - end.len();
    let content: String = "The gate opens both ways. "
        .chars()
        .cycle()
        .take(room)
        .collect();
    let body = format!("{begin}{content}{end}");
    whole(
        &body,
        "x-request-id: req_bench\r\nopenai-processing-ms: 3\r\n",
    )
}

/// A chat completion of one word, with nothing that may be left out.
fn small_answer() -> Vec<u8> {
    let body = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1795363200,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"Inwards."},"finish_reason":"stop"}],"usage":{"prompt_tokens":13,"completion_tokens":4,"total_tokens":17}}"#;
    whole(body, "")
}

/// A whole answer of JSON, with these headers beside those that it needs.
fn whole(body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    [head.as_str(), body].concat().into_bytes()
}

/// One event of a chat stream, as OpenAI sends it.
fn event() -> Vec<u8> {
    let data = r#"{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795363200,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":{"content":" gate"},"logprobs":null,"finish_reason":null}]}"#;
    format!("data: {data}\n\n").into_bytes()
}

/// The end of a stream; the usage, where the request asked for it, and the mark.
fn stream_end(with_usage: bool) -> Vec<u8> {
    let usage = r#"data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795363200,"model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":212,"completion_tokens":98,"total_tokens":310}}"#;
    let mut end = if with_usage {
        chunk(format!("{usage}\n\n").as_bytes())
    } else {
        Vec::new()
    };
    end.extend(chunk(b"data: [DONE]\n\n"));
    end.extend_from_slice(b"0\r\n\r\n");
    end
}

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(64 << 10);
    while let Some(request) = read_request(&mut stream, &mut buffer)? {
        let words: Vec<&str> = request.wants.split(' ').collect();
        match words[..] {
            ["json"] => stream.write_all(&shared.json)?,
            ["usual"] => stream.write_all(&shared.usual)?,
            [""] => stream.write_all(&shared.small)?,
            ["flood", events] => {
                let mut all = STREAM_HEAD.to_vec();
                for _ in 0..events.parse()? {
                    all.extend_from_slice(&shared.event);
                }
                all.extend(stream_end(request.asks_usage));
                stream.write_all(&all)?;
            }
            ["stepped", events, lane] => {
                let lane: usize = lane.parse()?;
                stepped(&mut stream, shared, events.parse()?, lane)?;
                stream.write_all(&stream_end(request.asks_usage))?;
            }
            _ => bail!("x-bench: {:?} is no wish", request.wants),
        }
    }
    Ok(())
}

fn stepped(stream: &mut TcpStream, shared: &Shared, events: u64, lane: usize) -> Result<()> {
    let steps = shared.steps.get(lane).context("no such lane")?;
    let steps = steps.lock().ok().context("a lane broke")?;
    stream.write_all(STREAM_HEAD)?;
    for _ in 0..events {
        steps.recv()?;
        stream.write_all(&shared.event)?;
    }
    Ok(())
}

/// What matters of a request.
struct Request {
    wants: String,
    asks_usage: bool,
}

/// Reads a request; `None` where the peer has closed.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Request>> {
    let head = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if !fill(stream, buffer)? {
            return Ok(None);
        }
    };
    let text = std::str::from_utf8(&buffer[..head])?;
    let wants = header(text, "x-bench").unwrap_or_default().to_owned();
    let length: Option<usize> = header(text, "content-length").map(str::parse).transpose()?;
    let end = loop {
        let end = match length {
            Some(length) => Some(head + length),
            None => find(&buffer[head..], b"0\r\n\r\n").map(|at| head + at + 5),
        };
        if let Some(end) = end.filter(|end| *end <= buffer.len()) {
            break end;
        }
        if !fill(stream, buffer)? {
            bail!("a request was cut");
        }
    };
    let asks_usage = find(&buffer[head..end], b"include_usage").is_some();
    buffer.drain(..end);
    Ok(Some(Request { wants, asks_usage }))
}

/// Reads once; whether anything came.
pub(crate) fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut block = [0; 16 << 10];
    let read = stream.read(&mut block)?;
    buffer.extend_from_slice(&block[..read]);
    Ok(read > 0)
}

/// The value of a header, by its name in any case.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut named = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim())
}

/// Where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
