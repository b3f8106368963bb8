//! Azure: the first segment is a resource and becomes a host label (data-plane section 3).
//!
//! What follows an Azure OpenAI resource is read in this order:
//!
//! | Path | Upstream | |
//! | --- | --- | --- |
//! | `openai/…` | `/openai/…` | as `azure_endpoint` and the `v1` surface send it |
//! | `deployments/{deployment}/…` | `/openai/deployments/{deployment}/…` | form b |
//! | `responses`, `models`, … | `/openai/responses`, … | not per deployment |
//! | `{deployment}/` and one of the above | as above, without that deployment | |
//! | `{deployment}/{endpoint}` | `/openai/deployments/{deployment}/{endpoint}` | form a |
//!
//! The fourth row is what clients send whose base URL ends with a deployment. There the SDK appends
//! `deployments/{model}` with the model of the call, so that one wins: it is the later and the more
//! explicit choice, and a client that calls two models through one base URL means two deployments.
//! A deployment that is called like one of the words of the third row can be reached by form b.

use std::borrow::Cow;

use super::append::plain;
use super::{Mapped, Names, invalid, segment};
use crate::error::Error;

/// First segments of what Azure serves per resource and not per deployment.
const PER_RESOURCE: [&str; 19] = [
    "responses",
    "models",
    "files",
    "uploads",
    "batches",
    "assistants",
    "threads",
    "vector_stores",
    "fine_tuning",
    "fine-tunes",
    "evals",
    "realtime",
    "containers",
    "conversations",
    "videos",
    "video",
    "moderations",
    "webhooks",
    "skills",
];

/// Azure OpenAI. `given`: the resource of the target that the path named in place of the provider,
/// or an empty text if it has none; then the path does not name one.
pub(super) fn openai<'p>(path: &'p str, given: Option<&'p str>) -> Result<Mapped<'p>, Error> {
    let (resource, tail) = resource(path, given)?;
    let (path, deployment) = match per_resource(tail)? {
        Some(found) => found,
        None => per_deployment(tail)?,
    };
    let names = Names {
        resource,
        ..Names::default()
    };
    Ok(Mapped {
        path,
        deployment,
        names,
        ..Mapped::default()
    })
}

/// Models on Azure AI: everything behind the resource is passed on. `given` as for [`openai`].
pub(super) fn models<'p>(path: &'p str, given: Option<&'p str>) -> Result<Mapped<'p>, Error> {
    let (resource, tail) = resource(path, given)?;
    if tail.is_empty() {
        return Err(invalid(
            "the path ends too early; it goes azure/{resource}/anthropic/v1/messages",
        ));
    }
    let names = Names {
        resource,
        ..Names::default()
    };
    Ok(Mapped {
        path: plain(tail),
        names,
        ..Mapped::default()
    })
}

type Found<'p> = ([&'p str; 4], Option<&'p str>);

fn resource<'p>(path: &'p str, given: Option<&'p str>) -> Result<(Cow<'p, str>, &'p str), Error> {
    let (resource, tail) = match given {
        Some("") => return Ok((Cow::Borrowed(""), path)),
        Some(given) => (given, path),
        None => leading(path),
    };
    if !segment::is_label(resource) {
        return Err(invalid(
            "the Azure resource is the first segment behind the provider: 1 to 63 letters, digits \
             and hyphens, with no hyphen at either end",
        ));
    }
    let is_lower = !resource.bytes().any(|byte| byte.is_ascii_uppercase());
    let resource = if is_lower {
        Cow::Borrowed(resource)
    } else {
        resource.to_ascii_lowercase().into()
    };
    Ok((resource, tail))
}

/// The rows of the table that need no deployment before them.
fn per_resource(tail: &str) -> Result<Option<Found<'_>>, Error> {
    let (first, rest) = segment::first(tail);
    Ok(match first {
        "openai" => Some((["/", tail, "", ""], named_deployment(rest)?)),
        "deployments" => Some((["/openai/", tail, "", ""], named_deployment(tail)?)),
        word if PER_RESOURCE.contains(&word) => Some((["/openai/", tail, "", ""], None)),
        _ => None,
    })
}

fn per_deployment(tail: &str) -> Result<Found<'_>, Error> {
    let (deployment, endpoint) = leading(tail);
    check_deployment(deployment)?;
    if let Some(found) = per_resource(endpoint)? {
        return Ok(found);
    }
    if endpoint.is_empty() {
        return Err(invalid(
            "the path ends too early; behind the Azure resource it goes \
             {deployment}/chat/completions, deployments/{deployment}/chat/completions or \
             openai/v1/responses",
        ));
    }
    Ok((
        ["/openai/deployments/", deployment, "/", endpoint],
        Some(deployment),
    ))
}

/// The deployment of `deployments/{deployment}/…`; `None` for any other path and for the list of
/// deployments. No spelling of the word may hide a deployment from records and policies.
fn named_deployment(path: &str) -> Result<Option<&str>, Error> {
    let (first, rest) = segment::first(path);
    if first.is_empty() && !path.is_empty() {
        return Err(invalid(
            "the path holds an empty segment behind `openai`; leave it out",
        ));
    }
    if !segment::spells(first, "deployments") {
        return Ok(None);
    }
    if first.contains('%') {
        return Err(invalid(
            "write `deployments` in the path without percent-encoding",
        ));
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let (deployment, _) = segment::first(rest);
    check_deployment(deployment)?;
    Ok(Some(deployment))
}

pub(super) fn check_deployment(deployment: &str) -> Result<(), Error> {
    let is_deployment = (1..=64).contains(&deployment.len())
        && deployment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && deployment.bytes().any(|byte| byte != b'.');
    if is_deployment {
        return Ok(());
    }
    Err(invalid(
        "the Azure deployment in the path is 1 to 64 letters, digits, dots, hyphens and \
         underscores, as in azure-openai/{resource}/{deployment}/chat/completions",
    ))
}

/// Splits off the first segment and the slash behind it, of which there may be two.
fn leading(path: &str) -> (&str, &str) {
    let (first, rest) = segment::first(path);
    (first, rest.strip_prefix('/').unwrap_or(rest))
}
