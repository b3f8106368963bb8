//! The operator's rows, as the configuration spells them.

use super::*;

#[derive(Deserialize)]
struct Configured {
    prices: Vec<PriceRow>,
}

fn overrides(toml: &str) -> Result<PriceTable, PriceError> {
    let configured: Configured = toml::from_str(toml).unwrap();
    PriceTable::bundled().with_overrides(configured.prices)
}

#[track_caller]
fn configured(table: &PriceTable, provider: &str, model: &str, usage: Usage) -> (String, u64) {
    let cost = table.cost(provider, model, &usage, now());
    (cost.price.unwrap().into(), cost.nanousd.unwrap())
}

#[test]
fn the_operator_s_rows_stand_before_the_list() {
    let table = overrides(
        r#"
        [[prices]]
        provider = "openai"
        model = "gpt-4o"
        input = "2.25"
        output = 9.1
        effective_from = 2026-10-01
        [[prices]]
        provider = "custom-acme"
        model = "house"
        starts_with = ["house-"]
        input = 1
        "#,
    )
    .unwrap();
    let million = input(1_000_000);
    let [openai, house] = ["configured/openai/gpt-4o", "configured/custom-acme/house"];
    let at_openai = |usage| configured(&table, "openai", "gpt-4o-2024-08-06", usage);
    assert_eq!(at_openai(million), (openai.to_owned(), 2_250_000_000));
    assert_eq!(at_openai(output(1_000_000)).1, 9_100_000_000);
    // A rate that the row does not name is not the list's.
    assert_eq!(
        at_openai(Usage {
            cache_read: 1_000,
            ..input(0)
        })
        .1,
        2_250_000
    );
    assert_eq!(
        configured(&table, "azure-openai", "gpt-4o", million),
        (openai.to_owned(), 2_250_000_000)
    );
    assert_eq!(
        configured(&table, "custom-acme", "House-70B", million),
        (house.to_owned(), 1_000_000_000)
    );
    let before = table.cost("openai", "gpt-4o", &million, at("2026-09-30"));
    assert_eq!(before.price.as_deref(), Some("2026-11-22/openai/gpt-4o"));
    let unnamed = table.cost("custom-acme", "house", &output(1), now());
    unknown(&unnamed, CostStatus::Unpriced);
}

#[test]
fn amounts_of_the_configuration_are_exact_however_they_are_written() {
    for written in ["0.1", "\"0.1\"", "\"1e-1\"", "\"0.10000000000\"", "1e-1"] {
        let toml = format!("[[prices]]\nprovider = 'x'\nmodel = 'm'\ninput = {written}");
        let price = overrides(&toml).unwrap();
        let rate = price.find("x", "m", now()).unwrap().rate(Charge::Input);
        assert_eq!(rate, Some(100_000_000), "{written}");
    }
}

#[track_caller]
fn refused(row: &str, reason: &str) {
    let toml = format!("[[prices]]\nprovider = 'x'\nmodel = 'm'\n{row}");
    let error = match toml::from_str::<Configured>(&toml) {
        Err(error) => error.to_string(),
        Ok(rows) => PriceTable::default()
            .with_overrides(rows.prices)
            .unwrap_err()
            .to_string(),
    };
    assert!(error.contains(reason), "{row}: {error}");
}

#[test]
fn a_row_that_makes_no_sense_is_refused_with_the_reason() {
    refused("", "names no rate");
    refused("inptu = 1", "unknown field `inptu`");
    refused("input = '-1'", "must not be negative");
    refused("input = -1", "must not be negative");
    refused("input = 'free'", "`free`: not a decimal number");
    refused("input = nan", "not a decimal number");
    refused("input = '1e20'", "too large");
    refused("input = true", "expected an amount of US dollars");
    refused("audio_hour = 1\naudio_minute = 1", "a second rate");
    refused("input = 1\neffective_from = 'soon'", "expected a day");
    refused("input = 1\nhours = '9 to 5'", "expected \"16:30-00:30\"");
    refused(
        "input = 1\neffective_from = '2026-01-02'\neffective_until = '2026-01-02'",
        "ends before it begins",
    );
    refused(
        "input = 1\nabove = [{ tokens = 5, input = 2 }, { tokens = 5, input = 3 }]",
        "ascend",
    );
    refused("input = 1\nabove = [{ tokens = 5 }]", "without a rate");
    refused(
        "input = 1\nabove = [{ tokens = 5, outptu = 2 }]",
        "unknown field `outptu`",
    );
    refused(
        "input = 1\n[[prices]]\nprovider = 'x'\nmodel = 'n'\nalso = ['M']\ninput = 1",
        "claims the name `M`",
    );
    refused(
        "also = ['n']\ninput = 1\n[[prices]]\nprovider = 'x'\nmodel = 'N'\ninput = 1",
        "has the name of another model",
    );
    refused(
        "input = 1\n[[prices]]\nprovider = ''\nmodel = 'n'\ninput = 1",
        "empty name",
    );
}

#[test]
fn the_guide_s_example_and_list_of_rates_are_true() {
    let guide = include_str!("../../../../../docs/prices.md");
    let (_, example) = guide.split_once("```toml\n").unwrap();
    let table = overrides(example.split_once("```").unwrap().0).unwrap();
    let cost = |model, usage| configured(&table, "custom-acme", model, usage).1;
    assert_eq!(
        configured(&table, "azure-openai", "gpt-4o", input(1_000_000)).1,
        2_250_000_000
    );
    assert_eq!(cost("house-2", input(1_000_000)), 800_000_000);
    let minute = Usage {
        audio_ms: 60_000,
        ..Usage::default()
    };
    assert_eq!(cost("dictation", minute), 6_000_000 + 1_000_000);
    for charge in Charge::ALL {
        assert!(
            guide.contains(&format!("`{}`", charge.as_str())),
            "{charge:?}"
        );
    }
}
