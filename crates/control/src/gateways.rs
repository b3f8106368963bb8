//! Gateways: listed, made, read, changed, removed (management-api section 3).
//!
//! Those of the configuration file are shown and cannot be changed here. `default` is in every
//! account; who changes it makes it one that is stored.

mod fields;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use isango_store::config::{Change, Contents, Entity, Error, Invalid, Kind};
use isango_store::gateways::{MAX_GATEWAYS, StoredGateway};
use isango_types::gateway::{DEFAULT_GATEWAY, Origin};
use isango_types::{Gateway, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use self::fields::{READ_ONLY, Settings};
pub(crate) use self::view::GatewayView;
use crate::answer::{Answer, Done, Envelope, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// How often a change is tried again that somebody else's came before.
const TRIES: usize = 4;

/// A gateway of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct GatewayPath {
    /// The account.
    pub(crate) account_id: String,
    /// The gateway.
    pub(crate) gateway_id: String,
}

/// A new gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body, which is read member by member"
)]
pub(crate) struct NewGateway {
    /// Its id, unique in the account.
    #[schema(
        pattern = "^[a-z0-9_]+(?:-[a-z0-9_]+)*$",
        min_length = 1,
        max_length = 64
    )]
    id: String,
    /// Its settings. These must be there: `cache_invalidate_on_update`, `cache_ttl`, `collect_logs`,
    /// `rate_limiting_interval`, `rate_limiting_limit`.
    #[serde(flatten)]
    settings: Settings,
}

/// List gateways
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/ai-gateway/gateways",
    tag = "gateways",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<GatewayView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<GatewayView>> {
    let contents = read(&control).await?;
    let mut all = everything(&control, &contents, &account);
    all.retain(|id, _| caller.sees(id));
    Ok(Done::page(all.into_values().collect(), &page))
}

