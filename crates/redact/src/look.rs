//! Where rules look in a record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use isango_types::record::{Body, Message, MetadataValue};
use isango_types::redaction::Redact;
use isango_types::{Record, RecordId};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use crate::json::{self, Place, Visit};
use crate::mark::Marks;
use crate::{Parts, Rule, Rules};

/// The rules that look at one part of a record.
struct Look<'r> {
    rules: Vec<&'r Rule>,
    marks: &'r Marks,
}

impl<'r> Look<'r> {
    fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    fn each(&self, text: &str, is_name: bool) -> Option<String> {
        let mut current: Option<String> = None;
        for rule in &self.rules {
            let text = current.as_deref().unwrap_or(text);
            current = rule.text(text, self.marks, is_name).or(current);
        }
        current
    }

    fn plain(&self, text: &str) -> Option<String> {
        self.each(text, false)
    }

    /// Looks at texts of a record, by what they say.
    fn texts<'t>(&self, texts: impl IntoIterator<Item = Option<&'t mut Box<str>>>) {
        for text in texts.into_iter().flatten() {
            if let Some(changed) = self.plain(text) {
                *text = changed.into();
            }
        }
    }

    /// Looks at what names something.
    fn names<'t>(&self, names: impl IntoIterator<Item = Option<&'t mut Box<str>>>) {
        for name in names.into_iter().flatten() {
            if let Some(changed) = self.each(name, true) {
                *name = changed.into();
            }
        }
    }

    fn rule_at(&self, place: &Place<'_>) -> Option<&'r Rule> {
        self.rules.iter().find(|rule| rule.names(place)).copied()
    }
}

impl Visit for Look<'_> {
    fn takes(&self, place: &Place<'_>) -> bool {
        self.rule_at(place).is_some()
    }

    fn whole(&self, place: &Place<'_>, json: &str) -> Option<String> {
        self.rule_at(place)?.member(json)
    }

    fn deep(&self, json: &str) -> Option<String> {
        let rule = self.rules.iter().find(|rule| rule.leads_anywhere())?;
        rule.member(json)
    }

    fn text(&self, text: &str) -> Option<String> {
        self.plain(text)
    }
}

impl Rules {
    fn of(&self, is_in: impl Fn(&Parts) -> bool) -> Look<'_> {
        Look {
            rules: self.all.iter().filter(|rule| is_in(&rule.parts)).collect(),
            marks: &self.marks,
        }
    }
}

impl Redact for Rules {
    fn redact(&self, record: &mut Record) {
        let request = self.of(|parts| parts.request);
        let response = self.of(|parts| parts.response);
        message(&request, &mut record.request);
        message(&response, &mut record.response);
        if !request.is_idle() {
            if let Some(changed) = address(&request, &record.path) {
                record.path = changed.into();
            }
            request.texts([record.user_agent.as_mut()]);
            request.texts(record.notes.iter_mut().map(Some));
            let is_own = record
                .event_id
                .parse()
                .is_ok_and(|id: RecordId| id == record.id);
            request.names([
                Some(&mut record.event_id).filter(|_| !is_own),
                record.model_requested.as_mut(),
                record.model.as_mut(),
                record.resource.as_mut(),
                record.deployment.as_mut(),
            ]);
        }
        if !response.is_idle() {
            let error = record.error.as_mut();
            response.texts([error.map(|error| &mut error.message)]);
            response.texts(record.attempts.iter_mut().map(|one| one.cause.as_mut()));
            response.names([record.provider_id.as_mut()]);
        }
        metadata(&self.of(|parts| parts.metadata), &mut record.metadata);
    }
}

