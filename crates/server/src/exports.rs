//! Wires exports: what they deliver goes out by the data plane's connector.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use isango_control::{Exporting, NotSent};
use isango_exports::{
    Allowed, Carrier, Destination, Exports, Field, Parcel, Receipt, RetryError, test_write,
};
use isango_proxy::Proxy;
use isango_proxy::upstream::{self, Courier};
use isango_store::exports::{Aside, Buried, Error, ExportStore, Saved};
use isango_types::Clock;

use crate::alerts::{why, without_address};
use crate::published::Published;

/// How long a write may take in all: 64 MiB at a megabyte a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends batches with the data plane's connector.
pub(crate) struct Carrying {
    pub(crate) courier: Courier,
    pub(crate) clock: Clock,
}

impl Carrying {
    /// Those of a server.
    pub(crate) fn of(proxy: &Proxy, clock: &Clock) -> Self {
        Self {
            courier: proxy.courier(),
            clock: clock.clone(),
        }
    }
}

impl Carrier for Carrying {
    async fn carry(&self, parcel: Parcel) -> Result<Receipt, String> {
        let sent = upstream::Parcel {
            needs_answer: parcel.method == Method::GET,
            method: parcel.method,
            https: parcel.https,
            authority: &parcel.authority,
            path: parcel.path.expose(),
            trusted: parcel.trusted,
            headers: parcel.headers,
            body: parcel.body,
            max_answer: parcel.max_answer,
            patience: PATIENCE,
        };
        let receipt = Box::pin(self.courier.post(sent, self.clock.now())).await;
        let told = |error| without_address(&why(&error), &parcel.authority, &parcel.path);
        let receipt = receipt.map_err(told)?;
        Ok(Receipt {
            status: receipt.status,
            retry_after: receipt.retry_after,
            body: receipt.body,
        })
    }
}

/// What the management API knows of exports.
pub(crate) fn exporting(
    exports: &Arc<Exports>,
    carrying: &Arc<Carrying>,
    published: &Arc<Published>,
) -> Exporting {
    let published = Arc::clone(published);
    let again = (Arc::clone(exports), Arc::clone(carrying));
    let [of_views, of_aside, of_discard] = [exports; 3].map(Arc::clone);
    let carrying = Arc::clone(carrying);
    Exporting {
        views: Box::new(move || of_views.views()),
        aside: Box::new(move |account| of_aside.aside(account)),
        discard: Box::new(move |account, id| of_discard.discard(account, id)),
        retry: Box::new(move |account, id| {
            let (exports, carrying) = again.clone();
            let account = account.to_owned();
            Box::pin(async move {
                let sent = exports.retry(&*carrying, &account, id).await;
                sent.map_err(|error| match error {
                    RetryError::Unknown => NotSent::Unknown,
                    RetryError::NoJob | RetryError::Refused(_) | RetryError::Store(_) => {
                        NotSent::Refused(error.to_string())
                    }
                })
            })
        }),
        fields: Field::ALL.iter().map(|(name, _)| *name).collect(),
        shown: Box::new(isango_exports::shown),
        test: Box::new(move |conf| {
            let carrying = Arc::clone(&carrying);
            let allowed = Allowed {
                private: published.allows_private(),
                folder: false,
            };
            Box::pin(async move {
                let destination = Destination::parse(&conf, allowed);
                let destination = destination.map_err(|error| error.to_string())?;
                test_write(&*carrying, &destination, carrying.clock.now()).await
            })
        }),
    }
}

/// A store of exports that cannot be read, and why.
pub(crate) struct Unreadable(pub(crate) String);

impl Unreadable {
    fn why<T>(&self) -> Result<T, Error> {
        Err(Error::Failed(self.0.as_str().into()))
    }
}

impl ExportStore for Unreadable {
    fn load(&self, _job: &str) -> Result<Option<Saved>, Error> {
        self.why()
    }

    fn save(&self, _job: &str, _saved: &Saved) -> Result<(), Error> {
        self.why()
    }

    fn remove(&self, _job: &str) -> Result<(), Error> {
        self.why()
    }

    fn bury(&self, _buried: &Buried) -> Result<(), Error> {
        self.why()
    }

    fn buried(&self) -> Result<Vec<Aside>, Error> {
        self.why()
    }

    fn exhume(&self, _id: u64) -> Result<Option<Buried>, Error> {
        self.why()
    }

    fn discard(&self, _id: u64) -> Result<bool, Error> {
        self.why()
    }
}
