//! What is taken out of the records of a gateway.

use std::sync::Arc;

use isango_redact::{Action, Detector, MAX_RULES, Parts, Rules, Spec};
use isango_types::nearest;
use isango_types::redaction::Redaction;

use super::section::Section;

/// The names of parts of a record.
const PARTS: [&str; 3] = ["request", "response", "metadata"];

/// The rules that hold before records are stored, or before they are exported.
pub(super) fn rules(gateway: &Section<'_>, at_export: bool) -> Option<Redaction> {
    let sections = gateway.tables("gateways[].redact[]");
    if sections.len() > MAX_RULES {
        let message = format!("a gateway has at most {MAX_RULES} rules");
        gateway.problem("redact", message, None);
    }
    let of_place = sections
        .iter()
        .filter(|section| (section.choice("at") == 1) == at_export);
    let (mut specs, mut source) = (Vec::new(), String::new());
    let mut places = Vec::new();
    for section in of_place {
        let spec = spec(section);
        source.push_str(&format!("{spec:?}"));
        // Its text tells a key from another one; it is never shown.
        source.push_str(spec.hash_key.as_ref().map_or("", |key| key.expose()));
        specs.push(spec);
        places.push(section);
    }
    if specs.is_empty() {
        return None;
    }
    match Rules::compile(&specs) {
        Ok(rules) => Some(Redaction::new(&source, Arc::new(rules))),
        Err((place, error)) => {
            let message = format!("`{}`: {}", error.part, error.message);
            places[place].problem(error.part, message, None);
            None
        }
    }
}

fn spec(section: &Section<'_>) -> Spec {
    let detectors = section.texts("detect");
    let detectors = detectors.iter().filter_map(|name| {
        let detector = Detector::parse(name);
        if detector.is_none() {
            let help = nearest(name, Detector::NAMES.into_iter());
            section.problem("detect", format!("there is no detector `{name}`"), help);
        }
        detector
    });
    let chosen = section.texts("in");
    for name in chosen.iter().filter(|name| !PARTS.contains(&&***name)) {
        let message = format!("a record has no `{name}`");
        section.problem("in", message, nearest(name, PARTS.into_iter()));
    }
    let looks_at = |name: &str| chosen.is_empty() || chosen.iter().any(|one| **one == *name);
    Spec {
        name: section.name("name").unwrap_or_default(),
        pattern: section.text("pattern"),
        detectors: detectors.collect(),
        keys: section.texts("keys"),
        action: Action::ALL[section.choice("action")],
        hash_key: section.secret("hash_key"),
        parts: Parts {
            request: looks_at("request"),
            response: looks_at("response"),
            metadata: looks_at("metadata"),
        },
    }
}
