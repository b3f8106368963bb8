//! The same request at another target: address, path, region, API version and model of a request
//! that falls back. Pure.
//!
//! At the same provider the path stays and only what names the target in it changes. Between
//! providers of the same wire format, where paths differ in their beginnings alone, an endpoint is
//! what stands behind version and deployment (`chat/completions`), and is put together anew.
//!
//! What a target calls a model stands in its `models`; without them it calls models what everybody
//! does.

use std::sync::Arc;

use http::HeaderMap;
use isango_types::provider::PathRule;
use isango_types::{Provider, Snapshot, Target, Wire};

use super::append::plain;
use super::{Mapped, Names, Place, Route, azure, map, route, segment, split};
use crate::secrets;

/// Whether requests to `from` can be rewritten for `to`.
#[must_use]
pub fn can_redirect(from: &Provider, to: &Provider) -> bool {
    let rules = |allowed: [PathRule; 2]| [from.path, to.path].iter().all(|r| allowed.contains(r));
    let is_alike = match from.wire {
        Wire::Openai => rules([PathRule::Append, PathRule::AzureOpenai]),
        Wire::Anthropic => rules([PathRule::Append, PathRule::Azure]),
        Wire::Gemini | Wire::Cohere => rules([PathRule::Append; 2]),
        Wire::Bedrock | Wire::Opaque => false,
    };
    from.slug == to.slug || (from.wire == to.wire && is_alike)
}

/// Rewrites the request that `from` is the route of, and that came as `place` and `headers`, for
/// `target`. `model`: what its path or body names; `instead`: what is asked for in its place.
///
/// # Errors
/// Why it cannot be: for the record, in words that follow the target's name.
pub(crate) fn redirect(
    config: &Snapshot,
    from: &Route,
    target: &Arc<Target>,
    (place, headers): (Place<'_>, &HeaderMap),
    (model, instead): (Option<&str>, Option<&str>),
) -> Result<Route, String> {
    let provider = config
        .provider(&target.provider)
        .filter(|provider| can_redirect(&from.provider, provider))
        .ok_or("speaks another format")?;
    // The path named the target, or its group, and so no resource.
    let named = from.target.as_ref();
    let own = config.provider_of(place.account, place.provider);
    let named = named.filter(|_| own.is_none());
    let resource = named.map(|target| target.resource.as_deref().unwrap_or(""));
    let (path, query) = split(place.rest);
    let mapped = map(&from.provider, path, resource, place.account, headers)
        .map_err(|error| error.to_string())?;
    let asked = mapped.deployment.or(model);
    let theirs = match (instead, asked) {
        (Some(instead), _) => Some(name_at(None, target, instead)?),
        (None, Some(asked)) => Some(name_at(from.target.as_deref(), target, asked)?),
        (None, None) => None,
    };
    let ask = Rewriting {
        from,
        provider,
        target,
        theirs: theirs.as_deref(),
        asked,
    };
    let written = ask.write(&mapped)?;
    // A name that became part of the path selects nothing but a model.
    if segment::has_dots(&written.path) {
        return Err("has a path that could be read in two ways".into());
    }
    let query = ask.query(query, written.wants_api_version);
    let names = Names {
        resource: target.resource.as_deref().unwrap_or_default().into(),
        region: written.region.as_deref().unwrap_or(mapped.names.region),
        ..mapped.names
    };
    let moved = Mapped {
        path: plain(&written.path),
        elsewhere: mapped.elsewhere.map(|_| plain(&written.path)),
        host: mapped.host,
        names,
        deployment: written.deployment,
        wire: mapped.wire,
        credential_header: mapped.credential_header,
        signs_as: mapped.signs_as,
    };
    let mut route = route(&from.gateway, provider, Some(target), &moved, &query)
        .map_err(|error| error.to_string())?;
    let in_body = written.names_model_in_body;
    route.model = theirs.filter(|theirs| in_body && model != Some(&**theirs));
    Ok(route)
}

/// What `to` calls the model that a request to `from` calls `asked`.
fn name_at(from: Option<&Target>, to: &Target, asked: &str) -> Result<Box<str>, String> {
    let model = from.and_then(|from| from.model_of(asked)).unwrap_or(asked);
    if to.models.is_empty() {
        return Ok(model.into());
    }
    let same = to.models.iter().find(|(_, theirs)| ***theirs == *model);
    match same {
        Some((name, _)) => Ok(name.clone()),
        None => Err(format!("has no `{model}` among its models")),
    }
}

struct Rewriting<'r> {
    from: &'r Route,
    provider: &'r Provider,
    target: &'r Target,
    /// What the request calls its model, and what this target does.
    asked: Option<&'r str>,
    theirs: Option<&'r str>,
}

