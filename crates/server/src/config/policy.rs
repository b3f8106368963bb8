//! The policies of a gateway: retries, timeouts, fallback chains, residency.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use isango_proxy::resolve;
use isango_types::policy::{Backoff, Chain, FallbackOn, MAX_CHAIN, RetryPolicy, Timeouts};
use isango_types::{Gateway, Provider, Target, nearest};
use toml::Spanned;

use super::section::Section;
use super::value::ChainText;

/// `[gateways.retry]`.
pub(super) fn retry(section: &Section<'_>) -> RetryPolicy {
    let millis = u64::try_from(section.count("delay_ms")).unwrap_or(u64::MAX);
    RetryPolicy {
        max_attempts: u8::try_from(section.count("max_attempts")).unwrap_or(1),
        delay: Duration::from_millis(millis),
        backoff: Backoff::ALL[section.choice("backoff")],
    }
}

/// The timeouts of a gateway or a target; `above` holds where it does not say otherwise.
pub(super) fn timeouts(section: &Section<'_>, above: Timeouts) -> Timeouts {
    let own = |name: &str, above: Option<Duration>| match section.has(name) {
        true => section.timeout(name),
        false => above,
    };
    Timeouts {
        connect: own("connect_timeout", above.connect),
        first_byte: own("first_byte_timeout", above.first_byte),
        idle: own("idle_timeout", above.idle),
    }
}

/// Checks that regions are named, each once, and that a target lies in one of them.
pub(super) fn residency(section: &Section<'_>, targets: &[Arc<Target>]) -> Vec<Box<str>> {
    let regions = section.texts("residency");
    if regions.iter().any(|region| region.trim().is_empty()) {
        let message = "`residency` holds an empty region".to_owned();
        section.problem("residency", message, None);
    }
    let is_named = |region: &str| {
        let mut of_targets = targets.iter().filter_map(|target| target.region.as_deref());
        of_targets.any(|named| named.eq_ignore_ascii_case(region))
    };
    if let Some(region) = regions.iter().find(|region| !is_named(region)) {
        let known = targets.iter().filter_map(|target| target.region.as_deref());
        let message = format!(
            "no target of this gateway has the region `{region}`, so that no request could go there"
        );
        section.problem("residency", message, nearest(region, known));
    }
    regions
}

/// The chains of a gateway, of which only the targets' own settings were read yet.
pub(super) fn chains(
    section: &Section<'_>,
    gateway: &Gateway,
    providers: &[Provider],
) -> Vec<Chain> {
    let reader = Reader {
        section,
        gateway,
        providers,
    };
    let texts = section.chains("fallback");
    texts.iter().filter_map(|text| reader.chain(text)).collect()
}

struct Reader<'r> {
    section: &'r Section<'r>,
    gateway: &'r Gateway,
    providers: &'r [Provider],
}

impl Reader<'_> {
    fn chain(&self, text: &ChainText) -> Option<Chain> {
        let from = self.target(&text.from)?;
        if text.to.is_empty() || text.to.len() > MAX_CHAIN {
            let message = format!(
                "the chain of `{}` names {} targets; it takes 1 to {MAX_CHAIN}",
                from.name,
                text.to.len()
            );
            self.problem(&text.from, message, None);
        }
        self.check_region(&text.from, from);
        let mut seen = BTreeSet::from([&*from.name]);
        let mut to = Vec::new();
        for name in &text.to {
            let Some(target) = self.target(name) else {
                continue;
            };
            if !seen.insert(&target.name) {
                let message = if target.name == from.name {
                    format!("`{}` cannot fall back to itself", from.name)
                } else {
                    format!(
                        "`{}` stands twice in the chain of `{}`",
                        target.name, from.name
                    )
                };
                self.problem(name, message, None);
                continue;
            }
            self.check_pair(name, from, target);
            self.check_region(name, target);
            to.push(Arc::clone(target));
        }
        Some(Chain {
            from: from.name.clone(),
            to,
            on: self.conditions(text),
        })
    }

    fn target(&self, name: &Spanned<Box<str>>) -> Option<&Arc<Target>> {
        let wanted = name.get_ref();
        let targets = &self.gateway.targets;
        let found = targets.iter().find(|target| target.name == *wanted);
        if found.is_none() {
            let message = format!("this gateway has no target `{wanted}`");
            let names = targets.iter().map(|target| &*target.name);
            self.problem(name, message, nearest(wanted, names));
        }
        found
    }

    /// Whether a request for `from` can be rewritten for `to`.
    fn check_pair(&self, at: &Spanned<Box<str>>, from: &Target, to: &Target) {
        let provider = |slug: &str| self.providers.iter().find(|one| *one.slug == *slug);
        let (Some(one), Some(other)) = (provider(&from.provider), provider(&to.provider)) else {
            return;
        };
        if !resolve::can_redirect(one, other) {
            let message = format!(
                "`{}` cannot take over from `{}`: a request to `{}` ({}) cannot be rewritten for \
                 `{}` ({})",
                to.name,
                from.name,
                one.slug,
                one.wire.as_str(),
                other.slug,
                other.wire.as_str()
            );
            let help = "chain targets of one provider, or of providers that speak the same format";
            self.problem(at, message, Some(help.into()));
        }
    }

    fn check_region(&self, at: &Spanned<Box<str>>, target: &Target) {
        if self.gateway.admits_region(target.region.as_deref()) {
            return;
        }
        let region = match &target.region {
            Some(region) => format!("is in `{region}`"),
            None => "has no `region`".to_owned(),
        };
        let allowed = self.gateway.residency.join("`, `");
        let message = format!(
            "`{}` {region}, but `residency` of this gateway allows only `{allowed}`",
            target.name
        );
        self.problem(at, message, None);
    }

    fn conditions(&self, text: &ChainText) -> FallbackOn {
        let Some(names) = &text.on else {
            return FallbackOn::default();
        };
        let named = FallbackOn::named(names.iter().map(|name| &**name.get_ref()));
        let wrong = match named {
            Ok(on) if !names.is_empty() => return on,
            Ok(_) => None,
            Err(wrong) => names.iter().find(|name| &**name.get_ref() == wrong),
        };
        let known = FallbackOn::NAMES.join("\", \"");
        match wrong {
            Some(name) => {
                let message = format!("`{}` is no condition", name.get_ref());
                self.problem(name, message, Some(format!("there are \"{known}\"")));
            }
            None => {
                let message = "a chain without a condition is never used".to_owned();
                self.problem(&text.from, message, Some(format!("there are \"{known}\"")));
            }
        }
        FallbackOn::default()
    }

    fn problem(&self, at: &Spanned<Box<str>>, message: String, help: Option<String>) {
        let span: Range<usize> = at.span();
        self.section.problem_at(span, message, help);
    }
}
