//! Credentials of providers that are stored for a gateway (management-api section 6). They are told
//! by their last characters; nobody reads them again.

use axum::extract::{Path, State};
use isango_store::config;
use isango_store::config::history::As;
use isango_store::credentials::{self, Origin, Place, Stored};
use isango_types::credential::DEFAULT_ALIAS;
use isango_types::{Provider, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams, Remark};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::gateways::{self, GatewayPath};
use crate::{Control, blocking};

/// A stored credential of a gateway.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ConfigPath {
    /// The account.
    account_id: String,
    /// The gateway.
    gateway_id: String,
    /// The credential: provider and alias with a dot between.
    config_id: String,
}

/// A credential to store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConfig {
    /// Slug of the provider.
    provider_slug: String,
    /// What `cf-aig-byok-alias` calls it.
    #[schema(pattern = "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$")]
    alias: String,
    /// Whether requests use it that name none: those use the alias `default`.
    default_config: bool,
    /// The credential itself.
    #[serde(default)]
    secret: Option<String>,
    /// Not used: there is no store of secrets apart from the gateway.
    #[serde(default)]
    secret_id: Option<String>,
    /// Requests that may use it in a period.
    #[serde(default)]
    #[schema(minimum = 1)]
    rate_limit: Option<u32>,
    /// Seconds of the period; 60.
    #[serde(default)]
    #[schema(minimum = 1)]
    rate_limit_period: Option<u32>,
}

/// The credential that takes the place of another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// The credential itself.
    secret: String,
}

/// A stored credential, without itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ConfigView {
    /// Provider and alias with a dot between.
    id: String,
    /// Slug of the provider.
    provider_slug: Box<str>,
    /// What `cf-aig-byok-alias` calls it.
    alias: Box<str>,
    /// Whether requests use it that name none.
    default_config: bool,
    /// The gateway.
    gateway_id: Box<str>,
    /// Its name among secrets.
    secret_id: String,
    /// How it ends, or its kind.
    secret_preview: Box<str>,
    /// When it was last stored.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// Requests that may use it in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u32>,
    /// Seconds of the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_period: Option<u32>,
}

impl ConfigView {
    fn of(stored: &Stored) -> Self {
        let Place {
            gateway,
            provider,
            alias,
            ..
        } = &stored.place;
        Self {
            id: format!("{provider}.{alias}"),
            provider_slug: provider.clone(),
            alias: alias.clone(),
            default_config: **alias == *DEFAULT_ALIAS,
            gateway_id: gateway.clone(),
            secret_id: format!("{gateway}_{provider}_{alias}"),
            secret_preview: stored.preview.clone(),
            modified_at: stored.modified_at,
            rate_limit: stored.rate_limit,
            rate_limit_period: stored.rate_limit_period_s,
        }
    }
}

impl Listed for ConfigView {
    fn place(&self) -> String {
        self.id.clone()
    }
}

