//! Load on raw sockets: closed loop, open loop, streams.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::upstream::{Upstream, fill, find, header};

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port.
    pub(crate) addr: SocketAddr,
    /// Path of the chat completions.
    pub(crate) path: String,
}

/// A request of 1 KiB as an official client sends it, with its tenant; `wish` is for the upstream.
/// A `usual` one has 256 bytes.
pub(crate) fn request(target: &Target, wish: &str) -> Vec<u8> {
    let stream = !matches!(wish, "json" | "usual");
    let begin = format!(
        r#"{{"model":"gpt-4o-mini","stream":{stream},"temperature":0.2,"messages":[{{"role":"system","content":"You answer briefly."}},{{"role":"user","content":""#
    );
    let end = r#""}]}"#;
    let bytes = if wish == "usual" { 256 } else { 1_024 };
    let room = bytes - begin.len() - end.len();
    let content: String = "Which way does the gate open? "
        .chars()
        .cycle()
        .take(room)
        .collect();
    let body = format!("{begin}{content}{end}");
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer sk-bench-0123456789abcdef\r\n\
         content-type: application/json\r\naccept: application/json\r\nuser-agent: OpenAI/Python\r\n\
         cf-aig-metadata: {{\"tenantId\":\"acme\",\"userId\":\"u1\"}}\r\nx-bench: {wish}\r\n\
         content-length: {}\r\n\r\n",
        target.path,
        target.addr,
        body.len()
    );
    [head, body].concat().into_bytes()
}

/// The least that asks for a chat completion: what `curl` sends with one question and no header that
/// nothing depends on.
pub(crate) fn small_request(target: &Target) -> Vec<u8> {
    let body = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Which way does the gate open?"}]}"#;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer sk-bench-0123456789abcdef\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        target.path,
        target.addr,
        body.len()
    );
    [head.as_str(), body].concat().into_bytes()
}

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(64 << 10),
        })
    }

    /// Sends a request and reads its whole answer.
    ///
    /// # Errors
    /// The connection breaks, or the status is not 200.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request)?;
        let (head, chunked) = self.head()?;
        let mut end = head;
        match chunked {
            None => loop {
                if let Some(at) = find(&self.buffer[head..], b"0\r\n\r\n") {
                    end += at + 5;
                    break;
                }
                self.fill()?;
            },
            Some(length) => {
                end += length;
                while self.buffer.len() < end {
                    self.fill()?;
                }
            }
        }
        self.buffer.drain(..end);
        Ok(())
    }

    /// Sends a request for a stream of `events` and reads it to its end; before each event comes,
    /// `step` is called. Returns when the first event had come.
    ///
    /// # Errors
    /// The connection breaks, the status is not 200, or the stream ends early.
    pub(crate) fn stream(
        &mut self,
        request: &[u8],
        events: u64,
        mut step: impl FnMut() -> Result<()>,
    ) -> Result<Instant> {
        self.stream.write_all(request)?;
        step()?;
        let (head, _) = self.head()?;
        self.buffer.drain(..head);
        let (mut seen, mut first) = (0, None);
        loop {
            // An event ends with a blank line; the framing of chunks has none of this kind. The
            // mark at the end is one more.
            while let Some(at) = find(&self.buffer, b"\n\n") {
                self.buffer.drain(..at + 2);
                first.get_or_insert_with(Instant::now);
                seen += 1;
                if seen < events {
                    step()?;
                }
            }
            if seen > events && find(&self.buffer, b"0\r\n\r\n").is_some() {
                break;
            }
            self.fill()?;
        }
        self.buffer.clear();
        first.context("a stream without events")
    }

    /// Reads the head of an answer: where it ends, and its length, `None` for chunks.
    fn head(&mut self) -> Result<(usize, Option<usize>)> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let text = std::str::from_utf8(&self.buffer[..end])?;
        if !text.starts_with("HTTP/1.1 200 ") {
            bail!(
                "unexpected answer:\n{}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
        let length = header(text, "content-length").map(str::parse).transpose()?;
        Ok((end, length))
    }

    fn fill(&mut self) -> Result<()> {
        if !fill(&mut self.stream, &mut self.buffer)? {
            bail!("an answer was cut");
        }
        Ok(())
    }
}

