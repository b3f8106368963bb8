//! What limits look at in a request, and what it wants of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use isango_types::limit::{Dimension, Unit};
use isango_types::record::MetadataValue;
use isango_types::{Limit, Operation, Timestamp, Usage};

use super::admit::Stage;
use super::estimate::{Asked, Estimate, estimate};
use super::{Limits, Permit, Values, Want, clip};
use crate::call::CallBody;
use crate::exchange::Draft;
use crate::metadata;
use crate::resolve::Route;

/// What limits look at.
pub(super) struct Subject<'d> {
    draft: &'d Draft,
    pub(super) route: &'d Route,
    labels: BTreeMap<Box<str>, MetadataValue>,
    /// `None`: not known yet, or not at all.
    pub(super) model: Option<&'d str>,
    pub(super) estimate: Option<Estimate>,
}

impl<'d> Subject<'d> {
    pub(super) fn new(
        (draft, route): (&'d Draft, &'d Route),
        stage: Stage<'_>,
        permit: &mut Permit,
    ) -> Self {
        let is_label = |dimension: &Dimension| matches!(dimension, Dimension::Metadata(_));
        let mut dimensions = route.gateway.limits.iter().flat_map(|limit| {
            let conditions = limit.only.iter().map(|condition| &condition.dimension);
            conditions.chain(&limit.by)
        });
        let labels = match permit.labels.take() {
            Some(labels) => labels,
            None if dimensions.any(is_label) => labels(draft),
            None => BTreeMap::new(),
        };
        permit.labels = Some(labels.clone());
        Self {
            draft,
            route,
            labels,
            model: match stage {
                Stage::Head => None,
                Stage::Body | Stage::Send(_) => asked_model_at(draft, route),
            },
            estimate: None,
        }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            route: self.route,
            model: self.model,
            operation: self.draft.operation,
        }
    }

    fn value(&self, dimension: &Dimension) -> Option<Box<str>> {
        let route = self.route;
        match dimension {
            Dimension::Metadata(key) => self.labels.get(key).map(|value| value.to_text().into()),
            Dimension::Token => self
                .draft
                .caller
                .token
                .as_ref()
                .map(|token| token.name.clone()),
            Dimension::Provider => Some(route.provider.slug.clone()),
            // Of several, of which the provider chooses, none is it.
            Dimension::Model => {
                let model = self.model.filter(|_| !self.draft.names_others);
                model.map(|model| self.one_case(model).into())
            }
            Dimension::Target => Some(route.target_name().into()),
        }
    }

    /// A model's name; where the path names a deployment, which is the same in any case, in small
    /// letters.
    fn one_case<'m>(&self, model: &'m str) -> Cow<'m, str> {
        let is_large = || model.bytes().any(|byte| byte.is_ascii_uppercase());
        match self.route.deployment.is_some() && is_large() {
            true => Cow::Owned(model.to_ascii_lowercase()),
            false => Cow::Borrowed(model),
        }
    }

    /// Its values of what splits the limit, as its bucket has them.
    pub(super) fn values(&self, limit: &Limit) -> Values {
        let mut values: Values = limit.by.iter().map(|one| self.value(one)).collect();
        values.iter_mut().flatten().for_each(clip);
        values
    }

    /// Whether the limit is for this request. A model that cannot be told may be any: else a body
    /// that is too large to be looked at would be a way around.
    pub(super) fn is_under(&self, limit: &Limit) -> bool {
        limit
            .only
            .iter()
            .all(|condition| match self.value(&condition.dimension) {
                Some(value) if condition.dimension == Dimension::Model => {
                    let mut values = condition.values.iter();
                    values.any(|one| *self.one_case(one) == *value)
                }
                Some(value) => condition.values.contains(&value),
                None => condition.dimension == Dimension::Model,
            })
    }

    pub(super) fn estimate(&self, limits: &Limits, body: &CallBody) -> Estimate {
        estimate(&limits.observed, self.asked(), body)
    }

    /// What the request wants of a limit.
    pub(super) fn want<'l>(
        &self,
        limit: &'l Arc<Limit>,
        values: &Values,
        now: Timestamp,
    ) -> Want<'l> {
        let (counted, [input, output], likely) = match &self.estimate {
            Some(one) => (one.counted, [one.input, one.output], one.likely),
            None => (0, [0; 2], (0, 0)),
        };
        let amount = |input: u64, output| match limit.unit {
            Unit::Requests | Unit::Concurrent => Some(1),
            Unit::Tokens => Some(input.saturating_add(output)),
            Unit::Cost => self.price(input, output, now),
        };
        let known = |input, output| amount(input, output).unwrap_or(0);
        Want {
            limit,
            values: values.clone(),
            need: amount(input, output),
            least: known(counted, 0),
            likely: known(likely.0, likely.1),
            fixed: known(input, 0),
            is_passed: false,
            place: limit
                .is_of_target()
                .then(|| self.route.target_name().into()),
            crowded: None,
        }
    }

    /// What so many tokens cost at most, in nano-dollars, as far as they have a rate; 0 of a model
    /// without a price, whose cost is not known afterwards either. `None`: what the model is, or
    /// costs, is not known before it has answered.
    pub(super) fn price(&self, input: u64, output: u64, now: Timestamp) -> Option<u64> {
        // What is billed by piece is told by the request itself.
        let asked = self.estimate.as_ref();
        let pieces = |of| asked.filter(|_| self.draft.operation == of);
        let usage = Usage {
            input,
            output,
            images: pieces(Operation::Image).map_or(0, |one| one.answers),
            characters: pieces(Operation::Speech).map_or(0, |one| one.characters),
            ..Usage::default()
        };
        let slug = &self.route.provider.slug;
        let prices = self.draft.prices();
        let of = |model: &str| prices.known_nanousd(slug, model, &usage, now);
        let served = self.estimate.iter().flat_map(|one| &one.served);
        let dearest = served.filter_map(|model| of(model)).max();
        let named = self.model.filter(|_| !self.draft.names_others);
        let price = dearest.or_else(|| of(named?));
        let has_answered = self.estimate.as_ref().is_none_or(|one| one.has_answered);
        price.or((has_answered || !self.may_be_billed()).then_some(0))
    }

    /// Whether its answer may cost anything.
    fn may_be_billed(&self) -> bool {
        let draft = self.draft;
        let is_post = draft.method.as_ref().is_some_and(|one| one == Method::POST);
        draft.operation.is_billed() || draft.operation == Operation::Other && is_post
    }
}

