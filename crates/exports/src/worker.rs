//! The life of one job: gather, save, deliver, save; again and again until the destination has taken
//! it. Nobody waits for it, and it holds one batch at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use isango_store::exports::{Buried, Error as StoreError, Saved};
use isango_store::logs::Position;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::batch::{Batch, Before, Gathering, Source};
use crate::deliver::{Carrier, Failure, deliver};
use crate::job::{Dataset, Job};
use crate::state::{Mark, State};
use crate::{Shared, Standing};

/// The wait after the first failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two tries that is ours to choose.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest wait that a destination may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);
/// How often a batch is offered whose contents the destination does not like, before it is laid
/// aside: about an hour.
const MAX_REFUSALS: u32 = 20;
/// How often it is offered before smaller ones are made of it.
const FEW_REFUSALS: u32 = 2;
/// How often is looked whether records of a batch on its way were deleted.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often a place is saved at most while nothing is found for a job.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long a store is left alone that failed.
const REST: Duration = Duration::from_secs(2);
/// How often changes of the configuration are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One job at work.
pub(crate) struct Worker<C> {
    pub(crate) job: Arc<Job>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) carrier: Arc<C>,
    pub(crate) standing: Arc<Standing>,
    /// Whether it may still save: closed before another takes its place.
    pub(crate) gate: Arc<Mutex<bool>>,
}

