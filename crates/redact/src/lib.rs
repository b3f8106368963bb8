//! Takes out of records what must not be kept: what rules name by a pattern, by a detector, or by
//! where it stands. Works on records, after the last byte: no request waits for it, and the client
//! gets what the provider sent.
//!
//! A stream is looked at as the answer that was put together from its events, so that a match that
//! was cut by frames is one. All patterns are matched in linear time.

mod detect;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use isango_types::record::{Body, Message, MetadataValue};
use isango_types::redaction::Redact;
use isango_types::{Record, Secret};
use regex::{Regex, RegexBuilder};
use serde_json::value::RawValue;

pub use detect::Detector;

use json::{Fate, Place, Visit};

/// Most rules of a gateway.
pub const MAX_RULES: usize = 32;
/// Most memory that a compiled pattern may take, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// What becomes of a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// `[redacted:NAME]` takes its place.
    #[default]
    Mask,
    /// `[NAME:0123456789abcdef]`: the beginning of its HMAC-SHA-256, so that the same is told from
    /// others.
    Hash,
    /// Nothing does: a match is cut out, a member is `null`.
    Drop,
}

impl Action {
    /// The names, in the order of [`Action::ALL`].
    pub const NAMES: [&'static str; 3] = ["mask", "hash", "drop"];
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Mask, Self::Hash, Self::Drop];
}

/// Which parts of a record a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What the client sent.
    pub request: bool,
    /// What it was sent.
    pub response: bool,
    /// `cf-aig-metadata`.
    pub metadata: bool,
}

/// One rule, as it was asked for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What matches are called.
    pub name: Box<str>,
    /// A regular expression.
    pub pattern: Option<Box<str>>,
    /// Detectors.
    pub detectors: Vec<Detector>,
    /// Paths of members: names with dots between, `*` for any one, `**` for any number.
    pub keys: Vec<Box<str>>,
    /// What becomes of matches.
    pub action: Action,
    /// What they are hashed with.
    pub hash_key: Option<Secret>,
    /// Where is looked.
    pub parts: Parts,
}

/// What is wrong with a rule: with which part of it, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// `pattern`, `keys`, `detect` or `hash_key`.
    pub part: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// How one thing is found.
enum Find {
    Pattern(Regex),
    Detector(Detector),
}

/// A rule, compiled.
struct Rule {
    name: Box<str>,
    finds: Vec<Find>,
    keys: Vec<Vec<Box<str>>>,
    action: Action,
    key: Option<Key>,
    parts: Parts,
}

/// The rules of a gateway, compiled.
pub struct Rules(Vec<Rule>);

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Rule {
    fn compile(spec: &Spec) -> Result<Self, RuleError> {
        let wrong = |part, message: String| RuleError { part, message };
        if spec.pattern.is_none() && spec.detectors.is_empty() && spec.keys.is_empty() {
            let message = "a rule has `detect`, `pattern` or `keys`".into();
            return Err(wrong("detect", message));
        }
        if spec.action == Action::Hash && spec.hash_key.is_none() {
            let message = "`hash` needs a `hash_key`: short numbers are soon found by trying them \
                           all"
            .into();
            return Err(wrong("hash_key", message));
        }
        let mut finds: Vec<Find> = Vec::new();
        if let Some(pattern) = &spec.pattern {
            let built = RegexBuilder::new(pattern)
                .size_limit(MAX_PATTERN_BYTES)
                .build();
            let pattern = built.map_err(|error| wrong("pattern", error.to_string()))?;
            if pattern.is_match("") {
                let message = "it matches nothing at all, everywhere".into();
                return Err(wrong("pattern", message));
            }
            finds.push(Find::Pattern(pattern));
        }
        finds.extend(spec.detectors.iter().copied().map(Find::Detector));
        let keys = spec.keys.iter().map(|path| {
            let parts: Vec<Box<str>> = path.split('.').map(Into::into).collect();
            match parts.iter().all(|part| !part.is_empty()) {
                true => Ok(parts),
                false => Err(wrong("keys", format!("`{path}` has an empty part"))),
            }
        });
        Ok(Self {
            name: spec.name.clone(),
            finds,
            keys: keys.collect::<Result<_, _>>()?,
            action: spec.action,
            key: spec
                .hash_key
                .as_ref()
                .map(|key| Key::new(HMAC_SHA256, key.expose().as_bytes())),
            parts: spec.parts,
        })
    }

    /// What takes the place of a match.
    fn instead(&self, what: &str, found: &str) -> String {
        match (self.action, &self.key) {
            (Action::Drop, _) => String::new(),
            (Action::Hash, Some(key)) => {
                let code = sign(key, found.as_bytes());
                let hex = code
                    .as_ref()
                    .iter()
                    .take(8)
                    .map(|byte| format!("{byte:02x}"));
                format!("[{what}:{}]", hex.collect::<String>())
            }
            (Action::Mask | Action::Hash, _) => format!("[redacted:{what}]"),
        }
    }

    /// A text without what this rule finds in it; `None`: there is nothing of it.
    fn text(&self, text: &str) -> Option<String> {
        let mut current: Cow<'_, str> = Cow::Borrowed(text);
        for find in &self.finds {
            let (pattern, what) = match find {
                Find::Pattern(pattern) => (pattern, &*self.name),
                Find::Detector(detector) => match detector.pattern() {
                    Some(pattern) => (pattern, detector.name()),
                    None => continue,
                },
            };
            let is_it = |found: &str| match find {
                Find::Pattern(_) => true,
                Find::Detector(detector) => detector.proves(found),
            };
            let mut out = String::new();
            let mut behind = 0;
            for found in pattern.find_iter(&current) {
                if !is_it(found.as_str()) || is_marked(&current, found.start()) {
                    continue;
                }
                out.push_str(&current[behind..found.start()]);
                out.push_str(&self.instead(what, found.as_str()));
                behind = found.end();
            }
            if behind > 0 {
                out.push_str(&current[behind..]);
                current = Cow::Owned(out);
            }
        }
        match current {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        }
    }

    fn names(&self, place: &Place<'_>) -> bool {
        self.keys.iter().any(|path| leads_to(path, place))
    }
}

