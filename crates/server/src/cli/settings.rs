//! Lists among the settings of a gateway of a running server: its limits, its targets.

use std::path::Path;

use http::Method;
use serde_json::{Map, Value};

use crate::cli::WrongUsage;
use crate::cli::remote::{Remote, gateway, object};

/// A list of the settings, and what its entries are called by.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    /// What one entry is.
    pub(super) one: &'static str,
}

impl List {
    /// The settings of a gateway without the list, and the list.
    ///
    /// # Errors
    /// Those of [`Remote::ask`].
    pub(super) fn read(
        self,
        remote: &Remote,
        gateway: &str,
    ) -> anyhow::Result<(Map<String, Value>, Vec<Value>)> {
        let told = remote.ask(Method::GET, &path(gateway)?, None)?;
        let Value::Object(mut settings) = told else {
            anyhow::bail!("the answer is no JSON object");
        };
        let entries = match settings.remove(self.key) {
            Some(Value::Array(entries)) => entries,
            Some(_) | None => Vec::new(),
        };
        Ok((settings, entries))
    }

    /// Puts the entry of a file in the place of the one of its name, or behind all; its name, and the
    /// settings.
    ///
    /// # Errors
    /// The file is none, or those of [`Remote::ask`].
    pub(super) fn set(
        self,
        remote: &Remote,
        gateway: &str,
        file: &Path,
    ) -> anyhow::Result<(String, Value)> {
        let entry = Value::Object(object(file)?);
        let name = entry[self.name].as_str().unwrap_or_default().to_owned();
        let (settings, mut entries) = self.read(remote, gateway)?;
        match entries.iter_mut().find(|one| one[self.name] == *name) {
            Some(one) => *one = entry,
            None => entries.push(entry),
        }
        Ok((name, self.put(remote, gateway, settings, entries)?))
    }

    /// Removes an entry; the settings without it.
    ///
    /// # Errors
    /// There is none of that name, or those of [`Remote::ask`].
    pub(super) fn remove(
        self,
        remote: &Remote,
        gateway: &str,
        name: &str,
    ) -> anyhow::Result<Value> {
        let (settings, mut entries) = self.read(remote, gateway)?;
        let before = entries.len();
        entries.retain(|one| one[self.name] != *name);
        if entries.len() == before {
            let message = format!("`{gateway}` has no {} `{name}`", self.one);
            return Err(WrongUsage(message).into());
        }
        self.put(remote, gateway, settings, entries)
    }

    fn put(
        self,
        remote: &Remote,
        gateway: &str,
        mut settings: Map<String, Value>,
        entries: Vec<Value>,
    ) -> anyhow::Result<Value> {
        settings.insert(self.key.into(), Value::Array(entries));
        remote.ask(Method::PUT, &path(gateway)?, Some(Value::Object(settings)))
    }
}

fn path(id: &str) -> anyhow::Result<String> {
    Ok(format!("/isango/gateways/{}/settings", gateway(id)?))
}
