//! What tokens cost, in integer nano-dollars.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::usage::Usage;

/// What one exchange cost, or why that is not known. Never a silent 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// How far `nanousd` is to be trusted.
    pub status: CostStatus,
    /// The amount in nano-dollars (10⁻⁹ USD); `None` when it is not known.
    pub nanousd: Option<u64>,
    /// Which row of which version of the price list gave it (`2026-11-20/openai/gpt-4o`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Box<str>>,
}

/// How a cost came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostStatus {
    /// The provider's usage times the price list.
    Priced,
    /// A usage that we counted times the price list.
    Estimated,
    /// The client's `cf-aig-custom-cost`.
    Custom,
    /// Nothing was bought: refused, failed, or a call that providers do not bill.
    Free,
    /// There is a usage but no price for this model.
    Unpriced,
    /// Something was bought but the answer told no usage.
    #[default]
    NoUsage,
}

/// The price list. See `price` helper documentation; filled from `prices.json`.
#[derive(Debug, Default)]
pub struct PriceTable {}

impl PriceTable {
    /// What `usage` of `model` at `provider` cost at `at`.
    #[must_use]
    pub fn cost(&self, _provider: &str, _model: &str, _usage: &Usage, _at: Timestamp) -> Cost {
        Cost::default()
    }
}
