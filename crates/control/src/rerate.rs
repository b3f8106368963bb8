//! Pricing records again: a job that gives records of before the cost that they have by prices of
//! now, because somebody asked for it. What was drawn from limits stays drawn.
//!
//! Jobs are worked on one after the other, and kept in memory: a restart forgets them. What one has
//! changed by then stays, and is not changed twice.

mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::{Path, State};
use isango_store::audit::Action;
use isango_store::config::history::Author;
use isango_types::{RecordId, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, watch};
use utoipa::{IntoParams, ToSchema};

use self::work::Work;
use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::requests::scope::Scope;
use crate::{Control, audit, blocking};

/// Jobs that wait or are worked on, of all accounts.
const MAX_UNFINISHED: usize = 8;
/// Jobs that are remembered; the oldest that is finished makes room.
const MAX_KEPT: usize = 200;
/// What a job is called in the audit trail.
const KIND: &str = "rerating";

/// Which records are priced again, and by which prices.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRerating {
    /// Records of this gateway; none: of every gateway of the account.
    #[serde(default)]
    gateway: Option<String>,
    /// Which of them, in the language of `isango logs`: `cost:unpriced model:gpt-4o*`.
    #[serde(default)]
    filter: Option<String>,
    /// Created at this moment or later.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Created before this moment; none: before the job was made.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The prices of this moment; none: for each record those of the moment it was created in, as
    /// they are known now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Tells what would change, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    /// Another one is worked on.
    #[default]
    Waiting,
    /// It is worked on.
    Running,
    /// It came to its end.
    Done,
    /// Somebody ended it, or the server stopped. What it had changed stays.
    Cancelled,
    /// The store failed. What it had changed stays; the same again goes on from there.
    Failed,
}

/// What a job found, and changed where it is no dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Outcome {
    /// Records that were looked at.
    looked_at: u64,
    /// Of them, those that cost something else now.
    changed: u64,
    /// Those that cost the same.
    unchanged: u64,
    /// Those whose cost no price decides: free, without a usage, or set by the client
    /// (`cf-aig-custom-cost`).
    kept: u64,
    /// Of the changed, those whose cost was not known, and is.
    newly_priced: u64,
    /// Of the changed, those whose cost was known, and is not: there is no price any more.
    newly_unpriced: u64,
    /// Those whose cost is not known, as before.
    still_unpriced: u64,
    /// What the changed ones cost before, in nano-dollars, as far as that was known.
    before_nanousd: u64,
    /// What they cost now, as far as that is known.
    after_nanousd: u64,
    /// Whether every record was looked at; otherwise as many were changed as one job may, or it was
    /// ended, and the same again goes on from there.
    is_complete: bool,
}

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RerateJob {
    /// Its id.
    #[schema(value_type = String)]
    id: RecordId,
    /// How far it is.
    state: JobState,
    /// What was asked for.
    asked: NewRerating,
    /// Who asked.
    who: Box<str>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Records that pass, all in all; null: they were not counted yet.
    total: Option<u64>,
    /// What it has found so far, or in the end.
    outcome: Outcome,
}

/// Where a job is.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobPath {
    /// The account.
    account_id: String,
    /// The job.
    job_id: String,
}

impl Listed for RerateJob {
    fn place(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.who.to_string()
    }
}

/// A job, and what is known of it.
#[derive(Debug)]
struct Job {
    account: Box<str>,
    author: Author,
    scope: Scope,
    told: Mutex<RerateJob>,
    /// It is in the audit trail, and may begin.
    is_noted: AtomicBool,
    is_cancelled: AtomicBool,
    /// Records that were looked at, for those who watch.
    looked_at: AtomicU64,
}

impl Job {
    fn view(&self) -> RerateJob {
        let mut view = self.told.lock().clone();
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        view.outcome.looked_at = view.outcome.looked_at.max(looked_at);
        view
    }

    fn is_finished(&self) -> bool {
        match self.told.lock().state {
            JobState::Waiting | JobState::Running => false,
            JobState::Done | JobState::Cancelled | JobState::Failed => true,
        }
    }
}

/// Every job that is remembered, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: Mutex<VecDeque<Arc<Job>>>,
    /// Something is to be done.
    news: Notify,
}

impl Jobs {
    /// # Errors
    /// One of the account is under way, or too many are.
    fn add(&self, job: Arc<Job>) -> Result<(), Failure> {
        let mut all = self.all.lock();
        let unfinished = || all.iter().filter(|job| !job.is_finished());
        if unfinished().any(|other| other.account == job.account) {
            return Err(Failure::busy("records of this account are priced again"));
        }
        if unfinished().count() >= MAX_UNFINISHED {
            return Err(Failure::busy("too many jobs wait"));
        }
        if all.len() >= MAX_KEPT
            && let Some(oldest) = all.iter().position(|job| job.is_finished())
        {
            all.remove(oldest);
        }
        all.push_back(job);
        Ok(())
    }

