use isango_types::alert::{Kind, Share, When};

use crate::config::tests::{load, refused};

const TO: &str = "webhook = \"https://hooks.slack.com/services/T0\", format = \"slack\"";

/// A gateway with one limit whose alerts are these.
fn limited(alerts: &str) -> String {
    format!(
        "[[gateways]]\nid = \"a\"\n[[gateways.limits]]\nid = \"spend\"\nunit = \"cost\"\nlimit = 5\n\
         window = \"month\"\nalerts = [{alerts}]\n"
    )
}

/// A gateway with one alert of its own.
fn watched(alert: &str) -> String {
    let to = TO.replace(", ", "\n");
    format!("[[gateways]]\nid = \"a\"\n[[gateways.alerts]]\nid = \"x\"\n{to}\n{alert}\n")
}

#[test]
fn alerts_of_limits_have_names_of_their_own() {
    let alerts =
        format!("{{ at = 0.8, {TO} }}, {{ at = 1, forecast = true, {TO} }}, {{ at = 0.8, {TO} }}");
    let config = load(&limited(&alerts));
    let gateway = &config.gateways[0];
    let ids: Vec<&str> = gateway.alerts.iter().map(|alert| &*alert.id).collect();
    assert_eq!(ids, ["spend-80", "spend-forecast-100", "spend-80-2"]);
    let When::Drawn {
        limit,
        share,
        forecast,
    } = &gateway.alerts[1].when
    else {
        panic!("{:?}", gateway.alerts[1])
    };
    assert_eq!(
        (&**limit, *share, *forecast),
        (&*gateway.limits[0], Share::WHOLE, true)
    );
    assert!(!gateway.alerts[0].webhook.trusted);
}

#[test]
fn alerts_of_requests_are_read() {
    let config = load(&watched(
        "on = \"ttfb\"\nover = \"2s\"\npercentile = 99\nwindow = \"15m\"",
    ));
    let alert = &config.gateways[0].alerts[0];
    let seconds = std::time::Duration::from_secs;
    let expected = When::Often {
        kind: Kind::FirstByte(seconds(2)),
        share: Share::from_millionths(10_000),
        window: seconds(900),
        min_requests: 20,
        repeat_after: seconds(3_600),
    };
    assert_eq!((&*alert.id, &alert.when), ("x", &expected));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let check = |text: &str, message: &str| {
        let error = refused(text);
        assert!(error.contains(message), "{message}: {error}");
        assert!(!error.contains("T0"), "an address is a secret: {error}");
    };
    check(&limited(&format!("{{ {TO} }}")), "`at` is missing");
    check(
        &limited(&format!("{{ at = 80, {TO} }}")),
        "1 at most where it blocks: 0.8 is 80 %",
    );
    check(
        &limited(&format!("{{ at = 0.0000001, {TO} }}")),
        "a share from 0.000001 to 10",
    );
    check(
        &limited("{ at = 1, format = \"slack\" }"),
        "`webhook` is missing",
    );
    check(
        &limited("{ at = 1, webhook = \"http://example.com/T0\", format = \"slack\" }"),
        "`webhook` is no address to tell: it is http",
    );
    check(
        &limited("{ at = 1, webhook = \"https://example.com/T0\", format = \"json\" }"),
        "`json` needs a `secret`",
    );
    check(
        &limited(&format!("{{ at = 1, secret = \"short\", {TO} }}")),
        "at least 16 characters",
    );
    check(
        &limited(&format!("{{ at = 1, {TO}, forcast = true }}")),
        "did you mean `forecast`",
    );
    let rolling = limited(&format!("{{ at = 1, forecast = true, {TO} }}"));
    check(
        &rolling.replace("\"month\"", "\"7d\""),
        "`forecast` is not for rolling windows",
    );
    let concurrent = limited(&format!("{{ at = 1, {TO} }}"));
    let concurrent = concurrent.replace("\"cost\"", "\"concurrent\"");
    check(
        &concurrent.replace("window = \"month\"\n", ""),
        "alerts are not for `concurrent`",
    );
    check(
        &watched("on = \"ttfb\""),
        "`over` is missing: `ttfb` needs it",
    );
    check(
        &watched("on = \"ttfb\"\nover = \"2s\"\nat = 0.5"),
        "`at` is not for `ttfb`",
    );
    check(
        &watched("on = \"error_rate\""),
        "`at` is missing: `error_rate` needs it",
    );
    check(
        &watched("on = \"error_rate\"\nat = 0.5\nover = \"2s\""),
        "`over` is not for `error_rate`",
    );
    check(
        &watched("on = \"unpriced\"\nat = 1.5"),
        "a share from 0.000001 to 1: 0.8 is 80 %",
    );
    check(
        &watched("on = \"errors\"\nat = 0.5"),
        "`on` must be \"error_rate\"",
    );
    check(
        "dashboard_url = \"https://{region}.a.example\"",
        "nothing fills `{region}`",
    );
}

#[test]
fn more_than_a_limit_can_be_told_where_it_does_not_block() {
    let text = limited(&format!("{{ at = 1.5, {TO} }}"));
    let warning = text.replace("limit = 5\n", "limit = 5\non_exceeded = \"warn\"\n");
    assert_eq!(&*load(&warning).gateways[0].alerts[0].id, "spend-150");
}
