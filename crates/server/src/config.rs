//! The configuration: defaults < file < environment < flags; first read with every key's place,
//! then checked, with all problems told at once.
//!
//! [`keys`] describes every key once. This is the only part of Isango that reads the environment
//! and the configuration file.

mod alerts;
mod check;
mod command;
pub(crate) mod document;
mod entities;
pub(crate) mod exports;
mod health;
pub mod keys;
mod limits;
mod oidc;
mod policy;
mod problem;
mod redaction;
mod reference;
mod references;
mod section;
mod settings;
mod shares;
mod tokens;
pub mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use isango_store::seal::Keyring;
use isango_store::usage::Kept;
use isango_types::gateway::DEFAULT_GATEWAY;
use isango_types::nearest::distance;
use isango_types::{Secret, Snapshot, nearest};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

pub use self::problem::{ConfigError, Problem};
pub use self::reference::markdown;
pub use self::references::Environment;
pub use self::settings::{
    CacheSettings, Config, Http2, LogFormat, LogSettings, RecordSettings, ServerSettings, TlsFiles,
    UpstreamSettings,
};

use self::problem::{Origins, Report};
use self::references::References;
use self::section::Section;
use crate::stored::Stored;

/// Largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// How many errors of syntax are told: later ones mostly follow from the first.
const MAX_SYNTAX_ERRORS: usize = 4;