/// List stored credentials
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs",
    tag = "provider keys", params(GatewayPath, PageParams),
    responses((status = 200, body = Envelope<Vec<ConfigView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(path): Path<GatewayPath>,
    page: Page,
) -> Answer<Vec<ConfigView>> {
    blocking(&control, move |control| {
        gateways::must_be(control, &path)?;
        let all = of_gateway(control, &path)?;
        Ok(Done::page(all.iter().map(ConfigView::of).collect(), &page))
    })
    .await
}

/// Store a credential
#[utoipa::path(post,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs",
    tag = "provider keys", params(GatewayPath), request_body = NewConfig,
    responses((status = 200, body = Envelope<ConfigView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<GatewayPath>,
    Members(members): Members,
) -> Answer<ConfigView> {
    let new: NewConfig = body::read(&members)?;
    if new.secret_id.is_some() || new.secret.is_none() {
        let message = "`secret` is needed: there is no store of secrets apart from the gateway";
        return Err(Failure::wrong(&["secret"], message));
    }
    if new.rate_limit.is_none() && new.rate_limit_period.is_some() {
        let message = "a period without `rate_limit` says nothing";
        return Err(Failure::wrong(&["rate_limit_period"], message));
    }
    blocking(&control, move |control| {
        gateways::must_be(control, &path)?;
        let provider = control.cell.load().provider(&new.provider_slug).cloned();
        let provider = provider.ok_or_else(|| {
            let message = format!("there is no provider `{}`", new.provider_slug);
            Failure::wrong(&["provider_slug"], message)
        })?;
        let place = Place {
            account: path.account_id.as_str().into(),
            gateway: path.gateway_id.as_str().into(),
            provider: provider.slug.clone(),
            alias: new.alias.as_str().into(),
        };
        if of_gateway(control, &path)?.iter().any(|one| one.place == place) {
            let (slug, alias) = (&place.provider, &place.alias);
            return Err(Failure::taken(format!("there is a key `{alias}` of `{slug}` already")));
        }
        let period = new.rate_limit_period.unwrap_or(credentials::DEFAULT_PERIOD_S);
        let rate = new.rate_limit.map(|limit| (limit, period));
        let secret = Secret::new(new.secret.unwrap_or_default());
        let stored = store(control, &caller, &place, (&provider, secret, rate))?;
        let view = ConfigView::of(&stored);
        let is_default = view.default_config;
        let remark = Remark {
            code: Code::NotDefault,
            message: format!(
                "requests that name no alias use `{DEFAULT_ALIAS}`; `default_config` is {is_default}"
            ),
        };
        let differs = new.default_config != is_default;
        Ok(Done::new(view).remarks(if differs { vec![remark] } else { Vec::new() }))
    })
    .await
}

/// Read of a stored credential
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs/{config_id}",
    tag = "provider keys", params(ConfigPath),
    responses((status = 200, body = Envelope<ConfigView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<ConfigPath>,
) -> Answer<ConfigView> {
    blocking(&control, move |control| {
        let stored = find(control, &path)?;
        Ok(Done::new(ConfigView::of(&stored)))
    })
    .await
}

/// Put another credential in the place of a stored one
#[utoipa::path(put,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs/{config_id}",
    tag = "provider keys", params(ConfigPath), request_body = NewSecret,
    responses((status = 200, body = Envelope<ConfigView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ConfigPath>,
    Members(members): Members,
) -> Answer<ConfigView> {
    let new: NewSecret = body::read(&members)?;
    blocking(&control, move |control| {
        let place = find(control, &path)?.place;
        let provider = control.cell.load().provider(&place.provider).cloned();
        let provider = provider.ok_or_else(Failure::not_found)?;
        let new = (&*provider, Secret::new(new.secret), None);
        let stored = store(control, &caller, &place, new)?;
        Ok(Done::new(ConfigView::of(&stored)))
    })
    .await
}

/// Remove a stored credential
#[utoipa::path(delete,
    path = "/client/v4/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs/{config_id}",
    tag = "provider keys", params(ConfigPath),
    responses((status = 200, body = Envelope<ConfigView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ConfigPath>,
) -> Answer<ConfigView> {
    blocking(&control, move |control| {
        let stored = find(control, &path)?;
        let authored = As::new(&*control.config, caller.author(control));
        credentials::remove(&authored, &stored.place).map_err(told)?;
        Ok(Done::new(ConfigView::of(&stored)))
    })
    .await
}

/// Checks a credential, seals and stores it; what was stored.
fn store(
    control: &Control,
    caller: &Caller,
    place: &Place,
    (provider, secret, rate): (&Provider, Secret, Option<(u32, u32)>),
) -> Result<Stored, Failure> {
    let keyring = (control.keyring)().ok_or_else(|| {
        let message = "there is no key to seal with: the operator sets `secrets.key`";
        Failure::wrong(&["secret"], message)
    })?;
    let of = (&*provider.slug, provider.path);
    let new = credentials::checked(of, secret, rate, Origin::Api, &|_name| None).map_err(told)?;
    let author = caller.author(control);
    let now = author.at;
    let authored = As::new(&*control.config, author);
    credentials::set(&authored, &keyring, place.clone(), new, now).map_err(told)?;
    let contents = control.config.read()?;
    let stored = credentials::all(&contents).filter_map(Result::ok);
    let mut stored = stored.filter(|one| one.place == *place);
    stored.next().ok_or_else(Failure::changed)
}

/// What is stored for a gateway, by provider and alias. What cannot be read is told to the operator.
fn of_gateway(control: &Control, path: &GatewayPath) -> Result<Vec<Stored>, Failure> {
    let contents = control.config.read()?;
    let is_of = |stored: &Stored| {
        *stored.place.account == *path.account_id && *stored.place.gateway == *path.gateway_id
    };
    let all = credentials::all(&contents);
    Ok(all.filter_map(Result::ok).filter(is_of).collect())
}

fn find(control: &Control, path: &ConfigPath) -> Result<Stored, Failure> {
    let gateway = GatewayPath {
        account_id: path.account_id.clone(),
        gateway_id: path.gateway_id.clone(),
    };
    let (provider, alias) = path.config_id.split_once('.').unwrap_or_default();
    let mut all = of_gateway(control, &gateway)?.into_iter();
    all.find(|stored| *stored.place.provider == *provider && *stored.place.alias == *alias)
        .ok_or_else(Failure::not_found)
}

fn told(error: credentials::Error) -> Failure {
    match error {
        credentials::Error::Wrong(message) => Failure::wrong(&["secret"], message),
        credentials::Error::Unknown(_) => Failure::not_found(),
        credentials::Error::Refused(..) => Failure::wrong(&["secret"], error.to_string()),
        credentials::Error::Full => Failure::full(error.to_string()),
        credentials::Error::Store(config::Error::Conflict { .. }) => Failure::changed(),
        credentials::Error::Store(error) => error.into(),
        credentials::Error::Damaged(..) | credentials::Error::Seal(..) => Failure::internal(&error),
    }
}
