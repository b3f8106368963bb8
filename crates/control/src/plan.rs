//! The gateways of an account as a whole: told as one document, compared with another, and made what
//! it says, in one commit or not at all.
//!
//! Tokens and provider keys are no part of it: what opens something is in no document.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use isango_store::config::{Change, Contents, Entity, Kind};
use isango_store::gateways::secrets::mask;
use isango_store::gateways::{MAX_GATEWAYS, StoredGateway};
use isango_types::{Timestamp, is_gateway_id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking, gateways, settings};

/// Stored gateways of an account, by id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// By id. What is not in it is removed.
    gateways: BTreeMap<String, Written>,
}

/// One gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// What was set, in the spelling of the contract.
    #[serde(default)]
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
    /// Keys of `[[gateways]]` that have no such spelling.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// What a document would change.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    /// The revision that it was compared with: `if-match` of `apply`.
    revision: u64,
    /// By id; empty: it is as the document says.
    changes: Vec<Step>,
}

/// One gateway that would be changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// Its id.
    id: String,
    /// As it is; null: it would be made.
    before: Option<Written>,
    /// As it would be; null: it would be removed, and the provider keys that are stored for it.
    after: Option<Written>,
}

/// Export the gateways
///
/// Those that are stored; those of the configuration file stand there. `etag` is the revision.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/config", tag = "revisions",
    params(("account_id" = String, Path, description = "The account.")),
    responses((status = 200, body = Envelope<Document>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn export(
    State(control): State<Control>,
    Path(account): Path<String>,
) -> Answer<Document> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let document = Document {
            gateways: written(&contents, &account)?,
        };
        Ok(Done::new(document).version(contents.revision))
    })
    .await
}

/// Plan a change of all gateways
///
/// Compares and checks a document; changes nothing.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/config/plan",
    tag = "revisions", params(("account_id" = String, Path, description = "The account.")),
    request_body = Document,
    responses((status = 200, body = Envelope<Plan>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn plan(
    State(control): State<Control>,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<Plan> {
    let document: Document = body::read(&members)?;
    blocking(&control, move |control| {
        let (plan, changes) = compare(control, &account, &document)?;
        control.config.check(&changes)?;
        let revision = plan.revision;
        Ok(Done::new(plan).version(revision))
    })
    .await
}

/// Make all gateways what a document says
///
/// In one commit. With `if-match` only at the revision that it names, as `plan` and `GET` tell it.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/config/apply",
    tag = "revisions", params(("account_id" = String, Path, description = "The account.")),
    request_body = Document,
    responses((status = 200, body = Envelope<Plan>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn apply(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    headers: HeaderMap,
    Members(members): Members,
) -> Answer<Plan> {
    let document: Document = body::read(&members)?;
    let expected = gateways::expected(&headers)?;
    blocking(&control, move |control| {
        let (mut plan, changes) = compare(control, &account, &document)?;
        if expected.is_some_and(|revision| revision != plan.revision) {
            return Err(Failure::changed());
        }
        if !changes.is_empty() {
            let author = caller.author(control);
            // A gateway that came meanwhile is none that the document leaves out.
            plan.revision = control.config.commit_at(&author, &changes, plan.revision)?;
        }
        let revision = plan.revision;
        Ok(Done::new(plan).version(revision))
    })
    .await
}

fn written(contents: &Contents, account: &str) -> Result<BTreeMap<String, Written>, Failure> {
    let of_account = of_account(contents, account);
    let stored = of_account.map(|entity| {
        let mut stored = StoredGateway::parse(entity).map_err(|error| Failure::internal(&error))?;
        mask(&mut stored.fields);
        let gateway = Written {
            fields: stored.fields,
            settings: stored.settings,
        };
        Ok((stored.id.into(), gateway))
    });
    stored.collect()
}

fn of_account<'c>(contents: &'c Contents, account: &str) -> impl Iterator<Item = &'c Entity> {
    let prefix = format!("{account}/");
    let gateways = contents.of(Kind::Gateway);
    gateways.filter(move |entity| entity.id.starts_with(&prefix))
}

/// What leads from what there is to a document.
fn compare(
    control: &Control,
    account: &str,
    document: &Document,
) -> Result<(Plan, Vec<Change>), Failure> {
    let contents = control.config.read()?;
    let now = written(&contents, account)?;
    let mut plan = Plan {
        revision: contents.revision,
        changes: Vec::new(),
    };
    let mut changes = Vec::new();
    for id in now
        .keys()
        .chain(document.gateways.keys().filter(|id| !now.contains_key(*id)))
    {
        let (before, after) = (now.get(id), document.gateways.get(id));
        if before == after {
            continue;
        }
        let path = ["gateways", id];
        if !is_gateway_id(id) {
            return Err(Failure::wrong(&path, "it is no id of a gateway"));
        }
        if gateways::of_file(control, account, id).is_some() {
            return Err(Failure::wrong(
                &path,
                "it is managed by file, and changed there",
            ));
        }
        let entity = contents.find(Kind::Gateway, &StoredGateway::entity_id(account, id));
        changes.extend(step(control, (account, id), entity, after)?);
        if let (Some(entity), None) = (entity, after) {
            // The provider keys that are stored for a gateway go with it.
            let prefix = format!("{}/", entity.id);
            let keys = contents.of(Kind::Credential);
            let keys = keys.filter(|key| key.id.starts_with(&prefix));
            changes.extend(keys.map(Change::remove));
        }
        plan.changes.push(Step {
            id: id.clone(),
            before: before.cloned(),
            after: after.cloned().map(|mut after| {
                mask(&mut after.fields);
                after
            }),
        });
    }
    let made = |change: &&Change| change.kind == Kind::Gateway && change.based_on == 0;
    let removed = |change: &&Change| change.kind == Kind::Gateway && change.body.is_none();
    let count = contents.of(Kind::Gateway).count() + changes.iter().filter(made).count();
    if count - changes.iter().filter(removed).count() > MAX_GATEWAYS {
        let message = format!("at most {MAX_GATEWAYS} gateways are stored");
        return Err(Failure::full(message));
    }
    Ok((plan, changes))
}

/// What leads from an entity to a gateway.
fn step(
    control: &Control,
    (account, id): (&str, &str),
    entity: Option<&Entity>,
    after: Option<&Written>,
) -> Result<Option<Change>, Failure> {
    let Some(after) = after else {
        return Ok(entity.map(Change::remove));
    };
    let now: Timestamp = control.clock.now();
    let made = entity.map(StoredGateway::parse).transpose();
    let made = made.map_err(|error| Failure::internal(&error))?;
    gateways::check(&after.fields)?;
    let wrong = settings::of_fields(&after.settings);
    if !wrong.is_empty() {
        return Err(Failure::invalid(wrong));
    }
    let (created_at, sealed) = made.map_or((now, BTreeMap::new()), |made| {
        (made.created_at, made.sealed)
    });
    let mut stored = StoredGateway {
        account: account.into(),
        id: id.into(),
        created_at,
        modified_at: now,
        fields: after.fields.clone(),
        settings: after.settings.clone(),
        sealed,
    };
    let body = gateways::text(control, &mut stored)?;
    let entity_id = StoredGateway::entity_id(account, id);
    Ok(Some(match entity {
        Some(entity) => Change::replace(entity, body),
        None => Change::add(Kind::Gateway, &entity_id, body),
    }))
}
