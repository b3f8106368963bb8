use super::*;

mod laws;
mod rows;

const LIST: &str = r#"{
    "version": "2026-01-02", "source": "made up", "effective_from": "1970-01-01",
    "providers": {
        "acme": { "source": "https://acme.test/prices" },
        "host": { "source": "https://host.test/prices", "prices_of": "acme" }
    },
    "rows": [
        { "provider": "acme", "model": "plain", "also": ["plain-old"], "starts_with": ["plain-4"],
          "contains": ["very-plain"], "input": "2.50", "output": 10, "cache_read": 1.25 },
        { "provider": "acme", "model": "plain", "effective_from": "2026-03-13", "input": "5",
          "output": "20", "source": "https://acme.test/news" },
        { "provider": "acme", "model": "tiered", "input": "3", "cache_read": "0.3", "output": "15",
          "above": [{ "tokens": 1000, "input": "6", "output": "30" },
                    { "tokens": 2000, "input": "9" }] },
        { "provider": "acme", "model": "marginal", "marginal": true, "input": "3", "output": "15",
          "above": [{ "tokens": 1000, "input": "6" }, { "tokens": 2000, "input": "1" }] },
        { "provider": "acme", "model": "nightly", "input": "2" },
        { "provider": "acme", "model": "nightly", "hours": "16:30-00:30", "input": "1" },
        { "provider": "acme", "model": "ended", "effective_until": "2026-01-01", "input": "1" },
        { "provider": "acme", "model": "pieces", "input": "1", "image": "0.04", "search": "0.01",
          "audio_minute": "0.006", "character": "15", "request": "0.005" },
        { "provider": "acme", "model": "gratis", "input": "0", "output": "0" },
        { "provider": "host", "model": "own", "input": "7" }
    ]
}"#;

fn at(day: &str) -> Timestamp {
    Timestamp::parse(&format!("{day}T12:00:00Z")).unwrap()
}

fn now() -> Timestamp {
    at("2026-11-22")
}

fn input(tokens: u64) -> Usage {
    Usage {
        input: tokens,
        ..Usage::default()
    }
}

fn output(tokens: u64) -> Usage {
    Usage {
        output: tokens,
        ..Usage::default()
    }
}

/// Cost of `usage` at "acme" in the list of this file.
fn acme(model: &str, usage: Usage, day: &str) -> Cost {
    PriceTable::parse(LIST)
        .unwrap()
        .cost("acme", model, &usage, at(day))
}

#[track_caller]
fn check(model: &str, usage: Usage, nanousd: u64) {
    let cost = acme(model, usage, "2026-01-05");
    assert_eq!(
        (cost.status, cost.nanousd),
        (CostStatus::Priced, Some(nanousd))
    );
}

#[track_caller]
fn unknown(cost: &Cost, status: CostStatus) {
    assert_eq!(
        *cost,
        Cost {
            status,
            nanousd: None,
            price: None
        }
    );
}

/// Which row of the bundled list prices `model` at `provider`, without its version.
#[track_caller]
fn row_of(provider: &str, model: &str, expected: Option<&str>) {
    let table = PriceTable::bundled();
    let price = table
        .find(provider, model, now())
        .map(|price| price.to_string());
    let row = price
        .as_deref()
        .map(|price| price.split_once('/').unwrap().1);
    assert_eq!(row, expected, "{provider} {model}");
}

#[test]
fn gpt_4o_is_priced_as_by_hand() {
    // 1 000 prompt tokens, 400 of them cached, and 250 answered, of which 50 are reasoning:
    // 600 · 2.50 $ + 400 · 1.25 $ + 250 · 10 $, per million.
    let usage = Usage {
        input: 600,
        cache_read: 400,
        output: 200,
        reasoning: 50,
        ..input(0)
    };
    let cost = PriceTable::bundled().cost("openai", "gpt-4o-2024-08-06", &usage, now());
    assert_eq!(cost.status, CostStatus::Priced);
    assert_eq!(cost.nanousd, Some(1_500_000 + 500_000 + 2_500_000));
    assert_eq!(cost.price.as_deref(), Some("2026-11-22/openai/gpt-4o"));
    assert_eq!(format_usd(4_500_000), "0.0045");
}

