//! One request's diary. It is born with the request and moves into the body of the answer; dropping
//! it hands the one draft of the one record to the sink, whatever happened.

mod draft;
mod held;
mod recall;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use isango_types::record::{Attempt, Outcome, Timing};
use isango_types::{Operation, RecordId, Snapshot, Timestamp};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::call::{self, SharedCapture};
use crate::error::Error;
use crate::health::Busy;
use crate::hold::Receipt;
use crate::limit::Overrun;
use crate::options::{Options, Wishes};
use crate::resolve::{self, Route};
use crate::secrets::Secrets;
use crate::sink::Sink;

pub(crate) use draft::{Background, Cut, Draft};

/// Headers in which providers name an answer, the best first.
const PROVIDER_IDS: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("request-id"),
];
/// How much of an answer of our own is kept before the gateway, and so its limit, is known.
const OWN_ANSWER_BYTES: usize = 64 << 10;

/// The diary.
pub(crate) struct Exchange {
    draft: Option<Box<Draft>>,
    sink: Arc<Sink>,
}

impl Exchange {
    /// Opens the diary of a request whose head has just been read.
    pub(crate) fn begin<B>(sink: &Arc<Sink>, config: Arc<Snapshot>, request: &Request<B>) -> Self {
        sink.metrics().in_flight.inc();
        let (mut user_agent, mut request_type, mut request_encoding) = (None, None, None);
        for (name, value) in request.headers() {
            if name == USER_AGENT {
                keep_first(&mut user_agent, value);
            } else if name == CONTENT_TYPE {
                keep_first(&mut request_type, value);
            } else if name == CONTENT_ENCODING {
                keep_first(&mut request_encoding, value);
            }
        }
        let created_at = sink.clock().now();
        let draft = Draft {
            id: RecordId::new(created_at),
            created_at,
            started: Instant::now(),
            config,
            method: Some(request.method().clone()),
            path: path_of(request.uri()).into(),
            version: Some(request.version()),
            user_agent,
            request_type,
            request_encoding,
            options: Options::default(),
            caller: Caller::default(),
            is_thinned: false,
            secrets: Secrets::default(),
            route: None,
            place: None,
            operation: Operation::Other,
            model: None,
            names_others: false,
            background: Background::default(),
            is_json: false,
            request: None,
            status: None,
            response_type: None,
            response_encoding: None,
            provider_id: None,
            response: sink.capture(OWN_ANSWER_BYTES),
            attempts: Vec::new(),
            given_up_us: Vec::new(),
            sends: 0,
            step: 0,
            wait: None,
            cut: None,
            cache: None,
            asking: None,
            streams: false,
            credential: 0,
            busy: None,
            hedging: None,
            timing: Timing::default(),
            outcome: None,
            outlives_its_client: false,
            error: None,
            permit: None,
            pledge: None,
            receipt: None,
        };
        Self {
            draft: Some(Box::new(draft)),
            sink: Arc::clone(sink),
        }
    }

    /// Opens the diary of a head that could not be read: nothing is known of it.
    pub(crate) fn begin_unread(sink: &Arc<Sink>, config: Arc<Snapshot>) -> Self {
        let mut exchange = Self::begin(sink, config, &Request::new(()));
        exchange.note(|draft| (draft.method, draft.version, draft.path) = (None, None, "".into()));
        exchange
    }

    fn note(&mut self, write: impl FnOnce(&mut Draft)) {
        if let Some(draft) = &mut self.draft {
            write(draft);
        }
    }

    /// What is known so far; `None` only once the record is on its way.
    pub(crate) fn draft(&self) -> Option<&Draft> {
        self.draft.as_deref()
    }

    /// Microseconds since the request's head was read.
    pub(crate) fn elapsed_us(&self) -> u64 {
        self.draft
            .as_ref()
            .map_or(0, |draft| micros(draft.started.elapsed()))
    }

    pub(crate) fn started(&self) -> Instant {
        self.draft
            .as_ref()
            .map_or_else(Instant::now, |draft| draft.started)
    }

    /// What the request asks for beyond the gateway's settings.
    pub(crate) fn asked(&mut self, options: Options) {
        self.note(|draft| draft.options = options);
    }

