//! Logpush jobs: exports of the account's records (Cloudflare's API "Logpush Jobs"; read
//! 2026-11-23). Those of the configuration file are not told here; `isango logpush list` has all.
//!
//! A destination is stored sealed and told without what may be secret in it. Ownership of a bucket
//! needs no proof: whoever writes there has its keys.

pub(crate) mod aside;
mod view;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use isango_store::audit::Action;
use isango_store::config::{Change, Contents, Entity, Kind};
use isango_store::logpush::{MAX_JOBS, StoredJob};
use isango_types::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

pub(crate) use self::view::JobView;
use self::view::{Options, check};
use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, audit, blocking, gateways};

/// The dataset that has fields.
const DATASET: &str = "ai_gateway_events";
/// The member that is sealed.
const DESTINATION: &str = "destination_conf";

/// A job of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobPath {
    /// The account.
    account_id: String,
    /// The job.
    #[serde(deserialize_with = "number")]
    job_id: u64,
}

/// A dataset of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct DatasetPath {
    /// The account.
    account_id: String,
    /// `ai_gateway_events` or `audit_logs`.
    dataset_id: String,
}

/// A destination to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDestination {
    /// Where to: `s3://…`, `r2://…`, `gs://…`, `azure://…`, `https://…`, `splunk://…`, `datadog://…`.
    #[schema(max_length = 4_096)]
    destination_conf: String,
    /// Not needed: whoever writes to a destination has its keys.
    #[serde(default)]
    ownership_challenge: Option<String>,
}

/// A number; what is none is that of no job.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// List jobs
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/logpush/jobs", tag = "logpush",
    params(("account_id" = String, Path, description = "The account.")),
    responses((status = 200, body = Envelope<Vec<JobView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
) -> Answer<Vec<JobView>> {
    blocking(&control, move |control| {
        let jobs = of_account(&control.config.read()?, &account);
        Ok(Done::new(views(control, &jobs)))
    })
    .await
}

/// Make a job
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/logpush/jobs", tag = "logpush",
    params(("account_id" = String, Path, description = "The account.")), request_body = Options,
    responses((status = 200, body = Envelope<JobView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(mut members): Members,
) -> Answer<JobView> {
    let conf = take_destination(&mut members)?;
    let conf = conf.ok_or_else(|| Failure::wrong(&[DESTINATION], "Required"))?;
    check(&members)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        if of_account(&contents, &account).len() >= MAX_JOBS {
            return Err(Failure::full(format!(
                "an account has at most {MAX_JOBS} jobs"
            )));
        }
        let mut job = StoredJob {
            account: account.as_str().into(),
            // Nobody had it before, and nobody will.
            number: contents.revision + 1,
            created_at: author.at,
            modified_at: author.at,
            fields: members,
            shown: "".into(),
            sealed: "".into(),
        };
        seal(control, &mut job, &conf)?;
        let id = StoredJob::entity_id(&job.account, job.number);
        let change = Change::add(Kind::Export, &id, text(&job)?);
        control.config.commit_as(&author, &[change])?;
        Ok(Done::new(view(control, &job)).version(1))
    })
    .await
}

