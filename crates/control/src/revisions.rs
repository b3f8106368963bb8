//! The trail of all changes of an account: who, when, before, after; and the way back.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use isango_store::config::history::{self, Changed, Revision};
use isango_store::config::{Change, Contents, Entity, Kind};
use isango_store::gateways::StoredGateway;
use isango_store::gateways::secrets::mask;
use isango_types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams, Remark};
use crate::auth::Caller;
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking, gateways};

/// A revision of the configuration.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RevisionPath {
    /// The account.
    account_id: String,
    /// The revision's number; records name it as `config_revision`.
    revision: String,
}

/// One commit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RevisionView {
    /// Its number.
    revision: u64,
    /// Whose it is.
    who: Box<str>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What it changed in this account.
    changes: Vec<ChangeView>,
}

impl Listed for RevisionView {
    /// The newest first.
    fn place(&self) -> String {
        format!("{:020}", u64::MAX - self.revision)
    }

    fn name(&self) -> String {
        self.who.as_ref().to_owned()
    }
}

/// One entity before and after.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    /// `gateway`, `token`, `credential` or `view`.
    kind: &'static str,
    /// Which one.
    id: Box<str>,
    /// Before; null: there was none.
    #[schema(value_type = Option<Object>)]
    before: Value,
    /// After; null: it was removed.
    #[schema(value_type = Option<Object>)]
    after: Value,
}

/// What restoring a revision would change.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DiffView {
    /// The revision that it was compared with: that of now.
    revision: u64,
    /// Empty: everything is as it was then.
    changes: Vec<ChangeView>,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Restored {
    /// The new revision.
    revision: u64,
    /// How many entities are as they were.
    changed: u64,
}

impl RevisionView {
    /// What it changed in an account; `None`: nothing.
    fn of(revision: Revision, account: &str) -> Option<Self> {
        let changes: Vec<ChangeView> = revision
            .changes
            .into_iter()
            .filter(|changed| is_of(changed, account))
            .map(|changed| ChangeView {
                kind: changed.kind.as_str(),
                before: json(changed.kind, changed.before.as_deref()),
                after: json(changed.kind, changed.after.as_deref()),
                id: changed.id,
            })
            .collect();
        (!changes.is_empty()).then_some(Self {
            revision: revision.number,
            who: revision.author.who,
            at: revision.author.at,
            changes,
        })
    }
}

/// The JSON of a body as it is told; null where there is none.
fn json(kind: Kind, body: Option<&str>) -> Value {
    let body = body.map(|body| serde_json::from_str(body).unwrap_or_default());
    let mut body: Value = body.unwrap_or_default();
    if kind == Kind::Gateway
        && let Some(members) = body.as_object_mut()
    {
        members.remove("sealed");
        if let Some(Value::Object(fields)) = members.get_mut("fields") {
            mask(fields);
        }
    }
    body
}

fn is_of(changed: &Changed, account: &str) -> bool {
    match changed.kind {
        Kind::Gateway
        | Kind::Credential
        | Kind::View
        | Kind::Export
        | Kind::Provider
        | Kind::Price
        | Kind::Mute => is_below(&changed.id, account),
        // They may be of several accounts; the trail of all changes tells of them.
        Kind::User | Kind::Link => false,
        Kind::Token => {
            let bodies = [&changed.before, &changed.after];
            bodies.into_iter().flatten().any(|body| {
                let value: Value = serde_json::from_str(body).unwrap_or_default();
                value["token"]["account"] == *account
            })
        }
    }
}

fn is_below(id: &str, account: &str) -> bool {
    id.split('/').next() == Some(account)
}

/// List revisions
///
/// The newest first; those that changed something in this account.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/revisions", tag = "revisions",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<RevisionView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<RevisionView>> {
    let page = Page::read(&query.unwrap_or_default(), (100, 20))?;
    blocking(&control, move |control| {
        let mut all = Vec::new();
        let mut before = u64::MAX;
        loop {
            let some = control.config.history(before, history::MAX_PAGE)?;
            let is_last = some.len() < history::MAX_PAGE;
            before = some.last().map_or(0, |one| one.number);
            all.extend(
                some.into_iter()
                    .filter_map(|one| RevisionView::of(one, &account)),
            );
            if is_last {
                return Ok(Done::page(all, &page));
            }
        }
    })
    .await
}