/// Whether what begins here is inside of what took a match's place.
fn is_marked(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let Some(open) = before.rfind('[') else {
        return false;
    };
    let inside = &before[open + 1..];
    inside.ends_with(':')
        && inside
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b']')
}

/// Whether a path leads to a place.
fn leads_to(path: &[Box<str>], place: &Place<'_>) -> bool {
    match (path.split_first(), place.split_first()) {
        (None, None) => true,
        (Some((part, rest)), _) if **part == *"**" => {
            (0..=place.len()).any(|skipped| leads_to(rest, &place[skipped..]))
        }
        (Some((part, rest)), Some((name, below))) => {
            (**part == *"*" || **part == **name) && leads_to(rest, below)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The rules that look at one part of a record.
struct Look<'r> {
    rules: Vec<&'r Rule>,
}

impl Look<'_> {
    fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    fn plain(&self, text: &str) -> Option<String> {
        let mut current: Option<String> = None;
        for rule in &self.rules {
            let found = rule.text(current.as_deref().unwrap_or(text));
            current = found.or(current);
        }
        current
    }
}

impl Visit for Look<'_> {
    fn sees_all(&self) -> bool {
        self.rules.iter().any(|rule| !rule.keys.is_empty())
    }

    fn whole(&mut self, place: &Place<'_>, json: &str) -> Fate {
        let Some(rule) = self.rules.iter().find(|rule| rule.names(place)) else {
            return Fate::Keep;
        };
        let is_done = json.starts_with("\"[") || json == "null";
        match rule.action {
            _ if is_done => Fate::Keep,
            Action::Drop => Fate::Replace("null".into()),
            Action::Mask | Action::Hash => {
                Fate::Replace(format!("\"{}\"", rule.instead(&rule.name, json)))
            }
        }
    }

    fn text(&mut self, text: &str) -> Option<String> {
        self.plain(text)
    }
}

impl Rules {
    /// Compiles rules.
    ///
    /// # Errors
    /// The first thing that is wrong, and with which rule: its place in the list.
    pub fn compile(specs: &[Spec]) -> Result<Self, (usize, RuleError)> {
        let rules = specs.iter().enumerate();
        let rules = rules.map(|(n, spec)| Rule::compile(spec).map_err(|error| (n, error)));
        rules.collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, is_in: impl Fn(&Parts) -> bool) -> Look<'_> {
        Look {
            rules: self.0.iter().filter(|rule| is_in(&rule.parts)).collect(),
        }
    }
}

impl Redact for Rules {
    fn redact(&self, record: &mut Record) {
        message(&mut self.of(|parts| parts.request), &mut record.request);
        message(&mut self.of(|parts| parts.response), &mut record.response);
        let of_request = self.of(|parts| parts.request);
        if !of_request.is_idle() {
            let texts = [Some(&mut record.path), record.user_agent.as_mut()];
            for text in texts.into_iter().flatten() {
                if let Some(changed) = of_request.plain(text) {
                    *text = changed.into();
                }
            }
        }
        if let Some(error) = &mut record.error
            && let Some(changed) = self.of(|parts| parts.response).plain(&error.message)
        {
            error.message = changed.into();
        }
        metadata(&mut self.of(|parts| parts.metadata), record);
    }
}

fn message(look: &mut Look<'_>, message: &mut Message) {
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
fn body(look: &mut Look<'_>, body: &mut Body) -> bool {
    let changed = match body {
        Body::Json(raw) => {
            let changed = json::rewrite(raw.get(), look);
            let changed = changed.and_then(|json| RawValue::from_string(json).ok());
            changed.map(Body::Json)
        }
        Body::Text(text) => look.plain(text).map(|text| Body::Text(text.into())),
        Body::Base64(_) => None,
    };
    let is_changed = changed.is_some();
    if let Some(changed) = changed {
        *body = changed;
    }
    is_changed
}

fn metadata(look: &mut Look<'_>, record: &mut Record) {
    if look.is_idle() {
        return;
    }
    for (key, value) in &mut record.metadata {
        let text = value.to_text().into_owned();
        let fate = look.whole(&[Cow::Borrowed(&**key)], &format!("\"{text}\""));
        match fate {
            Fate::Replace(with) => {
                let text: Option<String> = serde_json::from_str(&with).unwrap_or_default();
                *value = text.map_or(MetadataValue::Null, |text| MetadataValue::Text(text.into()));
            }
            Fate::Keep => {
                if let Some(text) = look.plain(&text) {
                    *value = MetadataValue::Text(text.into());
                }
            }
        }
    }
}