    /// Lets a job begin.
    fn begin(&self, job: &Job) {
        job.is_noted.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    fn remove(&self, job: &Arc<Job>) {
        self.all.lock().retain(|other| !Arc::ptr_eq(other, job));
    }

    fn find(&self, path: &JobPath) -> Result<Arc<Job>, Failure> {
        let id: Option<RecordId> = path.job_id.parse().ok();
        let all = self.all.lock();
        let found = all
            .iter()
            .find(|job| *job.account == *path.account_id && Some(job.told.lock().id) == id);
        found.cloned().ok_or_else(Failure::not_found)
    }

    fn next(&self) -> Option<Arc<Job>> {
        let all = self.all.lock();
        let is_next = |job: &&Arc<Job>| {
            job.is_noted.load(Ordering::Relaxed) && job.told.lock().state == JobState::Waiting
        };
        all.iter().find(is_next).cloned()
    }
}

impl Control {
    /// Works on jobs until it is told to stop.
    pub async fn run_jobs(self, mut stopping: watch::Receiver<bool>) {
        loop {
            while let Some(job) = self.jobs.next().filter(|_| !*stopping.borrow()) {
                let work = Work::new(&self, &job, &stopping);
                Box::pin(work.run()).await;
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = self.jobs.news.notified() => {}
            }
        }
    }
}

/// Price records again
///
/// As a job: records get the cost that they have by prices of now, in every list, sum and export from
/// then on; their `review` tells the one before. What no price decides is kept, and what is not known
/// is not made 0. What limits have drawn stays drawn. One job of an account at a time.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/prices/rerate", tag = "prices",
    params(("account_id" = String, Path, description = "The account.")), request_body = NewRerating,
    responses((status = 200, body = Envelope<RerateJob>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<RerateJob> {
    let asked: NewRerating = body::read(&members)?;
    let author = caller.author(&control);
    if let (Some(since), Some(until)) = (asked.since, asked.until)
        && since >= until
    {
        return Err(Failure::wrong(&["until"], "it must be behind `since`"));
    }
    let what = (asked.gateway.as_deref(), asked.filter.as_deref());
    let scope = Scope {
        since: asked.since,
        until: Some(asked.until.map_or(author.at, |until| until.min(author.at))),
        ..Scope::new(&control, &caller, &account, what)?
    };
    let told = RerateJob {
        id: RecordId::new(author.at),
        state: JobState::Waiting,
        asked,
        who: author.who.clone(),
        created_at: author.at,
        ended_at: None,
        total: None,
        outcome: Outcome::default(),
    };
    let job = Arc::new(Job {
        account: account.into(),
        author,
        scope,
        told: Mutex::new(told.clone()),
        is_noted: AtomicBool::new(false),
        is_cancelled: AtomicBool::new(false),
        looked_at: AtomicU64::new(0),
    });
    blocking(&control, move |control| {
        control.jobs.add(Arc::clone(&job))?;
        // No change without its entry.
        let of = (&job.author, &*job.account);
        let what = (KIND, &*told.id.to_string());
        let after = Some(json!(told.asked));
        let noted = audit::note(control, of, Action::Create, what, (None, after));
        noted.inspect_err(|_failed| control.jobs.remove(&job))?;
        control.jobs.begin(&job);
        Ok(Done::new(told))
    })
    .await
}

/// List jobs that price records again
///
/// Those since the start of the server.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/prices/rerate", tag = "prices",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<RerateJob>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<RerateJob>> {
    let all = control.jobs.all.lock().clone();
    let of_account = all.iter().filter(|job| *job.account == *account);
    Ok(Done::page(
        of_account.map(|job| job.view()).collect(),
        &page,
    ))
}

/// Read a job that prices records again
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/prices/rerate/{job_id}",
    tag = "prices", params(JobPath),
    responses((status = 200, body = Envelope<RerateJob>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<JobPath>,
) -> Answer<RerateJob> {
    Ok(Done::new(control.jobs.find(&path)?.view()))
}

/// End a job that prices records again
///
/// What it has changed stays so. One that has ended stays as it is.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/isango/prices/rerate/{job_id}",
    tag = "prices", params(JobPath),
    responses((status = 200, body = Envelope<RerateJob>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn cancel(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<JobPath>,
) -> Answer<RerateJob> {
    let job = control.jobs.find(&path)?;
    if job.is_finished() {
        return Ok(Done::new(job.view()));
    }
    blocking(&control, move |control| {
        let of = (&caller.author(control), &*job.account);
        let what = (KIND, &*path.job_id);
        audit::note(control, of, Action::Delete, what, (None, None))?;
        job.is_cancelled.store(true, Ordering::Relaxed);
        Ok(Done::new(job.view()))
    })
    .await
}
