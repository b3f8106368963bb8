//! Policies of a gateway: retries, fallback, residency.

use super::*;

#[test]
fn policies_of_a_gateway_are_read() {
    use isango_types::policy::{Backoff, FallbackOn, RetryPolicy, Timeouts};
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let text = format!(
        r#"
[server]
first_byte_timeout = "9s"
[providers.openai]
retry = {{ on = [429] }}
[[gateways]]
id = "a"
retry = {{ max_attempts = 3, delay_ms = 250, backoff = "exponential" }}
idle_timeout = "7s"
total_timeout = "1m"
max_replay_bytes = "1MiB"
[gateways.fallback]
sa = ["eu", "main"]
main = {{ to = ["sa"], on = ["429", "5xx"] }}
{TARGETS}"#
    );
    let config = load(&text);
    let gateway = &config.gateways[0];
    let policy = RetryPolicy {
        max_attempts: 3,
        delay: Duration::from_millis(250),
        backoff: Backoff::Exponential,
    };
    assert_eq!(gateway.retry, policy);
    assert_eq!(gateway.total_timeout, seconds(60));
    assert_eq!(gateway.max_replay_bytes, 1 << 20);
    let timeouts = |first_byte, idle| Timeouts {
        connect: None,
        first_byte,
        idle,
    };
    assert_eq!(gateway.timeouts, timeouts(seconds(9), seconds(7)));
    assert_eq!(gateway.targets[0].timeouts, timeouts(None, seconds(7)));
    assert_eq!(
        gateway.targets[2].timeouts,
        timeouts(seconds(9), seconds(5))
    );
    let names = |from: &str| {
        let chain = gateway.chain(from).unwrap();
        chain
            .to
            .iter()
            .map(|target| &*target.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("sa"), ["eu", "main"]);
    assert_eq!(names("main"), ["sa"]);
    assert_eq!(gateway.chain("sa").unwrap().on, FallbackOn::default());
    let on = gateway.chain("main").unwrap().on;
    assert!(on.rate_limit && on.server_error && !on.connect && !on.timeout);
    let provider = |slug: &str| config.providers.iter().find(|one| *one.slug == *slug);
    let openai = &provider("openai").unwrap().retry;
    assert_eq!(openai.on, [429]);
    assert_eq!(openai.never, ["insufficient_quota".into()]);
}

#[test]
fn a_chain_that_cannot_work_is_refused_with_the_reason() {
    let text = format!(
        r#"[[gateways]]
id = "a"
retry = {{ max_attempts = 6 }}
fallback = {{ sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = {{ to = ["sa"], on = ["500"] }} }}
{TARGETS}"#
    );
    insta::assert_snapshot!(refused(&text), @r#"
    configuration:3:26: `max_attempts` must be a whole number from 1 to 5; found a number
      3 | retry = * ************ * * *
        |                          ^
    configuration:4:20: `sa` cannot fall back to itself
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                    ^^^^
    configuration:4:32: `eu` stands twice in the chain of `sa`
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                ^^^^
    configuration:4:38: this gateway has no target `ew`
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                      ^^^^
      help: did you mean `eu`?
    configuration:4:44: `claude` cannot take over from `sa`: a request to `azure-openai` (openai) cannot be rewritten for `anthropic` (anthropic)
      4 | fallback = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on
        |                                            ^^^^^^^^
      help: chain targets of one provider, or of providers that speak the same format
    configuration:4:55: the chain of `eu` names 0 targets; it takes 1 to 8
      4 | back = { sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on = [
        |                                                   ^^
    configuration:4:64: this gateway has no target `me`
      4 | sa = ["sa", "eu", "eu", "ew", "claude"], eu = [], me = ["sa"], main = { to = ["sa"], on = ["500"] }
        |                                                   ^^
      help: known here: `sa`, `eu`, `main`, `claude`
    configuration:4:105: `500` is no condition
      4 | eu = [], me = ["sa"], main = { to = ["sa"], on = ["500"] } }
        |                                                   ^^^^^
      help: there are "connect", "timeout", "5xx", "429"
    "#);
}

#[test]
fn a_chain_that_will_hardly_answer_is_a_warning() {
    let text = format!("[[gateways]]\nid = \"a\"\nfallback = {{ sa = [\"main\"] }}\n{TARGETS}");
    insta::assert_snapshot!(load(&text).warnings.join("\n"), @r"
    nothing falls back to target `main` of gateway `a`: it has no `credential`, unless one is stored (`isango key set`), and a client's own is not sent there
    target `sa` of gateway `a` has no `models`: `main` will be asked for models by the names of its deployments
    ");
}

#[test]
fn residency_is_kept_by_chains_too() {
    let text = format!(
        r#"[[gateways]]
id = "a"
residency = ["southafricanorth", "northafrica"]
fallback = {{ sa = ["eu", "main"] }}
{TARGETS}"#
    );
    insta::assert_snapshot!(refused(&text), @r#"
    configuration:3:13: no target of this gateway has the region `northafrica`, so that no request could go there
      3 | residency = ["southafricanorth", "northafrica"]
        |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      help: known here: `southafricanorth`, `westeurope`
    configuration:4:20: `eu` is in `westeurope`, but `residency` of this gateway allows only `southafricanorth`, `northafrica`
      4 | fallback = { sa = ["eu", "main"] }
        |                    ^^^^
    configuration:4:26: `main` has no `region`, but `residency` of this gateway allows only `southafricanorth`, `northafrica`
      4 | fallback = { sa = ["eu", "main"] }
        |                          ^^^^^^
    "#);
}
