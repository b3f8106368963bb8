//! Costs that a request names itself, and usage beyond reason.

use super::*;

#[tokio::test]
async fn a_custom_cost_goes_before_the_price_list() {
    let cost = |header: &'static str| async move {
        record_of(
            "",
            &chat().with("cf-aig-custom-cost", header),
            json(COMPLETION),
        )
        .await
    };
    let record = cost(r#"{"per_token_in":1e-6,"per_token_out":0.000002}"#).await;
    assert_eq!(record.cost.nanousd, Some(19 * 1_000 + 5 * 2_000));
    assert_eq!(record.cost.status, CostStatus::Custom);
    let record = cost(r#"{"total_cost":0.25}"#).await;
    assert_eq!(record.cost.nanousd, Some(250_000_000));
    let record = cost("cheap").await;
    assert_eq!(record.cost.status, CostStatus::Priced);
    assert!(
        record.notes[0].starts_with("cf-aig-custom-cost was ignored"),
        "{:?}",
        record.notes
    );
}

#[tokio::test]
async fn a_custom_cost_beyond_reason_is_ignored() {
    for header in [
        r#"{"total_cost":1e18}"#,
        r#"{"total_cost":1000000.01}"#,
        r#"{"per_token_in":1e5}"#,
    ] {
        let request = chat().with("cf-aig-custom-cost", header);
        let record = record_of("", &request, json(COMPLETION)).await;
        assert_eq!(record.cost.status, CostStatus::Priced, "{header}");
        assert_eq!(record.cost.nanousd, Some(19 * 2_500 + 5 * 10_000));
        let note = "cf-aig-custom-cost was ignored: it comes to more than 1000000 USD";
        assert_eq!(record.notes, [note.into()]);
    }
}

#[tokio::test]
async fn a_usage_beyond_reason_has_no_cost() {
    let (most, costly) = ("18446744073709551614", "9000000000");
    let absurd = "the provider told 18446744073709551615 tokens, which cannot be";
    let answer = |output: &str| {
        json(format!(
            r#"{{"model":"gpt-4o","usage":{{"prompt_tokens":5,"completion_tokens":{output}}}}}"#
        ))
    };
    let rates = r#"{"per_token_in":1e-15,"per_token_out":1e-15}"#;
    for (custom, output, status, nanousd, notes) in [
        (None, most, CostStatus::Unpriced, None, &[absurd][..]),
        (Some(rates), most, CostStatus::Unpriced, None, &[absurd]),
        (
            Some(r#"{"total_cost":1}"#),
            most,
            CostStatus::Custom,
            Some(1_000_000_000),
            &[absurd],
        ),
        (
            None,
            "9999999995",
            CostStatus::Priced,
            Some(99_999_999_962_500),
            &[],
        ),
        (
            None,
            "9999999996",
            CostStatus::Unpriced,
            None,
            &["the provider told 10000000001 tokens, which cannot be"],
        ),
    ] {
        let request = match custom {
            Some(custom) => chat().with("cf-aig-custom-cost", custom),
            None => chat(),
        };
        let record = record_of("", &request, answer(output)).await;
        let told: Vec<&str> = record.notes.iter().map(|note| &**note).collect();
        assert_eq!(told, notes, "{output}");
        assert_eq!((record.cost.status, record.cost.nanousd), (status, nanousd));
    }
    let dear =
        "[[prices]]\nprovider = \"openai\"\nmodel = \"gpt-4o\"\ninput = \"1\"\noutput = \"200\"\n";
    let record = record_of(dear, &chat(), answer(costly)).await;
    assert_eq!(
        (record.cost.status, record.cost.nanousd),
        (CostStatus::Unpriced, None)
    );
    assert!(
        record.notes[0].starts_with("the usage would cost "),
        "{:?}",
        record.notes
    );
}
