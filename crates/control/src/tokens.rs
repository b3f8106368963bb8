//! Tokens of an account: made, listed, rotated, revoked. A token itself is told once, to whoever
//! made it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, State};
use isango_store::config;
use isango_store::config::history::As;
use isango_store::tokens::{self, StoredToken};
use isango_types::key::{Scope, Spend};
use isango_types::limit::Period;
use isango_types::price::{format_usd, parse_usd};
use isango_types::record::MetadataValue;
use isango_types::{Timestamp, Token};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// A token of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TokenPath {
    /// The account.
    account_id: String,
    /// The token, by its name.
    token_name: String,
}

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// Its name in records; unique.
    #[schema(pattern = "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$")]
    name: Box<str>,
    /// Gateways that it opens; none: all of the account.
    #[serde(default)]
    gateways: Vec<Box<str>>,
    /// Providers that it is for; none: all.
    #[serde(default)]
    providers: Vec<Box<str>>,
    /// Models that it is for, `*` at the end for any end; none: all.
    #[serde(default)]
    models: Vec<Box<str>>,
    /// `run`, `read`, `write`, `metadata_read`; `run` where none is named.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// Metadata of its requests, which wins over what the client claims.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: BTreeMap<Box<str>, MetadataValue>,
    /// When it ends.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// How much its requests may cost.
    #[serde(default)]
    spend: Option<SpendView>,
}

/// How much requests may cost in a turn of the calendar.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpendView {
    /// US dollars, as a text of decimals.
    limit_usd: String,
    /// `minute`, `hour`, `day`, `week` or `month`.
    #[schema(value_type = String)]
    period: Period,
    /// By whose calendar; UTC.
    #[serde(default = "utc")]
    time_zone: Box<str>,
}

fn utc() -> Box<str> {
    "UTC".into()
}

/// How a token is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// Seconds that the old token opens gateways beside the new one; a day.
    #[serde(default = "day")]
    #[schema(maximum = 7_776_000)]
    grace_s: u64,
}

const fn day() -> u64 {
    86_400
}

/// A token, without itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    /// Its name.
    name: Box<str>,
    /// Gateways that it opens; none: all of the account.
    gateways: Vec<Box<str>>,
    /// Providers that it is for; none: all.
    providers: Vec<Box<str>>,
    /// Models that it is for; none: all.
    models: Vec<Box<str>>,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// Metadata of its requests.
    #[schema(value_type = Object)]
    metadata: BTreeMap<Box<str>, MetadataValue>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// How much its requests may cost.
    spend: Option<SpendView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last rotated.
    #[schema(value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl Listed for TokenView {
    fn place(&self) -> String {
        self.name.as_ref().to_owned()
    }
}

/// A token that was just made, with itself: this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MadeToken {
    #[serde(flatten)]
    token: TokenView,
    /// The token itself, which is kept nowhere.
    value: String,
}

impl TokenView {
    fn of(stored: StoredToken) -> Self {
        let StoredToken {
            token,
            created_at,
            rotated_at,
            revoked_at,
        } = stored;
        Self {
            name: token.name,
            gateways: token.gateways,
            providers: token.providers,
            models: token.models,
            scopes: token.scopes,
            metadata: token.metadata,
            expires_at: token.expires_at,
            spend: token.spend.map(|spend| SpendView {
                limit_usd: format_usd(spend.limit_nanousd),
                period: spend.period,
                time_zone: spend.time_zone,
            }),
            created_at,
            rotated_at,
            revoked_at,
        }
    }
}

/// List tokens
///
/// Those that are stored; the configuration file's are in the file.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/tokens", tag = "tokens",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<TokenView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<TokenView>> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let all = tokens::all(&contents).filter_map(Result::ok);
        let of_account = all.filter(|stored| *stored.token.account == *account);
        Ok(Done::page(of_account.map(TokenView::of).collect(), &page))
    })
    .await
}

