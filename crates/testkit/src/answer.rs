//! What a scripted provider answers: a head, and steps that send, wait, cut or stall.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// One step of an answer. A body's bytes are framed as the answer says; [`Step::Raw`] is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes of the body in one write: one chunk, or one DATA frame.
    Data(Bytes),
    /// Sends the same bytes of the body so many times; no memory is needed for the whole.
    Repeat(Bytes, u64),
    /// Sends bytes as they are, in one write. HTTP/1 only.
    Raw(Bytes),
    /// Waits until the test calls [`Upstream::go`](crate::Upstream::go).
    Wait,
    /// Waits this long.
    Pause(Duration),
    /// Reads the request's body to its end; for an answer that is [`early`](Answer::early).
    ReadBody,
    /// Reads at least so many more bytes of the request's body, or to its end.
    ReadSome(u64),
    /// Ends the body with trailers.
    Trailers(Vec<(String, String)>),
    /// Closes the connection, orderly (FIN), whatever was announced; reads what the peer still
    /// sends.
    Close,
    /// Closes the connection, orderly (over TLS with its alert), and is gone at once: what the peer
    /// sends from then on is answered with RST.
    Leave,
    /// Closes the socket at once, over TLS without its alert.
    Drop,
    /// Breaks the connection (RST); in HTTP/2 the stream (`RST_STREAM`).
    Reset,
    /// Sends nothing more, until the peer closes.
    Stall,
}

/// How the end of an answer's body is told. HTTP/2 knows no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By `content-length`, which this answer announces truly.
    Length,
    /// By `content-length` of so many bytes, true or not.
    Announced(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// The steps are all there is; no head is added.
    Bare,
}

/// A scripted answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) status: u16,
    reason: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    interim: Vec<(u16, Vec<(String, String)>)>,
    framing: Framing,
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    pub(crate) early: bool,
}

