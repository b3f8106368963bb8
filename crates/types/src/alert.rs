//! Alerts of a gateway: when somebody is to be told, and where. Settings with their meaning; who
//! decides and sends is the control plane.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::limit::Limit;
use crate::provider::{BaseUrl, BaseUrlError};
use crate::secret::Secret;

/// Most alerts that one gateway may have, those of its limits included.
pub const MAX_ALERTS: usize = 64;

/// One alert, compiled and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its name in messages, metrics and commands; unique in the gateway.
    pub id: Box<str>,
    /// When it is due.
    pub when: When,
    /// Where it goes.
    pub webhook: Webhook,
}

/// When an alert is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So much of a limit is drawn; told once for each bucket and window.
    Drawn {
        /// Of which limit; never one of [`Unit::Concurrent`](crate::limit::Unit::Concurrent).
        limit: Arc<Limit>,
        /// How much of it; more than all of it where the limit does not block.
        share: Share,
        /// Already when it will be by the end of the window, if requests go on like this.
        forecast: bool,
    },
    /// More than this share of requests are of a kind; of requests of the whole gateway.
    Often {
        /// Of which kind.
        kind: Kind,
        /// How many of them.
        share: Share,
        /// In the last so much.
        window: Duration,
        /// Requests in the window below which the share says nothing.
        min_requests: u64,
        /// How long it is quiet after it was told.
        repeat_after: Duration,
    },
}

/// What a request is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It failed, and the client is not to blame.
    Failed,
    /// Its answer began later than this.
    FirstByte(Duration),
    /// Its answer ended later than this.
    Total(Duration),
    /// Something was bought, and what it costs is not known.
    Unpriced,
}

impl Kind {
    /// The name in configuration and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "error_rate",
            Self::FirstByte(_) => "ttfb",
            Self::Total(_) => "duration",
            Self::Unpriced => "unpriced",
        }
    }
}

/// A share, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many millionths.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// As a number: 80.0 for 80 %.
    #[must_use]
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 1e4
    }

    /// As a number: 0.8 for 80 %.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    /// This share of an amount, rounded up.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let part = (u128::from(amount) * u128::from(self.0)).div_ceil(1_000_000);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Whether `part` of `whole` is more than this.
    #[must_use]
    pub fn is_passed_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(self.0)
    }
}

/// `80`, `99.9`: in percent.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_percent())
    }
}

/// Where an alert goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and optional port.
    pub authority: Box<str>,
    /// Path and query: whoever knows it may write there.
    pub path: Secret,
    /// Whether the host may be in a private network: the operator says so, or it is this machine.
    pub trusted: bool,
    /// How messages are written.
    pub format: Format,
    /// What messages are signed with.
    pub key: Option<Secret>,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Blocks for an incoming webhook of Slack.
    Slack,
    /// The event as it is.
    Json,
}

/// What is wrong with the address of a webhook. Never repeats the address, which is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not an address.
    #[error("it is no http or https address such as `https://hooks.example.com/…`")]
    Address,
    /// A user name or password.
    #[error("it holds a user name or password before `@`; put what is secret into its path")]
    Userinfo,
    /// A fragment, or characters that have no place in a path.
    #[error("its path holds `#`, or a character that must be percent-encoded")]
    Path,
    /// Without TLS to another machine.
    #[error(
        "it is http: messages would cross the network in clear; use https, or say \
         `allow_private = true`"
    )]
    Clear,
}

impl Webhook {
    /// Reads an address. `allow_private`: it may lead into a private network, and be http.
    ///
    /// # Errors
    /// [`WebhookError`] tells what is wrong.
    pub fn parse(
        url: &Secret,
        allow_private: bool,
        format: Format,
        key: Option<Secret>,
    ) -> Result<Self, WebhookError> {
        let url = url.expose();
        let (scheme, rest) = url.split_once("://").ok_or(WebhookError::Address)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host = BaseUrl::parse(&format!("{scheme}://{authority}"));
        let host = host.map_err(|error| match error {
            BaseUrlError::Userinfo => WebhookError::Userinfo,
            BaseUrlError::Scheme
            | BaseUrlError::Query
            | BaseUrlError::Host(_)
            | BaseUrlError::Port(_)
            | BaseUrlError::Path(_)
            | BaseUrlError::Placeholder(_)
            | BaseUrlError::Brace
            | BaseUrlError::OpenHost => WebhookError::Address,
        })?;
        if authority.contains(['{', '}']) {
            return Err(WebhookError::Address);
        }
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(fits) {
            return Err(WebhookError::Path);
        }
        let trusted = allow_private || is_this_machine(&host.authority);
        if !host.https && !trusted {
            return Err(WebhookError::Clear);
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            https: host.https,
            authority: (&*host.authority).into(),
            path: Secret::new(format!("{slash}{path}")),
            trusted,
            format,
            key,
        })
    }
}

/// Whether an authority is `localhost` or a loopback address.
fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']').map_or(inside, |(host, _)| host),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, allow_private: bool) -> Result<(bool, String, String), WebhookError> {
        let webhook = Webhook::parse(&Secret::new(url), allow_private, Format::Json, None)?;
        assert!(!format!("{webhook:?}").contains("T0"), "{webhook:?}");
        let path = webhook.path.expose().to_owned();
        Ok((webhook.trusted, webhook.authority.into(), path))
    }

    #[test]
    fn an_address_is_taken_apart() {
        let check = |url: &str, trusted: bool, authority: &str, path: &str| {
            assert_eq!(
                parse(url, false),
                Ok((trusted, authority.into(), path.into()))
            );
        };
        check(
            "https://Hooks.Slack.com/services/T0/B0/x",
            false,
            "hooks.slack.com",
            "/services/T0/B0/x",
        );
        check("https://a.example?key=T0", false, "a.example", "/?key=T0");
        check(
            "http://127.0.0.1:9000/a?b=c",
            true,
            "127.0.0.1:9000",
            "/a?b=c",
        );
        check("http://localhost", true, "localhost", "/");
        check("http://[::1]:1/T0", true, "[::1]:1", "/T0");
    }

    #[test]
    fn what_is_no_address_or_unsafe_is_refused() {
        let check = |url: &str, error: WebhookError| {
            assert_eq!(parse(url, false), Err(error), "{url}");
        };
        check("hooks.slack.com/T0", WebhookError::Address);
        check("ftp://hooks.slack.com/T0", WebhookError::Address);
        check("https://{resource}.slack.com/T0", WebhookError::Address);
        check("https:///T0", WebhookError::Address);
        check("https://a:b@hooks.slack.com/T0", WebhookError::Userinfo);
        check("https://hooks.slack.com/T0#x", WebhookError::Path);
        check("https://hooks.slack.com/T0 x", WebhookError::Path);
        check("http://hooks.slack.com/T0", WebhookError::Clear);
        check("http://10.0.0.5/T0", WebhookError::Clear);
        check("http://localhost.example.com/T0", WebhookError::Clear);
        assert!(parse("http://10.0.0.5/T0", true).is_ok_and(|(trusted, ..)| trusted));
    }

    #[test]
    fn a_share_is_exact() {
        let most = Share::from_millionths(800_000);
        assert_eq!(
            (most.of(500), most.of(1), most.to_string()),
            (400, 1, "80".into())
        );
        assert!(!most.is_passed_by(80, 100));
        assert!(most.is_passed_by(81, 100));
        assert_eq!(Share::WHOLE.of(u64::MAX), u64::MAX);
        assert_eq!(Share::from_millionths(999_000).to_string(), "99.9");
    }
}
