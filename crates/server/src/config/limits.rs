//! The limits of a gateway: ours, and the two spellings that clients of Cloudflare know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isango_types::limit::{
    Condition, Dialect, Dimension, Diversion, MAX_DIMENSIONS, MAX_LIMITS, Mode, OnExceeded,
    OnOverrun, Period, Unit, Window,
};
use isango_types::{Gateway, Limit, nearest};

use super::section::Section;
use super::value::{Split, parse_wait};

/// How long a request waits for others by default, where its budget is only held by them.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Longest and shortest length of a window.
const LENGTHS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(366 * 86_400)];
/// Rules that `spend_limits` may have (data-plane section 27).
const MAX_SPEND_RULES: usize = 20;
/// Places among the choices of `on_exceeded`.
const WARN: usize = 1;
const FALLBACK: usize = 2;
/// What is one in a [`Kind::Amount`](super::value::Kind::Amount).
const ONE: u64 = 1_000_000_000;

/// All limits of a gateway, in the order in which they are judged: rate limit, spend limits, ours.
pub(super) fn limits(gateway: &Section<'_>) -> Vec<Arc<Limit>> {
    let mut limits: Vec<Limit> = rate_limit(gateway).into_iter().collect();
    limits.extend(spend_limits(gateway));
    let mut seen: BTreeSet<Box<str>> = limits.iter().map(|limit| limit.id.clone()).collect();
    for section in gateway.tables("gateways[].limits[]") {
        if let Some(limit) = own(&section) {
            if !seen.insert(limit.id.clone()) {
                let message = format!("limit `{}` is defined twice in this gateway", limit.id);
                section.problem("id", message, None);
            }
            limits.push(limit);
        }
    }
    if limits.len() > MAX_LIMITS {
        let message = format!(
            "a gateway has at most {MAX_LIMITS} limits, this one {}",
            limits.len()
        );
        gateway.problem("limits", message, None);
    }
    limits.into_iter().map(Arc::new).collect()
}

fn own(section: &Section<'_>) -> Option<Limit> {
    let unit = Unit::ALL[section.choice("unit")];
    let mode = [Mode::Strict, Mode::Relaxed][section.choice("mode")];
    if section.has("mode") && !unit.is_estimated() {
        let message = format!(
            "`mode` is for tokens and cost; {} are always counted at once",
            unit.as_str()
        );
        section.problem("mode", message, None);
    }
    if section.has("max_wait") && unit == Unit::Requests {
        let message = "`max_wait` is not for requests: what they drew does not come back";
        section.problem("max_wait", message.into(), None);
    }
    let waits = unit.is_estimated() && mode == Mode::Strict;
    let max_wait = match (section.has("max_wait"), waits) {
        (true, _) => section.wait("max_wait"),
        (false, true) => MAX_WAIT,
        (false, false) => Duration::ZERO,
    };
    let (id, by, only) = (section.name("id"), dimensions(section), conditions(section));
    let (window, limit) = (window(section, unit), amount(section, unit));
    let (on_exceeded, on_overrun) = (on_exceeded(section), on_overrun(section, waits));
    let shadow = section.flag("shadow");
    // Everything has been read, so that all that is wrong is told at once.
    Some(Limit {
        id: id?,
        by,
        only,
        unit,
        limit: limit?,
        window: window?,
        mode,
        on_exceeded,
        on_overrun,
        shadow,
        max_wait,
        dialect: Dialect::Limit,
    })
}

fn on_exceeded(section: &Section<'_>) -> OnExceeded {
    let diversion = Diversion {
        to: section.texts("fallback_to"),
        model: section.text("fallback_model"),
    };
    let choice = section.choice("on_exceeded");
    for name in ["fallback_to", "fallback_model"] {
        if section.has(name) && choice != FALLBACK {
            let message = format!("`{name}` is for `on_exceeded = \"fallback\"`");
            section.problem(name, message, None);
        }
    }
    match choice {
        FALLBACK => OnExceeded::Fallback(diversion),
        WARN => OnExceeded::Warn,
        _ => OnExceeded::Block,
    }
}

/// `holds`: whether the limit reserves anything that a stream could pass.
fn on_overrun(section: &Section<'_>, holds: bool) -> OnOverrun {
    let choice = [OnOverrun::Extend, OnOverrun::Cut][section.choice("on_overrun")];
    if section.has("on_overrun") && !holds {
        let message = "`on_overrun` is for tokens and cost in `strict` mode, which hold something";
        section.problem("on_overrun", message.into(), None);
    }
    choice
}

