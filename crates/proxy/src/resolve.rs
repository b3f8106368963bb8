//! Path to gateway, provider, target and upstream address. Pure: no I/O, nothing is looked up
//! outside the snapshot, and nothing of a request becomes part of a host unless it matched the
//! strict pattern of its path rule.
//!
//! Paths are read raw, never decoded: a segment that selects something either has exactly the
//! characters of its pattern or is refused, and everything behind it crosses byte for byte. Refused
//! anywhere are `.` and `..` segments, however they are encoded, because an upstream that resolves
//! them would serve another path than the one that was judged here. Empty segments between the ids
//! are refused too, but for one behind the provider, behind an Azure resource or behind an Azure
//! deployment: clients that join a base URL ending in `/` with a path beginning with one send it.
//!
//! In place of a provider's slug may stand the name of one of the gateway's targets, where no
//! provider has that slug: `/v1/local/support/azure-openai-sa/chat/chat/completions`. The path
//! behind it is the provider's own, without the Azure resource, which the target knows.

mod append;
mod azure;
mod baseten;
mod bedrock;
mod fal;
mod redirect;
mod segment;
#[cfg(test)]
mod tests;
mod vertex;
mod workers_ai;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::uri::{Authority, PathAndQuery};
use isango_types::policy::Timeouts;
use isango_types::provider::{BaseUrl, PathRule};
use isango_types::{Gateway, Provider, Snapshot, Target, Wire, is_account, is_gateway_id};
use isango_wire::path::ends_with;

pub use self::redirect::can_redirect;
pub(crate) use self::redirect::redirect;
use crate::error::Error;

/// The two ids that a path begins with, before it is known what they name; for the record of a
/// request that is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'r> {
    /// First segment after `/v1`; empty when absent or malformed.
    pub account: &'r str,
    /// Second segment; empty when absent or malformed.
    pub gateway: &'r str,
    /// Third segment; empty when absent.
    pub provider: &'r str,
    /// Everything after the provider, without the slash between, with the query.
    pub rest: &'r str,
}

/// Where in a path that was routed the account stands and what is behind the provider, so that the
/// path is not split again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    account_end: usize,
    rest_begin: usize,
}

/// What every routed path begins with.
const SURFACE: &str = "/v1/";

impl Place<'_> {
    /// Where the account and the rest stand in the whole path of `length` bytes, query included.
    pub(crate) const fn spans(&self, length: usize) -> Spans {
        Spans {
            account_end: SURFACE.len() + self.account.len(),
            rest_begin: length - self.rest.len(),
        }
    }
}

impl Spans {
    /// The account and the rest of `path`.
    pub(crate) fn of<'p>(&self, path: &'p str) -> Place<'p> {
        Place {
            account: path.get(SURFACE.len()..self.account_end).unwrap_or(""),
            rest: path.get(self.rest_begin..).unwrap_or(""),
            ..Place::default()
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The gateway it entered by.
    pub gateway: Arc<Gateway>,
    /// The provider it asks for.
    pub provider: Arc<Provider>,
    /// The configured target that it belongs to, if any: the one it names, or the first of the
    /// gateway's targets with this provider and this resource or region (or with none).
    pub target: Option<Arc<Target>>,
    /// The group of equal targets that may answer, by its place in the gateway's list: the one that
    /// the path names, or that of `target`, unless the path names the target itself.
    pub group: Option<usize>,
    /// Azure resource, lower case, or region, that the path named.
    pub resource: Option<Box<str>>,
    /// Azure deployment that the path named.
    pub deployment: Option<Box<str>>,
    /// Of a request that fell back: what its body must name as its model, where it names another.
    pub model: Option<Box<str>>,
    /// Whether the upstream connection is encrypted.
    pub https: bool,
    /// Upstream host and port.
    pub authority: Authority,
    /// Whether the operator named that host, which may then be a private one.
    pub trusted: bool,
    /// Upstream path and query.
    pub path: PathAndQuery,
    /// Format of this endpoint.
    pub wire: Wire,
    /// Header that the credential travels in at this endpoint, bare, instead of the provider's own:
    /// a bearer token on `authorization` is moved there. A signature on `authorization` stays.
    pub credential_header: Option<&'static str>,
    /// The service that a signature is for, at endpoints that take one.
    pub signs_as: Option<&'static str>,
}

impl Route {
    /// Name of the target in records and answer headers: the configured one's, else the provider's.
    #[must_use]
    pub fn target_name(&self) -> &str {
        self.target
            .as_ref()
            .map_or(&self.provider.slug, |target| &target.name)
    }

