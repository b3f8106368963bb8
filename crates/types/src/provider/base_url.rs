//! Addresses that an operator, or the catalogue of providers, may name.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

/// Everything that may stand in braces.
const PLACEHOLDERS: [&str; 5] = ["resource", "service", "region", "model", "account"];

/// An `http` or `https` address without query, fragment or credentials; may hold placeholders in
/// braces in its host's first labels and in its path.
///
/// Only configuration and `providers.toml` make one; nothing of a request becomes a host without
/// passing the patterns of its path rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct BaseUrl {
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and optional port, lower case (`api.openai.com`, `127.0.0.1:8790`,
    /// `{resource}.openai.azure.com`).
    pub authority: Arc<str>,
    /// Path without a slash at its end; empty for the root.
    pub path: Arc<str>,
}

/// What is wrong with a base URL, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// No scheme, or one that is not spoken.
    #[error("an address begins with `https://` or `http://`")]
    Scheme,
    /// Query or fragment.
    #[error("an address ends before `?` and `#`; what a client sends there is passed on")]
    Query,
    /// Something before an `@`.
    #[error("an address holds no user name or password; use `credential` or `headers`")]
    Userinfo,
    /// Not a host.
    #[error(
        "`{0}` is no host; give a DNS name, an IPv4 address, or an IPv6 address in brackets, \
         with a port if it is not the usual one"
    )]
    Host(Box<str>),
    /// Not a port.
    #[error("`{0}` is no port; a port is a number from 1 to 65535")]
    Port(Box<str>),
    /// A path that could be read in two ways, or not be sent.
    #[error(
        "the path `{0}` holds an empty or dotted segment, or a character that has no place in it"
    )]
    Path(Box<str>),
    /// A placeholder that nothing fills.
    #[error(
        "`{{{0}}}` is no placeholder; there are {{resource}}, {{service}}, {{region}}, {{model}} \
         and {{account}}"
    )]
    Placeholder(Box<str>),
    /// A brace without its partner.
    #[error("a `{{` or `}}` stands alone; placeholders are written `{{resource}}`")]
    Brace,
    /// A host that a request would choose.
    #[error(
        "a placeholder may stand only before the last two labels of a host, so that no request \
         can choose whose host it is"
    )]
    OpenHost,
}

impl BaseUrl {
    /// Reads an address such as `https://api.openai.com/v1` or `http://127.0.0.1:8790/{resource}`.
    ///
    /// Slashes at its end are dropped; the host becomes lower case.
    ///
    /// # Errors
    /// [`BaseUrlError`] tells what was wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(BaseUrlError::Scheme)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(BaseUrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(BaseUrlError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.trim_end_matches('/');
        check_authority(authority)?;
        check_path(path)?;
        Ok(Self {
            https,
            authority: authority.to_ascii_lowercase().into(),
            path: path.into(),
        })
    }

    /// The names of its placeholders, without braces, in their order, repeated as they repeat.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        [&*self.authority, &*self.path]
            .into_iter()
            .flat_map(|part| {
                part.split('{')
                    .skip(1)
                    .filter_map(|opened| Some(opened.split_once('}')?.0))
            })
    }
}

/// Replaces each placeholder by an `x`, which may stand wherever a placeholder's value may.
fn without_placeholders(text: &str) -> Result<String, BaseUrlError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once('{') {
        let (name, after) = opened.split_once('}').ok_or(BaseUrlError::Brace)?;
        if !PLACEHOLDERS.contains(&name) {
            return Err(BaseUrlError::Placeholder(name.into()));
        }
        plain.push_str(before);
        plain.push('x');
        rest = after;
    }
    plain.push_str(rest);
    if plain.contains('}') {
        Err(BaseUrlError::Brace)
    } else {
        Ok(plain)
    }
}

fn check_authority(authority: &str) -> Result<(), BaseUrlError> {
    if authority.contains('@') {
        return Err(BaseUrlError::Userinfo);
    }
    let no_host = || BaseUrlError::Host(authority.into());
    if let Some(inside) = authority.strip_prefix('[') {
        let (address, port) = inside.split_once(']').ok_or_else(no_host)?;
        Ipv6Addr::from_str(address).map_err(|_not_one| no_host())?;
        return match port.strip_prefix(':') {
            Some(port) => check_port(port),
            None if port.is_empty() => Ok(()),
            None => Err(no_host()),
        };
    }
    let host = match authority.split_once(':') {
        None => authority,
        Some((host, port)) => {
            check_port(port)?;
            host
        }
    };
    let plain = without_placeholders(host)?;
    if plain.len() > 253 || !plain.split('.').all(is_label) {
        return Err(no_host());
    }
    if let Some(last) = host.rfind('}')
        && host[last..].matches('.').count() < 2
    {
        return Err(BaseUrlError::OpenHost);
    }
    Ok(())
}

fn check_port(port: &str) -> Result<(), BaseUrlError> {
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|number| number != 0);
    if is_port {
        Ok(())
    } else {
        Err(BaseUrlError::Port(port.into()))
    }
}

/// A DNS label (RFC 1035 section 2.3.1), or one with `_` as private zones have.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_path(path: &str) -> Result<(), BaseUrlError> {
    let plain = without_placeholders(path)?;
    // RFC 3986 section 3.3, without `;`, behind which some servers hide segments.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte);
    let mut segments = plain.split('/').skip(1);
    if plain.bytes().all(is_plain) && segments.all(|one| !matches!(one, "" | "." | "..")) {
        Ok(())
    } else {
        Err(BaseUrlError::Path(path.into()))
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = BaseUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}
