use std::time::Duration;

use isango_types::health::{Balance, Breaker, Budget, Hedge, Sticky};

use crate::config::tests::{TARGETS, load, refused};

#[test]
fn groups_breaker_and_hedging_are_read() {
    let text = format!(
        r#"
[[gateways]]
id = "a"
[gateways.retry]
budget_percent = 30
budget_floor = 0
[gateways.breaker]
consecutive_failures = 2
max_rest = "1m"
[gateways.hedge]
enabled = true
max_delay = "2s"
[[gateways.groups]]
name = "chat"
targets = ["eu", "sa"]
balance = "lowest_latency"
sticky = "header.X-Session"
{TARGETS}
[[gateways]]
id = "b"
breaker = {{ enabled = false }}
"#
    );
    let config = load(&text);
    let [gateway, other] = &config.gateways[..] else {
        panic!("two gateways");
    };
    let group = &gateway.groups[0];
    assert_eq!((&*group.name, &*group.targets), ("chat", &[1, 0][..]));
    assert_eq!(group.balance, Balance::LowestLatency);
    assert_eq!(group.sticky, Some(Sticky::Header("x-session".into())));
    assert_eq!(gateway.group("sa"), Some(0));
    assert_eq!(gateway.group("main"), None);
    let budget = Budget {
        percent: 30,
        floor: 0,
    };
    assert_eq!(gateway.retry_budget, budget);
    let breaker = Breaker {
        consecutive_failures: 2,
        max_rest: Duration::from_secs(60),
        ..Breaker::default()
    };
    assert_eq!(gateway.breaker, Some(breaker));
    let hedge = Hedge {
        max_delay: Duration::from_secs(2),
        ..Hedge::default()
    };
    assert_eq!(gateway.hedge, Some(hedge));
    assert_eq!((other.breaker, other.hedge), (None, None));
    assert_eq!(other.retry_budget, Budget::RETRIES);
}

#[test]
fn the_defaults_of_a_gateway_are_those_of_its_type() {
    let config = load("[[gateways]]\nid = \"a\"");
    let gateway = isango_types::Gateway::new("local", "a");
    assert_eq!(config.gateways[0].breaker, gateway.breaker);
    assert_eq!(config.gateways[0].retry_budget, gateway.retry_budget);
    assert_eq!(config.gateways[0].hedge, gateway.hedge);
}

#[test]
fn a_group_that_cannot_work_is_refused_with_the_reason() {
    let text = format!(
        r#"
[[gateways]]
id = "a"
breaker = {{ rest = "1m" }}
[[gateways.groups]]
name = "sa"
targets = ["sa", "claude"]
sticky = "cookie.session"
[[gateways.groups]]
name = "openai"
targets = ["sa", "ew"]
[[gateways.groups]]
name = "alone"
targets = ["eu"]
sticky = "header.cf-aig-metadata"
{TARGETS}"#
    );
    insta::assert_snapshot!(refused(&text), @r#"
    configuration:4:20: `max_rest` is shorter than `rest`
      4 | breaker = * **** * **** *
        |                    ^^^^
    configuration:6:8: `sa` is the name of a target already
      6 | name = "sa"
        |        ^^^^
    configuration:7:11: `sa` and `claude` cannot take each other's requests: `azure-openai` and `anthropic` speak different formats
      7 | targets = ["sa", "claude"]
        |           ^^^^^^^^^^^^^^^^
    configuration:8:10: `cookie.session` is nothing that a request can stick to
      8 | sticky = "cookie.session"
        |          ^^^^^^^^^^^^^^^^
      help: write `metadata.<key>`, or `header.<name>` of a header that is sent on
    configuration:10:8: `openai` is the name of a provider already
      10 | name = "openai"
         |        ^^^^^^^^
    configuration:11:11: target `sa` is in group `sa` already
      11 | targets = ["sa", "ew"]
         |           ^^^^^^^^^^^^
    configuration:11:11: this gateway has no target `ew`
      11 | targets = ["sa", "ew"]
         |           ^^^^^^^^^^^^
      help: did you mean `eu`?
    configuration:14:11: group `alone` needs two targets or more
      14 | targets = ["eu"]
         |           ^^^^^^
    configuration:15:10: `header.cf-aig-metadata` is nothing that a request can stick to
      15 | sticky = "header.cf-aig-metadata"
         |          ^^^^^^^^^^^^^^^^^^^^^^^^
      help: write `metadata.<key>`, or `header.<name>` of a header that is sent on
    "#);
}

#[test]
fn a_group_stays_where_its_gateway_may_go() {
    let text = format!(
        r#"
[[gateways]]
id = "a"
residency = ["westeurope"]
[[gateways.groups]]
name = "chat"
targets = ["eu", "sa"]
{TARGETS}"#
    );
    let told = refused(&text);
    assert!(
        told.contains("`residency` of this gateway does not allow `sa`"),
        "{told}"
    );
}
