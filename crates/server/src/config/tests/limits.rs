//! Limits, in all their spellings.

use super::*;

#[test]
fn limits_are_read_in_all_three_spellings() {
    let text = r#"
        [[gateways]]
        id = "support"
        rate_limiting_limit = 50
        rate_limiting_interval = 60
        rate_limiting_technique = "sliding"
        [[gateways.limits]]
        id = "tenant-daily-tokens"
        by = ["metadata.tenantId"]
        unit = "tokens"
        limit = 200_000
        window = "day"
        time_zone = "Africa/Johannesburg"
        [[gateways.limits]]
        id = "monthly-spend"
        unit = "cost"
        limit = 500.0
        window = "month"
        only = { model = ["gpt-4o"] }
        mode = "relaxed"
        [[gateways.limits]]
        id = "at-once"
        unit = "concurrent"
        limit = 8
        [gateways.spend_limits]
        enabled = true
        rules = [
            { limitType = "cost", limit = 25, window = 86400, technique = "fixed" },
            { limitType = "cost", limit = 0.5, window = 60 },
        ]
    "#;
    let config = load(text);
    let limits = &config.gateways[0].limits;
    let told: Vec<_> = limits
        .iter()
        .map(|limit| format!("{}: {}; {:?}", limit.id, limit.describe(), limit.max_wait))
        .collect();
    assert_eq!(
        told,
        [
            "rate_limiting: 50 requests per 60s, sliding; 0ns",
            "00000000: cost limit 25 per 86400s, fixed; 5s",
            "00000000-1: cost limit 0.5 per 60s, sliding; 5s",
            "tenant-daily-tokens: 200000 tokens per day (Africa/Johannesburg); 5s",
            "monthly-spend: cost limit 500 per month; 0ns",
            "at-once: 8 requests at once; 0ns",
        ]
    );
}

/// Limits that are wrong in every way.
const WRONG_LIMITS: &str = r#"
[[gateways]]
id = "a"
rate_limiting_limit = 1
rate_limiting_interval = 1
[[gateways.limits]]
id = "rate_limiting"
unit = "tokens"
limit = 1.5
window = "fortnight"
[[gateways.limits]]
id = "zone"
unit = "cost"
limit = 0
window = "day"
time_zone = "Africa/Joburg"
by = ["tenant", "model", "model"]
[[gateways.limits]]
id = "x"
unit = "requests"
limit = 1
window = "90s"
time_zone = "UTC"
mode = "relaxed"
max_wait = "1s"
only = { model = [] }
[[gateways.limits]]
id = "x"
unit = "concurrent"
limit = 1
window = "day"
[[gateways.limits]]
id = "x"
unit = "requests"
limit = 1
on_exceeded = "never"
[gateways.spend_limits]
rules = [{ limitType = "tokens", limit = 1, window = 1, model = { mode = "partition" } }]
"#;

#[test]
fn a_wrong_limit_is_told_with_its_place() {
    insta::assert_snapshot!(refused(WRONG_LIMITS), @r#"
    configuration:9:9: `limit` must be a whole number of tokens
      9 | limit = 1.5
        |         ^^^
    configuration:10:10: `window` must be minute, hour, day, week or month, or a length from 1s to 366d such as "90s"; found "fortnight"
      10 | window = "fortnight"
         |          ^^^^^^^^^^^
    configuration:14:9: `limit` must be a number above 0, such as 200_000 or 12.5; found a number
      14 | limit = 0
         |         ^
    configuration:16:13: there is no time zone `Africa/Joburg`
      16 | time_zone = "Africa/Joburg"
         |             ^^^^^^^^^^^^^^^
      help: names look like "Africa/Johannesburg" or "UTC"
    configuration:17:6: `tenant` is no dimension
      17 | by = ["tenant", "model", "model"]
         |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      help: there are metadata.<key>, token, provider, model and target
    configuration:17:6: `model` stands twice in `by`
      17 | by = ["tenant", "model", "model"]
         |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    configuration:23:13: `time_zone` is for named windows that turn by the calendar
      23 | time_zone = "UTC"
         |             ^^^^^
    configuration:24:8: `mode` is for tokens and cost; requests are always counted at once
      24 | mode = "relaxed"
         |        ^^^^^^^^^
    configuration:25:12: `max_wait` is not for requests: what they drew does not come back
      25 | max_wait = "1s"
         |            ^^^^
    configuration:26:8: `model` in `only` names no value: no request would match
      26 | only = { model = [] }
         |        ^^^^^^^^^^^^^^
    configuration:28:6: limit `x` is defined twice in this gateway
      28 | id = "x"
         |      ^^^
    configuration:31:10: `window` is not for `concurrent`, which counts what is now
      31 | window = "day"
         |          ^^^^^
    configuration:32:1: `window` is missing
      32 | [[gateways.limits]]
         | ^^^^^^^^^^^^^^^^^^^
      help: write for instance `window = "day"`
    configuration:36:15: `on_exceeded` must be "block", "warn" or "fallback"; found another text
      36 | on_exceeded = "never"
         |               ^^^^^^^
    configuration:38:24: `limitType` must be "cost"; found another text
      38 | rules = ** ********* * ********* ***** * ** ****** * ** ***** * * **** * *********** * **
         |                        ^^^^^^^^
    configuration:38:65: `model` can only be a filter; use `by` of a limit instead
      38 | ****** * ********* ***** * ** ****** * ** ***** * * **** * *********** * **
         |                                                   ^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_fallback_that_leads_nowhere_is_told() {
    let text = r#"
[[gateways]]
id = "a"
residency = ["southafricanorth"]
[[gateways.targets]]
name = "sa"
provider = "openai"
region = "southafricanorth"
[[gateways.targets]]
name = "eu"
provider = "openai"
region = "westeurope"
[[gateways.limits]]
id = "nowhere"
unit = "requests"
limit = 1
window = "day"
on_exceeded = "fallback"
[[gateways.limits]]
id = "elsewhere"
unit = "requests"
limit = 1
window = "day"
on_exceeded = "fallback"
fallback_to = ["eu", "sb"]
[[gateways.limits]]
id = "blocks"
unit = "requests"
limit = 1
window = "day"
fallback_model = "gpt-4o-mini"
on_overrun = "cut"
"#;
    insta::assert_snapshot!(refused(text), @r#"
    configuration:18:15: `on_exceeded = "fallback"` has nowhere to go
      18 | on_exceeded = "fallback"
         |               ^^^^^^^^^^
      help: name targets in `fallback_to`, or give the gateway a `fallback` chain
    configuration:25:15: `residency` of this gateway allows only `southafricanorth`, not `eu`
      25 | fallback_to = ["eu", "sb"]
         |               ^^^^^^^^^^^^
    configuration:25:15: this gateway has no target `sb`
      25 | fallback_to = ["eu", "sb"]
         |               ^^^^^^^^^^^^
      help: did you mean `sa`?
    configuration:31:18: `fallback_model` is for `on_exceeded = "fallback"`
      31 | fallback_model = "gpt-4o-mini"
         |                  ^^^^^^^^^^^^^
    configuration:32:14: `on_overrun` is for tokens and cost in `strict` mode, which hold something
      32 | on_overrun = "cut"
         |              ^^^^^
    "#);
}
