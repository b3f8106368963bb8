//! How a gateway judges its targets and shares traffic among them: groups, breaker, budgets,
//! hedging.

use std::collections::BTreeMap;

use isango_proxy::resolve;
use isango_types::health::{Balance, Breaker, Budget, Group, Hedge, Sticky};
use isango_types::{Gateway, Provider, nearest};

use super::section::Section;

/// `[gateways.breaker]`.
pub(super) fn breaker(section: &Section<'_>) -> Option<Breaker> {
    let breaker = Breaker {
        consecutive_failures: number(section, "consecutive_failures"),
        failure_percent: number(section, "failure_percent"),
        min_requests: number(section, "min_requests"),
        window: section.wait("window"),
        rest: section.wait("rest"),
        max_rest: section.wait("max_rest"),
    };
    if breaker.max_rest < breaker.rest {
        let name = if section.has("max_rest") {
            "max_rest"
        } else {
            "rest"
        };
        let message = "`max_rest` is shorter than `rest`".to_owned();
        section.problem(name, message, None);
    }
    section.flag("enabled").then_some(breaker)
}

/// The budget of `[gateways.retry]`.
pub(super) fn retry_budget(section: &Section<'_>) -> Budget {
    Budget {
        percent: number(section, "budget_percent"),
        floor: number(section, "budget_floor"),
    }
}

/// `[gateways.hedge]`.
pub(super) fn hedge(section: &Section<'_>) -> Option<Hedge> {
    let hedge = Hedge {
        min_delay: section.wait("min_delay"),
        max_delay: section.wait("max_delay"),
        budget: Budget {
            percent: number(section, "budget_percent"),
            ..Budget::HEDGES
        },
    };
    if hedge.max_delay < hedge.min_delay {
        let name = if section.has("max_delay") {
            "max_delay"
        } else {
            "min_delay"
        };
        let message = "`max_delay` is shorter than `min_delay`".to_owned();
        section.problem(name, message, None);
    }
    section.flag("enabled").then_some(hedge)
}

/// The groups of a gateway whose targets are known.
pub(super) fn groups(
    section: &Section<'_>,
    gateway: &Gateway,
    providers: &[Provider],
) -> Vec<Group> {
    const BALANCES: [Balance; 3] = [
        Balance::Weighted,
        Balance::LeastBusy,
        Balance::LowestLatency,
    ];
    let mut taken: BTreeMap<usize, Box<str>> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for section in section.tables("gateways[].groups[]") {
        let name = section.name("name").unwrap_or_default();
        check_name(&section, &name, gateway, (&groups, providers));
        let members = section.texts("targets");
        if members.len() < 2 {
            let message = format!("group `{name}` needs two targets or more");
            section.problem("targets", message, None);
        }
        let mut targets = Vec::new();
        for member in &members {
            let Some(at) = member_of(&section, member, gateway) else {
                continue;
            };
            if let Some(other) = taken.insert(at, name.clone()) {
                let message = format!("target `{member}` is in group `{other}` already");
                section.problem("targets", message, None);
            }
            targets.push(at);
        }
        check_members(&section, gateway, &targets, providers);
        groups.push(Group {
            name,
            targets,
            balance: BALANCES[section.choice("balance")],
            sticky: sticky(&section),
        });
    }
    groups
}

/// A group is found where a provider or a target could stand.
fn check_name(
    section: &Section<'_>,
    name: &str,
    gateway: &Gateway,
    (groups, providers): (&[Group], &[Provider]),
) {
    let holder = if groups.iter().any(|group| *group.name == *name) {
        "a group"
    } else if gateway.targets.iter().any(|target| *target.name == *name) {
        "a target"
    } else if providers.iter().any(|provider| provider.is_called(name)) {
        "a provider"
    } else {
        return;
    };
    let message = format!("`{name}` is the name of {holder} already");
    section.problem("name", message, None);
}

fn member_of(section: &Section<'_>, member: &str, gateway: &Gateway) -> Option<usize> {
    let names = || gateway.targets.iter().map(|target| &*target.name);
    let at = names().position(|name| name == member);
    if at.is_none() {
        let message = format!("this gateway has no target `{member}`");
        section.problem("targets", message, nearest(member, names()));
    }
    at
}

/// Each member must be able to take the requests of each other.
fn check_members(
    section: &Section<'_>,
    gateway: &Gateway,
    members: &[usize],
    providers: &[Provider],
) {
    let provider = |at: usize| {
        let slug = &gateway.targets.get(at)?.provider;
        providers.iter().find(|one| one.slug == *slug)
    };
    let Some((first, others)) = members.split_first() else {
        return;
    };
    for other in others {
        let (Some(one), Some(two)) = (provider(*first), provider(*other)) else {
            continue;
        };
        if !resolve::can_redirect(one, two) || !resolve::can_redirect(two, one) {
            let [first, other] = [first, other].map(|at| &gateway.targets[*at].name);
            let message = format!(
                "`{first}` and `{other}` cannot take each other's requests: `{}` and `{}` speak \
                 different formats",
                one.slug, two.slug
            );
            section.problem("targets", message, None);
        }
    }
    for target in members.iter().filter_map(|at| gateway.targets.get(*at)) {
        if !gateway.admits_region(target.region.as_deref()) {
            let message = format!(
                "`residency` of this gateway does not allow `{}`",
                target.name
            );
            section.problem("targets", message, None);
        }
    }
    if members.iter().all(|at| gateway.targets[*at].weight == 0) && !members.is_empty() {
        let message = "no target of this group has a weight above 0".to_owned();
        section.problem("targets", message, None);
    }
}

fn sticky(section: &Section<'_>) -> Option<Sticky> {
    let text = section.text("sticky")?;
    match text.split_once('.') {
        Some(("metadata", key)) if !key.is_empty() => Some(Sticky::Metadata(key.into())),
        Some(("header", name)) if is_header(name) => {
            Some(Sticky::Header(name.to_ascii_lowercase().into()))
        }
        Some(_) | None => {
            let message = format!("`{text}` is nothing that a request can stick to");
            let help = "write `metadata.<key>`, or `header.<name>` of a header that is sent on";
            section.problem("sticky", message, Some(help.into()));
            None
        }
    }
}

/// Our own headers, and those of a connection, are gone by then.
fn is_header(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty()
        && name.bytes().all(is_name)
        && !name.to_ascii_lowercase().starts_with("cf-aig-")
}

fn number(section: &Section<'_>, name: &str) -> u32 {
    u32::try_from(section.count(name)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
