//! An answer on its way, shared by everybody who asked the same meanwhile.
//!
//! Who waits for the next frame drives the provider's connection, under the flight's lock, and
//! everybody who waits is woken by what it brings. So there is no task and no owner: the client
//! that asked first may leave or stall at any byte, and those who read on drive on. Frames are kept
//! from the first one, up to a limit, for those who come later and for the cache; past the limit
//! only what somebody has yet to read is kept, and who lags behind by more than the limit is cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use isango_types::RecordId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::capture::Budget;
use crate::error::BoxError;
use crate::exchange::Exchange;
use crate::upstream::Source;

/// Frames of an answer that is kept; one with more is given once.
const MAX_FRAMES: usize = 1 << 16;
/// What is kept for those who lag, of an answer that there is no memory to keep, in bytes.
const SHORT_WINDOW: usize = 256 << 10;

/// The answer to one question, from before its head to its end.
pub(crate) struct Flight {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
    /// `waiting`, as the provider's connection sees it.
    waker: Waker,
    passengers: AtomicU64,
    budget: Arc<Budget>,
    /// Of the store, when the question was asked.
    generation: u64,
}

/// What everybody is told of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Those that belong to nobody.
    pub(crate) headers: HeaderMap,
    /// Length of the body, where it was announced.
    pub(crate) length: Option<u64>,
    /// The answer has a frame that only the gateway asked for.
    pub(crate) has_guest: bool,
    /// The exchange that asked.
    pub(crate) paid_by: RecordId,
}

/// What is done with an answer that has come to its end.
pub(crate) type Landing = Box<dyn FnOnce(Landed) + Send>;

/// An answer that has come to its end.
pub(crate) enum Landed {
    /// Whole; these are its frames, and when they came, since the first one.
    Whole(Vec<Bytes>, Vec<u32>),
    /// Not to be kept; says why.
    NotKept(&'static str),
}

impl Landed {
    /// Length of what may be kept, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Whole(frames, _) => frames.iter().map(Bytes::len).sum(),
            Self::NotKept(_) => 0,
        }
    }
}

#[derive(Default)]
struct State {
    phase: Phase,
    frames: VecDeque<Bytes>,
    times_us: Vec<u32>,
    /// Frames that were let go in front of `frames`.
    gone: usize,
    bytes: usize,
    taken: usize,
    limit: usize,
    begun: Option<Instant>,
    /// Everything from the first frame on is still there.
    is_whole: bool,
    trailers: Option<HeaderMap>,
    /// Where each passenger is: the number of its next frame.
    passengers: BTreeMap<u64, usize>,
    /// The exchange that asked, whose client has left while others read on: the answer is on its
    /// bill, and its record waits for the end.
    payer: Option<Exchange>,
}

#[derive(Default)]
enum Phase {
    /// Somebody is asking.
    #[default]
    Asking,
    /// There will be no answer from this one.
    Failed,
    /// The answer comes.
    Flying(Arc<Head>, Box<Source>, Option<Landing>),
    /// It has come, whole.
    Whole(Arc<Head>),
    /// It broke off.
    Cut,
}

/// Everybody who waits.
struct Waiting(Mutex<BTreeMap<u64, Waker>>);

impl Waiting {
    /// Wakes all but `except`. Wakers stay until their owners leave: most wait again at once.
    fn call(&self, except: Option<u64>) {
        for (id, waker) in &*self.0.lock() {
            if Some(*id) != except {
                waker.wake_by_ref();
            }
        }
    }

    fn enter(&self, id: u64, waker: &Waker) {
        let mut waiting = self.0.lock();
        match waiting.get_mut(&id) {
            Some(known) => known.clone_from(waker),
            None => drop(waiting.insert(id, waker.clone())),
        }
    }

    fn leave(&self, id: u64) {
        self.0.lock().remove(&id);
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.call(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call(None);
    }
}

impl Flight {
    /// A flight whose answer somebody is about to ask for.
    pub(crate) fn new(budget: Arc<Budget>, generation: u64) -> Arc<Self> {
        let waiting = Arc::new(Waiting(Mutex::default()));
        Arc::new(Self {
            state: Mutex::default(),
            waker: Waker::from(Arc::clone(&waiting)),
            waiting,
            passengers: AtomicU64::new(0),
            budget,
            generation,
        })
    }

