//! Takes out of records what must not be kept: what rules name by a pattern, by a detector, or by
//! where it stands. Works on records, after the last byte: no request waits for it, and the client
//! gets what the provider sent.
//!
//! A stream is looked at as the answer that was put together from its events, so that a match that
//! was cut by frames is one. All patterns are matched in linear time.

mod detect;
mod json;
mod look;
mod mark;
#[cfg(test)]
mod tests;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use isango_types::Secret;
use regex::{Regex, RegexBuilder};

pub use detect::Detector;

use detect::Span;
use json::Place;
use mark::{HASH_CHARS, Marks};

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
pub struct Rules {
    all: Vec<Rule>,
    /// What they leave behind.
    marks: Marks,
}

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
                let bytes = code.as_ref().iter().take(HASH_CHARS / 2);
                let hex = bytes.map(|byte| format!("{byte:02x}"));
                format!("[{what}:{}]", hex.collect::<String>())
            }
            (Action::Mask | Action::Hash, _) => mark::mask(what),
        }
    }

    /// What takes the place of a member, as JSON; `None`: it holds nothing any more.
    fn member(&self, json: &str) -> Option<String> {
        let text = json
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let mark = text.and_then(|text| match self.action {
            Action::Mask => mark::masked(text, &self.name),
            Action::Hash => mark::hashed(text, &self.name),
            Action::Drop => None,
        });
        let is_done = json == "null" || mark.is_some_and(|length| length + 2 == json.len());
        (!is_done).then(|| match self.action {
            Action::Drop => "null".into(),
            Action::Mask | Action::Hash => format!("\"{}\"", self.instead(&self.name, json)),
        })
    }

    /// A text without what this rule finds in it; `None`: there is nothing of it. `is_name`: it
    /// names something.
    fn text(&self, text: &str, marks: &Marks, is_name: bool) -> Option<String> {
        let mut changed: Option<String> = None;
        for find in &self.finds {
            let text = changed.as_deref().unwrap_or(text);
            let (what, found): (&str, Vec<Span>) = match find {
                Find::Pattern(pattern) => {
                    let found = pattern.find_iter(text).map(|found| found.range());
                    (&self.name, found.collect())
                }
                Find::Detector(detector) if is_name => {
                    (detector.name(), detector.find_in_name(text))
                }
                Find::Detector(detector) => (detector.name(), detector.find(text)),
            };
            changed = self.without(text, (what, &found), marks).or(changed);
        }
        changed
    }

    /// A text without what was found in it, but for what took the place of matches before.
    fn without(&self, text: &str, (what, found): (&str, &[Span]), marks: &Marks) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        let marks = marks.find(text);
        let (mut out, mut behind) = (String::with_capacity(text.len()), 0);
        let new = |span: &&Span| !span.is_empty() && !mark::is_within(&marks, span);
        for span in found.iter().filter(new) {
            out.push_str(&text[behind..span.start]);
            out.push_str(&self.instead(what, &text[span.clone()]));
            behind = span.end;
        }
        (behind > 0).then(|| out + &text[behind..])
    }

    fn names(&self, place: &Place<'_>) -> bool {
        self.keys.iter().any(|path| leads_to(path, place))
    }

    /// Whether a path may lead to any depth.
    fn leads_anywhere(&self) -> bool {
        self.keys.iter().flatten().any(|part| **part == *"**")
    }
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

impl Rules {
    /// Compiles rules.
    ///
    /// # Errors
    /// The first thing that is wrong, and with which rule: its place in the list.
    pub fn compile(specs: &[Spec]) -> Result<Self, (usize, RuleError)> {
        let rules = specs.iter().enumerate();
        let rules = rules.map(|(n, spec)| Rule::compile(spec).map_err(|error| (n, error)));
        let names = specs.iter().map(|spec| &*spec.name);
        let marks = Marks::of(names.chain(Detector::NAMES));
        let all = rules.collect::<Result<_, _>>()?;
        Ok(Self { all, marks })
    }
}
