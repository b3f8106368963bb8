//! What holds for every model of the bundled list, and for every usage.

use proptest::prelude::*;

use super::*;

#[test]
fn no_bundled_tier_is_cheaper_than_what_lies_below_it() {
    for (slug, provider) in &PriceTable::bundled().list.providers {
        for model in &provider.book.models {
            for (charge, period) in Charge::ALL
                .iter()
                .flat_map(|c| model.periods.iter().map(move |p| (*c, p)))
            {
                let mut below = period.rate(charge, None);
                for tier in 0..4 {
                    let rate = period.rate(charge, Some(tier));
                    if rate != period.rate(charge, None) {
                        assert!(rate >= below, "{slug} {} {charge:?}", model.id);
                        below = rate;
                    }
                }
            }
        }
    }
}

/// Tokens in the buckets that every chat model has a rate for.
fn usages() -> impl Strategy<Value = Usage> {
    proptest::array::uniform6(0_u64..400_000).prop_map(
        |[
            input,
            cache_read,
            cache_write,
            image_input,
            output,
            reasoning,
        ]| Usage {
            input,
            cache_read,
            cache_write,
            image_input,
            output,
            reasoning,
            ..Usage::default()
        },
    )
}

/// Provider and id of a model in the bundled list.
fn models() -> impl Strategy<Value = (String, String)> {
    let table = PriceTable::bundled();
    let mut all: Vec<(String, String)> = Vec::new();
    for (slug, provider) in &table.list.providers {
        let ids = provider
            .book
            .models
            .iter()
            .map(|model| (slug.to_string(), model.id.to_string()));
        all.extend(ids);
    }
    all.sort();
    proptest::sample::select(all)
}

fn sum(one: &Usage, other: &Usage) -> Usage {
    Usage {
        input: one.input + other.input,
        cache_read: one.cache_read + other.cache_read,
        cache_write: one.cache_write + other.cache_write,
        image_input: one.image_input + other.image_input,
        output: one.output + other.output,
        reasoning: one.reasoning + other.reasoning,
        ..Usage::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn more_tokens_never_cost_less((provider, model) in models(), one in usages(), more in usages()) {
        let table = PriceTable::bundled();
        let cost = |usage: &Usage| table.cost(&provider, &model, usage, now()).nanousd;
        if let (Some(less), Some(more)) = (cost(&one), cost(&sum(&one, &more))) {
            prop_assert!(less <= more, "{} {}: {} > {}", provider, model, less, more);
        }
    }

    #[test]
    fn a_usage_split_in_two_costs_the_same_but_for_rounding(one in usages(), other in usages()) {
        let table = PriceTable::bundled();
        let cost = |usage: &Usage| table.cost("openai", "gpt-4o", usage, now()).nanousd.unwrap_or(0);
        let (parts, whole) = (cost(&one) + cost(&other), cost(&sum(&one, &other)));
        prop_assert!(parts.abs_diff(whole) <= 1, "{} and {}", parts, whole);
    }

    #[test]
    fn a_cost_is_the_sum_of_its_buckets(usage in usages()) {
        let price = PriceTable::bundled();
        let price = price.find("openai", "gpt-4o", now()).unwrap();
        let millionths: u128 = Charge::ALL
            .into_iter()
            .filter_map(|charge| {
                Some(u128::from(charge.quantity(&usage)) * u128::from(price.rate(charge)?))
            })
            .sum();
        let expected = u64::try_from((millionths + 500_000) / 1_000_000).unwrap();
        prop_assert_eq!(price.period.nanousd(&usage), Some(expected));
        let tokens: u64 = Charge::ALL[..11].iter().map(|charge| charge.quantity(&usage)).sum();
        prop_assert_eq!(tokens, usage.total());
    }

    #[test]
    fn an_unknown_cost_has_no_amount(
        provider in "(openai|azure-openai|aws-bedrock|custom-acme|[a-z]{3})",
        model in "(gpt-4o|[a-zA-Z0-9:./@é-]{0,24})",
        tokens: u64,
        audio: u64,
    ) {
        let usage = Usage { input: tokens, audio_output: audio, ..Usage::default() };
        let cost = PriceTable::bundled().cost(&provider, &model, &usage, now());
        let is_known = matches!(cost.status, CostStatus::Priced | CostStatus::Estimated);
        prop_assert_eq!(cost.nanousd.is_some(), is_known);
        prop_assert_eq!(cost.price.is_some(), is_known);
    }

    #[test]
    fn no_list_makes_it_panic(text in "\\PC{0,200}", cut in 0_usize..LIST.len()) {
        prop_assert!(PriceTable::parse(&text).is_err());
        prop_assert!(PriceTable::parse(LIST.get(..cut).unwrap_or("")).is_err());
    }
}
