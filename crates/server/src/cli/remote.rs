//! The management API of a running gateway, here or elsewhere, for commands that are its twins.

use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use isango_types::{Secret, is_account, is_gateway_id};
use serde_json::{Map, Value};

use crate::cli::admin::Admin;
use crate::cli::logs::clean;
use crate::cli::{WrongUsage, write_json};

/// Characters of a cell.
const WIDEST: usize = 64;
/// Most entries of a page.
const PAGE: u32 = 100;

/// Which management API is asked, as whom, and for which account.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    #[command(flatten)]
    admin: Admin,

    /// Token that may do this (`isango token create --scope read --scope write`)
    #[arg(long, env = "ISANGO_TOKEN", hide_env_values = true)]
    token: String,

    /// In this account
    #[arg(long, default_value = "local")]
    account: String,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Remote {
    /// Asks at a path below the account; what was done.
    ///
    /// # Errors
    /// Those of [`Admin::api`]; or the account is none.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let account = &self.account;
        if !is_account(account) {
            return Err(WrongUsage(format!("`{account}` is no account")).into());
        }
        let path = format!("/client/v4/accounts/{account}{path}");
        let token = Secret::new(self.token.as_str());
        self.admin.api(method, &path, &token, body)
    }

    /// Every entry of a list, page after page.
    ///
    /// # Errors
    /// Those of [`Remote::ask`].
    pub(super) fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        for page in 1_u32.. {
            let path = format!("{path}?page={page}&per_page={PAGE}");
            let Value::Array(some) = self.ask(Method::GET, &path, None)? else {
                break;
            };
            let is_last = some.len() < PAGE as usize;
            all.extend(some);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Prints entries: a line of JSON for each, or these members of each between two blanks.
    ///
    /// # Errors
    /// Nobody reads.
    pub(super) fn print(
        &self,
        entries: &[Value],
        members: &[&str],
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        for entry in entries {
            if self.json {
                write_json(out, entry)?;
                continue;
            }
            let shown = members.iter().map(|member| match entry[*member].as_str() {
                Some(text) => clean(text, WIDEST),
                None if entry[*member].is_null() => "-".to_owned(),
                None => entry[*member].to_string(),
            });
            writeln!(out, "{}", shown.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }

    /// Prints what was done: JSON, or a line of words.
    ///
    /// # Errors
    /// Nobody reads.
    pub(super) fn done(
        &self,
        told: &Value,
        words: &str,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        if self.json {
            write_json(out, told)?;
        } else {
            writeln!(out, "{words}")?;
        }
        Ok(0)
    }
}

/// A gateway's id, which stands in a path.
///
/// # Errors
/// It is none.
pub(super) fn gateway(id: &str) -> anyhow::Result<&str> {
    match is_gateway_id(id) {
        true => Ok(id),
        false => Err(WrongUsage(format!("`{id}` is no id of a gateway")).into()),
    }
}

/// The name of something, which stands in a path.
///
/// # Errors
/// It is none.
pub(super) fn name(text: &str) -> anyhow::Result<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(WrongUsage(format!("`{text}` is no name")).into()),
    }
}

/// A JSON object from a file, or from standard input where that is `-`.
///
/// # Errors
/// It cannot be read, or is none.
pub(super) fn object(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_other) => Err(WrongUsage("a JSON object is wanted".into()).into()),
        Err(error) => Err(WrongUsage(format!("{}: {error}", file.display())).into()),
    }
}
