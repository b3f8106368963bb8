//! Asks the provider of identities with the data plane's connector.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use isango_control::{Fetch, Oidc, Question};
use isango_proxy::Proxy;
use isango_proxy::upstream::{Courier, Parcel};
use isango_types::{Clock, Secret};

use crate::alerts::{why, without_address};
use crate::config::Config;

/// How long an answer may take in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// The provider of the configuration, and what asks it.
pub(crate) fn provider(
    config: &Config,
    proxy: &Proxy,
    clock: &Clock,
) -> Option<(Oidc, Box<Fetch>)> {
    let settings = config.oidc.clone()?;
    Some((settings, fetching(proxy.courier(), clock.clone())))
}

/// What asks a provider.
fn fetching(courier: Courier, clock: Clock) -> Box<Fetch> {
    let asking = Arc::new((courier, clock));
    Box::new(move |question| {
        let asking = Arc::clone(&asking);
        Box::pin(async move {
            let Question {
                https,
                authority,
                path,
                trusted,
                authorization,
                form,
            } = question;
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if let Some(secret) = authorization {
                let value = HeaderValue::try_from(secret.expose());
                let mut value = value.map_err(|_unwritable| "not_sent".to_owned())?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            if form.is_some() {
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, kind);
            }
            let method = if form.is_some() {
                Method::POST
            } else {
                Method::GET
            };
            let body = form.as_ref().map(Secret::expose).unwrap_or_default();
            let parcel = Parcel {
                needs_answer: true,
                method,
                https,
                authority: &authority,
                path: &path,
                trusted,
                headers,
                body: body.to_owned().into(),
                max_answer: MAX_ANSWER,
                patience: PATIENCE,
            };
            let (courier, clock) = &*asking;
            let receipt = Box::pin(courier.post(parcel, clock.now())).await;
            let path = Secret::new(&*path);
            let receipt = receipt.map_err(|e| without_address(&why(&e), &authority, &path))?;
            Ok((receipt.status.as_u16(), receipt.body))
        })
    })
}