impl Answer {
    /// An answer without a body (`content-length: 0`).
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: None,
            headers: Vec::new(),
            interim: Vec::new(),
            framing: Framing::Length,
            before: Vec::new(),
            steps: Vec::new(),
            early: false,
        }
    }

    /// These steps and nothing else: no head, no framing. HTTP/1 only.
    #[must_use]
    pub fn raw(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps = steps.into_iter().collect();
        Self {
            framing: Framing::Bare,
            steps,
            ..Self::new(200)
        }
    }

    /// Another reason phrase than the usual; may be empty.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Adds a header; the name is sent as it is spelled.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends an interim answer (1xx) first. HTTP/1 only.
    #[must_use]
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        self.interim.push((status, owned(headers)));
        self
    }

    /// A body with its length, in one piece.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.parts([body.into()])
    }

    /// A body with its length, one write for each part.
    #[must_use]
    pub fn parts<B: Into<Bytes>>(mut self, parts: impl IntoIterator<Item = B>) -> Self {
        self.framing = Framing::Length;
        self.steps = data(parts);
        self
    }

    /// A body in chunks, one for each part.
    #[must_use]
    pub fn chunked<B: Into<Bytes>>(mut self, parts: impl IntoIterator<Item = B>) -> Self {
        self.framing = Framing::Chunked;
        self.steps = data(parts);
        self
    }

    /// A body that ends with the connection, one write for each part.
    #[must_use]
    pub fn until_close<B: Into<Bytes>>(mut self, parts: impl IntoIterator<Item = B>) -> Self {
        self.framing = Framing::UntilClose;
        self.steps = data(parts);
        self
    }

    /// Announces a length, true or not, instead of the real one.
    #[must_use]
    pub fn announcing(mut self, length: u64) -> Self {
        self.framing = Framing::Announced(length);
        self
    }

    /// Ends a chunked body with trailers, which it also announces.
    #[must_use]
    pub fn trailers(mut self, trailers: &[(&str, &str)]) -> Self {
        let names: Vec<&str> = trailers.iter().map(|(name, _)| *name).collect();
        self.framing = Framing::Chunked;
        self.steps.push(Step::Trailers(owned(trailers)));
        self.header("trailer", &names.join(", "))
    }

    /// Encodes the body so far as gzip, each part flushed on its own, and says so in a header.
    #[must_use]
    pub fn gzipped(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut sent = 0;
        let last = self
            .steps
            .iter()
            .rposition(|step| matches!(step, Step::Data(_)));
        for (index, step) in self.steps.iter_mut().enumerate() {
            let Step::Data(bytes) = step else { continue };
            encoder.write_all(bytes).expect("memory takes every byte");
            encoder.flush().expect("memory takes every byte");
            if Some(index) == last {
                encoder.try_finish().expect("memory takes every byte");
            }
            *bytes = Bytes::copy_from_slice(&encoder.get_ref()[sent..]);
            sent = encoder.get_ref().len();
        }
        self.header("content-encoding", "gzip")
    }

    /// Waits for [`Upstream::go`](crate::Upstream::go) before each part of the body. The head
    /// leaves without waiting.
    #[must_use]
    pub fn stepwise(mut self) -> Self {
        let steps = std::mem::take(&mut self.steps);
        for step in steps {
            if matches!(step, Step::Data(_) | Step::Trailers(_)) {
                self.steps.push(Step::Wait);
            }
            self.steps.push(step);
        }
        self
    }

    /// Takes a step before the head is sent.
    #[must_use]
    pub fn first(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    /// Takes a step after those so far.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Keeps everything up to the `parts`-th part of the body, then takes `end` ([`Step::Close`],
    /// [`Step::Reset`], [`Step::Stall`], or [`Step::Wait`] and [`then`](Self::then) one of them)
    /// instead of what was to follow. What the head announces stays announced.
    #[must_use]
    pub fn cut_after(mut self, parts: usize, end: Step) -> Self {
        if self.framing == Framing::Length {
            self.framing = Framing::Announced(self.length());
        }
        let places = self.steps.iter().enumerate();
        let mut parts_at = places.filter(|(_, step)| matches!(step, Step::Data(_)));
        let keep = match parts {
            0 => 0,
            _ => {
                parts_at
                    .nth(parts - 1)
                    .expect("the answer has that many parts")
                    .0
                    + 1
            }
        };
        self.steps.truncate(keep);
        self.then(end)
    }

    /// Does not read the request's body before it answers.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    fn length(&self) -> u64 {
        let lengths = self.steps.iter().filter_map(|step| {
            if let Step::Repeat(bytes, times) = step {
                return Some(bytes.len() as u64 * times);
            }
            if let Step::Data(bytes) = step {
                Some(bytes.len() as u64)
            } else {
                None
            }
        });
        lengths.sum()
    }

    /// The length that the head announces.
    pub(crate) fn announced(&self) -> Option<u64> {
        let bodiless = matches!(self.status, 204 | 304) && self.steps.is_empty();
        match self.framing {
            Framing::Length => (!bodiless).then(|| self.length()),
            Framing::Announced(length) => Some(length),
            Framing::Chunked | Framing::UntilClose | Framing::Bare => None,
        }
    }

    /// This answer for HTTP/1: its steps with head and framing written out, so that none is
    /// [`Step::Data`] or [`Step::Trailers`] any more. `head_only` for an answer to HEAD.
    pub(crate) fn render(&self, head_only: bool) -> Vec<Step> {
        if self.framing == Framing::Bare {
            return [&self.before[..], &self.steps[..]].concat();
        }
        let mut steps = self.before.clone();
        steps.extend(self.interim.iter().map(|(status, headers)| {
            let mut text = format!("HTTP/1.1 {status} {}\r\n", reason_of(*status));
            write_fields(&mut text, headers);
            Step::Raw(text.into())
        }));
        let head = self.head_text();
        match self.steps.first() {
            _ if head_only => steps.push(Step::Raw(head.into())),
            // A head and the body after it usually leave in one write.
            Some(Step::Data(first)) => {
                let whole = [head.as_bytes(), &self.framed(first)].concat();
                steps.push(Step::Raw(whole.into()));
                steps.extend(self.steps[1..].iter().map(|step| self.frame(step)));
            }
            _ => {
                steps.push(Step::Raw(head.into()));
                steps.extend(self.steps.iter().map(|step| self.frame(step)));
            }
        }
        let cut = [
            Step::Close,
            Step::Leave,
            Step::Drop,
            Step::Reset,
            Step::Stall,
        ];
        let ends = self.steps.last().is_some_and(|last| {
            cut.contains(last) || matches!(last, Step::Trailers(_) | Step::Wait)
        });
        if !head_only && !ends {
            match self.framing {
                Framing::Chunked => steps.push(Step::Raw(Bytes::from_static(b"0\r\n\r\n"))),
                Framing::UntilClose => steps.push(Step::Close),
                Framing::Length | Framing::Announced(_) | Framing::Bare => {}
            }
        }
        steps
    }

    fn head_text(&self) -> String {
        let reason = self
            .reason
            .as_deref()
            .unwrap_or_else(|| reason_of(self.status));
        let mut fields = self.headers.clone();
        let named = |name: &str| {
            fields
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        let framed = named("content-length") || named("transfer-encoding");
        if let Some(length) = self.announced().filter(|_| !framed) {
            fields.push(("content-length".to_owned(), length.to_string()));
        }
        if self.framing == Framing::Chunked && !framed {
            fields.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        }
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        write_fields(&mut text, &fields);
        text
    }

    fn framed(&self, bytes: &Bytes) -> Bytes {
        if self.framing != Framing::Chunked || bytes.is_empty() {
            return bytes.clone();
        }
        let size = format!("{:x}\r\n", bytes.len());
        [size.as_bytes(), bytes, b"\r\n"].concat().into()
    }

    fn frame(&self, step: &Step) -> Step {
        if let Step::Trailers(trailers) = step {
            let mut text = "0\r\n".to_owned();
            write_fields(&mut text, trailers);
            return Step::Raw(text.into());
        }
        if let Step::Repeat(bytes, times) = step {
            return Step::Repeat(self.framed(bytes), *times);
        }
        if let Step::Data(bytes) = step {
            Step::Raw(self.framed(bytes))
        } else {
            step.clone()
        }
    }
}