#[test]
fn a_fee_for_each_request_pays_for_its_searches() {
    let usage = Usage {
        searches: 1,
        output: 2,
        ..input(7)
    };
    let cost = |model| PriceTable::bundled().cost("perplexity-ai", model, &usage, now());
    // 9 tokens at 1 $ for a million, and 0.012.
    assert_eq!(cost("sonar").nanousd, Some(12_009_000));
    // Here each search has a price of its own, and there nothing pays for it.
    assert_eq!(cost("sonar-deep-research").nanousd, Some(5_030_000));
    unknown(&cost("r1-1776"), CostStatus::Unpriced);
}

#[test]
fn the_bundled_list_has_the_prices_that_providers_publish() {
    use Charge::{AudioInput, AudioOutput, CacheRead, CacheWrite, CacheWrite1h, Input, Output};
    let table = PriceTable::bundled();
    for (provider, model, charge, usd) in [
        ("openai", "gpt-4o", Input, "2.50"),
        ("openai", "gpt-4o", CacheRead, "1.25"),
        ("openai", "gpt-4o", Output, "10"),
        ("openai", "gpt-4o-mini", Input, "0.15"),
        ("openai", "gpt-4o-mini", Output, "0.60"),
        ("openai", "gpt-4.1", Output, "8"),
        ("openai", "gpt-4o-audio-preview", AudioInput, "40"),
        ("openai", "gpt-realtime", AudioOutput, "64"),
        ("openai", "o4-mini", CacheRead, "0.275"),
        ("openai", "text-embedding-3-small", Input, "0.02"),
        ("openai", "text-embedding-3-large", Input, "0.13"),
        ("openai", "whisper-1", Charge::Audio, "0.36"),
        ("openai", "tts-1", Charge::Character, "15"),
        ("anthropic", "claude-sonnet-4-5", Input, "3"),
        ("anthropic", "claude-sonnet-4-5", Output, "15"),
        ("anthropic", "claude-sonnet-4-5", CacheWrite, "3.75"),
        ("anthropic", "claude-sonnet-4-5", CacheWrite1h, "6"),
        ("anthropic", "claude-sonnet-4-5", CacheRead, "0.30"),
        ("anthropic", "claude-sonnet-4-5", Charge::Search, "0.01"),
        ("anthropic", "claude-opus-4-1", Output, "75"),
        ("google-ai-studio", "gemini-2.5-flash", AudioInput, "1"),
        ("mistral", "mistral-large-2512", Output, "1.5"),
        ("groq", "llama-3.3-70b-versatile", Input, "0.59"),
        ("cohere", "command-r7b", Input, "0.0375"),
        (
            "aws-bedrock",
            "amazon.nova-micro-v1:0",
            CacheRead,
            "0.00875",
        ),
    ] {
        let rate = table
            .find(provider, model, now())
            .and_then(|price| price.rate(charge));
        assert_eq!(
            rate,
            Some(parse_usd(usd).unwrap()),
            "{provider} {model} {charge:?}"
        );
    }
}

#[test]
fn every_bundled_price_tells_its_source_and_date_and_is_found_by_its_name() {
    let table = PriceTable::bundled();
    assert_eq!(table.version(), "2026-11-22");
    assert!(table.source().contains("genai-prices"));
    let mut prices = 0;
    for (slug, provider) in &table.list.providers {
        assert!(provider.source.starts_with("https://"), "{slug}");
        for (name, index) in &provider.book.exact {
            let model = &provider.book.models[*index];
            assert!(model.periods.iter().all(|period| period.from.is_some()));
            let found = table.find(slug, name, now()).expect(name);
            assert_eq!(found.model.id, model.id, "{slug} {name}");
            assert!(!found.source().is_empty() && found.effective_from().is_some());
            prices += 1;
        }
    }
    assert!(prices > 1_500, "only {prices} names");
}

