//! Wires alerts: what is stored is shown to them, and what they tell goes out by the data plane's
//! connector.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use isango_control::Tails;
use isango_control::alerts::{Alerts, Message, Post, Posted, TestAlert, message, test_event};
use isango_exports::Exports;
use isango_proxy::Proxy;
use isango_proxy::upstream::{Courier, Parcel};
use isango_store::analytics::{Aggregate, Answer, List, Listing, Progress};
use isango_store::later::{Deletion, Patch, Rating};
use isango_store::logs::{
    Error, Frames, Gap, LogReader, LogStore, LogWriter, Page, Position, Query,
};
use isango_types::alert::Webhook;
use isango_types::{Alert, Clock, Gateway, Record, RecordId, Secret};
use parking_lot::RwLock;

use crate::published::Published;

/// How much of a webhook's answer is read, in bytes.
const MAX_ANSWER: usize = 1_024;
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record store whose records alerts and watchers look at, once they are stored.
pub(crate) struct Watched {
    logs: Arc<dyn LogStore>,
    tails: Arc<Tails>,
    /// Set before the first record: alerts need the data plane, which needs this.
    alerts: RwLock<Option<Arc<Alerts>>>,
    /// Set before the first record, too.
    exports: RwLock<Option<Arc<Exports>>>,
}

impl Watched {
    pub(crate) fn new(logs: Arc<dyn LogStore>, tails: Arc<Tails>) -> Self {
        Self {
            logs,
            tails,
            alerts: RwLock::default(),
            exports: RwLock::default(),
        }
    }

    /// From now on, these look at what is stored.
    pub(crate) fn show_to(&self, alerts: Arc<Alerts>) {
        *self.alerts.write() = Some(alerts);
    }

    /// From now on, these are told that something is.
    pub(crate) fn wake(&self, exports: Arc<Exports>) {
        *self.exports.write() = Some(exports);
    }
}

impl LogWriter for Watched {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        self.logs.append(batch)?;
        if let Some(alerts) = &*self.alerts.read() {
            alerts.observe(batch);
        }
        self.tails.observe(batch);
        if let Some(exports) = &*self.exports.read() {
            exports.wake();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.logs.sync()
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        self.logs.append_gap(gap)
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        self.logs.patch(id, patch)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.logs.delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.logs.restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        self.logs.rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        self.logs.settle_ratings()
    }
}

impl LogReader for Watched {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.logs.get(id)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error> {
        self.logs.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        self.logs.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error> {
        self.logs.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.logs.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        self.logs.follow(from, limit)
    }

    fn frames(&self, from: Position, room: usize) -> Result<Frames, Error> {
        self.logs.frames(from, room)
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.logs.dropped(from, to)
    }
}

/// Sends messages with the data plane's connector: names are resolved once, and the address that is
/// connected to is the one that was checked.
pub(crate) struct Webhooks {
    pub(crate) courier: Courier,
    pub(crate) clock: Clock,
}

impl Post for Webhooks {
    async fn post(&self, webhook: &Webhook, message: Message) -> Result<Posted, String> {
        let parcel = Parcel {
            method: Method::POST,
            https: webhook.https,
            authority: &webhook.authority,
            path: webhook.path.expose(),
            trusted: webhook.trusted,
            headers: message.headers,
            body: message.body,
            max_answer: MAX_ANSWER,
            needs_answer: false,
            patience: PATIENCE,
        };
        let receipt = self.courier.post(parcel, self.clock.now()).await;
        let shown = |text: &str| without_address(text, &webhook.authority, &webhook.path);
        let receipt = receipt.map_err(|error| shown(&why(&error)))?;
        Ok(Posted {
            status: receipt.status,
            retry_after: receipt.retry_after,
            text: shown(&String::from_utf8_lossy(&receipt.body)),
        })
    }
}

impl Webhooks {
    /// Those of a server.
    pub(crate) fn of(proxy: &Proxy, clock: &Clock) -> Self {
        Self {
            courier: proxy.courier(),
            clock: clock.clone(),
        }
    }

    /// Sends a test message of an alert, once. `dashboard`: where links lead.
    ///
    /// # Errors
    /// Why there is no answer, in words that name no address.
    pub(crate) async fn test(
        &self,
        (gateway, alert): (&Gateway, &Alert),
        dashboard: Option<&str>,
    ) -> Result<Posted, String> {
        let now = self.clock.now();
        let event = test_event(gateway, alert, now, dashboard);
        let message = message(&event, &alert.webhook, now);
        self.post(&alert.webhook, message).await
    }
}

/// What sends test messages for the management API.
pub(crate) fn tests(proxy: &Proxy, clock: &Clock, published: &Arc<Published>) -> Box<TestAlert> {
    let webhooks = Arc::new(Webhooks::of(proxy, clock));
    let published = Arc::clone(published);
    Box::new(move |gateway, alert| {
        let (webhooks, dashboard) = (Arc::clone(&webhooks), published.dashboard_url());
        Box::pin(async move {
            webhooks
                .test((&gateway, &alert), dashboard.as_deref())
                .await
        })
    })
}

/// The same without any part of the webhook's address: resolvers and TLS like to repeat it, and so
/// do webhooks. Of a path, what stands between its slashes counts if it is long enough to be secret.
pub(crate) fn without_address(text: &str, authority: &str, path: &Secret) -> String {
    const MARK: &str = "[webhook]";
    const LEAST_SECRET: usize = 8;
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _port)| host);
    let path = path.expose();
    let segments = path.split(['/', '?', '&', '=']);
    let segments = segments.filter(|segment| segment.len() >= LEAST_SECRET);
    [path, authority, host]
        .into_iter()
        .chain(segments)
        .filter(|part| part.len() > 1)
        .fold(text.to_owned(), |text, part| text.replace(part, MARK))
}

/// Why there was no answer. The data plane's own words are about providers.
pub(crate) fn why(error: &isango_proxy::Error) -> String {
    let word = error.attempt_word().unwrap_or("not_sent");
    let hint = if matches!(error, isango_proxy::Error::PrivateAddress) {
        ": its host is in a private network; `allow_private = true` admits that"
    } else {
        ""
    };
    let mut text = format!("{word}{hint}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_an_address_is_told() {
        let path = Secret::new("/services/T0/planted-secret");
        for (told, shown) in [
            ("no record of hooks.example.com", "no record of [webhook]"),
            ("hooks.example.com:8443: refused", "[webhook]: refused"),
            (
                "GET /services/T0/planted-secret failed",
                "GET [webhook] failed",
            ),
            ("no hook planted-secret in T0", "no hook [webhook] in T0"),
            ("connect_timeout", "connect_timeout"),
        ] {
            let authority = "hooks.example.com:8443";
            assert_eq!(without_address(told, authority, &path), shown);
        }
    }
}