/// Make a token
///
/// The token itself is told in `value`, this once.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/tokens", tag = "tokens",
    params(("account_id" = String, Path, description = "The account.")),
    request_body = NewToken,
    responses((status = 200, body = Envelope<MadeToken>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<MadeToken> {
    let new: NewToken = body::read(&members)?;
    let mut token = Token::new(&account, &new.name);
    token.gateways = new.gateways;
    token.providers = new.providers;
    token.models = new.models;
    token.metadata = new.metadata;
    token.expires_at = new.expires_at;
    if !new.scopes.is_empty() {
        token.scopes = new.scopes;
    }
    if let Some(spend) = new.spend {
        let limit_nanousd = parse_usd(&spend.limit_usd)
            .map_err(|wrong| Failure::wrong(&["spend", "limit_usd"], wrong.to_string()))?;
        token.spend = Some(Spend {
            limit_nanousd,
            period: spend.period,
            time_zone: spend.time_zone,
        });
    }
    blocking(&control, move |control| {
        let author = caller.author(control);
        let now = author.at;
        let name = token.name.clone();
        let authored = As::new(&*control.config, author);
        let secret = tokens::create(&authored, token, now).map_err(told)?;
        let value = secret.expose().to_owned();
        let token = TokenView::of(find(control, &account, &name)?);
        Ok(Done::new(MadeToken { token, value }))
    })
    .await
}

/// Put a new token in the place of an old one
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/tokens/{token_name}/rotate",
    tag = "tokens", params(TokenPath), request_body = Rotation,
    responses((status = 200, body = Envelope<MadeToken>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn rotate(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<TokenPath>,
    Members(members): Members,
) -> Answer<MadeToken> {
    let rotation: Rotation = body::read(&members)?;
    let grace = Duration::from_secs(rotation.grace_s);
    if grace > tokens::MAX_GRACE {
        let message = format!("`grace_s` is at most {}", tokens::MAX_GRACE.as_secs());
        return Err(Failure::wrong(&["grace_s"], message));
    }
    blocking(&control, move |control| {
        let (account, name) = (&path.account_id, &path.token_name);
        find(control, account, name)?;
        let author = caller.author(control);
        let now = author.at;
        let authored = As::new(&*control.config, author);
        let secret = tokens::rotate(&authored, (account, name), grace, now).map_err(told)?;
        let value = secret.expose().to_owned();
        let token = TokenView::of(find(control, account, name)?);
        Ok(Done::new(MadeToken { token, value }))
    })
    .await
}

/// Revoke a token
///
/// It ends at once; its name stays taken, so that records of two tokens never mix.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/isango/tokens/{token_name}",
    tag = "tokens", params(TokenPath),
    responses((status = 200, body = Envelope<TokenView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn revoke(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<TokenPath>,
) -> Answer<TokenView> {
    blocking(&control, move |control| {
        let (account, name) = (&path.account_id, &path.token_name);
        find(control, account, name)?;
        let author = caller.author(control);
        let now = author.at;
        let authored = As::new(&*control.config, author);
        tokens::revoke(&authored, (account, name), now).map_err(told)?;
        Ok(Done::new(TokenView::of(find(control, account, name)?)))
    })
    .await
}

fn find(control: &Control, account: &str, name: &str) -> Result<StoredToken, Failure> {
    let contents = control.config.read()?;
    let mut all = tokens::all(&contents).filter_map(Result::ok);
    all.find(|stored| *stored.token.account == *account && *stored.token.name == *name)
        .ok_or_else(Failure::not_found)
}

fn told(error: tokens::Error) -> Failure {
    match error {
        tokens::Error::Wrong(_) => Failure::wrong(&[], error.to_string()),
        tokens::Error::Taken(_) => Failure::taken(error.to_string()),
        tokens::Error::Unknown(_) => Failure::not_found(),
        tokens::Error::Revoked(_)
        | tokens::Error::TooManyDigests(_)
        | tokens::Error::Refused(..) => Failure::taken(error.to_string()),
        tokens::Error::Full(message) => Failure::full(message),
        tokens::Error::Store(config::Error::Conflict { .. }) => Failure::changed(),
        tokens::Error::Store(error) => error.into(),
        tokens::Error::Damaged(_) | tokens::Error::Random => Failure::internal(&error),
    }
}
