//! What the cache learns of an exchange, and what an exchange is told of the cache.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use isango_wire::facts::facts;

use super::{Draft, Exchange, micros};
use crate::ask::Call;
use crate::cache::asked::Wish;
use crate::cache::{self, Caching, Terms};
use crate::resolve::Route;

impl Exchange {
    /// On which terms the request may be answered from the cache; `None`: it may not, and the record
    /// tells why where it asked for it.
    pub(crate) fn cache_terms(&mut self, route: &Route, method: &Method) -> Option<Box<Terms>> {
        let policy = &route.gateway.cache;
        let draft = self.draft.as_ref()?;
        if draft.options.cache.is_nothing() && policy.ttl.is_zero() {
            return None;
        }
        let facts = facts(route.wire, method.as_str(), route.path.path());
        let request = cache::asked::Request {
            method,
            operation: facts.operation,
            asked: &draft.options.cache,
            metadata: draft.options.metadata.as_ref(),
            token: draft.caller.token.as_deref(),
        };
        match cache::asked::wish(policy, request) {
            Wish::Off => None,
            Wish::On(terms) => Some(terms),
            Wish::Bypass(why) => {
                self.cached(Caching::bypassed(why));
                None
            }
        }
    }

    /// The same once the body was read.
    pub(crate) fn may_recall(
        &mut self,
        terms: Option<Box<Terms>>,
        call: &Call<'_>,
    ) -> Option<Box<Terms>> {
        let fits = |body: &Bytes| body.len() <= cache::MAX_REQUEST_BYTES;
        if terms.is_some() && !call.question().is_some_and(fits) {
            self.cached(Caching::bypassed("its body is larger than 25 MiB"));
            return None;
        }
        let later = |draft: &Draft| draft.background.is_asked;
        if terms.is_some() && self.draft().is_some_and(later) {
            self.cached(Caching::bypassed("its answer is made in the background"));
            return None;
        }
        terms
    }

    /// What the cache did so far, which is forgotten here.
    pub(crate) fn take_cached(&mut self) -> Option<Box<Caching>> {
        self.draft.as_mut()?.cache.take()
    }

    /// What the cache did, as it was taken before.
    pub(crate) fn was_cached(&mut self, caching: Option<Box<Caching>>) {
        self.note(|draft| draft.cache = caching);
    }

    /// What the cache did; an answer that it kept draws a request.
    pub(crate) fn cached(&mut self, caching: Caching) {
        self.note(|draft| {
            if caching.status().is_kept() {
                draft.commits();
            }
            draft.cache = Some(Box::new(caching));
        });
    }

    /// The client is gone, but the answer goes on for others: the diary moves to where they read it,
    /// to be told what is on its bill. What is left here is empty.
    pub(crate) fn outlives_its_client(&mut self) -> Self {
        let broken = self.broken();
        self.note(|draft| {
            draft.outcome.get_or_insert(broken);
            draft.outlives_its_client = true;
            draft.timing.total_us = micros(draft.started.elapsed());
            let note = "its client left, and others read on: all of the answer is paid here";
            draft.options.notes.push(note.into());
        });
        self.sink.metrics().in_flight.dec();
        Self {
            draft: self.draft.take(),
            sink: Arc::clone(&self.sink),
        }
    }
}