/// Account and name of something.
pub type Named = (Box<str>, Box<str>);

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None`: everything has its default.
    pub file: Option<PathBuf>,
    /// The environment variables, of which those of [`keys::Key::env`] are settings.
    pub environment: Environment,
    /// The flags of the command line.
    pub flags: Vec<Flag>,
}

/// One flag of the command line that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it was given (`--listen`).
    pub name: &'static str,
    /// The key that it sets (`listen`).
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

impl Sources {
    /// The file, the flags, and the environment of this process.
    #[must_use]
    pub fn new(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect();
        Self {
            file,
            environment,
            flags,
        }
    }

    /// The text of the file; empty without one.
    ///
    /// # Errors
    /// It is missing, unreadable, larger than 8 MiB, or no UTF-8.
    pub fn read(&self) -> Result<String, ConfigError> {
        let Some(path) = &self.file else {
            return Ok(String::new());
        };
        let problem = |message: String| ConfigError {
            problems: vec![Problem::of_source(path.display().to_string(), message)],
        };
        let metadata =
            std::fs::metadata(path).map_err(|e| problem(format!("cannot be read: {e}")))?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(problem(format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let bytes = std::fs::read(path).map_err(|e| problem(format!("cannot be read: {e}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            problem(format!("is not UTF-8 from line {line} on"))
        })
    }

    /// The secret that a reference (`env:NAME`, `file:PATH`, `command:LINE`) leads to.
    ///
    /// # Errors
    /// It leads nowhere, or the text is no reference.
    pub fn secret(&self, reference: &str) -> Result<Secret, String> {
        let (folder, report) = (PathBuf::new(), Report::default());
        let references = References {
            environment: &self.environment,
            folder: &folder,
            report: &report,
        };
        let found = references.replacement(reference, "secrets.key")?;
        let wrong = "a reference begins with env:, file: or command:";
        found.map(Secret::new).ok_or_else(|| wrong.into())
    }

    fn folder(&self) -> PathBuf {
        let parent = self.file.as_deref().and_then(Path::parent);
        parent.map_or_else(PathBuf::new, Path::to_path_buf)
    }
}

/// Account and id.
type GatewayName = (Box<str>, Box<str>);

impl Config {
    /// Reads all sources and checks what they say together.
    ///
    /// # Errors
    /// Every problem that was found, with its place.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::parse(&sources.read()?, sources)
    }

    /// The same, with the text of the file already at hand.
    ///
    /// # Errors
    /// Every problem that was found, with its place.
    pub fn parse(text: &str, sources: &Sources) -> Result<Self, ConfigError> {
        let mut origins = Origins::default();
        let mut tree = parse_tree(text, sources, &mut origins)?;
        let report = Report::default();
        merge(&mut tree, text, sources, &mut origins, &report);
        section::check_names(&tree, "", &report);
        let folder = sources.folder();
        References {
            environment: &sources.environment,
            folder: &folder,
            report: &report,
        }
        .resolve(&mut tree, "");
        let around = entities::Around {
            origins: &origins,
            folder: &folder,
            environment: &sources.environment,
        };
        let config = entities::read(&Section::root(&tree, &report), &around);
        origins.error(report).map_or(Ok(config), Err)
    }

    /// The folder of the record store, whatever else the sources say: for commands that only read
    /// it, and need not know any secret.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML, or the folder is given wrongly.
    pub fn data_dir(sources: &Sources) -> Result<PathBuf, ConfigError> {
        Self::narrowed(sources, &["data_dir"], |root, around| {
            entities::data_dir(root, around)
        })
    }

    /// The same, and what of the records is to be kept.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML, or folder or bounds are given wrongly.
    pub fn keeping(sources: &Sources) -> Result<(PathBuf, Kept), ConfigError> {
        Self::narrowed(sources, &["data_dir", "records"], |root, around| {
            let relative_to = |span: &Range<usize>| around.relative_to(span);
            let kept = entities::records(&root.table("records"), &relative_to).kept();
            (entities::data_dir(root, around), kept)
        })
    }

    /// The same, and the keys that credentials are sealed with.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML, or folder or keys are given wrongly.
    pub fn sealing(sources: &Sources) -> Result<(PathBuf, Option<Keyring>), ConfigError> {
        Self::narrowed(sources, &["data_dir", "secrets"], |root, around| {
            (entities::data_dir(root, around), entities::keyring(root))
        })
    }

    /// Reads some names of the top, whatever else the sources say.
    fn narrowed<T>(
        sources: &Sources,
        names: &[&str],
        read: impl FnOnce(&Section<'_>, &entities::Around<'_>) -> T,
    ) -> Result<T, ConfigError> {
        let text = sources.read()?;
        let mut origins = Origins::default();
        let whole = parse_tree(&text, sources, &mut origins)?;
        let is_it = |(name, _): &(Spanned<DeString<'_>>, _)| names.contains(&&**name.get_ref());
        let mut tree: DeTable<'_> = whole.into_iter().filter(is_it).collect();
        let report = Report::default();
        let mut narrow = sources.clone();
        let is_of = |env: &str| {
            let rest = env
                .strip_prefix("ISANGO_")
                .unwrap_or("")
                .to_ascii_lowercase();
            names.contains(&rest.split("__").next().unwrap_or(""))
        };
        narrow.environment.retain(|name, _| is_of(name));
        merge(&mut tree, &text, &narrow, &mut origins, &report);
        let folder = sources.folder();
        References {
            environment: &sources.environment,
            folder: &folder,
            report: &report,
        }
        .resolve(&mut tree, "");
        let around = entities::Around {
            origins: &origins,
            folder: &folder,
            environment: &sources.environment,
        };
        let value = read(&Section::root(&tree, &report), &around);
        origins.error(report).map_or(Ok(value), Err)
    }

    /// The names of the file's own providers, whatever else it says.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn provider_names(sources: &Sources) -> Result<Vec<Box<str>>, ConfigError> {
        let text = sources.read()?;
        let tree = parse_tree(&text, sources, &mut Origins::default())?;
        let providers = tree
            .get("providers")
            .and_then(|table| table.get_ref().as_table());
        let names = providers
            .into_iter()
            .flatten()
            .map(|(name, _)| (&**name.get_ref()).into());
        Ok(names.collect())
    }

    /// Every deployment that a target maps, and every model behind one.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn model_names(sources: &Sources) -> Result<Vec<Box<str>>, ConfigError> {
        let text = sources.read()?;
        let tree = parse_tree(&text, sources, &mut Origins::default())?;
        let gateways = tree
            .get("gateways")
            .and_then(|one| one.get_ref().as_array());
        let targets = gateways.into_iter().flatten().filter_map(|gateway| {
            let targets = gateway.get_ref().as_table()?.get("targets")?;
            targets.get_ref().as_array()
        });
        let maps = targets.flatten().filter_map(|target| {
            let models = target.get_ref().as_table()?.get("models")?;
            models.get_ref().as_table()
        });
        let mut names = Vec::new();
        for (deployment, model) in maps.flatten() {
            names.push((&**deployment.get_ref()).into());
            names.extend(model.get_ref().as_str().map(Into::into));
        }
        Ok(names)
    }

    /// The part of it that the data plane reads for each request.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Stored::default().compile(self, None).0
    }

    /// The names of the tokens that the file names, whatever else it says: for commands that need
    /// not know any secret.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn token_names(sources: &Sources) -> Result<Vec<Named>, ConfigError> {
        let text = sources.read()?;
        let tree = parse_tree(&text, sources, &mut Origins::default())?;
        let tokens = tree
            .get("tokens")
            .and_then(|list| list.get_ref().as_array());
        let tables = tokens.into_iter().flatten();
        let names = tables.filter_map(|token| {
            let token = token.get_ref().as_table()?;
            let text = |name: &str| token.get(name)?.get_ref().as_str();
            let account = text("account").unwrap_or("local");
            Some((account.into(), text("name")?.into()))
        });
        Ok(names.collect())
    }

    /// Account and id of every gateway that the file names, whatever else it says.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    fn gateway_names(sources: &Sources) -> Result<Vec<GatewayName>, ConfigError> {
        let text = sources.read()?;
        let tree = parse_tree(&text, sources, &mut Origins::default())?;
        let gateways = tree
            .get("gateways")
            .and_then(|list| list.get_ref().as_array());
        let tables = gateways.into_iter().flatten();
        let names = tables.filter_map(|gateway| {
            let gateway = gateway.get_ref().as_table()?;
            let text = |name: &str| gateway.get(name).and_then(|value| value.get_ref().as_str());
            Some((
                text("account").unwrap_or("local").into(),
                text("id")?.into(),
            ))
        });
        Ok(names.collect())
    }

    /// What is wrong with the name of a gateway that a command was given; `None`: the file has one.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn unknown_gateway(
        sources: &Sources,
        account: &str,
        id: &str,
    ) -> Result<Option<String>, ConfigError> {
        let known = Self::gateway_names(sources)?;
        let of_account = known.iter().filter(|(of, _)| **of == *account);
        let ids: Vec<&str> = of_account
            .map(|(_, id)| &**id)
            .chain([DEFAULT_GATEWAY])
            .collect();
        if ids.contains(&id) {
            return Ok(None);
        }
        let help = nearest(id, ids.into_iter()).unwrap_or_default();
        Ok(Some(format!(
            "account `{account}` has no gateway `{id}` in the configuration; {help} (`--unchecked` \
             takes it as it is)"
        )))
    }

    /// The settings in which `new` differs and that hold from the start to the end of a process.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let (records, new_records) = (&self.records, &new.records);
        let tls =
            |config: &Self, file: fn(&TlsFiles) -> &PathBuf| config.tls.as_ref().map(file).cloned();
        let settings = [
            ("listen", self.listen == new.listen),
            ("admin_listen", self.admin_listen == new.admin_listen),
            ("data_dir", self.data_dir == new.data_dir),
            ("dashboard_url", self.dashboard_url == new.dashboard_url),
            ("oidc", self.oidc == new.oidc),
            (
                "tls.cert",
                tls(self, |files| &files.cert) == tls(new, |files| &files.cert),
            ),
            (
                "tls.key",
                tls(self, |files| &files.key) == tls(new, |files| &files.key),
            ),
            (
                "records.flush_window",
                records.flush_window == new_records.flush_window,
            ),
            (
                "records.max_queue_bytes",
                records.max_queue_bytes == new_records.max_queue_bytes,
            ),
            (
                "records.max_spill_bytes",
                records.max_spill_bytes == new_records.max_spill_bytes,
            ),
            (
                "records.spill_dir",
                records.spill_dir == new_records.spill_dir,
            ),
            (
                "records.retention_bytes",
                records.retention_bytes == new_records.retention_bytes,
            ),
            (
                "records.retention_age",
                records.retention_age == new_records.retention_age,
            ),
            (
                "records.body_retention_age",
                records.body_retention_age == new_records.body_retention_age,
            ),
            (
                "cache.memory_bytes",
                self.cache.memory_bytes == new.cache.memory_bytes,
            ),
            (
                "cache.disk_bytes",
                self.cache.disk_bytes == new.cache.disk_bytes,
            ),
            (
                "cache.max_entry_bytes",
                self.cache.max_entry_bytes == new.cache.max_entry_bytes,
            ),
            ("log.format", self.log.format == new.log.format),
        ];
        let connections = self.server.needs_restart(&new.server).into_iter();
        let settings = settings
            .into_iter()
            .chain(connections)
            .chain(self.upstream.needs_restart(&new.upstream));
        settings
            .filter(|(_, same)| !same)
            .map(|(name, _)| name)
            .collect()
    }
}

impl ServerSettings {
    /// Settings that hold from the start to the end of a process, and whether they are the same.
    fn needs_restart(&self, new: &Self) -> [(&'static str, bool); 5] {
        [
            (
                "server.trusted_proxies",
                self.trusted_proxies == new.trusted_proxies,
            ),
            (
                "server.header_timeout",
                self.header_timeout == new.header_timeout,
            ),
            ("server.idle_timeout", self.idle_timeout == new.idle_timeout),
            (
                "server.shutdown_grace",
                self.shutdown_grace == new.shutdown_grace,
            ),
            (
                "server.max_connections",
                self.max_connections == new.max_connections,
            ),
        ]
    }
}

impl UpstreamSettings {
    /// Settings that hold from the start to the end of a process, and whether they are the same.
    fn needs_restart(&self, new: &Self) -> [(&'static str, bool); 5] {
        let most_idle = self.pool_max_idle_per_host == new.pool_max_idle_per_host;
        [
            (
                "upstream.connect_timeout",
                self.connect_timeout == new.connect_timeout,
            ),
            (
                "upstream.pool_idle_timeout",
                self.pool_idle_timeout == new.pool_idle_timeout,
            ),
            ("upstream.pool_max_idle_per_host", most_idle),
            ("upstream.http2", self.http2 == new.http2),
            (
                "upstream.extra_ca_file",
                self.extra_ca_file == new.extra_ca_file,
            ),
        ]
    }
}

/// The keys and values of the file.
fn parse_tree<'t>(
    text: &'t str,
    sources: &Sources,
    origins: &mut Origins,
) -> Result<DeTable<'t>, ConfigError> {
    let file = sources.file.as_ref().map(|path| path.display().to_string());
    let name = file.unwrap_or_else(|| "configuration".into());
    origins.add_file(name, text.to_owned());
    let (parsed, errors) = DeTable::parse_recoverable(text);
    let report = Report::default();
    for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
        let (message, help) = syntax(error.message());
        report.advise(error.span(), message, help);
    }
    let error = origins.error(report);
    error.map_or_else(|| Ok(parsed.into_inner()), Err)
}

/// The parser's words in one line, and advice for what is most often meant.
fn syntax(message: &str) -> (String, Option<String>) {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    let is_bare = ["invalid float", "invalid integer", "quoted"]
        .iter()
        .any(|w| message.contains(w));
    let help = is_bare.then(|| r#"texts stand in quotes: `listen = "127.0.0.1:8700"`"#.to_owned());
    (format!("not TOML: {message}"), help)
}

/// Puts the settings of the environment and of flags into the tree, and notes variables that look
/// like a setting but are none.
fn merge(
    tree: &mut DeTable<'_>,
    text: &str,
    sources: &Sources,
    origins: &mut Origins,
    report: &Report,
) {
    let known: Vec<_> = keys::all()
        .filter_map(|key| Some((key.env()?, key.path)))
        .collect();
    for (name, value) in &sources.environment {
        let Some(rest) = name.strip_prefix("ISANGO_") else {
            continue;
        };
        if let Some((_, path)) = known.iter().find(|(env, _)| env == name) {
            if !value.is_empty() {
                let span = origins.add_setting(name, value);
                insert(tree, path, value, span);
            }
            continue;
        }
        let names = || known.iter().map(|(env, _)| env.as_str());
        let is_near = names().any(|env| distance(env, name) <= 2);
        let is_meant = rest.contains("__") || is_near;
        if is_meant && !text.contains(name) {
            let span = origins.add_setting(name, "");
            let help = nearest(name, names());
            report.advise(span, "sets nothing that is known".into(), help);
        }
    }
    for flag in &sources.flags {
        let span = origins.add_setting(flag.name, &flag.value);
        insert(tree, flag.key, &flag.value, span);
    }
}

/// Sets the key at `path`, whatever stood there; a section that is no table stays for its error.
fn insert<'t>(tree: &mut DeTable<'t>, path: &str, value: &str, span: Range<usize>) {
    let key = |name: &str| Spanned::new(span.clone(), Cow::Owned(name.to_owned()));
    let text = DeValue::String(Cow::Owned(value.to_owned()));
    match path.split_once('.') {
        None => {
            tree.insert(key(path), Spanned::new(span, text));
        }
        Some((section, rest)) => {
            if tree.get(section).is_none() {
                let empty = DeValue::Table(DeTable::new());
                tree.insert(key(section), Spanned::new(span.clone(), empty));
            }
            if let Some(DeValue::Table(table)) = tree.get_mut(section).map(Spanned::get_mut) {
                insert(table, rest, value, span);
            }
        }
    }
}