/// A path with its query, as it is written and as it is meant.
fn address(look: &Look<'_>, path: &str) -> Option<String> {
    let first = look.plain(path);
    let mut out = String::with_capacity(path.len());
    let mut is_changed = false;
    let parts = first.as_deref().unwrap_or(path);
    for part in parts.split_inclusive(['/', '?', '&', '=', ';']) {
        let text = part.trim_end_matches(['/', '?', '&', '=', ';']);
        let spaced = text.replace('+', " ");
        let meant = percent_decode_str(&spaced).decode_utf8_lossy();
        let found = Some(meant).filter(|meant| meant != text);
        match found.and_then(|meant| look.plain(&meant)) {
            Some(changed) => {
                is_changed = true;
                out.push_str(&changed);
                out.push_str(&part[text.len()..]);
            }
            None => out.push_str(part),
        }
    }
    is_changed.then_some(out).or(first)
}

fn message(look: &Look<'_>, message: &mut Message) {
    if look.is_idle() {
        return;
    }
    let changed = message.body.as_mut().is_some_and(|one| body(look, one));
    // Frames hold pieces of what the answer holds whole: nobody finds it there again.
    match (&mut message.raw, changed) {
        (raw @ Some(_), true) => *raw = None,
        (Some(raw), false) => {
            body(look, raw);
        }
        (None, _) => {}
    }
}

/// Whether a body was changed.
fn body(look: &Look<'_>, body: &mut Body) -> bool {
    let changed = match body {
        Body::Json(raw) => json::rewrite(raw.get(), look).map(|json| {
            let without = json::rewrite(&json, &Pieces);
            to_body(without.unwrap_or(json))
        }),
        Body::Text(text) => {
            let changed = json::text(text, &[], look);
            changed.map(|text| Body::Text(text.into()))
        }
        Body::Base64(_) => None,
    };
    let is_changed = changed.is_some();
    if let Some(changed) = changed {
        *body = changed;
    }
    is_changed
}

fn to_body(json: String) -> Body {
    match serde_json::from_str::<Box<RawValue>>(&json) {
        Ok(raw) => Body::Json(raw),
        Err(_no_json) => Body::Text(json.into()),
    }
}

/// Takes out what repeats an answer in pieces: tokens with their probabilities. Like frames, they
/// hold in many parts what was found in one.
struct Pieces;

impl Visit for Pieces {
    fn takes(&self, place: &Place<'_>) -> bool {
        let name = place.last();
        name.is_some_and(|name| matches!(&**name, "logprobs" | "logprobsResult"))
    }

    fn whole(&self, _place: &Place<'_>, json: &str) -> Option<String> {
        json.starts_with(['{', '[']).then(|| "null".into())
    }

    fn deep(&self, _json: &str) -> Option<String> {
        None
    }

    fn text(&self, _text: &str) -> Option<String> {
        None
    }
}

fn metadata(look: &Look<'_>, metadata: &mut BTreeMap<Box<str>, MetadataValue>) {
    if look.is_idle() {
        return;
    }
    for (key, value) in std::mem::take(metadata) {
        let place = [Cow::Borrowed(&*key)];
        let value = entry(look, &place, &value).unwrap_or(value);
        let name = look.plain(&key);
        let mut free = name.clone().map_or_else(|| key.clone(), Into::into);
        // What was told apart stays so.
        for number in 2_usize.. {
            if !metadata.contains_key(&free) {
                break;
            }
            free = format!("{} {number}", name.as_deref().unwrap_or(&key)).into();
        }
        metadata.insert(free, value);
    }
}

fn entry(look: &Look<'_>, place: &Place<'_>, value: &MetadataValue) -> Option<MetadataValue> {
    let text = value.to_text();
    let json = match value {
        MetadataValue::Null => "null".into(),
        MetadataValue::Bool(_) | MetadataValue::Number(_) | MetadataValue::Text(_) => {
            format!("\"{text}\"")
        }
    };
    if let Some(with) = look.whole(place, &json) {
        let text: Option<String> = serde_json::from_str(&with).unwrap_or_default();
        return Some(text.map_or(MetadataValue::Null, |text| MetadataValue::Text(text.into())));
    }
    let changed = json::text(&text, place, look)?;
    Some(MetadataValue::Text(changed.into()))
}
