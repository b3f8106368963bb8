//! Every key of the configuration, described once: names, kinds, defaults and words for the
//! reader, for error messages, for the environment and for `docs/configuration.md`.

mod alerts;
mod exports;
mod gateways;
mod limits;
mod prices;
mod redaction;
mod settings;
mod targets;
mod tokens;

use super::value::Kind;

/// One key that can be set.
#[derive(Debug)]
pub struct Key {
    /// Where it stands: `server.header_timeout`, `gateways[].id`, `providers.*.base_url`.
    pub path: &'static str,
    /// What it holds, and within which bounds.
    pub kind: Kind,
    /// What holds when it is not set.
    pub default: Unset,
    /// What it does, in one or two sentences.
    pub meaning: &'static str,
    /// A value as it is written in the file.
    pub example: &'static str,
}

/// What holds when a key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It must be set.
    Required,
    /// Nothing.
    Absent,
    /// This value, as it would be written in the environment.
    Is(&'static str),
    /// Whatever another source says: another key, or the built-in description.
    From(&'static str),
}

impl Key {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The table it stands in: empty at the top.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The environment variable that sets it; `None` for keys in arrays and named tables.
    #[must_use]
    pub fn env(&self) -> Option<String> {
        let in_table = !self.path.contains(['[', '*']);
        in_table.then(|| {
            format!(
                "ISANGO_{}",
                self.path.replace('.', "__").to_ascii_uppercase()
            )
        })
    }
}

/// A key that a later version will know, so that it is refused with a reason.
#[derive(Debug)]
pub struct Later {
    /// Its path, spelled as in [`Key::path`].
    pub path: &'static str,
    /// What is not there yet (`caching`).
    pub what: &'static str,
}

/// The description of the key at `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// The names that may stand in `section`, sections among them, in the order of [`all`].
pub fn names_in(section: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in all() {
        let rest = match section {
            "" => Some(key.path),
            _ => key
                .path
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        let name = rest.and_then(|rest| rest.split(['.', '[']).next());
        if let Some(name) = name
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// Whether `path` names a table that holds keys: `server`, `gateways[]`, `providers.*`.
#[must_use]
pub fn is_section(path: &str) -> bool {
    all().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| !path.is_empty() && rest.starts_with('.'))
    })
}

/// The section as its header is written: `[server]`, `[[gateways]]`, `[providers.<slug>]`.
#[must_use]
pub fn header(section: &str) -> String {
    let name = section.replace("[]", "").replace('*', "<slug>");
    if section.ends_with("[]") {
        format!("[[{name}]]")
    } else {
        format!("[{name}]")
    }
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Unset,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        meaning,
        example,
    }
}

/// Every key, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Key> {
    settings::KEYS
        .iter()
        .chain(tokens::KEYS)
        .chain(gateways::KEYS)
        .chain(targets::KEYS)
        .chain(prices::KEYS)
        .chain(limits::KEYS)
        .chain(alerts::KEYS)
        .chain(exports::KEYS)
        .chain(exports::OF_GATEWAY)
        .chain(exports::OF_ACCOUNT)
        .chain(redaction::KEYS)
}

/// What design and documents promise for later versions, refused with a reason until then.
pub const LATER: &[Later] = &[
    later("storage", "choosing other stores than the embedded one"),
    later(
        "gateways[].limits[].on_store_loss",
        "limits that several nodes share",
    ),
    later("gateways[].routes", "named routes"),
    later("gateways[].guards", "guarding content"),
];

const fn later(path: &'static str, what: &'static str) -> Later {
    Later { path, what }
}