    /// How long its calls may take.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        self.target
            .as_ref()
            .map_or(&self.gateway.timeouts, |target| &target.timeouts)
    }
}

/// Splits the raw path into the ids it begins with. Never fails.
#[must_use]
pub fn place(path_and_query: &str) -> Place<'_> {
    let query_at = memchr::memchr(b'?', path_and_query.as_bytes());
    let path = &path_and_query[..query_at.unwrap_or(path_and_query.len())];
    let Some(mut ids) = path.strip_prefix(SURFACE) else {
        return Place::default();
    };
    let mut next = || {
        // Ids are short: looking at each byte is done before a search has begun.
        let (id, rest) = match ids.bytes().position(|byte| byte == b'/') {
            Some(slash) => (&ids[..slash], &ids[slash + 1..]),
            None => (ids, ""),
        };
        ids = rest;
        id
    };
    let (account, gateway, provider) = (next(), next(), next());
    Place {
        account: if is_account(account) { account } else { "" },
        gateway: if is_gateway_id(gateway) { gateway } else { "" },
        provider,
        rest: &path_and_query[path.len() - ids.len()..],
    }
}

/// Finds where a request goes.
///
/// # Errors
/// [`Error::NoSuchPath`], [`Error::UnknownGateway`], [`Error::InvalidProvider`],
/// [`Error::InvalidPath`], [`Error::Residency`]; none can be helped by trying again.
pub fn resolve(config: &Snapshot, place: Place<'_>, headers: &HeaderMap) -> Result<Route, Error> {
    let gateway = gateway(config, &place)?;
    if place.provider.is_empty() {
        return Err(no_such_path());
    }
    let Entrance {
        provider,
        named,
        group,
    } = enter(config, gateway, (place.account, place.provider))?;
    let (path, query) = split(place.rest);
    if segment::has_dots(path) {
        return Err(invalid(
            "the path holds a `.` or `..` segment, plain or encoded; leave it out",
        ));
    }
    let resource = named.map(|target| target.resource.as_deref().unwrap_or(""));
    let mapped = map(provider, path, resource, place.account, headers)?;
    let target = named.or_else(|| target_of(gateway, provider, &mapped.names));
    let mut route = route(gateway, provider, target, &mapped, query)?;
    route.group = match (named, target) {
        (None, Some(target)) if !gateway.groups.is_empty() => gateway.group(&target.name),
        (Some(_), _) | (_, Some(_) | None) => group,
    };
    Ok(route)
}

/// The gateway that a path begins with.
///
/// # Errors
/// [`Error::NoSuchPath`], [`Error::UnknownGateway`].
pub(crate) fn gateway<'c>(
    config: &'c Snapshot,
    place: &Place<'_>,
) -> Result<&'c Arc<Gateway>, Error> {
    if place.account.is_empty() || (place.gateway.is_empty() && place.provider.is_empty()) {
        return Err(no_such_path());
    }
    config
        .gateway(place.account, place.gateway)
        .ok_or(Error::UnknownGateway)
}

/// Path, without one doubled slash from a base URL with a slash at its end, and query.
fn split(rest: &str) -> (&str, &str) {
    let query_at = memchr::memchr(b'?', rest.as_bytes());
    let (path, query) = rest.split_at(query_at.unwrap_or(rest.len()));
    (path.strip_prefix('/').unwrap_or(path), query)
}

/// Reads a path by its provider's rule. `resource`: that of the target that the path named in place
/// of the provider.
fn map<'p>(
    provider: &Provider,
    path: &'p str,
    resource: Option<&'p str>,
    account: &'p str,
    headers: &'p HeaderMap,
) -> Result<Mapped<'p>, Error> {
    Ok(match provider.path {
        PathRule::Append => append::map(path),
        PathRule::AzureOpenai => azure::openai(path, resource)?,
        PathRule::Azure => azure::models(path, resource)?,
        PathRule::Bedrock => bedrock::map(path)?,
        PathRule::Vertex => vertex::map(path)?,
        PathRule::WorkersAi => workers_ai::map(path, account)?,
        PathRule::Fal => fal::map(path, headers)?,
        PathRule::Baseten => baseten::map(path)?,
    })
}

