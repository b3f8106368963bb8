//! The names of dimensions, quantities and measures, as the API and the command line use them.

use std::fmt;

use super::{Dimension, Measure, Quantity};

const DIMENSIONS: [(&str, Dimension); 28] = [
    ("account", Dimension::Account),
    ("gateway", Dimension::Gateway),
    ("provider", Dimension::Provider),
    ("target", Dimension::Target),
    ("resource", Dimension::Resource),
    ("deployment", Dimension::Deployment),
    ("operation", Dimension::Operation),
    ("model", Dimension::Model),
    ("model_requested", Dimension::ModelRequested),
    ("status", Dimension::Status),
    ("status_class", Dimension::StatusClass),
    ("result", Dimension::Result),
    ("outcome", Dimension::Outcome),
    ("code", Dimension::Code),
    ("blame", Dimension::Blame),
    ("cache", Dimension::Cache),
    ("cost_status", Dimension::CostStatus),
    ("price", Dimension::Price),
    ("limit", Dimension::Limit),
    ("verdict", Dimension::Verdict),
    ("finish_reason", Dimension::FinishReason),
    ("stream", Dimension::Stream),
    ("token", Dimension::Token),
    ("user_agent", Dimension::UserAgent),
    ("method", Dimension::Method),
    ("path", Dimension::Path),
    ("request_type", Dimension::RequestType),
    ("response_type", Dimension::ResponseType),
];

const QUANTITIES: [(&str, Quantity); 20] = [
    ("cost", Quantity::Cost),
    ("tokens", Quantity::Tokens),
    ("tokens_in", Quantity::TokensIn),
    ("tokens_out", Quantity::TokensOut),
    ("cache_read", Quantity::CacheRead),
    ("cache_write", Quantity::CacheWrite),
    ("reasoning", Quantity::Reasoning),
    ("duration", Quantity::Duration),
    ("ttfb", Quantity::Ttfb),
    ("ttft", Quantity::Ttft),
    ("queue", Quantity::Queue),
    ("connect", Quantity::Connect),
    ("overhead", Quantity::Overhead),
    ("attempts", Quantity::Attempts),
    ("request_bytes", Quantity::RequestBytes),
    ("response_bytes", Quantity::ResponseBytes),
    ("saved_cost", Quantity::SavedCost),
    ("saved_time", Quantity::SavedTime),
    ("saved_tokens_in", Quantity::SavedTokensIn),
    ("saved_tokens_out", Quantity::SavedTokensOut),
];

/// Measures without a quantity.
const COUNTS: [(&str, Measure); 5] = [
    ("count", Measure::Count),
    ("errors", Measure::Errors),
    ("cached", Measure::Cached),
    ("unpriced", Measure::Unpriced),
    ("estimated", Measure::Estimated),
];

/// A text names no dimension, quantity or measure; it lists those that there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is none of {expected}")]
pub struct UnknownName {
    name: String,
    expected: String,
}

impl UnknownName {
    fn new<T>(name: &str, known: &[(&str, T)], also: &str) -> Self {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Self {
            name: name.into(),
            expected: names.join(", ") + also,
        }
    }
}

impl Dimension {
    /// Every dimension but for the keys of metadata.
    pub fn all() -> impl Iterator<Item = Self> {
        DIMENSIONS.into_iter().map(|(_, dimension)| dimension)
    }

    /// Reads a name: `model`, `status_class`, `meta.tenantId` or `metadata.tenantId`.
    ///
    /// # Errors
    /// There is no such dimension.
    pub fn parse(name: &str) -> Result<Self, UnknownName> {
        let key = name
            .strip_prefix("meta.")
            .or_else(|| name.strip_prefix("metadata."));
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Ok(Self::Metadata(key.into()));
        }
        let found = DIMENSIONS.into_iter().find(|(known, _)| *known == name);
        found
            .map(|(_, dimension)| dimension)
            .ok_or_else(|| UnknownName::new(name, &DIMENSIONS, ", meta.<key>"))
    }
}