/// Requests back to back on each of `connections`, for `time`. Returns how many there were.
///
/// # Errors
/// A request fails.
pub(crate) fn closed_loop(target: &Target, connections: usize, time: Duration) -> Result<u64> {
    let until = Instant::now() + time;
    let counts = on_each(connections, |_| {
        let mut connection = Connection::open(target.addr)?;
        let request = request(target, "json");
        let mut count = 0;
        while Instant::now() < until {
            connection.exchange(&request)?;
            count += 1;
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum())
}

/// `rate` requests per second over `connections`, whether earlier ones were answered or not.
/// Returns each latency in nanoseconds, counted from when the request was due.
///
/// # Errors
/// A request fails.
pub(crate) fn open_loop(
    target: &Target,
    connections: usize,
    rate: f64,
    time: Duration,
) -> Result<Vec<u64>> {
    let begin = Instant::now() + Duration::from_millis(20);
    let latencies = on_each(connections, |index| {
        let mut connection = Connection::open(target.addr)?;
        let request = request(target, "json");
        let mut latencies = Vec::new();
        for turn in 0_u32.. {
            let place = f64::from(turn) * as_f64(connections) + as_f64(index);
            let due = begin + Duration::from_secs_f64(place / rate);
            if due >= begin + time {
                break;
            }
            // A late timer is ours; a request that is late because the one before it took too
            // long is the server's, and counts from when it was due.
            let wait = due.saturating_duration_since(Instant::now());
            let from = match wait.is_zero() {
                true => due,
                false => {
                    std::thread::sleep(wait);
                    Instant::now()
                }
            };
            connection.exchange(&request)?;
            latencies.push(nanos(from.elapsed()));
        }
        Ok(latencies)
    })?;
    Ok(latencies.concat())
}

/// Requests one after the other on one connection, for `time`. Returns each latency in
/// nanoseconds.
///
/// # Errors
/// A request fails.
pub(crate) fn alone(target: &Target, time: Duration) -> Result<Vec<u64>> {
    let mut connection = Connection::open(target.addr)?;
    let request = request(target, "json");
    let until = Instant::now() + time;
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let from = Instant::now();
        connection.exchange(&request)?;
        latencies.push(nanos(from.elapsed()));
    }
    Ok(latencies)
}

/// Short streams one after the other, for `time`. Returns the time to each first event in
/// nanoseconds.
///
/// # Errors
/// A stream fails.
pub(crate) fn first_events(target: &Target, time: Duration) -> Result<Vec<u64>> {
    let mut connection = Connection::open(target.addr)?;
    let request = request(target, "flood 4");
    let until = Instant::now() + time;
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let from = Instant::now();
        let first = connection.stream(&request, 4, || Ok(()))?;
        latencies.push(nanos(first.duration_since(from)));
    }
    Ok(latencies)
}

/// Streams of `events`, each event asked for when the one before it has come, on each of
/// `connections`, for `time`. Returns how many events there were.
///
/// # Errors
/// A stream fails.
pub(crate) fn stepped(
    target: &Target,
    upstream: &Upstream,
    (connections, events): (usize, u64),
    time: Duration,
) -> Result<u64> {
    let until = Instant::now() + time;
    let counts = on_each(connections, |lane| {
        let mut connection = Connection::open(target.addr)?;
        let request = request(target, &format!("stepped {events} {lane}"));
        let mut count = 0;
        while Instant::now() < until {
            connection.stream(&request, events, || upstream.step(lane))?;
            count += events;
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum())
}

/// Streams of `events` that the provider writes at once, on each of `connections`, for `time`.
/// Returns how many events there were.
///
/// # Errors
/// A stream fails.
pub(crate) fn flood(
    target: &Target,
    (connections, events): (usize, u64),
    time: Duration,
) -> Result<u64> {
    let until = Instant::now() + time;
    let counts = on_each(connections, |_| {
        let mut connection = Connection::open(target.addr)?;
        let request = request(target, &format!("flood {events}"));
        let mut count = 0;
        while Instant::now() < until {
            connection.exchange(&request)?;
            count += events;
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum())
}

/// Runs `work` on so many threads, each with its number, and waits for all.
fn on_each<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_panic) => bail!("a load thread panicked"),
        });
        joined.collect()
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
