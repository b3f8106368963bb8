//! What models cost: the prices that requests are charged by.

use std::collections::BTreeMap;

use axum::extract::{Path, RawQuery, State};
use isango_store::config::{Change, Contents, Kind};
use isango_store::prices::{MAX_ROWS, StoredPrice, all as stored_prices};
use isango_types::price::{Charge, Price, format_usd};
use isango_types::{PriceTable, RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::Members;
use crate::error::{Failure, FailureBody};
use crate::params::Params;
use crate::{Control, blocking};

/// Which prices.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct PriceParams {
    /// A part of a provider's slug.
    provider: Option<String>,
    /// A part of a model's name. Where none has it, and `provider` is a slug: the price that a
    /// request would be charged by whose answer names this model.
    model: Option<String>,
    /// At this moment instead of now (RFC 3339).
    at: Option<String>,
}

/// A price.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PriceView {
    /// Slug of the provider.
    provider: String,
    /// The model.
    model: String,
    /// What records name it by.
    price: String,
    /// Since when it holds; null: as far back as the list goes.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Timestamp>,
    /// Where it was read: a page, `configured`, or `own` where the account set it.
    source: String,
    /// By what is charged.
    rates: BTreeMap<&'static str, RateView>,
}

/// A rate, below any tier.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RateView {
    /// US dollars, as a text of decimals.
    usd: String,
    /// For how many tokens, characters, milliseconds or pieces.
    per: u64,
}

/// The parameters of the list.
const KNOWN: [&str; 8] = [
    "provider",
    "model",
    "at",
    "page",
    "per_page",
    "cursor",
    "search",
    "direction",
];

/// List prices
///
/// Every model that has a price of its own, by provider: the bundled list, with the rows of the
/// configuration before it, and those of the account before both.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/prices", tag = "prices",
    params(("account_id" = String, Path, description = "The account."), PriceParams, PageParams),
    responses((status = 200, body = Envelope<Vec<PriceView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<PriceView>> {
    let query = query.unwrap_or_default();
    let page = Page::read(&query, (100, 20))?;
    let params = Params::read(&query, &KNOWN)?;
    let at = params.moment("at")?.unwrap_or_else(|| control.clock.now());
    let snapshot = control.cell.get();
    let prices = &**snapshot.prices_of(&account);
    let (provider, model) = (params.get("provider"), params.get("model"));
    let holds = |name: &str, part: Option<&str>| part.is_none_or(|part| name.contains(part));
    let mut found: Vec<PriceView> = prices
        .providers()
        .into_iter()
        .filter(|slug| holds(slug, provider))
        .flat_map(|slug| of_provider(prices, slug, at))
        .filter(|view| holds(&view.model, model))
        .collect();
    if let (true, Some(provider), Some(model)) = (found.is_empty(), provider, model) {
        found.extend(PriceView::of(prices, provider, model, at));
    }
    Ok(Done::page(found, &page))
}

fn of_provider(prices: &PriceTable, provider: &str, at: Timestamp) -> Vec<PriceView> {
    let models = prices.models(provider).into_iter();
    models
        .filter_map(|model| PriceView::of(prices, provider, model, at))
        .collect()
}

impl Listed for PriceView {
    fn place(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

impl PriceView {
    fn of(prices: &PriceTable, provider: &str, model: &str, at: Timestamp) -> Option<Self> {
        let price = prices.find(provider, model, at)?;
        Some(Self {
            provider: provider.into(),
            model: model.into(),
            price: price.to_string(),
            // The list's rows without a date hold since the beginning of time.
            effective_from: price.effective_from().filter(|at| at.as_micros() > 0),
            source: price.source().into(),
            rates: rates(&price),
        })
    }
}

fn rates(price: &Price<'_>) -> BTreeMap<&'static str, RateView> {
    let rate = |charge: Charge| {
        let usd = format_usd(price.rate(charge)?);
        let per = charge.per();
        Some((charge.as_str(), RateView { usd, per }))
    };
    Charge::ALL.into_iter().filter_map(rate).collect()
}

/// A row of prices of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct PricePath {
    /// The account.
    account_id: String,
    /// The row.
    price_id: String,
}

/// A row to set: keys of `[[prices]]` of the configuration.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body, which is read by the rules of the configuration"
)]
pub(crate) struct NewPrice {
    /// Slug of the provider.
    provider: String,
    /// The model.
    model: String,
    /// US dollars for a million tokens of input.
    input: Option<String>,
    /// US dollars for a million tokens of output.
    output: Option<String>,
}

/// A row that the account has set.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OwnPrice {
    /// Its id.
    id: Box<str>,
    /// When it was set.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Keys of `[[prices]]` of the configuration.
    #[schema(value_type = Object)]
    row: Map<String, Value>,
}

impl From<StoredPrice> for OwnPrice {
    fn from(stored: StoredPrice) -> Self {
        Self {
            id: stored.id,
            created_at: stored.created_at,
            row: stored.row,
        }
    }
}

impl Listed for OwnPrice {
    fn place(&self) -> String {
        self.id.as_ref().to_owned()
    }

    fn name(&self) -> String {
        let text = |name: &str| self.row.get(name).and_then(Value::as_str);
        let (provider, model) = (text("provider"), text("model"));
        format!(
            "{}/{}",
            provider.unwrap_or_default(),
            model.unwrap_or_default()
        )
    }
}

/// List prices of one's own
///
/// The rows that the account has set, the oldest first.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/prices/own", tag = "prices",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<OwnPrice>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn own(
    State(control): State<Control>,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<OwnPrice>> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let own = of_account(&contents, &account);
        Ok(Done::page(
            own.into_iter().map(OwnPrice::from).collect(),
            &page,
        ))
    })
    .await
}