/// Checks that requests that do not fit have somewhere to go, and may go there.
pub(super) fn check_diversions(section: &Section<'_>, gateway: &Gateway) {
    for limit in section.tables("gateways[].limits[]") {
        if limit.choice("on_exceeded") != FALLBACK {
            continue;
        }
        let to = limit.texts("fallback_to");
        if to.is_empty() && gateway.fallback.is_empty() {
            let message = "`on_exceeded = \"fallback\"` has nowhere to go".to_owned();
            let help = "name targets in `fallback_to`, or give the gateway a `fallback` chain";
            limit.problem("on_exceeded", message, Some(help.into()));
        }
        for name in &to {
            let target = gateway.targets.iter().find(|target| target.name == *name);
            let Some(target) = target else {
                let names = gateway.targets.iter().map(|target| &*target.name);
                let message = format!("this gateway has no target `{name}`");
                limit.problem("fallback_to", message, nearest(name, names));
                continue;
            };
            if !gateway.admits_region(target.region.as_deref()) {
                let allowed = gateway.residency.join("`, `");
                let message =
                    format!("`residency` of this gateway allows only `{allowed}`, not `{name}`");
                limit.problem("fallback_to", message, None);
            }
        }
    }
}

/// The limit in its unit.
fn amount(section: &Section<'_>, unit: Unit) -> Option<u64> {
    let amount = section.amount("limit")?;
    match unit {
        Unit::Cost => Some(amount),
        Unit::Requests | Unit::Tokens | Unit::Concurrent if amount % ONE == 0 => Some(amount / ONE),
        Unit::Requests | Unit::Tokens | Unit::Concurrent => {
            let message = format!("`limit` must be a whole number of {}", unit.as_str());
            section.problem("limit", message, None);
            None
        }
    }
}

fn window(section: &Section<'_>, unit: Unit) -> Option<Window> {
    let (zone, text) = (section.text("time_zone"), section.text("window"));
    let is_sliding = section.choice("technique") == 1;
    if unit == Unit::Concurrent {
        for name in ["window", "time_zone", "technique"] {
            if section.has(name) {
                let message = format!("`{name}` is not for `concurrent`, which counts what is now");
                section.problem(name, message, None);
            }
        }
        return Some(Window::Fixed(LENGTHS[0]));
    }
    let Some(text) = text else {
        if !section.has("window") {
            let help = r#"write for instance `window = "day"`"#.to_owned();
            section.problem("window", "`window` is missing".into(), Some(help));
        }
        return None;
    };
    let named = Period::ALL.into_iter().find(|one| one.as_str() == &*text);
    let window = match (named, is_sliding) {
        (Some(period), false) => match Window::calendar(period, zone.as_deref()?) {
            Ok(window) => return Some(window),
            Err(_unknown) => {
                let message = format!("there is no time zone `{}`", zone.unwrap_or_default());
                let help = r#"names look like "Africa/Johannesburg" or "UTC""#.to_owned();
                section.problem("time_zone", message, Some(help));
                return None;
            }
        },
        (Some(period), true) => Window::Sliding(period.length()),
        (None, is_sliding) => length(section, &text, is_sliding || !section.has("technique"))?,
    };
    if section.has("time_zone") {
        let message = "`time_zone` is for named windows that turn by the calendar";
        section.problem("time_zone", message.into(), None);
    }
    Some(window)
}

fn length(section: &Section<'_>, text: &str, is_sliding: bool) -> Option<Window> {
    let length = parse_wait(text);
    match length.filter(|length| (LENGTHS[0]..=LENGTHS[1]).contains(length)) {
        Some(length) if is_sliding => Some(Window::Sliding(length)),
        Some(length) => Some(Window::Fixed(length)),
        None => {
            let message = format!(
                "`window` must be minute, hour, day, week or month, or a length from 1s to 366d \
                 such as \"90s\"; found \"{text}\""
            );
            section.problem("window", message, None);
            None
        }
    }
}

fn dimensions(section: &Section<'_>) -> Vec<Dimension> {
    let texts = section.texts("by");
    let mut seen = BTreeSet::new();
    if texts.len() > MAX_DIMENSIONS {
        let message = format!("a limit is split by at most {MAX_DIMENSIONS} dimensions");
        section.problem("by", message, None);
    }
    let known = texts.iter().filter_map(|text| {
        if !seen.insert(text.clone()) {
            section.problem("by", format!("`{text}` stands twice in `by`"), None);
        }
        dimension(section, "by", text)
    });
    known.collect()
}