    /// The same of one leg of several; remarks stay.
    pub(crate) fn asks_for(&mut self, options: Options) -> Wishes {
        let wishes = options.wishes;
        self.note(|draft| {
            let mut notes = std::mem::take(&mut draft.options.notes);
            notes.extend(options.notes.iter().cloned());
            draft.options = Options { notes, ..options };
        });
        wishes
    }

    /// Where the request goes; from here on bodies are kept up to the gateway's limit.
    pub(crate) fn routed(&mut self, route: Arc<Route>, place: &resolve::Place<'_>) {
        let limit = route.gateway.max_record_body_bytes;
        let request = Arc::new(Mutex::new(self.sink.capture(limit).plain()));
        self.note(|draft| {
            draft.request = Some(request);
            draft.response.keep_at_most(limit);
            draft.place = Some(place.spans(draft.path.len()));
            draft.route = Some(route);
        });
    }

    /// The request goes to another target than before, or its answer comes from there.
    pub(crate) fn goes_to(&mut self, step: usize, route: Arc<Route>) {
        self.note(|draft| {
            if let Some(before) = draft.route.replace(route) {
                draft.secrets.add_configured(&before);
            }
            draft.step = u16::try_from(step).unwrap_or(u16::MAX);
        });
    }

    /// Whether the answer is to be streamed.
    pub(crate) fn streams(&mut self, streams: bool) {
        self.note(|draft| draft.streams = streams);
    }

    /// A hash of the credential that the request brings to its target; 0: it brings none.
    pub(crate) fn brings(&mut self, credential: u64) {
        self.note(|draft| draft.credential = credential);
    }

    /// The target that answers is busy until the exchange ends.
    pub(crate) fn occupies(&mut self, busy: Option<Busy>) {
        self.note(|draft| draft.busy = busy);
    }

    /// It was waited before the next attempt.
    pub(crate) fn waited(&mut self, wait: Duration, reason: &'static str) {
        self.note(|draft| draft.wait = Some((wait, reason)));
    }

    /// What must not be seen in the record.
    pub(crate) fn holds(&mut self, secrets: Secrets) {
        self.note(|draft| draft.secrets = secrets);
    }

    /// What else must not be seen there.
    pub(crate) fn holds_too(&mut self, secrets: &Secrets) {
        self.note(|draft| draft.secrets.extend(secrets));
    }

    /// Who sent it.
    pub(crate) fn identified(&mut self, caller: Caller) {
        self.note(|draft| draft.caller = caller);
    }

    /// What kind of call it is; `is_json`: its body was seen to be a whole JSON object.
    pub(crate) fn understood(&mut self, operation: Operation, model: Option<&str>, is_json: bool) {
        self.note(|draft| {
            draft.operation = operation;
            draft.model = model.map(Into::into);
            draft.is_json = is_json;
        });
    }

    /// Whether its body names other models, too, of which its provider may choose.
    pub(crate) fn names_others(&mut self, names_others: bool) {
        self.note(|draft| draft.names_others = names_others);
    }

    /// Whether its answer is to be made in the background.
    pub(crate) fn runs_in(&mut self, background: Background) {
        self.note(|draft| draft.background = background);
    }

    /// The request's own timeout has ended a send that took so long.
    pub(crate) fn gave_up(&mut self, after: Duration) {
        self.note(|draft| draft.given_up_us.push(micros(after)));
    }

    /// The copy that the request's body is shown to.
    pub(crate) fn request_capture(&self) -> SharedCapture {
        let known = self.draft.as_ref().and_then(|draft| draft.request.clone());
        known.unwrap_or_else(|| Arc::new(Mutex::new(self.sink.capture(0))))
    }

    /// The request is complete enough to be sent: what came before was waiting. Tells how long that
    /// took, in microseconds.
    pub(crate) fn queued_until_now(&mut self) -> u64 {
        let now = self.elapsed_us();
        self.note(|draft| draft.timing.queue_us = now);
        now
    }