/// A path below the base URL, without the slash between.
struct Written<'r> {
    path: String,
    deployment: Option<&'r str>,
    region: Option<String>,
    wants_api_version: bool,
    /// Whether the body is where this endpoint's model stands.
    names_model_in_body: bool,
}

impl<'r> Rewriting<'r> {
    fn write(&self, mapped: &Mapped<'_>) -> Result<Written<'r>, String> {
        let path: String = mapped.path.concat();
        let path = path.trim_start_matches('/');
        let (same, rule) = (
            self.from.provider.slug == self.provider.slug,
            self.provider.path,
        );
        match (same, rule) {
            (true, PathRule::AzureOpenai) => self.azure_again(path, mapped),
            (false, PathRule::AzureOpenai) => self.to_azure(path),
            (true, PathRule::Bedrock) => {
                let region = self.target.region.as_deref();
                self.path_model(path, region.map(str::to_ascii_lowercase))
            }
            (true, PathRule::Vertex) => self.vertex(path),
            (
                true,
                PathRule::Append
                | PathRule::Azure
                | PathRule::WorkersAi
                | PathRule::Fal
                | PathRule::Baseten,
            ) => self.path_model(path, None),
            (false, PathRule::Azure) => Ok(body_model(format!("anthropic/{path}"))),
            (false, PathRule::Append) => Ok(body_model(self.appended(path))),
            (
                false,
                PathRule::Bedrock
                | PathRule::Vertex
                | PathRule::WorkersAi
                | PathRule::Fal
                | PathRule::Baseten,
            ) => Err("speaks another format".into()),
        }
    }

    /// Azure to Azure: only the deployment changes, in the path or in the body.
    fn azure_again(&self, path: &str, mapped: &Mapped<'_>) -> Result<Written<'r>, String> {
        let endpoint = mapped.deployment.and_then(|deployment| {
            let rest = path.strip_prefix("openai/deployments/")?;
            rest.strip_prefix(deployment)?.strip_prefix('/')
        });
        match (endpoint, self.theirs) {
            (Some(endpoint), Some(theirs)) => deployed(theirs, endpoint),
            _ => Ok(Written {
                wants_api_version: !path.starts_with("openai/v1/"),
                ..body_model(path.to_owned())
            }),
        }
    }

    /// To Azure: by deployment where the target names an API version, else by the `v1` endpoints,
    /// which ask for none and take the deployment as the model of the body.
    fn to_azure(&self, path: &str) -> Result<Written<'r>, String> {
        let (_, endpoint) = version_of(path);
        let is_per_deployment = !segment::first(endpoint).0.starts_with("responses");
        match (self.theirs, &self.target.api_version) {
            (Some(theirs), Some(_)) if is_per_deployment => deployed(theirs, endpoint),
            _ => Ok(body_model(format!("openai/v1/{endpoint}"))),
        }
    }

    /// To a provider whose paths are appended: what comes before the endpoint is its own affair.
    fn appended(&self, path: &str) -> String {
        let path = path.strip_prefix("anthropic/").unwrap_or(path);
        if !matches!(self.provider.wire, Wire::Openai | Wire::Anthropic) {
            return path.to_owned();
        }
        let (_, endpoint) = version_of(path);
        let base = self
            .target
            .base_url
            .as_ref()
            .unwrap_or(&self.provider.base_url);
        let last = base.path.rsplit('/').next().unwrap_or("");
        let prefix = self.provider.version_prefixes.first();
        let version = match (is_version(last), prefix, self.provider.wire) {
            (true, ..) => "",
            (false, Some(prefix), _) => prefix,
            // Bases of Anthropic's format end before the version; others below a root, too.
            (false, None, Wire::Anthropic) => "v1",
            (false, None, _) if base.path.is_empty() && self.is_own() => "v1",
            (false, None, _) => "",
        };
        let slash = if version.is_empty() { "" } else { "/" };
        format!("{version}{slash}{endpoint}")
    }

    /// A provider of the operator's.
    fn is_own(&self) -> bool {
        self.provider.slug.starts_with("custom-")
    }

    /// The same path; where the request's model stands in it, the target's name of it.
    fn path_model(&self, path: &str, region: Option<String>) -> Result<Written<'r>, String> {
        let mut written = Written {
            region,
            names_model_in_body: !matches!(self.from.wire, Wire::Gemini | Wire::Bedrock),
            ..body_model(path.to_owned())
        };
        let (Some(asked), Some(theirs)) = (self.asked, self.theirs) else {
            return Ok(written);
        };
        if written.names_model_in_body || asked == theirs {
            return Ok(written);
        }
        let named = ["model/", "models/"].into_iter().find_map(|before| {
            let begin = path.find(&format!("{before}{asked}"))? + before.len();
            let end = begin + asked.len();
            let is_whole = path[end..].is_empty() || path[end..].starts_with(['/', ':']);
            is_whole.then_some(begin..end)
        });
        let named = named.ok_or("cannot be told another model in this path")?;
        written.path.replace_range(named, theirs);
        Ok(written)
    }

