//! Each key is described once, and holds what its description says.

use super::*;

#[test]
fn no_described_key_is_ignored() {
    for key in keys::all() {
        let error = refused(&set(key.path, "[[]]"));
        let expected = format!(
            "`{}` must be {}; found a list",
            key.name(),
            key.kind.expected()
        );
        assert!(error.contains(&expected), "{}: {error}", key.path);
    }
}

#[test]
fn every_default_and_every_example_is_accepted() {
    for key in keys::all() {
        let about_it = |text: &str| {
            let error = Config::parse(text, &Sources::default()).err();
            let problems = error.map(|error| error.problems).unwrap_or_default();
            let expected = format!("`{}` must be", key.name());
            problems
                .into_iter()
                .find(|problem| problem.message.starts_with(&expected))
        };
        assert_eq!(about_it(&set(key.path, key.example)), None, "{}", key.path);
        if let Unset::Is(default) = key.default {
            let is_flag = key.kind == value::Kind::Flag;
            let written = if is_flag {
                default.to_owned()
            } else {
                format!("{default:?}")
            };
            assert_eq!(about_it(&set(key.path, &written)), None, "{}", key.path);
        }
    }
}

#[test]
fn keys_are_described_once_and_later_ones_not_at_all() {
    let paths: BTreeSet<_> = keys::all().map(|key| key.path).collect();
    assert_eq!(paths.len(), keys::all().count());
    for later in LATER {
        assert!(!paths.contains(later.path), "{}", later.path);
        let error = refused(&set(later.path, "1"));
        let expected = format!(
            "is not available in this version (0.1): {} is not",
            later.what
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn every_key_of_a_price_row_is_described() {
    let row = toml::from_str::<isango_types::price::PriceRow>("surely_unknown = 1");
    let error = row.unwrap_err().to_string();
    let known = error.split_once("expected one of").unwrap().1;
    let known: BTreeSet<_> = known.split('`').skip(1).step_by(2).collect();
    let described: BTreeSet<_> = keys::names_in("prices[]").into_iter().collect();
    assert_eq!(known, described);
}

#[test]
fn a_configured_price_wins_over_the_list() {
    let text = r#"
        [[prices]]
        provider = "azure-openai"
        model = "gpt-4o"
        input = 1
        output = "2.50"
        effective_from = 2020-01-01
        above = [{ tokens = 1000, input = 3.5 }]
    "#;
    let usage = isango_types::Usage {
        input: 1_000,
        output: 100,
        ..Default::default()
    };
    let now = isango_types::Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
    let cost = load(text)
        .prices
        .cost("azure-openai", "gpt-4o", &usage, now);
    assert_eq!(cost.nanousd, Some(1_250_000));
}

#[test]
fn a_wrong_price_is_told_with_its_place() {
    let text = r#"
[[prices]]
provider = "openai"
input = "1,5"
[[prices]]
provider = "openai"
model = "a"
outputs = 1
[[prices]]
provider = "openai"
model = "a"
input = 1
above = [{ tokens = 1000, inputs = 3.5 }]
[[prices]]
provider = "openai"
model = "a"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:2:1: `model` is missing
      2 | [[prices]]
        | ^^^^^^^^^^
      help: write for instance `model = "gpt-4o"`
    configuration:4:9: `input` must be an amount in US dollars, such as 2.5 or "0.000125"; found another text
      4 | input = "1,5"
        |         ^^^^^
    configuration:8:1: unknown key `outputs` in [[prices]]
      8 | outputs = *
        | ^^^^^^^
      help: did you mean `output`?
    configuration:13:10: unknown field `inputs`, expected `tokens` or `the key of a rate`
      13 | above = [{ tokens = 1000, inputs = 3.5 }]
         |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    configuration:14:1: the price of `openai/a` names no rate
      14 | [[prices]]
         | ^^^^^^^^^^
    "#);
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == markdown(),
        "docs/configuration.md has drifted; write it anew: \
         cargo run -p isango-server -- config reference > docs/configuration.md"
    );
}