    /// When the request's head had been read.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.draft
            .as_ref()
            .map_or_else(|| self.sink.clock().now(), |draft| draft.created_at)
    }

    /// One send begins, at `started_us`.
    pub(crate) fn attempting(&mut self, started_us: u64) {
        self.note(|draft| {
            draft.asking = Some(started_us);
            if let Some(permit) = &mut draft.permit {
                permit.sent();
            }
        });
    }

    /// Another send begins beside it.
    pub(crate) fn hedging(&mut self, started_us: u64, step: usize, target: &str) {
        let step = u16::try_from(step).unwrap_or(u16::MAX);
        self.note(|draft| {
            draft.hedging = Some((started_us, step, target.into()));
            if let Some(permit) = &mut draft.permit {
                permit.sent();
            }
            draft.commits();
        });
    }

    /// One send has come to an answer or failed.
    pub(crate) fn attempted(&mut self, attempt: Attempt) {
        self.note(|draft| {
            if draft.asking == Some(attempt.started_us) {
                draft.asking = None;
            } else {
                draft.hedging = None;
            }
            draft.timing.connect_us += attempt.connect_us;
            draft.tell(attempt);
        });
    }

    /// A provider's answer begins, `now_us` after the request.
    pub(crate) fn answered(&mut self, now_us: u64, status: StatusCode, headers: &HeaderMap) {
        self.note(|draft| {
            draft.status = Some(status);
            draft.timing.ttfb_us = Some(now_us);
            if status.is_success()
                && let (Some(permit), Some(route)) = (&mut draft.permit, &draft.route)
            {
                let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
                let kind = text(CONTENT_TYPE).unwrap_or_default();
                let encoding = text(CONTENT_ENCODING);
                if !permit.begins(route.wire, kind, encoding) {
                    let note = "no limit can end the answer: the provider encoded it unasked";
                    draft.options.notes.push(note.into());
                }
            }
            // One pass over a few names costs less than a search for each.
            let mut rank = PROVIDER_IDS.len();
            for (name, value) in headers {
                if name == CONTENT_TYPE {
                    keep_first(&mut draft.response_type, value);
                } else if name == CONTENT_ENCODING {
                    keep_first(&mut draft.response_encoding, value);
                } else if let Some(better) = PROVIDER_IDS[..rank].iter().position(|id| id == name) {
                    rank = better;
                    draft.provider_id = Some(detached(value));
                }
            }
        });
    }

    /// Time that the gateway itself took, measured where it was spent.
    pub(crate) fn overhead(&mut self, us: u64) {
        self.note(|draft| draft.timing.overhead_us += us);
    }

    /// The gateway answers itself.
    pub(crate) fn refused(&mut self, error: &Error, status: StatusCode) {
        let outcome = match (error, error.attempt_word()) {
            (Error::Internal, _) => Outcome::Panicked,
            (_, Some(_)) => Outcome::Failed,
            (_, None) if call::is_hang_up(error) => Outcome::ClientLeft,
            (_, None) => Outcome::Refused,
        };
        if let Error::Unauthorized = error {
            match self.sink.records_refusal() {
                Some(0) => {}
                Some(others) => self.remark(&format!(
                    "{others} requests before this one showed no token either, and left no record"
                )),
                None => self.note(|draft| draft.is_thinned = true),
            }
        }
        self.note(|draft| {
            draft.status = Some(status);
            draft.error = Some(error.to_record());
            draft.outcome = Some(outcome);
            draft.response_type = Some(HeaderValue::from_static("application/json"));
        });
    }

    /// A chunk of the answer passes; where the answer ends in it, because it brings more than a
    /// limit has held for it.
    pub(crate) fn answer_chunk(&mut self, chunk: &Bytes) -> Option<Overrun> {
        let draft = self.draft.as_mut()?;
        let at_us = micros(draft.started.elapsed());
        let Some(permit) = &mut draft.permit else {
            draft.response.push(chunk, at_us);
            return None;
        };
        if let Some(overrun) = permit.overruns(chunk) {
            draft.response.push(&chunk.slice(..overrun.end), at_us);
            draft.outcome = Some(Outcome::Overrun);
            return Some(overrun);
        }
        draft.response.push(chunk, at_us);
        if permit.streamed(chunk) {
            draft.commits();
        }
        None
    }

    /// Which target of the plan, or which leg, is asked.
    pub(crate) fn step(&self) -> usize {
        self.draft.as_ref().map_or(0, |draft| draft.step.into())
    }

    /// What the request wants of retries and timeouts.
    pub(crate) fn wishes(&self) -> Wishes {
        let draft = self.draft.as_ref();
        draft.map_or_else(Wishes::default, |draft| draft.options.wishes)
    }

    /// Where it ends.
    pub(crate) const fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Adds a remark to the record.
    pub(crate) fn remark(&mut self, remark: &str) {
        self.note(|draft| draft.options.notes.push(remark.into()));
    }

    /// The answer has wholly passed.
    pub(crate) fn finished(&mut self) {
        self.note(|draft| {
            draft.outcome.get_or_insert(Outcome::Answered);
            if let Some(busy) = &draft.busy {
                busy.came_whole();
            }
        });
    }

    /// The answer broke off, and that was the provider's doing: its target answers for it.
    pub(crate) fn broke_off(&mut self) {
        self.note(|draft| {
            let breaker = draft.route.as_ref().and_then(|route| route.gateway.breaker);
            if let (Some(busy), Some(breaker)) = (&draft.busy, breaker) {
                busy.broke_off(&breaker, Instant::now());
            }
        });
    }

    /// The answer was cut at a bound of its gateway.
    pub(crate) fn cut(&mut self, cut: Cut) {
        self.note(|draft| {
            draft.outcome = Some(Outcome::UpstreamCut);
            draft.cut = Some(cut);
        });
    }

    /// How it ends if nothing has ended it so far.
    fn broken(&self) -> Outcome {
        if std::thread::panicking() {
            Outcome::Panicked
        } else if self.sink.is_cutting() {
            Outcome::Stopped
        } else {
            Outcome::ClientLeft
        }
    }

    /// The answer ended otherwise.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.note(|draft| draft.outcome = Some(outcome));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.leave(None);
    }
}