    /// Of the store, when the question was asked.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// A place at the first byte; `None`: it is too late for that.
    pub(crate) fn board(self: &Arc<Self>) -> Option<Passenger> {
        let mut state = self.state.lock();
        let boards = match state.phase {
            Phase::Asking => true,
            // Until it is kept, also one that has wholly come.
            Phase::Flying(..) | Phase::Whole(_) => state.is_whole,
            Phase::Failed | Phase::Cut => false,
        };
        if !boards {
            return None;
        }
        let id = self.passengers.fetch_add(1, Ordering::Relaxed);
        state.passengers.insert(id, 0);
        drop(state);
        let flight = Arc::clone(self);
        Some(Passenger {
            flight,
            id,
            at: 0,
            pays: false,
        })
    }

    /// Whoever asked will bring no answer; somebody else must ask.
    pub(crate) fn fail(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Asking) {
            state.phase = Phase::Failed;
        }
        drop(state);
        self.waiting.call(None);
    }

    /// The answer begins. Up to `limit` bytes of it are kept, and `landing` is told of its end.
    pub(crate) fn begin(
        self: &Arc<Self>,
        head: Head,
        source: Source,
        limit: usize,
        landing: Landing,
    ) -> Passenger {
        let id = self.passengers.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.passengers.insert(id, 0);
        state.limit = limit;
        state.is_whole = true;
        state.phase = Phase::Flying(Arc::new(head), Box::new(source), Some(landing));
        state.land_if_ended();
        drop(state);
        self.waiting.call(None);
        let flight = Arc::clone(self);
        Passenger {
            flight,
            id,
            at: 0,
            pays: true,
        }
    }
}

impl State {
    fn frame(&self, at: usize) -> Option<&Bytes> {
        self.frames.get(at.checked_sub(self.gone)?)
    }

    /// Takes a frame from the provider.
    fn push(&mut self, frame: &Bytes, budget: &Budget) {
        let now = Instant::now();
        if let Some(payer) = &mut self.payer {
            payer.answer_chunk(frame);
        }
        let begun = *self.begun.get_or_insert(now);
        // A copy: a part of the connection's buffer would keep all of it.
        self.frames.push_back(Bytes::copy_from_slice(frame));
        self.bytes += frame.len();
        if self.is_whole {
            let since = now.saturating_duration_since(begun);
            self.times_us
                .push(u32::try_from(since.as_micros()).unwrap_or(u32::MAX));
            let fits = self.bytes <= self.limit && self.frames.len() <= MAX_FRAMES;
            if fits && budget.take(frame.len()) {
                self.taken += frame.len();
                return;
            }
            self.is_whole = false;
            self.times_us = Vec::new();
            self.limit = match fits {
                true => SHORT_WINDOW,
                false => self.limit.max(SHORT_WINDOW),
            };
            self.tell(Landed::NotKept("it is larger than the cache keeps"));
        }
        self.trim();
    }

    /// Lets go of what everybody has read, and of what is too much for those who lag; but not of
    /// the newest frame.
    fn trim(&mut self) {
        if self.is_whole {
            return;
        }
        let slowest = self.passengers.values().min().copied();
        while self.frames.len() > 1
            && (self.bytes > self.limit || slowest.is_none_or(|at| at > self.gone))
        {
            let gone = self.frames.pop_front().map_or(0, |frame| frame.len());
            self.bytes -= gone;
            self.gone += 1;
        }
    }

    fn tell(&mut self, landed: Landed) {
        if let Phase::Flying(_, _, landing) = &mut self.phase
            && let Some(landing) = landing.take()
        {
            landing(landed);
        }
    }

    /// The last announced byte may be the end: then nobody may ask again.
    fn land_if_ended(&mut self) {
        if let Phase::Flying(_, source, _) = &self.phase
            && source.is_end_stream()
        {
            self.land();
        }
    }

    fn land(&mut self) {
        if self.is_whole && self.trailers.is_none() {
            let frames = self.frames.iter().cloned().collect();
            let times_us = std::mem::take(&mut self.times_us);
            self.tell(Landed::Whole(frames, times_us));
        } else {
            self.tell(Landed::NotKept("it has trailers"));
        }
        if let Phase::Flying(head, source, _) = std::mem::take(&mut self.phase) {
            self.phase = Phase::Whole(head);
            (*source).give_back();
        }
        self.payer = None;
    }

    fn cut(&mut self) {
        self.tell(Landed::NotKept("the provider broke it off"));
        if matches!(self.phase, Phase::Flying(..)) {
            self.phase = Phase::Cut;
        }
        self.payer = None;
    }
}

/// Others have read on, and what this client had yet to read was too much to hold.
#[derive(Debug, thiserror::Error)]
#[error("the client read too slowly")]
pub(crate) struct TooSlow;

/// Somebody who reads the answer, from its first byte and at its own pace.
pub(crate) struct Passenger {
    flight: Arc<Flight>,
    id: u64,
    at: usize,
    /// It is of the exchange that asked.
    pays: bool,
}

