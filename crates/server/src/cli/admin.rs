//! The admin listener of a running gateway, as commands ask it: on this machine in the clear, or
//! elsewhere by `https` with the checks of certificates that providers get.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use isango_proxy::upstream::{Courier, Parcel, Settings};
use isango_types::provider::BaseUrl;
use isango_types::{Clock, Secret};
use serde_json::Value;

use crate::alerts::why;
use crate::cli::runtime;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer of the admin listener, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Which running gateway is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// Admin listener of the running gateway: its address, or the https one of the proxy before it
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ISANGO_ADMIN_LISTEN",
        default_value = "127.0.0.1:8701"
    )]
    admin: Address,

    /// File of certificates (PEM) that are trusted there beside those that providers' are checked with
    #[arg(long, value_name = "FILE", env = "ISANGO_ADMIN_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Where an admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    https: bool,
    authority: Box<str>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = match text.contains("://") {
            true => text.trim_end_matches('/').to_owned(),
            false => format!("http://{text}"),
        };
        let wrong = || "it is no address such as 127.0.0.1:8701 or https://isango.example.com";
        let base = BaseUrl::parse(&url).map_err(|error| format!("{}: {error}", wrong()))?;
        match base.path.is_empty() && base.placeholders().next().is_none() {
            true => Ok(Self {
                https: base.https,
                authority: (&*base.authority).into(),
            }),
            false => Err(wrong().into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https://" } else { "" };
        write!(f, "{scheme}{}", self.authority)
    }
}

impl Admin {
    /// Asks its management API; what was done.
    ///
    /// # Errors
    /// Nobody answers there, or not as a gateway does; or it says why it refuses.
    pub(super) fn api(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut told = self.send((method, path), Some(token), body)?;
        Ok(told["result"].take())
    }

    /// Asks it; what it tells.
    ///
    /// # Errors
    /// Nobody answers there, or not as a gateway does; or it says why it refuses.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        self.send((method, path), None, body)
    }

    /// Asks the admin listener; what it tells, or why it did not.
    fn send(
        &self,
        (method, path): (Method, &str),
        token: Option<&Secret>,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let admin = &self.admin;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let settings = Settings {
            extra_ca_file: self.ca_file.clone(),
            ..Settings::default()
        };
        let courier = Courier::new(&settings).context("--ca-file")?;
        let parcel = Parcel {
            method,
            https: admin.https,
            authority: &admin.authority,
            path,
            // It is the operator who names it.
            trusted: true,
            headers,
            body: body
                .map_or_else(String::new, |body| body.to_string())
                .into(),
            // One more tells whether there is more.
            max_answer: MAX_ANSWER + 1,
            needs_answer: true,
            patience: PATIENCE,
        };
        let asking = Box::pin(courier.post(parcel, Clock::system().now()));
        let receipt = runtime()?.block_on(asking).map_err(|error| {
            anyhow::anyhow!(
                "no gateway answers at {admin} ({}); start it, or name its admin listener with \
                 --admin",
                why(&error)
            )
        })?;
        anyhow::ensure!(
            receipt.body.len() <= MAX_ANSWER,
            "the answer of {admin} has no end"
        );
        let read: Option<Value> = serde_json::from_slice(&receipt.body).ok();
        match read {
            Some(told) if receipt.status.is_success() => Ok(told),
            Some(told) => {
                let why = told["error"]
                    .as_str()
                    .or(told["errors"][0]["message"].as_str());
                anyhow::bail!("{}", why.unwrap_or("it failed"))
            }
            None => anyhow::bail!(
                "{admin} is no admin listener of a gateway: it answers {}",
                receipt.status
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_this_machine_or_a_url() {
        let check = |text: &str, expected: Option<(bool, &str)>| {
            let address = text.parse::<Address>().ok();
            let found = address.as_ref().map(|one| (one.https, &*one.authority));
            assert_eq!(found, expected, "{text}");
        };
        check("127.0.0.1:8701", Some((false, "127.0.0.1:8701")));
        check("[::1]:8701", Some((false, "[::1]:8701")));
        check("localhost:8701", Some((false, "localhost:8701")));
        check("http://10.0.0.5:8701", Some((false, "10.0.0.5:8701")));
        check(
            "https://isango.example.com/",
            Some((true, "isango.example.com")),
        );
        for wrong in [
            "",
            "https://",
            "https://a:b@c",
            "ftp://a",
            "https://a/b",
            "https://{a}.b",
        ] {
            check(wrong, None);
        }
    }
}
