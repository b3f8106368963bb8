//! What would become of a request: the way of the pipeline, up to the send. Limits are drawn from
//! counters that nobody else sees, the exchange ends in a sink that writes nothing, and no provider
//! is asked.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use isango_types::rehearsal::{CacheLook, Fate, Refused, Rehearsal};
use isango_types::{Snapshot, Token};

use crate::Proxy;
use crate::ask::Call;
use crate::call::CallBody;
use crate::divert;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::limit;
use crate::pipeline::{self, Headed};
use crate::way;

impl Proxy {
    /// Tells what would become of a request, which is not sent, draws nothing and leaves no record.
    /// `token`: as whose it is taken, whatever its headers say.
    pub async fn rehearse(&self, request: Request<Bytes>, token: Option<Arc<Token>>) -> Rehearsal {
        let config = self.config.get();
        let sink = self.sink.aside();
        let mut exchange = Exchange::begin(&sink, Arc::clone(&config), &request);
        let mut seen = Rehearsal::default();
        let request = (request, token);
        let fate = Box::pin(go(self, &config, &mut exchange, request, &mut seen)).await;
        match fate {
            Ok(fate) => seen.fate = fate,
            Err(error) => {
                let (status, code, _) = error.verdict();
                seen.refusal = Some(Refused {
                    status: status.as_u16(),
                    code,
                    message: error.to_string().into(),
                });
            }
        }
        if let Some(draft) = exchange.draft() {
            seen.operation = draft.operation;
            seen.streams = draft.streams;
            seen.token = draft.caller.token.as_ref().map(|token| token.name.clone());
            seen.notes.clone_from(&draft.options.notes);
        }
        seen
    }
}

/// The way of a request, as far as it comes.
async fn go(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    (request, token): (Request<Bytes>, Option<Arc<Token>>),
    seen: &mut Rehearsal,
) -> Result<Fate, Error> {
    let (mut head, body) = request.into_parts();
    let headed = pipeline::admit_head(config, exchange, &mut head, token).await;
    let headed = match headed {
        Ok(headed) => headed,
        Err(error) => {
            // Where it would have gone is known, if not with what.
            let route = exchange.draft().and_then(|draft| draft.route.clone());
            if let (Some(draft), Some(route)) = (exchange.draft(), route) {
                seen.limits = limit::look(exchange.sink(), (draft, &route), &CallBody::Gone).0;
                seen.provider = Some(route.provider.slug.clone());
                seen.target = Some(route.target_name().into());
            }
            return Err(error);
        }
    };
    let Headed { route, held, .. } = &headed;
    let limit = route.gateway.max_request_bytes;
    if body.len() as u64 > limit {
        return Err(Error::BodyTooLarge { limit });
    }
    let body = match body.len() <= *held {
        true => CallBody::Whole(body),
        // It would pass as it comes.
        false => CallBody::Gone,
    };
    let (mut call, terms) = headed.into_call(head, body, None);
    let mut passed = pipeline::examine(proxy, exchange, &mut call);
    if let Some(draft) = exchange.draft() {
        let (limits, guess) = limit::look(exchange.sink(), (draft, &call.route), &call.body);
        (seen.limits, seen.estimate) = (limits, Some(guess));
    }
    if passed.is_ok() {
        passed = Box::pin(divert::admit(proxy, config, exchange, &mut call, false)).await;
    }
    tell(proxy, exchange, &call, seen);
    passed?;
    match exchange.may_recall(terms, &call) {
        Some(terms) => {
            let look = proxy.cache.explain(exchange, &call, terms);
            seen.cache = Box::pin(look).await;
        }
        None => {
            let caching = exchange.take_cached();
            seen.cache = caching.map_or_else(CacheLook::unasked, |caching| caching.look());
        }
    }
    if seen.cache.status.is_kept() {
        return Ok(Fate::Recalled);
    }
    let sent = Box::pin(divert::admit(proxy, config, exchange, &mut call, true)).await;
    tell(proxy, exchange, &call, seen);
    sent.map(|()| Fate::Sent)
}

/// Where a request goes by now.
fn tell(proxy: &Proxy, exchange: &Exchange, call: &Call<'_>, seen: &mut Rehearsal) {
    let route = &call.route;
    seen.provider = Some(route.provider.slug.clone());
    seen.target = Some(route.target_name().into());
    let (authority, path) = (&route.authority, route.path.path());
    let scheme = if route.https { "https" } else { "http" };
    seen.upstream = Some(format!("{scheme}://{authority}{path}").into());
    seen.targets = way::look(proxy, exchange, call);
    if let Some(draft) = exchange.draft() {
        seen.model = limit::asked_model_at(draft, route).map(Into::into);
    }
}