/// A JSON answer of status 200, with its length.
#[must_use]
pub fn json(body: impl Into<Bytes>) -> Answer {
    Answer::new(200)
        .header("content-type", "application/json")
        .body(body)
}

/// An answer of this status with the error body of OpenAI's shape.
#[must_use]
pub fn status(code: u16) -> Answer {
    let body = format!(r#"{{"error":{{"message":"scripted","type":"test","code":"{code}"}}}}"#);
    Answer::new(code)
        .header("content-type", "application/json")
        .body(body)
}

/// A stream of server-sent events in chunks, one for each; an event is given with its blank line.
#[must_use]
pub fn sse<B: Into<Bytes>>(events: impl IntoIterator<Item = B>) -> Answer {
    Answer::new(200)
        .header("content-type", "text/event-stream; charset=utf-8")
        .chunked(events)
}

fn data<B: Into<Bytes>>(parts: impl IntoIterator<Item = B>) -> Vec<Step> {
    parts
        .into_iter()
        .map(|part| Step::Data(part.into()))
        .collect()
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn write_fields(text: &mut String, fields: &[(String, String)]) {
    for (name, value) in fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
}

fn reason_of(status: u16) -> &'static str {
    let code = http::StatusCode::from_u16(status).ok();
    code.and_then(|code| code.canonical_reason())
        .unwrap_or("Scripted")
}