    /// The region behind `locations` becomes the target's.
    fn vertex(&self, path: &str) -> Result<Written<'r>, String> {
        let region = self.target.region.as_deref().map(str::to_ascii_lowercase);
        let mut written = self.path_model(path, region.clone())?;
        if let (Some(at), Some(region)) = (written.path.find("/locations/"), region) {
            let begin = at + "/locations/".len();
            let end = written.path[begin..].find('/');
            let end = end.map_or(written.path.len(), |length| begin + length);
            written.path.replace_range(begin..end, &region);
        }
        Ok(written)
    }

    /// The query without credentials, which are the client's and for another target, and with the
    /// API version of this one.
    fn query(&self, query: &str, wants_api_version: bool) -> String {
        let slots = [&self.from.provider.auth, &self.provider.auth];
        let is_slot = |name: &str| {
            let also = slots.iter().flat_map(|auth| &auth.also);
            also.filter_map(|slot| slot.strip_prefix('?'))
                .any(|slot| slot == name)
        };
        let is_azure = self.provider.path == PathRule::AzureOpenai;
        let own = self
            .target
            .api_version
            .as_deref()
            .filter(|_| wants_api_version);
        let mut kept = String::with_capacity(query.len() + 32);
        for pair in query.trim_start_matches('?').split('&') {
            let name = pair.split('=').next().unwrap_or("");
            let is_version =
                name == "api-version" && (!is_azure || !wants_api_version || own.is_some());
            if !pair.is_empty() && !is_version && !is_slot(name) && !secrets::is_secret_pair(pair) {
                kept.push(if kept.is_empty() { '?' } else { '&' });
                kept.push_str(pair);
            }
        }
        if let Some(version) = own {
            kept.push(if kept.is_empty() { '?' } else { '&' });
            kept.push_str("api-version=");
            kept.push_str(version);
        }
        kept
    }
}

/// An Azure endpoint below a deployment, which stands in the path alone.
fn deployed<'r>(deployment: &'r str, endpoint: &str) -> Result<Written<'r>, String> {
    azure::check_deployment(deployment)
        .map_err(|_no_name| format!("has no deployment that could be called `{deployment}`"))?;
    Ok(Written {
        deployment: Some(deployment),
        wants_api_version: true,
        names_model_in_body: false,
        ..body_model(format!("openai/deployments/{deployment}/{endpoint}"))
    })
}

fn body_model<'r>(path: String) -> Written<'r> {
    Written {
        path,
        deployment: None,
        region: None,
        wants_api_version: false,
        names_model_in_body: true,
    }
}

/// Splits a path into the version that it begins with, if one of its first segments is one, and the
/// endpoint: `openai/v1/chat/completions`, `v1/chat/completions`, `chat/completions`,
/// `openai/deployments/chat/chat/completions`.
fn version_of(path: &str) -> (Option<&str>, &str) {
    if let Some(rest) = path.strip_prefix("openai/deployments/") {
        return (None, segment::first(rest).1);
    }
    let mut rest = path;
    for _ in 0..3 {
        let (first, after) = segment::first(rest);
        if is_version(first) {
            return (Some(first), after);
        }
        rest = after;
    }
    (None, path.strip_prefix("openai/").unwrap_or(path))
}

/// Whether a segment is a version: `v1`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests;