impl Measure {
    /// Reads a name: `count`, `errors`, `cached`, `unpriced`, `estimated`; or with a quantity
    /// `sum:cost`, `known:cost`, `min:ttft`, `max:duration`, `p95:ttft`, `p99.9:duration`.
    ///
    /// # Errors
    /// There is no such measure, or no such quantity.
    pub fn parse(name: &str) -> Result<Self, UnknownName> {
        let unknown = || {
            let also = ", and of a quantity sum:, known:, min:, max:, p0: to p100:";
            UnknownName::new(name, &COUNTS, also)
        };
        let Some((what, quantity)) = name.split_once(':') else {
            let found = COUNTS.into_iter().find(|(known, _)| *known == name);
            return found.map(|(_, measure)| measure).ok_or_else(unknown);
        };
        let of = Quantity::parse(quantity);
        match what {
            "sum" => of.map(Self::Sum),
            "known" => of.map(Self::Known),
            "min" => of.map(Self::Min),
            "max" => of.map(Self::Max),
            _ => {
                let permille = what.strip_prefix('p').and_then(permille);
                let permille = permille.ok_or_else(unknown)?;
                of.map(|quantity| Self::Percentile(quantity, permille))
            }
        }
    }
}

/// Thousandths of a text of hundredths: `95`, `99.9`.
fn permille(text: &str) -> Option<u16> {
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(tenth) || tenth.len() != 1 || whole.len() > 3 {
        return None;
    }
    let permille = whole.parse::<u16>().ok()? * 10 + tenth.parse::<u16>().ok()?;
    (permille <= 1_000).then_some(permille)
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Metadata(key) = self {
            return write!(f, "meta.{key}");
        }
        let name = DIMENSIONS.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 20] = {
        let mut all = [Self::Cost; 20];
        let mut at = 0;
        while at < all.len() {
            all[at] = QUANTITIES[at].1;
            at += 1;
        }
        all
    };

    /// Reads a name: `cost`, `tokens_in`, `ttft`, …
    ///
    /// # Errors
    /// There is no such quantity.
    pub fn parse(name: &str) -> Result<Self, UnknownName> {
        let found = QUANTITIES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, quantity)| *quantity)
            .ok_or_else(|| UnknownName::new(name, &QUANTITIES, ""))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = QUANTITIES.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_what_it_names() {
        for (name, dimension) in DIMENSIONS {
            assert_eq!(Dimension::parse(name).unwrap(), dimension);
            assert_eq!(dimension.to_string(), name);
        }
        for (name, quantity) in QUANTITIES {
            assert_eq!(Quantity::parse(name).unwrap(), quantity);
            assert_eq!(quantity.as_str(), name);
        }
        let tenant = Dimension::Metadata("tenantId".into());
        assert_eq!(Dimension::parse("meta.tenantId").unwrap(), tenant);
        assert_eq!(Dimension::parse("metadata.tenantId").unwrap(), tenant);
        assert_eq!(tenant.to_string(), "meta.tenantId");
    }

    #[test]
    fn measures_are_read_with_their_quantity() {
        use Quantity::{Cost, Duration, Ttft};
        for (name, measure) in [
            ("count", Measure::Count),
            ("sum:cost", Measure::Sum(Cost)),
            ("known:cost", Measure::Known(Cost)),
            ("min:ttft", Measure::Min(Ttft)),
            ("max:ttft", Measure::Max(Ttft)),
            ("p0:ttft", Measure::Percentile(Ttft, 0)),
            ("p95:ttft", Measure::Percentile(Ttft, 950)),
            ("p99.9:duration", Measure::Percentile(Duration, 999)),
            ("p100:ttft", Measure::Percentile(Ttft, 1_000)),
        ] {
            assert_eq!(Measure::parse(name).unwrap(), measure, "{name}");
        }
        for wrong in [
            "",
            "counts",
            "cost",
            "sum",
            "sum:",
            "sum:money",
            "p:ttft",
            "p101:ttft",
            "p100.1:ttft",
            "p-1:ttft",
            "p9.99:ttft",
            "p+9:ttft",
            "avg:cost",
        ] {
            assert!(Measure::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_there_is_not_is_answered_with_those_that_there_are() {
        let error = Dimension::parse("modle").unwrap_err().to_string();
        assert!(
            error.starts_with("`modle` is none of account, gateway"),
            "{error}"
        );
        assert!(error.ends_with("response_type, meta.<key>"), "{error}");
        assert!(Dimension::parse("meta.").is_err());
        assert!(Quantity::parse("money").is_err());
    }
}