/// Read a revision
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/revisions/{revision}",
    tag = "revisions", params(RevisionPath),
    responses((status = 200, body = Envelope<RevisionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<RevisionPath>,
) -> Answer<RevisionView> {
    let number = number(&path)?;
    blocking(&control, move |control| {
        let found = control.config.history(number.saturating_add(1), 1)?;
        let found = found.into_iter().find(|one| one.number == number);
        let view = found.and_then(|one| RevisionView::of(one, &path.account_id));
        view.map(Done::new).ok_or_else(Failure::not_found)
    })
    .await
}

/// Compare with a revision
///
/// What restoring it would change: every gateway of the account as it is now (`before`), and as it
/// was then (`after`).
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/revisions/{revision}/diff",
    tag = "revisions", params(RevisionPath),
    responses((status = 200, body = Envelope<DiffView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn diff(
    State(control): State<Control>,
    Path(path): Path<RevisionPath>,
) -> Answer<DiffView> {
    let number = number(&path)?;
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let changes = back_to(control, &path.account_id, number)?;
        let changes = changes.into_iter().map(|change| {
            let now = contents.find(change.kind, &change.id);
            ChangeView {
                kind: change.kind.as_str(),
                before: json(change.kind, now.map(|entity| &*entity.body)),
                after: json(change.kind, change.body.as_deref()),
                id: change.id,
            }
        });
        let diff = DiffView {
            revision: contents.revision,
            changes: changes.collect(),
        };
        Ok(Done::new(diff).version(contents.revision))
    })
    .await
}

/// What leads from what there is back to a revision; of the gateways of an account.
fn back_to(control: &Control, account: &str, number: u64) -> Result<Vec<Change>, Failure> {
    let concerns = |kind: Kind, id: &str| kind == Kind::Gateway && is_below(id, account);
    let changes = history::back_to(&*control.config, number, &concerns)?;
    changes.ok_or_else(Failure::not_found)
}

/// Restore a revision
///
/// Every gateway of the account becomes what it was at that revision, in one commit. Tokens and
/// provider keys stay as they are: what opens something is in no history. Headers of exporters of
/// traces keep the values that they have now; `messages` names those that have none any more. With
/// `if-match` only at the revision that it names, as `diff` tells it.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/revisions/{revision}/restore",
    tag = "revisions", params(RevisionPath),
    responses((status = 200, body = Envelope<Restored>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn restore(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<RevisionPath>,
    headers: HeaderMap,
) -> Answer<Restored> {
    let number = number(&path)?;
    let expected = gateways::expected(&headers)?;
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        if expected.is_some_and(|revision| revision != contents.revision) {
            return Err(Failure::changed());
        }
        let mut changes = back_to(control, &path.account_id, number)?;
        let changed = changes.len() as u64;
        let mut remarks = Vec::new();
        for change in &mut changes {
            remarks.extend(recover(control, &contents, change)?);
        }
        let revision = match changes.as_slice() {
            [] => control.config.revision()?,
            changes => {
                let author = caller.author(control);
                control
                    .config
                    .commit_at(&author, changes, contents.revision)?
            }
        };
        Ok(Done::new(Restored { revision, changed }).remarks(remarks))
    })
    .await
}

/// Gives a gateway of before the secrets that it has now; what is told of the others.
fn recover(
    control: &Control,
    contents: &Contents,
    change: &mut Change,
) -> Result<Vec<Remark>, Failure> {
    let damaged = |error| Failure::internal(&error);
    let Some(body) = change.body.take() else {
        return Ok(Vec::new());
    };
    let then = Entity {
        kind: change.kind,
        id: change.id.clone(),
        version: change.based_on,
        body,
    };
    let mut then = StoredGateway::parse(&then).map_err(damaged)?;
    let now = contents.find(change.kind, &change.id);
    let now = now.and_then(|now| StoredGateway::parse(now).ok());
    let lost = then.recover(now.as_ref());
    change.body = Some(gateways::text(control, &mut then)?.into());
    let remark = |path: Vec<Box<str>>| Remark {
        code: Code::Forgotten,
        message: format!(
            "`{}` of gateway `{}` is empty: its value was forgotten, set it again",
            path.join("."),
            then.id
        ),
    };
    Ok(lost.into_iter().map(remark).collect())
}

fn number(path: &RevisionPath) -> Result<u64, Failure> {
    // SQLite counts to 2⁶³.
    let number = path.revision.parse().ok();
    number
        .filter(|number| *number < i64::MAX.unsigned_abs())
        .ok_or_else(Failure::not_found)
}
