//! Path to gateway, provider, target and upstream address. Pure: no I/O, nothing is looked up
//! outside the snapshot, and nothing of a request becomes part of a host unless it matched the
//! strict pattern of its path rule.

use std::sync::Arc;

use http::HeaderMap;
use http::uri::{Authority, PathAndQuery, Uri};
use isango_types::{Gateway, Provider, Snapshot, Target, Wire};

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

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The gateway it entered by.
    pub gateway: Arc<Gateway>,
    /// The provider it asks for.
    pub provider: Arc<Provider>,
    /// The configured target that it belongs to, if any: the first of the gateway's targets with
    /// this provider and this resource (or with no resource).
    pub target: Option<Arc<Target>>,
    /// Azure resource, or region, that the path named.
    pub resource: Option<Box<str>>,
    /// Azure deployment that the path named.
    pub deployment: Option<Box<str>>,
    /// Whether the upstream connection is encrypted.
    pub https: bool,
    /// Upstream host and port.
    pub authority: Authority,
    /// Upstream path and query.
    pub path: PathAndQuery,
    /// Format of this endpoint.
    pub wire: Wire,
}

/// Splits the raw path into the ids it begins with. Never fails.
#[must_use]
pub fn place(uri: &Uri) -> Place<'_> {
    let _ = uri;
    Place::default()
}

/// Finds where a request goes.
///
/// # Errors
/// [`Error::NoSuchPath`], [`Error::UnknownGateway`], [`Error::InvalidProvider`],
/// [`Error::InvalidPath`]; none can be helped by trying again.
pub fn resolve(config: &Snapshot, place: Place<'_>, headers: &HeaderMap) -> Result<Route, Error> {
    let _ = (config, place, headers);
    Err(Error::InvalidProvider)
}