/// Read a job
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/logpush/jobs/{job_id}",
    tag = "logpush", params(JobPath),
    responses((status = 200, body = Envelope<JobView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<JobPath>,
) -> Answer<JobView> {
    blocking(&control, move |control| {
        let (job, entity) = find(&control.config.read()?, &path)?;
        Ok(Done::new(view(control, &job)).version(entity.version))
    })
    .await
}

/// Change a job
///
/// What is left out stays as it is; so does a destination that is sent back as it was told. With
/// `if-match`, only the version that it names is changed.
#[utoipa::path(put, path = "/client/v4/accounts/{account_id}/logpush/jobs/{job_id}",
    tag = "logpush", params(JobPath), request_body = Options,
    responses((status = 200, body = Envelope<JobView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<JobPath>,
    headers: HeaderMap,
    Members(mut members): Members,
) -> Answer<JobView> {
    let expected = gateways::expected(&headers)?;
    let conf = take_destination(&mut members)?;
    view::leave_read_only(&mut members);
    blocking(&control, move |control| {
        let author = caller.author(control);
        let (mut job, entity) = find(&control.config.read()?, &path)?;
        must_be(&entity, expected)?;
        job.fields.extend(members);
        check(&job.fields)?;
        job.modified_at = author.at;
        if let Some(conf) = conf.filter(|conf| conf.expose() != &*job.shown) {
            seal(control, &mut job, &conf)?;
        }
        let change = Change::replace(&entity, text(&job)?);
        control.config.commit_as(&author, &[change])?;
        Ok(Done::new(view(control, &job)).version(entity.version + 1))
    })
    .await
}

/// Remove a job
///
/// How far it was is forgotten with it; what it delivered stays where it is.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/logpush/jobs/{job_id}",
    tag = "logpush", params(JobPath),
    responses((status = 200, body = Envelope<JobView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<JobPath>,
    headers: HeaderMap,
) -> Answer<JobView> {
    let expected = gateways::expected(&headers)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let (job, entity) = find(&control.config.read()?, &path)?;
        must_be(&entity, expected)?;
        let told = view(control, &job);
        control
            .config
            .commit_as(&author, &[Change::remove(&entity)])?;
        Ok(Done::new(told))
    })
    .await
}

/// List jobs of a dataset
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/logpush/datasets/{dataset_id}/jobs",
    tag = "logpush", params(DatasetPath),
    responses((status = 200, body = Envelope<Vec<JobView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn of_dataset(
    State(control): State<Control>,
    Path(path): Path<DatasetPath>,
) -> Answer<Vec<JobView>> {
    blocking(&control, move |control| {
        let mut jobs = of_account(&control.config.read()?, &path.account_id);
        jobs.retain(|job| view::dataset(&job.fields) == path.dataset_id);
        Ok(Done::new(views(control, &jobs)))
    })
    .await
}

/// List the fields of a dataset
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/logpush/datasets/{dataset_id}/fields",
    tag = "logpush", params(DatasetPath),
    responses((status = 200, body = Envelope<Value>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn fields(
    State(control): State<Control>,
    Path(path): Path<DatasetPath>,
) -> Answer<Value> {
    if path.dataset_id != DATASET {
        return Err(Failure::not_found());
    }
    let fields = control.exporting.fields.iter();
    let fields = fields.map(|name| ((*name).to_owned(), json!("")));
    Ok(Done::new(Value::Object(fields.collect())))
}

/// Write a test object to a destination
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/logpush/validate/destination",
    tag = "logpush", params(("account_id" = String, Path, description = "The account.")),
    request_body = NewDestination,
    responses((status = 200, body = Envelope<Value>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn validate(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<Value> {
    let written = write_test(&control, (caller, account), &members).await?;
    let (valid, message) = (written.is_ok(), written.err().unwrap_or_default());
    Ok(Done::new(json!({"valid": valid, "message": message})))
}

/// Tell whether a job delivers there already
#[utoipa::path(post,
    path = "/client/v4/accounts/{account_id}/logpush/validate/destination/exists",
    tag = "logpush", params(("account_id" = String, Path, description = "The account.")),
    request_body = NewDestination,
    responses((status = 200, body = Envelope<Value>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn exists(
    State(control): State<Control>,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<Value> {
    let asked: NewDestination = body::read(&members)?;
    blocking(&control, move |control| {
        let conf = Secret::new(asked.destination_conf);
        let shown = (control.exporting.shown)(conf.expose());
        let keyring = (control.keyring)();
        let jobs = of_account(&control.config.read()?, &account);
        // What is told alike may lead to different places.
        let is_it = |job: &StoredJob| {
            let opened = keyring.as_ref().and_then(|ring| job.open(ring).ok());
            *job.shown == *conf.expose()
                || (*job.shown == *shown && opened.is_none_or(|opened| opened == conf))
        };
        let exists = jobs.iter().any(is_it);
        Ok(Done::new(json!({"exists": exists})))
    })
    .await
}

/// Write a test object in the place of a challenge
///
/// Ownership needs no proof here; the token that the contract wants is any text.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/logpush/ownership",
    tag = "logpush", params(("account_id" = String, Path, description = "The account.")),
    request_body = NewDestination,
    responses((status = 200, body = Envelope<Value>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn ownership(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<Value> {
    let written = write_test(&control, (caller, account), &members).await?;
    let (valid, message) = (written.is_ok(), written.err().unwrap_or_default());
    Ok(Done::new(
        json!({"filename": "isango-test.txt", "valid": valid, "message": message}),
    ))
}

/// Accept a challenge
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/logpush/ownership/validate",
    tag = "logpush", params(("account_id" = String, Path, description = "The account.")),
    request_body = NewDestination,
    responses((status = 200, body = Envelope<Value>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn challenge(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    members: Members,
) -> Answer<Value> {
    validate(State(control), caller, Path(account), members).await
}

async fn write_test(
    control: &Control,
    (caller, account): (Caller, String),
    members: &Map<String, Value>,
) -> Result<Result<(), String>, Failure> {
    let asked: NewDestination = body::read(members)?;
    drop(asked.ownership_challenge);
    let testing = blocking(control, move |control| {
        let conf = of_job(control, &account, asked.destination_conf)?;
        let shown = (control.exporting.shown)(conf.expose());
        let of = (&caller.author(control), &*account);
        let what = ("destination", &*shown);
        audit::note(control, of, Action::Test, what, (None, None))?;
        Ok(conf)
    });
    let conf = testing.await?;
    Ok((control.exporting.test)(conf).await)
}

/// The destination that a job of the account is told to have, or the text itself where it is no such
/// one.
///
/// # Errors
/// Jobs with different destinations are told so, or what is sealed cannot be opened.
fn of_job(control: &Control, account: &str, told: String) -> Result<Secret, Failure> {
    let jobs = of_account(&control.config.read()?, account);
    let mut found: Option<Secret> = None;
    for job in jobs.iter().filter(|job| *job.shown == *told) {
        let keyring = (control.keyring)().ok_or_else(Failure::not_found)?;
        let opened = job.open(&keyring);
        let opened = opened.map_err(|error| Failure::internal(&error))?;
        if found.as_ref().is_some_and(|other| *other != opened) {
            let message = "jobs with different destinations are told so: send the whole text";
            return Err(Failure::wrong(&[DESTINATION], message));
        }
        found = Some(opened);
    }
    Ok(found.unwrap_or_else(|| Secret::new(told)))
}

/// Takes the destination out of a body: it is no member like the others.
fn take_destination(members: &mut Map<String, Value>) -> Result<Option<Secret>, Failure> {
    match members.remove(DESTINATION) {
        None => Ok(None),
        Some(value) => {
            body::value::<String>(&value, DESTINATION).map(|text| Some(Secret::new(text)))
        }
    }
}

fn seal(control: &Control, job: &mut StoredJob, conf: &Secret) -> Result<(), Failure> {
    let keyring = (control.keyring)().ok_or_else(|| {
        let message = "there is no key to seal it with: the operator sets `secrets.key`";
        Failure::wrong(&[DESTINATION], message)
    })?;
    let shown = (control.exporting.shown)(conf.expose());
    let sealed = job.seal(&keyring, conf, &shown);
    sealed.map_err(|error| Failure::internal(&error))
}

fn text(job: &StoredJob) -> Result<String, Failure> {
    job.body().map_err(|error| Failure::internal(&error))
}

/// The jobs of an account, by number. What cannot be read is told to the operator.
fn of_account(contents: &Contents, account: &str) -> Vec<StoredJob> {
    let mut jobs = Vec::new();
    for job in isango_store::logpush::all(contents) {
        match job {
            Ok(job) if *job.account == *account => jobs.push(job),
            Ok(_of_another) => {}
            Err(error) => tracing::error!(%error, "a stored job is not listed"),
        }
    }
    jobs.sort_unstable_by_key(|job| job.number);
    jobs
}

fn find(contents: &Contents, path: &JobPath) -> Result<(StoredJob, Entity), Failure> {
    let id = StoredJob::entity_id(&path.account_id, path.job_id);
    let entity = contents.find(Kind::Export, &id);
    let entity = entity.ok_or_else(Failure::not_found)?;
    let job = StoredJob::parse(entity).map_err(|error| Failure::internal(&error))?;
    Ok((job, entity.clone()))
}

/// # Errors
/// It is another version than the one that a change is for.
fn must_be(entity: &Entity, expected: Option<u64>) -> Result<(), Failure> {
    match expected.is_none_or(|version| version == entity.version) {
        true => Ok(()),
        false => Err(Failure::changed()),
    }
}

fn view(control: &Control, job: &StoredJob) -> JobView {
    let id = StoredJob::entity_id(&job.account, job.number);
    let states = (control.exporting.views)();
    JobView::of(job, states.into_iter().find(|state| *state.job == *id))
}

fn views(control: &Control, jobs: &[StoredJob]) -> Vec<JobView> {
    let states = (control.exporting.views)();
    let of = |job: &StoredJob| {
        let id = StoredJob::entity_id(&job.account, job.number);
        let state = states.iter().find(|state| *state.job == *id);
        JobView::of(job, state.cloned())
    };
    jobs.iter().map(of).collect()
}