impl Passenger {
    /// Waits until the answer begins. `None`: there will be none, somebody else must ask.
    pub(crate) async fn head(&self) -> Option<Arc<Head>> {
        std::future::poll_fn(|cx| {
            self.flight.waiting.enter(self.id, cx.waker());
            let state = self.flight.state.lock();
            match &state.phase {
                Phase::Asking => Poll::Pending,
                Phase::Failed | Phase::Cut => Poll::Ready(None),
                Phase::Flying(head, ..) | Phase::Whole(head) => Poll::Ready(Some(Arc::clone(head))),
            }
        })
        .await
    }

    /// The next frame; drives the provider's connection when it is not there yet.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let flight = Arc::clone(&self.flight);
        let mut state = flight.state.lock();
        loop {
            if self.at < state.gone {
                return Poll::Ready(Some(Err(TooSlow.into())));
            }
            if let Some(frame) = state.frame(self.at) {
                let frame = frame.clone();
                self.step(&mut state);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            let source = match &mut state.phase {
                Phase::Flying(_, source, _) => source,
                Phase::Whole(_) => return Poll::Ready(self.trailers(&mut state)),
                Phase::Asking | Phase::Failed | Phase::Cut => {
                    return Poll::Ready(Some(Err("the provider broke its answer off".into())));
                }
            };
            flight.waiting.enter(self.id, cx.waker());
            let mut driving = Context::from_waker(&flight.waker);
            match source.poll_frame(&mut driving) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        state.push(&data, &flight.budget);
                        state.land_if_ended();
                    }
                    Err(trailers) => {
                        state.trailers = trailers.into_trailers().ok();
                        state.land();
                    }
                },
                Poll::Ready(None) => state.land(),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a shared answer broke off");
                    state.cut();
                }
            }
            flight.waiting.call(Some(self.id));
        }
    }

    fn step(&mut self, state: &mut State) {
        self.at += 1;
        state.passengers.insert(self.id, self.at);
    }

    /// The trailers, once.
    fn trailers(&mut self, state: &mut State) -> Option<Result<Frame<Bytes>, BoxError>> {
        let trailers = state.trailers.clone()?;
        if self.at > state.gone + state.frames.len() {
            return None;
        }
        self.at += 1;
        Some(Ok(Frame::trailers(trailers)))
    }

    /// The client of `exchange` leaves before the end of the answer. If it asked for it, it pays for
    /// what has come, and for what comes as long as others read on.
    pub(crate) fn leaves(&self, exchange: &mut Exchange) {
        if !self.pays || std::thread::panicking() {
            return;
        }
        let mut state = self.flight.state.lock();
        let unread = self.at.saturating_sub(state.gone);
        for frame in state.frames.iter().skip(unread) {
            exchange.answer_chunk(frame);
        }
        if matches!(state.phase, Phase::Flying(..)) && state.passengers.len() > 1 {
            state.payer = Some(exchange.outlives_its_client());
        }
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.flight.state.lock();
        let end = state.gone + state.frames.len() + usize::from(state.trailers.is_some());
        matches!(state.phase, Phase::Whole(_)) && self.at >= end
    }

    /// Whether the provider broke it off.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.flight.state.lock().phase, Phase::Cut)
    }

    /// Length of the body where it was announced, as long as none of it has been read.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.flight.state.lock().phase {
            Phase::Flying(head, ..) | Phase::Whole(head) if self.at == 0 => head.length,
            Phase::Flying(..) | Phase::Whole(_) => None,
            Phase::Asking | Phase::Failed | Phase::Cut => None,
        }
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let mut state = self.flight.state.lock();
        state.passengers.remove(&self.id);
        let abandoned = match state.phase {
            Phase::Flying(..) if state.passengers.is_empty() => {
                state.tell(Landed::NotKept("the client left"));
                state.cut_short()
            }
            Phase::Asking | Phase::Failed | Phase::Flying(..) | Phase::Whole(_) | Phase::Cut => {
                None
            }
        };
        drop(state);
        drop(abandoned);
        self.flight.waiting.leave(self.id);
        // It may have been the one that drove.
        self.flight.waiting.call(None);
    }
}

impl State {
    /// Nobody wants the rest.
    fn cut_short(&mut self) -> Option<Box<Source>> {
        match std::mem::take(&mut self.phase) {
            Phase::Flying(_, source, _) => {
                self.phase = Phase::Cut;
                self.payer = None;
                Some(source)
            }
            other @ (Phase::Asking | Phase::Failed | Phase::Whole(_) | Phase::Cut) => {
                self.phase = other;
                None
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.budget.give_back(self.state.get_mut().taken);
    }
}

#[cfg(test)]
mod tests;
