//! What accounts have for themselves beside the configuration: providers, prices, and alerts that are
//! quiet. Compiled from what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use isango_store::config::{Invalid, Wrong};
use isango_store::prices::StoredPrice;
use isango_store::providers::{StoredCost, StoredProvider};
use isango_types::price::PriceRow;
use isango_types::provider::{BaseUrl, Provider, ProviderConfig, ProviderError};
use isango_types::snapshot::OfAccount;
use isango_types::{PriceTable, Secret, Timestamp};
use serde_json::{Map, Value, json};

use crate::config::Config;

/// What of `token_pricing` is charged by what, and whether it is for each piece rather than token.
const TOKEN_PRICES: [(&str, &str, bool); 9] = [
    ("input_tokens", "input", false),
    ("input_text_tokens", "input", false),
    ("input_cached_tokens", "cache_read", false),
    ("input_cache_creation_tokens", "cache_write", false),
    ("input_audio_tokens", "audio_input", false),
    ("input_image_tokens", "image_input", false),
    ("output_tokens", "output", false),
    ("output_reasoning_tokens", "reasoning", false),
    ("output_image_count", "image", true),
];

/// An account, `gateway/alert`, and until when that is quiet.
pub(crate) type Muted = (Box<str>, Box<str>, Timestamp);

fn wrong(path: &[&str], message: impl Into<String>) -> Invalid {
    Invalid(vec![Wrong {
        path: path.iter().map(|name| (*name).into()).collect(),
        message: message.into(),
    }])
}

/// A stored provider as requests use it.
///
/// # Errors
/// Everything that is wrong with it, or its headers cannot be opened.
pub(crate) fn provider(config: &Config, stored: &StoredProvider) -> Result<Provider, Invalid> {
    let name = stored.name();
    if config.providers.iter().any(|one| one.is_called(&name)) {
        let message = format!("the configuration has a provider `{name}`");
        return Err(wrong(&["slug"], message));
    }
    let text = |member: &str| stored.fields.get(member).and_then(Value::as_str);
    let base_url = text("base_url").unwrap_or_default();
    let base_url = BaseUrl::parse(base_url);
    let base_url = base_url.map_err(|error| wrong(&["base_url"], error.to_string()))?;
    let allowed = config.custom_providers_allow_private;
    if !allowed && !base_url.https {
        let message = "must be an https URL; `custom_providers.allow_private` admits others";
        return Err(wrong(&["base_url"], message));
    }
    if base_url.placeholders().next().is_some() {
        return Err(wrong(&["base_url"], "it may hold no placeholders"));
    }
    let settings = ProviderConfig {
        name: text("name").map(Box::from),
        base_url: Some(base_url),
        headers: headers(config, stored)?,
        ..ProviderConfig::default()
    };
    let provider = settings.into_provider(&name, &[]);
    let mut provider = provider.map_err(|error| {
        let is_of_header = matches!(error, ProviderError::Header { .. });
        let member = if is_of_header { "headers" } else { "slug" };
        wrong(&[member], error.to_string())
    })?;
    provider.trusted = allowed;
    Ok(provider)
}

fn headers(
    config: &Config,
    stored: &StoredProvider,
) -> Result<BTreeMap<Box<str>, Secret>, Invalid> {
    if stored.sealed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Some(keyring) = &config.keyring else {
        return Err(wrong(
            &["headers"],
            "there is no `secrets.key` to open them with",
        ));
    };
    let opened = stored.open(keyring);
    let opened = opened.map_err(|error| wrong(&["headers"], error.to_string()))?;
    let Some(opened) = opened else {
        return Ok(BTreeMap::new());
    };
    let read: Map<String, Value> = serde_json::from_str(opened.expose())
        .map_err(|_no_object| wrong(&["headers"], "they are no JSON object"))?;
    let texts = read.iter().map(|(name, value)| match value.as_str() {
        Some(text) => Ok((name.as_str().into(), Secret::new(text))),
        None => Err(wrong(&["headers"], format!("`{name}` must be a text"))),
    });
    texts.collect()
}

/// The row of prices that a rule of costs is; `None`: it is not in force.
///
/// # Errors
/// It is none.
pub(crate) fn cost(
    provider: &StoredProvider,
    cost: &StoredCost,
) -> Result<Option<PriceRow>, Invalid> {
    let fields = &cost.fields;
    if fields.get("enable") == Some(&Value::Bool(false)) {
        return Ok(None);
    }
    let text = |member: &str| fields.get(member).and_then(Value::as_str);
    let model = text("model").unwrap_or_default();
    let mut row = Map::new();
    let (name, pattern) = match text("model_rule") {
        Some("starts-with") => (format!("{model}*"), Some("starts_with")),
        Some("contains") => (format!("*{model}*"), Some("contains")),
        _equals => (model.to_owned(), None),
    };
    if let Some(pattern) = pattern {
        row.insert(pattern.into(), json!([model]));
    }
    row.insert("provider".into(), provider.name().into());
    row.insert("model".into(), name.into());
    for (member, charge) in [("cost_in", "input"), ("cost_out", "output")] {
        if let Some(usd) = fields.get(member).filter(|usd| !usd.is_null()) {
            row.insert(charge.into(), per_million(usd).into());
        }
    }
    let detailed = fields.get("token_pricing").and_then(Value::as_object);
    for (member, usd) in detailed.into_iter().flatten() {
        let known = TOKEN_PRICES.iter().find(|(name, ..)| name == member);
        if let Some((_, charge, is_piece)) = known {
            let usd = match is_piece {
                true => usd.to_string(),
                false => per_million(usd),
            };
            row.insert((*charge).into(), usd.into());
        }
    }
    let row = serde_json::from_value(Value::Object(row));
    let row = row.map_err(|error| wrong(&[], error.to_string()))?;
    Ok(Some(row))
}

