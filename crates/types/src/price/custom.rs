//! `cf-aig-custom-cost`: prices that a client sends along (data-plane section 22).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal::{AmountError, scaled};
use super::{Cost, CostStatus};
use crate::usage::Usage;

/// Decimals of a dollar that a rate per token keeps; the next one could move the cost of 10²⁰
/// tokens by a nano-dollar.
const RATE_DECIMALS: u8 = 30;

/// 10⁻³⁰ dollars in a nano-dollar.
const PARTS_PER_NANO: u128 = 10_u128.pow(21);

/// What a client says its request costs.
///
/// A `total_cost` holds whatever was consumed; otherwise tokens are multiplied by their rates
/// (observability section 3, items 3 to 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomCost {
    /// Nano-dollars.
    total: Option<u64>,
    /// In 10⁻³⁰ dollars per token, as all that follow.
    input: u128,
    output: u128,
    cache_read: Option<u128>,
    cache_write: Option<u128>,
}

/// Why a `cf-aig-custom-cost` was not understood.
#[derive(Debug, thiserror::Error)]
pub enum CustomCostError {
    /// No JSON object of the known members.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An empty object.
    #[error("names no cost")]
    Empty,
    /// A member is no amount.
    #[error("`{member}`: {problem}")]
    Amount {
        /// Name of the member.
        member: &'static str,
        /// What is wrong with it.
        problem: AmountError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    total_cost: Option<&'a RawValue>,
    per_token_in: Option<&'a RawValue>,
    per_token_out: Option<&'a RawValue>,
    per_cache_read_token: Option<&'a RawValue>,
    per_cache_write_token: Option<&'a RawValue>,
}

impl CustomCost {
    /// Reads the header's value: a JSON object of numbers in US dollars, `per_token_in`,
    /// `per_token_out`, `per_cache_read_token`, `per_cache_write_token`, `total_cost`, with any
    /// number of decimals. A rate per token that is absent is 0, as the client left it.
    ///
    /// # Errors
    /// It is no such object, names nothing, has an unknown member, or a member that is no
    /// number, negative, or too large.
    pub fn parse(header: &str) -> Result<Self, CustomCostError> {
        let members: Members<'_> = serde_json::from_str(header)?;
        let amount = |member, value: Option<&RawValue>, decimals| {
            value
                .map(|value| scaled(value.get(), decimals))
                .transpose()
                .map_err(|problem| CustomCostError::Amount { member, problem })
        };
        let total = amount("total_cost", members.total_cost, 9)?;
        let input = amount("per_token_in", members.per_token_in, RATE_DECIMALS)?;
        let output = amount("per_token_out", members.per_token_out, RATE_DECIMALS)?;
        let read = amount(
            "per_cache_read_token",
            members.per_cache_read_token,
            RATE_DECIMALS,
        )?;
        let write = amount(
            "per_cache_write_token",
            members.per_cache_write_token,
            RATE_DECIMALS,
        )?;
        if [total, input, output, read, write]
            .iter()
            .all(Option::is_none)
        {
            return Err(CustomCostError::Empty);
        }
        Ok(Self {
            total: total.map(|total| u64::try_from(total).unwrap_or(u64::MAX)),
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cache_read: read,
            cache_write: write,
        })
    }

    /// What `usage` costs by these rates, where the provider counts cached tokens as input
    /// (OpenAI, Gemini, Cohere and most others).
    ///
    /// With a cache rate, cached tokens are taken out of the input and priced by it, a missing
    /// one by `per_token_in`. Without, they stay the input tokens that the provider counts.
    /// `no_usage` when tokens are needed and there are none.
    #[must_use]
    pub fn cost(&self, usage: Option<&Usage>) -> Cost {
        self.cost_of(usage, Usage::total_input)
    }

    /// The same, where the provider's input count leaves cached tokens out (Anthropic messages,
    /// Bedrock Converse): without a cache rate they are ignored.
    #[must_use]
    pub fn cost_with_separate_cache(&self, usage: Option<&Usage>) -> Cost {
        self.cost_of(usage, uncached_input)
    }

    fn cost_of(&self, usage: Option<&Usage>, input_count: impl Fn(&Usage) -> u64) -> Cost {
        let nanousd = match (self.total, usage.filter(|usage| !usage.is_empty())) {
            (Some(total), _) => total,
            (None, None) => return Cost::default(),
            (None, Some(usage)) => self.nanousd(usage, input_count(usage)),
        };
        Cost {
            status: CostStatus::Custom,
            nanousd: Some(nanousd),
            price: None,
        }
    }