/// The address of what was read from a path, if the gateway's residency allows it.
fn route(
    gateway: &Arc<Gateway>,
    provider: &Arc<Provider>,
    target: Option<&Arc<Target>>,
    mapped: &Mapped<'_>,
    query: &str,
) -> Result<Route, Error> {
    let address = Address::of(provider, target.map(|target| &**target), mapped)?;
    stays(gateway, target.map(|target| &**target), mapped)?;
    let (path, wire) = address.path(provider, mapped, query)?;
    let Names {
        resource, region, ..
    } = &mapped.names;
    let selected = [&**resource, region]
        .into_iter()
        .find(|name| !name.is_empty());
    Ok(Route {
        gateway: Arc::clone(gateway),
        provider: Arc::clone(provider),
        target: target.map(Arc::clone),
        group: None,
        resource: selected.map(Into::into),
        deployment: mapped.deployment.map(Into::into),
        model: None,
        https: address.base.https,
        authority: address.authority,
        trusted: address.trusted,
        path,
        wire,
        credential_header: mapped.credential_header,
        signs_as: mapped.signs_as,
    })
}

/// Checks that a request stays where the gateway's `residency` allows it: at a target in one of its
/// regions, and, but for an address of the operator's, in the region that the path names.
fn stays(gateway: &Gateway, target: Option<&Target>, mapped: &Mapped<'_>) -> Result<(), Error> {
    if gateway.residency.is_empty() {
        return Ok(());
    }
    let region = target.and_then(|target| target.region.as_deref());
    let is_own = target.is_some_and(|target| target.base_url.is_some());
    let named = mapped.names.region;
    let strays = match named {
        // Hosts that a request chooses, or that are the provider's for all regions.
        "" => mapped.host.is_some() || mapped.elsewhere.is_some(),
        named => !gateway.admits_region(Some(named)),
    };
    if gateway.admits_region(region) && (is_own || !strays) {
        return Ok(());
    }
    Err(Error::Residency {
        allowed: gateway.residency.join(", ").into(),
    })
}

/// What a path rule reads from a path.
#[derive(Default)]
struct Mapped<'p> {
    /// Upstream path below the base URL, in pieces that are joined once.
    path: [&'p str; 4],
    /// Upstream path below the provider's other base URL, for what lives there.
    elsewhere: Option<[&'p str; 4]>,
    /// A host of the provider that the request names, checked against the provider's pattern, with
    /// the query that goes there. An operator's own address goes before it.
    host: Option<(String, &'p str)>,
    names: Names<'p>,
    deployment: Option<&'p str>,
    /// `None`: the provider's.
    wire: Option<Wire>,
    credential_header: Option<&'static str>,
    signs_as: Option<&'static str>,
}

/// What fills the placeholders of a base URL; each matched its strict pattern, or is empty.
#[derive(Default)]
struct Names<'p> {
    resource: Cow<'p, str>,
    service: &'p str,
    region: &'p str,
    model: &'p str,
    account: &'p str,
}

impl Names<'_> {
    /// Appends `template` with its placeholders filled.
    fn fill(&self, template: &str, into: &mut String) -> Result<(), Error> {
        let mut rest = template;
        while let Some(opening) = memchr::memchr(b'{', rest.as_bytes()) {
            let (before, opened) = (&rest[..opening], &rest[opening + 1..]);
            let (name, after) = opened.split_once('}').unwrap_or((opened, ""));
            let value = match name {
                "resource" => &*self.resource,
                "service" => self.service,
                "region" => self.region,
                "model" => self.model,
                "account" => self.account,
                _ => "",
            };
            if value.is_empty() {
                return Err(Error::InvalidPath(format!(
                    "the address configured for this path needs a {name}, which neither the path \
                     nor the target names"
                )));
            }
            into.push_str(before);
            into.push_str(value);
            rest = after;
        }
        into.push_str(rest);
        Ok(())
    }
}

/// Where below which host a path lives.
struct Address<'p> {
    base: &'p BaseUrl,
    authority: Authority,
    pieces: [&'p str; 4],
    /// The query of the host that the request named, instead of the request's own.
    query: Option<&'p str>,
    trusted: bool,
}