/// US dollars for a million of what costs so much each, exactly.
fn per_million(usd: &Value) -> String {
    let text = usd.to_string();
    match text.split_once(['e', 'E']) {
        None => format!("{text}e6"),
        Some((digits, exponent)) => {
            let exponent: i64 = exponent.parse().unwrap_or(0);
            format!("{digits}e{}", exponent + 6)
        }
    }
}

/// A row that an account has stored.
///
/// # Errors
/// It is none.
pub(crate) fn price(stored: &StoredPrice) -> Result<PriceRow, Invalid> {
    let row = serde_json::from_value(Value::Object(stored.row.clone()));
    row.map_err(|error| wrong(&[], error.to_string()))
}

/// What each account has for itself, and what is not in force, in words.
pub(crate) fn compile(
    config: &Config,
    (providers, prices): (&[StoredProvider], &[StoredPrice]),
    muted: &[Muted],
) -> (BTreeMap<Box<str>, OfAccount>, Vec<String>) {
    let mut accounts: BTreeMap<Box<str>, OfAccount> = BTreeMap::new();
    let mut rows: BTreeMap<Box<str>, Vec<PriceRow>> = BTreeMap::new();
    let mut doubts = Vec::new();
    for stored in providers {
        let (account, slug) = (&stored.account, &stored.slug);
        if stored.is_enabled() {
            match provider(config, stored) {
                Ok(provider) => {
                    let own = accounts.entry(account.clone()).or_default();
                    own.providers.push(Arc::new(provider));
                }
                Err(invalid) => doubts.push(format!(
                    "the provider `custom-{slug}` of account `{account}` is not in force: {invalid}"
                )),
            }
        }
        let mut costs: Vec<&StoredCost> = stored.costs.iter().collect();
        costs.sort_by_key(|cost| cost.fields.get("weight").and_then(Value::as_i64));
        for one in costs {
            match cost(stored, one) {
                Ok(row) => rows.entry(account.clone()).or_default().extend(row),
                Err(invalid) => doubts.push(format!(
                    "a price of `custom-{slug}` of account `{account}` is not in force: {invalid}"
                )),
            }
        }
    }
    for stored in prices {
        match price(stored) {
            Ok(row) => rows.entry(stored.account.clone()).or_default().push(row),
            Err(invalid) => doubts.push(format!(
                "a price of account `{}` is not in force: {invalid}",
                stored.account
            )),
        }
    }
    for (account, rows) in rows {
        match own_prices(&config.prices, rows) {
            Ok(table) => accounts.entry(account).or_default().prices = Some(Arc::new(table)),
            Err(invalid) => doubts.push(format!(
                "the prices of account `{account}` are not in force: {invalid}"
            )),
        }
    }
    for (account, alert, until) in muted {
        let own = accounts.entry(account.clone()).or_default();
        own.muted.insert(alert.clone(), *until);
    }
    (accounts, doubts)
}

/// The prices of everybody with those of an account in front.
///
/// # Errors
/// A row contradicts itself or another.
fn own_prices(prices: &PriceTable, rows: Vec<PriceRow>) -> Result<PriceTable, Invalid> {
    let table = prices.with_own(rows);
    table.map_err(|error| wrong(&[], error.to_string()))
}

/// Checks what accounts would have for themselves.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(
    config: &Config,
    account: &str,
    providers: &[StoredProvider],
    prices: &[StoredPrice],
) -> Result<(), Invalid> {
    let mut rows = Vec::new();
    let providers: Vec<&StoredProvider> = providers
        .iter()
        .filter(|one| *one.account == *account)
        .collect();
    for (n, stored) in providers.iter().enumerate() {
        if providers[..n].iter().any(|other| other.slug == stored.slug) {
            return Err(wrong(&["slug"], "there is a provider of this slug already"));
        }
        provider(config, stored)?;
        for one in &stored.costs {
            rows.extend(cost(stored, one)?);
        }
    }
    for stored in prices.iter().filter(|one| *one.account == *account) {
        rows.push(price(stored)?);
    }
    own_prices(&config.prices, rows).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_for_each_are_prices_for_a_million() {
        for (each, million) in [
            ("0.0000025", "0.0000025e6"),
            ("2.5e-6", "2.5e0"),
            ("3", "3e6"),
            ("1e-7", "1e-1"),
        ] {
            let value: Value = serde_json::from_str(each).unwrap();
            let told = per_million(&value);
            let read = isango_types::price::parse_usd(&told).unwrap();
            assert_eq!(
                read,
                isango_types::price::parse_usd(million).unwrap(),
                "{told}"
            );
        }
    }
}