impl Exchange {
    /// Whether the last byte of the answer waits for the record.
    pub(crate) fn is_strict(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.is_strict())
    }

    /// Whether the answer that has begun is a stream of events.
    pub(crate) fn answers_in_events(&self) -> bool {
        let kind = self
            .draft
            .as_ref()
            .and_then(|draft| draft.response_type.as_ref());
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }

    /// Whether a strict gateway may let the request pass: not while records cannot be stored.
    ///
    /// # Errors
    /// [`Error::Unrecorded`].
    pub(crate) fn can_be_recorded(&self) -> Result<(), Error> {
        match self.is_strict() && self.sink.trouble().is_some() {
            true => Err(Error::Unrecorded),
            false => Ok(()),
        }
    }

    /// The record is written now; `receipt` is told when it is on disk.
    pub(crate) fn leave(&mut self, receipt: Option<Receipt>) {
        let Some(mut draft) = self.draft.take() else {
            return;
        };
        draft.receipt = receipt;
        draft.busy = None;
        if !draft.outlives_its_client {
            draft.timing.total_us = micros(draft.started.elapsed());
        }
        if let Some(permit) = &mut draft.permit {
            permit.ended();
        }
        let outcome = *draft.outcome.get_or_insert(self.broken());
        // Nobody waited for the answer to this send; the provider was asked all the same.
        if let (Some(started_us), Some(route)) = (draft.asking, &draft.route) {
            let target = route.target_name().into();
            draft.tell(Attempt {
                target,
                error: Some(outcome.as_str().into()),
                started_us,
                ..Attempt::default()
            });
        }
        if let Some((started_us, step, target)) = draft.hedging.take() {
            draft.step = step;
            draft.tell(Attempt {
                target,
                error: Some(outcome.as_str().into()),
                started_us,
                ..Attempt::default()
            });
        }
        self.sink.push(draft);
    }
}

/// Path and query as the client sent them.
pub(crate) fn path_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", |path| path.as_str())
}

/// Keeps the first value of a header that may stand there again.
fn keep_first(place: &mut Option<HeaderValue>, value: &HeaderValue) {
    if place.is_none() {
        *place = Some(detached(value));
    }
}

/// What most bodies are; a copy of it needs no memory.
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A copy that does not keep the connection's read buffer alive.
pub(crate) fn detached(value: &HeaderValue) -> HeaderValue {
    if value == JSON {
        return JSON.clone();
    }
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