impl<'p> Address<'p> {
    /// A target's own address goes before its provider's.
    fn of(
        provider: &'p Provider,
        target: Option<&'p Target>,
        mapped: &Mapped<'p>,
    ) -> Result<Self, Error> {
        let own = target.and_then(|target| target.base_url.as_ref());
        let (base, pieces) = match (own, &provider.other_base_url, mapped.elsewhere) {
            (Some(own), _, _) => (own, mapped.path),
            (None, Some(other), Some(elsewhere)) => (other, elsewhere),
            (None, _, _) => (&provider.base_url, mapped.path),
        };
        let trusted = own.is_some() || provider.trusted;
        let mut host = String::with_capacity(base.authority.len() + 64);
        mapped.names.fill(&base.authority, &mut host)?;
        let query = mapped.host.as_ref().map(|(_, query)| *query);
        if let Some((named, _)) = &mapped.host
            && !trusted
        {
            host.clone_from(named);
        }
        workers_ai::check_account(base, mapped.names.account)?;
        let authority = Authority::from_maybe_shared(Bytes::from(host))
            .map_err(|_not_one| invalid("the path leads to no valid host"))?;
        Ok(Self {
            base,
            authority,
            pieces,
            query,
            trusted,
        })
    }

    /// The path that is sent, with its query, and the format spoken there.
    fn path(
        &self,
        provider: &Provider,
        mapped: &Mapped<'_>,
        query: &str,
    ) -> Result<(PathAndQuery, Wire), Error> {
        let (base, rest) =
            append::undouble(&self.base.path, self.pieces[1], &provider.version_prefixes);
        let [before, _, between, after] = self.pieces;
        let query = self.query.unwrap_or(query);
        let pieces = [before, rest, between, after];
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let mut text = String::with_capacity(base.len() + 64 + length + query.len());
        mapped.names.fill(base, &mut text)?;
        pieces.iter().for_each(|piece| text.push_str(piece));
        if text.is_empty() {
            text.push('/');
        }
        let wire = endpoint_wire(mapped.wire.unwrap_or(provider.wire), &text);
        text.push_str(query);
        let path = PathAndQuery::from_maybe_shared(Bytes::from(text))
            .map_err(|_not_one| invalid("the path is too long, or no path"))?;
        Ok((path, wire))
    }
}

/// What the segment behind the gateway names.
struct Entrance<'c> {
    provider: &'c Arc<Provider>,
    named: Option<&'c Arc<Target>>,
    group: Option<usize>,
}

/// The provider of a slug; or the gateway's target of that name, or the first target of its group
/// of that name, and its provider.
fn enter<'c>(
    config: &'c Snapshot,
    gateway: &'c Gateway,
    (account, slug): (&str, &str),
) -> Result<Entrance<'c>, Error> {
    if let Some(provider) = config.provider_of(account, slug) {
        return Ok(Entrance {
            provider,
            named: None,
            group: None,
        });
    }
    let named = gateway.targets.iter().find(|target| *target.name == *slug);
    let (named, group) = match named {
        Some(target) => (Some(target), None),
        None => {
            let group = gateway.groups.iter().position(|group| *group.name == *slug);
            let first = group.and_then(|group| gateway.groups[group].targets.first());
            (first.and_then(|first| gateway.targets.get(*first)), group)
        }
    };
    let target = named.ok_or(Error::InvalidProvider)?;
    let provider = config
        .provider(&target.provider)
        .ok_or(Error::InvalidProvider)?;
    Ok(Entrance {
        provider,
        named,
        group,
    })
}

/// The first target of this provider that has this resource and region, or none of its own.
fn target_of<'c>(
    gateway: &'c Gateway,
    provider: &Provider,
    names: &Names<'_>,
) -> Option<&'c Arc<Target>> {
    let fits = |own: Option<&str>, named: &str| {
        own.is_none_or(|own| named.is_empty() || own.eq_ignore_ascii_case(named))
    };
    gateway.targets.iter().find(|target| {
        provider.is_called(&target.provider)
            && fits(target.resource.as_deref(), &names.resource)
            && fits(target.region.as_deref(), names.region)
    })
}

/// The format of an endpoint: providers serve other providers' formats beside their own, under the
/// paths that the clients of those formats send.
fn endpoint_wire(wire: Wire, path: &str) -> Wire {
    match wire {
        Wire::Opaque => Wire::Opaque,
        Wire::Openai | Wire::Anthropic | Wire::Gemini | Wire::Bedrock | Wire::Cohere => {
            if ends_with(path, "/chat/completions")
                || wire == Wire::Gemini && path.contains("/openai/")
            {
                Wire::Openai
            } else if ends_with(path, "/v1/messages") {
                Wire::Anthropic
            } else {
                wire
            }
        }
    }
}

fn no_such_path() -> Error {
    Error::NoSuchPath(
        "nothing is served here; requests go to /v1/{account}/{gateway}/{provider}/{path}".into(),
    )
}

fn invalid(message: &str) -> Error {
    Error::InvalidPath(message.to_owned())
}