    /// Rounded half up once; saturates.
    fn nanousd(&self, usage: &Usage, input_count: u64) -> u64 {
        let buckets = if self.cache_read.is_none() && self.cache_write.is_none() {
            [
                (input_count, self.input),
                (0, 0),
                (0, 0),
                (usage.total_output(), self.output),
            ]
        } else {
            [
                (uncached_input(usage), self.input),
                (cache_read(usage), self.cache_read.unwrap_or(self.input)),
                (cache_write(usage), self.cache_write.unwrap_or(self.input)),
                (usage.total_output(), self.output),
            ]
        };
        buckets
            .into_iter()
            .try_fold(PARTS_PER_NANO / 2, |sum: u128, (tokens, rate)| {
                sum.checked_add(rate.checked_mul(u128::from(tokens))?)
            })
            .and_then(|parts| u64::try_from(parts / PARTS_PER_NANO).ok())
            .unwrap_or(u64::MAX)
    }
}

const fn cache_read(usage: &Usage) -> u64 {
    usage.cache_read.saturating_add(usage.audio_cache_read)
}

const fn cache_write(usage: &Usage) -> u64 {
    usage.cache_write.saturating_add(usage.cache_write_1h)
}

const fn uncached_input(usage: &Usage) -> u64 {
    usage
        .input
        .saturating_add(usage.audio_input)
        .saturating_add(usage.image_input)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of observability section 3, item 5.
    const USAGE: Usage = Usage {
        input: 200,
        cache_read: 600,
        cache_write: 200,
        output: 100,
        ..NOTHING
    };

    const NOTHING: Usage = Usage {
        input: 0,
        cache_read: 0,
        cache_write: 0,
        cache_write_1h: 0,
        audio_input: 0,
        audio_cache_read: 0,
        image_input: 0,
        output: 0,
        reasoning: 0,
        audio_output: 0,
        image_output: 0,
        images: 0,
        searches: 0,
        audio_ms: 0,
        characters: 0,
        estimated: false,
    };

    #[track_caller]
    fn check(header: &str, usage: Option<&Usage>, expected: Option<u64>) {
        let cost = CustomCost::parse(header).unwrap().cost(usage);
        let status = if expected.is_some() {
            CostStatus::Custom
        } else {
            CostStatus::NoUsage
        };
        assert_eq!(
            cost,
            Cost {
                status,
                nanousd: expected,
                price: None
            },
            "{header}"
        );
    }

    #[track_caller]
    fn refused(header: &str, reason: &str) {
        let error = CustomCost::parse(header).unwrap_err().to_string();
        assert!(error.contains(reason), "{header}: {error}");
    }

    #[test]
    fn cached_tokens_have_their_rates_and_are_counted_once() {
        // 200·1000 + 600·100 + 200·500 + 100·2000 nano-dollars.
        check(
            r#"{"per_token_in":1e-6,"per_token_out":2e-6,"per_cache_read_token":1e-7,"per_cache_write_token":5e-7}"#,
            Some(&USAGE),
            Some(560_000),
        );
    }

    #[test]
    fn a_missing_cache_rate_is_the_input_rate() {
        check(
            r#"{"per_token_in":0.000001,"per_token_out":0.000002,"per_cache_read_token":0}"#,
            Some(&USAGE),
            Some(200_000 + 200_000 + 200_000),
        );
        check(
            r#"{"per_token_in":1e-6,"per_cache_write_token":2e-6}"#,
            Some(&USAGE),
            Some(200_000 + 600_000 + 400_000),
        );
    }

    #[test]
    fn without_cache_rates_the_provider_s_input_count_is_priced() {
        let header = r#"{"per_token_in":1e-6,"per_token_out":2e-6}"#;
        check(header, Some(&USAGE), Some(1_000_000 + 200_000));
        let cost = CustomCost::parse(header)
            .unwrap()
            .cost_with_separate_cache(Some(&USAGE));
        assert_eq!(cost.nanousd, Some(200_000 + 200_000));
    }

    #[test]
    fn a_total_holds_with_and_without_usage() {
        check(r#"{"total_cost":0.0125}"#, None, Some(12_500_000));
        check(
            r#"{"total_cost":0.0125,"per_token_in":1}"#,
            Some(&USAGE),
            Some(12_500_000),
        );
        check(r#"{"total_cost":0}"#, None, Some(0));
    }

    #[test]
    fn rates_without_tokens_are_no_cost() {
        check(r#"{"per_token_in":1e-6}"#, None, None);
        check(r#"{"per_token_in":1e-6}"#, Some(&NOTHING), None);
    }

    #[test]
    fn decimals_are_unlimited_and_exact() {
        let tokens = Usage {
            input: 3_000_000_000,
            ..NOTHING
        };
        check(
            r#"{"per_token_in":0.000000000333333333333333333333333}"#,
            Some(&tokens),
            Some(1_000_000_000),
        );
        check(r#"{"per_token_in":1e-29}"#, Some(&tokens), Some(0));
        let long = format!(r#"{{"per_token_in":0.{}1}}"#, "0".repeat(500));
        check(&long, Some(&tokens), Some(0));
    }

    #[test]
    fn an_absurd_cost_saturates() {
        let tokens = Usage {
            input: u64::MAX,
            ..NOTHING
        };
        check(r#"{"per_token_in":1000}"#, Some(&tokens), Some(u64::MAX));
        check(r#"{"total_cost":1e20}"#, None, Some(u64::MAX));
    }

    #[test]
    fn a_malformed_header_tells_what_is_wrong() {
        refused("", "EOF");
        refused("1", "invalid type");
        refused("{}", "names no cost");
        refused(r#"{"per_token_in":null}"#, "names no cost");
        refused(r#"{"per_token":1}"#, "unknown field `per_token`");
        refused(r#"{"per_token_in":1,"per_token_in":2}"#, "duplicate field");
        refused(
            r#"{"per_token_in":-1}"#,
            "`per_token_in`: must not be negative",
        );
        refused(
            r#"{"per_token_out":"1"}"#,
            "`per_token_out`: not a decimal number",
        );
        refused(r#"{"total_cost":1e40}"#, "`total_cost`: too large");
    }
}