/// The model that a request that goes by `route` asks for; of a deployment that its target maps, the
/// model.
pub(crate) fn asked_model_at<'d>(draft: &'d Draft, route: &'d Route) -> Option<&'d str> {
    // What the body says by now, where it goes to another target.
    let rewritten = route.model.as_deref();
    let named = route.deployment.as_deref().or(rewritten);
    let named = named.or(draft.model.as_deref())?;
    Some(mapped(route, named).unwrap_or(named))
}

/// What the model of a request that goes by `route` called itself in answers before, of late; `None`:
/// it has not answered yet.
pub(crate) fn served_before(
    limits: &Limits,
    draft: &Draft,
    route: &Route,
) -> Option<Vec<Box<str>>> {
    let asked = Asked {
        route,
        model: asked_model_at(draft, route),
        operation: draft.operation,
    };
    limits.observed.served(asked)
}

/// The model behind a name, where the target of `route` maps it; else the name.
pub(crate) fn model_behind(route: &Route, name: String) -> Cow<'_, str> {
    mapped(route, &name).map_or(Cow::Owned(name), Cow::Borrowed)
}

fn mapped<'r>(route: &'r Route, name: &str) -> Option<&'r str> {
    route.target.as_ref()?.model_of(name)
}

/// The request's metadata; what its token is bound to wins over what the client claims.
fn labels(draft: &Draft) -> BTreeMap<Box<str>, MetadataValue> {
    let told = draft.options.metadata.as_ref();
    let mut labels = told
        .and_then(|told| metadata::read(told).ok())
        .map(|read| read.entries)
        .unwrap_or_default();
    if let Some(token) = &draft.caller.token {
        labels.extend(token.metadata.clone());
    }
    labels
}