/// The store failed, or the task that asked it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C: Carrier> Worker<C> {
    /// Works until told to stop. What is on its way then is delivered by whoever comes next.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let work = async {
            loop {
                if let Err(error) = Box::pin(self.work()).await {
                    self.fail(&error.to_string());
                    tokio::time::sleep(REST).await;
                }
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => {}
            () = work => {}
        }
        let gate = Arc::clone(&self.gate);
        let closing = spawn_blocking(move || *gate.lock() = false).await;
        if let Err(error) = closing {
            tracing::error!(%error, "an export may save once more");
        }
    }

    /// Goes on from what was saved, until the store fails.
    async fn work(&self) -> Result<(), BoxError> {
        let (mut state, batch) = self.begin().await?;
        if let Some(body) = batch {
            // Records of it may have been deleted meanwhile.
            let body = self.renew(&mut state).await?.unwrap_or(body);
            self.bring(&mut state, body).await?;
        }
        loop {
            let batch = self.gather(&mut state).await?;
            let body = self.keep(&mut state, batch).await?;
            self.bring(&mut state, body).await?;
        }
    }

    /// Saves a batch that is to be delivered.
    async fn keep(&self, state: &mut State, batch: Batch) -> Result<Bytes, BoxError> {
        state.pending = Some(batch.manifest);
        (state.behind, state.erased) = (batch.behind, batch.erased);
        let body = Bytes::from(batch.body);
        self.save(state, Some(body.clone())).await?;
        Ok(body)
    }

    /// Makes the batch on its way anew where records of it were deleted since.
    async fn renew(&self, state: &mut State) -> Result<Option<Bytes>, BoxError> {
        let Some(manifest) = state.pending.clone() else {
            return Ok(None);
        };
        let (shared, job) = (Arc::clone(&self.shared), Arc::clone(&self.job));
        let (erased, before) = (state.erased, Before::of(state));
        let mut gathering = Gathering::again(state, &manifest);
        let renewing = move || {
            while !gathering.is_full && !gathering.is_caught_up {
                shared.fill(&job, &mut gathering)?;
            }
            let lacks = gathering.lacks_only_erased(&manifest, erased);
            let renewed = lacks.then(|| gathering.finish(&job, &before, &shared.parts));
            renewed.transpose()
        };
        match spawn_blocking(renewing).await?? {
            Some(batch) => self.keep(state, batch).await.map(Some),
            None => Ok(None),
        }
    }

    /// What was saved; else a beginning, which is saved at once.
    async fn begin(&self) -> Result<(State, Option<Bytes>), BoxError> {
        let (shared, job) = (Arc::clone(&self.shared), Arc::clone(&self.job));
        let begun = spawn_blocking(move || shared.begin(&job)).await??;
        let (state, batch) = begun;
        self.standing.show(&state, &self.shared);
        Ok((state, batch.map(Bytes::from)))
    }

    async fn save(&self, state: &State, batch: Option<Bytes>) -> Result<(), BoxError> {
        let saved = state.to_saved(batch.as_deref())?;
        let (shared, job) = (Arc::clone(&self.shared), Arc::clone(&self.job));
        let gate = Arc::clone(&self.gate);
        let saving = move || match *gate.lock() {
            true => shared.parts.store.save(&job.spec.id, &saved),
            false => Ok(()),
        };
        spawn_blocking(saving).await??;
        self.standing.show(state, &self.shared);
        Ok(())
    }

    /// Gathers until a batch is complete: by bytes, by records, or by time.
    async fn gather(&self, state: &mut State) -> Result<Batch, BoxError> {
        let mut news = self.shared.news.subscribe();
        let mut gathering = Gathering::begin(state);
        let mut due: Option<Instant> = None;
        let mut saved = Instant::now();
        loop {
            news.borrow_and_update();
            let (shared, job) = (Arc::clone(&self.shared), Arc::clone(&self.job));
            gathering =
                spawn_blocking(move || shared.fill(&job, &mut gathering).map(|()| gathering))
                    .await??;
            if !gathering.is_empty() {
                let wait = self.job.bounds().wait;
                due.get_or_insert_with(|| Instant::now() + wait);
            }
            self.standing.look(gathering.at, &self.shared);
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if gathering.is_full || is_due {
                break;
            }
            if !gathering.is_caught_up {
                continue;
            }
            // Records of others need not be looked at again after a restart.
            let has_moved = gathering.is_empty() && gathering.at > state.looked();
            if has_moved && saved.elapsed() >= SAVE_EVERY {
                state.passed = gathering.to_passed();
                self.save(state, None).await?;
                saved = Instant::now();
            }
            let idle = match self.job.spec.dataset {
                Dataset::Audit => LOOK_EVERY,
                Dataset::Events | Dataset::Records | Dataset::Traces | Dataset::Metrics => {
                    self.job.bounds().wait
                }
            };
            let next = due.unwrap_or_else(|| Instant::now() + idle);
            tokio::select! {
                () = sleep_until(next) => {}
                told = news.changed() => told?,
            }
        }
        let (job, shared) = (Arc::clone(&self.job), Arc::clone(&self.shared));
        let before = Before::of(state);
        spawn_blocking(move || gathering.finish(&job, &before, &shared.parts)).await?
    }

    /// Delivers the batch that is on its way, however long that takes.
    async fn bring(&self, state: &mut State, mut body: Bytes) -> Result<(), BoxError> {
        let (mut tries, mut refusals) = (0, 0);
        let mut looked = Instant::now();
        while let Some(manifest) = state.pending.clone() {
            let now = self.shared.parts.clock.now();
            let offered = (&manifest, body.clone());
            let delivering = Box::pin(deliver(&*self.carrier, &self.job, offered, now));
            let Err(failure) = delivering.await else {
                self.standing.count(manifest.records, "delivered");
                state.settle(self.shared.parts.clock.now(), false);
                return self.save(state, None).await;
            };
            tries += 1;
            refusals += u32::from(failure.is_of_content);
            self.note(state, &failure, tries);
            // What lacks a batch is no trail: objects wait for as long as it takes.
            let may_give_up = !self.job.spec.destination.has_objects();
            if may_give_up && refusals >= FEW_REFUSALS && state.halve() {
                return self.save(state, None).await;
            }
            if may_give_up && refusals >= MAX_REFUSALS && self.bury(state, &failure, &body).await? {
                return self.save(state, None).await;
            }
            let wait = wait_after(tries, failure.retry_after);
            tokio::time::sleep(wait).await;
            if looked.elapsed() >= LOOK_AGAIN {
                body = self.renew(state).await?.unwrap_or(body);
                looked = Instant::now();
            }
        }
        Ok(())
    }

    fn note(&self, state: &mut State, failure: &Failure, tries: u32) {
        let (job, why) = (&self.job.spec.id, &failure.why);
        // A receiver that is down is told of again and again, but not each time.
        if tries.is_power_of_two() {
            tracing::warn!(%job, tries, why, "an export is not delivered yet");
        }
        self.standing.count(0, "failed");
        state.last_error = Some(self.shared.parts.clock.now());
        state.error = Some(why.as_str().into());
        self.standing.show(state, &self.shared);
    }

    /// Lays a batch aside; false: there is no room for it.
    async fn bury(&self, state: &mut State, why: &Failure, body: &Bytes) -> Result<bool, BoxError> {
        let Some(manifest) = &state.pending else {
            return Ok(true);
        };
        let buried = Buried {
            job: self.job.spec.id.clone(),
            name: manifest.object.clone(),
            at: self.shared.parts.clock.now(),
            why: why.why.as_str().into(),
            batch: body.to_vec(),
        };
        let shared = Arc::clone(&self.shared);
        match spawn_blocking(move || shared.parts.store.bury(&buried)).await? {
            Ok(()) => {
                tracing::error!(
                    job = %self.job.spec.id, records = manifest.records, why = why.why,
                    "a batch was laid aside: its destination refuses it"
                );
                self.standing.count(manifest.records, "buried");
                state.settle(self.shared.parts.clock.now(), true);
                Ok(true)
            }
            Err(StoreError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn fail(&self, why: &str) {
        tracing::error!(job = %self.job.spec.id, why, "an export cannot go on");
        self.standing.fail(why, self.shared.parts.clock.now());
    }
}

impl Shared {
    fn begin(&self, job: &Job) -> Result<(State, Option<Vec<u8>>), BoxError> {
        let found = self.parts.store.load(&job.spec.id)?;
        if let Some(saved) = found {
            let mut state = State::read(&saved)?;
            if state.pending.is_some() && saved.batch.is_none() {
                state.pending = None;
            }
            let end = self.end(job)?;
            let reached = state.position;
            let is_back = match job.spec.dataset {
                Dataset::Audit => {
                    state.position = reached.min(end);
                    reached > end
                }
                Dataset::Events | Dataset::Records | Dataset::Traces | Dataset::Metrics => {
                    state.find(end, |mark| self.holds(mark))?
                }
            };
            if is_back {
                tracing::error!(
                    job = %job.spec.id, %reached, from = %state.position,
                    "the record store has lost its end, which was exported: the export goes on \
                     from what both have"
                );
            }
            let batch = saved.batch.filter(|_| state.pending.is_some());
            return Ok((state, batch));
        }
        let from = match job.spec.from_start {
            true => Position::START,
            false => self.end(job)?,
        };
        let state = State::at(from);
        let saved: Saved = state.to_saved(None)?;
        self.parts.store.save(&job.spec.id, &saved)?;
        Ok((state, None))
    }

    /// Whether the record before a place is still the one that was there. One that retention has
    /// removed was.
    fn holds(&self, mark: Mark) -> Result<bool, BoxError> {
        let Some(before) = mark.at.count().checked_sub(1) else {
            return Ok(true);
        };
        let (records, _) = self.parts.logs.follow(Position::after(before), 1)?;
        Ok(records.first().is_none_or(|record| record.id == mark.id))
    }

    /// The position behind all that there is for a job.
    pub(crate) fn end(&self, job: &Job) -> Result<Position, BoxError> {
        Ok(match job.spec.dataset {
            Dataset::Events | Dataset::Records | Dataset::Traces | Dataset::Metrics => {
                self.parts.logs.end()?
            }
            Dataset::Audit => Position::after(self.parts.config.trail_end()?),
        })
    }

    fn fill(&self, job: &Job, gathering: &mut Gathering) -> Result<(), BoxError> {
        let snapshot = self.parts.cell.get();
        let known = {
            let mut known = self.known.lock();
            known.look(&snapshot);
            known.all()
        };
        let source = Source {
            logs: &*self.parts.logs,
            config: &*self.parts.config,
            snapshot: &snapshot,
            known: &known,
        };
        gathering.fill(job, &source)
    }
}

/// How long it rests after so many tries.
fn wait_after(tries: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16));
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    own.min(LONGEST_WAIT).max(asked)
}