/// Set a price
///
/// It holds for requests of the account from now on, before every other price of the model. What was
/// recorded keeps its cost.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/prices", tag = "prices",
    params(("account_id" = String, Path, description = "The account.")), request_body = NewPrice,
    responses((status = 200, body = Envelope<OwnPrice>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(row): Members,
) -> Answer<OwnPrice> {
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        if of_account(&contents, &account).len() >= MAX_ROWS {
            let message = format!("an account has at most {MAX_ROWS} prices of its own");
            return Err(Failure::full(message));
        }
        let stored = StoredPrice {
            id: RecordId::new(author.at).to_string().into(),
            account: account.into(),
            created_at: author.at,
            row,
        };
        let id = StoredPrice::entity_id(&stored.account, &stored.id);
        let body = serde_json::to_string(&stored).map_err(|error| Failure::internal(&error))?;
        let change = Change::add(Kind::Price, &id, body);
        control.config.commit_as(&author, &[change])?;
        Ok(Done::new(stored.into()))
    })
    .await
}

/// Take a price back
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/isango/prices/{price_id}",
    tag = "prices", params(PricePath),
    responses((status = 200, body = Envelope<OwnPrice>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<PricePath>,
) -> Answer<OwnPrice> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let id = StoredPrice::entity_id(&path.account_id, &path.price_id);
        let entity = contents.find(Kind::Price, &id);
        let entity = entity.ok_or_else(Failure::not_found)?;
        let stored = StoredPrice::parse(entity).map_err(|error| Failure::internal(&error))?;
        let author = caller.author(control);
        control
            .config
            .commit_as(&author, &[Change::remove(entity)])?;
        Ok(Done::new(stored.into()))
    })
    .await
}

/// The rows of an account. What cannot be read is told to the operator.
fn of_account(contents: &Contents, account: &str) -> Vec<StoredPrice> {
    let mut found = Vec::new();
    for row in stored_prices(contents) {
        match row {
            Ok(row) if *row.account == *account => found.push(row),
            Ok(_of_another) => {}
            Err(error) => tracing::error!(%error, "a stored price is not listed"),
        }
    }
    found
}