fn dimension(section: &Section<'_>, name: &str, text: &str) -> Option<Dimension> {
    let dimension = Dimension::parse(text);
    if dimension.is_none() {
        let message = format!("`{text}` is no dimension");
        let help = "there are metadata.<key>, token, provider, model and target".to_owned();
        section.problem(name, message, Some(help));
    }
    dimension
}

fn conditions(section: &Section<'_>) -> Vec<Condition> {
    let lists = section.lists("only").into_iter();
    let known = lists.filter_map(|(text, values)| {
        if values.is_empty() {
            let message = format!("`{text}` in `only` names no value: no request would match");
            section.problem("only", message, None);
        }
        Some(Condition {
            dimension: dimension(section, "only", &text)?,
            values,
        })
    });
    known.collect()
}

/// `rate_limiting_*` (data-plane section 17); off where the limit or the interval is 0.
fn rate_limit(gateway: &Section<'_>) -> Option<Limit> {
    let count = |name| u64::try_from(gateway.count(name)).unwrap_or(u64::MAX);
    let (limit, interval) = (
        count("rate_limiting_limit"),
        count("rate_limiting_interval"),
    );
    let is_sliding = gateway.choice("rate_limiting_technique") == 1;
    if limit == 0 || interval == 0 {
        return None;
    }
    Some(Limit {
        id: "rate_limiting".into(),
        by: Vec::new(),
        only: Vec::new(),
        unit: Unit::Requests,
        limit,
        window: of_seconds(interval, is_sliding),
        mode: Mode::Strict,
        on_exceeded: OnExceeded::Block,
        on_overrun: OnOverrun::Extend,
        shadow: false,
        max_wait: Duration::ZERO,
        dialect: Dialect::RateLimit,
    })
}

const fn of_seconds(seconds: u64, is_sliding: bool) -> Window {
    match is_sliding {
        true => Window::Sliding(Duration::from_secs(seconds)),
        false => Window::Fixed(Duration::from_secs(seconds)),
    }
}

/// `spend_limits` (management-api section 3.6). Rules of one id are told apart by their place.
fn spend_limits(gateway: &Section<'_>) -> Vec<Limit> {
    let section = gateway.table("gateways[].spend_limits");
    let enabled = section.flag("enabled");
    let rules = section.tables("gateways[].spend_limits.rules[]");
    if rules.len() > MAX_SPEND_RULES {
        let message = format!("`spend_limits` has at most {MAX_SPEND_RULES} rules");
        section.problem("rules", message, None);
    }
    let mut limits: Vec<Limit> = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let Some((mut limit, holds)) = spend_limit(rule) else {
            continue;
        };
        if limits.iter().any(|other| other.id == limit.id) {
            limit.id = format!("{}-{place}", limit.id).into();
        }
        if holds && enabled {
            limits.push(limit);
        }
    }
    limits
}

fn spend_limit(rule: &Section<'_>) -> Option<(Limit, bool)> {
    // There is one kind only; anything else is told by its own message.
    let _cost = rule.choice("limitType");
    let seconds = u64::try_from(rule.count("window")).unwrap_or(u64::MAX);
    let is_sliding = rule.choice("technique") == 1;
    let (mut by, mut only) = (Vec::new(), Vec::new());
    for (key, split) in rule.splits("metadata") {
        add(Dimension::Metadata(key), split, (&mut by, &mut only));
    }
    for (name, dimension) in [
        ("model", Dimension::Model),
        ("provider", Dimension::Provider),
    ] {
        match rule.split(name) {
            Some(Split::Partition) => {
                let message = format!("`{name}` can only be a filter; use `by` of a limit instead");
                rule.problem(name, message, None);
            }
            Some(split) => add(dimension, split, (&mut by, &mut only)),
            None => {}
        }
    }
    let (id, amount, holds) = (rule.name("id"), rule.amount("limit"), rule.flag("enabled"));
    let limit = Limit {
        id: id?,
        by,
        only,
        unit: Unit::Cost,
        limit: amount?,
        window: of_seconds(seconds.max(1), is_sliding),
        mode: Mode::Strict,
        on_exceeded: OnExceeded::Block,
        on_overrun: OnOverrun::Extend,
        shadow: false,
        max_wait: MAX_WAIT,
        dialect: Dialect::SpendLimit,
    };
    Some((limit, holds))
}

fn add(dimension: Dimension, split: Split, (by, only): (&mut Vec<Dimension>, &mut Vec<Condition>)) {
    match split {
        Split::Partition => by.push(dimension),
        Split::Filter(values) => only.push(Condition { dimension, values }),
    }
}
