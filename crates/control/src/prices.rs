//! What models cost: the prices that requests are charged by.

use std::collections::BTreeMap;

use axum::extract::{Path, RawQuery, State};
use isango_types::price::{Charge, Price, format_usd};
use isango_types::{PriceTable, Timestamp};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::Control;
use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::error::FailureBody;
use crate::params::Params;

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
    /// Where it was read: a page, or `configured`.
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
/// configuration before it.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/prices", tag = "prices",
    params(("account_id" = String, Path, description = "The account."), PriceParams, PageParams),
    responses((status = 200, body = Envelope<Vec<PriceView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(_account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<PriceView>> {
    let query = query.unwrap_or_default();
    let page = Page::read(&query, (100, 20))?;
    let params = Params::read(&query, &KNOWN)?;
    let at = params.moment("at")?.unwrap_or_else(|| control.clock.now());
    let prices = control.cell.get();
    let prices = &*prices.prices;
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