/// Make a gateway
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/ai-gateway/gateways",
    tag = "gateways",
    params(("account_id" = String, Path, description = "The account.")),
    request_body = NewGateway,
    responses((status = 200, body = Envelope<GatewayView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(mut members): Members,
) -> Answer<GatewayView> {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    let missing = fields::missing(&members);
    if !missing.is_empty() {
        return Err(Failure::invalid(missing));
    }
    let id = members.remove("id");
    let id = id
        .as_ref()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    check(&members)?;
    let author = caller.author(&control);
    let secure = secure(&control);
    members
        .entry("authentication")
        .or_insert_with(|| secure.into());
    let mut stored = StoredGateway {
        account: account.into(),
        id: id.into(),
        created_at: author.at,
        modified_at: author.at,
        fields: members,
        settings: Map::new(),
        sealed: BTreeMap::new(),
    };
    let done = blocking(&control, move |control| {
        let contents = control.config.read()?;
        let text = text(control, &mut stored)?;
        if contents.of(Kind::Gateway).count() >= MAX_GATEWAYS {
            let message = format!("{MAX_GATEWAYS} gateways are stored; remove some");
            return Err(Failure::full(message));
        }
        let (account, id) = (&stored.account, &stored.id);
        let taken = || Failure::taken(format!("there is a gateway `{id}` already"));
        if of_file(control, account, id).is_some() {
            return Err(taken());
        }
        let entity_id = StoredGateway::entity_id(account, id);
        let change = Change::add(Kind::Gateway, &entity_id, text);
        match control.config.commit_as(&author, &[change]) {
            Ok(_revision) => Ok(stored),
            Err(Error::Conflict { .. }) => Err(taken()),
            Err(error) => Err(error.into()),
        }
    });
    let view = GatewayView::of_stored(&done.await?);
    let remarks = view.remarks();
    Ok(Done::new(view).version(1).remarks(remarks))
}

/// Read a gateway
///
/// `messages` names what is set and has no effect in this version.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}",
    tag = "gateways", params(GatewayPath),
    responses((status = 200, body = Envelope<GatewayView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<GatewayPath>,
) -> Answer<GatewayView> {
    let contents = read(&control).await?;
    let mut all = everything(&control, &contents, &path.account_id);
    let view = all
        .remove(&*path.gateway_id)
        .ok_or_else(Failure::not_found)?;
    let remarks = view.remarks();
    let version = entity(&contents, &path).map_or(0, |entity| entity.version);
    Ok(Done::new(view).version(version).remarks(remarks))
}

/// Change a gateway
///
/// What is left out stays as it is. With `if-match`, only the version that it names is changed.
#[utoipa::path(put, path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}",
    tag = "gateways", params(GatewayPath), request_body = Settings,
    responses((status = 200, body = Envelope<GatewayView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    headers: HeaderMap,
    Members(mut members): Members,
) -> Answer<GatewayView> {
    if let Some(id) = members.remove("id")
        && id.as_str() != Some(&*path.gateway_id)
    {
        return Err(Failure::wrong(&["id"], "an id cannot be changed"));
    }
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    let apply = move |stored: &mut StoredGateway| {
        stored.fields.extend(members.clone());
        check(&stored.fields)
    };
    let (stored, version) = edit(control, caller, path, headers, apply).await?;
    let view = GatewayView::of_stored(&stored);
    let remarks = view.remarks();
    Ok(Done::new(view).version(version).remarks(remarks))
}

/// Remove a gateway
///
/// With it go the provider keys that are stored for it. Its records stay until their age.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}",
    tag = "gateways", params(GatewayPath),
    responses((status = 200, body = Envelope<GatewayView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    headers: HeaderMap,
) -> Answer<GatewayView> {
    let expected = expected(&headers)?;
    let author = caller.author(&control);
    let removed = blocking(&control, move |control| {
        let contents = control.config.read()?;
        if of_file(control, &path.account_id, &path.gateway_id).is_some() {
            return Err(Failure::of_file());
        }
        let entity = entity(&contents, &path).ok_or_else(Failure::not_found)?;
        if expected.is_some_and(|version| version != entity.version) {
            return Err(Failure::changed());
        }
        let stored = StoredGateway::parse(entity).map_err(|error| Failure::internal(&error))?;
        let prefix = format!("{}/", entity.id);
        let keys = contents.of(Kind::Credential);
        let keys = keys.filter(|key| key.id.starts_with(&prefix));
        let changes: Vec<Change> = keys.chain([entity]).map(Change::remove).collect();
        control.config.commit_as(&author, &changes)?;
        Ok(stored)
    });
    Ok(Done::new(GatewayView::of_stored(&removed.await?)))
}

/// Changes a stored gateway: again, where somebody else's change came in between; but not where the
/// request is for a version. What it is now, and its version.
pub(crate) async fn edit(
    control: Control,
    caller: Caller,
    path: GatewayPath,
    headers: HeaderMap,
    apply: impl Fn(&mut StoredGateway) -> Result<(), Failure> + Send + 'static,
) -> Result<(StoredGateway, u64), Failure> {
    let expected = expected(&headers)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        for _ in 0..TRIES {
            let (mut gateway, version) = stored(control, &path)?;
            if expected.is_some_and(|expected| expected != version) {
                return Err(Failure::changed());
            }
            apply(&mut gateway)?;
            gateway.modified_at = author.at;
            let change = Change {
                kind: Kind::Gateway,
                id: StoredGateway::entity_id(&gateway.account, &gateway.id).into(),
                based_on: version,
                body: Some(text(control, &mut gateway)?.into()),
            };
            match control.config.commit_as(&author, &[change]) {
                Ok(_revision) => return Ok((gateway, version + 1)),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::changed())
    })
    .await
}

/// A gateway that is stored, or can be, and its version: 0 where it is not yet.
///
/// # Errors
/// There is none, or it is the configuration file's.
pub(crate) fn stored(
    control: &Control,
    path: &GatewayPath,
) -> Result<(StoredGateway, u64), Failure> {
    if of_file(control, &path.account_id, &path.gateway_id).is_some() {
        return Err(Failure::of_file());
    }
    let contents = control.config.read()?;
    match entity(&contents, path) {
        Some(entity) => {
            let stored = StoredGateway::parse(entity);
            let stored = stored.map_err(|error| Failure::internal(&error))?;
            Ok((stored, entity.version))
        }
        None if *path.gateway_id == *DEFAULT_GATEWAY => {
            Ok((unconfigured(control, path, control.clock.now()), 0))
        }
        None => Err(Failure::not_found()),
    }
}

/// # Errors
/// There is no such gateway.
pub(crate) fn must_be(control: &Control, path: &GatewayPath) -> Result<(), Failure> {
    let snapshot = control.cell.load();
    let found = snapshot.gateway(&path.account_id, &path.gateway_id);
    found.map(drop).ok_or_else(Failure::not_found)
}

/// `default` before anybody changed it.
fn unconfigured(control: &Control, path: &GatewayPath, now: Timestamp) -> StoredGateway {
    let members = [
        ("authentication", secure(control).into()),
        ("cache_invalidate_on_update", false.into()),
        ("cache_ttl", 0.into()),
        ("collect_logs", true.into()),
        ("rate_limiting_interval", 0.into()),
        ("rate_limiting_limit", 0.into()),
    ];
    let fields = members.map(|(name, value): (&str, Value)| (name.to_owned(), value));
    StoredGateway {
        account: path.account_id.as_str().into(),
        id: path.gateway_id.as_str().into(),
        created_at: now,
        modified_at: now,
        fields: fields.into_iter().collect(),
        settings: Map::new(),
        sealed: BTreeMap::new(),
    }
}

/// Checks the fields of a gateway.
///
/// # Errors
/// A member is unknown, not of its kind, or out of its bounds.
pub(crate) fn check(members: &Map<String, Value>) -> Result<(), Failure> {
    let settings: Settings = body::read(members)?;
    let wrong = settings.wrong();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::invalid(wrong)),
    }
}

/// Its text in the store, once what is secret of it is sealed.
///
/// # Errors
/// Something cannot be sealed.
pub(crate) fn text(control: &Control, stored: &mut StoredGateway) -> Result<String, Failure> {
    let keyring = (control.keyring)();
    let sealed = stored.seal(keyring.as_deref());
    sealed.map_err(|Invalid(wrong)| Failure::invalid(wrong))?;
    stored.body().map_err(|error| Failure::internal(&error))
}

/// Every gateway of an account, by id.
fn everything(
    control: &Control,
    contents: &Contents,
    account: &str,
) -> BTreeMap<Box<str>, GatewayView> {
    let mut all = BTreeMap::new();
    let default = unconfigured(
        control,
        &GatewayPath {
            account_id: account.into(),
            gateway_id: DEFAULT_GATEWAY.into(),
        },
        control.started_at,
    );
    let view = GatewayView::of_stored(&default).managed_by(Origin::Nobody);
    all.insert(DEFAULT_GATEWAY.into(), view);
    for entity in contents.of(Kind::Gateway) {
        match StoredGateway::parse(entity) {
            Ok(stored) if *stored.account == *account => {
                all.insert(stored.id.clone(), GatewayView::of_stored(&stored));
            }
            Ok(_of_another) => {}
            Err(error) => tracing::error!(%error, "a stored gateway is not listed"),
        }
    }
    let snapshot = control.cell.load();
    let of_file = snapshot.gateways().filter(|one| one.origin == Origin::File);
    for gateway in of_file.filter(|one| *one.account == *account) {
        let view = GatewayView::of_file(gateway, control.started_at);
        all.insert(gateway.id.clone(), view);
    }
    all
}

/// The gateway of the configuration file of that name.
pub(crate) fn of_file(control: &Control, account: &str, id: &str) -> Option<Arc<Gateway>> {
    let snapshot = control.cell.load();
    let gateway = snapshot.gateway(account, id)?;
    (gateway.origin == Origin::File).then(|| Arc::clone(gateway))
}

/// Whether a gateway asks for a token where nobody says otherwise.
fn secure(control: &Control) -> bool {
    // Every account has one, configured or not; `-` is the name of none.
    let snapshot = control.cell.load();
    snapshot
        .gateway("-", DEFAULT_GATEWAY)
        .is_none_or(|default| default.authentication)
}

fn entity<'c>(contents: &'c Contents, path: &GatewayPath) -> Option<&'c Entity> {
    let id = StoredGateway::entity_id(&path.account_id, &path.gateway_id);
    contents.find(Kind::Gateway, &id)
}

/// The version that a change is for; `None`: whichever there is.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let version = quoted.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(Failure::changed)
}

async fn read(control: &Control) -> Result<Contents, Failure> {
    blocking(control, |control| Ok(control.config.read()?)).await
}