#[test]
fn dates_and_paths_and_case_do_not_hide_a_model() {
    row_of("openai", "GPT-4o", Some("openai/gpt-4o"));
    row_of("openai", "openai/gpt-4o", Some("openai/gpt-4o"));
    row_of(
        "openai",
        "gpt-4o-2024-05-13",
        Some("openai/gpt-4o-2024-05-13"),
    );
    row_of("openai", "gpt-4o-2031-01-01", Some("openai/gpt-4o"));
    row_of("openai", "gpt-5.2-20251211", Some("openai/gpt-5.2"));
    row_of(
        "openai",
        "gpt-4o-audio-preview-2025-06-03",
        Some("openai/gpt-4o-audio-preview"),
    );
    row_of(
        "anthropic",
        "claude-sonnet-4-5-20250929",
        Some("anthropic/claude-sonnet-4-5"),
    );
    row_of(
        "anthropic",
        "claude-sonnet-4-20250514",
        Some("anthropic/claude-sonnet-4-0"),
    );
    row_of(
        "google-ai-studio",
        "models/gemini-2.5-pro",
        Some("google-ai-studio/gemini-2.5-pro"),
    );
    row_of(
        "google-ai-studio",
        "gemini-2.0-flash-001",
        Some("google-ai-studio/gemini-2.0-flash"),
    );
    row_of(
        "groq",
        "openai/gpt-oss-120b",
        Some("groq/openai/gpt-oss-120b"),
    );
    row_of(
        "openrouter",
        "openai/gpt-4o",
        Some("openrouter/openai/gpt-4o"),
    );
    row_of(
        "workers-ai",
        "@cf/baai/bge-m3",
        Some("workers-ai/@cf/baai/bge-m3"),
    );
}

#[test]
fn bedrock_ids_and_inference_profiles_are_found() {
    let sonnet = Some("aws-bedrock/regional.anthropic.claude-sonnet-4-5-20250929-v1:0");
    row_of(
        "aws-bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        sonnet,
    );
    row_of(
        "aws-bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        sonnet,
    );
    row_of(
        "aws-bedrock",
        "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        sonnet,
    );
    row_of(
        "aws-bedrock",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Some("aws-bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    );
    row_of(
        "aws-bedrock",
        "us.amazon.nova-pro-v1:0",
        Some("aws-bedrock/amazon.nova-pro-v1:0"),
    );
    row_of("aws-bedrock", "gpt-4o", None);
}

#[test]
fn a_host_has_another_s_prices_only_where_that_is_right() {
    row_of("azure-openai", "gpt-4o", Some("openai/gpt-4o"));
    row_of("azure-openai", "gpt-35-turbo", Some("openai/gpt-3.5-turbo"));
    row_of(
        "azure-openai",
        "o3-2025-04-16",
        Some("azure-openai/o3-2025-04-16"),
    );
    row_of(
        "azure-openai",
        "o4-mini-deep-research",
        Some("openai/o4-mini-deep-research"),
    );
    row_of("azure-openai", "claude-sonnet-4-5", None);
    row_of(
        "azure",
        "claude-sonnet-4-5",
        Some("anthropic/claude-sonnet-4-5"),
    );
    row_of(
        "google-vertex-ai",
        "gemini-2.5-flash",
        Some("google-ai-studio/gemini-2.5-flash"),
    );
    row_of(
        "google-vertex-ai",
        "claude-opus-4@20250514",
        Some("google-vertex-ai/claude-4-opus"),
    );
    row_of("google-ai-studio", "claude-opus-4@20250514", None);
    row_of("groq", "gpt-4o", None);
    row_of("custom-acme", "gpt-4o", None);
}

#[test]
fn a_fine_tuned_model_has_its_own_price_or_none() {
    row_of(
        "openai",
        "ft:gpt-4o-mini-2024-07-18:org::id",
        Some("openai/ft:gpt-4o-mini"),
    );
    row_of(
        "openai",
        "ft:gpt-4o-mini:org::id",
        Some("openai/ft:gpt-4o-mini"),
    );
    row_of("openai", "ft:gpt-4.1-2025-04-14:org::id", None);
    row_of("azure-openai", "ft:gpt-4o-mini-2024-07-18:org::id", None);
    row_of("azure-openai", "gpt-4o-2024-08-06.ft-0a1b2c", None);
}

#[test]
fn patterns_do_not_cut_numbers() {
    let table = PriceTable::parse(LIST).unwrap();
    let id = |name: &str| {
        table
            .find("acme", name, now())
            .map(|price| price.model.id.clone())
    };
    assert_eq!(id("plain-4-turbo").as_deref(), Some("plain"));
    assert_eq!(id("plain-41"), None);
    assert_eq!(id("a-very-plain-one").as_deref(), Some("plain"));
}

#[test]
fn the_row_in_force_prices() {
    let price = |day| acme("plain", input(1_000_000), day).nanousd;
    assert_eq!(price("2026-03-12"), Some(2_500_000_000));
    assert_eq!(price("2026-03-13"), Some(5_000_000_000));
    assert_eq!(
        acme("ended", input(1_000_000), "2025-12-31").nanousd,
        Some(1_000_000_000)
    );
    unknown(&acme("ended", input(1), "2026-01-01"), CostStatus::Unpriced);
}

#[test]
fn a_row_holds_in_its_hours() {
    let table = PriceTable::parse(LIST).unwrap();
    let price = |time: &str| {
        let at = Timestamp::parse(&format!("2026-01-05T{time}Z")).unwrap();
        table.cost("acme", "nightly", &input(1_000_000), at).nanousd
    };
    let [day, night] = [Some(2_000_000_000), Some(1_000_000_000)];
    assert_eq!(
        ["16:29:59", "16:30:00", "23:59:59", "00:29:59", "00:30:00"].map(price),
        [day, night, night, night, day]
    );
}

#[test]
fn a_tier_prices_the_whole_request_by_its_input() {
    check(
        "tiered",
        Usage {
            output: 10,
            ..input(1_000)
        },
        3_000_000 + 150_000,
    );
    check(
        "tiered",
        Usage {
            output: 10,
            ..input(1_001)
        },
        6_006_000 + 300_000,
    );
    // The cache rate has no tier; the highest tier names no output.
    let cached = Usage {
        input: 1,
        cache_read: 2_000,
        output: 10,
        ..Usage::default()
    };
    check("tiered", cached, 9_000 + 600_000 + 150_000);
}

#[test]
fn a_marginal_tier_prices_what_lies_above_its_mark() {
    check("marginal", input(1_000), 3_000_000);
    check("marginal", input(2_500), 3_000_000 + 6_000_000 + 500_000);
    check(
        "marginal",
        Usage {
            output: 3_000,
            ..Usage::default()
        },
        45_000_000,
    );
}

#[test]
fn pieces_and_durations_and_requests_are_priced() {
    let none = Usage::default();
    check(
        "pieces",
        Usage { images: 2, ..none },
        80_000_000 + 5_000_000,
    );
    check(
        "pieces",
        Usage {
            searches: 3,
            ..none
        },
        30_000_000 + 5_000_000,
    );
    check(
        "pieces",
        Usage {
            audio_ms: 90_000,
            ..none
        },
        9_000_000 + 5_000_000,
    );
    check(
        "pieces",
        Usage {
            characters: 100,
            ..none
        },
        1_500_000 + 5_000_000,
    );
    check("pieces", none, 5_000_000);
}

#[test]
fn a_missing_rate_is_the_one_of_the_more_general_kind() {
    for usage in [
        Usage {
            cache_read: 7,
            ..Usage::default()
        },
        Usage {
            cache_write: 7,
            ..Usage::default()
        },
        Usage {
            cache_write_1h: 7,
            ..Usage::default()
        },
        Usage {
            image_input: 7,
            ..Usage::default()
        },
    ] {
        assert_eq!(
            acme("marginal", usage, "2026-01-05").nanousd,
            Some(21_000),
            "{usage:?}"
        );
    }
    check(
        "marginal",
        Usage {
            reasoning: 7,
            ..Usage::default()
        },
        105_000,
    );
}

#[test]
fn a_part_without_a_rate_leaves_the_whole_unpriced() {
    for usage in [
        Usage {
            audio_input: 1,
            ..input(5)
        },
        Usage {
            audio_cache_read: 1,
            ..input(5)
        },
        Usage {
            audio_output: 1,
            ..input(5)
        },
        Usage {
            image_output: 1,
            ..input(5)
        },
        Usage {
            images: 1,
            ..input(5)
        },
        Usage {
            searches: 1,
            ..input(5)
        },
        Usage {
            audio_ms: 1,
            ..input(5)
        },
        Usage {
            characters: 1,
            ..input(5)
        },
    ] {
        unknown(&acme("plain", usage, "2026-01-05"), CostStatus::Unpriced);
        // What is known of it is what a budget counts.
        let prices = PriceTable::parse(LIST).unwrap();
        let known = |usage: &Usage| prices.known_nanousd("acme", "plain", usage, at("2026-01-05"));
        assert_eq!(known(&usage), known(&input(5)), "{usage:?}");
        assert!(known(&usage) > Some(0));
    }
    unknown(
        &acme(
            "nightly",
            Usage {
                output: 1,
                ..input(5)
            },
            "2026-01-05",
        ),
        CostStatus::Unpriced,
    );
}

#[test]
fn the_status_tells_how_far_a_cost_is_to_be_trusted() {
    let estimated = Usage {
        estimated: true,
        ..input(1)
    };
    let status = |model: &str, usage| acme(model, usage, "2026-01-05").status;
    assert_eq!(status("plain", input(1)), CostStatus::Priced);
    assert_eq!(status("plain", estimated), CostStatus::Estimated);
    assert_eq!(status("gratis", input(1)), CostStatus::Priced);
    assert_eq!(status("plain", Usage::default()), CostStatus::NoUsage);
    assert_eq!(status("unheard-of", Usage::default()), CostStatus::NoUsage);
    assert_eq!(status("unheard-of", input(1)), CostStatus::Unpriced);
    assert_eq!(status("unheard-of", estimated), CostStatus::Unpriced);
    assert_eq!(status("", input(1)), CostStatus::Unpriced);
    assert_eq!(Cost::free().nanousd, Some(0));
    for status in [
        CostStatus::Priced,
        CostStatus::NoUsage,
        CostStatus::Unpriced,
    ] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

#[test]
fn a_cost_beyond_the_integer_saturates() {
    check("plain", output(u64::MAX), u64::MAX);
    check(
        "pieces",
        Usage {
            images: u64::MAX,
            ..Usage::default()
        },
        u64::MAX,
    );
}

#[test]
fn a_list_with_a_stranger_s_row_is_refused() {
    let list = LIST.replace(r#""host": {"#, r#""other": {"#);
    let error = PriceTable::parse(&list).unwrap_err().to_string();
    assert_eq!(
        error,
        "the price of `host/own` is of a provider that the list does not name"
    );
}

#[test]
fn providers_and_their_models_are_listed_in_order() {
    let row = |model: &str| {
        toml::from_str(&format!(
            "provider = \"custom-a\"\nmodel = \"{model}\"\ninput = 1"
        ))
        .unwrap()
    };
    let prices = PriceTable::bundled()
        .with_overrides(vec![row("z"), row("a"), row("z")])
        .unwrap();
    assert!(prices.providers().is_sorted());
    assert!(
        ["custom-a", "openai"]
            .iter()
            .all(|slug| prices.providers().contains(slug))
    );
    assert_eq!(prices.models("custom-a"), ["a", "z"]);
    assert!(prices.models("openai").contains(&"gpt-4o"));
    assert!(prices.models("nobody").is_empty());
}
